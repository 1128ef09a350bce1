/*
 * NRI plugins that hang, babble or break the protocol: what they cost is bounded, and nobody else notices
 */

#include "tests/unit/test_nri.h"

#include "agent/rpc/ttrpc.h"

/* All calls that come with a pod and container, in the order of a life. */
static const char *const calls[] = {
        "RunPodSandbox", "CreateContainer", "ValidateContainerAdjustment", "PostCreateContainer", "StartContainer",
        "PostStartContainer", "UpdateContainer", "PostUpdateContainer", "UpdatePodSandbox", "PostUpdatePodSandbox",
        "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox",
};

#define CALLS (sizeof calls / sizeof calls[0])

/* A whole life, in which nothing fails. */
static void live(struct fixture *f)
{
        Cri__LinuxContainerResources limits = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__UpdatePodSandboxResourcesRequest pod_limits = CRI__UPDATE_POD_SANDBOX_RESOURCES_REQUEST__INIT;
        struct hooks_limits l = { &limits, CRINGLE_UNSET };

        pod_limits.resources = &limits;
        assert_ok(at(f, CRINGLE_POD_RUN), &f->err);
        assert_ok(create(f), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_CREATED), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_START), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_STARTED), &f->err);
        assert_ok(hooks_update(f->hooks, &f->container, &l, NULL, &f->err), &f->err);
        hooks_updated(f->hooks, &f->container, NULL, true);
        assert_ok(hooks_update_pod(f->hooks, &f->pod, &pod_limits, NULL, &f->err), &f->err);
        hooks_updated(f->hooks, &f->pod, &pod_limits, true);
        assert_ok(at(f, CRINGLE_CONTAINER_STOPPED), &f->err);
        assert_ok(at(f, CRINGLE_CONTAINER_REMOVE), &f->err);
        assert_ok(at(f, CRINGLE_POD_STOP), &f->err);
        assert_ok(at(f, CRINGLE_POD_REMOVE), &f->err);
}

/* Those that have left make room. */
static void show_out(struct fixture *f, struct fake_plugin *p)
{
        fake_leave(p);
        f->n_plugins--;
}

/* True once @p has had the call that it hangs in; on a busy machine it may have been too slow for one before. */
static bool hang_in(struct fixture *f, struct fake_plugin *p, int limit)
{
        auto_free char *section = str_printf(NULL, "request_timeout: %dms", limit);
        bool had;

        assert_ok(settings(f, "", &f->err), &f->err);
        join_in(f, p);
        assert_ok(settings(f, section, &f->err), &f->err);
        live(f);
        await(f, p, false);
        pthread_join(p->thread, NULL);          /* its connection is closed */
        p->runs = false;
        had = strstr(p->log.data, p->hang);
        show_out(f, p);
        return had;
}

static void a_plugin_that_hangs_in_any_call_is_dropped_and_fails_nothing(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "stuck");
        struct fixture *f = *state;

        begin(f, "");
        for (size_t i = 0; i < CALLS; i++) {
                int limit = 50;

                p.hang = calls[i];
                while (!hang_in(f, &p, limit)) {
                        limit *= 2;
                        if (limit > 5000)
                                fail_msg("%s was not called", calls[i]);
                }
        }
}

static void one_that_hangs_while_it_comes_does_not_take_part(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "stuck");
        struct fixture *f = *state;

        begin(f, "request_timeout: 100ms, sync_timeout: 100ms");
        for (int i = 0; i < 2; i++) {
                p.hang = i == 0 ? "Configure" : "Synchronize";
                f->plugins[f->n_plugins++] = &p;
                fake_connect(&p, f->socket);
                pthread_join(p.thread, NULL);           /* it is shown out */
                p.runs = false;
                assert_false(takes_part(f, &p));
                show_out(f, &p);
        }
        live(f);
}

static void an_answer_that_cannot_be_decoded_drops_the_plugin_and_no_other(void **state)
{
        static const char *const decoded[] = { "CreateContainer", "ValidateContainerAdjustment", "UpdateContainer", "StopContainer" };
        static struct fake_plugin p = FAKE_PLUGIN("10", "babbler"), good = FAKE_PLUGIN("20", "good");
        struct fixture *f = *state;

        begin(f, "");
        join_in(f, &good);
        for (size_t i = 0; i < sizeof decoded / sizeof decoded[0]; i++) {
                p.garbage = decoded[i];
                join_in(f, &p);
                live(f);
                await(f, &p, false);
                show_out(f, &p);
                assert_true(takes_part(f, &good));
        }
        for (int i = 0; i < 2; i++) {
                p.garbage = i == 0 ? "Configure" : "Synchronize";
                f->plugins[f->n_plugins++] = &p;
                fake_connect(&p, f->socket);
                pthread_join(p.thread, NULL);
                p.runs = false;
                assert_false(takes_part(f, &p));
                show_out(f, &p);
        }
}

/* ---- bytes ------------------------------------------------------------------------------ */

static int connect_raw(struct fixture *f)
{
        int fd = sock_connect(f->socket, SOCK_STREAM, &f->err);

        assert_true(fd >= 0);
        return fd;
}

/* True once we have closed @fd. */
static bool is_closed(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char bytes[4096];

        while (poll(&p, 1, 20000) == 1)
                if (recv(fd, bytes, sizeof bytes, 0) <= 0)
                        return true;
        return false;
}

static void put_words(int fd, const uint32_t *words, size_t n)
{
        uint32_t big[8];

        for (size_t i = 0; i < n; i++)
                big[i] = htonl(words[i]);
        send(fd, big, n * sizeof big[0], MSG_NOSIGNAL);
}

static void register_as(int fd, uint32_t stream, unsigned char type, const char *index, const char *name)
{
        Nri__RegisterPluginRequest r = NRI__REGISTER_PLUGIN_REQUEST__INIT;
        Ttrpc__Request request = TTRPC__REQUEST__INIT;
        uint8_t text[512];

        r.plugin_idx = (char *) index;
        r.plugin_name = (char *) name;
        request.service = (char *) "nri.pkg.api.v1alpha1.Runtime";
        request.method = (char *) "RegisterPlugin";
        request.payload.len = protobuf_c_message_pack(&r.base, text);
        request.payload.data = text;
        fake_send(fd, 2, stream, type, &request.base);
}

static void frames_that_break_the_protocol_end_the_connection(void **state)
{
        static const struct {
                uint32_t words[8];
                size_t n;
        } bad[] = {
                { { 0, 0 }, 2 },                                /* connection 0 is reserved */
                { { 3, 4, 1 }, 3 },                             /* and there are two */
                { { 2, UINT32_MAX }, 2 },                       /* a frame longer than any message */
                { { 2, TTRPC_MAX + 11 }, 2 },
                { { 2, 12, 2, 2, 0x01000000 }, 5 },             /* a call on a stream that is not a client's */
                { { 2, 12, 2, 1, 0x02000000 }, 5 },             /* an answer where a call is due */
                { { 2, 12, 2, 1, 0x03000000 }, 5 },             /* data of no stream */
                { { 2, 12, 2, 1, 0xff000000 }, 5 },             /* a type that is none */
                { { 2, 12, 2, 1, 0x0100ffff }, 5 },             /* a call that cannot be decoded */
                { { 1, 12, 2, 1, 0x01000000 }, 5 },             /* a call where an answer is due */
                { { 1, 12, 2, 1, 0x0200ffff }, 5 },             /* an answer that cannot be decoded */
        };
        static struct fake_plugin good = FAKE_PLUGIN("20", "good");
        struct fixture *f = *state;

        begin(f, "");
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                auto_fd int fd = connect_raw(f);

                put_words(fd, bad[i].words, bad[i].n);
                if (!is_closed(fd))
                        fail_msg("number %zu was let pass", i);
        }
        join_in(f, &good);
        live(f);
}

static void registrations_that_make_no_sense_are_refused(void **state)
{
        static const char *const bad[][2] = {
                { "", "name" }, { "1", "name" }, { "100", "name" }, { "1a", "name" }, { "-1", "name" }, { "10", "" },
                { "10", "../name" }, { "10", "na me" }, { "10", "n\nme" },
        };
        static struct fake_plugin good = FAKE_PLUGIN("20", "good");
        struct fixture *f = *state;

        begin(f, "registration_timeout: 100ms");
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                auto_fd int fd = connect_raw(f);

                register_as(fd, 1, 1, bad[i][0], bad[i][1]);
                assert_true(is_closed(fd));
        }
        assert_ok(settings(f, "", &f->err), &f->err);
        join_in(f, &good);
        live(f);
}

static void one_that_never_registers_is_shown_out(void **state)
{
        struct fixture *f = *state;
        auto_fd int fd = -1;

        begin(f, "registration_timeout: 50ms");
        fd = connect_raw(f);
        assert_true(is_closed(fd));
}

/* A message that announces more than may be is refused; one that is cut off ends with its sender. */
static void what_is_announced_and_does_not_come_costs_nothing(void **state)
{
        static struct fake_plugin good = FAKE_PLUGIN("20", "good");
        struct fixture *f = *state;
        int fds[8];

        begin(f, "");
        for (size_t i = 0; i < 8; i++) {
                fds[i] = connect_raw(f);
                put_words(fds[i], (const uint32_t[]) { 2, TTRPC_MAX + 10, TTRPC_MAX, 1, 0x01000000 }, 5);
        }
        join_in(f, &good);
        live(f);
        for (size_t i = 0; i < 8; i++)
                close(fds[i]);
}

/* Of 32 that come at once and say nothing, none keeps out one that speaks later. */
static void many_that_say_nothing_keep_nobody_out_for_long(void **state)
{
        static struct fake_plugin good = FAKE_PLUGIN("20", "good");
        struct fixture *f = *state;
        int fds[40];

        begin(f, "registration_timeout: 200ms");
        for (size_t i = 0; i < 40; i++)
                fds[i] = connect_raw(f);
        for (size_t i = 0; i < 40; i++) {
                assert_true(is_closed(fds[i]));
                close(fds[i]);
        }
        assert_ok(settings(f, "", &f->err), &f->err);
        join_in(f, &good);
        live(f);
}

/* A plugin that takes part, and then calls what it must not. */
static void calls_that_are_none_are_answered_with_an_error(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "curious");
        Nri__Empty nothing = NRI__EMPTY__INIT;
        struct fixture *f = *state;
        Ttrpc__Response *envelope;

        begin(f, "");
        join_in(f, &p);
        envelope = fake_ask(&p, "DropTables", &nothing.base);
        assert_int_equal(envelope->status->code, CRINGLE_E_UNIMPLEMENTED);
        ttrpc__response__free_unpacked(envelope, NULL);
        live(f);
        assert_true(takes_part(f, &p));
}

static void one_that_leaves_in_the_middle_of_a_call_is_forgotten(void **state)
{
        static struct fake_plugin p = FAKE_PLUGIN("10", "leaver", .sync_ms = 300), good = FAKE_PLUGIN("20", "good");
        struct fixture *f = *state;

        begin(f, "");
        f->plugins[f->n_plugins++] = &p;
        fake_connect(&p, f->socket);
        poll(NULL, 0, 100);
        shutdown(p.fd, SHUT_RDWR);
        join_in(f, &good);
        assert_false(takes_part(f, &p));
        live(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_plugin_that_hangs_in_any_call_is_dropped_and_fails_nothing),
        TEST(one_that_hangs_while_it_comes_does_not_take_part),
        TEST(an_answer_that_cannot_be_decoded_drops_the_plugin_and_no_other),
        TEST(frames_that_break_the_protocol_end_the_connection),
        TEST(registrations_that_make_no_sense_are_refused),
        TEST(one_that_never_registers_is_shown_out),
        TEST(what_is_announced_and_does_not_come_costs_nothing),
        TEST(many_that_say_nothing_keep_nobody_out_for_long),
        TEST(calls_that_are_none_are_answered_with_an_error),
        TEST(one_that_leaves_in_the_middle_of_a_call_is_forgotten))
