/*
 * Channels; see channels.h.
 */

#include "agent/stream/channels.h"

#define CLOSE_SIGNAL 255
#define PIECE 24576                     /* of one message we send; of base64 a multiple of three */

void channels_init(struct channels *c, struct websocket *websocket, uint32_t n, bool base64, bool closes,
                   const struct channels_events *events, void *data)
{
        *c = (struct channels) {
                .websocket = websocket, .n = n, .base64 = base64, .closes = closes, .events = events, .data = data,
                .current = UINT32_MAX,
        };
}

static int broken(struct channels *c, enum websocket_code code, const char *what, struct cringle_err *err)
{
        websocket_close(c->websocket, code, what);
        return err_set(err, CRINGLE_E_INVALID, "WebSocket: %s", what);
}

static int take_base64(struct channels *c, const char *text, size_t n, bool last, struct cringle_err *err)
{
        char bytes[BASE64_ROOM(WEBSOCKET_PART)];
        size_t n_bytes;

        if (!base64_read(&c->decoder, text, n, bytes, &n_bytes) || (last && !base64_whole(&c->decoder)))
                return broken(c, WEBSOCKET_NOT_UTF8, "a message is not base64", err);
        if (n_bytes > 0 && c->current < c->n)
                c->events->data(c->data, c->current, bytes, n_bytes);
        return 0;
}

/* 255 and N: these two bytes and no more. */
static int take_signal(struct channels *c, bool last, struct cringle_err *err)
{
        if (c->taken > 1 || (last && (c->taken == 0 || c->last >= c->n)))
                return broken(c, WEBSOCKET_PROTOCOL_ERROR, "it closes a channel that there is not", err);
        if (last)
                c->events->end(c->data, c->last);
        return 0;
}

int channels_take(struct channels *c, const struct websocket_part *part, struct cringle_err *err)
{
        const char *bytes = part->bytes;
        size_t n = part->n;

        if (part->first) {
                c->current = UINT32_MAX;
                c->taken = 0;
                c->decoder = (struct base64) BASE64_INIT;
        }
        if (c->current == UINT32_MAX) {
                if (n == 0)
                        return 0;       /* a message of no bytes means nothing */
                c->current = (unsigned char) *bytes++;
                n--;
                if (c->base64)
                        c->current = (c->current - '0') & 255;
        }
        if (n > 0)
                c->last = (unsigned char) bytes[n - 1];
        c->taken += n;
        if (c->closes && c->current == CLOSE_SIGNAL)
                return take_signal(c, part->last, err);
        if (c->base64)
                return take_base64(c, bytes, n, part->last, err);
        if (n > 0 && c->current < c->n)
                c->events->data(c->data, c->current, bytes, n);
        return 0;
}

void channels_send(struct channels *c, uint32_t channel, const char *bytes, size_t n)
{
        unsigned char head = (unsigned char) (c->base64 ? '0' + channel : channel);

        do {
                size_t part = n > PIECE ? PIECE : n;

                if (c->base64) {
                        char text[BASE64_SIZE(PIECE)];

                        base64_write(bytes, part, text);
                        websocket_send(c->websocket, true, &head, 1, text, BASE64_SIZE(part));
                } else {
                        websocket_send(c->websocket, false, &head, 1, bytes, part);
                }
                bytes += part;
                n -= part;
        } while (n > 0);
}
