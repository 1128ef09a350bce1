#pragma once

/*
 * The agent's own service: reload, plugins, hooks and their calls, state
 *
 * On the same socket as the CRI, but for root alone.
 */

#include "agent/base/loop.h"
#include "agent/base/own.h"
#include "agent/host/host.h"
#include "agent/image/store.h"
#include "agent/pod/pods.h"
#include "agent/rpc/server.h"
#include "hooks/hooks.h"

struct admin;

struct admin_options {
        struct pods *pods;
        struct images *images;
        struct host *host;
        struct hooks *hooks;
        struct workers *workers;
        struct loop *loop;

        /* Read the configuration again and apply what can be: changed keys, one a line, into @live and @restart. */
        int (*reload)(void *data, struct buf *live, struct buf *restart, struct cringle_err *err);
        void *data;
};

/* Adds the service to @server.  Everything in @options is borrowed for as long as it lives. */
int admin_new(const struct admin_options *options, struct rpc_server *server, struct admin **ret,
              struct cringle_err *err);
struct admin *admin_free(struct admin *a);

AUTO_DEFINE(admin, admin_free)
