/* This machine's answers to the builder: links, devices, profiles, propagation. */

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/oci/caps.h"
#include "agent/oci/spec.h"

static const struct spec_machine *const m = &spec_this_machine;

static int setup(void **state)
{
        *state = unit_make_dir();
        return 0;
}

static int teardown(void **state)
{
        file_remove_tree(*state, unit_err());
        free(*state);
        return 0;
}

static char *in(void **state, const char *name)
{
        return str_printf(unit_err(), "%s/%s", (char *) *state, name);
}

static void links_are_followed_and_gaps_told(void **state)
{
        struct cringle_err *err = unit_err();
        auto_free char *dir = in(state, "dir"), *link = in(state, "link"), *loose = in(state, "loose"), *real = NULL;

        assert_int_equal(mkdir(dir, 0700), 0);
        assert_int_equal(symlink("dir", link), 0);
        assert_int_equal(symlink("nowhere", loose), 0);
        assert_ok(m->resolve(NULL, link, &real, err), err);
        assert_string_equal(real, dir);
        assert_int_equal(m->resolve(NULL, loose, &real, err), -1);
        assert_int_equal(err->code, CRINGLE_E_NOT_FOUND);
}

static void profiles_are_regular_files_only(void **state)
{
        struct cringle_err *err = unit_err();
        auto_free char *file = in(state, "file"), *link = in(state, "link"), *fifo = in(state, "fifo");
        auto_buf text = BUF_INIT;

        assert_ok(file_replace(file, "{}", 2, 0600, false, err), err);
        assert_int_equal(symlink("file", link), 0);
        assert_int_equal(mkfifo(fifo, 0600), 0);
        assert_ok(m->profile(NULL, file, &text, err), err);
        assert_string_equal(text.data, "{}");
        assert_int_equal(m->profile(NULL, link, &text, err), -1);
        assert_int_equal(m->profile(NULL, fifo, &text, err), -1);
        assert_int_equal(m->profile(NULL, *state, &text, err), -1);
        assert_int_equal(m->profile(NULL, "/nonexistent", &text, err), -1);
        assert_int_equal(err->code, CRINGLE_E_NOT_FOUND);
}

static void free_devices(struct spec_device *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(list[i].path);
        free(list);
}

static void devices_have_their_numbers(void **state)
{
        struct cringle_err *err = unit_err();
        struct spec_device *list = NULL;
        bool found = false;
        size_t n = 0;

        assert_ok(m->devices(NULL, "/dev/null", &list, &n, err), err);
        assert_int_equal(n, 1);
        assert_string_equal(list[0].path, "/dev/null");
        assert_int_equal(list[0].type, 'c');
        assert_int_equal(list[0].major, 1);
        assert_int_equal(list[0].minor, 3);
        free_devices(list, n);

        assert_ok(m->devices(NULL, "/dev", &list, &n, err), err);
        for (size_t i = 0; i < n; i++) {
                found |= strcmp(list[i].path, "/dev/zero") == 0;
                assert_false(str_starts(list[i].path, "/dev/pts/"));
                assert_string_not_equal(list[i].path, "/dev/console");
                if (i)
                        assert_true(strcmp(list[i - 1].path, list[i].path) < 0);
        }
        assert_true(found);
        free_devices(list, n);

        assert_int_equal(m->devices(NULL, "/etc/passwd", &list, &n, err), -1);
        assert_int_equal(err->code, CRINGLE_E_INVALID);
        assert_int_equal(m->devices(NULL, "/dev/no-such", &list, &n, err), -1);
        assert_int_equal(err->code, CRINGLE_E_NOT_FOUND);
}

/* In a mount namespace of its own: 0 when each of three mounts is what it was made. */
static int check_propagation(const char *dir)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        enum spec_propagation p;
        auto_free char *odd = str_printf(&err, "%s/with space", dir);
        auto_free char *below = str_printf(&err, "%s/sub", odd);

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return 1;
        if (mkdir(odd, 0700) < 0 || mount("none", odd, "tmpfs", 0, NULL) < 0 || mkdir(below, 0700) < 0)
                return 2;
        if (m->propagation(NULL, below, &p, &err) < 0 || p != SPEC_PRIVATE)
                return 3;
        if (mount(NULL, odd, NULL, MS_SHARED, NULL) < 0 || m->propagation(NULL, below, &p, &err) < 0 ||
            p != SPEC_SHARED)
                return 4;
        if (mount(odd, dir, NULL, MS_BIND, NULL) < 0 || mount(NULL, dir, NULL, MS_SLAVE, NULL) < 0 ||
            m->propagation(NULL, dir, &p, &err) < 0 || p != SPEC_SLAVE)
                return 5;
        return 0;
}

static void propagation_is_the_mounts(void **state)
{
        pid_t pid = fork();
        int status;

        if (pid == 0)
                _exit(check_propagation(*state));
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_process_knows_what_it_can_give(void **state)
{
        struct cringle_err *err = unit_err();
        struct spec_input input = SPEC_INPUT_INIT;
        auto_free char *score = NULL;

        assert_ok(spec_input_probe(&input, err), err);
        assert_ok(file_read_line("/proc/self/oom_score_adj", &score, err), err);
        assert_int_equal(input.oom_score_adj, atoi(score));
        assert_true(input.has_seccomp);
        assert_int_equal(input.may_lower_oom, (input.caps >> caps_bit("CAP_SYS_RESOURCE")) & 1);
        assert_int_equal(input.caps & ~CAPS_ALL, 0);
}

static void capabilities_have_two_names(void **state)
{
        for (int bit = 0; bit < CAPS_COUNT; bit++) {
                assert_int_equal(caps_bit(caps_name(bit)), bit);
                assert_int_equal(caps_bit(caps_name(bit) + 4), bit);
        }
        assert_int_equal(caps_bit("cap_sys_admin"), 21);
        assert_int_equal(caps_bit("CHECKPOINT_RESTORE"), 40);
        assert_int_equal(caps_bit("CAP_"), -1);
        assert_int_equal(caps_bit("CAP_CAP_KILL"), -1);
        assert_null(caps_name(CAPS_COUNT));
        assert_null(caps_name(-1));
}

UNIT_MAIN(
        cmocka_unit_test_setup_teardown(links_are_followed_and_gaps_told, setup, teardown),
        cmocka_unit_test_setup_teardown(profiles_are_regular_files_only, setup, teardown),
        cmocka_unit_test(devices_have_their_numbers),
        cmocka_unit_test_setup_teardown(propagation_is_the_mounts, setup, teardown),
        cmocka_unit_test(the_process_knows_what_it_can_give),
        cmocka_unit_test(capabilities_have_two_names))
