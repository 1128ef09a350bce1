#pragma once

/*
 * SPDY/3.1 frames, the server's side
 *
 * Pure: bytes in, callbacks out; what is to be sent goes to the write callback.  Flow
 * control is neither done nor waited for, as the clients there are do none.  Data is
 * passed on as it comes; a control frame is kept until it is whole, at most SPDY_CONTROL_MAX bytes.
 * Header blocks unpack to at most SPDY_HEADERS_SIZE bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

#define SPDY_CONTROL_MAX (1 << 20)
#define SPDY_HEADERS_SIZE (1 << 20)
#define SPDY_HEADERS_MAX 1000
#define SPDY_CHUNK 16384                /* the longest data frame we send */

enum spdy_status {
        SPDY_PROTOCOL_ERROR = 1,
        SPDY_INVALID_STREAM = 2,
        SPDY_REFUSED_STREAM = 3,
        SPDY_CANCEL = 5,
};

struct spdy_header {
        const char *name, *value;       /* NUL-ended; of several values the first */
};

struct spdy_events {
        void (*write)(void *data, const void *bytes, size_t n);
        void (*open)(void *data, uint32_t stream, const struct spdy_header *headers, size_t n, bool fin);
        void (*data)(void *data, uint32_t stream, const char *bytes, size_t n);
        void (*end)(void *data, uint32_t stream);       /* the client sends no more on it */
        void (*reset)(void *data, uint32_t stream);
        bool (*over)(void *data);       /* true: nothing more is wanted, stop in the middle */
};

struct spdy;

int spdy_new(const struct spdy_events *events, void *data, struct spdy **ret, struct cringle_err *err);
struct spdy *spdy_free(struct spdy *s);
AUTO_DEFINE(spdy, spdy_free)

/* -1: the peer broke the protocol, or memory is out; nothing may be fed any more. */
int spdy_feed(struct spdy *s, const char *bytes, size_t n, struct cringle_err *err);

void spdy_reply(struct spdy *s, uint32_t stream);       /* SYN_REPLY without headers */
void spdy_send(struct spdy *s, uint32_t stream, const char *bytes, size_t n, bool fin);
void spdy_reset(struct spdy *s, uint32_t stream, enum spdy_status why);
void spdy_goaway(struct spdy *s);

/* The value of a header, or "". */
const char *spdy_header(const struct spdy_header *headers, size_t n, const char *name);
