/* An image's configuration is read strictly, within bounds, and only for what it may say. */

#include "tests/support/unit.h"

#include "agent/base/buf.h"
#include "agent/base/str.h"
#include "agent/oci/image_config.h"

#define ID "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" ID "\"]}"

static int parse(const char *text, struct image_config **ret, struct cringle_err *err)
{
        return image_config_parse(text, strlen(text), ret, err);
}

static void everything_of_use_is_read(void **state)
{
        struct cringle_err *err = unit_err();
        auto_of(image_config) c = NULL;

        assert_ok(parse("{\"architecture\":\"arm64\",\"variant\":\"v8\",\"os\":\"linux\",\"created\":\"2026-01-01T00:00:00Z\","
                        "\"config\":{\"User\":\"web:www\",\"Env\":[\"A=1\",\"SECRET\"],\"Entrypoint\":[\"/e\"],"
                        "\"Cmd\":[\"a\",\"b\"],\"WorkingDir\":\"/srv\",\"StopSignal\":\"SIGQUIT\","
                        "\"Volumes\":{\"/data\":{},\"/../etc\":{}},\"Labels\":{\"a\":\"b\",\"c\":\"d\"}},"
                        "\"history\":[{\"created_by\":\"x\"}]," ROOTFS "}",
                        &c, err), err);
        assert_string_equal(c->architecture, "arm64");
        assert_string_equal(c->variant, "v8");
        assert_string_equal(c->os, "linux");
        assert_string_equal(c->created, "2026-01-01T00:00:00Z");
        assert_string_equal(c->user, "web:www");
        assert_string_equal(c->working_dir, "/srv");
        assert_string_equal(c->stop_signal, "SIGQUIT");
        assert_int_equal(strv_count((const char *const *) c->env), 2);
        assert_string_equal(c->entrypoint[0], "/e");
        assert_string_equal(c->cmd[1], "b");
        assert_int_equal(strv_count((const char *const *) c->volumes), 2);
        assert_int_equal(c->n_labels, 2);
        assert_int_equal(c->n_diff_ids, 1);
        assert_string_equal(c->diff_ids[0], ID);
}

static void little_is_enough(void **state)
{
        struct cringle_err *err = unit_err();
        auto_of(image_config) c = NULL;
        auto_of(image_config) d = NULL;

        assert_ok(parse("{\"config\":null,\"history\":null,\"rootfs\":{}}", &c, err), err);
        assert_string_equal(c->user, "");
        assert_null(c->env);
        assert_int_equal(c->n_diff_ids, 0);
        assert_ok(parse("{\"config\":{\"Entrypoint\":null,\"Volumes\":null,\"Labels\":null,\"Env\":null}," ROOTFS "}", &d, err),
                  err);
        assert_null(d->entrypoint);
}

static void wrong_shapes_are_refused(void **state)
{
        static const char *const table[] = {
                "", "[]", "7", "{}", "{\"rootfs\":7}",
                "{\"rootfs\":{\"diff_ids\":\"" ID "\"}}",
                "{\"rootfs\":{\"diff_ids\":[7]}}",
                "{\"rootfs\":{\"diff_ids\":[\"sha256:abc\"]}}",
                "{\"rootfs\":{\"diff_ids\":[\"sha512:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"]}}",
                "{\"rootfs\":{\"diff_ids\":[\"sha256:../../../../../../../../../../../../../../../../../../../../etc/x\"]}}",
                "{" ROOTFS ",\"config\":[]}",
                "{" ROOTFS ",\"config\":{\"User\":1000}}",
                "{" ROOTFS ",\"config\":{\"User\":\"a\\u0000b\"}}",
                "{" ROOTFS ",\"config\":{\"Env\":{}}}",
                "{" ROOTFS ",\"config\":{\"Env\":[null]}}",
                "{" ROOTFS ",\"config\":{\"Env\":[\"A=\\u0000\"]}}",
                "{" ROOTFS ",\"config\":{\"Cmd\":\"/bin/sh\"}}",
                "{" ROOTFS ",\"config\":{\"Labels\":{\"a\":7}}}",
                "{" ROOTFS ",\"config\":{\"Volumes\":[\"/x\"]}}",
                "{" ROOTFS ",\"os\":{}}",
                "{" ROOTFS "} trailing",
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                struct cringle_err *err = unit_err();
                auto_of(image_config) c = NULL;

                if (parse(table[i], &c, err) == 0)
                        fail_msg("accepted: %s", table[i]);
                assert_int_equal(err->code, CRINGLE_E_INVALID);
        }
}

/* @n entries of @entry between @before and @after. */
static int parse_many(const char *before, const char *entry, size_t n, const char *after)
{
        struct cringle_err *err = unit_err();
        auto_of(image_config) c = NULL;
        auto_buf text = BUF_INIT;

        assert_ok(buf_add_str(&text, before, err), err);
        for (size_t i = 0; i < n; i++)
                assert_ok(buf_printf(&text, err, "%s%s", i ? "," : "", entry), err);
        assert_ok(buf_add_str(&text, after, err), err);
        return image_config_parse(text.data, text.len, &c, unit_err());
}

static void counts_and_sizes_have_limits(void **state)
{
        auto_free char *big = calloc(1, IMAGE_CONFIG_MAX + 2);
        auto_of(image_config) c = NULL;

        assert_int_equal(parse_many("{\"rootfs\":{\"diff_ids\":[", "\"" ID "\"", 512, "]}}"), 0);
        assert_int_equal(parse_many("{\"rootfs\":{\"diff_ids\":[", "\"" ID "\"", 513, "]}}"), -1);
        assert_int_equal(parse_many("{" ROOTFS ",\"config\":{\"Env\":[", "\"A=1\"", 10000, "]}}"), 0);
        assert_int_equal(parse_many("{" ROOTFS ",\"config\":{\"Env\":[", "\"A=1\"", 10001, "]}}"), -1);
        assert_int_equal(parse_many("{" ROOTFS ",\"x\":", "[[[[[[[[", 40, ""), -1);

        memset(big, ' ', IMAGE_CONFIG_MAX + 1);
        memcpy(big, "{" ROOTFS "}", strlen("{" ROOTFS "}"));
        assert_int_equal(image_config_parse(big, IMAGE_CONFIG_MAX + 1, &c, unit_err()), -1);
        assert_int_equal(image_config_parse(big, IMAGE_CONFIG_MAX, &c, unit_err()), 0);
}

UNIT_MAIN(
        cmocka_unit_test(everything_of_use_is_read),
        cmocka_unit_test(little_is_enough),
        cmocka_unit_test(wrong_shapes_are_refused),
        cmocka_unit_test(counts_and_sizes_have_limits))
