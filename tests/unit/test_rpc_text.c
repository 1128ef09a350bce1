/* What gRPC writes into headers can be read back, and nothing else is taken for it. */

#include "tests/support/unit.h"

#include "agent/rpc/text.h"

static int64_t parsed(const char *text)
{
        return rpc_timeout_parse(text, strlen(text));
}

static void a_timeout_has_digits_and_a_unit(void **state)
{
        static const char *const bad[] = { "", "5", "S", "-1S", "+1S", "1s", "1 S", "1.5S", "123456789n", "0x1S", "1SS" };

        assert_true(parsed("1n") == 1);
        assert_true(parsed("20u") == 20000);
        assert_true(parsed("30m") == 30000000);
        assert_true(parsed("5S") == INT64_C(5000000000));
        assert_true(parsed("2M") == INT64_C(120000000000));
        assert_true(parsed("1H") == INT64_C(3600000000000));
        assert_true(parsed("0S") == 0);
        assert_true(parsed("99999999H") == RPC_TIMEOUT_MAX);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_true(parsed(bad[i]) == -1);
}

static void a_written_timeout_is_never_shorter(void **state)
{
        for (int64_t nsec = 1; nsec < INT64_MAX / 8; nsec = nsec * 3 + 1) {
                char text[RPC_TIMEOUT_TEXT];
                int64_t back;

                rpc_timeout_text(nsec, text);
                back = parsed(text);
                assert_true(back >= nsec);
                assert_true(back - nsec <= nsec / 1000);
        }
}

static void an_expired_timeout_is_still_one(void **state)
{
        char text[RPC_TIMEOUT_TEXT];

        rpc_timeout_text(-5, text);
        assert_string_equal(text, "1n");
}

static void every_byte_survives_in_a_message(void **state)
{
        char all[256], back[256];
        char *encoded;

        for (int i = 0; i < 255; i++)
                all[i] = (char) (i + 1);
        all[255] = '\0';
        encoded = rpc_message_encode(all);
        for (const char *c = encoded; *c; c++)
                assert_in_range(*c, 0x20, 0x7e);
        rpc_message_decode(encoded, strlen(encoded), back, sizeof back);
        assert_string_equal(back, all);
        free(encoded);
}

static void decoding_takes_what_comes(void **state)
{
        char text[8];

        rpc_message_decode("100%", 4, text, sizeof text);
        assert_string_equal(text, "100%");
        rpc_message_decode("%zz%4", 5, text, sizeof text);
        assert_string_equal(text, "%zz%4");
        rpc_message_decode("a%00b", 5, text, sizeof text);
        assert_string_equal(text, "a b");
        rpc_message_decode("0123456789", 10, text, sizeof text);
        assert_string_equal(text, "0123456");
}

UNIT_MAIN(
        cmocka_unit_test(a_timeout_has_digits_and_a_unit),
        cmocka_unit_test(a_written_timeout_is_never_shorter),
        cmocka_unit_test(an_expired_timeout_is_still_one),
        cmocka_unit_test(every_byte_survives_in_a_message),
        cmocka_unit_test(decoding_takes_what_comes))
