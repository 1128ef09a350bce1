/*
 * cringle: the command
 *
 *      cringle [--config FILE] [--socket PATH] VERB ...
 *
 * One file per verb; this one has the table.
 */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/cli/cli.h"

static const struct verb {
        const char *name;
        verb_fn run;
        const char *help;
} verbs[] = {
        { "config", verb_config, "check, show, explain or document the configuration" },
        { "exec", verb_exec, "run a command in a container" },
        { "hooks", verb_hooks, "list hooks, explain what they make of a pod, trace their calls" },
        { "images", verb_images, "list, pull or remove images" },
        { "logs", verb_logs, "print a container's log" },
        { "plugin", verb_plugin, "begin a plugin, or test one" },
        { "plugins", verb_plugins, "list or inspect plugins" },
        { "pod", verb_pod, "run a pod from a manifest, remove or list pods" },
        { "ps", verb_ps, "list pods and their containers" },
        { "reload", verb_reload, "make the agent read its configuration again" },
        { "status", verb_status, "how the agent is, and what it does" },
        { 0 },
};

static void print_help(FILE *out)
{
        fprintf(out, "usage: cringle [--config FILE] [--socket PATH] VERB ...\n\n");
        for (const struct verb *v = verbs; v->name; v++)
                fprintf(out, "  %-10s%s\n", v->name, v->help);
        fprintf(out, "\n  cringle --version, cringle --help\n");
}

static const struct verb *find_verb(const char *name)
{
        for (const struct verb *v = verbs; v->name; v++)
                if (strcmp(v->name, name) == 0)
                        return v;

        return NULL;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "config", required_argument, NULL, 'c' },
                { "socket", required_argument, NULL, 's' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cli cli = { .cancel_fd = -1 };
        const struct verb *verb;
        int option, result;

        signal(SIGPIPE, SIG_IGN);       /* an agent that goes away is an error, not our end */
        while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
                switch (option) {
                case 'c':
                        cli.config_file = optarg;
                        break;
                case 's':
                        cli.socket = optarg;
                        break;
                case 'h':
                        print_help(stdout);
                        return 0;
                case 'v':
                        printf("cringle %s\n", CRINGLE_VERSION);
                        return 0;
                default:
                        print_help(stderr);
                        return CLI_USAGE;
                }
        }
        if (optind == argc) {
                print_help(stderr);
                return CLI_USAGE;
        }
        verb = find_verb(argv[optind]);
        if (!verb) {
                fprintf(stderr, "cringle: there is no verb '%s'\n", argv[optind]);
                print_help(stderr);
                return CLI_USAGE;
        }

        argc -= optind;
        argv += optind;
        result = verb->run(&cli, argc, argv, &err);
        if (result < 0)
                fprintf(stderr, "cringle: %s\n", err.text);
        rpc_client_free(cli.client);
        config_free(cli.config);
        if (fflush(stdout) != 0) {
                fprintf(stderr, "cringle: write: %s\n", strerror(errno));
                return 1;
        }
        return result < 0 ? 1 : result;
}
