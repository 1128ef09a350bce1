/*
 * Whole files and directory trees; see file.h.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/guard.h"
#include "agent/base/own.h"
#include "agent/base/str.h"

int file_read_fd(int fd, size_t max, struct buf *ret, struct cringle_err *err)
{
        size_t start = ret->len;

        for (;;) {
                ssize_t n;

                if (buf_reserve(ret, 4096, err) < 0)
                        return -1;
                n = read(fd, ret->data + ret->len, ret->room - ret->len - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(err, "read");
                if (n == 0)
                        return 0;

                ret->len += (size_t) n;
                ret->data[ret->len] = '\0';
                if (ret->len - start > max)
                        return err_set(err, CRINGLE_E_EXHAUSTED, "larger than %zu bytes", max);
        }
}

int file_read(const char *path, size_t max, struct buf *ret, struct cringle_err *err)
{
        auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return err_sys(err, "open %s", path);
        if (file_read_fd(fd, max, ret, err) < 0)
                return err_wrap(err, "%s", path);
        return 0;
}

int file_read_line(const char *path, char **ret, struct cringle_err *err)
{
        auto_buf b = BUF_INIT;

        if (file_read(path, 65536, &b, err) < 0)
                return -1;

        while (b.len > 0 && strchr(" \t\r\n", b.data[b.len - 1]))
                b.data[--b.len] = '\0';
        *ret = buf_steal(&b);
        return *ret ? 0 : err_oom(err);
}

int file_write_fd(int fd, const void *data, size_t n, struct cringle_err *err)
{
        const char *at = data;

        while (n > 0) {
                ssize_t w = write(fd, at, n);

                if (w < 0 && errno == EINTR)
                        continue;
                if (w < 0)
                        return err_sys(err, "write");
                at += w;
                n -= (size_t) w;
        }
        return 0;
}

int file_poke(const char *path, const char *text, struct cringle_err *err)
{
        auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
        size_t n = strlen(text);
        ssize_t w;

        if (fd < 0)
                return err_sys(err, "open %s", path);

        do
                w = write(fd, text, n);
        while (w < 0 && errno == EINTR);
        if (w < 0)
                return err_sys(err, "write '%.200s' to %s", text, path);
        if ((size_t) w != n)
                return err_set(err, CRINGLE_E_INTERNAL, "write to %s: only %zd of %zu bytes", path, w, n);
        return 0;
}

int file_sync_parent(const char *path, struct cringle_err *err)
{
        const char *slash = strrchr(path, '/');
        auto_free char *dir = slash && slash != path ? strndup(path, (size_t) (slash - path)) : strdup(slash ? "/" : ".");
        auto_fd int fd = -1;

        if (!dir)
                return err_oom(err);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return err_sys(err, "sync %s", dir);
        return 0;
}

int file_replace(const char *path, const void *data, size_t n, mode_t mode, bool durable, struct cringle_err *err)
{
        auto_free char *fresh = str_printf(err, "%s.XXXXXX", path);
        auto_fd int fd = -1;

        if (!fresh)
                return -1;
        fd = mkostemp(fresh, O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "create %s", fresh);

        if (file_write_fd(fd, data, n, err) < 0)
                goto drop;
        if (fchmod(fd, mode) < 0 || (durable && fsync(fd) < 0) || rename(fresh, path) < 0) {
                err_sys(err, "finish");
                goto drop;
        }
        return durable ? file_sync_parent(path, err) : 0;

drop:
        unlink(fresh);
        return err_wrap(err, "write %s", path);
}

int file_make_dirs(const char *path, mode_t mode, struct cringle_err *err)
{
        auto_free char *copy = strdup(path);

        if (!copy)
                return err_oom(err);

        for (char *slash = strchr(copy + 1, '/');; slash = strchr(slash + 1, '/')) {
                if (slash)
                        *slash = '\0';
                if (mkdir(copy, GUARD(private_dirs) ? mode : 0755) < 0 && errno != EEXIST)
                        return err_sys(err, "make directory %s", copy);
                if (!slash)
                        return 0;
                *slash = '/';
        }
}

/*
 * One directory of a tree under removal.  A stack of these instead of recursion:
 * the depth of the tree is not ours to decide.
 */
struct level {
        struct level *up;
        DIR *dir;
        char name[];            /* in the directory above */
};

static struct level *level_pop(struct level *l)
{
        struct level *up = l->up;

        closedir(l->dir);
        free(l);
        return up;
}

static int level_push(struct level **top, int parent, const char *name, dev_t device, struct cringle_err *err)
{
        auto_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct level *l;
        struct stat st;

        if (fd < 0)
                return err_sys(err, "open %s", name);
        if (fstat(fd, &st) < 0)
                return err_sys(err, "stat %s", name);
        if (device && st.st_dev != device)
                return err_set(err, CRINGLE_E_PRECONDITION, "%s is a mount point", name);

        l = malloc(sizeof *l + strlen(name) + 1);
        if (!l)
                return err_oom(err);
        memcpy(l->name, name, strlen(name) + 1);
        l->up = *top;
        l->dir = fdopendir(fd);
        if (!l->dir) {
                free(l);
                return err_sys(err, "read %s", name);
        }
        steal_fd(&fd);          /* the DIR has it */
        *top = l;
        return 0;
}

int file_remove_tree(const char *path, struct cringle_err *err)
{
        struct level *top = NULL;
        struct stat st;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : err_sys(err, "stat %s", path);
        if (!S_ISDIR(st.st_mode))
                return unlink(path) < 0 && errno != ENOENT ? err_sys(err, "remove %s", path) : 0;
        if (level_push(&top, AT_FDCWD, path, 0, err) < 0)
                return err_wrap(err, "remove %s", path);

        while (top) {
                struct dirent *entry = readdir(top->dir);
                int fd = dirfd(top->dir);

                if (!entry) {
                        bool first = !top->up;
                        int parent = first ? AT_FDCWD : dirfd(top->up->dir);

                        if (unlinkat(parent, top->name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
                                err_sys(err, "remove directory %s", top->name);
                                goto fail;
                        }
                        top = level_pop(top);
                        continue;
                }
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT)
                        continue;
                if (errno != EISDIR && errno != EPERM) {
                        err_sys(err, "remove %s", entry->d_name);
                        goto fail;
                }
                if (level_push(&top, fd, entry->d_name, st.st_dev, err) < 0)
                        goto fail;
        }
        return 0;

fail:
        while (top)
                top = level_pop(top);
        return err_wrap(err, "remove %s", path);
}

bool file_exists(const char *path)
{
        return access(path, F_OK) == 0;
}
