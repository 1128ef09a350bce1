/*
 * RunPodSandbox
 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/guard.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

/* Bytes of a pod's /dev/shm, as all runtimes have it. */
#define SHM_OPTIONS "mode=1777,size=67108864"
/* And of its files, each of which may come from the node's and be as long as files.c takes. */
#define FILES_OPTIONS "mode=0700,size=4194304"

static int record(void *object, const char *step, struct cringle_err *err)
{
        return store_pod(object, "run", step, DB_FAST, err);
}

/* The row was written by record(); this step is there for its undo, which comes last. */
static int keep_record(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return 0;
}

static int drop_record(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return store_drop_pod(object, DB_FAST, err);
}

static int make_dirs(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        const char *log_dir = pod->request->config->log_directory;

        if (pod_user_ns_available(pod, err) < 0 || file_make_dirs(pod->run_dir, 0700, err) < 0 || file_make_dirs(pod->dir, 0700, err) < 0)
                return -1;
        if (pod->restoring && pod_mark_restoring(pod, err) < 0)
                return -1;
        if (str_empty(log_dir))
                return 0;
        if (GUARD(log_directory) && !path_is_clean(log_dir))
                return err_set(err, CRINGLE_E_INVALID, "log directory '%.200s' is not a clean absolute path", log_dir);
        return file_make_dirs(log_dir, 0755, err);
}

int pod_remove_dirs(struct pod *pod, struct cringle_err *err)
{
        return file_remove_tree(pod->run_dir, err) < 0 || file_remove_tree(pod->dir, err) < 0 ? -1 : 0;
}

static int remove_dirs(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_remove_dirs(object, err);
}

static int mount_memory(const char *name, const char *path, const char *options, struct cringle_err *err)
{
        if (file_make_dirs(path, 0700, err) < 0)
                return -1;
        if (mount(name, path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
                return err_sys(err, "mount %s", path);
        return 0;
}

/*
 * Containers may write to the pod's files (files.c), so these have a file system of their own, which is full one day.
 * Containers that share the pod's IPC namespace share its /dev/shm, which is mounted in there: both go at once.  A
 * pod on the host's has the host's /dev/shm, where it may fill as much as the host lets it; its files
 * are in the directory itself.
 */
static int mount_files(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        auto_free char *files = pod_file(pod, "", err), *shm = pod_file(pod, "shm", err), *options = NULL;
        auto_free char *label = NULL;
        struct cringle_id_map uids = { 0 }, gids = { 0 };

        if (!files || !shm || spec_id_maps(pod->request->config, &uids, &gids, err) < 0 ||
            pod_labels(pod, NULL, &label, err) < 0)
                return -1;
        if (pod_namespaces(pod)->ipc == CRI__NAMESPACE_MODE__NODE)
                return file_make_dirs(files, 0700, err);
        options = str_printf(err, SHM_OPTIONS ",uid=%u,gid=%u%s%s%s", uids.outside, gids.outside,
                             label ? ",context=\"" : "", label ? label : "", label ? "\"" : "");
        if (!options || mount_memory("files", files, GUARD(files_bounded) ? FILES_OPTIONS : "mode=0700", err) < 0)
                return -1;
        return mount_memory("shm", shm, options, err);
}

int pod_unmount_files(struct pod *pod, struct cringle_err *err)
{
        auto_free char *path = pod_file(pod, "", err);

        if (!path)
                return -1;
        /* EINVAL: a directory on which nothing is mounted */
        if (GUARD(shm_goes) && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
                return err_sys(err, "unmount %s", path);
        return 0;
}

static int unmount_files(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_unmount_files(object, err);
}

static uint32_t wanted_namespaces(const struct pod *pod)
{
        const Cri__NamespaceOption *o = pod_namespaces(pod);
        uint32_t mask = 0;

        if (o->network != CRI__NAMESPACE_MODE__NODE)
                mask |= CRINGLE_NS_NET | CRINGLE_NS_UTS;
        if (o->ipc != CRI__NAMESPACE_MODE__NODE)
                mask |= CRINGLE_NS_IPC;
        if (o->pid == CRI__NAMESPACE_MODE__POD)
                mask |= CRINGLE_NS_PID;
        return mask;
}

/* All directories that the monitor has to join, as one list; its elements are borrowed from @dirs. */
static const char **join_list(const struct cringle_cgroup_dirs *dirs)
{
        size_t n = strv_count((const char *const *) dirs->v1), at = 0;
        const char **list = calloc(n + 2, sizeof *list);

        if (!list)
                return NULL;
        if (dirs->unified)
                list[at++] = dirs->unified;
        for (size_t i = 0; i < n; i++)
                list[at++] = dirs->v1[i];
        return list;
}

static int open_pod(struct pod *pod, int adopt, const struct cringle_cgroup_dirs *dirs,
                    const struct cringle_call *call, struct cringle_err *err)
{
        const struct host_executor *executor = &pod->pods->executor;
        const Cri__PodSandboxConfig *config = pod->request->config;
        const Cri__LinuxPodSandboxConfig *linux = config->linux;
        size_t n = linux ? linux->n_sysctls : 0;
        auto_free struct cringle_pair *sysctls = calloc(n + 1, sizeof *sysctls);
        auto_free const char **join = join_list(dirs);
        auto_free char *process = NULL, *files = NULL;
        struct cringle_id_map uids, gids;
        int mapped = spec_id_maps(config, &uids, &gids, err);
        struct cringle_pod_launch launch = {
                .size = sizeof launch,
                .id = pod->id,
                .run_dir = pod->run_dir,
                .namespaces = wanted_namespaces(pod) | (mapped == 1 ? CRINGLE_NS_USER : 0),
                .hostname = str_empty(config->hostname) ? NULL : config->hostname,
                .sysctls = sysctls,
                .cgroup_dirs = join,
        };

        if (!sysctls || !join)
                return err_oom(err);
        if (mapped < 0 || pod_labels(pod, &process, &files, err) < 0)
                return -1;
        launch.selinux_label = process;
        launch.mount_label = files;
        if (mapped == 1) {
                launch.uids = &uids;
                launch.gids = &gids;
                launch.n_uids = launch.n_gids = 1;
        }
        for (size_t i = 0; i < n; i++)
                sysctls[i] = (struct cringle_pair) { linux->sysctls[i]->key, linux->sysctls[i]->value };
        return executor->ops->open_pod(executor->self, call, &launch, adopt, err);
}

int pod_adopt(struct pod *pod, const struct cringle_call *call, struct cringle_err *err)
{
        struct cringle_cgroup_dirs none = { .size = sizeof none };

        return open_pod(pod, 1, &none, call, err);
}

static int start_monitor(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        const struct host_cgroup *cgroup = &pod->pods->cgroup;
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
        int r;

        if (pod_make_monitor_cgroup(pod, call, &dirs, err) < 0)
                return -1;
        r = open_pod(pod, 0, &dirs, call, err);
        cgroup->ops->free_dirs(&dirs);
        return r;
}

int pod_close_monitor(struct pod *pod, const struct cringle_call *call, struct cringle_err *err)
{
        const struct host_executor *executor = &pod->pods->executor;

        if (executor->ops->close_pod(executor->self, call, pod->id, pod->run_dir, err) < 0)
                return -1;
        return pod_drop_monitor_cgroup(pod, call, err);
}

static int close_monitor(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_close_monitor(object, call, err);
}

/* What a network plugin is told of a pod; it owns the arrays, what is in them is borrowed. */
struct network_pod {
        struct cringle_network_pod pod;
        struct cringle_port_mapping *ports;
        struct cringle_pair *annotations;
        const char **servers, **searches, **options;
        char *netns;
};

static void network_pod_done(struct network_pod *n)
{
        free(n->servers);
        free(n->searches);
        free(n->options);
        free(n->ports);
        free(n->annotations);
        free(n->netns);
}

static const char *protocol_name(Cri__Protocol protocol)
{
        switch (protocol) {
        case CRI__PROTOCOL__UDP:
                return "udp";
        case CRI__PROTOCOL__SCTP:
                return "sctp";
        default:
                return "tcp";
        }
}

/* A repeated field as a list that ends with NULL. */
static const char **list_of(char **values, size_t n)
{
        const char **list = calloc(n + 1, sizeof *list);

        for (size_t i = 0; list && i < n; i++)
                list[i] = values[i];
        return list;
}

static int network_pod_init(struct network_pod *n, const struct pod *pod, struct cringle_err *err)
{
        const Cri__PodSandboxConfig *config = pod->request->config;
        const Cri__DNSConfig *dns = config->dns_config;
        size_t n_ports = 0;

        n->ports = calloc(config->n_port_mappings + 1, sizeof *n->ports);
        n->annotations = calloc(config->n_annotations + 1, sizeof *n->annotations);
        n->netns = str_printf(err, "%s/ns/net", pod->run_dir);
        n->servers = list_of(dns ? dns->servers : NULL, dns ? dns->n_servers : 0);
        n->searches = list_of(dns ? dns->searches : NULL, dns ? dns->n_searches : 0);
        n->options = list_of(dns ? dns->options : NULL, dns ? dns->n_options : 0);
        if (!n->ports || !n->annotations || !n->netns || !n->servers || !n->searches || !n->options)
                return err_oom(err);

        for (size_t i = 0; i < config->n_port_mappings; i++) {
                const Cri__PortMapping *m = config->port_mappings[i];

                if (m->host_port > 0)
                        n->ports[n_ports++] = (struct cringle_port_mapping) {
                                .protocol = protocol_name(m->protocol),
                                .container_port = m->container_port,
                                .host_port = m->host_port,
                                .host_ip = m->host_ip,
                        };
        }
        for (size_t i = 0; i < config->n_annotations; i++)
                n->annotations[i] = (struct cringle_pair) { config->annotations[i]->key, config->annotations[i]->value };

        n->pod = (struct cringle_network_pod) {
                .size = sizeof n->pod,
                .id = pod->id,
                .name = config->metadata->name,
                .space = config->metadata->namespace_,
                .uid = config->metadata->uid,
                .netns = file_exists(n->netns) ? n->netns : NULL,
                .cgroup_parent = pod->cgroup_parent,
                .ports = n->ports,
                .n_ports = n_ports,
                .annotations = n->annotations,
                .dns_servers = n->servers,
                .dns_searches = n->searches,
                .dns_options = n->options,
        };
        return 0;
}

/* PodIP first, then the others, into the status. */
static int take_addresses(struct pod *pod, const struct cringle_network_result *result, struct cringle_err *err)
{
        Cri__PodSandboxNetworkStatus status = CRI__POD_SANDBOX_NETWORK_STATUS__INIT;
        size_t n = strv_count((const char *const *) result->ips);
        auto_free Cri__PodIP *ips = calloc(n + 1, sizeof *ips);
        auto_free Cri__PodIP **list = calloc(n + 1, sizeof *list);
        Cri__PodSandboxNetworkStatus *copy;

        if (!ips || !list)
                return err_oom(err);
        for (size_t i = 1; i < n; i++) {
                ips[i] = (Cri__PodIP) CRI__POD_IP__INIT;
                ips[i].ip = result->ips[i];
                list[i - 1] = &ips[i];
        }
        if (n > 0) {
                status.ip = result->ips[0];
                status.n_additional_ips = n - 1;
                status.additional_ips = list;
        }
        copy = message_copy(&status);
        if (!copy)
                return err_oom(err);

        pthread_mutex_lock(&pod->pods->tasks.lock);
        message_free(pod->status->network);
        pod->status->network = copy;
        pthread_mutex_unlock(&pod->pods->tasks.lock);
        return 0;
}

static int attach_network(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        const struct host_network *network = &pod->pods->network;
        struct cringle_network_result result = { .size = sizeof result };
        struct network_pod n = { 0 };
        int r = -1;

        if (pod_on_host_network(pod))
                return 0;
        if (network_pod_init(&n, pod, err) == 0 &&
            network->ops->attach(network->self, call, &n.pod, &result, err) == 0) {
                r = take_addresses(pod, &result, err);
                network->ops->free_result(&result);
        }
        network_pod_done(&n);
        return r;
}

int pod_detach_network(struct pod *pod, const struct cringle_call *call, struct cringle_err *err)
{
        const struct host_network *network = &pod->pods->network;
        struct network_pod n = { 0 };
        int r = -1;

        if (pod_on_host_network(pod))
                return 0;
        if (network_pod_init(&n, pod, err) == 0)
                r = network->ops->detach(network->self, call, &n.pod, err);
        network_pod_done(&n);
        return r;
}

static int detach_network(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_detach_network(object, call, err);
}

static int write_files(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_write_files(object, err);
}

static int run_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        struct hooks_subject subject = pod_subject(pod);

        return hooks_run(pod->pods->hooks, CRINGLE_POD_RUN, &subject, call, err);
}

/* An address is reserved elsewhere, so that it is ours must survive a power cut too. */
static int forget_hooks(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        struct hooks_subject subject = pod_subject(pod);

        hooks_forget(pod->pods->hooks, &subject);
        return 0;
}

static int mark_ready(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = object;
        struct pods *pods = pod->pods;

        if (task_cancelled(t))
                return err_set(err, CRINGLE_E_CANCELLED, "cancelled");

        pthread_mutex_lock(&pods->tasks.lock);
        pod->status->state = CRI__POD_SANDBOX_STATE__SANDBOX_READY;
        pod->status->created_at = clock_realtime();
        pthread_mutex_unlock(&pods->tasks.lock);
        if (store_pod(pod, NULL, NULL, pod_on_host_network(pod) ? DB_FAST : DB_DURABLE, err) < 0)
                return -1;

        pthread_mutex_lock(&pods->tasks.lock);
        pod->visible = true;
        pod_emit(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT);
        pod_emit(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
        pthread_mutex_unlock(&pods->tasks.lock);
        return 0;
}

static const struct step steps[] = {
        { "reserve name",      keep_record,    drop_record    },
        { "make directories",  make_dirs,      remove_dirs    },
        { "mount files",       mount_files,    unmount_files  },
        { "start monitor",     start_monitor,  close_monitor  },        /* and with it the namespaces */
        { "attach network",    attach_network, detach_network },
        { "write files",       write_files,    NULL           },        /* hosts has the address in it */
        { "run hooks",         run_hooks,      forget_hooks   },
        { "mark ready",        mark_ready,     NULL           },
        { 0 }
};

static void finish(struct task *t, void *object, const struct cringle_err *err)
{
        struct pod *pod = object;

        if (!err)
                return;
        pthread_mutex_lock(&pod->pods->tasks.lock);
        if (task_left_over(t)) {
                pod_leave_over(pod);
        } else {
                pod_leave(pod);
                pod->detached = true;   /* for a stop that waits for us */
        }
        pthread_mutex_unlock(&pod->pods->tasks.lock);
}

const struct procedure sandbox_run = {
        .name = "run pod",
        .steps = steps,
        .record = record,
        .finish = finish,
};

/* Those that a network plugin is asked for; what it makes of numbers that are none is its own affair. */
static int check_ports(const Cri__PodSandboxConfig *config, struct cringle_err *err)
{
        for (size_t i = 0; i < config->n_port_mappings; i++) {
                const Cri__PortMapping *m = config->port_mappings[i];
                struct in6_addr address;

                if (m->host_port <= 0)
                        continue;
                if (m->host_port > UINT16_MAX || m->container_port < 1 || m->container_port > UINT16_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "port mapping %d:%d is out of range", (int) m->host_port,
                                       (int) m->container_port);
                if (!protobuf_c_enum_descriptor_get_value(&cri__protocol__descriptor, (int) m->protocol))
                        return err_set(err, CRINGLE_E_INVALID, "port mapping %d: protocol %d is not known", (int) m->host_port,
                                       (int) m->protocol);
                if (!str_empty(m->host_ip) && inet_pton(AF_INET, m->host_ip, &address) != 1 &&
                    inet_pton(AF_INET6, m->host_ip, &address) != 1)
                        return err_set(err, CRINGLE_E_INVALID, "port mapping %d: '%.64s' is no address", (int) m->host_port,
                                       m->host_ip);
        }
        return 0;
}

/* What is wrong with the request itself, before anything is made. */
static int check(const Cri__RunPodSandboxRequest *request, struct cringle_err *err)
{
        const Cri__PodSandboxConfig *config = request->config;
        const Cri__LinuxSandboxSecurityContext *security;
        const Cri__NamespaceOption *o;

        if (!config || !config->metadata)
                return err_set(err, CRINGLE_E_INVALID, "no sandbox config or metadata");
        if (str_empty(config->metadata->name) || str_empty(config->metadata->namespace_))
                return err_set(err, CRINGLE_E_INVALID, "metadata without name or namespace");
        if (!str_empty(request->runtime_handler))
                return err_set(err, CRINGLE_E_INVALID, "no runtime handler '%.64s' is configured", request->runtime_handler);
        if (spec_check_sysctls(config, err) < 0 || user_ns_check(config, err) < 0 || check_ports(config, err) < 0)
                return -1;

        security = config->linux ? config->linux->security_context : NULL;
        o = security ? security->namespace_options : NULL;
        if (!o)
                return 0;
        if (o->network == CRI__NAMESPACE_MODE__CONTAINER || o->network == CRI__NAMESPACE_MODE__TARGET ||
            o->ipc == CRI__NAMESPACE_MODE__CONTAINER || o->ipc == CRI__NAMESPACE_MODE__TARGET ||
            o->pid == CRI__NAMESPACE_MODE__TARGET)
                return err_set(err, CRINGLE_E_INVALID, "a pod's namespaces are its own or the node's");
        return 0;
}

/* A new pod, in the maps; the lock is held. */
static int begin(struct pods *pods, const Cri__RunPodSandboxRequest *request, bool restoring, struct pod **ret,
                 struct cringle_err *err)
{
        Cri__RunPodSandboxRequest *copy = message_copy(request);
        char id[ID_LEN + 1];
        struct pod *pod;

        if (!copy)
                return err_oom(err);
        id_make(id);
        pod = pod_new(pods, id, copy, err);
        if (!pod) {
                message_free(copy);
                return -1;
        }
        pod->restoring = restoring;
        if (pod_place(pod, err) < 0 || pod_take_level(pod, err) < 0 || pod_enter(pod, err) < 0) {
                pod_unref(pod);
                return -1;
        }
        *ret = pod;
        return 0;
}

/* @restoring: one that is to be filled from a checkpoint, and is no other request's. */
static void run(struct pods *pods, const Cri__RunPodSandboxRequest *request, bool restoring, pods_done_fn done, void *data)
{
        const Cri__PodSandboxMetadata *m = request->config ? request->config->metadata : NULL;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *key = NULL;
        char id[ID_LEN + 1] = "";
        struct pod *pod = NULL;
        int r = -1;

        if (check(request, &err) < 0 || pods_check_cgroup_parent(pods, request, &err) < 0) {
                done(data, NULL, &err);
                return;
        }

        pthread_mutex_lock(&pods->tasks.lock);
        key = str_printf(&err, "%s/%s/%s/%u", m->namespace_, m->name, m->uid, m->attempt);
        pod = key ? map_get(&pods->by_name, key) : NULL;
        if (pod && ((!pod->closing && (restoring || pod->restoring)) || !message_equal(pod->request, request))) {
                err_set(&err, CRINGLE_E_EXISTS, "pod %s/%s (attempt %u) is held by sandbox %s, with another configuration",
                        m->namespace_, m->name, m->attempt, pod->id);
        } else if (pod && pod->closing) {
                err_set(&err, CRINGLE_E_UNAVAILABLE, "sandbox %s of this name is being stopped", pod->id);
        } else if (pod && pod->visible && pod->status->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY) {
                memcpy(id, pod->id, sizeof id);
                r = 0;
        } else if (pod && pod->visible) {
                err_set(&err, CRINGLE_E_UNAVAILABLE, "sandbox %s of this name has yet to be stopped", pod->id);
        } else if (key && (pod || begin(pods, request, restoring, &pod, &err) == 0)) {
                pods_start_pod_task(pod, &sandbox_run, true, NULL, done, data);
                pthread_mutex_unlock(&pods->tasks.lock);
                return;
        }
        pthread_mutex_unlock(&pods->tasks.lock);

        done(data, id, r < 0 ? &err : NULL);
}

void pods_run_sandbox(struct pods *pods, const Cri__RunPodSandboxRequest *request, pods_done_fn done, void *data)
{
        run(pods, request, false, done, data);
}

void pods_run_restoring(struct pods *pods, const Cri__RunPodSandboxRequest *request, pods_done_fn done, void *data)
{
        run(pods, request, true, done, data);
}
