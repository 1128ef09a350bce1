#pragma once

/*
 * Whose turn it is: one operation per container, and nothing beside a collection
 *
 * Containers do not wait for each other.  A collection (GC) waits until no operation
 * is under way, and lets new ones begin meanwhile: one hung plugin must not hold up
 * every other pod through it.  A collection that never gets its turn ends with its call.
 */

#include <pthread.h>
#include <stdbool.h>

#include "agent/base/call.h"
#include "agent/base/map.h"

struct turns {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct map busy;                /* containers */
        bool collecting;
};

void turns_init(struct turns *t);
void turns_done(struct turns *t);       /* nobody has a turn */

/* Wait for the turn of container @id, as long as @call lasts. */
int turns_take(struct turns *t, const char *id, const struct cringle_call *call, struct cringle_err *err);
void turns_give(struct turns *t, const char *id);

/* Wait until nothing else runs, as long as @call lasts. */
int turns_take_all(struct turns *t, const struct cringle_call *call, struct cringle_err *err);
void turns_give_all(struct turns *t);
