/*
 * skeleton-name: a cgroup driver
 *
 * A cgroup is named by (parent, id); where that is, the driver alone knows.
 * A place to begin: it loads and lives; what each operation must come to is
 * said in <cringle/cgroup.h>.
 */

#include <stdlib.h>

#include <cringle/cgroup.h>

struct skeleton {
        const struct cringle_host *host;        /* log, count, spawn, directories */
};

static int not_yet(const char *operation, struct cringle_err *err)
{
        return cringle_fail(err, CRINGLE_E_UNIMPLEMENTED, "%s is not written", operation);
}

static int skeleton_layout(void *self)
{
        return CRINGLE_CGROUP_V2;
}

static const char *skeleton_driver(void *self)
{
        return "cgroupfs";
}

static int skeleton_path(void *self, const char *parent, const char *id, struct cringle_cgroup_dirs *ret,
                         struct cringle_err *err)
{
        return not_yet("path", err);
}

static int skeleton_create(void *self, const struct cringle_call *call, const char *parent, const char *id,
                           const struct cringle_resources *resources, struct cringle_cgroup_dirs *ret,
                           struct cringle_err *err)
{
        return not_yet("create", err);
}

static int skeleton_update(void *self, const struct cringle_call *call, const char *parent, const char *id,
                           const struct cringle_resources *resources, struct cringle_err *err)
{
        return not_yet("update", err);
}

static int skeleton_stats(void *self, const char *parent, const char *id, struct cringle_cgroup_stats *ret,
                          struct cringle_err *err)
{
        return not_yet("stats", err);
}

static int skeleton_kill(void *self, const struct cringle_call *call, const char *parent, const char *id,
                         struct cringle_err *err)
{
        return not_yet("kill", err);
}

static int skeleton_freeze(void *self, const struct cringle_call *call, const char *parent, const char *id,
                           int frozen, struct cringle_err *err)
{
        return not_yet("freeze", err);
}

static int skeleton_destroy(void *self, const struct cringle_call *call, const char *parent, const char *id,
                            struct cringle_err *err)
{
        return not_yet("destroy", err);
}

static void skeleton_free_dirs(struct cringle_cgroup_dirs *dirs)
{
        free(dirs->oci_path);
        free(dirs->unified);
        for (size_t i = 0; dirs->v1 && dirs->v1[i]; i++)
                free(dirs->v1[i]);
        free(dirs->v1);
        *dirs = (struct cringle_cgroup_dirs) { .size = sizeof *dirs };
}

static int plugin_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                         struct cringle_err *err)
{
        struct skeleton *s = calloc(1, sizeof *s);

        if (!s)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        s->host = host;

        *ret_self = s;
        return 0;
}

static void plugin_destroy(void *self)
{
        free(self);
}

static const struct cringle_cgroup_ops ops = {
        .size = sizeof ops,
        .layout = skeleton_layout,
        .driver = skeleton_driver,
        .path = skeleton_path,
        .create = skeleton_create,
        .update = skeleton_update,
        .stats = skeleton_stats,
        .kill = skeleton_kill,
        .freeze = skeleton_freeze,
        .destroy = skeleton_destroy,
        .free_dirs = skeleton_free_dirs,
};

CRINGLE_PLUGIN(skeleton,
        .kind = CRINGLE_CGROUP,
        .name = "skeleton-name",
        .major = CRINGLE_CGROUP_MAJOR,
        .minor = CRINGLE_CGROUP_MINOR,
        .help = "a cgroup driver",
        .create = plugin_create,
        .destroy = plugin_destroy,
        .ops = &ops);
