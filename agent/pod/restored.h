#pragma once

/*
 * A container that begins with what a checkpoint has of it
 *
 * What is needed later is taken over when it is made: its changes go into its root filesystem, and CRIU's images into its bundle,
 * where they stay until it has been started.  The checkpoint is only read.
 */

#include "agent/base/call.h"
#include "agent/base/json.h"
#include "plugins/api/executor.h"

struct container;

/* What the executor is told; @launch points into it. */
struct restored {
        struct cringle_restore launch;
        char *program, *images, *work, *streams[3];
};

/*
 * @from is its directory in the checkpoint.  restored_take(): into the bundle and into the root filesystem, which is prepared.
 * restored_check(): whether it was made by a specification that @spec agrees with.  restored_init(): after restored_take();
 * to be freed also on failure.
 */
int restored_take(struct container *c, const char *from, const struct cringle_call *call, struct cringle_err *err);
int restored_check(const struct container *c, const char *from, struct json_object *spec, struct cringle_err *err);
int restored_init(struct restored *r, const struct container *c, struct cringle_err *err);
void restored_done(struct restored *r);

/* It has been started: what was kept for that goes; of any other container there is nothing to go. */
int restored_drop(const struct container *c, struct cringle_err *err);

/* It could not be: CRIU's reason, if this is such a container, to @err. */
void restored_explain(const struct container *c, struct cringle_err *err);

/* Opened for reading, when only root can have written it: what is in it decides what runs as whom. */
int restored_open(int dir, const char *name, int flags, struct cringle_err *err);
