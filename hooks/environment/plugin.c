/*
 * environment: variables that the node gives to containers
 *
 * The node's proxy in the usual six variables, and any other variable by rule.
 * What a pod or its image has set stays as it is, unless a rule says override=yes.
 * A proxy variable is one thing in its two spellings: who has set http_proxy is not
 * given another HTTP_PROXY.
 */

#include <ctype.h>
#include <pthread.h>

#include "plugins/api/rule.h"

#define ANNOTATION "environment.cringle.io/proxy"

enum { HTTP, HTTPS, NO, N_PROXIES };

static const struct {
        const char *setting, *upper;
} proxies[N_PROXIES] = {
        [HTTP] = { "http_proxy", "HTTP_PROXY" },
        [HTTPS] = { "https_proxy", "HTTPS_PROXY" },
        [NO] = { "no_proxy", "NO_PROXY" },
};

/* What is read from settings; never changed afterwards. */
struct values {
        char *proxy[N_PROXIES];         /* NULL: none */
        struct cringle_pair **rules;
};

struct environment {
        pthread_rwlock_t lock;
        struct values values;
};

static const char *const known[] = { "name", "value", "override", NULL };

static int check(const struct cringle_pair *rule, struct cringle_err *err)
{
        const char *name = cringle_rule_get(rule, "name");

        if (!name || !cringle_rule_get(rule, "value"))
                return cringle_fail(err, CRINGLE_E_INVALID, "%s: missing", name ? "value" : "name");
        if (!*name || isdigit((unsigned char) *name))
                return cringle_fail(err, CRINGLE_E_INVALID, "name: '%.64s' is no name of a variable", name);
        for (const char *at = name; *at; at++)
                if (!isalnum((unsigned char) *at) && !strchr("_.-", *at))
                        return cringle_fail(err, CRINGLE_E_INVALID, "name: '%.64s' is no name of a variable", name);
        return cringle_rule_yes(rule, "override", err) < 0 ? -1 : 0;
}

static void drop_values(struct values *v)
{
        for (int i = 0; i < N_PROXIES; i++)
                free(v->proxy[i]);
        cringle_rules_free(v->rules);
}

static int read_values(const struct cringle_pair *settings, struct values *ret, struct cringle_err *err)
{
        struct values v = { 0 };

        for (const struct cringle_pair *p = settings; p->key; p++) {
                for (int i = 0; i < N_PROXIES; i++) {
                        if (strcmp(p->key, proxies[i].setting) != 0 || !*p->value)
                                continue;
                        free(v.proxy[i]);
                        v.proxy[i] = strdup(p->value);
                        if (!v.proxy[i]) {
                                drop_values(&v);
                                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
                        }
                        if (strpbrk(p->value, " \t\r\n")) {
                                drop_values(&v);
                                return cringle_fail(err, CRINGLE_E_INVALID, "setting %s: blanks in '%.200s'", p->key, p->value);
                        }
                }
        }
        if (cringle_rules_read(settings, "rules", known, check, &v.rules, err) < 0) {
                drop_values(&v);
                return -1;
        }
        *ret = v;
        return 0;
}

/* Both spellings, or none. */
static int give_proxy(const struct cringle_event *ev, int which, const char *value, struct cringle_err *err)
{
        const char *lower = proxies[which].setting, *upper = proxies[which].upper;

        if (ev->env(ev, lower) || ev->env(ev, upper))
                return 0;
        if (ev->set_env(ev, upper, value, err) < 0)
                return -1;
        return ev->set_env(ev, lower, value, err);
}

static int give(const struct cringle_event *ev, const struct cringle_pair *rule, struct cringle_err *err)
{
        const char *name = cringle_rule_get(rule, "name");

        if (ev->env(ev, name) && cringle_rule_yes(rule, "override", err) != 1)
                return 0;
        return ev->set_env(ev, name, cringle_rule_get(rule, "value"), err);
}

/* Rules come first: one that gives a certain namespace its own proxy wins over the node's. */
static int run(const struct values *v, const struct cringle_event *ev, struct cringle_err *err)
{
        const char *wanted = ev->annotation(ev, ANNOTATION);

        if (wanted && strcmp(wanted, "true") != 0 && strcmp(wanted, "false") != 0)
                return cringle_fail(err, CRINGLE_E_INVALID, "annotation %s: want true or false, not '%.64s'", ANNOTATION,
                                    wanted);
        for (struct cringle_pair **rule = v->rules; *rule; rule++)
                if (cringle_rule_matches(*rule, ev) && give(ev, *rule, err) < 0)
                        return -1;
        if (wanted && strcmp(wanted, "false") == 0)
                return 0;
        for (int i = 0; i < N_PROXIES; i++)
                if (v->proxy[i] && give_proxy(ev, i, v->proxy[i], err) < 0)
                        return -1;
        return 0;
}

static int environment_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct environment *e = self;
        int r;

        pthread_rwlock_rdlock(&e->lock);
        r = run(&e->values, ev, err);
        pthread_rwlock_unlock(&e->lock);
        return r;
}

static void environment_destroy(void *self)
{
        struct environment *e = self;

        drop_values(&e->values);
        pthread_rwlock_destroy(&e->lock);
        free(e);
}

static int environment_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                              struct cringle_err *err)
{
        struct environment *e = calloc(1, sizeof *e);

        if (!e)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        pthread_rwlock_init(&e->lock, NULL);
        if (read_values(settings, &e->values, err) < 0) {
                environment_destroy(e);
                return -1;
        }

        *ret_self = e;
        return 0;
}

static int environment_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct environment *e = self;
        struct values fresh, old;

        if (read_values(settings, &fresh, err) < 0)
                return -1;
        pthread_rwlock_wrlock(&e->lock);
        old = e->values;
        e->values = fresh;
        pthread_rwlock_unlock(&e->lock);
        drop_values(&old);
        return 0;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_CREATE),
        .run = environment_run,
};

static const struct cringle_setting schema[] = {
        { "http_proxy", CRINGLE_STRING, NULL, "URL for HTTP_PROXY and http_proxy" },
        { "https_proxy", CRINGLE_STRING, NULL, "URL for HTTPS_PROXY and https_proxy" },
        { "no_proxy", CRINGLE_STRING, NULL, "hosts for NO_PROXY and no_proxy, separated by commas" },
        { "rules", CRINGLE_STRING_LIST, NULL, "name= value= override=, and conditions" },
        { 0 },
};

CRINGLE_PLUGIN(environment,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "gives containers the node's proxy and other variables",
        .settings = schema,
        .create = environment_create,
        .reload = environment_reload,
        .destroy = environment_destroy,
        .ops = &ops);
