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

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/map.h"
#include "agent/base/path.h"
#include "hooks/dir.h"

#define FILE_MAX (1 << 20)
#define TIMEOUT_MAX 86400
#define TICK (50 * NSEC_PER_MSEC)       /* more than the step of any file time we know */

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
                return err_sys(err, "hook.path %.200s", path);
        r->path = strdup(path);
        return r->path ? 0 : err_oom(err);
}

static int check_env(const struct rule *r, struct cringle_err *err)
{
        for (size_t i = 0; r->env && r->env[i]; i++)
                if (r->env[i][0] == '=' || !strchr(r->env[i], '='))
                        return err_set(err, CRINGLE_E_INVALID, "env[%zu]: '%.100s' is not NAME=VALUE", i, r->env[i]);
        return 0;
}

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

        /* A condition we do not know, or a misspelt one, might have kept the hook away.  Elsewhere members are free. */
        if (check_members(when, "'when'", known, err) < 0)
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
        struct json_object *hook = NULL, *when = NULL;
        const char *path = NULL;
        int has;

        if (json_get_object(o, "hook", &hook, err) < 0 || json_get_object(o, "when", &when, err) < 0)
                return -1;
        if (!hook || !when)
                return err_set(err, CRINGLE_E_INVALID, "no '%s'", hook ? "when" : "hook");
        if (json_get_string(hook, "path", &path, err) < 0)
                return -1;
        if (!path)
                return err_set(err, CRINGLE_E_INVALID, "no 'hook.path'");
        if (set_path(r, path, err) < 0 || json_get_strv(hook, "args", &r->args, err) < 0 ||
            json_get_strv(hook, "env", &r->env, err) < 0 || check_env(r, err) < 0)
                return -1;
        if (r->args && !r->args[0])
                r->args = strv_free(r->args);   /* no argv[0]: as if there were none */
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

/* Never waits: what is called *.json may be a pipe. */
int dir_read_file(const char *path, struct buf *ret, struct cringle_err *err)
{
        auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, "open");
        if (!S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "not a regular file");
        if (st.st_uid != 0 || (st.st_mode & 022))
                return err_set(err, CRINGLE_E_DENIED, "want a file that root alone can write, found one of uid %u, mode %04o",
                               st.st_uid, st.st_mode & 07777);
        return file_read_fd(fd, FILE_MAX, ret, err);
}

static int read_file(const char *path, struct rule *r, struct cringle_err *err)
{
        auto_json o = NULL;
        auto_buf text = BUF_INIT;
        const char *version = "0.1.0";

        if (dir_read_file(path, &text, err) < 0 || json_parse(text.data, text.len, &o, err) < 0)
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

static struct rule *add_rule(struct rules *rules, const char *name, const char *origin, struct cringle_err *err)
{
        struct rule *r = rules_add(rules, err);

        if (!r)
                return NULL;
        r->source = "hooks.d";
        r->name = strdup(name);
        r->origin = strdup(origin);
        if (!r->name || !r->origin) {
                err_oom(err);
                return NULL;
        }
        return r;
}

static int refuse(struct rule *r, const char *why, struct cringle_err *err)
{
        r->error = strdup(why);
        return r->error ? 0 : err_oom(err);
}

static int add_file(struct rules *rules, const char *name, const char *path, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct rule *r = add_rule(rules, name, path, err);

        if (!r)
                return -1;
        return read_file(path, r, &why) < 0 ? refuse(r, why.text, err) : 0;
}

/* A directory that is there, but cannot be read, stands in the list with its error. */
static int add_unreadable(struct rules *rules, const char *dir, int sys, struct cringle_err *err)
{
        struct rule *r = add_rule(rules, dir, dir, err);

        return r ? refuse(r, strerror(sys), err) : -1;
}

static int collect_file(struct map *files, const char *dir, const char *name, struct cringle_err *err)
{
        char *path = str_printf(err, "%s/%s", dir, name);

        if (!path)
                return -1;
        free(map_take(files, name));
        if (map_put(files, name, path, err) < 0) {
                free(path);
                return -1;
        }
        return 0;
}

/* Name -> path in the directory that has it last. */
static int collect(const char *const *dirs, struct map *files, struct rules *rules, struct cringle_err *err)
{
        for (size_t i = 0; dirs && dirs[i]; i++) {
                DIR *dir = opendir(dirs[i]);
                struct dirent *entry;
                int r = 0;

                if (!dir && errno == ENOENT)
                        continue;
                if (!dir) {
                        if (add_unreadable(rules, dirs[i], errno, err) < 0)
                                return -1;
                        continue;
                }
                errno = 0;
                while (r == 0 && (entry = readdir(dir))) {
                        if (is_hook_file(entry->d_name))
                                r = collect_file(files, dirs[i], entry->d_name, err);
                        errno = 0;
                }
                if (r == 0 && errno)
                        r = add_unreadable(rules, dirs[i], errno, err);
                closedir(dir);
                if (r < 0)
                        return -1;
        }
        return 0;
}

/* Lower-cased, by code point; names that differ in case alone keep one order, too. */
static int by_name(const void *a, const void *b)
{
        const char *left = *(const char *const *) a, *right = *(const char *const *) b;
        int order = strcasecmp(left, right);

        return order ? order : strcmp(left, right);
}

int dir_read(const char *const *dirs, struct rules *ret, struct cringle_err *err)
{
        struct map files = MAP_INIT;
        auto_strv names = NULL;
        const char *name;
        void *path;
        int r = collect(dirs, &files, ret, err);

        for (size_t at = 0; r == 0 && map_next(&files, &at, &name, &path);)
                r = strv_add(&names, name, err);
        if (r == 0 && names)
                qsort(names, strv_count((const char *const *) names), sizeof *names, by_name);
        for (size_t i = 0; r == 0 && names && names[i]; i++)
                r = add_file(ret, names[i], map_get(&files, names[i]), err);
        map_done(&files, free);
        return r;
}

static void stir(uint64_t *stamp, uint64_t value)
{
        *stamp = (*stamp ^ value) * 0x100000001b3u;
}

static uint64_t stamp_of(const struct stat *st, const char *name, bool *settled)
{
        uint64_t stamp = 0xcbf29ce484222325u;
        int64_t changed = (int64_t) st->st_ctim.tv_sec * NSEC_PER_SEC + st->st_ctim.tv_nsec;

        if (clock_realtime() - changed < TICK)
                *settled = false;
        for (; *name; name++)
                stir(&stamp, (unsigned char) *name);
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
uint64_t dir_stamp_of(const char *const *dirs, bool (*counts)(const char *name), bool *ret_settled)
{
        uint64_t stamp = 0;

        *ret_settled = true;

        for (size_t i = 0; dirs && dirs[i]; i++) {
                DIR *dir = opendir(dirs[i]);
                struct dirent *entry;
                uint64_t sum = 0;
                struct stat st;

                stir(&stamp, i);
                if (!dir)
                        continue;
                if (fstat(dirfd(dir), &st) == 0)
                        sum += stamp_of(&st, "", ret_settled);
                while ((entry = readdir(dir)))
                        if (counts(entry->d_name) && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
                                sum += stamp_of(&st, entry->d_name, ret_settled);
                closedir(dir);
                stir(&stamp, sum);
        }
        return stamp;
}

uint64_t dir_stamp(const char *const *dirs, bool *ret_settled)
{
        return dir_stamp_of(dirs, is_hook_file, ret_settled);
}
