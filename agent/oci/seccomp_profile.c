/*
 * What a container may ask of the kernel when nobody says otherwise
 *
 * The list allows what containerd's and Docker's defaults allow and not more; a
 * call that is not here gets EPERM, one newer than all of these ENOSYS (seccomp.c),
 * so that libraries fall back.  Never here: io_uring, userfaultfd, the key ring,
 * kexec, and whatever acts on the whole machine.
 */

#include <errno.h>

#include "agent/oci/seccomp_private.h"

enum {
        DAC_READ_SEARCH = 2,
        SYS_MODULE = 16,
        SYS_RAWIO = 17,
        SYS_CHROOT = 18,
        SYS_PTRACE = 19,
        SYS_PACCT = 20,
        SYS_ADMIN = 21,
        SYS_BOOT = 22,
        SYS_NICE = 23,
        SYS_TIME = 25,
        SYS_TTY_CONFIG = 26,
        SYSLOG = 34,
        PERFMON = 38,
        BPF = 39,
        ALWAYS = SECCOMP_ALWAYS,
};

#define EQUALS(n, v) (&(const struct seccomp_condition) { n, "SCMP_CMP_EQ", v, 0 })
#define LESS(n, v) (&(const struct seccomp_condition) { n, "SCMP_CMP_LT", v, 0 })
#define MASKED(n, mask, v) (&(const struct seccomp_condition) { n, "SCMP_CMP_MASKED_EQ", mask, v })

/* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
#define CLONE_NAMESPACES 0x7e020000

const struct seccomp_rule seccomp_rules[] = {
        /* files and directories */
        { ALWAYS, ALWAYS, 0, NULL,
          "_llseek access arm_fadvise64_64 arm_sync_file_range cachestat chdir chmod chown chown32 close close_range "
          "copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark "
          "fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr "
          "flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 "
          "futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 "
          "inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listmount listxattr listxattrat llistxattr "
          "lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open "
          "openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv "
          "removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice "
          "stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs "
          "tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write "
          "writev" },

        /* waiting, pipes, asynchronous input and output (of the old kind) */
        { ALWAYS, ALWAYS, 0, NULL,
          "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
          "epoll_wait_old eventfd eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 "
          "io_setup io_submit pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4 "
          "timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64" },

        /* memory */
        { ALWAYS, ALWAYS, 0, NULL,
          "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 "
          "mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease "
          "remap_file_pages" },

        /* processes, threads, identity */
        { ALWAYS, ALWAYS, 0, NULL,
          "arch_prctl breakpoint cacheflush capget capset execve execveat exit exit_group fork futex futex_requeue "
          "futex_time64 futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32 "
          "geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority "
          "getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get "
          "ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt pause "
          "pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall "
          "rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
          "rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity "
          "sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
          "sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list "
          "set_thread_area set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups "
          "setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid "
          "setreuid32 setrlimit setsid setuid setuid32 sigaltstack sigprocmask sigreturn tgkill tkill ugetrlimit "
          "vfork wait4 waitid waitpid" },

        /* time, and what there is to know */
        { ALWAYS, ALWAYS, 0, NULL,
          "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
          "clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep "
          "setitimer sysinfo time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
          "timer_settime timer_settime64 times uname" },

        /* talking to others */
        { ALWAYS, ALWAYS, 0, NULL,
          "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open "
          "mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv "
          "msgsnd recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 "
          "send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketpair" },

        /*
         * Sockets of every family but AF_ALG (38: the kernel's crypto) and AF_VSOCK
         * (40: the hypervisor).  Not "differs from 38, differs from 40": two such
         * rules allow both, and a family with bits above the 32nd passes either,
         * while the kernel looks at 32.  39 is AF_NFC, 45 the newest.
         */
        { ALWAYS, ALWAYS, 0, LESS(0, 38), "socket" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 39), "socket" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 41), "socket" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 42), "socket" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 43), "socket" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 44), "socket" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 45), "socket" },
        /* Its family is in memory, where no filter sees it; libraries go on to socket(). */
        { ALWAYS, ALWAYS, ENOSYS, NULL, "socketcall" },

        /* PER_LINUX, PER_LINUX32, UNAME26, both, and asking */
        { ALWAYS, ALWAYS, 0, EQUALS(0, 0x0), "personality" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 0x8), "personality" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 0x20000), "personality" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 0x20008), "personality" },
        { ALWAYS, ALWAYS, 0, EQUALS(0, 0xffffffff), "personality" },

        /* Processes, but no namespaces.  clone3() has its flags in memory: libraries go on to clone(). */
        { ALWAYS, SYS_ADMIN, 0, MASKED(0, CLONE_NAMESPACES, 0), "clone" },
        { ALWAYS, SYS_ADMIN, ENOSYS, NULL, "clone3" },

        { SYS_ADMIN, ALWAYS, 0, NULL,
          "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
          "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl "
          "quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare" },
        { DAC_READ_SEARCH, ALWAYS, 0, NULL, "open_by_handle_at" },
        { SYS_BOOT, ALWAYS, 0, NULL, "reboot" },
        { SYS_CHROOT, ALWAYS, 0, NULL, "chroot" },
        { SYS_MODULE, ALWAYS, 0, NULL, "delete_module finit_module init_module" },
        { SYS_PACCT, ALWAYS, 0, NULL, "acct" },
        { SYS_PTRACE, ALWAYS, 0, NULL, "kcmp pidfd_getfd process_madvise" },
        { SYS_RAWIO, ALWAYS, 0, NULL, "ioperm iopl" },
        { SYS_TIME, ALWAYS, 0, NULL, "clock_settime clock_settime64 settimeofday stime" },
        { SYS_TTY_CONFIG, ALWAYS, 0, NULL, "vhangup" },
        { SYS_NICE, ALWAYS, 0, NULL, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node" },
        { SYSLOG, ALWAYS, 0, NULL, "syslog" },
        { BPF, ALWAYS, 0, NULL, "bpf" },
        { PERFMON, ALWAYS, 0, NULL, "perf_event_open" },
        { 0 },
};
