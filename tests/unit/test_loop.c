/* What any thread posts runs on the loop, in order; workers run what blocks. */

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/clock.h"
#include "agent/base/loop.h"

static struct loop *loop;
static int seen[100];
static size_t n_seen;
static atomic_int done;

static void note(void *data)
{
        assert_true(loop_is_here(loop));
        seen[n_seen++] = (int) (intptr_t) data;
        if (n_seen == 100)
                loop_stop(loop);
}

static void *post_all(void *data)
{
        for (intptr_t i = 0; i < 100; i++)
                loop_post(loop, note, (void *) i);
        return NULL;
}

static void posted_work_runs_in_order_on_the_loop(void **state)
{
        pthread_t thread;

        assert_ok(loop_new(&loop, unit_err()), unit_err());
        pthread_create(&thread, NULL, post_all, NULL);
        loop_run(loop);
        pthread_join(thread, NULL);
        for (int i = 0; i < 100; i++)
                assert_int_equal(seen[i], i);
        loop = loop_free(loop);
}

static struct loop_timer *never;

static void stop(void *data)
{
        loop_timer_cancel(never);
        loop_stop(loop);
}

static void too_late(void *data)
{
        fail_msg("a cancelled timer fired");
}

static void timers_fire_once_unless_cancelled(void **state)
{
        int64_t start = clock_monotonic();

        assert_ok(loop_new(&loop, unit_err()), unit_err());
        never = loop_after(loop, 60 * NSEC_PER_MSEC, too_late, NULL);
        loop_after(loop, 20 * NSEC_PER_MSEC, stop, NULL);
        loop_run(loop);
        assert_true(clock_monotonic() - start >= 15 * NSEC_PER_MSEC);
        loop = loop_free(loop);
}

static void on_readable(int fd, int events, void *data)
{
        char c;

        assert_int_equal(read(fd, &c, 1), 1);
        assert_int_equal(c, 'x');
        loop_watch_stop(*(struct loop_watch **) data);
        loop_stop(loop);
}

static void a_watched_fd_tells(void **state)
{
        struct loop_watch *w;
        int p[2];

        assert_ok(loop_new(&loop, unit_err()), unit_err());
        assert_int_equal(pipe(p), 0);
        w = loop_watch(loop, p[0], UV_READABLE, on_readable, &w, unit_err());
        assert_non_null(w);
        assert_int_equal(write(p[1], "x", 1), 1);
        loop_run(loop);
        loop = loop_free(loop);
        close(p[0]);
        close(p[1]);
}

static void block(void *data)
{
        usleep(20000);
        done++;
}

static void workers_run_blocking_jobs_side_by_side(void **state)
{
        struct workers *w = NULL;
        int64_t start = clock_monotonic();

        done = 0;
        assert_ok(workers_new(8, &w, unit_err()), unit_err());
        for (int i = 0; i < 80; i++)
                workers_run(w, block, NULL);
        w = workers_free(w);
        assert_int_equal(done, 80);
        assert_true(clock_monotonic() - start < 80 * 20 * NSEC_PER_MSEC);
}

UNIT_MAIN(
        cmocka_unit_test(posted_work_runs_in_order_on_the_loop),
        cmocka_unit_test(timers_fire_once_unless_cancelled),
        cmocka_unit_test(a_watched_fd_tells),
        cmocka_unit_test(workers_run_blocking_jobs_side_by_side))
