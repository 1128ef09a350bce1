/*
 * Version, Status, RuntimeConfig, UpdateRuntimeConfig
 */

#include "agent/base/call.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/cri/cri.h"
#include "agent/pod/message.h"

#define API_VERSION "v1"
#define KUBELET_API_VERSION "0.1.0"     /* what every runtime says, and kubelets expect */

HANDLER(cri_version)
{
        Cri__VersionResponse reply = CRI__VERSION_RESPONSE__INIT;

        reply.version = message_text(KUBELET_API_VERSION);
        reply.runtime_name = message_text("cringle");
        reply.runtime_version = message_text(CRINGLE_VERSION);
        reply.runtime_api_version = message_text(API_VERSION);
        rpc_call_reply(call, &reply.base);
}

/* "info" of a verbose Status: what `crictl info` shows; the caller's, or NULL. */
static void add_plugin(void *data, const struct host_info *info)
{
        struct json_object *plugins = data, *o = json_object_new_object();

        if (!o)
                return;
        if (json_set_string(o, "kind", info->kind, NULL) == 0 &&
            json_set_string(o, "state", info->in_use ? "in use" : "refused", NULL) == 0 &&
            json_set_string(o, "isolation", info->isolated ? "process" : "agent", NULL) == 0 &&
            (!info->message || json_set_string(o, "message", info->message, NULL) == 0))
                json_set(plugins, info->name, o, NULL);
        else
                json_object_put(o);
}

/* Those that are not in force say why. */
static void add_hook(void *data, const struct hooks_info *info)
{
        struct json_object *o = json_object_new_object();

        if (!o)
                return;
        if (json_set_string(o, "name", info->name, NULL) == 0 && json_set_string(o, "source", info->source, NULL) == 0 &&
            json_set_string(o, "origin", info->origin, NULL) == 0 &&
            json_set_string(o, "state", info->error ? "not in force" : "in force", NULL) == 0 &&
            (!info->error || json_set_string(o, "message", info->error, NULL) == 0) &&
            (!info->isolation || json_set_string(o, "isolation", info->isolation, NULL) == 0))
                json_add(data, o, NULL);
        else
                json_object_put(o);
}

static void add_operation(void *data, const char *name, const char *id, const char *step, int64_t age)
{
        auto_free char *text = str_printf(NULL, "%s %.12s: %s (%.1f s)", name, id, step, (double) age / 1e9);

        if (text)
                json_add_string(data, text, NULL);
}

static char *info_text(struct cri *cri)
{
        auto_json o = json_object_new_object();
        struct json_object *plugins, *hooks, *operations;
        auto_buf text = BUF_INIT;

        if (!o || json_set_string(o, "version", CRINGLE_VERSION, NULL) < 0)
                return NULL;
        plugins = json_need_object(o, "plugins", NULL);
        hooks = json_need_array(o, "hooks", NULL);
        operations = json_need_array(o, "operations", NULL);
        if (!plugins || !hooks || !operations)
                return NULL;
        host_list(cri->host, add_plugin, plugins);
        hooks_list(cri->hooks, add_hook, hooks);
        pods_operations(cri->pods, add_operation, operations);
        return json_write(o, &text, NULL) < 0 ? NULL : buf_steal(&text);
}

/* The network's state is the plugin's to tell, and that may take a while. */
static void tell_status(struct cri_job *job)
{
        const Cri__StatusRequest *request = (const Cri__StatusRequest *) job->request;
        Cri__StatusResponse reply = CRI__STATUS_RESPONSE__INIT;
        Cri__RuntimeStatus status = CRI__RUNTIME_STATUS__INIT;
        Cri__RuntimeCondition runtime = CRI__RUNTIME_CONDITION__INIT, network = CRI__RUNTIME_CONDITION__INIT;
        Cri__RuntimeCondition *conditions[] = { &runtime, &network };
        Cri__RuntimeHandlerFeatures can = CRI__RUNTIME_HANDLER_FEATURES__INIT;
        Cri__RuntimeHandler handler = CRI__RUNTIME_HANDLER__INIT, *handlers[] = { &handler };
        Cri__RuntimeFeatures features = CRI__RUNTIME_FEATURES__INIT;
        Cri__Pair pair = CRI__PAIR__INIT, *info = &pair;
        struct host_executor executor = host_executor(job->cri->host);
        struct cringle_executor_features known = { .size = sizeof known };
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_free char *text = NULL;

        runtime.type = message_text("RuntimeReady");
        runtime.status = true;
        network.type = message_text("NetworkReady");
        network.status = pods_network_status(job->cri->pods, rpc_call_context(job->call), &why) == 0;
        if (!network.status) {
                network.reason = message_text("NetworkPluginNotReady");
                network.message = why.text;
        }
        status.n_conditions = 2;
        status.conditions = conditions;
        reply.status = &status;

        if (executor.ops->features(executor.self, &known, &why) == 0)
                can.recursive_read_only_mounts = known.recursive_readonly != 0;
        can.user_namespaces = pods_have_user_ns(job->cri->pods);
        handler.features = &can;                /* the default handler has the empty name */
        reply.n_runtime_handlers = 1;
        reply.runtime_handlers = handlers;
        features.supplemental_groups_policy = true;
        features.user_namespaces_host_network = can.user_namespaces;
        features.mount_options = true;
        reply.features = &features;

        text = request->verbose ? info_text(job->cri) : NULL;
        if (text) {
                pair.key = message_text("info");
                pair.value = text;
                reply.n_info = 1;
                reply.info = &info;
        }
        rpc_call_reply(job->call, &reply.base);
}

HANDLER(cri_status)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, tell_status);
}

HANDLER(cri_runtime_config)
{
        struct cri *cri = data;
        struct host_cgroup cgroup = host_cgroup(cri->host);
        Cri__RuntimeConfigResponse reply = CRI__RUNTIME_CONFIG_RESPONSE__INIT;
        Cri__LinuxRuntimeConfiguration own = CRI__LINUX_RUNTIME_CONFIGURATION__INIT;

        own.cgroup_driver = strcmp(cgroup.ops->driver(cgroup.self), "systemd") == 0 ? CRI__CGROUP_DRIVER__SYSTEMD
                                                                                    : CRI__CGROUP_DRIVER__CGROUPFS;
        reply.linux = &own;
        rpc_call_reply(call, &reply.base);
}

static void update_config(struct cri_job *job)
{
        const Cri__UpdateRuntimeConfigRequest *request = (const Cri__UpdateRuntimeConfigRequest *) job->request;
        const Cri__RuntimeConfig *config = request->runtime_config;
        Cri__UpdateRuntimeConfigResponse reply = CRI__UPDATE_RUNTIME_CONFIG_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (config && config->network_config && !str_empty(config->network_config->pod_cidr) &&
            pods_set_pod_cidr(job->cri->pods, config->network_config->pod_cidr, &err) < 0)
                rpc_call_fail(job->call, &err);
        else
                rpc_call_reply(job->call, &reply.base);
}

HANDLER(cri_update_runtime_config)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, update_config);
}
