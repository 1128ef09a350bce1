#pragma once

/*
 * What the files of this program share
 *
 * One thread, one loop.  A client is a connection from the kubelet; once upgraded it has a
 * session, which maps lanes to local ends and does not know what lanes are made of: SPDY streams, on the connection itself or
 * in the messages of a WebSocket, or the channels of a WebSocket.  Nothing is freed while it may be in use:
 * client_close() stops everything at once, the memory goes when the loop comes round.
 */

#include "agent/stream/channels.h"
#include "agent/stream/http.h"
#include "agent/stream/local.h"
#include "agent/stream/spdy.h"
#include "agent/stream/transport.h"
#include "agent/stream/websocket.h"
#include "agent/wire/stream.h"

#define WAITING_MAX (64 << 10)          /* for one local end, until the client is not read any more */

struct client;

struct session_ops {
        bool (*open)(struct client *c, uint32_t lane, const struct spdy_header *headers, size_t n);
        void (*data)(struct client *c, uint32_t lane, const char *bytes, size_t n);
        void (*end)(struct client *c, uint32_t lane);
        void (*reset)(struct client *c, uint32_t lane);
        bool (*full)(struct client *c);         /* no more can be taken now */
        void (*drained)(struct client *c);      /* the client can take more */
        void (*answer)(struct client *c, const struct stream_message *m, int *fds, size_t n_fds);
        void (*orphaned)(struct client *c);     /* the agent is gone */
        void (*close)(struct client *c);
        void (*free)(struct client *c);
};

enum phase {
        PHASE_HEAD,                     /* reads the request */
        PHASE_CLAIM,                    /* waits for what the token is good for */
        PHASE_OPEN,
        PHASE_LAST,                     /* all is said; waits for the peer to hang up */
        PHASE_CLOSED,
};

struct server {
        struct loop *loop;
        int listener;                   /* -1: no new clients */
        struct loop_watch *listen_watch;
        bool listening;
        int control;                    /* -1: the agent is gone */
        struct loop_watch *control_watch;
        struct buf unsent;              /* whole messages to the agent */
        SSL_CTX *tls;
        bool pages;                     /* no sessions: what the agent writes */
        int64_t idle, creation;
        struct client *clients;
        size_t n_fds, max_fds;          /* in use by clients, and how many may be */
        uint64_t last;
};

struct client {
        struct server *server;
        struct client *next;
        uint64_t id;
        enum phase phase;
        struct transport transport;
        struct buf head;
        enum stream_kind kind;
        uint32_t flags;                 /* STREAM_STDIN ... as the agent said */
        uint16_t ports[STREAM_PORTS_MAX];
        size_t n_ports;
        int version;                    /* of the channel protocol: 1 to 5 */
        struct websocket *websocket;    /* NULL: SPDY on the connection itself */
        struct spdy *spdy;              /* NULL: channels */
        struct channels channels;
        bool ended;                     /* the agent knows */
        const struct session_ops *ops;
        void *session;
        struct loop_timer *idle_timer, *limit;
        int64_t active;                 /* when a byte moved */
        size_t left;                    /* of what it is to be sent, when it was last looked at after the end */
};

extern const struct session_ops remote_ops, forward_ops;

/* client.c */
void client_new(struct server *s, int fd);
void client_answer(struct server *s, const struct stream_message *m, int *fds, size_t n_fds);
void client_close(struct client *c);    /* at once */
void client_finish(struct client *c);   /* once all is sent */

/* A time limit for what comes next; NULL ends it.  @fn gets the client. */
void client_limit(struct client *c, int64_t time, void (*fn)(void *client));

/* Channels cannot be ended or reset one by one: for them @fin and client_reset() are nothing. */
void client_send(struct client *c, uint32_t lane, const char *bytes, size_t n, bool fin);
void client_accept(struct client *c, uint32_t lane);
void client_reset(struct client *c, uint32_t lane, enum spdy_status why);
void client_settle(struct client *c);   /* after a local end has taken or ended something */

/* remote.c, forward.c: make the session of an upgraded client. */
int remote_new(struct client *c, struct cringle_err *err);
int forward_new(struct client *c, struct cringle_err *err);

/* main.c */
void control_send(struct server *s, const struct stream_message *m);
void server_listen(struct server *s);   /* or not, by what there is room for */

/* confine.c: become @uid:@gid, without files, capabilities and most system calls. */
int confine_stream(uint32_t uid, uint32_t gid, struct cringle_err *err);
