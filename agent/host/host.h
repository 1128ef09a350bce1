#pragma once

/*
 * The plugin host: finds plugins, judges them, makes them run, watches them
 *
 * For each plugin that the configuration names, the host looks for a built-in of
 * that name, then for <dir>/<name>.so in the configured directories.  A file is
 * first looked at by a throw-away child (host_probe_main()), so that a crash or a
 * hang there refuses the plugin and nothing more; then it is loaded for good:
 * nothing is ever dlclose()d.  A refusal names the field, what was wanted and what
 * was found.
 *
 * Callers see plugins through tables of the host's own: full-size whatever the
 * plugin's age (an optional operation it lacks is NULL), and every call through
 * them is counted and timed, a slow one logged with the plugin's name.  An error
 * that comes out of a plugin is prefixed with its name.
 *
 * Everything here may be called from any thread once host_new() has returned.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/own.h"
#include "config/config.h"
#include "plugins/api/cgroup.h"
#include "plugins/api/executor.h"
#include "plugins/api/hook.h"
#include "plugins/api/image.h"
#include "plugins/api/network.h"

struct host;

struct host_options {
        const cringle_plugin_fn *builtins;      /* cringle_builtin_*, ended by NULL; may be NULL */
        const char *prober;             /* program run as `PROBER --probe-plugin FILE KIND NAME`; NULL: this one */
        int64_t probe_timeout;          /* nanoseconds; 0: 10 s */
        int64_t slow_call;              /* nanoseconds after which a call is logged; 0: 2 s */
};

/*
 * Load, create and start what @config names.  Fails when the image, cgroup, network
 * or executor plugin, or a hook plugin with the policy `fail`, is refused; a hook
 * plugin with the policy `ignore` is logged and left out.  A kind without a name in
 * @config is left out.  @config and @options (may be NULL) are borrowed for the call, what @options points to for as
 * long as the host lives.
 */
int host_new(const struct config *config, const struct host_options *options, struct host **ret,
             struct cringle_err *err);

/* Quiesce and destroy, in the reverse order of creation.  No call may be under way. */
struct host *host_free(struct host *h);

/* One plugin in use; valid as long as the host.  `ops` is NULL when @config named none. */
struct host_image {
        const struct cringle_image_ops *ops;
        void *self;
};
struct host_cgroup {
        const struct cringle_cgroup_ops *ops;
        void *self;
};
struct host_network {
        const struct cringle_network_ops *ops;
        void *self;
};
struct host_executor {
        const struct cringle_executor_ops *ops;
        void *self;
};

struct host_image host_image(const struct host *h);
struct host_cgroup host_cgroup(const struct host *h);
struct host_network host_network(const struct host *h);
struct host_executor host_executor(const struct host *h);

/*
 * Native hook plugins in use, in the order of the configuration: as they are now, since a reload may load and leave out
 * some.  Those of a set that is held stay in use until it is released.
 */
struct host_hooks;
struct host_hooks *host_hooks_hold(struct host *h);
void host_hooks_release(struct host_hooks *set);
size_t host_hooks_count(const struct host_hooks *set);

struct host_hook {
        const char *name;
        const struct cringle_hook_ops *ops;
        void *self;
        bool fail;                      /* its refusal or failure fails the operation */
        int64_t timeout;                /* nanoseconds */
        bool isolated;                  /* it runs in a process of its own */
};

struct host_hook host_hook(const struct host_hooks *set, size_t index);        /* policy and time limit as of now */

AUTO_DEFINE(host_hooks, host_hooks_release)

/*
 * Apply what differs in @fresh and can change live, all or nothing: settings of
 * plugins that know reload; which hook plugins there are, in which order, their isolation, policies and time limits.  What changed goes
 * into @live, what needs a restart into @restart, one line each ("plugin cgroup-fs: ...").
 */
int host_reload(struct host *h, const struct config *fresh, struct buf *live, struct buf *restart,
                struct cringle_err *err);

struct host_counter {
        const char *name;
        int64_t value;
};

/* What is known of one plugin.  All of it borrowed for one call of host_list()'s callback. */
struct host_info {
        const char *name;
        const char *kind;               /* "image", "cgroup", "network", "executor", "hook" */
        const char *file;               /* NULL: built in, or not found */
        const char *version;            /* of the plugin; NULL: never got that far */
        const char *help;
        uint16_t major, minor;          /* of its interface */
        bool in_use;
        bool isolated;                  /* it runs in a process of its own */
        const char *message;            /* why it was refused; NULL when in use */
        const struct cringle_pair *settings;    /* as it got them, secrets replaced; ended by a NULL key */
        const struct cringle_setting *schema;   /* ended by a NULL name; may be NULL */
        uint64_t calls, failures, slow, running;
        int64_t busy;                   /* nanoseconds, of all calls together */
        int64_t slowest;                /* nanoseconds */
        const char *slowest_call;       /* "cgroup.create"; NULL: none yet */
        const struct host_counter *counters;    /* its own, by count() */
        size_t n_counters;
};

void host_list(struct host *h, void (*fn)(void *data, const struct host_info *info), void *data);

/*
 * The child's half of probing, for `cringled --probe-plugin FILE [KIND NAME]`: load
 * FILE, judge its table and, with KIND ("cgroup") and NAME, run the probe of that
 * factory.  Prints what is wrong to stdout.  @argv ends with NULL and begins with
 * FILE.  Returns the exit status of the program.
 */
int host_probe_main(char *const argv[]);

/*
 * The child's half of `isolation: process`, for `cringled --host-plugin FILE NAME`: hold
 * the hook NAME of FILE for the agent at the other end of the socket that is fd 3.  @argv
 * ends with NULL and begins with FILE.  Returns the exit status of the program.
 */
int host_plugin_main(char *const argv[]);

AUTO_DEFINE(host, host_free)
