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

/*
 * The interfaces, but loopback, of the namespace pinned at @path.  *ret is the caller's:
 * free().  Blocks, on a thread of its own that enters the namespace and ends there.
 */
int netdev_read(const char *path, struct netdev **ret, size_t *ret_n, struct cringle_err *err);

/* The same of the text of /proc/net/dev; lines that are none of an interface are left out. */
int netdev_parse(const char *text, struct netdev **ret, size_t *ret_n, struct cringle_err *err);
