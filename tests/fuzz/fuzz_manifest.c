/*
 * A document of a registry as an index, a manifest, and an image's config
 *
 * It is said to be nothing, and to be one of four things, which its sum chooses.
 */

#include <string.h>

#include "agent/image/reference.h"
#include "agent/oci/image_config.h"
#include "agent/pull/manifest.h"
#include "tests/fuzz/fuzz.h"

static void check_descriptor(const struct descriptor *d)
{
        must(digest_valid(d->digest));
        must(memchr(d->media_type, '\0', sizeof d->media_type));
}

static void check_descriptors(const struct descriptor *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                check_descriptor(&list[i]);
}

static void try_manifest(const char *text, size_t n, const char *content_type)
{
        static const struct platform platform = { "linux", "amd64", NULL };
        auto_manifest m = MANIFEST_INIT;

        if (manifest_parse(text, n, content_type, NULL, &platform, &m, NULL) < 0)
                return;
        must(m.kind == MANIFEST_INDEX || m.kind == MANIFEST_IMAGE);
        must(m.n_nodes <= MANIFEST_NODES_MAX && m.n_layers <= PULL_LAYERS_MAX);
        if (m.kind == MANIFEST_INDEX) {
                must(m.n_images <= 1 && m.n_layers == 0);
                check_descriptors(m.images, m.n_images);
                check_descriptors(m.indexes, m.n_indexes);
        } else {
                must(m.n_images == 0 && m.n_indexes == 0);
                check_descriptor(&m.config);
                check_descriptors(m.layers, m.n_layers);
        }
}

static void try_config(const char *text, size_t n)
{
        auto_of(image_config) c = NULL;
        auto_free char (*ids)[72] = NULL;

        if (image_config_parse(text, n, &c, NULL) < 0)
                return;
        for (size_t i = 0; i < c->n_diff_ids; i++)
                must(digest_valid(c->diff_ids[i]));
        if (manifest_config(text, n, c->n_diff_ids, &ids, NULL) == 0)
                for (size_t i = 0; i < c->n_diff_ids; i++)
                        must(strcmp(ids[i], c->diff_ids[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const types[] = {
                "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json; charset=utf-8", "text/html",
        };
        unsigned sum = 0;

        for (size_t i = 0; i < size; i++)
                sum += data[i];
        try_manifest((const char *) data, size, NULL);
        try_manifest((const char *) data, size, types[sum % (sizeof types / sizeof *types)]);
        try_config((const char *) data, size);
        return 0;
}
