/*
 * A hook that is asked at every point, and refuses where it is made to; see fake.h.
 * Its calls are called "hook.pod-run" and so on.
 */

#include "plugins/api/hook.h"
#include "tests/support/fake_inside.h"

static const char *const names[CRINGLE_POINTS] = {
        [CRINGLE_POD_RUN] = "hook.pod-run",
        [CRINGLE_CONTAINER_CREATE] = "hook.container-create",
        [CRINGLE_CONTAINER_CREATED] = "hook.container-created",
        [CRINGLE_CONTAINER_START] = "hook.container-start",
        [CRINGLE_CONTAINER_STARTED] = "hook.container-started",
        [CRINGLE_CONTAINER_STOP] = "hook.container-stop",
        [CRINGLE_CONTAINER_STOPPED] = "hook.container-stopped",
        [CRINGLE_CONTAINER_REMOVE] = "hook.container-remove",
        [CRINGLE_POD_STOP] = "hook.pod-stop",
        [CRINGLE_POD_REMOVE] = "hook.pod-remove",
};

static int run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        if (fake_call(names[ev->point], ev->call, ev->pod_id, ev->container_id, err) < 0)
                return -1;
        return ev->point == CRINGLE_CONTAINER_CREATE ? ev->set_env(ev, "FAKE_HOOK", "was here", err) : 0;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_POINTS) - CRINGLE_AT(CRINGLE_POD_RUN),     /* all of them */
        .run = run,
};

CRINGLE_PLUGIN(fake_hook,
        .kind = CRINGLE_HOOK,
        .name = "fake-hook",
        .major = CRINGLE_HOOK_MAJOR,
        .ops = &ops);
