/*
 * Overlay mounts that nobody sees; see mount.h.
 *
 * Layers are named to the kernel by fd ("/proc/self/fd/7"): that is short, whatever the store's path
 * is, needs no quoting of ':' and ',', and keeps the store's path out of the container's mount table.
 *
 * Options are said in full, since their defaults are a kernel's build options: nothing in a layer
 * may send a lookup elsewhere (redirect_dir, metacopy), and layers are shared by many mounts at once (index).
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/ns.h"
#include "agent/base/own.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "plugins/image-overlay/mount.h"

/* The directories of one mount, opened in the mount namespace of whoever mounts: the kernel insists on that. */
struct dirs {
        int *lowers;
        size_t n_lowers;
        int upper, work;
};

static void dirs_done(struct dirs *d)
{
        for (size_t i = 0; i < d->n_lowers; i++)
                fd_close(d->lowers[i]);
        free(d->lowers);
        fd_close(d->upper);
        fd_close(d->work);
}

static inline void auto_dirs_(struct dirs *d)
{
        dirs_done(d);
}

static int open_dir(int at, const char *name, struct cringle_err *err)
{
        int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? err_sys(err, "open %s", name) : fd;
}

/*
 * The directory @fd with its ids mapped, as a mount on top of itself; the mount namespace is ours alone.  The upper
 * directory needs none of this: what is written there is of the ids it is written by.
 */
static int map_ids(int fd, const char *name, int user_ns, struct cringle_err *err)
{
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t) user_ns };
        auto_fd int tree = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        if (tree < 0)
                return err_sys(err, "map ids of %s", name);
        if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
                return errno == EINVAL ? err_set(err, CRINGLE_E_PRECONDITION, "the file system of the store does not map ids")
                                       : err_sys(err, "map ids of %s", name);
        if (move_mount(tree, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return err_sys(err, "map ids of %s", name);
        return steal_fd(&tree);
}

static int open_lower(int root, const char *name, int user_ns, struct cringle_err *err)
{
        auto_fd int fd = open_dir(root, name, err);

        if (fd < 0)
                return -1;
        return user_ns < 0 ? steal_fd(&fd) : map_ids(fd, name, user_ns, err);
}

static int dirs_open(struct dirs *d, const struct overlay *o, struct cringle_err *err)
{
        auto_fd int root = open_dir(AT_FDCWD, o->root, err);
        size_t n = strv_count(o->lowers);

        if (root < 0)
                return -1;
        d->lowers = calloc(n + 1, sizeof *d->lowers);
        if (!d->lowers)
                return err_oom(err);

        while (d->n_lowers < n) {
                d->lowers[d->n_lowers] = open_lower(root, o->lowers[d->n_lowers], o->user_ns, err);
                if (d->lowers[d->n_lowers] < 0)
                        return -1;
                d->n_lowers++;
        }
        if (o->over) {
                auto_fd int over_root = open_dir(AT_FDCWD, o->over_root, err), over = -1;

                if (over_root < 0 || (over = open_dir(over_root, o->over, err)) < 0)
                        return -1;
                d->upper = open_dir(over, "upper", err);
                d->work = open_dir(over, "work", err);
                return d->upper < 0 || d->work < 0 ? -1 : 0;
        }
        if (n == 1) {           /* overlayfs wants two directories at least */
                d->lowers[1] = open_lower(root, o->empty, o->user_ns, err);
                if (d->lowers[1] < 0)
                        return -1;
                d->n_lowers++;
        }
        return 0;
}

/* What the kernel has to say about the context @fs, in the place of a bare errno. */
static int fail(int fs, const char *what, struct cringle_err *err)
{
        char text[512];
        int sys = errno;
        ssize_t n = read(fs, text, sizeof text - 1);

        if (n <= 0)
                return err_sysno(err, sys, "overlay: %s", what);
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return err_sysno(err, sys, "overlay: %s: %s", what, text);
}

static int set(int fs, const char *key, const char *value, struct cringle_err *err)
{
        return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? fail(fs, key, err) : 0;
}

static int set_dir(int fs, const char *key, int dir, struct cringle_err *err)
{
        char text[PATH_OF_FD_MAX];

        path_of_fd(dir, text);
        return set(fs, key, text, err);
}

static int seal(int fd, bool readonly, struct cringle_err *err)
{
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

        if (readonly && mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
                return err_sys(err, "overlay: make read-only");
        return 0;
}

/*
 * "lowerdir+" is in every Linux from 6.8 on.  Asking the kernel does not work: before 6.5 it takes any
 * word and stumbles over it at the end only.  Can go when 6.8 is the oldest we support.
 */
static bool takes_parts(void)
{
        struct utsname name;
        unsigned major, minor;

        return uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
               (major > 6 || (major == 6 && minor >= 8));
}

static int mount_by_parts(const struct overlay *o, int *ret_fd, struct cringle_err *err)
{
        auto_cleanup(auto_dirs_) struct dirs d = { .upper = -1, .work = -1 };
        auto_fd int fs = fsopen("overlay", FSOPEN_CLOEXEC);
        auto_fd int fd = -1;

        if (fs < 0)
                return err_sys(err, "overlay: open file system");
        if (dirs_open(&d, o, err) < 0)
                return -1;

        for (size_t i = 0; i < d.n_lowers; i++)
                if (set_dir(fs, "lowerdir+", d.lowers[i], err) < 0)
                        return -1;
        if (set(fs, "source", "overlay", err) < 0 || set(fs, "index", "off", err) < 0 ||
            set(fs, "metacopy", "off", err) < 0 || set(fs, "redirect_dir", "nofollow", err) < 0 ||
            (o->label && set(fs, "context", o->label, err) < 0))
                return -1;
        if (d.upper >= 0 && (set_dir(fs, "upperdir", d.upper, err) < 0 || set_dir(fs, "workdir", d.work, err) < 0))
                return -1;
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return fail(fs, "make file system", err);

        fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
        if (fd < 0)
                return fail(fs, "mount", err);
        if (seal(fd, o->readonly || !o->over, err) < 0)
                return -1;
        *ret_fd = steal_fd(&fd);
        return 0;
}

int overlay_mount(const struct overlay *o, int *ret_fd, struct cringle_err *err)
{
        return takes_parts() && o->user_ns < 0 ? mount_by_parts(o, ret_fd, err) : overlay_mount_apart(o, ret_fd, err);
}

struct apart {
        const struct overlay *o;
        int fd;
};

static int mount_options(const struct dirs *d, const char *label, struct buf *ret, struct cringle_err *err)
{
        char text[PATH_OF_FD_MAX];

        if (buf_add_str(ret, "index=off,metacopy=off,redirect_dir=nofollow", err) < 0)
                return -1;
        if (label && buf_printf(ret, err, ",context=\"%s\"", label) < 0)
                return -1;
        for (size_t i = 0; i < d->n_lowers; i++) {
                path_of_fd(d->lowers[i], text);
                if (buf_printf(ret, err, "%s%s", i == 0 ? ",lowerdir=" : ":", text) < 0)
                        return -1;
        }
        if (d->upper >= 0) {
                path_of_fd(d->upper, text);
                if (buf_printf(ret, err, ",upperdir=%s", text) < 0)
                        return -1;
                path_of_fd(d->work, text);
                if (buf_printf(ret, err, ",workdir=%s", text) < 0)
                        return -1;
        }
        if (ret->len >= (size_t) sysconf(_SC_PAGESIZE))
                return err_set(err, CRINGLE_E_PRECONDITION, "overlay: %zu layers are too many for this kernel",
                               d->n_lowers);
        return 0;
}

/* In a mount namespace that ends with it; the clone it leaves behind is in none. */
static int mount_here(void *data, struct cringle_err *err)
{
        auto_cleanup(auto_dirs_) struct dirs d = { .upper = -1, .work = -1 };
        struct apart *a = data;
        const struct overlay *o = a->o;
        auto_free char *place = NULL;
        auto_buf options = BUF_INIT;
        auto_fd int fd = -1;

        place = str_printf(err, "%s/%s", o->root, o->empty);
        if (!place || dirs_open(&d, o, err) < 0 || mount_options(&d, o->label, &options, err) < 0)
                return -1;
        if (mount("overlay", place, "overlay", o->over ? 0 : MS_RDONLY, options.data) < 0)
                return err_sys(err, "overlay: mount");
        fd = open_tree(AT_FDCWD, place, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "overlay: detach mount");
        if (seal(fd, o->readonly || !o->over, err) < 0)
                return -1;
        a->fd = steal_fd(&fd);
        return 0;
}

int overlay_mount_apart(const struct overlay *o, int *ret_fd, struct cringle_err *err)
{
        struct apart a = { .o = o, .fd = -1 };

        if (ns_apart(mount_here, &a, err) < 0)
                return -1;
        *ret_fd = a.fd;
        return 0;
}
