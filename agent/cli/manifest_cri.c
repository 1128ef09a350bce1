/*
 * From the model of a pod to CRI messages, as a kubelet would write them.
 *
 * One difference: a pod that says nothing of seccomp gets RuntimeDefault, as a
 * kubelet with SeccompDefault gives it.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/cli/expand.h"
#include "agent/cli/manifest_private.h"

#define CPU_PERIOD 100000
#define CPU_QUOTA_MIN 1000
#define CPU_SHARES_MIN 2
#define CPU_SHARES_MAX 262144

struct builder {
        struct manifest *manifest;
        const struct manifest_options *options;
        struct yaml_complaints *complaints;
        struct cringle_err *err;
        struct pool *pool;
};

/* A message from the pool, initialized; returns from the calling function when memory is out. */
#define NEW(b, name, variable)                                                          \
        do {                                                                            \
                (variable) = pool_alloc((b)->pool, 1, sizeof *(variable), (b)->err);    \
                if (!(variable))                                                        \
                        return -1;                                                      \
                name##__init(variable);                                                 \
        } while (0)

static int new_array(struct builder *b, size_t n, void *ret)
{
        void *array = pool_alloc(b->pool, n, sizeof(void *), b->err);

        if (!array)
                return -1;
        *(void **) ret = array;
        return 0;
}

/* @pairs and those of @more (ended by NULL, key and value in turn). */
static int join_pairs(struct builder *b, const struct manifest_pairs *pairs, const char *const *more,
                      Cri__Pair ***ret, size_t *ret_n)
{
        size_t n = pairs->n;

        for (const char *const *at = more; *at; at += 2)
                n++;
        if (new_array(b, n, ret) < 0)
                return -1;

        memcpy(*ret, pairs->items ? pairs->items : *ret, pairs->n * sizeof **ret);
        *ret_n = pairs->n;
        for (const char *const *at = more; *at; at += 2) {
                NEW(b, cri__pair, (*ret)[*ret_n]);
                (*ret)[*ret_n]->key = (char *) at[0];
                (*ret)[(*ret_n)++]->value = (char *) at[1];
        }
        return 0;
}

static int build_number(struct builder *b, const struct manifest_number *number, Cri__Int64Value **ret)
{
        if (!number->set)
                return 0;
        NEW(b, cri__int64_value, *ret);
        (*ret)->value = number->value;
        return 0;
}

static int build_namespaces(struct builder *b, Cri__NamespaceOption **ret)
{
        const struct manifest *m = b->manifest;

        NEW(b, cri__namespace_option, *ret);
        (*ret)->network = m->host_network == TRUTH_YES ? CRI__NAMESPACE_MODE__NODE : CRI__NAMESPACE_MODE__POD;
        (*ret)->ipc = m->host_ipc == TRUTH_YES ? CRI__NAMESPACE_MODE__NODE : CRI__NAMESPACE_MODE__POD;
        (*ret)->pid = m->host_pid == TRUTH_YES    ? CRI__NAMESPACE_MODE__NODE
                      : m->share_pid == TRUTH_YES ? CRI__NAMESPACE_MODE__POD
                                                  : CRI__NAMESPACE_MODE__CONTAINER;
        return 0;
}

static int build_seccomp(struct builder *b, int type, const char *file, Cri__SecurityProfile **ret)
{
        NEW(b, cri__security_profile, *ret);
        (*ret)->profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;
        if (type == SECCOMP_UNCONFINED)
                (*ret)->profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
        if (type == SECCOMP_LOCALHOST) {
                (*ret)->profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
                (*ret)->localhost_ref = pool_printf(b->pool, b->err, "%s/%s", b->options->seccomp_dir, file);
                if (!(*ret)->localhost_ref)
                        return -1;
        }
        return 0;
}

static int add_word(struct builder *b, char **items, size_t *n, const char *word, size_t length)
{
        items[*n] = pool_printf(b->pool, b->err, "%.*s", (int) length, word);
        return items[(*n)++] ? 0 : -1;
}

/* Appends the words of @line to @list; what is too many for its @room is left out. */
static int add_words(struct builder *b, char **list, size_t *n, size_t room, const char *line, size_t length)
{
        const char *end = line + length;

        while (line < end) {
                size_t blank = strspn(line, " \t\r"), word;

                line += blank;
                word = strcspn(line, " \t\r\n");
                if (line >= end || !word)
                        return 0;
                if (*n < room && add_word(b, list, n, line, word) < 0)
                        return -1;
                line += word;
        }
        return 0;
}

/* The node's resolv.conf goes before what the manifest adds, as dnsPolicy Default has it. */
static int add_node_dns(struct builder *b, Cri__DNSConfig *dns, size_t room)
{
        const char *line = b->options->resolv_conf ? b->options->resolv_conf : "";

        for (; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                size_t n = strcspn(line, "\n");
                int result = 0;

                if (n > 11 && strncmp(line, "nameserver ", 11) == 0)
                        result = add_words(b, dns->servers, &dns->n_servers, 3, line + 11, n - 11);
                else if (n > 7 && strncmp(line, "search ", 7) == 0)
                        result = add_words(b, dns->searches, &dns->n_searches, room, line + 7, n - 7);
                else if (n > 8 && strncmp(line, "options ", 8) == 0)
                        result = add_words(b, dns->options, &dns->n_options, room, line + 8, n - 8);
                if (result < 0)
                        return -1;
        }
        return 0;
}

/* Without a dnsConfig nothing is said, and the agent gives the node's resolv.conf. */
static int build_dns(struct builder *b, Cri__DNSConfig **ret)
{
        const struct manifest *m = b->manifest;
        const size_t room = 32;
        Cri__DNSConfig *dns;

        if (!m->dns_servers.n && !m->dns_searches.n && !m->dns_options.n)
                return 0;
        NEW(b, cri__dnsconfig, dns);
        if (new_array(b, 3 + m->dns_servers.n, &dns->servers) < 0 ||
            new_array(b, room + m->dns_searches.n, &dns->searches) < 0 ||
            new_array(b, room + m->dns_options.n, &dns->options) < 0)
                return -1;
        if (m->dns_policy != DNS_NONE && add_node_dns(b, dns, room) < 0)
                return -1;

        for (size_t i = 0; i < m->dns_servers.n && dns->n_servers < 3; i++)
                dns->servers[dns->n_servers++] = m->dns_servers.items[i];
        for (size_t i = 0; i < m->dns_searches.n; i++)
                dns->searches[dns->n_searches++] = m->dns_searches.items[i];
        for (size_t i = 0; i < m->dns_options.n; i++)
                dns->options[dns->n_options++] = m->dns_options.items[i];
        *ret = dns;
        return 0;
}

static int build_ports(struct builder *b, Cri__PodSandboxConfig *s)
{
        const struct manifest *m = b->manifest;
        size_t n = 0;

        for (size_t i = 0; i < m->n_containers; i++)
                n += m->containers[i].n_ports;
        if (new_array(b, n, &s->port_mappings) < 0)
                return -1;

        for (size_t i = 0; i < m->n_containers && m->host_network != TRUTH_YES; i++) {
                for (size_t j = 0; j < m->containers[i].n_ports; j++) {
                        const struct manifest_port *p = &m->containers[i].ports[j];
                        Cri__PortMapping *mapping;

                        if (!p->host.set)
                                continue;
                        NEW(b, cri__port_mapping, mapping);
                        mapping->protocol = (Cri__Protocol) p->protocol;
                        mapping->container_port = (int32_t) p->container.value;
                        mapping->host_port = (int32_t) p->host.value;
                        if (p->host_ip)
                                mapping->host_ip = p->host_ip;
                        s->port_mappings[s->n_port_mappings++] = mapping;
                }
        }
        return 0;
}

static int build_pod_security(struct builder *b, Cri__LinuxSandboxSecurityContext **ret)
{
        const struct manifest *m = b->manifest;
        Cri__LinuxSandboxSecurityContext *sc;

        NEW(b, cri__linux_sandbox_security_context, sc);
        if (build_namespaces(b, &sc->namespace_options) < 0 ||
            build_number(b, &m->security.user, &sc->run_as_user) < 0 ||
            build_number(b, &m->security.group, &sc->run_as_group) < 0 ||
            build_seccomp(b, SECCOMP_DEFAULT, NULL, &sc->seccomp) < 0)
                return -1;
        sc->supplemental_groups = m->security.groups.items;
        sc->n_supplemental_groups = m->security.groups.n;
        for (size_t i = 0; i < m->n_containers; i++)
                sc->privileged |= m->containers[i].security.privileged == TRUTH_YES;
        *ret = sc;
        return 0;
}

static int build_sandbox(struct builder *b)
{
        struct manifest *m = b->manifest;
        char grace[24];
        Cri__PodSandboxConfig *s;

        NEW(b, cri__pod_sandbox_config, s);
        NEW(b, cri__pod_sandbox_metadata, s->metadata);
        s->metadata->name = m->name;
        s->metadata->namespace_ = m->space;
        s->metadata->uid = m->uid;
        if (m->host_network != TRUTH_YES) {
                s->hostname = m->hostname ? m->hostname : pool_printf(b->pool, b->err, "%.63s", m->name);
                if (!s->hostname)
                        return -1;
                s->hostname[strcspn(s->hostname, ".")] = '\0';
        }
        s->log_directory = pool_printf(b->pool, b->err, "%s/%s_%s_%s", b->options->log_dir, m->space, m->name, m->uid);
        if (!s->log_directory)
                return -1;

        snprintf(grace, sizeof grace, "%lld", (long long) m->grace.value);
        const char *labels[] = { "io.kubernetes.pod.name", m->name, "io.kubernetes.pod.namespace", m->space,
                           "io.kubernetes.pod.uid", m->uid, NULL };
        const char *annotations[] = { MANIFEST_ANNOTATION, pool_copy(b->pool, grace, b->err), NULL };

        if (!annotations[1] || join_pairs(b, &m->labels, labels, &s->labels, &s->n_labels) < 0 ||
            join_pairs(b, &m->annotations, annotations, &s->annotations, &s->n_annotations) < 0 ||
            build_dns(b, &s->dns_config) < 0 || build_ports(b, s) < 0)
                return -1;

        NEW(b, cri__linux_pod_sandbox_config, s->linux);
        if (b->options->cgroup_parent) {
                s->linux->cgroup_parent = pool_copy(b->pool, b->options->cgroup_parent, b->err);
                if (!s->linux->cgroup_parent)
                        return -1;
        }
        s->linux->sysctls = m->security.sysctls.items;
        s->linux->n_sysctls = m->security.sysctls.n;
        if (build_pod_security(b, &s->linux->security_context) < 0)
                return -1;
        m->sandbox = s;
        return 0;
}

/* Later variables see earlier ones; of two with one name the later counts. */
struct known_env {
        const struct manifest_container *container;
        Cri__KeyValue **values;         /* expanded so far */
        size_t n;
};

static const char *env_value(void *data, const char *name, size_t n)
{
        const struct known_env *known = data;

        for (size_t i = known->n; i > 0; i--) {
                const char *candidate = known->container->envs[i - 1].name;

                if (strlen(candidate) == n && memcmp(candidate, name, n) == 0)
                        return (const char *) known->values[i - 1]->value.data;
        }
        return NULL;
}

/* 0: *ret is the expanded text, "" when there was reason to complain. */
static int expand_text(struct builder *b, const struct yaml_node *node, const char *text, struct known_env *known,
                       char **ret)
{
        auto_buf value = BUF_INIT;
        int result = expand(text, env_value, known, &value, b->err);

        if (result < 0)
                return -1;
        if (result == EXPAND_TOO_LONG)
                yaml_complain(b->complaints, node, "'%.40s' expands to more than %d bytes", text, EXPAND_MAX);
        *ret = pool_copy(b->pool, result == EXPAND_DONE ? value.data : "", b->err);
        return *ret ? 0 : -1;
}

static int expand_list(struct builder *b, const struct manifest_container *k, const struct manifest_list *list,
                       struct known_env *known, char ***ret, size_t *ret_n)
{
        if (new_array(b, list->n, ret) < 0)
                return -1;
        for (size_t i = 0; i < list->n; i++)
                if (expand_text(b, k->node, list->items[i], known, &(*ret)[i]) < 0)
                        return -1;
        *ret_n = list->n;
        return 0;
}

static int build_command(struct builder *b, const struct manifest_container *k, Cri__ContainerConfig *c)
{
        struct known_env known = { .container = k };

        if (new_array(b, k->n_envs, &c->envs) < 0)
                return -1;
        known.values = c->envs;
        for (; known.n < k->n_envs; known.n++) {
                const struct manifest_env *env = &k->envs[known.n];
                Cri__KeyValue *pair;
                char *value;

                NEW(b, cri__key_value, pair);
                if (expand_text(b, env->node, env->value ? env->value : "", &known, &value) < 0)
                        return -1;
                pair->key = env->name;
                pair->value = (ProtobufCBinaryData) { .data = (uint8_t *) value, .len = strlen(value) };
                c->envs[known.n] = pair;
        }
        c->n_envs = k->n_envs;

        if (expand_list(b, k, &k->command, &known, &c->command, &c->n_command) < 0 ||
            expand_list(b, k, &k->args, &known, &c->args, &c->n_args) < 0)
                return -1;
        if (k->working_dir)
                c->working_dir = k->working_dir;
        return 0;
}

static int build_mounts(struct builder *b, const struct manifest_container *k, Cri__ContainerConfig *c)
{
        static const Cri__MountPropagation propagation[] = {
                [PROPAGATE_NONE] = CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE,
                [PROPAGATE_FROM_HOST] = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER,
                [PROPAGATE_BOTH] = CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL,
        };

        if (new_array(b, k->n_mounts, &c->mounts) < 0)
                return -1;
        for (size_t i = 0; i < k->n_mounts; i++) {
                const struct manifest_mount *m = &k->mounts[i];

                NEW(b, cri__mount, c->mounts[i]);
                c->mounts[i]->container_path = m->path;
                c->mounts[i]->host_path = manifest_find_volume(b->manifest, m->name)->path;
                c->mounts[i]->readonly = m->readonly == TRUTH_YES;
                c->mounts[i]->propagation = propagation[m->propagation];
        }
        c->n_mounts = k->n_mounts;
        return 0;
}

/* Guaranteed: all containers have limits for both, and request just these.  Best effort: none asks for anything. */
enum quality { GUARANTEED, BURSTABLE, BEST_EFFORT };

static enum quality quality_of(const struct manifest *m)
{
        bool all = true, none = true;

        for (size_t i = 0; i < m->n_containers; i++) {
                const struct manifest_container *k = &m->containers[i];

                none &= !k->cpu_limit.value && !k->cpu_request.value && !k->memory_limit.value && !k->memory_request.value;
                all &= k->cpu_limit.value > 0 && k->memory_limit.value > 0 &&
                       k->cpu_limit.value == k->cpu_request.value && k->memory_limit.value == k->memory_request.value;
        }
        return none ? BEST_EFFORT : all ? GUARANTEED : BURSTABLE;
}

static int64_t oom_score_adj(const struct builder *b, const struct manifest_container *k)
{
        enum quality quality = quality_of(b->manifest);
        int64_t memory = b->options->node_memory, score;

        if (quality == GUARANTEED)
                return -997;
        if (quality == BEST_EFFORT || memory <= 0)
                return 1000;
        score = 1000 - (int64_t) ((__int128) 1000 * k->memory_request.value / memory);
        return score < 3 ? 3 : score > 999 ? 999 : score;
}

static int build_resources(struct builder *b, const struct manifest_container *k, Cri__LinuxContainerResources **ret)
{
        Cri__LinuxContainerResources *res;
        __int128 shares = (__int128) k->cpu_request.value * 1024 / 1000;
        __int128 quota = (__int128) k->cpu_limit.value * CPU_PERIOD / 1000;

        NEW(b, cri__linux_container_resources, res);
        res->cpu_period = CPU_PERIOD;
        res->cpu_shares = (int64_t) (shares < CPU_SHARES_MIN ? CPU_SHARES_MIN : shares > CPU_SHARES_MAX ? CPU_SHARES_MAX
                                                                                                         : shares);
        if (k->cpu_limit.value)
                res->cpu_quota = (int64_t) (quota < CPU_QUOTA_MIN ? CPU_QUOTA_MIN : quota > INT64_MAX ? INT64_MAX : quota);
        res->memory_limit_in_bytes = k->memory_limit.value;
        res->oom_score_adj = oom_score_adj(b, k);
        *ret = res;
        return 0;
}

static int build_security(struct builder *b, const struct manifest_container *k, Cri__LinuxContainerSecurityContext **ret)
{
        static const char *const masked[] = {
                "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap",
        };
        static const char *const readonly[] = {
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
        };
        const struct manifest_security *pod = &b->manifest->security, *own = &k->security;
        const struct manifest_security *seccomp = own->seccomp ? own : pod;
        Cri__LinuxContainerSecurityContext *sc;

        NEW(b, cri__linux_container_security_context, sc);
        NEW(b, cri__capability, sc->capabilities);
        sc->capabilities->add_capabilities = own->add.items;
        sc->capabilities->n_add_capabilities = own->add.n;
        sc->capabilities->drop_capabilities = own->drop.items;
        sc->capabilities->n_drop_capabilities = own->drop.n;
        sc->privileged = own->privileged == TRUTH_YES;
        sc->readonly_rootfs = own->readonly_rootfs == TRUTH_YES;
        sc->no_new_privs = own->escalation == TRUTH_NO;
        sc->supplemental_groups = pod->groups.items;
        sc->n_supplemental_groups = pod->groups.n;
        if (own->proc_mount == PROC_DEFAULT && !sc->privileged) {
                sc->masked_paths = (char **) masked;
                sc->n_masked_paths = sizeof masked / sizeof *masked;
                sc->readonly_paths = (char **) readonly;
                sc->n_readonly_paths = sizeof readonly / sizeof *readonly;
        }
        if (build_namespaces(b, &sc->namespace_options) < 0 ||
            build_number(b, own->user.set ? &own->user : &pod->user, &sc->run_as_user) < 0 ||
            build_number(b, own->group.set ? &own->group : &pod->group, &sc->run_as_group) < 0 ||
            build_seccomp(b, sc->privileged ? SECCOMP_UNCONFINED : seccomp->seccomp, seccomp->seccomp_file, &sc->seccomp) < 0)
                return -1;
        *ret = sc;
        return 0;
}

static int build_container(struct builder *b, struct manifest_container *k)
{
        struct manifest *m = b->manifest;
        const char *labels[] = { "io.kubernetes.container.name", k->name, "io.kubernetes.pod.name", m->name,
                           "io.kubernetes.pod.namespace", m->space, "io.kubernetes.pod.uid", m->uid, NULL };
        Cri__ContainerConfig *c;

        NEW(b, cri__container_config, c);
        NEW(b, cri__container_metadata, c->metadata);
        NEW(b, cri__image_spec, c->image);
        NEW(b, cri__linux_container_config, c->linux);
        c->metadata->name = k->name;
        c->image->image = k->image;
        c->image->user_specified_image = k->image;
        k->config = c;
        if (join_pairs(b, &(struct manifest_pairs) { 0 }, labels, &c->labels, &c->n_labels) < 0 ||
            build_command(b, k, c) < 0 || build_mounts(b, k, c) < 0 ||
            build_resources(b, k, &c->linux->resources) < 0 ||
            build_security(b, k, &c->linux->security_context) < 0)
                return -1;
        return manifest_set_attempt(m, k, 0, b->err);
}

int manifest_set_attempt(struct manifest *m, struct manifest_container *c, uint32_t attempt, struct cringle_err *err)
{
        char *log = pool_printf(&m->pool, err, "%s/%u.log", c->name, attempt);

        if (!log)
                return -1;
        c->config->metadata->attempt = attempt;
        c->config->log_path = log;
        return 0;
}

int manifest_build(struct manifest *m, const struct manifest_options *options, struct yaml_complaints *complaints,
                   struct cringle_err *err)
{
        struct builder b = { .manifest = m, .options = options, .complaints = complaints, .err = err, .pool = &m->pool };

        if (!m->uid) {
                m->uid = pool_copy(&m->pool, options->uid, err);
                if (!m->uid)
                        return -1;
        }
        for (size_t i = 0; i < m->n_volumes; i++) {
                struct manifest_volume *v = &m->volumes[i];

                v->path = v->is_host ? v->host_path
                                     : pool_printf(&m->pool, err, "%s/%s/volumes/%s", options->volumes_dir, m->uid, v->name);
                if (!v->path)
                        return -1;
        }
        if (build_sandbox(&b) < 0)
                return -1;
        for (size_t i = 0; i < m->n_containers; i++)
                if (build_container(&b, &m->containers[i]) < 0)
                        return -1;
        return 0;
}
