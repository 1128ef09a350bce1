#pragma once

/*
 * Helper programs of the agent's: spawned with one end of a SOCK_SEQPACKET socket
 */

#include "agent/base/child.h"

struct helper {
        struct child child;
        int control;                    /* our end, non-blocking; -1: none */
};

#define HELPER_INIT { .child = CHILD_INIT, .control = -1 }

/*
 * Spawn @program as @name, its end of the socket as fd @control_fd, stderr ours; @hello
 * with @fds (borrowed, at most SOCK_FDS_MAX) is there to be read when it starts.
 */
int helper_start(const char *program, const char *name, int control_fd, const void *hello, size_t n, const int *fds,
                 size_t n_fds, struct helper *ret, struct cringle_err *err);

/* Kill and reap it, close the socket.  Nothing happens for an empty @h. */
void helper_end(struct helper *h);
