/*
 * Lists as streams, and events
 */

#include "agent/cri/cri.h"

HANDLER(cri_stream_pod_sandboxes)
{
        struct cri *cri = data;
        struct stream *s = stream_new(cri->loop, call, &cri__stream_pod_sandboxes_response__descriptor);

        pods_list_sandboxes(cri->pods, ((const Cri__StreamPodSandboxesRequest *) request)->filter, stream_send_items, s);
        stream_end(s, NULL);
}

HANDLER(cri_stream_containers)
{
        struct cri *cri = data;
        struct stream *s = stream_new(cri->loop, call, &cri__stream_containers_response__descriptor);

        pods_list_containers(cri->pods, ((const Cri__StreamContainersRequest *) request)->filter, stream_send_items, s);
        stream_end(s, NULL);
}

HANDLER(cri_stream_images)
{
        struct cri *cri = data;
        struct stream *s = stream_new(cri->loop, call, &cri__stream_images_response__descriptor);
        struct cringle_err err = CRINGLE_ERR_INIT;
        int r = cri_images_list(cri, ((const Cri__StreamImagesRequest *) request)->filter, stream_send_answer, s, &err);

        stream_end(s, r < 0 ? &err : NULL);
}

static void stream_container_stats(struct cri_job *job)
{
        pods_list_container_stats(job->cri->pods, ((const Cri__StreamContainerStatsRequest *) job->request)->filter,
                                  stream_send_answer, job->stream);
}

HANDLER(cri_stream_container_stats)
{
        struct cri *cri = data;

        cri_run_stream(cri, cri->workers, call, request, &cri__stream_container_stats_response__descriptor,
                       stream_container_stats);
}

static void stream_pod_sandbox_stats(struct cri_job *job)
{
        pods_list_sandbox_stats(job->cri->pods, ((const Cri__StreamPodSandboxStatsRequest *) job->request)->filter,
                                stream_send_answer, job->stream);
}

HANDLER(cri_stream_pod_sandbox_stats)
{
        struct cri *cri = data;

        cri_run_stream(cri, cri->workers, call, request, &cri__stream_pod_sandbox_stats_response__descriptor,
                       stream_pod_sandbox_stats);
}

HANDLER(cri_get_container_events)
{
        struct cri *cri = data;

        stream_watch(stream_new(cri->loop, call, &cri__container_event_response__descriptor), &cri->events, NULL, NULL);
}
