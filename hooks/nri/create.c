/*
 * A new container, as NRI plugins make it; see nri.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "hooks/nri/apply.h"
#include "hooks/nri/private.h"

static bool is_there(struct nri *n, const char *name)
{
        bool there = false;

        pthread_mutex_lock(&n->lock);
        for (const struct plugin *p = n->plugins; p; p = p->next)
                there = there || (!p->ended && (strcmp(p->label, name) == 0 || strcmp(p->name, name) == 0));
        pthread_mutex_unlock(&n->lock);
        return there;
}

/* The last call that one called @name, or labelled so, has left without an answer, or NULL.  The lock is held. */
static const char *last_of(const struct nri *n, const char *name)
{
        const char *label;
        void *text;

        for (size_t at = 0; map_next(&n->unanswered, &at, &label, &text);)
                if (strcmp(label, name) == 0 || strcmp(label + 3, name) == 0)   /* behind the index and '-' */
                        return text;
        return NULL;
}

static int missed(struct nri *n, const char *name, struct cringle_err *err)
{
        const char *last;

        pthread_mutex_lock(&n->lock);
        last = last_of(n, name);
        err_set(err, CRINGLE_E_UNAVAILABLE, "NRI plugin %s, without which nothing is created, is not there%s%s", name,
                last ? "; it did not answer " : "", last ? last : "");
        pthread_mutex_unlock(&n->lock);
        return -1;
}

static int check_required(struct nri *n, struct cringle_err *err)
{
        const char *name;
        void *policy;

        for (size_t at = 0; n->s.enabled && map_next(&n->s.policies, &at, &name, &policy);)
                if ((enum policy) (intptr_t) policy == POLICY_FAIL && !is_there(n, name))
                        return missed(n, name, err);
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
        wishes_end(c->n, &c->wishes, granted);
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
        if (nri_apply(c->a, adjust, &c->owners, &why) == 0) {
                hooks_changed(c->n->hooks, c->a, c->s, "CreateContainer");
                return merge(c, adjust, err);
        }
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
        if (r == 0 && wishes_add(&c->wishes, p, &response->update, &response->n_update, &response->evict,
                                 &response->n_evict, err) < 0)
                r = plugin_judge(p, NRI__EVENT__CREATE_CONTAINER, err);
        nri__create_container_response__free_unpacked(response, NULL);
        return r < 0 ? -1 : 0;
}

static int validate_one(struct plugin *p, const Nri__ValidateContainerAdjustmentRequest *request,
                        const struct cringle_call *call, struct cringle_err *err)
{
        Nri__ValidateContainerAdjustmentResponse *response;
        auto_buf ret = BUF_INIT;
        int r = plugin_ask(p, NRI__EVENT__VALIDATE_CONTAINER_ADJUSTMENT, &request->base, request->pod, request->container, call,
                           &ret, err);

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

        if (!nri_wanted(c->n, NRI__EVENT__VALIDATE_CONTAINER_ADJUSTMENT))
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
        nri_tell_anyway(c->n, NRI__EVENT__REMOVE_CONTAINER, c->pod, c->pristine, end, &c->wishes);
}

static int create(struct creation *c, struct cringle_err *err)
{
        struct known *k;

        c->pod = nri_pod_message(c->n, c->s->pod_id);
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
        known_put(c->n, c->s, k);
        return 0;
}

int nri_adjust(void *data, struct adjust *a, const struct hooks_subject *s, const struct cringle_call *call,
               struct cringle_err *err)
{
        struct creation c = { .n = data, .a = a, .s = s, .call = call, .wishes = { .created = s->container_id } };
        int r;

        if (gate_pass(c.n, call, err) < 0)
                return -1;
        r = check_required(c.n, err);
        if (r == 0)
                r = create(&c, err);
        pthread_rwlock_unlock(&c.n->gate);
        creation_done(&c, r == 0);
        return r;
}
