/*
 * Reading what a checkpoint says of itself; see contents.h
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/criu/contents.h"

#define VERSION 1
#define NAME_LEN_MAX 128
#define DELETED_MAX (1 << 20)

void contents_done(struct contents *c)
{
        free(c->network);
        free(c->pid);
        free(c->ipc);
        strv_free(c->containers);
        *c = (struct contents) { 0 };
}

static int damaged(struct cringle_err *err, const char *what)
{
        return err_set(err, CRINGLE_E_INVALID, "%s", what);
}

static int need_string(struct json_object *o, const char *name, char **ret, struct cringle_err *err)
{
        const char *value = NULL;

        if (json_get_string(o, name, &value, err) < 0)
                return -1;
        return value ? str_copy(ret, value, err) : err_set(err, CRINGLE_E_INVALID, "%s is missing", name);
}

static int take_names(struct json_object *o, struct contents *ret, struct cringle_err *err)
{
        auto_strv names = NULL;

        if (json_get_strv(o, "containers", &names, err) < 0)
                return -1;
        if (!names || !names[0])
                return damaged(err, "containers: there is none");
        if (strv_count((const char *const *) names) > CONTENTS_CONTAINERS_MAX)
                return damaged(err, "containers: too many");
        for (size_t i = 0; names[i]; i++) {
                if (!str_is_id(names[i], NAME_LEN_MAX))
                        return err_set(err, CRINGLE_E_INVALID, "containers: '%.200s' is none for a directory", names[i]);
                for (size_t j = 0; j < i; j++)
                        if (strcmp(names[i], names[j]) == 0)
                                return err_set(err, CRINGLE_E_INVALID, "containers: '%s' is there twice", names[i]);
        }
        ret->containers = steal(&names);
        return 0;
}

static int take(struct json_object *o, struct contents *ret, struct cringle_err *err)
{
        struct json_object *namespaces = NULL;
        int64_t version = 0;

        if (json_get_int(o, "version", &version, err) < 0)
                return -1;
        if (version != VERSION)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "version %lld, and only %d is known", (long long) version, VERSION);
        if (json_get_object(o, "namespaces", &namespaces, err) < 0)
                return -1;
        if (!namespaces)
                return damaged(err, "namespaces is missing");
        if (need_string(namespaces, "network", &ret->network, err) < 0 || need_string(namespaces, "pid", &ret->pid, err) < 0 ||
            need_string(namespaces, "ipc", &ret->ipc, err) < 0)
                return -1;
        return take_names(o, ret, err);
}

int contents_parse(const char *text, size_t n, struct contents *ret, struct cringle_err *err)
{
        auto_json o = NULL;

        *ret = (struct contents) { 0 };
        if (n > CONTENTS_POD_MAX)
                return damaged(err, "pod.json: too long");
        if (json_parse(text, n, &o, err) < 0)
                return err_wrap(err, "pod.json");
        if (!json_object_is_type(o, json_type_object))
                return damaged(err, "pod.json: it is no object");
        return take(o, ret, err) < 0 ? err_wrap(err, "pod.json") : 0;
}

/* An array of @text whose elements are all strings. */
static int parse_list(const char *text, size_t n, size_t most, struct json_object **ret, struct cringle_err *err)
{
        auto_json list = NULL;

        if (json_parse_bytes(text, n, &list, err) < 0)
                return -1;
        if (!json_object_is_type(list, json_type_array))
                return damaged(err, "it is no array");
        if (json_object_array_length(list) > most)
                return damaged(err, "it is too long");
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *at = json_object_array_get_idx(list, i);

                if (!json_object_is_type(at, json_type_string) ||
                    strlen(json_object_get_string(at)) != (size_t) json_object_get_string_len(at))
                        return err_set(err, CRINGLE_E_INVALID, "[%zu] is no string", i);
        }
        *ret = steal(&list);
        return 0;
}

/* "pipe:[123]" */
static bool is_pipe(const char *text)
{
        size_t n = str_starts(text, "pipe:[") ? strspn(text + 6, "0123456789") : 0;

        return n > 0 && n < 20 && strcmp(text + 6 + n, "]") == 0;
}

static int take_stream(const char *text, char **ret, struct cringle_err *err)
{
        if (is_pipe(text))
                return str_copy(ret, text, err);
        /* A file is the container's own, and comes back with it; so is what it has closed. */
        if (!*text || (*text == '/' && !str_starts(text, "/dev/pts/") && strcmp(text, "/dev/console") != 0))
                return 0;
        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "a stream that was '%.80s' cannot be restored", text);
}

int contents_parse_streams(const char *text, size_t n, char *ret[static 3], struct cringle_err *err)
{
        auto_json list = NULL;

        ret[0] = ret[1] = ret[2] = NULL;
        if (n > CONTENTS_STREAMS_MAX)
                return damaged(err, "descriptors.json: too long");
        if (parse_list(text, n, 3, &list, err) < 0)
                return err_wrap(err, "descriptors.json");
        for (size_t i = 0; i < json_object_array_length(list); i++)
                if (take_stream(json_object_get_string(json_object_array_get_idx(list, i)), &ret[i], err) < 0) {
                        while (i-- > 0) {
                                free(ret[i]);
                                ret[i] = NULL;
                        }
                        return err_wrap(err, "descriptors.json");
                }
        return 0;
}

int contents_parse_deleted(const char *text, size_t n, char ***ret, struct cringle_err *err)
{
        auto_json list = NULL;
        auto_strv paths = NULL;
        size_t n_paths;

        if (n > CONTENTS_DELETED_MAX)
                return damaged(err, "deleted.files: too long");
        if (parse_list(text, n, DELETED_MAX, &list, err) < 0)
                return err_wrap(err, "deleted.files");
        n_paths = json_object_array_length(list);
        paths = calloc(n_paths + 1, sizeof *paths);
        if (!paths)
                return err_oom(err);
        for (size_t i = 0; i < n_paths; i++) {
                const char *path = json_object_get_string(json_object_array_get_idx(list, i));

                if (!path_is_clean(path) || !path[1])
                        return err_set(err, CRINGLE_E_INVALID, "deleted.files: '%.200s' is no path of a file", path);
                if (str_copy(&paths[i], path, err) < 0)
                        return -1;
        }
        *ret = steal(&paths);
        return 0;
}
