#pragma once

/*
 * Memory of one unpacked request
 *
 * A protobuf message is many small allocations with one common end.  An arena
 * hands them out of a few large blocks and gives all back at once.  The bytes are
 * counted in a sum that all requests of a server share: a few bytes on the wire
 * can ask for thousands in memory (an empty submessage takes two and becomes a
 * struct), so the limit that counts is this one.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

struct arena_block;

struct arena {
        ProtobufCAllocator allocator;   /* to unpack with; points back here, so an arena does not move */
        struct arena_block *blocks;
        size_t at;                      /* in the first block */
        size_t held;
        atomic_size_t *sum;
        size_t limit;                   /* of *sum */
        bool refused;                   /* an allocation failed at the limit or for want of memory */
};

/* @expect: bytes that will probably be needed.  @sum outlives the arena. */
void arena_init(struct arena *a, size_t expect, atomic_size_t *sum, size_t limit);
void arena_done(struct arena *a);
