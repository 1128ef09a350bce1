#pragma once

/*
 * The event that a native hook is called with
 *
 * It reads the kubelet's request, and adjusts the specification through what adjust.h
 * offers.  Its functions are called by plugins and take nothing for granted.
 */

#include "hooks/adjust.h"
#include "hooks/hooks.h"

/* What stands behind an event for the functions that plugins call. */
struct event_host {
        const struct hooks_subject *subject;
        struct adjust *adjust;          /* NULL at points where nothing may be adjusted */
};

/* Everything in it is borrowed from the arguments. */
struct cringle_event event_make(int point, const struct event_host *host, const char *const *args,
                                const struct cringle_call *call);

/* The image of @c as the user named it (the kubelet itself asks for it by its id); borrowed, may be NULL. */
const char *event_image(const Cri__ContainerConfig *c);
