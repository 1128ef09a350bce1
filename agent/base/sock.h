#pragma once

/*
 * Sockets: unix ones with paths of any length, peers we know, fds in messages; TCP to listen on
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "agent/base/err.h"

/*
 * Listen on @path with @mode, replacing a stale socket there.  @type: SOCK_STREAM or
 * SOCK_SEQPACKET.  The fd is non-blocking.  Paths longer than sun_path work.
 */
int sock_listen(const char *path, int type, mode_t mode, struct cringle_err *err);

/*
 * Listen on TCP port @port of the IP address @address; 0: any port.  *ret (may be NULL) is what it came to.  Waits
 * a second for a port that is taken: the helper of an agent that was killed may still have it.
 */
int sock_listen_ip(const char *address, uint16_t port, struct sockaddr_storage *ret, struct cringle_err *err);

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
