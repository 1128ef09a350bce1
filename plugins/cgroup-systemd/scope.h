#pragma once

/*
 * Scopes: started around a process that holds them, ended with it
 *
 * Nothing about them is kept in memory: systemd and the cgroup tree are the record,
 * so it does not matter which agent started one.
 */

#include "cgroup/tree.h"
#include "plugins/cgroup-systemd/bus.h"
#include "plugins/cgroup-systemd/name.h"

struct scopes {
        struct bus *bus;
        const struct trees *trees;
        const struct tree *tree;        /* the v2 one */
        char *hold;                     /* the program */
};

/*
 * Have @p's scope, with @properties unless it was there.  1: started, 0: it was there.
 * On failure nothing of it is left.
 */
int scope_make(const struct scopes *s, const struct cringle_call *call, const struct place *p,
               const struct properties *properties, struct cringle_err *err);

/* End it, with all that is in it.  No such scope: success.  Not for the shared one. */
int scope_end(const struct scopes *s, const struct cringle_call *call, const struct place *p, struct cringle_err *err);
