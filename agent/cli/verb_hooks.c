/*
 * cringle hooks list | explain FILE: the hooks in force, those that are not, and what they make of a pod.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/pod.h"

int verb_hooks(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        Admin__HooksRequest request = ADMIN__HOOKS_REQUEST__INIT;
        auto_reply(Admin__HooksResponse) reply = NULL;
        auto_table table = { 0 };

        if (argc >= 3 && argc <= 4 && strcmp(argv[1], "explain") == 0 && (argc == 3 || strcmp(argv[3], "--spec") == 0))
                return hooks_explain_file(c, argv[2], argc == 4, err);
        if (argc != 2 || strcmp(argv[1], "list") != 0)
                return cli_usage("hooks list | explain FILE [--spec]");
        if (cli_admin(c, "Hooks", &request, &reply, err) < 0 ||
            table_row(&table, err, ROW("NAME", "SOURCE", "STAGES", "FAILURE", "CALLS", "FAILED", "MEAN", "WHEN", "ORIGIN")) < 0)
                return -1;

        for (size_t i = 0; i < reply->n_hooks; i++) {
                const Admin__Hook *h = reply->hooks[i];
                char calls[CLI_TEXT_MAX], failures[CLI_TEXT_MAX], mean[CLI_TEXT_MAX] = "";

                snprintf(calls, sizeof calls, "%" PRIu64, h->calls);
                snprintf(failures, sizeof failures, "%" PRIu64, h->failures);
                if (h->calls && h->nanoseconds)
                        snprintf(mean, sizeof mean, "%.1fus", (double) h->nanoseconds / (double) h->calls / 1000);
                if (table_row(&table, err, ROW(h->name, h->source, h->stages, h->policy, calls, failures, mean, h->conditions,
                                               h->origin)) < 0)
                        return -1;
        }
        table_print(&table);
        for (size_t i = 0; i < reply->n_hooks; i++)
                if (*reply->hooks[i]->last_failure)
                        printf("%s failed last: %s\n", reply->hooks[i]->name, reply->hooks[i]->last_failure);
        for (size_t i = 0; i < reply->n_hooks; i++)
                if (*reply->hooks[i]->error)
                        printf("%s is not in force: %s\n", reply->hooks[i]->origin, reply->hooks[i]->error);
        return 0;
}
