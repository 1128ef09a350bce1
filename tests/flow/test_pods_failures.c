/* Whatever plugin call fails, the error says where and why, nothing is left behind, and asking again works. */

#include "tests/flow/flow.h"

struct expected {
        const char *call;               /* of a plugin */
        const char *step;               /* that is named when it fails; NULL: its failure is tolerated */
};

/* The step at which @call is expected to fail the operation. */
static const char *step_of(const struct expected *table, const char *call)
{
        for (; table->call; table++)
                if (strcmp(table->call, call) == 0)
                        return table->step;

        fail_msg("nobody expects %s here", call);
        return NULL;
}

/* That the failure of an operation with @code tells what was made to fail, and at which step. */
static void assert_told(int code, const struct expected *table)
{
        auto_free char *call = strdup(fake_failed());
        const char *step = step_of(table, call);
        auto_free char *begin = str_printf(NULL, "%s: ", step ? step : "");
        auto_free char *end = str_printf(NULL, "%s: made to fail", call);

        if (!step) {
                assert_code(0, code);
                return;
        }
        assert_code(CRINGLE_E_INTERNAL, code);
        if (strncmp(flow_err.text, begin, strlen(begin)) != 0)
                fail_msg("'%s' does not begin with '%s'", flow_err.text, begin);
        assert_contains(flow_err.text, end);
}

static void each_call_of_running_a_pod_fails_in_turn(void **state)
{
        static const struct expected table[] = {
                { "cgroup.create", "start monitor" },
                { "executor.open_pod", "start monitor" },
                { "network.attach", "attach network" },
                { "hook.pod-run", "run hooks" },
                { 0 }
        };
        struct flow *f = *state;
        int n;

        for (n = 1; n < 100; n++) {
                struct pod_ask a;
                id_text pod;
                int code;

                pod_ask(&a, "web");
                fake_fail_at(n);
                code = ask_run(f, &a, pod);
                fake_fail_at(0);
                if (code == 0)
                        break;
                assert_told(code, table);
                assert_nothing_left(f);
                assert_code(0, ask_run(f, &a, pod));
                assert_code(0, ask_remove_pod(f, pod));
                assert_nothing_left(f);
        }
        assert_int_equal(n, 5);
}

static void each_call_of_creating_a_container_fails_in_turn(void **state)
{
        static const struct expected table[] = {
                { "image.rootfs_prepare", "prepare rootfs" },
                { "image.view_mount", "look up user" },
                { "hook.container-create", "build spec" },
                { "cgroup.create", "make cgroup" },
                { "image.rootfs_mount", "create process" },
                { "executor.create", "create process" },
                { "hook.container-created", "run hooks" },
                { 0 }
        };
        struct flow *f = *state;
        id_text pod;
        int n;

        must_run(f, "web", pod);
        for (n = 1; n < 100; n++) {
                struct container_ask a;
                id_text c;
                int code;

                container_ask(&a, pod, "main");
                fake_fail_at(n);
                code = ask_create(f, &a, c);
                fake_fail_at(0);
                if (code == 0)
                        break;
                assert_told(code, table);
                assert_consistent(f);
                assert_int_equal(rows(f, "containers"), 0);
                assert_code(0, ask_create(f, &a, c));
                assert_code(0, ask_remove(f, c));
        }
        /* The user is looked up once per image: from then on one call less. */
        assert_int_equal(n, 7);
}

static void each_call_of_starting_a_container_fails_in_turn(void **state)
{
        static const struct expected table[] = {
                { "hook.container-start", "run hooks" },
                { "executor.start", "start process" },
                { "hook.container-started", "run started hooks" },
                { 0 }
        };
        struct flow *f = *state;
        id_text pod;
        int n;

        must_run(f, "web", pod);
        for (n = 1; n < 100; n++) {
                Cri__ContainerStatusResponse *reply;
                id_text c, again;
                int code;

                must_create(f, pod, "main", c);
                fake_fail_at(n);
                code = ask_start(f, c);
                fake_fail_at(0);
                if (code == 0)
                        break;
                assert_told(code, table);

                /* It stays, so that it can be seen why; another one can be made once it is gone. */
                wait_for_state(f, c, CRI__CONTAINER_STATE__CONTAINER_EXITED);
                assert_code(0, ask_container_status(f, c, false, &reply));
                if (n < 3) {
                        assert_int_equal(reply->status->exit_code, 128);
                        assert_string_equal(reply->status->reason, "StartError");
                        assert_contains(reply->status->message, "made to fail");
                } else {
                        assert_int_equal(reply->status->exit_code, 137);
                }
                reply_free(reply);
                assert_code(CRINGLE_E_PRECONDITION, ask_start(f, c));
                assert_code(0, ask_stop(f, c, 0));
                assert_code(0, ask_remove(f, c));
                must_start(f, pod, "main", again);
                assert_code(0, ask_remove(f, again));
                assert_consistent(f);
        }
        assert_int_equal(n, 4);
}

static void each_call_of_stopping_a_container_fails_in_turn(void **state)
{
        static const struct expected table[] = {
                { "hook.container-stop", NULL },
                { "executor.ask", "ask to end" },
                { "executor.kill", "kill the rest" },
                { 0 }
        };
        struct flow *f = *state;
        id_text pod;

        must_run(f, "web", pod);
        for (int grace = 0; grace <= 1; grace++)
                for (int n = 1; n <= 2; n++) {
                        id_text c;
                        int code;

                        must_start(f, pod, "main", c);
                        fake_fail_at(n);
                        code = ask_stop(f, c, grace * 60);
                        fake_fail_at(0);
                        assert_told(code, table);
                        assert_code(0, ask_stop(f, c, grace * 60));
                        assert_int_equal(container_state(f, c), CRI__CONTAINER_STATE__CONTAINER_EXITED);
                        assert_code(0, ask_remove(f, c));
                        assert_consistent(f);
                }
}

static void each_call_of_removing_a_container_fails_in_turn(void **state)
{
        static const struct expected table[] = {
                { "hook.container-stop", NULL },
                { "hook.container-remove", NULL },
                { "executor.kill", "kill the rest" },
                { "executor.destroy", "destroy process" },
                { "cgroup.destroy", "remove cgroup" },
                { "image.rootfs_remove", "remove files" },
                { 0 }
        };
        struct flow *f = *state;
        id_text pod;

        must_run(f, "web", pod);
        for (int n = 1; n <= 6; n++) {
                id_text c, other;
                int code;

                must_start(f, pod, "main", c);
                fake_fail_at(n);
                code = ask_remove(f, c);
                fake_fail_at(0);
                assert_told(code, table);
                assert_code(0, ask_remove(f, c));
                assert_consistent(f);
                must_create(f, pod, "main", other);
                assert_code(0, ask_remove(f, other));
        }
}

static void each_call_of_stopping_a_pod_fails_in_turn(void **state)
{
        static const struct expected table[] = {
                { "hook.container-stop", NULL },
                { "hook.pod-stop", NULL },
                { "network.detach", "detach network" },
                { "executor.close_pod", "close monitor" },
                { "cgroup.destroy", "close monitor" },
                { 0 }
        };
        struct flow *f = *state;

        for (int n = 1; n <= 6; n++) {
                id_text pod, c;
                int code;

                must_run(f, "web", pod);
                must_start(f, pod, "main", c);
                fake_fail_at(n);
                code = ask_stop_pod(f, pod);
                fake_fail_at(0);
                if (strcmp(fake_failed(), "executor.kill") == 0) {
                        assert_code(CRINGLE_E_INTERNAL, code);
                        assert_contains(flow_err.text, "wait for containers: container ");
                        assert_contains(flow_err.text, ": kill the rest: ");
                } else {
                        assert_told(code, table);
                }
                assert_code(0, ask_stop_pod(f, pod));
                assert_int_equal(pod_state(f, pod), CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
                assert_consistent(f);
                assert_code(0, ask_remove_pod(f, pod));
                assert_nothing_left(f);
        }
}

static void each_call_of_removing_a_pod_fails_in_turn(void **state)
{
        struct flow *f = *state;
        int failures = 0;

        for (int n = 1; n <= 12; n++) {
                id_text pod, c;
                int code;

                must_run(f, "web", pod);
                must_start(f, pod, "main", c);
                fake_fail_at(n);
                code = ask_remove_pod(f, pod);
                fake_fail_at(0);
                if (code != 0) {
                        failures++;
                        assert_contains(flow_err.text, fake_failed());
                        assert_contains(flow_err.text, "made to fail");
                        assert_int_not_equal(pod_state(f, pod), -1);
                        assert_code(0, ask_remove_pod(f, pod));
                }
                assert_nothing_left(f);
        }
        assert_int_equal(failures, 7);  /* all but hooks, which cannot refuse here */
}

/* --- an undo that fails, too --- */

static void what_is_left_of_a_pod_can_be_removed(void **state)
{
        static const char *const undos[] = { "network.detach", "executor.close_pod", "cgroup.destroy" };
        struct flow *f = *state;

        for (size_t i = 0; i < sizeof undos / sizeof *undos; i++) {
                Cri__ListPodSandboxResponse *list;
                struct pod_ask a;
                id_text pod;

                pod_ask(&a, "web");
                fake_fail("hook.pod-run", 1);
                fake_fail(undos[i], 1);
                assert_code(CRINGLE_E_INTERNAL, ask_run(f, &a, pod));
                assert_contains(flow_err.text, "hook.pod-run");
                assert_code(0, ask_pods(f, NULL, &list));
                assert_int_equal(list->n_items, 1);
                assert_int_equal(list->items[0]->state, CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
                reply_free(list);

                assert_code(0, ask_run(f, &a, pod));    /* its name is free */
                remove_all(f);
                assert_nothing_left(f);
        }
}

static void what_is_left_of_a_container_goes_with_its_pod(void **state)
{
        static const char *const undos[] = { "executor.destroy", "cgroup.destroy", "image.rootfs_remove" };
        struct flow *f = *state;

        for (size_t i = 0; i < sizeof undos / sizeof *undos; i++) {
                struct container_ask a;
                id_text pod, c;

                must_run(f, "web", pod);
                container_ask(&a, pod, "main");
                fake_fail("hook.container-created", 1);
                fake_fail(undos[i], 1);
                assert_code(CRINGLE_E_INTERNAL, ask_create(f, &a, c));
                assert_int_equal(rows(f, "containers"), 1);
                assert_code(0, ask_create(f, &a, c));
                assert_code(0, ask_stop_pod(f, pod));
                if (i == 1) {                           /* or with the next start, if that comes first */
                        assert_int_equal(rows(f, "containers"), 2);
                        flow_stop(f);
                        assert_ok(flow_start(f, NULL, &flow_err), &flow_err);
                        assert_int_equal(rows(f, "containers"), 1);
                }
                assert_code(0, ask_remove_pod(f, pod));
                assert_nothing_left(f);
        }
}

#define FLOW_TEST(test) cmocka_unit_test_setup_teardown(test, flow_setup, flow_teardown)

UNIT_MAIN(
        FLOW_TEST(each_call_of_running_a_pod_fails_in_turn),
        FLOW_TEST(each_call_of_creating_a_container_fails_in_turn),
        FLOW_TEST(each_call_of_starting_a_container_fails_in_turn),
        FLOW_TEST(each_call_of_stopping_a_container_fails_in_turn),
        FLOW_TEST(each_call_of_removing_a_container_fails_in_turn),
        FLOW_TEST(each_call_of_stopping_a_pod_fails_in_turn),
        FLOW_TEST(each_call_of_removing_a_pod_fails_in_turn),
        FLOW_TEST(what_is_left_of_a_pod_can_be_removed),
        FLOW_TEST(what_is_left_of_a_container_goes_with_its_pod))
