#pragma once

/*
 * A layer's blob as the plain tar in it
 *
 * gzip (any number of members), zstd (any number of frames) or plain, told apart by the first
 * bytes, not by what the registry called it.  Everything that comes out is hashed and counted on the way;
 * the limits are enforced here, before anybody looks at the bytes.
 */

#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"
#include "agent/wire/pull.h"

struct plain;

struct plain_limits {
        uint64_t max_bytes;             /* of the tar */
        uint64_t ratio, ratio_from;     /* tar bytes per blob byte, once the tar is this long; 0: any */
};

/* Read from @fd, which stays the caller's.  Everything that will be needed is loaded and allocated here. */
int plain_new(int fd, const struct plain_limits *limits, struct plain **ret, struct cringle_err *err);
struct plain *plain_free(struct plain *p);

/* A tar_source_fn: 1, the next bytes, valid until the next call; 0: the end. */
int plain_next(void *plain, const uint8_t **ret, size_t *ret_n, struct cringle_err *err);

/* After the end: the digest of all bytes as "sha256:<hex>", and how many they were. */
int plain_digest(struct plain *p, char ret[static 72], uint64_t *ret_bytes, struct cringle_err *err);

AUTO_DEFINE(plain, plain_free)
