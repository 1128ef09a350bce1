/*
 * A call: the request it was made with, and its answer, made on any thread and sent on
 * the loop's; see server.h and inside.h.
 *
 * The order of locks: call->lock and hub->lock are never held together.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/own.h"
#include "agent/rpc/inside.h"
#include "agent/rpc/text.h"

#define CODE_MAX CRINGLE_E_UNAUTHENTICATED

struct rpc_call *call_new(struct conn *c, int32_t stream)
{
        struct rpc_call *call = calloc(1, sizeof *call);

        if (!call)
                return NULL;
        call->refs = 1;
        call->conn = c;
        conn_ref(c);
        call->stream = stream;
        call->started = clock_monotonic();
        pthread_mutex_init(&call->lock, NULL);
        call->end = &call->first;
        call->context = (struct cringle_call) CALL_INIT;

        call->next = c->calls;
        call->link = &c->calls;
        if (call->next)
                call->next->link = &call->next;
        c->calls = call;
        return call;
}

/* Loop thread, since nghttp2 may have been promised bytes; under call->lock, or with nobody else left. */
static void drop_queue(struct rpc_call *call)
{
        size_t kept = 0;

        /* A message that is half sent must end, or what follows would be read as its rest. */
        if (call->first && call->first->at > 0 && !call->closed) {
                struct chunk *rest = call->first->next;

                kept = call->first->n - call->first->at;
                call->first->next = NULL;
                call->end = &call->first->next;
                while (rest) {
                        struct chunk *next = rest->next;

                        free(rest);
                        rest = next;
                }
        } else {
                while (call->first) {
                        struct chunk *next = call->first->next;

                        free(call->first);
                        call->first = next;
                }
                call->end = &call->first;
        }
        atomic_fetch_sub(&call->conn->unread, call->queued - kept);
        call->queued = kept;
}

void call_unref_memory(struct rpc_call *call)
{
        if (atomic_fetch_sub(&call->refs, 1) != 1)
                return;

        call->closed = true;
        drop_queue(call);
        call_drop_packed(call);
        arena_done(&call->arena);
        fd_close(call->context.cancel_fd);
        pthread_mutex_destroy(&call->lock);
        free(call->status_text);
        free(call->unknown);
        conn_unref(call->conn);
        free(call);
}

void call_drop_packed(struct rpc_call *call)
{
        atomic_fetch_sub(&call->conn->hub->held, call->packed_room);
        call->packed_room = 0;
        buf_done(&call->packed);
}

struct rpc_call *rpc_call_ref(struct rpc_call *call)
{
        atomic_fetch_add(&call->users, 1);
        return call;
}

/* The last reference goes: if there is no answer yet, there will be none but ours. */
static void answer_for(struct rpc_call *call)
{
        bool done, cancelled;

        pthread_mutex_lock(&call->lock);
        done = call->answered || call->closed;
        cancelled = call->cancelled;
        pthread_mutex_unlock(&call->lock);

        if (done)
                return;
        /* Cancelled and still to be answered: call_end() is about to say the same. */
        if (cancelled && call->deadline && call->deadline <= clock_monotonic())
                call_fail_with(call, CRINGLE_E_DEADLINE, DEADLINE_TEXT);
        else if (cancelled)
                call_fail_with(call, CRINGLE_E_UNAVAILABLE, SHUTDOWN_TEXT);
        else
                call_fail_with(call, CRINGLE_E_INTERNAL, "%s ended without an answer", rpc_call_method(call));
}

struct rpc_call *rpc_call_unref(struct rpc_call *call)
{
        if (!call || atomic_fetch_sub(&call->users, 1) != 1)
                return NULL;

        answer_for(call);
        call->request = NULL;
        arena_done(&call->arena);
        atomic_fetch_sub(&call->conn->n_working, 1);
        call_unref_memory(call);
        return NULL;
}

/* A reference unless the last one has gone. */
static bool try_ref(struct rpc_call *call)
{
        unsigned n = call->users;

        while (n > 0)
                if (atomic_compare_exchange_weak(&call->users, &n, n + 1))
                        return true;
        return false;
}

const char *rpc_call_method(const struct rpc_call *call)
{
        return call->method ? call->method->path : "unknown";
}

void *rpc_call_data(const struct rpc_call *call)
{
        return call->method->data;
}

uid_t rpc_call_uid(const struct rpc_call *call)
{
        return call->conn->uid;
}

pid_t rpc_call_pid(const struct rpc_call *call)
{
        return call->conn->pid;
}

bool rpc_call_done(struct rpc_call *call)
{
        bool done;

        pthread_mutex_lock(&call->lock);
        done = call->answered || call->cancelled || call->closed;
        pthread_mutex_unlock(&call->lock);
        return done;
}

const struct cringle_call *rpc_call_context(struct rpc_call *call)
{
        pthread_mutex_lock(&call->lock);
        if (!call->has_context) {
                static atomic_uint_fast64_t numbers;
                const char *method = strrchr(rpc_call_method(call), '/');

                snprintf(call->name, sizeof call->name, "%s-%llu", method ? method + 1 : "call",
                         (unsigned long long) ++numbers);
                call->context.request = call->name;
                call->context.deadline = call->deadline;
                /* Cancelled before anybody asked: it is readable from the start. */
                call->context.cancel_fd = eventfd(call->cancelled ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
                call->has_context = true;
        }
        pthread_mutex_unlock(&call->lock);
        return &call->context;
}

/* Whoever works for the call may stop.  Loop thread. */
static void cancel(struct rpc_call *call)
{
        void (*fn)(void *data) = NULL;

        pthread_mutex_lock(&call->lock);
        if (!call->answered && !call->cancelled) {
                call->cancelled = true;
                if (call->context.cancel_fd >= 0)
                        eventfd_write(call->context.cancel_fd, 1);
                fn = call->cancel_fn;
                call->cancel_fn = NULL;
        }
        pthread_mutex_unlock(&call->lock);

        if (fn && try_ref(call)) {
                fn(call->cancel_data);
                rpc_call_unref(call);
        }
}

void rpc_call_on_cancel(struct rpc_call *call, void (*fn)(void *data), void *data)
{
        bool now;

        pthread_mutex_lock(&call->lock);
        now = call->cancelled;
        call->cancel_fn = now ? NULL : fn;
        call->cancel_data = data;
        pthread_mutex_unlock(&call->lock);
        if (now && fn)
                fn(data);
}

void rpc_call_on_drain(struct rpc_call *call, void (*fn)(void *data), void *data)
{
        pthread_mutex_lock(&call->lock);
        call->drain_fn = fn;
        call->drain_data = data;
        pthread_mutex_unlock(&call->lock);
}

/* Under call->lock.  Takes @text. */
static void decide(struct rpc_call *call, int code, char *text)
{
        call->answered = true;
        call->status = code;
        call->status_text = text;
        call->answered_at = clock_monotonic();
}

static void fail(struct rpc_call *call, int code, const char *message)
{
        char *text = rpc_message_encode(message);
        bool news = false;

        pthread_mutex_lock(&call->lock);
        if (!call->answered && !call->closed) {
                decide(call, code > 0 && code <= CODE_MAX ? code : CRINGLE_E_UNKNOWN, steal(&text));
                news = true;
        }
        pthread_mutex_unlock(&call->lock);
        free(text);
        if (news)
                hub_mail(call->conn->hub, call);
}

void rpc_call_fail(struct rpc_call *call, const struct cringle_err *err)
{
        fail(call, err->code, err->text);
}

void call_fail_with(struct rpc_call *call, int code, const char *format, ...)
{
        char message[512];
        va_list args;

        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        fail(call, code, message);
}

static struct chunk *chunk_new(struct rpc_call *call, size_t n)
{
        struct chunk *chunk = n > UINT32_MAX ? NULL : malloc(sizeof *chunk + RPC_PREFIX + n);

        if (!chunk) {
                call_fail_with(call, CRINGLE_E_EXHAUSTED, "no memory for an answer of %zu bytes", n);
                return NULL;
        }
        chunk->next = NULL;
        chunk->n = RPC_PREFIX + n;
        chunk->at = 0;
        rpc_prefix_write(chunk->bytes, (uint32_t) n);
        return chunk;
}

/* Queue @chunk, which it takes, as the @last or not; comes to what rpc_call_send() says. */
static int queue(struct rpc_call *call, struct chunk *chunk, bool last)
{
        const struct rpc_limits *limits = &call->conn->hub->limits;
        bool news = true;
        int r = -1;

        if (!chunk)
                return -1;

        pthread_mutex_lock(&call->lock);
        if (call->answered || call->closed || (call->cancelled && !last)) {
                free(chunk);
                news = false;
        } else if (atomic_fetch_add(&call->conn->unread, chunk->n) + chunk->n > limits->max_unread) {
                atomic_fetch_sub(&call->conn->unread, chunk->n);
                free(chunk);
                decide(call, CRINGLE_E_EXHAUSTED, rpc_message_encode("too much of the answer waits to be read"));
                call->overflowed = true;
        } else {
                *call->end = chunk;
                call->end = &chunk->next;
                call->queued += chunk->n;
                if (last)
                        decide(call, CRINGLE_OK, NULL);
                if (call->queued > limits->max_queue)
                        call->full = true;
                r = call->full;
        }
        pthread_mutex_unlock(&call->lock);

        if (news)
                hub_mail(call->conn->hub, call);
        return r;
}

static struct chunk *pack(struct rpc_call *call, const ProtobufCMessage *message)
{
        struct chunk *chunk;

        if (call->method && message->descriptor != call->method->output) {
                call_fail_with(call, CRINGLE_E_INTERNAL, "%s answered with a %s", rpc_call_method(call),
                               message->descriptor->name);
                return NULL;
        }
        chunk = chunk_new(call, protobuf_c_message_get_packed_size(message));
        if (chunk)
                protobuf_c_message_pack(message, chunk->bytes + RPC_PREFIX);
        return chunk;
}

static struct chunk *copy(struct rpc_call *call, const struct iovec *parts, size_t n)
{
        struct chunk *chunk;
        uint8_t *to;
        size_t size = 0;

        for (size_t i = 0; i < n; i++)
                size += parts[i].iov_len;
        chunk = chunk_new(call, size);
        if (!chunk)
                return NULL;
        to = chunk->bytes + RPC_PREFIX;
        for (size_t i = 0; i < n; i++)
                to = mempcpy(to, parts[i].iov_base, parts[i].iov_len);
        return chunk;
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *reply)
{
        queue(call, pack(call, reply), true);
}

void rpc_call_reply_packed(struct rpc_call *call, const struct iovec *parts, size_t n)
{
        queue(call, copy(call, parts, n), true);
}

int rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message)
{
        return queue(call, pack(call, message), false);
}

int rpc_call_send_packed(struct rpc_call *call, const void *bytes, size_t n)
{
        const struct iovec part = { .iov_base = (void *) bytes, .iov_len = n };

        return queue(call, copy(call, &part, n > 0), false);
}

void rpc_call_finish(struct rpc_call *call)
{
        pthread_mutex_lock(&call->lock);
        if (!call->answered && !call->closed)
                decide(call, CRINGLE_OK, NULL);
        pthread_mutex_unlock(&call->lock);
        hub_mail(call->conn->hub, call);
}

void call_take_queued(struct rpc_call *call, size_t n, struct buf *out)
{
        bool drained = false;

        pthread_mutex_lock(&call->lock);
        call->queued -= n;
        atomic_fetch_sub(&call->conn->unread, n);
        while (n > 0) {
                struct chunk *chunk = call->first;
                size_t part = chunk->n - chunk->at < n ? chunk->n - chunk->at : n;

                memcpy(out->data + out->len, chunk->bytes + chunk->at, part);
                out->len += part;
                n -= part;
                chunk->at += part;
                if (chunk->at < chunk->n)
                        continue;
                call->first = chunk->next;
                if (!call->first)
                        call->end = &call->first;
                free(chunk);
        }
        if (call->full && call->queued < call->conn->hub->limits.max_queue / 2) {
                call->full = false;
                drained = call->drained = call->drain_fn && !call->answered;
        }
        out->data[out->len] = '\0';
        pthread_mutex_unlock(&call->lock);

        /* We are inside nghttp2: the callback is called at the next delivery. */
        if (drained)
                hub_mail(call->conn->hub, call);
}

void call_deliver(struct rpc_call *call)
{
        void (*drain_fn)(void *data) = NULL;
        bool bare;

        if (call->stream == 0)
                return;

        pthread_mutex_lock(&call->lock);
        if (call->overflowed) {
                call->overflowed = false;
                drop_queue(call);
        }
        if (call->drained && !call->answered && !call->cancelled)
                drain_fn = call->drain_fn;
        call->drained = false;
        bare = call->answered && call->queued == 0;
        pthread_mutex_unlock(&call->lock);

        conn_answer(call, bare);
        if (drain_fn && try_ref(call)) {
                drain_fn(call->drain_data);
                rpc_call_unref(call);
        }
}

static bool has_field_zero(const ProtobufCMessage *message);

static bool member_has_field_zero(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        const char *base = (const char *) message;
        const ProtobufCMessage *const *members;
        size_t n;

        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
                return false;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
                if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && *(const uint32_t *) (base + field->quantifier_offset) != field->id)
                        return false;
                members = (const ProtobufCMessage *const *) (base + field->offset);
                return *members && has_field_zero(*members);
        }
        members = *(const ProtobufCMessage *const **) (base + field->offset);
        n = *(const size_t *) (base + field->quantifier_offset);
        for (size_t i = 0; i < n; i++)
                if (has_field_zero(members[i]))
                        return true;
        return false;
}

/*
 * There is no field 0.  protobuf-c takes one whose number is written in two bytes for an unknown field, and packs it
 * in a way that it does not take: kept in the store, such a request could not be read again.
 */
static bool has_field_zero(const ProtobufCMessage *message)
{
        for (unsigned i = 0; i < message->n_unknown_fields; i++)
                if (message->unknown_fields[i].tag == 0)
                        return true;
        for (unsigned i = 0; i < message->descriptor->n_fields; i++)
                if (member_has_field_zero(message, &message->descriptor->fields[i]))
                        return true;
        return false;
}

void call_dispatch(struct rpc_call *call)
{
        struct hub *hub = call->conn->hub;
        size_t n = call->packed.len;

        if (call->complete)
                return;
        call->complete = true;
        if (n < RPC_PREFIX || n - RPC_PREFIX < rpc_prefix_length((uint8_t *) call->packed.data)) {
                call_fail_with(call, CRINGLE_E_INVALID, "the request ends early");
                return;
        }

        arena_init(&call->arena, n * 4, &hub->held, hub->limits.max_receiving);
        call->request = protobuf_c_message_unpack(call->method->input, &call->arena.allocator, n - RPC_PREFIX,
                                                  (uint8_t *) call->packed.data + RPC_PREFIX);
        call_drop_packed(call);
        if (call->request && has_field_zero(call->request))
                call->request = NULL;
        if (!call->request) {
                if (call->arena.refused)
                        call_fail_with(call, CRINGLE_E_EXHAUSTED, "no memory for the request");
                else
                        call_fail_with(call, CRINGLE_E_INVALID, "the request is no %s", call->method->input->name);
                arena_done(&call->arena);
                return;
        }

        atomic_fetch_add(&call->conn->n_working, 1);
        atomic_fetch_add(&call->refs, 1);
        call->users = 1;
        call->method->handle(call, call->request, call->method->data);
        rpc_call_unref(call);
}

void call_end(struct rpc_call *call, int code, const char *text)
{
        bool held = try_ref(call);

        cancel(call);
        call_fail_with(call, code, "%s", text);
        call->complete = true;
        if (held)
                rpc_call_unref(call);
}

static void on_deadline(void *data)
{
        struct rpc_call *call = data;
        struct rpc_server *server = call->conn->server;

        call->timer = NULL;
        server_turn_begin(server);
        call_end(call, CRINGLE_E_DEADLINE, DEADLINE_TEXT);
        server_turn_end(server);
}

void call_set_deadline(struct rpc_call *call, int64_t deadline)
{
        int64_t left = deadline - clock_monotonic();

        call->deadline = deadline;
        call->timer = loop_after(call->conn->server->loop, left, on_deadline, call);
}

void call_closed(struct rpc_call *call)
{
        struct rpc_server *server = call->conn->server;
        int64_t end;
        int status;

        call->stream = 0;
        call->complete = true;
        *call->link = call->next;
        if (call->next)
                call->next->link = call->link;
        loop_timer_cancel(steal(&call->timer));
        call_drop_packed(call);

        cancel(call);
        pthread_mutex_lock(&call->lock);
        call->closed = true;
        status = call->answered ? call->status : CRINGLE_E_CANCELLED;
        end = call->answered ? call->answered_at : clock_monotonic();
        drop_queue(call);
        pthread_mutex_unlock(&call->lock);

        call->conn->last_busy = end;
        if (server->observe)
                server->observe(rpc_call_method(call), status, end - call->started, server->observe_data);
        call_unref_memory(call);
}
