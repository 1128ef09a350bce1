/*
 * One image as it was at one moment; see image.h.
 */

#include <string.h>

#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/image/image.h"

struct image *image_ref(struct image *i)
{
        if (i)
                __atomic_add_fetch(&i->refs, 1, __ATOMIC_RELAXED);
        return i;
}

struct image *image_unref(struct image *i)
{
        if (!i || __atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return NULL;

        free(i->id);
        free(i->config);
        strv_free(i->tags);
        strv_free(i->digests);
        strv_free(i->chain_ids);
        free(i->user);
        free(i->username);
        free(i);
        return NULL;
}

static int copy_list(char ***to, const char *const *from, struct cringle_err *err)
{
        if (!from || !*from)
                return 0;
        *to = strv_copy(from, err);
        return *to ? 0 : -1;
}

static int compare(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int copy_sorted(char ***to, const char *const *from, struct cringle_err *err)
{
        if (copy_list(to, from, err) < 0)
                return -1;
        if (*to)
                qsort(*to, strv_count((const char *const *) *to), sizeof **to, compare);
        return 0;
}

/* "uid[:group]" or "name[:group]"; nothing means root. */
static int set_user(struct image *i, const char *user, struct cringle_err *err)
{
        auto_free char *name = NULL;
        uint32_t uid;

        if (str_empty(user))
                return 0;
        i->user = strdup(user);
        name = strndup(user, strcspn(user, ":"));
        if (!i->user || !name)
                return err_oom(err);

        if (str_id(name, &uid, NULL) == 0) {
                i->uid = uid;
        } else if (*name) {
                i->uid = -1;
                i->username = steal(&name);
        }
        return 0;
}

static int read_config(struct image *i, struct cringle_err *err)
{
        struct json_object *config = NULL;
        const char *user = NULL;
        auto_json whole = NULL;

        if (json_parse(i->config, strlen(i->config), &whole, err) < 0)
                return -1;
        if (json_object_get_type(whole) != json_type_object)
                return err_set(err, CRINGLE_E_INVALID, "not an object");
        if (json_get_object(whole, "config", &config, err) < 0)
                return -1;
        if (config && json_get_string(config, "User", &user, err) < 0)
                return -1;
        return set_user(i, user, err);
}

static bool pinned(const struct image *i, const struct settings *settings)
{
        for (char **name = i->tags; name && *name; name++)
                if (settings_pin(settings, *name))
                        return true;
        for (char **name = i->digests; name && *name; name++)
                if (settings_pin(settings, *name))
                        return true;
        return false;
}

int image_new(const struct image_parts *parts, const struct settings *settings, struct image **ret,
              struct cringle_err *err)
{
        auto_of(image) i = calloc(1, sizeof *i);

        if (!i)
                return err_oom(err);
        i->refs = 1;
        i->size = parts->size;
        i->id = strdup(parts->id);
        i->config = strdup(parts->config);
        if (!i->id || !i->config)
                return err_oom(err);
        if (copy_sorted(&i->tags, parts->tags, err) < 0 || copy_sorted(&i->digests, parts->digests, err) < 0 ||
            copy_list(&i->chain_ids, parts->chain_ids, err) < 0)
                return -1;
        if (read_config(i, err) < 0)
                return err_wrap(err, "configuration of image %s", parts->id);
        i->pinned = pinned(i, settings);

        *ret = steal(&i);
        return 0;
}

int image_renamed(const struct image *old, char **tags, char **digests, const struct settings *settings,
                  struct image **ret, struct cringle_err *err)
{
        struct image_parts parts = {
                .id = old->id,
                .config = old->config,
                .tags = (const char *const *) tags,
                .digests = (const char *const *) digests,
                .chain_ids = (const char *const *) old->chain_ids,
                .size = old->size,
        };

        return image_new(&parts, settings, ret, err);
}
