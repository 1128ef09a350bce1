#pragma once

/*
 * What a container has changed in its root filesystem, for an archive of it
 */

#include "agent/base/buf.h"
#include "agent/base/call.h"
#include "agent/image/store.h"

struct changes {
        int dir;                        /* the tree that has them */
        struct buf names;               /* what is in it but whiteouts: relative paths, each ended by NUL */
        struct buf deleted;             /* of the image's, what is not there any more: absolute paths, each ended by NUL */
};

#define CHANGES_INIT { .dir = -1 }

/*
 * Walk the writable part of @container_id, whose image is @image; nothing may change it meanwhile.  *ret is to be freed by
 * changes_done(), also on failure.
 */
int changes_find(struct images *images, const struct image *image, const char *container_id, struct changes *ret,
                 struct cringle_err *err);
void changes_done(struct changes *c);

/*
 * The other way: into the writable part of @container_id, which nobody has mounted since it was prepared, go the files of the tar at
 * @archive and whiteouts for @deleted (ended by NULL; may be NULL).  Neither is trusted.  On failure it holds a part of it.
 */
int changes_apply(struct images *images, const char *container_id, int archive, const char *const *deleted,
                  const struct cringle_call *call, struct cringle_err *err);

#define auto_changes auto_cleanup(changes_done) struct changes
