/*
 * Plugin files; see load.h and host_probe_main() in host.h.
 *
 * What only root can change is checked once, by path: nobody else could exchange it
 * between the check and dlopen().
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/own.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/host/host.h"
#include "agent/host/judge.h"
#include "agent/host/load.h"

#define VERDICT_MAX 4096

static int check_owner(const char *path, const struct stat *st, struct cringle_err *err)
{
        /* Others may add to a sticky directory (/tmp), but not replace what root has there. */
        bool sticky = S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX);

        if (st->st_uid != 0)
                return err_set(err, CRINGLE_E_DENIED, "%s: owner: want root, found uid %u", path, st->st_uid);
        if ((st->st_mode & 0022) && !sticky)
                return err_set(err, CRINGLE_E_DENIED, "%s: mode: want no write access for group and others, found %04o",
                               path, st->st_mode & 07777);
        return 0;
}

/* Each directory above @path, which is absolute and has no symbolic links in it. */
static int check_parents(const char *path, struct cringle_err *err)
{
        auto_free char *dir = strdup(path);

        if (!dir)
                return err_oom(err);
        for (char *slash = strrchr(dir, '/'); slash; slash = strrchr(dir, '/')) {
                const char *at = slash == dir ? "/" : dir;
                struct stat st;

                *slash = '\0';
                if (lstat(at, &st) < 0)
                        return err_sys(err, "stat %s", at);
                if (check_owner(at, &st, err) < 0)
                        return -1;
        }
        return 0;
}

static int check_file(int fd, char **ret_path, struct cringle_err *err)
{
        char link[PATH_OF_FD_MAX];
        auto_free char *path = NULL;
        struct stat st;

        path_of_fd(fd, link);
        path = realpath(link, NULL);
        if (!path)
                return err_sys(err, "realpath");
        if (fstat(fd, &st) < 0)
                return err_sys(err, "stat %s", path);
        if (!S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_DENIED, "%s: type: want a regular file, found mode %o", path, st.st_mode);
        if (check_owner(path, &st, err) < 0 || check_parents(path, err) < 0)
                return -1;

        *ret_path = steal(&path);
        return 0;
}

/* 1: found and sound, 0: not there. */
static int find_in(const char *dir, const char *file, char **ret_path, struct cringle_err *err)
{
        struct open_how how = {
                .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,     /* a FIFO must not hold us up */
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
        };
        auto_fd int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        auto_fd int fd = -1;

        if (dir_fd < 0)
                return errno == ENOENT ? 0 : err_sys(err, "open %s", dir);
        fd = (int) syscall(SYS_openat2, dir_fd, file, &how, sizeof how);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0 && errno == EXDEV)
                return err_set(err, CRINGLE_E_DENIED, "%s/%s: a symbolic link leads out of the directory", dir, file);
        if (fd < 0)
                return err_sys(err, "open %s/%s", dir, file);
        return check_file(fd, ret_path, err) < 0 ? -1 : 1;
}

int load_find(const char *const *dirs, const char *name, char **ret_path, struct cringle_err *err)
{
        auto_free char *file = str_printf(err, "%s.so", name);
        auto_buf searched = BUF_INIT;

        if (!file)
                return -1;
        if (!str_is_id(name, 64))
                return err_set(err, CRINGLE_E_INVALID, "name: want lower-case words and dashes, found '%.64s'", name);

        for (size_t i = 0; dirs && dirs[i]; i++) {
                int found = find_in(dirs[i], file, ret_path, err);

                if (found != 0)
                        return found < 0 ? -1 : 0;
                if (buf_printf(&searched, err, "%s%s", i ? ", " : "", dirs[i]) < 0)
                        return -1;
        }
        return err_set(err, CRINGLE_E_NOT_FOUND, "no built-in plugin of that name, and no %s in %s", file,
                       searched.len ? searched.data : "any directory (none is configured)");
}

int load_open(const char *path, const struct cringle_plugin **ret, struct cringle_err *err)
{
        const struct cringle_plugin *plugin;
        cringle_plugin_fn query;
        void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        void *symbol;

        if (!handle)
                return err_set(err, CRINGLE_E_PRECONDITION, "load: %s", dlerror());
        symbol = dlsym(handle, CRINGLE_PLUGIN_SYMBOL);
        if (!symbol)
                return err_set(err, CRINGLE_E_PRECONDITION, "symbol: want " CRINGLE_PLUGIN_SYMBOL ", found none in %s",
                               path);

        memcpy(&query, &symbol, sizeof query);
        plugin = query();
        if (judge_plugin(plugin, err) < 0)
                return err_wrap(err, "%s", path);

        *ret = plugin;
        return 0;
}

/* --- probing: the parent's half --- */

static int verdict(const char *path, int status, struct buf *said, struct cringle_err *err)
{
        char text[128];

        while (said->len > 0 && said->data[said->len - 1] == '\n')
                said->data[--said->len] = '\0';
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && said->len && strcmp(said->data, "ok") == 0)
                return 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 1 && said->len)
                return err_set(err, CRINGLE_E_PRECONDITION, "%.1500s", said->data);

        child_status_text(status, text, sizeof text);
        return err_set(err, CRINGLE_E_PRECONDITION, "%s: its probe ended without a verdict: %s", path, text);
}

int load_probe(const char *prober, int64_t timeout, const char *path, const struct kind *k, const char *name,
               struct cringle_err *err)
{
        const char *argv[] = { prober, "--probe-plugin", path, k->name, name, NULL };
        struct child_spec spec = { .path = prober, .argv = argv };
        struct cringle_call call = call_within(NULL, timeout);
        auto_buf said = BUF_INIT;
        int status;

        if (child_run(&spec, &call, NULL, &said, VERDICT_MAX, NULL, &status, err) < 0) {
                if (err && err->code == CRINGLE_E_DEADLINE)
                        return err_set(err, CRINGLE_E_DEADLINE, "%s: its probe did not end within %lld ms", path,
                                       (long long) (timeout / NSEC_PER_MSEC));
                return err_wrap(err, "%s: probe", path);
        }
        return verdict(path, status, &said, err);
}

/* --- probing: the child's half --- */

static int probe(char *const argv[], struct cringle_err *err)
{
        const struct cringle_plugin *plugin;
        struct cringle_factory factory;
        const struct kind *k;

        if (!argv[0])
                return err_set(err, CRINGLE_E_INVALID, "no plugin file named");
        if (load_open(argv[0], &plugin, err) < 0)
                return -1;
        if (!argv[1])
                return 0;

        k = kind_named(argv[1]);
        if (!k || !argv[2])
                return err_set(err, CRINGLE_E_INVALID, "want a kind and a name after the file");
        if (judge_find(plugin, k, argv[2], &factory, err) < 0)
                return err_wrap(err, "%s", argv[0]);
        if (factory.probe && factory.probe(err) < 0)
                return err_wrap(err, "%s: probe", argv[0]);
        return 0;
}

int host_probe_main(char *const argv[])
{
        struct rlimit none = { 0 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_fd int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        int failed;

        setrlimit(RLIMIT_CORE, &none);
        dup2(STDERR_FILENO, STDOUT_FILENO);     /* what a plugin prints is no verdict */
        failed = probe(argv, &err) < 0;
        dprintf(out, "%s\n", failed ? err.text : "ok");
        return failed;
}
