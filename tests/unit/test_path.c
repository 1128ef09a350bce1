/* A path below a root never leads out of it, whatever links stand in the way. */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/path.h"

struct tree {
        char *dir;
        int root;
};

static int setup(void **state)
{
        struct tree *t = calloc(1, sizeof *t);
        char path[128];

        t->dir = unit_make_dir();
        snprintf(path, sizeof path, "%s/root/real", t->dir);
        file_make_dirs(path, 0755, NULL);
        snprintf(path, sizeof path, "%s/outside", t->dir);
        file_make_dirs(path, 0755, NULL);
        snprintf(path, sizeof path, "%s/root", t->dir);
        t->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        *state = t;
        return symlinkat("../outside", t->root, "up") || symlinkat("/real", t->root, "absolute") ||
               symlinkat(t->dir, t->root, "host");
}

static int teardown(void **state)
{
        struct tree *t = *state;

        close(t->root);
        file_remove_tree(t->dir, NULL);
        free(t->dir);
        free(t);
        return 0;
}

static bool outside_is_empty(const struct tree *t)
{
        char path[128];

        snprintf(path, sizeof path, "%s/outside", t->dir);
        return rmdir(path) == 0 && mkdir(path, 0755) == 0;
}

static void links_out_of_the_root_end_inside_it(void **state)
{
        struct tree *t = *state;
        int fd;

        assert_int_equal(path_open(t->root, "up", O_PATH | O_DIRECTORY, 0, unit_err()), -1);
        assert_int_equal(path_open(t->root, "host/outside", O_PATH, 0, unit_err()), -1);
        assert_int_equal(path_make_dirs(t->root, "up/new", 0755, unit_err()), -1);
        assert_int_equal(path_mount_point(t->root, "../../outside/x", false, unit_err()) >= 0, true);
        assert_true(outside_is_empty(t));

        fd = path_open(t->root, "absolute", O_PATH | O_DIRECTORY, 0, unit_err());
        assert_true(fd >= 0);
        close(fd);
}

static void a_mount_point_is_made_as_what_it_must_be(void **state)
{
        struct tree *t = *state;
        struct stat st;
        int fd = path_mount_point(t->root, "/a/b/file", false, unit_err());

        assert_true(fd >= 0);
        fstat(fd, &st);
        assert_true(S_ISREG(st.st_mode));
        close(fd);
        assert_int_equal(path_mount_point(t->root, "/a/b/file", true, unit_err()), -1);

        fd = path_mount_point(t->root, "/absolute/dir", true, unit_err());
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(fstatat(t->root, "real/dir", &st, AT_SYMLINK_NOFOLLOW), 0);
}

static void clean_paths_are_told_from_others(void **state)
{
        assert_true(path_is_clean("/"));
        assert_true(path_is_clean("/a/b.c"));
        assert_false(path_is_clean("a"));
        assert_false(path_is_clean("/a/"));
        assert_false(path_is_clean("/a//b"));
        assert_false(path_is_clean("/a/../b"));
        assert_false(path_is_clean("/."));
}

UNIT_MAIN(
        cmocka_unit_test_setup_teardown(links_out_of_the_root_end_inside_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mount_point_is_made_as_what_it_must_be, setup, teardown),
        cmocka_unit_test(clean_paths_are_told_from_others))
