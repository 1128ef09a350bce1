/*
 * A layer's blob as the plain tar in it; see plain.h.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <zstd.h>

#include "agent/base/err.h"
#include "agent/pull/gunzip.h"
#include "agent/pull/plain.h"

#define IN_SIZE (256 << 10)
#define OUT_SIZE (512 << 10)
#define ZSTD_WINDOW_LOG_MAX 27          /* 128 MiB, what zstd(1) itself accepts unasked */

enum kind { UNKNOWN, PLAIN, GZIP, ZSTD };

struct plain {
        int fd;
        struct plain_limits limits;
        enum kind kind;
        struct gunzip *gunzip;
        ZSTD_DStream *zstd;
        EVP_MD_CTX *hash;

        uint8_t *in, *out;
        const uint8_t *at;              /* unread of `in` */
        size_t left;
        bool in_ended;
        bool between;                   /* no member or frame is open: here the stream may end */
        uint64_t blob_bytes, tar_bytes;
};

int plain_new(int fd, const struct plain_limits *limits, struct plain **ret, struct cringle_err *err)
{
        auto_of(plain) p = calloc(1, sizeof *p);

        if (!p)
                return err_oom(err);

        p->fd = fd;
        p->limits = *limits;
        p->between = true;
        p->in = malloc(IN_SIZE);
        p->at = p->in;
        p->hash = EVP_MD_CTX_new();
        if (!p->in || !p->hash)
                return err_oom(err);
        if (EVP_DigestInit_ex(p->hash, EVP_sha256(), NULL) != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "start SHA-256");

        *ret = steal(&p);
        return 0;
}

struct plain *plain_free(struct plain *p)
{
        if (!p)
                return NULL;

        free(p->in);
        free(p->out);
        gunzip_free(p->gunzip);
        ZSTD_freeDStream(p->zstd);
        EVP_MD_CTX_free(p->hash);
        free(p);
        return NULL;
}

/* Have at least @want unread bytes, unless the stream ends before. */
static int fill(struct plain *p, size_t want, struct cringle_err *err)
{
        if (p->left >= want || p->in_ended)
                return 0;

        memmove(p->in, p->at, p->left);
        p->at = p->in;
        while (p->left < want && !p->in_ended) {
                ssize_t n = read(p->fd, p->in + p->left, IN_SIZE - p->left);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(err, "read the layer");
                if (n == 0)
                        p->in_ended = true;
                p->left += (size_t) n;
                p->blob_bytes += (uint64_t) n;
        }
        return 0;
}

/* What the kind of the blob needs. */
static int get_ready(struct plain *p, struct cringle_err *err)
{
        if (p->kind == PLAIN)
                return 0;
        p->out = malloc(OUT_SIZE);
        if (!p->out)
                return err_oom(err);
        if (p->kind == GZIP)
                return gunzip_new(&p->gunzip, err);

        p->zstd = ZSTD_createDStream();
        if (!p->zstd)
                return err_oom(err);
        if (ZSTD_isError(ZSTD_DCtx_setParameter(p->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
                return err_set(err, CRINGLE_E_INTERNAL, "zstd: limit the window");
        return 0;
}

static int look_at_magic(struct plain *p, struct cringle_err *err)
{
        if (fill(p, 4, err) < 0)
                return -1;

        if (p->left >= 2 && memcmp(p->at, "\x1f\x8b", 2) == 0)
                p->kind = GZIP;
        else if (p->left >= 4 && memcmp(p->at, "\x28\xb5\x2f\xfd", 4) == 0)
                p->kind = ZSTD;
        else if (p->left >= 4 && memcmp(p->at + 1, "\x2a\x4d\x18", 3) == 0 && (p->at[0] & 0xf0) == 0x50)
                p->kind = ZSTD;         /* a skippable frame, as some tools put first */
        else if ((p->left >= 3 && memcmp(p->at, "BZh", 3) == 0) || (p->left >= 4 && memcmp(p->at, "\xfd" "7zX", 4) == 0))
                return err_set(err, CRINGLE_E_INVALID, "layers compressed by bzip2 or xz are not supported");
        else
                p->kind = PLAIN;
        return get_ready(p, err);
}

static int run_gunzip(struct plain *p, size_t *made, struct cringle_err *err)
{
        uint8_t *out = p->out;
        size_t room = OUT_SIZE;
        int got;

        if (p->between && p->left > 0 && (p->left < 2 || memcmp(p->at, "\x1f\x8b", 2) != 0))
                return err_set(err, CRINGLE_E_DATA_LOSS, "gzip: something else behind the stream");
        p->between = false;
        got = gunzip_run(p->gunzip, &p->at, &p->left, &out, &room, err);
        if (got < 0)
                return -1;
        p->between = got == GUNZIP_END;
        *made = OUT_SIZE - room;
        return 0;
}

static int run_zstd(struct plain *p, size_t *made, struct cringle_err *err)
{
        ZSTD_inBuffer in = { p->at, p->left, 0 };
        ZSTD_outBuffer out = { p->out, OUT_SIZE, 0 };
        size_t got = ZSTD_decompressStream(p->zstd, &out, &in);

        if (ZSTD_isError(got))
                return err_set(err, CRINGLE_E_DATA_LOSS, "zstd: %s", ZSTD_getErrorName(got));
        p->at += in.pos;
        p->left -= in.pos;
        p->between = got == 0;
        *made = out.pos;
        return 0;
}

/* The next piece of plain bytes; *@ret_n stays 0 at the end. */
static int decompress(struct plain *p, const uint8_t **ret, size_t *ret_n, struct cringle_err *err)
{
        *ret = p->out;
        *ret_n = 0;
        while (*ret_n == 0) {
                size_t before;

                if (fill(p, p->kind == GZIP && p->between ? 2 : 1, err) < 0)
                        return -1;
                if (p->left == 0 && (p->between || p->kind == PLAIN))
                        return 0;
                if (p->kind == PLAIN) {
                        *ret = p->at;
                        *ret_n = p->left;
                        p->at += p->left;
                        p->left = 0;
                        return 0;
                }

                before = p->left;
                if ((p->kind == GZIP ? run_gunzip : run_zstd)(p, ret_n, err) < 0)
                        return -1;
                if (*ret_n == 0 && p->left == before && p->in_ended && !p->between)
                        return err_set(err, CRINGLE_E_DATA_LOSS, "the compressed stream is cut short");
        }
        return 0;
}

static int check_limits(const struct plain *p, struct cringle_err *err)
{
        const struct plain_limits *l = &p->limits;

        if (p->tar_bytes > l->max_bytes)
                return err_set(err, CRINGLE_E_EXHAUSTED, "the layer unpacks to more than %llu bytes",
                               (unsigned long long) l->max_bytes);
        if (l->ratio && p->tar_bytes > l->ratio_from && p->tar_bytes / l->ratio > p->blob_bytes)
                return err_set(err, CRINGLE_E_EXHAUSTED,
                               "the layer unpacks to more than %llu times its size: a decompression bomb",
                               (unsigned long long) l->ratio);
        return 0;
}

int plain_next(void *plain, const uint8_t **ret, size_t *ret_n, struct cringle_err *err)
{
        struct plain *p = plain;
        const uint8_t *bytes;
        size_t n;

        if (p->kind == UNKNOWN && look_at_magic(p, err) < 0)
                return -1;
        if (decompress(p, &bytes, &n, err) < 0)
                return -1;
        if (n == 0)
                return 0;

        p->tar_bytes += n;
        if (check_limits(p, err) < 0)
                return -1;
        if (EVP_DigestUpdate(p->hash, bytes, n) != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "SHA-256");

        *ret = bytes;
        *ret_n = n;
        return 1;
}

int plain_digest(struct plain *p, char ret[static 72], uint64_t *ret_bytes, struct cringle_err *err)
{
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned n;

        if (EVP_DigestFinal_ex(p->hash, digest, &n) != 1 || n != 32)
                return err_set(err, CRINGLE_E_INTERNAL, "SHA-256");

        memcpy(ret, "sha256:", 7);
        for (size_t i = 0; i < n; i++)
                snprintf(ret + 7 + 2 * i, 3, "%02x", digest[i]);
        *ret_bytes = p->tar_bytes;
        return 0;
}
