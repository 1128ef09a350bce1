/*
 * What the verbs share; see cli.h.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "agent/base/call.h"
#include "agent/base/str.h"
#include "agent/cli/cli.h"

int cli_usage(const char *text)
{
        fprintf(stderr, "usage: cringle %s\n", text);
        return CLI_USAGE;
}

const struct config *cli_config(struct cli *c, struct cringle_err *err)
{
        if (!c->config && config_load(c->config_file, NULL, &c->config, err) < 0)
                return NULL;
        return c->config;
}

static int connect_agent(struct cli *c, struct cringle_err *err)
{
        const char *path = c->socket;

        if (!path) {
                const struct config *config = cli_config(c, err);

                if (!config)
                        return -1;
                path = config->socket;
        }
        return rpc_client_connect(path, &c->client, err);
}

int cli_call(struct cli *c, const ProtobufCServiceDescriptor *service, const char *method,
             const ProtobufCMessage *request, int64_t timeout, ProtobufCMessage **ret, struct cringle_err *err)
{
        struct cringle_call call = CALL_INIT;

        if (!c->client && connect_agent(c, err) < 0)
                return -1;
        if (timeout)
                call = call_within(NULL, timeout);
        call.cancel_fd = c->cancel_fd;
        return rpc_client_call(c->client, service, method, request, &call, ret, err);
}

int cli_stream(struct cli *c, const ProtobufCServiceDescriptor *service, const char *method,
               const ProtobufCMessage *request, rpc_message_fn fn, void *data, struct cringle_err *err)
{
        struct cringle_call call = CALL_INIT;

        if (!c->client && connect_agent(c, err) < 0)
                return -1;
        call.cancel_fd = c->cancel_fd;
        return rpc_client_stream(c->client, service, method, request, &call, fn, data, err);
}

int cli_catch_signals(struct cringle_err *err)
{
        sigset_t set;
        int fd;

        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        sigprocmask(SIG_BLOCK, &set, NULL);
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? err_sys(err, "signalfd") : fd;
}

int cli_list_pods(struct cli *c, Cri__ListPodSandboxResponse **ret, struct cringle_err *err)
{
        Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;

        return cli_runtime(c, "ListPodSandbox", &request, CLI_PATIENCE, ret, err);
}

int cli_list_containers(struct cli *c, const char *pod, Cri__ListContainersResponse **ret, struct cringle_err *err)
{
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;

        if (pod) {
                filter.pod_sandbox_id = (char *) pod;
                request.filter = &filter;
        }
        return cli_runtime(c, "ListContainers", &request, CLI_PATIENCE, ret, err);
}

static bool is_named(const Cri__PodSandbox *pod, const char *name)
{
        const char *slash = strchr(name, '/');

        if (!pod->metadata)
                return false;
        if (!slash)
                return strcmp(pod->metadata->name, name) == 0;
        return strcmp(pod->metadata->name, slash + 1) == 0 &&
               strlen(pod->metadata->namespace_) == (size_t) (slash - name) &&
               memcmp(pod->metadata->namespace_, name, (size_t) (slash - name)) == 0;
}

/* Is @a to be preferred to @b, of the same name? */
static bool is_better(const Cri__PodSandbox *a, const Cri__PodSandbox *b)
{
        if (a->state != b->state)
                return a->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY;
        return a->created_at > b->created_at;
}

int cli_find_pod(const Cri__ListPodSandboxResponse *list, const char *name, const Cri__PodSandbox **ret,
                 struct cringle_err *err)
{
        const Cri__PodSandbox *found = NULL, *by_id = NULL;
        size_t ids = 0;

        for (size_t i = 0; i < list->n_items; i++) {
                const Cri__PodSandbox *pod = list->items[i];

                if (is_named(pod, name)) {
                        if (found && strcmp(found->metadata->namespace_, pod->metadata->namespace_) != 0)
                                return err_set(err, CRINGLE_E_INVALID, "there are pods '%s' in several namespaces; say NAMESPACE/NAME",
                                               name);
                        if (!found || is_better(pod, found))
                                found = pod;
                }
                if (strlen(name) >= 4 && str_starts(pod->id, name)) {
                        by_id = pod;
                        ids++;
                }
        }
        if (!found && ids > 1)
                return err_set(err, CRINGLE_E_INVALID, "several pods' ids begin with '%s'", name);
        if (!found && !by_id)
                return err_set(err, CRINGLE_E_NOT_FOUND, "there is no pod '%s'", name);

        *ret = found ? found : by_id;
        return 0;
}

static int find_container(struct cli *c, const char *pod, const char *container, char **ret, struct cringle_err *err)
{
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        auto_reply(Cri__ListContainersResponse) list = NULL;
        const Cri__Container *found = NULL;
        const Cri__PodSandbox *sandbox;

        if (cli_list_pods(c, &pods, err) < 0 || cli_find_pod(pods, pod, &sandbox, err) < 0 ||
            cli_list_containers(c, sandbox->id, &list, err) < 0)
                return -1;

        for (size_t i = 0; i < list->n_containers; i++) {
                const Cri__Container *k = list->containers[i];

                if (k->metadata && strcmp(k->metadata->name, container) == 0 && (!found || k->created_at > found->created_at))
                        found = k;
        }
        if (!found)
                return err_set(err, CRINGLE_E_NOT_FOUND, "pod '%s' has no container '%s'", pod, container);

        *ret = strdup(found->id);
        return *ret ? 0 : err_oom(err);
}

int cli_find_container(struct cli *c, const char *pod, const char *container, char **ret, struct cringle_err *err)
{
        const char *slash = strrchr(pod, '/');
        auto_free char *name = NULL;

        if (container)
                return find_container(c, pod, container, ret, err);
        if (!slash)
                return err_set(err, CRINGLE_E_INVALID, "'%s': want POD/CONTAINER", pod);
        name = str_printf(err, "%.*s", (int) (slash - pod), pod);
        return name ? find_container(c, name, slash + 1, ret, err) : -1;
}

const char *cli_container_state(Cri__ContainerState state)
{
        switch (state) {
        case CRI__CONTAINER_STATE__CONTAINER_CREATED:
                return "created";
        case CRI__CONTAINER_STATE__CONTAINER_RUNNING:
                return "running";
        case CRI__CONTAINER_STATE__CONTAINER_EXITED:
                return "exited";
        default:
                return "unknown";
        }
}

int table_row(struct table *t, struct cringle_err *err, const char *const *cells)
{
        size_t n = strv_count(cells);
        char **grown = realloc(t->cells, (t->n_cells + n) * sizeof *grown);

        if (!grown)
                return err_oom(err);
        t->cells = grown;
        if (!t->columns)
                t->columns = n;

        for (size_t i = 0; i < n; i++) {
                char *cell = strdup(cells[i]);

                if (!cell)
                        return err_oom(err);
                for (char *at = cell; *at; at++)
                        if ((unsigned char) *at < 0x20 || *at == 0x7f)
                                *at = '?';
                t->cells[t->n_cells++] = cell;
        }
        return 0;
}

void table_print(const struct table *t)
{
        for (size_t row = 0; row + t->columns <= t->n_cells; row += t->columns) {
                for (size_t i = 0; i < t->columns; i++) {
                        size_t width = 0;

                        for (size_t other = i; other < t->n_cells; other += t->columns)
                                if (strlen(t->cells[other]) > width)
                                        width = strlen(t->cells[other]);
                        if (i + 1 < t->columns)
                                printf("%-*s  ", (int) width, t->cells[row + i]);
                        else
                                printf("%s\n", t->cells[row + i]);
                }
        }
}

void table_done(struct table *t)
{
        for (size_t i = 0; i < t->n_cells; i++)
                free(t->cells[i]);
        free(t->cells);
        *t = (struct table) { 0 };
}

const char *cli_age(int64_t then, char text[static CLI_TEXT_MAX])
{
        int64_t seconds = (clock_realtime() - then) / NSEC_PER_SEC;

        if (then <= 0)
                snprintf(text, CLI_TEXT_MAX, "-");
        else if (seconds < 120)
                snprintf(text, CLI_TEXT_MAX, "%llds", (long long) (seconds < 0 ? 0 : seconds));
        else if (seconds < 7200)
                snprintf(text, CLI_TEXT_MAX, "%lldm", (long long) (seconds / 60));
        else if (seconds < 172800)
                snprintf(text, CLI_TEXT_MAX, "%lldh", (long long) (seconds / 3600));
        else
                snprintf(text, CLI_TEXT_MAX, "%lldd", (long long) (seconds / 86400));
        return text;
}

const char *cli_size(uint64_t bytes, char text[static CLI_TEXT_MAX])
{
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
        double value = (double) bytes;
        size_t unit = 0;

        for (; value >= 1024 && unit < 4; unit++)
                value /= 1024;
        snprintf(text, CLI_TEXT_MAX, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
        return text;
}

const char *cli_short_id(const char *id, char text[static CLI_TEXT_MAX])
{
        if (str_starts(id, "sha256:"))
                id += strlen("sha256:");
        snprintf(text, CLI_TEXT_MAX, "%.13s", id);
        return text;
}
