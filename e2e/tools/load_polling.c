/*
 * What a kubelet asks all the time, and what an answer costs the agent
 *
 * CPU time is that of the one process, all its threads: monitors and pods do not count.  It is read
 * before each call; what the agent does when an answer is sent belongs to that answer, and is
 * over when the next one is asked for but for a little.  Each question is asked some times before
 * it counts.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "e2e/tools/load.h"

#define WARM_UP 3
#define ROLLUP_MAX 65536

static char uid_label[] = POD_UID_LABEL, group_label[] = POD_GROUP_LABEL, group_value[] = "0";

/* One pod of those there are, for the questions about one. */
struct subject {
        char *pod, *container, *uid;
};

/* All requests with what they point to, in one. */
struct question {
        union {
                ProtobufCMessage base;
                Cri__ListPodSandboxRequest pods;
                Cri__ListContainersRequest containers;
                Cri__PodSandboxStatusRequest pod;
                Cri__ContainerStatusRequest container;
                Cri__ListContainerStatsRequest container_stats;
                Cri__ListPodSandboxStatsRequest pod_stats;
                char room[256];         /* those that say nothing */
        } m;
        Cri__PodSandboxFilter pod_filter;
        Cri__ContainerFilter container_filter;
        Cri__ContainerStatsFilter container_stats_filter;
        Cri__PodSandboxStatsFilter pod_stats_filter;
        Cri__PodSandboxStateValue pod_state;
        Cri__ContainerStateValue container_state;
        Cri__Pair label, *labels[1];
};

static void ask_pods_by_uid(struct question *q, const struct subject *s)
{
        q->m.pods.filter = &q->pod_filter;
        q->label.key = uid_label;
        q->label.value = s->uid;
        q->pod_filter.label_selector = q->labels;
        q->pod_filter.n_label_selector = 1;
        q->pod_filter.state = &q->pod_state;    /* ready */
}

static void ask_pods_by_id(struct question *q, const struct subject *s)
{
        q->m.pods.filter = &q->pod_filter;
        q->pod_filter.id = s->pod;
}

static void ask_ready_pods(struct question *q, const struct subject *s)
{
        q->m.pods.filter = &q->pod_filter;
        q->pod_filter.state = &q->pod_state;
}

static void ask_containers_by_uid(struct question *q, const struct subject *s)
{
        q->m.containers.filter = &q->container_filter;
        q->label.key = uid_label;
        q->label.value = s->uid;
        q->container_filter.label_selector = q->labels;
        q->container_filter.n_label_selector = 1;
}

static void ask_containers_of_pod(struct question *q, const struct subject *s)
{
        q->m.containers.filter = &q->container_filter;
        q->container_filter.pod_sandbox_id = s->pod;
}

static void ask_ended_containers(struct question *q, const struct subject *s)
{
        q->m.containers.filter = &q->container_filter;
        q->container_filter.state = &q->container_state;
        q->container_state.state = CRI__CONTAINER_STATE__CONTAINER_EXITED;
}

static void ask_pod(struct question *q, const struct subject *s)
{
        q->m.pod.pod_sandbox_id = s->pod;
}

static void ask_container(struct question *q, const struct subject *s)
{
        q->m.container.container_id = s->container;
}

static void ask_group_container_stats(struct question *q, const struct subject *s)
{
        q->m.container_stats.filter = &q->container_stats_filter;
        q->label.key = group_label;
        q->label.value = group_value;
        q->container_stats_filter.label_selector = q->labels;
        q->container_stats_filter.n_label_selector = 1;
}

static void ask_group_pod_stats(struct question *q, const struct subject *s)
{
        q->m.pod_stats.filter = &q->pod_stats_filter;
        q->label.key = group_label;
        q->label.value = group_value;
        q->pod_stats_filter.label_selector = q->labels;
        q->pod_stats_filter.n_label_selector = 1;
}

static const struct {
        const char *name, *method;
        void (*fill)(struct question *q, const struct subject *s);      /* NULL: there is nothing to say */
        size_t share;                   /* asked N / share times: it takes long */
} questions[] = {
        { "ListPodSandbox", "ListPodSandbox", NULL, 1 },
        { "ListContainers", "ListContainers", NULL, 1 },
        { "ListPodSandbox, ready", "ListPodSandbox", ask_ready_pods, 1 },
        { "ListPodSandbox, ready, by uid", "ListPodSandbox", ask_pods_by_uid, 1 },
        { "ListPodSandbox, by id", "ListPodSandbox", ask_pods_by_id, 1 },
        { "ListContainers, ended", "ListContainers", ask_ended_containers, 1 },
        { "ListContainers, by uid", "ListContainers", ask_containers_by_uid, 1 },
        { "ListContainers, of a pod", "ListContainers", ask_containers_of_pod, 1 },
        { "PodSandboxStatus", "PodSandboxStatus", ask_pod, 1 },
        { "ContainerStatus", "ContainerStatus", ask_container, 1 },
        { "Version", "Version", NULL, 1 },
        { "Status", "Status", NULL, 1 },
        { "ListContainerStats, a group", "ListContainerStats", ask_group_container_stats, 4 },
        { "ListPodSandboxStats, a group", "ListPodSandboxStats", ask_group_pod_stats, 4 },
        { "ListContainerStats", "ListContainerStats", NULL, 10 },
        { "ListPodSandboxStats", "ListPodSandboxStats", NULL, 10 },
        { "ListPodSandboxMetrics", "ListPodSandboxMetrics", NULL, 10 },
};

static int cpu_of(clockid_t clock, int64_t *ret, struct cringle_err *err)
{
        struct timespec t;

        if (clock_gettime(clock, &t) < 0)
                return err_sys(err, "CPU time of the agent");
        *ret = t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
        return 0;
}

static void question_init(struct question *q, const ProtobufCMethodDescriptor *method)
{
        memset(q, 0, sizeof *q);
        protobuf_c_message_init(method->input, q);
        cri__pod_sandbox_filter__init(&q->pod_filter);
        cri__container_filter__init(&q->container_filter);
        cri__container_stats_filter__init(&q->container_stats_filter);
        cri__pod_sandbox_stats_filter__init(&q->pod_stats_filter);
        cri__pod_sandbox_state_value__init(&q->pod_state);
        cri__container_state_value__init(&q->container_state);
        cri__pair__init(&q->label);
        q->labels[0] = &q->label;
}

static int poll_question(struct load *l, struct rpc_client *client, clockid_t clock, size_t which, const struct subject *subject,
                         struct samples *cpu, struct cringle_err *err)
{
        const ProtobufCServiceDescriptor *service = &cri__runtime_service__descriptor;
        size_t n = l->n / questions[which].share + 1;
        struct question q;
        int64_t before = 0, after;

        question_init(&q, protobuf_c_service_descriptor_get_method_by_name(service, questions[which].method));
        if (questions[which].fill)
                questions[which].fill(&q, subject);
        for (size_t i = 0; i < WARM_UP + n; i++) {
                ProtobufCMessage *reply = NULL;

                if (cri_call(client, service, questions[which].method, &q.m.base, &reply, NULL, err) < 0)
                        return -1;
                protobuf_c_message_free_unpacked(reply, NULL);
                if (cpu_of(clock, &after, err) < 0 || (i >= WARM_UP && samples_add(cpu, after - before, err) < 0))
                        return -1;
                before = after;
        }
        return 0;
}

/* Private memory that it has written to. */
static int anonymous_kb(pid_t pid, int64_t *ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        const char *line;
        char path[48];

        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int) pid);
        if (file_read(path, ROLLUP_MAX, &text, err) < 0)
                return -1;
        line = strstr(text.data, "Anonymous:");
        *ret = line ? strtoll(line + strlen("Anonymous:"), NULL, 10) : 0;
        return 0;
}

static const char *uid_of(const Cri__PodSandbox *pod)
{
        for (size_t i = 0; i < pod->n_labels; i++)
                if (strcmp(pod->labels[i]->key, uid_label) == 0)
                        return pod->labels[i]->value;
        return "";
}

int load_polling(struct load *l, struct report *r, struct cringle_err *err)
{
        Cri__ListPodSandboxRequest all_pods = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
        Cri__ListContainersRequest all_containers = CRI__LIST_CONTAINERS_REQUEST__INIT;
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        auto_reply(Cri__ListContainersResponse) containers = NULL;
        auto_of(rpc_client) client = NULL;
        struct subject subject;
        int64_t memory;
        clockid_t clock;
        int result;

        result = clock_getcpuclockid(l->agent, &clock);
        if (result)
                return err_sysno(err, result, "CPU time of process %d", (int) l->agent);
        if (rpc_client_connect(l->socket, &client, err) < 0 || anonymous_kb(l->agent, &memory, err) < 0 ||
            cri_runtime(client, "ListPodSandbox", &all_pods, &pods, NULL, err) < 0 ||
            cri_runtime(client, "ListContainers", &all_containers, &containers, NULL, err) < 0)
                return -1;
        if (!pods->n_items || !containers->n_containers)
                return err_set(err, CRINGLE_E_PRECONDITION, "no pods to ask for");
        subject = (struct subject) {
                .pod = pods->items[0]->id,
                .uid = (char *) uid_of(pods->items[0]),
                .container = containers->containers[0]->id,
        };
        report_figure(r, "n", (int64_t) l->n);
        report_figure(r, "pods", (int64_t) pods->n_items);
        report_figure(r, "containers", (int64_t) containers->n_containers);
        report_figure(r, "anonymous_before_kb", memory);
        for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
                if ((!l->only || strcmp(l->only, questions[i].name) == 0) &&
                    poll_question(l, client, clock, i, &subject, report_series(r, questions[i].name), err) < 0)
                        return -1;
        if (anonymous_kb(l->agent, &memory, err) < 0)
                return -1;
        report_figure(r, "anonymous_after_kb", memory);
        return 0;
}
