/*
 * cgroup-fs: cgroups made by writing to cgroupfs, v1, v2 and both at once
 *
 * (parent, id) is the directory <parent>/<id> in every mounted hierarchy.  On
 * machines with v1 controllers that also have the v2 tree mounted, a container
 * gets a directory there as well, so that it can be cloned into and killed as one.
 * The driver keeps nothing in memory about cgroups: the file system is the record,
 * so it does not matter which agent made them, or when.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "plugins/api/cgroup.h"
#include "cgroup/devices.h"
#include "cgroup/ending.h"
#include "cgroup/limits.h"
#include "plugins/cgroup-fs/name.h"
#include "cgroup/stats.h"
#include "cgroup/tree.h"

#define SYSTEMD "/run/systemd/system"   /* as sd_booted(3) looks */
#define MOUNTINFO_MAX (16 * 1024 * 1024)
#define NAME_LENGTH_MAX 64
#define PATIENCE (120 * NSEC_PER_SEC)   /* for callers without a deadline: processes in a hung file system never end */

struct driver {
        struct trees *trees;
        char *prefix;                   /* parent of what names none, without slashes at its ends */
        char *name;                     /* before the ids of containers */
};

static void driver_destroy(void *self)
{
        struct driver *d = self;

        if (!d)
                return;
        trees_free(d->trees);
        free(d->prefix);
        free(d->name);
        free(d);
}

static inline void auto_driver_(struct driver **d)
{
        driver_destroy(*d);
}

static const char *setting(const struct cringle_pair *settings, const char *key)
{
        for (; settings->key; settings++)
                if (strcmp(settings->key, key) == 0)
                        return settings->value;

        return "";
}

static int driver_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                         struct cringle_err *err)
{
        auto_of(driver) d = calloc(1, sizeof *d);
        auto_buf mountinfo = BUF_INIT;

        if (!d)
                return err_oom(err);
        d->prefix = name_parent(setting(settings, "prefix"), err);
        if (!d->prefix)
                return err_wrap(err, "prefix");
        d->name = strdup(setting(settings, "name"));
        if (!d->name)
                return err_oom(err);
        if (*d->name && !str_is_id(d->name, NAME_LENGTH_MAX))
                return err_set(err, CRINGLE_E_INVALID, "name: want letters, digits, '_', '.', '-'");
        if (file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, err) < 0)
                return -1;
        if (trees_find(setting(settings, "mount_point"), mountinfo.data, &d->trees, err) < 0)
                return -1;
        if (file_exists(SYSTEMD) && d->trees->n == 1 && d->trees->unified)
                host->log(host, CRINGLE_INFO, "the cgroups of this machine are systemd's: cgroup-systemd, with cgroupDriver "
                                              "of the kubelet set to systemd, goes with it better");

        *ret_self = steal(&d);
        return 0;
}

static int driver_layout(void *self)
{
        const struct trees *t = ((struct driver *) self)->trees;

        if (!t->unified)
                return CRINGLE_CGROUP_V1;
        return t->n == 1 ? CRINGLE_CGROUP_V2 : CRINGLE_CGROUP_MIXED;
}

static const char *driver_name(void *self)
{
        return "cgroupfs";
}

static void free_dirs(struct cringle_cgroup_dirs *dirs)
{
        free(dirs->oci_path);
        free(dirs->unified);
        strv_free(dirs->v1);
        dirs->oci_path = dirs->unified = NULL;
        dirs->v1 = NULL;
}

static int fill_dirs(const struct trees *t, const char *path, struct cringle_cgroup_dirs *ret, struct cringle_err *err)
{
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };

        dirs.oci_path = str_printf(err, "/%s", path);
        if (!dirs.oci_path)
                return -1;
        for (size_t i = 0; i < t->n; i++) {
                auto_free char *dir = str_printf(err, "%s/%s", t->list[i].mount, path);

                if (!dir || (!t->list[i].v2 && strv_add(&dirs.v1, dir, err) < 0)) {
                        free_dirs(&dirs);
                        return -1;
                }
                if (t->list[i].v2)
                        dirs.unified = steal(&dir);
        }

        *ret = dirs;
        return 0;
}

static int driver_path(void *self, const char *parent, const char *id, struct cringle_cgroup_dirs *ret,
                       struct cringle_err *err)
{
        struct driver *d = self;
        auto_free char *path = name_path(d->prefix, d->name, parent, id, err);

        return path ? fill_dirs(d->trees, path, ret, err) : -1;
}

/* Parents that we made for cgroups whose kubelet names none go when they are empty; others' stay. */
static void prune(struct driver *d, const char *path)
{
        const char *slash = strrchr(path, '/');
        auto_free char *parent = strndup(path, (size_t) (slash - path));

        for (size_t i = 0; parent && i < d->trees->n; i++)
                tree_prune(&d->trees->list[i], parent, d->prefix);
}

/* --- limits --- */

/* @r with what its caller's version does not have left unset; NULL: nothing is set. */
static struct cringle_resources complete(const struct cringle_resources *r)
{
        struct cringle_resources all = CRINGLE_RESOURCES_INIT;

        if (r)
                memcpy(&all, r, r->size < sizeof all ? r->size : sizeof all);
        return all;
}

static int set_limits(struct driver *d, const char *path, const struct cringle_resources *given,
                      struct cringle_err *err)
{
        struct cringle_resources r = complete(given);
        auto_limits limits = { 0 };

        if (limits_plan(d->trees, &r, &limits, err) < 0 || limits_apply(&limits, path, err) < 0)
                return -1;
        if (r.n_devices > 0 && devices_apply(d->trees, path, r.devices, r.n_devices, err) < 0) {
                limits_revert(&limits, path);
                return err_wrap(err, "devices");
        }
        return 0;
}

/* --- create, update --- */

static int make_dirs(struct driver *d, const char *path, bool *made, struct cringle_err *err)
{
        for (size_t i = 0; i < d->trees->n; i++) {
                int r = tree_make(&d->trees->list[i], path, err);

                if (r < 0)
                        return -1;
                made[i] = r;
        }
        return 0;
}

static void remove_made(struct driver *d, const char *path, const bool *made)
{
        for (size_t i = 0; i < d->trees->n; i++)
                if (made[i])
                        tree_remove(&d->trees->list[i], path, NULL);
        prune(d, path);
}

static int driver_make(void *self, const struct cringle_call *call, const char *parent, const char *id,
                       const struct cringle_resources *resources, struct cringle_cgroup_dirs *ret,
                       struct cringle_err *err)
{
        struct driver *d = self;
        auto_free char *path = name_path(d->prefix, d->name, parent, id, err);
        auto_free bool *made = calloc(d->trees->n, sizeof *made);

        if (!path)
                return -1;
        if (!made)
                return err_oom(err);
        if (call_check(call, err) < 0)
                return -1;
        if (make_dirs(d, path, made, err) < 0 || set_limits(d, path, resources, err) < 0 ||
            fill_dirs(d->trees, path, ret, err) < 0) {
                remove_made(d, path, made);
                return err_wrap(err, "cgroup /%s", path);
        }
        return 0;
}

static int driver_update(void *self, const struct cringle_call *call, const char *parent, const char *id,
                         const struct cringle_resources *resources, struct cringle_err *err)
{
        struct driver *d = self;
        auto_free char *path = name_path(d->prefix, d->name, parent, id, err);

        if (!path)
                return -1;
        for (size_t i = 0; i < d->trees->n; i++)
                if (!tree_has(&d->trees->list[i], path))
                        return err_set(err, CRINGLE_E_NOT_FOUND, "no cgroup %s/%s", d->trees->list[i].mount, path);
        return set_limits(d, path, resources, err) < 0 ? err_wrap(err, "cgroup /%s", path) : 0;
}

static int driver_stats(void *self, const char *parent, const char *id, struct cringle_cgroup_stats *ret,
                        struct cringle_err *err)
{
        struct driver *d = self;
        auto_free char *path = id ? name_path(d->prefix, d->name, parent, id, err)
                                  : name_parent(str_empty(parent) ? d->prefix : parent, err);

        return path ? stats_read(d->trees, path, ret, err) : -1;
}

/* --- ending --- */

static int driver_kill(void *self, const struct cringle_call *call, const char *parent, const char *id,
                       struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call within = call_within(call, PATIENCE);
        auto_free char *path = name_path(d->prefix, d->name, parent, id, err);

        return path ? ending_kill(d->trees, &within, path, err) : -1;
}

static int driver_freeze(void *self, const struct cringle_call *call, const char *parent, const char *id, int frozen,
                         struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call within = call_within(call, PATIENCE);
        auto_free char *path = name_path(d->prefix, d->name, parent, id, err);

        return path ? ending_freeze(d->trees, &within, path, frozen, err) : -1;
}

static int driver_remove(void *self, const struct cringle_call *call, const char *parent, const char *id,
                         struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call within = call_within(call, PATIENCE);
        auto_free char *path = name_path(d->prefix, d->name, parent, id, err);

        if (!path || ending_destroy(d->trees, &within, path, err) < 0)
                return -1;
        prune(d, path);
        return 0;
}

static const struct cringle_cgroup_ops ops = {
        .size = sizeof ops,
        .layout = driver_layout,
        .driver = driver_name,
        .path = driver_path,
        .create = driver_make,
        .update = driver_update,
        .stats = driver_stats,
        .kill = driver_kill,
        .freeze = driver_freeze,
        .destroy = driver_remove,
        .free_dirs = free_dirs,
};

static const struct cringle_setting schema[] = {
        { "mount_point", CRINGLE_PATH, "/sys/fs/cgroup", "where the cgroup hierarchies are mounted, at or below" },
        { "prefix", CRINGLE_PATH, "/cringle", "parent of cgroups for which the kubelet names none" },
        { "name", CRINGLE_STRING, "", "what comes before a container's id in its cgroup's name; to be changed on a drained node only" },
        { 0 },
};

CRINGLE_PLUGIN(cgroup_fs,
        .kind = CRINGLE_CGROUP,
        .name = "cgroup-fs",
        .major = CRINGLE_CGROUP_MAJOR,
        .minor = CRINGLE_CGROUP_MINOR,
        .help = "cgroups through cgroupfs, v1, v2 or both",
        .settings = schema,
        .create = driver_create,
        .destroy = driver_destroy,
        .ops = &ops);
