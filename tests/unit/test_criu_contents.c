/* What a checkpoint of a pod says of itself is believed only as far as it makes sense. */

#include "tests/support/unit.h"

#include <string.h>

#include "agent/base/str.h"
#include "agent/base/buf.h"
#include "agent/criu/contents.h"
#include "agent/criu/image.h"

#define NAMESPACES "\"namespaces\":{\"network\":\"POD\",\"pid\":\"CONTAINER\",\"ipc\":\"NODE\"}"

static void one_of_ours_is_read(void **state)
{
        static const char text[] = "{\"version\":1,\"name\":\"web\"," NAMESPACES ",\"containers\":[\"main\",\"side-car\"]}";
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_contents c = { 0 };

        assert_ok(contents_parse(text, strlen(text), &c, &err), &err);
        assert_string_equal(c.network, "POD");
        assert_string_equal(c.pid, "CONTAINER");
        assert_string_equal(c.ipc, "NODE");
        assert_string_equal(c.containers[0], "main");
        assert_string_equal(c.containers[1], "side-car");
        assert_null(c.containers[2]);
}

static void whatever_else_there_is_is_refused(void **state)
{
        static const struct { const char *text, *said; } cases[] = {
                { "", "pod.json" },
                { "[]", "it is no object" },
                { "{\"version\":2," NAMESPACES ",\"containers\":[\"a\"]}", "version 2" },
                { "{" NAMESPACES ",\"containers\":[\"a\"]}", "version 0" },
                { "{\"version\":\"1\"," NAMESPACES ",\"containers\":[\"a\"]}", "version" },
                { "{\"version\":1,\"containers\":[\"a\"]}", "namespaces is missing" },
                { "{\"version\":1,\"namespaces\":{\"network\":\"POD\",\"pid\":\"POD\"},\"containers\":[\"a\"]}", "ipc is missing" },
                { "{\"version\":1,\"namespaces\":{\"network\":7,\"pid\":\"POD\",\"ipc\":\"POD\"},\"containers\":[\"a\"]}", "network" },
                { "{\"version\":1," NAMESPACES "}", "there is none" },
                { "{\"version\":1," NAMESPACES ",\"containers\":[]}", "there is none" },
                { "{\"version\":1," NAMESPACES ",\"containers\":[7]}", "containers" },
                { "{\"version\":1," NAMESPACES ",\"containers\":[\"../x\"]}", "none for a directory" },
                { "{\"version\":1," NAMESPACES ",\"containers\":[\"a/b\"]}", "none for a directory" },
                { "{\"version\":1," NAMESPACES ",\"containers\":[\"\"]}", "none for a directory" },
                { "{\"version\":1," NAMESPACES ",\"containers\":[\"a\",\"b\",\"a\"]}", "twice" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                auto_contents c = { 0 };

                assert_int_equal(contents_parse(cases[i].text, strlen(cases[i].text), &c, &err), -1);
                assert_contains(err.text, cases[i].said);
        }
}

static void streams_are_pipes_or_files_of_its_own(void **state)
{
        static const char text[] = "[\"/dev/null\",\"pipe:[123]\",\"pipe:[18446744073709551615]\"]";
        static const char short_one[] = "[\"/dev/null\",\"pipe:[123]\",\"\"]";
        struct cringle_err err = CRINGLE_ERR_INIT;
        char *streams[3];

        assert_int_equal(contents_parse_streams(text, strlen(text), streams, &err), -1);         /* no inode has that many digits */
        assert_ok(contents_parse_streams(short_one, strlen(short_one), streams, &err), &err);
        assert_null(streams[0]);
        assert_string_equal(streams[1], "pipe:[123]");
        assert_null(streams[2]);
        free(streams[1]);
        assert_ok(contents_parse_streams("[]", 2, streams, &err), &err);
        assert_null(streams[1]);
}

static void other_streams_are_refused(void **state)
{
        static const char *const texts[] = {
                "{}", "[1]", "[\"a\\u0000b\"]", "[\"/dev/pts/0\"]", "[\"pipe:[1]\",\"/dev/console\"]", "[\"socket:[7]\"]", "[\"pipe:[]\"]",
                "[\"pipe:[1\"]", "[\"pipe:[1]x\"]", "[\"pipe:[1],x\"]", "[\"pipe:[-1]\"]", "[\"\",\"\",\"\",\"\"]",
        };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                char *streams[3];

                assert_int_equal(contents_parse_streams(texts[i], strlen(texts[i]), streams, &err), -1);
                assert_contains(err.text, "descriptors.json");
                for (int j = 0; j < 3; j++)
                        assert_null(streams[j]);
        }
}

static void deleted_files_have_paths_that_stay_inside(void **state)
{
        static const char *const bad[] = {
                "{}", "[7]", "[\"\"]", "[\"/\"]", "[\"etc/passwd\"]", "[\"/../etc/passwd\"]", "[\"/a/./b\"]", "[\"/a//b\"]", "[\"/a/\"]",
        };
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_strv paths = NULL;
        char **none = NULL;

        assert_ok(contents_parse_deleted("[\"/etc/passwd\",\"/var/..x\"]", 26, &paths, &err), &err);
        assert_string_equal(paths[0], "/etc/passwd");
        assert_string_equal(paths[1], "/var/..x");
        assert_null(paths[2]);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct cringle_err why = CRINGLE_ERR_INIT;

                assert_int_equal(contents_parse_deleted(bad[i], strlen(bad[i]), &none, &why), -1);
                assert_contains(why.text, "deleted.files");
                assert_null(none);
        }
}

/* As CRIU writes it: what it is, a length, nodename and domainname. */
static const char uts[] = "\x43\x66\x69\x58\x76\x54\x32\x12\x0e\0\0\0\x0a\x04web1\x12\x06(none)";

static void an_image_gets_another_host_name(void **state)
{
        static const char want[] = "\x43\x66\x69\x58\x76\x54\x32\x12\x11\0\0\0\x0a\x07web-two\x12\x06(none)";
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf image = BUF_INIT;

        assert_ok(buf_add(&image, uts, sizeof uts - 1, &err), &err);
        assert_ok(image_rename(&image, "web-two", &err), &err);
        assert_int_equal(image.len, sizeof want - 1);
        assert_memory_equal(image.data, want, image.len);
}

static void a_damaged_image_is_refused(void **state)
{
        for (size_t n = 0; n < sizeof uts - 1; n++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                auto_buf image = BUF_INIT;

                assert_ok(buf_add(&image, uts, n, &err), &err);
                assert_int_equal(image_rename(&image, "web-two", &err), -1);
                assert_int_equal(err.code, CRINGLE_E_INVALID);
        }
}

static void ipc_of_the_pod_is_seen(void **state)
{
        assert_true(image_has_sysv("ipcns-shm-11.img", 60));
        assert_true(image_has_sysv("ipcns-sem-11.img", 9));
        assert_false(image_has_sysv("ipcns-msg-11.img", 8));
        assert_false(image_has_sysv("ipcns-var-11.img", 60));
        assert_true(image_is_uts("utsns-12.img"));
}

UNIT_MAIN(
        cmocka_unit_test(an_image_gets_another_host_name),
        cmocka_unit_test(a_damaged_image_is_refused),
        cmocka_unit_test(ipc_of_the_pod_is_seen),
        cmocka_unit_test(one_of_ours_is_read),
        cmocka_unit_test(whatever_else_there_is_is_refused),
        cmocka_unit_test(streams_are_pipes_or_files_of_its_own),
        cmocka_unit_test(other_streams_are_refused),
        cmocka_unit_test(deleted_files_have_paths_that_stay_inside))
