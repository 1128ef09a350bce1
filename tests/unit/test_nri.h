#pragma once

/*
 * For tests of NRI: an engine with a socket, a pod with a container, and plugins that are threads of the test
 *
 * A plugin speaks the protocol with code of its own, so that it can break it.  It keeps what it was called with, and
 * outlives the test's function (static), for it is teardown() that ends it.
 */

#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "hooks/hooks.h"
#include "hooks/nri/nri.h"
#include "nri.pb-c.h"
#include "plugins/api/cgroup.h"
#include "ttrpc.pb-c.h"

/* Until something that must happen has happened, on a machine that is busy. */
#define PATIENCE (20 * NSEC_PER_SEC)

/* ---- a plugin ------------------------------------------------------------------------ */

struct fake_plugin;

/* Fill the answer to a creation. */
typedef void (*fake_create_fn)(struct fake_plugin *p, const Nri__CreateContainerRequest *request,
                               Nri__CreateContainerResponse *response);

struct fake_plugin {
        const char *index, *name;
        uint32_t events;                /* 0: all */
        const char *refuse;             /* this method */
        const char *_Atomic hang;       /* likewise: no answer ever */
        const char *leave;              /* likewise: no answer, since it ends its connection */
        const char *garbage;            /* likewise: an answer that nobody can decode */
        const char *unimplemented;      /* likewise, or "all": as if it were older */
        bool one_message;               /* takes no second message of synchronisation */
        int sync_ms;                    /* sleeps so long when it is told what there is */
        Nri__FailurePolicy *policy;
        fake_create_fn create;
        Nri__ContainerUpdate **updates; /* in answer to UpdateContainer and StopContainer */
        size_t n_updates;
        Nri__ContainerEviction **evictions;     /* in answer to UpdateContainer */
        size_t n_evictions;
        const char *reject;             /* as a validator: why */

        pthread_mutex_t lock;
        struct buf log;                 /* "Method:id " for each call */
        size_t sync_calls, pods, containers;
        int64_t asked_memory;           /* by the last UpdateContainer */
        char *owner;                    /* of the variable GIVEN, as a validator is told */
        struct buf answer;              /* to a call of its own */
        bool answered;

        int fd;
        bool runs;
        pthread_t thread;
        struct buf lanes[2];
};

#define FAKE_PLUGIN(idx, its_name, ...) { .index = idx, .name = its_name, .fd = -1, \
                                          .lock = PTHREAD_MUTEX_INITIALIZER, __VA_ARGS__ }

static inline void fake_send(int fd, uint32_t lane, uint32_t stream, unsigned char type, const ProtobufCMessage *m)
{
        size_t n = protobuf_c_message_get_packed_size(m);
        unsigned char *text = calloc(1, n + 18);
        uint32_t words[4] = { htonl(lane), htonl((uint32_t) n + 10), htonl((uint32_t) n), htonl(stream) };
        size_t sent = 0;

        memcpy(text, words, sizeof words);
        text[16] = type;
        protobuf_c_message_pack(m, text + 18);
        while (sent < n + 18) {
                ssize_t r = send(fd, text + sent, n + 18 - sent, MSG_NOSIGNAL);

                if (r <= 0)
                        break;          /* it has been dropped, which tests look at elsewhere */
                sent += (size_t) r;
        }
        free(text);
}

static inline void fake_call(struct fake_plugin *p, uint32_t stream, const char *method, const ProtobufCMessage *payload)
{
        Ttrpc__Request request = TTRPC__REQUEST__INIT;
        uint8_t *text = malloc(protobuf_c_message_get_packed_size(payload) + 1);

        request.service = (char *) "nri.pkg.api.v1alpha1.Runtime";
        request.method = (char *) method;
        request.payload.len = protobuf_c_message_pack(payload, text);
        request.payload.data = text;
        fake_send(p->fd, 2, stream, 1, &request.base);
        free(text);
}

static inline void fake_note(struct fake_plugin *p, const char *method, const char *id)
{
        pthread_mutex_lock(&p->lock);
        buf_printf(&p->log, NULL, "%s%s%s%s", p->log.len ? " " : "", method, id ? ":" : "", id ? id : "");
        pthread_mutex_unlock(&p->lock);
}

static inline void fake_synchronize(struct fake_plugin *p, const Ttrpc__Request *call, Nri__SynchronizeResponse *response)
{
        Nri__SynchronizeRequest *r = nri__synchronize_request__unpack(NULL, call->payload.len, call->payload.data);

        poll(NULL, 0, p->sync_ms);
        pthread_mutex_lock(&p->lock);
        p->sync_calls++;
        p->pods += r->n_pods;
        p->containers += r->n_containers;
        pthread_mutex_unlock(&p->lock);
        for (size_t i = 0; i < r->n_containers && r->n_containers < 10; i++)
                fake_note(p, "Sync", r->containers[i]->id);
        response->more = r->more && !p->one_message;
        nri__synchronize_request__free_unpacked(r, NULL);
}

static inline void fake_validate(struct fake_plugin *p, const Ttrpc__Request *call,
                                 Nri__ValidateContainerAdjustmentResponse *response)
{
        Nri__ValidateContainerAdjustmentRequest *r =
                nri__validate_container_adjustment_request__unpack(NULL, call->payload.len, call->payload.data);
        Nri__FieldOwners *owners = r->owners->n_owners ? r->owners->owners[0]->value : NULL;

        for (size_t i = 0; owners && i < owners->n_compound; i++)
                for (size_t k = 0; k < owners->compound[i]->value->n_owners; k++)
                        if (strcmp(owners->compound[i]->value->owners[k]->key, "GIVEN") == 0) {
                                free(p->owner);
                                p->owner = strdup(owners->compound[i]->value->owners[k]->value);
                        }
        response->reject = p->reject != NULL;
        response->reason = (char *) (p->reject ? p->reject : "");
        nri__validate_container_adjustment_request__free_unpacked(r, NULL);
}

static inline void fake_answer(struct fake_plugin *p, uint32_t stream, const ProtobufCMessage *payload,
                               const Ttrpc__Status *status)
{
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        uint8_t *text = malloc((payload ? protobuf_c_message_get_packed_size(payload) : 0) + 4);

        response.status = (Ttrpc__Status *) status;
        response.payload.data = text;
        if (payload)
                response.payload.len = protobuf_c_message_pack(payload, text);
        else if (!status)
                response.payload.len = (size_t) (stpcpy((char *) text, "\x0a\x7f!") - (char *) text);   /* longer than it is */
        fake_send(p->fd, 1, stream, 2, &response.base);
        free(text);
}

/* A call of the agent's. */
static inline void fake_serve(struct fake_plugin *p, uint32_t stream, const Ttrpc__Request *call)
{
        Ttrpc__Status status = TTRPC__STATUS__INIT;
        Nri__CreateContainerRequest *subject = NULL;    /* all begin like this one, but two */
        bool plain = strcmp(call->method, "Configure") == 0 || strcmp(call->method, "Synchronize") == 0 ||
                     strcmp(call->method, "StateChange") == 0;

        if (!plain) {
                subject = nri__create_container_request__unpack(NULL, call->payload.len, call->payload.data);
                fake_note(p, call->method,
                          subject->container && !strstr(call->method, "PodSandbox") ? subject->container->id : NULL);
        } else {
                fake_note(p, call->method, NULL);
        }
        if (p->hang && strcmp(p->hang, call->method) == 0) {
                ;
        } else if (p->leave && strcmp(p->leave, call->method) == 0) {
                shutdown(p->fd, SHUT_RDWR);
        } else if (p->garbage && strcmp(p->garbage, call->method) == 0) {
                fake_answer(p, stream, NULL, NULL);
        } else if (p->refuse && strcmp(p->refuse, call->method) == 0) {
                status.code = CRINGLE_E_UNKNOWN;
                status.message = (char *) "not with me";
                fake_answer(p, stream, NULL, &status);
        } else if (p->unimplemented && (strcmp(p->unimplemented, call->method) == 0 ||
                                        (strcmp(p->unimplemented, "all") == 0 && !plain))) {
                status.code = CRINGLE_E_UNIMPLEMENTED;
                status.message = (char *) "no such method";
                fake_answer(p, stream, NULL, &status);
        } else if (strcmp(call->method, "Configure") == 0) {
                Nri__ConfigureResponse r = NRI__CONFIGURE_RESPONSE__INIT;

                r.events = (int32_t) p->events;
                r.failure_policy = p->policy;
                fake_answer(p, stream, &r.base, NULL);
        } else if (strcmp(call->method, "Synchronize") == 0) {
                Nri__SynchronizeResponse r = NRI__SYNCHRONIZE_RESPONSE__INIT;

                fake_synchronize(p, call, &r);
                fake_answer(p, stream, &r.base, NULL);
        } else if (strcmp(call->method, "CreateContainer") == 0) {
                Nri__CreateContainerResponse *r = calloc(1, sizeof *r);

                nri__create_container_response__init(r);
                if (p->create)
                        p->create(p, subject, r);
                fake_answer(p, stream, &r->base, NULL);
                nri__create_container_response__free_unpacked(r, NULL);
        } else if (strcmp(call->method, "UpdateContainer") == 0 || strcmp(call->method, "StopContainer") == 0) {
                Nri__UpdateContainerRequest *from = nri__update_container_request__unpack(NULL, call->payload.len,
                                                                                          call->payload.data);
                Nri__UpdateContainerResponse r = NRI__UPDATE_CONTAINER_RESPONSE__INIT;
                Nri__LinuxResources *l = from->linux_resources;

                p->asked_memory = l && l->memory && l->memory->limit ? l->memory->limit->value : 0;
                r.update = p->updates;
                r.n_update = p->n_updates;
                r.evict = p->evictions;
                r.n_evict = p->n_evictions;
                fake_answer(p, stream, &r.base, NULL);
                nri__update_container_request__free_unpacked(from, NULL);
        } else if (strcmp(call->method, "ValidateContainerAdjustment") == 0) {
                Nri__ValidateContainerAdjustmentResponse r = NRI__VALIDATE_CONTAINER_ADJUSTMENT_RESPONSE__INIT;

                fake_validate(p, call, &r);
                fake_answer(p, stream, &r.base, NULL);
        } else {
                Nri__Empty r = NRI__EMPTY__INIT;

                fake_answer(p, stream, &r.base, NULL);
        }
        if (subject)
                nri__create_container_request__free_unpacked(subject, NULL);
}

/* The whole messages that came on a connection of the mux. */
static inline void fake_take(struct fake_plugin *p, uint32_t lane)
{
        struct buf *in = &p->lanes[lane - 1];
        uint32_t words[2];

        while (in->len >= 10) {
                memcpy(words, in->data, sizeof words);
                if (in->len < 10 + ntohl(words[0]))
                        return;
                if (lane == 1) {
                        Ttrpc__Request *call = ttrpc__request__unpack(NULL, ntohl(words[0]), (uint8_t *) in->data + 10);

                        fake_serve(p, ntohl(words[1]), call);
                        ttrpc__request__free_unpacked(call, NULL);
                } else {
                        pthread_mutex_lock(&p->lock);
                        buf_clear(&p->answer);
                        buf_add(&p->answer, in->data + 10, ntohl(words[0]), NULL);
                        p->answered = true;
                        pthread_mutex_unlock(&p->lock);
                }
                buf_drop(in, 10 + ntohl(words[0]));
        }
}

static inline void *fake_live(void *data)
{
        struct fake_plugin *p = data;
        char piece[16384];
        uint32_t header[2];

        while (recv(p->fd, header, sizeof header, MSG_WAITALL) == sizeof header)
                for (size_t left = ntohl(header[1]); left > 0;) {
                        ssize_t r = recv(p->fd, piece, left < sizeof piece ? left : sizeof piece, 0);

                        if (r <= 0)
                                return NULL;
                        buf_add(&p->lanes[ntohl(header[0]) - 1], piece, (size_t) r, NULL);
                        left -= (size_t) r;
                        fake_take(p, ntohl(header[0]));
                }
        return NULL;
}

static inline void fake_connect(struct fake_plugin *p, const char *socket)
{
        Nri__RegisterPluginRequest r = NRI__REGISTER_PLUGIN_REQUEST__INIT;

        p->fd = sock_connect(socket, SOCK_STREAM, unit_err());
        assert_true(p->fd >= 0);
        r.plugin_idx = (char *) p->index;
        r.plugin_name = (char *) p->name;
        fake_call(p, 1, "RegisterPlugin", &r.base);
        assert_int_equal(pthread_create(&p->thread, NULL, fake_live, p), 0);
        p->runs = true;
}

static inline void fake_leave(struct fake_plugin *p)
{
        if (p->fd >= 0)
                shutdown(p->fd, SHUT_RDWR);
        if (p->runs)
                pthread_join(p->thread, NULL);
        if (p->fd >= 0)
                close(p->fd);
        buf_done(&p->log);
        buf_done(&p->answer);
        buf_done(&p->lanes[0]);
        buf_done(&p->lanes[1]);
        free(p->owner);
        p->owner = NULL;
        p->fd = -1;
        p->runs = false;
}

/* A call of its own; the answer's envelope, the caller's. */
static inline Ttrpc__Response *fake_ask(struct fake_plugin *p, const char *method, const ProtobufCMessage *payload)
{
        int64_t end = clock_monotonic() + PATIENCE;

        pthread_mutex_lock(&p->lock);
        p->answered = false;
        pthread_mutex_unlock(&p->lock);
        fake_call(p, 3, method, payload);
        for (bool answered = false; !answered;) {
                assert_true(clock_monotonic() < end);
                poll(NULL, 0, 5);
                pthread_mutex_lock(&p->lock);
                answered = p->answered;
                pthread_mutex_unlock(&p->lock);
        }
        return ttrpc__response__unpack(NULL, p->answer.len, (uint8_t *) p->answer.data);
}

/* ---- the engine ------------------------------------------------------------------------ */

struct fixture {
        char *dir, *socket;
        struct config *config;
        struct host *host;
        struct hooks *hooks;
        struct nri *nri;
        struct nri_host nri_host;
        struct json_object *spec;
        struct hooks_subject pod, container;
        struct cringle_err err;

        pthread_mutex_t lock;
        struct buf wishes;              /* "update ID memory pids wait " and "evict ID reason " */
        const char *fail;               /* updates of this container fail */
        struct fake_plugin *plugins[4];
        size_t n_plugins;
};

static inline int fixture_update(void *data, const char *id, const struct hooks_limits *l, bool wait,
                                 struct cringle_err *err)
{
        struct fixture *f = data;

        pthread_mutex_lock(&f->lock);
        buf_printf(&f->wishes, NULL, "update %s %lld %lld %s;", id, (long long) l->resources->memory_limit_in_bytes,
                   l->pids == CRINGLE_UNSET ? 0 : (long long) l->pids, wait ? "wait" : "later");
        pthread_mutex_unlock(&f->lock);
        return f->fail && strcmp(f->fail, id) == 0 ? err_set(err, CRINGLE_E_NOT_FOUND, "no container") : 0;
}

static inline void fixture_evict(void *data, const char *id, const char *reason)
{
        struct fixture *f = data;

        pthread_mutex_lock(&f->lock);
        buf_printf(&f->wishes, NULL, "evict %s %s;", id, reason);
        pthread_mutex_unlock(&f->lock);
}

static inline const char *wishes(struct fixture *f)
{
        return f->wishes.len ? f->wishes.data : "";
}

#define FIXTURE_SPEC "{\"process\":{\"args\":[\"/bin/sh\"],\"env\":[\"A=1\"]},\"mounts\":[{\"destination\":\"/proc\"," \
                     "\"type\":\"proc\",\"source\":\"proc\"}],\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]," \
                     "\"resources\":{\"memory\":{\"limit\":1000000,\"swap\":1000000}}}}"

static inline struct config *fixture_config(struct fixture *f, const char *section)
{
        auto_free char *path = str_printf(NULL, "%s/config.yaml", f->dir);
        auto_free char *text = str_printf(NULL, "root: %s/root\nstate: %s/state\nhooks: {dirs: [%s/hooks.d]}\n"
                                                "nri: {plugin_dir: %s/plugins, config_dir: %s/conf.d%s%s%s%s}\n",
                                          f->dir, f->dir, f->dir, f->dir, f->dir,
                                          strstr(section, "socket:") ? "" : ", socket: ",
                                          strstr(section, "socket:") ? "" : f->socket, *section ? ", " : "", section);
        struct config *c;
        char **names[4];

        assert_ok(file_replace(path, text, strlen(text), 0644, false, &f->err), &f->err);
        assert_ok(config_load(path, NULL, &c, &f->err), &f->err);
        names[0] = &c->image.name;
        names[1] = &c->cgroup.name;
        names[2] = &c->network.name;
        names[3] = &c->executor.name;
        for (int i = 0; i < 4; i++) {
                free(*names[i]);
                *names[i] = NULL;
        }
        return c;
}

static Cri__PodSandboxMetadata fixture_pod_metadata = CRI__POD_SANDBOX_METADATA__INIT;
static Cri__PodSandboxConfig fixture_pod = CRI__POD_SANDBOX_CONFIG__INIT;
static Cri__ContainerMetadata fixture_container_metadata = CRI__CONTAINER_METADATA__INIT;
static Cri__ImageSpec fixture_image = CRI__IMAGE_SPEC__INIT;
static Cri__ContainerConfig fixture_container = CRI__CONTAINER_CONFIG__INIT;

static inline int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);
        auto_free char *plugins = NULL;

        f->err = (struct cringle_err) CRINGLE_ERR_INIT;
        f->dir = unit_make_dir();
        f->socket = str_printf(NULL, "%s/nri.sock", f->dir);
        plugins = str_printf(NULL, "%s/plugins", f->dir);
        assert_int_equal(mkdir(plugins, 0755), 0);
        assert_int_equal(json_parse(FIXTURE_SPEC, strlen(FIXTURE_SPEC), &f->spec, &f->err), 0);
        pthread_mutex_init(&f->lock, NULL);
        fixture_pod_metadata.name = (char *) "web";
        fixture_pod_metadata.namespace_ = (char *) "shop";
        fixture_pod_metadata.uid = (char *) "uid";
        fixture_pod.metadata = &fixture_pod_metadata;
        fixture_container_metadata.name = (char *) "nginx";
        fixture_image.image = (char *) "sha256:0123";
        fixture_image.user_specified_image = (char *) "docker.io/library/nginx@sha256:4567";
        fixture_container.metadata = &fixture_container_metadata;
        fixture_container.image = &fixture_image;
        f->pod = (struct hooks_subject) { .pod_id = "pod", .pod = &fixture_pod, .handler = "" };
        f->container = f->pod;
        f->container.container_id = "box";
        f->container.container = &fixture_container;
        f->container.image_id = "sha256:0123";
        *state = f;
        return 0;
}

static inline int teardown(void **state)
{
        struct fixture *f = *state;

        nri_free(f->nri);
        for (size_t i = 0; i < f->n_plugins; i++)
                fake_leave(f->plugins[i]);
        hooks_free(f->hooks);
        host_free(f->host);
        config_free(f->config);
        json_object_put(f->spec);
        buf_done(&f->wishes);
        pthread_mutex_destroy(&f->lock);
        file_remove_tree(f->dir, NULL);
        free(f->socket);
        free(f->dir);
        free(f);
        return 0;
}

/* An engine with @section as the rest of the section `nri`. */
static inline void begin(struct fixture *f, const char *section)
{
        static const cringle_plugin_fn none[] = { NULL };
        struct host_options options = { .builtins = none };

        if (geteuid() != 0)
                skip();                 /* whoever connects has to be root */
        f->config = fixture_config(f, section);
        f->nri_host = (struct nri_host) { f, fixture_update, fixture_evict };
        assert_ok(host_new(f->config, &options, &f->host, &f->err), &f->err);
        assert_ok(hooks_new(f->config, f->host, &f->hooks, &f->err), &f->err);
        assert_ok(nri_new(f->config, f->hooks, &f->nri, &f->err), &f->err);
        assert_ok(nri_start(f->nri, &f->nri_host, &f->err), &f->err);
}

/* The same section anew, as a reload does it. */
static inline int settings(struct fixture *f, const char *section, struct cringle_err *err)
{
        struct config *fresh = fixture_config(f, section);
        struct nri_plan *plan;
        int r = nri_prepare(f->nri, fresh, &plan, err);

        if (r == 0)
                nri_take_over(f->nri, fresh, plan);
        config_free(fresh);
        return r;
}

struct look {
        const char *label;
        bool found;
        const char *policy;
};

static inline void look_at(void *data, const struct hooks_info *info)
{
        struct look *l = data;

        if (strcmp(info->source, "nri") == 0 && strcmp(info->name, l->label) == 0 && !info->error) {
                l->found = true;
                l->policy = info->policy;
        }
}

static inline bool takes_part(struct fixture *f, const struct fake_plugin *p)
{
        auto_free char *label = str_printf(NULL, "%s-%s", p->index, p->name);
        struct look l = { .label = label };

        hooks_list(f->hooks, look_at, &l);
        return l.found;
}

static inline void await(struct fixture *f, const struct fake_plugin *p, bool there)
{
        int64_t end = clock_monotonic() + PATIENCE;

        while (takes_part(f, p) != there) {
                if (clock_monotonic() > end)
                        fail_msg("plugin %s-%s %s", p->index, p->name, there ? "does not take part" : "is still there");
                poll(NULL, 0, 5);
        }
}

/* Connect @p, which is left to teardown(), and wait until it takes part. */
static inline void join_in(struct fixture *f, struct fake_plugin *p)
{
        f->plugins[f->n_plugins++] = p;
        fake_connect(p, f->socket);
        await(f, p, true);
}

static inline int create(struct fixture *f)
{
        return hooks_adjust(f->hooks, &f->container, f->spec, NULL, &f->err);
}

static inline int at(struct fixture *f, int point)
{
        return hooks_run(f->hooks, point, point == CRINGLE_POD_RUN || point == CRINGLE_POD_STOP || point == CRINGLE_POD_REMOVE
                                                   ? &f->pod : &f->container, NULL, &f->err);
}

/* That @part of the specification, a path as in "process/env", is @json. */
static inline void assert_spec(struct fixture *f, const char *part, const char *json)
{
        struct json_object *here = f->spec;
        auto_free char *path = strdup(part);
        auto_buf text = BUF_INIT;
        char *rest = NULL;

        for (char *word = strtok_r(path, "/", &rest); word && here; word = strtok_r(NULL, "/", &rest))
                if (!json_object_object_get_ex(here, word, &here))
                        here = NULL;
        if (here)
                assert_int_equal(json_write(here, &text, NULL), 0);
        assert_string_equal(here ? text.data : "nothing", json);
}

/* ---- messages, made on the heap as if they had been unpacked ----------------------------- */

static inline void fake_add(void *list, size_t *n, void *item)
{
        void **old;

        memcpy(&old, list, sizeof old);
        old = realloc(old, (*n + 1) * sizeof *old);
        old[(*n)++] = item;
        memcpy(list, &old, sizeof old);
}

#define FAKE_NEW(type, init) ({ type *new_ = malloc(sizeof *new_); *new_ = (type) init; new_; })
#define FAKE_OPTION(type, init, number) \
        ({ type *option_ = malloc(sizeof *option_); *option_ = (type) init; option_->value = (number); option_; })

static inline Nri__ContainerAdjustment *adjustment_of(Nri__CreateContainerResponse *r)
{
        if (!r->adjust)
                r->adjust = FAKE_NEW(Nri__ContainerAdjustment, NRI__CONTAINER_ADJUSTMENT__INIT);
        return r->adjust;
}

static inline Nri__LinuxContainerAdjustment *linux_of(Nri__CreateContainerResponse *r)
{
        Nri__ContainerAdjustment *a = adjustment_of(r);

        if (!a->linux)
                a->linux = FAKE_NEW(Nri__LinuxContainerAdjustment, NRI__LINUX_CONTAINER_ADJUSTMENT__INIT);
        return a->linux;
}

static inline Nri__LinuxResources *resources_of(Nri__CreateContainerResponse *r)
{
        Nri__LinuxContainerAdjustment *l = linux_of(r);

        if (!l->resources)
                l->resources = FAKE_NEW(Nri__LinuxResources, NRI__LINUX_RESOURCES__INIT);
        return l->resources;
}

static inline void set_env(Nri__CreateContainerResponse *r, const char *key, const char *value)
{
        Nri__KeyValue *e = FAKE_NEW(Nri__KeyValue, NRI__KEY_VALUE__INIT);

        e->key = strdup(key);
        e->value = strdup(value);
        fake_add(&adjustment_of(r)->env, &adjustment_of(r)->n_env, e);
}

static inline Nri__Pair *new_pair(const char *key, const char *value)
{
        Nri__Pair *p = FAKE_NEW(Nri__Pair, NRI__PAIR__INIT);

        p->key = strdup(key);
        p->value = strdup(value);
        return p;
}

/* Limits of memory (0: none) for a container. */
static inline Nri__ContainerUpdate *new_update(const char *id, int64_t memory)
{
        Nri__ContainerUpdate *u = FAKE_NEW(Nri__ContainerUpdate, NRI__CONTAINER_UPDATE__INIT);
        Nri__LinuxResources *r = FAKE_NEW(Nri__LinuxResources, NRI__LINUX_RESOURCES__INIT);

        u->container_id = strdup(id);
        u->linux = FAKE_NEW(Nri__LinuxContainerUpdate, NRI__LINUX_CONTAINER_UPDATE__INIT);
        u->linux->resources = r;
        if (memory) {
                r->memory = FAKE_NEW(Nri__LinuxMemory, NRI__LINUX_MEMORY__INIT);
                r->memory->limit = FAKE_OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, memory);
        }
        return u;
}

static inline Nri__ContainerEviction *new_eviction(const char *id, const char *reason)
{
        Nri__ContainerEviction *e = FAKE_NEW(Nri__ContainerEviction, NRI__CONTAINER_EVICTION__INIT);

        e->container_id = strdup(id);
        e->reason = strdup(reason);
        return e;
}
