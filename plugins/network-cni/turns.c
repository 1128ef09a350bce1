/*
 * Whose turn it is; see turns.h.
 */

#include <time.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "plugins/network-cni/turns.h"

/* A call's cancellation is an fd, which a condition variable cannot watch: look now and then. */
#define LOOK (50 * NSEC_PER_MSEC)

void turns_init(struct turns *t)
{
        pthread_condattr_t attr;

        *t = (struct turns) { 0 };
        pthread_mutex_init(&t->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&t->changed, &attr);
        pthread_condattr_destroy(&attr);
}

void turns_done(struct turns *t)
{
        map_done(&t->busy, NULL);
        pthread_cond_destroy(&t->changed);
        pthread_mutex_destroy(&t->lock);
}

/* With the lock held. */
static int wait_change(struct turns *t, const struct cringle_call *call, struct cringle_err *err)
{
        int64_t until = clock_monotonic() + LOOK;
        struct timespec at = { until / NSEC_PER_SEC, until % NSEC_PER_SEC };

        pthread_cond_timedwait(&t->changed, &t->lock, &at);
        return call_check(call, err);
}

int turns_take(struct turns *t, const char *id, const struct cringle_call *call, struct cringle_err *err)
{
        int r = 0;

        pthread_mutex_lock(&t->lock);
        while (r == 0 && (t->collecting || map_get(&t->busy, id))) {
                r = wait_change(t, call, err);
                if (r < 0)
                        err_wrap(err, "wait for another network operation of %s", id);
        }
        if (r == 0)
                r = map_put(&t->busy, id, t, err);
        pthread_mutex_unlock(&t->lock);
        return r;
}

void turns_give(struct turns *t, const char *id)
{
        pthread_mutex_lock(&t->lock);
        map_take(&t->busy, id);
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
}

int turns_take_all(struct turns *t, const struct cringle_call *call, struct cringle_err *err)
{
        int r = 0;

        pthread_mutex_lock(&t->lock);
        while (r == 0 && (t->collecting || t->busy.count > 0)) {
                r = wait_change(t, call, err);
                if (r < 0)
                        err_wrap(err, "wait for the network operations under way");
        }
        if (r == 0)
                t->collecting = true;
        pthread_mutex_unlock(&t->lock);
        return r;
}

void turns_give_all(struct turns *t)
{
        pthread_mutex_lock(&t->lock);
        t->collecting = false;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
}
