/*
 * From the schema to text: values, defaults, explanations, the reference page.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "config/schema.h"

#define ORIGIN_COLUMN 56

struct writer {
        struct buf *out;
        bool origin;                    /* say where each value comes from */
        bool secrets;                   /* write them out, for comparing */
};

int schema_write_number(const struct key *key, int64_t value, struct buf *ret, struct cringle_err *err)
{
        static const struct {
                const char *name;
                int64_t unit;
        } sizes[] = { { "TiB", INT64_C(1) << 40 }, { "GiB", 1 << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 } },
          times[] = { { "h", 3600 * NSEC_PER_SEC }, { "m", 60 * NSEC_PER_SEC }, { "s", NSEC_PER_SEC },
                      { "ms", NSEC_PER_MSEC }, { "us", 1000 }, { "ns", 1 } };

        for (size_t i = 0; value && key->type == KEY_SIZE && i < sizeof sizes / sizeof *sizes; i++)
                if (value % sizes[i].unit == 0)
                        return buf_printf(ret, err, "%lld%s", (long long) (value / sizes[i].unit), sizes[i].name);
        if (key->type == KEY_DURATION && value) {
                for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
                        if (value >= times[i].unit && buf_printf(ret, err, "%lld%s", (long long) (value / times[i].unit),
                                                                 times[i].name) < 0)
                                return -1;
                        value %= times[i].unit;
                }
                return 0;
        }
        return buf_printf(ret, err, "%lld", (long long) value);
}

static int write_list(char *const *list, struct buf *ret, struct cringle_err *err)
{
        if (buf_add_str(ret, "[", err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++)
                if ((i && buf_add_str(ret, ", ", err) < 0) || yaml_write(list[i], ret, err) < 0)
                        return -1;

        return buf_add_str(ret, "]", err);
}

/* A value that fits on its key's line. */
static int write_scalar(const struct writer *w, const struct key *key, const void *at, struct buf *ret,
                        struct cringle_err *err)
{
        const char *text;

        switch (key->type) {
        case KEY_BOOL:
                return buf_add_str(ret, *(const bool *) at ? "true" : "false", err);
        case KEY_POLICY:
                return buf_add_str(ret, *(const bool *) at ? "fail" : "ignore", err);
        case KEY_INTEGER:
        case KEY_SIZE:
        case KEY_DURATION:
                if (!key->fallback && !*(const int64_t *) at)
                        return buf_add_str(ret, "null", err);
                return schema_write_number(key, *(const int64_t *) at, ret, err);
        case KEY_ID:
                return schema_write_number(key, *(const uint32_t *) at, ret, err);
        case KEY_STRINGS:
        case KEY_PATHS:
        case KEY_REGEXES:
                return write_list(*(char *const *const *) at, ret, err);
        default:
                text = *(const char *const *) at;
                if (!text)
                        return buf_add_str(ret, "null", err);
                if (key->type == KEY_SECRET && !w->secrets)
                        return buf_add_str(ret, "\"(not shown)\"", err);
                return yaml_write(text, ret, err);
        }
}

/* "file:line" of a value, and of each other file that appended to it. */
static int write_origin(const struct key *key, const struct yaml_node *node, struct buf *ret, struct cringle_err *err)
{
        const char *last;

        if (!node)
                return buf_add_str(ret, "default", err);
        if (buf_printf(ret, err, "%s%s:%u", node->append && key && key->fallback ? "default, " : "", node->file,
                       node->line) < 0)
                return -1;

        last = node->file;
        for (const struct yaml_node *m = node->kind == YAML_LIST ? node->first : NULL; m; m = m->next) {
                if (m->file == last)
                        continue;
                last = m->file;
                if (buf_printf(ret, err, ", %s:%u", m->file, m->line) < 0)
                        return -1;
        }
        return 0;
}

/* One line: "<indent>lead name: value   # origin"; @key NULL: no origin is known or of interest. */
static int write_line(const struct writer *w, int indent, const char *lead, const char *name, const char *value,
                      const struct key *key, const struct yaml_node *node, struct cringle_err *err)
{
        size_t start = w->out->len;
        int used;

        if (buf_printf(w->out, err, "%*s%s", indent, "", lead) < 0 || yaml_write(name, w->out, err) < 0 ||
            buf_printf(w->out, err, ":%s%s", *value ? " " : "", value) < 0)
                return -1;
        if (w->origin && key) {
                used = (int) (w->out->len - start);
                if (buf_printf(w->out, err, "%*s # ", used < ORIGIN_COLUMN ? ORIGIN_COLUMN - used : 0, "") < 0 ||
                    write_origin(key, node, w->out, err) < 0)
                        return -1;
        }
        return buf_add_str(w->out, "\n", err);
}

/* Settings and conditions; what comes several times is a list again. */
static int write_pairs(const struct writer *w, int indent, const struct key *key, const struct cringle_pair *pairs,
                       const struct yaml_node *node, struct cringle_err *err)
{
        for (const struct cringle_pair *p = pairs; p && p->key;) {
                const struct yaml_node *member = yaml_get(node, p->key);
                bool list = member ? member->kind == YAML_LIST : p[1].key && strcmp(p[1].key, p->key) == 0;
                const char *name = p->key;
                auto_buf value = BUF_INIT;

                if (list && buf_add_str(&value, "[", err) < 0)
                        return -1;
                for (bool first = true; p->key && strcmp(p->key, name) == 0; p++, first = false)
                        if ((!first && buf_add_str(&value, ", ", err) < 0) || yaml_write(p->value, &value, err) < 0)
                                return -1;
                if (list && buf_add_str(&value, "]", err) < 0)
                        return -1;
                if (write_line(w, indent, "", name, value.data, key, member, err) < 0)
                        return -1;
        }
        return 0;
}

static int write_keys(const struct writer *w, int indent, const char *lead, const struct key *keys, const void *base,
                      const struct yaml_node *node, struct cringle_err *err);

static int write_records(const struct writer *w, int indent, const struct key *key, const void *base,
                         const struct yaml_node *node, struct cringle_err *err)
{
        const char *records = *(const char *const *) ((const char *) base + key->offset);
        size_t count = *(const size_t *) ((const char *) base + key->count);
        const struct yaml_node *m = node ? node->first : NULL;

        for (size_t i = 0; i < count; i++, m = m ? m->next : NULL) {
                const char *record = records + i * key->record_size;

                if (key->type == KEY_TABLE) {
                        if (write_line(w, indent, "", *(const char *const *) record, "", NULL, NULL, err) < 0 ||
                            write_keys(w, indent + 2, "", key->keys, record, m, err) < 0)
                                return -1;
                } else if (write_keys(w, indent, "- ", key->keys, record, m, err) < 0) {
                        return -1;
                }
        }
        return 0;
}

static int write_key(const struct writer *w, int indent, const char *lead, const struct key *key, const void *base,
                     const struct yaml_node *parent, struct cringle_err *err)
{
        const struct yaml_node *node = yaml_get(parent, key->name);
        const void *at = (const char *) base + key->offset;
        int inner = indent + (int) strlen(lead) + 2;
        auto_buf value = BUF_INIT;

        switch (key->type) {
        case KEY_SECTION:
                if (write_line(w, indent, lead, key->name, "", NULL, NULL, err) < 0)
                        return -1;
                return write_keys(w, inner, "", key->keys, at, node, err);
        case KEY_RECORDS:
        case KEY_TABLE:
                if (!*(const size_t *) ((const char *) base + key->count))
                        return write_line(w, indent, lead, key->name, key->type == KEY_TABLE ? "{}" : "[]", key, node, err);
                if (write_line(w, indent, lead, key->name, "", key, node, err) < 0)
                        return -1;
                return write_records(w, inner, key, base, node, err);
        case KEY_SETTINGS:
        case KEY_REGEX_PAIRS:
                if (!*(const struct cringle_pair *const *) at)
                        return write_line(w, indent, lead, key->name, "{}", key, node, err);
                if (write_line(w, indent, lead, key->name, "", NULL, NULL, err) < 0)
                        return -1;
                return write_pairs(w, inner, key, *(const struct cringle_pair *const *) at, node, err);
        default:
                if (write_scalar(w, key, at, &value, err) < 0)
                        return -1;
                return write_line(w, indent, lead, key->name, value.data, key, node, err);
        }
}

/* @lead ("- ") stands before the first key, spaces before the others. */
static int write_keys(const struct writer *w, int indent, const char *lead, const struct key *keys, const void *base,
                      const struct yaml_node *node, struct cringle_err *err)
{
        bool first = true;

        for (const struct key *key = keys; key->name; key++) {
                if (key->type == KEY_ORIGIN)
                        continue;
                if (write_key(w, indent, first ? lead : *lead ? "  " : "", key, base, node, err) < 0)
                        return -1;
                first = false;
        }
        return 0;
}

int schema_show(const struct config *c, const struct yaml_node *root, bool origin, struct buf *ret,
                struct cringle_err *err)
{
        struct writer w = { .out = ret, .origin = origin };

        return write_keys(&w, 0, "", schema_keys, c, root, err);
}

static int diff_keys(const struct key *keys, const char *path, const void *old, const void *fresh, struct buf *live,
                     struct buf *restart, struct cringle_err *err)
{
        for (const struct key *key = keys; key->name; key++) {
                auto_buf before = BUF_INIT, after = BUF_INIT;
                auto_free char *name = str_printf(err, "%s%s%s", path, *path ? "." : "", key->name);
                struct writer a = { .out = &before, .secrets = true }, b = { .out = &after, .secrets = true };

                if (!name)
                        return -1;
                if (key->type == KEY_SECTION) {
                        if (diff_keys(key->keys, name, (const char *) old + key->offset,
                                      (const char *) fresh + key->offset, live, restart, err) < 0)
                                return -1;
                        continue;
                }
                if (write_key(&a, 0, "", key, old, NULL, err) < 0 || write_key(&b, 0, "", key, fresh, NULL, err) < 0)
                        return -1;
                if (strcmp(before.data, after.data) != 0 &&
                    buf_printf(key->flags & KEY_LIVE ? live : restart, err, "%s\n", name) < 0)
                        return -1;
        }
        return 0;
}

int config_diff(const struct config *old, const struct config *fresh, struct buf *live, struct buf *restart,
                struct cringle_err *err)
{
        return diff_keys(schema_keys, "", old, fresh, live, restart, err);
}

static const char *default_of(const struct key *key)
{
        if (key->shown)
                return key->shown;
        if (key->fallback)
                return key->fallback;
        if (key->type == KEY_RECORDS || key->type == KEY_STRINGS || key->type == KEY_REGEXES)
                return "[]";
        if (key->type == KEY_TABLE || key->type == KEY_SETTINGS || key->type == KEY_REGEX_PAIRS)
                return "{}";
        return "none";
}

/* "number from 1 to 64", "one of error, warning" */
static int write_type(const struct key *key, struct buf *ret, struct cringle_err *err)
{
        if (key->type == KEY_CHOICE) {
                if (buf_add_str(ret, "one of ", err) < 0)
                        return -1;
                for (size_t i = 0; key->choices[i]; i++)
                        if (buf_printf(ret, err, "%s%s", i ? ", " : "", key->choices[i]) < 0)
                                return -1;
                return 0;
        }
        if (buf_add_str(ret, schema_type_name(key), err) < 0)
                return -1;
        if (!key->min && !key->max)
                return 0;
        if (buf_add_str(ret, " from ", err) < 0 || schema_write_number(key, key->min, ret, err) < 0 ||
            buf_add_str(ret, " to ", err) < 0)
                return -1;
        return schema_write_number(key, key->max, ret, err);
}

/* The keys of a record as a comment, one per line. */
static int describe_record(int indent, const struct key *keys, struct buf *ret, struct cringle_err *err)
{
        for (const struct key *key = keys; key->name; key++) {
                if (key->type == KEY_ORIGIN)
                        continue;
                if (buf_printf(ret, err, "%*s#%*s%s (", indent < 2 ? indent : 2, "", indent < 2 ? indent + 3 : indent + 1,
                               "", key->name) < 0 ||
                    write_type(key, ret, err) < 0 ||
                    buf_printf(ret, err, "%s): %s\n", key->flags & KEY_REQUIRED ? ", required" : "", key->help) < 0)
                        return -1;
                if (schema_is_nested(key) && describe_record(indent + 2, key->keys, ret, err) < 0)
                        return -1;
        }
        return 0;
}

static int write_default_keys(int indent, const struct key *keys, struct buf *ret, struct cringle_err *err)
{
        for (const struct key *key = keys; key->name; key++) {
                bool gap = indent == 0 && key != keys;

                if (buf_printf(ret, err, "%s%*s# %s\n", gap ? "\n" : "", indent, "", key->help) < 0)
                        return -1;
                if (key->type == KEY_SECTION) {
                        if (buf_printf(ret, err, "%*s%s:\n", indent, "", key->name) < 0 ||
                            write_default_keys(indent + 2, key->keys, ret, err) < 0)
                                return -1;
                        continue;
                }
                if (schema_is_nested(key) &&
                    (buf_printf(ret, err, "%*s# Each has:\n", indent, "") < 0 ||
                     describe_record(indent, key->keys, ret, err) < 0))
                        return -1;
                if (key->shown ? buf_printf(ret, err, "%*s#%s:  # %s\n", indent, "", key->name, key->shown) < 0
                               : buf_printf(ret, err, "%*s#%s: %s\n", indent, "", key->name, default_of(key)) < 0)
                        return -1;
        }
        return 0;
}

int config_defaults(struct buf *ret, struct cringle_err *err)
{
        static const char intro[] =
                "# The configuration of cringle, with all its defaults.\n"
                "#\n"
                "# A line with # right before its key shows the default; take the # away to change it.\n"
                "# Files in conf.d beside this one (*.yaml, in the order of their names) are laid over it: maps\n"
                "# merge by key, lists replace unless tagged !append, null goes back to the default.\n"
                "# `cringle config check` tells mistakes, `cringle config show --origin` what is in force and why.\n"
                "# Made by `cringle config defaults`.\n"
                "\n";

        if (buf_add_str(ret, intro, err) < 0)
                return -1;
        return write_default_keys(0, schema_keys, ret, err);
}

static int explain_line(const struct key *key, const char *path, struct buf *ret, struct cringle_err *err)
{
        if (buf_printf(ret, err, "%s: ", path) < 0 || write_type(key, ret, err) < 0)
                return -1;
        if (key->flags & KEY_REQUIRED) {
                if (buf_add_str(ret, ", required", err) < 0)
                        return -1;
        } else if (key->type != KEY_SECTION && buf_printf(ret, err, ", default %s", default_of(key)) < 0) {
                return -1;
        }
        return buf_printf(ret, err, "\n        %s\n", key->help);
}

/* Keys inside a list's records change with the list. */
static int explain(const struct key *key, bool live, const char *path, struct buf *ret, struct cringle_err *err)
{
        if (explain_line(key, path, ret, err) < 0)
                return -1;
        if (key->type != KEY_SECTION || live)
                if (buf_printf(ret, err, "        %s\n", live ? "A reload applies it." : "Needs a restart.") < 0)
                        return -1;

        for (const struct key *k = schema_is_nested(key) ? key->keys : NULL; k && k->name; k++) {
                auto_free char *inner = str_printf(err, "%s.%s", path, k->name);

                if (!inner)
                        return -1;
                if (k->type != KEY_ORIGIN && explain_line(k, inner, ret, err) < 0)
                        return -1;
        }
        return 0;
}

/* Every key's dotted path, depth first. */
static int list_paths(const struct key *keys, const char *path, char ***ret, struct cringle_err *err)
{
        for (const struct key *key = keys; key->name; key++) {
                auto_free char *name = str_printf(err, "%s%s%s", path, *path ? "." : "", key->name);

                if (key->type == KEY_ORIGIN)
                        continue;
                if (!name || strv_add(ret, name, err) < 0)
                        return -1;
                if (schema_is_nested(key) && list_paths(key->keys, name, ret, err) < 0)
                        return -1;
        }
        return 0;
}

static int refuse_key(const char *wanted, struct cringle_err *err)
{
        auto_strv paths = NULL;
        const char *nearest = NULL;
        size_t best = strlen(wanted) / 3 + 2;

        if (list_paths(schema_keys, "", &paths, err) < 0)
                return -1;
        for (size_t i = 0; paths[i]; i++) {
                const char *dot = strrchr(paths[i], '.');
                size_t whole = str_distance(wanted, paths[i], best), last = str_distance(wanted, dot ? dot + 1 : "", best);

                if (whole < best || last < best) {
                        best = whole < last ? whole : last;
                        nearest = paths[i];
                }
        }
        return err_set(err, CRINGLE_E_NOT_FOUND, "unknown key '%.200s'%s%s%s", wanted, nearest ? ", did you mean '" : "",
                       nearest ? nearest : "", nearest ? "'?" : "");
}

static const struct key *find_key(const struct key *keys, const char *name, size_t n)
{
        for (const struct key *key = keys; key->name; key++)
                if (key->type != KEY_ORIGIN && strlen(key->name) == n && strncmp(key->name, name, n) == 0)
                        return key;

        return NULL;
}

int config_explain(const char *wanted, struct buf *ret, struct cringle_err *err)
{
        const struct key *keys = schema_keys, *found = NULL;
        auto_buf path = BUF_INIT;
        bool live = false;

        for (const char *at = wanted; *at;) {
                size_t n = strcspn(at, ".[");
                const struct key *key = keys ? find_key(keys, at, n) : NULL;

                if (!key && !(found && found->type == KEY_TABLE))
                        return refuse_key(wanted, err);
                if (key) {      /* else it is part of a name in a table, such as a host's */
                        found = key;
                        keys = schema_is_nested(key) ? key->keys : NULL;
                        live |= (key->flags & KEY_LIVE) != 0;
                        if (buf_printf(&path, err, "%s%.*s", path.len ? "." : "", (int) n, at) < 0)
                                return -1;
                }
                at += n;
                if (*at == '[')
                        at += strcspn(at, "]") + (strchr(at, ']') != NULL);
                at += *at == '.';
        }
        if (!found)
                return refuse_key(wanted, err);
        return explain(found, live, path.data, ret, err);
}

static int document_table(const struct key *keys, const char *path, struct buf *ret, struct cringle_err *err)
{
        bool record = keys != schema_keys && strstr(path, "[]");

        if (buf_printf(ret, err, "\n| key | type | default | %s|\n|---|---|---|%s---|\n", record ? "" : "reload | ",
                       record ? "" : "---|") < 0)
                return -1;
        for (const struct key *key = keys; key->name; key++) {
                const char *fallback = key->flags & KEY_REQUIRED ? "required" : default_of(key);

                if (key->type == KEY_SECTION || key->type == KEY_ORIGIN)
                        continue;
                if (buf_printf(ret, err, "| `%s` | ", key->name) < 0 || write_type(key, ret, err) < 0 ||
                    buf_printf(ret, err, " | %s%s%s | ", key->flags & KEY_REQUIRED ? "" : "`", fallback,
                               key->flags & KEY_REQUIRED ? "" : "`") < 0)
                        return -1;
                if (!record && buf_add_str(ret, key->flags & KEY_LIVE ? "live | " : "restart | ", err) < 0)
                        return -1;
                if (buf_printf(ret, err, "%s |\n", key->help) < 0)
                        return -1;
        }
        return 0;
}

static int document_keys(const struct key *keys, const char *path, struct buf *ret, struct cringle_err *err)
{
        if (document_table(keys, path, ret, err) < 0)
                return -1;

        for (const struct key *key = keys; key->name; key++) {
                const char *mark = key->type == KEY_RECORDS ? "[]" : key->type == KEY_TABLE ? ".HOST[]" : "";
                auto_free char *name = str_printf(err, "%s%s%s%s", path, *path ? "." : "", key->name, mark);

                if (!name)
                        return -1;
                if (!schema_is_nested(key))
                        continue;
                if (buf_printf(ret, err, "\n## %s\n\n%s\n", name, key->help) < 0 ||
                    document_keys(key->keys, name, ret, err) < 0)
                        return -1;
        }
        return 0;
}

int config_document(struct buf *ret, struct cringle_err *err)
{
        static const char intro[] =
                "# Configuration\n"
                "\n"
                "Made by `cringle config document` from the schema in `config/schema.c`; do not edit.\n"
                "\n"
                "The agent reads `/etc/cringle/config.yaml` and then the files `/etc/cringle/conf.d/*.yaml` in the order of\n"
                "their names. With no file at all the defaults below stand. Files are laid one over the other: maps merge by\n"
                "key, lists replace unless tagged `!append`, and `null` goes back to the default.\n"
                "\n"
                "A mistake is told as `file:line:column`, and an unknown key with the nearest known one; anchors, aliases,\n"
                "duplicate keys and a second document are mistakes too. Each file is checked on its own as well, so a\n"
                "mistake does not hide under a later file.\n"
                "\n"
                "- `cringle config check`: all mistakes at once.\n"
                "- `cringle config show [--origin]`: what is in force, and which file and line says so.\n"
                "- `cringle config explain KEY`: what a key means.\n"
                "- `cringle config defaults`: a commented file with all defaults.\n"
                "- `cringle reload`: apply what is *live* below; it lists what needs a *restart*.\n"
                "\n"
                "Durations are written `500ms`, `30s`, `5m`, `1h30m`, or a number of seconds; sizes `4096`, `64KiB`, `16MiB`,\n"
                "`1GiB`.\n";

        if (buf_add_str(ret, intro, err) < 0)
                return -1;
        return document_keys(schema_keys, "", ret, err);
}
