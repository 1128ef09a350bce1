/* Which volumes get a label: those asked for, and never the node's own directories. */

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

#define LABEL "system_u:object_r:container_file_t:s0:c1,c2"

struct fixture {
        char *dir;
        Cri__ContainerConfig config;
        Cri__Mount mount, *mounts;
};

static char *path(struct fixture *f, const char *name)
{
        return str_printf(NULL, "%s/%s", f->dir, name);
}

static void make(struct fixture *f, const char *name)
{
        auto_free char *p = path(f, name);

        assert_ok(file_replace(p, "", 0, 0644, false, unit_err()), unit_err());
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);
        auto_free char *deep = NULL, *link = NULL;

        f->dir = unit_make_dir();
        deep = path(f, "volume/a/b");
        assert_ok(file_make_dirs(deep, 0755, unit_err()), unit_err());
        make(f, "volume/file");
        make(f, "volume/a/b/file");
        make(f, "aside");
        link = path(f, "volume/link");
        assert_int_equal(symlink("../aside", link), 0);
        cri__container_config__init(&f->config);
        cri__mount__init(&f->mount);
        f->mount.host_path = path(f, "volume");
        f->mount.container_path = (char *) "/volume";
        f->mount.selinux_relabel = true;
        f->mounts = &f->mount;
        f->config.mounts = &f->mounts;
        f->config.n_mounts = 1;
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        file_remove_tree(f->dir, NULL);
        free(f->mount.host_path);
        free(f->dir);
        free(f);
        return 0;
}

/* Anybody's file may bear a label where the kernel asks no policy; a kernel with one of its own would know better than we. */
static void need_labels(struct fixture *f)
{
        auto_free char *p = path(f, "aside");

        if (file_exists("/sys/fs/selinux/enforce") || setxattr(p, "security.selinux", "x", 2, 0) < 0)
                skip();
        assert_int_equal(removexattr(p, "security.selinux"), 0);
}

static bool has_label(struct fixture *f, const char *name)
{
        auto_free char *p = path(f, name);
        char value[256];
        ssize_t n = lgetxattr(p, "security.selinux", value, sizeof value);

        if (n < 0)
                return false;
        assert_int_equal(n, sizeof LABEL);
        assert_memory_equal(value, LABEL, sizeof LABEL);
        return true;
}

static void a_volume_may_be_a_file_or_a_link_to_a_directory(void **state)
{
        struct fixture *f = *state;
        auto_free char *link = path(f, "way");

        need_labels(f);
        assert_int_equal(symlink("volume/a", link), 0);
        free(f->mount.host_path);
        f->mount.host_path = path(f, "way");
        assert_ok(volumes_label(&f->config, LABEL, NULL, unit_err()), unit_err());
        assert_true(has_label(f, "volume/a/b/file"));
        assert_false(has_label(f, "volume/file"));
        free(f->mount.host_path);
        f->mount.host_path = path(f, "volume/file");
        assert_ok(volumes_label(&f->config, LABEL, NULL, unit_err()), unit_err());
        assert_true(has_label(f, "volume/file"));
        assert_false(has_label(f, "volume"));
}

static void who_is_not_asked_for_is_left_alone(void **state)
{
        struct fixture *f = *state;

        need_labels(f);
        f->mount.selinux_relabel = false;
        assert_ok(volumes_label(&f->config, LABEL, NULL, unit_err()), unit_err());
        assert_false(has_label(f, "volume"));
}

static void everybodys_directories_are_nobodys_volume(void **state)
{
        static const char *const places[] = { "/", "/etc", "/etc/ssl", "/usr", "/usr/bin", "/var/lib", "//etc/../etc/", "/proc/self/root" };
        struct fixture *f = *state;
        struct cringle_err err = CRINGLE_ERR_INIT;
        char *own = f->mount.host_path;

        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                f->mount.host_path = (char *) places[i];
                assert_int_equal(volumes_label(&f->config, LABEL, NULL, &err), -1);
                assert_int_equal(err.code, CRINGLE_E_INVALID);
                assert_contains(err.text, "is the node's");
        }
        f->mount.host_path = (char *) "/no/such";
        assert_int_equal(volumes_label(&f->config, LABEL, NULL, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        f->mount.host_path = own;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_volume_may_be_a_file_or_a_link_to_a_directory),
        TEST(who_is_not_asked_for_is_left_alone),
        TEST(everybodys_directories_are_nobodys_volume))
