#pragma once

/*
 * Trees a container may have made: removed and counted
 *
 * Depth, names, flags and link counts are not ours to decide, and may change while we
 * look.  So nothing here recurses, holds more than a few fds, follows a link or leaves the
 * file system of the root.
 */

#include <stdint.h>

#include "agent/base/err.h"

/*
 * Remove @name below the directory @parent and all in it, also what is marked immutable or
 * append-only.  Gone already: success.  Nobody else may be using the tree.
 */
int tree_remove(int parent, const char *name, struct cringle_err *err);

/*
 * What the tree @name below @parent takes on disk: blocks, and inodes with its root
 * counted; a file with several names once.  Of a tree that changes meanwhile parts may be missed.
 */
int tree_usage(int parent, const char *name, uint64_t *ret_bytes, uint64_t *ret_inodes, struct cringle_err *err);
