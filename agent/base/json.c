/*
 * JSON, on json-c; see json.h.
 */

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"

#define DEPTH_MAX 64

static int parse(const char *text, size_t n, int flags, struct json_object **ret, struct cringle_err *err)
{
        struct json_tokener *t;
        struct json_object *o;
        enum json_tokener_error why;
        size_t end;

        if (n > INT_MAX)
                return err_set(err, CRINGLE_E_INVALID, "JSON of %zu bytes", n);
        t = json_tokener_new_ex(DEPTH_MAX);
        if (!t)
                return err_oom(err);

        json_tokener_set_flags(t, flags | JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
        o = json_tokener_parse_ex(t, text, (int) n);
        why = json_tokener_get_error(t);
        end = json_tokener_get_parse_end(t);
        /* A bare number at the very end is "continued" until something follows it. */
        if (why == json_tokener_continue && n > 0) {
                o = json_tokener_parse_ex(t, "", 1);
                why = json_tokener_get_error(t);
                end = n;
        }
        json_tokener_free(t);

        if (why != json_tokener_success)
                return err_set(err, CRINGLE_E_INVALID, "bad JSON at byte %zu: %s", end,
                               why == json_tokener_continue ? "it ends too early" : json_tokener_error_desc(why));
        for (; end < n; end++)
                if (!strchr(" \t\r\n", text[end]) || !text[end]) {
                        json_object_put(o);
                        return err_set(err, CRINGLE_E_INVALID, "bad JSON at byte %zu: something follows the value", end);
                }

        *ret = o;
        return 0;
}

int json_parse(const char *text, size_t n, struct json_object **ret, struct cringle_err *err)
{
        return parse(text, n, JSON_TOKENER_VALIDATE_UTF8, ret, err);
}

int json_parse_bytes(const char *text, size_t n, struct json_object **ret, struct cringle_err *err)
{
        return parse(text, n, 0, ret, err);
}

static int read_file(const char *path, size_t max, int flags, struct json_object **ret, struct cringle_err *err)
{
        auto_buf b = BUF_INIT;

        if (file_read(path, max, &b, err) < 0)
                return -1;
        if (parse(b.data, b.len, flags, ret, err) < 0)
                return err_wrap(err, "%s", path);
        return 0;
}

int json_read(const char *path, size_t max, struct json_object **ret, struct cringle_err *err)
{
        return read_file(path, max, JSON_TOKENER_VALIDATE_UTF8, ret, err);
}

int json_read_bytes(const char *path, size_t max, struct json_object **ret, struct cringle_err *err)
{
        return read_file(path, max, 0, ret, err);
}

int json_write(struct json_object *o, struct buf *ret, struct cringle_err *err)
{
        size_t n;
        const char *text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

        return text ? buf_add(ret, text, n, err) : err_oom(err);
}

static int member(struct json_object *o, const char *name, json_type want, struct json_object **ret,
                  struct cringle_err *err)
{
        struct json_object *m;

        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "want an object with '%s', got %s", name,
                               json_type_to_name(json_object_get_type(o)));
        if (!json_object_object_get_ex(o, name, &m) || !m)
                return 0;
        if (!json_object_is_type(m, want))
                return err_set(err, CRINGLE_E_INVALID, "'%s' is %s, want %s", name,
                               json_type_to_name(json_object_get_type(m)), json_type_to_name(want));
        *ret = m;
        return 1;
}

int json_get_string(struct json_object *o, const char *name, const char **ret, struct cringle_err *err)
{
        struct json_object *m;
        int r = member(o, name, json_type_string, &m, err);

        if (r == 1) {
                /* A NUL inside would make C see another string than everybody else. */
                if (strlen(json_object_get_string(m)) != (size_t) json_object_get_string_len(m))
                        return err_set(err, CRINGLE_E_INVALID, "'%s' contains a NUL", name);
                *ret = json_object_get_string(m);
        }
        return r;
}

int json_get_int(struct json_object *o, const char *name, int64_t *ret, struct cringle_err *err)
{
        struct json_object *m;
        int r = member(o, name, json_type_int, &m, err);

        if (r == 1) {
                if (json_object_get_uint64(m) > INT64_MAX && json_object_get_int64(m) >= 0)
                        return err_set(err, CRINGLE_E_INVALID, "'%s' is out of range", name);
                *ret = json_object_get_int64(m);
        }
        return r;
}

int json_get_bool(struct json_object *o, const char *name, bool *ret, struct cringle_err *err)
{
        struct json_object *m;
        int r = member(o, name, json_type_boolean, &m, err);

        if (r == 1)
                *ret = json_object_get_boolean(m);
        return r;
}

int json_get_object(struct json_object *o, const char *name, struct json_object **ret, struct cringle_err *err)
{
        return member(o, name, json_type_object, ret, err);
}

int json_get_array(struct json_object *o, const char *name, struct json_object **ret, struct cringle_err *err)
{
        return member(o, name, json_type_array, ret, err);
}

int json_get_strv(struct json_object *o, const char *name, char ***ret, struct cringle_err *err)
{
        struct json_object *array;
        auto_strv list = NULL;
        int r = member(o, name, json_type_array, &array, err);

        if (r < 1) {
                if (r == 0)
                        *ret = NULL;
                return r;
        }

        list = calloc(json_object_array_length(array) + 1, sizeof *list);
        if (!list)
                return err_oom(err);
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *m = json_object_array_get_idx(array, i);

                if (!json_object_is_type(m, json_type_string) ||
                    strlen(json_object_get_string(m)) != (size_t) json_object_get_string_len(m))
                        return err_set(err, CRINGLE_E_INVALID, "'%s[%zu]' is not a string", name, i);
                list[i] = strdup(json_object_get_string(m));
                if (!list[i])
                        return err_oom(err);
        }
        *ret = steal(&list);
        return 1;
}

int json_set(struct json_object *o, const char *name, struct json_object *value, struct cringle_err *err)
{
        if (value && json_object_object_add(o, name, value) == 0)
                return 0;

        json_object_put(value);
        return err_oom(err);
}

int json_set_string(struct json_object *o, const char *name, const char *value, struct cringle_err *err)
{
        return json_set(o, name, json_object_new_string(value), err);
}

int json_set_int(struct json_object *o, const char *name, int64_t value, struct cringle_err *err)
{
        return json_set(o, name, json_object_new_int64(value), err);
}

int json_set_bool(struct json_object *o, const char *name, bool value, struct cringle_err *err)
{
        return json_set(o, name, json_object_new_boolean(value), err);
}

int json_set_strv(struct json_object *o, const char *name, const char *const *list, struct cringle_err *err)
{
        auto_json array = json_object_new_array();

        if (!array)
                return err_oom(err);
        for (size_t i = 0; list && list[i]; i++)
                if (json_add_string(array, list[i], err) < 0)
                        return -1;

        return json_set(o, name, steal(&array), err);
}

int json_add(struct json_object *array, struct json_object *value, struct cringle_err *err)
{
        if (value && json_object_array_add(array, value) == 0)
                return 0;

        json_object_put(value);
        return err_oom(err);
}

int json_add_string(struct json_object *array, const char *value, struct cringle_err *err)
{
        return json_add(array, json_object_new_string(value), err);
}

static struct json_object *need(struct json_object *o, const char *name, json_type type, struct cringle_err *err)
{
        struct json_object *m = NULL;

        switch (member(o, name, type, &m, err)) {
        case 1:
                return m;
        case 0:
                m = type == json_type_object ? json_object_new_object() : json_object_new_array();
                return json_set(o, name, m, err) < 0 ? NULL : m;
        default:
                return NULL;
        }
}

struct json_object *json_need_object(struct json_object *o, const char *name, struct cringle_err *err)
{
        return need(o, name, json_type_object, err);
}

struct json_object *json_need_array(struct json_object *o, const char *name, struct cringle_err *err)
{
        return need(o, name, json_type_array, err);
}
