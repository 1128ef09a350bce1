/*
 * New limits for what runs
 */

#include "tests/flow/flow.h"

#include <poll.h>

#include "hooks/hooks.h"

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

/* ---- a neighbour in the pipeline, as NRI is one ---------------------------------------- */

struct neighbour {
        int64_t asked, instead;         /* memory; 0: let it be */
        int64_t pids;
        const char *refuse;
        unsigned updates, told, noted, pod_updates, pod_told;
};

static int next_run(void *data, int point, const struct hooks_subject *s, const struct cringle_call *call,
                    struct cringle_err *err)
{
        return 0;
}

static int next_adjust(void *data, struct adjust *a, const struct hooks_subject *s, const struct cringle_call *call,
                       struct cringle_err *err)
{
        return 0;
}

static void next_hear(void *data, const struct hooks_subject *s)
{
}

static void next_list(void *data, void (*fn)(void *data, const struct hooks_info *info), void *fn_data)
{
}

static int next_update(void *data, const struct hooks_subject *s, struct hooks_limits *limits,
                       const struct cringle_call *call, struct cringle_err *err)
{
        struct neighbour *n = data;

        n->updates++;
        n->asked = limits->resources->memory_limit_in_bytes;
        if (n->refuse)
                return err_set(err, CRINGLE_E_DENIED, "%s", n->refuse);
        if (n->instead)
                limits->resources->memory_limit_in_bytes = n->instead;
        if (n->pids)
                limits->pids = n->pids;
        return 0;
}

static int next_update_pod(void *data, const struct hooks_subject *s, const Cri__UpdatePodSandboxResourcesRequest *request,
                           const struct cringle_call *call, struct cringle_err *err)
{
        struct neighbour *n = data;

        n->pod_updates++;
        return n->refuse ? err_set(err, CRINGLE_E_DENIED, "%s", n->refuse) : 0;
}

static void next_updated(void *data, const struct hooks_subject *s, const Cri__UpdatePodSandboxResourcesRequest *pod, bool tell)
{
        struct neighbour *n = data;

        if (pod)
                n->pod_told++;
        else if (tell)
                n->told++;
        else
                n->noted++;
}

/* Borrowed until the flow ends. */
static struct neighbour neighbour;

static void move_in(struct flow *f)
{
        static const struct hooks_next next = {
                .data = &neighbour,
                .run = next_run,
                .adjust = next_adjust,
                .update = next_update,
                .update_pod = next_update_pod,
                .updated = next_updated,
                .adopt = next_hear,
                .forget = next_hear,
                .list = next_list,
        };

        neighbour = (struct neighbour) { 0 };
        hooks_set_next(f->hooks, &next);
}

static void who_hears_of_it_may_set_something_else(void **state)
{
        struct flow *f = *state;
        Cri__LinuxContainerResources update = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        const Cri__LinuxContainerResources *now;
        Cri__ContainerStatusResponse *reply;
        id_text pod, c;

        move_in(f);
        must_run(f, "p", pod);
        start_limited(f, pod, c);
        update.memory_limit_in_bytes = 200 * MIB;
        neighbour.instead = 300 * MIB;
        neighbour.pids = 4711;
        assert_code(0, ask_update(f, c, &update));
        assert_int_equal(neighbour.asked, 200 * MIB);
        assert_int_equal(neighbour.told, 1);
        reply = limits(f, c, &now);
        assert_int_equal(now->memory_limit_in_bytes, 300 * MIB);
        assert_contains(reply->info[0]->value, "\"pids\":{\"limit\":4711}");
        reply_free(reply);

        neighbour.refuse = "not with me";
        assert_code(CRINGLE_E_DENIED, ask_update(f, c, &update));
        assert_contains(flow_err.text, "change limits: not with me");
        assert_int_equal(neighbour.told, 1);
        reply = limits(f, c, &now);
        assert_int_equal(now->memory_limit_in_bytes, 300 * MIB);
        reply_free(reply);
}

static void wake(void *data, const char *id, const struct cringle_err *err)
{
        *(_Atomic int *) data = err ? -1 : 1;
}

static void what_a_hook_wants_is_not_asked_for_again(void **state)
{
        struct flow *f = *state;
        Cri__LinuxContainerResources update = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        struct hooks_limits l = { &update, CRINGLE_UNSET };
        _Atomic int done = 0;
        id_text pod, c;

        move_in(f);
        must_run(f, "p", pod);
        start_limited(f, pod, c);
        update.cpu_shares = 99;
        pods_update_container(f->pods, c, &l, false, wake, &done);
        for (int i = 0; i < 20000 && !done; i++)
                poll(NULL, 0, 1);
        assert_int_equal(done, 1);
        assert_int_equal(neighbour.updates, 0);
        assert_int_equal(neighbour.told, 0);
        assert_int_equal(neighbour.noted, 1);
}

static void a_pods_limits_are_told_and_may_be_refused(void **state)
{
        struct flow *f = *state;
        Cri__UpdatePodSandboxResourcesRequest request = CRI__UPDATE_POD_SANDBOX_RESOURCES_REQUEST__INIT;
        Cri__LinuxContainerResources resources = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__PodSandboxStatusResponse *reply;
        id_text pod;

        move_in(f);
        must_run(f, "p", pod);
        request.pod_sandbox_id = pod;
        resources.cpu_quota = 2222;
        request.resources = &resources;
        assert_code(0, ask(f, "UpdatePodSandboxResources", &request, NULL));
        assert_int_equal(neighbour.pod_updates, 1);
        assert_int_equal(neighbour.pod_told, 1);

        neighbour.refuse = "not with me";
        resources.cpu_quota = 3333;
        assert_code(CRINGLE_E_DENIED, ask(f, "UpdatePodSandboxResources", &request, NULL));
        assert_int_equal(neighbour.pod_told, 1);
        assert_code(0, ask_pod_status(f, pod, true, &reply));
        assert_contains(reply->info[0]->value, "2222");
        reply_free(reply);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, flow_setup, flow_teardown)

UNIT_MAIN(
        FLOW(what_is_not_named_stays),
        FLOW(an_entry_of_a_list_is_replaced_by_its_name),
        FLOW(a_refusal_changes_nothing),
        FLOW(only_what_may_run_is_changed),
        FLOW(limits_of_a_pod_are_kept),
        FLOW(who_hears_of_it_may_set_something_else),
        FLOW(what_a_hook_wants_is_not_asked_for_again),
        FLOW(a_pods_limits_are_told_and_may_be_refused))
