/* A reference becomes checked words, and what is no reference gets nowhere. */

#include "tests/support/unit.h"

#include "agent/image/reference.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void short_names_mean_docker_io(void **state)
{
        static const char *const pairs[][2] = {
                { "busybox", "docker.io/library/busybox:latest" },
                { "busybox:1.36", "docker.io/library/busybox:1.36" },
                { "user/app", "docker.io/user/app:latest" },
                { "index.docker.io/busybox", "docker.io/library/busybox:latest" },
                { "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10" },
                { "localhost/a", "localhost/a:latest" },
                { "localhost:5000/a/b__c.d---e", "localhost:5000/a/b__c.d---e:latest" },
                { "[::1]:5000/a:B_.-9", "[::1]:5000/a:B_.-9" },
                { "host.example/a@" DIGEST, "host.example/a@" DIGEST },
                { "host.example/a:t@" DIGEST, "host.example/a:t@" DIGEST },
        };

        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
                auto_reference r = REFERENCE_INIT;
                auto_free char *text = NULL;

                assert_int_equal(reference_parse(pairs[i][0], &r, unit_err()), 0);
                text = reference_text(&r, unit_err());
                assert_string_equal(text, pairs[i][1]);
        }
}

static void what_is_no_reference_is_refused(void **state)
{
        static const char *const bad[] = {
                "", "/", "a/", "/a", "A", "a:", "a:-x", "a:x y", "a b", "a//b", "a/../b", "host.example/../b", "a@sha256:",
                "a@sha256:0123", "a@md5:0123456789abcdef0123456789abcdef", "a@" DIGEST "0", "a_-b", "a___b", "a..b", "-a",
                "a-", "ho_st.example/a", "host.example:/a", "host.example:99999/a", "host.example:-1/a", "-h.example/a",
                "h..example/a", "user@host.example/a", "host.example:5000", "[::1/a", "http://host.example/a", "a\n", "\xc3\xa9",
                "a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                auto_reference r = REFERENCE_INIT;
                int got = reference_parse(bad[i], &r, NULL);

                if (strcmp(bad[i], "host.example:5000") == 0)
                        assert_int_equal(got, 0);       /* a repository with a tag, odd as it is */
                else if (got == 0)
                        fail_msg("'%s' was taken for a reference", bad[i]);
        }
}

static void a_tag_ends_at_128_bytes(void **state)
{
        char text[140] = "a:";
        auto_reference r = REFERENCE_INIT;

        memset(text + 2, 'x', 128);
        assert_int_equal(reference_parse(text, &r, unit_err()), 0);
        reference_done(&r);
        text[130] = 'x';
        assert_int_equal(reference_parse(text, &r, NULL), -1);
}

static void only_one_form_of_digest_is_valid(void **state)
{
        assert_true(digest_valid(DIGEST));
        assert_false(digest_valid(NULL));
        assert_false(digest_valid(""));
        assert_false(digest_valid("sha256:../../../../../../../../../../../../../../../../../../../../../etc"));
        assert_false(digest_valid("sha512:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
        assert_false(digest_valid(DIGEST "\n"));
}

UNIT_MAIN(
        cmocka_unit_test(short_names_mean_docker_io),
        cmocka_unit_test(what_is_no_reference_is_refused),
        cmocka_unit_test(a_tag_ends_at_128_bytes),
        cmocka_unit_test(only_one_form_of_digest_is_valid))
