/*
 * Trees a container may have made; see tree.h.
 *
 * Only the directory being looked at is open.  The way up is "..", checked by device and
 * inode against what was noted on the way down: a container that moves a directory
 * while we are in it must not lead us out of its own tree.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "agent/base/own.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "plugins/image-overlay/tree.h"

/* One directory on the way down. */
struct level {
        struct level *up;
        dev_t dev;
        ino_t ino;
        char **todo;            /* names of directories in it that are still to be entered */
        size_t n_todo, room;
        char name[];            /* in the directory above */
};

/* Inode numbers seen, of files with several names: a hash table that is never full. */
struct seen {
        ino_t *slots;           /* 0: free */
        size_t n_slots;
        size_t count;
};

struct walk {
        int fd;                 /* of the top level */
        struct level *top;
        dev_t dev;              /* of the root */
        bool removing;
        uint64_t bytes, inodes;
        struct seen seen;
};

static struct level *level_free(struct level *l)
{
        struct level *up = l->up;

        for (size_t i = 0; i < l->n_todo; i++)
                free(l->todo[i]);
        free(l->todo);
        free(l);
        return up;
}

static void walk_done(struct walk *w)
{
        while (w->top)
                w->top = level_free(w->top);
        w->fd = fd_close(w->fd);
        free(w->seen.slots);
}

static int seen_grow(struct seen *s, struct cringle_err *err)
{
        struct seen bigger = { .n_slots = s->n_slots ? s->n_slots * 2 : 64, .count = s->count };

        bigger.slots = calloc(bigger.n_slots, sizeof *bigger.slots);
        if (!bigger.slots)
                return err_oom(err);
        for (size_t i = 0; i < s->n_slots; i++) {
                size_t at = s->slots[i] & (bigger.n_slots - 1);

                if (!s->slots[i])
                        continue;
                while (bigger.slots[at])
                        at = (at + 1) & (bigger.n_slots - 1);
                bigger.slots[at] = s->slots[i];
        }
        free(s->slots);
        *s = bigger;
        return 0;
}

/* 1: @ino is new, 0: it was here before. */
static int seen_add(struct seen *s, ino_t ino, struct cringle_err *err)
{
        size_t at;

        if (s->count * 2 >= s->n_slots && seen_grow(s, err) < 0)
                return -1;
        for (at = ino & (s->n_slots - 1); s->slots[at]; at = (at + 1) & (s->n_slots - 1))
                if (s->slots[at] == ino)
                        return 0;
        s->slots[at] = ino;
        s->count++;
        return 1;
}

static int count(struct walk *w, const struct stat *st, struct cringle_err *err)
{
        if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
                int fresh = seen_add(&w->seen, st->st_ino, err);

                if (fresh <= 0)
                        return fresh;
        }
        w->bytes += (uint64_t) st->st_blocks * 512;
        w->inodes++;
        return 0;
}

/* Take the flags off @name that forbid its removal.  Only files and directories have them. */
static bool unprotect(int parent, const char *name)
{
        auto_fd int path = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        char text[PATH_OF_FD_MAX];
        auto_fd int fd = -1;
        struct stat st;
        int flags;

        if (path < 0 || fstat(path, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
                return false;

        path_of_fd(path, text);
        fd = open(text, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
                return false;
        flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
        return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

static int remove_one(int parent, const char *name, int flags, struct cringle_err *err)
{
        if (unlinkat(parent, name, flags) == 0 || errno == ENOENT)
                return 0;
        if (errno == EPERM && unprotect(parent, name)) {
                if (unlinkat(parent, name, flags) == 0 || errno == ENOENT)
                        return 0;
        }
        return err_sys(err, "remove %s", name);
}

static int remember(struct level *l, const char *name, struct cringle_err *err)
{
        if (l->n_todo == l->room) {
                size_t room = l->room ? l->room * 2 : 8;
                char **more = reallocarray(l->todo, room, sizeof *more);

                if (!more)
                        return err_oom(err);
                l->todo = more;
                l->room = room;
        }
        l->todo[l->n_todo] = strdup(name);
        if (!l->todo[l->n_todo])
                return err_oom(err);
        l->n_todo++;
        return 0;
}

static int visit(struct walk *w, const char *name, struct cringle_err *err)
{
        struct stat st;

        if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(err, "stat %s", name);
        if (S_ISDIR(st.st_mode))
                return remember(w->top, name, err);
        return w->removing ? remove_one(w->fd, name, 0, err) : count(w, &st, err);
}

/* Look at everything in the directory just entered; directories are noted for later. */
static int scan(struct walk *w, struct cringle_err *err)
{
        auto_fd int copy = openat(w->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *entry;
        int r = 0;
        DIR *dir;

        if (copy < 0)
                return err_sys(err, "open directory");
        dir = fdopendir(copy);
        if (!dir)
                return err_sys(err, "read directory");
        steal_fd(&copy);        /* the DIR has it */

        for (errno = 0; r == 0 && (entry = readdir(dir)); errno = 0)
                if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, ".."))
                        r = visit(w, entry->d_name, err);
        if (r == 0 && errno)
                r = err_sys(err, "read directory");
        closedir(dir);
        return r;
}

/* Go down into @name.  1: there, 0: it is gone or no directory of this file system any more. */
static int enter(struct walk *w, int parent, const char *name, struct cringle_err *err)
{
        auto_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct level *l;
        struct stat st;
        int flags;

        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : err_sys(err, "open %s", name);
        if (fstat(fd, &st) < 0)
                return err_sys(err, "stat %s", name);
        if (!w->top)
                w->dev = st.st_dev;
        else if (st.st_dev != w->dev)
                return w->removing ? err_set(err, CRINGLE_E_PRECONDITION, "%s is a mount point", name) : 0;

        if (w->removing && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) {
                flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
                if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                        return err_sys(err, "make %s removable", name);
        }
        if (!w->removing && count(w, &st, err) < 0)
                return -1;

        l = calloc(1, sizeof *l + strlen(name) + 1);
        if (!l)
                return err_oom(err);
        memcpy(l->name, name, strlen(name) + 1);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
        l->up = w->top;
        w->top = l;
        fd_close(w->fd);
        w->fd = steal_fd(&fd);
        return scan(w, err) < 0 ? -1 : 1;
}

/* Go back up; 1: there, 0: somebody moved the directory, so that we cannot. */
static int leave(struct walk *w, struct cringle_err *err)
{
        auto_fd int fd = openat(w->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, "open directory above %s", w->top->name);
        if (st.st_dev != w->top->up->dev || st.st_ino != w->top->up->ino)
                return w->removing ? err_set(err, CRINGLE_E_ABORTED, "%s was moved", w->top->name) : 0;

        if (w->removing && remove_one(fd, w->top->name, AT_REMOVEDIR, err) < 0)
                return -1;
        w->top = level_free(w->top);
        fd_close(w->fd);
        w->fd = steal_fd(&fd);
        return 1;
}

static int walk(struct walk *w, int parent, const char *name, struct cringle_err *err)
{
        int r = enter(w, parent, name, err);

        while (r > 0) {
                struct level *l = w->top;

                if (l->n_todo > 0) {
                        auto_free char *next = l->todo[--l->n_todo];

                        if (enter(w, w->fd, next, err) < 0)
                                return -1;
                } else if (l->up) {
                        r = leave(w, err);
                } else {
                        break;
                }
        }
        return r < 0 ? -1 : 0;
}

int tree_remove(int parent, const char *name, struct cringle_err *err)
{
        struct walk w = { .fd = -1, .removing = true };
        struct stat st;
        int r;

        if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(err, "stat %s", name);
        if (!S_ISDIR(st.st_mode))
                return remove_one(parent, name, 0, err);

        r = walk(&w, parent, name, err);
        if (r == 0)
                r = remove_one(parent, name, AT_REMOVEDIR, err);
        walk_done(&w);
        return r < 0 ? err_wrap(err, "remove tree %s", name) : 0;
}

int tree_usage(int parent, const char *name, uint64_t *ret_bytes, uint64_t *ret_inodes, struct cringle_err *err)
{
        struct walk w = { .fd = -1 };
        int r = walk(&w, parent, name, err);

        if (r == 0) {
                *ret_bytes = w.bytes;
                *ret_inodes = w.inodes;
        }
        walk_done(&w);
        return r < 0 ? err_wrap(err, "count tree %s", name) : 0;
}
