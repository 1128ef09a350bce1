/*
 * hooks.d: which files count, in which order, what their conditions hold for, and
 * that nothing in a bad one harms another
 */

#include "tests/support/unit.h"

#include <sys/stat.h>

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/own.h"
#include "hooks/dir.h"

#define HOOK(name) "{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/bin/sh\", \"args\": [\"" name "\"]}, " \
                   "\"when\": {\"always\": true}, \"stages\": [\"prestart\"]}"

struct fixture {
        char *top, *low, *high;
        const char *dirs[3];
        struct rules rules;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        f->top = unit_make_dir();
        f->low = str_printf(NULL, "%s/low", f->top);
        f->high = str_printf(NULL, "%s/high", f->top);
        f->dirs[0] = f->low;
        f->dirs[1] = f->high;
        *state = f;
        return mkdir(f->low, 0755) < 0 || mkdir(f->high, 0755) < 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        rules_done(&f->rules);
        file_remove_tree(f->top, NULL);
        free(f->low);
        free(f->high);
        free(f->top);
        free(f);
        return 0;
}

static void put(const char *dir, const char *name, const char *text)
{
        auto_free char *path = str_printf(NULL, "%s/%s", dir, name);

        assert_ok(file_replace(path, text, strlen(text), 0644, false, unit_err()), unit_err());
}

static const struct rules *read_all(struct fixture *f)
{
        rules_done(&f->rules);
        assert_ok(dir_read(f->dirs, &f->rules, unit_err()), unit_err());
        return &f->rules;
}

/* The one rule that @text makes. */
static const struct rule *rule_of(struct fixture *f, const char *text)
{
        put(f->low, "one.json", text);
        assert_int_equal(read_all(f)->n, 1);
        return &f->rules.list[0];
}

static const struct rule *sound(struct fixture *f, const char *text)
{
        const struct rule *r = rule_of(f, text);

        if (r->error)
                fail_msg("%s: %s", text, r->error);
        return r;
}

/* --- files --- */

static void a_missing_directory_is_an_empty_one(void **state)
{
        struct fixture *f = *state;
        auto_free char *missing = str_printf(NULL, "%s/missing", f->top);

        put(f->low, "a.json", HOOK("a"));
        f->dirs[1] = missing;
        assert_int_equal(read_all(f)->n, 1);
        assert_null(f->rules.list[0].error);
}

static void what_is_there_but_is_no_directory_is_told(void **state)
{
        struct fixture *f = *state;
        auto_free char *file = str_printf(NULL, "%s/file", f->top);

        put(f->top, "file", "");
        put(f->low, "a.json", HOOK("a"));
        f->dirs[1] = file;
        assert_int_equal(read_all(f)->n, 2);
        assert_string_equal(f->rules.list[0].origin, file);
        assert_string_equal(f->rules.list[0].error, "Not a directory");
        assert_null(f->rules.list[1].error);
}

static void names_are_ordered_in_lower_case(void **state)
{
        static const char *const order[] = { "-.json", "10.json", "2.json", "A.json", "a.json", "aB.json", "Ab_.json",
                                             "B.json", "\xc3\xa4.json" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof order / sizeof *order; i++)
                put(i % 2 ? f->low : f->high, order[i], HOOK("x"));
        assert_int_equal(read_all(f)->n, sizeof order / sizeof *order);
        for (size_t i = 0; i < f->rules.n; i++)
                assert_string_equal(f->rules.list[i].name, order[i]);
}

static void only_json_files_count(void **state)
{
        struct fixture *f = *state;

        put(f->low, "a.json", HOOK("a"));
        put(f->low, "a.json.new", HOOK("a"));
        put(f->low, ".hidden.json", HOOK("a"));
        put(f->low, "README", "no JSON");
        put(f->low, "json", "");
        assert_int_equal(read_all(f)->n, 1);
}

static void a_later_directory_masks_by_name(void **state)
{
        struct fixture *f = *state;

        put(f->low, "a.json", HOOK("low"));
        put(f->low, "b.json", HOOK("low"));
        put(f->high, "a.json", HOOK("high"));
        assert_int_equal(read_all(f)->n, 2);
        assert_string_equal(f->rules.list[0].args[0], "high");
        assert_string_equal(f->rules.list[1].args[0], "low");

        put(f->high, "a.json", "not even JSON");
        read_all(f);
        assert_non_null(f->rules.list[0].error);
        assert_true(str_starts(f->rules.list[0].origin, f->high));
        assert_null(f->rules.list[1].error);
}

static void a_link_is_followed_and_a_pipe_is_not_waited_for(void **state)
{
        struct fixture *f = *state;
        auto_free char *link = str_printf(NULL, "%s/link.json", f->low), *pipe = str_printf(NULL, "%s/pipe.json", f->low);
        auto_free char *target = str_printf(NULL, "%s/target", f->top), *dir = str_printf(NULL, "%s/dir.json", f->low);

        assert_int_equal(symlink(target, link), 0);
        assert_int_equal(mkfifo(pipe, 0600), 0);
        assert_int_equal(mkdir(dir, 0755), 0);
        assert_int_equal(read_all(f)->n, 3);
        assert_string_equal(f->rules.list[0].error, "not a regular file");
        assert_string_equal(f->rules.list[1].error, "open: No such file or directory");
        assert_string_equal(f->rules.list[2].error, "not a regular file");

        put(f->top, "target", HOOK("a"));
        assert_null(read_all(f)->list[1].error);
}

static void only_what_root_alone_can_write_counts(void **state)
{
        struct fixture *f = *state;
        auto_free char *path = str_printf(NULL, "%s/one.json", f->low);

        sound(f, HOOK("a"));
        assert_int_equal(chmod(path, 0664), 0);
        assert_contains(read_all(f)->list[0].error, "found one of uid 0, mode 0664");
        assert_int_equal(chmod(path, 0644), 0);
        assert_int_equal(chown(path, 1000, 0), 0);
        assert_contains(read_all(f)->list[0].error, "found one of uid 1000, mode 0644");
}

/* --- schema 1.0.0 --- */

static void everything_of_1_0_0_is_read(void **state)
{
        const struct rule *r = sound(*state, "{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/bin/sh\", "
                                             "\"args\": [\"sh\", \"-c\", \"true\"], \"env\": [\"A=1\", \"B=\"], \"timeout\": 7}, "
                                             "\"when\": {\"annotations\": {\"^k$\": \"v\"}, \"commands\": [\"a\", \"b\"], "
                                             "\"hasBindMounts\": true}, \"stages\": [\"poststop\", \"prestart\", \"createRuntime\", "
                                             "\"createContainer\", \"startContainer\", \"poststart\"], \"comment\": [\"free\"]}");

        assert_string_equal(r->path, "/bin/sh");
        assert_string_equal(r->args[2], "true");
        assert_null(r->args[3]);
        assert_string_equal(r->env[1], "B=");
        assert_int_equal(r->timeout, 7);
        assert_int_equal(r->stages, (1u << STAGES) - 1);
        assert_int_equal(r->always, -1);
        assert_int_equal(r->has_bind_mounts, 1);
        assert_string_equal(r->annotation_keys.texts[0], "^k$");
        assert_int_equal(r->commands.n, 2);
        assert_int_equal(r->combine, COMBINE_AND);
        assert_false(r->ignore);
}

static void what_is_wrong_is_named(void **state)
{
        static const struct {
                const char *text, *error;
        } cases[] = {
                { "", "bad JSON at byte 0" },
                { "[]", "not a JSON object" },
                { "null", "not a JSON object" },
                { "{\"version\": \"2.0.0\"}", "unknown version '2.0.0'" },
                { "{\"version\": 1}", "'version' is int, want string" },
                { "{\"version\": \"1.0.0\"}", "no 'hook'" },
                { "{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/bin/sh\"}}", "no 'when'" },
                { "{\"version\": \"1.0.0\", \"hook\": \"/bin/sh\", \"when\": {\"always\": true}}", "'hook' is string, want object" },
                { "{\"version\": \"1.0.0\", \"hook\": {}, \"when\": {\"always\": true}, \"stages\": [\"prestart\"]}", "no 'hook.path'" },
#define WITH(hook, when, stages) "{\"version\": \"1.0.0\", \"hook\": {" hook "}, \"when\": {" when "}, \"stages\": " stages "}"
                { WITH("\"path\": \"bin/sh\"", "\"always\": true", "[\"prestart\"]"), "path 'bin/sh' is not absolute" },
                { WITH("\"path\": \"/nowhere/hook\"", "\"always\": true", "[\"prestart\"]"),
                  "hook.path /nowhere/hook: No such file or directory" },
                { WITH("\"path\": \"/bin/sh\\u0000x\"", "\"always\": true", "[\"prestart\"]"), "'path' contains a NUL" },
                { WITH("\"path\": \"/bin/sh\", \"timeout\": 0", "\"always\": true", "[\"prestart\"]"), "timeout 0 is not within" },
                { WITH("\"path\": \"/bin/sh\", \"timeout\": -5", "\"always\": true", "[\"prestart\"]"), "timeout -5 is not within" },
                { WITH("\"path\": \"/bin/sh\", \"timeout\": 99999999999", "\"always\": true", "[\"prestart\"]"), "is not within" },
                { WITH("\"path\": \"/bin/sh\", \"timeout\": \"5\"", "\"always\": true", "[\"prestart\"]"), "'timeout' is string" },
                { WITH("\"path\": \"/bin/sh\", \"env\": [\"PATH\"]", "\"always\": true", "[\"prestart\"]"), "'PATH' is not NAME=VALUE" },
                { WITH("\"path\": \"/bin/sh\", \"env\": [\"=x\"]", "\"always\": true", "[\"prestart\"]"), "'=x' is not NAME=VALUE" },
                { WITH("\"path\": \"/bin/sh\", \"args\": [1]", "\"always\": true", "[\"prestart\"]"), "'args[0]' is not a string" },
                { WITH("\"path\": \"/bin/sh\"", "", "[\"prestart\"]"), "'when' has no condition" },
                { WITH("\"path\": \"/bin/sh\"", "\"hasBindMount\": true", "[\"prestart\"]"), "unknown member 'hasBindMount' in 'when'" },
                { WITH("\"path\": \"/bin/sh\"", "\"always\": \"yes\"", "[\"prestart\"]"), "'always' is string, want boolean" },
                { WITH("\"path\": \"/bin/sh\"", "\"annotations\": {\"a\": 1}", "[\"prestart\"]"), "annotation 'a' is not a string" },
                { WITH("\"path\": \"/bin/sh\"", "\"annotations\": [\"a\"]", "[\"prestart\"]"), "'annotations' is array, want object" },
                { WITH("\"path\": \"/bin/sh\"", "\"annotations\": {\"(\": \"a\"}", "[\"prestart\"]"), "pattern '('" },
                { WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"a\", \"[\"]", "[\"prestart\"]"), "commands: pattern '['" },
                { WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"(a)\\\\1\"]", "[\"prestart\"]"), "back-references are not supported" },
                { WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"((a{999}){999}){999}\"]", "[\"prestart\"]"), "repeats too much" },
                { WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"a++++++++++++++++++++\"]", "[\"prestart\"]"), "repeats too much" },
                { WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"a{0,4294967297}\"]", "[\"prestart\"]"), "repeats too much" },
                { WITH("\"path\": \"/bin/sh\"", "\"always\": true", "[]"), "no 'stages'" },
                { WITH("\"path\": \"/bin/sh\"", "\"always\": true", "[\"precreate\"]"), "unknown stage 'precreate'" },
                { WITH("\"path\": \"/bin/sh\"", "\"always\": true", "[\"PreStart\"]"), "unknown stage 'PreStart'" },
                { WITH("\"path\": \"/bin/sh\"", "\"always\": true", "\"prestart\""), "'stages' is string, want array" },
                { "{\"hook\": {\"path\": \"/bin/sh\"}}", "'hook' is object, want string" },
                { "{\"stages\": [\"prestart\"]}", "no 'hook'" },
                { "{\"hook\": \"/bin/sh\"}", "no 'stages'" },
                { "{\"hook\": \"sh\", \"stages\": [\"prestart\"]}", "path 'sh' is not absolute" },
                { "{\"hook\": \"/nowhere\", \"stages\": [\"prestart\"]}", "hook.path /nowhere" },
                { "{\"hook\": \"/bin/sh\", \"stages\": [\"prestart\"], \"cmds\": [\"*(\"]}", "cmds: pattern" },
        };
        struct fixture *f = *state;

        put(f->low, "zz.json", HOOK("good"));
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                put(f->high, "bad.json", cases[i].text);
                assert_int_equal(read_all(f)->n, 2);
                if (!f->rules.list[0].error)
                        fail_msg("accepted: %s", cases[i].text);
                assert_contains(f->rules.list[0].error, cases[i].error);
                assert_null(f->rules.list[1].error);
                assert_false(rule_matches(&f->rules.list[0], &(struct rule_subject) { .command = "sh" }));
        }
}

/* Every prefix of a good file, and every file with one byte changed, is read or refused; nothing else happens. */
static void garbage_harms_nobody(void **state)
{
        static const char good[] = WITH("\"path\": \"/bin/sh\", \"args\": [\"a\"], \"timeout\": 3",
                                        "\"annotations\": {\"^a.b$\": \"(x|y)+\"}", "[\"prestart\", \"poststop\"]");
        static const char bytes[] = "\0\"{}[]\\9-\xff(";
        struct fixture *f = *state;
        auto_free char *path = str_printf(NULL, "%s/bad.json", f->low);
        size_t refused = 0;

        put(f->high, "good.json", HOOK("good"));
        for (size_t i = 0; i < sizeof good - 1; i++)
                for (size_t k = 0; k < sizeof bytes; k++) {
                        auto_free char *text = strdup(good);
                        size_t n = k < sizeof bytes - 1 ? sizeof good - 1 : i;

                        if (k < sizeof bytes - 1)
                                text[i] = bytes[k];
                        assert_ok(file_replace(path, text, n, 0644, false, unit_err()), unit_err());
                        assert_int_equal(read_all(f)->n, 2);
                        refused += f->rules.list[0].error != NULL;
                        assert_null(f->rules.list[1].error);
                }
        assert_true(refused > sizeof good);
}

static void depth_and_size_are_bounded(void **state)
{
        struct fixture *f = *state;
        size_t n = (1 << 20) + 1;
        auto_free char *text = malloc(n + 1), *pattern = malloc(2048), *whole = NULL;

        memset(text, '[', n);
        text[n] = '\0';
        assert_contains(rule_of(f, text)->error, "larger than 1048576 bytes");
        text[n - 1] = '\0';
        assert_contains(rule_of(f, text)->error, "bad JSON");

        memset(pattern, '(', 2047);
        pattern[2047] = '\0';
        whole = str_printf(NULL, WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"%s\"]", "[\"prestart\"]"), pattern);
        assert_contains(rule_of(f, whole)->error, "a pattern of more than 1024 bytes");
        free(whole);
        pattern[0] = '\0';
        for (int i = 0; i < 40; i++)
                strcat(pattern, "(a");
        for (int i = 0; i < 40; i++)
                strcat(pattern, ")+");
        whole = str_printf(NULL, WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"%s\"]", "[\"prestart\"]"), pattern);
        assert_contains(rule_of(f, whole)->error, "repeats too much");
}

/* Each refused one took the C library seconds to minutes, or is the shortest of its kind. */
static void patterns_that_take_for_ever_are_refused(void **state)
{
        static const char whole[] = WITH("\"path\": \"/bin/sh\"", "\"commands\": [\"%s\"]", "[\"prestart\"]");
        static const char *const wrong[] = {
                "3*++++++++++++", "3.*+++++++++++", "(a*)+", "(a*|b*|c*){99}", "(|a)+", "(^|b){2}", "(a?b*)+", "((a*)b?){3,}",
                "(a*)(b*)+", "(a{0,3})+", "()+", "(\\\\b)+", "((a*|b*)+)+",
        };
        static const char *const right[] = {
                "([0-9]{1,3}[.]){3}[0-9]{1,3}", "^/(usr/)?bin/(ba)?sh$", "(a|b)+c*", "[)(+*]+", "[]*]+", "[^]*]+", "[[:alpha:]*]+",
                "\\\\(+",
                "(a+|b+)+", "((a*|b*)*x){9}", "x|y*", "(a*)*", "a++", "([a-z]+/)+[a-z]*",
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                auto_free char *text = str_printf(NULL, whole, wrong[i]);

                assert_contains(rule_of(f, text)->error, "what may match nothing");
        }
        for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
                auto_free char *text = str_printf(NULL, whole, right[i]);
                const char *error = rule_of(f, text)->error;

                if (error)
                        fail_msg("%s: %s", right[i], error);
        }
}

/* --- conditions --- */

static const struct cringle_pair annotated[] = { { "a.example/one", "red" }, { "b.example/two", "blue" }, { 0 } };
static const struct rule_subject plain = { .command = "/bin/cat", .space = "default", .image = "busybox" };
static const struct rule_subject rich = { .command = "/usr/bin/nginx", .space = "web", .image = "nginx:1",
                                          .annotations = annotated, .has_bind_mounts = true };

static void conditions_of_1_0_0_are_anded(void **state)
{
        static const struct {
                const char *when;
                bool plain, rich;
        } cases[] = {
                { "\"always\": true", true, true },
                { "\"always\": false", false, false },
                { "\"always\": false, \"hasBindMounts\": true, \"commands\": [\"nginx\"]", false, false },
                { "\"always\": true, \"commands\": [\"nginx\"]", false, true },         /* commands decide */
                { "\"annotations\": {}", false, false },                                /* nothing said, nothing matched */
                { "\"annotations\": {}, \"commands\": []", false, false },
                { "\"always\": null, \"commands\": []", false, false },
                { "\"hasBindMounts\": true", false, true },
                { "\"hasBindMounts\": false", false, false },
                { "\"hasBindMounts\": true, \"commands\": [\"cat\"]", false, false },
                { "\"commands\": [\"cat\", \"nginx\"]", true, true },
                { "\"commands\": [\"^cat\"]", false, false },
                { "\"commands\": [\"bin/(cat|dog)$\"]", true, false },
                { "\"annotations\": {\"one\": \"re\"}", false, true },                  /* unanchored */
                { "\"annotations\": {\"^one$\": \"red\"}", false, false },
                { "\"annotations\": {\"one\": \"blue\"}", false, false },               /* key and value of one annotation */
                { "\"annotations\": {\".*\": \"^blue$\"}", false, true },
                { "\"annotations\": {\"one\": \"red\", \"two\": \"blue\"}", false, true },
                { "\"annotations\": {\"one\": \"red\", \"two\": \"green\"}", false, false },
                { "\"annotations\": {\"one\": \"red\"}, \"hasBindMounts\": true, \"commands\": [\"nginx\"]", false, true },
                { "\"annotations\": {\"one\": \"red\"}, \"commands\": [\"cat\"]", false, false },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *text = str_printf(NULL, WITH("\"path\": \"/bin/sh\"", "%s", "[\"prestart\"]"), cases[i].when);
                const struct rule *r = sound(f, text);

                if (rule_matches(r, &plain) != cases[i].plain || rule_matches(r, &rich) != cases[i].rich)
                        fail_msg("%s", cases[i].when);
        }
}

static void conditions_of_0_1_0_are_ored(void **state)
{
        static const struct {
                const char *members;
                bool plain, rich;
        } cases[] = {
                { "\"version\": \"0.1.0\"", false, false },
                { "\"cmds\": [\"cat\"]", true, false },
                { "\"cmd\": [\"dog\", \"cat\"]", true, false },
                { "\"annotations\": [\"^blue$\"]", false, true },
                { "\"annotation\": [\"green\", \"red\"]", false, true },
                { "\"annotation\": [\"example\"]", false, false },                      /* values alone */
                { "\"hasbindmounts\": true", false, true },
                { "\"hasbindmounts\": false", false, false },
                { "\"hasbindmounts\": false, \"cmds\": [\"cat\"]", true, false },
                { "\"hasbindmounts\": true, \"cmds\": [\"cat\"]", true, true },
                { "\"annotations\": [\"nothing\"], \"cmds\": [\"nginx\"]", false, true },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *text = str_printf(NULL, "{\"hook\": \"/bin/sh\", \"stage\": [\"poststop\"], %s}", cases[i].members);
                const struct rule *r = sound(f, text);

                assert_int_equal(r->stages, 1u << STAGE_POSTSTOP);
                if (rule_matches(r, &plain) != cases[i].plain || rule_matches(r, &rich) != cases[i].rich)
                        fail_msg("%s", cases[i].members);
        }
}

static void arguments_of_0_1_0_come_after_the_path(void **state)
{
        const struct rule *r = sound(*state, "{\"hook\": \"/bin/sh\", \"arguments\": [\"-c\", \"true\"], "
                                             "\"stages\": [\"prestart\", \"poststart\"], \"cmds\": [\".\"]}");

        assert_string_equal(r->args[0], "/bin/sh");
        assert_string_equal(r->args[1], "-c");
        assert_string_equal(r->args[2], "true");
        assert_null(r->args[3]);
        assert_int_equal(r->stages, 1u << STAGE_PRESTART | 1u << STAGE_POSTSTART);
}

static void conditions_are_described_in_one_line(void **state)
{
        static const struct {
                const char *text, *described;
        } cases[] = {
                { WITH("\"path\": \"/bin/sh\"", "\"always\": true", "[\"prestart\"]"), "always" },
                { WITH("\"path\": \"/bin/sh\"", "\"always\": false", "[\"prestart\"]"), "never" },
                { WITH("\"path\": \"/bin/sh\"", "\"annotations\": {}", "[\"prestart\"]"), "never" },
                { WITH("\"path\": \"/bin/sh\"", "\"annotations\": {\"a\": \"b\"}, \"commands\": [\"c\", \"d\"], \"hasBindMounts\": true",
                       "[\"prestart\"]"), "bind mounts, annotation a=b, command c|d" },
                { "{\"hook\": \"/bin/sh\", \"stage\": [\"poststop\"], \"annotation\": [\"b\"], \"cmd\": [\"c\"]}",
                  "annotation .*=b, command c (any)" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_buf b = BUF_INIT;

                assert_int_equal(rule_describe(sound(*state, cases[i].text), &b, unit_err()), 0);
                assert_string_equal(b.data, cases[i].described);
        }
}

/* --- changes --- */

static uint64_t stamp(struct fixture *f)
{
        bool settled;

        return dir_stamp(f->dirs, &settled);
}

static void every_change_changes_the_stamp(void **state)
{
        struct fixture *f = *state;
        auto_free char *two = str_printf(NULL, "%s/two.json", f->low);
        auto_free char *aside = str_printf(NULL, "%s/aside", f->top);
        uint64_t before = stamp(f), with_one, with_both;

        put(f->low, "one.json", HOOK("1"));
        with_one = stamp(f);
        assert_true(with_one != before);
        put(f->low, "two.json", HOOK("2"));
        with_both = stamp(f);
        assert_true(with_both != with_one);
        put(f->low, "two.json", HOOK("3"));             /* of the same size */
        assert_true(stamp(f) != with_both);
        with_both = stamp(f);
        assert_int_equal(unlink(two), 0);
        assert_true(stamp(f) != with_both);

        before = stamp(f);
        assert_int_equal(rename(f->low, aside), 0);
        assert_true(stamp(f) != before);
        assert_int_equal(mkdir(f->low, 0755), 0);
        put(f->low, "one.json", HOOK("1"));
        assert_true(stamp(f) != before);

        before = stamp(f);
        assert_true(stamp(f) == before);
}

static void a_stamp_is_not_settled_right_after_a_change(void **state)
{
        struct fixture *f = *state;
        bool settled;

        put(f->low, "one.json", HOOK("1"));
        dir_stamp(f->dirs, &settled);
        assert_false(settled);
        usleep(100 * 1000);
        dir_stamp(f->dirs, &settled);
        assert_true(settled);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_missing_directory_is_an_empty_one),
        TEST(what_is_there_but_is_no_directory_is_told),
        TEST(names_are_ordered_in_lower_case),
        TEST(only_json_files_count),
        TEST(a_later_directory_masks_by_name),
        TEST(a_link_is_followed_and_a_pipe_is_not_waited_for),
        TEST(only_what_root_alone_can_write_counts),
        TEST(everything_of_1_0_0_is_read),
        TEST(what_is_wrong_is_named),
        TEST(garbage_harms_nobody),
        TEST(depth_and_size_are_bounded),
        TEST(patterns_that_take_for_ever_are_refused),
        TEST(conditions_of_1_0_0_are_anded),
        TEST(conditions_of_0_1_0_are_ored),
        TEST(arguments_of_0_1_0_come_after_the_path),
        TEST(conditions_are_described_in_one_line),
        TEST(every_change_changes_the_stamp),
        TEST(a_stamp_is_not_settled_right_after_a_change))
