/*
 * Giving up rights, before the first byte from outside is read
 *
 * All that is needed later is open or loaded: what remains is to move bytes between fds, to take connections
 * and fds, and memory.  Any other system call answers EPERM.
 */

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/stream/stream.h"

static const int allowed[] = {
        SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(fstat),
        SCMP_SYS(newfstatat), SCMP_SYS(fcntl), SCMP_SYS(ioctl), SCMP_SYS(lseek), SCMP_SYS(accept), SCMP_SYS(accept4),
        SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(shutdown),
        SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
        SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(poll),
        SCMP_SYS(ppoll), SCMP_SYS(eventfd2), SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
        SCMP_SYS(futex), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(clock_gettime),
        SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static int filter(struct cringle_err *err)
{
        scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        int failed = f ? 0 : -ENOMEM;

        for (size_t i = 0; !failed && i < sizeof allowed / sizeof *allowed; i++)
                failed = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
        if (!failed)                    /* no new code */
                failed = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, 4, 0));
        if (!failed)
                failed = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, 4, 0));
        if (!failed)
                failed = seccomp_load(f);
        seccomp_release(f);
        return failed ? err_sysno(err, -failed, "load the seccomp filter") : 0;
}

int confine_stream(uint32_t uid, uint32_t gid, struct cringle_err *err)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[2] = { 0 };
        struct rlimit nothing = { 0, 0 };

        if (uid == 0 || gid == 0)
                return err_set(err, CRINGLE_E_INVALID, "streaming must not run as root");
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
                prctl(PR_CAPBSET_DROP, cap);
        if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
                return err_sys(err, "become %u:%u", uid, gid);
        if (syscall(SYS_capset, &head, none) < 0)
                return err_sys(err, "drop capabilities");
        if (setrlimit(RLIMIT_CORE, &nothing) < 0 || setrlimit(RLIMIT_FSIZE, &nothing) < 0 ||
            setrlimit(RLIMIT_NPROC, &nothing) < 0)
                return err_sys(err, "set limits");
        if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return err_sys(err, "give up rights");
        return filter(err);
}
