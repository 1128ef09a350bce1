#pragma once

/*
 * The cgroup trees of this machine, and directories in them
 *
 * A tree is one mounted hierarchy: a v1 one with some controllers, or the v2 one.
 * Cgroups are named by their path from the mount's root without a leading slash
 * ("kubepods/pod1/abc"); wherever that root lies in the kernel's own tree, this is
 * where we are.  Trees do not change once found, so all threads share them.
 */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/buf.h"
#include "agent/base/call.h"
#include "agent/base/own.h"
#include "cgroup/kept.h"

struct tree {
        bool v2;
        char *mount;                    /* where it is mounted */
        int fd;                         /* O_PATH of that directory */
        char **controllers;             /* v2: those its root offers */
};

struct trees {
        struct tree *list;
        size_t n;
        const struct tree *unified;     /* the v2 one, or NULL */
        struct kept *kept;              /* files that statistics read */
};

/*
 * The trees mounted at or below @mount_point, as @mountinfo (the text of
 * /proc/self/mountinfo) tells.  v1 hierarchies without controllers are left out.
 */
int trees_find(const char *mount_point, const char *mountinfo, struct trees **ret, struct cringle_err *err);
struct trees *trees_free(struct trees *t);

AUTO_DEFINE(trees, trees_free)

/* The tree that has @controller, or NULL. */
const struct tree *trees_with(const struct trees *t, const char *controller);

/* Read all of @path/@file.  1, or 0 when there is no such file. */
int tree_read(const struct tree *t, const char *path, const char *file, struct buf *ret, struct cringle_err *err);

/* Write @value to @path/@file.  1, or 0 when there is no such file. */
int tree_write(const struct tree *t, const char *path, const char *file, const char *value, struct cringle_err *err);

bool tree_has(const struct tree *t, const char *path);

/*
 * Make @path with its parents, ready for processes and limits: controllers are
 * enabled on the way down (v2), cpuset filled in (v1).  1: made, 0: it was there.
 */
int tree_make(const struct tree *t, const char *path, struct cringle_err *err);

/*
 * Remove @path and all below.  1: gone (or never there), 0: busy, try again when
 * its processes have ended.
 */
int tree_remove(const struct tree *t, const char *path, struct cringle_err *err);

/* Remove empty directories from @path upward, as far as @top and that included. */
void tree_prune(const struct tree *t, const char *path, const char *top);

/* The directories at @path and below, parents first, as a list that the caller frees; empty when there is none. */
int tree_walk(const struct tree *t, const char *path, char ***ret, struct cringle_err *err);
