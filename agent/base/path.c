/*
 * Paths inside a root that somebody else controls; see path.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/guard.h"
#include "agent/base/own.h"
#include "agent/base/path.h"

static int open_in_root(int root, const char *path, int flags, mode_t mode)
{
        struct open_how how = {
                .flags = (uint64_t) flags | O_CLOEXEC,
                .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
                .resolve = GUARD(in_root) ? RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS : 0,
        };
        int fd;

        /* EAGAIN: a rename elsewhere kept the kernel from proving that ".." stayed inside. */
        do
                fd = (int) syscall(SYS_openat2, root, path, &how, sizeof how);
        while (fd < 0 && (errno == EAGAIN || errno == EINTR));

        return fd;
}

int path_open(int root, const char *path, int flags, mode_t mode, struct cringle_err *err)
{
        int fd = open_in_root(root, path, flags, mode);

        return fd < 0 ? err_sys(err, "open %s in its root", path) : fd;
}

/*
 * Walk component by component.  mkdirat() follows no link in the last component,
 * and the parents are fds already resolved inside the root; each step is then
 * opened from the root again by the path so far, so links that exist are obeyed.
 */
int path_make_dirs(int root, const char *path, mode_t mode, struct cringle_err *err)
{
        auto_free char *done = calloc(1, strlen(path) + 2);
        auto_fd int at = -1;
        size_t used = 0;

        if (!done)
                return err_oom(err);
        at = path_open(root, "/", O_PATH | O_DIRECTORY, 0, err);
        if (at < 0)
                return -1;

        for (const char *p = path;;) {
                const char *name = p + strspn(p, "/");
                size_t n = strcspn(name, "/");
                size_t start = used;
                int next;

                if (n == 0)
                        return steal_fd(&at);

                done[used++] = '/';
                memcpy(done + used, name, n);
                used += n;
                done[used] = '\0';

                if (mkdirat(at, done + start + 1, mode) < 0 && errno != EEXIST)
                        return err_sys(err, "make directory %s", done);
                next = path_open(root, done, O_PATH | O_DIRECTORY, 0, err);
                if (next < 0)
                        return -1;
                close(at);
                at = next;
                p = name + n;
        }
}

int path_mount_point(int root, const char *path, bool directory, struct cringle_err *err)
{
        auto_free char *parent = NULL;
        auto_fd int fd = -1, dir = -1;
        const char *name;
        struct stat st;

        fd = open_in_root(root, path, O_PATH, 0);
        if (fd >= 0) {
                if (fstat(fd, &st) < 0)
                        return err_sys(err, "stat %s", path);
                if (S_ISDIR(st.st_mode) != directory)
                        return err_set(err, CRINGLE_E_INVALID, "%s is %sa directory", path, directory ? "not " : "");
                return steal_fd(&fd);
        }
        if (errno != ENOENT)
                return err_sys(err, "open %s in its root", path);
        if (directory)
                return path_make_dirs(root, path, 0755, err);

        name = strrchr(path, '/');
        name = name ? name + 1 : path;
        parent = strndup(path, (size_t) (name - path));
        if (!parent)
                return err_oom(err);
        dir = path_make_dirs(root, parent, 0755, err);
        if (dir < 0)
                return -1;
        fd = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
        if (fd < 0 && errno != EEXIST)
                return err_sys(err, "create %s", path);
        fd = fd_close(fd);
        return path_open(root, path, O_PATH, 0, err);
}

void path_of_fd(int fd, char text[static PATH_OF_FD_MAX])
{
        snprintf(text, PATH_OF_FD_MAX, "/proc/self/fd/%d", fd);
}

bool path_is_clean(const char *path)
{
        const char *p = path;

        if (*p != '/')
                return false;
        if (!p[1])
                return true;

        while (*p) {
                size_t n = strcspn(++p, "/");

                if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += n;
        }
        return true;
}
