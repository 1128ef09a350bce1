/*
 * Pods as a kubelet asks for them; see pod.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "e2e/tools/pod.h"

#define PATIENCE (120 * NSEC_PER_SEC)

#define N_ELEMENTS(array) (sizeof(array) / sizeof(array)[0])

#define POD_LABELS 5
#define CONTAINER_LABELS 6
#define POD_ANNOTATIONS 2
#define CONTAINER_ANNOTATIONS 5

/* The messages take no const. */
static char label_key[] = "cringle-load", label_value[] = "pod", space[] = "load";
static char container_name[] = "main", log_name[] = "main.log";

static const char *const masked_paths[] = {
        "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
        "/sys/devices/virtual/powercap",
};
static const char *const readonly_paths[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
static const char *const command[] = { "sleep", "1000000" };
static const char *const dns_servers[] = { "10.96.0.10" };
static const char *const dns_searches[] = { "load.svc.cluster.local", "svc.cluster.local", "cluster.local" };

/* The messages point at each other, so it stays where it was made. */
struct pod {
        char *name, *group, *log_dir;
        char *id, *container_id;

        /* The pod's labels are the container's, and the container's name. */
        Cri__Pair label[CONTAINER_LABELS], *labels[CONTAINER_LABELS];
        Cri__Pair note[POD_ANNOTATIONS], *notes[POD_ANNOTATIONS];
        Cri__Pair container_note[CONTAINER_ANNOTATIONS], *container_notes[CONTAINER_ANNOTATIONS];
        Cri__DNSConfig dns;
        Cri__NamespaceOption namespaces;
        Cri__SecurityProfile seccomp;
        Cri__LinuxContainerResources resources;

        Cri__PodSandboxMetadata metadata;
        Cri__LinuxSandboxSecurityContext sandbox_security;
        Cri__LinuxPodSandboxConfig sandbox_linux;
        Cri__PodSandboxConfig sandbox;

        Cri__ContainerMetadata container_metadata;
        Cri__ImageSpec image;
        Cri__LinuxContainerSecurityContext security;
        Cri__LinuxContainerConfig container_linux;
        Cri__CDIDevice *cdi, **cdi_list;
        Cri__ContainerConfig container;
};

int cri_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
             const ProtobufCMessage *request, ProtobufCMessage **ret, int64_t *ret_time, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, PATIENCE);
        int64_t start = clock_monotonic();

        if (rpc_client_call(client, service, method, request, &call, ret, err) < 0)
                return err_wrap(err, "%s", method);
        if (ret_time)
                *ret_time = clock_monotonic() - start;
        return 0;
}

static void say(Cri__Pair *pairs, Cri__Pair **list, size_t nth, const char *key, const char *value)
{
        cri__pair__init(&pairs[nth]);
        pairs[nth].key = (char *) key;
        pairs[nth].value = (char *) value;
        list[nth] = &pairs[nth];
}

/* As many, and as long, as a kubelet's. */
static void describe_pairs(struct pod *p)
{
        say(p->label, p->labels, 0, label_key, label_value);
        say(p->label, p->labels, 1, POD_GROUP_LABEL, p->group);
        say(p->label, p->labels, 2, "io.kubernetes.pod.name", p->name);
        say(p->label, p->labels, 3, "io.kubernetes.pod.namespace", space);
        say(p->label, p->labels, 4, POD_UID_LABEL, p->name);
        say(p->label, p->labels, 5, "io.kubernetes.container.name", container_name);
        say(p->note, p->notes, 0, "kubernetes.io/config.seen", "2026-01-01T00:00:00.000000000Z");
        say(p->note, p->notes, 1, "kubernetes.io/config.source", "api");
        say(p->container_note, p->container_notes, 0, "io.kubernetes.container.hash", "30c4b6a1");
        say(p->container_note, p->container_notes, 1, "io.kubernetes.container.restartCount", "0");
        say(p->container_note, p->container_notes, 2, "io.kubernetes.container.terminationMessagePath", "/dev/termination-log");
        say(p->container_note, p->container_notes, 3, "io.kubernetes.container.terminationMessagePolicy", "File");
        say(p->container_note, p->container_notes, 4, "io.kubernetes.pod.terminationGracePeriod", "30");
}

static void describe_shared(struct pod *p, const struct pod_spec *spec)
{
        describe_pairs(p);

        cri__namespace_option__init(&p->namespaces);
        p->namespaces.network = spec->host_network ? CRI__NAMESPACE_MODE__NODE : CRI__NAMESPACE_MODE__POD;
        p->namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
        p->namespaces.ipc = CRI__NAMESPACE_MODE__POD;

        cri__security_profile__init(&p->seccomp);
        p->seccomp.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;

        /* Requests of 100m and 64Mi, limits of 500m and 128Mi. */
        cri__linux_container_resources__init(&p->resources);
        p->resources.cpu_period = 100000;
        p->resources.cpu_quota = 50000;
        p->resources.cpu_shares = 102;
        p->resources.memory_limit_in_bytes = INT64_C(128) << 20;
        p->resources.oom_score_adj = 990;
}

static void describe_sandbox(struct pod *p, const struct pod_spec *spec)
{
        cri__pod_sandbox_metadata__init(&p->metadata);
        p->metadata.name = p->name;
        p->metadata.uid = p->name;
        p->metadata.namespace_ = space;

        cri__linux_sandbox_security_context__init(&p->sandbox_security);
        p->sandbox_security.namespace_options = &p->namespaces;
        p->sandbox_security.seccomp = &p->seccomp;

        cri__linux_pod_sandbox_config__init(&p->sandbox_linux);
        p->sandbox_linux.security_context = &p->sandbox_security;
        p->sandbox_linux.resources = &p->resources;
        if (spec->cgroup_parent)
                p->sandbox_linux.cgroup_parent = (char *) spec->cgroup_parent;

        cri__dnsconfig__init(&p->dns);
        p->dns.servers = (char **) dns_servers;
        p->dns.n_servers = N_ELEMENTS(dns_servers);
        p->dns.searches = (char **) dns_searches;
        p->dns.n_searches = N_ELEMENTS(dns_searches);

        cri__pod_sandbox_config__init(&p->sandbox);
        p->sandbox.metadata = &p->metadata;
        p->sandbox.linux = &p->sandbox_linux;
        p->sandbox.dns_config = &p->dns;
        p->sandbox.labels = p->labels;
        p->sandbox.n_labels = POD_LABELS;
        p->sandbox.annotations = p->notes;
        p->sandbox.n_annotations = POD_ANNOTATIONS;
        if (!spec->host_network)
                p->sandbox.hostname = p->name;
        if (p->log_dir)
                p->sandbox.log_directory = p->log_dir;
}

static void describe_container(struct pod *p, const struct pod_spec *spec)
{
        cri__container_metadata__init(&p->container_metadata);
        p->container_metadata.name = container_name;

        cri__image_spec__init(&p->image);
        p->image.image = (char *) spec->image;

        cri__linux_container_security_context__init(&p->security);
        p->security.namespace_options = &p->namespaces;
        p->security.seccomp = &p->seccomp;
        p->security.masked_paths = (char **) masked_paths;
        p->security.n_masked_paths = N_ELEMENTS(masked_paths);
        p->security.readonly_paths = (char **) readonly_paths;
        p->security.n_readonly_paths = N_ELEMENTS(readonly_paths);

        cri__linux_container_config__init(&p->container_linux);
        p->container_linux.resources = &p->resources;
        p->container_linux.security_context = &p->security;

        cri__container_config__init(&p->container);
        p->container.metadata = &p->container_metadata;
        p->container.image = &p->image;
        p->container.command = (char **) command;
        p->container.n_command = N_ELEMENTS(command);
        p->container.labels = p->labels;
        p->container.n_labels = CONTAINER_LABELS;
        p->container.annotations = p->container_notes;
        p->container.n_annotations = CONTAINER_ANNOTATIONS;
        p->container.linux = &p->container_linux;
        if (p->log_dir)
                p->container.log_path = log_name;
}

static int describe_devices(struct pod *p, const struct pod_spec *spec, struct cringle_err *err)
{
        size_t n = strv_count((const char *const *) spec->cdi_devices);

        p->cdi = calloc(n + 1, sizeof *p->cdi);
        p->cdi_list = calloc(n + 1, sizeof *p->cdi_list);
        if (!p->cdi || !p->cdi_list)
                return err_oom(err);
        for (size_t i = 0; i < n; i++) {
                cri__cdidevice__init(&p->cdi[i]);
                p->cdi[i].name = spec->cdi_devices[i];
                p->cdi_list[i] = &p->cdi[i];
        }
        p->container.cdi_devices = p->cdi_list;
        p->container.n_cdi_devices = n;
        return 0;
}

int pod_new(const struct pod_spec *spec, const char *name, const char *group, struct pod **ret, struct cringle_err *err)
{
        auto_of(pod) p = calloc(1, sizeof *p);

        if (!p)
                return err_oom(err);
        p->name = strdup(name);
        p->group = strdup(group);
        if (!p->name || !p->group)
                return err_oom(err);
        if (spec->log_dir) {
                p->log_dir = str_printf(err, "%s/%s", spec->log_dir, name);
                if (!p->log_dir || file_make_dirs(p->log_dir, 0755, err) < 0)
                        return -1;
        }
        describe_shared(p, spec);
        describe_sandbox(p, spec);
        describe_container(p, spec);
        if (describe_devices(p, spec, err) < 0)
                return -1;

        *ret = steal(&p);
        return 0;
}

struct pod *pod_free(struct pod *p)
{
        if (!p)
                return NULL;

        free(p->name);
        free(p->group);
        free(p->log_dir);
        free(p->id);
        free(p->container_id);
        free(p->cdi);
        free(p->cdi_list);
        free(p);
        return NULL;
}

static int run(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__RunPodSandboxRequest request = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
        auto_reply(Cri__RunPodSandboxResponse) reply = NULL;

        request.config = &p->sandbox;
        if (cri_runtime(client, "RunPodSandbox", &request, &reply, ret_time, err) < 0)
                return -1;
        p->id = strdup(reply->pod_sandbox_id);
        return p->id ? 0 : err_oom(err);
}

static int create(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__CreateContainerRequest request = CRI__CREATE_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__CreateContainerResponse) reply = NULL;

        request.pod_sandbox_id = p->id;
        request.config = &p->container;
        request.sandbox_config = &p->sandbox;
        if (cri_runtime(client, "CreateContainer", &request, &reply, ret_time, err) < 0)
                return -1;
        p->container_id = strdup(reply->container_id);
        return p->container_id ? 0 : err_oom(err);
}

static int start(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__StartContainerRequest request = CRI__START_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__StartContainerResponse) reply = NULL;

        request.container_id = p->container_id;
        return cri_runtime(client, "StartContainer", &request, &reply, ret_time, err);
}

static int stop_container(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__StopContainerRequest request = CRI__STOP_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__StopContainerResponse) reply = NULL;

        request.container_id = p->container_id;
        return cri_runtime(client, "StopContainer", &request, &reply, ret_time, err);
}

static int remove_container(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__RemoveContainerRequest request = CRI__REMOVE_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__RemoveContainerResponse) reply = NULL;

        request.container_id = p->container_id;
        return cri_runtime(client, "RemoveContainer", &request, &reply, ret_time, err);
}

static int stop(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__StopPodSandboxRequest request = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
        auto_reply(Cri__StopPodSandboxResponse) reply = NULL;

        request.pod_sandbox_id = p->id;
        return cri_runtime(client, "StopPodSandbox", &request, &reply, ret_time, err);
}

static int remove_pod(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err)
{
        Cri__RemovePodSandboxRequest request = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
        auto_reply(Cri__RemovePodSandboxResponse) reply = NULL;

        request.pod_sandbox_id = p->id;
        return cri_runtime(client, "RemovePodSandbox", &request, &reply, ret_time, err);
}

static const struct {
        const char *name;
        int (*call)(struct pod *p, struct rpc_client *client, int64_t *ret_time, struct cringle_err *err);
} calls[POD_CALLS] = {
        [POD_RUN] = { "RunPodSandbox", run },
        [POD_CREATE] = { "CreateContainer", create },
        [POD_START] = { "StartContainer", start },
        [POD_STOP_CONTAINER] = { "StopContainer", stop_container },
        [POD_REMOVE_CONTAINER] = { "RemoveContainer", remove_container },
        [POD_STOP] = { "StopPodSandbox", stop },
        [POD_REMOVE] = { "RemovePodSandbox", remove_pod },
};

const char *pod_call_name(enum pod_call call)
{
        return calls[call].name;
}

int pod_call(struct pod *p, struct rpc_client *client, enum pod_call call, int64_t *ret_time, struct cringle_err *err)
{
        return calls[call].call(p, client, ret_time, err);
}

int pod_add_container(struct pod *p, struct rpc_client *client, size_t nth, struct cringle_err *err)
{
        auto_free char *first = steal(&p->container_id), *log = NULL;
        auto_free char *name = str_printf(err, "side%zu", nth);
        int r = -1;

        if (name && p->log_dir)
                log = str_printf(err, "%s.log", name);
        if (name && (log || !p->log_dir)) {
                p->container_metadata.name = p->label[CONTAINER_LABELS - 1].value = name;
                if (log)
                        p->container.log_path = log;
                r = create(p, client, NULL, err) < 0 ? -1 : start(p, client, NULL, err);
        }
        p->container_metadata.name = p->label[CONTAINER_LABELS - 1].value = container_name;
        if (p->log_dir)
                p->container.log_path = log_name;
        free(p->container_id);
        p->container_id = steal(&first);
        return r;
}

void pod_abandon(struct pod *p, struct rpc_client *client)
{
        struct cringle_err untold = CRINGLE_ERR_INIT;

        if (p->id) {
                stop(p, client, NULL, &untold);
                remove_pod(p, client, NULL, &untold);
        }
}

const char *pod_id(const struct pod *p)
{
        return p->id;
}

const char *pod_container(const struct pod *p)
{
        return p->container_id;
}

int pod_list(struct rpc_client *client, Cri__ListPodSandboxResponse **ret, struct cringle_err *err)
{
        Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
        Cri__PodSandboxFilter filter = CRI__POD_SANDBOX_FILTER__INIT;
        Cri__Pair label = CRI__PAIR__INIT, *labels[] = { &label };

        label.key = label_key;
        label.value = label_value;
        filter.label_selector = labels;
        filter.n_label_selector = 1;
        request.filter = &filter;
        return cri_runtime(client, "ListPodSandbox", &request, ret, NULL, err);
}
