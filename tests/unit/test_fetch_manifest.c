/* A document is what it says and what it was sent as, or it is refused; the platform's best image is found. */

#include "tests/support/unit.h"

#include "agent/pull/manifest.h"

#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_IMAGE "application/vnd.oci.image.manifest.v1+json"
#define DOCKER_IMAGE "application/vnd.docker.distribution.manifest.v2+json"
#define D(c) "sha256:" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c \
                       c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c

#define IMAGE(more)                                                                             \
        "{\"schemaVersion\":2," more                                                            \
        "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" D("1") "\",\"size\":5}," \
        "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+zstd\",\"digest\":\"" D("2") "\",\"size\":7}]}"

#define ENTRY(digit, os, architecture, variant)                                                 \
        "{\"mediaType\":\"" OCI_IMAGE "\",\"digest\":\"" D(digit) "\",\"size\":1,\"platform\":{\"os\":\"" os     \
        "\",\"architecture\":\"" architecture "\",\"variant\":\"" variant "\"}}"

static const struct platform amd64 = { "linux", "amd64", NULL };

static int parse(const char *text, const char *content_type, const char *expected, const struct platform *platform,
                 struct manifest *ret)
{
        return manifest_parse(text, strlen(text), content_type, expected, platform, ret, unit_err());
}

static void an_image_is_read_under_every_way_to_name_its_type(void **state)
{
        static const char *const types[] = { OCI_IMAGE, OCI_IMAGE "; charset=utf-8", NULL, "application/json", "text/plain" };

        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
                auto_manifest m = MANIFEST_INIT;

                assert_ok(parse(IMAGE(""), types[i], NULL, &amd64, &m), unit_err());
                assert_int_equal(m.kind, MANIFEST_IMAGE);
                assert_int_equal(m.n_layers, 1);
                assert_string_equal(m.layers[0].digest, D("2"));
                assert_string_equal(m.config.digest, D("1"));
        }
}

static void a_document_of_two_kinds_is_refused(void **state)
{
        static const struct { const char *text, *type, *expected; } bad[] = {
                { IMAGE("\"manifests\":[],"), OCI_IMAGE, NULL },
                { IMAGE("\"manifests\":[],"), OCI_INDEX, NULL },
                { IMAGE(""), OCI_INDEX, NULL },
                { IMAGE(""), OCI_IMAGE, OCI_INDEX },
                { IMAGE("\"mediaType\":\"" DOCKER_IMAGE "\","), OCI_IMAGE, NULL },
                { IMAGE("\"mediaType\":\"" DOCKER_IMAGE "\","), NULL, OCI_IMAGE },
                { IMAGE("\"mediaType\":\"text/html\","), NULL, NULL },
                { "{\"schemaVersion\":2,\"manifests\":[]}", OCI_IMAGE, NULL },
                { "{\"schemaVersion\":2,\"manifests\":{}}", OCI_INDEX, NULL },
                { "{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, NULL },
        };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                auto_manifest m = MANIFEST_INIT;

                if (parse(bad[i].text, bad[i].type, bad[i].expected, &amd64, &m) == 0)
                        fail_msg("%zu was accepted", i);
        }
}

static void best(const char *text, const struct platform *platform, const char *digest)
{
        auto_manifest m = MANIFEST_INIT;

        assert_ok(parse(text, OCI_INDEX, NULL, platform, &m), unit_err());
        assert_int_equal(m.n_images, digest ? 1 : 0);
        if (digest)
                assert_string_equal(m.images[0].digest, digest);
}

static void the_nearest_variant_below_ours_is_chosen(void **state)
{
        static const char arm[] = "{\"schemaVersion\":2,\"manifests\":[" ENTRY("a", "linux", "arm", "v5") ","
                ENTRY("b", "linux", "arm", "v7") "," ENTRY("c", "linux", "arm", "v6") "," ENTRY("d", "linux", "arm64", "v8") ","
                ENTRY("e", "unknown", "unknown", "") "," ENTRY("f", "linux", "amd64", "v3") "," ENTRY("9", "linux", "amd64", "") "]}";

        best(arm, &(struct platform) { "linux", "arm", "v7" }, D("b"));
        best(arm, &(struct platform) { "linux", "arm", "v6" }, D("c"));
        best(arm, &(struct platform) { "linux", "arm", NULL }, D("b"));
        best(arm, &(struct platform) { "linux", "arm64", NULL }, D("d"));
        best(arm, &amd64, D("9"));
        best(arm, &(struct platform) { "linux", "amd64", "v4" }, D("f"));
        best(arm, &(struct platform) { "linux", "s390x", NULL }, NULL);
        best(arm, &(struct platform) { "windows", "amd64", NULL }, NULL);
}

static void a_config_has_a_diff_id_for_each_layer(void **state)
{
        static const char good[] = "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D("3") "\"]},\"history\":null}";
        static const char *const bad[] = {
                "{}", "{\"rootfs\":null}", "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
                "{\"rootfs\":{\"type\":\"other\",\"diff_ids\":[\"" D("3") "\"]}}", "{\"rootfs\":{\"diff_ids\":[7]}}",
                "{\"rootfs\":{\"diff_ids\":[\"sha256:../../x\"]}}", "{\"rootfs\":{\"diff_ids\":\"" D("3") "\"}}", "[]", "",
        };
        char (*ids)[72] = NULL;

        assert_ok(manifest_config(good, strlen(good), 1, &ids, unit_err()), unit_err());
        assert_string_equal(ids[0], D("3"));
        free(ids);
        assert_int_equal(manifest_config(good, strlen(good), 2, &ids, NULL), -1);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(manifest_config(bad[i], strlen(bad[i]), 1, &ids, NULL), -1);
        assert_int_equal(manifest_config("{}", 2, 0, &ids, unit_err()), 0);
        free(ids);
}

UNIT_MAIN(
        cmocka_unit_test(an_image_is_read_under_every_way_to_name_its_type),
        cmocka_unit_test(a_document_of_two_kinds_is_refused),
        cmocka_unit_test(the_nearest_variant_below_ours_is_chosen),
        cmocka_unit_test(a_config_has_a_diff_id_for_each_layer))
