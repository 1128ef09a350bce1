/*
 * Stdio of containers and of execs with a terminal: to the log, from and to clients
 *
 * Output goes to the log first and to clients after it.  A client of a container that does not
 * read is dropped once CLIENT_ROOM bytes wait for it; a slow one thus never holds
 * up the application or the log.  Its sockets are shut and stay open until it closes them, so that it
 * can tell that from the end of the output, when they are closed.  The client of an exec is the only reader that there is (`patient`): then
 * output is read only while less than that waits, the process waits for its client, and every
 * byte arrives.  Input is read from a client only when what it sent before has reached the application; one may go
 * before that, and is read to its end, but only the latest LEFT_MAX are waited for when an application does not read.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/own.h"
#include "agent/monitor/monitor.h"

#define CHUNK 32768
#define CLIENT_ROOM (256u << 10)
#define LAST_MAX (2u << 20)             /* read after the end of a process, in case somebody else writes on */
#define INPUT_CHUNK 4096
#define LEFT_MAX 16                     /* clients that went while their input waited */

struct outlet {
        struct source source;
        struct attach *client;
        struct buf waiting;
};

struct attach {
        struct attach *next;
        struct io *io;
        struct source in;
        struct outlet out, err;
        size_t input_n;                 /* read from the client, not yet taken by the application */
        char input[INPUT_CHUNK];
        bool left;                      /* it sends no more; what it sent is still to be read */
        bool dead;
        bool slow;                      /* that is why */
};

/* What was shut for a client that was too slow. */
struct cut {
        struct source source;
};

static char chunk[CHUNK];

/* --- clients ------------------------------------------------------------------------ */

static void cut_event(struct source *s, uint32_t events)
{
        struct cut *cut = SOURCE_OF(struct cut, source, s);

        if (!(events & (EPOLLERR | EPOLLHUP)))
                return;
        source_close(&cut->source);
        free(cut);
}

/* Without memory it is closed, like one that has heard all. */
static void cut_off(struct source *s)
{
        struct cut *cut = s->fd >= 0 ? calloc(1, sizeof *cut) : NULL;
        struct cringle_err err = CRINGLE_ERR_INIT;
        int fd = s->fd;

        if (!cut)
                return;
        source_stop(s);
        if (shutdown(fd, SHUT_WR) < 0 || source_watch(&cut->source, fd, 0, cut_event, &err) < 0) {
                close(fd);
                free(cut);
        }
}

static void client_free(struct attach *a)
{
        if (a->slow) {
                cut_off(&a->out.source);
                cut_off(&a->err.source);
        }
        source_close(&a->in);
        source_close(&a->out.source);
        source_close(&a->err.source);
        buf_done(&a->out.waiting);
        buf_done(&a->err.waiting);
        free(a);
}

/* Clients are only marked where they may be in use, and freed here. */
static void sweep(struct io *io)
{
        for (struct attach **at = &io->clients; *at;) {
                struct attach *a = *at;

                if (!a->dead && (a->in.fd >= 0 || a->out.source.fd >= 0 || a->err.source.fd >= 0 || a->input_n > 0)) {
                        at = &a->next;
                        continue;
                }
                *at = a->next;
                client_free(a);
        }
}

static void outlet_flush(struct outlet *o)
{
        while (o->waiting.len > 0) {
                ssize_t n = write(o->source.fd, o->waiting.data, o->waiting.len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n <= 0) {
                        source_close(&o->source);
                        buf_done(&o->waiting);
                        return;
                }
                buf_drop(&o->waiting, (size_t) n);
        }
        source_change(&o->source, o->waiting.len > 0 ? EPOLLOUT : 0);
}

static struct outlet *outlet_of(struct attach *a, const struct io_stream *s)
{
        return s == &a->io->out ? &a->out : &a->err;
}

/* Whether more can be read now, for the slowest of patient readers. */
static bool has_room(const struct io_stream *s)
{
        for (struct attach *a = s->io->clients; a && s->io->patient; a = a->next)
                if (outlet_of(a, s)->waiting.len + CHUNK > CLIENT_ROOM)
                        return false;
        return true;
}

static void go_on(struct io *io);

static void outlet_event(struct source *s, uint32_t events)
{
        struct outlet *o = SOURCE_OF(struct outlet, source, s);
        struct io *io = o->client->io;

        if (events & (EPOLLERR | EPOLLHUP)) {
                source_close(&o->source);
                buf_done(&o->waiting);
        } else {
                outlet_flush(o);
        }
        go_on(io);
}

static void outlet_put(struct outlet *o, const char *data, size_t n)
{
        if (o->source.fd < 0)
                return;
        if (o->waiting.len + n > CLIENT_ROOM || buf_add(&o->waiting, data, n, NULL) < 0) {
                o->client->dead = o->client->slow = true;
                return;
        }
        outlet_flush(o);
}

/* --- input ---------------------------------------------------------------------------- */

static void close_stdin(struct io *io)
{
        if (io->in.fd >= 0)
                source_close(&io->in);
}

/* Pass on what clients have sent, as far as the application takes it. */
static void pump_input(struct io *io)
{
        bool full = false;

        for (struct attach *a = io->clients; a; a = a->next) {
                while (a->input_n > 0 && io->in.fd >= 0 && !full) {
                        ssize_t n = write(io->in.fd, a->input, a->input_n);

                        if (n < 0 && errno == EINTR)
                                continue;
                        if (n < 0 && errno == EAGAIN) {
                                full = true;
                                break;
                        }
                        if (n < 0) {
                                close_stdin(io);        /* EPIPE: nobody reads it any more */
                                break;
                        }
                        a->input_n -= (size_t) n;
                        memmove(a->input, a->input + n, a->input_n);
                }
                if (io->in.fd < 0)
                        a->input_n = 0;
                source_change(&a->in, a->input_n > 0 ? EPOLLET : EPOLLIN);      /* of a hang-up we hear anyway: once */
        }
        source_change(&io->in, full ? EPOLLOUT : 0);
}

static void stdin_event(struct source *s, uint32_t events)
{
        struct io *io = SOURCE_OF(struct io, in, s);

        /* Without EPOLLOUT asked for, only an error or a hang-up comes here. */
        if (events & (EPOLLERR | EPOLLHUP))
                close_stdin(io);
        pump_input(io);
        sweep(io);
}

static void input_end(struct attach *a)
{
        source_close(&a->in);
        a->input_n = 0;
        if (a->io->stdin_once && !a->io->tty)
                close_stdin(a->io);
}

/* The latest come first in the list. */
static void give_up_the_oldest(struct io *io)
{
        int n = 0;

        for (struct attach *a = io->clients; a; a = a->next)
                if (a->left && a->in.fd >= 0 && ++n > LEFT_MAX)
                        input_end(a);
}

static void client_input(struct source *s, uint32_t events)
{
        struct attach *a = SOURCE_OF(struct attach, in, s);
        struct io *io = a->io;
        ssize_t n;

        if (a->input_n > 0) {           /* a hang-up while its last words still wait, here and in the socket */
                a->left = true;
                give_up_the_oldest(io);
                sweep(io);
                return;
        }
        n = read(a->in.fd, a->input, sizeof a->input);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n > 0) {
                a->input_n = (size_t) n;
                pump_input(io);
        } else {
                input_end(a);
        }
        sweep(io);
}

/* --- output ----------------------------------------------------------------------------- */

static void stream_close(struct io_stream *s)
{
        struct io *io = s->io;

        if (s->source.fd < 0)
                return;
        source_close(&s->source);
        if (io->log)
                log_end(io->log, s->name, &s->tail);
        /* Clients see the end of the stream once they have read what was before it. */
        for (struct attach *a = io->clients; a; a = a->next) {
                struct outlet *o = outlet_of(a, s);

                if (o->source.fd >= 0)
                        outlet_flush(o);
                if (!io->patient || o->waiting.len == 0)
                        source_close(&o->source);
        }
}

/* False: there is nothing (more) now, or no room for it. */
static bool stream_read(struct io_stream *s)
{
        struct io *io = s->io;
        ssize_t n;

        if (s->source.fd < 0)
                return false;
        if (!has_room(s)) {
                source_change(&s->source, EPOLLET);     /* a hang-up is told whatever is asked for; thus once */
                return false;
        }
        do
                n = read(s->source.fd, chunk, sizeof chunk);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN) {
                s->dry = true;
                return false;
        }
        if (n <= 0) {                   /* EIO: nobody has the terminal any more */
                stream_close(s);
                return false;
        }
        if (io->log)
                log_feed(io->log, s->name, &s->tail, chunk, (size_t) n);
        for (struct attach *a = io->clients; a; a = a->next)
                outlet_put(outlet_of(a, s), chunk, (size_t) n);
        if (io->over && (io->last += (size_t) n) > LAST_MAX)
                stream_close(s);
        return true;
}

static void stream_event(struct source *src, uint32_t events)
{
        struct io_stream *s = SOURCE_OF(struct io_stream, source, src);
        struct io *io = s->io;

        stream_read(s);
        go_on(io);
}

/* After anything that may have made room, or been the last; the io may be gone afterwards. */
static void go_on(struct io *io)
{
        struct io_stream *streams[] = { &io->out, &io->err };
        void (*over)(struct io *io) = io->over;

        sweep(io);
        for (int i = 0; i < 2; i++) {
                if (streams[i]->source.fd >= 0 && has_room(streams[i]))
                        source_change(&streams[i]->source, EPOLLIN);
                while (over && stream_read(streams[i]))
                        ;
        }
        for (struct attach *a = io->clients; a; a = a->next)
                for (int i = 0; i < 2; i++) {
                        struct outlet *o = outlet_of(a, streams[i]);

                        if (o->waiting.len > 0)
                                over = NULL;
                        else if (streams[i]->source.fd < 0)
                                source_close(&o->source);
                }
        sweep(io);
        for (int i = 0; i < 2; i++)
                if (streams[i]->source.fd >= 0 && !streams[i]->dry)
                        over = NULL;
        if (over) {
                io->over = NULL;
                over(io);
        }
}

void io_conclude(struct io *io, void (*over)(struct io *io))
{
        io->over = over;
        io->last = 0;
        io->out.dry = io->err.dry = false;
        go_on(io);
}

void io_cut(struct io *io)
{
        stream_close(&io->out);
        stream_close(&io->err);
        for (struct attach *a = io->clients; a; a = a->next)
                a->dead = true;
        go_on(io);
}

void io_drain(struct io *io)
{
        /* Bounded: somebody who is not of the container may hold the other end and write on. */
        for (int i = 0; i < 64 && stream_read(&io->out); i++)
                ;
        for (int i = 0; i < 64 && stream_read(&io->err); i++)
                ;
        if (io->log) {
                log_end(io->log, io->out.name, &io->out.tail);
                log_end(io->log, io->err.name, &io->err.tail);
        }
        sweep(io);
}

/* --- making and ending -------------------------------------------------------------------- */

void io_init(struct io *io, struct log *log)
{
        *io = (struct io) {
                .out = { .source = { .fd = -1 }, .io = io, .name = "stdout" },
                .err = { .source = { .fd = -1 }, .io = io, .name = "stderr" },
                .in = { .fd = -1 },
                .log = log,
        };
}

static int make_pipe(int *ret_read, int *ret_write, struct cringle_err *err)
{
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return err_sys(err, "make a pipe");
        *ret_read = fds[0];
        *ret_write = fds[1];
        return 0;
}

static int set_nonblocking(int fd, struct cringle_err *err)
{
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return err_sys(err, "set an fd non-blocking");
        return 0;
}

static int watch(struct source *s, int fd, uint32_t events, void (*fn)(struct source *, uint32_t),
                 struct cringle_err *err)
{
        if (set_nonblocking(fd, err) < 0)
                return -1;
        return source_watch(s, fd, events, fn, err);
}

int io_open_pipes(struct io *io, bool stdin_open, int child[3], struct cringle_err *err)
{
        auto_fd int in_read = -1, in_write = -1, out_read = -1, out_write = -1, err_read = -1, err_write = -1;

        if ((stdin_open && make_pipe(&in_read, &in_write, err) < 0) || make_pipe(&out_read, &out_write, err) < 0 ||
            make_pipe(&err_read, &err_write, err) < 0)
                return -1;
        if (watch(&io->out.source, out_read, EPOLLIN, stream_event, err) < 0)
                return -1;
        out_read = -1;
        if (watch(&io->err.source, err_read, EPOLLIN, stream_event, err) < 0)
                return -1;
        err_read = -1;
        if (stdin_open) {
                if (watch(&io->in, in_write, 0, stdin_event, err) < 0)
                        return -1;
                in_write = -1;
        }

        child[0] = steal_fd(&in_read);
        child[1] = steal_fd(&out_write);
        child[2] = steal_fd(&err_write);
        return 0;
}

int io_open_tty(struct io *io, int master, struct cringle_err *err)
{
        int second = fcntl(master, F_DUPFD_CLOEXEC, 3);

        io->tty = true;
        if (watch(&io->out.source, master, EPOLLIN, stream_event, err) < 0) {
                close(master);
                fd_close(second);
                return -1;
        }
        /* A second fd, so that reading and writing are watched apart. */
        if (second < 0 || watch(&io->in, second, 0, stdin_event, err) < 0) {
                fd_close(second);
                return err_sys(err, "watch the terminal");
        }
        return 0;
}

int io_attach(struct io *io, int in, int out, int err_fd, struct cringle_err *err)
{
        struct attach *a = calloc(1, sizeof *a);
        bool has_out = io->out.source.fd >= 0, has_err = io->err.source.fd >= 0;

        if (!a) {
                fd_close(in);
                fd_close(out);
                fd_close(err_fd);
                return err_oom(err);
        }
        a->io = io;
        a->in.fd = a->out.source.fd = a->err.source.fd = -1;
        a->out.client = a->err.client = a;
        a->next = io->clients;
        io->clients = a;

        /* What has ended already ends for the client too. */
        if (!has_out)
                out = fd_close(out);
        if (!has_err)
                err_fd = fd_close(err_fd);
        if ((out >= 0 && watch(&a->out.source, out, 0, outlet_event, err) < 0) ||
            (err_fd >= 0 && watch(&a->err.source, err_fd, 0, outlet_event, err) < 0) ||
            (in >= 0 && watch(&a->in, in, EPOLLIN, client_input, err) < 0)) {
                if (a->out.source.fd < 0)
                        fd_close(out);
                if (a->err.source.fd < 0)
                        fd_close(err_fd);
                if (a->in.fd < 0)
                        fd_close(in);
                a->dead = true;
                sweep(io);
                return -1;
        }
        sweep(io);
        return 0;
}

int io_resize(struct io *io, uint16_t columns, uint16_t rows, struct cringle_err *err)
{
        struct winsize size = { .ws_col = columns, .ws_row = rows };

        if (!io->tty || io->in.fd < 0)
                return err_set(err, CRINGLE_E_PRECONDITION, "there is no terminal");
        if (ioctl(io->in.fd, TIOCSWINSZ, &size) < 0)
                return err_sys(err, "resize the terminal");
        return 0;
}

void io_done(struct io *io)
{
        io->over = NULL;
        stream_close(&io->out);
        stream_close(&io->err);
        close_stdin(io);
        for (struct attach *a = io->clients; a; a = a->next) {
                a->dead = true;
                a->slow = a->slow || a->out.waiting.len > 0 || a->err.waiting.len > 0;
        }
        sweep(io);
}
