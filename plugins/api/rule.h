#pragma once

/*
 * Rules: one line of a setting that says what to do, and for whom
 *
 * Settings are flat, and hooks want more: so a rule is one string of words
 * KEY=VALUE, separated by blanks.  A value with blanks in it is quoted, "a b",
 * and in quotes \" and \\ stand for themselves.  A key may be given again.
 *
 *      source=/etc/ssl/certs target=/etc/ssl/certs namespace=shop-* annotation=example.com/certs
 *
 * Some keys are conditions, the same in every rule:
 *
 *      namespace=  pod=  container=  image=  handler=          what the event says
 *      annotation=KEY  annotation=KEY=VALUE                    KEY alone: its value is "true"
 *      label=KEY  label=KEY=VALUE
 *
 * Values of conditions are patterns: `*` stands for anything, `?` for one byte.  Of
 * conditions with one key (annotations and labels: each named one is a key of its
 * own) one suffices; of different keys all must hold.  A rule without conditions is
 * for everybody.
 *
 * Static inline as everything here, for plugins link to nothing.
 */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "hook.h"

#define CRINGLE_RULE_MAX 65536                  /* bytes of one rule */

static const char *const cringle_rule_conditions[] = {
        "namespace", "pod", "container", "image", "handler", "annotation", "label", NULL
};

/* Does @pattern stand for all of @text?  Takes time in the product of both lengths at most. */
static inline int cringle_glob(const char *pattern, const char *text)
{
        const char *star = NULL, *retry = NULL;

        while (*text) {
                if (*pattern == '*') {
                        star = pattern++;
                        retry = text;
                } else if (*pattern == '?' || *pattern == *text) {
                        pattern++;
                        text++;
                } else if (star) {
                        pattern = star + 1;
                        text = ++retry;
                } else {
                        return 0;
                }
        }
        while (*pattern == '*')
                pattern++;
        return !*pattern;
}

/* The first value of @key in @rule, or NULL; borrowed. */
static inline const char *cringle_rule_get(const struct cringle_pair *rule, const char *key)
{
        for (; rule->key; rule++)
                if (strcmp(rule->key, key) == 0)
                        return rule->value;

        return NULL;
}

/* 1: @key is "yes", 0: it is "no" or not there, -1: it is something else. */
static inline int cringle_rule_yes(const struct cringle_pair *rule, const char *key, struct cringle_err *err)
{
        const char *value = cringle_rule_get(rule, key);

        if (!value || strcmp(value, "no") == 0)
                return 0;
        if (strcmp(value, "yes") == 0)
                return 1;
        return cringle_fail(err, CRINGLE_E_INVALID, "%s: want yes or no, found '%.64s'", key, value);
}

static inline int cringle_rule_word_(char **at, struct cringle_pair *ret, struct cringle_err *err)
{
        char *in = *at, *out;
        int quoted = 0;

        ret->key = in;
        in += strcspn(in, "= \t\"");
        if (*in != '=' || in == ret->key)
                return cringle_fail(err, CRINGLE_E_INVALID, "want KEY=VALUE, found '%.64s'", ret->key);
        *in++ = '\0';
        ret->value = out = in;
        for (; *in && (quoted || !strchr(" \t", *in)); in++) {
                if (*in == '"') {
                        quoted = !quoted;
                        continue;
                }
                if (quoted && *in == '\\' && (in[1] == '"' || in[1] == '\\'))
                        in++;
                *out++ = *in;
        }
        if (quoted)
                return cringle_fail(err, CRINGLE_E_INVALID, "%s: a quote is not closed", ret->key);
        *at = in + (*in != '\0');
        *out = '\0';
        return 0;
}

static inline int cringle_rule_known_(const char *key, const char *const *known)
{
        for (; *known; known++)
                if (strcmp(key, *known) == 0)
                        return 1;

        return 0;
}

/*
 * The words of @text.  @known (ended by NULL) are the keys that are understood beside
 * conditions.  *ret is ended by a NULL key, one block to be freed with free().
 */
static inline int cringle_rule_parse(const char *text, const char *const *known, struct cringle_pair **ret,
                                     struct cringle_err *err)
{
        size_t length = strlen(text), most = length / 2 + 1, n = 0;
        struct cringle_pair *words;
        char *at;

        if (length > CRINGLE_RULE_MAX)
                return cringle_fail(err, CRINGLE_E_INVALID, "longer than %d bytes", CRINGLE_RULE_MAX);
        words = (struct cringle_pair *) calloc(1, (most + 1) * sizeof *words + length + 1);
        if (!words)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        at = (char *) (words + most + 1);
        memcpy(at, text, length + 1);

        for (at += strspn(at, " \t"); *at; at += strspn(at, " \t")) {
                if (cringle_rule_word_(&at, &words[n], err) < 0) {
                        free(words);
                        return -1;
                }
                if (!cringle_rule_known_(words[n].key, known) &&
                    !cringle_rule_known_(words[n].key, cringle_rule_conditions)) {
                        cringle_fail(err, CRINGLE_E_INVALID, "unknown key '%.64s'", words[n].key);
                        free(words);
                        return -1;
                }
                n++;
        }
        if (n == 0) {
                free(words);
                return cringle_fail(err, CRINGLE_E_INVALID, "empty");
        }
        *ret = words;
        return 0;
}

/* The length of KEY in "KEY" or "KEY=VALUE". */
static inline size_t cringle_rule_named_(const char *value)
{
        return strcspn(value, "=");
}

static inline int cringle_rule_same_(const struct cringle_pair *a, const struct cringle_pair *b)
{
        size_t length = cringle_rule_named_(a->value);

        if (strcmp(a->key, b->key) != 0)
                return 0;
        if (strcmp(a->key, "annotation") != 0 && strcmp(a->key, "label") != 0)
                return 1;
        return length == cringle_rule_named_(b->value) && memcmp(a->value, b->value, length) == 0;
}

static inline int cringle_rule_holds_(const struct cringle_pair *word, const struct cringle_event *ev)
{
        const char *found = NULL, *pattern = word->value;

        if (strcmp(word->key, "namespace") == 0)
                found = ev->pod_space;
        else if (strcmp(word->key, "pod") == 0)
                found = ev->pod_name;
        else if (strcmp(word->key, "container") == 0)
                found = ev->container_name;
        else if (strcmp(word->key, "image") == 0)
                found = ev->image;
        else if (strcmp(word->key, "handler") == 0)
                found = ev->handler;
        else {
                size_t length = cringle_rule_named_(word->value);
                char *key = strndup(word->value, length);

                if (!key)
                        return 0;
                found = strcmp(word->key, "label") == 0 ? ev->label(ev, key) : ev->annotation(ev, key);
                free(key);
                pattern = word->value[length] ? word->value + length + 1 : "true";
        }
        return found && cringle_glob(pattern, found);
}

/* Is @rule for the container of @ev? */
static inline int cringle_rule_matches(const struct cringle_pair *rule, const struct cringle_event *ev)
{
        for (const struct cringle_pair *word = rule; word->key; word++) {
                int holds = 0;

                if (!cringle_rule_known_(word->key, cringle_rule_conditions))
                        continue;
                for (const struct cringle_pair *other = rule; other->key && !holds; other++)
                        holds = cringle_rule_same_(word, other) && cringle_rule_holds_(other, ev);
                if (!holds)
                        return 0;
        }
        return 1;
}

/* Free what cringle_rules_read() made; NULL is none. */
static inline void cringle_rules_free(struct cringle_pair **rules)
{
        for (size_t i = 0; rules && rules[i]; i++)
                free(rules[i]);
        free(rules);
}

/*
 * All values of the list @name among @settings, parsed, and each judged by @check
 * (may be NULL) which fails with what is wrong with it.  *ret is ended by NULL, to be
 * freed with cringle_rules_free().  Errors name the rule and its number.
 */
static inline int cringle_rules_read(const struct cringle_pair *settings, const char *name, const char *const *known,
                                     int (*check)(const struct cringle_pair *rule, struct cringle_err *err),
                                     struct cringle_pair ***ret, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct cringle_pair **rules;
        size_t n = 0;

        for (const struct cringle_pair *p = settings; p->key; p++)
                n += strcmp(p->key, name) == 0;
        rules = (struct cringle_pair **) calloc(n + 1, sizeof(struct cringle_pair *));
        if (!rules)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        n = 0;
        for (const struct cringle_pair *p = settings; p->key; p++) {
                if (strcmp(p->key, name) != 0)
                        continue;
                if (cringle_rule_parse(p->value, known, &rules[n], &why) < 0 ||
                    (check && check(rules[n], &why) < 0)) {
                        cringle_rules_free(rules);
                        return cringle_fail(err, why.code, "%s, number %zu, '%.200s': %.1500s", name, n + 1, p->value,
                                            why.text);
                }
                n++;
        }
        *ret = rules;
        return 0;
}

/* A path that may be mounted or made: absolute, without "//", "." and "..", not the root. */
static inline int cringle_rule_path(const struct cringle_pair *rule, const char *key, struct cringle_err *err)
{
        const char *path = cringle_rule_get(rule, key);

        if (!path)
                return cringle_fail(err, CRINGLE_E_INVALID, "%s: missing", key);
        if (path[0] != '/' || !path[1])
                return cringle_fail(err, CRINGLE_E_INVALID, "%s: want an absolute path, found '%.200s'", key, path);
        for (const char *at = path; *at;) {
                size_t length = strcspn(++at, "/");

                if (length == 0 || (length == 1 && at[0] == '.') || (length == 2 && at[0] == '.' && at[1] == '.'))
                        return cringle_fail(err, CRINGLE_E_INVALID, "%s: want a path without '//', '.' and '..', found '%.200s'",
                                            key, path);
                at += length;
        }
        return 0;
}
