/*
 * cringle plugins list | inspect NAME: what the agent found, uses, or refused.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

static int list(const Admin__PluginsResponse *reply, struct cringle_err *err)
{
        auto_table table = { 0 };

        if (table_row(&table, err, ROW("NAME", "KIND", "STATE", "RUNS IN", "VERSION", "FROM", "ABOUT")) < 0)
                return -1;
        for (size_t i = 0; i < reply->n_plugins; i++) {
                const Admin__Plugin *p = reply->plugins[i];

                if (table_row(&table, err, ROW(p->name, p->kind, p->state, p->isolation, p->version, *p->file ? p->file : "built in",
                                               *p->message ? p->message : p->help)) < 0)
                        return -1;
        }
        table_print(&table);
        return 0;
}

static int inspect(const Admin__PluginsResponse *reply, const char *name, struct cringle_err *err)
{
        for (size_t i = 0; i < reply->n_plugins; i++) {
                const Admin__Plugin *p = reply->plugins[i];

                if (strcmp(p->name, name) != 0)
                        continue;
                printf("name:      %s\nkind:      %s\nversion:   %s\nfrom:      %s\nstate:     %s\nruns in:   %s\n",
                       p->name, p->kind, p->version, *p->file ? p->file : "built in", p->state, p->isolation);
                if (*p->message)
                        printf("message:   %s\n", p->message);
                printf("about:     %s\ncalls:     %" PRIu64 "\nfailures:  %" PRIu64 "\n", p->help, p->calls, p->failures);
                if (*p->slowest_call)
                        printf("slowest:   %s, %.3f s\n", p->slowest_call,
                               (double) p->slowest_nanoseconds / (double) NSEC_PER_SEC);
                return 0;
        }
        return err_set(err, CRINGLE_E_NOT_FOUND, "there is no plugin '%s'", name);
}

int verb_plugins(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        Admin__PluginsRequest request = ADMIN__PLUGINS_REQUEST__INIT;
        auto_reply(Admin__PluginsResponse) reply = NULL;
        bool is_list = argc == 2 && strcmp(argv[1], "list") == 0;

        if (!is_list && (argc != 3 || strcmp(argv[1], "inspect") != 0))
                return cli_usage("plugins list | inspect NAME");
        if (cli_admin(c, "Plugins", &request, &reply, err) < 0)
                return -1;
        return is_list ? list(reply, err) : inspect(reply, argv[2], err);
}
