/*
 * skeleton-name: a network
 *
 * attach() writes down what it is going to do before it does it, so that detach() works
 * after any crash.
 * A place to begin: it loads and lives; what each operation must come to is
 * said in <cringle/network.h>.
 */

#include <stdlib.h>

#include <cringle/network.h>

struct skeleton {
        const struct cringle_host *host;        /* log, count, spawn, directories */
};

static int not_yet(const char *operation, struct cringle_err *err)
{
        return cringle_fail(err, CRINGLE_E_UNIMPLEMENTED, "%s is not written", operation);
}

static int skeleton_status(void *self, const struct cringle_call *call, struct cringle_err *err)
{
        return not_yet("status", err);
}

static int skeleton_attach(void *self, const struct cringle_call *call,
                           const struct cringle_network_pod *pod, struct cringle_network_result *ret,
                           struct cringle_err *err)
{
        return not_yet("attach", err);
}

static int skeleton_detach(void *self, const struct cringle_call *call,
                           const struct cringle_network_pod *pod, struct cringle_err *err)
{
        return not_yet("detach", err);
}

static int skeleton_check(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                          struct cringle_err *err)
{
        return not_yet("check", err);
}

static int skeleton_gc(void *self, const struct cringle_call *call, const char *const *valid,
                       struct cringle_err *err)
{
        return not_yet("gc", err);
}

static void skeleton_free_result(struct cringle_network_result *result)
{
        for (size_t i = 0; result->ips && result->ips[i]; i++)
                free(result->ips[i]);
        free(result->ips);
        free(result->interface);
        *result = (struct cringle_network_result) { .size = sizeof *result };
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

static const struct cringle_network_ops ops = {
        .size = sizeof ops,
        .status = skeleton_status,
        .attach = skeleton_attach,
        .detach = skeleton_detach,
        .check = skeleton_check,
        .gc = skeleton_gc,
        .free_result = skeleton_free_result,
};

CRINGLE_PLUGIN(skeleton,
        .kind = CRINGLE_NETWORK,
        .name = "skeleton-name",
        .major = CRINGLE_NETWORK_MAJOR,
        .minor = CRINGLE_NETWORK_MINOR,
        .help = "a network",
        .create = plugin_create,
        .destroy = plugin_destroy,
        .ops = &ops);
