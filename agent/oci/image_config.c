#include <stdbool.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/oci/image_config.h"

/* No honest image comes near; each element costs an allocation. */
#define LIST_MAX 10000
#define LAYERS_MAX 512

struct image_config *image_config_free(struct image_config *c)
{
        if (!c)
                return NULL;

        strv_free(c->env);
        strv_free(c->entrypoint);
        strv_free(c->cmd);
        strv_free(c->volumes);
        strv_free(c->diff_ids);
        free(c->user);
        free(c->working_dir);
        free(c->stop_signal);
        free(c->architecture);
        free(c->os);
        free(c->variant);
        free(c->created);
        free(c);
        return NULL;
}

/* The member @name of @o (may be NULL), or "". */
static int get_text(struct json_object *o, const char *name, char **ret, struct cringle_err *err)
{
        const char *text = "";

        if (o && json_get_string(o, name, &text, err) < 0)
                return -1;
        *ret = strdup(text);
        return *ret ? 0 : err_oom(err);
}

static int get_list(struct json_object *o, const char *name, char ***ret, struct cringle_err *err)
{
        struct json_object *array;
        int r = json_get_array(o, name, &array, err);

        if (r < 1)
                return r;
        if (json_object_array_length(array) > LIST_MAX)
                return err_set(err, CRINGLE_E_INVALID, "'%s' has more than %d entries", name, LIST_MAX);
        return json_get_strv(o, name, ret, err);
}

/* The keys of a member that is an object used as a set. */
static int get_keys(struct json_object *o, const char *name, char ***ret, struct cringle_err *err)
{
        auto_strv list = NULL;
        struct json_object *set;
        int r = json_get_object(o, name, &set, err);

        if (r < 1)
                return r;
        if (json_object_object_length(set) > LIST_MAX)
                return err_set(err, CRINGLE_E_INVALID, "'%s' has more than %d entries", name, LIST_MAX);
        json_object_object_foreach(set, key, value) {
                (void) value;
                if (strv_add(&list, key, err) < 0)
                        return -1;
        }
        *ret = steal(&list);
        return 1;
}

static int count_labels(struct json_object *o, size_t *ret, struct cringle_err *err)
{
        struct json_object *labels;
        int r = json_get_object(o, "Labels", &labels, err);

        if (r < 1)
                return r;
        json_object_object_foreach(labels, key, value)
                if (!json_object_is_type(value, json_type_string))
                        return err_set(err, CRINGLE_E_INVALID, "label '%s' is not a string", key);
        *ret = (size_t) json_object_object_length(labels);
        return 1;
}

static bool is_diff_id(const char *s)
{
        if (!str_starts(s, "sha256:"))
                return false;
        s += strlen("sha256:");
        return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int get_layers(struct json_object *top, struct image_config *c, struct cringle_err *err)
{
        struct json_object *rootfs;
        int r = json_get_object(top, "rootfs", &rootfs, err);

        if (r < 0)
                return -1;
        if (r == 0)
                return err_set(err, CRINGLE_E_INVALID, "'rootfs' is missing");
        if (json_get_strv(rootfs, "diff_ids", &c->diff_ids, err) < 0)
                return -1;

        c->n_diff_ids = strv_count((const char *const *) c->diff_ids);
        if (c->n_diff_ids > LAYERS_MAX)
                return err_set(err, CRINGLE_E_INVALID, "more than %d layers", LAYERS_MAX);
        for (size_t i = 0; i < c->n_diff_ids; i++)
                if (!is_diff_id(c->diff_ids[i]))
                        return err_set(err, CRINGLE_E_INVALID, "diff_ids[%zu] is no SHA-256 digest", i);
        return 0;
}

static int parse(struct json_object *top, struct image_config *c, struct cringle_err *err)
{
        struct json_object *config = NULL;

        if (json_get_object(top, "config", &config, err) < 0 ||
            get_text(top, "architecture", &c->architecture, err) < 0 || get_text(top, "os", &c->os, err) < 0 ||
            get_text(top, "variant", &c->variant, err) < 0 || get_text(top, "created", &c->created, err) < 0 ||
            get_text(config, "User", &c->user, err) < 0 ||
            get_text(config, "WorkingDir", &c->working_dir, err) < 0 ||
            get_text(config, "StopSignal", &c->stop_signal, err) < 0 || get_layers(top, c, err) < 0)
                return -1;

        if (config && (get_list(config, "Env", &c->env, err) < 0 ||
                       get_list(config, "Entrypoint", &c->entrypoint, err) < 0 ||
                       get_list(config, "Cmd", &c->cmd, err) < 0 ||
                       get_keys(config, "Volumes", &c->volumes, err) < 0 ||
                       count_labels(config, &c->n_labels, err) < 0))
                return -1;
        return 0;
}

int image_config_parse(const char *text, size_t n, struct image_config **ret, struct cringle_err *err)
{
        auto_of(image_config) c = NULL;
        auto_json top = NULL;

        if (n > IMAGE_CONFIG_MAX)
                return err_set(err, CRINGLE_E_INVALID, "image configuration: larger than %d bytes", IMAGE_CONFIG_MAX);
        c = calloc(1, sizeof *c);
        if (!c)
                return err_oom(err);
        if (json_parse(text, n, &top, err) < 0 || parse(top, c, err) < 0)
                return err_wrap(err, "image configuration");

        *ret = steal(&c);
        return 0;
}
