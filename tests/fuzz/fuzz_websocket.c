/*
 * WebSocket frames and their channels, whole and cut in two: what comes of them is the same.
 *
 * The first byte chooses the protocol, the second the cut.  What is received is sent back, as far as it goes.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/stream/channels.h"
#include "tests/fuzz/fuzz.h"

struct side {
        struct websocket *websocket;
        struct channels channels;
        struct buf said, sent;
        bool failed;
};

static void on_write(void *data, const void *bytes, size_t n)
{
        struct side *s = data;

        if (s->sent.len < 1 << 20)
                buf_add(&s->sent, bytes, n, NULL);
}

static void on_part(void *data, const struct websocket_part *part)
{
        struct side *s = data;

        if (channels_take(&s->channels, part, NULL) < 0)
                s->failed = true;
}

static void on_closed(void *data)
{
        struct side *s = data;

        buf_add_str(&s->said, "closed", NULL);
}

static bool on_over(void *data)
{
        const struct side *s = data;

        return s->failed;
}

static void on_data(void *data, uint32_t channel, const char *bytes, size_t n)
{
        struct side *s = data;

        if (channel >= s->channels.n || n == 0)
                abort();
        for (size_t i = 0; i < n; i++)
                buf_add(&s->said, (const char[]) { (char) channel, bytes[i] }, 2, NULL);
}

static void on_end(void *data, uint32_t channel)
{
        struct side *s = data;

        if (channel >= s->channels.n || !s->channels.closes)
                abort();
        buf_add_str(&s->said, "end", NULL);
        channels_send(&s->channels, channel, s->said.data, s->said.len);
}

static const struct websocket_events websocket_events = { on_write, on_part, on_closed, on_over };
static const struct channels_events channels_events = { on_data, on_end };

static void run(struct side *s, unsigned protocol, const char *data, size_t n, size_t cut)
{
        if (websocket_new(&websocket_events, s, &s->websocket, NULL) < 0)
                abort();
        channels_init(&s->channels, s->websocket, 5, protocol & 1, protocol & 2, &channels_events, s);
        if (websocket_feed(s->websocket, data, cut, NULL) < 0 || s->failed)
                s->failed = true;
        else if (websocket_feed(s->websocket, data + cut, n - cut, NULL) < 0)
                s->failed = true;
}

static void done(struct side *s)
{
        websocket_free(s->websocket);
        buf_done(&s->said);
        buf_done(&s->sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct side whole = { 0 }, parts = { 0 };
        char accept[WEBSOCKET_ACCEPT_LEN + 1];

        if (n < 2)
                return 0;
        websocket_accept((const char *) data, n, accept);
        run(&whole, data[0], (const char *) data + 2, n - 2, n - 2);
        run(&parts, data[0], (const char *) data + 2, n - 2, data[1] % (n - 1));
        /* A message that is refused may have been passed on in part, by where it was cut. */
        if (whole.failed != parts.failed ||
            (!whole.failed && (whole.said.len != parts.said.len ||
                               (whole.said.len > 0 && memcmp(whole.said.data, parts.said.data, whole.said.len) != 0) ||
                               whole.sent.len != parts.sent.len)))
                abort();
        done(&whole);
        done(&parts);
        return 0;
}
