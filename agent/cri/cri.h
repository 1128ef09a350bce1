#pragma once

/*
 * What the files of this folder share
 */

#include <stdlib.h>

#include "cri.pb-c.h"

#include "agent/cri/service.h"
#include "agent/rpc/stream.h"

struct cri {
        struct pods *pods;
        struct images *images;
        struct host *host;
        struct hooks *hooks;
        struct workers *workers;
        struct workers *pullers;
        struct loop *loop;

        struct audience events;         /* those told of what happens to containers */
};

/* RPC handlers; the names are the methods'. */
#define HANDLER(name) void name(struct rpc_call *call, const ProtobufCMessage *request, void *data)

HANDLER(cri_version);
HANDLER(cri_status);
HANDLER(cri_runtime_config);
HANDLER(cri_update_runtime_config);

HANDLER(cri_run_pod_sandbox);
HANDLER(cri_stop_pod_sandbox);
HANDLER(cri_remove_pod_sandbox);
HANDLER(cri_pod_sandbox_status);
HANDLER(cri_list_pod_sandbox);

HANDLER(cri_create_container);
HANDLER(cri_start_container);
HANDLER(cri_stop_container);
HANDLER(cri_remove_container);
HANDLER(cri_container_status);
HANDLER(cri_list_containers);
HANDLER(cri_reopen_container_log);
HANDLER(cri_exec_sync);
HANDLER(cri_exec);
HANDLER(cri_attach);
HANDLER(cri_port_forward);

HANDLER(cri_checkpoint_container);
HANDLER(cri_checkpoint_pod);
HANDLER(cri_restore_pod);
HANDLER(cri_update_container_resources);
HANDLER(cri_update_pod_sandbox_resources);

HANDLER(cri_container_stats);
HANDLER(cri_list_container_stats);
HANDLER(cri_pod_sandbox_stats);
HANDLER(cri_list_pod_sandbox_stats);

HANDLER(cri_stream_pod_sandboxes);
HANDLER(cri_stream_containers);
HANDLER(cri_stream_images);
HANDLER(cri_stream_container_stats);
HANDLER(cri_stream_pod_sandbox_stats);
HANDLER(cri_get_container_events);

HANDLER(cri_list_metric_descriptors);
HANDLER(cri_list_pod_sandbox_metrics);
HANDLER(cri_stream_pod_sandbox_metrics);

HANDLER(cri_list_images);
HANDLER(cri_image_status);
HANDLER(cri_pull_image);
HANDLER(cri_remove_image);
HANDLER(cri_image_fs_info);

/*
 * For a request that becomes a task: @call is referenced for done(), which gets it as
 * data and lets go of it.  At its deadline, or when the client goes, the caller stops
 * waiting and is told where the task is; the task goes on, and a retry joins it.
 */
void cri_wait(struct cri *cri, struct rpc_call *call);

/*
 * What such a request ends with: the failure @err, or @reply.  Lets go of @call.
 */
void cri_end(struct rpc_call *call, const struct cringle_err *err, const ProtobufCMessage *reply);

/* Run @work(@job) on @workers; it answers. For what blocks without being a task. */
struct cri_job {
        struct cri *cri;
        struct rpc_call *call;          /* a reference, released after work() */
        const ProtobufCMessage *request;        /* lives as long as the call */
        struct stream *stream;          /* of cri_run_stream(); else NULL */
};

void cri_run(struct cri *cri, struct workers *workers, struct rpc_call *call, const ProtobufCMessage *request,
             void (*work)(struct cri_job *job));

/* As cri_run() for a method that answers with a stream of @type: job->stream, which ends with the job. */
void cri_run_stream(struct cri *cri, struct workers *workers, struct rpc_call *call, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *type, void (*work)(struct cri_job *job));

/* image.c: a Cri__ListImagesResponse to @fn. */
int cri_images_list(struct cri *cri, const Cri__ImageFilter *filter, pods_message_fn fn, void *data,
                    struct cringle_err *err);

/* A pods_message_fn, and a pods_items_fn, that answer the call @data. */
void cri_reply_message(void *data, const ProtobufCMessage *message);
void cri_reply_items(void *data, const struct iovec *items, size_t n);
