/* The configuration says what is wrong and where, merges as promised, and its documents match its schema. */

#include "tests/support/unit.h"

#include <sys/stat.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "config/config.h"
#include "config/schema.h"

static char *dir;

static int setup(void **state)
{
        auto_free char *conf_d = NULL;

        dir = unit_make_dir();
        conf_d = str_printf(NULL, "%s/conf.d", dir);
        return mkdir(conf_d, 0755);
}

static int teardown(void **state)
{
        int result = file_remove_tree(dir, unit_err());

        free(dir);
        return result;
}

/* The path of a file in the test's folder, written with @text if there is one; borrowed until the next call. */
static const char *file(const char *name, const char *text)
{
        static char path[256];

        snprintf(path, sizeof path, "%s/%s", dir, name);
        if (text)
                assert_ok(file_replace(path, text, strlen(text), 0644, false, unit_err()), unit_err());
        return path;
}

static struct config *load(const char *text)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct config *c = NULL;

        assert_ok(config_load(file("config.yaml", text), NULL, &c, &err), &err);
        return c;
}

/* That @text is refused with this complaint right behind the file's name. */
static void refused(const char *text, const char *complaint)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct config *c = NULL;
        const char *path = file("config.yaml", text);

        assert_int_equal(config_load(path, NULL, &c, &err), -1);
        assert_null(c);
        assert_true(str_starts(err.text, path));
        if (!str_starts(err.text + strlen(path), complaint))
                fail_msg("'%s' is not the complaint '%s'", err.text, complaint);
}

static void an_empty_file_gives_the_defaults(void **state)
{
        auto_of(config) c = load("# nothing\n");

        assert_string_equal(c->root, "/var/lib/cringle");
        assert_string_equal(c->socket, "/run/cringle/cringle.sock");
        assert_string_equal(c->image.name, "image-overlay");
        assert_null(c->image.settings);
        assert_string_equal(c->cni.bin_dirs[1], "/usr/lib/cni");
        assert_null(c->cni.bin_dirs[2]);
        assert_string_equal(c->cgroups.default_parent, "");
        assert_int_equal(c->images.progress_timeout, INT64_C(300000000000));
        assert_int_equal(c->images.max_layer_size, INT64_C(34359738368));
        assert_int_equal(c->images.uid, 65534);
        assert_int_equal(c->hooks.n_yaml, 0);
        assert_null(c->seccomp_profile);
}

static void a_named_file_must_exist(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct config *c = NULL;

        assert_int_equal(config_load(file("absent.yaml", NULL), NULL, &c, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
}

static void the_socket_follows_the_state_folder(void **state)
{
        auto_of(config) c = load("state: /run/other\n");

        assert_string_equal(c->socket, "/run/other/cringle.sock");
}

static void the_cgroup_driver_is_the_machines_unless_it_is_named(void **state)
{
        auto_of(config) plain = load("");
        auto_of(config) named = load("cgroup: {plugin: cgroup-other}\n");
        bool systemds = file_exists("/run/systemd/system") && file_exists("/sys/fs/cgroup/cgroup.controllers");

        assert_string_equal(plain->cgroup.name, systemds ? "cgroup-systemd" : "cgroup-fs");
        assert_string_equal(named->cgroup.name, "cgroup-other");
}

static void everything_in_a_file_arrives(void **state)
{
        auto_of(config) c = load("registries:\n"
                                 "  docker.io:\n"
                                 "    mirrors:\n"
                                 "    - {url: 'http://127.0.0.1:5000', plain_http: true}\n"
                                 "    - {url: https://m.example/x, ca_file: /ca.pem}\n"
                                 "    username: u\n"
                                 "    password: p\n"
                                 "  _default: {plain_http: true}\n"
                                 "network: {plugin: other, settings: {a: [1, 2], b: true}}\n"
                                 "hooks:\n"
                                 "  timeout: 3s\n"
                                 "  declared:\n"
                                 "  - name: first\n"
                                 "    stage: createRuntime\n"
                                 "    path: /bin/true\n"
                                 "    args: [a, 'b c']\n"
                                 "    env: [A=b]\n"
                                 "    timeout: 1m\n"
                                 "    failure: ignore\n"
                                 "    when: {annotations: {'^a$': '^b'}, namespaces: [kube-.*], images: [x], commands: [y]}\n"
                                 "  plugins:\n"
                                 "  - {plugin: localtime, failure: ignore, settings: {zone: UTC}}\n");
        const struct config_hook *hook = &c->hooks.yaml[0];

        assert_int_equal(c->n_registries, 2);
        assert_string_equal(c->registries[0].host, "docker.io");
        assert_int_equal(c->registries[0].n_mirrors, 2);
        assert_true(c->registries[0].mirrors[0].plain_http);
        assert_string_equal(c->registries[0].mirrors[1].ca_file, "/ca.pem");
        assert_string_equal(c->registries[0].password, "p");
        assert_true(c->registries[1].plain_http);
        assert_string_equal(c->network.settings[0].key, "a");
        assert_string_equal(c->network.settings[1].value, "2");
        assert_string_equal(c->network.settings[2].value, "true");
        assert_null(c->network.settings[3].key);
        assert_string_equal(hook->stage, "createRuntime");
        assert_string_equal(hook->args[1], "b c");
        assert_int_equal(hook->timeout, INT64_C(60000000000));
        assert_false(hook->fail);
        assert_string_equal(hook->when_annotations[0].key, "^a$");
        assert_string_equal(hook->when_namespaces[0], "kube-.*");
        assert_string_equal(hook->when_commands[0], "y");
        assert_true(str_ends(hook->origin, "/config.yaml:13"));
        assert_int_equal(c->hooks.plugins[0].timeout, INT64_C(3000000000));
        assert_string_equal(c->hooks.plugins[0].plugin.settings[0].value, "UTC");
}

static void mistakes_are_told_with_their_position(void **state)
{
        static const struct {
                const char *text, *complaint;
        } bad[] = {
                { "images:\n  max_paralel: 4\n", ":2:3: unknown key 'max_paralel' in 'images', did you mean 'max_parallel'?" },
                { "zzzzzzzzzz: 1\n", ":1:1: unknown key 'zzzzzzzzzz'" },
                { "log_level: loud\n", ":1:12: log_level: 'loud' is none of error, warning, info, debug" },
                { "root: var\n", ":1:7: root: 'var' is no absolute path without '.', '..', '//' and a slash at its end" },
                { "root: /a/../b\n", ":1:7: root: '/a/../b' is no absolute path without '.', '..', '//' and a slash at its end" },
                { "images: {uid: 0}\n", ":1:15: images.uid: 0 is not within 1 to 4294967294" },
                { "images: {uid: -1}\n", ":1:15: images.uid: '-1' is no whole number from 0 up" },
                { "images: {max_layer_size: 1EiB}\n", ":1:26: images.max_layer_size: '1EiB' is no size such as 4096, 64KiB, 16MiB or 1GiB" },
                { "images: {max_layer_size: 9223372036854775807TiB}\n", ":1:26: images.max_layer_size: '9223372036854775807TiB' is no size such as 4096, 64KiB, 16MiB or 1GiB" },
                { "images: {progress_timeout: 5 min}\n", ":1:28: images.progress_timeout: '5 min' is no duration such as 500ms, 30s, 5m or 1h30m" },
                { "images: {pinned: x}\n", ":1:18: images.pinned: want a list of strings" },
                { "images: [x]\n", ":1:9: images: want a map" },
                { "log_level: [a]\n", ":1:12: log_level: want a choice, not a list" },
                { "- a\n", ":1:1: want a map" },
                { "a", ":1:1: want a map" },
                { "image: {settings: {a: {b: c}}}\n", ":1:23: image.settings.a: want a scalar or a list of them" },
                { "hooks: {declared: [{stage: poststop, path: /x}]}\n", ":1:20: hooks.declared[0]: no 'name'" },
                { "hooks: {declared: [{name: a, stage: poststop, path: /x, when: {images: ['(']}}]}\n",
                  ":1:73: hooks.declared[0].when.images: expression '(': " },
                { "hooks: {declared: [{name: a, stage: poststop, path: /x, when: {annotations: {'[': b}}}]}\n",
                  ":1:78: hooks.declared[0].when.annotations: expression '[': " },
                { "hooks: {declared: [{name: a, stage: poststop, path: /x, args: [ok, '{{pod.nam}}']}]}\n",
                  ":1:68: args: there is no '{{pod.nam}}'" },
                { "hooks: {declared: [{name: a, stage: poststop, path: /x, args: ['{{pod.name']}]}\n",
                  ":1:64: args: '{{pod.name' has no end" },
                { "hooks: {declared: [{name: a, stage: poststop, path: /x, env: ['{{pod.name}}=x']}]}\n",
                  ":1:63: env: '{{pod.name}}=x': the name of a variable must be in plain words" },
                { "hooks: {declared: [{name: a, stage: poststop, path: /x, env: ['A={{pod.labels.}}']}]}\n",
                  ":1:63: env: there is no '{{pod.labels.}}'" },
                { "hooks: {declared: [{name: a, stage: poststop, path: /x, env: [A]}]}\n",
                  ":1:19: hooks.declared[0].env: 'A' is not NAME=VALUE" },
                { "registries: {a.b: {mirrors: [{url: ftp://x}]}}\n",
                  ":1:36: registries.a.b.mirrors[0].url: 'ftp://x' is no http:// or https:// URL" },
                { "registries: {a.b: {mirrors: [{url: 'http://x'}]}}\n",
                  ":1:29: registries.a.b.mirrors[0]: http://x is refused without plain_http: true" },
                { "registries: {a.b: {username: x}}\n", ":1:19: registries.a.b: username and password go together" },
                { "registries: {a/b: {}}\n", ":1:14: 'a/b' is no HOST, HOST:PORT or _default" },
        };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                refused(bad[i].text, bad[i].complaint);
}

static void a_check_tells_all_mistakes_of_all_files(void **state)
{
        auto_buf all = BUF_INIT;

        file("conf.d/20.yaml", "root: relative\n");
        file("config.yaml", "a: 1\nb: 2\n");
        assert_ok(config_check(file("config.yaml", NULL), NULL, &all, unit_err()), unit_err());
        assert_contains(all.data, "config.yaml:1:1: unknown key 'a'");
        assert_contains(all.data, "config.yaml:2:1: unknown key 'b'");
        assert_contains(all.data, "conf.d/20.yaml:1:7: root:");

        refused("a: 1\nb: 2\n", ":1:1: unknown key 'a' (and 2 more)");
}

static void a_mistake_does_not_hide_under_a_later_file(void **state)
{
        file("conf.d/20.yaml", "log_level: debug\n");
        refused("log_level: loud\n", ":1:12: log_level: 'loud' is none of error, warning, info, debug");
}

static void drop_ins_are_laid_over_in_the_order_of_their_names(void **state)
{
        auto_of(config) c = NULL;

        file("conf.d/20.yaml", "images: {max_parallel: 20}\n");
        file("conf.d/10.yaml", "images: {max_parallel: 10, uid: 7}\n");
        file("conf.d/30.yml", "images: {max_parallel: 30}\n");
        file("conf.d/.40.yaml", "images: {max_parallel: 40}\n");
        c = load("images: {gid: 8, uid: 9}\n");
        assert_int_equal(c->images.max_parallel, 20);
        assert_int_equal(c->images.uid, 7);
        assert_int_equal(c->images.gid, 8);
}

static void lists_replace_unless_told_to_append(void **state)
{
        auto_of(config) c = NULL;

        file("conf.d/1.yaml", "cni: {bin_dirs: !append [/b]}\nimages: {pinned: [c]}\nplugins: {dirs: !append [/p]}\n"
                              "hooks: {declared: !append [{name: two, stage: poststop, path: /b}]}\n");
        c = load("cni: {bin_dirs: [/a]}\nimages: {pinned: [a, b]}\n"
                 "hooks: {declared: [{name: one, stage: poststop, path: /a}]}\n");
        assert_string_equal(c->cni.bin_dirs[0], "/a");
        assert_string_equal(c->cni.bin_dirs[1], "/b");
        assert_null(c->cni.bin_dirs[2]);
        assert_string_equal(c->images.pinned[0], "c");
        assert_null(c->images.pinned[1]);
        assert_string_equal(c->plugins.dirs[0], CRINGLE_PLUGINDIR);     /* to the default, where no file has a list */
        assert_string_equal(c->plugins.dirs[1], "/p");
        assert_int_equal(c->hooks.n_yaml, 2);
        assert_string_equal(c->hooks.yaml[1].name, "two");
}

static void the_same_hook_twice_is_a_mistake_across_files_too(void **state)
{
        file("conf.d/1.yaml", "hooks: {declared: !append [{name: one, stage: poststop, path: /b}]}\n");
        refused("hooks: {declared: [{name: one, stage: poststop, path: /a}]}\n",
                ":1:19: hooks.declared[1]: there is a hook 'one' already");
}

static void null_goes_back_to_the_default(void **state)
{
        auto_of(config) c = NULL;

        file("conf.d/1.yaml", "log_level: null\nimages: {uid: ~}\nregistries: {a.b: null}\nserver:\n");
        c = load("log_level: debug\nimages: {uid: 7, gid: 8}\nregistries: {a.b: {plain_http: true}, c.d: {}}\n");
        assert_string_equal(c->log_level, "info");
        assert_int_equal(c->images.uid, 65534);
        assert_int_equal(c->images.gid, 8);
        assert_int_equal(c->n_registries, 1);
        assert_string_equal(c->registries[0].host, "c.d");
}

static void show_tells_where_each_value_comes_from(void **state)
{
        auto_buf text = BUF_INIT;
        const char *line;

        file("conf.d/1.yaml", "\n\ncni: {bin_dirs: !append [/b]}\n");
        file("config.yaml", "log_level: debug\ncni: {bin_dirs: [/a]}\nregistries: {a.b: {username: u, password: hush}}\n");
        assert_ok(config_show(file("config.yaml", NULL), NULL, true, &text, unit_err()), unit_err());

        line = strstr(text.data, "log_level: debug");
        assert_non_null(line);
        assert_true(strstr(line, "/config.yaml:1\n") < strchr(line, '\n'));
        line = strstr(text.data, "bin_dirs: [/a, /b]");
        assert_non_null(line);
        assert_true(strstr(line, "config.yaml:2, ") && strstr(line, "conf.d/1.yaml:3\n") < strchr(line, '\n'));
        line = strstr(text.data, "root: /var/lib/cringle");
        assert_non_null(line);
        assert_true(strstr(line, "# default\n") < strchr(line, '\n'));
        assert_null(strstr(text.data, "hush"));
}

static void what_show_prints_reads_back_as_the_same(void **state)
{
        auto_of(config) a = load("images: {pinned: ['a: b', \"c\\nd\", '#', '']}\nlog_level: debug\n"
                                 "image: {settings: {a: [1, 2], b: 'x y', c: [one]}}\n"
                                 "registries: {a.b: {mirrors: [{url: 'https://x:1/y'}]}}\n"
                                 "hooks: {declared: [{name: one, stage: poststop, path: /a, timeout: 1500ms,\n"
                                 "        when: {annotations: {'a b': '^[\"x\"]$'}}}]}\n");
        auto_of(config) b = NULL;
        auto_buf text = BUF_INIT, live = BUF_INIT, restart = BUF_INIT;

        assert_ok(config_show(file("config.yaml", NULL), NULL, false, &text, unit_err()), unit_err());
        b = load(text.data);
        assert_string_equal(b->images.pinned[1], "c\nd");
        assert_ok(config_diff(a, b, &live, &restart, unit_err()), unit_err());
        assert_int_equal(live.len, 0);
        assert_int_equal(restart.len, 0);
}

static void the_diff_tells_live_keys_from_others(void **state)
{
        auto_of(config) a = load("registries: {a.b: {username: u, password: one}}\n");
        auto_of(config) b = load("registries: {a.b: {username: u, password: two}}\nroot: /x\nhooks: {timeout: 2s}\n"
                                 "server: {workers: 2}\n");
        auto_buf live = BUF_INIT, restart = BUF_INIT;

        assert_ok(config_diff(a, b, &live, &restart, unit_err()), unit_err());
        assert_string_equal(live.data, "registries\nhooks.timeout\n");
        assert_string_equal(restart.data, "root\nserver.workers\n");
}

static void explain_finds_keys_and_near_misses(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf text = BUF_INIT;

        assert_ok(config_explain("images.max_parallel", &text, &err), &err);
        assert_contains(text.data, "images.max_parallel: number from 1 to 64, default 3\n");
        assert_contains(text.data, "A reload applies it.");
        buf_clear(&text);
        assert_ok(config_explain("registries.docker.io.mirrors[0].url", &text, &err), &err);
        assert_contains(text.data, "registries.mirrors.url: URL, required\n");
        buf_clear(&text);
        assert_ok(config_explain("server", &text, &err), &err);
        assert_contains(text.data, "server.workers: ");

        assert_int_equal(config_explain("max_line", &text, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        assert_contains(err.text, "'containers.max_line'");
        assert_int_equal(config_explain("", &text, &err), -1);
        assert_int_equal(config_explain("log_level.x", &text, &err), -1);
}

/* Each key shown in the file of defaults, uncommented, changes nothing. */
static void the_file_of_defaults_says_the_defaults(void **state)
{
        auto_buf text = BUF_INIT, live = BUF_INIT, restart = BUF_INIT;
        auto_of(config) plain = load("{}\n");
        auto_of(config) c = NULL;
        size_t keys = 0;

        assert_ok(config_defaults(&text, unit_err()), unit_err());
        c = load(text.data);
        assert_ok(config_diff(plain, c, &live, &restart, unit_err()), unit_err());
        c = config_free(c);

        for (char *line = text.data; line && *line; line = strchr(line, '\n')) {
                line += strspn(line, "\n ");
                if (line[0] == '#' && line[1] != ' ' && line[1] != '\n') {
                        memmove(line, line + 1, strlen(line));
                        keys++;
                }
        }
        assert_true(keys > 30);
        c = load(text.data);
        assert_ok(config_diff(plain, c, &live, &restart, unit_err()), unit_err());
        assert_int_equal(live.len, 0);
        assert_int_equal(restart.len, 0);
}

static void in_step(const char *name, int (*make)(struct buf *, struct cringle_err *))
{
        auto_free char *path = str_printf(NULL, "%s/%s", CRINGLE_SOURCE_DIR, name);
        auto_buf made = BUF_INIT, kept = BUF_INIT;

        assert_ok(make(&made, unit_err()), unit_err());
        assert_ok(file_read(path, 1 << 20, &kept, unit_err()), unit_err());
        assert_string_equal(made.data, kept.data);
}

static void the_files_in_the_project_are_in_step(void **state)
{
        in_step("config/config.yaml", config_defaults);
        in_step("docs/CONFIG.md", config_document);
}

/* A table that nests too deep, or a default that is no value of its type, would be found by nobody else. */
static void check_table(const struct key *keys, int depth)
{
        assert_true(depth <= SCHEMA_DEPTH_MAX);
        for (const struct key *key = keys; key->name; key++) {
                if (key->type == KEY_ORIGIN)
                        continue;
                assert_non_null(key->help);
                assert_non_null(schema_type_name(key));
                if (schema_is_nested(key))
                        check_table(key->keys, depth + 1);
        }
}

static void every_key_is_explained_and_every_default_is_valid(void **state)
{
        auto_complaints complaints = { 0 };
        struct config c = { 0 };

        check_table(schema_keys, 1);
        assert_ok(schema_decode(schema_keys, NULL, "", &c, &complaints, unit_err()), unit_err());
        assert_int_equal(complaints.count, 0);
        schema_clear(schema_keys, &c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(an_empty_file_gives_the_defaults),
        TEST(a_named_file_must_exist),
        TEST(the_socket_follows_the_state_folder),
        TEST(the_cgroup_driver_is_the_machines_unless_it_is_named),
        TEST(everything_in_a_file_arrives),
        TEST(mistakes_are_told_with_their_position),
        TEST(a_check_tells_all_mistakes_of_all_files),
        TEST(a_mistake_does_not_hide_under_a_later_file),
        TEST(drop_ins_are_laid_over_in_the_order_of_their_names),
        TEST(lists_replace_unless_told_to_append),
        TEST(the_same_hook_twice_is_a_mistake_across_files_too),
        TEST(null_goes_back_to_the_default),
        TEST(show_tells_where_each_value_comes_from),
        TEST(what_show_prints_reads_back_as_the_same),
        TEST(the_diff_tells_live_keys_from_others),
        TEST(explain_finds_keys_and_near_misses),
        TEST(the_file_of_defaults_says_the_defaults),
        TEST(the_files_in_the_project_are_in_step),
        TEST(every_key_is_explained_and_every_default_is_valid))
