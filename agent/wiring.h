#pragma once

/*
 * What plugins need to know of the agent's own configuration
 *
 * A plugin sees its own settings only.  Where the store is, which program the
 * monitor is, where CNI's files are: that stands elsewhere in the YAML, and is
 * added here to the settings of the plugins we ship, unless the YAML says it there too.
 */

#include "config/config.h"

int wire_settings(struct config *config, struct cringle_err *err);
