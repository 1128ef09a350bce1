/*
 * The pod: its namespaces, their pins, and the init of a shared PID namespace
 *
 * A child is born into all the namespaces at once, sets them up from inside and
 * ends; what keeps them alive are the pins.  With a shared PID namespace the child
 * stays as its init, having shut itself away: an empty root, no capabilities.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/ns.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/launch/kernel.h"
#include "agent/monitor/monitor.h"

static const uint32_t kinds[] = { CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWPID };

#define N_KINDS (sizeof kinds / sizeof kinds[0])

/* What the child says: empty text means all is well. */
struct word {
        struct cringle_err err;
};

static int loopback_up(struct cringle_err *err)
{
        struct ifreq request = { .ifr_name = "lo" };
        auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
                return err_sys(err, "bring loopback up");
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
                return err_sys(err, "bring loopback up");
        return 0;
}

static int set_up(struct rec_cursor fields, uint32_t namespaces, int proc, struct cringle_err *err)
{
        struct rec_cursor body;

        if (namespaces & CLONE_NEWUSER &&
            (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
                return err_sys(err, "become root of the user namespace");
        if (namespaces & CLONE_NEWNET && loopback_up(err) < 0)
                return -1;
        if (namespaces & CLONE_NEWUTS && rec_first(fields, WIRE_HOSTNAME, &body)) {
                const char *name = rec_get_str(&body);

                if (sethostname(name, strlen(name)) < 0)
                        return err_sys(err, "set the host name %s", name);
        }
        while (rec_find(&fields, WIRE_SYSCTL, &body)) {
                const char *key = rec_get_str(&body), *value = rec_get_str(&body);

                if (kernel_sysctl(proc, key, value, err) < 0)
                        return err_wrap(err, "set sysctl");
        }
        return 0;
}

/*
 * Nothing of the host is left behind /proc/1/root of the pod's containers.  The new root is mounted on the old one,
 * since that is the one place to which we can walk also in a user namespace.
 */
static int shut_away(const char *label, struct cringle_err *err)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[2] = { 0 };
        auto_fd int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), root = -1;

        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return err_sys(err, "part the init's mounts");
        if (fs < 0 || (label && fsconfig(fs, FSCONFIG_SET_STRING, "context", label, 0) < 0) ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return err_sys(err, "make the init's root");
        root = fsmount(fs, FSMOUNT_CLOEXEC,
                       MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (root < 0 || move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return err_sys(err, "mount the init's root");
        if (fchdir(root) < 0 || kernel_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                return err_sys(err, "enter the init's root");
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, none) < 0)
                return err_sys(err, "drop the init's capabilities");
        return 0;
}

/* PID 1 of the pod: reaps, and ends by SIGKILL alone, as the kernel gives the first process of a namespace. */
__attribute__((noreturn))
static void init_main(const char *label, int proc)
{
        sigset_t set;
        int signal;

        launch_rename("cringle-init");
        /*
         * For its containers to see it, it is one of them.  Only now: labelled so it may not speak to its monitor any
         * more.  Where the policy forbids the change it stays what the monitor is, and runs nobody's code as that.
         */
        if (label)
                kernel_proc_write(proc, "thread-self/attr/current", label, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        kernel_close_others(NULL, 0);
        kernel_reset_signals();
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_SETMASK, &set, NULL);
        for (;;) {
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
                sigwait(&set, &signal);
        }
}

__attribute__((noreturn))
static void maker_main(struct rec_cursor fields, uint32_t namespaces, int proc, int fd)
{
        struct word word = { .err = CRINGLE_ERR_INIT };
        const char *label = NULL, *files = NULL;
        struct rec_cursor body;
        int result = 0;
        char go;

        if (rec_first(fields, WIRE_SELINUX, &body)) {
                label = rec_get_str(&body);
                files = rec_get_str(&body);
        }

        /* The id maps come first: until they are written we are nobody. */
        if (recv(fd, &go, 1, 0) != 1)
                _exit(1);
        setsid();
        result = set_up(fields, namespaces, proc, &word.err);
        if (result == 0 && namespaces & CLONE_NEWPID)
                result = shut_away(files, &word.err);
        if (result == 0)
                word.err.text[0] = '\0';
        if (send(fd, &word, sizeof word, MSG_NOSIGNAL) != (ssize_t) sizeof word || result < 0)
                _exit(1);
        if (namespaces & CLONE_NEWPID)
                init_main(label, proc);
        /* Until we are pinned. */
        (void) !recv(fd, &go, 1, 0);
        _exit(0);
}

static char *pin_path(uint32_t kind, struct cringle_err *err)
{
        return str_printf(err, "%s/" WIRE_NS_DIR "/%s", monitor.run_dir, kernel_ns_name(kind));
}

static int pin(pid_t pid, uint32_t kind, struct cringle_err *err)
{
        auto_free char *from = str_printf(err, "/proc/%d/ns/%s", pid, kernel_ns_name(kind));
        auto_free char *to = pin_path(kind, err);
        auto_fd int fd = -1;

        if (!from || !to)
                return -1;
        fd = open(from, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "open %s", from);
        return ns_pin(fd, to, err);
}

void pod_unpin(void)
{
        for (size_t i = 0; i < N_KINDS; i++) {
                auto_free char *path = pin_path(kinds[i], NULL);

                if (path)
                        ns_unpin(path, NULL);
        }
}

/* From the child's birth to its pins. */
static int bring_up(struct rec_cursor fields, pid_t pid, int fd, struct cringle_err *err)
{
        struct word word;
        ssize_t n;

        if (monitor.namespaces & CLONE_NEWUSER && kernel_write_id_maps(fields, WIRE_ID_MAP, pid, err) < 0)
                return -1;
        if (send(fd, "g", 1, MSG_NOSIGNAL) != 1)
                return err_sys(err, "tell the namespaces' maker");
        do
                n = recv(fd, &word, sizeof word, 0);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t) sizeof word)
                return err_set(err, CRINGLE_E_INTERNAL, "the maker of the namespaces died");
        word.err.text[sizeof word.err.text - 1] = '\0';
        if (word.err.text[0]) {
                *err = word.err;
                return -1;
        }
        for (size_t i = 0; i < N_KINDS; i++)
                if (monitor.namespaces & kinds[i] && pin(pid, kinds[i], err) < 0)
                        return -1;
        return 0;
}

static int make_namespaces(struct rec_cursor fields, struct cringle_err *err)
{
        auto_free char *dir = str_printf(err, "%s/" WIRE_NS_DIR, monitor.run_dir);
        uint64_t flags = monitor.namespaces;
        auto_fd int proc = -1, mine = -1, its = -1;
        int pair[2], status;
        pid_t pid;

        if (!dir)
                return -1;
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return err_sys(err, "make %s", dir);
        proc = kernel_procfs(false, err);
        if (proc < 0)
                return -1;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, "make a socket pair");
        mine = pair[0];
        its = pair[1];
        if (flags & CLONE_NEWPID)
                flags |= CLONE_NEWNS;
        pid = kernel_fork(flags, -1);
        if (pid < 0)
                return err_sys(err, "make the pod's namespaces");
        if (pid == 0) {
                close(mine);
                maker_main(fields, monitor.namespaces, proc, its);
        }
        its = fd_close(its);

        if (bring_up(fields, pid, mine, err) < 0) {
                kill(pid, SIGKILL);
                while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                        ;
                pod_unpin();
                return -1;
        }
        if (monitor.namespaces & CLONE_NEWPID)
                monitor.init = pid;
        return 0;       /* without a PID namespace the child ends as its socket closes, and is reaped as it comes */
}

int pod_open(struct rec_cursor fields, struct cringle_err *err)
{
        struct rec_cursor body;
        auto_free char *id = NULL;
        uint32_t namespaces;

        if (!rec_first(fields, WIRE_POD, &body))
                return err_set(err, CRINGLE_E_INVALID, "the request names no pod");
        id = strdup(rec_get_str(&body));
        if (!id)
                return err_oom(err);
        if (monitor.pod) {
                if (strcmp(monitor.pod, id) != 0)
                        return err_set(err, CRINGLE_E_PRECONDITION, "this is the monitor of pod %s", monitor.pod);
                return 0;
        }
        namespaces = rec_first(fields, WIRE_NAMESPACES, &body) ? rec_get_u32(&body) : 0;
        if (body.bad)
                return err_set(err, CRINGLE_E_INVALID, "the request is damaged");
        monitor.namespaces = namespaces;
        if (namespaces && make_namespaces(fields, err) < 0)
                return -1;
        monitor.pod = steal(&id);
        return 0;
}
