/*
 * A pod to test executors in; see world.h.  Everything lies below one temporary
 * directory and in cgroups named after this process.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "tests/flow/executor/world.h"

const struct cringle_plugin *cringle_builtin_executor_native(void);

/* --- the host --------------------------------------------------------------------------- */

static void host_log(const struct cringle_host *host, int level, const char *text)
{
        fprintf(stderr, "plugin: %s\n", text);
}

static void host_count(const struct cringle_host *host, const char *name, int64_t delta)
{
}

static const struct cringle_host host = { .size = sizeof host, .version = "test", .log = host_log, .count = host_count };

struct seen {
        struct cringle_executor_event event;
        char container[64], exec[64];
        bool taken;
};

static struct seen seen[1024];
static size_t n_seen;
static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t seen_more = PTHREAD_COND_INITIALIZER;

/* Runs of hooks, a line each: "c1 createRuntime 1 0 yaml:check". */
static struct buf hooks_seen;

static void take_hook(const struct cringle_executor_event *event)
{
        const struct cringle_hook_run *run = event->hook;

        if (!run)
                buf_printf(&hooks_seen, NULL, "lost %llu\n", (unsigned long long) event->hooks_lost);
        else
                buf_printf(&hooks_seen, NULL, "%s %s %u %d %s:%s%s%s%s%s\n", event->container, run->stage, run->index, run->exit_code,
                           run->source, run->name, run->timed_out ? " timed out" : "", run->ignored ? " ignored" : "",
                           run->error ? ": " : "", run->error ? run->error : "");
}

char *world_hooks(const char *last)
{
        struct timespec until;
        int late = 0;
        char *text;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        pthread_mutex_lock(&seen_lock);
        while (*last && late != ETIMEDOUT && !(hooks_seen.data && strstr(hooks_seen.data, last)))
                late = pthread_cond_timedwait(&seen_more, &seen_lock, &until);
        text = strdup(hooks_seen.data ? hooks_seen.data : "");
        buf_clear(&hooks_seen);
        pthread_mutex_unlock(&seen_lock);
        return text;
}

static void take_event(void *data, const struct cringle_executor_event *event)
{
        pthread_mutex_lock(&seen_lock);
        if (event->type == CRINGLE_EVENT_HOOK) {
                take_hook(event);
                pthread_cond_broadcast(&seen_more);
                pthread_mutex_unlock(&seen_lock);
                return;
        }
        if (n_seen < sizeof seen / sizeof seen[0]) {
                struct seen *s = &seen[n_seen++];

                s->event = *event;
                s->taken = false;
                snprintf(s->container, sizeof s->container, "%s", event->container ? event->container : "");
                snprintf(s->exec, sizeof s->exec, "%s", event->exec ? event->exec : "");
        }
        pthread_cond_broadcast(&seen_more);
        pthread_mutex_unlock(&seen_lock);
}

bool world_wait(int type, const char *name, struct cringle_executor_event *ret)
{
        struct timespec until;
        bool found = false;
        int late = 0;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        pthread_mutex_lock(&seen_lock);
        while (!found && late != ETIMEDOUT) {
                for (size_t i = 0; i < n_seen && !found; i++) {
                        struct seen *s = &seen[i];
                        const char *about = type == CRINGLE_EVENT_EXEC_EXITED ? s->exec : s->container;

                        if (s->taken || s->event.type != type || strcmp(about, name) != 0)
                                continue;
                        s->taken = found = true;
                        if (ret)
                                *ret = s->event;
                }
                if (!found)
                        late = pthread_cond_timedwait(&seen_more, &seen_lock, &until);
        }
        pthread_mutex_unlock(&seen_lock);
        return found;
}

struct cringle_container_state world_exit(const char *id)
{
        struct cringle_executor_event event;

        if (!world_wait(CRINGLE_EVENT_EXITED, id, &event))
                fail_msg("%s did not exit", id);
        return event.state;
}

/* --- texts --------------------------------------------------------------------------------- */

char *world_path(const char *format, ...)
{
        va_list args;
        char *path;

        va_start(args, format);
        if (vasprintf(&path, format, args) < 0)
                abort();
        va_end(args);
        return path;
}

char *world_file(const char *format, ...)
{
        auto_buf text = BUF_INIT;
        auto_free char *path = NULL;
        va_list args;

        va_start(args, format);
        if (vasprintf(&path, format, args) < 0)
                abort();
        va_end(args);
        if (file_read(path, 64u << 20, &text, NULL) < 0)
                return strdup("");
        return buf_steal(&text);
}

char *world_log(struct world *w, const char *id)
{
        auto_free char *text = world_file("%s/%s.log", w->dir, id);
        auto_buf out = BUF_INIT;

        for (char *line = text; *line;) {
                char *end = strchr(line, '\n'), *space = strchr(line, ' ');

                if (!end || !space || space > end)
                        fail_msg("'%s' is no log line", line);
                buf_add(&out, space + 1, (size_t) (end - space), NULL);
                line = end + 1;
        }
        return buf_steal(&out);
}

/* --- making and ending ------------------------------------------------------------------------ */

static char *make_cgroup(const char *hierarchy)
{
        char *path = world_path("/sys/fs/cgroup/%s/cringle-flow-%d", hierarchy, getpid());
        auto_free char *procs = world_path("/sys/fs/cgroup/%s/cgroup.procs", hierarchy);

        if (!file_exists(procs) || (mkdir(path, 0755) < 0 && errno != EEXIST)) {
                free(path);
                return NULL;
        }
        return path;
}

/* It empties a moment after its processes were killed. */
static void remove_cgroup(char *path)
{
        if (!path)
                return;
        for (int i = 0; i < 200; i++) {
                DIR *list = opendir(path);

                for (struct dirent *e; list && (e = readdir(list));) {
                        auto_free char *below = NULL;

                        if (e->d_type == DT_DIR && e->d_name[0] != '.') {
                                below = world_path("%s/%s", path, e->d_name);
                                rmdir(below);
                        }
                }
                if (list)
                        closedir(list);
                if (rmdir(path) == 0 || errno == ENOENT)
                        break;
                usleep(10000);
        }
        free(path);
}

static void make_rootfs(const char *root)
{
        static const char *const dirs[] = { "bin", "proc", "sys", "dev", "tmp", "etc", "root", "dir" };
        auto_free char *busybox = world_path("%s/bin/busybox", root);
        auto_free char *command = world_path("cp %s %s && %s --list | while read a; do ln %s %s/bin/$a 2>/dev/null; done; "
                                             "echo secret > %s/etc/secret; echo x > %s/dir/file; chmod 711 %s/..", BUSYBOX,
                                             busybox, BUSYBOX, busybox, root, root, root, root);

        for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
                auto_free char *dir = world_path("%s/%s", root, dirs[i]);

                if (file_make_dirs(dir, 0755, NULL) < 0)
                        abort();
        }
        if (system(command) == -1)
                abort();
}

static void make_instance(struct world *w)
{
        const struct cringle_pair settings[] = { { "monitor", MONITOR }, { 0 } };

        assert_ok(w->factory->create(&host, settings, &w->self, unit_err()), unit_err());
        w->ops->listen(w->self, take_event, w);
        if (w->factory->start(w->self, unit_err()) < 0)
                fail_msg("start of the plugin failed");
}

struct world *world_new(void)
{
        struct world *w = calloc(1, sizeof *w);

        prctl(PR_SET_CHILD_SUBREAPER, 1);       /* so that monitors we are done with do not stay as zombies of PID 1 */
        w->factory = cringle_builtin_executor_native()->factories[0];
        w->ops = w->factory->ops;
        w->dir = unit_make_dir();
        w->run_dir = world_path("%s/run", w->dir);
        w->rootfs = world_path("%s/rootfs", w->dir);
        mkdir(w->run_dir, 0700);
        chmod(w->dir, 0711);
        make_rootfs(w->rootfs);
        w->unified = make_cgroup("unified");
        w->memory = make_cgroup("memory");
        w->freezer = make_cgroup("freezer");
        w->pids = make_cgroup("pids");
        pthread_mutex_lock(&seen_lock);
        n_seen = 0;
        pthread_mutex_unlock(&seen_lock);
        make_instance(w);
        return w;
}

struct world *world_free(struct world *w)
{
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (w->ops->close_pod(w->self, &call, "pod", w->run_dir, &err) < 0)
                fprintf(stderr, "close: %s\n", err.text);
        w->factory->quiesce(w->self);
        w->factory->destroy(w->self);
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        remove_cgroup(w->unified);
        remove_cgroup(w->memory);
        remove_cgroup(w->freezer);
        remove_cgroup(w->pids);
        file_remove_tree(w->dir, NULL);
        free(w->dir);
        free(w->run_dir);
        free(w->rootfs);
        free(w);
        return NULL;
}

void world_restart(struct world *w)
{
        w->factory->quiesce(w->self);
        w->factory->destroy(w->self);
        make_instance(w);
}

int world_open_pod(struct world *w, uint32_t namespaces, int adopt, struct cringle_err *err)
{
        static const struct cringle_id_map map = { .inside = 0, .outside = 100000, .length = 65536 };
        static const struct cringle_pair sysctls[] = { { "net.ipv4.ip_forward", "1" }, { 0 } };
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        struct cringle_pod_launch pod = {
                .size = sizeof pod, .id = "pod", .run_dir = w->run_dir, .namespaces = namespaces, .hostname = "podname",
                .sysctls = namespaces & CRINGLE_NS_NET ? sysctls : NULL, .uids = &map, .gids = &map,
                .n_uids = namespaces & CRINGLE_NS_USER ? 1 : 0, .n_gids = namespaces & CRINGLE_NS_USER ? 1 : 0,
        };

        return w->ops->open_pod(w->self, &call, &pod, adopt, err);
}

/* --- containers ----------------------------------------------------------------------------------- */

static const char *or(const char *text, const char *usual)
{
        return text ? text : usual;
}

static char *make_config(struct world *w, const struct wish *wish)
{
        auto_free char *user_ns = wish->userns ? world_path("{\"type\":\"user\",\"path\":\"%s/ns/user\"},", w->run_dir) : strdup("");
        auto_free char *pid_path = wish->pod_pid ? world_path(",\"path\":\"%s/ns/pid\"", w->run_dir) : strdup("");

        return world_path(
                "{\"ociVersion\":\"1.3.0\",\"root\":{\"path\":\"rootfs\",\"readonly\":%s},"
                "\"annotations\":{\"a\":\"b\"},"
                "\"process\":{\"args\":%s,\"cwd\":\"%s\",\"env\":[\"PATH=/bin\",\"A=1\"],\"user\":%s,"
                "\"capabilities\":%s,\"terminal\":%s%s},"
                "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\",\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
                "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
                "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\"]},"
                "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
                "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\",\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]}%s],"
                "\"hooks\":%s,"
                "\"linux\":{\"namespaces\":[%s{\"type\":\"mount\"},{\"type\":\"pid\"%s},{\"type\":\"cgroup\"},"
                "{\"type\":\"network\",\"path\":\"%s/ns/net\"},{\"type\":\"ipc\",\"path\":\"%s/ns/ipc\"},"
                "{\"type\":\"uts\",\"path\":\"%s/ns/uts\"}],"
                "\"maskedPaths\":[\"/proc/kcore\",\"/proc/acpi\",\"/etc/secret\",\"/dir\"],\"readonlyPaths\":[\"/proc/sys\",\"/proc/nope\"]%s}}",
                wish->readonly ? "true" : "false", or(wish->args, "[\"true\"]"), or(wish->cwd, "/"),
                or(wish->user, "{\"uid\":0,\"gid\":0}"),
                or(wish->caps, "{\"bounding\":[\"CAP_CHOWN\",\"CAP_KILL\"],\"permitted\":[\"CAP_CHOWN\",\"CAP_KILL\"],\"effective\":[\"CAP_CHOWN\",\"CAP_KILL\"]}"),
                wish->tty ? "true" : "false", or(wish->process, ""), or(wish->mounts, ""), or(wish->hooks, "{}"), user_ns,
                pid_path, w->run_dir, w->run_dir, w->run_dir, or(wish->linux_, ""));
}

int world_create(struct world *w, const struct wish *wish, const char **ret_id, struct cringle_err *err)
{
        static char ids[256][16];
        char *id = ids[w->n_containers % 256];
        auto_free char *bundle = NULL, *config = make_config(w, wish), *log = NULL, *config_path = NULL, *target = NULL;
        const char *v1[4] = { 0 };
        auto_fd int rootfs = -1;
        struct cringle_call call = call_within(NULL, 20 * SECOND);
        struct cringle_container_state state = { .size = sizeof state };
        struct cringle_container_launch launch = { .size = sizeof launch };
        size_t n = 0;
        int done;

        snprintf(id, 16, "c%d", ++w->n_containers);
        bundle = world_path("%s/%s", w->dir, id);
        log = world_path("%s/%s.log", w->dir, id);
        config_path = world_path("%s/config.json", bundle);
        target = world_path("%s/rootfs", bundle);
        mkdir(bundle, 0755);
        mkdir(target, 0755);
        assert_ok(file_replace(config_path, config, strlen(config), 0600, false, err), err);
        if (w->memory)
                v1[n++] = w->memory;
        if (w->freezer)
                v1[n++] = w->freezer;
        if (w->pids)
                v1[n++] = w->pids;
        if (wish->by_path)
                assert_int_equal(mount(w->rootfs, target, NULL, MS_BIND, NULL), 0);
        else
                rootfs = open_tree(AT_FDCWD, w->rootfs, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        launch.pod = "pod";
        launch.id = id;
        launch.bundle = bundle;
        launch.config = config;
        launch.rootfs_fd = rootfs;
        launch.log_path = wish->no_log ? NULL : log;
        launch.log_max_line = wish->max_line;
        launch.tty = wish->tty;
        launch.stdin_open = wish->stdin_open;
        launch.stdin_once = wish->stdin_once;
        launch.cgroup_unified = w->unified;
        launch.cgroup_v1 = v1;
        launch.share_pid_with = wish->share_pid_with;
        *ret_id = id;
        done = w->ops->create(w->self, &call, &launch, &state, err);
        if (wish->by_path)
                umount2(target, MNT_DETACH);
        if (done == 0)
                assert_int_equal(state.state, CRINGLE_RUN_CREATED);
        return done;
}

int world_start(struct world *w, const char *id, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, 20 * SECOND);
        struct cringle_container_state state = { .size = sizeof state };

        return w->ops->start(w->self, &call, "pod", id, &state, err);
}

const char *world_run(struct world *w, const struct wish *wish)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        const char *id;

        assert_ok(world_create(w, wish, &id, &err), &err);
        assert_ok(world_start(w, id, &err), &err);
        return id;
}

void world_destroy(struct world *w, const char *id)
{
        struct cringle_call call = call_within(NULL, 20 * SECOND);
        auto_free char *bundle = world_path("%s/%s", w->dir, id);
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(w->ops->destroy(w->self, &call, "pod", id, bundle, &err), &err);
}

char *world_exec(struct world *w, const char *id, const char *const *argv, int64_t timeout,
                 struct cringle_executor_event *ret)
{
        static int n;
        auto_free char *name = world_path("e%d", ++n);
        struct cringle_call call = call_within(NULL, 20 * SECOND);
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf out = BUF_INIT;
        int fds[2];
        struct cringle_exec exec = {
                .size = sizeof exec, .pod = "pod", .container = id, .id = name, .argv = argv, .stdin_fd = -1,
                .timeout = timeout,
        };
        char chunk[4096];
        ssize_t got;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        exec.stdout_fd = exec.stderr_fd = fds[1];
        if (w->ops->exec(w->self, &call, &exec, &err) < 0) {
                close(fds[0]);
                close(fds[1]);
                return strdup(err.text);
        }
        close(fds[1]);
        if (!world_wait(CRINGLE_EVENT_EXEC_EXITED, name, ret))
                fail_msg("exec did not end");
        /* Only what is there: somebody may hold the other end. */
        fcntl(fds[0], F_SETFL, O_NONBLOCK);
        while ((got = read(fds[0], chunk, sizeof chunk)) > 0)
                buf_add(&out, chunk, (size_t) got, NULL);
        close(fds[0]);
        return out.data ? buf_steal(&out) : strdup("");
}
