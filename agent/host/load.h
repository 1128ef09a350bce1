#pragma once

/*
 * Plugin files: where they may lie, looking at them in a child, loading them
 */

#include <stdint.h>

#include "agent/host/kind.h"
#include "plugins/api/plugin.h"

/*
 * Find <name>.so in @dirs (ended by NULL), the first that has it.  The file and
 * every directory above it must be root's and not writable by others; symbolic
 * links may not lead out of the configured directory.  *ret_path (free()) is the
 * real path of what was checked.
 */
int load_find(const char *const *dirs, const char *name, char **ret_path, struct cringle_err *err);

/* Let a child judge @path; see host_probe_main(). */
int load_probe(const char *prober, int64_t timeout, const char *path, const struct kind *k, const char *name,
               struct cringle_err *err);

/* Load @path into this process for good, and judge its table. */
int load_open(const char *path, const struct cringle_plugin **ret, struct cringle_err *err);
