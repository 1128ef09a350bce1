/* A percentile is a value that was measured, and leaves as many above it as it says. */

#include "tests/support/unit.h"

#include "e2e/tools/samples.h"

/* 1 .. n, in an order that is not theirs. */
static struct samples up_to(int64_t n)
{
        struct samples s = { 0 };

        for (int64_t i = 0; i < n; i++)
                assert_ok(samples_add(&s, (i * 7919) % n + 1, unit_err()), unit_err());
        return s;
}

static void percentiles_are_nearest_ranks(void **state)
{
        struct samples s = up_to(100);

        assert_int_equal(samples_percentile(&s, 50), 50);
        assert_int_equal(samples_percentile(&s, 99), 99);
        assert_int_equal(samples_percentile(&s, 1), 1);
        samples_done(&s);

        s = up_to(50);
        assert_int_equal(samples_percentile(&s, 50), 25);
        assert_int_equal(samples_percentile(&s, 99), 50);
        assert_int_equal(samples_percentile(&s, 2), 1);
        assert_int_equal(samples_percentile(&s, 3), 2);
        samples_done(&s);
}

static void the_ends_are_least_and_greatest(void **state)
{
        struct samples s = up_to(1000);

        assert_int_equal(samples_percentile(&s, 0), 1);
        assert_int_equal(samples_percentile(&s, -5), 1);
        assert_int_equal(samples_percentile(&s, 100), 1000);
        assert_int_equal(samples_percentile(&s, 500), 1000);
        samples_done(&s);
}

static void one_value_is_every_percentile(void **state)
{
        struct samples s = { 0 };

        assert_ok(samples_add(&s, -42, unit_err()), unit_err());
        for (int percent = 0; percent <= 100; percent++)
                assert_int_equal(samples_percentile(&s, percent), -42);
        samples_done(&s);
}

static void an_empty_set_says_nothing(void **state)
{
        struct samples s = { 0 };

        assert_int_equal(samples_percentile(&s, 50), 0);
        samples_done(&s);
        assert_null(s.values);
}

static void values_far_apart_are_ordered(void **state)
{
        struct samples s = { 0 };
        const int64_t values[] = { INT64_MAX, INT64_MIN, 0, -1, 1 };

        for (size_t i = 0; i < 5; i++)
                assert_ok(samples_add(&s, values[i], unit_err()), unit_err());
        assert_true(samples_percentile(&s, 0) == INT64_MIN);
        assert_true(samples_percentile(&s, 50) == 0);
        assert_true(samples_percentile(&s, 100) == INT64_MAX);
        samples_done(&s);
}

static void more_may_come_after_a_question(void **state)
{
        struct samples s = up_to(10);

        assert_int_equal(samples_percentile(&s, 100), 10);
        assert_ok(samples_add(&s, 11, unit_err()), unit_err());
        assert_int_equal(samples_percentile(&s, 100), 11);
        assert_int_equal(samples_percentile(&s, 0), 1);
        samples_done(&s);
}

UNIT_MAIN(
        cmocka_unit_test(percentiles_are_nearest_ranks),
        cmocka_unit_test(the_ends_are_least_and_greatest),
        cmocka_unit_test(one_value_is_every_percentile),
        cmocka_unit_test(an_empty_set_says_nothing),
        cmocka_unit_test(values_far_apart_are_ordered),
        cmocka_unit_test(more_may_come_after_a_question))
