/*
 * cgroup-fs on this machine, whatever its layout: everything happens below a
 * parent of the test's own, which is gone afterwards.
 */

#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "agent/base/clock.h"
#include "agent/base/call.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "plugins/api/cgroup.h"
#include "cgroup/devices.h"
#include "cgroup/tree.h"

const struct cringle_plugin *cringle_builtin_cgroup_fs(void);

static const struct cringle_cgroup_ops *ops;
static void *self;
static char parent[64], prefix[64];
static volatile int *counter;           /* shared with the process that counts */

static int setup_at(const char *mount_point)
{
        const struct cringle_factory *f = cringle_builtin_cgroup_fs()->factories[0];
        const struct cringle_pair settings[] = { { "mount_point", mount_point }, { "prefix", prefix }, { 0 } };

        snprintf(parent, sizeof parent, "/cringle-test-%d/pod", getpid());
        snprintf(prefix, sizeof prefix, "/cringle-test-%d-own", getpid());
        ops = f->ops;
        counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (counter == MAP_FAILED)
                return -1;
        return f->create(NULL, settings, &self, unit_err());
}

static int setup(void **state)
{
        return setup_at("/sys/fs/cgroup");
}

/* The v2 tree alone, where a machine has it beside v1: whatever controllers it offers. */
static int setup_unified(void **state)
{
        return setup_at("/sys/fs/cgroup/unified");
}

static struct cringle_call within(int seconds)
{
        return call_within(NULL, seconds * NSEC_PER_SEC);
}

/* Also of what a failed test has left. */
static int clean(void **state)
{
        static const char *const ids[] = { "a", "b", "t1", "t2", "t3", "t4" };
        struct cringle_call call = within(10);
        char top[64];
        int r = 0;

        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
                r |= ops->destroy(self, &call, parent, ids[i], unit_err()) |
                     ops->destroy(self, &call, "", ids[i], unit_err());
        snprintf(top, sizeof top, "/cringle-test-%d", getpid());
        r |= ops->destroy(self, &call, top, "pod", unit_err());
        r |= ops->destroy(self, &call, "/", "x", unit_err()) == 0;      /* the root is refused */
        return r;
}

static int teardown(void **state)
{
        struct trees *t;
        auto_buf text = BUF_INIT;

        if (file_read("/proc/self/mountinfo", 1 << 24, &text, unit_err()) < 0 ||
            trees_find("/sys/fs/cgroup", text.data, &t, unit_err()) < 0)
                return -1;
        for (size_t i = 0; i < t->n; i++)
                tree_remove(&t->list[i], parent + 1, NULL);
        for (size_t i = 0; i < t->n; i++) {
                *strchr(parent + 1, '/') = '\0';
                tree_remove(&t->list[i], parent + 1, NULL);
                parent[strlen(parent)] = '/';
        }
        trees_free(t);
        cringle_builtin_cgroup_fs()->factories[0]->destroy(self);
        return 0;
}

/* --- helpers --- */

static struct cringle_cgroup_dirs make(const char *in, const char *id, const struct cringle_resources *r)
{
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
        struct cringle_call call = within(10);
        struct cringle_err *err = unit_err();

        assert_ok(ops->create(self, &call, in, id, r, &dirs, err), err);
        return dirs;
}

static void enter(const char *dir)
{
        auto_free char *procs = str_printf(NULL, "%s/cgroup.procs", dir);

        if (!procs || file_poke(procs, "0", NULL) < 0)
                _exit(99);
}

/* A process in all of @dirs that runs @body; its exit status is what that returns. */
static pid_t run_in(const struct cringle_cgroup_dirs *dirs, int (*body)(void))
{
        int ready[2];
        char byte;
        pid_t pid;

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                for (size_t i = 0; dirs->v1 && dirs->v1[i]; i++)
                        enter(dirs->v1[i]);
                if (dirs->unified)
                        enter(dirs->unified);
                (void) !write(ready[1], "x", 1);
                close(ready[1]);
                _exit(body());
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        return pid;
}

static int status_of(pid_t pid)
{
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static bool in_any(const struct cringle_cgroup_dirs *dirs)
{
        bool any = dirs->unified && file_exists(dirs->unified);

        for (size_t i = 0; dirs->v1 && dirs->v1[i]; i++)
                any = any || file_exists(dirs->v1[i]);
        return any;
}

static bool in_all(const struct cringle_cgroup_dirs *dirs)
{
        bool all = !dirs->unified || file_exists(dirs->unified);

        for (size_t i = 0; dirs->v1 && dirs->v1[i]; i++)
                all = all && file_exists(dirs->v1[i]);
        return all;
}

/* The content of @v1 or @v2, whichever the cgroup has. */
static char *content(const struct cringle_cgroup_dirs *dirs, const char *v1, const char *v2)
{
        auto_free char *file = NULL;
        char *line = NULL;

        for (size_t i = 0; dirs->v1 && dirs->v1[i]; i++) {
                free(file);
                file = str_printf(NULL, "%s/%s", dirs->v1[i], v1);
                if (file_exists(file))
                        break;
        }
        if (!file || !file_exists(file)) {
                free(file);
                file = str_printf(NULL, "%s/%s", dirs->unified, v2);
        }
        if (file_read_line(file, &line, unit_err()) < 0)
                fail_msg("%s", file);
        return line;
}

#define assert_content(dirs, v1, v2, want)                                      \
        do {                                                                    \
                char *content_ = content(dirs, v1, v2);                         \
                assert_string_equal(content_, want);                            \
                free(content_);                                                 \
        } while (0)

static int sleep_on(void)
{
        pause();
        return 0;
}

/* --- tests --- */

static void it_is_in_every_hierarchy_and_made_again_the_same(void **state)
{
        struct cringle_cgroup_dirs first = make(parent, "a", NULL), second = make(parent, "a", NULL);
        struct cringle_cgroup_dirs told = { .size = sizeof told };

        assert_true(in_all(&first));
        assert_string_equal(first.oci_path, second.oci_path);
        assert_int_equal(ops->path(self, parent, "a", &told, unit_err()), 0);
        assert_string_equal(first.oci_path, told.oci_path);
        if (first.unified)
                assert_string_equal(first.unified, told.unified);
        ops->free_dirs(&first);
        ops->free_dirs(&second);
        ops->free_dirs(&told);
}

static void limits_are_in_force(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct cringle_cgroup_dirs dirs;

        r.memory_limit = 64 << 20;
        r.pids_limit = 33;
        r.cpu_shares = 1024;
        r.cpu_period = 50000;
        r.cpu_quota = 25000;
        r.cpuset_cpus = "0";
        r.cpuset_mems = "0";
        dirs = make(parent, "a", &r);
        assert_content(&dirs, "memory.limit_in_bytes", "memory.max", "67108864");
        assert_content(&dirs, "pids.max", "pids.max", "33");
        assert_content(&dirs, "cpu.shares", "cpu.weight", dirs.v1 ? "1024" : "100");
        assert_content(&dirs, "cpu.cfs_quota_us", "cpu.max", dirs.v1 ? "25000" : "25000 50000");
        assert_content(&dirs, "cpuset.cpus", "cpuset.cpus", "0");
        ops->free_dirs(&dirs);
}

static void update_grows_and_shrinks_memory_and_swap_together(void **state)
{
        static const int64_t sizes[] = { 64, 256, 32, -1, 128 };
        struct cringle_cgroup_dirs dirs = make(parent, "a", NULL);
        struct cringle_call call = within(10);

        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                struct cringle_resources r = CRINGLE_RESOURCES_INIT;
                struct cringle_err *err = unit_err();

                r.memory_limit = r.memory_swap = sizes[i] < 0 ? -1 : sizes[i] << 20;
                assert_ok(ops->update(self, &call, parent, "a", &r, err), err);
        }
        assert_content(&dirs, "memory.limit_in_bytes", "memory.max", "134217728");
        ops->free_dirs(&dirs);
}

static void a_failed_update_changes_nothing(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct cringle_call call = within(10);
        struct cringle_cgroup_dirs dirs;
        struct cringle_err *err = unit_err();
        static const struct cringle_device_rule bad[] = { { 'c', 1, 3, "x", 1 } };

        r.memory_limit = 64 << 20;
        r.pids_limit = 33;
        dirs = make(parent, "a", &r);
        r.memory_limit = 32 << 20;
        r.pids_limit = 44;
        r.devices = bad;
        r.n_devices = 1;
        assert_int_equal(ops->update(self, &call, parent, "a", &r, err), -1);
        assert_contains(err->text, "access: want some of rwm, found 'x'");
        assert_content(&dirs, "memory.limit_in_bytes", "memory.max", "67108864");
        assert_content(&dirs, "pids.max", "pids.max", "33");
        ops->free_dirs(&dirs);
}

static void a_failed_create_leaves_nothing(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
        struct cringle_call call = within(10);
        struct cringle_err *err = unit_err();

        r.cpuset_cpus = "4095";
        assert_int_equal(ops->create(self, &call, "", "b", &r, &dirs, err), -1);
        assert_contains(err->text, "cpuset.cpus");
        assert_int_equal(ops->path(self, "", "b", &dirs, unit_err()), 0);
        assert_false(in_any(&dirs));
        ops->free_dirs(&dirs);
        assert_int_equal(ops->update(self, &call, "", "b", &r, err), -1);
        assert_int_equal(err->code, CRINGLE_E_NOT_FOUND);
}

static int fork_for_ever(void)
{
        while (getpid() > 0) {
                pid_t pid = fork();

                if (pid > 0)
                        waitpid(pid, NULL, WNOHANG);
                else
                        usleep(500);
        }
        return 0;
}

static void kill_ends_even_a_fork_bomb(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct cringle_call call = within(30);
        struct cringle_cgroup_dirs dirs;
        struct cringle_cgroup_stats s = { .size = sizeof s };
        struct cringle_err *err = unit_err();
        pid_t pid;

        r.pids_limit = 20;
        r.cpu_quota = 20000;
        r.cpu_period = 100000;
        dirs = make(parent, "a", &r);
        pid = run_in(&dirs, fork_for_ever);
        usleep(20000);
        assert_ok(ops->kill(self, &call, parent, "a", err), err);
        assert_int_equal(WTERMSIG(status_of(pid)), SIGKILL);
        assert_int_equal(ops->stats(self, parent, "a", &s, unit_err()), 0);
        assert_true(in_all(&dirs));     /* it is still there */
        ops->free_dirs(&dirs);
}

static void kill_finds_those_moved_in_v1_only(void **state)
{
        struct cringle_cgroup_dirs dirs = make(parent, "a", NULL);
        struct cringle_call call = within(10);
        struct cringle_err *err = unit_err();
        char *unified = dirs.unified;
        pid_t pid;

        if (!dirs.v1) {
                ops->free_dirs(&dirs);
                skip();
        }
        dirs.unified = NULL;
        pid = run_in(&dirs, sleep_on);
        dirs.unified = unified;
        assert_ok(ops->kill(self, &call, parent, "a", err), err);
        assert_int_equal(WTERMSIG(status_of(pid)), SIGKILL);
        ops->free_dirs(&dirs);
}

static void destroy_takes_what_runs_and_what_is_nested(void **state)
{
        struct cringle_cgroup_dirs dirs = make(parent, "a", NULL);
        struct cringle_call call = within(10);
        struct cringle_err *err = unit_err();
        pid_t pid;

        for (size_t i = 0; dirs.v1 && dirs.v1[i]; i++) {
                auto_free char *deep = str_printf(NULL, "%s/x/y/z", dirs.v1[i]);

                assert_int_equal(file_make_dirs(deep, 0755, unit_err()), 0);
        }
        if (dirs.unified) {
                auto_free char *deep = str_printf(NULL, "%s/x/y", dirs.unified);

                assert_int_equal(file_make_dirs(deep, 0755, unit_err()), 0);
        }
        pid = run_in(&dirs, sleep_on);
        assert_ok(ops->destroy(self, &call, parent, "a", err), err);
        assert_int_equal(WTERMSIG(status_of(pid)), SIGKILL);
        assert_false(in_any(&dirs));
        assert_ok(ops->destroy(self, &call, parent, "a", err), err);
        assert_ok(ops->kill(self, &call, parent, "a", err), err);
        ops->free_dirs(&dirs);
}

static int count_up(void)
{
        while (getpid() > 0) {
                usleep(1000);
                ++*counter;
        }
        return 0;
}

static void a_frozen_one_stands_still_and_can_be_killed(void **state)
{
        struct cringle_cgroup_dirs dirs = make(parent, "a", NULL);
        struct cringle_call call = within(10);
        struct cringle_err *err = unit_err();
        pid_t pid = run_in(&dirs, count_up);
        int before;

        assert_ok(ops->freeze(self, &call, parent, "a", 1, err), err);
        assert_ok(ops->freeze(self, &call, parent, "a", 1, err), err);
        before = *counter;
        usleep(50000);
        assert_int_equal(*counter, before);
        assert_ok(ops->freeze(self, &call, parent, "a", 0, err), err);
        for (int i = 0; i < 1000 && *counter == before; i++)
                usleep(1000);
        assert_int_not_equal(*counter, before);

        assert_ok(ops->freeze(self, &call, parent, "a", 1, err), err);
        assert_ok(ops->destroy(self, &call, parent, "a", err), err);
        assert_int_equal(WTERMSIG(status_of(pid)), SIGKILL);
        ops->free_dirs(&dirs);
}

static void kill_ends_with_its_call(void **state)
{
        struct cringle_call call = CALL_INIT;
        struct cringle_err *err = unit_err();
        struct cringle_cgroup_dirs dirs = make(parent, "a", NULL);
        int ends[2];
        pid_t pid;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        call.cancel_fd = ends[0];
        assert_int_equal(write(ends[1], "x", 1), 1);
        pid = run_in(&dirs, sleep_on);
        assert_int_equal(ops->kill(self, &call, parent, "a", err), -1);
        assert_int_equal(err->code, CRINGLE_E_CANCELLED);
        assert_int_equal(WTERMSIG(status_of(pid)), SIGKILL);
        close(ends[0]);
        close(ends[1]);
        ops->free_dirs(&dirs);
}

/* Which of /dev/null (1), /dev/zero (2), mknod of a disk (4) are granted, and /dev/full for reading alone (8). */
static int try_devices(void)
{
        char path[] = "/tmp/cringle-mknod.XXXXXX";
        int fd, granted = 0;

        fd = open("/dev/null", O_RDWR);
        granted |= fd >= 0 ? 1 : 0;
        fd = open("/dev/zero", O_RDWR);
        granted |= fd >= 0 ? 2 : 0;
        close(mkstemp(path));
        unlink(path);
        if (mknod(path, S_IFBLK | 0600, makedev(8, 0)) == 0) {
                granted |= 4;
                unlink(path);
        }
        fd = open("/dev/full", O_RDONLY);
        if (fd >= 0 && open("/dev/full", O_RDWR) < 0)
                granted |= 8;
        return granted;
}

static const struct cringle_device_rule some[] = {
        { 'a', -1, -1, "rwm", 0 },
        { 'c', 1, 3, "r", 1 },
        { 'c', 1, 3, "w", 1 },
        { 'c', 1, -1, "r", 1 },
        { 'c', 1, 5, "r", 0 },
};

static void devices_are_granted_by_rule_only(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct cringle_cgroup_dirs dirs;

        r.devices = some;
        r.n_devices = 5;
        dirs = make(parent, "a", &r);
        assert_int_equal(WEXITSTATUS(status_of(run_in(&dirs, try_devices))), 1 | 8);
        r.n_devices = 1;
        ops->free_dirs(&dirs);
        dirs = make(parent, "a", &r);
        assert_int_equal(WEXITSTATUS(status_of(run_in(&dirs, try_devices))), 0);
        ops->free_dirs(&dirs);
}

/* The same rules by BPF, where there is a v2 tree, also when the driver itself would use v1. */
static void the_device_program_does_as_the_v1_files(void **state)
{
        struct cringle_cgroup_dirs dirs = make(parent, "a", NULL), v2 = { .size = sizeof v2, .unified = dirs.unified };
        struct tree tree = { .v2 = true, .mount = (char *) "/", .fd = open("/", O_PATH | O_CLOEXEC) };
        struct trees trees = { .list = &tree, .n = 1, .unified = &tree };
        static const struct cringle_device_rule all[] = { { 'a', -1, -1, "rwm", 0 }, { 'a', -1, -1, "rwm", 1 } };
        struct cringle_err *err = unit_err();

        if (!dirs.unified) {
                ops->free_dirs(&dirs);
                skip();
        }
        assert_ok(devices_apply(&trees, dirs.unified + 1, some, 5, err), err);
        assert_int_equal(WEXITSTATUS(status_of(run_in(&v2, try_devices))), 1 | 8);
        assert_ok(devices_apply(&trees, dirs.unified + 1, some, 1, err), err);
        assert_int_equal(WEXITSTATUS(status_of(run_in(&v2, try_devices))), 0);
        /* The former program is gone: else it would still refuse. */
        assert_ok(devices_apply(&trees, dirs.unified + 1, all, 2, err), err);
        assert_int_equal(WEXITSTATUS(status_of(run_in(&v2, try_devices))) & 7, 1 | 2 | 4);
        close(tree.fd);
        ops->free_dirs(&dirs);
}

static int touch_memory(void)
{
        size_t n = 8 << 20;
        char *block = malloc(n);

        memset(block, 1, n);
        pause();
        return block[1];
}

static void stats_tell_what_is_used(void **state)
{
        struct cringle_resources r = CRINGLE_RESOURCES_INIT;
        struct cringle_cgroup_stats s = { .size = sizeof s };
        struct cringle_call call = within(10);
        struct cringle_err *err = unit_err();
        struct cringle_cgroup_dirs dirs;
        pid_t pid;

        assert_int_equal(ops->stats(self, parent, "a", &s, err), -1);
        assert_int_equal(err->code, CRINGLE_E_NOT_FOUND);
        r.memory_limit = 64 << 20;
        dirs = make(parent, "a", &r);
        pid = run_in(&dirs, touch_memory);
        for (int i = 0; i < 200; i++) {
                assert_ok(ops->stats(self, parent, "a", &s, err), err);
                if (s.memory_usage >= 8 << 20)
                        break;
                usleep(10000);
        }
        assert_true(s.memory_usage >= 8 << 20 && s.memory_usage < 64 << 20);
        assert_int_equal(s.memory_limit, 64 << 20);
        assert_int_equal(s.pids, 1);
        assert_int_equal(s.oom_kills, 0);
        assert_true(s.cpu_usage > 0 && s.page_faults > 0);
        assert_ok(ops->destroy(self, &call, parent, "a", err), err);
        status_of(pid);
        ops->free_dirs(&dirs);
}

static void a_parent_of_ours_goes_when_it_is_empty(void **state)
{
        struct cringle_cgroup_dirs a = make("", "a", NULL), b = make("", "b", NULL);
        struct cringle_call call = within(10);
        auto_free char *above = strdup(a.unified ? a.unified : a.v1[0]);

        *strrchr(above, '/') = '\0';
        assert_non_null(strstr(above, prefix));
        assert_int_equal(ops->destroy(self, &call, "", "a", unit_err()), 0);
        assert_true(file_exists(above));
        assert_true(in_all(&b));
        assert_int_equal(ops->destroy(self, &call, "", "b", unit_err()), 0);
        assert_false(file_exists(above));
        ops->free_dirs(&a);
        ops->free_dirs(&b);
}

static void the_v2_tree_alone_hands_its_controllers_down(void **state)
{
        struct cringle_cgroup_dirs dirs = make(parent, "a", NULL);
        auto_free char *offered = NULL;
        auto_free char *here = content(&dirs, "", "cgroup.controllers");

        assert_int_equal(ops->layout(self), CRINGLE_CGROUP_V2);
        assert_null(dirs.v1);
        assert_int_equal(file_read_line("/sys/fs/cgroup/unified/cgroup.controllers", &offered, unit_err()), 0);
        assert_string_equal(here, offered);
        ops->free_dirs(&dirs);
}

static void *come_and_go(void *id)
{
        for (int i = 0; i < 40; i++) {
                struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
                struct cringle_err err = CRINGLE_ERR_INIT;
                struct cringle_call call = within(10);

                if (ops->create(self, &call, "", id, NULL, &dirs, &err) < 0)
                        return strdup(err.text);
                if (!in_all(&dirs))
                        return strdup("a directory is missing");
                ops->free_dirs(&dirs);
                if (ops->destroy(self, &call, "", id, &err) < 0)
                        return strdup(err.text);
        }
        return NULL;
}

/* The last of them takes the parent away, while the next one is about to use it. */
static void many_come_and_go_at_once(void **state)
{
        static char ids[4][4] = { "t1", "t2", "t3", "t4" };
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, ids[i]), 0);
        for (size_t i = 0; i < 4; i++) {
                void *problem;

                assert_int_equal(pthread_join(threads[i], &problem), 0);
                if (problem)
                        fail_msg("%s", (char *) problem);
        }
}

#define TEST(name) cmocka_unit_test_teardown(name, clean)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(it_is_in_every_hierarchy_and_made_again_the_same),
                TEST(limits_are_in_force),
                TEST(update_grows_and_shrinks_memory_and_swap_together),
                TEST(a_failed_update_changes_nothing),
                TEST(a_failed_create_leaves_nothing),
                TEST(kill_ends_even_a_fork_bomb),
                TEST(kill_finds_those_moved_in_v1_only),
                TEST(destroy_takes_what_runs_and_what_is_nested),
                TEST(a_frozen_one_stands_still_and_can_be_killed),
                TEST(kill_ends_with_its_call),
                TEST(devices_are_granted_by_rule_only),
                TEST(the_device_program_does_as_the_v1_files),
                TEST(stats_tell_what_is_used),
                TEST(a_parent_of_ours_goes_when_it_is_empty),
                TEST(many_come_and_go_at_once),
        };

        const struct CMUnitTest unified[] = {
                TEST(it_is_in_every_hierarchy_and_made_again_the_same),
                TEST(the_v2_tree_alone_hands_its_controllers_down),
                TEST(destroy_takes_what_runs_and_what_is_nested),
                TEST(a_frozen_one_stands_still_and_can_be_killed),
                TEST(kill_ends_with_its_call),
                TEST(devices_are_granted_by_rule_only),
                TEST(many_come_and_go_at_once),
        };
        int failed = cmocka_run_group_tests(tests, setup, teardown);

        if (file_exists("/sys/fs/cgroup/unified/cgroup.controllers"))
                failed += cmocka_run_group_tests(unified, setup_unified, teardown);
        return failed;
}
