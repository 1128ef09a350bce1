/*
 * One connection: bytes in and out, HTTP/2, and what a peer may not do
 *
 * nghttp2 is handed one frame at a time, never two.  After each frame what it wants
 * to send is taken from it, so that a connection it has given up is seen to be given
 * up before another frame arrives: nghttp2 before 1.68.1 could be driven into an
 * assertion by a malformed frame behind the one that ended the session.  It also lets
 * us count frames that carry nothing, which nghttp2 leaves to us.
 *
 * While more than OUT_HIGH bytes wait for the peer to read them, nothing is read from
 * it.  What it can make us keep on its own is thus bounded by what one read brought.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/guard.h"
#include "agent/base/log.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"
#include "agent/rpc/inside.h"
#include "agent/rpc/text.h"

#define OUT_HIGH ((size_t) 256 * 1024)
#define OUT_KEEP ((size_t) 64 * 1024)           /* room that an idle connection may keep */
#define READS_PER_TURN 4
#define WRITES_PER_TURN 4

#define GREETING 24                             /* bytes of the client's preface */
#define FRAME_HEAD 9
#define STREAM_WINDOW (256 * 1024)
#define CONNECTION_WINDOW (1024 * 1024)
#define SMALL_DATA 64
#define EXACT_MAX ((size_t) 64 * 1024)

/* Frames that carry nothing: how many at once, how many per second, how many for each frame we send. */
#define ALLOWANCE_MAX 10000
#define ALLOWANCE_PER_SEC 500
#define ALLOWANCE_PER_FRAME 4

#define NAME_MAX_SHOWN 200

/*
 * An answer at the deadline comes late: the client gives up by its own clock, and never
 * hears what its request waits for.  So it is given this much earlier, or an eighth of a short time limit.
 */
#define ANSWER_TIME (100 * NSEC_PER_MSEC)

enum {
        SEEN_POST = 1,
        SEEN_GRPC = 2,
        SEEN_ENCODED = 4,
        SEEN_BAD_TIMEOUT = 8,
        SEEN_TOO_MUCH = 16,
};

static struct rpc_call *call_at(struct conn *c, int32_t stream)
{
        return nghttp2_session_get_stream_user_data(c->session, stream);
}

void conn_ref(struct conn *c)
{
        atomic_fetch_add(&c->refs, 1);
}

void conn_unref(struct conn *c)
{
        if (atomic_fetch_sub(&c->refs, 1) != 1)
                return;

        hub_unref(c->hub);
        free(c);
}

void conn_mark_dirty(struct conn *c)
{
        if (c->dirty || c->fd < 0)
                return;

        c->dirty = true;
        conn_ref(c);
        c->next_dirty = c->server->dirty;
        c->server->dirty = c;
}

void conn_close(struct conn *c)
{
        struct rpc_server *server = c->server;

        if (c->fd < 0)
                return;

        loop_watch_stop(steal(&c->watch));
        c->fd = fd_close(c->fd);
        while (c->calls)
                call_closed(c->calls);
        nghttp2_session_del(c->session);
        c->session = NULL;
        buf_done(&c->out);
        buf_done(&c->in);

        *c->link = c->next;
        if (c->next)
                c->next->link = c->link;
        server->n_conns--;
        c->server = NULL;
        conn_unref(c);
}

/*
 * What arrives
 */

/* Nothing more is heard; what is to be said is still sent. */
static void stop_hearing(struct conn *c)
{
        c->deaf = true;
        c->deaf_at = clock_monotonic();
        buf_done(&c->in);
}

/* Take what nghttp2 has to send, as long as there is room. */
static int pump(struct conn *c)
{
        while (c->out.len - c->out_at < OUT_HIGH) {
                const uint8_t *data;
                ssize_t n = nghttp2_session_mem_send(c->session, &data);

                if (n < 0)
                        return -1;
                if (n == 0)
                        return 0;
                if (buf_add(&c->out, data, (size_t) n, NULL) < 0)
                        return -1;
        }
        return 0;
}

/*
 * Frames that carry no work cost something too.  Answers earn a peer some, since a
 * client acknowledges and measures as it reads; beyond that it has a quantity and a
 * rate, and whoever floods is cut off.
 */
static bool charge(struct conn *c)
{
        size_t n = c->payload_left;

        switch (c->head[3]) {
        case NGHTTP2_DATA:
                if (n >= SMALL_DATA || c->head[4] & NGHTTP2_FLAG_END_STREAM)
                        return true;
                break;
        case NGHTTP2_PING:
                if (c->head[4] & NGHTTP2_FLAG_ACK)
                        return true;
                break;
        default:
                break;
        }
        if (--c->allowance < 0) {
                int64_t now = clock_monotonic();

                c->allowance += (now - c->allowance_at) / (NSEC_PER_SEC / ALLOWANCE_PER_SEC);
                c->allowance_at = now;
                if (c->allowance > ALLOWANCE_MAX)
                        c->allowance = ALLOWANCE_MAX;
        }
        return !GUARD(frame_rate) || c->allowance >= 0;
}

/* How many of @n bytes belong to the frame that is under way or begins here; 0: the peer floods us. */
static size_t one_frame(struct conn *c, const char *data, size_t n)
{
        size_t used = 0;

        if (c->greeting_left > 0) {
                used = n < c->greeting_left ? n : c->greeting_left;
                c->greeting_left -= used;
                return used;
        }
        if (c->payload_left == 0) {
                used = FRAME_HEAD - c->head_have;
                if (used > n)
                        used = n;
                memcpy(c->head + c->head_have, data, used);
                c->head_have += used;
                if (c->head_have < FRAME_HEAD)
                        return used;
                c->payload_left = (size_t) c->head[0] << 16 | (size_t) c->head[1] << 8 | c->head[2];
                c->head_have = 0;
                if (!charge(c))
                        return 0;
        }
        if (n - used > c->payload_left) {
                used += c->payload_left;
                c->payload_left = 0;
        } else {
                c->payload_left -= n - used;
                used = n;
        }
        return used;
}

/* Look at @data; comes to how much of it: less than @n when too much waits to be read by the peer. */
static size_t hear(struct conn *c, const char *data, size_t n)
{
        size_t at = 0;

        while (at < n && !c->deaf && c->out.len - c->out_at < OUT_HIGH) {
                size_t part = one_frame(c, data + at, n - at);

                if (part == 0) {
                        nghttp2_session_terminate_session(c->session, NGHTTP2_ENHANCE_YOUR_CALM);
                        stop_hearing(c);
                } else if (nghttp2_session_mem_recv(c->session, (const uint8_t *) data + at, part) < 0 ||
                           pump(c) < 0 || !nghttp2_session_want_read(c->session)) {
                        stop_hearing(c);
                }
                at += part;
        }
        conn_mark_dirty(c);
        return c->deaf ? n : at;
}

static void read_some(struct conn *c)
{
        for (int i = 0; i < READS_PER_TURN && !c->deaf && c->in.len == 0 && c->out.len - c->out_at < OUT_HIGH; i++) {
                char *scratch = c->server->scratch;
                ssize_t n = read(c->fd, scratch, SCRATCH);
                size_t heard;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n <= 0) {
                        conn_close(c);
                        return;
                }
                heard = hear(c, scratch, (size_t) n);
                if (buf_add(&c->in, scratch + heard, (size_t) n - heard, NULL) < 0)
                        stop_hearing(c);
                if ((size_t) n < SCRATCH)
                        return;
        }
}

static void on_ready(int fd, int events, void *data)
{
        struct conn *c = data;
        struct rpc_server *server = c->server;

        conn_ref(c);
        server_turn_begin(server);
        if (events & UV_READABLE)
                read_some(c);
        conn_mark_dirty(c);
        server_turn_end(server);
        conn_unref(c);
}

/*
 * What leaves
 */

static void watch_for(struct conn *c, int events)
{
        if (c->events == events)
                return;
        c->events = events;
        loop_watch_change(c->watch, events);
}

/* Write until the peer's buffer is full.  1: all is written. */
static int write_some(struct conn *c)
{
        for (int i = 0; i < WRITES_PER_TURN; i++) {
                ssize_t n;

                if (pump(c) < 0)
                        return -1;
                if (c->out.len == 0)
                        return 1;
                n = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -1;
                c->out_at += (size_t) n;
                if (c->out_at == c->out.len) {
                        c->out_at = 0;
                        buf_clear(&c->out);
                } else if (c->out_at > OUT_HIGH) {
                        buf_drop(&c->out, c->out_at);
                        c->out_at = 0;
                }
        }
        return 0;
}

void conn_flush(struct conn *c)
{
        int r;

        if (c->fd < 0)
                return;

        r = write_some(c);
        if (r < 0) {
                conn_close(c);
                return;
        }
        if (c->in.len > 0 && c->out.len - c->out_at < OUT_HIGH) {
                buf_drop(&c->in, hear(c, c->in.data, c->in.len));
                if (c->in.len == 0)
                        buf_done(&c->in);
                r = 0;
        }
        if (r > 0 && (c->deaf || (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session)))) {
                conn_close(c);
                return;
        }
        if (r > 0 && c->out.room > OUT_KEEP)
                buf_done(&c->out);
        if (c->deaf)
                server_need_tick(c->server);

        watch_for(c, (r > 0 ? 0 : UV_WRITABLE) |
                  (c->deaf || c->in.len > 0 || c->out.len - c->out_at >= OUT_HIGH ? 0 : UV_READABLE));
}

static ssize_t on_read_answer(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t length,
                              uint32_t *flags, nghttp2_data_source *source, void *data);

static nghttp2_nv header(const char *name, const char *value)
{
        return (nghttp2_nv) {
                .name = (uint8_t *) name,
                .namelen = strlen(name),
                .value = (uint8_t *) value,
                .valuelen = strlen(value),
                .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME,
        };
}

/* Add the two trailers that say how a call ended; comes to how many. */
static size_t add_status(struct rpc_call *call, char number[static 12], nghttp2_nv *to)
{
        size_t n = 0;

        snprintf(number, 12, "%d", call->status);
        to[n++] = header("grpc-status", number);
        if (call->status_text && *call->status_text)
                to[n++] = header("grpc-message", call->status_text);
        return n;
}

void conn_answer(struct rpc_call *call, bool bare)
{
        struct conn *c = call->conn;
        nghttp2_data_provider provider = { .source.ptr = call, .read_callback = on_read_answer };
        nghttp2_nv nv[4];
        char number[12];
        size_t n = 0;

        conn_mark_dirty(c);
        if (call->replying) {
                nghttp2_session_resume_data(c->session, call->stream);
                return;
        }
        call->replying = true;
        nv[n++] = header(":status", "200");
        nv[n++] = header("content-type", "application/grpc");
        if (bare)
                n += add_status(call, number, nv + n);
        if (nghttp2_submit_response(c->session, call->stream, nv, n, bare ? NULL : &provider) != 0)
                nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_INTERNAL_ERROR);
}

static ssize_t on_read_answer(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t length,
                              uint32_t *flags, nghttp2_data_source *source, void *data)
{
        struct rpc_call *call = source->ptr;
        size_t queued;
        bool answered;

        pthread_mutex_lock(&call->lock);
        queued = call->queued;
        answered = call->answered;
        pthread_mutex_unlock(&call->lock);

        if (queued == 0 && !answered)
                return NGHTTP2_ERR_DEFERRED;
        if (queued <= length && answered) {
                nghttp2_nv nv[2];
                char number[12];

                if (nghttp2_submit_trailer(session, stream, nv, add_status(call, number, nv)) != 0)
                        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
                *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        }
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        return (ssize_t) (queued < length ? queued : length);
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                        nghttp2_data_source *source, void *data)
{
        struct conn *c = data;

        if (buf_reserve(&c->out, FRAME_HEAD + length, NULL) < 0 || buf_add(&c->out, head, FRAME_HEAD, NULL) < 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        call_take_queued(source->ptr, length, &c->out);
        return c->out.len - c->out_at < OUT_HIGH ? 0 : NGHTTP2_ERR_PAUSE;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
        struct conn *c = data;

        if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
                return 0;

        c->allowance += ALLOWANCE_PER_FRAME;
        if (c->allowance > ALLOWANCE_MAX)
                c->allowance = ALLOWANCE_MAX;
        /* Answered before the request was whole: its rest is not wanted. */
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
            nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
                nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
        return 0;
}

/*
 * A request, piece by piece
 */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
        struct conn *c = data;
        struct rpc_call *call;

        if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
                return 0;
        /* Calls that were reset still run until their handlers notice; they count. */
        if (GUARD(working_calls) && c->n_working >= c->hub->limits.max_streams) {
                nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
                return 0;
        }
        call = call_new(c, frame->hd.stream_id);
        if (!call)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
        return 0;
}

static bool is(const uint8_t *bytes, size_t n, const char *text)
{
        return n == strlen(text) && memcmp(bytes, text, n) == 0;
}

/* "application/grpc", alone or with "+proto" or parameters behind it. */
static bool is_grpc(const char *type, size_t n)
{
        static const char wanted[] = "application/grpc";
        size_t len = sizeof wanted - 1;

        if (n < len || memcmp(type, wanted, len) != 0)
                return false;
        return n == len || type[len] == ';' || is((const uint8_t *) type + len, n - len, "+proto");
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *data)
{
        struct conn *c = data;
        struct rpc_call *call = call_at(c, frame->hd.stream_id);

        if (!call || call->complete)
                return 0;
        call->header_bytes += name_len + value_len + 32;
        if (GUARD(header_bytes) && call->header_bytes > c->hub->limits.max_header_list) {
                call->seen |= SEEN_TOO_MUCH;
                return 0;
        }
        if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
                return 0;

        if (is(name, name_len, ":path")) {
                call->method = map_get(&c->hub->methods, (const char *) value);
                if (!call->method)
                        call->unknown = strndup((const char *) value, NAME_MAX_SHOWN);
        } else if (is(name, name_len, ":method")) {
                call->seen |= is(value, value_len, "POST") ? SEEN_POST : 0;
        } else if (is(name, name_len, "content-type")) {
                call->seen |= is_grpc((const char *) value, value_len) ? SEEN_GRPC : 0;
        } else if (is(name, name_len, "grpc-encoding")) {
                call->seen |= is(value, value_len, "identity") ? 0 : SEEN_ENCODED;
        } else if (is(name, name_len, "grpc-timeout")) {
                int64_t limit = rpc_timeout_parse((const char *) value, value_len);

                if (limit < 0)
                        call->seen |= SEEN_BAD_TIMEOUT;
                else
                        call->deadline = call->started + limit - (limit / 8 < ANSWER_TIME ? limit / 8 : ANSWER_TIME);
        }
        return 0;
}

/* This is no gRPC client: it is told in HTTP's terms. */
static void refuse_http(struct rpc_call *call, const char *status)
{
        nghttp2_nv nv = header(":status", status);

        call_fail_with(call, CRINGLE_E_UNKNOWN, "not gRPC");
        call->replying = true;
        nghttp2_submit_response(call->conn->session, call->stream, &nv, 1, NULL);
}

static void headers_done(struct rpc_call *call)
{
        struct conn *c = call->conn;

        if (call->seen & SEEN_TOO_MUCH)
                call_fail_with(call, CRINGLE_E_EXHAUSTED, "more than %u bytes of headers",
                               c->hub->limits.max_header_list);
        else if (!(call->seen & SEEN_POST))
                refuse_http(call, "405");
        else if (!(call->seen & SEEN_GRPC))
                refuse_http(call, "415");
        else if (!call->method)
                call_fail_with(call, CRINGLE_E_UNIMPLEMENTED, "unknown service or method %s",
                               call->unknown ? call->unknown : "");
        else if (!call->method->handle)
                call_fail_with(call, CRINGLE_E_UNIMPLEMENTED, "%s is not implemented", call->method->path);
        else if (call->seen & SEEN_ENCODED)
                call_fail_with(call, CRINGLE_E_UNIMPLEMENTED, "compressed requests are not supported");
        else if (call->seen & SEEN_BAD_TIMEOUT)
                call_fail_with(call, CRINGLE_E_INVALID, "grpc-timeout is malformed");
        else if (c->server->draining)
                call_fail_with(call, CRINGLE_E_UNAVAILABLE, SHUTDOWN_TEXT);
        else {
                if (call->deadline)
                        call_set_deadline(call, call->deadline);
                server_need_tick(c->server);
                return;
        }
        call->complete = true;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
        struct conn *c = data;
        struct rpc_call *call;

        if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
                c->greeted = true;
        if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
                return 0;
        call = call_at(c, frame->hd.stream_id);
        if (!call)
                return 0;
        if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
                headers_done(call);
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
                call_dispatch(call);
        return 0;
}

/* Room for @n more bytes of a request, within what all requests may hold. */
static int make_room(struct rpc_call *call, size_t n)
{
        struct hub *hub = call->conn->hub;
        size_t before = call->packed.room, more;

        if (buf_reserve(&call->packed, n, NULL) < 0)
                return -1;
        more = call->packed.room - before;
        call->packed_room += more;
        if (more == 0)
                return 0;
        return atomic_fetch_add(&hub->held, more) + more > hub->limits.max_receiving && GUARD(receiving) ? -1 : 0;
}

/* The message's prefix is there. */
static void check_prefix(struct rpc_call *call)
{
        const uint8_t *prefix = (const uint8_t *) call->packed.data;
        size_t max = call->conn->hub->limits.max_message, n = rpc_prefix_length(prefix);

        if (prefix[0] == 1)
                call_fail_with(call, CRINGLE_E_UNIMPLEMENTED, "compressed requests are not supported");
        else if (prefix[0] != 0)
                call_fail_with(call, CRINGLE_E_INVALID, "the request has unknown flags");
        else if (GUARD(message_size) && n > max)
                call_fail_with(call, CRINGLE_E_EXHAUSTED, "a request of %zu bytes is larger than the limit of %zu", n,
                               max);
        else if (n < EXACT_MAX && make_room(call, n) < 0)
                call_fail_with(call, CRINGLE_E_EXHAUSTED, "too many requests are under way");
        else
                return;
        call->complete = true;
}

static void take_in(struct rpc_call *call, const uint8_t *bytes, size_t n)
{
        while (n > 0 && !call->complete) {
                size_t have = call->packed.len, whole = RPC_PREFIX, part;

                if (have >= RPC_PREFIX)
                        whole += rpc_prefix_length((const uint8_t *) call->packed.data);
                if (have == whole) {
                        call_fail_with(call, CRINGLE_E_INVALID, "more than one request in a call");
                        call->complete = true;
                        break;
                }
                part = n < whole - have ? n : whole - have;
                if (make_room(call, part) < 0 || buf_add(&call->packed, bytes, part, NULL) < 0) {
                        call_fail_with(call, CRINGLE_E_EXHAUSTED, "too many requests are under way");
                        call->complete = true;
                        break;
                }
                bytes += part;
                n -= part;
                if (have < RPC_PREFIX && call->packed.len == RPC_PREFIX)
                        check_prefix(call);
        }
        if (call->complete)
                call_drop_packed(call);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t n,
                   void *data)
{
        struct rpc_call *call = call_at(data, stream);

        if (call && !call->complete)
                take_in(call, bytes, n);
        return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t stream, uint32_t code, void *data)
{
        struct rpc_call *call = call_at(data, stream);

        if (call) {
                nghttp2_session_set_stream_user_data(session, stream, NULL);
                call_closed(call);
        }
        return 0;
}

void conn_setup_callbacks(nghttp2_session_callbacks *callbacks)
{
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
        nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
}

/*
 * Beginning, end and the clock
 */

static int open_session(struct conn *c, struct cringle_err *err)
{
        const struct rpc_limits *limits = &c->hub->limits;
        nghttp2_settings_entry settings[] = {
                { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->max_streams },
                { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->max_header_list },
                { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
                { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
        };

        if (nghttp2_session_server_new2(&c->session, c->server->callbacks, c, c->server->options) != 0)
                return err_oom(err);
        if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) != 0 ||
            nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
                return err_oom(err);
        return 0;
}

int conn_new(struct rpc_server *server, int fd, struct cringle_err *err)
{
        auto_fd int mine = fd;
        struct conn *c = calloc(1, sizeof *c);

        if (!c)
                return err_oom(err);
        c->refs = 1;
        c->hub = server->hub;
        atomic_fetch_add(&c->hub->refs, 1);
        c->server = server;
        c->greeting_left = GREETING;
        c->allowance = ALLOWANCE_MAX;
        c->born = c->last_busy = c->allowance_at = clock_monotonic();
        c->events = UV_READABLE;
        if (sock_peer(fd, &c->uid, &c->pid, err) < 0 || open_session(c, err) < 0)
                goto fail;
        c->watch = loop_watch(server->loop, fd, c->events, on_ready, c, err);
        if (!c->watch)
                goto fail;

        c->fd = steal_fd(&mine);
        c->next = server->conns;
        c->link = &server->conns;
        if (c->next)
                c->next->link = &c->next;
        server->conns = c;
        server->n_conns++;
        server_turn_begin(server);
        conn_mark_dirty(c);
        server_turn_end(server);
        return 0;

fail:
        nghttp2_session_del(c->session);
        conn_unref(c);
        return -1;
}

void conn_drain(struct conn *c)
{
        nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
        conn_mark_dirty(c);
}

bool conn_tick(struct conn *c, int64_t now)
{
        const struct rpc_limits *limits = &c->hub->limits;
        bool again = !c->greeted || c->deaf;

        if (again && now - (c->deaf ? c->deaf_at : c->born) > limits->greeting_nsec) {
                conn_close(c);
                return false;
        }
        for (struct rpc_call *call = c->calls; call; call = call->next) {
                if (call->complete)
                        continue;
                again = true;
                if (now - call->started > limits->request_nsec) {
                        call_fail_with(call, CRINGLE_E_DEADLINE, "the request took too long to arrive");
                        call->complete = true;
                        call_drop_packed(call);
                }
        }
        return again;
}
