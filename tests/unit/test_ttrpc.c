/*
 * ttRPC and its mux: calls both ways, and peers that do not play by the rules
 */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/rpc/ttrpc.h"
#include "tests/support/unit.h"
#include "ttrpc.pb-c.h"

/* Answers what it was asked, with the method's name in front; "refuse" and "sleep" do what they say. */
static int echo(void *data, const char *service, const char *method, const void *payload, size_t n, struct buf *ret,
                struct cringle_err *err)
{
        if (strcmp(method, "refuse") == 0)
                return err_set(err, CRINGLE_E_DENIED, "not for %s", service);
        if (strcmp(method, "sleep") == 0)
                poll(NULL, 0, 300);
        return buf_add_str(ret, method, err) < 0 || buf_add(ret, payload, n, err) < 0 ? -1 : 0;
}

static const struct ttrpc_ops echo_ops = { .serve = echo };

/* Two of us; the second has the connections' numbers the other way round, which is what a peer is. */
struct pair {
        struct ttrpc *us;
        int peer;
};

static void begin(struct pair *p)
{
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_ok(ttrpc_new(fds[0], &echo_ops, NULL, &p->us, unit_err()), unit_err());
        p->peer = fds[1];
}

static void finish(struct pair *p)
{
        ttrpc_free(p->us);
        close(p->peer);
}

static void put(int fd, const void *data, size_t n)
{
        assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

/* What send(2) says. */
static ssize_t send_message(int fd, uint32_t lane, uint32_t stream, unsigned char type, const ProtobufCMessage *m)
{
        unsigned char text[4096] = { 0 };
        size_t n = protobuf_c_message_pack(m, text + 18);
        uint32_t words[4] = { htonl(lane), htonl((uint32_t) n + 10), htonl((uint32_t) n), htonl(stream) };

        memcpy(text, words, sizeof words);
        text[16] = type;
        return send(fd, text, 18 + n, MSG_NOSIGNAL);
}

static void put_message(int fd, uint32_t lane, uint32_t stream, unsigned char type, const ProtobufCMessage *m)
{
        assert_true(send_message(fd, lane, stream, type, m) > 0);
}

static void get(int fd, void *data, size_t n)
{
        assert_int_equal(recv(fd, data, n, MSG_WAITALL), n);
}

/* A message from us: its envelope's bytes into @body. */
static size_t get_message(int fd, uint32_t lane, uint32_t *ret_stream, unsigned char type, unsigned char body[4096])
{
        unsigned char header[18];
        uint32_t words[4];

        get(fd, header, sizeof header);
        memcpy(words, header, sizeof words);
        assert_int_equal(ntohl(words[0]), lane);
        assert_int_equal(ntohl(words[1]), ntohl(words[2]) + 10);
        assert_int_equal(header[16], type);
        assert_true(ntohl(words[2]) <= 4096);
        get(fd, body, ntohl(words[2]));
        *ret_stream = ntohl(words[3]);
        return ntohl(words[2]);
}

/* True once the connection is closed by us. */
static bool is_closed(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char byte;

        while (poll(&p, 1, 5000) == 1)
                if (recv(fd, &byte, 1, 0) <= 0)
                        return true;
        return false;
}

static void *answer_one(void *data)
{
        struct pair *p = data;
        unsigned char body[4096];
        uint32_t stream;
        size_t n = get_message(p->peer, TTRPC_OUT, &stream, 1, body);
        Ttrpc__Request *request = ttrpc__request__unpack(NULL, n, body);
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        Ttrpc__Status status = TTRPC__STATUS__INIT;

        assert_non_null(request);
        assert_string_equal(request->service, "a.Service");
        if (strcmp(request->method, "Fail") == 0) {
                status.code = CRINGLE_E_NOT_FOUND;
                status.message = (char *) "no such thing";
                response.status = &status;
        } else {
                response.payload = request->payload;
        }
        put_message(p->peer, TTRPC_OUT, stream, 2, &response.base);
        ttrpc__request__free_unpacked(request, NULL);
        return NULL;
}

static int call_with_answer(struct pair *p, const char *method, struct buf *ret, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, 5 * NSEC_PER_SEC);
        pthread_t thread;
        int r;

        assert_int_equal(pthread_create(&thread, NULL, answer_one, p), 0);
        r = ttrpc_call(p->us, "a.Service", method, "hello", 5, &call, ret, err);
        pthread_join(thread, NULL);
        return r;
}

static void test_a_call_gets_its_answer(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        struct pair p;

        begin(&p);
        assert_ok(call_with_answer(&p, "Echo", &answer, &err), &err);
        assert_string_equal(answer.data, "hello");
        finish(&p);
}

static void test_an_error_of_the_peer_is_told_apart_from_a_broken_connection(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        struct pair p;

        begin(&p);
        assert_int_equal(call_with_answer(&p, "Fail", &answer, &err), TTRPC_REFUSED);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        assert_string_equal(err.text, "no such thing");
        assert_ok(call_with_answer(&p, "Echo", &answer, &err), &err);   /* the connection is well */
        finish(&p);
}

static void test_a_peer_that_does_not_answer_costs_no_more_than_the_deadline(void **state)
{
        struct cringle_call call = call_within(NULL, 50 * NSEC_PER_MSEC);
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        unsigned char body[4096];
        Ttrpc__Response late = TTRPC__RESPONSE__INIT;
        uint32_t stream;
        struct pair p;

        begin(&p);
        assert_int_equal(ttrpc_call(p.us, "a.Service", "Echo", "", 0, &call, &answer, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_DEADLINE);
        get_message(p.peer, TTRPC_OUT, &stream, 1, body);
        put_message(p.peer, TTRPC_OUT, stream, 2, &late.base);          /* too late: dropped */
        assert_ok(call_with_answer(&p, "Echo", &answer, &err), &err);
        assert_string_equal(answer.data, "hello");
        finish(&p);
}

static void test_calls_under_way_fail_when_the_peer_leaves(void **state)
{
        struct cringle_call call = call_within(NULL, 5 * NSEC_PER_SEC);
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        struct pair p;

        begin(&p);
        shutdown(p.peer, SHUT_RDWR);
        assert_int_equal(ttrpc_call(p.us, "a.Service", "Echo", "", 0, &call, &answer, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_UNAVAILABLE);
        finish(&p);
}

static void test_a_request_that_is_too_long_is_not_sent(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        char *big = calloc(1, TTRPC_MAX);
        struct pair p;

        begin(&p);
        assert_int_equal(ttrpc_call(p.us, "a.Service", "Echo", big, TTRPC_MAX, NULL, &answer, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_EXHAUSTED);
        assert_ok(call_with_answer(&p, "Echo", &answer, &err), &err);
        free(big);
        finish(&p);
}

/* The Go library's reader takes no other division. */
static void test_a_long_message_goes_as_a_page_and_the_rest(void **state)
{
        struct cringle_call call = call_within(NULL, 50 * NSEC_PER_MSEC);
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        static char big[10000], text[20000];
        uint32_t words[2], n;
        struct pair p;

        begin(&p);
        assert_int_equal(ttrpc_call(p.us, "a.Service", "Echo", big, sizeof big, &call, &answer, &err), -1);
        get(p.peer, words, sizeof words);
        assert_int_equal(ntohl(words[1]), 4096);
        get(p.peer, text, 4096);
        memcpy(&n, text, sizeof n);
        get(p.peer, words, sizeof words);
        assert_int_equal(ntohl(words[0]), TTRPC_OUT);
        assert_int_equal(ntohl(words[1]), 10 + ntohl(n) - 4096);
        finish(&p);
}

static Ttrpc__Request request_of(const char *method)
{
        Ttrpc__Request request = TTRPC__REQUEST__INIT;

        request.service = (char *) "b.Service";
        request.method = (char *) method;
        request.payload.data = (uint8_t *) "xyz";
        request.payload.len = 3;
        return request;
}

static void test_the_peer_is_served(void **state)
{
        Ttrpc__Request good = request_of("Echo"), bad = request_of("refuse");
        Ttrpc__Response *response;
        unsigned char body[4096];
        uint32_t stream;
        struct pair p;
        size_t n;

        begin(&p);
        put_message(p.peer, TTRPC_IN, 1, 1, &good.base);
        n = get_message(p.peer, TTRPC_IN, &stream, 2, body);
        assert_int_equal(stream, 1);
        response = ttrpc__response__unpack(NULL, n, body);
        assert_null(response->status);
        assert_int_equal(response->payload.len, 7);
        assert_memory_equal(response->payload.data, "Echoxyz", 7);
        ttrpc__response__free_unpacked(response, NULL);

        put_message(p.peer, TTRPC_IN, 3, 1, &bad.base);
        n = get_message(p.peer, TTRPC_IN, &stream, 2, body);
        assert_int_equal(stream, 3);
        response = ttrpc__response__unpack(NULL, n, body);
        assert_int_equal(response->status->code, CRINGLE_E_DENIED);
        assert_string_equal(response->status->message, "not for b.Service");
        ttrpc__response__free_unpacked(response, NULL);
        finish(&p);
}

static void test_a_call_is_answered_while_one_is_being_served(void **state)
{
        Ttrpc__Request slow = request_of("sleep");
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        int64_t began = clock_monotonic();
        struct pair p;

        begin(&p);
        put_message(p.peer, TTRPC_IN, 1, 1, &slow.base);
        assert_ok(call_with_answer(&p, "Echo", &answer, &err), &err);
        assert_true(clock_monotonic() - began < 250 * NSEC_PER_MSEC);
        finish(&p);
}

static void test_messages_may_come_in_any_pieces(void **state)
{
        Ttrpc__Request request = request_of("Echo");
        unsigned char message[256] = { 0 }, body[4096];
        size_t n = protobuf_c_message_pack(&request.base, message + 10);
        uint32_t words[2] = { htonl((uint32_t) n), htonl(5) }, stream;
        struct pair p;

        memcpy(message, words, sizeof words);
        message[8] = 1;
        begin(&p);
        for (size_t i = 0; i < n + 10; i++) {
                uint32_t header[2] = { htonl(TTRPC_IN), htonl(1) };

                put(p.peer, header, sizeof header);
                put(p.peer, message + i, 1);
        }
        get_message(p.peer, TTRPC_IN, &stream, 2, body);
        assert_int_equal(stream, 5);
        finish(&p);
}

static void test_an_oversized_call_is_refused_and_the_next_one_served(void **state)
{
        size_t n = TTRPC_MAX + 1;
        uint32_t words[4] = { htonl(TTRPC_IN), htonl(10), htonl((uint32_t) n), htonl(7) };
        uint32_t rest[2] = { htonl(TTRPC_IN), htonl((uint32_t) n) };
        unsigned char header[18] = { 0 }, body[4096];
        Ttrpc__Request request = request_of("Echo");
        Ttrpc__Response *response;
        char *big = calloc(1, n);
        uint32_t stream;
        struct pair p;
        size_t got;

        memcpy(header, words, sizeof words);
        header[16] = 1;
        begin(&p);
        put(p.peer, header, sizeof header);
        put(p.peer, rest, sizeof rest);
        put(p.peer, big, n);
        got = get_message(p.peer, TTRPC_IN, &stream, 2, body);
        assert_int_equal(stream, 7);
        response = ttrpc__response__unpack(NULL, got, body);
        assert_int_equal(response->status->code, CRINGLE_E_EXHAUSTED);
        ttrpc__response__free_unpacked(response, NULL);
        put_message(p.peer, TTRPC_IN, 9, 1, &request.base);
        get_message(p.peer, TTRPC_IN, &stream, 2, body);
        assert_int_equal(stream, 9);
        free(big);
        finish(&p);
}

static void test_what_breaks_the_protocol_ends_the_connection(void **state)
{
        Ttrpc__Request request = request_of("Echo");
        static const struct {
                unsigned char bytes[32];
                size_t n;
        } bad[] = {
                { { 0, 0, 0, 0, 0, 0, 0, 1, 0 }, 9 },                           /* connection 0 */
                { { 0, 0, 0, 3, 0, 0, 0, 1, 0 }, 9 },                           /* connection 3 */
                { { 0, 0, 0, 1, 255, 255, 255, 255 }, 8 },                      /* a frame without end */
                { { 0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 255, 255 }, 20 },    /* no protobuf */
                { { 0, 0, 0, 2, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0 }, 18 },      /* no type */
                { { 0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0 }, 18 },      /* a call where answers go */
                { { 0, 0, 0, 2, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0 }, 18 },      /* an even stream */
        };
        struct pair p;

        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                begin(&p);
                put(p.peer, bad[i].bytes, bad[i].n);
                if (!is_closed(p.peer))
                        fail_msg("case %zu goes on", i);
                finish(&p);
        }
        begin(&p);
        for (uint32_t i = 0; i < 2 * TTRPC_QUEUE; i++) {                        /* more at once than may wait */
                Ttrpc__Request one = i == 0 ? request_of("sleep") : request;

                if (send_message(p.peer, TTRPC_IN, 2 * i + 1, 1, &one.base) < 0)
                        break;
        }
        assert_true(is_closed(p.peer));
        finish(&p);
}

static void test_garbage_never_hangs_or_crashes(void **state)
{
        unsigned seed = 4711;

        for (int round = 0; round < 200; round++) {
                unsigned char bytes[512];
                struct pair p;

                begin(&p);
                for (size_t i = 0; i < sizeof bytes; i++)
                        bytes[i] = (unsigned char) rand_r(&seed);
                memcpy(bytes, (unsigned char[]) { 0, 0, 0, (unsigned char) (1 + round % 2), 0, 0, 1, 0 }, 8);
                if (round % 3 == 0)
                        memcpy(bytes + 8, (unsigned char[]) { 0, 0, 0, 40, 0, 0, 0, 1, (unsigned char) (1 + round % 4) }, 9);
                send(p.peer, bytes, sizeof bytes, MSG_NOSIGNAL);
                shutdown(p.peer, SHUT_WR);
                assert_true(is_closed(p.peer));
                finish(&p);
        }
}

/* ---- the order of requests ---- */

#define CALLERS 8
#define CALLS 200

static void *call_on(void *data)
{
        struct pair *p = data;
        struct cringle_err err = CRINGLE_ERR_INIT;

        for (int i = 0; i < CALLS; i++) {
                struct cringle_call call = call_within(NULL, 20 * NSEC_PER_SEC);
                auto_buf answer = BUF_INIT;

                assert_ok(ttrpc_call(p->us, "a.Service", "Echo", "hello", 5, &call, &answer, &err), &err);
        }
        return NULL;
}

/* A stream's number that is not higher than the last ends the connection, says the public library. */
static void test_requests_of_many_threads_go_out_in_the_order_of_their_streams(void **state)
{
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        pthread_t threads[CALLERS];
        uint32_t last = 0;
        struct pair p;

        begin(&p);
        for (int i = 0; i < CALLERS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, call_on, &p), 0);
        for (int i = 0; i < CALLERS * CALLS; i++) {
                unsigned char body[4096];
                uint32_t stream;

                get_message(p.peer, TTRPC_OUT, &stream, 1, body);
                assert_int_equal(stream % 2, 1);
                assert_true(stream > last);
                last = stream;
                put_message(p.peer, TTRPC_OUT, stream, 2, &response.base);
        }
        for (int i = 0; i < CALLERS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(last, 2 * CALLERS * CALLS - 1);
        finish(&p);
}

UNIT_MAIN(
        cmocka_unit_test(test_a_call_gets_its_answer),
        cmocka_unit_test(test_an_error_of_the_peer_is_told_apart_from_a_broken_connection),
        cmocka_unit_test(test_a_peer_that_does_not_answer_costs_no_more_than_the_deadline),
        cmocka_unit_test(test_calls_under_way_fail_when_the_peer_leaves),
        cmocka_unit_test(test_a_request_that_is_too_long_is_not_sent),
        cmocka_unit_test(test_a_long_message_goes_as_a_page_and_the_rest),
        cmocka_unit_test(test_requests_of_many_threads_go_out_in_the_order_of_their_streams),
        cmocka_unit_test(test_the_peer_is_served),
        cmocka_unit_test(test_a_call_is_answered_while_one_is_being_served),
        cmocka_unit_test(test_messages_may_come_in_any_pieces),
        cmocka_unit_test(test_an_oversized_call_is_refused_and_the_next_one_served),
        cmocka_unit_test(test_what_breaks_the_protocol_ends_the_connection),
        cmocka_unit_test(test_garbage_never_hangs_or_crashes))
