/* The digests of FIPS 180's own examples, also when the bytes come in pieces. */

#include "tests/support/unit.h"

#include "agent/base/sha256.h"

static void known_digests_come_out(void **state)
{
        char text[SHA256_TEXT_MAX];

        sha256_text("", 0, text);
        assert_string_equal(text, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        sha256_text("abc", 3, text);
        assert_string_equal(text, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        sha256_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, text);
        assert_string_equal(text, "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void pieces_hash_like_the_whole(void **state)
{
        uint8_t digest[32], million_a[32] = {
                0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92, 0x81, 0xa1, 0xc7, 0xe2, 0x84, 0xd7, 0x3e, 0x67,
                0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97, 0x20, 0x0e, 0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0,
        };
        char piece[997];
        struct sha256 s;

        memset(piece, 'a', sizeof piece);
        sha256_init(&s);
        for (size_t left = 1000000; left > 0;) {
                size_t n = left < sizeof piece ? left : sizeof piece;

                sha256_add(&s, piece, n);
                left -= n;
        }
        sha256_end(&s, digest);
        assert_memory_equal(digest, million_a, sizeof digest);
}

UNIT_MAIN(
        cmocka_unit_test(known_digests_come_out),
        cmocka_unit_test(pieces_hash_like_the_whole))
