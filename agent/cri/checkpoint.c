/*
 * Checkpoints of containers and pods
 */

#include "agent/cri/cri.h"

static void container_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__CheckpointContainerResponse reply = CRI__CHECKPOINT_CONTAINER_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_checkpoint_container)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_checkpoint_container(cri->pods, (const Cri__CheckpointContainerRequest *) request, container_done, call);
}

static void pod_done(void *data, const char *id, const struct cringle_err *err)
{
        Cri__CheckpointPodResponse reply = CRI__CHECKPOINT_POD_RESPONSE__INIT;

        cri_end(data, err, &reply.base);
}

HANDLER(cri_checkpoint_pod)
{
        struct cri *cri = data;

        cri_wait(cri, call);
        pods_checkpoint_sandbox(cri->pods, (const Cri__CheckpointPodRequest *) request, rpc_call_context(call)->deadline, pod_done, call);
}
