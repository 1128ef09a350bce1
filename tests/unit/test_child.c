/* A child gets what it is given and nothing else, and never keeps us waiting. */

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/child.h"
#include "agent/base/clock.h"

#define SH(script) { .path = "/bin/sh", .argv = (const char *const[]) { "sh", "-c", script, NULL } }

static void output_and_status_come_back(void **state)
{
        struct child_spec spec = SH("cat; echo oops >&2; exit 3");
        auto_buf in = BUF_INIT, out = BUF_INIT, tail = BUF_INIT;
        int status;

        buf_add_str(&in, "hello", NULL);
        assert_ok(child_run(&spec, NULL, &in, &out, 100, &tail, &status, unit_err()), unit_err());
        assert_int_equal(WEXITSTATUS(status), 3);
        assert_string_equal(out.data, "hello");
        assert_string_equal(tail.data, "oops\n");
}

static void no_fd_and_no_variable_of_ours_is_seen(void **state)
{
        struct child_spec spec = SH("ls /proc/self/fd | wc -l; env | grep -v ^PWD | grep -v ^_ | grep -v SHLVL");
        auto_buf out = BUF_INIT;
        int status, leak = open("/dev/null", O_RDONLY | O_CLOEXEC);

        spec.envp = (const char *const[]) { "PATH=/usr/bin:/bin", "ONLY=this", NULL };
        setenv("CANARY", "1", 1);
        assert_ok(child_run(&spec, NULL, NULL, &out, 1000, NULL, &status, unit_err()), unit_err());
        assert_string_equal(out.data, "4\nPATH=/usr/bin:/bin\nONLY=this\n");
        close(leak);
}

static void without_an_environment_there_is_none(void **state)
{
        struct child_spec spec = SH("echo ${CANARY-none}");
        auto_buf out = BUF_INIT;
        int status;

        spec.envp = NULL;
        setenv("CANARY", "1", 1);
        assert_ok(child_run(&spec, NULL, NULL, &out, 1000, NULL, &status, unit_err()), unit_err());
        assert_string_equal(out.data, "none\n");
}

static void fds_arrive_at_their_numbers_even_crossed(void **state)
{
        int a = open("/dev/null", O_RDONLY | O_CLOEXEC), p[2];
        auto_buf out = BUF_INIT;
        int status;
        struct child_spec spec = SH("read x <&4; echo got $x");

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(write(p[1], "five\n", 5), 5);
        spec.fds = (const struct child_fd[]) { { .fd = a, .as = p[0] }, { .fd = p[0], .as = 4 } };
        spec.n_fds = 2;
        assert_ok(child_run(&spec, NULL, NULL, &out, 1000, NULL, &status, unit_err()), unit_err());
        assert_string_equal(out.data, "got five\n");
        close(a);
        close(p[0]);
        close(p[1]);
}

static void the_deadline_kills_the_whole_group(void **state)
{
        struct child_spec spec = SH("sleep 60 & echo $!; wait");
        struct cringle_call call = call_within(NULL, 200 * NSEC_PER_MSEC);
        struct cringle_err *err = unit_err();
        auto_buf out = BUF_INIT;
        int status;
        int64_t start = clock_monotonic();

        assert_int_equal(child_run(&spec, &call, NULL, &out, 1000, NULL, &status, err), -1);
        assert_int_equal(err->code, CRINGLE_E_DEADLINE);
        assert_true(clock_monotonic() - start < 50 * NSEC_PER_SEC);
        usleep(50000);
        if (kill(atoi(out.data), 0) == 0) {             /* gone, or a zombie that init has yet to reap */
                char path[64], text[256] = "";
                FILE *f;

                snprintf(path, sizeof path, "/proc/%d/stat", atoi(out.data));
                f = fopen(path, "r");
                if (f) {
                        assert_non_null(fgets(text, sizeof text, f));
                        fclose(f);
                        assert_contains(text, ") Z ");
                }
        }
}

static void a_grandchild_with_the_pipe_is_not_waited_for(void **state)
{
        struct child_spec spec = SH("sleep 60 & echo done");
        auto_buf out = BUF_INIT;
        int64_t start = clock_monotonic();
        int status;

        assert_ok(child_run(&spec, NULL, NULL, &out, 1000, NULL, &status, unit_err()), unit_err());
        assert_string_equal(out.data, "done\n");
        assert_true(clock_monotonic() - start < 50 * NSEC_PER_SEC);
}

static void a_grandchild_that_never_stops_talking_is_not_listened_to(void **state)
{
        struct child_spec spec = SH("for i in 1 2 3 4 5 6; do cat /dev/zero >&2 & done; exit 5");
        auto_buf tail = BUF_INIT;
        int status;

        assert_ok(child_run(&spec, NULL, NULL, NULL, 0, &tail, &status, unit_err()), unit_err());
        assert_int_equal(WEXITSTATUS(status), 5);
}

static void too_much_output_ends_it(void **state)
{
        struct child_spec spec = SH("while :; do echo 0123456789; done");
        auto_buf out = BUF_INIT;
        int status;

        assert_int_equal(child_run(&spec, NULL, NULL, &out, 100000, NULL, &status, unit_err()), -1);
        assert_true(out.len <= 100000);
}

static void a_missing_program_is_named(void **state)
{
        struct child_spec spec = { .path = "/no/such", .argv = (const char *const[]) { "such", NULL } };
        struct cringle_err *err = unit_err();
        struct child c = CHILD_INIT;

        assert_int_equal(child_spawn(&spec, &c, err), -1);
        assert_int_equal(err->code, CRINGLE_E_NOT_FOUND);
        assert_contains(err->text, "/no/such");
}

UNIT_MAIN(
        cmocka_unit_test(output_and_status_come_back),
        cmocka_unit_test(no_fd_and_no_variable_of_ours_is_seen),
        cmocka_unit_test(without_an_environment_there_is_none),
        cmocka_unit_test(fds_arrive_at_their_numbers_even_crossed),
        cmocka_unit_test(the_deadline_kills_the_whole_group),
        cmocka_unit_test(a_grandchild_with_the_pipe_is_not_waited_for),
        cmocka_unit_test(a_grandchild_that_never_stops_talking_is_not_listened_to),
        cmocka_unit_test(too_much_output_ends_it),
        cmocka_unit_test(a_missing_program_is_named))
