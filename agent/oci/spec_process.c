/*
 * The process part: what runs, as whom, with which capabilities and environment
 */

#include <string.h>
#include <strings.h>

#include "agent/base/guard.h"
#include "agent/base/map.h"
#include "agent/base/str.h"
#include "agent/oci/caps.h"
#include "agent/oci/spec.h"
#include "agent/oci/spec_private.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* --- arguments and directory --- */

static int add_strings(struct json_object *list, char *const *strings, size_t n, struct cringle_err *err)
{
        for (size_t i = 0; i < n; i++)
                if (json_add_string(list, strings[i], err) < 0)
                        return -1;
        return 0;
}

/*
 * Kubernetes' rule: the request's command replaces the image's entrypoint and,
 * with it, the image's cmd; the request's args replace the image's cmd.
 */
static int add_args(struct spec_builder *b, struct cringle_err *err)
{
        const Cri__ContainerConfig *c = b->in->container;
        const struct image_config *image = b->in->image;
        struct json_object *list = json_need_array(b->process, "args", err);
        size_t n_entrypoint = image ? strv_count((const char *const *) image->entrypoint) : 0;

        if (!list)
                return -1;
        /* Docker writes a cleared entrypoint as one empty string. */
        if (n_entrypoint == 1 && !*image->entrypoint[0])
                n_entrypoint = 0;

        if (c->n_command ? add_strings(list, c->command, c->n_command, err) < 0 :
                           n_entrypoint && add_strings(list, image->entrypoint, n_entrypoint, err) < 0)
                return -1;
        if (c->n_args) {
                if (add_strings(list, c->args, c->n_args, err) < 0)
                        return -1;
        } else if (!c->n_command && image && image->cmd) {
                if (add_strings(list, image->cmd, strv_count((const char *const *) image->cmd), err) < 0)
                        return -1;
        }
        if (json_object_array_length(list) == 0)
                return err_set(err, CRINGLE_E_INVALID, "neither request nor image says what to run");
        return 0;
}

/* Is @cwd (clean) a door out of the container: something of a process below /proc that leads elsewhere? */
static bool is_magic(const char *cwd)
{
        static const char *const doors[] = { "fd", "cwd", "root", "exe", "map_files", "task", "ns" };

        if (!str_starts(cwd, "/proc/"))
                return false;
        cwd += strlen("/proc/");
        if (!str_starts(cwd, "self/") && !str_starts(cwd, "thread-self/") && strspn(cwd, "0123456789") == 0)
                return false;
        cwd = strchr(cwd, '/');
        if (!cwd)
                return false;
        cwd++;
        for (size_t i = 0; i < sizeof doors / sizeof doors[0]; i++)
                if (spec_path_within(cwd, doors[i]))
                        return true;
        return false;
}

static int add_cwd(struct spec_builder *b, struct cringle_err *err)
{
        const char *cwd = b->in->container->working_dir;
        auto_free char *clean = NULL;

        if (str_empty(cwd))
                cwd = b->in->image ? b->in->image->working_dir : NULL;
        if (str_empty(cwd))
                cwd = "/";
        if (spec_clean_path("working directory", cwd, &clean, err) < 0)
                return -1;
        if (GUARD(magic_links) && is_magic(clean))
                return err_set(err, CRINGLE_E_INVALID, "working directory '%s' leads out of the container", cwd);
        /* The clean one: ".." after one of those doors would go through it. */
        return json_set_string(b->process, "cwd", clean, err);
}

/* --- environment --- */

/* Variables in the order they were first named; a later value replaces an earlier one in its place. */
struct environment {
        struct json_object *list;       /* borrowed */
        struct map places;              /* key -> place in the list, plus one */
};

/* Keys that end up in other programs' one-line files. */
static bool is_line(const char *key)
{
        return strcmp(key, "HOME") == 0 || strcmp(key, "USER") == 0 || strcmp(key, "LOGNAME") == 0;
}

static int check_value(const char *key, const char *value, size_t n, struct cringle_err *err)
{
        if (memchr(value, '\0', n))
                return err_set(err, CRINGLE_E_INVALID, "environment: %s contains a NUL", key);
        if (GUARD(single_fields) && is_line(key) &&
            (memchr(value, '\n', n) || memchr(value, '\r', n) || memchr(value, ':', n)))
                return err_set(err, CRINGLE_E_INVALID, "environment: %s is no single field", key);
        return 0;
}

static int environment_set(struct environment *e, const char *key, const char *value, size_t n, struct cringle_err *err)
{
        size_t place = (size_t) (uintptr_t) map_get(&e->places, key);
        auto_buf text = BUF_INIT;
        struct json_object *s;

        if (check_value(key, value, n, err) < 0 || buf_add_str(&text, key, err) < 0 || buf_add(&text, "=", 1, err) < 0 ||
            buf_add(&text, value, n, err) < 0)
                return -1;
        if (text.len > INT32_MAX)
                return err_set(err, CRINGLE_E_INVALID, "environment: %s is too long", key);
        s = json_object_new_string_len(text.data, (int) text.len);
        if (!s)
                return err_oom(err);

        if (place)
                return json_object_array_put_idx(e->list, place - 1, s) == 0 ? 0 : err_oom(err);
        if (json_add(e->list, s, err) < 0)
                return -1;
        return map_put(&e->places, key, (void *) (uintptr_t) json_object_array_length(e->list), err);
}

static int environment_set_str(struct environment *e, const char *key, const char *value, struct cringle_err *err)
{
        return environment_set(e, key, value, strlen(value), err);
}

/* What is not "key=value" is dropped: it must never be completed from our own environment. */
static int add_image_env(struct environment *e, const struct image_config *image, struct cringle_err *err)
{
        for (size_t i = 0; image && image->env && image->env[i]; i++) {
                const char *equals = strchr(image->env[i], '=');
                auto_free char *key = NULL;

                if (!equals || (GUARD(image_env) && equals == image->env[i]))
                        continue;
                key = strndup(image->env[i], (size_t) (equals - image->env[i]));
                if (!key)
                        return err_oom(err);
                if (strpbrk(key, "\r\n"))
                        continue;
                if (environment_set_str(e, key, equals + 1, err) < 0)
                        return -1;
        }
        return 0;
}

static int add_requested_env(struct environment *e, const Cri__ContainerConfig *c, struct cringle_err *err)
{
        for (size_t i = 0; i < c->n_envs; i++) {
                const Cri__KeyValue *v = c->envs[i];

                if (!*v->key || strpbrk(v->key, "=\r\n"))
                        return err_set(err, CRINGLE_E_INVALID, "environment: entry %zu has no usable name", i);
                if (environment_set(e, v->key, v->value.data ? (const char *) v->value.data : "", v->value.len, err) < 0)
                        return -1;
        }
        return 0;
}

static int fill_env(struct spec_builder *b, struct environment *e, struct cringle_err *err)
{
        const struct spec_input *in = b->in;

        if (environment_set_str(e, "PATH", DEFAULT_PATH, err) < 0 ||
            (in->container->tty && environment_set_str(e, "TERM", "xterm", err) < 0) ||
            add_image_env(e, in->image, err) < 0)
                return -1;
        if (!str_empty(in->hostname) && (spec_check_line("hostname", in->hostname, err) < 0 ||
                                         environment_set_str(e, "HOSTNAME", in->hostname, err) < 0))
                return -1;
        if (add_requested_env(e, in->container, err) < 0)
                return -1;
        return map_get(&e->places, "HOME") ? 0 : environment_set_str(e, "HOME", in->user->home, err);
}

static int add_env(struct spec_builder *b, struct cringle_err *err)
{
        struct environment e = { .list = json_need_array(b->process, "env", err), .places = MAP_INIT };
        int r = e.list ? fill_env(b, &e, err) : -1;

        map_done(&e.places, NULL);
        return r;
}

/* --- user --- */

static int check_id(const char *what, int64_t id, struct cringle_err *err)
{
        if (id < 0 || id > USERS_ID_MAX)
                return err_set(err, CRINGLE_E_INVALID, "%s %jd is out of range", what, (intmax_t) id);
        return 0;
}

int spec_user_string(const Cri__ContainerConfig *container, const struct image_config *image, char **ret,
                     struct cringle_err *err)
{
        const Cri__LinuxContainerSecurityContext *s = container->linux ? container->linux->security_context : NULL;
        const char *name = s ? s->run_as_username : NULL;
        char *text;

        if (s && s->run_as_user && check_id("run_as_user", s->run_as_user->value, err) < 0)
                return -1;
        if (s && s->run_as_group && check_id("run_as_group", s->run_as_group->value, err) < 0)
                return -1;
        if (s && s->run_as_group && !s->run_as_user && str_empty(name))
                return err_set(err, CRINGLE_E_INVALID, "run_as_group is set without a user");
        /* It may have a group part only where an image puts it. */
        if (!str_empty(name) && strchr(name, ':'))
                return err_set(err, CRINGLE_E_INVALID, "run_as_username '%s' is no name", name);

        if (s && s->run_as_user && s->run_as_group)
                text = str_printf(err, "%jd:%jd", (intmax_t) s->run_as_user->value, (intmax_t) s->run_as_group->value);
        else if (s && s->run_as_user)
                text = str_printf(err, "%jd", (intmax_t) s->run_as_user->value);
        else if (!str_empty(name) && s->run_as_group)
                text = str_printf(err, "%s:%jd", name, (intmax_t) s->run_as_group->value);
        else if (!str_empty(name))
                text = str_printf(err, "%s", name);
        else
                text = str_printf(err, "%s", GUARD(image_user) && image && !str_empty(image->user) ? image->user : "0");
        if (!text)
                return -1;
        *ret = text;
        return 0;
}

/* The primary group counts among the supplementary ones, or permissions that deny it could be dodged. */
static int collect_groups(struct spec_builder *b, struct oci_user *into, struct cringle_err *err)
{
        const struct oci_user *u = b->in->user;

        if (GUARD(primary_group) && oci_user_add_group(into, u->gid, err) < 0)
                return -1;
        if (b->security->supplemental_groups_policy == CRI__SUPPLEMENTAL_GROUPS_POLICY__Merge) {
                for (size_t i = 0; i < u->n_groups; i++)
                        if (oci_user_add_group(into, u->groups[i], err) < 0)
                                return -1;
        } else if (b->security->supplemental_groups_policy != CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict) {
                return err_set(err, CRINGLE_E_INVALID, "supplemental_groups_policy %d is not known",
                               (int) b->security->supplemental_groups_policy);
        }
        for (size_t i = 0; i < b->security->n_supplemental_groups; i++)
                if (check_id("supplemental group", b->security->supplemental_groups[i], err) < 0 ||
                    oci_user_add_group(into, (uint32_t) b->security->supplemental_groups[i], err) < 0)
                        return -1;
        return 0;
}

static int add_user(struct spec_builder *b, struct cringle_err *err)
{
        const struct oci_user *u = b->in->user;
        const Cri__LinuxContainerSecurityContext *s = b->security;
        struct json_object *user = json_need_object(b->process, "user", err), *list;
        auto_of(oci_user) all = NULL;

        if (!user || check_id("uid", u->uid, err) < 0 || check_id("gid", u->gid, err) < 0)
                return -1;
        /* Whoever looked it up asked for somebody else: never run as him. */
        if ((s->run_as_user && s->run_as_user->value != u->uid) ||
            (s->run_as_group && s->run_as_group->value != u->gid))
                return err_set(err, CRINGLE_E_INTERNAL, "the user looked up is not the one requested");

        if (oci_user_new(u->uid, u->gid, "/", NULL, &all, err) < 0 || collect_groups(b, all, err) < 0 ||
            json_set_int(user, "uid", u->uid, err) < 0 || json_set_int(user, "gid", u->gid, err) < 0)
                return -1;
        list = json_need_array(user, "additionalGids", err);
        if (!list)
                return -1;
        for (size_t i = 0; i < all->n_groups; i++)
                if (json_add(list, json_object_new_int64(all->groups[i]), err) < 0)
                        return -1;
        return 0;
}

/* --- capabilities --- */

static bool has_all(char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcasecmp(names[i], "ALL") == 0)
                        return true;
        return false;
}

static int mask_of(const char *what, char *const *names, size_t n, uint64_t *ret, struct cringle_err *err)
{
        uint64_t mask = 0;

        for (size_t i = 0; i < n; i++) {
                int bit = caps_bit(names[i]);

                if (strcasecmp(names[i], "ALL") == 0)
                        continue;
                if (bit < 0)
                        return err_set(err, CRINGLE_E_INVALID, "%s: there is no capability '%.64s'", what, names[i]);
                mask |= UINT64_C(1) << bit;
        }
        *ret = mask;
        return 0;
}

/* Keep what we can hand on, and say what is missing. */
static int clip(struct spec_builder *b, uint64_t *set, struct cringle_err *err)
{
        uint64_t missing = *set & ~b->in->caps;

        *set &= b->in->caps;
        for (int bit = 0; bit < CAPS_COUNT; bit++)
                if (missing & UINT64_C(1) << bit &&
                    spec_warn(b, err, "%s is not ours to give, going on without it", caps_name(bit)) < 0)
                        return -1;
        return 0;
}

static int set_caps(struct json_object *o, const char *name, uint64_t set, struct cringle_err *err)
{
        struct json_object *list = json_need_array(o, name, err);

        if (!list)
                return -1;
        for (int bit = 0; bit < CAPS_COUNT; bit++)
                if (set & UINT64_C(1) << bit && json_add_string(list, caps_name(bit), err) < 0)
                        return -1;
        return 0;
}

/*
 * "ALL" first, then single names; dropping wins over adding.  Inheritable and
 * ambient stay empty unless ambient ones are asked for, so that nothing survives the
 * exec of a program by a user other than root.
 */
static int add_capabilities(struct spec_builder *b, struct cringle_err *err)
{
        const Cri__Capability *c = b->security->capabilities;
        struct json_object *o = json_need_object(b->process, "capabilities", err);
        uint64_t add = 0, drop = 0, ambient = 0, set = caps_default;

        if (!o)
                return -1;
        if (c && (mask_of("add", c->add_capabilities, c->n_add_capabilities, &add, err) < 0 ||
                  mask_of("drop", c->drop_capabilities, c->n_drop_capabilities, &drop, err) < 0 ||
                  mask_of("add_ambient", c->add_ambient_capabilities, c->n_add_ambient_capabilities, &ambient, err) <
                          0))
                return -1;

        if (c && has_all(c->add_capabilities, c->n_add_capabilities))
                set = CAPS_ALL;
        if (c && has_all(c->drop_capabilities, c->n_drop_capabilities))
                set = 0;
        set = (set | add | ambient) & ~drop;
        ambient &= ~drop;
        if (b->privileged)
                set = CAPS_ALL;
        if (clip(b, &set, err) < 0)
                return -1;
        ambient &= set;

        b->caps = set;
        if (set_caps(o, "bounding", set, err) < 0 || set_caps(o, "effective", set, err) < 0 ||
            set_caps(o, "permitted", set, err) < 0 || set_caps(o, "inheritable", ambient, err) < 0 ||
            set_caps(o, "ambient", ambient, err) < 0)
                return -1;
        return 0;
}

/* --- the rest --- */

static int add_oom_score(struct spec_builder *b, struct cringle_err *err)
{
        int64_t score = b->resources ? b->resources->oom_score_adj : 0;

        if (score < -1000 || score > 1000)
                return err_set(err, CRINGLE_E_INVALID, "oom_score_adj %jd is out of range", (intmax_t) score);
        if (score < b->in->oom_score_adj && !b->in->may_lower_oom) {
                if (spec_warn(b, err, "oom_score_adj %jd is lower than we may set, going on with %jd", (intmax_t) score,
                              (intmax_t) b->in->oom_score_adj) < 0)
                        return -1;
                score = b->in->oom_score_adj;
        }
        return json_set_int(b->process, "oomScoreAdj", score, err);
}

int spec_add_process(struct spec_builder *b, struct cringle_err *err)
{
        if (json_set_bool(b->process, "terminal", b->in->container->tty, err) < 0 || add_user(b, err) < 0 ||
            add_args(b, err) < 0 || add_env(b, err) < 0 || add_cwd(b, err) < 0 || add_capabilities(b, err) < 0 ||
            json_set_bool(b->process, "noNewPrivileges", b->security->no_new_privs, err) < 0)
                return -1;
        return add_oom_score(b, err);
}
