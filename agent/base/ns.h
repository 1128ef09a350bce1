#pragma once

/*
 * Namespaces, by fd and pinned on a path
 */

#include "agent/base/err.h"

/* Pin the namespace @fd at @path (a bind mount on an empty file, made here). */
int ns_pin(int fd, const char *path, struct cringle_err *err);

/* Undo ns_pin(); not pinned: success. */
int ns_unpin(const char *path, struct cringle_err *err);

/*
 * Run @fn on a thread of its own, in a mount namespace of its own that starts as a copy of ours, with all mounts
 * private, and ends with it: what it mounts nobody sees.  Comes to what @fn does.
 */
int ns_apart(int (*fn)(void *data, struct cringle_err *err), void *data, struct cringle_err *err);

/*
 * An fd of a new user namespace that nobody is in, with this process's user and group as its 0 and no
 * others: to try what takes a user namespace.
 */
int ns_user_sample(struct cringle_err *err);
