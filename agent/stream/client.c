/*
 * One connection: its request, its upgrade, its lanes
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/guard.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/stream/stream.h"

#define CLIENT_FDS 4                    /* its socket and three local ends */
#define LINGER (10 * NSEC_PER_SEC)      /* for the peer to hang up, once it has all */

static const char *const paths[] = {
        [STREAM_EXEC] = "/exec/", [STREAM_ATTACH] = "/attach/", [STREAM_FORWARD] = "/portforward/",
};

static const char *const remote_protocols[] = {
        [1] = "channel.k8s.io", [2] = "v2.channel.k8s.io", [3] = "v3.channel.k8s.io", [4] = "v4.channel.k8s.io",
};
#define REMOTE_LATEST 4

/* Of WebSocket, which has sizes of terminals in all its versions, and words instead of a Status before the fourth. */
struct websocket_protocol {
        const char *name;
        int version;
        bool base64, closes, tunnel;
        bool remote, forward;           /* what it is for */
};

static const struct websocket_protocol websocket_protocols[] = {
        { "v5.channel.k8s.io", .version = 5, .closes = true, .remote = true },
        { "v4.channel.k8s.io", .version = 4, .remote = true, .forward = true },
        { "v4.base64.channel.k8s.io", .version = 4, .base64 = true, .remote = true, .forward = true },
        { "channel.k8s.io", .version = 3, .remote = true },
        { "base64.channel.k8s.io", .version = 3, .base64 = true, .remote = true },
        { "SPDY/3.1+portforward.k8s.io", .version = 1, .tunnel = true, .forward = true },
        { "", .version = 3, .remote = true, .forward = true },          /* the client names none */
};

static void client_free(void *data)
{
        struct client *c = data;

        if (c->session)
                c->ops->free(c);
        spdy_free(c->spdy);
        websocket_free(c->websocket);
        SSL_free(c->transport.tls);
        buf_done(&c->head);
        free(c);
}

/* What the client ran, if it runs still, ends with it. */
static void tell_end(struct client *c)
{
        if (!c->ended && c->phase != PHASE_HEAD)
                control_send(c->server, &(struct stream_message) { .type = STREAM_END, .client = c->id });
        c->ended = true;
}

void client_close(struct client *c)
{
        struct server *s = c->server;

        if (c->phase == PHASE_CLOSED)
                return;
        tell_end(c);
        c->phase = PHASE_CLOSED;
        loop_timer_cancel(c->idle_timer);
        loop_timer_cancel(c->limit);
        if (c->session)
                c->ops->close(c);
        transport_close(&c->transport);
        for (struct client **at = &s->clients; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        s->n_fds -= CLIENT_FDS;
        loop_post(s->loop, client_free, c);
        server_listen(s);
}

static void limit_over(void *data)
{
        struct client *c = data;

        c->limit = NULL;
        client_close(c);
}

void client_limit(struct client *c, int64_t time, void (*fn)(void *client))
{
        loop_timer_cancel(c->limit);
        c->limit = fn ? loop_after(c->server->loop, time, fn, c) : NULL;
}

/*
 * All is said.  Who has it all is given time to hang up.  Who takes none of it may do that for as long as while the session
 * was on: a pager that waits for its reader is no reason to lose the end of an output.  Where there was no session, something
 * has to be taken each time.
 */
static void linger(void *data)
{
        struct client *c = data;
        size_t left = transport_left(&c->transport);

        c->limit = NULL;
        if (left == 0 || (left == c->left && !c->idle_timer)) {
                client_close(c);
                return;
        }
        if (left != c->left)
                c->active = clock_monotonic();
        c->left = left;
        client_limit(c, LINGER, linger);
}

void client_finish(struct client *c)
{
        if (c->phase >= PHASE_LAST)
                return;
        tell_end(c);
        c->phase = PHASE_LAST;
        if (c->spdy)
                spdy_goaway(c->spdy);
        if (c->websocket)
                websocket_close(c->websocket, WEBSOCKET_NORMAL, "");
        if (c->session)
                c->ops->close(c);
        transport_pause(&c->transport, false);
        transport_finish(&c->transport);
        if (c->phase != PHASE_CLOSED)
                client_limit(c, LINGER, linger);
}

static void on_idle(void *data)
{
        struct client *c = data;
        int64_t left = c->active + c->server->idle - clock_monotonic();

        c->idle_timer = NULL;
        if (left <= 0)
                client_close(c);
        else
                c->idle_timer = loop_after(c->server->loop, left, on_idle, c);
}

/* --- lanes ------------------------------------------------------------------ */

void client_send(struct client *c, uint32_t lane, const char *bytes, size_t n, bool fin)
{
        if (c->phase != PHASE_OPEN)
                return;
        c->active = clock_monotonic();
        if (c->spdy)
                spdy_send(c->spdy, lane, bytes, n, fin);
        else if (n > 0)
                channels_send(&c->channels, lane, bytes, n);
        transport_flush(&c->transport);
}

void client_accept(struct client *c, uint32_t lane)
{
        if (c->spdy)
                spdy_reply(c->spdy, lane);
}

void client_reset(struct client *c, uint32_t lane, enum spdy_status why)
{
        if (c->phase != PHASE_OPEN || !c->spdy)
                return;
        spdy_reset(c->spdy, lane, why);
        transport_flush(&c->transport);
}

/* Read on only if what is read can go on, and what answers it. */
void client_settle(struct client *c)
{
        if (c->phase == PHASE_OPEN)
                transport_pause(&c->transport, c->ops->full(c) || transport_full(&c->transport));
}

static void on_write(void *data, const void *bytes, size_t n)
{
        struct client *c = data;

        transport_write(&c->transport, bytes, n);
}

static void on_spdy_write(void *data, const void *bytes, size_t n)
{
        struct client *c = data;

        if (c->websocket)
                websocket_send(c->websocket, false, NULL, 0, bytes, n);
        else
                transport_write(&c->transport, bytes, n);
}

static void on_open(void *data, uint32_t lane, const struct spdy_header *headers, size_t n, bool fin)
{
        struct client *c = data;

        if (!c->ops->open(c, lane, headers, n)) {
                spdy_reset(c->spdy, lane, SPDY_REFUSED_STREAM);
                return;
        }
        if (fin && c->phase == PHASE_OPEN)
                c->ops->end(c, lane);
}

static void on_data(void *data, uint32_t lane, const char *bytes, size_t n)
{
        struct client *c = data;

        c->ops->data(c, lane, bytes, n);
}

static void on_end(void *data, uint32_t lane)
{
        struct client *c = data;

        c->ops->end(c, lane);
}

static void on_reset(void *data, uint32_t lane)
{
        struct client *c = data;

        c->ops->reset(c, lane);
}

static bool on_over(void *data)
{
        struct client *c = data;

        return c->phase != PHASE_OPEN;
}

static const struct spdy_events spdy_events = {
        .write = on_spdy_write, .open = on_open, .data = on_data, .end = on_end, .reset = on_reset, .over = on_over,
};

static const struct channels_events channels_events = { .data = on_data, .end = on_end };

static void on_part(void *data, const struct websocket_part *part)
{
        struct client *c = data;
        struct cringle_err err = CRINGLE_ERR_INIT;
        int r = 0;

        if (!c->spdy) {
                r = channels_take(&c->channels, part, &err);
        } else if (part->text) {
                websocket_close(c->websocket, WEBSOCKET_UNSUPPORTED, "SPDY is no text");
                r = err_set(&err, CRINGLE_E_INVALID, "WebSocket: a text where SPDY is to be");
        } else if (spdy_feed(c->spdy, part->bytes, part->n, &err) < 0) {
                websocket_close(c->websocket, WEBSOCKET_PROTOCOL_ERROR, "this is no SPDY");
                r = -1;
        }
        if (r == 0)
                return;
        log_debug("client %llu: %s", (unsigned long long) c->id, err.text);
        client_finish(c);
}

static void on_closed(void *data)
{
        client_finish(data);
}

static const struct websocket_events websocket_events = {
        .write = on_write, .part = on_part, .closed = on_closed, .over = on_over,
};

static void feed(struct client *c, const char *bytes, size_t n)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int r = c->websocket ? websocket_feed(c->websocket, bytes, n, &err) : spdy_feed(c->spdy, bytes, n, &err);

        c->active = clock_monotonic();
        if (r < 0) {
                log_debug("client %llu: %s", (unsigned long long) c->id, err.text);
                if (c->websocket)
                        client_finish(c);       /* it is told why */
                else
                        client_close(c);
                return;
        }
        transport_flush(&c->transport);
        client_settle(c);
}

/* --- the request --------------------------------------------------------------- */

static void refuse(struct client *c, const char *status, const char *headers, const char *text)
{
        char head[1024];
        int n = snprintf(head, sizeof head,
                         "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n%sContent-Length: %zu\r\n"
                         "Connection: close\r\n\r\n%s\n",
                         status, headers, strlen(text) + 1, text);

        transport_write(&c->transport, head, (size_t) n);
        if (GUARD(refusal_ends))
                client_finish(c);
}

/* The version both know, the client's preference first; 0: none. */
static int choose(const struct client *c, const struct http_request *r)
{
        struct http_text t;

        for (size_t at = 0; http_next_item(r, "x-stream-protocol-version", &at, &t);) {
                if (c->kind == STREAM_FORWARD && http_text_is(t, "portforward.k8s.io"))
                        return 1;
                for (int v = 1; c->kind != STREAM_FORWARD && v <= REMOTE_LATEST; v++)
                        if (http_text_is(t, remote_protocols[v]))
                                return v;
        }
        return 0;
}

static const char *protocol_name(const struct client *c)
{
        return c->kind == STREAM_FORWARD ? "portforward.k8s.io" : remote_protocols[c->version];
}

static void begin(struct client *c)
{
        c->phase = PHASE_OPEN;
        c->active = clock_monotonic();
        client_limit(c, 0, NULL);
        c->idle_timer = loop_after(c->server->loop, c->server->idle, on_idle, c);
}

static void upgrade_spdy(struct client *c, const struct http_request *r)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        char head[256];
        int n;

        if (!http_header(r, "x-stream-protocol-version").at) {
                refuse(c, "400 Bad Request", "", "X-Stream-Protocol-Version is required");
                return;
        }
        c->version = choose(c, r);
        if (c->version == 0) {
                refuse(c, "403 Forbidden",
                       c->kind == STREAM_FORWARD
                               ? "X-Accepted-Stream-Protocol-Versions: portforward.k8s.io\r\n"
                               : "X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io, v3.channel.k8s.io, "
                                 "v2.channel.k8s.io, channel.k8s.io\r\n",
                       "no stream protocol in common");
                return;
        }
        if (spdy_new(&spdy_events, c, &c->spdy, &err) < 0 ||
            (c->kind == STREAM_FORWARD ? forward_new(c, &err) : remote_new(c, &err)) < 0) {
                refuse(c, "500 Internal Server Error", "", err.text);
                return;
        }
        n = snprintf(head, sizeof head,
                     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                     "X-Stream-Protocol-Version: %s\r\n\r\n",
                     protocol_name(c));
        transport_write(&c->transport, head, (size_t) n);
        begin(c);
        if (c->kind != STREAM_FORWARD)
                client_limit(c, c->server->creation, limit_over);
}

static const struct websocket_protocol *choose_websocket(const struct client *c, const struct http_request *r)
{
        const size_t n = sizeof websocket_protocols / sizeof *websocket_protocols;
        const struct websocket_protocol *none = &websocket_protocols[n - 1];
        struct http_text t;

        if (!http_header(r, "sec-websocket-protocol").at)
                return none;
        for (size_t at = 0; http_next_item(r, "sec-websocket-protocol", &at, &t);)
                for (const struct websocket_protocol *p = websocket_protocols; p != none; p++)
                        if ((c->kind == STREAM_FORWARD ? p->forward : p->remote) && http_text_is(t, p->name))
                                return p;
        return NULL;
}

/* Channels are there from the start; the first message tells the client that we are, too. */
static void open_remote_channels(struct client *c)
{
        static const char *const types[] = { "stdin", "stdout", "stderr", "error", "resize" };
        const uint32_t first = c->flags & STREAM_STDOUT ? 1 : c->flags & STREAM_STDERR ? 2 : 3;

        channels_send(&c->channels, first, "", 0);
        for (uint32_t i = 0; i < sizeof types / sizeof *types; i++)
                c->ops->open(c, i, &(struct spdy_header) { "streamtype", types[i] }, 1);
}

/* Two for each port; the first message of each is the port's number, its low byte first. */
static void open_forward_channels(struct client *c)
{
        for (uint32_t i = 0; i < c->n_ports; i++) {
                const char number[2] = { (char) c->ports[i], (char) (c->ports[i] >> 8) };
                char port[8], request[16];
                struct spdy_header headers[] = { { "streamtype", "data" }, { "port", port }, { "requestid", request } };

                snprintf(port, sizeof port, "%u", c->ports[i]);
                snprintf(request, sizeof request, "channel %u", i);
                channels_send(&c->channels, 2 * i, number, 2);
                channels_send(&c->channels, 2 * i + 1, number, 2);
                if (c->ops->open(c, 2 * i, headers, 3)) {
                        headers[0].value = "error";
                        c->ops->open(c, 2 * i + 1, headers, 3);
                        continue;
                }
                client_send(c, 2 * i + 1, "too many connections", strlen("too many connections"), true);
                client_finish(c);
                return;
        }
}

static void upgrade_websocket(struct client *c, const struct http_request *r)
{
        const struct websocket_protocol *p = choose_websocket(c, r);
        struct http_text key = http_header(r, "sec-websocket-key");
        uint32_t n_channels = c->kind == STREAM_FORWARD ? 2 * (uint32_t) c->n_ports : 5;
        char accept[WEBSOCKET_ACCEPT_LEN + 1], head[256];
        struct cringle_err err = CRINGLE_ERR_INIT;
        int n;

        if (!http_text_is(r->method, "GET")) {
                refuse(c, "405 Method Not Allowed", "Allow: GET\r\n", "a WebSocket begins with GET");
                return;
        }
        if (!http_text_is(http_header(r, "sec-websocket-version"), "13")) {
                refuse(c, "426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n", "WebSocket version 13 is required");
                return;
        }
        if (!websocket_accept(key.at, key.n, accept)) {
                refuse(c, "400 Bad Request", "", "Sec-WebSocket-Key is of no use");
                return;
        }
        if (!p) {
                refuse(c, "403 Forbidden", "", "no WebSocket protocol in common");
                return;
        }
        if (!p->tunnel && (n_channels == 0 || n_channels > (p->base64 ? CHANNELS_MAX_BASE64 : CHANNELS_MAX))) {
                refuse(c, "400 Bad Request", "", "this protocol wants ports in the PortForward request, and not too many");
                return;
        }
        c->version = p->version;
        if (websocket_new(&websocket_events, c, &c->websocket, &err) < 0 ||
            (p->tunnel && spdy_new(&spdy_events, c, &c->spdy, &err) < 0) ||
            (c->kind == STREAM_FORWARD ? forward_new(c, &err) : remote_new(c, &err)) < 0) {
                c->websocket = websocket_free(c->websocket);
                refuse(c, "500 Internal Server Error", "", err.text);
                return;
        }
        n = snprintf(head, sizeof head,
                     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
                     accept, *p->name ? "Sec-WebSocket-Protocol: " : "", p->name, *p->name ? "\r\n" : "");
        transport_write(&c->transport, head, (size_t) n);
        begin(c);
        if (p->tunnel)
                return;
        channels_init(&c->channels, c->websocket, n_channels, p->base64, p->closes, &channels_events, c);
        if (c->kind == STREAM_FORWARD)
                open_forward_channels(c);
        else
                open_remote_channels(c);
}

/* What the token is good for is known: now what else the request says. */
static void upgrade(struct client *c)
{
        auto_buf head = c->head;
        struct http_request r;

        c->head = (struct buf) BUF_INIT;
        if (http_parse(head.data, head.len, &r, NULL) != 1) {
                client_close(c);
                return;
        }
        transport_pause(&c->transport, false);
        if (http_has_item(&r, "connection", "upgrade") && http_has_item(&r, "upgrade", "SPDY/3.1"))
                upgrade_spdy(c, &r);
        else if (http_has_item(&r, "connection", "upgrade") && http_has_item(&r, "upgrade", "websocket"))
                upgrade_websocket(c, &r);
        else
                refuse(c, "400 Bad Request", "", "an upgrade to SPDY/3.1 or to a WebSocket is required");
        if (c->phase == PHASE_OPEN)
                feed(c, head.data + r.size, head.len - r.size);
}

/* --- pages --------------------------------------------------------------------- */

static void ask_page(struct client *c, const struct http_request *r)
{
        struct stream_message m = { .type = STREAM_PAGE, .client = c->id };

        if (!http_text_is(r->method, "GET")) {
                refuse(c, "405 Method Not Allowed", "Allow: GET\r\n", "GET only");
                return;
        }
        if (r->path.n >= sizeof m.text) {
                refuse(c, "404 Not Found", "", "not found");
                return;
        }
        memcpy(m.text, r->path.at, r->path.n);
        c->phase = PHASE_CLAIM;
        transport_pause(&c->transport, true);
        control_send(c->server, &m);
}

static void send_page(struct client *c, const char *type, int file)
{
        char bytes[16384];
        struct stat st;
        ssize_t n;

        if (fstat(file, &st) < 0) {
                client_close(c);
                return;
        }
        n = snprintf(bytes, sizeof bytes,
                     "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %lld\r\nConnection: close\r\n\r\n", type,
                     (long long) st.st_size);
        transport_write(&c->transport, bytes, (size_t) n);
        for (off_t at = 0; (n = pread(file, bytes, sizeof bytes, at)) > 0; at += n)
                transport_write(&c->transport, bytes, (size_t) n);
        client_finish(c);
}

/* --- claims -------------------------------------------------------------------- */

/* Ask the agent what the token in the path is good for. */
static void claim(struct client *c, const struct http_request *r)
{
        struct stream_message m = { .type = STREAM_CLAIM, .client = c->id };

        if (!http_text_is(r->method, "GET") && !http_text_is(r->method, "POST")) {
                refuse(c, "405 Method Not Allowed", "Allow: GET, POST\r\n", "GET or POST");
                return;
        }
        for (uint32_t kind = STREAM_EXEC; kind <= STREAM_FORWARD; kind++) {
                size_t n = strlen(paths[kind]);

                if (r->path.n == n + STREAM_TOKEN_LEN && memcmp(r->path.at, paths[kind], n) == 0) {
                        m.kind = kind;
                        memcpy(m.text, r->path.at + n, STREAM_TOKEN_LEN);
                }
        }
        if (m.kind == 0) {
                refuse(c, "404 Not Found", "", "not found");
                return;
        }
        c->kind = m.kind;
        c->phase = PHASE_CLAIM;
        transport_pause(&c->transport, true);
        control_send(c->server, &m);
}

static void on_input(void *data, const char *bytes, size_t n)
{
        struct client *c = data;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct http_request r;

        if (c->phase == PHASE_OPEN) {
                feed(c, bytes, n);
                return;
        }
        if (c->phase >= PHASE_LAST)
                return;                 /* nobody listens any more */
        if (buf_add(&c->head, bytes, n, NULL) < 0) {
                client_close(c);
                return;
        }
        if (c->phase != PHASE_HEAD)
                return;
        switch (http_parse(c->head.data, c->head.len, &r, &err)) {
        case 0:
                break;
        case 1:
                if (c->server->pages)
                        ask_page(c, &r);
                else
                        claim(c, &r);
                break;
        default:
                refuse(c, "400 Bad Request", "", err.text);
                break;
        }
}

static void on_drained(void *data)
{
        struct client *c = data;

        if (c->phase == PHASE_OPEN)
                c->ops->drained(c);
        client_settle(c);
}

static void on_gone(void *data)
{
        client_close(data);
}

static const struct transport_events transport_events = { .input = on_input, .drained = on_drained, .gone = on_gone };

void client_new(struct server *s, int fd)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct client *c = calloc(1, sizeof *c);

        if (!c) {
                close(fd);
                return;
        }
        c->server = s;
        c->id = ++s->last;
        if (transport_open(&c->transport, s->loop, fd, s->tls, &transport_events, c, &err) < 0) {
                log_warning("%s", err.text);
                client_free(c);
                return;
        }
        c->next = s->clients;
        s->clients = c;
        s->n_fds += CLIENT_FDS;
        client_limit(c, s->creation, limit_over);
}

void client_answer(struct server *s, const struct stream_message *m, int *fds, size_t n_fds)
{
        struct client *c = s->clients;

        while (c && c->id != m->client)
                c = c->next;
        if (c && c->phase == PHASE_CLAIM && m->type == STREAM_CLAIMED) {
                c->flags = m->flags;
                c->n_ports = m->n_ports < STREAM_PORTS_MAX ? m->n_ports : STREAM_PORTS_MAX;
                memcpy(c->ports, m->ports, sizeof c->ports);
                upgrade(c);
        } else if (c && c->phase == PHASE_CLAIM && m->type == STREAM_PAGE_IS && n_fds == 1) {
                send_page(c, m->text, fds[0]);
        } else if (c && c->phase == PHASE_CLAIM && m->type == STREAM_FAILED) {
                refuse(c, m->code == CRINGLE_E_NOT_FOUND ? "404 Not Found" : "500 Internal Server Error", "", m->text);
        } else if (c && c->phase == PHASE_OPEN) {
                c->ops->answer(c, m, fds, n_fds);
                client_settle(c);
        }
        for (size_t i = 0; i < n_fds; i++)
                fd_close(fds[i]);
}
