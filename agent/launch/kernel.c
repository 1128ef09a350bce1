/*
 * System calls and small things around them; see kernel.h.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/launch/kernel.h"
#include "agent/wire/plan.h"

pid_t kernel_fork(uint64_t flags, int cgroup_fd)
{
        struct clone_args args = {
                .flags = flags | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
                .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD,
                .cgroup = (uint64_t) (cgroup_fd >= 0 ? cgroup_fd : 0),
        };

        return (pid_t) syscall(SYS_clone3, &args, sizeof args);
}

bool kernel_is_cgroup2(int dir)
{
        struct statfs fs;

        return fstatfs(dir, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int kernel_join_cgroup1(const char *dir, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/tasks", dir);

        if (!path || file_poke(path, "0", err) < 0)
                return err_wrap(err, "join cgroup");
        return 0;
}

int kernel_pivot_root(const char *new_root, const char *put_old)
{
        return (int) syscall(SYS_pivot_root, new_root, put_old);
}

int kernel_procfs(bool only_pids, struct cringle_err *err)
{
        auto_fd int fs = fsopen("proc", FSOPEN_CLOEXEC), mnt = -1;

        if (fs < 0)
                return err_sys(err, "open a procfs of our own");
        /* Linux 5.8; without it the mount shows more than we need, to us alone. */
        if (only_pids)
                fsconfig(fs, FSCONFIG_SET_STRING, "subset", "pid", 0);
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return err_sys(err, "make a procfs of our own");
        mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (mnt < 0)
                return err_sys(err, "mount a procfs of our own");
        return steal_fd(&mnt);
}

int kernel_proc_write(int proc_fd, const char *path, const char *text, struct cringle_err *err)
{
        struct open_how how = {
                .flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        auto_fd int fd = (int) syscall(SYS_openat2, proc_fd, path, &how, sizeof how);
        size_t n = strlen(text);
        struct statfs fs;

        if (fd < 0)
                return err_sys(err, "open /proc/%s", path);
        if (fstatfs(fd, &fs) < 0)
                return err_sys(err, "look at /proc/%s", path);
        if (fs.f_type != PROC_SUPER_MAGIC)
                return err_set(err, CRINGLE_E_DENIED, "/proc/%s is not procfs", path);
        if (write(fd, text, n) != (ssize_t) n)
                return err_sys(err, "write '%s' to /proc/%s", text, path);
        return 0;
}

int kernel_dev_null(struct cringle_err *err)
{
        auto_fd int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, "open /dev/null");
        if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
                return err_set(err, CRINGLE_E_DENIED, "/dev/null is not the null device");
        return steal_fd(&fd);
}

void kernel_close_others(const int *keep, size_t n)
{
        int sorted[KERNEL_KEEP_MAX];
        unsigned from = 3;

        assert(n <= KERNEL_KEEP_MAX);
        for (size_t i = 0; i < n; i++) {
                size_t at = i;

                for (; at > 0 && sorted[at - 1] > keep[i]; at--)
                        sorted[at] = sorted[at - 1];
                sorted[at] = keep[i];
        }
        for (size_t i = 0; i < n; i++) {
                if (sorted[i] < (int) from)
                        continue;
                if ((unsigned) sorted[i] > from)
                        close_range(from, (unsigned) sorted[i] - 1, 0);
                from = (unsigned) sorted[i] + 1;
        }
        close_range(from, ~0u, 0);
}

void kernel_reset_signals(void)
{
        struct sigaction usual = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                sigaction(i, &usual, NULL);     /* refused for those that cannot be caught */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
}

const char *kernel_ns_name(uint32_t flag)
{
        switch (flag) {
        case CLONE_NEWUSER:
                return "user";
        case CLONE_NEWNS:
                return "mnt";
        case CLONE_NEWPID:
                return "pid";
        case CLONE_NEWNET:
                return "net";
        case CLONE_NEWIPC:
                return "ipc";
        case CLONE_NEWUTS:
                return "uts";
        case CLONE_NEWCGROUP:
                return "cgroup";
        case CLONE_NEWTIME:
                return "time";
        default:
                return NULL;
        }
}

static int write_id_map(struct rec_cursor maps, uint16_t tag, enum plan_id kind, pid_t pid, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        auto_free char *path = str_printf(err, "/proc/%d/%s", pid, kind == PLAN_UID ? "uid_map" : "gid_map");
        auto_fd int fd = -1;
        struct rec_cursor body;

        if (!path)
                return -1;
        while (rec_find(&maps, tag, &body)) {
                uint32_t of = rec_get_u32(&body), inside = rec_get_u32(&body), outside = rec_get_u32(&body);
                uint32_t length = rec_get_u32(&body);

                if (body.bad)
                        return err_set(err, CRINGLE_E_INVALID, "id map is damaged");
                if (of == (uint32_t) kind && buf_printf(&text, err, "%u %u %u\n", inside, outside, length) < 0)
                        return -1;
        }
        if (text.len == 0)
                return err_set(err, CRINGLE_E_INVALID, "a new user namespace has no id maps");
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, text.data, text.len) != (ssize_t) text.len)
                return err_sys(err, "write %s", path);
        return 0;
}

int kernel_write_id_maps(struct rec_cursor maps, uint16_t tag, pid_t pid, struct cringle_err *err)
{
        if (write_id_map(maps, tag, PLAN_UID, pid, err) < 0)
                return -1;
        return write_id_map(maps, tag, PLAN_GID, pid, err);
}

int kernel_sysctl(int proc_fd, const char *key, const char *value, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "sys/%s", key);

        if (!path)
                return -1;
        if (kernel_proc_write(proc_fd, path, value, err) == 0)
                return 0;
        /* The kernel's way to say that there is none of this name, or that it takes no such value. */
        if (err && (err->sys == ENOENT || err->sys == EINVAL || err->sys == ERANGE))
                err->code = CRINGLE_E_INVALID;
        return -1;
}
