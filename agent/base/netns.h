#pragma once

/*
 * Network namespaces, by fd and pinned on a path
 */

#include "agent/base/err.h"

/* Bring the loopback interface up in the namespace @netns_fd.  Runs on a thread of its own. */
int netns_loopback_up(int netns_fd, struct cringle_err *err);

/* Pin the namespace @fd at @path (a bind mount on an empty file, made here). */
int ns_pin(int fd, const char *path, struct cringle_err *err);

/* Undo ns_pin(); not pinned: success. */
int ns_unpin(const char *path, struct cringle_err *err);
