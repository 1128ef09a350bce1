/*
 * Loading the configuration: files, merge, checks; see config.h.
 *
 * Of several files each is decoded on its own first, so that a mistake shows even
 * where a later one hides it; then the merged tree is.
 */

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "config/config.h"
#include "config/schema.h"
#include "config/template.h"

#define SYSTEMD_BOOTED "/run/systemd/system"    /* as sd_booted(3) looks */

/* The documents laid over each other; their nodes are all in the tree of the first that has any. */
struct layers {
        struct yaml_doc **docs;
        size_t n_docs;
        struct yaml_node *root;         /* NULL: nothing is set */
};

static void layers_done(struct layers *l)
{
        for (size_t i = 0; i < l->n_docs; i++)
                yaml_doc_free(l->docs[i]);
        free(l->docs);
}

static void auto_layers_(struct layers *l)
{
        layers_done(l);
}

#define auto_layers auto_cleanup(auto_layers_) struct layers

struct config *config_free(struct config *c)
{
        if (!c)
                return NULL;

        schema_clear(schema_keys, c);
        free(c);
        return NULL;
}

static int add_layer(struct layers *l, const char *file, struct cringle_err *err)
{
        struct yaml_doc **grown = realloc(l->docs, (l->n_docs + 1) * sizeof *grown);

        if (!grown)
                return err_oom(err);
        l->docs = grown;
        if (yaml_read(file, &l->docs[l->n_docs], err) < 0)
                return -1;
        l->n_docs++;
        return 0;
}

static int is_drop_in(const struct dirent *entry)
{
        return entry->d_name[0] != '.' && str_ends(entry->d_name, ".yaml");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);      /* not by the locale */
}

static int add_drop_ins(struct layers *l, const char *dir, struct cringle_err *err)
{
        struct dirent **entries = NULL;
        int n = scandir(dir, &entries, is_drop_in, by_name), result = 0;

        if (n < 0)
                return errno == ENOENT ? 0 : err_sys(err, "read folder %s", dir);

        for (int i = 0; i < n; i++) {
                if (!result) {
                        auto_free char *file = str_printf(err, "%s/%s", dir, entries[i]->d_name);

                        result = file ? add_layer(l, file, err) : -1;
                }
                free(entries[i]);
        }
        free(entries);
        return result;
}

/* The folder of drop-ins that belongs to @file. */
static char *folder_beside(const char *file, struct cringle_err *err)
{
        const char *slash = strrchr(file, '/');

        if (!slash)
                return str_printf(err, "conf.d");
        return str_printf(err, "%.*s/conf.d", (int) (slash - file), file);
}

static int read_layers(const char *file, const char *dir, struct layers *l, struct cringle_err *err)
{
        auto_free char *beside = NULL;

        if (!dir) {
                beside = file ? folder_beside(file, err) : str_printf(err, CONFIG_DIR);
                if (!beside)
                        return -1;
        }
        if (file || file_exists(CONFIG_FILE))
                if (add_layer(l, file ? file : CONFIG_FILE, err) < 0)
                        return -1;
        return add_drop_ins(l, dir ? dir : beside, err);
}

static void check_registries(const struct config *c, const struct yaml_node *root, struct yaml_complaints *complaints)
{
        const struct yaml_node *table = yaml_get(root, "registries");

        for (size_t i = 0; i < c->n_registries; i++) {
                const struct config_registry *r = &c->registries[i];
                const struct yaml_node *node = yaml_get(table, r->host);

                if (!r->username != !r->password)
                        yaml_complain(complaints, node, "registries.%s: username and password go together", r->host);
                for (size_t j = 0; j < r->n_mirrors; j++)
                        if (r->mirrors[j].url && str_starts(r->mirrors[j].url, "http://") && !r->mirrors[j].plain_http)
                                yaml_complain(complaints, yaml_get(node, "mirrors"),
                                              "registries.%s.mirrors[%zu]: %s is refused without plain_http: true", r->host,
                                              j, r->mirrors[j].url);
        }
}

/* Names of places in the list @key of a declared hook. */
static void check_places(const struct yaml_node *hook, const char *key, struct yaml_complaints *complaints)
{
        const struct yaml_node *list = yaml_get(hook, key);

        for (const struct yaml_node *e = list && list->kind == YAML_LIST ? list->first : NULL; e; e = e->next) {
                struct cringle_err why = CRINGLE_ERR_INIT;
                const char *equals = e->kind == YAML_SCALAR ? strchr(e->text, '=') : NULL, *place;

                if (e->kind != YAML_SCALAR)
                        continue;
                place = strstr(e->text, "{{");
                if (template_check(e->text, &why) < 0)
                        yaml_complain(complaints, e, "%s: %s", key, why.text);
                else if (place && strcmp(key, "env") == 0 && (!equals || place < equals))
                        yaml_complain(complaints, e, "env: '%.100s': the name of a variable must be in plain words", e->text);
        }
}

static void check_hooks(const struct config *c, const struct yaml_node *root, struct yaml_complaints *complaints)
{
        const struct yaml_node *hooks = yaml_get(root, "hooks");
        const struct yaml_node *node = yaml_get(hooks, "declared");

        for (const struct yaml_node *m = node && node->kind == YAML_LIST ? node->first : NULL; m; m = m->next) {
                if (m->kind != YAML_MAP)
                        continue;
                check_places(m, "args", complaints);
                check_places(m, "env", complaints);
        }
        for (size_t i = 0; i < c->hooks.n_yaml; i++)
                for (size_t j = 0; j < i; j++)
                        if (c->hooks.yaml[i].name && str_equal(c->hooks.yaml[i].name, c->hooks.yaml[j].name))
                                yaml_complain(complaints, node, "hooks.declared[%zu]: there is a hook '%s' already", i,
                                              c->hooks.yaml[i].name);

        for (size_t i = 0; i < c->hooks.n_yaml; i++)
                for (char **env = c->hooks.yaml[i].env; env && *env; env++)
                        if (!strchr(*env, '=') || **env == '=')
                                yaml_complain(complaints, node, "hooks.declared[%zu].env: '%.100s' is not NAME=VALUE", i,
                                              *env);
}

/*
 * Whether the node is systemd's, with cgroups of version 2 alone: then the kubelet's slices are units, and who writes
 * beside systemd is undone by it.
 */
static bool systemd_keeps_cgroups(void)
{
        struct statfs fs;

        return file_exists(SYSTEMD_BOOTED) && statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* What defaults follow from other values, and from the machine. */
static int derive(struct config *c, struct cringle_err *err)
{
        if (!c->cgroup.name) {
                c->cgroup.name = strdup(systemd_keeps_cgroups() ? "cgroup-systemd" : "cgroup-fs");
                if (!c->cgroup.name)
                        return err_oom(err);
        }
        if (!c->socket && c->state) {
                c->socket = str_printf(err, "%s/cringle.sock", c->state);
                if (!c->socket)
                        return -1;
        }
        for (size_t i = 0; i < c->hooks.n_plugins; i++)
                if (!c->hooks.plugins[i].timeout)
                        c->hooks.plugins[i].timeout = c->hooks.timeout;
        return 0;
}

static int decode(const struct yaml_node *root, struct config **ret, struct yaml_complaints *complaints,
                  struct cringle_err *err)
{
        auto_of(config) c = calloc(1, sizeof *c);

        if (!c)
                return err_oom(err);
        if (schema_decode(schema_keys, root, "", c, complaints, err) < 0)
                return -1;
        check_registries(c, root, complaints);
        check_hooks(c, root, complaints);
        if (derive(c, err) < 0)
                return -1;

        *ret = steal(&c);
        return 0;
}

static int decode_alone(const struct yaml_doc *doc, struct yaml_complaints *complaints, struct cringle_err *err)
{
        auto_of(config) scratch = NULL;

        return doc->root ? decode(doc->root, &scratch, complaints, err) : 0;
}

/* Lay each document over those before it. */
static void merge(struct layers *l)
{
        for (size_t i = 0; i < l->n_docs; i++) {
                struct yaml_node *root = l->docs[i]->root;

                if (root && l->root)
                        yaml_merge(l->root, root);
                else if (root)
                        l->root = root;
        }
}

/* @complaints holds everything wrong; -1 also when there is nothing but complaints. */
static int load(const char *file, const char *dir, struct layers *l, struct config **ret,
                struct yaml_complaints *complaints, struct cringle_err *err)
{
        if (read_layers(file, dir, l, err) < 0)
                return -1;
        for (size_t i = 0; l->n_docs > 1 && i < l->n_docs; i++)
                if (decode_alone(l->docs[i], complaints, err) < 0)
                        return -1;
        if (yaml_complaints_end(complaints, err) < 0)
                return -1;

        merge(l);
        if (decode(l->root, ret, complaints, err) < 0)
                return -1;
        if (yaml_complaints_end(complaints, err) < 0) {
                *ret = config_free(*ret);
                return -1;
        }
        return 0;
}

int config_load(const char *file, const char *dir, struct config **ret, struct cringle_err *err)
{
        auto_complaints complaints = { 0 };
        auto_layers layers = { 0 };
        struct config *c = NULL;

        if (load(file, dir, &layers, &c, &complaints, err) < 0)
                return -1;
        *ret = c;
        return 0;
}

int config_check(const char *file, const char *dir, struct buf *ret, struct cringle_err *err)
{
        auto_complaints complaints = { 0 };
        auto_layers layers = { 0 };
        auto_of(config) c = NULL;

        if (load(file, dir, &layers, &c, &complaints, err) == 0)
                return 0;
        if (complaints.count && !complaints.out_of_memory)
                return buf_add(ret, complaints.text.data, complaints.text.len, err);
        return -1;
}

int config_show(const char *file, const char *dir, bool origin, struct buf *ret, struct cringle_err *err)
{
        auto_complaints complaints = { 0 };
        auto_layers layers = { 0 };
        auto_of(config) c = NULL;

        if (load(file, dir, &layers, &c, &complaints, err) < 0)
                return -1;
        return schema_show(c, layers.root, origin, ret, err);
}
