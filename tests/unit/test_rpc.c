/* What a well-behaved client may count on. */

#include "tests/unit/test_rpc.h"

/* Call @method with an empty request of its type; comes to the code, 0: OK. */
static int code_of(struct rpc_client *client, const char *method, const struct cringle_call *call,
                   struct cringle_err *err)
{
        Cri__VersionRequest request = CRI__VERSION_REQUEST__INIT;
        ProtobufCMessage *reply;

        err_clear(err);
        if (rpc_client_call(client, SERVICE, method, &request.base, call, &reply, err) < 0)
                return err->code;
        protobuf_c_message_free_unpacked(reply, NULL);
        return 0;
}

static void an_answer_carries_the_message(void **state)
{
        auto_of(rpc_client) client = client_of(*state);

        for (int i = 0; i < 50; i++)
                assert_answers(client);
}

static void a_long_list_arrives_whole(void **state)
{
        auto_of(rpc_client) client = client_of(*state);
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        Cri__ListContainersResponse *list;
        ProtobufCMessage *reply;
        struct cringle_err *err = unit_err();

        for (int i = 0; i < 20; i++) {
                assert_ok(rpc_client_call(client, SERVICE, "ListContainers", &request.base, NULL, &reply, err), err);
                list = (Cri__ListContainersResponse *) reply;
                assert_int_equal(list->n_containers, 1000);
                assert_int_equal(atoi(list->containers[999]->id), 999);
                protobuf_c_message_free_unpacked(reply, NULL);
        }
}

static void *call_many_times(void *data)
{
        auto_of(rpc_client) client = client_of(data);
        struct cringle_err err = CRINGLE_ERR_INIT;

        for (int i = 0; i < 100; i++)
                if (code_of(client, i % 2 ? "ListContainers" : "Version", NULL, &err) != 0)
                        return (void *) 1;
        return NULL;
}

static void many_clients_are_served_at_once(void **state)
{
        pthread_t threads[8];
        void *failed;

        for (size_t i = 0; i < 8; i++)
                pthread_create(&threads[i], NULL, call_many_times, *state);
        for (size_t i = 0; i < 8; i++) {
                pthread_join(threads[i], &failed);
                assert_null(failed);
        }
}

static void a_failure_arrives_with_its_code_and_every_byte_of_its_text(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(code_of(client, "Status", NULL, &err), CRINGLE_E_NOT_FOUND);
        assert_string_equal(err.text, AWKWARD);
        assert_comes(w->observed == CRINGLE_E_NOT_FOUND);
}

static void a_failure_is_one_header_block(void **state)
{
        struct raw r = raw_connect(*state);

        raw_request(&r, 1, PATH_OF("Status"), NULL);
        raw_empty_message(&r, 1);
        assert_hears(&r, "1 grpc-message: k%C3%A4se is 100%25 gone:%0A%09\"x\" %7F");
        assert_null(strstr(r.log.data, "DATA"));
        raw_close(&r);
}

static void what_nobody_implements_is_named(void **state)
{
        auto_of(rpc_client) client = client_of(*state);
        ProtobufCServiceDescriptor other = *SERVICE;
        Cri__VersionRequest request = CRI__VERSION_REQUEST__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        ProtobufCMessage *reply;

        assert_int_equal(code_of(client, "RunPodSandbox", NULL, &err), CRINGLE_E_UNIMPLEMENTED);
        assert_contains(err.text, PATH_OF("RunPodSandbox"));
        other.name = "runtime.v9.RuntimeService";
        assert_int_equal(rpc_client_call(client, &other, "Version", &request.base, NULL, &reply, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_UNIMPLEMENTED);
        assert_contains(err.text, "/runtime.v9.RuntimeService/Version");
}

static void a_forgotten_call_is_answered(void **state)
{
        auto_of(rpc_client) client = client_of(*state);
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(code_of(client, "StartContainer", NULL, &err), CRINGLE_E_INTERNAL);
        assert_contains(err.text, PATH_OF("StartContainer"));
}

static void the_peer_is_known(void **state)
{
        auto_of(rpc_client) client = client_of(*state);
        struct cringle_err err = CRINGLE_ERR_INIT;
        char want[100];

        assert_int_equal(code_of(client, "ContainerStatus", NULL, &err), CRINGLE_E_PRECONDITION);
        snprintf(want, sizeof want, "uid %u pid %d " PATH_OF("ContainerStatus"), getuid(), (int) getpid());
        assert_string_equal(err.text, want);
}

static void the_client_keeps_its_deadline_and_the_server_stops(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        int64_t start = clock_monotonic();

        /* Again with more time where the server is too busy to begin within the first. */
        for (int64_t limit = 50 * NSEC_PER_MSEC; w->dispatched == 0; limit *= 2) {
                struct cringle_call call = call_within(NULL, limit);
                struct cringle_err err = CRINGLE_ERR_INIT;

                assert_int_equal(code_of(client, "ExecSync", &call, &err), CRINGLE_E_DEADLINE);
        }
        assert_true(clock_monotonic() - start < 60 * NSEC_PER_SEC);
        assert_comes(w->cancelled == w->dispatched);
        assert_answers(client);
}

static void the_server_keeps_the_deadline_for_a_client_that_does_not(void **state)
{
        struct world *w = *state;
        struct raw r = raw_connect(w);
        const char *const timeout[] = { "grpc-timeout", "800m", NULL };

        raw_request(&r, 1, PATH_OF("ExecSync"), timeout);
        raw_empty_message(&r, 1);
        raw_request(&r, 3, PATH_OF("StopContainer"), timeout);
        raw_empty_message(&r, 3);
        raw_request(&r, 5, PATH_OF("Version"), timeout);        /* its message never comes */
        assert_hears(&r, "1 grpc-status: 4");
        assert_hears(&r, "3 grpc-status: 4");
        assert_hears(&r, "5 grpc-status: 4");
        assert_comes(w->cancelled == 2);
        raw_close(&r);
}

struct cancelling {
        struct world *world;
        int fd;
};

static void *cancel_when_working(void *data)
{
        struct cancelling *c = data;

        while (c->world->dispatched == 0)
                sleep_msec(1);
        eventfd_write(c->fd, 1);
        return NULL;
}

static void a_cancelled_call_stops_its_worker(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        auto_fd int fd = eventfd(0, EFD_CLOEXEC);
        struct cancelling c = { w, fd };
        struct cringle_call call = CALL_INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        pthread_t thread;

        call.cancel_fd = fd;
        pthread_create(&thread, NULL, cancel_when_working, &c);
        assert_int_equal(code_of(client, "ExecSync", &call, &err), CRINGLE_E_CANCELLED);
        pthread_join(thread, NULL);
        assert_comes(w->cancelled == 1);
        assert_comes(w->observed == CRINGLE_E_CANCELLED);
        assert_answers(client);
}

static void a_closed_connection_cancels_its_calls(void **state)
{
        struct world *w = *state;
        struct raw r = raw_connect(w);

        for (int i = 0; i < 10; i++) {
                raw_request(&r, 1 + 2 * i, i % 2 ? PATH_OF("ExecSync") : PATH_OF("StopContainer"), NULL);
                raw_empty_message(&r, 1 + 2 * i);
        }
        assert_comes(w->dispatched == 10);
        raw_close(&r);
        assert_comes(w->cancelled == 10);
}

struct reading {
        unsigned next;
        unsigned stop_at;
        int nap_msec;                   /* before each hundredth */
        struct world *world;
        unsigned most_ahead;
};

static int read_event(const ProtobufCMessage *message, void *data, struct cringle_err *err)
{
        const Cri__ContainerEventResponse *event = (const Cri__ContainerEventResponse *) message;
        struct reading *reading = data;
        unsigned ahead;

        if (event->created_at != reading->next)
                return err_set(err, CRINGLE_E_INTERNAL, "event %d came for %u", (int) event->created_at, reading->next);
        reading->next++;
        ahead = reading->world->sent - reading->next;
        if (ahead > reading->most_ahead)
                reading->most_ahead = ahead;
        if (reading->nap_msec && reading->next % 100 == 0)
                sleep_msec(reading->nap_msec);
        return reading->stop_at && reading->next == reading->stop_at;
}

static int read_events(struct world *w, struct rpc_client *client, struct reading *reading, struct cringle_err *err)
{
        Cri__GetEventsRequest request = CRI__GET_EVENTS_REQUEST__INIT;

        reading->world = w;
        return rpc_client_stream(client, SERVICE, "GetContainerEvents", &request.base, NULL, read_event, reading, err);
}

static void a_stream_comes_in_order_and_ends(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        struct reading reading = { 0 };
        struct cringle_err *err = unit_err();

        w->to_send = 5000;
        assert_ok(read_events(w, client, &reading, err), err);
        assert_int_equal(reading.next, 5000);
}

static void an_empty_stream_ends_well(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        struct reading reading = { 0 };
        struct cringle_err *err = unit_err();

        w->to_send = 0;
        assert_ok(read_events(w, client, &reading, err), err);
        assert_int_equal(reading.next, 0);
        assert_answers(client);
}

static void a_stream_may_end_with_a_failure(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        struct reading reading = { 0 };
        struct cringle_err err = CRINGLE_ERR_INIT;

        w->break_stream = true;
        assert_int_equal(read_events(w, client, &reading, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_ABORTED);
        assert_string_equal(err.text, "enough");
        assert_int_equal(reading.next, 10);
}

static void a_reader_may_leave_a_stream(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        struct reading reading = { .stop_at = 7 };
        struct cringle_err *err = unit_err();

        w->to_send = 1000000;
        assert_ok(read_events(w, client, &reading, err), err);
        assert_comes(w->cancelled == 1);
        assert_answers(client);
}

/* 20 MB through a queue of 64 KiB: what the server is ahead of the reader is windows and socket buffers. */
static void a_slow_reader_holds_the_sender_back(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        struct reading reading = { .nap_msec = 2 };
        struct cringle_err *err = unit_err();

        w->to_send = 20000;
        w->event_size = 1000;
        assert_ok(read_events(w, client, &reading, err), err);
        assert_int_equal(reading.next, 20000);
        assert_in_range(reading.most_ahead, 1, 4000);
}

static int small_queue(void **state)
{
        struct rpc_limits limits = { .max_queue = 64 * 1024, .max_unread = 1024 * 1024 };

        *state = world_new(&limits);
        return 0;
}

static void lose_heed(void *data)
{
        struct world *w = data;

        w->heedless = true;
        flow_on(w->flow);
}

static void who_sends_regardless_loses_the_call_and_no_memory(void **state)
{
        struct world *w = *state;
        struct raw r = raw_connect(w);

        w->to_send = 1000000;
        w->event_size = 1000;
        raw_request(&r, 1, PATH_OF("GetContainerEvents"), NULL);
        raw_empty_message(&r, 1);
        /* The window is 65535 bytes; the message that does not fit must end before the status can come. */
        while (r.data < 65535)
                assert_true(raw_read(&r, "DATA", 5000) && (raw_read(&r, NULL, 10), true));
        assert_int_equal(w->observed, -1);
        loop_post(w->loop, lose_heed, w);
        raw_frame(&r, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\1\0", 4);
        raw_frame(&r, NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\1\0", 4);
        assert_hears(&r, "1 grpc-status: 8");
        assert_true(w->sent < 1200);
        assert_true(r.data < 70000);
        raw_close(&r);
}

static const Health__HealthCheckResponse *health_of(struct rpc_client *client, const char *service,
                                                    struct cringle_err *err)
{
        Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        ProtobufCMessage *reply;

        request.service = (char *) service;
        if (rpc_client_call(client, &health__health__descriptor, "Check", &request.base, NULL, &reply, err) < 0)
                return NULL;
        return (const Health__HealthCheckResponse *) reply;
}

static void stop_serving(void *data)
{
        rpc_server_set_serving(data, false);
}

static void shut_down(void *data);

static int watch_health(const ProtobufCMessage *message, void *data, struct cringle_err *err)
{
        const Health__HealthCheckResponse *response = (const Health__HealthCheckResponse *) message;
        struct reading *reading = data;

        reading->next = reading->next * 10 + (unsigned) response->status;
        if (response->status == HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
                loop_post(reading->world->loop, stop_serving, reading->world->server);
        else
                loop_post(reading->world->loop, shut_down, reading->world);
        return 0;
}

static void health_is_told_and_watched(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        Health__HealthCheckRequest request = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct reading reading = { .world = w };
        const Health__HealthCheckResponse *health;

        health = health_of(client, "", &err);
        assert_non_null(health);
        assert_int_equal(health->status, HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
        protobuf_c_message_free_unpacked((ProtobufCMessage *) health, NULL);
        assert_null(health_of(client, "no.such.Service", &err));
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);

        request.service = (char *) "runtime.v1.RuntimeService";
        assert_int_equal(rpc_client_stream(client, &health__health__descriptor, "Watch", &request.base, NULL,
                                           watch_health, &reading, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_UNAVAILABLE);
        assert_int_equal(reading.next, 12);     /* SERVING, then NOT_SERVING */
        sem_wait(&w->shutdown_done);
}

static void on_shut_down(void *data)
{
        sem_post(&((struct world *) data)->shutdown_done);
}

static void shut_down(void *data)
{
        struct world *w = data;

        w->shut = true;
        rpc_server_shutdown(w->server, 300 * NSEC_PER_MSEC, on_shut_down, w);
}

static void a_shutdown_lets_calls_end_and_takes_no_more(void **state)
{
        struct world *w = *state;
        struct raw r = raw_connect(w);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct rpc_client *late;

        raw_request(&r, 1, PATH_OF("Version"), NULL);   /* half a call, from before */
        raw_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
        assert_hears(&r, "PING");
        loop_post(w->loop, shut_down, w);
        assert_hears(&r, "GOAWAY 0");
        assert_int_equal(rpc_client_connect(w->path, &late, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_UNAVAILABLE);
        raw_request(&r, 3, PATH_OF("StopContainer"), NULL);
        raw_empty_message(&r, 3);
        raw_empty_message(&r, 1);
        assert_hears(&r, "1 grpc-status: 0");
        assert_hears(&r, "EOF");
        sem_wait(&w->shutdown_done);
        assert_int_equal(w->dispatched, 1);
        raw_close(&r);
}

static void a_shutdown_ends_what_does_not_end(void **state)
{
        struct world *w = *state;
        struct raw r = raw_connect(w);

        raw_request(&r, 1, PATH_OF("StopContainer"), NULL);
        raw_empty_message(&r, 1);
        assert_comes(w->dispatched == 1);
        loop_post(w->loop, shut_down, w);
        assert_hears(&r, "1 grpc-status: 14");
        assert_hears(&r, "EOF");
        sem_wait(&w->shutdown_done);
        raw_close(&r);
}

static void a_call_may_outlive_its_server(void **state)
{
        struct world *w = *state;
        struct rpc_server *server;
        struct loop *loop;
        struct cringle_err *err = unit_err();
        struct raw r = raw_connect(w);

        raw_request(&r, 1, PATH_OF("ExecSync"), NULL);
        raw_empty_message(&r, 1);
        assert_comes(w->working == 1);
        /* Free the server under the worker; another takes its place for the teardown. */
        loop_stop(w->loop);
        pthread_join(w->thread, NULL);
        w->server = rpc_server_free(w->server);
        assert_comes(w->cancelled == 1);
        raw_close(&r);

        w->shut = true;
        assert_ok(loop_new(&loop, err), err);
        assert_ok(rpc_server_new(loop, NULL, &server, err), err);
        loop_free(w->loop);
        w->loop = loop;
        w->server = server;
        pthread_create(&w->thread, NULL, run_loop, w);
}

static void a_client_connects_anew_after_the_server_hung_up(void **state)
{
        struct world *w = *state;
        auto_of(rpc_client) client = client_of(w);
        struct raw crowd[2];

        assert_answers(client);
        /* With two connections at most, these push the client's out. */
        crowd[0] = raw_connect(w);
        raw_request(&crowd[0], 1, PATH_OF("StopContainer"), NULL);
        raw_empty_message(&crowd[0], 1);
        assert_comes(w->dispatched == 2);
        crowd[1] = raw_connect(w);
        raw_frame(&crowd[1], NGHTTP2_PING, 0, 0, "12345678", 8);
        assert_hears(&crowd[1], "PING");
        assert_answers(client);
        raw_close(&crowd[0]);
        raw_close(&crowd[1]);
}

static int two_connections(void **state)
{
        struct rpc_limits limits = { .max_connections = 2 };

        *state = world_new(&limits);
        return 0;
}

static void handlers_must_fit_the_service(void **state)
{
        static const struct rpc_handler wrong[] = { { "NoSuchMethod", on_version }, { 0 } };
        auto_of(loop) loop = NULL;
        struct rpc_server *server;
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(loop_new(&loop, &err), &err);
        assert_ok(rpc_server_new(loop, NULL, &server, &err), &err);
        assert_int_equal(rpc_server_add(server, SERVICE, wrong, NULL, &err), -1);
        assert_contains(err.text, "NoSuchMethod");
        assert_ok(rpc_server_add(server, SERVICE, handlers, NULL, &err), &err);
        assert_int_equal(rpc_server_add(server, SERVICE, handlers, NULL, &err), -1);
        rpc_server_free(server);
}

#define IN(world, test) cmocka_unit_test_setup_teardown(test, world, teardown)

UNIT_MAIN(
        IN(setup, an_answer_carries_the_message),
        IN(setup, a_long_list_arrives_whole),
        IN(setup, many_clients_are_served_at_once),
        IN(setup, a_failure_arrives_with_its_code_and_every_byte_of_its_text),
        IN(setup, a_failure_is_one_header_block),
        IN(setup, what_nobody_implements_is_named),
        IN(setup, a_forgotten_call_is_answered),
        IN(setup, the_peer_is_known),
        IN(setup, the_client_keeps_its_deadline_and_the_server_stops),
        IN(setup, the_server_keeps_the_deadline_for_a_client_that_does_not),
        IN(setup, a_cancelled_call_stops_its_worker),
        IN(setup, a_closed_connection_cancels_its_calls),
        IN(setup, a_stream_comes_in_order_and_ends),
        IN(setup, an_empty_stream_ends_well),
        IN(setup, a_stream_may_end_with_a_failure),
        IN(setup, a_reader_may_leave_a_stream),
        IN(small_queue, a_slow_reader_holds_the_sender_back),
        IN(small_queue, who_sends_regardless_loses_the_call_and_no_memory),
        IN(setup, health_is_told_and_watched),
        IN(setup, a_shutdown_lets_calls_end_and_takes_no_more),
        IN(setup, a_shutdown_ends_what_does_not_end),
        IN(setup, a_call_may_outlive_its_server),
        IN(two_connections, a_client_connects_anew_after_the_server_hung_up),
        cmocka_unit_test(handlers_must_fit_the_service))
