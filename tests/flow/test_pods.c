/* Pods and containers as a client sees them: their whole life, asked in every order. */

#include "tests/flow/flow.h"

#include <unistd.h>

#define READY CRI__POD_SANDBOX_STATE__SANDBOX_READY
#define NOTREADY CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY
#define CREATED CRI__CONTAINER_STATE__CONTAINER_CREATED
#define RUNNING CRI__CONTAINER_STATE__CONTAINER_RUNNING
#define EXITED CRI__CONTAINER_STATE__CONTAINER_EXITED

/* --- life --- */

static void a_pod_lives_from_run_to_remove(void **state)
{
        struct flow *f = *state;
        Cri__PodSandboxStatusResponse *pod_reply;
        Cri__ContainerStatusResponse *reply;
        id_text pod, c;

        must_run(f, "web", pod);
        assert_code(0, ask_pod_status(f, pod, false, &pod_reply));
        assert_int_equal(pod_reply->status->state, READY);
        assert_string_equal(pod_reply->status->metadata->name, "web");
        assert_true(pod_reply->status->created_at > 0);
        assert_string_equal(pod_reply->status->network->ip, "192.0.2.1");
        assert_int_equal(pod_reply->status->network->n_additional_ips, 1);
        assert_string_equal(pod_reply->status->network->additional_ips[0]->ip, "2001:db8::1");
        reply_free(pod_reply);

        must_create(f, pod, "main", c);
        assert_int_equal(container_state(f, c), CREATED);
        assert_code(0, ask_start(f, c));
        assert_code(0, ask_container_status(f, c, false, &reply));
        assert_int_equal(reply->status->state, RUNNING);
        assert_true(reply->status->created_at > 0);
        assert_true(reply->status->started_at > 0);
        assert_int_equal(reply->status->finished_at, 0);
        assert_string_equal(reply->status->image->image, FLOW_IMAGE);
        assert_string_equal(reply->status->image_ref, FLOW_IMAGE_DIGEST);
        assert_string_equal(reply->status->image_id, FLOW_IMAGE_ID);
        assert_int_equal(reply->status->user->linux->uid, 7);
        assert_int_equal(reply->status->stop_signal, CRI__SIGNAL__SIGNAL_SIGTERM);
        reply_free(reply);
        assert_consistent(f);

        assert_code(0, ask_stop(f, c, 30));
        assert_code(0, ask_container_status(f, c, false, &reply));
        assert_int_equal(reply->status->state, EXITED);
        assert_int_equal(reply->status->exit_code, 143);
        assert_string_equal(reply->status->reason, "Error");
        assert_true(reply->status->finished_at >= reply->status->started_at);
        reply_free(reply);

        assert_code(0, ask_remove(f, c));
        assert_int_equal(container_state(f, c), -1);
        assert_code(0, ask_stop_pod(f, pod));
        assert_int_equal(pod_state(f, pod), NOTREADY);
        assert_int_equal(fake_alive(NULL), 0);
        assert_code(0, ask_remove_pod(f, pod));
        assert_int_equal(pod_state(f, pod), -1);
        assert_nothing_left(f);
}

static void steps_come_in_their_order(void **state)
{
        struct flow *f = *state;
        auto_free char *calls = NULL;
        auto_free char *wanted = NULL;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        assert_code(0, ask_stop(f, c, 30));
        wait_for_call("hook.container-stopped");
        assert_code(0, ask_remove(f, c));
        assert_code(0, ask_remove_pod(f, pod));
        calls = fake_calls();
        wanted = str_printf(NULL,
                            "cgroup.create /cringle/monitor-%1$s\n"
                            "executor.open_pod %1$s\n"
                            "network.attach %1$s\n"
                            "hook.pod-run %1$s\n"
                            "image.rootfs_prepare %2$s\n"
                            "image.view_mount\n"
                            "hook.container-create %1$s/%2$s\n"
                            "cgroup.create /flow/%2$s\n"
                            "image.rootfs_mount %2$s\n"
                            "executor.create %1$s/%2$s\n"
                            "hook.container-created %1$s/%2$s\n"
                            "hook.container-start %1$s/%2$s\n"
                            "executor.start %1$s/%2$s\n"
                            "hook.container-started %1$s/%2$s\n"
                            "hook.container-stop %1$s/%2$s\n"
                            "executor.ask %1$s/%2$s\n",
                            pod, c);
        assert_contains(calls, wanted);
        free(wanted);
        wanted = str_printf(NULL,
                            "hook.container-remove %1$s/%2$s\n"
                            "executor.destroy %1$s/%2$s\n"
                            "cgroup.destroy /flow/%2$s\n"
                            "image.rootfs_remove %2$s\n"
                            "hook.pod-stop %1$s\n"
                            "network.detach %1$s\n"
                            "executor.close_pod %1$s\n"
                            "cgroup.destroy /cringle/monitor-%1$s\n"
                            "hook.pod-remove %1$s\n",
                            pod, c);
        assert_contains(calls, wanted);
}

static void a_container_that_ends_by_itself_says_how(void **state)
{
        static const struct { int code; const char *reason; } ends[] = { { 0, "Completed" }, { 3, "Error" } };
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        for (size_t i = 0; i < 2; i++) {
                Cri__ContainerStatusResponse *reply;

                must_start(f, pod, i ? "bad" : "good", c);
                fake_exit(pod, c, ends[i].code);
                wait_for_state(f, c, EXITED);
                assert_code(0, ask_container_status(f, c, false, &reply));
                assert_int_equal(reply->status->exit_code, ends[i].code);
                assert_string_equal(reply->status->reason, ends[i].reason);
                reply_free(reply);
        }
        assert_int_equal(pod_state(f, pod), READY);
        remove_all(f);
        assert_nothing_left(f);
}

static void a_hook_adjusts_what_the_container_is_started_with(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatusResponse *reply;
        id_text pod, c;

        must_run(f, "web", pod);
        must_create(f, pod, "main", c);
        assert_code(0, ask_container_status(f, c, true, &reply));
        assert_int_equal(reply->n_info, 1);
        assert_contains(reply->info[0]->value, "FAKE_HOOK=was here");
        reply_free(reply);
}

/* --- exec --- */

static void exec_keeps_so_much_of_each_stream_and_drops_the_rest(void **state)
{
        const char *const argv[] = { "out", "300000", "err", "10", "exit", "42", NULL };
        struct flow *f = *state;
        Cri__ExecSyncResponse *reply;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        assert_code(0, ask_exec(f, c, argv, 0, &reply));
        assert_int_equal(reply->stdout.len, FLOW_EXEC_LIMIT);
        assert_int_equal(reply->stderr.len, 10);
        assert_int_equal(reply->exit_code, 42);
        reply_free(reply);
}

static void exec_does_not_wait_for_who_still_holds_its_streams(void **state)
{
        const char *const argv[] = { "out", "5", "keep", NULL };
        struct flow *f = *state;
        Cri__ExecSyncResponse *reply;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        assert_code(0, ask_exec(f, c, argv, 0, &reply));
        assert_int_equal(reply->stdout.len, 5);
        reply_free(reply);
}

static void exec_past_its_time_is_deadline_exceeded(void **state)
{
        const char *const argv[] = { "out", "5", "sleep", NULL };
        struct flow *f = *state;
        Cri__ExecSyncResponse *reply;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        assert_code(CRINGLE_E_DEADLINE, ask_exec(f, c, argv, 1, &reply));
        assert_contains(flow_err.text, "timed out after 1 s");
        assert_code(CRINGLE_E_INVALID, ask_exec(f, c, argv, -1, &reply));
}

static void exec_needs_a_running_container_and_a_command(void **state)
{
        const char *const argv[] = { "exit", "0", NULL }, *const none[] = { NULL };
        struct flow *f = *state;
        Cri__ExecSyncResponse *reply;
        id_text pod, c;

        must_run(f, "web", pod);
        must_create(f, pod, "main", c);
        assert_code(CRINGLE_E_PRECONDITION, ask_exec(f, c, argv, 0, &reply));
        assert_code(0, ask_start(f, c));
        assert_code(CRINGLE_E_INVALID, ask_exec(f, c, none, 0, &reply));
        fake_fail("executor.exec", 1);
        assert_code(CRINGLE_E_INTERNAL, ask_exec(f, c, argv, 0, &reply));
        assert_contains(flow_err.text, "made to fail");
        assert_code(0, ask_exec(f, c, argv, 0, &reply));
        reply_free(reply);
        assert_code(CRINGLE_E_NOT_FOUND, ask_exec(f, "nobody", argv, 0, &reply));
}

struct exec_thread {
        struct flow *f;
        const char *id;
        int code;
        struct cringle_err err;
};

static void *exec_sleep(void *data)
{
        const char *const argv[] = { "sleep", NULL };
        struct exec_thread *t = data;
        Cri__ExecSyncResponse *reply;

        t->code = ask_exec(t->f, t->id, argv, 0, &reply);
        t->err = flow_err;
        return NULL;
}

static void a_lost_monitor_ends_containers_and_execs_and_makes_the_pod_not_ready(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatusResponse *reply;
        struct exec_thread t = { .f = f };
        pthread_t thread;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        t.id = c;
        pthread_create(&thread, NULL, exec_sleep, &t);
        wait_for_call("executor.exec");
        fake_fail("network.detach", 1);         /* whatever its stop comes to */
        fake_lose(pod);
        pthread_join(thread, NULL);
        assert_int_equal(t.code, CRINGLE_E_UNAVAILABLE);
        assert_contains(t.err.text, "monitor is gone");
        wait_for_state(f, c, EXITED);
        assert_int_equal(pod_state(f, pod), NOTREADY);
        assert_code(0, ask_container_status(f, c, false, &reply));
        assert_int_equal(reply->status->exit_code, 255);
        assert_string_equal(reply->status->reason, "Unknown");
        reply_free(reply);
        flow_settle(f);
        remove_all(f);
        assert_nothing_left(f);
}

/* --- asked again, or in the wrong order --- */

static void what_is_not_there_stops_and_goes_with_success(void **state)
{
        static const char unknown[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        Cri__PodSandboxStatusResponse *pod_reply;
        Cri__ContainerStatusResponse *reply;
        struct flow *f = *state;

        assert_code(0, ask_stop_pod(f, unknown));
        assert_code(0, ask_remove_pod(f, unknown));
        assert_code(0, ask_stop(f, unknown, 0));
        assert_code(0, ask_stop(f, unknown, 30));
        assert_code(0, ask_remove(f, unknown));
        assert_code(CRINGLE_E_NOT_FOUND, ask_pod_status(f, unknown, false, &pod_reply));
        assert_code(CRINGLE_E_NOT_FOUND, ask_container_status(f, unknown, false, &reply));
        assert_code(CRINGLE_E_NOT_FOUND, ask_start(f, unknown));
        assert_code(CRINGLE_E_NOT_FOUND, ask_reopen_log(f, unknown));
}

static void stopping_and_removing_twice_is_once(void **state)
{
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        for (int i = 0; i < 2; i++)
                assert_code(0, ask_stop(f, c, 30));
        for (int i = 0; i < 2; i++)
                assert_code(0, ask_stop_pod(f, pod));
        for (int i = 0; i < 2; i++)
                assert_code(0, ask_remove(f, c));
        for (int i = 0; i < 2; i++)
                assert_code(0, ask_remove_pod(f, pod));
        assert_nothing_left(f);
}

static void removing_a_pod_takes_all_that_runs_in_it(void **state)
{
        struct flow *f = *state;
        id_text pod, c[3];

        must_run(f, "web", pod);
        must_start(f, pod, "one", c[0]);
        must_start(f, pod, "two", c[1]);
        must_create(f, pod, "three", c[2]);
        assert_code(0, ask_remove_pod(f, pod));
        assert_nothing_left(f);
}

static void a_running_container_may_be_removed(void **state)
{
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        assert_code(0, ask_remove(f, c));
        assert_int_equal(container_state(f, c), -1);
        assert_consistent(f);
}

static void a_container_starts_once(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatusResponse *reply;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        assert_code(CRINGLE_E_PRECONDITION, ask_start(f, c));
        assert_contains(flow_err.text, "is running");
        assert_int_equal(container_state(f, c), RUNNING);
        fake_exit(pod, c, 5);
        wait_for_state(f, c, EXITED);
        assert_code(CRINGLE_E_PRECONDITION, ask_start(f, c));
        assert_contains(flow_err.text, "exited");
        assert_code(0, ask_container_status(f, c, false, &reply));
        assert_int_equal(reply->status->exit_code, 5);
        assert_string_equal(reply->status->reason, "Error");
        reply_free(reply);
}

static void a_stopped_pod_takes_no_containers(void **state)
{
        struct flow *f = *state;
        struct container_ask a;
        id_text pod, c;

        must_run(f, "web", pod);
        assert_code(0, ask_stop_pod(f, pod));
        container_ask(&a, pod, "main");
        assert_code(CRINGLE_E_PRECONDITION, ask_create(f, &a, c));
        container_ask(&a, "nobody", "main");
        assert_code(CRINGLE_E_NOT_FOUND, ask_create(f, &a, c));
}

static void a_stopped_pod_gives_its_name_back(void **state)
{
        struct flow *f = *state;
        id_text first, second;

        must_run(f, "web", first);
        assert_code(0, ask_stop_pod(f, first));
        must_run(f, "web", second);
        assert_string_not_equal(first, second);
        assert_int_equal(pod_state(f, first), NOTREADY);
        assert_code(0, ask_remove_pod(f, first));
        assert_int_equal(pod_state(f, second), READY);
        assert_consistent(f);
}

static void requests_that_make_no_sense_are_refused(void **state)
{
        struct flow *f = *state;
        struct container_ask c;
        struct pod_ask a;
        id_text pod, id;

        pod_ask(&a, "");
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        pod_ask(&a, "web");
        a.config.metadata = NULL;
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        pod_ask(&a, "web");
        a.request.runtime_handler = (char *) "other";
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        assert_contains(flow_err.text, "other");
        pod_ask(&a, "web");
        a.config.hostname = (char *) "two\nlines";
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        pod_ask(&a, "web");
        a.spaces.pid = CRI__NAMESPACE_MODE__TARGET;
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        pod_ask(&a, "web");
        a.config.log_directory = (char *) "/var/../log";
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        assert_nothing_left(f);

        must_run(f, "web", pod);
        container_ask(&c, pod, "");
        assert_code(CRINGLE_E_INVALID, ask_create(f, &c, id));
        container_ask(&c, pod, "main");
        c.image.image = (char *) "";
        assert_code(CRINGLE_E_INVALID, ask_create(f, &c, id));
        c.image.image = (char *) "nowhere/nothing:1";
        assert_code(CRINGLE_E_NOT_FOUND, ask_create(f, &c, id));
        assert_contains(flow_err.text, "nowhere/nothing:1");
        container_ask(&c, pod, "main");
        c.image.runtime_handler = (char *) "other";
        assert_code(CRINGLE_E_INVALID, ask_create(f, &c, id));
        assert_contains(flow_err.text, "other");
        container_ask(&c, pod, "main");
        c.config.stop_signal = 99;
        assert_code(CRINGLE_E_INVALID, ask_create(f, &c, id));
        assert_contains(flow_err.text, "stop_signal 99");
        assert_consistent(f);
}

static void ports_are_numbers_of_ports(void **state)
{
        struct flow *f = *state;
        Cri__PortMapping port = CRI__PORT_MAPPING__INIT, *list = &port;
        struct pod_ask a;
        id_text pod;

        pod_ask(&a, "web");
        a.config.port_mappings = &list;
        a.config.n_port_mappings = 1;
        port.host_port = 70000;
        port.container_port = 80;
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        assert_contains(flow_err.text, "70000:80");
        port.host_port = 8080;
        port.container_port = 0;
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        port.container_port = 80;
        port.protocol = 3;
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        assert_contains(flow_err.text, "protocol 3");
        port.protocol = CRI__PROTOCOL__SCTP;
        port.host_ip = (char *) "localhost";
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
        assert_contains(flow_err.text, "'localhost'");
        assert_nothing_left(f);

        /* What is not for the host is nobody's affair. */
        port.host_port = 0;
        assert_code(0, ask_run(f, &a, pod));
        remove_all(f);
        port.host_port = 8080;
        port.host_ip = (char *) "::1";
        assert_code(0, ask_run(f, &a, pod));
        remove_all(f);
}

/* What the kubelet limits is theirs, and not the monitor's, which has to outlive it. */
static void containers_are_below_the_parent_that_was_asked_for_and_the_monitor_is_not(void **state)
{
        struct flow *f = *state;
        auto_free char *left = NULL;
        struct pod_ask a;
        char mine[200], monitors[200];
        id_text pod, id;

        pod_ask(&a, "web");
        a.linux.cgroup_parent = (char *) "/kubepods/pod1";
        assert_code(0, ask_run(f, &a, pod));
        must_start(f, pod, "main", id);
        left = fake_left();
        snprintf(mine, sizeof mine, "/kubepods/pod1/%s", id);
        snprintf(monitors, sizeof monitors, "/cringle/monitor-%s", pod);
        assert_contains(left, mine);
        assert_contains(left, monitors);
        remove_all(f);
}

static void an_image_is_told_by_the_digest_of_its_name(void **state)
{
        static const struct {
                const char *asked, *told;
        } cases[] = {
                { "flow", FLOW_IMAGE_DIGEST },
                { FLOW_IMAGE_DIGEST, FLOW_IMAGE_DIGEST },
                { FLOW_IMAGE_MIRROR, FLOW_IMAGE_MIRROR },
                { FLOW_IMAGE_ID, FLOW_IMAGE_MIRROR },   /* the first there is */
        };
        struct flow *f = *state;
        Cri__ContainerStatusResponse *reply;
        Cri__ListContainersResponse *list;
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        struct container_ask c;
        id_text pod, id;

        must_run(f, "web", pod);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                container_ask(&c, pod, "main");
                c.metadata.attempt = (uint32_t) i;
                c.image.image = (char *) cases[i].asked;
                assert_code(0, ask_create(f, &c, id));
                assert_code(0, ask_container_status(f, id, false, &reply));
                assert_string_equal(reply->status->image_ref, cases[i].told);
                assert_string_equal(reply->status->image_id, FLOW_IMAGE_ID);
                reply_free(reply);
                filter.id = id;
                assert_code(0, ask_containers(f, &filter, &list));
                assert_string_equal(list->containers[0]->image_ref, FLOW_IMAGE_ID);
                assert_string_equal(list->containers[0]->image_id, FLOW_IMAGE_ID);
                reply_free(list);
        }
}

static void an_image_asked_for_by_its_id_is_told_as_the_user_wrote_it(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatusResponse *reply;
        struct container_ask c;
        id_text pod, id;

        must_run(f, "web", pod);
        container_ask(&c, pod, "main");
        c.image.image = (char *) FLOW_IMAGE_ID;
        c.image.user_specified_image = (char *) "flow";
        assert_code(0, ask_create(f, &c, id));
        assert_code(0, ask_container_status(f, id, false, &reply));
        assert_string_equal(reply->status->image->image, "flow");
        assert_string_equal(reply->status->image_id, FLOW_IMAGE_ID);
        reply_free(reply);
        assert_consistent(f);
}

/* --- joins, deadlines, cancelling --- */

static void many_that_ask_for_one_thing_get_one_thing(void **state)
{
        struct flow *f = *state;
        struct run_thread t[8];
        struct container_ask c;
        struct pod_ask a;

        pod_ask(&a, "web");
        for (int round = 0; round < 2; round++) {
                fake_hang(round == 0 ? "network.attach" : "executor.create");
                for (int i = 0; i < 8; i++) {
                        t[i] = (struct run_thread) { .f = f, .pod = round ? NULL : &a, .container = round ? &c : NULL };
                        run_begin(&t[i]);
                }
                assert_true(fake_hangs());
                usleep(20000);
                fake_hang(NULL);
                for (int i = 0; i < 8; i++) {
                        run_end(&t[i]);
                        assert_int_equal(t[i].code, 0);
                        assert_string_equal(t[i].id, t[0].id);
                }
                assert_int_equal(fake_alive(round ? "container" : "pod"), 1);
                if (round == 0) {
                        a.request.config = &a.config;
                        container_ask(&c, strdup(t[0].id), "main");
                }
        }
        assert_consistent(f);
        free(c.request.pod_sandbox_id);
}

struct variable_thread {
        struct flow *f;
        const char *pod;
        int first, n;
        id_text ids[100];
        int code;
        struct cringle_err err;
        pthread_t thread;
};

static void *create_with_variables(void *data)
{
        struct variable_thread *t = data;

        for (int i = 0; i < t->n && t->code == 0; i++) {
                char name[20], key[40], value[40];
                Cri__KeyValue pair = CRI__KEY_VALUE__INIT, *list = &pair;
                struct container_ask c;

                snprintf(name, sizeof name, "c%d", t->first + i);
                snprintf(key, sizeof key, "MINE_%d", t->first + i);
                snprintf(value, sizeof value, "secret-%d-", t->first + i);
                container_ask(&c, t->pod, name);
                pair.key = key;
                pair.value = (ProtobufCBinaryData) { strlen(value), (uint8_t *) value };
                c.config.envs = &list;
                c.config.n_envs = 1;
                t->code = ask_create(t->f, &c, t->ids[i]);
                t->err = flow_err;
        }
        return NULL;
}

/* Five hundred of one image, ten at a time. */
static void no_variable_of_one_reaches_another(void **state)
{
        struct flow *f = *state;
        auto_free struct variable_thread *threads = calloc(10, sizeof *threads);
        id_text pod;

        must_run(f, "web", pod);
        for (int i = 0; i < 10; i++) {
                threads[i] = (struct variable_thread) { .f = f, .pod = pod, .first = i * 50, .n = 50 };
                assert_int_equal(pthread_create(&threads[i].thread, NULL, create_with_variables, &threads[i]), 0);
        }
        for (int i = 0; i < 10; i++)
                pthread_join(threads[i].thread, NULL);
        for (int i = 0; i < 10; i++)
                for (int k = 0; k < threads[i].n; k++) {
                        Cri__ContainerStatusResponse *reply;
                        char want[80];
                        const char *at;

                        assert_ok(threads[i].code ? -1 : 0, &threads[i].err);
                        assert_code(0, ask_container_status(f, threads[i].ids[k], true, &reply));
                        snprintf(want, sizeof want, "MINE_%d=secret-%d-", threads[i].first + k, threads[i].first + k);
                        at = strstr(reply->info[0]->value, want);
                        assert_non_null(at);
                        assert_null(strstr(at + 1, "MINE_"));
                        assert_ptr_equal(strstr(reply->info[0]->value, "secret-"), strstr(at, "secret-"));
                        reply_free(reply);
                }
        remove_all(f);
        assert_nothing_left(f);
}

/* The agent's own answer comes a little before our deadline, which it may miss on a busy machine: then once more. */
#define assert_told(asking, words)                                                      \
        do {                                                                            \
                int tries_ = 0;                                                         \
                                                                                        \
                do                                                                      \
                        assert_code(CRINGLE_E_DEADLINE, (asking));                      \
                while (!strstr(flow_err.text, (words)) && ++tries_ < 20);               \
                assert_contains(flow_err.text, (words));                                \
        } while (0)

static void one_who_waits_no_longer_is_told_the_step_and_the_next_gets_the_id(void **state)
{
        struct flow *f = *state;
        struct container_ask c;
        struct pod_ask a;
        struct run_thread runs = { .f = f, .pod = &a }, creates = { .f = f, .container = &c };
        id_text pod, id;

        pod_ask(&a, "web");
        fake_hang("network.attach");
        run_begin(&runs);
        assert_true(fake_hangs());
        flow_patience = 400 * NSEC_PER_MSEC;
        for (int i = 0; i < 2; i++) {
                assert_told(ask_run(f, &a, pod), "'attach network'");
                assert_contains(flow_err.text, "run pod");
        }
        assert_int_equal(fake_alive("pod"), 1);
        flow_patience = 30 * NSEC_PER_SEC;
        fake_hang(NULL);
        assert_code(0, ask_run(f, &a, pod));
        run_end(&runs);
        assert_string_equal(runs.id, pod);

        container_ask(&c, pod, "main");
        fake_hang("executor.create");
        run_begin(&creates);
        assert_true(fake_hangs());
        flow_patience = 400 * NSEC_PER_MSEC;
        assert_told(ask_create(f, &c, id), "'create process'");
        flow_patience = 30 * NSEC_PER_SEC;
        fake_hang(NULL);
        assert_code(0, ask_create(f, &c, id));
        run_end(&creates);
        assert_string_equal(creates.id, id);
        assert_int_equal(fake_alive("container"), 1);
        assert_consistent(f);
}

static void the_same_again_is_the_same_and_another_under_its_name_is_refused(void **state)
{
        struct flow *f = *state;
        struct container_ask c;
        struct pod_ask a;
        id_text pod, again, id;

        pod_ask(&a, "web");
        assert_code(0, ask_run(f, &a, pod));
        assert_code(0, ask_run(f, &a, again));
        assert_string_equal(pod, again);
        a.config.hostname = (char *) "other";
        assert_code(CRINGLE_E_EXISTS, ask_run(f, &a, again));
        assert_contains(flow_err.text, pod);
        a.metadata.attempt = 1;
        assert_code(0, ask_run(f, &a, again));
        assert_string_not_equal(pod, again);

        container_ask(&c, pod, "main");
        assert_code(0, ask_create(f, &c, id));
        assert_code(0, ask_create(f, &c, again));
        assert_string_equal(id, again);
        c.config.working_dir = (char *) "/elsewhere";
        assert_code(CRINGLE_E_EXISTS, ask_create(f, &c, again));
        assert_contains(flow_err.text, id);
        c.metadata.attempt = 1;
        assert_code(0, ask_create(f, &c, again));
        assert_consistent(f);
}

/* --- lists and status --- */

static size_t count_pods(struct flow *f, Cri__PodSandboxFilter *filter)
{
        Cri__ListPodSandboxResponse *list;
        size_t n;

        assert_code(0, ask_pods(f, filter, &list));
        n = list->n_items;
        reply_free(list);
        return n;
}

static size_t count_containers(struct flow *f, Cri__ContainerFilter *filter)
{
        Cri__ListContainersResponse *list;
        size_t n;

        assert_code(0, ask_containers(f, filter, &list));
        n = list->n_containers;
        reply_free(list);
        return n;
}

static void lists_show_what_fits_all_of_the_filter(void **state)
{
        struct flow *f = *state;
        Cri__PodSandboxFilter pods = CRI__POD_SANDBOX_FILTER__INIT;
        Cri__ContainerFilter containers = CRI__CONTAINER_FILTER__INIT;
        Cri__PodSandboxStateValue ready = CRI__POD_SANDBOX_STATE_VALUE__INIT;
        Cri__ContainerStateValue running = CRI__CONTAINER_STATE_VALUE__INIT;
        Cri__Pair blue = CRI__PAIR__INIT, *selector = &blue;
        struct container_ask ca;
        struct pod_ask a;
        id_text pod[2], c[2], prefix;

        for (int i = 0; i < 2; i++) {
                pod_ask(&a, i ? "two" : "one");
                a.pairs[0].key = (char *) "colour";
                a.pairs[0].value = (char *) (i ? "blue" : "red");
                a.labels[0] = &a.pairs[0];
                a.config.n_labels = 1;
                a.config.labels = a.labels;
                assert_code(0, ask_run(f, &a, pod[i]));
                container_ask(&ca, pod[i], "main");
                ca.pairs[0] = a.pairs[0];
                ca.labels[0] = &ca.pairs[0];
                ca.config.n_labels = 1;
                ca.config.labels = ca.labels;
                assert_code(0, ask_create(f, &ca, c[i]));
        }
        assert_code(0, ask_start(f, c[1]));
        assert_code(0, ask_stop_pod(f, pod[0]));

        blue.key = (char *) "colour";
        blue.value = (char *) "blue";
        ready.state = READY;
        running.state = RUNNING;
        assert_int_equal(count_pods(f, NULL), 2);
        pods.state = &ready;
        assert_int_equal(count_pods(f, &pods), 1);
        pods.n_label_selector = 1;
        pods.label_selector = &selector;
        assert_int_equal(count_pods(f, &pods), 1);
        pods.id = pod[0];
        assert_int_equal(count_pods(f, &pods), 0);
        snprintf(prefix, sizeof prefix, "%.13s", pod[1]);
        pods.id = prefix;
        assert_int_equal(count_pods(f, &pods), 1);

        assert_int_equal(count_containers(f, NULL), 2);
        containers.state = &running;
        assert_int_equal(count_containers(f, &containers), 1);
        containers.pod_sandbox_id = pod[0];
        assert_int_equal(count_containers(f, &containers), 0);
        containers.state = NULL;
        assert_int_equal(count_containers(f, &containers), 1);
        containers.n_label_selector = 1;
        containers.label_selector = &selector;
        assert_int_equal(count_containers(f, &containers), 0);
        containers.pod_sandbox_id = (char *) "";
        containers.id = c[1];
        assert_int_equal(count_containers(f, &containers), 1);
}

static void an_id_may_be_cut_short(void **state)
{
        struct flow *f = *state;
        id_text pod, c, prefix;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        snprintf(prefix, sizeof prefix, "%.12s", c);
        assert_int_equal(container_state(f, prefix), RUNNING);
        assert_code(0, ask_stop(f, prefix, 0));
        assert_code(0, ask_remove(f, prefix));
        snprintf(prefix, sizeof prefix, "%.12s", pod);
        assert_int_equal(pod_state(f, prefix), READY);
        assert_code(0, ask_remove_pod(f, prefix));
        assert_nothing_left(f);
        assert_int_equal(pod_state(f, ""), -1);
}

/* Among seventeen ids two begin alike. */
static void an_id_cut_too_short_names_nobody(void **state)
{
        struct flow *f = *state;
        id_text pod[17], c[17], prefix;
        char name[8];

        for (int i = 0; i < 17; i++) {
                snprintf(name, sizeof name, "n%d", i);
                must_run(f, name, pod[i]);
                must_create(f, pod[0], name, c[i]);
        }
        for (int kind = 0; kind < 2; kind++) {
                id_text *ids = kind ? c : pod;
                int several = 0;

                for (int i = 0; i < 17; i++)
                        for (int k = 0; k < i; k++)
                                if (ids[i][0] == ids[k][0])
                                        several = i;
                snprintf(prefix, sizeof prefix, "%.1s", ids[several]);
                assert_code(CRINGLE_E_INVALID, kind ? ask_stop(f, prefix, 0) : ask_stop_pod(f, prefix));
                assert_contains(flow_err.text, "more than one");
                assert_code(CRINGLE_E_INVALID, kind ? ask_remove(f, prefix) : ask_remove_pod(f, prefix));
                assert_code(CRINGLE_E_INVALID, kind ? ask_container_status(f, prefix, false, NULL)
                                                    : ask_pod_status(f, prefix, false, NULL));
        }
        assert_int_equal(count_pods(f, NULL), 17);
        assert_int_equal(count_containers(f, NULL), 17);
}

static void a_process_that_dies_while_its_container_is_made_makes_none(void **state)
{
        struct flow *f = *state;
        struct container_ask c;
        struct run_thread t = { .f = f, .container = &c };
        id_text pod, id, other;

        must_run(f, "web", pod);
        must_start(f, pod, "other", other);
        container_ask(&c, pod, "main");
        fake_hang("hook.container-created");
        run_begin(&t);
        assert_true(fake_hangs());
        id_of_call("hook.container-created", 2, id);
        fake_exit(pod, id, 9);
        fake_exit(pod, other, 0);               /* events come in order: when this is heard, so is the other */
        wait_for_state(f, other, EXITED);
        fake_hang(NULL);
        run_end(&t);
        assert_int_equal(t.code, CRINGLE_E_ABORTED);
        assert_contains(t.err.text, "exit code 9");
        assert_int_equal(container_state(f, id), -1);
        assert_consistent(f);
        must_create(f, pod, "main", id);
}

static void labels_and_annotations_come_back_byte_for_byte(void **state)
{
        static const char *const texts[4] = { "z\xc3\xa4hler/\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\xaa\xa2 \"quoted\"\n\ttab\x01",
                                              "empty", "" };
        struct flow *f = *state;
        Cri__PodSandboxStatusResponse *pod_reply;
        Cri__ListPodSandboxResponse *list;
        Cri__ContainerStatusResponse *reply;
        struct container_ask ca;
        struct pod_ask a;
        id_text pod, c;

        pod_ask(&a, "web");
        for (int i = 0; i < 2; i++) {
                a.pairs[i].key = (char *) texts[2 * i];
                a.pairs[i].value = (char *) texts[2 * i + 1];
                a.labels[i] = a.annotations[i] = &a.pairs[i];
        }
        a.config.n_labels = a.config.n_annotations = 2;
        a.config.labels = a.labels;
        a.config.annotations = a.annotations;
        assert_code(0, ask_run(f, &a, pod));
        container_ask(&ca, pod, "main");
        ca.config.n_labels = ca.config.n_annotations = 2;
        ca.config.labels = a.labels;
        ca.config.annotations = a.annotations;
        assert_code(0, ask_create(f, &ca, c));

        for (int round = 0; round < 2; round++) {
                assert_code(0, ask_pod_status(f, pod, false, &pod_reply));
                assert_code(0, ask_pods(f, NULL, &list));
                assert_code(0, ask_container_status(f, c, false, &reply));
                assert_int_equal(pod_reply->status->n_labels, 2);
                assert_int_equal(list->items[0]->n_annotations, 2);
                assert_int_equal(reply->status->n_annotations, 2);
                for (int i = 0; i < 2; i++) {
                        assert_string_equal(pod_reply->status->labels[i]->key, texts[2 * i]);
                        assert_string_equal(pod_reply->status->labels[i]->value, texts[2 * i + 1]);
                        assert_string_equal(pod_reply->status->annotations[i]->value, texts[2 * i + 1]);
                        assert_string_equal(list->items[0]->annotations[i]->key, texts[2 * i]);
                        assert_string_equal(list->items[0]->labels[i]->value, texts[2 * i + 1]);
                        assert_string_equal(reply->status->labels[i]->key, texts[2 * i]);
                        assert_string_equal(reply->status->annotations[i]->value, texts[2 * i + 1]);
                }
                reply_free(pod_reply);
                reply_free(list);
                reply_free(reply);
                if (round == 0) {               /* and from the store */
                        flow_stop(f);
                        assert_ok(flow_start(f, NULL, &flow_err), &flow_err);
                }
        }
}

static void nobody_sees_a_pod_before_it_is_ready(void **state)
{
        struct flow *f = *state;
        struct run_thread t = { .f = f };
        struct pod_ask a;

        pod_ask(&a, "web");
        t.pod = &a;
        fake_hang("hook.pod-run");
        run_begin(&t);
        assert_true(fake_hangs());
        assert_int_equal(count_pods(f, NULL), 0);
        fake_hang(NULL);
        run_end(&t);
        assert_int_equal(count_pods(f, NULL), 1);
}

#define FLOW_TEST(test) cmocka_unit_test_setup_teardown(test, flow_setup, flow_teardown)

UNIT_MAIN(
        FLOW_TEST(a_pod_lives_from_run_to_remove),
        FLOW_TEST(steps_come_in_their_order),
        FLOW_TEST(a_container_that_ends_by_itself_says_how),
        FLOW_TEST(a_hook_adjusts_what_the_container_is_started_with),
        FLOW_TEST(exec_keeps_so_much_of_each_stream_and_drops_the_rest),
        FLOW_TEST(exec_does_not_wait_for_who_still_holds_its_streams),
        FLOW_TEST(exec_past_its_time_is_deadline_exceeded),
        FLOW_TEST(exec_needs_a_running_container_and_a_command),
        FLOW_TEST(a_lost_monitor_ends_containers_and_execs_and_makes_the_pod_not_ready),
        FLOW_TEST(what_is_not_there_stops_and_goes_with_success),
        FLOW_TEST(stopping_and_removing_twice_is_once),
        FLOW_TEST(removing_a_pod_takes_all_that_runs_in_it),
        FLOW_TEST(a_running_container_may_be_removed),
        FLOW_TEST(a_container_starts_once),
        FLOW_TEST(a_stopped_pod_takes_no_containers),
        FLOW_TEST(a_stopped_pod_gives_its_name_back),
        FLOW_TEST(requests_that_make_no_sense_are_refused),
        FLOW_TEST(ports_are_numbers_of_ports),
        FLOW_TEST(an_image_is_told_by_the_digest_of_its_name),
        FLOW_TEST(containers_are_below_the_parent_that_was_asked_for_and_the_monitor_is_not),
        FLOW_TEST(an_image_asked_for_by_its_id_is_told_as_the_user_wrote_it),
        FLOW_TEST(many_that_ask_for_one_thing_get_one_thing),
        FLOW_TEST(no_variable_of_one_reaches_another),
        FLOW_TEST(one_who_waits_no_longer_is_told_the_step_and_the_next_gets_the_id),
        FLOW_TEST(the_same_again_is_the_same_and_another_under_its_name_is_refused),
        FLOW_TEST(lists_show_what_fits_all_of_the_filter),
        FLOW_TEST(an_id_may_be_cut_short),
        FLOW_TEST(an_id_cut_too_short_names_nobody),
        FLOW_TEST(a_process_that_dies_while_its_container_is_made_makes_none),
        FLOW_TEST(labels_and_annotations_come_back_byte_for_byte),
        FLOW_TEST(nobody_sees_a_pod_before_it_is_ready))
