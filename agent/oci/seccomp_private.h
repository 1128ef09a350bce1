#pragma once

/*
 * The default profile as a table; seccomp.c makes JSON of it
 */

#include <stddef.h>
#include <stdint.h>

enum { SECCOMP_ALWAYS = -1 };

/* One condition on an argument, in the words of runtime-spec. */
struct seccomp_condition {
        unsigned index;
        const char *op;
        uint64_t value;
        uint64_t value_two;     /* for SCMP_CMP_MASKED_EQ */
};

/*
 * A rule holds for @names when the bounding set has @with (SECCOMP_ALWAYS: in any
 * case) and has not @without.  With a condition it holds for calls that meet it; the
 * same name may come again with another condition, either is enough.
 */
struct seccomp_rule {
        int with;                               /* capability bit */
        int without;                            /* capability bit, or SECCOMP_ALWAYS */
        int error;                              /* 0: allowed; else the errno it gets */
        const struct seccomp_condition *condition;
        const char *names;                      /* separated by white space */
};

extern const struct seccomp_rule seccomp_rules[];       /* ended by NULL names */
