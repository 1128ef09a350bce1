/*
 * NRI's messages from ours; see convert.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "hooks/event.h"
#include "hooks/nri/convert.h"

#define SPEC_MAX (16 << 20)

void *nri_alloc(size_t size)
{
        void *p = calloc(1, size);

        if (!p)
                abort();
        return p;
}

/* The bytes of the character at @s; 0: it is none. */
static size_t utf8_length(const unsigned char *s)
{
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
        uint32_t c = s[0] & (n == 2 ? 0x1f : n == 3 ? 0x0f : 0x07);

        if (n <= 1)
                return n;
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

char *nri_text(const char *s)
{
        char *copy = strdup(s ? s : "");

        if (!copy)
                abort();
        for (unsigned char *at = (unsigned char *) copy; *at;) {
                size_t n = utf8_length(at);

                if (n == 0)
                        *at = '?';
                at += n ? n : 1;
        }
        return copy;
}

void nri_add(void *list, size_t *n, void *item)
{
        void **old, **grown;

        memcpy(&old, list, sizeof old);
        grown = realloc(old, (*n + 1) * sizeof *grown);
        if (!grown)
                abort();
        grown[(*n)++] = item;
        memcpy(list, &grown, sizeof grown);
}

void nri_add_pair(Nri__Pair ***list, size_t *n, const char *key, const char *value)
{
        Nri__Pair *p;

        for (size_t i = 0; i < *n; i++)
                if (strcmp((*list)[i]->key, key) == 0) {
                        free((*list)[i]->value);
                        (*list)[i]->value = nri_text(value);
                        return;
                }
        p = NRI_NEW(Nri__Pair, NRI__PAIR__INIT);
        p->key = nri_text(key);
        p->value = nri_text(value);
        nri_add(list, n, p);
}

static void add_pairs(Nri__Pair ***list, size_t *n, Cri__Pair *const *from, size_t n_from)
{
        for (size_t i = 0; i < n_from; i++)
                nri_add_pair(list, n, from[i]->key, from[i]->value);
}

#define OPTION(type, init, number) ({ type *option_ = NRI_NEW(type, init); option_->value = (number); option_; })

#define INT64(number) OPTION(Nri__OptionalInt64, NRI__OPTIONAL_INT64__INIT, number)
#define UINT64(number) OPTION(Nri__OptionalUInt64, NRI__OPTIONAL_UINT64__INIT, number)

static const char *string_in(struct json_object *o, const char *name)
{
        const char *s = "";

        json_get_string(o, name, &s, NULL);
        return s;
}

static bool int_in(struct json_object *o, const char *name, int64_t *ret)
{
        return json_get_int(o, name, ret, NULL) == 1;
}

static struct json_object *array_in(struct json_object *o, const char *name, size_t *n)
{
        struct json_object *array = NULL;

        *n = 0;
        if (o && json_get_array(o, name, &array, NULL) == 1)
                *n = json_object_array_length(array);
        return array;
}

static struct json_object *object_in(struct json_object *o, const char *name)
{
        struct json_object *found = NULL;

        return o && json_get_object(o, name, &found, NULL) == 1 ? found : NULL;
}

static void add_strings(char ***list, size_t *n, struct json_object *o, const char *name)
{
        size_t count;
        struct json_object *array = array_in(o, name, &count);

        for (size_t i = 0; i < count; i++)
                nri_add(list, n, nri_text(json_object_get_string(json_object_array_get_idx(array, i))));
}

static void add_members(Nri__Pair ***list, size_t *n, struct json_object *o)
{
        if (!o)
                return;
        json_object_object_foreach(o, key, value) {
                nri_add_pair(list, n, key, json_object_get_string(value));
        }
}

/* ---- resources ----------------------------------------------------------------- */

static Nri__LinuxMemory *memory_of(struct json_object *o)
{
        Nri__LinuxMemory *m = NRI_NEW(Nri__LinuxMemory, NRI__LINUX_MEMORY__INIT);
        int64_t value;

        if (int_in(o, "limit", &value))
                m->limit = INT64(value);
        if (int_in(o, "reservation", &value))
                m->reservation = INT64(value);
        if (int_in(o, "swap", &value))
                m->swap = INT64(value);
        if (int_in(o, "swappiness", &value))
                m->swappiness = UINT64((uint64_t) value);
        return m;
}

static Nri__LinuxCPU *cpu_of(struct json_object *o)
{
        Nri__LinuxCPU *c = NRI_NEW(Nri__LinuxCPU, NRI__LINUX_CPU__INIT);
        int64_t value;

        if (int_in(o, "shares", &value))
                c->shares = UINT64((uint64_t) value);
        if (int_in(o, "quota", &value))
                c->quota = INT64(value);
        if (int_in(o, "period", &value))
                c->period = UINT64((uint64_t) value);
        if (int_in(o, "realtimeRuntime", &value))
                c->realtime_runtime = INT64(value);
        if (int_in(o, "realtimePeriod", &value))
                c->realtime_period = UINT64((uint64_t) value);
        c->cpus = nri_text(string_in(o, "cpus"));
        c->mems = nri_text(string_in(o, "mems"));
        return c;
}

static Nri__LinuxDeviceCgroup *rule_of(struct json_object *o)
{
        Nri__LinuxDeviceCgroup *d = NRI_NEW(Nri__LinuxDeviceCgroup, NRI__LINUX_DEVICE_CGROUP__INIT);
        bool allow = false;
        int64_t value;

        json_get_bool(o, "allow", &allow, NULL);
        d->allow = allow;
        d->type = nri_text(string_in(o, "type"));
        d->access = nri_text(string_in(o, "access"));
        if (int_in(o, "major", &value))
                d->major = INT64(value);
        if (int_in(o, "minor", &value))
                d->minor = INT64(value);
        return d;
}

static Nri__LinuxResources *resources_of(struct json_object *o)
{
        Nri__LinuxResources *r = NRI_NEW(Nri__LinuxResources, NRI__LINUX_RESOURCES__INIT);
        struct json_object *part, *array;
        int64_t value;
        size_t n;

        part = object_in(o, "memory");
        if (part)
                r->memory = memory_of(part);
        part = object_in(o, "cpu");
        if (part)
                r->cpu = cpu_of(part);
        array = array_in(o, "hugepageLimits", &n);
        for (size_t i = 0; i < n; i++) {
                Nri__HugepageLimit *h = NRI_NEW(Nri__HugepageLimit, NRI__HUGEPAGE_LIMIT__INIT);

                part = json_object_array_get_idx(array, i);
                h->page_size = nri_text(string_in(part, "pageSize"));
                if (int_in(part, "limit", &value))
                        h->limit = (uint64_t) value;
                nri_add(&r->hugepage_limits, &r->n_hugepage_limits, h);
        }
        add_members(&r->unified, &r->n_unified, object_in(o, "unified"));
        array = array_in(o, "devices", &n);
        for (size_t i = 0; i < n; i++)
                nri_add(&r->devices, &r->n_devices, rule_of(json_object_array_get_idx(array, i)));
        part = object_in(o, "pids");
        if (part && int_in(part, "limit", &value)) {
                r->pids = NRI_NEW(Nri__LinuxPids, NRI__LINUX_PIDS__INIT);
                r->pids->limit = value;
        }
        return r;
}

Nri__LinuxResources *nri_resources_of(const Cri__LinuxContainerResources *from)
{
        Nri__LinuxResources *r = NRI_NEW(Nri__LinuxResources, NRI__LINUX_RESOURCES__INIT);

        r->memory = NRI_NEW(Nri__LinuxMemory, NRI__LINUX_MEMORY__INIT);
        r->cpu = NRI_NEW(Nri__LinuxCPU, NRI__LINUX_CPU__INIT);
        if (from->memory_limit_in_bytes)
                r->memory->limit = INT64(from->memory_limit_in_bytes);
        if (from->memory_swap_limit_in_bytes)
                r->memory->swap = INT64(from->memory_swap_limit_in_bytes);
        if (from->cpu_shares)
                r->cpu->shares = UINT64((uint64_t) from->cpu_shares);
        if (from->cpu_quota)
                r->cpu->quota = INT64(from->cpu_quota);
        if (from->cpu_period)
                r->cpu->period = UINT64((uint64_t) from->cpu_period);
        r->cpu->cpus = nri_text(from->cpuset_cpus);
        r->cpu->mems = nri_text(from->cpuset_mems);
        for (size_t i = 0; i < from->n_hugepage_limits; i++) {
                Nri__HugepageLimit *h = NRI_NEW(Nri__HugepageLimit, NRI__HUGEPAGE_LIMIT__INIT);

                h->page_size = nri_text(from->hugepage_limits[i]->page_size);
                h->limit = from->hugepage_limits[i]->limit;
                nri_add(&r->hugepage_limits, &r->n_hugepage_limits, h);
        }
        add_pairs(&r->unified, &r->n_unified, from->unified, from->n_unified);
        return r;
}

/* ---- pods ------------------------------------------------------------------------ */

/* The namespaces that the pod has of its own. */
static void add_pins(Nri__LinuxPodSandbox *linux, const char *run_dir)
{
        static const char *const names[][2] = {
                { "net", "network" }, { "ipc", "ipc" }, { "uts", "uts" }, { "pid", "pid" },
        };

        for (size_t i = 0; run_dir && i < sizeof names / sizeof names[0]; i++) {
                auto_free char *path = str_printf(NULL, "%s/ns/%s", run_dir, names[i][0]);
                Nri__LinuxNamespace *ns;

                if (!path || !file_exists(path))
                        continue;
                ns = NRI_NEW(Nri__LinuxNamespace, NRI__LINUX_NAMESPACE__INIT);
                ns->type = nri_text(names[i][1]);
                ns->path = nri_text(path);
                nri_add(&linux->namespaces, &linux->n_namespaces, ns);
        }
}

Nri__PodSandbox *nri_pod_of(const struct hooks_subject *s)
{
        Nri__PodSandbox *p = NRI_NEW(Nri__PodSandbox, NRI__POD_SANDBOX__INIT);
        const Cri__LinuxPodSandboxConfig *asked = s->pod->linux;

        p->id = nri_text(s->pod_id);
        p->name = nri_text(s->pod->metadata->name);
        p->uid = nri_text(s->pod->metadata->uid);
        p->namespace_ = nri_text(s->pod->metadata->namespace_);
        add_pairs(&p->labels, &p->n_labels, s->pod->labels, s->pod->n_labels);
        add_pairs(&p->annotations, &p->n_annotations, s->pod->annotations, s->pod->n_annotations);
        p->runtime_handler = nri_text(s->handler);
        p->linux = NRI_NEW(Nri__LinuxPodSandbox, NRI__LINUX_POD_SANDBOX__INIT);
        p->linux->cgroup_parent = nri_text(asked ? asked->cgroup_parent : NULL);
        p->linux->cgroups_path = nri_text(NULL);
        if (asked) {
                p->linux->pod_overhead = asked->overhead ? nri_resources_of(asked->overhead) : NULL;
                p->linux->pod_resources = asked->resources ? nri_resources_of(asked->resources) : NULL;
        }
        add_pins(p->linux, s->run_dir);
        if (s->network && !str_empty(s->network->ip)) {
                nri_add(&p->ips, &p->n_ips, nri_text(s->network->ip));
                for (size_t i = 0; i < s->network->n_additional_ips; i++)
                        nri_add(&p->ips, &p->n_ips, nri_text(s->network->additional_ips[i]->ip));
        }
        return p;
}

/* ---- containers -------------------------------------------------------------------- */

static void add_mounts(Nri__Container *c, struct json_object *spec)
{
        size_t n;
        struct json_object *array = array_in(spec, "mounts", &n);

        for (size_t i = 0; i < n; i++) {
                struct json_object *from = json_object_array_get_idx(array, i);
                Nri__Mount *m = NRI_NEW(Nri__Mount, NRI__MOUNT__INIT);

                m->destination = nri_text(string_in(from, "destination"));
                m->type = nri_text(string_in(from, "type"));
                m->source = nri_text(string_in(from, "source"));
                add_strings(&m->options, &m->n_options, from, "options");
                nri_add(&c->mounts, &c->n_mounts, m);
        }
}

static void add_stage(Nri__Hook ***list, size_t *n, struct json_object *hooks, const char *stage)
{
        size_t count;
        struct json_object *array = array_in(hooks, stage, &count);

        for (size_t i = 0; i < count; i++) {
                struct json_object *from = json_object_array_get_idx(array, i);
                Nri__Hook *h = NRI_NEW(Nri__Hook, NRI__HOOK__INIT);
                int64_t timeout;

                h->path = nri_text(string_in(from, "path"));
                add_strings(&h->args, &h->n_args, from, "args");
                add_strings(&h->env, &h->n_env, from, "env");
                if (int_in(from, "timeout", &timeout))
                        h->timeout = OPTION(Nri__OptionalInt, NRI__OPTIONAL_INT__INIT, timeout);
                nri_add(list, n, h);
        }
}

static Nri__Hooks *hooks_of(struct json_object *o)
{
        Nri__Hooks *h = NRI_NEW(Nri__Hooks, NRI__HOOKS__INIT);

        add_stage(&h->prestart, &h->n_prestart, o, "prestart");
        add_stage(&h->create_runtime, &h->n_create_runtime, o, "createRuntime");
        add_stage(&h->create_container, &h->n_create_container, o, "createContainer");
        add_stage(&h->start_container, &h->n_start_container, o, "startContainer");
        add_stage(&h->poststart, &h->n_poststart, o, "poststart");
        add_stage(&h->poststop, &h->n_poststop, o, "poststop");
        return h;
}

static void add_rlimits(Nri__Container *c, struct json_object *process)
{
        size_t n;
        struct json_object *array = array_in(process, "rlimits", &n);

        for (size_t i = 0; i < n; i++) {
                struct json_object *from = json_object_array_get_idx(array, i);
                Nri__POSIXRlimit *r = NRI_NEW(Nri__POSIXRlimit, NRI__POSIXRLIMIT__INIT);

                r->type = nri_text(string_in(from, "type"));
                r->soft = json_object_get_uint64(json_object_object_get(from, "soft"));
                r->hard = json_object_get_uint64(json_object_object_get(from, "hard"));
                nri_add(&c->rlimits, &c->n_rlimits, r);
        }
}

static Nri__User *user_of(struct json_object *o)
{
        Nri__User *u = NRI_NEW(Nri__User, NRI__USER__INIT);
        struct json_object *groups;
        int64_t value = 0;
        size_t n;

        if (int_in(o, "uid", &value))
                u->uid = (uint32_t) value;
        if (int_in(o, "gid", &value))
                u->gid = (uint32_t) value;
        groups = array_in(o, "additionalGids", &n);
        u->additional_gids = n ? nri_alloc(n * sizeof *u->additional_gids) : NULL;
        u->n_additional_gids = n;
        for (size_t i = 0; i < n; i++)
                u->additional_gids[i] = (uint32_t) json_object_get_int64(json_object_array_get_idx(groups, i));
        return u;
}

static Nri__LinuxDevice *device_of(struct json_object *o)
{
        Nri__LinuxDevice *d = NRI_NEW(Nri__LinuxDevice, NRI__LINUX_DEVICE__INIT);
        int64_t value;

        d->path = nri_text(string_in(o, "path"));
        d->type = nri_text(string_in(o, "type"));
        if (int_in(o, "major", &value))
                d->major = value;
        if (int_in(o, "minor", &value))
                d->minor = value;
        if (int_in(o, "fileMode", &value))
                d->file_mode = OPTION(Nri__OptionalFileMode, NRI__OPTIONAL_FILE_MODE__INIT, (uint32_t) value);
        if (int_in(o, "uid", &value))
                d->uid = OPTION(Nri__OptionalUInt32, NRI__OPTIONAL_UINT32__INIT, (uint32_t) value);
        if (int_in(o, "gid", &value))
                d->gid = OPTION(Nri__OptionalUInt32, NRI__OPTIONAL_UINT32__INIT, (uint32_t) value);
        return d;
}

static Nri__LinuxContainer *linux_of(struct json_object *spec)
{
        Nri__LinuxContainer *l = NRI_NEW(Nri__LinuxContainer, NRI__LINUX_CONTAINER__INIT);
        struct json_object *o = object_in(spec, "linux"), *process = object_in(spec, "process"), *array, *part;
        int64_t value;
        size_t n;

        array = array_in(o, "namespaces", &n);
        for (size_t i = 0; i < n; i++) {
                Nri__LinuxNamespace *ns = NRI_NEW(Nri__LinuxNamespace, NRI__LINUX_NAMESPACE__INIT);

                part = json_object_array_get_idx(array, i);
                ns->type = nri_text(string_in(part, "type"));
                ns->path = nri_text(string_in(part, "path"));
                nri_add(&l->namespaces, &l->n_namespaces, ns);
        }
        array = array_in(o, "devices", &n);
        for (size_t i = 0; i < n; i++)
                nri_add(&l->devices, &l->n_devices, device_of(json_object_array_get_idx(array, i)));
        part = object_in(o, "resources");
        if (part)
                l->resources = resources_of(part);
        if (process && int_in(process, "oomScoreAdj", &value))
                l->oom_score_adj = OPTION(Nri__OptionalInt, NRI__OPTIONAL_INT__INIT, value);
        l->cgroups_path = nri_text(o ? string_in(o, "cgroupsPath") : NULL);
        add_members(&l->sysctl, &l->n_sysctl, object_in(o, "sysctl"));
        return l;
}

static Nri__SecurityProfile *profile_of(const Cri__ContainerConfig *c)
{
        const Cri__SecurityProfile *from = c->linux && c->linux->security_context ? c->linux->security_context->seccomp : NULL;
        Nri__SecurityProfile *p;

        if (!from)
                return NULL;
        p = NRI_NEW(Nri__SecurityProfile, NRI__SECURITY_PROFILE__INIT);
        p->profile_type = (Nri__SecurityProfile__ProfileType) from->profile_type;
        p->localhost_ref = nri_text(from->localhost_ref);
        return p;
}

/* Digests are told where they are known: of the manifest when the image was asked for by it. */
static Nri__Image *image_of(const struct hooks_subject *s)
{
        const char *name = event_image(s->container), *at = name ? strchr(name, '@') : NULL;
        Nri__Image *i = NRI_NEW(Nri__Image, NRI__IMAGE__INIT);

        i->name = nri_text(name);
        i->digest = nri_text(at ? at + 1 : NULL);
        i->config_digest = nri_text(s->image_id);
        return i;
}

Nri__Container *nri_container_of(const struct hooks_subject *s, struct json_object *spec)
{
        Nri__Container *c = NRI_NEW(Nri__Container, NRI__CONTAINER__INIT);
        struct json_object *process = object_in(spec, "process"), *part;

        c->id = nri_text(s->container_id);
        c->pod_sandbox_id = nri_text(s->pod_id);
        c->name = nri_text(s->container->metadata->name);
        c->status_reason = nri_text(NULL);
        c->status_message = nri_text(NULL);
        add_pairs(&c->labels, &c->n_labels, s->container->labels, s->container->n_labels);
        add_pairs(&c->annotations, &c->n_annotations, s->container->annotations, s->container->n_annotations);
        add_members(&c->annotations, &c->n_annotations, object_in(spec, "annotations"));
        add_strings(&c->args, &c->n_args, process, "args");
        add_strings(&c->env, &c->n_env, process, "env");
        add_mounts(c, spec);
        part = object_in(spec, "hooks");
        if (part)
                c->hooks = hooks_of(part);
        c->linux = linux_of(spec);
        c->linux->seccomp_profile = profile_of(s->container);
        add_rlimits(c, process);
        for (size_t i = 0; i < s->container->n_cdi_devices; i++) {
                Nri__CDIDevice *d = NRI_NEW(Nri__CDIDevice, NRI__CDIDEVICE__INIT);

                d->name = nri_text(s->container->cdi_devices[i]->name);
                nri_add(&c->cdi_devices, &c->n_cdi_devices, d);
        }
        part = object_in(process, "user");
        if (part)
                c->user = user_of(part);
        c->image = image_of(s);
        return c;
}

Nri__Container *nri_container_kept(const struct hooks_subject *s)
{
        auto_free char *path = s->bundle ? str_printf(NULL, "%s/config.json", s->bundle) : NULL;
        auto_json spec = NULL;

        if (path)
                json_read(path, SPEC_MAX, &spec, NULL);
        return nri_container_of(s, spec);
}

void nri_container_set_state(Nri__Container *c, const struct hooks_subject *s, Nri__ContainerState state)
{
        c->state = state;
        c->pid = (uint32_t) s->pid;
        c->created_at = s->created_at;
        c->started_at = s->started_at;
        c->finished_at = s->finished_at;
        c->exit_code = s->exit_code;
}
