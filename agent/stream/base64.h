#pragma once

/*
 * Base64 (RFC 4648), padded, without line ends; to be read as it comes
 */

#include <stdbool.h>
#include <stddef.h>

struct base64 {
        unsigned bits;                  /* of the quad that has begun */
        unsigned n;                     /* characters of it */
        unsigned padding;
        bool over;                      /* padding was there: nothing may follow */
};

#define BASE64_INIT { 0 }
#define BASE64_SIZE(n) (((n) + 2) / 3 * 4)
#define BASE64_ROOM(n) (((n) + 3) / 4 * 3)      /* for what @n characters decode to, whatever came before them */

/* @ret has BASE64_SIZE(@n) bytes; no NUL. */
void base64_write(const void *data, size_t n, char *ret);

/* Decode @n more characters into @ret, which has BASE64_ROOM(@n) bytes.  False: this is no base64. */
bool base64_read(struct base64 *b, const char *text, size_t n, char *ret, size_t *ret_n);

/* Whether the text may end here. */
static inline bool base64_whole(const struct base64 *b)
{
        return b->n == 0;
}
