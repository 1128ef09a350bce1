#pragma once

/*
 * Time: two clocks, deadlines, and the written form
 */

#include <stddef.h>
#include <stdint.h>

#define NSEC_PER_SEC INT64_C(1000000000)
#define NSEC_PER_MSEC INT64_C(1000000)

int64_t clock_monotonic(void);          /* nanoseconds; for deadlines */
int64_t clock_realtime(void);           /* nanoseconds since the epoch; for records */

#define CLOCK_TEXT_MAX 40

/* RFC 3339 in UTC with nine digits: "2026-11-21T22:24:24.123456789Z".  Async-signal-safe. */
void clock_text(int64_t realtime, char text[static CLOCK_TEXT_MAX]);

/*
 * "500ms", "30s", "2m", "1h", "1m30s" or a plain number of seconds, in
 * nanoseconds; -1 when it is none of these or does not fit.
 */
int64_t clock_parse_duration(const char *text);
