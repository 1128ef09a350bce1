/*
 * CRIU's swrk mode: one request, one message back, and notifications between them that want an answer
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "criu.pb-c.h"

#include "agent/base/buf.h"
#include "agent/base/child.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"
#include "agent/criu/criu.h"

#define LOG "dump.log"
#define LOG_MAX (64 << 20)
#define LOG_LEVEL 4
#define MESSAGE_MAX (64 << 10)

#define CHILD_FD 3              /* as in argv */

/* For programs that CRIU runs: iptables. */
static const char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

static int say(int fd, const Criu__Request *request, struct cringle_err *err)
{
        size_t n = criu__request__get_packed_size(request);
        auto_buf message = BUF_INIT;

        if (buf_reserve(&message, n, err) < 0)
                return -1;
        criu__request__pack(request, (uint8_t *) message.data);
        return sock_send(fd, message.data, n, NULL, 0, err);
}

static int ask(int fd, const struct criu_dump *what, struct cringle_err *err)
{
        Criu__Options options = CRIU__OPTIONS__INIT;
        Criu__Request request = CRIU__REQUEST__INIT;

        options.images_dir_fd = what->images;
        options.has_pid = options.has_leave_running = options.has_ext_unix_sk = options.has_tcp_established = true;
        options.pid = what->pid;
        options.leave_running = options.ext_unix_sk = options.tcp_established = true;
        options.has_shell_job = options.has_orphan_pts_master = true;
        options.shell_job = what->tty;
        options.orphan_pts_master = true;               /* the monitor has it */
        options.has_file_locks = options.file_locks = true;
        options.has_log_level = true;
        options.log_level = LOG_LEVEL;
        options.log_file = (char *) LOG;
        options.has_notify_scripts = options.notify_scripts = true;
        options.has_manage_cgroups = options.manage_cgroups = true;
        options.has_manage_cgroups_mode = true;
        options.manage_cgroups_mode = CRIU__CGROUP_MODE__IGNORE;
        options.external = (char **) what->external;
        while (what->external && what->external[options.n_external])
                options.n_external++;

        request.type = CRIU__TYPE__DUMP;
        request.opts = &options;
        return say(fd, &request, err);
}

/* The next message, the caller's. */
static int hear(int fd, const struct cringle_call *call, Criu__Response **ret, struct cringle_err *err)
{
        uint8_t message[MESSAGE_MAX];
        size_t n = 0;

        if (call_wait(call, fd, POLLIN, -1, err) < 0 || sock_recv(fd, message, sizeof message, &n, NULL, NULL, err) < 0)
                return -1;
        *ret = n ? criu__response__unpack(NULL, n, message) : NULL;
        return *ret ? 0 : err_set(err, CRINGLE_E_INTERNAL, n ? "it speaks another language" : "it has ended");
}

static void auto_response_(Criu__Response **r)
{
        criu__response__free_unpacked(*r, NULL);
}

/*
 * What the log calls errors, without their time and place: "(00.15) Error (criu/mount.c:753): mnt: ...".  The cause comes late,
 * and last of all what it led to; early ones may be about what CRIU can do without.
 */
static void add_reason(int images, struct cringle_err *err)
{
        auto_fd int fd = openat(images, LOG, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        auto_buf log = BUF_INIT;
        const char *last[2] = { NULL };

        if (fd < 0 || file_read_fd(fd, LOG_MAX, &log, NULL) < 0 || !log.len)
                return;
        for (const char *at = log.data; (at = strstr(at, ") Error (")) != NULL; at++) {
                const char *text = strstr(at, "): ");

                if (text && strncmp(text, "): Dumping FAILED", 17) != 0) {
                        last[0] = last[1];
                        last[1] = text + 3;
                }
        }
        for (size_t i = 0; i < 2; i++) {
                const struct cringle_err so_far = *err;

                if (last[i])
                        err_set(err, so_far.code, "%s: %.*s", so_far.text, (int) strcspn(last[i], "\n"), last[i]);
        }
}

static int dump(int fd, const struct criu_dump *what, int (*frozen)(void *data, struct cringle_err *err), void *data,
                const struct cringle_call *call, struct cringle_err *err)
{
        if (ask(fd, what, err) < 0)
                return -1;
        for (;;) {
                auto_cleanup(auto_response_) Criu__Response *response = NULL;
                Criu__Request answer = CRIU__REQUEST__INIT;
                int r = 0;

                if (hear(fd, call, &response, err) < 0)
                        return -1;
                if (response->type == CRIU__TYPE__DUMP && response->success)
                        return 0;
                if (response->type != CRIU__TYPE__NOTIFY)
                        return response->cr_errno ? err_sysno(err, response->cr_errno, "it failed") :
                                                    err_set(err, CRINGLE_E_INTERNAL, "it failed");
                if (response->notify && response->notify->script && strcmp(response->notify->script, "post-dump") == 0)
                        r = frozen(data, err);
                answer.type = CRIU__TYPE__NOTIFY;
                answer.has_notify_success = true;
                answer.notify_success = r == 0;
                if (say(fd, &answer, r < 0 ? NULL : err) < 0 || r < 0)
                        return -1;
        }
}

int criu_dump(const struct criu_dump *what, int (*frozen)(void *data, struct cringle_err *err), void *data,
              const struct cringle_call *call, struct cringle_err *err)
{
        const char *const argv[] = { "criu", "swrk", "3", NULL };
        struct child child = CHILD_INIT;
        auto_fd int ours = -1, its = -1;
        int pair[2], status, r;

        if (!file_exists(what->program))
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "this takes CRIU, and there is no %s (programs.criu)", what->program);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, "make a socket pair");
        ours = pair[0];
        its = pair[1];

        const struct child_fd fds[] = { { its, CHILD_FD } };
        const struct child_spec spec = { .path = what->program, .argv = argv, .envp = environment, .fds = fds, .n_fds = 1 };

        if (child_spawn(&spec, &child, err) < 0)
                return -1;
        its = fd_close(its);
        r = dump(ours, what, frozen, data, call, err);
        ours = fd_close(ours);
        if (r == 0) {
                r = child_wait(&child, call, &status, err);
        } else {
                add_reason(what->images, err);
                child_kill(&child);
        }
        return r < 0 ? err_wrap(err, "criu") : 0;
}
