#pragma once

/*
 * A blocking gRPC client on a unix socket, for command line tools and tests
 *
 * One call at a time, on the calling thread, without an event loop; not to be
 * shared between threads.  A connection that the server has closed in the meantime
 * is made anew by the next call.
 *
 * A failure that the server sends comes back with its code and text as they are.
 * One of the connection is UNAVAILABLE, a deadline that passes here
 * DEADLINE_EXCEEDED (and the server is told to stop).
 */

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "agent/base/call.h"
#include "agent/base/err.h"
#include "agent/base/own.h"

struct rpc_client;

/* Connect to the socket @path.  Fails at once when nobody listens there. */
int rpc_client_connect(const char *path, struct rpc_client **ret, struct cringle_err *err);
struct rpc_client *rpc_client_free(struct rpc_client *client);

/* Messages of more than @bytes from the server are RESOURCE_EXHAUSTED.  From the start: 64 MiB. */
void rpc_client_set_max_message(struct rpc_client *client, size_t bytes);

/*
 * Call @method of @service with @request and wait for the answer.  @call (may be
 * NULL) brings the deadline, which the server learns of, and cancellation.  *ret is
 * of the method's output type, to be freed with protobuf_c_message_free_unpacked().
 */
int rpc_client_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
                    const ProtobufCMessage *request, const struct cringle_call *call, ProtobufCMessage **ret,
                    struct cringle_err *err);

/*
 * One message of a streaming answer, borrowed.  0: go on; 1: enough, the server is
 * told to stop and rpc_client_stream() succeeds; -1 with @err: it fails with that.
 */
typedef int (*rpc_message_fn)(const ProtobufCMessage *message, void *data, struct cringle_err *err);

/* As rpc_client_call() for a method that answers with any number of messages.  0 at the stream's good end. */
int rpc_client_stream(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
                      const ProtobufCMessage *request, const struct cringle_call *call, rpc_message_fn fn, void *data,
                      struct cringle_err *err);

AUTO_DEFINE(rpc_client, rpc_client_free)
