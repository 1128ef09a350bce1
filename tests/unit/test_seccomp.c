/*
 * What filters decide
 *
 * Most is read off the compiled program by a small interpreter, for every
 * architecture; a few calls are made in a process that has the filter.
 */

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/oci/caps.h"
#include "agent/oci/seccomp_cache.h"

#define ALLOW SECCOMP_RET_ALLOW
#define ERRNO(e) (SECCOMP_RET_ERRNO | (e))

/* What @program comes to for @d: classic BPF, as far as seccomp knows it. */
static uint32_t decide(const struct buf *program, const struct seccomp_data *d)
{
        const struct sock_filter *p = (const struct sock_filter *) program->data;
        size_t n = program->len / sizeof *p;
        uint32_t a = 0;

        for (size_t at = 0; at < n; at++) {
                bool yes;

                switch (p[at].code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        assert_true(p[at].k + 4 <= sizeof *d);
                        memcpy(&a, (const char *) d + p[at].k, 4);
                        continue;
                case BPF_ALU | BPF_AND | BPF_K:
                        a &= p[at].k;
                        continue;
                case BPF_JMP | BPF_JA:
                        at += p[at].k;
                        continue;
                case BPF_RET | BPF_K:
                        return p[at].k;
                case BPF_JMP | BPF_JEQ | BPF_K:
                        yes = a == p[at].k;
                        break;
                case BPF_JMP | BPF_JGT | BPF_K:
                        yes = a > p[at].k;
                        break;
                case BPF_JMP | BPF_JGE | BPF_K:
                        yes = a >= p[at].k;
                        break;
                case BPF_JMP | BPF_JSET | BPF_K:
                        yes = a & p[at].k;
                        break;
                default:
                        fail_msg("instruction %#x", p[at].code);
                        return 0;
                }
                at += yes ? p[at].jt : p[at].jf;
        }
        fail_msg("the program has no end");
        return 0;
}

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#define COMPAT AUDIT_ARCH_I386
#define COMPAT_LIB SCMP_ARCH_X86
#else
#define NATIVE AUDIT_ARCH_AARCH64
#define COMPAT AUDIT_ARCH_ARM
#define COMPAT_LIB SCMP_ARCH_ARM
#endif

static uint32_t native(const struct buf *program, int number, uint64_t arg0)
{
        return decide(program, &(struct seccomp_data) { .nr = number, .arch = NATIVE, .args = { arg0 } });
}

static uint32_t compat(const struct buf *program, const char *name, uint64_t arg0)
{
        int number = seccomp_syscall_resolve_name_arch(COMPAT_LIB, name);

        /* The library has a number of its own for what socketcall() multiplexes. */
        if (number < 0 && strcmp(name, "socket") == 0)
                number = 359;
        assert_true(number >= 0);
        return decide(program, &(struct seccomp_data) { .nr = number, .arch = COMPAT, .args = { arg0 } });
}

static void compile_default(uint64_t caps, struct buf *ret)
{
        struct cringle_err *err = unit_err();
        auto_json profile = NULL;

        assert_ok(seccomp_default(caps, &profile, err), err);
        assert_ok(seccomp_compile(profile, ret, err), err);
}

static void the_default_refuses_alg_and_vsock_in_every_guise(void **state)
{
        auto_buf p = BUF_INIT;

        compile_default(CAPS_ALL, &p);
        for (uint64_t family = 0; family < 64; family++) {
                uint32_t want = family == 38 || family == 40 || family > 45 ? ERRNO(EPERM) : ALLOW;

                assert_int_equal(native(&p, __NR_socket, family), want);
                assert_int_equal(compat(&p, "socket", family), want);
        }
        /* The kernel looks at 32 bits, the filter at 64. */
        for (uint64_t family = 0; family < 64; family++)
                assert_int_equal(native(&p, __NR_socket, family | UINT64_C(1) << 32), ERRNO(EPERM));
#if defined(__x86_64__)
        for (uint64_t call = 0; call < 32; call++)
                assert_int_equal(compat(&p, "socketcall", call), ERRNO(ENOSYS));
        /* x32 is not an architecture of the profile. */
        assert_true((native(&p, __NR_socket | 0x40000000, 38) & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ALLOW);
        assert_true((native(&p, 461 | 0x40000000, 0) & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ALLOW);
#endif
}

/* Named calls with the default capabilities and with all. */
static void the_default_decides_by_this_table(void **state)
{
        static const struct {
                int number;
                uint64_t arg0;
                uint32_t usual, all_caps;
        } table[] = {
                { __NR_io_uring_setup, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_io_uring_enter, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_io_uring_register, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_userfaultfd, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_keyctl, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_add_key, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_kexec_load, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_swapon, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_pivot_root, 0, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_mount, 0, ERRNO(EPERM), ALLOW },
                { __NR_unshare, 0, ERRNO(EPERM), ALLOW },
                { __NR_setns, 0, ERRNO(EPERM), ALLOW },
                { __NR_bpf, 0, ERRNO(EPERM), ALLOW },
                { __NR_perf_event_open, 0, ERRNO(EPERM), ALLOW },
                { __NR_open_by_handle_at, 0, ERRNO(EPERM), ALLOW },
                { __NR_reboot, 0, ERRNO(EPERM), ALLOW },
                { __NR_init_module, 0, ERRNO(EPERM), ALLOW },
                { __NR_clock_settime, 0, ERRNO(EPERM), ALLOW },
                { __NR_syslog, 0, ERRNO(EPERM), ALLOW },
                { __NR_chroot, 0, ALLOW, ALLOW },
                { __NR_clone3, 0, ERRNO(ENOSYS), ALLOW },
                { __NR_clone, SIGCHLD, ALLOW, ALLOW },
                { __NR_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, ALLOW, ALLOW },
                { __NR_clone, CLONE_NEWUSER | SIGCHLD, ERRNO(EPERM), ALLOW },
                { __NR_clone, CLONE_NEWNS, ERRNO(EPERM), ALLOW },
                { __NR_clone, CLONE_NEWCGROUP, ERRNO(EPERM), ALLOW },
                { __NR_clone, CLONE_NEWUTS, ERRNO(EPERM), ALLOW },
                { __NR_clone, CLONE_NEWIPC, ERRNO(EPERM), ALLOW },
                { __NR_clone, CLONE_NEWPID, ERRNO(EPERM), ALLOW },
                { __NR_clone, CLONE_NEWNET, ERRNO(EPERM), ALLOW },
                { __NR_personality, 0, ALLOW, ALLOW },
                { __NR_personality, 0xffffffff, ALLOW, ALLOW },
                { __NR_personality, 0x0040000 /* no address randomization */, ERRNO(EPERM), ERRNO(EPERM) },
                { __NR_read, 0, ALLOW, ALLOW },
                { __NR_execve, 0, ALLOW, ALLOW },
                { __NR_ptrace, 0, ALLOW, ALLOW },
                { __NR_seccomp, 0, ALLOW, ALLOW },
                { 449 /* futex_waitv */, 0, ALLOW, ALLOW },
                { 451 /* cachestat */, 0, ALLOW, ALLOW },
                { 452 /* fchmodat2 */, 0, ALLOW, ALLOW },
                { 454 /* futex_wake */, 0, ALLOW, ALLOW },
                { 455 /* futex_wait */, 0, ALLOW, ALLOW },
                { 456 /* futex_requeue */, 0, ALLOW, ALLOW },
                { 461 /* lsm_list_modules */, 0, ERRNO(EPERM), ALLOW },
                { 462 /* mseal */, 0, ALLOW, ALLOW },
                { 466 /* removexattrat */, 0, ALLOW, ALLOW },
                { 467 /* newer than the profile */, 0, ERRNO(ENOSYS), ERRNO(ENOSYS) },
                { 5000, 0, ERRNO(ENOSYS), ERRNO(ENOSYS) },
        };
        auto_buf usual = BUF_INIT, all = BUF_INIT;

        compile_default(caps_default, &usual);
        compile_default(CAPS_ALL, &all);
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                if (native(&usual, table[i].number, table[i].arg0) != table[i].usual)
                        fail_msg("%d(%#jx) is %#x by default", table[i].number, (uintmax_t) table[i].arg0,
                                 native(&usual, table[i].number, table[i].arg0));
                if (native(&all, table[i].number, table[i].arg0) != table[i].all_caps)
                        fail_msg("%d(%#jx) is %#x with all capabilities", table[i].number, (uintmax_t) table[i].arg0,
                                 native(&all, table[i].number, table[i].arg0));
        }
        assert_int_equal(compat(&usual, "io_uring_setup", 0), ERRNO(EPERM));
        assert_int_equal(compat(&usual, "mount", 0), ERRNO(EPERM));
        assert_int_equal(compat(&usual, "read", 0), ALLOW);
        assert_int_equal(compat(&usual, "clone", CLONE_NEWUSER), ERRNO(EPERM));
}

/* --- in earnest --- */

/* The errno of one call made under the filter; 0: it succeeded. */
static int try(const struct buf *program, long number, long a, long b, long c)
{
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                struct sock_fprog f = { .len = (unsigned short) (program->len / sizeof(struct sock_filter)),
                                        .filter = (struct sock_filter *) program->data };

                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f) < 0)
                        _exit(254);
                _exit(syscall(number, a, b, c) < 0 ? errno : 0);
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void the_kernel_takes_it_and_does_as_it_says(void **state)
{
        auto_buf p = BUF_INIT;
        char params[256] = { 0 };

        compile_default(caps_default, &p);
        assert_int_equal(try(&p, SYS_socket, AF_INET, SOCK_DGRAM, 0), 0);
        assert_int_equal(try(&p, SYS_socket, AF_UNIX, SOCK_STREAM, 0), 0);
        assert_int_equal(try(&p, SYS_socket, AF_ALG, SOCK_SEQPACKET, 0), EPERM);
        assert_int_equal(try(&p, SYS_socket, AF_VSOCK, SOCK_STREAM, 0), EPERM);
        assert_int_equal(try(&p, SYS_socket, AF_ALG | 1L << 32, SOCK_SEQPACKET, 0), EPERM);
        assert_int_equal(try(&p, __NR_io_uring_setup, 4, (long) params, 0), EPERM);
        assert_int_equal(try(&p, SYS_unshare, CLONE_NEWUSER, 0, 0), EPERM);
        assert_int_equal(try(&p, __NR_clone3, 0, 0, 0), ENOSYS);
        assert_int_equal(try(&p, 5000, 0, 0, 0), ENOSYS);
        assert_int_equal(try(&p, SYS_getpid, 0, 0, 0), 0);
}

/* --- profiles of others --- */

static int load(const char *text, struct json_object **ret, struct cringle_err *err)
{
        return seccomp_profile_load(text, strlen(text), caps_default, ret, err);
}

static void compile_text(const char *text, struct buf *ret)
{
        struct cringle_err *err = unit_err();
        auto_json profile = NULL;

        assert_ok(load(text, &profile, err), err);
        assert_ok(seccomp_compile(profile, ret, err), err);
}

static void conditions_and_errors_mean_what_they_say(void **state)
{
        auto_buf p = BUF_INIT;

        compile_text("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
                     "{\"names\":[\"mkdir\",\"no_such_call\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":13},"
                     "{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_KILL_PROCESS\","
                     "\"args\":[{\"index\":0,\"value\":18446744073709551615,\"op\":\"SCMP_CMP_EQ\"}]},"
                     "{\"names\":[\"dup\"],\"action\":\"SCMP_ACT_ERRNO\","
                     "\"args\":[{\"index\":0,\"value\":240,\"valueTwo\":16,\"op\":\"SCMP_CMP_MASKED_EQ\"}]},"
                     "{\"names\":[\"mseal\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1}]}",
                     &p);
        assert_int_equal(native(&p, __NR_mkdir, 0), ERRNO(EACCES));
        assert_int_equal(native(&p, __NR_kill, UINT64_MAX), SECCOMP_RET_KILL_PROCESS);
        assert_int_equal(native(&p, __NR_kill, 1), ALLOW);
        assert_int_equal(native(&p, __NR_dup, 0x1f), ERRNO(EPERM));
        assert_int_equal(native(&p, __NR_dup, 0x2f), ALLOW);
        assert_int_equal(native(&p, 462, 0), ERRNO(EPERM));
        /* What is allowed by default stays so, however new. */
        assert_int_equal(native(&p, 5000, 0), ALLOW);
}

static void dockers_dialect_is_read_for_this_container(void **state)
{
        auto_buf p = BUF_INIT;

        compile_text("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"archMap\":["
                     "{\"architecture\":\"SCMP_ARCH_X86_64\",\"subArchitectures\":[\"SCMP_ARCH_X86\"]},"
                     "{\"architecture\":\"SCMP_ARCH_AARCH64\",\"subArchitectures\":[\"SCMP_ARCH_ARM\"]}],\"syscalls\":["
                     "{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":null,\"comment\":\"\","
                     "\"includes\":{},\"excludes\":{}},"
                     "{\"name\":\"write\",\"action\":\"SCMP_ACT_ALLOW\"},"
                     "{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}},"
                     "{\"names\":[\"chroot\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"caps\":[\"CAP_SYS_CHROOT\"]}},"
                     "{\"names\":[\"dup\"],\"action\":\"SCMP_ACT_ALLOW\",\"excludes\":{\"caps\":[\"CAP_SYS_CHROOT\"]}},"
                     "{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"arches\":[\"amd64\",\"arm64\"]}},"
                     "{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"arches\":[\"s390x\"]}},"
                     "{\"names\":[\"ptrace\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"minKernel\":\"4.8\"}},"
                     "{\"names\":[\"kcmp\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"minKernel\":\"999.0\"}}]}",
                     &p);
        assert_int_equal(native(&p, __NR_read, 0), ALLOW);
        assert_int_equal(native(&p, __NR_write, 0), ALLOW);
        assert_int_equal(native(&p, __NR_mount, 0), ERRNO(EPERM));
        assert_int_equal(native(&p, __NR_chroot, 0), ALLOW);
        assert_int_equal(native(&p, __NR_dup, 0), ERRNO(EPERM));
        assert_int_equal(native(&p, __NR_getpid, 0), ALLOW);
        assert_int_equal(native(&p, __NR_getppid, 0), ERRNO(EPERM));
        assert_int_equal(native(&p, __NR_ptrace, 0), ALLOW);
        assert_int_equal(native(&p, __NR_kcmp, 0), ERRNO(EPERM));
        assert_int_equal(compat(&p, "read", 0), ALLOW);
}

static void what_is_not_understood_is_refused(void **state)
{
        static const struct {
                const char *text;
                int code;
        } table[] = {
                { "", CRINGLE_E_INVALID },
                { "[]", CRINGLE_E_INVALID },
                { "{}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"ALLOW\"}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":7}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":5000}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", CRINGLE_E_UNIMPLEMENTED },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/run/x\"}", CRINGLE_E_UNIMPLEMENTED },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_NEW\"]}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_VAX\"]}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[7]}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"action\":\"SCMP_ACT_ERRNO\"}]}",
                  CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"]}]}", CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
                  "\"action\":\"SCMP_ACT_NOTIFY\"}]}", CRINGLE_E_UNIMPLEMENTED },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
                  "\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}]}",
                  CRINGLE_E_INVALID },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
                  "\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,\"op\":\"==\"}]}]}",
                  CRINGLE_E_INVALID },
                /* Either would be enough for others: a filter that lets everything through. */
                { "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"socket\"],"
                  "\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,\"value\":38,\"op\":\"SCMP_CMP_NE\"},"
                  "{\"index\":0,\"value\":40,\"op\":\"SCMP_CMP_NE\"}]}]}", CRINGLE_E_INVALID },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                struct cringle_err *err = unit_err();
                auto_json profile = NULL;

                if (load(table[i].text, &profile, err) == 0)
                        fail_msg("accepted: %s", table[i].text);
                if (err->code != table[i].code)
                        fail_msg("%s: %s", table[i].text, err->text);
        }
}

static void flags_become_the_kernels(void **state)
{
        struct cringle_err *err = unit_err();
        auto_json profile = NULL;
        uint32_t flags = 0;

        assert_ok(load("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\","
                       "\"SECCOMP_FILTER_FLAG_TSYNC\"]}", &profile, err), err);
        assert_ok(seccomp_flags(profile, &flags, err), err);
        assert_int_equal(flags, SECCOMP_FILTER_FLAG_LOG);
}

static void a_key_tells_profiles_apart(void **state)
{
        struct cringle_err *err = unit_err();
        auto_json a = NULL;
        auto_json b = NULL;
        auto_buf one = BUF_INIT, two = BUF_INIT;

        assert_ok(seccomp_default(caps_default, &a, err), err);
        assert_ok(seccomp_key(a, &one, err), err);
        assert_ok(seccomp_default(CAPS_ALL, &b, err), err);
        assert_ok(seccomp_key(b, &two, err), err);
        assert_string_not_equal(one.data, two.data);
}

/* More profiles than are kept, twice over: what comes out is what compiling gives. */
static void a_remembered_filter_is_the_compiled_one(void **state)
{
        struct cringle_err *err = unit_err();

        for (int i = 0; i < 40; i++) {
                auto_json profile = NULL;
                auto_buf fresh = BUF_INIT, kept = BUF_INIT;
                char text[128];

                snprintf(text, sizeof text, "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":%d}", 1 + i % 20);
                assert_ok(load(text, &profile, err), err);
                assert_ok(seccomp_compile(profile, &fresh, err), err);
                for (int again = 0; again < 2; again++) {
                        buf_clear(&kept);
                        assert_ok(seccomp_compile_cached(profile, &kept, err), err);
                        assert_int_equal(kept.len, fresh.len);
                        assert_memory_equal(kept.data, fresh.data, fresh.len);
                }
        }
}

UNIT_MAIN(
        cmocka_unit_test(the_default_refuses_alg_and_vsock_in_every_guise),
        cmocka_unit_test(the_default_decides_by_this_table),
        cmocka_unit_test(the_kernel_takes_it_and_does_as_it_says),
        cmocka_unit_test(conditions_and_errors_mean_what_they_say),
        cmocka_unit_test(dockers_dialect_is_read_for_this_container),
        cmocka_unit_test(what_is_not_understood_is_refused),
        cmocka_unit_test(flags_become_the_kernels),
        cmocka_unit_test(a_key_tells_profiles_apart),
        cmocka_unit_test(a_remembered_filter_is_the_compiled_one))
