#pragma once

/*
 * Cgroup drivers: who makes a container's cgroup, sets its limits, ends it
 *
 * A cgroup is named by the pair (parent, id), as the kubelet and the agent know
 * it; the driver alone knows where that is.  All operations are idempotent:
 * create() of what exists gives the same answer, destroy() of what is gone
 * succeeds.  Limits follow runtime-spec 1.3 config-linux.md, "Control groups".
 */

#include "plugin.h"

#define CRINGLE_CGROUP_MAJOR 1
#define CRINGLE_CGROUP_MINOR 0

#define CRINGLE_UNSET INT64_MIN         /* this limit was not asked for */

enum cringle_cgroup_layout {
        CRINGLE_CGROUP_V1 = 1,
        CRINGLE_CGROUP_V2 = 2,
        CRINGLE_CGROUP_MIXED = 3,       /* v1 controllers, and a v2 tree beside them */
};

struct cringle_device_rule {
        char type;                      /* 'b', 'c', 'a' */
        int64_t major;                  /* -1: any */
        int64_t minor;                  /* -1: any */
        const char *access;             /* of "rwm" */
        int allow;
};

struct cringle_hugepage_limit {
        const char *page_size;          /* "2MB", as the kernel's file names spell it */
        uint64_t bytes;
};

/* CRINGLE_UNSET (numbers) and NULL (strings) mean: leave as it is. */
struct cringle_resources {
        size_t size;
        int64_t cpu_period;             /* microseconds */
        int64_t cpu_quota;              /* microseconds per period; -1: none */
        int64_t cpu_shares;             /* v1 shares; the driver converts to weight on v2 */
        int64_t memory_limit;           /* bytes; -1: none */
        int64_t memory_swap;            /* memory and swap together, bytes; -1: none */
        int64_t pids_limit;             /* -1: none */
        const char *cpuset_cpus;
        const char *cpuset_mems;
        const struct cringle_hugepage_limit *hugepages;
        size_t n_hugepages;
        const struct cringle_pair *unified;     /* v2 files, ended by a NULL key; may be NULL */
        const struct cringle_device_rule *devices;      /* in order, later rules win; deny-all is said first */
        size_t n_devices;               /* 0: leave device access as it is */
};

#define CRINGLE_RESOURCES_INIT                                                                  \
        { .size = sizeof(struct cringle_resources), .cpu_period = CRINGLE_UNSET,                \
          .cpu_quota = CRINGLE_UNSET, .cpu_shares = CRINGLE_UNSET, .memory_limit = CRINGLE_UNSET, \
          .memory_swap = CRINGLE_UNSET, .pids_limit = CRINGLE_UNSET }

/*
 * Where a cgroup is: what a process must be written into.  All paths absolute.
 * Made by path() or create(), freed by free_dirs().
 */
struct cringle_cgroup_dirs {
        size_t size;
        char *oci_path;                 /* for linux.cgroupsPath in config.json */
        char *unified;                  /* v2 directory (for CLONE_INTO_CGROUP and cgroup.kill), or NULL */
        char **v1;                      /* v1 directories, one per hierarchy, ended by NULL; or NULL */
};

/* Of a `*.pressure` file: nanoseconds since the cgroup was made, and averages in hundredths of a percent. */
struct cringle_pressure {
        int64_t total;
        int64_t avg10;
        int64_t avg60;
        int64_t avg300;
};

struct cringle_hugepage_usage {
        int64_t page_size;              /* bytes; CRINGLE_UNSET ends the list */
        int64_t usage;                  /* bytes */
        int64_t max_usage;              /* bytes */
};

#define CRINGLE_PAGE_SIZES 4

/*
 * Nanoseconds and bytes; CRINGLE_UNSET where the kernel gives none.  The caller sets
 * all but `size` to CRINGLE_UNSET, and `size` to how much of this he wants to know:
 * a driver fills no more, and reads no files for what lies beyond.
 */
struct cringle_cgroup_stats {
        size_t size;
        int64_t cpu_usage;
        int64_t memory_usage;
        int64_t memory_working_set;
        int64_t memory_rss;
        int64_t memory_limit;
        int64_t page_faults;
        int64_t major_page_faults;
        int64_t swap_usage;
        int64_t swap_limit;
        int64_t pids;
        int64_t oom_kills;              /* since the cgroup was made; for metrics alone, though it stands here */

        struct cringle_pressure cpu_some, cpu_full, memory_some, memory_full, io_some, io_full;

        /* Up to here: CRINGLE_CGROUP_STATS_USAGE, what is asked often.  The rest is for metrics. */
        int64_t cpu_user;
        int64_t cpu_system;
        int64_t cpu_periods;            /* of the quota, that have passed */
        int64_t cpu_throttled;          /* of these, with the quota used up */
        int64_t cpu_throttled_time;
        int64_t memory_cache;
        int64_t memory_mapped;
        int64_t memory_kernel;
        int64_t memory_max_usage;
        int64_t memory_failures;        /* how often the limit was hit */
        int64_t io_read_bytes;          /* of all devices together */
        int64_t io_write_bytes;
        int64_t io_reads;
        int64_t io_writes;
        struct cringle_hugepage_usage hugepages[CRINGLE_PAGE_SIZES];
        int64_t memory_active_file;     /* bytes of files' pages that were used of late, and of others */
        int64_t memory_inactive_file;
};

#define CRINGLE_CGROUP_STATS_USAGE offsetof(struct cringle_cgroup_stats, cpu_user)

struct cringle_cgroup_ops {
        size_t size;

        /* enum cringle_cgroup_layout of this machine. */
        int (*layout)(void *self);

        /* "cgroupfs" or "systemd", as RuntimeConfig tells the kubelet. */
        const char *(*driver)(void *self);

        /* Where (@parent, @id) is, made or not.  @parent as the kubelet spells it, may be empty. */
        int (*path)(void *self, const char *parent, const char *id, struct cringle_cgroup_dirs *ret,
                    struct cringle_err *err);

        /* Make it with @resources (may be NULL).  On failure nothing of it is left. */
        int (*create)(void *self, const struct cringle_call *call, const char *parent, const char *id,
                      const struct cringle_resources *resources, struct cringle_cgroup_dirs *ret,
                      struct cringle_err *err);

        /* Change limits, in an order that works for growth and shrinkage; all or nothing. */
        int (*update)(void *self, const struct cringle_call *call, const char *parent, const char *id,
                      const struct cringle_resources *resources, struct cringle_err *err);

        /* What it uses, with all below it.  @id NULL: what @parent itself uses. */
        int (*stats)(void *self, const char *parent, const char *id, struct cringle_cgroup_stats *ret,
                     struct cringle_err *err);

        /* SIGKILL to everything in it and below, until nobody is left or @call ends. */
        int (*kill)(void *self, const struct cringle_call *call, const char *parent, const char *id,
                    struct cringle_err *err);

        int (*freeze)(void *self, const struct cringle_call *call, const char *parent, const char *id, int frozen,
                      struct cringle_err *err);

        /* Kill what is in it, then remove it and all below. */
        int (*destroy)(void *self, const struct cringle_call *call, const char *parent, const char *id,
                       struct cringle_err *err);

        void (*free_dirs)(struct cringle_cgroup_dirs *dirs);
};
