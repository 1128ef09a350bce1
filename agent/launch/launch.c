/*
 * Carrying out a launch plan: the caller's side and the worker; see launch.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <grp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/launch/hook.h"
#include "agent/launch/kernel.h"
#include "agent/launch/launch.h"
#include "agent/launch/process.h"
#include "agent/launch/rootfs.h"
#include "agent/wire/client.h"

static const uint32_t namespace_order[] = {
        CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWTIME, CLONE_NEWPID, CLONE_NEWNS,
};

#define N_NAMESPACES (sizeof namespace_order / sizeof namespace_order[0])

/* What the worker holds. */
struct worker {
        const struct launch_request *request;
        int fd, process_fd;                     /* its socket; the process's end of the other */
        int stdio[3];
        int proc;                               /* a procfs of our own */
        int join[N_NAMESPACES];                 /* by namespace_order; -1: not to be joined */
        int root;                               /* of the process that is joined, or -1 */
        uint64_t make;                          /* CLONE_NEW* to be made */
        struct rootfs rootfs;
};

/* What a worker that restores holds; it never comes back to free it. */
struct restoring {
        struct process_restore what;
        char **argv;
        const char **env;
        const char *dir;
};

/* --- messages ------------------------------------------------------------------- */

static int send_message(int fd, const struct launch_message *m, bool with_err, const int *fds, size_t n_fds)
{
        /* What has no error in it need not carry its room. */
        size_t n = with_err ? sizeof *m : offsetof(struct launch_message, err);

        if (n_fds == 0) {
                /* write(2) is what a seccomp filter allows most surely. */
                ssize_t done;

                do
                        done = write(fd, m, n);
                while (done < 0 && errno == EINTR);
                return done == (ssize_t) n ? 0 : -1;
        }
        return sock_send(fd, m, n, fds, n_fds, NULL);
}

int launch_send(int fd, enum launch_kind kind, int32_t value, const struct cringle_err *what, const int *fds,
                size_t n_fds)
{
        struct launch_message m = { .kind = kind, .value = value, .err = CRINGLE_ERR_INIT };

        if (what)
                m.err = *what;
        return send_message(fd, &m, what, fds, n_fds);
}

int launch_send_hook(int fd, const struct wire_hook *run, const struct cringle_err *what)
{
        struct launch_message m = { .kind = LAUNCH_HOOK, .err = *what };

        m.hook = (struct launch_hook) {
                .stage = run->stage,
                .index = run->index,
                .flags = run->flags,
                .exit_code = run->exit_code,
                .nanoseconds = run->nanoseconds,
                .ended_at = run->ended_at,
        };
        return send_message(fd, &m, what->code != CRINGLE_OK, NULL, 0);
}

int launch_receive(int fd, struct launch_message *ret, int fds[static 2], struct cringle_err *err)
{
        size_t n = 0, n_fds = 2;
        int got[2] = { -1, -1 };

        memset(ret, 0, sizeof *ret);
        fds[0] = fds[1] = -1;
        if (sock_recv(fd, ret, sizeof *ret, &n, got, &n_fds, err) < 0) {
                if (err && (err->sys == EAGAIN || err->sys == EWOULDBLOCK))
                        return 0;
                if (err && err->sys == ECONNRESET)
                        return 2;
                return -1;
        }
        if (n == 0)
                return 2;
        for (size_t i = 0; i < n_fds; i++)
                fds[i] = got[i];
        if (n < offsetof(struct launch_message, err)) {
                fds[0] = fd_close(fds[0]);
                fds[1] = fd_close(fds[1]);
                return err_set(err, CRINGLE_E_INTERNAL, "a launch said %zu bytes, which is no message", n);
        }
        ret->err.text[sizeof ret->err.text - 1] = '\0';
        return 1;
}

int launch_continue(int worker_fd, int32_t inner_pid, struct cringle_err *err)
{
        if (send(worker_fd, &inner_pid, sizeof inner_pid, MSG_NOSIGNAL) != (ssize_t) sizeof inner_pid)
                return err_sys(err, "let the launch go on");
        return 0;
}

int launch_go(int process_fd, int tty_slave, struct cringle_err *err)
{
        char word = 'g';

        if (sock_send(process_fd, &word, 1, &tty_slave, tty_slave >= 0, err) < 0)
                return err_wrap(err, "let the process go on");
        return 0;
}

/* --- the worker ------------------------------------------------------------------- */

static int join_cgroups(struct worker *w, struct cringle_err *err)
{
        const char *const *dirs = w->request->cgroup_v1;

        for (size_t i = 0; dirs && dirs[i]; i++)
                if (kernel_join_cgroup1(dirs[i], err) < 0)
                        return -1;
        return 0;
}

static int open_namespace(const char *path, uint32_t flag, struct cringle_err *err)
{
        auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct statfs fs;
        int type;

        if (fd < 0)
                return err_sys(err, "join namespace %s", path);
        if (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC)
                return err_set(err, CRINGLE_E_INVALID, "join namespace %s: it is none", path);
        type = ioctl(fd, NS_GET_NSTYPE);
        if (type != (int) flag)
                return err_set(err, CRINGLE_E_INVALID, "join namespace %s: it is of another kind", path);
        return steal_fd(&fd);
}

static size_t index_of(uint32_t flag)
{
        for (size_t i = 0; i < N_NAMESPACES; i++)
                if (namespace_order[i] == flag)
                        return i;
        return N_NAMESPACES;
}

static bool same_namespace(const char *a, const char *b)
{
        struct stat sa, sb;

        return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* One that we are in already is not joined: the kernel refuses that for user namespaces. */
static int plan_join(struct worker *w, uint32_t flag, const char *path, struct cringle_err *err)
{
        auto_free char *own = str_printf(err, "/proc/self/ns/%s", kernel_ns_name(flag));
        size_t i = index_of(flag);

        if (!own)
                return -1;
        if (same_namespace(path, own))
                return 0;
        fd_close(w->join[i]);
        w->join[i] = open_namespace(path, flag, err);
        w->make &= ~(uint64_t) flag;
        return w->join[i] < 0 ? -1 : 0;
}

static int join_of_process(struct worker *w, pid_t pid, uint32_t flag, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "/proc/%d/ns/%s", pid, kernel_ns_name(flag));

        return path ? plan_join(w, flag, path, err) : -1;
}

static int plan_namespaces(struct worker *w, struct cringle_err *err)
{
        struct rec_cursor at = w->request->plan, body;

        if (w->request->join) {
                auto_free char *root = str_printf(err, "/proc/%d/root", w->request->join);

                if (!root)
                        return -1;
                w->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (w->root < 0)
                        return err_sys(err, "open the container's root");
                for (size_t i = 0; i < N_NAMESPACES; i++)
                        if (join_of_process(w, w->request->join, namespace_order[i], err) < 0)
                                return -1;
                return 0;
        }
        while (rec_find(&at, PLAN_NAMESPACE, &body)) {
                uint32_t flag = rec_get_u32(&body);
                const char *path = rec_get_str(&body);

                if (body.bad || index_of(flag) == N_NAMESPACES)
                        return err_set(err, CRINGLE_E_INVALID, "a namespace of the plan is damaged");
                if (!*path)
                        w->make |= flag;
                else if (plan_join(w, flag, path, err) < 0)
                        return -1;
        }
        return w->request->share_pid ? join_of_process(w, w->request->share_pid, CLONE_NEWPID, err) : 0;
}

/*
 * A user namespace of the container's own is made by a child that only waits: we
 * still need the host's privileges, and can map ids for it meanwhile.
 */
static int make_user_namespace(struct worker *w, struct cringle_err *err)
{
        auto_free char *path = NULL;
        int made, status;
        pid_t pid;

        if (!(w->make & CLONE_NEWUSER))
                return 0;
        pid = kernel_fork(CLONE_NEWUSER, -1);
        if (pid < 0)
                return err_sys(err, "make a user namespace");
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        pause();
        }
        path = str_printf(err, "/proc/%d/ns/user", pid);
        made = path ? kernel_write_id_maps(w->request->plan, PLAN_ID_MAP, pid, err) : -1;
        if (made == 0)
                made = plan_join(w, CLONE_NEWUSER, path, err);
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return made;
}

/* time_namespaces(7): offsets are set before anybody is in the namespace. */
static int set_time_offsets(struct worker *w, struct cringle_err *err)
{
        struct rec_cursor at = w->request->plan, body;
        char text[64];

        while (rec_find(&at, PLAN_TIME_OFFSET, &body)) {
                uint32_t clock = rec_get_u32(&body);
                int64_t seconds = (int64_t) rec_get_u64(&body);
                uint32_t nanoseconds = rec_get_u32(&body);

                snprintf(text, sizeof text, "%u %lld %u\n", clock, (long long) seconds, nanoseconds);
                if (kernel_proc_write(w->proc, "self/timens_offsets", text, err) < 0)
                        return err_wrap(err, "set time offsets");
        }
        return 0;
}

static int enter_namespaces(struct worker *w, struct cringle_err *err)
{
        uint64_t make = w->make & ~(uint64_t) CLONE_NEWUSER;

        for (size_t i = 0; i < N_NAMESPACES; i++) {
                if (w->join[i] < 0)
                        continue;
                if (setns(w->join[i], (int) namespace_order[i]) < 0)
                        return err_sys(err, "join the %s namespace", kernel_ns_name(namespace_order[i]));
        }
        /* A mount namespace's root is not its processes' root when the agent itself lives in a chroot. */
        if (w->root >= 0 && (fchdir(w->root) < 0 || chroot(".") < 0))
                return err_sys(err, "enter the container's root");
        w->root = fd_close(w->root);
        if (make && unshare((int) make) < 0)
                return err_sys(err, "make namespaces");
        if (!w->request->join && rootfs_find_place(&w->rootfs, err) < 0)
                return -1;
        /* Until here we are root to the host's directories, by id though no longer by capability. */
        if (w->join[index_of(CLONE_NEWUSER)] >= 0 &&
            (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
                return err_sys(err, "become root of the user namespace");
        return set_time_offsets(w, err);
}

/* What @uid of the process is on the host; -1: nothing that we know. */
static int64_t outside(const struct worker *w, uint32_t uid)
{
        struct rec_cursor at = w->request->plan, body;

        if (w->join[index_of(CLONE_NEWUSER)] < 0)
                return uid;
        while (rec_find(&at, PLAN_ID_MAP, &body)) {
                uint32_t kind = rec_get_u32(&body), inside = rec_get_u32(&body), outside = rec_get_u32(&body);
                uint32_t length = rec_get_u32(&body);

                if (!body.bad && kind == PLAN_UID && uid >= inside && uid - inside < length)
                        return (int64_t) outside + (uid - inside);
        }
        return -1;
}

/*
 * So that a process without privileges may open /dev/stdout again.  Before a user namespace is entered, in
 * which the pipes would be nobody's.
 */
static void own_pipes(const struct worker *w)
{
        struct rec_cursor body;
        struct stat st;
        int64_t uid;

        if (!w->request->own_stdio || !rec_first(w->request->plan, PLAN_USER, &body))
                return;
        uid = outside(w, rec_get_u32(&body));
        if (uid < 0)
                return;
        for (int i = 0; i < 3; i++)
                if (fstat(w->stdio[i], &st) == 0 && S_ISFIFO(st.st_mode))
                        (void) !fchown(w->stdio[i], (uid_t) uid, (gid_t) -1);
}

/* The process: a child of our parent's, first in the namespace it was asked to be first in. */
static int bear_process(struct worker *w, struct cringle_err *err)
{
        auto_fd int mine = -1, its = -1;
        int pair[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, "make a socket pair");
        mine = pair[0];
        its = pair[1];
        pid = kernel_fork(CLONE_PARENT, -1);
        if (pid < 0)
                return err_sys(err, "make the process");
        if (pid == 0) {
                /* A procfs shows the PID namespace of who makes it, so this falls to the process. */
                if (!w->request->join)
                        rootfs_send_procfs(w->request->plan, its);
                process_main(w->request, w->process_fd, w->stdio);
        }
        w->process_fd = fd_close(w->process_fd);
        its = fd_close(its);
        if (launch_send(w->fd, LAUNCH_PID, pid, NULL, NULL, 0) < 0)
                return err_sys(err, "tell the monitor");
        return w->request->join ? 0 : rootfs_receive_procfs(&w->rootfs, mine, err);
}

static int set_names(struct worker *w, struct cringle_err *err)
{
        struct rec_cursor at = w->request->plan, body;

        if (rec_first(at, PLAN_HOSTNAME, &body)) {
                const char *name = rec_get_str(&body);

                if (sethostname(name, strlen(name)) < 0)
                        return err_sys(err, "set the host name %s", name);
        }
        if (rec_first(at, PLAN_DOMAINNAME, &body)) {
                const char *name = rec_get_str(&body);

                if (setdomainname(name, strlen(name)) < 0)
                        return err_sys(err, "set the domain name %s", name);
        }
        while (rec_find(&at, PLAN_SYSCTL, &body)) {
                const char *key = rec_get_str(&body), *value = rec_get_str(&body);

                if (kernel_sysctl(w->proc, key, value, err) < 0)
                        return err_wrap(err, "set sysctl");
        }
        return 0;
}

/* The caller runs prestart and createRuntime meanwhile, and answers with the pid inside. */
static int wait_for_runtime_hooks(struct worker *w, int32_t *ret_pid, struct cringle_err *err)
{
        ssize_t n;

        if (launch_send(w->fd, LAUNCH_RUNTIME_HOOKS, 0, NULL, NULL, 0) < 0)
                return err_sys(err, "tell the monitor");
        do
                n = recv(w->fd, ret_pid, sizeof *ret_pid, 0);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t) sizeof *ret_pid)
                return err_set(err, CRINGLE_E_ABORTED, "the launch was given up");
        return 0;
}

static int make_container(struct worker *w, struct cringle_err *err)
{
        int32_t pid = 0;
        int tty[2] = { -1, -1 };

        if (set_names(w, err) < 0 || rootfs_build(&w->rootfs, w->proc, tty, err) < 0)
                return -1;
        if (tty[0] >= 0 && launch_send(w->fd, LAUNCH_TTY, 0, NULL, tty, 2) < 0)
                return err_sys(err, "hand over the terminal");
        fd_close(tty[0]);
        fd_close(tty[1]);
        if (wait_for_runtime_hooks(w, &pid, err) < 0 ||
            hook_run_all(w->request->plan, PLAN_CREATE_CONTAINER, "creating", pid, w->fd, err) < 0)
                return -1;
        return rootfs_finish(&w->rootfs, err);
}

/* An exec's terminal comes from the container's devpts, if it has one that deserves the name. */
static int make_exec(struct worker *w, int host_ptmx, struct cringle_err *err)
{
        struct rec_cursor body;
        auto_fd int root = -1;
        int tty[2];

        if (!rec_first(w->request->plan, PLAN_TTY, &body))
                return 0;
        root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return err_sys(err, "open the container's root");
        if (rootfs_open_tty(root, w->proc, host_ptmx, w->request->plan, tty, err) < 0)
                return -1;
        if (launch_send(w->fd, LAUNCH_TTY, 0, NULL, tty, 2) < 0)
                return err_sys(err, "hand over the terminal");
        fd_close(tty[0]);
        fd_close(tty[1]);
        return 0;
}

/* --- processes that somebody else makes --- */

static int add_external(void *data, const char *destination, const char *source, struct cringle_err *err)
{
        struct restoring *r = data;
        auto_free char *words = str_printf(err, "mnt[%s]:%s", destination, source);

        return !words || strv_add(&r->argv, "--external", err) < 0 || strv_add(&r->argv, words, err) < 0 ? -1 : 0;
}

static int read_restore(struct rec_cursor plan, struct rec_cursor body, struct restoring *r, struct cringle_err *err)
{
        auto_free const char **argv = NULL;

        r->what.program = rec_get_str(&body);
        argv = rec_get_strv(&body);
        r->env = rec_get_strv(&body);
        r->dir = rec_get_str(&body);
        if (body.bad || !argv || !r->env)
                return err_set(err, CRINGLE_E_INVALID, "the plan's restore is damaged");
        r->argv = strv_copy(argv, err);
        r->what.no_new_privs = rec_first(plan, PLAN_NO_NEW_PRIVS, &body);
        return r->argv ? 0 : -1;
}

/* Those that the program is to find are handed to it as fds: only of these two kinds it takes others'. */
static int open_shared(const struct worker *w, struct restoring *r, struct cringle_err *err)
{
        struct rec_cursor at = w->request->plan, body;

        while (rec_find(&at, PLAN_NAMESPACE, &body)) {
                uint32_t flag = rec_get_u32(&body);
                const char *path = rec_get_str(&body);
                int i = flag == CLONE_NEWNET ? PLAN_FD_NET : flag == CLONE_NEWPID ? PLAN_FD_PID : -1;

                if (i < 0 || !*path)
                        continue;
                r->what.fds[i - PLAN_FD_STDIO] = open_namespace(path, flag, err);
                if (r->what.fds[i - PLAN_FD_STDIO] < 0)
                        return -1;
        }
        return 0;
}

static bool makes_namespace(const struct worker *w, uint32_t flag)
{
        struct rec_cursor at = w->request->plan, body;

        while (rec_find(&at, PLAN_NAMESPACE, &body))
                if (rec_get_u32(&body) == flag)
                        return !*rec_get_str(&body);
        return false;
}

/* The worker's, when the plan is to restore. */
static int work_for_restore(struct worker *w, struct rec_cursor body, struct cringle_err *err)
{
        struct restoring r = { .what = { .fds = { -1, -1, -1, -1, -1 } } };
        uint64_t make = CLONE_NEWNS | (makes_namespace(w, CLONE_NEWCGROUP) ? CLONE_NEWCGROUP : 0);
        pid_t pid;

        if (read_restore(w->request->plan, body, &r, err) < 0 || join_cgroups(w, err) < 0 ||
            rootfs_open(&w->rootfs, w->request, -1, err) < 0 || open_shared(w, &r, err) < 0)
                return -1;
        own_pipes(w);
        if (unshare((int) make) < 0)
                return err_sys(err, "make namespaces");
        if (rootfs_find_place(&w->rootfs, err) < 0 || rootfs_stage(&w->rootfs, r.dir, add_external, &r, err) < 0)
                return -1;
        for (int i = 0; i < 3; i++)
                r.what.fds[i] = w->request->stdio[i];
        r.what.argv = (const char *const *) r.argv;
        r.what.env = r.env;
        pid = kernel_fork(CLONE_PARENT, -1);
        if (pid < 0)
                return err_sys(err, "make the process");
        if (pid == 0)
                process_restore_main(&r.what, w->process_fd);
        w->process_fd = fd_close(w->process_fd);
        return launch_send(w->fd, LAUNCH_PID, pid, NULL, NULL, 0) < 0 ? err_sys(err, "tell the monitor") : 0;
}

static int work(struct worker *w, struct cringle_err *err)
{
        const struct launch_request *request = w->request;
        auto_fd int host_ptmx = -1;
        struct rec_cursor body;

        if (rec_first(request->plan, PLAN_RESTORE, &body))
                return work_for_restore(w, body, err);
        if (join_cgroups(w, err) < 0)
                return -1;
        w->proc = kernel_procfs(false, err);
        if (w->proc < 0 || plan_namespaces(w, err) < 0 || make_user_namespace(w, err) < 0)
                return -1;
        if (!request->join &&
            rootfs_open(&w->rootfs, request, w->join[index_of(CLONE_NEWUSER)], err) < 0)
                return -1;
        if (request->join && rec_first(request->plan, PLAN_TTY, &body))
                host_ptmx = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
        own_pipes(w);
        if (enter_namespaces(w, err) < 0 || bear_process(w, err) < 0)
                return -1;
        return request->join ? make_exec(w, host_ptmx, err) : make_container(w, err);
}

__attribute__((noreturn))
static void worker_main(const struct launch_request *request, int fd, int process_fd)
{
        struct worker w = {
                .request = request, .fd = fd, .process_fd = process_fd, .proc = -1, .root = -1, .rootfs = ROOTFS_INIT,
        };
        struct cringle_err err = CRINGLE_ERR_INIT;
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), keep[8 + LAUNCH_BROUGHT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < N_NAMESPACES; i++)
                w.join[i] = -1;
        /* The caller's other fds are other containers' pipes and sockets: holding them would keep those open. */
        keep[n++] = fd;
        keep[n++] = process_fd;
        keep[n++] = null_fd;
        if (request->rootfs_fd >= 0)
                keep[n++] = request->rootfs_fd;
        for (size_t i = 0; i < request->n_brought; i++)
                keep[n++] = request->brought[i];
        for (int i = 0; i < 3; i++) {
                w.stdio[i] = request->stdio[i] >= 0 ? request->stdio[i] : null_fd;
                if (request->stdio[i] >= 0)
                        keep[n++] = request->stdio[i];
        }
        kernel_close_others(keep, n);
        kernel_reset_signals();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) !chdir("/");

        if (work(&w, &err) < 0) {
                launch_send(fd, LAUNCH_ERROR, 0, &err, NULL, 0);
                _exit(1);
        }
        launch_send(fd, LAUNCH_READY, 0, NULL, NULL, 0);
        _exit(0);
}

int launch_start(const struct launch_request *request, struct launch *ret, struct cringle_err *err)
{
        int worker[2], process[2];
        auto_fd int mine = -1, its = -1, process_mine = -1, process_its = -1, cgroup = -1;
        pid_t pid;

        if (request->n_brought > LAUNCH_BROUGHT_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "%zu mounts were brought, at most %d are taken", request->n_brought,
                               LAUNCH_BROUGHT_MAX);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, worker) < 0)
                return err_sys(err, "make a socket pair");
        mine = worker[0];
        its = worker[1];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, process) < 0)
                return err_sys(err, "make a socket pair");
        process_mine = process[0];
        process_its = process[1];
        if (request->cgroup_unified) {
                cgroup = open(request->cgroup_unified, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (cgroup < 0)
                        return err_sys(err, "open cgroup %s", request->cgroup_unified);
        }

        pid = kernel_fork(0, cgroup);
        if (pid < 0)
                return err_sys(err, "start in cgroup %s", request->cgroup_unified ? request->cgroup_unified : "(none)");
        if (pid == 0)
                worker_main(request, its, process_its);
        if (fcntl(mine, F_SETFL, O_NONBLOCK) < 0 || fcntl(process_mine, F_SETFL, O_NONBLOCK) < 0)
                return err_sys(err, "set a socket non-blocking");

        ret->worker = pid;
        ret->worker_fd = steal_fd(&mine);
        ret->process_fd = steal_fd(&process_mine);
        return 0;
}

/* --- what needs the host's privileges, from outside --------------------------------- */

static void note(struct cringle_err *warning, const char *format, uint32_t a, uint64_t b, uint64_t c)
{
        err_set(warning, CRINGLE_E_DENIED, format, a, (unsigned long long) b, (unsigned long long) c);
}

static int set_rlimit(pid_t pid, uint32_t resource, uint64_t soft, uint64_t hard, struct cringle_err *warning,
                      struct cringle_err *err)
{
        struct rlimit want = { .rlim_cur = soft, .rlim_max = hard }, have;

        if (prlimit(pid, resource, &want, NULL) == 0)
                return 0;
        if (errno != EPERM || prlimit(pid, resource, NULL, &have) < 0)
                return err_sys(err, "set resource limit %u to %llu:%llu", resource, (unsigned long long) soft,
                               (unsigned long long) hard);
        /* Raising the hard limit takes CAP_SYS_RESOURCE. */
        want.rlim_max = have.rlim_max;
        if (want.rlim_cur > have.rlim_max)
                want.rlim_cur = have.rlim_max;
        if (prlimit(pid, resource, &want, NULL) < 0)
                return err_sys(err, "set resource limit %u", resource);
        note(warning, "resource limit %u could only be set to %llu:%llu", resource, want.rlim_cur, want.rlim_max);
        return 0;
}

static int set_oom_score(pid_t pid, int score, struct cringle_err *warning, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "/proc/%d/oom_score_adj", pid);
        auto_free char *text = str_printf(err, "%d", score);
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!path || !text)
                return -1;
        if (file_poke(path, text, &why) == 0)
                return 0;
        /* Lowering takes CAP_SYS_RESOURCE; the score stays what it is. */
        if (why.sys != EACCES && why.sys != EPERM) {
                if (err)
                        *err = why;
                return -1;
        }
        err_set(warning, CRINGLE_E_DENIED, "oom_score_adj could not be lowered to %d", score);
        return 0;
}

int launch_oom_score(struct rec_cursor plan, pid_t pid, int usual, struct cringle_err *warning, struct cringle_err *err)
{
        struct rec_cursor body;

        return set_oom_score(pid, rec_first(plan, PLAN_OOM_SCORE, &body) ? (int) rec_get_u32(&body) : usual, warning, err);
}

int launch_limit(struct rec_cursor plan, pid_t pid, int default_oom_score, struct cringle_err *warning,
                 struct cringle_err *err)
{
        struct rec_cursor at = plan, body;

        warning->code = CRINGLE_OK;
        while (rec_find(&at, PLAN_RLIMIT, &body)) {
                uint32_t resource = rec_get_u32(&body);
                uint64_t soft = rec_get_u64(&body), hard = rec_get_u64(&body);

                if (set_rlimit(pid, resource, soft, hard, warning, err) < 0)
                        return -1;
        }
        return launch_oom_score(plan, pid, default_oom_score, warning, err);
}

/* Where the kernel has put this program's arguments, and behind them its environment. */
static struct {
        char *args, *env;
        size_t n_args, n_env;
} words;

static size_t span(char *const *list, char **ret_first)
{
        char *const *last = list;

        if (!list[0])
                return 0;
        while (last[1])
                last++;
        *ret_first = list[0];
        return (size_t) (*last + strlen(*last) + 1 - list[0]);
}

static void find_words(char *const argv[], char *const envp[])
{
        words.n_args = span(argv, &words.args);
        words.n_env = span(envp, &words.env);
}

void launch_rename(const char *name)
{
        prctl(PR_SET_NAME, name);
        if (words.n_env > 0)
                memset(words.env, 0, words.n_env);
        if (words.n_args < strlen(name) + 2)
                return;
        memset(words.args, 0, words.n_args);
        memcpy(words.args, name, strlen(name));
        words.args[words.n_args - 1] = '.';     /* so that the kernel takes the first NUL for the end */
}

int launch_guard_self(char *const argv[], char *const envp[], struct cringle_err *err)
{
        auto_fd int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), copy = -1;
        int seals;

        if (prctl(PR_SET_DUMPABLE, 0) < 0)
                return err_sys(err, "make this process non-dumpable");
        if (self < 0)
                return err_sys(err, "open /proc/self/exe");
        seals = fcntl(self, F_GET_SEALS);
        if (seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_SEAL)) == (F_SEAL_WRITE | F_SEAL_SEAL)) {
                find_words(argv, envp);
                return 0;
        }
        copy = client_seal_program("/proc/self/exe", err);
        if (copy < 0)
                return -1;
        fexecve(copy, argv, envp);
        return err_sys(err, "run from a sealed copy");
}
