#pragma once

/*
 * The volumes of a pod that was made from a manifest
 *
 * emptyDir volumes live in a folder of the pod (below the agent's root, named
 * after the pod's uid) and go with it; those in memory are file systems mounted
 * there.  hostPath volumes are checked and, where their type says so, made.
 */

#include "agent/cli/manifest.h"

/* The folder that all pods' folders are in; the caller's. */
char *volumes_dir(const char *root, struct cringle_err *err);

/*
 * Make what @m's volumes need.  What a pod of the same uid left behind goes first:
 * the caller knows that there is none.  When it fails nothing it made is left.
 */
int volumes_make(struct manifest *m, const char *dir, struct cringle_err *err);

/* Remove the hostPaths that were made for a pod that came to nothing, unless something is in them. */
void volumes_unmake_hosts(const struct manifest *m);

/* Remove the folder of the pod @uid and what is mounted in it.  Gone already: success. */
int volumes_remove(const char *dir, const char *uid, struct cringle_err *err);
