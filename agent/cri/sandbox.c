/*
 * Pod sandboxes
 */

#include "agent/cri/cri.h"
#include "agent/pod/message.h"

static void run_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__RunPodSandboxResponse reply = CRI__RUN_POD_SANDBOX_RESPONSE__INIT;

        reply.pod_sandbox_id = message_text(id);
        cri_end(data, err, &reply.base);
}

HANDLER(cri_run_pod_sandbox)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_run_sandbox(cri->pods, (const Cri__RunPodSandboxRequest *) request, run_done, call);
}

static void stop_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__StopPodSandboxResponse reply = CRI__STOP_POD_SANDBOX_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_stop_pod_sandbox)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_stop_sandbox(cri->pods, ((const Cri__StopPodSandboxRequest *) request)->pod_sandbox_id, stop_done, call);
}

static void remove_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__RemovePodSandboxResponse reply = CRI__REMOVE_POD_SANDBOX_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_remove_pod_sandbox)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_remove_sandbox(cri->pods, ((const Cri__RemovePodSandboxRequest *) request)->pod_sandbox_id, remove_done,
                            call);
}

HANDLER(cri_pod_sandbox_status)
{
        struct cri *cri = data;
        const Cri__PodSandboxStatusRequest *r = (const Cri__PodSandboxStatusRequest *) request;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (pods_sandbox_status(cri->pods, r->pod_sandbox_id, r->verbose, cri_reply_message, call, &err) < 0)
                rpc_call_fail(call, &err);
}

HANDLER(cri_list_pod_sandbox)
{
        struct cri *cri = data;

        pods_list_sandboxes(cri->pods, ((const Cri__ListPodSandboxRequest *) request)->filter, cri_reply_items, call);
}
