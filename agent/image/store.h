#pragma once

/*
 * The images of this node: index, pulls, and whom the layers belong to
 *
 * Everything that is asked often (find, list, the space in use) is answered from
 * memory under one mutex; the database is what memory is rebuilt from at start, and
 * the backend (struct cringle_image_ops) holds the layers themselves.
 *
 * What always holds:
 * - An image is listed only when all its layers are committed and its record is
 *   durable; a record is written after the layers it names, never before.
 * - A layer is kept as long as an image, a running pull or (through an image) a
 *   container uses it.  Nothing else keeps it, so no garbage collector is needed.
 * - An image that a container holds may be removed: its names go at once, its
 *   layers with the last holder, also across a restart of the agent.
 *
 * All functions may be called from any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"
#include "plugins/api/image.h"

struct config;
struct db;
struct fetch_auth;

struct images;

/* One image as it was at one moment: never changes, shared by reference. */
struct image {
        unsigned refs;                  /* image_ref() and image_unref() only */
        char *id;                       /* "sha256:<64 hex>": the digest of its config */
        char *config;                   /* JSON text, as the registry gave it */
        char **tags;                    /* "registry.k8s.io/pause:3.10", sorted; NULL: none */
        char **digests;                 /* "registry.k8s.io/pause@sha256:<64 hex>", sorted; NULL: none */
        char **chain_ids;               /* lowest layer first; NULL: an image without layers */
        uint64_t size;                  /* bytes of its layers on disk, shared ones included */
        bool pinned;                    /* the configuration asks never to garbage-collect it */
        char *user;                     /* the config's User, whole ("1000:100"); NULL: none */
        int64_t uid;                    /* the user part when it is a number, 0 when there is none; else -1 */
        char *username;                 /* the user part when it is a name; else NULL */
};

/* Both accept NULL; any thread. */
struct image *image_ref(struct image *i);
struct image *image_unref(struct image *i);     /* always NULL */

AUTO_DEFINE(image, image_unref)

struct images_options {
        struct db *db;                  /* with the tables of image_schema; borrowed */
        const struct cringle_image_ops *ops;
        void *self;                     /* of the backend */
        const struct config *config;    /* read during images_new() only */
};

/* SQL that makes the tables images, image_names and image_layers: part of a migration of the database. */
extern const char image_schema[];

/*
 * Load the index.  An image of which a layer is missing is dropped, with a
 * warning.  Call images_hold() for every container there is, then images_sweep(),
 * before the first pull or removal.
 */
int images_new(const struct images_options *options, struct images **ret, struct cringle_err *err);

/* Cancels running pulls and waits for them. */
struct images *images_free(struct images *images);

AUTO_DEFINE(images, images_free)

/*
 * Let the backend drop what nobody owns: layers no image uses, writable parts of
 * containers not in @ids (ended by NULL; may be NULL), and what an unfinished pull left.
 * Images that were removed and that nobody holds any more end here, too.
 */
int images_sweep(struct images *images, const char *const *ids, struct cringle_err *err);

/* Take over @fresh of settings_new(), which is taken; running pulls go on with the former ones. */
struct settings;
void images_take_over(struct images *images, struct settings *fresh);

/*
 * Pull @reference; *ret_id is its image id, the caller's.  A pull of the same
 * reference with the same @auth (NULL: none) that runs already is joined; it is cancelled
 * when the last one waiting for it has gone.  When this returns 0 the image survives a power cut;
 * when it fails, nothing of it is left.
 */
int images_pull(struct images *images, const struct cringle_call *call, const char *reference,
                const struct fetch_auth *auth, char **ret_id, struct cringle_err *err);

/*
 * The image called @name: an id (whole, or at least 12 digits that fit one image only; "sha256:" may
 * be missing), a tag or a digest reference ("busybox" is "docker.io/library/busybox:latest").
 * A new reference, or NULL when there is none.
 */
struct image *images_find(struct images *images, const char *name);

/* The image of exactly this id, also when it was removed but is still held.  A new reference, or NULL. */
struct image *images_get(struct images *images, const char *id);

/*
 * Remove the image called @name with all its names.  Absent: success.  The layers go
 * now, or when the last holder does.  Durable when it returns.
 */
int images_remove(struct images *images, const struct cringle_call *call, const char *name, struct cringle_err *err);

/*
 * All images, or the one called @name (none: an empty list), ordered by id.
 * *ret is the caller's: images_list_free().
 */
int images_list(struct images *images, const char *name, struct image ***ret, size_t *ret_n, struct cringle_err *err);
void images_list_free(struct image **list, size_t n);

/*
 * @holder (a container's id) uses the image @id: its layers stay.  A holder may hold
 * several (root file system, image volumes); holding twice is holding once.  Kept in memory only: whoever
 * stores containers holds again after a restart.  CRINGLE_E_NOT_FOUND: no such image.
 */
int images_hold(struct images *images, const char *id, const char *holder, struct cringle_err *err);

/* Let go of all that @holder holds. */
void images_release(struct images *images, const char *holder);

/* 0: where a @user_ns can be given below, it will be honoured; tried with the namespace @user_ns_fd. */
int images_id_maps(struct images *images, int user_ns_fd, struct cringle_err *err);

/*
 * Writable part of a container's root file system; idempotent.  The caller holds @image.  @user_ns: of
 * the container, NULL: the node's; always the same for one container.
 */
int images_rootfs_prepare(struct images *images, const struct image *image, const char *container_id,
                          const struct cringle_user_ns *user_ns, struct cringle_err *err);

/* A detached mount of it; *ret_fd is the caller's.  @label: of SELinux, for all files in it; NULL: they have their own. */
int images_rootfs_mount(struct images *images, const struct image *image, const char *container_id,
                        const struct cringle_user_ns *user_ns, const char *label, int *ret_fd, struct cringle_err *err);

/* Idempotent. */
int images_rootfs_remove(struct images *images, const char *container_id, struct cringle_err *err);

/* The writable part alone: walks it. */
int images_rootfs_usage(struct images *images, const char *container_id, uint64_t *ret_bytes, uint64_t *ret_inodes,
                        struct cringle_err *err);

/* The tree of what is in it, for reading, and before it is mounted for filling; *ret_fd is the caller's.  CRINGLE_E_UNIMPLEMENTED: the backend cannot tell. */
int images_rootfs_changes(struct images *images, const char *container_id, int *ret_fd, struct cringle_err *err);

/*
 * A detached read-only mount of the image alone, for @user_ns (NULL: the node's); *ret_fd is the caller's.
 * The caller holds @image.
 */
int images_view(struct images *images, const struct image *image, const struct cringle_user_ns *user_ns,
                const char *label, int *ret_fd, struct cringle_err *err);

/*
 * The same of what is at @path in the image: a directory or a file.  Nothing leads out of the image; a path
 * that is not there is CRINGLE_E_NOT_FOUND.
 */
int images_view_part(struct images *images, const struct image *image, const char *path,
                     const struct cringle_user_ns *user_ns, const char *label, int *ret_fd, struct cringle_err *err);

/* The directory of the store (borrowed for ever) and what all layers take there, each counted once. */
int images_fs_info(struct images *images, const char **ret_path, uint64_t *ret_bytes, uint64_t *ret_inodes,
                   struct cringle_err *err);

/* The directory of writable layers, borrowed for ever: that of the store, or another.  NULL: the backend has none. */
const char *images_writable_path(struct images *images);
