/*
 * What has changed between two specifications; see diff.h.
 */

#include <string.h>

#include "agent/base/str.h"
#include "hooks/diff.h"

#define DEPTH_MAX 6                     /* what differs below that is told as a whole */

static int add_line(char ***ret, char sign, const char *path, struct json_object *value, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        auto_free char *line = NULL;

        if (json_write(value, &text, err) < 0)
                return -1;
        line = str_printf(err, "%c %s: %s", sign, path, text.data);
        return line ? strv_add(ret, line, err) : -1;
}

static size_t count_equal(struct json_object *array, struct json_object *value, size_t end)
{
        size_t n = 0;

        for (size_t i = 0; i < end; i++)
                n += json_object_equal(json_object_array_get_idx(array, i), value) != 0;
        return n;
}

/* Elements of @one that @other has fewer of. */
static int diff_side(struct json_object *one, struct json_object *other, char sign, const char *path, char ***ret,
                     struct cringle_err *err)
{
        for (size_t i = 0; i < json_object_array_length(one); i++) {
                struct json_object *value = json_object_array_get_idx(one, i);

                if (count_equal(one, value, i + 1) > count_equal(other, value, json_object_array_length(other)) &&
                    add_line(ret, sign, path, value, err) < 0)
                        return -1;
        }
        return 0;
}

static int diff_lists(struct json_object *before, struct json_object *after, const char *path, char ***ret,
                      struct cringle_err *err)
{
        size_t had = strv_count((const char *const *) *ret);
        auto_free char *line = NULL;

        if (diff_side(before, after, '-', path, ret, err) < 0 || diff_side(after, before, '+', path, ret, err) < 0)
                return -1;
        if (strv_count((const char *const *) *ret) > had)
                return 0;
        line = str_printf(err, "~ %s: in another order", path);
        return line ? strv_add(ret, line, err) : -1;
}

static int diff_values(struct json_object *before, struct json_object *after, const char *path, int depth, char ***ret,
                       struct cringle_err *err);

static int diff_member(struct json_object *before, struct json_object *after, const char *path, const char *key, int depth,
                       char ***ret, struct cringle_err *err)
{
        auto_free char *below = str_printf(err, "%s%s%s", path, *path ? "." : "", key);

        return below ? diff_values(before, after, below, depth + 1, ret, err) : -1;
}

static int diff_objects(struct json_object *before, struct json_object *after, const char *path, int depth, char ***ret,
                        struct cringle_err *err)
{
        json_object_object_foreach(before, key, value) {
                if (diff_member(value, json_object_object_get(after, key), path, key, depth, ret, err) < 0)
                        return -1;
        }
        json_object_object_foreach(after, new_key, new_value) {
                if (!json_object_object_get_ex(before, new_key, NULL) &&
                    diff_member(NULL, new_value, path, new_key, depth, ret, err) < 0)
                        return -1;
        }
        return 0;
}

/* NULL: not there.  An empty list or object that came or went changes nothing. */
static int diff_values(struct json_object *before, struct json_object *after, const char *path, int depth, char ***ret,
                       struct cringle_err *err)
{
        auto_json none = NULL;

        if (json_object_equal(before, after))
                return 0;
        if (!before || !after) {
                enum json_type type = json_object_get_type(before ? before : after);

                if (type == json_type_object || type == json_type_array)
                        none = type == json_type_object ? json_object_new_object() : json_object_new_array();
                before = before || !none ? before : none;
                after = after || !none ? after : none;
                if (json_object_equal(before, after))
                        return 0;
        }
        if (depth < DEPTH_MAX && json_object_is_type(before, json_type_object) && json_object_is_type(after, json_type_object))
                return diff_objects(before, after, path, depth, ret, err);
        if (json_object_is_type(before, json_type_array) && json_object_is_type(after, json_type_array))
                return diff_lists(before, after, path, ret, err);
        if (before && add_line(ret, '-', path, before, err) < 0)
                return -1;
        return after ? add_line(ret, '+', path, after, err) : 0;
}

int diff_specs(struct json_object *before, struct json_object *after, char ***ret, struct cringle_err *err)
{
        return diff_values(before, after, "", 0, ret, err);
}
