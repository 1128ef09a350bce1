#pragma once

/*
 * Words of the configuration with places for what a pod is called: "--pod={{pod.name}}"
 *
 * A value takes the place of its name as it is: it stays inside the one string it stands in, and nothing
 * in it is looked at again.
 */

#include <stdbool.h>

#include "agent/base/buf.h"

/* Whether there is a place in @text at all. */
bool template_has_places(const char *text);

/* That each place in @text ends, and has a name there is. */
int template_check(const char *text, struct cringle_err *err);

/* @text with values in its places, appended to @ret.  @value: of a name; NULL is nothing. */
int template_fill(const char *text, const char *(*value)(void *data, const char *name), void *data, struct buf *ret,
                  struct cringle_err *err);

/* What each name must be, or begin with when it ends with a dot; ended by NULL. */
extern const char *const template_names[];
