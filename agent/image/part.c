/*
 * A part of an image, as a mount of its own
 *
 * Before Linux 6.15 the kernel clones a mount only where it is attached, so the view of the whole is attached
 * where nobody sees it.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#include "agent/base/ns.h"
#include "agent/base/path.h"
#include "agent/image/store.h"

struct part {
        int whole, fd;
        const char *path;
};

static int take(void *data, struct cringle_err *err)
{
        struct part *p = data;
        auto_fd int at = -1;

        if (move_mount(p->whole, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return err_sys(err, "attach the view");
        at = path_open(p->whole, p->path, O_PATH, 0, err);
        if (at < 0)
                return -1;
        p->fd = open_tree(at, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        return p->fd < 0 ? err_sys(err, "clone the view") : 0;
}

int images_view_part(struct images *images, const struct image *image, const char *path,
                     const struct cringle_user_ns *user_ns, const char *label, int *ret_fd, struct cringle_err *err)
{
        struct part p = { .whole = -1, .fd = -1, .path = path };
        int r;

        if (images_view(images, image, user_ns, label, &p.whole, err) < 0)
                return -1;
        r = ns_apart(take, &p, err);
        fd_close(p.whole);
        if (r < 0)
                return err_wrap(err, "'%.200s' in the image", path);
        *ret_fd = p.fd;
        return 0;
}
