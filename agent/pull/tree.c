/*
 * A layer's entries as files in a directory; see tree.h.
 *
 * A path on its way: split() makes the parent and the last component of a name,
 * enter() turns the parent into a directory fd and a canonical path (no links, no dots), and
 * everything after that happens to one name in one directory.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/map.h"
#include "agent/base/str.h"
#include "agent/pull/tree.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define AUFS_OWN ".wh..wh."             /* bookkeeping of aufs, no content */
#define LINKS_MAX 40                    /* on one path, as the kernel has it */
#define IMPLIED_MODE 0755

struct mark {
        struct pull_mark head;
        size_t at;                      /* in the list */
        char *path, *target;
};

struct dir_time {
        char *path;
        struct timespec mtime;
};

struct tree {
        int root;
        uint64_t entries, max_entries;

        /* The directory the last entry was put in: most entries have the same one. */
        int parent;
        struct buf parent_name;         /* as the tar had it */
        struct buf parent_path;         /* canonical; "" is the root */

        struct map marks;               /* "<kind>/<path>" -> struct mark, which it owns */
        struct mark **list;             /* the same in their order; NULL: dropped since */
        size_t n_list, list_room;
        struct dir_time *times;
        size_t n_times, times_room;
};

static void free_mark(void *p)
{
        struct mark *m = p;

        if (!m)
                return;
        free(m->path);
        free(m->target);
        free(m);
}

int tree_new(int root, uint64_t max_entries, struct tree **ret, struct cringle_err *err)
{
        struct tree *t = calloc(1, sizeof *t);

        if (!t)
                return err_oom(err);

        t->root = root;
        t->max_entries = max_entries;
        t->parent = -1;
        *ret = t;
        return 0;
}

struct tree *tree_free(struct tree *t)
{
        if (!t)
                return NULL;

        fd_close(t->parent);
        buf_done(&t->parent_name);
        buf_done(&t->parent_path);
        map_done(&t->marks, free_mark);
        free(t->list);
        for (size_t i = 0; i < t->n_times; i++)
                free(t->times[i].path);
        free(t->times);
        free(t);
        return NULL;
}

uint64_t tree_entries(const struct tree *t)
{
        return t->entries;
}

/* A canonical path below the root: no link, no "..", so the kernel can refuse all of them. */
static int open_path(const struct tree *t, const char *path, int flags)
{
        struct open_how how = {
                .flags = (uint64_t) flags | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
        };
        int fd;

        do
                fd = (int) syscall(SYS_openat2, t->root, *path ? path : ".", &how, sizeof how);
        while (fd < 0 && (errno == EAGAIN || errno == EINTR));
        return fd;
}

/* --- marks ------------------------------------------------------------- */

static char *mark_key(uint32_t kind, const char *path, struct cringle_err *err)
{
        return str_printf(err, "%u/%s", kind, path);
}

static int put_mark(struct tree *t, const struct pull_mark *head, const char *path, const char *target,
                    struct cringle_err *err)
{
        auto_free char *key = mark_key(head->kind, path, err);
        struct mark *m;

        if (!key)
                return -1;
        if (map_get(&t->marks, key))
                return 0;
        if (t->n_list == t->list_room) {
                size_t room = t->list_room ? t->list_room * 2 : 64;
                struct mark **grown = reallocarray(t->list, room, sizeof *grown);

                if (!grown)
                        return err_oom(err);
                t->list = grown;
                t->list_room = room;
        }

        m = calloc(1, sizeof *m);
        if (!m)
                return err_oom(err);
        m->head = *head;
        m->head.path_len = (uint32_t) strlen(path);
        m->head.target_len = (uint32_t) strlen(target);
        m->at = t->n_list;
        m->path = strdup(path);
        m->target = strdup(target);
        if (!m->path || !m->target || map_put(&t->marks, key, m, err) < 0) {
                free_mark(m);
                return err_oom(err);
        }
        t->list[t->n_list++] = m;
        return 0;
}

static int mark_dir(struct tree *t, uint32_t kind, const char *path, struct cringle_err *err)
{
        const struct pull_mark head = { .kind = kind };

        return put_mark(t, &head, path, "", err);
}

static int drop_mark(struct tree *t, uint32_t kind, const char *path, struct cringle_err *err)
{
        auto_free char *key = mark_key(kind, path, err);
        struct mark *m;

        if (!key)
                return -1;
        m = map_take(&t->marks, key);
        if (m)
                t->list[m->at] = NULL;
        free_mark(m);
        return 0;
}

/* False also when memory is out, which the next step will notice. */
static bool has_mark(const struct tree *t, uint32_t kind, const char *path)
{
        auto_free char *key = mark_key(kind, path, NULL);

        return key && map_get(&t->marks, key);
}

/* --- removing ---------------------------------------------------------- */

/*
 * Remove what is in the directory @fd (taken over), without recursion: go down into what is not empty, come
 * up by "..", and look again.  Every look finds only what is left, so all of it is linear.
 */
static int empty_dir(int fd, struct cringle_err *err)
{
        size_t depth = 0;

        for (;;) {
                DIR *d = fdopendir(fd);
                struct dirent *e;
                int down = -1, up = -1;

                if (!d) {
                        fd_close(fd);
                        return err_sys(err, "read a directory to remove");
                }
                while (down < 0 && (errno = 0, e = readdir(d))) {
                        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                                continue;
                        if (unlinkat(dirfd(d), e->d_name, 0) == 0)
                                continue;
                        if (errno == EISDIR && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) == 0)
                                continue;
                        if (errno == ENOTEMPTY || errno == EEXIST)
                                down = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                        if (down < 0) {
                                err_sys(err, "remove %s", e->d_name);
                                closedir(d);
                                return -1;
                        }
                }
                if (down < 0 && errno != 0) {
                        err_sys(err, "read a directory to remove");
                        closedir(d);
                        return -1;
                }
                if (down < 0 && depth > 0) {
                        up = openat(dirfd(d), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        if (up < 0) {
                                err_sys(err, "open a parent directory");
                                closedir(d);
                                return -1;
                        }
                }
                closedir(d);
                if (down >= 0) {
                        depth++;
                        fd = down;
                } else if (up >= 0) {
                        depth--;
                        fd = up;
                } else {
                        return 0;
                }
        }
}

static int remove_name(struct tree *t, int dir, const char *name, const struct stat *st, struct cringle_err *err)
{
        int fd;

        if (!S_ISDIR(st->st_mode))
                return unlinkat(dir, name, 0) == 0 ? 0 : err_sys(err, "replace %s", name);

        /* It may be, or hold, the directory we are in. */
        fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "open %s", name);
        if (empty_dir(fd, err) < 0)
                return -1;
        return unlinkat(dir, name, AT_REMOVEDIR) == 0 ? 0 : err_sys(err, "replace directory %s", name);
}

/* --- finding the parent ------------------------------------------------ */

static bool is_whiteout(const struct stat *st)
{
        return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

/* A name without "", ".": *ret_parent ("a/b") and *ret_name ("c", "" for the root itself). */
static int split(const char *name, char **ret_parent, char **ret_name, struct cringle_err *err)
{
        auto_buf parent = BUF_INIT;
        const char *last = "";
        size_t last_n = 0;

        for (const char *p = name; *p;) {
                size_t n = strcspn(p, "/");

                if (n > NAME_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "a name has a component longer than %d bytes", NAME_MAX);
                if (n == 2 && memcmp(p, "..", 2) == 0)
                        return err_set(err, CRINGLE_E_INVALID, "the name '%.200s' has a '..'", name);
                if (n > 0 && !(n == 1 && *p == '.')) {
                        if (last_n > 0) {
                                if (last_n >= strlen(WHITEOUT) && memcmp(last, WHITEOUT, strlen(WHITEOUT)) == 0)
                                        return err_set(err, CRINGLE_E_INVALID, "'%.200s' is inside a whiteout", name);
                                if (buf_printf(&parent, err, "%s%.*s", parent.len ? "/" : "", (int) last_n, last) < 0)
                                        return -1;
                        }
                        last = p;
                        last_n = n;
                }
                p += n;
                p += strspn(p, "/");
        }

        *ret_name = strndup(last, last_n);
        if (!*ret_name)
                return err_oom(err);
        if (parent.len == 0 && buf_add_str(&parent, "", err) < 0) {
                free(steal(ret_name));
                return -1;
        }
        *ret_parent = buf_steal(&parent);
        return 0;
}

/* Cut the last component off a canonical path. */
static void go_up(struct buf *path)
{
        while (path->len > 0 && path->data[path->len - 1] != '/')
                path->len--;
        if (path->len > 0)
                path->len--;
        if (path->data)
                path->data[path->len] = '\0';
}

static int make_implied(struct tree *t, int dir, const char *name, const char *path, bool opaque,
                        struct cringle_err *err)
{
        if (mkdirat(dir, name, IMPLIED_MODE) < 0)
                return err_sys(err, "make directory %s", path);
        if (opaque)
                return mark_dir(t, PULL_MARK_OPAQUE, path, err);
        return mark_dir(t, PULL_MARK_IMPLIED, path, err);
}

static int read_link(int dir, const char *name, struct buf *ret, struct cringle_err *err)
{
        ssize_t n;

        buf_clear(ret);
        if (buf_reserve(ret, PULL_PATH_MAX + 1, err) < 0)
                return -1;
        n = readlinkat(dir, name, ret->data, PULL_PATH_MAX + 1);
        if (n < 0)
                return err_sys(err, "read link %s", name);
        if (n > PULL_PATH_MAX)
                return err_set(err, CRINGLE_E_INVALID, "a symbolic link is too long");
        ret->len = (size_t) n;
        ret->data[n] = '\0';
        return 0;
}

/* @todo becomes @link, then what it was. */
static int put_in_front(struct buf *todo, struct buf *link, struct cringle_err *err)
{
        if (todo->len > 0 && (buf_add_str(link, "/", err) < 0 || buf_add(link, todo->data, todo->len, err) < 0))
                return -1;
        buf_clear(todo);
        if (buf_add(todo, link->data, link->len, err) < 0)
                return -1;
        buf_drop(todo, strspn(todo->data, "/"));
        return 0;
}

/* Make *dir the directory at the canonical @path. */
static int go_to(const struct tree *t, const char *path, int *dir, struct cringle_err *err)
{
        int fd = open_path(t, path, O_PATH | O_DIRECTORY);

        if (fd < 0)
                return err_sys(err, "open directory %s", path);
        fd_close(*dir);
        *dir = fd;
        return 0;
}

/* What resolve() does when a component is not there. */
enum missing { MAKE, FAIL };

/* resolve() only: the directory is not there. */
enum { RESOLVED = 0, NOT_THERE = 1 };

/*
 * The canonical path of directory @name, following links as if the layer were "/".  With MAKE, what is missing is
 * made, and a whiteout on the way gives way to a directory that hides what is below.
 */
static int resolve(struct tree *t, const char *name, enum missing missing, struct buf *path, struct cringle_err *err)
{
        auto_buf todo = BUF_INIT, link = BUF_INIT;
        auto_fd int dir = -1;
        int links = 0, next;

        buf_clear(path);
        if (buf_add_str(path, "", err) < 0 || buf_add_str(&todo, name, err) < 0)
                return -1;

        dir = open_path(t, "", O_PATH | O_DIRECTORY);
        if (dir < 0)
                return err_sys(err, "open the layer");

        while (todo.len > 0) {
                size_t n = strcspn(todo.data, "/"), before = path->len;
                auto_free char *part = strndup(todo.data, n);
                struct stat st;

                if (!part)
                        return err_oom(err);
                buf_drop(&todo, n + strspn(todo.data + n, "/"));
                if (n == 0 || strcmp(part, ".") == 0)
                        continue;
                if (strcmp(part, "..") == 0) {
                        go_up(path);
                        if (go_to(t, path->data, &dir, err) < 0)
                                return -1;
                        continue;
                }

                if (buf_printf(path, err, "%s%s", path->len ? "/" : "", part) < 0)
                        return -1;
                if (path->len > PULL_PATH_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "a path is longer than %d bytes", PULL_PATH_MAX);

                if (fstatat(dir, part, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        if (errno != ENOENT)
                                return err_sys(err, "stat %s", path->data);
                        if (missing == FAIL)
                                return NOT_THERE;
                        if (make_implied(t, dir, part, path->data, false, err) < 0)
                                return -1;
                } else if (S_ISLNK(st.st_mode)) {
                        if (++links > LINKS_MAX)
                                return err_set(err, CRINGLE_E_INVALID, "%s: too many symbolic links", path->data);
                        if (read_link(dir, part, &link, err) < 0)
                                return -1;
                        path->len = link.data[0] == '/' ? 0 : before;
                        path->data[path->len] = '\0';
                        if (todo.len + link.len > 4 * PULL_PATH_MAX)
                                return err_set(err, CRINGLE_E_INVALID, "a path is longer than its links allow");
                        if (link.data[0] == '/' && go_to(t, "", &dir, err) < 0)
                                return -1;
                        if (put_in_front(&todo, &link, err) < 0)
                                return -1;
                        continue;
                } else if (is_whiteout(&st)) {
                        if (missing == FAIL)
                                return NOT_THERE;
                        if (unlinkat(dir, part, 0) < 0)
                                return err_sys(err, "replace whiteout %s", path->data);
                        if (make_implied(t, dir, part, path->data, true, err) < 0)
                                return -1;
                } else if (!S_ISDIR(st.st_mode)) {
                        if (missing == FAIL)
                                return NOT_THERE;
                        return err_set(err, CRINGLE_E_INVALID, "'%s' is no directory, but has entries in it",
                                       path->data);
                }

                next = openat(dir, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return err_sys(err, "open directory %s", path->data);
                fd_close(dir);
                dir = next;
        }
        return RESOLVED;
}

static void leave(struct tree *t)
{
        t->parent = fd_close(t->parent);
}

/* Make t->parent and t->parent_path those of @name. */
static int enter(struct tree *t, const char *name, struct cringle_err *err)
{
        if (t->parent >= 0 && strcmp(t->parent_name.data, name) == 0)
                return 0;

        leave(t);
        if (resolve(t, name, MAKE, &t->parent_path, err) < 0)
                return -1;
        buf_clear(&t->parent_name);
        if (buf_add_str(&t->parent_name, name, err) < 0)
                return -1;
        t->parent = open_path(t, t->parent_path.data, O_RDONLY | O_DIRECTORY);
        return t->parent < 0 ? err_sys(err, "open directory %s", t->parent_path.data) : 0;
}

static char *join(const struct buf *dir, const char *name, struct cringle_err *err)
{
        return str_printf(err, "%s%s%s", dir->len ? dir->data : "", dir->len ? "/" : "", name);
}

/* --- attributes -------------------------------------------------------- */

static struct timespec mtime_of(const struct tar_entry *e)
{
        return (struct timespec) { e->mtime_sec, e->mtime_nsec };
}

/*
 * Which attributes a layer may bring.  What overlayfs or an LSM believes in is not for it to set: the
 * former is refused, since a layer with it tries to be more than content.
 */
enum { XATTR_SET, XATTR_SKIP };

static int judge_xattr(const char *name, struct cringle_err *err)
{
        if (str_starts(name, "trusted.") || str_starts(name, "user.overlay."))
                return err_set(err, CRINGLE_E_INVALID, "attribute %.100s is not allowed in a layer", name);
        if ((str_starts(name, "user.") && name[5]) || strcmp(name, "security.capability") == 0 ||
            strcmp(name, "system.posix_acl_access") == 0 || strcmp(name, "system.posix_acl_default") == 0)
                return XATTR_SET;
        return XATTR_SKIP;
}

static int check_xattrs(const struct tar_entry *e, struct cringle_err *err)
{
        for (size_t i = 0; i < e->n_xattrs; i++)
                if (judge_xattr(e->xattrs[i].name, err) < 0)
                        return -1;
        return 0;
}

static int set_xattrs(int fd, const struct tar_entry *e, struct cringle_err *err)
{
        for (size_t i = 0; i < e->n_xattrs; i++) {
                const struct tar_xattr *x = e->xattrs + i;

                if (judge_xattr(x->name, err) != XATTR_SET)
                        continue;
                if (fsetxattr(fd, x->name, x->value, x->size, 0) == 0)
                        continue;
                /* A file system without user attributes or ACLs holds the layer well enough; without capabilities it does not. */
                if (errno == ENOTSUP && strcmp(x->name, "security.capability") != 0)
                        continue;
                return err_sys(err, "set attribute %s", x->name);
        }
        return 0;
}

/* Owner first: changing it clears set-user-id and file capabilities. */
static int set_attributes(int fd, const struct tar_entry *e, struct cringle_err *err)
{
        if (fchown(fd, e->uid, e->gid) < 0)
                return err_sys(err, "set the owner to %u:%u", e->uid, e->gid);
        if (fchmod(fd, e->mode) < 0)
                return err_sys(err, "set the mode to %o", e->mode);
        return set_xattrs(fd, e, err);
}

static int set_times(int dir, const char *name, struct timespec mtime, struct cringle_err *err)
{
        const struct timespec times[2] = { mtime, mtime };

        if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, "set the time");
        return 0;
}

/* A directory's time changes with every entry in it: kept for the end. */
static int keep_time(struct tree *t, const char *path, struct timespec mtime, struct cringle_err *err)
{
        if (t->n_times == t->times_room) {
                size_t room = t->times_room ? t->times_room * 2 : 256;
                struct dir_time *grown = reallocarray(t->times, room, sizeof *grown);

                if (!grown)
                        return err_oom(err);
                t->times = grown;
                t->times_room = room;
        }
        t->times[t->n_times].path = strdup(path);
        if (!t->times[t->n_times].path)
                return err_oom(err);
        t->times[t->n_times++].mtime = mtime;
        return 0;
}

/* --- entries ----------------------------------------------------------- */

static int write_data(int fd, struct tar *tar, const struct tar_entry *e, struct cringle_err *err)
{
        const uint8_t *p;
        uint64_t offset;
        size_t n;
        int got;

        while ((got = tar_data(tar, &p, &n, &offset, err)) > 0) {
                while (n > 0) {
                        ssize_t done = pwrite(fd, p, n, (off_t) offset);

                        if (done < 0 && errno == EINTR)
                                continue;
                        if (done < 0)
                                return err_sys(err, "write");
                        p += done;
                        n -= (size_t) done;
                        offset += (uint64_t) done;
                }
        }
        if (got < 0)
                return -1;
        if (e->regions && ftruncate(fd, (off_t) e->size) < 0)
                return err_sys(err, "set the size");
        return 0;
}

static int put_file(struct tree *t, const char *name, const struct tar_entry *e, struct tar *tar,
                    struct cringle_err *err)
{
        auto_fd int fd = openat(t->parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
                return err_sys(err, "create");
        if (write_data(fd, tar, e, err) < 0 || set_attributes(fd, e, err) < 0)
                return -1;
        return set_times(t->parent, name, mtime_of(e), err);
}

static int put_dir(struct tree *t, const char *name, const char *path, const struct tar_entry *e, bool exists,
                   bool opaque, struct cringle_err *err)
{
        auto_fd int fd = -1;

        if (!exists && mkdirat(t->parent, name, 0700) < 0)
                return err_sys(err, "make the directory");
        fd = openat(t->parent, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "open the directory");
        if (set_attributes(fd, e, err) < 0 || keep_time(t, path, mtime_of(e), err) < 0)
                return -1;
        if (opaque && mark_dir(t, PULL_MARK_OPAQUE, path, err) < 0)
                return -1;
        return drop_mark(t, PULL_MARK_IMPLIED, path, err);
}

/* Things without data, made under their name and never opened. */
static int put_node(struct tree *t, const char *name, const struct tar_entry *e, struct cringle_err *err)
{
        if (e->type == TAR_SYMLINK) {
                if (!*e->target)
                        return err_set(err, CRINGLE_E_INVALID, "a symbolic link to nothing");
                if (symlinkat(e->target, t->parent, name) < 0)
                        return err_sys(err, "make the symbolic link");
        } else if (mknodat(t->parent, name, S_IFIFO | (e->mode & 0777), 0) < 0) {
                return err_sys(err, "make the FIFO");
        }
        if (fchownat(t->parent, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, "set the owner to %u:%u", e->uid, e->gid);
        return set_times(t->parent, name, mtime_of(e), err);
}

/* A device node needs CAP_MKNOD, which we gave up: the agent makes it. */
static int put_device(struct tree *t, const char *path, const struct tar_entry *e, struct cringle_err *err)
{
        const struct pull_mark mark = {
                .kind = PULL_MARK_DEVICE,
                .mode = (e->type == TAR_CHAR ? S_IFCHR : S_IFBLK) | (e->mode & 0777),
                .uid = e->uid,
                .gid = e->gid,
                .major = e->major,
                .minor = e->minor,
                .mtime = e->mtime_sec * 1000000000 + e->mtime_nsec,
        };

        if (e->type == TAR_CHAR && e->major == 0 && e->minor == 0)
                return err_set(err, CRINGLE_E_INVALID, "a character device 0/0 would be a whiteout");
        return put_mark(t, &mark, path, "", err);
}

/* The file may be in a layer below: then the agent has to copy it. */
static int put_hardlink(struct tree *t, const char *name, const char *path, const struct tar_entry *e,
                        struct cringle_err *err)
{
        auto_free char *parent = NULL, *last = NULL, *target = NULL;
        auto_buf dir_path = BUF_INIT;
        auto_fd int dir = -1;
        struct stat st;
        int found;

        if (split(e->target, &parent, &last, err) < 0)
                return -1;
        if (!*last)
                return err_set(err, CRINGLE_E_INVALID, "a hard link to the root");
        found = resolve(t, parent, FAIL, &dir_path, err);
        if (found < 0)
                return -1;
        if (found == RESOLVED) {
                dir = open_path(t, dir_path.data, O_PATH | O_DIRECTORY);
                if (dir < 0)
                        return err_sys(err, "open directory %s", dir_path.data);
                if (fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW) == 0 && !is_whiteout(&st)) {
                        if (S_ISDIR(st.st_mode))
                                return err_set(err, CRINGLE_E_INVALID, "a hard link to a directory");
                        if (linkat(dir, last, t->parent, name, 0) < 0)
                                return err_sys(err, "make the hard link");
                        return 0;
                }
        }

        target = str_printf(err, "%s%s%s", parent, *parent ? "/" : "", last);
        if (!target)
                return -1;
        return put_mark(t, &(struct pull_mark) { .kind = PULL_MARK_LINK }, path, target, err);
}

static int put_whiteout(struct tree *t, const char *hidden, struct cringle_err *err)
{
        auto_free char *path = join(&t->parent_path, hidden, err);
        struct stat st;

        if (!path)
                return -1;
        if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
                return err_set(err, CRINGLE_E_INVALID, "a whiteout of nothing");
        if (has_mark(t, PULL_MARK_LINK, path) || has_mark(t, PULL_MARK_DEVICE, path))
                return 0;
        if (fstatat(t->parent, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                /* It hides what lower layers have, not what this one has, whichever came first. */
                return S_ISDIR(st.st_mode) ? mark_dir(t, PULL_MARK_OPAQUE, path, err) : 0;
        }
        if (errno != ENOENT)
                return err_sys(err, "stat");
        if (mknodat(t->parent, hidden, S_IFCHR, makedev(0, 0)) < 0)
                return err_sys(err, "make the whiteout");
        return 0;
}

/* Is @path the directory we stand in, or one above it?  A link can make an entry replace its own parent. */
static bool holds_parent(const struct tree *t, const char *path)
{
        size_t n = strlen(path);

        return strncmp(t->parent_path.data, path, n) == 0 &&
               (t->parent_path.data[n] == '/' || t->parent_path.data[n] == '\0');
}

static int put(struct tree *t, const char *name, const struct tar_entry *e, struct tar *tar, struct cringle_err *err)
{
        auto_free char *path = join(&t->parent_path, name, err);
        bool exists, whiteout = false, same_dir = false;
        struct stat st;

        if (!path)
                return -1;
        if (strlen(path) > PULL_PATH_MAX)
                return err_set(err, CRINGLE_E_INVALID, "a path is longer than %d bytes", PULL_PATH_MAX);

        exists = fstatat(t->parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (!exists && errno != ENOENT)
                return err_sys(err, "stat");
        if (exists && e->type == TAR_HARDLINK) {
                /* `ln a a` is nothing to do, and must not begin with removing a. */
                auto_free char *parent = NULL, *last = NULL;
                auto_buf dir = BUF_INIT;
                int found;

                if (split(e->target, &parent, &last, err) < 0)
                        return -1;
                found = resolve(t, parent, FAIL, &dir, err);
                if (found < 0)
                        return -1;
                if (found == RESOLVED && strcmp(dir.data, t->parent_path.data) == 0 && strcmp(last, name) == 0)
                        return 0;
        }
        if (exists) {
                whiteout = is_whiteout(&st);
                same_dir = S_ISDIR(st.st_mode) && e->type == TAR_DIRECTORY;
                if (!same_dir && S_ISDIR(st.st_mode) && holds_parent(t, path))
                        return err_set(err, CRINGLE_E_INVALID, "the entry replaces its own parent");
                if (!same_dir && remove_name(t, t->parent, name, &st, err) < 0)
                        return -1;
        }
        if (drop_mark(t, PULL_MARK_LINK, path, err) < 0 || drop_mark(t, PULL_MARK_DEVICE, path, err) < 0)
                return -1;

        switch (e->type) {
        case TAR_FILE:
                return put_file(t, name, e, tar, err);
        case TAR_DIRECTORY:
                /* Over a whiteout, or over a file of this layer: lower layers do not shine through. */
                return put_dir(t, name, path, e, same_dir, whiteout || (exists && !same_dir), err);
        case TAR_HARDLINK:
                return put_hardlink(t, name, path, e, err);
        case TAR_CHAR:
        case TAR_BLOCK:
                return put_device(t, path, e, err);
        default:
                return put_node(t, name, e, err);
        }
}

static int add(struct tree *t, const char *parent, const char *name, const struct tar_entry *e, struct tar *tar,
               struct cringle_err *err)
{
        if (enter(t, parent, err) < 0 || check_xattrs(e, err) < 0)
                return -1;

        if (!*name) {
                if (e->type != TAR_DIRECTORY)
                        return err_set(err, CRINGLE_E_INVALID, "the root must stay a directory");
                return put_dir(t, "", "", e, true, false, err);
        }
        if (strcmp(name, OPAQUE) == 0)
                return mark_dir(t, PULL_MARK_OPAQUE, t->parent_path.data, err);
        if (str_starts(name, AUFS_OWN))
                return 0;
        if (str_starts(name, WHITEOUT))
                return put_whiteout(t, name + strlen(WHITEOUT), err);
        return put(t, name, e, tar, err);
}

int tree_add(struct tree *t, const struct tar_entry *e, struct tar *tar, struct cringle_err *err)
{
        auto_free char *parent = NULL, *name = NULL;

        if (++t->entries > t->max_entries)
                return err_set(err, CRINGLE_E_EXHAUSTED, "the layer has more than %llu entries",
                               (unsigned long long) t->max_entries);
        if (split(e->name, &parent, &name, err) < 0 || add(t, parent, name, e, tar, err) < 0)
                return err_wrap(err, "entry '%.200s'", e->name);

        /* Only what is neither file nor attribute can change where the next path leads. */
        if (e->type != TAR_FILE)
                leave(t);
        return 0;
}

/* A directory marked early may have been replaced since. */
static bool still_holds(const struct tree *t, const struct mark *m)
{
        auto_fd int fd = -1;

        if (m->head.kind != PULL_MARK_OPAQUE && m->head.kind != PULL_MARK_IMPLIED)
                return true;
        fd = open_path(t, m->path, O_PATH | O_DIRECTORY);
        return fd >= 0;
}

static int give_marks(struct tree *t, tree_mark_fn *fn, void *data, struct cringle_err *err)
{
        for (size_t i = 0; i < t->n_list; i++) {
                const struct mark *m = t->list[i];

                if (m && still_holds(t, m) && fn(data, &m->head, m->path, m->target, err) < 0)
                        return -1;
        }
        return 0;
}

int tree_finish(struct tree *t, tree_mark_fn *fn, void *data, struct cringle_err *err)
{
        leave(t);
        for (size_t i = 0; i < t->n_times; i++) {
                auto_fd int fd = open_path(t, t->times[i].path, O_RDONLY | O_DIRECTORY);
                const struct timespec times[2] = { t->times[i].mtime, t->times[i].mtime };

                /* Gone, or no directory any more: replaced by a later entry. */
                if (fd >= 0 && futimens(fd, times) < 0)
                        return err_sys(err, "set the time of %s", t->times[i].path);
        }
        return give_marks(t, fn, data, err);
}
