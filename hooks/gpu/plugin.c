/*
 * gpu: accelerators for containers that ask for them
 *
 * A container asks with an annotation, or with a variable where a vendor's device
 * plugin sets one: "all", "none", or numbers, "0,2".  What that means on the node,
 * settings describe: device nodes, libraries, variables, in rules of one line.  A
 * `{}` in the path of a device is the number of each device asked for; in a variable
 * it is the whole list.  Where there is a CDI file it says all that, and names are the
 * file's: then one setting is enough.
 *
 * Images set variables as freely as pods do, NVIDIA_VISIBLE_DEVICES=all is in many:
 * so a variable counts only where the configuration names one.
 */

#include <pthread.h>
#include <unistd.h>

#include "plugins/api/rule.h"

#define DEVICES_MAX 256

struct values {
        char *annotation, *variable, *ldconfig, *cdi;   /* NULL: not in use */
        struct cringle_pair **devices, **mounts, **env, **need;
        char **libraries;                               /* ended by NULL */
};

struct gpu {
        pthread_rwlock_t lock;
        struct values values;
};

/* What one container asks for. */
struct chosen {
        unsigned numbers[DEVICES_MAX];
        size_t n;
};

/* --- settings --- */

static const char *const known_device[] = { "path", "offset", "optional", "access", NULL };
static const char *const known_mount[] = { "source", "target", "options", "optional", NULL };
static const char *const known_env[] = { "name", "value", NULL };
static const char *const known_need[] = { "path", NULL };

static unsigned offset_of(const struct cringle_pair *rule)
{
        const char *offset = cringle_rule_get(rule, "offset");

        return offset ? (unsigned) strtoul(offset, NULL, 10) : 0;
}

static int check_device(const struct cringle_pair *rule, struct cringle_err *err)
{
        const char *offset = cringle_rule_get(rule, "offset"), *access = cringle_rule_get(rule, "access");
        const char *path = cringle_rule_get(rule, "path"), *hole;

        if (cringle_rule_path(rule, "path", err) < 0 || cringle_rule_yes(rule, "optional", err) < 0)
                return -1;
        hole = strstr(path, "{}");
        if (hole && (strstr(hole + 2, "{}") || strchr(hole, '/')))
                return cringle_fail(err, CRINGLE_E_INVALID, "path: want {} once, in the last part");
        if (offset && (!hole || !*offset || strlen(offset) > 5 || strspn(offset, "0123456789") != strlen(offset)))
                return cringle_fail(err, CRINGLE_E_INVALID, "offset: want a number, and a path with {}");
        if (access && (!*access || strspn(access, "rwm") != strlen(access)))
                return cringle_fail(err, CRINGLE_E_INVALID, "access: want some of r, w and m, found '%.64s'", access);
        return 0;
}

static int check_mount(const struct cringle_pair *rule, struct cringle_err *err)
{
        if (cringle_rule_path(rule, "source", err) < 0 || cringle_rule_yes(rule, "optional", err) < 0)
                return -1;
        return cringle_rule_get(rule, "target") ? cringle_rule_path(rule, "target", err) : 0;
}

static int check_env(const struct cringle_pair *rule, struct cringle_err *err)
{
        const char *name = cringle_rule_get(rule, "name");

        if (!name || !*name || strchr(name, '='))
                return cringle_fail(err, CRINGLE_E_INVALID, "name: want the name of a variable");
        if (!cringle_rule_get(rule, "value"))
                return cringle_fail(err, CRINGLE_E_INVALID, "value: missing");
        return 0;
}

static int check_need(const struct cringle_pair *rule, struct cringle_err *err)
{
        return cringle_rule_path(rule, "path", err);
}

static void drop_values(struct values *v)
{
        for (size_t i = 0; v->libraries && v->libraries[i]; i++)
                free(v->libraries[i]);
        free(v->libraries);
        cringle_rules_free(v->devices);
        cringle_rules_free(v->mounts);
        cringle_rules_free(v->env);
        cringle_rules_free(v->need);
        free(v->annotation);
        free(v->variable);
        free(v->ldconfig);
        free(v->cdi);
}

static int take(char **to, const char *value, struct cringle_err *err)
{
        if (!*value)
                return 0;
        *to = strdup(value);
        return *to ? 0 : cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
}

static int read_words(const struct cringle_pair *settings, struct values *v, struct cringle_err *err)
{
        size_t n = 0, libraries = 0;

        for (const struct cringle_pair *p = settings; p->key; p++)
                n += strcmp(p->key, "libraries") == 0;
        v->libraries = calloc(n + 1, sizeof *v->libraries);
        if (!v->libraries)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        for (const struct cringle_pair *p = settings; p->key; p++) {
                int r = 0;

                if (strcmp(p->key, "annotation") == 0 && !v->annotation)
                        r = take(&v->annotation, p->value, err);
                else if (strcmp(p->key, "variable") == 0 && !v->variable)
                        r = take(&v->variable, p->value, err);
                else if (strcmp(p->key, "ldconfig") == 0 && !v->ldconfig)
                        r = take(&v->ldconfig, p->value, err);
                else if (strcmp(p->key, "cdi") == 0 && !v->cdi)
                        r = take(&v->cdi, p->value, err);
                else if (strcmp(p->key, "libraries") == 0) {
                        if (p->value[0] != '/')
                                return cringle_fail(err, CRINGLE_E_INVALID,
                                                    "setting libraries: want an absolute path, found '%.200s'", p->value);
                        r = take(&v->libraries[libraries++], p->value, err);
                }
                if (r < 0)
                        return -1;
        }
        if (!v->annotation && !v->variable)
                return cringle_fail(err, CRINGLE_E_INVALID, "neither setting annotation nor setting variable: nobody could ask");
        return 0;
}

/* The first device with {} is the one that counts them; a description without devices is none. */
static const struct cringle_pair *counted(const struct values *v)
{
        for (struct cringle_pair **d = v->devices; *d; d++)
                if (strstr(cringle_rule_get(*d, "path"), "{}"))
                        return *d;
        return NULL;
}

static int read_values(const struct cringle_pair *settings, struct values *ret, struct cringle_err *err)
{
        struct values v = { 0 };

        if (read_words(settings, &v, err) < 0 ||
            cringle_rules_read(settings, "devices", known_device, check_device, &v.devices, err) < 0 ||
            cringle_rules_read(settings, "mounts", known_mount, check_mount, &v.mounts, err) < 0 ||
            cringle_rules_read(settings, "env", known_env, check_env, &v.env, err) < 0 ||
            cringle_rules_read(settings, "need", known_need, check_need, &v.need, err) < 0) {
                drop_values(&v);
                return -1;
        }
        if (v.cdi ? v.devices[0] || v.env[0] || v.ldconfig : !counted(&v)) {
                cringle_fail(err, CRINGLE_E_INVALID, v.cdi ? "setting cdi: with it devices, env and ldconfig are the CDI file's"
                                                           : "setting devices: none has {} in its path");
                drop_values(&v);
                return -1;
        }
        *ret = v;
        return 0;
}

/* --- which devices --- */

static char *path_of(const struct cringle_pair *device, unsigned number)
{
        const char *path = cringle_rule_get(device, "path"), *hole = strstr(path, "{}");
        char *text = NULL;

        if (!hole)
                return strdup(path);
        if (asprintf(&text, "%.*s%u%s", (int) (hole - path), path, number + offset_of(device), hole + 2) < 0)
                return NULL;
        return text;
}

static int choose(struct chosen *c, unsigned number, struct cringle_err *err)
{
        for (size_t i = 0; i < c->n; i++)
                if (c->numbers[i] == number)
                        return 0;
        if (c->n == DEVICES_MAX)
                return cringle_fail(err, CRINGLE_E_INVALID, "more than %d devices", DEVICES_MAX);
        c->numbers[c->n++] = number;
        return 0;
}

/* Those of which the node has the counted device. */
static int choose_all(const struct values *v, struct chosen *c, struct cringle_err *err)
{
        const struct cringle_pair *device = counted(v);

        for (unsigned i = 0; i < DEVICES_MAX; i++) {
                char *path = path_of(device, i);
                int there;

                if (!path)
                        return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
                there = access(path, F_OK) == 0;
                free(path);
                if (there && choose(c, i, err) < 0)
                        return -1;
        }
        if (c->n == 0)
                return cringle_fail(err, CRINGLE_E_NOT_FOUND, "this node has no %s", cringle_rule_get(device, "path"));
        return 0;
}

static int choose_named(const char *text, struct chosen *c, struct cringle_err *err)
{
        for (const char *at = text; *at;) {
                size_t length = strcspn(at, ",");

                if (length == 0 || length > 3 || strspn(at, "0123456789") < length)
                        return cringle_fail(err, CRINGLE_E_INVALID, "want all, none or numbers of devices, found '%.64s'", text);
                if (choose(c, (unsigned) strtoul(at, NULL, 10), err) < 0)
                        return -1;
                at += length + (at[length] == ',');
        }
        return 0;
}

/* What is asked for, and by what; NULL: nothing. */
static const char *asked(const struct values *v, const struct cringle_event *ev, const char **ret_by)
{
        const char *text = v->annotation ? ev->annotation(ev, v->annotation) : NULL;

        *ret_by = v->annotation;
        if (!text && v->variable) {
                text = ev->env(ev, v->variable);
                *ret_by = v->variable;
        }
        return text && *text && strcmp(text, "none") != 0 && strcmp(text, "void") != 0 ? text : NULL;
}

/* --- giving them --- */

static int check_there(const struct values *v, const struct cringle_event *ev, struct cringle_err *err)
{
        for (struct cringle_pair **need = v->need; *need; need++) {
                const char *path = cringle_rule_get(*need, "path");

                if (cringle_rule_matches(*need, ev) && access(path, F_OK) < 0)
                        return cringle_fail(err, CRINGLE_E_UNAVAILABLE, "%s: %s: is the driver loaded?", path, strerror(errno));
        }
        return 0;
}

/* 1: there, 0: not there, and need not be. */
static int is_there(const char *path, const struct cringle_pair *rule, struct cringle_err *err)
{
        if (access(path, F_OK) == 0)
                return 1;
        if (errno == ENOENT && cringle_rule_yes(rule, "optional", err) == 1)
                return 0;
        return cringle_fail(err, errno == ENOENT ? CRINGLE_E_NOT_FOUND : CRINGLE_E_INTERNAL, "%s: %s", path,
                            strerror(errno));
}

static int give_device(const struct cringle_event *ev, const struct cringle_pair *device, unsigned number,
                       struct cringle_err *err)
{
        const char *access_ = cringle_rule_get(device, "access");
        char *path = path_of(device, number);
        int r;

        if (!path)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        r = is_there(path, device, err);
        if (r == 1)
                r = ev->add_device(ev, path, path, access_ ? access_ : "rw", err);
        free(path);
        return r;
}

static int give_devices(const struct values *v, const struct chosen *c, const struct cringle_event *ev,
                        struct cringle_err *err)
{
        for (struct cringle_pair **d = v->devices; *d; d++) {
                size_t times = strstr(cringle_rule_get(*d, "path"), "{}") ? c->n : 1;

                if (!cringle_rule_matches(*d, ev))
                        continue;
                for (size_t i = 0; i < times; i++)
                        if (give_device(ev, *d, c->numbers[i], err) < 0)
                                return -1;
        }
        return 0;
}

static int give_mounts(const struct values *v, const struct cringle_event *ev, struct cringle_err *err)
{
        for (struct cringle_pair **m = v->mounts; *m; m++) {
                const char *source = cringle_rule_get(*m, "source"), *target = cringle_rule_get(*m, "target");
                const char *options = cringle_rule_get(*m, "options");
                int there = cringle_rule_matches(*m, ev) ? is_there(source, *m, err) : 0;

                if (there < 0)
                        return -1;
                if (there && ev->add_mount(ev, source, target ? target : source,
                                           options ? options : "bind,ro,nosuid,nodev", err) < 0)
                        return -1;
        }
        return 0;
}

static int give_variable(const struct cringle_event *ev, const struct cringle_pair *rule, const char *list,
                         struct cringle_err *err)
{
        const char *value = cringle_rule_get(rule, "value"), *hole = strstr(value, "{}");
        char *text = NULL;
        int r;

        if (!hole)
                return ev->set_env(ev, cringle_rule_get(rule, "name"), value, err);
        if (asprintf(&text, "%.*s%s%s", (int) (hole - value), value, list, hole + 2) < 0)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        r = ev->set_env(ev, cringle_rule_get(rule, "name"), text, err);
        free(text);
        return r;
}

static int give_env(const struct values *v, const struct chosen *c, const struct cringle_event *ev, struct cringle_err *err)
{
        char list[DEVICES_MAX * 5] = "";
        size_t n = 0;

        for (size_t i = 0; i < c->n; i++)
                n += (size_t) snprintf(list + n, sizeof list - n, "%s%u", i ? "," : "", c->numbers[i]);
        for (struct cringle_pair **e = v->env; *e; e++)
                if (cringle_rule_matches(*e, ev) && give_variable(ev, *e, list, err) < 0)
                        return -1;
        return 0;
}

/*
 * The loader's cache of an image does not know libraries that are mounted into it.
 * The hook runs in the container's mounts before its root is entered, in the bundle.
 */
static int refresh_cache(const struct values *v, const struct cringle_event *ev, struct cringle_err *err)
{
        static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
        const char **args;
        size_t n = 0, count = 0;
        int r;

        while (v->libraries[count])
                count++;
        args = calloc(count + 4, sizeof *args);
        if (!args)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        args[n++] = v->ldconfig;
        args[n++] = "-r";
        args[n++] = "rootfs";
        for (size_t i = 0; i < count; i++)
                args[n++] = v->libraries[i];
        r = ev->add_oci_hook(ev, "createContainer", v->ldconfig, args, env, 0, err);
        free(args);
        return r;
}

/* By its CDI file, which says of each device what comes with it; "all" is a device of its own there. */
static int give_by_cdi(const struct values *v, const struct cringle_event *ev, const char *text, struct cringle_err *err)
{
        char *words = strdup(text), *rest = words, *word;
        int r = words ? 0 : cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");

        if (r == 0 && (ev->size < offsetof(struct cringle_event, add_cdi_device) + sizeof ev->add_cdi_device ||
                       !ev->add_cdi_device))
                r = cringle_fail(err, CRINGLE_E_UNIMPLEMENTED, "setting cdi: this agent knows no CDI");
        while (r == 0 && (word = strsep(&rest, ","))) {
                char *name = NULL;

                if (asprintf(&name, "%s=%s", v->cdi, word) < 0)
                        r = cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
                else
                        r = ev->add_cdi_device(ev, name, err);
                free(name);
        }
        free(words);
        return r;
}

static int give(const struct values *v, const struct cringle_event *ev, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct chosen c = { 0 };
        const char *by, *text = asked(v, ev, &by);

        if (!text)
                return 0;
        if (v->cdi)
                return check_there(v, ev, err) < 0 || give_mounts(v, ev, err) < 0 || give_by_cdi(v, ev, text, err) < 0 ? -1 : 0;
        if ((strcmp(text, "all") == 0 ? choose_all(v, &c, &why) : choose_named(text, &c, &why)) < 0)
                return cringle_fail(err, why.code, "%s: %.500s", by, why.text);
        if (check_there(v, ev, err) < 0 || give_devices(v, &c, ev, err) < 0 || give_mounts(v, ev, err) < 0 ||
            give_env(v, &c, ev, err) < 0)
                return -1;
        return v->ldconfig ? refresh_cache(v, ev, err) : 0;
}

static int gpu_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct gpu *g = self;
        int r;

        pthread_rwlock_rdlock(&g->lock);
        r = give(&g->values, ev, err);
        pthread_rwlock_unlock(&g->lock);
        return r;
}

/* --- life --- */

static void gpu_destroy(void *self)
{
        struct gpu *g = self;

        drop_values(&g->values);
        pthread_rwlock_destroy(&g->lock);
        free(g);
}

static int gpu_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                      struct cringle_err *err)
{
        struct gpu *g = calloc(1, sizeof *g);

        if (!g)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        pthread_rwlock_init(&g->lock, NULL);
        if (read_values(settings, &g->values, err) < 0) {
                gpu_destroy(g);
                return -1;
        }

        *ret_self = g;
        return 0;
}

static int gpu_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct gpu *g = self;
        struct values fresh, old;

        if (read_values(settings, &fresh, err) < 0)
                return -1;
        pthread_rwlock_wrlock(&g->lock);
        old = g->values;
        g->values = fresh;
        pthread_rwlock_unlock(&g->lock);
        drop_values(&old);
        return 0;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_CREATE),
        .run = gpu_run,
};

static const struct cringle_setting schema[] = {
        { "annotation", CRINGLE_STRING, "gpu.cringle.io/devices", "the annotation that asks: all, none, or numbers" },
        { "variable", CRINGLE_STRING, NULL, "a variable that asks too; any image can set it" },
        { "devices", CRINGLE_STRING_LIST, NULL, "path= offset= optional= access=; {} in a path is each number asked for" },
        { "cdi", CRINGLE_STRING, NULL, "the kind of CDI device that is asked for, instead of devices" },
        { "mounts", CRINGLE_STRING_LIST, NULL, "source= target= options= optional=" },
        { "env", CRINGLE_STRING_LIST, NULL, "name= value=; {} in a value is the list of numbers" },
        { "need", CRINGLE_STRING_LIST, NULL, "path= of what must be there when somebody asks" },
        { "ldconfig", CRINGLE_PATH, NULL, "the node's ldconfig, run on the container's root when it is created" },
        { "libraries", CRINGLE_STRING_LIST, NULL, "directories in the container that ldconfig is told" },
        { 0 },
};

CRINGLE_PLUGIN(gpu,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "accelerators for containers that ask for them",
        .settings = schema,
        .create = gpu_create,
        .reload = gpu_reload,
        .destroy = gpu_destroy,
        .ops = &ops);
