#pragma once

/*
 * What the three files of a manifest share
 */

#include "agent/cli/manifest.h"

/* What must hold between fields. */
void manifest_check(struct manifest *m, struct yaml_complaints *complaints);

/* The messages; complaints are about what only shows when all is put together. */
int manifest_build(struct manifest *m, const struct manifest_options *options, struct yaml_complaints *complaints,
                   struct cringle_err *err);

/* The volume called @name, or NULL. */
struct manifest_volume *manifest_find_volume(struct manifest *m, const char *name);
