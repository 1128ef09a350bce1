/*
 * What the executor tells: containers end, execs end, pods get lost
 *
 * Events come on a thread of the executor's that must not be kept.  The new state
 * is taken over at once, in memory; storing it and telling hooks is a worker's job.
 */

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/pod/model.h"

/* Of a container whose end nobody saw. */
#define EXIT_UNKNOWN 255

static const char *reason_of(const struct cringle_container_state *state)
{
        if (state->oom)
                return "OOMKilled";
        return state->exit_code == 0 ? "Completed" : "Error";
}

static bool ended_already(const struct container *c)
{
        return c->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED;
}

static void take_exit(struct container *c, const struct cringle_container_state *state)
{
        Cri__ContainerStatus *s = c->status;

        s->state = CRI__CONTAINER_STATE__CONTAINER_EXITED;
        s->exit_code = state->exit_code;
        s->finished_at = state->finished_at ? state->finished_at : clock_realtime();
        if (!s->started_at)
                s->started_at = state->started_at ? state->started_at : s->finished_at;
        c->pid = 0;
        message_set(&s->reason, reason_of(state), NULL);
        if (c->stopping)
                task_resume(&c->pods->tasks, c->stopping);
}

static void tell(const struct container *c, Cri__ContainerEventType type)
{
        if (c->visible)
                container_emit(c, type);
}

bool container_set_state(struct container *c, const struct cringle_container_state *state)
{
        bool started;

        if (ended_already(c))
                return false;

        switch (state->state) {
        case CRINGLE_RUN_CREATED:
                c->pid = state->pid;
                return false;
        case CRINGLE_RUN_RUNNING:
        case CRINGLE_RUN_PAUSED:
                started = c->status->state != CRI__CONTAINER_STATE__CONTAINER_RUNNING;
                c->ran = true;
                c->pid = state->pid;
                c->status->state = CRI__CONTAINER_STATE__CONTAINER_RUNNING;
                c->status->started_at = state->started_at ? state->started_at : clock_realtime();
                if (started)
                        tell(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
                return false;
        case CRINGLE_RUN_EXITED:
                started = c->status->state == CRI__CONTAINER_STATE__CONTAINER_CREATED && state->started_at;
                if (state->started_at) {
                        c->ran = true;
                        c->status->started_at = state->started_at;
                }
                take_exit(c, state);
                if (started)                    /* and has ended before anybody saw it run */
                        tell(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
                tell(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
                return true;
        default:
                return false;
        }
}

bool container_set_lost(struct container *c, const char *message)
{
        struct cringle_container_state state = { .size = sizeof state, .state = CRINGLE_RUN_EXITED,
                                                 .exit_code = EXIT_UNKNOWN };

        if (ended_already(c))
                return false;

        take_exit(c, &state);
        message_set(&c->status->reason, "Unknown", NULL);
        message_set(&c->status->message, message, NULL);
        tell(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
        return true;
}

void container_ended(struct container *c)
{
        struct hooks_subject subject = container_subject(c);
        struct cringle_err err = CRINGLE_ERR_INIT;

        /* A task that is under way keeps its step: it alone may say that it is over. */
        if (store_container_state(c, DB_DURABLE, &err) < 0)
                log_error("container %.12s: its end could not be stored: %s", c->id, err.text);
        hooks_run(c->pods->hooks, CRINGLE_CONTAINER_STOPPED, &subject, NULL, &err);
}

static void end_on_worker(void *data)
{
        struct container *c = data;
        struct pods *pods = c->pods;

        container_ended(c);
        pthread_mutex_lock(&pods->tasks.lock);
        container_unref(c);
        pthread_mutex_unlock(&pods->tasks.lock);
}

/* The lock is held. */
static void defer_end(struct container *c)
{
        container_ref(c);
        workers_run(c->pods->workers, end_on_worker, c);
}

static void container_exited(struct pods *pods, const struct cringle_executor_event *event)
{
        struct container *c;

        pthread_mutex_lock(&pods->tasks.lock);
        c = map_get(&pods->containers, event->container);
        /* Of one that is being made, its making tells. */
        if (c && container_set_state(c, &event->state) && c->visible)
                defer_end(c);
        pthread_mutex_unlock(&pods->tasks.lock);
}

/* Its monitor is gone: the namespaces with it, and the kernel ends what was inside. */
static void pod_lost(struct pods *pods, const char *id)
{
        struct pod *pod;

        pthread_mutex_lock(&pods->tasks.lock);
        pod = map_get(&pods->by_id, id);
        if (pod && pod->visible && !pod->detached) {
                log_error("pod %.12s: its monitor is gone", id);
                pod->status->state = CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
                for (struct container *c = pod->containers; c; c = c->next)
                        if (container_set_lost(c, "the pod's monitor is gone"))
                                defer_end(c);
                execs_lost(pods, id);
                streaming_pod_lost(pods, id);
                if (!pod->closing)
                        pods_start_pod_task(pod, &sandbox_stop, true, NULL, NULL, NULL);
                pod->closing = true;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
}

/* An OCI hook has run, in the monitor's hands. */
static void hook_ran(struct pods *pods, const struct cringle_executor_event *event)
{
        const struct cringle_hook_run *run = event->hook;
        struct hooks_call call = { .pod_id = event->pod, .container_id = event->container };
        auto_free char *space = NULL, *pod_name = NULL, *name = NULL;
        struct container *c;

        if (event->hooks_lost)
                log_warning("pod %.12s: %llu runs of hooks, while the agent was away, are not known and not counted", event->pod,
                            (unsigned long long) event->hooks_lost);
        if (!run)
                return;
        pthread_mutex_lock(&pods->tasks.lock);
        c = map_get(&pods->containers, event->container);
        if (c) {
                space = strdup(c->pod->request->config->metadata->namespace_);
                pod_name = strdup(c->pod->request->config->metadata->name);
                name = strdup(c->request->config->metadata->name);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        call.source = *run->source ? run->source : "oci";       /* made by an agent that did not say */
        call.name = *run->name ? run->name : run->path;
        call.origin = run->origin;
        call.stage = run->stage;
        call.pod_space = space;
        call.pod_name = pod_name;
        call.container_name = name;
        call.error = run->error;
        call.timed_out = run->timed_out;
        call.ignored = run->ignored;
        call.nanoseconds = run->nanoseconds;
        call.ended_at = run->ended_at;
        hooks_called(pods->hooks, &call);
}

void container_event(void *data, const struct cringle_executor_event *event)
{
        struct pods *pods = data;

        switch (event->type) {
        case CRINGLE_EVENT_EXITED:
                container_exited(pods, event);
                break;
        case CRINGLE_EVENT_EXEC_EXITED:
                exec_ended(pods, event);
                streaming_exec_ended(pods, event);
                break;
        case CRINGLE_EVENT_POD_LOST:
                pod_lost(pods, event->pod);
                break;
        case CRINGLE_EVENT_HOOK:
                if (event->size >= sizeof *event)       /* an executor of 1.0 has no such */
                        hook_ran(pods, event);
                break;
        }
}
