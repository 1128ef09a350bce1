#pragma once

/*
 * Image backends: where layers lie, and how they become a root filesystem
 *
 * A layer is named by its chain id ("sha256:<64 hex>", image-spec 1.1 config.md);
 * a root filesystem by its container's id.  The pull worker fills a layer that
 * layer_begin() has opened; layer_commit() makes it visible, durable, once and for
 * all.  Whatever was begun and not committed is swept by sweep() at start.
 */

#include "plugin.h"

#define CRINGLE_IMAGE_MAJOR 1
#define CRINGLE_IMAGE_MINOR 3

/* What the pull worker is to make of a layer's tar stream. */
enum cringle_layer_format {
        CRINGLE_LAYER_TREE = 1,         /* a directory tree, whiteouts as overlayfs wants them */
};

struct cringle_layer {
        size_t size;
        int dir_fd;                     /* the (empty) directory to fill; owned by the caller, who closes it */
        char *path;                     /* of that directory, for messages and for the worker; free() it */
};

/* A pod's user namespace: what its ids 0, 1, ... are on the host. */
struct cringle_user_ns {
        size_t size;
        int fd;                         /* of the namespace, as mount_setattr(2) takes it; borrowed */
        struct cringle_id_map uids, gids;
};

struct cringle_rootfs_options {
        size_t size;
        const char *const *chain_ids;   /* lowest layer first, ended by NULL */
        int readonly;
        /*
         * Since 1.1: files that the image has as 0 are shown as the namespace's 0.  NULL: as the image has
         * them.  Given to backends that have id_maps() only.
         */
        const struct cringle_user_ns *user_ns;
        /*
         * Since 1.2: the SELinux label that all of it bears ("context=" of mount(8)); NULL: each file its own.
         * Given on nodes with SELinux only, to rootfs_mount() and view_mount().
         */
        const char *label;
};

struct cringle_usage {
        size_t size;
        uint64_t bytes;
        uint64_t inodes;
};

struct cringle_image_ops {
        size_t size;

        int (*format)(void *self);      /* enum cringle_layer_format */

        /* A directory on the file system that holds layers, and writable layers unless writable_path() says otherwise. */
        const char *(*store_path)(void *self);

        /* 1: committed and whole, 0: not there. */
        int (*layer_exists)(void *self, const char *chain_id, struct cringle_err *err);

        int (*layer_begin)(void *self, const char *chain_id, struct cringle_layer *ret, struct cringle_err *err);

        /* Sync and publish.  If another pull was faster its layer stays and this one is dropped: success. */
        int (*layer_commit)(void *self, const char *chain_id, struct cringle_layer *layer, struct cringle_err *err);
        void (*layer_abort)(void *self, const char *chain_id, struct cringle_layer *layer);

        /* Idempotent.  The caller knows that no image and no root filesystem uses it. */
        int (*layer_remove)(void *self, const char *chain_id, struct cringle_err *err);
        int (*layer_usage)(void *self, const char *chain_id, struct cringle_usage *ret, struct cringle_err *err);

        /* Make the writable part for @id; idempotent. */
        int (*rootfs_prepare)(void *self, const char *id, const struct cringle_rootfs_options *options,
                              struct cringle_err *err);

        /*
         * A detached mount (as from fsmount(2)) of a prepared root filesystem,
         * which the executor attaches inside the container's mount namespace only:
         * the host's mount table never shows it.  The caller owns *ret_fd.
         */
        int (*rootfs_mount)(void *self, const char *id, const struct cringle_rootfs_options *options, int *ret_fd,
                            struct cringle_err *err);

        /* Drop the writable part; idempotent. */
        int (*rootfs_remove)(void *self, const char *id, struct cringle_err *err);

        /* The writable part alone. */
        int (*rootfs_usage)(void *self, const char *id, struct cringle_usage *ret, struct cringle_err *err);

        /*
         * A detached read-only mount of an image's content alone: for looking up
         * users before there is a container, and for image volumes.
         */
        int (*view_mount)(void *self, const struct cringle_rootfs_options *options, int *ret_fd,
                          struct cringle_err *err);

        /*
         * Forget everything not named: layers not in @chain_ids, writable parts not
         * in @ids (both ended by NULL), and what was begun but never committed.
         */
        int (*sweep)(void *self, const char *const *chain_ids, const char *const *ids, struct cringle_err *err);

        /*
         * Optional, since 1.1.  0: mounts can show ids as those of a user namespace, which has been tried with
         * the one at @user_ns_fd.
         */
        int (*id_maps)(void *self, int user_ns_fd, struct cringle_err *err);

        /* Optional, since 1.2.  A directory on the file system that holds writable layers alone; NULL: store_path()'s. */
        const char *(*writable_path)(void *self);

        /*
         * Optional, since 1.3.  The writable part, for reading: a directory with what was changed or made since
         * rootfs_prepare(), and whiteouts, as in a layer of format().  As long as nobody has mounted it, it may be
         * filled likewise.  The caller owns *ret_fd.
         */
        int (*rootfs_changes)(void *self, const char *id, int *ret_fd, struct cringle_err *err);
};
