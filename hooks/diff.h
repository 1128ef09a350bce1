#pragma once

/*
 * What has changed between two specifications, in lines for people
 */

#include "agent/base/json.h"

/*
 * One line per change, appended to @ret: "+ process.env: "A=1"" for what is new, "- ..." for what is
 * gone.  Elements of lists count as wholes; that they moved is told once for the list.
 */
int diff_specs(struct json_object *before, struct json_object *after, char ***ret, struct cringle_err *err);
