/*
 * Manifests, indexes and image configs; see manifest.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/image/reference.h"
#include "agent/pull/manifest.h"

#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."

static const char *const index_types[] = {
        OCI "index.v1+json", DOCKER "distribution.manifest.list.v2+json", NULL
};

static const char *const image_types[] = {
        OCI "manifest.v1+json", DOCKER "distribution.manifest.v2+json", NULL
};

static const char *const config_types[] = {
        OCI "config.v1+json", DOCKER "container.image.v1+json", NULL
};

static const char *const layer_types[] = {
        OCI "layer.v1.tar", OCI "layer.v1.tar+gzip", OCI "layer.v1.tar+zstd",
        OCI "layer.nondistributable.v1.tar", OCI "layer.nondistributable.v1.tar+gzip",
        OCI "layer.nondistributable.v1.tar+zstd",
        DOCKER "image.rootfs.diff.tar", DOCKER "image.rootfs.diff.tar.gzip", DOCKER "image.rootfs.diff.tar.zstd",
        DOCKER "image.rootfs.foreign.diff.tar", DOCKER "image.rootfs.foreign.diff.tar.gzip", NULL
};

void manifest_done(struct manifest *m)
{
        free(m->images);
        free(m->indexes);
        free(m->layers);
        *m = (struct manifest) MANIFEST_INIT;
}

static int read_descriptor(struct json_object *o, struct descriptor *ret, struct cringle_err *err)
{
        const char *digest = NULL, *type = "";
        int64_t size = -1;

        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "a descriptor is no object");
        if (json_get_string(o, "digest", &digest, err) < 0 || json_get_string(o, "mediaType", &type, err) < 0 ||
            json_get_int(o, "size", &size, err) < 0)
                return -1;
        if (!digest_valid(digest))
                return err_set(err, CRINGLE_E_INVALID,
                               "a digest is not sha256: and 64 lower-case hexadecimal digits");
        if (size < 0)
                return err_set(err, CRINGLE_E_INVALID, "a descriptor has no size");
        if (strlen(type) >= sizeof ret->media_type)
                return err_set(err, CRINGLE_E_INVALID, "a media type is too long");

        *ret = (struct descriptor) { .size = (uint64_t) size };
        memcpy(ret->digest, digest, DIGEST_LEN);
        memcpy(ret->media_type, type, strlen(type));
        return 0;
}

/* --- platforms --------------------------------------------------------- */

/* "v8" -> 8; none: @otherwise. */
static int variant_number(const char *variant, int otherwise)
{
        if (!variant || variant[0] != 'v' || variant[1] < '0' || variant[1] > '9')
                return otherwise;
        return atoi(variant + 1);
}

/* How well an image for @variant runs on ours: the nearest below is best.  -1: not at all. */
static int rank(const struct platform *ours, const char *os, const char *architecture, const char *variant)
{
        int base = 1, own, its;

        if (!str_equal(os, ours->os) || !str_equal(architecture, ours->architecture))
                return -1;
        if (strcmp(architecture, "arm64") == 0)
                base = 8;
        else if (strcmp(architecture, "arm") == 0)
                base = 7;
        own = variant_number(ours->variant, base);
        its = variant_number(variant, base);
        return its <= own ? its : -1;
}

/* --- indexes ----------------------------------------------------------- */

static int add_descriptor(struct descriptor **list, size_t *n, const struct descriptor *d, struct cringle_err *err)
{
        struct descriptor *grown = reallocarray(*list, *n + 1, sizeof *grown);

        if (!grown)
                return err_oom(err);
        grown[(*n)++] = *d;
        *list = grown;
        return 0;
}

static int read_index(struct json_object *o, const struct platform *ours, struct manifest *m, struct cringle_err *err)
{
        struct json_object *entries = NULL;
        int best = -1;

        m->kind = MANIFEST_INDEX;
        if (json_get_array(o, "manifests", &entries, err) < 0)
                return -1;
        if (!entries)
                return err_set(err, CRINGLE_E_INVALID, "an index without manifests");
        m->n_nodes = json_object_array_length(entries);
        if (m->n_nodes > MANIFEST_NODES_MAX)
                return err_set(err, CRINGLE_E_INVALID, "an index of more than %d entries", MANIFEST_NODES_MAX);

        for (size_t i = 0; i < m->n_nodes; i++) {
                struct json_object *entry = json_object_array_get_idx(entries, i), *platform = NULL;
                const char *os = NULL, *architecture = NULL, *variant = NULL;
                struct descriptor d;
                int r;

                if (read_descriptor(entry, &d, err) < 0 || json_get_object(entry, "platform", &platform, err) < 0)
                        return -1;
                if (platform && (json_get_string(platform, "os", &os, err) < 0 ||
                                 json_get_string(platform, "architecture", &architecture, err) < 0 ||
                                 json_get_string(platform, "variant", &variant, err) < 0))
                        return -1;

                r = platform ? rank(ours, os, architecture, variant) : 0;
                if (r < 0)
                        continue;       /* another machine's, or unknown/unknown: an attestation */
                if (strv_has(index_types, d.media_type)) {
                        if (add_descriptor(&m->indexes, &m->n_indexes, &d, err) < 0)
                                return -1;
                } else if (strv_has(image_types, d.media_type) && r > best) {
                        m->n_images = 0;
                        if (add_descriptor(&m->images, &m->n_images, &d, err) < 0)
                                return -1;
                        best = r;
                }
        }
        return 0;
}

/* --- images ------------------------------------------------------------ */

static int read_image(struct json_object *o, struct manifest *m, struct cringle_err *err)
{
        struct json_object *config = NULL, *layers = NULL;
        size_t n;

        m->kind = MANIFEST_IMAGE;
        if (json_get_object(o, "config", &config, err) < 0 || json_get_array(o, "layers", &layers, err) < 0)
                return -1;
        if (!config || !layers)
                return err_set(err, CRINGLE_E_INVALID, "a manifest without config or layers");
        if (read_descriptor(config, &m->config, err) < 0)
                return err_wrap(err, "config");
        if (!strv_has(config_types, m->config.media_type))
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "not an image: its config is of type '%s'",
                               m->config.media_type);
        if (m->config.size > PULL_CONFIG_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "the config is larger than %d bytes", PULL_CONFIG_MAX);

        n = json_object_array_length(layers);
        if (n > PULL_LAYERS_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "more than %d layers", PULL_LAYERS_MAX);
        m->layers = calloc(n + 1, sizeof *m->layers);
        if (!m->layers)
                return err_oom(err);
        for (size_t i = 0; i < n; i++) {
                struct descriptor *d = m->layers + i;

                if (read_descriptor(json_object_array_get_idx(layers, i), d, err) < 0)
                        return err_wrap(err, "layer %zu", i);
                if (!strv_has(layer_types, d->media_type))
                        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "layer %zu is of type '%s'", i, d->media_type);
                m->n_layers++;
        }
        return 0;
}

/* --- what is it -------------------------------------------------------- */

/* The media type in @header without parameters, if it is one that says anything. */
static char *plain_type(const char *header, struct cringle_err *err)
{
        size_t n = header ? strcspn(header, "; \t") : 0;
        char *type = str_printf(err, "%.*s", (int) (n < 200 ? n : 200), header ? header : "");

        for (char *p = type; p && *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char) (*p - 'A' + 'a');
        if (type && !strv_has(index_types, type) && !strv_has(image_types, type) && !strstr(type, "manifest.v1"))
                type[0] = '\0';
        return type;
}

static int judge(struct json_object *o, const char *content_type, const char *expected, enum manifest_kind *ret,
                 struct cringle_err *err)
{
        bool has_layers = json_object_object_get(o, "layers") || json_object_object_get(o, "config");
        bool has_manifests = json_object_object_get(o, "manifests");
        auto_free char *header = plain_type(content_type, err);
        const char *own = NULL, *type;
        int64_t version = 0;

        if (!header)
                return -1;
        if (json_get_int(o, "schemaVersion", &version, err) < 0 || json_get_string(o, "mediaType", &own, err) < 0)
                return -1;
        if (version == 1)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "a Docker schema 1 manifest: push the image anew");
        if (version != 2)
                return err_set(err, CRINGLE_E_INVALID, "schemaVersion is not 2");
        if (has_layers && has_manifests)
                return err_set(err, CRINGLE_E_INVALID, "both a manifest and an index");

        if (!str_empty(own) && *header && strcmp(own, header) != 0)
                return err_set(err, CRINGLE_E_INVALID, "says it is '%.100s', was sent as '%s'", own, header);
        if (!str_empty(own) && !str_empty(expected) && strcmp(own, expected) != 0)
                return err_set(err, CRINGLE_E_INVALID, "says it is '%.100s', its index says '%s'", own, expected);

        type = !str_empty(expected) ? expected : !str_empty(own) ? own : header;
        if (strv_has(index_types, type) || (!*type && has_manifests))
                *ret = MANIFEST_INDEX;
        else if (strv_has(image_types, type) || (!*type && has_layers))
                *ret = MANIFEST_IMAGE;
        else
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "neither manifest nor index, but '%.100s'", type);
        if ((*ret == MANIFEST_INDEX && has_layers) || (*ret == MANIFEST_IMAGE && has_manifests))
                return err_set(err, CRINGLE_E_INVALID, "content of another kind than its media type");
        return 0;
}

int manifest_parse(const char *text, size_t n, const char *content_type, const char *expected,
                   const struct platform *platform, struct manifest *ret, struct cringle_err *err)
{
        auto_manifest m = MANIFEST_INIT;
        auto_json o = NULL;
        enum manifest_kind kind;

        if (json_parse(text, n, &o, err) < 0)
                return -1;
        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "not a JSON object");
        if (judge(o, content_type, expected, &kind, err) < 0)
                return -1;
        if ((kind == MANIFEST_INDEX ? read_index(o, platform, &m, err) : read_image(o, &m, err)) < 0)
                return -1;

        *ret = m;
        m = (struct manifest) MANIFEST_INIT;
        return 0;
}

int manifest_config(const char *text, size_t n_text, size_t n, char (**ret)[72], struct cringle_err *err)
{
        struct json_object *rootfs = NULL, *ids = NULL;
        auto_free char (*list)[72] = calloc(n + 1, sizeof *list);
        const char *type = NULL;
        auto_json o = NULL;

        if (!list)
                return err_oom(err);
        if (json_parse(text, n_text, &o, err) < 0)
                return -1;
        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "not a JSON object");
        if (json_get_object(o, "rootfs", &rootfs, err) < 0)
                return -1;
        if (rootfs && (json_get_array(rootfs, "diff_ids", &ids, err) < 0 ||
                       json_get_string(rootfs, "type", &type, err) < 0))
                return -1;
        if (type && strcmp(type, "layers") != 0)
                return err_set(err, CRINGLE_E_INVALID, "rootfs.type is not layers");
        if ((ids ? json_object_array_length(ids) : 0) != n)
                return err_set(err, CRINGLE_E_INVALID, "it has %zu diff_ids, the manifest %zu layers",
                               ids ? json_object_array_length(ids) : 0, n);

        for (size_t i = 0; i < n; i++) {
                struct json_object *id = json_object_array_get_idx(ids, i);
                const char *s = json_object_is_type(id, json_type_string) ? json_object_get_string(id) : NULL;

                if (!digest_valid(s))
                        return err_set(err, CRINGLE_E_INVALID, "diff_id %zu is no digest", i);
                memcpy(list[i], s, DIGEST_LEN);
        }
        *ret = steal(&list);
        return 0;
}
