/*
 * The log writer: CRI's format, one line per record
 *
 *      2026-11-21T22:24:24.123456789Z stdout F text
 *
 * F ends a line of the application, P says that it goes on.  Records are gathered
 * and written whole, with O_APPEND, so a rotation never tears one.  An application
 * is never held up: what the disk does not take is dropped and counted.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/own.h"
#include "agent/monitor/monitor.h"

#define LINE_DEFAULT 16384
#define LINE_MAX_EVER (1 << 20)         /* what "unlimited" comes to: memory is not */

static int open_file(const char *path, struct cringle_err *err)
{
        /* The kubelet made the directory; a link in the file's place would lead elsewhere. */
        auto_fd int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, "open log %s", path);
        if (!S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "log %s is no regular file", path);
        return steal_fd(&fd);
}

int log_open(struct log *l, const char *path, int64_t max_line, struct cringle_err *err)
{
        *l = (struct log) { .fd = -1, .max_line = LINE_DEFAULT };
        if (max_line < 0 || max_line > LINE_MAX_EVER)
                l->max_line = LINE_MAX_EVER;
        else if (max_line > 0)
                l->max_line = (size_t) max_line;
        if (!path || !*path)
                return 0;
        l->path = strdup(path);
        if (!l->path)
                return err_oom(err);
        l->fd = open_file(path, err);
        return l->fd < 0 ? -1 : 0;
}

int log_reopen(struct log *l, struct cringle_err *err)
{
        int fd;

        if (!l->path)
                return 0;
        fd = open_file(l->path, err);
        if (fd < 0)
                return -1;
        fd_close(l->fd);
        l->fd = fd;
        l->torn = false;
        return 0;
}

void log_done(struct log *l)
{
        l->fd = fd_close(l->fd);
        free(l->path);
        l->path = NULL;
}

/* One record in one write. */
static void record(struct log *l, const char *stream, char tag, const char *a, size_t a_n, const char *b, size_t b_n)
{
        char head[CLOCK_TEXT_MAX + 16], newline[] = "\n";
        struct iovec parts[5] = { 0 };
        size_t want = 0;
        ssize_t n;
        int used;

        if (l->fd < 0)
                return;
        clock_text(clock_realtime(), head);
        used = (int) strlen(head);
        used += snprintf(head + used, sizeof head - (size_t) used, " %s %c ", stream, tag);
        parts[0] = (struct iovec) { .iov_base = newline, .iov_len = l->torn };
        parts[1] = (struct iovec) { .iov_base = head, .iov_len = (size_t) used };
        parts[2] = (struct iovec) { .iov_base = (void *) a, .iov_len = a_n };
        parts[3] = (struct iovec) { .iov_base = (void *) b, .iov_len = b_n };
        parts[4] = (struct iovec) { .iov_base = newline, .iov_len = 1 };
        for (int i = 0; i < 5; i++)
                want += parts[i].iov_len;
        do
                n = writev(l->fd, parts, 5);
        while (n < 0 && errno == EINTR);
        if (n == (ssize_t) want) {
                l->torn = false;
                return;
        }
        l->dropped += a_n + b_n;
        if (n > 0)
                l->torn = true;
}

/* Keep @data for when its line goes on.  Without memory it becomes a partial record now. */
static void keep(struct log *l, const char *stream, struct log_tail *tail, const char *data, size_t n)
{
        if (!tail->data) {
                tail->data = malloc(l->max_line);
                tail->n = 0;
        }
        if (!tail->data) {
                record(l, stream, 'P', data, n, NULL, 0);
                return;
        }
        memcpy(tail->data + tail->n, data, n);
        tail->n += n;
}

void log_feed(struct log *l, const char *stream, struct log_tail *tail, const char *data, size_t n)
{
        while (n > 0) {
                size_t room = l->max_line - tail->n;
                size_t look = n < room + 1 ? n : room + 1;
                const char *newline = memchr(data, '\n', look);
                size_t take = newline ? (size_t) (newline - data) : n < room ? n : room;

                if (newline) {
                        record(l, stream, 'F', tail->data, tail->n, data, take);
                        take++;
                        tail->n = 0;
                } else if (take == room && n > room) {
                        /* More of this line is here already, and it is no newline. */
                        record(l, stream, 'P', tail->data, tail->n, data, take);
                        tail->n = 0;
                } else {
                        keep(l, stream, tail, data, take);
                }
                data += take;
                n -= take;
        }
        if (tail->n == 0 && tail->data) {
                free(tail->data);
                tail->data = NULL;
        }
}

void log_end(struct log *l, const char *stream, struct log_tail *tail)
{
        if (tail->n > 0)
                record(l, stream, 'P', tail->data, tail->n, NULL, 0);
        free(tail->data);
        *tail = (struct log_tail) { 0 };
}
