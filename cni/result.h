#pragma once

/*
 * Results of ADD, in all versions of the specification
 *
 * Whatever version a plugin answers in, a result is brought to the newest form
 * first, with every type, address and index checked, and written from there in the
 * version that the next reader speaks.
 */

#include "agent/base/json.h"
#include "cni/version.h"

/*
 * Check @answer, which is in the version it names (in @version when it names none),
 * and bring it to the newest form.  *ret is the caller's; @answer stays as it is.
 */
int cni_result_take(struct json_object *answer, int version, struct json_object **ret, struct cringle_err *err);

/* @result (in the newest form) as @version has it; *ret is the caller's. */
int cni_result_give(struct json_object *result, int version, struct json_object **ret, struct cringle_err *err);

/*
 * The addresses without prefix length of interface @ifname inside the pod (or,
 * when there is none of that name, of the first one inside), IPv4 before IPv6; *ret is
 * the caller's (strv_free), and has at least one.  @netns is the pod's: a result that
 * names another network namespace is refused.
 */
int cni_result_addresses(struct json_object *result, const char *ifname, const char *netns, char ***ret,
                         struct cringle_err *err);
