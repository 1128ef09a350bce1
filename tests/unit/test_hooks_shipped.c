/* The hook plugins we ship do what docs/HOOKS.md says, built in and called through host and engine. */

#include "tests/support/unit.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "hooks/hooks.h"

const struct cringle_plugin *cringle_builtin_audit(void);
const struct cringle_plugin *cringle_builtin_localtime(void);

static Cri__Pair pod_annotation = CRI__PAIR__INIT, container_annotation = CRI__PAIR__INIT;
static Cri__Pair *pod_annotations[] = { &pod_annotation }, *container_annotations[] = { &container_annotation };
static Cri__PodSandboxMetadata pod_metadata = CRI__POD_SANDBOX_METADATA__INIT;
static Cri__PodSandboxConfig pod = CRI__POD_SANDBOX_CONFIG__INIT;
static Cri__ContainerMetadata container_metadata = CRI__CONTAINER_METADATA__INIT;
static Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
static Cri__ContainerConfig container = CRI__CONTAINER_CONFIG__INIT;

struct fixture {
        char *dir, *log;
        struct config config;
        struct config_hook_plugin plugin;
        struct cringle_pair settings[2];
        struct host *host;
        struct hooks *hooks;
        struct json_object *spec;
        struct hooks_subject subject;
        struct cringle_err err;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        f->err = (struct cringle_err) CRINGLE_ERR_INIT;
        f->dir = unit_make_dir();
        f->log = str_printf(NULL, "%s/audit.jsonl", f->dir);
        f->config.root = str_printf(NULL, "%s/root", f->dir);
        f->config.state = str_printf(NULL, "%s/state", f->dir);
        f->config.hooks.plugins = &f->plugin;
        f->config.hooks.n_plugins = 1;
        f->plugin.fail = true;
        f->spec = json_object_new_object();

        pod_metadata.name = (char *) "web-1";
        pod_metadata.namespace_ = (char *) "shop";
        pod_metadata.uid = (char *) "uid-1";
        pod.metadata = &pod_metadata;
        pod.annotations = pod_annotations;
        pod.n_annotations = 0;
        container_metadata.name = (char *) "nginx";
        container.metadata = &container_metadata;
        image.image = (char *) "nginx:1";
        container.image = &image;
        container.annotations = container_annotations;
        container.n_annotations = 0;
        pod_annotation.key = container_annotation.key = (char *) "localtime.cringle.io/mount";
        f->subject = (struct hooks_subject) { .pod_id = "p1", .pod = &pod, .container_id = "c1", .container = &container,
                                              .bundle = f->dir };
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        json_object_put(f->spec);
        hooks_free(f->hooks);
        host_free(f->host);
        file_remove_tree(f->dir, NULL);
        free(f->config.root);
        free(f->config.state);
        free(f->log);
        free(f->dir);
        free(f);
        return 0;
}

static int try_begin(struct fixture *f, const char *name, const char *file)
{
        static const cringle_plugin_fn builtins[] = { cringle_builtin_audit, cringle_builtin_localtime, NULL };
        struct host_options options = { .builtins = builtins };

        f->settings[0] = (struct cringle_pair) { file ? "file" : NULL, file };
        f->plugin.plugin.name = (char *) name;
        f->plugin.plugin.settings = f->settings;
        if (host_new(&f->config, &options, &f->host, &f->err) < 0)
                return -1;
        return hooks_new(&f->config, f->host, &f->hooks, &f->err);
}

static void begin(struct fixture *f, const char *name, const char *file)
{
        assert_ok(try_begin(f, name, file), &f->err);
}

/* --- localtime --- */

/* What the engine makes of the annotation's values; NULL: not there. */
static int adjust(struct fixture *f, const char *of_pod, const char *of_container)
{
        pod_annotation.value = (char *) of_pod;
        pod.n_annotations = of_pod != NULL;
        container_annotation.value = (char *) of_container;
        container.n_annotations = of_container != NULL;
        json_object_object_del(f->spec, "mounts");
        return hooks_adjust(f->hooks, &f->subject, f->spec, NULL, &f->err);
}

static void localtime_mounts_the_zone_file_for_those_who_ask(void **state)
{
        struct fixture *f = *state;
        auto_free char *zone = realpath("/etc/localtime", NULL), *want = NULL;
        struct json_object *mounts;
        auto_buf text = BUF_INIT;

        begin(f, "localtime", NULL);
        if (!zone) {
                assert_int_equal(adjust(f, "true", NULL), -1);
                assert_contains(f->err.text, "/etc/localtime: No such file or directory");
                return;
        }
        assert_ok(adjust(f, "true", NULL), &f->err);
        assert_true(json_object_object_get_ex(f->spec, "mounts", &mounts));
        assert_int_equal(json_write(mounts, &text, NULL), 0);
        want = str_printf(NULL, "[{\"destination\":\"/etc/localtime\",\"type\":\"bind\",\"source\":\"%s\","
                                "\"options\":[\"bind\",\"ro\",\"nosuid\",\"nodev\",\"noexec\"]}]", zone);
        assert_string_equal(text.data, want);
}

static void localtime_leaves_others_alone(void **state)
{
        static const char *const cases[][2] = { { NULL, NULL }, { "false", NULL }, { "true", "false" } };
        struct fixture *f = *state;

        begin(f, "localtime", NULL);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                assert_ok(adjust(f, cases[i][0], cases[i][1]), &f->err);
                assert_null(json_object_object_get(f->spec, "mounts"));
        }
}

static void localtime_refuses_other_words(void **state)
{
        struct fixture *f = *state;

        begin(f, "localtime", NULL);
        assert_int_equal(adjust(f, "yes", NULL), -1);
        assert_string_equal(f->err.text, "hook at container create: localtime: annotation localtime.cringle.io/mount: "
                                         "want true or false, not 'yes'");
}

/* --- audit --- */

static void give_args(struct fixture *f, const char *json)
{
        auto_free char *path = str_printf(NULL, "%s/config.json", f->dir);
        auto_free char *text = str_printf(NULL, "{\"process\":{\"args\":%s}}", json);

        assert_ok(file_replace(path, text, strlen(text), 0600, false, &f->err), &f->err);
}

static void run(struct fixture *f, int point)
{
        assert_ok(hooks_run(f->hooks, point, &f->subject, NULL, &f->err), &f->err);
}

/* The lines of @path as values, an array. */
static struct json_object *lines_of(const char *path)
{
        struct json_object *array = json_object_new_array();
        auto_buf text = BUF_INIT;

        assert_ok(file_read(path, 1 << 24, &text, unit_err()), unit_err());
        for (char *at = text.data, *end; at && (end = strchr(at, '\n')); at = end + 1) {
                struct json_object *line;

                if (json_parse(at, (size_t) (end - at), &line, unit_err()) < 0)
                        fail_msg("'%.*s': %s", (int) (end - at), at, unit_err()->text);
                json_object_array_add(array, line);
        }
        return array;
}

/* Line @i without its time, which must look like one. */
static void assert_line(struct json_object *lines, size_t i, const char *want)
{
        struct json_object *line = json_object_array_get_idx(lines, i);
        auto_buf text = BUF_INIT;
        const char *when = "";

        assert_int_equal(json_get_string(line, "time", &when, NULL), 1);
        assert_int_equal(strlen(when), strlen("2026-11-21T22:24:24.123456789Z"));
        json_object_object_del(line, "time");
        assert_int_equal(json_write(line, &text, NULL), 0);
        assert_string_equal(text.data, want);
}

#define WHO "\"namespace\":\"shop\",\"pod\":\"web-1\",\"pod_uid\":\"uid-1\",\"container\":\"nginx\"," \
            "\"container_id\":\"c1\",\"image\":\"nginx:1\""

static void audit_writes_who_ran_what_and_how_it_ended(void **state)
{
        struct fixture *f = *state;
        auto_json lines = NULL;
        struct stat st;

        begin(f, "audit", f->log);
        give_args(f, "[\"nginx\",\"-g\",\"a \\\"b\\\" \\\\ \\u0001\\n\\u007f \\u00e4\\ud83d\\ude00\"]");
        run(f, CRINGLE_CONTAINER_CREATED);
        run(f, CRINGLE_CONTAINER_START);
        run(f, CRINGLE_CONTAINER_STARTED);
        f->subject.exit_code = 137;
        run(f, CRINGLE_CONTAINER_STOPPED);
        lines = lines_of(f->log);
        assert_int_equal(json_object_array_length(lines), 2);
        assert_line(lines, 0, "{\"event\":\"start\"," WHO ",\"args\":[\"nginx\",\"-g\","
                              "\"a \\\"b\\\" \\\\ \\u0001\\n\x7f \xc3\xa4\xf0\x9f\x98\x80\"]}");
        assert_line(lines, 1, "{\"event\":\"exit\"," WHO ",\"args\":[\"nginx\",\"-g\","
                              "\"a \\\"b\\\" \\\\ \\u0001\\n\x7f \xc3\xa4\xf0\x9f\x98\x80\"],\"exit_code\":137}");
        assert_int_equal(stat(f->log, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
}

static void audit_writes_nothing_that_is_not_utf_8(void **state)
{
        static const struct {
                const char *name, *written;
        } cases[] = {
                { "a\xff" "b", "a\xef\xbf\xbd" "b" },
                { "\xc3", "\xef\xbf\xbd" },
                { "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xe2\x82\xac", "\xe2\x82\xac" },
        };
        struct fixture *f = *state;
        auto_json lines = NULL;

        begin(f, "audit", f->log);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                image.image = (char *) cases[i].name;
                run(f, CRINGLE_CONTAINER_START);
        }
        lines = lines_of(f->log);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_string_equal(json_object_get_string(json_object_object_get(json_object_array_get_idx(lines, i), "image")),
                                    cases[i].written);
}

static void *many(void *data)
{
        struct fixture *f = data;

        for (int i = 0; i < 200; i++)
                hooks_run(f->hooks, CRINGLE_CONTAINER_START, &f->subject, NULL, NULL);
        return NULL;
}

static void audit_lines_never_mix(void **state)
{
        struct fixture *f = *state;
        auto_json lines = NULL;
        pthread_t threads[4];

        begin(f, "audit", f->log);
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, many, f), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        lines = lines_of(f->log);
        assert_int_equal(json_object_array_length(lines), 800);
}

static void audit_goes_on_in_a_new_file_when_the_old_one_is_moved(void **state)
{
        struct fixture *f = *state;
        auto_free char *moved = str_printf(NULL, "%s.1", f->log);
        auto_json old = NULL;
        auto_json fresh = NULL;

        begin(f, "audit", f->log);
        run(f, CRINGLE_CONTAINER_START);
        assert_int_equal(rename(f->log, moved), 0);
        run(f, CRINGLE_CONTAINER_STOPPED);
        run(f, CRINGLE_CONTAINER_STOPPED);
        old = lines_of(moved);
        fresh = lines_of(f->log);
        assert_int_equal(json_object_array_length(old), 1);
        assert_int_equal(json_object_array_length(fresh), 2);
}

static void audit_appends_to_what_is_there(void **state)
{
        struct fixture *f = *state;
        auto_json lines = NULL;
        struct stat st;

        assert_ok(file_replace(f->log, "{}\n", 3, 0640, false, &f->err), &f->err);
        begin(f, "audit", f->log);
        run(f, CRINGLE_CONTAINER_START);
        lines = lines_of(f->log);
        assert_int_equal(json_object_array_length(lines), 2);
        assert_int_equal(stat(f->log, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);     /* an operator's own mode stays */
}

static void audit_changes_its_file_live(void **state)
{
        struct fixture *f = *state;
        auto_free char *other = str_printf(NULL, "%s/other.jsonl", f->dir), *bad = str_printf(NULL, "%s/no/x", f->dir);
        auto_buf live = BUF_INIT, restart = BUF_INIT;
        auto_json lines = NULL;

        begin(f, "audit", f->log);
        f->settings[0].value = other;
        assert_ok(host_reload(f->host, &f->config, &live, &restart, &f->err), &f->err);
        assert_contains(live.data, "audit: new settings");
        assert_int_equal(restart.len, 0);
        run(f, CRINGLE_CONTAINER_START);

        f->settings[0].value = bad;
        assert_int_equal(host_reload(f->host, &f->config, &live, &restart, &f->err), -1);
        run(f, CRINGLE_CONTAINER_START);
        lines = lines_of(other);
        assert_int_equal(json_object_array_length(lines), 2);
        assert_int_equal(access(bad, F_OK), -1);
}

static void audit_lets_nothing_start_that_it_cannot_write_down(void **state)
{
        struct fixture *f = *state;
        auto_free char *dir = str_printf(NULL, "%s/log", f->dir), *file = str_printf(NULL, "%s/log/audit", f->dir);

        assert_int_equal(mkdir(dir, 0755), 0);
        begin(f, "audit", file);
        assert_ok(file_remove_tree(dir, &f->err), &f->err);
        assert_int_equal(hooks_run(f->hooks, CRINGLE_CONTAINER_START, &f->subject, NULL, &f->err), -1);
        assert_contains(f->err.text, "hook at container start: audit: open ");
        run(f, CRINGLE_CONTAINER_STOPPED);              /* has happened: logged, no more */
}

/* A disk that is full in the middle of a line. */
static void audit_begins_a_new_line_after_a_torn_one(void **state)
{
        struct fixture *f = *state;
        struct rlimit old, small;
        struct stat st;
        auto_buf text = BUF_INIT;
        int r;

        begin(f, "audit", f->log);
        run(f, CRINGLE_CONTAINER_START);
        assert_int_equal(stat(f->log, &st), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = (struct rlimit) { (rlim_t) st.st_size + 10, old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        r = hooks_run(f->hooks, CRINGLE_CONTAINER_START, &f->subject, NULL, &f->err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(r, -1);
        assert_contains(f->err.text, "only 10 bytes of ");

        run(f, CRINGLE_CONTAINER_START);
        assert_ok(file_read(f->log, 1 << 20, &text, &f->err), &f->err);
        assert_contains(text.data + st.st_size, "{\"time\":\"2\n{\"time\":\"2");
}

static void audit_takes_only_a_regular_file(void **state)
{
        struct fixture *f = *state;
        auto_free char *pipe = str_printf(NULL, "%s/pipe", f->dir), *link = str_printf(NULL, "%s/link", f->dir);

        assert_int_equal(mkfifo(pipe, 0600), 0);
        assert_int_equal(symlink("/dev/null", link), 0);
        assert_int_equal(try_begin(f, "audit", "/dev/null"), -1);
        assert_contains(f->err.text, "audit: create: /dev/null is not a regular file");
        assert_int_equal(try_begin(f, "audit", pipe), -1);
        assert_int_equal(try_begin(f, "audit", link), -1);
        assert_contains(f->err.text, "Too many levels of symbolic links");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(localtime_mounts_the_zone_file_for_those_who_ask),
        TEST(localtime_leaves_others_alone),
        TEST(localtime_refuses_other_words),
        TEST(audit_writes_who_ran_what_and_how_it_ended),
        TEST(audit_writes_nothing_that_is_not_utf_8),
        TEST(audit_lines_never_mix),
        TEST(audit_goes_on_in_a_new_file_when_the_old_one_is_moved),
        TEST(audit_appends_to_what_is_there),
        TEST(audit_changes_its_file_live),
        TEST(audit_lets_nothing_start_that_it_cannot_write_down),
        TEST(audit_begins_a_new_line_after_a_torn_one),
        TEST(audit_takes_only_a_regular_file))
