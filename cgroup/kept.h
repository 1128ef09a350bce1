#pragma once

/*
 * Files of cgroups, kept open from one look to the next
 *
 * Statistics read the same ten files of every cgroup every few seconds; opening and
 * closing takes five times as long as reading.  In turn an open file costs the kernel 4 kB,
 * so that there is a limit.  A file that is kept of a cgroup that is removed would keep
 * the kernel's own data of it: whoever removes one says so before, and one that nobody
 * looked at for a minute is closed.  All threads may call.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/base/err.h"

struct kept;

#define KEPT_COST 4500                  /* bytes of the kernel's memory for each file, most of it a page to write into */

/* At most @max files are open at a time; beyond that each look opens and closes. */
int kept_new(size_t max, struct kept **ret, struct cringle_err *err);
struct kept *kept_free(struct kept *k);

/* The cgroup @path, in all trees, for one look.  NULL: no memory. */
struct kept_cgroup *kept_take(struct kept *k, const char *path, struct cringle_err *err);

/*
 * The look is over.  True: it had been kept open and was removed since; there may be another
 * one at its path, for a second look.
 */
bool kept_give(struct kept *k, struct kept_cgroup *c);

/*
 * Read @file (a literal: the name is kept, too) of the cgroup in the tree whose directory is
 * @tree, at most @size bytes; their number or -1 with errno, ENODEV when the cgroup has gone.
 */
ssize_t kept_read(struct kept_cgroup *c, int tree, const char *file, void *data, size_t size);

/* The cgroup @path is about to be removed. */
void kept_forget(struct kept *k, const char *path);
