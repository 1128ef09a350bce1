/*
 * grpc.health.v1.Health: does the server serve?
 *
 * One answer stands for the server and all its services.  Check tells it, Watch goes on
 * telling it whenever it changes.
 */

#include <stdlib.h>

#include "agent/rpc/inside.h"
#include "health.pb-c.h"

struct watcher {
        struct watcher *next, **link;
        struct health *health;
        struct rpc_call *call;
        bool known;             /* the service asked for is one of ours */
};

struct health {
        struct rpc_server *server;
        struct watcher *watchers;
        bool serving;
};

static bool known(struct health *h, const ProtobufCMessage *request)
{
        const Health__HealthCheckRequest *check = (const Health__HealthCheckRequest *) request;

        return !*check->service || map_get(&h->server->services, check->service);
}

static Health__HealthCheckResponse answer(struct health *h, bool is_known)
{
        Health__HealthCheckResponse response = HEALTH__HEALTH_CHECK_RESPONSE__INIT;

        response.status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
        if (is_known)
                response.status = h->serving ? HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                                             : HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
        return response;
}

static void on_check(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct health *h = data;
        Health__HealthCheckResponse response = answer(h, true);

        if (known(h, request))
                rpc_call_reply(call, &response.base);
        else
                call_fail_with(call, CRINGLE_E_NOT_FOUND, "unknown service");
}

static void tell(struct watcher *w)
{
        Health__HealthCheckResponse response = answer(w->health, w->known);

        rpc_call_send(w->call, &response.base);
}

static void watcher_free(struct watcher *w)
{
        *w->link = w->next;
        if (w->next)
                w->next->link = w->link;
        rpc_call_on_cancel(w->call, NULL, NULL);
        rpc_call_unref(w->call);
        free(w);
}

static void on_gone(void *data)
{
        watcher_free(data);
}

static void on_watch(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct health *h = data;
        struct watcher *w = calloc(1, sizeof *w);

        if (!w) {
                call_fail_with(call, CRINGLE_E_EXHAUSTED, "out of memory");
                return;
        }
        w->health = h;
        w->call = rpc_call_ref(call);
        w->known = known(h, request);
        w->next = h->watchers;
        w->link = &h->watchers;
        if (w->next)
                w->next->link = &w->next;
        h->watchers = w;
        rpc_call_on_cancel(call, on_gone, w);
        tell(w);
}

static const struct rpc_handler handlers[] = {
        { "Check", on_check },
        { "Watch", on_watch },
        { 0 }
};

int health_new(struct rpc_server *server, struct health **ret, struct cringle_err *err)
{
        struct health *h = calloc(1, sizeof *h);

        if (!h)
                return err_oom(err);
        h->server = server;
        h->serving = true;
        if (rpc_server_add(server, &health__health__descriptor, handlers, h, err) < 0) {
                free(h);
                return -1;
        }
        *ret = h;
        return 0;
}

struct health *health_free(struct health *h)
{
        while (h && h->watchers)
                watcher_free(h->watchers);
        free(h);
        return NULL;
}

void health_set(struct health *h, bool serving)
{
        if (h->serving == serving)
                return;

        h->serving = serving;
        for (struct watcher *w = h->watchers; w; w = w->next)
                if (w->known)
                        tell(w);
}

void health_end(struct health *h)
{
        health_set(h, false);
        while (h->watchers) {
                call_fail_with(h->watchers->call, CRINGLE_E_UNAVAILABLE, SHUTDOWN_TEXT);
                watcher_free(h->watchers);
        }
}
