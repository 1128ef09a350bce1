/*
 * A tar stream, read whole and in pieces
 *
 * The first byte is the length of the pieces.  The second, when it is odd, has the checksums put right, at every
 * block that could be a header, so that a mutation of one does not end all.
 */

#include <stdio.h>
#include <string.h>

#include "agent/pull/tar.h"
#include "tests/fuzz/fuzz.h"

#define BLOCK 512

struct source {
        const uint8_t *at;
        size_t left, piece;
};

static int next_piece(void *data, const uint8_t **ret, size_t *ret_n, struct cringle_err *err)
{
        struct source *s = data;
        size_t n = s->left < s->piece ? s->left : s->piece;

        if (n == 0)
                return 0;
        *ret = s->at;
        *ret_n = n;
        s->at += n;
        s->left -= n;
        return 1;
}

static void mend(uint8_t *block)
{
        unsigned sum = 0;

        memset(block + 148, ' ', 8);
        for (size_t i = 0; i < BLOCK; i++)
                sum += block[i];
        snprintf((char *) block + 148, 8, "%06o", sum);
}

static void stir(uint64_t *sum, const void *data, size_t n)
{
        const uint8_t *p = data;

        for (size_t i = 0; i < n; i++)
                *sum = (*sum ^ p[i]) * 0x100000001b3;
}

static void check_entry(const struct tar_entry *e)
{
        must(e->type <= TAR_FIFO && e->mode <= 07777 && e->mtime_nsec < 1000000000);
        must(strlen(e->name) <= TAR_NAME_MAX && e->n_xattrs <= TAR_XATTRS_MAX && e->n_regions <= TAR_SPARSE_MAX);
        must(!e->target || strlen(e->target) <= TAR_NAME_MAX);
        for (size_t i = 0; i < e->n_regions; i++) {
                must(e->regions[i].offset <= e->size && e->regions[i].size <= e->size - e->regions[i].offset);
                must(i == 0 || e->regions[i].offset >= e->regions[i - 1].offset + e->regions[i - 1].size);
        }
}

/* A number for all that was read; @bodies: the data of the entries, too. */
static uint64_t read_all(const uint8_t *data, size_t size, size_t piece)
{
        struct source source = { data, size, piece };
        auto_of(tar) t = NULL;
        const struct tar_entry *e;
        uint64_t sum = 0xcbf29ce484222325;
        int got, more = 0;

        must(tar_new(next_piece, &source, &t, NULL) == 0);
        while ((got = tar_next(t, &e, NULL)) > 0) {
                const uint8_t *bytes;
                uint64_t offset, end = 0;
                size_t n;

                check_entry(e);
                stir(&sum, e->name, strlen(e->name) + 1);
                stir(&sum, e->target ? e->target : "", strlen(e->target ? e->target : "") + 1);
                stir(&sum, &e->size, sizeof e->size);
                for (size_t i = 0; i < e->n_xattrs; i++)
                        stir(&sum, e->xattrs[i].value, e->xattrs[i].size);
                while ((more = tar_data(t, &bytes, &n, &offset, NULL)) > 0) {
                        must(n > 0 && offset >= end && n <= e->size && offset <= e->size - n);
                        end = offset + n;
                        stir(&sum, bytes, n);
                }
                if (more < 0)
                        break;
        }
        stir(&sum, &got, sizeof got);
        stir(&sum, &more, sizeof more);
        return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        size_t piece = 1u + fuzz_byte(&data, &size);
        bool mended = fuzz_byte(&data, &size) & 1;
        uint8_t *copy = malloc(size ? size : 1);

        must(copy);
        if (size)
                memcpy(copy, data, size);
        for (size_t at = 0; mended && at + BLOCK <= size; at += BLOCK)
                if (copy[at] && memcmp(copy + at + 257, "ustar", 5) == 0)
                        mend(copy + at);
        must(read_all(copy, size, size + 1) == read_all(copy, size, piece));
        free(copy);
        return 0;
}
