/*
 * The writable part of an overlay, read: see changes.h
 *
 * A whiteout is a character device 0:0 in the place of what was deleted; a directory marked opaque hides all that the
 * image has in it (Documentation/filesystems/overlayfs.rst).
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/path.h"
#include "agent/image/changes.h"
#include "agent/image/fetch.h"
#include "agent/image/index.h"

#define OPAQUE "trusted.overlay.opaque"

void changes_done(struct changes *c)
{
        fd_close(c->dir);
        buf_done(&c->names);
        buf_done(&c->deleted);
        *c = (struct changes) CHANGES_INIT;
}

static bool is_opaque(const char *path)
{
        char value;

        return lgetxattr(path, OPAQUE, &value, 1) == 1 && value == 'y';
}

static int delete(struct changes *c, const char *dir, const char *name, struct cringle_err *err)
{
        if (buf_printf(&c->deleted, err, "/%s%s%s", dir, *dir ? "/" : "", name) < 0)
                return -1;
        return buf_add(&c->deleted, "", 1, err);
}

/* What the image has in the directory @dir that is not in @path, which replaces it. */
static int find_hidden(struct changes *c, int view, const char *dir, const char *path, struct cringle_err *err)
{
        int fd = path_open(view, dir, O_RDONLY | O_DIRECTORY, 0, NULL);
        auto_fd int over = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        struct dirent *entry;
        int r = 0;
        DIR *image;

        if (fd < 0)
                return 0;               /* the image has none: it is new */
        image = fdopendir(fd);
        if (!image) {
                close(fd);
                return err_sys(err, "read /%s of the image", dir);
        }
        while (r == 0 && (entry = readdir(image)) != NULL)
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                    faccessat(over, entry->d_name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                        r = delete(c, dir, entry->d_name, err);
        closedir(image);
        return r;
}

static int look_at(struct changes *c, int view, FTSENT *e, const char *name, struct cringle_err *err)
{
        const struct stat *st = e->fts_statp;

        switch (e->fts_info) {
        case FTS_DP:
                return 0;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
                return err_sysno(err, e->fts_errno, "look at /%s", name);
        default:
                if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0))
                        return delete(c, "", name, err);
                if (buf_add(&c->names, name, strlen(name) + 1, err) < 0)
                        return -1;
                if (e->fts_info != FTS_D || (!e->fts_parent->fts_number && !is_opaque(e->fts_accpath)))
                        return 0;
                e->fts_number = 1;      /* what is in it hides, too, though only the top is marked */
                return find_hidden(c, view, name, e->fts_accpath, err);
        }
}

int changes_find(struct images *images, const struct image *image, const char *container_id, struct changes *ret,
                 struct cringle_err *err)
{
        char top[64], *const tops[] = { top, NULL };
        auto_fd int view = -1;
        FTSENT *e;
        int r = 0;
        FTS *fts;

        *ret = (struct changes) CHANGES_INIT;
        if (images_rootfs_changes(images, container_id, &ret->dir, err) < 0 ||
            images_view(images, image, NULL, NULL, &view, err) < 0)
                return -1;
        snprintf(top, sizeof top, "/proc/self/fd/%d/", ret->dir);
        fts = fts_open(tops, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
        if (!fts)
                return err_sys(err, "look at the writable layer");
        errno = 0;
        while (r == 0 && (e = fts_read(fts)) != NULL)
                if (e->fts_level > 0)
                        r = look_at(ret, view, e, e->fts_path + strlen(top), err);
        if (r == 0 && errno != 0)
                r = err_sys(err, "look at the writable layer");
        fts_close(fts);
        return r;
}

/* A directory of the tree, with no link on the way to it. */
static int open_plainly(int dir, const char *path)
{
        struct open_how how = {
                .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };

        return (int) syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof how);
}

static int hide(int dir, const char *path, struct cringle_err *err)
{
        auto_free char *parent = NULL;
        auto_fd int at = -1;
        const char *name;

        if (!path_is_clean(path) || !path[1])
                return err_set(err, CRINGLE_E_INVALID, "deleted: '%.200s' is no path of a file", path);
        name = strrchr(path, '/') + 1;
        parent = strndup(path + 1, (size_t) (name - path - 1));
        if (!parent)
                return err_oom(err);
        at = open_plainly(dir, parent);
        if (at < 0)
                return err_sys(err, "deleted: the directory of '%.200s', which is among what has changed", path);
        return mknodat(at, name, S_IFCHR, makedev(0, 0)) < 0 ? err_sys(err, "delete '%.200s'", path) : 0;
}

int changes_apply(struct images *images, const char *container_id, int archive, const char *const *deleted,
                  const struct cringle_call *call, struct cringle_err *err)
{
        auto_of(settings) settings = NULL;
        auto_fd int dir = -1;

        pthread_mutex_lock(&images->lock);
        settings = settings_ref(images->settings);
        pthread_mutex_unlock(&images->lock);
        if (images_rootfs_changes(images, container_id, &dir, err) < 0 ||
            fetch_unpack(&settings->config, archive, dir, call, err) < 0)
                return err_wrap(err, "changes of the root filesystem");
        for (size_t i = 0; deleted && deleted[i]; i++)
                if (hide(dir, deleted[i], err) < 0)
                        return err_wrap(err, "changes of the root filesystem");
        return 0;
}
