#pragma once

/*
 * Two things in CRIU's images that are the pod's, and not a container's
 */

#include <stdbool.h>
#include <sys/types.h>

#include "agent/base/buf.h"

/*
 * Whether the image called @name, of @size bytes, has System V shared memory, semaphores or message queues in it: CRIU would make them
 * anew in the pod's IPC namespace for each container that has seen them.
 */
bool image_has_sysv(const char *name, off_t size);

/* Whether it has the names of a UTS namespace in it. */
bool image_is_uts(const char *name);

/* Such an image, whose text is in @image, with @hostname in the place of what it has.  CRINGLE_E_INVALID: it is none. */
int image_rename(struct buf *image, const char *hostname, struct cringle_err *err);
