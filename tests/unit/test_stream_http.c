/* What asks for an upgrade is understood; anything else is refused, and nothing is read beyond it. */

#include "tests/support/unit.h"

#include "agent/base/buf.h"
#include "agent/stream/http.h"

static const char good[] = "POST /exec/abc?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive,  Upgrade\r\n"
                           "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
                           "x-stream-protocol-version: v3.channel.k8s.io, channel.k8s.io\r\n\r\nrest";

static int parse(const char *text, struct http_request *r)
{
        return http_parse(text, strlen(text), r, NULL);
}

static void a_request_is_taken_apart(void **state)
{
        struct http_request r;
        struct http_text t;
        size_t at = 0;

        assert_int_equal(parse(good, &r), 1);
        assert_true(http_text_is(r.method, "POST"));
        assert_true(http_text_is(r.path, "/exec/abc"));
        assert_true(http_text_is(r.query, "x=1"));
        assert_int_equal(r.size, sizeof good - 1 - strlen("rest"));
        assert_true(http_has_item(&r, "connection", "upgrade"));
        assert_false(http_has_item(&r, "connection", "upgra"));
        assert_true(http_next_item(&r, "X-Stream-Protocol-Version", &at, &t) && http_text_is(t, "v4.channel.k8s.io"));
        assert_true(http_next_item(&r, "X-Stream-Protocol-Version", &at, &t) && http_text_is(t, "v3.channel.k8s.io"));
        assert_true(http_next_item(&r, "X-Stream-Protocol-Version", &at, &t) && http_text_is(t, "channel.k8s.io"));
        assert_false(http_next_item(&r, "X-Stream-Protocol-Version", &at, &t));
}

static void a_cut_request_asks_for_more(void **state)
{
        struct http_request r;

        for (size_t n = 0; n < sizeof good - 1 - strlen("rest"); n++)
                assert_int_equal(http_parse(good, n, &r, NULL), 0);
}

static void nonsense_is_refused(void **state)
{
        static const char *const bad[] = {
                "\r\n", "\n", "GET / HTTP/1.0\r\n\r\n", "GET /\r\n\r\n", "GET x HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n\n",
                "G(T / HTTP/1.1\r\n\r\n", "GET / x HTTP/1.1\r\n\r\n", " / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
                "GET / HTTP/1.1\r\n: x\r\n\r\n", "GET / HTTP/1.1\r\na b: x\r\n\r\n", "GET / HTTP/1.1\r\na: x\r\n folded\r\n\r\n",
                "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "GET / HTTP/1.1\r\na: \x01\r\n\r\n", "GET /\x80 HTTP/1.1\r\n\r\n",
        };
        struct http_request r;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                if (parse(bad[i], &r) != -1)
                        fail_msg("taken: %s", bad[i]);
}

static void floods_end(void **state)
{
        auto_buf b = BUF_INIT;
        struct http_request r;

        buf_add_str(&b, "GET / HTTP/1.1\r\n", NULL);
        for (int i = 0; i <= HTTP_HEADERS_MAX; i++)
                buf_add_str(&b, "a: b\r\n", NULL);
        assert_int_equal(http_parse(b.data, b.len, &r, NULL), -1);

        buf_clear(&b);
        for (size_t i = 0; i < HTTP_HEAD_MAX; i++)
                buf_add(&b, "a", 1, NULL);
        assert_int_equal(http_parse(b.data, b.len, &r, NULL), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_request_is_taken_apart),
                cmocka_unit_test(a_cut_request_asks_for_more),
                cmocka_unit_test(nonsense_is_refused),
                cmocka_unit_test(floods_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
