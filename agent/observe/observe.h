#pragma once

/*
 * The agent seen from outside: metrics for Prometheus, containers for a kubelet's collector
 *
 * Both are off unless the configuration names where they are served.
 */

#include "agent/base/loop.h"
#include "agent/observe/prometheus.h"
#include "config/config.h"

struct observe_options {
        const struct config *config;    /* read during observe_start() only */
        struct loop *loop;
        struct workers *workers;
        struct prometheus_options sources;
};

/* Serve what is configured, for as long as the agent lives; before the loop runs. */
int observe_start(const struct observe_options *options, struct cringle_err *err);
