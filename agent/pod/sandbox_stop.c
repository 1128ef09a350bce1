/*
 * StopPodSandbox and RemovePodSandbox
 *
 * Both only go forward, and every step may run again: a step that fails leaves the
 * record, and the next call, or the next start of the agent, begins at the first step.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

/* One of the containers that a parked pod task waits for has ended its part. */
struct part {
        struct pod *pod;
        struct task *task;
};

static void part_done(void *data, const char *id, const struct cringle_err *err)
{
        struct part *part = data;
        struct pod *pod = part->pod;
        struct pods *pods = pod->pods;

        pthread_mutex_lock(&pods->tasks.lock);
        if (err && !pod->first_error.code) {
                pod->first_error = *err;
                err_wrap(&pod->first_error, "container %.12s", id);
        }
        if (--pod->waits_for == 0)
                task_resume(&pods->tasks, part->task);
        pthread_mutex_unlock(&pods->tasks.lock);
        free(part);
}

/* Each container by a task of its own; what runs in its lane is cancelled first. The pod's task waits parked. */
static int end_containers(struct task *t, struct pod *pod, const struct procedure *how, struct cringle_err *err)
{
        struct pods *pods = pod->pods;
        unsigned n = 0;

        pthread_mutex_lock(&pods->tasks.lock);
        pod->first_error.code = CRINGLE_OK;
        for (struct container *c = pod->containers; c; c = c->next) {
                struct part *part;

                if (how == &container_stop && c->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED && !c->lane.first)
                        continue;
                part = malloc(sizeof *part);
                if (!part)
                        abort();
                *part = (struct part) { .pod = pod, .task = t };
                n++;
                lane_cancel(&pods->tasks, &c->lane, container_remove.urgency);
                pods_start_container_task(c, how, false, NULL, part_done, part);
        }
        pod->waits_for = n;
        pthread_mutex_unlock(&pods->tasks.lock);
        return n ? STEP_HELD : STEP_DONE;
}

/* What the containers came to, once the task goes on. */
static int containers_ended(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        int r = 0;

        pthread_mutex_lock(&pod->pods->tasks.lock);
        if (pod->first_error.code) {
                *err = pod->first_error;
                r = -1;
        }
        pthread_mutex_unlock(&pod->pods->tasks.lock);
        return r;
}

static int stop_containers(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return end_containers(t, object, &container_stop, err);
}

static int remove_containers(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return end_containers(t, object, &container_remove, err);
}

static int run_stop_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        struct hooks_subject subject = pod_subject(pod);

        return pod->detached ? 0 : hooks_run(pod->pods->hooks, CRINGLE_POD_STOP, &subject, call, err);
}

static int detach_network(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;

        return pod->detached ? 0 : pod_detach_network(pod, call, err);
}

static int close_monitor(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_close_monitor(object, call, err);
}

static int unmount_files(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_unmount_files(object, err);
}

/* From here on the name is free: the kubelet makes the pod's next sandbox while this one is still listed. */
static int mark_stopped(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;

        pthread_mutex_lock(&pod->pods->tasks.lock);
        pod->status->state = CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        if (!pod->detached)
                pod_emit(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
        pod->detached = true;
        pod_drop_name(pod);
        pthread_mutex_unlock(&pod->pods->tasks.lock);
        return store_pod(pod, NULL, NULL, DB_FAST, err);
}

static int run_remove_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        struct hooks_subject subject = pod_subject(pod);

        return hooks_run(pod->pods->hooks, CRINGLE_POD_REMOVE, &subject, call, err);
}

static int remove_dirs(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_remove_dirs(object, err);
}

/* Acknowledged removals stay removed. */
static int drop_record(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return store_drop_pod(object, DB_DURABLE, err);
}

static int record_stop(void *object, const char *step, struct cringle_err *err)
{
        return store_pod(object, "stop", step, DB_FAST, err);
}

/* After the row is gone nothing may write it again. */
static int record_remove(void *object, const char *step, struct cringle_err *err)
{
        return store_pod(object, "remove", step, DB_FAST, err);
}

/* A failed stop or removal may be asked again, by way of the same steps.  The lock is held. */
static bool still_closing(const struct pod *pod)
{
        return lane_waits(&pod->lane, &sandbox_stop) || lane_waits(&pod->lane, &sandbox_remove);
}

static void finish_stop(struct task *t, void *object, const struct cringle_err *err)
{
        struct pod *pod = object;

        pthread_mutex_lock(&pod->pods->tasks.lock);
        pod->closing = still_closing(pod);
        pthread_mutex_unlock(&pod->pods->tasks.lock);
}

static void finish_remove(struct task *t, void *object, const struct cringle_err *err)
{
        struct pod *pod = object;
        bool seen;

        pthread_mutex_lock(&pod->pods->tasks.lock);
        pod->closing = still_closing(pod);
        seen = pod->visible;
        if (!err)
                pod_leave(pod);
        if (!err && seen)
                pod_emit(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT);
        pthread_mutex_unlock(&pod->pods->tasks.lock);
}

#define STOP_STEPS                                                                              \
        { "stop containers",    stop_containers,        NULL },                                 \
        { "wait for containers", containers_ended,      NULL },                                 \
        { "run stop hooks",     run_stop_hooks,         NULL },                                 \
        { "detach network",     detach_network,         NULL },         /* while the namespace still exists */ \
        { "close monitor",      close_monitor,          NULL },         /* and with it the namespaces */ \
        { "unmount files",      unmount_files,          NULL },                                 \
        { "mark stopped",       mark_stopped,           NULL }

static const struct step stop_steps[] = {
        STOP_STEPS,
        { 0 }
};

static const struct step remove_steps[] = {
        STOP_STEPS,
        { "remove containers",  remove_containers,      NULL },
        { "wait for removal",   containers_ended,       NULL },
        { "run remove hooks",   run_remove_hooks,       NULL },
        { "remove directories", remove_dirs,            NULL },
        { "drop record",        drop_record,            NULL },
        { 0 }
};

const struct procedure sandbox_stop = {
        .name = "stop pod",
        .steps = stop_steps,
        .record = record_stop,
        .finish = finish_stop,
        .urgency = 1,
};

const struct procedure sandbox_remove = {
        .name = "remove pod",
        .steps = remove_steps,
        .record = record_remove,
        .finish = finish_remove,
        .urgency = 2,
};

/* A pod that is being made: nobody sees it, but who knows its whole id may end it. */
static struct pod *under_way(struct pods *pods, const char *id)
{
        struct pod *pod = id_valid(id) ? map_get(&pods->by_id, id) : NULL;

        return pod && pod->lane.first ? pod : NULL;
}

/* Of what is absent there is nothing to stop or remove: success, as CRI wants it. */
static void end_pod(struct pods *pods, const struct procedure *how, const char *id, pods_done_fn done, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct pod *pod = NULL;
        int found;

        pthread_mutex_lock(&pods->tasks.lock);
        found = pods_find(pods, id, &pod, &err);
        if (found == 0 && !pod)
                pod = under_way(pods, id);
        if (!pod || (how == &sandbox_stop && pod->detached && !pod->lane.first)) {
                pthread_mutex_unlock(&pods->tasks.lock);
                done(data, id, found < 0 ? &err : NULL);
                return;
        }
        pod->closing = true;
        /* What makes it is undone, and leaves nothing to do for us. */
        lane_cancel(&pods->tasks, &pod->lane, pod->visible ? 0 : how->urgency);
        pods_start_pod_task(pod, how, true, NULL, done, data);
        pthread_mutex_unlock(&pods->tasks.lock);
}

void pods_stop_sandbox(struct pods *pods, const char *id, pods_done_fn done, void *data)
{
        end_pod(pods, &sandbox_stop, id, done, data);
}

void pods_remove_sandbox(struct pods *pods, const char *id, pods_done_fn done, void *data)
{
        end_pod(pods, &sandbox_remove, id, done, data);
}
