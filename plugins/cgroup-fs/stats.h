#pragma once

/*
 * What a cgroup uses
 */

#include "plugins/api/cgroup.h"
#include "plugins/cgroup-fs/tree.h"

/* Fill @ret for the cgroup @path; numbers the kernel does not give stay CRINGLE_UNSET. */
int stats_read(const struct trees *t, const char *path, struct cringle_cgroup_stats *ret, struct cringle_err *err);
