/*
 * What a command of cringle-load has found; see report.h.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "e2e/tools/report.h"

#define NSEC_PER_USEC INT64_C(1000)

struct samples *report_series(struct report *r, const char *name)
{
        assert(r->n_series < REPORT_SERIES);
        r->series[r->n_series].name = name;
        return &r->series[r->n_series++].times;
}

void report_figure(struct report *r, const char *name, int64_t value)
{
        assert(r->n_figures < REPORT_FIGURES);
        r->figures[r->n_figures++] = (struct figure) { .name = name, .value = value };
}

void report_done(struct report *r)
{
        for (size_t i = 0; i < r->n_series; i++)
                samples_done(&r->series[i].times);
        free(r->kinds);
        *r = (struct report) { 0 };
}

static double milliseconds(int64_t time)
{
        return (double) time / (double) NSEC_PER_MSEC;
}

static void print_text(struct report *r)
{
        printf("%s\n", r->command);
        for (size_t i = 0; i < r->n_figures; i++)
                printf("  %-22s %10" PRId64 "\n", r->figures[i].name, r->figures[i].value);
        if (r->n_series)
                printf("  %-22s %10s %10s %10s %10s\n", "ms", "p50", "p99", "min", "max");
        for (size_t i = 0; i < r->n_series; i++) {
                struct samples *s = &r->series[i].times;

                printf("  %-22s %10.2f %10.2f %10.2f %10.2f\n", r->series[i].name, milliseconds(samples_percentile(s, 50)),
                       milliseconds(samples_percentile(s, 99)), milliseconds(samples_percentile(s, 0)),
                       milliseconds(samples_percentile(s, 100)));
        }
        if (r->n_kinds)
                printf("  %-22s %10s %10s %10s %10s\n", "kB, all of a name", "processes", "PSS", "anonymous", "RSS");
        for (size_t i = 0; i < r->n_kinds; i++) {
                const struct account_kind *k = &r->kinds[i];

                printf("  %-22s %10" PRId64 " %10" PRId64 " %10" PRId64 " %10" PRId64 "\n", k->name, k->n, k->pss, k->anon,
                       k->rss);
        }
}

static int add_series(struct json_object *list, struct series *s, struct cringle_err *err)
{
        struct json_object *o = json_object_new_object();

        if (json_add(list, o, err) < 0 ||
            json_set_string(o, "call", s->name, err) < 0 ||
            json_set_int(o, "n", (int64_t) s->times.n, err) < 0 ||
            json_set_int(o, "p50_us", samples_percentile(&s->times, 50) / NSEC_PER_USEC, err) < 0 ||
            json_set_int(o, "p99_us", samples_percentile(&s->times, 99) / NSEC_PER_USEC, err) < 0 ||
            json_set_int(o, "min_us", samples_percentile(&s->times, 0) / NSEC_PER_USEC, err) < 0 ||
            json_set_int(o, "max_us", samples_percentile(&s->times, 100) / NSEC_PER_USEC, err) < 0)
                return -1;
        return 0;
}

static int add_kind(struct json_object *list, const struct account_kind *k, struct cringle_err *err)
{
        struct json_object *o = json_object_new_object();

        if (json_add(list, o, err) < 0 ||
            json_set_string(o, "name", k->name, err) < 0 ||
            json_set_int(o, "n", k->n, err) < 0 ||
            json_set_int(o, "pss_kb", k->pss, err) < 0 ||
            json_set_int(o, "anon_kb", k->anon, err) < 0 ||
            json_set_int(o, "rss_kb", k->rss, err) < 0)
                return -1;
        return 0;
}

static int print_json(struct report *r, struct cringle_err *err)
{
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;
        struct json_object *calls, *processes;

        if (!o)
                return err_oom(err);
        if (json_set_string(o, "command", r->command, err) < 0)
                return -1;
        for (size_t i = 0; i < r->n_figures; i++)
                if (json_set_int(o, r->figures[i].name, r->figures[i].value, err) < 0)
                        return -1;

        calls = json_need_array(o, "calls", err);
        processes = calls ? json_need_array(o, "processes", err) : NULL;
        if (!processes)
                return -1;
        for (size_t i = 0; i < r->n_series; i++)
                if (add_series(calls, &r->series[i], err) < 0)
                        return -1;
        for (size_t i = 0; i < r->n_kinds; i++)
                if (add_kind(processes, &r->kinds[i], err) < 0)
                        return -1;
        if (json_write(o, &text, err) < 0)
                return -1;

        printf("%s\n", text.data);
        return 0;
}

int report_print(struct report *r, bool json, struct cringle_err *err)
{
        if (json && print_json(r, err) < 0)
                return -1;
        if (!json)
                print_text(r);
        return fflush(stdout) ? err_sys(err, "write the report") : 0;
}
