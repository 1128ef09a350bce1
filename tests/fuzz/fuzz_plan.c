/* A runtime specification to launch plans: what is taken makes a plan that can be read, and the same one again. */

#include <string.h>

#include "agent/oci/plan.h"
#include "agent/wire/plan.h"
#include "tests/fuzz/fuzz.h"

static void check_plan(const struct buf *plan)
{
        struct rec_cursor c, body;
        uint16_t tag;

        must(plan_open(plan->data, plan->len, &c, NULL) == 0);
        while (rec_next(&c, &tag, &body))
                must(tag >= PLAN_NAMESPACE && tag <= PLAN_MOUNT_LABEL);
        must(!c.bad);
}

static void compile(struct json_object *spec)
{
        static const char *const v1[] = { "/sys/fs/cgroup/memory/pod/c", NULL };
        const struct plan_options options = { .bundle = "/b", .id = "c", .cgroup_v1 = v1 };
        auto_buf plan = BUF_INIT, again = BUF_INIT;

        if (plan_compile(spec, &options, &plan, NULL) < 0)
                return;
        check_plan(&plan);
        must(plan_compile(spec, &options, &again, NULL) == 0);
        must(plan.len == again.len && memcmp(plan.data, again.data, plan.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const argv[] = { "/bin/sh", "-c", "x", NULL };
        auto_json spec = NULL;
        auto_buf exec = BUF_INIT;

        if (json_parse_bytes((const char *) data, size, &spec, NULL) < 0)
                return 0;
        compile(spec);
        if (plan_compile_exec(spec, argv, true, &exec, NULL) == 0)
                check_plan(&exec);
        return 0;
}
