#pragma once

/*
 * Records: how a launch plan and the monitor's messages are written down
 *
 * A record is a tag, a length and a body; a body is a row of numbers, strings and
 * byte runs that both sides read in the same order.  It only ever grows: a reader
 * skips tags it does not know, and stops reading a body before fields it does not
 * know.  Everything is little-endian and unaligned.  Lengths are 32 bits wide and
 * checked on both sides; a string is followed by a NUL that its length counts, and
 * has none inside, so it can be used where it lies.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"

/*
 * Writing.  The first failure sticks, is told by rec_finish(), and makes the rest
 * do nothing, so a row of puts needs no check in between.
 */
struct rec_writer {
        struct buf *out;
        struct cringle_err *err;
        size_t at;                      /* of the open record's length, 0: none is open */
        bool failed;
};

void rec_begin(struct rec_writer *w, uint16_t tag);
void rec_end(struct rec_writer *w);
void rec_put_u32(struct rec_writer *w, uint32_t value);
void rec_put_u64(struct rec_writer *w, uint64_t value);
void rec_put_str(struct rec_writer *w, const char *text);       /* NULL: "" */
void rec_put_bytes(struct rec_writer *w, const void *data, size_t n);
void rec_put_strv(struct rec_writer *w, const char *const *list);

/* Bytes as they are, without a length: a body taken from elsewhere. */
void rec_put_raw(struct rec_writer *w, const void *data, size_t n);

/* Whole records of one field. */
void rec_add_u32(struct rec_writer *w, uint16_t tag, uint32_t value);
void rec_add_u64(struct rec_writer *w, uint16_t tag, uint64_t value);
void rec_add_str(struct rec_writer *w, uint16_t tag, const char *text);

/* 0, or -1 with what went wrong first. */
int rec_finish(struct rec_writer *w);

/*
 * Reading.  Past the end, or on a malformed field, getters return 0 or "" and set
 * `bad`; check it after the last one.  What they return is borrowed from the bytes.
 */
struct rec_cursor {
        const unsigned char *at;
        size_t left;
        bool bad;
};

#define REC_CURSOR(data, n) { .at = (const unsigned char *) (data), .left = (n) }

/* The next record; false at the end, and on a malformed one (then @c is bad). */
bool rec_next(struct rec_cursor *c, uint16_t *ret_tag, struct rec_cursor *ret_body);

/* The next record with @tag, from where @c stands; false: none. */
bool rec_find(struct rec_cursor *c, uint16_t tag, struct rec_cursor *ret_body);

/* The body of the first record with @tag; @c is a copy, so it stays where it is. */
bool rec_first(struct rec_cursor c, uint16_t tag, struct rec_cursor *ret_body);

uint32_t rec_get_u32(struct rec_cursor *c);
uint64_t rec_get_u64(struct rec_cursor *c);
const char *rec_get_str(struct rec_cursor *c);
const void *rec_get_bytes(struct rec_cursor *c, size_t *ret_n);

/* A list of strings; the array (not the strings) is the caller's, NULL when bad or out of memory. */
const char **rec_get_strv(struct rec_cursor *c);
