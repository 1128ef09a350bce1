#pragma once

/*
 * Reading a tar stream: ustar, GNU and PAX, and nothing by guess
 *
 * A reader of our own, since every byte here is hostile and names must come out as they went in.
 * Where tar readers are known to disagree about what an archive holds there is one rule, or the archive is refused:
 *
 *  - a PAX record beats the header field; of two records with one key the later counts;
 *  - global PAX headers may only carry what changes no entry's name, size or content;
 *  - two extended headers of one kind before one entry, or a long name said twice in different
 *    ways, are refused; so are bodies behind links, directories and devices;
 *  - a bad checksum, number, record length or sparse map is refused, and so is an unknown type;
 *  - the archive ends at two zero blocks or where the stream ends between two entries.
 *
 * Memory is bounded by the TAR_..._MAX below, whatever the archive says.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/own.h"

#define TAR_NAME_MAX 4096               /* bytes of a path or link target */
#define TAR_EXTENDED_MAX (1 << 20)      /* bytes of an extended header */
#define TAR_SPARSE_MAX 65536            /* regions of a sparse file */
#define TAR_XATTRS_MAX 256              /* of one entry */

enum tar_type { TAR_FILE, TAR_HARDLINK, TAR_SYMLINK, TAR_CHAR, TAR_BLOCK, TAR_DIRECTORY, TAR_FIFO };

struct tar_xattr {
        const char *name;               /* without "SCHILY.xattr." */
        const char *value;
        size_t size;
};

struct tar_region {
        uint64_t offset, size;
};

struct tar_entry {
        enum tar_type type;
        const char *name;               /* as in the archive */
        const char *target;             /* of links */
        uint32_t mode;                  /* 07777 */
        uint32_t uid, gid;
        uint32_t major, minor;
        int64_t mtime_sec;
        uint32_t mtime_nsec;
        uint64_t size;                  /* of the file, with its holes */
        const struct tar_xattr *xattrs;
        size_t n_xattrs;
        const struct tar_region *regions;       /* where the data go, ascending; NULL: one, from 0 */
        size_t n_regions;
};

/*
 * Where the bytes come from.  1: *ret and *ret_n (never 0) are the next ones, valid until the next call;
 * 0: the end; -1: failed.
 */
typedef int tar_source_fn(void *data, const uint8_t **ret, size_t *ret_n, struct cringle_err *err);

struct tar;

int tar_new(tar_source_fn *source, void *data, struct tar **ret, struct cringle_err *err);
struct tar *tar_free(struct tar *t);

/* The next entry; what is left of the last one is skipped.  1: *ret, valid until the next call; 0: the end. */
int tar_next(struct tar *t, const struct tar_entry **ret, struct cringle_err *err);

/*
 * The next bytes of the entry and where in the file they belong.  1: *ret, *ret_n, *ret_offset, valid until the next call; 0: no
 * more.
 */
int tar_data(struct tar *t, const uint8_t **ret, size_t *ret_n, uint64_t *ret_offset, struct cringle_err *err);

AUTO_DEFINE(tar, tar_free)
