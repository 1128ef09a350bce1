/*
 * What a container sees of files, as records of its launch plan; see plan_parts.h.
 *
 * The order of the records is the order of the launch: the root, mounts as the specification has them, devices
 * into what is mounted then, and last what hides or protects some of it.
 */

#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/oci/plan_parts.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

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
        if (part_need_string(root, "path", &path, c->err) < 0 || json_get_bool(root, "readonly", &readonly, c->err) < 0)
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
                if (part_has_namespace(c, "cgroup")) {
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
        if (o->flags & PLAN_MOUNT_IDMAP && !part_has_namespace(c, "user"))
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

        if (part_need_string(at, "destination", &destination, c->err) < 0 ||
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
        return part_each(c, c->spec, "mounts", add_mount);
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

        if (part_need_string(at, "path", &path, c->err) < 0 || part_need_string(at, "type", &word, c->err) < 0)
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
        if (type != S_IFIFO && (part_need_u32(at, "major", UINT32_MAX, &major, c->err) < 0 ||
                                part_need_u32(at, "minor", UINT32_MAX, &minor, c->err) < 0))
                return -1;
        if (part_get_u32(at, "fileMode", UINT32_MAX, &mode, c->err) < 0 || part_get_u32(at, "uid", UINT32_MAX - 1, &uid, c->err) < 0 ||
            part_get_u32(at, "gid", UINT32_MAX - 1, &gid, c->err) < 0)
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
                        if (part_object_at(array, "", j, &at, NULL) == 0 && json_get_string(at, "path", &path, NULL) > 0 &&
                            strcmp(path, usual[i].path) == 0)
                                said = true;
                if (!said)
                        put_device(c, usual[i].path, S_IFCHR | 0666, usual[i].major, usual[i].minor, 0, 0);
        }
        if (part_each(c, c->linux_, "devices", add_device) < 0)
                return -1;
        for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
                rec_begin(&c->w, PLAN_LINK);
                rec_put_str(&c->w, links[i].path);
                rec_put_str(&c->w, links[i].target);
                rec_end(&c->w);
        }
        return 0;
}

/* Absolute paths of the array @name of @o, each as a record. */
static int add_paths(struct compile *c, struct json_object *o, const char *name, uint16_t tag)
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
}static int add_masks(struct compile *c)
{
        if (add_paths(c, c->linux_, "maskedPaths", PLAN_MASK) < 0)
                return -1;
        return add_paths(c, c->linux_, "readonlyPaths", PLAN_READONLY);
}

int plan_add_rootfs(struct compile *c)
{
        if (add_root(c) < 0 || add_mounts(c) < 0 || add_devices(c) < 0)
                return -1;
        return add_masks(c);
}
