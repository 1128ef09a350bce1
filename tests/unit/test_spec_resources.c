/* Limits and kernel settings: taken as asked, or refused; nothing rides along. */

#include "tests/support/unit.h"

#include "agent/oci/spec.h"

static void limits_reach_the_driver_as_asked(void **state)
{
        struct cringle_err *err = unit_err();
        Cri__LinuxContainerResources r = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__HugepageLimit huge = CRI__HUGEPAGE_LIMIT__INIT, *huges[] = { &huge };
        Cri__Pair high = CRI__PAIR__INIT, *unified[] = { &high };
        auto_spec_limits l = SPEC_LIMITS_INIT;

        r.cpu_period = 100000;
        r.cpu_quota = 50000;
        r.cpu_shares = 512;
        r.cpuset_cpus = (char *) "0-3,8";
        r.memory_limit_in_bytes = 1 << 20;
        huge.page_size = (char *) "2MB";
        r.hugepage_limits = huges;
        r.n_hugepage_limits = 1;
        high.key = (char *) "memory.high";
        high.value = (char *) "1000000";
        r.unified = unified;
        r.n_unified = 1;
        assert_ok(spec_resources(&r, &l, err), err);

        /* Nothing is kept of the request. */
        r.cpuset_cpus = huge.page_size = high.key = high.value = NULL;
        assert_int_equal(l.resources.cpu_period, 100000);
        assert_int_equal(l.resources.cpu_quota, 50000);
        assert_int_equal(l.resources.cpu_shares, 512);
        assert_string_equal(l.resources.cpuset_cpus, "0-3,8");
        assert_null(l.resources.cpuset_mems);
        assert_int_equal(l.resources.memory_limit, 1 << 20);
        assert_int_equal(l.resources.memory_swap, 1 << 20);
        assert_true(l.resources.pids_limit == CRINGLE_UNSET);
        assert_int_equal(l.resources.n_hugepages, 1);
        assert_string_equal(l.resources.hugepages[0].page_size, "2MB");
        assert_int_equal(l.resources.hugepages[0].bytes, 0);
        assert_string_equal(l.resources.unified[0].key, "memory.high");
        assert_null(l.resources.unified[1].key);
        assert_int_equal(l.resources.n_devices, 0);
}

static void nothing_asked_is_nothing_set(void **state)
{
        struct cringle_err *err = unit_err();
        Cri__LinuxContainerResources r = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        auto_spec_limits l = SPEC_LIMITS_INIT;

        assert_ok(spec_resources(&r, &l, err), err);
        assert_true(l.resources.cpu_quota == CRINGLE_UNSET);
        assert_true(l.resources.cpu_shares == CRINGLE_UNSET);
        assert_true(l.resources.memory_limit == CRINGLE_UNSET);
        assert_true(l.resources.memory_swap == CRINGLE_UNSET);
        assert_null(l.resources.unified);
}

static void limits_out_of_range_are_refused(void **state)
{
        static const struct {
                int64_t period, quota, shares, memory, swap;
                const char *cpus, *page_size, *key, *value;
                bool good;
        } table[] = {
                { .memory = 100, .swap = 99 },
                { .memory = 100, .swap = 100, .good = true },
                { .memory = 100, .swap = -1, .good = true },
                { .memory = -1, .swap = -1, .good = true },
                { .memory = -1, .swap = 100 },
                { .swap = 100 },
                { .memory = -2 },
                { .memory = 100, .swap = -2 },
                { .period = 999 },
                { .period = 1000001 },
                { .period = 100000, .quota = -1, .good = true },
                { .quota = -2 },
                { .shares = -1 },
                { .shares = 262145 },
                { .cpus = "0-1\n2" },
                { .cpus = "../0" },
                { .page_size = "2MB", .good = true },
                { .page_size = "2MB/../x" },
                { .page_size = "" },
                { .key = "memory.high", .value = "max", .good = true },
                { .key = "../memory.high", .value = "max" },
                { .key = "memory/high", .value = "max" },
                { .key = "cgroup.procs", .value = "1" },
                { .key = "procs", .value = "1" },
                { .key = "memory.high", .value = "1\n2" },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                struct cringle_err *err = unit_err();
                Cri__LinuxContainerResources r = CRI__LINUX_CONTAINER_RESOURCES__INIT;
                Cri__HugepageLimit huge = CRI__HUGEPAGE_LIMIT__INIT, *huges[] = { &huge };
                Cri__Pair pair = CRI__PAIR__INIT, *unified[] = { &pair };
                auto_spec_limits l = SPEC_LIMITS_INIT;

                r.cpu_period = table[i].period;
                r.cpu_quota = table[i].quota;
                r.cpu_shares = table[i].shares;
                r.memory_limit_in_bytes = table[i].memory;
                r.memory_swap_limit_in_bytes = table[i].swap;
                r.cpuset_cpus = (char *) (table[i].cpus ? table[i].cpus : "");
                huge.page_size = (char *) table[i].page_size;
                r.hugepage_limits = huges;
                r.n_hugepage_limits = table[i].page_size ? 1 : 0;
                pair.key = (char *) table[i].key;
                pair.value = (char *) table[i].value;
                r.unified = unified;
                r.n_unified = table[i].key ? 1 : 0;
                if ((spec_resources(&r, &l, err) == 0) != table[i].good)
                        fail_msg("row %zu: %s", i, table[i].good ? err->text : "accepted");
                if (!table[i].good)
                        assert_int_equal(err->code, CRINGLE_E_INVALID);
        }
}

static struct json_object *json(const char *text)
{
        struct cringle_err *err = unit_err();
        struct json_object *o = NULL;

        assert_ok(json_parse(text, strlen(text), &o, err), err);
        return o;
}

static void what_hooks_wrote_is_read_with_the_same_care(void **state)
{
        struct cringle_err *err = unit_err();
        auto_json spec = json("{\"linux\":{\"resources\":{\"pids\":{\"limit\":7},\"memory\":{\"limit\":5},"
                              "\"devices\":[{\"allow\":false},{\"allow\":true,\"type\":\"c\",\"major\":10,"
                              "\"minor\":229,\"access\":\"rw\"},{\"allow\":true,\"type\":\"b\",\"major\":8}]}}}");
        auto_json swap = json("{\"linux\":{\"resources\":{\"memory\":{\"limit\":5,\"swap\":4}}}}");
        auto_json device = json("{\"linux\":{\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"rwx\"}]}}}");
        auto_json unified = json("{\"linux\":{\"resources\":{\"unified\":{\"a/../b.c\":\"1\"}}}}");
        auto_json nothing = json("{}");
        auto_spec_limits l = SPEC_LIMITS_INIT, none = SPEC_LIMITS_INIT;

        assert_ok(spec_limits(spec, &l, err), err);
        assert_int_equal(l.resources.pids_limit, 7);
        assert_int_equal(l.resources.memory_limit, 5);
        assert_int_equal(l.resources.n_devices, 3);
        assert_int_equal(l.devices[0].type, 'a');
        assert_int_equal(l.devices[0].allow, 0);
        assert_int_equal(l.devices[0].major, -1);
        assert_string_equal(l.devices[0].access, "rwm");
        assert_int_equal(l.devices[1].minor, 229);
        assert_string_equal(l.devices[1].access, "rw");
        assert_int_equal(l.devices[2].type, 'b');
        assert_int_equal(l.devices[2].minor, -1);

        assert_ok(spec_limits(nothing, &none, err), err);
        assert_int_equal(none.resources.n_devices, 0);
        assert_int_equal(spec_limits(swap, &none, unit_err()), -1);
        assert_int_equal(spec_limits(device, &none, unit_err()), -1);
        assert_int_equal(spec_limits(unified, &none, unit_err()), -1);
}

static void an_update_replaces_what_it_names(void **state)
{
        struct cringle_err *err = unit_err();
        Cri__LinuxContainerResources r = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        auto_json spec = json("{\"linux\":{\"resources\":{\"cpu\":{\"shares\":2,\"cpus\":\"0\"},\"devices\":[]}}}");

        r.cpu_shares = 1024;
        r.memory_limit_in_bytes = 4096;
        assert_ok(spec_set_resources(spec, &r, err), err);
        assert_string_equal(json_object_to_json_string_ext(spec, JSON_C_TO_STRING_PLAIN),
                            "{\"linux\":{\"resources\":{\"cpu\":{\"shares\":1024,\"cpus\":\"0\"},\"devices\":[],"
                            "\"memory\":{\"limit\":4096,\"swap\":4096}}}}");
}

static void sysctls_are_the_pods_own_or_refused(void **state)
{
        enum { HOST_NET = 1, HOST_IPC = 2 };
        static const struct {
                const char *key, *value;
                int host;
                bool good;
        } table[] = {
                { "net.ipv4.ip_forward", "1", 0, true },
                { "net/ipv4/ip_forward", "1", 0, true },
                { "net.ipv4.conf.eth0/100.forwarding", "1", 0, true },
                { "net/ipv4/conf/eth0.100/forwarding", "1", 0, true },
                { "net.ipv4.ping_group_range", "0 2147483647", 0, true },
                { "net.ipv4.ip_local_reserved_ports", "80,9000-9010", 0, true },
                { "kernel.shm_rmid_forced", "1", 0, true },
                { "kernel.shmmax", "1", 0, true },
                { "kernel.msgmax", "1", 0, true },
                { "kernel.sem", "250 32000 100 128", 0, true },
                { "fs.mqueue.msg_max", "10", 0, true },
                { "kernel.semaphore", "1", 0, false },
                { "kernel.core_pattern", "|/bin/sh", 0, false },
                { "kernel.core_pattern", "x", 0, false },
                { "kernel.sysrq", "1", 0, false },
                { "vm.overcommit_memory", "1", 0, false },
                { "fs.file-max", "1", 0, false },
                { "network.x", "1", 0, false },
                { "net", "1", 0, false },
                { "", "1", 0, false },
                { "net.ipv4.ip_forward", "1", HOST_NET, false },
                { "net/ipv4/ip_forward", "1", HOST_NET, false },
                { "kernel.shmmax", "1", HOST_NET, true },
                { "kernel.shmmax", "1", HOST_IPC, false },
                { "fs/mqueue/msg_max", "1", HOST_IPC, false },
                { "kernel.sem", "1", HOST_IPC, false },
                { "kernel/sem", "1", HOST_IPC, false },
                { "net.ipv4.ip_forward", "1", HOST_IPC, true },
                { "net.ipv4.ip_forward", "1+kernel.core_pattern=x", 0, false },
                { "net.ipv4.ip_forward", "1=2", 0, false },
                { "net.ipv4.ip_forward", "1\nkernel.core_pattern", 0, false },
                { "net.ipv4.ip_forward=1\n", "1", 0, false },
                { "net.ipv4/../../kernel/core_pattern", "1", 0, false },
                { "net/../kernel/core_pattern", "1", 0, false },
                { "net..ipv4", "1", 0, false },
                { "net.", "1", 0, false },
                { "net//x", "1", 0, false },
                { "net.+x", "1", 0, false },
                { "/net/x", "1", 0, false },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                struct cringle_err *err = unit_err();
                Cri__PodSandboxConfig pod = CRI__POD_SANDBOX_CONFIG__INIT;
                Cri__LinuxPodSandboxConfig linux_part = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
                Cri__LinuxSandboxSecurityContext security = CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
                Cri__NamespaceOption options = CRI__NAMESPACE_OPTION__INIT;
                Cri__Pair pair = CRI__PAIR__INIT, *pairs[] = { &pair };

                pod.linux = &linux_part;
                linux_part.security_context = &security;
                security.namespace_options = &options;
                linux_part.sysctls = pairs;
                linux_part.n_sysctls = 1;
                pair.key = (char *) table[i].key;
                pair.value = (char *) table[i].value;
                if (table[i].host & HOST_NET)
                        options.network = CRI__NAMESPACE_MODE__NODE;
                if (table[i].host & HOST_IPC)
                        options.ipc = CRI__NAMESPACE_MODE__NODE;
                if ((spec_check_sysctls(&pod, err) == 0) != table[i].good)
                        fail_msg("%s = %s: %s", table[i].key, table[i].value, table[i].good ? err->text : "accepted");
                if (!table[i].good)
                        assert_int_equal(err->code, CRINGLE_E_INVALID);
        }
}

UNIT_MAIN(
        cmocka_unit_test(limits_reach_the_driver_as_asked),
        cmocka_unit_test(nothing_asked_is_nothing_set),
        cmocka_unit_test(limits_out_of_range_are_refused),
        cmocka_unit_test(what_hooks_wrote_is_read_with_the_same_care),
        cmocka_unit_test(an_update_replaces_what_it_names),
        cmocka_unit_test(sysctls_are_the_pods_own_or_refused))
