/*
 * hooks.d directories; see dir.h.
 */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/map.h"
#include "agent/base/path.h"
#include "hooks/dir.h"

#define FILE_MAX (1 << 20)
#define TIMEOUT_MAX 86400

static int add_patterns(struct json_object *when, const char *name, struct patterns *p, struct cringle_err *err)
{
        auto_strv list = NULL;

        if (json_get_strv(when, name, &list, err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++)
                if (patterns_add(p, list[i], err) < 0)
                        return err_wrap(err, "%s", name);
        return 0;
}

static int get_flag(struct json_object *o, const char *name, int *ret, struct cringle_err *err)
{
        bool value;
        int r = json_get_bool(o, name, &value, err);

        if (r == 1)
                *ret = value;
        return r;
}

static int add_stages(struct json_object *o, const char *name, struct rule *r, struct cringle_err *err)
{
        auto_strv list = NULL;

        if (json_get_strv(o, name, &list, err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++) {
                int stage = stage_of(list[i]);

                if (stage < 0)
                        return err_set(err, CRINGLE_E_INVALID, "unknown stage '%.64s'", list[i]);
                r->stages |= 1u << stage;
        }
        return 0;
}

static int set_path(struct rule *r, const char *path, struct cringle_err *err)
{
        if (*path != '/')
                return err_set(err, CRINGLE_E_INVALID, "path '%.200s' is not absolute", path);
        if (access(path, F_OK) < 0)
                return err_sys(err, "%s", path);
        r->path = strdup(path);
        return r->path ? 0 : err_oom(err);
}

/* Members that a schema does not have are most likely misspelt ones. */
static int check_members(struct json_object *o, const char *what, const char *const *known, struct cringle_err *err)
{
        json_object_object_foreach(o, key, value) {
                (void) value;
                if (!strv_has(known, key))
                        return err_set(err, CRINGLE_E_INVALID, "unknown member '%.64s' in %s", key, what);
        }
        return 0;
}

static int read_when(struct json_object *when, struct rule *r, struct cringle_err *err)
{
        static const char *const known[] = { "always", "annotations", "commands", "hasBindMounts", NULL };
        struct json_object *annotations;
        int has;

        if (check_members(when, "when", known, err) < 0)
                return -1;
        if (json_object_object_length(when) == 0)
                return err_set(err, CRINGLE_E_INVALID, "'when' has no condition");
        has = json_get_object(when, "annotations", &annotations, err);
        if (has < 0)
                return -1;
        if (has) {
                json_object_object_foreach(annotations, key, value) {
                        if (!json_object_is_type(value, json_type_string))
                                return err_set(err, CRINGLE_E_INVALID, "annotation '%.64s' is not a string", key);
                        if (patterns_add(&r->annotation_keys, key, err) < 0 ||
                            patterns_add(&r->annotation_values, json_object_get_string(value), err) < 0)
                                return -1;
                }
        }
        if (get_flag(when, "always", &r->always, err) < 0 || get_flag(when, "hasBindMounts", &r->has_bind_mounts, err) < 0)
                return -1;
        return add_patterns(when, "commands", &r->commands, err);
}

/* Schema 1.0.0. */
static int read_current(struct json_object *o, struct rule *r, struct cringle_err *err)
{
        static const char *const known[] = { "version", "hook", "when", "stages", NULL };
        static const char *const known_hook[] = { "path", "args", "env", "timeout", NULL };
        struct json_object *hook = NULL, *when = NULL;
        const char *path = NULL;
        int has;

        if (check_members(o, "the file", known, err) < 0 || json_get_object(o, "hook", &hook, err) < 0 ||
            json_get_object(o, "when", &when, err) < 0)
                return -1;
        if (!hook || !when)
                return err_set(err, CRINGLE_E_INVALID, "no '%s'", hook ? "when" : "hook");
        if (check_members(hook, "hook", known_hook, err) < 0 || json_get_string(hook, "path", &path, err) < 0)
                return -1;
        if (!path)
                return err_set(err, CRINGLE_E_INVALID, "no 'hook.path'");
        if (set_path(r, path, err) < 0 || json_get_strv(hook, "args", &r->args, err) < 0 ||
            json_get_strv(hook, "env", &r->env, err) < 0)
                return -1;
        has = json_get_int(hook, "timeout", &r->timeout, err);
        if (has < 0)
                return -1;
        if (has && (r->timeout <= 0 || r->timeout > TIMEOUT_MAX))
                return err_set(err, CRINGLE_E_INVALID, "timeout %lld is not within 1 and %d seconds",
                               (long long) r->timeout, TIMEOUT_MAX);
        if (read_when(when, r, err) < 0 || add_stages(o, "stages", r, err) < 0)
                return -1;
        return r->stages ? 0 : err_set(err, CRINGLE_E_INVALID, "no 'stages'");
}

/* Schema 0.1.0: singular or plural names, conditions or-ed, annotations matched by value alone. */
static int read_first(struct json_object *o, struct rule *r, struct cringle_err *err)
{
        const char *path = NULL;
        auto_strv args = NULL;

        r->combine = COMBINE_OR;
        if (json_get_string(o, "hook", &path, err) < 0)
                return -1;
        if (!path)
                return err_set(err, CRINGLE_E_INVALID, "no 'hook'");
        if (set_path(r, path, err) < 0 || json_get_strv(o, "arguments", &args, err) < 0)
                return -1;
        if (args) {
                if (strv_add(&r->args, path, err) < 0)
                        return -1;
                for (size_t i = 0; args[i]; i++)
                        if (strv_add(&r->args, args[i], err) < 0)
                                return -1;
        }
        if (add_stages(o, "stages", r, err) < 0 || add_stages(o, "stage", r, err) < 0 ||
            add_patterns(o, "cmds", &r->commands, err) < 0 || add_patterns(o, "cmd", &r->commands, err) < 0 ||
            add_patterns(o, "annotations", &r->annotation_values, err) < 0 ||
            add_patterns(o, "annotation", &r->annotation_values, err) < 0 ||
            get_flag(o, "hasbindmounts", &r->has_bind_mounts, err) < 0)
                return -1;
        return r->stages ? 0 : err_set(err, CRINGLE_E_INVALID, "no 'stages'");
}

static int read_file(const char *path, struct rule *r, struct cringle_err *err)
{
        auto_json o = NULL;
        auto_buf text = BUF_INIT;
        const char *version = "0.1.0";

        if (file_read(path, FILE_MAX, &text, err) < 0 || json_parse(text.data, text.len, &o, err) < 0)
                return -1;
        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "not a JSON object");
        if (json_get_string(o, "version", &version, err) < 0)
                return -1;
        if (strcmp(version, "1.0.0") == 0)
                return read_current(o, r, err);
        if (strcmp(version, "0.1.0") == 0)
                return read_first(o, r, err);
        return err_set(err, CRINGLE_E_INVALID, "unknown version '%.32s'", version);
}

static bool is_hook_file(const char *name)
{
        return name[0] != '.' && str_ends(name, ".json");
}

/* Name -> path of the directory that has it last. */
static int collect(const char *const *dirs, struct map *files, struct cringle_err *err)
{
        for (size_t i = 0; dirs && dirs[i]; i++) {
                DIR *dir = opendir(dirs[i]);
                struct dirent *entry;

                if (!dir)
                        continue;       /* not there, or not readable: then its files are not there either */
                while ((entry = readdir(dir))) {
                        char *path;

                        if (!is_hook_file(entry->d_name))
                                continue;
                        path = str_printf(err, "%s/%s", dirs[i], entry->d_name);
                        free(map_get(files, entry->d_name));
                        if (!path || map_put(files, entry->d_name, path, err) < 0) {
                                map_take(files, entry->d_name);
                                free(path);
                                closedir(dir);
                                return -1;
                        }
                }
                closedir(dir);
        }
        return 0;
}

static int by_name(const void *a, const void *b)
{
        return strcasecmp(*(const char *const *) a, *(const char *const *) b);
}

static int add_rule(struct rules *rules, const char *name, const char *path, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct rule *r = rules_add(rules, err);

        if (!r)
                return -1;
        r->name = strdup(name);
        r->origin = strdup(path);
        if (!r->name || !r->origin)
                return err_oom(err);
        if (read_file(path, r, &why) < 0) {
                r->error = strdup(why.text);
                if (!r->error)
                        return err_oom(err);
        }
        return 0;
}

int dir_read(const char *const *dirs, struct rules *ret, struct cringle_err *err)
{
        struct map files = MAP_INIT;
        auto_strv names = NULL;
        const char *name;
        void *path;
        int r = collect(dirs, &files, err);

        for (size_t at = 0; r == 0 && map_next(&files, &at, &name, &path);)
                r = strv_add(&names, name, err);
        if (r == 0 && names)
                qsort(names, strv_count((const char *const *) names), sizeof *names, by_name);
        for (size_t i = 0; r == 0 && names && names[i]; i++)
                r = add_rule(ret, names[i], map_get(&files, names[i]), err);
        map_done(&files, free);
        return r;
}

static void stir(uint64_t *stamp, uint64_t value)
{
        *stamp = (*stamp ^ value) * 0x100000001b3u;
}

static uint64_t stamp_of(const struct stat *st)
{
        uint64_t stamp = 0xcbf29ce484222325u;

        stir(&stamp, st->st_ino);
        stir(&stamp, st->st_dev);
        stir(&stamp, (uint64_t) st->st_size);
        stir(&stamp, (uint64_t) st->st_mtim.tv_sec);
        stir(&stamp, (uint64_t) st->st_mtim.tv_nsec);
        stir(&stamp, (uint64_t) st->st_ctim.tv_sec);
        stir(&stamp, (uint64_t) st->st_ctim.tv_nsec);
        return stamp;
}

/* Files of one directory are summed: readdir() has no order. */
uint64_t dir_stamp(const char *const *dirs)
{
        uint64_t stamp = 0;

        for (size_t i = 0; dirs && dirs[i]; i++) {
                DIR *dir = opendir(dirs[i]);
                struct dirent *entry;
                uint64_t sum = 0;
                struct stat st;

                stir(&stamp, i);
                if (!dir)
                        continue;
                if (fstat(dirfd(dir), &st) == 0)
                        sum += stamp_of(&st);
                while ((entry = readdir(dir)))
                        if (is_hook_file(entry->d_name) && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
                                sum += stamp_of(&st);
                closedir(dir);
                stir(&stamp, sum);
        }
        return stamp;
}
