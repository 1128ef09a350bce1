/* The service manager hears what it asked for, and nobody else takes its place. */

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/clock.h"
#include "agent/base/notify.h"
#include "agent/base/own.h"
#include "agent/base/str.h"

/* A manager that listens on an abstract name of its own; *ret_path is as the environment has it. */
static int manager(char ret_path[static 64])
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        snprintf(ret_path, 64, "@cringle-notify-%d", getpid());
        memcpy(at.sun_path + 1, ret_path + 1, strlen(ret_path) - 1);
        assert_int_equal(bind(fd, (struct sockaddr *) &at, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(ret_path))), 0);
        return fd;
}

static void what_is_said_arrives_whole(void **state)
{
        char path[64], heard[64] = "";
        auto_fd int fd = manager(path);

        setenv("NOTIFY_SOCKET", path, 1);
        notify_take();
        notify_say("READY=1\nSTATUS=serves");
        assert_int_equal(recv(fd, heard, sizeof heard - 1, 0), strlen("READY=1\nSTATUS=serves"));
        assert_string_equal(heard, "READY=1\nSTATUS=serves");
        assert_null(getenv("NOTIFY_SOCKET"));

        /* Without a manager, nothing. */
        notify_take();
        notify_say("READY=1");
        assert_int_equal(recv(fd, heard, sizeof heard, 0), -1);
}

static void a_watchdog_is_ours_or_none(void **state)
{
        char path[64], mine[16];
        auto_fd int fd = manager(path);

        assert_true(fd >= 0);
        snprintf(mine, sizeof mine, "%d", getpid());
        setenv("NOTIFY_SOCKET", path, 1);
        setenv("WATCHDOG_USEC", "30000000", 1);
        setenv("WATCHDOG_PID", mine, 1);
        notify_take();
        assert_int_equal(notify_watchdog(), 30 * NSEC_PER_SEC);
        assert_null(getenv("WATCHDOG_USEC"));

        setenv("NOTIFY_SOCKET", path, 1);
        setenv("WATCHDOG_USEC", "30000000", 1);
        setenv("WATCHDOG_PID", "1", 1);
        notify_take();
        assert_int_equal(notify_watchdog(), 0);

        setenv("NOTIFY_SOCKET", path, 1);
        setenv("WATCHDOG_USEC", "soon", 1);
        notify_take();
        assert_int_equal(notify_watchdog(), 0);
}

static void an_address_that_is_none_is_let_go(void **state)
{
        setenv("NOTIFY_SOCKET", "relative", 1);
        notify_take();
        notify_say("READY=1");
        setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
        notify_take();
        notify_say("READY=1");
        assert_null(getenv("NOTIFY_SOCKET"));
}

UNIT_MAIN(
        cmocka_unit_test(what_is_said_arrives_whole),
        cmocka_unit_test(a_watchdog_is_ours_or_none),
        cmocka_unit_test(an_address_that_is_none_is_let_go))
