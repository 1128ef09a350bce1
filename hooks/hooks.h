#pragma once

/*
 * The hook engine: one pipeline for hooks from everywhere
 *
 * Sources, in the order in which they touch a container that is being created:
 * native hook plugins (in the order of the configuration), then NRI plugins, then CDI devices, then
 * hooks.d files, then hooks declared in the YAML.  The latter two end as OCI hooks in the
 * specification and are run by the executor; native ones run here, at all points.
 *
 * Each field of a container has one owner: a second hook that sets what another
 * has set is refused with an error that names both.  What a hook's failure does is
 * its policy: `fail` fails the operation, `ignore` is logged and counted, and what the hook
 * had adjusted until then is taken back.
 *
 * hooks.d and CDI directories are watched: files come and go while pods run.  A file that
 * is bad never disables another; it is kept with its error for `cringle hooks list`.
 *
 * All functions may be called from any thread.
 */

#include <json-c/json.h>

#include "agent/base/buf.h"
#include "agent/base/own.h"
#include "agent/host/host.h"
#include "config/config.h"
#include "cri.pb-c.h"
#include "plugins/api/hook.h"

struct hooks;

int hooks_new(const struct config *config, struct host *host, struct hooks **ret, struct cringle_err *err);
struct hooks *hooks_free(struct hooks *h);

/* YAML hooks, directories and policies of a configuration that can be taken over. */
struct hooks_plan;

/* What @config says, made ready: whatever can fail does so here, and nothing changes. */
int hooks_prepare(const struct config *config, struct hooks_plan **ret, struct cringle_err *err);
struct hooks_plan *hooks_plan_free(struct hooks_plan *plan);

/* Take over @plan, which is taken. */
void hooks_take_over(struct hooks *h, struct hooks_plan *plan);

/* What a hook is told of a pod or container; all borrowed.  NULL and 0 where it makes no sense. */
struct hooks_subject {
        const char *pod_id;
        const Cri__PodSandboxConfig *pod;
        const char *handler;
        const char *container_id;
        const Cri__ContainerConfig *container;
        const char *bundle;
        const char *const *args;        /* process.args of its specification; NULL: the bundle is asked */
        int32_t pid;
        int32_t exit_code;
        const char *run_dir;            /* of the pod: its namespaces are pinned in "ns" there */
        const Cri__PodSandboxNetworkStatus *network;
        int state;                      /* of the container, as CRI counts them */
        int64_t created_at, started_at, finished_at;    /* nanoseconds since the epoch */
        const char *image_id;           /* of the container's image, its configuration's digest */
};

/* Limits of a container that are to change; what is 0 or empty stays. */
struct hooks_limits {
        Cri__LinuxContainerResources *resources;        /* its own, may be exchanged; NULL: nothing */
        int64_t pids;                   /* what CRI has no word for: processes, -1: no limit; CRINGLE_UNSET: stays */
};

struct adjust;
struct hooks_info;

/*
 * What runs in the pipeline right after the native hooks and is not of this folder: NRI.
 * Its functions are as those of the engine with the same names.
 */
struct hooks_next {
        void *data;
        int (*run)(void *data, int point, const struct hooks_subject *subject, const struct cringle_call *call,
                   struct cringle_err *err);
        int (*adjust)(void *data, struct adjust *adjust, const struct hooks_subject *subject,
                      const struct cringle_call *call, struct cringle_err *err);
        int (*update)(void *data, const struct hooks_subject *subject, struct hooks_limits *limits,
                      const struct cringle_call *call, struct cringle_err *err);
        int (*update_pod)(void *data, const struct hooks_subject *subject,
                          const Cri__UpdatePodSandboxResourcesRequest *request, const struct cringle_call *call,
                          struct cringle_err *err);
        void (*updated)(void *data, const struct hooks_subject *subject,
                        const Cri__UpdatePodSandboxResourcesRequest *pod, bool tell);
        void (*adopt)(void *data, const struct hooks_subject *subject);
        void (*forget)(void *data, const struct hooks_subject *subject);
        void (*list)(void *data, void (*fn)(void *data, const struct hooks_info *info), void *fn_data);
};

/* @next is borrowed for good; before anything runs. */
void hooks_set_next(struct hooks *h, const struct hooks_next *next);

/* A pod or container that was there before this agent. */
void hooks_adopt(struct hooks *h, const struct hooks_subject *subject);

/* Its making has failed and is undone: no more events will come. */
void hooks_forget(struct hooks *h, const struct hooks_subject *subject);

/* "pod run", of an enum cringle_point. */
const char *hooks_point_name(int point);

/*
 * Run the native hooks of @point (enum cringle_point).  -1 when one with the policy
 * `fail` has refused; at points that cannot be refused always 0.
 */
int hooks_run(struct hooks *h, int point, const struct hooks_subject *subject, const struct cringle_call *call,
              struct cringle_err *err);

/*
 * CRINGLE_CONTAINER_CREATE: let native hooks adjust @spec (runtime-spec, edited in
 * place), inject CDI devices, then add the hooks.d and YAML hooks that match.  On failure @spec may be half-edited.
 */
int hooks_adjust(struct hooks *h, const struct hooks_subject *subject, struct json_object *spec,
                 const struct cringle_call *call, struct cringle_err *err);

/*
 * The kubelet wants other limits for a container: whoever hears of it may refuse, or make
 * @limits what is to be set instead.
 */
int hooks_update(struct hooks *h, const struct hooks_subject *subject, struct hooks_limits *limits,
                 const struct cringle_call *call, struct cringle_err *err);

/* The kubelet has other limits for a pod. */
int hooks_update_pod(struct hooks *h, const struct hooks_subject *subject,
                     const Cri__UpdatePodSandboxResourcesRequest *request, const struct cringle_call *call,
                     struct cringle_err *err);

/*
 * New limits are in force, of a container as its config.json says, of a pod as @pod says (NULL for a container).
 * @tell false, of a container alone: nobody is told, for a hook has asked for them.
 */
void hooks_updated(struct hooks *h, const struct hooks_subject *subject,
                   const Cri__UpdatePodSandboxResourcesRequest *pod, bool tell);

/* What one hook came to in a rehearsal; borrowed for one call. */
struct hooks_step {
        const char *name, *source, *origin;     /* as in struct hooks_info */
        bool matches;
        const char *why;
        char *const *changes;           /* of the specification, see hooks/diff.h; NULL: none */
};

struct hooks_watcher {
        void (*step)(void *data, const struct hooks_step *step);
        void (*owner)(void *data, const char *field, const char *owner);        /* sorted by field */
        void *data;
};

/*
 * hooks_adjust() as a rehearsal: nothing is counted, and @w is told of each hook, also of those
 * whose conditions do not hold, and at the end of who owns what.  Native hooks are called
 * as always: for them there is no difference.
 */
int hooks_explain(struct hooks *h, const struct hooks_subject *subject, struct json_object *spec,
                  const struct hooks_watcher *w, const struct cringle_call *call, struct cringle_err *err);

/* One hook of any source; borrowed for one call of hooks_list()'s callback. */
struct hooks_info {
        const char *name;
        const char *source;             /* "plugin", "nri", "cdi", "hooks.d", "yaml" */
        const char *origin;             /* file, file:line, or the plugin's name */
        const char *stages;             /* "prestart,poststop" or points */
        const char *policy;             /* "fail", "ignore" */
        const char *isolation;          /* where it runs: "agent", "process"; NULL: nothing of it runs */
        int64_t timeout;                /* nanoseconds for one call; 0: none */
        const char *conditions;         /* one line */
        const char *error;              /* why it is not in force; NULL: it is */
        uint64_t matches;               /* containers it was added or given to; of hooks.d, the YAML and CDI */

        /* Of all its calls since the agent started: hooks_list() fills these in. */
        uint64_t calls, failures, timeouts;     /* time-outs are failures, too */
        int64_t nanoseconds, longest;   /* of all together, and of one */
        int64_t last_at;                /* when the last one ended, nanoseconds since the epoch; 0: there was none */
        int64_t last_nanoseconds;
        const char *last_failure;       /* NULL: the last one succeeded */
};

/* All hooks, in the order of the pipeline.  Looks at directories: not for the loop. */
void hooks_list(struct hooks *h, void (*fn)(void *data, const struct hooks_info *info), void *data);

/* One call of a hook, wherever it ran; all borrowed.  Strings may be NULL where it is said. */
struct hooks_call {
        const char *source, *name;      /* as in struct hooks_info */
        const char *origin;             /* NULL: not known */
        const char *stage;              /* an OCI stage ("createRuntime"), a point ("pod run"), or an event of NRI */
        const char *pod_id, *pod_space, *pod_name;      /* NULL: not known */
        const char *container_id, *container_name;      /* NULL: not known, or it is the pod's */
        const char *why;                /* which conditions held; NULL: none, or as its file or the YAML has them now */
        const char *result;             /* NULL: "ok", or the error */
        const char *error;              /* one line; NULL: it succeeded */
        bool timed_out;
        bool ignored;                   /* it has failed, and its policy lets that pass */
        int64_t nanoseconds;            /* it took */
        int64_t ended_at;               /* nanoseconds since the epoch; 0: now */
        char *const *changes;           /* fields of the container that it has set; NULL: none */
};

/* Fill in who @subject is. */
void hooks_call_subject(struct hooks_call *call, const struct hooks_subject *subject);

/*
 * Count a call that was made elsewhere: by the executor, or for NRI.  A failure that is ignored is logged as one line
 * with the ids of pod and container; others are their caller's to log.  May be called with any lock of NRI's held.
 */
void hooks_called(struct hooks *h, const struct hooks_call *call);

/*
 * What a hook has changed is told apart from its call, when there is somebody who traces: by @adjust, since its
 * adjust_begin().
 */
void hooks_changed(struct hooks *h, const struct adjust *adjust, const struct hooks_subject *subject, const char *stage);

/*
 * Have @fn told of each call from now on; NULL: no more.  One at a time.  It is called under a lock, on any thread:
 * it keeps what it needs and returns, without calling back here.  When nobody traces, nothing is prepared for him.
 */
typedef void (*hooks_trace_fn)(void *data, const struct hooks_call *call);
void hooks_trace(struct hooks *h, hooks_trace_fn fn, void *data);

/*
 * Counters for metrics: of each hook at each stage or point at which it was called since the agent started, also
 * of hooks that are gone.  In no order; one row for each (source, name, stage).  Cheap: @fn is called under a lock, for
 * at most some thousand rows, and may not call back here.
 */
struct hooks_counter {
        const char *source, *name, *stage;      /* borrowed for the call */
        uint64_t calls, failures, timeouts;     /* time-outs are failures, too */
        int64_t nanoseconds;                    /* of all calls together */
};

void hooks_counters(struct hooks *h, void (*fn)(void *data, const struct hooks_counter *counter), void *data);

/* process.args of @spec as a list, the caller's; NULL: none. */
char **hooks_args(struct json_object *spec);

AUTO_DEFINE(hooks, hooks_free)
AUTO_DEFINE(hooks_plan, hooks_plan_free)
