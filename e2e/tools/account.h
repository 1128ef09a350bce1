#pragma once

/*
 * What a runtime costs: CPU time and memory of all that runs in its cgroups
 *
 * A cgroup's CPU time counts every process that ever ran in it or below, also those
 * that lived for a millisecond between two looks, and cgroups that are gone.  That is
 * what makes it better than adding up /proc/PID/stat.  What the kernel's own threads do
 * on the runtime's behalf (taking down network namespaces, for one) is in neither.
 *
 * @dirs are directories of cpuacct (v1) or of the v2 hierarchy, none below another.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

/* CPU time so far, nanoseconds. */
int account_cpu(const char *const *dirs, int64_t *ret, struct cringle_err *err);

/* The sum of the processes' resident memory, bytes. */
int account_rss(const char *const *dirs, int64_t *ret, struct cringle_err *err);

/* Processes of one name together; memory in kB, as /proc/PID/smaps_rollup has it. */
struct account_kind {
        char name[16];
        int64_t n, pss, anon, rss;
};

/* *ret is the caller's to free; in the order in which names were met. */
int account_memory(const char *const *dirs, struct account_kind **ret, size_t *ret_n, struct cringle_err *err);
