#pragma once

/*
 * Stopping, killing and removing what is in a cgroup
 */

#include <stdbool.h>

#include "agent/base/call.h"
#include "cgroup/tree.h"

/* SIGKILL to all processes in @path and below, until nobody is left or @call ends.  No such cgroup: success. */
int ending_kill(const struct trees *t, const struct cringle_call *call, const char *path, struct cringle_err *err);

/* Freeze or thaw, and wait until it is so. */
int ending_freeze(const struct trees *t, const struct cringle_call *call, const char *path, bool frozen,
                  struct cringle_err *err);

/* Kill, then remove from every tree. */
int ending_destroy(const struct trees *t, const struct cringle_call *call, const char *path, struct cringle_err *err);
