/*
 * Where a pod's cgroups are
 *
 * That depends on the request, on the configuration, and on the driver and its settings.  It is decided once, when the
 * pod is made, and kept in its row: what a later configuration says must not make us look for processes where they are
 * not.  Parents are the pod's own from then on.  What we cannot keep, the driver's own way to name cgroups, is
 * compared when the agent starts.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/guard.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

static const char *parent_asked(const Cri__RunPodSandboxRequest *request)
{
        const Cri__LinuxPodSandboxConfig *linux = request->config->linux;

        return linux && !str_empty(linux->cgroup_parent) ? linux->cgroup_parent : NULL;
}

static char *path_of(const struct host_cgroup *cgroup, const char *parent, const char *id, struct cringle_err *err)
{
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
        char *path;

        if (cgroup->ops->path(cgroup->self, parent, id, &dirs, err) < 0)
                return NULL;
        path = steal(&dirs.oci_path);
        cgroup->ops->free_dirs(&dirs);
        return path;
}

int pods_check_cgroup_parent(const struct pods *pods, const Cri__RunPodSandboxRequest *request, struct cringle_err *err)
{
        const char *parent = parent_asked(request);
        auto_free char *path = NULL;

        if (!parent)
                return 0;
        path = path_of(&pods->cgroup, parent, "pod", err);
        return path ? 0 : -1;
}

/* The name of the monitor's own cgroup: not the pod's, whose limits and OOM kills must not reach it. */
static char *monitor_cgroup(const struct pod *pod, struct cringle_err *err)
{
        return str_printf(err, "monitor-%s", pod->id);
}

/* How the driver names the cgroups of the monitor and of a container; the caller's. */
static char *place_of(const struct pod *pod, struct cringle_err *err)
{
        const struct host_cgroup *cgroup = &pod->pods->cgroup;
        auto_free char *name = monitor_cgroup(pod, err), *monitor = NULL, *container = NULL;

        if (!name)
                return NULL;
        monitor = path_of(cgroup, pod->monitor_parent, name, err);
        container = monitor ? path_of(cgroup, pod->cgroup_parent, pod->id, err) : NULL;
        return container ? str_printf(err, "%s and %s", monitor, container) : NULL;
}

int pod_place(struct pod *pod, struct cringle_err *err)
{
        const struct pods *pods = pod->pods;
        const char *parent = GUARD(asked_parent) && !pod->rebooted ? parent_asked(pod->request) : NULL;

        pod->cgroup_parent = strdup(parent ? parent : pods->policy->default_parent);
        pod->monitor_parent = strdup(pods->monitor_parent);
        if (!pod->cgroup_parent || !pod->monitor_parent)
                return err_oom(err);
        pod->place = place_of(pod, err);
        return pod->place ? 0 : -1;
}

int pod_place_again(struct pod *pod, const struct stored *row, struct cringle_err *err)
{
        const Cri__PodSandboxMetadata *m = pod->request->config->metadata;
        auto_free char *now = NULL;

        if (pod->rebooted || !row->place)
                return pod_place(pod, err);

        pod->cgroup_parent = strdup(row->cgroup_parent);
        pod->monitor_parent = strdup(row->monitor_parent);
        pod->place = strdup(row->place);
        if (!pod->cgroup_parent || !pod->monitor_parent || !pod->place)
                return err_oom(err);
        now = place_of(pod, err);
        if (now && strcmp(now, pod->place) == 0)
                return 0;
        return err_set(err, CRINGLE_E_PRECONDITION,
                       "pod %s/%s has its cgroups at %s, and section cgroup of the configuration has changed since%s%s: set the "
                       "driver and its settings back until all pods are removed, or reboot", m->namespace_, m->name, pod->place,
                       now ? "; now it says " : "", now ? now : "");
}

int pod_make_monitor_cgroup(struct pod *pod, const struct cringle_call *call, struct cringle_cgroup_dirs *ret,
                            struct cringle_err *err)
{
        const struct host_cgroup *cgroup = &pod->pods->cgroup;
        const char *parent = GUARD(monitor_apart) ? pod->monitor_parent : pod->cgroup_parent;
        auto_free char *id = monitor_cgroup(pod, err);

        return id ? cgroup->ops->create(cgroup->self, call, parent, id, NULL, ret, err) : -1;
}

int pod_drop_monitor_cgroup(struct pod *pod, const struct cringle_call *call, struct cringle_err *err)
{
        const struct host_cgroup *cgroup = &pod->pods->cgroup;
        auto_free char *id = monitor_cgroup(pod, err);

        return id ? cgroup->ops->destroy(cgroup->self, call, pod->monitor_parent, id, err) : -1;
}
