/* What a pod has on the node's disk: its files and mounts, its logs, and directories that nobody else gets into. */

#include "tests/flow/flow.h"

#include <ftw.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"

/* Start the agent on mounts that end with the test, so that it may make some; false: this needs a privilege. */
static bool start_with_mounts(struct flow *f)
{
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        assert_ok(flow_start(f, NULL, &flow_err), &flow_err);
        return true;
}

static void shm_is_mounted_and_goes_with_the_pod(void **state)
{
        struct flow *f = *state;
        auto_free char *shm = NULL;
        auto_buf mounts = BUF_INIT;
        struct pod_ask a;
        id_text pod;

        if (!start_with_mounts(f))
                skip();
        pod_ask(&a, "web");
        a.spaces.ipc = CRI__NAMESPACE_MODE__POD;
        assert_code(0, ask_run(f, &a, pod));
        shm = str_printf(NULL, "%s/pods/%s/files/shm", f->config.state, pod);
        assert_int_equal(umount2(shm, MNT_EXPIRE), -1);
        assert_true(file_exists(shm));
        assert_ok(file_read("/proc/thread-self/mounts", 1 << 20, &mounts, &flow_err), &flow_err);
        assert_contains(mounts.data, shm);
        assert_code(0, ask_stop_pod(f, pod));
        buf_clear(&mounts);
        assert_ok(file_read("/proc/thread-self/mounts", 1 << 20, &mounts, &flow_err), &flow_err);
        assert_null(strstr(mounts.data, shm));
        assert_code(0, ask_remove_pod(f, pod));
        assert_nothing_left(f);
}

/* What a container may write to, written to as it would. */
static void files_of_a_pod_are_full_one_day(void **state)
{
        static const char *const names[] = { "hosts", "resolv.conf", "hostname" };
        static char many[1 << 20];
        struct flow *f = *state;
        struct pod_ask a;
        id_text pod;

        if (!start_with_mounts(f))
                skip();
        pod_ask(&a, "web");
        a.spaces.ipc = CRI__NAMESPACE_MODE__POD;
        assert_code(0, ask_run(f, &a, pod));
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                auto_free char *path = str_printf(NULL, "%s/pods/%s/files/%s", f->config.state, pod, names[i]);
                auto_fd int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
                int n = 0;

                assert_true(fd >= 0);
                while (n < 32 && write(fd, many, sizeof many) == (ssize_t) sizeof many)
                        n++;
                assert_in_range(n, i == 0 ? 2 : 0, 4);
        }
        assert_code(0, ask_remove_pod(f, pod));
        assert_nothing_left(f);
}

/* Names and addresses end up in lines of files, and must not bring lines, or other words, of their own. */
static void a_value_is_one_word_of_its_line(void **state)
{
        static const char *const wrong[] = { "a\nnameserver 192.0.2.66", "a\rb", "a b", "a\tb", "", "\x7f", "a\n" };
        struct flow *f = *state;

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                for (int which = 0; which < 4; which++) {
                        Cri__DNSConfig dns = CRI__DNSCONFIG__INIT;
                        char *value = (char *) wrong[i], **list = &value;
                        struct pod_ask a;
                        id_text pod;

                        pod_ask(&a, "web");
                        if (which == 3) {
                                if (!*value)
                                        continue;       /* none */
                                a.config.hostname = value;
                        } else {
                                a.config.dns_config = &dns;
                                dns.servers = dns.searches = dns.options = list;
                                dns.n_servers = which == 0;
                                dns.n_searches = which == 1;
                                dns.n_options = which == 2;
                        }
                        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
                        assert_nothing_left(f);
                }
}

/* The kubelet puts the two together, and so do we: what comes of it has to lie below the first. */
static void a_log_lies_in_its_directory(void **state)
{
        static const char *const paths[] = { "../main.log", "a/../../main.log", "./main.log", "a//main.log", ".." };
        struct flow *f = *state;
        auto_free char *logs = str_printf(NULL, "%s/logs", f->dir);
        struct container_ask c;
        struct pod_ask a;
        id_text pod, id;

        pod_ask(&a, "web");
        a.config.log_directory = logs;
        assert_code(0, ask_run(f, &a, pod));
        container_ask(&c, pod, "main");
        c.request.sandbox_config = &a.config;
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
                c.config.log_path = (char *) paths[i];
                assert_code(CRINGLE_E_INVALID, ask_create(f, &c, id));
        }
        c.config.log_path = (char *) "main/0.log";
        assert_code(0, ask_create(f, &c, id));
        assert_consistent(f);
}

static void a_log_directory_is_where_it_says(void **state)
{
        static const char *const ends[] = { "/logs/../canary", "/./logs", "/logs/..", "//logs", "/logs/" };
        struct flow *f = *state;
        struct pod_ask a;
        id_text pod;

        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
                auto_free char *path = str_printf(NULL, "%s%s", f->dir, ends[i]);

                pod_ask(&a, "web");
                a.config.log_directory = path;
                assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
                assert_nothing_left(f);
        }
        pod_ask(&a, "web");
        a.config.log_directory = (char *) "logs";
        assert_code(CRINGLE_E_INVALID, ask_run(f, &a, pod));
}

static void a_log_is_reopened_while_the_container_runs(void **state)
{
        struct flow *f = *state;
        id_text pod, c;

        must_run(f, "web", pod);
        must_create(f, pod, "main", c);
        assert_code(CRINGLE_E_PRECONDITION, ask_reopen_log(f, c));
        assert_code(0, ask_start(f, c));
        assert_code(0, ask_reopen_log(f, c));
        fake_fail("executor.reopen_log", 1);
        assert_code(CRINGLE_E_INTERNAL, ask_reopen_log(f, c));
}

/* Set-user-id programs of images and keys of pods lie below: whoever is not root must not come that far. */
static int is_private(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        if (type == FTW_D && st->st_mode & 077)
                print_error("%s has mode %04o\n", path, st->st_mode & 07777);
        return type == FTW_D && st->st_mode & 077;
}

static void nobody_else_gets_into_our_directories(void **state)
{
        struct flow *f = *state;
        mode_t mask = umask(0);
        id_text pod, id;

        must_run(f, "web", pod);
        must_start(f, pod, "main", id);
        umask(mask);
        assert_int_equal(nftw(f->config.root, is_private, 16, FTW_PHYS), 0);
        assert_int_equal(nftw(f->config.state, is_private, 16, FTW_PHYS), 0);
        assert_consistent(f);
}

#define FLOW_TEST(test) cmocka_unit_test_setup_teardown(test, flow_setup, flow_teardown)
#define STOPPED_TEST(test) cmocka_unit_test_setup_teardown(test, flow_setup_stopped, flow_teardown)

UNIT_MAIN(
        FLOW_TEST(a_value_is_one_word_of_its_line),
        FLOW_TEST(a_log_lies_in_its_directory),
        FLOW_TEST(a_log_directory_is_where_it_says),
        FLOW_TEST(a_log_is_reopened_while_the_container_runs),
        FLOW_TEST(nobody_else_gets_into_our_directories),
        STOPPED_TEST(shm_is_mounted_and_goes_with_the_pod),
        STOPPED_TEST(files_of_a_pod_are_full_one_day))
