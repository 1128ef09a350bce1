/*
 * Attachments on record; see cache.h.
 */

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "cni/cache.h"

#define KIND "cniCacheV1"
#define FILE_MAX (8 * 1024 * 1024)      /* a configuration in base64, port lists and a result */

/* --- base64 --- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *encode(const char *data, struct cringle_err *err)
{
        const unsigned char *in = (const unsigned char *) data;
        size_t n = strlen(data);
        char *out = malloc((n + 2) / 3 * 4 + 1), *to = out;

        if (!out) {
                err_oom(err);
                return NULL;
        }
        for (size_t i = 0; i < n; i += 3) {
                uint32_t bits = (uint32_t) in[i] << 16 | (i + 1 < n ? (uint32_t) in[i + 1] << 8 : 0) |
                                (i + 2 < n ? in[i + 2] : 0);

                *to++ = digits[bits >> 18];
                *to++ = digits[bits >> 12 & 63];
                *to++ = i + 1 < n ? digits[bits >> 6 & 63] : '=';
                *to++ = i + 2 < n ? digits[bits & 63] : '=';
        }
        *to = '\0';
        return out;
}

/* Text only: a NUL in it is refused like any other bad digit. */
static char *decode(const char *text, struct cringle_err *err)
{
        size_t n = strlen(text), pad = n && text[n - 1] == '=' ? 1 + (n > 1 && text[n - 2] == '=') : 0;
        auto_free char *out = malloc(n / 4 * 3 + 1);
        char *to = out;
        uint32_t bits = 0;

        if (!out) {
                err_oom(err);
                return NULL;
        }
        if (n % 4)
                goto bad;
        for (size_t i = 0; i < n; i++) {
                const char *digit = i < n - pad ? strchr(digits, text[i]) : digits;

                if (!digit)
                        goto bad;
                bits = bits << 6 | (uint32_t) (digit - digits);
                if (i % 4 == 3) {
                        *to++ = (char) (bits >> 16);
                        *to++ = (char) (bits >> 8);
                        *to++ = (char) bits;
                }
        }
        to -= pad;
        *to = '\0';
        if (strlen(out) != (size_t) (to - out))
                goto bad;
        return steal(&out);

bad:
        err_set(err, CRINGLE_E_INVALID, "bad base64");
        return NULL;
}

/* --- attachments --- */

struct cni_attachment *cni_attachment_free(struct cni_attachment *a)
{
        if (!a)
                return NULL;

        free(a->network);
        free(a->container);
        free(a->ifname);
        free(a->netns);
        free(a->config);
        json_object_put(a->args);
        json_object_put(a->capabilities);
        json_object_put(a->result);
        free(a);
        return NULL;
}

int cni_attachment_new(const struct cni_network *net, const char *container, const char *ifname, const char *netns,
                       struct cni_attachment **ret, struct cringle_err *err)
{
        auto_of(cni_attachment) a = calloc(1, sizeof *a);

        if (!a)
                return err_oom(err);
        a->network = strdup(net->name);
        a->container = strdup(container);
        a->ifname = strdup(ifname);
        a->netns = netns ? strdup(netns) : NULL;
        a->config = strdup(net->config);
        if (!a->network || !a->container || !a->ifname || (netns && !a->netns) || !a->config)
                return err_oom(err);
        *ret = steal(&a);
        return 0;
}

/* These become parts of file names. */
static int take_name(struct json_object *o, const char *name, char **ret, struct cringle_err *err)
{
        const char *text = "";

        if (json_get_string(o, name, &text, err) < 0)
                return -1;
        if (!*text || strchr(text, '/'))
                return err_set(err, CRINGLE_E_INVALID, "'%s' is '%.64s', no name", name, text);
        *ret = strdup(text);
        return *ret ? 0 : err_oom(err);
}

/* Each element of args is a pair of strings. */
static int check_args(struct json_object *args, struct cringle_err *err)
{
        for (size_t i = 0; args && i < json_object_array_length(args); i++) {
                struct json_object *pair = json_object_array_get_idx(args, i);

                if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2 ||
                    !json_object_is_type(json_object_array_get_idx(pair, 0), json_type_string) ||
                    !json_object_is_type(json_object_array_get_idx(pair, 1), json_type_string))
                        return err_set(err, CRINGLE_E_INVALID, "cniArgs[%zu] is no pair of strings", i);
        }
        return 0;
}

static int attachment_of(struct json_object *o, struct cni_attachment **ret, struct cringle_err *err)
{
        auto_of(cni_attachment) a = calloc(1, sizeof *a);
        const char *kind = "", *config = "", *netns = "";
        struct json_object *args = NULL, *capabilities = NULL, *result = NULL;

        if (!a)
                return err_oom(err);
        if (json_get_string(o, "kind", &kind, err) < 0)
                return -1;
        if (strcmp(kind, KIND) != 0)
                return err_set(err, CRINGLE_E_INVALID, "'kind' is '%.32s', want " KIND, kind);
        if (take_name(o, "networkName", &a->network, err) < 0 || take_name(o, "containerId", &a->container, err) < 0 ||
            take_name(o, "ifName", &a->ifname, err) < 0 || json_get_string(o, "netns", &netns, err) < 0 ||
            json_get_string(o, "config", &config, err) < 0 ||
            json_get_array(o, "cniArgs", &args, err) < 0 || check_args(args, err) < 0 ||
            json_get_object(o, "capabilityArgs", &capabilities, err) < 0 ||
            json_get_object(o, "result", &result, err) < 0)
                return -1;
        a->config = decode(config, err);
        if (!a->config)
                return err_wrap(err, "config");
        a->netns = *netns ? strdup(netns) : NULL;
        if (*netns && !a->netns)
                return err_oom(err);

        a->args = json_object_get(args);
        a->capabilities = json_object_get(capabilities);
        a->result = json_object_get(result);
        *ret = steal(&a);
        return 0;
}

int cni_attachment_read(const char *path, struct cni_attachment **ret, struct cringle_err *err)
{
        struct cringle_err own = CRINGLE_ERR_INIT;
        auto_json o = NULL;

        if (json_read(path, FILE_MAX, &o, &own) < 0)
                return own.sys == ENOENT ? 0 : err_set(err, own.code, "%s", own.text);
        return attachment_of(o, ret, err) < 0 ? err_wrap(err, "%s", path) : 1;
}

static int set_shared(struct json_object *o, const char *name, struct json_object *value, struct cringle_err *err)
{
        return value ? json_set(o, name, json_object_get(value), err) : 0;
}

int cni_attachment_write(const char *path, const struct cni_attachment *a, bool durable, struct cringle_err *err)
{
        auto_free char *config = encode(a->config, err);
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;

        if (!config)
                return -1;
        if (!o)
                return err_oom(err);
        if (json_set_string(o, "kind", KIND, err) < 0 || json_set_string(o, "containerId", a->container, err) < 0 ||
            json_set_string(o, "config", config, err) < 0 || json_set_string(o, "ifName", a->ifname, err) < 0 ||
            json_set_string(o, "networkName", a->network, err) < 0 ||
            (a->netns && json_set_string(o, "netns", a->netns, err) < 0) ||
            set_shared(o, "cniArgs", a->args, err) < 0 || set_shared(o, "capabilityArgs", a->capabilities, err) < 0 ||
            set_shared(o, "result", a->result, err) < 0 || json_write(o, &text, err) < 0)
                return -1;
        return file_replace(path, text.data, text.len, 0600, durable, err);
}

/* --- the cache --- */

static char *cache_path(const char *cache_dir, const char *network, const char *container, const char *ifname,
                        struct cringle_err *err)
{
        return str_printf(err, "%s/results/%s-%s-%s", cache_dir, network, container, ifname);
}

int cni_cache_put(const char *cache_dir, const struct cni_attachment *a, struct cringle_err *err)
{
        auto_free char *path = cache_path(cache_dir, a->network, a->container, a->ifname, err);
        auto_free char *dir = str_printf(err, "%s/results", cache_dir);

        if (!path || !dir || file_make_dirs(dir, 0700, err) < 0)
                return -1;
        return cni_attachment_write(path, a, false, err);
}

int cni_cache_get(const char *cache_dir, const char *network, const char *container, const char *ifname,
                  struct cni_attachment **ret, struct cringle_err *err)
{
        auto_free char *path = cache_path(cache_dir, network, container, ifname, err);

        return path ? cni_attachment_read(path, ret, err) : -1;
}

int cni_cache_drop(const char *cache_dir, const char *network, const char *container, const char *ifname, bool durable,
                   struct cringle_err *err)
{
        auto_free char *path = cache_path(cache_dir, network, container, ifname, err);

        if (!path)
                return -1;
        if (unlink(path) < 0)
                return errno == ENOENT ? 0 : err_sys(err, "remove %s", path);
        return durable ? file_sync_parent(path, err) : 0;
}

/* For each file whose name ends in @suffix. */
static int each(const char *cache_dir, const char *suffix, cni_cache_fn fn, void *data, struct cringle_err *err)
{
        auto_free char *dir = str_printf(err, "%s/results", cache_dir);
        int r = 0;
        DIR *d;

        if (!dir)
                return -1;
        d = opendir(dir);
        if (!d)
                return errno == ENOENT ? 0 : err_sys(err, "open %s", dir);
        for (struct dirent *e; r == 0 && (e = readdir(d));) {
                bool fits = e->d_name[0] != '.' && str_ends(e->d_name, suffix);
                auto_free char *path = fits ? str_printf(NULL, "%s/%s", dir, e->d_name) : NULL;
                auto_of(cni_attachment) a = NULL;

                if (path && cni_attachment_read(path, &a, NULL) == 1)
                        r = fn(data, &a, err);
        }
        closedir(d);
        return r;
}

int cni_cache_each(const char *cache_dir, cni_cache_fn fn, void *data, struct cringle_err *err)
{
        return each(cache_dir, "", fn, data, err);
}

struct search {
        const char *container, *ifname;
        struct cni_attachment *found;
};

/* Names hold dashes: only what stands in the file says which part is which. */
static int match(void *data, struct cni_attachment **a, struct cringle_err *err)
{
        struct search *s = data;

        if (!s->found && strcmp((*a)->container, s->container) == 0 && strcmp((*a)->ifname, s->ifname) == 0)
                s->found = steal(a);
        return 0;
}

int cni_cache_find(const char *cache_dir, const char *container, const char *ifname, struct cni_attachment **ret,
                   struct cringle_err *err)
{
        auto_free char *suffix = str_printf(err, "-%s-%s", container, ifname);
        struct search s = { .container = container, .ifname = ifname };

        if (!suffix || each(cache_dir, suffix, match, &s, err) < 0)
                return -1;
        *ret = s.found;
        return s.found ? 1 : 0;
}
