#pragma once

/*
 * Who uses which layer, and who is just filling or removing it
 *
 * A layer has users: images of the index, and pulls that are to become such.  When the last
 * one lets go it is removed from the backend.  Filling and removing take their time and
 * happen outside the lock; meanwhile the layer is busy, and whoever else wants it waits.
 *
 * "Locked" says that the caller holds the mutex given to layers_init(); the other functions take it
 * themselves.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/map.h"
#include "plugins/api/image.h"

enum layer_state {
        LAYER_ABSENT = 0,
        LAYER_BUSY = 1,
        LAYER_PRESENT = 2,
};

struct layer {
        char *chain_id;
        enum layer_state state;
        unsigned users;
        uint64_t bytes, inodes;         /* when present */
};

struct layers {
        struct map all;                 /* chain id -> struct layer; it owns them */
        const struct cringle_image_ops *ops;
        void *self;
        pthread_mutex_t *lock;
        pthread_cond_t changed;         /* some layer's state, or somebody's `cancelled` */
};

void layers_init(struct layers *all, const struct cringle_image_ops *ops, void *self, pthread_mutex_t *lock);
void layers_done(struct layers *all);

/* Become a user of @chain_id, there or not.  Locked.  *ret is valid until layers_drop(). */
int layers_claim(struct layers *all, const char *chain_id, struct layer **ret, struct cringle_err *err);

/* Let go of @n layers; those nobody uses any more are removed from the backend (failure: logged). */
void layers_drop(struct layers *all, struct layer **list, size_t n);

/* What layers_take() can come to, failures aside. */
enum { LAYERS_THERE = 0, LAYERS_MISSING = 1 };

/*
 * Wait until nobody is busy with @l (claimed).  LAYERS_MISSING: it is busy now, for the caller, who must come to
 * layers_filled() or layers_not_filled().  Fails as soon as *@cancelled (guarded by the lock) is set.
 */
int layers_take(struct layers *all, struct layer *l, const bool *cancelled, struct cringle_err *err);
void layers_filled(struct layers *all, struct layer *l, uint64_t bytes, uint64_t inodes);
void layers_not_filled(struct layers *all, struct layer *l);

/* Wait until the @n layers of @list (claimed) are present; somebody else fills them.  Fails as layers_take(). */
int layers_wait(struct layers *all, struct layer **list, size_t n, const bool *cancelled, struct cringle_err *err);

/* Wake all who wait, to look at their `cancelled`.  Locked. */
void layers_wake(struct layers *all);
