#pragma once

/*
 * A growing byte buffer
 *
 * Zero bytes are a valid, empty buffer.  After every successful call `data` is
 * followed by a NUL that `len` does not count, so it can be read as a string.
 * Appending either happens whole or not at all.
 */

#include <stdarg.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

struct buf {
        char *data;
        size_t len;
        size_t room;
};

#define BUF_INIT { 0 }

void buf_done(struct buf *b);

static inline void auto_buf_done_(struct buf *b)
{
        buf_done(b);
}

#define auto_buf auto_cleanup(auto_buf_done_) struct buf

/* Room for @n more bytes. */
int buf_reserve(struct buf *b, size_t n, struct cringle_err *err);

int buf_add(struct buf *b, const void *data, size_t n, struct cringle_err *err);
int buf_add_str(struct buf *b, const char *text, struct cringle_err *err);

__attribute__((format(printf, 2, 0)))
int buf_vprintf(struct buf *b, const char *format, va_list args, struct cringle_err *err);

__attribute__((format(printf, 3, 4)))
int buf_printf(struct buf *b, struct cringle_err *err, const char *format, ...);

/* Drop the first @n bytes. */
void buf_drop(struct buf *b, size_t n);

/* Empty it, keep the room. */
void buf_clear(struct buf *b);

/* Hand the bytes on; the buffer is empty afterwards.  Never NULL unless memory is out. */
char *buf_steal(struct buf *b);
