#pragma once

/*
 * One gzip member after the other, by ISA-L (gunzip_isal.c) or zlib (gunzip_zlib.c)
 *
 * Which of the two is chosen when the program is built.  Both check the trailer of each member.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

struct gunzip;

int gunzip_new(struct gunzip **ret, struct cringle_err *err);
struct gunzip *gunzip_free(struct gunzip *g);

/* What gunzip_run() can come to. */
enum { GUNZIP_MORE = 0, GUNZIP_END = 1 };

/*
 * Eat from *@in (*@n_in bytes), write to *@out (room for *@n_out); all four move on.
 * GUNZIP_END: the member is over, and the next call begins another.
 */
int gunzip_run(struct gunzip *g, const uint8_t **in, size_t *n_in, uint8_t **out, size_t *n_out,
               struct cringle_err *err);
