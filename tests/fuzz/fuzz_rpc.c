/*
 * Bytes into a server's connection
 *
 * The first byte chooses the mode: with its lowest bit set, the client's preface and
 * an empty SETTINGS frame go in front; with the next, the rest are frames in a short
 * form (type, flags, stream, length, payload), so that a mutation keeps the framing.
 * One server serves all runs; each run is a connection of its own, ended by its close.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/log.h"
#include "agent/base/loop.h"
#include "agent/rpc/server.h"
#include "health.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WITH_PREFACE 1
#define WITH_FRAMES 2

static struct loop *loop;
static struct rpc_server *server;

static void start(void)
{
        static const struct rpc_limits limits = { .max_message = 64 * 1024, .max_streams = 16 };
        struct cringle_err err = CRINGLE_ERR_INIT;

        log_set_level(LOG_ERROR);
        if (loop_new(&loop, &err) < 0 || rpc_server_new(loop, &limits, &server, &err) < 0)
                abort();
}

/* The short form of frames, spelt out. */
static void put_frames(struct buf *to, const uint8_t *data, size_t size)
{
        while (size >= 4) {
                size_t n = data[3] < size - 4 ? data[3] : size - 4;
                uint8_t head[9] = { 0, 0, (uint8_t) n, data[0] % 12, data[1], 0, 0, 0, data[2] };

                buf_add(to, head, sizeof head, NULL);
                buf_add(to, data + 4, n, NULL);
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
        assert(rpc_server_connections(server) == 0);
        return 0;
}
