/*
 * Labelling files; see label.h.
 *
 * A tree is walked by directory fds, on a list instead of by recursion: what is in it, and how deep, is not ours to
 * decide.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/file.h"
#include "agent/base/label.h"
#include "agent/base/own.h"
#include "agent/base/path.h"

#define ATTRIBUTE "security.selinux"
#define LABEL_SIZE 4096

bool label_active(void)
{
        auto_free char *own = NULL;

        /* Without a policy everything is "kernel". */
        return file_exists("/sys/fs/selinux/enforce") && file_read_line("/proc/self/attr/current", &own, NULL) == 0 &&
               strcmp(own, "kernel") != 0;
}

int label_check(const char *label, struct cringle_err *err)
{
        /* This file takes a label, with the zero at its end, that the policy knows. */
        auto_fd int fd = open("/sys/fs/selinux/context", O_RDWR | O_CLOEXEC);

        if (fd < 0)
                return err_sys(err, "ask the SELinux policy");
        if (write(fd, label, strlen(label) + 1) >= 0)
                return 0;
        if (errno == EINVAL)
                return err_set(err, CRINGLE_E_PRECONDITION, "this node's SELinux policy does not know the label '%s'", label);
        return err_sys(err, "ask the SELinux policy about the label '%s'", label);
}

bool label_is(const char *path, const char *label)
{
        char now[LABEL_SIZE];
        size_t size = strlen(label) + 1;

        return lgetxattr(path, ATTRIBUTE, now, sizeof now) == (ssize_t) size && memcmp(now, label, size) == 0;
}

/* By way of procfs, since the system call takes no O_PATH fd.  1: its file system keeps no labels, or is read-only. */
static int set_label(int fd, const char *label, struct cringle_err *err)
{
        char path[PATH_OF_FD_MAX], now[LABEL_SIZE];
        size_t size = strlen(label) + 1;
        ssize_t n;

        path_of_fd(fd, path);
        n = getxattr(path, ATTRIBUTE, now, sizeof now);
        if (n == (ssize_t) size && memcmp(now, label, size) == 0)
                return 0;
        if (setxattr(path, ATTRIBUTE, label, size, 0) == 0)
                return 0;
        return errno == ENOTSUP || errno == EROFS ? 1 : err_sys(err, "set the SELinux label %s", label);
}

int label_file(const char *path, const char *label, struct cringle_err *err)
{
        auto_fd int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return err_sys(err, "open %s", path);
        return set_label(fd, label, err) < 0 ? err_wrap(err, "%s", path) : 0;
}

struct walk {
        const char *label;
        dev_t device;
        DIR *levels[LABEL_DEPTH_MAX];
        size_t n;
};

static void walk_done(struct walk *w)
{
        while (w->n > 0)
                closedir(w->levels[--w->n]);
        free(w);
}

static inline void auto_walk_(struct walk **w)
{
        if (*w)
                walk_done(*w);
}

/* Label what @fd is, and go into it when it is a directory.  What is mounted in the volume is somebody else's. */
static int visit(struct walk *w, int fd, const char *name, struct cringle_err *err)
{
        auto_fd int dir = -1;
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return err_sys(err, "stat %s", name);
        if (w->n > 0 && st.st_dev != w->device)
                return 0;
        w->device = st.st_dev;
        r = set_label(fd, w->label, err);
        if (r < 0)
                return err_wrap(err, "%s", name);
        if (r > 0 || !S_ISDIR(st.st_mode))
                return 0;
        if (w->n == LABEL_DEPTH_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "%s: more than %d directories in one another", name, LABEL_DEPTH_MAX);
        dir = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return err_sys(err, "open %s", name);
        w->levels[w->n] = fdopendir(dir);
        if (!w->levels[w->n])
                return err_sys(err, "read %s", name);
        steal_fd(&dir);         /* the DIR has it */
        w->n++;
        return 0;
}

int label_tree(const char *path, const char *label, const struct cringle_call *call, struct cringle_err *err)
{
        auto_cleanup(auto_walk_) struct walk *w = calloc(1, sizeof *w);
        auto_fd int top = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (!w)
                return err_oom(err);
        if (top < 0)
                return err_sys(err, "open");
        w->label = label;
        if (visit(w, top, path, err) < 0)
                return -1;
        while (w->n > 0) {
                DIR *at = w->levels[w->n - 1];
                struct dirent *entry = readdir(at);
                auto_fd int fd = -1;

                if (!entry) {
                        w->n--;
                        closedir(at);
                        continue;
                }
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (call_check(call, err) < 0)
                        return -1;
                fd = openat(dirfd(at), entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 && errno == ENOENT)
                        continue;       /* gone meanwhile */
                if (fd < 0)
                        return err_sys(err, "open %s", entry->d_name);
                if (visit(w, fd, entry->d_name, err) < 0)
                        return -1;
        }
        return 0;
}
