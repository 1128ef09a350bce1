/*
 * Counters of network interfaces
 */

#include "tests/support/unit.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/netdev.h"

static void the_table_of_the_kernel_is_read(void **state)
{
        static const char text[] =
                "Inter-|   Receive                                                |  Transmit\n"
                " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo\n"
                "    lo:   70       1    0    0    0     0          0         0       70       1    0    0    0\n"
                "  eth0: 18446744073709551615 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"
                "veth-with-a-name-too-long: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"
                "broken: 1 2\n"
                "net1:1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0";
        struct cringle_err *err = unit_err();
        struct netdev *list;
        size_t n;

        assert_ok(netdev_parse(text, &list, &n, err), err);
        assert_int_equal(n, 2);
        assert_string_equal(list[0].name, "eth0");
        assert_true(list[0].rx_bytes == UINT64_MAX);
        assert_int_equal(list[0].rx_packets, 2);
        assert_int_equal(list[0].rx_errors, 3);
        assert_int_equal(list[0].rx_dropped, 4);
        assert_int_equal(list[0].tx_bytes, 5);
        assert_int_equal(list[0].tx_packets, 6);
        assert_int_equal(list[0].tx_errors, 7);
        assert_int_equal(list[0].tx_dropped, 8);
        assert_string_equal(list[1].name, "net1");
        assert_int_equal(list[1].tx_bytes, 2);
        free(list);
}

/* The test's own namespace has the machine's interfaces; a new one has none, and who looked is back where he was. */
static void other_namespaces_are_looked_into_and_left(void **state)
{
        struct cringle_err *err = unit_err();
        struct netdev_look *looks;
        char before[64] = "", after[64] = "";
        int other[2];
        pid_t pid;
        char path[64], byte;

        if (pipe2(other, O_CLOEXEC) < 0)
                fail();
        pid = fork();
        if (pid == 0) {
                if (unshare(CLONE_NEWNET) < 0 || write(other[1], "x", 1) != 1)
                        _exit(1);
                pause();
                _exit(0);
        }
        assert_int_equal(read(other[0], &byte, 1), 1);
        snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
        assert_true(readlink("/proc/self/ns/net", before, sizeof before - 1) > 0);
        looks = calloc(4, sizeof *looks);
        looks[0].path = strdup("/no/such/namespace");
        looks[1].path = strdup(path);
        looks[2].path = strdup("/dev/null");
        assert_ok(netdev_read(looks, 4, err), err);
        assert_contains(looks[0].err.text, "/no/such/namespace");
        assert_int_equal(looks[1].err.code, CRINGLE_OK);
        for (size_t i = 0; i < looks[1].n; i++)
                assert_int_equal(looks[1].list[i].rx_packets, 0);
        assert_contains(looks[2].err.text, "/dev/null");
        assert_int_equal(looks[3].n, 0);
        netdev_looks_free(looks, 4);
        assert_true(readlink("/proc/self/ns/net", after, sizeof after - 1) > 0);
        assert_string_equal(before, after);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(other[0]);
        close(other[1]);
}

UNIT_MAIN(
        cmocka_unit_test(the_table_of_the_kernel_is_read),
        cmocka_unit_test(other_namespaces_are_looked_into_and_left))
