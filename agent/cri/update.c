/*
 * New limits for containers and pods that run
 */

#include "agent/cri/cri.h"

static void container_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__UpdateContainerResourcesResponse reply = CRI__UPDATE_CONTAINER_RESOURCES_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_update_container_resources)
{
        struct cri *cri = data;
        const Cri__UpdateContainerResourcesRequest *r = (const Cri__UpdateContainerResourcesRequest *) request;
        const struct hooks_limits limits = { r->linux, CRINGLE_UNSET };

        cri_wait(cri, call);
        pods_update_container(cri->pods, r->container_id, &limits, true, container_done, call);
}

static void sandbox_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__UpdatePodSandboxResourcesResponse reply = CRI__UPDATE_POD_SANDBOX_RESOURCES_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_update_pod_sandbox_resources)
{
        struct cri *cri = data;

        rpc_call_ref(call);
        pods_update_sandbox(cri->pods, (const Cri__UpdatePodSandboxResourcesRequest *) request, sandbox_done, call);
}
