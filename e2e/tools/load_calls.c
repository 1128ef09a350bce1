/*
 * The commands of cringle-load that run no pods: queries, pulls, cold starts, memory.
 */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "e2e/tools/load.h"

#define START_PATIENCE (60 * NSEC_PER_SEC)
#define STOP_PATIENCE (30 * NSEC_PER_SEC)

/* ---- queries ------------------------------------------------------------------ */

union query {
        ProtobufCMessage base;
        Cri__PodSandboxStatusRequest pod;
        Cri__ContainerStatusRequest container;
};

/* What they ask for when they ask for one of many. */
struct subject {
        char *pod, *container;
};

static void ask_pod(union query *q, const struct subject *s)
{
        q->pod.pod_sandbox_id = s->pod;
}

static void ask_container(union query *q, const struct subject *s)
{
        q->container.container_id = s->container;
}

/* A method and what its CPU time is called. */
#define METHOD(name) name, name " CPU"

static const struct {
        const char *method, *cpu;
        void (*fill)(union query *q, const struct subject *s);  /* NULL: there is nothing to say */
        bool images;                    /* of the image service */
} queries[] = {
        { METHOD("Version"), NULL, false },
        { METHOD("Status"), NULL, false },
        { METHOD("ListPodSandbox"), NULL, false },
        { METHOD("ListContainers"), NULL, false },
        { METHOD("PodSandboxStatus"), ask_pod, false },
        { METHOD("ContainerStatus"), ask_container, false },
        { METHOD("ListContainerStats"), NULL, false },
        { METHOD("ListPodSandboxStats"), NULL, false },
        { METHOD("ListImages"), NULL, true },
        { METHOD("ImageFsInfo"), NULL, true },
};

/* Requests that say nothing are made by size alone, the others are members of union query. */
static int measure_query(struct load *l, struct rpc_client *client, size_t which, const struct subject *subject,
                         struct samples *times, struct cringle_err *err)
{
        const ProtobufCServiceDescriptor *service =
                queries[which].images ? &cri__image_service__descriptor : &cri__runtime_service__descriptor;
        const ProtobufCMethodDescriptor *method =
                protobuf_c_service_descriptor_get_method_by_name(service, queries[which].method);
        auto_free union query *q = calloc(1, method->input->sizeof_message);

        if (!q)
                return err_oom(err);
        protobuf_c_message_init(method->input, q);
        if (queries[which].fill)
                queries[which].fill(q, subject);

        for (size_t i = 0; i < l->n; i++) {
                ProtobufCMessage *reply = NULL;
                int64_t time;

                if (cri_call(client, service, queries[which].method, &q->base, &reply, &time, err) < 0)
                        return err->code == CRINGLE_E_UNIMPLEMENTED ? 0 : -1;
                protobuf_c_message_free_unpacked(reply, NULL);
                if (samples_add(times, time, err) < 0)
                        return -1;
        }
        return 0;
}

int load_list(struct load *l, struct report *r, struct cringle_err *err)
{
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        auto_reply(Cri__ListContainersResponse) containers = NULL;
        auto_of(rpc_client) client = NULL;
        struct subject subject = { 0 };

        if (rpc_client_connect(l->socket, &client, err) < 0 ||
            cri_runtime(client, "ListContainers", &request, &containers, NULL, err) < 0)
                return -1;
        if (containers->n_containers) {
                subject.container = containers->containers[0]->id;
                subject.pod = containers->containers[0]->pod_sandbox_id;
        }
        report_figure(r, "n", (int64_t) l->n);
        report_figure(r, "containers", (int64_t) containers->n_containers);

        for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
                struct samples *times, *cpu;
                int64_t before, after;

                if (queries[i].fill && !subject.container)
                        continue;
                times = report_series(r, queries[i].method);
                cpu = report_series(r, queries[i].cpu);
                if (account_cpu((const char *const *) l->account, &before, err) < 0 ||
                    measure_query(l, client, i, &subject, times, err) < 0 ||
                    account_cpu((const char *const *) l->account, &after, err) < 0 ||
                    samples_add(cpu, (after - before) / (int64_t) l->n, err) < 0)
                        return -1;
        }
        return 0;
}

/* ---- pulls -------------------------------------------------------------------- */

/* Looks at the memory of the accounted processes again and again, on a thread of its own. */
struct watch {
        const struct load *load;
        atomic_bool over;
        int64_t peak;
        int result;
        struct cringle_err err;
        pthread_t thread;
};

static void *watch_memory(void *data)
{
        static const struct timespec pause = { .tv_nsec = 5 * NSEC_PER_MSEC };
        struct watch *w = data;

        while (!atomic_load(&w->over) && w->result == 0) {
                int64_t rss = 0;

                w->result = account_rss((const char *const *) w->load->account, &rss, &w->err);
                if (rss > w->peak)
                        w->peak = rss;
                nanosleep(&pause, NULL);
        }
        return NULL;
}

static int pull_once(struct load *l, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__RemoveImageRequest remove = CRI__REMOVE_IMAGE_REQUEST__INIT;
        Cri__PullImageRequest pull = CRI__PULL_IMAGE_REQUEST__INIT;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        auto_reply(Cri__RemoveImageResponse) removed = NULL;
        auto_reply(Cri__PullImageResponse) pulled = NULL;

        image.image = (char *) l->spec.image;
        remove.image = pull.image = &image;
        if (cri_images(client, "RemoveImage", &remove, &removed, NULL, err) < 0)
                return -1;
        sync();                         /* what an earlier pull wrote must not be written during this one */
        return cri_images(client, "PullImage", &pull, &pulled, ret_time, err);
}

static int pull_all(struct load *l, struct rpc_client *client, struct report *r, struct cringle_err *err)
{
        struct samples *wall = report_series(r, "PullImage"), *cpu = report_series(r, "CPU");

        for (size_t i = 0; i < l->n; i++) {
                int64_t before, after, time;

                if (account_cpu((const char *const *) l->account, &before, err) < 0 ||
                    pull_once(l, client, &time, err) < 0 ||
                    account_cpu((const char *const *) l->account, &after, err) < 0 ||
                    samples_add(wall, time, err) < 0 ||
                    (l->account && samples_add(cpu, after - before, err) < 0))
                        return -1;
        }
        return 0;
}

int load_pull(struct load *l, struct report *r, struct cringle_err *err)
{
        struct watch w = { .load = l, .err = CRINGLE_ERR_INIT };
        auto_of(rpc_client) client = NULL;
        int result;

        if (rpc_client_connect(l->socket, &client, err) < 0)
                return -1;
        report_figure(r, "n", (int64_t) l->n);
        result = pthread_create(&w.thread, NULL, watch_memory, &w);
        if (result)
                return err_sysno(err, result, "start a thread");
        result = pull_all(l, client, r, err);
        atomic_store(&w.over, true);
        pthread_join(w.thread, NULL);

        if (result == 0 && w.result < 0) {
                *err = w.err;
                result = -1;
        }
        if (l->account)
                report_figure(r, "peak_rss_kb", w.peak / 1024);
        return result;
}

/* ---- cold starts -------------------------------------------------------------- */

static int ask_version(const char *socket, struct cringle_err *err)
{
        Cri__VersionRequest request = CRI__VERSION_REQUEST__INIT;
        auto_reply(Cri__VersionResponse) reply = NULL;
        auto_of(rpc_client) client = NULL;

        if (rpc_client_connect(socket, &client, err) < 0)
                return -1;
        return cri_runtime(client, "Version", &request, &reply, NULL, err);
}

/* Until it answers; its CPU time then, the threads' that are gone included. */
static int await_version(struct load *l, struct child *c, int64_t *ret_cpu, struct cringle_err *err)
{
        static const struct timespec pause = { .tv_nsec = NSEC_PER_MSEC / 5 };
        struct cringle_call call = call_within(NULL, START_PATIENCE);
        struct timespec cpu;
        clockid_t clock;

        while (ask_version(l->socket, err) < 0) {
                struct pollfd end = { .fd = c->pidfd, .events = POLLIN };

                if (call_check(&call, NULL) < 0)
                        return err_wrap(err, "no answer within a minute");
                if (poll(&end, 1, 0) > 0)
                        return err_set(err, CRINGLE_E_UNAVAILABLE, "%s ended at once", l->program[0]);
                nanosleep(&pause, NULL);
        }
        if (clock_getcpuclockid(c->pid, &clock) || clock_gettime(clock, &cpu) < 0)
                return err_sys(err, "CPU time of %s", l->program[0]);
        *ret_cpu = cpu.tv_sec * NSEC_PER_SEC + cpu.tv_nsec;
        return 0;
}

static int start_once(struct load *l, int64_t *ret_time, int64_t *ret_cpu, struct cringle_err *err)
{
        const struct child_fd fds[] = { { STDERR_FILENO, STDOUT_FILENO }, { STDERR_FILENO, STDERR_FILENO } };
        const struct child_spec spec = {
                .path = l->program[0],
                .argv = (const char *const *) l->program,
                .envp = (const char *const *) environ,
                .fds = fds,
                .n_fds = 2,
        };
        struct cringle_call patience;
        struct child c = CHILD_INIT;
        int64_t start = clock_monotonic();
        int status;

        if (child_spawn(&spec, &c, err) < 0)
                return -1;
        if (await_version(l, &c, ret_cpu, err) < 0) {
                child_kill(&c);
                return -1;
        }
        *ret_time = clock_monotonic() - start;

        kill(c.pid, SIGTERM);
        patience = call_within(NULL, STOP_PATIENCE);
        return child_wait(&c, &patience, &status, err);
}

int load_cold(struct load *l, struct report *r, struct cringle_err *err)
{
        struct samples *wall = report_series(r, "Version"), *cpu = report_series(r, "CPU");
        struct cringle_err untold = CRINGLE_ERR_INIT;

        if (ask_version(l->socket, &untold) == 0)
                return err_set(err, CRINGLE_E_PRECONDITION, "somebody answers on %s already", l->socket);
        report_figure(r, "n", (int64_t) l->n);
        for (size_t i = 0; i < l->n; i++) {
                int64_t time, used;

                if (start_once(l, &time, &used, err) < 0 || samples_add(wall, time, err) < 0 ||
                    samples_add(cpu, used, err) < 0)
                        return -1;
        }
        return 0;
}

/* ---- memory ------------------------------------------------------------------- */

int load_memory(struct load *l, struct report *r, struct cringle_err *err)
{
        return account_memory((const char *const *) l->account, &r->kinds, &r->n_kinds, err);
}
