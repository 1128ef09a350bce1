/*
 * What the kubelet asks, and an image says, to a specification and a launch plan
 *
 * The input is JSON: { "pod": PodSandboxConfig, "container": ContainerConfig, "image": the image's config }, with the
 * names of the CRI's fields, maps as lists of key and value.  The machine is a made-up one.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/oci/plan.h"
#include "agent/oci/spec.h"
#include "tests/fuzz/fuzz.h"

#define CAPS UINT64_C(0x1ffffffffff)

/* --- messages from JSON --- */

/* What a message is made of goes when the run ends. */
static void *made[4096];
static size_t n_made;

static void *make(size_t n)
{
        void *p = n_made < sizeof made / sizeof *made ? calloc(1, n ? n : 1) : NULL;

        if (p)
                made[n_made++] = p;
        return p;
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
        switch (f->type) {
        case PROTOBUF_C_TYPE_BOOL:
                return sizeof(protobuf_c_boolean);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_DOUBLE:
                return 8;
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                return sizeof(void *);
        case PROTOBUF_C_TYPE_BYTES:
                return sizeof(ProtobufCBinaryData);
        default:
                return 4;
        }
}

static ProtobufCMessage *message_of(const ProtobufCMessageDescriptor *d, struct json_object *o);

/* Write @o to the field's place @to; false when it does not fit its type. */
static bool put_value(const ProtobufCFieldDescriptor *f, void *to, struct json_object *o)
{
        switch (f->type) {
        case PROTOBUF_C_TYPE_STRING: {
                const char *text = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : NULL;
                char *copy = text ? make(strlen(text) + 1) : NULL;

                if (copy)
                        *(char **) to = strcpy(copy, text);
                return copy;
        }
        case PROTOBUF_C_TYPE_MESSAGE: {
                ProtobufCMessage *m = json_object_is_type(o, json_type_object) ? message_of(f->descriptor, o) : NULL;

                if (m)
                        *(ProtobufCMessage **) to = m;
                return m;
        }
        case PROTOBUF_C_TYPE_BOOL:
                *(protobuf_c_boolean *) to = json_object_get_boolean(o);
                return true;
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_UINT64:
                *(int64_t *) to = json_object_get_int64(o);
                return true;
        case PROTOBUF_C_TYPE_BYTES:
        case PROTOBUF_C_TYPE_DOUBLE:
                return false;
        default:
                *(int32_t *) to = (int32_t) json_object_get_int64(o);
                return true;
        }
}

static void put_list(const ProtobufCFieldDescriptor *f, char *message, struct json_object *o)
{
        size_t most = json_object_is_type(o, json_type_array) ? json_object_array_length(o) : 0, n = 0;
        char *list = most ? make(most * size_of(f)) : NULL;

        for (size_t i = 0; list && i < most; i++)
                if (put_value(f, list + n * size_of(f), json_object_array_get_idx(o, i)))
                        n++;
        *(size_t *) (void *) (message + f->quantifier_offset) = n;
        *(void **) (void *) (message + f->offset) = list;
}

static ProtobufCMessage *message_of(const ProtobufCMessageDescriptor *d, struct json_object *o)
{
        ProtobufCMessage *m = make(d->sizeof_message);

        if (!m)
                return NULL;
        d->message_init(m);
        for (unsigned i = 0; i < d->n_fields; i++) {
                const ProtobufCFieldDescriptor *f = &d->fields[i];
                struct json_object *value;

                if (!json_object_object_get_ex(o, f->name, &value) || !value || f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
                        continue;
                if (f->label == PROTOBUF_C_LABEL_REPEATED)
                        put_list(f, (char *) m, value);
                else
                        put_value(f, (char *) m + f->offset, value);
        }
        return m;
}

/* --- the machine --- */

static int resolve(void *data, const char *path, char **ret, struct cringle_err *err)
{
        if (str_starts(path, "/missing"))
                return err_set(err, CRINGLE_E_NOT_FOUND, "host path %s", path);
        *ret = strdup(path);
        return 0;
}

static int propagation(void *data, const char *path, enum spec_propagation *ret, struct cringle_err *err)
{
        *ret = str_starts(path, "/shared") ? SPEC_SHARED : SPEC_PRIVATE;
        return 0;
}

static int devices(void *data, const char *path, struct spec_device **ret, size_t *ret_n, struct cringle_err *err)
{
        struct spec_device *list = calloc(1, sizeof *list);

        must(list);
        *list = (struct spec_device) { .path = strdup(path), .type = 'c', .major = 10, .minor = 229, .mode = 0666 };
        *ret = list;
        *ret_n = 1;
        return 0;
}

static int profile(void *data, const char *path, struct buf *ret, struct cringle_err *err)
{
        return buf_add_str(ret, "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[]}", err);
}

static int apparmor(void *data, const char *name, struct cringle_err *err)
{
        return 0;
}

static int selinux(void *data, const char *label, struct cringle_err *err)
{
        size_t colons = 0;

        for (const char *p = label; *p; p++)
                colons += *p == ':';
        must(colons >= 3 && strspn(label, ":,.-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(label));
        return 0;
}

static const struct spec_machine machine = {
        .selinux = selinux,
        .resolve = resolve, .propagation = propagation, .devices = devices, .profile = profile, .apparmor = apparmor,
};

/* --- what holds of each specification --- */

static const char *text_of(struct json_object *o, const char *name)
{
        const char *text = "";

        json_get_string(o, name, &text, NULL);
        return text;
}

static void check_spec(struct json_object *spec, const struct oci_user *user, bool privileged)
{
        struct json_object *process = NULL, *mounts = NULL, *root = NULL, *part = NULL;
        int64_t uid = -1;

        must(json_get_object(spec, "process", &process, NULL) == 1 && json_get_object(spec, "root", &root, NULL) == 1);
        must(strcmp(text_of(root, "path"), "rootfs") == 0 && text_of(process, "cwd")[0] == '/');
        must(json_get_array(process, "args", &part, NULL) == 1 && json_object_array_length(part) > 0);
        must(json_get_object(process, "user", &part, NULL) == 1);
        must(json_get_int(part, "uid", &uid, NULL) == 1 && uid == user->uid);
        if (json_get_array(process, "env", &part, NULL) == 1)
                for (size_t i = 0; i < json_object_array_length(part); i++)
                        must(strchr(json_object_get_string(json_object_array_get_idx(part, i)), '='));
        must(json_get_array(spec, "mounts", &mounts, NULL) == 1);
        for (size_t i = 0; i < json_object_array_length(mounts); i++)
                must(text_of(json_object_array_get_idx(mounts, i), "destination")[0] == '/');
        if (!privileged) {
                must(json_get_object(spec, "linux", &part, NULL) == 1);
                must(json_get_array(part, "namespaces", &part, NULL) == 1 && json_object_array_length(part) > 0);
        }
}

static void build(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *container,
                  const struct image_config *image)
{
        static const char passwd[] = "root:x:0:0::/root:\nweb:x:7:8::/home:\n", group[] = "root:x:0:\nweb:x:8:\n";
        const struct plan_options options = { .bundle = "/b", .id = "c" };
        const Cri__LinuxContainerSecurityContext *security = container->linux ? container->linux->security_context : NULL;
        struct spec_input in = SPEC_INPUT_INIT;
        auto_of(oci_user) user = NULL;
        auto_json spec = NULL;
        auto_buf plan = BUF_INIT;
        auto_strv warnings = NULL;
        auto_free char *who = NULL;
        int signal;

        spec_stop_signal(container, image, &signal, NULL);
        if (spec_user_string(container, image, &who, NULL) < 0)
                return;
        if (users_resolve(who, passwd, sizeof passwd - 1, group, sizeof group - 1, &user, NULL) < 0)
                return;
        in.machine = &machine;
        in.pod = pod;
        in.container = container;
        in.image = image;
        in.user = user;
        in.pod_id = "p";
        in.container_id = "c";
        in.hostname = "web";
        in.cgroups_path = "/pod/c";
        in.caps = CAPS;
        in.has_apparmor = in.has_selinux = true;
        if (spec_check_sysctls(pod, NULL) < 0 || spec_build(&in, &spec, &warnings, NULL) < 0)
                return;
        check_spec(spec, user, security && security->privileged);
        if (plan_compile(spec, &options, &plan, NULL) == 0)
                must(plan.len > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        auto_json o = NULL;
        struct json_object *parts[3] = { 0 };
        static const char *const names[3] = { "pod", "container", "image" };
        auto_of(image_config) image = NULL;
        const char *text;

        if (json_parse((const char *) data, size, &o, NULL) < 0)
                return 0;
        for (int i = 0; i < 3; i++)
                if (json_get_object(o, names[i], &parts[i], NULL) != 1)
                        return 0;
        text = json_object_to_json_string(parts[2]);
        if (image_config_parse(text, strlen(text), &image, NULL) == 0) {
                ProtobufCMessage *pod = message_of(&cri__pod_sandbox_config__descriptor, parts[0]);
                ProtobufCMessage *container = message_of(&cri__container_config__descriptor, parts[1]);

                build((const Cri__PodSandboxConfig *) pod, (const Cri__ContainerConfig *) container, image);
        }
        while (n_made > 0)
                free(made[--n_made]);
        return 0;
}
