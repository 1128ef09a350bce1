/*
 * Status: answered from memory
 *
 * Messages are put together from pointers into the objects, packed by the caller under
 * the lock, and thrown away.
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

#define SPEC_MAX (16 << 20)

Cri__Signal signal_of(int signal)
{
        char name[40];
        const ProtobufCEnumValue *value;
        const char *abbreviation = sigabbrev_np(signal);

        if (signal == SIGRTMIN || signal == SIGRTMAX)
                snprintf(name, sizeof name, "SIGNAL_SIGRT%s", signal == SIGRTMIN ? "MIN" : "MAX");
        else if (signal > SIGRTMIN && signal <= SIGRTMIN + 15)
                snprintf(name, sizeof name, "SIGNAL_SIGRTMINPLUS%d", signal - SIGRTMIN);
        else if (signal > SIGRTMIN && signal < SIGRTMAX)
                snprintf(name, sizeof name, "SIGNAL_SIGRTMAXMINUS%d", SIGRTMAX - signal);
        else
                snprintf(name, sizeof name, "SIGNAL_SIG%s", abbreviation ? abbreviation : "");

        value = protobuf_c_enum_descriptor_get_value_by_name(&cri__signal__descriptor, name);
        return value ? (Cri__Signal) value->value : CRI__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
}

/* Lists of what is limited by name. */
static int add_named_limits(struct json_object *to, const Cri__LinuxContainerResources *r)
{
        struct json_object *pages = r->n_hugepage_limits ? json_need_object(to, "hugepageLimits", NULL) : NULL;
        struct json_object *unified = r->n_unified ? json_need_object(to, "unified", NULL) : NULL;

        if ((r->n_hugepage_limits && !pages) || (r->n_unified && !unified))
                return -1;
        for (size_t i = 0; i < r->n_hugepage_limits; i++)
                if (json_set(pages, r->hugepage_limits[i]->page_size, json_object_new_uint64(r->hugepage_limits[i]->limit), NULL) < 0)
                        return -1;
        for (size_t i = 0; i < r->n_unified; i++)
                if (json_set_string(unified, r->unified[i]->key, r->unified[i]->value, NULL) < 0)
                        return -1;
        return 0;
}

/* NULL: nothing was told. */
static int add_resources(struct json_object *o, const char *name, const Cri__LinuxContainerResources *r)
{
        struct json_object *to = r ? json_need_object(o, name, NULL) : NULL;

        if (!r)
                return 0;
        if (!to || json_set_int(to, "cpuPeriod", r->cpu_period, NULL) < 0 ||
            json_set_int(to, "cpuQuota", r->cpu_quota, NULL) < 0 ||
            json_set_int(to, "cpuShares", r->cpu_shares, NULL) < 0 ||
            json_set_int(to, "memoryLimitInBytes", r->memory_limit_in_bytes, NULL) < 0 ||
            json_set_int(to, "memorySwapLimitInBytes", r->memory_swap_limit_in_bytes, NULL) < 0 ||
            json_set_string(to, "cpusetCpus", r->cpuset_cpus, NULL) < 0 ||
            json_set_string(to, "cpusetMems", r->cpuset_mems, NULL) < 0)
                return -1;
        return add_named_limits(to, r);
}

/* What `crictl inspect` shows besides; the caller's. */
static char *pod_info(const struct pod *pod)
{
        const Cri__LinuxPodSandboxConfig *linux = pod->request->config->linux;
        const Cri__UpdatePodSandboxResourcesRequest *fresh = pod->resources;
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;

        if (!o || json_set_string(o, "runDirectory", pod->run_dir, NULL) < 0 ||
            add_resources(o, "overhead", fresh && fresh->overhead ? fresh->overhead : linux ? linux->overhead : NULL) < 0 ||
            add_resources(o, "resources", fresh && fresh->resources ? fresh->resources : linux ? linux->resources : NULL) < 0 ||
            json_set_string(o, "directory", pod->dir, NULL) < 0 || json_set_bool(o, "closing", pod->closing, NULL) < 0 ||
            (pod->step && json_set_string(o, "step", pod->step, NULL) < 0) || json_write(o, &text, NULL) < 0)
                return NULL;
        return buf_steal(&text);
}

/* config.json, read without the lock; NULL: there is none (yet). */
static struct json_object *read_spec(struct pods *pods, const char *id)
{
        auto_free char *path = NULL;
        struct json_object *spec = NULL;
        struct container *c;

        pthread_mutex_lock(&pods->tasks.lock);
        if (find_container(pods, id, &c, NULL) == 0)
                path = str_printf(NULL, "%s/config.json", c->bundle);
        pthread_mutex_unlock(&pods->tasks.lock);
        return path && json_read_bytes(path, SPEC_MAX, &spec, NULL) == 0 ? spec : NULL;
}

/* @spec goes in whole: it is what the container was started from.  Its bytes may be any; a message takes UTF-8 only. */
static char *container_info(const struct container *c, struct json_object *spec)
{
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;

        if (!o)
                return NULL;
        if (json_set_int(o, "pid", c->pid, NULL) < 0 || json_set_string(o, "sandboxID", c->pod->id, NULL) < 0 ||
            json_set_string(o, "bundle", c->bundle, NULL) < 0 || (c->step && json_set_string(o, "step", c->step, NULL) < 0))
                return NULL;
        if (spec && json_set(o, "runtimeSpec", json_object_get(spec), NULL) < 0)
                return NULL;
        if (json_write(o, &text, NULL) < 0)
                return NULL;
        str_make_utf8(text.data);
        return buf_steal(&text);
}

int pods_sandbox_status(struct pods *pods, const char *id, bool verbose, pods_message_fn fn, void *data,
                        struct cringle_err *err)
{
        Cri__PodSandboxStatusResponse response = CRI__POD_SANDBOX_STATUS_RESPONSE__INIT;
        Cri__Pair pair = CRI__PAIR__INIT, *info = &pair;
        auto_free Cri__ContainerStatus **containers = NULL;
        auto_free char *text = NULL;
        struct pod *pod;
        int r;

        pthread_mutex_lock(&pods->tasks.lock);
        r = find_pod(pods, id, &pod, err);
        if (r == 0) {
                response.status = pod->status;
                response.timestamp = clock_realtime();
                containers = pod_statuses(pod, &response.n_containers_statuses);
                response.containers_statuses = containers;
                text = verbose ? pod_info(pod) : NULL;
                if (text) {
                        pair.key = message_text("info");
                        pair.value = text;
                        response.n_info = 1;
                        response.info = &info;
                }
                fn(data, &response.base);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

int pods_container_status(struct pods *pods, const char *id, bool verbose, pods_message_fn fn, void *data,
                          struct cringle_err *err)
{
        Cri__ContainerStatusResponse response = CRI__CONTAINER_STATUS_RESPONSE__INIT;
        Cri__Pair pair = CRI__PAIR__INIT, *info = &pair;
        auto_json spec = verbose ? read_spec(pods, id) : NULL;
        auto_free char *text = NULL;
        struct container *c;
        int r;

        pthread_mutex_lock(&pods->tasks.lock);
        r = find_container(pods, id, &c, err);
        if (r == 0) {
                response.status = c->status;
                text = verbose ? container_info(c, spec) : NULL;
                if (text) {
                        pair.key = message_text("info");
                        pair.value = text;
                        response.n_info = 1;
                        response.info = &info;
                }
                fn(data, &response.base);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}
