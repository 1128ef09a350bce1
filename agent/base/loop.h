#pragma once

/*
 * The event loop, on libuv: one thread that never blocks
 *
 * Sockets, streams and timers live on it; work that blocks runs on the workers.
 * The two meet in loop_post(): any thread may hand the loop a function to run.
 */

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

struct loop;

int loop_new(struct loop **ret, struct cringle_err *err);
struct loop *loop_free(struct loop *l);

uv_loop_t *loop_uv(struct loop *l);

/* Run until loop_stop(); what was posted before that still runs. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);         /* any thread */

/* True on the loop's own thread (that is, inside loop_run()). */
bool loop_is_here(const struct loop *l);

/* Run @fn(@data) on the loop, in the order posted.  Any thread.  Memory out: the process ends. */
void loop_post(struct loop *l, void (*fn)(void *data), void *data);

/* Run @fn(@data) on the loop in @nsec nanoseconds.  Loop thread only. */
struct loop_timer;
struct loop_timer *loop_after(struct loop *l, int64_t nsec, void (*fn)(void *data), void *data);
void loop_timer_cancel(struct loop_timer *t);   /* also from inside fn; NULL is fine */

/*
 * Call @fn(@fd, @events, @data) when @fd is readable/writable (UV_READABLE, UV_WRITABLE,
 * UV_DISCONNECT); the fd stays the caller's.  An error of the fd's (a connection that was reset) is all three, whatever was
 * asked for, and is told until somebody has taken it, or the fd is watched for nothing.  Loop thread only.
 */
struct loop_watch;
struct loop_watch *loop_watch(struct loop *l, int fd, int events, void (*fn)(int fd, int events, void *data),
                              void *data, struct cringle_err *err);
void loop_watch_change(struct loop_watch *w, int events);
void loop_watch_stop(struct loop_watch *w);     /* before the fd is closed; NULL is fine */

AUTO_DEFINE(loop, loop_free)

/*
 * Workers: a bounded pool of threads for what blocks.
 */
struct workers;

int workers_new(size_t n, struct workers **ret, struct cringle_err *err);
struct workers *workers_free(struct workers *w);        /* waits for what runs */
void workers_run(struct workers *w, void (*fn)(void *data), void *data);        /* any thread */

AUTO_DEFINE(workers, workers_free)
