/* Messages travel with their fds, over sockets of any path. */

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"

static void a_long_path_and_a_stale_socket_are_no_obstacle(void **state)
{
        auto_free char *dir = unit_make_dir();
        auto_free char *deep = str_printf(NULL, "%s/%0100d/%0100d", dir, 1, 2);
        auto_free char *path = str_printf(NULL, "%s/sock", deep);
        struct stat st;
        int a, b, c;

        assert_ok(file_make_dirs(deep, 0700, unit_err()), unit_err());
        close(sock_listen(path, SOCK_STREAM, 0660, unit_err()));
        a = sock_listen(path, SOCK_STREAM, 0660, unit_err());
        assert_true(a >= 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0660);
        b = sock_connect(path, SOCK_STREAM, unit_err());
        assert_true(b >= 0);
        c = accept4(a, NULL, NULL, SOCK_CLOEXEC);
        assert_true(c >= 0);
        close(a);
        close(b);
        close(c);
        file_remove_tree(dir, NULL);
}

static void fds_travel_and_surplus_ones_are_closed(void **state)
{
        int pair[2], fds[3] = { 0, 1, 2 }, got[2];
        size_t n = 2, len;
        char data[16];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_ok(sock_send(pair[0], "hello", 5, fds, 2, unit_err()), unit_err());
        assert_ok(sock_recv(pair[1], data, sizeof data, &len, got, &n, unit_err()), unit_err());
        assert_int_equal(len, 5);
        assert_int_equal(n, 2);
        assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
        close(got[0]);
        close(got[1]);

        n = 2;
        assert_ok(sock_send(pair[0], "x", 1, fds, 3, unit_err()), unit_err());
        assert_int_equal(sock_recv(pair[1], data, sizeof data, &len, got, &n, unit_err()), -1);
        n = 2;
        assert_ok(sock_send(pair[0], "0123456789abcdefg", 17, NULL, 0, unit_err()), unit_err());
        assert_int_equal(sock_recv(pair[1], data, sizeof data, &len, got, &n, unit_err()), -1);
        close(pair[0]);
        close(pair[1]);
}

UNIT_MAIN(
        cmocka_unit_test(a_long_path_and_a_stale_socket_are_no_obstacle),
        cmocka_unit_test(fds_travel_and_surplus_ones_are_closed))
