/* Hooks are awaited within their time, and what they said is kept; procfs writes go where they should. */

#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/launch/hook.h"
#include "agent/launch/kernel.h"
#include "agent/launch/launch.h"

static void make_plan(struct buf *out, const char *script, uint64_t timeout, bool ignore, struct rec_cursor *ret)
{
        const char *const argv[] = { "sh", "-c", script, NULL };
        const char *const env[] = { "ONLY=this", NULL };
        struct rec_writer w;

        assert_int_equal(plan_begin(&w, out, unit_err()), 0);
        rec_begin(&w, PLAN_HOOK);
        rec_put_u32(&w, PLAN_POSTSTART);
        rec_put_str(&w, "/bin/sh");
        rec_put_strv(&w, argv);
        rec_put_strv(&w, env);
        rec_put_u64(&w, timeout);
        if (ignore) {                   /* older plans end before this, or after the number */
                rec_put_u32(&w, 1);
                rec_put_str(&w, "hooks.d");
                rec_put_str(&w, "10-mind.json");
                rec_put_str(&w, "/etc/10-mind.json");
        }
        rec_end(&w);
        rec_begin(&w, PLAN_STATE);
        rec_put_str(&w, "<");
        rec_put_str(&w, "|");
        rec_put_str(&w, ">");
        rec_end(&w);
        rec_add_str(&w, PLAN_BUNDLE, "/tmp");
        assert_int_equal(rec_finish(&w), 0);
        assert_int_equal(plan_open(out->data, out->len, ret, unit_err()), 0);
}

static int run(const char *script, uint64_t timeout, struct cringle_err *err)
{
        auto_buf out = BUF_INIT;
        struct rec_cursor plan;

        make_plan(&out, script, timeout, false, &plan);
        return hook_run_all(plan, PLAN_POSTSTART, "running", 42, -1, err);
}

static void a_hook_gets_state_environment_and_directory_and_no_fds(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int spare = open("/dev/null", O_RDONLY);        /* no CLOEXEC */

        assert_ok(run("test \"$(cat)\" = '<running|42>' && test \"$ONLY\" = this && test -z \"$HOME\" && test \"$PWD\" = /tmp && "
                      "test \"$(ls /proc/self/fd | tr '\\n' ' ')\" = '0 1 2 3 '", 0, &err), &err);
        close(spare);
}

static void only_the_tail_of_stderr_is_kept_as_one_line(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(run("head -c 100000 /dev/zero | tr '\\0' x >&2; printf '\\n\\n the\\033 end \\n' >&2; exit 9", 0, &err), -1);
        assert_contains(err.text, "poststart hook 1, /bin/sh: exit status 9: xxx");
        assert_contains(err.text, "xxx the? end");
        /* Of its last 512 bytes two line ends and a space fold into one space, and that at the end goes. */
        assert_int_equal(strlen(err.text), strlen("poststart hook 1, /bin/sh: exit status 9: ") + HOOK_TAIL_MAX - 4);
}

static void a_hook_that_forks_away_is_not_waited_for(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t begun = clock_monotonic();

        assert_ok(run("sleep 120 & exit 0", 0, &err), &err);
        assert_true(clock_monotonic() - begun < 60 * NSEC_PER_SEC);
}

static void a_hook_is_killed_at_its_limit(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t begun = clock_monotonic();

        assert_int_equal(run("sleep 60", 100 * NSEC_PER_MSEC, &err), -1);
        assert_contains(err.text, "killed at its time limit");
        assert_true(clock_monotonic() - begun < 50 * NSEC_PER_SEC);
}

static void a_hook_that_never_stops_talking_is_killed_at_its_limit(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t begun = clock_monotonic();

        assert_int_equal(run("for i in 1 2 3 4 5 6; do cat /dev/zero >&2 & done; wait", 100 * NSEC_PER_MSEC, &err), -1);
        assert_contains(err.text, "killed at its time limit");
        assert_true(clock_monotonic() - begun < 50 * NSEC_PER_SEC);
}

static void one_that_leaves_somebody_talking_is_not_waited_for(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(run("for i in 1 2 3 4 5 6; do cat /dev/zero >&2 & done; exit 0", 0, &err), &err);
        assert_int_equal(run("for i in 1 2 3 4 5 6; do cat /dev/zero >&2 & done; exit 4", 0, &err), -1);
        assert_contains(err.text, "exit status 4");
}

/* As in the monitor, whose own limits are not those that its children are to have. */
static void a_hook_starts_from_the_limits_of_old(void **state)
{
        struct hook_origin origin = { .known = true, .oom_score = 321 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct rlimit files;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
        origin.nofile_soft = files.rlim_max / 2;
        hook_set_origin(&origin);
        assert_ok(run("test $(cat /proc/self/oom_score_adj) = 321 && test $(ulimit -Sn) = $(($(ulimit -Hn) / 2))", 0, &err), &err);
        hook_set_origin(&(struct hook_origin) { 0 });
}

static void a_failure_that_is_ignored_is_told_and_no_more(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct launch_message m;
        auto_buf out = BUF_INIT;
        struct rec_cursor plan;
        int ends[2], fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
        make_plan(&out, "echo never mind >&2; exit 3", 0, true, &plan);
        assert_ok(hook_run_all(plan, PLAN_POSTSTART, "running", 42, ends[0], &err), &err);
        assert_int_equal(err.code, CRINGLE_OK);
        assert_int_equal(launch_receive(ends[1], &m, fds, &err), 1);
        assert_int_equal(m.kind, LAUNCH_HOOK);
        assert_int_equal(m.hook.stage, PLAN_POSTSTART);
        assert_int_equal(m.hook.index, 1);
        assert_int_equal(m.hook.exit_code, 3);
        assert_int_equal(m.hook.flags, WIRE_HOOK_IGNORED);
        assert_true(m.hook.nanoseconds > 0 && m.hook.ended_at > 0);
        assert_string_equal(m.err.text, "hooks.d:10-mind.json (/etc/10-mind.json): poststart hook 1, /bin/sh: exit status 3: never mind");
        assert_int_equal(launch_receive(ends[1], &m, fds, &err), 0);
        close(ends[0]);
        close(ends[1]);
}

static void a_run_is_named_from_the_plan(void **state)
{
        struct wire_hook run = { .stage = PLAN_POSTSTART, .index = 1 };
        auto_buf out = BUF_INIT, old = BUF_INIT;
        struct rec_cursor plan;

        make_plan(&out, "true", 0, true, &plan);
        assert_true(hook_name_run(plan, &run));
        assert_string_equal(run.path, "/bin/sh");
        assert_string_equal(run.source, "hooks.d");
        assert_string_equal(run.name, "10-mind.json");
        assert_string_equal(run.origin, "/etc/10-mind.json");
        run.index = 2;
        assert_false(hook_name_run(plan, &run));
        run.stage = 77;
        assert_false(hook_name_run(plan, &run));
        make_plan(&old, "true", 0, false, &plan);       /* does not say */
        run = (struct wire_hook) { .stage = PLAN_POSTSTART, .index = 1 };
        assert_true(hook_name_run(plan, &run));
        assert_string_equal(run.name, "");
}

static void a_sysctl_key_cannot_leave_proc_sys(void **state)
{
        int proc = kernel_procfs(false, unit_err());
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (proc < 0)
                skip();                 /* not root */
        assert_int_equal(kernel_sysctl(proc, "../self/oom_score_adj/../../../../etc/x", "1", &err), -1);
        assert_int_equal(kernel_proc_write(proc, "self/cwd/x", "1", &err), -1);
        assert_int_equal(kernel_proc_write(proc, "../x", "1", &err), -1);
        assert_ok(kernel_proc_write(proc, "self/oom_score_adj", "777", &err), &err);
        close(proc);
}

static void only_the_named_fds_stay_open(void **state)
{
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                int keep[2] = { dup2(1, 70), dup2(1, 50) };

                dup2(1, 60);
                dup2(1, 80);
                kernel_close_others(keep, 2);
                _exit(fcntl(50, F_GETFD) >= 0 && fcntl(70, F_GETFD) >= 0 && fcntl(60, F_GETFD) < 0 && fcntl(80, F_GETFD) < 0 &&
                      fcntl(0, F_GETFD) >= 0 ? 0 : 1);
        }
        assert_true(pid > 0);
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
}

UNIT_MAIN(
        cmocka_unit_test(a_hook_gets_state_environment_and_directory_and_no_fds),
        cmocka_unit_test(only_the_tail_of_stderr_is_kept_as_one_line),
        cmocka_unit_test(a_hook_that_forks_away_is_not_waited_for),
        cmocka_unit_test(a_hook_is_killed_at_its_limit),
        cmocka_unit_test(a_hook_that_never_stops_talking_is_killed_at_its_limit),
        cmocka_unit_test(one_that_leaves_somebody_talking_is_not_waited_for),
        cmocka_unit_test(a_hook_starts_from_the_limits_of_old),
        cmocka_unit_test(a_failure_that_is_ignored_is_told_and_no_more),
        cmocka_unit_test(a_run_is_named_from_the_plan),
        cmocka_unit_test(only_the_named_fds_stay_open),
        cmocka_unit_test(a_sysctl_key_cannot_leave_proc_sys))
