#pragma once

/*
 * One image as it was at one moment: how store.c makes it
 */

#include "agent/image/settings.h"
#include "agent/image/store.h"

/*
 * Everything is copied.  The lists end with NULL or are NULL; @size is that of the layers.  Fails when
 * @config is no image configuration.
 */
struct image_parts {
        const char *id;
        const char *config;
        const char *const *tags;
        const char *const *digests;
        const char *const *chain_ids;
        uint64_t size;
};

int image_new(const struct image_parts *parts, const struct settings *settings, struct image **ret,
              struct cringle_err *err);

/* @old with other names (each NULL: without).  Also for taking over changed @settings. */
int image_renamed(const struct image *old, char **tags, char **digests, const struct settings *settings,
                  struct image **ret, struct cringle_err *err);
