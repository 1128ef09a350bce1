/*
 * From a tree to a struct, as the schema says; see schema.h.
 *
 * A mistake is a complaint and the field stays empty; only a lack of memory stops
 * the work.  Tables nest to a fixed depth, so the recursion here does too,
 * whatever a file contains.
 */

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/path.h"
#include "agent/base/pattern.h"
#include "agent/base/str.h"
#include "config/schema.h"

/* A key's value under examination. */
struct value {
        const struct key *key;
        const struct yaml_node *node;
        const char *path;               /* dotted, for messages */
        void *at;                       /* the field */
        struct yaml_complaints *complaints;
};

#define complain(v, ...) yaml_complain((v)->complaints, (v)->node, __VA_ARGS__)

struct cringle_pair *schema_pairs_free(struct cringle_pair *pairs)
{
        for (struct cringle_pair *p = pairs; p && p->key; p++) {
                free((char *) p->key);
                free((char *) p->value);
        }
        free(pairs);
        return NULL;
}

static int add_pair(struct cringle_pair **pairs, const char *key, const char *value, struct cringle_err *err)
{
        auto_free char *k = strdup(key), *v = strdup(value);
        struct cringle_pair *grown;
        size_t n = 0;

        while (*pairs && (*pairs)[n].key)
                n++;
        grown = realloc(*pairs, (n + 2) * sizeof *grown);
        if (!grown)
                return err_oom(err);
        *pairs = grown;
        grown[n] = (struct cringle_pair) { 0 };
        grown[n + 1] = (struct cringle_pair) { 0 };
        if (!k || !v)
                return err_oom(err);

        grown[n] = (struct cringle_pair) { .key = steal(&k), .value = steal(&v) };
        return 0;
}

/* The text of a scalar; NULL (and a complaint) when @node is none. */
static const char *scalar_of(const struct value *v)
{
        if (v->node->kind == YAML_SCALAR)
                return v->node->text;

        complain(v, "%s: want a %s, not a %s", v->path, schema_type_name(v->key),
                 v->node->kind == YAML_LIST ? "list" : "map");
        return NULL;
}

static bool is_name(const char *text)
{
        if (!islower((unsigned char) *text) || strlen(text) > 63)
                return false;
        for (; *text; text++)
                if (!islower((unsigned char) *text) && !isdigit((unsigned char) *text) && *text != '-')
                        return false;

        return true;
}

static bool is_url(const char *text)
{
        const char *host = str_starts(text, "http://") ? text + 7 : str_starts(text, "https://") ? text + 8 : "";

        if ((!isalnum((unsigned char) *host) && *host != '[') || strlen(text) > 2000)
                return false;
        for (const char *at = host; *at; at++)
                if (!isgraph((unsigned char) *at) || strchr("?#@\"'\\<>", *at))
                        return false;

        return true;
}

static bool is_regex(const struct value *v, const struct yaml_node *node, const char *text, bool is_key)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        char reason[128];
        regex_t regex;
        int result;

        if (pattern_check(text, &err) < 0) {
                snprintf(reason, sizeof reason, "%s", err.text);
        } else {
                result = regcomp(&regex, text, REG_EXTENDED | REG_NOSUB);
                if (!result) {
                        regfree(&regex);
                        return true;
                }
                regerror(result, &regex, reason, sizeof reason);
        }
        if (is_key)
                yaml_complain_key(v->complaints, node, "%s: expression '%.100s': %s", v->path, text, reason);
        else
                yaml_complain(v->complaints, node, "%s: expression '%.100s': %s", v->path, text, reason);
        return false;
}

/* Is @text, which stands at @node, fit to be of this key's type? */
static bool is_fit(const struct value *v, const struct yaml_node *node, const char *text)
{
        switch (v->key->type) {
        case KEY_PATH:
        case KEY_PATHS:
                if (path_is_clean(text))
                        return true;
                yaml_complain(v->complaints, node,
                              "%s: '%.200s' is no absolute path without '.', '..', '//' and a slash at its end", v->path,
                              text);
                return false;
        case KEY_NAME:
                if (is_name(text))
                        return true;
                yaml_complain(v->complaints, node, "%s: '%.100s' is no name of lower-case letters, digits and dashes",
                              v->path, text);
                return false;
        case KEY_URL:
                if (is_url(text))
                        return true;
                yaml_complain(v->complaints, node, "%s: '%.200s' is no http:// or https:// URL", v->path, text);
                return false;
        case KEY_REGEXES:
                return is_regex(v, node, text, false);
        default:
                return true;
        }
}

static int decode_text(const struct value *v, struct cringle_err *err)
{
        const char *text = scalar_of(v);

        if (!text || !is_fit(v, v->node, text))
                return 0;

        *(char **) v->at = strdup(text);
        return *(char **) v->at ? 0 : err_oom(err);
}

static int decode_choice(const struct value *v, struct cringle_err *err)
{
        const char *text = scalar_of(v);
        auto_buf all = BUF_INIT;

        if (!text)
                return 0;
        if (strv_has(v->key->choices, text)) {
                *(char **) v->at = strdup(text);
                return *(char **) v->at ? 0 : err_oom(err);
        }

        for (size_t i = 0; v->key->choices[i]; i++)
                if (buf_printf(&all, err, "%s%s", i ? ", " : "", v->key->choices[i]) < 0)
                        return -1;
        complain(v, "%s: '%.100s' is none of %s", v->path, text, all.data);
        return 0;
}

static void decode_truth(const struct value *v)
{
        const char *yes = v->key->type == KEY_POLICY ? "fail" : "true";
        const char *no = v->key->type == KEY_POLICY ? "ignore" : "false";
        const char *text = scalar_of(v);

        if (!text)
                return;
        if (strcmp(text, yes) == 0)
                *(bool *) v->at = true;
        else if (strcmp(text, no) == 0)
                *(bool *) v->at = false;
        else
                complain(v, "%s: '%.100s' is neither %s nor %s", v->path, text, yes, no);
}

/* "4096", "16KiB", "1GiB": bytes, or -1. */
static int64_t parse_size(const char *text)
{
        static const struct {
                const char *name;
                int64_t bytes;
        } units[] = { { "", 1 }, { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { "TiB", INT64_C(1) << 40 } };
        int64_t value = 0;

        if (!isdigit((unsigned char) *text))
                return -1;
        for (; isdigit((unsigned char) *text); text++)
                if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *text - '0', &value))
                        return -1;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
                if (strcmp(text, units[i].name) == 0)
                        return __builtin_mul_overflow(value, units[i].bytes, &value) ? -1 : value;

        return -1;
}

static int decode_number(const struct value *v, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        const struct key *key = v->key;
        int64_t min = key->min, max = key->min || key->max ? key->max : INT64_MAX;
        const char *text = scalar_of(v);
        int64_t value = -1;

        if (!text)
                return 0;

        if (key->type == KEY_DURATION) {
                value = clock_parse_duration(text);
                if (value < 0)
                        complain(v, "%s: '%.100s' is no duration such as 500ms, 30s, 5m or 1h30m", v->path, text);
        } else if (key->type == KEY_SIZE) {
                value = parse_size(text);
                if (value < 0)
                        complain(v, "%s: '%.100s' is no size such as 4096, 64KiB, 16MiB or 1GiB", v->path, text);
        } else if (str_int64(text, 0, INT64_MAX, &value, &why) < 0) {
                complain(v, "%s: '%.100s' is no whole number from 0 up", v->path, text);
                value = -1;
        }
        if (value < 0)
                return 0;

        if (value < min || value > max) {
                auto_buf range = BUF_INIT;

                if (schema_write_number(key, min, &range, err) < 0 || buf_add_str(&range, " to ", err) < 0 ||
                    schema_write_number(key, max, &range, err) < 0)
                        return -1;
                complain(v, "%s: %.100s is not within %s", v->path, text, range.data);
                return 0;
        }

        if (key->type == KEY_ID)
                *(uint32_t *) v->at = (uint32_t) value;
        else
                *(int64_t *) v->at = value;
        return 0;
}

/* The elements of a list of strings; a list tagged !append continues what is there. */
static int decode_list(const struct value *v, struct cringle_err *err)
{
        char ***list = v->at;

        if (v->node->kind != YAML_LIST) {
                complain(v, "%s: want a %s", v->path, schema_type_name(v->key));
                return 0;
        }
        if (!v->node->append)
                *list = strv_free(*list);

        for (const struct yaml_node *m = v->node->first; m; m = m->next) {
                if (m->kind != YAML_SCALAR || yaml_is_null(m))
                        yaml_complain(v->complaints, m, "%s: an element that is no string", v->path);
                else if (is_fit(v, m, m->text) && strv_add(list, m->text, err) < 0)
                        return -1;
        }
        return 0;
}

static int decode_regex_pairs(const struct value *v, struct cringle_err *err)
{
        if (v->node->kind != YAML_MAP) {
                complain(v, "%s: want a map", v->path);
                return 0;
        }
        for (const struct yaml_node *m = v->node->first; m; m = m->next) {
                if (m->kind != YAML_SCALAR || yaml_is_null(m)) {
                        yaml_complain(v->complaints, m, "%s: want an expression for the value of '%.100s'", v->path, m->key);
                        continue;
                }
                if (is_regex(v, m, m->key, true) && is_regex(v, m, m->text, false) &&
                    add_pair(v->at, m->key, m->text, err) < 0)
                        return -1;
        }
        return 0;
}

/* A plugin's own settings: scalars become one pair, lists one for each element. */
static int decode_settings(const struct value *v, struct cringle_err *err)
{
        if (v->node->kind != YAML_MAP) {
                complain(v, "%s: want a map", v->path);
                return 0;
        }
        for (const struct yaml_node *m = v->node->first; m; m = m->next) {
                if (yaml_is_null(m))
                        continue;
                if (m->kind == YAML_SCALAR && add_pair(v->at, m->key, m->text, err) < 0)
                        return -1;
                if (m->kind == YAML_MAP)
                        yaml_complain(v->complaints, m, "%s.%.100s: want a scalar or a list of them", v->path, m->key);
                for (const struct yaml_node *e = m->kind == YAML_LIST ? m->first : NULL; e; e = e->next) {
                        if (e->kind != YAML_SCALAR)
                                yaml_complain(v->complaints, e, "%s.%.100s: want a scalar", v->path, m->key);
                        else if (add_pair(v->at, m->key, e->text, err) < 0)
                                return -1;
                }
        }
        return 0;
}

static bool is_registry(const char *host)
{
        if (strcmp(host, "_default") == 0)
                return true;
        if (!isalnum((unsigned char) *host) && *host != '[')
                return false;
        for (const char *at = host; *at; at++)
                if (!isalnum((unsigned char) *at) && !strchr(".-:[]", *at))
                        return false;

        return true;
}

/* A list or map of maps: an array of structs. */
static int decode_records(const struct value *v, void *base, struct cringle_err *err)
{
        const struct key *key = v->key;
        enum yaml_kind wanted = key->type == KEY_TABLE ? YAML_MAP : YAML_LIST;
        size_t *count = (size_t *) ((char *) base + key->count), n = 0;
        char *records;

        if (v->node->kind != wanted) {
                complain(v, "%s: want a %s", v->path, schema_type_name(key));
                return 0;
        }
        for (const struct yaml_node *m = v->node->first; m; m = m->next)
                n++;
        records = calloc(n + 1, key->record_size);
        if (!records)
                return err_oom(err);
        *(void **) v->at = records;

        n = 0;
        for (const struct yaml_node *m = v->node->first; m; m = m->next) {
                bool table = key->type == KEY_TABLE;
                auto_free char *path = table ? str_printf(err, "%s.%s", v->path, m->key)
                                             : str_printf(err, "%s[%zu]", v->path, n);
                void *record = records + *count * key->record_size;

                if (!path)
                        return -1;
                n++;
                if (m->kind != YAML_MAP && !(table && yaml_is_null(m))) {
                        yaml_complain(v->complaints, m, "%s: want a map", path);
                        continue;
                }
                ++*count;
                if (table && !is_registry(m->key))
                        yaml_complain_key(v->complaints, m, "'%.100s' is no HOST, HOST:PORT or _default", m->key);
                if (table) {
                        *(char **) record = strdup(m->key);
                        if (!*(char **) record)
                                return err_oom(err);
                }
                if (schema_decode(key->keys, m->kind == YAML_MAP ? m : NULL, path, record, v->complaints, err) < 0)
                        return -1;
        }
        return 0;
}

static int decode_value(const struct value *v, void *base, struct cringle_err *err)
{
        switch (v->key->type) {
        case KEY_CHOICE:
                return decode_choice(v, err);
        case KEY_BOOL:
        case KEY_POLICY:
                decode_truth(v);
                return 0;
        case KEY_INTEGER:
        case KEY_SIZE:
        case KEY_DURATION:
        case KEY_ID:
                return decode_number(v, err);
        case KEY_STRINGS:
        case KEY_PATHS:
        case KEY_REGEXES:
                return decode_list(v, err);
        case KEY_REGEX_PAIRS:
                return decode_regex_pairs(v, err);
        case KEY_SETTINGS:
                return decode_settings(v, err);
        case KEY_RECORDS:
        case KEY_TABLE:
                return decode_records(v, base, err);
        default:
                return decode_text(v, err);
        }
}

/* The fallback goes the same way as a value, so a bad one shows at once; but for a word, no parser is set up. */
static int decode_fallback(struct value v, void *base, struct cringle_err *err)
{
        const char *text = v.key->fallback;
        struct yaml_node word = { .kind = YAML_SCALAR, .text = (char *) text, .file = "default", .line = 1, .column = 1 };
        auto_of(yaml_doc) doc = NULL;

        if (!text)
                return 0;
        v.node = &word;
        if (!yaml_is_plain(text)) {
                if (yaml_parse(text, strlen(text), "default", &doc, err) < 0)
                        return -1;
                v.node = doc->root;
        }
        return v.node ? decode_value(&v, base, err) : 0;
}

/* Complain of members of @node that no key is named like. */
static void find_unknown(const struct key *keys, const struct yaml_node *node, const char *path,
                         struct yaml_complaints *complaints)
{
        for (const struct yaml_node *m = node->first; m; m = m->next) {
                const char *nearest = NULL;
                size_t best = strlen(m->key) / 3 + 2;
                const struct key *key;

                for (key = keys; key->name && strcmp(key->name, m->key) != 0; key++) {
                        size_t distance = str_distance(key->name, m->key, best);

                        if (key->type != KEY_ORIGIN && distance < best) {
                                best = distance;
                                nearest = key->name;
                        }
                }
                if (key->name && key->type != KEY_ORIGIN)
                        continue;
                yaml_complain_key(complaints, m, "unknown key '%.100s'%s%s%s%s%s%s", m->key, *path ? " in '" : "", path,
                                  *path ? "'" : "", nearest ? ", did you mean '" : "", nearest ? nearest : "",
                                  nearest ? "'?" : "");
        }
}

static int decode_key(const struct key *key, const struct yaml_node *parent, const char *parent_path, void *base,
                      struct yaml_complaints *complaints, struct cringle_err *err)
{
        const struct yaml_node *node = yaml_get(parent, key->name);
        void *at = (char *) base + key->offset;
        auto_free char *path = str_printf(err, "%s%s%s", parent_path, *parent_path ? "." : "", key->name);
        struct value v = { .key = key, .node = node, .path = path, .at = at, .complaints = complaints };

        if (!path)
                return -1;
        if (key->type == KEY_SECTION)
                return schema_decode(key->keys, node, path, at, complaints, err);
        if (key->type == KEY_ORIGIN) {
                *(char **) at = parent ? str_printf(err, "%s:%u", parent->file, parent->line) : NULL;
                return parent && !*(char **) at ? -1 : 0;
        }
        if (!node && (key->flags & KEY_REQUIRED) && parent) {
                yaml_complain(complaints, parent, "%s: no '%s'", parent_path, key->name);
                return 0;
        }

        if (!node || node->append)
                if (decode_fallback(v, base, err) < 0)
                        return -1;
        return node ? decode_value(&v, base, err) : 0;
}

int schema_decode(const struct key *keys, const struct yaml_node *node, const char *path, void *base,
                  struct yaml_complaints *complaints, struct cringle_err *err)
{
        if (node && node->kind != YAML_MAP) {
                yaml_complain(complaints, node, "%s%swant a map", path, *path ? ": " : "");
                node = NULL;
        }
        if (node)
                find_unknown(keys, node, path, complaints);

        for (const struct key *key = keys; key->name; key++)
                if (decode_key(key, node, path, base, complaints, err) < 0)
                        return -1;
        return 0;
}

static void clear_records(const struct key *key, void *base)
{
        char **records = (char **) ((char *) base + key->offset);
        size_t *count = (size_t *) ((char *) base + key->count);

        for (size_t i = 0; i < *count; i++) {
                char *record = *records + i * key->record_size;

                if (key->type == KEY_TABLE)
                        free(*(char **) record);
                schema_clear(key->keys, record);
        }
        free(*records);
        *records = NULL;
        *count = 0;
}

void schema_clear(const struct key *keys, void *base)
{
        for (const struct key *key = keys; key->name; key++) {
                void *at = (char *) base + key->offset;

                switch (key->type) {
                case KEY_BOOL:
                case KEY_POLICY:
                case KEY_INTEGER:
                case KEY_SIZE:
                case KEY_DURATION:
                case KEY_ID:
                        break;
                case KEY_STRINGS:
                case KEY_PATHS:
                case KEY_REGEXES:
                        *(char ***) at = strv_free(*(char ***) at);
                        break;
                case KEY_REGEX_PAIRS:
                case KEY_SETTINGS:
                        *(struct cringle_pair **) at = schema_pairs_free(*(struct cringle_pair **) at);
                        break;
                case KEY_SECTION:
                        schema_clear(key->keys, at);
                        break;
                case KEY_RECORDS:
                case KEY_TABLE:
                        clear_records(key, base);
                        break;
                default:
                        free(*(char **) at);
                        *(char **) at = NULL;
                }
        }
}
