/*
 * What is told to NRI plugins, and what they make of a new container; see nri.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "hooks/nri/apply.h"
#include "hooks/nri/private.h"

#define SPEC_MAX (16 << 20)

/* What plugins want of other containers; carried out when the gate is left. */
struct wish {
        char *label;
        Nri__UpdateContainersRequest *request;
};

struct wishes {
        struct wish *list;
        size_t n;
};

static void wishes_add(struct wishes *w, const struct plugin *p, Nri__UpdateContainersRequest *request)
{
        struct wish *grown = realloc(w->list, (w->n + 1) * sizeof *grown);

        if (!grown)
                abort();
        w->list = grown;
        grown[w->n++] = (struct wish) { nri_text(p->label), request };
}

/* Those of a creation: the lists change hands. */
static void wishes_take(struct wishes *w, const struct plugin *p, Nri__CreateContainerResponse *from)
{
        Nri__UpdateContainersRequest *request;

        if (!from->n_update && !from->n_evict)
                return;
        request = NRI_NEW(Nri__UpdateContainersRequest, NRI__UPDATE_CONTAINERS_REQUEST__INIT);
        request->n_update = from->n_update;
        request->update = steal(&from->update);
        request->n_evict = from->n_evict;
        request->evict = steal(&from->evict);
        from->n_update = from->n_evict = 0;
        wishes_add(w, p, request);
}

static void wishes_grant(struct nri *n, struct wishes *w, bool granted)
{
        for (size_t i = 0; i < w->n; i++) {
                Nri__UpdateContainersRequest *r = w->list[i].request;

                if (granted)
                        nri_carry_out(n, w->list[i].label, r->update, r->n_update, r->evict, r->n_evict, NULL);
                nri__update_containers_request__free_unpacked(r, NULL);
                free(w->list[i].label);
        }
        free(w->list);
}

/* ---- what is known ------------------------------------------------------------------- */

void known_free(void *data)
{
        struct known *k = data;

        free(k->pod);
        buf_done(&k->message);
        free(k);
}

Nri__PodSandbox *known_pod(const struct known *k)
{
        Nri__PodSandbox *p = nri__pod_sandbox__unpack(NULL, k->message.len, (uint8_t *) k->message.data);

        if (!p)
                abort();                /* we packed it */
        return p;
}

Nri__Container *known_container(const struct known *k)
{
        Nri__Container *c = nri__container__unpack(NULL, k->message.len, (uint8_t *) k->message.data);

        if (!c)
                abort();
        nri_container_set_state(c, &k->last, k->state);
        return c;
}

/* Only its numbers outlive the call. */
static void take_numbers(struct known *k, const struct hooks_subject *s)
{
        k->last = (struct hooks_subject) { .pid = s->pid, .exit_code = s->exit_code, .created_at = s->created_at,
                                           .started_at = s->started_at, .finished_at = s->finished_at };
}

static struct known *known_new(const struct hooks_subject *s, const ProtobufCMessage *message)
{
        struct known *k = nri_alloc(sizeof *k);

        if (s->container_id)
                k->pod = nri_text(s->pod_id);
        if (buf_reserve(&k->message, protobuf_c_message_get_packed_size(message), NULL) < 0)
                abort();
        k->message.len = protobuf_c_message_pack(message, (uint8_t *) k->message.data);
        take_numbers(k, s);
        return k;
}

static struct map *map_of(struct nri *n, const struct hooks_subject *s)
{
        return s->container_id ? &n->containers : &n->pods;
}

static const char *id_of(const struct hooks_subject *s)
{
        return s->container_id ? s->container_id : s->pod_id;
}

/* Takes @k; what was known under the id goes. */
static void put_known(struct nri *n, const struct hooks_subject *s, struct known *k)
{
        struct known *old;

        pthread_mutex_lock(&n->lock);
        old = map_take(map_of(n, s), id_of(s));
        if (map_put(map_of(n, s), id_of(s), k, NULL) < 0)
                abort();
        pthread_mutex_unlock(&n->lock);
        if (old)
                known_free(old);
}

static void drop_known(struct nri *n, struct map *map, const char *id)
{
        struct known *k;

        pthread_mutex_lock(&n->lock);
        k = map_take(map, id);
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
        if (k)
                known_free(k);
}

/* What is known at @id, for this thread alone until leave(); NULL: nothing. */
static struct known *enter(struct nri *n, struct map *map, const char *id)
{
        struct known *k;

        pthread_mutex_lock(&n->lock);
        while ((k = map_get(map, id)) && k->busy)
                pthread_cond_wait(&n->changed, &n->lock);
        if (k)
                k->busy = true;
        pthread_mutex_unlock(&n->lock);
        return k;
}

static void leave(struct nri *n, struct known *k)
{
        pthread_mutex_lock(&n->lock);
        k->busy = false;
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
}

/* ---- telling --------------------------------------------------------------------------- */

static bool anybody_wants(const struct nri *n, Nri__Event event)
{
        for (const struct plugin *p = n->plugins; p; p = p->next)
                if (plugin_wants(p, event))
                        return true;
        return false;
}

/* All plugins before @end (NULL: all).  -1 with the one that has failed it in *ret_failed. */
static int tell(struct nri *n, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                const struct cringle_call *call, const struct plugin *end, struct wishes *wishes,
                const struct plugin **ret_failed, struct cringle_err *err)
{
        for (struct plugin *p = n->plugins; p && p != end; p = p->next) {
                struct cringle_err why = CRINGLE_ERR_INIT;
                auto_buf ret = BUF_INIT;
                int r;

                if (!plugin_wants(p, event))
                        continue;
                r = plugin_tell(p, event, pod, container, call, &ret, &why);
                if (r < 0) {
                        if (ret_failed)
                                *ret_failed = p;
                        if (err)
                                *err = why;
                        return -1;
                }
                if (r == 0 && event == NRI__EVENT__STOP_CONTAINER && ret.len) {
                        Nri__UpdateContainersRequest *w =
                                nri__update_containers_request__unpack(NULL, ret.len, (uint8_t *) ret.data);

                        if (w)          /* an answer to StopContainer begins like one */
                                wishes_add(wishes, p, w);
                        else if (plugin_broken(p, event, &why) < 0)
                                log_warning("%s", why.text);
                }
        }
        return 0;
}

/* What must happen is told to each, whatever those before it say. */
static void tell_anyway(struct nri *n, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                        const struct plugin *end, struct wishes *wishes)
{
        for (struct plugin *p = n->plugins; p && p != end; p = p->next) {
                struct cringle_err err = CRINGLE_ERR_INIT;

                if (plugin_wants(p, event) && tell(n, event, pod, container, NULL, p->next, wishes, NULL, &err) < 0)
                        log_warning("%s; ignored", err.text);
        }
}

static Nri__PodSandbox *pod_message(struct nri *n, const char *id)
{
        Nri__PodSandbox *message = NULL;
        struct known *k;

        pthread_mutex_lock(&n->lock);
        k = map_get(&n->pods, id);
        if (k)
                message = known_pod(k);
        pthread_mutex_unlock(&n->lock);
        return message;
}

/* One event of a container that is entered. */
static int tell_container(struct nri *n, Nri__Event event, const struct known *k, const struct cringle_call *call,
                          struct wishes *wishes, struct cringle_err *err)
{
        Nri__PodSandbox *pod;
        Nri__Container *container;
        int r = 0;

        if (!anybody_wants(n, event))
                return 0;
        pod = pod_message(n, k->pod);
        container = known_container(k);
        if (err)
                r = tell(n, event, pod, container, call, NULL, wishes, NULL, err);
        else
                tell_anyway(n, event, pod, container, NULL, wishes);
        if (pod)
                nri__pod_sandbox__free_unpacked(pod, NULL);
        nri__container__free_unpacked(container, NULL);
        return r;
}

/* Its end, once. */
static void tell_end(struct nri *n, struct known *k, struct wishes *wishes)
{
        if (k->end_told)
                return;
        k->end_told = true;
        k->state = NRI__CONTAINER_STATE__CONTAINER_STOPPED;
        tell_container(n, NRI__EVENT__STOP_CONTAINER, k, NULL, wishes, NULL);
}

static int run_container(struct nri *n, int point, const struct hooks_subject *s, const struct cringle_call *call,
                         struct wishes *wishes, struct cringle_err *err)
{
        struct known *k = enter(n, &n->containers, s->container_id);
        int r = 0;

        if (!k)
                return 0;
        take_numbers(k, s);
        switch (point) {
        case CRINGLE_CONTAINER_CREATED:
                k->state = NRI__CONTAINER_STATE__CONTAINER_CREATED;
                k->last.created_at = s->created_at ? s->created_at : clock_realtime();
                r = tell_container(n, NRI__EVENT__POST_CREATE_CONTAINER, k, call, wishes, err);
                break;
        case CRINGLE_CONTAINER_START:
                k->starting = true;
                r = tell_container(n, NRI__EVENT__START_CONTAINER, k, call, wishes, err);
                if (r < 0)
                        k->starting = false;
                break;
        case CRINGLE_CONTAINER_STARTED:
                k->state = NRI__CONTAINER_STATE__CONTAINER_RUNNING;
                r = tell_container(n, NRI__EVENT__POST_START_CONTAINER, k, call, wishes, err);
                k->starting = false;
                if (k->ended)
                        tell_end(n, k, wishes);
                break;
        case CRINGLE_CONTAINER_STOPPED:
                k->ended = true;
                if (!k->starting)
                        tell_end(n, k, wishes);
                break;
        case CRINGLE_CONTAINER_REMOVE:
                tell_end(n, k, wishes);
                tell_container(n, NRI__EVENT__REMOVE_CONTAINER, k, NULL, wishes, NULL);
                drop_known(n, &n->containers, s->container_id);
                return 0;
        default:
                break;
        }
        leave(n, k);
        return r;
}

/* ---- pods --------------------------------------------------------------------------------- */

static int run_pod(struct nri *n, const struct hooks_subject *s, const struct cringle_call *call,
                   struct wishes *wishes, struct cringle_err *err)
{
        Nri__PodSandbox *pod = nri_pod_of(s);
        const struct plugin *failed = NULL;
        int r;

        put_known(n, s, known_new(s, &pod->base));
        r = tell(n, NRI__EVENT__RUN_POD_SANDBOX, pod, NULL, call, NULL, wishes, &failed, err);
        if (r < 0) {
                tell_anyway(n, NRI__EVENT__REMOVE_POD_SANDBOX, pod, NULL, failed, wishes);
                drop_known(n, &n->pods, s->pod_id);
        }
        nri__pod_sandbox__free_unpacked(pod, NULL);
        return r;
}

/* The containers of a pod, by id; to be freed as a list of strings. */
static char **containers_of(struct nri *n, const char *pod)
{
        char **ids = NULL;
        const char *id;
        void *k;

        pthread_mutex_lock(&n->lock);
        for (size_t at = 0; map_next(&n->containers, &at, &id, &k);)
                if (strcmp(((struct known *) k)->pod, pod) == 0 && strv_add(&ids, id, NULL) < 0)
                        abort();
        pthread_mutex_unlock(&n->lock);
        return ids;
}

static void end_containers(struct nri *n, const char *pod, struct wishes *wishes)
{
        auto_strv ids = containers_of(n, pod);

        for (size_t i = 0; ids && ids[i]; i++) {
                struct known *k = enter(n, &n->containers, ids[i]);

                if (!k)
                        continue;
                tell_end(n, k, wishes);
                leave(n, k);
        }
}

static void end_pod(struct nri *n, int point, const struct hooks_subject *s, struct wishes *wishes)
{
        struct known *k = enter(n, &n->pods, s->pod_id);
        Nri__PodSandbox *pod;

        if (!k)
                return;
        pod = known_pod(k);
        if (!k->end_told) {
                k->end_told = true;
                end_containers(n, s->pod_id, wishes);
                tell_anyway(n, NRI__EVENT__STOP_POD_SANDBOX, pod, NULL, NULL, wishes);
        }
        if (point == CRINGLE_POD_REMOVE) {
                tell_anyway(n, NRI__EVENT__REMOVE_POD_SANDBOX, pod, NULL, NULL, wishes);
                drop_known(n, &n->pods, s->pod_id);
        } else {
                leave(n, k);
        }
        nri__pod_sandbox__free_unpacked(pod, NULL);
}

/* ---- the pipeline --------------------------------------------------------------------------- */

/* Through the gate, in the time that @call has: a plugin that is being told what there is may take long. */
static int pass_gate(struct nri *n, const struct cringle_call *call, struct cringle_err *err)
{
        struct timespec until;
        int r;

        if (!call || !call->deadline) {
                pthread_rwlock_rdlock(&n->gate);
                return 0;
        }
        until = (struct timespec) { call->deadline / NSEC_PER_SEC, call->deadline % NSEC_PER_SEC };
        r = pthread_rwlock_clockrdlock(&n->gate, CLOCK_MONOTONIC, &until);
        if (r != 0)
                return err_set(err, CRINGLE_E_DEADLINE, "an NRI plugin is being told what there is, and takes long");
        return 0;
}

int nri_run(void *data, int point, const struct hooks_subject *s, const struct cringle_call *call,
            struct cringle_err *err)
{
        struct nri *n = data;
        struct wishes wishes = { 0 };
        int r = 0;

        if (pass_gate(n, call, err) < 0)
                return -1;
        if (point == CRINGLE_POD_RUN)
                r = run_pod(n, s, call, &wishes, err);
        else if (point == CRINGLE_POD_STOP || point == CRINGLE_POD_REMOVE)
                end_pod(n, point, s, &wishes);
        else
                r = run_container(n, point, s, call, &wishes, err);
        pthread_rwlock_unlock(&n->gate);
        wishes_grant(n, &wishes, true);
        return r;
}

void nri_adopt(void *data, const struct hooks_subject *s)
{
        auto_free char *path = s->bundle ? str_printf(NULL, "%s/config.json", s->bundle) : NULL;
        struct nri *n = data;
        auto_json spec = NULL;
        struct known *k;

        if (!s->container_id) {
                Nri__PodSandbox *pod = nri_pod_of(s);

                put_known(n, s, known_new(s, &pod->base));
                nri__pod_sandbox__free_unpacked(pod, NULL);
                return;
        }
        if (path)
                json_read(path, SPEC_MAX, &spec, NULL);         /* without it there is what the kubelet asked for */
        {
                Nri__Container *c = nri_container_of(s, spec);

                k = known_new(s, &c->base);
                nri__container__free_unpacked(c, NULL);
        }
        k->state = s->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING ? NRI__CONTAINER_STATE__CONTAINER_RUNNING
                   : s->state == CRI__CONTAINER_STATE__CONTAINER_CREATED ? NRI__CONTAINER_STATE__CONTAINER_CREATED
                                                                        : NRI__CONTAINER_STATE__CONTAINER_STOPPED;
        k->ended = k->end_told = k->state == NRI__CONTAINER_STATE__CONTAINER_STOPPED;
        put_known(n, s, k);
}

void nri_forget(void *data, const struct hooks_subject *s)
{
        struct nri *n = data;
        struct wishes wishes = { 0 };
        struct known *k;

        pthread_rwlock_rdlock(&n->gate);
        k = enter(n, map_of(n, s), id_of(s));
        if (k && s->container_id) {
                tell_container(n, NRI__EVENT__REMOVE_CONTAINER, k, NULL, &wishes, NULL);
        } else if (k) {
                Nri__PodSandbox *pod = known_pod(k);

                tell_anyway(n, NRI__EVENT__REMOVE_POD_SANDBOX, pod, NULL, NULL, &wishes);
                nri__pod_sandbox__free_unpacked(pod, NULL);
        }
        if (k)
                drop_known(n, map_of(n, s), id_of(s));
        pthread_rwlock_unlock(&n->gate);
        wishes_grant(n, &wishes, true);
}

/* ---- creation ---------------------------------------------------------------------------------- */

static bool is_there(struct nri *n, const char *name)
{
        bool there = false;

        pthread_mutex_lock(&n->lock);
        for (const struct plugin *p = n->plugins; p; p = p->next)
                there = there || (!p->ended && (strcmp(p->label, name) == 0 || strcmp(p->name, name) == 0));
        pthread_mutex_unlock(&n->lock);
        return there;
}

static int check_required(struct nri *n, struct cringle_err *err)
{
        const char *name;
        void *policy;

        for (size_t at = 0; map_next(&n->policies, &at, &name, &policy);)
                if ((enum policy) (intptr_t) policy == POLICY_FAIL && !is_there(n, name))
                        return err_set(err, CRINGLE_E_UNAVAILABLE, "NRI plugin %s, without which nothing is created, is not there",
                                       name);
        return 0;
}

/* A creation under way: what was there before, what has come together, who did it. */
struct creation {
        struct nri *n;
        struct adjust *a;
        const struct hooks_subject *s;
        const struct cringle_call *call;
        Nri__PodSandbox *pod;
        Nri__Container *pristine, *now;
        struct buf merged;              /* all adjustments one after the other, which is how protobuf merges */
        struct nri_owners owners;
        struct wishes wishes;
};

static void creation_done(struct creation *c, bool granted)
{
        if (c->pod)
                nri__pod_sandbox__free_unpacked(c->pod, NULL);
        if (c->pristine)
                nri__container__free_unpacked(c->pristine, NULL);
        if (c->now)
                nri__container__free_unpacked(c->now, NULL);
        buf_done(&c->merged);
        nri_owners_cut(&c->owners, 0);
        wishes_grant(c->n, &c->wishes, granted);
}

static int merge(struct creation *c, const Nri__ContainerAdjustment *adjust, struct cringle_err *err)
{
        size_t n = protobuf_c_message_get_packed_size(&adjust->base);

        if (buf_reserve(&c->merged, n, err) < 0)
                return -1;
        c->merged.len += protobuf_c_message_pack(&adjust->base, (uint8_t *) c->merged.data + c->merged.len);
        return 0;
}

/* Carry out what @p wants.  1: it was ignored. */
static int apply_one(struct creation *c, struct plugin *p, const Nri__ContainerAdjustment *adjust,
                     struct cringle_err *err)
{
        bool ignore = p->policy == POLICY_IGNORE;
        struct cringle_err why = CRINGLE_ERR_INIT;
        size_t owned = c->owners.n;

        if (adjust_begin(c->a, p->label, ignore, err) < 0)
                return -1;
        if (nri_apply(c->a, adjust, &c->owners, &why) == 0)
                return merge(c, adjust, err);
        err_wrap(&why, "NRI plugin %s at CreateContainer", p->label);
        if (!ignore) {
                *err = why;
                return -1;
        }
        nri_owners_cut(&c->owners, owned);
        log_warning("%s; ignored", why.text);
        return adjust_undo(c->a, err) < 0 ? -1 : 1;
}

/* The container as the specification says now. */
static void look_again(struct creation *c)
{
        if (c->now)
                nri__container__free_unpacked(c->now, NULL);
        c->now = nri_container_of(c->s, c->a->spec);
}

static int ask_one(struct creation *c, struct plugin *p, struct cringle_err *err)
{
        Nri__CreateContainerResponse *response;
        auto_buf ret = BUF_INIT;
        int r = plugin_tell(p, NRI__EVENT__CREATE_CONTAINER, c->pod, c->now, c->call, &ret, err);

        if (r != 0)
                return r < 0 ? -1 : 0;
        response = nri__create_container_response__unpack(NULL, ret.len, (uint8_t *) ret.data);
        if (!response)
                return plugin_broken(p, NRI__EVENT__CREATE_CONTAINER, err) < 0 ? -1 : 0;
        if (response->adjust) {
                r = apply_one(c, p, response->adjust, err);
                look_again(c);
        }
        if (r == 0)
                wishes_take(&c->wishes, p, response);
        nri__create_container_response__free_unpacked(response, NULL);
        return r < 0 ? -1 : 0;
}

static int validate_one(struct plugin *p, const Nri__ValidateContainerAdjustmentRequest *request,
                        const struct cringle_call *call, struct cringle_err *err)
{
        Nri__ValidateContainerAdjustmentResponse *response;
        auto_buf ret = BUF_INIT;
        int r = plugin_ask(p, NRI__EVENT__VALIDATE_CONTAINER_ADJUSTMENT, &request->base, call, &ret, err);

        if (r != 0)
                return r < 0 ? -1 : 0;
        response = nri__validate_container_adjustment_response__unpack(NULL, ret.len, (uint8_t *) ret.data);
        if (!response)
                return plugin_broken(p, NRI__EVENT__VALIDATE_CONTAINER_ADJUSTMENT, err) < 0 ? -1 : 0;
        if (response->reject) {
                err_set(err, CRINGLE_E_DENIED, "NRI plugin %s rejects the adjustments: %.1000s", p->label, response->reason);
                if (p->policy == POLICY_IGNORE)
                        log_warning("%s; ignored", err->text);
                else
                        r = -1;
        }
        nri__validate_container_adjustment_response__free_unpacked(response, NULL);
        return r;
}

static int validate(struct creation *c, struct cringle_err *err)
{
        Nri__ValidateContainerAdjustmentRequest request = NRI__VALIDATE_CONTAINER_ADJUSTMENT_REQUEST__INIT;
        int r = 0;

        if (!anybody_wants(c->n, NRI__EVENT__VALIDATE_CONTAINER_ADJUSTMENT))
                return 0;
        request.pod = c->pod;
        request.container = c->pristine;
        request.adjust = nri__container_adjustment__unpack(NULL, c->merged.len, (uint8_t *) c->merged.data);
        if (!request.adjust)
                abort();                /* it is of parts that could be decoded */
        request.owners = nri_owners_message(&c->owners, c->s->container_id);
        for (size_t i = 0; i < c->wishes.n; i++)
                for (size_t k = 0; k < c->wishes.list[i].request->n_update; k++)
                        nri_add(&request.update, &request.n_update, c->wishes.list[i].request->update[k]);
        for (const struct plugin *p = c->n->plugins; p; p = p->next) {
                Nri__PluginInstance *instance;

                if (!plugin_wants(p, NRI__EVENT__CREATE_CONTAINER))
                        continue;
                instance = NRI_NEW(Nri__PluginInstance, NRI__PLUGIN_INSTANCE__INIT);
                instance->name = nri_text(p->name);
                instance->index = nri_text(p->index);
                nri_add(&request.plugins, &request.n_plugins, instance);
        }

        for (struct plugin *p = c->n->plugins; p && r == 0; p = p->next)
                if (plugin_wants(p, NRI__EVENT__VALIDATE_CONTAINER_ADJUSTMENT))
                        r = validate_one(p, &request, c->call, err);

        nri__container_adjustment__free_unpacked(request.adjust, NULL);
        nri__owning_plugins__free_unpacked(request.owners, NULL);
        for (size_t i = 0; i < request.n_plugins; i++)
                nri__plugin_instance__free_unpacked(request.plugins[i], NULL);
        free(request.plugins);
        free(request.update);
        return r;
}

/* Those that have been told of it are told that it is no more. */
static void take_back(struct creation *c, const struct plugin *end)
{
        tell_anyway(c->n, NRI__EVENT__REMOVE_CONTAINER, c->pod, c->pristine, end, &c->wishes);
}

static int create(struct creation *c, struct cringle_err *err)
{
        struct known *k;

        c->pod = pod_message(c->n, c->s->pod_id);
        if (!c->pod)
                c->pod = nri_pod_of(c->s);
        c->pristine = nri_container_of(c->s, c->a->spec);
        look_again(c);
        for (struct plugin *p = c->n->plugins; p; p = p->next)
                if (plugin_wants(p, NRI__EVENT__CREATE_CONTAINER) && ask_one(c, p, err) < 0) {
                        take_back(c, p);
                        return -1;
                }
        if (validate(c, err) < 0) {
                take_back(c, NULL);
                return -1;
        }
        k = known_new(c->s, &c->now->base);
        put_known(c->n, c->s, k);
        return 0;
}

int nri_adjust(void *data, struct adjust *a, const struct hooks_subject *s, const struct cringle_call *call,
               struct cringle_err *err)
{
        struct creation c = { .n = data, .a = a, .s = s, .call = call };
        int r;

        if (pass_gate(c.n, call, err) < 0)
                return -1;
        r = check_required(c.n, err);
        if (r == 0)
                r = create(&c, err);
        pthread_rwlock_unlock(&c.n->gate);
        creation_done(&c, r == 0);
        return r;
}
