/*
 * Metrics
 */

#include "agent/cri/cri.h"

HANDLER(cri_list_metric_descriptors)
{
        pods_metric_descriptors(cri_reply_message, call);
}

static void list_pod_sandbox_metrics(struct cri_job *job)
{
        pods_list_metrics(job->cri->pods, cri_reply_items, job->call);
}

HANDLER(cri_list_pod_sandbox_metrics)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, list_pod_sandbox_metrics);
}

static void stream_pod_sandbox_metrics(struct cri_job *job)
{
        pods_list_metrics(job->cri->pods, stream_send_items, job->stream);
}

HANDLER(cri_stream_pod_sandbox_metrics)
{
        struct cri *cri = data;

        cri_run_stream(cri, cri->workers, call, request, &cri__stream_pod_sandbox_metrics_response__descriptor,
                       stream_pod_sandbox_metrics);
}
