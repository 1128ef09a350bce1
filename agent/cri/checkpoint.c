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

static void pod_restored(void *data, const char *pod, const struct pods_restored *list, size_t n, const struct cringle_err *err)
{
        Cri__RestorePodResponse reply = CRI__RESTORE_POD_RESPONSE__INIT;
        auto_free Cri__RestoredContainer *containers = calloc(n + 1, sizeof *containers);
        auto_free Cri__RestoredContainer **all = calloc(n + 1, sizeof *all);

        if (!containers || !all)
                abort();
        for (size_t i = 0; i < n; i++) {
                containers[i] = (Cri__RestoredContainer) CRI__RESTORED_CONTAINER__INIT;
                containers[i].name = (char *) list[i].name;
                containers[i].container_id = (char *) list[i].id;
                all[i] = &containers[i];
        }
        reply.pod_sandbox_id = (char *) pod;
        reply.n_restored_containers = n;
        reply.restored_containers = all;
        cri_end(data, err, &reply.base);
}

static void restore_pod(struct cri_job *job)
{
        rpc_call_ref(job->call);        /* for the answer */
        pods_restore_sandbox(job->cri->pods, (const Cri__RestorePodRequest *) job->request, rpc_call_context(job->call),
                             pod_restored, job->call);
}

HANDLER(cri_restore_pod)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, restore_pod);
}
