#pragma once

/*
 * Looking up a user in an image, by a process that can do nothing else
 *
 * passwd and group are the image's, so they are parsed by `cringle-pull lookup`,
 * which has given up everything but its pipes by then.  Numbers come back.
 */

#include "agent/base/call.h"
#include "agent/oci/users.h"

/*
 * Resolve @who ("user[:group]", as in users_resolve()) below the directory
 * @rootfs_fd, by the program @pull_program.  *ret is the caller's.
 * CRINGLE_E_INVALID: no such user, or files nobody should have to read (not
 * regular, larger than 1 MiB).
 */
int lookup_user(const char *pull_program, int rootfs_fd, const char *who, const struct cringle_call *call,
                struct oci_user **ret, struct cringle_err *err);
