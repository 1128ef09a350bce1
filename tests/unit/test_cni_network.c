/* An attachment is on record before it is made, and undone whatever has happened since. */

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <time.h>

#include "tests/unit/test_cni.h"

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "plugins/api/network.h"
#include "plugins/network-cni/describe.h"

const struct cringle_plugin *cringle_builtin_network_cni(void);

static struct cni_fixture fix;
static struct cringle_host host;
static const struct cringle_factory *factory;
static const struct cringle_network_ops *ops;
static void *self;
static char *netns;
static int64_t collected;

static void on_log(const struct cringle_host *h, int level, const char *text)
{
        print_message("<%d> %s\n", level, text);
}

static void on_count(const struct cringle_host *h, const char *name, int64_t delta)
{
        assert_string_equal(name, "attachments_collected");
        collected += delta;
}

/* As after the agent was killed: nothing but the files stays. */
static void restart(const char *timeout)
{
        auto_free char *conf = fixture_path(&fix, "conf"), *cache = fixture_path(&fix, "cache");
        const struct cringle_pair settings[] = {
                { "conf_dir", conf }, { "bin_dirs", "/nonexistent" }, { "bin_dirs", fix.bin_dirs[0] },
                { "cache_dir", cache }, { "timeout", timeout }, { 0 },
        };

        if (self)
                factory->destroy(self);
        self = NULL;
        assert_ok(factory->create(&host, settings, &self, unit_err()), unit_err());
        assert_ok(factory->start(self, unit_err()), unit_err());
}

#define NETWORK(version) "{\"name\":\"net\",\"cniVersion\":\"" version "\",\"plugins\":[" \
        "{\"type\":\"first\",\"capabilities\":{\"portMappings\":true,\"dns\":true,\"bandwidth\":true,\"cgroupPath\":true," \
        "\"io.kubernetes.cri.pod-annotations\":true}},{\"type\":\"second\"}]}"

static int setup(void **state)
{
        fixture_make(&fix);
        netns = fixture_path(&fix, "run/netns");
        fixture_write(&fix, "run/netns", "");
        assert_int_equal(mount("/proc/self/ns/net", netns, NULL, MS_BIND, NULL), 0);
        collected = 0;
        host = (struct cringle_host) {
                .size = sizeof host,
                .state_dir = fixture_path(&fix, "state"),
                .run_dir = fixture_path(&fix, "run"),
                .log = on_log,
                .count = on_count,
        };
        factory = cringle_builtin_network_cni()->factories[0];
        ops = factory->ops;
        restart("20s");
        fixture_write(&fix, "conf/10-net.conflist", NETWORK("1.0.0"));
        fixture_write(&fix, "first.ADD.do", GIVES_RESULT);
        fixture_write(&fix, "second.ADD.do", GIVES_RESULT);
        return 0;
}

static int teardown(void **state)
{
        factory->destroy(self);
        self = NULL;
        umount2(netns, MNT_DETACH);
        free(netns);
        free((char *) host.state_dir);
        free((char *) host.run_dir);
        fixture_drop(&fix);
        return 0;
}

static struct cringle_network_pod pod(const char *id)
{
        static const struct cringle_port_mapping ports[] = {
                { "tcp", 80, 8080, "" }, { "udp", 53, 5353, "127.0.0.1" }, { "tcp", 1, 0, "" },
        };
        static const struct cringle_pair annotations[] = {
                { "kubernetes.io/ingress-bandwidth", "10M" }, { "kubernetes.io/egress-bandwidth", "1Mi" }, { 0 },
        };
        static const char *const servers[] = { "10.96.0.10", NULL };

        return (struct cringle_network_pod) {
                .size = sizeof(struct cringle_network_pod),
                .id = id, .name = "web", .space = "default", .uid = "u-1", .netns = netns,
                .cgroup_parent = "/kubepods/podu-1", .ports = ports, .n_ports = 3,
                .annotations = annotations, .dns_servers = servers,
        };
}

static int attach(const char *id, struct cringle_err *err)
{
        struct cringle_network_result result = { .size = sizeof result };
        struct cringle_network_pod p = pod(id);

        if (ops->attach(self, NULL, &p, &result, err) < 0)
                return -1;
        assert_string_equal(result.interface, "eth0");
        assert_string_equal(result.ips[0], "10.9.0.5");
        assert_null(result.ips[1]);
        ops->free_result(&result);
        return 0;
}

static int detach(const char *id, const char *ns, struct cringle_err *err)
{
        struct cringle_network_pod p = pod(id);

        p.netns = ns;
        return ops->detach(self, NULL, &p, err);
}

static bool leftovers(const char *id)
{
        auto_free char *record = str_printf(NULL, "state/attachments/%s", id);
        auto_free char *cached = str_printf(NULL, "cache/results/net-%s-eth0", id);

        return fixture_has(&fix, record) || fixture_has(&fix, cached);
}

static void a_plugin_is_told_all_about_the_pod(void **state)
{
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_contains(fixture_read(&fix, "first.ADD.env"),
                "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=p1;K8S_POD_UID=u-1\n");
        assert_contains(fixture_read(&fix, "first.ADD.env"), "CNI_CONTAINERID=p1\n");
        assert_contains(fixture_read(&fix, "first.ADD.in"),
                "\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\"},"
                "{\"hostPort\":5353,\"containerPort\":53,\"protocol\":\"udp\",\"hostIP\":\"127.0.0.1\"}],"
                "\"dns\":{\"servers\":[\"10.96.0.10\"]},"
                "\"bandwidth\":{\"ingressRate\":10000000,\"ingressBurst\":4294967295,\"egressRate\":1048576,\"egressBurst\":4294967295},"
                "\"cgroupPath\":\"/kubepods/podu-1\",\"io.kubernetes.cri.pod-annotations\":{"
                "\"kubernetes.io/ingress-bandwidth\":\"10M\",\"kubernetes.io/egress-bandwidth\":\"1Mi\"}}");
        assert_null(strstr(fixture_read(&fix, "second.ADD.in"), "runtimeConfig"));
        assert_true(fixture_has(&fix, "cache/results/net-p1-eth0"));
}

static void the_record_is_there_before_add_runs(void **state)
{
        fixture_write(&fix, "first.ADD.do", "cp ${0%/bin/*}/state/attachments/$CNI_CONTAINERID $at.seen; " GIVES_RESULT);
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_contains(fixture_read(&fix, "first.ADD.seen"), "\"networkName\":\"net\"");
        assert_contains(fixture_read(&fix, "first.ADD.seen"), "\"capabilityArgs\":{\"portMappings\":");
}

static void detach_can_be_repeated(void **state)
{
        assert_ok(attach("p1", unit_err()), unit_err());
        fixture_remove(&fix, "log");
        assert_ok(detach("p1", netns, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL second\nDEL first\n");
        assert_contains(fixture_read(&fix, "first.DEL.in"), "\"prevResult\":{");
        assert_contains(fixture_read(&fix, "first.DEL.in"), "\"hostPort\":8080");
        assert_false(leftovers("p1"));
        assert_ok(detach("p1", netns, unit_err()), unit_err());
        assert_ok(detach("p1", NULL, unit_err()), unit_err());
        assert_ok(detach("never", NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL second\nDEL first\n");
}

static void detach_needs_neither_configuration_nor_namespace(void **state)
{
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_ok(attach("p2", unit_err()), unit_err());
        fixture_remove(&fix, "log");
        fixture_write(&fix, "conf/10-net.conflist", "{\"name\":\"new\",\"plugins\":[{\"type\":\"second\"}]}");
        restart("20s");
        assert_ok(detach("p1", netns, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL second\nDEL first\n");
        assert_contains(fixture_read(&fix, "first.DEL.in"), "\"name\":\"net\"");

        fixture_remove(&fix, "conf");
        assert_int_equal(umount2(netns, MNT_DETACH), 0);        /* the file stays: no namespace all the same */
        restart("20s");
        assert_ok(detach("p2", netns, unit_err()), unit_err());
        assert_contains(fixture_read(&fix, "first.DEL.env"), "CNI_NETNS=\n");
        assert_false(leftovers("p1") || leftovers("p2"));
}

static void a_failed_attachment_is_undone_and_leaves_nothing(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        fixture_write(&fix, "second.ADD.do", "echo '{\"code\":102,\"msg\":\"no\"}'; exit 1");
        assert_int_equal(attach("p1", &err), -1);
        assert_string_equal(err.text, "network net: plugin second: ADD: code 102: no");
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\nADD second\nDEL second\nDEL first\n");
        assert_false(leftovers("p1"));
}

static void a_result_for_another_namespace_is_undone(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        fixture_write(&fix, "second.ADD.do",
                      "echo '{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/nonexistent\"}],\"ips\":[{\"address\":\"10.9.0.5/24\"}]}'");
        assert_int_equal(attach("p1", &err), -1);
        assert_contains(err.text, "not the pod's network namespace");
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\nADD second\nDEL second\nDEL first\n");
        assert_false(leftovers("p1"));
}

/* The deadline that ended ADD must not end DEL as well. */
static void a_hung_add_is_undone_with_time_of_its_own(void **state)
{
        struct cringle_call call = call_within(NULL, 300 * NSEC_PER_MSEC);
        struct cringle_network_result result = { .size = sizeof result };
        struct cringle_network_pod p = pod("p1");
        struct cringle_err err = CRINGLE_ERR_INIT;

        fixture_write(&fix, "second.ADD.do", "sleep 1000");
        fixture_write(&fix, "second.DEL.do", "sleep 0.2");
        assert_int_equal(ops->attach(self, &call, &p, &result, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_DEADLINE);
        assert_contains(err.text, "plugin second: ADD");
        assert_string_equal(fixture_read(&fix, "log"), "ADD first\nADD second\nDEL second\nDEL first\n");
        assert_false(leftovers("p1"));
}

static void the_plugins_own_limit_holds_without_a_deadline(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t began = clock_monotonic();

        restart("300ms");
        fixture_write(&fix, "first.ADD.do", "sleep 1000");
        assert_int_equal(attach("p1", &err), -1);
        assert_int_equal(err.code, CRINGLE_E_DEADLINE);
        assert_true(clock_monotonic() - began < 60 * NSEC_PER_SEC);
}

static void what_could_not_be_undone_is_undone_later(void **state)
{
        const char *const none[] = { NULL };

        fixture_write(&fix, "second.ADD.do", "exit 1");
        fixture_write(&fix, "first.DEL.do", "exit 1");
        assert_int_equal(attach("p1", unit_err()), -1);
        assert_int_equal(attach("p2", unit_err()), -1);
        assert_true(leftovers("p1") && leftovers("p2"));
        assert_int_equal(detach("p1", netns, unit_err()), -1);
        assert_int_equal(ops->gc(self, NULL, none, unit_err()), -1);

        fixture_remove(&fix, "first.DEL.do");
        assert_ok(detach("p1", netns, unit_err()), unit_err());
        assert_ok(ops->gc(self, NULL, none, unit_err()), unit_err());
        assert_false(leftovers("p1") || leftovers("p2"));
        assert_int_equal(collected, 1);
}

/* Killed between the record and the end of ADD, then asked for the same pod again. */
static void an_earlier_attempt_is_undone_first(void **state)
{
        assert_ok(attach("p1", unit_err()), unit_err());
        fixture_remove(&fix, "cache/results/net-p1-eth0");
        restart("20s");
        fixture_remove(&fix, "log");
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL second\nDEL first\nADD first\nADD second\n");
}

static void gc_undoes_what_no_pod_wants(void **state)
{
        const char *const valid[] = { "p1", NULL };

        assert_ok(attach("p1", unit_err()), unit_err());
        assert_ok(attach("p2", unit_err()), unit_err());
        restart("20s");
        assert_ok(attach("p3", unit_err()), unit_err());       /* after the list was made */
        fixture_write(&fix, "conf/10-net.conflist", NETWORK("1.1.0"));
        fixture_write(&fix, "cache/results/net-other-eth0",
                      "{\"kind\":\"cniCacheV1\",\"containerId\":\"other\",\"ifName\":\"eth0\",\"networkName\":\"net\",\"config\":\"e30=\"}");
        fixture_remove(&fix, "log");
        assert_ok(ops->gc(self, NULL, valid, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL second\nDEL first\nGC first\nGC second\n");
        assert_contains(fixture_read(&fix, "first.DEL.env"), "CNI_CONTAINERID=p2\n");
        assert_true(leftovers("p1") && !leftovers("p2") && leftovers("p3"));
        assert_contains(fixture_read(&fix, "first.GC.in"), "\"containerID\":\"p1\"");
        assert_contains(fixture_read(&fix, "first.GC.in"), "\"containerID\":\"p3\"");
        assert_contains(fixture_read(&fix, "first.GC.in"), "\"containerID\":\"other\"");
        assert_null(strstr(fixture_read(&fix, "first.GC.in"), "\"p2\""));
        assert_int_equal(collected, 1);
}

static void a_damaged_record_is_set_aside_for_the_cached_one(void **state)
{
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_ok(attach("p2", unit_err()), unit_err());
        fixture_write(&fix, "state/attachments/p1", "{\"kind\":");
        fixture_write(&fix, "state/attachments/p2", "");
        fixture_remove(&fix, "cache/results/net-p2-eth0");
        fixture_remove(&fix, "log");
        assert_ok(detach("p1", netns, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "DEL second\nDEL first\n");
        assert_ok(detach("p2", netns, unit_err()), unit_err());
        assert_true(fixture_has(&fix, "state/attachments/p1.bad") && fixture_has(&fix, "state/attachments/p2.bad"));
        assert_false(leftovers("p1") || leftovers("p2"));
}

static void status_follows_the_directory_whatever_is_done_to_it(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *conf = fixture_path(&fix, "conf"), *fresh = fixture_path(&fix, "fresh");

        assert_ok(ops->status(self, NULL, unit_err()), unit_err());
        fixture_remove(&fix, "conf/10-net.conflist");
        assert_int_equal(ops->status(self, NULL, &err), -1);
        assert_contains(err.text, "no network configuration in");
        fixture_remove(&fix, "conf");
        assert_int_equal(ops->status(self, NULL, &err), -1);

        assert_int_equal(mkdir(fresh, 0700), 0);
        fixture_write(&fix, "fresh/a.conflist", NETWORK("1.0.0"));
        assert_int_equal(rename(fresh, conf), 0);
        assert_ok(ops->status(self, NULL, unit_err()), unit_err());

        fixture_write(&fix, "conf/a.conflist", "{\"name\":");
        assert_int_equal(ops->status(self, NULL, &err), -1);
        assert_contains(err.text, "conf/a.conflist: bad JSON");
        fixture_write(&fix, "conf/a.conflist", "{\"name\":\"a\",\"plugins\":[{\"type\":\"absent\"}]}");
        assert_int_equal(ops->status(self, NULL, &err), -1);
        assert_contains(err.text, "no program absent in");
        fixture_plugin(&fix, "absent");
        assert_ok(ops->status(self, NULL, unit_err()), unit_err());
}

static void status_asks_the_plugins_once_per_configuration(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        fixture_write(&fix, "conf/10-net.conflist", NETWORK("1.1.0"));
        fixture_write(&fix, "second.STATUS.do", "echo '{\"code\":50,\"msg\":\"not yet\"}'; exit 1");
        for (int i = 0; i < 3; i++) {
                assert_int_equal(ops->status(self, NULL, &err), -1);
                assert_string_equal(err.text, "network net: plugin second: STATUS: code 50: not yet");
                assert_int_equal(err.code, CRINGLE_E_UNAVAILABLE);
        }
        assert_string_equal(fixture_read(&fix, "log"), "STATUS first\nSTATUS second\n");

        fixture_remove(&fix, "second.STATUS.do");
        fixture_write(&fix, "conf/10-net.conflist", "{\"name\":\"net\",\"cniVersion\":\"1.1.0\",\"plugins\":[{\"type\":\"second\"}]}");
        assert_ok(ops->status(self, NULL, unit_err()), unit_err());
        assert_string_equal(fixture_read(&fix, "log"), "STATUS first\nSTATUS second\nSTATUS second\n");
}

/* --- leases of host-local --- */

#define LEASE(name) "leases/net/" name

/* What stands before and behind the ipam that says where leases are. */
#define OWN "\"ipam\":{\"type\":\"host-local\",", ""
#define DELEGATED "\"delegate\":{\"type\":\"second\",\"ipam\":{", "}"
#define ANOTHER "\"ipam\":{\"type\":\"another\",", ",\"delegate\":{\"ipam\":{}}"

static void write_network(const char *before, const char *behind)
{
        auto_free char *dir = fixture_path(&fix, "leases");
        auto_free char *text = str_printf(NULL,
                "{\"name\":\"net\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"first\",%s\"dataDir\":\"%s\"}%s},"
                "{\"type\":\"second\"}]}", before, dir, behind);

        assert_non_null(text);
        fixture_write(&fix, "conf/10-net.conflist", text);
}

static void write_leases(void)
{
        auto_free char *dir = fixture_path(&fix, "leases/net"), *zeros = fixture_path(&fix, LEASE("10.1.1.6"));

        assert_ok(file_make_dirs(dir, 0700, unit_err()), unit_err());
        fixture_write(&fix, LEASE("lock"), "");
        fixture_write(&fix, LEASE("last_reserved_ip.0"), "");
        fixture_write(&fix, LEASE("10.1.1.4"), "");
        fixture_write(&fix, LEASE("10.1.1.5"), "somebody\r\neth0");
        assert_ok(file_replace(zeros, "\0\0\0\0\r\n", 6, 0600, false, unit_err()), unit_err());
        fixture_write(&fix, LEASE("fd00::7"), "");
}

static void assert_freed(bool freed)
{
        assert_int_equal(fixture_has(&fix, LEASE("10.1.1.4")), !freed);
        assert_int_equal(fixture_has(&fix, LEASE("10.1.1.6")), !freed);
        assert_int_equal(fixture_has(&fix, LEASE("fd00::7")), !freed);
        assert_true(fixture_has(&fix, LEASE("10.1.1.5")));
        assert_true(fixture_has(&fix, LEASE("last_reserved_ip.0")));
        assert_true(fixture_has(&fix, LEASE("lock")));
}

static int gc(void)
{
        return ops->gc(self, NULL, (const char *const[]) { NULL }, unit_err());
}

static void a_lease_that_a_power_cut_has_emptied_is_freed(void **state)
{
        write_leases();
        write_network(OWN);
        assert_ok(gc(), unit_err());
        assert_freed(true);
}

static void leases_are_looked_at_when_their_network_comes(void **state)
{
        assert_ok(gc(), unit_err());
        write_leases();
        write_network(DELEGATED);
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_freed(true);
        assert_ok(detach("p1", netns, unit_err()), unit_err());

        /* Once for each configuration. */
        write_leases();
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_freed(false);
        assert_ok(detach("p1", netns, unit_err()), unit_err());
}

static void leases_of_another_ipam_plugin_are_left_alone(void **state)
{
        write_leases();
        write_network(ANOTHER);
        assert_ok(gc(), unit_err());
        assert_freed(false);
}

/* It may be writing that very lease. */
static void leases_are_left_while_host_local_has_its_lock(void **state)
{
        auto_free char *path = fixture_path(&fix, LEASE("lock"));
        auto_fd int lock = -1;

        write_leases();
        write_network(OWN);
        lock = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(flock(lock, LOCK_EX), 0);
        assert_ok(gc(), unit_err());
        assert_freed(false);
        assert_int_equal(flock(lock, LOCK_UN), 0);
        assert_ok(ops->status(self, NULL, unit_err()), unit_err());
        assert_freed(true);
}

static void check_runs_with_the_recorded_result(void **state)
{
        struct cringle_network_pod p = pod("p1");
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(ops->check(self, NULL, &p, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        assert_ok(attach("p1", unit_err()), unit_err());
        assert_ok(ops->check(self, NULL, &p, unit_err()), unit_err());
        assert_contains(fixture_read(&fix, "second.CHECK.in"), "10.9.0.5/24");
        fixture_write(&fix, "first.CHECK.do", "echo '{\"code\":110,\"msg\":\"flushed\"}'; exit 1");
        assert_int_equal(ops->check(self, NULL, &p, &err), -1);
        assert_contains(err.text, "flushed");
}

static void *attach_and_detach(void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (attach(data, &err) == 0)
                detach(data, netns, &err);
        return NULL;
}

/* Two for one pod in turn, two pods at once: `second` waits until it has seen both pods. */
static void pods_run_together_and_one_pod_in_turn(void **state)
{
        static const char *const ids[] = { "p1", "p2", "p1", "p2" };
        pthread_t threads[4];

        fixture_write(&fix, "first.ADD.do",
                      "mkdir ${0%/bin/*}/busy-$CNI_CONTAINERID || echo overlap >>${0%/bin/*}/overlap; " GIVES_RESULT);
        fixture_write(&fix, "second.ADD.do",
                      "touch ${0%/bin/*}/met-$CNI_CONTAINERID; n=0; "
                      "while [ $n -lt 100 ] && ! { [ -e ${0%/bin/*}/met-p1 ] && [ -e ${0%/bin/*}/met-p2 ]; }; do "
                      "sleep 0.1; n=$((n+1)); done; [ $n -lt 100 ] || exit 1; " GIVES_RESULT);
        fixture_write(&fix, "first.DEL.do", "rmdir ${0%/bin/*}/busy-$CNI_CONTAINERID");
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, attach_and_detach, (void *) ids[i]), 0);
        for (size_t i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_false(fixture_has(&fix, "overlap"));
        assert_false(leftovers("p1") || leftovers("p2"));
        assert_true(fixture_has(&fix, "met-p1") && fixture_has(&fix, "met-p2"));
}

static void *collect(void *data)
{
        const char *const none[] = { NULL };

        ops->gc(self, NULL, none, NULL);
        return NULL;
}

static void nothing_runs_beside_a_collection(void **state)
{
        pthread_t collector;

        fixture_write(&fix, "conf/10-net.conflist", NETWORK("1.1.0"));
        fixture_write(&fix, "first.GC.do", "touch ${0%/bin/*}/began; sleep 0.5; echo over >>${0%/bin/*}/log");
        assert_int_equal(pthread_create(&collector, NULL, collect, NULL), 0);
        for (int i = 0; i < 500 && !fixture_has(&fix, "began"); i++)
                usleep(10000);
        assert_ok(attach("p1", unit_err()), unit_err());
        pthread_join(collector, NULL);
        assert_string_equal(fixture_read(&fix, "log"), "GC first\nover\nGC second\nADD first\nADD second\n");
}

static void waiting_for_a_turn_ends_with_the_call(void **state)
{
        struct cringle_call call = call_within(NULL, 200 * NSEC_PER_MSEC);
        struct cringle_network_pod p = pod("p1");
        struct cringle_err err = CRINGLE_ERR_INIT;
        pthread_t thread;

        fixture_write(&fix, "first.ADD.do", "touch ${0%/bin/*}/began; sleep 1; " GIVES_RESULT);
        assert_int_equal(pthread_create(&thread, NULL, attach_and_detach, (void *) "p1"), 0);
        for (int i = 0; i < 500 && !fixture_has(&fix, "began"); i++)
                usleep(10000);
        call = call_within(NULL, 200 * NSEC_PER_MSEC);
        assert_int_equal(ops->detach(self, &call, &p, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_DEADLINE);
        assert_contains(err.text, "wait for another network operation of p1");
        pthread_join(thread, NULL);
}

static void ids_and_values_cannot_leave_their_place(void **state)
{
        struct cringle_network_result result = { .size = sizeof result };
        struct cringle_network_pod p = pod("../p1");
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(ops->attach(self, NULL, &p, &result, &err), -1);
        assert_contains(err.text, "no id");
        assert_int_equal(ops->detach(self, NULL, &p, &err), -1);
        p = pod("p1");
        p.name = "web;K8S_POD_UID=other";
        assert_int_equal(ops->attach(self, NULL, &p, &result, &err), -1);
        assert_contains(err.text, "no value for K8S_POD_NAME");
        p = pod("p1");
        p.netns = NULL;
        assert_int_equal(ops->attach(self, NULL, &p, &result, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_PRECONDITION);
        assert_string_equal(fixture_read(&fix, "log"), "");
}

static void a_bandwidth_is_a_quantity(void **state)
{
        static const struct {
                const char *text;
                int64_t bits;           /* -1: refused */
        } known[] = {
                { "1k", 1000 }, { "1000", 1000 }, { "999", -1 }, { "1P", INT64_C(1000000000000000) }, { "1.1P", -1 },
                { "10M", 10000000 }, { "1.5Gi", 1610612736 }, { "1e6", 1000000 }, { "2E3", 2000 }, { "1e+3", 1000 },
                { "1500.5", 1501 }, { "2000000m", 2000 }, { "0.001Mi", 1049 }, { "8Ei", -1 }, { "", -1 }, { "M", -1 },
                { "-1M", -1 }, { "10 M", -1 }, { "10MB", -1 }, { "1.2.3", -1 }, { "1e99", -1 }, { ".", -1 },
                { "0000000000000000001", -1 }, { "999999999999999999E", -1 }, { "999999999999999999Ei", -1 },
        };

        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
                int64_t bits = -1;

                describe_bandwidth(known[i].text, &bits, NULL);
                if (bits != known[i].bits)
                        fail_msg("'%s' is %jd", known[i].text, (intmax_t) bits);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_plugin_is_told_all_about_the_pod),
        TEST(the_record_is_there_before_add_runs),
        TEST(detach_can_be_repeated),
        TEST(detach_needs_neither_configuration_nor_namespace),
        TEST(a_failed_attachment_is_undone_and_leaves_nothing),
        TEST(a_result_for_another_namespace_is_undone),
        TEST(a_hung_add_is_undone_with_time_of_its_own),
        TEST(the_plugins_own_limit_holds_without_a_deadline),
        TEST(what_could_not_be_undone_is_undone_later),
        TEST(an_earlier_attempt_is_undone_first),
        TEST(gc_undoes_what_no_pod_wants),
        TEST(a_damaged_record_is_set_aside_for_the_cached_one),
        TEST(status_follows_the_directory_whatever_is_done_to_it),
        TEST(status_asks_the_plugins_once_per_configuration),
        TEST(a_lease_that_a_power_cut_has_emptied_is_freed),
        TEST(leases_are_looked_at_when_their_network_comes),
        TEST(leases_of_another_ipam_plugin_are_left_alone),
        TEST(leases_are_left_while_host_local_has_its_lock),
        TEST(check_runs_with_the_recorded_result),
        TEST(pods_run_together_and_one_pod_in_turn),
        TEST(nothing_runs_beside_a_collection),
        TEST(waiting_for_a_turn_ends_with_the_call),
        TEST(ids_and_values_cannot_leave_their_place),
        cmocka_unit_test(a_bandwidth_is_a_quantity))
