/*
 * Lists and events as streams
 */

#include "tests/flow/flow.h"

#include <stdatomic.h>

#include "agent/base/call.h"
#include "agent/rpc/client.h"

#define BIG (200 * 1024)

static int stream(struct flow *f, const ProtobufCServiceDescriptor *service, const char *method, const void *request,
                  rpc_message_fn fn, void *data)
{
        struct cringle_call call = call_within(NULL, flow_patience);
        auto_of(rpc_client) client = NULL;

        flow_err = (struct cringle_err) CRINGLE_ERR_INIT;
        if (rpc_client_connect(f->config.socket, &client, &flow_err) < 0 ||
            rpc_client_stream(client, service, method, request, &call, fn, data, &flow_err) < 0)
                return flow_err.code;
        return 0;
}

/* A pod with an annotation of @n bytes. */
static void run_big(struct flow *f, const char *name, size_t n, id_text ret)
{
        auto_free char *value = malloc(n + 1);
        struct pod_ask a;

        pod_ask(&a, name);
        memset(value, 'x', n);
        value[n] = '\0';
        a.pairs[0].key = (char *) "big";
        a.pairs[0].value = value;
        a.annotations[0] = &a.pairs[0];
        a.config.n_annotations = 1;
        a.config.annotations = a.annotations;
        assert_code(0, ask_run(f, &a, ret));
}

struct listed {
        int messages, items;
        id_text ids[16];
};

static int note_pods(const ProtobufCMessage *message, void *data, struct cringle_err *err)
{
        const Cri__StreamPodSandboxesResponse *m = (const Cri__StreamPodSandboxesResponse *) message;
        struct listed *l = data;

        assert_true(m->n_pod_sandboxes > 0);
        l->messages++;
        for (size_t i = 0; i < m->n_pod_sandboxes; i++)
                memcpy(l->ids[l->items++], m->pod_sandboxes[i]->id, sizeof(id_text));
        return 0;
}

static void a_long_list_comes_in_parts_and_whole(void **state)
{
        struct flow *f = *state;
        Cri__StreamPodSandboxesRequest request = CRI__STREAM_POD_SANDBOXES_REQUEST__INIT;
        struct listed l = { 0 };
        id_text ids[7];
        char name[8];

        assert_code(0, stream(f, &cri__runtime_service__descriptor, "StreamPodSandboxes", &request, note_pods, &l));
        assert_int_equal(l.messages, 0);
        for (int i = 0; i < 7; i++) {
                snprintf(name, sizeof name, "p%d", i);
                run_big(f, name, BIG, ids[i]);
        }
        assert_code(0, stream(f, &cri__runtime_service__descriptor, "StreamPodSandboxes", &request, note_pods, &l));
        assert_true(l.messages > 2);
        assert_int_equal(l.items, 7);
        for (int i = 0; i < 7; i++) {
                int found = 0;

                for (int k = 0; k < 7; k++)
                        found += str_equal(ids[i], l.ids[k]);
                assert_int_equal(found, 1);
        }
}

static int count_messages(const ProtobufCMessage *message, void *data, struct cringle_err *err)
{
        ++*(int *) data;
        return 0;
}

static void every_list_has_a_stream(void **state)
{
        struct flow *f = *state;
        Cri__StreamContainersRequest containers = CRI__STREAM_CONTAINERS_REQUEST__INIT;
        Cri__StreamContainerStatsRequest stats = CRI__STREAM_CONTAINER_STATS_REQUEST__INIT;
        Cri__StreamPodSandboxStatsRequest pods = CRI__STREAM_POD_SANDBOX_STATS_REQUEST__INIT;
        Cri__StreamImagesRequest images = CRI__STREAM_IMAGES_REQUEST__INIT;
        const struct {
                const ProtobufCServiceDescriptor *service;
                const char *method;
                const void *request;
        } cases[] = {
                { &cri__runtime_service__descriptor, "StreamContainers", &containers },
                { &cri__runtime_service__descriptor, "StreamContainerStats", &stats },
                { &cri__runtime_service__descriptor, "StreamPodSandboxStats", &pods },
                { &cri__image_service__descriptor, "StreamImages", &images },
        };
        id_text pod, c;

        must_run(f, "p", pod);
        must_start(f, pod, "c", c);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                int n = 0;

                assert_code(0, stream(f, cases[i].service, cases[i].method, cases[i].request, count_messages, &n));
                assert_int_equal(n, 1);
        }
}

/* --- events --- */

struct heard {
        struct flow *f;
        pthread_t thread;
        pthread_mutex_t lock;
        int n;
        struct {
                Cri__ContainerEventType type;
                id_text id;
                int state;              /* of the container it is about; -1: it is not among the pod's */
                int pod_state;
        } list[4096];
        atomic_bool hold;               /* read no more */
        bool leave;                     /* with the next */
        int code;
        char text[256];
};

static int hear(const ProtobufCMessage *message, void *data, struct cringle_err *err)
{
        const Cri__ContainerEventResponse *m = (const Cri__ContainerEventResponse *) message;
        struct heard *h = data;
        bool leave;

        while (h->hold)
                usleep(1000);
        pthread_mutex_lock(&h->lock);
        h->list[h->n].type = m->container_event_type;
        memcpy(h->list[h->n].id, m->container_id, sizeof(id_text));
        h->list[h->n].pod_state = (int) m->pod_sandbox_status->state;
        h->list[h->n].state = -1;
        for (size_t i = 0; i < m->n_containers_statuses; i++)
                if (str_equal(m->containers_statuses[i]->id, m->container_id))
                        h->list[h->n].state = (int) m->containers_statuses[i]->state;
        h->n++;
        leave = h->leave;
        pthread_mutex_unlock(&h->lock);
        return leave;
}

static void *listen_to_all(void *data)
{
        struct heard *h = data;
        Cri__GetEventsRequest request = CRI__GET_EVENTS_REQUEST__INIT;

        h->code = stream(h->f, &cri__runtime_service__descriptor, "GetContainerEvents", &request, hear, h);
        snprintf(h->text, sizeof h->text, "%s", flow_err.text);
        return NULL;
}

static int heard_so_far(struct heard *h)
{
        int n;

        pthread_mutex_lock(&h->lock);
        n = h->n;
        pthread_mutex_unlock(&h->lock);
        return n;
}

static void wait_for_events(struct heard *h, int n)
{
        for (int i = 0; i < 10000 && heard_so_far(h) < n; i++)
                usleep(1000);
        if (heard_so_far(h) < n)
                fail_msg("%d events, not %d", heard_so_far(h), n);
}

/* Listening from before it returns: pods come and go until one of them is heard of. */
static struct heard *begin_to_listen(struct flow *f)
{
        struct heard *h = calloc(1, sizeof *h);
        id_text pod;
        int n = -1;

        h->f = f;
        pthread_mutex_init(&h->lock, NULL);
        assert_int_equal(pthread_create(&h->thread, NULL, listen_to_all, h), 0);
        for (int i = 0; i < 1000 && heard_so_far(h) == 0; i++) {
                must_run(f, "probe", pod);
                assert_code(0, ask_remove_pod(f, pod));
                usleep(1000);
        }
        /* The last one's end. */
        while (n != heard_so_far(h)) {
                n = heard_so_far(h);
                usleep(50000);
        }
        pthread_mutex_lock(&h->lock);
        assert_true(h->n > 0);
        h->n = 0;
        pthread_mutex_unlock(&h->lock);
        return h;
}

static void end_listening(struct heard *h)
{
        pthread_join(h->thread, NULL);
        pthread_mutex_destroy(&h->lock);
        free(h);
}

static void assert_heard(const struct heard *h, int i, int type, const char *id, int state,
                         int pod_state)
{
        if ((int) h->list[i].type != type || !str_equal(h->list[i].id, id) || h->list[i].state != state ||
            h->list[i].pod_state != pod_state)
                fail_msg("event %d: type %d, %.12s, state %d, pod's %d", i, h->list[i].type, h->list[i].id,
                         h->list[i].state, h->list[i].pod_state);
}

static void a_life_is_told_from_birth_to_removal(void **state)
{
        enum { CREATED, STARTED, STOPPED, DELETED };
        struct flow *f = *state;
        struct heard *h = begin_to_listen(f);
        id_text pod, c;

        must_run(f, "p", pod);
        must_create(f, pod, "c", c);
        assert_code(0, ask_start(f, c));
        fake_exit(pod, c, 3);
        wait_for_state(f, c, CRI__CONTAINER_STATE__CONTAINER_EXITED);
        assert_code(0, ask_remove(f, c));
        assert_code(0, ask_stop_pod(f, pod));
        wait_for_events(h, 7);
        pthread_mutex_lock(&h->lock);
        h->leave = true;                /* with what comes last */
        pthread_mutex_unlock(&h->lock);
        assert_code(0, ask_remove_pod(f, pod));
        pthread_join(h->thread, NULL);
        assert_int_equal(h->code, 0);
        assert_int_equal(h->n, 8);
        assert_heard(h, 0, CREATED, pod, -1, 0);
        assert_heard(h, 1, STARTED, pod, -1, 0);
        assert_heard(h, 2, CREATED, c, CRI__CONTAINER_STATE__CONTAINER_CREATED, 0);
        assert_heard(h, 3, STARTED, c, CRI__CONTAINER_STATE__CONTAINER_RUNNING, 0);
        assert_heard(h, 4, STOPPED, c, CRI__CONTAINER_STATE__CONTAINER_EXITED, 0);
        assert_heard(h, 5, DELETED, c, -1, 0);
        assert_heard(h, 6, STOPPED, pod, -1, 1);
        assert_heard(h, 7, DELETED, pod, -1, 1);
        pthread_mutex_destroy(&h->lock);
        free(h);
}

static void who_does_not_read_is_told_what_he_missed(void **state)
{
        struct flow *f = *state;
        struct heard *h = begin_to_listen(f);
        id_text pod, c;

        h->hold = true;
        run_big(f, "p", BIG, pod);
        for (int i = 0; i < 50; i++) {          /* 30 MiB: created, stopped, deleted */
                must_create(f, pod, "c", c);
                assert_code(0, ask_remove(f, c));
        }
        h->hold = false;
        pthread_join(h->thread, NULL);
        assert_int_equal(h->code, CRINGLE_E_EXHAUSTED);
        assert_contains(h->text, "were dropped");
        assert_true(h->n > 10 && h->n < 152);
        assert_int_equal(atoi(strstr(h->text, "time: ") + 6), 152 - h->n);
        pthread_mutex_destroy(&h->lock);
        free(h);

        h = begin_to_listen(f);         /* and may begin anew */
        h->leave = true;
        assert_code(0, ask_remove_pod(f, pod));
        end_listening(h);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, flow_setup, flow_teardown)

UNIT_MAIN(
        FLOW(a_long_list_comes_in_parts_and_whole),
        FLOW(every_list_has_a_stream),
        FLOW(a_life_is_told_from_birth_to_removal),
        FLOW(who_does_not_read_is_told_what_he_missed))
