/*
 * The specification as a whole; see spec.h.  The parts are in spec_*.c.
 */

#include <stdarg.h>
#include <string.h>

#include "agent/base/guard.h"
#include "agent/base/str.h"
#include "agent/oci/spec.h"
#include "agent/oci/spec_private.h"

#define OCI_VERSION "1.3.0"

/* What external shims and hooks expect to find, under the names containerd gave them. */
#define ANNOTATION_PREFIX "io.kubernetes.cri."

int spec_warn(struct spec_builder *b, struct cringle_err *err, const char *format, ...)
{
        char text[512];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        return strv_add(&b->warnings, text, err);
}

int spec_check_line(const char *what, const char *text, struct cringle_err *err)
{
        for (const char *p = text; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        return err_set(err, CRINGLE_E_INVALID, "%s contains a control character", what);
        return 0;
}

bool spec_path_within(const char *path, const char *dir)
{
        size_t n = strlen(dir);

        return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

int spec_clean_path(const char *what, const char *path, char **ret, struct cringle_err *err)
{
        auto_free char *out = malloc(strlen(path) + 2);
        size_t n = 0;

        if (!out)
                return err_oom(err);
        if (path[0] != '/')
                return err_set(err, CRINGLE_E_INVALID, "%s '%s' is not an absolute path", what, path);
        if (spec_check_line(what, path, err) < 0)
                return -1;

        while (*path) {
                size_t word;

                path += strspn(path, "/");
                word = strcspn(path, "/");
                if (word == 2 && path[0] == '.' && path[1] == '.') {
                        while (n > 0 && out[--n] != '/')
                                ;
                } else if (word > 0 && !(word == 1 && path[0] == '.')) {
                        out[n++] = '/';
                        memcpy(out + n, path, word);
                        n += word;
                }
                path += word;
        }
        if (n == 0)
                out[n++] = '/';
        out[n] = '\0';

        *ret = steal(&out);
        return 0;
}

int spec_set_id_maps(struct json_object *o, const char *name, const struct cringle_id_map *maps, size_t n,
                     struct cringle_err *err)
{
        struct json_object *list = json_need_array(o, name, err);

        if (!list)
                return -1;
        for (size_t i = 0; i < n; i++) {
                auto_json m = json_object_new_object();

                if (!m)
                        return err_oom(err);
                if (json_set_int(m, "containerID", maps[i].inside, err) < 0 ||
                    json_set_int(m, "hostID", maps[i].outside, err) < 0 ||
                    json_set_int(m, "size", maps[i].length, err) < 0 || json_add(list, steal(&m), err) < 0)
                        return -1;
        }
        return 0;
}

/* --- the user namespace --- */

static int one_map(const char *what, Cri__IDMapping **maps, size_t n, struct cringle_id_map *ret,
                   struct cringle_err *err)
{
        const Cri__IDMapping *m = n == 1 ? maps[0] : NULL;

        if (!m)
                return err_set(err, CRINGLE_E_INVALID, "user namespace: want one map of %s ids, got %zu", what, n);
        if (m->container_id != 0)
                return err_set(err, CRINGLE_E_INVALID, "user namespace: the map of %s ids must start at 0", what);
        if (m->length == 0 || (uint64_t) m->host_id + m->length > UINT32_MAX)
                return err_set(err, CRINGLE_E_INVALID, "user namespace: the map of %s ids is out of range", what);
        *ret = (struct cringle_id_map){ .inside = 0, .outside = m->host_id, .length = m->length };
        return 0;
}

int spec_id_maps(const Cri__PodSandboxConfig *pod, struct cringle_id_map *ret_uids, struct cringle_id_map *ret_gids,
                 struct cringle_err *err)
{
        const Cri__LinuxSandboxSecurityContext *security = pod->linux ? pod->linux->security_context : NULL;
        const Cri__NamespaceOption *options = security ? security->namespace_options : NULL;
        const Cri__UserNamespace *user = options ? options->userns_options : NULL;
        struct cringle_id_map uids, gids;

        if (!user)
                return 0;
        switch (user->mode) {
        case CRI__NAMESPACE_MODE__NODE:
                if (user->n_uids || user->n_gids)
                        return err_set(err, CRINGLE_E_INVALID, "user namespace: maps are given for the node's");
                return 0;
        case CRI__NAMESPACE_MODE__POD:
                break;
        default:
                return err_set(err, CRINGLE_E_INVALID, "user namespace: mode %d is not supported", (int) user->mode);
        }
        if (one_map("user", user->uids, user->n_uids, &uids, err) < 0 ||
            one_map("group", user->gids, user->n_gids, &gids, err) < 0)
                return -1;
        *ret_uids = uids;
        *ret_gids = gids;
        return 1;
}

static int add_id_maps(struct spec_builder *b, struct cringle_err *err)
{
        struct cringle_id_map uids, gids;
        int r = spec_id_maps(b->in->pod, &uids, &gids, err);

        if (r < 0)
                return -1;
        if ((r == 1) != (b->in->user_ns != NULL))
                return err_set(err, CRINGLE_E_INTERNAL, "user namespace: the pod's does not fit its request");
        if (r == 0)
                return 0;
        if (b->in->user->uid >= uids.length || b->in->user->gid >= gids.length)
                return err_set(err, CRINGLE_E_INVALID, "user %u:%u is not mapped in the pod's user namespace",
                               b->in->user->uid, b->in->user->gid);
        if (spec_set_id_maps(b->linux_part, "uidMappings", &uids, 1, err) < 0 ||
            spec_set_id_maps(b->linux_part, "gidMappings", &gids, 1, err) < 0)
                return -1;
        return 0;
}

/* --- namespaces --- */

static int add_namespace(struct json_object *list, const char *type, const char *path, struct cringle_err *err)
{
        auto_json n = json_object_new_object();

        if (!n)
                return err_oom(err);
        if (json_set_string(n, "type", type, err) < 0 || (path && json_set_string(n, "path", path, err) < 0))
                return -1;
        return json_add(list, steal(&n), err);
}

static int add_namespaces(struct spec_builder *b, struct cringle_err *err)
{
        const struct spec_input *in = b->in;
        const Cri__NamespaceOption *options = b->security->namespace_options;
        struct json_object *list = json_need_array(b->linux_part, "namespaces", err);
        Cri__NamespaceMode pid = options ? options->pid : CRI__NAMESPACE_MODE__POD;

        if (!list)
                return -1;
        /* The user namespace first: it owns the others. */
        if (in->user_ns && add_namespace(list, "user", in->user_ns, err) < 0)
                return -1;
        if (pid != CRI__NAMESPACE_MODE__NODE &&
            add_namespace(list, "pid", pid == CRI__NAMESPACE_MODE__CONTAINER ? NULL : in->pid_ns, err) < 0)
                return -1;
        if ((in->net_ns && add_namespace(list, "network", in->net_ns, err) < 0) ||
            (in->ipc_ns && add_namespace(list, "ipc", in->ipc_ns, err) < 0) ||
            (in->uts_ns && add_namespace(list, "uts", in->uts_ns, err) < 0) ||
            add_namespace(list, "mount", NULL, err) < 0)
                return -1;

        /* Of its own on v2, so that the mount of its tree shows nothing above; a privileged one sees the host's. */
        if (in->cgroup_layout == CRINGLE_CGROUP_V2 && !b->privileged && add_namespace(list, "cgroup", NULL, err) < 0)
                return -1;
        return 0;
}

/* --- annotations --- */

static bool allowed(const char *const *patterns, const char *key)
{
        for (size_t i = 0; patterns && patterns[i]; i++) {
                size_t n = strlen(patterns[i]);

                if (n > 0 && patterns[i][n - 1] == '*' ? strncmp(patterns[i], key, n - 1) == 0 :
                                                         strcmp(patterns[i], key) == 0)
                        return true;
        }
        return false;
}

/*
 * Only what the configuration names: external runtimes take orders from
 * annotations (files to write hooks' output to, properties of systemd units).
 */
static int copy_annotations(struct spec_builder *b, struct json_object *o, Cri__Pair **pairs, size_t n,
                            struct cringle_err *err)
{
        for (size_t i = 0; i < n; i++)
                if ((!GUARD(annotations) || allowed(b->in->annotations, pairs[i]->key)) &&
                    !str_starts(pairs[i]->key, ANNOTATION_PREFIX) &&
                    json_set_string(o, pairs[i]->key, pairs[i]->value, err) < 0)
                        return -1;
        return 0;
}

static int add_annotations(struct spec_builder *b, struct cringle_err *err)
{
        const Cri__PodSandboxConfig *pod = b->in->pod;
        const Cri__ContainerConfig *container = b->in->container;
        const Cri__PodSandboxMetadata *m = pod->metadata;
        const Cri__ImageSpec *image = container->image;
        const struct {
                const char *key, *value;
        } ours[] = {
                { ANNOTATION_PREFIX "container-type", "container" },
                { ANNOTATION_PREFIX "sandbox-id", b->in->pod_id },
                { ANNOTATION_PREFIX "sandbox-name", m ? m->name : NULL },
                { ANNOTATION_PREFIX "sandbox-namespace", m ? m->namespace_ : NULL },
                { ANNOTATION_PREFIX "sandbox-uid", m ? m->uid : NULL },
                { ANNOTATION_PREFIX "container-name", container->metadata ? container->metadata->name : NULL },
                { ANNOTATION_PREFIX "image-name",
                  !image ? NULL : str_empty(image->user_specified_image) ? image->image : image->user_specified_image },
        };
        struct json_object *o = json_need_object(b->spec, "annotations", err);

        if (!o || copy_annotations(b, o, pod->annotations, pod->n_annotations, err) < 0 ||
            copy_annotations(b, o, container->annotations, container->n_annotations, err) < 0)
                return -1;
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
                if (!str_empty(ours[i].value) && json_set_string(o, ours[i].key, ours[i].value, err) < 0)
                        return -1;
        return 0;
}

/* --- all of it --- */

static int add_head(struct spec_builder *b, struct cringle_err *err)
{
        struct json_object *root;

        if (json_set_string(b->spec, "ociVersion", OCI_VERSION, err) < 0)
                return -1;
        b->process = json_need_object(b->spec, "process", err);
        root = b->process ? json_need_object(b->spec, "root", err) : NULL;
        if (!root || json_set_string(root, "path", "rootfs", err) < 0 ||
            json_set_bool(root, "readonly", b->security->readonly_rootfs, err) < 0)
                return -1;

        /* The host's name is not ours to set. */
        if (b->in->uts_ns && !str_empty(b->in->hostname)) {
                if (spec_check_line("hostname", b->in->hostname, err) < 0 || strchr(b->in->hostname, ':'))
                        return err_set(err, CRINGLE_E_INVALID, "hostname: not a name");
                if (json_set_string(b->spec, "hostname", b->in->hostname, err) < 0)
                        return -1;
        }
        b->linux_part = json_need_object(b->spec, "linux", err);
        return b->linux_part ? 0 : -1;
}

static int add_cgroup(struct spec_builder *b, struct cringle_err *err)
{
        return str_empty(b->in->cgroups_path) ? 0 :
                                                json_set_string(b->linux_part, "cgroupsPath", b->in->cgroups_path, err);
}

static int check_privileged(struct spec_builder *b, struct cringle_err *err)
{
        const Cri__LinuxPodSandboxConfig *pod = b->in->pod->linux;

        b->privileged = b->security->privileged;
        if (b->privileged && !(pod && pod->security_context && pod->security_context->privileged))
                return err_set(err, CRINGLE_E_INVALID, "a privileged container in a pod that is not");
        return 0;
}

static int build(struct spec_builder *b, struct cringle_err *err)
{
        static const struct {
                const char *what;
                int (*add)(struct spec_builder *b, struct cringle_err *err);
        } parts[] = {
                { "privileged", check_privileged },
                { "specification", add_head },
                { "user namespace", add_id_maps },
                { "process", spec_add_process },
                { "security", spec_add_security },
                { "mounts", spec_add_mounts },
                { "namespaces", add_namespaces },
                { "cgroup", add_cgroup },
                { "resources", spec_add_resources },
                { "devices", spec_add_devices },
                { "annotations", add_annotations },
        };

        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
                if (parts[i].add(b, err) < 0)
                        return err_wrap(err, "%s", parts[i].what);
        return 0;
}

int spec_build(const struct spec_input *in, struct json_object **ret, char ***ret_warnings, struct cringle_err *err)
{
        static const Cri__LinuxContainerSecurityContext no_security = CRI__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        const Cri__LinuxContainerConfig *config = in->container->linux;
        auto_json spec = json_object_new_object();
        struct spec_builder b = {
                .in = in,
                .security = config && config->security_context ? config->security_context : &no_security,
                .resources = config ? config->resources : NULL,
                .spec = spec,
        };

        if (!spec)
                return err_oom(err);
        if (build(&b, err) < 0) {
                strv_free(b.warnings);
                return -1;
        }

        *ret = steal(&spec);
        if (ret_warnings)
                *ret_warnings = b.warnings;
        else
                strv_free(b.warnings);
        return 0;
}

int spec_user(struct json_object *spec, struct oci_user **ret, struct cringle_err *err)
{
        struct json_object *process = NULL, *user = NULL, *groups = NULL;
        auto_of(oci_user) u = NULL;
        int64_t uid = 0, gid = 0;

        if (json_get_object(spec, "process", &process, err) < 0 ||
            (process && json_get_object(process, "user", &user, err) < 0) ||
            (user && (json_get_int(user, "uid", &uid, err) < 0 || json_get_int(user, "gid", &gid, err) < 0 ||
                      json_get_array(user, "additionalGids", &groups, err) < 0)))
                return -1;
        if (uid < 0 || uid > USERS_ID_MAX || gid < 0 || gid > USERS_ID_MAX)
                return err_set(err, CRINGLE_E_INVALID, "process.user is out of range");

        if (oci_user_new((uint32_t) uid, (uint32_t) gid, "/", NULL, &u, err) < 0)
                return -1;
        for (size_t i = 0; groups && i < json_object_array_length(groups); i++) {
                int64_t group = json_object_get_int64(json_object_array_get_idx(groups, i));

                if (group < 0 || group > USERS_ID_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "process.user.additionalGids is out of range");
                if (oci_user_add_group(u, (uint32_t) group, err) < 0)
                        return -1;
        }
        *ret = steal(&u);
        return 0;
}
