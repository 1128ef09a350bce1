#pragma once

/*
 * From (parent, id), as the kubelet and the agent spell them, to a path in the trees
 */

#include "agent/base/err.h"

/* A parent's path without slashes at its ends ("kubepods/burstable/pod1"), or NULL with @err: it is none of this driver's. */
char *name_parent(const char *parent, struct cringle_err *err);

/*
 * The path of @id below @parent (empty: below @prefix), or NULL with @err.  @name comes before the
 * id of a container, which has 64 hexadecimal digits.
 */
char *name_path(const char *prefix, const char *name, const char *parent, const char *id, struct cringle_err *err);
