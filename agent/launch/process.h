#pragma once

/*
 * The last part of a launch: the process that becomes the program
 */

#include "agent/launch/launch.h"
#include "agent/wire/monitor.h"

/*
 * Wait on @fd for the word, then become what @request's plan says.  Does not
 * return.  @stdio: three fds to become 0, 1, 2.
 */
__attribute__((noreturn))
void process_main(const struct launch_request *request, int fd, const int stdio[3]);

/* A program that makes the container's processes: PLAN_RESTORE, with what the worker has added. */
struct process_restore {
        const char *program;
        const char *const *argv, *const *env;
        bool no_new_privs;
        int fds[PLAN_FD_PID - PLAN_FD_STDIO + 1];       /* from PLAN_FD_STDIO on; -1: none */
};

/* As process_main(), and becomes that. */
__attribute__((noreturn))
void process_restore_main(const struct process_restore *restore, int fd);

/* One message over a launch's socket. */
int launch_send(int fd, enum launch_kind kind, int32_t value, const struct cringle_err *what, const int *fds,
                size_t n_fds);

/* That a hook has run; @what has a code when it failed. */
int launch_send_hook(int fd, const struct wire_hook *run, const struct cringle_err *what);
