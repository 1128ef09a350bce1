/*
 * Files of cgroups that are kept open: plain files where that will do, a real cgroup for
 * what only the kernel says.
 */

#include "tests/support/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "cgroup/kept.h"

struct world {
        char *dir;
        int tree;
        struct kept *kept;
};

static int setup_with(void **state, size_t max)
{
        struct world *w = calloc(1, sizeof *w);

        w->dir = unit_make_dir();
        w->tree = open(w->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        *state = w;
        return mkdirat(w->tree, "pod", 0755) < 0 || kept_new(max, &w->kept, unit_err()) < 0 ? -1 : 0;
}

static int setup(void **state)
{
        return setup_with(state, 100);
}

static int setup_one(void **state)
{
        return setup_with(state, 1);
}

static int teardown(void **state)
{
        struct world *w = *state;

        kept_free(w->kept);
        unlinkat(w->tree, "pod/a", 0);
        unlinkat(w->tree, "pod/b", 0);
        unlinkat(w->tree, "pod", AT_REMOVEDIR);
        close(w->tree);
        rmdir(w->dir);
        free(w->dir);
        free(w);
        return 0;
}

static void write_text(struct world *w, const char *file, const char *text)
{
        auto_fd int fd = openat(w->tree, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static size_t open_files(void)
{
        DIR *list = opendir("/proc/self/fd");
        size_t n = 0;

        while (readdir(list))
                n++;
        closedir(list);
        return n;
}

/* One look at pod/@file, as a number; -1: there is none. */
static long look(struct world *w, const char *file)
{
        struct kept_cgroup *c = kept_take(w->kept, "pod", unit_err());
        char text[32] = "";
        ssize_t n;

        assert_non_null(c);
        n = kept_read(c, w->tree, file, text, sizeof text - 1);
        kept_give(w->kept, c);
        return n < 0 ? -1 : strtol(text, NULL, 10);
}

static void each_look_sees_what_is_there_now(void **state)
{
        assert_int_equal(look(*state, "a"), -1);
        write_text(*state, "pod/a", "1");
        assert_int_equal(look(*state, "a"), 1);
        write_text(*state, "pod/a", "22");
        assert_int_equal(look(*state, "a"), 22);
}

static void a_file_is_opened_once_and_closed_when_forgotten(void **state)
{
        struct world *w = *state;
        size_t before = open_files();

        write_text(w, "pod/a", "1");
        write_text(w, "pod/b", "2");
        look(w, "a");
        look(w, "b");
        look(w, "a");
        assert_int_equal(open_files(), before + 2);
        kept_forget(w->kept, "pod");
        assert_int_equal(open_files(), before);
        assert_int_equal(look(w, "b"), 2);
}

static void forgetting_waits_for_a_look(void **state)
{
        struct world *w = *state;
        struct kept_cgroup *c = kept_take(w->kept, "pod", unit_err());
        char text[8] = "";

        write_text(w, "pod/a", "1");
        kept_forget(w->kept, "pod");
        assert_int_equal(kept_read(c, w->tree, "a", text, sizeof text), 1);
        kept_give(w->kept, c);
}

static void what_is_beyond_the_limit_is_read_but_not_kept(void **state)
{
        struct world *w = *state;
        size_t before = open_files();

        write_text(w, "pod/a", "1");
        write_text(w, "pod/b", "2");
        for (int i = 0; i < 3; i++) {
                assert_int_equal(look(w, "a"), 1);
                assert_int_equal(look(w, "b"), 2);
        }
        assert_int_equal(open_files(), before + 1);
}

/* The name may be taken again at once. */
static void a_removed_cgroup_is_told_from_the_next_of_its_name(void **state)
{
        static const char *const trees[] = { "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
        struct world *w = *state;
        auto_free char *name = str_printf(unit_err(), "cringle-kept-%d", getpid());
        auto_fd int tree = -1;
        struct kept_cgroup *c;
        char text[32];

        for (size_t i = 0; i < sizeof trees / sizeof *trees && tree < 0; i++) {
                auto_free char *procs = str_printf(unit_err(), "%s/cgroup.procs", trees[i]);

                if (file_exists(procs))
                        tree = open(trees[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        if (tree < 0 || mkdirat(tree, name, 0755) < 0)
                skip();                 /* no cgroup can be made here */

        c = kept_take(w->kept, name, unit_err());
        assert_int_equal(kept_read(c, tree, "cgroup.procs", text, sizeof text), 0);
        assert_false(kept_give(w->kept, c));
        assert_int_equal(unlinkat(tree, name, AT_REMOVEDIR), 0);
        assert_int_equal(mkdirat(tree, name, 0755), 0);

        c = kept_take(w->kept, name, unit_err());
        assert_int_equal(kept_read(c, tree, "cgroup.procs", text, sizeof text), -1);
        assert_int_equal(errno, ENODEV);
        assert_true(kept_give(w->kept, c));
        c = kept_take(w->kept, name, unit_err());
        assert_int_equal(kept_read(c, tree, "cgroup.procs", text, sizeof text), 0);
        assert_false(kept_give(w->kept, c));
        unlinkat(tree, name, AT_REMOVEDIR);
}

#define KEPT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        KEPT_TEST(each_look_sees_what_is_there_now),
        KEPT_TEST(a_file_is_opened_once_and_closed_when_forgotten),
        KEPT_TEST(forgetting_waits_for_a_look),
        cmocka_unit_test_setup_teardown(what_is_beyond_the_limit_is_read_but_not_kept, setup_one, teardown),
        KEPT_TEST(a_removed_cgroup_is_told_from_the_next_of_its_name))
