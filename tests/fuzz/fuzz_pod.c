/* A pod manifest: what is taken has a message for the kubelet's side, and a refusal says why. */

#include <string.h>

#include "agent/cli/manifest.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct manifest_options options = {
                .log_dir = "/var/log/pods", .volumes_dir = "/v", .seccomp_dir = "/seccomp", .cgroup_parent = "", .uid = "uid-1",
                .resolv_conf = "nameserver 10.0.0.1\nsearch a.example\n", .node_memory = INT64_C(8) << 30,
        };
        auto_of(manifest) m = NULL;
        auto_buf complaints = BUF_INIT;
        int r = manifest_parse((const char *) data, size, "pod.yaml", &options, &m, &complaints, NULL);

        must(r != MANIFEST_REFUSED || complaints.len > 0);
        if (r != MANIFEST_READ)
                return 0;
        must(m && m->sandbox && *m->name && m->n_containers > m->n_init);
        for (size_t i = 0; i < m->n_containers; i++)
                must(m->containers[i].config);
        return 0;
}
