/*
 * A network that gives everybody the same address; see fake.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "plugins/api/network.h"
#include "tests/support/fake_inside.h"

static int status(void *self, const struct cringle_call *call, struct cringle_err *err)
{
        return fake_call("network.status", call, NULL, NULL, err);
}

static int attach(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                  struct cringle_network_result *ret, struct cringle_err *err)
{
        struct cringle_network_result result = { .size = sizeof result };

        if (fake_call("network.attach", call, pod->id, NULL, err) < 0)
                return -1;
        result.interface = strdup("eth0");
        if (!result.interface || strv_add(&result.ips, "192.0.2.1", err) < 0 ||
            strv_add(&result.ips, "2001:db8::1", err) < 0)
                abort();
        fake_put("attachment", pod->id, 0);
        *ret = result;
        return 0;
}

static int detach(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                  struct cringle_err *err)
{
        if (fake_call("network.detach", call, pod->id, NULL, err) < 0)
                return -1;
        fake_drop("attachment", pod->id);
        return 0;
}

static int check(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                 struct cringle_err *err)
{
        return fake_call("network.check", call, pod->id, NULL, err);
}

static int gc(void *self, const struct cringle_call *call, const char *const *valid, struct cringle_err *err)
{
        if (fake_call("network.gc", call, NULL, NULL, err) < 0)
                return -1;
        fake_drop_others("attachment", valid);
        return 0;
}

static void free_result(struct cringle_network_result *result)
{
        strv_free(result->ips);
        free(result->interface);
        *result = (struct cringle_network_result) { .size = sizeof *result };
}

static const struct cringle_network_ops ops = {
        .size = sizeof ops,
        .status = status,
        .attach = attach,
        .detach = detach,
        .check = check,
        .gc = gc,
        .free_result = free_result,
};

CRINGLE_PLUGIN(fake_network,
        .kind = CRINGLE_NETWORK,
        .name = "fake-network",
        .major = CRINGLE_NETWORK_MAJOR,
        .ops = &ops);
