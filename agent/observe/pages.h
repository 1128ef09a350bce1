#pragma once

/*
 * Pages over HTTP: read-only texts that the agent writes and a confined process serves
 *
 * The requests come from strangers, so a cringle-stream of its own parses them; the agent
 * sees a path, and answers with a file in memory.
 */

#include "agent/base/buf.h"
#include "agent/base/loop.h"

struct pages;

struct pages_options {
        const char *name;               /* for messages; literal */
        struct loop *loop;
        struct workers *workers;
        const char *program;            /* cringle-stream */
        uint32_t uid, gid;              /* that serves */
        int listener;                   /* taken, also on failure */

        /* Write the page @path; on a worker.  *ret_type is a literal.  CRINGLE_E_NOT_FOUND: there is no such page. */
        int (*write)(void *data, const char *path, struct buf *ret, const char **ret_type, struct cringle_err *err);
        void *data;
};

/* Serves from now on; a server that ends is replaced.  Loop thread, or before it runs. */
int pages_new(const struct pages_options *options, struct pages **ret, struct cringle_err *err);
