/*
 * cringle ps: pods and, below each, its containers.
 */

#include <stdio.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/cli/cli.h"

static int add_pod(struct table *table, const Cri__PodSandbox *pod, struct cringle_err *err)
{
        auto_free char *name = str_printf(err, "%s/%s", pod->metadata ? pod->metadata->namespace_ : "",
                                          pod->metadata ? pod->metadata->name : "");
        char id[CLI_TEXT_MAX], age[CLI_TEXT_MAX];

        if (!name)
                return -1;
        return table_row(table, err, ROW(name, cli_short_id(pod->id, id),
                                         pod->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY ? "ready" : "not ready",
                                         cli_age(pod->created_at, age), ""));
}

static int add_container(struct table *table, const Cri__Container *k, struct cringle_err *err)
{
        auto_free char *name = str_printf(err, "  %s", k->metadata ? k->metadata->name : "");
        char id[CLI_TEXT_MAX], age[CLI_TEXT_MAX];

        if (!name)
                return -1;
        return table_row(table, err, ROW(name, cli_short_id(k->id, id), cli_container_state(k->state),
                                         cli_age(k->created_at, age),
                                         k->image && *k->image->user_specified_image ? k->image->user_specified_image
                                         : k->image                                  ? k->image->image
                                                                                     : ""));
}

int verb_ps(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        auto_reply(Cri__ListContainersResponse) list = NULL;
        auto_table table = { 0 };

        if (argc != 1)
                return cli_usage("ps");
        if (cli_list_pods(c, &pods, err) < 0 || cli_list_containers(c, NULL, &list, err) < 0 ||
            table_row(&table, err, ROW("NAME", "ID", "STATE", "AGE", "IMAGE")) < 0)
                return -1;

        for (size_t i = 0; i < pods->n_items; i++) {
                if (add_pod(&table, pods->items[i], err) < 0)
                        return -1;
                for (size_t j = 0; j < list->n_containers; j++)
                        if (strcmp(list->containers[j]->pod_sandbox_id, pods->items[i]->id) == 0 &&
                            add_container(&table, list->containers[j], err) < 0)
                                return -1;
        }
        table_print(&table);
        return 0;
}
