/*
 * A hook from a file or from the YAML; see rule.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/base/pattern.h"
#include "hooks/rule.h"

static const char *const stage_names[STAGES] = {
        [STAGE_PRESTART] = "prestart",
        [STAGE_CREATE_RUNTIME] = "createRuntime",
        [STAGE_CREATE_CONTAINER] = "createContainer",
        [STAGE_START_CONTAINER] = "startContainer",
        [STAGE_POSTSTART] = "poststart",
        [STAGE_POSTSTOP] = "poststop",
};

const char *stage_name(enum stage stage)
{
        return stage_names[stage];
}

int stage_of(const char *name)
{
        for (int i = 0; i < STAGES; i++)
                if (strcmp(stage_names[i], name) == 0)
                        return i;

        return -1;
}

int patterns_add(struct patterns *p, const char *text, struct cringle_err *err)
{
        regex_t *grown;
        char why[128];
        int r;

        if (pattern_check(text, err) < 0)
                return -1;
        grown = realloc(p->compiled, (p->n + 1) * sizeof *grown);
        if (!grown)
                return err_oom(err);
        p->compiled = grown;
        r = regcomp(&grown[p->n], text, REG_EXTENDED | REG_NOSUB);
        if (r) {
                regerror(r, &grown[p->n], why, sizeof why);
                return err_set(err, CRINGLE_E_INVALID, "pattern '%.200s': %s", text, why);
        }
        if (strv_add(&p->texts, text, err) < 0) {
                regfree(&grown[p->n]);
                return -1;
        }
        p->n++;
        return 0;
}

bool patterns_match(const struct patterns *p, const char *value)
{
        for (size_t i = 0; i < p->n; i++)
                if (regexec(&p->compiled[i], value ? value : "", 0, NULL, 0) == 0)
                        return true;

        return false;
}

void patterns_done(struct patterns *p)
{
        for (size_t i = 0; i < p->n; i++)
                regfree(&p->compiled[i]);
        free(p->compiled);
        strv_free(p->texts);
}

/* Whether some pair of @list fits the pair of patterns number @i; no patterns for keys: any key. */
static bool pair_fits(const struct patterns *keys, const struct patterns *values, size_t i, const struct cringle_pair *list)
{
        for (const struct cringle_pair *a = list; a && a->key; a++) {
                if (keys->n && regexec(&keys->compiled[i], a->key, 0, NULL, 0) != 0)
                        continue;
                if (regexec(&values->compiled[i], a->value, 0, NULL, 0) == 0)
                        return true;
        }
        return false;
}

static bool annotation_fits(const struct rule *r, size_t i, const struct cringle_pair *annotations)
{
        return pair_fits(&r->annotation_keys, &r->annotation_values, i, annotations);
}

/* No pattern holds for everything. */
static bool text_fits(const struct patterns *p, const char *value)
{
        return !p->n || patterns_match(p, value);
}

static bool devices_fit(const struct rule *r, const char *const *devices)
{
        for (; devices && *devices; devices++)
                if (patterns_match(&r->devices, *devices))
                        return true;

        return !r->devices.n;
}

/* hooks.d 0.1.0: any condition that holds is enough. */
static bool any_holds(const struct rule *r, const struct rule_subject *s)
{
        if (r->has_bind_mounts == 1 && s->has_bind_mounts)
                return true;
        for (size_t i = 0; i < r->annotation_values.n; i++)
                if (annotation_fits(r, i, s->annotations))
                        return true;

        return patterns_match(&r->commands, s->command);
}

/* Everything that is said must hold, and something must be said. */
static bool all_hold(const struct rule *r, const struct rule_subject *s)
{
        bool said = r->always == 1 || r->has_bind_mounts == 1 || r->annotation_values.n || r->commands.n ||
                    r->namespaces.n || r->images.n || r->label_values.n || r->pods.n || r->containers.n || r->handlers.n ||
                    r->devices.n;

        if (!said || r->always == 0 || r->has_bind_mounts == 0)
                return false;
        if (r->has_bind_mounts == 1 && !s->has_bind_mounts)
                return false;
        for (size_t i = 0; i < r->annotation_values.n; i++)
                if (!annotation_fits(r, i, s->annotations))
                        return false;
        for (size_t i = 0; i < r->label_values.n; i++)
                if (!pair_fits(&r->label_keys, &r->label_values, i, s->labels))
                        return false;

        return text_fits(&r->namespaces, s->space) && text_fits(&r->images, s->image) && text_fits(&r->pods, s->pod) &&
               text_fits(&r->containers, s->container) && text_fits(&r->handlers, s->handler) &&
               devices_fit(r, s->devices) && text_fits(&r->commands, s->command);
}

bool rule_matches(const struct rule *r, const struct rule_subject *s)
{
        if (r->error)
                return false;
        return r->combine == COMBINE_OR ? any_holds(r, s) : all_hold(r, s);
}

static int add_to_stage(const struct rule *r, struct json_object *hooks, enum stage stage, int64_t timeout,
                        struct cringle_err *err)
{
        struct json_object *array = json_need_array(hooks, stage_name(stage), err), *from;
        auto_json o = json_object_new_object();
        int64_t seconds = r->timeout ? r->timeout : timeout;

        if (!array || !o)
                return err_oom(err);
        if (json_set_string(o, "path", r->path, err) < 0 ||
            json_set_strv(o, "args", r->args ? (const char *const *) r->args : (const char *const[]) { r->path, NULL }, err) < 0 ||
            (r->env && json_set_strv(o, "env", (const char *const *) r->env, err) < 0) ||
            (seconds && json_set_int(o, "timeout", seconds, err) < 0) ||
            (r->ignore && json_set_string(o, "failure", "ignore", err) < 0))
                return -1;
        from = json_need_object(o, "from", err);
        if (!from || json_set_string(from, "source", r->source, err) < 0 || json_set_string(from, "name", r->name, err) < 0 ||
            json_set_string(from, "origin", r->origin, err) < 0)
                return -1;
        return json_add(array, steal(&o), err);
}

int rule_add_to(const struct rule *r, struct json_object *spec, int64_t timeout, struct cringle_err *err)
{
        struct json_object *hooks = json_need_object(spec, "hooks", err);

        if (!hooks)
                return -1;
        for (enum stage stage = 0; stage < STAGES; stage++)
                if ((r->stages & (1u << stage)) && add_to_stage(r, hooks, stage, timeout, err) < 0)
                        return err_wrap(err, "hook %s", r->origin);
        return 0;
}

static int describe_list(struct buf *b, const char *what, const struct patterns *p, struct cringle_err *err)
{
        for (size_t i = 0; i < p->n; i++)
                if (buf_printf(b, err, "%s%s%s", i ? "|" : b->len ? ", " : "", i ? "" : what, p->texts[i]) < 0)
                        return -1;
        return 0;
}

int rule_describe(const struct rule *r, struct buf *b, struct cringle_err *err)
{
        if (r->always >= 0 && buf_printf(b, err, r->always ? "always" : "never") < 0)
                return -1;
        if (r->has_bind_mounts >= 0 &&
            buf_printf(b, err, "%s%s", b->len ? ", " : "", r->has_bind_mounts ? "bind mounts" : "never") < 0)
                return -1;
        for (size_t i = 0; i < r->annotation_values.n; i++)
                if (buf_printf(b, err, "%sannotation %s=%s", b->len ? ", " : "",
                               r->annotation_keys.n ? r->annotation_keys.texts[i] : ".*", r->annotation_values.texts[i]) < 0)
                        return -1;
        for (size_t i = 0; i < r->label_values.n; i++)
                if (buf_printf(b, err, "%slabel %s=%s", b->len ? ", " : "", r->label_keys.texts[i], r->label_values.texts[i]) < 0)
                        return -1;
        if (describe_list(b, "pod ", &r->pods, err) < 0 || describe_list(b, "container ", &r->containers, err) < 0 ||
            describe_list(b, "handler ", &r->handlers, err) < 0 || describe_list(b, "device ", &r->devices, err) < 0)
                return -1;
        if (describe_list(b, "namespace ", &r->namespaces, err) < 0 || describe_list(b, "image ", &r->images, err) < 0 ||
            describe_list(b, "command ", &r->commands, err) < 0)
                return -1;
        if (b->len == 0)
                return r->error ? 0 : buf_add_str(b, "never", err);
        return r->combine == COMBINE_OR ? buf_add_str(b, " (any)", err) : 0;
}

static int explain_one(struct buf *b, bool holds, struct cringle_err *err, const char *what, const char *text, const char *seen)
{
        return buf_printf(b, err, "%s%s%s%s%s%s%s", b->len ? "; " : "", what, text, holds ? " holds" : " does not hold",
                          seen ? " for '" : "", seen ? seen : "", seen ? "'" : "");
}

static int explain_list(struct buf *b, const char *what, const struct patterns *p, const char *value, struct cringle_err *err)
{
        auto_buf all = BUF_INIT;

        for (size_t i = 0; i < p->n; i++)
                if (buf_printf(&all, err, "%s%s", i ? "|" : "", p->texts[i]) < 0)
                        return -1;
        return p->n ? explain_one(b, patterns_match(p, value), err, what, all.data, value ? value : "") : 0;
}

int rule_explain(const struct rule *r, const struct rule_subject *s, struct buf *b, struct cringle_err *err)
{
        if (r->error)
                return buf_printf(b, err, "not in force: %s", r->error);
        if (r->always >= 0 && buf_add_str(b, r->always ? "always" : "never", err) < 0)
                return -1;
        if (r->has_bind_mounts >= 0 &&
            explain_one(b, r->has_bind_mounts && s->has_bind_mounts, err, "bind mounts", "", NULL) < 0)
                return -1;
        for (size_t i = 0; i < r->annotation_values.n; i++) {
                auto_free char *text = str_printf(err, "%s=%s", r->annotation_keys.n ? r->annotation_keys.texts[i] : ".*",
                                                  r->annotation_values.texts[i]);

                if (!text || explain_one(b, annotation_fits(r, i, s->annotations), err, "annotation ", text, NULL) < 0)
                        return -1;
        }
        for (size_t i = 0; i < r->label_values.n; i++) {
                auto_free char *text = str_printf(err, "%s=%s", r->label_keys.texts[i], r->label_values.texts[i]);

                if (!text || explain_one(b, pair_fits(&r->label_keys, &r->label_values, i, s->labels), err, "label ", text, NULL) < 0)
                        return -1;
        }
        for (size_t i = 0; i < r->devices.n; i++)       /* one of them is enough */
                if (explain_one(b, devices_fit(r, s->devices), err, "device ", r->devices.texts[i], NULL) < 0)
                        return -1;
        if (explain_list(b, "pod ", &r->pods, s->pod, err) < 0 ||
            explain_list(b, "container ", &r->containers, s->container, err) < 0 ||
            explain_list(b, "handler ", &r->handlers, s->handler, err) < 0)
                return -1;
        if (explain_list(b, "namespace ", &r->namespaces, s->space, err) < 0 ||
            explain_list(b, "image ", &r->images, s->image, err) < 0 ||
            explain_list(b, "command ", &r->commands, s->command, err) < 0)
                return -1;
        return b->len ? 0 : buf_add_str(b, "no condition", err);
}

void rule_done(struct rule *r)
{
        free(r->name);
        free(r->origin);
        free(r->error);
        free(r->path);
        strv_free(r->args);
        strv_free(r->env);
        patterns_done(&r->annotation_keys);
        patterns_done(&r->annotation_values);
        patterns_done(&r->commands);
        patterns_done(&r->namespaces);
        patterns_done(&r->images);
        patterns_done(&r->label_keys);
        patterns_done(&r->label_values);
        patterns_done(&r->pods);
        patterns_done(&r->containers);
        patterns_done(&r->handlers);
        patterns_done(&r->devices);
}

struct rule *rules_add(struct rules *rules, struct cringle_err *err)
{
        struct rule *grown = realloc(rules->list, (rules->n + 1) * sizeof *grown);

        if (!grown) {
                err_oom(err);
                return NULL;
        }
        rules->list = grown;
        grown[rules->n] = (struct rule) { .always = -1, .has_bind_mounts = -1 };
        return &grown[rules->n++];
}

void rules_done(struct rules *rules)
{
        for (size_t i = 0; i < rules->n; i++)
                rule_done(&rules->list[i]);
        free(rules->list);
        *rules = (struct rules) { 0 };
}
