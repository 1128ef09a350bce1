/*
 * The parts of cgroup-fs that need no kernel: names, numbers, and what is written
 * where, against a v2 tree made of plain files.
 */

#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "cgroup/devices.h"
#include "cgroup/limits.h"
#include "plugins/cgroup-fs/name.h"
#include "cgroup/stats.h"
#include "cgroup/tree.h"

/* --- names --- */

static void parents_are_cleaned_and_ids_kept_plain(void **state)
{
        static const struct {
                const char *parent, *id, *want;         /* NULL: refused */
        } cases[] = {
                { "/kubepods/burstable/pod1", "abc", "kubepods/burstable/pod1/abc" },
                { "kubepods//pod1/", "abc", "kubepods/pod1/abc" },
                { "", "abc", "cringle/abc" },
                { "/a/../b", "abc", NULL },
                { "/a/./b", "abc", NULL },
                { "..", "abc", NULL },
                { "/", "abc", NULL },
                { "/a b", "abc", NULL },
                { "/a\nb", "abc", NULL },
                { "/a", "", NULL },
                { "/a", "..", NULL },
                { "/a", ".", NULL },
                { "/a", "x/y", NULL },
                { "/a", "x\n", NULL },
                { "/a", "-x", NULL },
                { "/a", NULL, NULL },
                { "/kubepods.slice/kubepods-besteffort.slice", "abc", NULL },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *path = name_path("/cringle", "", cases[i].parent, cases[i].id, unit_err());

                if (!str_equal(path, cases[i].want))
                        fail_msg("'%s' '%s': '%s'", cases[i].parent, cases[i].id ? cases[i].id : "NULL",
                                 path ? path : "NULL");
        }
}

static void containers_alone_can_be_given_a_name(void **state)
{
        static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        auto_free char *container = name_path("/cringle", "crio-", "/pods", id, unit_err());
        auto_free char *monitor = name_path("/cringle", "crio-", "/pods", "monitor-1", unit_err());

        assert_string_equal(container, "pods/crio-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        assert_string_equal(monitor, "pods/monitor-1");
}

static void a_slice_is_refused_with_advice(void **state)
{
        struct cringle_err *err = unit_err();

        assert_null(name_path("/cringle", "", "/kubepods.slice", "abc", err));
        assert_int_equal(err->code, CRINGLE_E_INVALID);
        assert_contains(err->text, "systemd slice");
        assert_contains(err->text, "cgroupDriver");
}

static void shares_become_weights_on_a_logarithmic_scale(void **state)
{
        assert_int_equal(limits_weight(0), 1);
        assert_int_equal(limits_weight(2), 1);
        assert_int_equal(limits_weight(256), 35);
        assert_int_equal(limits_weight(512), 59);
        assert_int_equal(limits_weight(1024), 100);
        assert_int_equal(limits_weight(2048), 174);
        assert_int_equal(limits_weight(262144), 10000);
        assert_int_equal(limits_weight(INT64_MAX), 10000);
        for (int64_t s = 3; s < 262144; s += 97)
                assert_true(limits_weight(s) >= limits_weight(s - 1) && limits_weight(s) <= 10000);
}

/* --- a tree of plain files --- */

struct fake {
        char *root;
        struct trees *trees;
};

static void put(const struct fake *f, const char *file, const char *text)
{
        auto_free char *path = str_printf(NULL, "%s/%s", f->root, file);
        auto_free char *dir = strdup(path);

        *strrchr(dir, '/') = '\0';
        assert_int_equal(file_make_dirs(dir, 0755, unit_err()), 0);
        assert_int_equal(file_replace(path, text, strlen(text), 0644, false, unit_err()), 0);
}

/* Writes to a plain file do not cut it: what a shorter text leaves behind is taken off here, by its first line. */
static void assert_file(const struct fake *f, const char *file, const char *want)
{
        auto_free char *path = str_printf(NULL, "%s/%s", f->root, file);
        auto_buf text = BUF_INIT;

        assert_int_equal(file_read(path, 4096, &text, unit_err()), 0);
        if (strncmp(text.data, want, strlen(want)) != 0)
                fail_msg("%s: '%s', want '%s'", file, text.data, want);
}

static int setup(void **state)
{
        struct fake *f = calloc(1, sizeof *f);

        f->root = unit_make_dir();
        *state = f;
        put(f, "cgroup.controllers", "cpuset cpu memory pids\n");
        put(f, "cgroup.subtree_control", "");
        put(f, "pod/cgroup.controllers", "cpuset cpu memory pids\n");
        put(f, "pod/cgroup.subtree_control", "cpu memory\n");
        put(f, "pod/c/cgroup.controllers", "cpu memory\n");
        put(f, "pod/c/cgroup.type", "domain\n");
        put(f, "pod/c/memory.max", "max\n");
        put(f, "pod/c/memory.swap.max", "max\n");
        put(f, "pod/c/cpu.max", "max 100000\n");
        put(f, "pod/c/cpu.weight", "100\n");
        put(f, "pod/c/pids.max", "max\n");
        put(f, "pod/c/io.max", "8:0 rbps=1\n");
        return trees_find(f->root, "", &f->trees, unit_err());
}

static int teardown(void **state)
{
        struct fake *f = *state;

        trees_free(f->trees);
        file_remove_tree(f->root, NULL);
        free(f->root);
        free(f);
        return 0;
}

static void a_directory_of_a_v2_tree_serves_as_one(void **state)
{
        struct fake *f = *state;

        assert_int_equal(f->trees->n, 1);
        assert_ptr_equal(f->trees->unified, &f->trees->list[0]);
        assert_ptr_equal(trees_with(f->trees, "pids"), f->trees->unified);
        assert_null(trees_with(f->trees, "io"));
}

static void controllers_are_enabled_down_the_path(void **state)
{
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        assert_int_equal(tree_make(f->trees->unified, "pod/c", err), 0);
        assert_file(f, "cgroup.subtree_control", "+cpuset +cpu +memory +pids");
        assert_file(f, "pod/cgroup.subtree_control", "+cpuset +pids");
}

/* Two at once: the other one has made the level above, and filled one of its two files. */
static void a_cpuset_is_whole_though_its_parent_is_half_made(void **state)
{
        struct fake *f = *state;
        auto_free char *line = str_printf(NULL, "30 23 0:26 / %s/cpuset rw - cgroup cgroup rw,cpuset\n", f->root);
        auto_of(trees) t = NULL;

        put(f, "cpuset/cpuset.cpus", "0-1\n");
        put(f, "cpuset/cpuset.mems", "0\n");
        put(f, "cpuset/pod/cpuset.cpus", "0-1\n");
        put(f, "cpuset/pod/cpuset.mems", "\n");
        put(f, "cpuset/pod/c/cpuset.cpus", "\n");
        put(f, "cpuset/pod/c/cpuset.mems", "\n");
        assert_ok(trees_find(f->root, line, &t, unit_err()), unit_err());
        assert_ok(tree_make(trees_with(t, "cpuset"), "pod/c", unit_err()), unit_err());
        assert_file(f, "cpuset/pod/c/cpuset.cpus", "0-1");
        assert_file(f, "cpuset/pod/c/cpuset.mems", "0");
}

static void a_threaded_place_is_refused(void **state)
{
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        put(f, "pod/c/cgroup.type", "domain invalid\n");
        assert_int_equal(tree_make(f->trees->unified, "pod/c", err), -1);
        assert_contains(err->text, "threaded");
}

static int apply(struct fake *f, const struct cringle_resources *r, struct cringle_err *err)
{
        auto_limits l = { 0 };

        if (limits_plan(f->trees, r, &l, err) < 0)
                return -1;
        return limits_apply(&l, "pod/c", err);
}

static void swap_on_v2_is_what_goes_beyond_memory(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        r.memory_limit = 100;
        r.memory_swap = 130;
        assert_ok(apply(f, &r, err), err);
        assert_file(f, "pod/c/memory.max", "100");
        assert_file(f, "pod/c/memory.swap.max", "30");

        r.memory_swap = -1;
        assert_ok(apply(f, &r, err), err);
        assert_file(f, "pod/c/memory.swap.max", "max");

        r.memory_swap = 99;
        assert_int_equal(apply(f, &r, err), -1);
        assert_contains(err->text, "(99) is below that on memory (100)");
}

static void quota_and_period_go_together(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        r.cpu_quota = 5000;
        r.cpu_period = 20000;
        assert_ok(apply(f, &r, err), err);
        assert_file(f, "pod/c/cpu.max", "5000 20000");

        put(f, "pod/c/cpu.max", "7000 100000\n");
        r.cpu_quota = CRINGLE_UNSET;
        assert_ok(apply(f, &r, err), err);
        assert_file(f, "pod/c/cpu.max", "7000 20000");

        put(f, "pod/c/cpu.max", "7000 100000\n");
        r.cpu_period = CRINGLE_UNSET;
        r.cpu_quota = -1;
        assert_ok(apply(f, &r, err), err);
        assert_file(f, "pod/c/cpu.max", "max");
}

static void limits_are_all_or_nothing(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct fake *f = *state;
        struct cringle_err *err = unit_err();
        auto_free char *path = str_printf(err, "%s/pod/c/pids.max", f->root);

        put(f, "pod/c/cpu.weight", "777\n");
        assert_int_equal(unlink(path), 0);
        r.cpu_shares = 1024;
        r.pids_limit = 10;
        assert_int_equal(apply(f, &r, err), -1);
        assert_contains(err->text, "no file pids.max");
        assert_file(f, "pod/c/cpu.weight", "777");
}

static void a_controller_that_is_not_there_is_named(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        static const struct cringle_hugepage_limit none[] = { { "2MB", 0 } }, some[] = { { "2MB", 4096 } },
                                                   bad[] = { { "../x", 0 } };
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        r.n_hugepages = 1;
        r.hugepages = none;
        assert_ok(apply(f, &r, err), err);
        r.hugepages = some;
        assert_int_equal(apply(f, &r, err), -1);
        assert_contains(err->text, "'hugetlb'");
        r.hugepages = bad;
        assert_int_equal(apply(f, &r, err), -1);
        assert_contains(err->text, "no size of huge pages");
}

static void unified_keys_are_files_of_limits_only(void **state)
{
        static const char *const bad[] = { "cgroup.procs", "cgroup.kill", "cgroup.freeze", "cgroup.subtree_control",
                                           "../memory.max", "memory/max", "memory", ".max", "", "a\n.b" };
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct cringle_pair pairs[] = { { "io.max", "8:0 rbps=2" }, { 0 } };
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        r.unified = pairs;
        assert_ok(apply(f, &r, err), err);
        assert_file(f, "pod/c/io.max", "8:0 rbps=2");
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                pairs[0].key = bad[i];
                if (apply(f, &r, err) == 0)
                        fail_msg("'%s' was taken", bad[i]);
        }
}

static void v2_numbers_are_read(void **state)
{
        struct cringle_cgroup_stats s = { .size = sizeof s };
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        put(f, "pod/c/cpu.stat",
            "usage_usec 1500\nuser_usec 1\nsystem_usec 2\nnr_periods 9\nnr_throttled 4\nthrottled_usec 3\n");
        put(f, "pod/c/memory.current", "1000\n");
        put(f, "pod/c/memory.stat", "anon 300\nfile 500\ninactive_file 400\nactive_file 100\npgfault 7\npgmajfault 2\n");
        put(f, "pod/c/memory.events", "low 0\nmax 6\noom 3\noom_kill 1\n");
        put(f, "pod/c/memory.peak", "2000\n");
        put(f, "pod/c/pids.current", "5\n");
        put(f, "pod/c/io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n");
        put(f, "pod/c/memory.pressure", "some avg10=1.25 avg60=100.00 avg300=0.07 total=12\n"
                                        "full avg10=0.00 avg60=0.50 avg300=0.00 total=7\n");
        assert_ok(stats_read(f->trees, "pod/c", &s, err), err);
        assert_int_equal(s.cpu_usage, 1500000);
        assert_int_equal(s.memory_usage, 1000);
        assert_int_equal(s.memory_working_set, 600);
        assert_int_equal(s.memory_rss, 300);
        assert_true(s.memory_limit == CRINGLE_UNSET);
        assert_true(s.swap_usage == CRINGLE_UNSET);
        assert_int_equal(s.page_faults, 7);
        assert_int_equal(s.major_page_faults, 2);
        assert_int_equal(s.oom_kills, 1);
        assert_int_equal(s.pids, 5);
        assert_int_equal(s.cpu_user, 1000);
        assert_int_equal(s.cpu_system, 2000);
        assert_int_equal(s.cpu_periods, 9);
        assert_int_equal(s.cpu_throttled, 4);
        assert_int_equal(s.cpu_throttled_time, 3000);
        assert_int_equal(s.memory_cache, 500);
        assert_int_equal(s.memory_active_file, 100);
        assert_int_equal(s.memory_inactive_file, 400);
        assert_int_equal(s.memory_failures, 6);
        assert_int_equal(s.memory_max_usage, 2000);
        assert_int_equal(s.io_read_bytes, 15);
        assert_int_equal(s.io_write_bytes, 20);
        assert_int_equal(s.io_reads, 2);
        assert_int_equal(s.io_writes, 2);
        assert_int_equal(s.memory_some.total, 12000);
        assert_int_equal(s.memory_some.avg10, 125);
        assert_int_equal(s.memory_some.avg60, 10000);
        assert_int_equal(s.memory_some.avg300, 7);
        assert_int_equal(s.memory_full.avg60, 50);
        assert_true(s.cpu_some.total == CRINGLE_UNSET);
        assert_true(s.hugepages[0].page_size == CRINGLE_UNSET);
}

static void no_more_is_filled_than_the_caller_knows(void **state)
{
        struct cringle_cgroup_stats s;
        struct fake *f = *state;
        struct cringle_err *err = unit_err();

        memset(&s, 0x5a, sizeof s);
        s.size = offsetof(struct cringle_cgroup_stats, memory_rss);
        put(f, "pod/c/memory.current", "1000\n");
        put(f, "pod/c/memory.stat", "anon 300\n");
        assert_ok(stats_read(f->trees, "pod/c", &s, err), err);
        assert_int_equal(s.memory_usage, 1000);
        assert_int_equal(s.memory_rss, 0x5a5a5a5a5a5a5a5a);
        assert_int_equal(s.size, offsetof(struct cringle_cgroup_stats, memory_rss));
}

/* --- layouts --- */

static void mounts_tell_the_layout(void **state)
{
        struct fake *f = *state;
        auto_free char *mountinfo = str_printf(
                NULL,
                "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                "31 22 0:28 / %1$s rw - tmpfs tmpfs rw,mode=755\n"
                "32 31 0:29 / %1$s/pod rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                "33 31 0:29 /x %1$s/pod/c rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
                "34 31 0:30 / %1$s/sd rw - cgroup cgroup rw,xattr,name=systemd\n"
                "35 31 0:31 / %1$s rw - cgroup2 cgroup2 rw\n"
                "36 31 0:32 / /elsewhere rw - cgroup cgroup rw,memory\n"
                "garbage\n",
                f->root);
        struct trees *t;
        struct cringle_err *err = unit_err();

        assert_ok(trees_find(f->root, mountinfo, &t, err), err);
        assert_int_equal(t->n, 2);
        assert_ptr_equal(trees_with(t, "cpuacct"), &t->list[0]);
        assert_ptr_equal(trees_with(t, "cpu"), &t->list[0]);    /* v1 goes before v2 */
        assert_ptr_equal(trees_with(t, "memory"), t->unified);
        trees_free(t);

        assert_int_equal(trees_find("/nowhere", "", &t, err), -1);
        assert_contains(err->text, "/nowhere");
}

/* --- device programs --- */

/* What the kernel would answer: only the instructions that such programs use. */
static int evaluate(const struct bpf_insn *p, size_t n, uint32_t type, uint32_t access, uint32_t major, uint32_t minor)
{
        const uint32_t context[] = { access << 16 | type, major, minor };
        uint64_t r[11] = { 0 };

        for (size_t at = 0; at < n; at++) {
                const struct bpf_insn *i = &p[at];

                switch (i->code) {
                case BPF_LDX | BPF_MEM | BPF_W:
                        r[i->dst_reg] = context[i->off / 4];
                        break;
                case BPF_ALU | BPF_MOV | BPF_X:
                        r[i->dst_reg] = (uint32_t) r[i->src_reg];
                        break;
                case BPF_ALU64 | BPF_MOV | BPF_K:
                        r[i->dst_reg] = (uint64_t) (int64_t) i->imm;
                        break;
                case BPF_ALU | BPF_AND | BPF_K:
                        r[i->dst_reg] = (uint32_t) r[i->dst_reg] & (uint32_t) i->imm;
                        break;
                case BPF_ALU | BPF_RSH | BPF_K:
                        r[i->dst_reg] = (uint32_t) r[i->dst_reg] >> i->imm;
                        break;
                case BPF_JMP | BPF_JNE | BPF_K:
                        at += r[i->dst_reg] != (uint64_t) (int64_t) i->imm ? (size_t) i->off : 0;
                        break;
                case BPF_JMP | BPF_JEQ | BPF_K:
                        at += r[i->dst_reg] == (uint64_t) (int64_t) i->imm ? (size_t) i->off : 0;
                        break;
                case BPF_JMP | BPF_EXIT:
                        return (int) r[0];
                default:
                        fail_msg("instruction 0x%02x", i->code);
                }
        }
        fail_msg("the program runs off its end");
        return -1;
}

/* The rule by rule meaning: the last rule that matches decides each access. */
static int reference(const struct cringle_device_rule *rules, size_t n, uint32_t type, uint32_t access, uint32_t major,
                     uint32_t minor)
{
        static const struct {
                uint32_t bit;
                char letter;
        } kinds[] = { { 1, 'm' }, { 2, 'r' }, { 4, 'w' } };

        for (size_t k = 0; k < 3; k++) {
                int allow = 0;

                if (!(access & kinds[k].bit))
                        continue;
                for (size_t i = 0; i < n; i++)
                        if ((rules[i].type == 'a' || (rules[i].type == 'b') == (type == 1)) &&
                            (rules[i].major < 0 || rules[i].major == (int64_t) major) &&
                            (rules[i].minor < 0 || rules[i].minor == (int64_t) minor) &&
                            strchr(rules[i].access, kinds[k].letter))
                                allow = rules[i].allow;
                if (!allow)
                        return 0;
        }
        return 1;
}

static void the_last_matching_rule_decides_each_access(void **state)
{
        static const struct cringle_device_rule rules[] = {
                { 'a', -1, -1, "rwm", 0 }, { 'c', 1, 3, "r", 1 },  { 'c', 1, 3, "w", 1 },  { 'c', 1, -1, "rm", 1 },
                { 'b', -1, 2, "rwm", 1 },  { 'c', 1, 2, "m", 0 },  { 'a', 2, -1, "w", 1 }, { 'b', 2, 3, "rw", 0 },
                { 'c', -1, 1, "rw", 1 },   { 'a', -1, 0, "m", 1 },
        };

        for (size_t n = 0; n <= sizeof rules / sizeof *rules; n++) {
                auto_free struct bpf_insn *p = NULL;
                size_t length;

                assert_int_equal(devices_program(rules, n, &p, &length, unit_err()), 0);
                for (uint32_t i = 0; i < 2 * 8 * 4 * 5; i++) {
                        uint32_t type = 1 + i % 2, access = 1 + i / 2 % 7, major = i / 16 % 4, minor = i / 64 % 5;

                        if (evaluate(p, length, type, access, major, minor) !=
                            reference(rules, n, type, access, major, minor))
                                fail_msg("%zu rules: type %u access %u of %u:%u", n, type, access, major, minor);
                }
        }
}

static void a_bad_device_rule_is_refused(void **state)
{
        static const struct cringle_device_rule bad[] = {
                { 'x', 1, 3, "r", 1 }, { 0, 1, 3, "r", 1 }, { 'c', 1, 3, "", 1 },
                { 'c', 1, 3, NULL, 1 }, { 'c', -2, 3, "r", 1 }, { 'c', 1, INT64_MAX, "r", 1 },
        };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct bpf_insn *p;
                size_t n;

                assert_int_equal(devices_program(&bad[i], 1, &p, &n, unit_err()), -1);
        }
}

#define FAKE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        cmocka_unit_test(parents_are_cleaned_and_ids_kept_plain),
        cmocka_unit_test(containers_alone_can_be_given_a_name),
        cmocka_unit_test(a_slice_is_refused_with_advice),
        cmocka_unit_test(shares_become_weights_on_a_logarithmic_scale),
        FAKE(a_directory_of_a_v2_tree_serves_as_one),
        FAKE(controllers_are_enabled_down_the_path),
        FAKE(a_cpuset_is_whole_though_its_parent_is_half_made),
        FAKE(a_threaded_place_is_refused),
        FAKE(swap_on_v2_is_what_goes_beyond_memory),
        FAKE(quota_and_period_go_together),
        FAKE(limits_are_all_or_nothing),
        FAKE(a_controller_that_is_not_there_is_named),
        FAKE(unified_keys_are_files_of_limits_only),
        FAKE(v2_numbers_are_read),
        FAKE(no_more_is_filled_than_the_caller_knows),
        FAKE(mounts_tell_the_layout),
        cmocka_unit_test(the_last_matching_rule_decides_each_access),
        cmocka_unit_test(a_bad_device_rule_is_refused))
