#pragma once

/*
 * Compiled filters, remembered
 *
 * libseccomp takes milliseconds for a profile of hundreds of rules, and a node has a
 * handful of profiles.  What seccomp_compile() made is kept by seccomp_key(), the
 * least recently used going first.  Any thread.
 */

#include "agent/oci/seccomp.h"

/* As seccomp_compile(), appended to @ret; failures are not remembered. */
int seccomp_compile_cached(struct json_object *profile, struct buf *ret, struct cringle_err *err);
