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
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/image/changes.h"

#define OPAQUE "trusted.overlay.opaque"

void changes_done(struct changes *c)
{
        fd_close(c->dir);
        buf_done(&c->names);
        strv_free(c->deleted);
        *c = (struct changes) CHANGES_INIT;
}

static bool is_opaque(const char *path)
{
        char value;

        return lgetxattr(path, OPAQUE, &value, 1) == 1 && value == 'y';
}

static int delete(struct changes *c, const char *dir, const char *name, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "/%s%s%s", dir, *dir ? "/" : "", name);

        return path ? strv_add(&c->deleted, path, err) : -1;
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

static int look_at(struct changes *c, int view, const FTSENT *e, const char *name, struct cringle_err *err)
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
                return e->fts_info == FTS_D && is_opaque(e->fts_accpath) ? find_hidden(c, view, name, e->fts_accpath, err) : 0;
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
