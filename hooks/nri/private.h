#pragma once

/*
 * What the files of this folder share: a plugin, and the book of what plugins know of
 *
 * Locks, in the order in which they are taken:
 * - `gate`: whoever tells an event holds it shared; whoever brings a plugin in, or takes one out, alone.
 * - `lock`: everything else that changes; never held while somebody is waited for.
 */

#include <pthread.h>
#include <stdbool.h>

#include "agent/base/child.h"
#include "agent/base/map.h"
#include "agent/rpc/ttrpc.h"
#include "hooks/nri/convert.h"
#include "hooks/nri/nri.h"

/* What the failure of a plugin does. */
enum policy {
        POLICY_USUAL,                   /* a refusal fails the operation, silence does not */
        POLICY_FAIL,                    /* both do, and so does its absence at a creation */
        POLICY_IGNORE,                  /* neither does */
};

/* A program of the plugin directory. */
struct launched {
        struct launched *next;
        char *file, *index, *name;
        int64_t launch_at;              /* CLOCK_MONOTONIC; 0: it runs, or is not wanted again */
        int64_t launched_at;            /* likewise */
        unsigned quick;                 /* how often in a row it has ended soon */
        bool removed;                   /* the directory has it no more */
};

/* The socket, and the thread that accepts on it. */
struct listener;

/* The section `nri` of the configuration, as far as it is not in numbers. */
struct settings {
        bool enabled;
        char *socket, *plugin_dir, *config_dir;
        struct map policies;            /* name or label -> (void *) enum policy */
};

struct plugin {
        struct plugin *next;            /* in the order of indices */
        struct nri *nri;
        struct ttrpc *rpc;
        struct child child;             /* of a launched one */
        struct launched *launched;      /* NULL: it connected by itself */

        /* Under nri->lock: */
        char *index, *name, *label;     /* as registered; label is "index-name"; NULL before */
        bool ended;
        unsigned misses;

        /* Of whoever brings it in, before others see it: */
        uint32_t events;                /* bits, 1 << (event - 1) */
        _Atomic bool old;                       /* knows StateChange only; once true, it stays so */
        enum policy policy;
        bool fail_request, keep_connected;      /* its own wishes for when it does not answer in time */
};

/* A pod or container that plugins know of. */
struct known {
        char *pod;                      /* id of a container's pod; NULL: it is a pod */
        struct buf message;             /* Nri__PodSandbox or Nri__Container, packed; without state */
        Nri__ContainerState state;
        struct hooks_subject last;      /* its numbers alone: pid, times, exit code */
        bool busy;                      /* an event of it is being told; others of it wait */
        bool starting;                  /* between StartContainer and PostStartContainer */
        bool ended;                     /* its end has come */
        bool end_told;
};

struct nri {
        struct settings s;              /* changes with the gate held alone, and the lock */
        _Atomic int64_t registration_timeout, request_timeout, sync_timeout, restart_delay;
        _Atomic unsigned max_misses;
        const struct nri_host *host;
        struct hooks *hooks;            /* borrowed for good: calls of plugins are counted there */
        struct hooks_next next;

        pthread_rwlock_t gate;
        struct plugin *plugins;         /* changes with the gate held alone */

        pthread_mutex_t lock;
        pthread_cond_t changed;         /* something below, or in a plugin, or a known's busy */
        struct map pods, containers;    /* id -> struct known */
        struct map unanswered;          /* label -> char *: the last call without an answer, until one of that label joins */
        bool stopping;
        unsigned comers;                /* threads that bring a plugin in */
        struct launched *programs;      /* made and freed by the keeper thread */
        bool rescan;                    /* the keeper is to look into the plugin directory */

        struct listener *listener;      /* of who starts, changes and ends all this; NULL: nobody can connect */
        bool keeping;                   /* the keeper runs */
        pthread_t keeper;
};

#define PLUGIN_SERVICE "nri.pkg.api.v1alpha1.Plugin"
#define RUNTIME_SERVICE "nri.pkg.api.v1alpha1.Runtime"

/* plugin.c ---------------------------------------------------------------------------- */

/* Bring in what speaks on @fd (taken): registration to the end of synchronisation.  @child is taken, too. */
void plugin_bring_in(struct nri *n, int fd, struct child *child, struct launched *launched);

/* A launched plugin has ended, or could not be launched: when it is due again.  The lock is held. */
void launched_ended(struct nri *n, struct launched *l);

/* What the configuration says of @p's failures; inside the gate, or with the lock held. */
enum policy policy_of(const struct nri *n, const struct plugin *p);

/* Those that have ended leave the list.  Takes the gate. */
void plugins_reap(struct nri *n);
void plugin_free(struct plugin *p);

static inline bool plugin_wants(const struct plugin *p, Nri__Event event)
{
        return p->events & (1u << (event - 1));
}

/*
 * Call @p at @event with a pod, and a container or NULL.  0: @ret has its answer; 1: it has failed, which its policy
 * lets pass (logged); -1: which fails the operation.
 */
int plugin_tell(struct plugin *p, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                const struct cringle_call *call, struct buf *ret, struct cringle_err *err);

/* The same with any message, by the event's own method. */
int plugin_ask(struct plugin *p, Nri__Event event, const ProtobufCMessage *request, const Nri__PodSandbox *pod,
               const Nri__Container *container, const struct cringle_call *call, struct buf *ret, struct cringle_err *err);

/* What an answer that makes no sense comes to: the plugin is dropped.  As plugin_tell(), never 0. */
int plugin_broken(struct plugin *p, Nri__Event event, struct cringle_err *err);

/* What an answer that asks for what it may not (@err says why) comes to.  As plugin_tell(), never 0. */
int plugin_judge(struct plugin *p, Nri__Event event, struct cringle_err *err);

/* "RunPodSandbox". */
const char *event_name(Nri__Event event);

/* update.c ------------------------------------------------------------------------------ */

/* What plugins want of other containers in answer to one event. */
struct wish {
        char *label;
        Nri__UpdateContainersRequest *request;
};

struct wishes {
        struct wish *list;
        size_t n;
        const char *created;            /* the container that is being created, which has adjustments; or NULL */
        struct map owners;              /* "memory limit of container ..." -> the plugin's label */
};

/*
 * What @p wants, in lists that change hands.  -1: it may not want that, and nothing of it has been taken.
 * What it does not mind to fail is left out instead.
 */
int wishes_add(struct wishes *w, const struct plugin *p, Nri__ContainerUpdate ***update, size_t *n_update,
               Nri__ContainerEviction ***evict, size_t *n_evict, struct cringle_err *err);

/* Carry them out, or do not, and free what is in @w.  The gate has been left. */
void wishes_end(struct nri *n, struct wishes *w, bool granted);

/* Carry out updates and evictions that a plugin asks for; those that failed are listed in @failed; NULL: nobody waits. */
void nri_carry_out(struct nri *n, const char *label, Nri__ContainerUpdate **updates, size_t n_updates,
                   Nri__ContainerEviction **evictions, size_t n_evictions, Nri__UpdateContainersResponse *failed);

int nri_update(void *data, const struct hooks_subject *s, struct hooks_limits *limits, const struct cringle_call *call,
               struct cringle_err *err);
int nri_update_pod(void *data, const struct hooks_subject *s, const Cri__UpdatePodSandboxResourcesRequest *request,
                   const struct cringle_call *call, struct cringle_err *err);
void nri_updated(void *data, const struct hooks_subject *s, const Cri__UpdatePodSandboxResourcesRequest *pod, bool tell);

/* create.c ------------------------------------------------------------------------------ */

int nri_adjust(void *data, struct adjust *a, const struct hooks_subject *s, const struct cringle_call *call,
               struct cringle_err *err);

/* events.c ----------------------------------------------------------------------------- */

int nri_run(void *data, int point, const struct hooks_subject *s, const struct cringle_call *call,
            struct cringle_err *err);
void nri_adopt(void *data, const struct hooks_subject *s);
void nri_forget(void *data, const struct hooks_subject *s);
void known_free(void *known);

/* Through the gate, to be left again, in the time that @call has: a plugin that is being told what there is may take long. */
int gate_pass(struct nri *n, const struct cringle_call *call, struct cringle_err *err);

/* Inside the gate: whether any plugin has subscribed to @event. */
bool nri_wanted(const struct nri *n, Nri__Event event);

/* What must happen is told to each before @end (NULL: all), whatever those before it say. */
void nri_tell_anyway(struct nri *n, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                     const struct plugin *end, struct wishes *wishes);

/* The message of a pod that is known, the caller's; NULL: it is not. */
Nri__PodSandbox *nri_pod_message(struct nri *n, const char *id);

/* What is known at @id, for this thread alone until known_leave(); NULL: nothing. */
struct known *known_enter(struct nri *n, struct map *map, const char *id);
void known_leave(struct nri *n, struct known *k);

/* A new one, and into the map; what was known under the id goes. */
struct known *known_new(const struct hooks_subject *s, const ProtobufCMessage *message);
void known_put(struct nri *n, const struct hooks_subject *s, struct known *k);

/* From here on it is told as @message says. */
void known_say(struct nri *n, struct known *k, const ProtobufCMessage *message);

/* The message of what is known, with its state; the caller's.  nri->lock is held. */
Nri__PodSandbox *known_pod(const struct known *k);
Nri__Container *known_container(const struct known *k);
