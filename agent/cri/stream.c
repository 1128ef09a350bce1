/*
 * Streams; see stream.h.
 */

#include <string.h>

#include "agent/cri/stream.h"

#define CHUNK (256 * 1024)              /* bytes of items in one message; clients take 4 MiB and more */
#define WATCH_EVENTS 1024               /* kept for one who does not read */
#define WATCH_BYTES (8 << 20)

struct item {
        struct item *next;
        size_t n;
        uint8_t bytes[];
};

struct stream {
        struct cri *cri;
        struct rpc_call *call;          /* a reference */
        const ProtobufCMessageDescriptor *type;
        struct item *first, **last;
        size_t n_items, n_bytes;
        bool full;                      /* the client has not read on */
        bool gone;                      /* the call is over */
        bool ends;                      /* nobody tells it anything any more */
        struct cringle_err err;         /* how it ends; code 0: well */

        bool watches;
        uint64_t dropped;
        struct stream *next;            /* of the watching ones */
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

static void stream_free(struct stream *s)
{
        for (struct stream **at = &s->cri->watching; *at; at = &(*at)->next)
                if (*at == s) {
                        *at = s->next;
                        s->cri->n_watching--;
                        break;
                }
        drop_items(s);
        rpc_call_unref(s->call);
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

/* May free it. */
static void pump(struct stream *s)
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
        if (s->gone) {
                drop_items(s);
                s->ends = s->ends || s->watches;        /* nobody else ends it */
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

struct stream *stream_new(struct cri *cri, struct rpc_call *call, const ProtobufCMessageDescriptor *type)
{
        struct stream *s = calloc(1, sizeof *s);

        if (!s)
                abort();
        *s = (struct stream) { .cri = cri, .call = rpc_call_ref(call), .type = type, .err = CRINGLE_ERR_INIT };
        s->last = &s->first;
        rpc_call_on_drain(call, on_drain, s);
        rpc_call_on_cancel(call, on_cancel, s);
        return s;
}

static void put(struct stream *s, struct item *item)
{
        *s->last = item;
        s->last = &item->next;
        s->n_items++;
        s->n_bytes += item->n;
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
        loop_post(s->cri->loop, take, t);
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

/* --- those who watch --- */

void stream_watch(struct stream *s)
{
        s->watches = true;
        s->next = s->cri->watching;
        s->cri->watching = s;
        s->cri->n_watching++;
        pump(s);
}

static void watch(struct stream *s, const struct item *item)
{
        struct item *copy;

        if (s->ends || s->n_items >= WATCH_EVENTS || s->n_bytes + item->n > WATCH_BYTES) {
                s->dropped++;
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
        struct cri *cri;
        struct item *item;
};

static void take_news(void *data)
{
        struct news *news = data;
        struct stream *next;

        for (struct stream *s = news->cri->watching; s; s = next) {
                next = s->next;
                watch(s, news->item);
        }
        free(news->item);
        free(news);
}

void stream_tell_all(void *data, const ProtobufCMessage *message)
{
        struct cri *cri = data;
        struct news *news;

        if (!cri->n_watching)
                return;
        news = malloc(sizeof *news);
        if (!news)
                abort();
        *news = (struct news) { .cri = cri, .item = item_new(message) };
        loop_post(cri->loop, take_news, news);
}
