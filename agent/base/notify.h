#pragma once

/*
 * Telling the service manager how we are: sd_notify(3), without its library
 *
 * Nothing happens unless a manager has asked, by the environment; what cannot be told is let go.
 */

#include <stdint.h>

/* Take what the environment says, and out of it: programs that we start are not the service.  Once, before threads. */
void notify_take(void);

/* Lines as in sd_notify(3), "READY=1".  Any thread. */
void notify_say(const char *lines);

/* Nanoseconds within which the manager wants to hear "WATCHDOG=1" each time; 0: it does not. */
int64_t notify_watchdog(void);
