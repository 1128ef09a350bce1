/*
 * Compiling a launch plan; see plan.h and plan_parts.h.
 *
 * One function per part of the specification, called in the order of the table at
 * the end.
 */

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/oci/plan_parts.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#define LIST_MAX 65536          /* elements of any array of the specification */

int part_get_u32(struct json_object *o, const char *name, uint32_t max, uint32_t *ret, struct cringle_err *err)
{
        int64_t value;
        int there = json_get_int(o, name, &value, err);

        if (there <= 0)
                return there;
        if (value < 0 || value > max)
                return err_set(err, CRINGLE_E_INVALID, "%s: %lld is out of range", name, (long long) value);
        *ret = (uint32_t) value;
        return 1;
}

int part_need_u32(struct json_object *o, const char *name, uint32_t max, uint32_t *ret, struct cringle_err *err)
{
        int there = part_get_u32(o, name, max, ret, err);

        return there == 0 ? err_set(err, CRINGLE_E_INVALID, "%s is missing", name) : there;
}

int part_need_string(struct json_object *o, const char *name, const char **ret, struct cringle_err *err)
{
        int there = json_get_string(o, name, ret, err);

        return there == 0 ? err_set(err, CRINGLE_E_INVALID, "%s is missing", name) : there;
}

int part_object_at(struct json_object *array, const char *name, size_t i, struct json_object **ret,
                   struct cringle_err *err)
{
        struct json_object *o = json_object_array_get_idx(array, i);

        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "%s[%zu] is not an object", name, i);
        *ret = o;
        return 0;
}

int part_each(struct compile *c, struct json_object *o, const char *name,
              int (*fn)(struct compile *c, struct json_object *at))
{
        struct json_object *array, *at = NULL;
        int there = o ? json_get_array(o, name, &array, c->err) : 0;
        size_t n;

        if (there <= 0)
                return there;
        n = json_object_array_length(array);
        if (n > LIST_MAX)
                return err_set(c->err, CRINGLE_E_EXHAUSTED, "%s has %zu elements, at most %d are taken", name, n, LIST_MAX);
        for (size_t i = 0; i < n; i++)
                if (part_object_at(array, name, i, &at, c->err) < 0 || fn(c, at) < 0)
                        return err_wrap(c->err, "%s[%zu]", name, i);
        return 0;
}

/* --- namespaces, ids, cgroups ------------------------------------------------- */

static const struct {
        const char *name;
        uint32_t flag;
} namespaces[] = {
        { "user", CLONE_NEWUSER },       { "mount", CLONE_NEWNS }, { "pid", CLONE_NEWPID },
        { "network", CLONE_NEWNET },     { "ipc", CLONE_NEWIPC },  { "uts", CLONE_NEWUTS },
        { "cgroup", CLONE_NEWCGROUP },   { "time", CLONE_NEWTIME },
};

static int add_namespace(struct compile *c, struct json_object *at)
{
        const char *type, *path = "";

        if (part_need_string(at, "type", &type, c->err) < 0 || json_get_string(at, "path", &path, c->err) < 0)
                return -1;
        if (*path && *path != '/')
                return err_set(c->err, CRINGLE_E_INVALID, "path '%s' is not absolute", path);
        if (strcmp(type, "mount") == 0 && *path)
                return err_set(c->err, CRINGLE_E_UNIMPLEMENTED, "a mount namespace cannot be shared");
        for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++)
                if (strcmp(type, namespaces[i].name) == 0) {
                        rec_begin(&c->w, PLAN_NAMESPACE);
                        rec_put_u32(&c->w, namespaces[i].flag);
                        rec_put_str(&c->w, path);
                        rec_end(&c->w);
                        return 0;
                }
        return err_set(c->err, CRINGLE_E_INVALID, "there is no namespace type '%s'", type);
}

bool part_has_namespace(const struct compile *c, const char *type)
{
        struct json_object *array, *entry = NULL;
        const char *seen;

        if (!c->linux_ || json_get_array(c->linux_, "namespaces", &array, NULL) <= 0)
                return false;
        for (size_t i = 0; i < json_object_array_length(array); i++)
                if (part_object_at(array, "", i, &entry, NULL) == 0 && json_get_string(entry, "type", &seen, NULL) > 0 &&
                    strcmp(seen, type) == 0)
                        return true;
        return false;
}

static int add_id_map(struct compile *c, struct json_object *at, enum plan_id kind)
{
        uint32_t inside, outside, length;

        if (part_need_u32(at, "containerID", UINT32_MAX - 1, &inside, c->err) < 0 ||
            part_need_u32(at, "hostID", UINT32_MAX - 1, &outside, c->err) < 0 ||
            part_need_u32(at, "size", UINT32_MAX, &length, c->err) < 0)
                return -1;
        rec_begin(&c->w, PLAN_ID_MAP);
        rec_put_u32(&c->w, kind);
        rec_put_u32(&c->w, inside);
        rec_put_u32(&c->w, outside);
        rec_put_u32(&c->w, length);
        rec_end(&c->w);
        return 0;
}

static int add_uid_map(struct compile *c, struct json_object *at)
{
        return add_id_map(c, at, PLAN_UID);
}

static int add_gid_map(struct compile *c, struct json_object *at)
{
        return add_id_map(c, at, PLAN_GID);
}

static int add_time_offsets(struct compile *c)
{
        static const struct { const char *name; uint32_t clock; } clocks[] = { { "monotonic", 1 }, { "boottime", 7 } };
        struct json_object *offsets, *one;
        int there = json_get_object(c->linux_, "timeOffsets", &offsets, c->err);

        for (size_t i = 0; there > 0 && i < sizeof clocks / sizeof clocks[0]; i++) {
                int64_t secs = 0;
                uint32_t nanosecs = 0;
                int has = json_get_object(offsets, clocks[i].name, &one, c->err);

                if (has < 0 || (has > 0 && (json_get_int(one, "secs", &secs, c->err) < 0 ||
                                            part_get_u32(one, "nanosecs", 999999999, &nanosecs, c->err) < 0)))
                        return -1;
                if (has == 0)
                        continue;
                rec_begin(&c->w, PLAN_TIME_OFFSET);
                rec_put_u32(&c->w, clocks[i].clock);
                rec_put_u64(&c->w, (uint64_t) secs);
                rec_put_u32(&c->w, nanosecs);
                rec_end(&c->w);
        }
        return there < 0 ? -1 : 0;
}

static int add_id_maps(struct compile *c)
{
        return part_each(c, c->linux_, "uidMappings", add_uid_map) < 0 || part_each(c, c->linux_, "gidMappings", add_gid_map) < 0
                       ? -1
                       : 0;
}

static int add_namespaces(struct compile *c)
{
        if (!part_has_namespace(c, "mount"))
                return err_set(c->err, CRINGLE_E_INVALID, "linux.namespaces: a container needs a mount namespace of its own");
        if (part_each(c, c->linux_, "namespaces", add_namespace) < 0 || add_id_maps(c) < 0)
                return -1;
        return add_time_offsets(c);
}

static void add_cgroup(struct compile *c, enum plan_cgroup kind, const char *dir)
{
        rec_begin(&c->w, PLAN_CGROUP);
        rec_put_u32(&c->w, kind);
        rec_put_str(&c->w, dir);
        rec_end(&c->w);
}

static int add_cgroups(struct compile *c)
{
        const struct plan_options *o = c->options;

        if (o->cgroup_unified)
                add_cgroup(c, PLAN_CGROUP_UNIFIED, o->cgroup_unified);
        for (size_t i = 0; o->cgroup_v1 && o->cgroup_v1[i]; i++)
                add_cgroup(c, PLAN_CGROUP_V1, o->cgroup_v1[i]);
        return 0;
}
/* --- names and sysctls -------------------------------------------------------- */

static int add_names(struct compile *c)
{
        const char *name = NULL;

        if (json_get_string(c->spec, "hostname", &name, c->err) < 0)
                return -1;
        if (!str_empty(name)) {
                if (!part_has_namespace(c, "uts"))
                        return err_set(c->err, CRINGLE_E_INVALID, "hostname: there is no uts namespace to set it in");
                rec_add_str(&c->w, PLAN_HOSTNAME, name);
        }
        name = NULL;
        if (json_get_string(c->spec, "domainname", &name, c->err) < 0)
                return -1;
        if (!str_empty(name)) {
                if (!part_has_namespace(c, "uts"))
                        return err_set(c->err, CRINGLE_E_INVALID, "domainname: there is no uts namespace to set it in");
                rec_add_str(&c->w, PLAN_DOMAINNAME, name);
        }
        return 0;
}

/* "net.ipv4.ip_forward" or "net/ipv4/ip_forward" with slashes; the first of the two signs found decides, as sysctl(8). */
static char *sysctl_path(const char *key, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s", key);
        char first = path ? path[strcspn(path, "./")] : '\0';

        if (!path)
                return NULL;
        for (char *p = path; first == '.' && *p; p++)
                *p = (char) (*p == '.' ? '/' : *p == '/' ? '.' : *p);
        if (path[0] == '/' || strstr(path, "..") || strstr(path, "//") || strpbrk(path, " \t\n=+")) {
                err_set(err, CRINGLE_E_INVALID, "linux.sysctl: '%s' is no key", key);
                return NULL;
        }
        return steal(&path);
}

/* A sysctl must belong to a namespace the container does not share with the host. */
static int check_sysctl(struct compile *c, const char *path)
{
        static const char *const ipc[] = { "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall",
                                           "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced", NULL };
        const char *needs = NULL;

        if (str_starts(path, "net/"))
                needs = "network";
        else if (str_starts(path, "fs/mqueue/") || strv_has(ipc, path))
                needs = "ipc";
        else if (strcmp(path, "kernel/domainname") == 0 || strcmp(path, "kernel/hostname") == 0)
                needs = "uts";
        if (!needs)
                return err_set(c->err, CRINGLE_E_INVALID, "linux.sysctl: %s belongs to no namespace", path);
        if (!part_has_namespace(c, needs))
                return err_set(c->err, CRINGLE_E_INVALID, "linux.sysctl: %s would be set for the host", path);
        return 0;
}

static int add_sysctls(struct compile *c)
{
        struct json_object *sysctls;
        int there = c->linux_ ? json_get_object(c->linux_, "sysctl", &sysctls, c->err) : 0;

        if (there <= 0)
                return there;
        json_object_object_foreach(sysctls, key, value) {
                auto_free char *path = sysctl_path(key, c->err);

                if (!path || check_sysctl(c, path) < 0)
                        return -1;
                if (!json_object_is_type(value, json_type_string))
                        return err_set(c->err, CRINGLE_E_INVALID, "linux.sysctl.%s is not a string", key);
                if (strpbrk(json_object_get_string(value), "\n"))
                        return err_set(c->err, CRINGLE_E_INVALID, "linux.sysctl.%s has more than one line", key);
                rec_begin(&c->w, PLAN_SYSCTL);
                rec_put_str(&c->w, path);
                rec_put_str(&c->w, json_object_get_string(value));
                rec_end(&c->w);
        }
        return 0;
}

/* --- hooks -------------------------------------------------------------------- */

struct hook_stage {
        struct compile *c;
        enum plan_stage stage;
};

static int add_hook(struct compile *c, struct json_object *at, enum plan_stage stage)
{
        auto_strv args = NULL;
        auto_strv env = NULL;
        const char *path, *failure = "fail", *source = "", *name = "", *origin = "";
        struct json_object *from = NULL;
        int64_t timeout = 0;

        if (part_need_string(at, "path", &path, c->err) < 0 || json_get_string(at, "failure", &failure, c->err) < 0 ||
            json_get_strv(at, "args", &args, c->err) < 0 || json_get_strv(at, "env", &env, c->err) < 0 ||
            json_get_object(at, "from", &from, c->err) < 0)
                return -1;
        if (from && (json_get_string(from, "source", &source, c->err) < 0 ||
                     json_get_string(from, "name", &name, c->err) < 0 || json_get_string(from, "origin", &origin, c->err) < 0))
                return -1;
        if (*path != '/')
                return err_set(c->err, CRINGLE_E_INVALID, "path '%s' is not absolute", path);
        if (json_get_int(at, "timeout", &timeout, c->err) > 0 && (timeout <= 0 || timeout > INT32_MAX))
                return err_set(c->err, CRINGLE_E_INVALID, "timeout %lld is out of range", (long long) timeout);
        if (!args && strv_add(&args, path, c->err) < 0)
                return -1;
        /* A member of ours, as is `from`; other runtimes skip them. */
        if (strcmp(failure, "fail") != 0 && strcmp(failure, "ignore") != 0)
                return err_set(c->err, CRINGLE_E_INVALID, "failure '%s' is neither fail nor ignore", failure);

        rec_begin(&c->w, PLAN_HOOK);
        rec_put_u32(&c->w, stage);
        rec_put_str(&c->w, path);
        rec_put_strv(&c->w, (const char *const *) args);
        rec_put_strv(&c->w, (const char *const *) env);
        rec_put_u64(&c->w, (uint64_t) timeout * 1000000000u);
        rec_put_u32(&c->w, strcmp(failure, "ignore") == 0);
        rec_put_str(&c->w, source);
        rec_put_str(&c->w, name);
        rec_put_str(&c->w, origin);
        rec_end(&c->w);
        return 0;
}

static int add_hooks(struct compile *c)
{
        struct json_object *hooks, *array, *at = NULL;
        int there = json_get_object(c->spec, "hooks", &hooks, c->err);

        for (enum plan_stage stage = 0; there > 0 && stage < PLAN_STAGES; stage++) {
                const char *name = plan_stage_name(stage);
                int has = json_get_array(hooks, name, &array, c->err);

                if (has < 0)
                        return -1;
                for (size_t i = 0; has > 0 && i < json_object_array_length(array); i++)
                        if (part_object_at(array, name, i, &at, c->err) < 0 || add_hook(c, at, stage) < 0)
                                return err_wrap(c->err, "hooks.%s[%zu]", name, i);
        }
        return there < 0 ? -1 : 0;
}

/*
 * State JSON, cut where the status and the pid go.  The annotations come last, so
 * that what they hold cannot be taken for the members before them.
 */
static int add_state(struct compile *c)
{
        static const char mark[] = "\",\"pid\":";
        auto_json state = json_object_new_object();
        auto_buf head = BUF_INIT, tail = BUF_INIT;
        auto_json rest = json_object_new_object();
        struct json_object *annotations = NULL;
        const char *version = "1.3.0";

        if (!state || !rest)
                return err_oom(c->err);
        if (json_get_string(c->spec, "ociVersion", &version, c->err) < 0 ||
            json_get_object(c->spec, "annotations", &annotations, c->err) < 0)
                return -1;
        if (json_set_string(state, "ociVersion", version, c->err) < 0 ||
            json_set_string(state, "id", c->options->id, c->err) < 0 ||
            json_set_string(rest, "bundle", c->options->bundle, c->err) < 0 ||
            json_set(rest, "annotations", annotations ? json_object_get(annotations) : json_object_new_object(), c->err) < 0 ||
            json_write(state, &head, c->err) < 0 || json_write(rest, &tail, c->err) < 0)
                return -1;
        if (head.len < 2 || head.data[head.len - 1] != '}' || tail.len < 2 || tail.data[0] != '{')
                return err_set(c->err, CRINGLE_E_INTERNAL, "state JSON is not an object");

        head.len--;             /* without its brace */
        if (buf_add_str(&head, ",\"status\":\"", c->err) < 0)
                return -1;
        tail.data[0] = ',';
        rec_begin(&c->w, PLAN_STATE);
        rec_put_str(&c->w, head.data);
        rec_put_str(&c->w, mark);
        rec_put_str(&c->w, tail.data);
        rec_end(&c->w);
        rec_add_str(&c->w, PLAN_BUNDLE, c->options->bundle);
        return 0;
}
/* Members that ask for what no part of the launch can do. */
static int refuse_unknown_wishes(struct compile *c)
{
        static const char *const process[] = { "execCPUAffinity", NULL };
        static const char *const linux_members[] = { "intelRdt", "netDevices", NULL };
        struct json_object *value;

        for (size_t i = 0; process[i]; i++)
                if (json_object_object_get_ex(c->process, process[i], &value) && value)
                        return err_set(c->err, CRINGLE_E_UNIMPLEMENTED, "process.%s is not supported", process[i]);
        for (size_t i = 0; c->linux_ && linux_members[i]; i++)
                if (json_object_object_get_ex(c->linux_, linux_members[i], &value) && value)
                        return err_set(c->err, CRINGLE_E_UNIMPLEMENTED, "linux.%s is not supported", linux_members[i]);
        return 0;
}
static int prepare(struct compile *c, struct json_object *spec, const struct plan_options *options, struct buf *ret,
                   struct cringle_err *err)
{
        *c = (struct compile) { .spec = spec, .options = options, .err = err };
        if (json_get_object(spec, "linux", &c->linux_, err) < 0)
                return -1;
        if (json_get_object(spec, "process", &c->process, err) < 0)
                return -1;
        return plan_begin(&c->w, ret, err);
}

int plan_compile(struct json_object *spec, const struct plan_options *options, struct buf *ret,
                 struct cringle_err *err)
{
        static int (*const parts[])(struct compile *) = {
                refuse_unknown_wishes, add_namespaces, add_cgroups, plan_add_rootfs, add_names, add_sysctls, add_hooks, add_state,
                plan_add_restore,
        };
        struct compile c;

        if (prepare(&c, spec, options, ret, err) < 0)
                return -1;
        if (!c.process)
                return err_set(err, CRINGLE_E_INVALID, "process is missing");
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
                if (parts[i](&c) < 0)
                        return err_wrap(err, "config.json");
        if (plan_add_process(&c, NULL) < 0)
                return err_wrap(err, "config.json");
        return rec_finish(&c.w);
}

int plan_compile_exec(struct json_object *spec, const char *const *argv, bool tty, struct buf *ret,
                      struct cringle_err *err)
{
        struct plan_options options = { .tty = tty };
        struct json_object *process;
        struct compile c;

        if (json_get_object(spec, "process", &process, err) <= 0)
                return err_set(err, CRINGLE_E_INVALID, "config.json: process is missing");
        if (!argv)
                return plan_compile_process(spec, process, tty, ret, err);
        if (prepare(&c, spec, &options, ret, err) < 0)
                return -1;
        c.caller_decides_tty = true;
        if (add_id_maps(&c) < 0 || plan_add_process(&c, argv) < 0)
                return err_wrap(err, "config.json");
        return rec_finish(&c.w);
}

int plan_compile_process(struct json_object *spec, struct json_object *process, bool tty, struct buf *ret,
                         struct cringle_err *err)
{
        struct plan_options options = { .tty = tty };
        struct compile c;

        if (prepare(&c, spec, &options, ret, err) < 0)
                return -1;
        c.process = process;
        if (refuse_unknown_wishes(&c) < 0 || add_id_maps(&c) < 0 || plan_add_process(&c, NULL) < 0)
                return err_wrap(err, "process");
        return rec_finish(&c.w);
}
