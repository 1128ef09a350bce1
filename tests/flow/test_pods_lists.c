/*
 * Lists are kept packed: whatever happens, they say what a fresh look says, and each filter finds all that fits it
 */

#include "tests/flow/flow.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/pod/message.h"

#define UID_LABEL "io.kubernetes.pod.uid"
#define STEPS 150
#define OBJECTS_MAX 24
#define N_UIDS 3

/* What containers and pods are labelled with; the last is nobody's, and stands for no label. */
static const char *const uids[N_UIDS + 1] = { "uid-a", "uid-b", "uid-c", "uid-none" };

struct world {
        struct flow *f;
        unsigned seed;
        size_t made;                    /* for names */
        id_text pods[OBJECTS_MAX], containers[OBJECTS_MAX];
        size_t n_pods, n_containers;
};

static unsigned any(struct world *w, size_t n)
{
        return (unsigned) rand_r(&w->seed) % (unsigned) n;
}

/* --- what must hold --- */

static void assert_pod_fresh(struct flow *f, const Cri__PodSandbox *item)
{
        Cri__PodSandbox fresh = CRI__POD_SANDBOX__INIT;
        Cri__PodSandboxStatusResponse *reply;
        const Cri__PodSandboxStatus *s;

        assert_code(0, ask_pod_status(f, item->id, false, &reply));
        s = reply->status;
        fresh.id = s->id;
        fresh.metadata = s->metadata;
        fresh.state = s->state;
        fresh.created_at = s->created_at;
        fresh.n_labels = s->n_labels;
        fresh.labels = s->labels;
        fresh.n_annotations = s->n_annotations;
        fresh.annotations = s->annotations;
        fresh.runtime_handler = s->runtime_handler;
        assert_true(message_equal(item, &fresh));
        reply_free(reply);
}

static void assert_container_fresh(struct flow *f, const Cri__Container *item)
{
        Cri__Container fresh = CRI__CONTAINER__INIT;
        Cri__ContainerStatusResponse *reply;
        const Cri__ContainerStatus *s;

        assert_code(0, ask_container_status(f, item->id, false, &reply));
        s = reply->status;
        fresh.id = s->id;
        fresh.pod_sandbox_id = item->pod_sandbox_id;    /* which is looked at below */
        fresh.metadata = s->metadata;
        fresh.image = s->image;
        fresh.image_ref = s->image_id;
        fresh.image_id = s->image_id;
        fresh.state = s->state;
        fresh.created_at = s->created_at;
        fresh.n_labels = s->n_labels;
        fresh.labels = s->labels;
        fresh.n_annotations = s->n_annotations;
        fresh.annotations = s->annotations;
        assert_true(message_equal(item, &fresh));
        reply_free(reply);
}

/* Of the pods in @all those of @uid and (unless it is -1) @state are what a filter finds, and no other. */
static void assert_pods_found(struct flow *f, const Cri__ListPodSandboxResponse *all, const char *uid, int state)
{
        Cri__PodSandboxFilter filter = CRI__POD_SANDBOX_FILTER__INIT;
        Cri__PodSandboxStateValue value = CRI__POD_SANDBOX_STATE_VALUE__INIT;
        Cri__Pair label = CRI__PAIR__INIT, *labels = &label;
        Cri__ListPodSandboxResponse *found;
        size_t n = 0;

        label.key = (char *) UID_LABEL;
        label.value = (char *) uid;
        filter.n_label_selector = 1;
        filter.label_selector = &labels;
        value.state = (Cri__PodSandboxState) state;
        filter.state = state < 0 ? NULL : &value;
        for (size_t i = 0; i < all->n_items; i++)
                n += str_equal(message_pair(all->items[i]->labels, all->items[i]->n_labels, UID_LABEL), uid) &&
                     (state < 0 || (int) all->items[i]->state == state);
        assert_code(0, ask_pods(f, &filter, &found));
        assert_int_equal(found->n_items, n);
        for (size_t i = 0; i < n; i++) {
                assert_string_equal(message_pair(found->items[i]->labels, found->items[i]->n_labels, UID_LABEL), uid);
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(found->items[i]->id, found->items[k]->id);
        }
        reply_free(found);
}

static void assert_containers_found(struct flow *f, const Cri__ListContainersResponse *all, const char *uid)
{
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        Cri__Pair label = CRI__PAIR__INIT, *labels = &label;
        Cri__ListContainersResponse *found;
        size_t n = 0;

        label.key = (char *) UID_LABEL;
        label.value = (char *) uid;
        filter.n_label_selector = 1;
        filter.label_selector = &labels;
        for (size_t i = 0; i < all->n_containers; i++)
                n += str_equal(message_pair(all->containers[i]->labels, all->containers[i]->n_labels, UID_LABEL), uid);
        assert_code(0, ask_containers(f, &filter, &found));
        assert_int_equal(found->n_containers, n);
        for (size_t i = 0; i < n; i++) {
                assert_string_equal(message_pair(found->containers[i]->labels, found->containers[i]->n_labels, UID_LABEL), uid);
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(found->containers[i]->id, found->containers[k]->id);
        }
        reply_free(found);
}

static size_t containers_of(struct flow *f, char *pod)
{
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        Cri__ListContainersResponse *found;
        size_t n;

        filter.pod_sandbox_id = pod;
        assert_code(0, ask_containers(f, &filter, &found));
        n = found->n_containers;
        for (size_t i = 0; i < n; i++)
                assert_string_equal(found->containers[i]->pod_sandbox_id, pod);
        reply_free(found);
        return n;
}

/* The world's ids are those listed. */
static void assert_lists_hold(struct world *w)
{
        Cri__ListPodSandboxResponse *pods;
        Cri__ListContainersResponse *containers;
        size_t n = 0;

        assert_code(0, ask_pods(w->f, NULL, &pods));
        assert_code(0, ask_containers(w->f, NULL, &containers));
        w->n_pods = w->n_containers = 0;
        for (size_t i = 0; i < pods->n_items; i++) {
                memcpy(w->pods[w->n_pods++], pods->items[i]->id, sizeof(id_text));
                assert_pod_fresh(w->f, pods->items[i]);
                n += containers_of(w->f, pods->items[i]->id);
        }
        assert_int_equal(n, containers->n_containers);
        for (size_t i = 0; i < containers->n_containers; i++) {
                memcpy(w->containers[w->n_containers++], containers->containers[i]->id, sizeof(id_text));
                assert_container_fresh(w->f, containers->containers[i]);
        }
        for (size_t i = 0; i <= N_UIDS; i++) {
                assert_pods_found(w->f, pods, uids[i], -1);
                assert_pods_found(w->f, pods, uids[i], CRI__POD_SANDBOX_STATE__SANDBOX_READY);
                assert_pods_found(w->f, pods, uids[i], CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
                assert_containers_found(w->f, containers, uids[i]);
        }
        reply_free(pods);
        reply_free(containers);
}

/* --- what happens --- */

static void run_pod(struct world *w)
{
        const char *uid = uids[any(w, N_UIDS + 1)];
        struct pod_ask a;
        char name[32];
        id_text id;

        if (w->n_pods >= OBJECTS_MAX - 1)
                return;
        snprintf(name, sizeof name, "pod-%zu", w->made++);
        pod_ask(&a, name);
        a.pairs[0].key = (char *) UID_LABEL;
        a.pairs[0].value = (char *) uid;
        a.labels[0] = &a.pairs[0];
        a.config.labels = a.labels;
        a.config.n_labels = uid != uids[N_UIDS];
        assert_code(0, ask_run(w->f, &a, id));
}

/* Mostly with its pod's label, as kubelets do; with another one, or none, as everybody may. */
static void create_container(struct world *w)
{
        Cri__PodSandboxStatusResponse *reply;
        struct container_ask a;
        const char *uid;
        char name[32];
        id_text id;

        if (!w->n_pods || w->n_containers >= OBJECTS_MAX - 1)
                return;
        assert_code(0, ask_pod_status(w->f, w->pods[any(w, w->n_pods)], false, &reply));
        uid = message_pair(reply->status->labels, reply->status->n_labels, UID_LABEL);
        if (any(w, 5) == 0)
                uid = any(w, 2) ? uids[any(w, N_UIDS)] : NULL;
        snprintf(name, sizeof name, "c-%zu", w->made++);
        container_ask(&a, reply->status->id, name);
        a.pairs[0].key = (char *) UID_LABEL;
        a.pairs[0].value = (char *) uid;
        a.labels[0] = &a.pairs[0];
        a.config.labels = a.labels;
        a.config.n_labels = uid != NULL;
        ask_create(w->f, &a, id);               /* not in one that was stopped */
        reply_free(reply);
}

static void end_by_itself(struct world *w, const char *id)
{
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        Cri__ListContainersResponse *list;

        filter.id = (char *) id;
        assert_code(0, ask_containers(w->f, &filter, &list));
        if (list->n_containers && list->containers[0]->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING) {
                fake_exit(list->containers[0]->pod_sandbox_id, id, 1);
                wait_for_state(w->f, id, CRI__CONTAINER_STATE__CONTAINER_EXITED);
        }
        reply_free(list);
}

/* The pod's supervisor goes, and all in it is found to have ended. */
static void lose(struct world *w, char *pod)
{
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        Cri__ListContainersResponse *list;

        if (pod_state(w->f, pod) != CRI__POD_SANDBOX_STATE__SANDBOX_READY)
                return;
        fake_lose(pod);
        for (int i = 0; i < 5000 && pod_state(w->f, pod) == CRI__POD_SANDBOX_STATE__SANDBOX_READY; i++)
                usleep(1000);
        filter.pod_sandbox_id = pod;
        assert_code(0, ask_containers(w->f, &filter, &list));
        for (size_t i = 0; i < list->n_containers; i++)
                wait_for_state(w->f, list->containers[i]->id, CRI__CONTAINER_STATE__CONTAINER_EXITED);
        reply_free(list);
        flow_settle(w->f);
}

static void restart(struct world *w)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        flow_stop(w->f);
        assert_ok(flow_start(w->f, NULL, &err), &err);
}

/* What is asked need not succeed: a container cannot be started twice. */
static void something_happens(struct world *w)
{
        char *pod = w->n_pods ? w->pods[any(w, w->n_pods)] : NULL;
        const char *container = w->n_containers ? w->containers[any(w, w->n_containers)] : NULL;

        switch (any(w, 20)) {
        case 0 ... 3:
                run_pod(w);
                break;
        case 4 ... 8:
                create_container(w);
                break;
        case 9 ... 12:
                if (container)
                        ask_start(w->f, container);
                break;
        case 13:
                if (container)
                        end_by_itself(w, container);
                break;
        case 14:
                if (container)
                        ask_stop(w->f, container, 0);
                break;
        case 15:
                if (container)
                        ask_remove(w->f, container);
                break;
        case 16:
                if (pod)
                        ask_stop_pod(w->f, pod);
                break;
        case 17:
                if (pod)
                        ask_remove_pod(w->f, pod);
                break;
        case 18:
                if (pod)
                        lose(w, pod);
                break;
        case 19:
                restart(w);
                break;
        }
}

static void lists_say_what_a_fresh_look_says_whatever_has_happened(void **state)
{
        struct world w = { .f = *state, .seed = 7 };

        for (int i = 0; i < STEPS; i++) {
                something_happens(&w);
                assert_lists_hold(&w);
        }
        assert_true(w.made > STEPS / 4);
        remove_all(w.f);
        assert_nothing_left(w.f);
}

/* It may change between two looks, in which nothing else does. */
static void a_state_is_in_the_next_list(void **state)
{
        struct flow *f = *state;
        Cri__ListContainersResponse *list;
        id_text pod, c;

        must_run(f, "p", pod);
        must_create(f, pod, "c", c);
        for (int wanted = CRI__CONTAINER_STATE__CONTAINER_CREATED; wanted <= CRI__CONTAINER_STATE__CONTAINER_EXITED; wanted++) {
                assert_code(0, ask_containers(f, NULL, &list));
                assert_int_equal(list->n_containers, 1);
                assert_int_equal(list->containers[0]->state, wanted);
                reply_free(list);
                if (wanted == CRI__CONTAINER_STATE__CONTAINER_CREATED)
                        assert_code(0, ask_start(f, c));
                else
                        assert_code(0, ask_stop(f, c, 0));
        }
}

/* A stopped pod holds its uid on over a restart of the agent, but not its name. */
static void a_stopped_pod_is_found_by_its_uid(void **state)
{
        struct world w = { .f = *state, .seed = 1 };
        Cri__ListPodSandboxResponse *all;

        while (w.n_pods < 3) {
                run_pod(&w);
                assert_lists_hold(&w);
        }
        for (size_t i = 0; i < w.n_pods; i++)
                assert_code(0, ask_stop_pod(w.f, w.pods[i]));
        restart(&w);
        assert_code(0, ask_pods(w.f, NULL, &all));
        assert_int_equal(all->n_items, 3);
        reply_free(all);
        assert_lists_hold(&w);
        remove_all(w.f);
        assert_lists_hold(&w);
}

UNIT_MAIN(
        cmocka_unit_test_setup_teardown(lists_say_what_a_fresh_look_says_whatever_has_happened, flow_setup, flow_teardown),
        cmocka_unit_test_setup_teardown(a_state_is_in_the_next_list, flow_setup, flow_teardown),
        cmocka_unit_test_setup_teardown(a_stopped_pod_is_found_by_its_uid, flow_setup, flow_teardown))
