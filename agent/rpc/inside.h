#pragma once

/*
 * What the parts of the server know of each other
 *
 *      server.c   sockets that listen, the table of methods, limits, shutdown
 *      conn.c     one connection: bytes in and out, HTTP/2, floods
 *      call.c     one call: its answer, made on any thread, sent on the loop's
 *      health.c   grpc.health.v1.Health, a service like any other
 *
 * Threads meet in one place, struct hub: a thread that changes a call's answer puts
 * the call on the hub's list, and the loop takes the whole list at once.  What the
 * loop does in reply to one event is a *turn* (server_turn_begin/end): lists are
 * taken and sockets written at its end, so that many answers leave in one write(2).
 *
 * Who keeps whom: a call keeps its connection's memory and, through it, the hub.
 * The connection's HTTP/2 half and the server may be long gone when the last
 * thread lets go of a call.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <nghttp2/nghttp2.h>

#include "agent/base/buf.h"
#include "agent/base/map.h"
#include "agent/rpc/arena.h"
#include "agent/rpc/server.h"

/* What calls share with their server, and keep when it has gone. */
struct hub {
        atomic_uint refs;
        struct rpc_limits limits;       /* no zeros left in it */
        atomic_size_t held;             /* bytes of requests, packed and unpacked */
        struct map methods;             /* path -> struct method, owned; the server adds to it */

        pthread_mutex_t lock;           /* guards what follows, and rpc_call.mailed, .mail_next */
        struct loop *loop;              /* NULL: the server has gone */
        struct rpc_server *server;
        struct rpc_call *first;         /* calls with news for the loop, each with a reference */
        struct rpc_call **end;
        bool posted;                    /* the loop will look */
};

struct hub *hub_unref(struct hub *hub);

/* Tell the loop that @call has news.  Any thread. */
void hub_mail(struct hub *hub, struct rpc_call *call);

/* All calls with news, linked by mail_next; the caller has their references.  Loop thread. */
struct rpc_call *hub_take(struct hub *hub);

struct method {
        char *path;                     /* "/package.Service/Method" */
        const ProtobufCMessageDescriptor *input;
        const ProtobufCMessageDescriptor *output;
        rpc_handler_fn handle;          /* NULL: not implemented */
        void *data;
};

struct listener {
        struct listener *next;
        struct rpc_server *server;
        int fd;
        struct loop_watch *watch;
        struct loop_timer *pause;       /* out of fds: look again when this fires */
};

struct rpc_server {
        struct loop *loop;
        struct hub *hub;
        nghttp2_session_callbacks *callbacks;
        nghttp2_option *options;
        struct map services;            /* name -> its descriptor */
        struct listener *listeners;
        struct conn *conns;             /* newest first */
        size_t n_conns;
        struct conn *dirty;             /* to be written at the end of the turn, each with a reference */
        unsigned turns;                 /* turns we are inside of */
        struct loop_timer *tick;        /* looks for what takes too long to arrive */
        struct loop_timer *grace;
        bool draining;
        void (*drained)(void *data);    /* NULL: told, or nobody wants to know */
        void *drained_data;
        rpc_observe_fn observe;
        void *observe_data;
        struct health *health;
        char *scratch;                  /* SCRATCH bytes to read into */
};

#define SHUTDOWN_TEXT "the server is shutting down"
#define DEADLINE_TEXT "deadline exceeded"

#define SCRATCH ((size_t) 64 * 1024)

/* Everything that enters the server from the loop stands between these two. */
void server_turn_begin(struct rpc_server *server);
void server_turn_end(struct rpc_server *server);

/* Something has begun that must not take for ever. */
void server_need_tick(struct rpc_server *server);

struct conn {
        atomic_uint refs;               /* the server's list, the dirty list, calls */
        struct hub *hub;
        uid_t uid;
        pid_t pid;
        atomic_size_t unread;           /* bytes of answers in the queues of its calls */
        atomic_uint n_working;          /* calls with users */

        /* Loop thread only. */
        struct rpc_server *server;
        struct conn *next, **link;
        struct conn *next_dirty;
        bool dirty;
        int fd;                         /* -1: closed */
        struct loop_watch *watch;
        int events;                     /* that it watches for */
        nghttp2_session *session;
        struct rpc_call *calls;         /* whose streams are open */
        int64_t born;
        int64_t last_busy;              /* when a call was there */
        bool greeted;
        bool deaf;                      /* what comes is no longer looked at */
        int64_t deaf_at;

        struct buf out;
        size_t out_at;                  /* bytes of it that are written */
        struct buf in;                  /* read, but not looked at since @out is full */
        size_t greeting_left;
        uint8_t head[9];                /* of the frame that arrives */
        size_t head_have;
        size_t payload_left;
        int64_t allowance;              /* frames that carry nothing, see charge() */
        int64_t allowance_at;
};

/* Takes @fd, also when it fails. */
int conn_new(struct rpc_server *server, int fd, struct cringle_err *err);
void conn_ref(struct conn *c);
void conn_unref(struct conn *c);

/* Write at the end of this turn. */
void conn_mark_dirty(struct conn *c);

/* Write what can be written; may close. */
void conn_flush(struct conn *c);

/* At once; calls are cancelled.  Not from inside nghttp2. */
void conn_close(struct conn *c);

/* No new calls; it closes when the last has ended. */
void conn_drain(struct conn *c);

/* Give up what takes too long.  True: there is something to look at again. */
bool conn_tick(struct conn *c, int64_t now);

/* Begin the answer of @call, or go on with it.  @bare: its status is all there is to send. */
void conn_answer(struct rpc_call *call, bool bare);

void conn_setup_callbacks(nghttp2_session_callbacks *callbacks);

/* One or more messages with their prefixes, on the way out. */
struct chunk {
        struct chunk *next;
        size_t n;
        size_t at;                      /* bytes that are sent */
        uint8_t bytes[];
};

struct rpc_call {
        atomic_uint refs;               /* of the memory: its stream, the hub's list, all users together */
        atomic_uint users;              /* the handler and those who took a reference */
        struct conn *conn;
        const struct method *method;    /* NULL: no such thing */
        char *unknown;                  /* then: what was asked for, to be named */
        int64_t started;
        int64_t deadline;               /* 0: none */
        ProtobufCMessage *request;      /* in arena */
        struct arena arena;

        struct rpc_call *mail_next;     /* under hub->lock */
        bool mailed;

        /* Loop thread only. */
        int32_t stream;                 /* 0: closed */
        struct rpc_call *next, **link;
        struct loop_timer *timer;
        struct buf packed;              /* the request with its prefix, as it arrives */
        size_t packed_room;             /* of it in hub->held */
        size_t header_bytes;
        unsigned seen;                  /* headers, SEEN_* in conn.c */
        bool complete;                  /* nothing more of the request is wanted */
        bool replying;                  /* response headers are submitted */
        void (*cancel_fn)(void *data);
        void *cancel_data;
        void (*drain_fn)(void *data);
        void *drain_data;

        pthread_mutex_t lock;           /* guards what follows */
        struct chunk *first, **end;
        size_t queued;                  /* bytes in the list not sent yet */
        bool full;                      /* rpc_call_send() said 1 */
        bool drained;                   /* and now it is below half: drain_fn is due */
        bool overflowed;                /* the queue is to be dropped */
        bool answered;                  /* status is decided */
        bool cancelled;
        bool closed;                    /* nobody is there to be answered */
        int status;
        char *status_text;              /* encoded; NULL: none */
        int64_t answered_at;
        bool has_context;
        struct cringle_call context;
        char name[64];                  /* context.request */
};

struct rpc_call *call_new(struct conn *c, int32_t stream);
void call_unref_memory(struct rpc_call *call);

/* Drop the packed request. */
void call_drop_packed(struct rpc_call *call);

/* Have the answer decided as a failure.  @format as for printf. */
__attribute__((format(printf, 3, 4)))
void call_fail_with(struct rpc_call *call, int code, const char *format, ...);

/* Cancel it, and answer with this unless whoever is told so answers first.  Loop thread, in a turn. */
void call_end(struct rpc_call *call, int code, const char *text);

/* The request is wholly there: unpack it and call the handler.  Loop thread, in a turn. */
void call_dispatch(struct rpc_call *call);

/* Take up news: what is to be sent, whom to wake.  Loop thread, in a turn. */
void call_deliver(struct rpc_call *call);

/* Its deadline is known: watch it.  Loop thread. */
void call_set_deadline(struct rpc_call *call, int64_t deadline);

/* Its stream has closed: nobody will be answered.  Drops the stream's reference.  Loop thread. */
void call_closed(struct rpc_call *call);

/* Send @n queued bytes into @out, which has the room. */
void call_take_queued(struct rpc_call *call, size_t n, struct buf *out);

int health_new(struct rpc_server *server, struct health **ret, struct cringle_err *err);
struct health *health_free(struct health *h);
void health_set(struct health *h, bool serving);
void health_end(struct health *h);      /* tell the watchers NOT_SERVING and let them go */
