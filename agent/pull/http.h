#pragma once

/*
 * One HTTP exchange, bounded
 *
 * By libcurl, which is told to follow nothing, to remember nothing and to keep everything
 * within limits: redirects, credentials and retries are decided by registry.c, where the policy can be seen.
 * A struct http keeps its connections; it belongs to one thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/own.h"
#include "agent/pull/challenge.h"

struct http;
struct http_answer;

/* A piece of a body that came with a 2xx.  -1 ends the exchange. */
typedef int http_sink_fn(void *data, const struct http_answer *head, const char *piece, size_t n,
                         struct cringle_err *err);

struct http_request {
        const char *url;
        const char *accept;             /* NULL: anything */
        const char *authorization;      /* the header's value; NULL: none */
        const char *form;               /* POST this; NULL: GET */
        uint64_t from;                  /* ask for the bytes from here on */
        const char *ca;                 /* PEM; NULL: the system's */
        bool skip_verify;
        int64_t progress_timeout;       /* nanoseconds without a byte */
        int64_t timeout;                /* nanoseconds for all of it; 0: none */
        size_t max;                     /* bytes of a body kept in the answer */
        http_sink_fn *sink;             /* NULL: the body is kept in the answer */
        void *data;
};

struct http_answer {
        long status;
        struct buf body;                /* also that of an error, then at most 64 KiB and perhaps cut */
        char *content_type, *location, *digest; /* NULL: no such header */
        int64_t retry_after;            /* seconds; -1: not said */
        int64_t range_from;             /* of a 206; -1: not said */
        struct challenge challenges[CHALLENGES_MAX];
        size_t n_challenges;
        bool sink_failed;               /* the failure is the sink's: asking again is of no use */
};

int http_new(struct http **ret, struct cringle_err *err);
struct http *http_free(struct http *h);

void http_answer_done(struct http_answer *a);

static inline void auto_http_answer_done_(struct http_answer *a)
{
        http_answer_done(a);
}

#define auto_http_answer auto_cleanup(auto_http_answer_done_) struct http_answer

/*
 * 0: there is an answer, whatever its status.  -1: there is none, or not all of it.  *ret must be empty and is
 * the caller's in both cases.  No error text holds a query, a header or a secret.
 */
int http_run(struct http *h, const struct http_request *request, struct http_answer *ret, struct cringle_err *err);

/* Scheme, host and port; the caller's.  For messages and for comparing. */
struct origin {
        char *scheme, *host, *port;
};

void origin_done(struct origin *o);

static inline void auto_origin_done_(struct origin *o)
{
        origin_done(o);
}

#define auto_origin auto_cleanup(auto_origin_done_) struct origin

/* Of an http or https URL without user information; anything else is refused. */
int origin_parse(const char *url, struct origin *ret, struct cringle_err *err);
bool origin_equal(const struct origin *a, const struct origin *b);

/* @location, which may be relative, seen from @url; the caller's. */
char *http_resolve(const char *url, const char *location, struct cringle_err *err);

/* @text for a query or form; the caller's. */
char *http_escape(struct http *h, const char *text, struct cringle_err *err);

AUTO_DEFINE(http, http_free)
