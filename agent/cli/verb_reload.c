/*
 * cringle reload: the agent reads its configuration again; a bad one changes nothing.
 */

#include <stdio.h>

#include "agent/cli/cli.h"

int verb_reload(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        Admin__ReloadRequest request = ADMIN__RELOAD_REQUEST__INIT;
        auto_reply(Admin__ReloadResponse) reply = NULL;

        if (argc != 1)
                return cli_usage("reload");
        if (cli_admin(c, "Reload", &request, &reply, err) < 0)
                return -1;

        for (size_t i = 0; i < reply->n_applied; i++)
                printf("applied: %s\n", reply->applied[i]);
        for (size_t i = 0; i < reply->n_needs_restart; i++)
                printf("needs a restart: %s\n", reply->needs_restart[i]);
        if (!reply->n_applied && !reply->n_needs_restart)
                printf("nothing has changed\n");
        return 0;
}
