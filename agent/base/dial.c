/*
 * Connections into another network namespace; see dial.h.
 *
 * A socket belongs to the namespace its thread was in when it was made.  The thread ends
 * there: nothing needs to be put back.
 */

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/dial.h"
#include "agent/base/own.h"

struct dial {
        int netns_fd;
        uint16_t port;
        int timeout;                    /* milliseconds */
        int fd;
        int sys;                        /* errno of the first attempt */
};

static int attempt(const struct dial *d, const struct sockaddr *address, socklen_t size)
{
        auto_fd int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct pollfd ready = { .fd = fd, .events = POLLOUT };
        socklen_t n = sizeof errno;
        int failed = 0;

        if (fd < 0)
                return -1;
        if (connect(fd, address, size) == 0)
                return steal_fd(&fd);
        if (errno != EINPROGRESS)
                return -1;
        if (poll(&ready, 1, d->timeout) != 1) {
                errno = ETIMEDOUT;
                return -1;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &n) < 0 || failed) {
                errno = failed ? failed : errno;
                return -1;
        }
        return steal_fd(&fd);
}

static void *dial(void *data)
{
        struct dial *d = data;
        struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(d->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(d->port),
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT };

        if (d->netns_fd >= 0 && setns(d->netns_fd, CLONE_NEWNET) < 0) {
                d->sys = errno;
                return NULL;
        }
        d->fd = attempt(d, (struct sockaddr *) &v4, sizeof v4);
        if (d->fd < 0) {
                d->sys = errno;
                d->fd = attempt(d, (struct sockaddr *) &v6, sizeof v6);
        }
        return NULL;
}

int dial_loopback(int netns_fd, uint16_t port, int64_t timeout, struct cringle_err *err)
{
        struct dial d = { .netns_fd = netns_fd, .port = port, .timeout = (int) (timeout / NSEC_PER_MSEC), .fd = -1 };
        pthread_t thread;
        int r = pthread_create(&thread, NULL, dial, &d);

        if (r)
                return err_sysno(err, r, "start a thread");
        pthread_join(thread, NULL);
        return d.fd >= 0 ? d.fd : err_sysno(err, d.sys, "connect to port %u", port);
}
