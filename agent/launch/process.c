/*
 * The process that becomes the program; see process.h and the table in launch.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/base/guard.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"
#include "agent/launch/hook.h"
#include "agent/launch/kernel.h"
#include "agent/launch/process.h"

#define CAP_BIT(c) (UINT64_C(1) << (c))
#define IOPRIO_WHO_PROCESS 1

struct caps {
        uint64_t bounding, permitted, effective, inheritable, ambient;
};

struct identity {
        uint32_t uid, gid, mask;
        size_t n_groups;
        gid_t *groups;
        struct caps caps;
};

static int set_caps(uint64_t permitted, uint64_t effective, uint64_t inheritable, struct cringle_err *err)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        for (int i = 0; i < 2; i++)
                data[i] = (struct __user_cap_data_struct) {
                        .effective = (uint32_t) (effective >> (32 * i)),
                        .permitted = (uint32_t) (permitted >> (32 * i)),
                        .inheritable = (uint32_t) (inheritable >> (32 * i)),
                };
        if (syscall(SYS_capset, &head, data) < 0)
                return err_sys(err, "set capabilities");
        return 0;
}

static int own_caps(uint64_t *ret, struct cringle_err *err)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };

        if (syscall(SYS_capget, &head, data) < 0)
                return err_sys(err, "read capabilities");
        *ret = data[0].permitted | (uint64_t) data[1].permitted << 32;
        return 0;
}

static int read_identity(struct rec_cursor plan, struct identity *ret, struct cringle_err *err)
{
        struct rec_cursor body;

        if (!rec_first(plan, PLAN_USER, &body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has no user");
        ret->uid = rec_get_u32(&body);
        ret->gid = rec_get_u32(&body);
        ret->mask = rec_get_u32(&body);
        ret->n_groups = rec_get_u32(&body);
        if (body.bad || ret->n_groups > body.left / 4)
                return err_set(err, CRINGLE_E_INVALID, "the plan's user is damaged");
        ret->groups = calloc(ret->n_groups + 1, sizeof *ret->groups);
        if (!ret->groups)
                return err_oom(err);
        for (size_t i = 0; i < ret->n_groups; i++)
                ret->groups[i] = rec_get_u32(&body);
        if (!rec_first(plan, PLAN_CAPS, &body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has no capabilities");
        ret->caps.bounding = rec_get_u64(&body);
        ret->caps.permitted = rec_get_u64(&body);
        ret->caps.effective = rec_get_u64(&body);
        ret->caps.inheritable = rec_get_u64(&body);
        ret->caps.ambient = rec_get_u64(&body);
        return body.bad ? err_set(err, CRINGLE_E_INVALID, "the plan's capabilities are damaged") : 0;
}

/* An error or end of the socket: nobody wants us any more. */
static void wait_for_word(int fd, int *ret_tty)
{
        size_t n_fds = 1, n = 0;
        char word;

        *ret_tty = -1;
        if (sock_recv(fd, &word, sizeof word, &n, ret_tty, &n_fds, NULL) < 0 || n != 1)
                _exit(0);
        if (n_fds == 0)
                *ret_tty = -1;
}

static int take_terminal(int tty, uint32_t uid, struct cringle_err *err)
{
        if (fchown(tty, uid, (gid_t) -1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS)
                return err_sys(err, "hand the terminal to its user");
        if (ioctl(tty, TIOCSCTTY, 0) < 0)
                return err_sys(err, "take the terminal");
        for (int i = 0; i < 3; i++)
                if (dup2(tty, i) < 0)
                        return err_sys(err, "take the terminal");
        return 0;
}

/*
 * What stood for no stream so far is the node's /dev/null: the container's own does as well, and is of its own mounts,
 * which a checkpoint wants.  Where it has none that is the null device, the node's stays.
 */
static void take_dev_null(const int stdio[3])
{
        auto_fd int fd = open("/dev/null", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3) || fcntl(fd, F_SETFL, 0) < 0)
                return;
        for (int i = 0; i < 3; i++)
                if (stdio[i] < 0)
                        dup2(fd, i);
}

/* getcwd() begins with "(unreachable)" for a directory that is not below our root. */
static int verify_cwd(const char *wanted, struct cringle_err *err)
{
        char where[4096];

        if (syscall(SYS_getcwd, where, sizeof where) < 0)
                return errno == ERANGE ? 0 : err_sys(err, "find the working directory %s", wanted);
        if (where[0] != '/')
                return err_set(err, CRINGLE_E_DENIED, "working directory %s is outside the container", wanted);
        return 0;
}

/* As root first, since users need not be able to search the way to it; over NFS only the user may be. */
static int enter_cwd(struct rec_cursor plan, bool last_try, bool *done, struct cringle_err *err)
{
        struct rec_cursor body;
        const char *cwd = rec_first(plan, PLAN_CWD, &body) ? rec_get_str(&body) : "/";

        if (*done)
                return 0;
        if (chdir(cwd) < 0) {
                if (!last_try && (errno == EACCES || errno == EPERM))
                        return 0;
                return err_sys(err, "enter the working directory %s", cwd);
        }
        *done = true;
        return verify_cwd(cwd, err);
}

/* Through a procfs of our own: whatever the image has at /proc gets no say. */
static int set_label(struct rec_cursor plan, struct cringle_err *err)
{
        struct rec_cursor body;
        auto_fd int proc = -1;
        char text[4096];

        if (rec_first(plan, PLAN_APPARMOR, &body)) {
                proc = kernel_procfs(true, err);
                if (proc < 0)
                        return -1;
                snprintf(text, sizeof text, "exec %s", rec_get_str(&body));
                if (kernel_proc_write(proc, "thread-self/attr/apparmor/exec", text, err) < 0 &&
                    kernel_proc_write(proc, "thread-self/attr/exec", text, err) < 0)
                        return err_wrap(err, "set the AppArmor profile");
        }
        if (rec_first(plan, PLAN_SELINUX, &body)) {
                if (proc < 0)
                        proc = kernel_procfs(true, err);
                if (proc < 0 || kernel_proc_write(proc, "thread-self/attr/exec", rec_get_str(&body), err) < 0)
                        return err_wrap(err, "set the SELinux label");
        }
        return 0;
}

static int drop_bounding(uint64_t keep, struct cringle_err *err)
{
        for (int cap = 0; cap < 64; cap++) {
                int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

                if (has < 0)
                        break;          /* the kernel knows no more */
                if (has && !(keep & CAP_BIT(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return err_sys(err, "drop capability %d from the bounding set", cap);
        }
        return 0;
}

static int set_ids(const struct identity *id, struct cringle_err *err)
{
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
                return err_sys(err, "keep capabilities over the change of user");
        if (setgroups(id->n_groups, id->groups) < 0)
                return err_sys(err, "set %zu supplementary groups", id->n_groups);
        if (setresgid(id->gid, id->gid, id->gid) < 0)
                return err_sys(err, "become group %u", id->gid);
        if (setresuid(id->uid, id->uid, id->uid) < 0)
                return err_sys(err, "become user %u", id->uid);
        umask(id->mask == PLAN_NO_UMASK ? 022 : id->mask);
        return 0;
}

static int set_ambient(uint64_t ambient, struct cringle_err *err)
{
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return err_sys(err, "clear ambient capabilities");
        for (int cap = 0; cap < 64; cap++)
                if (ambient & CAP_BIT(cap) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
                        return err_sys(err, "raise ambient capability %d", cap);
        return 0;
}

static int set_seccomp(struct rec_cursor plan, struct cringle_err *err)
{
        struct rec_cursor body;
        struct sock_fprog program;
        const void *bytes;
        auto_free void *aligned = NULL;
        uint32_t flags;
        size_t n;

        if (!rec_first(plan, PLAN_SECCOMP, &body))
                return 0;
        flags = rec_get_u32(&body);
        bytes = rec_get_bytes(&body, &n);
        if (body.bad || n == 0 || n % sizeof(struct sock_filter) != 0 || n / sizeof(struct sock_filter) > BPF_MAXINSNS)
                return err_set(err, CRINGLE_E_INVALID, "the plan's seccomp filter has %zu bytes", n);
        aligned = malloc(n);
        if (!aligned)
                return err_oom(err);
        memcpy(aligned, bytes, n);
        program = (struct sock_fprog) { .len = (unsigned short) (n / sizeof(struct sock_filter)), .filter = aligned };
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0)
                return err_sys(err, "install the seccomp filter");
        return 0;
}

/*
 * Without no_new_privs a filter needs CAP_SYS_ADMIN, so that is kept until the
 * filter is in; with it the filter goes in last, so that it need not allow
 * anything but the exec.
 */
static int confine(struct rec_cursor plan, const struct identity *id, int fd, bool *in_cwd, struct cringle_err *err)
{
        const struct caps *want = &id->caps;
        struct rec_cursor body;
        bool sealed = rec_first(plan, PLAN_NO_NEW_PRIVS, &body);
        uint64_t have, permitted;

        if (own_caps(&have, err) < 0)
                return -1;
        permitted = want->permitted & have;
        if (permitted != want->permitted) {
                struct cringle_err warning = CRINGLE_ERR_INIT;

                err_set(&warning, CRINGLE_E_DENIED, "capabilities %#llx cannot be given, this machine does not have them",
                        (unsigned long long) (want->permitted & ~have));
                launch_send(fd, LAUNCH_WARNING, 0, &warning, NULL, 0);
        }
        if (drop_bounding(want->bounding, err) < 0 || set_ids(id, err) < 0)
                return -1;
        if (!sealed) {
                uint64_t meanwhile = permitted | (have & CAP_BIT(CAP_SYS_ADMIN));

                if (set_caps(meanwhile, meanwhile, 0, err) < 0 || enter_cwd(plan, true, in_cwd, err) < 0 ||
                    set_seccomp(plan, err) < 0)
                        return -1;
        }
        if (set_caps(permitted, want->effective & permitted, want->inheritable & have, err) < 0 ||
            set_ambient(want->ambient & permitted, err) < 0)
                return -1;
        if (!sealed)
                return 0;
        if (enter_cwd(plan, true, in_cwd, err) < 0)
                return -1;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return err_sys(err, "set no_new_privs");
        return set_seccomp(plan, err);
}

static const char *path_of(const char *const *env)
{
        for (size_t i = 0; env[i]; i++)
                if (strncmp(env[i], "PATH=", 5) == 0)
                        return env[i] + 5;
        return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Only returns on failure. */
static int run(const char **argv, const char **env, struct cringle_err *err)
{
        const char *path = path_of(env);
        int sys = ENOENT;

        if (strchr(argv[0], '/')) {
                execve(argv[0], (char *const *) argv, (char *const *) env);
                return err_sys(err, "exec %s", argv[0]);
        }
        for (const char *p = path;; p++) {
                size_t n = strcspn(p, ":");
                char file[4096];
                int len = snprintf(file, sizeof file, "%.*s%s%s", (int) n, p, n ? "/" : "", argv[0]);

                if (len > 0 && (size_t) len < sizeof file) {
                        execve(file, (char *const *) argv, (char *const *) env);
                        if (errno != ENOENT && errno != ENOTDIR)
                                sys = errno;
                        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
                                break;
                }
                p += n;
                if (!*p)
                        break;
        }
        return err_sysno(err, sys, "exec %s (searched in PATH)", argv[0]);
}

/* sched_setattr(2), which libc has no word for. */
static int set_scheduler(const struct launch_request *request, struct cringle_err *err)
{
        struct {
                uint32_t size, policy;
                uint64_t flags;
                int32_t nice;
                uint32_t priority;
                uint64_t runtime, deadline, period;
        } attr = { .size = sizeof attr };
        struct rec_cursor body;

        if (!rec_first(request->plan, PLAN_SCHEDULER, &body))
                return 0;
        attr.policy = rec_get_u32(&body);
        attr.flags = rec_get_u64(&body);
        attr.nice = (int32_t) rec_get_u32(&body);
        attr.priority = rec_get_u32(&body);
        attr.runtime = rec_get_u64(&body);
        attr.deadline = rec_get_u64(&body);
        attr.period = rec_get_u64(&body);
        if (body.bad)
                return err_set(err, CRINGLE_E_INVALID, "the plan's scheduler is damaged");
        return syscall(SYS_sched_setattr, 0, &attr, 0) < 0 ? err_sys(err, "set the scheduler") : 0;
}

static int set_memory_policy(const struct launch_request *request, struct cringle_err *err)
{
        struct rec_cursor body;
        uint64_t nodes[16] = { 0 };
        uint32_t mode, n;

        if (!rec_first(request->plan, PLAN_MEMORY_POLICY, &body))
                return 0;
        mode = rec_get_u32(&body);
        n = rec_get_u32(&body);
        if (n > sizeof nodes / sizeof nodes[0])
                return err_set(err, CRINGLE_E_INVALID, "the plan's memory policy is damaged");
        for (uint32_t i = 0; i < n; i++)
                nodes[i] = rec_get_u64(&body);
        if (body.bad)
                return err_set(err, CRINGLE_E_INVALID, "the plan's memory policy is damaged");
        /* The kernel takes one bit less than it is told. */
        if (syscall(SYS_set_mempolicy, mode, n ? nodes : NULL, n ? n * 64 + 1 : 0) < 0)
                return err_sys(err, "set the memory policy");
        return 0;
}

static int prepare(const struct launch_request *request, const struct identity *id, int tty, int fd, bool *in_cwd,
                   struct cringle_err *err)
{
        struct rec_cursor body;

        if (rec_first(request->plan, PLAN_PERSONALITY, &body) && personality(rec_get_u32(&body)) < 0)
                return err_sys(err, "set the personality");
        if (rec_first(request->plan, PLAN_IO_PRIORITY, &body) &&
            syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, rec_get_u32(&body)) < 0)
                return err_sys(err, "set the I/O priority");
        if (set_scheduler(request, err) < 0 || set_memory_policy(request, err) < 0)
                return -1;
        if (tty >= 0 && take_terminal(tty, id->uid, err) < 0)
                return -1;
        if (tty < 0)
                take_dev_null(request->stdio);
        if (!request->join &&
            hook_run_all(request->plan, PLAN_START_CONTAINER, "created", getpid(), fd, err) < 0)
                return -1;
        /* A keyring of its own, lest it find the agent's; ENOSYS, EDQUOT: then there is none to be found either. */
        if (!request->join)
                syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
        if (enter_cwd(request->plan, false, in_cwd, err) < 0)
                return -1;
        return set_label(request->plan, err);
}

/* Before the confinement: a filter need not allow it, and might kill for it. */
static int tell_exec(int fd, struct cringle_err *err)
{
        return launch_send(fd, LAUNCH_EXEC, 0, NULL, NULL, 0) < 0 ? err_sys(err, "tell the monitor") : 0;
}

static int become(const struct launch_request *request, int fd, int tty, struct cringle_err *err)
{
        struct identity id = { 0 };
        struct rec_cursor argv_body, env_body;
        const char **argv, **env;
        bool in_cwd = false;

        if (!rec_first(request->plan, PLAN_ARGV, &argv_body) || !rec_first(request->plan, PLAN_ENV, &env_body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has nothing to run");
        argv = rec_get_strv(&argv_body);
        env = rec_get_strv(&env_body);
        if (!argv || !env || !argv[0])
                return err_set(err, CRINGLE_E_INVALID, "the plan's command is damaged");
        if (read_identity(request->plan, &id, err) < 0 || prepare(request, &id, tty, fd, &in_cwd, err) < 0 ||
            tell_exec(fd, err) < 0 || confine(request->plan, &id, fd, &in_cwd, err) < 0)
                return -1;
        /* After the change of user, which clears it. */
        if (GUARD(die_with_monitor) && request->die_with_parent && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return err_sys(err, "tie the process to its monitor");
        if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
                return err_sys(err, "close what is not the program's");
        return run(argv, env, err);
}

void process_main(const struct launch_request *request, int fd, const int stdio[3])
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int high[3], tty;

        launch_rename("cringle-start");
        /* Out of the way first, so that no dup2() closes what a later one needs. */
        for (int i = 0; i < 3; i++)
                high[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, 10);
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 10);
        for (int i = 0; i < 3; i++)
                dup2(high[i], i);
        kernel_close_others(&fd, 1);
        setsid();
        if (launch_send(fd, LAUNCH_BORN, getpid(), NULL, NULL, 0) < 0)
                _exit(1);

        wait_for_word(fd, &tty);
        become(request, fd, tty, &err);
        launch_send(fd, LAUNCH_ERROR, 0, &err, NULL, 0);
        _exit(127);
}

void process_restore_main(const struct process_restore *restore, int fd)
{
        const size_t n = sizeof restore->fds / sizeof *restore->fds;
        struct cringle_err err = CRINGLE_ERR_INIT;
        int high[sizeof restore->fds / sizeof *restore->fds + 1], null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), tty;

        launch_rename("cringle-start");
        /* As above; and it may write what it likes: nothing of that is the container's. */
        for (size_t i = 0; i < n; i++)
                high[i] = restore->fds[i] < 0 ? -1 : fcntl(restore->fds[i], F_DUPFD_CLOEXEC, PLAN_FD_PID + 1);
        high[n] = fd = fcntl(fd, F_DUPFD_CLOEXEC, PLAN_FD_PID + 1);
        for (int i = 0; i < 3; i++)
                dup2(null_fd, i);
        kernel_close_others(high, n + 1);
        setsid();

        wait_for_word(fd, &tty);
        for (size_t i = 0; i < n; i++)
                if (high[i] >= 0)
                        dup2(high[i], PLAN_FD_STDIO + (int) i);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                err_sys(&err, "tie the program to its monitor");
        /* What it makes inherits this; not every version of CRIU restores it itself (3.17 does not). */
        else if (restore->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                err_sys(&err, "set no_new_privs");
        else if (tell_exec(fd, &err) == 0) {
                execve(restore->program, (char *const *) restore->argv, (char *const *) restore->env);
                err_sys(&err, "exec %s", restore->program);
        }
        launch_send(fd, LAUNCH_ERROR, 0, &err, NULL, 0);
        _exit(127);
}
