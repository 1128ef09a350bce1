/*
 * Sockets; see sock.h.
 *
 * sun_path has 108 bytes.  Longer paths are reached through /proc/self/fd of their
 * directory, which also keeps a renamed parent from leading elsewhere.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/own.h"
#include "agent/base/sock.h"

#define BIND_TRIES 20                   /* of 50 ms */

/* Open the directory of @path and name the socket through it. */
static int address_of(const char *path, struct sockaddr_un *ret, int *ret_dir, struct cringle_err *err)
{
        const char *slash = strrchr(path, '/');
        auto_free char *dir = slash ? strndup(path, slash == path ? 1 : (size_t) (slash - path)) : strdup(".");
        auto_fd int fd = -1;
        int n;

        if (!dir)
                return err_oom(err);
        fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "open %s", dir);

        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        n = snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", fd, slash ? slash + 1 : path);
        if (n < 0 || (size_t) n >= sizeof ret->sun_path)
                return err_set(err, CRINGLE_E_INVALID, "socket name in %s is too long", path);

        *ret_dir = steal_fd(&fd);
        return 0;
}

int sock_listen(const char *path, int type, mode_t mode, struct cringle_err *err)
{
        struct sockaddr_un address;
        auto_fd int dir = -1, fd = -1;

        if (address_of(path, &address, &dir, err) < 0)
                return -1;
        fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return err_sys(err, "socket");

        if (unlink(address.sun_path) < 0 && errno != ENOENT)
                return err_sys(err, "remove stale %s", path);
        /* Nobody may connect before the mode is right: the file takes its mode from the socket's inode. */
        if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return err_sys(err, "bind %s", path);
        if (chmod(address.sun_path, mode) < 0 || listen(fd, 128) < 0)
                return err_sys(err, "listen on %s", path);

        return steal_fd(&fd);
}

static int parse_ip(const char *text, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_size,
                    struct cringle_err *err)
{
        struct sockaddr_in *v4 = (void *) ret;
        struct sockaddr_in6 *v6 = (void *) ret;

        memset(ret, 0, sizeof *ret);
        if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
                v4->sin_family = AF_INET;
                v4->sin_port = htons(port);
                *ret_size = sizeof *v4;
        } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
                v6->sin6_family = AF_INET6;
                v6->sin6_port = htons(port);
                *ret_size = sizeof *v6;
        } else {
                return err_set(err, CRINGLE_E_INVALID, "'%s' is no IP address", text);
        }
        return 0;
}

int sock_listen_ip(const char *address, uint16_t port, struct sockaddr_storage *ret, struct cringle_err *err)
{
        struct sockaddr_storage at;
        socklen_t size;
        auto_fd int fd = -1;
        int yes = 1, r;

        if (parse_ip(address, port, &at, &size, err) < 0)
                return -1;
        fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
                return err_sys(err, "socket");
        for (int i = 0; (r = bind(fd, (struct sockaddr *) &at, size)) < 0 && errno == EADDRINUSE && i < BIND_TRIES; i++)
                usleep(50000);
        if (r < 0 || listen(fd, 128) < 0)
                return err_sys(err, "listen on %s port %u", address, port);
        size = sizeof at;
        if (getsockname(fd, (struct sockaddr *) &at, &size) < 0)
                return err_sys(err, "the listening address");
        if (ret)
                *ret = at;
        return steal_fd(&fd);
}

int sock_connect(const char *path, int type, struct cringle_err *err)
{
        struct sockaddr_un address;
        auto_fd int dir = -1, fd = -1;

        if (address_of(path, &address, &dir, err) < 0)
                return -1;
        fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, "socket");
        if (connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return err_sys(err, "connect to %s", path);

        return steal_fd(&fd);
}

int sock_peer(int fd, uid_t *ret_uid, pid_t *ret_pid, struct cringle_err *err)
{
        struct ucred peer;
        socklen_t n = sizeof peer;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
                return err_sys(err, "peer credentials");

        *ret_uid = peer.uid;
        *ret_pid = peer.pid;
        return 0;
}

union fd_space {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * SOCK_FDS_MAX)];
};

int sock_send(int fd, const void *data, size_t n, const int *fds, size_t n_fds, struct cringle_err *err)
{
        struct iovec iov = { .iov_base = (void *) data, .iov_len = n };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        union fd_space space = { 0 };
        ssize_t sent;

        if (n_fds > SOCK_FDS_MAX)
                return err_set(err, CRINGLE_E_INTERNAL, "%zu fds in one message", n_fds);
        if (n_fds > 0) {
                struct cmsghdr *c;

                msg.msg_control = space.bytes;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }

        do
                sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent < 0)
                return err_sys(err, "send");
        if ((size_t) sent != n)
                return err_set(err, CRINGLE_E_UNAVAILABLE, "send: only %zd of %zu bytes", sent, n);
        return 0;
}

int sock_recv(int fd, void *data, size_t max, size_t *ret_n, int *fds, size_t *n_fds, struct cringle_err *err)
{
        struct iovec iov = { .iov_base = data, .iov_len = max };
        union fd_space space;
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space.bytes,
                              .msg_controllen = sizeof space.bytes };
        int got[SOCK_FDS_MAX];
        size_t n_got = 0, room = n_fds ? *n_fds : 0;
        ssize_t n;

        do
                n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return err_sys(err, "receive");

        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
                size_t count;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                if (count > SOCK_FDS_MAX - n_got)
                        count = SOCK_FDS_MAX - n_got;   /* cannot be: the space ends there */
                memcpy(got + n_got, CMSG_DATA(c), count * sizeof(int));
                n_got += count;
        }
        if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || n_got > room) {
                while (n_got > 0)
                        close(got[--n_got]);
                return err_set(err, CRINGLE_E_INVALID, "message or its fds do not fit");
        }

        if (n_got > 0)
                memcpy(fds, got, n_got * sizeof(int));
        if (n_fds)
                *n_fds = n_got;
        *ret_n = (size_t) n;
        return 0;
}
