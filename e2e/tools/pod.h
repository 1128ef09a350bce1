#pragma once

/*
 * Pods as a kubelet asks for them, one call of the container runtime interface at a time
 *
 * One container, `sleep`, with the node's default seccomp profile, the kubelet's masked and
 * read-only paths, limits on CPU and memory, and a PID namespace of its own; more of them
 * when they are asked for.  All carry the label by which pod_list() finds them again, and labels and
 * annotations as a kubelet gives them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/own.h"
#include "agent/rpc/client.h"
#include "cri.pb-c.h"

static inline void auto_reply_(void *p)
{
        ProtobufCMessage *message = *(ProtobufCMessage **) p;

        if (message)
                protobuf_c_message_free_unpacked(message, NULL);
}

#define auto_reply(type) auto_cleanup(auto_reply_) type *

/* Call @method with @request; *ret_time (may be NULL) is how long the answer took, in nanoseconds. */
int cri_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
             const ProtobufCMessage *request, ProtobufCMessage **ret, int64_t *ret_time, struct cringle_err *err);

#define cri_runtime(client, method, request, ret, ret_time, err)                                                \
        cri_call((client), &cri__runtime_service__descriptor, (method), &(request)->base,                       \
                 (ProtobufCMessage **) (ret), (ret_time), (err))
#define cri_images(client, method, request, ret, ret_time, err)                                                 \
        cri_call((client), &cri__image_service__descriptor, (method), &(request)->base,                         \
                 (ProtobufCMessage **) (ret), (ret_time), (err))

struct pod_spec {
        const char *image;
        const char *cgroup_parent;      /* NULL: the runtime's own choice */
        const char *log_dir;            /* each pod gets a directory in it; NULL: no logs */
        char *const *cdi_devices;       /* that the container asks for, ended by NULL; may be NULL */
        size_t containers;              /* of each pod that is to stay */
        bool host_network;
};

/* The label by which a kubelet asks for one pod, and one by which to ask for some; values are the pod's name, its @group. */
#define POD_UID_LABEL "io.kubernetes.pod.uid"
#define POD_GROUP_LABEL "cringle-load-group"

/* A pod's life, in this order. */
enum pod_call {
        POD_RUN,
        POD_CREATE,
        POD_START,                      /* the last on the way up */
        POD_STOP_CONTAINER,
        POD_REMOVE_CONTAINER,
        POD_STOP,
        POD_REMOVE,
        POD_CALLS
};

/* "RunPodSandbox" */
const char *pod_call_name(enum pod_call call);

struct pod;

/* A pod @name of @spec, which must stay; nothing is asked yet. */
int pod_new(const struct pod_spec *spec, const char *name, const char *group, struct pod **ret, struct cringle_err *err);
struct pod *pod_free(struct pod *p);

int pod_call(struct pod *p, struct rpc_client *client, enum pod_call call, int64_t *ret_time, struct cringle_err *err);

/* One more container beside the first, the @nth, created and started. */
int pod_add_container(struct pod *p, struct rpc_client *client, size_t nth, struct cringle_err *err);

/* Stop and remove whatever there is of it after a failure; what goes wrong here is not told. */
void pod_abandon(struct pod *p, struct rpc_client *client);

/* Ids, borrowed; NULL before the call that gives them. */
const char *pod_id(const struct pod *p);
const char *pod_container(const struct pod *p);

/* All pods made here, by this program or an earlier one. */
int pod_list(struct rpc_client *client, Cri__ListPodSandboxResponse **ret, struct cringle_err *err);

AUTO_DEFINE(pod, pod_free)
