/* What a registry asks for is understood; where it may send the secrets is for us to say. */

#include "tests/support/unit.h"

#include "agent/pull/challenge.h"

static size_t parse(const char *header, struct challenge list[static CHALLENGES_MAX])
{
        size_t n = 0;

        assert_ok(challenge_parse(header, list, &n, unit_err()), unit_err());
        return n;
}

static void quoted_commas_and_several_challenges_are_told_apart(void **state)
{
        struct challenge list[CHALLENGES_MAX];
        size_t n = parse("Bearer realm=\"https://a.example/t\", service=\"x\" ,scope=\"repository:a/b:pull,push\", Basic realm=\"say \\\"hi\\\"\"",
                         list);

        assert_int_equal(n, 2);
        assert_int_equal(list[0].scheme, CHALLENGE_BEARER);
        assert_string_equal(list[0].realm, "https://a.example/t");
        assert_string_equal(list[0].service, "x");
        assert_string_equal(list[0].scope, "repository:a/b:pull,push");
        assert_int_equal(list[1].scheme, CHALLENGE_BASIC);
        assert_string_equal(list[1].realm, "say \"hi\"");
        for (size_t i = 0; i < n; i++)
                challenge_done(list + i);

        n = parse("Negotiate, bearer Realm=plain", list);
        assert_int_equal(n, 2);
        assert_int_equal(list[0].scheme, CHALLENGE_OTHER);
        assert_string_equal(list[1].realm, "plain");
        for (size_t i = 0; i < n; i++)
                challenge_done(list + i);
}

static void nonsense_is_refused(void **state)
{
        static const char *const bad[] = {
                "Bearer realm=\"open", "Bearer realm=\"x\\", "=", "\"", "a,b,c,d,e,f,g,h,i",
        };
        struct challenge list[CHALLENGES_MAX];
        size_t n;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(challenge_parse(bad[i], list, &n, NULL), -1);
}

static void secrets_go_to_the_same_owner_only(void **state)
{
        assert_true(challenge_same_owner("registry-1.docker.io", "auth.docker.io"));
        assert_true(challenge_same_owner("registry.gitlab.example.com", "gitlab.example.com"));
        assert_true(challenge_same_owner("ghcr.io", "GHCR.io"));
        assert_true(challenge_same_owner("127.0.0.1", "127.0.0.1"));
        assert_true(challenge_same_owner("a.example.co.uk", "b.example.co.uk"));
        assert_false(challenge_same_owner("a.example.co.uk", "b.other.co.uk"));
        assert_false(challenge_same_owner("registry-1.docker.io", "docker.io.evil.example"));
        assert_false(challenge_same_owner("registry-1.docker.io", "evildocker.io"));
        assert_false(challenge_same_owner("127.0.0.1", "9.0.0.1"));
        assert_false(challenge_same_owner("localhost", "otherhost"));
        assert_false(challenge_same_owner("a.com", "b.com"));
}

UNIT_MAIN(
        cmocka_unit_test(quoted_commas_and_several_challenges_are_told_apart),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(secrets_go_to_the_same_owner_only))
