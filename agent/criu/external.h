#pragma once

/*
 * What CRIU is to take for somebody else's: it dumps what a container is made of, and must be told what is not
 */

#include "agent/base/err.h"

/*
 * For `criu dump --external`: the mounts of @mountinfo (text as in /proc/PID/mountinfo) that were brought in from
 * outside - those at @binds (ended by NULL; may be NULL), and those that show a part of a file system of which the
 * container has no whole.  Each is called by its mount point.  *ret is the caller's (strv_free).
 */
int criu_external_mounts(const char *mountinfo, const char *const *binds, char ***ret, struct cringle_err *err);
