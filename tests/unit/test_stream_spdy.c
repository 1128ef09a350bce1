/* SPDY frames arrive whole however they are cut; what breaks the protocol ends it, in bounded memory. */

#include "tests/support/unit.h"

#include <zlib.h>

#include "agent/base/buf.h"
#include "agent/stream/dictionary.h"
#include "agent/stream/spdy.h"

struct seen {
        struct spdy *spdy;
        struct buf said;                /* what came, in words */
        struct buf sent;
};

static void on_write(void *data, const void *bytes, size_t n)
{
        buf_add(&((struct seen *) data)->sent, bytes, n, NULL);
}

static void on_open(void *data, uint32_t stream, const struct spdy_header *headers, size_t n, bool fin)
{
        buf_printf(&((struct seen *) data)->said, NULL, "open %u %s %s%s;", stream, spdy_header(headers, n, "streamtype"),
                   spdy_header(headers, n, "port"), fin ? " fin" : "");
}

static void on_data(void *data, uint32_t stream, const char *bytes, size_t n)
{
        buf_add(&((struct seen *) data)->said, bytes, n, NULL);
}

static void on_end(void *data, uint32_t stream)
{
        buf_printf(&((struct seen *) data)->said, NULL, ";end %u;", stream);
}

static void on_reset(void *data, uint32_t stream)
{
        buf_printf(&((struct seen *) data)->said, NULL, "reset %u;", stream);
}

static bool on_over(void *data)
{
        return false;
}

static const struct spdy_events events = { on_write, on_open, on_data, on_end, on_reset, on_over };

static int setup(void **state)
{
        static struct seen seen;

        seen = (struct seen) { 0 };
        *state = &seen;
        return spdy_new(&events, &seen, &seen.spdy, NULL);
}

static int teardown(void **state)
{
        struct seen *seen = *state;

        spdy_free(seen->spdy);
        buf_done(&seen->said);
        buf_done(&seen->sent);
        return 0;
}

static void put_u32(struct buf *b, uint32_t v)
{
        const char bytes[4] = { (char) (v >> 24), (char) (v >> 16), (char) (v >> 8), (char) v };

        buf_add(b, bytes, 4, NULL);
}

static void put_text(struct buf *b, const char *text)
{
        put_u32(b, (uint32_t) strlen(text));
        buf_add_str(b, text, NULL);
}

static void put_control(struct buf *b, uint32_t type, uint32_t size)
{
        put_u32(b, UINT32_C(0x80030000) | type);
        put_u32(b, size);
}

/* A SYN_STREAM with @block as its headers, packed by @z. */
static void put_syn(struct buf *b, z_stream *z, uint32_t stream, const struct buf *block)
{
        size_t room = block->len + 4096;
        auto_free unsigned char *packed = malloc(room);

        z->next_in = (unsigned char *) block->data;
        z->avail_in = (uInt) block->len;
        z->next_out = packed;
        z->avail_out = (uInt) room;
        assert_int_equal(deflate(z, Z_SYNC_FLUSH), Z_OK);
        put_control(b, 1, (uint32_t) (10 + room - z->avail_out));
        put_u32(b, stream);
        put_u32(b, 0);
        buf_add(b, "\0\0", 2, NULL);
        buf_add(b, packed, room - z->avail_out, NULL);
}

static void packer(z_stream *z)
{
        *z = (z_stream) { 0 };
        assert_int_equal(deflateInit(z, 9), Z_OK);
        assert_int_equal(deflateSetDictionary(z, spdy_dictionary, SPDY_DICTIONARY_SIZE), Z_OK);
}

static void put_stream(struct buf *b, z_stream *z, uint32_t stream, const char *type)
{
        auto_buf block = BUF_INIT;

        put_u32(&block, 2);
        put_text(&block, "streamtype");
        put_text(&block, type);
        put_text(&block, "port");
        put_text(&block, "80");
        put_syn(b, z, stream, &block);
}

static void frames_may_be_cut_anywhere(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;
        z_stream z;

        packer(&z);
        put_stream(&b, &z, 1, "error");
        put_stream(&b, &z, 3, "data");          /* the packer's state goes on */
        put_u32(&b, 3);
        put_u32(&b, 5);
        buf_add_str(&b, "hello", NULL);
        put_control(&b, 9, 8);                  /* WINDOW_UPDATE: nothing */
        put_u32(&b, 3);
        put_u32(&b, 1000);
        put_u32(&b, 3);
        put_u32(&b, UINT32_C(1) << 24);         /* FIN alone */
        put_control(&b, 3, 8);
        put_u32(&b, 1);
        put_u32(&b, 5);
        deflateEnd(&z);

        for (size_t i = 0; i < b.len; i++)
                assert_int_equal(spdy_feed(seen->spdy, b.data + i, 1, NULL), 0);
        assert_string_equal(seen->said.data, "open 1 error 80;open 3 data 80;hello;end 3;reset 1;");
}

static void pings_are_answered(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;

        put_control(&b, 6, 4);
        put_u32(&b, 7);
        assert_int_equal(spdy_feed(seen->spdy, b.data, b.len, NULL), 0);
        assert_int_equal(seen->sent.len, b.len);
        assert_memory_equal(seen->sent.data, b.data, b.len);
}

static void long_data_goes_in_several_frames(void **state)
{
        struct seen *seen = *state;
        static char bytes[SPDY_CHUNK + 1];

        spdy_send(seen->spdy, 5, bytes, sizeof bytes, true);
        assert_int_equal(seen->sent.len, sizeof bytes + 16);
        assert_int_equal(seen->sent.data[4], 0);
        assert_int_equal(seen->sent.data[8 + SPDY_CHUNK + 4], 1);      /* only the last one ends it */
}

static void refused(struct seen *seen, const struct buf *b)
{
        assert_int_equal(spdy_feed(seen->spdy, b->data, b->len, NULL), -1);
}

static void headers_that_unpack_to_a_flood_are_refused(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT, block = BUF_INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        z_stream z;

        assert_int_equal(buf_reserve(&block, SPDY_HEADERS_SIZE + 1, NULL), 0);
        memset(block.data, 0, SPDY_HEADERS_SIZE + 1);
        block.len = SPDY_HEADERS_SIZE + 1;
        packer(&z);
        put_syn(&b, &z, 1, &block);
        deflateEnd(&z);
        assert_true(b.len < 8192);
        assert_int_equal(spdy_feed(seen->spdy, b.data, b.len, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_EXHAUSTED);        /* given up on the way, not when it was there */
}

static void counts_beyond_the_block_are_refused(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT, block = BUF_INIT;
        z_stream z;

        put_u32(&block, 2);
        put_text(&block, "a");
        put_u32(&block, UINT32_MAX);
        packer(&z);
        put_syn(&b, &z, 1, &block);
        deflateEnd(&z);
        refused(seen, &b);
}

static void more_headers_than_anybody_needs_are_refused(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT, block = BUF_INIT;
        z_stream z;

        put_u32(&block, SPDY_HEADERS_MAX + 1);
        for (int i = 0; i <= SPDY_HEADERS_MAX; i++) {
                put_text(&block, "a");
                put_text(&block, "b");
        }
        packer(&z);
        put_syn(&b, &z, 1, &block);
        deflateEnd(&z);
        refused(seen, &b);
}

static void streams_out_of_order_are_refused(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;
        z_stream z;

        packer(&z);
        put_stream(&b, &z, 3, "data");
        put_stream(&b, &z, 1, "data");
        deflateEnd(&z);
        refused(seen, &b);
}

static void garbage_is_refused(void **state)
{
        struct seen *seen = *state;
        auto_buf b = BUF_INIT;

        put_control(&b, 1, 14);
        for (int i = 0; i < 14; i++)
                buf_add(&b, "\xff", 1, NULL);
        refused(seen, &b);
}

static void other_versions_and_huge_control_frames_are_refused(void **state)
{
        struct seen *seen = *state;

        assert_int_equal(spdy_feed(seen->spdy, "\x80\x02\0\x06\0\0\0\x04", 8, NULL), -1);
        spdy_free(seen->spdy);
        assert_int_equal(spdy_new(&events, seen, &seen->spdy, NULL), 0);
        assert_int_equal(spdy_feed(seen->spdy, "\x80\x03\0\x04\0\xff\xff\xff", 8, NULL), -1);
}

/* A block of @n headers, and of @pad bytes more in a value; comes to what feeding it comes to. */
static int feed_headers(struct seen *seen, uint32_t n, size_t pad)
{
        auto_buf b = BUF_INIT, block = BUF_INIT;
        auto_free char *value = calloc(1, pad + 1);
        z_stream z;

        memset(value, 'v', pad);
        put_u32(&block, n);
        for (uint32_t i = 0; i < n; i++) {
                put_text(&block, "a");
                put_text(&block, i == 0 ? value : "b");
        }
        packer(&z);
        put_syn(&b, &z, 1, &block);
        deflateEnd(&z);
        spdy_free(seen->spdy);
        assert_int_equal(spdy_new(&events, seen, &seen->spdy, NULL), 0);
        return spdy_feed(seen->spdy, b.data, b.len, NULL);
}

static void each_limit_holds_to_the_last_one(void **state)
{
        const size_t rest = 4 + 4 + 1 + 4;      /* of a block with one header of one letter: all but its value */
        struct seen *seen = *state;

        assert_int_equal(feed_headers(seen, SPDY_HEADERS_MAX - 1, 1), 0);
        assert_int_equal(feed_headers(seen, SPDY_HEADERS_MAX, 1), 0);
        assert_int_equal(feed_headers(seen, SPDY_HEADERS_MAX + 1, 1), -1);

        assert_int_equal(feed_headers(seen, 1, SPDY_HEADERS_SIZE - rest - 1), 0);
        assert_int_equal(feed_headers(seen, 1, SPDY_HEADERS_SIZE - rest), 0);
        assert_int_equal(feed_headers(seen, 1, SPDY_HEADERS_SIZE - rest + 1), -1);

        for (int more = -1; more <= 1; more++) {        /* SETTINGS, which nobody asks for */
                auto_buf b = BUF_INIT;

                put_control(&b, 4, (uint32_t) (SPDY_CONTROL_MAX + more));
                assert_int_equal(buf_reserve(&b, SPDY_CONTROL_MAX + 1, NULL), 0);
                memset(b.data + b.len, 0xff, SPDY_CONTROL_MAX + 1);
                b.len += (size_t) (SPDY_CONTROL_MAX + more);
                spdy_free(seen->spdy);
                assert_int_equal(spdy_new(&events, seen, &seen->spdy, NULL), 0);
                assert_int_equal(spdy_feed(seen->spdy, b.data, b.len, NULL), more > 0 ? -1 : 0);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(frames_may_be_cut_anywhere),
        TEST(pings_are_answered),
        TEST(long_data_goes_in_several_frames),
        TEST(headers_that_unpack_to_a_flood_are_refused),
        TEST(counts_beyond_the_block_are_refused),
        TEST(more_headers_than_anybody_needs_are_refused),
        TEST(streams_out_of_order_are_refused),
        TEST(garbage_is_refused),
        TEST(other_versions_and_huge_control_frames_are_refused),
        TEST(each_limit_holds_to_the_last_one))
