/*
 * devices: device nodes for containers, by rule or because a pod asks
 *
 * The node's configuration says which there are: `rules` give them to containers,
 * `allow` lists those that a pod may ask for with the annotation below.  Nothing
 * else is ever handed out.
 *
 * A node of the file system that somebody else than root could have put there is
 * no proof of what it stands for: so it must be a device, and it and all directories
 * above it must be root's, writable by nobody else.
 */

#include <pthread.h>
#include <sys/stat.h>

#include "plugins/api/rule.h"

#define ANNOTATION "devices.cringle.io/add"     /* "/dev/fuse,/dev/kvm:rw" */

struct devices {
        pthread_rwlock_t lock;
        struct cringle_pair **rules, **allow;
};

static const char *const known_in_rules[] = { "path", "as", "access", "optional", "uid", "gid", NULL };
static const char *const known_in_allow[] = { "path", "access", "uid", "gid", NULL };

/* --- reading rules --- */

static int is_access(const char *access)
{
        return *access && strlen(access) <= 3 && strspn(access, "rwm") == strlen(access);
}

static int check_id(const struct cringle_pair *rule, const char *key, struct cringle_err *err)
{
        const char *value = cringle_rule_get(rule, key);

        if (value && (!*value || strlen(value) > 9 || strspn(value, "0123456789") != strlen(value)))
                return cringle_fail(err, CRINGLE_E_INVALID, "%s: want a number, found '%.64s'", key, value);
        return 0;
}

static int check_common(const struct cringle_pair *rule, struct cringle_err *err)
{
        const char *access = cringle_rule_get(rule, "access");

        if (cringle_rule_path(rule, "path", err) < 0 || check_id(rule, "uid", err) < 0 || check_id(rule, "gid", err) < 0)
                return -1;
        if (access && !is_access(access))
                return cringle_fail(err, CRINGLE_E_INVALID, "access: want some of r, w and m, found '%.64s'", access);
        return 0;
}

static int check_rule(const struct cringle_pair *rule, struct cringle_err *err)
{
        if (check_common(rule, err) < 0 || cringle_rule_yes(rule, "optional", err) < 0)
                return -1;
        return cringle_rule_get(rule, "as") ? cringle_rule_path(rule, "as", err) : 0;
}

/* --- handing out --- */

static int check_owned_by_root(const char *path, const struct stat *st, struct cringle_err *err)
{
        if (st->st_uid != 0)
                return cringle_fail(err, CRINGLE_E_DENIED, "%s: want root as its owner, found uid %u", path, st->st_uid);
        if (S_ISDIR(st->st_mode) && (st->st_mode & 0022) && !(st->st_mode & S_ISVTX))
                return cringle_fail(err, CRINGLE_E_DENIED, "%s: want no write access for group and others, found mode %04o",
                                    path, st->st_mode & 07777);
        return 0;
}

/* The directories above @path. */
static int check_above(const char *path, struct cringle_err *err)
{
        char *dir = strdup(path);
        int r = dir ? 0 : cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");

        for (char *slash = dir ? strrchr(dir, '/') : NULL; slash && r == 0; slash = strrchr(dir, '/')) {
                const char *at = slash == dir ? "/" : dir;
                struct stat st;

                *slash = '\0';
                if (lstat(at, &st) < 0)
                        r = cringle_fail(err, CRINGLE_E_INTERNAL, "%s: %s", at, strerror(errno));
                else
                        r = check_owned_by_root(at, &st, err);
        }
        free(dir);
        return r;
}

static int check_wanted_id(const struct cringle_pair *rule, const char *key, unsigned found, const char *path,
                           struct cringle_err *err)
{
        const char *want = cringle_rule_get(rule, key);

        if (want && strtoul(want, NULL, 10) != found)
                return cringle_fail(err, CRINGLE_E_DENIED, "%s: want %s %s, found %u", path, key, want, found);
        return 0;
}

/* A device's owner is the rule's uid=, else root. */
static int check_node(const struct cringle_pair *rule, const char *path, struct cringle_err *err)
{
        struct stat st;

        if (lstat(path, &st) < 0)
                return cringle_fail(err, CRINGLE_E_INTERNAL, "%s: %s", path, strerror(errno));
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
                return cringle_fail(err, CRINGLE_E_INVALID, "%s is not a device", path);
        if (!cringle_rule_get(rule, "uid") && check_owned_by_root(path, &st, err) < 0)
                return -1;
        if (check_wanted_id(rule, "uid", st.st_uid, path, err) < 0 || check_wanted_id(rule, "gid", st.st_gid, path, err) < 0)
                return -1;
        return check_above(path, err);
}

/* 0, also when the device is not there and need not be. */
static int hand_out(const struct cringle_event *ev, const struct cringle_pair *rule, const char *path, const char *as,
                    const char *access, int optional, struct cringle_err *err)
{
        char *real = realpath(path, NULL);
        int r;

        if (!real) {
                if (optional && (errno == ENOENT || errno == ENOTDIR))
                        return 0;
                return cringle_fail(err, errno == ENOENT ? CRINGLE_E_NOT_FOUND : CRINGLE_E_INTERNAL, "%s: %s", path,
                                    strerror(errno));
        }
        r = check_node(rule, real, err);
        if (r == 0)
                r = ev->add_device(ev, real, as, access, err);  /* what was looked at, not what the link may be by now */
        free(real);
        return r;
}

static const char *access_of(const struct cringle_pair *rule)
{
        const char *access = cringle_rule_get(rule, "access");

        return access ? access : "rw";
}

/* Is all of @wanted in what @rule allows? */
static int grants(const struct cringle_pair *rule, const char *path, const char *wanted, const struct cringle_event *ev)
{
        return cringle_glob(cringle_rule_get(rule, "path"), path) &&
               strspn(wanted, access_of(rule)) == strlen(wanted) && cringle_rule_matches(rule, ev);
}

/* One "PATH" or "PATH:ACCESS" of the annotation; taken apart in place. */
static int ask(const struct devices *d, const struct cringle_event *ev, char *word, struct cringle_err *err)
{
        char *colon = strchr(word, ':');
        const char *access = colon ? colon + 1 : "rw";
        const struct cringle_pair path[] = { { "path", word }, { 0 } };
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (colon)
                *colon = '\0';
        if (cringle_rule_path(path, "path", &why) < 0)
                return cringle_fail(err, CRINGLE_E_INVALID, "annotation %s: %.300s", ANNOTATION, why.text);
        if (!is_access(access))
                return cringle_fail(err, CRINGLE_E_INVALID, "annotation %s: %.200s: want some of r, w and m, found '%.16s'",
                                    ANNOTATION, word, access);
        for (struct cringle_pair **rule = d->allow; *rule; rule++)
                if (grants(*rule, word, access, ev))
                        return hand_out(ev, *rule, word, word, access, 0, err);
        return cringle_fail(err, CRINGLE_E_DENIED, "annotation %s: %.200s with access %s is not allowed on this node",
                            ANNOTATION, word, access);
}

static int ask_all(const struct devices *d, const struct cringle_event *ev, const char *text, struct cringle_err *err)
{
        char *words = strdup(text), *rest = words, *word;
        int r = 0;

        if (!words)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        while (r == 0 && (word = strsep(&rest, ","))) {
                word += strspn(word, " ");
                word[strcspn(word, " ")] = '\0';
                if (*word)
                        r = ask(d, ev, word, err);
        }
        free(words);
        return r;
}

static int devices_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct devices *d = self;
        const char *asked = ev->annotation(ev, ANNOTATION);
        int r = 0;

        pthread_rwlock_rdlock(&d->lock);
        for (struct cringle_pair **at = d->rules; *at && r == 0; at++) {
                const char *path = cringle_rule_get(*at, "path"), *as = cringle_rule_get(*at, "as");

                if (cringle_rule_matches(*at, ev))
                        r = hand_out(ev, *at, path, as ? as : path, access_of(*at),
                                     cringle_rule_yes(*at, "optional", err) == 1, err);
        }
        if (r == 0 && asked)
                r = ask_all(d, ev, asked, err);
        pthread_rwlock_unlock(&d->lock);
        return r;
}

/* --- life --- */

static int read_rules(const struct cringle_pair *settings, struct cringle_pair ***ret_rules,
                      struct cringle_pair ***ret_allow, struct cringle_err *err)
{
        struct cringle_pair **rules;

        if (cringle_rules_read(settings, "rules", known_in_rules, check_rule, &rules, err) < 0)
                return -1;
        if (cringle_rules_read(settings, "allow", known_in_allow, check_common, ret_allow, err) < 0) {
                cringle_rules_free(rules);
                return -1;
        }
        *ret_rules = rules;
        return 0;
}

static void devices_destroy(void *self)
{
        struct devices *d = self;

        cringle_rules_free(d->rules);
        cringle_rules_free(d->allow);
        pthread_rwlock_destroy(&d->lock);
        free(d);
}

static int devices_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                          struct cringle_err *err)
{
        struct devices *d = calloc(1, sizeof *d);

        if (!d)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        pthread_rwlock_init(&d->lock, NULL);
        if (read_rules(settings, &d->rules, &d->allow, err) < 0) {
                devices_destroy(d);
                return -1;
        }

        *ret_self = d;
        return 0;
}

static int devices_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct devices *d = self;
        struct cringle_pair **rules, **allow, **old_rules, **old_allow;

        if (read_rules(settings, &rules, &allow, err) < 0)
                return -1;
        pthread_rwlock_wrlock(&d->lock);
        old_rules = d->rules;
        old_allow = d->allow;
        d->rules = rules;
        d->allow = allow;
        pthread_rwlock_unlock(&d->lock);
        cringle_rules_free(old_rules);
        cringle_rules_free(old_allow);
        return 0;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_CREATE),
        .run = devices_run,
};

static const struct cringle_setting schema[] = {
        { "rules", CRINGLE_STRING_LIST, NULL, "path= as= access= optional= uid= gid=, and conditions" },
        { "allow", CRINGLE_STRING_LIST, NULL, "what pods may ask for: path=PATTERN access= uid= gid=, and conditions" },
        { 0 },
};

CRINGLE_PLUGIN(devices,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "device nodes by rule, or for pods that ask for allowed ones",
        .settings = schema,
        .create = devices_create,
        .reload = devices_reload,
        .destroy = devices_destroy,
        .ops = &ops);
