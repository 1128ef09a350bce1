#pragma once

/*
 * Small things to do with protobuf-c messages
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cri.pb-c.h"

#include "agent/base/err.h"

/* A borrowed string for a field of a message that is only going to be packed: its fields are not const. */
static inline char *message_text(const char *s)
{
        return (char *) s;
}

/* A deep copy, freed with protobuf_c_message_free_unpacked(m, NULL); NULL: out of memory. */
void *message_copy(const void *message);

/*
 * @message packed as an item of another's first field, a repeated one: with tag and length before it.  The caller's; NULL:
 * out of memory.
 */
uint8_t *message_item(const void *message, size_t *ret_n);

/* As protobuf_c_message_free_unpacked(); always NULL; NULL is fine. */
void *message_free(void *message);

/* True when both say the same, byte for byte; of one type. */
bool message_equal(const void *a, const void *b);

/* Replace a string field of a message that owns its strings. */
int message_set(char **field, const char *value, struct cringle_err *err);

/* The value at @key, or NULL. */
const char *message_pair(Cri__Pair *const *pairs, size_t n, const char *key);

/* True when all of @wanted is among @pairs: label selectors. */
bool message_has_pairs(Cri__Pair *const *pairs, size_t n, Cri__Pair *const *wanted, size_t n_wanted);
