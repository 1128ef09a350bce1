/* JSON is read strictly, and getters tell absence from nonsense. */

#include "tests/support/unit.h"

#include "agent/base/json.h"
#include "agent/base/str.h"

static int parse(const char *text, struct json_object **ret)
{
        return json_parse(text, strlen(text), ret, unit_err());
}

static void nonsense_is_refused(void **state)
{
        static const char *const bad[] = { "", "{", "{\"a\":1}x", "[1,]", "['a']", "nul", "\"\xff\"", "[1] [2]" };
        auto_buf deep = BUF_INIT;
        struct json_object *o = NULL;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                if (parse(bad[i], &o) == 0)
                        fail_msg("'%s' was taken", bad[i]);

        for (int i = 0; i < 100000; i++)
                buf_add_str(&deep, "[", NULL);
        assert_int_equal(parse(deep.data, &o), -1);
}

static void getters_tell_absent_from_wrong(void **state)
{
        auto_json o = NULL;
        auto_strv list = NULL;
        const char *s = "unchanged";
        int64_t n;

        assert_int_equal(parse("{\"a\":\"x\",\"b\":7,\"c\":null,\"l\":[\"p\",\"q\"],\"z\":\"a\\u0000b\"} \n", &o), 0);
        assert_int_equal(json_get_string(o, "nothing", &s, unit_err()), 0);
        assert_int_equal(json_get_string(o, "c", &s, unit_err()), 0);
        assert_string_equal(s, "unchanged");
        assert_int_equal(json_get_string(o, "b", &s, unit_err()), -1);
        assert_int_equal(json_get_string(o, "z", &s, unit_err()), -1);
        assert_int_equal(json_get_string(o, "a", &s, unit_err()), 1);
        assert_int_equal(json_get_int(o, "b", &n, unit_err()), 1);
        assert_int_equal(n, 7);
        assert_int_equal(json_get_strv(o, "l", &list, unit_err()), 1);
        assert_string_equal(list[1], "q");
}

static void what_is_written_has_no_escaped_slash(void **state)
{
        auto_json o = json_object_new_object();
        auto_buf b = BUF_INIT;

        json_set_string(o, "path", "/a/b", NULL);
        json_set_bool(o, "yes", true, NULL);
        assert_ok(json_write(o, &b, unit_err()), unit_err());
        assert_string_equal(b.data, "{\"path\":\"/a/b\",\"yes\":true}");
}

UNIT_MAIN(
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(getters_tell_absent_from_wrong),
        cmocka_unit_test(what_is_written_has_no_escaped_slash))
