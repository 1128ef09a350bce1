/*
 * ExecSync
 *
 * A worker starts the process and goes; the loop reads the two pipes, keeps the first
 * part of each and drops the rest; the executor's event says how it ended.  Whoever
 * else still holds a pipe is not waited for.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/guard.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

/* To get the process running, whatever its own limit. */
#define START_LIMIT (60 * NSEC_PER_SEC)

/* After the end: read what is in the pipes already, but no more than this at once. */
#define DRAIN_MAX (64 << 20)

struct stream {
        int fd;                         /* ours, non-blocking; -1: ended */
        struct loop_watch *watch;
        struct buf kept;
};

/*
 * Lives in pods->execs from before the process until it is answered, and belongs
 * to the loop thread from watch() on.
 */
struct exec {
        struct pods *pods;
        char id[ID_LEN + 1];
        char container[ID_LEN + 1];
        char pod[ID_LEN + 1];
        char **argv;
        int64_t timeout;
        size_t limit;
        pods_exec_fn done;
        void *data;
        struct stream out, err;
        int child_out, child_err;       /* the other ends, until the process has them */
        struct cringle_err failure;
        struct cringle_executor_event end;
};

static void stream_close(struct stream *s)
{
        loop_watch_stop(s->watch);
        s->watch = NULL;
        s->fd = fd_close(s->fd);
}

static void exec_free(struct exec *x)
{
        stream_close(&x->out);
        stream_close(&x->err);
        buf_done(&x->out.kept);
        buf_done(&x->err.kept);
        fd_close(x->child_out);
        fd_close(x->child_err);
        strv_free(x->argv);
        free(x);
}

/* 1: something was read; 0: nothing there, or the end. */
static int stream_read(struct stream *s, size_t limit)
{
        char chunk[65536];
        ssize_t n;
        size_t room;

        do
                n = read(s->fd, chunk, sizeof chunk);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0) {
                stream_close(s);
                return 0;
        }

        room = GUARD(exec_limit) ? limit - s->kept.len : SIZE_MAX;
        buf_add(&s->kept, chunk, (size_t) n < room ? (size_t) n : room, NULL);
        return 1;
}

static void on_output(int fd, int events, void *data)
{
        struct exec *x = data;

        stream_read(fd == x->out.fd ? &x->out : &x->err, x->limit);
}

static void drain(struct stream *s, size_t limit)
{
        for (size_t n = 0; s->fd >= 0 && n < DRAIN_MAX / 65536 && stream_read(s, limit); n++)
                ;
}

/* Loop thread; the last that happens to an exec. */
static void answer(void *data)
{
        struct exec *x = data;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (x->failure.code) {
                x->done(x->data, NULL, &x->failure);
        } else {
                struct pods_exec result = { .out = &x->out.kept, .err = &x->err.kept };

                drain(&x->out, x->limit);
                drain(&x->err, x->limit);
                result.exit_code = x->end.state.exit_code;
                if (x->end.timed_out) {
                        err_set(&err, CRINGLE_E_DEADLINE, "exec in container %.12s: timed out after %.3g s", x->container,
                                (double) x->timeout / NSEC_PER_SEC);
                        x->done(x->data, NULL, &err);
                } else {
                        x->done(x->data, &result, NULL);
                }
        }
        exec_free(x);
}

/* Out of the map, so that exactly one of failure and event answers. */
static struct exec *take(struct pods *pods, const char *id)
{
        struct exec *x;

        pthread_mutex_lock(&pods->tasks.lock);
        x = map_take(&pods->execs, id);
        pthread_mutex_unlock(&pods->tasks.lock);
        return x;
}

void exec_ended(struct pods *pods, const struct cringle_executor_event *event)
{
        struct exec *x = take(pods, event->exec);

        if (!x)
                return;
        x->end = *event;
        loop_post(pods->loop, answer, x);
}

void execs_lost(struct pods *pods, const char *pod)
{
        struct exec *lost;

        do {
                const char *id;
                void *object;

                lost = NULL;
                for (size_t at = 0; !lost && map_next(&pods->execs, &at, &id, &object);)
                        if (strcmp(((struct exec *) object)->pod, pod) == 0)
                                lost = object;
                if (lost) {
                        map_take(&pods->execs, lost->id);
                        err_set(&lost->failure, CRINGLE_E_UNAVAILABLE, "the pod's monitor is gone");
                        loop_post(pods->loop, answer, lost);
                }
        } while (lost);
}

/* What a worker needs to start the process, apart from struct exec: that may be answered, and gone, any time. */
struct starting {
        struct pods *pods;
        char id[ID_LEN + 1];
        char container[ID_LEN + 1];
        char pod[ID_LEN + 1];
        char **argv;
        int64_t timeout;
        int out, err;
};

static void start(void *data)
{
        struct starting *s = data;
        struct pods *pods = s->pods;
        const struct host_executor *executor = &pods->executor;
        struct cringle_call call = call_within(NULL, START_LIMIT);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cringle_exec exec = {
                .size = sizeof exec,
                .pod = s->pod,
                .container = s->container,
                .id = s->id,
                .argv = (const char *const *) s->argv,
                .stdin_fd = -1,
                .stdout_fd = s->out,
                .stderr_fd = s->err,
                .timeout = s->timeout,
        };

        if (executor->ops->exec(executor->self, &call, &exec, &err) < 0) {
                struct exec *x = take(pods, s->id);

                if (x) {
                        x->failure = err;
                        loop_post(pods->loop, answer, x);
                }
        }
        close(s->out);
        close(s->err);
        strv_free(s->argv);
        free(s);
}

static int stream_open(struct stream *s, int *ret_other, struct cringle_err *err)
{
        int pipe_fds[2];

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return err_sys(err, "pipe");
        fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
        s->fd = pipe_fds[0];
        *ret_other = pipe_fds[1];
        return 0;
}

static struct starting *starting_of(struct exec *x)
{
        struct starting *s = malloc(sizeof *s);

        if (!s)
                abort();
        s->pods = x->pods;
        memcpy(s->id, x->id, sizeof s->id);
        memcpy(s->container, x->container, sizeof s->container);
        memcpy(s->pod, x->pod, sizeof s->pod);
        s->argv = steal(&x->argv);
        s->timeout = x->timeout;
        s->out = steal_fd(&x->child_out);
        s->err = steal_fd(&x->child_err);
        return s;
}

/* Loop thread: watch the pipes, then let a worker start the process. */
static void watch(void *data)
{
        struct exec *x = data;
        struct pods *pods = x->pods;

        x->out.watch = loop_watch(pods->loop, x->out.fd, UV_READABLE, on_output, x, &x->failure);
        x->err.watch = x->out.watch ? loop_watch(pods->loop, x->err.fd, UV_READABLE, on_output, x, &x->failure) : NULL;
        if (!x->err.watch) {
                if (take(pods, x->id))          /* else an answer is on its way */
                        answer(x);
                return;
        }
        workers_run(pods->workers, start, starting_of(x));
}

static int exec_new(struct pods *pods, char *const *argv, size_t n_argv, struct exec **ret, struct cringle_err *err)
{
        struct exec *x = calloc(1, sizeof *x);

        if (!x)
                return err_oom(err);
        x->pods = pods;
        x->out.fd = x->err.fd = x->child_out = x->child_err = -1;
        x->failure = (struct cringle_err) CRINGLE_ERR_INIT;
        id_make(x->id);
        x->argv = calloc(n_argv + 1, sizeof *x->argv);
        if (!x->argv) {
                exec_free(x);
                return err_oom(err);
        }
        for (size_t i = 0; i < n_argv; i++) {
                x->argv[i] = strdup(argv[i]);
                if (!x->argv[i]) {
                        exec_free(x);
                        return err_oom(err);
                }
        }
        if (stream_open(&x->out, &x->child_out, err) < 0 || stream_open(&x->err, &x->child_err, err) < 0) {
                exec_free(x);
                return -1;
        }
        *ret = x;
        return 0;
}

/* Give it its place in the map and on the loop, if the container can run it. */
static int enter(struct exec *x, const char *id, struct cringle_err *err)
{
        struct pods *pods = x->pods;
        struct container *c;
        int r = -1;

        pthread_mutex_lock(&pods->tasks.lock);
        if (find_container(pods, id, &c, err) == 0) {
                if (c->status->state != CRI__CONTAINER_STATE__CONTAINER_RUNNING) {
                        err_set(err, CRINGLE_E_PRECONDITION, "container %.12s is not running", c->id);
                } else {
                        memcpy(x->container, c->id, sizeof x->container);
                        memcpy(x->pod, c->pod->id, sizeof x->pod);
                        x->limit = (size_t) pods->policy->exec_limit;
                        r = map_put(&pods->execs, x->id, x, err);
                        if (r == 0)
                                loop_post(pods->loop, watch, x);        /* before anybody can post its answer */
                }
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

void pods_exec_sync(struct pods *pods, const char *id, char *const *argv, size_t n_argv, int64_t timeout,
                    pods_exec_fn done, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct exec *x = NULL;

        if (n_argv == 0)
                err_set(&err, CRINGLE_E_INVALID, "no command");
        else if (exec_new(pods, argv, n_argv, &x, &err) == 0) {
                x->timeout = timeout;
                x->done = done;
                x->data = data;
                if (enter(x, id, &err) == 0)
                        return;
        }
        if (x)
                exec_free(x);
        done(data, NULL, &err);
}
