/* Times are written as RFC 3339 says; durations are read whole. */

#include "tests/support/unit.h"

#include "agent/base/clock.h"

static void a_time_is_written_with_nine_digits_in_utc(void **state)
{
        char text[CLOCK_TEXT_MAX];

        clock_text(0, text);
        assert_string_equal(text, "1970-01-01T00:00:00.000000000Z");
        clock_text(INT64_C(951782400) * NSEC_PER_SEC + 5, text);
        assert_string_equal(text, "2000-02-29T00:00:00.000000005Z");
        clock_text(INT64_C(1795299864) * NSEC_PER_SEC + 123456789, text);
        assert_string_equal(text, "2026-11-21T22:24:24.123456789Z");
}

static void durations_are_read_whole_or_refused(void **state)
{
        assert_int_equal(clock_parse_duration("30s"), 30 * NSEC_PER_SEC);
        assert_int_equal(clock_parse_duration("1m30s"), 90 * NSEC_PER_SEC);
        assert_int_equal(clock_parse_duration("250ms"), 250 * NSEC_PER_MSEC);
        assert_int_equal(clock_parse_duration("10"), 10 * NSEC_PER_SEC);
        assert_int_equal(clock_parse_duration("0"), 0);
        assert_int_equal(clock_parse_duration(""), -1);
        assert_int_equal(clock_parse_duration("-1s"), -1);
        assert_int_equal(clock_parse_duration("1x"), -1);
        assert_int_equal(clock_parse_duration("99999999999999999999h"), -1);
}

UNIT_MAIN(
        cmocka_unit_test(a_time_is_written_with_nine_digits_in_utc),
        cmocka_unit_test(durations_are_read_whole_or_refused))
