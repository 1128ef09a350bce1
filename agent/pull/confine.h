#pragma once

/*
 * Giving up rights, before the first byte from outside is read
 *
 * Both halves do it as their first act, with everything they will need already loaded.
 * What the kernel does not have (landlock) is done without; what it refuses to give up is an error.
 */

#include <stdint.h>
#include <sys/types.h>

#include "agent/base/err.h"

/*
 * The fetch half: become @uid:@gid with no capabilities, read only what finding and
 * checking a host takes (resolver files, CA files, libraries), never execute.
 */
int confine_fetch(uid_t uid, gid_t gid, struct cringle_err *err);

/*
 * The unpack half: @layer_fd becomes the only directory there is, on a mount without devices,
 * set-user-id and execution; no network, no capability but those that owners, modes and file capabilities take, no system
 * call but those that reading a pipe and making files take.  *ret_root is the directory, the caller's.  Files
 * may not grow beyond @max_file bytes.
 */
int confine_unpack(int layer_fd, uint64_t max_file, int *ret_root, struct cringle_err *err);
