#pragma once

/*
 * A client's connection: bytes in, bytes out, TLS in between when there is any
 *
 * TLS works on memory, so that nothing but the two buffers here is between it and the socket.
 */

#include <openssl/ssl.h>

#include "agent/base/buf.h"
#include "agent/base/loop.h"

#define TRANSPORT_FULL (256 << 10)      /* who sends should stop ... */
#define TRANSPORT_LOW (64 << 10)        /* ... until no more than this waits */

struct transport_events {
        void (*input)(void *data, const char *bytes, size_t n);
        void (*drained)(void *data);    /* once it was full: no more than TRANSPORT_LOW waits; never from inside a call */
        void (*gone)(void *data);       /* the peer, or what kept us connected */
};

struct transport {
        int fd;                         /* -1: closed */
        struct loop_watch *watch;
        SSL *tls;                       /* NULL: plain */
        BIO *in, *out;                  /* of tls, which owns them */
        struct buf waiting;
        const struct transport_events *events;
        void *data;
        bool paused;
        bool clogged;                   /* it was full, and nobody has been told that it is not any more */
        bool finish;                    /* shut down once all is out */
        bool finished;
};

/* Takes @fd, also on failure; @tls may be NULL. */
int transport_open(struct transport *t, struct loop *loop, int fd, SSL_CTX *tls, const struct transport_events *events,
                   void *data, struct cringle_err *err);
void transport_close(struct transport *t);

/* Kept until transport_flush(). */
void transport_write(struct transport *t, const void *bytes, size_t n);
void transport_flush(struct transport *t);
void transport_pause(struct transport *t, bool paused);

/* When all is out, tell the peer that nothing follows. */
void transport_finish(struct transport *t);

/* What was written and has not reached the peer, be it here or in the kernel. */
size_t transport_left(const struct transport *t);

static inline bool transport_full(const struct transport *t)
{
        return t->waiting.len > TRANSPORT_FULL;
}
