/*
 * Containers
 */

#include "agent/base/clock.h"
#include "agent/cri/cri.h"
#include "agent/pod/message.h"

static void create_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__CreateContainerResponse reply = CRI__CREATE_CONTAINER_RESPONSE__INIT;

        reply.container_id = message_text(id);
        cri_end(data, err, &reply.base);
}

HANDLER(cri_create_container)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_create_container(cri->pods, (const Cri__CreateContainerRequest *) request, create_done, call);
}

static void start_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__StartContainerResponse reply = CRI__START_CONTAINER_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_start_container)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_start_container(cri->pods, ((const Cri__StartContainerRequest *) request)->container_id, start_done, call);
}

static void stop_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__StopContainerResponse reply = CRI__STOP_CONTAINER_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_stop_container)
{
        struct cri *cri = data;
        const Cri__StopContainerRequest *r = (const Cri__StopContainerRequest *) request;

        cri_wait(cri, call);
        pods_stop_container(cri->pods, r->container_id, r->timeout, stop_done, call);
}

static void remove_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__RemoveContainerResponse reply = CRI__REMOVE_CONTAINER_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_remove_container)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_remove_container(cri->pods, ((const Cri__RemoveContainerRequest *) request)->container_id, remove_done,
                              call);
}

static void tell_status(struct cri *cri, struct rpc_call *call, const Cri__ContainerStatusRequest *r)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (pods_container_status(cri->pods, r->container_id, r->verbose, cri_reply_message, call, &err) < 0)
                rpc_call_fail(call, &err);
}

static void tell_verbose_status(struct cri_job *job)
{
        tell_status(job->cri, job->call, (const Cri__ContainerStatusRequest *) job->request);
}

HANDLER(cri_container_status)
{
        struct cri *cri = data;
        const Cri__ContainerStatusRequest *r = (const Cri__ContainerStatusRequest *) request;

        if (r->verbose)
                cri_run(cri, cri->workers, call, request, tell_verbose_status);
        else
                tell_status(cri, call, r);
}

HANDLER(cri_list_containers)
{
        struct cri *cri = data;

        pods_list_containers(cri->pods, ((const Cri__ListContainersRequest *) request)->filter, cri_reply_items, call);
}

static void reopen_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__ReopenContainerLogResponse reply = CRI__REOPEN_CONTAINER_LOG_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_reopen_container_log)
{
        struct cri *cri = data;

        rpc_call_ref(call);
        pods_reopen_log(cri->pods, ((const Cri__ReopenContainerLogRequest *) request)->container_id, reopen_done, call);
}

static ProtobufCBinaryData bytes_of(const struct buf *b)
{
        return (ProtobufCBinaryData) { .len = b->len, .data = (uint8_t *) b->data };
}

static void exec_done(void *data, const struct pods_exec *result, const struct cringle_err *err)
{
        Cri__ExecSyncResponse reply = CRI__EXEC_SYNC_RESPONSE__INIT;

        if (result) {
                reply.stdout = bytes_of(result->out);
                reply.stderr = bytes_of(result->err);
                reply.exit_code = result->exit_code;
        }
        cri_end(data, err, &reply.base);
}

HANDLER(cri_exec_sync)
{
        struct cri *cri = data;
        const Cri__ExecSyncRequest *r = (const Cri__ExecSyncRequest *) request;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (r->timeout < 0 || r->timeout > INT64_MAX / NSEC_PER_SEC) {
                err_set(&err, CRINGLE_E_INVALID, "timeout %lld is out of range", (long long) r->timeout);
                rpc_call_fail(call, &err);
                return;
        }
        rpc_call_ref(call);
        pods_exec_sync(cri->pods, r->container_id, r->cmd, r->n_cmd, r->timeout * NSEC_PER_SEC, exec_done, call);
}
