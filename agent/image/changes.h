#pragma once

/*
 * What a container has changed in its root filesystem, for an archive of it
 */

#include "agent/base/buf.h"
#include "agent/image/store.h"

struct changes {
        int dir;                        /* the tree that has them */
        struct buf names;               /* what is in it but whiteouts: relative paths, each ended by NUL */
        char **deleted;                 /* absolute paths of the image that are not there any more */
};

#define CHANGES_INIT { .dir = -1 }

/*
 * Walk the writable part of @container_id, whose image is @image; nothing may change it meanwhile.  *ret is to be freed by
 * changes_done(), also on failure.
 */
int changes_find(struct images *images, const struct image *image, const char *container_id, struct changes *ret,
                 struct cringle_err *err);
void changes_done(struct changes *c);

#define auto_changes auto_cleanup(changes_done) struct changes
