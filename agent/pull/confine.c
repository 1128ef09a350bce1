/*
 * Giving up rights; see confine.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/own.h"
#include "agent/pull/confine.h"

#define MEMORY_MAX (512 << 20)          /* data, stacks and buffers of one half */
#define FETCH_FILE_MAX (32 << 20)       /* an answer in a memfd */

/* Of landlock ABI 3; a kernel that knows fewer gets fewer. */
#define LANDLOCK_ALL_V1 ((UINT64_C(1) << 13) - 1)
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (UINT64_C(1) << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#endif

static int limit(int what, rlim_t value, const char *name, struct cringle_err *err)
{
        struct rlimit now, wanted = { value, value };

        /* Never up: that may take a right we do not have. */
        if (getrlimit(what, &now) < 0)
                return err_sys(err, "read the limit of %s", name);
        if (wanted.rlim_max > now.rlim_max)
                wanted = (struct rlimit) { now.rlim_max, now.rlim_max };
        if (setrlimit(what, &wanted) < 0)
                return err_sys(err, "limit %s", name);
        return 0;
}

static int limits(rlim_t file, struct cringle_err *err)
{
        if (limit(RLIMIT_CORE, 0, "core files", err) < 0 || limit(RLIMIT_NOFILE, 256, "open files", err) < 0 ||
            limit(RLIMIT_FSIZE, file, "file size", err) < 0)
                return -1;
#ifndef __SANITIZE_ADDRESS__            /* whose shadow memory is terabytes */
        if (limit(RLIMIT_DATA, MEMORY_MAX, "memory", err) < 0)
                return -1;
#endif
        /* No core, no ptrace by another process of the same user. */
        if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return err_sys(err, "give up rights");
        return 0;
}

/* --- capabilities ------------------------------------------------------ */

/* While there is CAP_SETPCAP, so before the uid changes.  Refused without it, where no_new_privs serves as well. */
static void limit_capabilities(uint64_t keep)
{
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
                if (!(keep >> cap & 1))
                        prctl(PR_CAPBSET_DROP, cap);
}

static int keep_capabilities(uint64_t keep, struct cringle_err *err)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct now[2], caps[2];

        if (syscall(SYS_capget, &head, now) < 0)
                return err_sys(err, "read capabilities");
        for (int i = 0; i < 2; i++) {
                uint32_t mask = (uint32_t) (keep >> (32 * i)) & now[i].permitted;

                caps[i] = (struct __user_cap_data_struct) { .effective = mask, .permitted = mask };
        }
        if (syscall(SYS_capset, &head, caps) < 0)
                return err_sys(err, "drop capabilities");
        return 0;
}

/* --- landlock ---------------------------------------------------------- */

static int landlock_allow(int ruleset, int fd, uint64_t access, struct cringle_err *err)
{
        struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                return err_sys(err, "landlock: add a rule");
        return 0;
}

static uint64_t landlock_rights(void)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        if (abi < 1)
                return 0;
        return LANDLOCK_ALL_V1 | (abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) |
               (abi >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
}

static int landlock_begin(uint64_t rights, struct cringle_err *err)
{
        struct landlock_ruleset_attr attr = { .handled_access_fs = rights };
        int fd = (int) syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);

        return fd < 0 ? err_sys(err, "landlock: make a ruleset") : fd;
}

static int landlock_end(int ruleset, struct cringle_err *err)
{
        if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
                return err_sys(err, "landlock: restrict");
        return 0;
}

static int landlock_fetch(struct cringle_err *err)
{
        static const char *const readable[] = {
                "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf",
                "/etc/services", "/etc/protocols", "/etc/localtime", "/etc/ld.so.cache", "/etc/ssl", "/etc/pki",
                "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
                "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/dev/urandom",
        };
        uint64_t rights = landlock_rights();
        auto_fd int ruleset = -1;

        if (rights == 0)
                return 0;               /* the unprivileged user and seccomp have to do */
        ruleset = landlock_begin(rights, err);
        if (ruleset < 0)
                return -1;
        for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
                auto_fd int fd = open(readable[i], O_PATH | O_CLOEXEC);
                struct stat st;

                if (fd < 0 || fstat(fd, &st) < 0)
                        continue;       /* not every system has every file */
                if (landlock_allow(ruleset, fd,
                                   LANDLOCK_ACCESS_FS_READ_FILE |
                                           (S_ISDIR(st.st_mode) ? LANDLOCK_ACCESS_FS_READ_DIR : 0),
                                   err) < 0)
                        return -1;
        }
        return landlock_end(ruleset, err);
}

static int landlock_unpack(int root, struct cringle_err *err)
{
        uint64_t rights = landlock_rights();
        auto_fd int ruleset = -1;

        if (rights == 0)
                return 0;               /* there is nothing else in this mount namespace anyway */
        ruleset = landlock_begin(rights, err);
        if (ruleset < 0)
                return -1;
        if (landlock_allow(ruleset, root,
                           rights & ~(uint64_t) (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                                 LANDLOCK_ACCESS_FS_MAKE_BLOCK),
                           err) < 0)
                return -1;
        return landlock_end(ruleset, err);
}

/* --- system calls ------------------------------------------------------ */

/*
 * What no fetch half ever does: become another program, touch mounts, namespaces, other processes, the
 * kernel.  A list of what it may do would have to follow every version of the TLS and resolver libraries.
 */
static const int fetch_never[] = {
        SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
        SCMP_SYS(open_tree), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(fsmount), SCMP_SYS(fsconfig),
        SCMP_SYS(fspick), SCMP_SYS(mount_setattr), SCMP_SYS(setns), SCMP_SYS(unshare), SCMP_SYS(fork),
        SCMP_SYS(vfork), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(keyctl), SCMP_SYS(add_key),
        SCMP_SYS(request_key), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
        SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup),
        SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(reboot), SCMP_SYS(swapon),
        SCMP_SYS(swapoff), SCMP_SYS(acct), SCMP_SYS(quotactl), SCMP_SYS(mknod), SCMP_SYS(mknodat),
        SCMP_SYS(pidfd_getfd), SCMP_SYS(open_by_handle_at), SCMP_SYS(setuid), SCMP_SYS(setresuid),
        SCMP_SYS(setreuid), SCMP_SYS(setgid), SCMP_SYS(setresgid), SCMP_SYS(setregid), SCMP_SYS(setgroups),
        SCMP_SYS(personality), SCMP_SYS(modify_ldt), SCMP_SYS(kcmp), SCMP_SYS(sethostname),
        SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(adjtimex), SCMP_SYS(bind), SCMP_SYS(listen),
};

/* All an unpack half does. */
static const int unpack_only[] = {
        SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(pwrite64), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
        SCMP_SYS(lseek), SCMP_SYS(ftruncate), SCMP_SYS(getdents64), SCMP_SYS(fcntl), SCMP_SYS(openat),
        SCMP_SYS(openat2), SCMP_SYS(readlinkat), SCMP_SYS(mkdirat), SCMP_SYS(mknodat), SCMP_SYS(symlinkat),
        SCMP_SYS(linkat), SCMP_SYS(unlinkat), SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(fchmod),
        SCMP_SYS(utimensat), SCMP_SYS(fsetxattr), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(brk),
        SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mprotect), SCMP_SYS(futex),
        SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(clock_gettime), SCMP_SYS(getrandom),
        SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static int load(scmp_filter_ctx filter, int failed, struct cringle_err *err)
{
        if (!failed)
                failed = seccomp_load(filter);
        seccomp_release(filter);
        return failed ? err_sysno(err, -failed, "load the seccomp filter") : 0;
}

static int seccomp_fetch(struct cringle_err *err)
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int failed = 0;

        if (!filter)
                return err_oom(err);
        for (size_t i = 0; !failed && i < sizeof fetch_never / sizeof *fetch_never; i++)
                failed = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, fetch_never[i], 0);
        /* Threads yes, namespaces no.  clone3's flags can not be seen; libc falls back to clone. */
        if (!failed)
                failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        if (!failed)
                failed = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                                          SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
        if (!failed)
                failed = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(mmap), 1,
                                          SCMP_A2(SCMP_CMP_MASKED_EQ, 6, 6)); /* writable and executable */
        return load(filter, failed, err);
}

static int seccomp_unpack(struct cringle_err *err)
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int failed = 0;

        if (!filter)
                return err_oom(err);
        for (size_t i = 0; !failed && i < sizeof unpack_only / sizeof *unpack_only; i++)
                if (unpack_only[i] != SCMP_SYS(mmap) && unpack_only[i] != SCMP_SYS(mprotect))
                        failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, unpack_only[i], 0);
        /* No new code: nothing becomes executable, so nothing can be loaded from the layer either. */
        if (!failed)
                failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                          SCMP_A2(SCMP_CMP_MASKED_EQ, 4, 0));
        if (!failed)
                failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                          SCMP_A2(SCMP_CMP_MASKED_EQ, 4, 0));
        return load(filter, failed, err);
}

/* --- the two halves ---------------------------------------------------- */

int confine_fetch(uid_t uid, gid_t gid, struct cringle_err *err)
{
        if (uid == 0 || gid == 0)
                return err_set(err, CRINGLE_E_INVALID, "the fetch half must not run as root");
        limit_capabilities(0);
        if (geteuid() == 0 && setgroups(0, NULL) < 0)
                return err_sys(err, "drop groups");
        if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
                return err_sys(err, "become %u:%u", uid, gid);
        if (keep_capabilities(0, err) < 0 || limits(FETCH_FILE_MAX, err) < 0)
                return -1;
        if (landlock_fetch(err) < 0)
                return -1;
        return seccomp_fetch(err);
}

/* The directory as "/" of a mount namespace of its own. */
static int enter_layer(int layer_fd, struct cringle_err *err)
{
        /* Private: where systemd shares all mounts the copy would be shared, too, and such a root is refused. */
        struct mount_attr attr = {
                .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                .propagation = MS_PRIVATE,
        };
        auto_fd int tree = (int) syscall(SYS_open_tree, layer_fd, "",
                                         OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

        if (tree < 0)
                return err_sys(err, "take the layer's directory");
        if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
                return err_sys(err, "restrict the layer's mount");
        if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
                return err_sys(err, "leave the host's namespaces");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return err_sys(err, "make mounts private");

        /* Over the old root, then under it, then alone. */
        if (syscall(SYS_move_mount, tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return err_sys(err, "mount the layer");
        if (fchdir(tree) < 0)
                return err_sys(err, "enter the layer");
        if (syscall(SYS_pivot_root, ".", ".") < 0)
                return err_sys(err, "make the layer the root");
        if (umount2(".", MNT_DETACH) < 0)
                return err_sys(err, "leave the host's root");
        return chdir("/") < 0 ? err_sys(err, "enter the root") : 0;
}

int confine_unpack(int layer_fd, uint64_t max_file, int *ret_root, struct cringle_err *err)
{
        const uint64_t keep = UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_DAC_OVERRIDE | UINT64_C(1) << CAP_FOWNER |
                              UINT64_C(1) << CAP_FSETID | UINT64_C(1) << CAP_SETFCAP;
        auto_fd int root = -1;

        umask(0);
        if (enter_layer(layer_fd, err) < 0)
                return -1;
        root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return err_sys(err, "open the layer");
        limit_capabilities(keep);
        if (keep_capabilities(keep, err) < 0 || limits(max_file < INT64_MAX ? max_file : RLIM_INFINITY, err) < 0)
                return -1;
        if (landlock_unpack(root, err) < 0 || seccomp_unpack(err) < 0)
                return -1;

        *ret_root = steal_fd(&root);
        return 0;
}
