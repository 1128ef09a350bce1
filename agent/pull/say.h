#pragma once

/*
 * Telling the agent what went wrong
 */

#include "agent/base/err.h"

/* Send @err as PULL_FAILED on @fd.  If that fails too there is nobody left to tell. */
void say_failed(int fd, const struct cringle_err *err);
