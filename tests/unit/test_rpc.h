#pragma once

/*
 * A world for the tests of agent/rpc: a server in a thread of its own with a few
 * methods that behave in all the ways a handler can, and a peer that writes frames
 * by hand.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "tests/support/unit.h"

#include "agent/base/buf.h"
#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/rpc/client.h"
#include "agent/rpc/server.h"
#include "cri.pb-c.h"
#include "health.pb-c.h"

#define SERVICE (&cri__runtime_service__descriptor)
#define PATH_OF(method) "/runtime.v1.RuntimeService/" method

struct world {
        char *dir;
        char *path;
        struct loop *loop;
        struct workers *workers;
        struct rpc_server *server;
        pthread_t thread;
        int fds;                        /* open before */
        bool shut;                      /* the test shut the server down itself */

        atomic_uint dispatched;         /* handlers that were called */
        atomic_uint cancelled;          /* calls whose handlers were told */
        atomic_uint working;            /* ExecSync calls that wait, for a worker or on one */
        atomic_bool deaf;               /* they do not notice that they are cancelled */
        atomic_uint sent;               /* events sent */
        unsigned to_send;               /* events in a stream */
        size_t event_size;
        bool heedless;                  /* send without regard to what rpc_call_send() says */
        struct flow *flow;              /* the last stream */
        bool break_stream;              /* end it with a failure */
        atomic_int observed;            /* the last status code; -1: none */
        sem_t shutdown_done;
};

#define AWKWARD "k\303\244se is 100% gone:\n\t\"x\" \x7f"

static inline int count_fds(void)
{
        DIR *d = opendir("/proc/self/fd");
        int n = 0;

        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

static inline void sleep_msec(int msec)
{
        struct timespec t = { msec / 1000, msec % 1000 * 1000000L };

        nanosleep(&t, NULL);
}

/* Wait until @condition holds, up to five seconds. */
#define assert_comes(condition)                                         \
        do {                                                            \
                int64_t until_ = clock_monotonic() + 5 * NSEC_PER_SEC;  \
                                                                        \
                while (!(condition) && clock_monotonic() < until_)      \
                        sleep_msec(2);                                  \
                assert_true(condition);                                 \
        } while (0)

/* Answers with what it was asked. */
static inline void on_version(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct world *w = data;
        const Cri__VersionRequest *asked = (const Cri__VersionRequest *) request;
        Cri__VersionResponse reply = CRI__VERSION_RESPONSE__INIT;

        w->dispatched++;
        reply.version = asked->version;
        reply.runtime_name = (char *) "cringle";
        rpc_call_reply(call, &reply.base);
}

static inline void list_on_worker(void *data)
{
        auto_of(rpc_call) call = data;
        Cri__ListContainersResponse reply = CRI__LIST_CONTAINERS_RESPONSE__INIT;
        auto_free Cri__Container *items = calloc(1000, sizeof *items);
        auto_free Cri__Container **list = calloc(1000, sizeof *list);
        auto_free char (*ids)[65] = calloc(1000, sizeof *ids);

        for (size_t i = 0; i < 1000; i++) {
                items[i] = (Cri__Container) CRI__CONTAINER__INIT;
                snprintf(ids[i], 65, "%064zu", i);
                items[i].id = items[i].pod_sandbox_id = items[i].image_ref = items[i].image_id = ids[i];
                list[i] = &items[i];
        }
        reply.containers = list;
        reply.n_containers = 1000;
        rpc_call_reply(call, &reply.base);
}

/* A thousand containers, from a worker. */
static inline void on_list(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct world *w = data;

        workers_run(w->workers, list_on_worker, rpc_call_ref(call));
}

static inline void on_status(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        err_set(&err, CRINGLE_E_NOT_FOUND, "%s", AWKWARD);
        rpc_call_fail(call, &err);
}

/* Forgets to answer. */
static inline void on_start(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
}

struct waiting {
        struct world *world;
        struct rpc_call *call;
};

static inline void on_stop_cancelled(void *data)
{
        struct waiting *waiting = data;

        waiting->world->cancelled++;
        rpc_call_unref(waiting->call);
        free(waiting);
}

/* Never answers: waits on the loop to be cancelled. */
static inline void on_stop(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct waiting *waiting = malloc(sizeof *waiting);

        *waiting = (struct waiting) { data, rpc_call_ref(call) };
        waiting->world->dispatched++;
        rpc_call_on_cancel(call, on_stop_cancelled, waiting);
}

static inline void exec_on_worker(void *data)
{
        struct waiting *waiting = data;
        struct world *w = waiting->world;
        struct cringle_err err = CRINGLE_ERR_INIT;

        call_wait(rpc_call_context(waiting->call), -1, 0, -1, &err);
        while (w->deaf)
                sleep_msec(2);
        w->working--;
        w->cancelled++;
        rpc_call_fail(waiting->call, &err);
        rpc_call_unref(waiting->call);
        free(waiting);
}

/* Never answers: waits on a worker to be cancelled. */
static inline void on_exec(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct world *w = data;
        struct waiting *waiting = malloc(sizeof *waiting);

        w->working++;
        *waiting = (struct waiting) { w, rpc_call_ref(call) };
        w->dispatched++;
        workers_run(w->workers, exec_on_worker, waiting);
}

/* Who calls, in the reply's fields. */
static inline void on_container_status(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        err_set(&err, CRINGLE_E_PRECONDITION, "uid %u pid %d %s", rpc_call_uid(call), (int) rpc_call_pid(call),
                rpc_call_method(call));
        rpc_call_fail(call, &err);
}

struct flow {
        struct world *world;
        struct rpc_call *call;
        unsigned next;
        char *padding;
};

static inline void flow_end(struct flow *f)
{
        rpc_call_on_cancel(f->call, NULL, NULL);
        rpc_call_on_drain(f->call, NULL, NULL);
        rpc_call_unref(f->call);
        free(f->padding);
        free(f);
}

static inline void flow_cancelled(void *data)
{
        struct flow *f = data;

        f->world->cancelled++;
        flow_end(f);
}

static inline void flow_on(void *data)
{
        struct flow *f = data;

        while (f->next < f->world->to_send) {
                Cri__ContainerEventResponse event = CRI__CONTAINER_EVENT_RESPONSE__INIT;
                int r;

                event.container_id = f->padding;
                event.created_at = f->next;
                r = rpc_call_send(f->call, &event.base);
                if (r < 0)
                        break;
                f->next++;
                f->world->sent++;
                if (r > 0 && !f->world->heedless)
                        return;
        }
        if (f->world->break_stream) {
                struct cringle_err err = CRINGLE_ERR_INIT;

                err_set(&err, CRINGLE_E_ABORTED, "enough");
                rpc_call_fail(f->call, &err);
        } else {
                rpc_call_finish(f->call);
        }
        flow_end(f);
}

static inline void on_events(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct world *w = data;
        struct flow *f = calloc(1, sizeof *f);

        w->flow = f;
        f->world = w;
        f->call = rpc_call_ref(call);
        f->padding = calloc(1, w->event_size + 1);
        memset(f->padding, 'x', w->event_size);
        rpc_call_on_cancel(call, flow_cancelled, f);
        rpc_call_on_drain(call, flow_on, f);
        flow_on(f);
}

static inline void observe(const char *method, int code, int64_t nsec, void *data)
{
        struct world *w = data;

        if (strcmp(method, PATH_OF("Version")) != 0)
                w->observed = code;
}

static const struct rpc_handler handlers[] = {
        { "Version", on_version },
        { "ListContainers", on_list },
        { "Status", on_status },
        { "StartContainer", on_start },
        { "StopContainer", on_stop },
        { "ExecSync", on_exec },
        { "ContainerStatus", on_container_status },
        { "GetContainerEvents", on_events },
        { 0 }
};

static inline void *run_loop(void *data)
{
        loop_run(((struct world *) data)->loop);
        return NULL;
}

static inline struct world *world_new(const struct rpc_limits *limits)
{
        struct world *w = calloc(1, sizeof *w);
        struct cringle_err *err = unit_err();
        int fd;

        /* The first loop of a process opens fds that libuv keeps. */
        assert_ok(loop_new(&w->loop, err), err);
        loop_free(w->loop);
        w->fds = count_fds();
        w->event_size = 100;
        w->to_send = 10;
        w->observed = -1;
        sem_init(&w->shutdown_done, 0, 0);
        w->dir = unit_make_dir();
        w->path = str_printf(err, "%s/rpc.sock", w->dir);
        assert_ok(loop_new(&w->loop, err), err);
        assert_ok(workers_new(32, &w->workers, err), err);
        assert_ok(rpc_server_new(w->loop, limits, &w->server, err), err);
        assert_ok(rpc_server_add(w->server, SERVICE, handlers, w, err), err);
        rpc_server_observe(w->server, observe, w);
        fd = sock_listen(w->path, SOCK_STREAM, 0600, err);
        assert_ok(fd, err);
        assert_ok(rpc_server_listen(w->server, fd, err), err);
        pthread_create(&w->thread, NULL, run_loop, w);
        return w;
}

static inline int setup(void **state)
{
        *state = world_new(NULL);
        return 0;
}

static inline struct rpc_client *client_of(struct world *w)
{
        struct rpc_client *client;
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(rpc_client_connect(w->path, &client, &err), &err);
        return client;
}

/* That the server answers, on @client. */
static inline void assert_answers(struct rpc_client *client)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cringle_call call = call_within(NULL, 10 * NSEC_PER_SEC);
        Cri__VersionRequest request = CRI__VERSION_REQUEST__INIT;
        ProtobufCMessage *reply;

        request.version = (char *) "v1";
        assert_ok(rpc_client_call(client, SERVICE, "Version", &request.base, &call, &reply, &err), &err);
        assert_string_equal(((Cri__VersionResponse *) reply)->version, "v1");
        protobuf_c_message_free_unpacked(reply, NULL);
}

/* What is left behind is nothing: the server still answers, and no fd is lost. */
static inline int teardown(void **state)
{
        struct world *w = *state;
        int fds;

        if (!w->shut) {
                auto_of(rpc_client) client = client_of(w);

                assert_answers(client);
        }
        loop_stop(w->loop);
        pthread_join(w->thread, NULL);
        rpc_server_free(w->server);
        workers_free(w->workers);
        loop_free(w->loop);
        unlink(w->path);
        rmdir(w->dir);
        fds = w->fds;
        free(w->path);
        free(w->dir);
        sem_destroy(&w->shutdown_done);
        free(w);
        assert_int_equal(count_fds(), fds);
        return 0;
}

/*
 * A peer that writes frames by hand
 */

struct raw {
        int fd;
        nghttp2_hd_inflater *inflater;
        struct buf in;
        struct buf log;                 /* what came, one line each: "3 grpc-status: 0", "3 DATA 12", "3 RST 8", "EOF" */
        size_t data;                    /* bytes of DATA */
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* False: the server has hung up. */
static inline bool raw_write(struct raw *r, const void *bytes, size_t n)
{
        size_t at = 0;

        while (at < n) {
                ssize_t sent = send(r->fd, (const char *) bytes + at, n - at, MSG_NOSIGNAL);

                if (sent < 0)
                        return false;
                at += (size_t) sent;
        }
        return true;
}

static inline void put_frame(struct buf *to, int type, int flags, int stream, const void *payload, size_t n)
{
        uint8_t head[9] = { (uint8_t) (n >> 16), (uint8_t) (n >> 8), (uint8_t) n, (uint8_t) type, (uint8_t) flags,
                            (uint8_t) (stream >> 24), (uint8_t) (stream >> 16), (uint8_t) (stream >> 8),
                            (uint8_t) stream };

        buf_add(to, head, sizeof head, NULL);
        buf_add(to, payload, n, NULL);
}

static inline bool raw_frame(struct raw *r, int type, int flags, int stream, const void *payload, size_t n)
{
        auto_buf b = BUF_INIT;

        put_frame(&b, type, flags, stream, payload, n);
        return raw_write(r, b.data, b.len);
}

static inline void put_string(struct buf *to, const char *text)
{
        size_t n = strlen(text);

        if (n < 127) {
                buf_add(to, &(uint8_t) { (uint8_t) n }, 1, NULL);
        } else {
                buf_add(to, &(uint8_t) { 127 }, 1, NULL);
                n -= 127;
                for (; n >= 128; n >>= 7)
                        buf_add(to, &(uint8_t) { (uint8_t) (n & 127) | 128 }, 1, NULL);
                buf_add(to, &(uint8_t) { (uint8_t) n }, 1, NULL);
        }
        buf_add_str(to, text, NULL);
}

static inline void put_header(struct buf *to, const char *name, const char *value)
{
        buf_add(to, "", 1, NULL);       /* literal, not indexed */
        put_string(to, name);
        put_string(to, value);
}

/* The headers of a call of @path; @extra: name, value, ..., NULL. */
static inline void put_request(struct buf *to, const char *path, const char *const *extra)
{
        put_header(to, ":method", "POST");
        put_header(to, ":scheme", "http");
        put_header(to, ":path", path);
        put_header(to, ":authority", "localhost");
        put_header(to, "content-type", "application/grpc");
        put_header(to, "te", "trailers");
        for (; extra && *extra; extra += 2)
                put_header(to, extra[0], extra[1]);
}

static inline bool raw_request(struct raw *r, int stream, const char *path, const char *const *extra)
{
        auto_buf block = BUF_INIT;

        put_request(&block, path, extra);
        return raw_frame(r, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, stream, block.data, block.len);
}

/* An empty message, and the end of the request. */
static inline bool raw_empty_message(struct raw *r, int stream)
{
        return raw_frame(r, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, "\0\0\0\0", 5);
}

static inline struct raw raw_open(struct world *w)
{
        struct cringle_err *err = unit_err();
        struct raw r = { .fd = sock_connect(w->path, SOCK_STREAM, err) };

        assert_ok(r.fd, err);
        nghttp2_hd_inflate_new(&r.inflater);
        return r;
}

/* A connection that has said hello. */
static inline struct raw raw_connect(struct world *w)
{
        struct raw r = raw_open(w);

        raw_write(&r, preface, sizeof preface - 1);
        raw_frame(&r, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
        return r;
}

static inline void raw_close(struct raw *r)
{
        r->fd = fd_close(r->fd);
        nghttp2_hd_inflate_del(r->inflater);
        buf_done(&r->in);
        buf_done(&r->log);
}

static inline void log_headers(struct raw *r, int stream, const uint8_t *block, size_t n)
{
        int done = 0;

        while (!(done & NGHTTP2_HD_INFLATE_FINAL)) {
                nghttp2_nv nv;
                ssize_t used = nghttp2_hd_inflate_hd2(r->inflater, &nv, &done, block, n, 1);

                if (used < 0)
                        break;
                block += used;
                n -= (size_t) used;
                if (done & NGHTTP2_HD_INFLATE_EMIT)
                        buf_printf(&r->log, NULL, "%d %s: %s\n", stream, (char *) nv.name, (char *) nv.value);
        }
        nghttp2_hd_inflate_end_headers(r->inflater);
}

static inline uint32_t number_at(const uint8_t *p)
{
        return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

static inline void log_frames(struct raw *r)
{
        while (r->in.len >= 9) {
                const uint8_t *f = (const uint8_t *) r->in.data;
                size_t n = (size_t) f[0] << 16 | (size_t) f[1] << 8 | f[2];
                int stream = (int) number_at(f + 5);

                if (r->in.len < 9 + n)
                        return;
                if (f[3] == NGHTTP2_HEADERS)
                        log_headers(r, stream, f + 9, n);
                else if (f[3] == NGHTTP2_DATA) {
                        buf_printf(&r->log, NULL, "%d DATA %zu\n", stream, n);
                        r->data += n;
                } else if (f[3] == NGHTTP2_RST_STREAM)
                        buf_printf(&r->log, NULL, "%d RST %u\n", stream, number_at(f + 9));
                else if (f[3] == NGHTTP2_GOAWAY)
                        buf_printf(&r->log, NULL, "GOAWAY %u\n", number_at(f + 13));
                else if (f[3] == NGHTTP2_PING)
                        buf_add_str(&r->log, "PING\n", NULL);
                buf_drop(&r->in, 9 + n);
        }
}

/* Read for up to @msec, or until the log contains @text (NULL: not), or the end.  True: it does. */
static inline bool raw_read(struct raw *r, const char *text, int msec)
{
        int64_t until = clock_monotonic() + msec * NSEC_PER_MSEC;

        for (;;) {
                struct pollfd p = { r->fd, POLLIN, 0 };
                int64_t left = (until - clock_monotonic()) / NSEC_PER_MSEC;
                char bytes[65536];
                ssize_t n;

                if (text && r->log.len > 0 && strstr(r->log.data, text))
                        return true;
                if (left < 0 || poll(&p, 1, (int) left) <= 0)
                        return false;
                n = read(r->fd, bytes, sizeof bytes);
                if (n <= 0) {
                        buf_add_str(&r->log, "EOF\n", NULL);
                        return text && strstr(r->log.data, text);
                }
                buf_add(&r->in, bytes, (size_t) n, NULL);
                log_frames(r);
        }
}

#define assert_hears(r, text)                                                                           \
        do {                                                                                            \
                if (!raw_read((r), (text), 5000))                                                       \
                        fail_msg("no '%s' in:\n%s", (text), (r)->log.len > 0 ? (r)->log.data : "");     \
        } while (0)
