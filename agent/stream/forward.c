/*
 * Port forwarding: each pair of streams, data and error, is a connection into the pod
 *
 * The agent makes it when both are there.  When the pod's side ends so does the error stream: no error can
 * come any more, and there are clients that wait for that.  The channels of a WebSocket are one pair for each
 * port that was asked for, and the client's connection ends with the last of them.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/stream/stream.h"

#define PAIRS_MAX 512
#define REQUEST_MAX 64                  /* bytes of a request id */

struct pair {
        struct pair *next;
        struct client *client;
        uint32_t number;                /* for the agent */
        char request[REQUEST_MAX];
        bool has_data, has_error;
        uint32_t data, error;
        uint16_t port;
        struct loop_timer *limit;       /* until both are there */
        bool connected;
        bool client_over, our_over, error_over;
        struct buf early;
        struct local local;
};

struct forward {
        struct pair *pairs;
        size_t n;
        uint32_t last;
};

int forward_new(struct client *c, struct cringle_err *err)
{
        struct forward *f = calloc(1, sizeof *f);

        if (!f)
                return err_oom(err);
        c->ops = &forward_ops;
        c->session = f;
        return 0;
}

static void pair_stop(struct pair *p)
{
        loop_timer_cancel(p->limit);
        p->limit = NULL;
        local_close(&p->local);
        buf_done(&p->early);
}

static void forward_close(struct client *c)
{
        struct forward *f = c->session;

        for (struct pair *p = f->pairs; p; p = p->next)
                pair_stop(p);
        c->server->n_fds -= f->n;
        f->n = 0;
}

static void forward_free(struct client *c)
{
        struct forward *f = c->session;

        while (f->pairs) {
                struct pair *next = f->pairs->next;

                free(f->pairs);
                f->pairs = next;
        }
        free(f);
}

/* Out of the list at once; we may be inside its local end. */
static void pair_drop(struct pair *p)
{
        struct client *c = p->client;
        struct forward *f = c->session;

        if (c->phase != PHASE_OPEN)
                return;
        for (struct pair **at = &f->pairs; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        f->n--;
                        c->server->n_fds--;
                        pair_stop(p);
                        loop_post(c->server->loop, free, p);
                        break;
                }
        if (!c->spdy && !f->pairs)
                client_finish(c);       /* the only way to say that there is no more */
        client_settle(c);               /* nobody waits for this one any more */
}

static void end_error(struct pair *p, const char *text)
{
        if (!p->has_error || p->error_over)
                return;
        p->error_over = true;
        client_send(p->client, p->error, text, strlen(text), true);
}

static void pair_fail(struct pair *p, const char *text)
{
        end_error(p, text);
        if (p->has_data)
                client_reset(p->client, p->data, SPDY_CANCEL);
        pair_drop(p);
}

static void pair_late(void *data)
{
        struct pair *p = data;

        p->limit = NULL;
        pair_fail(p, "the second stream of the pair did not come");
}

static void check_over(struct pair *p)
{
        /* Without SPDY the client cannot end its half, and ours is told by the end of all. */
        if (p->our_over && (p->client_over || p->local.fd < 0 || !p->client->spdy))
                pair_drop(p);
}

/* --- local ends --------------------------------------------------------------- */

static void on_read(void *data, struct local *l, const char *bytes, size_t n)
{
        struct pair *p = data;
        struct client *c = p->client;
        struct forward *f = c->session;

        client_send(c, p->data, bytes, n, false);
        if (c->phase == PHASE_OPEN && transport_full(&c->transport))
                for (struct pair *q = f->pairs; q; q = q->next)
                        local_pause(&q->local, true);
}

static void on_ended(void *data, struct local *l)
{
        struct pair *p = data;

        p->our_over = true;
        client_send(p->client, p->data, NULL, 0, true);
        end_error(p, "");
        check_over(p);
}

static void on_wrote(void *data, struct local *l)
{
        struct pair *p = data;

        client_settle(p->client);
}

static const struct local_events local_events = { .read = on_read, .ended = on_ended, .wrote = on_wrote };

static void forward_drained(struct client *c)
{
        struct forward *f = c->session;

        for (struct pair *p = f->pairs; p; p = p->next)
                local_pause(&p->local, false);
}

static bool forward_full(struct client *c)
{
        struct forward *f = c->session;

        for (struct pair *p = f->pairs; p; p = p->next)
                if (p->early.len > WAITING_MAX || p->local.waiting.len > WAITING_MAX)
                        return true;
        return false;
}

/* --- streams -------------------------------------------------------------------- */

static struct pair *pair_for(struct client *c, const char *request)
{
        struct forward *f = c->session;
        struct pair *p = f->pairs;

        while (p && strcmp(p->request, request) != 0)
                p = p->next;
        if (p || f->n == PAIRS_MAX || c->server->n_fds >= c->server->max_fds)
                return p;
        p = calloc(1, sizeof *p);
        if (!p)
                return NULL;
        p->client = c;
        p->number = ++f->last;
        p->local.fd = -1;
        snprintf(p->request, sizeof p->request, "%s", request);
        p->limit = loop_after(c->server->loop, c->server->creation, pair_late, p);
        p->next = f->pairs;
        f->pairs = p;
        f->n++;
        c->server->n_fds++;
        return p;
}

/* Clients of old send no request id; they make the error stream first. */
static bool forward_open(struct client *c, uint32_t lane, const struct spdy_header *headers, size_t n)
{
        const char *kind = spdy_header(headers, n, "streamtype"), *request = spdy_header(headers, n, "requestid");
        bool is_data = strcmp(kind, "data") == 0;
        char derived[REQUEST_MAX];
        struct pair *p;
        int64_t port;

        if ((!is_data && strcmp(kind, "error") != 0) || strlen(request) >= REQUEST_MAX ||
            str_int64(spdy_header(headers, n, "port"), 1, UINT16_MAX, &port, NULL) < 0)
                return false;
        snprintf(derived, sizeof derived, "stream %u", is_data ? lane - 2 : lane);
        p = pair_for(c, *request ? request : derived);
        if (!p || (is_data ? p->has_data : p->has_error) || (p->port && p->port != port))
                return false;
        client_accept(c, lane);
        p->port = (uint16_t) port;
        *(is_data ? &p->has_data : &p->has_error) = true;
        *(is_data ? &p->data : &p->error) = lane;
        if (p->has_data && p->has_error) {
                struct stream_message m = { .type = STREAM_DIAL, .client = c->id, .number = p->number, .n_ports = 1 };

                loop_timer_cancel(p->limit);
                p->limit = NULL;
                m.ports[0] = p->port;
                control_send(c->server, &m);
        }
        return true;
}

static struct pair *pair_of(struct client *c, uint32_t lane)
{
        struct forward *f = c->session;
        struct pair *p = f->pairs;

        while (p && !(p->has_data && p->data == lane))
                p = p->next;
        return p;
}

static void forward_data(struct client *c, uint32_t lane, const char *bytes, size_t n)
{
        struct pair *p = pair_of(c, lane);

        if (!p || p->client_over)
                return;
        if (p->connected)
                local_write(&p->local, bytes, n);
        else if (buf_add(&p->early, bytes, n, NULL) < 0)
                pair_fail(p, "out of memory");
}

static void forward_end(struct client *c, uint32_t lane)
{
        struct pair *p = pair_of(c, lane);

        if (!p)
                return;
        p->client_over = true;
        if (p->connected)
                local_finish(&p->local);
        check_over(p);
}

static void forward_reset(struct client *c, uint32_t lane)
{
        struct pair *p = pair_of(c, lane);

        if (!p)
                return;
        end_error(p, "");
        pair_drop(p);
}

/* --- the agent ------------------------------------------------------------------ */

static void forward_answer(struct client *c, const struct stream_message *m, int *fds, size_t n_fds)
{
        struct forward *f = c->session;
        struct pair *p = f->pairs;
        struct cringle_err err = CRINGLE_ERR_INIT;

        while (p && p->number != m->number)
                p = p->next;
        if (!p || p->connected)
                return;
        if (m->type != STREAM_DIALED || n_fds != 1) {
                pair_fail(p, m->type == STREAM_FAILED ? m->text : "no connection");
                return;
        }
        if (local_open(&p->local, c->server->loop, steal_fd(&fds[0]), true, true, &local_events, p, &err) < 0) {
                pair_fail(p, err.text);
                return;
        }
        p->connected = true;
        local_pause(&p->local, transport_full(&c->transport));
        if (p->early.len > 0)
                local_write(&p->local, p->early.data, p->early.len);
        buf_done(&p->early);
        if (p->client_over)
                local_finish(&p->local);
}

static void forward_orphaned(struct client *c)
{
        struct forward *f = c->session;

        for (struct pair *p = f->pairs, *next; p; p = next) {
                next = p->next;
                if (!p->connected)
                        pair_fail(p, "the agent was restarted");
        }
}

const struct session_ops forward_ops = {
        .open = forward_open,
        .data = forward_data,
        .end = forward_end,
        .reset = forward_reset,
        .full = forward_full,
        .drained = forward_drained,
        .answer = forward_answer,
        .orphaned = forward_orphaned,
        .close = forward_close,
        .free = forward_free,
};
