/*
 * A cgroup driver that only remembers; see fake.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "plugins/api/cgroup.h"
#include "tests/support/fake.h"
#include "tests/support/fake_inside.h"

static const char *top = "";

void fake_move_cgroups(const char *where)
{
        top = where;
}

static int layout(void *self)
{
        return CRINGLE_CGROUP_V2;
}

static const char *driver(void *self)
{
        return "cgroupfs";
}

static int path(void *self, const char *parent, const char *id, struct cringle_cgroup_dirs *ret,
                struct cringle_err *err)
{
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };

        dirs.oci_path = str_printf(err, "%s%s/%s", top, parent, id);
        dirs.unified = str_printf(err, "/sys/fs/cgroup%s%s/%s", top, parent, id);
        if (!dirs.oci_path || !dirs.unified)
                abort();
        *ret = dirs;
        return 0;
}

static int create(void *self, const struct cringle_call *call, const char *parent, const char *id,
                  const struct cringle_resources *resources, struct cringle_cgroup_dirs *ret, struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];

        if (fake_call("cgroup.create", call, parent, id, err) < 0)
                return -1;
        fake_put("cgroup", fake_key(key, parent, id), 0);
        return path(self, parent, id, ret, err);
}

static int update(void *self, const struct cringle_call *call, const char *parent, const char *id,
                  const struct cringle_resources *resources, struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];

        if (fake_call("cgroup.update", call, parent, id, err) < 0)
                return -1;
        if (!fake_get("cgroup", fake_key(key, parent, id), NULL))
                return cringle_fail(err, CRINGLE_E_NOT_FOUND, "no cgroup %s/%s", parent, id);
        fake_put("cgroup", key, resources->memory_limit == CRINGLE_UNSET ? 0 : (int) (resources->memory_limit >> 20));
        return 0;
}

/* Whatever it is, one processor is busy with it all the time. */
static int stats(void *self, const char *parent, const char *id, struct cringle_cgroup_stats *ret,
                 struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];
        struct cringle_cgroup_stats s = *ret;

        if (id && !fake_get("cgroup", fake_key(key, parent, id), NULL))
                return cringle_fail(err, CRINGLE_E_NOT_FOUND, "no cgroup %s/%s", parent, id);
        s.cpu_usage = clock_monotonic();
        s.memory_usage = FAKE_MEMORY_USAGE;
        s.memory_working_set = FAKE_MEMORY_WORKING_SET;
        s.memory_rss = FAKE_MEMORY_RSS;
        s.memory_limit = FAKE_MEMORY_LIMIT;
        s.pids = id ? 5 : 50;
        s.cpu_some = (struct cringle_pressure) { .total = 1000, .avg10 = 150, .avg60 = 25, .avg300 = 1 };
        memcpy(ret, &s, ret->size < sizeof s ? ret->size : sizeof s);
        return 0;
}

static int kill_all(void *self, const struct cringle_call *call, const char *parent, const char *id,
                    struct cringle_err *err)
{
        return fake_call("cgroup.kill", call, parent, id, err);
}

static int freeze(void *self, const struct cringle_call *call, const char *parent, const char *id, int frozen,
                  struct cringle_err *err)
{
        return fake_call("cgroup.freeze", call, parent, id, err);
}

static int destroy(void *self, const struct cringle_call *call, const char *parent, const char *id,
                   struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];

        if (fake_call("cgroup.destroy", call, parent, id, err) < 0)
                return -1;
        fake_drop("cgroup", fake_key(key, parent, id));
        return 0;
}

static void free_dirs(struct cringle_cgroup_dirs *dirs)
{
        free(dirs->oci_path);
        free(dirs->unified);
        *dirs = (struct cringle_cgroup_dirs) { .size = sizeof *dirs };
}

static const struct cringle_cgroup_ops ops = {
        .size = sizeof ops,
        .layout = layout,
        .driver = driver,
        .path = path,
        .create = create,
        .update = update,
        .stats = stats,
        .kill = kill_all,
        .freeze = freeze,
        .destroy = destroy,
        .free_dirs = free_dirs,
};

CRINGLE_PLUGIN(fake_cgroup,
        .kind = CRINGLE_CGROUP,
        .name = "fake-cgroup",
        .major = CRINGLE_CGROUP_MAJOR,
        .ops = &ops);
