#pragma once

/*
 * Child programs
 *
 * The agent never forks: it spawns small programs (posix_spawn), holds them by
 * pidfd, and waits for nobody but its own.  Every child gets a process group, an
 * environment that is exactly the one given, signals reset, and no fds but those
 * named here.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "agent/base/buf.h"
#include "agent/base/call.h"

struct child_fd {
        int fd;                         /* ours, borrowed */
        int as;                         /* the number it has in the child */
};

struct child_spec {
        const char *path;               /* absolute */
        const char *const *argv;        /* ended by NULL */
        const char *const *envp;        /* ended by NULL; NULL: empty */
        const char *dir;                /* working directory; NULL: "/" */
        const struct child_fd *fds;     /* 0, 1, 2 not among them are /dev/null */
        size_t n_fds;
};

struct child {
        pid_t pid;                      /* 0: none */
        int pidfd;
};

#define CHILD_INIT { .pidfd = -1 }

int child_spawn(const struct child_spec *spec, struct child *ret, struct cringle_err *err);

/*
 * Wait for its end; *ret_status is as from waitpid(2).  When @call ends first the
 * whole process group is killed and reaped, and this fails.
 */
int child_wait(struct child *c, const struct cringle_call *call, int *ret_status, struct cringle_err *err);

/* SIGKILL to the process group, and reap.  Nothing happens for an empty @c. */
void child_kill(struct child *c);

/*
 * Run to the end: @input (may be NULL) to stdin, stdout to @output (at most @max
 * bytes, then it fails), stderr's last 1,024 bytes to @tail (may be NULL).  Does not
 * wait for grandchildren that keep the pipes.  0 when it ended, whatever its
 * status; -1 when it could not be run or was cut short.
 */
int child_run(const struct child_spec *spec, const struct cringle_call *call, const struct buf *input,
              struct buf *output, size_t max, struct buf *tail, int *ret_status, struct cringle_err *err);

/* "exit status 1" or "killed by signal 9 (Killed)", for messages. */
void child_status_text(int status, char *text, size_t size);
