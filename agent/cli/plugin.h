#pragma once

/*
 * What an author of plugins gets: a skeleton to begin with, and a test of what he made
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/host/kind.h"
#include "plugins/api/plugin.h"

/*
 * Write a plugin of @kind ("hook") called @name into the new directory @dir: source,
 * build files for make and meson, and a test.  Nothing that exists is overwritten.
 */
int plugin_new(const char *kind, const char *name, const char *dir, struct cringle_err *err);

/* How a plugin file is to be tested; all borrowed. */
struct plugin_test {
        const char *file;
        const struct cringle_pair *settings;    /* ended by a NULL key */
        const struct cringle_pair *annotations; /* of the pod that hooks are shown */
        const char *const *env;                 /* NAME=VALUE, of its container; ended by NULL */
        int64_t timeout;                        /* nanoseconds for each check */
        bool show;                              /* print what a hook made of the container */
};

/*
 * Run each check in a child process of its own and print a line for it, so that what
 * crashes or hangs there is a finding and nothing more.  *ret_failed is the number of
 * checks that failed; -1 when testing itself did not work.
 */
int plugin_test(const struct plugin_test *t, size_t *ret_failed, struct cringle_err *err);

/* --- between plugin_test.c and the checks --- */

/* What a check has in its child. */
struct bench {
        const struct plugin_test *test;
        const struct kind *kind;
        struct cringle_factory factory;
        void *ops;                              /* of the kind, full-size */
        struct cringle_host services;
        struct cringle_pair *settings;          /* checked, with fallbacks */
        void *self;
        bool created, started;
        char note[256];                         /* a check that passed may remark something */
};

/* Comes to 0, or to -1 with what is wrong. */
typedef int (*check_fn)(struct bench *b, struct cringle_err *err);

struct check {
        const char *name;
        check_fn run;
        int kind;                               /* enum cringle_kind; 0: all */
};

extern const struct check plugin_checks[];      /* ended by a NULL name */

/* Is the kind of failure that left @why one that people can work with? */
int check_said_why(const char *what, const struct cringle_err *why, struct cringle_err *err);

/* create and start with @settings; quiesce and destroy. */
int bench_up(struct bench *b, const struct cringle_pair *settings, struct cringle_err *err);
void bench_down(struct bench *b);

/* --- checks of hooks alone, in plugin_test_hook.c --- */

int check_events(struct bench *b, struct cringle_err *err);
int check_bare_events(struct bench *b, struct cringle_err *err);
int check_late_events(struct bench *b, struct cringle_err *err);
int check_many_events(struct bench *b, struct cringle_err *err);
