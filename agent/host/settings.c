/*
 * Settings of a plugin; see settings.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/host/settings.h"

struct cringle_pair *settings_free(struct cringle_pair *settings)
{
        for (struct cringle_pair *p = settings; p && p->key; p++) {
                free((char *) p->key);
                free((char *) p->value);
        }
        free(settings);
        return NULL;
}

static int add(struct cringle_pair **list, size_t *n, const char *key, const char *value, struct cringle_err *err)
{
        struct cringle_pair *grown = reallocarray(*list, *n + 2, sizeof *grown);

        if (!grown)
                return err_oom(err);
        *list = grown;
        grown[*n + 1] = (struct cringle_pair) { 0 };
        grown[*n] = (struct cringle_pair) { strdup(key), strdup(value) };
        if (!grown[*n].key || !grown[*n].value) {
                free((char *) grown[*n].key);
                free((char *) grown[*n].value);
                grown[*n] = (struct cringle_pair) { 0 };
                return err_oom(err);
        }
        (*n)++;
        return 0;
}

static const struct cringle_setting *find(const struct cringle_setting *schema, const char *name)
{
        for (const struct cringle_setting *s = schema; s && s->name; s++)
                if (strcmp(s->name, name) == 0)
                        return s;

        return NULL;
}

static int unknown(const struct cringle_setting *schema, const char *key, struct cringle_err *err)
{
        const char *nearest = NULL;
        size_t best = 4;

        if (!schema || !schema->name)
                return err_set(err, CRINGLE_E_INVALID, "setting '%.64s': this plugin has no settings", key);

        for (const struct cringle_setting *s = schema; s->name; s++) {
                size_t distance = str_distance(key, s->name, best - 1);

                if (distance < best) {
                        best = distance;
                        nearest = s->name;
                }
        }
        if (nearest)
                return err_set(err, CRINGLE_E_INVALID, "setting '%.64s': unknown; did you mean '%s'?", key, nearest);
        return err_set(err, CRINGLE_E_INVALID, "setting '%.64s': unknown", key);
}

static int check_value(const struct cringle_setting *s, const char *value, struct cringle_err *err)
{
        int64_t number;

        switch (s->type) {
        case CRINGLE_STRING:
        case CRINGLE_STRING_LIST:
        case CRINGLE_SECRET:
                return 0;
        case CRINGLE_BOOL:
                if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
                        return 0;
                return err_set(err, CRINGLE_E_INVALID, "setting '%s': want true or false, found '%.64s'", s->name, value);
        case CRINGLE_INTEGER:
                if (str_int64(value, INT64_MIN, INT64_MAX, &number, NULL) == 0)
                        return 0;
                return err_set(err, CRINGLE_E_INVALID, "setting '%s': want an integer, found '%.64s'", s->name, value);
        case CRINGLE_PATH:
                if (value[0] == '/')
                        return 0;
                return err_set(err, CRINGLE_E_INVALID, "setting '%s': want an absolute path, found '%.64s'", s->name,
                               value);
        default:
                return err_set(err, CRINGLE_E_PRECONDITION, "setting '%s': its type %d is none this host knows", s->name,
                               s->type);
        }
}

static bool says(const struct cringle_pair *settings, const char *key)
{
        for (; settings && settings->key; settings++)
                if (strcmp(settings->key, key) == 0)
                        return true;

        return false;
}

int settings_gather(const struct config *config, int kind, const struct cringle_setting *schema,
                    const struct cringle_pair *own, struct cringle_pair **ret, struct cringle_err *err)
{
        auto_free char *images = str_printf(err, "%s/images", config->root);
        const struct {
                int kind;
                const char *name;
                const char *value;      /* NULL: `values` */
                char *const *values;
        } others[] = {
                { CRINGLE_IMAGE, "root", images, NULL },
                { CRINGLE_CGROUP, "hold", config->programs.hold, NULL },
                { CRINGLE_NETWORK, "conf_dir", config->cni.conf_dir, NULL },
                { CRINGLE_NETWORK, "bin_dirs", NULL, config->cni.bin_dirs },
                { CRINGLE_NETWORK, "cache_dir", config->cni.cache_dir, NULL },
                { CRINGLE_EXECUTOR, "monitor", config->programs.monitor, NULL },
                { CRINGLE_EXECUTOR, "oci", config->programs.oci, NULL },
        };
        auto_settings list = calloc(1, sizeof *list);
        size_t n = 0;

        if (!list || !images)
                return err_oom(err);
        for (const struct cringle_pair *p = own; p && p->key; p++)
                if (add(&list, &n, p->key, p->value, err) < 0)
                        return -1;

        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
                if (others[i].kind != kind || !find(schema, others[i].name) || says(own, others[i].name))
                        continue;
                if (others[i].value && add(&list, &n, others[i].name, others[i].value, err) < 0)
                        return -1;
                for (char *const *v = others[i].values; v && *v; v++)
                        if (add(&list, &n, others[i].name, *v, err) < 0)
                                return -1;
        }

        *ret = steal(&list);
        return 0;
}

int settings_check(const struct cringle_setting *schema, const struct cringle_pair *given, struct cringle_pair **ret,
                   struct cringle_err *err)
{
        auto_settings list = calloc(1, sizeof *list);
        size_t n = 0;

        if (!list)
                return err_oom(err);

        for (const struct cringle_pair *p = given; p && p->key; p++)
                if (!find(schema, p->key))
                        return unknown(schema, p->key, err);

        for (const struct cringle_setting *s = schema; s && s->name; s++) {
                size_t before = n;

                for (const struct cringle_pair *p = given; p && p->key; p++) {
                        if (strcmp(p->key, s->name) != 0)
                                continue;
                        if (n > before && s->type != CRINGLE_STRING_LIST)
                                return err_set(err, CRINGLE_E_INVALID, "setting '%s': want one value, found several",
                                               s->name);
                        if (check_value(s, p->value, err) < 0 || add(&list, &n, s->name, p->value, err) < 0)
                                return -1;
                }
                if (n == before && s->fallback &&
                    (check_value(s, s->fallback, err) < 0 || add(&list, &n, s->name, s->fallback, err) < 0))
                        return err_wrap(err, "fallback");
        }

        *ret = steal(&list);
        return 0;
}

struct cringle_pair *settings_masked(const struct cringle_setting *schema, const struct cringle_pair *settings,
                                     struct cringle_err *err)
{
        auto_settings list = calloc(1, sizeof *list);
        size_t n = 0;

        if (!list) {
                err_oom(err);
                return NULL;
        }
        for (const struct cringle_pair *p = settings; p && p->key; p++) {
                const struct cringle_setting *s = find(schema, p->key);
                bool secret = s && s->type == CRINGLE_SECRET;

                if (add(&list, &n, p->key, secret ? "***" : p->value, err) < 0)
                        return NULL;
        }
        return steal(&list);
}

int settings_equal(const struct cringle_pair *a, const struct cringle_pair *b)
{
        for (; a->key && b->key; a++, b++)
                if (strcmp(a->key, b->key) != 0 || strcmp(a->value, b->value) != 0)
                        return 0;

        return !a->key && !b->key;
}
