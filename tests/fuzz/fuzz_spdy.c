/* SPDY frames, in two pieces, as they come from the network. */

#include "agent/stream/spdy.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static void on_write(void *data, const void *bytes, size_t n)
{
}

static void on_open(void *data, uint32_t stream, const struct spdy_header *headers, size_t n, bool fin)
{
        struct spdy **s = data;

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

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
        static const struct spdy_events events = { on_write, on_open, on_data, on_stream, on_stream, on_over };
        size_t cut = n > 0 ? data[0] % (n + 1) : 0;
        struct spdy *s;

        if (spdy_new(&events, &s, &s, NULL) < 0)
                return 0;
        if (spdy_feed(s, (const char *) data, cut, NULL) == 0)
                spdy_feed(s, (const char *) data + cut, n - cut, NULL);
        spdy_free(s);
        return 0;
}
