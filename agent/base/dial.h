#pragma once

/*
 * Connections into another network namespace
 */

#include <stdint.h>

#include "agent/base/err.h"

/*
 * A TCP connection to @port of the loopback address (127.0.0.1, then ::1) of the network
 * namespace @netns_fd (-1: our own), made by a short-lived thread, within @timeout
 * nanoseconds each.  Returns the fd, the caller's; -1 on failure.
 */
int dial_loopback(int netns_fd, uint16_t port, int64_t timeout, struct cringle_err *err);
