#pragma once

/*
 * System calls the C library has no form for, and small things around them
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/err.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/*
 * fork(2) with CLONE_* @flags (exit signal SIGCHLD, or the caller's own with
 * CLONE_PARENT), born in the cgroup directory @cgroup_fd unless that is -1.
 */
pid_t kernel_fork(uint64_t flags, int cgroup_fd);

/* True for a directory of a v2 hierarchy: one that kernel_fork() can give birth in. */
bool kernel_is_cgroup2(int dir);

/*
 * Move the calling, single-threaded process into the v1 cgroup @dir.  It goes by
 * `tasks`: moving a whole process, or into v2, waits for an RCU grace period (up to
 * 15 ms), moving the one thread that asks does not.
 */
int kernel_join_cgroup1(const char *dir, struct cringle_err *err);

int kernel_pivot_root(const char *new_root, const char *put_old);

/* A procfs that nothing else sees: a detached mount.  With @only_pids without /proc/sys and the like. */
int kernel_procfs(bool only_pids, struct cringle_err *err);

/* Write @text in one piece to @path below the procfs @proc_fd: no links, no other mount, and verified to be procfs. */
int kernel_proc_write(int proc_fd, const char *path, const char *text, struct cringle_err *err);

/* An O_PATH fd of the host's /dev/null, verified by type and number. */
int kernel_dev_null(struct cringle_err *err);

/* Close every fd above 2 but the @n at @keep. */
#define KERNEL_KEEP_MAX 48
void kernel_close_others(const int *keep, size_t n);

/* All signals to default, none blocked. */
void kernel_reset_signals(void);

/* A procfs namespace file's name for a CLONE_NEW* flag ("net"); NULL: there is none. */
const char *kernel_ns_name(uint32_t flag);

/* Write the PLAN_ID_MAP records of @tag in @maps for @pid, whose user namespace is new. */
struct rec_cursor;
int kernel_write_id_maps(struct rec_cursor maps, uint16_t tag, pid_t pid, struct cringle_err *err);

/* Set one sysctl in the namespaces of the caller; @key has slashes. */
int kernel_sysctl(int proc_fd, const char *key, const char *value, struct cringle_err *err);
