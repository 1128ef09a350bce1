/* A hook with `isolation: process` is like any other, and its crash or hang costs one call. */

#include "tests/support/unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "hooks/hooks.h"

static char *const dirs[] = { (char *) MODULES, NULL };

static Cri__Pair annotation = CRI__PAIR__INIT;
static Cri__Pair *annotations[] = { &annotation };
static Cri__PodSandboxMetadata pod_metadata = CRI__POD_SANDBOX_METADATA__INIT;
static Cri__PodSandboxConfig pod = CRI__POD_SANDBOX_CONFIG__INIT;
static Cri__ContainerMetadata container_metadata = CRI__CONTAINER_METADATA__INIT;
static Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
static Cri__ContainerConfig container = CRI__CONTAINER_CONFIG__INIT;

struct fixture {
        char *dir;
        struct config config;
        struct config_hook_plugin plugin;
        struct cringle_pair settings[2];
        struct host *host;
        struct hooks *hooks;
        struct json_object *spec;
        struct buf text;
        struct cringle_err err;
};

static int setup(void **state)
{
        struct host_options options = { .prober = PROBER };
        struct fixture *f = calloc(1, sizeof *f);

        f->err = (struct cringle_err) CRINGLE_ERR_INIT;
        f->dir = unit_make_dir();
        f->config.root = str_printf(NULL, "%s/root", f->dir);
        f->config.state = str_printf(NULL, "%s/state", f->dir);
        f->config.plugins.dirs = (char **) dirs;
        f->config.hooks.plugins = &f->plugin;
        f->config.hooks.n_plugins = 1;
        f->plugin = (struct config_hook_plugin) { .plugin = { .name = (char *) "troubled", .settings = f->settings },
                                                  .fail = true, .timeout = NSEC_PER_SEC / 2, .isolation = (char *) "process" };
        pod_metadata.name = (char *) "web";
        pod_metadata.namespace_ = (char *) "shop";
        pod.metadata = &pod_metadata;
        pod.annotations = annotations;
        container_metadata.name = (char *) "main";
        container.metadata = &container_metadata;
        image.image = (char *) "nginx:1";
        container.image = &image;
        annotation.key = (char *) "do";
        *state = f;
        assert_ok(host_new(&f->config, &options, &f->host, &f->err), &f->err);
        assert_ok(hooks_new(&f->config, f->host, &f->hooks, &f->err), &f->err);
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        json_object_put(f->spec);
        buf_done(&f->text);
        hooks_free(f->hooks);
        host_free(f->host);
        file_remove_tree(f->dir, NULL);
        free(f->config.root);
        free(f->config.state);
        free(f->dir);
        free(f);
        return 0;
}

/* Tell the hook to do @what; what came of it is in f->text. */
static int tell(struct fixture *f, const char *what)
{
        static const char spec[] = "{\"process\":{\"args\":[\"/bin/web\"],\"env\":[\"PATH=/bin\"]}}";
        struct hooks_subject subject = { .pod_id = "p1", .pod = &pod, .container_id = "c1", .container = &container,
                                         .bundle = f->dir };

        annotation.value = (char *) what;
        pod.n_annotations = what != NULL;
        json_object_put(f->spec);
        f->spec = NULL;
        assert_ok(json_parse(spec, strlen(spec), &f->spec, &f->err), &f->err);
        if (hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err) < 0)
                return -1;
        buf_done(&f->text);
        f->text = (struct buf) BUF_INIT;
        return json_write(f->spec, &f->text, &f->err);
}

static pid_t pid_of(struct fixture *f)
{
        const char *at;

        assert_ok(tell(f, "adjust"), &f->err);
        at = strstr(f->text.data, "PID=");
        assert_non_null(at);
        return (pid_t) strtol(at + 4, NULL, 10);
}

static void it_adjusts_from_its_own_process(void **state)
{
        struct fixture *f = *state;

        assert_int_not_equal(pid_of(f), getpid());
        assert_contains(f->text.data, "\"SEEN=first shop/web main nginx:1 /bin/web\"");
        assert_contains(f->text.data, "\"args\":[\"/bin/other\",\"an argument\"]");
        assert_contains(f->text.data, "\"mounts\":[]");
        assert_contains(f->text.data, "\"path\":\"/dev/nothing\"");
        assert_contains(f->text.data, "\"annotations\":{\"key\":\"value\"}");
        assert_contains(f->text.data, "\"soft\":5,\"hard\":18446744073709551615");
        assert_contains(f->text.data, "\"poststop\":[{\"path\":\"/bin/true\"");
        assert_contains(f->text.data, "\"timeout\":7");
        assert_ok(tell(f, NULL), &f->err);
}

static void its_refusal_is_told_in_its_words(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(tell(f, "refuse"), -1);
        assert_string_equal(f->err.text, "hook at container create: troubled: not this one");
        assert_int_equal(f->err.code, CRINGLE_E_DENIED);
        assert_int_equal(tell(f, "nonsense"), -1);
        assert_contains(f->err.text, "NULL where a value is needed");
}

static void a_crash_costs_one_call(void **state)
{
        struct fixture *f = *state;
        pid_t first = pid_of(f), second;

        assert_int_equal(tell(f, "crash"), -1);
        assert_contains(f->err.text, "troubled: its process has ended: killed by signal 6");
        second = pid_of(f);
        assert_int_not_equal(first, second);
        assert_int_equal(tell(f, "exit"), -1);
        assert_contains(f->err.text, "its process has ended: exit status 3");
        assert_int_not_equal(second, pid_of(f));
}

static void a_hang_costs_its_time_limit(void **state)
{
        struct fixture *f = *state;
        int64_t begun = clock_monotonic();
        pid_t first = pid_of(f);

        assert_int_equal(tell(f, "hang"), -1);
        assert_contains(f->err.text, "its process does not answer and was killed");
        assert_true(clock_monotonic() - begun < 10 * NSEC_PER_SEC);
        assert_int_equal(kill(first, 0), -1);
        assert_ok(tell(f, "adjust"), &f->err);
}

static void one_that_spins_or_never_stops_talking_costs_its_time_limit(void **state)
{
        static const char *const faults[] = { "spin", "flood" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
                int64_t begun = clock_monotonic();

                assert_int_equal(tell(f, faults[i]), -1);
                assert_contains(f->err.text, "its process does not answer and was killed");
                assert_true(clock_monotonic() - begun < 20 * NSEC_PER_SEC);
                assert_ok(tell(f, "adjust"), &f->err);
        }
}

static void one_that_talks_wildly_costs_one_call(void **state)
{
        static const char *const faults[] = { "garbage", "deaf" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
                assert_int_equal(tell(f, faults[i]), -1);
                assert_ok(tell(f, "adjust"), &f->err);
        }
}

static void adjustments_that_make_no_sense_are_refused(void **state)
{
        static const char *const why[] = {
                "NULL where a value is needed", "'A=B'", "not clean absolute paths", "/etc is not a device", "empty arguments",
                "soft limit 9 is above the hard one", "unknown stage 'sometime'", "no absolute path, or a negative time limit",
                "no mount at /nowhere", "not VENDOR/CLASS=NAME",
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof why / sizeof *why; i++) {
                auto_free char *what = str_printf(NULL, "nonsense%zu", i);

                assert_int_equal(tell(f, what), -1);
                assert_contains(f->err.text, why[i]);
        }
}

static void one_that_ended_between_two_calls_costs_neither(void **state)
{
        struct fixture *f = *state;
        pid_t pid = pid_of(f);
        siginfo_t info;

        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT), 0);
        assert_int_not_equal(pid_of(f), pid);
}

static void a_new_process_has_the_newest_settings(void **state)
{
        struct fixture *f = *state;
        auto_buf live = BUF_INIT, restart = BUF_INIT;

        f->settings[0] = (struct cringle_pair) { "word", "second" };
        assert_ok(host_reload(f->host, &f->config, &live, &restart, &f->err), &f->err);
        assert_contains(live.data, "troubled: new settings");
        assert_int_equal(tell(f, "crash"), -1);
        assert_ok(tell(f, "adjust"), &f->err);
        assert_contains(f->text.data, "SEEN=second ");

        f->settings[0].value = "bad";
        assert_int_equal(host_reload(f->host, &f->config, &live, &restart, &f->err), -1);
        assert_contains(f->err.text, "a bad word");
        assert_ok(tell(f, "adjust"), &f->err);
        assert_contains(f->text.data, "SEEN=second ");
}

static void it_does_not_outlive_the_host(void **state)
{
        struct fixture *f = *state;
        pid_t pid = pid_of(f);

        f->hooks = hooks_free(f->hooks);
        f->host = host_free(f->host);
        assert_int_equal(kill(pid, 0), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(it_adjusts_from_its_own_process),
        TEST(its_refusal_is_told_in_its_words),
        TEST(a_crash_costs_one_call),
        TEST(a_hang_costs_its_time_limit),
        TEST(one_that_spins_or_never_stops_talking_costs_its_time_limit),
        TEST(one_that_talks_wildly_costs_one_call),
        TEST(adjustments_that_make_no_sense_are_refused),
        TEST(one_that_ended_between_two_calls_costs_neither),
        TEST(a_new_process_has_the_newest_settings),
        TEST(it_does_not_outlive_the_host))
