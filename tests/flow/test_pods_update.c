/*
 * New limits for what runs
 */

#include "tests/flow/flow.h"

#define MIB (INT64_C(1) << 20)

static int ask_update(struct flow *f, const char *id, Cri__LinuxContainerResources *resources)
{
        Cri__UpdateContainerResourcesRequest request = CRI__UPDATE_CONTAINER_RESOURCES_REQUEST__INIT;

        request.container_id = (char *) id;
        request.linux = resources;
        return ask(f, "UpdateContainerResources", &request, NULL);
}

/* A running container with limits of 100 MiB, half as much swap, and 2 MB pages. */
static void start_limited(struct flow *f, const char *pod, id_text ret)
{
        Cri__LinuxContainerConfig own = CRI__LINUX_CONTAINER_CONFIG__INIT;
        Cri__LinuxContainerResources resources = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__HugepageLimit page = CRI__HUGEPAGE_LIMIT__INIT, *pages = &page;
        struct container_ask a;

        container_ask(&a, pod, "c");
        resources.memory_limit_in_bytes = 100 * MIB;
        resources.memory_swap_limit_in_bytes = 150 * MIB;
        resources.cpu_shares = 512;
        page.page_size = (char *) "2MB";
        page.limit = 4 << 20;
        resources.n_hugepage_limits = 1;
        resources.hugepage_limits = &pages;
        own.resources = &resources;
        a.config.linux = &own;
        assert_code(0, ask_create(f, &a, ret));
        assert_code(0, ask_start(f, ret));
}

/* The caller's: reply_free(). */
static Cri__ContainerStatusResponse *limits(struct flow *f, const char *id, const Cri__LinuxContainerResources **ret)
{
        Cri__ContainerStatusResponse *reply;

        assert_code(0, ask_container_status(f, id, true, &reply));
        *ret = reply->status->resources->linux;
        return reply;
}

static void what_is_not_named_stays(void **state)
{
        struct flow *f = *state;
        Cri__LinuxContainerResources update = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        const Cri__LinuxContainerResources *now;
        Cri__ContainerStatusResponse *reply;
        auto_free char *calls = NULL;
        id_text pod, c;

        must_run(f, "p", pod);
        start_limited(f, pod, c);
        update.memory_limit_in_bytes = 200 * MIB;
        update.cpu_quota = 20000;
        update.cpu_period = 100000;
        assert_code(0, ask_update(f, c, &update));
        calls = fake_calls();
        assert_contains(calls, "cgroup.update /flow");

        for (int i = 0; i < 2; i++) {
                reply = limits(f, c, &now);
                assert_int_equal(now->memory_limit_in_bytes, 200 * MIB);
                assert_int_equal(now->memory_swap_limit_in_bytes, 250 * MIB);    /* the same 50 MiB of swap */
                assert_int_equal(now->cpu_shares, 512);
                assert_int_equal(now->cpu_quota, 20000);
                assert_int_equal(now->n_hugepage_limits, 1);
                assert_contains(reply->info[0]->value, "209715200");            /* config.json, too */
                reply_free(reply);
                flow_stop(f);
                assert_ok(flow_start(f, NULL, &flow_err), &flow_err);
        }
        remove_all(f);
        assert_nothing_left(f);
}

static void an_entry_of_a_list_is_replaced_by_its_name(void **state)
{
        struct flow *f = *state;
        Cri__LinuxContainerResources update = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__HugepageLimit pages[2] = { CRI__HUGEPAGE_LIMIT__INIT, CRI__HUGEPAGE_LIMIT__INIT };
        Cri__HugepageLimit *list[] = { &pages[0], &pages[1] };
        const Cri__LinuxContainerResources *now;
        Cri__ContainerStatusResponse *reply;
        id_text pod, c;

        must_run(f, "p", pod);
        start_limited(f, pod, c);
        pages[0].page_size = (char *) "1GB";
        pages[0].limit = 1 << 30;
        pages[1].page_size = (char *) "2MB";
        pages[1].limit = 8 << 20;
        update.n_hugepage_limits = 2;
        update.hugepage_limits = list;
        assert_code(0, ask_update(f, c, &update));
        reply = limits(f, c, &now);
        assert_int_equal(now->n_hugepage_limits, 2);
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(now->hugepage_limits[i]->limit,
                                 str_equal(now->hugepage_limits[i]->page_size, "2MB") ? 8 << 20 : 1 << 30);
        reply_free(reply);
}

static void a_refusal_changes_nothing(void **state)
{
        struct flow *f = *state;
        Cri__LinuxContainerResources update = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        const Cri__LinuxContainerResources *now;
        Cri__ContainerStatusResponse *reply;
        id_text pod, c;

        must_run(f, "p", pod);
        start_limited(f, pod, c);
        update.memory_limit_in_bytes = 200 * MIB;
        fake_fail("cgroup.update", 1);
        assert_code(CRINGLE_E_INTERNAL, ask_update(f, c, &update));

        update.memory_limit_in_bytes = FAKE_MEMORY_RSS - 1;     /* its processes hold more */
        assert_code(CRINGLE_E_PRECONDITION, ask_update(f, c, &update));
        assert_contains(flow_err.text, "memory limit");

        update.memory_limit_in_bytes = 200 * MIB;
        update.memory_swap_limit_in_bytes = 100 * MIB;
        assert_code(CRINGLE_E_INVALID, ask_update(f, c, &update));

        update = (Cri__LinuxContainerResources) CRI__LINUX_CONTAINER_RESOURCES__INIT;
        update.cpuset_cpus = (char *) "0\n1";
        assert_code(CRINGLE_E_INVALID, ask_update(f, c, &update));

        reply = limits(f, c, &now);
        assert_int_equal(now->memory_limit_in_bytes, 100 * MIB);
        assert_int_equal(now->memory_swap_limit_in_bytes, 150 * MIB);
        assert_string_equal(now->cpuset_cpus, "");
        assert_contains(reply->info[0]->value, "104857600");
        reply_free(reply);
}

static void only_what_may_run_is_changed(void **state)
{
        struct flow *f = *state;
        Cri__LinuxContainerResources update = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        id_text pod, c, created;

        update.cpu_shares = 100;
        assert_code(CRINGLE_E_NOT_FOUND, ask_update(f, "nothing", &update));
        must_run(f, "p", pod);
        must_create(f, pod, "created", created);
        assert_code(0, ask_update(f, created, &update));
        start_limited(f, pod, c);
        assert_code(0, ask_update(f, c, NULL));
        fake_exit(pod, c, 0);
        wait_for_state(f, c, CRI__CONTAINER_STATE__CONTAINER_EXITED);
        assert_code(CRINGLE_E_PRECONDITION, ask_update(f, c, &update));
        assert_contains(flow_err.text, "exited");
}

static void limits_of_a_pod_are_kept(void **state)
{
        struct flow *f = *state;
        Cri__UpdatePodSandboxResourcesRequest request = CRI__UPDATE_POD_SANDBOX_RESOURCES_REQUEST__INIT;
        Cri__LinuxContainerResources resources = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__LinuxContainerResources overhead = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__PodSandboxStatusResponse *reply;
        id_text pod;

        request.pod_sandbox_id = (char *) "nothing";
        assert_code(CRINGLE_E_NOT_FOUND, ask(f, "UpdatePodSandboxResources", &request, NULL));
        must_run(f, "p", pod);
        request.pod_sandbox_id = pod;
        overhead.cpu_quota = 1111;
        request.overhead = &overhead;
        assert_code(0, ask(f, "UpdatePodSandboxResources", &request, NULL));
        resources.cpu_quota = 2222;
        request.overhead = NULL;
        request.resources = &resources;
        assert_code(0, ask(f, "UpdatePodSandboxResources", &request, NULL));
        for (int i = 0; i < 2; i++) {
                assert_code(0, ask_pod_status(f, pod, true, &reply));
                assert_contains(reply->info[0]->value, "1111");
                assert_contains(reply->info[0]->value, "2222");
                reply_free(reply);
                flow_stop(f);
                assert_ok(flow_start(f, NULL, &flow_err), &flow_err);
        }
        assert_code(0, ask_stop_pod(f, pod));
        assert_code(CRINGLE_E_PRECONDITION, ask(f, "UpdatePodSandboxResources", &request, NULL));
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, flow_setup, flow_teardown)

UNIT_MAIN(
        FLOW(what_is_not_named_stays),
        FLOW(an_entry_of_a_list_is_replaced_by_its_name),
        FLOW(a_refusal_changes_nothing),
        FLOW(only_what_may_run_is_changed),
        FLOW(limits_of_a_pod_are_kept))
