/*
 * What the kubelet asks becomes exactly this specification, or is refused
 *
 * The machine is a made-up one, so the text is the same everywhere.
 */

#include "tests/support/unit.h"

#include "agent/base/str.h"
#include "agent/oci/caps.h"
#include "agent/oci/selinux.h"
#include "agent/oci/spec.h"

/* --- a machine --- */

static int fake_resolve(void *data, const char *path, char **ret, struct cringle_err *err)
{
        if (str_starts(path, "/missing"))
                return err_set(err, CRINGLE_E_NOT_FOUND, "host path %s", path);
        *ret = strdup(strcmp(path, "/link") == 0 ? "/target" : strcmp(path, "/to-proc") == 0 ? "/proc" : path);
        return 0;
}

static int fake_propagation(void *data, const char *path, enum spec_propagation *ret, struct cringle_err *err)
{
        *ret = str_starts(path, "/shared") ? SPEC_SHARED : str_starts(path, "/slave") ? SPEC_SLAVE : SPEC_PRIVATE;
        return 0;
}

static int fake_devices(void *data, const char *path, struct spec_device **ret, size_t *ret_n, struct cringle_err *err)
{
        static const struct spec_device all[] = {
                { .path = (char *) "/dev/fuse", .type = 'c', .major = 10, .minor = 229, .mode = 0666 },
                { .path = (char *) "/dev/sda", .type = 'b', .major = 8, .minor = 0, .mode = 0660, .gid = 6 },
                { .path = (char *) "/dev/snd/pcm", .type = 'c', .major = 116, .minor = 2, .mode = 0660, .gid = 29 },
                { .path = (char *) "/dev/snd/seq", .type = 'c', .major = 116, .minor = 1, .mode = 0660, .gid = 29 },
        };
        struct spec_device *list = calloc(4, sizeof *list);
        size_t n = 0, dir = strlen(path);

        for (size_t i = 0; i < 4; i++)
                if (str_starts(all[i].path, path) && (!all[i].path[dir] || all[i].path[dir] == '/')) {
                        list[n] = all[i];
                        list[n++].path = strdup(all[i].path);
                }
        *ret = list;
        *ret_n = n;
        return 0;
}

static int fake_profile(void *data, const char *path, struct buf *ret, struct cringle_err *err)
{
        if (strcmp(path, "/profiles/ok.json") == 0)
                return buf_add_str(ret, "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[]}", err);
        if (strcmp(path, "/profiles/broken.json") == 0)
                return buf_add_str(ret, "{\"defaultAction\":", err);
        return err_set(err, CRINGLE_E_NOT_FOUND, "open");
}

static int fake_apparmor(void *data, const char *name, struct cringle_err *err)
{
        return strcmp(name, "loaded") == 0 ? 0 : err_set(err, CRINGLE_E_NOT_FOUND, "the profile is not loaded");
}

static int fake_selinux(void *data, const char *label, struct cringle_err *err)
{
        return strstr(label, ":unheard_t:") ? err_set(err, CRINGLE_E_PRECONDITION, "the policy does not know it") : 0;
}

static const struct spec_machine machine = {
        .resolve = fake_resolve,
        .propagation = fake_propagation,
        .devices = fake_devices,
        .profile = fake_profile,
        .apparmor = fake_apparmor,
        .selinux = fake_selinux,
};

/* --- a request, to be changed by each test --- */

struct fixture {
        Cri__PodSandboxMetadata pod_metadata;
        Cri__UserNamespace userns;
        Cri__IDMapping map, *maps[1];
        Cri__NamespaceOption namespaces;
        Cri__LinuxSandboxSecurityContext pod_security;
        Cri__LinuxPodSandboxConfig pod_linux;
        Cri__PodSandboxConfig pod;
        Cri__ContainerMetadata metadata;
        Cri__Capability caps;
        Cri__LinuxContainerSecurityContext security;
        Cri__LinuxContainerResources resources;
        Cri__LinuxContainerConfig linux_part;
        Cri__ContainerConfig container;
        struct image_config image;
        struct oci_user user;
        struct spec_input in;

        struct json_object *spec;
        char **warnings;
        struct cringle_err err;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        if (!f)
                return -1;
        cri__pod_sandbox_metadata__init(&f->pod_metadata);
        cri__user_namespace__init(&f->userns);
        cri__idmapping__init(&f->map);
        cri__namespace_option__init(&f->namespaces);
        cri__linux_sandbox_security_context__init(&f->pod_security);
        cri__linux_pod_sandbox_config__init(&f->pod_linux);
        cri__pod_sandbox_config__init(&f->pod);
        cri__container_metadata__init(&f->metadata);
        cri__capability__init(&f->caps);
        cri__linux_container_security_context__init(&f->security);
        cri__linux_container_resources__init(&f->resources);
        cri__linux_container_config__init(&f->linux_part);
        cri__container_config__init(&f->container);

        f->pod_metadata.name = (char *) "web-0";
        f->pod_metadata.uid = (char *) "uid-1";
        f->pod_metadata.namespace_ = (char *) "shop";
        f->pod.metadata = &f->pod_metadata;
        f->pod.hostname = (char *) "web-0";
        f->pod.linux = &f->pod_linux;
        f->pod_linux.security_context = &f->pod_security;
        f->pod_security.namespace_options = &f->namespaces;
        f->namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;

        f->metadata.name = (char *) "nginx";
        f->container.metadata = &f->metadata;
        f->container.linux = &f->linux_part;
        f->linux_part.security_context = &f->security;
        f->linux_part.resources = &f->resources;
        f->security.namespace_options = &f->namespaces;

        f->user = (struct oci_user){ .home = (char *) "/root" };
        f->in = (struct spec_input) SPEC_INPUT_INIT;
        f->in.machine = &machine;
        f->in.pod = &f->pod;
        f->in.container = &f->container;
        f->in.image = &f->image;
        f->in.user = &f->user;
        f->in.pod_id = "pod-1";
        f->in.container_id = "container-1";
        f->in.hostname = "web-0";
        f->in.net_ns = "/ns/net";
        f->in.ipc_ns = "/ns/ipc";
        f->in.uts_ns = "/ns/uts";
        f->in.shm = "/pod/shm";
        f->in.resolv_conf = "/pod/resolv.conf";
        f->in.hosts = "/pod/hosts";
        f->in.hostname_file = "/pod/hostname";
        f->in.caps = CAPS_ALL;
        f->in.cgroups_path = "/kubepods/pod1/container-1";

        static char *cmd[] = { (char *) "/bin/app", NULL };
        f->image.cmd = cmd;
        f->image.working_dir = (char *) "";
        f->image.user = (char *) "";
        f->image.stop_signal = (char *) "";
        f->err = (struct cringle_err) CRINGLE_ERR_INIT;
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        json_object_put(f->spec);
        strv_free(f->warnings);
        free(f);
        return 0;
}

static int build(struct fixture *f)
{
        json_object_put(f->spec);
        strv_free(f->warnings);
        f->spec = NULL;
        f->warnings = NULL;
        f->err = (struct cringle_err) CRINGLE_ERR_INIT;
        return spec_build(&f->in, &f->spec, &f->warnings, &f->err);
}

static void built(struct fixture *f)
{
        assert_ok(build(f), &f->err);
}

static void refused(struct fixture *f, int code, const char *because)
{
        if (build(f) == 0)
                fail_msg("accepted, want: %s", because);
        assert_contains(f->err.text, because);
        assert_int_equal(f->err.code, code);
}

/* What is at @path ("linux/resources"), compact; "" when it is not there. */
static const char *at(struct fixture *f, const char *path)
{
        struct json_object *o = f->spec;
        char word[64];

        while (*path) {
                size_t n = strcspn(path, "/");

                memcpy(word, path, n);
                word[n] = '\0';
                path += n + (path[n] == '/');
                if (json_object_is_type(o, json_type_array))
                        o = json_object_array_get_idx(o, (size_t) atoi(word));
                else if (!json_object_object_get_ex(o, word, &o))
                        return "";
        }
        return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

/* The mount at @destination, or "". */
static const char *mount_at(struct fixture *f, const char *destination)
{
        struct json_object *list;

        json_object_object_get_ex(f->spec, "mounts", &list);
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *m = json_object_array_get_idx(list, i);

                if (strcmp(json_object_get_string(json_object_object_get(m, "destination")), destination) == 0)
                        return json_object_to_json_string_ext(m, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        }
        return "";
}

/* --- the whole --- */

static void a_plain_container_is_exactly_this(void **state)
{
        struct fixture *f = *state;

        built(f);
        assert_string_equal(at(f, "ociVersion"), "\"1.3.0\"");
        assert_string_equal(at(f, "root"), "{\"path\":\"rootfs\",\"readonly\":false}");
        assert_string_equal(at(f, "hostname"), "\"web-0\"");
        assert_string_equal(
                at(f, "process"),
                "{\"terminal\":false,\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[0]},\"args\":[\"/bin/app\"],"
                "\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"HOSTNAME=web-0\","
                "\"HOME=/root\"],\"cwd\":\"/\",\"capabilities\":{"
                "\"bounding\":[\"CAP_CHOWN\",\"CAP_DAC_OVERRIDE\",\"CAP_FOWNER\",\"CAP_FSETID\",\"CAP_KILL\","
                "\"CAP_SETGID\",\"CAP_SETUID\",\"CAP_SETPCAP\",\"CAP_NET_BIND_SERVICE\",\"CAP_NET_RAW\","
                "\"CAP_SYS_CHROOT\",\"CAP_MKNOD\",\"CAP_AUDIT_WRITE\",\"CAP_SETFCAP\"],"
                "\"effective\":[\"CAP_CHOWN\",\"CAP_DAC_OVERRIDE\",\"CAP_FOWNER\",\"CAP_FSETID\",\"CAP_KILL\","
                "\"CAP_SETGID\",\"CAP_SETUID\",\"CAP_SETPCAP\",\"CAP_NET_BIND_SERVICE\",\"CAP_NET_RAW\","
                "\"CAP_SYS_CHROOT\",\"CAP_MKNOD\",\"CAP_AUDIT_WRITE\",\"CAP_SETFCAP\"],"
                "\"permitted\":[\"CAP_CHOWN\",\"CAP_DAC_OVERRIDE\",\"CAP_FOWNER\",\"CAP_FSETID\",\"CAP_KILL\","
                "\"CAP_SETGID\",\"CAP_SETUID\",\"CAP_SETPCAP\",\"CAP_NET_BIND_SERVICE\",\"CAP_NET_RAW\","
                "\"CAP_SYS_CHROOT\",\"CAP_MKNOD\",\"CAP_AUDIT_WRITE\",\"CAP_SETFCAP\"],"
                "\"inheritable\":[],\"ambient\":[]},\"noNewPrivileges\":false,\"oomScoreAdj\":0}");
        assert_string_equal(
                at(f, "mounts"),
                "[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\","
                "\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
                "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
                "\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
                "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
                "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
                "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"nosuid\","
                "\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
                "{\"destination\":\"/dev/shm\",\"type\":\"bind\",\"source\":\"/pod/shm\",\"options\":[\"bind\","
                "\"rprivate\",\"nosuid\",\"noexec\",\"nodev\",\"rw\"]},"
                "{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
                "\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
                "{\"destination\":\"/etc/hostname\",\"type\":\"bind\",\"source\":\"/pod/hostname\",\"options\":"
                "[\"bind\",\"rprivate\",\"nosuid\",\"noexec\",\"nodev\",\"rw\"]},"
                "{\"destination\":\"/etc/hosts\",\"type\":\"bind\",\"source\":\"/pod/hosts\",\"options\":"
                "[\"bind\",\"rprivate\",\"nosuid\",\"noexec\",\"nodev\",\"rw\"]},"
                "{\"destination\":\"/etc/resolv.conf\",\"type\":\"bind\",\"source\":\"/pod/resolv.conf\",\"options\":"
                "[\"bind\",\"rprivate\",\"nosuid\",\"noexec\",\"nodev\",\"rw\"]},"
                "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
                "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}]");
        assert_string_equal(
                at(f, "linux"),
                "{\"maskedPaths\":[],\"readonlyPaths\":[],\"namespaces\":[{\"type\":\"pid\"},"
                "{\"type\":\"network\",\"path\":\"/ns/net\"},{\"type\":\"ipc\",\"path\":\"/ns/ipc\"},"
                "{\"type\":\"uts\",\"path\":\"/ns/uts\"},{\"type\":\"mount\"},{\"type\":\"cgroup\"}],"
                "\"cgroupsPath\":\"/kubepods/pod1/container-1\",\"resources\":{\"devices\":["
                "{\"allow\":false,\"access\":\"rwm\"},{\"allow\":true,\"type\":\"c\",\"access\":\"m\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":5,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":7,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":8,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":9,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":5,\"minor\":0,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":5,\"minor\":1,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":5,\"minor\":2,\"access\":\"rwm\"},"
                "{\"allow\":true,\"type\":\"c\",\"major\":136,\"access\":\"rwm\"}]},\"devices\":[]}");
        assert_string_equal(at(f, "annotations"),
                            "{\"io.kubernetes.cri.container-type\":\"container\","
                            "\"io.kubernetes.cri.sandbox-id\":\"pod-1\",\"io.kubernetes.cri.sandbox-name\":\"web-0\","
                            "\"io.kubernetes.cri.sandbox-namespace\":\"shop\","
                            "\"io.kubernetes.cri.sandbox-uid\":\"uid-1\","
                            "\"io.kubernetes.cri.container-name\":\"nginx\"}");
        assert_null(f->warnings);
}

static void privileged_takes_all_there_is(void **state)
{
        struct fixture *f = *state;
        Cri__SecurityProfile profile = CRI__SECURITY_PROFILE__INIT;
        char *masked[] = { (char *) "/proc/kcore" };

        f->security.privileged = true;
        refused(f, CRINGLE_E_INVALID, "in a pod that is not");

        f->pod_security.privileged = true;
        f->security.seccomp = &profile;
        f->security.apparmor = &profile;
        f->security.masked_paths = masked;
        f->security.n_masked_paths = 1;
        f->in.caps = CAPS_ALL & ~(UINT64_C(1) << caps_bit("SYS_RESOURCE"));
        built(f);
        assert_string_equal(at(f, "linux/seccomp"), "");
        assert_string_equal(at(f, "linux/maskedPaths"), "");
        assert_string_equal(at(f, "linux/resources/devices"), "[{\"allow\":true,\"access\":\"rwm\"}]");
        assert_contains(at(f, "linux/devices"), "{\"path\":\"/dev/sda\",\"type\":\"b\",\"major\":8,\"minor\":0,"
                                                "\"fileMode\":432,\"uid\":0,\"gid\":6}");
        assert_contains(mount_at(f, "/sys"), "\"rw\"");
        assert_contains(mount_at(f, "/sys/fs/cgroup"), "\"rw\"");
        assert_null(strstr(at(f, "linux/namespaces"), "cgroup"));
        assert_int_equal(json_object_array_length(json_object_object_get(
                                 json_object_object_get(json_object_object_get(f->spec, "process"), "capabilities"),
                                 "bounding")), CAPS_COUNT - 1);
        assert_non_null(f->warnings);
        assert_contains(f->warnings[0], "CAP_SYS_RESOURCE");
        assert_null(f->warnings[1]);
}

static void namespaces_follow_the_pins(void **state)
{
        struct fixture *f = *state;

        f->in.net_ns = f->in.ipc_ns = f->in.uts_ns = NULL;
        f->namespaces.pid = CRI__NAMESPACE_MODE__NODE;
        f->in.cgroup_layout = CRINGLE_CGROUP_MIXED;
        built(f);
        assert_string_equal(at(f, "linux/namespaces"), "[{\"type\":\"mount\"}]");
        assert_string_equal(at(f, "hostname"), "");
        /* The host's tree is what it sees there: never to be written. */
        assert_contains(mount_at(f, "/sys/fs/cgroup"), "\"ro\"");

        f->namespaces.pid = CRI__NAMESPACE_MODE__TARGET;
        f->in.pid_ns = "/ns/pid";
        built(f);
        assert_string_equal(at(f, "linux/namespaces"), "[{\"type\":\"pid\",\"path\":\"/ns/pid\"},{\"type\":\"mount\"}]");
        f->namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
        built(f);
        assert_string_equal(at(f, "linux/namespaces"), "[{\"type\":\"pid\"},{\"type\":\"mount\"}]");
}

static void user_namespaces_have_one_map_from_zero(void **state)
{
        struct fixture *f = *state;

        f->map = (Cri__IDMapping){ .base = f->map.base, .host_id = 100000, .container_id = 0, .length = 65536 };
        f->maps[0] = &f->map;
        f->userns.mode = CRI__NAMESPACE_MODE__POD;
        f->userns.uids = f->userns.gids = f->maps;
        f->userns.n_uids = f->userns.n_gids = 1;
        f->namespaces.userns_options = &f->userns;
        refused(f, CRINGLE_E_INTERNAL, "does not fit");

        f->in.user_ns = "/ns/user";
        built(f);
        assert_string_equal(at(f, "linux/uidMappings"), "[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]");
        assert_string_equal(at(f, "linux/gidMappings"), "[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]");
        assert_string_equal(at(f, "linux/namespaces/0"), "{\"type\":\"user\",\"path\":\"/ns/user\"}");

        /* Without a network namespace of its own it may not mount sysfs. */
        f->in.net_ns = NULL;
        built(f);
        assert_string_equal(mount_at(f, "/sys"),
                            "{\"destination\":\"/sys\",\"type\":\"bind\",\"source\":\"/sys\",\"options\":[\"rbind\","
                            "\"rprivate\",\"nosuid\",\"noexec\",\"nodev\",\"ro\"]}");

        f->user.uid = 65536;
        refused(f, CRINGLE_E_INVALID, "not mapped");
        f->user.uid = 0;
        f->map.length = 5;
        built(f);
        assert_null(strstr(mount_at(f, "/dev/pts"), "gid="));
        f->map.container_id = 1;
        refused(f, CRINGLE_E_INVALID, "must start at 0");
        f->map.container_id = 0;
        f->map.length = 0;
        refused(f, CRINGLE_E_INVALID, "out of range");
        f->map.host_id = UINT32_MAX;
        f->map.length = 2;
        refused(f, CRINGLE_E_INVALID, "out of range");
        f->userns.n_uids = 0;
        refused(f, CRINGLE_E_INVALID, "want one map");
        f->userns.mode = CRI__NAMESPACE_MODE__CONTAINER;
        refused(f, CRINGLE_E_INVALID, "mode 1");
}

/* --- process --- */

static void arguments_follow_kubernetes(void **state)
{
        struct fixture *f = *state;
        char *entrypoint[] = { (char *) "/entry", (char *) "-e", NULL }, *cleared[] = { (char *) "", NULL };
        char *command[] = { (char *) "/command" }, *args[] = { (char *) "one", (char *) "two" };
        const struct {
                char **entrypoint, **command, **args;
                const char *want;
        } table[] = {
                { NULL, NULL, NULL, "[\"/bin/app\"]" },
                { entrypoint, NULL, NULL, "[\"/entry\",\"-e\",\"/bin/app\"]" },
                { entrypoint, NULL, args, "[\"/entry\",\"-e\",\"one\",\"two\"]" },
                { entrypoint, command, NULL, "[\"/command\"]" },
                { entrypoint, command, args, "[\"/command\",\"one\",\"two\"]" },
                { cleared, NULL, NULL, "[\"/bin/app\"]" },
                { NULL, NULL, args, "[\"one\",\"two\"]" },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                f->image.entrypoint = table[i].entrypoint;
                f->container.command = table[i].command;
                f->container.n_command = table[i].command ? 1 : 0;
                f->container.args = table[i].args;
                f->container.n_args = table[i].args ? 2 : 0;
                built(f);
                assert_string_equal(at(f, "process/args"), table[i].want);
        }
        f->container.n_args = 0;
        f->image.cmd = NULL;
        refused(f, CRINGLE_E_INVALID, "what to run");
}

static void an_image_cannot_reach_into_the_environment(void **state)
{
        struct fixture *f = *state;
        char *env[] = { (char *) "SECRET", (char *) "*",     (char *) "=x",   (char *) "",
                        (char *) "A=1",    (char *) "PATH=/p", (char *) "A=2", (char *) "B=",
                        (char *) "L\nD=1", (char *) "E=x=y", NULL };
        Cri__KeyValue b = CRI__KEY_VALUE__INIT, raw = CRI__KEY_VALUE__INIT, *envs[] = { &b, &raw };

        b.key = (char *) "B";
        b.value = (ProtobufCBinaryData){ 5, (uint8_t *) "two\nl" };
        raw.key = (char *) "RAW";
        raw.value = (ProtobufCBinaryData){ 2, (uint8_t *) "\xff\xfe" };
        setenv("SECRET", "canary", 1);
        f->image.env = env;
        f->container.envs = envs;
        f->container.n_envs = 2;
        f->container.tty = true;
        built(f);
        assert_string_equal(at(f, "process/env"), "[\"PATH=/p\",\"TERM=xterm\",\"A=2\",\"B=two\\nl\",\"E=x=y\","
                                                  "\"HOSTNAME=web-0\",\"RAW=\xff\xfe\",\"HOME=/root\"]");
        assert_string_equal(at(f, "process/terminal"), "true");
}

static void environment_that_would_be_something_else_is_refused(void **state)
{
        static const struct {
                const char *key, *value;
                size_t n;
        } table[] = {
                { "", "x", 1 },           { "A=B", "x", 1 },         { "A\nB", "x", 1 },       { "A\rB", "x", 1 },
                { "A", "x\0y", 3 },       { "HOME", "/x\ny:", 5 },   { "HOME", "/x:0:", 5 },   { "USER", "a\rb", 3 },
                { "LOGNAME", "a:b", 3 },
        };
        struct fixture *f = *state;
        Cri__KeyValue e = CRI__KEY_VALUE__INIT, *envs[] = { &e };

        f->container.envs = envs;
        f->container.n_envs = 1;
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                e.key = (char *) table[i].key;
                e.value = (ProtobufCBinaryData){ table[i].n, (uint8_t *) table[i].value };
                refused(f, CRINGLE_E_INVALID, "environment");
        }

        f->container.n_envs = 0;
        f->in.hostname = "a\nb";
        refused(f, CRINGLE_E_INVALID, "hostname");
        f->in.hostname = "a:b";
        refused(f, CRINGLE_E_INVALID, "hostname");
}

static void directories_do_not_lead_out(void **state)
{
        static const struct {
                const char *cwd;
                bool good;
        } table[] = {
                { "/", true },
                { "/srv/../app", true },
                { "/proc/sys", true },
                { "/process/self/fd/3", true },
                { "app", false },
                { "./app", false },
                { "/a\nb", false },
                { "/proc/self/fd/7", false },
                { "/proc/self/fd", false },
                { "//proc//self/./fd/7", false },
                { "/x/../proc/self/fd/7/../../..", true },      /* "/proc": of the container's own */
                { "/x/../proc/self/fd/7", false },
                { "/proc/thread-self/fd/9", false },
                { "/proc/1/root", false },
                { "/proc/1/cwd/..", true },
                { "/proc/17/task/17/fd/8", false },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                f->container.working_dir = (char *) table[i].cwd;
                if ((build(f) == 0) != table[i].good)
                        fail_msg("'%s' is %s", table[i].cwd, table[i].good ? f->err.text : "accepted");
                f->container.working_dir = (char *) "";
                f->image.working_dir = (char *) table[i].cwd;
                if ((build(f) == 0) != table[i].good)
                        fail_msg("the image's '%s' is %s", table[i].cwd, table[i].good ? f->err.text : "accepted");
                f->image.working_dir = (char *) "";
        }
        f->image.working_dir = (char *) "/proc/1/cwd/../../../srv/";
        built(f);
        assert_string_equal(at(f, "process/cwd"), "\"/srv\"");
        f->container.working_dir = (char *) "/app";
        built(f);
        assert_string_equal(at(f, "process/cwd"), "\"/app\"");
}

static void the_user_to_look_up_is_the_one_asked_for(void **state)
{
        struct fixture *f = *state;
        Cri__Int64Value user = CRI__INT64_VALUE__INIT, group = CRI__INT64_VALUE__INIT;
        const struct {
                int64_t user, group;    /* -2: not set */
                const char *name, *image, *want;        /* NULL: refused */
        } table[] = {
                { -2, -2, "", "", "0" },                { -2, -2, "", "web:www", "web:www" },
                { 5, -2, "", "web", "5" },              { 5, 6, "", "", "5:6" },
                { -2, -2, "name", "web", "name" },      { -2, 6, "name", "", "name:6" },
                { -2, 6, "", "web", NULL },             { -2, 6, "", "", NULL },
                { -1, -2, "", "", NULL },               { 2147483648, -2, "", "", NULL },
                { 5, 4294967296, "", "", NULL },        { 5, -1, "", "", NULL },
                { -2, -2, "a:b", "", NULL },            { 0, -2, "", "1000", "0" },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                auto_free char *who = NULL;
                struct cringle_err *err = unit_err();

                user.value = table[i].user;
                group.value = table[i].group;
                f->security.run_as_user = table[i].user == -2 ? NULL : &user;
                f->security.run_as_group = table[i].group == -2 ? NULL : &group;
                f->security.run_as_username = (char *) table[i].name;
                f->image.user = (char *) table[i].image;
                if (spec_user_string(&f->container, &f->image, &who, err) < 0) {
                        if (table[i].want)
                                fail_msg("row %zu: %s", i, err->text);
                        assert_int_equal(err->code, CRINGLE_E_INVALID);
                        continue;
                }
                if (!table[i].want)
                        fail_msg("row %zu became '%s'", i, who);
                assert_string_equal(who, table[i].want);
        }

        /* And whoever comes back with another one is not believed. */
        user.value = 1000;
        f->security.run_as_user = &user;
        f->security.run_as_group = NULL;
        refused(f, CRINGLE_E_INTERNAL, "not the one requested");
}

static void groups_hold_the_primary_one_and_follow_the_policy(void **state)
{
        struct fixture *f = *state;
        uint32_t image_groups[] = { 100, 101 };
        int64_t asked[] = { 2000, 101 };
        auto_of(oci_user) u = NULL;

        f->user.uid = 33;
        f->user.gid = 44;
        f->user.groups = image_groups;
        f->user.n_groups = 2;
        f->security.supplemental_groups = asked;
        f->security.n_supplemental_groups = 2;
        built(f);
        assert_string_equal(at(f, "process/user"), "{\"uid\":33,\"gid\":44,\"additionalGids\":[44,100,101,2000]}");
        f->security.supplemental_groups_policy = CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict;
        built(f);
        assert_string_equal(at(f, "process/user"), "{\"uid\":33,\"gid\":44,\"additionalGids\":[44,2000,101]}");

        assert_ok(spec_user(f->spec, &u, &f->err), &f->err);
        assert_int_equal(u->uid, 33);
        assert_int_equal(u->gid, 44);
        assert_int_equal(u->n_groups, 3);

        asked[0] = -1;
        refused(f, CRINGLE_E_INVALID, "out of range");
        asked[0] = INT64_C(1) << 32;
        refused(f, CRINGLE_E_INVALID, "out of range");
        asked[0] = 1;
        f->security.supplemental_groups_policy = 7;
        refused(f, CRINGLE_E_INVALID, "policy 7");
}

static void capabilities_are_added_then_dropped(void **state)
{
        struct fixture *f = *state;
        const struct {
                const char *add[3], *drop[3], *ambient[2];
                const char *bounding, *held;    /* NULL bounding: refused; held: ambient and inheritable */
        } table[] = {
                { .drop = { "ALL" }, .bounding = "[]", .held = "[]" },
                { .drop = { "all" }, .add = { "NET_ADMIN", "CAP_CHOWN" }, .bounding = "[\"CAP_CHOWN\",\"CAP_NET_ADMIN\"]",
                  .held = "[]" },
                { .drop = { "ALL", "CHOWN" }, .add = { "chown", "kill" }, .bounding = "[\"CAP_KILL\"]", .held = "[]" },
                { .drop = { "ALL" }, .add = { "ALL", "KILL" }, .bounding = "[\"CAP_KILL\"]", .held = "[]" },
                { .drop = { "ALL" }, .ambient = { "NET_BIND_SERVICE" }, .bounding = "[\"CAP_NET_BIND_SERVICE\"]",
                  .held = "[\"CAP_NET_BIND_SERVICE\"]" },
                { .drop = { "ALL", "KILL" }, .ambient = { "KILL" }, .bounding = "[]", .held = "[]" },
                { .add = { "NO_SUCH" } },
                { .drop = { "NO_SUCH" } },
                { .add = { "" } },
        };

        f->security.capabilities = &f->caps;
        f->user.uid = 1000;
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                f->caps.add_capabilities = (char **) table[i].add;
                f->caps.n_add_capabilities = strv_count(table[i].add);
                f->caps.drop_capabilities = (char **) table[i].drop;
                f->caps.n_drop_capabilities = strv_count(table[i].drop);
                f->caps.add_ambient_capabilities = (char **) table[i].ambient;
                f->caps.n_add_ambient_capabilities = strv_count(table[i].ambient);
                if (!table[i].bounding) {
                        refused(f, CRINGLE_E_INVALID, "there is no capability");
                        continue;
                }
                built(f);
                assert_string_equal(at(f, "process/capabilities/bounding"), table[i].bounding);
                assert_string_equal(at(f, "process/capabilities/permitted"), table[i].bounding);
                assert_string_equal(at(f, "process/capabilities/effective"), table[i].bounding);
                assert_string_equal(at(f, "process/capabilities/inheritable"), table[i].held);
                assert_string_equal(at(f, "process/capabilities/ambient"), table[i].held);
        }
}

static void oom_scores_are_kept_or_raised(void **state)
{
        struct fixture *f = *state;

        f->resources.oom_score_adj = -997;
        f->in.oom_score_adj = -500;
        built(f);
        assert_string_equal(at(f, "process/oomScoreAdj"), "-997");
        f->in.may_lower_oom = false;
        built(f);
        assert_string_equal(at(f, "process/oomScoreAdj"), "-500");
        assert_contains(f->warnings[0], "-997");
        f->resources.oom_score_adj = 1001;
        refused(f, CRINGLE_E_INVALID, "out of range");
}

/* --- security --- */

static void no_way_leads_from_a_profile_to_none(void **state)
{
        struct fixture *f = *state;
        Cri__SecurityProfile p = CRI__SECURITY_PROFILE__INIT;

        built(f);
        assert_string_equal(at(f, "linux/seccomp"), "");

        f->security.seccomp = &p;
        built(f);
        assert_contains(at(f, "linux/seccomp"), "\"defaultAction\":\"SCMP_ACT_ERRNO\"");
        assert_null(strstr(at(f, "linux/seccomp"), "\"mount\""));
        f->in.seccomp_default = "/profiles/ok.json";
        built(f);
        assert_string_equal(at(f, "linux/seccomp"), "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[]}");
        f->in.seccomp_default = "/profiles/gone.json";
        refused(f, CRINGLE_E_NOT_FOUND, "gone.json");
        f->in.seccomp_default = NULL;

        p.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
        built(f);
        assert_string_equal(at(f, "linux/seccomp"), "");

        p.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
        refused(f, CRINGLE_E_INVALID, "not an absolute path");
        p.localhost_ref = (char *) "ok.json";
        refused(f, CRINGLE_E_INVALID, "not an absolute path");
        p.localhost_ref = (char *) "/profiles/gone.json";
        refused(f, CRINGLE_E_NOT_FOUND, "gone.json");
        p.localhost_ref = (char *) "/profiles/broken.json";
        refused(f, CRINGLE_E_INVALID, "broken.json");
        p.localhost_ref = (char *) "/profiles/ok.json";
        built(f);
        assert_string_equal(at(f, "linux/seccomp/defaultAction"), "\"SCMP_ACT_ALLOW\"");
        p.profile_type = 9;
        refused(f, CRINGLE_E_INVALID, "type 9");
        p.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;
        f->in.has_seccomp = false;
        refused(f, CRINGLE_E_PRECONDITION, "no seccomp");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void the_fields_of_before_still_count(void **state)
{
        struct fixture *f = *state;
        Cri__SecurityProfile p = CRI__SECURITY_PROFILE__INIT;

        f->security.seccomp_profile_path = (char *) "runtime/default";
        built(f);
        assert_string_not_equal(at(f, "linux/seccomp"), "");
        f->security.seccomp_profile_path = (char *) "localhost/";
        refused(f, CRINGLE_E_INVALID, "not an absolute path");
        f->security.seccomp_profile_path = (char *) "localhost//profiles/ok.json";
        built(f);
        assert_string_equal(at(f, "linux/seccomp/defaultAction"), "\"SCMP_ACT_ALLOW\"");
        f->security.seccomp_profile_path = (char *) "whatever";
        refused(f, CRINGLE_E_INVALID, "not known");

        /* The field of today wins. */
        p.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
        f->security.seccomp = &p;
        built(f);
        assert_string_equal(at(f, "linux/seccomp"), "");
}
#pragma GCC diagnostic pop

static void labels_are_given_or_refused(void **state)
{
        struct fixture *f = *state;
        Cri__SecurityProfile p = CRI__SECURITY_PROFILE__INIT;
        Cri__SELinuxOption o = CRI__SELINUX_OPTION__INIT;

        f->security.apparmor = &p;
        built(f);
        p.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
        p.localhost_ref = (char *) "loaded";
        refused(f, CRINGLE_E_PRECONDITION, "no AppArmor");
        f->in.has_apparmor = true;
        built(f);
        assert_string_equal(at(f, "process/apparmorProfile"), "\"loaded\"");
        p.localhost_ref = (char *) "other";
        refused(f, CRINGLE_E_NOT_FOUND, "not loaded");
        p.localhost_ref = (char *) "";
        refused(f, CRINGLE_E_INVALID, "no name");
        f->security.apparmor = NULL;

        f->security.selinux_options = &o;
        built(f);
        o.level = (char *) "s0:c1,c2";
        refused(f, CRINGLE_E_PRECONDITION, "gives no labels");
        f->in.has_selinux = true;
        built(f);
        assert_string_equal(at(f, "process/selinuxLabel"), "\"system_u:system_r:container_t:s0:c1,c2\"");
        assert_string_equal(at(f, "linux/mountLabel"), "\"system_u:object_r:container_file_t:s0:c1,c2\"");
        o.type = (char *) "a:b";
        refused(f, CRINGLE_E_INVALID, "malformed");
        o.type = (char *) "unheard_t";
        refused(f, CRINGLE_E_PRECONDITION, "does not know");
}

static void labels_are_the_pods_unless_the_container_says_more(void **state)
{
        struct fixture *f = *state;
        Cri__SELinuxOption pod = CRI__SELINUX_OPTION__INIT, container = CRI__SELINUX_OPTION__INIT;

        pod.user = (char *) "u";
        f->pod_security.selinux_options = &pod;
        refused(f, CRINGLE_E_PRECONDITION, "gives no labels");
        f->pod_security.selinux_options = NULL;
        f->in.has_selinux = true;
        f->in.selinux_level = "s0:c7,c8";
        built(f);
        assert_string_equal(at(f, "process/selinuxLabel"), "\"system_u:system_r:container_t:s0:c7,c8\"");
        assert_string_equal(at(f, "linux/mountLabel"), "\"system_u:object_r:container_file_t:s0:c7,c8\"");

        f->pod_security.selinux_options = &pod;
        f->security.selinux_options = &container;
        pod.type = (char *) "pod_t";
        container.type = (char *) "mine_t";
        built(f);
        assert_string_equal(at(f, "process/selinuxLabel"), "\"u:system_r:mine_t:s0:c7,c8\"");
        container.level = (char *) "s0";
        built(f);
        assert_string_equal(at(f, "process/selinuxLabel"), "\"u:system_r:mine_t:s0\"");
        assert_string_equal(at(f, "linux/mountLabel"), "\"system_u:object_r:container_file_t:s0\"");
}

static void what_is_not_confined_has_no_categories(void **state)
{
        struct fixture *f = *state;
        Cri__SELinuxOption o = CRI__SELINUX_OPTION__INIT;

        f->in.has_selinux = true;
        f->in.selinux_level = "s0:c7,c8";
        f->security.privileged = f->pod_security.privileged = true;
        built(f);
        assert_string_equal(at(f, "process/selinuxLabel"), "\"system_u:system_r:spc_t:s0\"");
        assert_string_equal(at(f, "linux/mountLabel"), "\"system_u:object_r:container_file_t:s0:c7,c8\"");
        f->security.selinux_options = &o;
        o.level = (char *) "s0,c4,c5";
        refused(f, CRINGLE_E_INVALID, "malformed");
        f->security.selinux_options = NULL;

        f->security.privileged = false;
        f->namespaces.ipc = CRI__NAMESPACE_MODE__NODE;
        built(f);
        assert_string_equal(at(f, "process/selinuxLabel"), "\"system_u:system_r:spc_t:s0\"");
}

static void a_level_is_a_level(void **state)
{
        static const char *const good[] = { "s0", "s15", "s0:c0", "s0:c1,c2", "s0:c0.c1023", "s0-s0:c0.c1023,c7" };
        static const char *const bad[] = { "s", "c1", "s0:", "s0,c1", "s0:c1,", "s0:1", "s0-", "s0:c1,c2 ", "s0:c12345", "s0:c1:c2",
                                           "S0", "s0-s0-s0", "s0:c1\n" };
        struct fixture *f = *state;
        Cri__SELinuxOption o = CRI__SELINUX_OPTION__INIT;

        f->in.has_selinux = true;
        f->security.selinux_options = &o;
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
                o.level = (char *) good[i];
                built(f);
        }
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                o.level = (char *) bad[i];
                refused(f, CRINGLE_E_INVALID, "malformed");
        }
}

static void pods_have_levels_of_two_categories(void **state)
{
        for (int i = 0; i < 1000; i++) {
                char level[SELINUX_LEVEL_MAX];
                unsigned a = 0, b = 0;
                int end = 0;

                selinux_random_level(level);
                assert_int_equal(sscanf(level, "s0:c%u,c%u%n", &a, &b, &end), 2);
                assert_int_equal(level[end], '\0');
                assert_true(a < b && b < 1024);
        }
}

static void hidden_paths_are_the_kubelets_list(void **state)
{
        struct fixture *f = *state;
        char *masked[] = { (char *) "/proc/acpi", (char *) "/sys//firmware/" }, *readonly[] = { (char *) "/proc/sys" };

        f->security.masked_paths = masked;
        f->security.n_masked_paths = 2;
        f->security.readonly_paths = readonly;
        f->security.n_readonly_paths = 1;
        built(f);
        assert_string_equal(at(f, "linux/maskedPaths"), "[\"/proc/acpi\",\"/sys/firmware\"]");
        assert_string_equal(at(f, "linux/readonlyPaths"), "[\"/proc/sys\"]");
        readonly[0] = (char *) "proc/sys";
        refused(f, CRINGLE_E_INVALID, "not an absolute path");
}

static void image_and_annotations_choose_no_confinement(void **state)
{
        struct fixture *f = *state;
        Cri__Pair systemd = CRI__PAIR__INIT, crun = CRI__PAIR__INIT, good = CRI__PAIR__INIT, ours = CRI__PAIR__INIT;
        Cri__Pair *pod[] = { &systemd, &crun }, *container[] = { &good, &ours };
        const char *const allowed[] = { "example.com/*", "io.kubernetes.*", NULL };
        auto_free char *plain = NULL;

        built(f);
        plain = strdup(at(f, "annotations"));

        systemd.key = (char *) "org.systemd.property.ExecStart";
        systemd.value = (char *) "'/bin/sh'";
        crun.key = (char *) "run.oci.hooks.stderr";
        crun.value = (char *) "/etc/passwd";
        good.key = (char *) "example.com/x";
        good.value = (char *) "1";
        ours.key = (char *) "io.kubernetes.cri.container-type";
        ours.value = (char *) "sandbox";
        f->pod.annotations = pod;
        f->pod.n_annotations = 2;
        f->container.annotations = container;
        f->container.n_annotations = 2;
        built(f);
        assert_string_equal(at(f, "annotations"), plain);

        f->in.annotations = allowed;
        built(f);
        assert_contains(at(f, "annotations"), "\"example.com/x\":\"1\"");
        assert_contains(at(f, "annotations"), "\"io.kubernetes.cri.container-type\":\"container\"");
        assert_null(strstr(at(f, "annotations"), "systemd"));
        assert_null(strstr(at(f, "annotations"), "run.oci"));
}

#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"]}"

static char *built_of(struct fixture *f, const char *config)
{
        struct cringle_err *err = unit_err();
        auto_of(image_config) image = NULL;

        assert_ok(image_config_parse(config, strlen(config), &image, err), err);
        f->in.image = image;
        built(f);
        f->in.image = &f->image;
        return strdup(json_object_to_json_string(f->spec));
}

/* Labels that other runtimes obey, marks of checkpoints, and volumes that lead out: the same as without them. */
static void what_an_image_calls_itself_changes_nothing(void **state)
{
        struct fixture *f = *state;
        auto_free char *plain = built_of(f, "{\"config\":{\"Cmd\":[\"/bin/app\"]}," ROOTFS "}");
        auto_free char *called = built_of(f,
                "{\"config\":{\"Cmd\":[\"/bin/app\"],\"Labels\":{"
                "\"io.cringle.hook\":\"/bin/sh\",\"cringle.io/privileged\":\"true\",\"localtime.cringle.io/mount\":\"true\","
                "\"io.containerd.image.config.stop-signal\":\"SIGKILL\",\"containerd.io/restart.loguri\":\"binary:///bin/sh\","
                "\"containerd.io/restart.status\":\"running\",\"io.cri-containerd.kind\":\"sandbox\","
                "\"io.kubernetes.cri-o.userns-mode\":\"host\",\"io.kubernetes.cri-o.UnifiedCgroup.app\":\"memory.max=max\","
                "\"io.podman.annotations.privileged\":\"TRUE\",\"io.podman.annotations.checkpoint.name\":\"x\","
                "\"io.kubernetes.cri-o.annotations.checkpoint.name\":\"x\",\"org.criu.checkpoint.container.name\":\"x\","
                "\"org.systemd.property.ExecStart\":\"'/bin/sh'\",\"run.oci.hooks.stderr\":\"/etc/passwd\","
                "\"seccomp\":\"unconfined\",\"apparmor\":\"unconfined\"},"
                "\"Volumes\":{\"/../../../etc\":{},\"/a/../../x\":{},\"/proc\":{},\"/data\":{}},"
                "\"annotations\":{\"org.criu.checkpoint.container.name\":\"x\"}},"
                "\"annotations\":{\"io.podman.annotations.checkpoint.name\":\"x\"},"
                "\"host_config\":{\"Privileged\":true,\"SecurityOpt\":[\"seccomp=unconfined\"]}," ROOTFS "}");

        assert_string_equal(called, plain);
}

/* --- mounts --- */

static void mounts_are_bound_as_asked_and_sorted(void **state)
{
        struct fixture *f = *state;
        Cri__Mount deep = CRI__MOUNT__INIT, top = CRI__MOUNT__INIT, hosts = CRI__MOUNT__INIT;
        Cri__Mount *mounts[] = { &deep, &top, &hosts };
        char *options[] = { (char *) "noexec", (char *) "nodev", (char *) "noexec" };

        deep.container_path = (char *) "/data/a/b/";
        deep.host_path = (char *) "/link";
        deep.readonly = true;
        top.container_path = (char *) "/data";
        top.host_path = (char *) "/shared/x";
        top.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
        hosts.container_path = (char *) "/etc//hosts";
        hosts.host_path = (char *) "/kubelet/hosts";
        hosts.mount_options = options;
        hosts.n_mount_options = 3;
        f->container.mounts = mounts;
        f->container.n_mounts = 3;
        built(f);
        assert_string_equal(mount_at(f, "/data/a/b"), "{\"destination\":\"/data/a/b\",\"type\":\"bind\","
                                                      "\"source\":\"/target\",\"options\":[\"rbind\",\"rprivate\",\"ro\"]}");
        assert_string_equal(mount_at(f, "/data"), "{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/shared/x\","
                                                  "\"options\":[\"rbind\",\"rshared\",\"rw\"]}");
        assert_string_equal(mount_at(f, "/etc/hosts"),
                            "{\"destination\":\"/etc/hosts\",\"type\":\"bind\",\"source\":\"/kubelet/hosts\","
                            "\"options\":[\"rbind\",\"rprivate\",\"rw\",\"noexec\",\"nodev\"]}");
        assert_null(strstr(at(f, "mounts"), "/pod/hosts"));
        assert_true(strstr(at(f, "mounts"), "\"/data\"") < strstr(at(f, "mounts"), "\"/data/a/b\""));
        assert_string_equal(at(f, "linux/rootfsPropagation"), "\"rshared\"");

        deep.recursive_read_only = true;
        top.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
        built(f);
        assert_contains(mount_at(f, "/data/a/b"), "[\"rbind\",\"rprivate\",\"rro\"]");
        assert_contains(mount_at(f, "/data"), "[\"rbind\",\"rslave\",\"rw\"]");
        assert_string_equal(at(f, "linux/rootfsPropagation"), "\"rslave\"");

        f->security.readonly_rootfs = true;
        built(f);
        assert_string_equal(at(f, "root/readonly"), "true");
        assert_contains(mount_at(f, "/etc/resolv.conf"), "\"ro\"");
}

/* Wherever it is mounted: nothing in the specification would do it; volumes_label() does where it was asked for, and there alone. */
static void no_file_of_the_host_is_relabelled(void **state)
{
        static const char *const places[] = { "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/dev/shm", "/data" };
        struct fixture *f = *state;
        Cri__SELinuxOption label = CRI__SELINUX_OPTION__INIT;

        label.level = (char *) "s0:c1,c2";
        f->security.selinux_options = &label;
        f->in.has_selinux = true;
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
                for (int asked = 0; asked < 2; asked++) {
                        Cri__Mount m = CRI__MOUNT__INIT, *list = &m;
                        const char *mounts;

                        m.container_path = (char *) places[i];
                        m.host_path = (char *) "/host/file";
                        m.selinux_relabel = asked;
                        f->container.mounts = &list;
                        f->container.n_mounts = 1;
                        built(f);
                        mounts = at(f, "mounts");
                        assert_contains(mounts, "\"/host/file\"");
                        assert_null(strstr(mounts, "\"z\""));
                        assert_null(strstr(mounts, "\"Z\""));
                        assert_null(strstr(mounts, "context="));
                        assert_null(f->warnings);
                }
}

static void mounts_that_cannot_be_are_refused(void **state)
{
        enum { SHARED = CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL,
               SLAVE = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER,
               BAD = CRINGLE_E_INVALID };
        static const struct {
                const char *to, *from;
                int code;
                const char *because;
                int propagation;
                bool readonly, recursive;
                const char *option, *sub_path;
        } table[] = {
                { "/x", "/missing/x", CRINGLE_E_NOT_FOUND, "/missing/x" },
                { "/x", "", BAD, "absolute" },
                { "/x", "relative", BAD, "absolute" },
                { "x", "/a", BAD, "absolute" },
                { "/x\ny", "/a", BAD, "control character" },
                { "/", "/a", BAD, "over the root" },
                { "/a/..", "/a", BAD, "over the root" },
                { "/proc", "/a", BAD, "no proc" },
                { "/proc/", "/a", BAD, "no proc" },
                { "/proc/self", "/a", BAD, "no proc" },
                { "/proc/self/attr", "/a", BAD, "no proc" },
                { "/proc/sys", "/a", BAD, "no proc" },
                { "/x/../proc/sys/kernel", "/a", BAD, "no proc" },
                { "/proc/sys/kernel", "/proc/sys/kernel", BAD, "no proc" },
                { "/sys", "/a", BAD, "no sysfs" },
                { "/sys/kernel", "/a", BAD, "host's /sys" },
                { "/sys/kernel/debug", "/system", BAD, "host's /sys" },
                { "/sys/firmware", "/a", BAD, "host's /sys" },
                { "/x", "/a", CRINGLE_E_PRECONDITION, "not on a shared mount", SHARED },
                { "/x", "/slave", CRINGLE_E_PRECONDITION, "not on a shared mount", SHARED },
                { "/x", "/a", CRINGLE_E_PRECONDITION, "private mount", SLAVE },
                { "/x", "/a", BAD, "propagation 9", 9 },
                { "/x", "/a", BAD, "recursive_read_only", .recursive = true },
                { "/x", "/shared", BAD, "recursive_read_only", SLAVE, true, true },
                { "/x", "/a", BAD, "'suid'", .option = "suid" },
                { "/x", "/a", BAD, "image_sub_path", .sub_path = "../.." },
        };
        struct fixture *f = *state;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        Cri__Mount m, *mounts[] = { &m };

        f->container.mounts = mounts;
        f->container.n_mounts = 1;
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                cri__mount__init(&m);
                m.container_path = (char *) table[i].to;
                m.host_path = (char *) table[i].from;
                m.propagation = table[i].propagation;
                m.readonly = table[i].readonly;
                m.recursive_read_only = table[i].recursive;
                m.mount_options = (char **) &table[i].option;
                m.n_mount_options = table[i].option ? 1 : 0;
                if (table[i].sub_path)
                        m.image_sub_path = (char *) table[i].sub_path;
                refused(f, table[i].code, table[i].because);
        }
        cri__mount__init(&m);
        m.container_path = (char *) "/x";
        m.image = &image;
        m.readonly = true;
        image.image = (char *) "app:1";
        refused(f, CRINGLE_E_UNIMPLEMENTED, "images as volumes");
        f->in.images = "/bundle/images";
        m.readonly = false;
        refused(f, CRINGLE_E_INVALID, "only be mounted readonly");
        m.readonly = true;
        m.host_path = (char *) "/a";
        refused(f, CRINGLE_E_INVALID, "of an image and of a host_path");
        m.host_path = NULL;
        m.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
        refused(f, CRINGLE_E_INVALID, "with propagation");
        m.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE;
        m.container_path = (char *) "/proc";
        refused(f, CRINGLE_E_INVALID, "no proc file system");
        m.container_path = (char *) "/sys/kernel";
        refused(f, CRINGLE_E_INVALID, "not from the host's /sys");
}

static void an_image_stands_for_whoever_launches_to_bring_it(void **state)
{
        struct fixture *f = *state;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        Cri__Mount m[2] = { CRI__MOUNT__INIT, CRI__MOUNT__INIT }, *mounts[] = { &m[0], &m[1] };
        char *options[] = { (char *) "noexec", (char *) "nosuid" };

        f->in.images = "/bundle/images";
        m[0].container_path = (char *) "/a";
        m[0].host_path = (char *) "/a";
        m[1].container_path = (char *) "/x";
        m[1].readonly = true;
        m[1].image = &image;
        m[1].mount_options = options;
        m[1].n_mount_options = 2;
        image.image = (char *) "app:1";
        f->container.mounts = mounts;
        f->container.n_mounts = 2;
        built(f);
        assert_string_equal(mount_at(f, "/x"),
                            "{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/bundle/images/1\",\"options\":"
                            "[\"bind\",\"rprivate\",\"ro\",\"nosuid\",\"nodev\",\"noexec\"]}");
}

static void the_kernels_own_may_be_shown_where_it_belongs(void **state)
{
        static const struct {
                const char *to, *from;
        } table[] = {
                { "/proc", "/proc" },          { "/proc", "/to-proc" },     { "/proc/cpuinfo", "/var/lib/lxcfs/proc/cpuinfo" },
                { "/sys", "/sys" },            { "/sys/kernel/debug", "/sys/kernel/debug" },
                { "/sys/fs/bpf", "/sys/fs/bpf" }, { "/sys/fs/cgroup", "/sys/fs/cgroup" }, { "/host/proc", "/proc" },
        };
        struct fixture *f = *state;
        Cri__Mount m = CRI__MOUNT__INIT, *mounts[] = { &m };

        f->container.mounts = mounts;
        f->container.n_mounts = 1;
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                m.container_path = (char *) table[i].to;
                m.host_path = (char *) table[i].from;
                built(f);
                assert_contains(mount_at(f, table[i].to), "\"rbind\"");
        }
}

static void mapped_mounts_need_a_user_namespace(void **state)
{
        struct fixture *f = *state;
        Cri__Mount m = CRI__MOUNT__INIT, *mounts[] = { &m };

        f->map = (Cri__IDMapping){ .base = f->map.base, .host_id = 100000, .container_id = 0, .length = 65536 };
        f->maps[0] = &f->map;
        m.container_path = (char *) "/x";
        m.host_path = (char *) "/a";
        m.uidmappings = m.gidmappings = f->maps;
        m.n_uidmappings = m.n_gidmappings = 1;
        f->container.mounts = mounts;
        f->container.n_mounts = 1;
        refused(f, CRINGLE_E_INVALID, "need a user namespace");

        f->userns.uids = f->userns.gids = f->maps;
        f->userns.n_uids = f->userns.n_gids = 1;
        f->namespaces.userns_options = &f->userns;
        f->in.user_ns = "/ns/user";
        built(f);
        assert_string_equal(mount_at(f, "/x"),
                            "{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/a\",\"options\":[\"rbind\","
                            "\"rprivate\",\"rw\",\"ridmap\"],\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,"
                            "\"size\":65536}],\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]}");
        m.n_gidmappings = 0;
        refused(f, CRINGLE_E_INVALID, "users and groups both");
}

/* --- devices --- */

static void devices_come_with_a_rule_each(void **state)
{
        struct fixture *f = *state;
        Cri__Device fuse = CRI__DEVICE__INIT, snd = CRI__DEVICE__INIT, *devices[] = { &fuse, &snd };
        Cri__Mount m = CRI__MOUNT__INIT, *mounts[] = { &m };

        fuse.host_path = (char *) "/dev/fuse";
        fuse.container_path = (char *) "/dev/my-fuse";
        fuse.permissions = (char *) "wr";
        snd.host_path = (char *) "/dev/snd";
        snd.container_path = (char *) "/dev/audio";
        f->container.devices = devices;
        f->container.n_devices = 2;
        built(f);
        assert_string_equal(at(f, "linux/devices"),
                            "[{\"path\":\"/dev/my-fuse\",\"type\":\"c\",\"major\":10,\"minor\":229,\"fileMode\":438,"
                            "\"uid\":0,\"gid\":0},"
                            "{\"path\":\"/dev/audio/pcm\",\"type\":\"c\",\"major\":116,\"minor\":2,\"fileMode\":432,"
                            "\"uid\":0,\"gid\":29},"
                            "{\"path\":\"/dev/audio/seq\",\"type\":\"c\",\"major\":116,\"minor\":1,\"fileMode\":432,"
                            "\"uid\":0,\"gid\":29}]");
        assert_contains(at(f, "linux/resources/devices"),
                        "{\"allow\":true,\"type\":\"c\",\"major\":10,\"minor\":229,\"access\":\"rw\"},"
                        "{\"allow\":true,\"type\":\"c\",\"major\":116,\"minor\":2,\"access\":\"rwm\"},"
                        "{\"allow\":true,\"type\":\"c\",\"major\":116,\"minor\":1,\"access\":\"rwm\"}]");

        fuse.permissions = (char *) "rwx";
        refused(f, CRINGLE_E_INVALID, "permissions");
        fuse.permissions = (char *) "";
        fuse.host_path = (char *) "/missing/fuse";
        refused(f, CRINGLE_E_NOT_FOUND, "/missing/fuse");
        fuse.host_path = (char *) "/etc";
        refused(f, CRINGLE_E_INVALID, "no device");
        fuse.host_path = (char *) "/dev/fuse";
        fuse.container_path = (char *) "/proc/x";
        refused(f, CRINGLE_E_INVALID, "no place");

        /* No node is made in a directory of the host's. */
        fuse.container_path = (char *) "/dev/fuse";
        m.container_path = m.host_path = (char *) "/dev";
        f->container.mounts = mounts;
        f->container.n_mounts = 1;
        built(f);
        assert_string_equal(at(f, "linux/devices"), "");
        assert_contains(at(f, "linux/resources/devices"), "\"minor\":229");
}

/* --- signals --- */

static void stop_signals_have_a_number(void **state)
{
        static const struct {
                int asked;
                const char *image;
                int want;       /* 0: refused */
        } table[] = {
                { 0, "", 15 },          { 0, "SIGQUIT", 3 },    { 0, "quit", 3 },       { 0, "9", 9 },
                { 0, "SIGRTMIN+3", 37 },{ 0, "RTMAX-1", 63 },   { 0, "SIGRTMAX", 64 },  { 0, "SIGPOLL", 29 },
                { 0, "SIGNONE", 0 },    { 0, "0", 0 },          { 0, "65", 0 },         { 0, "SIGRTMIN+31", 0 },
                { 0, "SIGRTMIN-1", 0 }, { 0, "-9", 0 },         { 0, "15\n", 0 },
                { CRI__SIGNAL__SIGNAL_SIGTERM, "SIGQUIT", 15 }, { CRI__SIGNAL__SIGNAL_SIGUSR1, "", 10 },
                { CRI__SIGNAL__SIGNAL_SIGCLD, "", 17 },         { CRI__SIGNAL__SIGNAL_SIGIOT, "", 6 },
                { CRI__SIGNAL__SIGNAL_SIGRTMIN, "", 34 },       { CRI__SIGNAL__SIGNAL_SIGRTMINPLUS15, "", 49 },
                { CRI__SIGNAL__SIGNAL_SIGRTMAXMINUS14, "", 50 },{ CRI__SIGNAL__SIGNAL_SIGRTMAX, "", 64 },
                { 66, "", 0 },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                struct cringle_err *err = unit_err();
                int number = 0;

                f->container.stop_signal = table[i].asked;
                f->image.stop_signal = (char *) table[i].image;
                if (spec_stop_signal(&f->container, &f->image, &number, err) < 0)
                        assert_int_equal(err->code, CRINGLE_E_INVALID);
                if (number != table[i].want)
                        fail_msg("%d '%s' is %d", table[i].asked, table[i].image, number);
        }
        /* Every one of CRI's has a number. */
        for (int s = 1; s <= 65; s++) {
                int number = 0;

                f->container.stop_signal = s;
                assert_int_equal(spec_stop_signal(&f->container, &f->image, &number, unit_err()), 0);
                assert_in_range(number, 1, 64);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_plain_container_is_exactly_this),
        TEST(privileged_takes_all_there_is),
        TEST(namespaces_follow_the_pins),
        TEST(user_namespaces_have_one_map_from_zero),
        TEST(arguments_follow_kubernetes),
        TEST(an_image_cannot_reach_into_the_environment),
        TEST(environment_that_would_be_something_else_is_refused),
        TEST(directories_do_not_lead_out),
        TEST(the_user_to_look_up_is_the_one_asked_for),
        TEST(groups_hold_the_primary_one_and_follow_the_policy),
        TEST(capabilities_are_added_then_dropped),
        TEST(oom_scores_are_kept_or_raised),
        TEST(no_way_leads_from_a_profile_to_none),
        TEST(the_fields_of_before_still_count),
        TEST(labels_are_given_or_refused),
        TEST(labels_are_the_pods_unless_the_container_says_more),
        TEST(what_is_not_confined_has_no_categories),
        TEST(a_level_is_a_level),
        TEST(pods_have_levels_of_two_categories),
        TEST(hidden_paths_are_the_kubelets_list),
        TEST(image_and_annotations_choose_no_confinement),
        TEST(what_an_image_calls_itself_changes_nothing),
        TEST(no_file_of_the_host_is_relabelled),
        TEST(mounts_are_bound_as_asked_and_sorted),
        TEST(mounts_that_cannot_be_are_refused),
        TEST(an_image_stands_for_whoever_launches_to_bring_it),
        TEST(the_kernels_own_may_be_shown_where_it_belongs),
        TEST(mapped_mounts_need_a_user_namespace),
        TEST(devices_come_with_a_rule_each),
        TEST(stop_signals_have_a_number))
