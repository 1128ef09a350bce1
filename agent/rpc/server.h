#pragma once

/*
 * A gRPC server on unix sockets
 *
 * One thread, the loop's, owns the sockets and HTTP/2; it never blocks.  A handler
 * is called there once the whole request has arrived.  It answers at once, or takes
 * a reference to the call and lets another thread answer: everything that says
 * "any thread" may be used from wherever the work is done.
 *
 * What always holds:
 * - A call gets exactly one answer.  The first counts; what comes after the answer,
 *   or after the client has gone, is dropped without harm.
 * - Nobody is left hanging: a call whose last reference goes without an answer is
 *   answered INTERNAL, one whose deadline passes DEADLINE_EXCEEDED.
 * - What a client can make the server keep (connections, streams, calls, requests
 *   under way, answers it does not read) has a limit, see struct rpc_limits.
 *
 * grpc.health.v1.Health is served along with what is added.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <protobuf-c/protobuf-c.h>

#include "agent/base/call.h"
#include "agent/base/err.h"
#include "agent/base/loop.h"
#include "agent/base/own.h"

struct rpc_server;
struct rpc_call;

/* Zero stands for the default named beside it. */
struct rpc_limits {
        size_t max_message;             /* bytes of one request: 16 MiB; more is RESOURCE_EXHAUSTED */
        size_t max_receiving;           /* bytes of requests in memory, all connections: 64 MiB */
        size_t max_queue;               /* bytes of answer that one call keeps before rpc_call_send() says 1: 1 MiB */
        size_t max_unread;              /* bytes of answer kept for one connection: 64 MiB; more ends the call */
        uint32_t max_streams;           /* calls of one connection, with those abandoned but still at work: 256 */
        uint32_t max_connections;       /* 256; beyond it the longest idle one is dropped, else the new one */
        uint32_t max_header_list;       /* bytes as HTTP/2 counts them: 16 KiB */
        int64_t greeting_nsec;          /* for a new connection to say HTTP/2: 10 s */
        int64_t request_nsec;           /* for a request to arrive in full: 60 s */
};

/* @limits may be NULL.  @loop must outlive the server.  All of rpc_server_*(): loop thread, or before it runs. */
int rpc_server_new(struct loop *loop, const struct rpc_limits *limits, struct rpc_server **ret,
                   struct cringle_err *err);

/*
 * Drops connections at once; see rpc_server_shutdown().  Calls still referenced stay
 * valid, and are done.  Not from inside a handler or a callback of a call.
 */
struct rpc_server *rpc_server_free(struct rpc_server *server);

/*
 * Carry out @call.  Runs on the loop thread and must not block.  @request was
 * checked against the method's input type, and lives as long as a reference to
 * the call.
 */
typedef void (*rpc_handler_fn)(struct rpc_call *call, const ProtobufCMessage *request, void *data);

struct rpc_handler {
        const char *method;             /* as in the .proto file; NULL ends a table */
        rpc_handler_fn handle;
};

/*
 * Serve @service: each method goes to its handler with @data; a method without
 * one answers UNIMPLEMENTED and names itself.  @service, @handlers and @data are
 * borrowed for the server's life.  -1: a handler names a method that the service
 * does not have, or the service was added before.
 */
int rpc_server_add(struct rpc_server *server, const ProtobufCServiceDescriptor *service,
                   const struct rpc_handler *handlers, void *data, struct cringle_err *err);

/* Accept from a listening SOCK_STREAM unix socket.  Takes @listen_fd, also when it fails. */
int rpc_server_listen(struct rpc_server *server, int listen_fd, struct cringle_err *err);

/* Serve one connected SOCK_STREAM unix socket.  Takes @fd, also when it fails. */
int rpc_server_adopt(struct rpc_server *server, int fd, struct cringle_err *err);

/* What the health service says: serving (as it does from the start) or not. */
void rpc_server_set_serving(struct rpc_server *server, bool serving);

/*
 * Tell @fn of each call that has ended: its method ("/package.Service/Method", or
 * "unknown"), its status code, and the time from its headers to its answer.
 */
typedef void (*rpc_observe_fn)(const char *method, int code, int64_t nsec, void *data);
void rpc_server_observe(struct rpc_server *server, rpc_observe_fn fn, void *data);

/* How many connections there are. */
size_t rpc_server_connections(const struct rpc_server *server);

/*
 * Take no more connections or calls (clients are told by GOAWAY) and let the calls
 * under way end.  What is left after @grace_nsec is cancelled and fails with
 * UNAVAILABLE.  Then @done(@data) is called, never before this returns.  Health
 * watchers are told NOT_SERVING and let go at once.
 */
void rpc_server_shutdown(struct rpc_server *server, int64_t grace_nsec, void (*done)(void *data), void *data);

AUTO_DEFINE(rpc_server, rpc_server_free)

/*
 * A call.  From any thread, unless said otherwise, by whoever has a reference;
 * a handler has one until it returns.
 */
struct rpc_call *rpc_call_ref(struct rpc_call *call);
struct rpc_call *rpc_call_unref(struct rpc_call *call);         /* NULL is fine; always NULL */

AUTO_DEFINE(rpc_call, rpc_call_unref)

/* "/package.Service/Method"; lives as long as the call. */
const char *rpc_call_method(const struct rpc_call *call);

/* The @data its service was added with. */
void *rpc_call_data(const struct rpc_call *call);

/* Who connected (SO_PEERCRED). */
uid_t rpc_call_uid(const struct rpc_call *call);
pid_t rpc_call_pid(const struct rpc_call *call);

/* Answered, cancelled, past its deadline, or the client has gone: work for it is in vain. */
bool rpc_call_done(struct rpc_call *call);

/*
 * What to wait with: the deadline, a name for log lines, and a cancel_fd, for
 * which an eventfd is made when this is first called (-1 when none can be had).
 * Borrowed from the call.  An answer does not cancel; the client's going away and
 * the deadline do, and a shutdown that does not want to wait.
 */
const struct cringle_call *rpc_call_context(struct rpc_call *call);

/*
 * Have @fn(@data) called once when the call is cancelled, not when it is answered.
 * At a deadline it runs just before the call is answered, so @fn may give a better
 * answer itself.  @fn may drop references.  Loop thread; @fn runs there.  NULL: no
 * more.  For those who work on the loop: when another thread may answer at the same
 * time, @data must outlive that; a worker waits on the context's cancel_fd instead.
 */
void rpc_call_on_cancel(struct rpc_call *call, void (*fn)(void *data), void *data);

/* The answer to a unary call.  Packed on the calling thread; @reply may go afterwards. */
void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *reply);

/* The same with a message that is packed already, in @n parts; copied. */
void rpc_call_reply_packed(struct rpc_call *call, const struct iovec *parts, size_t n);

/*
 * One more message of a streaming answer.  0: taken; 1: taken, but more than
 * max_queue bytes wait for the client, so send no more until rpc_call_on_drain()
 * says so; -1: not taken, the call is done.  Whoever goes on regardless has the
 * call ended with RESOURCE_EXHAUSTED at max_unread.
 */
int rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message);
int rpc_call_send_packed(struct rpc_call *call, const void *bytes, size_t n);

/*
 * Have @fn(@data) called on the loop thread each time the queue, after a 1 from
 * rpc_call_send(), has fallen below half of max_queue.  Set it before the first
 * send.  Not called for a call that is done: that is rpc_call_on_cancel()'s part.
 */
void rpc_call_on_drain(struct rpc_call *call, void (*fn)(void *data), void *data);

/* The end of a streaming answer, with OK. */
void rpc_call_finish(struct rpc_call *call);

/* The answer is a failure, or a stream ends with one (after the messages sent before). */
void rpc_call_fail(struct rpc_call *call, const struct cringle_err *err);
