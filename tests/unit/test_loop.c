/* What any thread posts runs on the loop, in order; workers run what blocks. */

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
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

/* Over TCP; [0] is ours. */
static void connect_pair(int pair[2])
{
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof at;
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *) &at, sizeof at), 0);
        assert_int_equal(listen(listener, 1), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *) &at, &n), 0);
        assert_int_equal(connect(pair[1], (struct sockaddr *) &at, sizeof at), 0);
        pair[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        assert_true(pair[0] >= 0);
        close(listener);
}

static int n_told;

/* Slow to see what it means: it leaves it at first, then takes the byte, then finds the error. */
static void on_reset(int fd, int events, void *data)
{
        char byte;

        assert_true(events & UV_DISCONNECT);
        switch (++n_told) {
        case 1:
                break;
        case 2:
                assert_int_equal(recv(fd, &byte, 1, 0), 1);
                break;
        default:
                assert_int_equal(recv(fd, &byte, 1, 0), -1);
                assert_int_equal(errno, ECONNRESET);
                loop_watch_stop(*(struct loop_watch **) data);
                loop_stop(loop);
        }
}

static void nothing_more(void *data)
{
        fail_msg("it was told %d times of a connection that was reset", n_told);
}

static void a_reset_is_told_until_it_is_taken(void **state)
{
        struct linger at_once = { .l_onoff = 1 };
        struct loop_watch *w;
        int pair[2];

        connect_pair(pair);
        assert_int_equal(write(pair[1], "x", 1), 1);
        setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(pair[1]);

        assert_ok(loop_new(&loop, unit_err()), unit_err());
        w = loop_watch(loop, pair[0], UV_DISCONNECT, on_reset, &w, unit_err());
        assert_non_null(w);
        never = loop_after(loop, 5 * NSEC_PER_SEC, nothing_more, NULL);
        loop_run(loop);
        loop_timer_cancel(never);
        assert_int_equal(n_told, 3);
        loop = loop_free(loop);
        close(pair[0]);
}

UNIT_MAIN(
        cmocka_unit_test(posted_work_runs_in_order_on_the_loop),
        cmocka_unit_test(timers_fire_once_unless_cancelled),
        cmocka_unit_test(a_watched_fd_tells),
        cmocka_unit_test(a_reset_is_told_until_it_is_taken),
        cmocka_unit_test(workers_run_blocking_jobs_side_by_side))
