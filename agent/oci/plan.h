#pragma once

/*
 * From a runtime specification (1.3) to a launch plan
 *
 * Pure functions: equal specifications and options give equal bytes.  What the
 * monitor will not be able to do is refused here, by the name of the member that
 * asks for it; nothing is silently left out, except what concerns other platforms.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/json.h"

/* Processes that CRIU makes of its images. */
struct plan_restore {
        const char *program;            /* CRIU's */
        const char *images;             /* a directory */
        const char *work;               /* another, for its log, "restore.log", the pid file and a directory "mounts" that is there */
        const char *streams[3];         /* what stdin, stdout and stderr were ("pipe:[123]"); NULL: nothing that is ours to give */
};

/* All borrowed for the call. */
struct plan_options {
        const char *bundle;             /* absolute; root.path is relative to it */
        const char *id;                 /* for the state JSON */
        const char *cgroup_unified;     /* v2 directory to join, or NULL */
        const char *const *cgroup_v1;   /* v1 directories to join, ended by NULL; or NULL */
        bool rootfs_fd;                 /* the root filesystem comes as a detached mount */
        const char *const *brought;     /* sources for which detached mounts come, ended by NULL; or NULL */
        bool tty;                       /* also when process.terminal does not ask for it */
        const struct plan_restore *restore;     /* NULL: they begin with process.args */
};

/* The plan of the container @spec describes.  Appends to the empty @ret. */
int plan_compile(struct json_object *spec, const struct plan_options *options, struct buf *ret,
                 struct cringle_err *err);

/*
 * The plan of a process beside the container's own: @argv (NULL: process.args), and
 * user, environment, directory and confinement of @spec's process.
 */
int plan_compile_exec(struct json_object *spec, const char *const *argv, bool tty, struct buf *ret,
                      struct cringle_err *err);

/*
 * As plan_compile_exec() for a @process of the caller's own (runtime-spec's process
 * object); seccomp is still @spec's, since that is the container's.
 */
int plan_compile_process(struct json_object *spec, struct json_object *process, bool tty, struct buf *ret,
                         struct cringle_err *err);
