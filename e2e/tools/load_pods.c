/*
 * The commands of cringle-load that run pods.
 *
 * Times are kept in a matrix, a row per pod, so that threads share nothing.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/tools/load.h"

#define NAME_MAX_LEN 64

/* What a pod's row has behind its calls. */
enum { UP = POD_CALLS, DOWN, COLUMNS };

struct lives {
        struct load *load;
        int64_t (*times)[COLUMNS];
        char **ids;                     /* NULL: pods are taken down again */
};

static int new_pod(struct load *l, size_t index, struct pod **ret, struct cringle_err *err)
{
        char name[NAME_MAX_LEN], group[NAME_MAX_LEN];

        snprintf(name, sizeof name, "load-%d-%zu", (int) getpid(), index);
        snprintf(group, sizeof group, "%zu", index / LOAD_GROUP);
        return pod_new(&l->spec, name, group, ret, err);
}

static int do_calls(struct pod *p, struct rpc_client *client, enum pod_call first, enum pod_call last, int64_t *times,
                    int64_t *ret_sum, struct cringle_err *err)
{
        *ret_sum = 0;
        for (enum pod_call call = first; call <= last; call++) {
                if (pod_call(p, client, call, &times[call], err) < 0)
                        return -1;
                *ret_sum += times[call];
        }
        return 0;
}

static int live(struct rpc_client *client, size_t index, void *data, struct cringle_err *err)
{
        struct lives *lives = data;
        int64_t *times = lives->times[index];
        auto_of(pod) p = NULL;
        int result;

        if (new_pod(lives->load, index, &p, err) < 0)
                return -1;
        result = do_calls(p, client, POD_RUN, POD_START, times, &times[UP], err);
        for (size_t i = 1; result == 0 && lives->ids && i < lives->load->spec.containers; i++)
                result = pod_add_container(p, client, i, err);
        if (result == 0 && lives->ids) {
                lives->ids[index] = strdup(pod_id(p));
                if (!lives->ids[index])
                        result = err_oom(err);
        } else if (result == 0) {
                result = do_calls(p, client, POD_STOP_CONTAINER, POD_REMOVE, times, &times[DOWN], err);
        }
        if (result < 0)
                pod_abandon(p, client);
        return result;
}

static int report_column(struct report *r, const char *name, const struct lives *lives, size_t column,
                         struct cringle_err *err)
{
        struct samples *s = report_series(r, name);

        for (size_t i = 0; i < lives->load->n; i++)
                if (samples_add(s, lives->times[i][column], err) < 0)
                        return -1;
        return 0;
}

static int report_lives(struct report *r, const struct lives *lives, size_t calls, struct cringle_err *err)
{
        for (size_t i = 0; i < calls; i++)
                if (report_column(r, pod_call_name(i), lives, i, err) < 0)
                        return -1;
        if (report_column(r, "up", lives, UP, err) < 0)
                return -1;
        return calls < POD_CALLS ? 0 : report_column(r, "down", lives, DOWN, err);
}

static int run_lives(struct lives *lives, struct report *r, struct cringle_err *err)
{
        struct load *l = lives->load;
        struct meter meter;

        report_figure(r, "n", (int64_t) l->n);
        report_figure(r, "parallel", (int64_t) l->parallel);
        if (meter_start(l, &meter, err) < 0 || load_share(l, l->n, live, lives, err) < 0 ||
            meter_stop(l, &meter, r, err) < 0)
                return -1;
        return report_lives(r, lives, lives->ids ? POD_START + 1 : POD_CALLS, err);
}

int load_life(struct load *l, struct report *r, struct cringle_err *err)
{
        auto_free int64_t (*times)[COLUMNS] = calloc(l->n, sizeof *times);
        struct lives lives = { .load = l, .times = times };

        return times ? run_lives(&lives, r, err) : err_oom(err);
}

int load_pods(struct load *l, struct report *r, struct cringle_err *err)
{
        auto_free int64_t (*times)[COLUMNS] = calloc(l->n, sizeof *times);
        auto_strv ids = calloc(l->n + 1, sizeof *ids);
        struct lives lives = { .load = l, .times = times, .ids = ids };

        if (!times || !ids)
                return err_oom(err);
        if (run_lives(&lives, r, err) < 0)
                return -1;
        for (size_t i = 0; i < l->n; i++)
                fprintf(stderr, "%s\n", ids[i]);
        return 0;
}

static int remove_one(struct rpc_client *client, size_t index, void *data, struct cringle_err *err)
{
        const Cri__ListPodSandboxResponse *pods = data;
        Cri__StopPodSandboxRequest stop = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
        Cri__RemovePodSandboxRequest remove = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
        auto_reply(Cri__StopPodSandboxResponse) stopped = NULL;
        auto_reply(Cri__RemovePodSandboxResponse) removed = NULL;

        stop.pod_sandbox_id = remove.pod_sandbox_id = pods->items[index]->id;
        if (cri_runtime(client, "StopPodSandbox", &stop, &stopped, NULL, err) < 0)
                return -1;
        return cri_runtime(client, "RemovePodSandbox", &remove, &removed, NULL, err);
}

int load_clean(struct load *l, struct report *r, struct cringle_err *err)
{
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        auto_of(rpc_client) client = NULL;
        struct meter meter;

        if (rpc_client_connect(l->socket, &client, err) < 0 || pod_list(client, &pods, err) < 0)
                return -1;
        report_figure(r, "n", (int64_t) pods->n_items);
        if (meter_start(l, &meter, err) < 0 || load_share(l, pods->n_items, remove_one, pods, err) < 0)
                return -1;
        return meter_stop(l, &meter, r, err);
}

struct execs {
        const struct load *load;
        const char *container;
        int64_t *times;
};

static int exec_once(struct rpc_client *client, size_t index, void *data, struct cringle_err *err)
{
        static const char *const nothing[] = { "true", NULL };
        struct execs *e = data;
        char **command = *e->load->program ? e->load->program : (char **) nothing;
        Cri__ExecSyncRequest request = CRI__EXEC_SYNC_REQUEST__INIT;
        auto_reply(Cri__ExecSyncResponse) reply = NULL;

        request.container_id = (char *) e->container;
        request.cmd = command;
        request.n_cmd = strv_count((const char *const *) command);
        request.timeout = (int64_t) e->load->timeout;
        if (cri_runtime(client, "ExecSync", &request, &reply, &e->times[index], err) < 0)
                return -1;
        if (reply->exit_code)
                return err_set(err, CRINGLE_E_INTERNAL, "%s ended with status %d", *command, reply->exit_code);
        return 0;
}

static int exec_all(struct load *l, const char *container, struct report *r, struct cringle_err *err)
{
        auto_free int64_t *times = calloc(l->n, sizeof *times);
        struct execs e = { .load = l, .container = container, .times = times };
        struct meter meter;
        struct samples *s;

        if (!times)
                return err_oom(err);
        report_figure(r, "n", (int64_t) l->n);
        report_figure(r, "parallel", (int64_t) l->parallel);
        if (meter_start(l, &meter, err) < 0 || load_share(l, l->n, exec_once, &e, err) < 0 ||
            meter_stop(l, &meter, r, err) < 0)
                return -1;

        s = report_series(r, "ExecSync");
        for (size_t i = 0; i < l->n; i++)
                if (samples_add(s, times[i], err) < 0)
                        return -1;
        return 0;
}

int load_exec(struct load *l, struct report *r, struct cringle_err *err)
{
        auto_of(rpc_client) client = NULL;
        auto_of(pod) p = NULL;
        int64_t times[POD_CALLS], sum;
        int result;

        if (rpc_client_connect(l->socket, &client, err) < 0 || new_pod(l, 0, &p, err) < 0)
                return -1;
        result = do_calls(p, client, POD_RUN, POD_START, times, &sum, err);
        if (result == 0)
                result = exec_all(l, pod_container(p), r, err);
        if (result == 0)
                result = do_calls(p, client, POD_STOP_CONTAINER, POD_REMOVE, times, &sum, err);
        if (result < 0)
                pod_abandon(p, client);
        return result;
}
