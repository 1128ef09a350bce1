/*
 * Volumes of a pod from a manifest; see volumes.h.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/cli/volumes.h"

char *volumes_dir(const char *root, struct cringle_err *err)
{
        return str_printf(err, "%s/manifest-pods", root);
}

static int make_empty(const struct manifest_volume *v, struct cringle_err *err)
{
        char options[64] = "mode=0777";

        if (file_make_dirs(v->path, 0755, err) < 0)
                return -1;
        if (v->memory) {
                if (v->size.set)
                        snprintf(options, sizeof options, "mode=0777,size=%lld", (long long) v->size.value);
                if (mount("tmpfs", v->path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
                        return err_sys(err, "mount a file system in memory on %s", v->path);
        } else if (chmod(v->path, 0777) < 0) {
                return err_sys(err, "change mode of %s", v->path);
        }
        return 0;
}

static int make_host(struct manifest_volume *v, struct cringle_err *err)
{
        auto_fd int fd = -1;

        if (v->host_type == HOST_DIRECTORY_OR_CREATE && !file_exists(v->host_path)) {
                if (file_make_dirs(v->host_path, 0755, err) < 0)
                        return -1;
                v->made = true;
        }
        if (v->host_type == HOST_FILE_OR_CREATE && !file_exists(v->host_path)) {
                fd = open(v->host_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
                if (fd < 0)
                        return err_sys(err, "make %s", v->host_path);
                v->made = true;
        }
        return 0;
}

void volumes_unmake_hosts(const struct manifest *m)
{
        for (size_t i = 0; i < m->n_volumes; i++) {
                const struct manifest_volume *v = &m->volumes[i];
                struct stat st;

                if (!v->made || lstat(v->host_path, &st) < 0)
                        continue;
                if (S_ISDIR(st.st_mode))
                        rmdir(v->host_path);    /* fails, as it should, when something is in it */
                else if (S_ISREG(st.st_mode) && st.st_size == 0)
                        unlink(v->host_path);
        }
}

static int check_host(const struct manifest_volume *v, struct cringle_err *err)
{
        static const struct {
                mode_t mode;
                const char *what;
        } wanted[] = {
                [HOST_UNCHECKED] = { 0, NULL },
                [HOST_DIRECTORY_OR_CREATE] = { S_IFDIR, "directory" },
                [HOST_DIRECTORY] = { S_IFDIR, "directory" },
                [HOST_FILE_OR_CREATE] = { S_IFREG, "file" },
                [HOST_FILE] = { S_IFREG, "file" },
                [HOST_SOCKET] = { S_IFSOCK, "socket" },
                [HOST_CHAR_DEVICE] = { S_IFCHR, "character device" },
                [HOST_BLOCK_DEVICE] = { S_IFBLK, "block device" },
        };
        struct stat st;

        if (!wanted[v->host_type].what)
                return 0;
        if (stat(v->host_path, &st) < 0)
                return err_sys(err, "volume %s: %s", v->name, v->host_path);
        if ((st.st_mode & S_IFMT) != wanted[v->host_type].mode)
                return err_set(err, CRINGLE_E_PRECONDITION, "volume %s: %s is no %s", v->name, v->host_path,
                               wanted[v->host_type].what);
        return 0;
}

/* Those that can be refused come first, so that a refusal finds nothing made. */
static int make_all(struct manifest *m, struct cringle_err *err)
{
        for (size_t i = 0; i < m->n_volumes; i++) {
                const struct manifest_volume *v = &m->volumes[i];
                bool makes = v->host_type == HOST_DIRECTORY_OR_CREATE || v->host_type == HOST_FILE_OR_CREATE;

                if (v->is_host && !(makes && !file_exists(v->host_path)) && check_host(v, err) < 0)
                        return -1;
        }
        for (size_t i = 0; i < m->n_volumes; i++)
                if (m->volumes[i].is_empty && make_empty(&m->volumes[i], err) < 0)
                        return err_wrap(err, "volume %s", m->volumes[i].name);
        for (size_t i = 0; i < m->n_volumes; i++)
                if (m->volumes[i].is_host && make_host(&m->volumes[i], err) < 0)
                        return err_wrap(err, "volume %s", m->volumes[i].name);
        return 0;
}

static bool needs_folder(const struct manifest *m)
{
        for (size_t i = 0; i < m->n_volumes; i++)
                if (m->volumes[i].is_empty)
                        return true;

        return false;
}

int volumes_make(struct manifest *m, const char *dir, struct cringle_err *err)
{
        auto_free char *own = str_printf(err, "%s/%s", dir, m->uid);

        if (!own || volumes_remove(dir, m->uid, err) < 0)
                return -1;
        if (needs_folder(m)) {
                if (file_make_dirs(dir, 0700, err) < 0)
                        return -1;
                if (mkdir(own, 0700) < 0)
                        return err_sys(err, "make %s", own);
        }
        if (make_all(m, err) < 0) {
                volumes_unmake_hosts(m);
                volumes_remove(dir, m->uid, NULL);
                return -1;
        }
        return 0;
}

static int unmount_all(const char *volumes, struct cringle_err *err)
{
        DIR *dir = opendir(volumes);
        struct dirent *entry;
        int result = 0;

        if (!dir)
                return errno == ENOENT ? 0 : err_sys(err, "open %s", volumes);
        while (!result && (entry = readdir(dir))) {
                auto_free char *path = str_printf(err, "%s/%s", volumes, entry->d_name);

                if (!path)
                        result = -1;
                else if (entry->d_name[0] != '.' && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
                        result = err_sys(err, "unmount %s", path);
        }
        closedir(dir);
        return result;
}

int volumes_remove(const char *dir, const char *uid, struct cringle_err *err)
{
        auto_free char *own = str_printf(err, "%s/%s", dir, uid);
        auto_free char *volumes = own ? str_printf(err, "%s/volumes", own) : NULL;

        if (!volumes || unmount_all(volumes, err) < 0)
                return -1;
        if (file_remove_tree(own, err) < 0)
                return -1;
        rmdir(dir);     /* fails, as it should, while another pod's folder is in it */
        return 0;
}
