/*
 * Containers: from the plan to the exit code
 *
 *      creating --READY--> created --start--> starting --exec--> running --> exited
 *
 * A launch that fails leaves an exited container, so that destroy() finds what
 * there is to clean up and runs the poststop hooks.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/monitor/monitor.h"
#include "plugins/api/executor.h"

#define START_FAILED 128        /* the exit code of what never ran */

struct container *container_find(const char *id)
{
        for (struct container *c = monitor.containers; c; c = c->next)
                if (strcmp(c->id, id) == 0)
                        return c;
        return NULL;
}

int plan_map(int fd, void **ret_data, size_t *ret_n, struct rec_cursor *ret_plan, struct cringle_err *err)
{
        int seals = fcntl(fd, F_GET_SEALS), want = F_SEAL_WRITE | F_SEAL_SHRINK;
        struct rec_cursor plan;
        struct stat st;
        void *data;

        if (seals < 0 || (seals & want) != want)
                return err_set(err, CRINGLE_E_INVALID, "the plan is not sealed");
        if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > PLAN_MAX)
                return err_set(err, CRINGLE_E_INVALID, "the plan has no proper size");
        data = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
                return err_sys(err, "map the plan");
        if (plan_open(data, (size_t) st.st_size, &plan, err) < 0) {
                munmap(data, (size_t) st.st_size);
                return -1;
        }

        *ret_data = data;
        *ret_n = (size_t) st.st_size;
        *ret_plan = plan;
        return 0;
}

static void add_warning(struct buf *warnings, const char *text)
{
        if (warnings)
                buf_printf(warnings, NULL, "%s\n", text);
}

int limit_process(struct rec_cursor plan, pid_t pid, struct buf *warnings, struct cringle_err *err)
{
        struct cringle_err warning = CRINGLE_ERR_INIT;
        struct rec_cursor at = plan, body;
        struct rlimit files;
        bool said = false;

        while (rec_find(&at, PLAN_RLIMIT, &body))
                if (rec_get_u32(&body) == RLIMIT_NOFILE)
                        said = true;
        if (!said && prlimit(pid, RLIMIT_NOFILE, NULL, &files) == 0) {
                files.rlim_cur = monitor.nofile_soft;
                prlimit(pid, RLIMIT_NOFILE, &files, NULL);      /* only ever lowers */
        }
        if (launch_limit(plan, pid, monitor.oom_score, &warning, err) < 0)
                return -1;
        if (warning.code != CRINGLE_OK)
                add_warning(warnings, warning.text);
        return 0;
}

/* --- ends --------------------------------------------------------------------------- */

static void unmap_plan(struct container *c)
{
        if (c->plan_data)
                munmap(c->plan_data, c->plan_n);
        c->plan_data = NULL;
        c->plan = (struct rec_cursor) { 0 };
}

static void container_free(struct container *c)
{
        for (struct container **at = &monitor.containers; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        serve_abandon(c);
        exec_forget_container(c);
        source_close(&c->worker_source);
        source_close(&c->process_source);
        fd_close(c->tty_slave);
        io_done(&c->io);
        log_done(&c->log);
        unmap_plan(c);
        strv_free(c->v1);
        free(c->restore_pid_file);
        free(c->unified);
        free(c->id);
        buf_done(&c->warnings);
        free(c);
        serve_check_close();
}

static char *exit_path(const char *id)
{
        return str_printf(NULL, "%s/" WIRE_EXIT_DIR "/%s", monitor.run_dir, id);
}

/* Read by the agent should we be gone by then. */
static void write_exit_file(const struct container *c)
{
        auto_free char *path = exit_path(c->id);
        auto_free char *dir = str_printf(NULL, "%s/" WIRE_EXIT_DIR, monitor.run_dir);
        char text[WIRE_EXIT_MAX];

        if (!path || !dir)
                return;
        mkdir(dir, 0700);
        wire_exit_text(&c->state, text);
        file_replace(path, text, strlen(text), 0600, false, NULL);
}

static void destroy_step(struct container *c);

static void poststop_done(struct hooks *h, int result, struct cringle_err *err)
{
        struct container *c = SOURCE_OF(struct container, hooks, h);

        if (result < 0)                 /* none could be started */
                add_warning(&c->warnings, err->text);
        c->poststop_done = true;
        destroy_step(c);
}

static void destroy_step(struct container *c)
{
        if (c->hooks.active && c->hooks.stage != PLAN_POSTSTOP)
                hooks_kill(&c->hooks);
        if (c->worker > 0)
                kill(c->worker, SIGKILL);
        if (c->pid > 0)
                kill(c->pid, SIGKILL);
        if (c->worker > 0 || c->pid > 0 || c->hooks.active)
                return;                 /* reaping them brings us back */
        if (!c->poststop_done) {
                /* A process whose pid never reached us ends with this. */
                source_close(&c->process_source);
                if (!c->own_pid_ns || c->restore_pid_file)
                        cgroup_kill(c->unified, (const char *const *) c->v1, NULL);
                c->poststop_done = !c->plan_data;
                if (c->plan_data) {
                        hooks_run(&c->hooks, c->plan, PLAN_POSTSTOP, "stopped", 0, poststop_done);
                        return;
                }
        }

        {
                auto_free char *path = exit_path(c->id);

                if (path)
                        unlink(path);
        }
        serve_answer(WIRE_DESTROY, c, NULL);
        container_free(c);
}

void container_destroy(struct container *c)
{
        if (c->destroying)
                return;
        c->destroying = true;
        destroy_step(c);
}

/* All processes of a launch that came to nothing are reaped: whoever waits is told, and finds it over. */
static void settle_failure(struct container *c)
{
        if (c->failure.code == CRINGLE_OK || c->worker > 0 || c->pid > 0)
                return;
        if (c->phase != PHASE_EXITED) {
                c->phase = PHASE_EXITED;
                c->state = (struct wire_state) { .exit_code = START_FAILED, .finished_at = clock_realtime() };
                write_exit_file(c);
        }
        serve_answer(WIRE_CREATE, c, &c->failure);
        serve_answer(WIRE_START, c, &c->failure);
}

/* The launch came to nothing; the rest follows when its processes are reaped. */
static void launch_failed(struct container *c, const struct cringle_err *err)
{
        if (c->failure.code == CRINGLE_OK) {
                c->failure = *err;
                if (c->failure.code == CRINGLE_OK)
                        c->failure.code = CRINGLE_E_UNKNOWN;
        }
        hooks_kill(&c->hooks);
        if (c->worker > 0)
                kill(c->worker, SIGKILL);
        if (c->pid > 0)
                kill(c->pid, SIGKILL);
        source_close(&c->worker_source);
        source_close(&c->process_source);
        settle_failure(c);
}

/* Dead before it was the container's program. */
static void process_died(struct container *c)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        err_set(&err, CRINGLE_E_ABORTED, "the process died %s%s",
                c->phase == PHASE_STARTING ? "before it could run its program" : "while its container was made",
                cgroup_oom_kills(c->unified, (const char *const *) c->v1) > c->oom_before ? ", the cgroup being out of memory" : "");
        launch_failed(c, &err);
}

static void process_event(struct source *s, uint32_t events);

/* --- restored processes --- */

/* What the program that restores has written; 0: nothing yet. */
static pid_t restored_pid(const struct container *c)
{
        auto_free char *text = NULL;
        int64_t pid;

        return file_read_line(c->restore_pid_file, &text, NULL) == 0 && str_int64(text, 1, INT32_MAX, &pid, NULL) == 0 ?
                       (pid_t) pid : 0;
}

bool container_restored_reaped(struct container *c, pid_t pid, int status)
{
        if (c->phase != PHASE_STARTING || restored_pid(c) != pid)
                return false;
        c->restored_died = true;
        c->restored_status = status;
        return true;
}

static void poststart_done(struct hooks *h, int result, struct cringle_err *err);

static void runs(struct container *c)
{
        c->phase = PHASE_RUNNING;
        c->state.started_at = clock_realtime();
        hooks_run(&c->hooks, c->plan, PLAN_POSTSTART, "running", c->pid, poststart_done);
}

static void process_ended(struct container *c, int status);

/* The program that restores has ended: with 0, the container is what it has made. */
static void restorer_ended(struct container *c, int status)
{
        struct cringle_err err = CRINGLE_ERR_INIT, warning = CRINGLE_ERR_INIT;
        pid_t pid = restored_pid(c);

        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || pid == 0 || (!c->restored_died && !child_is_there(pid))) {
                err_set(&err, CRINGLE_E_ABORTED, "its processes could not be restored%s",
                        cgroup_oom_kills(c->unified, (const char *const *) c->v1) > c->oom_before ?
                                ", the cgroup being out of memory" : "");
                c->failure = err;
                process_ended(c, status);
                return;
        }
        free(c->restore_pid_file);
        c->restore_pid_file = NULL;
        c->state.pid = c->pid = pid;
        /* Its resource limits it may have changed itself: they are as they were. */
        if (!c->restored_died && launch_oom_score(c->plan, pid, monitor.oom_score, &warning, &err) < 0) {
                launch_failed(c, &err);
                return;
        }
        if (warning.code != CRINGLE_OK)
                add_warning(&c->warnings, warning.text);
        runs(c);
        if (c->restored_died)
                process_ended(c, c->restored_status);
}

static void process_ended(struct container *c, int status)
{
        struct wire_state *s = &c->state;
        bool awaited = serve_is_awaited(WIRE_START, c);
        enum phase before;

        c->pid = 0;
        /* Its end may be known before its start, or its failure, is: what its socket has to say comes first. */
        if (c->phase < PHASE_RUNNING)
                process_event(&c->process_source, 0);
        if (c->phase == PHASE_STARTING)         /* a hook that it was about to run has the socket, too */
                process_died(c);
        before = c->phase;
        if (!c->own_pid_ns || c->restore_pid_file)
                cgroup_kill(c->unified, (const char *const *) c->v1, NULL);
        io_drain(&c->io);
        c->phase = PHASE_EXITED;
        s->finished_at = clock_realtime();
        if (WIFSIGNALED(status)) {
                s->signal = WTERMSIG(status);
                s->exit_code = 128 + s->signal;
        } else {
                s->exit_code = WEXITSTATUS(status);
        }
        /* 137 from a shell whose child was chosen in its stead is the same to who asks. */
        s->oom = s->exit_code == 128 + SIGKILL &&
                 cgroup_oom_kills(c->unified, (const char *const *) c->v1) > c->oom_before;
        if (c->failure.code != CRINGLE_OK) {
                s->signal = 0;
                s->exit_code = START_FAILED;
        }
        write_exit_file(c);
        /* A start that failed is told to who asked for it; should he have left, whoever stops the container waits for this. */
        if (before != PHASE_CREATING && (c->failure.code == CRINGLE_OK || !awaited) && !c->destroying)
                serve_event(WIRE_EXITED, c, NULL);
        io_done(&c->io);        /* clients see the end */
}

/* Whether what has ended, or not begun, is the program that restores; its end may be known before what it had to say. */
static bool restores(struct container *c)
{
        if (!c->restore_pid_file || c->phase != PHASE_STARTING)
                return false;
        if (!c->executes)
                process_event(&c->process_source, 0);
        return c->executes && c->failure.code == CRINGLE_OK;
}

void container_reaped(struct container *c, pid_t pid, int status)
{
        if (pid == c->worker)
                c->worker = 0;
        else if (restores(c))
                restorer_ended(c, status);
        else
                process_ended(c, status);
        settle_failure(c);
        if (c->destroying)
                destroy_step(c);
}

/* --- launch ----------------------------------------------------------------------------- */

/* Both the runtime's hooks are over and the process has told its pid: the worker may go on. */
static void continue_worker(struct container *c)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (!c->hooks_done || !c->inner_pid || c->worker_source.fd < 0)
                return;
        c->hooks_done = false;
        if (launch_continue(c->worker_source.fd, c->inner_pid, &err) < 0)
                launch_failed(c, &err);
}

static void create_runtime_done(struct hooks *h, int result, struct cringle_err *err)
{
        struct container *c = SOURCE_OF(struct container, hooks, h);

        if (result < 0) {
                launch_failed(c, err);
                if (c->destroying)
                        destroy_step(c);
                return;
        }
        c->hooks_done = true;
        continue_worker(c);
}

static void prestart_done(struct hooks *h, int result, struct cringle_err *err)
{
        struct container *c = SOURCE_OF(struct container, hooks, h);

        if (result < 0 || c->failure.code != CRINGLE_OK)
                create_runtime_done(h, -1, result < 0 ? err : &c->failure);
        else
                hooks_run(h, c->plan, PLAN_CREATE_RUNTIME, "creating", c->pid, create_runtime_done);
}

static void took_terminal(struct container *c, int fds[static 2])
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (fds[0] < 0 || fds[1] < 0) {
                err_set(&err, CRINGLE_E_INTERNAL, "the terminal got lost on its way");
                launch_failed(c, &err);
                return;
        }
        c->tty_slave = steal_fd(&fds[1]);
        if (io_open_tty(&c->io, steal_fd(&fds[0]), &err) < 0)
                launch_failed(c, &err);
}

/* Who says so may be inside the container already: what the plan knows is taken from there. */
static void took_hook(const struct container *c, const struct launch_message *m)
{
        struct wire_hook run = {
                .stage = m->hook.stage,
                .index = m->hook.index,
                .exit_code = m->hook.exit_code,
                .flags = m->hook.flags,
                .nanoseconds = m->hook.nanoseconds,
                .ended_at = m->hook.ended_at,
                .error = m->err.text,
        };

        if (hook_name_run(c->plan, &run))
                serve_hook(c, &run);
}

static int take_messages(struct container *c, struct source *s);

/* One message of the worker or the process.  False: stop reading, the sources may be gone. */
static bool take_message(struct container *c, struct launch_message *m, int fds[static 2])
{
        switch (m->kind) {
        case LAUNCH_PID:
                c->state.pid = m->value;
                if (child_is_there(m->value)) {
                        c->pid = m->value;
                        return true;
                }
                take_messages(c, &c->process_source);   /* it may have said why */
                process_died(c);
                return false;
        case LAUNCH_EXEC:
                c->executes = true;
                return true;
        case LAUNCH_BORN:
                c->inner_pid = m->value;
                continue_worker(c);
                return true;
        case LAUNCH_TTY:
                took_terminal(c, fds);
                return true;
        case LAUNCH_WARNING:
                add_warning(&c->warnings, m->err.text);
                return true;
        case LAUNCH_HOOK:
                took_hook(c, m);
                return true;
        case LAUNCH_RUNTIME_HOOKS:
                hooks_run(&c->hooks, c->plan, PLAN_PRESTART, "creating", c->pid, prestart_done);
                return true;
        case LAUNCH_READY:
                source_close(&c->worker_source);
                if (c->phase != PHASE_CREATING)
                        return false;   /* the process has died meanwhile: its socket tells */
                c->ready = true;
                c->phase = PHASE_CREATED;
                serve_answer(WIRE_CREATE, c, NULL);
                return false;
        default:
                launch_failed(c, &m->err);
                return false;
        }
}

/* 2: the other end is closed; 0: nothing more now, or the container has failed. */
static int take_messages(struct container *c, struct source *s)
{
        struct launch_message m;

        for (;;) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                int fds[2], n;
                bool more;

                if (s->fd < 0)
                        return 0;
                n = launch_receive(s->fd, &m, fds, &err);
                if (n < 0) {
                        launch_failed(c, &err);
                        return 0;
                }
                if (n != 1)
                        return n;
                more = take_message(c, &m, fds);
                fd_close(fds[0]);
                fd_close(fds[1]);
                if (!more)
                        return 0;
        }
}

static void worker_event(struct source *s, uint32_t events)
{
        struct container *c = SOURCE_OF(struct container, worker_source, s);
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (take_messages(c, s) != 2)
                return;
        source_close(s);
        err_set(&err, CRINGLE_E_ABORTED, "the launch died%s",
                cgroup_oom_kills(c->unified, (const char *const *) c->v1) > c->oom_before ? ", the cgroup being out of memory" : "");
        launch_failed(c, &err);
}

static void poststart_done(struct hooks *h, int result, struct cringle_err *err)
{
        struct container *c = SOURCE_OF(struct container, hooks, h);
        struct rec_cursor at = c->plan, body;
        unsigned count = 0;

        if (result < 0) {
                launch_failed(c, err);
                if (c->destroying)
                        destroy_step(c);
                return;
        }
        if (hook_next(&at, PLAN_POSTSTOP, &count, &body) == 0)
                unmap_plan(c);          /* nothing in it is needed any more */
        serve_answer(WIRE_START, c, NULL);
        if (c->destroying)
                destroy_step(c);
}

static void process_event(struct source *s, uint32_t events)
{
        struct container *c = SOURCE_OF(struct container, process_source, s);

        if (take_messages(c, s) != 2)
                return;
        source_close(s);
        if (c->phase == PHASE_STARTING ? !c->executes : !c->ready)
                process_died(c);
        if (c->phase != PHASE_STARTING || !c->executes)
                return;                 /* created, and dead before its time: reaping it tells */
        if (!c->restore_pid_file)       /* else the end of what it has become tells */
                runs(c);
}

static int read_cgroups(struct container *c, struct cringle_err *err)
{
        struct rec_cursor at = c->plan, body;

        while (rec_find(&at, PLAN_CGROUP, &body)) {
                uint32_t kind = rec_get_u32(&body);
                const char *dir = rec_get_str(&body);

                if (body.bad)
                        return err_set(err, CRINGLE_E_INVALID, "a cgroup of the plan is damaged");
                if (kind == PLAN_CGROUP_V1) {
                        if (strv_add(&c->v1, dir, err) < 0)
                                return -1;
                        continue;
                }
                free(c->unified);
                c->unified = strdup(dir);
                if (!c->unified)
                        return err_oom(err);
        }
        return 0;
}

static int read_restore(struct container *c, struct cringle_err *err)
{
        struct rec_cursor body;
        const char *file;

        if (!rec_first(c->plan, PLAN_RESTORE, &body))
                return 0;
        rec_get_str(&body);
        free(rec_get_strv(&body));
        free(rec_get_strv(&body));
        rec_get_str(&body);
        file = rec_get_str(&body);
        if (body.bad)
                return err_set(err, CRINGLE_E_INVALID, "the plan's restore is damaged");
        return str_copy(&c->restore_pid_file, file, err);
}

static int find_pid_namespace(struct container *c, struct rec_cursor fields, pid_t *ret_share, struct cringle_err *err)
{
        struct rec_cursor at = c->plan, body;

        *ret_share = 0;
        if (rec_first(fields, WIRE_SHARE_PID, &body)) {
                const char *id = rec_get_str(&body);
                struct container *other = container_find(id);

                if (!other || other->pid <= 0)
                        return err_set(err, CRINGLE_E_PRECONDITION, "container %s, whose PID namespace is wanted, does not run", id);
                *ret_share = other->pid;
                return 0;
        }
        while (rec_find(&at, PLAN_NAMESPACE, &body))
                if (rec_get_u32(&body) == CLONE_NEWPID)
                        c->own_pid_ns = !*rec_get_str(&body);
        return 0;
}

static int begin_launch(struct container *c, struct rec_cursor fields, uint32_t flags, int rootfs_fd,
                        const int *brought, size_t n_brought, struct cringle_err *err)
{
        struct launch_request request = {
                .plan = c->plan, .rootfs_fd = rootfs_fd, .brought = brought, .n_brought = n_brought, .stdio = { -1, -1, -1 }, .own_stdio = true,
                .die_with_parent = true, .cgroup_unified = c->unified, .cgroup_v1 = (const char *const *) c->v1,
        };
        struct rec_cursor body;
        struct launch launch;
        int done;

        if (find_pid_namespace(c, fields, &request.share_pid, err) < 0)
                return -1;
        if (!rec_first(c->plan, PLAN_TTY, &body) &&
            io_open_pipes(&c->io, flags & WIRE_STDIN_OPEN, request.stdio, err) < 0)
                return -1;
        c->oom_before = cgroup_oom_kills(c->unified, (const char *const *) c->v1);
        done = launch_start(&request, &launch, err);
        for (int i = 0; i < 3; i++)
                fd_close(request.stdio[i]);
        if (done < 0)
                return -1;

        c->worker = launch.worker;
        if (source_watch(&c->worker_source, launch.worker_fd, EPOLLIN, worker_event, err) < 0 ||
            source_watch(&c->process_source, launch.process_fd, EPOLLIN, process_event, err) < 0) {
                if (c->worker_source.fd < 0)
                        close(launch.worker_fd);
                close(launch.process_fd);
                return -1;
        }
        return 0;
}

static int set_up(struct container *c, struct rec_cursor fields, const int *fds, size_t n_fds, struct cringle_err *err)
{
        struct rec_cursor body;
        uint32_t flags = rec_first(fields, WIRE_FLAGS, &body) ? rec_get_u32(&body) : 0;
        const char *log_path = rec_first(fields, WIRE_LOG_PATH, &body) ? rec_get_str(&body) : NULL;
        int64_t max_line = rec_first(fields, WIRE_LOG_MAX_LINE, &body) ? (int64_t) rec_get_u64(&body) : 0;
        size_t brought = rec_first(fields, WIRE_BROUGHT, &body) ? rec_get_u32(&body) : 0;
        size_t ours = flags & WIRE_HAS_ROOTFS ? 2 : 1, want = ours + brought;

        io_init(&c->io, &c->log);
        c->io.stdin_once = flags & WIRE_STDIN_ONCE;
        if (n_fds != want)
                return err_set(err, CRINGLE_E_INVALID, "the request has %zu fds, want %zu", n_fds, want);
        if (plan_map(fds[0], &c->plan_data, &c->plan_n, &c->plan, err) < 0 || read_cgroups(c, err) < 0 ||
            read_restore(c, err) < 0 || log_open(&c->log, log_path, max_line, err) < 0)
                return -1;
        return begin_launch(c, fields, flags, ours == 2 ? fds[1] : -1, fds + ours, brought, err);
}

int container_create(struct rec_cursor fields, const int *fds, size_t n_fds, struct container **ret,
                     struct cringle_err *err)
{
        struct rec_cursor body;
        const char *id = rec_first(fields, WIRE_CONTAINER, &body) ? rec_get_str(&body) : "";
        struct container *c = container_find(id);

        if (!str_is_id(id, 128))
                return err_set(err, CRINGLE_E_INVALID, "'%s' is no container's name", id);
        if (c) {
                if (c->destroying)
                        return err_set(err, CRINGLE_E_PRECONDITION, "container %s is being destroyed", id);
                *ret = c;
                return 0;
        }
        c = calloc(1, sizeof *c);
        if (!c)
                return err_oom(err);
        c->phase = PHASE_CREATING;
        c->worker_source.fd = c->process_source.fd = c->tty_slave = c->log.fd = -1;
        c->hooks.out.fd = c->hooks.state_fd = -1;
        c->id = strdup(id);
        c->next = monitor.containers;
        monitor.containers = c;
        if (!c->id || set_up(c, fields, fds, n_fds, err) < 0) {
                if (!c->id)
                        err_oom(err);
                c->poststop_done = true;        /* nothing was made */
                container_destroy(c);
                return -1;
        }

        *ret = c;
        return 0;
}

int container_start(struct container *c, struct cringle_err *err)
{
        if (c->failure.code != CRINGLE_OK) {
                *err = c->failure;
                return -1;
        }
        if (c->phase == PHASE_STARTING || c->phase == PHASE_RUNNING)
                return 0;
        if (c->phase != PHASE_CREATED || c->destroying)
                return err_set(err, CRINGLE_E_PRECONDITION, "container %s is %s", c->id,
                               c->phase == PHASE_EXITED ? "over" : "not ready to be started");
        /* Not who restores. */
        if ((!c->restore_pid_file && limit_process(c->plan, c->pid, &c->warnings, err) < 0) ||
            launch_go(c->process_source.fd, c->tty_slave, err) < 0) {
                launch_failed(c, err);
                return -1;              /* nobody is registered to wait for the answer yet */
        }
        c->tty_slave = fd_close(c->tty_slave);
        c->phase = PHASE_STARTING;
        return 0;
}

static bool has_ended(pid_t pid)
{
        siginfo_t info = { 0 };

        return waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid == pid;
}

int container_kill(struct container *c, int signal, bool all, struct cringle_err *err)
{
        if (signal < 0 || signal > SIGRTMAX)
                return err_set(err, CRINGLE_E_INVALID, "there is no signal %d", signal);
        /* What ends by our hand has outlived the kills that were counted so far. */
        if (signal == SIGKILL && c->pid > 0 && !has_ended(c->pid))
                c->oom_before = cgroup_oom_kills(c->unified, (const char *const *) c->v1);
        if (all && signal == SIGKILL) {
                if (cgroup_kill(c->unified, (const char *const *) c->v1, err) < 0 && c->pid <= 0)
                        return -1;
        } else if (all && cgroup_signal(c->unified, (const char *const *) c->v1, signal, err) < 0) {
                return err_wrap(err, "signal all of container %s", c->id);
        }
        if (c->pid <= 0 || (all && signal != SIGKILL))
                return 0;
        /* As the first of its namespace it is deaf to signals it does not handle, and before exec it handles none. */
        if (c->phase <= PHASE_CREATED && signal != 0)
                signal = SIGKILL;
        if (kill(c->pid, signal) < 0 && errno != ESRCH)
                return err_sys(err, "signal container %s", c->id);
        return 0;
}

void container_state(const struct container *c, struct wire_state *ret)
{
        static const uint32_t states[] = {
                [PHASE_CREATING] = CRINGLE_RUN_NONE,    [PHASE_CREATED] = CRINGLE_RUN_CREATED,
                [PHASE_STARTING] = CRINGLE_RUN_CREATED, [PHASE_RUNNING] = CRINGLE_RUN_RUNNING,
                [PHASE_EXITED] = CRINGLE_RUN_EXITED,
        };

        *ret = c->state;
        ret->state = states[c->phase];
        ret->pid = c->pid;
}
