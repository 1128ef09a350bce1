#pragma once

/*
 * Guards that a test holds
 *
 * GUARD(name) is true, and stands in the condition of a check that keeps a known attack out
 * (docs/SECURITY.md has the list).  A build with the option `unguarded` set to the name of one has that one
 * false, so that the check is gone: its test must fail then, or it tests nothing (tests/guards).
 */

#ifdef CRINGLE_UNGUARDED
#include "unguarded.h"          /* made in the build directory; defines UNGUARDED */
#define GUARD(name) (__builtin_strcmp(#name, UNGUARDED) != 0)
#else
#define GUARD(name) 1
#endif
