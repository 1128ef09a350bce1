/*
 * The agent's end of the monitor's protocol; see client.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/wire/client.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U                /* Linux 6.3; older kernels refuse it and need no asking */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020              /* Linux 6.3 */
#endif

void client_message_done(struct client_message *m)
{
        buf_done(&m->data);
        for (size_t i = 0; i < m->n_fds; i++)
                m->fds[i] = fd_close(m->fds[i]);
        m->n_fds = 0;
}

int client_connect(const char *run_dir, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/" WIRE_SOCKET, run_dir);
        auto_fd int fd = -1;
        uid_t uid;
        pid_t pid;

        if (!path)
                return -1;
        fd = sock_connect(path, SOCK_SEQPACKET, err);
        if (fd < 0) {
                /* A dead monitor leaves its socket file behind. */
                if (err && err->sys == ECONNREFUSED)
                        err->code = CRINGLE_E_NOT_FOUND;
                return err_wrap(err, "reach the monitor");
        }
        if (sock_peer(fd, &uid, &pid, err) < 0)
                return err_wrap(err, "reach the monitor");
        if (uid != 0)
                return err_set(err, CRINGLE_E_DENIED, "%s is answered by uid %u, not by root", path, uid);
        return steal_fd(&fd);
}

/* The error a reply carries, if it does. */
static int reply_error(struct rec_cursor fields, struct cringle_err *err)
{
        struct rec_cursor body;
        uint32_t code, sys;
        const char *text;

        if (!rec_find(&fields, WIRE_ERROR, &body))
                return 0;
        code = rec_get_u32(&body);
        sys = rec_get_u32(&body);
        text = rec_get_str(&body);
        if (code == CRINGLE_OK || code > CRINGLE_E_UNAUTHENTICATED)
                code = CRINGLE_E_UNKNOWN;
        err_set(err, (int) code, "%s", text);
        if (err)
                err->sys = (int32_t) sys;
        return -1;
}

int client_exchange(int conn, const struct cringle_call *call, const struct buf *data, const int *fds, size_t n_fds,
                    struct client_message *reply, struct rec_cursor *ret_fields, struct cringle_err *err)
{
        struct wire_header asked, header;
        struct rec_cursor fields;
        size_t n;

        if (wire_open(data->data, data->len, &asked, &fields, err) < 0)
                return -1;
        if (data->len > WIRE_MAX)
                return err_set(err, CRINGLE_E_RANGE, "a request of %zu bytes is too long for the monitor", data->len);
        if (sock_send(conn, data->data, data->len, fds, n_fds, err) < 0)
                return err_wrap(err, "ask the monitor");

        client_message_done(reply);
        if (buf_reserve(&reply->data, WIRE_MAX, err) < 0)
                return -1;
        for (;;) {
                if (call_wait(call, conn, POLLIN, -1, err) < 0)
                        return err_wrap(err, "wait for the monitor");
                reply->n_fds = WIRE_FDS_MAX;
                if (sock_recv(conn, reply->data.data, WIRE_MAX, &n, reply->fds, &reply->n_fds, err) < 0) {
                        reply->n_fds = 0;
                        return err_wrap(err, "hear the monitor");
                }
                if (n == 0)
                        return err_set(err, CRINGLE_E_UNAVAILABLE, "the monitor hung up");
                reply->data.len = n;
                if (wire_open(reply->data.data, n, &header, &fields, err) < 0)
                        return -1;
                if (header.id == asked.id && header.type == (asked.type | WIRE_REPLY))
                        break;
                client_message_done(reply);
                if (buf_reserve(&reply->data, WIRE_MAX, err) < 0)
                        return -1;
        }
        if (reply_error(fields, err) < 0)
                return -1;

        *ret_fields = fields;
        return 0;
}

int client_call(const char *run_dir, const struct cringle_call *call, const struct buf *data, const int *fds,
                size_t n_fds, struct client_message *reply, struct rec_cursor *ret_fields, struct cringle_err *err)
{
        auto_fd int conn = client_connect(run_dir, err);

        if (conn < 0)
                return -1;
        return client_exchange(conn, call, data, fds, n_fds, reply, ret_fields, err);
}

int client_seal(const char *name, const void *data, size_t n, struct cringle_err *err)
{
        auto_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                return err_sys(err, "make a memory file");
        if (file_write_fd(fd, data, n, err) < 0)
                return -1;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return err_sys(err, "seal a memory file");
        return steal_fd(&fd);
}

int client_seal_program(const char *path, struct cringle_err *err)
{
        auto_fd int in = open(path, O_RDONLY | O_CLOEXEC), fd = -1;
        struct stat st;
        off_t done = 0;

        if (in < 0 || fstat(in, &st) < 0)
                return err_sys(err, "open %s", path);
        fd = memfd_create("cringle-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
        if (fd < 0 && errno == EINVAL)
                fd = memfd_create("cringle-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return err_sys(err, "make a memory file");
        while (done < st.st_size) {
                ssize_t n = sendfile(fd, in, &done, (size_t) (st.st_size - done));

                if (n < 0)
                        return err_sys(err, "copy %s", path);
                if (n == 0)
                        return err_set(err, CRINGLE_E_ABORTED, "%s shrank while it was copied", path);
        }
        if (fchmod(fd, 0500) < 0)
                return err_sys(err, "protect a memory file");
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC) < 0 && errno != EINVAL)
                return err_sys(err, "seal a memory file");
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return err_sys(err, "seal a memory file");
        return steal_fd(&fd);
}
