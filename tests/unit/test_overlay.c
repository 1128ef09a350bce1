/* Layers appear whole or not at all; root filesystems are mounts the node never sees; removal leaves nothing. */

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/base/ns.h"
#include "agent/base/own.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "plugins/api/image.h"
#include "plugins/image-overlay/mount.h"
#include "plugins/image-overlay/tree.h"

const struct cringle_plugin *cringle_builtin_image_overlay(void);

static struct cringle_err scratch = CRINGLE_ERR_INIT;

struct fixture {
        char *dir;
        char *root;
        const struct cringle_factory *factory;
        const struct cringle_image_ops *ops;
        void *self;
        char *mounts;           /* /proc/self/mountinfo before the test */
};

static void host_log(const struct cringle_host *host, int level, const char *text)
{
        (void) host;
        (void) level;
        fprintf(stderr, "%s\n", text);
}

static const struct cringle_host host = { .size = sizeof host, .log = host_log };

/* The overlays of the mount table and what is in @dir, one a line: the rest others may mount and unmount meanwhile. */
static char *mount_table(const char *dir)
{
        auto_buf text = BUF_INIT, overlays = BUF_INIT;
        char *rest = NULL;

        assert_ok(file_read("/proc/self/mountinfo", 1 << 24, &text, &scratch), &scratch);
        for (char *line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (strstr(line, " - overlay ") || strstr(line, dir))
                        assert_ok(buf_printf(&overlays, &scratch, "%s\n", line), &scratch);
        return buf_steal(&overlays);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);
        struct cringle_pair settings[2] = { { "root", NULL } };

        /* A mount table of our own: others may mount and unmount while we look at it. */
        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        f->dir = unit_make_dir();
        f->root = str_printf(NULL, "%s/overlay", f->dir);
        settings[0].value = f->root;
        f->factory = cringle_builtin_image_overlay()->factories[0];
        f->ops = f->factory->ops;
        assert_ok(f->factory->create(&host, settings, &f->self, &scratch), &scratch);
        assert_ok(f->factory->start(f->self, &scratch), &scratch);
        f->mounts = mount_table(f->dir);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        f->factory->destroy(f->self);
        assert_ok(tree_remove(AT_FDCWD, f->dir, &scratch), &scratch);
        free(f->mounts);
        free(f->root);
        free(f->dir);
        free(f);
        return 0;
}

static const char *chain(int n)
{
        static char ids[100][80];

        snprintf(ids[n], sizeof ids[n], "sha256:%064x", (unsigned) n);
        return ids[n];
}

static void put(int dir, const char *name, const char *text)
{
        auto_fd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0)
                fail_msg("make %s: %s", name, strerror(errno));
        assert_ok(file_write_fd(fd, text, strlen(text), &scratch), &scratch);
}

static void assert_holds(int dir, const char *name, const char *text)
{
        auto_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        auto_buf got = BUF_INIT;

        if (fd < 0)
                fail_msg("open %s: %s", name, strerror(errno));
        assert_ok(file_read_fd(fd, 4096, &got, &scratch), &scratch);
        assert_string_equal(got.data ? got.data : "", text);
}

static void assert_absent(int dir, const char *name)
{
        struct stat st;

        assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(errno, ENOENT);
}

static struct cringle_layer begin(struct fixture *f, int n)
{
        struct cringle_layer layer = { .size = sizeof layer, .dir_fd = -1 };

        assert_ok(f->ops->layer_begin(f->self, chain(n), &layer, &scratch), &scratch);
        return layer;
}

static void drop(struct cringle_layer *layer)
{
        layer->dir_fd = fd_close(layer->dir_fd);
        free(steal(&layer->path));
}

static void commit(struct fixture *f, int n, struct cringle_layer *layer)
{
        assert_ok(f->ops->layer_commit(f->self, chain(n), layer, &scratch), &scratch);
        drop(layer);
}

/* Layer 1: files a, b, directory d with x and y.  Layer 2: b whited out, d opaque with z, a new. */
static void two_layers(struct fixture *f)
{
        struct cringle_layer low = begin(f, 1), high;

        put(low.dir_fd, "a", "old a");
        put(low.dir_fd, "b", "b");
        assert_int_equal(mkdirat(low.dir_fd, "d", 0755), 0);
        put(low.dir_fd, "d/x", "x");
        put(low.dir_fd, "d/y", "y");
        commit(f, 1, &low);

        high = begin(f, 2);
        put(high.dir_fd, "a", "new a");
        assert_int_equal(mknodat(high.dir_fd, "b", S_IFCHR, makedev(0, 0)), 0);
        assert_int_equal(mkdirat(high.dir_fd, "d", 0755), 0);
        put(high.dir_fd, "d/z", "z");
        {
                auto_fd int d = openat(high.dir_fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                assert_int_equal(fsetxattr(d, "trusted.overlay.opaque", "y", 1, 0), 0);
        }
        assert_int_equal(fchown(high.dir_fd, 12, 34), 0);
        assert_int_equal(fchmod(high.dir_fd, 01751), 0);
        commit(f, 2, &high);
}

static struct cringle_rootfs_options options_of(const char *const *chain_ids)
{
        return (struct cringle_rootfs_options) { .size = sizeof(struct cringle_rootfs_options), .chain_ids = chain_ids };
}

static int mount_rootfs(struct fixture *f, const char *id, const char *const *chain_ids)
{
        struct cringle_rootfs_options o = options_of(chain_ids);
        int fd = -1;

        assert_ok(f->ops->rootfs_prepare(f->self, id, &o, &scratch), &scratch);
        assert_ok(f->ops->rootfs_mount(f->self, id, &o, &fd, &scratch), &scratch);
        return fd;
}

static size_t entries(struct fixture *f, const char *name)
{
        auto_free char *path = str_printf(NULL, "%s/%s", f->root, name);
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        return st.st_nlink - 2;         /* all there is in these are directories */
}

static void assert_mount_table_untouched(struct fixture *f)
{
        auto_free char *now = mount_table(f->dir);

        assert_null(strstr(now, f->dir));
        assert_string_equal(now, f->mounts);
}

static void assert_merged(int fd)
{
        assert_holds(fd, "a", "new a");
        assert_absent(fd, "b");
        assert_holds(fd, "d/z", "z");
        assert_absent(fd, "d/x");
        assert_absent(fd, "d/y");
}

static void whiteouts_and_opaque_directories_hide(void **state)
{
        struct fixture *f = *state;
        const char *const ids[] = { chain(1), chain(2), NULL };
        auto_fd int fd = -1;

        two_layers(f);
        fd = mount_rootfs(f, "c1", ids);
        assert_merged(fd);
        assert_mount_table_untouched(f);
}

static void containers_write_apart_from_each_other_and_from_the_image(void **state)
{
        struct fixture *f = *state;
        const char *const ids[] = { chain(1), chain(2), NULL };
        auto_fd int one = -1, two = -1, later = -1;
        struct stat st;

        two_layers(f);
        one = mount_rootfs(f, "c1", ids);
        two = mount_rootfs(f, "c2", ids);
        put(one, "a", "of one");
        put(one, "d/mine", "1");
        assert_int_equal(unlinkat(one, "d/z", 0), 0);

        assert_holds(two, "a", "new a");
        assert_holds(two, "d/z", "z");
        assert_absent(two, "d/mine");
        later = mount_rootfs(f, "c3", ids);
        assert_merged(later);

        /* The root is the image's root. */
        assert_int_equal(fstat(one, &st), 0);
        assert_int_equal(st.st_mode & 07777, 01751);
        assert_int_equal(st.st_uid, 12);
        assert_int_equal(st.st_gid, 34);
}

static void preparing_again_keeps_what_was_written(void **state)
{
        struct fixture *f = *state;
        const char *const ids[] = { chain(1), chain(2), NULL };
        int fd;

        two_layers(f);
        fd = mount_rootfs(f, "c1", ids);
        put(fd, "kept", "yes");
        fd_close(fd);

        fd = mount_rootfs(f, "c1", ids);
        assert_holds(fd, "kept", "yes");
        fd_close(fd);
        assert_int_equal(entries(f, "staging"), 0);
}

static void a_read_only_root_refuses_writes(void **state)
{
        struct fixture *f = *state;
        const char *const ids[] = { chain(1), chain(2), NULL };
        struct cringle_rootfs_options o = options_of(ids);
        auto_fd int fd = -1;

        two_layers(f);
        o.readonly = 1;
        assert_ok(f->ops->rootfs_prepare(f->self, "c1", &o, &scratch), &scratch);
        assert_ok(f->ops->rootfs_mount(f->self, "c1", &o, &fd, &scratch), &scratch);
        assert_int_equal(openat(fd, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
        assert_int_equal(errno, EROFS);
}

static void a_view_shows_the_image_and_cannot_be_written(void **state)
{
        struct fixture *f = *state;
        const char *const both[] = { chain(1), chain(2), NULL };
        const char *const upper[] = { chain(2), NULL };
        const char *const none[] = { NULL };
        const char *const *const all[] = { both, upper, none };

        two_layers(f);
        for (size_t i = 0; i < 3; i++) {
                struct cringle_rootfs_options o = options_of(all[i]);
                auto_fd int fd = -1;

                assert_ok(f->ops->view_mount(f->self, &o, &fd, &scratch), &scratch);
                assert_int_equal(openat(fd, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
                assert_int_equal(errno, EROFS);
                assert_absent(fd, "b");         /* not even as a whiteout, when its layer stands alone */
                if (all[i] == both)
                        assert_merged(fd);
        }
        assert_mount_table_untouched(f);
}

static void an_image_without_layers_is_an_empty_root(void **state)
{
        struct fixture *f = *state;
        const char *const none[] = { NULL };
        auto_fd int fd = mount_rootfs(f, "c1", none);

        put(fd, "file", "text");
        assert_holds(fd, "file", "text");
        assert_int_equal(entries(f, "bare"), 0);
}

static void old_kernels_get_the_same_mount(void **state)
{
        struct fixture *f = *state;
        char low[100], high[100];
        const char *const lowers[] = { high, low, NULL };
        const char *const ids[] = { chain(1), chain(2), NULL };
        struct overlay o = { .root = f->root, .over_root = f->root, .lowers = lowers, .empty = "empty", .user_ns = -1 };
        struct cringle_rootfs_options options = options_of(ids);
        int fd = -1;

        two_layers(f);
        snprintf(low, sizeof low, "layers/%s/diff", chain(1) + 7);
        snprintf(high, sizeof high, "layers/%s/diff", chain(2) + 7);
        assert_ok(overlay_mount_apart(&o, &fd, &scratch), &scratch);
        assert_merged(fd);
        assert_int_equal(openat(fd, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
        assert_mount_table_untouched(f);
        fd_close(fd);

        assert_ok(f->ops->rootfs_prepare(f->self, "c1", &options, &scratch), &scratch);
        o.over = "containers/c1";
        assert_ok(overlay_mount_apart(&o, &fd, &scratch), &scratch);
        assert_merged(fd);
        put(fd, "a", "written");
        assert_holds(fd, "a", "written");
        assert_mount_table_untouched(f);
        fd_close(fd);
}

static void assert_owner(int dir, const char *name, uid_t uid, gid_t gid)
{
        struct stat st;

        assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_uid, uid);
        assert_int_equal(st.st_gid, gid);
}

/* The namespace has root alone, so that others' files are those of nobody in it, and root's are root's. */
static void ids_are_shown_as_those_of_the_user_namespace(void **state)
{
        struct fixture *f = *state;
        auto_fd int sample = ns_user_sample(&scratch), made = -1, view = -1, upper = -1;
        auto_free char *upper_path = str_printf(NULL, "%s/containers/c1/upper", f->root);
        struct cringle_user_ns ns = {
                .size = sizeof ns, .fd = sample, .uids = { .outside = 700000, .length = 10 },
                .gids = { .outside = 800000, .length = 10 },
        };
        const char *const ids[] = { chain(1), NULL };
        struct cringle_rootfs_options options = options_of(ids);
        struct cringle_layer layer = begin(f, 1);

        assert_true(sample >= 0);
        assert_ok(f->ops->id_maps(f->self, sample, &scratch), &scratch);
        put(layer.dir_fd, "mine", "text");
        put(layer.dir_fd, "other", "text");
        assert_int_equal(fchownat(layer.dir_fd, "other", 5, 6, 0), 0);
        assert_int_equal(fchown(layer.dir_fd, 3, 4), 0);
        commit(f, 1, &layer);

        options.user_ns = &ns;
        assert_ok(f->ops->rootfs_prepare(f->self, "c1", &options, &scratch), &scratch);
        assert_ok(f->ops->rootfs_mount(f->self, "c1", &options, &made, &scratch), &scratch);
        assert_owner(made, "mine", 0, 0);
        assert_owner(made, "other", 65534, 65534);
        put(made, "new", "text");
        assert_owner(made, "new", 0, 0);
        upper = open(upper_path, O_PATH | O_CLOEXEC);
        assert_owner(upper, ".", 700003, 800004);

        options.readonly = 1;
        assert_ok(f->ops->view_mount(f->self, &options, &view, &scratch), &scratch);
        assert_owner(view, "mine", 0, 0);
        assert_owner(view, "other", 65534, 65534);
        assert_int_equal(openat(view, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);

        options.user_ns = NULL;
        view = fd_close(view);
        assert_ok(f->ops->view_mount(f->self, &options, &view, &scratch), &scratch);
        assert_owner(view, "other", 5, 6);
        assert_mount_table_untouched(f);
}

static void a_hundred_layers_are_not_too_many(void **state)
{
        struct fixture *f = *state;
        const char *list[101] = { 0 };
        auto_fd int fd = -1;

        for (int i = 0; i < 100; i++) {
                struct cringle_layer layer = begin(f, i);
                char name[16];

                snprintf(name, sizeof name, "f%d", i);
                put(layer.dir_fd, name, name);
                put(layer.dir_fd, "last", name);
                commit(f, i, &layer);
                list[i] = chain(i);
        }
        fd = mount_rootfs(f, "c1", list);
        assert_holds(fd, "f0", "f0");
        assert_holds(fd, "last", "f99");
}

static void a_layer_is_there_when_it_is_committed(void **state)
{
        struct fixture *f = *state;
        struct cringle_layer first = begin(f, 1), second = begin(f, 1), third = begin(f, 1);

        put(first.dir_fd, "who", "first");
        put(second.dir_fd, "who", "second");
        assert_int_equal(f->ops->layer_exists(f->self, chain(1), unit_err()), 0);
        commit(f, 1, &first);
        assert_int_equal(f->ops->layer_exists(f->self, chain(1), unit_err()), 1);
        commit(f, 1, &second);          /* too late: success, and dropped */
        f->ops->layer_abort(f->self, chain(1), &third);
        drop(&third);
        assert_int_equal(entries(f, "staging"), 0);
        assert_int_equal(entries(f, "trash"), 0);
        {
                const char *const ids[] = { chain(1), NULL };
                auto_fd int fd = mount_rootfs(f, "c1", ids);

                assert_holds(fd, "who", "first");
        }
        assert_ok(f->ops->layer_remove(f->self, chain(1), &scratch), &scratch);
        assert_ok(f->ops->layer_remove(f->self, chain(1), &scratch), &scratch);
        assert_int_equal(f->ops->layer_exists(f->self, chain(1), unit_err()), 0);
        assert_int_equal(entries(f, "layers"), 0);
}

static void a_sweep_leaves_only_what_is_named(void **state)
{
        struct fixture *f = *state;
        const char *const ids[] = { chain(1), chain(2), NULL };
        const char *const keep_layers[] = { chain(2), NULL };
        const char *const keep_ids[] = { "c2", NULL };
        struct cringle_layer unfinished;

        two_layers(f);
        fd_close(mount_rootfs(f, "c1", ids));
        fd_close(mount_rootfs(f, "c2", ids));
        unfinished = begin(f, 3);
        put(unfinished.dir_fd, "half", "of it");
        drop(&unfinished);

        assert_ok(f->ops->sweep(f->self, keep_layers, keep_ids, &scratch), &scratch);
        assert_int_equal(f->ops->layer_exists(f->self, chain(1), unit_err()), 0);
        assert_int_equal(f->ops->layer_exists(f->self, chain(2), unit_err()), 1);
        assert_int_equal(entries(f, "containers"), 1);
        assert_int_equal(entries(f, "staging"), 0);
        assert_int_equal(entries(f, "trash"), 0);

        assert_ok(f->ops->sweep(f->self, NULL, NULL, &scratch), &scratch);
        assert_int_equal(entries(f, "layers"), 0);
        assert_int_equal(entries(f, "containers"), 0);
}

static void removal_leaves_nothing_whatever_the_container_did(void **state)
{
        struct fixture *f = *state;
        const char *const ids[] = { chain(1), chain(2), NULL };
        auto_fd int fd = -1;
        int at, flags;

        two_layers(f);
        fd = mount_rootfs(f, "c1", ids);

        /* Deeper than a path or a process's fds go. */
        at = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; i < 3000; i++) {
                int next;

                assert_int_equal(mkdirat(at, "deep", 0755), 0);
                next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                close(at);
                at = next;
        }
        close(at);

        assert_int_equal(symlinkat("/", fd, "slash"), 0);
        assert_int_equal(mknodat(fd, "pipe", S_IFIFO | 0600, 0), 0);
        assert_int_equal(unlinkat(fd, "d/z", 0), 0);            /* a whiteout in the upper directory */
        assert_int_equal(mkdirat(fd, "stuck", 0755), 0);
        put(fd, "stuck/file", "immutable");
        for (size_t i = 0; i < 2; i++) {
                auto_fd int stuck = openat(fd, i == 0 ? "stuck/file" : "stuck", O_RDONLY | O_CLOEXEC);

                if (ioctl(stuck, FS_IOC_GETFLAGS, &flags) < 0)
                        continue;
                flags |= FS_IMMUTABLE_FL;
                assert_int_equal(ioctl(stuck, FS_IOC_SETFLAGS, &flags), 0);
        }
        fd = fd_close(fd);

        assert_ok(f->ops->rootfs_remove(f->self, "c1", &scratch), &scratch);
        assert_int_equal(entries(f, "containers"), 0);
        assert_int_equal(entries(f, "trash"), 0);
        assert_ok(f->ops->rootfs_remove(f->self, "c1", &scratch), &scratch);
        assert_mount_table_untouched(f);
}

static void a_file_with_many_names_counts_once(void **state)
{
        struct fixture *f = *state;
        struct cringle_layer layer = begin(f, 1);
        const char *const ids[] = { chain(1), NULL };
        struct cringle_usage usage = { .size = sizeof usage };
        char block[65536];
        auto_fd int fd = -1;

        memset(block, 'x', sizeof block - 1);
        block[sizeof block - 1] = '\0';
        put(layer.dir_fd, "file", block);
        for (int i = 0; i < 100; i++) {
                char name[16];

                snprintf(name, sizeof name, "link%d", i);
                assert_int_equal(linkat(layer.dir_fd, "file", layer.dir_fd, name, 0), 0);
        }
        commit(f, 1, &layer);
        assert_ok(f->ops->layer_usage(f->self, chain(1), &usage, &scratch), &scratch);
        assert_int_equal(usage.inodes, 2);
        assert_in_range(usage.bytes, 65536, 2 * 65536);

        fd = mount_rootfs(f, "c1", ids);
        put(fd, "written", block);
        assert_ok(f->ops->rootfs_usage(f->self, "c1", &usage, &scratch), &scratch);
        assert_int_equal(usage.inodes, 2);
        assert_in_range(usage.bytes, 65536, 2 * 65536);
        assert_int_equal(f->ops->rootfs_usage(f->self, "c9", &usage, unit_err()), -1);
}

static void names_that_are_paths_are_refused(void **state)
{
        static const char *const bad[] = { "", "..", "../layers", "a/b", "/etc", "sha256:..", "sha256:", ".hidden" };
        struct fixture *f = *state;
        struct cringle_rootfs_options o = options_of((const char *const[]) { NULL });
        struct cringle_layer layer = { .size = sizeof layer };
        int fd;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                const char *const ids[] = { bad[i], NULL };
                struct cringle_rootfs_options with = options_of(ids);

                assert_int_equal(f->ops->layer_begin(f->self, bad[i], &layer, unit_err()), -1);
                assert_int_equal(f->ops->layer_exists(f->self, bad[i], unit_err()), -1);
                assert_int_equal(f->ops->layer_remove(f->self, bad[i], unit_err()), -1);
                assert_int_equal(f->ops->view_mount(f->self, &with, &fd, unit_err()), -1);
                assert_int_equal(f->ops->rootfs_prepare(f->self, bad[i], &o, unit_err()), -1);
                assert_int_equal(f->ops->rootfs_mount(f->self, bad[i], &o, &fd, unit_err()), -1);
                assert_int_equal(f->ops->rootfs_remove(f->self, bad[i], unit_err()), -1);
        }
        assert_int_equal(entries(f, "containers"), 0);
}

static void only_a_layer_begun_here_can_be_committed(void **state)
{
        struct fixture *f = *state;
        struct cringle_layer layer = begin(f, 1);
        char *own = layer.path;
        auto_free char *other = str_printf(NULL, "%s/staging/../../x/diff", f->root);

        layer.path = other;
        assert_int_equal(f->ops->layer_commit(f->self, chain(1), &layer, unit_err()), -1);
        layer.path = own;
        assert_int_equal(f->ops->layer_exists(f->self, chain(1), unit_err()), 0);
        commit(f, 1, &layer);
}

static void writable_parts_may_be_on_a_file_system_of_their_own(void **state)
{
        struct fixture *f = *state;
        auto_free char *writable = str_printf(NULL, "%s/writable", f->dir), *trash = str_printf(NULL, "%s/trash", writable);
        auto_free char *upper = str_printf(NULL, "%s/containers/c1/upper/new", writable);
        const struct cringle_pair settings[] = { { "root", f->root }, { "writable", writable }, { 0 } };
        const char *const ids[] = { chain(1), chain(2), NULL }, *const both[] = { "old", "c1", NULL };
        struct cringle_usage usage = { .size = sizeof usage };
        struct cringle_rootfs_options options = options_of(ids);
        int fd = -1;

        two_layers(f);
        assert_string_equal(f->ops->writable_path(f->self), f->root);
        assert_ok(f->ops->rootfs_prepare(f->self, "old", &options, &scratch), &scratch);
        f->factory->destroy(f->self);
        f->self = NULL;
        assert_int_equal(mkdir(writable, 0700), 0);
        assert_int_equal(mount("tmpfs", writable, "tmpfs", 0, NULL), 0);
        assert_ok(f->factory->create(&host, settings, &f->self, &scratch), &scratch);
        assert_ok(f->factory->start(f->self, &scratch), &scratch);
        assert_string_equal(f->ops->writable_path(f->self), writable);
        assert_string_equal(f->ops->store_path(f->self), f->root);

        assert_ok(f->ops->rootfs_prepare(f->self, "c1", &options, &scratch), &scratch);
        assert_ok(f->ops->rootfs_mount(f->self, "c1", &options, &fd, &scratch), &scratch);
        assert_merged(fd);
        put(fd, "new", "written");
        assert_true(file_exists(upper));
        fd_close(fd);
        assert_int_equal(entries(f, "containers"), 1);  /* the old one */

        assert_ok(f->ops->sweep(f->self, ids, both, &scratch), &scratch);
        assert_ok(f->ops->rootfs_usage(f->self, "old", &usage, &scratch), &scratch);
        assert_ok(f->ops->rootfs_usage(f->self, "c1", &usage, &scratch), &scratch);
        assert_int_equal(f->ops->layer_exists(f->self, chain(2), &scratch), 1);
        assert_ok(f->ops->rootfs_remove(f->self, "old", &scratch), &scratch);
        assert_int_equal(entries(f, "containers"), 0);
        assert_ok(f->ops->sweep(f->self, ids, NULL, &scratch), &scratch);
        assert_false(file_exists(upper));
        assert_int_equal(rmdir(trash), 0);              /* nothing is in it */
        assert_int_equal(umount2(writable, MNT_DETACH), 0);
}

#define overlay_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        overlay_test(whiteouts_and_opaque_directories_hide),
        overlay_test(containers_write_apart_from_each_other_and_from_the_image),
        overlay_test(preparing_again_keeps_what_was_written),
        overlay_test(a_read_only_root_refuses_writes),
        overlay_test(a_view_shows_the_image_and_cannot_be_written),
        overlay_test(an_image_without_layers_is_an_empty_root),
        overlay_test(old_kernels_get_the_same_mount),
        overlay_test(writable_parts_may_be_on_a_file_system_of_their_own),
        overlay_test(ids_are_shown_as_those_of_the_user_namespace),
        overlay_test(a_hundred_layers_are_not_too_many),
        overlay_test(a_layer_is_there_when_it_is_committed),
        overlay_test(a_sweep_leaves_only_what_is_named),
        overlay_test(removal_leaves_nothing_whatever_the_container_did),
        overlay_test(a_file_with_many_names_counts_once),
        overlay_test(names_that_are_paths_are_refused),
        overlay_test(only_a_layer_begun_here_can_be_committed))
