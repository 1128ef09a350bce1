/*
 * A blob as the tar in it: gzip, zstd, plain
 *
 * No more comes out than the limits allow, the end is an end, and the digest is that of what came out.
 */

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/sha256.h"
#include "agent/pull/plain.h"
#include "tests/fuzz/fuzz.h"

#define MOST (256 << 10)
#define RATIO 100
#define RATIO_FROM (64 << 10)
#define PIECE_MAX (1 << 20)             /* no single piece is longer */

static int blob = -1;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct plain_limits limits = { MOST, RATIO, RATIO_FROM };
        auto_of(plain) p = NULL;
        char digest[72];
        const uint8_t *bytes;
        uint64_t sum = 0, total;
        size_t n;
        int got;

        if (blob < 0)
                blob = memfd_create("blob", MFD_CLOEXEC);
        must(blob >= 0 && ftruncate(blob, 0) == 0 && lseek(blob, 0, SEEK_SET) == 0);
        must(file_write_fd(blob, data, size, NULL) == 0 && lseek(blob, 0, SEEK_SET) == 0);
        must(plain_new(blob, &limits, &p, NULL) == 0);
        while ((got = plain_next(p, &bytes, &n, NULL)) > 0) {
                must(n > 0 && n <= PIECE_MAX);
                sum += n;
                must(sum <= MOST);
                must(sum <= RATIO_FROM || sum / RATIO <= size + 1);
        }
        if (got < 0)
                return 0;
        must(plain_next(p, &bytes, &n, NULL) == 0);
        must(plain_digest(p, digest, &total, NULL) == 0 && total == sum && strlen(digest) == 71);
        return 0;
}
