/*
 * cringle-monitor: start, the event loop, reaping
 *
 *      cringle-monitor RUN_DIR [CGROUP_DIR...]
 *
 * Started by the agent with its first connection as an fd.  What can fail before
 * it is on its own is told by exit status and stderr; then it lets go of the agent
 * and becomes a child of PID 1.
 */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/launch/kernel.h"
#include "agent/monitor/monitor.h"

/* What containers have that do not end with the machine: a kubelet's usual grace period, for nobody is left to ask. */
#define DOWN_LIMIT (30 * NSEC_PER_SEC)

struct monitor monitor;

static int epoll_fd = -1;
static struct source signals = { .fd = -1 };
static int64_t down_at;         /* the machine goes down, and with it we, then at the latest; 0: it does not */

/* --- event sources ---------------------------------------------------------------- */

int source_watch(struct source *s, int fd, uint32_t events, void (*fn)(struct source *s, uint32_t events),
                 struct cringle_err *err)
{
        struct epoll_event e = { .events = events, .data.ptr = s };

        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
                s->fd = -1;
                return err_sys(err, "watch an fd");
        }
        *s = (struct source) { .fd = fd, .events = events, .fn = fn };
        return 0;
}

void source_change(struct source *s, uint32_t events)
{
        struct epoll_event e = { .events = events, .data.ptr = s };

        if (s->fd < 0 || s->events == events)
                return;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &e) == 0)
                s->events = events;
}

void source_stop(struct source *s)
{
        if (s->fd >= 0)
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
        s->fd = -1;
}

void source_close(struct source *s)
{
        int fd = s->fd;

        source_stop(s);
        fd_close(fd);
}

/* --- children ------------------------------------------------------------------------ */

bool child_is_there(pid_t pid)
{
        siginfo_t info;

        return waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void reaped(pid_t pid, int status)
{
        for (struct container *c = monitor.containers; c; c = c->next) {
                if (pid == c->pid || pid == c->worker) {
                        container_reaped(c, pid, status);
                        return;
                }
                if (c->hooks.active && pid == c->hooks.hook.pid) {
                        hooks_reaped(&c->hooks, status);
                        return;
                }
        }
        for (struct exec *e = monitor.execs; e; e = e->next)
                if (pid == e->pid || pid == e->worker) {
                        exec_reaped(e, pid, status);
                        return;
                }
        if (pid == monitor.init)
                monitor.init = 0;
        for (struct container *c = monitor.containers; c; c = c->next)
                if (c->restore_pid_file && container_restored_reaped(c, pid, status))
                        return;
        /*
         * Anything else is an orphan of a container without a PID namespace of its own, or a process whose worker has
         * yet to be heard: see child_is_there().
         */
}

/*
 * SIGTERM from PID 1 goes to everybody when a machine is shut down, after its services, the agent among them, have
 * ended: systemd then waits for all processes, for a minute and a half.  From anybody else it is a mistake.
 */
static void signal_event(struct source *s, uint32_t events)
{
        struct signalfd_siginfo info = { 0 };
        int status;
        pid_t pid;

        (void) !read(s->fd, &info, sizeof info);
        if (info.ssi_signo == SIGTERM && info.ssi_pid == 1 && down_at == 0)
                down_at = clock_monotonic() + DOWN_LIMIT;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                reaped(pid, status);
}

/* --- time limits ----------------------------------------------------------------------- */

static int64_t earlier(int64_t a, int64_t b)
{
        return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Milliseconds until the next limit, for epoll; -1: there is none. */
static int next_timeout(void)
{
        int64_t at = 0, left;

        for (struct container *c = monitor.containers; c; c = c->next)
                at = earlier(at, hooks_deadline(&c->hooks));
        for (struct exec *e = monitor.execs; e; e = e->next)
                at = earlier(at, exec_deadline(e));
        at = earlier(at, down_at);
        if (at == 0)
                return -1;
        left = at - clock_monotonic();
        return left <= 0 ? 0 : left / NSEC_PER_MSEC >= 3600000 ? 3600000 : (int) (left / NSEC_PER_MSEC) + 1;
}

static bool any_runs(void)
{
        for (struct container *c = monitor.containers; c; c = c->next)
                if (c->phase == PHASE_STARTING || c->phase == PHASE_RUNNING)
                        return true;
        return false;
}

static void tick(void)
{
        int64_t now = clock_monotonic();

        /* What still runs, and the init, die with us. */
        if (down_at != 0 && (now >= down_at || !any_runs()))
                _exit(0);

        for (struct container *c = monitor.containers; c; c = c->next)
                hooks_tick(&c->hooks, now);
        for (struct exec *e = monitor.execs, *next; e; e = next) {
                next = e->next;
                exec_tick(e, now);
        }
}

__attribute__((noreturn))
static void run(void)
{
        for (;;) {
                struct epoll_event e;
                int n = epoll_wait(epoll_fd, &e, 1, next_timeout());

                if (n > 0) {
                        struct source *s = e.data.ptr;

                        s->fn(s, e.events);
                }
                tick();
        }
}

/* --- start ------------------------------------------------------------------------------ */

/* Into those of v1; *ret_unified is a v2 one, to be born in, the caller's; -1: none. */
static int join_cgroups(char *const *dirs, int *ret_unified, struct cringle_err *err)
{
        for (; *dirs; dirs++) {
                auto_fd int dir = open(*dirs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                if (dir < 0)
                        return err_sys(err, "join cgroup %s", *dirs);
                if (kernel_is_cgroup2(dir)) {
                        fd_close(*ret_unified);
                        *ret_unified = steal_fd(&dir);
                } else if (kernel_join_cgroup1(*dirs, err) < 0) {
                        return -1;
                }
        }
        return 0;
}

/* Children start from what we had: the score and limit are ours alone. */
static void protect_self(void)
{
        struct rlimit files;
        auto_free char *score = NULL;
        int64_t value;

        if (file_read_line("/proc/self/oom_score_adj", &score, NULL) == 0 && str_int64(score, -1000, 1000, &value, NULL) == 0)
                monitor.oom_score = (int) value;
        /* Refused without CAP_SYS_RESOURCE; then the cgroup of our own has to do. */
        file_poke("/proc/self/oom_score_adj", "-998", NULL);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                monitor.nofile_soft = files.rlim_cur;
                files.rlim_cur = files.rlim_max;
                setrlimit(RLIMIT_NOFILE, &files);
        }
        hook_set_origin(&(struct hook_origin) { true, monitor.oom_score, monitor.nofile_soft });
}

static int set_signals(struct cringle_err *err)
{
        static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU };
        sigset_t set;
        int fd;

        for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
                signal(ignored[i], SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigaddset(&set, SIGTERM);
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return err_sys(err, "block signals");
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return err_sys(err, "make a signal fd");
        return source_watch(&signals, fd, EPOLLIN, signal_event, err);
}

/* Only stdio and the connection are ours; 0, 1, 2 are nobody's. */
static int detach_stdio(struct cringle_err *err)
{
        auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
                return err_sys(err, "open /dev/null");
        return 0;
}

static int start(char *const *argv, struct cringle_err *err)
{
        int flags = fcntl(WIRE_FD_CONN, F_GETFD);
        auto_fd int unified = -1;
        pid_t pid;

        close(WIRE_FD_EXE);
        if (flags < 0 || fcntl(WIRE_FD_CONN, F_SETFD, flags | FD_CLOEXEC) < 0)
                return err_sys(err, "find the connection to the agent");
        close_range(WIRE_FD_CONN + 1, ~0u, 0);
        umask(022);
        mallopt(M_TRIM_THRESHOLD, 16384);       /* what a burst took is given back */
        mallopt(M_TOP_PAD, 4096);
        if (chdir("/") < 0)
                return err_sys(err, "go to /");
        monitor.run_dir = argv[1];
        if (join_cgroups(argv + 2, &unified, err) < 0)
                return -1;
        protect_self();

        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_fd < 0)
                return err_sys(err, "make an epoll");
        if (serve_listen(err) < 0)
                return -1;

        pid = kernel_fork(0, unified);
        if (pid < 0)
                return err_sys(err, "leave the agent");
        if (pid > 0)
                _exit(0);
        setsid();
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return err_sys(err, "become a reaper");
        prctl(PR_SET_NAME, "cringle-monitor");
        /* After the fork: an epoll hears of the signals of the process that gave it the signalfd. */
        if (detach_stdio(err) < 0 || set_signals(err) < 0)
                return -1;
        return serve_adopt(WIRE_FD_CONN, err);
}

int main(int argc, char **argv)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (argc < 2 || argv[1][0] != '/') {
                fprintf(stderr, "usage: cringle-monitor RUN_DIR [CGROUP_DIR...]; it is started by cringled\n");
                return 2;
        }
        if (launch_guard_self(argv, environ, &err) < 0 || start(argv, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                return 1;
        }
        run();
}
