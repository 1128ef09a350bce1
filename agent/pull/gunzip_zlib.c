/*
 * gzip by zlib, where there is no ISA-L; see gunzip.h.
 */

#include <limits.h>
#include <stdlib.h>

#include <zlib.h>

#include "agent/base/err.h"
#include "agent/pull/gunzip.h"

struct gunzip {
        z_stream stream;
};

int gunzip_new(struct gunzip **ret, struct cringle_err *err)
{
        struct gunzip *g = calloc(1, sizeof *g);

        if (!g)
                return err_oom(err);
        if (inflateInit2(&g->stream, 15 + 16) != Z_OK) {        /* 16: a gzip header and trailer, nothing else */
                free(g);
                return err_oom(err);
        }

        *ret = g;
        return 0;
}

struct gunzip *gunzip_free(struct gunzip *g)
{
        if (!g)
                return NULL;

        inflateEnd(&g->stream);
        free(g);
        return NULL;
}

int gunzip_run(struct gunzip *g, const uint8_t **in, size_t *n_in, uint8_t **out, size_t *n_out,
               struct cringle_err *err)
{
        z_stream *s = &g->stream;
        int result;

        s->next_in = (Bytef *) *in;
        s->avail_in = *n_in < UINT_MAX ? (uInt) *n_in : UINT_MAX;
        s->next_out = *out;
        s->avail_out = *n_out < UINT_MAX ? (uInt) *n_out : UINT_MAX;

        result = inflate(s, Z_NO_FLUSH);

        *n_in -= (size_t) (s->next_in - *in);
        *in = s->next_in;
        *n_out -= (size_t) (s->next_out - *out);
        *out = s->next_out;
        if (result == Z_STREAM_END) {
                inflateReset(s);
                return GUNZIP_END;
        }
        if (result != Z_OK && result != Z_BUF_ERROR)
                return err_set(err, CRINGLE_E_DATA_LOSS, "gzip: the stream is damaged (%d)", result);
        return GUNZIP_MORE;
}
