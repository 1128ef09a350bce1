/*
 * Records; see rec.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/wire/rec.h"

#define HEADER 8        /* tag, zero, length */

static void put(struct rec_writer *w, const void *data, size_t n)
{
        if (!w->failed && buf_add(w->out, data, n, w->err) < 0)
                w->failed = true;
}

static void store_u32(unsigned char *at, uint32_t v)
{
        for (int i = 0; i < 4; i++)
                at[i] = (unsigned char) (v >> (8 * i));
}

static uint32_t load_u32(const unsigned char *at)
{
        return at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16 | (uint32_t) at[3] << 24;
}

void rec_begin(struct rec_writer *w, uint16_t tag)
{
        unsigned char head[HEADER] = { (unsigned char) tag, (unsigned char) (tag >> 8) };

        put(w, head, sizeof head);
        w->at = w->out->len;
}

void rec_end(struct rec_writer *w)
{
        size_t n = w->out->len - w->at;

        if (w->failed)
                return;
        if (n > UINT32_MAX) {
                w->failed = true;
                err_set(w->err, CRINGLE_E_RANGE, "a record of %zu bytes is too long", n);
                return;
        }
        store_u32((unsigned char *) w->out->data + w->at - 4, (uint32_t) n);
        w->at = 0;
}

void rec_put_u32(struct rec_writer *w, uint32_t value)
{
        unsigned char bytes[4];

        store_u32(bytes, value);
        put(w, bytes, sizeof bytes);
}

void rec_put_u64(struct rec_writer *w, uint64_t value)
{
        rec_put_u32(w, (uint32_t) value);
        rec_put_u32(w, (uint32_t) (value >> 32));
}

void rec_put_bytes(struct rec_writer *w, const void *data, size_t n)
{
        if (n > UINT32_MAX) {
                if (!w->failed)
                        err_set(w->err, CRINGLE_E_RANGE, "a field of %zu bytes is too long", n);
                w->failed = true;
                return;
        }
        rec_put_u32(w, (uint32_t) n);
        put(w, data, n);
}

void rec_put_raw(struct rec_writer *w, const void *data, size_t n)
{
        put(w, data, n);
}

void rec_put_str(struct rec_writer *w, const char *text)
{
        rec_put_bytes(w, text ? text : "", text ? strlen(text) + 1 : 1);
}

void rec_put_strv(struct rec_writer *w, const char *const *list)
{
        uint32_t n = 0;

        while (list && list[n])
                n++;
        rec_put_u32(w, n);
        for (uint32_t i = 0; i < n; i++)
                rec_put_str(w, list[i]);
}

void rec_add_u32(struct rec_writer *w, uint16_t tag, uint32_t value)
{
        rec_begin(w, tag);
        rec_put_u32(w, value);
        rec_end(w);
}

void rec_add_u64(struct rec_writer *w, uint16_t tag, uint64_t value)
{
        rec_begin(w, tag);
        rec_put_u64(w, value);
        rec_end(w);
}

void rec_add_str(struct rec_writer *w, uint16_t tag, const char *text)
{
        rec_begin(w, tag);
        rec_put_str(w, text);
        rec_end(w);
}

int rec_finish(struct rec_writer *w)
{
        return w->failed ? -1 : 0;
}

/* @n bytes, or NULL and bad. */
static const unsigned char *take(struct rec_cursor *c, size_t n)
{
        const unsigned char *at = c->at;

        if (c->bad || n > c->left) {
                c->bad = true;
                return NULL;
        }
        c->at += n;
        c->left -= n;
        return at;
}

bool rec_next(struct rec_cursor *c, uint16_t *ret_tag, struct rec_cursor *ret_body)
{
        const unsigned char *head, *body;
        size_t n;

        if (c->bad || c->left == 0)
                return false;
        head = take(c, HEADER);
        if (!head)
                return false;
        n = load_u32(head + 4);
        body = take(c, n);
        if (!body)
                return false;

        *ret_tag = (uint16_t) (head[0] | head[1] << 8);
        *ret_body = (struct rec_cursor) REC_CURSOR(body, n);
        return true;
}

bool rec_find(struct rec_cursor *c, uint16_t tag, struct rec_cursor *ret_body)
{
        uint16_t seen;

        while (rec_next(c, &seen, ret_body))
                if (seen == tag)
                        return true;
        return false;
}

bool rec_first(struct rec_cursor c, uint16_t tag, struct rec_cursor *ret_body)
{
        return rec_find(&c, tag, ret_body);
}

uint32_t rec_get_u32(struct rec_cursor *c)
{
        const unsigned char *at = take(c, 4);

        return at ? load_u32(at) : 0;
}

uint64_t rec_get_u64(struct rec_cursor *c)
{
        uint64_t low = rec_get_u32(c);

        return low | (uint64_t) rec_get_u32(c) << 32;
}

const void *rec_get_bytes(struct rec_cursor *c, size_t *ret_n)
{
        size_t n = rec_get_u32(c);
        const unsigned char *at = take(c, n);

        *ret_n = at ? n : 0;
        return at;
}

const char *rec_get_str(struct rec_cursor *c)
{
        size_t n;
        const char *text = rec_get_bytes(c, &n);

        if (!text || n == 0 || memchr(text, '\0', n) != text + n - 1) {
                c->bad = true;
                return "";
        }
        return text;
}

const char **rec_get_strv(struct rec_cursor *c)
{
        size_t n = rec_get_u32(c);
        const char **list;

        /* Each string takes five bytes at least, so @n is bounded by what is there. */
        if (c->bad || n > c->left / 5) {
                c->bad = true;
                return NULL;
        }
        list = calloc(n + 1, sizeof *list);
        if (!list) {
                c->bad = true;
                return NULL;
        }
        for (size_t i = 0; i < n; i++)
                list[i] = rec_get_str(c);
        if (c->bad) {
                free(list);
                return NULL;
        }
        return list;
}
