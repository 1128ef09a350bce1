#pragma once

/*
 * A hook from a file or from the YAML: what is run, at which stages, and when
 *
 * Both kinds end as OCI hooks in a container's specification.  Conditions are POSIX
 * extended regular expressions, unanchored, compiled when the rule is made: a pattern
 * that does not compile refuses the rule.  So does one that would take more than a
 * moment or a page to compile or to match: what they are matched against is written by
 * whoever may make a pod.
 */

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "agent/base/buf.h"
#include "agent/base/str.h"
#include "plugins/api/plugin.h"

/* The six stages of runtime-spec 1.3, in their order. */
enum stage { STAGE_PRESTART, STAGE_CREATE_RUNTIME, STAGE_CREATE_CONTAINER, STAGE_START_CONTAINER, STAGE_POSTSTART,
             STAGE_POSTSTOP, STAGES };

const char *stage_name(enum stage stage);
int stage_of(const char *name);         /* -1: no such stage */

/* A list of compiled patterns, and their texts for messages. */
struct patterns {
        regex_t *compiled;
        char **texts;
        size_t n;
};

int patterns_add(struct patterns *p, const char *text, struct cringle_err *err);
bool patterns_match(const struct patterns *p, const char *value);       /* any of them */
void patterns_done(struct patterns *p);

/* How the conditions of a rule combine. */
enum combine { COMBINE_AND, COMBINE_OR };

struct rule {
        char *name;                     /* file name, or the name in the YAML */
        char *origin;                   /* file, or file:line */
        const char *source;             /* "hooks.d", "yaml"; who else brings an OCI hook: "plugin", "nri", "cdi"; not owned */
        char *error;                    /* why it is not in force; NULL: it is */
        unsigned stages;                /* 1 << enum stage */
        char *path;
        char **args;                    /* argv with argv[0]; NULL: the path alone */
        char **env;
        int64_t timeout;                /* seconds; 0: the default */
        bool ignore;                    /* its failure is logged, no more */

        enum combine combine;
        int always;                     /* -1: not said; 0 never matches */
        int has_bind_mounts;            /* -1: not said; 0 never matches */
        struct patterns annotation_keys, annotation_values;     /* pairs; keys empty in 0.1.0: any key */
        struct patterns label_keys, label_values;       /* pairs */
        struct patterns commands, namespaces, images, pods, containers, handlers, devices;
        bool has_places;                /* in args after argv[0], or env: see config/template.h */

        uint64_t matches;
};

/* What the conditions look at; all borrowed. */
struct rule_subject {
        const struct cringle_pair *annotations; /* the pod's, ended by a NULL key */
        const char *command;            /* process.args[0] */
        const char *space;
        const char *image;
        const struct cringle_pair *labels;              /* the same */
        const char *pod, *container, *handler;
        const char *const *devices;     /* the kubelet asked for: paths on the node and CDI names */
        bool has_bind_mounts;           /* the kubelet asked for some */
};

bool rule_matches(const struct rule *r, const struct rule_subject *s);

/* What each condition came to, in one line, into the empty @ret. */
int rule_explain(const struct rule *r, const struct rule_subject *s, struct buf *ret, struct cringle_err *err);

/*
 * Append it to the hooks of @spec; @timeout in seconds for a rule that names none.  A member of ours, `from`, says
 * whose it is: the executor puts it into errors and reports, other runtimes skip it.
 */
int rule_add_to(const struct rule *r, struct json_object *spec, int64_t timeout, struct cringle_err *err);

/* The conditions in one line, into the empty @ret. */
int rule_describe(const struct rule *r, struct buf *ret, struct cringle_err *err);

void rule_done(struct rule *r);

/* Rules in the order in which they are added to a container. */
struct rules {
        struct rule *list;
        size_t n;
};

/* A new, empty rule at the end; NULL: out of memory.  Valid until the next one is added. */
struct rule *rules_add(struct rules *rules, struct cringle_err *err);
void rules_done(struct rules *rules);
