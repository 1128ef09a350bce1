/*
 * An agent may end at any moment, and the next one makes true what is in the store:
 * what lives is adopted, what was being made is undone, what was being taken away goes.
 *
 * The agent that dies is a forked child; the record of the fake plugins outlives it,
 * as the kernel would.
 */

#include "tests/flow/flow.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/file.h"

#define READY CRI__POD_SANDBOX_STATE__SANDBOX_READY
#define NOTREADY CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY
#define CREATED CRI__CONTAINER_STATE__CONTAINER_CREATED
#define RUNNING CRI__CONTAINER_STATE__CONTAINER_RUNNING
#define EXITED CRI__CONTAINER_STATE__CONTAINER_EXITED

static void start(struct flow *f, const char *boot_id)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(flow_start(f, boot_id, &err), &err);
}

static void restart(struct flow *f, const char *boot_id)
{
        flow_stop(f);
        start(f, boot_id);
}

/* --- at rest --- */

static void what_runs_is_adopted(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatusResponse *before, *after;
        id_text pod, c, created, again;
        struct container_ask ca;
        struct pod_ask a;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        must_create(f, pod, "second", created);
        assert_code(0, ask_container_status(f, c, false, &before));
        restart(f, NULL);
        assert_int_equal(pod_state(f, pod), READY);
        assert_int_equal(container_state(f, created), CREATED);
        assert_code(0, ask_container_status(f, c, false, &after));
        assert_int_equal(after->status->state, RUNNING);
        assert_int_equal(after->status->created_at, before->status->created_at);
        assert_int_equal(after->status->started_at, before->status->started_at);
        assert_string_equal(after->status->image_ref, FLOW_IMAGE_DIGEST);
        reply_free(before);
        reply_free(after);

        /* Retries find what their first try has made. */
        pod_ask(&a, "web");
        assert_code(0, ask_run(f, &a, again));
        assert_string_equal(again, pod);
        container_ask(&ca, pod, "main");
        assert_code(0, ask_create(f, &ca, again));
        assert_string_equal(again, c);

        /* And its life goes on. */
        assert_code(0, ask_start(f, created));
        fake_exit(pod, created, 4);
        wait_for_state(f, created, EXITED);
        assert_code(0, ask_stop(f, c, 30));
        assert_int_equal(container_exit_code(f, c), 143);
        remove_all(f);
        assert_nothing_left(f);
}

static void the_images_user_is_the_same_after_a_restart(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatusResponse *reply;
        id_text pod, ids[2];

        must_run(f, "web", pod);
        must_create(f, pod, "before", ids[0]);
        restart(f, NULL);
        must_create(f, pod, "after", ids[1]);
        for (int i = 0; i < 2; i++) {
                assert_code(0, ask_container_status(f, ids[i], true, &reply));
                assert_contains(reply->info[0]->value, "\"user\":{\"uid\":7,");
                reply_free(reply);
        }
        remove_all(f);
}

static void what_a_checkpoint_has_left_goes(void **state)
{
        struct flow *f = *state;
        auto_free char *left = NULL;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        left = str_printf(NULL, "%s/pods/%s/%s/checkpoint/checkpoint", f->config.root, pod, c);
        flow_stop(f);
        assert_ok(file_make_dirs(left, 0700, &flow_err), &flow_err);
        start(f, NULL);
        *strrchr(left, '/') = '\0';
        assert_false(file_exists(left));
        assert_int_equal(container_state(f, c), RUNNING);
        remove_all(f);
        assert_nothing_left(f);
}

static void what_ended_meanwhile_has_its_exit_code(void **state)
{
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        flow_stop(f);
        fake_exit(pod, c, 9);
        start(f, NULL);
        assert_int_equal(container_state(f, c), EXITED);
        assert_int_equal(container_exit_code(f, c), 9);
        restart(f, NULL);
        assert_int_equal(container_exit_code(f, c), 9);
        assert_int_equal(pod_state(f, pod), READY);
        remove_all(f);
        assert_nothing_left(f);
}

static void a_pod_whose_monitor_died_meanwhile_is_not_ready(void **state)
{
        struct flow *f = *state;
        id_text pod, c, next;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        flow_stop(f);
        fake_lose(pod);
        start(f, NULL);
        assert_int_equal(pod_state(f, pod), NOTREADY);
        assert_int_equal(container_state(f, c), EXITED);
        flow_settle(f);
        assert_int_equal(fake_alive("attachment"), 0);
        must_run(f, "web", next);
        remove_all(f);
        assert_nothing_left(f);
}

/* A pod without a cgroup parent of its own, with a container. */
static void must_run_below_the_default(struct flow *f, const char *name, id_text pod, id_text c)
{
        struct pod_ask a;

        pod_ask(&a, name);
        a.linux.cgroup_parent = NULL;
        assert_code(0, ask_run(f, &a, pod));
        must_start(f, pod, "main", c);
}

static void assert_called(const char *call, const char *id, const char *parent)
{
        auto_free char *calls = fake_calls(), *line = str_printf(NULL, "%s %s/%s\n", call, parent, id);

        assert_contains(calls, line);
}

static void pods_keep_their_cgroups_when_the_configuration_has_others(void **state)
{
        struct flow *f = *state;
        id_text early, late, c, d;

        must_run_below_the_default(f, "early", early, c);
        flow_stop(f);
        f->config.cgroups.default_parent = (char *) "/other";
        f->config.cgroups.monitor_parent = (char *) "/monitors";
        start(f, NULL);
        must_run_below_the_default(f, "late", late, d);
        assert_called("cgroup.create", d, "/other");
        remove_all(f);
        assert_called("cgroup.destroy", c, "");
        assert_nothing_left(f);
}

static void a_reload_moves_no_pod_that_is_there(void **state)
{
        struct flow *f = *state;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct policy *fresh;
        id_text early, late, c, d;

        must_run_below_the_default(f, "early", early, c);
        f->config.cgroups.default_parent = (char *) "/other";
        assert_ok(pods_prepare(&f->config, &fresh, &err), &err);
        pods_take_over(f->pods, fresh);
        must_run_below_the_default(f, "late", late, d);
        assert_called("cgroup.create", d, "/other");
        remove_all(f);
        assert_called("cgroup.destroy", c, "");
        assert_nothing_left(f);
}

static void a_driver_that_would_look_elsewhere_is_refused_while_there_are_pods(void **state)
{
        struct flow *f = *state;
        struct cringle_err err = CRINGLE_ERR_INIT;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        flow_stop(f);
        fake_move_cgroups("/elsewhere");
        assert_int_equal(flow_start(f, NULL, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_PRECONDITION);
        assert_contains(err.text, "pod default/web has its cgroups at /cringle/monitor-");
        assert_contains(err.text, "now it says /elsewhere/cringle/monitor-");

        fake_move_cgroups("");
        start(f, NULL);
        assert_int_equal(container_state(f, c), RUNNING);

        /* After a reboot there is nothing to look for. */
        flow_stop(f);
        fake_reboot();
        fake_move_cgroups("/elsewhere");
        start(f, "the second boot");
        remove_all(f);
        assert_nothing_left(f);
        fake_move_cgroups("");
}

static void stopped_pods_are_listed_and_hold_no_name(void **state)
{
        struct flow *f = *state;
        id_text old[4], live, again;
        struct pod_ask a;

        for (int i = 0; i < 4; i++) {
                must_run(f, "web", old[i]);
                assert_code(0, ask_stop_pod(f, old[i]));
        }
        must_run(f, "web", live);
        restart(f, NULL);
        for (int i = 0; i < 4; i++)
                assert_int_equal(pod_state(f, old[i]), NOTREADY);
        pod_ask(&a, "web");
        assert_code(0, ask_run(f, &a, again));
        assert_string_equal(again, live);
        assert_consistent(f);
        remove_all(f);
        assert_nothing_left(f);
}

/* --- a reboot --- */

static void a_reboot_ends_all_and_gives_addresses_and_names_back(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatusResponse *reply;
        id_text pod, c, next;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        flow_stop(f);
        fake_reboot();
        assert_ok(file_remove_tree(f->config.state, &flow_err), &flow_err);
        assert_ok(file_make_dirs(f->config.state, 0700, &flow_err), &flow_err);
        start(f, "the second boot");
        assert_int_equal(pod_state(f, pod), NOTREADY);
        assert_code(0, ask_container_status(f, c, false, &reply));
        assert_int_equal(reply->status->state, EXITED);
        assert_string_equal(reply->status->reason, "Unknown");
        assert_contains(reply->status->message, "rebooted");
        reply_free(reply);
        flow_settle(f);
        assert_int_equal(fake_alive("attachment"), 0);
        must_run(f, "web", next);
        remove_all(f);
        assert_nothing_left(f);
}

static void a_pod_of_an_earlier_boot_does_not_end_those_of_this_one(void **state)
{
        struct flow *f = *state;
        id_text old, pod, c;

        must_run(f, "old", old);
        assert_code(0, ask_stop_pod(f, old));
        restart(f, "the second boot");
        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        restart(f, "the second boot");
        assert_int_equal(pod_state(f, old), NOTREADY);
        assert_int_equal(pod_state(f, pod), READY);
        assert_int_equal(container_state(f, c), RUNNING);
        remove_all(f);
        assert_nothing_left(f);
}

/* --- death --- */

enum { LIVED = 0, DIED = 1 };

/* Let a child be the agent while @client asks; the agent, and the client with it, may die. */
static int live(struct flow *f, void (*client)(struct flow *f))
{
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0) {
                if (flow_start(f, NULL, &flow_err) < 0) {
                        print_error("%s\n", flow_err.text);
                        _exit(2);
                }
                client(f);
                flow_settle(f);
                _exit(0);
        }
        while (waitpid(child, &status, 0) < 0)
                assert_int_equal(errno, EINTR);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
                return DIED;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("the agent ended with status 0x%x", status);
        return LIVED;
}

/* No assertions here: a failure shows as a state that is wrong. */
static void run_create_start(struct flow *f)
{
        struct container_ask ca;
        struct pod_ask a;
        id_text pod, c;

        pod_ask(&a, "web");
        if (ask_run(f, &a, pod) != 0)
                return;
        container_ask(&ca, pod, "main");
        if (ask_create(f, &ca, c) == 0)
                ask_start(f, c);
}

static void whole_life(struct flow *f)
{
        Cri__ListContainersResponse *containers = NULL;
        Cri__ListPodSandboxResponse *pods = NULL;

        run_create_start(f);
        if (ask_containers(f, NULL, &containers) == 0 && containers->n_containers > 0) {
                ask_stop(f, containers->containers[0]->id, 30);
                ask_remove(f, containers->containers[0]->id);
        }
        if (ask_pods(f, NULL, &pods) == 0 && pods->n_items > 0) {
                ask_stop_pod(f, pods->items[0]->id);
                ask_remove_pod(f, pods->items[0]->id);
        }
        reply_free(containers);
        reply_free(pods);
}

/* A pod goes at once, with what runs in it. */
static void short_life(struct flow *f)
{
        Cri__ListPodSandboxResponse *pods = NULL;

        run_create_start(f);
        if (ask_pods(f, NULL, &pods) == 0 && pods->n_items > 0)
                ask_remove_pod(f, pods->items[0]->id);
        reply_free(pods);
}

/* What holds after the start that follows a death, wherever that was. */
static void assert_recovers(struct flow *f)
{
        struct container_ask ca;
        struct pod_ask a;
        id_text pod, c;

        start(f, NULL);
        assert_consistent(f);
        pod_ask(&a, "web");
        assert_code(0, ask_run(f, &a, pod));
        container_ask(&ca, pod, "main");
        assert_code(0, ask_create(f, &ca, c));
        if (container_state(f, c) == CREATED)
                assert_code(0, ask_start(f, c));
        assert_consistent(f);
        remove_all(f);
        assert_nothing_left(f);
        flow_stop(f);
}

static void die_everywhere(struct flow *f, void (*client)(struct flow *f))
{
        int deaths = 0;

        for (int done = 0; done <= 1; done++)
                for (int n = 1; n < 100; n++) {
                        int came;

                        fake_die_at(n, done);
                        came = live(f, client);
                        fake_die_at(0, false);
                        if (came == LIVED && !done)
                                break;
                        deaths += came == DIED;
                        assert_recovers(f);
                        if (done && n > 40)
                                break;
                }
        assert_true(deaths > 20);
}

static void an_agent_may_die_at_any_call_of_a_whole_life(void **state)
{
        die_everywhere(*state, whole_life);
}

static void an_agent_may_die_at_any_call_of_a_removal_with_all_in_it(void **state)
{
        die_everywhere(*state, short_life);
}

/* The one that undoes, or goes on, may die as well. */
static void an_agent_may_die_while_it_recovers(void **state)
{
        struct flow *f = *state;

        for (int first = 8; first <= 20; first += 4)
                for (int second = 1; second <= 12; second++) {
                        fake_die_at(first, true);
                        live(f, whole_life);
                        fake_die_at(second, false);
                        live(f, whole_life);
                        fake_die_at(0, false);
                        assert_recovers(f);
                }
}

#ifdef CRINGLE_TESTPOINTS

static char **points;                   /* each once, in the order in which they come */

static void note_points(const char *file)
{
        auto_buf text = BUF_INIT;
        char *line, *rest;

        assert_ok(file_read(file, 1 << 20, &text, &flow_err), &flow_err);
        rest = text.data;
        while ((line = strsep(&rest, "\n")))
                if (*line && !strv_has((const char *const *) points, line))
                        assert_ok(strv_add(&points, line, &flow_err), &flow_err);
}

/* Between the steps, too, where nothing but the store has changed. */
static void an_agent_may_die_before_and_after_every_step(void **state)
{
        struct flow *f = *state;
        auto_free char *file = str_printf(NULL, "%s/points", f->dir);

        setenv("CRINGLE_TESTPOINTS", file, 1);
        assert_int_equal(live(f, whole_life), LIVED);
        fake_fail("hook.container-created", 1);         /* and between undos */
        assert_int_equal(live(f, short_life), LIVED);
        fake_fail("hook.pod-run", 1);
        assert_int_equal(live(f, short_life), LIVED);
        unsetenv("CRINGLE_TESTPOINTS");
        note_points(file);
        assert_true(strv_count((const char *const *) points) > 50);

        for (size_t i = 0; points[i]; i++) {
                setenv("CRINGLE_KILL_AT", points[i], 1);
                if (strstr(points[i], ":undone"))
                        fake_fail(strstr(points[i], "run pod") ? "hook.pod-run" : "hook.container-created", 1);
                assert_int_equal(live(f, strstr(points[i], "remove pod:") ? short_life : whole_life), DIED);
                unsetenv("CRINGLE_KILL_AT");
                assert_recovers(f);
        }
        strv_free(steal(&points));
}

#endif

static void stop_with_grace(struct flow *f)
{
        Cri__ListContainersResponse *containers = NULL;

        run_create_start(f);
        fake_ignore_term(true);
        flow_patience = 100 * NSEC_PER_MSEC;
        if (ask_containers(f, NULL, &containers) == 0 && containers->n_containers == 1)
                ask_stop(f, containers->containers[0]->id, 600);
        kill(getpid(), SIGKILL);
}

static void a_grace_period_is_not_cut_short_by_a_restart(void **state)
{
        struct flow *f = *state;
        Cri__ListContainersResponse *containers;

        assert_int_equal(live(f, stop_with_grace), DIED);
        start(f, NULL);
        flow_settle(f);
        assert_code(0, ask_containers(f, NULL, &containers));
        assert_int_equal(containers->n_containers, 1);
        assert_int_equal(containers->containers[0]->state, RUNNING);
        assert_code(0, ask_stop(f, containers->containers[0]->id, 0));
        reply_free(containers);
        remove_all(f);
        assert_nothing_left(f);
}

/* --- a store that has been damaged, or is older than what is beside it --- */

static void what_a_pod_without_a_row_left_is_removed(void **state)
{
        struct flow *f = *state;
        auto_free char *lost_dir = NULL, *kept_file = NULL;
        id_text lost, kept, c;

        must_run(f, "lost", lost);
        must_start(f, lost, "main", c);
        lost_dir = str_printf(NULL, "%s/pods/%s", f->config.root, lost);
        must_run(f, "kept", kept);
        must_start(f, kept, "main", c);
        kept_file = str_printf(NULL, "%s/pods/%s/%s/config.json", f->config.root, kept, c);
        flow_settle(f);
        assert_true(file_exists(lost_dir));
        assert_ok(db_write(f->db, DB_FAST, &flow_err, "DELETE FROM containers WHERE pod = ?", "s", lost), &flow_err);
        assert_ok(db_write(f->db, DB_FAST, &flow_err, "DELETE FROM pods WHERE id = ?", "s", lost), &flow_err);
        restart(f, "another boot");
        assert_false(file_exists(lost_dir));
        assert_true(file_exists(kept_file));
        flow_settle(f);
        assert_int_equal(fake_alive("rootfs"), 1);
        assert_int_equal(fake_alive("attachment"), 0);
}

static void a_record_that_cannot_be_read_costs_nobody_else(void **state)
{
        struct flow *f = *state;
        id_text bad, good, c;

        must_run(f, "bad", bad);
        must_run(f, "good", good);
        must_start(f, good, "main", c);
        assert_ok(db_write(f->db, DB_FAST, &flow_err, "UPDATE pods SET request = 'nonsense' WHERE id = ?", "s", bad),
                  &flow_err);
        restart(f, NULL);
        assert_int_equal(pod_state(f, bad), -1);
        assert_int_equal(pod_state(f, good), READY);
        assert_int_equal(container_state(f, c), RUNNING);
}

static void a_container_without_a_pod_is_dropped(void **state)
{
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        must_start(f, pod, "main", c);
        flow_settle(f);
        assert_ok(db_write(f->db, DB_FAST, &flow_err, "DELETE FROM pods WHERE id = ?", "s", pod), &flow_err);
        restart(f, NULL);
        assert_int_equal(container_state(f, c), -1);
        assert_int_equal(rows(f, "containers"), 0);
        assert_int_equal(fake_alive("rootfs"), 0);
        assert_int_equal(fake_alive("attachment"), 0);
}

#define FLOW_TEST(test) cmocka_unit_test_setup_teardown(test, flow_setup, flow_teardown)
#define STOPPED_TEST(test) cmocka_unit_test_setup_teardown(test, flow_setup_stopped, flow_teardown)

UNIT_MAIN(
        FLOW_TEST(what_runs_is_adopted),
        FLOW_TEST(the_images_user_is_the_same_after_a_restart),
        FLOW_TEST(what_a_checkpoint_has_left_goes),
        FLOW_TEST(what_ended_meanwhile_has_its_exit_code),
        FLOW_TEST(a_pod_whose_monitor_died_meanwhile_is_not_ready),
        FLOW_TEST(pods_keep_their_cgroups_when_the_configuration_has_others),
        FLOW_TEST(a_reload_moves_no_pod_that_is_there),
        FLOW_TEST(a_driver_that_would_look_elsewhere_is_refused_while_there_are_pods),
        FLOW_TEST(stopped_pods_are_listed_and_hold_no_name),
        FLOW_TEST(a_reboot_ends_all_and_gives_addresses_and_names_back),
        FLOW_TEST(a_pod_of_an_earlier_boot_does_not_end_those_of_this_one),
        STOPPED_TEST(an_agent_may_die_at_any_call_of_a_whole_life),
        STOPPED_TEST(an_agent_may_die_at_any_call_of_a_removal_with_all_in_it),
        STOPPED_TEST(an_agent_may_die_while_it_recovers),
#ifdef CRINGLE_TESTPOINTS
        STOPPED_TEST(an_agent_may_die_before_and_after_every_step),
#endif
        STOPPED_TEST(a_grace_period_is_not_cut_short_by_a_restart),
        FLOW_TEST(what_a_pod_without_a_row_left_is_removed),
        FLOW_TEST(a_record_that_cannot_be_read_costs_nobody_else),
        FLOW_TEST(a_container_without_a_pod_is_dropped))
