#pragma once

/*
 * One end of a process's stdio, or of a connection into a pod, on the loop
 *
 * Reading goes on while it is asked for; what is written waits here until the other side
 * takes it, and local_waiting() says how much, so that the writer stops in time.
 */

#include <stdbool.h>

#include "agent/base/buf.h"
#include "agent/base/loop.h"

struct local;

struct local_events {
        void (*read)(void *data, struct local *l, const char *bytes, size_t n);
        void (*ended)(void *data, struct local *l);     /* no more to read; or the reader is gone, for one that is only written */
        void (*wrote)(void *data, struct local *l);     /* less waits than before */
};

struct local {
        int fd;                         /* -1: none */
        struct loop_watch *watch;
        const struct local_events *events;
        void *data;
        struct buf waiting;
        bool reads, writes;             /* what it is for */
        bool paused;                    /* reading */
        bool read_over, write_over;
        bool cut;                       /* read_over: it was shut, not closed */
        bool finish;                    /* no more will be written */
};

#define LOCAL_INIT { .fd = -1 }

/* Takes @fd, also on failure. */
int local_open(struct local *l, struct loop *loop, int fd, bool reads, bool writes, const struct local_events *events,
               void *data, struct cringle_err *err);
void local_close(struct local *l);

void local_pause(struct local *l, bool paused);
void local_write(struct local *l, const char *bytes, size_t n);

/* After what waits, the other side sees the end. */
void local_finish(struct local *l);

/* Read what is there already, at most @max bytes; true: there may be more. */
bool local_drain(struct local *l, size_t max);
