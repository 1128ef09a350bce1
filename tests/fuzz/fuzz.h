#pragma once

/*
 * What the fuzzers have in common
 *
 * A harness is one file, fuzz_NAME.c, that defines LLVMFuzzerTestOneInput().  In every build it is
 * linked with replay.c and takes the inputs of corpus/NAME as a test; with the build option
 * `fuzzers` it is linked with libFuzzer, too, and looks for more of them (tests/fuzz/run).
 * What does not hold is an abort.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert(), it is there in every build. */
#define must(condition) ((condition) ? (void) 0 : abort())

/* The next byte of an input; 0 at its end. */
static inline uint8_t fuzz_byte(const uint8_t **data, size_t *size)
{
        if (*size == 0)
                return 0;
        --*size;
        return *(*data)++;
}

/* The bytes up to the next NUL as a string, the caller's, and past them. */
char *fuzz_text(const uint8_t **data, size_t *size);

/* A directory of this process, which goes with it; memory-backed where there is /dev/shm. */
const char *fuzz_scratch(void);

/* The file @name in the scratch directory holds these bytes from now on, and root alone can write it. */
void fuzz_write(const char *name, const void *data, size_t size);
