/* CRIU is told what to dump and what not; whatever it does, an error says so and no child is left. */

#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/criu/criu.h"
#include "agent/criu/external.h"

static char *dir;

static int setup(void **state)
{
        dir = unit_make_dir();
        return 0;
}

static int teardown(void **state)
{
        int result = file_remove_tree(dir, unit_err());

        free(dir);
        return result;
}

/* A program that plays CRIU in this mode; borrowed until the next call. */
static const char *program(const char *mode)
{
        static char path[256];
        auto_free char *script = str_printf(NULL, "#!/bin/sh\nexec '%s' %s \"$@\"\n", CRIU_TOOL, mode);

        snprintf(path, sizeof path, "%s/criu", dir);
        assert_ok(file_replace(path, script, strlen(script), 0755, false, unit_err()), unit_err());
        return path;
}

static int calls;

static int count(void *data, size_t nth, struct cringle_err *err)
{
        calls++;
        return data ? err_set(err, CRINGLE_E_INTERNAL, "the disk is full") : 0;
}

/* Dump process 42 in this mode; @refuse: what is to be done while it is frozen fails. */
static int dump(const char *mode, bool refuse, int64_t patience, struct cringle_err *err)
{
        static const char *const external[] = { "mnt[/data]:/data", "net[7]:extRootNetNS", NULL };
        const struct cringle_call call = call_within(NULL, patience);
        auto_fd int images = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct criu_dump what = { program(mode), 42, images, true, external, NULL };

        calls = 0;
        return criu_dump(&what, 1, count, refuse ? &calls : NULL, &call, err);
}

static void what_is_asked_for_arrives(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *path = str_printf(NULL, "%s/asked", dir);
        auto_buf asked = BUF_INIT;

        assert_ok(dump("ok", false, 10 * NSEC_PER_SEC, &err), &err);
        assert_int_equal(calls, 1);
        assert_ok(file_read(path, 4096, &asked, &err), &err);
        assert_string_equal(asked.data, "type 1 pid 42 running 1 tty 1 cgroups 0\nmnt[/data]:/data\nnet[7]:extRootNetNS\n");
}

static void whatever_goes_wrong_is_told(void **state)
{
        static const struct {
                const char *mode, *said;
                int64_t patience;
                bool refuse;
        } cases[] = {
                { "fails", "criu: it failed: no such mount: Dump files failed", 10 * NSEC_PER_SEC, false },
                { "dies", "criu: it has ended", 10 * NSEC_PER_SEC, false },
                { "babbles", "criu: it speaks another language", 10 * NSEC_PER_SEC, false },
                { "hangs", "criu: ", NSEC_PER_SEC / 5, false },
                { "ok", "the disk is full", 10 * NSEC_PER_SEC, true },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;

                assert_int_equal(dump(cases[i].mode, cases[i].refuse, cases[i].patience, &err), -1);
                assert_contains(err.text, cases[i].said);
        }
}

/* Two trees, 42 and 43, at once; what they did is in the file `order`. */
static int dump_two(const char *mode, struct cringle_err *err)
{
        const struct cringle_call call = call_within(NULL, 10 * NSEC_PER_SEC);
        auto_free char *first = str_printf(NULL, "%s/first", dir), *second = str_printf(NULL, "%s/second", dir);
        auto_fd int a = -1, b = -1;

        assert_ok(file_make_dirs(first, 0700, unit_err()), unit_err());
        assert_ok(file_make_dirs(second, 0700, unit_err()), unit_err());
        a = open(first, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        b = open(second, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        const struct criu_dump both[] = { { program(mode), 42, a, false, NULL, "web" }, { program(mode), 43, b, false, NULL, "db" } };

        calls = 0;
        return criu_dump(both, 2, count, NULL, &call, err);
}

/* The line of @text that says @word of @pid. */
static const char *when(const char *text, const char *word, int pid)
{
        char line[64];
        const char *at;

        snprintf(line, sizeof line, "%s %d\n", word, pid);
        at = strstr(text, line);
        assert_non_null(at);
        return at;
}

static void several_stand_still_together(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *path = str_printf(NULL, "%s/order", dir);
        auto_buf order = BUF_INIT;

        assert_ok(dump_two("ok", &err), &err);
        assert_int_equal(calls, 2);
        assert_ok(file_read(path, 4096, &order, &err), &err);
        for (int of = 42; of <= 43; of++)
                for (int than = 42; than <= 43; than++) {
                        assert_true(when(order.data, "still", of) < when(order.data, "looked", than));
                        assert_true(when(order.data, "written", of) < when(order.data, "runs", than));
                }
}

static void of_several_the_one_that_failed_is_named(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *path = str_printf(NULL, "%s/order", dir);

        assert_int_equal(dump_two("late", &err), -1);
        assert_contains(err.text, "db: criu: it failed");
        assert_false(file_exists(path));                /* the other was not told to go on as if it had been right */
}

static void a_version_that_cannot_do_several_is_told(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(dump_two("old", &err), -1);
        assert_int_equal(err.code, CRINGLE_E_UNIMPLEMENTED);
        assert_contains(err.text, "CRIU 3.19, and this is 3.17");
}

static void without_the_program_it_is_unimplemented(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct criu_dump what = { .program = "/no/such/criu", .pid = 42, .images = -1 };

        assert_int_equal(criu_dump(&what, 1, count, NULL, NULL, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_UNIMPLEMENTED);
        assert_contains(err.text, "/no/such/criu");
}

static void what_comes_from_outside_is_external(void **state)
{
        static const char mounts[] =
                "259 275 0:86 / / rw - overlay overlay rw\n"
                "261 259 254:0 /srv/vol /data\\040here rw - ext4 /dev/vda rw\n"        /* a part of the node's disk */
                "262 332 0:85 / /dev/shm rw - tmpfs shm rw\n"                          /* the pod's, whole */
                "331 259 0:91 / /proc rw - proc proc rw\n"
                "340 331 0:91 /sys /proc/sys ro - proc proc rw\n"                      /* a part of its own */
                "332 259 0:92 / /dev rw - tmpfs tmpfs rw\n"
                "350 331 0:5 /null /proc/kcore rw - devtmpfs udev rw\n";
        static const char *const binds[] = { "/data here", "/dev/shm", NULL };
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_strv list = NULL;

        assert_ok(criu_external_mounts(mounts, binds, &list, &err), &err);
        assert_string_equal(list[0], "mnt[/data here]:/data here");
        assert_string_equal(list[1], "mnt[/dev/shm]:/dev/shm");
        assert_string_equal(list[2], "mnt[/proc/kcore]:/proc/kcore");
        assert_null(list[3]);
}

static void a_damaged_line_is_refused(void **state)
{
        static const char *const texts[] = { "259 275 0:86 /\n", "1\n", "1 2 3 4 5" };
        struct cringle_err err = CRINGLE_ERR_INIT;
        char **list = NULL;

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                assert_int_equal(criu_external_mounts(texts[i], NULL, &list, &err), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(what_is_asked_for_arrives),
        TEST(whatever_goes_wrong_is_told),
        TEST(several_stand_still_together),
        TEST(of_several_the_one_that_failed_is_named),
        TEST(a_version_that_cannot_do_several_is_told),
        TEST(without_the_program_it_is_unimplemented),
        cmocka_unit_test(what_comes_from_outside_is_external),
        cmocka_unit_test(a_damaged_line_is_refused))
