/*
 * cringle hooks list | explain FILE | trace: the hooks in force, those that are not, what they make of a pod, and
 * what becomes of their calls.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/cli/pod.h"

#define USAGE "hooks list [-o json] | explain FILE [--spec] | trace [--pod POD] [--hook NAME] [-o json]"

/* "12.3us", "1.5s". */
static const char *duration(uint64_t nanoseconds, char text[static CLI_TEXT_MAX])
{
        if (nanoseconds < 1000 * 1000)
                snprintf(text, CLI_TEXT_MAX, "%.1fus", (double) nanoseconds / 1e3);
        else if (nanoseconds < 1000 * 1000 * 1000)
                snprintf(text, CLI_TEXT_MAX, "%.1fms", (double) nanoseconds / 1e6);
        else
                snprintf(text, CLI_TEXT_MAX, "%.3gs", (double) nanoseconds / 1e9);
        return text;
}

static const char *number(uint64_t value, char text[static CLI_TEXT_MAX])
{
        snprintf(text, CLI_TEXT_MAX, "%" PRIu64, value);
        return text;
}

/* Whether it is a thing that containers are given, not only one that is called. */
static bool is_added(const Admin__Hook *h)
{
        return strcmp(h->source, "plugin") != 0 && strcmp(h->source, "nri") != 0;
}

static int add_row(struct table *table, const Admin__Hook *h, struct cringle_err *err)
{
        char order[CLI_TEXT_MAX] = "-", timeout[CLI_TEXT_MAX] = "", added[CLI_TEXT_MAX] = "", calls[CLI_TEXT_MAX];
        char failures[CLI_TEXT_MAX], timeouts[CLI_TEXT_MAX], mean[CLI_TEXT_MAX] = "", longest[CLI_TEXT_MAX] = "";
        char last[CLI_TEXT_MAX] = "", age[CLI_TEXT_MAX];

        if (h->order)
                number(h->order, order);
        if (h->timeout_nanoseconds)
                duration(h->timeout_nanoseconds, timeout);
        if (is_added(h))
                number(h->containers, added);
        if (h->calls) {
                duration(h->nanoseconds / h->calls, mean);
                duration(h->longest_nanoseconds, longest);
                snprintf(last, sizeof last, "%s %s ago", *h->last_failure ? "failed" : "ok", cli_age(h->last_at, age));
        }
        return table_row(table, err,
                         ROW(h->name, h->source, order, h->stages, h->policy, h->isolation, timeout, added, number(h->calls, calls),
                             number(h->failures, failures), number(h->timeouts, timeouts), mean, longest, last, h->conditions,
                             h->origin));
}

static int print_table(const Admin__HooksResponse *reply, struct cringle_err *err)
{
        auto_table table = { 0 };

        if (table_row(&table, err, ROW("NAME", "SOURCE", "ORDER", "STAGES", "FAILURE", "RUNS IN", "LIMIT", "ADDED", "CALLS", "FAILED",
                                       "TIMED OUT", "MEAN", "LONGEST", "LAST", "WHEN", "ORIGIN")) < 0)
                return -1;
        for (size_t i = 0; i < reply->n_hooks; i++)
                if (add_row(&table, reply->hooks[i], err) < 0)
                        return -1;
        table_print(&table);
        for (size_t i = 0; i < reply->n_hooks; i++)
                if (*reply->hooks[i]->last_failure)
                        printf("%s failed last: %s\n", reply->hooks[i]->name, reply->hooks[i]->last_failure);
        for (size_t i = 0; i < reply->n_hooks; i++)
                if (*reply->hooks[i]->error)
                        printf("%s is not in force: %s\n", reply->hooks[i]->origin, reply->hooks[i]->error);
        return 0;
}

static struct json_object *hook_json(const Admin__Hook *h, struct cringle_err *err)
{
        auto_json o = json_object_new_object();
        const struct {
                const char *key, *text;
        } texts[] = {
                { "name", h->name }, { "source", h->source }, { "origin", h->origin }, { "stages", h->stages },
                { "failure", h->policy }, { "isolation", h->isolation }, { "when", h->conditions }, { "error", h->error },
                { "lastFailure", h->last_failure },
        };
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "order", h->order }, { "timeoutNanoseconds", h->timeout_nanoseconds }, { "containers", h->containers },
                { "calls", h->calls }, { "failures", h->failures }, { "timeouts", h->timeouts },
                { "nanoseconds", h->nanoseconds }, { "longestNanoseconds", h->longest_nanoseconds },
                { "lastNanoseconds", h->last_nanoseconds }, { "lastAt", (uint64_t) h->last_at },
        };

        if (!o) {
                err_oom(err);
                return NULL;
        }
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                if (json_set_string(o, texts[i].key, texts[i].text, err) < 0)
                        return NULL;
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                if (json_set_int(o, numbers[i].key, (int64_t) numbers[i].value, err) < 0)
                        return NULL;
        return steal(&o);
}

static int print_json(const Admin__HooksResponse *reply, struct cringle_err *err)
{
        auto_json list = json_object_new_array();
        auto_buf text = BUF_INIT;

        if (!list)
                return err_oom(err);
        for (size_t i = 0; i < reply->n_hooks; i++) {
                struct json_object *o = hook_json(reply->hooks[i], err);

                if (!o || json_add(list, o, err) < 0)
                        return -1;
        }
        if (json_write(list, &text, err) < 0)
                return -1;
        printf("%s\n", text.data);
        return 0;
}

static int list(struct cli *c, bool json, struct cringle_err *err)
{
        Admin__HooksRequest request = ADMIN__HOOKS_REQUEST__INIT;
        auto_reply(Admin__HooksResponse) reply = NULL;

        if (cli_admin(c, "Hooks", &request, &reply, err) < 0)
                return -1;
        return json ? print_json(reply, err) : print_table(reply, err);
}

static int trace(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        const char *pod = "", *hook = "";
        bool json = false;

        for (int i = 0; i < argc; i += 2) {
                if (i + 1 == argc)
                        return cli_usage(USAGE);
                if (strcmp(argv[i], "--pod") == 0)
                        pod = argv[i + 1];
                else if (strcmp(argv[i], "--hook") == 0)
                        hook = argv[i + 1];
                else if (strcmp(argv[i], "-o") == 0 && strcmp(argv[i + 1], "json") == 0)
                        json = true;
                else
                        return cli_usage(USAGE);
        }
        return hooks_trace_calls(c, pod, hook, json, err);
}

int verb_hooks(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        const char *what = argc >= 2 ? argv[1] : "";

        if (argc >= 3 && argc <= 4 && strcmp(what, "explain") == 0 && (argc == 3 || strcmp(argv[3], "--spec") == 0))
                return hooks_explain_file(c, argv[2], argc == 4, err);
        if (argc == 2 && strcmp(what, "list") == 0)
                return list(c, false, err);
        if (argc == 4 && strcmp(what, "list") == 0 && strcmp(argv[2], "-o") == 0 && strcmp(argv[3], "json") == 0)
                return list(c, true, err);
        if (argc >= 2 && strcmp(what, "trace") == 0)
                return trace(c, argc - 2, argv + 2, err);
        return cli_usage(USAGE);
}
