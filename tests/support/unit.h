#pragma once

/*
 * What a unit test needs: cmocka with its prerequisites, a scratch error, a main
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/err.h"

/* An empty error for a call whose failure the test sees by its result; shared. */
static inline struct cringle_err *unit_err(void)
{
        static struct cringle_err err;

        err = (struct cringle_err) CRINGLE_ERR_INIT;
        return &err;
}

/* That @call succeeds; if not, the test fails with the error's text. */
#define assert_ok(call, err)                                            \
        do {                                                            \
                if ((call) < 0)                                         \
                        fail_msg("%s: %s", #call, (err)->text);         \
        } while (0)

/* That @text contains @part. */
#define assert_contains(text, part)                                                     \
        do {                                                                            \
                if (!strstr((text), (part)))                                            \
                        fail_msg("'%s' does not contain '%s'", (text), (part));         \
        } while (0)

/* A fresh directory below /tmp. */
static inline char *unit_make_dir(void)
{
        char *path = strdup("/tmp/cringle-unit.XXXXXX");

        if (!path || !mkdtemp(path))
                abort();
        return path;
}

#define UNIT_MAIN(...)                                                  \
        int main(int argc, char **argv)                                 \
        {                                                               \
                const struct CMUnitTest tests[] = { __VA_ARGS__ };      \
                                                                        \
                if (argc > 1)                                           \
                        cmocka_set_test_filter(argv[1]);                \
                return cmocka_run_group_tests(tests, NULL, NULL);       \
        }
