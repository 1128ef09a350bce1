#pragma once

/*
 * Regular expressions that may be handed to the C library
 *
 * What an operator writes must cost him an error at most.  The C library copies what is repeated, so that
 * "((a{99}){99}){99}", or a row of plus signs, takes all memory; of copies of what may match nothing, as in "(a*|b*)+{9}",
 * it finds the ways around in time that doubles with each; its compiler recurses; and a back-reference makes matching
 * exponential.
 */

#include "agent/base/err.h"

#define PATTERN_MAX 1024                /* bytes */

/*
 * -1 with CRINGLE_E_INVALID: @text, an extended expression, is long, repeats too much or what may match nothing, or
 * refers back.  Whether it is an expression at all is regcomp(3)'s to say.
 */
int pattern_check(const char *text, struct cringle_err *err);
