#pragma once

/*
 * What calls of hooks came to: counters for each hook and stage, and who watches
 *
 * A record per (source, name, stage) is made at the first call and kept, also when the hook is gone
 * and comes back, until the agent ends.  There are at most CALLS_RECORDS of them: then the one that was
 * called longest ago makes room.
 *
 * All functions may be called from any thread, with any lock of the engine held.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "agent/base/map.h"
#include "hooks/hooks.h"

#define CALLS_RECORDS 4096

struct calls {
        pthread_mutex_t lock;           /* guards everything below */
        struct map records;             /* "source\nname\nstage" -> struct record */
        hooks_trace_fn fn;
        void *data;
        atomic_bool traced;             /* there is an fn; asked without the lock */
};

void calls_init(struct calls *c);
void calls_done(struct calls *c);

/* Count @call and tell who traces; a failure is logged, with the ids of pod and container. */
void calls_add(struct calls *c, const struct hooks_call *call);

void calls_trace(struct calls *c, hooks_trace_fn fn, void *data);

/* Tell who traces, and nobody else. */
void calls_tell(struct calls *c, const struct hooks_call *call);

/* The calls of the hook that @info is of, all stages together, into @info; its last_failure is the caller's in *ret_failure. */
void calls_sum(struct calls *c, struct hooks_info *info, char **ret_failure);

/* Each record, under the lock. */
void calls_each(struct calls *c, void (*fn)(void *data, const struct hooks_counter *counter), void *data);
