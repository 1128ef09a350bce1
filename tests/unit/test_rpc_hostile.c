/*
 * What a hostile or broken client cannot do.  After each test the server still answers,
 * and nothing of the client's is left (see teardown()).
 */

#include "tests/unit/test_rpc.h"

static uint32_t next_random(uint32_t *seed)
{
        *seed = *seed * 1664525 + 1013904223;
        return *seed >> 8;
}

static void random_bytes_do_no_harm(void **state)
{
        uint32_t seed = 1;

        for (int round = 0; round < 100; round++) {
                struct raw r = round % 2 ? raw_connect(*state) : raw_open(*state);
                uint8_t bytes[4096];

                for (size_t i = 0; i < sizeof bytes; i++)
                        bytes[i] = (uint8_t) next_random(&seed);
                raw_write(&r, bytes, 1 + next_random(&seed) % sizeof bytes);
                raw_close(&r);
        }
}

/* Frames with a plausible head and random content: further in than random bytes come. */
static void random_frames_do_no_harm(void **state)
{
        uint32_t seed = 2;

        for (int round = 0; round < 100; round++) {
                struct raw r = raw_connect(*state);

                for (int i = 0; i < 30; i++) {
                        uint8_t payload[256];
                        size_t n = next_random(&seed) % sizeof payload;

                        for (size_t k = 0; k < n; k++)
                                payload[k] = (uint8_t) next_random(&seed);
                        if (!raw_frame(&r, (int) next_random(&seed) % 12, (int) next_random(&seed) % 64,
                                       (int) next_random(&seed) % 8, payload, n))
                                break;
                }
                raw_read(&r, "EOF", 1);
                raw_close(&r);
        }
}

/* Everything a connection with one call sends. */
static void put_whole_call(struct buf *to, const char *method)
{
        auto_buf block = BUF_INIT;

        buf_add(to, preface, sizeof preface - 1, NULL);
        put_frame(to, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
        put_request(&block, method, NULL);
        put_frame(to, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block.data, block.len);
        put_frame(to, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "\0\0\0\0", 5);
}

static void a_client_may_vanish_after_any_byte(void **state)
{
        struct world *w = *state;
        auto_buf call = BUF_INIT;

        put_whole_call(&call, PATH_OF("StopContainer"));
        for (size_t n = 0; n <= call.len; n++) {
                struct raw r = raw_open(w);
                struct pollfd greeted = { r.fd, POLLIN, 0 };

                assert_int_equal(poll(&greeted, 1, 5000), 1);
                raw_write(&r, call.data, n);
                raw_close(&r);
        }
        assert_comes(w->dispatched == 1 && w->cancelled == 1);
}

static void bytes_may_come_one_by_one(void **state)
{
        auto_buf call = BUF_INIT;
        struct raw r = raw_open(*state);

        put_whole_call(&call, PATH_OF("Version"));
        for (size_t n = 0; n < call.len; n++) {
                raw_write(&r, call.data + n, 1);
                sched_yield();
        }
        assert_hears(&r, "1 grpc-status: 0");
        raw_close(&r);
}

static void a_request_beyond_the_limit_is_refused_before_it_comes(void **state)
{
        struct raw r = raw_connect(*state);

        raw_request(&r, 1, PATH_OF("Version"), NULL);
        raw_frame(&r, NGHTTP2_DATA, 0, 1, "\0\xff\xff\xff\xff", 5);
        assert_hears(&r, "1 grpc-status: 8");
        assert_contains(r.log.data, "4294967295");
        assert_hears(&r, "1 RST 0");
        raw_request(&r, 3, PATH_OF("Version"), NULL);
        raw_empty_message(&r, 3);
        assert_hears(&r, "3 grpc-status: 0");
        raw_close(&r);
}

static int little_memory(void **state)
{
        struct rpc_limits limits = { .max_message = 1024 * 1024, .max_receiving = 2 * 1024 * 1024 };

        *state = world_new(&limits);
        return 0;
}

/* Ten requests of a megabyte each are begun, three times what all may hold. */
static void unfinished_requests_share_one_limit(void **state)
{
        struct raw r = raw_connect(*state);
        auto_free char *part = calloc(1, 16000);

        for (int i = 0; i < 10; i++) {
                int stream = 1 + 2 * i;

                raw_request(&r, stream, PATH_OF("Version"), NULL);
                raw_frame(&r, NGHTTP2_DATA, 0, stream, "\0\0\x0f\xff\xff", 5);
                for (int k = 0; k < 15; k++) {          /* 240000 bytes: within the stream's window */
                        raw_frame(&r, NGHTTP2_DATA, 0, stream, part, 16000);
                        raw_read(&r, NULL, 0);
                }
        }
        assert_hears(&r, "19 grpc-status: 8");
        raw_close(&r);
}

/* Two bytes on the wire, a struct and a pointer in memory. */
static void a_request_may_not_unfold_beyond_the_limit(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        Cri__ExecSyncRequest exec = CRI__EXEC_SYNC_REQUEST__INIT;
        auto_free char **words = calloc(400000, sizeof *words);
        struct cringle_err err = CRINGLE_ERR_INIT;
        ProtobufCMessage *reply;

        for (size_t i = 0; i < 400000; i++)
                words[i] = (char *) "";
        exec.cmd = words;
        exec.n_cmd = 400000;            /* 800 KB packed, within max_message */
        assert_int_equal(rpc_client_call(client, SERVICE, "ExecSync", &exec.base, NULL, &reply, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_EXHAUSTED);
        assert_int_equal(w->dispatched, 0);
}

static void a_request_that_is_none_is_refused(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
                const char *status;
        } wrong[] = {
                { "", 0, "3" },                                         /* no message at all */
                { "\0\0", 2, "3" },                                     /* half a prefix */
                { "\0\0\0\0\5ab", 7, "3" },                             /* half a message */
                { "\0\0\0\0\0\0\0\0\0\0", 10, "3" },                    /* two of them */
                { "\0\0\0\0\2\x0a\x7f", 7, "3" },                       /* no protobuf */
                { "\0\0\0\0\3\x80\0\x0c", 8, "3" },                     /* a field 0, as protobuf-c takes it */
                { "\1\0\0\0\0", 5, "12" },                              /* compressed */
                { "\2\0\0\0\0", 5, "3" },                               /* a flag nobody knows */
        };
        struct world *w = *state;
        struct raw r = raw_connect(w);

        for (int i = 0; i < (int) (sizeof wrong / sizeof *wrong); i++) {
                char want[40];

                raw_request(&r, 1 + 2 * i, PATH_OF("Version"), NULL);
                raw_frame(&r, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1 + 2 * i, wrong[i].bytes, wrong[i].n);
                snprintf(want, sizeof want, "%d grpc-status: %s\n", 1 + 2 * i, wrong[i].status);
                assert_hears(&r, want);
        }
        assert_int_equal(w->dispatched, 0);
        raw_close(&r);
}

static void headers_that_are_not_grpc_are_refused(void **state)
{
        static const struct {
                const char *name;
                const char *value;
                const char *want;
        } wrong[] = {
                { "grpc-encoding", "gzip", "grpc-status: 12" },
                { "grpc-timeout", "soon", "grpc-status: 3" },
                { "grpc-timeout", "123456789S", "grpc-status: 3" },
        };
        struct world *w = *state;
        struct raw r = raw_connect(w);
        auto_buf block = BUF_INIT;
        int stream = 1;

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++, stream += 2) {
                const char *const extra[] = { wrong[i].name, wrong[i].value, NULL };
                char want[60];

                raw_request(&r, stream, PATH_OF("Version"), extra);
                raw_empty_message(&r, stream);
                snprintf(want, sizeof want, "%d %s\n", stream, wrong[i].want);
                assert_hears(&r, want);
        }

        put_header(&block, ":method", "GET");
        put_header(&block, ":scheme", "http");
        put_header(&block, ":path", PATH_OF("Version"));
        put_header(&block, ":authority", "localhost");
        raw_frame(&r, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 21, block.data, block.len);
        assert_hears(&r, "21 :status: 405");
        buf_clear(&block);
        put_header(&block, ":method", "POST");
        put_header(&block, ":scheme", "http");
        put_header(&block, ":path", PATH_OF("Version"));
        put_header(&block, ":authority", "localhost");
        put_header(&block, "content-type", "application/json");
        raw_frame(&r, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 23, block.data, block.len);
        assert_hears(&r, "23 :status: 415");
        assert_int_equal(w->dispatched, 0);
        raw_close(&r);
}

static void only_the_exact_path_reaches_a_method(void **state)
{
        static const char *const paths[] = {
                "runtime.v1.RuntimeService/Version", "//runtime.v1.RuntimeService/Version",
                "/runtime.v1.RuntimeService//Version", "/runtime.v1.RuntimeService/Version/",
                "/runtime.v1.RuntimeService/version", "/RUNTIME.V1.RuntimeService/Version",
                "/runtime.v1.RuntimeService%2FVersion", "/runtime.v1.RuntimeService/Version?x", "/", "*",
        };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
                struct raw r = raw_connect(w);

                raw_request(&r, 1, paths[i], NULL);
                raw_empty_message(&r, 1);
                /* A path without a slash in front is no HTTP/2 at all. */
                assert_true(raw_read(&r, "1 grpc-status: 12", 1000) || raw_read(&r, "1 RST 1", 1000));
                raw_close(&r);
        }
        assert_int_equal(w->dispatched, 0);
}

static void too_many_headers_are_refused(void **state)
{
        const char *extra[2 * 600 + 1] = { 0 };
        struct raw r = raw_connect(*state);

        for (size_t i = 0; i < 600; i++) {
                extra[2 * i] = "x";
                extra[2 * i + 1] = "y";
        }
        raw_request(&r, 1, PATH_OF("Version"), extra);
        raw_empty_message(&r, 1);
        assert_hears(&r, "1 grpc-status: 8");
        raw_close(&r);
}

static void endless_headers_end_the_connection(void **state)
{
        struct raw r = raw_connect(*state);
        auto_buf block = BUF_INIT;
        bool open;
        int n = 0;

        put_request(&block, PATH_OF("Version"), NULL);
        open = raw_frame(&r, NGHTTP2_HEADERS, 0, 1, block.data, block.len);
        buf_clear(&block);
        for (int i = 0; i < 1000; i++)
                put_header(&block, "x", "y");
        for (; open && n < 100000; n++)
                open = raw_frame(&r, NGHTTP2_CONTINUATION, 0, 1, block.data, block.len);
        assert_true(n < 1000);
        raw_close(&r);
}

/* Begin and reset calls whose handlers do not notice: those at work have a limit. */
static int few_streams(void **state)
{
        struct rpc_limits limits = { .max_streams = 20 };

        *state = world_new(&limits);
        return 0;
}

/* @made: by a frame that lets the stream's window overflow, which the server can only answer with a reset of its own. */
static void reset_rapidly(struct world *w, bool made)
{
        struct raw r = raw_connect(w);
        auto_of(rpc_client) other = client_of(w);
        auto_buf block = BUF_INIT;
        int stream = 1;

        put_request(&block, PATH_OF("ExecSync"), NULL);
        for (int round = 0; round < 5; round++) {
                auto_buf burst = BUF_INIT;
                unsigned working;

                for (int i = 0; i < 100; i++, stream += 2) {
                        put_frame(&burst, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, stream, block.data, block.len);
                        put_frame(&burst, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, "\0\0\0\0", 5);
                        if (made)
                                put_frame(&burst, NGHTTP2_WINDOW_UPDATE, 0, stream, "\x7f\xff\xff\xff", 4);
                        else
                                put_frame(&burst, NGHTTP2_RST_STREAM, 0, stream, "\0\0\0\x8", 4);
                }
                put_frame(&burst, NGHTTP2_PING, 0, 0, "12345678", 8);
                w->deaf = true;
                raw_write(&r, burst.data, burst.len);
                assert_hears(&r, "PING");       /* all of it has been read */
                working = w->working;
                w->deaf = false;
                assert_int_equal(working, 20);
                assert_comes(w->working == 0);
                assert_answers(other);
                buf_clear(&r.log);
        }
        assert_int_equal(w->dispatched, 5 * (20 + 1));
        raw_close(&r);
}

static void rapid_resets_are_bounded(void **state)
{
        reset_rapidly(*state, false);
}

static void resets_that_the_server_is_made_to_send_are_bounded(void **state)
{
        reset_rapidly(*state, true);
}

static void resets_without_end_end_the_connection(void **state)
{
        struct raw r = raw_connect(*state);
        bool open = true;
        int i = 0;

        for (; i < 100000 && open; i++) {
                open = raw_request(&r, 1 + 2 * i, PATH_OF("StopContainer"), NULL) &&
                       raw_frame(&r, NGHTTP2_RST_STREAM, 0, 1 + 2 * i, "\0\0\0\x8", 4);
                raw_read(&r, NULL, 0);
        }
        assert_true(i < 20000);
        assert_contains(r.log.data, "GOAWAY");
        raw_close(&r);
}

/* One frame again and again; @reads: the client reads what comes back. */
static void flood(struct world *w, int type, int stream, const char *payload, size_t n, bool reads)
{
        struct raw r = raw_connect(w);
        struct timeval patience = { .tv_sec = 1 };
        auto_of(rpc_client) other = client_of(w);
        auto_buf many = BUF_INIT;
        bool open = true;
        int i = 0;

        /* A server that stops reading is a bound too: then the send times out. */
        setsockopt(r.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (stream)
                raw_request(&r, stream, PATH_OF("Version"), NULL);
        for (int k = 0; k < 100; k++)
                put_frame(&many, type, 0, stream, payload, n);
        for (; i < 3000 && open; i++) {
                open = raw_write(&r, many.data, many.len);
                if (reads)
                        raw_read(&r, NULL, 0);
        }
        assert_true(i < 3000);
        assert_answers(other);
        raw_close(&r);
}

static void floods_of_empty_frames_end_the_connection(void **state)
{
        for (int reads = 0; reads < 2; reads++) {
                flood(*state, NGHTTP2_PING, 0, "12345678", 8, reads);
                flood(*state, NGHTTP2_SETTINGS, 0, "", 0, reads);
                flood(*state, NGHTTP2_PRIORITY, 1, "\0\0\0\0\1", 5, reads);
                flood(*state, NGHTTP2_WINDOW_UPDATE, 0, "\0\0\0\1", 4, reads);
                flood(*state, NGHTTP2_DATA, 1, "", 0, reads);
                flood(*state, 0x77, 0, "", 0, reads);
        }
}

static void a_message_in_tiny_frames_is_cut_off(void **state)
{
        flood(*state, NGHTTP2_DATA, 1, "\0", 1, true);
}

/* A hundred messages of 4 MiB at once, a byte of each in its turn. */
static void messages_in_tiny_frames_are_cut_off_together(void **state)
{
        struct world *w = *state;
        struct raw r = raw_connect(w);
        struct timeval patience = { .tv_sec = 1 };
        auto_of(rpc_client) other = client_of(w);
        auto_buf many = BUF_INIT;
        bool open = true;
        int i = 0;

        setsockopt(r.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        for (int stream = 1; stream < 200; stream += 2) {
                raw_request(&r, stream, PATH_OF("Version"), NULL);
                raw_frame(&r, NGHTTP2_DATA, 0, stream, "\0\0\x40\0\0", 5);
                put_frame(&many, NGHTTP2_DATA, 0, stream, "\x0a", 1);
        }
        for (; i < 3000 && open; i++) {
                open = raw_write(&r, many.data, many.len);
                raw_read(&r, NULL, 0);
        }
        assert_true(i < 3000);
        assert_answers(other);
        raw_close(&r);
}

/* Answers that nobody reads, call upon call. */
static void unread_answers_are_bounded(void **state)
{
        struct world *w = *state;
        struct raw r = raw_connect(w);
        int64_t until = clock_monotonic() + 20 * NSEC_PER_SEC;
        int refused = 0;

        for (int i = 0; i < 200; i++) {
                raw_request(&r, 1 + 2 * i, PATH_OF("ListContainers"), NULL);
                raw_empty_message(&r, 1 + 2 * i);
        }
        /* An answer has 270 KB, so 15 of them may wait in 4 MB. */
        while (refused < 180 && clock_monotonic() < until) {
                raw_read(&r, NULL, 50);
                refused = 0;
                for (const char *at = r.log.data ? r.log.data : ""; (at = strstr(at, "grpc-status: 8")); at++)
                        refused++;
        }
        assert_in_range(refused, 180, 199);
        raw_close(&r);
}

static int few_unread(void **state)
{
        struct rpc_limits limits = { .max_unread = 4 * 1024 * 1024 };

        *state = world_new(&limits);
        return 0;
}

/* A frame that ends the session, and right behind it one of a wrong size. */
static void nothing_is_heard_behind_the_frame_that_ends_a_session(void **state)
{
        static const struct {
                int type, stream;
                const char *payload;
                size_t n;
        } bad[] = {
                { NGHTTP2_SETTINGS, 1, "", 0 },
                { NGHTTP2_SETTINGS, 0, "x", 1 },
                { NGHTTP2_PING, 0, "x", 1 },
                { NGHTTP2_PING, 1, "12345678", 8 },
                { NGHTTP2_GOAWAY, 0, "", 0 },
                { NGHTTP2_GOAWAY, 1, "12345678", 8 },
                { NGHTTP2_RST_STREAM, 0, "1234", 4 },
                { NGHTTP2_RST_STREAM, 1, "1", 1 },
                { NGHTTP2_WINDOW_UPDATE, 0, "\0\0\0\0", 4 },
                { NGHTTP2_WINDOW_UPDATE, 0, "", 0 },
                { NGHTTP2_PRIORITY, 1, "", 0 },
                { NGHTTP2_DATA, 0, "", 0 },
                { NGHTTP2_HEADERS, 2, "\x82", 1 },
                { NGHTTP2_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6 },
                { NGHTTP2_CONTINUATION, 1, "", 0 },
                { NGHTTP2_PUSH_PROMISE, 1, "\0\0\0\2", 4 },
                { 0x0a, 1, "", 0 },             /* ALTSVC */
        };
        size_t count = sizeof bad / sizeof *bad;

        for (size_t i = 0; i < count * count; i++) {
                struct raw r = raw_open(*state);
                auto_buf all = BUF_INIT;

                buf_add(&all, preface, sizeof preface - 1, NULL);
                put_frame(&all, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
                put_frame(&all, bad[i / count].type, 4, bad[i / count].stream, bad[i / count].payload,
                          bad[i / count].n);
                put_frame(&all, bad[i % count].type, 4, bad[i % count].stream, bad[i % count].payload,
                          bad[i % count].n);
                raw_write(&r, all.data, all.len);
                raw_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
                raw_read(&r, "EOF", 1);
                raw_close(&r);
        }
}

static int short_patience(void **state)
{
        struct rpc_limits limits = { .greeting_nsec = 500 * NSEC_PER_MSEC, .request_nsec = 500 * NSEC_PER_MSEC };

        *state = world_new(&limits);
        return 0;
}

static void silence_is_not_waited_for(void **state)
{
        struct raw silent = raw_open(*state), half = raw_open(*state), slow = raw_connect(*state);

        raw_write(&half, preface, 10);
        raw_request(&slow, 1, PATH_OF("Version"), NULL);
        raw_frame(&slow, NGHTTP2_DATA, 0, 1, "\0\0\0\0\4ab", 7);
        assert_hears(&silent, "EOF");
        assert_hears(&half, "EOF");
        assert_hears(&slow, "1 grpc-status: 4");
        raw_frame(&slow, NGHTTP2_PING, 0, 0, "12345678", 8);    /* the connection lives on */
        assert_hears(&slow, "PING");
        raw_close(&silent);
        raw_close(&half);
        raw_close(&slow);
}

static int few_connections(void **state)
{
        struct rpc_limits limits = { .max_connections = 4 };

        *state = world_new(&limits);
        return 0;
}

static void connections_have_a_limit_that_idle_ones_yield_to(void **state)
{
        struct world *w = *state;
        struct raw busy[4], late;

        for (int i = 0; i < 50; i++) {          /* idle ones give way to each other */
                struct raw r = raw_connect(w);

                raw_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
                assert_hears(&r, "PING");
                raw_close(&r);
        }
        for (int i = 0; i < 4; i++) {
                busy[i] = raw_connect(w);
                raw_request(&busy[i], 1, PATH_OF("StopContainer"), NULL);
                raw_empty_message(&busy[i], 1);
                assert_comes(w->dispatched == (unsigned) i + 1);
        }
        late = raw_connect(w);
        assert_hears(&late, "EOF");
        raw_request(&busy[0], 3, PATH_OF("Version"), NULL);
        raw_empty_message(&busy[0], 3);
        assert_hears(&busy[0], "3 grpc-status: 0");
        raw_close(&late);
        for (int i = 0; i < 4; i++)
                raw_close(&busy[i]);
        assert_comes(w->cancelled == 4);
}

static void http1_and_others_are_turned_away(void **state)
{
        static const char *const words[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02", "PRI * HTTP/2.0\r\n\r\nXX",
                                             "SSH-2.0-x\r\n" };

        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                struct raw r = raw_open(*state);

                raw_write(&r, words[i], strlen(words[i]));
                assert_hears(&r, "EOF");
                raw_close(&r);
        }
}

#define IN(world, test) cmocka_unit_test_setup_teardown(test, world, teardown)

UNIT_MAIN(
        IN(setup, random_bytes_do_no_harm),
        IN(setup, random_frames_do_no_harm),
        IN(setup, a_client_may_vanish_after_any_byte),
        IN(setup, bytes_may_come_one_by_one),
        IN(setup, a_request_beyond_the_limit_is_refused_before_it_comes),
        IN(little_memory, unfinished_requests_share_one_limit),
        IN(little_memory, a_request_may_not_unfold_beyond_the_limit),
        IN(setup, a_request_that_is_none_is_refused),
        IN(setup, headers_that_are_not_grpc_are_refused),
        IN(setup, only_the_exact_path_reaches_a_method),
        IN(setup, too_many_headers_are_refused),
        IN(setup, endless_headers_end_the_connection),
        IN(few_streams, rapid_resets_are_bounded),
        IN(few_streams, resets_that_the_server_is_made_to_send_are_bounded),
        IN(setup, resets_without_end_end_the_connection),
        IN(setup, floods_of_empty_frames_end_the_connection),
        IN(setup, a_message_in_tiny_frames_is_cut_off),
        IN(setup, messages_in_tiny_frames_are_cut_off_together),
        IN(few_unread, unread_answers_are_bounded),
        IN(setup, nothing_is_heard_behind_the_frame_that_ends_a_session),
        IN(short_patience, silence_is_not_waited_for),
        IN(few_connections, connections_have_a_limit_that_idle_ones_yield_to),
        IN(setup, http1_and_others_are_turned_away))
