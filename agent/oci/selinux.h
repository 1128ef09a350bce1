#pragma once

/*
 * SELinux labels: what a container's processes and files are called to the kernel's policy
 *
 * A label is "user:role:type:level".  Processes are container_t, or spc_t where they are confined by
 * nothing; all that is theirs alone is container_file_t.  These are the names of the policy that every
 * distribution with SELinux ships for containers.  The level keeps pods apart: each has a pair of categories ("s0:c1,c2")
 * that no other pod of the node has, and its containers share it.
 */

#include <stdbool.h>

#include "agent/base/err.h"
#include "agent/proto/cri.pb-c.h"

#define SELINUX_LEVEL_MAX 32

struct selinux_wish {
        const Cri__SELinuxOption *pod, *container;      /* NULL: none; the container's count, word by word */
        const char *level;              /* the pod's own; NULL: "s0" */
        bool unconfined;                /* privileged, or in the node's processes or IPC */
};

/* The labels of processes and of files; each the caller's, ret_process may be NULL.  CRINGLE_E_INVALID: malformed options. */
int selinux_labels(const struct selinux_wish *wish, char **ret_process, char **ret_files, struct cringle_err *err);

/* Has @o anything to say?  It may be NULL. */
bool selinux_asked(const Cri__SELinuxOption *o);

/* A level of two categories, by chance. */
void selinux_random_level(char ret[static SELINUX_LEVEL_MAX]);

/* The level that the options of @pod give it; NULL: none, or empty ones.  CRINGLE_E_INVALID: it is malformed. */
int selinux_level_asked(const Cri__SELinuxOption *pod, const char **ret, struct cringle_err *err);
