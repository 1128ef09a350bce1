/*
 * cringle plugin new KIND NAME [DIRECTORY] | test FILE ...: for those who write plugins.
 * Neither needs an agent.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/cli/cli.h"
#include "agent/cli/plugin.h"

#define CHECK_TIMEOUT (10 * NSEC_PER_SEC)

static int usage(void)
{
        return cli_usage("plugin new image|cgroup|network|executor|hook NAME [DIRECTORY]\n"
                         "       cringle plugin test FILE.so [--settings KEY=VALUE]... [--annotation KEY=VALUE]...\n"
                         "                           [--env NAME=VALUE]... [--timeout SECONDS] [--show]");
}

/* Pairs under way; the texts are argv's, cut at their '='. */
struct pairs {
        struct cringle_pair *list;
        size_t n;
};

static int add_pair(struct pairs *p, char *text, const char *option, struct cringle_err *err)
{
        char *equals = strchr(text, '=');

        if (!equals || equals == text)
                return err_set(err, CRINGLE_E_INVALID, "%s: want KEY=VALUE, found '%s'", option, text);
        *equals = '\0';
        p->list[p->n++] = (struct cringle_pair) { text, equals + 1 };
        return 0;
}

static int take_option(int option, struct plugin_test *t, struct pairs *settings, struct pairs *annotations, char ***env,
                       struct cringle_err *err)
{
        int64_t seconds;

        switch (option) {
        case 's':
                return add_pair(settings, optarg, "--settings", err);
        case 'a':
                return add_pair(annotations, optarg, "--annotation", err);
        case 'e':
                return strv_add(env, optarg, err);
        case 't':
                if (str_int64(optarg, 1, 3600, &seconds, err) < 0)
                        return err_wrap(err, "--timeout");
                t->timeout = seconds * NSEC_PER_SEC;
                return 0;
        case 'w':
                t->show = true;
                return 0;
        default:
                return 1;
        }
}

static int test(int argc, char **argv, struct cringle_err *err)
{
        static const struct option options[] = {
                { "settings", required_argument, NULL, 's' },   { "annotation", required_argument, NULL, 'a' },
                { "env", required_argument, NULL, 'e' },        { "timeout", required_argument, NULL, 't' },
                { "show", no_argument, NULL, 'w' },             { 0 },
        };
        auto_free struct cringle_pair *settings_list = calloc((size_t) argc + 1, sizeof *settings_list);
        auto_free struct cringle_pair *annotations_list = calloc((size_t) argc + 1, sizeof *annotations_list);
        struct pairs settings = { .list = settings_list }, annotations = { .list = annotations_list };
        struct plugin_test t = { .settings = settings_list, .annotations = annotations_list, .timeout = CHECK_TIMEOUT };
        auto_free char *path = NULL;
        auto_strv env = NULL;
        size_t failed;
        int option, r;

        if (!settings_list || !annotations_list)
                return err_oom(err);
        optind = 0;             /* main() has used getopt before */
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                r = take_option(option, &t, &settings, &annotations, &env, err);
                if (r != 0)
                        return r < 0 ? -1 : usage();
        }
        if (optind + 1 != argc)
                return usage();
        path = realpath(argv[optind], NULL);    /* dlopen() would search a bare name elsewhere */
        if (!path)
                return err_sys(err, "%s", argv[optind]);
        t.file = path;
        t.env = (const char *const *) env;
        if (plugin_test(&t, &failed, err) < 0)
                return -1;
        if (failed)
                printf("%zu failed\n", failed);
        else
                printf("all passed\n");
        return failed ? 1 : 0;
}

int verb_plugin(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        if (argc >= 2 && strcmp(argv[1], "test") == 0)
                return test(argc - 1, argv + 1, err);
        if ((argc == 4 || argc == 5) && strcmp(argv[1], "new") == 0)
                return plugin_new(argv[2], argv[3], argc == 5 ? argv[4] : argv[3], err);
        return usage();
}
