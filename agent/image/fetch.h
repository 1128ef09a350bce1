#pragma once

/*
 * One pull, seen from the agent
 *
 * The agent neither speaks HTTP nor opens a tar.  It spawns cringle-pull: the fetch half
 * resolves the reference and streams blobs, and for each layer an unpack half turns the
 * stream into a directory tree.  Both are confined and believed only as far as that
 * can be checked: digests, sizes and counts are checked again here, the config is hashed
 * again here, and the few things an unpack half may not do (opaque markers, device nodes)
 * are done here from a checked list, by fd and without following a link.
 *
 * Everything blocks, and ends when its call does.  A struct fetch may be used by several
 * threads at once, except for fetch_free().
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/call.h"
#include "agent/base/own.h"
#include "agent/image/reference.h"
#include "config/config.h"

struct fetch;

struct fetch_options {
        const struct config *config;    /* programs.pull, images.*, registries; borrowed as long as the fetch lives */
        const char *os, *architecture, *variant;        /* NULL: this machine's */
};

/* What CRI's AuthConfig says; every member may be NULL.  Used for the reference's own registry, never for a mirror. */
struct fetch_auth {
        const char *username, *password;
        const char *auth;               /* base64 of "username:password" */
        const char *identity_token;
        const char *registry_token;
        const char *server_address;     /* not NULL and another registry: the rest is not used */
};

struct fetch_image_layer {
        char digest[DIGEST_LEN + 1];    /* of the blob */
        char diff_id[DIGEST_LEN + 1];   /* of the plain tar */
        char chain_id[DIGEST_LEN + 1];  /* of this layer on those below: what the image backend calls it */
        char media_type[128];
        uint64_t size;                  /* of the blob, in bytes */
};

struct fetch_image {
        char manifest_digest[DIGEST_LEN + 1];   /* of what the reference stands for, index or manifest: for RepoDigests */
        char config_digest[DIGEST_LEN + 1];     /* the image id */
        char *config;                   /* NUL behind it */
        size_t config_size;
        struct fetch_image_layer *layers;       /* lowest first */
        size_t n_layers;
};

/*
 * Start a fetch half and let it resolve @ref, through the mirrors and then the
 * registry.  @auth may be NULL: then what the configuration has for the registry, or nothing.
 * *ret is the caller's.  Errors: CRINGLE_E_NOT_FOUND, _UNAUTHENTICATED, _DENIED,
 * _UNAVAILABLE, _DEADLINE, ... as the last registry asked had it; the text has all of them.
 */
int fetch_open(const struct fetch_options *options, const struct reference *ref, const struct fetch_auth *auth,
               const struct cringle_call *call, struct fetch **ret, struct cringle_err *err);

/* Borrowed, as long as @f lives. */
const struct fetch_image *fetch_image(const struct fetch *f);

/* What fetch_layer() can come to, failures aside. */
enum { FETCH_DONE = 0, FETCH_NEEDS_PARENTS = 1 };

/*
 * Fetch layer @i and unpack it into the empty directory @layer_dir_fd (which stays the caller's, and
 * must not be touched until this returns).  Returns when both digests are verified.  At most
 * images.max_parallel run at once, more wait.  On failure the directory holds a part; throw it away.
 *
 * FETCH_NEEDS_PARENTS: the tar leaves out directories or names hard links that only the layers below
 * can tell.  Call fetch_settle_layer() before the layer is committed.
 */
int fetch_layer(struct fetch *f, size_t i, int layer_dir_fd, const struct cringle_call *call, struct cringle_err *err);

/*
 * The rest of a layer that came to FETCH_NEEDS_PARENTS: @parents_fd is a directory with the content of all
 * layers below (a read-only view; borrowed), or -1 when there are none.  Directories that the tar left out get owner, mode, time
 * and attributes they have there (one that is a symbolic link there is put where the link leads); hard links to
 * files there become copies of them.
 */
int fetch_settle_layer(struct fetch *f, size_t i, int layer_dir_fd, int parents_fd, const struct cringle_call *call,
                       struct cringle_err *err);

/*
 * Unpack the plain tar at the beginning of @tar_fd, a file whose content nobody trusts, into the empty directory @dir_fd, by an unpack half
 * alone.  On failure the directory holds a part.
 */
int fetch_unpack(const struct config *config, int tar_fd, int dir_fd, const struct cringle_call *call, struct cringle_err *err);

/* Blob bytes that have come so far, of all layers asked for. */
uint64_t fetch_progress(const struct fetch *f);

/* End the fetch half.  No fetch_layer() may be running.  NULL is fine. */
struct fetch *fetch_free(struct fetch *f);

AUTO_DEFINE(fetch, fetch_free)
