/*
 * Files of cgroups, kept open; see kept.h.
 *
 * The map holds a reference to each cgroup in it, and so does each look; whoever drops
 * the last one closes the files.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/map.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "cgroup/kept.h"

#define FILES_MAX 12                    /* of one cgroup; what is read beyond these is opened each time */
#define UNUSED_MAX (60 * NSEC_PER_SEC)

struct kept_file {
        int tree;
        const char *name;
        int fd;
};

struct kept_cgroup {
        char *path;
        unsigned refs;                  /* under the lock of all */
        int64_t used;
        atomic_bool gone;               /* by ENODEV */
        struct kept *all;
        pthread_mutex_t lock;           /* of the files */
        size_t n;
        struct kept_file files[FILES_MAX];
};

struct kept {
        pthread_mutex_t lock;
        struct map cgroups;             /* path -> struct kept_cgroup */
        int64_t swept;
        atomic_size_t open;
        size_t max;
};

int kept_new(size_t max, struct kept **ret, struct cringle_err *err)
{
        struct kept *k = calloc(1, sizeof *k);

        if (!k)
                return err_oom(err);
        pthread_mutex_init(&k->lock, NULL);
        k->max = max;
        *ret = k;
        return 0;
}

static void unref(struct kept_cgroup *c)
{
        if (--c->refs > 0)
                return;
        for (size_t i = 0; i < c->n; i++)
                close(c->files[i].fd);
        atomic_fetch_sub(&c->all->open, c->n);
        pthread_mutex_destroy(&c->lock);
        free(c->path);
        free(c);
}

static void unref_any(void *c)
{
        unref(c);
}

struct kept *kept_free(struct kept *k)
{
        if (!k)
                return NULL;
        map_done(&k->cgroups, unref_any);
        pthread_mutex_destroy(&k->lock);
        free(k);
        return NULL;
}

static void drop(struct kept *k, const char *path)
{
        struct kept_cgroup *c = map_take(&k->cgroups, path);

        if (c)
                unref(c);
}

void kept_forget(struct kept *k, const char *path)
{
        pthread_mutex_lock(&k->lock);
        drop(k, path);
        pthread_mutex_unlock(&k->lock);
}

/* One unused cgroup, or NULL. */
static struct kept_cgroup *unused(const struct kept *k, int64_t now)
{
        size_t at = 0;
        const char *path;
        void *value;

        while (map_next(&k->cgroups, &at, &path, &value)) {
                struct kept_cgroup *c = value;

                if (now - c->used > UNUSED_MAX)
                        return c;
        }
        return NULL;
}

static void sweep(struct kept *k, int64_t now)
{
        if (now - k->swept < UNUSED_MAX)
                return;
        k->swept = now;
        for (struct kept_cgroup *c; (c = unused(k, now));)
                drop(k, c->path);
}

static struct kept_cgroup *add(struct kept *k, const char *path, struct cringle_err *err)
{
        struct kept_cgroup *c = calloc(1, sizeof *c);

        if (!c || !(c->path = strdup(path)) || map_put(&k->cgroups, path, c, err) < 0) {
                if (c)
                        free(c->path);
                free(c);
                err_oom(err);
                return NULL;
        }
        pthread_mutex_init(&c->lock, NULL);
        c->all = k;
        c->refs = 1;
        return c;
}

struct kept_cgroup *kept_take(struct kept *k, const char *path, struct cringle_err *err)
{
        int64_t now = clock_monotonic();
        struct kept_cgroup *c;

        pthread_mutex_lock(&k->lock);
        sweep(k, now);
        c = map_get(&k->cgroups, path);
        if (!c)
                c = add(k, path, err);
        if (c) {
                c->used = now;
                c->refs++;
        }
        pthread_mutex_unlock(&k->lock);
        return c;
}

bool kept_give(struct kept *k, struct kept_cgroup *c)
{
        bool gone = atomic_load(&c->gone);

        pthread_mutex_lock(&k->lock);
        if ((gone || c->n == 0) && map_get(&k->cgroups, c->path) == c)
                drop(k, c->path);
        unref(c);
        pthread_mutex_unlock(&k->lock);
        return gone;
}

static struct kept_file *find(struct kept_cgroup *c, int tree, const char *file)
{
        for (size_t i = 0; i < c->n; i++)
                if (c->files[i].tree == tree && strcmp(c->files[i].name, file) == 0)
                        return &c->files[i];
        return NULL;
}

static int open_file(const struct kept_cgroup *c, int tree, const char *file)
{
        auto_free char *path = str_printf(NULL, "%s/%s", c->path, file);

        if (!path) {
                errno = ENOMEM;
                return -1;
        }
        return openat(tree, path, O_RDONLY | O_CLOEXEC);
}

/* Room for one more, of the cgroup's and of all. */
static bool reserve(struct kept_cgroup *c)
{
        if (c->n == FILES_MAX)
                return false;
        if (atomic_fetch_add(&c->all->open, 1) < c->all->max)
                return true;
        atomic_fetch_sub(&c->all->open, 1);
        return false;
}

ssize_t kept_read(struct kept_cgroup *c, int tree, const char *file, void *data, size_t size)
{
        auto_fd int passing = -1;
        const struct kept_file *known;
        ssize_t n;
        int fd;

        pthread_mutex_lock(&c->lock);
        known = find(c, tree, file);
        fd = known ? known->fd : open_file(c, tree, file);
        if (fd >= 0 && !known) {
                if (reserve(c))
                        c->files[c->n++] = (struct kept_file) { .tree = tree, .name = file, .fd = fd };
                else
                        passing = fd;
        }
        n = fd < 0 ? -1 : pread(fd, data, size, 0);
        if (n < 0 && errno == ENODEV && known)
                atomic_store(&c->gone, true);
        pthread_mutex_unlock(&c->lock);
        return n;
}
