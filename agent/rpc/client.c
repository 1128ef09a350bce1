/*
 * A blocking client; see client.h.
 *
 * One exchange at a time: frames are read and written until its stream has closed.
 * nghttp2's callbacks only gather; messages are unpacked and handed on between two
 * reads, so that the caller's function may take its time and the server feels it.
 */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "agent/base/buf.h"
#include "agent/base/clock.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/rpc/client.h"
#include "agent/rpc/text.h"

#define MAX_MESSAGE ((size_t) 64 * 1024 * 1024)
#define WINDOW (1024 * 1024)
#define READ_SIZE ((size_t) 64 * 1024)

struct rpc_client {
        char *path;
        int fd;                         /* -1: not connected */
        nghttp2_session *session;
        size_t max_message;
        struct buf out;
        char *in;                       /* READ_SIZE bytes to read into */
};

/* A call under way. */
struct exchange {
        const ProtobufCMethodDescriptor *method;
        int32_t stream;
        const char *request;            /* with its prefix */
        size_t n, at;                   /* its length, and what is sent of it */
        struct buf received;            /* messages with their prefixes */
        rpc_message_fn fn;              /* NULL: unary, the one message goes to .one */
        void *data;
        ProtobufCMessage *one;
        bool closed;
        bool grpc;                      /* the content type says so */
        int http_status;
        int code;                       /* grpc-status; -1: not seen */
        struct cringle_err said;        /* grpc-message in .text */
        uint32_t reset;                 /* HTTP/2 error the stream closed with */
};

static void disconnect(struct rpc_client *client)
{
        nghttp2_session_del(client->session);
        client->session = NULL;
        client->fd = fd_close(client->fd);
        buf_clear(&client->out);
}

struct rpc_client *rpc_client_free(struct rpc_client *client)
{
        if (!client)
                return NULL;

        disconnect(client);
        buf_done(&client->out);
        free(client->in);
        free(client->path);
        free(client);
        return NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *data)
{
        struct exchange *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        int64_t number;

        if (!x)
                return 0;
        if (strcmp((const char *) name, ":status") == 0 && str_int64((const char *) value, 0, 999, &number, NULL) == 0)
                x->http_status = (int) number;
        else if (strcmp((const char *) name, "content-type") == 0)
                x->grpc = str_starts((const char *) value, "application/grpc");
        else if (strcmp((const char *) name, "grpc-status") == 0)
                x->code = str_int64((const char *) value, 0, INT32_MAX, &number, NULL) == 0 ? (int) number
                                                                                               : CRINGLE_E_UNKNOWN;
        else if (strcmp((const char *) name, "grpc-message") == 0)
                rpc_message_decode((const char *) value, value_len, x->said.text, sizeof x->said.text);
        return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t n,
                   void *data)
{
        struct exchange *x = nghttp2_session_get_stream_user_data(session, stream);

        if (x && buf_add(&x->received, bytes, n, NULL) < 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t stream, uint32_t code, void *data)
{
        struct exchange *x = nghttp2_session_get_stream_user_data(session, stream);

        if (x) {
                x->closed = true;
                x->reset = code;
        }
        return 0;
}

static int open_session(struct rpc_client *client)
{
        static const nghttp2_settings_entry settings[] = {
                { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
                { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW },
        };
        nghttp2_session_callbacks *callbacks;
        int r;

        if (nghttp2_session_callbacks_new(&callbacks) != 0)
                return -1;
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
        r = nghttp2_session_client_new(&client->session, callbacks, client);
        nghttp2_session_callbacks_del(callbacks);
        if (r != 0 ||
            nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) != 0 ||
            nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0, WINDOW) != 0)
                return -1;
        return 0;
}

static int connect_to(struct rpc_client *client, struct cringle_err *err)
{
        disconnect(client);
        client->fd = sock_connect(client->path, SOCK_STREAM, err);
        if (client->fd < 0) {
                if (err)
                        err->code = CRINGLE_E_UNAVAILABLE;
                return -1;
        }
        if (open_session(client) < 0) {
                disconnect(client);
                return err_oom(err);
        }
        return 0;
}

int rpc_client_connect(const char *path, struct rpc_client **ret, struct cringle_err *err)
{
        auto_of(rpc_client) client = calloc(1, sizeof *client);

        if (!client)
                return err_oom(err);
        client->fd = -1;
        client->max_message = MAX_MESSAGE;
        client->path = strdup(path);
        client->in = malloc(READ_SIZE);
        if (!client->path || !client->in)
                return err_oom(err);
        if (connect_to(client, err) < 0)
                return -1;

        *ret = steal(&client);
        return 0;
}

void rpc_client_set_max_message(struct rpc_client *client, size_t bytes)
{
        client->max_message = bytes;
}

/* Send what there is to send, as far as it goes.  1: all is sent. */
static int write_some(struct rpc_client *client, struct cringle_err *err)
{
        for (;;) {
                ssize_t n;

                while (client->out.len < READ_SIZE) {
                        const uint8_t *data;

                        n = nghttp2_session_mem_send(client->session, &data);
                        if (n < 0)
                                return err_set(err, CRINGLE_E_INTERNAL, "HTTP/2: %s", nghttp2_strerror((int) n));
                        if (n == 0)
                                break;
                        if (buf_add(&client->out, data, (size_t) n, err) < 0)
                                return -1;
                }
                if (client->out.len == 0)
                        return 1;
                n = send(client->fd, client->out.data, client->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n < 0) {
                        err_sys(err, "send to %s", client->path);
                        if (err)
                                err->code = CRINGLE_E_UNAVAILABLE;
                        return -1;
                }
                buf_drop(&client->out, (size_t) n);
        }
}

/* One read.  1: something came; 0: nothing there. */
static int read_some(struct rpc_client *client, struct cringle_err *err)
{
        ssize_t n, used;

        do
                n = recv(client->fd, client->in, READ_SIZE, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0)
                return err_set(err, CRINGLE_E_UNAVAILABLE, "%s: %s", client->path,
                               n == 0 ? "the server closed the connection" : strerror(errno));

        used = nghttp2_session_mem_recv(client->session, (const uint8_t *) client->in, (size_t) n);
        if (used < 0)
                return err_set(err, CRINGLE_E_INTERNAL, "HTTP/2 from %s: %s", client->path,
                               nghttp2_strerror((int) used));
        return 1;
}

/* A connection that takes a new call; one that has ended in the meantime is made anew. */
static int ensure_connected(struct rpc_client *client, struct cringle_err *err)
{
        while (client->session) {
                int r = read_some(client, NULL);

                if (r < 0 || !nghttp2_session_check_request_allowed(client->session))
                        break;
                if (r == 0)
                        return 0;
        }
        return connect_to(client, err);
}

/* One message has arrived; it is ours to free or keep. */
static int take(struct exchange *x, ProtobufCMessage *message, struct cringle_err *err)
{
        int r;

        if (!x->fn && !x->one) {
                x->one = message;
                return 0;
        }
        r = x->fn ? x->fn(message, x->data, err)
                  : err_set(err, CRINGLE_E_INTERNAL, "more than one answer to a unary call");
        protobuf_c_message_free_unpacked(message, NULL);
        return r;
}

/* Unpack what has arrived whole and hand it on.  1: enough, says the caller. */
static int hand_on(struct rpc_client *client, struct exchange *x, struct cringle_err *err)
{
        size_t at = 0;
        int r = 0;

        while (r == 0 && x->received.len - at >= RPC_PREFIX) {
                const uint8_t *bytes = (const uint8_t *) x->received.data + at;
                uint32_t n = rpc_prefix_length(bytes);
                ProtobufCMessage *message;

                if (n > client->max_message)
                        return err_set(err, CRINGLE_E_EXHAUSTED, "a message of %u bytes is larger than the limit of %zu",
                                       n, client->max_message);
                if (bytes[0] != 0)
                        return err_set(err, CRINGLE_E_INTERNAL, "a message came compressed, unasked");
                if (x->received.len - at - RPC_PREFIX < n)
                        break;
                message = protobuf_c_message_unpack(x->method->output, NULL, n, bytes + RPC_PREFIX);
                if (!message)
                        return err_set(err, CRINGLE_E_INTERNAL, "the answer is no %s", x->method->output->name);
                r = take(x, message, err);
                at += RPC_PREFIX + n;
        }
        buf_drop(&x->received, at);
        return r;
}

static ssize_t on_read_request(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t length, uint32_t *flags,
                               nghttp2_data_source *source, void *data)
{
        struct exchange *x = source->ptr;
        size_t n = x->n - x->at < length ? x->n - x->at : length;

        memcpy(buf, x->request + x->at, n);
        x->at += n;
        if (x->at == x->n)
                *flags |= NGHTTP2_DATA_FLAG_EOF;
        return (ssize_t) n;
}

static nghttp2_nv header(const char *name, const char *value)
{
        return (nghttp2_nv) {
                .name = (uint8_t *) name,
                .namelen = strlen(name),
                .value = (uint8_t *) value,
                .valuelen = strlen(value),
        };
}

static int submit(struct rpc_client *client, struct exchange *x, const char *path, const struct cringle_call *call,
                  struct cringle_err *err)
{
        nghttp2_data_provider provider = { .source.ptr = x, .read_callback = on_read_request };
        char timeout[RPC_TIMEOUT_TEXT];
        nghttp2_nv nv[8];
        size_t n = 0;

        nv[n++] = header(":method", "POST");
        nv[n++] = header(":scheme", "http");
        nv[n++] = header(":path", path);
        nv[n++] = header(":authority", "localhost");
        nv[n++] = header("content-type", "application/grpc");
        nv[n++] = header("te", "trailers");
        if (call && call->deadline) {
                rpc_timeout_text(call->deadline - clock_monotonic(), timeout);
                nv[n++] = header("grpc-timeout", timeout);
        }
        x->stream = nghttp2_submit_request(client->session, NULL, nv, n, &provider, x);
        if (x->stream < 0)
                return err_set(err, CRINGLE_E_UNAVAILABLE, "HTTP/2: %s", nghttp2_strerror(x->stream));
        return 0;
}

/* What the closed stream comes to. */
static int verdict(const struct exchange *x, struct cringle_err *err)
{
        if (x->code > 0)
                return err_set(err, x->code, "%s", x->said.text);
        if (x->code == 0 && x->received.len > 0)
                return err_set(err, CRINGLE_E_INTERNAL, "the answer ends early");
        if (x->code == 0)
                return 0;
        if (x->http_status && (x->http_status != 200 || !x->grpc))
                return err_set(err, CRINGLE_E_UNKNOWN, "no gRPC here: HTTP status %d", x->http_status);
        if (x->reset == NGHTTP2_REFUSED_STREAM)
                return err_set(err, CRINGLE_E_UNAVAILABLE, "the server takes no more calls");
        return err_set(err, CRINGLE_E_UNAVAILABLE, "the call was cut off: %s", nghttp2_http2_strerror(x->reset));
}

/* Until the stream closes or the caller has enough. */
static int carry_out(struct rpc_client *client, struct exchange *x, const struct cringle_call *call,
                     struct cringle_err *err)
{
        for (;;) {
                int sent = write_some(client, err), r;

                if (sent < 0)
                        return -1;
                r = hand_on(client, x, err);
                if (r != 0)
                        return r;
                if (x->closed)
                        return verdict(x, err);
                r = read_some(client, err);
                if (r < 0)
                        return -1;
                if (r == 0 && call_wait(call, client->fd, (short) (POLLIN | (sent ? 0 : POLLOUT)), -1, err) < 0)
                        return -1;
        }
}

/* A call from end to end.  @x has fn and data set, or neither. */
static int perform(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
                   const ProtobufCMessage *request, const struct cringle_call *call, struct exchange *x,
                   struct cringle_err *err)
{
        size_t n = protobuf_c_message_get_packed_size(request);
        auto_free char *path = str_printf(err, "/%s/%s", service->name, method);
        auto_free uint8_t *packed = NULL;
        int r;

        if (!path)
                return -1;
        x->method = protobuf_c_service_descriptor_get_method_by_name(service, method);
        if (!x->method)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "service %s has no method %s", service->name, method);
        if (n > UINT32_MAX - RPC_PREFIX)
                return err_set(err, CRINGLE_E_INVALID, "a request of %zu bytes is too large", n);
        packed = malloc(RPC_PREFIX + n);
        if (!packed)
                return err_oom(err);
        rpc_prefix_write(packed, (uint32_t) n);
        protobuf_c_message_pack(request, packed + RPC_PREFIX);
        x->request = (const char *) packed;
        x->n = RPC_PREFIX + n;
        x->code = -1;

        if (call_check(call, err) < 0 || ensure_connected(client, err) < 0 || submit(client, x, path, call, err) < 0)
                return -1;
        r = carry_out(client, x, call, err);
        /* Nobody would read what still comes, and a server that we do not read from need not hear a reset. */
        if (!x->closed)
                disconnect(client);
        buf_done(&x->received);
        return r < 0 ? -1 : 0;
}

int rpc_client_stream(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
                      const ProtobufCMessage *request, const struct cringle_call *call, rpc_message_fn fn, void *data,
                      struct cringle_err *err)
{
        struct exchange x = { .fn = fn, .data = data, .said = CRINGLE_ERR_INIT };

        return perform(client, service, method, request, call, &x, err);
}

int rpc_client_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
                    const ProtobufCMessage *request, const struct cringle_call *call, ProtobufCMessage **ret,
                    struct cringle_err *err)
{
        struct exchange x = { .said = CRINGLE_ERR_INIT };

        if (perform(client, service, method, request, call, &x, err) < 0) {
                if (x.one)
                        protobuf_c_message_free_unpacked(x.one, NULL);
                return -1;
        }
        if (!x.one)
                return err_set(err, CRINGLE_E_INTERNAL, "%s: no answer came", method);
        *ret = x.one;
        return 0;
}
