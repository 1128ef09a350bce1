/*
 * Child programs; see child.h.
 *
 * posix_spawn() is used as glibc implements it (CLONE_VFORK): cheap whatever the
 * size of the agent.  The pid cannot be reused between spawn and pidfd_open(),
 * since only we can reap it.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/guard.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"

#define TAIL_MAX 1024
#define CHUNK 16384

/* Numbers in the child below this are targets; from here on, fds are out of the way of dup2(). */
#define FD_PARKED 64

static const char *const no_env[] = { NULL };

/*
 * The file actions: first each fd is copied above all targets (without CLOEXEC),
 * then down to its place.  Doing it in one step could overwrite a source.  All
 * others are closed, whoever forgot their CLOEXEC.
 */
static int add_fds(posix_spawn_file_actions_t *actions, const struct child_spec *spec)
{
        bool kept[FD_PARKED] = { true, true, true };

        for (int fd = 0; fd <= 2; fd++) {
                int r = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);

                if (r)
                        return r;
        }
        for (size_t i = 0; i < spec->n_fds; i++) {
                int r = posix_spawn_file_actions_adddup2(actions, spec->fds[i].fd, FD_PARKED + (int) i);

                if (r)
                        return r;
        }
        for (size_t i = 0; i < spec->n_fds; i++) {
                int r = posix_spawn_file_actions_adddup2(actions, FD_PARKED + (int) i, spec->fds[i].as);

                if (r)
                        return r;
                kept[spec->fds[i].as] = true;
        }
        for (int fd = 3; fd < FD_PARKED; fd++) {
                int r = kept[fd] ? 0 : posix_spawn_file_actions_addclose(actions, fd);

                if (r)
                        return r;
        }
        if (posix_spawn_file_actions_addclosefrom_np(actions, FD_PARKED))
                return ENOMEM;
        return posix_spawn_file_actions_addchdir_np(actions, spec->dir ? spec->dir : "/");
}

static int set_attributes(posix_spawnattr_t *attr)
{
        sigset_t none, all;
        int r;

        sigemptyset(&none);
        sigfillset(&all);
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
        if (!r)
                r = posix_spawnattr_setpgroup(attr, 0);
        if (!r)
                r = posix_spawnattr_setsigdefault(attr, &all);
        if (!r)
                r = posix_spawnattr_setsigmask(attr, &none);
        return r;
}

/* A source below FD_PARKED + n could be overwritten by the parking; such fds are moved up first. */
static int lift_fds(const struct child_spec *spec, struct child_fd *fds, struct cringle_err *err)
{
        for (size_t i = 0; i < spec->n_fds; i++) {
                fds[i] = spec->fds[i];
                fds[i].fd = fcntl(spec->fds[i].fd, F_DUPFD_CLOEXEC, FD_PARKED + (int) spec->n_fds);
                if (fds[i].fd < 0) {
                        err_sys(err, "duplicate fd %d", spec->fds[i].fd);
                        while (i-- > 0)
                                close(fds[i].fd);
                        return -1;
                }
        }
        return 0;
}

int child_spawn(const struct child_spec *spec, struct child *ret, struct cringle_err *err)
{
        struct child_fd lifted[SOCK_FDS_MAX];
        struct child_spec s = *spec;
        const char *const *env = spec->envp ? spec->envp : no_env;      /* never ours */
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        pid_t pid;
        int r, fd;

        if (spec->n_fds > SOCK_FDS_MAX)
                return err_set(err, CRINGLE_E_INTERNAL, "too many fds for %s", spec->path);
        for (size_t i = 0; i < spec->n_fds; i++)
                if (spec->fds[i].as < 0 || spec->fds[i].as >= FD_PARKED)
                        return err_set(err, CRINGLE_E_INTERNAL, "fd %d for %s", spec->fds[i].as, spec->path);
        if (lift_fds(spec, lifted, err) < 0)
                return -1;
        s.fds = lifted;

        if (!GUARD(clean_environment) && !spec->envp)
                env = (const char *const *) environ;
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attr);
        r = add_fds(&actions, &s);
        if (!r)
                r = set_attributes(&attr);
        if (!r)
                r = posix_spawn(&pid, spec->path, &actions, &attr, (char *const *) spec->argv,
                                (char *const *) env);
        posix_spawnattr_destroy(&attr);
        posix_spawn_file_actions_destroy(&actions);
        for (size_t i = 0; i < spec->n_fds; i++)
                close(lifted[i].fd);
        if (r)
                return err_sysno(err, r, "run %s", spec->path);

        fd = pidfd_open(pid, 0);
        if (fd < 0) {
                err_sys(err, "hold %s", spec->path);
                kill(-pid, SIGKILL);
                waitpid(pid, NULL, 0);
                return -1;
        }
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        ret->pid = pid;
        ret->pidfd = fd;
        return 0;
}

static int reap(struct child *c)
{
        int status = 0;

        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
                ;
        c->pid = 0;
        c->pidfd = fd_close(c->pidfd);
        return status;
}

int child_wait(struct child *c, const struct cringle_call *call, int *ret_status, struct cringle_err *err)
{
        if (call_wait(call, c->pidfd, POLLIN, -1, err) < 0) {
                child_kill(c);
                return -1;
        }

        *ret_status = reap(c);
        return 0;
}

void child_kill(struct child *c)
{
        if (!c->pid)
                return;

        kill(-c->pid, SIGKILL);
        pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);  /* in case it left its group */
        reap(c);
}

/* What child_run() has in hand while it pumps. */
struct pump {
        struct child child;
        int in, out, err;               /* our ends */
        const struct buf *input;
        size_t sent;
        struct buf *output;
        size_t max;
        struct buf *tail;
};

static void pump_in(struct pump *p)
{
        ssize_t n = write(p->in, p->input->data + p->sent, p->input->len - p->sent);

        if (n > 0)
                p->sent += (size_t) n;
        if (p->sent == p->input->len || (n < 0 && errno != EAGAIN && errno != EINTR))
                p->in = fd_close(p->in);        /* done, or the child does not read: not our business */
}

/* 1: read something; 0: nothing there now; the fd is closed at its end. */
static int pump_out(int *fd, struct buf *to, size_t max, bool tail, struct cringle_err *err)
{
        char chunk[CHUNK];
        ssize_t n = read(*fd, chunk, sizeof chunk);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                *fd = fd_close(*fd);
                return 0;
        }
        if (!to)
                return 1;
        if (!tail && to->len + (size_t) n > max)
                return err_set(err, CRINGLE_E_EXHAUSTED, "more than %zu bytes of output", max);
        if (buf_add(to, chunk, (size_t) n, err) < 0)
                return -1;
        if (tail && to->len > TAIL_MAX)
                buf_drop(to, to->len - TAIL_MAX);
        return 1;
}

static int pump_step(struct pump *p, const struct cringle_call *call, bool *ret_ended, struct cringle_err *err)
{
        struct pollfd fds[] = {
                { .fd = p->child.pidfd, .events = POLLIN },
                { .fd = p->in, .events = POLLOUT },
                { .fd = p->out, .events = POLLIN },
                { .fd = p->err, .events = POLLIN },
                { .fd = call ? call->cancel_fd : -1, .events = POLLIN },
        };
        int timeout = -1;

        if (call && call->deadline) {
                int64_t left = (call->deadline - clock_monotonic()) / NSEC_PER_MSEC + 1;

                timeout = left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int) left;
        }
        if (poll(fds, sizeof fds / sizeof *fds, timeout) < 0 && errno != EINTR)
                return err_sys(err, "poll");
        if (call_check(call, err) < 0)
                return -1;

        if (fds[1].revents)
                pump_in(p);
        if (fds[2].revents && pump_out(&p->out, p->output, p->max, false, err) < 0)
                return -1;
        if (fds[3].revents && pump_out(&p->err, p->tail, 0, true, err) < 0)
                return -1;
        *ret_ended = fds[0].revents != 0;
        return 0;
}

/* What is in the pipe now, and no more: whoever else holds it may write on and on. */
static int pump_there(int *fd, struct buf *to, size_t max, bool tail, struct cringle_err *err)
{
        int there = 0, r = 1;

        if (*fd < 0 || ioctl(*fd, FIONREAD, &there) < 0)
                return 0;
        for (int n = there / CHUNK + 1; n > 0 && *fd >= 0 && r > 0; n--)
                r = pump_out(fd, to, max, tail, err);
        return r < 0 ? -1 : 0;
}

/* After the end, without waiting for others. */
static int pump_rest(struct pump *p, struct cringle_err *err)
{
        if (pump_there(&p->out, p->output, p->max, false, err) < 0)
                return -1;
        return pump_there(&p->err, p->tail, 0, true, err);
}

int child_run(const struct child_spec *spec, const struct cringle_call *call, const struct buf *input,
              struct buf *output, size_t max, struct buf *tail, int *ret_status, struct cringle_err *err)
{
        struct child_fd fds[SOCK_FDS_MAX];
        struct child_spec s = *spec;
        struct pump p = { .child = CHILD_INIT, .in = -1, .out = -1, .err = -1, .input = input, .output = output,
                          .max = max, .tail = tail };
        int pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
        bool ended = false;
        int r = -1;

        if (spec->n_fds + 3 > SOCK_FDS_MAX)
                return err_set(err, CRINGLE_E_INTERNAL, "too many fds for %s", spec->path);
        for (size_t i = 0; i < spec->n_fds; i++)
                fds[i] = spec->fds[i];
        for (int i = 0; i < 3; i++) {
                if (pipe2(pipes[i], O_CLOEXEC) < 0) {
                        err_sys(err, "pipe");
                        goto end;
                }
                fds[spec->n_fds + (size_t) i] = (struct child_fd) { .fd = pipes[i][i != 0], .as = i };
        }
        s.fds = fds;
        s.n_fds = spec->n_fds + 3;
        if (child_spawn(&s, &p.child, err) < 0)
                goto end;

        p.in = steal_fd(&pipes[0][1]);
        p.out = steal_fd(&pipes[1][0]);
        p.err = steal_fd(&pipes[2][0]);
        for (int i = 0; i < 3; i++)
                pipes[i][i != 0] = fd_close(pipes[i][i != 0]);
        fcntl(p.in, F_SETFL, O_NONBLOCK);
        fcntl(p.out, F_SETFL, O_NONBLOCK);
        fcntl(p.err, F_SETFL, O_NONBLOCK);
        if (!input || !input->len)
                p.in = fd_close(p.in);

        while (!ended)
                if (pump_step(&p, call, &ended, err) < 0)
                        goto end;
        if (pump_rest(&p, err) < 0)
                goto end;
        *ret_status = reap(&p.child);
        r = 0;

end:
        child_kill(&p.child);
        fd_close(p.in);
        fd_close(p.out);
        fd_close(p.err);
        for (int i = 0; i < 3; i++) {
                fd_close(pipes[i][0]);
                fd_close(pipes[i][1]);
        }
        return r < 0 ? err_wrap(err, "%s", spec->path) : 0;
}

void child_status_text(int status, char *text, size_t size)
{
        if (WIFSIGNALED(status))
                snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status), sigdescr_np(WTERMSIG(status)));
        else
                snprintf(text, size, "exit status %d", WEXITSTATUS(status));
}
