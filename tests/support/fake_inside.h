#pragma once

/*
 * What the fake plugins share: one record of objects and calls behind one lock
 */

#include <stdbool.h>
#include <stddef.h>

#include "plugins/api/plugin.h"

/*
 * A call begins: written down, and made to fail when the test wants it (-1, with
 * @err).  @a and @b (may be NULL) say what it is about.
 */
int fake_call(const char *call, const char *a, const char *b, struct cringle_err *err);

/* Objects, by kind and key.  Adding what is there replaces its number. */
void fake_put(const char *kind, const char *key, int number);
bool fake_get(const char *kind, const char *key, int *ret_number);
void fake_drop(const char *kind, const char *key);

/* "@a/@b" in a buffer of the caller's. */
#define FAKE_KEY_MAX 512
const char *fake_key(char key[static FAKE_KEY_MAX], const char *a, const char *b);

bool fake_ignores_term(void);
