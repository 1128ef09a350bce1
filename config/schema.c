/*
 * The table of all keys; see schema.h.  The order here is the order of every
 * document made from it.
 */

#include "config/schema.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND INT64_C(1000000000)
#define HOUR (3600 * SECOND)

#define AT(field) .offset = offsetof(struct config, field)
#define OF(type, field) .offset = offsetof(struct type, field)
#define END { 0 }

static const char *const levels[] = { "error", "warning", "info", "debug", NULL };
static const char *const stages[] = {
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop", NULL,
};

static const struct key programs[] = {
        { "monitor", KEY_PATH, AT(programs.monitor), .fallback = CRINGLE_LIBEXECDIR "/cringle-monitor",
          .shown = "<libexecdir>/cringle-monitor", .flags = KEY_LIVE,
          .help = "The program that holds a pod's containers; running pods keep the one they have." },
        { "hold", KEY_PATH, AT(programs.hold), .fallback = CRINGLE_LIBEXECDIR "/cringle-hold",
          .shown = "<libexecdir>/cringle-hold", .help = "The program that keeps a container's systemd scope alive (cgroup-systemd)." },
        { "pull", KEY_PATH, AT(programs.pull), .fallback = CRINGLE_LIBEXECDIR "/cringle-pull",
          .shown = "<libexecdir>/cringle-pull", .flags = KEY_LIVE,
          .help = "The program that fetches and unpacks images." },
        { "stream", KEY_PATH, AT(programs.stream), .fallback = CRINGLE_LIBEXECDIR "/cringle-stream",
          .shown = "<libexecdir>/cringle-stream",
          .help = "The program that serves exec, attach and port-forward." },
        { "criu", KEY_PATH, AT(programs.criu), .fallback = "/usr/sbin/criu", .flags = KEY_LIVE,
          .help = "CRIU, for checkpoints, and for pods made of them; without it they are refused." },
        { "oci", KEY_PATH, AT(programs.oci), .fallback = CRINGLE_LIBEXECDIR "/cringle-oci",
          .shown = "<libexecdir>/cringle-oci", .flags = KEY_LIVE,
          .help = "The OCI runtime command, for what wants one." },
        END
};

static const struct key plugins[] = {
        { "dirs", KEY_PATHS, AT(plugins.dirs), .fallback = "[" CRINGLE_PLUGINDIR "]", .shown = "[<plugindir>]",
          .help = "Searched in this order for NAME.so. Only files of root that nobody else can write are loaded." },
        END
};

#define PLUGIN_KEYS(ident, choice, what)                                                                      \
        static const struct key ident[] = {                                                                   \
                { "plugin", KEY_NAME, OF(config_plugin, name), choice,                                        \
                  .help = "The plugin that " what "." },                                                      \
                { "settings", KEY_SETTINGS, OF(config_plugin, settings), .flags = KEY_LIVE,                   \
                  .help = "Its own settings; `cringle plugins inspect` lists them. Live if the plugin can reload." }, \
                END                                                                                           \
        }

PLUGIN_KEYS(image_keys, .fallback = "image-overlay", "keeps layers and mounts root filesystems");
PLUGIN_KEYS(cgroup_keys, .shown = "cgroup-systemd where systemd keeps cgroups of version 2, otherwise cgroup-fs",
            "makes cgroups and sets limits");
PLUGIN_KEYS(network_keys, .fallback = "network-cni", "gives pods their network");
PLUGIN_KEYS(executor_keys, .fallback = "executor-native", "creates and starts containers");

static const struct key cni[] = {
        { "conf_dir", KEY_PATH, AT(cni.conf_dir), .fallback = "/etc/cni/net.d",
          .help = "Watched for network lists; the first by name is used." },
        { "bin_dirs", KEY_PATHS, AT(cni.bin_dirs), .fallback = "[/opt/cni/bin, /usr/lib/cni]",
          .help = "Searched in this order for CNI plugins." },
        { "cache_dir", KEY_PATH, AT(cni.cache_dir), .fallback = "/var/lib/cni",
          .help = "Keeps what each attachment came to, so that it can be undone after a crash or a reboot." },
        END
};

static const struct key cgroups[] = {
        { "monitor_parent", KEY_STRING, AT(cgroups.monitor_parent), .fallback = "\"\"",
          .help = "The cgroup of the monitors, apart from the pods they hold; empty: the driver's own." },
        { "default_parent", KEY_STRING, AT(cgroups.default_parent), .fallback = "\"\"", .flags = KEY_LIVE,
          .help = "The cgroup for pods that are given none; empty: the top." },
        END
};

static const struct key images[] = {
        { "max_parallel", KEY_INTEGER, AT(images.max_parallel), .fallback = "3", .min = 1, .max = 64,
          .flags = KEY_LIVE, .help = "Layers fetched at once, for each pull." },
        { "progress_timeout", KEY_DURATION, AT(images.progress_timeout), .fallback = "5m", .min = SECOND,
          .max = 24 * HOUR, .flags = KEY_LIVE, .help = "A pull that moves no byte for so long has failed." },
        { "max_layer_size", KEY_SIZE, AT(images.max_layer_size), .fallback = "32GiB", .min = MIB, .max = 1024 * GIB,
          .flags = KEY_LIVE, .help = "The most one layer may unpack to." },
        { "uid", KEY_ID, AT(images.uid), .fallback = "65534", .min = 1, .max = INT64_C(4294967294),
          .flags = KEY_LIVE, .help = "The user that fetches images." },
        { "gid", KEY_ID, AT(images.gid), .fallback = "65534", .min = 1, .max = INT64_C(4294967294),
          .flags = KEY_LIVE, .help = "The group that fetches images." },
        { "pinned", KEY_STRINGS, AT(images.pinned), .fallback = "[]", .flags = KEY_LIVE,
          .help = "References that the kubelet must never remove: exact, or with a * at the end." },
        END
};

static const struct key mirrors[] = {
        { "url", KEY_URL, OF(config_mirror, url), .flags = KEY_REQUIRED,
          .help = "Where it is, with the path that stands before /v2, if any." },
        { "plain_http", KEY_BOOL, OF(config_mirror, plain_http), .fallback = "false",
          .help = "Without it an http:// URL is refused." },
        { "skip_verify", KEY_BOOL, OF(config_mirror, skip_verify), .fallback = "false",
          .help = "Do not check its certificate." },
        { "ca_file", KEY_PATH, OF(config_mirror, ca_file), .shown = "the system's",
          .help = "Certificates to trust, as PEM." },
        END
};

static const struct key registries[] = {
        { "mirrors", KEY_RECORDS, OF(config_registry, mirrors), .keys = mirrors,
          .record_size = sizeof(struct config_mirror), .count = offsetof(struct config_registry, n_mirrors),
          .help = "Tried in this order before the registry itself." },
        { "plain_http", KEY_BOOL, OF(config_registry, plain_http), .fallback = "false",
          .help = "The registry itself speaks HTTP without TLS." },
        { "skip_verify", KEY_BOOL, OF(config_registry, skip_verify), .fallback = "false",
          .help = "Do not check its certificate." },
        { "ca_file", KEY_PATH, OF(config_registry, ca_file), .shown = "the system's",
          .help = "Certificates to trust, as PEM." },
        { "username", KEY_STRING, OF(config_registry, username),
          .help = "For pulls to which the kubelet brings no credentials." },
        { "password", KEY_SECRET, OF(config_registry, password), .help = "Goes with the username; never shown." },
        END
};

static const struct key when[] = {
        { "annotations", KEY_REGEX_PAIRS, OF(config_hook, when_annotations),
          .help = "Each entry must match an annotation: expression for its key, expression for its value." },
        { "namespaces", KEY_REGEXES, OF(config_hook, when_namespaces),
          .help = "One must match the pod's namespace." },
        { "images", KEY_REGEXES, OF(config_hook, when_images),
          .help = "One must match the image as the container names it." },
        { "commands", KEY_REGEXES, OF(config_hook, when_commands),
          .help = "One must match the first word of the container's command." },
        { "labels", KEY_REGEX_PAIRS, OF(config_hook, when_labels),
          .help = "Each entry must match a label of the pod: expression for its key, expression for its value." },
        { "pods", KEY_REGEXES, OF(config_hook, when_pods), .help = "One must match the pod's name." },
        { "containers", KEY_REGEXES, OF(config_hook, when_containers), .help = "One must match the container's name." },
        { "handlers", KEY_REGEXES, OF(config_hook, when_handlers),
          .help = "One must match the runtime handler; the default one is empty." },
        { "devices", KEY_REGEXES, OF(config_hook, when_devices),
          .help = "One must match a device that the kubelet asks for: its path on the node, or its CDI name." },
        { "bind_mounts", KEY_BOOL, OF(config_hook, when_bind_mounts), .fallback = "false",
          .help = "true: the kubelet must ask for a mount of the node's files." },
        END
};

static const struct key declared[] = {
        { "name", KEY_NAME, OF(config_hook, name), .flags = KEY_REQUIRED, .help = "For messages and metrics." },
        { "stage", KEY_CHOICE, OF(config_hook, stage), .choices = stages, .flags = KEY_REQUIRED,
          .help = "When it runs, as in the OCI runtime specification." },
        { "path", KEY_PATH, OF(config_hook, path), .flags = KEY_REQUIRED,
          .help = "The program; in the container for startContainer, else on the node." },
        { "args", KEY_STRINGS, OF(config_hook, args), .help = "Its arguments, after its name; {{pod.name}} and the like are filled in." },
        { "env", KEY_STRINGS, OF(config_hook, env), .help = "Its environment, NAME=VALUE; {{pod.name}} and the like are filled in." },
        { "timeout", KEY_DURATION, OF(config_hook, timeout), .min = SECOND / 1000, .max = HOUR,
          .shown = "hooks.timeout", .help = "Killed after so long." },
        { "failure", KEY_POLICY, OF(config_hook, fail), .fallback = "fail",
          .help = "fail: its failure fails the operation; ignore: it is logged." },
        { "when", KEY_SECTION, 0, .keys = when,
          .help = "Conditions, all of which must hold; POSIX extended regular expressions." },
        { "", KEY_ORIGIN, OF(config_hook, origin) },
        END
};

static const char *const isolations[] = { "agent", "process", NULL };

static const struct key hook_plugins[] = {
        { "plugin", KEY_NAME, OF(config_hook_plugin, plugin.name), .flags = KEY_REQUIRED,
          .help = "The hook plugin to switch on." },
        { "failure", KEY_POLICY, OF(config_hook_plugin, fail), .fallback = "fail",
          .help = "fail: its refusal or failure fails the operation; ignore: it is logged." },
        { "timeout", KEY_DURATION, OF(config_hook_plugin, timeout), .min = SECOND / 1000, .max = HOUR,
          .shown = "hooks.timeout", .help = "Given up after so long." },
        { "isolation", KEY_CHOICE, OF(config_hook_plugin, isolation), .fallback = "agent", .choices = isolations,
          .help = "process: it runs in a process of its own, and a crash or a hang costs one call." },
        { "settings", KEY_SETTINGS, OF(config_hook_plugin, plugin.settings), .help = "Its own settings." },
        END
};

static const struct key hooks[] = {
        { "dirs", KEY_PATHS, AT(hooks.dirs),
          .fallback = "[/usr/share/containers/oci/hooks.d, /etc/containers/oci/hooks.d]", .flags = KEY_LIVE,
          .help = "Folders of hook files (*.json); a file in a later one replaces its namesake. Watched." },
        { "timeout", KEY_DURATION, AT(hooks.timeout), .fallback = "10s", .min = SECOND / 1000, .max = HOUR,
          .flags = KEY_LIVE, .help = "For a hook that names none." },
        { "declared", KEY_RECORDS, AT(hooks.yaml), .keys = declared, .record_size = sizeof(struct config_hook),
          .count = offsetof(struct config, hooks.n_yaml), .flags = KEY_LIVE,
          .help = "Hooks declared right here." },
        { "plugins", KEY_RECORDS, AT(hooks.plugins), .keys = hook_plugins,
          .record_size = sizeof(struct config_hook_plugin), .count = offsetof(struct config, hooks.n_plugins),
          .flags = KEY_LIVE, .help = "Hook plugins, called in this order. A reload loads and leaves out." },
        END
};

static const struct key cdi[] = {
        { "dirs", KEY_PATHS, AT(cdi.dirs), .fallback = "[/etc/cdi, /var/run/cdi]", .flags = KEY_LIVE,
          .help = "Folders of CDI files (*.json, *.yaml, *.yml); a device in a later one replaces its namesake. Watched." },
        { "pod_annotations", KEY_BOOL, AT(cdi.pod_annotations), .fallback = "false", .flags = KEY_LIVE,
          .help = "Hear cdi.k8s.io/ annotations of pods, too: whoever may make a pod then takes any device." },
        END
};

static const struct key nri_plugins[] = {
        { "failure", KEY_POLICY, OF(config_nri_plugin, fail), .fallback = "fail",
          .help = "fail: no container is created while it is not there or does not answer; ignore: nothing fails by it." },
        END
};

static const struct key nri[] = {
        { "enabled", KEY_BOOL, AT(nri.enabled), .fallback = "true", .flags = KEY_LIVE,
          .help = "Let NRI plugins take part. Where the socket cannot be made the agent goes on without it." },
        { "socket", KEY_PATH, AT(nri.socket), .fallback = "/var/run/nri/nri.sock", .flags = KEY_LIVE,
          .help = "Where plugins connect. A new place is for new plugins; those that are there stay." },
        { "plugin_dir", KEY_PATH, AT(nri.plugin_dir), .fallback = "/opt/nri/plugins", .flags = KEY_LIVE,
          .help = "Programs NN-NAME in it, two digits and a name, are launched as plugins; looked at again by each reload." },
        { "config_dir", KEY_PATH, AT(nri.config_dir), .fallback = "/etc/nri/conf.d", .flags = KEY_LIVE,
          .help = "A plugin is handed NN-NAME.conf out of it, else NAME.conf, when it connects." },
        { "registration_timeout", KEY_DURATION, AT(nri.registration_timeout), .fallback = "5s", .min = SECOND / 1000,
          .max = HOUR, .flags = KEY_LIVE, .help = "From its connection until a plugin must have registered." },
        { "request_timeout", KEY_DURATION, AT(nri.request_timeout), .fallback = "2s", .min = SECOND / 1000, .max = HOUR,
          .flags = KEY_LIVE, .help = "For a plugin's answer to one request." },
        { "sync_timeout", KEY_DURATION, AT(nri.sync_timeout), .fallback = "1m", .min = SECOND / 1000, .max = HOUR,
          .flags = KEY_LIVE, .help = "For all answers of a new plugin that is told what there is. Pods that change meanwhile wait for it." },
        { "misses", KEY_INTEGER, AT(nri.misses), .fallback = "1", .min = 1, .max = 1000,
          .flags = KEY_LIVE, .help = "So many requests in a row without an answer end a plugin's connection." },
        { "restart_delay", KEY_DURATION, AT(nri.restart_delay), .fallback = "10s", .min = 0, .max = HOUR,
          .flags = KEY_LIVE,
          .help = "After so long a launched plugin that has ended is launched again, twice as long (up to 32 times) "
                  "each time it ends within a minute; 0: never before a reload." },
        { "plugins", KEY_TABLE, AT(nri.plugins), .keys = nri_plugins, .record_size = sizeof(struct config_nri_plugin),
          .count = offsetof(struct config, nri.n_plugins), .flags = KEY_LIVE,
          .help = "By name, with the index (10-NAME) or without. For others: what they refuse fails, their silence does not." },
        END
};

static const struct key containers[] = {
        { "max_line", KEY_INTEGER, AT(containers.max_line), .fallback = "16384", .min = 256, .max = MIB,
          .flags = KEY_LIVE, .help = "Bytes of one record of a container's log; longer lines are split." },
        { "exec_limit", KEY_SIZE, AT(containers.exec_limit), .fallback = "16MiB", .min = KIB, .max = GIB,
          .flags = KEY_LIVE, .help = "Kept of each output stream of a command run by ExecSync." },
        END
};

static const struct key server[] = {
        { "max_message", KEY_SIZE, AT(server.max_message), .fallback = "16MiB", .min = MIB, .max = GIB,
          .help = "The largest message accepted or sent." },
        { "max_streams", KEY_INTEGER, AT(server.max_streams), .fallback = "256", .min = 16, .max = 65536,
          .help = "Calls at once on one connection." },
        { "workers", KEY_INTEGER, AT(server.workers), .fallback = "32", .min = 1, .max = 1024,
          .help = "Threads for work that blocks." },
        END
};

static const struct key streaming[] = {
        { "address", KEY_STRING, AT(streaming.address), .fallback = "127.0.0.1",
          .help = "The IP address that exec, attach and port-forward are served on, for the kubelet." },
        { "port", KEY_INTEGER, AT(streaming.port), .fallback = "0", .min = 0, .max = 65535,
          .help = "The TCP port; 0 takes a free one." },
        { "tls_cert", KEY_PATH, AT(streaming.tls_cert), .shown = "plain HTTP",
          .help = "The certificate and its chain, as PEM, to serve HTTPS; a new one is taken as it comes." },
        { "tls_key", KEY_PATH, AT(streaming.tls_key), .shown = "plain HTTP", .help = "The key to it, as PEM." },
        { "idle_timeout", KEY_DURATION, AT(streaming.idle_timeout), .fallback = "4h", .min = SECOND,
          .max = 1000 * HOUR, .help = "A session that moves no byte for so long is ended." },
        { "creation_timeout", KEY_DURATION, AT(streaming.creation_timeout), .fallback = "30s", .min = SECOND,
          .max = HOUR, .help = "A client must have asked and opened its streams by then." },
        { "token_timeout", KEY_DURATION, AT(streaming.token_timeout), .fallback = "1m", .min = SECOND,
          .max = 60 * SECOND, .help = "So long the URL of a request is good, to which its client comes once." },
        { "uid", KEY_ID, AT(streaming.uid), .fallback = "65534", .min = 1, .max = INT64_C(4294967294),
          .help = "The user that serves streams." },
        { "gid", KEY_ID, AT(streaming.gid), .fallback = "65534", .min = 1, .max = INT64_C(4294967294),
          .help = "The group that serves streams." },
        END
};

static const struct key metrics[] = {
        { "address", KEY_STRING, AT(metrics.address), .fallback = "127.0.0.1",
          .help = "The IP address that metrics are served on, over plain HTTP at /metrics." },
        { "port", KEY_INTEGER, AT(metrics.port), .fallback = "0", .min = 0, .max = 65535,
          .help = "The TCP port; 0: they are not served." },
        END
};

const struct key schema_keys[] = {
        { "root", KEY_PATH, AT(root), .fallback = "/var/lib/cringle",
          .help = "What survives a reboot: images, the store, writable layers." },
        { "state", KEY_PATH, AT(state), .fallback = "/run/cringle", .help = "What does not survive a reboot." },
        { "socket", KEY_PATH, AT(socket), .shown = "<state>/cringle.sock", .help = "Where the kubelet connects." },
        { "log_level", KEY_CHOICE, AT(log_level), .fallback = "info", .choices = levels, .flags = KEY_LIVE,
          .help = "The least urgent lines that are logged." },
        { "programs", KEY_SECTION, 0, .keys = programs, .help = "Programs the agent starts." },
        { "plugins", KEY_SECTION, 0, .keys = plugins, .help = "Where plugins come from." },
        { "image", KEY_SECTION, AT(image), .keys = image_keys, .help = "The image backend." },
        { "cgroup", KEY_SECTION, AT(cgroup), .keys = cgroup_keys, .help = "The cgroup driver." },
        { "network", KEY_SECTION, AT(network), .keys = network_keys, .help = "The network." },
        { "executor", KEY_SECTION, AT(executor), .keys = executor_keys, .help = "The executor." },
        { "cni", KEY_SECTION, 0, .keys = cni, .help = "For the CNI network." },
        { "cgroups", KEY_SECTION, 0, .keys = cgroups, .help = "Where cgroups go." },
        { "images", KEY_SECTION, 0, .keys = images, .help = "Pulling and keeping images." },
        { "registries", KEY_TABLE, AT(registries), .keys = registries, .record_size = sizeof(struct config_registry),
          .count = offsetof(struct config, n_registries), .flags = KEY_LIVE,
          .help = "By host, as in an image's name (docker.io, registry.k8s.io:443); _default is for all others." },
        { "hooks", KEY_SECTION, 0, .keys = hooks, .help = "What runs at points of a container's life." },
        { "cdi", KEY_SECTION, 0, .keys = cdi, .help = "Devices described by files, as the Container Device Interface has them." },
        { "nri", KEY_SECTION, 0, .keys = nri, .help = "Plugins of the Node Resource Interface." },
        { "containers", KEY_SECTION, 0, .keys = containers, .help = "Limits for containers." },
        { "server", KEY_SECTION, 0, .keys = server, .help = "The gRPC server." },
        { "streaming", KEY_SECTION, 0, .keys = streaming, .help = "Exec, attach and port-forward." },
        { "metrics", KEY_SECTION, 0, .keys = metrics, .help = "The agent's, its plugins', hooks' and containers' numbers for Prometheus." },
        { "inspect_socket", KEY_PATH, AT(inspect_socket), .shown = "not served",
          .help = "Where a kubelet's collector (cAdvisor) finds the labels of containers. It looks at /var/run/crio/crio.sock only, "
                  "and into cgroups named crio-ID: set the cgroup driver's `name` to crio- with it." },
        { "seccomp_profile", KEY_PATH, AT(seccomp_profile), .shown = "built in", .flags = KEY_LIVE,
          .help = "A seccomp profile (JSON) for RuntimeDefault." },
        { "selinux", KEY_BOOL, AT(selinux), .fallback = "true",
          .help = "Where the kernel has an SELinux policy: give each container a label, and refuse it if the policy does not know that. "
                  "The policy for containers (container_t) is the distribution's." },
        END
};

const char *schema_type_name(const struct key *key)
{
        static const char *const names[] = {
                [KEY_STRING] = "string",
                [KEY_NAME] = "name",
                [KEY_SECRET] = "secret string",
                [KEY_PATH] = "absolute path",
                [KEY_URL] = "URL",
                [KEY_CHOICE] = "choice",
                [KEY_BOOL] = "true or false",
                [KEY_POLICY] = "fail or ignore",
                [KEY_INTEGER] = "number",
                [KEY_SIZE] = "size",
                [KEY_DURATION] = "duration",
                [KEY_ID] = "user or group id",
                [KEY_STRINGS] = "list of strings",
                [KEY_PATHS] = "list of absolute paths",
                [KEY_REGEXES] = "list of regular expressions",
                [KEY_REGEX_PAIRS] = "map of regular expressions",
                [KEY_SETTINGS] = "map",
                [KEY_SECTION] = "section",
                [KEY_RECORDS] = "list of maps",
                [KEY_TABLE] = "map of maps",
        };

        return names[key->type];
}

bool schema_is_nested(const struct key *key)
{
        return key->type >= KEY_SECTION;
}
