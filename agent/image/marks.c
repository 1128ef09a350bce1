/*
 * What an unpack half leaves to the agent; see marks.h.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/clock.h"
#include "agent/base/map.h"
#include "agent/base/str.h"
#include "agent/image/marks.h"

#define MARKS_MAX 1000000
#define MARKS_BYTES_MAX (64 << 20)
#define LINKS_MAX 40
#define XATTR_LIST_MAX 65536
#define XATTR_VALUE_MAX 65536

void marks_done(struct marks *m)
{
        for (size_t i = 0; i < m->n; i++) {
                free(m->list[i].path);
                free(m->list[i].target);
        }
        free(m->list);
        *m = (struct marks) MARKS_INIT;
}

/* --- receiving --------------------------------------------------------- */

/* Relative, without "", "." and "..": what the unpack half promises. */
static bool is_plain_path(const char *s)
{
        if (!*s)
                return false;
        for (;;) {
                size_t n = strcspn(s, "/");

                if (n == 0 || n > NAME_MAX || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
                        return false;
                if (!s[n])
                        return true;
                s += n + 1;
        }
}

static int check(const struct mark *mark, struct cringle_err *err)
{
        const struct pull_mark *h = &mark->head;
        bool device = S_ISCHR(h->mode) || S_ISBLK(h->mode);

        if (strlen(mark->path) != h->path_len || strlen(mark->target) != h->target_len)
                return err_set(err, CRINGLE_E_INVALID, "unpack half: a path with a NUL in it");
        if (!is_plain_path(mark->path) && !(h->kind == PULL_MARK_OPAQUE && !*mark->path))
                return err_set(err, CRINGLE_E_INVALID, "unpack half: a path that leads elsewhere");

        switch (h->kind) {
        case PULL_MARK_OPAQUE:
        case PULL_MARK_IMPLIED:
                return 0;
        case PULL_MARK_DEVICE:
                if (!device || h->mode & ~(uint32_t) (S_IFMT | 0777) || h->uid == UINT32_MAX || h->gid == UINT32_MAX ||
                    h->major > 0xfff || h->minor > 0xfffff || (h->major == 0 && h->minor == 0))
                        return err_set(err, CRINGLE_E_INVALID, "unpack half: a device that must not be made");
                return 0;
        case PULL_MARK_LINK:
                if (!is_plain_path(mark->target))
                        return err_set(err, CRINGLE_E_INVALID, "unpack half: a link that leads elsewhere");
                return 0;
        default:
                return err_set(err, CRINGLE_E_INVALID, "unpack half: a mark of unknown kind");
        }
}

int marks_add(struct marks *m, const void *message, size_t n, struct cringle_err *err)
{
        const char *text = (const char *) message + sizeof(struct pull_mark);
        struct mark mark = { 0 };

        if (n < sizeof mark.head)
                return err_set(err, CRINGLE_E_INVALID, "unpack half: a short message");
        memcpy(&mark.head, message, sizeof mark.head);
        if (mark.head.path_len > PULL_PATH_MAX || mark.head.target_len > PULL_PATH_MAX ||
            n != sizeof mark.head + mark.head.path_len + mark.head.target_len)
                return err_set(err, CRINGLE_E_INVALID, "unpack half: a message of the wrong length");
        if (m->n >= MARKS_MAX || m->bytes > MARKS_BYTES_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "the layer has too many opaque directories, devices or links");

        if (m->n == m->room) {
                size_t room = m->room ? m->room * 2 : 64;
                struct mark *grown = reallocarray(m->list, room, sizeof *grown);

                if (!grown)
                        return err_oom(err);
                m->list = grown;
                m->room = room;
        }
        mark.path = strndup(text, mark.head.path_len);
        mark.target = strndup(text + mark.head.path_len, mark.head.target_len);
        m->list[m->n++] = mark;         /* marks_done() frees it in any case */
        if (!mark.path || !mark.target)
                return err_oom(err);
        m->bytes += mark.head.path_len + mark.head.target_len;
        return check(&mark, err);
}

/* --- paths ------------------------------------------------------------- */

static int open_beneath(int root, const char *path, int flags)
{
        struct open_how how = {
                .flags = (uint64_t) flags | O_CLOEXEC | O_NOFOLLOW,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        int fd;

        do
                fd = (int) syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
        while (fd < 0 && (errno == EAGAIN || errno == EINTR));
        return fd;
}

/* True when the last open failed since there is no such thing, links on the way included. */
static bool is_missing(void)
{
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
}

/* The directory @path is in; *ret_name points to its last component. */
static int open_parent(int root, const char *path, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        auto_free char *parent = strndup(path, slash ? (size_t) (slash - path) : 0);

        if (!parent)
                return -1;
        *ret_name = slash ? slash + 1 : path;
        return open_beneath(root, parent, O_RDONLY | O_DIRECTORY);
}

/* --- what needs no parents --------------------------------------------- */

static int make_opaque(const struct mark *mark, int layer_fd, struct cringle_err *err)
{
        auto_fd int fd = open_beneath(layer_fd, mark->path, O_RDONLY | O_DIRECTORY);

        if (fd < 0)
                return err_sys(err, "open directory %s of the layer", mark->path);
        if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
                return err_sys(err, "make %s opaque", mark->path);
        return 0;
}

static int make_device(const struct mark *mark, int layer_fd, struct cringle_err *err)
{
        const struct pull_mark *h = &mark->head;
        struct timespec times[2] = { { h->mtime / NSEC_PER_SEC, h->mtime % NSEC_PER_SEC } };
        const char *name;
        auto_fd int dir = open_parent(layer_fd, mark->path, &name);

        if (dir < 0 && is_missing())
                return 0;               /* a later entry replaced the directory */
        if (dir < 0)
                return err_sys(err, "open the directory of %s", mark->path);
        if (mknodat(dir, name, h->mode, makedev(h->major, h->minor)) < 0)
                return errno == EEXIST ? 0 : err_sys(err, "make device %s", mark->path);

        /* The umask is the agent's; nobody else is in the directory, so the name is still the node. */
        if (fchmodat(dir, name, h->mode & 0777, 0) < 0 ||
            fchownat(dir, name, h->uid, h->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, "set the owner of device %s", mark->path);
        if (times[0].tv_nsec < 0) {
                times[0].tv_sec--;
                times[0].tv_nsec += NSEC_PER_SEC;
        }
        times[1] = times[0];
        return utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? err_sys(err, "set the time of %s", mark->path) : 0;
}

int marks_apply(struct marks *m, int layer_fd, const struct cringle_call *call, struct cringle_err *err)
{
        size_t kept = 0;
        int failed = 0;

        for (size_t i = 0; i < m->n; i++) {
                struct mark *mark = m->list + i;
                uint32_t kind = mark->head.kind;

                if (!failed && i % 256 == 0)
                        failed = call_check(call, err);
                if (!failed && kind == PULL_MARK_OPAQUE)
                        failed = make_opaque(mark, layer_fd, err);
                if (!failed && kind == PULL_MARK_DEVICE)
                        failed = make_device(mark, layer_fd, err);
                if (kind == PULL_MARK_OPAQUE || kind == PULL_MARK_DEVICE) {
                        free(mark->path);
                        free(mark->target);
                } else {
                        m->list[kept++] = *mark;
                }
        }
        m->n = kept;
        return failed;
}

/* --- copying from below ------------------------------------------------ */

/* What a layer may have; overlayfs's own attributes are of no concern to another layer. */
static bool is_content(const char *name)
{
        return (str_starts(name, "user.") && !str_starts(name, "user.overlay.")) ||
               strcmp(name, "security.capability") == 0 || str_starts(name, "system.posix_acl_");
}

static int copy_xattrs(int from, int to, struct cringle_err *err)
{
        auto_free char *names = malloc(XATTR_LIST_MAX), *value = malloc(XATTR_VALUE_MAX);
        ssize_t n;

        if (!names || !value)
                return err_oom(err);
        n = flistxattr(from, names, XATTR_LIST_MAX);
        if (n < 0)
                return errno == ENOTSUP ? 0 : err_sys(err, "list attributes");
        for (char *p = names; p < names + n; p += strlen(p) + 1) {
                ssize_t size;

                if (!is_content(p))
                        continue;
                size = fgetxattr(from, p, value, XATTR_VALUE_MAX);
                if (size < 0 || (fsetxattr(to, p, value, (size_t) size, 0) < 0 && errno != ENOTSUP))
                        return err_sys(err, "copy attribute %s", p);
        }
        return 0;
}

static int copy_attributes(int from, int to, const struct stat *st, struct cringle_err *err)
{
        const struct timespec times[2] = { st->st_mtim, st->st_mtim };

        if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
                return err_sys(err, "copy owner and mode");
        if (copy_xattrs(from, to, err) < 0)
                return -1;
        return futimens(to, times) < 0 ? err_sys(err, "copy the time") : 0;
}

/* The attributes of directory @path as the parents have it. */
static int copy_dir(int view, int layer_fd, const char *path, struct cringle_err *err)
{
        auto_fd int from = open_beneath(view, path, O_RDONLY | O_DIRECTORY);
        auto_fd int to = -1;
        struct stat st;

        if (from < 0)
                return is_missing() ? 0 : err_sys(err, "open %s of the layers below", path);
        to = open_beneath(layer_fd, path, O_RDONLY | O_DIRECTORY);
        if (to < 0)
                return is_missing() ? 0 : err_sys(err, "open %s of the layer", path);
        if (fstat(from, &st) < 0)
                return err_sys(err, "stat %s", path);
        return copy_attributes(from, to, &st, err);
}

/* --- where a link leads ------------------------------------------------ */

enum { FOUND = 0, MISSING = 1 };

static void go_up(struct buf *path)
{
        while (path->len > 0 && path->data[path->len - 1] != '/')
                path->len--;
        if (path->len > 0)
                path->len--;
        path->data[path->len] = '\0';
}

/* @todo becomes the link at @path, then what it was. */
static int expand_link(int view, const char *path, struct buf *todo, bool *ret_absolute, struct cringle_err *err)
{
        auto_fd int fd = open_beneath(view, path, O_PATH);
        auto_free char *text = calloc(1, PULL_PATH_MAX + 2), *rest = NULL;
        ssize_t n;

        if (!text)
                return err_oom(err);
        n = fd < 0 ? -1 : readlinkat(fd, "", text, PULL_PATH_MAX + 1);
        if (n < 0)
                return err_sys(err, "read link %s of the layers below", path);
        if ((size_t) n + todo->len > 4 * PULL_PATH_MAX)
                return err_set(err, CRINGLE_E_INVALID, "%s: a path is longer than its links allow", path);
        rest = strdup(todo->len ? todo->data : "");
        if (!rest)
                return err_oom(err);
        buf_clear(todo);
        *ret_absolute = text[0] == '/';
        return buf_printf(todo, err, "%s/%s", text, rest);
}

/* The directory that @path is in the view, as a path without links; FOUND or MISSING. */
static int canonical(int view, const char *path, struct buf *ret, struct cringle_err *err)
{
        auto_buf todo = BUF_INIT;
        int links = 0;

        buf_clear(ret);
        if (buf_add_str(ret, "", err) < 0 || buf_add_str(&todo, path, err) < 0)
                return -1;
        while (todo.len > 0) {
                size_t n = strcspn(todo.data, "/"), before = ret->len;
                auto_free char *part = strndup(todo.data, n);
                auto_fd int fd = -1;
                struct stat st;

                if (!part)
                        return err_oom(err);
                buf_drop(&todo, n + strspn(todo.data + n, "/"));
                if (n == 0 || strcmp(part, ".") == 0)
                        continue;
                if (strcmp(part, "..") == 0) {
                        go_up(ret);
                        continue;
                }
                if (buf_printf(ret, err, "%s%s", ret->len ? "/" : "", part) < 0)
                        return -1;
                if (ret->len > PULL_PATH_MAX)
                        return MISSING;
                fd = open_beneath(view, ret->data, O_PATH);
                if (fd < 0)
                        return is_missing() ? MISSING : err_sys(err, "open %s of the layers below", ret->data);
                if (fstat(fd, &st) < 0)
                        return err_sys(err, "stat %s", ret->data);
                if (S_ISLNK(st.st_mode)) {
                        bool absolute;

                        if (++links > LINKS_MAX)
                                return MISSING;
                        if (expand_link(view, ret->data, &todo, &absolute, err) < 0)
                                return -1;
                        ret->len = absolute ? 0 : before;
                        ret->data[ret->len] = '\0';
                } else if (!S_ISDIR(st.st_mode)) {
                        return MISSING;
                }
        }
        return FOUND;
}

/* --- directories that are links below ---------------------------------- */

/* Make @path and its parents in the layer, as the layers below have them. */
static int make_dirs(int view, int layer_fd, const char *path, struct cringle_err *err)
{
        for (const char *end = path; *end;) {
                auto_free char *part = NULL;
                auto_fd int dir = -1;
                const char *name;

                end += strspn(end, "/");
                end += strcspn(end, "/");
                part = strndup(path, (size_t) (end - path));
                if (!part)
                        return err_oom(err);
                dir = open_parent(layer_fd, part, &name);
                if (dir < 0)
                        return err_sys(err, "open the directory of %s", part);
                if (mkdirat(dir, name, 0755) < 0) {
                        if (errno == EEXIST)
                                continue;
                        return err_sys(err, "make directory %s", part);
                }
                if (copy_dir(view, layer_fd, part, err) < 0)
                        return -1;
        }
        return 0;
}

static int add_pair(char ***list, const char *a, const char *b, const char *name, struct cringle_err *err)
{
        auto_free char *x = str_printf(err, "%s/%s", a, name), *y = str_printf(err, "%s/%s", b, name);

        if (!x || !y)
                return -1;
        return strv_add(list, x, err) < 0 || strv_add(list, y, err) < 0 ? -1 : 0;
}

/*
 * Move what is in directory @from to directory @to, both of the layer.  Directories on both sides are
 * merged; a list of what is still to do instead of recursion, and emptied directories removed at the end.
 */
static int merge(int layer_fd, const char *from, const char *to, struct cringle_err *err)
{
        auto_strv pairs = NULL;

        if (strv_add(&pairs, from, err) < 0 || strv_add(&pairs, to, err) < 0)
                return -1;
        for (size_t i = 0; pairs[i]; i += 2) {
                auto_fd int into = open_beneath(layer_fd, pairs[i + 1], O_RDONLY | O_DIRECTORY);
                int fd = open_beneath(layer_fd, pairs[i], O_RDONLY | O_DIRECTORY);
                DIR *d = fd < 0 ? NULL : fdopendir(fd);
                struct dirent *e;
                int failed = 0;

                if (!d || into < 0) {
                        fd_close(d ? -1 : fd);
                        if (d)
                                closedir(d);
                        return err_sys(err, "open directory %s", pairs[i]);
                }
                while (!failed && (e = readdir(d))) {
                        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                                continue;
                        if (renameat(dirfd(d), e->d_name, into, e->d_name) == 0)
                                continue;
                        if (errno == ENOTEMPTY || errno == EEXIST)
                                failed = add_pair(&pairs, pairs[i], pairs[i + 1], e->d_name, err);
                        else
                                failed = err_sys(err, "move %s/%s to %s", pairs[i], e->d_name, pairs[i + 1]);
                }
                closedir(d);
                if (failed)
                        return -1;
        }

        for (size_t i = strv_count((const char *const *) pairs); i > 0; i -= 2) {
                const char *name;
                auto_fd int dir = open_parent(layer_fd, pairs[i - 2], &name);

                if (dir < 0 || unlinkat(dir, name, AT_REMOVEDIR) < 0)
                        return err_sys(err, "remove directory %s", pairs[i - 2]);
        }
        return 0;
}

/* A path that was moved: later marks below it have moved too. */
struct moved {
        char **pairs;                   /* from, to, from, to, ... */
};

static char *current_path(const struct moved *moved, const char *path, struct cringle_err *err)
{
        char *now = strdup(path);

        for (size_t i = 0; now && moved->pairs && moved->pairs[i]; i += 2) {
                size_t n = strlen(moved->pairs[i]);
                auto_free char *old = NULL;

                if (strncmp(now, moved->pairs[i], n) != 0 || (now[n] != '/' && now[n] != '\0'))
                        continue;
                old = now;
                now = str_printf(err, "%s%s", moved->pairs[i + 1], old + n);
        }
        if (!now)
                err_oom(err);
        return now;
}

/* The layer has a directory where the layers below have a link to one: the content belongs there. */
static int follow_link(struct moved *moved, int view, int layer_fd, const char *path, struct cringle_err *err)
{
        auto_buf to = BUF_INIT;
        int found = canonical(view, path, &to, err);
        size_t n = strlen(path);

        if (found < 0)
                return -1;
        if (found == MISSING || to.len == 0 || (strncmp(to.data, path, n) == 0 && (!to.data[n] || to.data[n] == '/')))
                return 0;
        if (make_dirs(view, layer_fd, to.data, err) < 0 || merge(layer_fd, path, to.data, err) < 0)
                return err_wrap(err, "put %s where the layers below have it, %s", path, to.data);
        return strv_add(&moved->pairs, path, err) < 0 || strv_add(&moved->pairs, to.data, err) < 0 ? -1 : 0;
}

static int settle_dir(struct moved *moved, const char *path, int view, int layer_fd, struct cringle_err *err)
{
        auto_fd int fd = open_beneath(view, path, O_PATH);
        struct stat st;

        if (fd < 0)
                return is_missing() ? 0 : err_sys(err, "open %s of the layers below", path);
        if (fstat(fd, &st) < 0)
                return err_sys(err, "stat %s", path);
        if (S_ISLNK(st.st_mode))
                return follow_link(moved, view, layer_fd, path, err);
        return S_ISDIR(st.st_mode) ? copy_dir(view, layer_fd, path, err) : 0;
}

/* --- hard links to what is below --------------------------------------- */

static int copy_data(int from, int to, uint64_t size, const struct cringle_call *call, struct cringle_err *err)
{
        uint64_t done = 0;

        while (done < size) {
                /* copy_file_range(2) refuses two kinds of file system, and a view is an overlay. */
                ssize_t n = sendfile(to, from, NULL, size - done < 16 << 20 ? (size_t) (size - done) : 16 << 20);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(err, "copy");
                if (n == 0)
                        return 0;
                done += (uint64_t) n;
                if (call_check(call, err) < 0)
                        return -1;
        }
        return 0;
}

static int copy_file(int view, const char *source, int dir, const char *name, uint64_t *budget,
                     const struct cringle_call *call, struct cringle_err *err)
{
        auto_fd int look = open_beneath(view, source, O_PATH);
        auto_fd int from = -1, to = -1;
        struct stat st;

        if (look < 0)
                return err_sys(err, "open %s of the layers below", source);
        if (fstat(look, &st) < 0)
                return err_sys(err, "stat %s", source);
        if (!S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "a hard link to %s of the layers below, which is no file", source);
        if ((uint64_t) st.st_size > *budget)
                return err_set(err, CRINGLE_E_EXHAUSTED, "the layer's hard links are larger than a layer may be");
        *budget -= (uint64_t) st.st_size;

        from = open_beneath(view, source, O_RDONLY);
        to = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (from < 0 || to < 0)
                return err_sys(err, "open");
        if (copy_data(from, to, (uint64_t) st.st_size, call, err) < 0)
                return -1;
        return copy_attributes(from, to, &st, err);
}

enum { LINKED = 0, NOT_IN_LAYER = 1 };

/* Link the layer's own file @source, if there is one by now. */
static int link_in_layer(int layer_fd, const char *source, int dir, const char *name, struct cringle_err *err)
{
        const char *last;
        auto_fd int from = open_parent(layer_fd, source, &last);
        struct stat st;

        if (from < 0)
                return is_missing() ? NOT_IN_LAYER : err_sys(err, "open the directory of %s", source);
        if (fstatat(from, last, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return NOT_IN_LAYER;
        return linkat(from, last, dir, name, 0) == 0 ? LINKED : err_sys(err, "link to %s", source);
}

/* The second link to one file is a link to the first copy. */
static int settle_link(struct map *copies, const char *path, const char *target, int view, int layer_fd,
                       uint64_t *budget, const struct cringle_call *call, struct cringle_err *err)
{
        const char *slash = strrchr(target, '/'), *name, *copied = map_get(copies, target);
        auto_free char *parent = strndup(target, slash ? (size_t) (slash - target) : 0), *kept = NULL;
        auto_fd int dir = open_parent(layer_fd, path, &name);
        auto_buf source = BUF_INIT;
        int found;

        if (!parent)
                return err_oom(err);
        if (dir < 0)
                return is_missing() ? 0 : err_sys(err, "open the directory of %s", path);
        found = link_in_layer(layer_fd, copied ? copied : target, dir, name, err);
        if (found != NOT_IN_LAYER)
                return found;
        if (view < 0)
                return err_set(err, CRINGLE_E_INVALID, "%s is a hard link to %s, which does not exist", path, target);

        found = canonical(view, parent, &source, err);
        if (found < 0)
                return -1;
        if (found == MISSING)
                return err_set(err, CRINGLE_E_INVALID, "%s is a hard link to %s, which does not exist", path, target);
        if (buf_printf(&source, err, "%s%s", source.len ? "/" : "", slash ? slash + 1 : target) < 0)
                return -1;
        if (copy_file(view, source.data, dir, name, budget, call, err) < 0)
                return err_wrap(err, "hard link %s", path);

        kept = strdup(path);
        if (!kept)
                return err_oom(err);
        if (map_put(copies, target, kept, err) < 0)
                return -1;
        steal(&kept);                   /* the map has it now */
        return 0;
}

int marks_settle(const struct marks *m, int layer_fd, int parents_fd, uint64_t max_bytes,
                 const struct cringle_call *call, struct cringle_err *err)
{
        struct map copies = MAP_INIT;   /* target -> path of its copy */
        struct moved moved = { 0 };
        int failed = 0;

        for (size_t i = 0; !failed && i < m->n; i++) {
                const struct mark *mark = m->list + i;
                auto_free char *path = current_path(&moved, mark->path, err);

                failed = path ? call_check(call, err) : -1;
                if (!failed && mark->head.kind == PULL_MARK_IMPLIED && parents_fd >= 0)
                        failed = settle_dir(&moved, path, parents_fd, layer_fd, err);
                if (!failed && mark->head.kind == PULL_MARK_LINK)
                        failed = settle_link(&copies, path, mark->target, parents_fd, layer_fd, &max_bytes, call, err);
        }
        strv_free(moved.pairs);
        map_done(&copies, free);
        return failed;
}
