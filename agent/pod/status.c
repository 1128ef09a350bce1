/*
 * Lists and status: answered from memory
 *
 * Messages are put together from pointers into the objects, packed by the caller under
 * the lock, and thrown away.
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

#define SPEC_MAX (16 << 20)

Cri__Signal signal_of(int signal)
{
        char name[40];
        const ProtobufCEnumValue *value;
        const char *abbreviation = sigabbrev_np(signal);

        if (signal == SIGRTMIN || signal == SIGRTMAX)
                snprintf(name, sizeof name, "SIGNAL_SIGRT%s", signal == SIGRTMIN ? "MIN" : "MAX");
        else if (signal > SIGRTMIN && signal <= SIGRTMIN + 15)
                snprintf(name, sizeof name, "SIGNAL_SIGRTMINPLUS%d", signal - SIGRTMIN);
        else if (signal > SIGRTMIN && signal < SIGRTMAX)
                snprintf(name, sizeof name, "SIGNAL_SIGRTMAXMINUS%d", SIGRTMAX - signal);
        else
                snprintf(name, sizeof name, "SIGNAL_SIG%s", abbreviation ? abbreviation : "");

        value = protobuf_c_enum_descriptor_get_value_by_name(&cri__signal__descriptor, name);
        return value ? (Cri__Signal) value->value : CRI__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
}

bool id_fits(const char *id, const char *wanted)
{
        return str_empty(wanted) || str_starts(id, wanted);
}

/* Over what a filter can be about: the one of an id in full, those of one pod, or all. */
struct walk {
        size_t most;                    /* that there can be */
        const struct map *all;
        size_t at;
        struct container *of_pod;
        void *one;
};

static struct walk walk_all(const struct map *all)
{
        return (struct walk) { .most = all->count, .all = all };
}

static struct walk walk_one(const struct map *all, const char *id)
{
        return (struct walk) { .most = 1, .one = map_get(all, id) };
}

static struct walk walk_pods(const struct pods *pods, const Cri__PodSandboxFilter *f)
{
        return f && id_valid(f->id) ? walk_one(&pods->by_id, f->id) : walk_all(&pods->by_id);
}

static struct walk walk_containers(const struct pods *pods, const Cri__ContainerFilter *f)
{
        struct walk w = { 0 };
        const struct pod *pod;

        if (f && id_valid(f->id))
                return walk_one(&pods->containers, f->id);
        if (!f || !id_valid(f->pod_sandbox_id))
                return walk_all(&pods->containers);
        pod = map_get(&pods->by_id, f->pod_sandbox_id);
        w.of_pod = pod ? pod->containers : NULL;
        for (const struct container *c = w.of_pod; c; c = c->next)
                w.most++;
        return w;
}

/* NULL: that was all. */
static void *walk_next(struct walk *w)
{
        void *object = w->one;
        const char *id;

        if (w->all)
                return map_next(w->all, &w->at, &id, &object) ? object : NULL;
        w->one = NULL;
        if (w->of_pod) {
                object = w->of_pod;
                w->of_pod = w->of_pod->next;
        }
        return object;
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

static Cri__PodSandbox pod_message(const struct pod *pod)
{
        const Cri__PodSandboxStatus *s = pod->status;
        Cri__PodSandbox m = CRI__POD_SANDBOX__INIT;

        m.id = s->id;
        m.metadata = s->metadata;
        m.state = s->state;
        m.created_at = s->created_at;
        m.n_labels = s->n_labels;
        m.labels = s->labels;
        m.n_annotations = s->n_annotations;
        m.annotations = s->annotations;
        m.runtime_handler = s->runtime_handler;
        return m;
}

/*
 * An item of @size bytes for each object on the walk that @add takes, and a list of pointers to them; both are one
 * allocation, *ret_space, the caller's.  Returns how many there are.  The lock is held.
 */
static size_t collect(struct walk walk, size_t size, bool (*add)(const void *object, const void *filter, void *item),
                      const void *filter, void *ret_list, void **ret_space)
{
        char *items = calloc(walk.most + 1, sizeof(void *) + size);
        void *object, **list;
        size_t n = 0;

        if (!items)
                abort();
        list = (void **) (items + (walk.most + 1) * size);
        while ((object = walk_next(&walk)))
                if (add(object, filter, items + n * size)) {
                        list[n] = items + n * size;
                        n++;
                }
        *(void ***) ret_list = list;
        *ret_space = items;
        return n;
}

static bool add_pod(const void *pod, const void *filter, void *item)
{
        if (!pod_fits(pod, filter))
                return false;
        *(Cri__PodSandbox *) item = pod_message(pod);
        return true;
}

void pods_list_sandboxes(struct pods *pods, const Cri__PodSandboxFilter *filter, pods_message_fn fn, void *data)
{
        Cri__ListPodSandboxResponse response = CRI__LIST_POD_SANDBOX_RESPONSE__INIT;
        void *space;

        pthread_mutex_lock(&pods->tasks.lock);
        response.n_items = collect(walk_pods(pods, filter), sizeof(Cri__PodSandbox), add_pod, filter, &response.items,
                                   &space);
        fn(data, &response.base);
        pthread_mutex_unlock(&pods->tasks.lock);
        free(space);
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

static Cri__Container container_message(const struct container *c)
{
        const Cri__ContainerStatus *s = c->status;
        Cri__Container m = CRI__CONTAINER__INIT;

        m.id = s->id;
        m.pod_sandbox_id = c->pod->status->id;
        m.metadata = s->metadata;
        m.image = s->image;
        m.image_ref = s->image_id;              /* of the list, who looks for unused images compares it with theirs */
        m.image_id = s->image_id;
        m.state = s->state;
        m.created_at = s->created_at;
        m.n_labels = s->n_labels;
        m.labels = s->labels;
        m.n_annotations = s->n_annotations;
        m.annotations = s->annotations;
        return m;
}

static bool add_container(const void *container, const void *filter, void *item)
{
        if (!container_fits(container, filter))
                return false;
        *(Cri__Container *) item = container_message(container);
        return true;
}

void pods_list_containers(struct pods *pods, const Cri__ContainerFilter *filter, pods_message_fn fn, void *data)
{
        Cri__ListContainersResponse response = CRI__LIST_CONTAINERS_RESPONSE__INIT;
        void *space;

        pthread_mutex_lock(&pods->tasks.lock);
        response.n_containers = collect(walk_containers(pods, filter), sizeof(Cri__Container), add_container, filter,
                                        &response.containers, &space);
        fn(data, &response.base);
        pthread_mutex_unlock(&pods->tasks.lock);
        free(space);
}

/* Lists of what is limited by name. */
static int add_named_limits(struct json_object *to, const Cri__LinuxContainerResources *r)
{
        struct json_object *pages = r->n_hugepage_limits ? json_need_object(to, "hugepageLimits", NULL) : NULL;
        struct json_object *unified = r->n_unified ? json_need_object(to, "unified", NULL) : NULL;

        if ((r->n_hugepage_limits && !pages) || (r->n_unified && !unified))
                return -1;
        for (size_t i = 0; i < r->n_hugepage_limits; i++)
                if (json_set(pages, r->hugepage_limits[i]->page_size, json_object_new_uint64(r->hugepage_limits[i]->limit), NULL) < 0)
                        return -1;
        for (size_t i = 0; i < r->n_unified; i++)
                if (json_set_string(unified, r->unified[i]->key, r->unified[i]->value, NULL) < 0)
                        return -1;
        return 0;
}

/* NULL: nothing was told. */
static int add_resources(struct json_object *o, const char *name, const Cri__LinuxContainerResources *r)
{
        struct json_object *to = r ? json_need_object(o, name, NULL) : NULL;

        if (!r)
                return 0;
        if (!to || json_set_int(to, "cpuPeriod", r->cpu_period, NULL) < 0 ||
            json_set_int(to, "cpuQuota", r->cpu_quota, NULL) < 0 ||
            json_set_int(to, "cpuShares", r->cpu_shares, NULL) < 0 ||
            json_set_int(to, "memoryLimitInBytes", r->memory_limit_in_bytes, NULL) < 0 ||
            json_set_int(to, "memorySwapLimitInBytes", r->memory_swap_limit_in_bytes, NULL) < 0 ||
            json_set_string(to, "cpusetCpus", r->cpuset_cpus, NULL) < 0 ||
            json_set_string(to, "cpusetMems", r->cpuset_mems, NULL) < 0)
                return -1;
        return add_named_limits(to, r);
}

/* What `crictl inspect` shows besides; the caller's. */
static char *pod_info(const struct pod *pod)
{
        const Cri__LinuxPodSandboxConfig *linux = pod->request->config->linux;
        const Cri__UpdatePodSandboxResourcesRequest *fresh = pod->resources;
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;

        if (!o || json_set_string(o, "runDirectory", pod->run_dir, NULL) < 0 ||
            add_resources(o, "overhead", fresh && fresh->overhead ? fresh->overhead : linux ? linux->overhead : NULL) < 0 ||
            add_resources(o, "resources", fresh && fresh->resources ? fresh->resources : linux ? linux->resources : NULL) < 0 ||
            json_set_string(o, "directory", pod->dir, NULL) < 0 || json_set_bool(o, "closing", pod->closing, NULL) < 0 ||
            (pod->step && json_set_string(o, "step", pod->step, NULL) < 0) || json_write(o, &text, NULL) < 0)
                return NULL;
        return buf_steal(&text);
}

/* config.json, read without the lock; NULL: there is none (yet). */
static struct json_object *read_spec(struct pods *pods, const char *id)
{
        auto_free char *path = NULL;
        struct json_object *spec = NULL;
        struct container *c;

        pthread_mutex_lock(&pods->tasks.lock);
        if (find_container(pods, id, &c, NULL) == 0)
                path = str_printf(NULL, "%s/config.json", c->bundle);
        pthread_mutex_unlock(&pods->tasks.lock);
        return path && json_read_bytes(path, SPEC_MAX, &spec, NULL) == 0 ? spec : NULL;
}

/* @spec goes in whole: it is what the container was started from.  Its bytes may be any; a message takes UTF-8 only. */
static char *container_info(const struct container *c, struct json_object *spec)
{
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;

        if (!o)
                return NULL;
        if (json_set_int(o, "pid", c->pid, NULL) < 0 || json_set_string(o, "sandboxID", c->pod->id, NULL) < 0 ||
            json_set_string(o, "bundle", c->bundle, NULL) < 0 || (c->step && json_set_string(o, "step", c->step, NULL) < 0))
                return NULL;
        if (spec && json_set(o, "runtimeSpec", json_object_get(spec), NULL) < 0)
                return NULL;
        if (json_write(o, &text, NULL) < 0)
                return NULL;
        str_make_utf8(text.data);
        return buf_steal(&text);
}

int pods_sandbox_status(struct pods *pods, const char *id, bool verbose, pods_message_fn fn, void *data,
                        struct cringle_err *err)
{
        Cri__PodSandboxStatusResponse response = CRI__POD_SANDBOX_STATUS_RESPONSE__INIT;
        Cri__Pair pair = CRI__PAIR__INIT, *info = &pair;
        auto_free Cri__ContainerStatus **containers = NULL;
        auto_free char *text = NULL;
        struct pod *pod;
        int r;

        pthread_mutex_lock(&pods->tasks.lock);
        r = find_pod(pods, id, &pod, err);
        if (r == 0) {
                response.status = pod->status;
                response.timestamp = clock_realtime();
                containers = pod_statuses(pod, &response.n_containers_statuses);
                response.containers_statuses = containers;
                text = verbose ? pod_info(pod) : NULL;
                if (text) {
                        pair.key = message_text("info");
                        pair.value = text;
                        response.n_info = 1;
                        response.info = &info;
                }
                fn(data, &response.base);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

int pods_container_status(struct pods *pods, const char *id, bool verbose, pods_message_fn fn, void *data,
                          struct cringle_err *err)
{
        Cri__ContainerStatusResponse response = CRI__CONTAINER_STATUS_RESPONSE__INIT;
        Cri__Pair pair = CRI__PAIR__INIT, *info = &pair;
        auto_json spec = verbose ? read_spec(pods, id) : NULL;
        auto_free char *text = NULL;
        struct container *c;
        int r;

        pthread_mutex_lock(&pods->tasks.lock);
        r = find_container(pods, id, &c, err);
        if (r == 0) {
                response.status = c->status;
                text = verbose ? container_info(c, spec) : NULL;
                if (text) {
                        pair.key = message_text("info");
                        pair.value = text;
                        response.n_info = 1;
                        response.info = &info;
                }
                fn(data, &response.base);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}
