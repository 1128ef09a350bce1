/*
 * Execs: processes beside the container's own
 *
 * They have its namespaces and a cgroup of their own below its, so that a time
 * limit ends the whole tree and nothing else.  Stdio is the agent's, handed through
 * and closed here at once: an exec is over when its first process is, whoever still
 * holds its pipes.  Only a terminal is carried by us; then it is over when its
 * client has what it wrote, has gone, or the pod closes.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/monitor/monitor.h"

struct exec *exec_find(const char *id)
{
        for (struct exec *e = monitor.execs; e; e = e->next)
                if (strcmp(e->id, id) == 0)
                        return e;
        return NULL;
}

static void exec_free(struct exec *e)
{
        for (struct exec **at = &monitor.execs; *at; at = &(*at)->next)
                if (*at == e) {
                        *at = e->next;
                        break;
                }
        serve_abandon(e);
        source_close(&e->worker_source);
        source_close(&e->process_source);
        fd_close(e->tty_slave);
        fd_close(e->tty_client);
        io_done(&e->io);
        if (e->plan_data)
                munmap(e->plan_data, e->plan_n);
        /* Busy when something was left running: then it goes with the container's cgroup. */
        if (e->cgroup)
                rmdir(e->cgroup);
        free(e->cgroup);
        free(e->id);
        free(e);
        serve_check_close();
}

void exec_forget_container(struct container *c)
{
        for (struct exec *e = monitor.execs; e; e = e->next)
                if (e->container == c)
                        e->container = NULL;
}

void exec_kill(struct exec *e)
{
        e->cut = true;                  /* exec_tick() sees to it: our caller goes through the list */
        if (e->worker > 0)
                kill(e->worker, SIGKILL);
        if (e->cgroup)
                cgroup_kill_dir(e->cgroup);
        if (e->pid > 0) {
                kill(-e->pid, SIGKILL);
                kill(e->pid, SIGKILL);
        }
}

static void launch_failed(struct exec *e, const struct cringle_err *err)
{
        if (!e->failed) {
                e->failed = true;
                e->failure = *err;
                if (e->failure.code == CRINGLE_OK)
                        e->failure.code = CRINGLE_E_UNKNOWN;
        }
        source_close(&e->worker_source);
        source_close(&e->process_source);
        serve_answer(WIRE_EXEC, e, &e->failure);
        exec_kill(e);
}

static int take_messages(struct exec *e, struct source *s);

static void exec_check_over(struct exec *e)
{
        if (e->worker == 0 && e->pid == 0 && !e->concluding && (e->ready || e->failed))
                exec_free(e);
}

static void io_over(struct io *io)
{
        struct exec *e = SOURCE_OF(struct exec, io, io);
        struct cringle_err err = CRINGLE_ERR_INIT;

        e->concluding = false;
        if (!e->failed && e->ready) {
                if (e->timed_out)
                        exec_kill(e);
                serve_event(WIRE_EXEC_EXITED, e->container, e);
        } else if (!e->failed) {
                err_set(&err, CRINGLE_E_ABORTED, "the process died before it could run");
                launch_failed(e, &err);
        }
        exec_check_over(e);
}

void exec_reaped(struct exec *e, pid_t pid, int status)
{
        if (pid == e->worker) {
                e->worker = 0;
                exec_check_over(e);
                return;
        }
        e->pid = 0;
        e->status = status;
        /* Its end may be known before its start is: what its socket has to say comes first. */
        take_messages(e, &e->process_source);
        e->concluding = true;
        if (e->ready && !e->failed)
                serve_answer(WIRE_EXEC, e, NULL);
        if (e->cgroup)
                rmdir(e->cgroup);       /* a slow client does not hold up the container's removal */
        io_conclude(&e->io, io_over);
}

static void go(struct exec *e)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (limit_process(e->plan, e->pid, NULL, &err) < 0 || launch_go(e->process_source.fd, e->tty_slave, &err) < 0) {
                launch_failed(e, &err);
                return;
        }
        e->tty_slave = fd_close(e->tty_slave);
        if (e->timeout > 0)
                e->deadline = clock_monotonic() + e->timeout;
}

static void took_terminal(struct exec *e, int fds[static 2])
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int client = steal_fd(&e->tty_client), second = client >= 0 ? fcntl(client, F_DUPFD_CLOEXEC, 3) : -1;

        if (fds[0] < 0 || fds[1] < 0) {
                err_set(&err, CRINGLE_E_INTERNAL, "the terminal got lost on its way");
                launch_failed(e, &err);
                fd_close(client);
                fd_close(second);
                return;
        }
        e->tty_slave = steal_fd(&fds[1]);
        if (io_open_tty(&e->io, steal_fd(&fds[0]), &err) < 0) {
                fd_close(client);
                fd_close(second);
                launch_failed(e, &err);
                return;
        }
        if (io_attach(&e->io, client, second, -1, &err) < 0)
                launch_failed(e, &err);
}

static void take_message(struct exec *e, struct launch_message *m, int fds[static 2])
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        switch (m->kind) {
        case LAUNCH_PID:
                if (child_is_there(m->value)) {
                        e->pid = m->value;
                        break;
                }
                take_messages(e, &e->process_source);   /* it may have said why */
                err_set(&err, CRINGLE_E_ABORTED, "the process died before it could run");
                launch_failed(e, &err);
                break;
        case LAUNCH_TTY:
                took_terminal(e, fds);
                break;
        case LAUNCH_READY:
                e->ready = true;
                source_close(&e->worker_source);
                go(e);
                break;
        case LAUNCH_BORN:
        case LAUNCH_WARNING:
        case LAUNCH_EXEC:
                break;                  /* an exec has no hooks to tell the pid, and nobody to warn */
        default:
                launch_failed(e, &m->err);
                break;
        }
}

/* As in container.c. */
static int take_messages(struct exec *e, struct source *s)
{
        struct launch_message m;

        for (;;) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                int fds[2], n;

                if (s->fd < 0)
                        return 0;
                n = launch_receive(s->fd, &m, fds, &err);
                if (n < 0) {
                        launch_failed(e, &err);
                        return 0;
                }
                if (n != 1)
                        return n;
                take_message(e, &m, fds);
                fd_close(fds[0]);
                fd_close(fds[1]);
        }
}

static void worker_event(struct source *s, uint32_t events)
{
        struct exec *e = SOURCE_OF(struct exec, worker_source, s);
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (take_messages(e, s) == 2) {
                err_set(&err, CRINGLE_E_ABORTED, "the launch died");
                launch_failed(e, &err);
        }
        exec_check_over(e);             /* all may have been reaped before what they said is read */
}

static void process_event(struct source *s, uint32_t events)
{
        struct exec *e = SOURCE_OF(struct exec, process_source, s);

        if (take_messages(e, s) != 2) {
                exec_check_over(e);
                return;
        }
        source_close(s);
        if (!e->ready || e->failed)
                return;
        e->running = true;
        if (e->plan_data)
                munmap(e->plan_data, e->plan_n);
        e->plan_data = NULL;
        serve_answer(WIRE_EXEC, e, NULL);
}

static int begin_launch(struct exec *e, const int *fds, size_t n_fds, uint32_t flags, struct cringle_err *err)
{
        const struct container *c = e->container;
        auto_free const char **v1 = NULL;
        struct launch_request request = {
                .rootfs_fd = -1, .stdio = { -1, -1, -1 }, .own_stdio = true, .die_with_parent = true, .join = c->pid,
        };
        size_t n_v1 = strv_count((const char *const *) c->v1), next = 1;
        bool in_unified = false;
        struct rec_cursor body;
        struct launch launch;

        if (plan_map(fds[0], &e->plan_data, &e->plan_n, &e->plan, err) < 0)
                return -1;
        for (int i = 0; i < 3; i++)
                if (flags & (uint32_t) WIRE_HAS_STDIN << i) {
                        if (next >= n_fds)
                                return err_set(err, CRINGLE_E_INVALID, "the request lacks fds");
                        request.stdio[i] = fds[next++];
                }
        if (rec_first(e->plan, PLAN_TTY, &body)) {
                if (request.stdio[0] >= 0)
                        e->tty_client = fcntl(request.stdio[0], F_DUPFD_CLOEXEC, 3);
                request.stdio[0] = request.stdio[1] = request.stdio[2] = -1;
        }

        e->cgroup = c->unified || n_v1 > 0
                ? cgroup_make_exec(c->unified, (const char *const *) c->v1, e->id, &in_unified, err) : NULL;
        if (!e->cgroup && (c->unified || n_v1 > 0))
                return -1;
        v1 = calloc(n_v1 + 1, sizeof *v1);
        if (!v1)
                return err_oom(err);
        for (size_t i = 0; i < n_v1; i++)
                v1[i] = !in_unified && str_starts(e->cgroup, c->v1[i]) && e->cgroup[strlen(c->v1[i])] == '/' ? e->cgroup
                                                                                                            : c->v1[i];
        request.plan = e->plan;
        request.cgroup_v1 = v1;
        request.cgroup_unified = in_unified ? e->cgroup : c->unified;
        if (launch_start(&request, &launch, err) < 0)
                return -1;

        e->worker = launch.worker;
        if (source_watch(&e->worker_source, launch.worker_fd, EPOLLIN, worker_event, err) < 0) {
                close(launch.worker_fd);
                close(launch.process_fd);
                return -1;
        }
        if (source_watch(&e->process_source, launch.process_fd, EPOLLIN, process_event, err) < 0) {
                close(launch.process_fd);
                return -1;
        }
        return 0;
}

int exec_start(struct rec_cursor fields, const int *fds, size_t n_fds, struct exec **ret, struct cringle_err *err)
{
        struct rec_cursor body;
        const char *id = rec_first(fields, WIRE_EXEC_ID, &body) ? rec_get_str(&body) : "";
        const char *in = rec_first(fields, WIRE_CONTAINER, &body) ? rec_get_str(&body) : "";
        uint32_t flags = rec_first(fields, WIRE_FLAGS, &body) ? rec_get_u32(&body) : 0;
        struct container *c = container_find(in);
        struct exec *e;

        if (!str_is_id(id, 128))
                return err_set(err, CRINGLE_E_INVALID, "'%s' is no exec's name", id);
        if (exec_find(id))
                return err_set(err, CRINGLE_E_EXISTS, "there is an exec %s already", id);
        if (!c)
                return err_set(err, CRINGLE_E_NOT_FOUND, "there is no container %s", in);
        if (c->phase != PHASE_RUNNING || c->pid <= 0 || c->destroying)
                return err_set(err, CRINGLE_E_PRECONDITION, "container %s does not run", in);
        if (n_fds < 1)
                return err_set(err, CRINGLE_E_INVALID, "the request lacks fds");
        e = calloc(1, sizeof *e);
        if (!e)
                return err_oom(err);
        e->worker_source.fd = e->process_source.fd = e->tty_slave = e->tty_client = -1;
        io_init(&e->io, NULL);
        e->io.patient = true;
        e->container = c;
        e->id = strdup(id);
        if (rec_first(fields, WIRE_TIMEOUT, &body))
                e->timeout = (int64_t) rec_get_u64(&body);
        e->next = monitor.execs;
        monitor.execs = e;
        if (!e->id || begin_launch(e, fds, n_fds, flags, err) < 0) {
                if (!e->id)
                        err_oom(err);
                if (e->worker > 0)
                        launch_failed(e, err);          /* freed when it is reaped */
                else
                        exec_free(e);
                return -1;
        }

        *ret = e;
        return 0;
}

int64_t exec_deadline(const struct exec *e)
{
        if (e->cut && e->concluding)
                return 1;               /* long ago */
        return e->timed_out || e->concluding ? 0 : e->deadline;
}

void exec_tick(struct exec *e, int64_t now)
{
        if (e->concluding) {
                if (e->cut)
                        io_cut(&e->io);
                return;
        }
        if (e->deadline && !e->timed_out && now >= e->deadline) {
                e->timed_out = true;
                exec_kill(e);
        }
}
