#pragma once

/*
 * Fake plugins, for tests of what is built on plugins
 *
 * Built-ins called fake-image, fake-cgroup, fake-network and fake-executor that do
 * nothing but remember: what exists, what was asked, in which order.  A test makes
 * single calls fail, ends containers, and looks at what is left in the end.
 */

#include <stdbool.h>
#include <stddef.h>

#include "plugins/api/plugin.h"

/* For struct host_options; ended by NULL. */
extern const cringle_plugin_fn fake_builtins[];

/* Forget everything; before each test, with no host running. */
void fake_reset(void);

/* Let the next @times calls of @call ("cgroup.create") fail with CRINGLE_E_INTERNAL, "made to fail". */
void fake_fail(const char *call, int times);

/* What was asked so far: a line each, "cgroup.create pods/abc".  Free it. */
char *fake_calls(void);

/* How many objects there are of @kind ("cgroup", "pod", "container", "rootfs", "layer", "attachment"; NULL: all). */
size_t fake_alive(const char *kind);

/* Let the container @id of @pod end by itself with @code. */
void fake_exit(const char *pod, const char *id, int code);

/* From now on containers end by SIGKILL only. */
void fake_ignore_term(bool ignore);
