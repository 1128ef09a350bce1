/*
 * Durations, and what is said of them; see samples.h.
 */

#include <stdlib.h>

#include "e2e/tools/samples.h"

int samples_add(struct samples *s, int64_t value, struct cringle_err *err)
{
        if (s->n == s->room) {
                size_t room = s->room ? 2 * s->room : 64;
                int64_t *grown = reallocarray(s->values, room, sizeof *grown);

                if (!grown)
                        return err_oom(err);
                s->values = grown;
                s->room = room;
        }
        s->values[s->n++] = value;
        return 0;
}

void samples_done(struct samples *s)
{
        free(s->values);
        *s = (struct samples) { 0 };
}

static int compare(const void *a, const void *b)
{
        int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

        return (x > y) - (x < y);
}

int64_t samples_percentile(struct samples *s, int percent)
{
        size_t rank;

        if (s->n == 0)
                return 0;
        if (percent < 0)
                percent = 0;
        if (percent > 100)
                percent = 100;

        qsort(s->values, s->n, sizeof *s->values, compare);
        rank = (s->n * (size_t) percent + 99) / 100;
        return s->values[rank ? rank - 1 : 0];
}
