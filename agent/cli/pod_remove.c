/*
 * Taking a pod away; see pod.h.
 */

#include <pthread.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/cli/pod.h"
#include "agent/cli/volumes.h"

static int stop_container(struct cli *c, const Cri__Container *container, int64_t grace, struct cringle_err *err)
{
        Cri__StopContainerRequest request = CRI__STOP_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__StopContainerResponse) reply = NULL;

        if (container->state != CRI__CONTAINER_STATE__CONTAINER_RUNNING)
                return 0;
        request.container_id = container->id;
        request.timeout = grace;
        if (cli_runtime(c, "StopContainer", &request, grace * NSEC_PER_SEC + CLI_PATIENCE, &reply, err) < 0)
                return err_wrap(err, "stop container %s", container->metadata ? container->metadata->name : container->id);
        return 0;
}

/* One container's stop, on a connection of its own. */
struct stop {
        pthread_t thread;
        struct cli cli;
        const Cri__Container *container;
        int64_t grace;
        struct cringle_err err;
        int result;
};

static void *stop_main(void *data)
{
        struct stop *s = data;

        s->result = stop_container(&s->cli, s->container, s->grace, &s->err);
        return NULL;
}

/* All at once, as a kubelet does: their grace periods run side by side.  The first failure is told. */
static int stop_containers(struct cli *c, const Cri__ListContainersResponse *list, int64_t grace,
                           struct cringle_err *err)
{
        auto_free struct stop *stops = calloc(list->n_containers + 1, sizeof *stops);
        size_t n = 0;
        int r = 0;

        if (!stops)
                return err_oom(err);
        for (; n < list->n_containers; n++) {
                stops[n] = (struct stop) {
                        .cli = { .config_file = c->config_file, .socket = c->socket, .cancel_fd = c->cancel_fd,
                                 .config = c->config },
                        .container = list->containers[n],
                        .grace = grace,
                        .err = CRINGLE_ERR_INIT,
                };
                r = pthread_create(&stops[n].thread, NULL, stop_main, &stops[n]);
                if (r) {
                        r = err_sysno(err, r, "start a thread");
                        break;
                }
        }
        for (size_t i = 0; i < n; i++) {
                pthread_join(stops[i].thread, NULL);
                rpc_client_free(stops[i].cli.client);
                if (stops[i].result < 0 && r == 0) {
                        r = -1;
                        if (err)
                                *err = stops[i].err;
                }
        }
        return r;
}

static int remove_sandbox(struct cli *c, const char *id, int64_t grace, struct cringle_err *err)
{
        Cri__StopPodSandboxRequest stop = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
        Cri__RemovePodSandboxRequest remove = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
        auto_reply(Cri__ListContainersResponse) list = NULL;
        auto_reply(Cri__StopPodSandboxResponse) stopped = NULL;
        auto_reply(Cri__RemovePodSandboxResponse) removed = NULL;

        if (!cli_config(c, err) || cli_list_containers(c, id, &list, err) < 0)
                return -1;
        if (stop_containers(c, list, grace, err) < 0)
                return -1;

        stop.pod_sandbox_id = remove.pod_sandbox_id = (char *) id;
        if (cli_runtime(c, "StopPodSandbox", &stop, CLI_PATIENCE, &stopped, err) < 0)
                return err_wrap(err, "stop the sandbox");
        if (cli_runtime(c, "RemovePodSandbox", &remove, CLI_PATIENCE, &removed, err) < 0)
                return err_wrap(err, "remove the sandbox");
        return 0;
}

int pod_remove(struct cli *c, const char *id, const char *uid, const char *log_dir, int64_t grace,
               struct cringle_err *err)
{
        const struct config *config = cli_config(c, err);
        auto_free char *dir = config ? volumes_dir(config->root, err) : NULL;

        if (!dir)
                return -1;
        /* Volumes go last: what is still running may be writing to them. */
        if (id && remove_sandbox(c, id, grace, err) < 0)
                return -1;
        if (volumes_remove(dir, uid, err) < 0)
                return err_wrap(err, "remove volumes");
        if (log_dir && file_remove_tree(log_dir, err) < 0)
                return err_wrap(err, "remove logs");
        return 0;
}

int pod_container_status(struct cli *c, const char *id, Cri__ContainerStatusResponse **ret, struct cringle_err *err)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        auto_reply(Cri__ContainerStatusResponse) reply = NULL;

        request.container_id = (char *) id;
        if (cli_runtime(c, "ContainerStatus", &request, CLI_PATIENCE, &reply, err) < 0)
                return -1;
        if (!reply->status)
                return err_set(err, CRINGLE_E_NOT_FOUND, "container %s has no status", id);
        *ret = steal(&reply);
        return 0;
}
