#pragma once

/*
 * Answers that are streams of messages
 *
 * Whoever has something to tell packs it, on any thread; a stream lives on the loop
 * thread, keeps what the client has not taken yet, and goes on as the client reads.
 * It ends by itself when its call does.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "agent/base/loop.h"
#include "agent/rpc/server.h"

struct stream;

/* For a handler, on the loop thread.  The one who tells (the caller) must come to stream_end(), or make it watch. */
struct stream *stream_new(struct loop *loop, struct rpc_call *call, const ProtobufCMessageDescriptor *type);

/* @message is of the stream's type.  Any thread. */
void stream_send(struct stream *s, const ProtobufCMessage *message);

/*
 * What is in @list, a message of which the first field is repeated, in as many messages
 * of the stream's type, whose first field is the like, as it takes; none of no items.  Any thread.
 */
void stream_send_list(struct stream *s, const ProtobufCMessage *list);

/* The same with the stream as @data. */
void stream_send_answer(void *data, const ProtobufCMessage *list);

/* The same with items that are packed, each with the tag of the first field. */
void stream_send_items(void *stream, const struct iovec *items, size_t n);

/* No more: the end, or (@err not NULL) the failure, comes after what was sent before.  Any thread, once. */
void stream_end(struct stream *s, const struct cringle_err *err);

/*
 * Streams that are told everything stream_tell_all() says, until their clients go.  What a client has not
 * read is kept to a limit: WATCH_EVENTS messages and WATCH_BYTES bytes.
 */
struct audience {
        struct loop *loop;              /* set by who makes it, as are: */

        /*
         * Fill @message, which is empty, with the news that @n messages were dropped: it is sent once the client has
         * read what was kept for him.  NULL: the first one that is dropped is the end of the stream, RESOURCE_EXHAUSTED.
         */
        void (*lost)(ProtobufCMessage *message, uint64_t n);

        /* The first one has come, or the last one has gone; NULL: no matter.  Loop thread. */
        void (*attended)(struct audience *a, bool somebody);

        struct stream *streams;         /* the loop thread's */
        _Atomic size_t n;
};

#define WATCH_EVENTS 1024
#define WATCH_BYTES (8 << 20)

/*
 * Make it one of @a, which must outlive it.  @wants (NULL: everything) says of each message whether it is for this
 * client; its @data comes from malloc() and is the stream's.  Loop thread.
 */
void stream_watch(struct stream *s, struct audience *a, bool (*wants)(void *data, const ProtobufCMessage *message),
                  void *data);

/* @message is of the type of all streams of @audience (struct audience).  Any thread; nothing is done when there are none. */
void stream_tell_all(void *audience, const ProtobufCMessage *message);
