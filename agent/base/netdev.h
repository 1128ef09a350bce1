#pragma once

/*
 * What went over the interfaces of a network namespace
 */

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

struct netdev {
        char name[IFNAMSIZ];
        uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
        uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};

/* A namespace to look into, and what was seen there: its interfaces, but loopback. */
struct netdev_look {
        char *path;                     /* where it is pinned; NULL: nothing to look at */
        struct netdev *list;
        size_t n;
        struct cringle_err err;         /* with a code: why there is no list */
};

/*
 * Look into each of @looks, which have paths and are empty otherwise.  Blocks, on one
 * thread of its own that enters one namespace after the other and ends there.  -1: there
 * was no thread; a namespace that cannot be read says so in its look alone.
 */
int netdev_read(struct netdev_look *looks, size_t n, struct cringle_err *err);

/* Free what they hold, and the array.  NULL. */
struct netdev_look *netdev_looks_free(struct netdev_look *looks, size_t n);

/* The interfaces of the text of /proc/net/dev; lines that are none of one are left out.  *ret is the caller's: free(). */
int netdev_parse(const char *text, struct netdev **ret, size_t *ret_n, struct cringle_err *err);
