#pragma once

/*
 * What containers and pods use, for the files of this folder
 *
 * Most is read when it is asked for.  What is a rate, or would take a walk through a
 * directory tree, comes from a thread of its own that looks every ten seconds: the
 * sampler.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/netdev.h"
#include "plugins/api/cgroup.h"

struct container;
struct pod;
struct pods;
struct sampler;

/* A processor usage at one time, and the rate up to then.  Zero bytes: never looked.  The lock guards it. */
struct rate {
        int64_t at;                     /* monotonic; 0: never */
        int64_t usage;                  /* nanoseconds */
        int64_t nano_cores;
        bool known;                     /* there was one before */
};

/* A walk through a writable layer, likewise. */
struct disk_sample {
        int64_t at;                     /* realtime; 0: never */
        int64_t cost;                   /* nanoseconds that the walk took */
        uint64_t bytes;
        uint64_t inodes;
};

/* Take over @usage at @now (monotonic): the rate, or CRINGLE_UNSET as long as it is not known. */
int64_t rate_take(struct rate *r, int64_t now, int64_t usage);

/* Everything unset; @size: how much of it is wanted. */
void stats_unset(struct cringle_cgroup_stats *s, size_t size);

/* What the kernel says now, @size of it.  CRINGLE_E_NOT_FOUND: no cgroup. */
int container_stats(const struct container *c, size_t size, struct cringle_cgroup_stats *ret, struct cringle_err *err);

/* Of the pod's own cgroup.  A pod whose kubelet named none has none: then 0 is returned, else 1. */
int pod_stats(const struct pod *pod, size_t size, struct cringle_cgroup_stats *ret, struct cringle_err *err);

/* Add what can be added of @s. */
void stats_add(struct cringle_cgroup_stats *sum, const struct cringle_cgroup_stats *s);

/* The writable layer as last seen; looks now when nobody ever has. */
int container_disk(struct container *c, struct disk_sample *ret, struct cringle_err *err);

/*
 * The interfaces of each of @pods, the default one first; a pod on the host's network has none.
 * The caller's: netdev_looks_free().
 */
struct netdev_look *pods_netdevs(struct pod *const *pods, size_t n);

/*
 * References to the visible containers that fit, but those that ended; to the ready pods.
 * The caller's: containers_unref_all(), pods_unref_all().
 */
struct container **containers_collect(struct pods *pods, bool (*fits)(const struct container *c, const void *data),
                                      const void *data, size_t *ret_n);
struct container **pod_containers_collect(struct pod *pod, size_t *ret_n);
void containers_unref_all(struct pods *pods, struct container **list, size_t n);
struct pod **pods_collect(struct pods *pods, bool (*fits)(const struct pod *pod, const void *data), const void *data,
                          size_t *ret_n);
void pods_unref_all(struct pods *pods, struct pod **list, size_t n);

int sampler_new(struct pods *pods, struct sampler **ret, struct cringle_err *err);
struct sampler *sampler_free(struct sampler *sampler);          /* waits for what it does */
