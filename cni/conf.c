/*
 * Network configurations; see conf.h.
 *
 * Files are root's, but written by whoever deploys the network: every type is
 * checked, and a plugin's name must be a plain file name, or "type" could run
 * any program of the node.
 */

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "cni/conf.h"

#define FILE_MAX (1024 * 1024)
#define FILES_MAX 1024
#define PLUGINS_MAX 64
#define NAME_LEN_MAX 128

struct cni_network *cni_network_free(struct cni_network *net)
{
        if (!net)
                return NULL;

        free(net->plugins);             /* what is in them belongs to the list */
        json_object_put(net->list);
        free(net->name);
        free(net->config);
        free(net);
        return NULL;
}

/* --- what a list says --- */

static int take_version(struct cni_network *net, struct cringle_err *err)
{
        const char *first = "0.1.0";
        auto_strv more = NULL;
        int known;

        if (json_get_string(net->list, "cniVersion", &first, err) < 0 ||
            json_get_strv(net->list, "cniVersions", &more, err) < 0)
                return -1;

        known = cni_version_of(*first ? first : "0.1.0");
        if (known >= 0)
                net->offered |= 1u << known;
        for (size_t i = 0; more && more[i]; i++) {
                known = cni_version_of(more[i]);
                if (known >= 0)
                        net->offered |= 1u << known;
        }
        if (!net->offered)
                return err_set(err, CRINGLE_E_PRECONDITION, "CNI version '%.32s' is none of 0.1.0 to %s", first,
                               cni_version_text(CNI_VERSIONS - 1));

        net->version = 31 - __builtin_clz(net->offered);
        return 0;
}

/* Older writers put it in quotes. */
static int take_flag(struct json_object *list, const char *name, bool *ret, struct cringle_err *err)
{
        struct json_object *m;
        const char *text;

        if (!json_object_object_get_ex(list, name, &m) || !json_object_is_type(m, json_type_string))
                return json_get_bool(list, name, ret, err);
        text = json_object_get_string(m);
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
                return err_set(err, CRINGLE_E_INVALID, "'%s': want true or false, found '%.32s'", name, text);
        *ret = strcmp(text, "true") == 0;
        return 0;
}

static int check_type(const char *what, const char *type, struct cringle_err *err)
{
        if (str_is_id(type, NAME_LEN_MAX))
                return 0;
        return err_set(err, CRINGLE_E_INVALID, "%s '%.64s' is no plain file name", what, type);
}

static int take_plugin(struct cni_plugin *p, struct json_object *config, struct cringle_err *err)
{
        struct json_object *ignored, *ipam = NULL;
        const char *ipam_type = "";
        int r = json_get_string(config, "type", &p->type, err);

        if (r == 0)
                return err_set(err, CRINGLE_E_INVALID, "no 'type'");
        if (r < 0 || check_type("type", p->type, err) < 0 ||
            json_get_object(config, "capabilities", &ignored, err) < 0 ||
            json_get_object(config, "ipam", &ipam, err) < 0)
                return -1;

        if (ipam && json_get_string(ipam, "type", &ipam_type, err) < 0)
                return err_wrap(err, "ipam");
        if (*ipam_type && check_type("ipam type", ipam_type, err) < 0)
                return -1;
        p->config = config;
        return 0;
}

static int take_plugins(struct cni_network *net, struct cringle_err *err)
{
        struct json_object *plugins = NULL;
        size_t n;

        if (json_get_array(net->list, "plugins", &plugins, err) < 0)
                return -1;
        n = plugins ? json_object_array_length(plugins) : 0;
        if (n == 0)
                return err_set(err, CRINGLE_E_INVALID, "no plugins");
        if (n > PLUGINS_MAX)
                return err_set(err, CRINGLE_E_INVALID, "more than %d plugins", PLUGINS_MAX);

        net->plugins = calloc(n, sizeof *net->plugins);
        if (!net->plugins)
                return err_oom(err);
        for (; net->n_plugins < n; net->n_plugins++) {
                size_t i = net->n_plugins;

                if (take_plugin(&net->plugins[i], json_object_array_get_idx(plugins, i), err) < 0)
                        return err_wrap(err, "plugins[%zu]", i);
        }
        return 0;
}

static int take_name(struct cni_network *net, struct cringle_err *err)
{
        const char *name = "";

        if (json_get_string(net->list, "name", &name, err) < 0)
                return -1;
        if (!str_is_id(name, NAME_LEN_MAX))
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is no name for a network", name);
        net->name = strdup(name);
        return net->name ? 0 : err_oom(err);
}

static int render(struct cni_network *net, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;

        if (json_write(net->list, &text, err) < 0)
                return -1;
        free(net->config);
        net->config = buf_steal(&text);
        return net->config ? 0 : err_oom(err);
}

/* Takes @list, also on failure. */
static int network_of(struct json_object *list, struct cni_network **ret, struct cringle_err *err)
{
        auto_of(cni_network) net = calloc(1, sizeof *net);

        if (!net) {
                json_object_put(list);
                return err_oom(err);
        }
        net->list = list;
        if (take_name(net, err) < 0 || take_version(net, err) < 0 || take_plugins(net, err) < 0 ||
            take_flag(list, "disableCheck", &net->disable_check, err) < 0 ||
            take_flag(list, "disableGC", &net->disable_gc, err) < 0 || render(net, err) < 0)
                return -1;

        *ret = steal(&net);
        return 0;
}

int cni_network_parse(const char *text, size_t n, struct cni_network **ret, struct cringle_err *err)
{
        struct json_object *list = NULL;

        return json_parse(text, n, &list, err) < 0 ? -1 : network_of(list, ret, err);
}

int cni_network_pin(struct cni_network *net, int version, struct cringle_err *err)
{
        if (json_set_string(net->list, "cniVersion", cni_version_text(version), err) < 0)
                return -1;
        json_object_object_del(net->list, "cniVersions");
        net->version = version;
        net->offered = 1u << version;
        return render(net, err);
}

/* --- files --- */

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static bool has_suffix(const char *name, const char *const *suffixes)
{
        for (; *suffixes; suffixes++)
                if (str_ends(name, *suffixes))
                        return true;

        return false;
}

/* The names in @dir that end in one of @suffixes, sorted; no directory: none. */
static int list_files(const char *dir, const char *const *suffixes, char ***ret, struct cringle_err *err)
{
        auto_strv names = NULL;
        size_t n = 0;
        DIR *d = opendir(dir);
        int r = 0;

        if (!d)
                return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, "open %s", dir);
        for (struct dirent *e; r == 0 && (e = readdir(d));) {
                if (e->d_name[0] == '.' || !has_suffix(e->d_name, suffixes))
                        continue;
                r = n++ < FILES_MAX ? strv_add(&names, e->d_name, err)
                                    : err_set(err, CRINGLE_E_EXHAUSTED, "%s: more than %d files", dir, FILES_MAX);
        }
        closedir(d);
        if (r < 0)
                return -1;

        if (n > 0)
                qsort(names, n, sizeof *names, by_name);
        *ret = steal(&names);
        return 0;
}

/* A pipe or a device would keep us waiting. */
static int read_file(const char *path, struct json_object **ret, struct cringle_err *err)
{
        struct stat st;

        if (stat(path, &st) < 0)
                return err_sys(err, "open %s", path);
        if (!S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "%s: not a regular file", path);
        if (json_read(path, FILE_MAX, ret, err) < 0)
                return -1;
        if (!json_object_is_type(*ret, json_type_object)) {
                json_object_put(*ret);
                *ret = NULL;
                return err_set(err, CRINGLE_E_INVALID, "%s: want an object", path);
        }
        return 0;
}

/* Plugins from the folder with the network's name follow those in the list. */
static int add_folder(struct json_object *list, const char *dir, struct cringle_err *err)
{
        static const char *const suffixes[] = { ".conf", NULL };
        bool inlined_only = false;
        const char *name = "";
        auto_free char *folder = NULL;
        auto_strv files = NULL;

        if (take_flag(list, "loadOnlyInlinedPlugins", &inlined_only, err) < 0 ||
            json_get_string(list, "name", &name, err) < 0)
                return -1;
        if (inlined_only || !str_is_id(name, NAME_LEN_MAX))
                return 0;

        folder = str_printf(err, "%s/%s", dir, name);
        if (!folder || list_files(folder, suffixes, &files, err) < 0)
                return -1;
        for (size_t i = 0; files && files[i]; i++) {
                auto_free char *path = str_printf(err, "%s/%s", folder, files[i]);
                struct json_object *plugins = json_need_array(list, "plugins", err);
                struct json_object *plugin = NULL;

                if (!path || !plugins || read_file(path, &plugin, err) < 0 || json_add(plugins, plugin, err) < 0)
                        return -1;
        }
        return files ? json_set_bool(list, "loadOnlyInlinedPlugins", true, err) : 0;
}

/* A file with a single plugin is a list of one. */
static int wrap_single(struct json_object **list, struct cringle_err *err)
{
        auto_json outer = json_object_new_object();
        struct json_object *array, *m;

        if (!outer)
                return err_oom(err);
        for (const char *const *name = (const char *const[]) { "name", "cniVersion", "cniVersions", NULL }; *name; name++)
                if (json_object_object_get_ex(*list, *name, &m) && json_set(outer, *name, json_object_get(m), err) < 0)
                        return -1;
        array = json_need_array(outer, "plugins", err);
        if (!array || json_add(array, steal(list), err) < 0)
                return -1;
        *list = steal(&outer);
        return 0;
}

static int load_file(const char *dir, const char *path, struct cni_network **ret, struct cringle_err *err)
{
        auto_json list = NULL;
        struct json_object *type;
        int r;

        if (read_file(path, &list, err) < 0)
                return -1;
        if (json_object_object_get_ex(list, "type", &type))
                r = wrap_single(&list, err);
        else
                r = add_folder(list, dir, err);
        if (r < 0 || network_of(steal(&list), ret, err) < 0)
                return err_wrap(err, "%s", path);
        return 0;
}

int cni_network_load(const char *dir, struct cni_network **ret, struct cringle_err *err)
{
        static const char *const suffixes[] = { ".conflist", ".conf", ".json", NULL };
        auto_free char *path = NULL;
        auto_strv names = NULL;

        if (list_files(dir, suffixes, &names, err) < 0)
                return -1;
        if (!names)
                return err_set(err, CRINGLE_E_NOT_FOUND, "no network configuration in %s", dir);
        path = str_printf(err, "%s/%s", dir, names[0]);
        return path ? load_file(dir, path, ret, err) : -1;
}
