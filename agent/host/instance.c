/*
 * One plugin that the configuration names; see instance.h.
 */

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/host/instance.h"
#include "agent/host/judge.h"
#include "agent/host/load.h"
#include "agent/host/settings.h"
#include "agent/host/spawn.h"

#define COUNTERS_MAX 256                /* a plugin that makes up names must not eat our memory */

/* --- services --- */

static struct instance *instance_of(const struct cringle_host *host)
{
        return (struct instance *) ((char *) (uintptr_t) host - offsetof(struct instance, services));
}

static void service_log(const struct cringle_host *host, int level, const char *text)
{
        log_line(level, "%s: %s", instance_of(host)->name, text);
}

static void service_count(const struct cringle_host *host, const char *name, int64_t delta)
{
        struct instance *in = instance_of(host);
        int64_t *value;

        pthread_mutex_lock(&in->lock);
        value = map_get(&in->counters, name);
        if (!value && in->counters.count < COUNTERS_MAX) {
                value = calloc(1, sizeof *value);
                if (value && map_put(&in->counters, name, value, NULL) < 0) {
                        free(value);
                        value = NULL;
                }
        }
        if (value)
                *value += delta;
        pthread_mutex_unlock(&in->lock);
}

/* --- calls --- */

int64_t instance_enter(struct instance *in)
{
        in->running++;
        in->calls++;
        return clock_monotonic();
}

static void note_slowest(struct instance *in, const char *what, int64_t took)
{
        pthread_mutex_lock(&in->lock);
        if (took > in->slowest) {
                in->slowest = took;
                in->slowest_call = what;
        }
        pthread_mutex_unlock(&in->lock);
}

/* What a plugin leaves in @err is brought into form: ended, coded, and naming the plugin. */
static void dress(struct instance *in, struct cringle_err *err)
{
        err->text[sizeof err->text - 1] = '\0';
        if (err->code == CRINGLE_OK)
                err->code = CRINGLE_E_UNKNOWN;
        if (!err->text[0])
                snprintf(err->text, sizeof err->text, "failed without saying why");
        err_wrap(err, "%s", in->name);
}

int instance_leave(struct instance *in, const char *what, int64_t begun, int result, struct cringle_err *err)
{
        int64_t took = clock_monotonic() - begun;

        in->running--;
        in->busy += took;
        note_slowest(in, what, took);
        if (took > in->slow_call) {
                in->slow++;
                log_warning("plugin %s: %s took %lld ms", in->name, what, (long long) (took / NSEC_PER_MSEC));
        }
        if (result < 0) {
                in->failures++;
                if (err)
                        dress(in, err);
        }
        return result;
}

/* --- life --- */

int instance_new(const struct kind *k, const char *name, struct instance **ret, struct cringle_err *err)
{
        auto_of(instance) in = calloc(1, sizeof *in);

        if (!in)
                return err_oom(err);
        pthread_mutex_init(&in->lock, NULL);
        in->kind = k;
        in->name = strdup(name);
        if (!in->name)
                return err_oom(err);

        *ret = steal(&in);
        return 0;
}

static void take_down(struct instance *in)
{
        if (in->in_use && in->factory.quiesce)
                in->factory.quiesce(in->self);
        in->in_use = false;
        if (in->created && in->factory.destroy)
                in->factory.destroy(in->self);
        in->created = false;
        in->self = NULL;
}

struct instance *instance_free(struct instance *in)
{
        if (!in)
                return NULL;

        take_down(in);
        apart_free(in->apart);
        map_done(&in->counters, free);
        settings_free(in->settings);
        free(in->ops);
        free(in->table);
        free(in->message);
        free(in->state_dir);
        free(in->run_dir);
        free(in->version);
        free(in->file);
        free(in->name);
        pthread_mutex_destroy(&in->lock);
        free(in);
        return NULL;
}

/* <base>/plugins/<name>, 0700. */
static int make_dir(const char *base, const char *name, char **ret, struct cringle_err *err)
{
        auto_free char *parent = str_printf(err, "%s/plugins", base);
        auto_free char *dir = str_printf(err, "%s/plugins/%s", base, name);
        struct stat st;

        if (!parent || !dir || file_make_dirs(parent, 0700, err) < 0)
                return -1;
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return err_sys(err, "make %s", dir);
        if (lstat(dir, &st) < 0)
                return err_sys(err, "stat %s", dir);
        if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
                return err_set(err, CRINGLE_E_DENIED, "%s: want a directory of our own", dir);
        if ((st.st_mode & 07777) != 0700 && chmod(dir, 0700) < 0)
                return err_sys(err, "chmod %s", dir);

        *ret = steal(&dir);
        return 0;
}

/* Built-in tables are ours: no child looks at them first.  1: found, 0: none of that name. */
static int find_builtin(struct instance *in, const struct host_options *options, const struct cringle_plugin **ret,
                        struct cringle_err *err)
{
        for (const cringle_plugin_fn *fn = options->builtins; fn && *fn; fn++) {
                const struct cringle_plugin *p = (*fn)();

                if (judge_plugin(p, err) < 0)
                        return -1;
                for (size_t i = 0; p->factories[i]; i++) {
                        const struct cringle_factory *f = p->factories[i];

                        if (f->kind == in->kind->number && strcmp(f->name ? f->name : p->name, in->name) == 0) {
                                *ret = p;
                                return 1;
                        }
                }
        }
        return 0;
}

struct apart *apart_of(const struct cringle_host *host)
{
        return instance_of(host)->apart;
}

/* The file was probed; from here on only its own process loads it. */
static int find_apart(struct instance *in, const struct host_options *options, struct cringle_err *err)
{
        if (apart_new(options->prober, in->file, in->name, options->probe_timeout, &in->apart, err) < 0)
                return -1;
        in->factory = apart_factory(in->apart);
        in->version = strdup(apart_version(in->apart));
        return in->version ? 0 : err_oom(err);
}

static int find_plugin(struct instance *in, const struct config *config, const struct host_options *options,
                       struct cringle_err *err)
{
        const struct cringle_plugin *p = NULL;
        int builtin = find_builtin(in, options, &p, err);

        if (builtin < 0)
                return -1;
        if (!builtin) {
                if (load_find((const char *const *) config->plugins.dirs, in->name, &in->file, err) < 0)
                        return -1;
                if (load_probe(options->prober, options->probe_timeout, in->file, in->kind, in->name, err) < 0)
                        return -1;
                if (in->isolated)
                        return find_apart(in, options, err);
                if (load_open(in->file, &p, err) < 0)
                        return -1;
        }
        if (in->isolated)
                return err_set(err, CRINGLE_E_INVALID, "it is built in and cannot run in a process of its own");

        in->version = strdup(p->version);
        if (!in->version)
                return err_oom(err);
        if (judge_find(p, in->kind, in->name, &in->factory, err) < 0)
                return -1;
        if (builtin && in->factory.probe && in->factory.probe(err) < 0)
                return err_wrap(err, "probe");
        return 0;
}

static int make_tables(struct instance *in, struct cringle_err *err)
{
        in->ops = calloc(1, in->kind->ops_size);
        in->table = calloc(1, in->kind->ops_size);
        if (!in->ops || !in->table)
                return err_oom(err);

        judge_copy_ops(in->kind, in->factory.ops, in->ops);
        kind_bind(in->kind, in->ops, in->table);
        return 0;
}

static int create_and_start(struct instance *in, struct cringle_err *err)
{
        in->services = (struct cringle_host) {
                .size = sizeof in->services,
                .version = CRINGLE_VERSION,
                .state_dir = in->state_dir,
                .run_dir = in->run_dir,
                .log = service_log,
                .count = service_count,
                .spawn = host_spawn,
        };
        if (in->factory.create && in->factory.create(&in->services, in->settings, &in->self, err) < 0)
                return err_wrap(err, "create");
        in->created = true;
        if (in->factory.start && in->factory.start(in->self, err) < 0)
                return err_wrap(err, "start");
        in->in_use = true;
        return 0;
}

static int bring_up(struct instance *in, const struct config *config, const struct cringle_pair *settings,
                    const struct host_options *options, struct cringle_err *err)
{
        auto_settings gathered = NULL;

        in->slow_call = options->slow_call;
        if (find_plugin(in, config, options, err) < 0)
                return -1;
        if (settings_gather(config, in->kind->number, in->factory.settings, settings, &gathered, err) < 0 ||
            settings_check(in->factory.settings, gathered, &in->settings, err) < 0)
                return -1;
        if (make_dir(config->root, in->name, &in->state_dir, err) < 0 ||
            make_dir(config->state, in->name, &in->run_dir, err) < 0)
                return -1;
        if (make_tables(in, err) < 0)
                return -1;
        return create_and_start(in, err);
}

int instance_bring_up(struct instance *in, const struct config *config, const struct cringle_pair *settings,
                      const struct host_options *options, struct cringle_err *err)
{
        struct cringle_err own = CRINGLE_ERR_INIT;

        if (bring_up(in, config, settings, options, &own) == 0)
                return 0;

        take_down(in);
        dress(in, &own);
        in->message = strdup(own.text);
        if (err) {
                err->code = own.code;
                err->sys = own.sys;
                memcpy(err->text, own.text, sizeof err->text);
        }
        return err_wrap(err, "%s plugin", in->kind->name);
}

/* --- what is known --- */

static size_t copy_counters(struct instance *in, struct host_counter *ret)
{
        const char *name;
        void *value;
        size_t at = 0, n = 0;

        while (map_next(&in->counters, &at, &name, &value))
                ret[n++] = (struct host_counter) { name, *(int64_t *) value };
        return n;
}

void instance_tell(struct instance *in, void (*fn)(void *data, const struct host_info *info), void *data)
{
        struct host_counter counters[COUNTERS_MAX];
        struct cringle_pair none = { 0 };
        auto_settings masked = NULL;
        struct host_info info = {
                .name = in->name,
                .kind = in->kind->name,
                .file = in->file,
                .version = in->version,
                .help = in->factory.help,
                .major = in->factory.major,
                .minor = in->factory.minor,
                .in_use = in->in_use,
                .isolated = in->isolated,
                .message = in->in_use ? NULL : in->message,
                .schema = in->factory.settings,
                .calls = in->calls,
                .failures = in->failures,
                .slow = in->slow,
                .running = (uint64_t) in->running,
                .busy = in->busy,
                .counters = counters,
        };

        /* Under the lock: names of counters stay, since none is ever taken out. */
        pthread_mutex_lock(&in->lock);
        info.slowest = in->slowest;
        info.slowest_call = in->slowest_call;
        info.n_counters = copy_counters(in, counters);
        masked = settings_masked(in->factory.settings, in->settings, NULL);
        pthread_mutex_unlock(&in->lock);

        info.settings = masked ? masked : &none;
        fn(data, &info);
}
