/*
 * The plugin host; see host.h.
 *
 * The plugins of which there is one each are there from host_new() to host_free(), so
 * that everybody may use them without a lock.  Hook plugins come and go by reloads: who calls
 * them holds a set, which never changes, and the last one to release the last set that a
 * plugin is in takes it down.  What changes in an instance is behind that instance's own lock.
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

struct host_hooks {
        struct host *host;
        unsigned refs;                  /* the host's own, and of those who hold it; under the host's lock */
        size_t n;
        struct instance *items[];
};

struct host {
        pthread_mutex_t reload_lock;    /* one reload at a time */
        struct host_options options;
        struct instance *main[CRINGLE_HOOK];    /* by enum cringle_kind; NULL: none configured */

        pthread_mutex_t lock;           /* for all below */
        struct instance **all;          /* in the order of creation */
        size_t n_all;
        struct host_hooks *hooks;       /* those in use */
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

/* The list owns @in from now on, also when this fails. */
static int list_add(struct host *h, struct instance *in, struct cringle_err *err)
{
        struct instance **all;

        pthread_mutex_lock(&h->lock);
        all = realloc(h->all, (h->n_all + 1) * sizeof(struct instance *));
        if (all) {
                h->all = all;
                all[h->n_all++] = in;
        }
        pthread_mutex_unlock(&h->lock);
        if (all)
                return 0;
        instance_free(in);
        return err_oom(err);
}

/* Under the lock; @in is the caller's again. */
static void list_take(struct host *h, struct instance *in)
{
        for (size_t i = 0; i < h->n_all; i++)
                if (h->all[i] == in) {
                        memmove(h->all + i, h->all + i + 1, (--h->n_all - i) * sizeof(struct instance *));
                        return;
                }
}

static int bring_up_mains(struct host *h, const struct config *config, struct cringle_err *err)
{
        for (size_t i = 0; i < N_MAINS; i++) {
                const struct config_plugin *p = main_of(config, i);
                struct instance *in = NULL;
                int r;

                if (!p->name)
                        continue;
                if (instance_new(kind_of(mains[i].kind), p->name, &in, err) < 0)
                        return -1;
                r = instance_bring_up(in, config, p->settings, &h->options, err);
                if (list_add(h, in, err) < 0 || r < 0)
                        return -1;
                h->main[mains[i].kind] = in;
        }
        return 0;
}

static bool is_isolated(const struct config_hook_plugin *p)
{
        return p->isolation && strcmp(p->isolation, "process") == 0;
}

/* *ret is the caller's.  A plugin that is refused and may be ignored is one that is not in use. */
static int bring_up_hook(struct host *h, const struct config *config, const struct config_hook_plugin *p,
                         struct instance **ret, struct cringle_err *err)
{
        auto_of(instance) in = NULL;
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (instance_new(kind_of(CRINGLE_HOOK), p->plugin.name, &in, err) < 0)
                return -1;
        in->isolated = is_isolated(p);
        if (instance_bring_up(in, config, p->plugin.settings, &h->options, &why) < 0) {
                if (p->fail)
                        return err_set(err, why.code, "%s", why.text);
                log_warning("%s, going on without it", why.text);
        }
        in->fail = p->fail;
        in->timeout = p->timeout;
        *ret = steal(&in);
        return 0;
}

static int refuse_twins(const struct config *config, struct cringle_err *err)
{
        const struct config_hook_plugin *p = config->hooks.plugins;

        for (size_t i = 0; i < config->hooks.n_plugins; i++)
                for (size_t k = 0; k < i; k++)
                        if (strcmp(p[i].plugin.name, p[k].plugin.name) == 0)
                                return err_set(err, CRINGLE_E_INVALID, "hook plugin %s: named twice", p[i].plugin.name);
        return 0;
}

/* A set of the host's, with room for @n. */
static struct host_hooks *set_new(struct host *h, size_t n, struct cringle_err *err)
{
        struct host_hooks *set = calloc(1, sizeof *set + n * sizeof(struct instance *));

        if (!set) {
                err_oom(err);
                return NULL;
        }
        set->host = h;
        set->refs = 1;
        return set;
}

static void set_add(struct host_hooks *set, struct instance *in)
{
        set->items[set->n++] = in;
        in->sets++;
}

static int bring_up_hooks(struct host *h, const struct config *config, struct cringle_err *err)
{
        h->hooks = set_new(h, config->hooks.n_plugins, err);
        if (!h->hooks || refuse_twins(config, err) < 0)
                return -1;
        for (size_t i = 0; i < config->hooks.n_plugins; i++) {
                struct instance *in = NULL;

                if (bring_up_hook(h, config, &config->hooks.plugins[i], &in, err) < 0 || list_add(h, in, err) < 0)
                        return -1;
                if (in->in_use)
                        set_add(h->hooks, in);
        }
        return 0;
}

int host_new(const struct config *config, const struct host_options *options, struct host **ret,
             struct cringle_err *err)
{
        auto_of(host) h = calloc(1, sizeof *h);

        if (!h)
                return err_oom(err);
        pthread_mutex_init(&h->reload_lock, NULL);
        pthread_mutex_init(&h->lock, NULL);
        if (options)
                h->options = *options;
        if (!h->options.prober)
                h->options.prober = "/proc/self/exe";
        if (h->options.probe_timeout <= 0)
                h->options.probe_timeout = PROBE_TIMEOUT;
        if (h->options.slow_call <= 0)
                h->options.slow_call = SLOW_CALL;

        if (bring_up_mains(h, config, err) < 0 || bring_up_hooks(h, config, err) < 0)
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
        pthread_mutex_destroy(&h->lock);
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

struct host_hooks *host_hooks_hold(struct host *h)
{
        struct host_hooks *set;

        pthread_mutex_lock(&h->lock);
        set = h->hooks;
        set->refs++;
        pthread_mutex_unlock(&h->lock);
        return set;
}

void host_hooks_release(struct host_hooks *set)
{
        struct host *h = set->host;
        size_t n = 0;

        pthread_mutex_lock(&h->lock);
        if (--set->refs > 0) {
                pthread_mutex_unlock(&h->lock);
                return;
        }
        for (size_t i = 0; i < set->n; i++)
                if (--set->items[i]->sets == 0) {
                        list_take(h, set->items[i]);
                        set->items[n++] = set->items[i];
                }
        pthread_mutex_unlock(&h->lock);

        while (n > 0)
                instance_free(set->items[--n]);
        free(set);
}

size_t host_hooks_count(const struct host_hooks *set)
{
        return set->n;
}

struct host_hook host_hook(const struct host_hooks *set, size_t index)
{
        struct instance *in = set->items[index];
        struct host_hook hook = { .name = in->name, .ops = in->table, .self = in, .isolated = in->isolated };

        pthread_mutex_lock(&in->lock);
        hook.fail = in->fail;
        hook.timeout = in->timeout;
        pthread_mutex_unlock(&in->lock);
        return hook;
}

void host_list(struct host *h, void (*fn)(void *data, const struct host_info *info), void *data)
{
        pthread_mutex_lock(&h->lock);
        for (size_t i = 0; i < h->n_all; i++)
                instance_tell(h->all[i], fn, data);
        pthread_mutex_unlock(&h->lock);
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
        struct instance **hooks;        /* in order; also those that were refused and may be */
        size_t n_hooks;
        struct host_hooks *next;        /* the set that they are to come into, empty */
};

/* What was brought up for the next set and has not come into one. */
static void plan_done(struct plan *plan)
{
        for (size_t i = 0; i < plan->n; i++)
                settings_free(plan->changes[i].settings);
        free(plan->changes);
        for (size_t i = 0; i < plan->n_hooks; i++)
                if (plan->hooks[i] && plan->hooks[i]->sets == 0)
                        instance_free(plan->hooks[i]);
        free(plan->hooks);
        free(plan->next);
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
        for (size_t i = 0; i < h->hooks->n; i++)
                if (strcmp(h->hooks->items[i]->name, name) == 0)
                        return h->hooks->items[i];

        return NULL;
}

/* Those that are new, and those that are to run in another process, are brought up; the former ones run until the change. */
static int plan_hooks(struct host *h, const struct config *fresh, struct plan *plan, struct buf *restart,
                      struct cringle_err *err)
{
        if (refuse_twins(fresh, err) < 0)
                return -1;
        for (size_t i = 0; i < fresh->hooks.n_plugins; i++) {
                const struct config_hook_plugin *p = &fresh->hooks.plugins[i];
                struct instance *in = find_hook(h, p->plugin.name);

                if (!in || in->isolated != is_isolated(p)) {
                        if (bring_up_hook(h, fresh, p, &in, err) < 0)
                                return -1;
                        plan->hooks[plan->n_hooks++] = in;
                        continue;
                }
                plan->hooks[plan->n_hooks++] = in;
                if (plan_settings(plan, in, fresh, &p->plugin, restart, err) < 0)
                        return -1;
                if (in->fail != p->fail || in->timeout != p->timeout)
                        plan->changes[plan->n++] = (struct change) { .in = in, .policy = p };
        }
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
static int apply(struct plan *plan, struct cringle_err *err)
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
        }
        return 0;
}

/* With room for all that comes into use, so that nothing can fail once something has changed. */
static int make_room(struct host *h, struct plan *plan, struct cringle_err *err)
{
        struct instance **room;

        plan->next = set_new(h, plan->n_hooks, err);
        if (!plan->next)
                return -1;
        pthread_mutex_lock(&h->lock);
        room = realloc(h->all, (h->n_all + plan->n_hooks + 1) * sizeof(struct instance *));
        if (room)
                h->all = room;
        pthread_mutex_unlock(&h->lock);
        return room ? 0 : err_oom(err);
}

static int make_plan(struct host *h, const struct config *fresh, struct plan *plan, struct buf *restart,
                     struct cringle_err *err)
{
        plan->changes = calloc(N_MAINS + 2 * fresh->hooks.n_plugins, sizeof *plan->changes);
        plan->hooks = calloc(fresh->hooks.n_plugins + 1, sizeof *plan->hooks);
        if (!plan->changes || !plan->hooks)
                return err_oom(err);
        if (plan_mains(h, fresh, plan, restart, err) < 0)
                return -1;
        if (plan_hooks(h, fresh, plan, restart, err) < 0)
                return -1;
        return make_room(h, plan, err);
}

static bool in_set(const struct host_hooks *set, const struct instance *in)
{
        for (size_t i = 0; i < set->n; i++)
                if (set->items[i] == in)
                        return true;
        return false;
}

/* All this is in force, whether there is memory to tell of it or not. */
static void tell(const struct plan *plan, const struct host_hooks *former, const struct host_hooks *next, struct buf *live)
{
        for (size_t i = 0; i < plan->n; i++)
                buf_printf(live, NULL, "%s plugin %s: new %s\n", plan->changes[i].in->kind->name, plan->changes[i].in->name,
                           plan->changes[i].policy ? "policy" : "settings");
        for (size_t i = 0; i < next->n; i++)
                if (!in_set(former, next->items[i]))
                        buf_printf(live, NULL, "hook plugin %s: loaded\n", next->items[i]->name);
        for (size_t i = 0; i < former->n; i++)
                if (!in_set(next, former->items[i]))
                        buf_printf(live, NULL, "hook plugin %s: left out\n", former->items[i]->name);
}

static struct instance *take_refused(struct host *h)
{
        struct instance *in = NULL;

        pthread_mutex_lock(&h->lock);
        for (size_t i = 0; i < h->n_all && !in; i++)
                if (h->all[i]->kind->number == CRINGLE_HOOK && !h->all[i]->in_use)
                        in = h->all[i];
        if (in)
                list_take(h, in);
        pthread_mutex_unlock(&h->lock);
        return in;
}

/* Those that an earlier configuration named and that were refused are forgotten, those of this one remembered. */
static void replace_refused(struct host *h, struct plan *plan)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        for (struct instance *in; (in = take_refused(h));)
                instance_free(in);
        for (size_t i = 0; i < plan->n_hooks; i++)
                if (!plan->hooks[i]->in_use && list_add(h, steal(&plan->hooks[i]), &err) < 0)
                        log_warning("%s", err.text);
}

/* The plan's hooks come into use; the former ones go as soon as nobody is in them. */
static void change_hooks(struct host *h, struct plan *plan, struct buf *live)
{
        struct host_hooks *next = steal(&plan->next), *former = h->hooks;

        pthread_mutex_lock(&h->lock);
        for (size_t i = 0; i < plan->n_hooks; i++) {
                struct instance *in = plan->hooks[i];

                if (!in->in_use)
                        continue;
                if (in->sets == 0)
                        h->all[h->n_all++] = in;
                set_add(next, in);
        }
        h->hooks = next;
        pthread_mutex_unlock(&h->lock);
        tell(plan, former, next, live);
        host_hooks_release(former);
        replace_refused(h, plan);
}

int host_reload(struct host *h, const struct config *fresh, struct buf *live, struct buf *restart,
                struct cringle_err *err)
{
        struct plan plan = { 0 };
        int r;

        pthread_mutex_lock(&h->reload_lock);
        r = make_plan(h, fresh, &plan, restart, err);
        if (r == 0)
                r = apply(&plan, err);
        if (r == 0)
                change_hooks(h, &plan, live);
        plan_done(&plan);
        pthread_mutex_unlock(&h->reload_lock);
        return r;
}
