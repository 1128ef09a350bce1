/*
 * Adjusting a container's specification; see adjust.h.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "hooks/adjust.h"
#include "hooks/cdi.h"
#include "hooks/rule.h"

static void forget_taken(struct adjust *a)
{
        a->taken = strv_free(a->taken);
        free(a->former);
        a->former = NULL;
}

void adjust_done(struct adjust *a)
{
        map_done(&a->owners, NULL);
        forget_taken(a);
        a->oci_hooks = strv_free(a->oci_hooks);
        a->cdi_devices = strv_free(a->cdi_devices);
        json_object_put(a->before);
        a->before = NULL;
}

int adjust_begin(struct adjust *a, const char *hook, bool ignore, struct cringle_err *err)
{
        json_object_put(a->before);
        a->before = NULL;
        forget_taken(a);
        a->oci_hooks = strv_free(a->oci_hooks);
        a->hook = hook;
        a->part = a->origin = NULL;
        a->ignore = ignore;
        a->cdi_before = strv_count((const char *const *) a->cdi_devices);
        if (ignore && json_object_deep_copy(a->spec, &a->before, NULL) < 0)
                return err_oom(err);
        return 0;
}

int adjust_undo(struct adjust *a, struct cringle_err *err)
{
        struct lh_entry *entry;

        /* Backwards: a field that was taken twice goes back to its first owner. */
        for (size_t i = strv_count((const char *const *) a->taken); i-- > 0;) {
                map_take(&a->owners, a->taken[i]);
                if (a->former[i] && map_put(&a->owners, a->taken[i], (void *) a->former[i], err) < 0)
                        return -1;
        }
        forget_taken(a);
        for (size_t i = strv_count((const char *const *) a->cdi_devices); i-- > a->cdi_before;) {
                free(a->cdi_devices[i]);
                a->cdi_devices[i] = NULL;
        }
        while ((entry = lh_table_head(json_object_get_object(a->spec))))
                json_object_object_del(a->spec, lh_entry_k(entry));
        json_object_object_foreach(a->before, key, value) {
                if (json_set(a->spec, key, json_object_get(value), err) < 0)
                        return -1;
        }
        return 0;
}

static int refuse_null(const char *what, struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_INVALID, "%s: NULL where a value is needed", what);
}

/* Make the field the one of the hook that adjusts now. */
static int put_owner(struct adjust *a, const char *field, struct cringle_err *err)
{
        size_t n = strv_count((const char *const *) a->taken);
        const char **grown = reallocarray(a->former, n + 1, sizeof *grown);

        if (!grown)
                return err_oom(err);
        a->former = grown;
        grown[n] = map_get(&a->owners, field);
        if (strv_add(&a->taken, field, err) < 0)
                return -1;
        return map_put(&a->owners, field, (void *) a->hook, err);
}

int adjust_own(struct adjust *a, const char *what, const char *name, struct cringle_err *err)
{
        auto_free char *field = str_printf(err, "%s %s", what, name);
        const char *owner = field ? map_get(&a->owners, field) : NULL;

        if (!field)
                return -1;
        if (owner && strcmp(owner, a->hook) == 0)
                return 0;
        if (owner)
                return err_set(err, CRINGLE_E_PRECONDITION, "%s is set by hook %s already, hook %s may not set it too",
                               field, owner, a->hook);
        return put_owner(a, field, err);
}

int adjust_take(struct adjust *a, const char *what, const char *name, struct cringle_err *err)
{
        auto_free char *field = str_printf(err, "%s %s", what, name);

        return field ? put_owner(a, field, err) : -1;
}

static struct json_object *process_of(struct adjust *a, struct cringle_err *err)
{
        return json_need_object(a->spec, "process", err);
}

/* The index of the variable @name in @env, or its length. */
static size_t find_env(struct json_object *env, const char *name)
{
        size_t n = json_object_array_length(env), len = strlen(name);

        for (size_t i = 0; i < n; i++) {
                const char *at = json_object_get_string(json_object_array_get_idx(env, i));

                if (at && strncmp(at, name, len) == 0 && at[len] == '=')
                        return i;
        }
        return n;
}

const char *spec_env(struct json_object *spec, const char *name)
{
        struct json_object *process, *env;
        size_t i;

        if (json_get_object(spec, "process", &process, NULL) != 1 || json_get_array(process, "env", &env, NULL) != 1)
                return NULL;
        i = find_env(env, name);
        if (i == json_object_array_length(env))
                return NULL;
        return json_object_get_string(json_object_array_get_idx(env, i)) + strlen(name) + 1;
}

int adjust_env(struct adjust *a, const char *name, const char *value, struct cringle_err *err)
{
        struct json_object *process, *env, *entry;
        auto_free char *text = NULL;

        if (!name || !value)
                return refuse_null("variable", err);
        process = process_of(a, err);
        env = process ? json_need_array(process, "env", err) : NULL;
        text = str_printf(err, "%s=%s", name, value);
        if (!env || !text)
                return -1;
        if (!*name || strpbrk(name, "=\n"))
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is no name of a variable", name);
        if (adjust_own(a, "variable", name, err) < 0)
                return -1;

        entry = json_object_new_string(text);
        if (!entry || json_object_array_put_idx(env, find_env(env, name), entry) < 0) {
                json_object_put(entry);
                return err_oom(err);
        }
        return 0;
}

/* The index of the mount at @target in @mounts, or its length; the last one counts, as it hides the others. */
static size_t find_mount(struct json_object *mounts, const char *target)
{
        size_t n = json_object_array_length(mounts);

        for (size_t i = n; i-- > 0;) {
                const char *at = NULL;

                if (json_get_string(json_object_array_get_idx(mounts, i), "destination", &at, NULL) == 1 &&
                    strcmp(at, target) == 0)
                        return i;
        }
        return n;
}

static int split_options(const char *options, char ***ret, struct cringle_err *err)
{
        for (const char *at = options; *at;) {
                size_t n = strcspn(at, ",");
                auto_free char *word = strndup(at, n);

                if (!word)
                        return err_oom(err);
                if (n > 0 && strv_add(ret, word, err) < 0)
                        return -1;
                at += n + (at[n] == ',');
        }
        return 0;
}

/* Where a mount on @target belongs: before the first that lies below it, which it would hide. */
static size_t place_for(struct json_object *mounts, const char *target)
{
        size_t n = json_object_array_length(mounts), len = strlen(target);

        for (size_t i = 0; i < n; i++) {
                const char *at = "";

                json_get_string(json_object_array_get_idx(mounts, i), "destination", &at, NULL);
                if (strncmp(at, target, len) == 0 && at[len] == '/')
                        return i;
        }
        return n;
}

/* Add @mount, or put it in the place of the one on the same target.  Takes @mount, also on failure. */
static int put_mount(struct json_object *mounts, const char *target, struct json_object *mount, struct cringle_err *err)
{
        size_t n = json_object_array_length(mounts), at = find_mount(mounts, target);

        if (at == n) {
                at = place_for(mounts, target);
                for (size_t i = n; i > at; i--)         /* the others move up by one */
                        if (json_object_array_put_idx(mounts, i, json_object_get(json_object_array_get_idx(mounts, i - 1))) < 0) {
                                json_object_put(mount);
                                return err_oom(err);
                        }
        }
        if (json_object_array_put_idx(mounts, at, mount) < 0) {
                json_object_put(mount);
                return err_oom(err);
        }
        return 0;
}

int adjust_mount_entry(struct adjust *a, struct json_object *mount, struct cringle_err *err)
{
        auto_json m = mount;
        struct json_object *mounts = json_need_array(a->spec, "mounts", err);
        const char *target = "";

        if (!mounts || json_get_string(m, "destination", &target, err) < 0)
                return -1;
        if (!path_is_clean(target) || !target[1])
                return err_set(err, CRINGLE_E_INVALID, "mount on '%.200s': not a clean absolute path", target);
        if (adjust_own(a, "mount", target, err) < 0)
                return -1;
        return put_mount(mounts, target, steal(&m), err);
}

static size_t depth_of(struct json_object *mount)
{
        const char *target = "";
        size_t depth = 0;

        json_get_string(mount, "destination", &target, NULL);
        for (; *target; target++)
                if (target[0] == '/' && target[1] && target[1] != '/')
                        depth++;

        return depth;
}

int adjust_sort_mounts(struct adjust *a, struct cringle_err *err)
{
        struct json_object *mounts = json_need_array(a->spec, "mounts", err);
        size_t n = mounts ? json_object_array_length(mounts) : 0;
        auto_free struct json_object **list = calloc(n + 1, sizeof *list);
        int r = mounts ? 0 : -1;

        if (!list)
                return err_oom(err);
        for (size_t i = 0; i < n; i++) {        /* an insertion sort: no order is lost, and lists are short */
                struct json_object *m = json_object_get(json_object_array_get_idx(mounts, i));
                size_t at = i;

                for (; at > 0 && depth_of(list[at - 1]) > depth_of(m); at--)
                        list[at] = list[at - 1];
                list[at] = m;
        }
        for (size_t i = 0; i < n; i++)
                if (r < 0 || json_object_array_put_idx(mounts, i, list[i]) < 0) {
                        json_object_put(list[i]);
                        r = err_oom(err);
                }
        return r;
}

int adjust_mount(struct adjust *a, const char *source, const char *target, const char *options,
                 struct cringle_err *err)
{
        struct json_object *mounts;
        auto_json m = json_object_new_object();
        auto_strv list = NULL;

        if (!source || !target)
                return refuse_null("mount", err);
        mounts = json_need_array(a->spec, "mounts", err);
        if (!mounts)
                return -1;
        if (!m)
                return err_oom(err);
        if (!path_is_clean(source) || !path_is_clean(target) || !target[1])
                return err_set(err, CRINGLE_E_INVALID, "mount of '%.200s' on '%.200s': not clean absolute paths", source,
                               target);
        if (adjust_own(a, "mount", target, err) < 0 || split_options(options ? options : "", &list, err) < 0)
                return -1;
        if (json_set_string(m, "destination", target, err) < 0 || json_set_string(m, "type", "bind", err) < 0 ||
            json_set_string(m, "source", source, err) < 0 ||
            json_set_strv(m, "options", (const char *const *) list, err) < 0)
                return -1;
        return put_mount(mounts, target, steal(&m), err);
}

int adjust_drop_mount(struct adjust *a, const char *target, struct cringle_err *err)
{
        struct json_object *mounts;
        size_t at;

        if (!target)
                return refuse_null("mount", err);
        mounts = json_need_array(a->spec, "mounts", err);
        if (!mounts || adjust_own(a, "mount", target, err) < 0)
                return -1;
        at = find_mount(mounts, target);
        if (at == json_object_array_length(mounts))
                return err_set(err, CRINGLE_E_NOT_FOUND, "no mount at %s", target);
        json_object_array_del_idx(mounts, at, 1);
        return 0;
}

void adjust_drop_named(struct json_object *array, const char *name, const char *value)
{
        for (size_t i = json_object_array_length(array); i-- > 0;) {
                const char *found = NULL;

                if (json_get_string(json_object_array_get_idx(array, i), name, &found, NULL) == 1 &&
                    strcmp(found, value) == 0)
                        json_object_array_del_idx(array, i, 1);
        }
}

static int add_node(struct json_object *devices, const char *path, const char *type, const struct stat *st,
                    struct cringle_err *err)
{
        auto_json d = json_object_new_object();

        if (!d)
                return err_oom(err);
        if (json_set_string(d, "path", path, err) < 0 || json_set_string(d, "type", type, err) < 0 ||
            json_set_int(d, "major", major(st->st_rdev), err) < 0 ||
            json_set_int(d, "minor", minor(st->st_rdev), err) < 0 ||
            json_set_int(d, "fileMode", st->st_mode & 07777, err) < 0 || json_set_int(d, "uid", st->st_uid, err) < 0 ||
            json_set_int(d, "gid", st->st_gid, err) < 0)
                return -1;
        adjust_drop_named(devices, "path", path);
        return json_add(devices, steal(&d), err);
}

static int add_device_rule(struct json_object *rules, const char *type, const struct stat *st, const char *access,
                           struct cringle_err *err)
{
        auto_json rule = json_object_new_object();

        if (!rule)
                return err_oom(err);
        if (json_set_bool(rule, "allow", true, err) < 0 || json_set_string(rule, "type", type, err) < 0 ||
            json_set_int(rule, "major", major(st->st_rdev), err) < 0 ||
            json_set_int(rule, "minor", minor(st->st_rdev), err) < 0 || json_set_string(rule, "access", access, err) < 0)
                return -1;
        return json_add(rules, steal(&rule), err);
}

int adjust_device(struct adjust *a, const char *host_path, const char *container_path, const char *access,
                  struct cringle_err *err)
{
        struct json_object *linux_, *devices, *resources, *rules;
        const char *type;
        struct stat st;

        if (!host_path || !container_path || !access)
                return refuse_null("device", err);
        linux_ = json_need_object(a->spec, "linux", err);
        devices = linux_ ? json_need_array(linux_, "devices", err) : NULL;
        resources = devices ? json_need_object(linux_, "resources", err) : NULL;
        rules = resources ? json_need_array(resources, "devices", err) : NULL;
        if (!rules)
                return -1;
        if (!path_is_clean(container_path) || strspn(access, "rwm") != strlen(access) || !*access)
                return err_set(err, CRINGLE_E_INVALID, "device '%.200s' with access '%.16s': want a clean absolute path, "
                               "and some of r, w, m", container_path, access);
        if (stat(host_path, &st) < 0)
                return err_sys(err, "device %.200s", host_path);
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "%.200s is not a device", host_path);
        if (adjust_own(a, "device", container_path, err) < 0)
                return -1;

        type = S_ISCHR(st.st_mode) ? "c" : "b";
        if (add_node(devices, container_path, type, &st, err) < 0)
                return -1;
        return add_device_rule(rules, type, &st, access, err);
}

int adjust_node(struct adjust *a, struct json_object *node, const char *access, struct cringle_err *err)
{
        auto_json d = node;
        struct json_object *linux_ = json_need_object(a->spec, "linux", err), *devices, *resources, *rules;
        const char *path = "", *type = "";
        int64_t numbers[2] = { 0 };
        struct stat st = { 0 };

        devices = linux_ ? json_need_array(linux_, "devices", err) : NULL;
        resources = devices ? json_need_object(linux_, "resources", err) : NULL;
        rules = resources ? json_need_array(resources, "devices", err) : NULL;
        if (!rules || json_get_string(d, "path", &path, err) < 0 || json_get_string(d, "type", &type, err) < 0 ||
            json_get_int(d, "major", &numbers[0], err) < 0 || json_get_int(d, "minor", &numbers[1], err) < 0)
                return -1;
        if (!path_is_clean(path) || !path[1])
                return err_set(err, CRINGLE_E_INVALID, "device '%.200s': not a clean absolute path", path);
        if (adjust_own(a, "device", path, err) < 0)
                return -1;
        adjust_drop_named(devices, "path", path);
        if (json_add(devices, steal(&d), err) < 0)
                return -1;
        st.st_rdev = makedev((unsigned) numbers[0], (unsigned) numbers[1]);
        return access ? add_device_rule(rules, type, &st, access, err) : 0;
}

int adjust_annotation(struct adjust *a, const char *key, const char *value, struct cringle_err *err)
{
        struct json_object *annotations;

        if (!key || !value)
                return refuse_null("annotation", err);
        if (!*key)
                return err_set(err, CRINGLE_E_INVALID, "annotation without a key");
        annotations = json_need_object(a->spec, "annotations", err);
        if (!annotations || adjust_own(a, "annotation", key, err) < 0)
                return -1;
        return json_set_string(annotations, key, value, err);
}

int adjust_args(struct adjust *a, const char *const *args, struct cringle_err *err)
{
        struct json_object *process = process_of(a, err);

        if (!process)
                return -1;
        if (!args || !args[0] || !*args[0])
                return err_set(err, CRINGLE_E_INVALID, "empty arguments");
        if (adjust_own(a, "process", "arguments", err) < 0)
                return -1;
        return json_set_strv(process, "args", args, err);
}

static bool is_rlimit(const char *type)
{
        static const char *const known[] = {
                "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK",
                "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO",
                "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK", NULL
        };

        return strv_has(known, type);
}

int adjust_rlimit(struct adjust *a, const char *type, uint64_t soft, uint64_t hard, struct cringle_err *err)
{
        struct json_object *process, *limits;
        auto_json l = json_object_new_object();

        if (!type)
                return refuse_null("rlimit", err);
        process = process_of(a, err);
        limits = process ? json_need_array(process, "rlimits", err) : NULL;
        if (!limits)
                return -1;
        if (!l)
                return err_oom(err);
        if (!is_rlimit(type))
                return err_set(err, CRINGLE_E_INVALID, "unknown rlimit '%.32s'", type);
        if (soft > hard)
                return err_set(err, CRINGLE_E_INVALID, "%s: soft limit %llu is above the hard one, %llu", type,
                               (unsigned long long) soft, (unsigned long long) hard);
        if (adjust_own(a, "rlimit", type, err) < 0)
                return -1;
        if (json_set_string(l, "type", type, err) < 0 || json_set(l, "soft", json_object_new_uint64(soft), err) < 0 ||
            json_set(l, "hard", json_object_new_uint64(hard), err) < 0)
                return -1;
        adjust_drop_named(limits, "type", type);
        return json_add(limits, steal(&l), err);
}

int adjust_oci_hook(struct adjust *a, const char *stage, const char *path, const char *const *args,
                    const char *const *env, int timeout, struct cringle_err *err)
{
        struct rule r = { .source = a->source, .name = (char *) (a->part ? a->part : a->hook),
                          .origin = (char *) (a->origin ? a->origin : a->hook), .path = (char *) path, .env = (char **) env,
                          .timeout = timeout, .ignore = a->ignore };
        auto_free char *words = NULL;
        int number;

        if (!stage || !path)
                return refuse_null("OCI hook", err);
        number = stage_of(stage);
        if (number < 0)
                return err_set(err, CRINGLE_E_INVALID, "OCI hook: unknown stage '%.64s'", stage);
        if (*path != '/' || timeout < 0)
                return err_set(err, CRINGLE_E_INVALID, "OCI hook '%.200s': no absolute path, or a negative time limit", path);
        for (size_t i = 0; env && env[i]; i++)
                if (env[i][0] == '=' || !strchr(env[i], '='))
                        return err_set(err, CRINGLE_E_INVALID, "OCI hook %.200s: '%.100s' is not NAME=VALUE", path, env[i]);
        if (args && args[0])
                r.args = (char **) args;
        r.stages = 1u << number;
        words = str_printf(err, "hooks.%s %s", stage, path);
        if (!words || strv_add(&a->oci_hooks, words, err) < 0)
                return -1;
        return rule_add_to(&r, a->spec, a->timeout, err);
}

int adjust_cdi_device(struct adjust *a, const char *name, struct cringle_err *err)
{
        if (!name)
                return refuse_null("CDI device", err);
        if (cdi_check_name(name, err) < 0)
                return -1;
        if (strv_has((const char *const *) a->cdi_devices, name))
                return 0;
        return strv_add(&a->cdi_devices, name, err);
}

int adjust_rdt(struct adjust *a, struct json_object *rdt, struct cringle_err *err)
{
        auto_json value = rdt;
        struct json_object *linux_ = json_need_object(a->spec, "linux", err);

        if (!linux_ || adjust_own(a, "process", "intelRdt", err) < 0)
                return -1;
        return json_set(linux_, "intelRdt", steal(&value), err);
}

int adjust_group(struct adjust *a, uint32_t gid, struct cringle_err *err)
{
        struct json_object *process = process_of(a, err);
        struct json_object *user = process ? json_need_object(process, "user", err) : NULL;
        struct json_object *groups = user ? json_need_array(user, "additionalGids", err) : NULL;

        if (!groups)
                return -1;
        for (size_t i = 0; i < json_object_array_length(groups); i++)
                if (json_object_get_int64(json_object_array_get_idx(groups, i)) == gid)
                        return 0;

        return json_add(groups, json_object_new_int64(gid), err);
}

int adjust_net_device(struct adjust *a, const char *host_name, const char *name, struct cringle_err *err)
{
        struct json_object *linux_ = json_need_object(a->spec, "linux", err);
        struct json_object *devices = linux_ ? json_need_object(linux_, "netDevices", err) : NULL;
        auto_json device = json_object_new_object();

        if (!devices)
                return -1;
        if (!device)
                return err_oom(err);
        if (json_object_object_get_ex(devices, host_name, NULL))
                return err_set(err, CRINGLE_E_PRECONDITION, "the network device %.64s is moved already", host_name);
        if (adjust_own(a, "network device", host_name, err) < 0 || json_set_string(device, "name", name, err) < 0)
                return -1;
        return json_set(devices, host_name, steal(&device), err);
}
