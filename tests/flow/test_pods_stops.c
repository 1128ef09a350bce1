/* Stops: the grace they give, what they cancel, what they notice. */

#include "tests/flow/flow.h"

#define EXITED CRI__CONTAINER_STATE__CONTAINER_EXITED

struct stop_thread {
        struct flow *f;
        const char *id;
        int64_t grace;
        int64_t took;
        int code;
        pthread_t thread;
};

static void *stop_main(void *data)
{
        struct stop_thread *t = data;
        int64_t began = clock_monotonic();

        t->code = ask_stop(t->f, t->id, t->grace);
        t->took = clock_monotonic() - began;
        return NULL;
}

static void stop_begin(struct stop_thread *t, struct flow *f, const char *id, int64_t grace)
{
        *t = (struct stop_thread) { .f = f, .id = id, .grace = grace };
        pthread_create(&t->thread, NULL, stop_main, t);
}

static void stop_end(struct stop_thread *t)
{
        pthread_join(t->thread, NULL);
        assert_int_equal(t->code, 0);
}

static void a_container_has_its_grace_period(void **state)
{
        struct flow *f = *state;
        struct stop_thread t;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        fake_ignore_term(true);
        stop_begin(&t, f, c, 1);
        stop_end(&t);
        assert_true(t.took >= NSEC_PER_SEC - 50 * NSEC_PER_MSEC);
        assert_int_equal(container_exit_code(f, c), 137);
}

static void no_grace_kills_at_once(void **state)
{
        struct flow *f = *state;
        auto_free char *calls = NULL;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        assert_code(0, ask_stop(f, c, 0));
        assert_int_equal(container_exit_code(f, c), 137);
        calls = fake_calls();
        assert_null(strstr(calls, "executor.ask"));
}

static void a_second_stop_may_shorten_the_grace_but_not_lengthen_it(void **state)
{
        struct flow *f = *state;
        struct stop_thread first, second, third;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        fake_ignore_term(true);
        stop_begin(&first, f, c, 600);
        wait_for_call("executor.ask");
        stop_begin(&second, f, c, 1);
        stop_begin(&third, f, c, 300);
        stop_end(&third);
        stop_end(&second);
        stop_end(&first);
        assert_true(second.took < 200 * NSEC_PER_SEC);
        assert_true(second.took >= NSEC_PER_SEC - 50 * NSEC_PER_MSEC);
        assert_int_equal(container_exit_code(f, c), 137);
}

static void removing_ends_a_grace_period(void **state)
{
        struct flow *f = *state;
        struct stop_thread t;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        fake_ignore_term(true);
        stop_begin(&t, f, c, 600);
        wait_for_call("executor.ask");
        assert_code(0, ask_remove(f, c));
        stop_end(&t);
        assert_consistent(f);
}

static void stopping_the_pod_ends_a_grace_period(void **state)
{
        struct flow *f = *state;
        struct stop_thread t;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        fake_ignore_term(true);
        stop_begin(&t, f, c, 600);
        wait_for_call("executor.ask");
        assert_code(0, ask_stop_pod(f, pod));
        stop_end(&t);
        assert_int_equal(container_exit_code(f, c), 137);
}

/* The end is told late: a more urgent request must not take the container for one that SIGKILL cannot end. */
static void what_was_killed_is_waited_for(void **state)
{
        struct flow *f = *state;
        struct stop_thread first, second;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        fake_hold_events(true);
        stop_begin(&first, f, c, 0);
        wait_for_call("executor.kill");
        stop_begin(&second, f, c, 0);
        flow_patience = 100 * NSEC_PER_MSEC;
        assert_code(CRINGLE_E_DEADLINE, ask_remove(f, c));
        flow_patience = 30 * NSEC_PER_SEC;
        fake_hold_events(false);
        stop_end(&first);
        stop_end(&second);
        assert_code(0, ask_remove(f, c));
        assert_consistent(f);
}

static void a_created_container_stops_too(void **state)
{
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        must_create(f, pod, "main", c);
        assert_code(0, ask_stop(f, c, 30));
        assert_int_equal(container_state(f, c), EXITED);
        assert_code(CRINGLE_E_PRECONDITION, ask_start(f, c));
}

static void stopping_a_pod_cancels_what_hangs_in_it(void **state)
{
        static const char *const calls[] = { "hook.container-create", "cgroup.create", "executor.create",
                                             "hook.container-created" };
        struct flow *f = *state;

        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
                struct run_thread t = { .f = f };
                struct container_ask c;
                id_text pod;

                must_run(f, "web", pod);
                container_ask(&c, pod, "main");
                t.container = &c;
                fake_hang(calls[i]);
                run_begin(&t);
                assert_true(fake_hangs());
                assert_code(0, ask_stop_pod(f, pod));
                run_end(&t);
                fake_hang(NULL);
                assert_int_equal(t.code, CRINGLE_E_CANCELLED);
                assert_int_equal(fake_alive(NULL), 0);
                assert_int_equal(rows(f, "containers"), 0);
                assert_code(0, ask_remove_pod(f, pod));
        }
        assert_nothing_left(f);
}

static void *start_main(void *data)
{
        struct stop_thread *t = data;

        t->code = ask_start(t->f, t->id);
        return NULL;
}

static void stopping_a_container_cancels_its_start(void **state)
{
        static const char *const calls[] = { "hook.container-start", "executor.start", "hook.container-started" };
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
                struct stop_thread t = { .f = f, .id = c };

                must_create(f, pod, calls[i], c);
                fake_hang(calls[i]);
                pthread_create(&t.thread, NULL, start_main, &t);
                assert_true(fake_hangs());
                assert_code(0, ask_stop(f, c, 600));
                pthread_join(t.thread, NULL);
                fake_hang(NULL);
                assert_int_equal(t.code, CRINGLE_E_CANCELLED);
                assert_int_equal(container_state(f, c), EXITED);
        }
        remove_all(f);
        assert_nothing_left(f);
}

static void a_pod_that_is_being_made_can_be_stopped_and_leaves_nothing(void **state)
{
        struct flow *f = *state;
        struct pod_ask a;
        id_text pod;

        pod_ask(&a, "web");
        for (int round = 0; round < 2; round++) {
                struct run_thread t = { .f = f, .pod = &a };

                fake_hang("network.attach");
                run_begin(&t);
                assert_true(fake_hangs());
                id_of_call("network.attach", 1, pod);
                assert_int_equal(pod_state(f, pod), -1);
                assert_code(0, round ? ask_remove_pod(f, pod) : ask_stop_pod(f, pod));
                run_end(&t);
                assert_int_equal(t.code, CRINGLE_E_CANCELLED);
                fake_hang(NULL);
                assert_int_equal(pod_state(f, pod), -1);
                assert_nothing_left(f);
        }
        must_run(f, "web", pod);
}

static void a_stop_under_way_notices_that_the_monitor_is_gone(void **state)
{
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        fake_hold_events(true);
        flow_patience = 200 * NSEC_PER_MSEC;
        assert_code(CRINGLE_E_DEADLINE, ask_stop_pod(f, pod));
        flow_patience = 30 * NSEC_PER_SEC;
        fake_lose(pod);
        fake_hold_events(false);
        assert_code(0, ask_stop_pod(f, pod));
        assert_int_equal(container_state(f, c), EXITED);
}

#define FLOW_TEST(test) cmocka_unit_test_setup_teardown(test, flow_setup, flow_teardown)

UNIT_MAIN(
        FLOW_TEST(a_container_has_its_grace_period),
        FLOW_TEST(no_grace_kills_at_once),
        FLOW_TEST(a_second_stop_may_shorten_the_grace_but_not_lengthen_it),
        FLOW_TEST(removing_ends_a_grace_period),
        FLOW_TEST(stopping_the_pod_ends_a_grace_period),
        FLOW_TEST(what_was_killed_is_waited_for),
        FLOW_TEST(a_created_container_stops_too),
        FLOW_TEST(stopping_a_pod_cancels_what_hangs_in_it),
        FLOW_TEST(stopping_a_container_cancels_its_start),
        FLOW_TEST(a_pod_that_is_being_made_can_be_stopped_and_leaves_nothing),
        FLOW_TEST(a_stop_under_way_notices_that_the_monitor_is_gone))
