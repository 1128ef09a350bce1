/* A number is a number whatever names the image has; what is out of range is nobody. */

#include "tests/support/unit.h"

#include "agent/oci/users.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "1000:x:0:0:a name that looks like a number:/root:/bin/sh\n"
                             "+1:x:0:0::/root:/bin/sh\n"
                             "2147483648:x:0:0::/root:/bin/sh\n"
                             "4294967296:x:0:0::/root:/bin/sh\n"
                             "99999999999999999999:x:0:0::/root:/bin/sh\n"
                             "0x1:x:0:0::/root:/bin/sh\n"
                             "# a comment: with colons:::\n"
                             "\n"
                             "short:x:7\n"
                             "web:x:33:44:web,,,:/srv/web:/bin/false\n"
                             "wrapped:x:4294967296:0::/:\n"
                             "wrapped-group:x:50:4294967296::/:\n"
                             "nohome:x:51:51\n"
                             "relative:x:52:52::srv:\n"
                             "control:x:53:53::/srv\r/x:\n"
                             "latin:x:54:54::/srv/\xe9:\n"
                             "last:x:60:60::/last:/bin/sh";

static const char group[] = "root:x:0:\n"
                            "www:x:44:\n"
                            "media:x:100:other,web\n"
                            "audio:x:101:web,root\n"
                            "audio-again:x:101:web\n"
                            "notme:x:102:webmaster,we\n"
                            "7:x:0:\n"
                            "huge:x:4294967296:\n"
                            "tail:x:103:last";

static int resolve(const char *who, struct oci_user **ret, struct cringle_err *err)
{
        return users_resolve(who, passwd, sizeof passwd - 1, group, sizeof group - 1, ret, err);
}

static void strings_mean_exactly_this(void **state)
{
        static const struct {
                const char *who;
                int64_t uid, gid;       /* -1: refused */
        } table[] = {
                { "", 0, 0 },           { "0", 0, 0 },           { "1", 1, 0 },
                { "1:", -1, -1 },       { ":1", -1, -1 },        { ":", -1, -1 },
                { "1:2", 1, 2 },        { "+1", -1, -1 },        { " 1", -1, -1 },
                { "1 ", -1, -1 },       { "01", 1, 0 },          { "0x1", -1, -1 },
                { "1:2:3", -1, -1 },    { "-1", -1, -1 },        { "1\n", -1, -1 },
                { "1000", 1000, 0 },    { "1000:1000", 1000, 1000 },
                { "2147483647", 2147483647, 0 },                 { "2147483648", -1, -1 },
                { "4294967295", -1, -1 },                        { "4294967296", -1, -1 },
                { "99999999999999999999", -1, -1 },              { "0:4294967296", -1, -1 },
                { "0:2147483648", -1, -1 },                      { "0:-1", -1, -1 },
                { "web", 33, 44 },      { "33", 33, 44 },        { "web:9", 33, 9 },
                { "web:media", 33, 100 },                        { "33:media", 33, 100 },
                { "web:7", 33, 7 },     { "web:", -1, -1 },      { "nobody", -1, -1 },
                { "web:nogroup", -1, -1 },                       { "web:huge", -1, -1 },
                { "wrapped", -1, -1 },  { "wrapped-group", -1, -1 },                    { "50", -1, -1 },
                { "short", -1, -1 },    { "nohome", 51, 51 },    { "last", 60, 60 },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                struct cringle_err *err = unit_err();
                auto_of(oci_user) u = NULL;
                int r = resolve(table[i].who, &u, err);

                if (table[i].uid < 0) {
                        if (r == 0)
                                fail_msg("'%s' became %u:%u", table[i].who, u->uid, u->gid);
                        assert_int_equal(err->code, CRINGLE_E_INVALID);
                        continue;
                }
                if (r < 0)
                        fail_msg("'%s': %s", table[i].who, err->text);
                if (u->uid != table[i].uid || u->gid != table[i].gid)
                        fail_msg("'%s' became %u:%u", table[i].who, u->uid, u->gid);
        }
}

static void groups_are_those_that_list_the_name(void **state)
{
        struct cringle_err *err = unit_err();
        auto_of(oci_user) web = NULL;
        auto_of(oci_user) number = NULL;
        auto_of(oci_user) last = NULL;
        auto_of(oci_user) unknown = NULL;

        assert_ok(resolve("web", &web, err), err);
        assert_int_equal(web->n_groups, 2);
        assert_int_equal(web->groups[0], 100);
        assert_int_equal(web->groups[1], 101);

        assert_ok(resolve("33:5", &number, err), err);
        assert_int_equal(number->n_groups, 2);

        assert_ok(resolve("last", &last, err), err);
        assert_int_equal(last->n_groups, 1);
        assert_int_equal(last->groups[0], 103);

        assert_ok(resolve("12345", &unknown, err), err);
        assert_int_equal(unknown->n_groups, 0);
        assert_null(unknown->name);
}

static void homes_are_absolute_text_or_the_root(void **state)
{
        struct cringle_err *err = unit_err();
        static const struct {
                const char *who, *home;
        } table[] = {
                { "web", "/srv/web" }, { "33", "/srv/web" }, { "nohome", "/" },   { "relative", "/" },
                { "control", "/" },    { "latin", "/" },     { "last", "/last" }, { "777", "/" },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
                auto_of(oci_user) u = NULL;

                assert_ok(resolve(table[i].who, &u, err), err);
                assert_string_equal(u->home, table[i].home);
        }
}

static void numbers_need_no_files(void **state)
{
        struct cringle_err *err = unit_err();
        auto_of(oci_user) u = NULL;
        auto_of(oci_user) name = NULL;

        assert_ok(users_resolve("5:6", NULL, 0, NULL, 0, &u, err), err);
        assert_int_equal(u->uid, 5);
        assert_int_equal(u->gid, 6);
        assert_int_equal(users_resolve("root", NULL, 0, NULL, 0, &name, unit_err()), -1);
}

static void too_many_groups_are_refused(void **state)
{
        struct cringle_err *err = unit_err();
        auto_of(oci_user) u = NULL;

        assert_ok(oci_user_new(0, 0, "/", NULL, &u, err), err);
        for (uint32_t i = 0; i < USERS_GROUPS_MAX; i++)
                assert_ok(oci_user_add_group(u, i, err), err);
        assert_ok(oci_user_add_group(u, 7, err), err);
        assert_int_equal(u->n_groups, USERS_GROUPS_MAX);
        assert_int_equal(oci_user_add_group(u, USERS_GROUPS_MAX, unit_err()), -1);
}

static void files_of_noise_are_only_noise(void **state)
{
        unsigned seed = 1;
        char noise[4096];

        for (int round = 0; round < 500; round++) {
                auto_of(oci_user) u = NULL;

                for (size_t i = 0; i < sizeof noise; i++)
                        noise[i] = "::,,\n\n\0\xff" "0123456789webx/"[rand_r(&seed) % 23];
                if (users_resolve("web", noise, sizeof noise, noise, sizeof noise, &u, unit_err()) == 0)
                        assert_true(u->uid <= USERS_ID_MAX && u->gid <= USERS_ID_MAX);
        }
}

UNIT_MAIN(
        cmocka_unit_test(strings_mean_exactly_this),
        cmocka_unit_test(groups_are_those_that_list_the_name),
        cmocka_unit_test(homes_are_absolute_text_or_the_root),
        cmocka_unit_test(numbers_need_no_files),
        cmocka_unit_test(too_many_groups_are_refused),
        cmocka_unit_test(files_of_noise_are_only_noise))
