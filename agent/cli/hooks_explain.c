/*
 * cringle hooks explain FILE: what the hooks would make of a pod's containers
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/pod.h"

static void print_steps(const Admin__ExplainResponse *reply)
{
        for (size_t i = 0; i < reply->n_steps; i++) {
                const Admin__HookStep *s = reply->steps[i];

                printf("  %s %s (%s%s%s): %s\n", s->matches ? "*" : "-", s->name, s->source,
                       *s->origin && strcmp(s->origin, s->name) != 0 ? ", " : "",
                       strcmp(s->origin, s->name) != 0 ? s->origin : "", s->why);
                for (size_t j = 0; j < s->n_changes; j++)
                        printf("      %s\n", s->changes[j]);
        }
        if (reply->n_owners)
                printf("  owners\n");
        for (size_t i = 0; i < reply->n_owners; i++)
                printf("      %s: %s\n", reply->owners[i]->field, reply->owners[i]->owner);
}

static void *packed(const ProtobufCMessage *message, size_t *ret_n)
{
        void *bytes = malloc(protobuf_c_message_get_packed_size(message) + 1);

        *ret_n = bytes ? protobuf_c_message_pack(message, bytes) : 0;
        return bytes;
}

static int explain(struct cli *c, const struct manifest *m, const struct manifest_container *container, bool spec,
                   struct cringle_err *err)
{
        Admin__ExplainRequest request = ADMIN__EXPLAIN_REQUEST__INIT;
        auto_reply(Admin__ExplainResponse) reply = NULL;
        auto_free void *pod = packed(&m->sandbox->base, &request.pod.len);
        auto_free void *config = packed(&container->config->base, &request.container.len);

        if (!pod || !config)
                return err_oom(err);
        request.pod.data = pod;
        request.container.data = config;
        if (cli_admin(c, "Explain", &request, &reply, err) < 0)
                return err_wrap(err, "container %s", container->name);
        if (spec && !*reply->error) {
                printf("%s\n", reply->spec);
                return 0;
        }
        printf("container %s\n", container->name);
        print_steps(reply);
        if (!*reply->error)
                return 0;
        printf("  refused: %s\n", reply->error);
        return 1;
}

int hooks_explain_file(struct cli *c, const char *file, bool spec, struct cringle_err *err)
{
        auto_of(manifest) m = NULL;
        int status = pod_read_manifest(c, file, (struct manifest_options) { .log_dir = "/var/log/pods" }, &m, err);

        for (size_t i = 0; status == 0 && i < m->n_containers; i++) {
                int r = explain(c, m, &m->containers[i], spec, err);

                if (r < 0)
                        return -1;
                status |= r;
        }
        return status;
}
