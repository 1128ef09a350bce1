/*
 * Mutations of JSON that stay JSON
 *
 * A byte changed in a document mostly breaks it, and nothing behind the parser is ever reached.  So three
 * times of four the document is taken apart, one value of it is changed, dropped, doubled or replaced by another of its
 * values, and it is written again.
 */

#include <stdbool.h>
#include <string.h>

#include <json-c/json.h>

#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t n_one, const uint8_t *two, size_t n_two, uint8_t *out,
                                 size_t max_out, unsigned seed);

#define NODES_MAX 2000
#define DEPTH 64

/* Where a value stands: a member of an object, or an element of an array. */
struct place {
        struct json_object *parent;
        const char *key;                /* NULL: of an array */
        size_t index;
        struct json_object *value;
};

static struct place places[NODES_MAX];
static size_t n_places;

static void collect(struct json_object *top)
{
        n_places = 0;
        places[n_places++] = (struct place) { .value = top };
        for (size_t i = 0; i < n_places; i++) {
                struct json_object *o = places[i].value;

                if (json_object_is_type(o, json_type_object)) {
                        json_object_object_foreach(o, key, member)
                                if (n_places < NODES_MAX)
                                        places[n_places++] = (struct place) { o, key, 0, member };
                } else if (json_object_is_type(o, json_type_array)) {
                        for (size_t k = 0; k < json_object_array_length(o) && n_places < NODES_MAX; k++)
                                places[n_places++] = (struct place) { o, NULL, k, json_object_array_get_idx(o, k) };
                }
        }
}

static struct json_object *parse(const uint8_t *data, size_t size)
{
        struct json_tokener *t = json_tokener_new_ex(DEPTH);
        struct json_object *o = json_tokener_parse_ex(t, (const char *) data, (int) size);
        bool whole = json_tokener_get_error(t) == json_tokener_success;

        json_tokener_free(t);
        if (whole && o)
                return o;
        json_object_put(o);
        return NULL;
}

static struct json_object *copy_of(struct json_object *o)
{
        struct json_object *copy = NULL;

        json_object_deep_copy(o, &copy, NULL);
        return copy;
}

/* A string, its bytes changed. */
static struct json_object *changed_text(struct json_object *o)
{
        char text[512];
        size_t n = (size_t) json_object_get_string_len(o);

        if (n > sizeof text / 2)
                n = sizeof text / 2;
        memcpy(text, json_object_get_string(o), n);
        n = LLVMFuzzerMutate((uint8_t *) text, n, sizeof text);
        return json_object_new_string_len(text, (int) n);
}

static struct json_object *some_value(unsigned seed)
{
        static const char *const values[] = {
                "0", "1", "-1", "2147483647", "2147483648", "4294967295", "4294967296", "9223372036854775807",
                "-9223372036854775808", "18446744073709551615", "1.5", "1e99", "true", "false", "null", "{}", "[]", "\"\"",
                "[null]", "[\"\"]", "[[]]", "[{}]", "\"\\u0000\"", "\"../..\"", "\"/\"", "\"a\\nb\"", "\"sha256:\"",
        };

        return json_tokener_parse(values[seed % (sizeof values / sizeof *values)]);
}

static void put(const struct place *p, struct json_object *value)
{
        if (p->key)
                json_object_object_add(p->parent, p->key, value);
        else
                json_object_array_put_idx(p->parent, p->index, value);
}

static void drop(const struct place *p)
{
        if (p->key)
                json_object_object_del(p->parent, p->key);
        else
                json_object_array_del_idx(p->parent, p->index, 1);
}

/* @at is not the top. */
static void change(const struct place *at, struct json_object *other, unsigned how)
{
        switch (how % 6) {
        case 0:
                drop(at);
                break;
        case 1:                         /* once more: an element, or the member by another's name */
                if (at->key)
                        json_object_object_add(at->parent, places[how / 6 % n_places].key ? places[how / 6 % n_places].key : "x",
                                               copy_of(at->value));
                else
                        json_object_array_add(at->parent, copy_of(at->value));
                break;
        case 2:
                put(at, copy_of(other));
                break;
        default:
                put(at, json_object_is_type(at->value, json_type_string) && how % 6 < 5 ? changed_text(at->value) :
                                                                                          some_value(how / 6));
        }
}

static size_t write_out(struct json_object *top, uint8_t *out, size_t room)
{
        const char *text = json_object_to_json_string_ext(top, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        size_t n = strlen(text);

        if (n > room)
                return 0;
        memcpy(out, text, n);
        return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
        struct json_object *top = seed % 4 ? parse(data, size) : NULL;
        size_t n = 0;

        srand(seed);
        if (top) {
                collect(top);
                if (n_places > 1)
                        change(&places[1 + (unsigned) rand() % (n_places - 1)], places[(unsigned) rand() % n_places].value,
                               (unsigned) rand());
                n = write_out(top, data, max_size);
                json_object_put(top);
        }
        return n ? n : LLVMFuzzerMutate(data, size, max_size);
}

/* The first document with a value of the second's. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t n_one, const uint8_t *two, size_t n_two, uint8_t *out,
                                 size_t max_out, unsigned seed)
{
        struct json_object *top = parse(one, n_one), *giver = parse(two, n_two);
        struct json_object *given = NULL;
        size_t n = 0;

        srand(seed);
        if (top && giver) {
                collect(giver);
                given = copy_of(places[(unsigned) rand() % n_places].value);
                collect(top);
                if (n_places > 1)
                        put(&places[1 + (unsigned) rand() % (n_places - 1)], given);
                else
                        json_object_put(given);
                n = write_out(top, out, max_out);
        }
        json_object_put(top);
        json_object_put(giver);
        return n;
}
