/* A result means the same in every version; one that makes no sense is refused. */

#include <sys/stat.h>

#include "tests/support/unit.h"

#include "agent/base/str.h"
#include "cni/result.h"

#define NETNS "/run/netns/pod"

/* @text taken, and given in @version, as text. */
static char *through(const char *text, int version)
{
        auto_json in = NULL, *newest = NULL, *out = NULL;
        auto_buf written = BUF_INIT;

        assert_ok(json_parse(text, strlen(text), &in, unit_err()), unit_err());
        assert_ok(cni_result_take(in, version, &newest, unit_err()), unit_err());
        assert_ok(cni_result_give(newest, version, &out, unit_err()), unit_err());
        assert_ok(json_write(out, &written, unit_err()), unit_err());
        return buf_steal(&written);
}

static void take_fails(const char *text, const char *says)
{
        auto_json in = NULL, *newest = NULL;
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(json_parse(text, strlen(text), &in, unit_err()), unit_err());
        if (cni_result_take(in, CNI_1_0_0, &newest, &err) == 0)
                fail_msg("%s was taken", text);
        assert_contains(err.text, says);
}

static int addresses(const char *text, char ***ret, struct cringle_err *err)
{
        auto_json in = NULL, *newest = NULL;

        assert_ok(json_parse(text, strlen(text), &in, unit_err()), unit_err());
        assert_ok(cni_result_take(in, CNI_1_0_0, &newest, unit_err()), unit_err());
        return cni_result_addresses(newest, "eth0", NETNS, ret, err);
}

static const char old[] =
        "{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.1.0.2/16\",\"gateway\":\"10.1.0.1\","
        "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]},\"ip6\":{\"ip\":\"fd00::2/64\",\"routes\":[{\"dst\":\"::/0\",\"gw\":\"fd00::1\"}]},"
        "\"dns\":{\"domain\":\"x\"}}";

static void the_oldest_form_becomes_the_newest_and_back(void **state)
{
        auto_free char *newest = through(old, CNI_1_1_0), *back = through(newest, CNI_0_2_0);

        assert_string_equal(newest,
                "{\"ips\":[{\"address\":\"10.1.0.2/16\",\"gateway\":\"10.1.0.1\"},{\"address\":\"fd00::2/64\"}],"
                "\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\",\"gw\":\"fd00::1\"}],\"dns\":{\"domain\":\"x\"},"
                "\"cniVersion\":\"1.1.0\"}");
        assert_contains(back, "\"ip4\":{\"ip\":\"10.1.0.2/16\",\"gateway\":\"10.1.0.1\",\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}");
        assert_contains(back, "\"ip6\":{\"ip\":\"fd00::2/64\",\"routes\":[{\"dst\":\"::/0\",\"gw\":\"fd00::1\"}]}");
        assert_contains(back, "\"dns\":{\"domain\":\"x\"}");
        assert_contains(back, "\"cniVersion\":\"0.2.0\"");
        assert_null(strstr(back, "\"ips\""));
}

static void each_version_has_its_members(void **state)
{
        static const char text[] =
                "{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"eth0\",\"mtu\":1400,\"sandbox\":\"" NETNS "\"}],"
                "\"ips\":[{\"address\":\"10.1.0.2/16\",\"interface\":0}],\"routes\":[{\"dst\":\"0.0.0.0/0\",\"priority\":3}]}";
        auto_free char *v11 = through(text, CNI_1_1_0), *v10 = through(text, CNI_1_0_0), *v04 = through(text, CNI_0_4_0);

        assert_contains(v11, "\"mtu\":1400");
        assert_contains(v11, "\"priority\":3");
        assert_null(strstr(v10, "mtu"));
        assert_null(strstr(v10, "priority"));
        assert_null(strstr(v10, "\"version\""));
        assert_contains(v04, "\"version\":\"4\"");
        assert_contains(v04, "\"cniVersion\":\"0.4.0\"");
}

static void nonsense_is_refused(void **state)
{
        take_fails("[]", "want an object");
        take_fails("{\"cniVersion\":\"3.0.0\"}", "3.0.0");
        take_fails("{\"cniVersion\":1}", "'cniVersion' is int");
        take_fails("{\"ips\":{}}", "'ips' is object");
        take_fails("{\"ips\":[7]}", "ips[0]");
        take_fails("{\"ips\":[{}]}", "ips[0]: no 'address'");
        take_fails("{\"ips\":[{\"address\":\"10.0.0.1\"}]}", "'10.0.0.1' is no address");
        take_fails("{\"ips\":[{\"address\":\"10.0.0.1/33\"}]}", "no address");
        take_fails("{\"ips\":[{\"address\":\"10.0.0.1/24; rm\"}]}", "no address");
        take_fails("{\"ips\":[{\"address\":\"fd00::1/129\"}]}", "no address");
        take_fails("{\"ips\":[{\"address\":\"10.0.0.1/24\",\"gateway\":\"x\"}]}", "gateway");
        take_fails("{\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":0}]}", "no interface 0");
        take_fails("{\"interfaces\":[{\"name\":\"a\"}],\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":-1}]}", "no interface -1");
        take_fails("{\"interfaces\":[{\"name\":\"a\"}],\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":1}]}", "no interface 1");
        take_fails("{\"interfaces\":[{}]}", "interfaces[0]: no 'name'");
        take_fails("{\"interfaces\":[{\"name\":\"a\",\"sandbox\":[]}]}", "sandbox");
        take_fails("{\"routes\":[{\"dst\":\"everywhere\"}]}", "routes[0]");
        take_fails("{\"dns\":\"8.8.8.8\"}", "dns");
        take_fails("{\"cniVersion\":\"0.1.0\",\"ip4\":{\"gateway\":\"1.1.1.1\"}}", "ip4: no 'ip'");
        take_fails("{\"cniVersion\":\"0.1.0\",\"ip4\":{\"ip\":\"bad\"}}", "'bad'");
        take_fails("{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.1/8\",\"routes\":[1]}}", "routes[0]");
}

static void the_pods_interface_gives_the_addresses_v4_first(void **state)
{
        auto_strv list = NULL;

        assert_ok(addresses(
                "{\"interfaces\":[{\"name\":\"cni0\"},{\"name\":\"net1\",\"sandbox\":\"" NETNS "\"},"
                "{\"name\":\"eth0\",\"sandbox\":\"" NETNS "\"}],\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":0},"
                "{\"address\":\"10.0.1.1/24\",\"interface\":1},{\"address\":\"fd00::2/64\",\"interface\":2},"
                "{\"address\":\"10.0.2.1/24\",\"interface\":2}]}", &list, unit_err()), unit_err());
        assert_int_equal(strv_count((const char *const *) list), 2);
        assert_string_equal(list[0], "10.0.2.1");
        assert_string_equal(list[1], "fd00::2");
}

static void without_eth0_it_is_the_first_inside(void **state)
{
        auto_strv list = NULL;

        assert_ok(addresses(
                "{\"interfaces\":[{\"name\":\"eth0\"},{\"name\":\"net1\",\"sandbox\":\"" NETNS "\"}],"
                "\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":0},{\"address\":\"10.0.1.1/24\",\"interface\":1}]}",
                &list, unit_err()), unit_err());
        assert_int_equal(strv_count((const char *const *) list), 1);
        assert_string_equal(list[0], "10.0.1.1");
}

static void addresses_of_no_interface_are_the_pods(void **state)
{
        auto_strv list = NULL;

        assert_ok(addresses(old, &list, unit_err()), unit_err());
        assert_int_equal(strv_count((const char *const *) list), 2);
        assert_string_equal(list[0], "10.1.0.2");
}

static void no_address_and_another_namespace_are_refused(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_strv list = NULL;

        assert_int_equal(addresses("{}", &list, &err), -1);
        assert_contains(err.text, "no address for eth0");
        assert_int_equal(addresses("{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/proc/1/ns/net\"}],"
                                   "\"ips\":[{\"address\":\"10.0.0.1/24\",\"interface\":0}]}", &list, &err), -1);
        assert_contains(err.text, "/proc/1/ns/net");
        assert_null(list);
}

UNIT_MAIN(
        cmocka_unit_test(the_oldest_form_becomes_the_newest_and_back),
        cmocka_unit_test(each_version_has_its_members),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(the_pods_interface_gives_the_addresses_v4_first),
        cmocka_unit_test(without_eth0_it_is_the_first_inside),
        cmocka_unit_test(addresses_of_no_interface_are_the_pods),
        cmocka_unit_test(no_address_and_another_namespace_are_refused))
