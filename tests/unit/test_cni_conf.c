/* The network is the first by name, whole and checked; what is wrong names the file. */

#include "tests/unit/test_cni.h"

#include "cni/conf.h"

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

static int load(struct cni_network **ret, struct cringle_err *err)
{
        auto_free char *dir = fixture_path(&fix, "conf");

        return cni_network_load(dir, ret, err);
}

#define LIST(name, plugins) "{\"name\":\"" name "\",\"cniVersion\":\"1.0.0\",\"plugins\":" plugins "}"

static void the_first_by_name_is_the_network(void **state)
{
        auto_of(cni_network) net = NULL;

        fixture_write(&fix, "conf/20-b.conflist", LIST("b", "[{\"type\":\"first\"}]"));
        fixture_write(&fix, "conf/10-a.json", LIST("a", "[{\"type\":\"first\"},{\"type\":\"second\"}]"));
        fixture_write(&fix, "conf/05-notes.txt", "not ours");
        fixture_write(&fix, "conf/.00-tmp.conflist", "half wri");
        assert_ok(load(&net, unit_err()), unit_err());
        assert_string_equal(net->name, "a");
        assert_int_equal(net->n_plugins, 2);
        assert_int_equal(net->version, CNI_1_0_0);
        assert_string_equal(net->plugins[1].type, "second");
}

static void a_single_plugin_is_a_list_of_one(void **state)
{
        auto_of(cni_network) net = NULL, *again = NULL;

        fixture_write(&fix, "conf/a.conf", "{\"name\":\"one\",\"cniVersion\":\"0.3.1\",\"type\":\"first\",\"key\":[1.50]}");
        assert_ok(load(&net, unit_err()), unit_err());
        assert_string_equal(net->name, "one");
        assert_int_equal(net->version, CNI_0_3_1);
        assert_contains(net->config, "\"key\":[1.50]");

        assert_ok(cni_network_parse(net->config, strlen(net->config), &again, unit_err()), unit_err());
        assert_string_equal(again->plugins[0].type, "first");
        assert_string_equal(again->config, net->config);
}

static void plugins_from_the_folder_follow_and_are_recorded(void **state)
{
        auto_of(cni_network) net = NULL, *again = NULL;
        auto_free char *folder = fixture_path(&fix, "conf/a");

        assert_int_equal(mkdir(folder, 0700), 0);
        fixture_write(&fix, "conf/a/2.conf", "{\"type\":\"third\"}");
        fixture_write(&fix, "conf/a/1.conf", "{\"type\":\"second\"}");
        fixture_write(&fix, "conf/a/0.json", "{\"type\":\"never\"}");
        fixture_write(&fix, "conf/a.conflist", LIST("a", "[{\"type\":\"first\"}]"));
        assert_ok(load(&net, unit_err()), unit_err());
        assert_int_equal(net->n_plugins, 3);
        assert_string_equal(net->plugins[1].type, "second");
        assert_string_equal(net->plugins[2].type, "third");

        assert_ok(cni_network_parse(net->config, strlen(net->config), &again, unit_err()), unit_err());
        assert_int_equal(again->n_plugins, 3);

        fixture_write(&fix, "conf/a.conflist",
                      "{\"name\":\"a\",\"loadOnlyInlinedPlugins\":true,\"plugins\":[{\"type\":\"first\"}]}");
        net = cni_network_free(net);
        assert_ok(load(&net, unit_err()), unit_err());
        assert_int_equal(net->n_plugins, 1);
}

static void the_highest_version_we_speak_is_taken(void **state)
{
        auto_of(cni_network) net = NULL;

        fixture_write(&fix, "conf/a.conflist",
                      "{\"name\":\"a\",\"cniVersion\":\"0.4.0\",\"cniVersions\":[\"1.0.0\",\"1.1.0\",\"9.0.0\"],"
                      "\"plugins\":[{\"type\":\"first\"}]}");
        assert_ok(load(&net, unit_err()), unit_err());
        assert_int_equal(net->version, CNI_1_1_0);
        assert_int_equal(net->offered, 1u << CNI_0_4_0 | 1u << CNI_1_0_0 | 1u << CNI_1_1_0);

        assert_ok(cni_network_pin(net, CNI_1_0_0, unit_err()), unit_err());
        assert_contains(net->config, "\"cniVersion\":\"1.0.0\"");
        assert_null(strstr(net->config, "cniVersions"));
}

static void no_directory_and_no_file_are_not_found(void **state)
{
        auto_of(cni_network) net = NULL;
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(load(&net, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        assert_contains(err.text, "no network configuration in");
        fixture_remove(&fix, "conf");
        assert_int_equal(load(&net, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
}

/* CVE-2021-20206: a type with a path ran any program. */
static void a_type_is_a_plain_file_name(void **state)
{
        static const char *const types[] = {
                "../../bin/sh", "/bin/sh", "", ".", "..", "a/b", "a\\u0000b", "-c", "a b", "a:b", "a\\nb",
        };

        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
                for (int ipam = 0; ipam <= 1; ipam++) {
                        auto_of(cni_network) net = NULL;
                        struct cringle_err err = CRINGLE_ERR_INIT;
                        auto_free char *text = str_printf(NULL,
                                ipam ? LIST("a", "[{\"type\":\"first\",\"ipam\":{\"type\":\"%s\"}}]")
                                     : LIST("a", "[{\"type\":\"%s\"}]"), types[i]);

                        if (ipam && !*types[i])
                                continue;       /* no address management */
                        fixture_write(&fix, "conf/a.conflist", text);
                        if (load(&net, &err) == 0)
                                fail_msg("'%s' was taken", types[i]);
                        assert_contains(err.text, "conf/a.conflist: plugins[0]");
                }
        }
}

static void what_is_wrong_names_the_file(void **state)
{
        static const struct {
                const char *text, *says;
        } bad[] = {
                { "", "bad JSON" },
                { "[]", "want an object" },
                { "{\"name\":\"a\",\"plugins\":[{\"type\":\"first\"}]", "bad JSON at byte" },
                { "{\"plugins\":[{\"type\":\"first\"}]}", "no name" },
                { "{\"name\":\"../a\",\"plugins\":[{\"type\":\"first\"}]}", "no name" },
                { "{\"name\":7,\"plugins\":[{\"type\":\"first\"}]}", "'name' is int" },
                { "{\"name\":\"a\"}", "no plugins" },
                { "{\"name\":\"a\",\"plugins\":[]}", "no plugins" },
                { "{\"name\":\"a\",\"plugins\":{}}", "'plugins' is object" },
                { "{\"name\":\"a\",\"plugins\":[null]}", "plugins[0]" },
                { "{\"name\":\"a\",\"plugins\":[{}]}", "no 'type'" },
                { "{\"name\":\"a\",\"plugins\":[{\"type\":\"first\",\"capabilities\":[]}]}", "'capabilities' is array" },
                { "{\"name\":\"a\",\"cniVersion\":\"2.0.0\",\"plugins\":[{\"type\":\"first\"}]}", "'2.0.0'" },
                { "{\"name\":\"a\",\"disableCheck\":\"maybe\",\"plugins\":[{\"type\":\"first\"}]}", "'maybe'" },
        };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                auto_of(cni_network) net = NULL;
                struct cringle_err err = CRINGLE_ERR_INIT;

                fixture_write(&fix, "conf/a.conflist", bad[i].text);
                assert_int_equal(load(&net, &err), -1);
                assert_contains(err.text, "conf/a.conflist: ");
                assert_contains(err.text, bad[i].says);
        }
}

static void a_pipe_in_the_directory_does_not_hold_us_up(void **state)
{
        auto_of(cni_network) net = NULL;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *path = fixture_path(&fix, "conf/a.conflist");

        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(load(&net, &err), -1);
        assert_contains(err.text, "not a regular file");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(the_first_by_name_is_the_network),
        TEST(a_single_plugin_is_a_list_of_one),
        TEST(plugins_from_the_folder_follow_and_are_recorded),
        TEST(the_highest_version_we_speak_is_taken),
        TEST(no_directory_and_no_file_are_not_found),
        TEST(a_type_is_a_plain_file_name),
        TEST(what_is_wrong_names_the_file),
        TEST(a_pipe_in_the_directory_does_not_hold_us_up))
