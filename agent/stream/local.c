/*
 * Local ends; see local.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/stream/local.h"

#define CHUNK 32768

static void watch(struct local *l)
{
        int events = 0;

        if (!l->watch)
                return;
        if (l->reads && !l->read_over && !l->paused)
                events |= UV_READABLE;
        if (l->waiting.len > 0)
                events |= UV_WRITABLE;
        else if (!l->reads && !l->write_over)
                events |= UV_DISCONNECT;
        loop_watch_change(l->watch, events);
}

static void stop_writing(struct local *l)
{
        l->write_over = true;
        buf_done(&l->waiting);
        if (l->reads && !l->read_over)
                shutdown(l->fd, SHUT_WR);       /* a pipe refuses, and has one direction anyway */
        else
                local_close(l);
}

/* True while the end is there. */
static bool flush(struct local *l)
{
        while (l->waiting.len > 0) {
                ssize_t n = write(l->fd, l->waiting.data, l->waiting.len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return true;
                if (n < 0) {
                        stop_writing(l);
                        return false;
                }
                buf_drop(&l->waiting, (size_t) n);
        }
        if (l->finish && !l->write_over)
                stop_writing(l);
        return true;
}

/* Of one that has nothing more to read. */
static bool is_open(int fd)
{
        struct pollfd p = { .fd = fd };

        return poll(&p, 1, 0) == 0;
}

static bool read_some(struct local *l)
{
        static char chunk[CHUNK];
        ssize_t n;

        do
                n = read(l->fd, chunk, sizeof chunk);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return false;
        if (n > 0) {
                l->events->read(l->data, l, chunk, (size_t) n);
                return true;
        }
        l->read_over = true;
        l->cut = n == 0 && is_open(l->fd);
        if (n < 0)
                l->write_over = true;   /* ECONNRESET */
        if (!l->writes || l->write_over)
                local_close(l);
        l->events->ended(l->data, l);
        return false;
}

static void on_ready(int fd, int events, void *data)
{
        struct local *l = data;

        if (events & UV_WRITABLE && l->waiting.len > 0) {
                flush(l);
                l->events->wrote(l->data, l);
        }
        if (l->fd >= 0 && l->reads && events & UV_READABLE && !l->read_over && !l->paused)
                read_some(l);
        else if (l->fd >= 0 && !l->reads && events & (UV_DISCONNECT | UV_READABLE) && l->waiting.len == 0) {
                local_close(l);
                l->write_over = true;
                l->events->ended(l->data, l);
        }
        watch(l);
}

int local_open(struct local *l, struct loop *loop, int fd, bool reads, bool writes, const struct local_events *events,
               void *data, struct cringle_err *err)
{
        *l = (struct local) { .fd = fd, .events = events, .data = data, .reads = reads, .writes = writes };
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
                l->fd = fd_close(fd);
                return err_sys(err, "set an fd non-blocking");
        }
        l->watch = loop_watch(loop, fd, reads ? UV_READABLE : UV_DISCONNECT, on_ready, l, err);
        if (!l->watch) {
                l->fd = fd_close(fd);
                return -1;
        }
        return 0;
}

void local_close(struct local *l)
{
        loop_watch_stop(l->watch);
        l->watch = NULL;
        l->fd = fd_close(l->fd);
        buf_done(&l->waiting);
}

void local_pause(struct local *l, bool paused)
{
        if (l->paused == paused)
                return;
        l->paused = paused;
        watch(l);
}

void local_write(struct local *l, const char *bytes, size_t n)
{
        if (l->fd < 0 || l->write_over || l->finish)
                return;
        if (buf_add(&l->waiting, bytes, n, NULL) < 0)
                stop_writing(l);
        else
                flush(l);
        watch(l);
}

void local_finish(struct local *l)
{
        if (l->fd < 0 || l->finish)
                return;
        l->finish = true;
        flush(l);
        watch(l);
}

bool local_drain(struct local *l, size_t max)
{
        size_t n = 0;

        while (l->fd >= 0 && l->reads && !l->read_over && !l->paused && n < max && read_some(l))
                n += CHUNK;
        return l->fd >= 0 && l->reads && !l->read_over && (l->paused || n >= max);
}
