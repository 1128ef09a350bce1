#pragma once

/*
 * Manifests, indexes and image configs: what a registry says an image is
 *
 * Pure functions on bytes whose digest the caller has checked.  A document that could be read as two
 * things, or that says of itself something else than the registry said, is refused
 * (image-spec 1.1, manifest.md, "mediaType").  OCI and Docker schema 2 are known.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"
#include "agent/wire/pull.h"

#define MANIFEST_ACCEPT                                                 \
        "application/vnd.oci.image.index.v1+json, "                     \
        "application/vnd.docker.distribution.manifest.list.v2+json, "   \
        "application/vnd.oci.image.manifest.v1+json, "                  \
        "application/vnd.docker.distribution.manifest.v2+json"

#define MANIFEST_NODES_MAX 1000         /* entries of all indexes of one pull */
#define MANIFEST_DEPTH_MAX 4            /* indexes in indexes */

struct descriptor {
        char digest[72];
        char media_type[128];
        uint64_t size;
};

struct platform {
        const char *os, *architecture, *variant;        /* variant may be NULL */
};

enum manifest_kind { MANIFEST_INDEX = 1, MANIFEST_IMAGE = 2 };

/* A parsed document: an index's entries for our platform, best first; or an image's config and layers. */
struct manifest {
        enum manifest_kind kind;
        struct descriptor *images;      /* of an index: at most one, the best */
        size_t n_images;
        struct descriptor *indexes;     /* of an index: more of them, perhaps for us */
        size_t n_indexes;
        size_t n_nodes;                 /* entries the index had */
        struct descriptor config;
        struct descriptor *layers;
        size_t n_layers;
};

#define MANIFEST_INIT { 0 }

void manifest_done(struct manifest *m);

static inline void auto_manifest_done_(struct manifest *m)
{
        manifest_done(m);
}

#define auto_manifest auto_cleanup(auto_manifest_done_) struct manifest

/*
 * Parse @n bytes.  @content_type: what the registry called it (parameters are ignored; NULL: nothing);
 * @expected: what a descriptor called it, which counts more (NULL: none).
 */
int manifest_parse(const char *text, size_t n, const char *content_type, const char *expected,
                   const struct platform *platform, struct manifest *ret, struct cringle_err *err);

/* The diff_ids of an image config; there must be exactly @n.  *ret is @n strings of 72 bytes, the caller's. */
int manifest_config(const char *text, size_t n_text, size_t n, char (**ret)[72], struct cringle_err *err);
