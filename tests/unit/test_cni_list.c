/* Operations run the plugins in the specification's order, with exactly what it says. */

#include "tests/unit/test_cni.h"

#include "agent/base/clock.h"
#include "cni/list.h"

static struct cni_fixture fix;

static int setup(void **state)
{
        fixture_make(&fix);
        return 0;
}

static int teardown(void **state)
{
        fixture_drop(&fix);
        return 0;
}

#define DIRS ((const char *const *) fix.bin_dirs)

static struct cni_network *network(const char *version, const char *plugins)
{
        auto_free char *text = str_printf(NULL, "{\"name\":\"net\",\"cniVersion\":\"%s\",\"plugins\":%s}", version, plugins);
        struct cni_network *net = NULL;

        assert_ok(cni_network_parse(text, strlen(text), &net, unit_err()), unit_err());
        return net;
}

#define TWO "[{\"type\":\"first\"},{\"type\":\"second\"}]"

static struct cni_attachment *attachment(const struct cni_network *net, const char *capabilities)
{
        struct cni_attachment *a = NULL;
        static const char args[] = "[[\"IgnoreUnknown\",\"1\"],[\"K\",\"V\"]]";

        assert_ok(cni_attachment_new(net, "pod", "eth0", "/run/netns/x", &a, unit_err()), unit_err());
        assert_ok(json_parse(args, strlen(args), &a->args, unit_err()), unit_err());
        if (capabilities)
                assert_ok(json_parse(capabilities, strlen(capabilities), &a->capabilities, unit_err()), unit_err());
        return a;
}

static void add_goes_forward_and_hands_results_on(void **state)
{
        auto_of(cni_network) net = network("1.0.0", TWO);
        auto_of(cni_attachment) a = attachment(net, NULL);

        fixture_write(&fix, "first.ADD.do", GIVES_RESULT);
        fixture_write(&fix, "second.ADD.do", "sed 's/.*\"prevResult\":\\({.*}\\)}$/\\1/; s/10.9.0.5/10.9.0.6/' $at.in");
        assert_ok(cni_add(DIRS, net, a, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\nADD second\n");
        assert_null(strstr(fixture_read(&fix, "first.ADD.in"), "prevResult"));
        assert_contains(fixture_read(&fix, "second.ADD.in"), "\"prevResult\":{");
        assert_contains(fixture_read(&fix, "second.ADD.in"), "10.9.0.5");
        assert_contains(json_object_to_json_string_ext(a->result, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                        "10.9.0.6/24");
}

/* CVE-2020-14370 class: nothing of the agent's environment reaches a plugin. */
static void the_environment_is_exactly_the_documented_one(void **state)
{
        auto_of(cni_network) net = network("1.0.0", "[{\"type\":\"first\"}]");
        auto_of(cni_attachment) a = attachment(net, NULL);
        auto_free char *want = str_printf(NULL,
                "CNI_ARGS=IgnoreUnknown=1;K=V\nCNI_COMMAND=ADD\nCNI_CONTAINERID=pod\nCNI_IFNAME=eth0\n"
                "CNI_NETNS=/run/netns/x\nCNI_PATH=%s\n"
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", fix.bin_dirs[0]);

        setenv("CANARY", "1", 1);
        fixture_write(&fix, "first.ADD.do", "env | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=' | sort >$at.env; " GIVES_RESULT);
        assert_ok(cni_add(DIRS, net, a, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "first.ADD.env"), want);
}

static void a_plugin_gets_its_object_and_declared_capabilities(void **state)
{
        auto_of(cni_network) net = network("1.0.0",
                "[{\"type\":\"first\",\"capabilities\":{\"dns\":true,\"mac\":true,\"bandwidth\":false},\"big\":1.500,"
                "\"prevResult\":{},\"runtimeConfig\":{\"dns\":1},\"cni.dev/x\":1,\"extra\":{\"a\":[1,null]}}]");
        auto_of(cni_attachment) a = attachment(net, "{\"dns\":{\"servers\":[\"1.1.1.1\"]},\"bandwidth\":{},\"ips\":[]}");

        fixture_write(&fix, "first.ADD.do", GIVES_RESULT);
        assert_ok(cni_add(DIRS, net, a, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "first.ADD.in"),
                "{\"type\":\"first\",\"big\":1.500,\"extra\":{\"a\":[1,null]},\"name\":\"net\",\"cniVersion\":\"1.0.0\","
                "\"runtimeConfig\":{\"dns\":{\"servers\":[\"1.1.1.1\"]}}}");
}

static void the_first_failure_ends_add(void **state)
{
        auto_of(cni_network) net = network("1.0.0", TWO);
        auto_of(cni_attachment) a = attachment(net, NULL);
        struct cringle_err err = CRINGLE_ERR_INIT;

        fixture_write(&fix, "first.ADD.do", "echo '{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"try\\nagain\",\"details\":\"later\"}'; exit 1");
        assert_int_equal(cni_add(DIRS, net, a, NULL, &err), -1);
        assert_string_equal(err.text, "network net: plugin first: ADD: code 11: try again: later");
        assert_int_equal(err.code, CRINGLE_E_UNAVAILABLE);
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\n");
}

static void del_goes_back_with_the_result_and_without_a_namespace(void **state)
{
        auto_of(cni_network) net = network("0.4.0", TWO), *old = network("0.3.1", TWO);
        auto_of(cni_attachment) a = attachment(net, NULL);

        fixture_write(&fix, "first.ADD.do", GIVES_RESULT);
        fixture_write(&fix, "second.ADD.do", GIVES_RESULT);
        assert_ok(cni_add(DIRS, net, a, NULL, unit_err()), unit_err());
        free(a->netns);
        a->netns = NULL;
        assert_ok(cni_del(DIRS, net, a, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\nADD second\nDEL second\nDEL first\n");
        assert_contains(fixture_read(&fix, "first.DEL.env"), "CNI_NETNS=\n");
        assert_contains(fixture_read(&fix, "first.DEL.in"), "\"prevResult\":{");
        assert_contains(fixture_read(&fix, "first.DEL.in"), "\"version\":\"4\"");

        assert_ok(cni_del(DIRS, old, a, NULL, unit_err()), unit_err());
        assert_null(strstr(fixture_read(&fix, "first.DEL.in"), "prevResult"));
}

static void an_unknown_container_needs_no_del_but_fails_add(void **state)
{
        auto_of(cni_network) net = network("1.0.0", TWO);
        auto_of(cni_attachment) a = attachment(net, NULL);
        struct cringle_err err = CRINGLE_ERR_INIT;

        fixture_write(&fix, "second.DEL.do", "echo '{\"code\":3,\"msg\":\"who\"}'; exit 1");
        fixture_write(&fix, "first.ADD.do", "echo '{\"code\":3,\"msg\":\"who\"}'; exit 1");
        assert_ok(cni_del(DIRS, net, a, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL second\nDEL first\n");
        assert_int_equal(cni_add(DIRS, net, a, NULL, &err), -1);
        assert_contains(err.text, "code 3");
}

static void portmap_is_left_out_only_without_ports_and_never_as_the_first(void **state)
{
#define PORTMAP "{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}"
        auto_of(cni_network) net = network("1.0.0", "[{\"type\":\"first\"}," PORTMAP "]"), *alone = network("1.0.0", "[" PORTMAP "]");
        auto_of(cni_attachment) none = attachment(net, "{\"dns\":{}}"), *odd = attachment(net, "{\"portMappings\":7}"),
                *ports = attachment(net, "{\"portMappings\":[{\"hostPort\":80,\"containerPort\":80}]}");

        fixture_plugin(&fix, "portmap");
        fixture_write(&fix, "first.ADD.do", GIVES_RESULT);
        fixture_write(&fix, "portmap.ADD.do", GIVES_RESULT);
        assert_ok(cni_add(DIRS, net, none, NULL, unit_err()), unit_err());
        assert_ok(cni_del(DIRS, net, none, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\nDEL first\n");

        fixture_remove(&fix, "log");
        assert_ok(cni_add(DIRS, net, ports, NULL, unit_err()), unit_err());
        assert_ok(cni_del(DIRS, net, ports, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\nADD portmap\nDEL portmap\nDEL first\n");

        fixture_remove(&fix, "log");
        assert_ok(cni_del(DIRS, net, odd, NULL, unit_err()), unit_err());
        assert_ok(cni_add(DIRS, alone, none, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL portmap\nDEL first\nADD portmap\n");
}

static void check_goes_forward_unless_turned_off_or_too_old(void **state)
{
        auto_of(cni_network) net = network("0.4.0", TWO), *old = network("0.3.1", TWO);
        auto_of(cni_attachment) a = attachment(net, NULL);
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(cni_check(DIRS, net, a, NULL, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);

        a->result = json_object_new_object();
        assert_int_equal(cni_check(DIRS, net, a, NULL, unit_err()), CNI_OK);
        assert_string_equal(fixture_read(&fix, "log"), "CHECK first\nCHECK second\n");
        assert_int_equal(cni_check(DIRS, old, a, NULL, unit_err()), CNI_NOT_OFFERED);
        net->disable_check = true;
        assert_int_equal(cni_check(DIRS, net, a, NULL, unit_err()), CNI_NOT_OFFERED);

        net->disable_check = false;
        fixture_write(&fix, "first.CHECK.do", "echo 'rules are gone' >&2; exit 4");
        assert_int_equal(cni_check(DIRS, net, a, NULL, &err), -1);
        assert_string_equal(err.text, "network net: plugin first: CHECK: exit status 4, stderr: rules are gone");
        assert_string_equal(fixture_read(&fix, "log"), "CHECK first\nCHECK second\nCHECK first\n");
}

static void gc_tells_all_plugins_and_keeps_the_first_failure(void **state)
{
        auto_of(cni_network) net = network("1.1.0", TWO), *old = network("1.0.0", TWO);
        static const char text[] = "[{\"containerID\":\"a\",\"ifname\":\"eth0\"}]";
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_json valid = NULL;

        assert_ok(json_parse(text, strlen(text), &valid, unit_err()), unit_err());
        fixture_write(&fix, "first.GC.do", "echo '{\"code\":100,\"msg\":\"one\"}'; exit 1");
        fixture_write(&fix, "second.GC.do", "echo '{\"code\":101,\"msg\":\"two\"}'; exit 1");
        assert_int_equal(cni_gc(DIRS, net, valid, NULL, &err), -1);
        assert_string_equal(err.text, "network net: plugin first: GC: code 100: one");
        assert_string_equal(fixture_read(&fix, "log"), "GC first\nGC second\n");
        assert_contains(fixture_read(&fix, "second.GC.in"), "\"cni.dev/valid-attachments\":[{\"containerID\":\"a\",\"ifname\":\"eth0\"}]");
        assert_contains(fixture_read(&fix, "second.GC.in"), "\"cni.dev/attachments\":[{");
        assert_null(strstr(fixture_read(&fix, "second.GC.env"), "CNI_CONTAINERID"));

        assert_int_equal(cni_gc(DIRS, old, valid, NULL, &err), CNI_NOT_OFFERED);
        net->disable_gc = true;
        assert_int_equal(cni_gc(DIRS, net, valid, NULL, &err), CNI_NOT_OFFERED);
}

static void status_ends_at_the_first_that_says_no(void **state)
{
        auto_of(cni_network) net = network("1.1.0", TWO), *old = network("1.0.0", TWO);
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(cni_status(DIRS, old, NULL, unit_err()), CNI_NOT_OFFERED);
        assert_int_equal(cni_status(DIRS, net, NULL, unit_err()), CNI_OK);
        fixture_write(&fix, "first.STATUS.do", "echo '{\"code\":50,\"msg\":\"no routes yet\"}'; exit 1");
        assert_int_equal(cni_status(DIRS, net, NULL, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_UNAVAILABLE);
        assert_string_equal(err.text, "network net: plugin first: STATUS: code 50: no routes yet");
        assert_string_equal(fixture_read(&fix, "log"), "STATUS first\nSTATUS second\nSTATUS first\n");
}

static void several_versions_settle_on_what_all_plugins_speak(void **state)
{
        static const char text[] = "{\"name\":\"net\",\"cniVersions\":[\"0.4.0\",\"1.0.0\",\"1.1.0\"],\"cniVersion\":\"0.4.0\",\"plugins\":" TWO "}";
        auto_of(cni_network) net = NULL;
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(cni_network_parse(text, strlen(text), &net, unit_err()), unit_err());
        fixture_write(&fix, "first.VERSION.do", "echo '{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\",\"1.1.0\"]}'");
        fixture_write(&fix, "second.VERSION.do", "echo '{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\"]}'");
        assert_ok(cni_settle(DIRS, net, NULL, unit_err()), unit_err());
        assert_int_equal(net->version, CNI_1_0_0);

        net = cni_network_free(net);
        assert_ok(cni_network_parse(text, strlen(text), &net, unit_err()), unit_err());
        fixture_write(&fix, "second.VERSION.do", "echo '{\"cniVersion\":\"0.2.0\",\"supportedVersions\":[\"0.2.0\"]}'");
        assert_int_equal(cni_settle(DIRS, net, NULL, &err), -1);
        assert_contains(err.text, "in common");
}

static void garbage_is_a_clear_error(void **state)
{
        static const struct {
                const char *does, *says;
        } garbage[] = {
                { "true", "succeeded but printed nothing" },
                { "echo hello", "its answer: bad JSON" },
                { "echo '[1]'", "its answer is array, want an object" },
                { "echo null", "its answer is null" },
                { "echo '{\"cniVersion\":\"1.0.0\",\"ips\":5}'", "its result: 'ips' is int" },
                { "echo '{\"cniVersion\":\"7.0.0\"}'", "7.0.0" },
                { "echo '{\"code\":7,\"msg\":\"bad\"}'", "code 7: bad" },     /* with status 0 */
                { "echo '{\"code\":\"x\"}'; exit 1", "exit status 1, stdout: {\"code\":\"x\"}" },
                { "exit 2", "exit status 2, and it printed nothing" },
                { "kill -SEGV $$", "killed by signal 11" },
                { "printf 'oh\\033[2J\\nno' >&2; exit 1", "stderr: oh [2J no" },
                { "i=0; while [ $i -lt 100 ]; do printf '[[[[[[[['; i=$((i+1)); done", "bad JSON" },
                { "yes", "more than 1048576 bytes of output" },
                { "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1", "stderr: xxx" },
        };

        for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
                auto_of(cni_network) net = network("1.0.0", TWO);
                auto_of(cni_attachment) a = attachment(net, NULL);
                struct cringle_err err = CRINGLE_ERR_INIT;

                fixture_write(&fix, "first.ADD.do", garbage[i].does);
                if (cni_add(DIRS, net, a, NULL, &err) == 0)
                        fail_msg("'%s' was taken", garbage[i].does);
                assert_contains(err.text, "network net: plugin first: ADD: ");
                assert_contains(err.text, garbage[i].says);
                assert_null(strchr(err.text, '\n'));
        }
}

static void a_hung_plugin_and_its_children_die_at_the_limit(void **state)
{
        auto_of(cni_network) net = network("1.0.0", TWO);
        auto_of(cni_attachment) a = attachment(net, NULL);
        struct cringle_call call = call_within(NULL, 300 * NSEC_PER_MSEC);
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t began = clock_monotonic();
        int pids[2];

        fixture_write(&fix, "first.ADD.do", "trap '' TERM; sleep 1000 & echo $$ $! >$at.pids; wait; sleep 1000");
        assert_int_equal(cni_add(DIRS, net, a, &call, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_DEADLINE);
        assert_true(clock_monotonic() - began < 60 * NSEC_PER_SEC);
        assert_int_equal(sscanf(fixture_read(&fix, "first.ADD.pids"), "%d %d", &pids[0], &pids[1]), 2);
        for (int i = 0; i < 2; i++) {
                auto_free char *exe = str_printf(NULL, "/proc/%d/exe", pids[i]);
                char target[64];

                /* Killed; whoever inherits the grandchild may take a while to reap it. */
                for (int tries = 0; tries < 200 && readlink(exe, target, sizeof target) >= 0; tries++)
                        usleep(10000);
                assert_int_equal(readlink(exe, target, sizeof target), -1);
        }
}

static void a_missing_program_names_the_directories(void **state)
{
        auto_of(cni_network) net = network("1.0.0", "[{\"type\":\"missing\"}]");
        auto_of(cni_attachment) a = attachment(net, NULL);
        struct cringle_err err = CRINGLE_ERR_INIT;

        fixture_write(&fix, "outside", "#!/bin/sh\n");
        assert_int_equal(cni_add(DIRS, net, a, NULL, &err), -1);
        assert_contains(err.text, "plugin missing: ADD: no program missing in ");
        assert_contains(err.text, fix.bin_dirs[0]);
        assert_int_equal(cni_find_all(DIRS, net, &err), -1);
}

static void the_cache_has_libcnis_form_and_comes_back(void **state)
{
        auto_of(cni_network) net = network("1.0.0", TWO);
        auto_of(cni_attachment) a = attachment(net, "{\"portMappings\":[]}"), *back = NULL;
        auto_free char *cache = fixture_path(&fix, "cache");
        auto_free char *dir = fixture_path(&fix, "cache/results"), *file = fixture_path(&fix, "cache/results/net-pod-eth0");
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct stat st;

        a->result = json_object_new_object();
        assert_ok(cni_cache_put(cache, a, unit_err()), unit_err());
        assert_int_equal(stat(dir, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_int_equal(stat(file, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_string_equal(fixture_read(&fix, "cache/results/net-pod-eth0"),
                "{\"kind\":\"cniCacheV1\",\"containerId\":\"pod\",\"config\":"
                "\"eyJuYW1lIjoibmV0IiwiY25pVmVyc2lvbiI6IjEuMC4wIiwicGx1Z2lucyI6W3sidHlwZSI6ImZpcnN0In0seyJ0eXBlIjoic2Vjb25kIn1dfQ==\","
                "\"ifName\":\"eth0\",\"networkName\":\"net\",\"netns\":\"/run/netns/x\","
                "\"cniArgs\":[[\"IgnoreUnknown\",\"1\"],[\"K\",\"V\"]],\"capabilityArgs\":{\"portMappings\":[]},\"result\":{}}");

        assert_int_equal(cni_cache_get(cache, "net", "pod", "eth0", &back, unit_err()), 1);
        assert_string_equal(back->config, net->config);
        assert_string_equal(back->netns, "/run/netns/x");
        assert_non_null(back->result);

        fixture_write(&fix, "cache/results/net-pod-eth0", "{\"kind\":\"cniCacheV1\",\"containerId\":\"../x\"}");
        back = cni_attachment_free(back);
        assert_int_equal(cni_cache_get(cache, "net", "pod", "eth0", &back, &err), -1);
        assert_ok(cni_cache_drop(cache, "net", "pod", "eth0", true, unit_err()), unit_err());
        assert_ok(cni_cache_drop(cache, "net", "pod", "eth0", false, unit_err()), unit_err());
        assert_int_equal(cni_cache_get(cache, "net", "pod", "eth0", &back, unit_err()), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(add_goes_forward_and_hands_results_on),
        TEST(the_environment_is_exactly_the_documented_one),
        TEST(a_plugin_gets_its_object_and_declared_capabilities),
        TEST(the_first_failure_ends_add),
        TEST(del_goes_back_with_the_result_and_without_a_namespace),
        TEST(an_unknown_container_needs_no_del_but_fails_add),
        TEST(portmap_is_left_out_only_without_ports_and_never_as_the_first),
        TEST(check_goes_forward_unless_turned_off_or_too_old),
        TEST(gc_tells_all_plugins_and_keeps_the_first_failure),
        TEST(status_ends_at_the_first_that_says_no),
        TEST(several_versions_settle_on_what_all_plugins_speak),
        TEST(garbage_is_a_clear_error),
        TEST(a_hung_plugin_and_its_children_die_at_the_limit),
        TEST(a_missing_program_names_the_directories),
        TEST(the_cache_has_libcnis_form_and_comes_back))
