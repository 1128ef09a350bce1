/*
 * The plugin host; see host.h.
 *
 * The list of instances is made by host_new() and never changes after that, so
 * that everybody may read it without a lock; what does change in an instance is
 * behind that instance's own.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/host/host.h"
#include "agent/host/instance.h"
#include "agent/host/settings.h"

#define PROBE_TIMEOUT (10 * NSEC_PER_SEC)
#define SLOW_CALL (2 * NSEC_PER_SEC)

struct host {
        pthread_mutex_t reload_lock;    /* one reload at a time */
        struct instance **all;          /* in the order of creation */
        size_t n_all;
        struct instance *main[CRINGLE_HOOK];    /* by enum cringle_kind; NULL: none configured */
        struct instance **hooks;        /* those in use */
        size_t n_hooks;
};

/* The plugins of which there is one each, in the order they are started. */
static const struct {
        int kind;
        size_t offset;
} mains[] = {
        { CRINGLE_IMAGE, offsetof(struct config, image) },
        { CRINGLE_CGROUP, offsetof(struct config, cgroup) },
        { CRINGLE_NETWORK, offsetof(struct config, network) },
        { CRINGLE_EXECUTOR, offsetof(struct config, executor) },
};

#define N_MAINS (sizeof mains / sizeof *mains)

static const struct config_plugin *main_of(const struct config *config, size_t i)
{
        return (const struct config_plugin *) ((const char *) config + mains[i].offset);
}

static int bring_up(struct host *h, const struct kind *k, const struct config *config, const struct config_plugin *p,
                    bool isolated, const struct host_options *options, struct instance **ret, struct cringle_err *err)
{
        auto_of(instance) in = NULL;
        int r;

        for (size_t i = 0; i < h->n_all; i++)
                if (h->all[i]->kind == k && strcmp(h->all[i]->name, p->name) == 0)
                        return err_set(err, CRINGLE_E_INVALID, "%s plugin %s: named twice", k->name, p->name);

        if (instance_new(k, p->name, &in, err) < 0)
                return -1;
        in->isolated = isolated;
        r = instance_bring_up(in, config, p->settings, options, err);
        *ret = in;
        h->all[h->n_all++] = steal(&in);        /* the list owns it, refused or not */
        return r;
}

static int bring_up_mains(struct host *h, const struct config *config, const struct host_options *options,
                          struct cringle_err *err)
{
        for (size_t i = 0; i < N_MAINS; i++) {
                const struct config_plugin *p = main_of(config, i);

                if (p->name && bring_up(h, kind_of(mains[i].kind), config, p, false, options, &h->main[mains[i].kind], err) < 0)
                        return -1;
        }
        return 0;
}

static bool is_isolated(const struct config_hook_plugin *p)
{
        return p->isolation && strcmp(p->isolation, "process") == 0;
}

static int bring_up_hooks(struct host *h, const struct config *config, const struct host_options *options,
                          struct cringle_err *err)
{
        for (size_t i = 0; i < config->hooks.n_plugins; i++) {
                const struct config_hook_plugin *p = &config->hooks.plugins[i];
                struct cringle_err why = CRINGLE_ERR_INIT;
                struct instance *in = NULL;

                if (bring_up(h, kind_of(CRINGLE_HOOK), config, &p->plugin, is_isolated(p), options, &in, &why) < 0) {
                        if (p->fail)
                                return err_set(err, why.code, "%s", why.text);
                        log_warning("%s, going on without it", why.text);
                        continue;
                }
                in->fail = p->fail;
                in->timeout = p->timeout;
                h->hooks[h->n_hooks++] = in;
        }
        return 0;
}

int host_new(const struct config *config, const struct host_options *options, struct host **ret,
             struct cringle_err *err)
{
        struct host_options o = options ? *options : (struct host_options) { 0 };
        auto_of(host) h = calloc(1, sizeof *h);

        if (!h)
                return err_oom(err);
        pthread_mutex_init(&h->reload_lock, NULL);
        h->all = calloc(N_MAINS + config->hooks.n_plugins, sizeof *h->all);
        h->hooks = calloc(config->hooks.n_plugins + 1, sizeof *h->hooks);
        if (!h->all || !h->hooks)
                return err_oom(err);

        if (!o.prober)
                o.prober = "/proc/self/exe";
        if (o.probe_timeout <= 0)
                o.probe_timeout = PROBE_TIMEOUT;
        if (o.slow_call <= 0)
                o.slow_call = SLOW_CALL;

        if (bring_up_mains(h, config, &o, err) < 0 || bring_up_hooks(h, config, &o, err) < 0)
                return -1;
        *ret = steal(&h);
        return 0;
}

struct host *host_free(struct host *h)
{
        if (!h)
                return NULL;

        while (h->n_all > 0)
                instance_free(h->all[--h->n_all]);
        free(h->all);
        free(h->hooks);
        pthread_mutex_destroy(&h->reload_lock);
        free(h);
        return NULL;
}

/* --- access --- */

#define ACCESS(kind_, number_)                                                                  \
        struct host_##kind_ host_##kind_(const struct host *h)                                  \
        {                                                                                       \
                struct instance *in = h->main[number_];                                         \
                                                                                                \
                return (struct host_##kind_) { in ? in->table : NULL, in };                     \
        }

ACCESS(image, CRINGLE_IMAGE)
ACCESS(cgroup, CRINGLE_CGROUP)
ACCESS(network, CRINGLE_NETWORK)
ACCESS(executor, CRINGLE_EXECUTOR)

size_t host_hooks(const struct host *h)
{
        return h->n_hooks;
}

struct host_hook host_hook(struct host *h, size_t index)
{
        struct instance *in = h->hooks[index];
        struct host_hook hook = { .name = in->name, .ops = in->table, .self = in, .isolated = in->isolated };

        pthread_mutex_lock(&in->lock);
        hook.fail = in->fail;
        hook.timeout = in->timeout;
        pthread_mutex_unlock(&in->lock);
        return hook;
}

void host_list(struct host *h, void (*fn)(void *data, const struct host_info *info), void *data)
{
        for (size_t i = 0; i < h->n_all; i++)
                instance_tell(h->all[i], fn, data);
}

/* --- reload --- */

/* What one plugin is to change; made whole before anything is applied. */
struct change {
        struct instance *in;
        struct cringle_pair *settings;  /* NULL: as they are; after the change: the old ones */
        const struct config_hook_plugin *policy;        /* NULL: as it is */
        bool applied;
};

struct plan {
        struct change *changes;
        size_t n;
};

static void plan_done(struct plan *plan)
{
        for (size_t i = 0; i < plan->n; i++)
                settings_free(plan->changes[i].settings);
        free(plan->changes);
}

static int needs_restart(struct buf *restart, const struct kind *k, const char *name, const char *why,
                         struct cringle_err *err)
{
        return buf_printf(restart, err, "%s plugin %s: %s\n", k->name, name, why);
}

static int plan_settings(struct plan *plan, struct instance *in, const struct config *fresh,
                         const struct config_plugin *p, struct buf *restart, struct cringle_err *err)
{
        const struct cringle_setting *schema = in->factory.settings;
        auto_settings gathered = NULL;
        auto_settings settings = NULL;

        if (settings_gather(fresh, in->kind->number, schema, p->settings, &gathered, err) < 0)
                return -1;
        if (settings_check(schema, gathered, &settings, err) < 0)
                return err_wrap(err, "%s plugin %s", in->kind->name, in->name);
        if (settings_equal(in->settings, settings))
                return 0;
        if (!in->factory.reload)
                return needs_restart(restart, in->kind, in->name, "its settings cannot change live", err);

        plan->changes[plan->n++] = (struct change) { .in = in, .settings = steal(&settings) };
        return 0;
}

static int plan_mains(struct host *h, const struct config *fresh, struct plan *plan, struct buf *restart,
                      struct cringle_err *err)
{
        for (size_t i = 0; i < N_MAINS; i++) {
                struct instance *in = h->main[mains[i].kind];
                const struct config_plugin *p = main_of(fresh, i);
                const struct kind *k = kind_of(mains[i].kind);

                if (!str_equal(in ? in->name : NULL, p->name)) {
                        if (needs_restart(restart, k, p->name ? p->name : in->name, "another plugin is configured", err) < 0)
                                return -1;
                        continue;
                }
                if (in && plan_settings(plan, in, fresh, p, restart, err) < 0)
                        return -1;
        }
        return 0;
}

static struct instance *find_hook(struct host *h, const char *name)
{
        for (size_t i = 0; i < h->n_hooks; i++)
                if (strcmp(h->hooks[i]->name, name) == 0)
                        return h->hooks[i];

        return NULL;
}

static bool named(const struct config *config, const char *hook)
{
        for (size_t i = 0; i < config->hooks.n_plugins; i++)
                if (strcmp(config->hooks.plugins[i].plugin.name, hook) == 0)
                        return true;

        return false;
}

static int plan_hooks(struct host *h, const struct config *fresh, struct plan *plan, struct buf *restart,
                      struct cringle_err *err)
{
        const struct kind *k = kind_of(CRINGLE_HOOK);

        for (size_t i = 0; i < fresh->hooks.n_plugins; i++) {
                const struct config_hook_plugin *p = &fresh->hooks.plugins[i];
                struct instance *in = find_hook(h, p->plugin.name);

                if (!in) {
                        if (needs_restart(restart, k, p->plugin.name, "to be loaded", err) < 0)
                                return -1;
                        continue;
                }
                if (in->isolated != is_isolated(p) &&
                    needs_restart(restart, k, p->plugin.name, "to run in another process", err) < 0)
                        return -1;
                if (plan_settings(plan, in, fresh, &p->plugin, restart, err) < 0)
                        return -1;
                if (in->fail != p->fail || in->timeout != p->timeout)
                        plan->changes[plan->n++] = (struct change) { .in = in, .policy = p };
        }
        for (size_t i = 0; i < h->n_hooks; i++)
                if (!named(fresh, h->hooks[i]->name) &&
                    needs_restart(restart, k, h->hooks[i]->name, "to be left out", err) < 0)
                        return -1;
        return 0;
}

/* Hand @c's settings over; afterwards @c has the former ones. */
static int swap_settings(struct change *c, struct cringle_err *err)
{
        struct instance *in = c->in;
        struct cringle_pair *former;

        if (instance_leave(in, "reload", instance_enter(in), in->factory.reload(in->self, c->settings, err), err) < 0)
                return -1;

        pthread_mutex_lock(&in->lock);
        former = in->settings;
        in->settings = c->settings;
        pthread_mutex_unlock(&in->lock);
        c->settings = former;
        return 0;
}

static void roll_back(struct plan *plan)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        for (size_t i = plan->n; i-- > 0;)
                if (plan->changes[i].applied && swap_settings(&plan->changes[i], &err) < 0)
                        log_error("going back to the former settings: %s", err.text);
}

/* Policies cannot fail and come last, so that there is nothing of them to take back. */
static int apply(struct plan *plan, struct buf *live, struct cringle_err *err)
{
        for (size_t i = 0; i < plan->n; i++) {
                struct change *c = &plan->changes[i];

                if (!c->settings)
                        continue;
                if (swap_settings(c, err) < 0) {
                        roll_back(plan);
                        return -1;
                }
                c->applied = true;
        }
        for (size_t i = 0; i < plan->n; i++) {
                struct change *c = &plan->changes[i];

                if (c->policy) {
                        pthread_mutex_lock(&c->in->lock);
                        c->in->fail = c->policy->fail;
                        c->in->timeout = c->policy->timeout;
                        pthread_mutex_unlock(&c->in->lock);
                }
                if (buf_printf(live, err, "%s plugin %s: new %s\n", c->in->kind->name, c->in->name,
                               c->policy ? "policy" : "settings") < 0)
                        return -1;
        }
        return 0;
}

static int make_plan(struct host *h, const struct config *fresh, struct plan *plan, struct buf *restart,
                     struct cringle_err *err)
{
        plan->changes = calloc(2 * h->n_all + 2 * fresh->hooks.n_plugins + 1, sizeof *plan->changes);
        if (!plan->changes)
                return err_oom(err);
        if (plan_mains(h, fresh, plan, restart, err) < 0)
                return -1;
        return plan_hooks(h, fresh, plan, restart, err);
}

int host_reload(struct host *h, const struct config *fresh, struct buf *live, struct buf *restart,
                struct cringle_err *err)
{
        struct plan plan = { 0 };
        int r;

        pthread_mutex_lock(&h->reload_lock);
        r = make_plan(h, fresh, &plan, restart, err);
        if (r == 0)
                r = apply(&plan, live, err);
        pthread_mutex_unlock(&h->reload_lock);
        plan_done(&plan);
        return r;
}
