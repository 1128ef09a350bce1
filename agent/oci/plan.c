/*
 * Compiling a launch plan; see plan.h.
 *
 * One function per part of the specification, called in the order of the table at
 * the end.
 */

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/oci/caps.h"
#include "agent/oci/plan.h"
#include "agent/oci/seccomp_cache.h"
#include "agent/wire/plan.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

#define LIST_MAX 65536          /* elements of any array of the specification */

struct compile {
        struct json_object *spec;
        struct json_object *linux_;     /* NULL: none */
        struct json_object *process;    /* NULL: none */
        const struct plan_options *options;
        bool caller_decides_tty;        /* process.terminal is the container's, not this process's */
        struct rec_writer w;
        struct cringle_err *err;
};

static int get_u32(struct json_object *o, const char *name, uint32_t max, uint32_t *ret, struct cringle_err *err)
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

/* As get_u32(), for a member that must be there. */
static int need_u32(struct json_object *o, const char *name, uint32_t max, uint32_t *ret, struct cringle_err *err)
{
        int there = get_u32(o, name, max, ret, err);

        return there == 0 ? err_set(err, CRINGLE_E_INVALID, "%s is missing", name) : there;
}

static int need_string(struct json_object *o, const char *name, const char **ret, struct cringle_err *err)
{
        int there = json_get_string(o, name, ret, err);

        return there == 0 ? err_set(err, CRINGLE_E_INVALID, "%s is missing", name) : there;
}

/* Element @i of @array as an object. */
static int object_at(struct json_object *array, const char *name, size_t i, struct json_object **ret,
                     struct cringle_err *err)
{
        struct json_object *o = json_object_array_get_idx(array, i);

        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "%s[%zu] is not an object", name, i);
        *ret = o;
        return 0;
}

/* Call @fn for each object of the array @name of @o; absent: nothing. */
static int each(struct compile *c, struct json_object *o, const char *name,
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
                if (object_at(array, name, i, &at, c->err) < 0 || fn(c, at) < 0)
                        return err_wrap(c->err, "%s[%zu]", name, i);
        return 0;
}

/* Call @fn for each string of the array @name of @o. */
static int each_string(struct compile *c, struct json_object *o, const char *name, uint16_t tag)
{
        auto_strv list = NULL;

        if (!o || json_get_strv(o, name, &list, c->err) < 0)
                return o ? -1 : 0;
        for (size_t i = 0; list && list[i]; i++) {
                if (list[i][0] != '/')
                        return err_set(c->err, CRINGLE_E_INVALID, "%s[%zu]: '%s' is not absolute", name, i, list[i]);
                rec_add_str(&c->w, tag, list[i]);
        }
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

        if (need_string(at, "type", &type, c->err) < 0 || json_get_string(at, "path", &path, c->err) < 0)
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

static bool has_namespace(const struct compile *c, const char *type)
{
        struct json_object *array, *entry = NULL;
        const char *seen;

        if (!c->linux_ || json_get_array(c->linux_, "namespaces", &array, NULL) <= 0)
                return false;
        for (size_t i = 0; i < json_object_array_length(array); i++)
                if (object_at(array, "", i, &entry, NULL) == 0 && json_get_string(entry, "type", &seen, NULL) > 0 &&
                    strcmp(seen, type) == 0)
                        return true;
        return false;
}

static int add_id_map(struct compile *c, struct json_object *at, enum plan_id kind)
{
        uint32_t inside, outside, length;

        if (need_u32(at, "containerID", UINT32_MAX - 1, &inside, c->err) < 0 ||
            need_u32(at, "hostID", UINT32_MAX - 1, &outside, c->err) < 0 ||
            need_u32(at, "size", UINT32_MAX, &length, c->err) < 0)
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
                                            get_u32(one, "nanosecs", 999999999, &nanosecs, c->err) < 0)))
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
        return each(c, c->linux_, "uidMappings", add_uid_map) < 0 || each(c, c->linux_, "gidMappings", add_gid_map) < 0
                       ? -1
                       : 0;
}

static int add_namespaces(struct compile *c)
{
        if (!has_namespace(c, "mount"))
                return err_set(c->err, CRINGLE_E_INVALID, "linux.namespaces: a container needs a mount namespace of its own");
        if (each(c, c->linux_, "namespaces", add_namespace) < 0 || add_id_maps(c) < 0)
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

/* --- root and mounts ---------------------------------------------------------- */

static const struct {
        const char *name;
        uint32_t flags;
} propagations[] = {
        { "shared", MS_SHARED },         { "rshared", MS_SHARED | MS_REC },
        { "slave", MS_SLAVE },           { "rslave", MS_SLAVE | MS_REC },
        { "private", MS_PRIVATE },       { "rprivate", MS_PRIVATE | MS_REC },
        { "unbindable", MS_UNBINDABLE }, { "runbindable", MS_UNBINDABLE | MS_REC },
};

/* MS_* of a propagation word, 0: it is none. */
static uint32_t propagation_of(const char *word)
{
        for (size_t i = 0; i < sizeof propagations / sizeof propagations[0]; i++)
                if (strcmp(word, propagations[i].name) == 0)
                        return propagations[i].flags;
        return 0;
}

static int add_root(struct compile *c)
{
        struct json_object *root;
        const char *path, *word = NULL;
        auto_free char *whole = NULL;
        bool readonly = false;
        uint32_t propagation = 0;

        if (json_get_object(c->spec, "root", &root, c->err) <= 0)
                return err_set(c->err, CRINGLE_E_INVALID, "root is missing");
        if (need_string(root, "path", &path, c->err) < 0 || json_get_bool(root, "readonly", &readonly, c->err) < 0)
                return err_wrap(c->err, "root");
        whole = *path == '/' ? str_printf(c->err, "%s", path) : str_printf(c->err, "%s/%s", c->options->bundle, path);
        if (!whole)
                return -1;
        if (c->linux_ && json_get_string(c->linux_, "rootfsPropagation", &word, c->err) < 0)
                return -1;
        if (!str_empty(word)) {
                propagation = propagation_of(word);
                if (!propagation)
                        return err_set(c->err, CRINGLE_E_INVALID, "linux.rootfsPropagation: '%s' is none", word);
        }

        rec_begin(&c->w, PLAN_ROOT);
        rec_put_str(&c->w, whole);
        rec_put_u32(&c->w, c->options->rootfs_fd);
        rec_put_u32(&c->w, readonly);
        rec_put_u32(&c->w, propagation);
        rec_end(&c->w);
        return 0;
}

/* Options that are attributes of the mount; with an "r" in front they hold for what is mounted below it too. */
static const struct {
        const char *name;
        uint64_t set, clear;
} attributes[] = {
        { "ro", MOUNT_ATTR_RDONLY, 0 },           { "rw", 0, MOUNT_ATTR_RDONLY },
        { "nosuid", MOUNT_ATTR_NOSUID, 0 },       { "suid", 0, MOUNT_ATTR_NOSUID },
        { "nodev", MOUNT_ATTR_NODEV, 0 },         { "dev", 0, MOUNT_ATTR_NODEV },
        { "noexec", MOUNT_ATTR_NOEXEC, 0 },       { "exec", 0, MOUNT_ATTR_NOEXEC },
        { "nodiratime", MOUNT_ATTR_NODIRATIME, 0 }, { "diratime", 0, MOUNT_ATTR_NODIRATIME },
        { "relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
        { "noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
        { "strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
        { "norelatime", 0, MOUNT_ATTR__ATIME },   { "atime", 0, MOUNT_ATTR__ATIME },
        { "nostrictatime", 0, MOUNT_ATTR__ATIME },
        { "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0 }, { "symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW },
};

struct mount_options {
        uint64_t set, clear, rec_set, rec_clear;
        uint32_t flags, propagation, brought;
        char **data;
};

static bool take_attribute(const char *word, uint64_t *set, uint64_t *clear)
{
        for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
                if (strcmp(word, attributes[i].name) != 0)
                        continue;
                *set = (*set & ~attributes[i].clear) | attributes[i].set;
                *clear = (*clear & ~attributes[i].set) | attributes[i].clear;
                return true;
        }
        return false;
}

static int take_option(struct mount_options *o, const char *word, struct cringle_err *err)
{
        uint32_t propagation = propagation_of(word);

        if (propagation) {
                o->propagation = propagation;
                return 0;
        }
        if (strcmp(word, "bind") == 0 || strcmp(word, "rbind") == 0) {
                o->flags |= PLAN_MOUNT_BIND | (*word == 'r' ? PLAN_MOUNT_RECURSIVE : 0);
                return 0;
        }
        if (strcmp(word, "idmap") == 0 || strcmp(word, "ridmap") == 0) {
                o->flags |= PLAN_MOUNT_IDMAP | (*word == 'r' ? PLAN_MOUNT_IDMAP_RECURSIVE : 0);
                return 0;
        }
        if (strcmp(word, "tmpcopyup") == 0)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "mount option tmpcopyup is not supported");
        if (strcmp(word, "defaults") == 0 || strcmp(word, "remount") == 0 || !*word)
                return 0;
        if (take_attribute(word, &o->set, &o->clear))
                return 0;
        if (*word == 'r' && take_attribute(word + 1, &o->rec_set, &o->rec_clear))
                return 0;
        return strv_add(&o->data, word, err);
}

/*
 * Things that may stand below /proc, being what lxcfs and the like show in its
 * stead.  Anything else there could stand in for the files that say how a process
 * is confined.
 */
static bool may_cover_proc(const char *destination)
{
        static const char *const files[] = {
                "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev",
                "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled", "sys/fs/binfmt_misc", NULL,
        };

        if (!str_starts(destination, "/proc/"))
                return strcmp(destination, "/proc") != 0;
        return strv_has(files, destination + strlen("/proc/"));
}

static void put_mount(struct compile *c, const char *destination, const char *source, const char *type,
                      const struct mount_options *o)
{
        rec_begin(&c->w, PLAN_MOUNT);
        rec_put_str(&c->w, destination);
        rec_put_str(&c->w, source);
        rec_put_str(&c->w, type);
        rec_put_strv(&c->w, (const char *const *) o->data);
        rec_put_u32(&c->w, o->flags);
        rec_put_u64(&c->w, o->set);
        rec_put_u64(&c->w, o->clear);
        rec_put_u64(&c->w, o->rec_set);
        rec_put_u64(&c->w, o->rec_clear);
        rec_put_u32(&c->w, o->propagation);
        if (o->flags & PLAN_MOUNT_BROUGHT)
                rec_put_u32(&c->w, o->brought);
        rec_end(&c->w);
}

#define CGROUP_ROOT "/sys/fs/cgroup/"

/* A bind of the cgroup directory @dir at <destination>/<its hierarchy>. */
static int bind_hierarchy(struct compile *c, const char *destination, const char *dir, uint64_t set)
{
        struct mount_options bind = { .flags = PLAN_MOUNT_BIND, .propagation = MS_PRIVATE | MS_REC, .set = set };
        const char *name = dir + strlen(CGROUP_ROOT);
        auto_free char *at = NULL;

        if (!str_starts(dir, CGROUP_ROOT))
                return err_set(c->err, CRINGLE_E_INVALID, "cgroup directory %s is not below " CGROUP_ROOT, dir);
        at = str_printf(c->err, "%s/%.*s", destination, (int) strcspn(name, "/"), name);
        if (!at)
                return -1;
        put_mount(c, at, dir, "bind", &bind);
        return 0;
}

/*
 * What the container sees of cgroups.  v2: a mount of its own, which shows the
 * subtree of its cgroup namespace; without one, the host's, read-only.  v1: its
 * own directories and nothing else, in a tmpfs.
 */
static int add_cgroup_mount(struct compile *c, const char *destination, struct mount_options *o)
{
        const struct plan_options *from = c->options;
        struct mount_options tmpfs = { .set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };
        auto_strv data = NULL;

        o->propagation = 0;
        o->data = strv_free(o->data);
        if (from->cgroup_unified && (!from->cgroup_v1 || !from->cgroup_v1[0])) {
                if (has_namespace(c, "cgroup")) {
                        put_mount(c, destination, "cgroup", "cgroup2", o);
                        return 0;
                }
                o->flags = PLAN_MOUNT_BIND | PLAN_MOUNT_RECURSIVE;
                put_mount(c, destination, "/sys/fs/cgroup", "bind", o);
                return 0;
        }

        if (strv_add(&data, "mode=755", c->err) < 0)
                return -1;
        tmpfs.data = data;
        put_mount(c, destination, "tmpfs", "tmpfs", &tmpfs);
        if (from->cgroup_unified && bind_hierarchy(c, destination, from->cgroup_unified, o->set) < 0)
                return -1;
        for (size_t i = 0; from->cgroup_v1 && from->cgroup_v1[i]; i++)
                if (bind_hierarchy(c, destination, from->cgroup_v1[i], o->set) < 0)
                        return -1;
        if (o->set & MOUNT_ATTR_RDONLY) {
                rec_begin(&c->w, PLAN_REMOUNT);
                rec_put_str(&c->w, destination);
                rec_put_u64(&c->w, MOUNT_ATTR_RDONLY);
                rec_end(&c->w);
        }
        return 0;
}

/* Ids of a mount can only be mapped as the container's are: the same list, or a namespace that is joined. */
static int check_mount_ids(struct compile *c, struct json_object *at, struct mount_options *o)
{
        static const char *const names[] = { "uidMappings", "gidMappings" };
        struct json_object *mine, *theirs;

        for (int i = 0; i < 2; i++) {
                int there = json_get_array(at, names[i], &mine, c->err);

                if (there < 0)
                        return -1;
                if (there == 0 || json_object_array_length(mine) == 0)
                        continue;
                if (json_get_array(c->linux_, names[i], &theirs, c->err) > 0 && !json_object_equal(mine, theirs))
                        return err_set(c->err, CRINGLE_E_UNIMPLEMENTED, "%s differs from linux.%s", names[i], names[i]);
                o->flags |= PLAN_MOUNT_IDMAP;
        }
        if (o->flags & PLAN_MOUNT_IDMAP && !has_namespace(c, "user"))
                return err_set(c->err, CRINGLE_E_INVALID, "ids are to be mapped, but there is no user namespace");
        return 0;
}

static int add_mount(struct compile *c, struct json_object *at)
{
        auto_strv words = NULL;
        auto_strv data = NULL;
        struct mount_options o = { 0 };
        const char *destination, *source = "", *type = "";
        auto_free char *from_bundle = NULL;
        bool has_proc_type;
        int done = 0;

        if (need_string(at, "destination", &destination, c->err) < 0 ||
            json_get_string(at, "source", &source, c->err) < 0 || json_get_string(at, "type", &type, c->err) < 0 ||
            json_get_strv(at, "options", &words, c->err) < 0)
                return -1;
        if (*destination != '/' || strcmp(destination, "/") == 0)
                return err_set(c->err, CRINGLE_E_INVALID, "destination '%s' is no place to mount on", destination);
        for (size_t i = 0; words && words[i] && done == 0; i++)
                done = take_option(&o, words[i], c->err);
        data = o.data;          /* freed here; what follows only looks */
        if (done < 0)
                return -1;
        if (strcmp(type, "bind") == 0 || strcmp(type, "rbind") == 0)
                o.flags |= PLAN_MOUNT_BIND | (*type == 'r' ? PLAN_MOUNT_RECURSIVE : 0);

        /* A kernel file system of that kind may stand at /proc; the launch checks that a bound one is a procfs. */
        has_proc_type = strcmp(type, "proc") == 0 || (o.flags & PLAN_MOUNT_BIND && strcmp(source, "/proc") == 0);
        if (!path_is_clean(destination) && strstr(destination, "proc"))
                return err_set(c->err, CRINGLE_E_INVALID, "destination '%s' is not spelled plainly", destination);
        if (!may_cover_proc(destination) && !(strcmp(destination, "/proc") == 0 && has_proc_type))
                return err_set(c->err, CRINGLE_E_INVALID, "destination %s: nothing may be mounted there", destination);

        if (strcmp(type, "cgroup") == 0 || strcmp(type, "cgroup2") == 0) {
                done = add_cgroup_mount(c, destination, &o);
                data = o.data;
                return done;
        }
        if (!(o.flags & PLAN_MOUNT_BIND)) {
                if (!*type)
                        return err_set(c->err, CRINGLE_E_INVALID, "%s: type is missing", destination);
                put_mount(c, destination, *source ? source : type, type, &o);
                return 0;
        }

        if (!*source)
                return err_set(c->err, CRINGLE_E_INVALID, "%s: source is missing", destination);
        if (check_mount_ids(c, at, &o) < 0)
                return -1;
        /* "rw" takes back an "ro"; it does not make a source writable that the host holds read-only. */
        o.clear &= ~(uint64_t) MOUNT_ATTR_RDONLY;
        if (!o.propagation)
                o.propagation = MS_PRIVATE | MS_REC;
        if (*source != '/') {
                from_bundle = str_printf(c->err, "%s/%s", c->options->bundle, source);
                if (!from_bundle)
                        return -1;
                source = from_bundle;
        }
        for (uint32_t i = 0; c->options->brought && c->options->brought[i]; i++)
                if (strcmp(c->options->brought[i], source) == 0) {
                        o.flags |= PLAN_MOUNT_BROUGHT;
                        o.brought = i;
                }
        put_mount(c, destination, source, "bind", &o);
        return 0;
}

static int add_mounts(struct compile *c)
{
        return each(c, c->spec, "mounts", add_mount);
}

/* --- devices ------------------------------------------------------------------ */

static void put_device(struct compile *c, const char *path, uint32_t mode, uint32_t major, uint32_t minor, uint32_t uid,
                       uint32_t gid)
{
        rec_begin(&c->w, PLAN_DEVICE);
        rec_put_str(&c->w, path);
        rec_put_u32(&c->w, mode);
        rec_put_u32(&c->w, major);
        rec_put_u32(&c->w, minor);
        rec_put_u32(&c->w, uid);
        rec_put_u32(&c->w, gid);
        rec_end(&c->w);
}

static int add_device(struct compile *c, struct json_object *at)
{
        uint32_t type, mode = 0666, major = 0, minor = 0, uid = 0, gid = 0;
        const char *path, *word;

        if (need_string(at, "path", &path, c->err) < 0 || need_string(at, "type", &word, c->err) < 0)
                return -1;
        if (*path != '/' || strlen(word) != 1)
                return err_set(c->err, CRINGLE_E_INVALID, "'%s' of type '%s' is no device", path, word);
        switch (*word) {
        case 'c':
        case 'u':
                type = S_IFCHR;
                break;
        case 'b':
                type = S_IFBLK;
                break;
        case 'p':
                type = S_IFIFO;
                break;
        default:
                return err_set(c->err, CRINGLE_E_INVALID, "%s: there is no device type '%s'", path, word);
        }
        if (type != S_IFIFO && (need_u32(at, "major", UINT32_MAX, &major, c->err) < 0 ||
                                need_u32(at, "minor", UINT32_MAX, &minor, c->err) < 0))
                return -1;
        if (get_u32(at, "fileMode", UINT32_MAX, &mode, c->err) < 0 || get_u32(at, "uid", UINT32_MAX - 1, &uid, c->err) < 0 ||
            get_u32(at, "gid", UINT32_MAX - 1, &gid, c->err) < 0)
                return -1;
        put_device(c, path, type | (mode & 07777), major, minor, uid, gid);
        return 0;
}

/* Of runtime-spec's default devices, those @spec has not said itself. */
static int add_devices(struct compile *c)
{
        static const struct { const char *path; uint32_t major, minor; } usual[] = {
                { "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
                { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
        };
        static const struct { const char *path, *target; } links[] = {
                { "/dev/fd", "/proc/self/fd" },         { "/dev/stdin", "/proc/self/fd/0" },
                { "/dev/stdout", "/proc/self/fd/1" },   { "/dev/stderr", "/proc/self/fd/2" },
                { "/dev/ptmx", "pts/ptmx" },
        };
        struct json_object *array = NULL, *at = NULL;
        const char *path;

        if (c->linux_ && json_get_array(c->linux_, "devices", &array, c->err) < 0)
                return -1;
        for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
                bool said = false;

                for (size_t j = 0; array && j < json_object_array_length(array); j++)
                        if (object_at(array, "", j, &at, NULL) == 0 && json_get_string(at, "path", &path, NULL) > 0 &&
                            strcmp(path, usual[i].path) == 0)
                                said = true;
                if (!said)
                        put_device(c, usual[i].path, S_IFCHR | 0666, usual[i].major, usual[i].minor, 0, 0);
        }
        if (each(c, c->linux_, "devices", add_device) < 0)
                return -1;
        for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
                rec_begin(&c->w, PLAN_LINK);
                rec_put_str(&c->w, links[i].path);
                rec_put_str(&c->w, links[i].target);
                rec_end(&c->w);
        }
        return 0;
}

static int add_masks(struct compile *c)
{
        if (each_string(c, c->linux_, "maskedPaths", PLAN_MASK) < 0)
                return -1;
        return each_string(c, c->linux_, "readonlyPaths", PLAN_READONLY);
}

/* --- names and sysctls -------------------------------------------------------- */

static int add_names(struct compile *c)
{
        const char *name = NULL;

        if (json_get_string(c->spec, "hostname", &name, c->err) < 0)
                return -1;
        if (!str_empty(name)) {
                if (!has_namespace(c, "uts"))
                        return err_set(c->err, CRINGLE_E_INVALID, "hostname: there is no uts namespace to set it in");
                rec_add_str(&c->w, PLAN_HOSTNAME, name);
        }
        name = NULL;
        if (json_get_string(c->spec, "domainname", &name, c->err) < 0)
                return -1;
        if (!str_empty(name)) {
                if (!has_namespace(c, "uts"))
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
        if (!has_namespace(c, needs))
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

        if (need_string(at, "path", &path, c->err) < 0 || json_get_string(at, "failure", &failure, c->err) < 0 ||
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
                        if (object_at(array, name, i, &at, c->err) < 0 || add_hook(c, at, stage) < 0)
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

/* --- the process -------------------------------------------------------------- */

static const struct {
        const char *name;
        uint32_t resource;
} rlimits[] = {
        { "RLIMIT_AS", RLIMIT_AS },           { "RLIMIT_CORE", RLIMIT_CORE },     { "RLIMIT_CPU", RLIMIT_CPU },
        { "RLIMIT_DATA", RLIMIT_DATA },       { "RLIMIT_FSIZE", RLIMIT_FSIZE },   { "RLIMIT_LOCKS", RLIMIT_LOCKS },
        { "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK }, { "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE }, { "RLIMIT_NICE", RLIMIT_NICE },
        { "RLIMIT_NOFILE", RLIMIT_NOFILE },   { "RLIMIT_NPROC", RLIMIT_NPROC },   { "RLIMIT_RSS", RLIMIT_RSS },
        { "RLIMIT_RTPRIO", RLIMIT_RTPRIO },   { "RLIMIT_RTTIME", RLIMIT_RTTIME }, { "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
        { "RLIMIT_STACK", RLIMIT_STACK },
};

/* A limit is an unsigned 64-bit number; json-c gives those past INT64_MAX by another getter. */
static int need_limit(struct json_object *o, const char *name, uint64_t *ret, struct cringle_err *err)
{
        struct json_object *value;

        if (!json_object_object_get_ex(o, name, &value) || !json_object_is_type(value, json_type_int))
                return err_set(err, CRINGLE_E_INVALID, "%s is missing or no number", name);
        *ret = json_object_get_int64(value) < 0 ? UINT64_MAX : json_object_get_uint64(value);
        return 0;
}

static int add_rlimit(struct compile *c, struct json_object *at)
{
        const char *type;
        uint64_t soft, hard;

        if (need_string(at, "type", &type, c->err) < 0 || need_limit(at, "soft", &soft, c->err) < 0 ||
            need_limit(at, "hard", &hard, c->err) < 0)
                return -1;
        for (size_t i = 0; i < sizeof rlimits / sizeof rlimits[0]; i++)
                if (strcmp(type, rlimits[i].name) == 0) {
                        rec_begin(&c->w, PLAN_RLIMIT);
                        rec_put_u32(&c->w, rlimits[i].resource);
                        rec_put_u64(&c->w, soft);
                        rec_put_u64(&c->w, hard);
                        rec_end(&c->w);
                        return 0;
                }
        return err_set(c->err, CRINGLE_E_INVALID, "there is no limit '%s'", type);
}

static int add_limits(struct compile *c)
{
        int64_t score;
        int there;

        if (each(c, c->process, "rlimits", add_rlimit) < 0)
                return -1;
        there = json_get_int(c->process, "oomScoreAdj", &score, c->err);
        if (there > 0 && (score < -1000 || score > 1000))
                return err_set(c->err, CRINGLE_E_INVALID, "process.oomScoreAdj: %lld is out of range", (long long) score);
        if (there > 0)
                rec_add_u32(&c->w, PLAN_OOM_SCORE, (uint32_t) score);
        return there < 0 ? -1 : 0;
}

static int add_user(struct compile *c)
{
        struct json_object *user = NULL, *groups = NULL;
        uint32_t uid = 0, gid = 0, mask = PLAN_NO_UMASK;
        size_t n = 0;

        if (json_get_object(c->process, "user", &user, c->err) < 0)
                return -1;
        if (user && (get_u32(user, "uid", UINT32_MAX - 1, &uid, c->err) < 0 ||
                     get_u32(user, "gid", UINT32_MAX - 1, &gid, c->err) < 0 ||
                     get_u32(user, "umask", 0777, &mask, c->err) < 0 ||
                     json_get_array(user, "additionalGids", &groups, c->err) < 0))
                return err_wrap(c->err, "process.user");
        if (groups)
                n = json_object_array_length(groups);
        if (n > 65536)
                return err_set(c->err, CRINGLE_E_INVALID, "process.user.additionalGids has %zu elements", n);

        rec_begin(&c->w, PLAN_USER);
        rec_put_u32(&c->w, uid);
        rec_put_u32(&c->w, gid);
        rec_put_u32(&c->w, mask);
        rec_put_u32(&c->w, (uint32_t) n);
        for (size_t i = 0; i < n; i++) {
                struct json_object *value = json_object_array_get_idx(groups, i);
                int64_t group = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;

                if (group < 0 || group >= UINT32_MAX)
                        return err_set(c->err, CRINGLE_E_INVALID, "process.user.additionalGids[%zu] is no group", i);
                rec_put_u32(&c->w, (uint32_t) group);
        }
        rec_end(&c->w);
        return 0;
}

static int capability_set(struct compile *c, struct json_object *caps, const char *name, uint64_t *ret)
{
        auto_strv list = NULL;

        if (json_get_strv(caps, name, &list, c->err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++) {
                int bit = caps_bit(list[i]);

                if (bit < 0)
                        return err_set(c->err, CRINGLE_E_INVALID, "process.capabilities.%s: there is no '%s'", name, list[i]);
                *ret |= UINT64_C(1) << bit;
        }
        return 0;
}

/* None named: none given. */
static int add_capabilities(struct compile *c)
{
        static const char *const names[] = { "bounding", "permitted", "effective", "inheritable", "ambient" };
        struct json_object *caps = NULL;
        uint64_t sets[5] = { 0 };

        if (json_get_object(c->process, "capabilities", &caps, c->err) < 0)
                return -1;
        for (int i = 0; caps && i < 5; i++)
                if (capability_set(c, caps, names[i], &sets[i]) < 0)
                        return -1;
        if (sets[2] & ~sets[1])
                return err_set(c->err, CRINGLE_E_INVALID, "process.capabilities: effective holds what permitted does not");
        if (sets[4] & ~(sets[1] & sets[3]))
                return err_set(c->err, CRINGLE_E_INVALID,
                               "process.capabilities: ambient holds what permitted and inheritable do not");
        rec_begin(&c->w, PLAN_CAPS);
        for (int i = 0; i < 5; i++)
                rec_put_u64(&c->w, sets[i]);
        rec_end(&c->w);
        return 0;
}

static int add_seccomp(struct compile *c)
{
        struct json_object *profile;
        auto_buf filter = BUF_INIT;
        uint32_t flags;
        int there = c->linux_ ? json_get_object(c->linux_, "seccomp", &profile, c->err) : 0;

        if (there <= 0)
                return there;
        if (seccomp_compile_cached(profile, &filter, c->err) < 0 || seccomp_flags(profile, &flags, c->err) < 0)
                return err_wrap(c->err, "linux.seccomp");
        rec_begin(&c->w, PLAN_SECCOMP);
        rec_put_u32(&c->w, flags);
        rec_put_bytes(&c->w, filter.data, filter.len);
        rec_end(&c->w);
        return 0;
}

static int add_confinement(struct compile *c)
{
        const char *label = NULL;
        bool sealed = false;

        if (add_capabilities(c) < 0 || json_get_bool(c->process, "noNewPrivileges", &sealed, c->err) < 0)
                return -1;
        if (sealed) {
                rec_begin(&c->w, PLAN_NO_NEW_PRIVS);
                rec_end(&c->w);
        }
        if (json_get_string(c->process, "apparmorProfile", &label, c->err) < 0)
                return -1;
        if (!str_empty(label))
                rec_add_str(&c->w, PLAN_APPARMOR, label);
        label = NULL;
        if (json_get_string(c->process, "selinuxLabel", &label, c->err) < 0)
                return -1;
        if (!str_empty(label))
                rec_add_str(&c->w, PLAN_SELINUX, label);
        return add_seccomp(c);
}

static int add_tty(struct compile *c)
{
        struct json_object *size = NULL;
        uint32_t columns = 0, rows = 0;
        bool terminal = false;

        if (!c->caller_decides_tty && json_get_bool(c->process, "terminal", &terminal, c->err) < 0)
                return -1;
        if (!terminal && !c->options->tty)
                return 0;
        if (json_get_object(c->process, "consoleSize", &size, c->err) < 0 ||
            (size && (get_u32(size, "width", UINT16_MAX, &columns, c->err) < 0 ||
                      get_u32(size, "height", UINT16_MAX, &rows, c->err) < 0)))
                return -1;
        rec_begin(&c->w, PLAN_TTY);
        rec_put_u32(&c->w, columns);
        rec_put_u32(&c->w, rows);
        rec_end(&c->w);
        return 0;
}

static int add_io_priority(struct compile *c)
{
        static const char *const classes[] = { "IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE" };
        struct json_object *priority;
        const char *class;
        uint32_t level = 0;
        int there = json_get_object(c->process, "ioPriority", &priority, c->err);

        if (there <= 0)
                return there;
        if (need_string(priority, "class", &class, c->err) < 0 || get_u32(priority, "priority", 7, &level, c->err) < 0)
                return err_wrap(c->err, "process.ioPriority");
        for (uint32_t i = 0; i < 4; i++)
                if (strcmp(class, classes[i]) == 0) {
                        rec_add_u32(&c->w, PLAN_IO_PRIORITY, i << 13 | level);
                        return 0;
                }
        return err_set(c->err, CRINGLE_E_INVALID, "process.ioPriority.class: there is no '%s'", class);
}

/* A flag as the specification spells it. */
struct flag {
        const char *name;
        uint64_t bits;
};

/* What the member `flags` names, of @known, which ends without a name. */
static int add_flags(struct json_object *o, const struct flag *known, uint64_t *flags, struct cringle_err *err)
{
        auto_strv names = NULL;

        if (json_get_strv(o, "flags", &names, err) < 0)
                return -1;
        for (size_t i = 0; names && names[i]; i++) {
                const struct flag *f = known;

                while (f->name && strcmp(f->name, names[i]) != 0)
                        f++;
                if (!f->name)
                        return err_set(err, CRINGLE_E_INVALID, "flags: there is no '%.64s'", names[i]);
                *flags |= f->bits;
        }
        return 0;
}

static int get_u64(struct json_object *o, const char *name, uint64_t *ret, struct cringle_err *err)
{
        int64_t value = 0;

        if (json_get_int(o, name, &value, err) < 0)
                return -1;
        if (value < 0)
                return err_set(err, CRINGLE_E_INVALID, "%s: %lld is out of range", name, (long long) value);
        *ret = (uint64_t) value;
        return 0;
}

/* What the kernel makes of the combination is for the kernel to say. */
static int read_scheduler(struct json_object *o, uint32_t policy, uint64_t flags, struct rec_writer *w, struct cringle_err *err)
{
        uint64_t runtime = 0, deadline = 0, period = 0;
        uint32_t priority = 0;
        int64_t nice = 0;

        if (json_get_int(o, "nice", &nice, err) < 0 || get_u32(o, "priority", 99, &priority, err) < 0 ||
            get_u64(o, "runtime", &runtime, err) < 0 || get_u64(o, "deadline", &deadline, err) < 0 ||
            get_u64(o, "period", &period, err) < 0)
                return -1;
        if (nice < -20 || nice > 19)
                return err_set(err, CRINGLE_E_INVALID, "nice: %lld is out of range", (long long) nice);
        rec_begin(w, PLAN_SCHEDULER);
        rec_put_u32(w, policy);
        rec_put_u64(w, flags);
        rec_put_u32(w, (uint32_t) (int32_t) nice);
        rec_put_u32(w, priority);
        rec_put_u64(w, runtime);
        rec_put_u64(w, deadline);
        rec_put_u64(w, period);
        rec_end(w);
        return 0;
}

static int add_scheduler(struct compile *c)
{
        static const char *const policies[] = { "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE",
                                                "SCHED_DEADLINE" };
        static const struct flag known[] = {
                { "SCHED_FLAG_RESET_ON_FORK", 0x01 },   { "SCHED_FLAG_RECLAIM", 0x02 },
                { "SCHED_FLAG_DL_OVERRUN", 0x04 },      { "SCHED_FLAG_KEEP_POLICY", 0x08 },
                { "SCHED_FLAG_KEEP_PARAMS", 0x10 },     { "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 },
                { "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 },  { 0 },
        };
        struct json_object *scheduler;
        const char *policy;
        uint64_t flags = 0;
        int there = json_get_object(c->process, "scheduler", &scheduler, c->err);

        if (there <= 0)
                return there;
        if (need_string(scheduler, "policy", &policy, c->err) < 0 || add_flags(scheduler, known, &flags, c->err) < 0)
                return err_wrap(c->err, "process.scheduler");
        for (uint32_t i = 0; i < sizeof policies / sizeof policies[0]; i++)
                if (strcmp(policy, policies[i]) == 0)
                        return read_scheduler(scheduler, i, flags, &c->w, c->err) < 0 ? err_wrap(c->err, "process.scheduler") : 0;
        return err_set(c->err, CRINGLE_E_INVALID, "process.scheduler.policy: there is no '%.64s'", policy);
}

/* Nodes of a machine, as the kernel counts them at most. */
#define NODES_MAX 1024

/* "0-3,8" as bits; *ret_words: of these 64 each, up to the highest that is set. */
static int read_nodes(const char *text, uint64_t nodes[NODES_MAX / 64], uint32_t *ret_words, struct cringle_err *err)
{
        for (const char *p = text; *p;) {
                char *end = NULL;
                unsigned long first = *p >= '0' && *p <= '9' ? strtoul(p, &end, 10) : NODES_MAX, last = first;

                if (end && *end == '-')
                        last = end[1] >= '0' && end[1] <= '9' ? strtoul(end + 1, &end, 10) : NODES_MAX;
                if (!end || first > last || last >= NODES_MAX || (*end && (*end != ',' || !end[1])))
                        return err_set(err, CRINGLE_E_INVALID, "nodes: '%.64s' is no list of numbers below %d", text, NODES_MAX);
                for (; first <= last; first++)
                        nodes[first / 64] |= UINT64_C(1) << first % 64;
                if (*ret_words < last / 64 + 1)
                        *ret_words = (uint32_t) last / 64 + 1;
                p = *end ? end + 1 : end;
        }
        return 0;
}

static int add_memory_policy(struct compile *c)
{
        static const char *const modes[] = { "MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL",
                                             "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE" };
        static const struct flag known[] = { { "MPOL_F_STATIC_NODES", 1 << 15 }, { "MPOL_F_RELATIVE_NODES", 1 << 14 },
                                             { "MPOL_F_NUMA_BALANCING", 1 << 13 }, { 0 } };
        uint64_t nodes[NODES_MAX / 64] = { 0 }, flags = 0;
        struct json_object *policy;
        const char *mode, *list = "";
        uint32_t words = 0;
        int there = c->linux_ ? json_get_object(c->linux_, "memoryPolicy", &policy, c->err) : 0;

        if (there <= 0)
                return there;
        if (need_string(policy, "mode", &mode, c->err) < 0 || json_get_string(policy, "nodes", &list, c->err) < 0 ||
            add_flags(policy, known, &flags, c->err) < 0 || read_nodes(list, nodes, &words, c->err) < 0)
                return err_wrap(c->err, "linux.memoryPolicy");
        for (uint32_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
                if (strcmp(mode, modes[i]) != 0)
                        continue;
                rec_begin(&c->w, PLAN_MEMORY_POLICY);
                rec_put_u32(&c->w, i | (uint32_t) flags);
                rec_put_u32(&c->w, words);
                for (uint32_t k = 0; k < words; k++)
                        rec_put_u64(&c->w, nodes[k]);
                rec_end(&c->w);
                return 0;
        }
        return err_set(c->err, CRINGLE_E_INVALID, "linux.memoryPolicy.mode: there is no '%.64s'", mode);
}

static int add_personality(struct compile *c)
{
        struct json_object *personality;
        const char *domain;
        int there = c->linux_ ? json_get_object(c->linux_, "personality", &personality, c->err) : 0;

        if (there <= 0)
                return there;
        if (need_string(personality, "domain", &domain, c->err) < 0)
                return err_wrap(c->err, "linux.personality");
        if (strcmp(domain, "LINUX") != 0 && strcmp(domain, "LINUX32") != 0)
                return err_set(c->err, CRINGLE_E_INVALID, "linux.personality.domain: there is no '%s'", domain);
        rec_add_u32(&c->w, PLAN_PERSONALITY, domain[5] ? PER_LINUX32 : PER_LINUX);
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

static int add_command(struct compile *c, const char *const *argv)
{
        auto_strv args = NULL;
        auto_strv env = NULL;
        const char *cwd = NULL;

        if (!argv) {
                if (json_get_strv(c->process, "args", &args, c->err) < 0)
                        return -1;
                argv = (const char *const *) args;
        }
        if (!argv || !argv[0] || !*argv[0])
                return err_set(c->err, CRINGLE_E_INVALID, "process.args: there is nothing to run");
        if (need_string(c->process, "cwd", &cwd, c->err) < 0 || json_get_strv(c->process, "env", &env, c->err) < 0)
                return err_wrap(c->err, "process");
        if (*cwd != '/')
                return err_set(c->err, CRINGLE_E_INVALID, "process.cwd: '%s' is not absolute", cwd);

        rec_add_str(&c->w, PLAN_CWD, cwd);
        rec_begin(&c->w, PLAN_ARGV);
        rec_put_strv(&c->w, argv);
        rec_end(&c->w);
        rec_begin(&c->w, PLAN_ENV);
        rec_put_strv(&c->w, (const char *const *) env);
        rec_end(&c->w);
        return 0;
}

static int add_process(struct compile *c, const char *const *argv)
{
        if (add_command(c, argv) < 0 || add_user(c) < 0 || add_limits(c) < 0 || add_confinement(c) < 0 ||
            add_tty(c) < 0 || add_io_priority(c) < 0 || add_scheduler(c) < 0 || add_memory_policy(c) < 0)
                return -1;
        return add_personality(c);
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
                refuse_unknown_wishes, add_namespaces, add_cgroups, add_root, add_mounts, add_devices,
                add_masks, add_names, add_sysctls, add_hooks, add_state,
        };
        struct compile c;

        if (prepare(&c, spec, options, ret, err) < 0)
                return -1;
        if (!c.process)
                return err_set(err, CRINGLE_E_INVALID, "process is missing");
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
                if (parts[i](&c) < 0)
                        return err_wrap(err, "config.json");
        if (add_process(&c, NULL) < 0)
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
        if (add_id_maps(&c) < 0 || add_process(&c, argv) < 0)
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
        if (refuse_unknown_wishes(&c) < 0 || add_id_maps(&c) < 0 || add_process(&c, NULL) < 0)
                return err_wrap(err, "process");
        return rec_finish(&c.w);
}
