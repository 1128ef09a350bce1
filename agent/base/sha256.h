#pragma once

/*
 * SHA-256 (FIPS 180-4), small and plain
 *
 * For what the agent hashes itself: chain ids and image configs, some kilobytes.
 * Whoever hashes layers uses a library that knows the processor's instructions.
 */

#include <stddef.h>
#include <stdint.h>

struct sha256 {
        uint32_t state[8];
        uint64_t length;                /* bytes so far */
        uint8_t block[64];              /* the begun one */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
void sha256_end(struct sha256 *s, uint8_t ret[static 32]);

#define SHA256_TEXT_MAX 72

/* "sha256:<64 hex>" of the @n bytes at @data. */
void sha256_text(const void *data, size_t n, char ret[static SHA256_TEXT_MAX]);
