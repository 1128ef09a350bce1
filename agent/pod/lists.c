/*
 * Lists: answered from memory, and packed already
 *
 * A kubelet asks for all pods and all containers every second or two, and next to nothing has changed since.  So each
 * object keeps what lists say of it as the bytes that go out, made when it is first listed, and a list is these
 * items one behind the other.
 *
 * What always holds: of a visible object nothing ever changes that an item says, but its state and the time it was made
 * at.  An item is as good as new, then, when it was packed with the state and time that the object has now.  They are
 * compared, so whoever changes a state has nothing to remember.
 *
 * Filters by id, by pod, and by the label with the pod's uid - by which a kubelet asks for one pod - lead to what they
 * name without a look at all the others.  Filters by state go through everything: most of it is in the answer.
 * So do other labels and beginnings of ids, which people ask for.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/pod/model.h"

#define UID_LABEL "io.kubernetes.pod.uid"

void listed_done(struct listed *l)
{
        free(l->bytes);
        *l = (struct listed) { 0 };
}

/* Whether it says @state and @created_at. */
static bool listed_says(const struct listed *l, int state, int64_t created_at)
{
        return l->bytes && l->state == state && l->created_at == created_at;
}

static void listed_set(struct listed *l, const void *message, int state, int64_t created_at)
{
        free(l->bytes);
        l->bytes = message_item(message, &l->n);
        if (!l->bytes)
                abort();
        l->state = state;
        l->created_at = created_at;
}

static struct iovec pod_item(struct pod *pod)
{
        const Cri__PodSandboxStatus *s = pod->status;
        Cri__PodSandbox m = CRI__POD_SANDBOX__INIT;

        if (!listed_says(&pod->listed, (int) s->state, s->created_at)) {
                m.id = s->id;
                m.metadata = s->metadata;
                m.state = s->state;
                m.created_at = s->created_at;
                m.n_labels = s->n_labels;
                m.labels = s->labels;
                m.n_annotations = s->n_annotations;
                m.annotations = s->annotations;
                m.runtime_handler = s->runtime_handler;
                listed_set(&pod->listed, &m, (int) s->state, s->created_at);
        }
        return (struct iovec) { .iov_base = pod->listed.bytes, .iov_len = pod->listed.n };
}

static struct iovec container_item(struct container *c)
{
        const Cri__ContainerStatus *s = c->status;
        Cri__Container m = CRI__CONTAINER__INIT;

        if (!listed_says(&c->listed, (int) s->state, s->created_at)) {
                m.id = s->id;
                m.pod_sandbox_id = c->pod->status->id;
                m.metadata = s->metadata;
                m.image = s->image;
                m.image_ref = s->image_id;      /* of the list, who looks for unused images compares it with theirs */
                m.image_id = s->image_id;
                m.state = s->state;
                m.created_at = s->created_at;
                m.n_labels = s->n_labels;
                m.labels = s->labels;
                m.n_annotations = s->n_annotations;
                m.annotations = s->annotations;
                listed_set(&c->listed, &m, (int) s->state, s->created_at);
        }
        return (struct iovec) { .iov_base = c->listed.bytes, .iov_len = c->listed.n };
}

/* --- pods by uid --- */

static const char *pod_uid(const struct pod *pod)
{
        return message_pair(pod->status->labels, pod->status->n_labels, UID_LABEL);
}

int pod_index(struct pod *pod, struct cringle_err *err)
{
        const char *uid = pod_uid(pod);

        if (!uid)
                return 0;
        pod->next_of_uid = map_get(&pod->pods->by_uid, uid);
        return map_put(&pod->pods->by_uid, uid, pod, err);
}

void pod_unindex(struct pod *pod)
{
        struct map *by_uid = &pod->pods->by_uid;
        const char *uid = pod_uid(pod);
        struct pod *first = uid ? map_get(by_uid, uid) : NULL;

        for (struct pod **at = &first; *at; at = &(*at)->next_of_uid)
                if (*at == pod) {
                        *at = pod->next_of_uid;
                        break;
                }
        if (!first && uid)
                map_take(by_uid, uid);
        else if (first && map_put(by_uid, uid, first, NULL) < 0)
                abort();
}

/*
 * Containers have their pod's uid, and are found by way of it.  One that has not is a stray; while there are any, containers are
 * looked for one by one.
 */
bool container_strays(const struct container *c)
{
        const char *uid = message_pair(c->status->labels, c->status->n_labels, UID_LABEL);

        return uid && !str_equal(uid, pod_uid(c->pod));
}

/* --- over what a filter can be about --- */

/* One object; pods or containers of pods from @pod on along their uid; or all. */
struct walk {
        size_t most;                    /* that there can be */
        const struct map *all;
        size_t at;
        void *one;
        struct pod *pod;
        struct container *container;
};

/* NULL: that was all; likewise below. */
static void *next_of_all(struct walk *w)
{
        void *object = w->one;
        const char *id;

        if (w->all)
                return map_next(w->all, &w->at, &id, &object) ? object : NULL;
        w->one = NULL;
        return object;
}

static struct pod *next_pod(struct walk *w)
{
        struct pod *pod = w->pod;

        if (!pod)
                return next_of_all(w);
        w->pod = pod->next_of_uid;
        return pod;
}

static struct container *next_container(struct walk *w)
{
        struct container *c;

        while (!w->container && w->pod) {
                w->container = w->pod->containers;
                w->pod = w->pod->next_of_uid;
        }
        c = w->container;
        if (!c)
                return next_of_all(w);
        w->container = c->next;
        return c;
}

static size_t count_containers(const struct container *c)
{
        size_t n = 0;

        for (; c; c = c->next)
                n++;
        return n;
}

static struct walk walk_pods(const struct pods *pods, const Cri__PodSandboxFilter *f)
{
        const char *uid = f ? message_pair(f->label_selector, f->n_label_selector, UID_LABEL) : NULL;
        struct walk w = { 0 };

        if (f && id_valid(f->id)) {
                w.one = map_get(&pods->by_id, f->id);
                w.most = 1;
        } else if (uid) {
                w.pod = map_get(&pods->by_uid, uid);
                for (const struct pod *p = w.pod; p; p = p->next_of_uid)
                        w.most++;
        } else {
                w.all = &pods->by_id;
                w.most = pods->by_id.count;
        }
        return w;
}

static struct walk walk_containers(const struct pods *pods, const Cri__ContainerFilter *f)
{
        const char *uid = f ? message_pair(f->label_selector, f->n_label_selector, UID_LABEL) : NULL;
        struct walk w = { 0 };
        const struct pod *pod;

        if (f && id_valid(f->id)) {
                w.one = map_get(&pods->containers, f->id);
                w.most = 1;
        } else if (f && id_valid(f->pod_sandbox_id)) {
                pod = map_get(&pods->by_id, f->pod_sandbox_id);
                w.container = pod ? pod->containers : NULL;
                w.most = count_containers(w.container);
        } else if (uid && pods->strays == 0) {
                w.pod = map_get(&pods->by_uid, uid);
                for (const struct pod *p = w.pod; p; p = p->next_of_uid)
                        w.most += count_containers(p->containers);
        } else {
                w.all = &pods->containers;
                w.most = pods->containers.count;
        }
        return w;
}

/* --- lists --- */

bool id_fits(const char *id, const char *wanted)
{
        return str_empty(wanted) || str_starts(id, wanted);
}

static bool pod_fits(const struct pod *pod, const Cri__PodSandboxFilter *f)
{
        const Cri__PodSandboxStatus *s = pod->status;

        if (!pod->visible)
                return false;
        if (!f)
                return true;
        return id_fits(pod->id, f->id) && (!f->state || f->state->state == s->state) &&
               message_has_pairs(s->labels, s->n_labels, f->label_selector, f->n_label_selector);
}

static bool container_fits(const struct container *c, const Cri__ContainerFilter *f)
{
        const Cri__ContainerStatus *s = c->status;

        if (!c->visible)
                return false;
        if (!f)
                return true;
        return id_fits(c->id, f->id) && id_fits(c->pod->id, f->pod_sandbox_id) &&
               (!f->state || f->state->state == s->state) &&
               message_has_pairs(s->labels, s->n_labels, f->label_selector, f->n_label_selector);
}

static struct iovec *room_for(size_t most)
{
        struct iovec *items = calloc(most + 1, sizeof *items);

        if (!items)
                abort();
        return items;
}

void pods_list_sandboxes(struct pods *pods, const Cri__PodSandboxFilter *filter, pods_items_fn fn, void *data)
{
        auto_free struct iovec *items = NULL;
        struct pod *pod;
        struct walk walk;
        size_t n = 0;

        pthread_mutex_lock(&pods->tasks.lock);
        walk = walk_pods(pods, filter);
        items = room_for(walk.most);
        while ((pod = next_pod(&walk)))
                if (pod_fits(pod, filter))
                        items[n++] = pod_item(pod);
        fn(data, items, n);
        pthread_mutex_unlock(&pods->tasks.lock);
}

void pods_list_containers(struct pods *pods, const Cri__ContainerFilter *filter, pods_items_fn fn, void *data)
{
        auto_free struct iovec *items = NULL;
        struct container *c;
        struct walk walk;
        size_t n = 0;

        pthread_mutex_lock(&pods->tasks.lock);
        walk = walk_containers(pods, filter);
        items = room_for(walk.most);
        while ((c = next_container(&walk)))
                if (container_fits(c, filter))
                        items[n++] = container_item(c);
        fn(data, items, n);
        pthread_mutex_unlock(&pods->tasks.lock);
}
