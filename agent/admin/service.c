/*
 * The agent's own service; see service.h.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin.pb-c.h"

#include "agent/admin/service.h"
#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/pod/message.h"
#include "agent/rpc/stream.h"

struct admin {
        struct admin_options o;
        int64_t started_at;
        struct audience tracers;        /* of hooks */
};

/* An answer under construction: rows of one type, each in an allocation of its own. */
struct rows {
        void **list;
        size_t n;
};

static void rows_add(struct rows *rows, void *row)
{
        void **grown = realloc(rows->list, (rows->n + 1) * sizeof *grown);

        if (!grown || !row)
                abort();
        rows->list = grown;
        rows->list[rows->n++] = row;
}

static void rows_done(struct rows *rows)
{
        for (size_t i = 0; i < rows->n; i++)
                protobuf_c_message_free_unpacked(rows->list[i], NULL);
        free(rows->list);
}

static char *text_of(const char *s)
{
        return strdup(s ? s : "");
}

static bool is_root(struct rpc_call *call)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (rpc_call_uid(call) == 0)
                return true;
        err_set(&err, CRINGLE_E_DENIED, "%s is for root alone", rpc_call_method(call));
        rpc_call_fail(call, &err);
        return false;
}

/* "a\nb\n" as a list. */
static char **lines_of(const struct buf *b, size_t *ret_n)
{
        char **lines = NULL;
        const char *at = b->data ? b->data : "";

        while (*at) {
                size_t n = strcspn(at, "\n");
                auto_free char *line = strndup(at, n);

                if (!line || strv_add(&lines, line, NULL) < 0)
                        abort();
                at += n + (at[n] == '\n');
        }
        *ret_n = strv_count((const char *const *) lines);
        return lines;
}

static void reload_on_worker(void *data)
{
        auto_of(rpc_call) call = data;
        struct admin *a = rpc_call_data(call);
        Admin__ReloadResponse reply = ADMIN__RELOAD_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf live = BUF_INIT, restart = BUF_INIT;

        if (a->o.reload(a->o.data, &live, &restart, &err) < 0) {
                rpc_call_fail(call, &err);
                return;
        }
        reply.applied = lines_of(&live, &reply.n_applied);
        reply.needs_restart = lines_of(&restart, &reply.n_needs_restart);
        rpc_call_reply(call, &reply.base);
        strv_free(reply.applied);
        strv_free(reply.needs_restart);
}

static void reload(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct admin *a = data;

        if (is_root(call))
                workers_run(a->o.workers, reload_on_worker, rpc_call_ref(call));
}

static void add_plugin(void *data, const struct host_info *info)
{
        Admin__Plugin *p = malloc(sizeof *p);

        if (!p)
                abort();
        admin__plugin__init(p);
        p->name = text_of(info->name);
        p->kind = text_of(info->kind);
        p->file = text_of(info->file);
        p->version = text_of(info->version);
        p->state = text_of(info->in_use ? "in use" : "refused");
        p->message = text_of(info->message);
        p->help = text_of(info->help);
        p->calls = info->calls;
        p->failures = info->failures;
        p->slowest_nanoseconds = (uint64_t) info->slowest;
        p->slowest_call = text_of(info->slowest_call);
        p->isolation = text_of(info->isolated ? "process" : "agent");
        rows_add(data, p);
}

static void list_plugins(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct admin *a = data;
        Admin__PluginsResponse reply = ADMIN__PLUGINS_RESPONSE__INIT;
        struct rows rows = { 0 };

        if (!is_root(call))
                return;
        host_list(a->o.host, add_plugin, &rows);
        reply.n_plugins = rows.n;
        reply.plugins = (Admin__Plugin **) rows.list;
        rpc_call_reply(call, &reply.base);
        rows_done(&rows);
}

struct hook_list {
        struct rows rows;
        uint32_t order;                 /* of the last one that is in force */
};

static void add_hook(void *data, const struct hooks_info *info)
{
        struct hook_list *list = data;
        Admin__Hook *h = malloc(sizeof *h);

        if (!h)
                abort();
        admin__hook__init(h);
        h->name = text_of(info->name);
        h->source = text_of(info->source);
        h->origin = text_of(info->origin);
        h->stages = text_of(info->stages);
        h->policy = text_of(info->policy);
        h->conditions = text_of(info->conditions);
        h->error = text_of(info->error);
        h->calls = info->calls;
        h->failures = info->failures;
        h->nanoseconds = (uint64_t) info->nanoseconds;
        h->last_failure = text_of(info->last_failure);
        h->order = info->error ? 0 : ++list->order;
        h->isolation = text_of(info->isolation);
        h->timeout_nanoseconds = (uint64_t) info->timeout;
        h->containers = info->matches;
        h->timeouts = info->timeouts;
        h->longest_nanoseconds = (uint64_t) info->longest;
        h->last_at = info->last_at;
        h->last_nanoseconds = (uint64_t) info->last_nanoseconds;
        rows_add(&list->rows, h);
}

static void list_hooks_on_worker(void *data)
{
        auto_of(rpc_call) call = data;
        struct admin *a = rpc_call_data(call);
        Admin__HooksResponse reply = ADMIN__HOOKS_RESPONSE__INIT;
        struct hook_list list = { 0 };

        hooks_list(a->o.hooks, add_hook, &list);
        reply.n_hooks = list.rows.n;
        reply.hooks = (Admin__Hook **) list.rows.list;
        rpc_call_reply(call, &reply.base);
        rows_done(&list.rows);
}

static void list_hooks(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct admin *a = data;

        if (is_root(call))
                workers_run(a->o.workers, list_hooks_on_worker, rpc_call_ref(call));
}

/* Any thread, under a lock of the engine's. */
static void trace(void *data, const struct hooks_call *call)
{
        struct admin *a = data;
        Admin__HookCall m = ADMIN__HOOK_CALL__INIT;

        m.ended_at = call->ended_at;
        m.pod_id = message_text(call->pod_id);
        m.pod_space = message_text(call->pod_space);
        m.pod_name = message_text(call->pod_name);
        m.container_id = message_text(call->container_id);
        m.container_name = message_text(call->container_name);
        m.source = message_text(call->source);
        m.name = message_text(call->name);
        m.origin = message_text(call->origin);
        m.stage = message_text(call->stage);
        m.why = message_text(call->why);
        m.result = message_text(call->timed_out ? "timed out" : call->error ? "failed" : call->result ? call->result : "ok");
        m.error = message_text(call->error);
        m.ignored = call->ignored;
        m.nanoseconds = (uint64_t) call->nanoseconds;
        m.n_changes = strv_count((const char *const *) call->changes);
        m.changes = (char **) call->changes;
        stream_tell_all(&a->tracers, &m.base);
}

static void tell_lost(ProtobufCMessage *message, uint64_t n)
{
        ((Admin__HookCall *) message)->lost = n;
}

/* Without anybody who traces the engine prepares nothing. */
static void tracers_attend(struct audience *tracers, bool somebody)
{
        struct admin *a = (struct admin *) (void *) ((char *) tracers - offsetof(struct admin, tracers));

        hooks_trace(a->o.hooks, somebody ? trace : NULL, a);
}

/* Which calls a client wants; the texts are in the same allocation. */
struct filter {
        const char *pod, *hook;         /* "": all */
};

static struct filter *filter_new(const Admin__TraceHooksRequest *request)
{
        size_t pod = strlen(request->pod) + 1, hook = strlen(request->hook) + 1;
        struct filter *f = malloc(sizeof *f + pod + hook);
        char *text = (char *) (f + 1);

        if (!f)
                abort();
        f->pod = memcpy(text, request->pod, pod);
        f->hook = memcpy(text + pod, request->hook, hook);
        return f;
}

/* @name is "@first@between@second". */
static bool is_pair(const char *name, const char *first, char between, const char *second)
{
        size_t n = strlen(first);

        return strncmp(name, first, n) == 0 && name[n] == between && strcmp(name + n + 1, second) == 0;
}

static bool wants_call(void *data, const ProtobufCMessage *message)
{
        const Admin__HookCall *m = (const Admin__HookCall *) message;
        const struct filter *f = data;

        if (*f->pod && strcmp(f->pod, m->pod_name) != 0 && !is_pair(f->pod, m->pod_space, '/', m->pod_name) &&
            !(strlen(f->pod) >= 4 && str_starts(m->pod_id, f->pod)))
                return false;
        return !*f->hook || strcmp(f->hook, m->name) == 0 || is_pair(f->hook, m->source, ':', m->name);
}

static void trace_hooks(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        Admin__HookCall begun = ADMIN__HOOK_CALL__INIT;
        struct admin *a = data;
        struct stream *s;

        if (!is_root(call))
                return;
        s = stream_new(a->tracers.loop, call, &admin__hook_call__descriptor);
        begun.ended_at = clock_realtime();
        stream_send(s, &begun.base);
        stream_watch(s, &a->tracers, wants_call, filter_new((const Admin__TraceHooksRequest *) request));
}

/* An answer to Explain under construction. */
struct explanation {
        struct rows steps, owners;
};

static void add_step(void *data, const struct hooks_step *step)
{
        struct explanation *e = data;
        Admin__HookStep *s = malloc(sizeof *s);

        if (!s)
                abort();
        admin__hook_step__init(s);
        s->name = text_of(step->name);
        s->source = text_of(step->source);
        s->origin = text_of(step->origin);
        s->matches = step->matches;
        s->why = text_of(step->why);
        s->n_changes = strv_count((const char *const *) step->changes);
        s->changes = strv_copy((const char *const *) step->changes, NULL);
        if (s->n_changes && !s->changes)
                abort();
        rows_add(&e->steps, s);
}

static void add_owner(void *data, const char *field, const char *owner)
{
        struct explanation *e = data;
        Admin__FieldOwner *o = malloc(sizeof *o);

        if (!o)
                abort();
        admin__field_owner__init(o);
        o->field = text_of(field);
        o->owner = text_of(owner);
        rows_add(&e->owners, o);
}

/* What the hooks refuse is the answer; what cannot be asked is a failure. */
static void explain_to(struct rpc_call *call, const Admin__ExplainRequest *request, const Cri__PodSandboxConfig *pod,
                       const Cri__ContainerConfig *container)
{
        struct admin *a = rpc_call_data(call);
        Admin__ExplainResponse reply = ADMIN__EXPLAIN_RESPONSE__INIT;
        struct explanation e = { 0 };
        struct hooks_watcher watcher = { .step = add_step, .owner = add_owner, .data = &e };
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_json spec = NULL;
        auto_buf text = BUF_INIT;
        int r = pods_explain(a->o.pods, pod, container, request->handler, &watcher, rpc_call_context(call), &spec, &err);

        if (r < 0 && !spec) {
                rpc_call_fail(call, &err);
                return;
        }
        if (json_write(spec, &text, NULL) < 0)
                abort();
        reply.n_steps = e.steps.n;
        reply.steps = (Admin__HookStep **) e.steps.list;
        reply.n_owners = e.owners.n;
        reply.owners = (Admin__FieldOwner **) e.owners.list;
        reply.spec = message_text(text.data);
        reply.error = message_text(r < 0 ? err.text : "");
        rpc_call_reply(call, &reply.base);
        rows_done(&e.steps);
        rows_done(&e.owners);
}

struct explaining {
        struct rpc_call *call;
        const Admin__ExplainRequest *request;   /* lives as long as the call */
};

static void explain_on_worker(void *data)
{
        auto_free struct explaining *e = data;
        auto_of(rpc_call) call = e->call;
        Cri__PodSandboxConfig *pod = cri__pod_sandbox_config__unpack(NULL, e->request->pod.len, e->request->pod.data);
        Cri__ContainerConfig *container =
                cri__container_config__unpack(NULL, e->request->container.len, e->request->container.data);
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (pod && container) {
                explain_to(call, e->request, pod, container);
        } else {
                err_set(&err, CRINGLE_E_INVALID, "no messages of a pod and a container");
                rpc_call_fail(call, &err);
        }
        message_free(pod);
        message_free(container);
}

static void explain(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct admin *a = data;
        struct explaining *e;

        if (!is_root(call))
                return;
        e = malloc(sizeof *e);
        if (!e)
                abort();
        *e = (struct explaining) { .call = rpc_call_ref(call), .request = (const Admin__ExplainRequest *) request };
        workers_run(a->o.workers, explain_on_worker, e);
}

static void add_operation(void *data, const char *name, const char *id, const char *step, int64_t age)
{
        Admin__Operation *o = malloc(sizeof *o);

        if (!o)
                abort();
        admin__operation__init(o);
        o->name = text_of(name);
        o->object = text_of(id);
        o->step = text_of(step);
        o->since_nanoseconds = age;
        rows_add(data, o);
}

/* What an operator should know of: refused plugins, hooks that are not in force, streams that cannot be served. */
struct warnings {
        char **list;
};

/* Takes @line. */
static void warn_of(struct warnings *warnings, char *line)
{
        if (line)
                strv_add(&warnings->list, line, NULL);
        free(line);
}

static void warn_of_plugin(void *data, const struct host_info *info)
{
        if (info->message)
                warn_of(data, str_printf(NULL, "plugin %s: %s", info->name, info->message));
}

static void warn_of_hook(void *data, const struct hooks_info *info)
{
        if (info->error)
                warn_of(data, str_printf(NULL, "hook %s: %s", info->origin, info->error));
}

/* What is known on the loop alone is brought along. */
struct asking {
        struct rpc_call *call;
        char *trouble;                  /* of streams; NULL: none */
};

static void tell_state_on_worker(void *data)
{
        auto_free struct asking *asking = data;
        auto_of(rpc_call) call = asking->call;
        auto_free char *trouble = asking->trouble;
        struct admin *a = rpc_call_data(call);
        Admin__StateResponse reply = ADMIN__STATE_RESPONSE__INIT;
        struct pods_count count = pods_count(a->o.pods);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct rows operations = { 0 };
        struct warnings warnings = { 0 };
        struct image **images = NULL;
        size_t n_images = 0;

        if (images_list(a->o.images, NULL, &images, &n_images, &err) < 0) {
                rpc_call_fail(call, &err);
                return;
        }
        images_list_free(images, n_images);
        pods_operations(a->o.pods, add_operation, &operations);
        host_list(a->o.host, warn_of_plugin, &warnings);
        hooks_list(a->o.hooks, warn_of_hook, &warnings);
        if (trouble)
                warn_of(&warnings, str_printf(NULL, "exec, attach and port-forward: %s", trouble));

        reply.version = message_text(CRINGLE_VERSION);
        reply.pid = getpid();
        reply.started_at = a->started_at;
        reply.pods = count.pods;
        reply.containers = count.containers;
        reply.images = (uint32_t) n_images;
        reply.n_operations = operations.n;
        reply.operations = (Admin__Operation **) operations.list;
        reply.n_warnings = strv_count((const char *const *) warnings.list);
        reply.warnings = warnings.list;
        rpc_call_reply(call, &reply.base);
        rows_done(&operations);
        strv_free(warnings.list);
}

static void tell_state(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct admin *a = data;
        const char *trouble = pods_streaming_trouble(a->o.pods);
        struct asking *asking;

        if (!is_root(call))
                return;
        asking = malloc(sizeof *asking);
        if (!asking)
                abort();
        *asking = (struct asking) { rpc_call_ref(call), trouble ? text_of(trouble) : NULL };
        workers_run(a->o.workers, tell_state_on_worker, asking);
}

static const struct rpc_handler handlers[] = {
        { "Reload", reload },
        { "Plugins", list_plugins },
        { "Hooks", list_hooks },
        { "TraceHooks", trace_hooks },
        { "Explain", explain },
        { "State", tell_state },
        { 0 }
};

int admin_new(const struct admin_options *options, struct rpc_server *server, struct admin **ret,
              struct cringle_err *err)
{
        auto_of(admin) a = calloc(1, sizeof *a);

        if (!a)
                return err_oom(err);
        a->o = *options;
        a->started_at = clock_realtime();
        a->tracers = (struct audience) { .loop = options->loop, .lost = tell_lost, .attended = tracers_attend };
        if (rpc_server_add(server, &admin__admin__descriptor, handlers, a, err) < 0)
                return -1;

        *ret = steal(&a);
        return 0;
}

struct admin *admin_free(struct admin *a)
{
        if (a)
                hooks_trace(a->o.hooks, NULL, NULL);
        free(a);
        return NULL;
}
