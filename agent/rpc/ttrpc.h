#pragma once

/*
 * ttRPC over a multiplexed stream: calls in both directions on one Unix socket
 *
 * Two processes each offer a service.  Below is a mux: frames of an 8-byte header
 * (connection id, length; big-endian) and payload, for two connections.  On
 * TTRPC_OUT we call the peer, on TTRPC_IN he calls us.  Inside each is ttRPC: messages of
 * a 10-byte header (length, stream id, type, flags) and a protobuf envelope.  Unary calls only.
 *
 * What the peer sends is checked and bounded: a message is at most TTRPC_MAX bytes,
 * a frame no more than a message with its header, at most TTRPC_QUEUE of his calls wait.  Whatever breaks
 * the protocol ends the connection, which is told once by `closed`.
 *
 * Each connection has two threads: one reads, one serves the peer's calls, so that a call of
 * his may be answered while one of ours waits.  All functions may be called from any thread.
 */

#include <stddef.h>

#include "agent/base/buf.h"
#include "agent/base/call.h"
#include "agent/base/own.h"

#define TTRPC_OUT 1
#define TTRPC_IN 2
#define TTRPC_MAX ((size_t) 4 << 20)
#define TTRPC_QUEUE 256

/* The peer answered a call with an error of his own, which is in @err: the connection is well. */
#define TTRPC_REFUSED 1

struct ttrpc;

struct ttrpc_ops {
        /* A call of the peer's, on the serving thread: the answer into the empty @ret, or -1 with its status in @err. */
        int (*serve)(void *data, const char *service, const char *method, const void *payload, size_t n,
                     struct buf *ret, struct cringle_err *err);

        /* The connection has ended; the last call, on a thread that must not ttrpc_free() it.  May be NULL. */
        void (*closed)(void *data, const struct cringle_err *why);
};

/* Speak on the connected @fd, which is taken on success.  @ops and @data must outlive it. */
int ttrpc_new(int fd, const struct ttrpc_ops *ops, void *data, struct ttrpc **ret, struct cringle_err *err);

/*
 * Call the peer; the answer is appended to @ret.  0, TTRPC_REFUSED, or -1: the deadline of
 * @call is over, @call is cancelled, the connection has ended, or the request exceeds TTRPC_MAX.
 */
int ttrpc_call(struct ttrpc *t, const char *service, const char *method, const void *payload, size_t n,
               const struct cringle_call *call, struct buf *ret, struct cringle_err *err);

/* End the connection; calls under way fail.  It can be called again. */
void ttrpc_close(struct ttrpc *t);

/* Close, wait for its threads, free.  No call may be under way.  Always NULL. */
struct ttrpc *ttrpc_free(struct ttrpc *t);

AUTO_DEFINE(ttrpc, ttrpc_free)
