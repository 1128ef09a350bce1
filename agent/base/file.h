#pragma once

/*
 * Whole files and directory trees, on paths only root can change
 *
 * Nothing here is for paths inside a container's file system: see path.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/base/buf.h"

/* Read all of @path, at most @max bytes (more: CRINGLE_E_EXHAUSTED).  Appends to @ret. */
int file_read(const char *path, size_t max, struct buf *ret, struct cringle_err *err);
int file_read_fd(int fd, size_t max, struct buf *ret, struct cringle_err *err);

/* As file_read(), without white space at the end; *ret is the caller's. */
int file_read_line(const char *path, char **ret, struct cringle_err *err);

/* All of @n bytes, also through short writes.  For blocking fds. */
int file_write_fd(int fd, const void *data, size_t n, struct cringle_err *err);

/* Write to an existing file in one write(2), as /proc, /sys and cgroups want it. */
int file_poke(const char *path, const char *text, struct cringle_err *err);

/*
 * Replace @path: written beside it, then renamed, so a reader sees the old or the
 * new.  @durable: synced, with its directory, before this returns.
 */
int file_replace(const char *path, const void *data, size_t n, mode_t mode, bool durable, struct cringle_err *err);

/* Sync the directory that @path is, or was, in: names that came and went there stay so, as all that the file system did before. */
int file_sync_parent(const char *path, struct cringle_err *err);

/* mkdir -p; existing directories keep their mode. */
int file_make_dirs(const char *path, mode_t mode, struct cringle_err *err);

/*
 * Remove @path and all below, without following symbolic links or crossing into
 * another file system.  Gone already: success.
 */
int file_remove_tree(const char *path, struct cringle_err *err);

bool file_exists(const char *path);
