/*
 * WebSocket frames; see websocket.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/guard.h"
#include "agent/stream/base64.h"
#include "agent/stream/websocket.h"

#define HEAD_MAX 14
#define CONTROL_MAX 125
#define FIN 0x80
#define RESERVED 0x70
#define MASKED 0x80

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* Which bytes may come next. */
struct utf8 {
        unsigned left;                  /* of the character that has begun */
        unsigned char low, high;        /* bounds of the next byte; narrower after some first bytes */
};

struct websocket {
        const struct websocket_events *events;
        void *data;
        unsigned char head[HEAD_MAX];
        size_t head_n;
        uint64_t left;                  /* of the frame's body */
        unsigned char mask[4];
        size_t mask_at;
        bool in_message, begun, text;   /* begun: a part of it was passed on */
        uint64_t message_n;
        struct utf8 utf8;
        char control[CONTROL_MAX];
        size_t control_n;
        bool closing;                   /* our close frame is out */
        char plain[WEBSOCKET_PART];
};

int websocket_new(const struct websocket_events *events, void *data, struct websocket **ret, struct cringle_err *err)
{
        struct websocket *w = calloc(1, sizeof *w);

        if (!w)
                return err_oom(err);
        w->events = events;
        w->data = data;
        *ret = w;
        return 0;
}

struct websocket *websocket_free(struct websocket *w)
{
        free(w);
        return NULL;
}

/* --- text ------------------------------------------------------------------- */

static bool utf8_begin(struct utf8 *u, unsigned char b)
{
        u->low = 0x80;
        u->high = 0xbf;
        if (b < 0x80)
                return true;
        if (b < 0xc2 || b > 0xf4)
                return false;           /* in the middle, too long for what it says, or past the last character */
        u->left = b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3;
        if (b == 0xe0)
                u->low = 0xa0;
        else if (b == 0xed)
                u->high = 0x9f;         /* no surrogates */
        else if (b == 0xf0)
                u->low = 0x90;
        else if (b == 0xf4)
                u->high = 0x8f;
        return true;
}

static bool utf8_take(struct utf8 *u, const char *text, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char b = (unsigned char) text[i];

                if (u->left == 0) {
                        if (!utf8_begin(u, b))
                                return false;
                        continue;
                }
                if (b < u->low || b > u->high)
                        return false;
                u->low = 0x80;
                u->high = 0xbf;
                u->left--;
        }
        return true;
}

/* --- sending ------------------------------------------------------------------ */

static void put_frame(struct websocket *w, enum opcode opcode, const void *head, size_t n_head, const void *bytes,
                      size_t n)
{
        unsigned char frame[10 + 4];
        uint64_t size = (uint64_t) n_head + n;
        size_t at = 2;

        frame[0] = FIN | opcode;
        if (size < 126) {
                frame[1] = (unsigned char) size;
        } else if (size <= UINT16_MAX) {
                frame[1] = 126;
                frame[2] = (unsigned char) (size >> 8);
                frame[3] = (unsigned char) size;
                at = 4;
        } else {
                frame[1] = 127;
                for (int i = 0; i < 8; i++)
                        frame[2 + i] = (unsigned char) (size >> (56 - 8 * i));
                at = 10;
        }
        memcpy(frame + at, head, n_head);
        w->events->write(w->data, frame, at + n_head);
        if (n > 0)
                w->events->write(w->data, bytes, n);
}

void websocket_send(struct websocket *w, bool text, const void *head, size_t n_head, const void *bytes, size_t n)
{
        if (!w->closing)
                put_frame(w, text ? TEXT : BINARY, n_head > 0 ? head : "", n_head, bytes, n);
}

void websocket_close(struct websocket *w, enum websocket_code code, const char *reason)
{
        const unsigned char head[2] = { (unsigned char) (code >> 8), (unsigned char) code };
        size_t n = strnlen(reason, CONTROL_MAX - 2);

        if (w->closing)
                return;
        put_frame(w, CLOSE, head, 2, reason, n);
        w->closing = true;
}

/* The peer broke the protocol. */
static int broken(struct websocket *w, enum websocket_code code, const char *what, struct cringle_err *err)
{
        websocket_close(w, code, what);
        return err_set(err, CRINGLE_E_INVALID, "WebSocket: %s", what);
}

/* --- receiving ---------------------------------------------------------------- */

/* Of the head, as far as it is known; false: it is not whole. */
static bool head_whole(const struct websocket *w)
{
        unsigned length = w->head_n < 2 ? 0 : w->head[1] & 127u;

        return w->head_n >= 2 && w->head_n >= 2 + (length == 126 ? 2u : length == 127 ? 8u : 0) +
                                                      (w->head[1] & MASKED ? 4u : 0);
}

static int begin_frame(struct websocket *w, struct cringle_err *err)
{
        enum opcode opcode = w->head[0] & 15;
        bool fin = w->head[0] & FIN, control = opcode >= CLOSE;
        unsigned length = w->head[1] & 127u, n_length = length == 126 ? 2 : length == 127 ? 8 : 0;
        uint64_t size = n_length ? 0 : length;

        for (unsigned i = 0; i < n_length; i++)
                size = size << 8 | w->head[2 + i];
        if (w->head[0] & RESERVED)
                return broken(w, WEBSOCKET_PROTOCOL_ERROR, "a reserved bit is set", err);
        if (GUARD(websocket_mask) && !(w->head[1] & MASKED))
                return broken(w, WEBSOCKET_PROTOCOL_ERROR, "a frame is not masked", err);
        if (GUARD(websocket_control) && control && (!fin || size > CONTROL_MAX))
                return broken(w, WEBSOCKET_PROTOCOL_ERROR, "a control frame is too long or in fragments", err);
        if (GUARD(websocket_length) &&
            ((n_length == 2 && size < 126) || (n_length == 8 && (size <= UINT16_MAX || size >> 63))))
                return broken(w, WEBSOCKET_PROTOCOL_ERROR, "a length is not written as it must be", err);
        memcpy(w->mask, w->head + 2 + n_length, 4);
        w->mask_at = 0;
        w->left = size;

        switch (opcode) {
        case CLOSE:
        case PING:
        case PONG:
                w->control_n = 0;
                return 0;
        case CONTINUATION:
                if (!w->in_message)
                        return broken(w, WEBSOCKET_PROTOCOL_ERROR, "a message goes on that has not begun", err);
                break;
        case TEXT:
        case BINARY:
                if (w->in_message)
                        return broken(w, WEBSOCKET_PROTOCOL_ERROR, "a message begins inside another", err);
                w->in_message = true;
                w->begun = false;
                w->text = opcode == TEXT;
                w->message_n = 0;
                w->utf8 = (struct utf8) { 0 };
                break;
        default:
                return broken(w, WEBSOCKET_PROTOCOL_ERROR, "a frame of a type that is not known", err);
        }
        if (GUARD(websocket_size) && size > WEBSOCKET_MESSAGE_MAX - w->message_n)
                return broken(w, WEBSOCKET_TOO_BIG, "a message is too long", err);
        w->message_n += size;
        return 0;
}

static void unmask(struct websocket *w, char *to, const char *from, size_t n)
{
        unsigned char mask[8];
        uint64_t eight;
        size_t i = 0;

        for (size_t k = 0; k < 8; k++)
                mask[k] = w->mask[(w->mask_at + k) & 3];
        memcpy(&eight, mask, 8);
        for (; n - i >= 8; i += 8) {
                uint64_t word;

                memcpy(&word, from + i, 8);
                word ^= eight;
                memcpy(to + i, &word, 8);
        }
        for (; i < n; i++)
                to[i] = (char) (from[i] ^ mask[i & 7]);
        w->mask_at = (w->mask_at + n) & 3;
}

static bool close_code_known(unsigned code)
{
        return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
               (code >= 3000 && code <= 4999);
}

static int take_close(struct websocket *w, struct cringle_err *err)
{
        const unsigned char *body = (const unsigned char *) w->control;
        unsigned code = w->control_n >= 2 ? (unsigned) body[0] << 8 | body[1] : WEBSOCKET_NORMAL;
        struct utf8 utf8 = { 0 };

        if (w->control_n == 1 || !close_code_known(code))
                return broken(w, WEBSOCKET_PROTOCOL_ERROR, "it closes for no known reason", err);
        if (w->control_n > 2 && (!utf8_take(&utf8, w->control + 2, w->control_n - 2) || utf8.left))
                return broken(w, WEBSOCKET_NOT_UTF8, "it closes in words that are not UTF-8", err);
        websocket_close(w, code, "");
        w->events->closed(w->data);
        return 0;
}

static int pass_on(struct websocket *w, size_t n, bool last, struct cringle_err *err)
{
        struct websocket_part part = { .bytes = w->plain, .n = n, .text = w->text, .first = !w->begun, .last = last };

        if (w->text && (!utf8_take(&w->utf8, w->plain, n) || (last && w->utf8.left)))
                return broken(w, WEBSOCKET_NOT_UTF8, "a text is not UTF-8", err);
        w->begun = true;
        if (last)
                w->in_message = false;
        w->events->part(w->data, &part);
        return 0;
}

/* A frame without a body, or the last byte of one. */
static int end_frame(struct websocket *w, struct cringle_err *err)
{
        switch (w->head[0] & 15) {
        case CLOSE:
                return take_close(w, err);
        case PING:
                if (!w->closing)
                        put_frame(w, PONG, "", 0, w->control, w->control_n);
                return 0;
        default:
                return 0;
        }
}

static int take_body(struct websocket *w, const char *bytes, size_t n, struct cringle_err *err)
{
        bool last = w->left == n && w->head[0] & FIN;

        if ((w->head[0] & 15) >= CLOSE) {
                unmask(w, w->control + w->control_n, bytes, n);
                w->control_n += n;
                return 0;
        }
        if (n == 0 && !last)
                return 0;
        unmask(w, w->plain, bytes, n);
        return pass_on(w, n, last, err);
}

int websocket_feed(struct websocket *w, const char *bytes, size_t n, struct cringle_err *err)
{
        while (!w->closing && !w->events->over(w->data)) {
                size_t part;

                while (!head_whole(w)) {
                        if (n == 0)
                                return 0;
                        w->head[w->head_n++] = (unsigned char) *bytes++;
                        n--;
                        if (head_whole(w) && begin_frame(w, err) < 0)
                                return -1;
                }
                part = n < WEBSOCKET_PART ? n : WEBSOCKET_PART;
                part = part < w->left ? part : (size_t) w->left;
                if (part == 0 && w->left > 0)
                        return 0;
                if (take_body(w, bytes, part, err) < 0)
                        return -1;
                bytes += part;
                n -= part;
                w->left -= part;
                if (w->left > 0)
                        continue;
                if (end_frame(w, err) < 0)
                        return -1;
                w->head_n = 0;
        }
        return 0;
}

/* --- the handshake ------------------------------------------------------------- */

static uint32_t rotate(uint32_t v, unsigned n)
{
        return v << n | v >> (32 - n);
}

static void sha1_block(uint32_t h[static 5], const unsigned char block[static 64])
{
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

        for (size_t i = 0; i < 16; i++)
                w[i] = (uint32_t) block[4 * i] << 24 | (uint32_t) block[4 * i + 1] << 16 |
                       (uint32_t) block[4 * i + 2] << 8 | block[4 * i + 3];
        for (size_t i = 16; i < 80; i++)
                w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (size_t i = 0; i < 80; i++) {
                uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
                uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
                uint32_t t = rotate(a, 5) + f + e + k + w[i];

                e = d;
                d = c;
                c = rotate(b, 30);
                b = a;
                a = t;
        }
        h[0] += a;
        h[1] += b;
        h[2] += c;
        h[3] += d;
        h[4] += e;
}

/*
 * SHA-1 of key and GUID, 60 bytes: two blocks.  It shows that a WebSocket server has read the key and guards nothing,
 * so a library that would be needed for it alone stays out.
 */
bool websocket_accept(const char *key, size_t n, char ret[static WEBSOCKET_ACCEPT_LEN + 1])
{
        static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        unsigned char text[128] = { 0 }, digest[20];
        uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
        const size_t size = WEBSOCKET_KEY_LEN + sizeof guid - 1;
        struct base64 base64 = BASE64_INIT;
        char bytes[BASE64_ROOM(WEBSOCKET_KEY_LEN)];
        size_t n_bytes;

        if (n != WEBSOCKET_KEY_LEN || !base64_read(&base64, key, n, bytes, &n_bytes) || n_bytes != 16)
                return false;
        memcpy(text, key, n);
        memcpy(text + n, guid, sizeof guid - 1);
        text[size] = 0x80;
        text[126] = (unsigned char) (size * 8 >> 8);
        text[127] = (unsigned char) (size * 8);
        sha1_block(h, text);
        sha1_block(h, text + 64);
        for (size_t i = 0; i < 20; i++)
                digest[i] = (unsigned char) (h[i / 4] >> (24 - 8 * (i % 4)));
        base64_write(digest, sizeof digest, ret);
        ret[WEBSOCKET_ACCEPT_LEN] = '\0';
        return true;
}
