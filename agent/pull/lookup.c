/*
 * cringle-pull lookup: who is this user, by the passwd and group files of an image
 *
 * fd 3 is the image's root.  The two files are opened there (nothing of them is
 * read yet), then every right is given up, and only then are they read and parsed.
 * The question comes as JSON on stdin, {"user": "name:group"}; the answer goes to
 * stdout, {"uid", "gid", "groups", "home"} or {"code", "error"}.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/guard.h"
#include "agent/base/json.h"
#include "agent/base/path.h"
#include "agent/oci/users.h"
#include "agent/pull/modes.h"

#define ROOT_FD 3
#define FILE_MAX (1 << 20)
#define REQUEST_MAX 4096
#define MEMORY_MAX (64 << 20)
#define NOBODY 65534

/* Bytes of a file that are read; a larger one is refused. */
static size_t file_max(void)
{
        return GUARD(passwd_size) ? FILE_MAX : INT32_MAX;
}

/*
 * The file @path for reading, or -1 in *ret_fd when there is none.  It is looked at
 * before it is opened: opening a device or a FIFO is doing something already.
 */
static int open_file(const char *path, int *ret_fd, struct cringle_err *err)
{
        auto_fd int at = path_open(ROOT_FD, path, O_PATH, 0, err);
        char by_fd[PATH_OF_FD_MAX];
        struct stat st;
        int fd;

        if (at < 0) {
                if (errno != ENOENT)
                        return -1;
                *ret_fd = -1;
                return 0;
        }
        if (fstat(at, &st) < 0)
                return err_sys(err, "stat %s", path);
        if (GUARD(passwd_regular) && !S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "the image's %s is not a regular file", path);
        if ((uint64_t) st.st_size > file_max())
                return err_set(err, CRINGLE_E_INVALID, "the image's %s is larger than %d bytes", path, FILE_MAX);

        path_of_fd(at, by_fd);
        fd = open(by_fd, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return err_sys(err, "open %s", path);
        *ret_fd = fd;
        return 0;
}

/* All that is still needed: reading what is open, memory, the answer, the end. */
static int filter_calls(struct cringle_err *err)
{
        static const int needed[] = {
                SCMP_SYS(read),    SCMP_SYS(write),  SCMP_SYS(close),      SCMP_SYS(fstat),  SCMP_SYS(newfstatat),
                SCMP_SYS(lseek),   SCMP_SYS(brk),    SCMP_SYS(munmap),     SCMP_SYS(mremap), SCMP_SYS(madvise),
                SCMP_SYS(futex),   SCMP_SYS(getpid), SCMP_SYS(gettid),     SCMP_SYS(tgkill), SCMP_SYS(rt_sigprocmask),
                SCMP_SYS(getrandom), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn),
                SCMP_SYS(restart_syscall), SCMP_SYS(clock_gettime), SCMP_SYS(sigaltstack),
        };
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int failed = 0;

        if (!filter)
                return err_oom(err);
        for (size_t i = 0; !failed && i < sizeof needed / sizeof *needed; i++)
                failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, needed[i], 0);
        /* Memory, never code. */
        if (!failed)
                failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                          SCMP_A2(SCMP_CMP_MASKED_EQ, 4, 0));
        if (!failed)
                failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                          SCMP_A2(SCMP_CMP_MASKED_EQ, 4, 0));
        if (!failed)
                failed = seccomp_load(filter);
        seccomp_release(filter);
        return failed ? err_sysno(err, -failed, "load the seccomp filter") : 0;
}

static int limit(int what, rlim_t value, struct cringle_err *err)
{
        struct rlimit l;

        if (getrlimit(what, &l) < 0)
                return err_sys(err, "read a limit");
        if (l.rlim_max == RLIM_INFINITY || l.rlim_max > value)
                l.rlim_max = value;
        l.rlim_cur = l.rlim_max;
        return setrlimit(what, &l) < 0 ? err_sys(err, "set a limit") : 0;
}

static int confine(struct cringle_err *err)
{
        close(ROOT_FD);
        /* Not root any more: with the user go the capabilities. */
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                               setresuid(NOBODY, NOBODY, NOBODY) < 0))
                return err_sys(err, "become nobody");
        if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return err_sys(err, "give up rights");
        if (limit(RLIMIT_CORE, 0, err) < 0 || limit(RLIMIT_FSIZE, 0, err) < 0)
                return -1;
#ifndef __SANITIZE_ADDRESS__            /* whose shadow memory is terabytes */
        if (limit(RLIMIT_DATA, MEMORY_MAX, err) < 0)
                return -1;
#endif
        return filter_calls(err);
}

static int read_request(char **ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        auto_json request = NULL;
        const char *who = "";

        if (file_read_fd(STDIN_FILENO, REQUEST_MAX, &text, err) < 0 ||
            json_parse(text.data, text.len, &request, err) < 0 || json_get_string(request, "user", &who, err) < 0)
                return err_wrap(err, "request");
        *ret = strdup(who);
        return *ret ? 0 : err_oom(err);
}

static int find(const char *who, int passwd_fd, int group_fd, struct oci_user **ret, struct cringle_err *err)
{
        auto_buf passwd = BUF_INIT, group = BUF_INIT;

        /* They may have grown since they were looked at. */
        if (passwd_fd >= 0 && file_read_fd(passwd_fd, file_max(), &passwd, err) < 0)
                return err_wrap(err, "the image's etc/passwd");
        if (group_fd >= 0 && file_read_fd(group_fd, file_max(), &group, err) < 0)
                return err_wrap(err, "the image's etc/group");
        return users_resolve(who, passwd.data, passwd.len, group.data, group.len, ret, err);
}

static int answer(const struct oci_user *u, struct cringle_err *err)
{
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;
        struct json_object *groups;

        if (!o)
                return err_oom(err);
        if (json_set_int(o, "uid", u->uid, err) < 0 || json_set_int(o, "gid", u->gid, err) < 0 ||
            json_set_string(o, "home", u->home, err) < 0)
                return -1;
        groups = json_need_array(o, "groups", err);
        if (!groups)
                return -1;
        for (size_t i = 0; i < u->n_groups; i++)
                if (json_add(groups, json_object_new_int64(u->groups[i]), err) < 0)
                        return -1;
        if (json_write(o, &text, err) < 0)
                return -1;
        return file_write_fd(STDOUT_FILENO, text.data, text.len, err);
}

static int refuse(const struct cringle_err *why)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;

        if (!o || json_set_int(o, "code", why->code, &err) < 0 || json_set_string(o, "error", why->text, &err) < 0 ||
            json_write(o, &text, &err) < 0)
                return -1;
        return file_write_fd(STDOUT_FILENO, text.data, text.len, &err);
}

static int run(struct cringle_err *err)
{
        auto_of(oci_user) u = NULL;
        auto_free char *who = NULL;
        auto_fd int passwd = -1, group = -1;

        /* The agent's own words, and read to their end: it must not be left with a broken pipe. */
        if (read_request(&who, err) < 0 || open_file("etc/passwd", &passwd, err) < 0 ||
            open_file("etc/group", &group, err) < 0)
                return refuse(err) < 0;
        if (confine(err) < 0) {
                fprintf(stderr, "%s\n", err->text);
                return 1;
        }
        if (find(who, passwd, group, &u, err) < 0 || answer(u, err) < 0)
                return refuse(err) < 0;
        return 0;
}

int lookup_main(int argc, char **argv)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        /* Not by exit(): what libraries do there, the filter need not know. */
        _exit(run(&err));
}
