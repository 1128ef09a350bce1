/*
 * The hook engine: what native hooks may adjust and refuse, who owns a field, in which
 * order hooks of all sources reach a container, and that directories may change meanwhile
 */

#define CRINGLE_BUILTIN

#include "tests/support/unit.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "hooks/hooks.h"

/* --- two native hooks that do what the test says --- */

typedef int (*act_fn)(const struct cringle_event *ev, struct cringle_err *err);

static act_fn first_acts, second_acts;

static int first_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        return first_acts ? first_acts(ev, err) : 0;
}

static int second_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        return second_acts ? second_acts(ev, err) : 0;
}

#define ALL_POINTS ((CRINGLE_AT(CRINGLE_POINTS) - 1) & ~UINT64_C(1))

static const struct cringle_hook_ops first_ops = { .size = sizeof first_ops, .points = ALL_POINTS, .run = first_run };
static const struct cringle_hook_ops second_ops = { .size = sizeof second_ops, .points = ALL_POINTS, .run = second_run };

CRINGLE_PLUGIN(first, .kind = CRINGLE_HOOK, .major = CRINGLE_HOOK_MAJOR, .minor = CRINGLE_HOOK_MINOR, .ops = &first_ops);
CRINGLE_PLUGIN(second, .kind = CRINGLE_HOOK, .major = CRINGLE_HOOK_MAJOR, .minor = CRINGLE_HOOK_MINOR,
               .ops = &second_ops);

/* --- a container to be made --- */

static Cri__Pair pod_annotation = CRI__PAIR__INIT, pod_label = CRI__PAIR__INIT, container_annotation = CRI__PAIR__INIT;
static Cri__Pair *pod_annotations[] = { &pod_annotation }, *pod_labels[] = { &pod_label };
static Cri__Pair *container_annotations[] = { &container_annotation };
static Cri__PodSandboxMetadata pod_metadata = CRI__POD_SANDBOX_METADATA__INIT;
static Cri__PodSandboxConfig pod = CRI__POD_SANDBOX_CONFIG__INIT;
static Cri__ContainerMetadata container_metadata = CRI__CONTAINER_METADATA__INIT;
static Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
static Cri__Mount mount = CRI__MOUNT__INIT;
static Cri__Mount *mounts[] = { &mount };
static Cri__ContainerConfig container = CRI__CONTAINER_CONFIG__INIT;
static struct hooks_subject subject;

static void make_subject(void)
{
        pod_annotation.key = (char *) "colour";
        pod_annotation.value = (char *) "red";
        pod_label.key = (char *) "tier";
        pod_label.value = (char *) "front";
        container_annotation.key = (char *) "taste";
        container_annotation.value = (char *) "sweet";
        pod_metadata.name = (char *) "web-1";
        pod_metadata.namespace_ = (char *) "shop";
        pod_metadata.uid = (char *) "uid-1";
        pod.metadata = &pod_metadata;
        pod.n_annotations = pod.n_labels = 1;
        pod.annotations = pod_annotations;
        pod.labels = pod_labels;
        container_metadata.name = (char *) "nginx";
        image.image = (char *) "sha256:0123";
        image.user_specified_image = (char *) "docker.io/library/nginx:1";
        container.metadata = &container_metadata;
        container.image = &image;
        container.n_annotations = 1;
        container.annotations = container_annotations;
        mount.host_path = (char *) "";
        container.n_mounts = 1;
        container.mounts = mounts;
        subject = (struct hooks_subject) { .pod_id = "p1", .pod = &pod, .handler = "fast", .container_id = "c1",
                                           .container = &container };
}

#define SPEC "{\"process\":{\"args\":[\"/bin/sh\",\"-c\",\"true\"],\"env\":[\"A=1\",\"AB=2\"],"               \
             "\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":0,\"hard\":18446744073709551615}]},"            \
             "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\"},{\"destination\":\"/data/deep\",\"type\":\"bind\"}," \
             "{\"destination\":\"/dev\",\"type\":\"tmpfs\"}],"                                                 \
             "\"linux\":{\"devices\":[{\"path\":\"/dev/fuse\",\"type\":\"c\"}]}}"

struct fixture {
        char *dir, *hooks_d;
        struct config *config;
        struct host *host;
        struct hooks *hooks;
        struct json_object *spec;
        struct cringle_err err;
};

static struct config *load(struct fixture *f, const char *text)
{
        auto_free char *path = str_printf(NULL, "%s/config.yaml", f->dir);
        auto_free char *whole = str_printf(NULL, "root: %s/root\nstate: %s/state\n%s", f->dir, f->dir, text);
        char **names[4];
        struct config *c;

        assert_ok(file_replace(path, whole, strlen(whole), 0644, false, &f->err), &f->err);
        assert_ok(config_load(path, NULL, &c, &f->err), &f->err);
        names[0] = &c->image.name;
        names[1] = &c->cgroup.name;
        names[2] = &c->network.name;
        names[3] = &c->executor.name;
        for (int i = 0; i < 4; i++) {
                free(*names[i]);
                *names[i] = NULL;
        }
        return c;
}

/* An engine on the hooks.d directory of the test, with @text as the rest of the section `hooks`. */
static void begin(struct fixture *f, const char *text)
{
        static const cringle_plugin_fn builtins[] = { cringle_builtin_first, cringle_builtin_second, NULL };
        struct host_options options = { .builtins = builtins };
        auto_free char *section = str_printf(NULL, "hooks:\n  dirs: [%s]\n%s", f->hooks_d, text);

        f->config = load(f, section);
        assert_ok(host_new(f->config, &options, &f->host, &f->err), &f->err);
        assert_ok(hooks_new(f->config, f->host, &f->hooks, &f->err), &f->err);
}

#define BOTH "  plugins: [{plugin: first}, {plugin: second}]\n"
#define BOTH_IGNORED "  plugins: [{plugin: first, failure: ignore}, {plugin: second, failure: ignore}]\n"

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        f->err = (struct cringle_err) CRINGLE_ERR_INIT;
        f->dir = unit_make_dir();
        f->hooks_d = str_printf(NULL, "%s/hooks.d", f->dir);
        assert_int_equal(mkdir(f->hooks_d, 0755), 0);
        assert_int_equal(json_parse(SPEC, strlen(SPEC), &f->spec, &f->err), 0);
        first_acts = second_acts = NULL;
        make_subject();
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        json_object_put(f->spec);
        hooks_free(f->hooks);
        host_free(f->host);
        config_free(f->config);
        file_remove_tree(f->dir, NULL);
        free(f->hooks_d);
        free(f->dir);
        free(f);
        return 0;
}

static void adjust(struct fixture *f)
{
        assert_ok(hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err), &f->err);
}

/* Whose an OCI hook is has a test of its own, and would be in the way in the others. */
static void drop_from(struct buf *text)
{
        char *from;

        while (text->data && (from = strstr(text->data, ",\"from\":{"))) {
                char *end = strchr(from, '}');

                assert_non_null(end);
                memmove(from, end + 1, strlen(end + 1) + 1);
        }
}

/* That @part of the specification, a path as in "process/env", is @json. */
static void assert_spec(struct fixture *f, const char *part, const char *json)
{
        struct json_object *at = f->spec;
        auto_free char *path = strdup(part);
        auto_buf text = BUF_INIT;
        char *rest = NULL;

        for (char *word = strtok_r(path, "/", &rest); word && at; word = strtok_r(NULL, "/", &rest))
                if (!json_object_object_get_ex(at, word, &at))
                        at = NULL;
        if (at)
                assert_int_equal(json_write(at, &text, NULL), 0);
        drop_from(&text);
        assert_string_equal(at ? text.data : "nothing", json);
}

static void put(const char *dir, const char *name, const char *text)
{
        auto_free char *path = str_printf(NULL, "%s/%s", dir, name);

        assert_ok(file_replace(path, text, strlen(text), 0644, false, unit_err()), unit_err());
}

#define FILE_HOOK(path, when) "{\"version\":\"1.0.0\",\"hook\":{\"path\":\"" path "\"},\"when\":{" when "}," \
                              "\"stages\":[\"prestart\"]}"

/* --- adjusting --- */

static int adjust_everything(const struct cringle_event *ev, struct cringle_err *err)
{
        const char *const args[] = { "/wrap", "--", "x", NULL }, *const env[] = { "K=V", NULL };

        if (ev->point != CRINGLE_CONTAINER_CREATE)
                return 0;
        assert_string_equal(ev->env(ev, "A"), "1");
        assert_null(ev->env(ev, "B"));
        if (ev->set_env(ev, "A", "one=1", err) < 0 || ev->set_env(ev, "B", "", err) < 0 ||
            ev->set_env(ev, "B", "again", err) < 0 ||
            ev->add_mount(ev, "/etc", "/mnt/etc", "bind,,ro", err) < 0 || ev->add_mount(ev, "/srv", "/data", NULL, err) < 0 ||
            ev->add_mount(ev, "/proc", "/proc", "rbind", err) < 0 || ev->drop_mount(ev, "/dev", err) < 0 ||
            ev->add_device(ev, "/dev/null", "/dev/fuse", "rw", err) < 0 ||
            ev->set_annotation(ev, "seen", "yes", err) < 0 || ev->set_args(ev, args, err) < 0 ||
            ev->set_rlimit(ev, "RLIMIT_CORE", 1, UINT64_MAX, err) < 0 || ev->set_rlimit(ev, "RLIMIT_NOFILE", 5, 6, err) < 0 ||
            ev->add_oci_hook(ev, "poststop", "/bin/one", NULL, NULL, 0, err) < 0 ||
            ev->add_oci_hook(ev, "poststop", "/bin/two", args, env, 3, err) < 0)
                return -1;
        assert_string_equal(ev->env(ev, "B"), "again");
        return 0;
}

static void a_hook_adjusts_every_part(void **state)
{
        struct fixture *f = *state;
        struct stat st;
        auto_free char *node = NULL;

        assert_int_equal(stat("/dev/null", &st), 0);
        node = str_printf(NULL, "[{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":1,\"minor\":3,\"fileMode\":%u,"
                                "\"uid\":%u,\"gid\":%u}]", st.st_mode & 07777, st.st_uid, st.st_gid);
        begin(f, BOTH "  timeout: 4s\n");
        first_acts = adjust_everything;
        adjust(f);
        assert_spec(f, "process/env", "[\"A=one=1\",\"AB=2\",\"B=again\"]");
        assert_spec(f, "process/args", "[\"/wrap\",\"--\",\"x\"]");
        assert_spec(f, "process/rlimits", "[{\"type\":\"RLIMIT_CORE\",\"soft\":1,\"hard\":18446744073709551615},"
                                          "{\"type\":\"RLIMIT_NOFILE\",\"soft\":5,\"hard\":6}]");
        assert_spec(f, "mounts", "[{\"destination\":\"/proc\",\"type\":\"bind\",\"source\":\"/proc\",\"options\":[\"rbind\"]},"
                                 "{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/srv\",\"options\":[]},"
                                 "{\"destination\":\"/data/deep\",\"type\":\"bind\"},"
                                 "{\"destination\":\"/mnt/etc\",\"type\":\"bind\",\"source\":\"/etc\",\"options\":[\"bind\",\"ro\"]}]");
        assert_spec(f, "linux/devices", node);
        assert_spec(f, "linux/resources/devices",
                    "[{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3,\"access\":\"rw\"}]");
        assert_spec(f, "annotations", "{\"seen\":\"yes\"}");
        assert_spec(f, "hooks", "{\"poststop\":[{\"path\":\"/bin/one\",\"args\":[\"/bin/one\"],\"timeout\":4},"
                                "{\"path\":\"/bin/two\",\"args\":[\"/wrap\",\"--\",\"x\"],\"env\":[\"K=V\"],\"timeout\":3}]}");
}

static int number;      /* of the case that wrong() plays */

static int wrong(const struct cringle_event *ev, struct cringle_err *err)
{
        const char *const none[] = { NULL }, *const bad_env[] = { "PATH", NULL };

        switch (ev->point == CRINGLE_CONTAINER_CREATE ? number : -1) {
        case 0: return ev->set_env(ev, "", "x", err);
        case 1: return ev->set_env(ev, "A=B", "x", err);
        case 2: return ev->set_env(ev, "A", NULL, err);
        case 3: return ev->add_mount(ev, "etc", "/etc", "bind", err);
        case 4: return ev->add_mount(ev, "/etc", "/a/../b", "bind", err);
        case 5: return ev->add_mount(ev, "/etc", "/", "bind", err);
        case 6: return ev->add_mount(ev, NULL, "/etc", "bind", err);
        case 7: return ev->drop_mount(ev, "/not/mounted", err);
        case 8: return ev->add_device(ev, "/etc", "/dev/x", "rw", err);
        case 9: return ev->add_device(ev, "/dev/nothing", "/dev/x", "rw", err);
        case 10: return ev->add_device(ev, "/dev/null", "dev/x", "rw", err);
        case 11: return ev->add_device(ev, "/dev/null", "/dev/x", "rwx", err);
        case 12: return ev->set_annotation(ev, "", "x", err);
        case 13: return ev->set_args(ev, none, err);
        case 14: return ev->set_args(ev, NULL, err);
        case 15: return ev->set_rlimit(ev, "NOFILE", 1, 1, err);
        case 16: return ev->set_rlimit(ev, "RLIMIT_NOFILE", 2, 1, err);
        case 17: return ev->add_oci_hook(ev, "precreate", "/bin/sh", NULL, NULL, 0, err);
        case 18: return ev->add_oci_hook(ev, "prestart", "bin/sh", NULL, NULL, 0, err);
        case 19: return ev->add_oci_hook(ev, "prestart", "/bin/sh", NULL, NULL, -1, err);
        case 20: return ev->add_oci_hook(ev, "prestart", "/bin/sh", NULL, bad_env, 0, err);
        case 21: return ev->add_oci_hook(ev, NULL, "/bin/sh", NULL, NULL, 0, err);
        default: return 0;
        }
}

static void a_value_that_makes_no_sense_is_refused_by_name(void **state)
{
        static const char *const errors[] = {
                "'' is no name of a variable", "'A=B' is no name of a variable", "variable: NULL where a value is needed",
                "not clean absolute paths", "not clean absolute paths", "not clean absolute paths", "mount: NULL where",
                "no mount at /not/mounted", "/etc is not a device", "device /dev/nothing: No such file or directory",
                "device 'dev/x'", "with access 'rwx'", "annotation without a key", "empty arguments", "empty arguments",
                "unknown rlimit 'NOFILE'", "soft limit 2 is above the hard one, 1", "unknown stage 'precreate'",
                "'bin/sh': no absolute path", "negative time limit", "'PATH' is not NAME=VALUE", "OCI hook: NULL where",
        };
        struct fixture *f = *state;

        begin(f, BOTH);
        second_acts = wrong;
        for (number = 0; number < (int) (sizeof errors / sizeof *errors); number++) {
                if (hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err) == 0)
                        fail_msg("accepted: %s", errors[number]);
                assert_true(str_starts(f->err.text, "hook at container create: second: "));
                assert_contains(f->err.text, errors[number]);
        }
}

static int take_field(const struct cringle_event *ev, struct cringle_err *err)
{
        static const char *const args[] = { "x", NULL };

        switch (ev->point == CRINGLE_CONTAINER_CREATE ? number : -1) {
        case 0: return ev->set_env(ev, "A", "x", err);
        case 1: return ev->add_mount(ev, "/etc", "/mnt", "ro", err);
        case 2: return ev->drop_mount(ev, "/proc", err);
        case 3: return ev->add_device(ev, "/dev/null", "/dev/x", "r", err);
        case 4: return ev->set_annotation(ev, "k", "v", err);
        case 5: return ev->set_args(ev, args, err);
        case 6: return ev->set_rlimit(ev, "RLIMIT_CPU", 1, 2, err);
        default: return 0;
        }
}

static void a_field_has_one_owner_and_the_error_names_both(void **state)
{
        static const char *const fields[] = { "variable A", "mount /mnt", "mount /proc", "device /dev/x", "annotation k",
                                              "process arguments", "rlimit RLIMIT_CPU" };
        struct fixture *f = *state;

        begin(f, BOTH);
        for (number = 0; number < (int) (sizeof fields / sizeof *fields); number++) {
                auto_free char *want = str_printf(NULL, "second: %s is set by hook first already, "
                                                        "hook second may not set it too", fields[number]);

                first_acts = take_field;
                second_acts = NULL;
                json_object_put(f->spec);
                assert_int_equal(json_parse(SPEC, strlen(SPEC), &f->spec, &f->err), 0);
                adjust(f);                      /* what the specification has is free to take */
                json_object_put(f->spec);
                assert_int_equal(json_parse(SPEC, strlen(SPEC), &f->spec, &f->err), 0);
                second_acts = take_field;
                assert_int_equal(hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err), -1);
                assert_contains(f->err.text, want);
                assert_int_equal(f->err.code, CRINGLE_E_PRECONDITION);
        }
}

static int set_args_and_env(const struct cringle_event *ev, struct cringle_err *err)
{
        const char *const args[] = { "/from/first", NULL };

        return ev->set_args(ev, args, err) < 0 ? -1 : ev->set_env(ev, "FROM", "first", err);
}

static int see_args_and_env(const struct cringle_event *ev, struct cringle_err *err)
{
        assert_string_equal(ev->args[0], "/from/first");
        assert_null(ev->args[1]);
        assert_string_equal(ev->env(ev, "FROM"), "first");
        return ev->set_annotation(ev, "second", "ran", err);
}

static void a_later_hook_sees_what_an_earlier_one_did(void **state)
{
        struct fixture *f = *state;

        begin(f, BOTH);
        first_acts = set_args_and_env;
        second_acts = see_args_and_env;
        adjust(f);
        assert_spec(f, "annotations", "{\"second\":\"ran\"}");
}

static int adjust_then_fail(const struct cringle_event *ev, struct cringle_err *err)
{
        if (ev->point == CRINGLE_CONTAINER_CREATE && adjust_everything(ev, err) < 0)
                return -1;
        return cringle_fail(err, CRINGLE_E_DENIED, "not here");
}

static int set_a(const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->set_env(ev, "A", "mine", err);
}

static void an_ignored_hook_leaves_nothing_of_what_it_adjusted(void **state)
{
        struct fixture *f = *state;
        auto_json before = NULL;

        assert_int_equal(json_parse(SPEC, strlen(SPEC), &before, &f->err), 0);
        begin(f, BOTH_IGNORED);
        first_acts = adjust_then_fail;
        adjust(f);
        assert_int_equal(json_object_equal(f->spec, before), 1);

        second_acts = set_a;            /* and what it owned is free again */
        adjust(f);
        assert_spec(f, "process/env", "[\"A=mine\",\"AB=2\"]");
}

static int add_hook_only(const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->add_oci_hook(ev, "poststart", "/bin/true", NULL, NULL, 0, err);
}

static void an_oci_hook_has_the_policy_of_the_plugin_that_added_it(void **state)
{
        struct fixture *f = *state;

        begin(f, BOTH_IGNORED);
        first_acts = add_hook_only;
        adjust(f);
        assert_spec(f, "hooks/poststart",
                    "[{\"path\":\"/bin/true\",\"args\":[\"/bin/true\"],\"timeout\":10,\"failure\":\"ignore\"}]");
}

/* --- refusing --- */

static int refuse(const struct cringle_event *ev, struct cringle_err *err)
{
        return cringle_fail(err, CRINGLE_E_DENIED, "not here");
}

static int adjust_anyway(const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->set_env(ev, "A", "x", err);
}

static void what_has_happened_or_must_cannot_be_refused(void **state)
{
        static const struct {
                int point;
                const char *error;      /* NULL: cannot be refused */
        } cases[] = {
                { CRINGLE_POD_RUN, "hook at pod run: first: not here" },
                { CRINGLE_CONTAINER_CREATED, "hook at container created: first: not here" },
                { CRINGLE_CONTAINER_START, "hook at container start: first: not here" },
                { CRINGLE_CONTAINER_STARTED, "hook at container started: first: not here" },
                { CRINGLE_CONTAINER_STOP, NULL },
                { CRINGLE_CONTAINER_STOPPED, NULL },
                { CRINGLE_CONTAINER_REMOVE, NULL },
                { CRINGLE_POD_STOP, NULL },
                { CRINGLE_POD_REMOVE, NULL },
        };
        struct fixture *f = *state;

        begin(f, BOTH);
        first_acts = refuse;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                int r = hooks_run(f->hooks, cases[i].point, &subject, NULL, &err);

                assert_int_equal(r, cases[i].error ? -1 : 0);
                assert_string_equal(err.text, cases[i].error ? cases[i].error : "");
        }
        assert_int_equal(hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err), -1);
        assert_string_equal(f->err.text, "hook at container create: first: not here");
        assert_int_equal(f->err.code, CRINGLE_E_DENIED);
}

static int runs;

static int count_run(const struct cringle_event *ev, struct cringle_err *err)
{
        runs++;
        return 0;
}

static void an_ignored_refusal_stops_nothing(void **state)
{
        struct fixture *f = *state;

        begin(f, BOTH_IGNORED);
        first_acts = refuse;
        second_acts = count_run;
        runs = 0;
        for (int point = CRINGLE_POD_RUN; point < CRINGLE_POINTS; point++)
                assert_int_equal(point == CRINGLE_CONTAINER_CREATE ?
                                 hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err) :
                                 hooks_run(f->hooks, point, &subject, NULL, &f->err), 0);
        assert_int_equal(runs, CRINGLE_POINTS - CRINGLE_POD_RUN);
}

static void a_refusal_keeps_the_next_hook_from_running(void **state)
{
        struct fixture *f = *state;

        begin(f, BOTH);
        first_acts = refuse;
        second_acts = count_run;
        runs = 0;
        assert_int_equal(hooks_run(f->hooks, CRINGLE_POD_RUN, &subject, NULL, &f->err), -1);
        assert_int_equal(runs, 0);
}

static void nothing_is_adjusted_once_the_container_is_there(void **state)
{
        struct fixture *f = *state;

        begin(f, BOTH);
        first_acts = adjust_anyway;
        assert_int_equal(hooks_run(f->hooks, CRINGLE_CONTAINER_START, &subject, NULL, &f->err), -1);
        assert_contains(f->err.text, "a container can be adjusted at CRINGLE_CONTAINER_CREATE only");
}

/* --- what a hook is told --- */

static int look(const struct cringle_event *ev, struct cringle_err *err)
{
        assert_string_equal(ev->pod_id, "p1");
        assert_string_equal(ev->pod_name, "web-1");
        assert_string_equal(ev->pod_space, "shop");
        assert_string_equal(ev->pod_uid, "uid-1");
        assert_string_equal(ev->container_id, "c1");
        assert_string_equal(ev->container_name, "nginx");
        assert_string_equal(ev->image, "docker.io/library/nginx:1");
        assert_string_equal(ev->handler, "fast");
        assert_string_equal(ev->annotation(ev, "colour"), "red");
        assert_string_equal(ev->annotation(ev, "taste"), "sweet");
        assert_null(ev->annotation(ev, "smell"));
        assert_string_equal(ev->label(ev, "tier"), "front");
        assert_null(ev->label(ev, "colour"));
        assert_true(ev->call->deadline > clock_monotonic());
        assert_true(ev->call->deadline <= clock_monotonic() + 10 * NSEC_PER_SEC);
        if (ev->point != CRINGLE_CONTAINER_CREATE) {
                assert_string_equal(ev->args[2], "true");
                assert_null(ev->args[3]);
                assert_int_equal(ev->exit_code, 7);
        }
        runs++;
        return 0;
}

static void a_hook_is_told_of_the_container(void **state)
{
        struct fixture *f = *state;

        begin(f, BOTH);
        first_acts = look;
        runs = 0;
        adjust(f);
        put(f->dir, "config.json", SPEC);
        subject.bundle = f->dir;
        subject.exit_code = 7;
        assert_int_equal(hooks_run(f->hooks, CRINGLE_CONTAINER_STOPPED, &subject, NULL, &f->err), 0);
        assert_int_equal(runs, 2);
}

static int look_at_pod(const struct cringle_event *ev, struct cringle_err *err)
{
        assert_null(ev->container_id);
        assert_null(ev->container_name);
        assert_null(ev->image);
        assert_null(ev->args);
        assert_string_equal(ev->handler, "");
        assert_string_equal(ev->annotation(ev, "colour"), "red");
        assert_null(ev->env(ev, "A"));
        runs++;
        return 0;
}

static void a_hook_is_told_of_the_pod(void **state)
{
        struct fixture *f = *state;

        begin(f, BOTH);
        subject = (struct hooks_subject) { .pod_id = "p1", .pod = &pod };
        first_acts = look_at_pod;
        runs = 0;
        assert_int_equal(hooks_run(f->hooks, CRINGLE_POD_REMOVE, &subject, NULL, &f->err), 0);
        assert_int_equal(runs, 1);
}

/* --- OCI hooks --- */

static int add_prestart(const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->add_oci_hook(ev, "prestart", "/native", NULL, NULL, 1, err);
}

static int see_args(const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->args && strcmp(ev->args[0], "/bin/known") == 0 ? 0 :
               cringle_fail(err, CRINGLE_E_INTERNAL, "%s", ev->args ? ev->args[0] : "no arguments");
}

/* Whoever has them spares hooks the reading of config.json at each point. */
static void arguments_that_are_known_are_not_looked_up(void **state)
{
        static const char *const args[] = { "/bin/known", NULL };
        struct hooks_subject told = { .pod_id = "p1", .pod = &pod, .container_id = "c1", .container = &container,
                                      .bundle = "/nowhere", .args = args };
        struct fixture *f = *state;

        begin(f, BOTH);
        first_acts = see_args;
        assert_ok(hooks_run(f->hooks, CRINGLE_CONTAINER_START, &told, NULL, &f->err), &f->err);
        told.args = NULL;
        assert_int_equal(hooks_run(f->hooks, CRINGLE_CONTAINER_START, &told, NULL, &f->err), -1);
        assert_contains(f->err.text, "no arguments");
}

static void sources_come_in_their_order(void **state)
{
        struct fixture *f = *state;

        put(f->hooks_d, "b.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        put(f->hooks_d, "A.json", FILE_HOOK("/bin/true", "\"commands\":[\"^/bin/sh$\"]"));
        begin(f, BOTH "  declared:\n"
                      "    - {name: y, stage: prestart, path: /yaml, args: [-v], env: [A=B], timeout: 1500ms, failure: ignore}\n"
                      "    - {name: z, stage: poststop, path: /yaml}\n");
        first_acts = add_prestart;
        adjust(f);
        assert_spec(f, "hooks/prestart",
                    "[{\"path\":\"/native\",\"args\":[\"/native\"],\"timeout\":1},"
                    "{\"path\":\"/bin/true\",\"args\":[\"/bin/true\"],\"timeout\":10},"
                    "{\"path\":\"/bin/sh\",\"args\":[\"/bin/sh\"],\"timeout\":10},"
                    "{\"path\":\"/yaml\",\"args\":[\"/yaml\",\"-v\"],\"env\":[\"A=B\"],\"timeout\":2,\"failure\":\"ignore\"}]");
        assert_spec(f, "hooks/poststop", "[{\"path\":\"/yaml\",\"args\":[\"/yaml\"],\"env\":[],\"timeout\":10}]");
}

static void conditions_of_the_yaml_are_anded(void **state)
{
        static const struct {
                const char *when;
                bool matches;
        } cases[] = {
                { "{}", true },
                { "{annotations: {colo: ^red$}}", true },
                { "{annotations: {colour: blue}}", false },
                { "{annotations: {taste: sweet}}", false },             /* a container's own do not count */
                { "{namespaces: [^kube-, ^shop$]}", true },
                { "{namespaces: [^sho$]}", false },
                { "{images: ['library/nginx:']}", true },
                { "{images: ['^sha256:']}", false },                    /* but its name does */
                { "{commands: [sh$]}", true },
                { "{commands: [true]}", false },
                { "{annotations: {colour: red}, namespaces: [shop], images: [nginx], commands: [sh]}", true },
                { "{annotations: {colour: red}, namespaces: [bank], images: [nginx], commands: [sh]}", false },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *text = str_printf(NULL, "  declared: [{name: y, stage: poststart, path: /yaml, when: %s}]\n",
                                                  cases[i].when);

                begin(f, text);
                adjust(f);
                if ((json_object_object_get(f->spec, "hooks") != NULL) != cases[i].matches)
                        fail_msg("%s", cases[i].when);
                json_object_object_del(f->spec, "hooks");
                f->hooks = hooks_free(f->hooks);
                f->host = host_free(f->host);
                f->config = config_free(f->config);
        }
}

static void only_mounts_of_the_node_are_bind_mounts(void **state)
{
        struct fixture *f = *state;

        put(f->hooks_d, "a.json", FILE_HOOK("/bin/sh", "\"hasBindMounts\":true"));
        begin(f, "");
        adjust(f);
        assert_spec(f, "hooks", "nothing");
        mount.host_path = (char *) "/var/lib/data";
        adjust(f);
        assert_spec(f, "hooks/prestart", "[{\"path\":\"/bin/sh\",\"args\":[\"/bin/sh\"],\"timeout\":10}]");
}

/* --- changes while pods run --- */

/* How many prestart hooks a new container gets. */
static size_t hooked(struct fixture *f)
{
        struct json_object *hooks, *prestart;
        size_t n = 0;

        adjust(f);
        if (json_object_object_get_ex(f->spec, "hooks", &hooks) && json_object_object_get_ex(hooks, "prestart", &prestart))
                n = json_object_array_length(prestart);
        json_object_object_del(f->spec, "hooks");
        return n;
}

static void files_come_and_go_without_a_restart(void **state)
{
        struct fixture *f = *state;
        auto_free char *one = str_printf(NULL, "%s/one.json", f->hooks_d), *aside = str_printf(NULL, "%s/aside", f->dir);

        begin(f, "");
        assert_int_equal(hooked(f), 0);
        put(f->hooks_d, "one.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        assert_int_equal(hooked(f), 1);
        put(f->hooks_d, "two.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        assert_int_equal(hooked(f), 2);
        put(f->hooks_d, "two.json", FILE_HOOK("/bin/sh", "\"always\":false"));
        assert_int_equal(hooked(f), 1);
        put(f->hooks_d, "two.json", "{");
        assert_int_equal(hooked(f), 1);
        assert_int_equal(unlink(one), 0);
        assert_int_equal(hooked(f), 0);

        put(f->hooks_d, "two.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        assert_int_equal(hooked(f), 1);
        assert_int_equal(rename(f->hooks_d, aside), 0);
        assert_int_equal(hooked(f), 0);
        assert_int_equal(mkdir(f->hooks_d, 0755), 0);
        put(f->hooks_d, "three.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        put(f->hooks_d, "four.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        assert_int_equal(hooked(f), 2);
}

static void a_program_may_come_after_the_file_that_names_it(void **state)
{
        struct fixture *f = *state;
        auto_free char *text = str_printf(NULL, FILE_HOOK("%s/program", "\"always\":true"), f->dir);

        put(f->hooks_d, "one.json", text);
        begin(f, "");
        usleep(100 * 1000);
        assert_int_equal(hooked(f), 0);
        put(f->dir, "program", "#!/bin/sh\n");
        assert_int_equal(hooked(f), 1);
}

static void reload(struct fixture *f, const struct config *config)
{
        struct hooks_plan *plan = NULL;

        assert_ok(hooks_prepare(config, &plan, &f->err), &f->err);
        hooks_take_over(f->hooks, plan);
}

static void a_reload_takes_over_all_or_nothing(void **state)
{
        struct fixture *f = *state;
        struct hooks_plan *plan = NULL;
        struct config *none, *bad;

        put(f->hooks_d, "one.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        begin(f, "  declared: [{name: y, stage: prestart, path: /yaml}]\n");
        assert_int_equal(hooked(f), 2);

        bad = load(f, "hooks:\n  dirs: []\n  declared: [{name: y, stage: prestart, path: /yaml}]\n");
        free(bad->hooks.yaml[0].stage);
        bad->hooks.yaml[0].stage = strdup("never");
        assert_int_equal(hooks_prepare(bad, &plan, &f->err), -1);
        assert_contains(f->err.text, "unknown stage 'never'");
        config_free(bad);
        assert_int_equal(hooked(f), 2);

        none = load(f, "hooks:\n  dirs: []\n");
        assert_ok(hooks_prepare(none, &plan, &f->err), &f->err);
        config_free(none);
        assert_int_equal(hooked(f), 2);
        hooks_take_over(f->hooks, plan);
        assert_int_equal(hooked(f), 0);
}

/* --- the list --- */

struct row {
        char *text;
        uint64_t matches, calls, failures;
};

struct rows {
        struct row list[8];
        size_t n;
};

static void add_row(void *data, const struct hooks_info *i)
{
        struct rows *rows = data;

        assert_true(rows->n < 8);
        rows->list[rows->n++] = (struct row) {
                .text = str_printf(NULL, "%s|%s|%s|%s|%s|%s", i->name, i->source, i->stages, i->policy, i->conditions,
                                   i->error ? i->error : ""),
                .matches = i->matches,
                .calls = i->calls,
                .failures = i->failures,
        };
}

static struct rows list(struct fixture *f)
{
        struct rows rows = { 0 };

        hooks_list(f->hooks, add_row, &rows);
        return rows;
}

static void assert_row(struct rows *rows, size_t at, const char *text, uint64_t matches, uint64_t calls, uint64_t failures)
{
        assert_true(at < rows->n);
        assert_string_equal(rows->list[at].text, text);
        assert_int_equal(rows->list[at].matches, matches);
        assert_int_equal(rows->list[at].calls, calls);
        assert_int_equal(rows->list[at].failures, failures);
        free(rows->list[at].text);
}

/* The executor tells that a hook has run. */
static void ran(struct fixture *f, const char *source, const char *name, const char *stage, int64_t nanoseconds,
                const char *error)
{
        struct hooks_call call = { .source = source, .name = name, .stage = stage, .nanoseconds = nanoseconds, .error = error,
                                   .timed_out = error && strstr(error, "limit") };

        hooks_call_subject(&call, &subject);
        hooks_called(f->hooks, &call);
}

static void the_list_shows_all_sources_with_errors_and_counts(void **state)
{
        struct fixture *f = *state;
        struct rows rows;

        put(f->hooks_d, "bad.json", "{}");
        put(f->hooks_d, "good.json", FILE_HOOK("/bin/sh", "\"commands\":[\"sh\"]"));
        put(f->hooks_d, "other.json", FILE_HOOK("/bin/sh", "\"commands\":[\"cat\"]"));
        begin(f, "  plugins: [{plugin: first, failure: ignore}]\n"
                 "  declared: [{name: y, stage: poststop, path: /yaml, failure: ignore, when: {namespaces: [shop]}}]\n");
        first_acts = refuse;
        adjust(f);
        adjust(f);
        ran(f, "hooks.d", "good.json", "prestart", 5, "exit status 1");
        ran(f, "yaml", "y", "poststop", 5, NULL);
        put(f->hooks_d, "new.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        rows = list(f);
        assert_int_equal(rows.n, 6);
        assert_row(&rows, 0, "first|plugin|pod run,container create,container created,container start,container started,"
                             "container stop,container stopped,container remove,pod stop,pod remove|ignore||", 0, 2, 2);
        assert_row(&rows, 1, "bad.json|hooks.d||fail||no 'hook'", 0, 0, 0);
        assert_row(&rows, 2, "good.json|hooks.d|prestart|fail|command sh|", 2, 1, 1);
        assert_row(&rows, 3, "new.json|hooks.d|prestart|fail|always|", 0, 0, 0);
        assert_row(&rows, 4, "other.json|hooks.d|prestart|fail|command cat|", 0, 0, 0);
        assert_row(&rows, 5, "y|yaml|poststop|ignore|namespace shop|", 2, 1, 0);

        reload(f, f->config);         /* counts survive */
        rows = list(f);
        for (size_t i = 0; i < rows.n; i++) {
                if (strstr(rows.list[i].text, "namespace shop") || strstr(rows.list[i].text, "good.json")) {
                        assert_int_equal(rows.list[i].matches, 2);
                        assert_int_equal(rows.list[i].calls, 1);
                }
                free(rows.list[i].text);
        }
}

static const char *asked_for;   /* by ask() */

static int ask(const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->add_cdi_device(ev, asked_for, err);
}

static int ask_and_fail(const struct cringle_event *ev, struct cringle_err *err)
{
        if (ev->add_cdi_device(ev, "acme.com/x=nobody-has-it", err) < 0)
                return -1;
        return cringle_fail(err, CRINGLE_E_INTERNAL, "after asking");
}

static void a_hook_asks_for_a_device(void **state)
{
        struct fixture *f = *state;
        auto_free char *section = str_printf(NULL, BOTH_IGNORED "cdi: {dirs: [%s]}\n", f->hooks_d);

        put(f->hooks_d, "acme.yaml", "cdiVersion: 0.5.0\nkind: acme.com/x\ndevices:\n- name: a\n"
                                     "  containerEdits: {env: [DEVICE=a]}\n");
        begin(f, section);
        first_acts = ask_and_fail;      /* what it asked for is taken back */
        second_acts = ask;
        asked_for = "acme.com/x=a";
        adjust(f);
        assert_spec(f, "process/env", "[\"A=1\",\"AB=2\",\"DEVICE=a\"]");

        asked_for = "acme.com/x=b";     /* the policy of the hook is not that of the device */
        assert_int_equal(hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err), -1);
        assert_contains(f->err.text, "cannot be had: acme.com/x=b; known: acme.com/x=a");
        asked_for = NULL;
        adjust(f);
}

static void the_yaml_has_more_conditions(void **state)
{
        static const struct { const char *when; bool holds; } cases[] = {
                { "labels: {'^tier$': '^front$'}", true },
                { "labels: {'^tier$': '^back$'}", false },
                { "labels: {'^tier$': front, colour: red}", false },
                { "pods: ['^db', '^web']", true },
                { "pods: ['^db']", false },
                { "containers: ['^nginx$']", true },
                { "containers: ['^ginx$']", false },
                { "handlers: ['^fast$']", true },
                { "handlers: ['^$']", false },
                { "devices: ['^/dev/fuse$']", true },
                { "devices: ['^acme.com/gpu=']", true },
                { "devices: ['^/dev/kvm$', '^other']", false },
                { "bind_mounts: true", false },
                { "bind_mounts: false, pods: [web]", true },
                { "pods: [web], containers: [mysql]", false },
        };
        struct fixture *f = *state;
        Cri__Device device = CRI__DEVICE__INIT, *devices[] = { &device };
        Cri__Pair wish = CRI__PAIR__INIT, *wishes[] = { &wish };
        auto_free char *cdi = str_printf(NULL, "  timeout: 1s\ncdi: {dirs: [%s]}\n", f->hooks_d);

        put(f->hooks_d, "gpu.yaml", "cdiVersion: 0.5.0\nkind: acme.com/gpu\ndevices:\n- name: a\n  containerEdits: {env: [G=1]}\n");
        device.host_path = (char *) "/dev/fuse";
        wish.key = (char *) "cdi.k8s.io/x";
        wish.value = (char *) "acme.com/gpu=a";
        container.n_devices = 1;
        container.devices = devices;
        container.annotations = wishes;
        begin(f, cdi);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *text = str_printf(NULL, "hooks:\n  dirs: [%s]\n  declared: [{name: a, stage: poststop, path: /a, "
                                                  "when: {%s}}]\ncdi: {dirs: [%s]}\n", f->hooks_d, cases[i].when, f->hooks_d);
                auto_of(config) c = load(f, text);

                json_object_object_del(f->spec, "hooks");
                reload(f, c);
                adjust(f);
                if ((json_object_object_get(f->spec, "hooks") != NULL) != cases[i].holds)
                        fail_msg("%s: want %d", cases[i].when, cases[i].holds);
        }
        container.n_devices = 0;
}

static void places_are_filled_in_and_stay_one_word(void **state)
{
        struct fixture *f = *state;

        pod_label.value = (char *) "a b; {{pod.uid}} $(x)";
        begin(f, "  declared: [{name: a, stage: poststop, path: '/a{{', args: ['--pod={{pod.namespace}}/{{ pod.name }}', "
                 "'{{pod.labels.tier}}', '{{pod.annotations.none}}', plain], env: ['ID={{pod.id}}.{{container.id}}', "
                 "'WHO={{container.name}} {{container.image}} {{handler}} {{pod.uid}}']}]\n");
        adjust(f);
        assert_spec(f, "hooks/poststop",
                    "[{\"path\":\"/a{{\",\"args\":[\"/a{{\",\"--pod=shop/web-1\",\"a b; {{pod.uid}} $(x)\",\"\",\"plain\"],"
                    "\"env\":[\"ID=p1.c1\",\"WHO=nginx docker.io/library/nginx:1 fast uid-1\"],\"timeout\":10}]");
}

static void append_step(void *data, const struct hooks_step *step)
{
        buf_printf(data, NULL, "%s %s %s: %s\n", step->matches ? "*" : "-", step->source, step->name, step->why);
        for (char *const *line = step->changes; line && *line; line++)
                buf_printf(data, NULL, "  %s\n", *line);
}

static void append_owner(void *data, const char *field, const char *owner)
{
        buf_printf(data, NULL, "%s = %s\n", field, owner);
}

static int rename_a(const struct cringle_event *ev, struct cringle_err *err)
{
        return ev->set_env(ev, "A", "2", err) < 0 ? -1 : ev->drop_mount(ev, "/dev", err);
}

static int refuse_after_change(const struct cringle_event *ev, struct cringle_err *err)
{
        if (ev->set_env(ev, "A", "3", err) < 0)
                return -1;
        return cringle_fail(err, CRINGLE_E_INTERNAL, "no");
}

static void a_rehearsal_tells_of_each_hook_and_counts_nothing(void **state)
{
        struct fixture *f = *state;
        auto_buf text = BUF_INIT;
        struct hooks_watcher w = { .step = append_step, .owner = append_owner, .data = &text };
        struct rows rows;

        put(f->hooks_d, "10.json", FILE_HOOK("/bin/true", "\"always\":true"));
        put(f->hooks_d, "20.json", FILE_HOOK("/bin/nowhere", "\"always\":true"));
        begin(f, "  plugins: [{plugin: second, failure: ignore}, {plugin: first}]\n"
                 "  declared: [{name: off, stage: poststop, path: /bin/true, when: {namespaces: ['^prod$'], images: [nginx]}}]\n");
        first_acts = rename_a;
        second_acts = refuse_after_change;
        assert_ok(hooks_explain(f->hooks, &subject, f->spec, &w, NULL, &f->err), &f->err);
        drop_from(&text);
        assert_string_equal(text.data,
                            "* plugin second: hook at container create: second: no\n"
                            "* plugin first: called\n"
                            "  - process.env: \"A=1\"\n"
                            "  + process.env: \"A=2\"\n"
                            "  - mounts: {\"destination\":\"/dev\",\"type\":\"tmpfs\"}\n"
                            "- cdi cdi: no device is asked for\n"
                            "mount /dev = first\n"
                            "variable A = first\n"
                            "* hooks.d 10.json: always\n"
                            "  + hooks.prestart: {\"path\":\"/bin/true\",\"args\":[\"/bin/true\"],\"timeout\":10}\n"
                            "- hooks.d 20.json: not in force: hook.path /bin/nowhere: No such file or directory\n"
                            "- yaml off: namespace ^prod$ does not hold for 'shop'; image nginx holds for "
                            "'docker.io/library/nginx:1'\n");
        rows = list(f);
        for (size_t i = 0; i < rows.n; i++) {
                assert_int_equal(rows.list[i].matches, 0);
                assert_int_equal(rows.list[i].calls, 0);
                free(rows.list[i].text);
        }
}

static void append_spent(void *data, const struct hooks_info *info)
{
        if (strcmp(info->source, "plugin") == 0)
                buf_printf(data, NULL, "%s %d %s\n", info->name, info->nanoseconds > 0,
                           info->last_failure ? info->last_failure : "");
}

static void the_list_tells_time_and_the_last_failure(void **state)
{
        struct fixture *f = *state;
        auto_buf text = BUF_INIT;

        begin(f, BOTH_IGNORED);
        hooks_list(f->hooks, append_spent, &text);
        assert_string_equal(text.data, "first 0 \nsecond 0 \n");
        buf_clear(&text);
        second_acts = refuse_after_change;
        adjust(f);
        hooks_list(f->hooks, append_spent, &text);
        assert_string_equal(text.data, "first 1 \nsecond 1 hook at container create: second: no\n");
        buf_clear(&text);
        second_acts = NULL;             /* a success forgets it */
        adjust(f);
        hooks_list(f->hooks, append_spent, &text);
        assert_string_equal(text.data, "first 1 \nsecond 1 \n");
}

static int add_hook_and_variable(const struct cringle_event *ev, struct cringle_err *err)
{
        if (ev->point != CRINGLE_CONTAINER_CREATE)
                return 0;
        if (ev->add_oci_hook(ev, "poststop", "/native", NULL, NULL, 0, err) < 0)
                return -1;
        return ev->set_env(ev, "A", "2", err);
}

static void an_oci_hook_says_whose_it_is(void **state)
{
        struct fixture *f = *state;
        auto_free char *section = str_printf(NULL, BOTH "  declared: [{name: y, stage: poststop, path: /yaml}]\n"
                                                   "cdi: {dirs: [%s]}\n", f->hooks_d);
        auto_free char *yaml_origin = str_printf(NULL, "%s/config.yaml:6", f->dir);
        auto_free char *file_origin = str_printf(NULL, "%s/b.json", f->hooks_d);
        auto_free char *cdi_origin = str_printf(NULL, "%s/acme.yaml", f->hooks_d);
        const char *const want[4][3] = { { "plugin", "first", "first" }, { "cdi", "acme.com/x=a", cdi_origin },
                                         { "hooks.d", "b.json", file_origin }, { "yaml", "y", yaml_origin } };
        struct json_object *hooks, *list;

        put(f->hooks_d, "b.json", "{\"version\":\"1.0.0\",\"hook\":{\"path\":\"/bin/sh\"},\"when\":{\"always\":true},"
                                  "\"stages\":[\"poststop\"]}");
        put(f->hooks_d, "acme.yaml", "cdiVersion: 0.5.0\nkind: acme.com/x\ndevices:\n- name: a\n"
                                     "  containerEdits: {hooks: [{hookName: poststop, path: /cdi}]}\n");
        begin(f, section);
        first_acts = add_hook_and_variable;
        second_acts = ask;
        asked_for = "acme.com/x=a";
        adjust(f);
        assert_int_equal(json_get_object(f->spec, "hooks", &hooks, NULL), 1);
        assert_int_equal(json_get_array(hooks, "poststop", &list, NULL), 1);
        assert_int_equal(json_object_array_length(list), 4);
        for (size_t i = 0; i < 4; i++) {
                static const char *const members[] = { "source", "name", "origin" };
                struct json_object *from;

                assert_int_equal(json_get_object(json_object_array_get_idx(list, i), "from", &from, NULL), 1);
                for (size_t k = 0; k < 3; k++) {
                        const char *text = "";

                        json_get_string(from, members[k], &text, NULL);
                        assert_string_equal(text, want[i][k]);
                }
        }
}

static void append_counter(void *data, const struct hooks_counter *c)
{
        auto_free char *line = str_printf(NULL, "%s:%s %s %llu %llu %llu %lld", c->source, c->name, c->stage,
                                          (unsigned long long) c->calls, (unsigned long long) c->failures,
                                          (unsigned long long) c->timeouts, (long long) c->nanoseconds);

        strv_add(data, line, NULL);
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static void each_hook_and_stage_has_its_counters(void **state)
{
        struct fixture *f = *state;
        auto_strv lines = NULL;

        begin(f, "");
        ran(f, "yaml", "y", "poststop", 5, NULL);
        ran(f, "yaml", "y", "poststop", 6, "killed at its time limit");
        ran(f, "yaml", "y", "poststart", 7, "exit status 1");
        ran(f, "hooks.d", "y", "poststart", 9, NULL);
        hooks_counters(f->hooks, append_counter, &lines);
        assert_int_equal(strv_count((const char *const *) lines), 3);
        qsort(lines, 3, sizeof *lines, by_text);
        assert_string_equal(lines[0], "hooks.d:y poststart 1 0 0 9");
        assert_string_equal(lines[1], "yaml:y poststart 1 1 0 7");
        assert_string_equal(lines[2], "yaml:y poststop 2 1 1 11");
}

static void keep_info(void *data, const struct hooks_info *info)
{
        if (strcmp(info->name, "y") == 0)
                buf_printf(data, NULL, "%llu %llu %llu %lld %lld %lld %d %s %s %lld", (unsigned long long) info->calls,
                           (unsigned long long) info->failures, (unsigned long long) info->timeouts,
                           (long long) info->nanoseconds, (long long) info->longest, (long long) info->last_nanoseconds,
                           info->last_at > 0, info->last_failure ? info->last_failure : "-", info->isolation,
                           (long long) (info->timeout / NSEC_PER_SEC));
}

static void the_list_sums_up_the_stages_of_a_hook(void **state)
{
        struct fixture *f = *state;
        auto_buf text = BUF_INIT;

        begin(f, "  timeout: 7s\n  declared: [{name: y, stage: poststop, path: /yaml}]\n");
        ran(f, "yaml", "y", "poststart", 7, "killed at its time limit");
        ran(f, "yaml", "y", "poststop", 5, NULL);
        hooks_list(f->hooks, keep_info, &text);
        assert_string_equal(text.data, "2 1 1 12 7 5 1 - process 7");
        buf_clear(&text);
        ran(f, "yaml", "y", "poststart", 7, "exit status 1");
        hooks_list(f->hooks, keep_info, &text);
        assert_string_equal(text.data, "3 2 1 19 7 7 1 exit status 1 process 7");
}

static void the_records_of_what_is_called_no_more_make_room(void **state)
{
        struct fixture *f = *state;
        auto_strv lines = NULL;

        begin(f, "");
        for (int i = 0; i < 4097; i++) {
                auto_free char *name = str_printf(NULL, "n%d", i);
                struct hooks_call call = { .source = "yaml", .name = name, .stage = "poststop", .ended_at = 1000 + i };

                hooks_called(f->hooks, &call);
        }
        hooks_counters(f->hooks, append_counter, &lines);
        assert_int_equal(strv_count((const char *const *) lines), 4096);
        assert_false(strv_has((const char *const *) lines, "yaml:n0 poststop 1 0 0 0"));
        assert_true(strv_has((const char *const *) lines, "yaml:n4096 poststop 1 0 0 0"));
}

static void append_call(void *data, const struct hooks_call *c)
{
        buf_printf(data, NULL, "%s/%s/%s %s %s:%s", c->pod_space ? c->pod_space : "", c->pod_name ? c->pod_name : "",
                   c->container_name ? c->container_name : "", c->stage, c->source, c->name);
        if (c->why)
                buf_printf(data, NULL, " (%s)", c->why);
        buf_printf(data, NULL, ": %s%s%s", c->error ? c->error : c->result ? c->result : "ok", c->timed_out ? " timed out" : "",
                   c->ignored ? " ignored" : "");
        for (char *const *change = c->changes; change && *change; change++)
                buf_printf(data, NULL, " [%s]", *change);
        buf_add_str(data, "\n", NULL);
}

static void who_traces_is_told_of_each_call_and_what_it_changed(void **state)
{
        struct fixture *f = *state;
        auto_free char *section = str_printf(NULL, "  plugins: [{plugin: first}, {plugin: second, failure: ignore}]\n"
                                                   "  declared: [{name: y, stage: poststop, path: /yaml, when: {namespaces: [shop]}},\n"
                                                   "             {name: z, stage: poststop, path: /yaml, when: {namespaces: [none]}}]\n"
                                                   "cdi: {dirs: [%s]}\n", f->hooks_d);
        auto_buf text = BUF_INIT;

        put(f->hooks_d, "acme.yaml", "cdiVersion: 0.5.0\nkind: acme.com/x\ndevices:\n- name: a\n"
                                     "  containerEdits: {env: [DEVICE=a]}\n");
        begin(f, section);
        first_acts = add_hook_and_variable;
        adjust(f);
        hooks_trace(f->hooks, append_call, &text);
        second_acts = refuse_after_change;
        adjust(f);
        assert_string_equal(text.data,
                            "shop/web-1/nginx container create plugin:first (called): ok [variable A] [hooks.poststop /native]\n"
                            "shop/web-1/nginx container create plugin:second (called): hook at container create: second: variable A "
                            "is set by hook first already, hook second may not set it too ignored\n"
                            "shop/web-1/nginx container create yaml:y (namespace shop holds for 'shop'): added [hooks.poststop]\n");
        buf_clear(&text);
        first_acts = ask;
        second_acts = NULL;
        asked_for = "acme.com/x=a";
        adjust(f);
        assert_contains(text.data, "plugin:first (called): ok [CDI device acme.com/x=a]\n");
        assert_contains(text.data, "container create cdi:acme.com/x=a (requested): ok [variable DEVICE]\n");
        buf_clear(&text);
        asked_for = "acme.com/x=b";     /* nobody's call: there is no such hook */
        assert_int_equal(hooks_adjust(f->hooks, &subject, f->spec, NULL, &f->err), -1);
        assert_null(strstr(text.data, "cdi:"));
        buf_clear(&text);
        ran(f, "yaml", "y", "poststop", 5, "killed at its time limit");
        assert_string_equal(text.data, "shop/web-1/nginx poststop yaml:y (namespace shop): killed at its time limit timed out\n");
        buf_clear(&text);
        hooks_trace(f->hooks, NULL, NULL);
        ran(f, "yaml", "y", "poststop", 5, NULL);
        assert_int_equal(text.len, 0);
}

static bool is_listed(struct fixture *f, const char *name)
{
        struct rows rows = list(f);
        bool found = false;

        for (size_t i = 0; i < rows.n; i++) {
                found = found || strstr(rows.list[i].text, name);
                free(rows.list[i].text);
        }
        return found;
}

static void the_list_is_right_at_once_when_a_directory_comes_goes_or_is_replaced(void **state)
{
        struct fixture *f = *state;
        auto_free char *aside = str_printf(NULL, "%s/aside", f->dir), *other = str_printf(NULL, "%s/other", f->dir);

        put(f->hooks_d, "one.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        assert_int_equal(mkdir(other, 0755), 0);
        put(other, "two.json", FILE_HOOK("/bin/sh", "\"always\":true"));
        begin(f, "");
        assert_true(is_listed(f, "one.json"));
        for (int i = 0; i < 3; i++) {
                assert_int_equal(rename(f->hooks_d, aside), 0);
                assert_false(is_listed(f, "one.json"));                 /* it is gone */
                assert_int_equal(symlink(other, f->hooks_d), 0);
                assert_true(is_listed(f, "two.json"));                  /* and a link is in its place */
                assert_false(is_listed(f, "one.json"));
                assert_int_equal(unlink(f->hooks_d), 0);
                assert_false(is_listed(f, "two.json"));
                assert_int_equal(symlink(aside, f->hooks_d), 0);        /* an old one, with old times */
                assert_true(is_listed(f, "one.json"));
                assert_int_equal(unlink(f->hooks_d), 0);
                assert_int_equal(rename(aside, f->hooks_d), 0);
                assert_true(is_listed(f, "one.json"));
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_hook_adjusts_every_part),
        TEST(a_value_that_makes_no_sense_is_refused_by_name),
        TEST(a_field_has_one_owner_and_the_error_names_both),
        TEST(a_later_hook_sees_what_an_earlier_one_did),
        TEST(an_ignored_hook_leaves_nothing_of_what_it_adjusted),
        TEST(an_oci_hook_has_the_policy_of_the_plugin_that_added_it),
        TEST(a_hook_asks_for_a_device),
        TEST(what_has_happened_or_must_cannot_be_refused),
        TEST(an_ignored_refusal_stops_nothing),
        TEST(a_refusal_keeps_the_next_hook_from_running),
        TEST(nothing_is_adjusted_once_the_container_is_there),
        TEST(a_hook_is_told_of_the_container),
        TEST(a_hook_is_told_of_the_pod),
        TEST(arguments_that_are_known_are_not_looked_up),
        TEST(sources_come_in_their_order),
        TEST(conditions_of_the_yaml_are_anded),
        TEST(only_mounts_of_the_node_are_bind_mounts),
        TEST(files_come_and_go_without_a_restart),
        TEST(a_program_may_come_after_the_file_that_names_it),
        TEST(a_reload_takes_over_all_or_nothing),
        TEST(the_list_tells_time_and_the_last_failure),
        TEST(an_oci_hook_says_whose_it_is),
        TEST(each_hook_and_stage_has_its_counters),
        TEST(the_list_sums_up_the_stages_of_a_hook),
        TEST(the_records_of_what_is_called_no_more_make_room),
        TEST(who_traces_is_told_of_each_call_and_what_it_changed),
        TEST(the_list_is_right_at_once_when_a_directory_comes_goes_or_is_replaced),
        TEST(the_yaml_has_more_conditions),
        TEST(places_are_filled_in_and_stay_one_word),
        TEST(a_rehearsal_tells_of_each_hook_and_counts_nothing),
        TEST(the_list_shows_all_sources_with_errors_and_counts))
