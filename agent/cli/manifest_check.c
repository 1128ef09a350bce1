/*
 * What must hold between the fields of a manifest, and the defaults that
 * Kubernetes' API server would have filled in.
 */

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/cli/manifest_private.h"

#define ID_MAX INT64_C(2147483647)
#define DNS_SERVERS_MAX 3
#define DNS_SEARCHES_MAX 32

struct checker {
        struct manifest *manifest;
        struct yaml_complaints *complaints;
};

#define complain(c, node, ...) yaml_complain((c)->complaints, (node), __VA_ARGS__)

/* Lower-case letters, digits and dashes, 63 at most; with @dots several such, 253 at most. */
static bool is_dns_name(const char *name, bool dots)
{
        size_t length = 0, label = 0;

        for (const char *at = name;; at++, length++) {
                bool inside = islower((unsigned char) *at) || isdigit((unsigned char) *at);

                if (!*at || (*at == '.' && dots)) {
                        if (!label || at[-1] == '-' || length > 253)
                                return false;
                        label = 0;
                        if (!*at)
                                return true;
                } else if ((!inside && (*at != '-' || !label)) || ++label > 63) {
                        return false;
                }
        }
}

static void check_name(struct checker *c, const struct yaml_node *node, const char *what, const char *name, bool dots)
{
        if (str_empty(name))
                complain(c, node, "%s: no name", what);
        else if (!is_dns_name(name, dots))
                complain(c, node, "%s: '%.100s' is no DNS name", what, name);
}

static void check_id(struct checker *c, const struct yaml_node *node, const char *what, int64_t id)
{
        if (id < 0 || id > ID_MAX)
                complain(c, node, "%s: %lld is not within 0 and %lld", what, (long long) id, (long long) ID_MAX);
}

static void check_security(struct checker *c, const struct yaml_node *node, const struct manifest_security *s)
{
        const char *file = s->seccomp_file;

        if (s->user.set)
                check_id(c, node, "runAsUser", s->user.value);
        if (s->group.set)
                check_id(c, node, "runAsGroup", s->group.value);
        for (size_t i = 0; i < s->groups.n; i++)
                check_id(c, node, "supplementalGroups", s->groups.items[i]);

        if (file && s->seccomp != SECCOMP_LOCALHOST)
                complain(c, node, "seccompProfile: localhostProfile goes with type Localhost only");
        if (!file && s->seccomp == SECCOMP_LOCALHOST)
                complain(c, node, "seccompProfile: type Localhost needs a localhostProfile");
        if (file && (!*file || *file == '/' || strstr(file, "..")))
                complain(c, node, "seccompProfile: localhostProfile must be relative, without '..'");
}

static bool adds_admin(const struct manifest_security *s)
{
        for (size_t i = 0; i < s->add.n; i++)
                if (strcmp(s->add.items[i], "SYS_ADMIN") == 0 || strcmp(s->add.items[i], "CAP_SYS_ADMIN") == 0 ||
                    strcmp(s->add.items[i], "ALL") == 0)
                        return true;

        return false;
}

static void check_container_security(struct checker *c, struct manifest_container *k)
{
        const struct manifest_security *pod = &c->manifest->security, *own = &k->security;
        const struct manifest_number *user = own->user.set ? &own->user : &pod->user;
        int non_root = own->non_root ? own->non_root : pod->non_root;

        check_security(c, k->node, own);
        if (own->escalation == TRUTH_NO && own->privileged == TRUTH_YES)
                complain(c, k->node, "container %s: allowPrivilegeEscalation cannot be false where privileged is true", k->name);
        if (own->escalation == TRUTH_NO && adds_admin(own))
                complain(c, k->node, "container %s: allowPrivilegeEscalation cannot be false with the capability SYS_ADMIN",
                         k->name);
        if (non_root == TRUTH_YES && user->set && user->value == 0)
                complain(c, k->node, "container %s: runAsNonRoot, but runAsUser is 0", k->name);
        k->must_not_be_root = non_root == TRUTH_YES && !user->set;
}

static void check_port(struct checker *c, const struct manifest_port *p)
{
        unsigned char address[16];

        if (!p->container.set)
                complain(c, p->node, "port: no containerPort");
        else if (p->container.value < 1 || p->container.value > 65535)
                complain(c, p->node, "port: containerPort is not within 1 and 65535");
        if (p->host.set && (p->host.value < 1 || p->host.value > 65535))
                complain(c, p->node, "port: hostPort is not within 1 and 65535");
        if (c->manifest->host_network == TRUTH_YES && p->host.set && p->host.value != p->container.value)
                complain(c, p->node, "port: with hostNetwork, hostPort must be the containerPort");
        if (!str_empty(p->host_ip) && inet_pton(AF_INET, p->host_ip, address) != 1 &&
            inet_pton(AF_INET6, p->host_ip, address) != 1)
                complain(c, p->node, "port: hostIP '%.100s' is no address", p->host_ip);
}

static void check_mount(struct checker *c, const struct manifest_container *k, size_t at)
{
        const struct manifest_mount *m = &k->mounts[at];

        if (str_empty(m->name) || !manifest_find_volume(c->manifest, m->name))
                complain(c, m->node, "volumeMount: there is no volume '%.100s'", m->name ? m->name : "");
        if (!m->path || !path_is_clean(m->path))
                complain(c, m->node, "volumeMount: mountPath must be absolute, without '..' and a slash at its end");
        for (size_t i = 0; i < at; i++)
                if (m->path && str_equal(m->path, k->mounts[i].path))
                        complain(c, m->node, "volumeMount: %.200s is mounted on already", m->path);
        if (m->propagation == PROPAGATE_BOTH && k->security.privileged != TRUTH_YES)
                complain(c, m->node, "volumeMount: Bidirectional needs a privileged container");
}

/* A request that is not given is what the limit is. */
static void check_resources(struct checker *c, struct manifest_container *k)
{
        if (!k->cpu_request.set)
                k->cpu_request = k->cpu_limit;
        if (!k->memory_request.set)
                k->memory_request = k->memory_limit;
        if (k->cpu_limit.set && k->cpu_request.value > k->cpu_limit.value)
                complain(c, k->node, "container %s: requests more cpu than its limit", k->name);
        if (k->memory_limit.set && k->memory_request.value > k->memory_limit.value)
                complain(c, k->node, "container %s: requests more memory than its limit", k->name);
}

/* Always for the tag latest, said or not; what is named otherwise is kept. */
static int default_pull(const char *image)
{
        const char *slash = strrchr(image, '/');
        const char *tag = strchr(slash ? slash : image, ':');

        if (strchr(image, '@'))
                return PULL_IF_NOT_PRESENT;
        return !tag || strcmp(tag, ":latest") == 0 ? PULL_ALWAYS : PULL_IF_NOT_PRESENT;
}

static void check_container(struct checker *c, size_t at)
{
        static char none[] = "";
        struct manifest_container *k = &c->manifest->containers[at];

        check_name(c, k->node, "container", k->name, false);
        for (size_t i = 0; i < at; i++)
                if (k->name && str_equal(k->name, c->manifest->containers[i].name))
                        complain(c, k->node, "container: there is a '%s' already", k->name);
        if (str_empty(k->name))
                k->name = none;
        if (str_empty(k->image))
                complain(c, k->node, "container %s: no image", k->name);
        else if (k->pull == PULL_DEFAULT)
                k->pull = default_pull(k->image);
        if (k->working_dir && *k->working_dir && *k->working_dir != '/')
                complain(c, k->node, "container %s: workingDir is not absolute", k->name);

        for (size_t i = 0; i < k->n_envs; i++)
                if (str_empty(k->envs[i].name) || strchr(k->envs[i].name, '='))
                        complain(c, k->envs[i].node, "env: want a name without '='");
        for (size_t i = 0; i < k->n_ports; i++)
                check_port(c, &k->ports[i]);
        for (size_t i = 0; i < k->n_mounts; i++)
                check_mount(c, k, i);
        check_resources(c, k);
        check_container_security(c, k);
}

static void check_volume(struct checker *c, size_t at)
{
        struct manifest_volume *v = &c->manifest->volumes[at];

        check_name(c, v->node, "volume", v->name, false);
        for (size_t i = 0; i < at; i++)
                if (v->name && str_equal(v->name, c->manifest->volumes[i].name))
                        complain(c, v->node, "volume: there is a '%s' already", v->name);
        if (v->is_host == v->is_empty)
                complain(c, v->node, "volume: want one of hostPath and emptyDir");
        if (v->is_host && (!v->host_path || (strcmp(v->host_path, "/") != 0 && !path_is_clean(v->host_path))))
                complain(c, v->node, "volume: hostPath needs an absolute path without '..' and a slash at its end");
        if (v->size.set && !v->memory)
                complain(c, v->node, "volume: sizeLimit is honoured for medium Memory only");
}

static void check_dns(struct checker *c, const struct yaml_node *node)
{
        const struct manifest *m = c->manifest;
        unsigned char address[16];

        if (m->dns_policy == DNS_NONE && !m->dns_servers.n)
                complain(c, node, "dnsPolicy None needs dnsConfig.nameservers");
        if (m->dns_servers.n > DNS_SERVERS_MAX)
                complain(c, node, "dnsConfig: more than %d nameservers", DNS_SERVERS_MAX);
        if (m->dns_searches.n > DNS_SEARCHES_MAX)
                complain(c, node, "dnsConfig: more than %d searches", DNS_SEARCHES_MAX);
        for (size_t i = 0; i < m->dns_servers.n; i++)
                if (inet_pton(AF_INET, m->dns_servers.items[i], address) != 1 &&
                    inet_pton(AF_INET6, m->dns_servers.items[i], address) != 1)
                        complain(c, node, "dnsConfig: nameserver '%.100s' is no address", m->dns_servers.items[i]);
}

/* Sysctls of a namespace that the pod shares with the node would change the node. */
static void check_sysctls(struct checker *c, const struct yaml_node *node)
{
        const struct manifest *m = c->manifest;

        for (size_t i = 0; i < m->security.sysctls.n; i++) {
                const char *name = m->security.sysctls.items[i]->key;
                bool net = str_starts(name, "net.") || str_starts(name, "net/");

                if (m->host_network == TRUTH_YES && net)
                        complain(c, node, "sysctl %.100s: not with hostNetwork", name);
                if (m->host_ipc == TRUTH_YES && !net)
                        complain(c, node, "sysctl %.100s: not with hostIPC", name);
        }
}

static void check_metadata(struct checker *c, const struct yaml_node *node)
{
        static char space[] = "default";
        struct manifest *m = c->manifest;

        check_name(c, node, "metadata", m->name, true);
        if (!m->space)
                m->space = space;
        check_name(c, node, "namespace", m->space, false);
        if (m->uid && !str_is_id(m->uid, 64))
                complain(c, node, "metadata: uid '%.100s' is no word of letters, digits, '-', '_' and '.'", m->uid);
}

void manifest_check(struct manifest *m, struct yaml_complaints *complaints)
{
        struct checker c = { .manifest = m, .complaints = complaints };
        const struct yaml_node *root = m->doc->root, *spec = yaml_get(root, "spec");
        const struct yaml_node *metadata = yaml_get(root, "metadata");

        check_metadata(&c, metadata ? metadata : root);
        if (!spec)
                complain(&c, root, "no spec");
        spec = spec ? spec : root;

        if (m->n_containers == m->n_init)
                complain(&c, spec, "spec: no containers");
        if (m->host_pid == TRUTH_YES && m->share_pid == TRUTH_YES)
                complain(&c, spec, "spec: hostPID and shareProcessNamespace exclude each other");
        if (!m->grace.set)
                m->grace = (struct manifest_number) { .set = true, .value = 30 };
        if (m->grace.value < 0 || m->grace.value > ID_MAX)
                complain(&c, spec, "spec: terminationGracePeriodSeconds is not within 0 and %lld", (long long) ID_MAX);
        if (m->hostname)
                check_name(&c, spec, "hostname", m->hostname, false);

        check_dns(&c, spec);
        check_security(&c, spec, &m->security);
        check_sysctls(&c, spec);
        for (size_t i = 0; i < m->n_volumes; i++)
                check_volume(&c, i);
        for (size_t i = 0; i < m->n_containers; i++)
                check_container(&c, i);
}
