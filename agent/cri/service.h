#pragma once

/*
 * The CRI: RuntimeService and ImageService
 *
 * Each RPC is unpacked, handed to a lower floor, and its result packed.  What only
 * reads memory is answered on the loop; what works is a task of agent/pod; what
 * blocks otherwise runs on a worker.
 */

#include "agent/base/loop.h"
#include "agent/base/own.h"
#include "agent/image/store.h"
#include "agent/host/host.h"
#include "agent/pod/pods.h"
#include "agent/rpc/server.h"

struct cri;

/* All borrowed for as long as the service lives. */
struct cri_options {
        struct pods *pods;
        struct images *images;
        struct host *host;
        struct hooks *hooks;
        struct workers *workers;
        struct workers *pullers;        /* for pulls, which take long */
        struct loop *loop;              /* the server's */
};

/* Adds both services to @server. */
int cri_new(const struct cri_options *options, struct rpc_server *server, struct cri **ret, struct cringle_err *err);
struct cri *cri_free(struct cri *cri);

AUTO_DEFINE(cri, cri_free)
