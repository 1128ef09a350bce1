#pragma once

/*
 * Fake plugins, for tests of what is built on plugins
 *
 * Built-ins called fake-image, fake-cgroup, fake-network, fake-executor and fake-hook
 * that do nothing but remember: what exists, what was asked, in which order.  A test
 * makes single calls fail, hang or kill the process, ends containers, and looks at what
 * is left in the end.
 *
 * The record is memory that a forked child shares: it stands for the kernel, and for
 * everything else outside the agent, so a child may play the agent that dies, and the
 * parent the one that comes after it.
 */

#include <stdbool.h>
#include <stddef.h>

#include "plugins/api/plugin.h"

/* What the fake cgroup driver tells of every cgroup, in bytes. */
#define FAKE_MEMORY_USAGE (40 << 20)
#define FAKE_MEMORY_WORKING_SET (30 << 20)
#define FAKE_MEMORY_RSS (20 << 20)
#define FAKE_MEMORY_LIMIT (64 << 20)

/* For struct host_options; ended by NULL. */
extern const cringle_plugin_fn fake_builtins[];

/* Forget everything; before each test, with no host running. */
void fake_reset(void);

/* Let the next @times calls of @call ("cgroup.create") fail with CRINGLE_E_INTERNAL, "made to fail". */
void fake_fail(const char *call, int times);

/*
 * Let the @n-th call from now on, whatever it is, fail in that way (what is told of an
 * end comes at its own time, and is not counted); or kill the process
 * when it begins, or when what it does is done (calls that change nothing: not at all).
 * 0: none.  The numbers count down once set.
 */
void fake_fail_at(int n);
void fake_die_at(int n, bool done);

/* The name of the call that the last fake_fail_at() has made fail; "": none. */
const char *fake_failed(void);

/* Calls of @call wait until they are cancelled, or fake_hang(NULL).  One name at a time. */
void fake_hang(const char *call);

/* Wait until a call hangs; false: none did for ten seconds. */
bool fake_hangs(void);

/* What was asked lately (half a MiB of it): a line each, "cgroup.create pods/abc".  Free it. */
char *fake_calls(void);

/* How many objects there are of @kind ("cgroup", "pod", "container", "rootfs", "layer", "attachment"; NULL: all). */
size_t fake_alive(const char *kind);

/* The same as text, a line each, for messages.  Free it. */
char *fake_left(void);

/* Let the container @id of @pod end by itself with @code: as an event, or, with no executor running, behind its back. */
void fake_exit(const char *pod, const char *id, int code);

/* The supervisor of @pod dies, and all in it. */
void fake_lose(const char *pod);

/* What lives in the kernel is gone: pods, containers, cgroups.  With no host running. */
void fake_reboot(void);

/* The cgroup driver puts all that it makes below @top, as another setting of it would; "": nowhere else.  Borrowed. */
void fake_move_cgroups(const char *top);

/* From now on containers end by SIGKILL only. */
void fake_ignore_term(bool ignore);

/* From now on events wait. */
void fake_hold_events(bool hold);

/* No event is told any more, and none is being told.  Before the agent's parts go. */
void fake_mute(void);
