/*
 * cringle hooks trace: each call of a hook as it happens, until the user has enough
 *
 * A line per call, written out at once, so that another program may read them.  With `-o json` it is an object.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/cli/pod.h"

struct trace {
        bool json;
        bool over;              /* nobody reads what we print */
};

/* Names and errors come from pods' authors and programs: nothing in them is for a terminal. */
static void put_text(const char *text)
{
        for (; *text; text++)
                putchar((unsigned char) *text < 0x20 || *text == 0x7f ? '?' : *text);
}

/* At least @width characters, then two spaces. */
static void put_column(const char *text, size_t width)
{
        put_text(text);
        for (size_t n = strlen(text); n < width; n++)
                putchar(' ');
        fputs("  ", stdout);
}

static void put_time(int64_t at)
{
        time_t seconds = (time_t) (at / NSEC_PER_SEC);
        char text[32] = "";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                strftime(text, sizeof text, "%H:%M:%S", &tm);
        printf("%s.%03d  ", text, (int) (at % NSEC_PER_SEC / NSEC_PER_MSEC));
}

/* "NAMESPACE/POD/CONTAINER", as far as it is known. */
static int put_object(const Admin__HookCall *m, struct cringle_err *err)
{
        char pod[CLI_TEXT_MAX], container[CLI_TEXT_MAX];
        auto_buf text = BUF_INIT;

        if ((*m->pod_name ? buf_printf(&text, err, "%s/%s", m->pod_space, m->pod_name)
                          : buf_add_str(&text, cli_short_id(m->pod_id, pod), err)) < 0)
                return -1;
        if (*m->container_id && buf_printf(&text, err, "/%s", *m->container_name ? m->container_name
                                                                                 : cli_short_id(m->container_id, container)) < 0)
                return -1;
        put_column(text.data, 28);
        return 0;
}

static int print_line(const Admin__HookCall *m, struct cringle_err *err)
{
        auto_free char *hook = str_printf(err, "%s:%s", m->source, m->name);
        char took[CLI_TEXT_MAX] = "";

        if (!hook)
                return -1;
        if (m->lost) {
                printf("lost %" PRIu64 "\n", m->lost);
                return 0;
        }
        if (!*m->source) {
                printf("%-12s  %-28s  %-20s  %-28s  %-9s  %9s  %s\n", "TIME", "CONTAINER", "STAGE", "HOOK", "RESULT", "TOOK",
                       "WHY, AND WHAT IT SET");
                return 0;
        }
        if (m->nanoseconds)
                snprintf(took, sizeof took, "%.3fms", (double) m->nanoseconds / 1e6);
        put_time(m->ended_at);
        if (put_object(m, err) < 0)
                return -1;
        put_column(m->stage, 20);
        put_column(hook, 28);
        put_column(m->result, 9);
        printf("%9s  ", took);
        put_text(*m->error ? m->error : m->why);
        if (m->ignored)
                fputs("; ignored", stdout);
        for (size_t i = 0; i < m->n_changes; i++) {
                fputs(i ? ", " : " -> ", stdout);
                put_text(m->changes[i]);
        }
        putchar('\n');
        return 0;
}

static int print_object(const Admin__HookCall *m, struct cringle_err *err)
{
        const struct {
                const char *key, *text;
        } texts[] = {
                { "podId", m->pod_id }, { "podNamespace", m->pod_space }, { "podName", m->pod_name },
                { "containerId", m->container_id }, { "containerName", m->container_name }, { "source", m->source },
                { "name", m->name }, { "origin", m->origin }, { "stage", m->stage }, { "why", m->why },
                { "result", m->result }, { "error", m->error },
        };
        auto_json o = json_object_new_object();
        struct json_object *changes;
        auto_buf text = BUF_INIT;

        if (!o)
                return err_oom(err);
        if (!*m->source && !m->lost)
                return 0;
        if (m->lost) {
                if (json_set_int(o, "lost", (int64_t) m->lost, err) < 0)
                        return -1;
        } else {
                if (json_set_int(o, "endedAt", m->ended_at, err) < 0 ||
                    json_set_int(o, "nanoseconds", (int64_t) m->nanoseconds, err) < 0 ||
                    json_set(o, "ignored", json_object_new_boolean(m->ignored), err) < 0)
                        return -1;
                changes = json_need_array(o, "changes", err);
                for (size_t i = 0; changes && i < m->n_changes; i++)
                        if (json_add_string(changes, m->changes[i], err) < 0)
                                return -1;
                if (!changes)
                        return -1;
                for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                        if (json_set_string(o, texts[i].key, texts[i].text, err) < 0)
                                return -1;
        }
        if (json_write(o, &text, err) < 0)
                return -1;
        printf("%s\n", text.data);
        return 0;
}

static int take(const ProtobufCMessage *message, void *data, struct cringle_err *err)
{
        const Admin__HookCall *m = (const Admin__HookCall *) message;
        struct trace *t = data;

        if ((t->json ? print_object(m, err) : print_line(m, err)) < 0)
                return -1;
        t->over = fflush(stdout) != 0;
        return t->over;
}

int hooks_trace_calls(struct cli *c, const char *pod, const char *hook, bool json, struct cringle_err *err)
{
        Admin__TraceHooksRequest request = ADMIN__TRACE_HOOKS_REQUEST__INIT;
        struct trace t = { .json = json };
        auto_fd int signals = cli_catch_signals(err);
        int r;

        if (signals < 0)
                return -1;
        request.pod = (char *) pod;
        request.hook = (char *) hook;
        c->cancel_fd = signals;
        r = cli_stream(c, &admin__admin__descriptor, "TraceHooks", &request.base, take, &t, err);
        c->cancel_fd = -1;
        if (r < 0 && err->code == CRINGLE_E_CANCELLED)
                return 0;               /* that is how it ends */
        return r;
}
