#pragma once

/*
 * A registry, or a mirror of one, as an endpoint with a policy
 *
 *  - Credentials go to the endpoint's own origin (scheme, host, port), and to a token server only
 *    if it belongs to the same owner and is reached as safely.  A redirect elsewhere carries none.
 *  - https never becomes http.
 *  - What can pass (429, 5xx, a broken connection) is tried again, a blob from where it broke off.
 *  - Error texts hold no query, no token, no password.
 *
 * Endpoints are used by several threads; each brings its own struct http.
 */

#include "agent/base/json.h"
#include "agent/pull/http.h"
#include "agent/pull/manifest.h"

struct endpoint;

/* From one member of the request's `endpoints` (wire/pull.h). */
int endpoint_new(struct json_object *o, const char *repository, int64_t progress_timeout, struct endpoint **ret,
                 struct cringle_err *err);
struct endpoint *endpoint_free(struct endpoint *e);

/* "registry host:port" or "mirror host:port". */
const char *endpoint_name(const struct endpoint *e);

/* A manifest by tag or digest; the body is in *ret, its content type in *ret_type (may come out NULL).  Not verified. */
int endpoint_manifest(struct endpoint *e, struct http *h, const char *tag_or_digest, struct buf *ret, char **ret_type,
                      char **ret_digest, struct cringle_err *err);

/* Where a blob goes: hashed, counted, and written to @fd or kept in @keep. */
struct blob;

/* @fd < 0: keep it.  @progress is told the bytes so far, now and then. */
int blob_new(const char *digest, uint64_t size, int fd, void (*progress)(void *data, uint64_t bytes), void *data,
             struct blob **ret, struct cringle_err *err);
struct blob *blob_free(struct blob *b);

/* The bytes kept; borrowed. */
const struct buf *blob_kept(const struct blob *b);

/* True when the reader of fd went away, or the content is wrong: no other endpoint can help. */
bool blob_spoiled(const struct blob *b);

/* Fetch the rest of @b.  0: it is whole and its digest is right.  After -1 another endpoint may go on. */
int endpoint_blob(struct endpoint *e, struct http *h, struct blob *b, struct cringle_err *err);

AUTO_DEFINE(endpoint, endpoint_free)
AUTO_DEFINE(blob, blob_free)
