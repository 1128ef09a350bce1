#pragma once

/*
 * Places where a test may kill the process
 *
 * With the build option `testpoints`, CRINGLE_KILL_AT=<name> in the environment makes
 * the process kill itself (SIGKILL) when it reaches that point for the first time,
 * and CRINGLE_TESTPOINTS=<file> appends the name of each point reached to a file.
 * Without the option a point costs nothing.
 */

#ifdef CRINGLE_TESTPOINTS
void test_point(const char *name);
#else
static inline void test_point(const char *name)
{
        (void) name;
}
#endif
