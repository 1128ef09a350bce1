#pragma once

/*
 * Capabilities by name and by bit
 *
 * Sets are masks of 1 << bit, bits numbered as the kernel does.  The table knows
 * every capability up to CAP_CHECKPOINT_RESTORE (Linux 5.9, the newest so far).
 */

#include <stdint.h>

#define CAPS_COUNT 41
#define CAPS_ALL ((UINT64_C(1) << CAPS_COUNT) - 1)

/* What a container has when nobody says otherwise: the set containerd and Docker give. */
extern const uint64_t caps_default;

/* "CAP_NET_RAW", "NET_RAW", any case: its bit; -1: there is no such capability. */
int caps_bit(const char *name);

/* "CAP_NET_RAW"; NULL when @bit is none. */
const char *caps_name(int bit);
