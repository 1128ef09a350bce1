#pragma once

/*
 * From (parent, id) to a slice, a unit and directories
 *
 * A container whose kubelet names a slice gets a scope of its own in there:
 *
 *      <slice>/<prefix>-<id>.scope             systemd's, delegated to us
 *              container                       the container's processes
 *              hold                            one process that keeps the scope alive
 *
 * What has no parent - monitors, pods of no kubelet - is a directory <id> in one
 * scope that all of them share, <own slice>/<prefix>.scope, beside its `hold`.
 */

#include <stdbool.h>

#include "agent/base/err.h"

/* How this driver names what is its own. */
struct naming {
        char *prefix;                   /* of units */
        char *slice;                    /* for what has no parent */
};

struct place {
        bool shared;
        char *slice;                    /* unit names */
        char *unit;
        char *slice_dir;                /* paths in the v2 tree, without a leading slash */
        char *scope;
        char *hold;
        char *group;                    /* where the processes go */
        char *oci_path;                 /* as linux.cgroupsPath spells it: "slice:prefix:id" */
};

/*
 * The slice that @parent names, by itself ("kubepods-pod1.slice") or with all slices
 * above it ("/kubepods.slice/kubepods-pod1.slice"); NULL with @err: it is none.
 */
char *name_slice(const char *parent, struct cringle_err *err);

/* Its path: "kubepods.slice/kubepods-pod1.slice". */
char *name_slice_dir(const char *slice, struct cringle_err *err);

int place_find(const struct naming *n, const char *parent, const char *id, struct place *ret, struct cringle_err *err);
void place_done(struct place *p);

static inline void auto_place_(struct place *p)
{
        place_done(p);
}

#define auto_place auto_cleanup(auto_place_) struct place
