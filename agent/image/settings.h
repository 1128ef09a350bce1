#pragma once

/*
 * What pulls need of the configuration: a copy of it
 *
 * A pull may outlast the configuration it began with, since that is replaced by a
 * reload.  So a pull holds a reference to a copy of the parts it reads.
 */

#include <stdbool.h>

#include "agent/base/own.h"
#include "config/config.h"

struct settings {
        unsigned refs;
        struct config config;           /* programs.pull, images and registries only */
};

int settings_new(const struct config *config, struct settings **ret, struct cringle_err *err);
struct settings *settings_ref(struct settings *s);
struct settings *settings_unref(struct settings *s);

AUTO_DEFINE(settings, settings_unref)

/* Is the full reference @name one that must never be garbage-collected? */
bool settings_pin(const struct settings *s, const char *name);
