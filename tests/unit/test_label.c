/* A volume's files get a label, all of them and no others. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/label.h"
#include "agent/base/str.h"

#define LABEL "system_u:object_r:container_file_t:s0:c1,c2"

static char top[64];

static int setup(void **state)
{
        snprintf(top, sizeof top, "/tmp/cringle-label.XXXXXX");
        return mkdtemp(top) && chdir(top) == 0 && mkdir("v", 0755) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
        return chdir("/") == 0 ? file_remove_tree(top, unit_err()) : -1;
}

static void need_labels(void)
{
        if (lsetxattr("v", "security.selinux", "x", 2, 0) < 0)
                skip();         /* not root, or a file system without them */
}

/* "": none. */
static const char *label_of(const char *path)
{
        static char text[128];
        ssize_t n = lgetxattr(path, "security.selinux", text, sizeof text - 1);

        text[n > 0 ? n : 0] = '\0';
        return text;
}

static int label_all(void)
{
        auto_free char *path = str_printf(unit_err(), "%s/v", top);

        return label_tree(path, LABEL, NULL, unit_err());
}

static void put_file(const char *path)
{
        assert_ok(file_replace(path, "x", 1, 0600, false, unit_err()), unit_err());
}

static void all_kinds_of_files_are_labelled(void **state)
{
        need_labels();
        assert_int_equal(mkdir("v/a", 0000), 0);
        put_file("v/a/file");
        assert_int_equal(mkfifo("v/pipe", 0600), 0);    /* nobody waits for a writer */
        assert_int_equal(symlink("nowhere", "v/link"), 0);
        assert_ok(label_all(), unit_err());
        for (const char *const *p = (const char *const[]) { "v", "v/a", "v/a/file", "v/pipe", "v/link", NULL }; *p; p++)
                assert_string_equal(label_of(*p), LABEL);
}

static void links_are_not_followed(void **state)
{
        need_labels();
        assert_int_equal(mkdir("out", 0755), 0);
        put_file("out/file");
        assert_int_equal(symlink("../out", "v/dir"), 0);
        assert_int_equal(symlink("../out/file", "v/file"), 0);
        assert_ok(label_all(), unit_err());
        assert_string_equal(label_of("out"), "");
        assert_string_equal(label_of("out/file"), "");
}

static void what_is_mounted_there_is_left_alone(void **state)
{
        need_labels();
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                skip();
        assert_int_equal(mkdir("v/m", 0755), 0);
        assert_int_equal(mount("none", "v/m", "tmpfs", 0, NULL), 0);
        put_file("v/m/file");
        assert_ok(label_all(), unit_err());
        assert_string_equal(label_of("v/m"), "");
        assert_string_equal(label_of("v/m/file"), "");
        assert_int_equal(umount2("v/m", MNT_DETACH), 0);
        assert_string_equal(label_of("v/m"), "");
}

static void depth_has_an_end(void **state)
{
        auto_free char *path = str_printf(unit_err(), "%s/v", top);
        struct cringle_err err = CRINGLE_ERR_INIT;

        need_labels();
        assert_int_equal(chdir("v"), 0);
        for (int i = 0; i < LABEL_DEPTH_MAX; i++)
                assert_true(mkdir("d", 0755) == 0 && chdir("d") == 0);
        assert_int_equal(chdir(top), 0);
        assert_int_equal(label_tree(path, LABEL, NULL, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_EXHAUSTED);
}

static void a_file_is_labelled_itself(void **state)
{
        auto_free char *path = str_printf(unit_err(), "%s/v/link", top);

        need_labels();
        put_file("target");
        assert_int_equal(symlink("../target", "v/link"), 0);
        assert_ok(label_file(path, LABEL, unit_err()), unit_err());
        assert_string_equal(label_of("v/link"), LABEL);
        assert_string_equal(label_of("target"), "");
        assert_int_equal(label_file("/nowhere/at/all", LABEL, unit_err()), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(all_kinds_of_files_are_labelled),
        TEST(links_are_not_followed),
        TEST(what_is_mounted_there_is_left_alone),
        TEST(depth_has_an_end),
        TEST(a_file_is_labelled_itself))
