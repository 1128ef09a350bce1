/*
 * Reading a tar stream; see tar.h.
 *
 * The source hands out chunks; `at` and `left` are what is unread of the last one.
 * Header blocks are copied out, file data are passed on where they lie.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/base/str.h"
#include "agent/pull/tar.h"

#define BLOCK 512
#define XATTR_PREFIX "SCHILY.xattr."

/* A header block, by offset and length of its fields. */
struct field {
        size_t at, size;
};

static const struct field F_NAME = { 0, 100 }, F_MODE = { 100, 8 }, F_UID = { 108, 8 }, F_GID = { 116, 8 },
                          F_SIZE = { 124, 12 }, F_MTIME = { 136, 12 }, F_CHECKSUM = { 148, 8 }, F_LINK = { 157, 100 },
                          F_MAJOR = { 329, 8 }, F_MINOR = { 337, 8 }, F_PREFIX = { 345, 155 };

#define TIME_LIMIT (INT64_C(1) << 33)   /* seconds: in the 23rd century, and fit for nanoseconds in 64 bits */

#define TYPE_AT 156
#define MAGIC_AT 257
#define OLD_SPARSE_AT 386               /* four regions of 24 bytes, a flag, the real size */
#define OLD_SPARSE_COUNT 4
#define OLD_SPARSE_MORE_COUNT 21        /* in each continuation block; its flag is at 504 */

enum extended { HAD_PAX = 1, HAD_LONG_NAME = 2, HAD_LONG_LINK = 4 };

/* What a PAX header said about the entry behind it. */
struct pax {
        const char *path, *link;        /* in tar.records */
        bool has_size, has_uid, has_gid, has_mtime;
        uint64_t size;
        uint32_t uid, gid;
        int64_t mtime_sec;
        uint32_t mtime_nsec;
        const char *sparse_name;
        bool sparse, sparse_map_in_data, has_sparse_size;
        uint64_t sparse_size;
        uint64_t sparse_offset;         /* of a 0.0 region whose length is to come */
        bool sparse_offset_open;
};

struct tar {
        tar_source_fn *source;
        void *source_data;
        const uint8_t *at;
        size_t left;
        bool ended;

        uint8_t block[BLOCK];
        uint64_t body;                  /* bytes of the entry not yet handed out */
        unsigned padding;               /* after it */

        struct buf records;             /* of the PAX header, taken apart in place */
        struct buf long_name, long_link;
        unsigned had;                   /* enum extended */
        struct pax pax;

        char name[BLOCK];               /* put together from prefix and name */
        char target[BLOCK];
        struct tar_xattr xattrs[TAR_XATTRS_MAX];
        size_t n_xattrs;
        struct tar_region *regions;
        size_t n_regions, room;
        size_t region;                  /* being read */
        uint64_t region_done;
        struct tar_entry entry;
};

int tar_new(tar_source_fn *source, void *data, struct tar **ret, struct cringle_err *err)
{
        struct tar *t = calloc(1, sizeof *t);

        if (!t)
                return err_oom(err);

        t->source = source;
        t->source_data = data;
        *ret = t;
        return 0;
}

struct tar *tar_free(struct tar *t)
{
        if (!t)
                return NULL;

        buf_done(&t->records);
        buf_done(&t->long_name);
        buf_done(&t->long_link);
        free(t->regions);
        free(t);
        return NULL;
}

static int bad(struct cringle_err *err, const char *what)
{
        return err_set(err, CRINGLE_E_INVALID, "tar: %s", what);
}

/* --- bytes ------------------------------------------------------------- */

/* 1: there are unread bytes; 0: the stream is over. */
static int more(struct tar *t, struct cringle_err *err)
{
        int got;

        if (t->left > 0)
                return 1;
        if (t->ended)
                return 0;

        got = t->source(t->source_data, &t->at, &t->left, err);
        if (got == 0)
                t->ended = true;
        return got;
}

/* Exactly @n bytes.  1; 0: the stream ended before the first of them; -1: ended in between, or failed. */
static int take(struct tar *t, void *to, size_t n, struct cringle_err *err)
{
        size_t done = 0;

        while (done < n) {
                int got = more(t, err);
                size_t now;

                if (got < 0)
                        return -1;
                if (got == 0)
                        return done == 0 ? 0 : bad(err, "the archive is cut short");
                now = t->left < n - done ? t->left : n - done;
                memcpy((uint8_t *) to + done, t->at, now);
                t->at += now;
                t->left -= now;
                done += now;
        }
        return 1;
}

static int skip(struct tar *t, uint64_t n, struct cringle_err *err)
{
        while (n > 0) {
                int got = more(t, err);
                size_t now;

                if (got <= 0)
                        return got < 0 ? -1 : bad(err, "the archive is cut short");
                now = t->left < n ? t->left : (size_t) n;
                t->at += now;
                t->left -= now;
                n -= now;
        }
        return 0;
}

static void set_body(struct tar *t, uint64_t size)
{
        t->body = size;
        t->padding = (BLOCK - size % BLOCK) % BLOCK;
}

static int skip_body(struct tar *t, struct cringle_err *err)
{
        if (skip(t, t->body, err) < 0 || skip(t, t->padding, err) < 0)
                return -1;
        t->body = 0;
        t->padding = 0;
        return 0;
}

/* The whole body of an extended header. */
static int read_body(struct tar *t, struct buf *ret, size_t max, struct cringle_err *err)
{
        if (t->body > max)
                return bad(err, "an extended header is too long");

        buf_clear(ret);
        if (buf_reserve(ret, (size_t) t->body + 1, err) < 0)
                return -1;
        if (t->body > 0 && take(t, ret->data, (size_t) t->body, err) <= 0)
                return bad(err, "the archive is cut short");
        ret->len = (size_t) t->body;
        ret->data[ret->len] = '\0';
        t->body = 0;
        return skip_body(t, err);
}

/* --- numbers ----------------------------------------------------------- */

/*
 * A numeric field: octal with spaces and NULs around it, or (top bit set) big-endian
 * binary, two's complement.
 */
static int number(const uint8_t *p, struct field f, int64_t *ret, struct cringle_err *err)
{
        size_t i = 0;
        uint64_t value;

        p += f.at;
        if (p[0] & 0x80) {
                bool negative = p[0] & 0x40;

                value = negative ? ~UINT64_C(0) : 0;
                for (i = 0; i < f.size; i++) {
                        uint8_t byte = i == 0 ? (uint8_t) (negative ? p[0] : p[0] & 0x7f) : p[i];

                        if (i + 8 < f.size && byte != (negative ? 0xff : 0))
                                return bad(err, "a number is too large");
                        value = value << 8 | byte;
                }
                if ((int64_t) value < 0 && !negative)
                        return bad(err, "a number is too large");
                *ret = (int64_t) value;
                return 0;
        }

        value = 0;
        while (i < f.size && (p[i] == ' ' || p[i] == '\0'))
                i++;
        for (; i < f.size && p[i] >= '0' && p[i] <= '7'; i++)
                value = value << 3 | (uint64_t) (p[i] - '0');   /* at most 12 digits: 36 bits */
        for (; i < f.size; i++)
                if (p[i] != ' ' && p[i] != '\0')
                        return bad(err, "a number is none");
        *ret = (int64_t) value;
        return 0;
}

static int id_number(const uint8_t *p, struct field f, uint32_t *ret, struct cringle_err *err)
{
        int64_t value;

        if (number(p, f, &value, err) < 0)
                return -1;
        if (value < 0 || value >= UINT32_MAX)
                return bad(err, "an owner is out of range");
        *ret = (uint32_t) value;
        return 0;
}

/* "1234567890.123456789", perhaps negative: floor to seconds, the rest in nanoseconds. */
static int decimal_time(const char *s, int64_t *ret_sec, uint32_t *ret_nsec, struct cringle_err *err)
{
        const char *dot = strchr(s, '.');
        size_t n = dot ? (size_t) (dot - s) : strlen(s);
        bool negative = s[0] == '-';
        char whole[24];
        uint32_t nsec = 0, scale = 100000000;
        int64_t sec;

        if (n >= sizeof whole)
                return bad(err, "a time is out of range");
        memcpy(whole, s, n);
        whole[n] = '\0';
        if (str_int64(whole, -(INT64_C(1) << 40), INT64_C(1) << 40, &sec, NULL) < 0)
                return bad(err, "a time is none or out of range");

        for (const char *p = dot ? dot + 1 : ""; *p; p++, scale /= 10) {
                if (*p < '0' || *p > '9')
                        return bad(err, "a time is none");
                nsec += (uint32_t) (*p - '0') * scale;
        }
        if (negative && nsec > 0) {
                sec--;
                nsec = 1000000000 - nsec;
        }
        *ret_sec = sec;
        *ret_nsec = nsec;
        return 0;
}

/* --- sparse maps ------------------------------------------------------- */

static int add_region(struct tar *t, uint64_t offset, uint64_t size, struct cringle_err *err)
{
        if (t->n_regions >= TAR_SPARSE_MAX)
                return bad(err, "a sparse file has too many regions");
        if (t->n_regions == t->room) {
                size_t room = t->room ? t->room * 2 : 64;
                struct tar_region *grown = reallocarray(t->regions, room, sizeof *grown);

                if (!grown)
                        return err_oom(err);
                t->regions = grown;
                t->room = room;
        }
        t->regions[t->n_regions++] = (struct tar_region) { offset, size };
        return 0;
}

/* Ascending, apart, inside the file, and as long together as the data that follow. */
static int check_regions(const struct tar *t, uint64_t data, struct cringle_err *err)
{
        uint64_t end = 0, sum = 0;

        for (size_t i = 0; i < t->n_regions; i++) {
                const struct tar_region *r = t->regions + i;

                if (r->offset > INT64_MAX || r->size > INT64_MAX)
                        return bad(err, "a sparse map has a number out of range");
                if (r->offset < end || r->offset + r->size > t->entry.size)
                        return bad(err, "a sparse map overlaps or leaves its file");
                end = r->offset + r->size;
                sum += r->size;
        }
        return sum == data ? 0 : bad(err, "a sparse map does not fit its data");
}

/* Old GNU: regions in the header itself, and in blocks behind it. */
static int read_old_sparse(struct tar *t, struct cringle_err *err)
{
        const struct field real = { 483, 12 };
        const uint8_t *p = t->block + OLD_SPARSE_AT;
        size_t count = OLD_SPARSE_COUNT;
        bool again = t->block[482];
        int64_t size;

        if (number(t->block, real, &size, err) < 0)
                return -1;
        if (size < 0)
                return bad(err, "a size is negative");
        t->entry.size = (uint64_t) size;

        for (;;) {
                for (size_t i = 0; i < count; i++, p += 24) {
                        const struct field f_offset = { 0, 12 }, f_size = { 12, 12 };
                        int64_t offset, n;

                        if (!p[0] && !p[12])
                                continue;
                        if (number(p, f_offset, &offset, err) < 0 || number(p, f_size, &n, err) < 0)
                                return -1;
                        if (offset < 0 || n < 0)
                                return bad(err, "a sparse map has a number out of range");
                        if (add_region(t, (uint64_t) offset, (uint64_t) n, err) < 0)
                                return -1;
                }
                if (!again)
                        return 0;
                if (take(t, t->block, BLOCK, err) <= 0)
                        return bad(err, "the archive is cut short");
                p = t->block;
                count = OLD_SPARSE_MORE_COUNT;
                again = t->block[504];
        }
}

/* One decimal line of a 1.0 map, which lies before the data and is padded to blocks. */
static int map_line(struct tar *t, uint64_t *used, uint64_t *ret, struct cringle_err *err)
{
        char text[24];
        int64_t value;

        for (size_t n = 0; n < sizeof text; n++) {
                if (*used >= t->body)
                        return bad(err, "a sparse map is cut short");
                if (take(t, text + n, 1, err) <= 0)
                        return bad(err, "the archive is cut short");
                (*used)++;
                if (text[n] != '\n')
                        continue;
                text[n] = '\0';
                if (str_int64(text, 0, INT64_MAX, &value, NULL) < 0)
                        return bad(err, "a sparse map has a number that is none");
                *ret = (uint64_t) value;
                return 0;
        }
        return bad(err, "a sparse map has a number that is none");
}

static int read_map_in_data(struct tar *t, struct cringle_err *err)
{
        uint64_t used = 0, count, fill;

        if (map_line(t, &used, &count, err) < 0)
                return -1;
        if (count > TAR_SPARSE_MAX)
                return bad(err, "a sparse file has too many regions");
        for (uint64_t i = 0; i < count; i++) {
                uint64_t offset, size;

                if (map_line(t, &used, &offset, err) < 0 || map_line(t, &used, &size, err) < 0 ||
                    add_region(t, offset, size, err) < 0)
                        return -1;
        }

        fill = (BLOCK - used % BLOCK) % BLOCK;
        if (used + fill > t->body)
                return bad(err, "a sparse map is cut short");
        t->body -= used + fill;
        return skip(t, fill, err);
}

/* "offset,size,offset,size": the map of version 0.1. */
static int read_map_text(struct tar *t, char *s, struct cringle_err *err)
{
        int64_t pair[2];
        int have = 0;

        for (char *word; (word = strsep(&s, ","));) {
                if (str_int64(word, 0, INT64_MAX, pair + have, NULL) < 0)
                        return bad(err, "a sparse map has a number that is none");
                if (++have < 2)
                        continue;
                have = 0;
                if (add_region(t, (uint64_t) pair[0], (uint64_t) pair[1], err) < 0)
                        return -1;
        }
        return have == 0 ? 0 : bad(err, "a sparse map has an odd number of numbers");
}

/* --- PAX --------------------------------------------------------------- */

static int pax_number(const char *value, int64_t max, uint64_t *ret, struct cringle_err *err)
{
        int64_t n;

        if (str_int64(value, 0, max, &n, NULL) < 0)
                return bad(err, "a PAX number is none or out of range");
        *ret = (uint64_t) n;
        return 0;
}

static int pax_sparse(struct tar *t, const char *key, char *value, struct cringle_err *err)
{
        struct pax *p = &t->pax;
        uint64_t n;

        p->sparse = true;
        if (strcmp(key, "name") == 0) {
                p->sparse_name = value;
                return 0;
        }
        if (strcmp(key, "map") == 0) {
                t->n_regions = 0;
                return read_map_text(t, value, err);
        }
        if (strcmp(key, "numblocks") == 0)      /* we count ourselves */
                return 0;

        if (pax_number(value, INT64_MAX, &n, err) < 0)
                return -1;
        if (strcmp(key, "size") == 0 || strcmp(key, "realsize") == 0) {
                p->sparse_size = n;
                p->has_sparse_size = true;
        } else if (strcmp(key, "major") == 0) {
                if (n > 1)
                        return bad(err, "a sparse file of an unknown version");
                p->sparse_map_in_data = n == 1;
        } else if (strcmp(key, "minor") == 0) {
                return 0;
        } else if (strcmp(key, "offset") == 0 && !p->sparse_offset_open) {
                p->sparse_offset = n;
                p->sparse_offset_open = true;
        } else if (strcmp(key, "numbytes") == 0 && p->sparse_offset_open) {
                p->sparse_offset_open = false;
                return add_region(t, p->sparse_offset, n, err);
        } else {
                return bad(err, "a sparse map is out of order");
        }
        return 0;
}

static int pax_xattr(struct tar *t, const char *name, const char *value, size_t size, struct cringle_err *err)
{
        size_t i = 0;

        while (i < t->n_xattrs && strcmp(t->xattrs[i].name, name) != 0)
                i++;
        if (i == TAR_XATTRS_MAX)
                return bad(err, "an entry has too many extended attributes");

        t->xattrs[i] = (struct tar_xattr) { name, value, size };
        if (i == t->n_xattrs)
                t->n_xattrs++;
        return 0;
}

static int pax_record(struct tar *t, const char *key, char *value, size_t size, struct cringle_err *err)
{
        struct pax *p = &t->pax;
        uint64_t n;

        if (str_starts(key, XATTR_PREFIX))
                return pax_xattr(t, key + strlen(XATTR_PREFIX), value, size, err);
        if (strlen(value) != size)
                return bad(err, "a PAX record holds a NUL");
        if (str_starts(key, "GNU.sparse."))
                return pax_sparse(t, key + strlen("GNU.sparse."), value, err);

        if (strcmp(key, "path") == 0) {
                p->path = size > 0 ? value : NULL;
        } else if (strcmp(key, "linkpath") == 0) {
                p->link = size > 0 ? value : NULL;
        } else if (strcmp(key, "size") == 0) {
                if (pax_number(value, INT64_MAX - BLOCK, &p->size, err) < 0)
                        return -1;
                p->has_size = true;
        } else if (strcmp(key, "uid") == 0) {
                if (pax_number(value, UINT32_MAX - 1, &n, err) < 0)
                        return -1;
                p->uid = (uint32_t) n;
                p->has_uid = true;
        } else if (strcmp(key, "gid") == 0) {
                if (pax_number(value, UINT32_MAX - 1, &n, err) < 0)
                        return -1;
                p->gid = (uint32_t) n;
                p->has_gid = true;
        } else if (strcmp(key, "mtime") == 0) {
                if (decimal_time(value, &p->mtime_sec, &p->mtime_nsec, err) < 0)
                        return -1;
                p->has_mtime = true;
        }
        return 0;
}

/* A global header must not change what the entries are; the rest of it (a commit id, say) is of no use to us. */
static int global_record(struct tar *t, const char *key, char *value, size_t size, struct cringle_err *err)
{
        if (strcmp(key, "path") == 0 || strcmp(key, "linkpath") == 0 || strcmp(key, "size") == 0 ||
            str_starts(key, "GNU.sparse.") || str_starts(key, XATTR_PREFIX))
                return bad(err, "a global PAX header changes names, sizes or attributes");
        return 0;
}

/* Records "<length> <key>=<value>\n", where the length counts all of it. */
static int pax_records(struct tar *t, struct buf *b,
                       int (*record)(struct tar *, const char *, char *, size_t, struct cringle_err *),
                       struct cringle_err *err)
{
        char *p = b->data, *end = b->data + b->len;

        while (p < end) {
                char *space = memchr(p, ' ', (size_t) (end - p));
                char *equal, *last;
                int64_t length;

                if (!space)
                        return bad(err, "a PAX record has no length");
                *space = '\0';
                if (str_int64(p, 5, end - p, &length, NULL) < 0)
                        return bad(err, "a PAX record has a wrong length");
                last = p + length - 1;
                if (last <= space || *last != '\n')
                        return bad(err, "a PAX record has a wrong length");
                equal = memchr(space + 1, '=', (size_t) (last - space - 1));
                if (!equal || equal == space + 1)
                        return bad(err, "a PAX record has no key");
                *equal = '\0';
                *last = '\0';
                if (strlen(space + 1) != (size_t) (equal - space - 1))
                        return bad(err, "a PAX key holds a NUL");
                if (record(t, space + 1, equal + 1, (size_t) (last - equal - 1), err) < 0)
                        return -1;
                p = last + 1;
        }
        return 0;
}

/* --- headers ----------------------------------------------------------- */

/* The sum of @n bytes; *@large counts those that are negative when they are taken with a sign. */
static unsigned sum_of(const uint8_t *p, size_t n, unsigned *large)
{
        unsigned sum = 0;

        for (const uint8_t *end = p + n; p < end; p++) {
                sum += *p;
                *large += *p >> 7;
        }
        return sum;
}

/* The checksum itself counts as blanks.  Old writers took the bytes with a sign. */
static int check_checksum(const uint8_t *block, struct cringle_err *err)
{
        const uint8_t *behind = block + F_CHECKSUM.at + F_CHECKSUM.size;
        unsigned large = 0;
        int64_t stated, sum;

        sum = sum_of(block, F_CHECKSUM.at, &large) + sum_of(behind, (size_t) (block + BLOCK - behind), &large) +
              ' ' * F_CHECKSUM.size;
        if (number(block, F_CHECKSUM, &stated, err) < 0)
                return -1;
        return stated == sum || stated == sum - 256 * (int64_t) large ? 0 : bad(err, "a header has a wrong checksum");
}

static bool is_zero(const uint8_t *block)
{
        return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0;
}

/* Once per entry: forget what the last one had. */
static void start_entry(struct tar *t)
{
        t->had = 0;
        t->pax = (struct pax) { 0 };
        t->n_xattrs = 0;
        t->n_regions = 0;
        t->region = 0;
        t->region_done = 0;
        t->entry = (struct tar_entry) { 0 };
}

static int once(struct tar *t, unsigned which, struct cringle_err *err)
{
        if (t->had & which)
                return bad(err, "an entry has two extended headers of one kind");
        t->had |= which;
        return 0;
}

/* 1: it was an extended header and has been read; 0: it is an entry. */
static int read_extended(struct tar *t, struct cringle_err *err)
{
        auto_buf global = BUF_INIT;

        switch (t->block[TYPE_AT]) {
        case 'x':
                if (once(t, HAD_PAX, err) < 0 || read_body(t, &t->records, TAR_EXTENDED_MAX, err) < 0 ||
                    pax_records(t, &t->records, pax_record, err) < 0)
                        return -1;
                return 1;
        case 'g':
                if (read_body(t, &global, TAR_EXTENDED_MAX, err) < 0 ||
                    pax_records(t, &global, global_record, err) < 0)
                        return -1;
                return 1;
        case 'L':
                if (once(t, HAD_LONG_NAME, err) < 0 || read_body(t, &t->long_name, TAR_NAME_MAX + 1, err) < 0)
                        return -1;
                return 1;
        case 'K':
                if (once(t, HAD_LONG_LINK, err) < 0 || read_body(t, &t->long_link, TAR_NAME_MAX + 1, err) < 0)
                        return -1;
                return 1;
        default:
                return 0;
        }
}

static void copy_field(const uint8_t *block, struct field f, char *to)
{
        size_t n = strnlen((const char *) block + f.at, f.size);

        memcpy(to, block + f.at, n);
        to[n] = '\0';
}

static int read_names(struct tar *t, struct cringle_err *err)
{
        struct tar_entry *e = &t->entry;

        if ((t->pax.path && t->had & HAD_LONG_NAME) || (t->pax.link && t->had & HAD_LONG_LINK))
                return bad(err, "an entry has two long names");

        t->name[0] = '\0';
        if (memcmp(t->block + MAGIC_AT, "ustar\0", 6) == 0 && t->block[F_PREFIX.at]) {
                copy_field(t->block, F_PREFIX, t->name);
                strcat(t->name, "/");           /* 155 + 1 + 100 bytes in 512 */
        }
        copy_field(t->block, F_NAME, t->name + strlen(t->name));
        copy_field(t->block, F_LINK, t->target);

        e->name = t->had & HAD_LONG_NAME ? t->long_name.data : t->name;
        e->target = t->had & HAD_LONG_LINK ? t->long_link.data : t->target;
        if (t->pax.path)
                e->name = t->pax.path;
        if (t->pax.link)
                e->target = t->pax.link;
        if (t->pax.sparse_name)
                e->name = t->pax.sparse_name;
        if (strlen(e->name) > TAR_NAME_MAX || strlen(e->target) > TAR_NAME_MAX)
                return err_set(err, CRINGLE_E_INVALID, "tar: a name is longer than %d bytes", TAR_NAME_MAX);
        return 0;
}

static int read_type(struct tar *t, struct cringle_err *err)
{
        struct tar_entry *e = &t->entry;
        size_t n = strlen(e->name);

        switch (t->block[TYPE_AT]) {
        case '\0':
        case '0':
        case '7':
        case 'S':
                /* Before ustar there was no type for directories. */
                e->type = n > 0 && e->name[n - 1] == '/' ? TAR_DIRECTORY : TAR_FILE;
                return 0;
        case '1':
                e->type = TAR_HARDLINK;
                return 0;
        case '2':
                e->type = TAR_SYMLINK;
                return 0;
        case '3':
                e->type = TAR_CHAR;
                return 0;
        case '4':
                e->type = TAR_BLOCK;
                return 0;
        case '5':
                e->type = TAR_DIRECTORY;
                return 0;
        case '6':
                e->type = TAR_FIFO;
                return 0;
        default:
                return err_set(err, CRINGLE_E_INVALID, "tar: entry of unknown type 0x%02x", t->block[TYPE_AT]);
        }
}

static int read_attributes(struct tar *t, struct cringle_err *err)
{
        struct tar_entry *e = &t->entry;
        int64_t mode, major, minor;

        if (number(t->block, F_MODE, &mode, err) < 0)
                return -1;
        e->mode = (uint32_t) mode & 07777;

        e->uid = t->pax.uid;
        e->gid = t->pax.gid;
        if ((!t->pax.has_uid && id_number(t->block, F_UID, &e->uid, err) < 0) ||
            (!t->pax.has_gid && id_number(t->block, F_GID, &e->gid, err) < 0))
                return -1;

        e->mtime_sec = t->pax.mtime_sec;
        e->mtime_nsec = t->pax.mtime_nsec;
        if (!t->pax.has_mtime && number(t->block, F_MTIME, &e->mtime_sec, err) < 0)
                return -1;
        if (e->mtime_sec < -TIME_LIMIT)
                e->mtime_sec = -TIME_LIMIT;
        if (e->mtime_sec > TIME_LIMIT)
                e->mtime_sec = TIME_LIMIT;

        if (e->type == TAR_CHAR || e->type == TAR_BLOCK) {
                if (number(t->block, F_MAJOR, &major, err) < 0 || number(t->block, F_MINOR, &minor, err) < 0)
                        return -1;
                if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff)
                        return bad(err, "a device number is out of range");
                e->major = (uint32_t) major;
                e->minor = (uint32_t) minor;
        }
        e->xattrs = t->xattrs;
        e->n_xattrs = t->n_xattrs;
        return 0;
}

static int read_sparse(struct tar *t, struct cringle_err *err)
{
        struct tar_entry *e = &t->entry;
        bool old = t->block[TYPE_AT] == 'S';

        if (!old && !t->pax.sparse)
                return 0;
        if ((old && t->pax.sparse) || e->type != TAR_FILE || t->pax.sparse_offset_open)
                return bad(err, "a sparse file is contradictory");

        if (old) {
                if (read_old_sparse(t, err) < 0)
                        return -1;
        } else {
                if (!t->pax.has_sparse_size)
                        return bad(err, "a sparse file has no size");
                e->size = t->pax.sparse_size;
                if (t->pax.sparse_map_in_data && t->n_regions > 0)
                        return bad(err, "a sparse file is contradictory");
                if (t->pax.sparse_map_in_data && read_map_in_data(t, err) < 0)
                        return -1;
        }
        if (check_regions(t, t->body, err) < 0)
                return -1;
        if (add_region(t, e->size, 0, err) < 0) /* so that there is an array also for a file that is all hole */
                return -1;
        e->regions = t->regions;
        e->n_regions = t->n_regions;
        return 0;
}

static int read_entry(struct tar *t, int64_t size, struct cringle_err *err)
{
        struct tar_entry *e = &t->entry;

        if (t->pax.has_size) {
                size = (int64_t) t->pax.size;
                set_body(t, t->pax.size);
        }
        if (read_names(t, err) < 0 || read_type(t, err) < 0 || read_attributes(t, err) < 0)
                return -1;
        if (e->type != TAR_FILE && size > 0)
                return bad(err, "an entry that is no file has a body");
        e->size = (uint64_t) size;
        return read_sparse(t, err);
}

int tar_next(struct tar *t, const struct tar_entry **ret, struct cringle_err *err)
{
        if (skip_body(t, err) < 0)
                return -1;

        start_entry(t);
        for (;;) {
                int64_t size;
                int got = take(t, t->block, BLOCK, err);

                if (got < 0)
                        return -1;
                if (got == 0 || is_zero(t->block)) {
                        if (t->had)
                                return bad(err, "the archive ends behind an extended header");
                        if (got == 0)
                                return 0;
                        got = take(t, t->block, BLOCK, err);
                        if (got < 0)
                                return -1;
                        return got == 0 || is_zero(t->block) ? 0 : bad(err, "a lone zero block");
                }

                if (check_checksum(t->block, err) < 0 || number(t->block, F_SIZE, &size, err) < 0)
                        return -1;
                if (size < 0 || size > INT64_MAX - BLOCK)
                        return bad(err, "a size is out of range");
                set_body(t, (uint64_t) size);

                got = read_extended(t, err);
                if (got < 0)
                        return -1;
                if (got > 0)
                        continue;
                if (read_entry(t, size, err) < 0)
                        return -1;
                *ret = &t->entry;
                return 1;
        }
}

int tar_data(struct tar *t, const uint8_t **ret, size_t *ret_n, uint64_t *ret_offset, struct cringle_err *err)
{
        const struct tar_entry *e = &t->entry;
        uint64_t limit = t->body, offset = e->size - t->body;
        size_t n;
        int got;

        if (t->body == 0)
                return 0;
        if (e->regions) {
                while (t->region_done == e->regions[t->region].size) {
                        t->region++;
                        t->region_done = 0;
                }
                limit = e->regions[t->region].size - t->region_done;
                offset = e->regions[t->region].offset + t->region_done;
        }

        got = more(t, err);
        if (got <= 0)
                return got < 0 ? -1 : bad(err, "the archive is cut short");
        n = t->left < limit ? t->left : (size_t) limit;
        *ret = t->at;
        *ret_n = n;
        *ret_offset = offset;
        t->at += n;
        t->left -= n;
        t->body -= n;
        t->region_done += n;
        return 1;
}
