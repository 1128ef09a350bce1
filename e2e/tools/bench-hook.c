/*
 * A native hook for e2e/bench: called at every point of a pod's life, and setting one variable
 * in each container, as a hook does that has something to do.  NAME is its own: ten are wanted.
 */

#include <api/hook.h>

#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x)
#define PLUGIN(...) CRINGLE_PLUGIN(__VA_ARGS__)         /* expands NAME first */

static int run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->point == CRINGLE_CONTAINER_CREATE ? ev->set_env(ev, "BENCH_" QUOTE(NAME), "here", err) : 0;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_POINTS) - 2,       /* all of them; they count from one */
        .run = run,
};

PLUGIN(NAME,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "sets a variable",
        .ops = &ops);
