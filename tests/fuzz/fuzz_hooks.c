/* A file of hooks.d, as a rule, matched, described, and added to a specification. */

#include <string.h>
#include <sys/stat.h>

#include "agent/base/json.h"
#include "hooks/dir.h"
#include "tests/fuzz/fuzz.h"

static void try_rule(struct rule *r)
{
        static const struct cringle_pair annotations[] = { { "io.example/key", "true" }, { NULL, NULL } };
        static const struct rule_subject subject = {
                .annotations = annotations, .command = "/bin/sh", .space = "default", .image = "docker.io/library/busybox:latest",
                .labels = annotations, .pod = "web", .container = "main", .handler = "", .has_bind_mounts = true,
        };
        auto_buf text = BUF_INIT, why = BUF_INIT;
        auto_json spec = json_object_new_object();

        must(r->path && r->path[0] == '/' && r->stages && r->stages < 1u << STAGES);
        rule_matches(r, &subject);
        must(rule_describe(r, &text, NULL) == 0);
        must(rule_explain(r, &subject, &why, NULL) == 0);
        must(rule_add_to(r, spec, 10, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *dirs[] = { fuzz_scratch(), NULL };
        struct rules rules = { 0 };

        fuzz_write("hook.json", data, size);
        must(dir_read(dirs, &rules, NULL) == 0 && rules.n == 1);
        if (!rules.list[0].error)
                try_rule(&rules.list[0]);
        rules_done(&rules);
        return 0;
}
