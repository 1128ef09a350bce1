/*
 * Limits that change: what plugins want of containers that exist, and what the kubelet wants and plugins are told of
 *
 * What plugins ask for in answer to one event is of one piece: two that set one limit of one container are
 * refused, as at a creation.  It is carried out when the gate is left, for the container's own tasks may wait for an event.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/str.h"
#include "hooks/nri/private.h"
#include "plugins/api/cgroup.h"

/* ---- the limits that a message names ----------------------------------------------- */

typedef int limit_fn(void *data, const char *what, const char *name, struct cringle_err *err);

/* Each member of @part, a message of options and strings, that is there. */
static int each_member(const ProtobufCMessage *part, const char *what, limit_fn *fn, void *data, struct cringle_err *err)
{
        const ProtobufCMessageDescriptor *d = part ? part->descriptor : NULL;

        for (unsigned i = 0; d && i < d->n_fields; i++) {
                const char *value;

                memcpy(&value, (const char *) part + d->fields[i].offset, sizeof value);
                if (value && (d->fields[i].type != PROTOBUF_C_TYPE_STRING || *value) &&
                    fn(data, what, d->fields[i].name, err) < 0)
                        return -1;
        }
        return 0;
}

static int each_limit(const Nri__LinuxResources *r, limit_fn *fn, void *data, struct cringle_err *err)
{
        if (!r)
                return 0;
        if (each_member(r->memory ? &r->memory->base : NULL, "memory", fn, data, err) < 0 ||
            each_member(r->cpu ? &r->cpu->base : NULL, "cpu", fn, data, err) < 0)
                return -1;
        for (size_t i = 0; i < r->n_hugepage_limits; i++)
                if (fn(data, "hugepage", r->hugepage_limits[i]->page_size, err) < 0)
                        return -1;
        for (size_t i = 0; i < r->n_unified; i++)
                if (fn(data, "unified", r->unified[i]->key, err) < 0)
                        return -1;
        if ((r->pids && fn(data, "pids", "limit", err) < 0) ||
            (r->blockio_class && fn(data, "class", "blockio_class", err) < 0) ||
            (r->rdt_class && fn(data, "class", "rdt_class", err) < 0))
                return -1;
        return r->n_devices ? fn(data, "device", "rules", err) : 0;
}

static int check_limit(void *data, const char *what, const char *name, struct cringle_err *err)
{
        static const char *const known[] = { "memory limit", "memory swap", "cpu shares", "cpu quota", "cpu period",
                                             "cpu cpus", "cpu mems", "pids limit", NULL };
        auto_free char *limit = str_printf(err, "%s %s", what, name);

        if (!limit)
                return -1;
        if (strcmp(what, "hugepage") == 0 || strcmp(what, "unified") == 0 || strv_has((const char **) known, limit))
                return 0;
        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "%s of a container that exists cannot change", limit);
}

/* ---- limits as messages ---------------------------------------------------------------- */

static int64_t int64_or(const Nri__OptionalInt64 *o)
{
        return o ? o->value : 0;
}

static int64_t uint64_or(const Nri__OptionalUInt64 *o)
{
        return !o ? 0 : o->value > INT64_MAX ? INT64_MAX : (int64_t) o->value;
}

static char *cri_text(const char *s)
{
        char *copy = strdup(s ? s : "");

        if (!copy)
                abort();
        return copy;
}

/* NRI's limits as the agent changes limits by; the message is the caller's. */
static void limits_of(const Nri__LinuxResources *from, struct hooks_limits *ret)
{
        Cri__LinuxContainerResources *to = NRI_NEW(Cri__LinuxContainerResources, CRI__LINUX_CONTAINER_RESOURCES__INIT);

        if (from->memory) {
                to->memory_limit_in_bytes = int64_or(from->memory->limit);
                to->memory_swap_limit_in_bytes = int64_or(from->memory->swap);
        }
        if (from->cpu) {
                to->cpu_shares = uint64_or(from->cpu->shares);
                to->cpu_quota = int64_or(from->cpu->quota);
                to->cpu_period = uint64_or(from->cpu->period);
        }
        to->cpuset_cpus = cri_text(from->cpu ? from->cpu->cpus : NULL);
        to->cpuset_mems = cri_text(from->cpu ? from->cpu->mems : NULL);
        for (size_t i = 0; i < from->n_hugepage_limits; i++) {
                Cri__HugepageLimit *h = NRI_NEW(Cri__HugepageLimit, CRI__HUGEPAGE_LIMIT__INIT);

                h->page_size = cri_text(from->hugepage_limits[i]->page_size);
                h->limit = from->hugepage_limits[i]->limit;
                nri_add(&to->hugepage_limits, &to->n_hugepage_limits, h);
        }
        for (size_t i = 0; i < from->n_unified; i++) {
                Cri__Pair *p = NRI_NEW(Cri__Pair, CRI__PAIR__INIT);

                p->key = cri_text(from->unified[i]->key);
                p->value = cri_text(from->unified[i]->value);
                nri_add(&to->unified, &to->n_unified, p);
        }
        ret->resources = to;
        ret->pids = from->pids ? from->pids->limit : CRINGLE_UNSET;
}

/* Of those that say the same, the last counts. */
static void drop_repeated(Nri__LinuxResources *r)
{
        size_t n = 0;

        for (size_t i = 0; i < r->n_hugepage_limits; i++) {
                bool again = false;

                for (size_t k = i + 1; k < r->n_hugepage_limits; k++)
                        again = again || strcmp(r->hugepage_limits[k]->page_size, r->hugepage_limits[i]->page_size) == 0;
                if (again)
                        nri__hugepage_limit__free_unpacked(r->hugepage_limits[i], NULL);
                else
                        r->hugepage_limits[n++] = r->hugepage_limits[i];
        }
        r->n_hugepage_limits = n;

        n = 0;
        for (size_t i = 0; i < r->n_unified; i++) {
                bool again = false;

                for (size_t k = i + 1; k < r->n_unified; k++)
                        again = again || strcmp(r->unified[k]->key, r->unified[i]->key) == 0;
                if (again)
                        nri__pair__free_unpacked(r->unified[i], NULL);
                else
                        r->unified[n++] = r->unified[i];
        }
        r->n_unified = n;
}

/* *@r with what @more says over it. */
static void merge(Nri__LinuxResources **r, const Nri__LinuxResources *more)
{
        size_t n = protobuf_c_message_get_packed_size(&(*r)->base);
        auto_free uint8_t *bytes = nri_alloc(n + protobuf_c_message_get_packed_size(&more->base) + 1);
        Nri__LinuxResources *merged;

        protobuf_c_message_pack(&(*r)->base, bytes);
        n += protobuf_c_message_pack(&more->base, bytes + n);           /* what comes later counts */
        merged = nri__linux_resources__unpack(NULL, n, bytes);
        if (!merged)
                abort();                /* it is of parts that could be decoded */
        nri__linux_resources__free_unpacked(*r, NULL);
        drop_repeated(merged);
        *r = merged;
}

/* ---- what plugins want -------------------------------------------------------------------- */

struct claim {
        struct wishes *wishes;
        const char *plugin, *container;
};

static int claim_limit(void *data, const char *what, const char *name, struct cringle_err *err)
{
        struct claim *c = data;
        auto_free char *field = str_printf(err, "%s %s of container %.12s", what, name, c->container);
        const char *owner = field ? map_get(&c->wishes->owners, field) : NULL;

        if (!field)
                return -1;
        if (owner && strcmp(owner, c->plugin) != 0)
                return err_set(err, CRINGLE_E_PRECONDITION, "%s is changed by NRI plugin %s already, %s may not change it too",
                               field, owner, c->plugin);
        return map_put(&c->wishes->owners, field, (void *) c->plugin, err);
}

static const Nri__LinuxResources *resources_in(const Nri__ContainerUpdate *u)
{
        return u->linux ? u->linux->resources : NULL;
}

static int check_wish(struct wishes *w, const struct plugin *p, const Nri__ContainerUpdate *u, struct cringle_err *err)
{
        struct claim claim = { w, p->label, u->container_id };

        if (w->created && strcmp(w->created, u->container_id) == 0)
                return err_set(err, CRINGLE_E_INVALID, "wants to update the container that is being created");
        if (each_limit(resources_in(u), check_limit, NULL, err) < 0)
                return -1;
        return each_limit(resources_in(u), claim_limit, &claim, err);
}

int wishes_add(struct wishes *w, const struct plugin *p, Nri__ContainerUpdate ***update, size_t *n_update,
               Nri__ContainerEviction ***evict, size_t *n_evict, struct cringle_err *err)
{
        Nri__UpdateContainersRequest *request;
        struct wish *grown;

        for (size_t i = 0; i < *n_update;) {
                Nri__ContainerUpdate *u = (*update)[i];
                struct cringle_err why = CRINGLE_ERR_INIT;

                if (check_wish(w, p, u, &why) == 0) {
                        i++;
                        continue;
                }
                if (!u->ignore_failure) {
                        *err = why;
                        return -1;
                }
                log_info("NRI plugin %s: %s; it does not mind", p->label, why.text);
                nri__container_update__free_unpacked(u, NULL);
                memmove(*update + i, *update + i + 1, (--*n_update - i) * sizeof **update);
        }
        if (*n_update == 0 && *n_evict == 0)
                return 0;

        grown = realloc(w->list, (w->n + 1) * sizeof *grown);
        if (!grown)
                abort();
        request = NRI_NEW(Nri__UpdateContainersRequest, NRI__UPDATE_CONTAINERS_REQUEST__INIT);
        request->n_update = *n_update;
        request->update = steal(update);
        request->n_evict = *n_evict;
        request->evict = steal(evict);
        *n_update = *n_evict = 0;
        w->list = grown;
        grown[w->n++] = (struct wish) { nri_text(p->label), request };
        return 0;
}

void wishes_end(struct nri *n, struct wishes *w, bool granted)
{
        for (size_t i = 0; i < w->n; i++) {
                Nri__UpdateContainersRequest *r = w->list[i].request;

                if (granted)
                        nri_carry_out(n, w->list[i].label, r->update, r->n_update, r->evict, r->n_evict, NULL);
                nri__update_containers_request__free_unpacked(r, NULL);
                free(w->list[i].label);
        }
        free(w->list);
        map_done(&w->owners, NULL);
}

static int update_one(struct nri *n, const Nri__ContainerUpdate *u, bool wait, struct cringle_err *err)
{
        const Nri__LinuxResources *from = resources_in(u);
        struct hooks_limits limits;
        int r;

        if (!from)
                return 0;
        if (each_limit(from, check_limit, NULL, err) < 0)
                return -1;
        limits_of(from, &limits);
        r = n->host->update(n->host->data, u->container_id, &limits, wait, err);
        cri__linux_container_resources__free_unpacked(limits.resources, NULL);
        return r;
}

void nri_carry_out(struct nri *n, const char *label, Nri__ContainerUpdate **updates, size_t n_updates,
                   Nri__ContainerEviction **evictions, size_t n_evictions, Nri__UpdateContainersResponse *failed)
{
        for (size_t i = 0; i < n_updates; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;

                if (update_one(n, updates[i], failed != NULL, &err) == 0)
                        continue;
                if (!updates[i]->ignore_failure)
                        log_warning("NRI plugin %s: update of container %.12s: %s", label, updates[i]->container_id, err.text);
                if (failed)
                        nri_add(&failed->failed, &failed->n_failed, updates[i]);
        }
        for (size_t i = 0; i < n_evictions; i++) {
                log_info("NRI plugin %s evicts container %.12s: %.200s", label, evictions[i]->container_id, evictions[i]->reason);
                n->host->evict(n->host->data, evictions[i]->container_id, evictions[i]->reason);
        }
}

/* ---- what the kubelet wants ------------------------------------------------------------------ */

/* A change of one container's limits under way. */
struct change {
        struct nri *n;
        const char *id;
        const struct cringle_call *call;
        Nri__PodSandbox *pod;
        Nri__Container *container;
        Nri__LinuxResources *now;       /* what is to be set */
        bool changed;                   /* a plugin has */
        struct wishes wishes;
};

/* What an answer says of the container itself becomes what is to be set; what it says of others is a wish. */
static int take_answer(struct change *c, const struct plugin *p, Nri__UpdateContainerResponse *from,
                       struct cringle_err *err)
{
        for (size_t i = 0; i < from->n_update;) {
                Nri__ContainerUpdate *u = from->update[i];
                struct cringle_err why = CRINGLE_ERR_INIT;

                if (strcmp(u->container_id, c->id) != 0) {
                        i++;
                        continue;
                }
                if (check_wish(&c->wishes, p, u, &why) < 0) {
                        if (!u->ignore_failure) {
                                *err = why;
                                return -1;
                        }
                        log_info("NRI plugin %s: %s; it does not mind", p->label, why.text);
                } else if (resources_in(u)) {
                        merge(&c->now, resources_in(u));
                        c->changed = true;
                }
                nri__container_update__free_unpacked(u, NULL);
                memmove(from->update + i, from->update + i + 1, (--from->n_update - i) * sizeof *from->update);
        }
        return wishes_add(&c->wishes, p, &from->update, &from->n_update, &from->evict, &from->n_evict, err);
}

static int ask_one(struct change *c, struct plugin *p, struct cringle_err *err)
{
        Nri__UpdateContainerRequest request = NRI__UPDATE_CONTAINER_REQUEST__INIT;
        Nri__UpdateContainerResponse *response;
        auto_buf ret = BUF_INIT;
        int r;

        request.pod = c->pod;
        request.container = c->container;
        request.linux_resources = c->now;
        r = plugin_ask(p, NRI__EVENT__UPDATE_CONTAINER, &request.base, request.pod, request.container, c->call, &ret, err);
        if (r != 0)
                return r < 0 ? -1 : 0;
        response = nri__update_container_response__unpack(NULL, ret.len, (uint8_t *) ret.data);
        if (!response)
                return plugin_broken(p, NRI__EVENT__UPDATE_CONTAINER, err) < 0 ? -1 : 0;
        r = take_answer(c, p, response, err);
        nri__update_container_response__free_unpacked(response, NULL);
        return r < 0 ? plugin_judge(p, NRI__EVENT__UPDATE_CONTAINER, err) : 0;
}

static int ask(struct change *c, const struct known *k, struct hooks_limits *limits, struct cringle_err *err)
{
        int r = 0;

        c->pod = nri_pod_message(c->n, k->pod);
        c->container = known_container(k);
        c->now = nri_resources_of(limits->resources);
        for (struct plugin *p = c->n->plugins; p && r == 0; p = p->next)
                if (plugin_wants(p, NRI__EVENT__UPDATE_CONTAINER))
                        r = ask_one(c, p, err) < 0 ? -1 : 0;
        if (r == 0 && c->changed) {
                int64_t oom_score_adj = limits->resources->oom_score_adj;       /* NRI has no word for it here */

                cri__linux_container_resources__free_unpacked(limits->resources, NULL);
                limits_of(c->now, limits);
                limits->resources->oom_score_adj = oom_score_adj;
        }
        if (c->pod)
                nri__pod_sandbox__free_unpacked(c->pod, NULL);
        nri__container__free_unpacked(c->container, NULL);
        nri__linux_resources__free_unpacked(c->now, NULL);
        return r;
}

int nri_update(void *data, const struct hooks_subject *s, struct hooks_limits *limits, const struct cringle_call *call,
               struct cringle_err *err)
{
        struct change c = { .n = data, .id = s->container_id, .call = call };
        struct known *k;
        int r = 0;

        if (gate_pass(c.n, call, err) < 0)
                return -1;
        k = nri_wanted(c.n, NRI__EVENT__UPDATE_CONTAINER) ? known_enter(c.n, &c.n->containers, s->container_id) : NULL;
        if (k) {
                r = ask(&c, k, limits, err);
                known_leave(c.n, k);
        }
        pthread_rwlock_unlock(&c.n->gate);
        wishes_end(c.n, &c.wishes, r == 0);
        return r;
}

int nri_update_pod(void *data, const struct hooks_subject *s, const Cri__UpdatePodSandboxResourcesRequest *from,
                   const struct cringle_call *call, struct cringle_err *err)
{
        Nri__UpdatePodSandboxRequest request = NRI__UPDATE_POD_SANDBOX_REQUEST__INIT;
        struct nri *n = data;
        int r = 0;

        if (gate_pass(n, call, err) < 0)
                return -1;
        request.pod = nri_pod_message(n, s->pod_id);
        request.overhead_linux_resources = from->overhead ? nri_resources_of(from->overhead) : NULL;
        request.linux_resources = from->resources ? nri_resources_of(from->resources) : NULL;
        for (struct plugin *p = n->plugins; p && r == 0; p = p->next) {
                auto_buf ret = BUF_INIT;

                if (plugin_wants(p, NRI__EVENT__UPDATE_POD_SANDBOX) &&
                    plugin_ask(p, NRI__EVENT__UPDATE_POD_SANDBOX, &request.base, request.pod, NULL, call, &ret, err) < 0)
                        r = -1;
        }
        pthread_rwlock_unlock(&n->gate);
        if (request.pod)
                nri__pod_sandbox__free_unpacked(request.pod, NULL);
        if (request.overhead_linux_resources)
                nri__linux_resources__free_unpacked(request.overhead_linux_resources, NULL);
        if (request.linux_resources)
                nri__linux_resources__free_unpacked(request.linux_resources, NULL);
        return r;
}

static void exchange(Nri__LinuxResources **old, const Cri__LinuxContainerResources *from)
{
        if (!from)
                return;                 /* what is not said stays */
        if (*old)
                nri__linux_resources__free_unpacked(*old, NULL);
        *old = nri_resources_of(from);
}

static void pod_updated(struct nri *n, const struct hooks_subject *s, const Cri__UpdatePodSandboxResourcesRequest *from,
                        struct wishes *none)
{
        struct known *k = known_enter(n, &n->pods, s->pod_id);
        Nri__PodSandbox *pod;

        if (!k)
                return;
        pod = known_pod(k);
        exchange(&pod->linux->pod_overhead, from->overhead);
        exchange(&pod->linux->pod_resources, from->resources);
        known_say(n, k, &pod->base);
        nri_tell_anyway(n, NRI__EVENT__POST_UPDATE_POD_SANDBOX, pod, NULL, NULL, none);
        known_leave(n, k);
        nri__pod_sandbox__free_unpacked(pod, NULL);
}

/* Its description is the one of its newest limits. */
static void look_again(struct nri *n, struct known *k, const struct hooks_subject *s)
{
        Nri__Container *now = nri_container_kept(s);

        known_say(n, k, &now->base);
        nri__container__free_unpacked(now, NULL);
}

static void tell_updated(struct nri *n, const struct known *k, struct wishes *none)
{
        Nri__PodSandbox *pod = nri_pod_message(n, k->pod);
        Nri__Container *now = known_container(k);

        nri_tell_anyway(n, NRI__EVENT__POST_UPDATE_CONTAINER, pod, now, NULL, none);
        nri__container__free_unpacked(now, NULL);
        if (pod)
                nri__pod_sandbox__free_unpacked(pod, NULL);
}

static void container_updated(struct nri *n, const struct hooks_subject *s, bool tell, struct wishes *none)
{
        struct known *k = known_enter(n, &n->containers, s->container_id);

        if (!k)
                return;
        look_again(n, k, s);
        if (tell && nri_wanted(n, NRI__EVENT__POST_UPDATE_CONTAINER))
                tell_updated(n, k, none);
        known_leave(n, k);
}

void nri_updated(void *data, const struct hooks_subject *s, const Cri__UpdatePodSandboxResourcesRequest *pod, bool tell)
{
        struct wishes none = { 0 };     /* nothing can be asked for in answer to these */
        struct nri *n = data;

        if (!tell) {                    /* a plugin waits, maybe inside the gate: this must not wait for it */
                container_updated(n, s, false, &none);
                return;
        }
        gate_pass(n, NULL, NULL);
        if (s->container_id)
                container_updated(n, s, true, &none);
        else
                pod_updated(n, s, pod, &none);
        pthread_rwlock_unlock(&n->gate);
}
