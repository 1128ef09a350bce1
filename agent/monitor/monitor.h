#pragma once

/*
 * The monitor: one small process per pod that outlives the agent
 *
 * It makes the pod's namespaces, launches its containers, keeps their pipes and
 * terminals, writes their logs, knows their exit codes.  It is one thread around
 * epoll; whatever takes time (launches, hooks, ends of processes) is awaited as
 * events, and requests that wait for them are answered when they come.
 *
 * What always holds:
 *  - every child is reaped in one place (main.c), so a pid we hold is ours until then;
 *  - epoll hands out one event at a time, so an event's source cannot have been
 *    freed by the one before it;
 *  - nothing here parses anything but the agent's records.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/launch/hook.h"
#include "agent/launch/launch.h"
#include "agent/wire/client.h"
#include "agent/wire/monitor.h"

/* --- event sources (main.c) ------------------------------------------------------- */

struct source {
        int fd;                 /* -1: not watched */
        uint32_t events;
        void (*fn)(struct source *s, uint32_t events);
};

#define SOURCE_OF(type, member, s) ((type *) (void *) ((char *) (s) - offsetof(type, member)))

/* Watch @fd, which stays the owner's to close after source_stop(). */
int source_watch(struct source *s, int fd, uint32_t events, void (*fn)(struct source *s, uint32_t events),
                 struct cringle_err *err);
void source_change(struct source *s, uint32_t events);
void source_stop(struct source *s);     /* also when it is not watched */
void source_close(struct source *s);    /* and close the fd */

/* --- logs (log.c) ------------------------------------------------------------------ */

/* What stands after the last newline of a stream, until the rest comes. */
struct log_tail {
        char *data;
        size_t n;
};

struct log {
        int fd;                 /* -1: none */
        char *path;             /* NULL: no log is wanted */
        size_t max_line;
        uint64_t dropped;       /* bytes that could not be written */
        bool torn;              /* a record was cut by a full disk: the next begins on a line of its own */
};

int log_open(struct log *l, const char *path, int64_t max_line, struct cringle_err *err);

/* The old file is let go only when the new one is open. */
int log_reopen(struct log *l, struct cringle_err *err);
void log_feed(struct log *l, const char *stream, struct log_tail *tail, const char *data, size_t n);

/* The stream is at its end: what is left becomes a last, partial record. */
void log_end(struct log *l, const char *stream, struct log_tail *tail);
void log_done(struct log *l);

/* --- stdio (io.c) ------------------------------------------------------------------ */

struct io;

struct io_stream {
        struct source source;
        struct io *io;
        const char *name;       /* "stdout" or "stderr" */
        struct log_tail tail;
        bool dry;               /* nothing was there when it was read last */
};

struct attach;

/* A process's terminal or pipes, on our side. */
struct io {
        struct io_stream out, err;
        struct source in;               /* its stdin; -1: none or closed */
        bool tty;
        bool stdin_once;                /* stdin ends with the first client that had it */
        bool patient;                   /* wait for clients that do not read, where others are dropped */
        void (*over)(struct io *io);    /* of io_conclude() */
        size_t last;                    /* bytes read since then */
        struct log *log;                /* NULL: none */
        struct attach *clients;
};

void io_init(struct io *io, struct log *log);

/* Pipes: *@child are the process's ends (CLOEXEC, the caller's).  Without @stdin_open stdin is -1: /dev/null. */
int io_open_pipes(struct io *io, bool stdin_open, int child[3], struct cringle_err *err);

/* A terminal's master, which is ours from now on. */
int io_open_tty(struct io *io, int master, struct cringle_err *err);

/* A client; the fds (-1: none) are ours from now on, also on failure.  One that cannot keep up is dropped, or waited for. */
int io_attach(struct io *io, int in, int out, int err_fd, struct cringle_err *err);
int io_resize(struct io *io, uint16_t columns, uint16_t rows, struct cringle_err *err);

/* Read what is there now, so that the log is complete once the end is told. */
void io_drain(struct io *io);

/*
 * The process has ended: read what it wrote, and call @over, which may free @io, once the patient clients have taken it -
 * from in here when they have already.
 */
void io_conclude(struct io *io, void (*over)(struct io *io));
void io_cut(struct io *io);     /* without waiting any more */
void io_done(struct io *io);

/* --- cgroups (cgroup.c) ------------------------------------------------------------- */

/* OOM kills so far in the cgroup. */
uint64_t cgroup_oom_kills(const char *unified, const char *const *v1);

/* Kill everything in it and below.  -1 when there is no way to find out who that is. */
int cgroup_kill(const char *unified, const char *const *v1, struct cringle_err *err);

/* Signal everything in it and below. */
int cgroup_signal(const char *unified, const char *const *v1, int signal, struct cringle_err *err);

/* The hierarchy in which an exec gets a directory of its own below the container's: "<dir>/exec-<id>", made. */
char *cgroup_make_exec(const char *unified, const char *const *v1, const char *id, bool *ret_unified,
                       struct cringle_err *err);
void cgroup_kill_dir(const char *dir);

/* --- hooks (hooks.c) ---------------------------------------------------------------- */

/* A stage's hooks, one after the other, awaited. */
struct hooks {
        bool active;
        struct hook hook;
        struct source out;
        struct rec_cursor plan, at;
        enum plan_stage stage;
        unsigned index;
        int state_fd;
        bool stopped;                   /* hooks_kill(): whatever the hook's policy, none comes after it */
        void (*done)(struct hooks *h, int result, struct cringle_err *err);
};

/*
 * Run @stage of the container @h is in; @done is called with 0 when all ran and with -1 when one failed - at once
 * when there is none.  A failure that stops nothing is told as the others are, by serve_hook(), and nowhere else.
 */
void hooks_run(struct hooks *h, struct rec_cursor plan, enum plan_stage stage, const char *status, int32_t pid,
               void (*done)(struct hooks *h, int result, struct cringle_err *err));
void hooks_reaped(struct hooks *h, int status);
void hooks_kill(struct hooks *h);
int64_t hooks_deadline(const struct hooks *h);
void hooks_tick(struct hooks *h, int64_t now);

/* --- children (container.c) ----------------------------------------------------------- */

/* A plan received as a sealed memfd: mapped and checked. */
int plan_map(int fd, void **ret_data, size_t *ret_n, struct rec_cursor *ret_plan, struct cringle_err *err);

/* launch_limit(), and what we changed for ourselves put back; what fell short goes to @warnings (may be NULL). */
int limit_process(struct rec_cursor plan, pid_t pid, struct buf *warnings, struct cringle_err *err);

/* Of a pid that is told late: whether it has been reaped already, when it was nobody's yet. */
bool child_is_there(pid_t pid);

/* --- the pod (pod.c) ---------------------------------------------------------------- */

struct container;
struct exec;
struct conn;

struct monitor {
        const char *run_dir;
        char *pod;                      /* NULL: not opened yet */
        uint32_t namespaces;
        pid_t init;                     /* of a shared PID namespace; 0: none */
        int oom_score;                  /* as it was before we lowered ours: what children start from */
        uint64_t nofile_soft;           /* likewise */
        bool closing;
        struct container *containers;
        struct exec *execs;
        struct conn *conns;
};

extern struct monitor monitor;

int pod_open(struct rec_cursor fields, struct cringle_err *err);
void pod_unpin(void);

/* --- containers (container.c) -------------------------------------------------------- */

enum phase {
        PHASE_CREATING = 1,
        PHASE_CREATED = 2,
        PHASE_STARTING = 3,
        PHASE_RUNNING = 4,
        PHASE_EXITED = 5,
};

struct container {
        struct container *next;
        char *id;
        enum phase phase;
        void *plan_data;                /* mapped; NULL when nothing of it is needed any more */
        size_t plan_n;
        struct rec_cursor plan;
        char *unified;                  /* cgroup directories */
        char **v1;
        bool own_pid_ns;                /* everything in it dies with its first process */
        char *restore_pid_file;         /* its processes are restored: until they are, @pid is of the program that does it; or NULL */
        bool restored_died;             /* before that program has ended */
        int restored_status;
        pid_t worker, pid;              /* 0: none, or reaped */
        int32_t inner_pid;              /* 0: not born yet */
        struct source worker_source, process_source;
        int tty_slave;
        bool hooks_done;                /* those of the runtime: the worker may go on once the process is born */
        bool ready;                     /* the worker is done */
        bool executes;                  /* the process has said so: when its socket closes now, it runs its program */
        bool poststop_done;
        bool destroying;
        struct wire_state state;
        uint64_t oom_before;
        struct io io;
        struct log log;
        struct hooks hooks;
        struct cringle_err failure;     /* code set: why the launch failed */
        struct buf warnings;            /* lines, for the next reply */
};

struct container *container_find(const char *id);
int container_create(struct rec_cursor fields, const int *fds, size_t n_fds, struct container **ret,
                     struct cringle_err *err);
int container_start(struct container *c, struct cringle_err *err);
int container_kill(struct container *c, int signal, bool all, struct cringle_err *err);

/* Begin to end it; it is freed, and those who wait are told, when all is over. */
void container_destroy(struct container *c);
void container_reaped(struct container *c, pid_t pid, int status);

/* A child of nobody's was reaped: whether it is what @c restores. */
bool container_restored_reaped(struct container *c, pid_t pid, int status);
void container_state(const struct container *c, struct wire_state *ret);

/* --- execs (exec.c) ------------------------------------------------------------------ */

struct exec {
        struct exec *next;
        char *id;
        struct container *container;
        void *plan_data;
        size_t plan_n;
        struct rec_cursor plan;
        char *cgroup;                   /* a directory of its own, or NULL */
        bool running;                   /* its program has begun */
        bool ready;                     /* the worker has said so */
        bool failed;
        pid_t worker, pid;
        struct source worker_source, process_source;
        int tty_slave, tty_client;
        int64_t timeout, deadline;      /* nanoseconds; 0: none */
        bool timed_out;
        int status;                     /* wait status once reaped */
        bool concluding;                /* its client has not taken all yet */
        bool cut;                       /* nor will it */
        struct io io;                   /* with a terminal */
        struct cringle_err failure;
};

struct exec *exec_find(const char *id);
int exec_start(struct rec_cursor fields, const int *fds, size_t n_fds, struct exec **ret, struct cringle_err *err);
void exec_kill(struct exec *e);
void exec_reaped(struct exec *e, pid_t pid, int status);

void exec_forget_container(struct container *c);        /* its execs end with it */
int64_t exec_deadline(const struct exec *e);
void exec_tick(struct exec *e, int64_t now);     /* may free @e */

/* --- requests (serve.c) --------------------------------------------------------------- */

int serve_listen(struct cringle_err *err);
int serve_adopt(int fd, struct cringle_err *err);       /* a connection that is there already; ours from now on */

/* Tell those who wait for @object (a container, an exec) in a request of @type how it came out. */
void serve_answer(uint32_t type, const void *object, const struct cringle_err *failure);

/* Whether somebody waits so: who asked may have left. */
bool serve_is_awaited(uint32_t type, const void *object);

/* @object is about to be freed: whoever still waits for it learns that it is gone. */
void serve_abandon(const void *object);
void serve_event(uint32_t type, const struct container *c, const struct exec *e);

/* Tell that a hook of @c has run; kept while nobody wants events. */
void serve_hook(const struct container *c, const struct wire_hook *run);

/* With the last container gone, end when that was asked. */
void serve_check_close(void);
