/*
 * What is told to NRI plugins, and what they make of a new container; see nri.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "hooks/nri/private.h"

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

static struct buf packed(const ProtobufCMessage *message)
{
        struct buf b = BUF_INIT;

        if (buf_reserve(&b, protobuf_c_message_get_packed_size(message), NULL) < 0)
                abort();
        b.len = protobuf_c_message_pack(message, (uint8_t *) b.data);
        return b;
}

struct known *known_new(const struct hooks_subject *s, const ProtobufCMessage *message)
{
        struct known *k = nri_alloc(sizeof *k);

        if (s->container_id)
                k->pod = nri_text(s->pod_id);
        k->message = packed(message);
        take_numbers(k, s);
        return k;
}

void known_say(struct nri *n, struct known *k, const ProtobufCMessage *message)
{
        struct buf fresh = packed(message), old;

        pthread_mutex_lock(&n->lock);           /* for who only reads it */
        old = k->message;
        k->message = fresh;
        pthread_mutex_unlock(&n->lock);
        buf_done(&old);
}

static struct map *map_of(struct nri *n, const struct hooks_subject *s)
{
        return s->container_id ? &n->containers : &n->pods;
}

static const char *id_of(const struct hooks_subject *s)
{
        return s->container_id ? s->container_id : s->pod_id;
}

void known_put(struct nri *n, const struct hooks_subject *s, struct known *k)
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

static void known_drop(struct nri *n, struct map *map, const char *id)
{
        struct known *k;

        pthread_mutex_lock(&n->lock);
        k = map_take(map, id);
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
        if (k)
                known_free(k);
}

struct known *known_enter(struct nri *n, struct map *map, const char *id)
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

void known_leave(struct nri *n, struct known *k)
{
        pthread_mutex_lock(&n->lock);
        k->busy = false;
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
}

/* ---- telling --------------------------------------------------------------------------- */

bool nri_wanted(const struct nri *n, Nri__Event event)
{
        for (const struct plugin *p = n->plugins; p; p = p->next)
                if (plugin_wants(p, event))
                        return true;
        return false;
}

/* As plugin_tell(); what an answer wants is taken. */
static int tell_one(struct plugin *p, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                    const struct cringle_call *call, struct wishes *wishes, struct cringle_err *err)
{
        Nri__UpdateContainersRequest *w;
        auto_buf ret = BUF_INIT;
        int r = plugin_tell(p, event, pod, container, call, &ret, err);

        if (r != 0 || event != NRI__EVENT__STOP_CONTAINER || !ret.len)
                return r;
        w = nri__update_containers_request__unpack(NULL, ret.len, (uint8_t *) ret.data);
        if (!w)                         /* an answer to StopContainer begins like one */
                return plugin_broken(p, event, err);
        if (wishes_add(wishes, p, &w->update, &w->n_update, &w->evict, &w->n_evict, err) < 0)
                r = plugin_judge(p, event, err);
        nri__update_containers_request__free_unpacked(w, NULL);
        return r;
}

/* All plugins; -1 with the one that has failed it in *ret_failed. */
static int tell(struct nri *n, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                const struct cringle_call *call, struct wishes *wishes, const struct plugin **ret_failed,
                struct cringle_err *err)
{
        for (struct plugin *p = n->plugins; p; p = p->next)
                if (plugin_wants(p, event) && tell_one(p, event, pod, container, call, wishes, err) < 0) {
                        *ret_failed = p;
                        return -1;
                }
        return 0;
}

void nri_tell_anyway(struct nri *n, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                     const struct plugin *end, struct wishes *wishes)
{
        for (struct plugin *p = n->plugins; p && p != end; p = p->next) {
                struct cringle_err err = CRINGLE_ERR_INIT;

                if (plugin_wants(p, event) && tell_one(p, event, pod, container, NULL, wishes, &err) < 0)
                        log_warning("%s; ignored", err.text);
        }
}

Nri__PodSandbox *nri_pod_message(struct nri *n, const char *id)
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
        const struct plugin *failed;
        Nri__PodSandbox *pod;
        Nri__Container *container;
        int r = 0;

        if (!nri_wanted(n, event))
                return 0;
        pod = nri_pod_message(n, k->pod);
        container = known_container(k);
        if (err)
                r = tell(n, event, pod, container, call, wishes, &failed, err);
        else
                nri_tell_anyway(n, event, pod, container, NULL, wishes);
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
        struct known *k = known_enter(n, &n->containers, s->container_id);
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
                known_drop(n, &n->containers, s->container_id);
                return 0;
        default:
                break;
        }
        known_leave(n, k);
        return r;
}

/* ---- pods --------------------------------------------------------------------------------- */

static int run_pod(struct nri *n, const struct hooks_subject *s, const struct cringle_call *call,
                   struct wishes *wishes, struct cringle_err *err)
{
        Nri__PodSandbox *pod = nri_pod_of(s);
        const struct plugin *failed = NULL;
        int r;

        known_put(n, s, known_new(s, &pod->base));
        r = tell(n, NRI__EVENT__RUN_POD_SANDBOX, pod, NULL, call, wishes, &failed, err);
        if (r < 0) {
                nri_tell_anyway(n, NRI__EVENT__REMOVE_POD_SANDBOX, pod, NULL, failed, wishes);
                known_drop(n, &n->pods, s->pod_id);
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
                struct known *k = known_enter(n, &n->containers, ids[i]);

                if (!k)
                        continue;
                tell_end(n, k, wishes);
                known_leave(n, k);
        }
}

static void end_pod(struct nri *n, int point, const struct hooks_subject *s, struct wishes *wishes)
{
        struct known *k = known_enter(n, &n->pods, s->pod_id);
        Nri__PodSandbox *pod;

        if (!k)
                return;
        pod = known_pod(k);
        if (!k->end_told) {
                k->end_told = true;
                end_containers(n, s->pod_id, wishes);
                nri_tell_anyway(n, NRI__EVENT__STOP_POD_SANDBOX, pod, NULL, NULL, wishes);
        }
        if (point == CRINGLE_POD_REMOVE) {
                nri_tell_anyway(n, NRI__EVENT__REMOVE_POD_SANDBOX, pod, NULL, NULL, wishes);
                known_drop(n, &n->pods, s->pod_id);
        } else {
                known_leave(n, k);
        }
        nri__pod_sandbox__free_unpacked(pod, NULL);
}

/* ---- the pipeline --------------------------------------------------------------------------- */

int gate_pass(struct nri *n, const struct cringle_call *call, struct cringle_err *err)
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

        if (gate_pass(n, call, err) < 0)
                return -1;
        if (point == CRINGLE_POD_RUN)
                r = run_pod(n, s, call, &wishes, err);
        else if (point == CRINGLE_POD_STOP || point == CRINGLE_POD_REMOVE)
                end_pod(n, point, s, &wishes);
        else
                r = run_container(n, point, s, call, &wishes, err);
        pthread_rwlock_unlock(&n->gate);
        wishes_end(n, &wishes, true);
        return r;
}

void nri_adopt(void *data, const struct hooks_subject *s)
{
        struct nri *n = data;
        Nri__Container *c;
        struct known *k;

        if (!s->container_id) {
                Nri__PodSandbox *pod = nri_pod_of(s);

                known_put(n, s, known_new(s, &pod->base));
                nri__pod_sandbox__free_unpacked(pod, NULL);
                return;
        }
        c = nri_container_kept(s);
        k = known_new(s, &c->base);
        nri__container__free_unpacked(c, NULL);
        k->state = s->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING ? NRI__CONTAINER_STATE__CONTAINER_RUNNING
                   : s->state == CRI__CONTAINER_STATE__CONTAINER_CREATED ? NRI__CONTAINER_STATE__CONTAINER_CREATED
                                                                        : NRI__CONTAINER_STATE__CONTAINER_STOPPED;
        k->ended = k->end_told = k->state == NRI__CONTAINER_STATE__CONTAINER_STOPPED;
        known_put(n, s, k);
}

void nri_forget(void *data, const struct hooks_subject *s)
{
        struct nri *n = data;
        struct wishes wishes = { 0 };
        struct known *k;

        pthread_rwlock_rdlock(&n->gate);
        k = known_enter(n, map_of(n, s), id_of(s));
        if (k && s->container_id) {
                tell_container(n, NRI__EVENT__REMOVE_CONTAINER, k, NULL, &wishes, NULL);
        } else if (k) {
                Nri__PodSandbox *pod = known_pod(k);

                nri_tell_anyway(n, NRI__EVENT__REMOVE_POD_SANDBOX, pod, NULL, NULL, &wishes);
                nri__pod_sandbox__free_unpacked(pod, NULL);
        }
        if (k)
                known_drop(n, map_of(n, s), id_of(s));
        pthread_rwlock_unlock(&n->gate);
        wishes_end(n, &wishes, true);
}
