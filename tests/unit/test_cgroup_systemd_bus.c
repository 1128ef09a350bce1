/*
 * Calls over D-Bus against a systemd of our own, which answers as told: late, never,
 * with refusals, or by hanging up.
 */

#include "tests/support/unit.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "plugins/cgroup-systemd/bus.h"

#define MANAGER "org.freedesktop.systemd1.Manager"
#define SOON (1 * NSEC_PER_SEC)
#define LONG (20 * NSEC_PER_SEC)

/* --- a bus with systemd at its end --- */

enum mood {
        OBLIGING,
        JOBS_FAIL,
        UNITS_EXIST,
        NO_UNITS,                       /* there is none to stop */
        SILENT,                         /* no answer at all */
        MUTE,                           /* jobs end, and nobody is told */
        HANGS_UP,                       /* at the first call on the first connection */
};

struct fake {
        enum mood mood;
        char *dir;
        char *address;
        int listener;
        int connections;
        int calls;                      /* all but the bus's own and Subscribe */
        uint32_t jobs;
        bool hung_up;
        char said[4096];                /* the properties that were said last, with their signatures */
        pthread_t thread;
        _Atomic bool ending;
        int log_lines;
};

static struct fake fake;

static void note(sd_bus_message *m, char *to, size_t size)
{
        FILE *f = fmemopen(to, size - 1, "w");

        sd_bus_message_rewind(m, 1);
        sd_bus_message_dump(m, f, 0);
        fclose(f);
        sd_bus_message_rewind(m, 1);
}

static int reply_job(sd_bus_message *m)
{
        sd_bus *bus = sd_bus_message_get_bus(m);
        sd_bus_message *signal = NULL;
        char job[64];
        int r;

        fake.jobs++;
        snprintf(job, sizeof job, "/org/freedesktop/systemd1/job/%u", fake.jobs);
        sd_bus_reply_method_return(m, "o", job);
        if (fake.mood == MUTE)
                return 1;
        r = sd_bus_message_new_signal(bus, &signal, "/org/freedesktop/systemd1", MANAGER, "JobRemoved");
        assert_true(r >= 0);
        sd_bus_message_set_sender(signal, ":1.1");
        sd_bus_message_append(signal, "uoss", fake.jobs, job, "x.scope", fake.mood == JOBS_FAIL ? "failed" : "done");
        sd_bus_send(bus, signal, NULL);
        sd_bus_message_unref(signal);
        return 1;
}

static int refuse(sd_bus_message *m, const char *name)
{
        sd_bus_error e = SD_BUS_ERROR_MAKE_CONST(name, "so it is");

        return sd_bus_reply_method_error(m, &e);
}

static int on_call(sd_bus_message *m, void *data, sd_bus_error *unused)
{
        const char *member = sd_bus_message_get_member(m);

        if (!member || sd_bus_message_is_signal(m, NULL, NULL))
                return 0;
        if (strcmp(member, "Hello") == 0)
                return sd_bus_reply_method_return(m, "s", ":1.2");
        if (strcmp(member, "AddMatch") == 0 || strcmp(member, "RemoveMatch") == 0 || strcmp(member, "Subscribe") == 0)
                return sd_bus_reply_method_return(m, "");

        fake.calls++;
        if (fake.mood == SILENT)
                return 1;
        if (fake.mood == HANGS_UP && !fake.hung_up) {
                fake.hung_up = true;
                sd_bus_close(sd_bus_message_get_bus(m));
                return 1;
        }
        if (strcmp(member, "Get") == 0)
                return sd_bus_reply_method_return(m, "v", "s", "252.38-1~deb12u1");
        if (strcmp(member, "GetJob") == 0)
                return refuse(m, "org.freedesktop.systemd1.NoSuchJob");
        note(m, fake.said, sizeof fake.said);
        if (strcmp(member, "SetUnitProperties") == 0)
                return sd_bus_reply_method_return(m, "");
        if (fake.mood == UNITS_EXIST)
                return refuse(m, "org.freedesktop.systemd1.UnitExists");
        if (fake.mood == NO_UNITS || (fake.mood == MUTE && fake.jobs > 0))
                return refuse(m, strcmp(member, "StopUnit") == 0 ? "org.freedesktop.systemd1.NoSuchUnit" : "a.b.Refused");
        return reply_job(m);
}

static sd_bus *accepted(int fd)
{
        sd_bus *bus;
        sd_id128_t id = { .bytes = { 1 } };

        assert_true(sd_bus_new(&bus) >= 0);
        assert_true(sd_bus_set_fd(bus, fd, fd) >= 0);
        assert_true(sd_bus_set_server(bus, 1, id) >= 0);
        assert_true(sd_bus_add_filter(bus, NULL, on_call, NULL) >= 0);
        assert_true(sd_bus_start(bus) >= 0);
        return bus;
}

static void *fake_thread(void *data)
{
        sd_bus *bus = NULL;

        while (!fake.ending) {
                struct pollfd p[2] = { { fake.listener, POLLIN, 0 }, { -1, POLLIN, 0 } };

                while (bus && sd_bus_process(bus, NULL) > 0)
                        ;
                if (bus && sd_bus_is_open(bus) <= 0)
                        bus = sd_bus_unref(bus);
                if (bus) {
                        p[1].fd = sd_bus_get_fd(bus);
                        p[1].events = (short) sd_bus_get_events(bus);
                }
                poll(p, 2, 20);
                if (p[0].revents) {
                        sd_bus_unref(bus);
                        bus = accepted(accept4(fake.listener, NULL, NULL, SOCK_CLOEXEC));
                        fake.connections++;
                }
        }
        sd_bus_unref(bus);
        return NULL;
}

static void log_line(void *data, const char *text)
{
        fake.log_lines++;
}

static struct bus *begin(enum mood mood, int64_t timeout)
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        struct bus *bus;

        fake = (struct fake) { .mood = mood, .dir = unit_make_dir() };
        snprintf(at.sun_path, sizeof at.sun_path, "%s/bus", fake.dir);
        fake.address = str_printf(NULL, "unix:path=%s", at.sun_path);
        fake.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fake.listener, (struct sockaddr *) &at, sizeof at), 0);
        assert_int_equal(listen(fake.listener, 5), 0);
        assert_int_equal(pthread_create(&fake.thread, NULL, fake_thread, NULL), 0);
        assert_ok(bus_new(fake.address, timeout, log_line, NULL, &bus, unit_err()), unit_err());
        return bus;
}

static void end(struct bus *bus)
{
        bus_free(bus);
        fake.ending = true;
        pthread_join(fake.thread, NULL);
        fd_close(fake.listener);
        file_remove_tree(fake.dir, NULL);
        free(fake.dir);
        free(fake.address);
}

static int start(struct bus *bus, struct cringle_err *err)
{
        static const struct properties none = { 0 };

        return bus_start_scope(bus, NULL, "x.scope", "y.slice", "a scope", 1234, &none, err);
}

/* --- properties of it --- */

static void a_call_ends_when_its_job_has(void **state)
{
        struct bus *bus = begin(OBLIGING, LONG);
        unsigned version;

        assert_ok(bus_version(bus, NULL, &version, unit_err()), unit_err());
        assert_int_equal(version, 252);
        assert_int_equal(start(bus, unit_err()), BUS_STARTED);
        assert_contains(fake.said, "x.scope");
        assert_contains(fake.said, "y.slice");
        assert_contains(fake.said, "Delegate");
        assert_int_equal(bus_stop(bus, NULL, "x.scope", unit_err()), 0);
        assert_int_equal(fake.connections, 1);
        end(bus);
}

static void limits_and_devices_are_told(void **state)
{
        static const struct cringle_device_rule rule = { 'c', 1, 3, "rwm", 1 };
        struct bus *bus = begin(OBLIGING, LONG);
        auto_properties p = { 0 };

        assert_ok(properties_add(&p, "memory.max", "67108864", unit_err()), unit_err());
        assert_ok(properties_add(&p, "cpuset.cpus", "0-1", unit_err()), unit_err());
        assert_ok(properties_add(&p, "io.weight", "8:0 300", unit_err()), unit_err());
        assert_ok(properties_add_devices(&p, &rule, 1, unit_err()), unit_err());
        assert_ok(bus_set_properties(bus, NULL, "x.scope", &p, unit_err()), unit_err());
        assert_contains(fake.said, "MemoryMax");
        assert_contains(fake.said, "67108864");
        assert_contains(fake.said, "AllowedCPUs");
        assert_contains(fake.said, "/dev/block/8:0");
        assert_contains(fake.said, "strict");
        assert_contains(fake.said, "/dev/char/1:3");
        end(bus);
}

static void a_failed_job_is_an_error(void **state)
{
        struct bus *bus = begin(JOBS_FAIL, LONG);
        struct cringle_err *err = unit_err();

        assert_int_equal(start(bus, err), -1);
        assert_contains(err->text, "start x.scope");
        assert_contains(err->text, "failed");
        end(bus);
}

static void a_unit_that_exists_is_an_outcome(void **state)
{
        struct bus *bus = begin(UNITS_EXIST, LONG);

        assert_int_equal(start(bus, unit_err()), BUS_UNIT_EXISTS);
        end(bus);
}

static void refusals_have_their_words(void **state)
{
        struct bus *bus = begin(NO_UNITS, LONG);
        struct cringle_err *err = unit_err();

        assert_int_equal(start(bus, err), -1);
        assert_contains(err->text, "so it is");
        assert_int_equal(bus_stop(bus, NULL, "x.scope", unit_err()), 0);        /* none there: stopped */
        end(bus);
}

static void a_lost_connection_is_made_again(void **state)
{
        struct bus *bus = begin(HANGS_UP, LONG);
        struct cringle_err *err = unit_err();

        assert_ok(start(bus, err), err);
        assert_int_equal(fake.connections, 2);
        assert_int_equal(fake.calls, 2);
        assert_int_equal(fake.log_lines, 1);
        end(bus);
}

static void a_job_whose_end_nobody_told_is_noticed(void **state)
{
        struct bus *bus = begin(MUTE, LONG);
        struct cringle_err *err = unit_err();

        assert_ok(bus_stop(bus, NULL, "x.scope", err), err);
        end(bus);
}

static void a_silent_systemd_is_given_up(void **state)
{
        struct bus *bus = begin(SILENT, SOON);
        struct cringle_err *err = unit_err();
        int64_t before = clock_monotonic();

        assert_int_equal(start(bus, err), -1);
        assert_true(clock_monotonic() - before < 10 * SOON);
        assert_contains(err->text, "systemd");
        end(bus);
}

static void a_call_that_is_over_is_not_waited_for(void **state)
{
        struct bus *bus = begin(SILENT, LONG);
        struct cringle_call call = call_within(NULL, SOON / 10);
        unsigned version;
        int64_t before = clock_monotonic();

        assert_int_equal(bus_version(bus, &call, &version, unit_err()), -1);
        assert_true(clock_monotonic() - before < LONG / 2);
        end(bus);
}

static void nobody_there_is_an_error_with_the_address(void **state)
{
        struct cringle_err *err = unit_err();
        struct bus *bus;
        unsigned version;

        assert_ok(bus_new("unix:path=/nowhere/bus", SOON, log_line, NULL, &bus, err), err);
        assert_int_equal(bus_version(bus, NULL, &version, err), -1);
        assert_contains(err->text, "/nowhere/bus");
        bus_free(bus);
}

static void *many_calls(void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        intptr_t wrong = 0;

        for (int i = 0; i < 50; i++)
                wrong += start(data, &err) != BUS_STARTED;
        return (void *) wrong;
}

static void threads_do_not_wait_for_each_others_answers(void **state)
{
        struct bus *bus = begin(OBLIGING, LONG);
        pthread_t threads[8];
        void *wrong;

        for (size_t i = 0; i < 8; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, many_calls, bus), 0);
        for (size_t i = 0; i < 8; i++) {
                pthread_join(threads[i], &wrong);
                assert_null(wrong);
        }
        assert_int_equal(fake.calls, 8 * 50);
        assert_int_equal(fake.connections, 1);
        end(bus);
}

UNIT_MAIN(
        cmocka_unit_test(a_call_ends_when_its_job_has),
        cmocka_unit_test(limits_and_devices_are_told),
        cmocka_unit_test(a_failed_job_is_an_error),
        cmocka_unit_test(a_unit_that_exists_is_an_outcome),
        cmocka_unit_test(refusals_have_their_words),
        cmocka_unit_test(a_lost_connection_is_made_again),
        cmocka_unit_test(a_job_whose_end_nobody_told_is_noticed),
        cmocka_unit_test(a_silent_systemd_is_given_up),
        cmocka_unit_test(a_call_that_is_over_is_not_waited_for),
        cmocka_unit_test(nobody_there_is_an_error_with_the_address),
        cmocka_unit_test(threads_do_not_wait_for_each_others_answers))
