#pragma once

/*
 * Carrying out a launch plan: one process in namespaces of its own
 *
 * Two processes do it, both children of the caller:
 *
 *  - the worker sets the stage.  It never enters the container's PID namespace, so
 *    nothing in there can see or trace it while it holds fds of the host.
 *  - the process is born in that namespace with no fds but its stdio and one
 *    socket, waits for the word, puts on identity and confinement, and execs.
 *
 *      worker                                       process
 *      join cgroups
 *      open what the host's view is needed for:
 *        bind sources, devices, namespaces, procfs
 *      join and make namespaces, user first
 *        (it must own the others)
 *      bear the process ----------------------->    make procfs (it shows its maker's namespace);
 *                                                   say its pid there, wait
 *      names, sysctls; root; mounts; devices
 *      LAUNCH_RUNTIME_HOOKS, wait for the word
 *      createContainer hooks
 *      masks, read-only paths and root; pivot
 *      LAUNCH_READY, exit                           woken by launch_go():
 *                                                   terminal; startContainer hooks; directory; LSM label;
 *                                                   LAUNCH_EXEC; bounding set; groups, gid, uid; no_new_privs; seccomp;
 *                                                   capabilities; exec: the socket closes
 *
 * With PLAN_RESTORE the processes are not made here: the program of that record (CRIU) makes them, once the process that waits
 * becomes it.  The worker then makes nothing but a mount namespace, in which the root is at its place and the source of each
 * mount that comes from outside at a number in the record's directory, which the program is told as
 * "--external mnt[DESTINATION]:SOURCE".  The plan's no_new_privs and a read-only root are ours also then: not every CRIU restores
 * them.  The container's first process, whose pid is in the pid file, is a child of ours as the program is; when that exits with
 * 0 it runs.
 *
 * Paths in the container's root are only ever resolved by openat2(RESOLVE_IN_ROOT)
 * and used as fds; mounts go onto such fds.  Label and sysctl writes go through a
 * procfs of ours that no container ever saw.  All fds are CLOEXEC; the process
 * additionally runs close_range before it execs.  The caller must be non-dumpable
 * and run from a file nobody can write (see launch_guard_self()).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/err.h"
#include "agent/wire/plan.h"

#define LAUNCH_BROUGHT_MAX 32

/* All borrowed for launch_start(). */
struct launch_request {
        struct rec_cursor plan;                 /* from plan_open() */
        int rootfs_fd;                          /* detached mount for PLAN_ROOT, or -1 */
        const int *brought;                     /* detached mounts for PLAN_MOUNT_BROUGHT */
        size_t n_brought;                       /* at most LAUNCH_BROUGHT_MAX */
        int stdio[3];                           /* -1: /dev/null; not looked at with PLAN_TTY */
        bool own_stdio;                         /* give pipes in stdio to the process's user */
        pid_t share_pid;                        /* join the PID namespace of this process; 0: by the plan */
        pid_t join;                             /* join all namespaces of this process (an exec); 0: a new container */
        const char *cgroup_unified;             /* to be born in, or NULL */
        const char *const *cgroup_v1;           /* likewise, ended by NULL; or NULL */
        bool die_with_parent;                   /* SIGKILL when the caller ends */
};

struct launch {
        pid_t worker;
        int worker_fd;          /* non-blocking; messages come here and on process_fd */
        int process_fd;         /* closed after LAUNCH_EXEC: it has exec'd; without: it is dead */
};

enum launch_kind {
        LAUNCH_PID = 1,                 /* worker: the process has this pid, ours to reap */
        LAUNCH_BORN = 2,                /* process: its pid in its own namespace */
        LAUNCH_TTY = 3,                 /* worker: fds: terminal's master, slave */
        LAUNCH_WARNING = 4,             /* either: err.text, going on */
        LAUNCH_RUNTIME_HOOKS = 5,       /* worker: run prestart and createRuntime, then launch_continue() */
        LAUNCH_READY = 6,               /* worker: all is set; it ends now */
        LAUNCH_ERROR = 7,               /* either: err */
        LAUNCH_HOOK = 8,                /* either: one has run, err says how it failed */
        LAUNCH_EXEC = 9,                /* process: all but its confinement is done; dead without this, it never ran */
};

/* A run of a hook, as struct wire_hook without what the receiver's plan says. */
struct launch_hook {
        uint32_t stage, index, flags;
        int32_t exit_code;
        int64_t nanoseconds, ended_at;
};

struct launch_message {
        uint32_t kind;                  /* enum launch_kind */
        int32_t value;
        struct launch_hook hook;
        struct cringle_err err;
};

/* Begin.  Both fds are the caller's; the worker and the process are his children. */
int launch_start(const struct launch_request *request, struct launch *ret, struct cringle_err *err);

/*
 * The next message on one of the two fds.  1: there (fds[] are the caller's, -1:
 * none), 0: none now, 2: the other end is closed; -1: failed.
 */
int launch_receive(int fd, struct launch_message *ret, int fds[static 2], struct cringle_err *err);

/* Answer LAUNCH_RUNTIME_HOOKS; @inner_pid is what LAUNCH_BORN said. */
int launch_continue(int worker_fd, int32_t inner_pid, struct cringle_err *err);

/* Let the process go on to its program.  @tty_slave: from LAUNCH_TTY, or -1; borrowed. */
int launch_go(int process_fd, int tty_slave, struct cringle_err *err);

/*
 * Resource limits and OOM score of @pid, which need the host's privileges.  Where
 * those do not suffice the nearest that is allowed is set and said in @warning
 * (its code is CRINGLE_OK when there is nothing to say).
 */
int launch_limit(struct rec_cursor plan, pid_t pid, int default_oom_score, struct cringle_err *warning,
                 struct cringle_err *err);

/* The score alone; @usual when the plan says none. */
int launch_oom_score(struct rec_cursor plan, pid_t pid, int usual, struct cringle_err *warning, struct cringle_err *err);

/*
 * Make this program safe to become a container's first process: non-dumpable, and
 * running from a sealed memory file, so that what a container finds behind
 * /proc/<pid>/exe cannot be written.  Re-executes the program with @argv when it is
 * not; returns 0 when it is.
 */
int launch_guard_self(char *const argv[], char *const envp[], struct cringle_err *err);

/*
 * Call this process @name, at most 15 characters, and have it forget the arguments and environment that were given to
 * launch_guard_self(): for children of the caller that others in their PID namespace can see.
 */
void launch_rename(const char *name);
