/*
 * SELinux labels of files; see labels.h
 *
 * Containers may write to a volume while it is labelled.  So it is walked by directory fds, each name is opened without
 * following it, and the label goes to what was opened: no path is walked twice.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/guard.h"
#include "agent/base/json.h"
#include "agent/base/own.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/pod/labels.h"
#include "agent/pod/model.h"

#define LABEL "security.selinux"
#define DEPTH_MAX 256

int labels_of_spec(struct json_object *spec, const char **ret, struct cringle_err *err)
{
        struct json_object *linux_part = NULL;
        const char *label = NULL;

        if (json_get_object(spec, "linux", &linux_part, err) < 0 ||
            (linux_part && json_get_string(linux_part, "mountLabel", &label, err) < 0))
                return -1;
        *ret = str_empty(label) ? NULL : label;
        return 0;
}

int labels_of_pod(const struct pod *pod, char **ret, struct cringle_err *err)
{
        struct spec_input in = pod->pods->machine;

        in.pod = pod->request->config;
        in.pod_id = pod->id;
        return spec_pod_label(&in, ret, err);
}

/* @fd may be of anything, also opened with O_PATH.  1: its file system keeps no labels. */
static int set_label(int fd, const char *label, struct cringle_err *err)
{
        char path[PATH_OF_FD_MAX], have[256];
        size_t n = strlen(label) + 1;
        ssize_t had;

        path_of_fd(fd, path);
        had = getxattr(path, LABEL, have, sizeof have);
        if (had == (ssize_t) n && memcmp(have, label, n) == 0)
                return 0;
        if (setxattr(path, LABEL, label, n, 0) == 0)
                return 0;
        return errno == ENOTSUP || errno == EROFS ? 1 : err_sys(err, "label '%s'", label);
}

int labels_set_file(const char *path, const char *label, struct cringle_err *err)
{
        auto_fd int fd = -1;

        if (!label)
                return 0;
        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "open %s", path);
        return set_label(fd, label, err) < 0 ? err_wrap(err, "%s", path) : 0;
}

/* The directories from the top to where the walk is. */
struct walk {
        DIR *at[DEPTH_MAX];
        size_t depth;
        dev_t dev;
};

static int enter(struct walk *w, int fd, struct cringle_err *err)
{
        auto_fd int list = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (list < 0)
                return err_sys(err, "open directory");
        if (w->depth == DEPTH_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "more than %d directories in one another", DEPTH_MAX);
        w->at[w->depth] = fdopendir(list);
        if (!w->at[w->depth])
                return err_sys(err, "read directory");
        steal_fd(&list);        /* the DIR has it */
        w->depth++;
        return 0;
}

/* One name: labelled, and entered if it is a directory.  What has gone meanwhile needs none; other mounts have their own. */
static int visit(struct walk *w, const char *name, const char *label, struct cringle_err *err)
{
        auto_fd int fd = openat(dirfd(w->at[w->depth - 1]), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;
        int r;

        if (fd < 0)
                return errno == ENOENT ? 0 : err_sys(err, "open %s", name);
        if (fstat(fd, &st) < 0)
                return err_sys(err, "stat %s", name);
        if (st.st_dev != w->dev)
                return 0;
        r = set_label(fd, label, err);
        if (r == 0 && S_ISDIR(st.st_mode))
                r = enter(w, fd, err);
        return r < 0 ? err_wrap(err, "%s", name) : 0;
}

static int set_tree(int top, const char *label, struct cringle_err *err)
{
        struct walk w = { 0 };
        struct stat st;
        int r = set_label(top, label, err);

        if (r != 0)
                return r < 0 ? -1 : 0;
        if (fstat(top, &st) < 0)
                return err_sys(err, "stat");
        if (!S_ISDIR(st.st_mode))
                return 0;
        w.dev = st.st_dev;
        r = enter(&w, top, err);
        while (r == 0 && w.depth > 0) {
                const struct dirent *entry = readdir(w.at[w.depth - 1]);

                if (!entry)
                        closedir(w.at[--w.depth]);
                else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        r = visit(&w, entry->d_name, label, err);
        }
        while (w.depth > 0)
                closedir(w.at[--w.depth]);
        return r;
}

/* Where a label of a container's would take the node's own programs their files. */
static bool is_everybodys(const char *path)
{
        static const char *const dirs[] = {
                "/",     "/bin", "/boot", "/dev", "/etc", "/home", "/lib",     "/lib64",   "/media",  "/mnt",     "/opt",     "/proc",
                "/root", "/run", "/sbin", "/srv", "/sys", "/tmp",  "/usr",     "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/sbin",
                "/usr/share", "/var", "/var/lib", "/var/log", "/var/run", "/var/tmp", NULL,
        };

        return strv_has(dirs, path);
}

static int set_volume(const Cri__Mount *m, const char *label, struct cringle_err *err)
{
        auto_free char *path = realpath(m->host_path, NULL);
        auto_fd int fd = -1;

        if (!path)
                return err_sys(err, "host path %s", m->host_path);
        if (is_everybodys(path))
                return err_set(err, CRINGLE_E_INVALID, "%s cannot be labelled for one container", path);
        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "open %s", path);
        return set_tree(fd, label, err) < 0 ? err_wrap(err, "label %s", path) : 0;
}

int labels_set_volumes(const Cri__ContainerConfig *config, const char *label, struct cringle_err *err)
{
        for (size_t i = 0; label && i < config->n_mounts; i++) {
                const Cri__Mount *m = config->mounts[i];

                if ((!GUARD(relabel_asked) || m->selinux_relabel) && !spec_is_image_mount(m) && set_volume(m, label, err) < 0)
                        return err_wrap(err, "%s", m->container_path);
        }
        return 0;
}
