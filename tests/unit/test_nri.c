/*
 * NRI: what plugins are told, what they change and for whom it counts, and what their failures do
 */

#include "tests/unit/test_nri.h"

#include "agent/rpc/ttrpc.h"

/* ---- adjusting ------------------------------------------------------------------------- */

/* One field each, named as the error names it. */
static const char *const fields[] = {
        "variable V", "annotation a", "mount /m", "rlimit RLIMIT_NOFILE", "device /dev/d", "process arguments",
        "memory limit", "memory swap", "cpu shares", "cpu quota", "cpu period", "cpu cpus", "cpu mems", "hugepage 2MB",
        "unified memory.high", "pids limit", "process oomScoreAdj", "process I/O priority", "seccomp policy",
        "namespace ipc", "sysctl net.core.somaxconn", "net device eth1", "process scheduler", "RDT closID", "memory policy",
};

#define FIELDS (sizeof fields / sizeof fields[0])

static void fill(Nri__CreateContainerResponse *r, const char *field)
{
        Nri__ContainerAdjustment *a = adjustment_of(r);
        Nri__LinuxContainerAdjustment *l = linux_of(r);
        Nri__LinuxResources *res = resources_of(r);

        if (strncmp(field, "memory ", 7) == 0 && strcmp(field, "memory policy") != 0)
                res->memory = FAKE_NEW(Nri__LinuxMemory, NRI__LINUX_MEMORY__INIT);
        if (strncmp(field, "cpu ", 4) == 0)
                res->cpu = FAKE_NEW(Nri__LinuxCPU, NRI__LINUX_CPU__INIT);

        if (strcmp(field, "variable V") == 0) {
                set_env(r, "V", "1");
        } else if (strcmp(field, "annotation a") == 0) {
                fake_add(&a->annotations, &a->n_annotations, new_pair("a", "b"));
        } else if (strcmp(field, "mount /m") == 0) {
                Nri__Mount *m = FAKE_NEW(Nri__Mount, NRI__MOUNT__INIT);

                m->destination = strdup("/m");
                m->source = strdup("/tmp");
                m->type = strdup("bind");
                fake_add(&m->options, &m->n_options, strdup("rbind"));
                fake_add(&a->mounts, &a->n_mounts, m);
        } else if (strcmp(field, "rlimit RLIMIT_NOFILE") == 0) {
                Nri__POSIXRlimit *limit = FAKE_NEW(Nri__POSIXRlimit, NRI__POSIXRLIMIT__INIT);

                limit->type = strdup("RLIMIT_NOFILE");
                limit->soft = 5;
                limit->hard = 6;
                fake_add(&a->rlimits, &a->n_rlimits, limit);
        } else if (strcmp(field, "device /dev/d") == 0) {
                Nri__LinuxDevice *d = FAKE_NEW(Nri__LinuxDevice, NRI__LINUX_DEVICE__INIT);

                d->path = strdup("/dev/d");
                d->type = strdup("c");
                d->major = 1;
                d->minor = 3;
                fake_add(&l->devices, &l->n_devices, d);
        } else if (strcmp(field, "process arguments") == 0) {
                fake_add(&a->args, &a->n_args, strdup("/bin/other"));
        } else if (strcmp(field, "memory limit") == 0) {
                res->memory->limit = FAKE_OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, 2000000);
        } else if (strcmp(field, "memory swap") == 0) {
                res->memory->swap = FAKE_OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, 3000000);
        } else if (strcmp(field, "cpu shares") == 0) {
                res->cpu->shares = FAKE_OPTION(Nri__OptionalUInt64, NRI__OPTIONAL_UINT64__INIT, 512);
        } else if (strcmp(field, "cpu quota") == 0) {
                res->cpu->quota = FAKE_OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, 10000);
        } else if (strcmp(field, "cpu period") == 0) {
                res->cpu->period = FAKE_OPTION(Nri__OptionalUInt64, NRI__OPTIONAL_UINT64__INIT, 50000);
        } else if (strcmp(field, "cpu cpus") == 0) {
                res->cpu->cpus = strdup("0-1");
        } else if (strcmp(field, "cpu mems") == 0) {
                res->cpu->mems = strdup("0");
        } else if (strcmp(field, "hugepage 2MB") == 0) {
                Nri__HugepageLimit *h = FAKE_NEW(Nri__HugepageLimit, NRI__HUGEPAGE_LIMIT__INIT);

                h->page_size = strdup("2MB");
                h->limit = 1 << 21;
                fake_add(&res->hugepage_limits, &res->n_hugepage_limits, h);
        } else if (strcmp(field, "unified memory.high") == 0) {
                fake_add(&res->unified, &res->n_unified, new_pair("memory.high", "9"));
        } else if (strcmp(field, "pids limit") == 0) {
                res->pids = FAKE_NEW(Nri__LinuxPids, NRI__LINUX_PIDS__INIT);
                res->pids->limit = 77;
        } else if (strcmp(field, "process oomScoreAdj") == 0) {
                l->oom_score_adj = FAKE_OPTION(Nri__OptionalInt, NRI__OPTIONAL_INT__INIT, 500);
        } else if (strcmp(field, "process I/O priority") == 0) {
                l->io_priority = FAKE_NEW(Nri__LinuxIOPriority, NRI__LINUX_IOPRIORITY__INIT);
                l->io_priority->class_ = NRI__IOPRIO_CLASS__IOPRIO_CLASS_BE;
                l->io_priority->priority = 4;
        } else if (strcmp(field, "seccomp policy") == 0) {
                l->seccomp_policy = FAKE_NEW(Nri__LinuxSeccomp, NRI__LINUX_SECCOMP__INIT);
                l->seccomp_policy->default_action = strdup("SCMP_ACT_ALLOW");
        } else if (strcmp(field, "namespace ipc") == 0) {
                Nri__LinuxNamespace *ns = FAKE_NEW(Nri__LinuxNamespace, NRI__LINUX_NAMESPACE__INIT);

                ns->type = strdup("ipc");
                fake_add(&l->namespaces, &l->n_namespaces, ns);
        } else if (strcmp(field, "sysctl net.core.somaxconn") == 0) {
                fake_add(&l->sysctl, &l->n_sysctl, new_pair("net.core.somaxconn", "9"));
        } else if (strcmp(field, "net device eth1") == 0) {
                Nri__NetDevicePair *d = FAKE_NEW(Nri__NetDevicePair, NRI__NET_DEVICE_PAIR__INIT);

                d->key = strdup("eth1");
                d->value = FAKE_NEW(Nri__LinuxNetDevice, NRI__LINUX_NET_DEVICE__INIT);
                d->value->name = strdup("eth9");
                fake_add(&l->net_devices, &l->n_net_devices, d);
        } else if (strcmp(field, "process scheduler") == 0) {
                l->scheduler = FAKE_NEW(Nri__LinuxScheduler, NRI__LINUX_SCHEDULER__INIT);
                l->scheduler->policy = NRI__LINUX_SCHEDULER_POLICY__SCHED_BATCH;
        } else if (strcmp(field, "RDT closID") == 0) {
                l->rdt = FAKE_NEW(Nri__LinuxRdt, NRI__LINUX_RDT__INIT);
                l->rdt->clos_id = FAKE_OPTION(Nri__OptionalString, NRI__OPTIONAL_STRING__INIT, strdup("gold"));
        } else if (strcmp(field, "memory policy") == 0) {
                l->memory_policy = FAKE_NEW(Nri__LinuxMemoryPolicy, NRI__LINUX_MEMORY_POLICY__INIT);
                l->memory_policy->mode = NRI__MPOL_MODE__MPOL_BIND;
                l->memory_policy->nodes = strdup("0");
        }
}

static const char *contested;

static void set_contested(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                          Nri__CreateContainerResponse *response)
{
        fill(response, contested);
}

static void set_everything(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                           Nri__CreateContainerResponse *response)
{
        Nri__LinuxMemory *memory;
        Nri__LinuxCPU *cpu;

        for (size_t i = 0; i < FIELDS; i++)     /* parts of the same message are filled by hand */
                if (strncmp(fields[i], "memory ", 7) != 0 && strncmp(fields[i], "cpu ", 4) != 0)
                        fill(response, fields[i]);
        fill(response, "memory policy");
        memory = resources_of(response)->memory = FAKE_NEW(Nri__LinuxMemory, NRI__LINUX_MEMORY__INIT);
        memory->limit = FAKE_OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, 2000000);
        memory->swap = FAKE_OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, 3000000);
        cpu = resources_of(response)->cpu = FAKE_NEW(Nri__LinuxCPU, NRI__LINUX_CPU__INIT);
        cpu->shares = FAKE_OPTION(Nri__OptionalUInt64, NRI__OPTIONAL_UINT64__INIT, 512);
        cpu->cpus = strdup("0-1");
}

static void a_plugin_adjusts_every_part(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "all", .create = set_everything);
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
        assert_spec(f, "process/env", "[\"A=1\",\"V=1\"]");
        assert_spec(f, "process/args", "[\"/bin/other\"]");
        assert_spec(f, "process/rlimits", "[{\"type\":\"RLIMIT_NOFILE\",\"soft\":5,\"hard\":6}]");
        assert_spec(f, "process/oomScoreAdj", "500");
        assert_spec(f, "process/ioPriority", "{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":4}");
        assert_spec(f, "process/scheduler/policy", "\"SCHED_BATCH\"");
        assert_spec(f, "annotations", "{\"a\":\"b\"}");
        assert_spec(f, "mounts", "[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},{\"destination\":\"/m\","
                                 "\"type\":\"bind\",\"source\":\"/tmp\",\"options\":[\"rbind\"]}]");
        assert_spec(f, "linux/devices", "[{\"path\":\"/dev/d\",\"type\":\"c\",\"major\":1,\"minor\":3}]");
        assert_spec(f, "linux/resources/memory", "{\"limit\":2000000,\"swap\":3000000}");
        assert_spec(f, "linux/resources/cpu", "{\"shares\":512,\"cpus\":\"0-1\"}");
        assert_spec(f, "linux/resources/pids", "{\"limit\":77}");
        assert_spec(f, "linux/resources/hugepageLimits", "[{\"pageSize\":\"2MB\",\"limit\":2097152}]");
        assert_spec(f, "linux/resources/unified", "{\"memory.high\":\"9\"}");
        assert_spec(f, "linux/resources/devices",
                    "[{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3,\"access\":\"rwm\"}]");
        assert_spec(f, "linux/namespaces", "[{\"type\":\"mount\"},{\"type\":\"ipc\"}]");
        assert_spec(f, "linux/sysctl", "{\"net.core.somaxconn\":\"9\"}");
        assert_spec(f, "linux/seccomp", "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
        assert_spec(f, "linux/netDevices", "{\"eth1\":{\"name\":\"eth9\"}}");
        assert_spec(f, "linux/intelRdt", "{\"closID\":\"gold\"}");
        assert_spec(f, "linux/memoryPolicy", "{\"mode\":\"MPOL_BIND\",\"nodes\":\"0\"}");
}

static void no_field_can_be_set_by_two(void **state)
{
        static struct fake_plugin first = FAKE_PLUGIN("10", "first", .create = set_contested);
        static struct fake_plugin second = FAKE_PLUGIN("20", "second", .create = set_contested);
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &first);
        join_in(f, &second);
        for (size_t i = 0; i < FIELDS; i++) {
                auto_free char *wanted = str_printf(NULL, "%s is set by hook 10-first already, hook 20-second may not set it too",
                                                    fields[i]);

                contested = fields[i];
                assert_int_equal(create(f), -1);
                assert_contains(f->err.text, wanted);
        }
}

static void set_given(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                      Nri__CreateContainerResponse *response)
{
        set_env(response, "GIVEN", p->name);
}

static void take_given(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                       Nri__CreateContainerResponse *response)
{
        set_env(response, "-GIVEN", "");
        set_env(response, "GIVEN", p->name);
}

/* Takes it, and then asks for what cannot be. */
static void take_and_stumble(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                             Nri__CreateContainerResponse *response)
{
        Nri__LinuxDevice *d = FAKE_NEW(Nri__LinuxDevice, NRI__LINUX_DEVICE__INIT);

        take_given(p, request, response);
        d->path = strdup("../d");
        d->type = strdup("c");
        fake_add(&linux_of(response)->devices, &linux_of(response)->n_devices, d);
}

static void what_is_removed_first_may_be_set_and_has_a_new_owner(void **state)
{
        static struct fake_plugin first = FAKE_PLUGIN("10", "first", .create = set_given);
        static struct fake_plugin second = FAKE_PLUGIN("20", "second", .create = take_given);
        static struct fake_plugin judge = FAKE_PLUGIN("30", "judge", .events = 1u << 13);
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &first);
        join_in(f, &second);
        join_in(f, &judge);
        assert_ok(create(f), &f->err);
        assert_spec(f, "process/env", "[\"A=1\",\"GIVEN=second\"]");
        assert_string_equal(judge.owner, "20-second");
}

static void what_an_ignored_plugin_had_taken_goes_back_to_its_owner(void **state)
{
        static struct fake_plugin first = FAKE_PLUGIN("10", "first", .create = set_given);
        static struct fake_plugin ignored = FAKE_PLUGIN("20", "ignored", .create = take_and_stumble);
        static struct fake_plugin third = FAKE_PLUGIN("30", "third", .create = set_given);
        static struct fake_plugin judge = FAKE_PLUGIN("40", "judge", .events = 1u << 13);
        struct fixture *f = *state;

        begin(f, "plugins: {ignored: {failure: ignore}}");
        join_in(f, &first);
        join_in(f, &ignored);
        join_in(f, &judge);
        assert_ok(create(f), &f->err);
        assert_spec(f, "process/env", "[\"A=1\",\"GIVEN=first\"]");
        assert_string_equal(judge.owner, "10-first");
        join_in(f, &third);
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "variable GIVEN is set by hook 10-first already, hook 30-third");
}

static void ask_for_a_class(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                            Nri__CreateContainerResponse *response)
{
        resources_of(response)->blockio_class = FAKE_OPTION(Nri__OptionalString, NRI__OPTIONAL_STRING__INIT, strdup("gold"));
}

static void ask_for_a_cgroup(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                             Nri__CreateContainerResponse *response)
{
        linux_of(response)->cgroups_path = strdup("/elsewhere");
}

static void ask_for_a_reservation(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                                  Nri__CreateContainerResponse *response)
{
        Nri__LinuxMemory *m = resources_of(response)->memory = FAKE_NEW(Nri__LinuxMemory, NRI__LINUX_MEMORY__INIT);

        m->reservation = FAKE_OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, 5);
}

static void ask_for_real_time(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                              Nri__CreateContainerResponse *response)
{
        Nri__LinuxCPU *c = resources_of(response)->cpu = FAKE_NEW(Nri__LinuxCPU, NRI__LINUX_CPU__INIT);

        c->realtime_period = FAKE_OPTION(Nri__OptionalUInt64, NRI__OPTIONAL_UINT64__INIT, 5);
}

static void what_cannot_be_done_is_refused_with_the_names_of_plugin_and_field(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "odd");
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &p);
        p.create = ask_for_a_class;
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 10-odd at CreateContainer: blockio_class");
        p.create = ask_for_a_cgroup;
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 10-odd at CreateContainer: cgroups_path");
        p.create = ask_for_a_reservation;
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 10-odd at CreateContainer: memory reservation");
        p.create = ask_for_real_time;
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 10-odd at CreateContainer: cpu realtime_period");
}

static void a_validator_rejects(void **state)
{
        static struct fake_plugin judge = FAKE_PLUGIN("10", "judge", .reject = "not today");
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &judge);
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 10-judge rejects the adjustments: not today");
        assert_contains(judge.log.data, "CreateContainer:box ValidateContainerAdjustment:box RemoveContainer:box");
}

/* ---- events --------------------------------------------------------------------------------- */

static void each_plugin_is_told_each_event_once_and_in_its_order(void **state)
{
        static struct fake_plugin plugins[] = { FAKE_PLUGIN("10", "a"), FAKE_PLUGIN("20", "b"), FAKE_PLUGIN("30", "c") };
        Cri__LinuxContainerResources limits = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__UpdatePodSandboxResourcesRequest pod_limits = CRI__UPDATE_POD_SANDBOX_RESOURCES_REQUEST__INIT;
        struct hooks_limits l = { &limits, CRINGLE_UNSET };
        struct fixture *f = *state;

        begin(f, "");
        for (int i = 0; i < 3; i++)
                join_in(f, &plugins[i]);
        limits.memory_limit_in_bytes = 5;
        pod_limits.overhead = &limits;
        assert_ok(at(f, CRINGLE_POD_RUN), &f->err);
        assert_ok(create(f), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_CREATED), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_STOPPED), &f->err);   /* it ends before its start has */
        assert_ok(at(f, CRINGLE_CONTAINER_STARTED), &f->err);
        assert_ok(hooks_update(f->hooks, &f->container, &l, NULL, &f->err), &f->err);
        hooks_updated(f->hooks, &f->container, NULL, true);
        hooks_updated(f->hooks, &f->container, NULL, false);
        assert_ok(hooks_update_pod(f->hooks, &f->pod, &pod_limits, NULL, &f->err), &f->err);
        hooks_updated(f->hooks, &f->pod, &pod_limits, true);
        assert_ok(at(f, CRINGLE_CONTAINER_STOPPED), &f->err);
        assert_ok(at(f, CRINGLE_POD_STOP), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_REMOVE), &f->err);
        assert_ok(at(f, CRINGLE_POD_REMOVE), &f->err);
        for (int i = 0; i < 3; i++)
                assert_string_equal(plugins[i].log.data,
                                    "Configure Synchronize RunPodSandbox CreateContainer:box ValidateContainerAdjustment:box "
                                    "PostCreateContainer:box StartContainer:box PostStartContainer:box StopContainer:box "
                                    "UpdateContainer:box PostUpdateContainer:box UpdatePodSandbox PostUpdatePodSandbox "
                                    "StopPodSandbox RemoveContainer:box RemovePodSandbox");
        assert_int_equal(plugins[2].asked_memory, 5);
}

static void what_one_refuses_those_before_it_are_told_is_gone(void **state)
{
        static struct fake_plugin first = FAKE_PLUGIN("10", "first"), second = FAKE_PLUGIN("20", "second", .refuse = "CreateContainer");
        static struct fake_plugin third = FAKE_PLUGIN("30", "third");
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &first);
        join_in(f, &second);
        join_in(f, &third);
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 20-second at CreateContainer: not with me");
        assert_string_equal(first.log.data, "Configure Synchronize CreateContainer:box RemoveContainer:box");
        assert_string_equal(third.log.data, "Configure Synchronize");
        second.refuse = "RunPodSandbox";
        assert_int_equal(at(f, CRINGLE_POD_RUN), -1);
        assert_contains(first.log.data, "RunPodSandbox RemovePodSandbox");
        second.refuse = "StopContainer";
        assert_ok(create(f), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_STOPPED), &f->err);   /* has happened */
        assert_contains(third.log.data, "StopContainer:box");
}

static void a_plugin_older_than_an_event_hears_of_it_by_state_change(void **state)
{
        static struct fake_plugin old = FAKE_PLUGIN("10", "old", .unimplemented = "PostCreateContainer");
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &old);
        assert_ok(create(f), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_CREATED), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);
        assert_string_equal(old.log.data, "Configure Synchronize CreateContainer:box ValidateContainerAdjustment:box "
                                          "PostCreateContainer:box StateChange StateChange");
}

/* ---- what there is ----------------------------------------------------------------------------- */

#define MANY 2500

/* So many containers that no single message holds them. */
static void adopt_many(struct fixture *f)
{
        static char value[4096];
        Cri__Pair annotation = CRI__PAIR__INIT;
        Cri__Pair *annotations[] = { &annotation };

        memset(value, 'x', sizeof value - 1);
        annotation.key = (char *) "much";
        annotation.value = value;
        fixture_container.n_annotations = 1;
        fixture_container.annotations = annotations;
        hooks_adopt(f->hooks, &f->pod);
        for (int i = 0; i < MANY; i++) {
                auto_free char *id = str_printf(NULL, "box-%d", i);

                f->container.container_id = id;
                hooks_adopt(f->hooks, &f->container);
        }
        f->container.container_id = "box";
        fixture_container.n_annotations = 0;
        fixture_container.annotations = NULL;
}

static void a_long_list_is_told_in_pieces_and_whole(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "patient");
        struct fixture *f = *state;

        begin(f, "");
        adopt_many(f);
        join_in(f, &p);
        assert_true(p.sync_calls >= MANY * 4096 / TTRPC_MAX + 1);
        assert_int_equal(p.pods, 1);
        assert_int_equal(p.containers, MANY);
}

static void a_plugin_that_takes_one_message_alone_is_refused_when_there_are_more(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "simple", .one_message = true), good = FAKE_PLUGIN("20", "good");
        struct fixture *f = *state;

        begin(f, "");
        adopt_many(f);
        f->plugins[f->n_plugins++] = &p;
        fake_connect(&p, f->socket);
        pthread_join(p.thread, NULL);           /* it is shown out */
        p.runs = false;
        join_in(f, &good);
        assert_false(takes_part(f, &p));
        assert_int_equal(p.sync_calls, 1);
}

static void *make_container(void *data)
{
        struct fixture *f = data;

        assert_ok(at(f, CRINGLE_POD_RUN), &f->err);
        assert_ok(create(f), &f->err);
        return NULL;
}

static void nothing_is_lost_while_a_plugin_is_told_what_there_is(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "slow", .sync_ms = 300);
        struct fixture *f = *state;
        pthread_t maker;

        begin(f, "");
        f->plugins[f->n_plugins++] = &p;
        fake_connect(&p, f->socket);
        poll(NULL, 0, 100);             /* most probably it is being told now; true in any case */
        assert_int_equal(pthread_create(&maker, NULL, make_container, f), 0);
        pthread_join(maker, NULL);
        await(f, &p, true);
        if (p.containers == 0)
                assert_string_equal(p.log.data, "Configure Synchronize RunPodSandbox CreateContainer:box "
                                                "ValidateContainerAdjustment:box");
        else
                assert_string_equal(p.log.data, "Configure Synchronize Sync:box");
}

/* ---- limits that change -------------------------------------------------------------------------- */

static int update(struct fixture *f, int64_t memory, int64_t *ret_memory)
{
        Cri__LinuxContainerResources *limits = FAKE_NEW(Cri__LinuxContainerResources, CRI__LINUX_CONTAINER_RESOURCES__INIT);
        struct hooks_limits l = { limits, CRINGLE_UNSET };
        int r;

        limits->memory_limit_in_bytes = memory;
        r = hooks_update(f->hooks, &f->container, &l, NULL, &f->err);
        *ret_memory = l.resources->memory_limit_in_bytes;
        cri__linux_container_resources__free_unpacked(l.resources, NULL);
        return r;
}

static void an_answer_says_what_is_set_instead_and_the_next_sees_it(void **state)
{
        static Nri__ContainerUpdate *list[2];
        static Nri__ContainerEviction *eviction;
        static struct fake_plugin first = FAKE_PLUGIN("10", "first", .updates = list, .n_updates = 2, .evictions = &eviction,
                                               .n_evictions = 1);
        static struct fake_plugin second = FAKE_PLUGIN("20", "second");
        struct fixture *f = *state;
        int64_t memory;

        list[0] = new_update("box", 7000);
        list[1] = new_update("other", 8000);
        eviction = new_eviction("third", "in the way");
        list[1]->linux->resources->pids = FAKE_NEW(Nri__LinuxPids, NRI__LINUX_PIDS__INIT);
        list[1]->linux->resources->pids->limit = 44;
        begin(f, "");
        join_in(f, &first);
        join_in(f, &second);
        assert_ok(create(f), &f->err);
        assert_ok(update(f, 5000, &memory), &f->err);
        assert_int_equal(first.asked_memory, 5000);
        assert_int_equal(second.asked_memory, 7000);
        assert_int_equal(memory, 7000);
        assert_string_equal(wishes(f), "update other 8000 44 later;evict third in the way;");
        nri__container_update__free_unpacked(list[0], NULL);
        nri__container_update__free_unpacked(list[1], NULL);
        nri__container_eviction__free_unpacked(eviction, NULL);
}

static void two_that_want_one_limit_are_refused_and_nothing_is_done(void **state)
{
        static Nri__ContainerUpdate *mine, *yours;
        static Nri__ContainerEviction *eviction;
        static struct fake_plugin first = FAKE_PLUGIN("10", "first", .updates = &mine, .n_updates = 1, .evictions = &eviction,
                                               .n_evictions = 1);
        static struct fake_plugin second = FAKE_PLUGIN("20", "second", .updates = &yours, .n_updates = 1);
        struct fixture *f = *state;
        int64_t memory;

        mine = new_update("box", 7000);
        yours = new_update("box", 8000);
        eviction = new_eviction("third", "in the way");
        begin(f, "");
        join_in(f, &first);
        join_in(f, &second);
        assert_ok(create(f), &f->err);
        assert_int_equal(update(f, 5000, &memory), -1);
        assert_contains(f->err.text, "NRI plugin 20-second at UpdateContainer: memory limit of container box is changed by NRI "
                                     "plugin 10-first already");
        assert_string_equal(wishes(f), "");
        yours->ignore_failure = true;
        assert_ok(update(f, 5000, &memory), &f->err);
        assert_int_equal(memory, 7000);
        assert_string_equal(wishes(f), "evict third in the way;");
        nri__container_update__free_unpacked(mine, NULL);
        nri__container_update__free_unpacked(yours, NULL);
        nri__container_eviction__free_unpacked(eviction, NULL);
}

static void a_limit_that_cannot_change_is_refused_by_name(void **state)
{
        static Nri__ContainerUpdate *mine;
        static struct fake_plugin p = FAKE_PLUGIN("10", "odd", .updates = &mine, .n_updates = 1);
        struct fixture *f = *state;
        int64_t memory;

        mine = new_update("box", 0);
        mine->linux->resources->rdt_class = FAKE_OPTION(Nri__OptionalString, NRI__OPTIONAL_STRING__INIT, strdup("gold"));
        begin(f, "");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
        assert_int_equal(update(f, 5000, &memory), -1);
        assert_contains(f->err.text, "NRI plugin 10-odd at UpdateContainer: class rdt_class of a container that exists cannot change");
        nri__container_update__free_unpacked(mine, NULL);
}

static void a_stop_brings_updates_of_others(void **state)
{
        static Nri__ContainerUpdate *other;
        static struct fake_plugin p = FAKE_PLUGIN("10", "generous", .updates = &other, .n_updates = 1);
        struct fixture *f = *state;

        other = new_update("other", 9000);
        begin(f, "");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_STOPPED), &f->err);
        assert_string_equal(wishes(f), "update other 9000 0 later;");
        nri__container_update__free_unpacked(other, NULL);
}

static void evict_other(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                        Nri__CreateContainerResponse *response)
{
        fake_add(&response->evict, &response->n_evict, new_eviction("other", "room needed"));
        fake_add(&response->update, &response->n_update, new_update("third", 6000));
}

static void update_itself(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                          Nri__CreateContainerResponse *response)
{
        fake_add(&response->update, &response->n_update, new_update("box", 6000));
}

static void a_creation_evicts_others_unless_it_fails(void **state)
{
        static struct fake_plugin first = FAKE_PLUGIN("10", "first", .create = evict_other);
        static struct fake_plugin second = FAKE_PLUGIN("20", "second", .refuse = "CreateContainer");
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &first);
        join_in(f, &second);
        assert_int_equal(create(f), -1);
        assert_string_equal(wishes(f), "");
        second.refuse = NULL;
        assert_ok(create(f), &f->err);
        assert_string_equal(wishes(f), "update third 6000 0 later;evict other room needed;");
        first.create = update_itself;
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 10-first at CreateContainer: wants to update the container that is being created");
}

static void a_plugin_asks_of_its_own_accord_and_is_told_what_failed(void **state)
{
        Nri__UpdateContainersRequest request = NRI__UPDATE_CONTAINERS_REQUEST__INIT;
        Nri__ContainerUpdate *list[] = { new_update("good", 1000), new_update("gone", 2000) };
        Nri__ContainerEviction *eviction = new_eviction("other", "because");
        static struct fake_plugin p = FAKE_PLUGIN("10", "active");
        struct fixture *f = *state;
        Nri__UpdateContainersResponse *response;
        Ttrpc__Response *envelope;

        begin(f, "");
        join_in(f, &p);
        f->fail = "gone";
        request.update = list;
        request.n_update = 2;
        request.evict = &eviction;
        request.n_evict = 1;
        envelope = fake_ask(&p, "UpdateContainers", &request.base);
        assert_null(envelope->status);
        response = nri__update_containers_response__unpack(NULL, envelope->payload.len, envelope->payload.data);
        assert_int_equal(response->n_failed, 1);
        assert_string_equal(response->failed[0]->container_id, "gone");
        assert_string_equal(wishes(f), "update good 1000 0 wait;update gone 2000 0 wait;evict other because;");
        nri__update_containers_response__free_unpacked(response, NULL);
        ttrpc__response__free_unpacked(envelope, NULL);
        nri__container_update__free_unpacked(list[0], NULL);
        nri__container_update__free_unpacked(list[1], NULL);
        nri__container_eviction__free_unpacked(eviction, NULL);
}

/* ---- policies ---------------------------------------------------------------------------------------- */

static void without_a_required_plugin_nothing_is_created(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "needed");
        struct fixture *f = *state;

        begin(f, "plugins: {10-needed: {failure: fail}}");
        assert_int_equal(create(f), -1);
        assert_int_equal(f->err.code, CRINGLE_E_UNAVAILABLE);
        assert_contains(f->err.text, "NRI plugin 10-needed, without which nothing is created, is not there");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
        shutdown(p.fd, SHUT_RDWR);
        await(f, &p, false);
        assert_int_equal(create(f), -1);
}

/* A retry, which is what people see in the end, finds nobody; it says how that came. */
static void where_a_required_plugin_left_is_told_until_it_is_back(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "needed", .leave = "CreateContainer"), next = FAKE_PLUGIN("10", "needed");
        struct fixture *f = *state;

        begin(f, "plugins: {needed: {failure: fail}}");
        join_in(f, &p);
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "NRI plugin 10-needed at CreateContainer: connection has ended");
        await(f, &p, false);
        assert_int_equal(create(f), -1);
        assert_contains(f->err.text, "is not there; it did not answer CreateContainer: connection has ended: the peer has left");
        join_in(f, &next);
        assert_ok(create(f), &f->err);
        shutdown(next.fd, SHUT_RDWR);
        await(f, &next, false);
        assert_int_equal(create(f), -1);
        assert_null(strstr(f->err.text, "CreateContainer"));
}

static void silence_of_a_required_plugin_fails_the_operation(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "needed", .hang = "StartContainer");
        struct fixture *f = *state;

        begin(f, "plugins: {needed: {failure: fail}}");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
        assert_ok(settings(f, "request_timeout: 50ms, plugins: {needed: {failure: fail}}", &f->err), &f->err);
        assert_int_equal(at(f, CRINGLE_CONTAINER_START), -1);
        assert_contains(f->err.text, "NRI plugin 10-needed at StartContainer");
}

static void misses_in_a_row_are_counted_before_a_plugin_is_dropped(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "sleepy");
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
        for (int round = 0; round < 2; round++) {
                assert_ok(settings(f, "request_timeout: 50ms, misses: 3", &f->err), &f->err);
                p.hang = "StartContainer";
                assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);
                assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);
                assert_true(takes_part(f, &p));
                if (round == 1)
                        break;
                assert_ok(settings(f, "misses: 3", &f->err), &f->err);
                p.hang = NULL;
                assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);     /* an answer: they count anew */
        }
        assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);
        await(f, &p, false);
}

static void a_plugins_own_policy_says_what_its_silence_does(void **state)
{
        static Nri__FailurePolicy policy = NRI__FAILURE_POLICY__INIT;
        static struct fake_plugin p = FAKE_PLUGIN("10", "strict", .hang = "StartContainer", .policy = &policy);
        struct fixture *f = *state;

        policy.fail_request = policy.keep_connected = true;
        begin(f, "");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
        assert_ok(settings(f, "request_timeout: 50ms", &f->err), &f->err);
        assert_int_equal(at(f, CRINGLE_CONTAINER_START), -1);
        assert_true(takes_part(f, &p));
        assert_ok(settings(f, "request_timeout: 50ms, plugins: {strict: {failure: ignore}}", &f->err), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);     /* the operator's word counts more */
        assert_true(takes_part(f, &p));
}

/* ---- settings ------------------------------------------------------------------------------------------ */

static void settings_change_live(void **state)
{
        static struct fake_plugin stays = FAKE_PLUGIN("10", "stays"), comes = FAKE_PLUGIN("20", "comes");
        struct fixture *f = *state;
        auto_free char *elsewhere = str_printf(NULL, "%s/new/nri.sock", f->dir);
        auto_free char *moved = str_printf(NULL, "socket: %s", elsewhere);
        auto_free char *off = str_printf(NULL, "socket: %s, enabled: false, plugins: {absent: {failure: fail}}", elsewhere);

        begin(f, "");
        join_in(f, &stays);
        assert_ok(settings(f, moved, &f->err), &f->err);
        assert_false(file_exists(f->socket));
        assert_true(takes_part(f, &stays));
        free(f->socket);
        f->socket = strdup(elsewhere);
        join_in(f, &comes);

        assert_ok(settings(f, off, &f->err), &f->err);
        assert_false(takes_part(f, &stays));
        assert_false(takes_part(f, &comes));
        assert_false(file_exists(elsewhere));
        assert_ok(at(f, CRINGLE_POD_RUN), &f->err);
        assert_ok(create(f), &f->err);          /* nobody is required while it is off */

        fake_leave(&comes);
        f->n_plugins--;
        assert_ok(settings(f, moved, &f->err), &f->err);
        join_in(f, &comes);
        assert_contains(comes.log.data, "Sync:box");
}

static void a_socket_that_cannot_be_had_changes_nothing(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "stays");
        struct fixture *f = *state;
        auto_free char *taken = str_printf(NULL, "%s/taken.sock", f->dir);
        auto_free char *section = str_printf(NULL, "socket: %s, plugins: {absent: {failure: fail}}", taken);
        auto_fd int other = sock_listen(taken, SOCK_STREAM, 0600, &f->err);

        assert_true(other >= 0);
        begin(f, "");
        assert_int_equal(settings(f, section, &f->err), -1);
        assert_contains(f->err.text, "is in use by another runtime");
        join_in(f, &p);
        assert_ok(create(f), &f->err);
}

/* ---- launched plugins ------------------------------------------------------------------------------------ */

static void launch_program(struct fixture *f, const char *name, const char *text)
{
        auto_free char *path = str_printf(NULL, "%s/plugins/%s", f->dir, name);

        assert_ok(file_replace(path, text, strlen(text), 0755, false, &f->err), &f->err);
}

static size_t lines_of(struct fixture *f, const char *name)
{
        auto_free char *path = str_printf(NULL, "%s/%s", f->dir, name);
        auto_buf text = BUF_INIT;
        size_t n = 0;

        if (file_read(path, 1 << 20, &text, NULL) < 0)
                return 0;
        for (size_t i = 0; i < text.len; i++)
                n += text.data[i] == '\n';
        return n;
}

static void a_launched_plugin_that_ends_is_launched_again_less_and_less_often(void **state)
{
        struct fixture *f = *state;
        auto_free char *text = str_printf(NULL, "#!/bin/sh\necho $NRI_PLUGIN_NAME $NRI_PLUGIN_IDX $NRI_PLUGIN_SOCKET >>%s/ran\n",
                                          f->dir);
        auto_free char *ran = str_printf(NULL, "%s/ran", f->dir);
        int64_t end = clock_monotonic() + PATIENCE, begun;
        auto_buf first = BUF_INIT;

        launch_program(f, "10-brief", text);
        begun = clock_monotonic();
        begin(f, "restart_delay: 40ms, registration_timeout: 10s");
        while (lines_of(f, "ran") < 5) {
                assert_true(clock_monotonic() < end);
                poll(NULL, 0, 5);
        }
        assert_true(clock_monotonic() - begun >= (40 + 80 + 160 + 320) * NSEC_PER_MSEC);
        assert_ok(file_read(ran, 1 << 20, &first, &f->err), &f->err);
        assert_memory_equal(first.data, "brief 10 3\n", 11);
}

static void programs_come_and_go_with_the_directory(void **state)
{
        struct fixture *f = *state;
        auto_free char *text = str_printf(NULL, "#!/bin/sh\necho >>%s/ran\n", f->dir);
        auto_free char *path = str_printf(NULL, "%s/plugins/10-brief", f->dir);
        int64_t end = clock_monotonic() + PATIENCE;

        begin(f, "restart_delay: 0");
        launch_program(f, "10-brief", text);
        for (size_t times = 1; times < 4; times++) {    /* each reload launches what has ended for good */
                assert_ok(settings(f, "restart_delay: 0", &f->err), &f->err);
                while (lines_of(f, "ran") < times) {
                        assert_true(clock_monotonic() < end);
                        poll(NULL, 0, 5);
                }
                poll(NULL, 0, 50);
        }
        unlink(path);
        assert_ok(settings(f, "restart_delay: 10ms", &f->err), &f->err);
        poll(NULL, 0, 200);
        assert_int_equal(lines_of(f, "ran"), 3);
}

static void a_file_that_others_can_write_is_not_launched(void **state)
{
        struct fixture *f = *state;
        auto_free char *text = str_printf(NULL, "#!/bin/sh\necho >>%s/ran\n", f->dir);
        auto_free char *path = str_printf(NULL, "%s/plugins/10-open", f->dir);

        launch_program(f, "10-open", text);
        launch_program(f, "1-name", text);
        launch_program(f, "ab-name", text);
        assert_int_equal(chmod(path, 0777), 0);
        begin(f, "restart_delay: 10ms");
        poll(NULL, 0, 200);
        assert_int_equal(lines_of(f, "ran"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_plugin_adjusts_every_part),
        TEST(no_field_can_be_set_by_two),
        TEST(what_is_removed_first_may_be_set_and_has_a_new_owner),
        TEST(what_an_ignored_plugin_had_taken_goes_back_to_its_owner),
        TEST(what_cannot_be_done_is_refused_with_the_names_of_plugin_and_field),
        TEST(a_validator_rejects),
        TEST(each_plugin_is_told_each_event_once_and_in_its_order),
        TEST(what_one_refuses_those_before_it_are_told_is_gone),
        TEST(a_plugin_older_than_an_event_hears_of_it_by_state_change),
        TEST(a_long_list_is_told_in_pieces_and_whole),
        TEST(a_plugin_that_takes_one_message_alone_is_refused_when_there_are_more),
        TEST(nothing_is_lost_while_a_plugin_is_told_what_there_is),
        TEST(an_answer_says_what_is_set_instead_and_the_next_sees_it),
        TEST(two_that_want_one_limit_are_refused_and_nothing_is_done),
        TEST(a_limit_that_cannot_change_is_refused_by_name),
        TEST(a_stop_brings_updates_of_others),
        TEST(a_creation_evicts_others_unless_it_fails),
        TEST(a_plugin_asks_of_its_own_accord_and_is_told_what_failed),
        TEST(without_a_required_plugin_nothing_is_created),
        TEST(where_a_required_plugin_left_is_told_until_it_is_back),
        TEST(silence_of_a_required_plugin_fails_the_operation),
        TEST(misses_in_a_row_are_counted_before_a_plugin_is_dropped),
        TEST(a_plugins_own_policy_says_what_its_silence_does),
        TEST(settings_change_live),
        TEST(a_socket_that_cannot_be_had_changes_nothing),
        TEST(a_launched_plugin_that_ends_is_launched_again_less_and_less_often),
        TEST(programs_come_and_go_with_the_directory),
        TEST(a_file_that_others_can_write_is_not_launched))
