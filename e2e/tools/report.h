#pragma once

/*
 * What a command of cringle-load has found: a table for people, or a line of JSON
 *
 * In JSON, durations are microseconds and memory is kB, all whole numbers:
 *
 *      {"command":"life", "n":50, ..., "calls":[{"call":"RunPodSandbox", "n":50,
 *       "p50_us":1234, "p99_us":2345, "min_us":1111, "max_us":2345}, ...],
 *       "processes":[{"name":"cringled", "n":1, "pss_kb":4321, ...}]}
 */

#include <stdbool.h>

#include "e2e/tools/account.h"
#include "e2e/tools/samples.h"

#define REPORT_SERIES 32
#define REPORT_FIGURES 8

struct series {
        const char *name;               /* borrowed */
        struct samples times;           /* nanoseconds */
};

struct figure {
        const char *name;               /* borrowed; ends in its unit */
        int64_t value;
};

struct report {
        const char *command;            /* borrowed */
        struct series series[REPORT_SERIES];
        size_t n_series;
        struct figure figures[REPORT_FIGURES];
        size_t n_figures;
        struct account_kind *kinds;     /* owned */
        size_t n_kinds;
};

/* An empty series; borrowed. */
struct samples *report_series(struct report *r, const char *name);

void report_figure(struct report *r, const char *name, int64_t value);

/* On stdout. */
int report_print(struct report *r, bool json, struct cringle_err *err);

void report_done(struct report *r);

static inline void auto_report_(struct report *r)
{
        report_done(r);
}

#define auto_report auto_cleanup(auto_report_) struct report
