/*
 * StopContainer and RemoveContainer
 *
 * Both only go forward.  While the container has its grace period the task is
 * parked: its end, the timer, or a more urgent request resumes it.
 */

#include <signal.h>
#include <stdlib.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

/* From SIGKILL until the container must have ended. */
#define KILL_LIMIT (60 * NSEC_PER_SEC)

/* By so much a timer may come early: the loop counts milliseconds. */
#define TIMER_TOLERANCE (2 * NSEC_PER_MSEC)

/* Of a stop: nanoseconds of grace; the lock guards it. */
struct stopping {
        int64_t grace;
};

/*
 * A created container has a process too: it waits to become the user's program.  One
 * that nobody sees was never made, or its making was undone.
 */
static bool has_process(const struct container *c)
{
        if (!c->visible)
                return false;
        return c->status->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING ||
               c->status->state == CRI__CONTAINER_STATE__CONTAINER_CREATED;
}

static bool is_running(struct container *c)
{
        bool running;

        pthread_mutex_lock(&c->pods->tasks.lock);
        running = c->visible && c->status->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return running;
}

static bool is_alive(struct container *c)
{
        bool alive;

        pthread_mutex_lock(&c->pods->tasks.lock);
        alive = has_process(c);
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return alive;
}

static int run_stop_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct hooks_subject subject = container_subject(c);

        return is_running(c) ? hooks_run(c->pods->hooks, CRINGLE_CONTAINER_STOP, &subject, NULL, err) : 0;
}

static void on_time(void *data)
{
        struct container *c = data;
        struct pods *pods = c->pods;

        pthread_mutex_lock(&pods->tasks.lock);
        c->timer = NULL;
        /* Else a later time has been set, and set_timer() is on its way. */
        if (c->stopping && c->wake_at && c->wake_at <= clock_monotonic() + TIMER_TOLERANCE)
                task_resume(&pods->tasks, c->stopping);
        container_unref(c);
        pthread_mutex_unlock(&pods->tasks.lock);
}

/* Loop thread: bring the timer in line with wake_at. */
static void set_timer(void *data)
{
        struct container *c = data;
        struct pods *pods = c->pods;

        pthread_mutex_lock(&pods->tasks.lock);
        container_stop_timer(c);
        if (c->wake_at) {
                container_ref(c);
                c->timer = loop_after(pods->loop, c->wake_at - clock_monotonic(), on_time, c);
        }
        container_unref(c);
        pthread_mutex_unlock(&pods->tasks.lock);
}

void container_stop_timer(struct container *c)
{
        if (!c->timer)
                return;
        loop_timer_cancel(c->timer);
        c->timer = NULL;
        container_unref(c);
}

/* @t waits for the end until @wake_at; NULL and 0: nobody waits.  The lock is held. */
static void wait_for_end(struct container *c, struct task *t, int64_t wake_at)
{
        c->stopping = t;
        if (c->wake_at == wake_at)
                return;
        c->wake_at = wake_at;
        container_ref(c);
        loop_post(c->pods->loop, set_timer, c);
}

static int ask_to_end(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct pods *pods = c->pods;
        const struct stopping *how = task_extra(t);
        int64_t began = clock_monotonic(), grace;
        int r = STEP_DONE;

        pthread_mutex_lock(&pods->tasks.lock);
        grace = how ? how->grace : 0;
        pthread_mutex_unlock(&pods->tasks.lock);
        if (grace == 0 || task_cancelled(t) || !is_running(c))
                return STEP_DONE;
        if (pods->executor.ops->kill(pods->executor.self, call, c->pod->id, c->id, c->stop_signal, 0, err) < 0)
                return task_cancelled(t) ? STEP_DONE : -1;

        pthread_mutex_lock(&pods->tasks.lock);
        if (has_process(c)) {                   /* else it has ended already */
                c->killed = false;
                wait_for_end(c, t, began + how->grace);
                r = STEP_PARKED;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

/* Who cancels, or asks for less grace, has no say in this: the end is near, and will be told. */
static int kill_rest(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct pods *pods = c->pods;
        struct cringle_call within = call_within(NULL, KILL_LIMIT);
        int r = STEP_DONE;

        pthread_mutex_lock(&pods->tasks.lock);
        wait_for_end(c, NULL, 0);
        c->killed = true;
        pthread_mutex_unlock(&pods->tasks.lock);
        if (!is_alive(c))
                return STEP_DONE;
        if (pods->executor.ops->kill(pods->executor.self, &within, c->pod->id, c->id, SIGKILL, 1, err) < 0)
                return -1;

        pthread_mutex_lock(&pods->tasks.lock);
        if (has_process(c)) {
                wait_for_end(c, t, within.deadline);
                r = STEP_HELD;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

/* The executor told of the end, or lost it: then what it knows now counts. */
static int take_end(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct pods *pods = c->pods;
        struct cringle_container_state state = { .size = sizeof state };
        bool ended = false;

        pthread_mutex_lock(&pods->tasks.lock);
        wait_for_end(c, NULL, 0);
        pthread_mutex_unlock(&pods->tasks.lock);
        if (!is_alive(c))
                return 0;
        if (pods->executor.ops->state(pods->executor.self, c->pod->id, c->id, &state, err) < 0)
                return -1;

        pthread_mutex_lock(&pods->tasks.lock);
        if (state.state == CRINGLE_RUN_NONE)
                ended = container_set_lost(c, "its process is gone");
        else
                ended = container_set_state(c, &state);
        pthread_mutex_unlock(&pods->tasks.lock);
        if (ended)
                container_ended(c);
        return is_alive(c) ? err_set(err, CRINGLE_E_UNAVAILABLE, "it still runs after SIGKILL") : 0;
}

static int record_stop(void *object, const char *step, struct cringle_err *err)
{
        return store_container(object, "stop", step, DB_FAST, err);
}

static void finish_stop(struct task *t, void *object, const struct cringle_err *err)
{
        struct container *c = object;
        struct cringle_err why = CRINGLE_ERR_INIT;

        pthread_mutex_lock(&c->pods->tasks.lock);
        wait_for_end(c, NULL, 0);
        pthread_mutex_unlock(&c->pods->tasks.lock);
        if (store_container(c, NULL, NULL, DB_FAST, &why) < 0)
                log_warning("stop container %.12s: %s", c->id, why.text);
}

static int run_remove_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct hooks_subject subject = container_subject(c);

        return hooks_run(c->pods->hooks, CRINGLE_CONTAINER_REMOVE, &subject, call, err);
}

static int destroy_process(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return container_destroy_process(object, call, err);
}

static int remove_cgroup(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return container_remove_cgroup(object, call, err);
}

static int remove_files(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return container_remove_files(object, err);
}

static int release_image(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;

        images_release(c->pods->images, c->id);
        return 0;
}

static int drop_record(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return store_drop_container(object, DB_DURABLE, err);
}

static int record_remove(void *object, const char *step, struct cringle_err *err)
{
        return store_container(object, "remove", step, DB_FAST, err);
}

static void finish_remove(struct task *t, void *object, const struct cringle_err *err)
{
        struct container *c = object;

        pthread_mutex_lock(&c->pods->tasks.lock);
        wait_for_end(c, NULL, 0);
        c->closing = lane_waits(&c->lane, &container_remove);
        if (!err) {
                container_leave(c);
                container_emit(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT);
        }
        pthread_mutex_unlock(&c->pods->tasks.lock);
}

#define STOP_STEPS                                              \
        { "run stop hooks", run_stop_hooks, NULL },             \
        { "ask to end",     ask_to_end,     NULL },             \
        { "kill the rest",  kill_rest,      NULL },             \
        { "take the end",   take_end,       NULL }

static const struct step stop_steps[] = {
        STOP_STEPS,
        { 0 }
};

static const struct step remove_steps[] = {
        STOP_STEPS,
        { "run remove hooks", run_remove_hooks, NULL },
        { "destroy process",  destroy_process,  NULL },         /* poststop hooks run in it */
        { "remove cgroup",    remove_cgroup,    NULL },
        { "remove files",     remove_files,     NULL },
        { "release image",    release_image,    NULL },
        { "drop record",      drop_record,      NULL },
        { 0 }
};

const struct procedure container_stop = {
        .name = "stop container",
        .steps = stop_steps,
        .record = record_stop,
        .finish = finish_stop,
        .urgency = 1,
};

const struct procedure container_remove = {
        .name = "remove container",
        .steps = remove_steps,
        .record = record_remove,
        .finish = finish_remove,
        .urgency = 2,
};

/* The grace period of a stop under way, or still to come, ends @grace from now, if that is sooner than it would. */
static void hurry(struct container *c, struct stopping *its, int64_t grace)
{
        int64_t end = clock_monotonic() + grace;

        if (!its)
                return;
        if (grace < its->grace)
                its->grace = grace;
        if (c->stopping && !c->killed && end < c->wake_at)
                wait_for_end(c, c->stopping, end);
}

void pods_stop_container(struct pods *pods, const char *id, int64_t grace, pods_done_fn done, void *data)
{
        struct stopping *how = malloc(sizeof *how);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct container *c = NULL;
        int found;

        if (!how)
                abort();
        grace = grace <= 0 ? 0 : grace > INT64_MAX / NSEC_PER_SEC / 4 ? INT64_MAX / 4 : grace * NSEC_PER_SEC;
        how->grace = grace;

        pthread_mutex_lock(&pods->tasks.lock);
        found = containers_find(pods, id, &c, &err);
        if (!c || (c->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED && !c->lane.first)) {
                pthread_mutex_unlock(&pods->tasks.lock);
                free(how);
                done(data, id, found < 0 ? &err : NULL);
                return;
        }
        lane_cancel(&pods->tasks, &c->lane, container_stop.urgency);    /* a start has no point any more */
        container_give_up_capture(c);
        hurry(c, task_extra(pods_start_container_task(c, &container_stop, true, how, done, data)), grace);
        pthread_mutex_unlock(&pods->tasks.lock);
}

void pods_remove_container(struct pods *pods, const char *id, pods_done_fn done, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct container *c = NULL;
        int found;

        pthread_mutex_lock(&pods->tasks.lock);
        found = containers_find(pods, id, &c, &err);
        if (!c) {
                pthread_mutex_unlock(&pods->tasks.lock);
                done(data, id, found < 0 ? &err : NULL);
                return;
        }
        c->closing = true;
        lane_cancel(&pods->tasks, &c->lane, container_remove.urgency);  /* nobody waits for a grace period, or a start, any more */
        container_give_up_capture(c);
        pods_start_container_task(c, &container_remove, true, NULL, done, data);
        pthread_mutex_unlock(&pods->tasks.lock);
}
