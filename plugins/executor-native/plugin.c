/*
 * executor-native: the operations; see executor.h
 */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/oci/plan.h"
#include "agent/wire/plan.h"
#include "plugins/executor-native/executor.h"

#define CONFIG_MAX (4u << 20)
#define BUNDLE_DIR "bundle"     /* <run_dir>/bundle/<container>: a link to its bundle, for execs after a restart */

void executor_log(struct executor *x, int level, const char *text)
{
        x->host->log(x->host, level, text);
}

/* A request about @container, begun. */
static int begin(struct rec_writer *w, struct buf *request, uint32_t type, const char *container,
                 struct cringle_err *err)
{
        if (wire_begin(w, request, type, 1, err) < 0)
                return -1;
        rec_add_str(w, WIRE_CONTAINER, container);
        return 0;
}

static int ask(struct pod *p, const struct cringle_call *call, struct rec_writer *w, const struct buf *request,
               const int *fds, size_t n_fds, struct client_message *reply, struct rec_cursor *ret_fields,
               struct cringle_err *err)
{
        if (rec_finish(w) < 0)
                return -1;
        return client_call(p->run_dir, call, request, fds, n_fds, reply, ret_fields, err);
}

/* As ask(), for requests whose reply says nothing. */
static int ask_plain(struct pod *p, const struct cringle_call *call, struct rec_writer *w, const struct buf *request,
                     struct cringle_err *err)
{
        auto_client_message reply = { 0 };
        struct rec_cursor fields;

        return ask(p, call, w, request, NULL, 0, &reply, &fields, err);
}

/* The monitor is not there (any more). */
static bool is_gone(const struct cringle_err *why)
{
        return why->code == CRINGLE_E_NOT_FOUND || why->code == CRINGLE_E_UNAVAILABLE;
}

static int pass(struct cringle_err *err, const struct cringle_err *why)
{
        if (err) {
                size_t size = err->size;

                *err = *why;
                err->size = size;
        }
        return -1;
}

static int take_state(struct rec_cursor fields, struct cringle_container_state *ret, struct cringle_err *err)
{
        struct rec_cursor body;
        struct wire_state state;

        if (!rec_first(fields, WIRE_RUN_STATE, &body))
                return err_set(err, CRINGLE_E_INTERNAL, "the monitor's reply says no state");
        wire_get_state(&body, &state);
        if (body.bad)
                return err_set(err, CRINGLE_E_INTERNAL, "the monitor's reply is damaged");
        executor_state(&state, ret);
        return 0;
}

static void log_warnings(struct executor *x, const char *container, struct rec_cursor fields)
{
        struct rec_cursor body;

        while (rec_find(&fields, WIRE_WARNING, &body)) {
                auto_free char *line = str_printf(NULL, "container %s: %s, going on without it", container,
                                                  rec_get_str(&body));

                if (line)
                        executor_log(x, CRINGLE_WARNING, line);
        }
}

/* --- pods ----------------------------------------------------------------------------- */

static int native_features(void *self, struct cringle_executor_features *ret, struct cringle_err *err)
{
        auto_free char *apparmor = NULL;
        struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };

        ret->user_namespaces = file_exists("/proc/self/ns/user");
        ret->recursive_readonly = mount_setattr(-1, "", AT_EMPTY_PATH, &readonly, sizeof readonly) < 0 && errno != ENOSYS;
        ret->apparmor = file_read_line("/sys/module/apparmor/parameters/enabled", &apparmor, NULL) == 0 && *apparmor == 'Y';
        ret->selinux = file_exists("/sys/fs/selinux/enforce");
        ret->seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
        if (ret->size > offsetof(struct cringle_executor_features, brought_mounts))
                ret->brought_mounts = 1;
        if (ret->size > offsetof(struct cringle_executor_features, restore))
                ret->restore = 1;
        return 0;
}

static void native_listen(void *self, cringle_executor_event_fn fn, void *data)
{
        struct executor *x = self;

        x->fn = fn;
        x->data = data;
}

static int native_open_pod(void *self, const struct cringle_call *call, const struct cringle_pod_launch *pod, int adopt,
                           struct cringle_err *err)
{
        return pods_open(self, call, pod, adopt, err);
}

static int native_close_pod(void *self, const struct cringle_call *call, const char *pod, const char *run_dir,
                            struct cringle_err *err)
{
        return pods_close(self, call, pod, run_dir, err);
}

/* --- containers -------------------------------------------------------------------------- */

static char *bundle_link(const struct pod *p, const char *container, struct cringle_err *err)
{
        return str_printf(err, "%s/" BUNDLE_DIR "/%s", p->run_dir, container);
}

/* Where the bundle is, for whoever comes after a restart. */
static int remember(struct executor *x, struct pod *p, const char *container, const char *bundle,
                    struct cringle_err *err)
{
        auto_free char *path = bundle_link(p, container, err);
        auto_free char *dir = str_printf(err, "%s/" BUNDLE_DIR, p->run_dir);

        if (!path || !dir)
                return -1;
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return err_sys(err, "make %s", dir);
        unlink(path);
        if (symlink(bundle, path) < 0)
                return err_sys(err, "make %s", path);
        return 0;
}

/* The record of @container, made when missing; under the lock. */
static struct known *known_of(struct pod *p, const char *container)
{
        struct known *k = map_get(&p->containers, container);

        if (k)
                return k;
        k = calloc(1, sizeof *k);
        if (k && map_put(&p->containers, container, k, NULL) < 0) {
                free(k);
                k = NULL;
        }
        return k;
}

static void note_container(struct executor *x, struct pod *p, const char *container)
{
        pthread_mutex_lock(&x->lock);
        known_of(p, container);
        pthread_mutex_unlock(&x->lock);
}

static void forget(struct executor *x, struct pod *p, const char *container)
{
        auto_free char *path = bundle_link(p, container, NULL);
        struct known *k;

        pthread_mutex_lock(&x->lock);
        k = map_take(&p->containers, container);
        pthread_mutex_unlock(&x->lock);
        if (k)
                buf_done(&k->exec_plan);
        free(k);
        if (path)
                unlink(path);
}

/* Mounts that come as fds; a host of before 1.1 knows of none. */
static size_t brought_by(const struct cringle_container_launch *launch)
{
        return launch->size > offsetof(struct cringle_container_launch, n_mounts) ? launch->n_mounts : 0;
}

/* NULL: its processes begin with it.  A host of before 1.3 knows nothing else. */
static const struct cringle_restore *restored_by(const struct cringle_container_launch *launch)
{
        return launch->size > offsetof(struct cringle_container_launch, restore) ? launch->restore : NULL;
}

static int make_restore_dir(const struct cringle_restore *r, struct cringle_err *err)
{
        auto_free char *mounts = str_printf(err, "%s/mounts", r->work);

        return mounts ? file_make_dirs(mounts, 0700, err) : -1;
}

static int compile(const struct cringle_container_launch *launch, struct cringle_err *err)
{
        const char *sources[CRINGLE_BROUGHT_MAX + 1] = { NULL };
        struct plan_options options = {
                .bundle = launch->bundle, .id = launch->id, .rootfs_fd = launch->rootfs_fd >= 0, .brought = sources,
                .tty = launch->tty, .cgroup_unified = launch->cgroup_unified, .cgroup_v1 = launch->cgroup_v1,
        };
        const struct cringle_restore *r = restored_by(launch);
        struct plan_restore restore = { 0 };
        auto_json spec = NULL;
        auto_buf plan = BUF_INIT;

        for (size_t i = 0; i < brought_by(launch); i++)
                sources[i] = launch->mounts[i].source;
        if (r) {
                restore = (struct plan_restore) { r->program, r->images, r->work, { r->streams[0], r->streams[1], r->streams[2] } };
                options.restore = &restore;
                if (make_restore_dir(r, err) < 0)
                        return -1;
        }
        if (json_parse_bytes(launch->config, strlen(launch->config), &spec, err) < 0)
                return err_wrap(err, "config.json");
        if (plan_compile(spec, &options, &plan, err) < 0)
                return -1;
        return client_seal("plan", plan.data, plan.len, err);
}

static int native_create(void *self, const struct cringle_call *call, const struct cringle_container_launch *launch,
                         struct cringle_container_state *ret, struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, launch->pod, err);
        auto_fd int plan = -1;
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;
        uint32_t flags = (launch->stdin_open ? WIRE_STDIN_OPEN : 0) | (launch->stdin_once ? WIRE_STDIN_ONCE : 0) |
                         (launch->rootfs_fd >= 0 ? WIRE_HAS_ROOTFS : 0);
        size_t n_brought = brought_by(launch), n = 0;
        int fds[2 + CRINGLE_BROUGHT_MAX];

        if (!p)
                return -1;
        if (n_brought > CRINGLE_BROUGHT_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "create container %s: %zu mounts are brought, at most %d are taken",
                               launch->id, n_brought, CRINGLE_BROUGHT_MAX);
        plan = compile(launch, err);
        if (plan < 0 || remember(self, p, launch->id, launch->bundle, err) < 0 ||
            begin(&w, &request, WIRE_CREATE, launch->id, err) < 0)
                return err_wrap(err, "create container %s", launch->id);
        rec_add_u32(&w, WIRE_FLAGS, flags);
        rec_add_u64(&w, WIRE_LOG_MAX_LINE, (uint64_t) launch->log_max_line);
        if (launch->log_path)
                rec_add_str(&w, WIRE_LOG_PATH, launch->log_path);
        if (launch->share_pid_with)
                rec_add_str(&w, WIRE_SHARE_PID, launch->share_pid_with);
        if (n_brought > 0)
                rec_add_u32(&w, WIRE_BROUGHT, (uint32_t) n_brought);
        fds[n++] = plan;
        if (launch->rootfs_fd >= 0)
                fds[n++] = launch->rootfs_fd;
        for (size_t i = 0; i < n_brought; i++)
                fds[n++] = launch->mounts[i].fd;
        if (ask(p, call, &w, &request, fds, n, &reply, &fields, err) < 0 ||
            take_state(fields, ret, err) < 0)
                return err_wrap(err, "create container %s", launch->id);
        note_container(self, p, launch->id);
        log_warnings(self, launch->id, fields);
        return 0;
}

static int native_start(void *self, const struct cringle_call *call, const char *pod, const char *id,
                        struct cringle_container_state *ret, struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, err);
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;

        if (!p || begin(&w, &request, WIRE_START, id, err) < 0)
                return -1;
        if (ask(p, call, &w, &request, NULL, 0, &reply, &fields, err) < 0 || take_state(fields, ret, err) < 0)
                return err_wrap(err, "start container %s", id);
        log_warnings(self, id, fields);
        return 0;
}

static int native_kill(void *self, const struct cringle_call *call, const char *pod, const char *id, int signal,
                       int all, struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, NULL);
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_buf request = BUF_INIT;
        struct rec_writer w;

        if (!p)
                return 0;               /* nobody is left to be killed */
        if (begin(&w, &request, WIRE_KILL, id, err) < 0)
                return -1;
        rec_add_u32(&w, WIRE_SIGNAL, (uint32_t) signal);
        rec_add_u32(&w, WIRE_FLAGS, all ? WIRE_ALL : 0);
        if (ask_plain(p, call, &w, &request, &why) < 0 && !is_gone(&why)) {
                pass(err, &why);
                return err_wrap(err, "kill container %s", id);
        }
        return 0;
}

static int native_state(void *self, const char *pod, const char *id, struct cringle_container_state *ret,
                        struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, err);
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct wire_state left;
        struct rec_cursor fields;
        struct rec_writer w;

        if (!p || begin(&w, &request, WIRE_STATE, id, err) < 0)
                return -1;
        if (ask(p, NULL, &w, &request, NULL, 0, &reply, &fields, &why) == 0) {
                note_container(self, p, id);
                return take_state(fields, ret, err);
        }
        if (!is_gone(&why)) {
                pass(err, &why);
                return err_wrap(err, "state of container %s", id);
        }
        if (leftovers_state(p->run_dir, id, &left, err) < 0)
                return -1;
        executor_state(&left, ret);
        return 0;
}

static int native_destroy(void *self, const struct cringle_call *call, const char *pod, const char *id,
                          const char *bundle, struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, NULL);
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;

        if (!p)
                return 0;
        if (begin(&w, &request, WIRE_DESTROY, id, err) < 0)
                return -1;
        if (ask(p, call, &w, &request, NULL, 0, &reply, &fields, &why) == 0) {
                log_warnings(self, id, fields);
        } else if (is_gone(&why)) {
                leftovers_destroy(self, call, p, id, bundle);
        } else {
                pass(err, &why);
                return err_wrap(err, "destroy container %s", id);
        }
        forget(self, p, id);
        return 0;
}

static int native_reopen_log(void *self, const struct cringle_call *call, const char *pod, const char *id,
                             struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, err);
        auto_buf request = BUF_INIT;
        struct rec_writer w;

        if (!p || begin(&w, &request, WIRE_REOPEN_LOG, id, err) < 0)
                return -1;
        return ask_plain(p, call, &w, &request, err);
}

/* --- execs ---------------------------------------------------------------------------------- */

/* Compile what execs of @container have in common. */
static int compile_exec(struct pod *p, const char *container, struct buf *ret, struct cringle_err *err)
{
        static const char *const nothing[] = { "exec", NULL };
        auto_free char *link = bundle_link(p, container, err);
        auto_free char *path = link ? str_printf(err, "%s/config.json", link) : NULL;
        auto_json spec = NULL;

        if (!path || json_read_bytes(path, CONFIG_MAX, &spec, err) < 0)
                return -1;
        return plan_compile_exec(spec, nothing, false, ret, err);
}

/* From the cache, or into it: compiling a filter takes longer than all the rest of an exec. */
static int common_plan(struct executor *x, struct pod *p, const char *container, struct buf *ret,
                       struct cringle_err *err)
{
        struct known *k;
        int done = 0;

        pthread_mutex_lock(&x->lock);
        k = map_get(&p->containers, container);
        if (k && k->exec_plan.len > 0)
                done = buf_add(ret, k->exec_plan.data, k->exec_plan.len, err);
        pthread_mutex_unlock(&x->lock);
        if (done < 0 || ret->len > 0)
                return done;
        if (compile_exec(p, container, ret, err) < 0)
                return -1;
        pthread_mutex_lock(&x->lock);
        k = known_of(p, container);
        if (k && k->exec_plan.len == 0)
                buf_add(&k->exec_plan, ret->data, ret->len, NULL);
        pthread_mutex_unlock(&x->lock);
        return 0;
}

/* The common plan with the command of this one. */
static int exec_plan(struct executor *x, struct pod *p, const struct cringle_exec *exec, struct cringle_err *err)
{
        auto_buf common = BUF_INIT, plan = BUF_INIT;
        struct rec_cursor at, body;
        struct rec_writer w;
        uint16_t tag;

        if (!exec->argv || !exec->argv[0] || !*exec->argv[0])
                return err_set(err, CRINGLE_E_INVALID, "there is nothing to run");
        if (common_plan(x, p, exec->container, &common, err) < 0 || plan_open(common.data, common.len, &at, err) < 0 ||
            plan_begin(&w, &plan, err) < 0)
                return -1;
        while (rec_next(&at, &tag, &body)) {
                if (tag == PLAN_ARGV)
                        continue;
                rec_begin(&w, tag);
                rec_put_raw(&w, body.at, body.left);
                rec_end(&w);
        }
        rec_begin(&w, PLAN_ARGV);
        rec_put_strv(&w, exec->argv);
        rec_end(&w);
        if (exec->tty) {
                rec_begin(&w, PLAN_TTY);
                rec_put_u32(&w, 0);
                rec_put_u32(&w, 0);
                rec_end(&w);
        }
        if (rec_finish(&w) < 0)
                return -1;
        return client_seal("plan", plan.data, plan.len, err);
}

/* Flags and fds for those of three stdio fds that are there. */
static uint32_t put_stdio(const int stdio[3], int *fds, size_t *n)
{
        uint32_t flags = 0;

        for (int i = 0; i < 3; i++)
                if (stdio[i] >= 0) {
                        flags |= (uint32_t) WIRE_HAS_STDIN << i;
                        fds[(*n)++] = stdio[i];
                }
        return flags;
}

static int native_exec(void *self, const struct cringle_call *call, const struct cringle_exec *exec,
                       struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, exec->pod, err);
        const int stdio[3] = { exec->stdin_fd, exec->stdout_fd, exec->stderr_fd };
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;
        auto_fd int plan = -1;
        size_t n_fds = 1;
        uint32_t flags;
        int fds[4];

        if (!p)
                return -1;
        plan = exec_plan(self, p, exec, err);
        if (plan < 0 || begin(&w, &request, WIRE_EXEC, exec->container, err) < 0)
                return err_wrap(err, "exec in container %s", exec->container);
        fds[0] = plan;
        flags = put_stdio(stdio, fds, &n_fds);
        rec_add_str(&w, WIRE_EXEC_ID, exec->id);
        rec_add_u64(&w, WIRE_TIMEOUT, (uint64_t) (exec->timeout > 0 ? exec->timeout : 0));
        rec_add_u32(&w, WIRE_FLAGS, flags);
        if (ask(p, call, &w, &request, fds, n_fds, &reply, &fields, err) < 0)
                return err_wrap(err, "exec in container %s", exec->container);
        return 0;
}

static int native_kill_exec(void *self, const struct cringle_call *call, const char *pod, const char *exec,
                            struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, NULL);
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_buf request = BUF_INIT;
        struct rec_writer w;

        if (!p)
                return 0;
        if (wire_begin(&w, &request, WIRE_KILL_EXEC, 1, err) < 0)
                return -1;
        rec_add_str(&w, WIRE_EXEC_ID, exec);
        if (ask_plain(p, call, &w, &request, &why) < 0 && !is_gone(&why))
                return pass(err, &why);
        return 0;
}

static int native_resize(void *self, const struct cringle_call *call, const char *pod, const char *container,
                         const char *exec, uint16_t columns, uint16_t rows, struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, err);
        auto_buf request = BUF_INIT;
        struct rec_writer w;

        if (!p || begin(&w, &request, WIRE_RESIZE, container ? container : "", err) < 0)
                return -1;
        if (exec)
                rec_add_str(&w, WIRE_EXEC_ID, exec);
        rec_add_u32(&w, WIRE_COLUMNS, columns);
        rec_add_u32(&w, WIRE_ROWS, rows);
        return ask_plain(p, call, &w, &request, err);
}

static int native_attach(void *self, const struct cringle_call *call, const char *pod, const char *container,
                         int stdin_fd, int stdout_fd, int stderr_fd, struct cringle_err *err)
{
        auto_of(pod) p = pods_get(self, pod, err);
        const int stdio[3] = { stdin_fd, stdout_fd, stderr_fd };
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;
        size_t n_fds = 0;
        int fds[3];

        if (!p || begin(&w, &request, WIRE_ATTACH, container, err) < 0)
                return -1;
        rec_add_u32(&w, WIRE_FLAGS, put_stdio(stdio, fds, &n_fds));
        return ask(p, call, &w, &request, fds, n_fds, &reply, &fields, err);
}

/* --- life ------------------------------------------------------------------------------------- */

static int native_create_instance(const struct cringle_host *host, const struct cringle_pair *settings,
                                  void **ret_self, struct cringle_err *err)
{
        const char *monitor = CRINGLE_LIBEXECDIR "/cringle-monitor";
        struct executor *x;

        for (const struct cringle_pair *s = settings; s && s->key; s++)
                if (strcmp(s->key, "monitor") == 0 && *s->value)
                        monitor = s->value;
        x = calloc(1, sizeof *x);
        if (!x)
                return err_oom(err);
        x->host = host;
        x->program = x->epoll = x->wake = -1;
        pthread_mutex_init(&x->lock, NULL);
        x->monitor = strdup(monitor);
        if (!x->monitor) {
                free(x);
                return err_oom(err);
        }
        *ret_self = x;
        return 0;
}

static int native_start_instance(void *self, struct cringle_err *err)
{
        struct executor *x = self;

        x->program = client_seal_program(x->monitor, err);
        if (x->program < 0)
                return err_wrap(err, "take up the monitor's program");
        return events_start(x, err);
}

static void native_quiesce(void *self)
{
        events_stop(self);
}

/* The event thread has ended: its reference goes along. */
static void unref_pod(void *pod)
{
        struct pod *p = pod;

        if (p->heard)
                pod_unref(p);
        pod_unref(p);
}

static void native_destroy_instance(void *self)
{
        struct executor *x = self;

        if (!x)
                return;
        events_stop(x);
        map_done(&x->pods, unref_pod);
        fd_close(x->program);
        fd_close(x->epoll);
        fd_close(x->wake);
        pthread_mutex_destroy(&x->lock);
        free(x->monitor);
        free(x);
}

static const struct cringle_executor_ops ops = {
        .size = sizeof ops,
        .features = native_features,
        .listen = native_listen,
        .open_pod = native_open_pod,
        .close_pod = native_close_pod,
        .create = native_create,
        .start = native_start,
        .kill = native_kill,
        .state = native_state,
        .destroy = native_destroy,
        .reopen_log = native_reopen_log,
        .exec = native_exec,
        .kill_exec = native_kill_exec,
        .resize = native_resize,
        .attach = native_attach,
};

static const struct cringle_setting settings[] = {
        { "monitor", CRINGLE_PATH, CRINGLE_LIBEXECDIR "/cringle-monitor", "the program that watches over a pod" },
        { 0 },
};

CRINGLE_PLUGIN(executor_native,
        .kind = CRINGLE_EXECUTOR,
        .name = "executor-native",
        .major = CRINGLE_EXECUTOR_MAJOR,
        .minor = CRINGLE_EXECUTOR_MINOR,
        .help = "runs containers with cringle-monitor, one per pod",
        .settings = settings,
        .create = native_create_instance,
        .start = native_start_instance,
        .quiesce = native_quiesce,
        .destroy = native_destroy_instance,
        .ops = &ops);
