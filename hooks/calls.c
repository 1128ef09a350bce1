/*
 * What calls of hooks came to; see calls.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "hooks/calls.h"

struct record {
        char *source, *name, *stage;
        uint64_t calls, failures, timeouts;
        int64_t nanoseconds, longest;
        int64_t last_at, last_nanoseconds;
        char *last_error;               /* NULL: the last call succeeded */
};

static void record_free(void *data)
{
        struct record *r = data;

        if (!r)
                return;
        free(r->source);
        free(r->name);
        free(r->stage);
        free(r->last_error);
        free(r);
}

void calls_init(struct calls *c)
{
        pthread_mutex_init(&c->lock, NULL);
        c->records = (struct map) MAP_INIT;
}

void calls_done(struct calls *c)
{
        map_done(&c->records, record_free);
        pthread_mutex_destroy(&c->lock);
}

static void drop_oldest(struct calls *c)
{
        const char *key, *oldest = NULL;
        int64_t when = INT64_MAX;
        void *value;

        for (size_t at = 0; map_next(&c->records, &at, &key, &value);) {
                const struct record *r = value;

                if (r->last_at < when) {
                        when = r->last_at;
                        oldest = key;
                }
        }
        if (oldest)
                record_free(map_take(&c->records, oldest));
}

/* The record of @call, made if need be; NULL: no memory, and it is not counted. */
static struct record *record_of(struct calls *c, const struct hooks_call *call)
{
        auto_free char *key = str_printf(NULL, "%s\n%s\n%s", call->source, call->name, call->stage);
        struct record *r = key ? map_get(&c->records, key) : NULL;

        if (r || !key)
                return r;
        if (c->records.count >= CALLS_RECORDS)
                drop_oldest(c);
        r = calloc(1, sizeof *r);
        if (!r)
                return NULL;
        r->source = strdup(call->source);
        r->name = strdup(call->name);
        r->stage = strdup(call->stage);
        if (!r->source || !r->name || !r->stage || map_put(&c->records, key, r, NULL) < 0) {
                record_free(r);
                return NULL;
        }
        return r;
}

static void count(struct calls *c, const struct hooks_call *call)
{
        struct record *r = record_of(c, call);

        if (!r)
                return;
        r->calls++;
        r->failures += call->error != NULL;
        r->timeouts += call->timed_out;
        r->nanoseconds += call->nanoseconds;
        if (call->nanoseconds > r->longest)
                r->longest = call->nanoseconds;
        r->last_at = call->ended_at;
        r->last_nanoseconds = call->nanoseconds;
        free(r->last_error);
        r->last_error = call->error ? strdup(call->error) : NULL;
}

/* Of a call that stops nothing; what it stops is logged with its error. */
static void log_ignored(const struct hooks_call *call)
{
        const char *container = str_empty(call->container_id) ? NULL : call->container_id;

        log_warning("hook failed: pod %.12s%s%.12s: %s; ignored", call->pod_id ? call->pod_id : "", container ? " container " : "",
                    container ? container : "", call->error);
}

void calls_add(struct calls *c, const struct hooks_call *call)
{
        struct hooks_call timed = *call;

        if (!timed.ended_at)
                timed.ended_at = clock_realtime();
        pthread_mutex_lock(&c->lock);
        count(c, &timed);
        pthread_mutex_unlock(&c->lock);
        if (timed.error && timed.ignored)
                log_ignored(&timed);
        calls_tell(c, &timed);
}

void calls_tell(struct calls *c, const struct hooks_call *call)
{
        struct hooks_call timed = *call;

        if (!atomic_load(&c->traced))
                return;
        if (!timed.ended_at)
                timed.ended_at = clock_realtime();
        pthread_mutex_lock(&c->lock);
        if (c->fn)
                c->fn(c->data, &timed);
        pthread_mutex_unlock(&c->lock);
}

void calls_trace(struct calls *c, hooks_trace_fn fn, void *data)
{
        pthread_mutex_lock(&c->lock);
        c->fn = fn;
        c->data = data;
        atomic_store(&c->traced, fn != NULL);
        pthread_mutex_unlock(&c->lock);
}

void calls_sum(struct calls *c, struct hooks_info *info, char **ret_failure)
{
        const struct record *last = NULL;
        const char *key;
        void *value;

        *ret_failure = NULL;
        info->calls = info->failures = info->timeouts = 0;
        info->nanoseconds = info->longest = 0;
        pthread_mutex_lock(&c->lock);
        for (size_t at = 0; map_next(&c->records, &at, &key, &value);) {
                const struct record *r = value;

                if (strcmp(r->source, info->source) != 0 || strcmp(r->name, info->name) != 0)
                        continue;
                info->calls += r->calls;
                info->failures += r->failures;
                info->timeouts += r->timeouts;
                info->nanoseconds += r->nanoseconds;
                if (r->longest > info->longest)
                        info->longest = r->longest;
                if (!last || r->last_at > last->last_at)
                        last = r;
        }
        if (last) {
                info->last_at = last->last_at;
                info->last_nanoseconds = last->last_nanoseconds;
                info->last_failure = *ret_failure = last->last_error ? strdup(last->last_error) : NULL;
        }
        pthread_mutex_unlock(&c->lock);
}

void calls_each(struct calls *c, void (*fn)(void *data, const struct hooks_counter *counter), void *data)
{
        const char *key;
        void *value;

        pthread_mutex_lock(&c->lock);
        for (size_t at = 0; map_next(&c->records, &at, &key, &value);) {
                const struct record *r = value;
                struct hooks_counter counter = { .source = r->source, .name = r->name, .stage = r->stage, .calls = r->calls,
                                                 .failures = r->failures, .timeouts = r->timeouts,
                                                 .nanoseconds = r->nanoseconds };

                fn(data, &counter);
        }
        pthread_mutex_unlock(&c->lock);
}
