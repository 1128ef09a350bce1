#pragma once

/*
 * A map from strings to pointers
 *
 * Zero bytes are a valid, empty map.  Keys are copied, values are the caller's
 * unless he gives map_done() something to free them with.  Iteration is in no
 * particular order; the map must not change meanwhile.
 */

#include <stddef.h>

#include "agent/base/err.h"

struct map_slot {
        char *key;              /* NULL: free */
        void *value;
        size_t hash;
};

struct map {
        struct map_slot *slots;
        size_t n_slots;         /* a power of two, or 0 */
        size_t count;
};

#define MAP_INIT { 0 }

void map_done(struct map *m, void (*free_value)(void *));

/* The value at @key, or NULL. */
void *map_get(const struct map *m, const char *key);

/* Put or replace; the old value, if any, is not freed. */
int map_put(struct map *m, const char *key, void *value, struct cringle_err *err);

/* Remove and return the value at @key, or NULL. */
void *map_take(struct map *m, const char *key);

/*
 * Iterate: size_t at = 0; while (map_next(&m, &at, &key, &value)) ...
 * Returns 0 at the end.
 */
int map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value);
