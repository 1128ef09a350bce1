#pragma once

/*
 * Unix sockets: paths of any length, peers we know, fds in messages
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/base/err.h"

/*
 * Listen on @path with @mode, replacing a stale socket there.  @type: SOCK_STREAM or
 * SOCK_SEQPACKET.  The fd is non-blocking.  Paths longer than sun_path work.
 */
int sock_listen(const char *path, int type, mode_t mode, struct cringle_err *err);

/* A blocking connection to @path. */
int sock_connect(const char *path, int type, struct cringle_err *err);

/* Who is at the other end. */
int sock_peer(int fd, uid_t *ret_uid, pid_t *ret_pid, struct cringle_err *err);

#define SOCK_FDS_MAX 40

/* One message with up to SOCK_FDS_MAX fds (borrowed).  Blocks on a blocking fd. */
int sock_send(int fd, const void *data, size_t n, const int *fds, size_t n_fds, struct cringle_err *err);

/*
 * One message of at most @max bytes.  *ret_n is its length (0: end of stream);
 * the received fds are CLOEXEC and the caller's; *n_fds is room before, count
 * after.  A cut message or more fds than fit: -1, and no fd is kept.
 */
int sock_recv(int fd, void *data, size_t max, size_t *ret_n, int *fds, size_t *n_fds, struct cringle_err *err);
