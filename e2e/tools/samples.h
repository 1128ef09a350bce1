#pragma once

/*
 * Durations, and what is said of them
 *
 * Nearest-rank percentiles: always a value that was measured, never one between two.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

/* Zero bytes are an empty set. */
struct samples {
        int64_t *values;
        size_t n, room;
};

int samples_add(struct samples *s, int64_t value, struct cringle_err *err);
void samples_done(struct samples *s);

/*
 * The least value that at least @percent of the values do not exceed; 0 and less: the
 * least, 100 and more: the greatest.  0 of an empty set.  Sorts @s.
 */
int64_t samples_percentile(struct samples *s, int percent);
