#include <sys/wait.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/image/lookup.h"

#define ROOT_FD 3                       /* as the program expects it */
#define TIME_LIMIT (10 * NSEC_PER_SEC)  /* it does milliseconds of work */
#define ANSWER_MAX (128 << 10)

static int write_request(const char *who, struct buf *ret, struct cringle_err *err)
{
        auto_json request = json_object_new_object();

        if (!request)
                return err_oom(err);
        if (json_set_string(request, "user", who, err) < 0)
                return -1;
        return json_write(request, ret, err);
}

/* The answer comes from a process that has read hostile files: nothing in it is taken as it is. */
static int get_id(struct json_object *value, uint32_t *ret, struct cringle_err *err)
{
        int64_t id = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;

        if (id < 0 || id > USERS_ID_MAX)
                return err_set(err, CRINGLE_E_INVALID, "an id is out of range");
        *ret = (uint32_t) id;
        return 0;
}

static int read_user(struct json_object *o, struct oci_user **ret, struct cringle_err *err)
{
        auto_of(oci_user) u = NULL;
        struct json_object *groups = NULL;
        const char *home = "/";
        uint32_t uid, gid, group;

        if (get_id(json_object_object_get(o, "uid"), &uid, err) < 0 ||
            get_id(json_object_object_get(o, "gid"), &gid, err) < 0 || json_get_string(o, "home", &home, err) < 0 ||
            json_get_array(o, "groups", &groups, err) < 0)
                return -1;
        if (home[0] != '/')
                return err_set(err, CRINGLE_E_INVALID, "home is no absolute path");

        if (oci_user_new(uid, gid, home, NULL, &u, err) < 0)
                return -1;
        for (size_t i = 0; groups && i < json_object_array_length(groups); i++)
                if (get_id(json_object_array_get_idx(groups, i), &group, err) < 0 ||
                    oci_user_add_group(u, group, err) < 0)
                        return -1;
        *ret = steal(&u);
        return 0;
}

static int read_answer(const struct buf *text, struct oci_user **ret, struct cringle_err *err)
{
        auto_json o = NULL;
        const char *why = NULL;
        int64_t code = CRINGLE_E_INVALID;

        if (json_parse(text->data, text->len, &o, err) < 0 || json_get_string(o, "error", &why, err) < 0 ||
            json_get_int(o, "code", &code, err) < 0)
                return -1;
        if (why)
                return err_set(err, code == CRINGLE_E_INVALID ? CRINGLE_E_INVALID : CRINGLE_E_INTERNAL, "%s", why);
        return read_user(o, ret, err);
}

int lookup_user(const char *pull_program, int rootfs_fd, const char *who, const struct cringle_call *call,
                struct oci_user **ret, struct cringle_err *err)
{
        const struct child_fd fds[] = { { .fd = rootfs_fd, .as = ROOT_FD } };
        const char *const argv[] = { "cringle-pull", "lookup", NULL };
        const struct child_spec spec = { .path = pull_program, .argv = argv, .fds = fds, .n_fds = 1 };
        struct cringle_call limited = call_within(call, TIME_LIMIT);
        auto_buf request = BUF_INIT, answer = BUF_INIT, tail = BUF_INIT;
        char text[64];
        int status;

        if (write_request(who, &request, err) < 0 ||
            child_run(&spec, &limited, &request, &answer, ANSWER_MAX, &tail, &status, err) < 0)
                return err_wrap(err, "look up user '%s'", who);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                child_status_text(status, text, sizeof text);
                return err_set(err, CRINGLE_E_INTERNAL, "look up user '%s': %s: %s: %s", who, pull_program, text,
                               tail.data ? tail.data : "");
        }
        if (read_answer(&answer, ret, err) < 0)
                return err_wrap(err, "look up user '%s'", who);
        return 0;
}
