#pragma once

/*
 * The schema: a table of all keys, from which everything else follows
 *
 * Reading, checking, showing, explaining, documenting, comparing and freeing a
 * struct config all walk the same tables.  A key that is not in a table does not
 * exist; a field that no table names stays zero.  Tables nest to a fixed depth
 * (SCHEMA_DEPTH_MAX), so walking them may recurse.
 */

#include "config/config.h"
#include "config/tree.h"

#define SCHEMA_DEPTH_MAX 5

/* Types of keys, and what stands in the struct at `offset`. */
enum key_type {
        KEY_STRING = 1,                 /* char * */
        KEY_NAME,                       /* char *: lower-case words and dashes */
        KEY_SECRET,                     /* char *, never shown */
        KEY_PATH,                       /* char *: absolute, clean */
        KEY_URL,                        /* char *: http:// or https:// */
        KEY_CHOICE,                     /* char *: one of `choices` */
        KEY_BOOL,                       /* bool */
        KEY_POLICY,                     /* bool: "fail" is true, "ignore" false */
        KEY_INTEGER,                    /* int64_t */
        KEY_SIZE,                       /* int64_t, bytes */
        KEY_DURATION,                   /* int64_t, nanoseconds */
        KEY_ID,                         /* uint32_t */
        KEY_STRINGS,                    /* char ** */
        KEY_PATHS,                      /* char **, each absolute and clean */
        KEY_REGEXES,                    /* char **, each compiled once to see that it can be */
        KEY_REGEX_PAIRS,                /* struct cringle_pair *: a map from expression to expression */
        KEY_SETTINGS,                   /* struct cringle_pair *: a map of scalars and lists, a plugin's own */
        KEY_ORIGIN,                     /* char *: no key; where the record stands, as file:line */

        /* With tables of their own: */
        KEY_SECTION,                    /* a map; `keys` hold offsets from `offset` */
        KEY_RECORDS,                    /* a list of maps: an array of `record_size` at `offset`, its length at `count` */
        KEY_TABLE,                      /* the same, as a map whose keys fill the first field (a char *) of each */
};

enum key_flags {
        KEY_LIVE = 1,                   /* a reload can apply it */
        KEY_REQUIRED = 2,               /* in a record */
};

struct key {
        const char *name;               /* NULL: the table ends here (KEY_ORIGIN: "") */
        enum key_type type;
        size_t offset;
        const char *fallback;           /* as YAML; NULL: nothing */
        const char *shown;              /* what documents say in the fallback's place; NULL: the fallback */
        const char *help;
        unsigned flags;
        int64_t min, max;               /* of numbers; both 0: not below zero */
        const char *const *choices;     /* ended by NULL */
        const struct key *keys;
        size_t record_size;
        size_t count;
};

extern const struct key schema_keys[];

/* How documents call the type: "duration", "list of paths". */
const char *schema_type_name(const struct key *key);

/* True for types with tables of their own. */
bool schema_is_nested(const struct key *key);

/* Append a number as the key's type is written: "5m", "16MiB", "3". */
int schema_write_number(const struct key *key, int64_t value, struct buf *ret, struct cringle_err *err);

/*
 * Fill the zeroed struct at @base from the map @node (NULL: nothing, so the
 * defaults).  What is wrong goes into @complaints; @path is the dotted path of
 * @node, "" at the top.  -1 only when memory runs out.
 */
int schema_decode(const struct key *keys, const struct yaml_node *node, const char *path, void *base,
                  struct yaml_complaints *complaints, struct cringle_err *err);

/* All keys with their values in @c as YAML, with origins out of the tree @root it was decoded from. */
int schema_show(const struct config *c, const struct yaml_node *root, bool origin, struct buf *ret,
                struct cringle_err *err);

/* Free everything the keys own in the struct at @base, not the struct. */
void schema_clear(const struct key *keys, void *base);

/* Free a list of pairs and what they hold. */
struct cringle_pair *schema_pairs_free(struct cringle_pair *pairs);
