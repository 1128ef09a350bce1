/* WebSocket messages arrive whole however they are cut; what breaks the protocol is told why, in bounded memory. */

#include "tests/support/unit.h"

#include "agent/base/buf.h"
#include "agent/stream/channels.h"

struct seen {
        struct websocket *websocket;
        struct channels channels;
        bool by_channel;                /* else parts go to `said` as they are */
        bool stop;
        size_t longest;                 /* part */
        struct buf said;                /* what came, in words */
        struct buf sent;
};

static void on_write(void *data, const void *bytes, size_t n)
{
        buf_add(&((struct seen *) data)->sent, bytes, n, NULL);
}

static void on_part(void *data, const struct websocket_part *part)
{
        struct seen *seen = data;

        seen->longest = part->n > seen->longest ? part->n : seen->longest;
        if (seen->by_channel) {
                seen->stop = channels_take(&seen->channels, part, NULL) < 0;
                return;
        }
        if (part->first)
                buf_add_str(&seen->said, part->text ? "text " : "binary ", NULL);
        buf_add(&seen->said, part->bytes, part->n, NULL);
        if (part->last)
                buf_add_str(&seen->said, ";", NULL);
}

static void on_closed(void *data)
{
        buf_add_str(&((struct seen *) data)->said, "closed;", NULL);
}

static bool on_over(void *data)
{
        return ((struct seen *) data)->stop;
}

static void on_data(void *data, uint32_t channel, const char *bytes, size_t n)
{
        struct seen *seen = data;

        buf_printf(&seen->said, NULL, "%u:", channel);
        buf_add(&seen->said, bytes, n, NULL);
        buf_add_str(&seen->said, ";", NULL);
}

static void on_end(void *data, uint32_t channel)
{
        buf_printf(&((struct seen *) data)->said, NULL, "end %u;", channel);
}

static const struct websocket_events events = { on_write, on_part, on_closed, on_over };
static const struct channels_events channels_events = { on_data, on_end };

static int setup(void **state)
{
        static struct seen seen;

        seen = (struct seen) { 0 };
        *state = &seen;
        return websocket_new(&events, &seen, &seen.websocket, NULL);
}

static int teardown(void **state)
{
        struct seen *seen = *state;

        websocket_free(seen->websocket);
        buf_done(&seen->said);
        buf_done(&seen->sent);
        return 0;
}

static void renew(struct seen *seen)
{
        teardown((void *[]) { seen });
        setup((void *[]) { NULL });
}

static void speak_channels(struct seen *seen, bool base64, bool closes)
{
        seen->by_channel = true;
        channels_init(&seen->channels, seen->websocket, 5, base64, closes, &channels_events, seen);
}

static void put_head(struct buf *b, int first, int length_byte, uint64_t size, int size_bytes)
{
        char head[10] = { (char) first, (char) length_byte };

        for (int i = 0; i < size_bytes; i++)
                head[2 + i] = (char) (size >> (8 * (size_bytes - 1 - i)));
        buf_add(b, head, 2 + (size_t) size_bytes, NULL);
}

/* A masked frame, as a client sends it. */
static void put(struct buf *b, int first, const void *bytes, size_t n)
{
        static const char mask[4] = { 0x12, (char) 0xf4, 0x56, (char) 0xa8 };

        put_head(b, first, 0x80 | (n < 126 ? (int) n : n < 65536 ? 126 : 127), n, n < 126 ? 0 : n < 65536 ? 2 : 8);
        buf_add(b, mask, 4, NULL);
        for (size_t i = 0; i < n; i++)
                buf_add(b, (const char[]) { (char) (((const char *) bytes)[i] ^ mask[i % 4]) }, 1, NULL);
}

static void put_str(struct buf *b, int first, const char *text)
{
        put(b, first, text, strlen(text));
}

static int feed(struct seen *seen, const struct buf *b)
{
        return websocket_feed(seen->websocket, b->data, b->len, NULL);
}

/* That @b is refused, with a close frame of that code and nothing after it. */
static void assert_refused(struct seen *seen, const struct buf *b, unsigned code)
{
        const unsigned char *sent;

        assert_true(feed(seen, b) < 0 || seen->stop);
        sent = (const unsigned char *) seen->sent.data;
        assert_true(seen->sent.len >= 4);
        assert_int_equal(sent[0], 0x88);
        assert_int_equal(sent[1], seen->sent.len - 2);
        assert_int_equal(sent[2] << 8 | sent[3], code);
        websocket_send(seen->websocket, false, "x", 1, "y", 1);
        websocket_close(seen->websocket, WEBSOCKET_NORMAL, "");
        assert_int_equal(seen->sent.len, 2 + sent[1]);
}

static void refused(void **state, const struct buf *b, unsigned code)
{
        struct seen *seen = *state;

        renew(seen);
        assert_refused(seen, b, code);
}

static void frames_may_be_cut_anywhere(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;

        put_str(&b, 0x82, "hello");
        put_str(&b, 0x01, "wor");               /* in three fragments, ... */
        put_str(&b, 0x89, "ping");              /* ... with another frame between them */
        put_str(&b, 0x00, "");
        put_str(&b, 0x80, "ld");
        put_str(&b, 0x8a, "nobody asked");
        put_str(&b, 0x82, "");
        for (size_t cut = 0; cut <= b.len; cut++) {
                renew(seen);
                assert_int_equal(websocket_feed(seen->websocket, b.data, cut, NULL), 0);
                for (size_t i = cut; i < b.len; i++)
                        assert_int_equal(websocket_feed(seen->websocket, b.data + i, 1, NULL), 0);
                assert_string_equal(seen->said.data, "binary hello;text world;binary ;");
                assert_int_equal(seen->sent.len, 6);
                assert_memory_equal(seen->sent.data, "\x8a\x04ping", 6);
        }
}

static void a_long_message_comes_in_parts(void **state)
{
        static const size_t sizes[] = { 125, 126, 65535, 65536, 200000 };
        struct seen *seen = *state;

        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                auto_free char *bytes = malloc(sizes[i]);
                auto_buf b = BUF_INIT;

                for (size_t k = 0; k < sizes[i]; k++)
                        bytes[k] = (char) (k * 7 + k / 251);
                put(&b, 0x82, bytes, sizes[i]);
                renew(seen);
                assert_int_equal(feed(seen, &b), 0);
                assert_int_equal(seen->said.len, sizes[i] + strlen("binary ;"));
                assert_memory_equal(seen->said.data + strlen("binary "), bytes, sizes[i]);
                assert_true(seen->longest <= WEBSOCKET_PART);
        }
}

static void what_is_sent_has_the_shortest_length(void **state)
{
        static char bytes[70000];
        struct seen *seen = *state;

        websocket_send(seen->websocket, true, "1", 1, bytes, 124);
        assert_memory_equal(seen->sent.data, "\x81\x7d" "1", 3);
        assert_int_equal(seen->sent.len, 2 + 125);
        buf_clear(&seen->sent);
        websocket_send(seen->websocket, false, "1", 1, bytes, 125);
        assert_memory_equal(seen->sent.data, "\x82\x7e\x00\x7e" "1", 5);
        buf_clear(&seen->sent);
        websocket_send(seen->websocket, false, NULL, 0, bytes, sizeof bytes);
        assert_memory_equal(seen->sent.data, "\x82\x7f\0\0\0\0\0\x01\x11\x70", 10);
        assert_int_equal(seen->sent.len, 10 + sizeof bytes);
        buf_clear(&seen->sent);
        websocket_close(seen->websocket, WEBSOCKET_NORMAL, "bye");
        assert_memory_equal(seen->sent.data, "\x88\x05\x03\xe8" "bye", 7);
}

static void an_unmasked_frame_is_refused(void **state)
{
        auto_buf b = BUF_INIT;

        put_head(&b, 0x82, 5, 0, 0);
        buf_add_str(&b, "hello", NULL);
        refused(state, &b, 1002);
}

static void reserved_bits_and_types_are_refused(void **state)
{
        static const int firsts[] = { 0xc2, 0xa2, 0x92, 0x83, 0x87, 0x8b, 0x8f };

        for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
                auto_buf b = BUF_INIT;

                put_str(&b, firsts[i], "x");
                refused(state, &b, 1002);
        }
}

static void control_frames_are_short_and_whole(void **state)
{
        static const int firsts[] = { 0x88, 0x89, 0x8a };
        char long_one[126] = { 3, (char) 0xe8 };

        for (size_t i = 0; i < 3; i++) {
                auto_buf longer = BUF_INIT, fragment = BUF_INIT;

                put(&longer, firsts[i], long_one, sizeof long_one);
                refused(state, &longer, 1002);
                put(&fragment, firsts[i] & 0x7f, long_one, 2);
                refused(state, &fragment, 1002);
        }
}

static void lengths_are_taken_as_they_must_be_written(void **state)
{
        static const struct { int byte; uint64_t size; int bytes; unsigned code; } wrong[] = {
                { 0xfe, 125, 2, 1002 },
                { 0xff, 65535, 8, 1002 },
                { 0xff, UINT64_C(0x8000000000000000), 8, 1002 },
                { 0xff, UINT64_MAX, 8, 1002 },
                { 0xff, UINT64_C(0x7fffffffffffffff), 8, 1009 },
                { 0xff, WEBSOCKET_MESSAGE_MAX + 1, 8, 1009 },
        };

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                auto_buf b = BUF_INIT;

                put_head(&b, 0x82, wrong[i].byte, wrong[i].size, wrong[i].bytes);
                buf_add_str(&b, "mask", NULL);
                refused(state, &b, wrong[i].code);
        }
}

static void fragments_are_counted_together(void **state)
{
        auto_buf b = BUF_INIT;

        put_str(&b, 0x02, "12345");
        put_head(&b, 0x80, 0xff, WEBSOCKET_MESSAGE_MAX - 4, 8);
        buf_add_str(&b, "mask", NULL);
        refused(state, &b, 1009);
}

static void each_limit_holds_to_the_last_one(void **state)
{
        /* Of a whole message, and of the rest of one of which a byte was there: by their heads, which decide. */
        for (int first = 0; first < 2; first++)
                for (int more = -1; more <= 1; more++) {
                        const uint64_t size = (uint64_t) (WEBSOCKET_MESSAGE_MAX - first + more);
                        struct seen *seen = *state;
                        auto_buf b = BUF_INIT;

                        if (first)
                                put(&b, 0x02, "x", 1);
                        put_head(&b, first ? 0x80 : 0x82, 0xff, size, 8);
                        buf_add_str(&b, "mask", NULL);
                        renew(seen);
                        if (more > 0)
                                assert_refused(seen, &b, 1009);
                        else
                                assert_int_equal(feed(seen, &b), 0);
                }
        for (size_t n = 124; n <= 126; n++) {
                const char bytes[126] = { 0 };
                struct seen *seen = *state;
                auto_buf b = BUF_INIT;

                put(&b, 0x89, bytes, n);
                renew(seen);
                if (n > 125)
                        assert_refused(seen, &b, 1002);
                else
                        assert_int_equal(feed(seen, &b), 0);
        }
}

static void fragments_stand_in_order(void **state)
{
        auto_buf none = BUF_INIT, two = BUF_INIT;

        put_str(&none, 0x80, "goes on");
        refused(state, &none, 1002);
        put_str(&two, 0x02, "one");
        put_str(&two, 0x82, "two");
        refused(state, &two, 1002);
}

static void a_text_is_utf8(void **state)
{
        static const char *const good[] = { "", "plain", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                            "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xe2\x82\xac z" };
        static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2 ", "\xe0\x9f\xbf", "\xed\xa0\x80",
                                           "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82",
                                           "\xe2\x82\xc2", "\xf0\x90\x80" };
        struct seen *seen = *state;

        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
                auto_buf whole = BUF_INIT, cut = BUF_INIT;

                put_str(&whole, 0x81, good[i]);
                renew(seen);
                assert_int_equal(feed(seen, &whole), 0);
                for (size_t k = 0; good[i][k]; k++)             /* a character may be cut */
                        put(&cut, k == 0 ? 0x01 : 0x00, good[i] + k, 1);
                if (*good[i])
                        put_str(&cut, 0x80, "");
                assert_int_equal(feed(seen, &cut), 0);
        }
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                auto_buf b = BUF_INIT, binary = BUF_INIT;

                put_str(&b, 0x81, bad[i]);
                refused(state, &b, 1007);
                put_str(&binary, 0x82, bad[i]);
                renew(seen);
                assert_int_equal(feed(seen, &binary), 0);
        }
}

static void closing_is_answered_with_its_code(void **state)
{
        struct seen *seen = *state;
        auto_buf with = BUF_INIT, without = BUF_INIT;

        put(&with, 0x88, "\x0f\xa0" "done", 6);         /* 4000 */
        put_str(&with, 0x82, "too late");
        assert_int_equal(feed(seen, &with), 0);
        assert_string_equal(seen->said.data, "closed;");
        assert_int_equal(seen->sent.len, 4);
        assert_memory_equal(seen->sent.data, "\x88\x02\x0f\xa0", 4);

        renew(seen);
        put_str(&without, 0x88, "");
        assert_int_equal(feed(seen, &without), 0);
        assert_string_equal(seen->said.data, "closed;");
        assert_memory_equal(seen->sent.data, "\x88\x02\x03\xe8", 4);
}

static void closing_for_no_reason_is_refused(void **state)
{
        static const struct { const char *body; size_t n; unsigned code; } wrong[] = {
                { "\x03", 1, 1002 },            { "\x00\x00", 2, 1002 },      { "\x03\xe7", 2, 1002 },
                { "\x03\xec", 2, 1002 },        { "\x03\xed", 2, 1002 },      { "\x03\xee", 2, 1002 },
                { "\x03\xf7", 2, 1002 },        { "\x0b\xb7", 2, 1002 },      { "\x13\x88", 2, 1002 },
                { "\x03\xe8\xff\xfe", 4, 1007 }, { "\x03\xe8\xe2\x82", 4, 1007 },
        };

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                auto_buf b = BUF_INIT;

                put(&b, 0x88, wrong[i].body, wrong[i].n);
                refused(state, &b, wrong[i].code);
        }
}

static void messages_go_to_their_channels(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;

        speak_channels(seen, false, false);
        put(&b, 0x82, "\0input", 6);
        put(&b, 0x82, "\4{}", 3);
        put(&b, 0x02, "", 0);                   /* the number in a fragment of its own */
        put(&b, 0x00, "\0", 1);
        put(&b, 0x80, "more", 4);
        put(&b, 0x82, "\5none", 5);             /* there are five */
        put(&b, 0x82, "\377\0", 2);             /* of no meaning before version 5 */
        put(&b, 0x82, "", 0);
        put(&b, 0x82, "\0", 1);
        assert_int_equal(feed(seen, &b), 0);
        assert_string_equal(seen->said.data, "0:input;4:{};0:more;");
        channels_send(&seen->channels, 1, "out", 3);
        channels_send(&seen->channels, 3, "", 0);
        assert_int_equal(seen->sent.len, 9);
        assert_memory_equal(seen->sent.data, "\x82\x04\x01out\x82\x01\x03", 9);
}

static void base64_channels_are_texts(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;

        speak_channels(seen, true, false);
        put_str(&b, 0x81, "0aGVsbG8=");
        put_str(&b, 0x01, "0aG");               /* cut inside a quad */
        put_str(&b, 0x80, "Vs");
        put_str(&b, 0x81, "4");
        put_str(&b, 0x81, "9aGVsbG8=");
        assert_int_equal(feed(seen, &b), 0);
        assert_string_equal(seen->said.data, "0:hello;0:hel;");
        channels_send(&seen->channels, 1, "\0\1\2\3", 4);
        assert_memory_equal(seen->sent.data, "\x81\x09" "1AAECAw==", 11);
}

static void what_is_no_base64_is_refused(void **state)
{
        static const char *const wrong[] = { "0aGVsbG8", "0a", "0=AAA", "0A=AA", "0AA=A", "0AA==AAAA", "0AA\n=", "0A-_A", "0AAA==" };
        struct seen *seen = *state;

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                auto_buf b = BUF_INIT;

                renew(seen);
                speak_channels(seen, true, false);
                put_str(&b, 0x81, wrong[i]);
                assert_refused(seen, &b, 1007);
        }
}

static void version_five_ends_one_channel(void **state)
{
        static const struct { const char *bytes; size_t n; } wrong[] = { { "\377", 1 }, { "\377\5", 2 }, { "\377\0\0", 3 } };
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;

        speak_channels(seen, false, true);
        put(&b, 0x82, "\0x", 2);
        put(&b, 0x02, "\377", 1);
        put(&b, 0x80, "\0", 1);
        put(&b, 0x82, "\377\4", 2);
        assert_int_equal(feed(seen, &b), 0);
        assert_string_equal(seen->said.data, "0:x;end 0;end 4;");
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                auto_buf other = BUF_INIT;

                renew(seen);
                speak_channels(seen, false, true);
                put(&other, 0x82, wrong[i].bytes, wrong[i].n);
                assert_refused(seen, &other, 1002);
        }
}

static void much_is_sent_in_pieces(void **state)
{
        struct seen *seen = *state;
        auto_free char *bytes = calloc(1, 100000);
        size_t n = 0;

        speak_channels(seen, true, false);
        channels_send(&seen->channels, 1, bytes, 100000);
        for (size_t at = 0; at < seen->sent.len;) {
                const unsigned char *frame = (const unsigned char *) seen->sent.data + at;
                size_t size = frame[1] < 126 ? frame[1] : (size_t) frame[2] << 8 | frame[3];

                assert_int_equal(frame[0], 0x81);
                assert_true(frame[1] <= 126);
                assert_int_equal(frame[frame[1] < 126 ? 2 : 4], '1');
                assert_int_equal((size - 1) % 4, 0);
                n += (size - 1) / 4 * 3;
                at += (frame[1] < 126 ? 2 : 4) + size;
        }
        assert_true(n >= 100000 && n < 100003);
}

/* The key and answer that RFC 6455 gives as its example. */
static void the_key_is_answered(void **state)
{
        char accept[WEBSOCKET_ACCEPT_LEN + 1];

        assert_true(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", 24, accept));
        assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_false(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=", 23, accept));
        assert_false(websocket_accept("dGhlIHNhbXBsZSBub25jZTEy", 24, accept));         /* 18 bytes */
        assert_false(websocket_accept("dGhlIHNhbXBsZSBub25j!Q==", 24, accept));
        assert_false(websocket_accept(NULL, 0, accept));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        T(frames_may_be_cut_anywhere),
        T(a_long_message_comes_in_parts),
        T(what_is_sent_has_the_shortest_length),
        T(an_unmasked_frame_is_refused),
        T(reserved_bits_and_types_are_refused),
        T(control_frames_are_short_and_whole),
        T(lengths_are_taken_as_they_must_be_written),
        T(fragments_are_counted_together),
        T(each_limit_holds_to_the_last_one),
        T(fragments_stand_in_order),
        T(a_text_is_utf8),
        T(closing_is_answered_with_its_code),
        T(closing_for_no_reason_is_refused),
        T(messages_go_to_their_channels),
        T(base64_channels_are_texts),
        T(what_is_no_base64_is_refused),
        T(version_five_ends_one_channel),
        T(much_is_sent_in_pieces),
        T(the_key_is_answered))
