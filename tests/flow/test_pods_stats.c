/*
 * Statistics over the socket, with drivers that make numbers up
 */

#include "tests/flow/flow.h"

static int ask_stats(struct flow *f, const char *id, Cri__ContainerStatsResponse **ret)
{
        Cri__ContainerStatsRequest request = CRI__CONTAINER_STATS_REQUEST__INIT;

        request.container_id = (char *) id;
        return ask(f, "ContainerStats", &request, ret);
}

static int ask_stats_list(struct flow *f, Cri__ContainerStatsFilter *filter, Cri__ListContainerStatsResponse **ret)
{
        Cri__ListContainerStatsRequest request = CRI__LIST_CONTAINER_STATS_REQUEST__INIT;

        request.filter = filter;
        return ask(f, "ListContainerStats", &request, ret);
}

static int ask_pod_stats(struct flow *f, const char *id, Cri__PodSandboxStatsResponse **ret)
{
        Cri__PodSandboxStatsRequest request = CRI__POD_SANDBOX_STATS_REQUEST__INIT;

        request.pod_sandbox_id = (char *) id;
        return ask(f, "PodSandboxStats", &request, ret);
}

static int ask_pod_stats_list(struct flow *f, Cri__PodSandboxStatsFilter *filter,
                              Cri__ListPodSandboxStatsResponse **ret)
{
        Cri__ListPodSandboxStatsRequest request = CRI__LIST_POD_SANDBOX_STATS_REQUEST__INIT;

        request.filter = filter;
        return ask(f, "ListPodSandboxStats", &request, ret);
}

static void a_container_tells_the_numbers_of_the_driver(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatsResponse *reply;
        id_text pod, c;

        must_run(f, "p", pod);
        must_start(f, pod, "c", c);
        assert_code(0, ask_stats(f, c, &reply));
        assert_string_equal(reply->stats->attributes->id, c);
        assert_string_equal(reply->stats->attributes->metadata->name, "c");
        assert_true(reply->stats->cpu->usage_core_nano_seconds->value > 0);
        assert_int_equal(reply->stats->memory->usage_bytes->value, FAKE_MEMORY_USAGE);
        assert_int_equal(reply->stats->memory->working_set_bytes->value, FAKE_MEMORY_WORKING_SET);
        assert_int_equal(reply->stats->memory->rss_bytes->value, FAKE_MEMORY_RSS);
        assert_int_equal(reply->stats->memory->available_bytes->value, FAKE_MEMORY_LIMIT - FAKE_MEMORY_WORKING_SET);
        assert_null(reply->stats->memory->page_faults);         /* what the kernel does not tell is not made up */
        assert_null(reply->stats->memory->psi);
        assert_int_equal(reply->stats->cpu->psi->some->total, 1000);
        assert_true(reply->stats->cpu->psi->some->avg10 == 1.5);
        assert_null(reply->stats->cpu->psi->full);
        assert_int_equal(reply->stats->writable_layer->used_bytes->value, 4096);
        assert_int_equal(reply->stats->writable_layer->inodes_used->value, 1);
        assert_true(strlen(reply->stats->writable_layer->fs_id->mountpoint) > 0);
        reply_free(reply);
}

static void a_rate_comes_with_the_second_look(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatsResponse *reply;
        id_text pod, c;

        must_run(f, "p", pod);
        must_start(f, pod, "c", c);
        assert_code(0, ask_stats(f, c, &reply));
        reply_free(reply);
        usleep(1100000);
        assert_code(0, ask_stats(f, c, &reply));
        assert_non_null(reply->stats->cpu->usage_nano_cores);
        assert_in_range(reply->stats->cpu->usage_nano_cores->value, 900000000, 1100000000);
        reply_free(reply);
}

static void lists_follow_their_filter(void **state)
{
        struct flow *f = *state;
        Cri__ContainerStatsFilter filter = CRI__CONTAINER_STATS_FILTER__INIT;
        Cri__ListContainerStatsResponse *reply;
        id_text one, two, a, b, ended;

        must_run(f, "one", one);
        must_run(f, "two", two);
        must_create(f, one, "a", a);
        must_start(f, two, "b", b);
        must_start(f, two, "ended", ended);
        fake_exit(two, ended, 0);
        wait_for_state(f, ended, CRI__CONTAINER_STATE__CONTAINER_EXITED);

        assert_code(0, ask_stats_list(f, NULL, &reply));
        assert_int_equal(reply->n_stats, 2);
        reply_free(reply);
        assert_code(0, ask_stats_list(f, &filter, &reply));
        assert_int_equal(reply->n_stats, 2);
        reply_free(reply);
        filter.pod_sandbox_id = two;
        assert_code(0, ask_stats_list(f, &filter, &reply));
        assert_int_equal(reply->n_stats, 1);
        assert_string_equal(reply->stats[0]->attributes->id, b);
        reply_free(reply);
        filter.id = a;
        assert_code(0, ask_stats_list(f, &filter, &reply));
        assert_int_equal(reply->n_stats, 0);
        reply_free(reply);
}

static void a_pod_tells_its_own_and_its_containers(void **state)
{
        struct flow *f = *state;
        Cri__PodSandboxStatsFilter filter = CRI__POD_SANDBOX_STATS_FILTER__INIT;
        Cri__ListPodSandboxStatsResponse *list;
        Cri__PodSandboxStatsResponse *reply;
        id_text pod, other, a, b;

        must_run(f, "p", pod);
        must_run(f, "q", other);
        must_start(f, pod, "a", a);
        must_start(f, pod, "b", b);
        assert_code(0, ask_pod_stats(f, pod, &reply));
        assert_string_equal(reply->stats->attributes->id, pod);
        assert_int_equal(reply->stats->linux->n_containers, 2);
        assert_int_equal(reply->stats->linux->process->process_count->value, 50);       /* the pod's own cgroup */
        assert_int_equal(reply->stats->linux->memory->usage_bytes->value, FAKE_MEMORY_USAGE);
        reply_free(reply);

        assert_code(0, ask_pod_stats_list(f, NULL, &list));
        assert_int_equal(list->n_stats, 2);
        reply_free(list);
        filter.id = other;
        assert_code(0, ask_pod_stats_list(f, &filter, &list));
        assert_int_equal(list->n_stats, 1);
        assert_int_equal(list->stats[0]->linux->n_containers, 0);
        reply_free(list);
}

static void a_pod_without_a_cgroup_of_its_own_is_the_sum(void **state)
{
        struct flow *f = *state;
        Cri__PodSandboxStatsResponse *reply;
        struct pod_ask a;
        id_text pod, c;

        pod_ask(&a, "p");
        a.linux.cgroup_parent = (char *) "";
        assert_code(0, ask_run(f, &a, pod));
        must_start(f, pod, "a", c);
        must_start(f, pod, "b", c);
        assert_code(0, ask_pod_stats(f, pod, &reply));
        assert_int_equal(reply->stats->linux->process->process_count->value, 10);
        assert_int_equal(reply->stats->linux->memory->usage_bytes->value, 2 * FAKE_MEMORY_USAGE);
        reply_free(reply);
}

static void what_is_not_there_is_said(void **state)
{
        struct flow *f = *state;
        id_text pod;

        assert_code(CRINGLE_E_NOT_FOUND, ask_stats(f, "nothing", NULL));
        assert_code(CRINGLE_E_NOT_FOUND, ask_stats(f, "", NULL));
        assert_code(CRINGLE_E_NOT_FOUND, ask_pod_stats(f, "nothing", NULL));
        must_run(f, "p", pod);
        assert_code(0, ask_stop_pod(f, pod));
        assert_code(CRINGLE_E_PRECONDITION, ask_pod_stats(f, pod, NULL));
}

static const Cri__MetricDescriptor *descriptor(const Cri__ListMetricDescriptorsResponse *all, const char *name)
{
        for (size_t i = 0; i < all->n_descriptors; i++)
                if (str_equal(all->descriptors[i]->name, name))
                        return all->descriptors[i];

        fail_msg("no descriptor of %s", name);
        return NULL;
}

static void check_metric(const Cri__ListMetricDescriptorsResponse *all, const Cri__Metric *m)
{
        assert_int_equal(m->n_label_values, descriptor(all, m->name)->n_label_keys);
        assert_non_null(m->value);
        assert_true(m->timestamp > 0);
}

static const Cri__Metric *metric(const Cri__ContainerMetrics *of, const char *name)
{
        for (size_t i = 0; i < of->n_metrics; i++)
                if (str_equal(of->metrics[i]->name, name))
                        return of->metrics[i];

        fail_msg("no %s", name);
        return NULL;
}

static void metrics_are_as_they_are_described(void **state)
{
        struct flow *f = *state;
        Cri__ListMetricDescriptorsRequest which = CRI__LIST_METRIC_DESCRIPTORS_REQUEST__INIT;
        Cri__ListPodSandboxMetricsRequest request = CRI__LIST_POD_SANDBOX_METRICS_REQUEST__INIT;
        Cri__ListMetricDescriptorsResponse *all;
        Cri__ListPodSandboxMetricsResponse *reply;
        const Cri__ContainerMetrics *of;
        const Cri__Metric *m;
        id_text pod, c;

        must_run(f, "p", pod);
        must_start(f, pod, "c", c);
        assert_code(0, ask(f, "ListMetricDescriptors", &which, &all));
        assert_int_equal(all->n_descriptors, 58);
        for (size_t i = 0; i < all->n_descriptors; i++) {
                assert_ptr_equal(descriptor(all, all->descriptors[i]->name), all->descriptors[i]);      /* once */
                assert_true(strlen(all->descriptors[i]->help) > 0 && all->descriptors[i]->n_label_keys >= 6);
        }
        assert_code(0, ask(f, "ListPodSandboxMetrics", &request, &reply));
        assert_int_equal(reply->n_pod_metrics, 1);
        assert_string_equal(reply->pod_metrics[0]->pod_sandbox_id, pod);
        assert_int_equal(reply->pod_metrics[0]->n_container_metrics, 1);
        of = reply->pod_metrics[0]->container_metrics[0];
        assert_string_equal(of->container_id, c);
        for (size_t i = 0; i < of->n_metrics; i++)
                check_metric(all, of->metrics[i]);
        m = metric(of, "container_memory_rss");
        assert_int_equal(m->value->value, FAKE_MEMORY_RSS);
        assert_string_equal(m->label_values[1], c);
        assert_string_equal(m->label_values[3], "c");
        assert_string_equal(m->label_values[4], "p");
        assert_string_equal(m->label_values[5], "default");
        assert_string_equal(metric(of, "container_cpu_usage_seconds_total")->label_values[6], "total");
        assert_int_equal(metric(of, "container_threads")->value->value, 5);
        assert_int_equal(metric(of, "container_fs_usage_bytes")->value->value, 4096);
        reply_free(reply);
        reply_free(all);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, flow_setup, flow_teardown)

UNIT_MAIN(
        FLOW(a_container_tells_the_numbers_of_the_driver),
        FLOW(a_rate_comes_with_the_second_look),
        FLOW(lists_follow_their_filter),
        FLOW(a_pod_tells_its_own_and_its_containers),
        FLOW(a_pod_without_a_cgroup_of_its_own_is_the_sum),
        FLOW(what_is_not_there_is_said),
        FLOW(metrics_are_as_they_are_described))
