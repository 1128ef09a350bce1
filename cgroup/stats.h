#pragma once

/*
 * What a cgroup uses
 */

#include "plugins/api/cgroup.h"
#include "cgroup/tree.h"

/* Fill as much of @ret as its size says for the cgroup @path; what the kernel does not give is CRINGLE_UNSET. */
int stats_read(const struct trees *t, const char *path, struct cringle_cgroup_stats *ret, struct cringle_err *err);
