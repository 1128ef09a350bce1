#pragma once

/*
 * Building a container's root: mounts, devices, masks, pivot
 *
 * In two halves, since the view of the host is gone once namespaces are joined:
 * rootfs_open() opens everything that lies on the host, rootfs_build() and
 * rootfs_finish() put it together in the container's mount namespace.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/launch/launch.h"

struct rootfs_source {
        int fd;                 /* detached mount; -1: none needed */
        bool directory;
};

struct rootfs {
        struct rec_cursor plan;
        int root;                       /* the root's mount, detached until rootfs_build() */
        int place;                      /* where it will be mounted */
        struct rootfs_source *mounts;   /* one per PLAN_MOUNT */
        size_t n_mounts;
        struct rootfs_source *devices;  /* one per PLAN_DEVICE; only with a user namespace */
        size_t n_devices;
        int host_ptmx;                  /* for a terminal when the container has no devpts; -1: none */
        int masks;                      /* the empty directory that masks, once it is mounted; -1 */
};

#define ROOTFS_INIT { .root = -1, .place = -1, .host_ptmx = -1, .masks = -1 }

void rootfs_done(struct rootfs *r);

/* @user_ns: of the container, -1: the host's. */
int rootfs_open(struct rootfs *r, const struct launch_request *request, int user_ns, struct cringle_err *err);

/* In the mount namespace the root will be in: find its place there, while we can still walk to it. */
int rootfs_find_place(struct rootfs *r, struct cringle_err *err);

/*
 * A procfs shows the PID namespace of the process that makes it: in the container's
 * first process, make those of @plan and send them over @fd; in the worker, take them.
 */
void rootfs_send_procfs(struct rec_cursor plan, int fd);
int rootfs_receive_procfs(struct rootfs *r, int fd, struct cringle_err *err);

/*
 * Everything up to the hooks, in the mount namespace that the caller has just
 * made.  With PLAN_TTY *ret_tty are the terminal's master and slave, the caller's.
 */
int rootfs_build(struct rootfs *r, int proc_fd, int ret_tty[2], struct cringle_err *err);

/* Masks, read-only paths, read-only root; then the root becomes "/". */
int rootfs_finish(struct rootfs *r, struct cringle_err *err);

/*
 * In the place of the two above, where somebody else does the mounts: the root at its place, and what each mount from outside shows
 * in the directory @dir, by the number of the mount.  @fn is called for each of them, and for masks, with where it can be found.
 */
typedef int (*rootfs_stage_fn)(void *data, const char *destination, const char *source, struct cringle_err *err);
int rootfs_stage(struct rootfs *r, const char *dir, rootfs_stage_fn fn, void *data, struct cringle_err *err);

/*
 * A terminal: from the devpts at /dev/pts of @root when that is one, else from
 * @host_ptmx (borrowed).  Never by the name of a slave.
 */
int rootfs_open_tty(int root, int proc_fd, int host_ptmx, struct rec_cursor plan, int ret_tty[2],
                    struct cringle_err *err);
