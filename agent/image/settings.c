/*
 * What pulls need of the configuration; see settings.h.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/image/reference.h"
#include "agent/image/settings.h"

static int copy_registry(struct config_registry *to, const struct config_registry *from, struct cringle_err *err)
{
        to->plain_http = from->plain_http;
        to->skip_verify = from->skip_verify;
        if (str_copy(&to->host, from->host, err) < 0 || str_copy(&to->ca_file, from->ca_file, err) < 0 ||
            str_copy(&to->username, from->username, err) < 0 || str_copy(&to->password, from->password, err) < 0)
                return -1;
        if (from->n_mirrors == 0)
                return 0;

        to->mirrors = calloc(from->n_mirrors, sizeof *to->mirrors);
        if (!to->mirrors)
                return err_oom(err);
        to->n_mirrors = from->n_mirrors;
        for (size_t i = 0; i < from->n_mirrors; i++) {
                to->mirrors[i].plain_http = from->mirrors[i].plain_http;
                to->mirrors[i].skip_verify = from->mirrors[i].skip_verify;
                if (str_copy(&to->mirrors[i].url, from->mirrors[i].url, err) < 0 ||
                    str_copy(&to->mirrors[i].ca_file, from->mirrors[i].ca_file, err) < 0)
                        return -1;
        }
        return 0;
}

int settings_new(const struct config *config, struct settings **ret, struct cringle_err *err)
{
        auto_of(settings) s = calloc(1, sizeof *s);
        struct config *c;

        if (!s)
                return err_oom(err);
        s->refs = 1;
        c = &s->config;
        c->images = config->images;
        c->images.pinned = NULL;
        if (str_copy(&c->programs.pull, config->programs.pull, err) < 0)
                return -1;

        if (config->images.pinned) {
                c->images.pinned = strv_copy((const char *const *) config->images.pinned, err);
                if (!c->images.pinned)
                        return -1;
        }
        if (config->n_registries > 0) {
                c->registries = calloc(config->n_registries, sizeof *c->registries);
                if (!c->registries)
                        return err_oom(err);
                c->n_registries = config->n_registries;
        }
        for (size_t i = 0; i < config->n_registries; i++)
                if (copy_registry(&c->registries[i], &config->registries[i], err) < 0)
                        return -1;

        *ret = steal(&s);
        return 0;
}

struct settings *settings_ref(struct settings *s)
{
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
        return s;
}

struct settings *settings_unref(struct settings *s)
{
        if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return NULL;

        for (size_t i = 0; i < s->config.n_registries; i++) {
                struct config_registry *r = &s->config.registries[i];

                for (size_t j = 0; j < r->n_mirrors; j++) {
                        free(r->mirrors[j].url);
                        free(r->mirrors[j].ca_file);
                }
                free(r->mirrors);
                free(r->host);
                free(r->ca_file);
                free(r->username);
                free(r->password);
        }
        free(s->config.registries);
        strv_free(s->config.images.pinned);
        free(s->config.programs.pull);
        free(s);
        return NULL;
}

static bool fits(const char *pattern, const char *name)
{
        size_t n = strlen(pattern);
        auto_reference r = REFERENCE_INIT;
        auto_free char *full = NULL;

        if (n > 0 && pattern[n - 1] == '*')
                return strncmp(pattern, name, n - 1) == 0;
        if (str_equal(pattern, name))
                return true;
        if (reference_parse(pattern, &r, NULL) < 0)
                return false;
        full = reference_text(&r, NULL);
        return str_equal(full, name);
}

bool settings_pin(const struct settings *s, const char *name)
{
        for (char **p = s->config.images.pinned; p && *p; p++)
                if (fits(*p, name))
                        return true;
        return false;
}
