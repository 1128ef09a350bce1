/*
 * skeleton-name: an executor
 *
 * All state lives outside the agent: after a restart open_pod() adopts what is there.
 * A place to begin: it loads and lives; what each operation must come to is
 * said in <cringle/executor.h>.
 */

#include <stdlib.h>

#include <cringle/executor.h>

struct skeleton {
        const struct cringle_host *host;        /* log, count, spawn, directories */
        cringle_executor_event_fn tell;         /* who is told of ends */
        void *data;
};

static int not_yet(const char *operation, struct cringle_err *err)
{
        return cringle_fail(err, CRINGLE_E_UNIMPLEMENTED, "%s is not written", operation);
}

static int skeleton_features(void *self, struct cringle_executor_features *ret, struct cringle_err *err)
{
        return not_yet("features", err);
}

static void skeleton_listen(void *self, cringle_executor_event_fn fn, void *data)
{
        struct skeleton *s = self;

        s->tell = fn;
        s->data = data;
}

static int skeleton_open_pod(void *self, const struct cringle_call *call,
                             const struct cringle_pod_launch *pod, int adopt, struct cringle_err *err)
{
        return not_yet("open_pod", err);
}

static int skeleton_close_pod(void *self, const struct cringle_call *call, const char *pod,
                              const char *run_dir, struct cringle_err *err)
{
        return not_yet("close_pod", err);
}

static int skeleton_create(void *self, const struct cringle_call *call,
                           const struct cringle_container_launch *launch,
                           struct cringle_container_state *ret, struct cringle_err *err)
{
        return not_yet("create", err);
}

static int skeleton_start(void *self, const struct cringle_call *call, const char *pod, const char *id,
                          struct cringle_container_state *ret, struct cringle_err *err)
{
        return not_yet("start", err);
}

static int skeleton_kill(void *self, const struct cringle_call *call, const char *pod, const char *id,
                         int signal, int all, struct cringle_err *err)
{
        return not_yet("kill", err);
}

static int skeleton_state(void *self, const char *pod, const char *id, struct cringle_container_state *ret,
                          struct cringle_err *err)
{
        return not_yet("state", err);
}

static int skeleton_destroy(void *self, const struct cringle_call *call, const char *pod, const char *id,
                            const char *bundle, struct cringle_err *err)
{
        return not_yet("destroy", err);
}

static int skeleton_reopen_log(void *self, const struct cringle_call *call, const char *pod, const char *id,
                               struct cringle_err *err)
{
        return not_yet("reopen_log", err);
}

static int skeleton_exec(void *self, const struct cringle_call *call, const struct cringle_exec *exec,
                         struct cringle_err *err)
{
        return not_yet("exec", err);
}

static int skeleton_kill_exec(void *self, const struct cringle_call *call, const char *pod, const char *exec,
                              struct cringle_err *err)
{
        return not_yet("kill_exec", err);
}

static int skeleton_resize(void *self, const struct cringle_call *call, const char *pod,
                           const char *container, const char *exec, uint16_t columns, uint16_t rows,
                           struct cringle_err *err)
{
        return not_yet("resize", err);
}

static int skeleton_attach(void *self, const struct cringle_call *call, const char *pod,
                           const char *container, int stdin_fd, int stdout_fd, int stderr_fd,
                           struct cringle_err *err)
{
        return not_yet("attach", err);
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

static const struct cringle_executor_ops ops = {
        .size = sizeof ops,
        .features = skeleton_features,
        .listen = skeleton_listen,
        .open_pod = skeleton_open_pod,
        .close_pod = skeleton_close_pod,
        .create = skeleton_create,
        .start = skeleton_start,
        .kill = skeleton_kill,
        .state = skeleton_state,
        .destroy = skeleton_destroy,
        .reopen_log = skeleton_reopen_log,
        .exec = skeleton_exec,
        .kill_exec = skeleton_kill_exec,
        .resize = skeleton_resize,
        .attach = skeleton_attach,
};

CRINGLE_PLUGIN(skeleton,
        .kind = CRINGLE_EXECUTOR,
        .name = "skeleton-name",
        .major = CRINGLE_EXECUTOR_MAJOR,
        .minor = CRINGLE_EXECUTOR_MINOR,
        .help = "an executor",
        .create = plugin_create,
        .destroy = plugin_destroy,
        .ops = &ops);
