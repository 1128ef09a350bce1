#pragma once

/*
 * Running OCI hooks
 *
 * A hook gets a process group of its own, the state JSON on stdin, exactly its own
 * environment, and no fds but stdio.  It runs in the namespaces of whoever starts
 * it, in the bundle's directory.  When its time is over the whole group is killed.
 * What it says on stderr is kept, the last HOOK_TAIL_MAX bytes, for the error text.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/err.h"
#include "agent/wire/monitor.h"
#include "agent/wire/plan.h"

#define HOOK_TAIL_MAX 512

struct hook {
        pid_t pid;                      /* also its process group */
        int stderr_fd;                  /* non-blocking; -1: closed */
        int64_t begun;                  /* CLOCK_MONOTONIC nanoseconds */
        int64_t deadline;               /* the same; 0: none */
        bool timed_out, killed;         /* at most one of them */
        bool ignore;                    /* its failure is a warning */
        enum plan_stage stage;
        unsigned index;                 /* within its stage */
        const char *path;               /* borrowed from the plan, as are: */
        const char *source, *name, *origin;     /* whose it is; "": a plan that does not say */
        size_t tail_n;
        char tail[HOOK_TAIL_MAX];
};

/* What hooks are to start from where the caller has changed its own. */
struct hook_origin {
        bool known;
        int oom_score;
        uint64_t nofile_soft;           /* RLIMIT_NOFILE */
};

/* For all hooks started from here on, also by children of the caller.  Otherwise they inherit. */
void hook_set_origin(const struct hook_origin *origin);

/*
 * The next hook of @stage from *@plan on; *@index counts them.  1: @body is its record; 0: there is none.
 */
int hook_next(struct rec_cursor *plan, enum plan_stage stage, unsigned *index, struct rec_cursor *ret_body);

/* A memory file with the state JSON: stdin of the hooks of a stage.  The caller's. */
int hook_state(struct rec_cursor plan, const char *status, int32_t pid, struct cringle_err *err);

/* Start the hook @body, number @index of @stage, with @state_fd (borrowed) as stdin. */
int hook_start(struct rec_cursor plan, struct rec_cursor body, enum plan_stage stage, unsigned index, int state_fd,
               struct hook *ret, struct cringle_err *err);

/*
 * Take in what stderr has, some of it if that is much.  Call while stderr_fd is readable.  False: it is at its end, and wants
 * no more looking at; the fd stays open until hook_finish(), for the caller may have to take it off a list of his first.
 */
bool hook_drain(struct hook *h);

/* SIGKILL to its group, because its time is over. */
void hook_expire(struct hook *h);

/* SIGKILL to its group, because what it was run for comes to nothing. */
void hook_kill(struct hook *h);

/*
 * Call once it was reaped with wait status @status.  0, or -1 with an error that says all of it.  *ret_run is filled either
 * way, its strings borrowed from the plan and from @err, which is not NULL.
 */
int hook_finish(struct hook *h, int status, struct wire_hook *ret_run, struct cringle_err *err);

/*
 * For hooks whose end another process knows: fill in whose the hook @run->index of @run->stage is and its path, borrowed
 * from @plan.  False: there is no such hook.
 */
bool hook_name_run(struct rec_cursor plan, struct wire_hook *run);

/*
 * Run all hooks of @stage one after the other to their ends, each of which goes as LAUNCH_HOOK to @fd (-1: nowhere).
 * The first failure ends it, unless it is to be ignored.
 */
int hook_run_all(struct rec_cursor plan, enum plan_stage stage, const char *status, int32_t pid, int fd,
                 struct cringle_err *err);
