#pragma once

/*
 * What the fake plugins share: one record of objects and calls behind one lock
 */

#include <stdbool.h>
#include <stddef.h>

#include "plugins/api/plugin.h"

/*
 * A call begins: written down, and made to fail, to hang or to be the last when the
 * test wants it (-1, with @err).  @call (may be NULL) ends a hang.  @a and @b (may be NULL) say what it is about.
 */
int fake_call(const char *name, const struct cringle_call *call, const char *a, const char *b,
              struct cringle_err *err);

/* Objects, by kind and key.  Adding what is there replaces its number. */
void fake_put(const char *kind, const char *key, int number);
bool fake_get(const char *kind, const char *key, int *ret_number);
void fake_drop(const char *kind, const char *key);

/* Drop all of @kind whose key is not in @keep (ended by NULL; may be NULL). */
void fake_drop_others(const char *kind, const char *const *keep);

/* Drop all of @kind whose key begins with @prefix. */
void fake_drop_below(const char *kind, const char *prefix);

/* "@a/@b" in a buffer of the caller's. */
#define FAKE_KEY_MAX 256
const char *fake_key(char key[static FAKE_KEY_MAX], const char *a, const char *b);

bool fake_ignores_term(void);
bool fake_holds_events(void);
