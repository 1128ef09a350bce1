/*
 * Operations on a whole network; see list.h.
 *
 * One plugin is left out at times: `portmap`, when the pod maps no ports, as most
 * do not.  Its ADD would hand the result on unchanged, and its DEL would search
 * iptables for rules that cannot be there, which takes 100 ms.  Whether DEL is left
 * out is decided by the very record that ADD was run with, never by what the pod or
 * the network look like now.
 */

#include <string.h>

#include "agent/base/str.h"
#include "cni/invoke.h"
#include "cni/list.h"
#include "cni/result.h"

static int wrap(const struct cni_network *net, const struct cni_plugin *p, const char *command,
                struct cringle_err *err)
{
        return err_wrap(err, "network %s: plugin %s: %s", net->name, p->type, command);
}

static bool declares(const struct cni_plugin *p, const char *capability)
{
        struct json_object *capabilities = NULL;
        bool on = false;

        if (json_get_object(p->config, "capabilities", &capabilities, NULL) == 1)
                json_get_bool(capabilities, capability, &on, NULL);
        return on;
}

static bool is_idle(const struct cni_network *net, size_t i, const struct cni_attachment *a)
{
        const struct cni_plugin *p = &net->plugins[i];
        struct json_object *ports;
        int r;

        if (i == 0 || strcmp(p->type, "portmap") != 0 || !declares(p, "portMappings"))
                return false;
        r = a->capabilities ? json_get_array(a->capabilities, "portMappings", &ports, NULL) : 0;
        return r == 0 || (r == 1 && json_object_array_length(ports) == 0);
}

/* --- what a plugin is told --- */

static bool is_reserved(const char *key)
{
        return strcmp(key, "capabilities") == 0 || strcmp(key, "runtimeConfig") == 0 || strcmp(key, "prevResult") == 0 ||
               str_starts(key, "cni.dev/");
}

/* runtimeConfig: of @given, what the plugin has declared. */
static int set_runtime_config(struct json_object *o, const struct cni_plugin *p, struct json_object *given,
                              struct cringle_err *err)
{
        json_object_object_foreach(given, key, value) {
                struct json_object *runtime;

                if (!declares(p, key))
                        continue;
                runtime = json_need_object(o, "runtimeConfig", err);
                if (!runtime || json_set(runtime, key, json_object_get(value), err) < 0)
                        return -1;
        }
        return 0;
}

/* The configuration of one plugin for one run; @a and @previous may be NULL. */
static int make_input(const struct cni_network *net, const struct cni_plugin *p, const struct cni_attachment *a,
                      struct json_object *previous, struct json_object **ret, struct cringle_err *err)
{
        auto_json o = json_object_new_object();

        if (!o)
                return err_oom(err);
        json_object_object_foreach(p->config, key, value) {
                if (is_reserved(key))
                        continue;
                if (json_object_object_add(o, key, json_object_get(value)) < 0)
                        return err_oom(err);
        }
        if (json_set_string(o, "name", net->name, err) < 0 ||
            json_set_string(o, "cniVersion", cni_version_text(net->version), err) < 0 ||
            (a && a->capabilities && set_runtime_config(o, p, a->capabilities, err) < 0) ||
            (previous && json_set(o, "prevResult", json_object_get(previous), err) < 0))
                return -1;
        *ret = steal(&o);
        return 0;
}

/* "K=V;K=V"; NULL without arguments. */
static int make_args(const struct cni_attachment *a, char **ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;

        for (size_t i = 0; a->args && i < json_object_array_length(a->args); i++) {
                struct json_object *pair = json_object_array_get_idx(a->args, i);

                if (buf_printf(&text, err, "%s%s=%s", i ? ";" : "",
                               json_object_get_string(json_object_array_get_idx(pair, 0)),
                               json_object_get_string(json_object_array_get_idx(pair, 1))) < 0)
                        return -1;
        }
        if (text.len > 0) {
                *ret = buf_steal(&text);
                if (!*ret)
                        return err_oom(err);
        }
        return 0;
}

/* Run one plugin for an attachment.  As cni_invoke(). */
static int run(const char *const *bin_dirs, const struct cni_network *net, const struct cni_plugin *p,
               const struct cni_attachment *a, const char *command, struct json_object *previous,
               const struct cringle_call *call, struct json_object **ret_answer, struct cringle_err *err)
{
        auto_json input = NULL;
        auto_free char *args = NULL;
        struct cni_invocation inv = {
                .command = command,
                .container = a->container,
                .netns = a->netns ? a->netns : "",
                .ifname = a->ifname,
                .bin_dirs = bin_dirs,
        };
        int r = -1;

        if (make_args(a, &args, err) == 0 && make_input(net, p, a, previous, &input, err) == 0) {
                inv.args = args;
                r = cni_invoke(&inv, p->type, input, call, ret_answer, err);
        }
        return r < 0 ? wrap(net, p, command, err) : r;
}

/* For commands whose plugins have no reason not to know the container. */
static int run_known(const char *const *bin_dirs, const struct cni_network *net, const struct cni_plugin *p,
                     const struct cni_attachment *a, const char *command, struct json_object *previous,
                     const struct cringle_call *call, struct json_object **ret_answer, struct cringle_err *err)
{
        int r = run(bin_dirs, net, p, a, command, previous, call, ret_answer, err);

        if (r != CNI_UNKNOWN_CONTAINER)
                return r;
        err_set(err, CRINGLE_E_NOT_FOUND, "code 3: it does not know the container");
        return wrap(net, p, command, err);
}

/* --- operations --- */

static int add_one(const char *const *bin_dirs, const struct cni_network *net, const struct cni_plugin *p,
                   struct cni_attachment *a, const struct cringle_call *call, struct cringle_err *err)
{
        auto_json answer = NULL, *newest = NULL, *given = NULL;

        if (run_known(bin_dirs, net, p, a, "ADD", a->result, call, &answer, err) < 0)
                return -1;
        if (cni_result_take(answer, net->version, &newest, err) < 0 ||
            cni_result_give(newest, net->version, &given, err) < 0) {
                err_wrap(err, "its result");
                return wrap(net, p, "ADD", err);
        }
        json_object_put(a->result);
        a->result = steal(&given);
        return 0;
}

int cni_add(const char *const *bin_dirs, const struct cni_network *net, struct cni_attachment *a,
            const struct cringle_call *call, struct cringle_err *err)
{
        json_object_put(a->result);
        a->result = NULL;
        for (size_t i = 0; i < net->n_plugins; i++)
                if (!is_idle(net, i, a) && add_one(bin_dirs, net, &net->plugins[i], a, call, err) < 0)
                        return -1;
        return 0;
}

/* The recorded result, in the version the plugins speak now; from 0.4.0 on they want it. */
static int previous_of(const struct cni_network *net, const struct cni_attachment *a, struct json_object **ret,
                       struct cringle_err *err)
{
        auto_json newest = NULL;

        if (!a->result || net->version < CNI_0_4_0)
                return 0;
        if (cni_result_take(a->result, net->version, &newest, err) < 0)
                return err_wrap(err, "network %s: recorded result", net->name);
        return cni_result_give(newest, net->version, ret, err);
}

int cni_del(const char *const *bin_dirs, const struct cni_network *net, const struct cni_attachment *a,
            const struct cringle_call *call, struct cringle_err *err)
{
        auto_json previous = NULL;

        /* A record that makes no sense must not keep the addresses taken: plugins manage without. */
        previous_of(net, a, &previous, NULL);
        for (size_t i = net->n_plugins; i-- > 0;)
                if (!is_idle(net, i, a) &&
                    run(bin_dirs, net, &net->plugins[i], a, "DEL", previous, call, NULL, err) < 0)
                        return -1;
        return 0;
}

int cni_check(const char *const *bin_dirs, const struct cni_network *net, const struct cni_attachment *a,
              const struct cringle_call *call, struct cringle_err *err)
{
        auto_json previous = NULL;

        if (net->version < CNI_0_4_0 || net->disable_check)
                return CNI_NOT_OFFERED;
        if (!a->result)
                return err_set(err, CRINGLE_E_NOT_FOUND, "network %s: no result of ADD is recorded for %s", net->name,
                               a->container);
        if (previous_of(net, a, &previous, err) < 0)
                return -1;
        for (size_t i = 0; i < net->n_plugins; i++)
                if (!is_idle(net, i, a) &&
                    run_known(bin_dirs, net, &net->plugins[i], a, "CHECK", previous, call, NULL, err) < 0)
                        return -1;
        return CNI_OK;
}

/* For operations on no container. */
static int run_plain(const char *const *bin_dirs, const struct cni_network *net, const struct cni_plugin *p,
                     const char *command, struct json_object *input, const struct cringle_call *call,
                     struct json_object **ret_answer, struct cringle_err *err)
{
        struct cni_invocation inv = { .command = command, .bin_dirs = bin_dirs };
        int r = cni_invoke(&inv, p->type, input, call, ret_answer, err);

        if (r == CNI_UNKNOWN_CONTAINER)
                r = err_set(err, CRINGLE_E_UNKNOWN, "code 3: it speaks of a container, but there is none");
        return r < 0 ? wrap(net, p, command, err) : 0;
}

int cni_gc(const char *const *bin_dirs, const struct cni_network *net, struct json_object *valid,
           const struct cringle_call *call, struct cringle_err *err)
{
        int failed = 0;

        if (net->version < CNI_1_1_0 || net->disable_gc)
                return CNI_NOT_OFFERED;
        for (size_t i = 0; i < net->n_plugins; i++) {
                const struct cni_plugin *p = &net->plugins[i];
                struct cringle_err *to = failed ? NULL : err;
                auto_json input = NULL;

                if (make_input(net, p, NULL, NULL, &input, to) < 0 ||
                    json_set(input, "cni.dev/valid-attachments", json_object_get(valid), to) < 0 ||
                    json_set(input, "cni.dev/attachments", json_object_get(valid), to) < 0 || /* as libcni has it too */
                    run_plain(bin_dirs, net, p, "GC", input, call, NULL, to) < 0)
                        failed = -1;
        }
        return failed;
}

int cni_status(const char *const *bin_dirs, const struct cni_network *net, const struct cringle_call *call,
               struct cringle_err *err)
{
        if (net->version < CNI_1_1_0)
                return CNI_NOT_OFFERED;
        for (size_t i = 0; i < net->n_plugins; i++) {
                auto_json input = NULL;

                if (make_input(net, &net->plugins[i], NULL, NULL, &input, err) < 0 ||
                    run_plain(bin_dirs, net, &net->plugins[i], "STATUS", input, call, NULL, err) < 0)
                        return -1;
        }
        return CNI_OK;
}

/* A bit for each version that @p speaks. */
static int ask_versions(const char *const *bin_dirs, const struct cni_network *net, const struct cni_plugin *p,
                        const struct cringle_call *call, uint32_t *ret, struct cringle_err *err)
{
        auto_json input = json_object_new_object(), *answer = NULL;
        auto_strv list = NULL;
        uint32_t known = 0;

        if (!input)
                return err_oom(err);
        if (json_set_string(input, "cniVersion", cni_version_text(net->version), err) < 0 ||
            run_plain(bin_dirs, net, p, "VERSION", input, call, &answer, err) < 0)
                return -1;
        if (json_get_strv(answer, "supportedVersions", &list, err) < 0)
                return wrap(net, p, "VERSION", err);

        for (size_t i = 0; list && list[i]; i++) {
                int version = cni_version_of(list[i]);

                if (version >= 0)
                        known |= 1u << version;
        }
        *ret = known;
        return 0;
}

int cni_settle(const char *const *bin_dirs, struct cni_network *net, const struct cringle_call *call,
               struct cringle_err *err)
{
        uint32_t common = net->offered, theirs;

        if ((common & (common - 1)) == 0)
                return 0;
        for (size_t i = 0; i < net->n_plugins; i++) {
                if (ask_versions(bin_dirs, net, &net->plugins[i], call, &theirs, err) < 0)
                        return -1;
                common &= theirs;
        }
        if (!common)
                return err_set(err, CRINGLE_E_PRECONDITION, "network %s: its plugins have none of its CNI versions in common",
                               net->name);
        return cni_network_pin(net, 31 - __builtin_clz(common), err);
}

int cni_find_all(const char *const *bin_dirs, const struct cni_network *net, struct cringle_err *err)
{
        for (size_t i = 0; i < net->n_plugins; i++) {
                auto_free char *path = NULL;

                if (cni_find(bin_dirs, net->plugins[i].type, &path, err) < 0)
                        return err_wrap(err, "network %s", net->name);
        }
        return 0;
}
