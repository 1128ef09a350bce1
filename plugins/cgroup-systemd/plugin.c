/*
 * cgroup-systemd: containers in scopes of systemd's, in the slices a kubelet makes
 *
 * systemd starts a scope around each container and hands its cgroup over to us
 * (Delegate=yes).  In it the container's processes have a directory of their own,
 * with all limits, written and ended by the code that cgroup-fs uses: nothing systemd
 * does to its units, a daemon-reload above all, touches what is below a delegated
 * one.  systemd is told the limits as well, see properties.h.
 *
 * Only cgroup v2 will do: there alone is a subtree safely handed over, and systemd
 * itself has given v1 up.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "cgroup/devices.h"
#include "cgroup/ending.h"
#include "cgroup/limits.h"
#include "cgroup/stats.h"
#include "plugins/api/cgroup.h"
#include "plugins/cgroup-systemd/scope.h"

#define MOUNTINFO_MAX (16 * 1024 * 1024)
#define BOOTED "/run/systemd/system"    /* as sd_booted(3) looks */
#define VERSION_LEAST 244               /* AllowedCPUs= */
#define PATIENCE (120 * NSEC_PER_SEC)   /* for callers without a deadline: processes in a hung file system never end */
#define START_PATIENCE (10 * NSEC_PER_SEC)

struct driver {
        const struct cringle_host *host;
        struct trees *trees;
        struct naming naming;
        struct scopes scopes;
        pthread_mutex_t shared;         /* one makes the shared scope at a time */
};

static void driver_destroy(void *self)
{
        struct driver *d = self;

        if (!d)
                return;
        bus_free(d->scopes.bus);
        trees_free(d->trees);
        free(d->naming.prefix);
        free(d->naming.slice);
        free(d->scopes.hold);
        pthread_mutex_destroy(&d->shared);
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

static void bus_log(void *data, const char *text)
{
        const struct driver *d = data;

        d->host->log(d->host, CRINGLE_WARNING, text);
}

/* --- life --- */

static int find_trees(const char *mount_point, struct trees **ret, struct cringle_err *err)
{
        auto_of(trees) t = NULL;
        auto_buf mountinfo = BUF_INIT;

        if (file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, err) < 0 ||
            trees_find(mount_point, mountinfo.data, &t, err) < 0)
                return -1;
        if (t->n != 1 || !t->unified)
                return err_set(err, CRINGLE_E_PRECONDITION,
                               "this machine has cgroup v1 hierarchies at %s, and the systemd driver is for cgroup v2 alone: "
                               "boot with systemd.unified_cgroup_hierarchy=1, or use plugin cgroup-fs and set cgroupDriver "
                               "of the kubelet to cgroupfs", mount_point);
        *ret = steal(&t);
        return 0;
}

static int driver_probe(struct cringle_err *err)
{
        if (!file_exists(BOOTED))
                return err_set(err, CRINGLE_E_PRECONDITION,
                               "this machine was not booted with systemd (there is no %s): use plugin cgroup-fs and set "
                               "cgroupDriver of the kubelet to cgroupfs", BOOTED);
        return 0;
}

static int driver_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                         struct cringle_err *err)
{
        auto_of(driver) d = calloc(1, sizeof *d);
        int64_t timeout;

        if (!d)
                return err_oom(err);
        pthread_mutex_init(&d->shared, NULL);
        d->host = host;
        if (!str_is_id(setting(settings, "prefix"), 64))
                return err_set(err, CRINGLE_E_INVALID, "prefix: want up to 64 letters, digits, '_', '.', '-'");
        if (str_int64(setting(settings, "timeout"), 1, 3600, &timeout, err) < 0)
                return err_wrap(err, "timeout");
        d->naming.slice = name_slice(setting(settings, "slice"), err);
        if (!d->naming.slice)
                return err_wrap(err, "slice");
        d->naming.prefix = strdup(setting(settings, "prefix"));
        d->scopes.hold = strdup(setting(settings, "hold"));
        if (!d->naming.prefix || !d->scopes.hold)
                return err_oom(err);
        if (find_trees(setting(settings, "mount_point"), &d->trees, err) < 0 ||
            bus_new(setting(settings, "address"), timeout * NSEC_PER_SEC, bus_log, d, &d->scopes.bus, err) < 0)
                return -1;
        d->scopes.trees = d->trees;
        d->scopes.tree = d->trees->unified;

        *ret_self = steal(&d);
        return 0;
}

static int driver_start(void *self, struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call call = call_within(NULL, START_PATIENCE);
        unsigned version;

        if (bus_version(d->scopes.bus, &call, &version, err) < 0)
                return -1;
        if (version < VERSION_LEAST)
                return err_set(err, CRINGLE_E_PRECONDITION, "systemd %u is too old: %d or newer is wanted", version,
                               VERSION_LEAST);
        return 0;
}

static int driver_layout(void *self)
{
        return CRINGLE_CGROUP_V2;
}

static const char *driver_name(void *self)
{
        return "systemd";
}

/* --- where --- */

static void free_dirs(struct cringle_cgroup_dirs *dirs)
{
        free(dirs->oci_path);
        free(dirs->unified);
        dirs->oci_path = dirs->unified = NULL;
}

static int fill_dirs(const struct driver *d, struct place *p, struct cringle_cgroup_dirs *ret, struct cringle_err *err)
{
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };

        dirs.unified = str_printf(err, "%s/%s", d->scopes.tree->mount, p->group);
        if (!dirs.unified)
                return -1;
        dirs.oci_path = steal(&p->oci_path);
        *ret = dirs;
        return 0;
}

static int driver_path(void *self, const char *parent, const char *id, struct cringle_cgroup_dirs *ret,
                       struct cringle_err *err)
{
        struct driver *d = self;
        auto_place p = { 0 };

        return place_find(&d->naming, parent, id, &p, err) < 0 ? -1 : fill_dirs(d, &p, ret, err);
}

/* --- limits --- */

/* What is asked for, as the writes that the container's directory gets and as what systemd is told. */
struct wanted {
        struct cringle_resources resources;
        struct limits limits;
        struct properties properties;
};

static inline void auto_wanted_(struct wanted *w)
{
        limits_done(&w->limits);
        properties_done(&w->properties);
}

#define auto_wanted auto_cleanup(auto_wanted_) struct wanted

/* @r with what its caller's version does not have left unset; NULL: nothing is set. */
static struct cringle_resources complete(const struct cringle_resources *r)
{
        struct cringle_resources all = CRINGLE_RESOURCES_INIT;

        if (r)
                memcpy(&all, r, r->size < sizeof all ? r->size : sizeof all);
        return all;
}

static int plan(const struct driver *d, const struct cringle_resources *r, struct wanted *w, struct cringle_err *err)
{
        w->resources = complete(r);
        if (limits_plan(d->trees, &w->resources, &w->limits, err) < 0)
                return -1;
        for (size_t i = 0; i < w->limits.n; i++) {
                const struct limit *l = &w->limits.list[i];
                auto_free char *whole = l->period ? str_printf(err, "max %s", l->value) : strdup(l->value);

                if (!whole)
                        return err_oom(err);
                if (properties_add(&w->properties, l->file, whole, err) < 0)
                        return -1;
        }
        return w->resources.n_devices == 0 ? 0 :
                properties_add_devices(&w->properties, w->resources.devices, w->resources.n_devices, err);
}

/* The directory's own: what systemd does not do. */
static int apply(const struct driver *d, const char *group, struct wanted *w, struct cringle_err *err)
{
        const struct cringle_resources *r = &w->resources;

        if (limits_apply(&w->limits, group, err) < 0)
                return -1;
        if (r->n_devices > 0 && devices_apply(d->trees, group, r->devices, r->n_devices, err) < 0) {
                limits_revert(&w->limits, group);
                return err_wrap(err, "devices");
        }
        return 0;
}

/* A quota or a period alone says half of what systemd wants to hear: the file knows the other half by now. */
static int complete_quota(const struct driver *d, const char *group, struct wanted *w, struct cringle_err *err)
{
        auto_buf now = BUF_INIT;

        if (w->resources.cpu_quota == CRINGLE_UNSET && w->resources.cpu_period == CRINGLE_UNSET)
                return 0;
        if (tree_read(d->scopes.tree, group, "cpu.max", &now, err) < 0)
                return -1;
        if (!now.len)
                return 0;
        now.data[strcspn(now.data, "\n")] = '\0';
        return properties_add(&w->properties, "cpu.max", now.data, err);
}

/* --- create, update --- */

static int make_scope(struct driver *d, const struct cringle_call *call, const struct place *p, struct wanted *w,
                      struct cringle_err *err)
{
        auto_properties none = { 0 };
        int r;

        /* A unit that is told nothing gets systemd's default limit on tasks. */
        if (properties_add(&none, "pids.max", "max", err) < 0)
                return -1;
        if (!p->shared) {
                if (w->resources.pids_limit == CRINGLE_UNSET && properties_add(&w->properties, "pids.max", "max", err) < 0)
                        return -1;
                return scope_make(&d->scopes, call, p, &w->properties, err);
        }
        pthread_mutex_lock(&d->shared);
        r = scope_make(&d->scopes, call, p, &none, err);
        pthread_mutex_unlock(&d->shared);
        return r;
}

static int make_group(struct driver *d, const struct cringle_call *call, const struct place *p, struct wanted *w,
                      bool told, struct cringle_err *err)
{
        int made = tree_make(d->scopes.tree, p->group, err);

        if (made < 0)
                return -1;
        if (apply(d, p->group, w, err) == 0 &&
            (told || p->shared || bus_set_properties(d->scopes.bus, call, p->unit, &w->properties, err) == 0))
                return 0;
        if (made)
                ending_destroy(d->trees, call, p->group, NULL);
        return -1;
}

static int driver_make(void *self, const struct cringle_call *outer, const char *parent, const char *id,
                       const struct cringle_resources *resources, struct cringle_cgroup_dirs *ret,
                       struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call call = call_within(outer, PATIENCE);
        auto_wanted w = { .resources = CRINGLE_RESOURCES_INIT };
        auto_place p = { 0 };
        int started;

        if (place_find(&d->naming, parent, id, &p, err) < 0 || plan(d, resources, &w, err) < 0 || call_check(outer, err) < 0)
                return -1;
        started = make_scope(d, &call, &p, &w, err);
        if (started < 0)
                return err_wrap(err, "cgroup %s/%s", p.slice, p.unit);
        if (make_group(d, &call, &p, &w, started, err) < 0 || fill_dirs(d, &p, ret, err) < 0) {
                if (started && !p.shared)
                        scope_end(&d->scopes, &call, &p, NULL);
                return err_wrap(err, "cgroup %s/%s", p.slice, p.unit);
        }
        return 0;
}

/*
 * The directory first: the kernel judges every value there, and both levels have to
 * allow what is allowed, so that between the two steps there is less than was and
 * will be, never more.
 */
static int driver_update(void *self, const struct cringle_call *call, const char *parent, const char *id,
                         const struct cringle_resources *resources, struct cringle_err *err)
{
        struct driver *d = self;
        auto_wanted w = { .resources = CRINGLE_RESOURCES_INIT };
        auto_place p = { 0 };

        if (place_find(&d->naming, parent, id, &p, err) < 0)
                return -1;
        if (!tree_has(d->scopes.tree, p.group))
                return err_set(err, CRINGLE_E_NOT_FOUND, "no cgroup %s/%s", d->scopes.tree->mount, p.group);
        if (plan(d, resources, &w, err) < 0 || apply(d, p.group, &w, err) < 0)
                return err_wrap(err, "cgroup %s/%s", p.slice, p.unit);
        if (p.shared)
                return 0;
        if (complete_quota(d, p.group, &w, err) < 0 ||
            bus_set_properties(d->scopes.bus, call, p.unit, &w.properties, err) < 0) {
                limits_revert(&w.limits, p.group);
                return err_wrap(err, "cgroup %s/%s", p.slice, p.unit);
        }
        return 0;
}

static int driver_stats(void *self, const char *parent, const char *id, struct cringle_cgroup_stats *ret,
                        struct cringle_err *err)
{
        struct driver *d = self;
        auto_place p = { 0 };

        /* Of a parent alone: any name will do to find its slice. */
        if (place_find(&d->naming, parent, id ? id : "any", &p, err) < 0)
                return -1;
        return stats_read(d->trees, id ? p.group : p.shared ? p.scope : p.slice_dir, ret, err);
}

/* --- ending --- */

static int driver_kill(void *self, const struct cringle_call *call, const char *parent, const char *id,
                       struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call within = call_within(call, PATIENCE);
        auto_place p = { 0 };

        return place_find(&d->naming, parent, id, &p, err) < 0 ? -1 : ending_kill(d->trees, &within, p.group, err);
}

static int driver_freeze(void *self, const struct cringle_call *call, const char *parent, const char *id, int frozen,
                         struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call within = call_within(call, PATIENCE);
        auto_place p = { 0 };

        return place_find(&d->naming, parent, id, &p, err) < 0 ? -1 : ending_freeze(d->trees, &within, p.group, frozen, err);
}

static int driver_remove(void *self, const struct cringle_call *call, const char *parent, const char *id,
                         struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_call within = call_within(call, PATIENCE);
        auto_place p = { 0 };

        if (place_find(&d->naming, parent, id, &p, err) < 0)
                return -1;
        return p.shared ? ending_destroy(d->trees, &within, p.group, err) : scope_end(&d->scopes, &within, &p, err);
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
        { "mount_point", CRINGLE_PATH, "/sys/fs/cgroup", "where the cgroup v2 hierarchy is mounted" },
        { "prefix", CRINGLE_STRING, "cringle", "what names of scopes begin with" },
        { "slice", CRINGLE_STRING, "cringle.slice", "slice of monitors, and of pods for which the kubelet names none" },
        { "address", CRINGLE_STRING, "unix:path=/run/dbus/system_bus_socket", "where D-Bus is" },
        { "timeout", CRINGLE_INTEGER, "30", "how long systemd may take to start or stop a scope, in seconds" },
        { "hold", CRINGLE_PATH, CRINGLE_LIBEXECDIR "/cringle-hold", "the program that keeps a scope alive" },
        { 0 },
};

CRINGLE_PLUGIN(cgroup_systemd,
        .kind = CRINGLE_CGROUP,
        .name = "cgroup-systemd",
        .major = CRINGLE_CGROUP_MAJOR,
        .minor = CRINGLE_CGROUP_MINOR,
        .help = "cgroups through systemd's scopes and slices, v2",
        .settings = schema,
        .probe = driver_probe,
        .create = driver_create,
        .start = driver_start,
        .destroy = driver_destroy,
        .ops = &ops);
