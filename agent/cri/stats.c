/*
 * Statistics of containers and pods
 *
 * All of them read files of the kernel's, so workers do it.
 */

#include "agent/cri/cri.h"

static void container_stats(struct cri_job *job)
{
        const Cri__ContainerStatsRequest *r = (const Cri__ContainerStatsRequest *) job->request;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (pods_container_stats(job->cri->pods, r->container_id, cri_reply_message, job->call, &err) < 0)
                rpc_call_fail(job->call, &err);
}

HANDLER(cri_container_stats)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, container_stats);
}

static void list_container_stats(struct cri_job *job)
{
        const Cri__ListContainerStatsRequest *r = (const Cri__ListContainerStatsRequest *) job->request;

        pods_list_container_stats(job->cri->pods, r->filter, cri_reply_message, job->call);
}

HANDLER(cri_list_container_stats)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, list_container_stats);
}

static void pod_sandbox_stats(struct cri_job *job)
{
        const Cri__PodSandboxStatsRequest *r = (const Cri__PodSandboxStatsRequest *) job->request;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (pods_sandbox_stats(job->cri->pods, r->pod_sandbox_id, cri_reply_message, job->call, &err) < 0)
                rpc_call_fail(job->call, &err);
}

HANDLER(cri_pod_sandbox_stats)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, pod_sandbox_stats);
}

static void list_pod_sandbox_stats(struct cri_job *job)
{
        const Cri__ListPodSandboxStatsRequest *r = (const Cri__ListPodSandboxStatsRequest *) job->request;

        pods_list_sandbox_stats(job->cri->pods, r->filter, cri_reply_message, job->call);
}

HANDLER(cri_list_pod_sandbox_stats)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, list_pod_sandbox_stats);
}
