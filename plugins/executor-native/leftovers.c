/*
 * When a pod's monitor is gone: what it left in files, and what is still to be done
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/ns.h"
#include "agent/base/str.h"
#include "agent/wire/plan.h"
#include "plugins/executor-native/executor.h"

#define CONFIG_MAX (4u << 20)
#define HOOK_LIMIT (30 * NSEC_PER_SEC)  /* for a hook that brings no limit of its own */

int leftovers_state(const char *run_dir, const char *container, struct wire_state *ret, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/" WIRE_EXIT_DIR "/%s", run_dir, container);
        auto_buf text = BUF_INIT;

        *ret = (struct wire_state) { .state = CRINGLE_RUN_NONE };
        if (!path)
                return -1;
        if (!file_exists(path))
                return 0;
        if (file_read(path, WIRE_EXIT_MAX, &text, err) < 0 || wire_exit_parse(text.data, ret, err) < 0)
                return err_wrap(err, "read %s", path);
        ret->state = CRINGLE_RUN_EXITED;
        return 0;
}

static int state_json(struct json_object *spec, const char *id, const char *bundle, struct buf *ret,
                      struct cringle_err *err)
{
        auto_json state = json_object_new_object();
        struct json_object *annotations = NULL;
        const char *version = "1.3.0";

        if (!state)
                return err_oom(err);
        if (json_get_string(spec, "ociVersion", &version, err) < 0 ||
            json_get_object(spec, "annotations", &annotations, err) < 0 ||
            json_set_string(state, "ociVersion", version, err) < 0 || json_set_string(state, "id", id, err) < 0 ||
            json_set_string(state, "status", "stopped", err) < 0 || json_set_int(state, "pid", 0, err) < 0 ||
            json_set_string(state, "bundle", bundle, err) < 0 ||
            json_set(state, "annotations", annotations ? json_object_get(annotations) : json_object_new_object(), err) < 0)
                return -1;
        return json_write(state, ret, err);
}

/* As hook_finish() has it.  What is not filled in says that it could not be started. */
static int run_hook(struct json_object *hook, const struct cringle_call *call, const char *bundle,
                    const struct buf *input, struct wire_hook *run, struct cringle_err *err)
{
        auto_strv argv = NULL;
        auto_strv env = NULL;
        auto_buf output = BUF_INIT, tail = BUF_INIT;
        struct child_spec spec = { .dir = bundle };
        struct json_object *from = NULL;
        struct cringle_call limited;
        int64_t timeout = 0, begun;
        char how[96];
        int status, r;

        if (json_get_string(hook, "path", &run->path, err) <= 0 || json_get_strv(hook, "args", &argv, err) < 0 ||
            json_get_strv(hook, "env", &env, err) < 0 || json_get_int(hook, "timeout", &timeout, err) < 0 ||
            json_get_object(hook, "from", &from, err) < 0)
                return -1;
        if (from && (json_get_string(from, "source", &run->source, err) < 0 ||
                     json_get_string(from, "name", &run->name, err) < 0 ||
                     json_get_string(from, "origin", &run->origin, err) < 0))
                return -1;
        if (!argv && strv_add(&argv, run->path, err) < 0)
                return -1;
        spec.path = run->path;
        spec.argv = (const char *const *) argv;
        spec.envp = (const char *const *) env;
        begun = clock_monotonic();
        limited = call_within(call, timeout > 0 ? timeout * NSEC_PER_SEC : HOOK_LIMIT);
        r = child_run(&spec, &limited, input, &output, 1u << 20, &tail, &status, err);
        run->nanoseconds = clock_monotonic() - begun;
        if (r < 0) {
                run->flags |= clock_monotonic() >= limited.deadline ? WIRE_HOOK_TIMED_OUT : 0;
                return -1;
        }
        run->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        if (status == 0)
                return 0;
        child_status_text(status, how, sizeof how);
        return err_set(err, CRINGLE_E_ABORTED, "%s: %s", how, tail.len ? tail.data : "");
}

static int run_hooks(struct executor *x, const struct cringle_call *call, const struct pod *p, const char *container,
                     const char *bundle, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/config.json", bundle);
        auto_json spec = NULL;
        auto_buf state = BUF_INIT;
        struct json_object *hooks, *list;

        if (!path || json_read_bytes(path, CONFIG_MAX, &spec, err) < 0)
                return -1;
        if (json_get_object(spec, "hooks", &hooks, err) <= 0 || json_get_array(hooks, "poststop", &list, err) <= 0)
                return 0;
        if (state_json(spec, container, bundle, &state, err) < 0)
                return -1;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct wire_hook run = { .stage = PLAN_POSTSTOP, .index = (uint32_t) i + 1, .exit_code = -1, .source = "",
                                         .name = "", .origin = "", .path = "", .error = "" };
                struct cringle_err why = CRINGLE_ERR_INIT;

                if (run_hook(json_object_array_get_idx(list, i), call, bundle, &state, &run, &why) < 0) {
                        run.flags |= WIRE_HOOK_IGNORED;
                        err_wrap(&why, "%s%s%s%spoststop hook %u, %s", run.source, *run.name ? ":" : "", run.name,
                                 *run.name ? ": " : "", run.index, run.path);
                        run.error = why.text;
                }
                run.ended_at = clock_realtime();
                executor_tell_hook(x, p, container, &run);
        }
        return 0;
}

void leftovers_destroy(struct executor *x, const struct cringle_call *call, const struct pod *p, const char *container,
                       const char *bundle)
{
        auto_free char *path = str_printf(NULL, "%s/" WIRE_EXIT_DIR "/%s", p->run_dir, container);
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (bundle && run_hooks(x, call, p, container, bundle, &why) < 0)
                executor_log(x, CRINGLE_WARNING, why.text);
        if (path)
                unlink(path);
}

void leftovers_close(const char *run_dir)
{
        static const char *const pins[] = { "user", "net", "ipc", "uts", "pid" };
        auto_free char *sock = str_printf(NULL, "%s/" WIRE_SOCKET, run_dir);

        for (size_t i = 0; i < sizeof pins / sizeof pins[0]; i++) {
                auto_free char *path = str_printf(NULL, "%s/" WIRE_NS_DIR "/%s", run_dir, pins[i]);

                if (path)
                        ns_unpin(path, NULL);
        }
        if (sock)
                unlink(sock);
}
