#pragma once

/*
 * Who a "user[:group]" string means, by the passwd and group files of an image
 *
 * The files are hostile: they are parsed in place, bounded, without recursion and
 * without libc's nss.  What is a number is a number, whatever names the files
 * hold, and a number out of range is an error, never looked up as a name.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

/* A container's groups may be this many; more is refused. */
#define USERS_GROUPS_MAX 4096

/* The highest uid and gid taken from images and requests: what is above has wrapped to 0 in too many places. */
#define USERS_ID_MAX INT32_MAX

struct oci_user {
        uint32_t uid, gid;
        uint32_t *groups;               /* supplementary, by membership; without duplicates; gid may be among them */
        size_t n_groups;
        char *home;                     /* absolute; "/" when the files do not tell */
        char *name;                     /* NULL: the files know no name for uid */
};

struct oci_user *oci_user_free(struct oci_user *u);

AUTO_DEFINE(oci_user, oci_user_free)

int oci_user_new(uint32_t uid, uint32_t gid, const char *home, const char *name, struct oci_user **ret,
                 struct cringle_err *err);

/* Another supplementary group; one that is there already changes nothing. */
int oci_user_add_group(struct oci_user *u, uint32_t gid, struct cringle_err *err);

/*
 * Resolve @who: "", "user", "user:group", each a name or a decimal number; "" is
 * "0".  @passwd and @group are the files' bytes (NULL and 0: no such file).
 * Without a group part gid is the one in passwd, or 0 for a number passwd does
 * not know.  Supplementary groups are those that list the user as a member.
 *
 * CRINGLE_E_INVALID: malformed, out of range, or a name that is not there.
 */
int users_resolve(const char *who, const char *passwd, size_t n_passwd, const char *group, size_t n_group,
                  struct oci_user **ret, struct cringle_err *err);
