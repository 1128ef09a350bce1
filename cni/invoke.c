/*
 * Running one CNI plugin; see invoke.h.
 */

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/base/child.h"
#include "agent/base/str.h"
#include "cni/invoke.h"

#define OUTPUT_MAX (1024 * 1024)

/* Plugins run iptables and the like by name. */
#define PROGRAM_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Codes of the specification that mean something to us. */
enum { CODE_VERSION = 1, CODE_UNKNOWN_CONTAINER = 3, CODE_BAD_CONFIG = 7, CODE_TRY_AGAIN = 11, CODE_UNAVAILABLE = 50,
       CODE_LIMITED = 51 };

int cni_find(const char *const *bin_dirs, const char *type, char **ret, struct cringle_err *err)
{
        auto_buf dirs = BUF_INIT;

        if (!str_is_id(type, NAME_MAX))
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is no plain file name", type);
        for (; bin_dirs && *bin_dirs; bin_dirs++) {
                auto_free char *path = str_printf(err, "%s/%s", *bin_dirs, type);
                struct stat st;

                if (!path || buf_printf(&dirs, err, " %s", *bin_dirs) < 0)
                        return -1;
                if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111)) {
                        *ret = steal(&path);
                        return 0;
                }
        }
        return err_set(err, CRINGLE_E_NOT_FOUND, "no program %s in%s", type, dirs.len ? dirs.data : " any directory");
}

static int add_variable(char ***env, const char *name, const char *value, struct cringle_err *err)
{
        auto_free char *text = value ? str_printf(err, "%s=%s", name, value) : NULL;

        if (!value)
                return 0;
        return text ? strv_add(env, text, err) : -1;
}

static int make_env(const struct cni_invocation *inv, char ***ret, struct cringle_err *err)
{
        auto_strv env = NULL;
        auto_buf dirs = BUF_INIT;

        for (size_t i = 0; inv->bin_dirs && inv->bin_dirs[i]; i++)
                if (buf_printf(&dirs, err, "%s%s", i ? ":" : "", inv->bin_dirs[i]) < 0)
                        return -1;
        if (strv_add(&env, PROGRAM_PATH, err) < 0 || add_variable(&env, "CNI_COMMAND", inv->command, err) < 0 ||
            add_variable(&env, "CNI_CONTAINERID", inv->container, err) < 0 ||
            add_variable(&env, "CNI_NETNS", inv->netns, err) < 0 ||
            add_variable(&env, "CNI_IFNAME", inv->ifname, err) < 0 ||
            add_variable(&env, "CNI_ARGS", inv->args, err) < 0 || add_variable(&env, "CNI_PATH", dirs.data, err) < 0)
                return -1;
        *ret = steal(&env);
        return 0;
}

/* Fit for one line: control characters become spaces, none at the end. */
static void flatten(char *text)
{
        size_t n = 0;

        for (char *c = text; *c; c++) {
                if ((unsigned char) *c < ' ' || *c == 0x7f)
                        *c = ' ';
                if (*c != ' ')
                        n = (size_t) (c - text) + 1;
        }
        text[n] = '\0';
}

static int error_code(int64_t code)
{
        switch (code) {
        case CODE_VERSION:
        case CODE_BAD_CONFIG:
                return CRINGLE_E_PRECONDITION;
        case CODE_TRY_AGAIN:
        case CODE_UNAVAILABLE:
        case CODE_LIMITED:
                return CRINGLE_E_UNAVAILABLE;
        default:
                return CRINGLE_E_UNKNOWN;
        }
}

/* The code of an error answer; 0: it is none. */
static int64_t told_code(struct json_object *answer)
{
        int64_t code = 0;

        if (json_object_is_type(answer, json_type_object))
                json_get_int(answer, "code", &code, NULL);
        return code;
}

static int told_error(struct json_object *answer, int64_t code, struct cringle_err *err)
{
        const char *msg = "no message", *details = "";
        auto_free char *text = NULL;

        json_get_string(answer, "msg", &msg, NULL);
        json_get_string(answer, "details", &details, NULL);
        text = str_printf(err, "%.1000s%s%.500s", msg, *details ? ": " : "", details);
        if (!text)
                return -1;
        flatten(text);
        return err_set(err, error_code(code), "code %jd: %s", (intmax_t) code, text);
}

/* It failed and printed no reason. */
static int untold_error(int status, struct buf *output, struct buf *tail, struct cringle_err *err)
{
        char ended[64];

        child_status_text(status, ended, sizeof ended);
        if (tail->len > 0)
                flatten(tail->data);
        if (tail->len > 0 && *tail->data)
                return err_set(err, CRINGLE_E_UNKNOWN, "%s, stderr: %s", ended, tail->data);
        if (output->len > 0)
                flatten(output->data);
        if (output->len > 0 && *output->data)
                return err_set(err, CRINGLE_E_UNKNOWN, "%s, stdout: %.200s", ended, output->data);
        return err_set(err, CRINGLE_E_UNKNOWN, "%s, and it printed nothing", ended);
}

/* What a plugin that was run to its end has said. */
static int judge(int status, struct buf *output, struct buf *tail, struct json_object **ret_answer,
                 struct cringle_err *err)
{
        struct cringle_err parse = CRINGLE_ERR_INIT;
        bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        auto_json answer = NULL;
        int64_t code;

        if (output->len > 0)
                json_parse(output->data, output->len, &answer, &parse);
        code = told_code(answer);
        if (code == CODE_UNKNOWN_CONTAINER)
                return CNI_UNKNOWN_CONTAINER;
        if (code)
                return told_error(answer, code, err);
        if (!good)
                return untold_error(status, output, tail, err);
        if (!ret_answer)
                return CNI_DONE;

        if (output->len == 0)
                return err_set(err, CRINGLE_E_UNKNOWN, "it succeeded but printed nothing");
        if (parse.code)
                return err_set(err, CRINGLE_E_UNKNOWN, "its answer: %s", parse.text);
        if (!json_object_is_type(answer, json_type_object))
                return err_set(err, CRINGLE_E_UNKNOWN, "its answer is %s, want an object",
                               json_type_to_name(json_object_get_type(answer)));
        *ret_answer = steal(&answer);
        return CNI_DONE;
}

int cni_invoke(const struct cni_invocation *inv, const char *type, struct json_object *config,
               const struct cringle_call *call, struct json_object **ret_answer, struct cringle_err *err)
{
        auto_buf input = BUF_INIT, output = BUF_INIT, tail = BUF_INIT;
        auto_free char *path = NULL;
        auto_strv env = NULL;
        struct child_spec spec;
        int status;

        if (cni_find(inv->bin_dirs, type, &path, err) < 0 || make_env(inv, &env, err) < 0 ||
            json_write(config, &input, err) < 0)
                return -1;

        spec = (struct child_spec) {
                .path = path,
                .argv = (const char *const[]) { path, NULL },
                .envp = (const char *const *) env,
        };
        if (child_run(&spec, call, &input, &output, OUTPUT_MAX, &tail, &status, err) < 0)
                return -1;
        return judge(status, &output, &tail, ret_answer, err);
}
