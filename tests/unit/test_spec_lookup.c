/*
 * Users of an image are looked up by a confined process, whatever its files are
 *
 * The program is this test itself, started again with "lookup" as its argument.
 */

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/path.h"
#include "agent/image/lookup.h"
#include "agent/pull/modes.h"

struct image {
        char *dir;
        int fd;
};

static int setup(void **state)
{
        struct image *i = calloc(1, sizeof *i);

        if (!i)
                return -1;
        i->dir = unit_make_dir();
        i->fd = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = i;
        return i->fd < 0 || mkdirat(i->fd, "etc", 0755) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
        struct image *i = *state;

        close(i->fd);
        file_remove_tree(i->dir, unit_err());
        free(i->dir);
        free(i);
        return 0;
}

static void put(struct image *i, const char *path, const char *text, mode_t mode)
{
        int fd = openat(i->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

        assert_true(fd >= 0);
        assert_int_equal(file_write_fd(fd, text, strlen(text), unit_err()), 0);
        close(fd);
}

static int look_up(struct image *i, const char *who, struct oci_user **ret, struct cringle_err *err)
{
        int64_t before = clock_monotonic();
        int r = lookup_user("/proc/self/exe", i->fd, who, NULL, ret, err);

        assert_true(clock_monotonic() - before < 60 * NSEC_PER_SEC);
        return r;
}

static void a_user_is_found_with_home_and_groups(void **state)
{
        struct cringle_err *err = unit_err();
        auto_of(oci_user) u = NULL;

        /* Readable by root alone, which the process is no more when it reads. */
        put(*state, "etc/passwd", "web:x:33:44::/srv/web:\n", 0600);
        put(*state, "etc/group", "media:x:100:web\n", 0600);
        assert_ok(look_up(*state, "web", &u, err), err);
        assert_int_equal(u->uid, 33);
        assert_int_equal(u->gid, 44);
        assert_string_equal(u->home, "/srv/web");
        assert_int_equal(u->n_groups, 1);
        assert_int_equal(u->groups[0], 100);
}

static void an_image_without_files_knows_numbers(void **state)
{
        struct cringle_err *err = unit_err();
        auto_of(oci_user) u = NULL;

        assert_ok(look_up(*state, "1000:1000", &u, err), err);
        assert_int_equal(u->uid, 1000);
        assert_string_equal(u->home, "/");
        assert_int_equal(look_up(*state, "web", &u, err), -1);
        assert_int_equal(err->code, CRINGLE_E_INVALID);
        assert_contains(err->text, "knows no user 'web'");
}

/* What stands where passwd should be. */
static void refused(struct image *i, const char *because)
{
        struct cringle_err *err = unit_err();
        auto_of(oci_user) u = NULL;

        assert_int_equal(look_up(i, "0", &u, err), -1);
        assert_contains(err->text, because);
        assert_int_equal(unlinkat(i->fd, "etc/passwd", 0) < 0 && unlinkat(i->fd, "etc/passwd", AT_REMOVEDIR) < 0, 0);
}

static void what_is_no_file_is_refused_and_not_waited_for(void **state)
{
        struct image *i = *state;

        assert_int_equal(mkfifoat(i->fd, "etc/passwd", 0644), 0);
        refused(i, "not a regular file");
        assert_int_equal(mkdirat(i->fd, "etc/passwd", 0755), 0);
        refused(i, "not a regular file");
        if (mknodat(i->fd, "etc/passwd", S_IFCHR | 0644, makedev(1, 5)) == 0)
                refused(i, "not a regular file");
        assert_int_equal(mknodat(i->fd, "etc/passwd", S_IFSOCK | 0644, 0), 0);
        refused(i, "not a regular file");
        assert_int_equal(symlinkat("passwd", i->fd, "etc/passwd"), 0);
        refused(i, "etc/passwd");
}

/* passwd, made of @text again and again. */
static void put_many(struct image *i, const char *text, size_t n, int times)
{
        int fd = openat(i->fd, "etc/passwd", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        for (int k = 0; k < times; k++)
                assert_int_equal(file_write_fd(fd, text, n, unit_err()), 0);
        close(fd);
}

/* Sparse, of ten million lines, of one line: none is read, as what the processes of the look-ups took tells. */
static void what_is_endless_is_refused_before_it_is_read(void **state)
{
        static const char line[] = "x:x:1:1::/:\n";
        enum { AT_ONCE = 10000 };
        struct image *i = *state;
        auto_free char *lines = malloc(AT_ONCE * (sizeof line - 1)), *one = calloc(1, 1 << 20);
        struct rusage before, after;
        int fd = openat(i->fd, "etc/passwd", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        assert_int_equal(ftruncate(fd, INT64_C(2) << 30), 0);
        close(fd);
        getrusage(RUSAGE_CHILDREN, &before);
        refused(i, "larger than");

        for (int k = 0; k < AT_ONCE; k++)
                memcpy(lines + (size_t) k * (sizeof line - 1), line, sizeof line - 1);
        put_many(i, lines, AT_ONCE * (sizeof line - 1), 1000);
        refused(i, "larger than");

        memset(one, 'x', 1 << 20);
        put_many(i, one, 1 << 20, 100);
        refused(i, "larger than");
        getrusage(RUSAGE_CHILDREN, &after);
        assert_true(after.ru_maxrss - before.ru_maxrss < 16 << 10);     /* KiB */
}

static void links_lead_nowhere_outside(void **state)
{
        struct image *i = *state;
        struct cringle_err *err = unit_err();
        auto_of(oci_user) u = NULL;
        auto_of(oci_user) inside = NULL;

        /* "root" is in the host's file, not in the image. */
        assert_int_equal(symlinkat("../../../../../../etc/passwd", i->fd, "etc/passwd"), 0);
        assert_int_equal(look_up(i, "root", &u, err), -1);
        assert_int_equal(unlinkat(i->fd, "etc/passwd", 0), 0);

        assert_int_equal(symlinkat("/usr-passwd", i->fd, "etc/passwd"), 0);
        put(i, "usr-passwd", "web:x:33:44::/:\n", 0644);
        assert_ok(look_up(i, "web", &inside, err), err);
        assert_int_equal(inside->uid, 33);
}

static void a_file_as_large_as_allowed_is_read(void **state)
{
        struct image *i = *state;
        struct cringle_err *err = unit_err();
        auto_of(oci_user) u = NULL;
        static const char entry[] = "\nweb:x:33:44::/:";
        size_t n = (1 << 20) - strlen(entry);
        auto_free char *text = malloc(n + sizeof entry);

        memset(text, ':', n);
        memcpy(text + n, entry, sizeof entry);
        put(i, "etc/passwd", text, 0644);
        assert_ok(look_up(i, "web", &u, err), err);
        assert_int_equal(u->uid, 33);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_user_is_found_with_home_and_groups, setup, teardown),
                cmocka_unit_test_setup_teardown(an_image_without_files_knows_numbers, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_no_file_is_refused_and_not_waited_for, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_endless_is_refused_before_it_is_read, setup, teardown),
                cmocka_unit_test_setup_teardown(links_lead_nowhere_outside, setup, teardown),
                cmocka_unit_test_setup_teardown(a_file_as_large_as_allowed_is_read, setup, teardown),
        };

        if (argc > 1 && strcmp(argv[1], "lookup") == 0)
                return lookup_main(argc - 1, argv + 1);
        if (argc > 1)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
