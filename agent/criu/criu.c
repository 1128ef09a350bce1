/*
 * CRIU's swrk mode: one request, one message back, and notifications between them that want an answer
 *
 * A tree stands still from before "query-ext-files" until after "post-dump": by these two several dumps wait for one another,
 * each in a process of its own.  Whoever of them dies, we included, lets all run on.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "criu.pb-c.h"

#include "agent/base/buf.h"
#include "agent/base/child.h"
#include "agent/base/clock.h"
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

/* The first that has both the notification and a network that is not locked. */
#define SEVERAL_SINCE 31900

/* For one that failed to let the processes go and to unlock their network, which nobody does when it is killed. */
#define LAST_ACT (5 * NSEC_PER_SEC)

/* One dump under way. */
struct dump {
        const struct criu_dump *what;
        struct child child;
        int fd;
        bool still, written;            /* it has said so, and waits */
};

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

static int ask(int fd, const struct criu_dump *what, bool several, struct cringle_err *err)
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
        /* One's lock would be another's, who takes it away. */
        options.has_network_lock = several;
        options.network_lock = CRIU__NETWORK_LOCK__SKIP;
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
void criu_add_reason(int dir, const char *name, struct cringle_err *err)
{
        auto_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        auto_buf log = BUF_INIT;
        const char *last[2] = { NULL };

        if (fd < 0 || file_read_fd(fd, LOG_MAX, &log, NULL) < 0 || !log.len)
                return;
        for (const char *at = log.data; (at = strstr(at, ") Error (")) != NULL; at++) {
                const char *text = strstr(at, "): ");

                if (text && strncmp(text, "): Dumping FAILED", 17) != 0 && strncmp(text, "): Restoring FAILED", 19) != 0) {
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

/* Spawned, with a socket that is the caller's. */
static int begin(const char *program, struct child *ret_child, int *ret_fd, struct cringle_err *err)
{
        const char *const argv[] = { "criu", "swrk", "3", NULL };
        auto_fd int ours = -1, its = -1;
        int pair[2];

        if (!file_exists(program))
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "this takes CRIU, and there is no %s (programs.criu)", program);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, "make a socket pair");
        ours = pair[0];
        its = pair[1];

        const struct child_fd fds[] = { { its, CHILD_FD } };
        const struct child_spec spec = { .path = program, .argv = argv, .envp = environment, .fds = fds, .n_fds = 1 };

        if (child_spawn(&spec, ret_child, err) < 0)
                return -1;
        *ret_fd = steal_fd(&ours);
        return 0;
}

/* What has heard that we are gone ends what it does, and itself. */
static void end(struct child *child, const struct cringle_call *patience)
{
        int status;

        if (child->pid > 0)
                (void) !child_wait(child, patience, &status, NULL);    /* kills it when it does not */
}

static int answer(int fd, bool yes, struct cringle_err *err)
{
        Criu__Request request = CRIU__REQUEST__INIT;

        request.type = CRIU__TYPE__NOTIFY;
        request.has_notify_success = true;
        request.notify_success = yes;
        return say(fd, &request, err);
}

/* Answer what is not to be waited for, up to the notification @name; NULL: to the end.  1: that came, 0: the end. */
static int hear_until(const struct dump *d, const char *name, const struct cringle_call *call, struct cringle_err *err)
{
        for (;;) {
                auto_cleanup(auto_response_) Criu__Response *response = NULL;

                if (hear(d->fd, call, &response, err) < 0)
                        return -1;
                if (response->type == CRIU__TYPE__DUMP && response->success)
                        return 0;
                if (response->type != CRIU__TYPE__NOTIFY)
                        return response->cr_errno ? err_sysno(err, response->cr_errno, "it failed") :
                                                    err_set(err, CRINGLE_E_INTERNAL, "it failed");
                if (name && response->notify && response->notify->script && strcmp(response->notify->script, name) == 0)
                        return 1;
                if (answer(d->fd, true, err) < 0)
                        return -1;
        }
}

static int fail(const struct dump *d, struct cringle_err *err)
{
        criu_add_reason(d->what->images, LOG, err);
        return d->what->name ? err_wrap(err, "%s: criu", d->what->name) : err_wrap(err, "criu");
}

/* Up to the notification @name, where it waits: *ret_there. */
static int reach(struct dump *d, const char *name, bool *ret_there, const struct cringle_call *call, struct cringle_err *err)
{
        int r = hear_until(d, name, call, err);

        if (r == 0)
                err_set(err, CRINGLE_E_INTERNAL, "it has ended too early");
        *ret_there = r > 0;
        return r > 0 ? 0 : fail(d, err);
}

/* Begin, and wait until its processes stand still, which one alone need not tell. */
static int stop_one(struct dump *d, bool several, const struct cringle_call *call, struct cringle_err *err)
{
        if (begin(d->what->program, &d->child, &d->fd, err) < 0)
                return -1;
        if (ask(d->fd, d->what, several, err) < 0)
                return fail(d, err);
        if (!several)
                return 0;
        return reach(d, "query-ext-files", &d->still, call, err);
}

static int write_one(struct dump *d, const struct cringle_call *call, struct cringle_err *err)
{
        return reach(d, "post-dump", &d->written, call, err);
}

static int release_one(struct dump *d, const struct cringle_call *call, struct cringle_err *err)
{
        int status;

        d->written = false;
        if (answer(d->fd, true, err) < 0 || hear_until(d, NULL, call, err) < 0)
                return fail(d, err);
        d->fd = fd_close(d->fd);
        return child_wait(&d->child, call, &status, err) < 0 ? fail(d, err) : 0;
}

static int dump_all(struct dump *all, size_t n, int (*frozen)(void *data, size_t nth, struct cringle_err *err), void *data,
                    const struct cringle_call *call, struct cringle_err *err)
{
        for (size_t i = 0; i < n; i++)
                if (stop_one(&all[i], n > 1, call, err) < 0)
                        return -1;
        for (size_t i = 0; i < n; i++)
                if (all[i].still && answer(all[i].fd, true, err) < 0)
                        return fail(&all[i], err);
        for (size_t i = 0; i < n; i++)
                if (write_one(&all[i], call, err) < 0 || frozen(data, i, err) < 0)
                        return -1;
        for (size_t i = 0; i < n; i++)
                if (release_one(&all[i], call, err) < 0)
                        return -1;
        return 0;
}

/* What it says of itself: 31701 is 3.17.1. */
static int ask_version(const char *program, const struct cringle_call *call, int64_t *ret, struct cringle_err *err)
{
        auto_cleanup(auto_response_) Criu__Response *response = NULL;
        Criu__Request request = CRIU__REQUEST__INIT;
        struct child child = CHILD_INIT;
        int fd, r;

        if (begin(program, &child, &fd, err) < 0)
                return -1;
        request.type = CRIU__TYPE__VERSION;
        r = say(fd, &request, err) < 0 || hear(fd, call, &response, err) < 0 ? -1 : 0;
        fd_close(fd);
        child_kill(&child);
        if (r < 0)
                return err_wrap(err, "criu: its version");
        if (response->type != CRIU__TYPE__VERSION || !response->version)
                return err_set(err, CRINGLE_E_INTERNAL, "criu: its version: it says none");
        *ret = (int64_t) response->version->major_number * 10000 + (int64_t) response->version->minor_number * 100 +
               response->version->sublevel;
        return 0;
}

int criu_dump(const struct criu_dump *dumps, size_t n, int (*frozen)(void *data, size_t nth, struct cringle_err *err), void *data,
              const struct cringle_call *call, struct cringle_err *err)
{
        auto_free struct dump *all = calloc(n, sizeof *all);
        struct cringle_call patience;
        int64_t version;
        int r;

        if (!all)
                return err_oom(err);
        if (n > 1 && ask_version(dumps->program, call, &version, err) < 0)
                return -1;
        if (n > 1 && version < SEVERAL_SINCE)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "several containers at once take CRIU 3.19, and this is %lld.%lld",
                               (long long) version / 10000, (long long) version / 100 % 100);
        for (size_t i = 0; i < n; i++)
                all[i] = (struct dump) { .what = &dumps[i], .child = CHILD_INIT, .fd = -1 };
        r = dump_all(all, n, frozen, data, call, err);
        for (size_t i = 0; i < n; i++) {
                if (all[i].written)
                        answer(all[i].fd, false, NULL);
                all[i].fd = fd_close(all[i].fd);
        }
        patience = call_within(NULL, LAST_ACT);
        for (size_t i = 0; i < n; i++)
                end(&all[i].child, &patience);
        return r;
}
