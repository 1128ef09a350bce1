#pragma once

/*
 * Guards that a test holds
 *
 * GUARD(name) is true, and stands in the condition of a check that keeps a known attack out
 * (docs/SECURITY.md has the list).  Only a build with the option `unguarded`, the path of a file, has code for it: there
 * it is false in every process that finds that name in the file when it starts, so that the check is gone.  Its test
 * must fail then, or it tests nothing (tests/guards).
 */

#ifdef CRINGLE_UNGUARDED
#include <stdbool.h>

bool guard_stands(const char *name);
#define GUARD(name) guard_stands(#name)
#else
#define GUARD(name) 1
#endif
