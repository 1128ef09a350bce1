/*
 * UpdatePodSandboxResources
 *
 * The pod's cgroup is the kubelet's: what it tells of it is kept with the pod,
 * shown, and told to hooks, which may refuse it.
 */

#include <stdlib.h>

#include "agent/pod/model.h"

struct updating {
        struct pod *pod;                /* a reference */
        Cri__UpdatePodSandboxResourcesRequest *request;
        pods_done_fn done;
        void *data;
};

static int update_pod(struct pod *pod, Cri__UpdatePodSandboxResourcesRequest **request, struct cringle_err *err)
{
        struct hooks_subject subject = pod_subject(pod);
        Cri__UpdatePodSandboxResourcesRequest *told = message_copy(*request);
        int r;

        if (!told)
                return err_oom(err);
        r = hooks_update_pod(pod->pods->hooks, &subject, told, NULL, err);
        if (r == 0)
                r = store_pod_resources(pod, request, err);
        if (r == 0)
                hooks_updated(pod->pods->hooks, &subject, told, true);
        message_free((ProtobufCMessage *) told);
        return r;
}

static void update(void *data)
{
        struct updating *u = data;
        struct pods *pods = u->pod->pods;
        struct cringle_err err = CRINGLE_ERR_INIT;
        int r = update_pod(u->pod, &u->request, &err);

        u->done(u->data, u->pod->id, r < 0 ? &err : NULL);
        pthread_mutex_lock(&pods->tasks.lock);
        pod_unref(u->pod);
        pthread_mutex_unlock(&pods->tasks.lock);
        message_free((ProtobufCMessage *) u->request);
        free(u);
}

void pods_update_sandbox(struct pods *pods, const Cri__UpdatePodSandboxResourcesRequest *request, pods_done_fn done,
                         void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct updating *u = malloc(sizeof *u);
        Cri__UpdatePodSandboxResourcesRequest *copy = message_copy(request);
        struct pod *pod;
        int found;

        if (!u || !copy)
                abort();
        pthread_mutex_lock(&pods->tasks.lock);
        found = find_pod(pods, request->pod_sandbox_id, &pod, &err);
        if (found == 0 && pod->status->state != CRI__POD_SANDBOX_STATE__SANDBOX_READY)
                found = err_set(&err, CRINGLE_E_PRECONDITION, "pod sandbox %.12s is not ready", pod->id);
        if (found == 0) {
                pod_ref(pod);
                *u = (struct updating) { .pod = pod, .request = copy, .done = done, .data = data };
                workers_run(pods->workers, update, u);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        if (found < 0) {
                message_free((ProtobufCMessage *) copy);
                free(u);
                done(data, request->pod_sandbox_id, &err);
        }
}
