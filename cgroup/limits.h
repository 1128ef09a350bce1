#pragma once

/*
 * Limits: from struct cringle_resources to what is written into which file
 *
 * limits_plan() is pure; limits_apply() writes, and takes back what it wrote when
 * one write fails.
 */

#include <stdbool.h>
#include <stdint.h>

#include "plugins/api/cgroup.h"
#include "cgroup/tree.h"

/* One write, in order. */
struct limit {
        const struct tree *tree;
        char *file;
        char *value;
        bool optional;                  /* no such file: nothing to limit */
        bool period;                    /* cpu.max: the value is a period alone, the quota stays */
        char *former;                   /* what was there before it was written; NULL: not written */
};

struct limits {
        struct limit *list;
        size_t n;
        size_t room;
};

/* Writes for everything in @r but devices.  A controller this machine lacks is an error that names it. */
int limits_plan(const struct trees *t, const struct cringle_resources *r, struct limits *ret, struct cringle_err *err);
void limits_done(struct limits *l);

/* All of them into the cgroup @path, or none. */
int limits_apply(struct limits *l, const char *path, struct cringle_err *err);

/* Take back what limits_apply() has written. */
void limits_revert(struct limits *l, const char *path);

/* v2 cpu.weight for v1 cpu.shares: 2 is 1, 1024 is 100, 262144 is 10000, even between on a logarithmic scale. */
uint64_t limits_weight(int64_t shares);

static inline void auto_limits_(struct limits *l)
{
        limits_done(l);
}

#define auto_limits auto_cleanup(auto_limits_) struct limits
