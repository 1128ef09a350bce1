#pragma once

/*
 * A hook plugin in a process of its own
 *
 * To the rest of the host it is a factory like any other, whose functions talk to a
 * child over a socket: `PROGRAM --host-plugin FILE NAME`.  A crash, a hang or a memory
 * fault of the plugin costs the call that was under way and nothing else; the next
 * call finds a new child with the settings of the old.  One call is under way at a
 * time.  What an event offers is asked for over the socket, so a hook needs no change.
 */

#include "agent/base/own.h"
#include "plugins/api/hook.h"

struct apart;

/*
 * Start the child for the hook @name of @file and let it describe itself, within
 * @timeout nanoseconds.  Strings are copied.
 */
int apart_new(const char *program, const char *file, const char *name, int64_t timeout, struct apart **ret,
              struct cringle_err *err);

/* Kills the child. */
struct apart *apart_free(struct apart *a);

/* The stand-in, full-size; lives as long as @a.  Its create() is to be called with what apart_of() knows. */
struct cringle_factory apart_factory(struct apart *a);

/* Of the plugin; borrowed from @a. */
const char *apart_version(const struct apart *a);

/* Which one stands behind the services that create() gets: the instance's, in instance.c. */
struct apart *apart_of(const struct cringle_host *host);

AUTO_DEFINE(apart, apart_free)
