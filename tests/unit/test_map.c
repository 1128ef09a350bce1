/* A map finds what was put, whatever else was put and taken. */

#include "tests/support/unit.h"

#include "agent/base/map.h"

static void what_was_put_is_found_until_it_is_taken(void **state)
{
        struct map m = MAP_INIT;
        char key[32];

        for (intptr_t i = 1; i <= 1000; i++) {
                snprintf(key, sizeof key, "key-%d", (int) i);
                assert_ok(map_put(&m, key, (void *) i, unit_err()), unit_err());
        }
        for (intptr_t i = 1; i <= 1000; i += 3) {
                snprintf(key, sizeof key, "key-%d", (int) i);
                assert_ptr_equal(map_take(&m, key), (void *) i);
        }
        for (intptr_t i = 1; i <= 1000; i++) {
                snprintf(key, sizeof key, "key-%d", (int) i);
                assert_ptr_equal(map_get(&m, key), i % 3 == 1 ? NULL : (void *) i);
        }
        map_done(&m, NULL);
}

static void iteration_meets_every_key_once(void **state)
{
        struct map m = MAP_INIT;
        size_t at = 0, n = 0;
        const char *key;
        void *value;

        map_put(&m, "a", (void *) 1, unit_err());
        map_put(&m, "b", (void *) 2, unit_err());
        map_put(&m, "a", (void *) 4, unit_err());
        while (map_next(&m, &at, &key, &value))
                n += (size_t) value;
        assert_int_equal(n, 6);
        map_done(&m, NULL);
}

static void an_empty_map_answers(void **state)
{
        struct map m = MAP_INIT;

        assert_null(map_get(&m, "x"));
        assert_null(map_take(&m, "x"));
        map_done(&m, free);
}

UNIT_MAIN(
        cmocka_unit_test(what_was_put_is_found_until_it_is_taken),
        cmocka_unit_test(iteration_meets_every_key_once),
        cmocka_unit_test(an_empty_map_answers))
