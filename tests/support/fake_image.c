/*
 * An image backend whose layers are empty directories below its state directory;
 * see fake.h.  Layers are known by the record alone, so nothing survives a test.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "plugins/api/image.h"
#include "tests/support/fake_inside.h"

struct images {
        char *dir;
};

static int create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                  struct cringle_err *err)
{
        struct images *i = calloc(1, sizeof *i);

        if (!i || !(i->dir = strdup(host->state_dir)))
                abort();
        *ret_self = i;
        return 0;
}

static void destroy(void *self)
{
        struct images *i = self;

        free(i->dir);
        free(i);
}

static int format(void *self)
{
        return CRINGLE_LAYER_TREE;
}

static const char *store_path(void *self)
{
        return ((struct images *) self)->dir;
}

static int layer_exists(void *self, const char *chain_id, struct cringle_err *err)
{
        return fake_get("layer", chain_id, NULL);
}

static int layer_begin(void *self, const char *chain_id, struct cringle_layer *ret, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/begun.XXXXXX", store_path(self));
        int fd;

        if (fake_call("image.layer_begin", NULL, chain_id, NULL, err) < 0)
                return -1;
        if (!path || !mkdtemp(path))
                abort();
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *ret = (struct cringle_layer) { .size = sizeof *ret, .dir_fd = fd, .path = steal(&path) };
        return 0;
}

static int layer_commit(void *self, const char *chain_id, struct cringle_layer *layer, struct cringle_err *err)
{
        if (fake_call("image.layer_commit", NULL, chain_id, NULL, err) < 0)
                return -1;
        fake_put("layer", chain_id, 0);
        return 0;
}

static void layer_abort(void *self, const char *chain_id, struct cringle_layer *layer)
{
        fake_call("image.layer_abort", NULL, chain_id, NULL, NULL);
        if (layer->path)
                file_remove_tree(layer->path, NULL);
}

static int layer_remove(void *self, const char *chain_id, struct cringle_err *err)
{
        if (fake_call("image.layer_remove", NULL, chain_id, NULL, err) < 0)
                return -1;
        fake_drop("layer", chain_id);
        return 0;
}

static int usage(void *self, const char *id, struct cringle_usage *ret, struct cringle_err *err)
{
        *ret = (struct cringle_usage) { .size = sizeof *ret, .bytes = 4096, .inodes = 1 };
        return 0;
}

static int rootfs_prepare(void *self, const char *id, const struct cringle_rootfs_options *options,
                          struct cringle_err *err)
{
        if (fake_call("image.rootfs_prepare", NULL, id, NULL, err) < 0)
                return -1;
        fake_put("rootfs", id, 0);
        return 0;
}

/* No mount, but a directory to take for one. */
static int some_directory(void *self, int *ret_fd, struct cringle_err *err)
{
        int fd = open(store_path(self), O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return cringle_fail(err, CRINGLE_E_INTERNAL, "%s: %s", store_path(self), strerror(errno));
        *ret_fd = fd;
        return 0;
}

static int rootfs_mount(void *self, const char *id, const struct cringle_rootfs_options *options, int *ret_fd,
                        struct cringle_err *err)
{
        return fake_call("image.rootfs_mount", NULL, id, NULL, err) < 0 ? -1 : some_directory(self, ret_fd, err);
}

static int rootfs_remove(void *self, const char *id, struct cringle_err *err)
{
        if (fake_call("image.rootfs_remove", NULL, id, NULL, err) < 0)
                return -1;
        fake_drop("rootfs", id);
        return 0;
}

static int view_mount(void *self, const struct cringle_rootfs_options *options, int *ret_fd, struct cringle_err *err)
{
        return fake_call("image.view_mount", NULL, NULL, NULL, err) < 0 ? -1 : some_directory(self, ret_fd, err);
}

static int sweep(void *self, const char *const *chain_ids, const char *const *ids, struct cringle_err *err)
{
        if (fake_call("image.sweep", NULL, NULL, NULL, err) < 0)
                return -1;
        fake_drop_others("rootfs", ids);
        return 0;
}

static const struct cringle_image_ops ops = {
        .size = sizeof ops,
        .format = format,
        .store_path = store_path,
        .layer_exists = layer_exists,
        .layer_begin = layer_begin,
        .layer_commit = layer_commit,
        .layer_abort = layer_abort,
        .layer_remove = layer_remove,
        .layer_usage = usage,
        .rootfs_prepare = rootfs_prepare,
        .rootfs_mount = rootfs_mount,
        .rootfs_remove = rootfs_remove,
        .rootfs_usage = usage,
        .view_mount = view_mount,
        .sweep = sweep,
};

CRINGLE_PLUGIN(fake_image,
        .kind = CRINGLE_IMAGE,
        .name = "fake-image",
        .major = CRINGLE_IMAGE_MAJOR,
        .create = create,
        .destroy = destroy,
        .ops = &ops);
