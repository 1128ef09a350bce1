#pragma once

/*
 * Requests as tables of steps, and who may run when
 *
 * A procedure is a table of named steps, apply beside undo.  If a step fails, the
 * undos run backwards from it, itself included.  An undo works from what is
 * recorded (ids, paths), so it is right whether its apply did all, part or nothing,
 * and may run again: after a crash the same table is rolled back from the step that
 * the store names.  A procedure whose steps have no undo only goes forward, and is
 * run again from its start.
 *
 * A task is one run of a procedure on one object.  Each object has a lane: its
 * tasks run one at a time, in the order in which they came.  A request that asks for
 * what a task in the lane already does joins it and gets its result.
 *
 * A step that has to wait for something slow (a grace period, other tasks) parks its
 * task: it returns STEP_PARKED, the worker goes, and task_resume() goes on with the next
 * step.  Cancelling ends that wait, too, unless the step returned STEP_HELD.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/loop.h"
#include "plugins/api/plugin.h"

struct task;

/* What apply can come to, failures aside. */
enum { STEP_DONE = 0, STEP_PARKED = 1, STEP_HELD = 2 };

struct step {
        const char *name;
        int (*apply)(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err);
        int (*undo)(void *object, const struct cringle_call *call, struct cringle_err *err);
};

#define TASK_GIVES_WAY (-1)

struct procedure {
        const char *name;               /* "run pod" */
        const struct step *steps;       /* ended by a NULL name */

        /* Put down in the store that @step is about to be applied. NULL: nothing to put down. */
        int (*record)(void *object, const char *step, struct cringle_err *err);

        /* Everything undone (err: not NULL) or done; runs before the waiters are told. */
        void (*finish)(struct task *t, void *object, const struct cringle_err *err);

        int64_t limit;                  /* nanoseconds for the whole of it; 0: ten minutes */
        bool for_waiters;               /* cancelled when the last who waits for it has left */
        int urgency;                    /* lane_cancel() ends what is less urgent; TASK_GIVES_WAY: than anything */
};

/* Tells a waiter how it ended: @id is the object's; @err is NULL on success.  Any thread. */
typedef void (*task_done_fn)(void *data, const char *id, const struct cringle_err *err);

/*
 * Where tasks run.  What is called "the lock" below is @lock: it guards all lanes
 * and waiters, and the caller's own state beside them.
 */
struct tasks {
        pthread_mutex_t lock;
        struct workers *workers;        /* borrowed */
        struct task *all;               /* for tasks_describe() */
};

void tasks_init(struct tasks *tasks, struct workers *workers);
void tasks_done(struct tasks *tasks);

/* An object's queue.  Zero bytes are an empty one. */
struct lane {
        struct task *first;             /* runs, or is parked */
        struct task *last;
};

/*
 * Run @procedure on @object, or join the last task of the lane when it runs the
 * same and @join says so.  @done may be NULL.  The lock is held.  Returns the task,
 * borrowed while the lock is held.
 *
 * ref/unref keep @object alive (the lock is held for both); may be NULL.
 */
struct task_options {
        struct lane *lane;
        const struct procedure *procedure;
        void *object;
        void (*ref)(void *object);
        void (*unref)(void *object);
        const char *id;                 /* of the object, for messages; copied */
        bool join;
        task_done_fn done;
        void *data;
        void *extra;                    /* task_extra(); freed with free() at the end, or at once when joined */
};

struct task *task_start(struct tasks *tasks, const struct task_options *options);

/* What the request brought along. */
void *task_extra(struct task *t);

/* A parked task goes on with the step after the one that parked it.  More than once: harmless.  Lock held. */
void task_resume(struct tasks *tasks, struct task *t);

/*
 * End soon what runs or waits in @lane and is less urgent than @urgency: its call is
 * cancelled, a parked one goes on.  A cancelled task still undoes or finishes; one that fails then says that it was
 * stopped, whatever its step said, with CRINGLE_E_CANCELLED.  Lock held.
 */
void lane_cancel(struct tasks *tasks, struct lane *lane, int urgency);

/* Whether @procedure is to run in @lane after what runs now.  Lock held. */
bool lane_waits(const struct lane *lane, const struct procedure *procedure);

/* True for a task that was cancelled. */
bool task_cancelled(const struct task *t);

/* True when an undo has failed: something is left of what the task made. */
bool task_left_over(const struct task *t);

/*
 * Let @data's wait end before its task does: its done function is not called.
 * Into @ret goes what the task is doing ("run pod 1f3a: at step 'attach network' for
 * 3.2 s").  False: @data is not waiting (any more).
 */
bool tasks_leave(struct tasks *tasks, void *data, struct buf *ret);

/* Call @fn for each task there is, under the lock. */
void tasks_describe(struct tasks *tasks,
                    void (*fn)(void *data, const char *procedure, const char *id, const char *step, int64_t age),
                    void *data);

/* The name of the step that comes last. */
const char *procedure_last_step(const struct procedure *procedure);

/* After a crash: undo @procedure on @object from the step called @step.  -1: something could not be undone. */
int procedure_undo(const struct procedure *procedure, void *object, const char *step, struct cringle_err *err);
