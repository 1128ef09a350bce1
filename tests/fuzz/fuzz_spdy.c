/*
 * SPDY frames, in two pieces, as they come from the network
 *
 * The first byte says where the pieces part.  With the lowest bit of the second, the rest are frames in a
 * short form (type, flags, stream, length, payload), whose header blocks are written plainly and packed here: a
 * mutation then changes a header, not bits of a deflate stream.  Type 0 is data.
 */

#include <string.h>
#include <zlib.h>

#include "agent/base/buf.h"
#include "agent/stream/dictionary.h"
#include "agent/stream/spdy.h"
#include "tests/fuzz/fuzz.h"

enum { DATA = 0, SYN_STREAM = 1, SYN_REPLY = 2, HEADERS = 8, TYPES = 12 };

static size_t header_bytes;             /* of all that was opened */

static void on_write(void *data, const void *bytes, size_t n)
{
}

static void on_open(void *data, uint32_t stream, const struct spdy_header *headers, size_t n, bool fin)
{
        struct spdy **s = data;

        must(n <= SPDY_HEADERS_MAX);
        for (size_t i = 0; i < n; i++)
                header_bytes += strlen(headers[i].name) + strlen(headers[i].value);
        must(header_bytes <= 64 * (size_t) SPDY_HEADERS_SIZE);
        if (*spdy_header(headers, n, "streamtype"))
                spdy_reply(*s, stream);
        else
                spdy_reset(*s, stream, SPDY_REFUSED_STREAM);
}

static void on_data(void *data, uint32_t stream, const char *bytes, size_t n)
{
        struct spdy **s = data;

        spdy_send(*s, stream, bytes, n, false);
}

static void on_stream(void *data, uint32_t stream)
{
}

static bool on_over(void *data)
{
        return false;
}

static void put_u32(struct buf *to, uint32_t v)
{
        const uint8_t bytes[4] = { (uint8_t) (v >> 24), (uint8_t) (v >> 16), (uint8_t) (v >> 8), (uint8_t) v };

        buf_add(to, bytes, 4, NULL);
}

static void put_packed(struct buf *to, z_stream *z, const uint8_t *data, size_t n)
{
        uint8_t packed[1024];

        if (n == 0)
                return;
        z->next_in = (uint8_t *) data;
        z->avail_in = (uInt) n;
        z->next_out = packed;
        z->avail_out = sizeof packed;
        must(deflate(z, Z_SYNC_FLUSH) == Z_OK && z->avail_out > 0);
        buf_add(to, packed, sizeof packed - z->avail_out, NULL);
}

static void put_frame(struct buf *to, z_stream *z, const uint8_t head[4], const uint8_t *data, size_t n)
{
        uint8_t type = head[0] % TYPES;
        auto_buf body = BUF_INIT;

        if (type == SYN_STREAM || type == SYN_REPLY || type == HEADERS) {
                put_u32(&body, head[2]);
                if (type == SYN_STREAM)
                        buf_add(&body, "\0\0\0\0\0", 6, NULL);
                put_packed(&body, z, data, n);
        } else {
                buf_add(&body, data, n, NULL);
        }
        put_u32(to, type == DATA ? head[2] : UINT32_C(0x80030000) | type);
        put_u32(to, (uint32_t) head[1] << 24 | (uint32_t) body.len);
        buf_add(to, body.data, body.len, NULL);
}

static void put_frames(struct buf *to, const uint8_t *data, size_t size)
{
        static z_stream z;              /* for all runs: to make it takes longer than to use it */

        must(z.state ? deflateReset(&z) == Z_OK : deflateInit2(&z, 1, Z_DEFLATED, 11, 3, Z_DEFAULT_STRATEGY) == Z_OK);
        must(deflateSetDictionary(&z, spdy_dictionary, SPDY_DICTIONARY_SIZE) == Z_OK);
        while (size >= 4) {
                size_t n = data[3] < size - 4 ? data[3] : size - 4;

                put_frame(to, &z, data, data + 4, n);
                data += 4 + n;
                size -= 4 + n;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct spdy_events events = { on_write, on_open, on_data, on_stream, on_stream, on_over };
        uint8_t part = fuzz_byte(&data, &size), mode = fuzz_byte(&data, &size);
        auto_buf bytes = BUF_INIT;
        size_t cut;
        struct spdy *s;

        if (mode & 1)
                put_frames(&bytes, data, size);
        else if (size)
                buf_add(&bytes, data, size, NULL);
        cut = bytes.len * part / 256;
        header_bytes = 0;
        must(spdy_new(&events, &s, &s, NULL) == 0);
        if (bytes.len && spdy_feed(s, bytes.data, cut, NULL) == 0)
                spdy_feed(s, bytes.data + cut, bytes.len - cut, NULL);
        spdy_free(s);
        return 0;
}
