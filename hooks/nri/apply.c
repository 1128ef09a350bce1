/*
 * NRI's adjustments; see apply.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "hooks/nri/apply.h"
#include "hooks/nri/convert.h"

struct apply {
        struct adjust *a;
        struct nri_owners *owners;
        struct json_object *process, *linux, *resources;        /* of the specification; borrowed */
};

void nri_owners_cut(struct nri_owners *owners, size_t n)
{
        for (size_t i = n; i < owners->n; i++)
                free(owners->list[i].key);
        owners->n = owners->n < n ? owners->n : n;
        if (n > 0)
                return;
        free(owners->list);
        owners->list = NULL;
}

static int note_owner(struct apply *x, Nri__Field field, const char *key, struct cringle_err *err)
{
        struct nri_owner *grown = realloc(x->owners->list, (x->owners->n + 1) * sizeof *grown);
        char *copy = key ? strdup(key) : NULL;

        if (grown)
                x->owners->list = grown;
        if (!grown || (key && !copy)) {
                free(copy);
                return err_oom(err);
        }
        grown[x->owners->n++] = (struct nri_owner) { field, copy, x->a->hook };
        return 0;
}

/* The field "@what @name"; @key is its entry in NRI's words, NULL where it has none. */
static int claim(struct apply *x, Nri__Field field, const char *what, const char *name, const char *key,
                 struct cringle_err *err)
{
        return adjust_own(x->a, what, name, err) < 0 ? -1 : note_owner(x, field, key, err);
}

static int claim_entry(struct apply *x, Nri__Field field, const char *what, const char *key, struct cringle_err *err)
{
        if (str_empty(key))
                return err_set(err, CRINGLE_E_INVALID, "%s without a name", what);
        return claim(x, field, what, key, key, err);
}

/* What "-KEY" removes; NULL: it is no removal. */
static const char *removed(const char *key)
{
        return key[0] == '-' ? key + 1 : NULL;
}

static int take(struct apply *x, Nri__Field field, const char *what, const char *key, struct cringle_err *err)
{
        if (str_empty(key))
                return err_set(err, CRINGLE_E_INVALID, "removal of a %s without a name", what);
        return adjust_take(x->a, what, key, err) < 0 ? -1 : note_owner(x, field, key, err);
}

/* The strings of a message as a list that ends in NULL; the array is the caller's, its strings borrowed. */
static const char **list_of(char **strings, size_t n)
{
        const char **list = nri_alloc((n + 1) * sizeof *list);

        for (size_t i = 0; i < n; i++)
                list[i] = strings[i];
        return list;
}

static int set_list(struct json_object *o, const char *name, char **strings, size_t n, struct cringle_err *err)
{
        auto_free const char **list = list_of(strings, n);

        return json_set_strv(o, name, list, err);
}

/* ---- what native hooks can do, too ----------------------------------------------------- */

static int apply_annotations(struct apply *x, const Nri__ContainerAdjustment *from, struct cringle_err *err)
{
        struct json_object *annotations = json_need_object(x->a->spec, "annotations", err);

        if (!annotations)
                return -1;
        for (size_t i = 0; i < from->n_annotations; i++) {
                const char *key = removed(from->annotations[i]->key);

                if (!key)
                        continue;
                if (take(x, NRI__FIELD__Annotations, "annotation", key, err) < 0)
                        return -1;
                json_object_object_del(annotations, key);
        }
        for (size_t i = 0; i < from->n_annotations; i++) {
                const Nri__Pair *p = from->annotations[i];

                if (!removed(p->key) && (claim_entry(x, NRI__FIELD__Annotations, "annotation", p->key, err) < 0 ||
                                         adjust_annotation(x->a, p->key, p->value, err) < 0))
                        return -1;
        }
        return 0;
}

static int apply_mounts(struct apply *x, const Nri__ContainerAdjustment *from, struct cringle_err *err)
{
        struct json_object *mounts = json_need_array(x->a->spec, "mounts", err);

        if (!mounts)
                return -1;
        for (size_t i = 0; i < from->n_mounts; i++) {
                const char *target = removed(from->mounts[i]->destination);

                if (!target)
                        continue;
                if (take(x, NRI__FIELD__Mounts, "mount", target, err) < 0)
                        return -1;
                adjust_drop_named(mounts, "destination", target);
        }
        for (size_t i = 0; i < from->n_mounts; i++) {
                const Nri__Mount *m = from->mounts[i];
                auto_json entry = json_object_new_object();
                auto_free const char **options = list_of(m->options, m->n_options);
                bool bind = strv_has(options, "bind") || strv_has(options, "rbind");

                if (removed(m->destination))
                        continue;
                if ((bind || strcmp(m->type, "bind") == 0) && !path_is_clean(m->source))
                        return err_set(err, CRINGLE_E_INVALID, "mount on '%.200s': source '%.200s' is no clean absolute path",
                                       m->destination, m->source);
                if (!entry)
                        return err_oom(err);
                if (json_set_string(entry, "destination", m->destination, err) < 0 ||
                    json_set_string(entry, "type", str_empty(m->type) ? "bind" : m->type, err) < 0 ||
                    json_set_string(entry, "source", m->source, err) < 0 ||
                    json_set_strv(entry, "options", options, err) < 0 ||
                    claim_entry(x, NRI__FIELD__Mounts, "mount", m->destination, err) < 0 ||
                    adjust_mount_entry(x->a, steal(&entry), err) < 0)
                        return -1;
        }
        return 0;
}

static int apply_env(struct apply *x, const Nri__ContainerAdjustment *from, struct cringle_err *err)
{
        struct json_object *env = json_need_array(x->process, "env", err);

        if (!env)
                return -1;
        for (size_t i = 0; i < from->n_env; i++) {
                const char *name = removed(from->env[i]->key);
                size_t len = name ? strlen(name) : 0;

                if (!name)
                        continue;
                if (take(x, NRI__FIELD__Env, "variable", name, err) < 0)
                        return -1;
                for (size_t k = json_object_array_length(env); k-- > 0;) {
                        const char *at = json_object_get_string(json_object_array_get_idx(env, k));

                        if (at && strncmp(at, name, len) == 0 && at[len] == '=')
                                json_object_array_del_idx(env, k, 1);
                }
        }
        for (size_t i = 0; i < from->n_env; i++) {
                const Nri__KeyValue *e = from->env[i];

                if (!removed(e->key) && (claim_entry(x, NRI__FIELD__Env, "variable", e->key, err) < 0 ||
                                         adjust_env(x->a, e->key, e->value, err) < 0))
                        return -1;
        }
        return 0;
}

static int apply_stage(struct apply *x, const char *stage, Nri__Hook **hooks, size_t n, struct cringle_err *err)
{
        for (size_t i = 0; i < n; i++) {
                const Nri__Hook *h = hooks[i];
                auto_free const char **args = list_of(h->args, h->n_args), **env = list_of(h->env, h->n_env);
                int64_t timeout = h->timeout ? h->timeout->value : 0;

                if (timeout < 0 || timeout > 24 * 3600)
                        return err_set(err, CRINGLE_E_INVALID, "OCI hook %.200s: a time limit of %lld s", h->path,
                                       (long long) timeout);
                if (adjust_oci_hook(x->a, stage, h->path, args, env, (int) timeout, err) < 0)
                        return -1;
        }
        return n ? note_owner(x, NRI__FIELD__OciHooks, NULL, err) : 0;
}

static int apply_hooks(struct apply *x, const Nri__Hooks *h, struct cringle_err *err)
{
        if (!h)
                return 0;
        if (apply_stage(x, "prestart", h->prestart, h->n_prestart, err) < 0 ||
            apply_stage(x, "createRuntime", h->create_runtime, h->n_create_runtime, err) < 0 ||
            apply_stage(x, "createContainer", h->create_container, h->n_create_container, err) < 0 ||
            apply_stage(x, "startContainer", h->start_container, h->n_start_container, err) < 0 ||
            apply_stage(x, "poststart", h->poststart, h->n_poststart, err) < 0)
                return -1;
        return apply_stage(x, "poststop", h->poststop, h->n_poststop, err);
}

static int apply_rlimits(struct apply *x, const Nri__ContainerAdjustment *from, struct cringle_err *err)
{
        for (size_t i = 0; i < from->n_rlimits; i++) {
                const Nri__POSIXRlimit *r = from->rlimits[i];

                if (claim_entry(x, NRI__FIELD__Rlimits, "rlimit", r->type, err) < 0 ||
                    adjust_rlimit(x->a, r->type, r->soft, r->hard, err) < 0)
                        return -1;
        }
        return 0;
}

/* An empty first argument: whoever set them before, these count. */
static int apply_args(struct apply *x, const Nri__ContainerAdjustment *from, struct cringle_err *err)
{
        auto_free const char **args = NULL;
        size_t skip;

        if (from->n_args == 0)
                return 0;
        skip = str_empty(from->args[0]);
        args = list_of(from->args + skip, from->n_args - skip);
        if (skip && adjust_take(x->a, "process", "arguments", err) < 0)
                return -1;
        if (claim(x, NRI__FIELD__Args, "process", "arguments", NULL, err) < 0)
                return -1;
        return adjust_args(x->a, args, err);
}

/* ---- devices ------------------------------------------------------------------------------ */

static int add_node(struct apply *x, struct json_object *devices, const Nri__LinuxDevice *d, struct cringle_err *err)
{
        auto_json node = json_object_new_object();

        if (!node)
                return err_oom(err);
        if (json_set_string(node, "path", d->path, err) < 0 || json_set_string(node, "type", d->type, err) < 0 ||
            json_set_int(node, "major", d->major, err) < 0 || json_set_int(node, "minor", d->minor, err) < 0)
                return -1;
        if ((d->file_mode && json_set_int(node, "fileMode", d->file_mode->value & 07777, err) < 0) ||
            (d->uid && json_set_int(node, "uid", d->uid->value, err) < 0) ||
            (d->gid && json_set_int(node, "gid", d->gid->value, err) < 0))
                return -1;
        adjust_drop_named(devices, "path", d->path);
        return json_add(devices, steal(&node), err);
}

static int allow_device(struct apply *x, const Nri__LinuxDevice *d, struct cringle_err *err)
{
        struct json_object *rules = json_need_array(x->resources, "devices", err);
        auto_json rule = json_object_new_object();

        if (!rules)
                return -1;
        if (!rule)
                return err_oom(err);
        if (json_set_bool(rule, "allow", true, err) < 0 || json_set_string(rule, "type", d->type, err) < 0 ||
            json_set_int(rule, "major", d->major, err) < 0 || json_set_int(rule, "minor", d->minor, err) < 0 ||
            json_set_string(rule, "access", "rwm", err) < 0)
                return -1;
        return json_add(rules, steal(&rule), err);
}

static int apply_devices(struct apply *x, const Nri__LinuxContainerAdjustment *from, struct cringle_err *err)
{
        struct json_object *devices = json_need_array(x->linux, "devices", err);

        if (!devices)
                return -1;
        for (size_t i = 0; i < from->n_devices; i++) {
                const char *path = removed(from->devices[i]->path);

                if (!path)
                        continue;
                if (take(x, NRI__FIELD__Devices, "device", path, err) < 0)
                        return -1;
                adjust_drop_named(devices, "path", path);
        }
        for (size_t i = 0; i < from->n_devices; i++) {
                const Nri__LinuxDevice *d = from->devices[i];

                if (removed(d->path))
                        continue;
                if (!path_is_clean(d->path) || strlen(d->type) != 1 || !strchr("cbup", d->type[0]))
                        return err_set(err, CRINGLE_E_INVALID, "device '%.200s' of type '%.8s': want a clean absolute path, "
                                       "and c, b, u or p", d->path, d->type);
                if (d->major < 0 || d->major > INT32_MAX || d->minor < 0 || d->minor > INT32_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "device %.200s: number out of range", d->path);
                if (claim_entry(x, NRI__FIELD__Devices, "device", d->path, err) < 0 || add_node(x, devices, d, err) < 0)
                        return -1;
                if (d->type[0] != 'p' && allow_device(x, d, err) < 0)
                        return -1;
        }
        return 0;
}

/* ---- resources ---------------------------------------------------------------------------- */

/* One number among the resources: "memory limit". */
static int set_number(struct apply *x, Nri__Field field, const char *part, const char *name, int64_t value,
                      struct cringle_err *err)
{
        struct json_object *o = json_need_object(x->resources, part, err);

        return !o || claim(x, field, part, name, NULL, err) < 0 ? -1 : json_set_int(o, name, value, err);
}

static int set_big_number(struct apply *x, Nri__Field field, const char *part, const char *name, uint64_t value,
                          struct cringle_err *err)
{
        if (value > INT64_MAX)
                return err_set(err, CRINGLE_E_RANGE, "%s %s: %llu is too large", part, name, (unsigned long long) value);
        return set_number(x, field, part, name, (int64_t) value, err);
}

static int set_set(struct apply *x, Nri__Field field, const char *name, const char *value, struct cringle_err *err)
{
        struct json_object *o = json_need_object(x->resources, "cpu", err);

        return !o || claim(x, field, "cpu", name, NULL, err) < 0 ? -1 : json_set_string(o, name, value, err);
}

/* Cgroup drivers have no word for these; better none than one that nobody notices is not in force. */
static int refuse_limit(const char *name, struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "%s: no limit that can be set", name);
}

static int check_memory(const Nri__LinuxMemory *m, struct cringle_err *err)
{
        if (m->reservation)
                return refuse_limit("memory reservation", err);
        if (m->kernel)
                return refuse_limit("memory kernel", err);
        if (m->kernel_tcp)
                return refuse_limit("memory kernel_tcp", err);
        if (m->swappiness)
                return refuse_limit("memory swappiness", err);
        if (m->disable_oom_killer && m->disable_oom_killer->value)
                return refuse_limit("memory disable_oom_killer", err);
        return m->use_hierarchy && !m->use_hierarchy->value ? refuse_limit("memory use_hierarchy", err) : 0;
}

static int apply_memory(struct apply *x, const Nri__LinuxMemory *m, struct cringle_err *err)
{
        if (!m)
                return 0;
        if (check_memory(m, err) < 0)
                return -1;
        if (m->limit && set_number(x, NRI__FIELD__MemLimit, "memory", "limit", m->limit->value, err) < 0)
                return -1;
        return m->swap ? set_number(x, NRI__FIELD__MemSwapLimit, "memory", "swap", m->swap->value, err) : 0;
}

static int apply_cpu(struct apply *x, const Nri__LinuxCPU *c, struct cringle_err *err)
{
        if (!c)
                return 0;
        if (c->realtime_runtime || c->realtime_period)
                return refuse_limit(c->realtime_runtime ? "cpu realtime_runtime" : "cpu realtime_period", err);
        if ((c->shares && set_big_number(x, NRI__FIELD__CPUShares, "cpu", "shares", c->shares->value, err) < 0) ||
            (c->quota && set_number(x, NRI__FIELD__CPUQuota, "cpu", "quota", c->quota->value, err) < 0) ||
            (c->period && set_big_number(x, NRI__FIELD__CPUPeriod, "cpu", "period", c->period->value, err) < 0))
                return -1;
        if ((!str_empty(c->cpus) && set_set(x, NRI__FIELD__CPUSetCPUs, "cpus", c->cpus, err) < 0) ||
            (!str_empty(c->mems) && set_set(x, NRI__FIELD__CPUSetMems, "mems", c->mems, err) < 0))
                return -1;
        return 0;
}

static int apply_hugepages(struct apply *x, const Nri__LinuxResources *r, struct cringle_err *err)
{
        struct json_object *limits;

        if (r->n_hugepage_limits == 0)
                return 0;
        limits = json_need_array(x->resources, "hugepageLimits", err);
        for (size_t i = 0; limits && i < r->n_hugepage_limits; i++) {
                const Nri__HugepageLimit *h = r->hugepage_limits[i];
                auto_json l = json_object_new_object();

                if (!l)
                        return err_oom(err);
                if (h->limit > INT64_MAX)
                        return err_set(err, CRINGLE_E_RANGE, "huge pages of %.32s: too many", h->page_size);
                if (claim_entry(x, NRI__FIELD__HugepageLimits, "hugepage", h->page_size, err) < 0 ||
                    json_set_string(l, "pageSize", h->page_size, err) < 0 ||
                    json_set_int(l, "limit", (int64_t) h->limit, err) < 0)
                        return -1;
                adjust_drop_named(limits, "pageSize", h->page_size);
                if (json_add(limits, steal(&l), err) < 0)
                        return -1;
        }
        return limits ? 0 : -1;
}

/* A class is a control group of that name, which has to be there. */
static int apply_rdt_class(struct apply *x, const Nri__OptionalString *class, struct cringle_err *err)
{
        struct json_object *o;

        if (!class || str_empty(class->value))
                return 0;
        if (claim(x, NRI__FIELD__RdtClass, "RDT", "closID", NULL, err) < 0)
                return -1;
        o = json_need_object(x->linux, "intelRdt", err);
        return o ? json_set_string(o, "closID", class->value, err) : -1;
}

static int apply_resources(struct apply *x, const Nri__LinuxResources *r, struct cringle_err *err)
{
        if (!r)
                return 0;
        if (r->blockio_class && !str_empty(r->blockio_class->value))
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "blockio_class '%.64s': this node has no classes of block I/O",
                               r->blockio_class->value);
        if (apply_rdt_class(x, r->rdt_class, err) < 0)
                return -1;
        if (apply_memory(x, r->memory, err) < 0 || apply_cpu(x, r->cpu, err) < 0 || apply_hugepages(x, r, err) < 0)
                return -1;
        if (r->pids && set_number(x, NRI__FIELD__PidsLimit, "pids", "limit", r->pids->limit, err) < 0)
                return -1;
        for (size_t i = 0; i < r->n_unified; i++) {
                struct json_object *unified = json_need_object(x->resources, "unified", err);

                if (!unified || claim_entry(x, NRI__FIELD__CgroupsUnified, "unified", r->unified[i]->key, err) < 0 ||
                    json_set_string(unified, r->unified[i]->key, r->unified[i]->value, err) < 0)
                        return -1;
        }
        return 0;
}

/* ---- the rest of Linux ------------------------------------------------------------------------ */

/* The name of a number in NRI, which is also OCI's; NULL: no such number. */
static const char *enum_name(const ProtobufCEnumDescriptor *of, int value)
{
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(of, value);

        return v ? v->name : NULL;
}

static int set_enum(struct json_object *o, const char *name, const ProtobufCEnumDescriptor *of, int value,
                    struct cringle_err *err)
{
        const char *text = enum_name(of, value);

        if (!text)
                return err_set(err, CRINGLE_E_INVALID, "%s: there is no number %d", name, value);
        return json_set_string(o, name, text, err);
}

static int set_enums(struct json_object *o, const char *name, const ProtobufCEnumDescriptor *of, const int *values,
                     size_t n, struct cringle_err *err)
{
        struct json_object *list = n ? json_need_array(o, name, err) : NULL;

        for (size_t i = 0; list && i < n; i++) {
                const char *text = enum_name(of, values[i]);

                if (!text)
                        return err_set(err, CRINGLE_E_INVALID, "%s: there is no number %d", name, values[i]);
                if (json_add_string(list, text, err) < 0)
                        return -1;
        }
        return n && !list ? -1 : 0;
}

static int apply_priority(struct apply *x, const Nri__LinuxIOPriority *p, struct cringle_err *err)
{
        auto_json o = json_object_new_object();

        if (!p)
                return 0;
        if (!o)
                return err_oom(err);
        if (claim(x, NRI__FIELD__IoPriority, "process", "I/O priority", NULL, err) < 0)
                return -1;
        if (p->class_ == NRI__IOPRIO_CLASS__IOPRIO_CLASS_NONE) {
                json_object_object_del(x->process, "ioPriority");
                return 0;
        }
        if (set_enum(o, "class", &nri__ioprio_class__descriptor, (int) p->class_, err) < 0 ||
            json_set_int(o, "priority", p->priority, err) < 0)
                return -1;
        return json_set(x->process, "ioPriority", steal(&o), err);
}

static int apply_scheduler(struct apply *x, const Nri__LinuxScheduler *s, struct cringle_err *err)
{
        auto_json o = json_object_new_object();

        if (!s)
                return 0;
        if (!o)
                return err_oom(err);
        if (claim(x, NRI__FIELD__LinuxSched, "process", "scheduler", NULL, err) < 0)
                return -1;
        if (s->policy == NRI__LINUX_SCHEDULER_POLICY__SCHED_NONE) {
                json_object_object_del(x->process, "scheduler");
                return 0;
        }
        if (set_enum(o, "policy", &nri__linux_scheduler_policy__descriptor, (int) s->policy, err) < 0 ||
            json_set_int(o, "nice", s->nice, err) < 0 || json_set_int(o, "priority", s->priority, err) < 0 ||
            set_enums(o, "flags", &nri__linux_scheduler_flag__descriptor, (const int *) s->flags, s->n_flags, err) < 0 ||
            json_set(o, "runtime", json_object_new_uint64(s->runtime), err) < 0 ||
            json_set(o, "deadline", json_object_new_uint64(s->deadline), err) < 0 ||
            json_set(o, "period", json_object_new_uint64(s->period), err) < 0)
                return -1;
        return json_set(x->process, "scheduler", steal(&o), err);
}

static int add_syscall(struct json_object *list, const Nri__LinuxSyscall *s, struct cringle_err *err)
{
        auto_json o = json_object_new_object();

        if (!o)
                return err_oom(err);
        if (set_list(o, "names", s->names, s->n_names, err) < 0 || json_set_string(o, "action", s->action, err) < 0 ||
            (s->errno_ret && json_set_int(o, "errnoRet", s->errno_ret->value, err) < 0))
                return -1;
        for (size_t i = 0; i < s->n_args; i++) {
                struct json_object *args = json_need_array(o, "args", err);
                auto_json arg = json_object_new_object();

                if (!args)
                        return -1;
                if (!arg)
                        return err_oom(err);
                if (json_set_int(arg, "index", s->args[i]->index, err) < 0 ||
                    json_set(arg, "value", json_object_new_uint64(s->args[i]->value), err) < 0 ||
                    json_set(arg, "valueTwo", json_object_new_uint64(s->args[i]->value_two), err) < 0 ||
                    json_set_string(arg, "op", s->args[i]->op, err) < 0 || json_add(args, steal(&arg), err) < 0)
                        return -1;
        }
        return json_add(list, steal(&o), err);
}

static int apply_seccomp(struct apply *x, const Nri__LinuxSeccomp *s, struct cringle_err *err)
{
        auto_json o = json_object_new_object();
        struct json_object *calls;

        if (!s)
                return 0;
        if (!o)
                return err_oom(err);
        if (claim(x, NRI__FIELD__SeccompPolicy, "seccomp", "policy", NULL, err) < 0 ||
            json_set_string(o, "defaultAction", s->default_action, err) < 0 ||
            (s->default_errno && json_set_int(o, "defaultErrnoRet", s->default_errno->value, err) < 0) ||
            (s->n_architectures && set_list(o, "architectures", s->architectures, s->n_architectures, err) < 0) ||
            (s->n_flags && set_list(o, "flags", s->flags, s->n_flags, err) < 0) ||
            (!str_empty(s->listener_path) && json_set_string(o, "listenerPath", s->listener_path, err) < 0) ||
            (!str_empty(s->listener_metadata) && json_set_string(o, "listenerMetadata", s->listener_metadata, err) < 0))
                return -1;
        calls = s->n_syscalls ? json_need_array(o, "syscalls", err) : NULL;
        if (s->n_syscalls && !calls)
                return -1;
        for (size_t i = 0; i < s->n_syscalls; i++)
                if (add_syscall(calls, s->syscalls[i], err) < 0)
                        return -1;
        return json_set(x->linux, "seccomp", steal(&o), err);
}

static int apply_namespaces(struct apply *x, const Nri__LinuxContainerAdjustment *from, struct cringle_err *err)
{
        struct json_object *list = json_need_array(x->linux, "namespaces", err);

        if (!list)
                return -1;
        for (size_t i = 0; i < from->n_namespaces; i++) {
                const Nri__LinuxNamespace *ns = from->namespaces[i];
                const char *gone = removed(ns->type);
                auto_json o = json_object_new_object();

                if (!o)
                        return err_oom(err);
                if (claim_entry(x, NRI__FIELD__Namespace, "namespace", gone ? gone : ns->type, err) < 0)
                        return -1;
                adjust_drop_named(list, "type", gone ? gone : ns->type);
                if (gone)
                        continue;
                if (json_set_string(o, "type", ns->type, err) < 0 ||
                    (!str_empty(ns->path) && json_set_string(o, "path", ns->path, err) < 0) ||
                    json_add(list, steal(&o), err) < 0)
                        return -1;
        }
        return 0;
}

static int apply_sysctls(struct apply *x, const Nri__LinuxContainerAdjustment *from, struct cringle_err *err)
{
        struct json_object *sysctls;

        if (from->n_sysctl == 0)
                return 0;
        sysctls = json_need_object(x->linux, "sysctl", err);
        if (!sysctls)
                return -1;
        for (size_t i = 0; i < from->n_sysctl; i++) {
                const char *key = removed(from->sysctl[i]->key);

                if (!key)
                        continue;
                if (take(x, NRI__FIELD__Sysctl, "sysctl", key, err) < 0)
                        return -1;
                json_object_object_del(sysctls, key);
        }
        for (size_t i = 0; i < from->n_sysctl; i++) {
                const Nri__Pair *p = from->sysctl[i];

                if (!removed(p->key) && (claim_entry(x, NRI__FIELD__Sysctl, "sysctl", p->key, err) < 0 ||
                                         json_set_string(sysctls, p->key, p->value, err) < 0))
                        return -1;
        }
        return 0;
}

static int apply_net_devices(struct apply *x, const Nri__LinuxContainerAdjustment *from, struct cringle_err *err)
{
        struct json_object *devices = from->n_net_devices ? json_need_object(x->linux, "netDevices", err) : NULL;

        if (from->n_net_devices && !devices)
                return -1;
        for (size_t i = 0; i < from->n_net_devices; i++) {
                const Nri__NetDevicePair *p = from->net_devices[i];
                const char *gone = removed(p->key);
                struct json_object *o;

                if (gone) {
                        if (take(x, NRI__FIELD__LinuxNetDevices, "net device", gone, err) < 0)
                                return -1;
                        json_object_object_del(devices, gone);
                        continue;
                }
                if (claim_entry(x, NRI__FIELD__LinuxNetDevices, "net device", p->key, err) < 0)
                        return -1;
                o = json_need_object(devices, p->key, err);
                if (!o || (p->value && !str_empty(p->value->name) && json_set_string(o, "name", p->value->name, err) < 0))
                        return -1;
        }
        return 0;
}

static int apply_rdt(struct apply *x, const Nri__LinuxRdt *r, struct cringle_err *err)
{
        struct json_object *o;

        if (!r)
                return 0;
        if (r->remove) {
                if (adjust_take(x->a, "RDT", "closID", err) < 0 || adjust_take(x->a, "RDT", "schemata", err) < 0 ||
                    adjust_take(x->a, "RDT", "monitoring", err) < 0)
                        return -1;
                json_object_object_del(x->linux, "intelRdt");
        }
        if (!r->clos_id && !r->schemata && !r->enable_monitoring)
                return 0;
        o = json_need_object(x->linux, "intelRdt", err);
        if (!o)
                return -1;
        if (r->clos_id && (claim(x, NRI__FIELD__RdtClosID, "RDT", "closID", NULL, err) < 0 ||
                           json_set_string(o, "closID", r->clos_id->value, err) < 0))
                return -1;
        if (r->schemata && (claim(x, NRI__FIELD__RdtSchemata, "RDT", "schemata", NULL, err) < 0 ||
                            set_list(o, "schemata", r->schemata->value, r->schemata->n_value, err) < 0))
                return -1;
        if (r->enable_monitoring && (claim(x, NRI__FIELD__RdtEnableMonitoring, "RDT", "monitoring", NULL, err) < 0 ||
                                     json_set_bool(o, "enableMonitoring", r->enable_monitoring->value, err) < 0))
                return -1;
        return 0;
}

static int apply_memory_policy(struct apply *x, const Nri__LinuxMemoryPolicy *p, struct cringle_err *err)
{
        auto_json o = json_object_new_object();

        if (!p)
                return 0;
        if (!o)
                return err_oom(err);
        if (claim(x, NRI__FIELD__MemoryPolicy, "memory", "policy", NULL, err) < 0 ||
            set_enum(o, "mode", &nri__mpol_mode__descriptor, (int) p->mode, err) < 0 ||
            json_set_string(o, "nodes", p->nodes, err) < 0 ||
            set_enums(o, "flags", &nri__mpol_flag__descriptor, (const int *) p->flags, p->n_flags, err) < 0)
                return -1;
        return json_set(x->linux, "memoryPolicy", steal(&o), err);
}

static int apply_linux(struct apply *x, const Nri__LinuxContainerAdjustment *l, struct cringle_err *err)
{
        if (!l)
                return 0;
        if (!str_empty(l->cgroups_path))
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "cgroups_path '%.200s': containers stay in the cgroup of their pod",
                               l->cgroups_path);
        if (l->oom_score_adj && (claim(x, NRI__FIELD__OomScoreAdj, "process", "oomScoreAdj", NULL, err) < 0 ||
                                 json_set_int(x->process, "oomScoreAdj", l->oom_score_adj->value, err) < 0))
                return -1;
        if (apply_devices(x, l, err) < 0 || apply_resources(x, l->resources, err) < 0 ||
            apply_priority(x, l->io_priority, err) < 0 || apply_seccomp(x, l->seccomp_policy, err) < 0 ||
            apply_namespaces(x, l, err) < 0 || apply_sysctls(x, l, err) < 0 || apply_net_devices(x, l, err) < 0)
                return -1;
        if (apply_scheduler(x, l->scheduler, err) < 0 || apply_rdt(x, l->rdt, err) < 0)
                return -1;
        return apply_memory_policy(x, l->memory_policy, err);
}

int nri_apply(struct adjust *a, const Nri__ContainerAdjustment *from, struct nri_owners *owners, struct cringle_err *err)
{
        struct apply x = { .a = a, .owners = owners };

        x.process = json_need_object(a->spec, "process", err);
        x.linux = json_need_object(a->spec, "linux", err);
        x.resources = x.linux ? json_need_object(x.linux, "resources", err) : NULL;
        if (!x.process || !x.resources)
                return -1;
        for (size_t i = 0; i < from->n_cdi_devices; i++)
                if (adjust_cdi_device(a, from->cdi_devices[i]->name, err) < 0 ||
                    note_owner(&x, NRI__FIELD__CdiDevices, from->cdi_devices[i]->name, err) < 0)
                        return -1;
        if (apply_annotations(&x, from, err) < 0 || apply_mounts(&x, from, err) < 0 || apply_env(&x, from, err) < 0 ||
            apply_hooks(&x, from->hooks, err) < 0 || apply_rlimits(&x, from, err) < 0 || apply_args(&x, from, err) < 0)
                return -1;
        return apply_linux(&x, from->linux, err);
}

/* ---- owners, for validators --------------------------------------------------------------------- */

static Nri__CompoundFieldOwners *compound_of(Nri__FieldOwners *f, int field)
{
        Nri__CompoundFieldOwner *c;

        for (size_t i = 0; i < f->n_compound; i++)
                if (f->compound[i]->key == field)
                        return f->compound[i]->value;
        c = NRI_NEW(Nri__CompoundFieldOwner, NRI__COMPOUND_FIELD_OWNER__INIT);
        c->key = field;
        c->value = NRI_NEW(Nri__CompoundFieldOwners, NRI__COMPOUND_FIELD_OWNERS__INIT);
        nri_add(&f->compound, &f->n_compound, c);
        return c->value;
}

static void set_simple(Nri__FieldOwners *f, int field, const char *plugin)
{
        Nri__FieldOwner *s;

        for (size_t i = 0; i < f->n_simple; i++)
                if (f->simple[i]->key == field) {
                        free(f->simple[i]->value);
                        f->simple[i]->value = nri_text(plugin);
                        return;
                }
        s = NRI_NEW(Nri__FieldOwner, NRI__FIELD_OWNER__INIT);
        s->key = field;
        s->value = nri_text(plugin);
        nri_add(&f->simple, &f->n_simple, s);
}

Nri__OwningPlugins *nri_owners_message(const struct nri_owners *owners, const char *container)
{
        Nri__OwningPlugins *all = NRI_NEW(Nri__OwningPlugins, NRI__OWNING_PLUGINS__INIT);
        Nri__ContainerOwners *its = NRI_NEW(Nri__ContainerOwners, NRI__CONTAINER_OWNERS__INIT);

        its->key = nri_text(container);
        its->value = NRI_NEW(Nri__FieldOwners, NRI__FIELD_OWNERS__INIT);
        nri_add(&all->owners, &all->n_owners, its);
        for (size_t i = 0; i < owners->n; i++) {
                const struct nri_owner *o = &owners->list[i];

                if (o->key) {
                        Nri__CompoundFieldOwners *c = compound_of(its->value, (int) o->field);

                        nri_add_pair(&c->owners, &c->n_owners, o->key, o->plugin);
                } else {
                        set_simple(its->value, (int) o->field, o->plugin);
                }
        }
        return all;
}
