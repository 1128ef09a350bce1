/*
 * YAML trees; see tree.h.
 *
 * libyaml is asked for events, which it makes without recursion; the stack of
 * open maps and lists is an array here, so the depth of a file costs no C stack.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "agent/base/file.h"
#include "config/tree.h"

struct reader {
        yaml_parser_t parser;
        struct yaml_doc *doc;
        struct yaml_node *open[YAML_DEPTH_MAX]; /* maps and lists not yet ended, outermost first */
        size_t width[YAML_DEPTH_MAX];           /* their members so far */
        size_t depth;
        size_t count;                           /* nodes */
        char *key;                              /* of the value to come; owned */
        yaml_mark_t key_at;
};

struct yaml_doc *yaml_doc_free(struct yaml_doc *doc)
{
        if (!doc)
                return NULL;

        for (struct yaml_node *node = doc->all, *after; node; node = after) {
                after = node->made;
                free(node->text);
                free(node->key);
                free(node);
        }
        free(doc->file);
        free(doc);
        return NULL;
}

__attribute__((format(printf, 4, 5)))
static int refuse(const struct reader *r, yaml_mark_t at, struct cringle_err *err, const char *format, ...)
{
        char text[512];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        return err_set(err, CRINGLE_E_INVALID, "%s:%zu:%zu: %s", r->doc->file, at.line + 1, at.column + 1, text);
}

static int refuse_syntax(const struct reader *r, struct cringle_err *err)
{
        const yaml_parser_t *p = &r->parser;

        if (p->error == YAML_MEMORY_ERROR)
                return err_oom(err);
        if (p->error == YAML_READER_ERROR)
                return err_set(err, CRINGLE_E_INVALID, "%s: byte %zu: %s", r->doc->file, p->problem_offset,
                               p->problem ? p->problem : "not readable");
        return refuse(r, p->problem_mark, err, "%s%s%s", p->context ? p->context : "", p->context ? ", " : "",
                      p->problem ? p->problem : "not YAML");
}

/* Keep the key of the value to come. */
static int take_key(struct reader *r, const yaml_event_t *event, struct cringle_err *err)
{
        const char *text = (const char *) event->data.scalar.value;

        if (strlen(text) != event->data.scalar.length)
                return refuse(r, event->start_mark, err, "a zero byte in a key");
        for (const struct yaml_node *m = r->open[r->depth - 1]->first; m; m = m->next)
                if (strcmp(m->key, text) == 0)
                        return refuse(r, event->start_mark, err, "'%.100s' is there twice, first in line %u", text,
                                      m->key_line);

        r->key = strdup(text);
        if (!r->key)
                return err_oom(err);
        r->key_at = event->start_mark;
        return 0;
}

/* A fresh node in its place: the root, or the next member of what is open. */
static int add_node(struct reader *r, enum yaml_kind kind, const yaml_event_t *event, struct yaml_node **ret,
                    struct cringle_err *err)
{
        struct yaml_node *parent = r->depth ? r->open[r->depth - 1] : NULL;
        struct yaml_node *node;

        if (++r->count > YAML_NODES_MAX)
                return refuse(r, event->start_mark, err, "more than %d values in one file", YAML_NODES_MAX);
        if (parent && ++r->width[r->depth - 1] > YAML_WIDTH_MAX)
                return refuse(r, event->start_mark, err, "more than %d members here", YAML_WIDTH_MAX);

        node = calloc(1, sizeof *node);
        if (!node)
                return err_oom(err);
        node->made = r->doc->all;
        r->doc->all = node;

        node->kind = kind;
        node->file = r->doc->file;
        node->line = (unsigned) event->start_mark.line + 1;
        node->column = (unsigned) event->start_mark.column + 1;
        node->key = steal(&r->key);
        node->key_line = (unsigned) r->key_at.line + 1;
        node->key_column = (unsigned) r->key_at.column + 1;

        if (!parent)
                r->doc->root = node;
        else if (parent->last)
                parent->last->next = node;
        else
                parent->first = node;
        if (parent)
                parent->last = node;

        *ret = node;
        return 0;
}

static int open_node(struct reader *r, enum yaml_kind kind, const yaml_event_t *event, const char *tag,
                     const char *anchor, struct cringle_err *err)
{
        struct yaml_node *node;

        if (anchor)
                return refuse(r, event->start_mark, err, "anchors are not supported");
        if (tag && (kind != YAML_LIST || strcmp(tag, "!append") != 0))
                return refuse(r, event->start_mark, err, "tag %.100s is not supported here", tag);
        if (r->depth == YAML_DEPTH_MAX)
                return refuse(r, event->start_mark, err, "nested deeper than %d", YAML_DEPTH_MAX);
        if (r->depth && r->open[r->depth - 1]->kind == YAML_MAP && !r->key)
                return refuse(r, event->start_mark, err, "a key must be a word");
        if (add_node(r, kind, event, &node, err) < 0)
                return -1;

        node->append = tag != NULL;
        r->width[r->depth] = 0;
        r->open[r->depth++] = node;
        return 0;
}

static int take_scalar(struct reader *r, const yaml_event_t *event, struct cringle_err *err)
{
        const char *text = (const char *) event->data.scalar.value;
        const char *tag = (const char *) event->data.scalar.tag;
        struct yaml_node *node;

        if (event->data.scalar.anchor)
                return refuse(r, event->start_mark, err, "anchors are not supported");
        if (tag)
                return refuse(r, event->start_mark, err, "tag %.100s is not supported here", tag);
        if (r->depth && r->open[r->depth - 1]->kind == YAML_MAP && !r->key)
                return take_key(r, event, err);
        if (strlen(text) != event->data.scalar.length)
                return refuse(r, event->start_mark, err, "a zero byte in a value");
        if (add_node(r, YAML_SCALAR, event, &node, err) < 0)
                return -1;

        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        node->text = strdup(text);
        return node->text ? 0 : err_oom(err);
}

/* 1: that was the last event. */
static int take_event(struct reader *r, const yaml_event_t *event, struct cringle_err *err)
{
        switch (event->type) {
        case YAML_DOCUMENT_START_EVENT:
                if (r->doc->root)
                        return refuse(r, event->start_mark, err, "a second document in the same file");
                return 0;
        case YAML_ALIAS_EVENT:
                return refuse(r, event->start_mark, err, "aliases are not supported");
        case YAML_SCALAR_EVENT:
                return take_scalar(r, event, err);
        case YAML_SEQUENCE_START_EVENT:
                return open_node(r, YAML_LIST, event, (const char *) event->data.sequence_start.tag,
                                 (const char *) event->data.sequence_start.anchor, err);
        case YAML_MAPPING_START_EVENT:
                return open_node(r, YAML_MAP, event, (const char *) event->data.mapping_start.tag,
                                 (const char *) event->data.mapping_start.anchor, err);
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT:
                r->depth--;
                return 0;
        case YAML_STREAM_END_EVENT:
                return 1;
        default:
                return 0;
        }
}

static int read_events(struct reader *r, struct cringle_err *err)
{
        for (;;) {
                yaml_event_t event;
                int end;

                if (!yaml_parser_parse(&r->parser, &event))
                        return refuse_syntax(r, err);

                end = take_event(r, &event, err);
                yaml_event_delete(&event);
                if (end)
                        return end < 0 ? -1 : 0;
        }
}

int yaml_parse(const char *text, size_t n, const char *file, struct yaml_doc **ret, struct cringle_err *err)
{
        auto_of(yaml_doc) doc = calloc(1, sizeof *doc);
        struct reader r = { .doc = doc };
        int result;

        if (!doc)
                return err_oom(err);
        doc->file = strdup(file);
        if (!doc->file)
                return err_oom(err);
        if (n > YAML_SIZE_MAX)
                return err_set(err, CRINGLE_E_INVALID, "%s: larger than %d bytes", file, YAML_SIZE_MAX);

        if (!yaml_parser_initialize(&r.parser))
                return err_oom(err);
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *) text, n);
        result = read_events(&r, err);
        yaml_parser_delete(&r.parser);
        free(r.key);
        if (result < 0)
                return -1;

        if (yaml_is_null(doc->root))
                doc->root = NULL;
        *ret = steal(&doc);
        return 0;
}

int yaml_read(const char *file, struct yaml_doc **ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;

        if (file_read(file, YAML_SIZE_MAX, &text, err) < 0)
                return -1;
        return yaml_parse(text.len ? text.data : "", text.len, file, ret, err);
}

bool yaml_is_null(const struct yaml_node *node)
{
        if (!node)
                return true;
        return node->kind == YAML_SCALAR && !node->quoted &&
               (!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
        if (!map || map->kind != YAML_MAP)
                return NULL;
        for (const struct yaml_node *m = map->first; m; m = m->next)
                if (strcmp(m->key, key) == 0)
                        return yaml_is_null(m) ? NULL : m;

        return NULL;
}

/* Where @key's node hangs in @map: the link that points at it, or the last link. */
static struct yaml_node **find_link(struct yaml_node *map, const char *key)
{
        struct yaml_node **link = &map->first;

        while (*link && strcmp((*link)->key, key) != 0)
                link = &(*link)->next;
        return link;
}

static void find_last(struct yaml_node *parent)
{
        parent->last = parent->first;
        while (parent->last && parent->last->next)
                parent->last = parent->last->next;
}

static void merge_member(struct yaml_node *base, struct yaml_node *fresh, struct yaml_node **queue)
{
        struct yaml_node **link = find_link(base, fresh->key);
        struct yaml_node *old = *link;

        if (yaml_is_null(fresh)) {
                if (old)
                        *link = old->next;
        } else if (old && old->kind == YAML_MAP && fresh->kind == YAML_MAP) {
                fresh->under = old;
                fresh->queue = *queue;
                *queue = fresh;
        } else if (old && old->kind == YAML_LIST && fresh->append) {
                if (old->last)
                        old->last->next = fresh->first;
                else
                        old->first = fresh->first;
                if (fresh->last)
                        old->last = fresh->last;
        } else {
                fresh->next = old ? old->next : NULL;
                *link = fresh;
        }
}

void yaml_merge(struct yaml_node *base, struct yaml_node *over)
{
        struct yaml_node *queue = over; /* pairs of maps still to be merged */

        over->under = base;
        over->queue = NULL;

        while (queue) {
                struct yaml_node *map = queue;

                queue = map->queue;
                for (struct yaml_node *m = map->first, *after; m; m = after) {
                        after = m->next;
                        merge_member(map->under, m, &queue);
                }
                find_last(map->under);
        }
}

void yaml_complaints_done(struct yaml_complaints *c)
{
        buf_done(&c->text);
}

__attribute__((format(printf, 5, 0)))
static void complain_at(struct yaml_complaints *c, const struct yaml_node *node, unsigned line, unsigned column,
                        const char *format, va_list args)
{
        size_t start = c->text.len;

        if (c->count++ >= YAML_COMPLAINTS_MAX)
                return;
        if (buf_printf(&c->text, NULL, "%s:%u:%u: ", node->file, line, column) < 0 ||
            buf_vprintf(&c->text, format, args, NULL) < 0 || buf_add(&c->text, "\n", 1, NULL) < 0) {
                c->out_of_memory = true;
                return;
        }
        for (size_t i = start; i + 1 < c->text.len; i++)        /* what is quoted must not break the line */
                if ((unsigned char) c->text.data[i] < 0x20)
                        c->text.data[i] = '?';
}

void yaml_complain(struct yaml_complaints *c, const struct yaml_node *node, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        complain_at(c, node, node->line, node->column, format, args);
        va_end(args);
}

void yaml_complain_key(struct yaml_complaints *c, const struct yaml_node *node, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        if (node->key)
                complain_at(c, node, node->key_line, node->key_column, format, args);
        else
                complain_at(c, node, node->line, node->column, format, args);
        va_end(args);
}

int yaml_complaints_end(const struct yaml_complaints *c, struct cringle_err *err)
{
        int n;

        if (c->out_of_memory)
                return err_oom(err);
        if (!c->count)
                return 0;

        n = (int) strcspn(c->text.data, "\n");
        if (c->count == 1)
                return err_set(err, CRINGLE_E_INVALID, "%.*s", n, c->text.data);
        return err_set(err, CRINGLE_E_INVALID, "%.*s (and %zu more)", n, c->text.data, c->count - 1);
}

bool yaml_is_plain(const char *text)
{
        static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.@+-";

        if (!*text || strchr("-@+.", *text) || strcmp(text, "null") == 0)
                return false;
        for (const char *at = text; *at; at++)
                if (!strchr(safe, *at) && !(*at == ':' && at != text && at[1] && strchr(safe, at[1])))
                        return false;

        return true;
}

int yaml_write(const char *text, struct buf *ret, struct cringle_err *err)
{
        if (yaml_is_plain(text))
                return buf_add_str(ret, text, err);

        if (buf_add(ret, "\"", 1, err) < 0)
                return -1;
        for (const char *at = text; *at; at++) {
                int result;

                if (*at == '"' || *at == '\\')
                        result = buf_printf(ret, err, "\\%c", *at);
                else if ((unsigned char) *at < 0x20 || *at == 0x7f)
                        result = buf_printf(ret, err, "\\x%02x", (unsigned char) *at);
                else
                        result = buf_add(ret, at, 1, err);
                if (result < 0)
                        return -1;
        }
        return buf_add(ret, "\"", 1, err);
}
