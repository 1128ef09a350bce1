#pragma once

/*
 * The circumstances of a call: deadline and cancellation
 *
 * struct cringle_call (plugins/api/plugin.h) travels down with every call that may
 * wait.  A NULL call means: no deadline, never cancelled.
 */

#include "plugins/api/plugin.h"

#define CALL_INIT { .size = sizeof(struct cringle_call), .cancel_fd = -1 }

/* A call that ends @timeout nanoseconds from now, or when @outer (may be NULL) does, whichever is first. */
struct cringle_call call_within(const struct cringle_call *outer, int64_t timeout);

/* 0 while the call may go on; -1 when its time is over or it was cancelled. */
int call_check(const struct cringle_call *call, struct cringle_err *err);

/*
 * Wait until @fd has one of @events (as for poll(2); -1: only wait), or @timeout
 * nanoseconds pass (-1: no limit of its own).  1: ready, 0: timeout; -1: the call ended.
 */
int call_wait(const struct cringle_call *call, int fd, short events, int64_t timeout, struct cringle_err *err);
