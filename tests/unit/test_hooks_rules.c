/* The hook plugins that follow rules: mounts, environment, devices and gpu, through host and engine. */

#include "tests/support/unit.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "hooks/hooks.h"
#include "plugins/api/rule.h"

const struct cringle_plugin *cringle_builtin_devices(void);
const struct cringle_plugin *cringle_builtin_environment(void);
const struct cringle_plugin *cringle_builtin_gpu(void);
const struct cringle_plugin *cringle_builtin_mounts(void);

#define SETTINGS_MAX 16

struct fixture {
        char *dir;
        struct config config;
        struct config_hook_plugin plugin;
        struct cringle_pair settings[SETTINGS_MAX];
        size_t n_settings;
        struct host *host;
        struct hooks *hooks;
        Cri__Pair annotation;
        Cri__Pair *annotations[1];
        Cri__PodSandboxMetadata pod_metadata;
        Cri__PodSandboxConfig pod;
        Cri__ContainerMetadata container_metadata;
        Cri__ImageSpec image;
        Cri__ContainerConfig container;
        struct json_object *spec;
        struct buf text;                /* of the adjusted specification */
        struct cringle_err err;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        f->err = (struct cringle_err) CRINGLE_ERR_INIT;
        f->dir = unit_make_dir();
        f->config.root = str_printf(NULL, "%s/root", f->dir);
        f->config.state = str_printf(NULL, "%s/state", f->dir);
        f->config.hooks.plugins = &f->plugin;
        f->config.hooks.n_plugins = 1;
        f->plugin.fail = true;
        f->plugin.plugin.settings = f->settings;

        cri__pair__init(&f->annotation);
        cri__pod_sandbox_metadata__init(&f->pod_metadata);
        cri__pod_sandbox_config__init(&f->pod);
        cri__container_metadata__init(&f->container_metadata);
        cri__image_spec__init(&f->image);
        cri__container_config__init(&f->container);
        f->pod_metadata.name = (char *) "web-1";
        f->pod_metadata.namespace_ = (char *) "shop-eu";
        f->pod.metadata = &f->pod_metadata;
        f->annotations[0] = &f->annotation;
        f->pod.annotations = f->annotations;
        f->container_metadata.name = (char *) "nginx";
        f->container.metadata = &f->container_metadata;
        f->image.image = (char *) "docker.io/library/nginx:1";
        f->container.image = &f->image;
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        json_object_put(f->spec);
        buf_done(&f->text);
        hooks_free(f->hooks);
        host_free(f->host);
        file_remove_tree(f->dir, NULL);
        free(f->config.root);
        free(f->config.state);
        free(f->dir);
        free(f);
        return 0;
}

static void give(struct fixture *f, const char *key, const char *value)
{
        assert_true(f->n_settings + 1 < SETTINGS_MAX);
        f->settings[f->n_settings++] = (struct cringle_pair) { key, value };
}

static int try_begin(struct fixture *f, const char *name)
{
        static const cringle_plugin_fn builtins[] = { cringle_builtin_devices, cringle_builtin_environment,
                                                      cringle_builtin_gpu, cringle_builtin_mounts, NULL };
        struct host_options options = { .builtins = builtins };

        f->plugin.plugin.name = (char *) name;
        f->host = host_free(f->host);
        if (host_new(&f->config, &options, &f->host, &f->err) < 0)
                return -1;
        return hooks_new(&f->config, f->host, &f->hooks, &f->err);
}

static void begin(struct fixture *f, const char *name)
{
        assert_ok(try_begin(f, name), &f->err);
}

/* Let the engine adjust @spec for a pod with the annotation @key (NULL: none); the result is in f->text. */
static int adjust(struct fixture *f, const char *spec, const char *key, const char *value)
{
        struct hooks_subject subject = { .pod_id = "p1", .pod = &f->pod, .container_id = "c1", .container = &f->container,
                                         .bundle = f->dir };

        f->annotation.key = (char *) key;
        f->annotation.value = (char *) value;
        f->pod.n_annotations = key != NULL;
        json_object_put(f->spec);
        f->spec = NULL;
        assert_ok(json_parse(spec, strlen(spec), &f->spec, &f->err), &f->err);
        if (hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err) < 0)
                return -1;
        buf_done(&f->text);
        f->text = (struct buf) BUF_INIT;
        return json_write(f->spec, &f->text, &f->err);
}

static void assert_adjusted(struct fixture *f, const char *spec, const char *key, const char *value, const char *want)
{
        assert_ok(adjust(f, spec, key, value), &f->err);
        assert_string_equal(f->text.data, want);
}

static void assert_refused(struct fixture *f, const char *plugin, const char *setting, const char *value, const char *why)
{
        f->n_settings = 0;
        memset(f->settings, 0, sizeof f->settings);
        give(f, setting, value);
        assert_int_equal(try_begin(f, plugin), -1);
        assert_contains(f->err.text, why);
}

/* --- rules --- */

static void patterns_match_whole_texts(void **state)
{
        static const struct {
                const char *pattern, *text;
                int matches;
        } cases[] = {
                { "", "", 1 }, { "", "a", 0 }, { "a", "", 0 }, { "*", "", 1 }, { "*", "any/thing", 1 }, { "a*", "ba", 0 },
                { "a?c", "abc", 1 }, { "a?c", "ac", 0 }, { "*a*b", "xxaxxb", 1 }, { "*a*b", "xxaxxbx", 0 },
                { "a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0 }, { "[a]", "a", 0 },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                if (cringle_glob(cases[i].pattern, cases[i].text) != cases[i].matches)
                        fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
}

static void words_are_split_and_unquoted(void **state)
{
        static const char *const known[] = { "a", "b", NULL };
        struct cringle_pair *words = NULL;

        assert_ok(cringle_rule_parse("  a=1\tb=\"x \\\"y\\\" \\\\z\"w  namespace=  a=2", known, &words, unit_err()), unit_err());
        assert_string_equal(cringle_rule_get(words, "a"), "1");
        assert_string_equal(cringle_rule_get(words, "b"), "x \"y\" \\zw");
        assert_string_equal(cringle_rule_get(words, "namespace"), "");
        assert_string_equal(words[3].value, "2");
        assert_null(words[4].key);
        free(words);
}

static void bad_rules_are_refused_in_words(void **state)
{
        static const char *const known[] = { "a", NULL };
        static const struct {
                const char *rule, *why;
        } cases[] = {
                { "", "empty" }, { " ", "empty" }, { "a", "want KEY=VALUE, found 'a'" }, { "=b", "want KEY=VALUE" },
                { "a b=c", "want KEY=VALUE, found 'a b=c'" }, { "c=1", "unknown key 'c'" },
                { "a=\"x", "a: a quote is not closed" }, { "a=\"\\", "a: a quote is not closed" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                struct cringle_pair *words;

                assert_int_equal(cringle_rule_parse(cases[i].rule, known, &words, &err), -1);
                assert_contains(err.text, cases[i].why);
        }
}

/* --- mounts --- */

#define CERTS "source=/dev target=/certs options=bind,ro"
#define CERTS_MOUNT "{\"destination\":\"/certs\",\"type\":\"bind\",\"source\":\"/dev\",\"options\":[\"bind\",\"ro\"]}"

static void a_mount_is_for_those_that_its_conditions_name(void **state)
{
        static const struct {
                const char *conditions;
                int holds;
        } cases[] = {
                { "", 1 },
                { " namespace=shop-*", 1 },
                { " namespace=shop", 0 },
                { " namespace=other namespace=shop-??", 1 },
                { " namespace=shop-* image=*/redis:*", 0 },
                { " image=docker.io/library/* container=nginx pod=web-?", 1 },
                { " annotation=certs.example.com/want", 1 },
                { " annotation=certs.example.com/want=no", 0 },
                { " annotation=certs.example.com/want=no annotation=certs.example.com/want=tr*", 1 },
                { " annotation=certs.example.com/want annotation=other", 0 },
                { " label=app", 0 },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *rule = str_printf(NULL, CERTS "%s", cases[i].conditions);

                f->n_settings = 0;
                give(f, "rules", rule);
                f->hooks = hooks_free(f->hooks);
                begin(f, "mounts");
                assert_adjusted(f, "{}", "certs.example.com/want", "true",
                                cases[i].holds ? "{\"mounts\":[" CERTS_MOUNT "]}" : "{}");
        }
}

static void mounts_are_replaced_and_dropped_where_they_are(void **state)
{
        struct fixture *f = *state;

        give(f, "rules", "do=drop target=/secret");
        give(f, "rules", "do=replace target=/data source=/dev options=ro");
        begin(f, "mounts");
        assert_adjusted(f, "{}", NULL, NULL, "{\"mounts\":[]}");
        assert_adjusted(f, "{\"mounts\":[{\"destination\":\"/secret\"},{\"destination\":\"/data\",\"source\":\"/x\"}]}", NULL,
                        NULL, "{\"mounts\":[{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/dev\","
                              "\"options\":[\"rbind\",\"ro\"]}]}");
}

static void what_is_not_on_the_node_fails_unless_optional(void **state)
{
        struct fixture *f = *state;
        struct config fresh = f->config;
        auto_buf live = BUF_INIT, restart = BUF_INIT;

        give(f, "rules", "source=/no/such target=/x");
        begin(f, "mounts");
        assert_int_equal(adjust(f, "{}", NULL, NULL), -1);
        assert_string_equal(f->err.text, "hook at container create: mounts: mount on /x: /no/such: No such file or directory");

        f->settings[0].value = "source=/no/such target=/x optional=yes";
        assert_ok(host_reload(f->host, &fresh, &live, &restart, &f->err), &f->err);
        assert_contains(live.data, "mounts: new settings");
        assert_adjusted(f, "{}", NULL, NULL, "{}");

        f->settings[0].value = "source=relative target=/x";
        assert_int_equal(host_reload(f->host, &fresh, &live, &restart, &f->err), -1);
        assert_adjusted(f, "{}", NULL, NULL, "{}");
}

static void bad_mounts_are_refused_when_they_are_read(void **state)
{
        struct fixture *f = *state;

        assert_refused(f, "mounts", "rules", "target=/x", "rules, number 1, 'target=/x': source: missing");
        assert_refused(f, "mounts", "rules", "source=/a target=x", "target: want an absolute path, found 'x'");
        assert_refused(f, "mounts", "rules", "source=/a/../b target=/x", "without '//', '.' and '..'");
        assert_refused(f, "mounts", "rules", "source=/a target=/x options=ro,nosiud", "options: 'nosiud");
        assert_refused(f, "mounts", "rules", "source=/a target=/x optional=maybe", "optional: want yes or no");
        assert_refused(f, "mounts", "rules", "do=move source=/a target=/x", "do: want add, replace or drop");
        assert_refused(f, "mounts", "rules", "do=drop source=/a target=/x", "a dropped mount has no source");
        assert_refused(f, "mounts", "rules", "source=/a traget=/x", "unknown key 'traget'");
}

/* --- environment --- */

#define ENV(...) "{\"process\":{\"env\":[" __VA_ARGS__ "]}}"

static void the_proxy_is_given_in_both_spellings(void **state)
{
        struct fixture *f = *state;

        give(f, "http_proxy", "http://proxy:3128");
        give(f, "no_proxy", ".cluster.local");
        begin(f, "environment");
        assert_adjusted(f, "{}", NULL, NULL,
                        ENV("\"HTTP_PROXY=http://proxy:3128\",\"http_proxy=http://proxy:3128\","
                            "\"NO_PROXY=.cluster.local\",\"no_proxy=.cluster.local\""));
}

static void what_the_pod_has_set_stays(void **state)
{
        struct fixture *f = *state;

        give(f, "http_proxy", "p");
        give(f, "rules", "name=TZ value=UTC");
        give(f, "rules", "name=MODE value=\"on the node\" override=yes");
        begin(f, "environment");
        assert_adjusted(f, ENV("\"http_proxy=own\",\"TZ=\",\"MODE=a\""), NULL, NULL,
                        ENV("\"http_proxy=own\",\"TZ=\",\"MODE=on the node\""));
}

static void a_pod_can_do_without_the_proxy(void **state)
{
        struct fixture *f = *state;

        give(f, "https_proxy", "p");
        begin(f, "environment");
        assert_adjusted(f, "{}", "environment.cringle.io/proxy", "false", "{}");
        assert_int_equal(adjust(f, "{}", "environment.cringle.io/proxy", "off"), -1);
        assert_contains(f->err.text, "want true or false, not 'off'");
}

static void bad_variables_are_refused_when_they_are_read(void **state)
{
        struct fixture *f = *state;

        assert_refused(f, "environment", "rules", "value=x", "name: missing");
        assert_refused(f, "environment", "rules", "name=x", "value: missing");
        assert_refused(f, "environment", "rules", "name=1x value=", "is no name of a variable");
        assert_refused(f, "environment", "rules", "name=x value= override=1", "override: want yes or no");
        assert_refused(f, "environment", "http_proxy", "http://a b", "setting http_proxy: blanks");
}

/* --- devices --- */

#define ASK "devices.cringle.io/add"
#define NODE(path_, minor_) "{\"path\":\"" path_ "\",\"type\":\"c\",\"major\":1,\"minor\":" minor_ ","
#define ACCESS(minor_, access_) \
        "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":" minor_ ",\"access\":\"" access_ "\"}"

static void a_device_comes_by_rule(void **state)
{
        struct fixture *f = *state;

        give(f, "rules", "path=/dev/null as=/dev/nothing access=r");
        give(f, "rules", "path=/dev/no-such optional=yes");
        begin(f, "devices");
        assert_ok(adjust(f, "{}", NULL, NULL), &f->err);
        assert_contains(f->text.data, NODE("/dev/nothing", "3"));
        assert_contains(f->text.data, "\"resources\":{\"devices\":[" ACCESS("3", "r") "]}");
}

static void a_pod_gets_what_is_allowed_and_nothing_else(void **state)
{
        struct fixture *f = *state;

        give(f, "allow", "path=/dev/nul* access=rw");
        give(f, "allow", "path=/dev/zero namespace=other");
        give(f, "allow", "path=/dev/no-such");
        begin(f, "devices");
        assert_ok(adjust(f, "{}", ASK, " /dev/null:r, "), &f->err);
        assert_contains(f->text.data, ACCESS("3", "r"));
        assert_int_equal(adjust(f, "{}", ASK, "/dev/null:rwm"), -1);
        assert_contains(f->err.text, "/dev/null with access rwm is not allowed on this node");
        assert_int_equal(adjust(f, "{}", ASK, "/dev/null,/dev/zero"), -1);
        assert_contains(f->err.text, "/dev/zero with access rw is not allowed on this node");
        assert_int_equal(adjust(f, "{}", ASK, "/dev/null/../mem"), -1);
        assert_contains(f->err.text, "without '//', '.' and '..'");
        assert_int_equal(adjust(f, "{}", ASK, "/dev/null:x"), -1);
        assert_contains(f->err.text, "want some of r, w and m, found 'x'");
        assert_int_equal(adjust(f, "{}", ASK, "/dev/no-such"), -1);
        assert_contains(f->err.text, "/dev/no-such: No such file or directory");
}

/* Whoever can write a directory could put any node there. */
static void a_device_that_others_could_have_put_there_is_refused(void **state)
{
        struct fixture *f = *state;
        auto_free char *open = str_printf(NULL, "%s/open", f->dir), *node = str_printf(NULL, "%s/open/null", f->dir);
        auto_free char *link = str_printf(NULL, "%s/link", f->dir);
        auto_free char *own = str_printf(NULL, "path=%s", node), *by_link = str_printf(NULL, "path=%s", link);
        auto_free char *by_uid = str_printf(NULL, "path=%s uid=1 gid=7", node);

        assert_int_equal(mkdir(open, 0755), 0);
        assert_int_equal(mknod(node, S_IFCHR | 0600, makedev(1, 3)), 0);
        assert_int_equal(symlink(node, link), 0);
        give(f, "allow", own);
        give(f, "allow", by_link);
        begin(f, "devices");
        assert_ok(adjust(f, "{}", ASK, node), &f->err);

        assert_int_equal(chmod(open, 0777), 0);
        assert_int_equal(adjust(f, "{}", ASK, node), -1);
        assert_contains(f->err.text, "open: want no write access for group and others, found mode 0777");
        assert_int_equal(adjust(f, "{}", ASK, link), -1);
        assert_int_equal(chmod(open, 0755), 0);
        assert_int_equal(chown(node, 1, 0), 0);
        assert_int_equal(adjust(f, "{}", ASK, link), -1);
        assert_contains(f->err.text, "want root as its owner, found uid 1");

        f->hooks = hooks_free(f->hooks);
        f->n_settings = 0;
        memset(f->settings, 0, sizeof f->settings);
        give(f, "allow", by_uid);
        begin(f, "devices");
        assert_int_equal(adjust(f, "{}", ASK, node), -1);
        assert_contains(f->err.text, "want gid 7, found 0");
        assert_int_equal(chown(node, 1, 7), 0);
        assert_ok(adjust(f, "{}", ASK, node), &f->err);
}

static void bad_devices_are_refused(void **state)
{
        struct fixture *f = *state;

        assert_refused(f, "devices", "rules", "access=rw", "path: missing");
        assert_refused(f, "devices", "rules", "path=/dev/null access=x", "access: want some of r, w and m");
        assert_refused(f, "devices", "rules", "path=/dev/null uid=root", "uid: want a number, found 'root'");
        assert_refused(f, "devices", "allow", "path=/dev/null as=/x", "unknown key 'as'");
        f->n_settings = 0;
        give(f, "rules", "path=/etc/passwd");
        begin(f, "devices");
        assert_int_equal(adjust(f, "{}", NULL, NULL), -1);
        assert_contains(f->err.text, "/etc/passwd is not a device");
}

/* --- gpu --- */

#define GPUS "gpu.cringle.io/devices"

/* Two devices, 0 and 1, of minors 3 and 5; a library beside them. */
static void begin_gpu(struct fixture *f, char **rules)
{
        static const int minors[] = { 3, 5 };

        for (size_t i = 0; i < 2; i++) {
                auto_free char *node = str_printf(NULL, "%s/card%zu", f->dir, i + 4);

                assert_int_equal(mknod(node, S_IFCHR | 0666, makedev(1, minors[i])), 0);
        }
        rules[0] = str_printf(NULL, "path=%s/card{} offset=4", f->dir);
        rules[1] = str_printf(NULL, "source=%s/card4 target=/usr/lib/libgpu.so", f->dir);
        rules[2] = str_printf(NULL, "path=%s/driver", f->dir);
        give(f, "devices", rules[0]);
        give(f, "devices", "path=/dev/no-such-ctl optional=yes");
        give(f, "mounts", rules[1]);
        give(f, "env", "name=GPUS value=<{}>");
        give(f, "env", "name=OTHER value=1 namespace=other");
        give(f, "need", rules[2]);
        give(f, "variable", "VISIBLE");
        give(f, "ldconfig", "/sbin/ldconfig");
        give(f, "libraries", "/usr/lib/gpu");
        begin(f, "gpu");
}

static void make_driver(struct fixture *f)
{
        auto_free char *driver = str_printf(NULL, "%s/driver", f->dir);

        assert_ok(file_replace(driver, "", 0, 0600, false, &f->err), &f->err);
}

static void free_rules(char **rules)
{
        for (int i = 0; i < 3; i++)
                free(rules[i]);
}

static void devices_libraries_and_variables_come_together(void **state)
{
        struct fixture *f = *state;
        char *rules[3];

        begin_gpu(f, rules);
        make_driver(f);
        assert_adjusted(f, "{}", NULL, NULL, "{}");
        assert_adjusted(f, "{}", GPUS, "none", "{}");
        assert_ok(adjust(f, "{}", GPUS, "all"), &f->err);
        assert_contains(f->text.data, ACCESS("3", "rw") "," ACCESS("5", "rw"));
        assert_contains(f->text.data, "card5\",\"type\":\"c\"");
        assert_contains(f->text.data, "\"destination\":\"/usr/lib/libgpu.so\"");
        assert_contains(f->text.data, "\"env\":[\"GPUS=<0,1>\"]");
        assert_contains(f->text.data, "\"createContainer\":[{\"path\":\"/sbin/ldconfig\","
                                      "\"args\":[\"/sbin/ldconfig\",\"-r\",\"rootfs\",\"/usr/lib/gpu\"]");

        assert_ok(adjust(f, ENV("\"VISIBLE=1,1\""), NULL, NULL), &f->err);
        assert_contains(f->text.data, "GPUS=<1>");
        assert_null(strstr(f->text.data, "\"minor\":3"));
        assert_ok(adjust(f, ENV("\"VISIBLE=all\""), GPUS, "none"), &f->err);    /* the annotation is nearer */
        assert_null(strstr(f->text.data, "GPUS="));
        free_rules(rules);
}

static void a_device_that_is_not_there_is_told(void **state)
{
        struct fixture *f = *state;
        char *rules[3];

        begin_gpu(f, rules);
        assert_int_equal(adjust(f, "{}", GPUS, "0"), -1);
        assert_contains(f->err.text, "/driver: No such file or directory: is the driver loaded?");
        make_driver(f);
        assert_int_equal(adjust(f, "{}", GPUS, "0,2"), -1);
        assert_contains(f->err.text, "/card6: No such file or directory");
        assert_int_equal(adjust(f, "{}", GPUS, "0;1"), -1);
        assert_contains(f->err.text, GPUS ": want all, none or numbers of devices, found '0;1'");
        free_rules(rules);
}

static void a_cdi_file_says_it_all(void **state)
{
        static const char text[] = "{\"cdiVersion\":\"0.5.0\",\"kind\":\"acme.com/gpu\",\"devices\":["
                                   "{\"name\":\"0\",\"containerEdits\":{\"env\":[\"ACME=0\"]}},"
                                   "{\"name\":\"b-1\",\"containerEdits\":{\"env\":[\"OTHER=1\"]}}]}";
        struct fixture *f = *state;
        auto_free char *file = str_printf(NULL, "%s/acme.json", f->dir);
        char *dirs[] = { f->dir, NULL };

        assert_ok(file_replace(file, text, strlen(text), 0600, false, &f->err), &f->err);
        f->config.cdi.dirs = dirs;
        give(f, "cdi", "acme.com/gpu");
        begin(f, "gpu");
        assert_ok(adjust(f, "{}", GPUS, "0,b-1"), &f->err);
        assert_contains(f->text.data, "\"env\":[\"ACME=0\",\"OTHER=1\"]");
        assert_adjusted(f, "{}", GPUS, "none", "{}");
        assert_int_equal(adjust(f, "{}", GPUS, "2"), -1);
        assert_contains(f->err.text, "acme.com/gpu=2");
}

static void bad_descriptions_are_refused(void **state)
{
        struct fixture *f = *state;

        assert_refused(f, "gpu", "annotation", "x", "setting devices: none has {} in its path");
        assert_refused(f, "gpu", "devices", "path=/dev/gpu", "none has {} in its path");
        assert_refused(f, "gpu", "devices", "path=/dev/{}/x", "want {} once, in the last part");
        assert_refused(f, "gpu", "devices", "path=/dev/x offset=1", "offset: want a number, and a path with {}");
        assert_refused(f, "gpu", "env", "name=x", "env, number 1, 'name=x': value: missing");
        assert_refused(f, "gpu", "libraries", "lib", "setting libraries: want an absolute path");
        assert_refused(f, "gpu", "annotation", "", "nobody could ask");
        f->n_settings = 0;
        give(f, "cdi", "acme.com/gpu");
        give(f, "devices", "path=/dev/gpu{}");
        assert_int_equal(try_begin(f, "gpu"), -1);
        assert_contains(f->err.text, "setting cdi: with it devices, env and ldconfig are the CDI file's");
}

static void the_descriptions_we_ship_are_sound(void **state)
{
        static const char *const files[] = { "gpu-nvidia.yaml", "gpu-amd.yaml" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                auto_free char *path = str_printf(NULL, CRINGLE_SOURCE_DIR "/config/examples/%s", files[i]);
                auto_of(config) c = NULL;

                assert_ok(config_load(path, NULL, &c, &f->err), &f->err);
                assert_int_equal(c->hooks.n_plugins, 1);
                f->plugin.plugin.settings = c->hooks.plugins[0].plugin.settings;
                assert_string_equal(c->hooks.plugins[0].plugin.name, "gpu");
                f->hooks = hooks_free(f->hooks);
                begin(f, "gpu");
                assert_adjusted(f, "{}", GPUS, "none", "{}");
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(patterns_match_whole_texts),
        TEST(words_are_split_and_unquoted),
        TEST(bad_rules_are_refused_in_words),
        TEST(a_mount_is_for_those_that_its_conditions_name),
        TEST(mounts_are_replaced_and_dropped_where_they_are),
        TEST(what_is_not_on_the_node_fails_unless_optional),
        TEST(bad_mounts_are_refused_when_they_are_read),
        TEST(the_proxy_is_given_in_both_spellings),
        TEST(what_the_pod_has_set_stays),
        TEST(a_pod_can_do_without_the_proxy),
        TEST(bad_variables_are_refused_when_they_are_read),
        TEST(a_device_comes_by_rule),
        TEST(a_pod_gets_what_is_allowed_and_nothing_else),
        TEST(a_device_that_others_could_have_put_there_is_refused),
        TEST(bad_devices_are_refused),
        TEST(devices_libraries_and_variables_come_together),
        TEST(a_device_that_is_not_there_is_told),
        TEST(a_cdi_file_says_it_all),
        TEST(bad_descriptions_are_refused),
        TEST(the_descriptions_we_ship_are_sound))
