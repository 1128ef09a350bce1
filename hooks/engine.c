/*
 * The hook engine; see hooks.h.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "config/template.h"
#include "hooks/adjust.h"
#include "hooks/calls.h"
#include "hooks/cdi.h"
#include "hooks/diff.h"
#include "hooks/dir.h"
#include "hooks/event.h"
#include "hooks/hooks.h"
#include "hooks/rule.h"

#define SPEC_MAX (16 << 20)

struct hooks {
        struct host *host;
        const struct hooks_next *next;  /* NULL: none */
        pthread_mutex_t lock;           /* guards everything below */
        char **dirs;
        uint64_t stamp;                 /* of the directories when they were read */
        bool settled;                   /* an equal stamp means that nothing has changed */
        struct rules files;             /* from hooks.d */
        struct rules yaml;
        int64_t timeout;                /* seconds, for rules that name none */

        char **cdi_dirs;
        uint64_t cdi_stamp;             /* as above */
        bool cdi_settled;
        bool cdi_of_pods;               /* annotations of pods ask for devices, too */
        struct cdi cdi;

        struct calls calls;             /* has a lock of its own, which is taken last */
};

static int copy_patterns(struct patterns *p, char *const *texts, struct cringle_err *err)
{
        for (size_t i = 0; texts && texts[i]; i++)
                if (patterns_add(p, texts[i], err) < 0)
                        return -1;
        return 0;
}

static int64_t whole_seconds(int64_t nsec)
{
        return (nsec + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
}

static bool has_places(char *const *list)
{
        for (; list && *list; list++)
                if (template_has_places(*list))
                        return true;

        return false;
}

/* A hook of the YAML as a rule; without any condition it is for every container. */
static int rule_of_config(const struct config_hook *from, struct rule *r, struct cringle_err *err)
{
        int stage = stage_of(from->stage);

        if (stage < 0)
                return err_set(err, CRINGLE_E_INVALID, "%s: unknown stage '%s'", from->origin, from->stage);
        r->stages = 1u << stage;
        r->source = "yaml";
        r->name = strdup(from->name);
        r->origin = strdup(from->origin);
        r->path = strdup(from->path);
        r->env = strv_copy((const char *const *) from->env, err);
        if (!r->name || !r->origin || !r->path || !r->env || strv_add(&r->args, from->path, err) < 0)
                return err_oom(err);
        for (size_t i = 0; from->args && from->args[i]; i++)
                if (strv_add(&r->args, from->args[i], err) < 0)
                        return -1;
        r->timeout = whole_seconds(from->timeout);
        r->ignore = !from->fail;

        for (const struct cringle_pair *p = from->when_annotations; p && p->key; p++)
                if (patterns_add(&r->annotation_keys, p->key, err) < 0 || patterns_add(&r->annotation_values, p->value, err) < 0)
                        return -1;
        for (const struct cringle_pair *p = from->when_labels; p && p->key; p++)
                if (patterns_add(&r->label_keys, p->key, err) < 0 || patterns_add(&r->label_values, p->value, err) < 0)
                        return -1;
        if (copy_patterns(&r->pods, from->when_pods, err) < 0 || copy_patterns(&r->containers, from->when_containers, err) < 0 ||
            copy_patterns(&r->handlers, from->when_handlers, err) < 0 ||
            copy_patterns(&r->devices, from->when_devices, err) < 0)
                return -1;
        if (from->when_bind_mounts)
                r->has_bind_mounts = 1;
        if (copy_patterns(&r->namespaces, from->when_namespaces, err) < 0 ||
            copy_patterns(&r->images, from->when_images, err) < 0 ||
            copy_patterns(&r->commands, from->when_commands, err) < 0)
                return -1;
        if (!r->annotation_values.n && !r->namespaces.n && !r->images.n && !r->commands.n && !r->label_values.n &&
            !r->pods.n && !r->containers.n && !r->handlers.n && !r->devices.n && !from->when_bind_mounts)
                r->always = 1;
        r->has_places = has_places(r->args + 1) || has_places(r->env);
        return 0;
}

static int read_config(const struct config *config, struct rules *ret, struct cringle_err *err)
{
        for (size_t i = 0; i < config->hooks.n_yaml; i++) {
                struct rule *r = rules_add(ret, err);

                if (!r || rule_of_config(&config->hooks.yaml[i], r, err) < 0)
                        return -1;
        }
        return 0;
}

static const struct rule *rule_named(const struct rules *rules, const char *name)
{
        for (size_t i = 0; i < rules->n; i++)
                if (strcmp(rules->list[i].name, name) == 0)
                        return &rules->list[i];

        return NULL;
}

/* @fresh takes the place of @rules; a hook that was there before keeps its count. */
static void replace(struct rules *rules, struct rules *fresh)
{
        for (size_t i = 0; i < fresh->n; i++) {
                const struct rule *old = rule_named(rules, fresh->list[i].name);

                if (old)
                        fresh->list[i].matches = old->matches;
        }
        rules_done(rules);
        *rules = *fresh;
        *fresh = (struct rules) { 0 };
}

/* Each new error is told once, not at each container. */
static bool is_told(const struct rules *rules, const struct rule *r)
{
        const struct rule *old = rule_named(rules, r->name);

        return old && str_equal(old->origin, r->origin) && str_equal(old->error, r->error);
}

/*
 * Directories are read again when they changed; a failure keeps what was known.  While a
 * file has an error they are read each time: what it misses, such as the program it
 * names, may come without a change of theirs.  The lock is held.
 */
static void look_at_dirs(struct hooks *h)
{
        bool settled;
        uint64_t stamp = dir_stamp((const char *const *) h->dirs, &settled);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct rules fresh = { 0 };

        if (h->settled && stamp == h->stamp)
                return;
        if (dir_read((const char *const *) h->dirs, &fresh, &err) < 0) {
                log_warning("hooks.d: %s; going on with what was read before", err.text);
                rules_done(&fresh);
                return;
        }
        for (size_t i = 0; i < fresh.n; i++) {
                if (!fresh.list[i].error)
                        continue;
                settled = false;
                if (!is_told(&h->files, &fresh.list[i]))
                        log_warning("hook %s is not in force: %s", fresh.list[i].origin, fresh.list[i].error);
        }
        replace(&h->files, &fresh);
        h->stamp = stamp;
        h->settled = settled;
}

static const struct cdi_file *cdi_file_at(const struct cdi *c, const char *path)
{
        for (size_t i = 0; i < c->n_files; i++)
                if (strcmp(c->files[i].path, path) == 0)
                        return &c->files[i];

        return NULL;
}

/* The very device, also when another one of its name counts; NULL: it was not there. */
static const struct cdi_device *cdi_device_at(const struct cdi *c, const char *path, const char *name)
{
        for (size_t i = 0; i < c->n_devices; i++)
                if (strcmp(c->devices[i].name, name) == 0 && strcmp(c->files[c->devices[i].file].path, path) == 0)
                        return &c->devices[i];

        return NULL;
}

/* What is new in @fresh is told, and counts of devices that were there before are kept. */
static void compare_cdi(const struct cdi *old, struct cdi *fresh)
{
        for (size_t i = 0; i < fresh->n_files; i++) {
                const struct cdi_file *f = &fresh->files[i], *was = cdi_file_at(old, f->path);

                if (f->error && !(was && str_equal(was->error, f->error)))
                        log_warning("CDI file %s is not in force: %s", f->path, f->error);
        }
        for (size_t i = 0; i < fresh->n_devices; i++) {
                struct cdi_device *d = &fresh->devices[i];
                const char *path = fresh->files[d->file].path;
                const struct cdi_device *was = cdi_device_at(old, path, d->name);

                d->matches = was ? was->matches : 0;
                if (d->error && !d->hidden && !(was && str_equal(was->error, d->error)))
                        log_warning("CDI device in %s: %s", path, d->error);
        }
}

/* As look_at_dirs(); whatever a CDI file names is looked at when a container gets it.  The lock is held. */
static void look_at_cdi(struct hooks *h)
{
        bool settled;
        uint64_t stamp = cdi_stamp((const char *const *) h->cdi_dirs, &settled);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cdi fresh = { 0 };

        if (h->cdi_settled && stamp == h->cdi_stamp)
                return;
        if (cdi_read((const char *const *) h->cdi_dirs, &fresh, &err) < 0) {
                log_warning("CDI: %s; going on with what was read before", err.text);
                cdi_done(&fresh);
                return;
        }
        compare_cdi(&h->cdi, &fresh);
        cdi_done(&h->cdi);
        h->cdi = fresh;
        h->cdi_stamp = stamp;
        h->cdi_settled = settled;
}

struct hooks_plan {
        struct rules yaml;
        char **dirs, **cdi_dirs;
        int64_t timeout;
        bool cdi_of_pods;
};

struct hooks_plan *hooks_plan_free(struct hooks_plan *plan)
{
        if (!plan)
                return NULL;
        rules_done(&plan->yaml);
        strv_free(plan->dirs);
        strv_free(plan->cdi_dirs);
        free(plan);
        return NULL;
}

int hooks_prepare(const struct config *config, struct hooks_plan **ret, struct cringle_err *err)
{
        auto_of(hooks_plan) plan = calloc(1, sizeof *plan);

        if (!plan)
                return err_oom(err);
        plan->dirs = strv_copy((const char *const *) config->hooks.dirs, err);
        plan->cdi_dirs = strv_copy((const char *const *) config->cdi.dirs, err);
        plan->timeout = whole_seconds(config->hooks.timeout);
        plan->cdi_of_pods = config->cdi.pod_annotations;
        if (!plan->dirs || !plan->cdi_dirs || read_config(config, &plan->yaml, err) < 0)
                return -1;

        *ret = steal(&plan);
        return 0;
}

void hooks_take_over(struct hooks *h, struct hooks_plan *plan)
{
        char **dirs, **cdi_dirs;

        pthread_mutex_lock(&h->lock);
        dirs = h->dirs;
        cdi_dirs = h->cdi_dirs;
        replace(&h->yaml, &plan->yaml);
        h->dirs = plan->dirs;
        h->timeout = plan->timeout;
        h->settled = false;
        look_at_dirs(h);
        h->cdi_dirs = plan->cdi_dirs;
        h->cdi_of_pods = plan->cdi_of_pods;
        h->cdi_settled = false;
        look_at_cdi(h);
        pthread_mutex_unlock(&h->lock);

        plan->dirs = dirs;
        plan->cdi_dirs = cdi_dirs;
        hooks_plan_free(plan);
}

int hooks_new(const struct config *config, struct host *host, struct hooks **ret, struct cringle_err *err)
{
        auto_of(hooks_plan) plan = NULL;
        struct hooks *h;

        if (hooks_prepare(config, &plan, err) < 0)
                return -1;
        h = calloc(1, sizeof *h);
        if (!h)
                return err_oom(err);
        h->host = host;
        pthread_mutex_init(&h->lock, NULL);
        calls_init(&h->calls);
        hooks_take_over(h, steal(&plan));

        *ret = h;
        return 0;
}

struct hooks *hooks_free(struct hooks *h)
{
        if (!h)
                return NULL;

        rules_done(&h->files);
        rules_done(&h->yaml);
        strv_free(h->dirs);
        cdi_done(&h->cdi);
        strv_free(h->cdi_dirs);
        calls_done(&h->calls);
        pthread_mutex_destroy(&h->lock);
        free(h);
        return NULL;
}

void hooks_set_next(struct hooks *h, const struct hooks_next *next)
{
        h->next = next;
}

void hooks_adopt(struct hooks *h, const struct hooks_subject *subject)
{
        if (h->next)
                h->next->adopt(h->next->data, subject);
}

void hooks_forget(struct hooks *h, const struct hooks_subject *subject)
{
        if (h->next)
                h->next->forget(h->next->data, subject);
}

int hooks_update(struct hooks *h, const struct hooks_subject *subject, struct hooks_limits *limits,
                 const struct cringle_call *call, struct cringle_err *err)
{
        return h->next ? h->next->update(h->next->data, subject, limits, call, err) : 0;
}

int hooks_update_pod(struct hooks *h, const struct hooks_subject *subject,
                     const Cri__UpdatePodSandboxResourcesRequest *request, const struct cringle_call *call,
                     struct cringle_err *err)
{
        return h->next ? h->next->update_pod(h->next->data, subject, request, call, err) : 0;
}

void hooks_updated(struct hooks *h, const struct hooks_subject *subject,
                   const Cri__UpdatePodSandboxResourcesRequest *pod, bool tell)
{
        if (h->next)
                h->next->updated(h->next->data, subject, pod, tell);
}

static const char *const points[CRINGLE_POINTS] = {
        [CRINGLE_POD_RUN] = "pod run",
        [CRINGLE_CONTAINER_CREATE] = "container create",
        [CRINGLE_CONTAINER_CREATED] = "container created",
        [CRINGLE_CONTAINER_START] = "container start",
        [CRINGLE_CONTAINER_STARTED] = "container started",
        [CRINGLE_CONTAINER_STOP] = "container stop",
        [CRINGLE_CONTAINER_STOPPED] = "container stopped",
        [CRINGLE_CONTAINER_REMOVE] = "container remove",
        [CRINGLE_POD_STOP] = "pod stop",
        [CRINGLE_POD_REMOVE] = "pod remove",
};

const char *hooks_point_name(int point)
{
        return points[point];
}

/* What has happened, or must happen, nobody can refuse. */
static bool may_refuse(int point)
{
        return point <= CRINGLE_CONTAINER_STARTED;
}

char **hooks_args(struct json_object *spec)
{
        struct json_object *process;
        char **args = NULL;

        if (json_get_object(spec, "process", &process, NULL) == 1)
                json_get_strv(process, "args", &args, NULL);
        return args;
}

/* The same of a container that has been made; NULL also when its bundle is gone. */
static char **args_of_bundle(const char *bundle)
{
        auto_free char *path = str_printf(NULL, "%s/config.json", bundle);
        auto_json spec = NULL;

        return path && json_read_bytes(path, SPEC_MAX, &spec, NULL) == 0 ? hooks_args(spec) : NULL;
}

void hooks_call_subject(struct hooks_call *call, const struct hooks_subject *s)
{
        call->pod_id = s->pod_id;
        call->pod_space = s->pod->metadata->namespace_;
        call->pod_name = s->pod->metadata->name;
        call->container_id = s->container_id;
        call->container_name = s->container ? s->container->metadata->name : NULL;
}

/* The fields that are set since adjust_begin(), and what else was asked for; the caller's. */
static char **changes_of(const struct adjust *a)
{
        char **changes = strv_copy((const char *const *) a->taken, NULL);

        for (char **hook = a->oci_hooks; hook && *hook; hook++)
                strv_add(&changes, *hook, NULL);
        for (size_t i = a->cdi_before; i < strv_count((const char *const *) a->cdi_devices); i++) {
                auto_free char *device = str_printf(NULL, "CDI device %s", a->cdi_devices[i]);

                if (device)
                        strv_add(&changes, device, NULL);
        }
        return changes;
}

void hooks_changed(struct hooks *h, const struct adjust *a, const struct hooks_subject *subject, const char *stage)
{
        struct hooks_call call = { .source = a->source, .name = a->hook, .stage = stage, .result = "changed" };
        auto_strv changes = NULL;

        if (!atomic_load(&h->calls.traced))
                return;
        changes = changes_of(a);
        if (!changes || !changes[0])
                return;
        call.changes = changes;
        hooks_call_subject(&call, subject);
        calls_tell(&h->calls, &call);
}

/* The conditions that a hook of a file or of the YAML was added for, into the empty @ret. */
static void describe_call(struct hooks *h, const struct hooks_call *call, struct buf *ret)
{
        const struct rule *r;

        pthread_mutex_lock(&h->lock);
        r = rule_named(strcmp(call->source, "yaml") == 0 ? &h->yaml : &h->files, call->name);
        if (r && strcmp(r->source, call->source) == 0)
                rule_describe(r, ret, NULL);
        pthread_mutex_unlock(&h->lock);
}

void hooks_called(struct hooks *h, const struct hooks_call *call)
{
        struct hooks_call told = *call;
        auto_buf why = BUF_INIT;

        if (!told.why && atomic_load(&h->calls.traced)) {
                describe_call(h, call, &why);
                told.why = why.data;
        }
        calls_add(&h->calls, &told);
}

void hooks_trace(struct hooks *h, hooks_trace_fn fn, void *data)
{
        calls_trace(&h->calls, fn, data);
}

void hooks_counters(struct hooks *h, void (*fn)(void *data, const struct hooks_counter *counter), void *data)
{
        calls_each(&h->calls, fn, data);
}

/* @counted: it is no rehearsal. */
static int call_hook(struct hooks *h, const struct host_hook *hook, int point, const struct hooks_subject *s,
                     struct adjust *adjust, const char *const *args, bool counted, const struct cringle_call *outer,
                     struct cringle_err *err)
{
        struct cringle_call call = call_within(outer, hook->timeout);
        struct event_host host = { .subject = s, .adjust = adjust };
        struct cringle_event ev = event_make(point, &host, args, &call);
        struct hooks_call told = { .source = "plugin", .name = hook->name, .origin = hook->name, .stage = points[point],
                                   .why = "called" };
        auto_strv changes = NULL;
        int64_t began = clock_monotonic();
        int r = hook->ops->run(hook->self, &ev, err);

        told.nanoseconds = clock_monotonic() - began;
        if (r < 0)
                err_wrap(err, "hook at %s", points[point]);     /* the host has put its name there */
        if (!counted)
                return r < 0 ? -1 : 0;
        if (r < 0) {
                told.error = err->text;
                told.timed_out = err->code == CRINGLE_E_DEADLINE;
                told.ignored = !hook->fail || !may_refuse(point);
        } else if (adjust && atomic_load(&h->calls.traced)) {
                told.changes = changes = changes_of(adjust);
        }
        hooks_call_subject(&told, s);
        calls_add(&h->calls, &told);
        return r < 0 ? -1 : 0;
}

static bool wants(const struct host_hook *hook, int point)
{
        return hook->ops->points & CRINGLE_AT(point);
}

int hooks_run(struct hooks *h, int point, const struct hooks_subject *subject, const struct cringle_call *call,
              struct cringle_err *err)
{
        auto_of(host_hooks) native = host_hooks_hold(h->host);
        auto_strv read = NULL;
        const char *const *args = subject->args;
        bool looked = args || !subject->bundle;

        for (size_t i = 0; i < host_hooks_count(native); i++) {
                struct host_hook hook = host_hook(native, i);
                struct cringle_err why = CRINGLE_ERR_INIT;

                if (!wants(&hook, point))
                        continue;
                if (!looked)
                        args = (const char *const *) (read = args_of_bundle(subject->bundle));
                looked = true;
                if (call_hook(h, &hook, point, subject, NULL, args, true, call, &why) == 0)
                        continue;
                if (hook.fail && may_refuse(point)) {
                        if (err)
                                *err = why;
                        return -1;
                }
        }
        if (h->next) {
                struct cringle_err why = CRINGLE_ERR_INIT;

                if (h->next->run(h->next->data, point, subject, call, &why) == 0)
                        return 0;
                if (may_refuse(point)) {
                        if (err)
                                *err = why;
                        return -1;
                }
                log_warning("%s; ignored", why.text);
        }
        return 0;
}

/* Who watches a rehearsal, and the specification as it was told last. */
struct rehearsal {
        const struct hooks_watcher *watcher;
        struct json_object *told;
};

/* Tell of one hook and what has changed since the one before it; @r NULL: nobody watches. */
static int tell_step(struct rehearsal *r, struct hooks_step step, struct json_object *spec, struct cringle_err *err)
{
        auto_strv changes = NULL;

        if (!r)
                return 0;
        if (diff_specs(r->told, spec, &changes, err) < 0)
                return -1;
        step.changes = changes;
        r->watcher->step(r->watcher->data, &step);
        if (!changes)
                return 0;
        json_object_put(r->told);
        r->told = NULL;
        return json_object_deep_copy(spec, &r->told, NULL) < 0 ? err_oom(err) : 0;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static int tell_owners(struct rehearsal *r, const struct adjust *adjust, struct cringle_err *err)
{
        auto_strv fields = NULL;
        const char *field;
        void *owner;

        for (size_t at = 0; map_next(&adjust->owners, &at, &field, &owner);)
                if (strv_add(&fields, field, err) < 0)
                        return -1;
        if (fields)
                qsort(fields, strv_count((const char *const *) fields), sizeof *fields, by_text);
        for (size_t i = 0; fields && fields[i]; i++)
                r->watcher->owner(r->watcher->data, fields[i], map_get(&adjust->owners, fields[i]));
        return 0;
}

/* The native hooks at CRINGLE_CONTAINER_CREATE. */
static int run_adjusting(struct hooks *h, const struct hooks_subject *s, struct adjust *adjust, struct rehearsal *rehearsal,
                         const struct cringle_call *call, struct cringle_err *err)
{
        auto_of(host_hooks) native = host_hooks_hold(h->host);

        for (size_t i = 0; i < host_hooks_count(native); i++) {
                struct host_hook hook = host_hook(native, i);
                struct cringle_err why = CRINGLE_ERR_INIT;
                auto_strv args = NULL;

                struct hooks_step step = { .name = hook.name, .source = "plugin", .origin = hook.name, .matches = true,
                                           .why = "called" };

                if (!wants(&hook, CRINGLE_CONTAINER_CREATE)) {
                        step.matches = false;
                        step.why = "is not called at container create";
                        if (tell_step(rehearsal, step, adjust->spec, err) < 0)
                                return -1;
                        continue;
                }
                args = hooks_args(adjust->spec);           /* as the hooks before it have left them */
                if (adjust_begin(adjust, hook.name, !hook.fail, err) < 0)
                        return -1;
                if (call_hook(h, &hook, CRINGLE_CONTAINER_CREATE, s, adjust, (const char *const *) args, !rehearsal, call,
                              &why) < 0) {
                        step.why = why.text;
                        if (hook.fail) {
                                if (err)
                                        *err = why;
                                return -1;
                        }
                        if (adjust_undo(adjust, err) < 0)
                                return -1;
                }
                if (tell_step(rehearsal, step, adjust->spec, err) < 0)
                        return -1;
        }
        return 0;
}

/*
 * The devices @names were given, which took @nanoseconds for all of them; with @failure, the one that adjusted last was
 * not.  A name nobody has a file for is nobody's call: pods' authors may write any.  The lock is held.
 */
static void tell_devices(struct hooks *h, const struct hooks_subject *s, const struct adjust *adjust,
                         const char *const *names, const struct cringle_err *failure, int64_t nanoseconds)
{
        auto_strv changes = !failure && atomic_load(&h->calls.traced) ? changes_of(adjust) : NULL;
        size_t n = strv_count(names);

        for (size_t i = 0; i < n; i++) {
                const struct cdi_device *d = map_get(&h->cdi.by_name, names[i]);
                struct hooks_call call = { .source = "cdi", .name = names[i], .stage = points[CRINGLE_CONTAINER_CREATE],
                                           .why = "requested", .nanoseconds = nanoseconds / (int64_t) n };

                if (!d || (failure && !str_equal(adjust->part, names[i])))
                        continue;
                call.origin = h->cdi.files[d->file].path;
                call.error = failure ? failure->text : NULL;
                call.changes = i == 0 ? changes : NULL;
                hooks_call_subject(&call, s);
                calls_add(&h->calls, &call);
        }
}

/* The devices that the kubelet and hooks have asked for. */
static int add_cdi_devices(struct hooks *h, const struct hooks_subject *s, struct adjust *adjust,
                           struct rehearsal *rehearsal, struct cringle_err *err)
{
        struct hooks_step step = { .name = "cdi", .source = "cdi", .origin = "", .why = "no device is asked for" };
        auto_strv names = NULL;
        auto_buf asked = BUF_INIT;
        int64_t began = clock_monotonic();
        int r = 0;

        pthread_mutex_lock(&h->lock);
        if (cdi_wanted(s->container, h->cdi_of_pods ? s->pod : NULL, &names, err) < 0)
                r = -1;
        for (char **more = adjust->cdi_devices; r == 0 && more && *more; more++)
                if (!strv_has((const char *const *) names, *more))
                        r = strv_add(&names, *more, err);
        if (r == 0 && names) {
                look_at_cdi(h);
                r = cdi_apply(&h->cdi, adjust, (const char *const *) names, !rehearsal, err);
                if (!rehearsal)
                        tell_devices(h, s, adjust, (const char *const *) names, r < 0 ? err : NULL, clock_monotonic() - began);
        }
        pthread_mutex_unlock(&h->lock);
        if (r < 0 || !rehearsal)
                return r;
        for (size_t i = 0; names && names[i]; i++)
                if (buf_printf(&asked, err, "%s%s", i ? ", " : "asked for: ", names[i]) < 0)
                        return -1;
        if (names) {
                step.matches = true;
                step.why = asked.data;
        }
        return tell_step(rehearsal, step, adjust->spec, err);
}

/* The CRI's pairs as ours; the caller's, their strings borrowed. */
static struct cringle_pair *pairs_of(Cri__Pair *const *pairs, size_t n)
{
        struct cringle_pair *list = calloc(n + 1, sizeof *list);

        for (size_t i = 0; list && i < n; i++)
                list[i] = (struct cringle_pair) { pairs[i]->key, pairs[i]->value };
        return list;
}

/* What the kubelet asks for by path or by CDI name. */
static int devices_of(const Cri__ContainerConfig *c, char ***ret, struct cringle_err *err)
{
        for (size_t i = 0; i < c->n_devices; i++)
                if (strv_add(ret, c->devices[i]->host_path, err) < 0)
                        return -1;
        return cdi_wanted(c, NULL, ret, err);
}

static const char *pair_value(const struct cringle_pair *list, const char *key)
{
        for (; list->key; list++)
                if (strcmp(list->key, key) == 0)
                        return list->value;

        return NULL;
}

/* Who stands behind a template's names. */
struct places {
        const struct hooks_subject *subject;
        const struct rule_subject *rule;
};

static const char *place_value(void *data, const char *name)
{
        const struct places *p = data;

        if (str_starts(name, "pod.labels."))
                return pair_value(p->rule->labels, name + strlen("pod.labels."));
        if (str_starts(name, "pod.annotations."))
                return pair_value(p->rule->annotations, name + strlen("pod.annotations."));
        return strcmp(name, "pod.name") == 0        ? p->rule->pod :
               strcmp(name, "pod.namespace") == 0   ? p->rule->space :
               strcmp(name, "pod.uid") == 0         ? p->subject->pod->metadata->uid :
               strcmp(name, "pod.id") == 0          ? p->subject->pod_id :
               strcmp(name, "container.name") == 0  ? p->rule->container :
               strcmp(name, "container.id") == 0    ? p->subject->container_id :
               strcmp(name, "container.image") == 0 ? p->rule->image :
                                                      p->rule->handler;
}

static int fill_list(char *const *list, const struct places *places, char ***ret, struct cringle_err *err)
{
        for (; list && *list; list++) {
                auto_buf text = BUF_INIT;

                if (template_fill(*list, place_value, (void *) places, &text, err) < 0 ||
                    strv_add(ret, text.data ? text.data : "", err) < 0)
                        return -1;
        }
        return 0;
}

/* rule_add_to() with places filled in. */
static int add_filled(const struct rule *r, const struct places *places, struct json_object *spec, int64_t timeout,
                      struct cringle_err *err)
{
        struct rule filled = *r;
        auto_strv args = NULL;
        auto_strv env = NULL;

        if (!r->has_places)
                return rule_add_to(r, spec, timeout, err);
        if (strv_add(&args, r->args[0], err) < 0 || fill_list(r->args + 1, places, &args, err) < 0 || fill_list(r->env, places, &env, err) < 0)
                return -1;
        filled.args = args;
        filled.env = env;
        return rule_add_to(&filled, spec, timeout, err);
}

/* Mounts of the node's files that the kubelet asked for; an image's are none. */
static bool has_bind_mounts(const Cri__ContainerConfig *c)
{
        for (size_t i = 0; i < c->n_mounts; i++)
                if (!str_empty(c->mounts[i]->host_path))
                        return true;

        return false;
}

static int tell_rule(struct rehearsal *rehearsal, const struct rule *r, const char *source, const struct rule_subject *s,
                     struct json_object *spec, struct cringle_err *err)
{
        struct hooks_step step = { .name = r->name, .source = source, .origin = r->origin, .matches = rule_matches(r, s) };
        auto_buf why = BUF_INIT;

        if (rule_explain(r, s, &why, err) < 0)
                return -1;
        step.why = why.data;
        return tell_step(rehearsal, step, spec, err);
}

/* That @r was added to the container: its calls come later, from the executor. */
static void tell_added(struct hooks *h, const struct rule *r, const char *source, const struct places *places)
{
        struct hooks_call call = { .source = source, .name = r->name, .origin = r->origin,
                                   .stage = points[CRINGLE_CONTAINER_CREATE], .result = "added" };
        auto_strv changes = NULL;
        auto_buf why = BUF_INIT;

        if (!atomic_load(&h->calls.traced) || rule_explain(r, places->rule, &why, NULL) < 0)
                return;
        for (enum stage stage = 0; stage < STAGES; stage++) {
                auto_free char *field = r->stages & (1u << stage) ? str_printf(NULL, "hooks.%s", stage_name(stage)) : NULL;

                if (field)
                        strv_add(&changes, field, NULL);
        }
        call.why = why.data;
        call.changes = changes;
        hooks_call_subject(&call, places->subject);
        calls_tell(&h->calls, &call);
}

static int add_matching(struct hooks *h, struct rules *rules, const char *source, const struct places *places,
                        struct json_object *spec, struct rehearsal *rehearsal, struct cringle_err *err)
{
        const struct rule_subject *s = places->rule;

        for (size_t i = 0; i < rules->n; i++) {
                struct rule *r = &rules->list[i];

                if (rule_matches(r, s)) {
                        if (add_filled(r, places, spec, h->timeout, err) < 0)
                                return -1;
                        r->matches += !rehearsal;
                        if (!rehearsal)
                                tell_added(h, r, source, places);
                }
                if (rehearsal && tell_rule(rehearsal, r, source, s, spec, err) < 0)
                        return -1;
        }
        return 0;
}

/* @rehearsal NULL: for real. */
static int run_pipeline(struct hooks *h, const struct hooks_subject *subject, struct json_object *spec,
                        struct rehearsal *rehearsal, const struct cringle_call *call, struct cringle_err *err)
{
        struct adjust adjust = ADJUST_INIT(spec, 0);
        auto_free struct cringle_pair *annotations = pairs_of(subject->pod->annotations, subject->pod->n_annotations);
        auto_free struct cringle_pair *labels = pairs_of(subject->pod->labels, subject->pod->n_labels);
        auto_strv args = NULL;
        auto_strv devices = NULL;
        struct places places = { .subject = subject };
        struct rule_subject s;
        int r;

        if (!annotations || !labels)
                return err_oom(err);
        if (devices_of(subject->container, &devices, err) < 0)
                return -1;
        pthread_mutex_lock(&h->lock);
        adjust.timeout = h->timeout;
        pthread_mutex_unlock(&h->lock);
        r = run_adjusting(h, subject, &adjust, rehearsal, call, err);
        adjust.source = "nri";
        if (r == 0 && h->next && !rehearsal)    /* a plugin elsewhere cannot be asked without meaning it */
                r = h->next->adjust(h->next->data, &adjust, subject, call, err);
        adjust.source = "cdi";
        if (r == 0)
                r = add_cdi_devices(h, subject, &adjust, rehearsal, err);
        if (r == 0 && rehearsal)
                r = tell_owners(rehearsal, &adjust, err);
        adjust_done(&adjust);
        if (r < 0)
                return -1;

        args = hooks_args(spec);
        s = (struct rule_subject) {
                .annotations = annotations,
                .command = args ? args[0] : NULL,
                .space = subject->pod->metadata->namespace_,
                .image = event_image(subject->container),
                .has_bind_mounts = has_bind_mounts(subject->container),
                .labels = labels,
                .pod = subject->pod->metadata->name,
                .container = subject->container->metadata->name,
                .handler = subject->handler ? subject->handler : "",
                .devices = (const char *const *) devices,
        };
        places.rule = &s;
        pthread_mutex_lock(&h->lock);
        look_at_dirs(h);
        r = add_matching(h, &h->files, "hooks.d", &places, spec, rehearsal, err) < 0 ||
            add_matching(h, &h->yaml, "yaml", &places, spec, rehearsal, err) < 0 ? -1 : 0;
        pthread_mutex_unlock(&h->lock);
        return r;
}

int hooks_adjust(struct hooks *h, const struct hooks_subject *subject, struct json_object *spec,
                 const struct cringle_call *call, struct cringle_err *err)
{
        return run_pipeline(h, subject, spec, NULL, call, err);
}

int hooks_explain(struct hooks *h, const struct hooks_subject *subject, struct json_object *spec,
                  const struct hooks_watcher *w, const struct cringle_call *call, struct cringle_err *err)
{
        struct rehearsal rehearsal = { .watcher = w };
        int r;

        if (json_object_deep_copy(spec, &rehearsal.told, NULL) < 0)
                return err_oom(err);
        r = run_pipeline(h, subject, spec, &rehearsal, call, err);
        json_object_put(rehearsal.told);
        return r;
}

/* Whoever lists hooks, told their counts as well. */
struct lister {
        struct hooks *h;
        void (*fn)(void *data, const struct hooks_info *info);
        void *data;
};

static void list_counted(void *data, const struct hooks_info *info)
{
        struct lister *l = data;
        struct hooks_info counted = *info;
        auto_free char *failure = NULL;

        calls_sum(&l->h->calls, &counted, &failure);
        l->fn(l->data, &counted);
}

static void list_rules(const struct hooks *h, const struct rules *rules, const char *source, struct lister *l)
{
        for (size_t i = 0; i < rules->n; i++) {
                const struct rule *r = &rules->list[i];
                auto_buf stages = BUF_INIT, conditions = BUF_INIT;
                struct hooks_info info = { .name = r->name, .source = source, .origin = r->origin, .error = r->error,
                                           .policy = r->ignore ? "ignore" : "fail", .isolation = "process",
                                           .timeout = (r->timeout ? r->timeout : h->timeout) * NSEC_PER_SEC,
                                           .matches = r->matches };

                for (enum stage s = 0; s < STAGES; s++)
                        if (r->stages & (1u << s))
                                buf_printf(&stages, NULL, "%s%s", stages.len ? "," : "", stage_name(s));
                rule_describe(r, &conditions, NULL);
                info.stages = stages.data ? stages.data : "";
                info.conditions = conditions.data ? conditions.data : "";
                list_counted(l, &info);
        }
}

static void list_native(struct hooks *h, struct lister *l)
{
        auto_of(host_hooks) native = host_hooks_hold(h->host);

        for (size_t i = 0; i < host_hooks_count(native); i++) {
                struct host_hook hook = host_hook(native, i);
                auto_buf at = BUF_INIT;
                struct hooks_info info = { .name = hook.name, .source = "plugin", .origin = hook.name,
                                           .policy = hook.fail ? "fail" : "ignore",
                                           .isolation = hook.isolated ? "process" : "agent", .timeout = hook.timeout,
                                           .conditions = "" };

                for (int p = 1; p < CRINGLE_POINTS; p++)
                        if (hook.ops->points & CRINGLE_AT(p))
                                buf_printf(&at, NULL, "%s%s", at.len ? "," : "", points[p]);
                info.stages = at.data ? at.data : "";
                list_counted(l, &info);
        }
}

static void list_cdi(const struct cdi *c, struct lister *l)
{
        for (size_t i = 0; i < c->n_files; i++) {
                const struct cdi_file *f = &c->files[i];

                if (f->error)
                        list_counted(l, &(struct hooks_info) { .name = strrchr(f->path, '/') + 1, .source = "cdi", .origin = f->path,
                                                               .stages = "", .policy = "fail", .conditions = "", .error = f->error });
        }
        for (size_t i = 0; i < c->n_devices; i++) {
                const struct cdi_device *d = &c->devices[i];

                if (!d->hidden)
                        list_counted(l, &(struct hooks_info) { .name = d->name, .source = "cdi", .origin = c->files[d->file].path,
                                                               .stages = points[CRINGLE_CONTAINER_CREATE], .policy = "fail",
                                                               .conditions = "requested", .error = d->error, .matches = d->matches });
        }
}

void hooks_list(struct hooks *h, void (*fn)(void *data, const struct hooks_info *info), void *data)
{
        struct lister l = { h, fn, data };

        list_native(h, &l);
        if (h->next)
                h->next->list(h->next->data, list_counted, &l);
        pthread_mutex_lock(&h->lock);
        look_at_dirs(h);
        look_at_cdi(h);
        list_cdi(&h->cdi, &l);
        list_rules(h, &h->files, "hooks.d", &l);
        list_rules(h, &h->yaml, "yaml", &l);
        pthread_mutex_unlock(&h->lock);
}
