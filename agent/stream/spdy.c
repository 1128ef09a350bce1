/*
 * SPDY/3.1 frames; see spdy.h.
 */

#include <string.h>
#include <zlib.h>

#include "agent/base/buf.h"
#include "agent/base/guard.h"
#include "agent/stream/dictionary.h"
#include "agent/stream/spdy.h"

#define VERSION 3
#define HEAD 8
#define FLAG_FIN 1

enum { SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, HEADERS = 8, WINDOW_UPDATE = 9 };

struct spdy {
        const struct spdy_events *events;
        void *data;
        z_stream in, out;               /* one each for the life of the connection */
        unsigned char head[HEAD];
        size_t head_n;
        size_t left;                    /* of the frame's body */
        struct buf body;                /* of a control frame */
        struct buf block;               /* its headers, unpacked */
        uint32_t last;                  /* the last stream the client opened */
        bool going;                     /* GOAWAY was sent */
};

static uint32_t get_u32(const void *p)
{
        const unsigned char *b = p;

        return (uint32_t) b[0] << 24 | (uint32_t) b[1] << 16 | (uint32_t) b[2] << 8 | b[3];
}

static void put_u32(unsigned char *b, uint32_t v)
{
        b[0] = (unsigned char) (v >> 24);
        b[1] = (unsigned char) (v >> 16);
        b[2] = (unsigned char) (v >> 8);
        b[3] = (unsigned char) v;
}

int spdy_new(const struct spdy_events *events, void *data, struct spdy **ret, struct cringle_err *err)
{
        struct spdy *s = calloc(1, sizeof *s);

        if (!s)
                return err_oom(err);
        s->events = events;
        s->data = data;
        /* We send empty blocks only: the smallest window will do. */
        if (inflateInit(&s->in) != Z_OK) {
                free(s);
                return err_oom(err);
        }
        if (deflateInit2(&s->out, 1, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) != Z_OK ||
            deflateSetDictionary(&s->out, spdy_dictionary, SPDY_DICTIONARY_SIZE) != Z_OK) {
                inflateEnd(&s->in);
                deflateEnd(&s->out);
                free(s);
                return err_oom(err);
        }
        *ret = s;
        return 0;
}

struct spdy *spdy_free(struct spdy *s)
{
        if (!s)
                return NULL;
        inflateEnd(&s->in);
        deflateEnd(&s->out);
        buf_done(&s->body);
        buf_done(&s->block);
        free(s);
        return NULL;
}

/* --- sending ------------------------------------------------------------ */

static void control_head(unsigned char head[static HEAD], uint16_t type, uint32_t size)
{
        put_u32(head, UINT32_C(0x80000000) | VERSION << 16 | type);
        put_u32(head + 4, size);        /* no flags */
}

void spdy_reply(struct spdy *s, uint32_t stream)
{
        unsigned char frame[HEAD + 4 + 64], none[4] = { 0 };

        s->out.next_in = none;
        s->out.avail_in = sizeof none;
        s->out.next_out = frame + HEAD + 4;
        s->out.avail_out = sizeof frame - HEAD - 4;
        deflate(&s->out, Z_SYNC_FLUSH);
        control_head(frame, SYN_REPLY, (uint32_t) (sizeof frame - HEAD - s->out.avail_out));
        put_u32(frame + HEAD, stream);
        s->events->write(s->data, frame, sizeof frame - s->out.avail_out);
}

void spdy_send(struct spdy *s, uint32_t stream, const char *bytes, size_t n, bool fin)
{
        do {
                size_t part = n > SPDY_CHUNK ? SPDY_CHUNK : n;
                unsigned char head[HEAD];

                put_u32(head, stream);
                put_u32(head + 4, (fin && part == n ? (uint32_t) FLAG_FIN << 24 : 0) | (uint32_t) part);
                s->events->write(s->data, head, sizeof head);
                if (part > 0)
                        s->events->write(s->data, bytes, part);
                bytes += part;
                n -= part;
        } while (n > 0);
}

void spdy_reset(struct spdy *s, uint32_t stream, enum spdy_status why)
{
        unsigned char frame[HEAD + 8];

        control_head(frame, RST_STREAM, 8);
        put_u32(frame + HEAD, stream);
        put_u32(frame + HEAD + 4, why);
        s->events->write(s->data, frame, sizeof frame);
}

void spdy_goaway(struct spdy *s)
{
        unsigned char frame[HEAD + 8];

        if (s->going)
                return;
        s->going = true;
        control_head(frame, GOAWAY, 8);
        put_u32(frame + HEAD, s->last);
        put_u32(frame + HEAD + 4, 0);
        s->events->write(s->data, frame, sizeof frame);
}

/* --- header blocks -------------------------------------------------------- */

static int unpack_block(struct spdy *s, const char *packed, size_t n, struct cringle_err *err)
{
        char chunk[4096];
        int r;

        buf_clear(&s->block);
        s->in.next_in = (unsigned char *) packed;
        s->in.avail_in = (uInt) n;
        do {
                s->in.next_out = (unsigned char *) chunk;
                s->in.avail_out = sizeof chunk;
                r = inflate(&s->in, Z_SYNC_FLUSH);
                if (r == Z_NEED_DICT) {
                        r = inflateSetDictionary(&s->in, spdy_dictionary, SPDY_DICTIONARY_SIZE);
                        if (r != Z_OK)
                                return err_set(err, CRINGLE_E_INVALID, "SPDY: another dictionary");
                        continue;
                }
                if (r != Z_OK && r != Z_BUF_ERROR)
                        return err_set(err, CRINGLE_E_INVALID, "SPDY: headers do not unpack");
                if (GUARD(spdy_unpacked) && s->block.len + (sizeof chunk - s->in.avail_out) > SPDY_HEADERS_SIZE)
                        return err_set(err, CRINGLE_E_EXHAUSTED, "SPDY: headers are too long");
                if (buf_add(&s->block, chunk, sizeof chunk - s->in.avail_out, err) < 0)
                        return -1;
                if (r == Z_BUF_ERROR)
                        break;
        } while (s->in.avail_in > 0 || s->in.avail_out == 0);
        return 0;
}

/*
 * Take a string apart in place: its length's first byte, which was read, becomes the NUL
 * of what stands before it.
 */
static char *take_text(char *block, size_t size, size_t *at)
{
        uint32_t n;
        char *text;

        if (size - *at < 4)
                return NULL;
        n = get_u32(block + *at);
        if (GUARD(spdy_length) && n > size - *at - 4)
                return NULL;
        block[*at] = '\0';
        text = block + *at + 4;
        *at += 4 + (size_t) n;
        return text;
}

static int read_headers(struct spdy *s, struct spdy_header *headers, size_t *ret_n, struct cringle_err *err)
{
        char *block = s->block.data;
        size_t size = s->block.len, at = 4;
        uint32_t n = size >= 4 ? get_u32(block) : UINT32_MAX;

        if (size < 4 || (GUARD(spdy_count) && n > SPDY_HEADERS_MAX))
                return err_set(err, CRINGLE_E_INVALID, "SPDY: %s", size < 4 ? "no headers" : "too many headers");
        for (uint32_t i = 0; i < n; i++) {
                headers[i].name = take_text(block, size, &at);
                headers[i].value = headers[i].name ? take_text(block, size, &at) : NULL;
                if (!headers[i].value)
                        return err_set(err, CRINGLE_E_INVALID, "SPDY: a header is cut");
        }
        if (at != size)
                return err_set(err, CRINGLE_E_INVALID, "SPDY: something follows the headers");
        *ret_n = n;                     /* the last value is ended by the buffer's own NUL */
        return 0;
}

const char *spdy_header(const struct spdy_header *headers, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(headers[i].name, name) == 0)
                        return headers[i].value;
        return "";
}

/* --- receiving -------------------------------------------------------------- */

static int take_syn_stream(struct spdy *s, const char *body, size_t n, bool fin, struct cringle_err *err)
{
        auto_free struct spdy_header *headers = NULL;
        uint32_t stream;
        size_t n_headers = 0;

        if (n < 10)
                return err_set(err, CRINGLE_E_INVALID, "SPDY: SYN_STREAM is cut");
        stream = get_u32(body) & INT32_MAX;
        if (unpack_block(s, body + 10, n - 10, err) < 0)
                return -1;
        if (stream % 2 == 0 || stream <= s->last)
                return err_set(err, CRINGLE_E_INVALID, "SPDY: stream %u is out of order", stream);
        headers = calloc(SPDY_HEADERS_MAX, sizeof *headers);
        if (!headers)
                return err_oom(err);
        if (read_headers(s, headers, &n_headers, err) < 0)
                return -1;
        s->last = stream;
        s->events->open(s->data, stream, headers, n_headers, fin);
        return 0;
}

static int take_control(struct spdy *s, struct cringle_err *err)
{
        const char *body = s->body.data;
        uint32_t type = get_u32(s->head) & 0xffff;
        bool fin = s->head[4] & FLAG_FIN;
        size_t n = s->body.len;

        switch (type) {
        case SYN_STREAM:
                return take_syn_stream(s, body, n, fin, err);
        case RST_STREAM:
                if (n != 8)
                        return err_set(err, CRINGLE_E_INVALID, "SPDY: RST_STREAM of %zu bytes", n);
                s->events->reset(s->data, get_u32(body) & INT32_MAX);
                return 0;
        case PING: {
                unsigned char frame[HEAD + 4];

                if (n != 4)
                        return err_set(err, CRINGLE_E_INVALID, "SPDY: PING of %zu bytes", n);
                if (get_u32(body) % 2 == 0)
                        return 0;       /* an answer to one of ours, of which there are none */
                control_head(frame, PING, 4);
                memcpy(frame + HEAD, body, 4);
                s->events->write(s->data, frame, sizeof frame);
                return 0;
        }
        case HEADERS:
        case SYN_REPLY:
                /* Of no meaning to us, but the compression has to stay in step. */
                if (n < 4)
                        return err_set(err, CRINGLE_E_INVALID, "SPDY: headers are cut");
                if (unpack_block(s, body + 4, n - 4, err) < 0)
                        return -1;
                if (fin)
                        s->events->end(s->data, get_u32(body) & INT32_MAX);
                return 0;
        default:
                return 0;               /* SETTINGS, GOAWAY, WINDOW_UPDATE, and what is to be ignored if not known */
        }
}

static int begin_frame(struct spdy *s, struct cringle_err *err)
{
        bool control = s->head[0] & 0x80;

        s->left = get_u32(s->head + 4) & 0xffffff;
        if (!control)
                return 0;
        if (((uint32_t) (s->head[0] & 0x7f) << 8 | s->head[1]) != VERSION)
                return err_set(err, CRINGLE_E_INVALID, "SPDY: not version 3");
        if (GUARD(spdy_control) && s->left > SPDY_CONTROL_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "SPDY: a control frame of %zu bytes", s->left);
        return 0;
}

static int end_frame(struct spdy *s, struct cringle_err *err)
{
        int r = 0;

        s->head_n = 0;
        if (s->head[0] & 0x80) {
                r = take_control(s, err);
                if (s->body.room > 65536)
                        buf_done(&s->body);
                else
                        buf_clear(&s->body);
                if (s->block.room > 65536)
                        buf_done(&s->block);
        } else if (s->head[4] & FLAG_FIN) {
                s->events->end(s->data, get_u32(s->head) & INT32_MAX);
        }
        return r;
}

int spdy_feed(struct spdy *s, const char *bytes, size_t n, struct cringle_err *err)
{
        while (!s->events->over(s->data)) {
                size_t part;

                if (s->head_n < HEAD) {
                        part = n < HEAD - s->head_n ? n : HEAD - s->head_n;
                        memcpy(s->head + s->head_n, bytes, part);
                        s->head_n += part;
                        bytes += part;
                        n -= part;
                        if (s->head_n < HEAD)
                                return 0;
                        if (begin_frame(s, err) < 0)
                                return -1;
                }
                part = n < s->left ? n : s->left;
                if (part > 0 && s->head[0] & 0x80) {
                        if (buf_add(&s->body, bytes, part, err) < 0)
                                return -1;
                } else if (part > 0) {
                        s->events->data(s->data, get_u32(s->head) & INT32_MAX, bytes, part);
                }
                bytes += part;
                n -= part;
                s->left -= part;
                if (s->left > 0)
                        return 0;
                if (end_frame(s, err) < 0)
                        return -1;
        }
        return 0;
}
