/*
 * A stage's hooks, run by the monitor one after the other
 */

#include <sys/epoll.h>

#include "agent/base/clock.h"
#include "agent/base/own.h"
#include "agent/monitor/monitor.h"

static void finish(struct hooks *h, int result, struct cringle_err *err)
{
        h->active = false;
        h->state_fd = fd_close(h->state_fd);
        h->done(h, result, err);
}

static void out_event(struct source *s, uint32_t events)
{
        struct hooks *h = SOURCE_OF(struct hooks, out, s);

        /* While it is open: a child of ours that was just born has a copy, and epoll forgets none but the last. */
        if (!hook_drain(&h->hook))
                source_stop(s);
}

static void tell(struct hooks *h, const struct wire_hook *run)
{
        serve_hook(SOURCE_OF(struct container, hooks, h), run);
}

/* Not even started. */
static void tell_stillborn(struct hooks *h, const struct cringle_err *err)
{
        struct wire_hook run = { .stage = h->stage, .index = h->index, .exit_code = -1, .ended_at = clock_realtime(),
                                 .error = err->text };

        if (hook_name_run(h->plan, &run))
                tell(h, &run);
}

/* Start the next hook, or be done. */
static void next(struct hooks *h)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct rec_cursor body;

        if (hook_next(&h->at, h->stage, &h->index, &body) == 0) {
                finish(h, 0, &err);
                return;
        }
        if (hook_start(h->plan, body, h->stage, h->index, h->state_fd, &h->hook, &err) < 0) {
                tell_stillborn(h, &err);
                finish(h, -1, &err);
                return;
        }
        if (source_watch(&h->out, h->hook.stderr_fd, EPOLLIN, out_event, &err) < 0)
                h->out.fd = -1;         /* its last words are read when it has ended */
}

void hooks_run(struct hooks *h, struct rec_cursor plan, enum plan_stage stage, const char *status, int32_t pid,
               void (*done)(struct hooks *h, int result, struct cringle_err *err))
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct rec_cursor at = plan, body;
        unsigned count = 0;

        *h = (struct hooks) { .plan = plan, .at = plan, .stage = stage, .state_fd = -1, .done = done,
                              .out = { .fd = -1 }, .hook = { .stderr_fd = -1 } };
        if (hook_next(&at, stage, &count, &body) == 0) {
                finish(h, 0, &err);
                return;
        }
        h->state_fd = hook_state(plan, status, pid, &err);
        if (h->state_fd < 0) {
                finish(h, -1, &err);
                return;
        }
        h->active = true;
        next(h);
}

void hooks_reaped(struct hooks *h, int status)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct wire_hook run;
        int result;

        source_stop(&h->out);
        result = hook_finish(&h->hook, status, &run, &err);
        h->hook.pid = 0;
        if (result < 0 && h->stage == PLAN_POSTSTOP)
                run.flags |= WIRE_HOOK_IGNORED;
        tell(h, &run);
        if (result < 0 && h->stage != PLAN_POSTSTOP && (!h->hook.ignore || h->stopped)) {
                finish(h, -1, &err);
                return;
        }
        next(h);
}

void hooks_kill(struct hooks *h)
{
        h->stopped = true;
        if (h->active && h->hook.pid > 0)
                hook_kill(&h->hook);
}

int64_t hooks_deadline(const struct hooks *h)
{
        return h->active && !h->hook.timed_out ? h->hook.deadline : 0;
}

void hooks_tick(struct hooks *h, int64_t now)
{
        int64_t deadline = hooks_deadline(h);

        if (deadline && now >= deadline)
                hook_expire(&h->hook);
}
