/* Numbers and ids are read whole or not at all. */

#include "tests/support/unit.h"

#include "agent/base/id.h"
#include "agent/base/str.h"

static void only_whole_decimal_numbers_are_ids(void **state)
{
        static const char *const bad[] = { "", "+1", " 1", "1 ", "0x1", "-1", "1:", "4294967295", "4294967296",
                                           "99999999999999999999", "root" };
        uint32_t id;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                id = 7;
                assert_int_equal(str_id(bad[i], &id, unit_err()), -1);
                assert_int_equal(id, 7);
        }
        assert_ok(str_id("4294967294", &id, unit_err()), unit_err());
        assert_int_equal(id, 4294967294u);
        assert_ok(str_id("0", &id, unit_err()), unit_err());
        assert_int_equal(id, 0);
}

static void names_that_could_leave_a_directory_are_no_ids(void **state)
{
        assert_true(str_is_id("web-1.a_b", 64));
        assert_false(str_is_id("a/b", 64));
        assert_false(str_is_id("..", 64));
        assert_false(str_is_id("a..b", 64));
        assert_false(str_is_id("", 64));
        assert_false(str_is_id("-a", 64));
        assert_false(str_is_id("abcde", 4));
        assert_false(str_is_id("a\nb", 64));
}

static void near_words_are_near(void **state)
{
        assert_int_equal(str_distance("mirror", "miror", 3), 1);
        assert_int_equal(str_distance("abc", "abc", 3), 0);
        assert_int_equal(str_distance("abc", "xyzzy", 3), 4);
        assert_int_equal(str_distance("abc", "xyzzy", 9), 5);
        assert_int_equal(str_distance("abc", "abcdef", 2), 3);
        assert_int_equal(str_distance("abc", "abcdef", 3), 3);
        assert_int_equal(str_distance("xxxabc", "abcxxx", 5), 6);
        assert_int_equal(str_distance("", "", 0), 0);
}

static void what_is_no_utf8_becomes_question_marks(void **state)
{
        static const struct {
                const char *from, *to;
        } table[] = {
                { "", "" }, { "plain\n", "plain\n" }, { "z\xc3\xa4h", "z\xc3\xa4h" },
                { "\xe6\x97\xa5 \xf0\x9f\xaa\xa2", "\xe6\x97\xa5 \xf0\x9f\xaa\xa2" },
                { "a\xff""b", "a?b" }, { "\xc3", "?" }, { "\xc3(", "?(" }, { "\xe6\x97", "??" }, { "\x80", "?" },
                { "\xc0\xaf", "??" }, { "\xe0\x80\xaf", "???" }, { "\xed\xa0\x80", "???" },
                { "\xf0\x80\x80\x80", "????" }, { "\xf4\x90\x80\x80", "????" }, { "\xf5\x80\x80\x80", "????" },
                { "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" }, { "\xf0\x9f\xaa", "???" },
        };

        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                auto_free char *text = strdup(table[i].from);

                str_make_utf8(text);
                assert_string_equal(text, table[i].to);
        }
}

static void lists_grow_and_copy(void **state)
{
        auto_strv list = NULL;
        auto_strv copy = NULL;

        assert_ok(strv_add(&list, "a", unit_err()), unit_err());
        assert_ok(strv_add(&list, "b", unit_err()), unit_err());
        copy = strv_copy((const char *const *) list, unit_err());
        assert_int_equal(strv_count((const char *const *) copy), 2);
        assert_true(strv_has((const char *const *) copy, "b"));
        assert_false(strv_has(NULL, "b"));
}

static void fresh_ids_are_valid_and_differ(void **state)
{
        char a[ID_LEN + 1], b[ID_LEN + 1];

        id_make(a);
        id_make(b);
        assert_true(id_valid(a));
        assert_string_not_equal(a, b);
        a[3] = 'G';
        assert_false(id_valid(a));
}

static void octal_escapes_are_undone(void **state)
{
        char text[] = "/a\\040b\\134c\\0", plain[] = "/data";

        str_undo_octal(text);
        assert_string_equal(text, "/a b\\c\\0");
        str_undo_octal(plain);
        assert_string_equal(plain, "/data");
}

UNIT_MAIN(
        cmocka_unit_test(only_whole_decimal_numbers_are_ids),
        cmocka_unit_test(names_that_could_leave_a_directory_are_no_ids),
        cmocka_unit_test(near_words_are_near),
        cmocka_unit_test(what_is_no_utf8_becomes_question_marks),
        cmocka_unit_test(octal_escapes_are_undone),
        cmocka_unit_test(lists_grow_and_copy),
        cmocka_unit_test(fresh_ids_are_valid_and_differ))
