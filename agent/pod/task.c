/*
 * Tasks and lanes; see task.h.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/log.h"
#include "agent/base/own.h"
#include "agent/base/testpoint.h"
#include "agent/pod/task.h"

#define LIMIT_DEFAULT (600 * NSEC_PER_SEC)
#define UNDO_LIMIT (120 * NSEC_PER_SEC)
#define SLOW_TASK (10 * NSEC_PER_SEC)

struct waiter {
        struct waiter *next;
        task_done_fn done;
        void *data;
};

struct task {
        struct task *next;              /* in its lane */
        struct task *next_all, **at_all;
        struct tasks *tasks;
        struct lane *lane;
        const struct procedure *procedure;
        void *object;
        void (*unref)(void *object);
        void *extra;
        char id[80];
        struct waiter *waiters;
        struct cringle_call call;
        const struct step *at;          /* the step that runs; under the lock */
        int64_t started, step_started;
        atomic_bool cancelled;          /* set under the lock */
        bool left_over;
        bool held;                      /* parked, and cancelling does not change that */
        enum { QUEUED, RUNNING, PARKED, RESUMED } state;
};

void tasks_init(struct tasks *tasks, struct workers *workers)
{
        pthread_mutex_init(&tasks->lock, NULL);
        tasks->workers = workers;
        tasks->all = NULL;
}

void tasks_done(struct tasks *tasks)
{
        pthread_mutex_destroy(&tasks->lock);
}

/* "run pod:attach network:begun"; see agent/base/testpoint.h. */
static void point(const struct procedure *p, const struct step *step, const char *what)
{
        char name[160];

        snprintf(name, sizeof name, "%s:%s:%s", p->name, step->name, what);
        test_point(name);
}

static int undo_from(const struct procedure *p, const struct step *step, void *object, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, UNDO_LIMIT);
        int r = 0;

        for (; step >= p->steps; step--) {
                struct cringle_err why = CRINGLE_ERR_INIT;

                if (!step->undo)
                        continue;
                if (r < 0 && step == p->steps)
                        break;          /* the record stays, so that what is left can be found and undone later */
                if (step->undo(object, &call, &why) < 0) {
                        log_warning("%s: undo '%s': %s; it will be tried again at the next start", p->name,
                                    step->name, why.text);
                        if (r == 0)
                                err_set(err, why.code, "undo '%s': %s", step->name, why.text);
                        r = -1;
                }
                point(p, step, "undone");
        }
        return r;
}

const char *procedure_last_step(const struct procedure *p)
{
        const struct step *s = p->steps;

        while (s[1].name)
                s++;
        return s->name;
}

int procedure_undo(const struct procedure *p, void *object, const char *step, struct cringle_err *err)
{
        const struct step *at = p->steps;

        for (const struct step *s = p->steps; s->name; s++)
                if (step && strcmp(s->name, step) == 0)
                        at = s;
        return undo_from(p, at, object, err);
}

static void task_run(void *data);

static void start_next(struct tasks *tasks, struct lane *lane)
{
        if (!lane->first)
                return;

        lane->first->state = RUNNING;
        workers_run(tasks->workers, task_run, lane->first);
}

static void task_free(struct task *t)
{
        fd_close(t->call.cancel_fd);
        free(t->extra);
        free(t);
}

/* The result goes to the waiters after the lane has moved on: they may come right back. */
static void task_end(struct task *t, const struct cringle_err *err)
{
        struct tasks *tasks = t->tasks;
        struct waiter *waiters;
        int64_t took = clock_monotonic() - t->started;

        if (t->procedure->finish)
                t->procedure->finish(t, t->object, err);
        if (err)
                log_warning("%s %.12s: %s", t->procedure->name, t->id, err->text);
        else if (took > SLOW_TASK)
                log_info("%s %.12s took %.1f s", t->procedure->name, t->id, (double) took / NSEC_PER_SEC);
        else
                log_debug("%s %.12s took %.1f ms", t->procedure->name, t->id, (double) took / NSEC_PER_MSEC);

        pthread_mutex_lock(&tasks->lock);
        waiters = t->waiters;
        t->waiters = NULL;
        t->lane->first = t->next;
        if (!t->next)
                t->lane->last = NULL;
        *t->at_all = t->next_all;
        if (t->next_all)
                t->next_all->at_all = t->at_all;
        start_next(tasks, t->lane);
        pthread_mutex_unlock(&tasks->lock);

        while (waiters) {
                struct waiter *next = waiters->next;

                waiters->done(waiters->data, t->id, err);
                free(waiters);
                waiters = next;
        }

        pthread_mutex_lock(&tasks->lock);
        if (t->unref)
                t->unref(t->object);
        pthread_mutex_unlock(&tasks->lock);
        task_free(t);
}

static int apply(struct task *t, struct cringle_err *err)
{
        const struct procedure *p = t->procedure;
        const struct step *step = t->at;
        int r;

        if (p->record && p->record(t->object, step->name, err) < 0)
                return -1;
        point(p, step, "begun");
        r = step->apply(t, t->object, &t->call, err);
        point(p, step, "done");
        return r;
}

/* Park, unless somebody has resumed this step, or cancelled meanwhile. */
static bool parked(struct task *t, bool held)
{
        bool yes;

        pthread_mutex_lock(&t->tasks->lock);
        yes = t->state == RUNNING && (held || !t->cancelled);
        if (yes)
                t->state = PARKED;
        t->held = held;
        pthread_mutex_unlock(&t->tasks->lock);
        return yes;
}

static void step_on(struct task *t)
{
        pthread_mutex_lock(&t->tasks->lock);
        t->at = t->at ? t->at + 1 : t->procedure->steps;
        t->state = RUNNING;             /* who resumed the step before has nothing to say to this one */
        t->step_started = clock_monotonic();
        pthread_mutex_unlock(&t->tasks->lock);
}

static void task_run(void *data)
{
        struct task *t = data;
        struct cringle_err err = CRINGLE_ERR_INIT;

        log_set_request(t->id);
        for (step_on(t); t->at->name; step_on(t)) {
                int r = apply(t, &err);

                if (r > STEP_DONE && parked(t, r == STEP_HELD)) {
                        log_set_request(NULL);
                        return;
                }
                if (r < 0) {
                        err_wrap(&err, "%s", t->at->name);
                        if (t->cancelled) {     /* whatever the step made of that */
                                err_wrap(&err, "stopped meanwhile");
                                err.code = CRINGLE_E_CANCELLED;
                        }
                        t->left_over = undo_from(t->procedure, t->at, t->object, NULL) < 0;
                        task_end(t, &err);
                        log_set_request(NULL);
                        return;
                }
        }
        task_end(t, NULL);
        log_set_request(NULL);
}

static struct task *task_new(struct tasks *tasks, const struct task_options *o)
{
        struct task *t = calloc(1, sizeof *t);

        if (!t)
                return NULL;

        t->tasks = tasks;
        t->lane = o->lane;
        t->procedure = o->procedure;
        t->object = o->object;
        t->unref = o->unref;
        t->extra = o->extra;
        snprintf(t->id, sizeof t->id, "%s", o->id);
        t->started = clock_monotonic();
        t->call = (struct cringle_call) {
                .size = sizeof t->call,
                .deadline = t->started + (o->procedure->limit ? o->procedure->limit : LIMIT_DEFAULT),
                .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),    /* -1, when fds are out: to be waited for */
                .request = t->id,
        };
        return t;
}

static void add_waiter(struct task *t, task_done_fn done, void *data)
{
        struct waiter *w;

        if (!done)
                return;
        w = malloc(sizeof *w);
        if (!w) {
                log_error("out of memory");
                abort();
        }
        *w = (struct waiter) { .next = t->waiters, .done = done, .data = data };
        t->waiters = w;
}

struct task *task_start(struct tasks *tasks, const struct task_options *o)
{
        struct lane *lane = o->lane;
        struct task *t = lane->last;

        if (o->join && t && t->procedure == o->procedure && !t->cancelled) {
                add_waiter(t, o->done, o->data);
                free(o->extra);
                return t;
        }

        t = task_new(tasks, o);
        if (!t) {
                log_error("no memory for a task");       /* with all pods in the monitors' hands */
                abort();
        }
        if (o->ref)
                o->ref(o->object);
        add_waiter(t, o->done, o->data);
        t->next_all = tasks->all;
        t->at_all = &tasks->all;
        if (tasks->all)
                tasks->all->at_all = &t->next_all;
        tasks->all = t;

        if (lane->last) {
                lane->last->next = t;
                lane->last = t;
        } else {
                lane->first = lane->last = t;
                start_next(tasks, lane);
        }
        return t;
}

void *task_extra(struct task *t)
{
        return t->extra;
}

void task_resume(struct tasks *tasks, struct task *t)
{
        if (t->state == PARKED) {
                t->state = RUNNING;
                workers_run(tasks->workers, task_run, t);
        } else if (t->state == RUNNING) {
                t->state = RESUMED;     /* it is about to park */
        }
}

static void cancel(struct task *t)
{
        t->cancelled = true;
        (void) !write(t->call.cancel_fd, &(uint64_t) { 1 }, sizeof(uint64_t));
        if (t->state == PARKED && !t->held)
                task_resume(t->tasks, t);
}

void lane_cancel(struct tasks *tasks, struct lane *lane, int urgency)
{
        for (struct task *t = lane->first; t; t = t->next) {
                if (t->cancelled || t->procedure->urgency >= urgency)
                        continue;
                cancel(t);
        }
}

bool lane_waits(const struct lane *lane, const struct procedure *procedure)
{
        for (const struct task *t = lane->first ? lane->first->next : NULL; t; t = t->next)
                if (t->procedure == procedure)
                        return true;

        return false;
}

bool task_cancelled(const struct task *t)
{
        return t->cancelled;
}

bool task_left_over(const struct task *t)
{
        return t->left_over;
}

bool tasks_leave(struct tasks *tasks, void *data, struct buf *ret)
{
        bool found = false;

        pthread_mutex_lock(&tasks->lock);
        for (struct task *t = tasks->all; t && !found; t = t->next_all)
                for (struct waiter **at = &t->waiters; *at; at = &(*at)->next) {
                        struct waiter *w = *at;

                        if (w->data != data)
                                continue;
                        buf_printf(ret, NULL, "%s %.12s: %s '%s' for %.1f s, and %s", t->procedure->name, t->id,
                                   t->at && t->at->name ? "at step" : "waits for", t->at && t->at->name ? t->at->name : "its turn",
                                   (double) (clock_monotonic() - (t->at ? t->step_started : t->started)) / NSEC_PER_SEC,
                                   t->procedure->for_waiters && !t->waiters->next ? "being ended" : "going on");
                        *at = w->next;
                        free(w);
                        if (t->procedure->for_waiters && !t->waiters && !t->cancelled)
                                cancel(t);
                        found = true;
                        break;
                }
        pthread_mutex_unlock(&tasks->lock);
        return found;
}

void tasks_describe(struct tasks *tasks,
                    void (*fn)(void *data, const char *procedure, const char *id, const char *step, int64_t age),
                    void *data)
{
        pthread_mutex_lock(&tasks->lock);
        for (struct task *t = tasks->all; t; t = t->next_all)
                fn(data, t->procedure->name, t->id, t->at && t->at->name ? t->at->name : "waiting",
                   clock_monotonic() - t->started);
        pthread_mutex_unlock(&tasks->lock);
}
