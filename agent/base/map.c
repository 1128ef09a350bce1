/*
 * A map from strings to pointers; see map.h.
 *
 * Open addressing with linear probing.  Removal shifts the followers back, so
 * there are no tombstones.  The hash is seeded at random: names come from outside.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/base/map.h"

/* FNV-1a over a secret start value, with a final mix. */
static size_t hash_of(const char *key)
{
        static uint64_t seed;
        uint64_t h;

        if (!seed) {
                uint64_t fresh = 0;

                if (getrandom(&fresh, sizeof fresh, 0) != (ssize_t) sizeof fresh || !fresh)
                        fresh = 0xcbf29ce484222325u;
                __atomic_compare_exchange_n(&seed, &(uint64_t) { 0 }, fresh, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        }

        h = seed;
        for (const unsigned char *p = (const unsigned char *) key; *p; p++)
                h = (h ^ *p) * 0x100000001b3u;
        h ^= h >> 32;
        return (size_t) h;
}

void map_done(struct map *m, void (*free_value)(void *))
{
        for (size_t i = 0; i < m->n_slots; i++) {
                if (!m->slots[i].key)
                        continue;
                free(m->slots[i].key);
                if (free_value)
                        free_value(m->slots[i].value);
        }
        free(m->slots);
        *m = (struct map) MAP_INIT;
}

/* The slot of @key, or the free one where it would go.  The table is never full. */
static struct map_slot *find(const struct map *m, const char *key, size_t hash)
{
        size_t i = hash & (m->n_slots - 1);

        while (m->slots[i].key && (m->slots[i].hash != hash || strcmp(m->slots[i].key, key) != 0))
                i = (i + 1) & (m->n_slots - 1);
        return &m->slots[i];
}

static int grow(struct map *m, struct cringle_err *err)
{
        struct map bigger = { .n_slots = m->n_slots ? m->n_slots * 2 : 16, .count = m->count };

        bigger.slots = calloc(bigger.n_slots, sizeof *bigger.slots);
        if (!bigger.slots)
                return err_oom(err);

        for (size_t i = 0; i < m->n_slots; i++)
                if (m->slots[i].key)
                        *find(&bigger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
        free(m->slots);
        *m = bigger;
        return 0;
}

void *map_get(const struct map *m, const char *key)
{
        return m->count ? find(m, key, hash_of(key))->value : NULL;
}

int map_put(struct map *m, const char *key, void *value, struct cringle_err *err)
{
        size_t hash = hash_of(key);
        struct map_slot *slot;

        if ((m->count + 1) * 4 > m->n_slots * 3 && grow(m, err) < 0)
                return -1;

        slot = find(m, key, hash);
        if (!slot->key) {
                slot->key = strdup(key);
                if (!slot->key)
                        return err_oom(err);
                slot->hash = hash;
                m->count++;
        }
        slot->value = value;
        return 0;
}

void *map_take(struct map *m, const char *key)
{
        struct map_slot *slot;
        size_t hole, i;
        void *value;

        if (!m->count)
                return NULL;
        slot = find(m, key, hash_of(key));
        if (!slot->key)
                return NULL;

        value = slot->value;
        free(slot->key);
        m->count--;

        /* Move back every follower that the hole would cut off from its own place. */
        hole = (size_t) (slot - m->slots);
        for (i = (hole + 1) & (m->n_slots - 1); m->slots[i].key; i = (i + 1) & (m->n_slots - 1)) {
                size_t home = m->slots[i].hash & (m->n_slots - 1);

                if (((i - home) & (m->n_slots - 1)) >= ((i - hole) & (m->n_slots - 1))) {
                        m->slots[hole] = m->slots[i];
                        hole = i;
                }
        }
        m->slots[hole] = (struct map_slot) { 0 };
        return value;
}

int map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value)
{
        while (*at < m->n_slots) {
                const struct map_slot *slot = &m->slots[(*at)++];

                if (!slot->key)
                        continue;
                *ret_key = slot->key;
                *ret_value = slot->value;
                return 1;
        }
        return 0;
}
