#pragma once

/*
 * Settings of a plugin, checked against the schema it publishes
 */

#include "config/config.h"
#include "plugins/api/err.h"
#include "plugins/api/plugin.h"

/*
 * @own with what other sections of @config say that a plugin of @kind asks for by
 * having a setting of that name, unless @own says it itself: conf_dir, bin_dirs and
 * cache_dir (section cni) for networks, monitor and oci (section programs) for
 * executors.  *ret is ended by a NULL key, to be freed with settings_free().
 */
int settings_gather(const struct config *config, int kind, const struct cringle_setting *schema,
                    const struct cringle_pair *own, struct cringle_pair **ret, struct cringle_err *err);

/*
 * Check @given (ended by a NULL key; may be NULL) against @schema (may be NULL: no
 * settings) and fill in the fallbacks.  *ret is in the order of the schema, ended by
 * a NULL key, to be freed with settings_free().
 */
int settings_check(const struct cringle_setting *schema, const struct cringle_pair *given, struct cringle_pair **ret,
                   struct cringle_err *err);

/* A copy in which the values of secrets read "***". */
struct cringle_pair *settings_masked(const struct cringle_setting *schema, const struct cringle_pair *settings,
                                     struct cringle_err *err);

struct cringle_pair *settings_free(struct cringle_pair *settings);

int settings_equal(const struct cringle_pair *a, const struct cringle_pair *b);

static inline void auto_settings_(struct cringle_pair **settings)
{
        settings_free(*settings);
}

#define auto_settings __attribute__((cleanup(auto_settings_))) struct cringle_pair *
