#pragma once

/*
 * Answers that are streams of messages
 *
 * Whoever has something to tell packs it, on any thread; a stream lives on the loop
 * thread, keeps what the client has not taken yet, and goes on as the client reads.
 * It ends by itself when its call does.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/cri/cri.h"

struct stream;

/* For a handler, on the loop thread.  The one who tells (the caller) must come to stream_end(). */
struct stream *stream_new(struct cri *cri, struct rpc_call *call, const ProtobufCMessageDescriptor *type);

/* @message is of the stream's type.  Any thread. */
void stream_send(struct stream *s, const ProtobufCMessage *message);

/*
 * What is in @list, a message of which the first field is repeated, in as many messages
 * of the stream's type, whose first field is the like, as it takes; none of no items.  Any thread.
 */
void stream_send_list(struct stream *s, const ProtobufCMessage *list);

/* No more: the end, or (@err not NULL) the failure, comes after what was sent before.  Any thread, once. */
void stream_end(struct stream *s, const struct cringle_err *err);

/* As cri_run() for a method that answers with a stream of @type: job->stream, which ends with the job. */
void cri_run_stream(struct cri *cri, struct workers *workers, struct rpc_call *call, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *type, void (*work)(struct cri_job *job));

/* A pods_message_fn that does stream_send_list() to the stream @data. */
void stream_send_answer(void *data, const ProtobufCMessage *list);

/*
 * Make it one that is told everything that stream_tell_all() says, until the client goes.  When
 * he does not keep up, what he has not read is kept to a limit; what comes beyond is dropped,
 * counted, and the end of the stream, RESOURCE_EXHAUSTED.  Loop thread.
 */
void stream_watch(struct stream *s);

/* A pods_message_fn; @data is the struct cri.  Any thread. */
void stream_tell_all(void *data, const ProtobufCMessage *message);
