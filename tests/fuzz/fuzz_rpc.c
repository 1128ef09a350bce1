/*
 * Bytes into a server's connection
 *
 * The first byte chooses the mode: with its lowest bit set, the client's preface and
 * an empty SETTINGS frame go in front; with the next, the rest are frames in a short
 * form (type, flags, stream, length, payload), so that a mutation keeps the framing.
 * There are two frames that HTTP/2 does not have: CALL is the HEADERS of a call, of a method that
 * its flags choose, and MESSAGE a DATA with gRPC's prefix.  Every method of the CRI is served, and what is
 * unpacked must come out of packing as it went in.
 * One server serves all runs; each run is a connection of its own, ended by its close.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/log.h"
#include "agent/base/loop.h"
#include "agent/base/str.h"
#include "agent/rpc/server.h"
#include "cri.pb-c.h"
#include "tests/fuzz/fuzz.h"

#define WITH_PREFACE 1
#define WITH_FRAMES 2

enum { DATA = 0, HEADERS = 1, CALL = 12, MESSAGE = 13, FRAMES = 14 };

#define END_HEADERS 4

#define METHODS_MAX 64

static struct rpc_handler handlers[2][METHODS_MAX];     /* the server borrows them */
static struct loop *loop;
static struct rpc_server *server;

static const ProtobufCServiceDescriptor *const services[] = {
        &cri__runtime_service__descriptor, &cri__image_service__descriptor
};

/* Unpacked and packed again, it is the same message. */
static void on_call(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        auto_buf once = BUF_INIT, again = BUF_INIT;
        size_t n = protobuf_c_message_get_packed_size(request);
        ProtobufCMessage *copy;

        if (buf_reserve(&once, n, NULL) < 0 || buf_reserve(&again, n, NULL) < 0)
                abort();
        must(protobuf_c_message_pack(request, (uint8_t *) once.data) == n);
        copy = protobuf_c_message_unpack(request->descriptor, NULL, n, (const uint8_t *) once.data);
        must(copy);
        must(protobuf_c_message_get_packed_size(copy) == n);
        protobuf_c_message_pack(copy, (uint8_t *) again.data);
        must(memcmp(once.data, again.data, n) == 0);
        protobuf_c_message_free_unpacked(copy, NULL);
        rpc_call_reply_packed(call, NULL, 0);
}

static void serve(const ProtobufCServiceDescriptor *service, struct rpc_handler *list)
{
        must(service->n_methods < METHODS_MAX);
        for (unsigned i = 0; i < service->n_methods; i++)
                list[i] = (struct rpc_handler) { service->methods[i].name, on_call };
        if (rpc_server_add(server, service, list, NULL, NULL) < 0)
                abort();
}

static void start(void)
{
        static const struct rpc_limits limits = { .max_message = 64 * 1024, .max_streams = 16 };
        struct cringle_err err = CRINGLE_ERR_INIT;

        log_set_level(LOG_ERROR);
        if (loop_new(&loop, &err) < 0 || rpc_server_new(loop, &limits, &server, &err) < 0)
                abort();
        for (size_t i = 0; i < sizeof services / sizeof *services; i++)
                serve(services[i], handlers[i]);
}

/* A header as HPACK writes one that is in no table. */
static void put_header(struct buf *to, const char *name, const char *value)
{
        buf_printf(to, NULL, "%c%c%s%c%s", 0x10, (char) strlen(name), name, (char) strlen(value), value);
}

static void make_call(struct buf *to, uint8_t which)
{
        const ProtobufCServiceDescriptor *service = services[which & 1];
        char path[120];

        snprintf(path, sizeof path, "/%s/%s", service->name, service->methods[(which >> 1) % service->n_methods].name);
        put_header(to, ":method", "POST");
        put_header(to, ":scheme", "http");
        put_header(to, ":path", path);
        put_header(to, "content-type", "application/grpc");
        put_header(to, "te", "trailers");
}

/* Each is made once, and stays. */
static const struct buf *call_of(uint8_t which)
{
        static struct buf calls[256];

        if (calls[which].len == 0)
                make_call(&calls[which], which);
        return &calls[which];
}

static void put_frame(struct buf *to, uint8_t type, uint8_t flags, uint8_t stream, const struct buf *front,
                      const uint8_t *data, size_t n)
{
        size_t len = (front ? front->len : 0) + n;
        const uint8_t head[9] = { 0, (uint8_t) (len >> 8), (uint8_t) len, type, flags, 0, 0, 0, stream };

        buf_add(to, head, sizeof head, NULL);
        if (front)
                buf_add(to, front->data, front->len, NULL);
        buf_add(to, data, n, NULL);
}

/* The short form of frames, spelt out. */
static void put_frames(struct buf *to, const uint8_t *data, size_t size)
{
        while (size >= 4) {
                size_t n = data[3] < size - 4 ? data[3] : size - 4;
                uint8_t type = data[0] % FRAMES;

                if (type == CALL) {
                        put_frame(to, HEADERS, END_HEADERS, data[2], call_of(data[1]), data + 4, n);
                } else if (type == MESSAGE) {
                        char bytes[5] = { 0, 0, 0, 0, (char) n };
                        const struct buf prefix = { .data = bytes, .len = sizeof bytes };

                        put_frame(to, DATA, data[1], data[2], &prefix, data + 4, n);
                } else {
                        put_frame(to, type, data[1], data[2], NULL, data + 4, n);
                }
                data += 4 + n;
                size -= 4 + n;
        }
}

static void turn(void)
{
        for (int i = 0; i < 3; i++)
                uv_run(loop_uv(loop), UV_RUN_NOWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf bytes = BUF_INIT;
        int fds[2];
        size_t at = 0;

        if (size < 1)
                return 0;
        if (!server)
                start();
        if (data[0] & WITH_PREFACE)
                buf_add(&bytes, preface, sizeof preface - 1, NULL);
        if (data[0] & WITH_FRAMES)
                put_frames(&bytes, data + 1, size - 1);
        else
                buf_add(&bytes, data + 1, size - 1, NULL);

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                abort();
        if (rpc_server_adopt(server, fds[0], &err) < 0)
                abort();
        while (at < bytes.len) {
                char answer[4096];
                ssize_t n = send(fds[1], bytes.data + at, bytes.len - at, MSG_NOSIGNAL);

                if (n > 0)
                        at += (size_t) n;
                turn();
                while (recv(fds[1], answer, sizeof answer, 0) > 0)
                        ;
                if (n < 0)
                        break;
        }
        turn();
        close(fds[1]);
        turn();
        must(rpc_server_connections(server) == 0);
        return 0;
}
