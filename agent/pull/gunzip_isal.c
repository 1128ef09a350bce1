/*
 * gzip by ISA-L, several times as fast as zlib; see gunzip.h.
 */

#include <limits.h>
#include <stdlib.h>

#include <isa-l/igzip_lib.h>

#include "agent/base/err.h"
#include "agent/pull/gunzip.h"

struct gunzip {
        struct inflate_state state;
};

static void begin(struct gunzip *g)
{
        isal_inflate_reset(&g->state);
        g->state.crc_flag = ISAL_GZIP;          /* parse the header, check the trailer */
}

int gunzip_new(struct gunzip **ret, struct cringle_err *err)
{
        struct gunzip *g = calloc(1, sizeof *g);

        if (!g)
                return err_oom(err);

        isal_inflate_init(&g->state);
        begin(g);
        *ret = g;
        return 0;
}

struct gunzip *gunzip_free(struct gunzip *g)
{
        free(g);
        return NULL;
}

int gunzip_run(struct gunzip *g, const uint8_t **in, size_t *n_in, uint8_t **out, size_t *n_out,
               struct cringle_err *err)
{
        struct inflate_state *s = &g->state;
        int failed;

        s->next_in = (uint8_t *) *in;
        s->avail_in = *n_in < UINT32_MAX ? (uint32_t) *n_in : UINT32_MAX;
        s->next_out = *out;
        s->avail_out = *n_out < UINT32_MAX ? (uint32_t) *n_out : UINT32_MAX;

        failed = isal_inflate(s);

        *n_in -= (size_t) (s->next_in - *in);
        *in = s->next_in;
        *n_out -= (size_t) (s->next_out - *out);
        *out = s->next_out;
        if (failed != ISAL_DECOMP_OK)
                return err_set(err, CRINGLE_E_DATA_LOSS, "gzip: the stream is damaged (%d)", failed);
        if (s->block_state != ISAL_BLOCK_FINISH)
                return GUNZIP_MORE;

        begin(g);
        return GUNZIP_END;
}
