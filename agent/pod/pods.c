/*
 * Pods and containers: making them, finding them, letting go of them
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/guard.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

static char *pod_key(const Cri__PodSandboxMetadata *m, struct cringle_err *err)
{
        return str_printf(err, "%s/%s/%s/%u", m->namespace_, m->name, m->uid, m->attempt);
}

struct pod *pod_new(struct pods *pods, const char *id, Cri__RunPodSandboxRequest *request, struct cringle_err *err)
{
        struct pod *pod = calloc(1, sizeof *pod);
        const Cri__PodSandboxConfig *config = request->config;
        Cri__PodSandboxStatus status = CRI__POD_SANDBOX_STATUS__INIT;
        Cri__LinuxPodSandboxStatus own = CRI__LINUX_POD_SANDBOX_STATUS__INIT;
        Cri__Namespace spaces = CRI__NAMESPACE__INIT;

        if (!pod) {
                err_oom(err);
                return NULL;
        }
        pod->refs = 1;
        pod->pods = pods;
        memcpy(pod->id, id, sizeof pod->id);
        pod->request = request;
        pod->first_error = (struct cringle_err) CRINGLE_ERR_INIT;

        status.id = pod->id;
        status.metadata = config->metadata;
        status.state = CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        status.n_labels = config->n_labels;
        status.labels = config->labels;
        status.n_annotations = config->n_annotations;
        status.annotations = config->annotations;
        status.runtime_handler = request->runtime_handler;
        spaces.options = (Cri__NamespaceOption *) pod_namespaces(pod);
        own.namespaces = &spaces;
        status.linux = &own;

        pod->status = message_copy(&status);
        pod->key = pod_key(config->metadata, err);
        pod->run_dir = str_printf(err, "%s/pods/%s", pods->state, id);
        pod->dir = str_printf(err, "%s/pods/%s", pods->root, id);
        if (!pod->status || !pod->key || !pod->run_dir || !pod->dir) {
                err_oom(err);
                pod->request = NULL;    /* the caller still has it */
                pod_unref(pod);
                return NULL;
        }
        return pod;
}

void pod_ref(void *data)
{
        struct pod *pod = data;

        pod->refs++;
}

void pod_unref(void *data)
{
        struct pod *pod = data;

        if (!pod || --pod->refs > 0)
                return;

        message_free((ProtobufCMessage *) pod->request);
        message_free((ProtobufCMessage *) pod->status);
        message_free((ProtobufCMessage *) pod->resources);
        listed_done(&pod->listed);
        free(pod->key);
        free(pod->run_dir);
        free(pod->dir);
        free(pod->cgroup_parent);
        free(pod->monitor_parent);
        free(pod->place);
        free(pod->level);
        free(pod->step);
        free(pod);
}

/* The log path as the status tells it; NULL: none.  Names are the kubelet's, but must stay below its directory. */
static int log_path_of(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c, char **ret,
                       struct cringle_err *err)
{
        *ret = NULL;
        if (str_empty(pod->log_directory) || str_empty(c->log_path))
                return 0;

        *ret = str_printf(err, "%s/%s", pod->log_directory, c->log_path);
        return *ret ? 0 : -1;
}

struct container *container_new(struct pod *pod, const char *id, Cri__CreateContainerRequest *request,
                                struct cringle_err *err)
{
        struct container *c = calloc(1, sizeof *c);
        const Cri__ContainerConfig *config = request->config;
        Cri__ContainerStatus status = CRI__CONTAINER_STATUS__INIT;
        Cri__ContainerResources resources = CRI__CONTAINER_RESOURCES__INIT;
        Cri__ImageSpec image;

        if (!c) {
                err_oom(err);
                return NULL;
        }
        c->refs = 1;
        c->pods = pod->pods;
        memcpy(c->id, id, sizeof c->id);
        if (log_path_of(pod->request->config, config, &c->log_path, err) < 0) {
                free(c);
                return NULL;
        }

        status.id = c->id;
        status.metadata = config->metadata;
        status.state = CRI__CONTAINER_STATE__CONTAINER_CREATED;
        if (config->image) {
                image = *config->image;         /* a kubelet asks by id, and shows users what is told here */
                if (!str_empty(image.user_specified_image))
                        image.image = image.user_specified_image;
                status.image = &image;
        }
        status.n_labels = config->n_labels;
        status.labels = config->labels;
        status.n_annotations = config->n_annotations;
        status.annotations = config->annotations;
        status.n_mounts = config->n_mounts;
        status.mounts = config->mounts;
        status.log_path = c->log_path ? c->log_path : (char *) protobuf_c_empty_string;
        if (config->linux && config->linux->resources) {
                resources.linux = config->linux->resources;
                status.resources = &resources;
        }

        c->status = message_copy(&status);
        c->bundle = str_printf(err, "%s/%s", pod->dir, id);
        c->key = str_printf(err, "%s/%s/%u", pod->id, config->metadata->name, config->metadata->attempt);
        if (!c->status || !c->bundle || !c->key) {
                err_oom(err);
                container_unref(c);
                return NULL;
        }
        c->request = request;
        c->pod = pod;
        pod_ref(pod);
        return c;
}

void container_ref(void *data)
{
        struct container *c = data;

        c->refs++;
}

void container_unref(void *data)
{
        struct container *c = data;

        if (!c || --c->refs > 0)
                return;

        pod_unref(c->pod);
        message_free((ProtobufCMessage *) c->request);
        message_free((ProtobufCMessage *) c->status);
        listed_done(&c->listed);
        image_unref(c->image);
        free(c->bundle);
        strv_free(c->args);
        free(c->key);
        free(c->log_path);
        free(c->step);
        free(c);
}

int pod_enter_unnamed(struct pod *pod, struct cringle_err *err)
{
        struct map *by_id = &pod->pods->by_id;

        if (map_put(by_id, pod->id, pod, err) < 0)
                return -1;
        if (pod_index(pod, err) < 0) {
                map_take(by_id, pod->id);
                return -1;
        }
        return 0;
}

int pod_enter(struct pod *pod, struct cringle_err *err)
{
        struct map *by_name = &pod->pods->by_name;

        if (map_put(by_name, pod->key, pod, err) < 0)
                return -1;
        if (pod_enter_unnamed(pod, err) < 0) {
                map_take(by_name, pod->key);
                return -1;
        }
        return 0;
}

void pod_drop_name(struct pod *pod)
{
        if (map_get(&pod->pods->by_name, pod->key) == pod)
                map_take(&pod->pods->by_name, pod->key);
}

void pod_leave(struct pod *pod)
{
        pod_drop_name(pod);
        pod->visible = false;
        pod->row = ROW_GONE;
        if (!map_take(&pod->pods->by_id, pod->id))
                return;
        pod_unindex(pod);
        pod_unref(pod);
}

int container_enter(struct container *c, struct cringle_err *err)
{
        struct pods *pods = c->pods;

        if (map_put(&pods->container_names, c->key, c, err) < 0)
                return -1;
        if (map_put(&pods->containers, c->id, c, err) < 0) {
                map_take(&pods->container_names, c->key);
                return -1;
        }
        c->next = c->pod->containers;
        c->pod->containers = c;
        pods->strays += container_strays(c);
        return 0;
}

void container_drop_name(struct container *c)
{
        if (map_get(&c->pods->container_names, c->key) == c)
                map_take(&c->pods->container_names, c->key);
}

void container_leave(struct container *c)
{
        container_drop_name(c);
        c->visible = false;
        c->row = ROW_GONE;
        if (!map_take(&c->pods->containers, c->id))
                return;
        c->pods->strays -= container_strays(c);
        for (struct container **at = &c->pod->containers; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        container_unref(c);
}

void pod_leave_over(struct pod *pod)
{
        pod_drop_name(pod);
        pod->status->state = CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        pod->status->created_at = clock_realtime();
        pod->visible = true;
}

void container_leave_over(struct container *c)
{
        container_drop_name(c);
        c->visible = false;
        c->row = ROW_GONE;
}

static bool pod_shows(const void *pod)
{
        return ((const struct pod *) pod)->visible;
}

static bool container_shows(const void *container)
{
        return ((const struct container *) container)->visible;
}

/* What @id names, or the one object whose id begins with it; *ret is NULL when there is none.  -1: several. */
static int look_up(const struct map *m, bool (*shows)(const void *object), const char *id, void *ret,
                   struct cringle_err *err)
{
        void *value, *found = id_valid(id) ? map_get(m, id) : NULL;
        size_t at = 0, n = strlen(id);
        const char *key;

        if (found && !shows(found))
                found = NULL;
        while (!found && n > 0 && n < ID_LEN && map_next(m, &at, &key, &value)) {
                if (strncmp(key, id, n) != 0 || !shows(value))
                        continue;
                found = value;
                while (map_next(m, &at, &key, &value))
                        if (strncmp(key, id, n) == 0 && shows(value))
                                return err_set(err, CRINGLE_E_INVALID, "'%.80s' fits more than one id", id);
        }
        *(void **) ret = found;
        return 0;
}

int pods_find(struct pods *pods, const char *id, struct pod **ret, struct cringle_err *err)
{
        return look_up(&pods->by_id, pod_shows, id, ret, err);
}

int containers_find(struct pods *pods, const char *id, struct container **ret, struct cringle_err *err)
{
        return look_up(&pods->containers, container_shows, id, ret, err);
}

int find_pod(struct pods *pods, const char *id, struct pod **ret, struct cringle_err *err)
{
        if (pods_find(pods, id, ret, err) < 0)
                return -1;
        return *ret ? 0 : err_set(err, CRINGLE_E_NOT_FOUND, "no pod sandbox '%.80s'", id);
}

int find_container(struct pods *pods, const char *id, struct container **ret, struct cringle_err *err)
{
        if (containers_find(pods, id, ret, err) < 0)
                return -1;
        return *ret ? 0 : err_set(err, CRINGLE_E_NOT_FOUND, "no container '%.80s'", id);
}

const Cri__NamespaceOption *pod_namespaces(const struct pod *pod)
{
        static const Cri__NamespaceOption none = CRI__NAMESPACE_OPTION__INIT;
        const Cri__LinuxPodSandboxConfig *linux = pod->request->config->linux;

        if (!linux || !linux->security_context || !linux->security_context->namespace_options)
                return &none;
        return linux->security_context->namespace_options;
}

bool pod_on_host_network(const struct pod *pod)
{
        return pod_namespaces(pod)->network == CRI__NAMESPACE_MODE__NODE;
}

struct hooks_subject pod_subject(const struct pod *pod)
{
        return (struct hooks_subject) {
                .pod_id = pod->id,
                .pod = pod->request->config,
                .handler = pod->request->runtime_handler,
                .run_dir = pod->run_dir,
                .network = pod->status->network,
                .created_at = pod->status->created_at,
        };
}

struct hooks_subject container_subject(const struct container *c)
{
        struct hooks_subject s = pod_subject(c->pod);

        s.container_id = c->id;
        s.container = c->request->config;
        s.bundle = c->bundle;
        s.args = (const char *const *) c->args;
        s.image_id = c->status->image_id;       /* set when it was asked for, and never again */
        pthread_mutex_lock(&c->pods->tasks.lock);
        s.pid = c->pid;
        s.exit_code = c->status->exit_code;
        s.state = (int) c->status->state;
        s.created_at = c->status->created_at;
        s.started_at = c->status->started_at;
        s.finished_at = c->status->finished_at;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return s;
}

void pods_start_pod_task(struct pod *pod, const struct procedure *procedure, bool join, void *extra, task_done_fn done,
                         void *data)
{
        task_start(&pod->pods->tasks, &(struct task_options) {
                .lane = &pod->lane,
                .procedure = procedure,
                .object = pod,
                .ref = pod_ref,
                .unref = pod_unref,
                .id = pod->id,
                .join = join,
                .done = done,
                .data = data,
                .extra = extra,
        });
}

struct task *pods_start_container_task(struct container *c, const struct procedure *procedure, bool join, void *extra,
                                       task_done_fn done, void *data)
{
        return task_start(&c->pods->tasks, &(struct task_options) {
                .lane = &c->lane,
                .procedure = procedure,
                .object = c,
                .ref = container_ref,
                .unref = container_unref,
                .id = c->id,
                .join = join,
                .done = done,
                .data = data,
                .extra = extra,
        });
}

bool pods_leave(struct pods *pods, void *data, struct buf *ret)
{
        return tasks_leave(&pods->tasks, data, ret);
}

struct pods_count pods_count(struct pods *pods)
{
        struct pods_count n;

        pthread_mutex_lock(&pods->tasks.lock);
        n.pods = (uint32_t) pods->by_id.count;
        n.containers = (uint32_t) pods->containers.count;
        pthread_mutex_unlock(&pods->tasks.lock);
        return n;
}

void pods_operations(struct pods *pods,
                     void (*fn)(void *data, const char *name, const char *id, const char *step, int64_t age),
                     void *data)
{
        tasks_describe(&pods->tasks, fn, data);
}

int pods_set_pod_cidr(struct pods *pods, const char *cidr, struct cringle_err *err)
{
        if (!pods->network.ops->set_pod_cidr)
                return 0;
        return pods->network.ops->set_pod_cidr(pods->network.self, cidr, err);
}

int pods_network_status(struct pods *pods, const struct cringle_call *call, struct cringle_err *err)
{
        return pods->network.ops->status(pods->network.self, call, err);
}

/* The directories that pods' own are made in: there from the start, so that a pod leaves nothing when it goes. */
static int make_homes(const struct pods *pods, struct cringle_err *err)
{
        auto_free char *run = str_printf(err, "%s/pods", pods->state);
        auto_free char *kept = str_printf(err, "%s/pods", pods->root);

        if (!run || !kept)
                return -1;
        return file_make_dirs(run, 0700, err) < 0 || file_make_dirs(kept, 0700, err) < 0 ? -1 : 0;
}

int pods_new(const struct pods_options *o, struct pods **ret, struct cringle_err *err)
{
        auto_of(pods) pods = calloc(1, sizeof *pods);
        auto_free char *boot_id = NULL;
        const struct config *config = o->config;

        if (!pods)
                return err_oom(err);
        tasks_init(&pods->tasks, o->workers);
        pthread_mutex_init(&pods->user_ns_lock, NULL);
        pods->db = o->db;
        pods->cgroup = host_cgroup(o->host);
        pods->network = host_network(o->host);
        pods->executor = host_executor(o->host);
        pods->hooks = o->hooks;
        pods->images = o->images;
        pods->loop = o->loop;
        pods->workers = o->workers;
        if (str_copy(&pods->root, config->root, err) < 0 || str_copy(&pods->state, config->state, err) < 0 ||
            str_copy(&pods->monitor_parent, config->cgroups.monitor_parent, err) < 0 ||
            pods_prepare(config, &pods->policy, err) < 0)
                return -1;

        pods->machine = (struct spec_input) SPEC_INPUT_INIT;
        pods->machine.cgroup_layout = pods->cgroup.ops->layout(pods->cgroup.self);
        if (spec_input_probe(&pods->machine, err) < 0)
                return err_wrap(err, "look at this machine");
        pods->machine.has_selinux &= config->selinux;
        if (!o->boot_id && file_read_line("/proc/sys/kernel/random/boot_id", &boot_id, err) < 0)
                return -1;
        snprintf(pods->boot_id, sizeof pods->boot_id, "%s", o->boot_id ? o->boot_id : boot_id);

        if (streaming_new(pods, config, &pods->streaming, err) < 0)
                return -1;
        streaming_check(pods->streaming);
        pods->can.size = sizeof pods->can;
        if (pods->executor.ops->features(pods->executor.self, &pods->can, err) < 0)
                return err_wrap(err, "features of the executor");
        pods->executor.ops->listen(pods->executor.self, container_event, pods);
        if (make_homes(pods, err) < 0)
                return -1;
        if (pods_restore(pods, err) < 0)
                return err_wrap(err, "restore");
        if (sampler_new(pods, &pods->sampler, err) < 0)
                return -1;
        *ret = steal(&pods);
        return 0;
}

static void free_user(void *user)
{
        oci_user_free(user);
}

struct pods *pods_free(struct pods *pods)
{
        size_t at;
        const char *id;
        void *object;

        if (!pods)
                return NULL;

        sampler_free(pods->sampler);
        for (at = 0; map_next(&pods->containers, &at, &id, &object);) {
                container_stop_timer(object);
                container_unref(object);
        }
        for (at = 0; map_next(&pods->by_id, &at, &id, &object);)
                pod_unref(object);
        map_done(&pods->containers, NULL);
        map_done(&pods->container_names, NULL);
        map_done(&pods->by_id, NULL);
        map_done(&pods->by_name, NULL);
        map_done(&pods->by_uid, NULL);
        map_done(&pods->execs, NULL);
        streaming_free(pods->streaming);
        map_done(&pods->users, free_user);
        tasks_done(&pods->tasks);
        pthread_mutex_destroy(&pods->user_ns_lock);
        free(pods->root);
        free(pods->state);
        free(pods->monitor_parent);
        policy_unref(pods->policy);
        free(pods);
        return NULL;
}
