#pragma once

/*
 * Seccomp: the default profile, and profiles compiled to what the kernel takes
 *
 * Profiles are kept as runtime-spec's linux.seccomp (json-c), so that they travel
 * in config.json and external runtimes can use them; the filter program is made
 * from that by libseccomp.  Everything here is a pure function of its arguments
 * and of the machine's architecture.
 */

#include <stdint.h>

#include "agent/base/json.h"

/*
 * The default profile for a container whose bounding set is @caps (agent/oci/caps.h).
 * *ret is the caller's.
 */
int seccomp_default(uint64_t caps, struct json_object **ret, struct cringle_err *err);

/*
 * Turn a profile file's content into plain linux.seccomp.  Docker's dialect is
 * understood: archMap becomes architectures; entries whose includes/excludes do
 * not fit @caps or this architecture are left out.  *ret is the caller's.
 * CRINGLE_E_INVALID: not a profile; CRINGLE_E_UNIMPLEMENTED: it wants a listener.
 */
int seccomp_profile_load(const char *text, size_t n, uint64_t caps, struct json_object **ret, struct cringle_err *err);

/*
 * Compile linux.seccomp to an array of struct sock_filter (host byte order),
 * appended to @ret.  System calls libseccomp does not know are skipped; anything
 * else that is not understood is an error, since a filter that means less than
 * it says is worse than none.
 */
int seccomp_compile(struct json_object *profile, struct buf *ret, struct cringle_err *err);

/* SECCOMP_FILTER_FLAG_* that the profile's "flags" ask for, for seccomp(2). */
int seccomp_flags(struct json_object *profile, uint32_t *ret, struct cringle_err *err);

/*
 * What seccomp_compile() depends on, as text: the profile, the architecture, the
 * library's version.  Equal texts, equal filters: the key of a cache.  Appends.
 */
int seccomp_key(struct json_object *profile, struct buf *ret, struct cringle_err *err);
