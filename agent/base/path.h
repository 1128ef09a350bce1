#pragma once

/*
 * Paths inside a root that somebody else controls
 *
 * Every byte of a container's root is hostile: any component may be a symbolic
 * link, and may change while we look.  So a root is a directory fd, and a path in
 * it is resolved by the kernel as if that directory were "/" (openat2(2),
 * RESOLVE_IN_ROOT, no magic links).  What one gets is an fd, never a string.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/err.h"

/* Open @path below @root with @flags (O_CLOEXEC is added).  The fd, or -1. */
int path_open(int root, const char *path, int flags, mode_t mode, struct cringle_err *err);

/* mkdir -p below @root; existing components may be links to directories.  An O_PATH fd of the last, or -1. */
int path_make_dirs(int root, const char *path, mode_t mode, struct cringle_err *err);

/*
 * A place to mount on: an O_PATH fd of @path below @root, made (with its parents)
 * when it is not there, as a directory or as an empty file.  -1 when it exists as
 * the other of the two.
 */
int path_mount_point(int root, const char *path, bool directory, struct cringle_err *err);

/* "/proc/self/fd/<fd>", for system calls that only take paths. */
#define PATH_OF_FD_MAX 32
void path_of_fd(int fd, char text[static PATH_OF_FD_MAX]);

/* An absolute path without empty, "." or ".." components and without a slash at its end. */
bool path_is_clean(const char *path);
