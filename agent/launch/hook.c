/*
 * Running OCI hooks; see hook.h.
 */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/launch/hook.h"
#include "agent/launch/kernel.h"
#include "agent/launch/process.h"

#define PIPE_SIZE 65536

static struct hook_origin origin;

void hook_set_origin(const struct hook_origin *from)
{
        origin = *from;
}

/* What cannot be had back stays as it is: none of it keeps a hook from running. */
static void go_back_to_origin(void)
{
        struct rlimit files;
        char score[16];

        if (!origin.known)
                return;
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = origin.nofile_soft;
                setrlimit(RLIMIT_NOFILE, &files);
        }
        snprintf(score, sizeof score, "%d", origin.oom_score);
        file_poke("/proc/self/oom_score_adj", score, NULL);
}

int hook_next(struct rec_cursor *plan, enum plan_stage stage, unsigned *index, struct rec_cursor *ret_body)
{
        struct rec_cursor body;

        while (rec_find(plan, PLAN_HOOK, &body)) {
                if (rec_get_u32(&body) != (uint32_t) stage)
                        continue;
                (*index)++;
                *ret_body = body;
                return 1;
        }
        return 0;
}

int hook_state(struct rec_cursor plan, const char *status, int32_t pid, struct cringle_err *err)
{
        auto_fd int fd = -1;
        auto_buf text = BUF_INIT;
        struct rec_cursor body;
        const char *head, *middle, *tail;

        if (!rec_first(plan, PLAN_STATE, &body))
                return err_set(err, CRINGLE_E_INVALID, "the plan has no state for its hooks");
        head = rec_get_str(&body);
        middle = rec_get_str(&body);
        tail = rec_get_str(&body);
        if (buf_printf(&text, err, "%s%s%s%d%s", head, status, middle, pid, tail) < 0)
                return -1;
        fd = memfd_create("state.json", MFD_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "make a memory file");
        if (file_write_fd(fd, text.data, text.len, err) < 0)
                return -1;
        return steal_fd(&fd);
}

/* In the hook's process; what goes wrong is told on the stderr that is watched. */
__attribute__((noreturn))
static void hook_child(struct rec_cursor plan, enum plan_stage stage, const char *path, const char **argv,
                       const char **env, int state_fd, int stderr_fd)
{
        struct rec_cursor body;
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        setpgid(0, 0);
        if (stage != PLAN_START_CONTAINER)      /* there the container's own limits are in force */
                go_back_to_origin();
        /* Lifted out of the way first, lest one dup2() close what the next needs. */
        state_fd = fcntl(state_fd, F_DUPFD_CLOEXEC, 10);
        stderr_fd = fcntl(stderr_fd, F_DUPFD_CLOEXEC, 10);
        null = fcntl(null, F_DUPFD_CLOEXEC, 10);
        dup2(state_fd, 0);
        dup2(null, 1);
        dup2(stderr_fd, 2);
        lseek(0, 0, SEEK_SET);
        kernel_close_others(NULL, 0);
        kernel_reset_signals();
        if (!rec_first(plan, PLAN_BUNDLE, &body) || chdir(rec_get_str(&body)) < 0)
                (void) !chdir("/");     /* in the container there is no bundle */
        execve(path, (char *const *) argv, (char *const *) env);
        dprintf(2, "exec %s: %s", path, strerror(errno));
        _exit(127);
}

/* What of a hook's record is not handed to the program. */
static void read_whose(struct rec_cursor *body, struct hook *ret)
{
        ret->ignore = body->left > 0 && rec_get_u32(body) == 1;
        ret->source = body->left > 0 ? rec_get_str(body) : "";
        ret->name = body->left > 0 ? rec_get_str(body) : "";
        ret->origin = body->left > 0 ? rec_get_str(body) : "";
}

/* "hooks.d:10-gpu.json (/etc/containers/oci/hooks.d/10-gpu.json): createRuntime hook 2, /usr/bin/x", appended. */
static void describe(const struct hook *h, struct buf *ret)
{
        if (*h->name)
                buf_printf(ret, NULL, "%.64s:%.256s", h->source, h->name);
        if (*h->name && strcmp(h->origin, h->name) != 0)
                buf_printf(ret, NULL, " (%.512s)", h->origin);
        buf_printf(ret, NULL, "%s%s hook %u, %.512s", *h->name ? ": " : "", plan_stage_name(h->stage), h->index, h->path);
}

bool hook_name_run(struct rec_cursor plan, struct wire_hook *run)
{
        struct rec_cursor body;
        unsigned index = 0;

        while (hook_next(&plan, run->stage, &index, &body) > 0) {
                struct hook h;

                if (index != run->index)
                        continue;
                run->path = rec_get_str(&body);
                free(rec_get_strv(&body));
                free(rec_get_strv(&body));
                rec_get_u64(&body);
                read_whose(&body, &h);
                run->source = h.source;
                run->name = h.name;
                run->origin = h.origin;
                return !body.bad;
        }
        return false;
}

int hook_start(struct rec_cursor plan, struct rec_cursor body, enum plan_stage stage, unsigned index, int state_fd,
               struct hook *ret, struct cringle_err *err)
{
        const char *path = rec_get_str(&body);
        auto_free const char **argv = rec_get_strv(&body);
        auto_free const char **env = rec_get_strv(&body);
        uint64_t timeout = rec_get_u64(&body);
        struct hook made = { .stderr_fd = -1, .stage = stage, .index = index, .path = path };
        auto_buf what = BUF_INIT;
        auto_fd int read_end = -1, write_end = -1;
        int pipe_fds[2];
        pid_t pid;

        read_whose(&body, &made);
        if (body.bad || !argv || !env)
                return err_set(err, CRINGLE_E_INVALID, "%s hook %u is damaged", plan_stage_name(stage), index);
        if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return err_sys(err, "make a pipe");
        read_end = pipe_fds[0];
        write_end = pipe_fds[1];
        fcntl(write_end, F_SETFL, 0);   /* the hook's end blocks, as programs expect */

        pid = kernel_fork(0, -1);
        if (pid < 0) {
                int sys = errno;

                describe(&made, &what);
                return err_sysno(err, sys, "start %s", what.data ? what.data : path);
        }
        if (pid == 0)
                hook_child(plan, stage, path, argv, env, state_fd, write_end);
        setpgid(pid, pid);              /* whoever of the two comes first */

        made.pid = pid;
        made.stderr_fd = steal_fd(&read_end);
        made.begun = clock_monotonic();
        made.deadline = timeout ? made.begun + (int64_t) timeout : 0;
        *ret = made;
        return 0;
}

/* No more at a time than a pipe holds: who writes without end would keep us here past its time. */
bool hook_drain(struct hook *h)
{
        char chunk[4096];
        size_t left = PIPE_SIZE;

        if (h->stderr_fd < 0)
                return false;
        while (left > 0) {
                ssize_t n = read(h->stderr_fd, chunk, sizeof chunk);
                size_t keep;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return true;
                if (n <= 0)
                        return false;
                left -= (size_t) n < left ? (size_t) n : left;
                if ((size_t) n >= HOOK_TAIL_MAX) {
                        memcpy(h->tail, chunk + n - HOOK_TAIL_MAX, HOOK_TAIL_MAX);
                        h->tail_n = HOOK_TAIL_MAX;
                        continue;
                }
                keep = HOOK_TAIL_MAX - (size_t) n;
                if (h->tail_n < keep)
                        keep = h->tail_n;
                memmove(h->tail, h->tail + h->tail_n - keep, keep);
                memcpy(h->tail + keep, chunk, (size_t) n);
                h->tail_n = keep + (size_t) n;
        }
        return true;
}

void hook_expire(struct hook *h)
{
        h->timed_out = !h->killed;
        kill(-h->pid, SIGKILL);
}

void hook_kill(struct hook *h)
{
        h->killed = !h->timed_out;
        kill(-h->pid, SIGKILL);
}

int hook_finish(struct hook *h, int status, struct wire_hook *ret_run, struct cringle_err *err)
{
        char how[96], tail[HOOK_TAIL_MAX + 1];
        auto_buf what = BUF_INIT;
        size_t n = 0;

        hook_drain(h);
        h->stderr_fd = fd_close(h->stderr_fd);
        *ret_run = (struct wire_hook) {
                .stage = h->stage,
                .index = h->index,
                .exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
                .nanoseconds = clock_monotonic() - h->begun,
                .ended_at = clock_realtime(),
                .source = h->source,
                .name = h->name,
                .origin = h->origin,
                .path = h->path,
                .error = "",
        };
        if (h->timed_out)
                snprintf(how, sizeof how, "killed at its time limit");
        else if (h->killed && WIFSIGNALED(status))
                snprintf(how, sizeof how, "killed with its container");
        else if (WIFSIGNALED(status))
                snprintf(how, sizeof how, "killed by signal %d", WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0)
                snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
        else
                return 0;

        /* One line, nothing a terminal would act upon. */
        for (size_t i = 0; i < h->tail_n; i++) {
                unsigned char c = (unsigned char) h->tail[i];

                if (isspace(c) && (n == 0 || tail[n - 1] == ' '))
                        continue;
                tail[n++] = (char) (isspace(c) ? ' ' : iscntrl(c) ? '?' : c);
        }
        while (n > 0 && tail[n - 1] == ' ')
                n--;
        tail[n] = '\0';
        describe(h, &what);
        ret_run->flags = (h->timed_out ? WIRE_HOOK_TIMED_OUT : 0) | (h->ignore ? WIRE_HOOK_IGNORED : 0);
        ret_run->error = err->text;
        return err_set(err, h->timed_out ? CRINGLE_E_DEADLINE : CRINGLE_E_ABORTED, "%s: %s%s%s",
                       what.data ? what.data : h->path, how, n ? ": " : "", tail);
}

/* Milliseconds until its time is over, for poll; -1: never. */
static int time_left(const struct hook *h)
{
        int64_t left = h->deadline - clock_monotonic();

        if (!h->deadline || h->timed_out)
                return -1;
        if (left <= 0)
                return 0;
        return left / NSEC_PER_MSEC >= INT_MAX ? INT_MAX : (int) (left / NSEC_PER_MSEC) + 1;
}

/* Until it was reaped.  The wait status. */
static int wait_for(struct hook *h)
{
        auto_fd int pidfd = pidfd_open(h->pid, 0);
        int status = 0;

        for (;;) {
                struct pollfd fds[2] = {
                        { .fd = pidfd, .events = POLLIN },
                        { .fd = h->stderr_fd, .events = POLLIN },
                };
                int timeout = time_left(h), n = poll(fds, 2, timeout);

                if (n > 0 && fds[1].revents && !hook_drain(h))
                        h->stderr_fd = fd_close(h->stderr_fd);
                if (n > 0 && fds[0].revents)
                        break;
                if (timeout >= 0 && time_left(h) == 0)  /* also of one that never stops talking */
                        hook_expire(h);
        }
        while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR)
                ;
        return status;
}

int hook_run_all(struct rec_cursor plan, enum plan_stage stage, const char *status, int32_t pid, int fd,
                 struct cringle_err *err)
{
        struct rec_cursor at = plan, body;
        auto_fd int state_fd = -1;
        unsigned index = 0;
        struct hook h;

        while (hook_next(&at, stage, &index, &body) > 0) {
                struct wire_hook run;
                int r;

                if (state_fd < 0)
                        state_fd = hook_state(plan, status, pid, err);
                if (state_fd < 0 || hook_start(plan, body, stage, index, state_fd, &h, err) < 0)
                        return -1;
                r = hook_finish(&h, wait_for(&h), &run, err);
                if (fd >= 0)
                        launch_send_hook(fd, &run, err);
                if (r < 0 && !h.ignore)
                        return -1;
                err_clear(err);
        }
        return 0;
}
