/* What a specification says is what the plan says: golden texts, and what is refused. */

#include "tests/support/unit.h"

#include "agent/base/json.h"
#include "agent/oci/plan.h"
#include "agent/wire/plan.h"

/* How the fields of each record are written out: u, U (64 bits, hex), s, l (list), b (bytes: their number). */
static struct {
        const char *name, *fields;
} shapes[] = {
        [PLAN_NAMESPACE] = { "namespace", "us" }, [PLAN_ID_MAP] = { "id_map", "uuuu" },
        [PLAN_TIME_OFFSET] = { "time_offset", "uUu" }, [PLAN_CGROUP] = { "cgroup", "us" },
        [PLAN_ROOT] = { "root", "suuu" }, [PLAN_MOUNT] = { "mount", "ssslu" "UUUU" "u" },
        [PLAN_REMOUNT] = { "remount", "sU" }, [PLAN_DEVICE] = { "device", "suuuuu" }, [PLAN_LINK] = { "link", "ss" },
        [PLAN_MASK] = { "mask", "s" }, [PLAN_READONLY] = { "readonly", "s" }, [PLAN_HOSTNAME] = { "hostname", "s" },
        [PLAN_DOMAINNAME] = { "domainname", "s" }, [PLAN_SYSCTL] = { "sysctl", "ss" },
        [PLAN_RLIMIT] = { "rlimit", "uUU" }, [PLAN_OOM_SCORE] = { "oom_score", "u" }, [PLAN_CWD] = { "cwd", "s" },
        [PLAN_USER] = { "user", "uuu" }, [PLAN_CAPS] = { "caps", "UUUUU" }, [PLAN_NO_NEW_PRIVS] = { "no_new_privs", "" },
        [PLAN_SECCOMP] = { "seccomp", "ub" }, [PLAN_APPARMOR] = { "apparmor", "s" }, [PLAN_SELINUX] = { "selinux", "s" },
        [PLAN_MOUNT_LABEL] = { "mount_label", "s" },
        [PLAN_ARGV] = { "argv", "l" }, [PLAN_ENV] = { "env", "l" }, [PLAN_TTY] = { "tty", "uu" },
        [PLAN_HOOK] = { "hook", "usllUusss" }, [PLAN_STATE] = { "state", "sss" }, [PLAN_BUNDLE] = { "bundle", "s" },
        [PLAN_PERSONALITY] = { "personality", "u" }, [PLAN_IO_PRIORITY] = { "io_priority", "u" },
        [PLAN_RESTORE] = { "restore", "sllss" },
        [PLAN_SCHEDULER] = { "scheduler", "uUuuUUU" }, [PLAN_MEMORY_POLICY] = { "memory_policy", "uuUU" },
};

static void dump(const struct buf *plan, struct buf *out)
{
        struct rec_cursor c, body;
        uint16_t tag;

        assert_int_equal(plan_open(plan->data, plan->len, &c, unit_err()), 0);
        while (rec_next(&c, &tag, &body)) {
                assert_true(tag < sizeof shapes / sizeof shapes[0] && shapes[tag].name);
                buf_add_str(out, shapes[tag].name, NULL);
                for (const char *f = shapes[tag].fields; *f; f++) {
                        size_t n;

                        if (*f == 'u')
                                buf_printf(out, NULL, " %u", rec_get_u32(&body));
                        if (*f == 'U')
                                buf_printf(out, NULL, " %llx", (unsigned long long) rec_get_u64(&body));
                        if (*f == 's')
                                buf_printf(out, NULL, " <%s>", rec_get_str(&body));
                        if (*f == 'b')
                                buf_printf(out, NULL, " %d", rec_get_bytes(&body, &n) != NULL && n > 0 && n % 8 == 0);
                        if (*f == 'l') {
                                auto_free const char **list = rec_get_strv(&body);

                                assert_non_null(list);
                                buf_add_str(out, " [", NULL);
                                for (size_t i = 0; list[i]; i++)
                                        buf_printf(out, NULL, "%s%s", i ? "," : "", list[i]);
                                buf_add_str(out, "]", NULL);
                        }
                }
                if (tag == PLAN_MOUNT && body.left > 0)
                        buf_printf(out, NULL, " brought %u", rec_get_u32(&body));
                assert_false(body.bad);
                buf_add_str(out, "\n", NULL);
        }
}

static struct json_object *parse(const char *text)
{
        struct json_object *o = NULL;

        if (json_parse(text, strlen(text), &o, unit_err()) < 0)
                fail_msg("'%s' is no JSON", text);
        return o;
}

/* A specification with @members in it, and @linux_ in its linux object. */
static char *spec_text(const char *process, const char *mounts, const char *linux_, const char *members)
{
        char *text;

        if (asprintf(&text,
                     "{\"ociVersion\":\"1.3.0\",\"root\":{\"path\":\"rootfs\"},"
                     "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"%s},\"mounts\":[%s],"
                     "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"network\",\"path\":\"/run/ns/net\"}]%s}%s}",
                     process, mounts, linux_, members) < 0)
                abort();
        return text;
}

static int compile_as(const char *text, const struct plan_options *options, struct buf *out, struct cringle_err *err)
{
        auto_json spec = parse(text);
        auto_buf plan = BUF_INIT;

        if (plan_compile(spec, options, &plan, err) < 0)
                return -1;
        dump(&plan, out);
        return 0;
}

static int compile(const char *text, struct buf *out, struct cringle_err *err)
{
        static const char *const v1[] = { "/sys/fs/cgroup/memory/pod/c", "/sys/fs/cgroup/pids/pod/c", NULL };
        static const char *const brought[] = { "/one", "/two", NULL };
        const struct plan_options options = {
                .bundle = "/b", .id = "c", .brought = brought, .cgroup_unified = "/sys/fs/cgroup/unified/pod/c", .cgroup_v1 = v1,
        };

        return compile_as(text, &options, out, err);
}

#define USUAL_DEVICES                                                                                   \
        "device </dev/null> 8630 1 3 0 0\ndevice </dev/zero> 8630 1 5 0 0\ndevice </dev/full> 8630 1 7 0 0\n" \
        "device </dev/random> 8630 1 8 0 0\ndevice </dev/urandom> 8630 1 9 0 0\ndevice </dev/tty> 8630 5 0 0 0\n"

#define USUAL_LINKS                                                                                     \
        "link </dev/fd> </proc/self/fd>\nlink </dev/stdin> </proc/self/fd/0>\nlink </dev/stdout> </proc/self/fd/1>\n" \
        "link </dev/stderr> </proc/self/fd/2>\nlink </dev/ptmx> <pts/ptmx>\n"

static void a_plain_specification_gives_a_plain_plan(void **state)
{
        auto_free char *text = spec_text("", "", "", "");
        auto_buf out = BUF_INIT;

        assert_ok(compile(text, &out, unit_err()), unit_err());
        assert_string_equal(out.data,
                "namespace 131072 <>\nnamespace 1073741824 </run/ns/net>\n"
                "cgroup 2 </sys/fs/cgroup/unified/pod/c>\ncgroup 1 </sys/fs/cgroup/memory/pod/c>\ncgroup 1 </sys/fs/cgroup/pids/pod/c>\n"
                "root </b/rootfs> 0 0 0\n" USUAL_DEVICES USUAL_LINKS
                "state <{\"ociVersion\":\"1.3.0\",\"id\":\"c\",\"status\":\"> <\",\"pid\":> <,\"bundle\":\"/b\",\"annotations\":{}}>\n"
                "bundle </b>\ncwd </>\nargv [sh]\nenv []\nuser 0 0 4294967295\ncaps 0 0 0 0 0\n");
}

static void mount_options_become_attributes(void **state)
{
        auto_free char *text = spec_text("",
                "{\"destination\":\"/a\",\"source\":\"/x\",\"type\":\"bind\",\"options\":[\"rbind\",\"ro\",\"nosuid\",\"rslave\"]},"
                "{\"destination\":\"/b\",\"source\":\"/x\",\"type\":\"bind\",\"options\":[\"bind\",\"ro\",\"rw\",\"rro\"]},"
                "{\"destination\":\"/c\",\"source\":\"tmpfs\",\"type\":\"tmpfs\",\"options\":[\"noexec\",\"strictatime\",\"size=1k\",\"mode=755\"]},"
                "{\"destination\":\"/d\",\"source\":\"/two\",\"type\":\"bind\",\"options\":[\"bind\",\"ro\"]},"
                "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\",\"options\":[\"nosuid\",\"ro\"]}", "", "");
        auto_buf out = BUF_INIT;

        assert_ok(compile(text, &out, unit_err()), unit_err());
        assert_contains(out.data, "mount </a> </x> <bind> [] 3 3 0 0 0 540672\n");
        assert_contains(out.data, "mount </b> </x> <bind> [] 1 0 0 1 0 278528\n");
        assert_contains(out.data, "mount </c> <tmpfs> <tmpfs> [size=1k,mode=755] 0 28 70 0 0 0\n");
        assert_contains(out.data, "mount </d> </two> <bind> [] 17 1 0 0 0 278528 brought 1\n");
        assert_contains(out.data, "mount </sys/fs/cgroup> <tmpfs> <tmpfs> [mode=755] 0 e 0 0 0 0\n"
                                  "mount </sys/fs/cgroup/unified> </sys/fs/cgroup/unified/pod/c> <bind> [] 1 3 0 0 0 278528\n"
                                  "mount </sys/fs/cgroup/memory> </sys/fs/cgroup/memory/pod/c> <bind> [] 1 3 0 0 0 278528\n"
                                  "mount </sys/fs/cgroup/pids> </sys/fs/cgroup/pids/pod/c> <bind> [] 1 3 0 0 0 278528\n"
                                  "remount </sys/fs/cgroup> 1\n");
}

static void the_process_is_told_whole(void **state)
{
        auto_free char *text = spec_text(
                ",\"env\":[\"A=1\"],\"user\":{\"uid\":4294967294,\"gid\":5,\"umask\":63,\"additionalGids\":[7]},\"terminal\":true,"
                "\"consoleSize\":{\"width\":80,\"height\":24},\"noNewPrivileges\":true,\"oomScoreAdj\":-500,"
                "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":10,\"hard\":18446744073709551615}],"
                "\"capabilities\":{\"bounding\":[\"CAP_CHOWN\",\"CAP_CHECKPOINT_RESTORE\"],\"permitted\":[\"CAP_CHOWN\"],\"effective\":[\"CAP_CHOWN\"]},"
                "\"apparmorProfile\":\"p\",\"selinuxLabel\":\"l\",\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":4},"
                "\"scheduler\":{\"policy\":\"SCHED_DEADLINE\",\"nice\":-5,\"priority\":7,\"flags\":[\"SCHED_FLAG_RESET_ON_FORK\","
                "\"SCHED_FLAG_DL_OVERRUN\"],\"runtime\":10,\"deadline\":20,\"period\":30}",
                "", ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\"],\"action\":\"SCMP_ACT_ERRNO\"}]},"
                "\"memoryPolicy\":{\"mode\":\"MPOL_INTERLEAVE\",\"nodes\":\"0-2,65\",\"flags\":[\"MPOL_F_STATIC_NODES\"]},"
                "\"mountLabel\":\"m\",\"personality\":{\"domain\":\"LINUX32\"}", "");
        auto_buf out = BUF_INIT;

        assert_ok(compile(text, &out, unit_err()), unit_err());
        assert_contains(out.data, "env [A=1]\nuser 4294967294 5 63\nrlimit 7 a ffffffffffffffff\noom_score 4294966796\n"
                                  "caps 10000000001 1 1 0 0\nno_new_privs\napparmor <p>\nselinux <l>\nmount_label <m>\n");
        assert_contains(out.data, "seccomp 0 1\ntty 80 24\nio_priority 16388\n"
                                  "scheduler 6 5 4294967291 7 a 14 1e\nmemory_policy 32771 2 7 2\npersonality 8\n");
}

static void hooks_keep_their_stage_order_and_environment(void **state)
{
        auto_free char *text = spec_text("", "", "",
                ",\"hooks\":{\"poststop\":[{\"path\":\"/p\"}],\"prestart\":[{\"path\":\"/q\",\"args\":[\"q\",\"1\"],\"env\":[\"X=\"],\"timeout\":2}]}");
        auto_buf out = BUF_INIT;

        assert_ok(compile(text, &out, unit_err()), unit_err());
        assert_contains(out.data, "hook 0 </q> [q,1] [X=] 77359400 0 <> <> <>\nhook 5 </p> [/p] [] 0 0 <> <> <>\n");
}

static void a_hook_brings_its_policy_and_whose_it_is(void **state)
{
        auto_free char *text = spec_text("", "", "", ",\"hooks\":{\"poststart\":[{\"path\":\"/p\",\"failure\":\"ignore\","
                                                     "\"from\":{\"source\":\"yaml\",\"name\":\"n\",\"origin\":\"/f:3\"}}]}");
        auto_buf out = BUF_INIT;

        assert_ok(compile(text, &out, unit_err()), unit_err());
        assert_contains(out.data, "hook 4 </p> [/p] [] 0 1 <yaml> <n> </f:3>\n");
}

static void equal_specifications_give_equal_plans(void **state)
{
        auto_free char *text = spec_text("", "", ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"read\",\"write\"],\"action\":\"SCMP_ACT_ALLOW\"}]}", "");
        auto_json one = parse(text);
        auto_json two = parse(text);
        struct plan_options options = { .bundle = "/b", .id = "c" };
        auto_buf a = BUF_INIT, b = BUF_INIT;

        assert_ok(plan_compile(one, &options, &a, unit_err()), unit_err());
        assert_ok(plan_compile(two, &options, &b, unit_err()), unit_err());
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
}

static void an_exec_has_its_own_command_and_terminal(void **state)
{
        auto_free char *text = spec_text(",\"terminal\":true,\"env\":[\"A=1\"],\"user\":{\"uid\":5,\"gid\":6}", "", "", "");
        static const char *const argv[] = { "ls", "-l", NULL };
        auto_json spec = parse(text);
        auto_buf plan = BUF_INIT, out = BUF_INIT;

        assert_ok(plan_compile_exec(spec, argv, false, &plan, unit_err()), unit_err());
        dump(&plan, &out);
        assert_string_equal(out.data, "cwd </>\nargv [ls,-l]\nenv [A=1]\nuser 5 6 4294967295\ncaps 0 0 0 0 0\n");
}

static void what_cannot_be_done_or_must_not_be_is_refused(void **state)
{
        static const struct {
                const char *process, *mounts, *linux_, *members, *says;
        } cases[] = {
                { "", "{\"destination\":\"/proc\",\"source\":\"/x\",\"type\":\"bind\"}", "", "", "/proc: nothing may be mounted" },
                { "", "{\"destination\":\"/proc/self\",\"source\":\"/x\",\"type\":\"bind\"}", "", "", "/proc/self: nothing may" },
                { "", "{\"destination\":\"/a/../proc/self\",\"source\":\"/x\",\"type\":\"bind\"}", "", "", "not spelled plainly" },
                { "", "{\"destination\":\"/proc/sys\",\"type\":\"tmpfs\"}", "", "", "/proc/sys: nothing may" },
                { "", "{\"destination\":\"a\",\"type\":\"tmpfs\"}", "", "", "no place to mount on" },
                { "", "{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":[\"tmpcopyup\"]}", "", "", "tmpcopyup" },
                { "", "", ",\"sysctl\":{\"kernel.core_pattern\":\"x\"}", "", "belongs to no namespace" },
                { "", "", ",\"sysctl\":{\"kernel.shmmax\":\"1\"}", "", "would be set for the host" },
                { "", "", ",\"sysctl\":{\"net.ipv4.a+b\":\"1\"}", "", "is no key" },
                { "", "", ",\"sysctl\":{\"net/../kernel/x\":\"1\"}", "", "is no key" },
                { "", "", ",\"sysctl\":{\"net.a\":\"1\\n2\"}", "", "more than one line" },
                { "", "", "", ",\"hostname\":\"h\"", "no uts namespace" },
                { ",\"user\":{\"uid\":4294967295}", "", "", "", "out of range" },
                { ",\"user\":{\"uid\":-1}", "", "", "", "out of range" },
                { ",\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[4294967296]}", "", "", "", "additionalGids" },
                { ",\"capabilities\":{\"bounding\":[\"CAP_NOPE\"]}", "", "", "", "CAP_NOPE" },
                { ",\"capabilities\":{\"ambient\":[\"CAP_CHOWN\"]}", "", "", "", "ambient" },
                { ",\"rlimits\":[{\"type\":\"RLIMIT_X\",\"soft\":1,\"hard\":1}]", "", "", "", "RLIMIT_X" },
                { ",\"scheduler\":{\"policy\":\"SCHED_FAST\"}", "", "", "", "process.scheduler.policy: there is no 'SCHED_FAST'" },
                { ",\"scheduler\":{\"policy\":\"SCHED_FIFO\",\"priority\":100}", "", "", "", "process.scheduler: priority" },
                { ",\"scheduler\":{\"policy\":\"SCHED_OTHER\",\"nice\":20}", "", "", "", "process.scheduler: nice" },
                { ",\"scheduler\":{\"policy\":\"SCHED_OTHER\",\"flags\":[\"X\"]}", "", "", "", "flags: there is no 'X'" },
                { "", "", ",\"memoryPolicy\":{\"mode\":\"MPOL_X\"}", "", "linux.memoryPolicy.mode: there is no 'MPOL_X'" },
                { "", "", ",\"memoryPolicy\":{\"mode\":\"MPOL_BIND\",\"nodes\":\"1024\"}", "", "linux.memoryPolicy: nodes" },
                { "", "", ",\"memoryPolicy\":{\"mode\":\"MPOL_BIND\",\"nodes\":\"3-1\"}", "", "linux.memoryPolicy: nodes" },
                { "", "", ",\"memoryPolicy\":{\"mode\":\"MPOL_BIND\",\"nodes\":\"0,\"}", "", "linux.memoryPolicy: nodes" },
                { "", "", ",\"intelRdt\":{\"closID\":\"x\"}", "", "linux.intelRdt is not supported" },
                { "", "", ",\"netDevices\":{\"eth1\":{}}", "", "linux.netDevices is not supported" },
                { "", "", ",\"maskedPaths\":[\"rel\"]", "", "not absolute" },
                { "", "", "", ",\"hooks\":{\"prestart\":[{\"path\":\"rel\"}]}", "not absolute" },
                { "", "", "", ",\"hooks\":{\"prestart\":[{\"path\":\"/x\",\"from\":\"me\"}]}", "from" },
                { "", "", "", ",\"hooks\":{\"prestart\":[{\"path\":\"/x\",\"from\":{\"name\":1}}]}", "name" },
                { "", "", "", ",\"hooks\":{\"prestart\":[{\"path\":\"/x\",\"timeout\":0}]}", "timeout" },
                { "", "", "", ",\"hooks\":{\"prestart\":[{\"path\":\"/x\",\"failure\":\"retry\"}]}", "neither fail nor ignore" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                auto_free char *text = spec_text(cases[i].process, cases[i].mounts, cases[i].linux_, cases[i].members);
                struct cringle_err err = CRINGLE_ERR_INIT;
                auto_buf out = BUF_INIT;

                if (compile(text, &out, &err) == 0)
                        fail_msg("%s: was taken", cases[i].says);
                assert_contains(err.text, cases[i].says);
        }
}

static void a_container_needs_a_mount_namespace(void **state)
{
        auto_buf out = BUF_INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(compile("{\"root\":{\"path\":\"r\"},\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"linux\":{}}", &out, &err), -1);
        assert_contains(err.text, "mount namespace");
}

static int compile_restore(const char *linux_, const char *members, bool tty, struct buf *out, struct cringle_err *err)
{
        const struct plan_restore restore = { "/usr/sbin/criu", "/b/images", "/b/criu", { NULL, "pipe:[7]", "pipe:[8]" } };
        const struct plan_options options = { .bundle = "/b", .id = "c", .rootfs_fd = true, .tty = tty, .restore = &restore };
        auto_free char *text = spec_text("", "", linux_, members);

        return compile_as(text, &options, out, err);
}

static void what_is_restored_gets_what_is_not_its_own(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf out = BUF_INIT;

        assert_ok(compile_restore("", "", false, &out, &err), &err);
        assert_contains(out.data,
                        "restore </usr/sbin/criu> [criu,restore,--log-file=restore.log,-v4,--restore-detached,--restore-sibling,"
                        "--manage-cgroups=ignore,--tcp-close,--ext-unix-sk,--file-locks,--images-dir,/b/images,--work-dir,/b/criu,"
                        "--pidfile,/b/criu/pid,--root,/b/rootfs,--inherit-fd,fd[23]:extRootNetNS,--inherit-fd,fd[21]:pipe:[7],"
                        "--inherit-fd,fd[22]:pipe:[8]] [PATH=/usr/sbin:/usr/bin:/sbin:/bin] </b/criu/mounts> </b/criu/pid>\n");
}

static void what_cannot_be_restored_is_refused(void **state)
{
        static const struct { const char *linux_, *members, *said; bool tty; } cases[] = {
                { "", "", "with a terminal", true },
                { "", ",\"hooks\":{\"createRuntime\":[{\"path\":\"/x\"}]}", "hooks.createRuntime", false },
                { "", ",\"hooks\":{\"startContainer\":[{\"path\":\"/x\"}]}", "hooks.startContainer", false },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                auto_buf out = BUF_INIT;

                assert_int_equal(compile_restore(cases[i].linux_, cases[i].members, cases[i].tty, &out, &err), -1);
                assert_int_equal(err.code, CRINGLE_E_UNIMPLEMENTED);
                assert_contains(err.text, cases[i].said);
        }
}

UNIT_MAIN(
        cmocka_unit_test(a_plain_specification_gives_a_plain_plan),
        cmocka_unit_test(mount_options_become_attributes),
        cmocka_unit_test(the_process_is_told_whole),
        cmocka_unit_test(hooks_keep_their_stage_order_and_environment),
        cmocka_unit_test(a_hook_brings_its_policy_and_whose_it_is),
        cmocka_unit_test(equal_specifications_give_equal_plans),
        cmocka_unit_test(an_exec_has_its_own_command_and_terminal),
        cmocka_unit_test(what_cannot_be_done_or_must_not_be_is_refused),
        cmocka_unit_test(a_container_needs_a_mount_namespace),
        cmocka_unit_test(what_is_restored_gets_what_is_not_its_own),
        cmocka_unit_test(what_cannot_be_restored_is_refused))
