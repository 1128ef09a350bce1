/*
 * A growing byte buffer; see buf.h.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/buf.h"

void buf_done(struct buf *b)
{
        free(b->data);
        *b = (struct buf) BUF_INIT;
}

int buf_reserve(struct buf *b, size_t n, struct cringle_err *err)
{
        size_t need, room;
        char *data;

        if (__builtin_add_overflow(b->len, n, &need) || __builtin_add_overflow(need, 1, &need))
                return err_oom(err);
        if (need <= b->room)
                return 0;

        room = b->room < 64 ? 64 : b->room;
        while (room < need)
                if (__builtin_mul_overflow(room, 2, &room))
                        return err_oom(err);

        data = realloc(b->data, room);
        if (!data)
                return err_oom(err);

        b->data = data;
        b->room = room;
        b->data[b->len] = '\0';
        return 0;
}

int buf_add(struct buf *b, const void *data, size_t n, struct cringle_err *err)
{
        if (buf_reserve(b, n, err) < 0)
                return -1;

        if (n > 0)
                memcpy(b->data + b->len, data, n);
        b->len += n;
        b->data[b->len] = '\0';
        return 0;
}

int buf_add_str(struct buf *b, const char *text, struct cringle_err *err)
{
        return buf_add(b, text, strlen(text), err);
}

int buf_vprintf(struct buf *b, const char *format, va_list args, struct cringle_err *err)
{
        va_list again;
        int n;

        va_copy(again, args);
        n = vsnprintf(NULL, 0, format, again);
        va_end(again);
        if (n < 0)
                return err_set(err, CRINGLE_E_INTERNAL, "cannot format text");
        if (buf_reserve(b, (size_t) n, err) < 0)
                return -1;

        vsnprintf(b->data + b->len, (size_t) n + 1, format, args);
        b->len += (size_t) n;
        return 0;
}

int buf_printf(struct buf *b, struct cringle_err *err, const char *format, ...)
{
        va_list args;
        int r;

        va_start(args, format);
        r = buf_vprintf(b, format, args, err);
        va_end(args);
        return r;
}

void buf_drop(struct buf *b, size_t n)
{
        if (n > b->len)
                n = b->len;
        if (n == 0)
                return;

        memmove(b->data, b->data + n, b->len - n);
        b->len -= n;
        b->data[b->len] = '\0';
}

void buf_clear(struct buf *b)
{
        b->len = 0;
        if (b->data)
                b->data[0] = '\0';
}

char *buf_steal(struct buf *b)
{
        char *data = b->data ? b->data : strdup("");

        *b = (struct buf) BUF_INIT;
        return data;
}
