/*
 * Streams; see stream.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/rpc/stream.h"

#define CHUNK (256 * 1024)              /* bytes of items in one message; clients take 4 MiB and more */

struct item {
        struct item *next;
        size_t n;
        uint8_t bytes[];
};

struct stream {
        struct loop *loop;
        struct rpc_call *call;          /* a reference */
        const ProtobufCMessageDescriptor *type;
        struct item *first, **last;
        size_t n_items, n_bytes;
        bool full;                      /* the client has not read on */
        bool gone;                      /* the call is over */
        bool ends;                      /* nobody tells it anything any more */
        struct cringle_err err;         /* how it ends; code 0: well */

        struct audience *audience;      /* NULL: it does not watch */
        bool (*wants)(void *data, const ProtobufCMessage *message);
        void *data;
        uint64_t dropped;               /* and nobody has been told */
        struct stream *next;            /* of the audience */
};

static struct item *item_new(const ProtobufCMessage *message)
{
        size_t n = protobuf_c_message_get_packed_size(message);
        struct item *item = malloc(sizeof *item + n);

        if (!item)
                abort();
        item->next = NULL;
        item->n = protobuf_c_message_pack(message, item->bytes);
        return item;
}

static void drop_items(struct stream *s)
{
        while (s->first) {
                struct item *item = s->first;

                s->first = item->next;
                free(item);
        }
        s->last = &s->first;
        s->n_items = s->n_bytes = 0;
}

static void leave_audience(struct stream *s)
{
        struct audience *a = s->audience;

        for (struct stream **at = &a->streams; *at; at = &(*at)->next)
                if (*at == s) {
                        *at = s->next;
                        break;
                }
        if (--a->n == 0 && a->attended)
                a->attended(a, false);
}

static void stream_free(struct stream *s)
{
        if (s->audience)
                leave_audience(s);
        drop_items(s);
        rpc_call_unref(s->call);
        free(s->data);
        free(s);
}

static void finish(struct stream *s)
{
        rpc_call_on_cancel(s->call, NULL, NULL);
        rpc_call_on_drain(s->call, NULL, NULL);
        if (s->gone)
                ;
        else if (s->err.code)
                rpc_call_fail(s->call, &s->err);
        else
                rpc_call_finish(s->call);
        stream_free(s);
}

static void add_item(struct stream *s, struct item *item)
{
        *s->last = item;
        s->last = &item->next;
        s->n_items++;
        s->n_bytes += item->n;
}

/* All that was kept has been read: what was not kept comes next. */
static void add_lost(struct stream *s)
{
        ProtobufCMessage *message = malloc(s->type->sizeof_message);

        if (!message)
                abort();
        protobuf_c_message_init(s->type, message);
        s->audience->lost(message, s->dropped);
        s->dropped = 0;
        add_item(s, item_new(message));
        free(message);
}

static void send_items(struct stream *s)
{
        while (s->first && !s->full && !s->gone) {
                struct item *item = s->first;
                int r = rpc_call_send_packed(s->call, item->bytes, item->n);

                s->first = item->next;
                if (!s->first)
                        s->last = &s->first;
                s->n_items--;
                s->n_bytes -= item->n;
                free(item);
                s->full = r == 1;
                s->gone = r == -1;
        }
}

/* May free it. */
static void pump(struct stream *s)
{
        send_items(s);
        if (!s->first && !s->full && !s->gone && s->dropped && s->audience->lost) {
                add_lost(s);
                send_items(s);
        }
        if (s->gone) {
                drop_items(s);
                s->ends = s->ends || s->audience;       /* nobody else ends it */
        }
        if (s->ends && !s->first)
                finish(s);
}

static void on_drain(void *data)
{
        struct stream *s = data;

        s->full = false;
        pump(s);
}

static void on_cancel(void *data)
{
        struct stream *s = data;

        s->gone = true;
        pump(s);
}

struct stream *stream_new(struct loop *loop, struct rpc_call *call, const ProtobufCMessageDescriptor *type)
{
        struct stream *s = calloc(1, sizeof *s);

        if (!s)
                abort();
        *s = (struct stream) { .loop = loop, .call = rpc_call_ref(call), .type = type, .err = CRINGLE_ERR_INIT };
        s->last = &s->first;
        rpc_call_on_drain(call, on_drain, s);
        rpc_call_on_cancel(call, on_cancel, s);
        return s;
}

static void put(struct stream *s, struct item *item)
{
        add_item(s, item);
        pump(s);
}

/* --- from other threads --- */

struct told {
        struct stream *stream;
        struct item *item;              /* NULL: the end */
        struct cringle_err err;
};

static void take(void *data)
{
        struct told *t = data;

        if (t->item) {
                put(t->stream, t->item);
        } else {
                t->stream->ends = true;
                t->stream->err = t->err;
                pump(t->stream);
        }
        free(t);
}

static void tell(struct stream *s, struct item *item, const struct cringle_err *err)
{
        struct told *t = malloc(sizeof *t);

        if (!t)
                abort();
        *t = (struct told) { .stream = s, .item = item, .err = CRINGLE_ERR_INIT };
        if (err)
                t->err = *err;
        loop_post(s->loop, take, t);
}

void stream_send(struct stream *s, const ProtobufCMessage *message)
{
        tell(s, item_new(message), NULL);
}

void stream_end(struct stream *s, const struct cringle_err *err)
{
        tell(s, NULL, err);
}

static ProtobufCMessage ***items_of(const ProtobufCMessage *m)
{
        return (ProtobufCMessage ***) ((char *) m + m->descriptor->fields[0].offset);
}

static size_t *count_of(const ProtobufCMessage *m)
{
        return (size_t *) ((char *) m + m->descriptor->fields[0].quantifier_offset);
}

void stream_send_list(struct stream *s, const ProtobufCMessage *list)
{
        ProtobufCMessage **items = *items_of(list);
        size_t n = *count_of(list), from = 0, bytes = 0;
        auto_free ProtobufCMessage *reply = malloc(s->type->sizeof_message);

        if (!reply)
                abort();
        protobuf_c_message_init(s->type, reply);
        for (size_t i = 0; i < n; i++) {
                bytes += protobuf_c_message_get_packed_size(items[i]);
                if (bytes < CHUNK && i + 1 < n)
                        continue;
                *items_of(reply) = items + from;
                *count_of(reply) = i + 1 - from;
                stream_send(s, reply);
                from = i + 1;
                bytes = 0;
        }
}

void stream_send_answer(void *data, const ProtobufCMessage *list)
{
        stream_send_list(data, list);
}

static struct item *item_of(const struct iovec *parts, size_t n, size_t bytes)
{
        struct item *item = malloc(sizeof *item + bytes);
        uint8_t *to;

        if (!item)
                abort();
        item->next = NULL;
        item->n = bytes;
        to = item->bytes;
        for (size_t i = 0; i < n; i++)
                to = mempcpy(to, parts[i].iov_base, parts[i].iov_len);
        return item;
}

void stream_send_items(void *stream, const struct iovec *items, size_t n)
{
        size_t from = 0, bytes = 0;

        for (size_t i = 0; i < n; i++) {
                bytes += items[i].iov_len;
                if (bytes < CHUNK && i + 1 < n)
                        continue;
                tell(stream, item_of(items + from, i + 1 - from, bytes), NULL);
                from = i + 1;
                bytes = 0;
        }
}

/* --- those who watch --- */

void stream_watch(struct stream *s, struct audience *a, bool (*wants)(void *data, const ProtobufCMessage *message),
                  void *data)
{
        s->audience = a;
        s->wants = wants;
        s->data = data;
        s->next = a->streams;
        a->streams = s;
        if (a->n++ == 0 && a->attended)
                a->attended(a, true);
        pump(s);
}

static void watch(struct stream *s, const struct item *item)
{
        struct item *copy;

        if (s->dropped || s->n_items >= WATCH_EVENTS || s->n_bytes + item->n > WATCH_BYTES) {
                s->dropped++;
                if (s->audience->lost)
                        return;
                s->ends = true;
                err_set(&s->err, CRINGLE_E_EXHAUSTED, "events were not read in time: %llu were dropped",
                        (unsigned long long) s->dropped);
                pump(s);
                return;
        }
        copy = malloc(sizeof *copy + item->n);
        if (!copy)
                abort();
        copy->next = NULL;
        copy->n = item->n;
        memcpy(copy->bytes, item->bytes, item->n);
        put(s, copy);
}

struct news {
        struct audience *audience;
        struct item *item;
};

static void take_news(void *data)
{
        struct news *news = data;
        ProtobufCMessage *message = NULL;       /* for those who choose */
        struct stream *next;

        for (struct stream *s = news->audience->streams; s; s = next) {
                next = s->next;
                if (s->wants && !message)
                        message = protobuf_c_message_unpack(s->type, NULL, news->item->n, news->item->bytes);
                if (!s->wants || (message && s->wants(s->data, message)))
                        watch(s, news->item);
        }
        if (message)
                protobuf_c_message_free_unpacked(message, NULL);
        free(news->item);
        free(news);
}

void stream_tell_all(void *data, const ProtobufCMessage *message)
{
        struct audience *a = data;
        struct news *news;

        if (!a->n)
                return;
        news = malloc(sizeof *news);
        if (!news)
                abort();
        *news = (struct news) { .audience = a, .item = item_new(message) };
        loop_post(a->loop, take_news, news);
}
