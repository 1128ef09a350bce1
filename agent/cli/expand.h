#pragma once

/*
 * $(NAME) in commands, arguments and environments, as the kubelet replaces it
 *
 * $(NAME) becomes the value of a variable that is known; what is not known stays
 * as it is; $$ becomes $, so that $$(NAME) reads $(NAME).
 */

#include "agent/base/buf.h"

/* The most a single string may grow to: what the kernel takes as one argument. */
#define EXPAND_MAX 131071

enum { EXPAND_DONE = 0, EXPAND_TOO_LONG = 1 };

/* The value of the @n bytes at @name, or NULL. */
typedef const char *(*expand_fn)(void *data, const char *name, size_t n);

/* Append @text, expanded, to @ret. */
int expand(const char *text, expand_fn value_of, void *data, struct buf *ret, struct cringle_err *err);
