/* Files are replaced whole; trees go, and nothing beyond them. */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/str.h"

static int setup(void **state)
{
        *state = unit_make_dir();
        return 0;
}

static int teardown(void **state)
{
        int r = file_remove_tree(*state, unit_err());

        free(*state);
        return r;
}

static void a_replaced_file_has_the_new_content_and_leaves_nothing_beside_it(void **state)
{
        auto_free char *path = str_printf(NULL, "%s/file", (char *) *state);
        auto_buf b = BUF_INIT;
        struct stat st;

        assert_ok(file_replace(path, "old", 3, 0600, false, unit_err()), unit_err());
        assert_ok(file_replace(path, "fresh", 5, 0640, true, unit_err()), unit_err());
        assert_ok(file_read(path, 100, &b, unit_err()), unit_err());
        assert_string_equal(b.data, "fresh");
        stat(path, &st);
        assert_int_equal(st.st_mode & 0777, 0640);

        unlink(path);
        assert_int_equal(rmdir(*state), 0);
        assert_int_equal(mkdir(*state, 0700), 0);
}

static void a_file_over_the_limit_is_refused(void **state)
{
        auto_free char *path = str_printf(NULL, "%s/file", (char *) *state);
        auto_buf b = BUF_INIT;

        assert_ok(file_replace(path, "12345678", 8, 0600, false, unit_err()), unit_err());
        assert_int_equal(file_read(path, 7, &b, unit_err()), -1);
}

static void removing_a_deep_tree_follows_no_link(void **state)
{
        auto_free char *tree = str_printf(NULL, "%s/tree", (char *) *state);
        auto_free char *kept = str_printf(NULL, "%s/kept", (char *) *state);
        auto_fd int at = -1;

        assert_ok(file_make_dirs(tree, 0700, unit_err()), unit_err());
        assert_ok(file_replace(kept, "x", 1, 0600, false, unit_err()), unit_err());
        at = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; i < 500; i++) {
                int below;

                assert_int_equal(symlinkat(*state, at, "link"), 0);
                assert_int_equal(mkdirat(at, "d", 0700), 0);
                below = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                close(at);
                at = below;
        }
        assert_ok(file_remove_tree(tree, unit_err()), unit_err());
        assert_false(file_exists(tree));
        assert_true(file_exists(kept));
        assert_ok(file_remove_tree(tree, unit_err()), unit_err());
}

UNIT_MAIN(
        cmocka_unit_test_setup_teardown(a_replaced_file_has_the_new_content_and_leaves_nothing_beside_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_over_the_limit_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(removing_a_deep_tree_follows_no_link, setup, teardown))
