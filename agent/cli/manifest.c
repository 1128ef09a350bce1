/*
 * From YAML to the model of a pod; see manifest.h.
 *
 * Each map of the manifest has a table of the fields honoured in it, with what
 * takes the value and where it goes.  Takers complain and go on; -1 is for
 * memory alone.  Tables nest to a fixed depth, so the calls do.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/cli/manifest_private.h"
#include "agent/cli/quantity.h"

struct reader {
        struct manifest *manifest;
        struct yaml_complaints *complaints;
        struct cringle_err *err;
};

typedef int (*take_fn)(struct reader *r, const struct yaml_node *node, const char *path, void *at);

struct field {
        const char *name;               /* NULL: the table ends here */
        take_fn take;
        size_t offset;
};

#define complain(r, node, ...) yaml_complain((r)->complaints, (node), __VA_ARGS__)

static bool is_kind(struct reader *r, const struct yaml_node *node, const char *path, enum yaml_kind kind,
                    const char *wanted)
{
        if (node->kind == kind)
                return true;
        complain(r, node, "%s: want a %s", path, wanted);
        return false;
}

static const struct field *find_field(const struct field *fields, const char *name, const char **ret_nearest)
{
        size_t best = 3;

        *ret_nearest = NULL;
        for (const struct field *f = fields; f->name; f++) {
                size_t distance = str_distance(f->name, name, best);

                if (distance == 0)
                        return f;
                if (distance < best) {
                        best = distance;
                        *ret_nearest = f->name;
                }
        }
        return NULL;
}

static int read_fields(struct reader *r, const struct yaml_node *node, const char *path, const struct field *fields,
                       void *object)
{
        if (!is_kind(r, node, *path ? path : "the manifest", YAML_MAP, "map"))
                return 0;

        for (const struct yaml_node *m = node->first; m; m = m->next) {
                const char *nearest;
                const struct field *field = find_field(fields, m->key, &nearest);
                const char *inner = pool_printf(&r->manifest->pool, r->err, "%s%s%.200s", path, *path ? "." : "", m->key);

                if (!inner)
                        return -1;
                if (!field)
                        yaml_complain_key(r->complaints, m, "%s: not honoured by cringle pod run%s%s%s", inner,
                                          nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
                else if (!yaml_is_null(m) && field->take(r, m, inner, (char *) object + field->offset) < 0)
                        return -1;
        }
        return 0;
}

static size_t count(const struct yaml_node *node)
{
        size_t n = 0;

        for (const struct yaml_node *m = node->first; m; m = m->next)
                n++;
        return n;
}

/* As many of @size as @node has members; NULL: no memory. */
static void *room_for(struct reader *r, const struct yaml_node *node, size_t size)
{
        return pool_alloc(&r->manifest->pool, count(node), size, r->err);
}

/* A list of maps: *ret_items is an array of @size, all zero, of its length. */
static int read_records(struct reader *r, const struct yaml_node *node, const char *path, const struct field *fields,
                        size_t size, void **ret_items, size_t *ret_n)
{
        char *items;
        size_t n = 0;

        if (!is_kind(r, node, path, YAML_LIST, "list"))
                return 0;
        items = room_for(r, node, size);
        if (!items)
                return -1;

        *ret_items = items;
        *ret_n = count(node);
        for (const struct yaml_node *m = node->first; m; m = m->next, n++) {
                const char *inner = pool_printf(&r->manifest->pool, r->err, "%s[%zu]", path, n);

                if (!inner || read_fields(r, m, inner, fields, items + n * size) < 0)
                        return -1;
                *(const struct yaml_node **) (items + n * size) = m;
        }
        return 0;
}

/* True for a plain scalar that YAML reads as a number or a truth, not as a string. */
static bool is_no_string(const struct yaml_node *node)
{
        static const char *const truths[] = { "true", "false", "yes", "no", "on", "off", NULL };
        const char *text = node->text;
        char *end;

        if (node->quoted)
                return false;
        for (size_t i = 0; truths[i]; i++)
                if (strcasecmp(text, truths[i]) == 0)
                        return true;
        if (!isdigit((unsigned char) text[strspn(text, "+-.")]))
                return false;
        strtod(text, &end);
        return !*end;
}

static bool is_string(struct reader *r, const struct yaml_node *node, const char *path)
{
        if (!is_kind(r, node, path, YAML_SCALAR, "string"))
                return false;
        if (!is_no_string(node))
                return true;
        complain(r, node, "%s: want a string; write \"%.100s\" in quotes", path, node->text);
        return false;
}

static int take_string(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        if (!is_string(r, node, path))
                return 0;
        *(char **) at = pool_copy(&r->manifest->pool, node->text, r->err);
        return *(char **) at ? 0 : -1;
}

static int take_truth(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        if (node->kind == YAML_SCALAR && !node->quoted && strcmp(node->text, "true") == 0)
                *(int *) at = TRUTH_YES;
        else if (node->kind == YAML_SCALAR && !node->quoted && strcmp(node->text, "false") == 0)
                *(int *) at = TRUTH_NO;
        else
                complain(r, node, "%s: want true or false", path);
        return 0;
}

static int take_number(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        struct manifest_number *number = at;
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!is_kind(r, node, path, YAML_SCALAR, "number"))
                return 0;
        if (node->quoted || str_int64(node->text, INT64_MIN, INT64_MAX, &number->value, &why) < 0)
                complain(r, node, "%s: want a whole number", path);
        else
                number->set = true;
        return 0;
}

static int take_amount(struct reader *r, const struct yaml_node *node, const char *path, struct manifest_number *number,
                       int milli)
{
        if (!is_kind(r, node, path, YAML_SCALAR, "quantity"))
                return 0;
        number->value = quantity_parse(node->text, milli);
        number->set = number->value >= 0;
        if (!number->set)
                complain(r, node, "%s: '%.100s' is no quantity such as 500m, 2, 128Mi", path, node->text);
        return 0;
}

static int take_cpu(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        return take_amount(r, node, path, at, 1);
}

static int take_bytes(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        return take_amount(r, node, path, at, 0);
}

static int take_list(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        struct manifest_list *list = at;

        if (!is_kind(r, node, path, YAML_LIST, "list of strings"))
                return 0;
        list->items = room_for(r, node, sizeof *list->items);
        if (!list->items)
                return -1;
        for (const struct yaml_node *m = node->first; m; m = m->next) {
                if (!is_string(r, m, path))
                        continue;
                list->items[list->n] = pool_copy(&r->manifest->pool, m->text, r->err);
                if (!list->items[list->n++])
                        return -1;
        }
        return 0;
}

static int take_numbers(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        struct manifest_numbers *list = at;

        if (!is_kind(r, node, path, YAML_LIST, "list of numbers"))
                return 0;
        list->items = room_for(r, node, sizeof *list->items);
        if (!list->items)
                return -1;
        for (const struct yaml_node *m = node->first; m; m = m->next) {
                struct manifest_number number = { 0 };

                take_number(r, m, path, &number);
                if (number.set)
                        list->items[list->n++] = number.value;
        }
        return 0;
}

static int add_pair(struct reader *r, struct manifest_pairs *pairs, const char *key, const char *value)
{
        Cri__Pair *pair = pool_alloc(&r->manifest->pool, 1, sizeof *pair, r->err);

        if (!pair)
                return -1;
        cri__pair__init(pair);
        pair->key = pool_copy(&r->manifest->pool, key, r->err);
        pair->value = pool_copy(&r->manifest->pool, value, r->err);
        if (!pair->key || !pair->value)
                return -1;
        pairs->items[pairs->n++] = pair;
        return 0;
}

static int take_pairs(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        struct manifest_pairs *pairs = at;

        if (!is_kind(r, node, path, YAML_MAP, "map of strings"))
                return 0;
        pairs->items = room_for(r, node, sizeof *pairs->items);
        if (!pairs->items)
                return -1;
        for (const struct yaml_node *m = node->first; m; m = m->next) {
                const char *inner = pool_printf(&r->manifest->pool, r->err, "%s.%.200s", path, m->key);

                if (!inner)
                        return -1;
                if (is_string(r, m, inner) && add_pair(r, pairs, m->key, m->text) < 0)
                        return -1;
        }
        return 0;
}

/* Lists of {name, value}, of which each is one word and its value. */
static int take_named_values(struct reader *r, const struct yaml_node *node, const char *path, bool need_value,
                             struct manifest_pairs *pairs)
{
        struct named {
                const struct yaml_node *node;
                char *name, *value;
        } *items = NULL;
        static const struct field fields[] = {
                { "name", take_string, offsetof(struct named, name) },
                { "value", take_string, offsetof(struct named, value) },
                { 0 },
        };
        size_t n = 0;

        if (read_records(r, node, path, fields, sizeof *items, (void **) &items, &n) < 0)
                return -1;
        pairs->items = pool_alloc(&r->manifest->pool, n, sizeof *pairs->items, r->err);
        if (!pairs->items)
                return -1;
        for (size_t i = 0; i < n; i++) {
                if (str_empty(items[i].name) || (need_value && !items[i].value))
                        complain(r, items[i].node, "%s[%zu]: want name%s", path, i, need_value ? " and value" : "");
                else if (add_pair(r, pairs, items[i].name, items[i].value ? items[i].value : "") < 0)
                        return -1;
        }
        return 0;
}

static int take_sysctls(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        return take_named_values(r, node, path, true, at);
}

/* Resolver options, as the resolver has them: "ndots:5". */
static int take_dns_options(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        struct manifest_list *list = at;
        struct manifest_pairs pairs = { 0 };

        if (take_named_values(r, node, path, false, &pairs) < 0)
                return -1;
        list->items = pool_alloc(&r->manifest->pool, pairs.n, sizeof *list->items, r->err);
        if (!list->items)
                return -1;
        for (; list->n < pairs.n; list->n++) {
                const Cri__Pair *p = pairs.items[list->n];

                list->items[list->n] = pool_printf(&r->manifest->pool, r->err, "%s%s%s", p->key, *p->value ? ":" : "",
                                                   p->value);
                if (!list->items[list->n])
                        return -1;
        }
        return 0;
}

/* One of @words; *at is its place among them, plus @first. */
static int take_word(struct reader *r, const struct yaml_node *node, const char *path, const char *const *words,
                     int first, void *at)
{
        char all[256] = "";

        for (int i = 0; node->kind == YAML_SCALAR && words[i]; i++) {
                if (strcmp(words[i], node->text) == 0) {
                        *(int *) at = i + first;
                        return 0;
                }
        }
        for (int i = 0; words[i]; i++)
                snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", *words[i] ? words[i] : "\"\"");
        complain(r, node, "%s: want one of %s", path, all);
        return 0;
}

#define WORDS(function, first, ...)                                                                             \
        static int function(struct reader *r, const struct yaml_node *node, const char *path, void *at)        \
        {                                                                                                       \
                static const char *const words[] = { __VA_ARGS__, NULL };                                       \
                                                                                                                \
                return take_word(r, node, path, words, first, at);                                              \
        }

/* In the order of the enums in manifest.h. */
WORDS(take_restart, RESTART_ALWAYS, "Always", "OnFailure", "Never")
WORDS(take_pull, PULL_ALWAYS, "Always", "IfNotPresent", "Never")
WORDS(take_dns_policy, DNS_CLUSTER_FIRST, "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
WORDS(take_proc_mount, PROC_DEFAULT, "Default", "Unmasked")
WORDS(take_protocol, PROTOCOL_TCP, "TCP", "UDP", "SCTP")
WORDS(take_seccomp_type, SECCOMP_DEFAULT, "RuntimeDefault", "Unconfined", "Localhost")
WORDS(take_propagation, PROPAGATE_NONE, "None", "HostToContainer", "Bidirectional")
WORDS(take_host_type, HOST_UNCHECKED, "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket",
      "CharDevice", "BlockDevice")

/* A word that must be just this. */
static int take_api_version(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        if (node->kind != YAML_SCALAR || strcmp(node->text, "v1") != 0)
                complain(r, node, "%s: want v1", path);
        *(bool *) at = true;
        return 0;
}

static int take_pod_kind(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        if (node->kind != YAML_SCALAR || strcmp(node->text, "Pod") != 0)
                complain(r, node, "%s: want Pod", path);
        *(bool *) at = true;
        return 0;
}

#define MAP(function, type, ...)                                                                                \
        static int function(struct reader *r, const struct yaml_node *node, const char *path, void *at)        \
        {                                                                                                       \
                static const struct field fields[] = { __VA_ARGS__, { 0 } };                                    \
                                                                                                                \
                return read_fields(r, node, path, fields, (type *) at);                                         \
        }

#define RECORDS(function, owner, items_field, count_field, type, ...)                                           \
        static int function(struct reader *r, const struct yaml_node *node, const char *path, void *at)        \
        {                                                                                                       \
                static const struct field fields[] = { __VA_ARGS__, { 0 } };                                    \
                owner *o = at;                                                                                  \
                                                                                                                \
                return read_records(r, node, path, fields, sizeof(type), (void **) &o->items_field,             \
                                    &o->count_field);                                                           \
        }

#define IN(type, field) offsetof(struct manifest_##type, field)

MAP(take_seccomp, struct manifest_security,
    { "type", take_seccomp_type, IN(security, seccomp) },
    { "localhostProfile", take_string, IN(security, seccomp_file) })

MAP(take_capabilities, struct manifest_security,
    { "add", take_list, IN(security, add) },
    { "drop", take_list, IN(security, drop) })

MAP(take_pod_security, struct manifest_security,
    { "runAsUser", take_number, IN(security, user) },
    { "runAsGroup", take_number, IN(security, group) },
    { "runAsNonRoot", take_truth, IN(security, non_root) },
    { "supplementalGroups", take_numbers, IN(security, groups) },
    { "seccompProfile", take_seccomp, 0 },
    { "sysctls", take_sysctls, IN(security, sysctls) })

MAP(take_container_security, struct manifest_security,
    { "runAsUser", take_number, IN(security, user) },
    { "runAsGroup", take_number, IN(security, group) },
    { "runAsNonRoot", take_truth, IN(security, non_root) },
    { "privileged", take_truth, IN(security, privileged) },
    { "readOnlyRootFilesystem", take_truth, IN(security, readonly_rootfs) },
    { "allowPrivilegeEscalation", take_truth, IN(security, escalation) },
    { "capabilities", take_capabilities, 0 },
    { "seccompProfile", take_seccomp, 0 },
    { "procMount", take_proc_mount, IN(security, proc_mount) })

MAP(take_limits, struct manifest_container,
    { "cpu", take_cpu, IN(container, cpu_limit) },
    { "memory", take_bytes, IN(container, memory_limit) })

MAP(take_requests, struct manifest_container,
    { "cpu", take_cpu, IN(container, cpu_request) },
    { "memory", take_bytes, IN(container, memory_request) })

MAP(take_resources, struct manifest_container,
    { "limits", take_limits, 0 },
    { "requests", take_requests, 0 })

RECORDS(take_env, struct manifest_container, envs, n_envs, struct manifest_env,
        { "name", take_string, IN(env, name) },
        { "value", take_string, IN(env, value) })

/* A port's name is for other objects of a cluster; nothing here follows from it. */
RECORDS(take_ports, struct manifest_container, ports, n_ports, struct manifest_port,
        { "name", take_string, IN(port, name) },
        { "containerPort", take_number, IN(port, container) },
        { "hostPort", take_number, IN(port, host) },
        { "hostIP", take_string, IN(port, host_ip) },
        { "protocol", take_protocol, IN(port, protocol) })

RECORDS(take_mounts, struct manifest_container, mounts, n_mounts, struct manifest_mount,
        { "name", take_string, IN(mount, name) },
        { "mountPath", take_string, IN(mount, path) },
        { "readOnly", take_truth, IN(mount, readonly) },
        { "mountPropagation", take_propagation, IN(mount, propagation) })

#define CONTAINER_FIELDS                                                        \
        { "name", take_string, IN(container, name) },                           \
        { "image", take_string, IN(container, image) },                         \
        { "imagePullPolicy", take_pull, IN(container, pull) },                  \
        { "command", take_list, IN(container, command) },                       \
        { "args", take_list, IN(container, args) },                             \
        { "workingDir", take_string, IN(container, working_dir) },              \
        { "env", take_env, 0 },                                                 \
        { "ports", take_ports, 0 },                                             \
        { "resources", take_resources, 0 },                                     \
        { "volumeMounts", take_mounts, 0 },                                     \
        { "securityContext", take_container_security, IN(container, security) }

/* The two lists of a pod become one, whichever comes first in the file. */
static int take_containers(struct reader *r, const struct yaml_node *node, const char *path, bool init)
{
        static const struct field fields[] = { CONTAINER_FIELDS, { 0 } };
        struct manifest *m = r->manifest;
        struct manifest_container *items = NULL, *all;
        size_t n = 0, before = init ? 0 : m->n_containers;

        if (read_records(r, node, path, fields, sizeof *items, (void **) &items, &n) < 0)
                return -1;
        all = pool_alloc(&m->pool, m->n_containers + n, sizeof *all, r->err);
        if (!all)
                return -1;

        memcpy(all, m->containers ? m->containers : all, before * sizeof *all);
        for (size_t i = 0; i < n; i++) {
                all[before + i] = items[i];
                all[before + i].init = init;
        }
        for (size_t i = before; i < m->n_containers; i++)
                all[n + i] = m->containers[i];
        m->containers = all;
        m->n_containers += n;
        m->n_init += init ? n : 0;
        return 0;
}

static int take_init_containers(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        return take_containers(r, node, path, true);
}

static int take_main_containers(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        return take_containers(r, node, path, false);
}

static int take_host_path(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        static const struct field fields[] = {
                { "path", take_string, IN(volume, host_path) },
                { "type", take_host_type, IN(volume, host_type) },
                { 0 },
        };

        ((struct manifest_volume *) at)->is_host = true;
        return read_fields(r, node, path, fields, at);
}

/* In truths, Memory is "yes". */
WORDS(take_medium, TRUTH_NO, "", "Memory")

static int take_empty_dir(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        struct empty {
                int medium;
                struct manifest_number size;
        } empty = { 0 };
        static const struct field fields[] = {
                { "medium", take_medium, offsetof(struct empty, medium) },
                { "sizeLimit", take_bytes, offsetof(struct empty, size) },
                { 0 },
        };
        struct manifest_volume *volume = at;

        if (read_fields(r, node, path, fields, &empty) < 0)
                return -1;
        volume->is_empty = true;
        volume->memory = empty.medium == TRUTH_YES;
        volume->size = empty.size;
        return 0;
}

RECORDS(take_volumes, struct manifest, volumes, n_volumes, struct manifest_volume,
        { "name", take_string, IN(volume, name) },
        { "hostPath", take_host_path, 0 },
        { "emptyDir", take_empty_dir, 0 })

MAP(take_dns_config, struct manifest,
    { "nameservers", take_list, offsetof(struct manifest, dns_servers) },
    { "searches", take_list, offsetof(struct manifest, dns_searches) },
    { "options", take_dns_options, offsetof(struct manifest, dns_options) })

MAP(take_metadata, struct manifest,
    { "name", take_string, offsetof(struct manifest, name) },
    { "namespace", take_string, offsetof(struct manifest, space) },
    { "uid", take_string, offsetof(struct manifest, uid) },
    { "labels", take_pairs, offsetof(struct manifest, labels) },
    { "annotations", take_pairs, offsetof(struct manifest, annotations) })

MAP(take_spec, struct manifest,
    { "hostNetwork", take_truth, offsetof(struct manifest, host_network) },
    { "hostPID", take_truth, offsetof(struct manifest, host_pid) },
    { "hostIPC", take_truth, offsetof(struct manifest, host_ipc) },
    { "shareProcessNamespace", take_truth, offsetof(struct manifest, share_pid) },
    { "restartPolicy", take_restart, offsetof(struct manifest, restart) },
    { "terminationGracePeriodSeconds", take_number, offsetof(struct manifest, grace) },
    { "hostname", take_string, offsetof(struct manifest, hostname) },
    { "dnsPolicy", take_dns_policy, offsetof(struct manifest, dns_policy) },
    { "dnsConfig", take_dns_config, 0 },
    { "securityContext", take_pod_security, offsetof(struct manifest, security) },
    { "initContainers", take_init_containers, 0 },
    { "containers", take_main_containers, 0 },
    { "volumes", take_volumes, 0 })

/* The whole file. */
struct top {
        bool api_version, kind;
        struct manifest *manifest;
};

static int take_top_metadata(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        return take_metadata(r, node, path, r->manifest);
}

static int take_top_spec(struct reader *r, const struct yaml_node *node, const char *path, void *at)
{
        return take_spec(r, node, path, r->manifest);
}

static int read_top(struct reader *r)
{
        static const struct field fields[] = {
                { "apiVersion", take_api_version, offsetof(struct top, api_version) },
                { "kind", take_pod_kind, offsetof(struct top, kind) },
                { "metadata", take_top_metadata, 0 },
                { "spec", take_top_spec, 0 },
                { 0 },
        };
        const struct yaml_node *root = r->manifest->doc->root;
        struct top top = { 0 };

        if (read_fields(r, root, "", fields, &top) < 0)
                return -1;
        if (!top.api_version || !top.kind)
                complain(r, root, "want apiVersion: v1 and kind: Pod");
        return 0;
}

struct manifest_volume *manifest_find_volume(struct manifest *m, const char *name)
{
        for (size_t i = 0; i < m->n_volumes; i++)
                if (str_equal(m->volumes[i].name, name))
                        return &m->volumes[i];

        return NULL;
}

struct manifest *manifest_free(struct manifest *m)
{
        if (!m)
                return NULL;

        pool_done(&m->pool);
        yaml_doc_free(m->doc);
        free(m);
        return NULL;
}

int manifest_parse(const char *text, size_t n, const char *file, const struct manifest_options *options,
                   struct manifest **ret, struct buf *complaints, struct cringle_err *err)
{
        auto_of(manifest) m = calloc(1, sizeof *m);
        auto_complaints found = { 0 };
        struct reader r = { .manifest = m, .complaints = &found, .err = err };

        if (!m)
                return err_oom(err);
        if (yaml_parse(text, n, file, &m->doc, err) < 0)
                return -1;
        if (!m->doc->root)
                return err_set(err, CRINGLE_E_INVALID, "%s: nothing in it", file);

        if (read_top(&r) < 0)
                return -1;
        manifest_check(m, &found);
        if (!found.count && manifest_build(m, options, &found, err) < 0)
                return -1;
        if (found.out_of_memory)
                return err_oom(err);
        if (found.count)
                return buf_add(complaints, found.text.data, found.text.len, err) < 0 ? -1 : MANIFEST_REFUSED;

        *ret = steal(&m);
        return MANIFEST_READ;
}
