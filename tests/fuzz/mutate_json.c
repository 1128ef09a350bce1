/*
 * Mutations of JSON that stay JSON
 *
 * A byte changed in a document mostly breaks it, and nothing behind the parser is ever reached.  So three
 * times of four one value of the document is changed, dropped, doubled or replaced by another of its values.
 *
 * The text itself is cut and pasted: to make a tree of it and write that again takes longer than most harnesses do, and
 * a tree has no member twice.  What only looks like JSON is cut like JSON.
 */

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t n_one, const uint8_t *two, size_t n_two, uint8_t *out,
                                 size_t max_out, unsigned seed);

#define PLACES_MAX 2000
#define DEPTH 64
#define PIECE_MAX 8192

/* Where a value stands in the text; a member of an object begins with its key, anything else with the value. */
struct place {
        size_t at, value, end;
};

static struct place places[PLACES_MAX];
static size_t n_places;

/* A text that is being changed. */
struct text {
        uint8_t *data;
        size_t size, room;
};

/* What is put into it. */
struct piece {
        size_t n;
        uint8_t bytes[PIECE_MAX];
};

/* --- what is where --- */

static size_t skip_blanks(const uint8_t *data, size_t size, size_t at)
{
        while (at < size && data[at] && strchr(" \t\r\n", data[at]))
                at++;
        return at;
}

/* Behind the string or word at @at; 0: there is none. */
static size_t skip_word(const uint8_t *data, size_t size, size_t at)
{
        size_t start = at;

        if (data[at] == '"') {
                for (at++; at < size && data[at] != '"'; at++)
                        at += data[at] == '\\';
                return at < size ? at + 1 : 0;
        }
        while (at < size && (isalnum(data[at]) || data[at] == '.' || data[at] == '-' || data[at] == '+'))
                at++;
        return at > start ? at : 0;
}

static bool add_place(size_t at, size_t value, size_t end)
{
        if (n_places == PLACES_MAX)
                return false;
        places[n_places++] = (struct place) { at, value, end };
        return true;
}

/* The places of a document, its top first. */
static bool collect(const uint8_t *data, size_t size)
{
        size_t open[DEPTH], depth = 0, key = size, at = 0;

        n_places = 0;
        do {
                size_t end, colon;

                at = skip_blanks(data, size, at);
                if (at >= size)
                        return false;
                if (data[at] == ',' && depth > 0) {
                        at++;
                } else if (data[at] == '{' || data[at] == '[') {
                        if (depth == DEPTH)
                                return false;
                        open[depth++] = n_places;
                        if (!add_place(key < size ? key : at, at, size))
                                return false;
                        key = size;
                        at++;
                } else if (data[at] == '}' || data[at] == ']') {
                        if (depth == 0 || data[places[open[depth - 1]].value] != (data[at] == '}' ? '{' : '['))
                                return false;
                        places[open[--depth]].end = ++at;
                } else {
                        end = skip_word(data, size, at);
                        if (end == 0)
                                return false;
                        colon = skip_blanks(data, size, end);
                        if (key == size && colon < size && data[colon] == ':') {
                                key = at;
                                at = colon + 1;
                                continue;
                        }
                        if (!add_place(key < size ? key : at, at, end))
                                return false;
                        key = size;
                        at = end;
                }
        } while (depth > 0);
        return n_places > 1 && skip_blanks(data, size, at) == size;
}

static const struct place *some_place(void)
{
        return &places[1 + (unsigned) rand() % (n_places - 1)];
}

/* --- cut and paste --- */

static bool add(struct piece *p, const void *bytes, size_t n)
{
        if (n > PIECE_MAX - p->n)
                return false;
        memcpy(p->bytes + p->n, bytes, n);
        p->n += n;
        return true;
}

/* @p in the place of what is from @at to @end. */
static bool paste(struct text *t, size_t at, size_t end, const struct piece *p)
{
        if (p->n > t->room || t->size - (end - at) > t->room - p->n)
                return false;
        memmove(t->data + at + p->n, t->data + end, t->size - end);
        memcpy(t->data + at, p->bytes, p->n);
        t->size += p->n;
        t->size -= end - at;
        return true;
}

/* With a comma of those beside it. */
static bool drop(struct text *t, const struct place *p)
{
        static const struct piece nothing;
        size_t at = p->at, end = skip_blanks(t->data, t->size, p->end);

        if (end < t->size && t->data[end] == ',') {
                end++;
        } else {
                end = p->end;
                while (at > 0 && strchr(" \t\r\n", t->data[at - 1]))
                        at--;
                at -= at > 0 && t->data[at - 1] == ',';
        }
        return paste(t, at, end, &nothing);
}

/* An element, or a member by its own or another's key. */
static bool double_it(struct text *t, const struct place *p, const struct place *other)
{
        const struct place *named = other->at < other->value ? other : p;
        struct piece piece;

        piece.n = 0;
        return add(&piece, ",", 1) &&
               (p->at == p->value || add(&piece, t->data + named->at, named->value - named->at)) &&
               add(&piece, t->data + p->value, p->end - p->value) && paste(t, p->end, p->end, &piece);
}

static bool replace(struct text *t, const struct place *p, const uint8_t *bytes, size_t n)
{
        struct piece piece;

        piece.n = 0;
        return add(&piece, bytes, n) && paste(t, p->value, p->end, &piece);
}

/* The length of the escape at @at; 0: it is none. */
static size_t escape(const uint8_t *text, size_t n, size_t at)
{
        if (text[at] != '\\' || at + 1 >= n)
                return 0;
        if (text[at + 1] && strchr("\"\\/bfnrt", text[at + 1]))
                return 2;
        if (text[at + 1] != 'u' || n - at < 6)
                return 0;
        for (size_t i = at + 2; i < at + 6; i++)
                if (!isxdigit(text[i]))
                        return 0;
        return 6;
}

/* A string, its bytes changed; what a string may not hold is escaped. */
static bool change_text(struct text *t, const struct place *p)
{
        uint8_t text[512];
        struct piece piece;
        size_t n = p->end - p->value - 2;
        bool fits;

        if (n > sizeof text / 2)
                n = sizeof text / 2;
        memcpy(text, t->data + p->value + 1, n);
        n = LLVMFuzzerMutate(text, n, sizeof text);
        piece.n = 0;
        fits = add(&piece, "\"", 1);
        for (size_t i = 0, some; fits && i < n; i += some) {
                char code[8];

                some = escape(text, n, i);
                if (some == 0 && (text[i] == '"' || text[i] == '\\' || text[i] < 0x20)) {
                        fits = add(&piece, code, (size_t) snprintf(code, sizeof code, "\\u%04x", text[i]));
                        some = 1;
                } else {
                        some = some ? some : 1;
                        fits = add(&piece, text + i, some);
                }
        }
        return fits && add(&piece, "\"", 1) && paste(t, p->value, p->end, &piece);
}

static bool change_value(struct text *t, const struct place *p)
{
        static const char *const values[] = {
                "0", "1", "-1", "2147483647", "2147483648", "4294967295", "4294967296", "9223372036854775807",
                "-9223372036854775808", "18446744073709551615", "1.5", "1e99", "true", "false", "null", "{}", "[]", "\"\"",
                "[null]", "[\"\"]", "[[]]", "[{}]", "\"\\u0000\"", "\"../..\"", "\"/\"", "\"a\\nb\"", "\"sha256:\"",
        };
        const char *value = values[(unsigned) rand() % (sizeof values / sizeof *values)];

        return replace(t, p, (const uint8_t *) value, strlen(value));
}

static bool change(struct text *t)
{
        const struct place *p = some_place(), *other = &places[(unsigned) rand() % n_places];
        unsigned how = (unsigned) rand() % 6;

        switch (how) {
        case 0:
                return drop(t, p);
        case 1:
                return double_it(t, p, other);
        case 2:
                return replace(t, p, t->data + other->value, other->end - other->value);
        default:
                return t->data[p->value] == '"' && how < 5 ? change_text(t, p) : change_value(t, p);
        }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
        struct text t = { data, size, max_size };

        srand(seed);
        if (seed % 4 && collect(data, size) && change(&t))
                return t.size;
        return LLVMFuzzerMutate(data, size, max_size);
}

/* The first document with a value of the second's; 0: it cannot be. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t n_one, const uint8_t *two, size_t n_two, uint8_t *out,
                                 size_t max_out, unsigned seed)
{
        struct text t = { out, n_one, max_out };
        struct place given;

        srand(seed);
        if (n_one > max_out || !collect(two, n_two))
                return 0;
        given = places[(unsigned) rand() % n_places];
        if (!collect(one, n_one))
                return 0;
        memcpy(out, one, n_one);
        return replace(&t, some_place(), two + given.value, given.end - given.value) ? t.size : 0;
}
