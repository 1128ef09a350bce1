/*
 * Regular expressions that may be handed to the C library; see pattern.h.
 *
 * The expression is read once, from left to right, with a stack of its open groups.
 */

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/pattern.h"

#define COPIES_MAX 32767

/* A group that is open, or the whole: what is known of it so far. */
struct group {
        bool before;                    /* this branch, without its last part, may match nothing */
        bool last;                      /* so may its last part */
        bool branches;                  /* so may one of the branches before it */
};

static const struct group opened = { true, true, false };

struct reader {
        struct group groups[PATTERN_MAX + 1];
        size_t depth;
        size_t copies;
};

static struct group *top(struct reader *r)
{
        return &r->groups[r->depth];
}

static void add_part(struct reader *r, bool may_be_nothing)
{
        struct group *g = top(r);

        g->before &= g->last;
        g->last = may_be_nothing;
}

static void end_branch(struct reader *r)
{
        struct group *g = top(r);

        g->branches |= g->before && g->last;
        g->before = g->last = true;
}

static void close_group(struct reader *r)
{
        end_branch(r);
        r->depth--;
        add_part(r, r->groups[r->depth + 1].branches);
}

/* The last byte of the bracket expression that begins at @at, or of the text where it has no end. */
static const char *end_of_bracket(const char *at)
{
        at += at[1] == '^';
        at += at[1] == ']';
        while (at[1] && at[1] != ']') {
                at++;
                if (*at == '[' && at[1] && strchr(":.=", at[1])) {
                        const char end[] = { at[1], ']', '\0' }, *found = strstr(at + 2, end);

                        if (found)
                                at = found + 1;
                }
        }
        return at[1] ? at + 1 : at;
}

/* How often "{least,most}" at @at copies what is before it; more than COPIES_MAX: too often. */
static size_t copies_of(const char *at, bool *ret_optional)
{
        const char *comma = at + 1 + strspn(at + 1, "0123456789");
        unsigned long least = strtoul(at + 1, NULL, 10);
        unsigned long most = *comma == ',' ? strtoul(comma + 1, NULL, 10) : 0;

        *ret_optional = least == 0;
        if (least > COPIES_MAX || most > COPIES_MAX)
                return COPIES_MAX + 1;
        return most > least ? most : least ? least : 1;
}

static int repeat(struct reader *r, size_t copies, const char *text, struct cringle_err *err)
{
        if (top(r)->last)
                return err_set(err, CRINGLE_E_INVALID,
                               "pattern '%.200s' has '+' or '{' behind what may match nothing, which '*' does as well", text);
        r->copies *= copies;
        return r->copies <= COPIES_MAX ? 0 : err_set(err, CRINGLE_E_INVALID, "pattern '%.200s' repeats too much", text);
}

/* Behind a backslash. */
static int escaped(struct reader *r, char c, const char *text, struct cringle_err *err)
{
        if (isdigit((unsigned char) c))
                return err_set(err, CRINGLE_E_INVALID, "pattern '%.200s': back-references are not supported", text);
        add_part(r, c && strchr("bB<>`'", c));
        return 0;
}

static int read_all(struct reader *r, const char *text, struct cringle_err *err)
{
        for (const char *at = text; *at; at++) {
                bool optional = false;
                int result = 0;

                switch (*at) {
                case '\\':
                        result = escaped(r, at[1], text, err);
                        at += at[1] != '\0';
                        break;
                case '[':
                        at = end_of_bracket(at);
                        add_part(r, false);
                        break;
                case '(':
                        r->groups[++r->depth] = opened;
                        break;
                case ')':
                        if (r->depth > 0)
                                close_group(r);
                        else
                                add_part(r, false);
                        break;
                case '|':
                        end_branch(r);
                        break;
                case '^':
                case '$':
                        add_part(r, true);
                        break;
                case '*':
                case '?':
                        top(r)->last = true;
                        break;
                case '+':
                        /* Of one character it makes but one more. */
                        result = repeat(r, at > text && strchr(")}+", at[-1]) ? 2 : 1, text, err);
                        break;
                case '{':
                        if (!isdigit((unsigned char) at[1]) && at[1] != ',') {
                                add_part(r, false);
                                break;
                        }
                        result = repeat(r, copies_of(at, &optional), text, err);
                        top(r)->last |= optional;
                        at += strcspn(at, "}");
                        at -= *at == '\0';
                        break;
                default:
                        add_part(r, false);
                }
                if (result < 0)
                        return -1;
        }
        return 0;
}

int pattern_check(const char *text, struct cringle_err *err)
{
        struct reader r = { .groups = { opened }, .copies = 1 };

        if (strlen(text) > PATTERN_MAX)
                return err_set(err, CRINGLE_E_INVALID, "a pattern of more than %d bytes", PATTERN_MAX);
        return read_all(&r, text, err);
}
