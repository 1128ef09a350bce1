/*
 * One NRI plugin: bringing it in, calling it, serving it
 */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "hooks/nri/private.h"

#define NRI_VERSION "v0.12.5"
#define CONFIG_MAX (1 << 20)

/* A message of synchronisation is cut no smaller than this many pods and containers. */
#define CHUNK_MIN 8

/* Of a message: room for what is around the objects. */
#define CHUNK_ROOM (TTRPC_MAX - 4096)

static const char *const events[NRI__EVENT__LAST] = {
        [NRI__EVENT__RUN_POD_SANDBOX] = "RunPodSandbox",
        [NRI__EVENT__STOP_POD_SANDBOX] = "StopPodSandbox",
        [NRI__EVENT__REMOVE_POD_SANDBOX] = "RemovePodSandbox",
        [NRI__EVENT__CREATE_CONTAINER] = "CreateContainer",
        [NRI__EVENT__POST_CREATE_CONTAINER] = "PostCreateContainer",
        [NRI__EVENT__START_CONTAINER] = "StartContainer",
        [NRI__EVENT__POST_START_CONTAINER] = "PostStartContainer",
        [NRI__EVENT__UPDATE_CONTAINER] = "UpdateContainer",
        [NRI__EVENT__POST_UPDATE_CONTAINER] = "PostUpdateContainer",
        [NRI__EVENT__STOP_CONTAINER] = "StopContainer",
        [NRI__EVENT__REMOVE_CONTAINER] = "RemoveContainer",
        [NRI__EVENT__UPDATE_POD_SANDBOX] = "UpdatePodSandbox",
        [NRI__EVENT__POST_UPDATE_POD_SANDBOX] = "PostUpdatePodSandbox",
        [NRI__EVENT__VALIDATE_CONTAINER_ADJUSTMENT] = "ValidateContainerAdjustment",
};

const char *event_name(Nri__Event event)
{
        return event > NRI__EVENT__UNKNOWN && event < NRI__EVENT__LAST ? events[event] : "unknown";
}

void plugin_free(struct plugin *p)
{
        if (!p)
                return;
        ttrpc_free(p->rpc);
        child_kill(&p->child);
        free(p->index);
        free(p->name);
        free(p->label);
        free(p);
}

/* ---- serving it ------------------------------------------------------------------- */

static bool is_index(const char *s)
{
        return strlen(s) == 2 && s[0] >= '0' && s[0] <= '9' && s[1] >= '0' && s[1] <= '9';
}

static int take_registration(struct plugin *p, const Nri__RegisterPluginRequest *r, struct cringle_err *err)
{
        struct nri *n = p->nri;
        int result = 0;

        if (!is_index(r->plugin_idx))
                return err_set(err, CRINGLE_E_INVALID, "index '%.16s': want two digits", r->plugin_idx);
        if (!str_is_id(r->plugin_name, 128))
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is no name for a plugin", r->plugin_name);

        pthread_mutex_lock(&n->lock);
        if (p->label) {
                result = err_set(err, CRINGLE_E_PRECONDITION, "registered already, as %s", p->label);
        } else {
                p->index = nri_text(r->plugin_idx);
                p->name = nri_text(r->plugin_name);
                p->label = str_printf(NULL, "%s-%s", p->index, p->name);
                if (!p->label)
                        abort();
                pthread_cond_broadcast(&n->changed);
        }
        pthread_mutex_unlock(&n->lock);
        return result;
}

static int answer(const ProtobufCMessage *message, struct buf *ret, struct cringle_err *err)
{
        size_t n = protobuf_c_message_get_packed_size(message);

        if (buf_reserve(ret, n, err) < 0)
                return -1;
        ret->len += protobuf_c_message_pack(message, (uint8_t *) ret->data + ret->len);
        return 0;
}

static int serve_register(struct plugin *p, const void *payload, size_t n, struct buf *ret, struct cringle_err *err)
{
        Nri__RegisterPluginRequest *r = nri__register_plugin_request__unpack(NULL, n, payload);
        int result;

        if (!r)
                return err_set(err, CRINGLE_E_INVALID, "a request that cannot be decoded");
        result = take_registration(p, r, err);
        nri__register_plugin_request__free_unpacked(r, NULL);
        return result;
}

static int serve_update(struct plugin *p, const void *payload, size_t n, struct buf *ret, struct cringle_err *err)
{
        Nri__UpdateContainersRequest *r = nri__update_containers_request__unpack(NULL, n, payload);
        Nri__UpdateContainersResponse response = NRI__UPDATE_CONTAINERS_RESPONSE__INIT;
        int result;

        if (!r)
                return err_set(err, CRINGLE_E_INVALID, "a request that cannot be decoded");
        nri_carry_out(p->nri, p->label ? p->label : "a plugin", r->update, r->n_update, r->evict, r->n_evict, &response);
        result = answer(&response.base, ret, err);
        free(response.failed);          /* what is in it is the request's */
        nri__update_containers_request__free_unpacked(r, NULL);
        return result;
}

static int serve(void *data, const char *service, const char *method, const void *payload, size_t n, struct buf *ret,
                 struct cringle_err *err)
{
        if (strcmp(service, RUNTIME_SERVICE) != 0)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "no service %.100s", service);
        if (strcmp(method, "RegisterPlugin") == 0)
                return serve_register(data, payload, n, ret, err);
        if (strcmp(method, "UpdateContainers") == 0)
                return serve_update(data, payload, n, ret, err);
        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "no method %.100s", method);
}

static void on_closed(void *data, const struct cringle_err *why)
{
        struct plugin *p = data;
        struct nri *n = p->nri;

        pthread_mutex_lock(&n->lock);
        p->ended = true;
        if (p->label && !n->stopping)
                log_warning("NRI plugin %s: gone: %s", p->label, why->text);
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
}

static const struct ttrpc_ops rpc_ops = { .serve = serve, .closed = on_closed };

/* ---- calling it --------------------------------------------------------------------- */

/* What a failure of its means for the operation. */
static int judge(struct plugin *p, Nri__Event event, bool refused, struct cringle_err *err)
{
        err_wrap(err, "NRI plugin %s at %s", p->label, event_name(event));
        return p->policy == POLICY_FAIL || (p->policy == POLICY_USUAL && (refused || p->fail_request)) ? -1 : 1;
}

/* The same of what comes after a call that was counted as a success. */
static int judge_answer(struct plugin *p, Nri__Event event, bool refused, struct cringle_err *err)
{
        int r = judge(p, event, refused, err);

        if (r > 0)
                log_warning("%s; ignored", err->text);
        return r;
}

/* No answer: so many in a row, and it has to go, unless it @may_stay. */
static void count_miss(struct plugin *p, bool may_stay)
{
        struct nri *n = p->nri;
        bool over;

        pthread_mutex_lock(&n->lock);
        over = ++p->misses >= n->max_misses && !may_stay;
        pthread_mutex_unlock(&n->lock);
        if (over)
                ttrpc_close(p->rpc);
}

/* For who misses a required plugin later.  Others are not missed. */
static void note_silence(struct plugin *p, Nri__Event event, const struct cringle_err *why)
{
        char *text, *old = NULL;

        if (p->policy != POLICY_FAIL)
                return;
        text = str_printf(NULL, "%s: %s", event_name(event), why->text);
        pthread_mutex_lock(&p->nri->lock);
        old = map_take(&p->nri->unanswered, p->label);
        if (!text || map_put(&p->nri->unanswered, p->label, text, NULL) < 0)
                abort();
        pthread_mutex_unlock(&p->nri->lock);
        free(old);
}

static void count_answer(struct plugin *p)
{
        pthread_mutex_lock(&p->nri->lock);
        p->misses = 0;
        pthread_mutex_unlock(&p->nri->lock);
}

static int call_it(struct plugin *p, const char *method, const ProtobufCMessage *request,
                   const struct cringle_call *call, struct buf *ret, struct cringle_err *err)
{
        auto_buf payload = BUF_INIT;

        if (answer(request, &payload, err) < 0)
                return -1;
        return ttrpc_call(p->rpc, PLUGIN_SERVICE, method, payload.data, payload.len, call, ret, err);
}

int plugin_broken(struct plugin *p, Nri__Event event, struct cringle_err *err)
{
        err_set(err, CRINGLE_E_INVALID, "an answer that cannot be decoded");
        ttrpc_close(p->rpc);
        return judge_answer(p, event, false, err);
}

int plugin_judge(struct plugin *p, Nri__Event event, struct cringle_err *err)
{
        return judge_answer(p, event, true, err);
}

/* Whom a call is about, and since when it is under way. */
struct told {
        const Nri__PodSandbox *pod;
        const Nri__Container *container;        /* NULL: it is about the pod */
        int64_t begun;
};

/* Count it; @err is its failure when @verdict is not 0. */
static void report(struct plugin *p, Nri__Event event, const struct told *told, int verdict, const struct cringle_err *err)
{
        struct hooks_call call = { .source = "nri", .name = p->label, .origin = p->launched ? p->launched->file : NULL,
                                   .stage = event_name(event), .why = "called", .nanoseconds = clock_monotonic() - told->begun,
                                   .ignored = verdict > 0 };

        if (told->pod) {
                call.pod_id = told->pod->id;
                call.pod_space = told->pod->namespace_;
                call.pod_name = told->pod->name;
        }
        if (told->container) {
                call.container_id = told->container->id;
                call.container_name = told->container->name;
        }
        if (verdict != 0) {
                call.error = err->text;
                call.timed_out = err->code == CRINGLE_E_DEADLINE;
        }
        hooks_called(p->nri->hooks, &call);
}

static int finish_call(struct plugin *p, Nri__Event event, int r, const struct told *told, const struct cringle_call *call,
                       struct cringle_err *err)
{
        if (r == 0 || r == TTRPC_REFUSED) {
                count_answer(p);
                r = r == 0 ? 0 : judge(p, event, true, err);
        } else if (call_check(call, NULL) < 0) {        /* the operation's own time, not the plugin's */
                err_wrap(err, "NRI plugin %s at %s", p->label, event_name(event));
                r = -1;
        } else {
                note_silence(p, event, err);
                count_miss(p, p->keep_connected && err->code == CRINGLE_E_DEADLINE);
                r = judge(p, event, false, err);
        }
        report(p, event, told, r, err);
        return r;
}

int plugin_ask(struct plugin *p, Nri__Event event, const ProtobufCMessage *request, const Nri__PodSandbox *pod,
               const Nri__Container *container, const struct cringle_call *outer, struct buf *ret, struct cringle_err *err)
{
        struct cringle_call call = call_within(outer, p->nri->request_timeout);
        struct told told = { pod, container, clock_monotonic() };

        return finish_call(p, event, call_it(p, event_name(event), request, &call, ret, err), &told, outer, err);
}

/* These have always had methods of their own. */
static bool never_state_change(Nri__Event event)
{
        return event == NRI__EVENT__CREATE_CONTAINER || event == NRI__EVENT__UPDATE_CONTAINER ||
               event == NRI__EVENT__STOP_CONTAINER;
}

int plugin_tell(struct plugin *p, Nri__Event event, Nri__PodSandbox *pod, Nri__Container *container,
                const struct cringle_call *outer, struct buf *ret, struct cringle_err *err)
{
        struct cringle_call call = call_within(outer, p->nri->request_timeout);
        Nri__CreateContainerRequest request = NRI__CREATE_CONTAINER_REQUEST__INIT;      /* all begin like this one */
        Nri__StateChangeEvent change = NRI__STATE_CHANGE_EVENT__INIT;
        struct told told = { pod, container, clock_monotonic() };
        int r = TTRPC_REFUSED;

        request.pod = change.pod = pod;
        request.container = change.container = container;
        change.event = event;
        if (!p->old || never_state_change(event))
                r = call_it(p, event_name(event), &request.base, &call, ret, err);
        if (r == TTRPC_REFUSED && !never_state_change(event) && (p->old || err->code == CRINGLE_E_UNIMPLEMENTED)) {
                p->old = true;
                buf_clear(ret);
                r = call_it(p, "StateChange", &change.base, &call, ret, err);
        }
        return finish_call(p, event, r, &told, outer, err);
}

/* ---- bringing it in -------------------------------------------------------------------- */

static int wait_for_registration(struct plugin *p, struct cringle_err *err)
{
        struct nri *n = p->nri;
        int64_t end = clock_monotonic() + n->registration_timeout;
        struct timespec until = { end / NSEC_PER_SEC, end % NSEC_PER_SEC };
        int late = 0, r = 0;

        pthread_mutex_lock(&n->lock);
        while (!p->label && !p->ended && !n->stopping && late == 0)
                late = pthread_cond_clockwait(&n->changed, &n->lock, CLOCK_MONOTONIC, &until);
        if (!p->label)
                r = err_set(err, CRINGLE_E_DEADLINE, "it connected, and did not register");
        pthread_mutex_unlock(&n->lock);
        return r;
}

/* Its configuration: NN-NAME.conf, else NAME.conf, else nothing. */
static int read_config(struct plugin *p, struct buf *ret, struct cringle_err *err)
{
        auto_free char *own = NULL, *common = NULL;

        pthread_mutex_lock(&p->nri->lock);
        own = str_printf(err, "%s/%s.conf", p->nri->s.config_dir, p->label);
        common = str_printf(err, "%s/%s.conf", p->nri->s.config_dir, p->name);
        pthread_mutex_unlock(&p->nri->lock);
        if (!own || !common)
                return -1;
        if (file_exists(own))
                return file_read(own, CONFIG_MAX, ret, err);
        return file_exists(common) ? file_read(common, CONFIG_MAX, ret, err) : 0;
}

static int configure(struct plugin *p, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, p->nri->request_timeout);
        Nri__ConfigureRequest request = NRI__CONFIGURE_REQUEST__INIT;
        const uint32_t all = (1u << (NRI__EVENT__LAST - 1)) - 1;
        auto_buf config = BUF_INIT, ret = BUF_INIT;
        Nri__ConfigureResponse *response;

        if (read_config(p, &config, err) < 0)
                return -1;
        request.config = config.data ? config.data : (char *) "";
        request.runtime_name = (char *) "cringle";
        request.runtime_version = (char *) "v" CRINGLE_VERSION;
        request.registration_timeout = p->nri->registration_timeout / NSEC_PER_MSEC;
        request.request_timeout = p->nri->request_timeout / NSEC_PER_MSEC;
        request.nri_version = (char *) NRI_VERSION;
        if (call_it(p, "Configure", &request.base, &call, &ret, err) != 0)
                return err_wrap(err, "Configure");
        response = nri__configure_response__unpack(NULL, ret.len, (uint8_t *) ret.data);
        if (!response)
                return err_set(err, CRINGLE_E_INVALID, "Configure: an answer that cannot be decoded");
        p->events = (uint32_t) response->events;
        p->fail_request = response->failure_policy && response->failure_policy->fail_request;
        p->keep_connected = response->failure_policy && response->failure_policy->keep_connected;
        nri__configure_response__free_unpacked(response, NULL);
        if (p->events & ~all)
                return err_set(err, CRINGLE_E_INVALID, "Configure: subscribes to events that do not exist, %#x", p->events & ~all);
        if (!p->events)
                p->events = all;
        return 0;
}

/* All that is known, as messages. */
struct snapshot {
        Nri__PodSandbox **pods;
        Nri__Container **containers;
        size_t n_pods, n_containers;
};

static void snapshot_done(struct snapshot *s)
{
        for (size_t i = 0; i < s->n_pods; i++)
                nri__pod_sandbox__free_unpacked(s->pods[i], NULL);
        for (size_t i = 0; i < s->n_containers; i++)
                nri__container__free_unpacked(s->containers[i], NULL);
        free(s->pods);
        free(s->containers);
}

static void snapshot_take(struct nri *n, struct snapshot *s)
{
        const char *id;
        void *k;

        pthread_mutex_lock(&n->lock);
        for (size_t at = 0; map_next(&n->pods, &at, &id, &k);)
                nri_add(&s->pods, &s->n_pods, known_pod(k));
        for (size_t at = 0; map_next(&n->containers, &at, &id, &k);)
                nri_add(&s->containers, &s->n_containers, known_container(k));
        pthread_mutex_unlock(&n->lock);
}

/* How many of @list fit into @room bytes, of which they are taken. */
static size_t fit(void *list, size_t n, size_t *room, size_t least)
{
        ProtobufCMessage **messages = list;
        size_t i;

        for (i = 0; i < n; i++) {
                size_t size = protobuf_c_message_get_packed_size(messages[i]) + 8;

                if (size > *room && i >= least)
                        break;
                *room -= size < *room ? size : *room;
        }
        return i;
}

/* One message of synchronisation; *ret_updates: what it asks for in its last answer, to be freed. */
static int send_chunk(struct plugin *p, Nri__SynchronizeRequest *request, const struct cringle_call *call,
                      Nri__SynchronizeResponse **ret, struct cringle_err *err)
{
        auto_buf answer_text = BUF_INIT;
        Nri__SynchronizeResponse *response;

        if (call_it(p, "Synchronize", &request->base, call, &answer_text, err) != 0)
                return err_wrap(err, "Synchronize");
        response = nri__synchronize_response__unpack(NULL, answer_text.len, (uint8_t *) answer_text.data);
        if (!response)
                return err_set(err, CRINGLE_E_INVALID, "Synchronize: an answer that cannot be decoded");
        if (request->more && (!response->more || response->n_update)) {
                nri__synchronize_response__free_unpacked(response, NULL);
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "Synchronize: it cannot take more than one message");
        }
        if (request->more)
                nri__synchronize_response__free_unpacked(response, NULL);
        else
                *ret = response;
        return 0;
}

static int synchronize(struct plugin *p, const struct snapshot *s, Nri__SynchronizeResponse **ret,
                       struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, p->nri->sync_timeout);
        size_t pods = 0, containers = 0;

        do {
                Nri__SynchronizeRequest request = NRI__SYNCHRONIZE_REQUEST__INIT;
                size_t room = CHUNK_ROOM;

                request.pods = s->pods + pods;
                request.n_pods = fit(request.pods, s->n_pods - pods, &room, CHUNK_MIN);
                request.containers = s->containers + containers;
                request.n_containers = fit(request.containers, s->n_containers - containers, &room,
                                           request.n_pods < CHUNK_MIN ? CHUNK_MIN - request.n_pods : 0);
                pods += request.n_pods;
                containers += request.n_containers;
                request.more = pods < s->n_pods || containers < s->n_containers;
                if (send_chunk(p, &request, &call, ret, err) < 0)
                        return -1;
        } while (pods < s->n_pods || containers < s->n_containers);
        return 0;
}

/* Behind all of lower or equal index.  The gate is held alone. */
static void enlist(struct plugin *p)
{
        struct plugin **at = &p->nri->plugins;

        while (*at && strcmp((*at)->index, p->index) <= 0)
                at = &(*at)->next;
        pthread_mutex_lock(&p->nri->lock);      /* for those who only look at the list */
        p->next = *at;
        *at = p;
        free(map_take(&p->nri->unanswered, p->label));
        pthread_mutex_unlock(&p->nri->lock);
}

/*
 * With the gate held alone: nothing happens to a pod or container between the picture
 * that is taken and the plugin's place in the list.
 */
static int join(struct plugin *p, struct cringle_err *err)
{
        struct nri *n = p->nri;
        Nri__SynchronizeResponse *response = NULL;
        struct snapshot s = { 0 };
        int r;

        pthread_rwlock_wrlock(&n->gate);
        snapshot_take(n, &s);
        r = n->s.enabled ? synchronize(p, &s, &response, err)
                         : err_set(err, CRINGLE_E_UNAVAILABLE, "NRI has been switched off");
        if (r == 0) {
                p->policy = policy_of(n, p);
                enlist(p);
        }
        pthread_rwlock_unlock(&n->gate);
        if (r == 0)
                log_info("NRI plugin %s takes part; it was told %zu pods and %zu containers", p->label, s.n_pods,
                         s.n_containers);
        snapshot_done(&s);
        if (response) {
                nri_carry_out(n, p->label, response->update, response->n_update, NULL, 0, NULL);
                nri__synchronize_response__free_unpacked(response, NULL);
        }
        return r;
}

enum policy policy_of(const struct nri *n, const struct plugin *p)
{
        void *policy = map_get(&n->s.policies, p->label);

        return (enum policy) (intptr_t) (policy ? policy : map_get(&n->s.policies, p->name));
}

static int settle(struct plugin *p, struct cringle_err *err)
{
        if (wait_for_registration(p, err) < 0)
                return -1;
        if (configure(p, err) < 0 || join(p, err) < 0)
                return err_wrap(err, "%s", p->label);
        return 0;
}

void plugin_bring_in(struct nri *n, int fd, struct child *child, struct launched *launched)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct plugin *p = nri_alloc(sizeof *p);

        p->nri = n;
        p->launched = launched;
        p->child = *child;
        if (ttrpc_new(fd, &rpc_ops, p, &p->rpc, &err) < 0) {
                close(fd);
        } else if (settle(p, &err) == 0) {
                /* It may have ended before it was in the list: then nobody has noticed. */
                pthread_mutex_lock(&n->lock);
                pthread_cond_broadcast(&n->changed);
                pthread_mutex_unlock(&n->lock);
                return;
        }
        log_warning("NRI plugin: %s", err.text);
        if (launched) {
                pthread_mutex_lock(&n->lock);
                launched_ended(n, launched);
                pthread_mutex_unlock(&n->lock);
        }
        plugin_free(p);
}

void plugins_reap(struct nri *n)
{
        struct plugin *gone = NULL, *next;

        pthread_rwlock_wrlock(&n->gate);
        pthread_mutex_lock(&n->lock);
        for (struct plugin **at = &n->plugins; *at;) {
                struct plugin *p = *at;

                if (!p->ended && !n->stopping) {
                        at = &p->next;
                        continue;
                }
                *at = p->next;
                p->next = gone;
                gone = p;
                if (p->launched)
                        launched_ended(n, p->launched);
        }
        pthread_mutex_unlock(&n->lock);
        pthread_rwlock_unlock(&n->gate);
        for (; gone; gone = next) {
                next = gone->next;
                plugin_free(gone);
        }
}
