/*
 * Pods on a real bridge: connected while attached, and nothing of them left afterwards
 *
 * The node is a network namespace of the test's own, and so is each pod; the plugin is
 * the module as it is built, driven by bridge, host-local and portmap.
 */

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/call.h"
#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/ns.h"
#include "agent/base/str.h"
#include "plugins/api/network.h"

#define BIN_DIR "/usr/lib/cni"
#define PODS 6

static char *dir;
static struct cringle_host host;
static const struct cringle_factory *factory;
static const struct cringle_network_ops *ops;
static void *self;

static void on_log(const struct cringle_host *h, int level, const char *text)
{
        print_message("<%d> %s\n", level, text);
}

static void on_count(const struct cringle_host *h, const char *name, int64_t delta)
{
}

static char *path_of(const char *name)
{
        char *path = str_printf(NULL, "%s/%s", dir, name);

        assert_non_null(path);
        return path;
}

static void write_conf(const char *text)
{
        auto_free char *path = path_of("conf/10-test.conflist");

        assert_ok(file_replace(path, text, strlen(text), 0644, false, unit_err()), unit_err());
}

static void write_network(const char *more_ranges, const char *more_plugins)
{
        auto_free char *text = str_printf(NULL,
                "{\"cniVersion\":\"1.0.0\",\"name\":\"flow\",\"plugins\":[{\"type\":\"bridge\",\"bridge\":\"cringle-flow0\","
                "\"isGateway\":true,\"ipMasq\":true,\"hairpinMode\":true,\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/ipam\","
                "\"ranges\":[%s[{\"subnet\":\"10.231.7.0/24\"}]],\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}},"
                "{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}%s]}", dir, more_ranges, more_plugins);

        write_conf(text);
}

static void restart(void)
{
        auto_free char *conf = path_of("conf"), *cache = path_of("cache");
        const struct cringle_pair settings[] = {
                { "conf_dir", conf }, { "bin_dirs", BIN_DIR }, { "cache_dir", cache }, { "timeout", "60s" }, { 0 },
        };

        if (self)
                factory->destroy(self);
        self = NULL;
        assert_ok(factory->create(&host, settings, &self, unit_err()), unit_err());
        assert_ok(factory->start(self, unit_err()), unit_err());
}

/* --- pods --- */

static char *pod_id(int n)
{
        char *id = str_printf(NULL, "%064d", n);

        assert_non_null(id);
        return id;
}

static char *netns_path(int n)
{
        auto_free char *name = str_printf(NULL, "netns-%d", n);

        return path_of(name);
}

/* A thread that leaves its namespace behind, with loopback up. */
static void *make_namespace(void *data)
{
        struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        auto_fd int s = -1;
        int *fd = data;

        if (unshare(CLONE_NEWNET) < 0)
                return NULL;
        s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (s >= 0 && ioctl(s, SIOCSIFFLAGS, &lo) == 0)
                *fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        return NULL;
}

static void make_pod(int n)
{
        auto_free char *path = netns_path(n);
        auto_fd int fd = -1;
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, make_namespace, &fd), 0);
        pthread_join(thread, NULL);
        assert_true(fd >= 0);
        assert_ok(ns_pin(fd, path, unit_err()), unit_err());
}

static void drop_pod(int n)
{
        auto_free char *path = netns_path(n);

        ns_unpin(path, NULL);
}

static const struct cringle_port_mapping web_port[] = { { "tcp", 80, 18080, "" } };

static int attach(int n, bool port, struct cringle_network_result *ret, struct cringle_err *err)
{
        auto_free char *id = pod_id(n), *netns = netns_path(n);
        struct cringle_network_pod pod = {
                .size = sizeof pod, .id = id, .name = "web", .space = "default", .uid = "u", .netns = netns,
                .ports = port ? web_port : NULL, .n_ports = port,
        };

        *ret = (struct cringle_network_result) { .size = sizeof *ret };
        return ops->attach(self, NULL, &pod, ret, err);
}

static int detach(int n, bool gone, struct cringle_err *err)
{
        auto_free char *id = pod_id(n), *netns = netns_path(n);
        struct cringle_network_pod pod = {
                .size = sizeof pod, .id = id, .name = "web", .space = "default", .uid = "u", .netns = gone ? NULL : netns,
        };

        return ops->detach(self, NULL, &pod, err);
}

static char *attach_one(int n, bool port)
{
        struct cringle_network_result result;
        char *ip;

        assert_ok(attach(n, port, &result, unit_err()), unit_err());
        ip = strdup(result.ips[0]);
        ops->free_result(&result);
        return ip;
}

/* --- what is there --- */

/* Output of @script; good until the next call. */
static const char *shell(const char *script)
{
        static struct buf out;
        struct cringle_call call = call_within(NULL, 30 * NSEC_PER_SEC);
        struct child_spec spec = {
                .path = "/bin/sh",
                .argv = (const char *const[]) { "sh", "-c", script, NULL },
                .envp = (const char *const[]) { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL },
        };
        int status;

        buf_done(&out);
        out = (struct buf) BUF_INIT;
        assert_ok(child_run(&spec, &call, NULL, &out, 1 << 20, NULL, &status, unit_err()), unit_err());
        return out.data ? out.data : "";
}

static const char *inside(int n, const char *command)
{
        auto_free char *path = netns_path(n);
        auto_free char *script = str_printf(NULL, "nsenter --net=%s %s", path, command);

        return shell(script);
}

static size_t count_files(const char *name, const char *unlike)
{
        auto_free char *path = path_of(name);
        size_t n = 0;
        DIR *d = opendir(path);

        if (!d)
                return 0;
        for (struct dirent *e; (e = readdir(d));)
                n += e->d_name[0] != '.' && !(unlike && strncmp(e->d_name, unlike, strlen(unlike)) == 0) &&
                     strcmp(e->d_name, "lock") != 0;
        closedir(d);
        return n;
}

static size_t reserved(void)
{
        return count_files("ipam/flow", "last_reserved_ip");
}

static void assert_nothing_left(int n)
{
        auto_free char *id = pod_id(n);
        const char *rules = shell("iptables-save; ip6tables-save");

        if (strstr(rules, id))
                fail_msg("rules of pod %d are left: %s", n, rules);
        if (strstr(rules, "18080"))
                fail_msg("the port is still mapped: %s", rules);
        /* A veth whose other end went with its namespace is removed by a worker of the kernel. */
        for (int tries = 0; tries < 300 && strstr(shell("ip -o link show type veth"), "veth"); tries++)
                usleep(10000);
        assert_string_equal(shell("ip -o link show type veth"), "");
        assert_int_equal(reserved(), 0);
        assert_int_equal(count_files("cache/results", NULL), 0);
        assert_int_equal(count_files("state/attachments", NULL), 0);
}

/* --- connections --- */

struct listener {
        char *netns;
        int fd;
};

static void *listen_inside(void *data)
{
        struct listener *l = data;
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80) };
        auto_fd int ns = open(l->netns, O_RDONLY | O_CLOEXEC);

        if (setns(ns, CLONE_NEWNET) < 0)
                return NULL;
        l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(l->fd, (struct sockaddr *) &address, sizeof address) < 0 || listen(l->fd, 4) < 0)
                l->fd = fd_close(l->fd);
        return NULL;
}

static int listen_in(int n)
{
        auto_free char *path = netns_path(n);
        struct listener l = { path, -1 };
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, listen_inside, &l), 0);
        pthread_join(thread, NULL);
        assert_true(l.fd >= 0);
        return l.fd;
}

static bool connects(const char *ip, uint16_t port)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
        struct timeval limit = { .tv_sec = 3 };
        auto_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(inet_pton(AF_INET, ip, &address.sin_addr), 1);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        return connect(fd, (struct sockaddr *) &address, sizeof address) == 0;
}

/* --- properties --- */

static void a_pod_is_connected_and_then_leaves_nothing(void **state)
{
        auto_free char *ip = NULL, *want = NULL;
        auto_fd int fd = -1;

        make_pod(1);
        assert_ok(ops->status(self, NULL, unit_err()), unit_err());
        ip = attach_one(1, false);
        want = str_printf(NULL, "inet %s/24", ip);
        assert_true(str_starts(ip, "10.231.7."));
        assert_contains(inside(1, "ip -4 -o addr show dev eth0"), want);
        assert_contains(inside(1, "ip route"), "default via 10.231.7.1");
        fd = listen_in(1);
        assert_true(connects(ip, 80));
        assert_null(strstr(shell("iptables-save"), "18080"));
        fd = fd_close(fd);

        assert_ok(detach(1, false, unit_err()), unit_err());
        assert_null(strstr(inside(1, "ip -o link"), "eth0"));
        assert_nothing_left(1);
        assert_ok(detach(1, false, unit_err()), unit_err());
        drop_pod(1);
}

static void a_mapped_port_works_until_detach(void **state)
{
        auto_free char *ip = NULL, *id = pod_id(2);
        auto_fd int fd = -1;

        make_pod(2);
        ip = attach_one(2, true);
        fd = listen_in(2);
        assert_true(connects("10.231.7.1", 18080));
        assert_contains(shell("iptables-save -t nat"), id);
        fd = fd_close(fd);

        assert_ok(detach(2, false, unit_err()), unit_err());
        assert_nothing_left(2);
        drop_pod(2);
}

static void check_tells_when_the_route_is_gone(void **state)
{
        auto_free char *id = pod_id(3), *netns = netns_path(3), *ip = NULL;
        struct cringle_network_pod pod = { .size = sizeof pod, .id = id, .name = "web", .space = "default", .netns = netns };
        struct cringle_err err = CRINGLE_ERR_INIT;

        make_pod(3);
        ip = attach_one(3, false);
        assert_ok(ops->check(self, NULL, &pod, &err), &err);
        inside(3, "ip route del default");
        assert_int_equal(ops->check(self, NULL, &pod, &err), -1);
        assert_contains(err.text, "network flow: plugin bridge: CHECK: ");
        assert_ok(detach(3, false, &err), &err);
        assert_nothing_left(3);
        drop_pod(3);
}

/* Neither namespaces nor rules nor the agent survive, and the network is not there yet; the reservation survives. */
static void after_a_reboot_the_address_comes_back(void **state)
{
        auto_free char *conf = path_of("conf/10-test.conflist"), *ip = NULL;

        make_pod(4);
        ip = attach_one(4, false);
        assert_int_equal(reserved(), 1);
        drop_pod(4);
        shell("iptables -t nat -F; iptables -t nat -X");
        assert_int_equal(unlink(conf), 0);
        restart();
        assert_int_equal(ops->status(self, NULL, unit_err()), -1);
        assert_ok(detach(4, true, unit_err()), unit_err());
        assert_nothing_left(4);
        write_network("", "");
}

static void a_failed_attachment_keeps_no_address(void **state)
{
        struct cringle_network_result result;
        struct cringle_err err = CRINGLE_ERR_INIT;

        make_pod(5);
        write_network("", ",{\"type\":\"tuning\",\"sysctl\":{\"net.ipv4.nonsense\":\"1\"}}");
        assert_int_equal(attach(5, true, &result, &err), -1);
        assert_contains(err.text, "network flow: plugin tuning: ADD: ");
        assert_nothing_left(5);
        write_network("", "");
        drop_pod(5);
}

static void a_collection_gives_back_what_was_forgotten(void **state)
{
        auto_free char *kept = pod_id(6), *a = NULL, *b = NULL;
        const char *const valid[] = { kept, NULL };

        make_pod(6);
        make_pod(7);
        a = attach_one(6, false);
        b = attach_one(7, false);
        assert_int_equal(reserved(), 2);
        restart();
        assert_ok(ops->gc(self, NULL, valid, unit_err()), unit_err());
        assert_int_equal(reserved(), 1);
        assert_contains(inside(6, "ip -o addr show dev eth0"), a);
        assert_ok(detach(6, false, unit_err()), unit_err());
        assert_nothing_left(6);
        drop_pod(6);
        drop_pod(7);
}

static void ipv4_comes_first_whatever_the_order_of_ranges(void **state)
{
        struct cringle_network_result result;

        make_pod(8);
        write_network("[{\"subnet\":\"fd31:7::/64\"}],", "");
        assert_ok(attach(8, false, &result, unit_err()), unit_err());
        assert_true(str_starts(result.ips[0], "10.231.7."));
        assert_true(str_starts(result.ips[1], "fd31:7::"));
        assert_null(result.ips[2]);
        ops->free_result(&result);
        assert_ok(detach(8, false, unit_err()), unit_err());
        assert_nothing_left(8);
        write_network("", "");
        drop_pod(8);
}

struct worker {
        pthread_t thread;
        int n;
        char ip[64];
};

static void *work(void *data)
{
        struct worker *w = data;
        struct cringle_network_result result;

        if (attach(w->n, false, &result, NULL) == 0) {
                snprintf(w->ip, sizeof w->ip, "%s", result.ips[0]);
                ops->free_result(&result);
        }
        return NULL;
}

static void pods_at_once_get_addresses_of_their_own(void **state)
{
        struct worker workers[PODS] = { 0 };

        for (int i = 0; i < PODS; i++) {
                make_pod(20 + i);
                workers[i] = (struct worker) { .n = 20 + i };
        }
        for (int i = 0; i < PODS; i++)
                assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        for (int i = 0; i < PODS; i++)
                pthread_join(workers[i].thread, NULL);
        for (int i = 0; i < PODS; i++) {
                assert_true(workers[i].ip[0]);
                for (int j = 0; j < i; j++)
                        assert_string_not_equal(workers[i].ip, workers[j].ip);
        }
        for (int i = 0; i < PODS; i++) {
                assert_ok(detach(20 + i, false, unit_err()), unit_err());
                drop_pod(20 + i);
        }
        assert_nothing_left(20);
}

/* --- */

static int setup(void **state)
{
        const struct cringle_plugin *(*query)(void);
        void *module = dlopen(NETWORK_CNI, RTLD_NOW | RTLD_LOCAL);

        if (!module || unshare(CLONE_NEWNET) < 0)
                return -1;
        signal(SIGPIPE, SIG_IGN);       /* as in the agent */
        *(void **) &query = dlsym(module, CRINGLE_PLUGIN_SYMBOL);
        factory = query()->factories[0];
        ops = factory->ops;

        dir = unit_make_dir();
        for (const char *const *name = (const char *const[]) { "conf", "cache", "state", "run", NULL }; *name; name++) {
                auto_free char *path = path_of(*name);

                assert_int_equal(mkdir(path, 0700), 0);
        }
        host = (struct cringle_host) {
                .size = sizeof host, .state_dir = path_of("state"), .run_dir = path_of("run"),
                .log = on_log, .count = on_count,
        };
        shell("ip link set lo up");
        write_network("", "");
        restart();
        return 0;
}

/* The node's namespace, and all in it, goes with the process. */
static int teardown(void **state)
{
        factory->destroy(self);
        for (int n = 0; n < 20 + PODS; n++)
                drop_pod(n);
        file_remove_tree(dir, NULL);
        free((char *) host.state_dir);
        free((char *) host.run_dir);
        free(dir);
        return 0;
}

int main(void)
{
        static const char *const needs[] = {
                BIN_DIR "/bridge", BIN_DIR "/host-local", BIN_DIR "/portmap", BIN_DIR "/tuning",
                "/usr/sbin/iptables-save", "/usr/bin/nsenter", "/usr/sbin/ip", NULL,
        };
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_pod_is_connected_and_then_leaves_nothing),
                cmocka_unit_test(a_mapped_port_works_until_detach),
                cmocka_unit_test(check_tells_when_the_route_is_gone),
                cmocka_unit_test(after_a_reboot_the_address_comes_back),
                cmocka_unit_test(a_failed_attachment_keeps_no_address),
                cmocka_unit_test(a_collection_gives_back_what_was_forgotten),
                cmocka_unit_test(ipv4_comes_first_whatever_the_order_of_ranges),
                cmocka_unit_test(pods_at_once_get_addresses_of_their_own),
        };

        for (size_t i = 0; needs[i]; i++)
                if (geteuid() != 0 || !file_exists(needs[i])) {
                        printf("# SKIP needs root and %s\n", needs[i]);
                        return 77;
                }
        return cmocka_run_group_tests(tests, setup, teardown);
}
