#pragma once

/*
 * SELinux labels of files that containers are to use
 *
 * What a container's root and its tmpfs bear is said when they are mounted.  The node's files that are
 * bound into it have labels of their own: those of volumes are set where the kubelet asks for it, and of the files and the
 * shared memory that the agent makes for a pod always.
 */

#include "cri.pb-c.h"

#include "agent/base/err.h"

struct json_object;
struct pod;

/* linux.mountLabel of @spec, borrowed from it; NULL: there is none. */
int labels_of_spec(struct json_object *spec, const char **ret, struct cringle_err *err);

/*
 * Label all below the volumes of @config that are to be labelled anew.  @label may be NULL: nothing is done.  No link is
 * followed, and file systems that keep no labels are left as they are.  CRINGLE_E_INVALID: a directory of the node's
 * that everybody needs as it is.
 */
int labels_set_volumes(const Cri__ContainerConfig *config, const char *label, struct cringle_err *err);

/* The label of what the containers of @pod share; *ret is the caller's, NULL: none. */
int labels_of_pod(const struct pod *pod, char **ret, struct cringle_err *err);

/* Label one file of ours.  @label may be NULL: nothing is done. */
int labels_set_file(const char *path, const char *label, struct cringle_err *err);
