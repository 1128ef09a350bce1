/*
 * skeleton-name: an image backend
 *
 * The pull worker fills a layer between layer_begin and layer_commit; rootfs_* make the
 * writable part for a container on top of committed layers.
 * A place to begin: it loads and lives; what each operation must come to is
 * said in <cringle/image.h>.
 */

#include <stdlib.h>

#include <cringle/image.h>

struct skeleton {
        const struct cringle_host *host;        /* log, count, spawn, directories */
};

static int not_yet(const char *operation, struct cringle_err *err)
{
        return cringle_fail(err, CRINGLE_E_UNIMPLEMENTED, "%s is not written", operation);
}

static int skeleton_format(void *self)
{
        return CRINGLE_LAYER_TREE;
}

static const char *skeleton_store_path(void *self)
{
        struct skeleton *s = self;

        return s->host->state_dir;
}

static int skeleton_layer_exists(void *self, const char *chain_id, struct cringle_err *err)
{
        return not_yet("layer_exists", err);
}

static int skeleton_layer_begin(void *self, const char *chain_id, struct cringle_layer *ret,
                                struct cringle_err *err)
{
        return not_yet("layer_begin", err);
}

static int skeleton_layer_commit(void *self, const char *chain_id, struct cringle_layer *layer,
                                 struct cringle_err *err)
{
        return not_yet("layer_commit", err);
}

static void skeleton_layer_abort(void *self, const char *chain_id, struct cringle_layer *layer)
{
        free(layer->path);
        layer->path = NULL;
}

static int skeleton_layer_remove(void *self, const char *chain_id, struct cringle_err *err)
{
        return not_yet("layer_remove", err);
}

static int skeleton_layer_usage(void *self, const char *chain_id, struct cringle_usage *ret,
                                struct cringle_err *err)
{
        return not_yet("layer_usage", err);
}

static int skeleton_rootfs_prepare(void *self, const char *id, const struct cringle_rootfs_options *options,
                                   struct cringle_err *err)
{
        return not_yet("rootfs_prepare", err);
}

static int skeleton_rootfs_mount(void *self, const char *id, const struct cringle_rootfs_options *options,
                                 int *ret_fd, struct cringle_err *err)
{
        return not_yet("rootfs_mount", err);
}

static int skeleton_rootfs_remove(void *self, const char *id, struct cringle_err *err)
{
        return not_yet("rootfs_remove", err);
}

static int skeleton_rootfs_usage(void *self, const char *id, struct cringle_usage *ret,
                                 struct cringle_err *err)
{
        return not_yet("rootfs_usage", err);
}

static int skeleton_view_mount(void *self, const struct cringle_rootfs_options *options, int *ret_fd,
                               struct cringle_err *err)
{
        return not_yet("view_mount", err);
}

static int skeleton_sweep(void *self, const char *const *chain_ids, const char *const *ids,
                          struct cringle_err *err)
{
        return not_yet("sweep", err);
}

static int plugin_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                         struct cringle_err *err)
{
        struct skeleton *s = calloc(1, sizeof *s);

        if (!s)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        s->host = host;

        *ret_self = s;
        return 0;
}

static void plugin_destroy(void *self)
{
        free(self);
}

static const struct cringle_image_ops ops = {
        .size = sizeof ops,
        .format = skeleton_format,
        .store_path = skeleton_store_path,
        .layer_exists = skeleton_layer_exists,
        .layer_begin = skeleton_layer_begin,
        .layer_commit = skeleton_layer_commit,
        .layer_abort = skeleton_layer_abort,
        .layer_remove = skeleton_layer_remove,
        .layer_usage = skeleton_layer_usage,
        .rootfs_prepare = skeleton_rootfs_prepare,
        .rootfs_mount = skeleton_rootfs_mount,
        .rootfs_remove = skeleton_rootfs_remove,
        .rootfs_usage = skeleton_rootfs_usage,
        .view_mount = skeleton_view_mount,
        .sweep = skeleton_sweep,
};

CRINGLE_PLUGIN(skeleton,
        .kind = CRINGLE_IMAGE,
        .name = "skeleton-name",
        .major = CRINGLE_IMAGE_MAJOR,
        .minor = CRINGLE_IMAGE_MINOR,
        .help = "an image backend",
        .create = plugin_create,
        .destroy = plugin_destroy,
        .ops = &ops);
