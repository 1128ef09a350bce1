/*
 * Memory of one unpacked request; see arena.h.
 */

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "agent/rpc/arena.h"

#define BLOCK_MIN ((size_t) 1024)
#define BLOCK_MAX ((size_t) 256 * 1024)

struct arena_block {
        struct arena_block *next;
        size_t size;                    /* of bytes */
        alignas(max_align_t) unsigned char bytes[];
};

static int add_block(struct arena *a, size_t size)
{
        struct arena_block *block;
        size_t whole;

        if (__builtin_add_overflow(size, sizeof *block, &whole))
                return -1;
        if (atomic_fetch_add(a->sum, whole) + whole > a->limit)
                goto refuse;
        block = malloc(whole);
        if (!block)
                goto refuse;

        block->next = a->blocks;
        block->size = size;
        a->blocks = block;
        a->at = 0;
        a->held += whole;
        return 0;

refuse:
        atomic_fetch_sub(a->sum, whole);
        return -1;
}

static void *arena_alloc(void *data, size_t size)
{
        struct arena *a = data;
        size_t room = a->blocks ? a->blocks->size - a->at : 0;
        void *p;

        if (size > SIZE_MAX / 2) {
                a->refused = true;
                return NULL;
        }
        size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
        if (!a->blocks || size > room) {
                size_t next = a->blocks ? a->blocks->size * 2 : BLOCK_MIN;

                if (next > BLOCK_MAX)
                        next = BLOCK_MAX;
                if (add_block(a, size > next ? size : next) < 0) {
                        a->refused = true;
                        return NULL;
                }
        }

        p = a->blocks->bytes + a->at;
        a->at += size;
        return p;
}

static void arena_forget(void *data, void *p)
{
        /* All goes at once in arena_done(). */
}

void arena_init(struct arena *a, size_t expect, atomic_size_t *sum, size_t limit)
{
        *a = (struct arena) {
                .allocator = { .alloc = arena_alloc, .free = arena_forget, .allocator_data = a },
                .sum = sum,
                .limit = limit,
        };
        if (expect < BLOCK_MIN)
                expect = BLOCK_MIN;
        if (expect > BLOCK_MAX)
                expect = BLOCK_MAX;
        add_block(a, expect);           /* without it the first allocation will find out */
}

void arena_done(struct arena *a)
{
        while (a->blocks) {
                struct arena_block *block = a->blocks;

                a->blocks = block->next;
                free(block);
        }
        if (a->sum)
                atomic_fetch_sub(a->sum, a->held);
        a->held = 0;
}
