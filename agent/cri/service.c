/*
 * The table of contents: which RPC is served, and where
 *
 * A method that is not here answers UNIMPLEMENTED with its name.
 */

#include "agent/cri/cri.h"

static const struct rpc_handler runtime[] = {
        { "Version", cri_version },
        { "Status", cri_status },
        { "RuntimeConfig", cri_runtime_config },
        { "UpdateRuntimeConfig", cri_update_runtime_config },

        { "RunPodSandbox", cri_run_pod_sandbox },
        { "StopPodSandbox", cri_stop_pod_sandbox },
        { "RemovePodSandbox", cri_remove_pod_sandbox },
        { "PodSandboxStatus", cri_pod_sandbox_status },
        { "ListPodSandbox", cri_list_pod_sandbox },

        { "CreateContainer", cri_create_container },
        { "StartContainer", cri_start_container },
        { "StopContainer", cri_stop_container },
        { "RemoveContainer", cri_remove_container },
        { "ContainerStatus", cri_container_status },
        { "ListContainers", cri_list_containers },
        { "ReopenContainerLog", cri_reopen_container_log },
        { "ExecSync", cri_exec_sync },
        { "Exec", cri_exec },
        { "Attach", cri_attach },
        { "PortForward", cri_port_forward },

        { "StreamPodSandboxes", cri_stream_pod_sandboxes },
        { "StreamContainers", cri_stream_containers },
        { "StreamContainerStats", cri_stream_container_stats },
        { "StreamPodSandboxStats", cri_stream_pod_sandbox_stats },
        { "GetContainerEvents", cri_get_container_events },

        { "ListMetricDescriptors", cri_list_metric_descriptors },
        { "ListPodSandboxMetrics", cri_list_pod_sandbox_metrics },
        { "StreamPodSandboxMetrics", cri_stream_pod_sandbox_metrics },

        { "CheckpointContainer", cri_checkpoint_container },
        { "CheckpointPod", cri_checkpoint_pod },
        { "RestorePod", cri_restore_pod },
        { "UpdateContainerResources", cri_update_container_resources },
        { "UpdatePodSandboxResources", cri_update_pod_sandbox_resources },

        { "ContainerStats", cri_container_stats },
        { "ListContainerStats", cri_list_container_stats },
        { "PodSandboxStats", cri_pod_sandbox_stats },
        { "ListPodSandboxStats", cri_list_pod_sandbox_stats },
        { 0 }
};

static const struct rpc_handler image[] = {
        { "ListImages", cri_list_images },
        { "StreamImages", cri_stream_images },
        { "ImageStatus", cri_image_status },
        { "PullImage", cri_pull_image },
        { "RemoveImage", cri_remove_image },
        { "ImageFsInfo", cri_image_fs_info },
        { 0 }
};

int cri_new(const struct cri_options *o, struct rpc_server *server, struct cri **ret, struct cringle_err *err)
{
        auto_of(cri) cri = calloc(1, sizeof *cri);

        if (!cri)
                return err_oom(err);
        *cri = (struct cri) {
                .pods = o->pods,
                .images = o->images,
                .host = o->host,
                .hooks = o->hooks,
                .workers = o->workers,
                .pullers = o->pullers,
                .loop = o->loop,
                .events = { .loop = o->loop },
        };
        if (rpc_server_add(server, &cri__runtime_service__descriptor, runtime, cri, err) < 0 ||
            rpc_server_add(server, &cri__image_service__descriptor, image, cri, err) < 0)
                return -1;

        pods_listen(cri->pods, stream_tell_all, &cri->events);
        *ret = steal(&cri);
        return 0;
}

struct cri *cri_free(struct cri *cri)
{
        if (cri)
                pods_listen(cri->pods, NULL, NULL);
        free(cri);
        return NULL;
}

static void left(void *data)
{
        struct rpc_call *call = data;
        struct cri *cri = rpc_call_data(call);
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf text = BUF_INIT;

        if (!pods_leave(cri->pods, call, &text))
                return;
        err_set(&err, CRINGLE_E_DEADLINE, "%s", text.data ? text.data : "still at work");
        rpc_call_fail(call, &err);
        rpc_call_unref(call);
}

void cri_wait(struct cri *cri, struct rpc_call *call)
{
        rpc_call_ref(call);
        rpc_call_on_cancel(call, left, call);
}

void cri_end(struct rpc_call *call, const struct cringle_err *err, const ProtobufCMessage *reply)
{
        if (err)
                rpc_call_fail(call, err);
        else
                rpc_call_reply(call, reply);
        rpc_call_unref(call);
}

struct run {
        struct cri_job job;
        void (*work)(struct cri_job *job);
};

static void run(void *data)
{
        struct run *r = data;

        r->work(&r->job);
        if (r->job.stream)
                stream_end(r->job.stream, NULL);
        rpc_call_unref(r->job.call);
        free(r);
}

static void start_run(struct cri *cri, struct workers *workers, struct rpc_call *call, const ProtobufCMessage *request,
                      struct stream *stream, void (*work)(struct cri_job *job))
{
        struct run *r = malloc(sizeof *r);

        if (!r)
                abort();
        *r = (struct run) {
                .job = { .cri = cri, .call = rpc_call_ref(call), .request = request, .stream = stream },
                .work = work,
        };
        workers_run(workers, run, r);
}

void cri_run(struct cri *cri, struct workers *workers, struct rpc_call *call, const ProtobufCMessage *request,
             void (*work)(struct cri_job *job))
{
        start_run(cri, workers, call, request, NULL, work);
}

void cri_run_stream(struct cri *cri, struct workers *workers, struct rpc_call *call, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *type, void (*work)(struct cri_job *job))
{
        start_run(cri, workers, call, request, stream_new(cri->loop, call, type), work);
}

void cri_reply_message(void *data, const ProtobufCMessage *message)
{
        rpc_call_reply(data, message);
}

void cri_reply_items(void *data, const struct iovec *items, size_t n)
{
        rpc_call_reply_packed(data, items, n);
}
