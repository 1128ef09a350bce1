/* The fake plugins behave as a caller of real ones would see it. */

#include "tests/support/unit.h"

#include <semaphore.h>
#include <signal.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/host/host.h"
#include "tests/support/fake.h"

struct fixture {
        char *dir;
        struct host *host;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);
        struct host_options options = { .builtins = fake_builtins };
        struct config config = { 0 };
        struct cringle_err *err = unit_err();
        int r;

        fake_reset();
        f->dir = unit_make_dir();
        config.root = str_printf(NULL, "%s/root", f->dir);
        config.state = str_printf(NULL, "%s/state", f->dir);
        config.image.name = (char *) "fake-image";
        config.cgroup.name = (char *) "fake-cgroup";
        config.network.name = (char *) "fake-network";
        config.executor.name = (char *) "fake-executor";
        r = host_new(&config, &options, &f->host, err);
        free(config.root);
        free(config.state);
        *state = f;
        return r;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        host_free(f->host);
        fake_reset();
        file_remove_tree(f->dir, NULL);
        free(f->dir);
        free(f);
        return 0;
}

static void a_call_fails_when_it_is_told_to(void **state)
{
        struct fixture *f = *state;
        struct host_cgroup c = host_cgroup(f->host);
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
        struct cringle_err *err = unit_err();
        auto_free char *calls = NULL;

        fake_fail("cgroup.create", 1);
        assert_int_equal(c.ops->create(c.self, NULL, "/p", "c", NULL, &dirs, err), -1);
        assert_string_equal(err->text, "fake-cgroup: cgroup.create: made to fail");
        assert_int_equal(fake_alive("cgroup"), 0);
        assert_int_equal(c.ops->create(c.self, NULL, "/p", "c", NULL, &dirs, err), 0);
        assert_int_equal(fake_alive("cgroup"), 1);
        assert_string_equal(dirs.oci_path, "/p/c");
        c.ops->free_dirs(&dirs);
        assert_int_equal(c.ops->destroy(c.self, NULL, "/p", "c", err), 0);
        assert_int_equal(fake_alive(NULL), 0);
        calls = fake_calls();
        assert_string_equal(calls, "cgroup.create /p/c\ncgroup.create /p/c\ncgroup.destroy /p/c\n");
}

struct seen {
        sem_t news;
        int code;
        char container[32];
};

static void see(void *data, const struct cringle_executor_event *event)
{
        struct seen *s = data;

        s->code = event->state.exit_code;
        snprintf(s->container, sizeof s->container, "%s", event->container);
        sem_post(&s->news);
}

static void a_container_ends_by_signal_and_tells_it(void **state)
{
        struct cringle_container_launch launch = { .size = sizeof launch, .pod = "p", .id = "c" };
        struct cringle_container_state s = { .size = sizeof s };
        struct fixture *f = *state;
        struct host_executor e = host_executor(f->host);
        struct cringle_err *err = unit_err();
        struct seen seen = { 0 };

        sem_init(&seen.news, 0, 0);
        e.ops->listen(e.self, see, &seen);
        assert_int_equal(e.ops->start(e.self, NULL, "p", "c", &s, err), -1);
        assert_int_equal(e.ops->create(e.self, NULL, &launch, &s, err), 0);
        assert_int_equal(s.state, CRINGLE_RUN_CREATED);
        assert_int_equal(e.ops->start(e.self, NULL, "p", "c", &s, err), 0);
        assert_int_equal(s.state, CRINGLE_RUN_RUNNING);
        fake_ignore_term(true);
        assert_int_equal(e.ops->kill(e.self, NULL, "p", "c", SIGTERM, 0, err), 0);
        assert_int_equal(e.ops->state(e.self, "p", "c", &s, err), 0);
        assert_int_equal(s.state, CRINGLE_RUN_RUNNING);
        assert_int_equal(e.ops->kill(e.self, NULL, "p", "c", SIGKILL, 0, err), 0);
        sem_wait(&seen.news);
        assert_int_equal(seen.code, 137);
        assert_string_equal(seen.container, "c");
        assert_int_equal(e.ops->state(e.self, "p", "c", &s, err), 0);
        assert_int_equal(s.state, CRINGLE_RUN_EXITED);
        assert_int_equal(e.ops->destroy(e.self, NULL, "p", "c", "/b", err), 0);
        assert_int_equal(fake_alive(NULL), 0);
        sem_destroy(&seen.news);
}

UNIT_MAIN(
        cmocka_unit_test_setup_teardown(a_call_fails_when_it_is_told_to, setup, teardown),
        cmocka_unit_test_setup_teardown(a_container_ends_by_signal_and_tells_it, setup, teardown))
