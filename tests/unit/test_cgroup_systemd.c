/* Names of slices and scopes, and what systemd is told of limits and devices. */

#include "tests/support/unit.h"

#include "agent/base/str.h"
#include "plugins/cgroup-systemd/name.h"
#include "plugins/cgroup-systemd/properties.h"

/* --- names --- */

static void a_slice_is_found_by_its_name_or_its_path(void **state)
{
        static const struct {
                const char *parent, *slice, *dir;       /* slice NULL: refused */
        } cases[] = {
                { "a.slice", "a.slice", "a.slice" },
                { "a-b-c.slice", "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice" },
                { "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
                  "kubepods-burstable-pod1_2.slice",
                  "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice" },
                { "/kubepods.slice/", "kubepods.slice", "kubepods.slice" },
                { "/a-b.slice", "a-b.slice", "a.slice/a-b.slice" },
                { "system-x\\x2dy.slice", "system-x\\x2dy.slice", "system.slice/system-x\\x2dy.slice" },
                { "/kubepods/burstable/pod1", NULL, NULL },
                { "/other.slice/a-b.slice", NULL, NULL },
                { "x/a.slice", NULL, NULL },
                { "-.slice", NULL, NULL },
                { ".slice", NULL, NULL },
                { "..slice", NULL, NULL },
                { "-a.slice", NULL, NULL },
                { "a-.slice", NULL, NULL },
                { "a--b.slice", NULL, NULL },
                { "a b.slice", NULL, NULL },
                { "a\n.slice", NULL, NULL },
                { "/", NULL, NULL },
                { "a.scope", NULL, NULL },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *slice = name_slice(cases[i].parent, unit_err());
                auto_free char *dir = slice ? name_slice_dir(slice, unit_err()) : NULL;

                if (!str_equal(slice, cases[i].slice) || !str_equal(dir, cases[i].dir))
                        fail_msg("'%s': '%s' at '%s'", cases[i].parent, slice ? slice : "NULL", dir ? dir : "NULL");
        }
}

static void a_path_is_refused_with_advice(void **state)
{
        struct cringle_err *err = unit_err();

        assert_null(name_slice("/kubepods/pod1", err));
        assert_int_equal(err->code, CRINGLE_E_INVALID);
        assert_contains(err->text, "set cgroupDriver of the kubelet to systemd");
}

static void a_slice_name_of_any_length_is_handled(void **state)
{
        char parent[6000];

        memset(parent, 'a', sizeof parent);
        strcpy(parent + 300, ".slice");
        assert_null(name_slice(parent, unit_err()));
        memset(parent, 'a', sizeof parent);
        parent[sizeof parent - 1] = '\0';
        assert_null(name_slice(parent, unit_err()));
}

static const struct naming naming = { .prefix = (char *) "cringle", .slice = (char *) "own.slice" };

static void a_container_has_a_scope_in_its_slice(void **state)
{
        auto_place p = { 0 };

        assert_ok(place_find(&naming, "/a.slice/a-b.slice", "id1", &p, unit_err()), unit_err());
        assert_false(p.shared);
        assert_string_equal(p.slice, "a-b.slice");
        assert_string_equal(p.unit, "cringle-id1.scope");
        assert_string_equal(p.scope, "a.slice/a-b.slice/cringle-id1.scope");
        assert_string_equal(p.group, "a.slice/a-b.slice/cringle-id1.scope/container");
        assert_string_equal(p.hold, "a.slice/a-b.slice/cringle-id1.scope/hold");
        assert_string_equal(p.oci_path, "a-b.slice:cringle:id1");
}

static void what_has_no_parent_shares_a_scope(void **state)
{
        auto_place p = { 0 };

        assert_ok(place_find(&naming, "", "monitor-1", &p, unit_err()), unit_err());
        assert_true(p.shared);
        assert_string_equal(p.unit, "cringle.scope");
        assert_string_equal(p.group, "own.slice/cringle.scope/monitor-1");
        assert_string_equal(p.oci_path, "/own.slice/cringle.scope/monitor-1");
}

static void odd_ids_are_refused(void **state)
{
        static const char *const ids[] = { "", "..", "a/b", "a\n", "-a", NULL };
        auto_place p = { 0 };

        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
                assert_int_equal(place_find(&naming, "a.slice", ids[i], &p, unit_err()), -1);
        assert_int_equal(place_find(&naming, "", "hold", &p, unit_err()), -1);
}

/* --- limits --- */

static const struct property *find(const struct properties *p, const char *name)
{
        for (size_t i = 0; i < p->n; i++)
                if (strcmp(p->list[i].name, name) == 0)
                        return &p->list[i];

        return NULL;
}

static void files_become_properties(void **state)
{
        static const struct {
                const char *file, *value, *name;
                uint64_t want;
        } cases[] = {
                { "cpu.weight", "59", "CPUWeight", 59 },
                { "cpu.idle", "1", "CPUWeight", 0 },
                { "cpu.max", "50000 100000", "CPUQuotaPerSecUSec", 500000 },
                { "cpu.max", "max 100000", "CPUQuotaPerSecUSec", UINT64_MAX },
                { "cpu.max", "50000", "CPUQuotaPerSecUSec", 500000 },
                { "cpu.max", "50000 20000", "CPUQuotaPeriodUSec", 20000 },
                { "cpu.max", "1000 100000", "CPUQuotaPerSecUSec", 10000 },
                { "cpu.max", "33333 100000", "CPUQuotaPerSecUSec", 340000 },
                { "cpu.max", "1000 1000000", "CPUQuotaPerSecUSec", 10000 },
                { "memory.max", "67108864", "MemoryMax", 67108864 },
                { "memory.max", "64M", "MemoryMax", 67108864 },
                { "memory.max", "max", "MemoryMax", UINT64_MAX },
                { "memory.low", "1k", "MemoryLow", 1024 },
                { "memory.min", "0", "MemoryMin", 0 },
                { "memory.high", "5", "MemoryHigh", 5 },
                { "memory.swap.max", "7", "MemorySwapMax", 7 },
                { "pids.max", "max", "TasksMax", UINT64_MAX },
                { "pids.max", "10", "TasksMax", 11 },
                { "io.weight", "default 200", "IOWeight", 200 },
                { "io.weight", "200", "IOWeight", 200 },
                { "io.weight", "8:0 300", "IODeviceWeight", 300 },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_properties p = { 0 };
                struct cringle_err *err = unit_err();
                const struct property *found;

                assert_ok(properties_add(&p, cases[i].file, cases[i].value, err), err);
                found = find(&p, cases[i].name);
                if (!found || found->number != cases[i].want)
                        fail_msg("%s '%s': %s is %llu", cases[i].file, cases[i].value, cases[i].name,
                                 found ? (unsigned long long) found->number : 0);
        }
}

static void a_files_property_is_said_once(void **state)
{
        auto_properties p = { 0 };

        assert_ok(properties_add(&p, "memory.max", "5", unit_err()), unit_err());
        assert_ok(properties_add(&p, "memory.max", "6", unit_err()), unit_err());
        assert_int_equal(p.n, 1);
        assert_int_equal(p.list[0].number, 6);
}

static void what_systemd_has_no_property_for_is_left_out(void **state)
{
        auto_properties p = { 0 };

        assert_ok(properties_add(&p, "hugetlb.2MB.max", "0", unit_err()), unit_err());
        assert_ok(properties_add(&p, "io.max", "8:0 rbps=1", unit_err()), unit_err());
        assert_ok(properties_add(&p, "cpu.idle", "0", unit_err()), unit_err());
        assert_int_equal(p.n, 0);
}

static void a_cpuset_becomes_a_mask(void **state)
{
        auto_properties p = { 0 };

        assert_ok(properties_add(&p, "cpuset.cpus", "0-2,7,9", unit_err()), unit_err());
        assert_string_equal(p.list[0].name, "AllowedCPUs");
        assert_int_equal(p.list[0].n_bytes, 2);
        assert_int_equal(p.list[0].bytes[0], 0x87);
        assert_int_equal(p.list[0].bytes[1], 0x02);
        assert_ok(properties_add(&p, "cpuset.cpus", "", unit_err()), unit_err());
        assert_int_equal(p.list[0].n_bytes, 0);
}

static void odd_values_are_refused(void **state)
{
        static const char *const cases[][2] = {
                { "memory.max", "" },        { "memory.max", "-1" },     { "memory.max", "5x" },     { "memory.max", "5MM" },
                { "memory.max", "99999999999999999999" },                { "memory.max", "99999999999999E" },
                { "cpu.max", "5 0" },        { "cpu.max", "5 x" },       { "cpu.max", "" },          { "cpu.max", "5 9999999" },
                { "cpu.max", "18446744073709551614 100000" },
                { "cpuset.cpus", "a" },      { "cpuset.cpus", "3-1" },   { "cpuset.cpus", "0-99999999999999999999" },
                { "cpuset.cpus", "1," },     { "cpuset.cpus", "1-" },    { "cpuset.cpus", "-1" },    { "cpuset.cpus", "8192" },
                { "io.weight", "/dev/x 5" }, { "io.weight", "default" }, { "cpu.weight.nice", "5" }, { "pids.max", "x" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_properties p = { 0 };
                struct cringle_err *err = unit_err();

                if (properties_add(&p, cases[i][0], cases[i][1], err) == 0)
                        fail_msg("%s takes '%s'", cases[i][0], cases[i][1]);
                assert_int_equal(err->code, CRINGLE_E_INVALID);
        }
}

/* --- devices --- */

static void devices_are_those_allowed(void **state)
{
        static const struct cringle_device_rule rules[] = {
                { 'a', -1, -1, "rwm", 0 }, { 'c', 1, 3, "rwm", 1 },  { 'c', 136, -1, "rw", 1 },
                { 'b', 8, 0, "r", 1 },     { 'c', -1, -1, "m", 1 }, { 'a', 5, 1, "w", 1 }, { 'c', 1, 3, "w", 0 },
                { 'b', 8, 0, "m", 1 },
        };
        static const char *const want[][2] = {
                { "/dev/char/1:3", "rwm" }, { "char-136", "rw" },      { "/dev/block/8:0", "rm" },
                { "char-*", "m" },          { "/dev/block/5:1", "w" }, { "/dev/char/5:1", "w" },
        };
        auto_properties p = { 0 };

        assert_ok(properties_add_devices(&p, rules, sizeof rules / sizeof *rules, unit_err()), unit_err());
        assert_true(p.devices);
        assert_false(p.all_devices);
        assert_int_equal(p.n_allow, sizeof want / sizeof *want);
        for (size_t i = 0; i < p.n_allow; i++) {
                assert_string_equal(p.allow[i].node, want[i][0]);
                assert_string_equal(p.allow[i].access, want[i][1]);
        }
}

static void all_devices_are_all(void **state)
{
        static const struct cringle_device_rule rules[] = { { 'a', -1, -1, "rwm", 0 }, { 'a', -1, -1, "rwm", 1 } };
        auto_properties p = { 0 };

        assert_ok(properties_add_devices(&p, rules, 2, unit_err()), unit_err());
        assert_true(p.all_devices);
}

UNIT_MAIN(
        cmocka_unit_test(a_slice_is_found_by_its_name_or_its_path),
        cmocka_unit_test(a_path_is_refused_with_advice),
        cmocka_unit_test(a_slice_name_of_any_length_is_handled),
        cmocka_unit_test(a_container_has_a_scope_in_its_slice),
        cmocka_unit_test(what_has_no_parent_shares_a_scope),
        cmocka_unit_test(odd_ids_are_refused),
        cmocka_unit_test(files_become_properties),
        cmocka_unit_test(a_files_property_is_said_once),
        cmocka_unit_test(what_systemd_has_no_property_for_is_left_out),
        cmocka_unit_test(a_cpuset_becomes_a_mask),
        cmocka_unit_test(odd_values_are_refused),
        cmocka_unit_test(devices_are_those_allowed),
        cmocka_unit_test(all_devices_are_all))
