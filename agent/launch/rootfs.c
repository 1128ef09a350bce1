/*
 * Building a container's root; see rootfs.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/base/own.h"
#include "agent/base/path.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/launch/kernel.h"
#include "agent/launch/rootfs.h"

struct mount {
        const char *destination, *source, *type;
        const char **data;
        uint32_t flags, propagation, brought;
        uint64_t set, clear, rec_set, rec_clear;
};

static void auto_mount_done_(struct mount *m)
{
        free(m->data);
}

#define auto_mount auto_cleanup(auto_mount_done_) struct mount

static int read_mount(struct rec_cursor body, struct mount *ret, struct cringle_err *err)
{
        ret->destination = rec_get_str(&body);
        ret->source = rec_get_str(&body);
        ret->type = rec_get_str(&body);
        ret->data = rec_get_strv(&body);
        ret->flags = rec_get_u32(&body);
        ret->set = rec_get_u64(&body);
        ret->clear = rec_get_u64(&body);
        ret->rec_set = rec_get_u64(&body);
        ret->rec_clear = rec_get_u64(&body);
        ret->propagation = rec_get_u32(&body);
        if (ret->flags & PLAN_MOUNT_BROUGHT)
                ret->brought = rec_get_u32(&body);
        return body.bad ? err_set(err, CRINGLE_E_INVALID, "a mount of the plan is damaged") : 0;
}

static void sources_done(struct rootfs_source *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                fd_close(list[i].fd);
        free(list);
}

void rootfs_done(struct rootfs *r)
{
        sources_done(r->mounts, r->n_mounts);
        sources_done(r->devices, r->n_devices);
        fd_close(r->root);
        fd_close(r->place);
        fd_close(r->host_ptmx);
        fd_close(r->masks);
        *r = (struct rootfs) ROOTFS_INIT;
}

/* --- on the host ---------------------------------------------------------------- */

static int set_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive, const char *what,
                          struct cringle_err *err)
{
        struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

        /* The kernel wants all bits of the access time cleared when one of them is set. */
        if (set & MOUNT_ATTR__ATIME)
                attr.attr_clr |= MOUNT_ATTR__ATIME;
        if (!attr.attr_set && !attr.attr_clr && !attr.propagation)
                return 0;
        if (mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof attr) < 0)
                return err_sys(err, "set attributes of the mount on %s", what);
        return 0;
}

/* The kernel says EINVAL of file systems that cannot do it, EPERM of mounts whose ids are mapped already. */
static int map_ids(int fd, const struct mount *m, int user_ns, struct cringle_err *err)
{
        bool deep = m->flags & PLAN_MOUNT_IDMAP_RECURSIVE;
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t) user_ns };

        if (user_ns < 0)
                return err_set(err, CRINGLE_E_INVALID, "map ids of %s: there is no user namespace", m->source);
        if (mount_setattr(fd, "", AT_EMPTY_PATH | (deep ? AT_RECURSIVE : 0), &attr, sizeof attr) == 0)
                return 0;
        if (errno == EINVAL)
                return err_set(err, CRINGLE_E_PRECONDITION, "the file system of %s%s does not map ids", m->source,
                               deep ? ", or one mounted in it," : "");
        return err_sys(err, "map ids of %s", m->source);
}

/* What is to be mounted, detached. */
static int open_source(const struct mount *m, const struct launch_request *request, struct cringle_err *err)
{
        bool deep = m->flags & PLAN_MOUNT_RECURSIVE;
        int fd;

        if (!(m->flags & PLAN_MOUNT_BROUGHT))
                fd = open_tree(AT_FDCWD, m->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (deep ? AT_RECURSIVE : 0));
        else if (m->brought < request->n_brought)
                fd = fcntl(request->brought[m->brought], F_DUPFD_CLOEXEC, 3);
        else
                return err_set(err, CRINGLE_E_INVALID, "mount %s on %s: it was not brought", m->source, m->destination);
        return fd < 0 ? err_sys(err, "mount %s on %s", m->source, m->destination) : fd;
}

static int open_bind(const struct mount *m, const struct launch_request *request, int user_ns, struct rootfs_source *ret,
                     struct cringle_err *err)
{
        bool mapped = m->flags & PLAN_MOUNT_IDMAP;
        auto_fd int fd = open_source(m, request, err);
        struct statfs fs;
        struct stat st;

        if (fd < 0)
                return -1;
        if (fstat(fd, &st) < 0)
                return err_sys(err, "mount %s on %s", m->source, m->destination);
        /* Only a real procfs may stand where processes look for one. */
        if (strcmp(m->destination, "/proc") == 0 && (fstatfs(fd, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC))
                return err_set(err, CRINGLE_E_INVALID, "mount %s on /proc: it is no procfs", m->source);
        if ((mapped && map_ids(fd, m, user_ns, err) < 0) ||
            set_attributes(fd, m->set, m->clear, 0, false, m->destination, err) < 0 ||
            set_attributes(fd, m->rec_set, m->rec_clear, 0, true, m->destination, err) < 0 ||
            set_attributes(fd, 0, 0, m->propagation & ~(uint32_t) MS_REC, m->propagation & MS_REC, m->destination,
                           err) < 0)
                return -1;

        ret->fd = steal_fd(&fd);
        ret->directory = S_ISDIR(st.st_mode);
        return 0;
}

static struct rootfs_source *make_sources(struct rec_cursor plan, uint16_t tag, size_t *ret_n, struct cringle_err *err)
{
        struct rootfs_source *list;
        struct rec_cursor body;
        size_t n = 0;

        for (struct rec_cursor at = plan; rec_find(&at, tag, &body);)
                n++;
        list = calloc(n + 1, sizeof *list);
        if (!list) {
                err_oom(err);
                return NULL;
        }
        for (size_t i = 0; i < n; i++)
                list[i].fd = -1;
        *ret_n = n;
        return list;
}

static int open_mounts(struct rootfs *r, const struct launch_request *request, int user_ns, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;

        r->mounts = make_sources(r->plan, PLAN_MOUNT, &r->n_mounts, err);
        if (!r->mounts)
                return -1;
        for (size_t i = 0; rec_find(&at, PLAN_MOUNT, &body); i++) {
                auto_mount m = { 0 };

                if (read_mount(body, &m, err) < 0)
                        return -1;
                if (m.flags & PLAN_MOUNT_BIND && open_bind(&m, request, user_ns, &r->mounts[i], err) < 0)
                        return -1;
        }
        return 0;
}

/* Nodes cannot be made in a user namespace: those of the host are bound instead. */
static int open_devices(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;

        r->devices = make_sources(r->plan, PLAN_DEVICE, &r->n_devices, err);
        if (!r->devices)
                return -1;
        for (size_t i = 0; rec_find(&at, PLAN_DEVICE, &body); i++) {
                const char *path = rec_get_str(&body);
                uint32_t mode = rec_get_u32(&body), major = rec_get_u32(&body), minor = rec_get_u32(&body);
                auto_fd int fd = -1;
                struct stat st;

                if (body.bad)
                        return err_set(err, CRINGLE_E_INVALID, "a device of the plan is damaged");
                if ((mode & S_IFMT) == S_IFIFO)
                        continue;
                fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 || fstat(fd, &st) < 0)
                        return err_sys(err, "bind device %s", path);
                if ((st.st_mode & S_IFMT) != (mode & S_IFMT) || st.st_rdev != makedev(major, minor))
                        return err_set(err, CRINGLE_E_PRECONDITION, "bind device %s: it is not %u:%u on the host", path,
                                       major, minor);
                r->devices[i].fd = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
                if (r->devices[i].fd < 0)
                        return err_sys(err, "bind device %s", path);
        }
        return 0;
}

int rootfs_open(struct rootfs *r, const struct launch_request *request, int user_ns, struct cringle_err *err)
{
        struct rec_cursor plan = request->plan, body;
        const char *path;
        uint32_t by_fd;

        r->plan = plan;
        if (!rec_first(plan, PLAN_ROOT, &body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has no root");
        path = rec_get_str(&body);
        by_fd = rec_get_u32(&body);
        if (by_fd && request->rootfs_fd < 0)
                return err_set(err, CRINGLE_E_INVALID, "the plan wants its root as a mount, but none was brought");
        r->root = by_fd ? fcntl(request->rootfs_fd, F_DUPFD_CLOEXEC, 3)
                        : open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (r->root < 0)
                return err_sys(err, "open the root %s", path);
        if (rec_first(plan, PLAN_TTY, &body))
                r->host_ptmx = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (open_mounts(r, request, user_ns, err) < 0)
                return -1;
        return user_ns >= 0 ? open_devices(r, err) : 0;
}

/* --- in the container's mount namespace ----------------------------------------- */

/* Attach the detached mount @fd to @at (an O_PATH fd). */
static int attach(int fd, int at, const char *what, struct cringle_err *err)
{
        if (move_mount(fd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return err_sys(err, "mount on %s", what);
        return 0;
}

/*
 * A directory of @root without any symbolic link on the way to it: procfs and
 * sysfs are trusted by where they are, so an image must not send them elsewhere.
 */
static int plain_directory(int root, const char *path, struct cringle_err *err)
{
        struct open_how how = {
                .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
        };
        auto_fd int made = path_make_dirs(root, path, 0755, err);
        int fd;

        if (made < 0)
                return -1;
        do
                fd = (int) syscall(SYS_openat2, root, path, &how, sizeof how);
        while (fd < 0 && errno == EAGAIN);
        return fd < 0 ? err_sys(err, "open %s without following links", path) : fd;
}

/* What the kernel has to say about a file system it would not make. */
static int fs_fail(int fs, const struct mount *m, const char *what, struct cringle_err *err)
{
        char said[256];
        int sys = errno;
        ssize_t n = read(fs, said, sizeof said - 1);

        if (n <= 2)
                return err_sysno(err, sys, "mount %s on %s: %s", m->type, m->destination, what);
        said[n] = '\0';
        said[strcspn(said, "\n")] = '\0';
        return err_sysno(err, sys, "mount %s on %s: %s: %s", m->type, m->destination, what, said + 2);
}

/* Those in which the container makes files.  All others are labelled by the policy alone. */
static bool takes_label(const struct mount *m)
{
        for (size_t i = 0; m->data && m->data[i]; i++)
                if (str_starts(m->data[i], "context="))
                        return false;
        return strcmp(m->type, "tmpfs") == 0 || strcmp(m->type, "devpts") == 0;
}

/* @plan says the label, if any. */
static int make_fs(const struct mount *m, struct rec_cursor plan, struct cringle_err *err)
{
        auto_fd int fs = fsopen(m->type, FSOPEN_CLOEXEC), fd = -1;
        struct rec_cursor body;

        if (fs < 0)
                return err_sys(err, "mount %s on %s", m->type, m->destination);
        if (*m->source && fsconfig(fs, FSCONFIG_SET_STRING, "source", m->source, 0) < 0)
                return fs_fail(fs, m, "source", err);
        for (size_t i = 0; m->data && m->data[i]; i++) {
                const char *word = m->data[i], *equals = strchr(word, '=');
                auto_free char *key = strndup(word, equals ? (size_t) (equals - word) : strlen(word));

                if (!key)
                        return err_oom(err);
                if (fsconfig(fs, equals ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, equals ? equals + 1 : NULL, 0) < 0)
                        return fs_fail(fs, m, word, err);
        }
        if (rec_first(plan, PLAN_MOUNT_LABEL, &body) && takes_label(m) &&
            fsconfig(fs, FSCONFIG_SET_STRING, "context", rec_get_str(&body), 0) < 0)
                return fs_fail(fs, m, "SELinux label", err);
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return fs_fail(fs, m, "make it", err);
        fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned) m->set);
        if (fd < 0)
                return fs_fail(fs, m, "mount it", err);
        if (set_attributes(fd, 0, 0, m->propagation & ~(uint32_t) MS_REC, m->propagation & MS_REC, m->destination,
                           err) < 0)
                return -1;
        return steal_fd(&fd);
}

/* One message per procfs: an error, or empty with the mount's fd. */
void rootfs_send_procfs(struct rec_cursor plan, int fd)
{
        struct rec_cursor body;

        while (rec_find(&plan, PLAN_MOUNT, &body)) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                auto_mount m = { 0 };
                auto_fd int made = -1;

                if (read_mount(body, &m, &err) == 0 && strcmp(m.type, "proc") != 0)
                        continue;
                if (err.code == CRINGLE_OK)
                        made = make_fs(&m, plan, &err);
                if (sock_send(fd, &err, sizeof err, &made, made >= 0, NULL) < 0)
                        return;
        }
}

int rootfs_receive_procfs(struct rootfs *r, int fd, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;

        for (size_t i = 0; rec_find(&at, PLAN_MOUNT, &body); i++) {
                struct cringle_err said;
                auto_mount m = { 0 };
                size_t n = 0, n_fds = 1;
                int got = -1;

                if (read_mount(body, &m, err) < 0)
                        return -1;
                if (strcmp(m.type, "proc") != 0)
                        continue;
                if (sock_recv(fd, &said, sizeof said, &n, &got, &n_fds, err) < 0)
                        return err_wrap(err, "hear the process");
                if (n != sizeof said || (n_fds == 0 && said.code == CRINGLE_OK))
                        return err_set(err, CRINGLE_E_ABORTED, "the process died at its birth");
                if (n_fds == 0) {
                        said.text[sizeof said.text - 1] = '\0';
                        *err = said;
                        return -1;
                }
                r->mounts[i].fd = got;
                r->mounts[i].directory = true;
        }
        return 0;
}

static int do_mount(struct rootfs *r, size_t i, struct rec_cursor body, struct cringle_err *err)
{
        auto_mount m = { 0 };
        auto_fd int at = -1, made = -1;
        bool trusted;

        if (read_mount(body, &m, err) < 0)
                return -1;
        trusted = strcmp(m.type, "proc") == 0 || strcmp(m.type, "sysfs") == 0 || strcmp(m.type, "cgroup2") == 0 ||
                  strcmp(m.destination, "/proc") == 0;
        at = trusted ? plain_directory(r->root, m.destination, err)
                     : path_mount_point(r->root, m.destination, r->mounts[i].fd < 0 || r->mounts[i].directory, err);
        if (at < 0)
                return err_wrap(err, "mount %s on %s", *m.source ? m.source : m.type, m.destination);
        if (r->mounts[i].fd >= 0)
                return attach(r->mounts[i].fd, at, m.destination, err);
        made = make_fs(&m, r->plan, err);
        if (made < 0)
                return -1;
        return attach(made, at, m.destination, err);
}

/* A mount that had to be written to before it became read-only. */
static int do_remount(struct rootfs *r, struct rec_cursor body, struct cringle_err *err)
{
        const char *path = rec_get_str(&body);
        uint64_t set = rec_get_u64(&body);
        auto_fd int fd = path_open(r->root, path, O_PATH, 0, err);

        if (fd < 0 || set_attributes(fd, set, 0, 0, false, path, err) < 0)
                return -1;
        return 0;
}

/* Mounts and the finishing of some, in the order of the plan: both kinds in one walk. */
static int do_mounts(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;
        uint16_t tag;
        size_t i = 0;

        while (rec_next(&at, &tag, &body)) {
                if (tag == PLAN_MOUNT && do_mount(r, i++, body, err) < 0)
                        return -1;
                if (tag == PLAN_REMOUNT && do_remount(r, body, err) < 0)
                        return -1;
        }
        return 0;
}

/* The directory that @path is in, made when missing; *ret_name is the last component, within @path. */
static int open_parent(int root, const char *path, const char **ret_name, struct cringle_err *err)
{
        const char *slash = strrchr(path, '/');
        auto_free char *parent = strndup(path, slash ? (size_t) (slash - path) : 0);

        if (!parent)
                return err_oom(err);
        if (!slash || !slash[1] || strcmp(slash + 1, ".") == 0 || strcmp(slash + 1, "..") == 0)
                return err_set(err, CRINGLE_E_INVALID, "'%s' names no file", path);
        *ret_name = slash + 1;
        return path_make_dirs(root, *parent ? parent : "/", 0755, err);
}

static int bind_device(struct rootfs *r, size_t i, const char *path, struct cringle_err *err)
{
        auto_fd int at = path_mount_point(r->root, path, false, err);

        if (at < 0)
                return -1;
        return attach(r->devices[i].fd, at, path, err);
}

static int do_device(struct rootfs *r, size_t i, struct rec_cursor body, struct cringle_err *err)
{
        const char *path = rec_get_str(&body), *name;
        uint32_t mode = rec_get_u32(&body), major = rec_get_u32(&body), minor = rec_get_u32(&body);
        uint32_t uid = rec_get_u32(&body), gid = rec_get_u32(&body);
        auto_fd int parent = -1, fd = -1;
        bool fresh;
        struct stat st;

        if (body.bad)
                return err_set(err, CRINGLE_E_INVALID, "a device of the plan is damaged");
        if (r->devices && r->devices[i].fd >= 0)
                return bind_device(r, i, path, err);
        parent = open_parent(r->root, path, &name, err);
        if (parent < 0)
                return err_wrap(err, "make device %s", path);
        fresh = mknodat(parent, name, mode, makedev(major, minor)) == 0;
        if (!fresh && errno != EEXIST)
                return err_sys(err, "make device %s", path);

        /* What is there, fresh or found, must be what was asked for: never a link, never something else. */
        fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, "look at device %s", path);
        if ((st.st_mode & S_IFMT) != (mode & S_IFMT) ||
            ((mode & S_IFMT) != S_IFIFO && st.st_rdev != makedev(major, minor)))
                return err_set(err, CRINGLE_E_INVALID, "device %s: the image has something else there", path);
        if (fresh && (uid || gid) && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
                return err_sys(err, "change owner of device %s", path);
        return 0;
}

static int do_devices(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;
        mode_t mask = umask(0);
        int done = 0;

        for (size_t i = 0; done == 0 && rec_find(&at, PLAN_DEVICE, &body); i++)
                done = do_device(r, i, body, err);
        umask(mask);
        return done;
}

static int do_links(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;

        while (rec_find(&at, PLAN_LINK, &body)) {
                const char *path = rec_get_str(&body), *target = rec_get_str(&body), *name;
                auto_fd int parent = open_parent(r->root, path, &name, err);

                if (parent < 0)
                        return err_wrap(err, "make link %s", path);
                if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
                        return err_sys(err, "make link %s", path);
        }
        return 0;
}

int rootfs_open_tty(int root, int proc_fd, int host_ptmx, struct rec_cursor plan, int ret_tty[2],
                    struct cringle_err *err)
{
        auto_fd int found = path_open(root, "/dev/pts/ptmx", O_PATH, 0, NULL), master = -1, slave = -1;
        struct winsize size = { 0 };
        struct rec_cursor body;
        char name[PATH_OF_FD_MAX];
        struct statfs fs;
        struct stat st;
        int unlock = 0;

        if (found >= 0 && fstat(found, &st) == 0 && fstatfs(found, &fs) == 0 && S_ISCHR(st.st_mode) &&
            st.st_rdev == makedev(5, 2) && fs.f_type == DEVPTS_SUPER_MAGIC) {
                snprintf(name, sizeof name, "self/fd/%d", found);
                master = openat(proc_fd, name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        }
        if (master < 0 && host_ptmx >= 0)
                master = fcntl(host_ptmx, F_DUPFD_CLOEXEC, 3);
        if (master < 0)
                return err_set(err, CRINGLE_E_PRECONDITION, "there is no devpts to make a terminal in");
        if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
                return err_sys(err, "unlock the terminal");
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0)
                return err_sys(err, "open the terminal's other end");
        if (rec_first(plan, PLAN_TTY, &body)) {
                size.ws_col = (unsigned short) rec_get_u32(&body);
                size.ws_row = (unsigned short) rec_get_u32(&body);
                if (size.ws_col && size.ws_row)
                        ioctl(master, TIOCSWINSZ, &size);
        }

        ret_tty[0] = steal_fd(&master);
        ret_tty[1] = steal_fd(&slave);
        return 0;
}

/* /dev/console is the terminal's slave, bound from the fd we got with it. */
static int bind_console(struct rootfs *r, int slave, struct cringle_err *err)
{
        auto_fd int tree = open_tree(slave, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), at = -1;

        /* EINVAL: the terminal comes from the host's devpts, whose mount is not ours to clone. */
        if (tree < 0 && errno == EINVAL)
                return 0;
        if (tree < 0)
                return err_sys(err, "bind /dev/console");
        at = path_mount_point(r->root, "/dev/console", false, err);
        if (at < 0)
                return err_wrap(err, "bind /dev/console");
        return attach(tree, at, "/dev/console", err);
}

int rootfs_find_place(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor body;
        const char *path;

        if (!rec_first(r->plan, PLAN_ROOT, &body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has no root");
        path = rec_get_str(&body);
        r->place = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return r->place < 0 ? err_sys(err, "open %s", path) : 0;
}

static int attach_root(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor body;
        const char *path;

        if (!rec_first(r->plan, PLAN_ROOT, &body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has no root");
        path = rec_get_str(&body);
        /* Slave, so that what the host unmounts goes away here too, and nothing done here shows there. */
        if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
                return err_sys(err, "part the mounts from the host's");
        if (set_attributes(r->root, 0, 0, MS_PRIVATE, true, path, err) < 0)
                return -1;
        return attach(r->root, r->place, path, err);
}

/* The working directory exists, when it can be made: chdir() will say what is wrong with it. */
static void make_cwd(struct rootfs *r)
{
        struct rec_cursor body;

        if (rec_first(r->plan, PLAN_CWD, &body))
                fd_close(path_make_dirs(r->root, rec_get_str(&body), 0755, NULL));
}

int rootfs_build(struct rootfs *r, int proc_fd, int ret_tty[2], struct cringle_err *err)
{
        struct rec_cursor body;

        if (attach_root(r, err) < 0 || do_mounts(r, err) < 0 || do_devices(r, err) < 0 || do_links(r, err) < 0)
                return -1;
        if (rec_first(r->plan, PLAN_TTY, &body)) {
                if (rootfs_open_tty(r->root, proc_fd, r->host_ptmx, r->plan, ret_tty, err) < 0 ||
                    bind_console(r, ret_tty[1], err) < 0)
                        return -1;
        }
        make_cwd(r);
        return 0;
}

/* --- after the hooks ------------------------------------------------------------ */

/* Directories are masked by one empty read-only tmpfs, mounted as often as needed. */
static int empty_directory(struct rootfs *r, struct cringle_err *err)
{
        struct mount m = {
                .destination = "a masked directory", .source = "tmpfs", .type = "tmpfs",
                .set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
        };
        int fd;

        if (r->masks < 0) {
                r->masks = make_fs(&m, r->plan, err);
                return r->masks < 0 ? -1 : fcntl(r->masks, F_DUPFD_CLOEXEC, 3);
        }
        fd = open_tree(r->masks, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        return fd < 0 ? err_sys(err, "mount the empty directory again") : fd;
}

static int do_mask(struct rootfs *r, int null_fd, const char *path, struct cringle_err *err)
{
        auto_fd int at = path_open(r->root, path, O_PATH, 0, err), cover = -1;
        struct stat st;

        if (at < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : err_wrap(err, "mask");
        if (fstat(at, &st) < 0)
                return err_sys(err, "mask %s", path);
        if (S_ISDIR(st.st_mode))
                cover = empty_directory(r, err);
        else
                cover = open_tree(null_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (cover < 0)
                return err_sys(err, "mask %s", path);
        return attach(cover, at, path, err);
}

static int do_masks(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;
        auto_fd int null_fd = kernel_dev_null(err);

        if (null_fd < 0)
                return -1;
        while (rec_find(&at, PLAN_MASK, &body))
                if (do_mask(r, null_fd, rec_get_str(&body), err) < 0)
                        return -1;
        return 0;
}

static int do_readonly(struct rootfs *r, const char *path, struct cringle_err *err)
{
        auto_fd int at = path_open(r->root, path, O_PATH, 0, err), tree = -1;

        if (at < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : err_wrap(err, "make read-only");
        tree = open_tree(at, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (tree < 0)
                return err_sys(err, "make %s read-only", path);
        if (set_attributes(tree, MOUNT_ATTR_RDONLY, 0, 0, true, path, err) < 0)
                return -1;
        return attach(tree, at, path, err);
}

static int do_readonly_paths(struct rootfs *r, struct cringle_err *err)
{
        struct rec_cursor at = r->plan, body;

        while (rec_find(&at, PLAN_READONLY, &body))
                if (do_readonly(r, rec_get_str(&body), err) < 0)
                        return -1;
        return 0;
}

/* With both arguments "." the old root lies on top of the new one, and is taken off. */
static int enter_root(struct rootfs *r, struct cringle_err *err)
{
        if (fchdir(r->root) < 0)
                return err_sys(err, "enter the root");
        if (kernel_pivot_root(".", ".") < 0)
                return err_sys(err, "make the root the root");
        if (umount2(".", MNT_DETACH) < 0)
                return err_sys(err, "drop the host's root");
        if (chdir("/") < 0)
                return err_sys(err, "enter the root");
        return 0;
}

/* Nothing is made in it any more. */
static int close_root(struct rootfs *r, uint32_t *ret_propagation, struct cringle_err *err)
{
        struct rec_cursor body;
        uint32_t readonly;

        if (!rec_first(r->plan, PLAN_ROOT, &body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has no root");
        rec_get_str(&body);
        rec_get_u32(&body);
        readonly = rec_get_u32(&body);
        *ret_propagation = rec_get_u32(&body);
        return readonly ? set_attributes(r->root, MOUNT_ATTR_RDONLY, 0, 0, false, "/", err) : 0;
}

int rootfs_finish(struct rootfs *r, struct cringle_err *err)
{
        uint32_t propagation;

        if (do_readonly_paths(r, err) < 0 || do_masks(r, err) < 0 || close_root(r, &propagation, err) < 0 ||
            enter_root(r, err) < 0)
                return -1;
        /* Only now: the kernel does not pivot to or from a shared mount. */
        if (propagation && mount(NULL, "/", NULL, propagation, NULL) < 0)
                return err_sys(err, "set propagation of the root");
        return 0;
}

/* --- for somebody else ------------------------------------------------------------ */

static int stage_mount(struct rootfs *r, size_t i, const char *dir, int at, struct rec_cursor body, rootfs_stage_fn fn, void *data,
                       struct cringle_err *err)
{
        auto_free char *name = str_printf(err, "/%zu", i), *path = str_printf(err, "%s/%zu", dir, i);
        auto_fd int point = -1;
        auto_mount m = { 0 };

        if (!name || !path || read_mount(body, &m, err) < 0)
                return -1;
        /* The view of the container's own cgroup is from outside, too. */
        if (r->mounts[i].fd < 0 && strcmp(m.type, "cgroup2") == 0) {
                r->mounts[i].fd = make_fs(&m, r->plan, err);
                r->mounts[i].directory = true;
                if (r->mounts[i].fd < 0)
                        return -1;
        }
        if (r->mounts[i].fd < 0)
                return 0;
        point = path_mount_point(at, name, r->mounts[i].directory, err);
        if (point < 0 || attach(r->mounts[i].fd, point, m.destination, err) < 0)
                return -1;
        return fn(data, m.destination, path, err);
}

int rootfs_stage(struct rootfs *r, const char *dir, rootfs_stage_fn fn, void *data, struct cringle_err *err)
{
        struct mount points = {
                .destination = dir, .source = "tmpfs", .type = "tmpfs", .set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
        };
        auto_fd int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fs = -1;
        struct rec_cursor mounts = r->plan, masks = r->plan, body;
        uint32_t propagation;

        if (at < 0)
                return err_sys(err, "open %s", dir);
        /* The root's propagation CRIU restores; that it is read-only not every version does (3.17 does not). */
        if (attach_root(r, err) < 0 || close_root(r, &propagation, err) < 0)
                return -1;
        fs = make_fs(&points, r->plan, err);
        if (fs < 0 || attach(fs, at, dir, err) < 0)
                return -1;
        for (size_t i = 0; rec_find(&mounts, PLAN_MOUNT, &body); i++)
                if (stage_mount(r, i, dir, fs, body, fn, data, err) < 0)
                        return -1;
        /* Of these, files show the null device; a directory's mask is the container's own, and this not looked at. */
        while (rec_find(&masks, PLAN_MASK, &body))
                if (fn(data, rec_get_str(&body), "/dev/null", err) < 0)
                        return -1;
        return 0;
}
