/*
 * CDI files; see cdi.h.
 *
 * One table says what may stand in a file, of which type it is, and which version of CDI brought it.
 * Reading YAML, refusing what is unknown and finding the version a file needs all walk it.  Tables
 * nest to a fixed depth, so walking them recurses, whatever a file contains.
 */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "config/tree.h"
#include "hooks/cdi.h"
#include "hooks/dir.h"
#include "hooks/rule.h"

#define OWNER "cdi"                     /* of what devices bring */
#define KNOWN_MAX 8                     /* devices that an error lists */

/* --- what may stand in a file --- */

enum version { V0_3, V0_4, V0_5, V0_6, V0_7, V0_8, V1_0, V1_1, VERSIONS };

static const char *const versions[VERSIONS] = { "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0" };

enum shape { TEXT = 1, NUMBER, TRUTH, TEXTS, NUMBERS, TEXT_MAP, RECORD, RECORDS };

struct member {
        const char *name;               /* NULL: the table ends */
        enum shape shape;
        bool needed;
        enum version since;
        int64_t max;                    /* of numbers; none is below 0 */
        const struct member *members;   /* of records */
};

#define END { 0 }
#define ID_MAX_VALUE (UINT32_MAX - INT64_C(1))

static const struct member node_members[] = {
        { "path", TEXT, .needed = true },
        { "hostPath", TEXT, .since = V0_5 },
        { "type", TEXT },
        { "major", NUMBER, .max = UINT32_MAX },
        { "minor", NUMBER, .max = UINT32_MAX },
        { "fileMode", NUMBER, .max = UINT32_MAX },
        { "permissions", TEXT },
        { "uid", NUMBER, .max = ID_MAX_VALUE },
        { "gid", NUMBER, .max = ID_MAX_VALUE },
        END
};

static const struct member net_members[] = {
        { "hostInterfaceName", TEXT, .needed = true },
        { "name", TEXT, .needed = true },
        END
};

static const struct member mount_members[] = {
        { "hostPath", TEXT, .needed = true },
        { "containerPath", TEXT, .needed = true },
        { "options", TEXTS },
        { "type", TEXT, .since = V0_4 },
        END
};

static const struct member hook_members[] = {
        { "hookName", TEXT, .needed = true },
        { "path", TEXT, .needed = true },
        { "args", TEXTS },
        { "env", TEXTS },
        { "timeout", NUMBER, .max = 86400 },
        END
};

static const struct member rdt_members[] = {
        { "closID", TEXT },
        { "l3CacheSchema", TEXT },
        { "memBwSchema", TEXT },
        { "enableCMT", TRUTH },
        { "enableMBM", TRUTH },
        { "schemata", TEXTS, .since = V1_1 },
        { "enableMonitoring", TRUTH, .since = V1_1 },
        END
};

static const struct member edit_members[] = {
        { "env", TEXTS },
        { "deviceNodes", RECORDS, .members = node_members },
        { "netDevices", RECORDS, .since = V1_1, .members = net_members },
        { "hooks", RECORDS, .members = hook_members },
        { "mounts", RECORDS, .members = mount_members },
        { "intelRdt", RECORD, .since = V0_7, .members = rdt_members },
        { "additionalGids", NUMBERS, .since = V0_7, .max = ID_MAX_VALUE },
        END
};

static const struct member device_members[] = {
        { "name", TEXT, .needed = true },
        { "annotations", TEXT_MAP, .since = V0_6 },
        { "containerEdits", RECORD, .needed = true, .members = edit_members },
        END
};

static const struct member spec_members[] = {
        { "cdiVersion", TEXT, .needed = true },
        { "kind", TEXT, .needed = true },
        { "annotations", TEXT_MAP, .since = V0_6 },
        { "devices", RECORDS, .needed = true, .members = device_members },
        { "containerEdits", RECORD, .members = edit_members },
        END
};

static const struct member *member_named(const struct member *members, const char *name)
{
        for (; members->name; members++)
                if (strcmp(members->name, name) == 0)
                        return members;

        return NULL;
}

/* --- YAML --- */

static int refuse_node(const struct yaml_node *node, const char *wanted, struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_INVALID, "line %u, column %u: want %s", node->line, node->column, wanted);
}

/* "438", "0666", "0o666", "0x1b6". */
static int parse_number(const char *text, int64_t *ret)
{
        int base = 10;
        char *end;

        if (text[0] == '0' && (text[1] == 'x' || text[1] == 'o')) {
                base = text[1] == 'x' ? 16 : 8;
                text += 2;
        } else if (text[0] == '0' && text[1]) {
                base = 8;
        }
        if (!isxdigit((unsigned char) *text))
                return -1;
        errno = 0;
        *ret = strtoll(text, &end, base);
        return errno || *end ? -1 : 0;
}

static struct json_object *scalar_of_yaml(const struct yaml_node *node, enum shape shape, struct cringle_err *err)
{
        struct json_object *o = NULL;
        int64_t number;

        if (node->kind != YAML_SCALAR || yaml_is_null(node)) {
                refuse_node(node, "a value", err);
                return NULL;
        }
        if (shape == TEXT) {
                o = json_object_new_string(node->text);
        } else if (shape == TRUTH && !node->quoted && (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)) {
                o = json_object_new_boolean(*node->text == 't');
        } else if (shape == NUMBER && !node->quoted && parse_number(node->text, &number) == 0) {
                o = json_object_new_int64(number);
        } else {
                refuse_node(node, shape == TRUTH ? "true or false" : "a number that is not negative", err);
                return NULL;
        }
        if (!o)
                err_oom(err);
        return o;
}

static struct json_object *record_of_yaml(const struct yaml_node *node, const struct member *members,
                                          struct cringle_err *err);

static struct json_object *list_of_yaml(const struct yaml_node *node, const struct member *m, struct cringle_err *err)
{
        auto_json array = json_object_new_array();

        if (!array) {
                err_oom(err);
                return NULL;
        }
        if (node->kind != YAML_LIST) {
                refuse_node(node, "a list", err);
                return NULL;
        }
        for (const struct yaml_node *e = node->first; e; e = e->next) {
                struct json_object *value = m->shape == RECORDS ? record_of_yaml(e, m->members, err) :
                                            scalar_of_yaml(e, m->shape == TEXTS ? TEXT : NUMBER, err);

                if (!value || json_add(array, value, err) < 0)
                        return NULL;
        }
        return steal(&array);
}

static struct json_object *value_of_yaml(const struct yaml_node *node, const struct member *m, struct cringle_err *err)
{
        switch (m->shape) {
        case TEXTS:
        case NUMBERS:
        case RECORDS:
                return list_of_yaml(node, m, err);
        case TEXT_MAP:
                return record_of_yaml(node, NULL, err);
        case RECORD:
                return record_of_yaml(node, m->members, err);
        default:
                return scalar_of_yaml(node, m->shape, err);
        }
}

/* @members NULL: any names, with texts. */
static struct json_object *record_of_yaml(const struct yaml_node *node, const struct member *members,
                                          struct cringle_err *err)
{
        static const struct member any = { "", TEXT };
        auto_json o = json_object_new_object();

        if (!o) {
                err_oom(err);
                return NULL;
        }
        if (node->kind != YAML_MAP) {
                refuse_node(node, "a map", err);
                return NULL;
        }
        for (const struct yaml_node *e = node->first; e; e = e->next) {
                const struct member *m = members ? member_named(members, e->key) : &any;
                struct json_object *value;

                if (!m) {
                        err_set(err, CRINGLE_E_INVALID, "line %u, column %u: unknown member '%.64s'", e->key_line,
                                e->key_column, e->key);
                        return NULL;
                }
                if (yaml_is_null(e))
                        continue;
                value = value_of_yaml(e, m, err);
                if (!value || json_set(o, e->key, value, err) < 0)
                        return NULL;
        }
        return steal(&o);
}

static int parse_yaml(const struct buf *text, const char *path, struct json_object **ret, struct cringle_err *err)
{
        auto_of(yaml_doc) doc = NULL;

        if (yaml_parse(text->data ? text->data : "", text->len, path, &doc, err) < 0)
                return -1;
        if (!doc->root)
                return err_set(err, CRINGLE_E_INVALID, "nothing in it");
        *ret = record_of_yaml(doc->root, spec_members, err);
        return *ret ? 0 : -1;
}

/* --- checking the shape --- */

static int check_record(struct json_object *o, const struct member *members, enum version *least, struct cringle_err *err);

static int check_scalar(struct json_object *o, enum shape shape, int64_t max, struct cringle_err *err)
{
        static const json_type types[] = { [TEXT] = json_type_string, [NUMBER] = json_type_int, [TRUTH] = json_type_boolean };

        if (!json_object_is_type(o, types[shape]))
                return err_set(err, CRINGLE_E_INVALID, "want a %s",
                               shape == TEXT ? "string" : shape == NUMBER ? "whole number" : "true or false");
        if (shape == TEXT && strlen(json_object_get_string(o)) != (size_t) json_object_get_string_len(o))
                return err_set(err, CRINGLE_E_INVALID, "a string with a NUL in it");
        if (shape == NUMBER && (json_object_get_int64(o) < 0 || json_object_get_int64(o) > max))
                return err_set(err, CRINGLE_E_INVALID, "%.32s is not within 0 and %lld", json_object_get_string(o),
                               (long long) max);
        return 0;
}

static int check_list(struct json_object *o, const struct member *m, enum version *least, struct cringle_err *err)
{
        if (!json_object_is_type(o, json_type_array))
                return err_set(err, CRINGLE_E_INVALID, "want a list");
        for (size_t i = 0; i < json_object_array_length(o); i++) {
                struct json_object *e = json_object_array_get_idx(o, i);
                int r = m->shape == RECORDS ? check_record(e, m->members, least, err) :
                        check_scalar(e, m->shape == TEXTS ? TEXT : NUMBER, m->max, err);

                if (r < 0)
                        return err_wrap(err, "[%zu]", i);
        }
        return 0;
}

static int check_value(struct json_object *o, const struct member *m, enum version *least, struct cringle_err *err)
{
        switch (m->shape) {
        case TEXTS:
        case NUMBERS:
        case RECORDS:
                return check_list(o, m, least, err);
        case RECORD:
                return check_record(o, m->members, least, err);
        case TEXT_MAP:
                if (!json_object_is_type(o, json_type_object))
                        return err_set(err, CRINGLE_E_INVALID, "want an object");
                json_object_object_foreach(o, key, value) {
                        if (check_scalar(value, TEXT, 0, err) < 0)
                                return err_wrap(err, "%.64s", key);
                }
                return 0;
        default:
                return check_scalar(o, m->shape, m->max, err);
        }
}

/* *least is raised to the version that what is used needs. */
static int check_record(struct json_object *o, const struct member *members, enum version *least, struct cringle_err *err)
{
        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "want an object");
        json_object_object_foreach(o, key, value) {
                const struct member *m = member_named(members, key);

                if (!m)
                        return err_set(err, CRINGLE_E_INVALID, "unknown member '%.64s'", key);
                if (!value)
                        continue;
                if (m->since > *least)
                        *least = m->since;
                if (check_value(value, m, least, err) < 0)
                        return err_wrap(err, "%s", key);
        }
        for (; members->name; members++)
                if (members->needed && !json_object_object_get(o, members->name))
                        return err_set(err, CRINGLE_E_INVALID, "no '%s'", members->name);
        return 0;
}

/* --- checking what is said; shapes are right --- */

static const char *text_of(struct json_object *o, const char *name, const char *fallback)
{
        const char *text;

        return json_get_string(o, name, &text, NULL) == 1 ? text : fallback;
}

static int64_t number_of(struct json_object *o, const char *name, int64_t fallback)
{
        json_get_int(o, name, &fallback, NULL);
        return fallback;
}

/* The elements of the member list @name of @o. */
static size_t count_of(struct json_object *o, const char *name)
{
        struct json_object *array;

        return json_get_array(o, name, &array, NULL) == 1 ? json_object_array_length(array) : 0;
}

static struct json_object *element(struct json_object *o, const char *name, size_t i)
{
        struct json_object *array;

        return json_get_array(o, name, &array, NULL) == 1 ? json_object_array_get_idx(array, i) : NULL;
}

/* Letters, digits and @marks, alphanumeric at both ends. */
static bool is_word(const char *text, size_t n, const char *marks)
{
        if (n == 0 || !isalnum((unsigned char) text[0]) || !isalnum((unsigned char) text[n - 1]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char) text[i]) && !strchr(marks, text[i]))
                        return false;

        return true;
}

static int check_kind(const char *kind, enum version *least, struct cringle_err *err)
{
        const char *slash = strchr(kind, '/'), *class = slash ? slash + 1 : "";
        size_t n = slash ? (size_t) (slash - kind) : 0;

        if (n > 253 || strlen(class) > 63 || !is_word(kind, n, "-_.") || !isalpha((unsigned char) *kind) ||
            !is_word(class, strlen(class), "-_.") || !isalpha((unsigned char) *class))
                return err_set(err, CRINGLE_E_INVALID, "kind '%.100s' is not VENDOR/CLASS, as vendor.com/gpu is", kind);
        if (strchr(class, '.') && *least < V0_6)
                *least = V0_6;
        return 0;
}

static int check_name(const char *name, enum version *least, struct cringle_err *err)
{
        if (strlen(name) > 255 || !is_word(name, strlen(name), "-_.:"))
                return err_set(err, CRINGLE_E_INVALID, "'%.100s' is no name of a device", name);
        if (isdigit((unsigned char) *name) && *least < V0_5)
                *least = V0_5;
        return 0;
}

int cdi_check_name(const char *name, struct cringle_err *err)
{
        const char *sign = strchr(name, '=');
        auto_free char *kind = sign ? strndup(name, (size_t) (sign - name)) : strdup("");
        enum version least = 0;

        if (!kind)
                return err_oom(err);
        if (!sign || check_kind(kind, &least, err) < 0 || check_name(sign + 1, &least, err) < 0)
                return err_set(err, CRINGLE_E_INVALID, "CDI device '%.200s': not VENDOR/CLASS=NAME, as vendor.com/gpu=0 is", name);
        return 0;
}

static int check_env(struct json_object *o, struct cringle_err *err)
{
        for (size_t i = 0; i < count_of(o, "env"); i++) {
                const char *text = json_object_get_string(element(o, "env", i));

                if (*text == '=' || !strchr(text, '='))
                        return err_set(err, CRINGLE_E_INVALID, "env[%zu]: '%.100s' is not NAME=VALUE", i, text);
        }
        return 0;
}

static int check_node(struct json_object *o, struct cringle_err *err)
{
        const char *path = text_of(o, "path", ""), *permissions = text_of(o, "permissions", "");
        const char *type = text_of(o, "type", "");

        if (!path_is_clean(path) || !path[1])
                return err_set(err, CRINGLE_E_INVALID, "path '%.200s' is not absolute and clean", path);
        if (*text_of(o, "hostPath", path) != '/')
                return err_set(err, CRINGLE_E_INVALID, "hostPath '%.200s' is not absolute", text_of(o, "hostPath", ""));
        if (*type && (!strchr("bcup", *type) || type[1]))
                return err_set(err, CRINGLE_E_INVALID, "type '%.16s' is none of b, c, u, p", type);
        if (strcmp(permissions, "none") != 0 && strspn(permissions, "rwm") != strlen(permissions))
                return err_set(err, CRINGLE_E_INVALID, "permissions '%.16s' are neither some of r, w, m nor none", permissions);
        return 0;
}

static int check_mount(struct json_object *o, struct cringle_err *err)
{
        const char *target = text_of(o, "containerPath", "");

        if (!path_is_clean(target) || !target[1])
                return err_set(err, CRINGLE_E_INVALID, "containerPath '%.200s' is not absolute and clean", target);
        return *text_of(o, "hostPath", "") ? 0 : err_set(err, CRINGLE_E_INVALID, "an empty hostPath");
}

static int check_hook(struct json_object *o, struct cringle_err *err)
{
        if (stage_of(text_of(o, "hookName", "")) < 0)
                return err_set(err, CRINGLE_E_INVALID, "unknown hookName '%.64s'", text_of(o, "hookName", ""));
        if (*text_of(o, "path", "") != '/')
                return err_set(err, CRINGLE_E_INVALID, "path '%.200s' is not absolute", text_of(o, "path", ""));
        return check_env(o, err);
}

/* Interface names as the kernel takes them; neither end may be named twice. */
static int check_net(struct json_object *edits, size_t at, struct cringle_err *err)
{
        static const char *const ends[] = { "hostInterfaceName", "name" };

        for (size_t e = 0; e < 2; e++) {
                const char *name = text_of(element(edits, "netDevices", at), ends[e], "");

                if (!*name || strlen(name) > 15 || strpbrk(name, "/: \t\n") || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                        return err_set(err, CRINGLE_E_INVALID, "%s: '%.64s' is no name of an interface", ends[e], name);
                for (size_t i = 0; i < at; i++)
                        if (strcmp(name, text_of(element(edits, "netDevices", i), ends[e], "")) == 0)
                                return err_set(err, CRINGLE_E_INVALID, "%s '%s' is there twice", ends[e], name);
        }
        return 0;
}

static int check_rdt(struct json_object *rdt, struct cringle_err *err)
{
        const char *id = text_of(rdt, "closID", "x");

        if (!*id || strlen(id) > 4095 || strpbrk(id, "/\n") || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
                return err_set(err, CRINGLE_E_INVALID, "intelRdt: closID '%.64s' is no name of a folder", id);
        return 0;
}

static int check_edits(struct json_object *edits, struct cringle_err *err)
{
        struct json_object *rdt;

        if (check_env(edits, err) < 0)
                return -1;
        for (size_t i = 0; i < count_of(edits, "deviceNodes"); i++)
                if (check_node(element(edits, "deviceNodes", i), err) < 0)
                        return err_wrap(err, "deviceNodes[%zu]", i);
        for (size_t i = 0; i < count_of(edits, "netDevices"); i++)
                if (check_net(edits, i, err) < 0)
                        return err_wrap(err, "netDevices[%zu]", i);
        for (size_t i = 0; i < count_of(edits, "mounts"); i++)
                if (check_mount(element(edits, "mounts", i), err) < 0)
                        return err_wrap(err, "mounts[%zu]", i);
        for (size_t i = 0; i < count_of(edits, "hooks"); i++)
                if (check_hook(element(edits, "hooks", i), err) < 0)
                        return err_wrap(err, "hooks[%zu]", i);
        return json_get_object(edits, "intelRdt", &rdt, NULL) == 1 ? check_rdt(rdt, err) : 0;
}

static bool is_empty(struct json_object *edits)
{
        struct json_object *rdt;

        for (const struct member *m = edit_members; m->name; m++)
                if (count_of(edits, m->name) > 0)
                        return false;

        return json_get_object(edits, "intelRdt", &rdt, NULL) != 1;
}

static int check_devices(struct json_object *spec, enum version *least, struct cringle_err *err)
{
        size_t n = count_of(spec, "devices");
        struct map names = MAP_INIT;
        int r = 0;

        if (n == 0)
                return err_set(err, CRINGLE_E_INVALID, "no devices");
        for (size_t i = 0; r == 0 && i < n; i++) {
                struct json_object *device = element(spec, "devices", i), *edits = NULL;
                const char *name = text_of(device, "name", "");

                json_get_object(device, "containerEdits", &edits, NULL);
                r = check_name(name, least, err);
                if (r == 0 && map_get(&names, name))
                        r = err_set(err, CRINGLE_E_INVALID, "there is a device '%s' already", name);
                if (r == 0 && is_empty(edits))
                        r = err_set(err, CRINGLE_E_INVALID, "device '%s': empty containerEdits", name);
                if (r == 0 && check_edits(edits, err) < 0)
                        r = err_wrap(err, "device '%s'", name);
                if (r == 0)
                        r = map_put(&names, name, device, err);
        }
        map_done(&names, NULL);
        return r;
}

static int check_spec(struct json_object *spec, struct cringle_err *err)
{
        enum version least = V0_3;
        struct json_object *edits;
        const char *said;
        int version = -1;

        if (check_record(spec, spec_members, &least, err) < 0 || check_kind(text_of(spec, "kind", ""), &least, err) < 0 ||
            check_devices(spec, &least, err) < 0)
                return -1;
        if (json_get_object(spec, "containerEdits", &edits, NULL) == 1 && check_edits(edits, err) < 0)
                return err_wrap(err, "containerEdits");

        said = text_of(spec, "cdiVersion", "");
        for (int i = 0; i < VERSIONS; i++)
                if (strcmp(versions[i], said + (*said == 'v')) == 0)
                        version = i;
        if (version < 0)
                return err_set(err, CRINGLE_E_INVALID, "unknown cdiVersion '%.32s'", said);
        if (version < (int) least)
                return err_set(err, CRINGLE_E_INVALID, "cdiVersion %s is too low for what is used: it takes %s", said,
                               versions[least]);
        return 0;
}

/* --- reading --- */

static bool is_cdi_file(const char *name)
{
        return name[0] != '.' && (str_ends(name, ".json") || str_ends(name, ".yaml") || str_ends(name, ".yml"));
}

uint64_t cdi_stamp(const char *const *dirs, bool *ret_settled)
{
        return dir_stamp_of(dirs, is_cdi_file, ret_settled);
}

static int read_spec(const char *path, struct json_object **ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        auto_json spec = NULL;

        if (dir_read_file(path, &text, err) < 0)
                return -1;
        if (str_ends(path, ".json") ? json_parse(text.data ? text.data : "", text.len, &spec, err) < 0 :
                                      parse_yaml(&text, path, &spec, err) < 0)
                return -1;
        if (check_spec(spec, err) < 0)
                return -1;
        *ret = steal(&spec);
        return 0;
}

/* A file, or a directory that cannot be read (then @error says why). */
static int add_file(struct cdi *c, const char *path, size_t dir, const char *error, struct cringle_err *err)
{
        struct cdi_file *grown = realloc(c->files, (c->n_files + 1) * sizeof *grown);
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct cdi_file *f;

        if (!grown)
                return err_oom(err);
        c->files = grown;
        f = &grown[c->n_files++];
        *f = (struct cdi_file) { .path = strdup(path), .dir = dir };
        if (!f->path)
                return err_oom(err);
        if (!error && read_spec(path, &f->spec, &why) < 0)
                error = why.text;
        if (!error)
                return 0;
        f->error = strdup(error);
        return f->error ? 0 : err_oom(err);
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static int read_dir(struct cdi *c, const char *path, size_t number, struct cringle_err *err)
{
        DIR *dir = opendir(path);
        auto_strv names = NULL;
        struct dirent *entry;
        int r = 0;

        if (!dir)
                return errno == ENOENT ? 0 : add_file(c, path, number, strerror(errno), err);
        while (r == 0 && (entry = readdir(dir)))
                if (is_cdi_file(entry->d_name))
                        r = strv_add(&names, entry->d_name, err);
        closedir(dir);
        if (names)
                qsort(names, strv_count((const char *const *) names), sizeof *names, by_name);
        for (size_t i = 0; r == 0 && names && names[i]; i++) {
                auto_free char *file = str_printf(err, "%s/%s", path, names[i]);

                r = file ? add_file(c, file, number, NULL, err) : -1;
        }
        return r;
}

static int add_devices(struct cdi *c, size_t file, struct cringle_err *err)
{
        struct json_object *spec = c->files[file].spec;
        size_t n = count_of(spec, "devices");
        struct cdi_device *grown = realloc(c->devices, (c->n_devices + n + 1) * sizeof *grown);

        if (!grown)
                return err_oom(err);
        c->devices = grown;
        for (size_t i = 0; i < n; i++) {
                struct json_object *device = element(spec, "devices", i);
                struct cdi_device *d = &grown[c->n_devices++];

                *d = (struct cdi_device) { .file = file };
                json_get_object(device, "containerEdits", &d->edits, NULL);
                d->name = str_printf(err, "%s=%s", text_of(spec, "kind", ""), text_of(device, "name", ""));
                if (!d->name)
                        return -1;
        }
        return 0;
}

static size_t dir_of(const struct cdi *c, const struct cdi_device *d)
{
        return c->files[d->file].dir;
}

static int set_conflict(struct cdi *c, struct cdi_device *d, const struct cdi_device *other, struct cringle_err *err)
{
        if (d->error)
                return 0;
        d->error = str_printf(err, "%s is in %s, too: neither can be had", d->name, c->files[other->file].path);
        return d->error ? 0 : -1;
}

/* Which of the devices of one name counts.  They do not move any more. */
static int rank(struct cdi *c, struct cringle_err *err)
{
        for (size_t i = 0; i < c->n_devices; i++) {
                struct cdi_device *d = &c->devices[i], *old = map_get(&c->by_name, d->name);

                if (old && dir_of(c, old) == dir_of(c, d)) {
                        if (set_conflict(c, d, old, err) < 0 || set_conflict(c, old, d, err) < 0)
                                return -1;
                } else if (map_put(&c->by_name, d->name, d, err) < 0) {
                        return -1;
                }
        }
        for (size_t i = 0; i < c->n_devices; i++) {
                struct cdi_device *d = &c->devices[i];

                d->hidden = dir_of(c, d) < dir_of(c, map_get(&c->by_name, d->name));
        }
        return 0;
}

int cdi_read(const char *const *dirs, struct cdi *ret, struct cringle_err *err)
{
        for (size_t i = 0; dirs && dirs[i]; i++)
                if (read_dir(ret, dirs[i], i, err) < 0)
                        return -1;
        for (size_t i = 0; i < ret->n_files; i++)
                if (ret->files[i].spec && add_devices(ret, i, err) < 0)
                        return -1;
        return rank(ret, err);
}

void cdi_done(struct cdi *c)
{
        for (size_t i = 0; i < c->n_files; i++) {
                free(c->files[i].path);
                free(c->files[i].error);
                json_object_put(c->files[i].spec);
        }
        for (size_t i = 0; i < c->n_devices; i++) {
                free(c->devices[i].name);
                free(c->devices[i].error);
        }
        map_done(&c->by_name, NULL);
        free(c->files);
        free(c->devices);
        *c = (struct cdi) { 0 };
}

/* --- what is asked for --- */

static int want(char ***list, const char *name, struct cringle_err *err)
{
        return strv_has((const char *const *) *list, name) ? 0 : strv_add(list, name, err);
}

static int want_annotated(Cri__Pair *const *pairs, size_t n, char ***ret, struct cringle_err *err)
{
        for (size_t i = 0; i < n; i++) {
                if (!str_starts(pairs[i]->key, CDI_ANNOTATION))
                        continue;
                for (const char *at = pairs[i]->value;; at++) {
                        size_t len = strcspn(at, ",");
                        auto_free char *name = strndup(at, len);

                        if (!name)
                                return err_oom(err);
                        if (!strchr(name, '/') || !strchr(name, '='))
                                return err_set(err, CRINGLE_E_INVALID, "annotation %.100s: '%.100s' is not VENDOR/CLASS=NAME",
                                               pairs[i]->key, name);
                        if (want(ret, name, err) < 0)
                                return -1;
                        at += len;
                        if (!*at)
                                break;
                }
        }
        return 0;
}

int cdi_wanted(const Cri__ContainerConfig *container, const Cri__PodSandboxConfig *pod, char ***ret,
               struct cringle_err *err)
{
        for (size_t i = 0; i < container->n_cdi_devices; i++)
                if (want(ret, container->cdi_devices[i]->name, err) < 0)
                        return -1;
        if (want_annotated(container->annotations, container->n_annotations, ret, err) < 0)
                return -1;
        return pod ? want_annotated(pod->annotations, pod->n_annotations, ret, err) : 0;
}

/* --- giving a container what it needs --- */

static int apply_env(struct json_object *edits, struct adjust *a, struct cringle_err *err)
{
        for (size_t i = 0; i < count_of(edits, "env"); i++) {
                const char *text = json_object_get_string(element(edits, "env", i)), *value = strchr(text, '=') + 1;
                auto_free char *name = strndup(text, (size_t) (value - text) - 1);

                if (!name)
                        return err_oom(err);
                if (adjust_env(a, name, value, err) < 0)
                        return -1;
        }
        return 0;
}

/* What the file leaves open is as it is on the node.  A link is none: what it leads to may change. */
static int look_at_node(struct json_object *from, const char **type, int64_t numbers[2], int64_t *mode,
                        struct cringle_err *err)
{
        const char *path = text_of(from, "hostPath", text_of(from, "path", "")), *found;
        struct stat st;

        if (**type && (numbers[0] || **type == 'p'))
                return 0;               /* all that must be known is in the file */
        if (lstat(path, &st) < 0)
                return err_sys(err, "%s", path);
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode) && !S_ISFIFO(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "%s is not a device", path);
        found = S_ISCHR(st.st_mode) ? "c" : S_ISBLK(st.st_mode) ? "b" : "p";
        if (!**type)
                *type = found;
        if (**type != *found && !(**type == 'u' && *found == 'c'))
                return err_set(err, CRINGLE_E_INVALID, "%s is of type %s, not %s", path, found, *type);
        if (*found != 'p') {
                numbers[0] = major(st.st_rdev);
                numbers[1] = minor(st.st_rdev);
        }
        if (*mode < 0)
                *mode = st.st_mode & 07777;
        return 0;
}

/* The id of the container's process, when the device has none of its own; root's is nothing to say. */
static int set_id(struct json_object *node, struct json_object *from, struct adjust *a, const char *name,
                  struct cringle_err *err)
{
        int64_t id = number_of(from, name, -1);
        struct json_object *process, *user;

        if (id < 0 && json_get_object(a->spec, "process", &process, NULL) == 1 &&
            json_get_object(process, "user", &user, NULL) == 1) {
                id = number_of(user, name, -1);
                if (id == 0)
                        id = -1;
        }
        return id < 0 ? 0 : json_set_int(node, name, id, err);
}

static int apply_node(struct json_object *from, struct adjust *a, struct cringle_err *err)
{
        const char *path = text_of(from, "path", ""), *type = text_of(from, "type", "");
        const char *access = text_of(from, "permissions", "");
        int64_t numbers[2] = { number_of(from, "major", 0), number_of(from, "minor", 0) };
        int64_t mode = number_of(from, "fileMode", -1);
        auto_json node = json_object_new_object();

        if (!node)
                return err_oom(err);
        if (look_at_node(from, &type, numbers, &mode, err) < 0)
                return -1;
        if (json_set_string(node, "path", path, err) < 0 || json_set_string(node, "type", type, err) < 0 ||
            (*type != 'p' && (json_set_int(node, "major", numbers[0], err) < 0 ||
                              json_set_int(node, "minor", numbers[1], err) < 0)) ||
            (mode >= 0 && json_set_int(node, "fileMode", mode & 07777, err) < 0) ||
            set_id(node, from, a, "uid", err) < 0 || set_id(node, from, a, "gid", err) < 0)
                return -1;
        if (strcmp(access, "none") == 0 || (*type != 'b' && *type != 'c'))
                access = NULL;
        else if (!*access)
                access = "rwm";
        return adjust_node(a, steal(&node), access, err);
}

static bool has_user_namespace(struct json_object *spec)
{
        struct json_object *linux_;

        if (json_get_object(spec, "linux", &linux_, NULL) != 1)
                return false;
        for (size_t i = 0; i < count_of(linux_, "namespaces"); i++)
                if (strcmp(text_of(element(linux_, "namespaces", i), "type", ""), "user") == 0)
                        return true;

        return false;
}

static int apply_mount(struct json_object *from, struct adjust *a, struct cringle_err *err)
{
        const char *type = text_of(from, "type", "");
        auto_json mount = json_object_new_object();
        auto_strv options = NULL;
        bool bind;

        if (!mount)
                return err_oom(err);
        if (json_get_strv(from, "options", &options, err) < 0)
                return -1;
        bind = !*type || strcmp(type, "bind") == 0 || strv_has((const char *const *) options, "bind") ||
               strv_has((const char *const *) options, "rbind");
        if (bind && has_user_namespace(a->spec) && !strv_has((const char *const *) options, "idmap") &&
            !strv_has((const char *const *) options, "ridmap") && strv_add(&options, "idmap", err) < 0)
                return -1;
        if (json_set_string(mount, "destination", text_of(from, "containerPath", ""), err) < 0 ||
            json_set_string(mount, "type", *type ? type : "bind", err) < 0 ||
            json_set_string(mount, "source", text_of(from, "hostPath", ""), err) < 0 ||
            json_set_strv(mount, "options", (const char *const *) options, err) < 0)
                return -1;
        return adjust_mount_entry(a, steal(&mount), err);
}

static int apply_hook(struct json_object *from, struct adjust *a, struct cringle_err *err)
{
        auto_strv args = NULL;
        auto_strv env = NULL;

        if (json_get_strv(from, "args", &args, err) < 0 || json_get_strv(from, "env", &env, err) < 0)
                return -1;
        return adjust_oci_hook(a, text_of(from, "hookName", ""), text_of(from, "path", ""), (const char *const *) args,
                               (const char *const *) env, (int) number_of(from, "timeout", 0), err);
}

static int apply_groups(struct json_object *edits, struct adjust *a, struct cringle_err *err)
{
        for (size_t i = 0; i < count_of(edits, "additionalGids"); i++) {
                int64_t gid = json_object_get_int64(element(edits, "additionalGids", i));

                if (gid > 0 && adjust_group(a, (uint32_t) gid, err) < 0)
                        return -1;
        }
        return 0;
}

static int apply_list(struct json_object *edits, const char *name, struct adjust *a,
                      int (*fn)(struct json_object *from, struct adjust *a, struct cringle_err *err), struct cringle_err *err)
{
        for (size_t i = 0; i < count_of(edits, name); i++)
                if (fn(element(edits, name, i), a, err) < 0)
                        return err_wrap(err, "%s[%zu]", name, i);
        return 0;
}

static int apply_net(struct json_object *from, struct adjust *a, struct cringle_err *err)
{
        return adjust_net_device(a, text_of(from, "hostInterfaceName", ""), text_of(from, "name", ""), err);
}

static int apply_edits(struct json_object *edits, struct adjust *a, struct cringle_err *err)
{
        struct json_object *rdt;

        if (apply_env(edits, a, err) < 0 || apply_list(edits, "deviceNodes", a, apply_node, err) < 0 ||
            apply_list(edits, "netDevices", a, apply_net, err) < 0 || apply_list(edits, "mounts", a, apply_mount, err) < 0 ||
            apply_list(edits, "hooks", a, apply_hook, err) < 0)
                return -1;
        if (json_get_object(edits, "intelRdt", &rdt, NULL) == 1 && adjust_rdt(a, json_object_get(rdt), err) < 0)
                return -1;
        return apply_groups(edits, a, err);
}

/* "a.com/gpu=1, a.com/gpu=2 and 7 more": what could have been asked for. */
static int describe_known(const struct cdi *c, struct buf *b, struct cringle_err *err)
{
        size_t n = 0;

        for (size_t i = 0; i < c->n_devices; i++) {
                if (c->devices[i].error || c->devices[i].hidden)
                        continue;
                if (++n <= KNOWN_MAX && buf_printf(b, err, "%s%s", n > 1 ? ", " : "", c->devices[i].name) < 0)
                        return -1;
        }
        if (n > KNOWN_MAX)
                return buf_printf(b, err, " and %zu more", n - KNOWN_MAX);
        return n ? 0 : buf_add_str(b, "none", err);
}

/* All of @names can be had; otherwise all that cannot are told at once. */
static int resolve(const struct cdi *c, const char *const *names, struct cringle_err *err)
{
        auto_buf missing = BUF_INIT, known = BUF_INIT;
        size_t bad = 0;

        for (size_t i = 0; names[i]; i++) {
                const struct cdi_device *d = map_get(&c->by_name, names[i]);

                if (d && !d->error)
                        continue;
                if (buf_printf(&missing, err, "%s%.200s%s%s%s", missing.len ? ", " : "", names[i], d ? " (" : "",
                               d ? d->error : "", d ? ")" : "") < 0)
                        return -1;
        }
        if (missing.len == 0)
                return 0;
        for (size_t i = 0; i < c->n_files; i++)
                bad += c->files[i].error != NULL;
        if (describe_known(c, &known, err) < 0)
                return -1;
        if (bad && buf_printf(&known, err, "; %zu bad file%s, see `cringle hooks list`", bad, bad > 1 ? "s" : "") < 0)
                return -1;
        return err_set(err, CRINGLE_E_NOT_FOUND, "CDI devices that cannot be had: %s; known: %s", missing.data, known.data);
}

int cdi_apply(struct cdi *c, struct adjust *a, const char *const *names, bool count, struct cringle_err *err)
{
        auto_free bool *begun = calloc(c->n_files + 1, sizeof *begun);  /* files whose own edits are made */
        bool has_mounts = false;

        if (!begun)
                return err_oom(err);
        if (resolve(c, names, err) < 0 || adjust_begin(a, OWNER, false, err) < 0)
                return -1;
        for (size_t i = 0; names[i]; i++) {
                struct cdi_device *d = map_get(&c->by_name, names[i]);
                struct json_object *edits;

                a->part = d->name;
                a->origin = c->files[d->file].path;
                if (!begun[d->file] && json_get_object(c->files[d->file].spec, "containerEdits", &edits, NULL) == 1) {
                        has_mounts |= count_of(edits, "mounts") > 0;
                        if (apply_edits(edits, a, err) < 0)
                                return err_wrap(err, "CDI file %s", c->files[d->file].path);
                }
                begun[d->file] = true;
                has_mounts |= count_of(d->edits, "mounts") > 0;
                if (apply_edits(d->edits, a, err) < 0)
                        return err_wrap(err, "CDI device %s", d->name);
                d->matches += count;
        }
        return has_mounts ? adjust_sort_mounts(a, err) : 0;
}
