/*
 * ttRPC over a multiplexed stream; see ttrpc.h.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "agent/base/clock.h"
#include "agent/rpc/ttrpc.h"
#include "ttrpc.pb-c.h"

#define MUX_HEADER 8
#define HEADER 10
#define FRAME_MAX (TTRPC_MAX + HEADER)

/*
 * A message goes as one frame of at most so many bytes, and one of all the rest.  Readers that
 * take a frame into the buffer they happen to have (the Go library's) have one of this
 * size first, and one for the rest of the message then; another division they cannot take.
 */
#define FIRST_FRAME 4096

/* Until a peer that does not read has taken a message. */
#define WRITE_LIMIT (10 * NSEC_PER_SEC)

enum type { TYPE_REQUEST = 1, TYPE_RESPONSE = 2, TYPE_DATA = 3 };

/* A request that opens a stream in which more is to come. */
#define FLAG_REMOTE_OPEN 2

/* One of our calls; in the list until it is answered.  `event` becomes readable then. */
struct waiting {
        struct waiting *next;
        uint32_t stream;
        int event;
        bool done;
        bool refused;
        struct cringle_err why;
        struct buf *ret;
        int result;
};

/* One of the peer's calls that waits to be served. */
struct incoming {
        struct incoming *next;
        uint32_t stream;
        Ttrpc__Request *request;        /* NULL: refused as `refused` says */
        struct cringle_err refused;
};

/* The bytes of one connection of the mux, until they are a message. */
struct lane {
        struct buf in;
        size_t skip;                    /* of a message that is too long: bytes still to drop */
};

struct ttrpc {
        int fd;
        const struct ttrpc_ops *ops;
        void *data;
        pthread_t reader, server;
        pthread_mutex_t calling;        /* requests go out in the order of their streams; taken before the others */
        pthread_mutex_t writing;        /* one message at a time */
        struct lane lanes[2];           /* of the reading thread: TTRPC_OUT - 1, TTRPC_IN - 1 */

        pthread_mutex_t lock;           /* guards what follows */
        pthread_cond_t wake;            /* of the serving thread */
        bool closed;
        struct cringle_err why;
        uint32_t next_stream;           /* odd, as a client's */
        struct waiting *waiting;
        struct incoming *first, **last;
        size_t n_incoming;
};

static void put32(unsigned char *at, uint32_t value)
{
        value = htonl(value);
        memcpy(at, &value, sizeof value);
}

static uint32_t get32(const char *at)
{
        uint32_t value;

        memcpy(&value, at, sizeof value);
        return ntohl(value);
}

/* What ends the connection, told to all who wait; the first reason counts.  The lock is held. */
static void end(struct ttrpc *t, const struct cringle_err *why)
{
        if (t->closed)
                return;
        t->closed = true;
        t->why = *why;
        shutdown(t->fd, SHUT_RDWR);
        for (struct waiting *w = t->waiting; w; w = w->next)
                eventfd_write(w->event, 1);
        pthread_cond_broadcast(&t->wake);
}

static void end_locking(struct ttrpc *t, const struct cringle_err *why)
{
        pthread_mutex_lock(&t->lock);
        end(t, why);
        pthread_mutex_unlock(&t->lock);
}

/* All of @n bytes before @call ends. */
static int write_all(struct ttrpc *t, const char *data, size_t n, const struct cringle_call *call,
                     struct cringle_err *err)
{
        while (n > 0) {
                ssize_t r = send(t->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0 && errno != EAGAIN)
                        return err_sys(err, "write");
                if (r < 0) {
                        if (call_wait(call, t->fd, POLLOUT, -1, err) < 0)
                                return -1;
                        continue;
                }
                data += r;
                n -= (size_t) r;
        }
        return 0;
}

static int add_frame(struct buf *out, uint32_t lane, const char *data, size_t n, struct cringle_err *err)
{
        unsigned char header[MUX_HEADER];

        if (n == 0)
                return 0;
        put32(header, lane);
        put32(header + 4, (uint32_t) n);
        return buf_add(out, header, sizeof header, err) < 0 ? -1 : buf_add(out, data, n, err);
}

/* One message.  A failure half-way ends the connection: the peer cannot find the next one. */
static int send_message(struct ttrpc *t, uint32_t lane, enum type type, uint32_t stream,
                        const ProtobufCMessage *message, struct cringle_err *err)
{
        struct cringle_call limit = call_within(NULL, WRITE_LIMIT);
        size_t n = protobuf_c_message_get_packed_size(message);
        auto_buf whole = BUF_INIT, out = BUF_INIT;
        unsigned char header[HEADER] = { 0 };
        size_t first;
        int r;

        if (n > TTRPC_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "message of %zu bytes, at most %zu can be sent", n, TTRPC_MAX);
        put32(header, (uint32_t) n);
        put32(header + 4, stream);
        header[8] = type;
        if (buf_add(&whole, header, sizeof header, err) < 0 || buf_reserve(&whole, n, err) < 0)
                return -1;
        whole.len += protobuf_c_message_pack(message, (uint8_t *) whole.data + whole.len);
        first = whole.len < FIRST_FRAME ? whole.len : FIRST_FRAME;
        if (add_frame(&out, lane, whole.data, first, err) < 0 ||
            add_frame(&out, lane, whole.data + first, whole.len - first, err) < 0)
                return -1;

        pthread_mutex_lock(&t->writing);
        r = write_all(t, out.data, out.len, &limit, err);
        pthread_mutex_unlock(&t->writing);
        if (r < 0 && err)
                end_locking(t, err);
        return r;
}

/* ---- what the peer sends ------------------------------------------------------- */

static void take_response(struct ttrpc *t, uint32_t stream, const Ttrpc__Response *response,
                          const struct cringle_err *failure)
{
        pthread_mutex_lock(&t->lock);
        for (struct waiting *w = t->waiting; w; w = w->next) {
                if (w->stream != stream || w->done)
                        continue;
                w->done = true;
                if (failure) {
                        w->why = *failure;
                        w->refused = true;
                } else if (response->status && response->status->code != 0) {
                        err_set(&w->why, response->status->code > 0 && response->status->code <= CRINGLE_E_UNAUTHENTICATED
                                        ? response->status->code : CRINGLE_E_UNKNOWN, "%.1000s", response->status->message);
                        w->refused = true;
                } else {
                        w->result = buf_add(w->ret, response->payload.data, response->payload.len, &w->why);
                }
                eventfd_write(w->event, 1);
                break;          /* who waited no longer is not in the list: late answers are dropped */
        }
        pthread_mutex_unlock(&t->lock);
}

static int queue_request(struct ttrpc *t, uint32_t stream, Ttrpc__Request *request, const struct cringle_err *refused,
                         struct cringle_err *err)
{
        struct incoming *in = calloc(1, sizeof *in);
        int r = 0;

        if (!in) {
                if (request)
                        ttrpc__request__free_unpacked(request, NULL);
                return err_oom(err);
        }
        in->stream = stream;
        in->request = request;
        if (refused)
                in->refused = *refused;
        pthread_mutex_lock(&t->lock);
        if (t->n_incoming >= TTRPC_QUEUE) {
                r = err_set(err, CRINGLE_E_EXHAUSTED, "more than %d calls at once", TTRPC_QUEUE);
        } else {
                *t->last = in;
                t->last = &in->next;
                t->n_incoming++;
                in = NULL;
                pthread_cond_signal(&t->wake);
        }
        pthread_mutex_unlock(&t->lock);
        if (in && in->request)
                ttrpc__request__free_unpacked(in->request, NULL);
        free(in);
        return r;
}

/* A whole message, or one whose @body is NULL since it is longer than any may be. */
static int take_message(struct ttrpc *t, uint32_t lane, const char *header, const char *body, struct cringle_err *err)
{
        uint32_t n = get32(header), stream = get32(header + 4);
        unsigned char type = (unsigned char) header[8], flags = (unsigned char) header[9];
        struct cringle_err problem = CRINGLE_ERR_INIT;

        if (!body)
                err_set(&problem, CRINGLE_E_EXHAUSTED, "message of %u bytes, at most %zu are taken", n, TTRPC_MAX);
        if (lane == TTRPC_OUT) {
                Ttrpc__Response *response;

                if (type != TYPE_RESPONSE)
                        return err_set(err, CRINGLE_E_INVALID, "message of type %u where an answer was due", type);
                if (!body) {
                        take_response(t, stream, NULL, &problem);
                        return 0;
                }
                response = ttrpc__response__unpack(NULL, n, (const uint8_t *) body);
                if (!response)
                        return err_set(err, CRINGLE_E_INVALID, "an answer that cannot be decoded");
                take_response(t, stream, response, NULL);
                ttrpc__response__free_unpacked(response, NULL);
        } else {
                Ttrpc__Request *request = NULL;

                if (type != TYPE_REQUEST)
                        return err_set(err, CRINGLE_E_INVALID, "message of type %u where a call was due", type);
                if (stream % 2 == 0)
                        return err_set(err, CRINGLE_E_INVALID, "call on stream %u, which is no client's", stream);
                if (flags & FLAG_REMOTE_OPEN)
                        err_set(&problem, CRINGLE_E_UNIMPLEMENTED, "streams are not supported");
                if (!problem.code) {
                        request = ttrpc__request__unpack(NULL, n, (const uint8_t *) body);
                        if (!request)
                                return err_set(err, CRINGLE_E_INVALID, "a call that cannot be decoded");
                }
                return queue_request(t, stream, request, &problem, err);
        }
        return 0;
}

/* The messages that @lane has whole; what is left waits for more. */
static int take_messages(struct ttrpc *t, uint32_t lane, struct cringle_err *err)
{
        struct lane *l = &t->lanes[lane - 1];
        size_t at = 0;

        for (;;) {
                size_t have = l->in.len - at, drop = have < l->skip ? have : l->skip;
                uint32_t n;

                l->skip -= drop;
                at += drop;
                have -= drop;
                if (have < HEADER)
                        break;
                n = get32(l->in.data + at);
                if (n > TTRPC_MAX) {
                        if (take_message(t, lane, l->in.data + at, NULL, err) < 0)
                                return -1;
                        at += HEADER;
                        l->skip = n;
                        continue;
                }
                if (have - HEADER < n)
                        break;
                if (take_message(t, lane, l->in.data + at, l->in.data + at + HEADER, err) < 0)
                        return -1;
                at += HEADER + n;
        }
        buf_drop(&l->in, at);
        return 0;
}

/* 1, 0: the stream ended here; -1. */
static int read_all(int fd, char *data, size_t n, struct cringle_err *err)
{
        size_t got = 0;

        while (got < n) {
                ssize_t r = recv(fd, data + got, n - got, 0);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return err_sys(err, "read");
                if (r == 0)
                        return got == 0 ? 0 : err_set(err, CRINGLE_E_UNAVAILABLE, "the peer left in the middle of a frame");
                got += (size_t) r;
        }
        return 1;
}

/* One frame of the mux.  Memory is taken as bytes come, not as they are announced. */
static int read_frame(struct ttrpc *t, struct cringle_err *err)
{
        char header[MUX_HEADER], piece[16384];
        uint32_t lane, left;
        int r = read_all(t->fd, header, sizeof header, err);

        if (r <= 0)
                return r < 0 ? -1 : err_set(err, CRINGLE_E_UNAVAILABLE, "the peer has left");
        lane = get32(header);
        left = get32(header + 4);
        if (lane != TTRPC_OUT && lane != TTRPC_IN)
                return err_set(err, CRINGLE_E_INVALID, "frame for connection %u, which is none", lane);
        if (left > FRAME_MAX)
                return err_set(err, CRINGLE_E_INVALID, "frame of %u bytes, at most %zu are taken", left, FRAME_MAX);

        while (left > 0) {
                size_t n = left < sizeof piece ? left : sizeof piece;

                r = read_all(t->fd, piece, n, err);
                if (r <= 0)
                        return r < 0 ? -1 : err_set(err, CRINGLE_E_UNAVAILABLE, "the peer left in the middle of a frame");
                if (buf_add(&t->lanes[lane - 1].in, piece, n, err) < 0 || take_messages(t, lane, err) < 0)
                        return -1;
                left -= (uint32_t) n;
        }
        return 0;
}

static void *read_on(void *data)
{
        struct ttrpc *t = data;
        struct cringle_err err = CRINGLE_ERR_INIT;

        while (read_frame(t, &err) == 0)
                ;
        end_locking(t, &err);
        return NULL;
}

/* ---- serving ---------------------------------------------------------------------- */

static void serve(struct ttrpc *t, const struct incoming *in)
{
        struct cringle_err err = in->refused, broken = CRINGLE_ERR_INIT;
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        Ttrpc__Status status = TTRPC__STATUS__INIT;
        auto_buf answer = BUF_INIT;
        int r = -1;

        if (in->request)
                r = t->ops->serve(t->data, in->request->service, in->request->method, in->request->payload.data,
                                  in->request->payload.len, &answer, &err);
        if (r < 0) {
                status.code = err.code ? err.code : CRINGLE_E_UNKNOWN;
                status.message = err.text;
                response.status = &status;
        } else {
                response.payload.data = (uint8_t *) answer.data;
                response.payload.len = answer.len;
        }
        if (send_message(t, TTRPC_IN, TYPE_RESPONSE, in->stream, &response.base, &broken) < 0)
                end_locking(t, &broken);
}

static void free_incoming(struct incoming *in)
{
        if (in->request)
                ttrpc__request__free_unpacked(in->request, NULL);
        free(in);
}

static void *serve_on(void *data)
{
        struct ttrpc *t = data;

        pthread_mutex_lock(&t->lock);
        while (!t->closed) {
                struct incoming *in = t->first;

                if (!in) {
                        pthread_cond_wait(&t->wake, &t->lock);
                        continue;
                }
                t->first = in->next;
                if (!t->first)
                        t->last = &t->first;
                t->n_incoming--;
                pthread_mutex_unlock(&t->lock);
                serve(t, in);
                free_incoming(in);
                pthread_mutex_lock(&t->lock);
        }
        pthread_mutex_unlock(&t->lock);
        if (t->ops->closed)
                t->ops->closed(t->data, &t->why);
        return NULL;
}

/* ---- calling ---------------------------------------------------------------------- */

static int enlist(struct ttrpc *t, struct waiting *w, struct cringle_err *err)
{
        int r = 0;

        pthread_mutex_lock(&t->lock);
        if (t->closed) {
                r = err_set(err, CRINGLE_E_UNAVAILABLE, "connection has ended: %.1000s", t->why.text);
        } else {
                w->stream = t->next_stream;
                t->next_stream += 2;
                w->next = t->waiting;
                t->waiting = w;
        }
        pthread_mutex_unlock(&t->lock);
        return r;
}

static void delist(struct ttrpc *t, struct waiting *w)
{
        pthread_mutex_lock(&t->lock);
        for (struct waiting **at = &t->waiting; *at; at = &(*at)->next)
                if (*at == w) {
                        *at = w->next;
                        break;
                }
        pthread_mutex_unlock(&t->lock);
}

static int64_t time_left(const struct cringle_call *call)
{
        int64_t left;

        if (!call || !call->deadline)
                return 0;
        left = call->deadline - clock_monotonic();
        return left > 0 ? left : 1;
}

int ttrpc_call(struct ttrpc *t, const char *service, const char *method, const void *payload, size_t n,
               const struct cringle_call *call, struct buf *ret, struct cringle_err *err)
{
        Ttrpc__Request request = TTRPC__REQUEST__INIT;
        struct waiting w = { .why = CRINGLE_ERR_INIT, .ret = ret };
        auto_fd int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int r;

        if (event < 0)
                return err_sys(err, "eventfd");
        w.event = event;
        if (call_check(call, err) < 0)
                return -1;
        request.service = (char *) service;
        request.method = (char *) method;
        request.payload.data = (uint8_t *) payload;
        request.payload.len = n;
        request.timeout_nano = time_left(call);
        pthread_mutex_lock(&t->calling);
        r = enlist(t, &w, err);
        if (r == 0)
                r = send_message(t, TTRPC_OUT, TYPE_REQUEST, w.stream, &request.base, err);
        pthread_mutex_unlock(&t->calling);
        if (r == 0)
                r = call_wait(call, event, POLLIN, -1, err);
        delist(t, &w);                  /* from here on nobody else touches it */
        if (w.done && (w.refused || w.result < 0)) {
                if (err)
                        *err = w.why;
                return w.refused ? TTRPC_REFUSED : -1;
        }
        if (w.done)
                return 0;
        return r < 0 ? -1 : err_set(err, CRINGLE_E_UNAVAILABLE, "connection has ended: %.1000s", t->why.text);
}

/* ---- life ------------------------------------------------------------------------- */

int ttrpc_new(int fd, const struct ttrpc_ops *ops, void *data, struct ttrpc **ret, struct cringle_err *err)
{
        struct ttrpc *t = calloc(1, sizeof *t);
        int flags = fcntl(fd, F_GETFL), r;

        if (!t)
                return err_oom(err);
        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
                free(t);
                return err_sys(err, "make the connection blocking");
        }
        t->fd = fd;
        t->ops = ops;
        t->data = data;
        t->next_stream = 1;
        t->last = &t->first;
        t->why = (struct cringle_err) CRINGLE_ERR_INIT;
        pthread_mutex_init(&t->calling, NULL);
        pthread_mutex_init(&t->writing, NULL);
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->wake, NULL);

        r = pthread_create(&t->server, NULL, serve_on, t);
        if (r == 0) {
                r = pthread_create(&t->reader, NULL, read_on, t);
                if (r != 0) {
                        struct cringle_err why = CRINGLE_ERR_INIT;

                        err_sysno(&why, r, "no thread");
                        end_locking(t, &why);
                        pthread_join(t->server, NULL);
                }
        }
        if (r != 0) {
                pthread_cond_destroy(&t->wake);
                pthread_mutex_destroy(&t->lock);
                pthread_mutex_destroy(&t->writing);
                pthread_mutex_destroy(&t->calling);
                free(t);
                return err_sysno(err, r, "make a thread");
        }
        *ret = t;
        return 0;
}

void ttrpc_close(struct ttrpc *t)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        err_set(&why, CRINGLE_E_CANCELLED, "closed");
        end_locking(t, &why);
}

struct ttrpc *ttrpc_free(struct ttrpc *t)
{
        struct incoming *next;

        if (!t)
                return NULL;
        ttrpc_close(t);
        pthread_join(t->reader, NULL);
        pthread_join(t->server, NULL);
        for (struct incoming *in = t->first; in; in = next) {
                next = in->next;
                free_incoming(in);
        }
        buf_done(&t->lanes[0].in);
        buf_done(&t->lanes[1].in);
        close(t->fd);
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->lock);
        pthread_mutex_destroy(&t->writing);
        pthread_mutex_destroy(&t->calling);
        free(t);
        return NULL;
}
