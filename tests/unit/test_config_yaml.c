/* YAML is read strictly and bounded: what could surprise or grow is refused with its position. */

#include "tests/support/unit.h"

#include "config/tree.h"

static void refused(const char *text, size_t n, const char *why)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct yaml_doc *doc = NULL;

        assert_int_equal(yaml_parse(text, n, "f", &doc, &err), -1);
        assert_null(doc);
        assert_contains(err.text, why);
}

static void what_could_surprise_is_refused(void **state)
{
        static const struct {
                const char *text, *why;
        } bad[] = {
                { "a: &x 1\n", "f:1:4: anchors are not supported" },
                { "a: &x [1]\n", "f:1:4: anchors are not supported" },
                { "a: &x {b: 1}\n", "f:1:4: anchors are not supported" },
                { "a: *x\n", "f:1:4: aliases are not supported" },
                { "a: 1\nb: 2\na: 3\n", "f:3:1: 'a' is there twice, first in line 1" },
                { "a: {b: 1, b: 2}\n", "f:1:11: 'b' is there twice" },
                { "a: 1\n---\nb: 2\n", "f:2:1: a second document" },
                { "a: !foo 1\n", "f:1:4: tag !foo" },
                { "a: !!str 1\n", "f:1:4: tag tag:yaml.org,2002:str" },
                { "a: !append {b: 1}\n", "f:1:4: tag !append" },
                { "? [a]\n: b\n", "f:1:3: a key must be a word" },
                { "a: [1\n", "f:2:1: while parsing a flow sequence" },
                { "a: \"x\\0y\"\n", "f:1:4: a zero byte" },
                { "\"x\\0y\": a\n", "f:1:1: a zero byte" },
                { "a: \xff\n", "f: byte 3" },
                { "\ta: 1\n", "f:1:1:" },
                { "%YAML 9.9\n---\na: 1\n", "f:1:1:" },
        };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                refused(bad[i].text, strlen(bad[i].text), bad[i].why);
}

static void depth_width_and_size_are_bounded(void **state)
{
        size_t n = YAML_SIZE_MAX + 1;
        auto_free char *text = malloc(n);

        memset(text, '[', n);
        refused(text, 1000, "nested deeper than 32");
        refused(text, YAML_SIZE_MAX, "nested deeper than 32");
        refused(text, n, "larger than");

        for (size_t i = 0; i + 4 <= 8192; i += 4)
                memcpy(text + i, "- a\n", 4);
        refused(text, 8192, "more than 1024 members");
        assert_non_null(text);
}

static void deep_but_not_too_deep_is_read(void **state)
{
        char text[2 * YAML_DEPTH_MAX];
        auto_of(yaml_doc) doc = NULL;
        const struct yaml_node *node;
        int depth = 0;

        memset(text, '[', YAML_DEPTH_MAX);
        memset(text + YAML_DEPTH_MAX, ']', YAML_DEPTH_MAX);
        assert_ok(yaml_parse(text, sizeof text, "f", &doc, unit_err()), unit_err());
        for (node = doc->root; node; node = node->first)
                depth++;
        assert_int_equal(depth, YAML_DEPTH_MAX);
}

static void nothing_is_no_document_and_null_is_plain_only(void **state)
{
        auto_of(yaml_doc) empty = NULL;
        auto_of(yaml_doc) doc = NULL;
        static const char text[] = "a: null\nb: 'null'\nc: ~\nd:\ne: ''\n";

        assert_ok(yaml_parse("", 0, "f", &empty, unit_err()), unit_err());
        assert_null(empty->root);
        assert_ok(yaml_parse(text, sizeof text - 1, "f", &doc, unit_err()), unit_err());
        assert_null(yaml_get(doc->root, "a"));
        assert_non_null(yaml_get(doc->root, "b"));
        assert_null(yaml_get(doc->root, "c"));
        assert_null(yaml_get(doc->root, "d"));
        assert_non_null(yaml_get(doc->root, "e"));
}

static void positions_are_those_of_the_file(void **state)
{
        auto_of(yaml_doc) doc = NULL;
        static const char text[] = "a:\n  - x\n  - bb: y\n";
        const struct yaml_node *second;

        assert_ok(yaml_parse(text, sizeof text - 1, "f", &doc, unit_err()), unit_err());
        second = yaml_get(doc->root, "a")->first->next;
        assert_int_equal(second->line, 3);
        assert_int_equal(second->column, 5);
        assert_int_equal(second->first->key_line, 3);
        assert_int_equal(second->first->column, 9);
}

static void any_string_reads_back_as_written(void **state)
{
        static const char *const strings[] = { "", "a", "null", "~", "a: b", "- a", "-", "#", "a #b", "x\ny\t\"\\", "{}",
                                               "[a]", "*a", "&a", "!a", "%a", "@a", "`", "'", "true", "1.5", "a:", ":a",
                                               "a:b", "\x01\x7f", "gr\xc3\xbc\xc3\x9f", " a ", "host:5000/x@sha256:ab" };

        for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
                auto_of(yaml_doc) doc = NULL;
                auto_buf text = BUF_INIT;

                assert_ok(buf_add_str(&text, "a: [", unit_err()), unit_err());
                assert_ok(yaml_write(strings[i], &text, unit_err()), unit_err());
                assert_ok(buf_add_str(&text, "]", unit_err()), unit_err());
                assert_ok(yaml_parse(text.data, text.len, "f", &doc, unit_err()), unit_err());
                assert_int_equal(doc->root->first->first->kind, YAML_SCALAR);
                assert_false(yaml_is_null(doc->root->first->first));
                assert_string_equal(doc->root->first->first->text, strings[i]);
        }
}

/* Any cut of a file, and any single wrong byte, is either read or refused; nothing else (the sanitizers watch). */
static void damaged_files_are_read_or_refused(void **state)
{
        static const char text[] = "a: {b: [1, 'x', \"y\\n\"], c: !append [z]}\nd: |\n  text\n  more\n? e\n: f\n";
        char copy[sizeof text];

        for (size_t n = 0; n < sizeof text; n++) {
                for (int byte = 0; byte < 256; byte += 5) {
                        auto_of(yaml_doc) doc = NULL;

                        memcpy(copy, text, sizeof text);
                        copy[n] = (char) byte;
                        if (yaml_parse(copy, byte ? sizeof text - 1 : n, "f", &doc, unit_err()) == 0 && doc->root)
                                assert_int_not_equal(doc->root->line, 0);
                }
        }
}

UNIT_MAIN(
        cmocka_unit_test(what_could_surprise_is_refused),
        cmocka_unit_test(depth_width_and_size_are_bounded),
        cmocka_unit_test(deep_but_not_too_deep_is_read),
        cmocka_unit_test(nothing_is_no_document_and_null_is_plain_only),
        cmocka_unit_test(positions_are_those_of_the_file),
        cmocka_unit_test(any_string_reads_back_as_written),
        cmocka_unit_test(damaged_files_are_read_or_refused))
