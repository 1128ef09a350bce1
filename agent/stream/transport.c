/*
 * Connections; see transport.h.
 */

#include <errno.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/stream/transport.h"

#define CHUNK 32768

static void watch(struct transport *t)
{
        /* Whoever emptied it: those who stopped at a full one hear of it from the loop. */
        int events = t->waiting.len > 0 || t->clogged ? UV_WRITABLE : 0;

        if (!t->watch)
                return;
        /* Who does not listen still wants to know that the other has hung up. */
        loop_watch_change(t->watch, events | (t->paused ? UV_DISCONNECT : UV_READABLE));
}

static void lost(struct transport *t)
{
        if (t->fd < 0)
                return;
        transport_close(t);
        t->events->gone(t->data);
}

/* What TLS has to say goes to the socket's buffer. */
static void take_records(struct transport *t)
{
        char *bytes;
        long n = t->tls ? BIO_get_mem_data(t->out, &bytes) : 0;

        if (n <= 0)
                return;
        buf_add(&t->waiting, bytes, (size_t) n, NULL);
        t->clogged = t->clogged || transport_full(t);
        BIO_reset(t->out);
}

void transport_write(struct transport *t, const void *bytes, size_t n)
{
        if (t->fd < 0 || t->finish)
                return;
        if (!t->tls) {
                buf_add(&t->waiting, bytes, n, NULL);
                t->clogged = t->clogged || transport_full(t);
                return;
        }
        ERR_clear_error();
        if (n > 0)
                SSL_write(t->tls, bytes, (int) n);      /* memory takes all; a failed one is found by the reader */
        take_records(t);
}

void transport_flush(struct transport *t)
{
        size_t before = t->waiting.len, sent = 0;

        while (t->fd >= 0 && sent < before) {
                ssize_t n = send(t->fd, t->waiting.data + sent, before - sent, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n <= 0) {
                        lost(t);
                        return;
                }
                sent += (size_t) n;
        }
        if (t->fd < 0)
                return;
        buf_drop(&t->waiting, sent);
        if (t->finish && !t->finished && t->waiting.len == 0) {
                t->finished = true;
                shutdown(t->fd, SHUT_WR);
        }
        watch(t);
}

static void decrypt(struct transport *t, const char *bytes, size_t n)
{
        static char plain[CHUNK];

        if (BIO_write(t->in, bytes, (int) n) != (int) n) {
                lost(t);
                return;
        }
        for (;;) {
                int got;

                ERR_clear_error();
                got = SSL_read(t->tls, plain, sizeof plain);
                take_records(t);
                if (got > 0) {
                        t->events->input(t->data, plain, (size_t) got);
                        if (t->fd < 0)
                                return;
                        continue;
                }
                transport_flush(t);
                if (t->fd >= 0 && SSL_get_error(t->tls, got) != SSL_ERROR_WANT_READ)
                        lost(t);
                return;
        }
}

static void on_ready(int fd, int events, void *data)
{
        static char chunk[CHUNK];
        struct transport *t = data;
        ssize_t n;

        if (events & UV_WRITABLE && t->waiting.len > 0)
                transport_flush(t);
        if (t->fd >= 0 && t->clogged && t->waiting.len <= TRANSPORT_LOW) {
                t->clogged = false;
                watch(t);
                t->events->drained(t->data);
        }
        if (t->fd < 0)
                return;
        if (t->paused && events & UV_DISCONNECT) {
                lost(t);
                return;
        }
        if (t->paused || !(events & UV_READABLE))
                return;
        do
                n = recv(t->fd, chunk, sizeof chunk, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0)
                lost(t);
        else if (t->tls)
                decrypt(t, chunk, (size_t) n);
        else
                t->events->input(t->data, chunk, (size_t) n);
}

static int open_tls(struct transport *t, SSL_CTX *context, struct cringle_err *err)
{
        t->tls = SSL_new(context);
        t->in = BIO_new(BIO_s_mem());
        t->out = BIO_new(BIO_s_mem());
        if (!t->tls || !t->in || !t->out) {
                BIO_free(t->in);
                BIO_free(t->out);
                t->in = t->out = NULL;
                return err_oom(err);
        }
        SSL_set_bio(t->tls, t->in, t->out);
        SSL_set_accept_state(t->tls);
        return 0;
}

int transport_open(struct transport *t, struct loop *loop, int fd, SSL_CTX *tls, const struct transport_events *events,
                   void *data, struct cringle_err *err)
{
        *t = (struct transport) { .fd = fd, .events = events, .data = data };
        if (tls && open_tls(t, tls, err) < 0) {
                transport_close(t);
                return -1;
        }
        t->watch = loop_watch(loop, fd, UV_READABLE, on_ready, t, err);
        if (!t->watch) {
                transport_close(t);
                return -1;
        }
        return 0;
}

void transport_close(struct transport *t)
{
        loop_watch_stop(t->watch);
        t->watch = NULL;
        t->fd = fd_close(t->fd);
        /* tls is freed with the owner: we may be inside it. */
        buf_done(&t->waiting);
}

void transport_pause(struct transport *t, bool paused)
{
        if (t->paused == paused)
                return;
        t->paused = paused;
        watch(t);
}

void transport_finish(struct transport *t)
{
        if (t->fd < 0 || t->finish)
                return;
        if (t->tls) {
                SSL_shutdown(t->tls);
                take_records(t);
        }
        t->finish = true;
        transport_flush(t);
}

size_t transport_left(const struct transport *t)
{
        int queued = 0;

        if (t->fd < 0 || ioctl(t->fd, SIOCOUTQ, &queued) < 0)
                return t->waiting.len;
        return t->waiting.len + (size_t) queued;
}
