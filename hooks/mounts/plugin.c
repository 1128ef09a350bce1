/*
 * mounts: add, replace or drop mounts of containers, by rule
 *
 * Certificates, the time zone, huge pages, a vendor's directory: what a node wants
 * in containers, or does not want in them.  Each rule is one line of
 * plugins/api/rule.h; all that are for a container are applied in their order.
 * Rules are judged when they are read; what is on the node counts when a container
 * is made.
 */

#include <pthread.h>
#include <sys/stat.h>

#include "plugins/api/rule.h"

struct mounts {
        pthread_rwlock_t lock;
        struct cringle_pair **rules;
};

static const char *const known[] = { "do", "source", "target", "options", "optional", NULL };

static int is_option(const char *word, size_t length)
{
        static const char *const all[] = {
                "bind", "rbind", "ro", "rw", "rro", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime",
                "nosymfollow", "private", "rprivate", "slave", "rslave",
        };

        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                if (strlen(all[i]) == length && memcmp(all[i], word, length) == 0)
                        return 1;
        return 0;
}

static int check_options(const char *options, struct cringle_err *err)
{
        for (const char *at = options; *at;) {
                size_t length = strcspn(at, ",");

                if (!is_option(at, length))
                        return cringle_fail(err, CRINGLE_E_INVALID, "options: '%.*s' is none of bind, rbind, ro, rw, rro, "
                                            "nosuid, nodev, noexec, noatime, nosymfollow, (r)private, (r)slave", (int) length, at);
                at += length + (at[length] == ',');
        }
        return 0;
}

static int is_drop(const struct cringle_pair *rule)
{
        const char *action = cringle_rule_get(rule, "do");

        return action && strcmp(action, "drop") == 0;
}

static int check(const struct cringle_pair *rule, struct cringle_err *err)
{
        const char *action = cringle_rule_get(rule, "do"), *options = cringle_rule_get(rule, "options");

        if (action && strcmp(action, "add") != 0 && strcmp(action, "replace") != 0 && strcmp(action, "drop") != 0)
                return cringle_fail(err, CRINGLE_E_INVALID, "do: want add, replace or drop, found '%.64s'", action);
        if (cringle_rule_path(rule, "target", err) < 0)
                return -1;
        if (is_drop(rule))
                return cringle_rule_get(rule, "source") || options || cringle_rule_get(rule, "optional")
                               ? cringle_fail(err, CRINGLE_E_INVALID, "a dropped mount has no source, options or optional")
                               : 0;
        if (cringle_rule_path(rule, "source", err) < 0 || cringle_rule_yes(rule, "optional", err) < 0)
                return -1;
        return options ? check_options(options, err) : 0;
}

/* 1: dropped, 0: there was none. */
static int drop(const struct cringle_event *ev, const char *target, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (ev->drop_mount(ev, target, &why) == 0)
                return 1;
        return why.code == CRINGLE_E_NOT_FOUND ? 0 : cringle_fail(err, why.code, "%s", why.text);
}

/* With everything that is mounted below it, unless @options say "bind". */
static int add(const struct cringle_event *ev, const char *source, const char *target, const char *options,
               struct cringle_err *err)
{
        int has_bind = strncmp(options, "bind", 4) == 0 || strncmp(options, "rbind", 5) == 0 ||
                       strstr(options, ",bind") || strstr(options, ",rbind");
        char *all = NULL;
        int r;

        if (asprintf(&all, "%s%s", has_bind ? "" : "rbind,", options) < 0)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        r = ev->add_mount(ev, source, target, all, err);
        free(all);
        return r;
}

static int apply(const struct cringle_event *ev, const struct cringle_pair *rule, struct cringle_err *err)
{
        const char *source = cringle_rule_get(rule, "source"), *target = cringle_rule_get(rule, "target");
        const char *options = cringle_rule_get(rule, "options"), *action = cringle_rule_get(rule, "do");
        struct stat st;

        if (is_drop(rule))
                return drop(ev, target, err) < 0 ? -1 : 0;
        if (stat(source, &st) < 0) {
                if ((errno == ENOENT || errno == ENOTDIR) && cringle_rule_yes(rule, "optional", err) == 1)
                        return 0;
                return cringle_fail(err, errno == ENOENT ? CRINGLE_E_NOT_FOUND : CRINGLE_E_INTERNAL, "mount on %s: %s: %s",
                                    target, source, strerror(errno));
        }
        if (action && strcmp(action, "replace") == 0) {
                int found = drop(ev, target, err);

                if (found <= 0)
                        return found;
        }
        return add(ev, source, target, options ? options : "ro,nosuid,nodev", err);
}

static int mounts_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct mounts *m = self;
        int r = 0;

        pthread_rwlock_rdlock(&m->lock);
        for (struct cringle_pair **rule = m->rules; *rule && r == 0; rule++)
                if (cringle_rule_matches(*rule, ev))
                        r = apply(ev, *rule, err);
        pthread_rwlock_unlock(&m->lock);
        return r;
}

static void mounts_destroy(void *self)
{
        struct mounts *m = self;

        cringle_rules_free(m->rules);
        pthread_rwlock_destroy(&m->lock);
        free(m);
}

static int mounts_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                         struct cringle_err *err)
{
        struct mounts *m = calloc(1, sizeof *m);

        if (!m)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        pthread_rwlock_init(&m->lock, NULL);
        if (cringle_rules_read(settings, "rules", known, check, &m->rules, err) < 0) {
                mounts_destroy(m);
                return -1;
        }

        *ret_self = m;
        return 0;
}

static int mounts_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct mounts *m = self;
        struct cringle_pair **fresh, **old;

        if (cringle_rules_read(settings, "rules", known, check, &fresh, err) < 0)
                return -1;
        pthread_rwlock_wrlock(&m->lock);
        old = m->rules;
        m->rules = fresh;
        pthread_rwlock_unlock(&m->lock);
        cringle_rules_free(old);
        return 0;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_CREATE),
        .run = mounts_run,
};

static const struct cringle_setting schema[] = {
        { "rules", CRINGLE_STRING_LIST, NULL, "do=add|replace|drop source= target= options= optional=, and conditions" },
        { 0 },
};

CRINGLE_PLUGIN(mounts,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "adds, replaces or drops mounts by rule",
        .settings = schema,
        .create = mounts_create,
        .reload = mounts_reload,
        .destroy = mounts_destroy,
        .ops = &ops);
