#pragma once

/*
 * A layer's entries as files in a directory
 *
 * Replace rules (image-spec 1.1, layer.md): a directory over a directory keeps the children and takes the new
 * attributes; anything else replaces what was there.  Whiteouts become what overlayfs wants:
 * a character device 0/0 for a hidden name, and a mark "opaque" for a directory that hides all below.
 *
 * Every path is resolved component by component in the layer itself: a link on the way leads to where it would lead if
 * the layer were "/", and what the last component is is never followed.  The root stays the directory it is.
 * The process has CAP_DAC_OVERRIDE and nobody else works in the directory.
 *
 * Some things only the agent can do, or only with the layers below: these come out of tree_finish() as marks.
 */

#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"
#include "agent/pull/tar.h"
#include "agent/wire/pull.h"

struct tree;

/* @root is borrowed.  The umask of the process must be 0. */
int tree_new(int root, uint64_t max_entries, struct tree **ret, struct cringle_err *err);
struct tree *tree_free(struct tree *t);

/* Put the entry @e, with its data from @tar. */
int tree_add(struct tree *t, const struct tar_entry *e, struct tar *tar, struct cringle_err *err);

/*
 * After the last entry: times of directories, and @fn for every mark (opaque and implied directories with the
 * parents first, links in the order of the tar).  Its lengths fit the two paths given.
 */
typedef int tree_mark_fn(void *data, const struct pull_mark *mark, const char *path, const char *target,
                         struct cringle_err *err);
int tree_finish(struct tree *t, tree_mark_fn *fn, void *data, struct cringle_err *err);

uint64_t tree_entries(const struct tree *t);

AUTO_DEFINE(tree, tree_free)
