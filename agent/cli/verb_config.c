/*
 * cringle config: everything about the configuration that needs no agent.
 */

#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

static int check(struct cli *c, struct cringle_err *err)
{
        auto_buf complaints = BUF_INIT;

        if (config_check(c->config_file, NULL, &complaints, err) < 0)
                return -1;
        if (complaints.len) {
                fputs(complaints.data, stderr);
                return 1;
        }
        printf("the configuration is in order\n");
        return 0;
}

int verb_config(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        static const char usage[] = "config check | show [--origin] | explain KEY | defaults | document";
        const char *word = argc > 1 ? argv[1] : "";
        auto_buf text = BUF_INIT;
        int result;

        if (strcmp(word, "check") == 0 && argc == 2)
                return check(c, err);
        if (strcmp(word, "show") == 0 && (argc == 2 || (argc == 3 && strcmp(argv[2], "--origin") == 0)))
                result = config_show(c->config_file, NULL, argc == 3, &text, err);
        else if (strcmp(word, "explain") == 0 && argc == 3)
                result = config_explain(argv[2], &text, err);
        else if (strcmp(word, "defaults") == 0 && argc == 2)
                result = config_defaults(&text, err);
        else if (strcmp(word, "document") == 0 && argc == 2)
                result = config_document(&text, err);
        else
                return cli_usage(usage);

        if (result < 0)
                return -1;
        fwrite(text.data, 1, text.len, stdout);
        return 0;
}
