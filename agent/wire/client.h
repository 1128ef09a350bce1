#pragma once

/*
 * The agent's end of the monitor's protocol
 *
 * A request has a connection of its own, which is closed with its reply: so calls
 * need no lock and no table of what is pending, a cancelled call is a closed
 * socket, and an agent that died leaves nothing behind.  Events come over one more
 * connection per pod, which stays open.
 */

#include "agent/base/call.h"
#include "agent/wire/monitor.h"

/* A message with its fds. */
struct client_message {
        struct buf data;
        int fds[WIRE_FDS_MAX];          /* of a reply: the holder's */
        size_t n_fds;
};

void client_message_done(struct client_message *m);

static inline void auto_client_message_done_(struct client_message *m)
{
        client_message_done(m);
}

#define auto_client_message auto_cleanup(auto_client_message_done_) struct client_message

/* Connect to the monitor of @run_dir.  CRINGLE_E_NOT_FOUND: none is there (any more). */
int client_connect(const char *run_dir, struct cringle_err *err);

/*
 * Send the message @data with @fds (borrowed) over @conn, wait for the reply within @call.  A reply
 * that says the request failed fills @err.  *ret_fields runs over the reply in @reply.
 */
int client_exchange(int conn, const struct cringle_call *call, const struct buf *data, const int *fds, size_t n_fds,
                    struct client_message *reply, struct rec_cursor *ret_fields, struct cringle_err *err);

/* client_connect() and client_exchange(). */
int client_call(const char *run_dir, const struct cringle_call *call, const struct buf *data, const int *fds,
                size_t n_fds, struct client_message *reply, struct rec_cursor *ret_fields, struct cringle_err *err);

/* @data in a sealed memfd, the caller's. */
int client_seal(const char *name, const void *data, size_t n, struct cringle_err *err);

/* Bring the program @path into a sealed memfd that can be executed; nothing can write to what then runs. */
int client_seal_program(const char *path, struct cringle_err *err);
