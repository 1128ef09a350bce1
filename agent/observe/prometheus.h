#pragma once

/*
 * The agent's counters, and those of its containers, in Prometheus' text format 0.0.4
 */

#include "agent/host/host.h"
#include "agent/pod/pods.h"
#include "agent/rpc/server.h"
#include "hooks/hooks.h"

struct prometheus;

/* All borrowed for as long as it lives. */
struct prometheus_options {
        struct pods *pods;
        struct host *host;
        struct hooks *hooks;
        struct rpc_server *server;      /* whose calls are counted from now on */
};

int prometheus_new(const struct prometheus_options *options, struct prometheus **ret, struct cringle_err *err);

/* Append everything; blocks. */
int prometheus_write(struct prometheus *p, struct buf *ret, struct cringle_err *err);
