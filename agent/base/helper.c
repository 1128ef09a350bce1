/*
 * Helper programs; see helper.h.
 */

#include <fcntl.h>
#include <sys/socket.h>

#include "agent/base/helper.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"

#define ROOM (1 << 20)                  /* for messages that it has not read yet */

int helper_start(const char *program, const char *name, int control_fd, const void *hello, size_t n, const int *fds,
                 size_t n_fds, struct helper *ret, struct cringle_err *err)
{
        const char *const argv[] = { name, NULL };
        auto_fd int ours = -1, its = -1;
        int pair[2], room = ROOM;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, "make a socket pair");
        ours = pair[0];
        its = pair[1];
        setsockopt(ours, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
        if (sock_send(ours, hello, n, fds, n_fds, err) < 0)
                return -1;
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
                return err_sys(err, "set an fd non-blocking");
        if (child_spawn(&(struct child_spec) { .path = program, .argv = argv,
                                               .fds = (struct child_fd[]) { { 2, 2 }, { its, control_fd } },
                                               .n_fds = 2 },
                        &ret->child, err) < 0)
                return -1;
        ret->control = steal_fd(&ours);
        return 0;
}

void helper_end(struct helper *h)
{
        h->control = fd_close(h->control);
        child_kill(&h->child);
}
