/*
 * CDI: which files and devices count, which version a file needs, what asks for a device, and what
 * a container is given by it
 */

#include "tests/support/unit.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "hooks/cdi.h"

struct fixture {
        char *top, *low, *high;
        const char *dirs[3];
        struct cdi cdi;
        struct json_object *spec;
        struct adjust adjust;
};

#define SPEC "{\"process\":{\"user\":{\"uid\":7,\"gid\":0,\"additionalGids\":[5]},\"env\":[\"A=1\"]},"          \
             "\"mounts\":[{\"destination\":\"/a/b\"},{\"destination\":\"/proc\"}]}"

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        f->top = unit_make_dir();
        f->low = str_printf(NULL, "%s/low", f->top);
        f->high = str_printf(NULL, "%s/high", f->top);
        f->dirs[0] = f->low;
        f->dirs[1] = f->high;
        assert_ok(json_parse(SPEC, strlen(SPEC), &f->spec, unit_err()), unit_err());
        f->adjust = (struct adjust) ADJUST_INIT(f->spec, 9);
        f->adjust.source = "cdi";
        *state = f;
        return mkdir(f->low, 0755) < 0 || mkdir(f->high, 0755) < 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        adjust_done(&f->adjust);
        cdi_done(&f->cdi);
        json_object_put(f->spec);
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

static void read_all(struct fixture *f)
{
        cdi_done(&f->cdi);
        assert_ok(cdi_read(f->dirs, &f->cdi, unit_err()), unit_err());
}

#define DEVICE(name, edits) "{\"name\":\"" name "\",\"containerEdits\":{" edits "}}"
#define FILE_OF(version, kind, devices) "{\"cdiVersion\":\"" version "\",\"kind\":\"" kind "\",\"devices\":[" devices "]}"
#define ONE(edits) FILE_OF("1.1.0", "acme.com/gpu", DEVICE("0", edits))

/* Why the only file is not in force; "" when it is. */
static const char *judge(struct fixture *f, const char *name, const char *text)
{
        auto_free char *path = str_printf(NULL, "%s/%s", f->low, name);
        static char why[2048];

        put(f->low, name, text);
        read_all(f);
        unlink(path);
        assert_int_equal(f->cdi.n_files, 1);
        assert_int_equal(f->cdi.files[0].error == NULL, f->cdi.n_devices > 0);
        snprintf(why, sizeof why, "%s", f->cdi.files[0].error ? f->cdi.files[0].error : "");
        return why;
}

static void give(struct fixture *f, const char *edits)
{
        const char *const names[] = { "acme.com/gpu=0", NULL };
        auto_free char *text = str_printf(NULL, FILE_OF("1.1.0", "acme.com/gpu", "%s%s%s"),
                                          "{\"name\":\"0\",\"containerEdits\":{", edits, "}}");

        put(f->low, "one.json", text);
        read_all(f);
        if (f->cdi.files[0].error)
                fail_msg("%s", f->cdi.files[0].error);
        assert_ok(cdi_apply(&f->cdi, &f->adjust, names, true, unit_err()), unit_err());
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
        assert_string_equal(at ? text.data : "nothing", json);
}

/* --- files --- */

static void a_file_needs_the_version_of_what_it_uses(void **state)
{
        static const struct { const char *low, *enough, *kind, *name, *edits; } cases[] = {
                { "0.3.0", "0.4.0", "a.com/x", "n", "\"mounts\":[{\"hostPath\":\"/a\",\"containerPath\":\"/b\",\"type\":\"bind\"}]" },
                { "0.4.0", "0.5.0", "a.com/x", "n", "\"deviceNodes\":[{\"path\":\"/dev/a\",\"hostPath\":\"/dev/b\"}]" },
                { "0.4.0", "0.5.0", "a.com/x", "7n", "\"env\":[\"A=1\"]" },
                { "0.5.0", "0.6.0", "a.com/x.y", "n", "\"env\":[\"A=1\"]" },
                { "0.6.0", "0.7.0", "a.com/x", "n", "\"additionalGids\":[4]" },
                { "0.6.0", "0.7.0", "a.com/x", "n", "\"intelRdt\":{\"closID\":\"c\"}" },
                { "1.0.0", "1.1.0", "a.com/x", "n", "\"intelRdt\":{\"schemata\":[\"L3:0=f\"]}" },
                { "1.0.0", "1.1.0", "a.com/x", "n", "\"intelRdt\":{\"enableMonitoring\":true}" },
                { "1.0.0", "v1.1.0", "a.com/x", "n", "\"netDevices\":[{\"hostInterfaceName\":\"e0\",\"name\":\"e1\"}]" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                const char *form = "{\"cdiVersion\":\"%s\",\"kind\":\"%s\",\"devices\":[{\"name\":\"%s\",\"containerEdits\":{%s}}]}";
                auto_free char *low = str_printf(NULL, form, cases[i].low, cases[i].kind, cases[i].name, cases[i].edits);
                auto_free char *enough = str_printf(NULL, form, cases[i].enough, cases[i].kind, cases[i].name, cases[i].edits);

                assert_contains(judge(*state, "f.json", low), "is too low for what is used: it takes ");
                assert_string_equal(judge(*state, "f.json", enough), "");
        }
        assert_contains(judge(*state, "f.json", "{\"cdiVersion\":\"0.5.0\",\"kind\":\"a.com/x\",\"annotations\":{\"a\":\"b\"},"
                                                "\"devices\":[" DEVICE("n", "\"env\":[\"A=1\"]") "]}"), "takes 0.6.0");
        assert_contains(judge(*state, "f.json", FILE_OF("9.0.0", "a.com/x", DEVICE("n", "\"env\":[\"A=1\"]"))), "unknown cdiVersion");
}

static void what_is_wrong_with_a_file_is_told(void **state)
{
        static const struct { const char *text, *why; } cases[] = {
                { "[]", "want an object" },
                { "{", "" },
                { "{\"kind\":\"a.com/x\",\"devices\":[]}", "no 'cdiVersion'" },
                { FILE_OF("1.0.0", "a.com/x", ""), "no devices" },
                { FILE_OF("1.0.0", "acme", DEVICE("n", "\"env\":[\"A=1\"]")), "is not VENDOR/CLASS" },
                { FILE_OF("1.0.0", "acme.com/", DEVICE("n", "\"env\":[\"A=1\"]")), "is not VENDOR/CLASS" },
                { FILE_OF("1.0.0", "a.com/x", DEVICE("n!", "\"env\":[\"A=1\"]")), "is no name of a device" },
                { FILE_OF("1.0.0", "a.com/x", DEVICE("n", "")), "empty containerEdits" },
                { FILE_OF("1.0.0", "a.com/x", DEVICE("n", "\"env\":[\"A=1\"]") "," DEVICE("n", "\"env\":[\"A=1\"]")), "already" },
                { ONE("\"environment\":[]"), "unknown member 'environment'" },
                { ONE("\"env\":[\"A\"]"), "is not NAME=VALUE" },
                { ONE("\"env\":[1]"), "want a string" },
                { ONE("\"env\":\"A=1\""), "want a list" },
                { ONE("\"deviceNodes\":[{}]"), "no 'path'" },
                { ONE("\"deviceNodes\":[{\"path\":\"dev\"}]"), "not absolute" },
                { ONE("\"deviceNodes\":[{\"path\":\"/dev/a\",\"type\":\"x\"}]"), "none of b, c, u, p" },
                { ONE("\"deviceNodes\":[{\"path\":\"/dev/a\",\"permissions\":\"x\"}]"), "permissions" },
                { ONE("\"deviceNodes\":[{\"path\":\"/dev/a\",\"major\":-1}]"), "is not within" },
                { ONE("\"mounts\":[{\"hostPath\":\"/a\",\"containerPath\":\"/\"}]"), "containerPath" },
                { ONE("\"mounts\":[{\"hostPath\":\"\",\"containerPath\":\"/a\"}]"), "empty hostPath" },
                { ONE("\"hooks\":[{\"hookName\":\"precreate\",\"path\":\"/a\"}]"), "unknown hookName" },
                { ONE("\"hooks\":[{\"hookName\":\"prestart\",\"path\":\"a\"}]"), "is not absolute" },
                { ONE("\"intelRdt\":{\"closID\":\"../x\"}"), "closID" },
                { ONE("\"netDevices\":[{\"hostInterfaceName\":\"e0\",\"name\":\"a\"},"
                      "{\"hostInterfaceName\":\"e0\",\"name\":\"b\"}]"), "hostInterfaceName 'e0' is there twice" },
                { ONE("\"netDevices\":[{\"hostInterfaceName\":\"e0\",\"name\":\"a/b\"}]"), "no name of an interface" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                const char *why = judge(*state, "f.json", cases[i].text);

                if (!*why)
                        fail_msg("%s: taken", cases[i].text);
                assert_contains(why, cases[i].why);
        }
}

static void yaml_says_what_json_says(void **state)
{
        struct fixture *f = *state;
        struct json_object *node;

        assert_string_equal(judge(f, "f.yaml",
                                  "cdiVersion: 0.6.0\nkind: acme.com/gpu\nannotations: {a: 1}\ncontainerEdits:\n  env: [ALL=yes]\n"
                                  "devices:\n  - name: 0\n    containerEdits:\n      deviceNodes:\n"
                                  "        - {path: /dev/a, type: c, major: 0x1, minor: 3, fileMode: 0660}\n"
                                  "      hooks:\n        - hookName: prestart\n          path: /bin/true\n          timeout: ~\n"), "");
        assert_string_equal(f->cdi.devices[0].name, "acme.com/gpu=0");
        node = json_object_array_get_idx(json_object_object_get(f->cdi.devices[0].edits, "deviceNodes"), 0);
        assert_int_equal(json_object_get_int(json_object_object_get(node, "major")), 1);
        assert_int_equal(json_object_get_int(json_object_object_get(node, "fileMode")), 0660);

        assert_contains(judge(f, "f.yml", "cdiVersion: 0.6.0\nkind: a.com/x\ndevice: []\n"), "line 3, column 1: unknown member");
        assert_contains(judge(f, "f.yml", "cdiVersion: 0.6.0\nkind: a.com/x\ndevices: x\n"), "line 3, column 10: want a list");
        assert_contains(judge(f, "f.yml", "cdiVersion: 0.6.0\nkind: a.com/x\ndevices:\n- name: a\n  containerEdits:\n"
                                          "    deviceNodes: [{path: /a, major: '1'}]\n"), "want a number");
        assert_contains(judge(f, "f.yml", ""), "nothing in it");
}

static void a_file_that_others_can_write_does_not_count(void **state)
{
        struct fixture *f = *state;
        auto_free char *path = str_printf(NULL, "%s/f.json", f->low);

        put(f->low, "f.json", ONE("\"env\":[\"A=1\"]"));
        put(f->low, "f.txt", "not one");
        chmod(path, 0666);
        read_all(f);
        assert_int_equal(f->cdi.n_files, 1);
        assert_int_equal(f->cdi.n_devices, 0);
        assert_contains(f->cdi.files[0].error, "root alone");
}

/* --- names --- */

static void a_later_directory_wins_and_twins_cancel_each_other(void **state)
{
        struct fixture *f = *state;
        const char *const both[] = { "acme.com/gpu=0", NULL }, *const twin[] = { "acme.com/gpu=1", NULL };
        struct cringle_err err = CRINGLE_ERR_INIT;

        put(f->low, "a.json", FILE_OF("1.0.0", "acme.com/gpu", DEVICE("0", "\"env\":[\"A=low\"]") "," DEVICE("1", "\"env\":[\"A=a\"]")));
        put(f->low, "b.json", FILE_OF("1.0.0", "acme.com/gpu", DEVICE("0", "\"env\":[\"A=low\"]") "," DEVICE("1", "\"env\":[\"A=b\"]")
                                      "," DEVICE("2", "\"env\":[\"A=b\"]")));
        put(f->high, "c.json", FILE_OF("1.0.0", "acme.com/gpu", DEVICE("0", "\"env\":[\"A=high\"]")));
        read_all(f);
        assert_ok(cdi_apply(&f->cdi, &f->adjust, both, true, &err), &err);    /* twins below it do not matter */
        assert_spec(f, "process/env", "[\"A=high\"]");
        assert_int_equal(f->cdi.devices[0].hidden, true);
        assert_int_equal(((struct cdi_device *) map_get(&f->cdi.by_name, both[0]))->matches, 1);

        assert_int_equal(cdi_apply(&f->cdi, &f->adjust, twin, true, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        assert_contains(err.text, "acme.com/gpu=1 (acme.com/gpu=1 is in ");
        assert_contains(err.text, "known: acme.com/gpu=2, acme.com/gpu=0");
        for (size_t i = 0; i < f->cdi.n_devices; i++)
                assert_int_equal(str_ends(f->cdi.devices[i].name, "=1"), f->cdi.devices[i].error && !f->cdi.devices[i].hidden);
}

static void all_devices_that_are_missing_are_named_and_nothing_is_changed(void **state)
{
        struct fixture *f = *state;
        const char *const names[] = { "acme.com/gpu=0", "acme.com/gpu=8", "b.com/nic=x", NULL };
        struct cringle_err err = CRINGLE_ERR_INIT;

        put(f->low, "a.json", ONE("\"env\":[\"A=2\"]"));
        put(f->low, "b.json", "no JSON");
        read_all(f);
        assert_int_equal(cdi_apply(&f->cdi, &f->adjust, names, true, &err), -1);
        assert_string_equal(err.text, "CDI devices that cannot be had: acme.com/gpu=8, b.com/nic=x; known: acme.com/gpu=0; "
                                      "1 bad file, see `cringle hooks list`");
        assert_spec(f, "process/env", "[\"A=1\"]");
}

static void the_kubelet_asks_by_its_field_and_by_annotations(void **state)
{
        Cri__CDIDevice first = CRI__CDIDEVICE__INIT, again = CRI__CDIDEVICE__INIT;
        Cri__CDIDevice *devices[] = { &first, &again };
        Cri__Pair own = CRI__PAIR__INIT, other = CRI__PAIR__INIT, pods = CRI__PAIR__INIT;
        Cri__Pair *of_container[] = { &other, &own }, *of_pod[] = { &pods };
        Cri__ContainerConfig container = CRI__CONTAINER_CONFIG__INIT;
        Cri__PodSandboxConfig pod = CRI__POD_SANDBOX_CONFIG__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_strv names = NULL;
        auto_strv alone = NULL;

        first.name = (char *) "a.com/x=1";
        again.name = (char *) "a.com/x=1";
        own.key = (char *) CDI_ANNOTATION "plugin_1";
        own.value = (char *) "a.com/x=2,a.com/x=1,a.com/x=3";
        other.key = (char *) "example.com/cdi.k8s.io/";
        other.value = (char *) "a.com/x=9";
        pods.key = (char *) CDI_ANNOTATION "mine";
        pods.value = (char *) "a.com/x=4";
        container.n_cdi_devices = 2;
        container.cdi_devices = devices;
        container.n_annotations = 2;
        container.annotations = of_container;
        pod.n_annotations = 1;
        pod.annotations = of_pod;

        assert_ok(cdi_wanted(&container, &pod, &names, &err), &err);
        assert_int_equal(strv_count((const char *const *) names), 4);
        assert_string_equal(names[0], "a.com/x=1");
        assert_string_equal(names[1], "a.com/x=2");
        assert_string_equal(names[2], "a.com/x=3");
        assert_string_equal(names[3], "a.com/x=4");
        assert_ok(cdi_wanted(&container, NULL, &alone, &err), &err);
        assert_int_equal(strv_count((const char *const *) alone), 3);
        own.value = (char *) "a.com/x=2,";
        assert_int_equal(cdi_wanted(&container, NULL, &alone, &err), -1);
        assert_contains(err.text, "is not VENDOR/CLASS=NAME");
}

/* --- what a container is given --- */

static void a_files_own_edits_are_made_once_and_before_its_devices(void **state)
{
        struct fixture *f = *state;
        const char *const names[] = { "acme.com/gpu=1", "acme.com/gpu=0", NULL };
        auto_free char *from = str_printf(NULL, "\"from\":{\"source\":\"cdi\",\"name\":\"acme.com/gpu=1\",\"origin\":\"%s/b.json\"}",
                                          f->low);
        auto_free char *want = str_printf(NULL, "{\"prestart\":[{\"path\":\"/all\",\"args\":[\"all\",\"x\"],\"env\":[\"K=V\"],"
                                                "\"timeout\":3,%s}],\"poststop\":[{\"path\":\"/one\",\"args\":[\"/one\"],\"timeout\":9,%s}]}",
                                          from, from);

        put(f->low, "a.json", "{\"cdiVersion\":\"0.3.0\",\"kind\":\"acme.com/gpu\",\"containerEdits\":{\"env\":[\"A=all\",\"B=all\"],"
                              "\"hooks\":[{\"hookName\":\"prestart\",\"path\":\"/all\"}]},"
                              "\"devices\":[{\"name\":\"x0\",\"containerEdits\":{\"env\":[\"A=x\"]}}]}");
        put(f->low, "b.json", "{\"cdiVersion\":\"0.5.0\",\"kind\":\"acme.com/gpu\",\"containerEdits\":{\"env\":[\"A=all\",\"B=all\"],"
                              "\"hooks\":[{\"hookName\":\"prestart\",\"path\":\"/all\",\"args\":[\"all\",\"x\"],\"env\":[\"K=V\"],"
                              "\"timeout\":3}]},\"devices\":["
                              DEVICE("0", "\"env\":[\"A=zero\"]") ","
                              DEVICE("1", "\"env\":[\"A=one\",\"C=\"],\"hooks\":[{\"hookName\":\"poststop\",\"path\":\"/one\"}]") "]}");
        read_all(f);
        assert_ok(cdi_apply(&f->cdi, &f->adjust, names, true, unit_err()), unit_err());
        assert_spec(f, "process/env", "[\"A=zero\",\"B=all\",\"C=\"]");
        assert_spec(f, "hooks", want);
}

static void what_is_not_said_of_a_node_is_as_on_the_node(void **state)
{
        struct fixture *f = *state;
        struct stat st;
        auto_free char *want = NULL;

        assert_int_equal(lstat("/dev/zero", &st), 0);
        want = str_printf(NULL, "[{\"path\":\"/dev/z\",\"type\":\"c\",\"major\":1,\"minor\":5,\"fileMode\":%u,\"uid\":7},"
                                "{\"path\":\"/dev/said\",\"type\":\"b\",\"major\":8,\"minor\":1,\"fileMode\":432,\"uid\":0,\"gid\":6},"
                                "{\"path\":\"/dev/full\",\"type\":\"c\",\"major\":1,\"minor\":7,\"fileMode\":438,\"uid\":7}]",
                          st.st_mode & 07777);
        give(f, "\"deviceNodes\":[{\"path\":\"/dev/z\",\"hostPath\":\"/dev/full\"},"
                "{\"path\":\"/dev/z\",\"hostPath\":\"/dev/zero\",\"permissions\":\"r\"},"
                "{\"path\":\"/dev/said\",\"hostPath\":\"/nowhere\",\"type\":\"b\",\"major\":8,\"minor\":1,\"fileMode\":25008,"
                "\"uid\":0,\"gid\":6},"
                "{\"path\":\"/dev/full\",\"fileMode\":438,\"permissions\":\"none\"}]");
        assert_spec(f, "linux/devices", want);
        assert_spec(f, "linux/resources/devices",
                    "[{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":7,\"access\":\"rwm\"},"
                    "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":5,\"access\":\"r\"},"
                    "{\"allow\":true,\"type\":\"b\",\"major\":8,\"minor\":1,\"access\":\"rwm\"}]");
}

static void a_node_that_is_none_or_of_another_type_is_refused(void **state)
{
        static const struct { const char *edits, *why; } cases[] = {
                { "\"deviceNodes\":[{\"path\":\"/dev/x\",\"hostPath\":\"/nowhere\"}]", "CDI device acme.com/gpu=0: deviceNodes[0]: /nowhere: " },
                { "\"deviceNodes\":[{\"path\":\"/etc\"}]", "/etc is not a device" },
                { "\"deviceNodes\":[{\"path\":\"/dev/null\",\"type\":\"b\"}]", "/dev/null is of type c, not b" },
                { "\"deviceNodes\":[{\"path\":\"/dev/stdin\"}]", "/dev/stdin is not a device" },
        };
        const char *const names[] = { "acme.com/gpu=0", NULL };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *text = str_printf(NULL, FILE_OF("1.1.0", "acme.com/gpu", "%s%s%s"),
                                                  "{\"name\":\"0\",\"containerEdits\":{", cases[i].edits, "}}");
                struct cringle_err err = CRINGLE_ERR_INIT;

                put(f->low, "one.json", text);
                read_all(f);
                assert_int_equal(cdi_apply(&f->cdi, &f->adjust, names, true, &err), -1);
                assert_contains(err.text, cases[i].why);
        }
}

static void mounts_are_replaced_and_sorted_by_depth(void **state)
{
        struct fixture *f = *state;

        give(f, "\"mounts\":[{\"hostPath\":\"/x\",\"containerPath\":\"/a/b\",\"options\":[\"ro\"]},"
                "{\"hostPath\":\"/y\",\"containerPath\":\"/a\"},{\"hostPath\":\"tmpfs\",\"containerPath\":\"/t\",\"type\":\"tmpfs\"}]");
        assert_spec(f, "mounts", "[{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/y\",\"options\":[]},"
                                 "{\"destination\":\"/proc\"},"
                                 "{\"destination\":\"/t\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[]},"
                                 "{\"destination\":\"/a/b\",\"type\":\"bind\",\"source\":\"/x\",\"options\":[\"ro\"]}]");
}

static void bind_mounts_are_mapped_in_a_user_namespace(void **state)
{
        struct fixture *f = *state;
        struct json_object *namespaces = NULL;

        assert_int_equal(json_parse("[{\"type\":\"user\"}]", 17, &namespaces, unit_err()), 0);
        json_set(json_need_object(f->spec, "linux", NULL), "namespaces", namespaces, NULL);
        give(f, "\"mounts\":[{\"hostPath\":\"/x\",\"containerPath\":\"/x\",\"options\":[\"rbind\"]},"
                "{\"hostPath\":\"/y\",\"containerPath\":\"/y\",\"options\":[\"ridmap\"]},"
                "{\"hostPath\":\"tmpfs\",\"containerPath\":\"/t\",\"type\":\"tmpfs\"}]");
        assert_spec(f, "mounts", "[{\"destination\":\"/proc\"},"
                                 "{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/x\",\"options\":[\"rbind\",\"idmap\"]},"
                                 "{\"destination\":\"/y\",\"type\":\"bind\",\"source\":\"/y\",\"options\":[\"ridmap\"]},"
                                 "{\"destination\":\"/t\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[]},"
                                 "{\"destination\":\"/a/b\"}]");
}

static void groups_rdt_and_network_devices_are_handed_on(void **state)
{
        struct fixture *f = *state;

        give(f, "\"additionalGids\":[0,5,44],\"intelRdt\":{\"closID\":\"fast\",\"schemata\":[\"L3:0=f\"]},"
                "\"netDevices\":[{\"hostInterfaceName\":\"eth7\",\"name\":\"rdma0\"}]");
        assert_spec(f, "process/user/additionalGids", "[5,44]");
        assert_spec(f, "linux/intelRdt", "{\"closID\":\"fast\",\"schemata\":[\"L3:0=f\"]}");
        assert_spec(f, "linux/netDevices", "{\"eth7\":{\"name\":\"rdma0\"}}");
}

static void what_a_hook_has_set_a_device_may_not(void **state)
{
        static const char *const edits[] = {
                "\"env\":[\"H=1\"]", "\"deviceNodes\":[{\"path\":\"/dev/null\"}]",
                "\"mounts\":[{\"hostPath\":\"/x\",\"containerPath\":\"/m\"}]",
        };
        const char *const names[] = { "acme.com/gpu=0", NULL };
        struct fixture *f = *state;

        assert_ok(adjust_begin(&f->adjust, "native", false, unit_err()), unit_err());
        assert_ok(adjust_env(&f->adjust, "H", "0", unit_err()), unit_err());
        assert_ok(adjust_device(&f->adjust, "/dev/null", "/dev/null", "r", unit_err()), unit_err());
        assert_ok(adjust_mount(&f->adjust, "/y", "/m", NULL, unit_err()), unit_err());
        for (size_t i = 0; i < 3; i++) {
                auto_free char *text = str_printf(NULL, FILE_OF("1.1.0", "acme.com/gpu", "%s%s%s"),
                                                  "{\"name\":\"0\",\"containerEdits\":{", edits[i], "}}");
                struct cringle_err err = CRINGLE_ERR_INIT;

                put(f->low, "one.json", text);
                read_all(f);
                assert_int_equal(cdi_apply(&f->cdi, &f->adjust, names, true, &err), -1);
                assert_contains(err.text, "is set by hook native already, hook cdi may not set it too");
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_file_needs_the_version_of_what_it_uses),
        TEST(what_is_wrong_with_a_file_is_told),
        TEST(yaml_says_what_json_says),
        TEST(a_file_that_others_can_write_does_not_count),
        TEST(a_later_directory_wins_and_twins_cancel_each_other),
        TEST(all_devices_that_are_missing_are_named_and_nothing_is_changed),
        TEST(the_kubelet_asks_by_its_field_and_by_annotations),
        TEST(a_files_own_edits_are_made_once_and_before_its_devices),
        TEST(what_is_not_said_of_a_node_is_as_on_the_node),
        TEST(a_node_that_is_none_or_of_another_type_is_refused),
        TEST(mounts_are_replaced_and_sorted_by_depth),
        TEST(bind_mounts_are_mapped_in_a_user_namespace),
        TEST(groups_rdt_and_network_devices_are_handed_on),
        TEST(what_a_hook_has_set_a_device_may_not))
