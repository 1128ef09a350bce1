#pragma once

/*
 * One plugin that the configuration names: in use, or refused with the reason
 *
 * It carries the plugin's life (create, start, reload, quiesce, destroy), the
 * services it is given, and what its calls came to.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/map.h"
#include "agent/base/own.h"
#include "agent/host/apart.h"
#include "agent/host/host.h"
#include "agent/host/kind.h"

struct instance {
        const struct kind *kind;
        char *name;
        char *file;                     /* NULL: built in, or not found */
        char *version;
        struct cringle_factory factory;
        struct cringle_host services;
        char *state_dir, *run_dir;
        int64_t slow_call;

        void *self;                     /* the plugin's own */
        void *ops;                      /* its operations, full-size */
        void *table;                    /* what callers see; their `self` is this struct */
        bool created, in_use;
        bool isolated;                  /* hooks: to run in a process of its own */
        struct apart *apart;            /* that process */
        char *message;                  /* why it was refused */

        atomic_uint_least64_t calls, failures, slow;
        atomic_int_least64_t running, busy;

        pthread_mutex_t lock;           /* for all below */
        int64_t slowest;
        const char *slowest_call;
        struct map counters;            /* name -> int64_t *, by count() */
        struct cringle_pair *settings;  /* checked */
        bool fail;                      /* hooks: the failure policy */
        int64_t timeout;

        unsigned sets;                  /* of hooks that it is in; under the host's lock */
};

/* Nothing but the name yet. */
int instance_new(const struct kind *k, const char *name, struct instance **ret, struct cringle_err *err);

/* Quiesce and destroy what runs. */
struct instance *instance_free(struct instance *in);

/*
 * Find, judge, create and start.  On failure the instance remembers why and stays
 * unused; @err has the same text.
 */
int instance_bring_up(struct instance *in, const struct config *config, const struct cringle_pair *settings,
                      const struct host_options *options, struct cringle_err *err);

/* Around each call: instance_enter() gives the time, instance_leave() returns @result. */
int64_t instance_enter(struct instance *in);
int instance_leave(struct instance *in, const char *what, int64_t begun, int result, struct cringle_err *err);

void instance_tell(struct instance *in, void (*fn)(void *data, const struct host_info *info), void *data);

AUTO_DEFINE(instance, instance_free)
