#pragma once

/*
 * WebSocket frames (RFC 6455), the server's side
 *
 * Pure, like spdy.h: bytes in, callbacks out.  A message is passed on in the parts in which it comes, so that a long one
 * costs no memory; only a control frame is kept until it is whole, 125 bytes at most.  A peer that breaks the
 * protocol is told so by a close frame with the code that there is for it.  No extension is spoken.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

#define WEBSOCKET_MESSAGE_MAX (32 << 20)        /* bytes of one that we take, all fragments together */
#define WEBSOCKET_PART 16384                    /* the longest part passed on */
#define WEBSOCKET_KEY_LEN 24                    /* of Sec-WebSocket-Key: 16 bytes in base64 */
#define WEBSOCKET_ACCEPT_LEN 28

enum websocket_code {
        WEBSOCKET_NORMAL = 1000,
        WEBSOCKET_PROTOCOL_ERROR = 1002,
        WEBSOCKET_UNSUPPORTED = 1003,
        WEBSOCKET_NOT_UTF8 = 1007,              /* or other data that is not what the message must have */
        WEBSOCKET_TOO_BIG = 1009,
};

struct websocket_part {
        const char *bytes;
        size_t n;
        bool text;                              /* valid UTF-8, as a whole; a character may be cut between two parts */
        bool first, last;                       /* of the message */
};

struct websocket_events {
        void (*write)(void *data, const void *bytes, size_t n);
        void (*part)(void *data, const struct websocket_part *part);
        void (*closed)(void *data);     /* the peer wants to end; it has its answer */
        bool (*over)(void *data);       /* true: nothing more is wanted, stop in the middle */
};

struct websocket;

int websocket_new(const struct websocket_events *events, void *data, struct websocket **ret, struct cringle_err *err);
struct websocket *websocket_free(struct websocket *w);
AUTO_DEFINE(websocket, websocket_free)

/* -1: the peer broke the protocol and has been told; nothing may be fed any more. */
int websocket_feed(struct websocket *w, const char *bytes, size_t n, struct cringle_err *err);

/* One message: @head (at most 4 bytes) and @bytes.  Nothing once a close frame has gone out. */
void websocket_send(struct websocket *w, bool text, const void *head, size_t n_head, const void *bytes, size_t n);

/* A close frame, unless there was one. */
void websocket_close(struct websocket *w, enum websocket_code code, const char *reason);

/* What answers a Sec-WebSocket-Key.  False: @key is none. */
bool websocket_accept(const char *key, size_t n, char ret[static WEBSOCKET_ACCEPT_LEN + 1]);
