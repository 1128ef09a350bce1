/* The examples of docs/HOOKS.md are what the configuration, hooks.d and CDI take. */

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "config/config.h"
#include "hooks/cdi.h"
#include "hooks/dir.h"

static char *dir, *page;

static int setup(void **state)
{
        auto_buf text = BUF_INIT;

        dir = unit_make_dir();
        assert_ok(file_read(CRINGLE_SOURCE_DIR "/docs/HOOKS.md", 1 << 20, &text, unit_err()), unit_err());
        page = buf_steal(&text);
        return 0;
}

static int teardown(void **state)
{
        int result = file_remove_tree(dir, unit_err());

        free(dir);
        free(page);
        return result;
}

/* Write the next block of code in @language from *@at on as the file @name of the test's directory; its path, or NULL. */
static char *next_example(const char **at, const char *language, const char *name)
{
        auto_free char *open = str_printf(NULL, "\n```%s\n", language);
        const char *begin = strstr(*at, open), *end;
        char *path;

        if (!begin)
                return NULL;
        begin += strlen(open);
        end = strstr(begin, "\n```\n");
        assert_non_null(end);
        path = str_printf(NULL, "%s/%s", dir, name);
        assert_ok(file_replace(path, begin, (size_t) (end + 1 - begin), 0644, false, unit_err()), unit_err());
        *at = end;
        return path;
}

static void the_configurations_are_valid(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        const char *at = page;
        size_t declared = 0, plugins = 0;
        char *path;

        while ((path = next_example(&at, "yaml", "config.yaml"))) {
                auto_of(config) c = NULL;

                assert_ok(config_load(path, NULL, &c, &err), &err);
                declared += c->hooks.n_yaml;
                plugins += c->hooks.n_plugins;
                free(path);
        }
        assert_int_equal(declared, 2);
        assert_int_equal(plugins, 8);
}

static void the_hook_files_are_in_force(void **state)
{
        const char *const dirs[] = { dir, NULL };
        struct rules rules = { 0 };
        const char *at = page;
        char name[32], *path;
        size_t n = 0;

        do {
                snprintf(name, sizeof name, "%zu.json", n++);
                path = next_example(&at, "json", name);
                free(path);
        } while (path);
        assert_ok(dir_read(dirs, &rules, unit_err()), unit_err());
        assert_int_equal(rules.n, 2);
        for (size_t i = 0; i < rules.n; i++)
                if (rules.list[i].error)
                        fail_msg("example %zu: %s", i, rules.list[i].error);
        assert_int_equal(rules.list[0].combine, COMBINE_AND);
        assert_int_equal(rules.list[1].combine, COMBINE_OR);
        rules_done(&rules);
}

static void the_device_file_is_in_force(void **state)
{
        const char *const dirs[] = { dir, NULL };
        const char *at = page;
        auto_free char *path = next_example(&at, "yaml cdi", "acme.yaml");
        struct cdi cdi = { 0 };

        assert_non_null(path);
        assert_ok(cdi_read(dirs, &cdi, unit_err()), unit_err());
        assert_non_null(map_get(&cdi.by_name, "acme.com/gadget=zero"));
        cdi_done(&cdi);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(the_configurations_are_valid),
        TEST(the_hook_files_are_in_force),
        TEST(the_device_file_is_in_force))
