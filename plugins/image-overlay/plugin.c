/*
 * image-overlay: layers as directory trees, root filesystems as overlay mounts
 *
 *      <root>/layers/<64 hex>/diff         a committed layer, by its chain id
 *      <root>/layers/<64 hex>/usage        "<bytes> <inodes>\n": what it takes on disk
 *      <root>/containers/<id>/upper, work  the writable part of a container
 *      <root>/staging/<random>             what is being made: becomes one of the above by rename(2)
 *      <root>/trash/<random>               what is being removed: was one of the above
 *      <root>/bare                         an empty directory: what an image without layers has
 *      <root>/empty                        another, to put below a single layer
 *
 * With the setting `writable`, containers are there instead, with a staging and a trash of their own: rename(2) does not
 * leave a file system.  Those that were made before stay where they are, and go from there.
 *
 * What always holds: whatever has its final name is whole, and a layer was on the disk before it
 * got its name.  So there is nothing to repair after a crash, only staging and trash to empty.
 * All directories but the layers' own are 0700: set-user-id files in an image are out of reach
 * for users of the node.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/base/label.h"
#include "agent/base/own.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "plugins/api/image.h"
#include "plugins/image-overlay/mount.h"
#include "plugins/image-overlay/tree.h"

#define DIGEST_PREFIX "sha256:"
#define HEX_LEN 64
#define RANDOM_LEN 16                   /* hexadecimal digits of a name in staging or trash */
#define ID_MAX 128
#define USAGE_FILE_MAX 64

/* A directory with one to make things in and one to remove them from. */
struct place {
        char *root;
        int fd;                         /* of root */
        int staging, trash;
};

#define PLACE_INIT { .fd = -1, .staging = -1, .trash = -1 }

/* Never changes once made: calls need no lock. */
struct overlay_store {
        const struct cringle_host *host;
        struct place images;
        struct place apart;             /* for writable parts; without a root: they are with the images */
        int layers, containers;         /* directories of images.fd, and of writable_place() */
        int former;                     /* containers of before `writable` was set; -1: it is not */
};

static struct place *writable_place(struct overlay_store *s)
{
        return s->apart.root ? &s->apart : &s->images;
}

__attribute__((format(printf, 3, 4)))
static void say(struct overlay_store *s, int level, const char *format, ...)
{
        char text[1024];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        s->host->log(s->host, level, text);
}

/* The directory name of a layer.  Nothing else than 64 digits ever becomes a path. */
static int hex_of(const char *chain_id, const char **ret, struct cringle_err *err)
{
        const char *hex = chain_id + strlen(DIGEST_PREFIX);

        if (!str_starts(chain_id, DIGEST_PREFIX) || strlen(hex) != HEX_LEN ||
            strspn(hex, "0123456789abcdef") != HEX_LEN)
                return err_set(err, CRINGLE_E_INVALID, "'%.100s' is no chain id", chain_id);
        *ret = hex;
        return 0;
}

static int check_id(const char *id, struct cringle_err *err)
{
        if (!str_is_id(id, ID_MAX))
                return err_set(err, CRINGLE_E_INVALID, "'%.100s' is no container id", id);
        return 0;
}

static void random_name(char ret[static RANDOM_LEN + 1])
{
        uint64_t n = 0;

        /* With an unlucky answer the name may be taken, and whoever makes it is told EEXIST. */
        (void) !getrandom(&n, sizeof n, 0);
        snprintf(ret, RANDOM_LEN + 1, "%016" PRIx64, n);
}

static int make_dir(int at, const char *name, mode_t mode, struct cringle_err *err)
{
        if (mkdirat(at, name, mode) < 0)
                return err_sys(err, "make directory %s", name);
        if (fchmodat(at, name, mode, 0) < 0)            /* whatever the umask is */
                return err_sys(err, "set mode of %s", name);
        return 0;
}

static int open_dir(int at, const char *name, struct cringle_err *err)
{
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? err_sys(err, "open %s", name) : fd;
}

/* A directory of the store itself, made if need be. */
static int own_dir(int at, const char *name, mode_t mode, struct cringle_err *err)
{
        if (mkdirat(at, name, mode) < 0 && errno != EEXIST)
                return err_sys(err, "make directory %s", name);
        if (fchmodat(at, name, mode, 0) < 0)
                return err_sys(err, "set mode of %s", name);
        return open_dir(at, name, err);
}

/* Take @name out of @parent, of @p, at once, and off the disk in our own time.  Absent: success. */
static int discard(const struct place *p, int parent, const char *name, struct cringle_err *err)
{
        char trash[RANDOM_LEN + 1];

        random_name(trash);
        if (renameat(parent, name, p->trash, trash) < 0)
                return errno == ENOENT ? 0 : err_sys(err, "put away %s", name);
        return tree_remove(p->trash, trash, err);
}

static int overlay_format(void *self)
{
        return CRINGLE_LAYER_TREE;
}

static const char *overlay_store_path(void *self)
{
        struct overlay_store *s = self;

        return s->images.root;
}

static const char *overlay_writable_path(void *self)
{
        return writable_place(self)->root;
}

static int overlay_layer_exists(void *self, const char *chain_id, struct cringle_err *err)
{
        struct overlay_store *s = self;
        char path[HEX_LEN + sizeof "/diff"];
        const char *hex;
        struct stat st;

        if (hex_of(chain_id, &hex, err) < 0)
                return -1;
        snprintf(path, sizeof path, "%s/diff", hex);
        if (fstatat(s->layers, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(err, "look for layer %s", chain_id);
        return S_ISDIR(st.st_mode);
}

static int overlay_layer_begin(void *self, const char *chain_id, struct cringle_layer *ret, struct cringle_err *err)
{
        struct overlay_store *s = self;
        auto_free char *path = NULL;
        char name[RANDOM_LEN + 1];
        auto_fd int top = -1;
        auto_fd int fd = -1;
        const char *hex;

        if (hex_of(chain_id, &hex, err) < 0)
                return -1;
        random_name(name);
        path = str_printf(err, "%s/staging/%s/diff", s->images.root, name);
        if (!path || make_dir(s->images.staging, name, 0700, err) < 0)
                return -1;

        top = open_dir(s->images.staging, name, err);
        if (top < 0 || make_dir(top, "diff", 0755, err) < 0 || (fd = open_dir(top, "diff", err)) < 0) {
                tree_remove(s->images.staging, name, NULL);
                return -1;
        }
        ret->dir_fd = steal_fd(&fd);
        ret->path = steal(&path);
        return 0;
}

/* The name in staging of a layer begun here: what stands between "staging/" and "/diff". */
static int staging_name(const struct overlay_store *s, const struct cringle_layer *layer, char ret[static RANDOM_LEN + 1],
                        struct cringle_err *err)
{
        auto_free char *before = str_printf(err, "%s/staging/", s->images.root);
        const char *name;

        if (!before)
                return -1;
        name = layer->path + strlen(before);
        if (!str_starts(layer->path, before) || strspn(name, "0123456789abcdef") != RANDOM_LEN ||
            !str_equal(name + RANDOM_LEN, "/diff"))
                return err_set(err, CRINGLE_E_INVALID, "'%s' is no layer begun here", layer->path);
        memcpy(ret, name, RANDOM_LEN);
        ret[RANDOM_LEN] = '\0';
        return 0;
}

static int write_usage(int top, struct cringle_err *err)
{
        char text[USAGE_FILE_MAX];
        uint64_t bytes, inodes;
        auto_fd int fd = -1;

        if (tree_usage(top, "diff", &bytes, &inodes, err) < 0)
                return -1;
        fd = openat(top, "usage", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
                return err_sys(err, "make usage file");
        snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", bytes, inodes);
        return file_write_fd(fd, text, strlen(text), err);
}

/*
 * A layer's root takes part in the root of every container on it: owner and mode may be the image's, but
 * one that is no directory any more, or that root cannot enter, is nothing to build on.
 */
static int settle_root(int top, struct cringle_err *err)
{
        struct stat st;

        if (fstatat(top, "diff", &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, "stat layer");
        if (!S_ISDIR(st.st_mode))
                return err_set(err, CRINGLE_E_DATA_LOSS, "the layer's root is no directory");
        if ((st.st_mode & 0700) != 0700 && fchmodat(top, "diff", (st.st_mode & 07777) | 0700, 0) < 0)
                return err_sys(err, "set mode of layer");
        return 0;
}

static int publish(struct overlay_store *s, const char *name, const char *hex, struct cringle_err *err)
{
        auto_fd int top = open_dir(s->images.staging, name, err);

        if (top < 0 || settle_root(top, err) < 0 || write_usage(top, err) < 0)
                return -1;
        if (syncfs(top) < 0)
                return err_sys(err, "sync layer");
        if (renameat2(s->images.staging, name, s->layers, hex, RENAME_NOREPLACE) < 0) {
                if (errno != EEXIST)
                        return err_sys(err, "publish layer");
                return discard(&s->images, s->images.staging, name, err);
        }
        /* Visible but not durable would be a lie: take it back. */
        if (fsync(s->layers) < 0) {
                err_sys(err, "sync directory of layers");
                discard(&s->images, s->layers, hex, NULL);
                return -1;
        }
        return 0;
}

static int overlay_layer_commit(void *self, const char *chain_id, struct cringle_layer *layer, struct cringle_err *err)
{
        struct overlay_store *s = self;
        char name[RANDOM_LEN + 1];
        const char *hex;

        if (hex_of(chain_id, &hex, err) < 0 || staging_name(s, layer, name, err) < 0)
                return -1;
        if (publish(s, name, hex, err) < 0)
                return err_wrap(err, "commit layer %s", chain_id);
        return 0;
}

static void overlay_layer_abort(void *self, const char *chain_id, struct cringle_layer *layer)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct overlay_store *s = self;
        char name[RANDOM_LEN + 1];

        if (staging_name(s, layer, name, &err) < 0 || tree_remove(s->images.staging, name, &err) < 0)
                say(s, CRINGLE_WARNING, "drop unfinished layer %s: %s, left for the next start", chain_id, err.text);
}

static int overlay_layer_remove(void *self, const char *chain_id, struct cringle_err *err)
{
        struct overlay_store *s = self;
        const char *hex;

        return hex_of(chain_id, &hex, err) < 0 ? -1 : discard(&s->images, s->layers, hex, err);
}

static int overlay_layer_usage(void *self, const char *chain_id, struct cringle_usage *ret, struct cringle_err *err)
{
        struct overlay_store *s = self;
        auto_buf text = BUF_INIT;
        uint64_t bytes, inodes;
        auto_fd int file = -1;
        auto_fd int top = -1;
        const char *hex;

        if (hex_of(chain_id, &hex, err) < 0)
                return -1;
        top = open_dir(s->layers, hex, err);
        if (top < 0)
                return err_wrap(err, "layer %s", chain_id);

        file = openat(top, "usage", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (file < 0 || file_read_fd(file, USAGE_FILE_MAX, &text, err) < 0 ||
            sscanf(text.data, "%" SCNu64 " %" SCNu64, &bytes, &inodes) != 2) {
                if (tree_usage(top, "diff", &bytes, &inodes, err) < 0)
                        return -1;
        }
        ret->bytes = bytes;
        ret->inodes = inodes;
        return 0;
}

/* The overlay's directories, as names below the root. */
struct stack {
        char **lowers;          /* topmost first */
        char *over;
};

static void stack_done(struct stack *k)
{
        strv_free(k->lowers);
        free(k->over);
}

static inline void auto_stack_(struct stack *k)
{
        stack_done(k);
}

static int stack_lowers(struct stack *k, const struct cringle_rootfs_options *options, struct cringle_err *err)
{
        for (size_t i = strv_count(options->chain_ids); i-- > 0;) {
                char name[sizeof "layers//diff" + HEX_LEN];
                const char *hex;

                if (hex_of(options->chain_ids[i], &hex, err) < 0)
                        return -1;
                snprintf(name, sizeof name, "layers/%s/diff", hex);
                if (strv_add(&k->lowers, name, err) < 0)
                        return -1;
        }
        return k->lowers ? 0 : strv_add(&k->lowers, "bare", err);
}

/* What @id is outside: of the first of the map when the map does not reach so far. */
static uint32_t outside(const struct cringle_id_map *map, uint32_t id)
{
        return id >= map->inside && id - map->inside < map->length ? map->outside + (id - map->inside) : map->outside;
}

/* The root of a container is the upper directory's: it starts out as the image's. */
static int copy_root(int from, int to, const struct cringle_user_ns *user_ns, struct cringle_err *err)
{
        char names[4096], value[4096];
        struct stat st;
        ssize_t n;

        if (fstat(from, &st) < 0)
                return err_sys(err, "stat root of the image");
        if (user_ns) {
                st.st_uid = outside(&user_ns->uids, st.st_uid);
                st.st_gid = outside(&user_ns->gids, st.st_gid);
        }
        if (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0)
                return err_sys(err, "set owner and mode of the root");

        n = flistxattr(from, names, sizeof names);
        if (n < 0)
                return errno == ENOTSUP || errno == ERANGE ? 0 : err_sys(err, "list attributes of the root");
        for (const char *name = names; name < names + n; name += strlen(name) + 1) {
                ssize_t size;

                /* The label is not the image's, but the policy's for this store: the new directory has its own. */
                if (str_starts(name, "trusted.overlay.") || str_equal(name, "security.selinux"))
                        continue;
                size = fgetxattr(from, name, value, sizeof value);
                if (size < 0 || fsetxattr(to, name, value, (size_t) size, 0) < 0)
                        return err_sys(err, "copy attribute %s of the root", name);
        }
        return 0;
}

/* Make staging/@name a writable part on top of @lower. */
static int build_over(struct overlay_store *s, const char *name, const char *lower,
                      const struct cringle_user_ns *user_ns, struct cringle_err *err)
{
        int staging = writable_place(s)->staging;
        auto_fd int top = -1, upper = -1, image = -1;

        if (make_dir(staging, name, 0700, err) < 0)
                return -1;
        top = open_dir(staging, name, err);
        if (top < 0 || make_dir(top, "work", 0700, err) < 0 || make_dir(top, "upper", 0755, err) < 0)
                return -1;
        upper = open_dir(top, "upper", err);
        image = open_dir(s->images.fd, lower, err);
        if (upper < 0 || image < 0)
                return -1;
        return copy_root(image, upper, user_ns, err);
}

static const struct cringle_user_ns *user_ns_of(const struct cringle_rootfs_options *options)
{
        return options->size > offsetof(struct cringle_rootfs_options, user_ns) ? options->user_ns : NULL;
}

static int overlay_rootfs_prepare(void *self, const char *id, const struct cringle_rootfs_options *options,
                                  struct cringle_err *err)
{
        auto_cleanup(auto_stack_) struct stack k = { 0 };
        struct overlay_store *s = self;
        int staging = writable_place(s)->staging;
        char name[RANDOM_LEN + 1];

        if (check_id(id, err) < 0 || stack_lowers(&k, options, err) < 0)
                return -1;
        if (faccessat(s->containers, id, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;

        random_name(name);
        if (build_over(s, name, k.lowers[0], user_ns_of(options), err) < 0)
                goto fail;
        if (renameat2(staging, name, s->containers, id, RENAME_NOREPLACE) < 0 && errno != EEXIST) {
                err_sys(err, "publish");
                goto fail;
        }
        tree_remove(staging, name, NULL);               /* there only when somebody else was faster */
        return 0;

fail:
        tree_remove(staging, name, NULL);
        return err_wrap(err, "prepare root filesystem of %s", id);
}

static const char *label_of(const struct cringle_rootfs_options *options)
{
        return options->size > offsetof(struct cringle_rootfs_options, label) ? options->label : NULL;
}

static int mount_stack(struct overlay_store *s, const struct stack *k, bool readonly,
                       const struct cringle_user_ns *user_ns, const char *label, int *ret_fd, struct cringle_err *err)
{
        struct overlay o = {
                .root = s->images.root,
                .over_root = writable_place(s)->root,
                .lowers = (const char *const *) k->lowers,
                .over = k->over,
                .empty = "empty",
                .readonly = readonly,
                .label = label,
                .user_ns = user_ns ? user_ns->fd : -1,
        };

        return overlay_mount(&o, ret_fd, err);
}

static int overlay_rootfs_mount(void *self, const char *id, const struct cringle_rootfs_options *options, int *ret_fd,
                                struct cringle_err *err)
{
        auto_cleanup(auto_stack_) struct stack k = { 0 };
        struct overlay_store *s = self;

        if (check_id(id, err) < 0 || stack_lowers(&k, options, err) < 0)
                return -1;
        k.over = str_printf(err, "containers/%s", id);
        if (!k.over)
                return -1;
        return mount_stack(s, &k, options->readonly, user_ns_of(options), label_of(options), ret_fd, err) < 0
                       ? err_wrap(err, "root filesystem of %s", id)
                       : 0;
}

static int overlay_rootfs_remove(void *self, const char *id, struct cringle_err *err)
{
        struct overlay_store *s = self;

        if (check_id(id, err) < 0 || discard(writable_place(s), s->containers, id, err) < 0)
                return -1;
        return s->former < 0 ? 0 : discard(&s->images, s->former, id, err);
}

/* The directory of a container that is there. */
static int open_container(struct overlay_store *s, const char *id, struct cringle_err *err)
{
        int top;

        if (check_id(id, err) < 0)
                return -1;
        top = open_dir(s->containers, id, err);
        return top < 0 && s->former >= 0 ? open_dir(s->former, id, err) : top;
}

static int overlay_rootfs_usage(void *self, const char *id, struct cringle_usage *ret, struct cringle_err *err)
{
        auto_fd int top = open_container(self, id, err);

        if (top < 0)
                return err_wrap(err, "root filesystem of %s", id);
        return tree_usage(top, "upper", &ret->bytes, &ret->inodes, err);
}

static int overlay_rootfs_changes(void *self, const char *id, int *ret_fd, struct cringle_err *err)
{
        auto_fd int top = open_container(self, id, err);
        int fd = top < 0 ? -1 : open_dir(top, "upper", err);

        if (fd < 0)
                return err_wrap(err, "root filesystem of %s", id);
        *ret_fd = fd;
        return 0;
}

static int overlay_view_mount(void *self, const struct cringle_rootfs_options *options, int *ret_fd,
                              struct cringle_err *err)
{
        auto_cleanup(auto_stack_) struct stack k = { 0 };
        struct overlay_store *s = self;

        if (stack_lowers(&k, options, err) < 0)
                return -1;
        return mount_stack(s, &k, true, user_ns_of(options), label_of(options), ret_fd, err) < 0
                       ? err_wrap(err, "view of an image")
                       : 0;
}

/* Is the directory entry @name, prefixed, on the list?  NULL: nothing is. */
static bool keeps(const char *const *list, const char *prefix, const char *name)
{
        for (; list && *list; list++)
                if (str_starts(*list, prefix) && str_equal(*list + strlen(prefix), name))
                        return true;
        return false;
}

/* Remove all of @dir, of @p, that is not on @list.  Goes on after a failure, and tells the last one. */
static int sweep_dir(const struct place *p, int dir, const char *const *list, const char *prefix, struct cringle_err *err)
{
        auto_fd int copy = open_dir(dir, ".", err);
        auto_strv names = NULL;
        struct dirent *entry;
        int r = 0;
        DIR *d;

        if (copy < 0)
                return -1;
        d = fdopendir(copy);
        if (!d)
                return err_sys(err, "read directory");
        steal_fd(&copy);        /* the DIR has it */
        while (r == 0 && (entry = readdir(d)))
                if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, "..") &&
                    !keeps(list, prefix, entry->d_name))
                        r = strv_add(&names, entry->d_name, err);
        closedir(d);
        if (r < 0)
                return -1;

        for (char **name = names; name && *name; name++)
                if ((dir == p->trash ? tree_remove(dir, *name, err) : discard(p, dir, *name, err)) < 0)
                        r = -1;
        return r;
}

/* The trash comes last: what is swept goes there. */
static int sweep_place(const struct place *p, const int *dirs, const char *const *const *lists, const char *const *prefixes,
                       size_t n, struct cringle_err *err)
{
        int r = sweep_dir(p, p->staging, NULL, "", err);

        for (size_t i = 0; i < n; i++)
                if (dirs[i] >= 0 && sweep_dir(p, dirs[i], lists[i], prefixes[i], err) < 0)
                        r = -1;
        if (sweep_dir(p, p->trash, NULL, "", err) < 0)
                r = -1;
        return r;
}

static int overlay_sweep(void *self, const char *const *chain_ids, const char *const *ids, struct cringle_err *err)
{
        struct overlay_store *s = self;
        const char *const *const lists[] = { ids, chain_ids };
        static const char *const prefixes[] = { "", DIGEST_PREFIX };
        int r = 0;

        if (sweep_place(&s->images, (const int[]) { s->apart.root ? s->former : s->containers, s->layers }, lists, prefixes, 2,
                        err) < 0)
                r = err_wrap(err, "sweep %s", s->images.root);
        if (s->apart.root && sweep_place(&s->apart, &s->containers, lists, prefixes, 1, err) < 0)
                r = err_wrap(err, "sweep %s", s->apart.root);
        return r;
}

static int overlay_probe(struct cringle_err *err)
{
        auto_fd int fs = fsopen("overlay", FSOPEN_CLOEXEC);

        return fs < 0 ? err_sys(err, "the kernel offers no overlay file system") : 0;
}

static void place_done(struct place *p)
{
        fd_close(p->trash);
        fd_close(p->staging);
        fd_close(p->fd);
        free(p->root);
}

static void overlay_destroy(void *self)
{
        struct overlay_store *s = self;

        if (!s)
                return;
        fd_close(s->former);
        fd_close(s->containers);
        fd_close(s->layers);
        place_done(&s->apart);
        place_done(&s->images);
        free(s);
}

static int open_place(struct place *p, const char *root, struct cringle_err *err)
{
        p->root = strdup(root);
        if (!p->root)
                return err_oom(err);
        if (file_make_dirs(p->root, 0700, err) < 0)
                return -1;
        p->fd = own_dir(AT_FDCWD, p->root, 0700, err);
        if (p->fd < 0)
                return -1;
        p->staging = own_dir(p->fd, "staging", 0700, err);
        p->trash = own_dir(p->fd, "trash", 0700, err);
        return p->staging < 0 || p->trash < 0 ? -1 : 0;
}

/*
 * What a container maps of its root file system is, to SELinux, a file of the store, whatever label the overlay has: the
 * policy lets containers read those with this one.  New files have it from their directory.  The root is last: it says
 * that all have it.
 */
#define STORE_LABEL "system_u:object_r:container_ro_file_t:s0"

static int label_place(const struct place *p, struct cringle_err *err)
{
        static const char *const names[] = { "layers", "containers", "staging", "bare", "empty", NULL };

        if (label_is(p->root, STORE_LABEL))
                return 0;
        for (size_t i = 0; names[i]; i++) {
                auto_free char *path = str_printf(err, "%s/%s", p->root, names[i]);

                if (!path)
                        return -1;
                if (file_exists(path) && label_tree(path, STORE_LABEL, NULL, err) < 0)
                        return err_wrap(err, "label the store");
        }
        return label_file(p->root, STORE_LABEL, err);
}

static int label_store(struct overlay_store *s, struct cringle_err *err)
{
        if (!label_active() || label_check(STORE_LABEL, NULL) < 0)
                return 0;
        return label_place(&s->images, err) < 0 || (s->apart.root && label_place(&s->apart, err) < 0) ? -1 : 0;
}

static int open_store(struct overlay_store *s, const char *root, const char *writable, struct cringle_err *err)
{
        auto_fd int bare = -1, empty = -1;

        if (open_place(&s->images, root, err) < 0 || (writable && open_place(&s->apart, writable, err) < 0))
                return -1;
        s->layers = own_dir(s->images.fd, "layers", 0700, err);
        s->containers = own_dir(writable_place(s)->fd, "containers", 0700, err);
        bare = own_dir(s->images.fd, "bare", 0755, err);
        empty = own_dir(s->images.fd, "empty", 0755, err);
        if (s->layers < 0 || s->containers < 0 || bare < 0 || empty < 0)
                return -1;
        if (writable) {
                s->former = own_dir(s->images.fd, "containers", 0700, err);
                if (s->former < 0)
                        return -1;
        }
        return label_store(s, err);
}

static int check_dir(const char *name, const char *path, struct cringle_err *err)
{
        if (!path_is_clean(path))
                return err_set(err, CRINGLE_E_INVALID, "setting %s: '%s' is no clean absolute path", name, path);
        return 0;
}

static int overlay_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                          struct cringle_err *err)
{
        struct overlay_store *s = calloc(1, sizeof *s);
        const char *root = NULL, *writable = NULL;

        if (!s)
                return err_oom(err);
        *s = (struct overlay_store) {
                .host = host, .images = PLACE_INIT, .apart = PLACE_INIT, .layers = -1, .containers = -1, .former = -1,
        };

        for (const struct cringle_pair *p = settings; p && p->key; p++) {
                if (str_equal(p->key, "root"))
                        root = p->value;
                else if (str_equal(p->key, "writable") && !str_empty(p->value))
                        writable = p->value;
        }
        if (!root) {
                err_set(err, CRINGLE_E_INVALID, "setting root: missing");
                goto fail;
        }
        if (check_dir("root", root, err) < 0 || (writable && check_dir("writable", writable, err) < 0))
                goto fail;
        if (writable && str_equal(writable, root))
                writable = NULL;
        if (open_store(s, root, writable, err) < 0)
                goto fail;

        *ret_self = s;
        return 0;

fail:
        overlay_destroy(s);
        return -1;
}

/* A container's root on nothing, made and dropped. */
static int try_mount(struct overlay_store *s, const struct cringle_user_ns *user_ns, struct cringle_err *err)
{
        auto_cleanup(auto_stack_) struct stack k = { 0 };
        char name[RANDOM_LEN + 1];
        auto_fd int fd = -1;
        int r = -1;

        random_name(name);
        k.over = str_printf(err, "staging/%s", name);
        if (k.over && strv_add(&k.lowers, "bare", err) == 0 && build_over(s, name, "bare", user_ns, err) == 0)
                r = mount_stack(s, &k, false, user_ns, NULL, &fd, err);
        tree_remove(writable_place(s)->staging, name, NULL);
        return r < 0 ? err_wrap(err, "try an overlay mount on %s", writable_place(s)->root) : 0;
}

/* Not every file system can be the upper one; better told now than by the first container. */
static int overlay_start(void *self, struct cringle_err *err)
{
        return try_mount(self, NULL, err);
}

static int overlay_id_maps(void *self, int user_ns_fd, struct cringle_err *err)
{
        struct cringle_user_ns user_ns = {
                .size = sizeof user_ns, .fd = user_ns_fd, .uids = { .length = 1 }, .gids = { .length = 1 },
        };

        return try_mount(self, &user_ns, err);
}

static const struct cringle_setting settings[] = {
        { "root", CRINGLE_PATH, NULL, "directory of layers and writable parts; its file system must do for overlayfs" },
        { "writable", CRINGLE_PATH, NULL, "directory of writable parts, on a file system of their own; unset: with the layers" },
        { 0 }
};

static const struct cringle_image_ops ops = {
        .size = sizeof ops,
        .format = overlay_format,
        .store_path = overlay_store_path,
        .layer_exists = overlay_layer_exists,
        .layer_begin = overlay_layer_begin,
        .layer_commit = overlay_layer_commit,
        .layer_abort = overlay_layer_abort,
        .layer_remove = overlay_layer_remove,
        .layer_usage = overlay_layer_usage,
        .rootfs_prepare = overlay_rootfs_prepare,
        .rootfs_mount = overlay_rootfs_mount,
        .rootfs_remove = overlay_rootfs_remove,
        .rootfs_usage = overlay_rootfs_usage,
        .view_mount = overlay_view_mount,
        .sweep = overlay_sweep,
        .id_maps = overlay_id_maps,
        .writable_path = overlay_writable_path,
        .rootfs_changes = overlay_rootfs_changes,
};

CRINGLE_PLUGIN(image_overlay,
        .kind = CRINGLE_IMAGE,
        .name = "image-overlay",
        .major = CRINGLE_IMAGE_MAJOR,
        .minor = CRINGLE_IMAGE_MINOR,
        .help = "layers as directory trees, root filesystems as overlay mounts",
        .settings = settings,
        .probe = overlay_probe,
        .create = overlay_create,
        .start = overlay_start,
        .destroy = overlay_destroy,
        .ops = &ops);
