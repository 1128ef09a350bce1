#pragma once

/*
 * YAML as a tree that remembers where everything stood
 *
 * One document per file, bounded in size, depth and number of nodes, without
 * anchors and aliases (so it can never grow), without duplicate keys, and with no
 * tag but !append on a list.  Nothing is interpreted: a scalar stays text, and
 * whether "yes" is a word or a truth is for whoever knows the key.
 *
 * What is wrong is told as file:line:column.  Readers of a tree collect complaints
 * and go on, so that a file is told all its mistakes at once.
 */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/buf.h"

#define YAML_SIZE_MAX (1024 * 1024)     /* bytes of one file */
#define YAML_DEPTH_MAX 32
#define YAML_NODES_MAX 65536
#define YAML_WIDTH_MAX 1024             /* members of one map or list */

enum yaml_kind { YAML_SCALAR = 1, YAML_LIST = 2, YAML_MAP = 3 };

struct yaml_node {
        enum yaml_kind kind;
        char *text;                     /* of a scalar */
        bool quoted;                    /* of a scalar: written in quotes or as a block */
        bool append;                    /* of a list: tagged !append */
        const char *file;               /* its document's */
        unsigned line, column;          /* from 1 */
        char *key;                      /* when it is a member of a map */
        unsigned key_line, key_column;
        struct yaml_node *first, *last; /* members, in the order of the file */
        struct yaml_node *next;         /* beside it */
        struct yaml_node *made;         /* the document's chain of all nodes */
        struct yaml_node *under, *queue;        /* for yaml_merge() */
};

/* A document owns its nodes. */
struct yaml_doc {
        char *file;                     /* as shown in messages */
        struct yaml_node *root;         /* NULL: nothing in it */
        struct yaml_node *all;
};

struct yaml_doc *yaml_doc_free(struct yaml_doc *doc);

AUTO_DEFINE(yaml_doc, yaml_doc_free)

/* @n bytes at @text; @file is what messages call it. */
int yaml_parse(const char *text, size_t n, const char *file, struct yaml_doc **ret, struct cringle_err *err);
int yaml_read(const char *file, struct yaml_doc **ret, struct cringle_err *err);

/* Written as nothing, "~" or "null". */
bool yaml_is_null(const struct yaml_node *node);

/* The member @key of the map @map (NULL: of nothing); NULL also when it is there but null. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/*
 * Lay @over on @base, both maps: maps merge by key, null takes the key away,
 * anything else replaces, but a list tagged !append continues the list below it.
 * Nodes move from one tree to the other: both documents must be kept as long as
 * @base is used, and @over is not to be looked at any more.
 */
void yaml_merge(struct yaml_node *base, struct yaml_node *over);

/* What is wrong with a document: "file:line:column: text", one per line. */
struct yaml_complaints {
        struct buf text;
        size_t count;                   /* also those that had no room any more */
        bool out_of_memory;
};

#define YAML_COMPLAINTS_MAX 64

void yaml_complaints_done(struct yaml_complaints *c);

static inline void auto_yaml_complaints_(struct yaml_complaints *c)
{
        yaml_complaints_done(c);
}

#define auto_complaints auto_cleanup(auto_yaml_complaints_) struct yaml_complaints

/* A complaint about a node, or about the key that it is the value of. */
__attribute__((format(printf, 3, 4)))
void yaml_complain(struct yaml_complaints *c, const struct yaml_node *node, const char *format, ...);

__attribute__((format(printf, 3, 4)))
void yaml_complain_key(struct yaml_complaints *c, const struct yaml_node *node, const char *format, ...);

/* 0 when there is none; otherwise the first one, and how many more there are. */
int yaml_complaints_end(const struct yaml_complaints *c, struct cringle_err *err);

/* True when @text, written plainly, reads back as that very string, and as nothing but a string. */
bool yaml_is_plain(const char *text);

/* Append @text as a YAML scalar that reads back as that very string. */
int yaml_write(const char *text, struct buf *ret, struct cringle_err *err);
