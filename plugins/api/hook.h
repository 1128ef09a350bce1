#pragma once

/*
 * Lifecycle hooks: code that watches, refuses or adjusts pods and containers
 *
 * A hook names the points it wants.  run() is called at each with an event, from
 * which it reads the pod and the container, and through which it adjusts a
 * container that is being created.  Returning -1 refuses: what that means (the
 * operation fails, or it is only logged) is the configured failure policy.
 *
 * Adjustments may be made at CRINGLE_CONTAINER_CREATE only; each field that one
 * hook has set another may not set, and the error names both.
 */

#include "plugin.h"

#define CRINGLE_HOOK_MAJOR 1
#define CRINGLE_HOOK_MINOR 1

/* In the order of a pod's life. */
enum cringle_point {
        CRINGLE_POD_RUN = 1,            /* sandbox is ready but nobody sees it yet */
        CRINGLE_CONTAINER_CREATE = 2,   /* the spec is being built: adjust here */
        CRINGLE_CONTAINER_CREATED = 3,
        CRINGLE_CONTAINER_START = 4,    /* before the user's process runs */
        CRINGLE_CONTAINER_STARTED = 5,
        CRINGLE_CONTAINER_STOP = 6,     /* cannot be refused */
        CRINGLE_CONTAINER_STOPPED = 7,
        CRINGLE_CONTAINER_REMOVE = 8,   /* cannot be refused */
        CRINGLE_POD_STOP = 9,           /* cannot be refused */
        CRINGLE_POD_REMOVE = 10,        /* cannot be refused */
        CRINGLE_POINTS = 11,
};

#define CRINGLE_AT(point) (UINT64_C(1) << (point))

/*
 * One event.  Data fields may be NULL or 0 where they make no sense (container
 * fields at pod points).  All of it is borrowed until run() returns.
 */
struct cringle_event {
        size_t size;
        int point;
        const struct cringle_call *call;

        const char *pod_id, *pod_name, *pod_space, *pod_uid;
        const char *container_id, *container_name;
        const char *image;              /* as the user named it */
        const char *handler;            /* runtime handler, "" is the default */
        const char *const *args;        /* the process's argv, ended by NULL */
        int32_t pid;                    /* from CRINGLE_CONTAINER_CREATED on */
        int32_t exit_code;              /* at CRINGLE_CONTAINER_STOPPED */
        const char *bundle;             /* directory of config.json */

        /* The pod's annotation or label @key (at container points the container's first), or NULL. */
        const char *(*annotation)(const struct cringle_event *ev, const char *key);
        const char *(*label)(const struct cringle_event *ev, const char *key);
        const char *(*env)(const struct cringle_event *ev, const char *name);

        /*
         * Adjustments: 0, or -1 with @err when another hook owns the field or the
         * value makes no sense.  Strings are copied.  @options of a mount are
         * comma-separated as in fstab ("bind,ro,nosuid").
         */
        int (*set_env)(const struct cringle_event *ev, const char *name, const char *value, struct cringle_err *err);
        int (*add_mount)(const struct cringle_event *ev, const char *source, const char *target, const char *options,
                         struct cringle_err *err);
        int (*drop_mount)(const struct cringle_event *ev, const char *target, struct cringle_err *err);
        int (*add_device)(const struct cringle_event *ev, const char *host_path, const char *container_path,
                          const char *access, struct cringle_err *err);
        int (*set_annotation)(const struct cringle_event *ev, const char *key, const char *value,
                              struct cringle_err *err);
        int (*set_args)(const struct cringle_event *ev, const char *const *args, struct cringle_err *err);
        int (*set_rlimit)(const struct cringle_event *ev, const char *type, uint64_t soft, uint64_t hard,
                          struct cringle_err *err);
        /* @stage: "prestart" ... "poststop"; @timeout in seconds, 0: the default. */
        int (*add_oci_hook)(const struct cringle_event *ev, const char *stage, const char *path,
                            const char *const *args, const char *const *env, int timeout, struct cringle_err *err);

        const void *host;               /* the host's own; not for plugins */

        /* Since 1.1: one more CDI device, "vendor.com/class=name"; injected when all hooks have adjusted. */
        int (*add_cdi_device)(const struct cringle_event *ev, const char *name, struct cringle_err *err);
};

struct cringle_hook_ops {
        size_t size;
        uint64_t points;                /* CRINGLE_AT(...) of those it wants */
        int (*run)(void *self, const struct cringle_event *ev, struct cringle_err *err);
};
