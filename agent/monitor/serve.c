/*
 * Requests of the agent; see agent/wire/monitor.h
 *
 * A connection has one request under way at most.  What is not over at once is
 * remembered with the connection as (type, object), and answered by serve_answer()
 * when the object gets there.  Nothing here ever blocks: an agent that does not
 * read loses its connection, and asks again with a new one.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/guard.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/monitor/monitor.h"
#include "plugins/api/executor.h"

struct conn {
        struct conn *next;
        struct source source;
        bool watching;                  /* wants events */
        uint32_t type, id;              /* of the request under way; 0: none */
        const void *waits_for;
};

struct request {
        struct conn *conn;
        struct rec_cursor fields;
        int fds[WIRE_FDS_MAX];
        size_t n_fds;
};

static struct source listener = { .fd = -1 };
static char packet[WIRE_MAX];

/* Runs of hooks that nobody was told. */
static struct {
        struct buf kept[WIRE_HOOKS_KEPT];
        size_t n;
        uint64_t lost;                  /* those that found no place, and that nobody has been told of */
} untold;

/* --- answering ------------------------------------------------------------------------ */

static void conn_free(struct conn *conn)
{
        for (struct conn **at = &monitor.conns; *at; at = &(*at)->next)
                if (*at == conn) {
                        *at = conn->next;
                        break;
                }
        source_close(&conn->source);
        free(conn);
}

/* False: the peer does not take it. */
static bool deliver(struct conn *conn, const struct buf *message, const int *fds, size_t n_fds)
{
        return sock_send(conn->source.fd, message->data, message->len, fds, n_fds, NULL) == 0;
}

static void put_error(struct rec_writer *w, const struct cringle_err *err)
{
        rec_begin(w, WIRE_ERROR);
        rec_put_u32(w, (uint32_t) (err->code == CRINGLE_OK ? CRINGLE_E_UNKNOWN : err->code));
        rec_put_u32(w, (uint32_t) err->sys);
        rec_put_str(w, err->text);
        rec_end(w);
}

static void put_container(struct rec_writer *w, const struct container *c)
{
        struct wire_state state;

        container_state(c, &state);
        wire_put_state(w, &state);
        rec_add_u64(w, WIRE_LOG_DROPPED, c->log.dropped);
}

static void put_warnings(struct rec_writer *w, struct container *c)
{
        char *at = c->warnings.data, *line;

        while (at && (line = strsep(&at, "\n")))
                if (*line)
                        rec_add_str(w, WIRE_WARNING, line);
        buf_done(&c->warnings);
}

/* The reply to @conn's request; @c may be NULL.  The connection may be gone afterwards. */
static void answer(struct conn *conn, struct container *c, const struct cringle_err *failure, int fd)
{
        auto_buf message = BUF_INIT;
        struct rec_writer w;
        uint32_t type = conn->type;

        conn->type = 0;
        conn->waits_for = NULL;
        if (wire_begin(&w, &message, type | WIRE_REPLY, conn->id, NULL) == 0) {
                if (failure)
                        put_error(&w, failure);
                if (c) {
                        put_container(&w, c);
                        put_warnings(&w, c);
                }
                if (type == WIRE_WATCH) {
                        rec_add_str(&w, WIRE_POD, monitor.pod);
                        rec_add_u32(&w, WIRE_PID, (uint32_t) getpid());
                }
        }
        if (rec_finish(&w) < 0 || !deliver(conn, &message, &fd, fd >= 0))
                conn_free(conn);
}

void serve_answer(uint32_t type, const void *object, const struct cringle_err *failure)
{
        struct conn *next;

        for (struct conn *conn = monitor.conns; conn; conn = next) {
                next = conn->next;
                if (conn->type == type && conn->waits_for == object)
                        answer(conn, type == WIRE_EXEC ? NULL : (struct container *) object, failure, -1);
        }
}

bool serve_is_awaited(uint32_t type, const void *object)
{
        for (const struct conn *conn = monitor.conns; conn; conn = conn->next)
                if (conn->type == type && conn->waits_for == object)
                        return true;
        return false;
}

void serve_abandon(const void *object)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct conn *next;

        err_set(&err, CRINGLE_E_ABORTED, "it was destroyed meanwhile");
        for (struct conn *conn = monitor.conns; conn; conn = next) {
                next = conn->next;
                if (conn->type && conn->waits_for == object)
                        answer(conn, NULL, &err, -1);
        }
}

/* True: somebody was told. */
static bool tell_watching(const struct buf *message)
{
        struct conn *next;
        bool told = false;

        for (struct conn *conn = monitor.conns; conn; conn = next) {
                next = conn->next;
                if (!conn->watching)
                        continue;
                if (deliver(conn, message, NULL, 0))
                        told = true;
                else
                        conn_free(conn);
        }
        return told;
}

static void drop_untold(void)
{
        buf_done(&untold.kept[0]);
        memmove(&untold.kept[0], &untold.kept[1], --untold.n * sizeof untold.kept[0]);
}

void serve_event(uint32_t type, const struct container *c, const struct exec *e)
{
        auto_buf message = BUF_INIT;
        struct rec_writer w;

        if (wire_begin(&w, &message, type, 0, NULL) < 0)
                return;
        rec_add_str(&w, WIRE_CONTAINER, c ? c->id : "");
        if (e) {
                struct wire_state state = { .state = CRINGLE_RUN_EXITED };

                if (WIFSIGNALED(e->status)) {
                        state.signal = WTERMSIG(e->status);
                        state.exit_code = 128 + state.signal;
                } else {
                        state.exit_code = WEXITSTATUS(e->status);
                }
                rec_add_str(&w, WIRE_EXEC_ID, e->id);
                wire_put_state(&w, &state);
                rec_add_u32(&w, WIRE_TIMED_OUT, e->timed_out);
        } else if (c) {
                put_container(&w, c);
        }
        if (rec_finish(&w) < 0)
                return;
        tell_watching(&message);
}

void serve_hook(const struct container *c, const struct wire_hook *run)
{
        auto_buf message = BUF_INIT;
        struct rec_writer w;

        if (wire_begin(&w, &message, WIRE_HOOK_RAN, 0, NULL) == 0) {
                rec_add_str(&w, WIRE_CONTAINER, c->id);
                wire_put_hook(&w, run);
        }
        if (rec_finish(&w) < 0) {
                untold.lost++;
                return;
        }
        if (tell_watching(&message))
                return;
        if (untold.n == WIRE_HOOKS_KEPT) {
                drop_untold();
                untold.lost++;
        }
        untold.kept[untold.n++] = message;
        message = (struct buf) BUF_INIT;
}

/* To who has just come: how many are lost, then the others, the oldest first. */
static void tell_untold(void)
{
        auto_buf message = BUF_INIT;
        struct rec_writer w;

        if (untold.lost > 0 && wire_begin(&w, &message, WIRE_HOOK_RAN, 0, NULL) == 0) {
                rec_add_u64(&w, WIRE_HOOKS_LOST, untold.lost);
                if (rec_finish(&w) == 0 && tell_watching(&message))
                        untold.lost = 0;
        }
        while (untold.n > 0 && tell_watching(&untold.kept[0]))
                drop_untold();
}

/* --- the requests ------------------------------------------------------------------------ */

/* What a handler comes to: it is answered now, or when waits_for gets there. */
enum { ANSWER = 0, WAIT = 1 };

static const char *text_of(const struct request *r, uint16_t field)
{
        struct rec_cursor body;

        return rec_first(r->fields, field, &body) ? rec_get_str(&body) : "";
}

static uint32_t number_of(const struct request *r, uint16_t field)
{
        struct rec_cursor body;

        return rec_first(r->fields, field, &body) ? rec_get_u32(&body) : 0;
}

static int need_container(const struct request *r, struct container **ret, struct cringle_err *err)
{
        const char *id = text_of(r, WIRE_CONTAINER);

        *ret = container_find(id);
        if (!*ret)
                return err_set(err, CRINGLE_E_NOT_FOUND, "there is no container %s", id);
        return 0;
}

static int do_watch(struct request *r, struct container **ret, struct cringle_err *err)
{
        r->conn->watching = true;
        return ANSWER;
}

static int do_open_pod(struct request *r, struct container **ret, struct cringle_err *err)
{
        return pod_open(r->fields, err);
}

static int do_create(struct request *r, struct container **ret, struct cringle_err *err)
{
        struct container *c;

        if (!monitor.pod || monitor.closing)
                return err_set(err, CRINGLE_E_PRECONDITION, "the pod is not open");
        if (container_create(r->fields, r->fds, r->n_fds, &c, err) < 0)
                return -1;
        if (c->failure.code != CRINGLE_OK) {
                *err = c->failure;
                return -1;
        }
        *ret = c;
        r->conn->waits_for = c;
        return c->phase == PHASE_CREATING ? WAIT : ANSWER;
}

static int do_start(struct request *r, struct container **ret, struct cringle_err *err)
{
        if (need_container(r, ret, err) < 0 || container_start(*ret, err) < 0)
                return -1;
        r->conn->waits_for = *ret;
        return (*ret)->phase == PHASE_RUNNING && !(*ret)->hooks.active ? ANSWER : WAIT;
}

static int do_kill(struct request *r, struct container **ret, struct cringle_err *err)
{
        struct container *c;

        if (need_container(r, &c, err) < 0)
                return -1;
        return container_kill(c, (int) number_of(r, WIRE_SIGNAL), number_of(r, WIRE_FLAGS) & WIRE_ALL, err);
}

static int do_state(struct request *r, struct container **ret, struct cringle_err *err)
{
        return need_container(r, ret, err);
}

static int do_destroy(struct request *r, struct container **ret, struct cringle_err *err)
{
        struct container *c = container_find(text_of(r, WIRE_CONTAINER));

        if (!c)
                return ANSWER;          /* gone already */
        r->conn->waits_for = c;
        container_destroy(c);           /* answers by itself, now or later */
        return WAIT;
}

static int do_reopen_log(struct request *r, struct container **ret, struct cringle_err *err)
{
        struct container *c;

        if (need_container(r, &c, err) < 0)
                return -1;
        return log_reopen(&c->log, err);
}

static int do_exec(struct request *r, struct container **ret, struct cringle_err *err)
{
        struct exec *e;

        if (exec_start(r->fields, r->fds, r->n_fds, &e, err) < 0)
                return -1;
        r->conn->waits_for = e;
        return WAIT;
}

static int do_kill_exec(struct request *r, struct container **ret, struct cringle_err *err)
{
        struct exec *e = exec_find(text_of(r, WIRE_EXEC_ID));

        if (e)
                exec_kill(e);
        return ANSWER;
}

static int do_resize(struct request *r, struct container **ret, struct cringle_err *err)
{
        const char *id = text_of(r, WIRE_EXEC_ID);
        uint32_t columns = number_of(r, WIRE_COLUMNS), rows = number_of(r, WIRE_ROWS);
        struct container *c;
        struct exec *e = *id ? exec_find(id) : NULL;

        if (columns > UINT16_MAX || rows > UINT16_MAX)
                return err_set(err, CRINGLE_E_INVALID, "a terminal of %u by %u is too large", columns, rows);
        if (*id && !e)
                return err_set(err, CRINGLE_E_NOT_FOUND, "there is no exec %s", id);
        if (e)
                return io_resize(&e->io, (uint16_t) columns, (uint16_t) rows, err);
        if (need_container(r, &c, err) < 0)
                return -1;
        return io_resize(&c->io, (uint16_t) columns, (uint16_t) rows, err);
}

static int do_attach(struct request *r, struct container **ret, struct cringle_err *err)
{
        uint32_t flags = number_of(r, WIRE_FLAGS);
        struct container *c;
        int fds[3] = { -1, -1, -1 };
        size_t next = 0;

        if (need_container(r, &c, err) < 0)
                return -1;
        if (c->phase == PHASE_EXITED)
                return err_set(err, CRINGLE_E_PRECONDITION, "container %s is over", c->id);
        for (int i = 0; i < 3; i++)
                if (flags & (uint32_t) WIRE_HAS_STDIN << i) {
                        if (next >= r->n_fds)
                                return err_set(err, CRINGLE_E_INVALID, "the request lacks fds");
                        fds[i] = steal_fd(&r->fds[next++]);
                }
        return io_attach(&c->io, fds[0], fds[1], fds[2], err);
}

static int do_close_pod(struct request *r, struct container **ret, struct cringle_err *err)
{
        struct container *next;

        monitor.closing = true;
        r->conn->waits_for = &monitor;
        for (struct exec *e = monitor.execs; e; e = e->next)
                exec_kill(e);
        for (struct container *c = monitor.containers; c; c = next) {
                next = c->next;
                container_destroy(c);
        }
        return WAIT;                    /* answered below, by serve_check_close() */
}

static const struct {
        const char *what;
        int (*fn)(struct request *r, struct container **ret, struct cringle_err *err);
} handlers[] = {
        [WIRE_WATCH] = { "watch", do_watch },
        [WIRE_OPEN_POD] = { "open pod", do_open_pod },
        [WIRE_CREATE] = { "create container", do_create },
        [WIRE_START] = { "start container", do_start },
        [WIRE_KILL] = { "kill container", do_kill },
        [WIRE_STATE] = { "state of container", do_state },
        [WIRE_DESTROY] = { "destroy container", do_destroy },
        [WIRE_REOPEN_LOG] = { "reopen log", do_reopen_log },
        [WIRE_EXEC] = { "exec", do_exec },
        [WIRE_KILL_EXEC] = { "kill exec", do_kill_exec },
        [WIRE_RESIZE] = { "resize", do_resize },
        [WIRE_ATTACH] = { "attach", do_attach },
        [WIRE_CLOSE_POD] = { "close pod", do_close_pod },
};

void serve_check_close(void)
{
        auto_free char *path = NULL;
        int status;

        if (!monitor.closing || monitor.containers || monitor.execs)
                return;
        if (monitor.init > 0) {
                kill(monitor.init, SIGKILL);
                while (waitpid(monitor.init, &status, 0) < 0 && errno == EINTR)
                        ;
        }
        pod_unpin();
        path = str_printf(NULL, "%s/" WIRE_SOCKET, monitor.run_dir);
        if (path)
                unlink(path);
        for (struct conn *conn = monitor.conns, *next; conn; conn = next) {
                next = conn->next;
                if (conn->type == WIRE_CLOSE_POD)
                        answer(conn, NULL, NULL, -1);
        }
        _exit(0);
}

/* --- connections ---------------------------------------------------------------------------- */

static void handle(struct request *r, uint32_t type)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct conn *conn = r->conn;
        struct container *c = NULL;
        auto_fd int pidfd = -1;
        int result;

        conn->waits_for = NULL;
        if (type >= sizeof handlers / sizeof handlers[0] || !handlers[type].fn) {
                err_set(&err, CRINGLE_E_UNIMPLEMENTED, "this monitor knows no request %u", type);
                answer(conn, NULL, &err, -1);
                return;
        }
        result = handlers[type].fn(r, &c, &err);
        if (type == WIRE_CLOSE_POD) {
                serve_check_close();
                return;
        }
        if (result == WAIT)
                return;
        if (result < 0) {
                err_wrap(&err, "%s", handlers[type].what);
                answer(conn, NULL, &err, -1);
                return;
        }
        if (type == WIRE_WATCH)
                pidfd = pidfd_open(getpid(), 0);
        answer(conn, c, NULL, pidfd);
        if (type == WIRE_WATCH)
                tell_untold();
}

static void conn_event(struct source *s, uint32_t events)
{
        struct conn *conn = SOURCE_OF(struct conn, source, s);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct request r = { .conn = conn, .n_fds = WIRE_FDS_MAX };
        struct wire_header header;
        size_t n = 0;

        if (sock_recv(s->fd, packet, sizeof packet, &n, r.fds, &r.n_fds, &err) < 0) {
                if (err.sys != EAGAIN)
                        conn_free(conn);
                return;
        }
        if (n == 0 || conn->type != 0 || wire_open(packet, n, &header, &r.fields, &err) < 0) {
                conn_free(conn);        /* its end, or a peer that does not keep the rules */
        } else {
                conn->type = header.type;
                conn->id = header.id;
                handle(&r, header.type);
        }
        for (size_t i = 0; i < r.n_fds; i++)
                fd_close(r.fds[i]);
}

int serve_adopt(int fd, struct cringle_err *err)
{
        struct conn *conn = calloc(1, sizeof *conn);
        int flags = fcntl(fd, F_GETFL);

        if (!conn || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
            source_watch(&conn->source, fd, EPOLLIN, conn_event, err) < 0) {
                free(conn);
                close(fd);
                return err_set(err, CRINGLE_E_INTERNAL, "take a connection");
        }
        conn->next = monitor.conns;
        monitor.conns = conn;
        return 0;
}

static void listen_event(struct source *s, uint32_t events)
{
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        uid_t uid;
        pid_t pid;

        if (fd < 0)
                return;
        if (sock_peer(fd, &uid, &pid, NULL) < 0 || (GUARD(monitor_peer) && uid != 0)) {
                close(fd);
                return;
        }
        serve_adopt(fd, NULL);
}

int serve_listen(struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/" WIRE_SOCKET, monitor.run_dir);
        int fd = path ? sock_listen(path, SOCK_SEQPACKET, 0600, err) : -1;

        if (fd < 0)
                return -1;
        return source_watch(&listener, fd, EPOLLIN, listen_event, err);
}
