/*
 * Memory with one common end; see pool.h.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/pool.h"

struct pool_item {
        struct pool_item *next;
        max_align_t data[];
};

void *pool_alloc(struct pool *p, size_t n, size_t size, struct cringle_err *err)
{
        struct pool_item *item;
        size_t bytes;

        if (__builtin_mul_overflow(n, size, &bytes) || __builtin_add_overflow(bytes, sizeof *item, &bytes)) {
                err_oom(err);
                return NULL;
        }
        item = calloc(1, bytes);
        if (!item) {
                err_oom(err);
                return NULL;
        }
        item->next = p->items;
        p->items = item;
        return item->data;
}

char *pool_copy(struct pool *p, const char *text, struct cringle_err *err)
{
        size_t n = strlen(text) + 1;
        char *copy = pool_alloc(p, n, 1, err);

        return copy ? memcpy(copy, text, n) : NULL;
}

char *pool_printf(struct pool *p, struct cringle_err *err, const char *format, ...)
{
        va_list args, again;
        char *text;
        int n;

        va_start(args, format);
        va_copy(again, args);
        n = vsnprintf(NULL, 0, format, args);
        va_end(args);
        text = n < 0 ? NULL : pool_alloc(p, (size_t) n + 1, 1, err);
        if (text)
                vsnprintf(text, (size_t) n + 1, format, again);
        va_end(again);
        return text;
}

void pool_done(struct pool *p)
{
        for (struct pool_item *item = p->items, *after; item; item = after) {
                after = item->next;
                free(item);
        }
        p->items = NULL;
}
