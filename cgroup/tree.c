/*
 * The cgroup trees of this machine; see tree.h.
 *
 * cgroupfs has no symbolic links and only root makes directories in it that we go
 * through, so paths from the mount's root are safe to use as they are.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "cgroup/tree.h"

#define FILE_MAX (1024 * 1024)
#define DIRS_MAX 16384                  /* below one container; more is an attack */
#define MAKE_TRIES 32

/* --- finding --- */

/* Mount options of a v1 hierarchy that are no controllers. */
static const char *const v1_options[] = {
        "rw", "ro", "none", "all", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "nofavordynmods",
        NULL,
};

static int v1_controllers(char *options, char ***ret, struct cringle_err *err)
{
        char *rest;

        for (char *word = strtok_r(options, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
                if (!strv_has(v1_options, word) && !strchr(word, '=') && strv_add(ret, word, err) < 0)
                        return -1;
        return 0;
}

static int words(char *text, char ***ret, struct cringle_err *err)
{
        char *rest;

        for (char *word = strtok_r(text, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest))
                if (strv_add(ret, word, err) < 0)
                        return -1;
        return 0;
}

static bool at_or_below(const char *path, const char *top)
{
        size_t n = strlen(top);

        while (n > 1 && top[n - 1] == '/')
                n--;
        return strncmp(path, top, n) == 0 && (!path[n] || path[n] == '/' || n == 1);
}

static int add_tree(struct trees *t, const char *mount, bool v2, char *options, struct cringle_err *err)
{
        struct tree *grown = reallocarray(t->list, t->n + 1, sizeof *grown);
        struct tree *tree;
        auto_buf offered = BUF_INIT;

        if (!grown)
                return err_oom(err);
        t->list = grown;
        tree = &t->list[t->n];
        *tree = (struct tree) { .v2 = v2, .fd = -1 };
        t->n++;
        if (!v2) {
                if (v1_controllers(options, &tree->controllers, err) < 0)
                        return -1;
                if (!tree->controllers) {
                        t->n--;         /* a named hierarchy: somebody's book-keeping, no limits */
                        return 0;
                }
        }

        tree->mount = strdup(mount);
        if (!tree->mount)
                return err_oom(err);
        tree->fd = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (tree->fd < 0)
                return err_sys(err, "open %s", mount);
        if (v2) {
                if (tree_read(tree, ".", "cgroup.controllers", &offered, err) < 0)
                        return -1;
                if (offered.data && words(offered.data, &tree->controllers, err) < 0)
                        return -1;
        }
        return 0;
}

static bool have_mount(const struct trees *t, const char *mount)
{
        for (size_t i = 0; i < t->n; i++)
                if (strcmp(t->list[i].mount, mount) == 0)
                        return true;

        return false;
}

/* A hierarchy may be mounted twice (a bind mount): the first one counts. */
static bool same_kind(const struct trees *t, bool v2, const char *options)
{
        for (size_t i = 0; i < t->n; i++) {
                const struct tree *tree = &t->list[i];

                if (tree->v2 != v2)
                        continue;
                if (v2)
                        return true;
                for (size_t c = 0; tree->controllers[c]; c++) {
                        const char *at = strstr(options, tree->controllers[c]);
                        size_t n = strlen(tree->controllers[c]);

                        if (at && (at == options || at[-1] == ',') && (!at[n] || at[n] == ','))
                                return true;
                }
        }
        return false;
}

/* "36 35 98:0 / /mnt rw,noatime master:1 - cgroup cgroup rw,memory": mount point 5th, type and options after the dash. */
static int read_line(struct trees *t, const char *mount_point, char *line, struct cringle_err *err)
{
        char *after = strstr(line, " - ");
        char *fields[5], *type, *options, *rest;
        size_t n = 0;
        bool v2;

        if (!after)
                return 0;
        *after = '\0';
        for (char *f = strtok_r(line, " ", &rest); f && n < 5; f = strtok_r(NULL, " ", &rest))
                fields[n++] = f;
        type = strtok_r(after + 3, " ", &rest);
        options = type && strtok_r(NULL, " ", &rest) ? strtok_r(NULL, " ", &rest) : NULL;
        if (n < 5 || !options || (strcmp(type, "cgroup") != 0 && strcmp(type, "cgroup2") != 0))
                return 0;

        v2 = strcmp(type, "cgroup2") == 0;
        if (!at_or_below(fields[4], mount_point) || have_mount(t, fields[4]) || same_kind(t, v2, options))
                return 0;
        return add_tree(t, fields[4], v2, options, err);
}

/*
 * As many as take a thousandth of the machine's memory, but four megabytes in any case, for statistics of a container cost three
 * times as much without; and a part of the files that we may have open.
 */
static size_t files_to_keep(void)
{
        struct rlimit limit;
        struct sysinfo machine;
        size_t n = 1024;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 0;
        if (sysinfo(&machine) == 0 && (uint64_t) machine.totalram * machine.mem_unit / 1000 / KEPT_COST > n)
                n = (size_t) ((uint64_t) machine.totalram * machine.mem_unit / 1000 / KEPT_COST);
        return limit.rlim_cur / 4 < n ? (size_t) limit.rlim_cur / 4 : n;
}

int trees_find(const char *mount_point, const char *mountinfo, struct trees **ret, struct cringle_err *err)
{
        auto_of(trees) t = calloc(1, sizeof *t);
        auto_free char *text = strdup(mountinfo);
        auto_free char *probe = str_printf(err, "%s/cgroup.controllers", mount_point);
        char *rest;

        if (!t || !text || !probe)
                return err_oom(err);
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (read_line(t, mount_point, line, err) < 0)
                        return -1;

        /* No mount there, but a directory of a v2 tree that is mounted elsewhere. */
        if (t->n == 0 && file_exists(probe) && add_tree(t, mount_point, true, NULL, err) < 0)
                return -1;
        if (t->n == 0)
                return err_set(err, CRINGLE_E_PRECONDITION, "no cgroup hierarchy is mounted at or below %s", mount_point);

        for (size_t i = 0; i < t->n; i++)
                if (t->list[i].v2)
                        t->unified = &t->list[i];
        if (kept_new(files_to_keep(), &t->kept, err) < 0)
                return -1;
        *ret = steal(&t);
        return 0;
}

struct trees *trees_free(struct trees *t)
{
        if (!t)
                return NULL;

        for (size_t i = 0; i < t->n; i++) {
                free(t->list[i].mount);
                fd_close(t->list[i].fd);
                strv_free(t->list[i].controllers);
        }
        free(t->list);
        kept_free(t->kept);
        free(t);
        return NULL;
}

const struct tree *trees_with(const struct trees *t, const char *controller)
{
        for (size_t i = 0; i < t->n; i++)
                if (strv_has((const char *const *) t->list[i].controllers, controller))
                        return &t->list[i];

        return NULL;
}

/* --- files --- */

static int open_file(const struct tree *t, const char *path, const char *file, int flags, struct cringle_err *err)
{
        auto_free char *full = str_printf(err, "%s/%s", path, file);
        int fd;

        if (!full)
                return -1;
        fd = openat(t->fd, full, flags | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return err_sys(err, "open %s/%s", t->mount, full);
        if (fd < 0)
                return -2;
        return fd;
}

int tree_read(const struct tree *t, const char *path, const char *file, struct buf *ret, struct cringle_err *err)
{
        auto_fd int fd = open_file(t, path, file, O_RDONLY, err);

        if (fd == -2)
                return 0;
        if (fd < 0)
                return -1;
        if (file_read_fd(fd, FILE_MAX, ret, err) < 0)
                return err_wrap(err, "%s/%s/%s", t->mount, path, file);
        return 1;
}

int tree_write(const struct tree *t, const char *path, const char *file, const char *value, struct cringle_err *err)
{
        auto_fd int fd = open_file(t, path, file, O_WRONLY, err);
        size_t n = strlen(value);

        if (fd == -2)
                return 0;
        if (fd < 0)
                return -1;
        if (write(fd, value, n) != (ssize_t) n)
                return err_sys(err, "write '%.64s' to %s/%s/%s", value, t->mount, path, file);
        return 1;
}

bool tree_has(const struct tree *t, const char *path)
{
        return faccessat(t->fd, path, F_OK, 0) == 0;
}

/* --- making --- */

static char *parent_of(const char *path, struct cringle_err *err)
{
        const char *slash = strrchr(path, '/');

        return slash ? str_printf(err, "%.*s", (int) (slash - path), path) : str_printf(err, ".");
}

/* The next component's end in @path from @at, or its end. */
static size_t next_end(const char *path, size_t at)
{
        const char *slash = strchr(path + at, '/');

        return slash ? (size_t) (slash - path) : strlen(path);
}

static bool blank(const struct buf *b)
{
        return !b->len || strspn(b->data, " \t\n") == b->len;
}

/* v1: a cpuset without cpus and mems takes no processes. */
static int fill_cpuset(const struct tree *t, const char *path, struct cringle_err *err)
{
        static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
        auto_free char *parent = parent_of(path, err);

        if (!parent)
                return -1;
        for (size_t i = 0; i < 2; i++) {
                auto_buf own = BUF_INIT;
                auto_buf above = BUF_INIT;

                if (tree_read(t, path, files[i], &own, err) < 0)
                        return -1;
                if (!blank(&own))
                        continue;
                if (tree_read(t, parent, files[i], &above, err) < 0)
                        return -1;
                if (!blank(&above) && tree_write(t, path, files[i], above.data, err) < 0)
                        return -1;
        }
        return 0;
}

/*
 * v2: what @path does not yet hand down to its children, it does now.  What the
 * kernel refuses is left: a limit that needs it will fail with the name of its file.
 */
static int hand_down(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_buf offered = BUF_INIT;
        auto_buf given = BUF_INIT;
        auto_buf missing = BUF_INIT;
        auto_strv has = NULL;
        auto_strv gives = NULL;

        if (tree_read(t, path, "cgroup.controllers", &offered, err) < 0 ||
            tree_read(t, path, "cgroup.subtree_control", &given, err) < 0)
                return -1;
        if ((offered.data && words(offered.data, &has, err) < 0) || (given.data && words(given.data, &gives, err) < 0))
                return -1;

        for (size_t i = 0; has && has[i]; i++)
                if (!strv_has((const char *const *) gives, has[i]) && buf_printf(&missing, err, " +%s", has[i]) < 0)
                        return -1;
        if (!missing.len || tree_write(t, path, "cgroup.subtree_control", missing.data + 1, NULL) >= 0)
                return 0;

        for (size_t i = 0; has[i]; i++) {
                auto_free char *one = str_printf(err, "+%s", has[i]);

                if (!one)
                        return -1;
                if (!strv_has((const char *const *) gives, has[i]))
                        tree_write(t, path, "cgroup.subtree_control", one, NULL);
        }
        return 0;
}

static bool is_cpuset(const struct tree *t)
{
        return !t->v2 && strv_has((const char *const *) t->controllers, "cpuset");
}

/* Every level from the mount's root to @path, one after the other. */
static int make_levels(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_free char *level = strdup(path);
        size_t n = strlen(path);

        if (!level)
                return err_oom(err);
        if (t->v2 && hand_down(t, ".", err) < 0)
                return -1;
        for (size_t end = next_end(path, 0); ; end = next_end(path, end + 1)) {
                level[end] = '\0';
                if (mkdirat(t->fd, level, 0755) < 0 && errno != EEXIST)
                        return err_sys(err, "make %s/%s", t->mount, level);
                if (is_cpuset(t) && fill_cpuset(t, level, err) < 0)
                        return -1;
                if (t->v2 && end < n && hand_down(t, level, err) < 0)
                        return -1;
                if (end == n)
                        return 0;
                level[end] = '/';
        }
}

/* Does @path have what the tree's root offers?  (Then nothing needs handing down.) */
static int complete(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        auto_strv has = NULL;

        if (tree_read(t, path, "cgroup.controllers", &text, err) < 0)
                return -1;
        if (text.data && words(text.data, &has, err) < 0)
                return -1;
        return strv_count((const char *const *) has) >= strv_count((const char *const *) t->controllers);
}

static int check_type(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_buf type = BUF_INIT;

        if (tree_read(t, path, "cgroup.type", &type, err) < 0)
                return -1;
        if (type.len && (str_starts(type.data, "threaded") || str_starts(type.data, "domain invalid")))
                return err_set(err, CRINGLE_E_PRECONDITION, "%s/%s: below a threaded cgroup, where no process can be put",
                               t->mount, path);
        return 0;
}

/* 1: it can take processes; 0: a level above has not been filled (yet); -1. */
static int cpuset_filled(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_buf cpus = BUF_INIT;
        auto_buf mems = BUF_INIT;

        if (tree_read(t, path, "cpuset.cpus", &cpus, err) < 0 || tree_read(t, path, "cpuset.mems", &mems, err) < 0)
                return -1;
        return !blank(&cpus) && !blank(&mems);
}

/* Also of what was there before: whoever made it need not have finished. */
static int make_ready(const struct tree *t, const char *path, struct cringle_err *err)
{
        if (is_cpuset(t)) {
                int filled;

                if (fill_cpuset(t, path, err) < 0 || (filled = cpuset_filled(t, path, err)) < 0)
                        return -1;
                return filled ? 0 : make_levels(t, path, err);
        }
        if (t->v2) {
                int whole = complete(t, path, err);

                if (whole < 0 || (!whole && make_levels(t, path, err) < 0))
                        return -1;
                return check_type(t, path, err);
        }
        return 0;
}

int tree_make(const struct tree *t, const char *path, struct cringle_err *err)
{
        struct cringle_err local = CRINGLE_ERR_INIT;
        struct cringle_err *e = err ? err : &local;
        int made = -1;

        /* Somebody else's prune may take a parent away between two steps (ENODEV: of its open files): then once more. */
        for (int i = 0; i < MAKE_TRIES && made < 0; i++) {
                auto_free char *parent = parent_of(path, err);

                if (!parent)
                        return -1;
                if (mkdirat(t->fd, path, 0755) == 0)
                        made = 1;
                else if (errno == EEXIST)
                        made = 0;
                else if (errno != ENOENT)
                        return err_sys(err, "make %s/%s", t->mount, path);
                else if (make_levels(t, parent, e) < 0 && e->sys != ENOENT && e->sys != ENODEV)
                        return -1;
        }
        if (made < 0)
                return err_set(err, CRINGLE_E_UNAVAILABLE, "make %s/%s: its parents keep vanishing", t->mount, path);
        if (make_ready(t, path, err) < 0) {
                if (made)
                        unlinkat(t->fd, path, AT_REMOVEDIR);
                return -1;
        }
        return made;
}

/* --- removing --- */

int tree_walk(const struct tree *t, const char *path, char ***ret, struct cringle_err *err)
{
        auto_strv list = NULL;
        size_t n = 1;

        if (strv_add(&list, path, err) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                int fd = openat(t->fd, list[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                DIR *dir = fd < 0 ? NULL : fdopendir(fd);
                struct dirent *e;

                if (!dir) {
                        fd_close(fd);
                        if (errno == ENOENT && i > 0)
                                continue;
                        if (errno == ENOENT)
                                break;
                        return err_sys(err, "open %s/%s", t->mount, list[i]);
                }
                while ((e = readdir(dir))) {
                        auto_free char *child = NULL;

                        if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                                continue;
                        child = str_printf(err, "%s/%s", list[i], e->d_name);
                        if (!child || n >= DIRS_MAX || strv_add(&list, child, err) < 0) {
                                closedir(dir);
                                return n >= DIRS_MAX ? err_set(err, CRINGLE_E_EXHAUSTED, "%s/%s: too many cgroups below",
                                                               t->mount, path)
                                                     : -1;
                        }
                        n++;
                }
                closedir(dir);
        }

        *ret = steal(&list);
        return 0;
}

int tree_remove(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_strv list = NULL;

        if (unlinkat(t->fd, path, AT_REMOVEDIR) == 0 || errno == ENOENT)
                return 1;
        if (errno != EBUSY && errno != ENOTEMPTY)
                return err_sys(err, "remove %s/%s", t->mount, path);

        if (tree_walk(t, path, &list, err) < 0)
                return -1;
        for (size_t i = strv_count((const char *const *) list); i-- > 0;) {
                if (unlinkat(t->fd, list[i], AT_REMOVEDIR) == 0 || errno == ENOENT)
                        continue;
                if (errno == EBUSY || errno == ENOTEMPTY)
                        return 0;
                return err_sys(err, "remove %s/%s", t->mount, list[i]);
        }
        return 1;
}

void tree_prune(const struct tree *t, const char *path, const char *top)
{
        auto_free char *at = strdup(path);

        while (at && at_or_below(at, top) && unlinkat(t->fd, at, AT_REMOVEDIR) == 0) {
                char *slash = strrchr(at, '/');

                if (!slash)
                        return;
                *slash = '\0';
        }
}
