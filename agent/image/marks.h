#pragma once

/*
 * What an unpack half leaves to the agent
 *
 * It may neither set trusted attributes nor make device nodes, and it does not see the layers
 * below.  So it sends marks (agent/wire/pull.h), which are checked here and carried out by fd:
 * every path is opened without following any link, beneath the layer's directory or the view of its parents.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/call.h"
#include "agent/base/own.h"
#include "agent/wire/pull.h"

struct mark {
        struct pull_mark head;
        char *path, *target;
};

struct marks {
        struct mark *list;
        size_t n, room;
        size_t bytes;                   /* of all paths */
};

#define MARKS_INIT { 0 }

void marks_done(struct marks *m);

/* Take the message of @n bytes at @message, if it is a well-formed mark and there are not too many. */
int marks_add(struct marks *m, const void *message, size_t n, struct cringle_err *err);

/* Opaque directories and device nodes; these leave the list, what stays needs the parents. */
int marks_apply(struct marks *m, int layer_fd, const struct cringle_call *call, struct cringle_err *err);

/*
 * What is left: directories the tar did not have, hard links to files below.  @parents_fd: a view of all
 * layers below, or -1.  At most @max_bytes are copied.
 */
int marks_settle(const struct marks *m, int layer_fd, int parents_fd, uint64_t max_bytes,
                 const struct cringle_call *call, struct cringle_err *err);
