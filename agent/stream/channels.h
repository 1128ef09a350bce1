#pragma once

/*
 * The channels of a WebSocket: what the kubelet's clients send stdin, stdout and their like in
 *
 * The first byte of a message is the number of its channel, the rest its data; in the base64 protocols the first
 * character is the number's digit, and the rest base64.  In version 5 the bytes 255 and N say that nothing more comes on
 * channel N; the other versions have no such word.  Pure, like websocket.h.
 */

#include "agent/stream/base64.h"
#include "agent/stream/websocket.h"

#define CHANNELS_MAX 128
#define CHANNELS_MAX_BASE64 64          /* so that the digit is a character by itself */

struct channels_events {
        void (*data)(void *data, uint32_t channel, const char *bytes, size_t n);
        void (*end)(void *data, uint32_t channel);
};

struct channels {
        struct websocket *websocket;
        const struct channels_events *events;
        void *data;
        uint32_t n;                     /* how many there are; what comes on others is dropped */
        bool base64, closes;            /* the protocol's */
        uint32_t current;               /* of the message that comes in; UINT32_MAX: its first byte is not there */
        size_t taken;                   /* bytes of it after the first */
        unsigned char last;             /* of them */
        struct base64 decoder;
};

/* Nothing to free.  @websocket is borrowed for as long as channels are used. */
void channels_init(struct channels *c, struct websocket *websocket, uint32_t n, bool base64, bool closes,
                   const struct channels_events *events, void *data);

/* For the part event.  -1: it is no message of the protocol's; the websocket is closed. */
int channels_take(struct channels *c, const struct websocket_part *part, struct cringle_err *err);

/* In as many messages as it takes; one without data when there is none. */
void channels_send(struct channels *c, uint32_t channel, const char *bytes, size_t n);
