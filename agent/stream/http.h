#pragma once

/*
 * The request that asks for an upgrade
 *
 * Pure: bytes in, a verdict out.  Strict, since nothing but kubelets, their clients
 * and strangers speak here: one request line, CRLF line ends, no folding, no body.
 */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"

#define HTTP_HEAD_MAX 16384
#define HTTP_HEADERS_MAX 100

struct http_text {
        const char *at;                 /* into the head; not ended */
        size_t n;
};

struct http_request {
        struct http_text method, path, query;
        struct { struct http_text name, value; } headers[HTTP_HEADERS_MAX];
        size_t n_headers;
        size_t size;                    /* bytes of the head; what follows belongs to the next protocol */
};

/* 1: *ret is filled, pointing into @data; 0: more is needed; -1: this is no request. */
int http_parse(const char *data, size_t n, struct http_request *ret, struct cringle_err *err);

bool http_text_is(struct http_text t, const char *word);        /* whatever the case */

/* The first header of that name; empty with at == NULL: none. */
struct http_text http_header(const struct http_request *r, const char *name);

/*
 * The next item of the comma lists of all headers called @name; *at starts at 0.
 * False: there is none.
 */
bool http_next_item(const struct http_request *r, const char *name, size_t *at, struct http_text *ret);
bool http_has_item(const struct http_request *r, const char *name, const char *item);
