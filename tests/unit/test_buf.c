/* A buffer grows, ends with a NUL, and gives up its bytes. */

#include "tests/support/unit.h"

#include "agent/base/buf.h"

static void appended_bytes_stand_in_order_before_a_nul(void **state)
{
        auto_buf b = BUF_INIT;

        assert_ok(buf_add_str(&b, "one ", unit_err()), unit_err());
        assert_ok(buf_printf(&b, unit_err(), "%d %0100d", 2, 3), unit_err());
        assert_int_equal(b.len, 106);
        assert_int_equal(b.data[b.len], '\0');
        assert_memory_equal(b.data, "one 2 000", 9);

        buf_drop(&b, 4);
        assert_memory_equal(b.data, "2 000", 5);
        buf_drop(&b, 1000);
        assert_int_equal(b.len, 0);
}

static void an_impossible_size_is_refused(void **state)
{
        auto_buf b = BUF_INIT;

        assert_int_equal(buf_reserve(&b, SIZE_MAX - 1, unit_err()), -1);
        assert_int_equal(b.room, 0);
}

static void stolen_bytes_are_never_null(void **state)
{
        struct buf b = BUF_INIT;
        auto_free char *text = buf_steal(&b);

        assert_string_equal(text, "");
}

UNIT_MAIN(
        cmocka_unit_test(appended_bytes_stand_in_order_before_a_nul),
        cmocka_unit_test(an_impossible_size_is_refused),
        cmocka_unit_test(stolen_bytes_are_never_null))
