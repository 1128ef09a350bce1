#pragma once

/*
 * systemd, over D-Bus
 *
 * One connection for the whole agent, kept by one thread; any number of threads
 * call at a time, each waiting for its own answer.  A call that starts or stops a
 * unit has ended when systemd's job has.  A connection that breaks is made anew, and
 * the calls that were under way are made again: all of them may be repeated.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "agent/base/call.h"
#include "agent/base/own.h"
#include "plugins/cgroup-systemd/properties.h"

struct bus;

/*
 * @address as D-Bus writes it ("unix:path=/run/dbus/system_bus_socket"); @log is told
 * when the connection is lost.  Nothing is connected yet.
 */
int bus_new(const char *address, int64_t timeout, void (*log)(void *data, const char *text), void *data,
            struct bus **ret, struct cringle_err *err);
struct bus *bus_free(struct bus *b);

AUTO_DEFINE(bus, bus_free)

/* systemd's version, as a number. */
int bus_version(struct bus *b, const struct cringle_call *call, unsigned *ret, struct cringle_err *err);

/* What bus_start_scope() can come to, failures aside. */
enum { BUS_STARTED = 0, BUS_UNIT_EXISTS = 1 };

/*
 * Start the scope @unit in @slice, delegated, with process @pid in it.
 * BUS_UNIT_EXISTS: systemd still knows a unit of that name.
 */
int bus_start_scope(struct bus *b, const struct cringle_call *call, const char *unit, const char *slice,
                    const char *description, pid_t pid, const struct properties *properties, struct cringle_err *err);

/* All of @properties or none; until the next boot. */
int bus_set_properties(struct bus *b, const struct cringle_call *call, const char *unit,
                       const struct properties *properties, struct cringle_err *err);

/* Stop @unit, wait until it has, and forget it if it failed.  No such unit: success. */
int bus_stop(struct bus *b, const struct cringle_call *call, const char *unit, struct cringle_err *err);
