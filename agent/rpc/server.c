/*
 * The server: sockets that listen, the table of methods, limits, shutdown; see server.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/rpc/inside.h"

#define MIB ((size_t) 1024 * 1024)
#define TICK NSEC_PER_SEC
#define ACCEPT_PAUSE (200 * NSEC_PER_MSEC)
#define ACCEPTS_PER_TURN 32
#define DELIVERIES_PER_TURN 1024

static struct rpc_limits with_defaults(const struct rpc_limits *limits)
{
        struct rpc_limits l = limits ? *limits : (struct rpc_limits) { 0 };

        l.max_message = l.max_message ? l.max_message : 16 * MIB;
        l.max_receiving = l.max_receiving ? l.max_receiving : 64 * MIB;
        l.max_queue = l.max_queue ? l.max_queue : MIB;
        l.max_unread = l.max_unread ? l.max_unread : 64 * MIB;
        l.max_streams = l.max_streams ? l.max_streams : 256;
        l.max_connections = l.max_connections ? l.max_connections : 256;
        l.max_header_list = l.max_header_list ? l.max_header_list : 16 * 1024;
        l.greeting_nsec = l.greeting_nsec ? l.greeting_nsec : 10 * NSEC_PER_SEC;
        l.request_nsec = l.request_nsec ? l.request_nsec : 60 * NSEC_PER_SEC;
        return l;
}

static void method_free(void *data)
{
        struct method *m = data;

        free(m->path);
        free(m);
}

struct hub *hub_unref(struct hub *hub)
{
        if (hub && atomic_fetch_sub(&hub->refs, 1) == 1) {
                pthread_mutex_destroy(&hub->lock);
                map_done(&hub->methods, method_free);
                free(hub);
        }
        return NULL;
}

static struct hub *hub_new(struct rpc_server *server, const struct rpc_limits *limits)
{
        struct hub *hub = calloc(1, sizeof *hub);

        if (!hub)
                return NULL;
        hub->refs = 1;
        hub->limits = with_defaults(limits);
        pthread_mutex_init(&hub->lock, NULL);
        hub->loop = server->loop;
        hub->server = server;
        hub->end = &hub->first;
        return hub;
}

/* A turn with nothing but the calls that have news. */
static void take_mail(void *data)
{
        struct hub *hub = data;
        struct rpc_server *server;

        pthread_mutex_lock(&hub->lock);
        hub->posted = false;
        server = hub->server;
        pthread_mutex_unlock(&hub->lock);

        if (server) {
                server_turn_begin(server);
                server_turn_end(server);
        }
        hub_unref(hub);
}

/* Under hub->lock. */
static void post(struct hub *hub)
{
        if (hub->posted)
                return;
        hub->posted = true;
        atomic_fetch_add(&hub->refs, 1);
        loop_post(hub->loop, take_mail, hub);
}

void hub_mail(struct hub *hub, struct rpc_call *call)
{
        pthread_mutex_lock(&hub->lock);
        if (hub->loop && !call->mailed) {
                call->mailed = true;
                call->mail_next = NULL;
                atomic_fetch_add(&call->refs, 1);
                *hub->end = call;
                hub->end = &call->mail_next;
                /* The end of the turn we are in takes it. */
                if (!loop_is_here(hub->loop) || hub->server->turns == 0)
                        post(hub);
        }
        pthread_mutex_unlock(&hub->lock);
}

struct rpc_call *hub_take(struct hub *hub)
{
        struct rpc_call *call;

        pthread_mutex_lock(&hub->lock);
        call = hub->first;
        if (call) {
                hub->first = call->mail_next;
                if (!hub->first)
                        hub->end = &hub->first;
                call->mailed = false;
        }
        pthread_mutex_unlock(&hub->lock);
        return call;
}

void server_turn_begin(struct rpc_server *server)
{
        server->turns++;
}

void server_turn_end(struct rpc_server *server)
{
        struct rpc_call *call;
        struct conn *c;

        if (server->turns > 1) {
                server->turns--;
                return;
        }

        for (int i = 0; i < DELIVERIES_PER_TURN && (call = hub_take(server->hub)); i++) {
                call_deliver(call);
                call_unref_memory(call);
        }
        while ((c = server->dirty)) {
                server->dirty = c->next_dirty;
                c->dirty = false;
                conn_flush(c);
                conn_unref(c);
        }
        server->turns--;

        pthread_mutex_lock(&server->hub->lock);
        if (server->hub->first)
                post(server->hub);
        pthread_mutex_unlock(&server->hub->lock);

        if (server->draining && !server->conns && server->drained) {
                loop_timer_cancel(steal(&server->grace));
                loop_post(server->loop, server->drained, server->drained_data);
                server->drained = NULL;
        }
}

static void on_tick(void *data)
{
        struct rpc_server *server = data;
        int64_t now = clock_monotonic();
        bool again = false;

        server->tick = NULL;
        server_turn_begin(server);
        for (struct conn *c = server->conns, *next; c; c = next) {
                next = c->next;
                again |= conn_tick(c, now);
        }
        if (again)
                server_need_tick(server);
        server_turn_end(server);
}

void server_need_tick(struct rpc_server *server)
{
        if (!server->tick)
                server->tick = loop_after(server->loop, TICK, on_tick, server);
}

int rpc_server_new(struct loop *loop, const struct rpc_limits *limits, struct rpc_server **ret,
                   struct cringle_err *err)
{
        auto_of(rpc_server) server = calloc(1, sizeof *server);

        if (!server)
                return err_oom(err);
        server->loop = loop;
        server->hub = hub_new(server, limits);
        server->scratch = malloc(SCRATCH);
        if (!server->hub || !server->scratch || nghttp2_session_callbacks_new(&server->callbacks) != 0 ||
            nghttp2_option_new(&server->options) != 0)
                return err_oom(err);

        conn_setup_callbacks(server->callbacks);
        nghttp2_option_set_no_closed_streams(server->options, 1);
        if (health_new(server, &server->health, err) < 0)
                return -1;

        *ret = steal(&server);
        return 0;
}

static void listener_free(struct listener *l)
{
        loop_watch_stop(l->watch);
        loop_timer_cancel(l->pause);
        close(l->fd);
        free(l);
}

static void stop_listening(struct rpc_server *server)
{
        while (server->listeners) {
                struct listener *l = server->listeners;

                server->listeners = l->next;
                listener_free(l);
        }
}

struct rpc_server *rpc_server_free(struct rpc_server *server)
{
        struct rpc_call *call;
        struct conn *c;

        if (!server)
                return NULL;

        server->turns++;        /* for good: no turn ends any more */
        stop_listening(server);
        health_free(server->health);
        while (server->conns)
                conn_close(server->conns);
        while ((c = server->dirty)) {
                server->dirty = c->next_dirty;
                conn_unref(c);
        }
        loop_timer_cancel(server->tick);
        loop_timer_cancel(server->grace);

        if (server->hub) {
                pthread_mutex_lock(&server->hub->lock);
                server->hub->loop = NULL;
                server->hub->server = NULL;
                pthread_mutex_unlock(&server->hub->lock);
                while ((call = hub_take(server->hub)))
                        call_unref_memory(call);
                hub_unref(server->hub);
        }
        map_done(&server->services, NULL);
        nghttp2_session_callbacks_del(server->callbacks);
        nghttp2_option_del(server->options);
        free(server->scratch);
        free(server);
        return NULL;
}

static int add_method(struct rpc_server *server, const ProtobufCServiceDescriptor *service,
                      const ProtobufCMethodDescriptor *desc, rpc_handler_fn handle, void *data,
                      struct cringle_err *err)
{
        struct method *m = calloc(1, sizeof *m);

        if (!m)
                return err_oom(err);
        *m = (struct method) { .input = desc->input, .output = desc->output, .handle = handle, .data = data };
        m->path = str_printf(err, "/%s/%s", service->name, desc->name);
        if (!m->path || map_put(&server->hub->methods, m->path, m, err) < 0) {
                method_free(m);
                return -1;
        }
        return 0;
}

int rpc_server_add(struct rpc_server *server, const ProtobufCServiceDescriptor *service,
                   const struct rpc_handler *handlers, void *data, struct cringle_err *err)
{
        if (map_get(&server->services, service->name))
                return err_set(err, CRINGLE_E_EXISTS, "service %s is there already", service->name);
        for (const struct rpc_handler *h = handlers; h->method; h++)
                if (!protobuf_c_service_descriptor_get_method_by_name(service, h->method))
                        return err_set(err, CRINGLE_E_NOT_FOUND, "service %s has no method %s", service->name,
                                       h->method);

        for (unsigned i = 0; i < service->n_methods; i++) {
                const struct rpc_handler *h = handlers;

                while (h->method && strcmp(h->method, service->methods[i].name) != 0)
                        h++;
                if (add_method(server, service, &service->methods[i], h->method ? h->handle : NULL, data, err) < 0)
                        return err_wrap(err, "add service %s", service->name);
        }
        return map_put(&server->services, service->name, (void *) service, err);
}

/* Room for one more connection: the one that has been without calls for longest goes. */
static bool make_room(struct rpc_server *server)
{
        struct conn *idle = NULL;

        if (server->n_conns < server->hub->limits.max_connections)
                return true;
        for (struct conn *c = server->conns; c; c = c->next)
                if (!c->calls && c->n_working == 0 && (!idle || c->last_busy <= idle->last_busy))
                        idle = c;
        if (!idle)
                return false;
        conn_close(idle);
        return true;
}

int rpc_server_adopt(struct rpc_server *server, int fd, struct cringle_err *err)
{
        auto_fd int mine = fd;

        if (server->draining)
                return err_set(err, CRINGLE_E_UNAVAILABLE, SHUTDOWN_TEXT);
        if (!make_room(server))
                return err_set(err, CRINGLE_E_EXHAUSTED, "more than %u connections at work",
                               server->hub->limits.max_connections);
        if (conn_new(server, steal_fd(&mine), err) < 0)
                return -1;
        server_need_tick(server);
        return 0;
}

static void on_connect(int fd, int events, void *data);

static void go_on_listening(void *data)
{
        struct listener *l = data;

        l->pause = NULL;
        loop_watch_change(l->watch, UV_READABLE);
}

static void on_connect(int fd, int events, void *data)
{
        struct listener *l = data;
        struct rpc_server *server = l->server;

        server_turn_begin(server);
        for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                int conn = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (conn >= 0) {
                        if (rpc_server_adopt(server, conn, &err) < 0)
                                log_warning("connection refused: %s", err.text);
                        continue;
                }
                if (errno == EINTR || errno == ECONNABORTED)
                        continue;
                if (errno == EAGAIN)
                        break;
                /* Out of fds or memory: the socket stays readable, so asking again at once would spin. */
                log_warning("accept: %s, trying again in a moment", strerror(errno));
                loop_watch_change(l->watch, 0);
                l->pause = loop_after(server->loop, ACCEPT_PAUSE, go_on_listening, l);
                break;
        }
        server_turn_end(server);
}

int rpc_server_listen(struct rpc_server *server, int listen_fd, struct cringle_err *err)
{
        auto_fd int fd = listen_fd;
        struct listener *l = calloc(1, sizeof *l);

        if (!l)
                return err_oom(err);
        l->watch = loop_watch(server->loop, fd, UV_READABLE, on_connect, l, err);
        if (!l->watch) {
                free(l);
                return -1;
        }
        l->server = server;
        l->fd = steal_fd(&fd);
        l->next = server->listeners;
        server->listeners = l;
        return 0;
}

void rpc_server_set_serving(struct rpc_server *server, bool serving)
{
        server_turn_begin(server);
        health_set(server->health, serving);
        server_turn_end(server);
}

void rpc_server_observe(struct rpc_server *server, rpc_observe_fn fn, void *data)
{
        server->observe = fn;
        server->observe_data = data;
}

size_t rpc_server_connections(const struct rpc_server *server)
{
        return server->n_conns;
}

static void on_grace_over(void *data)
{
        struct rpc_server *server = data;
        struct rpc_call *call;

        server->grace = NULL;
        server_turn_begin(server);
        for (struct conn *c = server->conns; c; c = c->next)
                for (call = c->calls; call; call = call->next)
                        call_end(call, CRINGLE_E_UNAVAILABLE, SHUTDOWN_TEXT);
        while ((call = hub_take(server->hub))) {
                call_deliver(call);
                call_unref_memory(call);
        }
        for (struct conn *c = server->conns, *next; c; c = next) {
                next = c->next;
                conn_ref(c);
                conn_flush(c);
                conn_close(c);
                conn_unref(c);
        }
        server_turn_end(server);
}

void rpc_server_shutdown(struct rpc_server *server, int64_t grace_nsec, void (*done)(void *data), void *data)
{
        if (server->draining)
                return;
        server->draining = true;
        server->drained = done;
        server->drained_data = data;

        server_turn_begin(server);
        stop_listening(server);
        health_end(server->health);
        for (struct conn *c = server->conns; c; c = c->next)
                conn_drain(c);
        server->grace = loop_after(server->loop, grace_nsec, on_grace_over, server);
        server_turn_end(server);
}
