#pragma once

/*
 * Judging a plugin's tables before anything in them is called
 *
 * Each refusal names the field, what was wanted and what was found.
 */

#include "agent/host/kind.h"
#include "plugins/api/err.h"
#include "plugins/api/plugin.h"

/* Is what the query function returned (maybe NULL) a plugin of this ABI, with sound factories? */
int judge_plugin(const struct cringle_plugin *p, struct cringle_err *err);

/*
 * The factory of @k called @name in a judged plugin, judged itself.  *ret is a
 * full-size copy, zero past the plugin's size, whose `name` is never NULL; what it
 * points to lives as long as the plugin.
 */
int judge_find(const struct cringle_plugin *p, const struct kind *k, const char *name, struct cringle_factory *ret,
               struct cringle_err *err);

/* A full-size copy of the judged ops of @k, zero past the plugin's size, in @ret (ops_size bytes). */
void judge_copy_ops(const struct kind *k, const void *ops, void *ret);
