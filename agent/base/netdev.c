/*
 * Interfaces' counters; see netdev.h.
 *
 * /proc/thread-self/net is that of the namespace the thread is in, whatever mounts of
 * sysfs there are, and its numbers have 64 bits.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/base/netdev.h"

#define TEXT_MAX (4 * 1024 * 1024)

/* "eth0: rx bytes packets errs drop fifo frame compressed multicast tx bytes packets errs drop ..." */
static int parse_line(const char *line, struct netdev *ret)
{
        struct netdev d = { 0 };
        const char *colon = strchr(line, ':');
        size_t n;

        line += strspn(line, " ");
        if (!colon || colon <= line)
                return 0;
        n = (size_t) (colon - line);
        if (n >= sizeof d.name || memcmp(line, "lo:", 3) == 0)
                return 0;
        memcpy(d.name, line, n);
        if (sscanf(colon + 1,
                   "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %*u %*u %" SCNu64 " %" SCNu64 " %" SCNu64
                   " %" SCNu64,
                   &d.rx_bytes, &d.rx_packets, &d.rx_errors, &d.rx_dropped, &d.tx_bytes, &d.tx_packets, &d.tx_errors,
                   &d.tx_dropped) != 8)
                return 0;
        *ret = d;
        return 1;
}

int netdev_parse(const char *text, struct netdev **ret, size_t *ret_n, struct cringle_err *err)
{
        struct netdev *list;
        size_t lines = 1, n = 0;

        for (const char *at = text; *at; at++)
                lines += *at == '\n';
        list = calloc(lines, sizeof *list);
        if (!list)
                return err_oom(err);
        for (const char *line = text; *line;) {
                size_t length = strcspn(line, "\n");
                char copy[512];

                snprintf(copy, sizeof copy, "%.*s", (int) (length < sizeof copy ? length : sizeof copy - 1), line);
                n += (size_t) parse_line(copy, &list[n]);
                line += length + (line[length] == '\n');
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

struct work {
        struct netdev_look *looks;
        size_t n;
};

/* @self: of /proc/thread-self, where net is the namespace that the thread is in at the time. */
static int look_into(struct netdev_look *l, int self, struct buf *text)
{
        auto_fd int fd = open(l->path, O_RDONLY | O_CLOEXEC);
        auto_fd int dev = -1;

        if (fd < 0)
                return err_sys(&l->err, "open %s", l->path);
        if (setns(fd, CLONE_NEWNET) < 0)
                return err_sys(&l->err, "enter the network namespace %s", l->path);
        dev = openat(self, "net/dev", O_RDONLY | O_CLOEXEC);
        if (dev < 0)
                return err_sys(&l->err, "open net/dev of this thread");
        text->len = 0;
        if (file_read_fd(dev, TEXT_MAX, text, &l->err) < 0)
                return -1;
        return netdev_parse(text->data, &l->list, &l->n, &l->err);
}

static void *look_into_all(void *data)
{
        struct work *w = data;
        auto_buf text = BUF_INIT;
        auto_fd int self = open("/proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);

        for (size_t i = 0; i < w->n; i++)
                if (w->looks[i].path)
                        look_into(&w->looks[i], self, &text);
        return NULL;
}

int netdev_read(struct netdev_look *looks, size_t n, struct cringle_err *err)
{
        struct work w = { .looks = looks, .n = n };
        pthread_t thread;
        int r = pthread_create(&thread, NULL, look_into_all, &w);

        if (r)
                return err_sysno(err, r, "start a thread");
        pthread_join(thread, NULL);
        return 0;
}

struct netdev_look *netdev_looks_free(struct netdev_look *looks, size_t n)
{
        for (size_t i = 0; looks && i < n; i++) {
                free(looks[i].path);
                free(looks[i].list);
        }
        free(looks);
        return NULL;
}
