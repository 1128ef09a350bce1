#pragma once

/*
 * An image's configuration (image-spec config.md), as far as we believe it
 *
 * The text is hostile: bounded, every type checked.  Nothing in it can choose how
 * a container is confined; labels are counted and otherwise left alone.
 */

#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

#define IMAGE_CONFIG_MAX (8 << 20)      /* bytes of text */

/* Lists end with NULL and may be NULL; strings are never NULL but may be empty. */
struct image_config {
        char **env;                     /* "KEY=value"; others are as the image has them: spec building drops them */
        char **entrypoint;
        char **cmd;
        char **volumes;                 /* keys of Volumes, unchecked paths */
        char *user;
        char *working_dir;
        char *stop_signal;              /* "SIGTERM", "15", or empty; unchecked */
        char *architecture;
        char *os;
        char *variant;
        char *created;                  /* RFC 3339 text, unchecked */
        char **diff_ids;                /* "sha256:<64 hex digits>", checked, lowest layer first */
        size_t n_diff_ids;
        size_t n_labels;
};

/* *ret is the caller's. CRINGLE_E_INVALID: not a configuration we accept. */
int image_config_parse(const char *text, size_t n, struct image_config **ret, struct cringle_err *err);
struct image_config *image_config_free(struct image_config *c);

AUTO_DEFINE(image_config, image_config_free)
