#pragma once

/*
 * Overlay mounts that nobody sees: made detached, handed on as an fd
 */

#include <stdbool.h>

#include "agent/base/err.h"

struct overlay {
        const char *root;               /* directory of the store: absolute; lowers and empty are in it */
        const char *const *lowers;      /* topmost first, ended by NULL; at least one */
        const char *over;               /* directory that holds "upper" and "work"; NULL: nothing to write to */
        const char *over_root;          /* in which that one is: absolute */
        const char *empty;              /* an empty directory: goes below a single layer without `over` */
        bool readonly;
        const char *label;              /* of SELinux, for all of it; NULL: each file has its own */
        int user_ns;                    /* lowers are shown with their ids mapped by this namespace; -1: as they are */
};

/* Mount it; *ret_fd is as from fsmount(2), the caller's. */
int overlay_mount(const struct overlay *o, int *ret_fd, struct cringle_err *err);

/*
 * The same by mount(2), in a thread that has a mount namespace to itself for as long as that takes.
 * overlay_mount() calls it when it must: for kernels that cannot take layers one by one (before Linux 6.8), where
 * fsconfig(2) limits the whole list to 255 bytes; and for mapped ids, since overlayfs takes a layer's mount only
 * where it is attached (before 6.15).
 */
int overlay_mount_apart(const struct overlay *o, int *ret_fd, struct cringle_err *err);
