/*
 * The event loop and the workers; see loop.h.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/loop.h"

struct job {
        struct job *next;
        void (*fn)(void *data);
        void *data;
};

/* A first-in first-out list. */
struct jobs {
        struct job *first;
        struct job **end;
};

static void jobs_init(struct jobs *q)
{
        q->first = NULL;
        q->end = &q->first;
}

/* A process that cannot queue work cannot go on; its containers live under their monitors. */
static void jobs_add(struct jobs *q, void (*fn)(void *data), void *data)
{
        struct job *job = malloc(sizeof *job);

        if (!job) {
                log_error("out of memory");
                abort();
        }
        *job = (struct job) { .fn = fn, .data = data };
        *q->end = job;
        q->end = &job->next;
}

static struct job *jobs_take(struct jobs *q)
{
        struct job *job = q->first;

        if (job) {
                q->first = job->next;
                if (!q->first)
                        q->end = &q->first;
        }
        return job;
}

struct loop {
        uv_loop_t uv;
        uv_async_t wake;
        pthread_mutex_t lock;           /* guards posted */
        struct jobs posted;
        atomic_bool stopping;
        _Atomic(pthread_t) thread;      /* that runs it; 0: none */
};

static void run_posted(struct loop *l)
{
        struct job *job;

        for (;;) {
                pthread_mutex_lock(&l->lock);
                job = jobs_take(&l->posted);
                pthread_mutex_unlock(&l->lock);
                if (!job)
                        return;
                job->fn(job->data);
                free(job);
        }
}

static void on_wake(uv_async_t *wake)
{
        struct loop *l = wake->data;

        run_posted(l);
        if (l->stopping)
                uv_stop(&l->uv);
}

int loop_new(struct loop **ret, struct cringle_err *err)
{
        struct loop *l = calloc(1, sizeof *l);
        int r;

        if (!l)
                return err_oom(err);
        r = uv_loop_init(&l->uv);
        if (r < 0) {
                free(l);
                return err_set(err, CRINGLE_E_INTERNAL, "event loop: %s", uv_strerror(r));
        }

        pthread_mutex_init(&l->lock, NULL);
        jobs_init(&l->posted);
        l->wake.data = l;
        r = uv_async_init(&l->uv, &l->wake, on_wake);
        if (r < 0) {
                uv_loop_close(&l->uv);
                free(l);
                return err_set(err, CRINGLE_E_INTERNAL, "event loop: %s", uv_strerror(r));
        }
        *ret = l;
        return 0;
}

struct loop *loop_free(struct loop *l)
{
        if (!l)
                return NULL;

        run_posted(l);
        uv_close((uv_handle_t *) &l->wake, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT);         /* the close callbacks of all that was closed */
        if (uv_loop_close(&l->uv) < 0)
                log_warning("event loop ends with open handles");
        pthread_mutex_destroy(&l->lock);
        free(l);
        return NULL;
}

uv_loop_t *loop_uv(struct loop *l)
{
        return &l->uv;
}

void loop_run(struct loop *l)
{
        l->thread = pthread_self();
        uv_run(&l->uv, UV_RUN_DEFAULT);
        run_posted(l);
        l->thread = 0;
        l->stopping = false;
}

void loop_stop(struct loop *l)
{
        l->stopping = true;
        uv_async_send(&l->wake);
}

bool loop_is_here(const struct loop *l)
{
        return l->thread == pthread_self();
}

void loop_post(struct loop *l, void (*fn)(void *data), void *data)
{
        pthread_mutex_lock(&l->lock);
        jobs_add(&l->posted, fn, data);
        pthread_mutex_unlock(&l->lock);
        uv_async_send(&l->wake);
}

struct loop_timer {
        uv_timer_t uv;
        void (*fn)(void *data);
        void *data;
        bool closing;
};

static void timer_closed(uv_handle_t *h)
{
        free(h->data);
}

void loop_timer_cancel(struct loop_timer *t)
{
        if (!t || t->closing)
                return;

        t->closing = true;
        uv_close((uv_handle_t *) &t->uv, timer_closed);
}

/* The timer frees itself after it has fired: who holds it must forget it in fn. */
static void on_timer(uv_timer_t *uv)
{
        struct loop_timer *t = uv->data;
        void (*fn)(void *data) = t->fn;
        void *data = t->data;

        loop_timer_cancel(t);
        fn(data);
}

struct loop_timer *loop_after(struct loop *l, int64_t nsec, void (*fn)(void *data), void *data)
{
        struct loop_timer *t = calloc(1, sizeof *t);

        if (!t) {
                log_error("out of memory");
                abort();
        }
        t->fn = fn;
        t->data = data;
        t->uv.data = t;
        uv_timer_init(&l->uv, &t->uv);
        uv_update_time(&l->uv);
        uv_timer_start(&t->uv, on_timer, nsec <= 0 ? 0 : (uint64_t) (nsec + 999999) / 1000000, 0);
        return t;
}

struct loop_watch {
        uv_poll_t uv;
        int fd, events;
        void (*fn)(int fd, int events, void *data);
        void *data;
};

static void on_poll(uv_poll_t *uv, int status, int events)
{
        struct loop_watch *w = uv->data;

        if (status >= 0) {
                w->fn(w->fd, events, w->data);
                return;
        }
        /* POLLERR, after which libuv polls no more: whoever reads finds the error, behind what there is to read before it. */
        w->fn(w->fd, UV_READABLE | UV_WRITABLE | UV_DISCONNECT, w->data);
        if (!uv_is_closing((uv_handle_t *) uv))
                uv_poll_start(uv, w->events, on_poll);
}

struct loop_watch *loop_watch(struct loop *l, int fd, int events, void (*fn)(int fd, int events, void *data),
                              void *data, struct cringle_err *err)
{
        struct loop_watch *w = calloc(1, sizeof *w);
        int r;

        if (!w) {
                err_oom(err);
                return NULL;
        }
        *w = (struct loop_watch) { .fd = fd, .events = events, .fn = fn, .data = data };
        w->uv.data = w;
        r = uv_poll_init(&l->uv, &w->uv, fd);
        if (r < 0) {
                free(w);
                err_set(err, CRINGLE_E_INTERNAL, "watch fd %d: %s", fd, uv_strerror(r));
                return NULL;
        }
        uv_poll_start(&w->uv, events, on_poll);
        return w;
}

void loop_watch_change(struct loop_watch *w, int events)
{
        w->events = events;
        uv_poll_start(&w->uv, events, on_poll);
}

static void watch_closed(uv_handle_t *h)
{
        free(h->data);
}

void loop_watch_stop(struct loop_watch *w)
{
        if (!w)
                return;

        uv_poll_stop(&w->uv);
        uv_close((uv_handle_t *) &w->uv, watch_closed);
}

struct workers {
        pthread_mutex_t lock;
        pthread_cond_t more;
        struct jobs waiting;
        size_t n_waiting;
        bool ending;
        size_t max;             /* threads there may be */
        size_t idle;            /* of them wait for a job */
        size_t n_threads;
        pthread_t threads[];
};

/* Threads are started as needed and stay: an agent at rest has few. */
static void *work(void *data)
{
        struct workers *w = data;

        pthread_mutex_lock(&w->lock);
        for (;;) {
                struct job *job = jobs_take(&w->waiting);

                if (job) {
                        w->n_waiting--;
                        pthread_mutex_unlock(&w->lock);
                        job->fn(job->data);
                        free(job);
                        pthread_mutex_lock(&w->lock);
                        continue;
                }
                if (w->ending)
                        break;
                w->idle++;
                pthread_cond_wait(&w->more, &w->lock);
                w->idle--;
        }
        pthread_mutex_unlock(&w->lock);
        return NULL;
}

int workers_new(size_t n, struct workers **ret, struct cringle_err *err)
{
        struct workers *w = calloc(1, sizeof *w + n * sizeof *w->threads);

        if (!w)
                return err_oom(err);

        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->more, NULL);
        jobs_init(&w->waiting);
        w->max = n;
        *ret = w;
        return 0;
}

struct workers *workers_free(struct workers *w)
{
        if (!w)
                return NULL;

        pthread_mutex_lock(&w->lock);
        w->ending = true;
        pthread_cond_broadcast(&w->more);
        pthread_mutex_unlock(&w->lock);
        for (size_t i = 0; i < w->n_threads; i++)
                pthread_join(w->threads[i], NULL);

        pthread_cond_destroy(&w->more);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return NULL;
}

void workers_run(struct workers *w, void (*fn)(void *data), void *data)
{
        pthread_mutex_lock(&w->lock);
        jobs_add(&w->waiting, fn, data);
        w->n_waiting++;
        if (w->n_waiting > w->idle && w->n_threads < w->max) {
                pthread_attr_t attr;

                pthread_attr_init(&attr);
                pthread_attr_setstacksize(&attr, 512 * 1024);
                if (pthread_create(&w->threads[w->n_threads], &attr, work, w) == 0)
                        w->n_threads++;
                else if (w->n_threads == 0) {
                        log_error("cannot start a worker thread");
                        abort();
                }
                pthread_attr_destroy(&attr);
        } else {
                pthread_cond_signal(&w->more);
        }
        pthread_mutex_unlock(&w->lock);
}
