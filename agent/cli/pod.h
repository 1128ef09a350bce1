#pragma once

/*
 * What running and removing a pod have in common
 */

#include "agent/cli/cli.h"
#include "agent/cli/manifest.h"

/*
 * The manifest in @file ("-": standard input); @options need say only what differs from the usual.  0 with *ret, the
 * caller's; 1: it is refused, complaints are printed; -1.
 */
int pod_read_manifest(struct cli *c, const char *file, struct manifest_options options, struct manifest **ret,
                      struct cringle_err *err);

/* `cringle hooks explain`: what the hooks make of the pod in @file; @spec: only the specifications.  The exit status, or -1. */
int hooks_explain_file(struct cli *c, const char *file, bool spec, struct cringle_err *err);

/* `cringle hooks trace`: calls of hooks as they happen; @pod and @hook "": all.  The exit status, or -1. */
int hooks_trace_calls(struct cli *c, const char *pod, const char *hook, bool json, struct cringle_err *err);

/* `cringle pod run`: *m is used, not kept.  The exit status, or -1. */
int pod_run(struct cli *c, struct manifest *m, bool detach, struct cringle_err *err);

/*
 * Stop the containers of the sandbox @id (each has @grace seconds), stop and remove
 * it, and remove the volumes and logs of the pod @uid.  What is gone already is no
 * failure.  @log_dir NULL: no logs.
 */
int pod_remove(struct cli *c, const char *id, const char *uid, const char *log_dir, int64_t grace,
               struct cringle_err *err);

/* The state of the container @id; CRINGLE_E_NOT_FOUND when there is none. */
int pod_container_status(struct cli *c, const char *id, Cri__ContainerStatusResponse **ret, struct cringle_err *err);
