#pragma once

/*
 * Memory with one common end
 *
 * A manifest is hundreds of small strings and messages that live and die
 * together; nobody should have to free them one by one.
 */

#include <stddef.h>

#include "agent/base/err.h"

struct pool {
        struct pool_item *items;
};

/* Zeroed; NULL when memory is out, which @err then says. */
void *pool_alloc(struct pool *p, size_t n, size_t size, struct cringle_err *err);
char *pool_copy(struct pool *p, const char *text, struct cringle_err *err);

__attribute__((format(printf, 3, 4)))
char *pool_printf(struct pool *p, struct cringle_err *err, const char *format, ...);

void pool_done(struct pool *p);
