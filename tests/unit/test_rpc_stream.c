/*
 * Streams that are told news: who does not keep up is told so, or let go; who chooses gets what he wants;
 * without anybody nothing is prepared.
 */

#include "tests/support/unit.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/rpc/client.h"
#include "agent/rpc/stream.h"
#include "cri.pb-c.h"

#define SERVICE (&cri__runtime_service__descriptor)
#define PADDING (64 << 10)
#define NEWS 400                /* of which some are dropped, whatever sockets and windows take */

struct world {
        char *dir, *path;
        struct loop *loop;
        struct rpc_server *server;
        pthread_t thread;
        struct audience audience;
        atomic_int attended;            /* -1: nobody said anything */
        bool choosy;

        /* The client's: */
        sem_t begun, go_on;
        unsigned received;
        unsigned long long lost;
        unsigned lost_messages;
        struct cringle_err err;
};

/* The pod's attempt is the number of the news. */
static void make(Cri__ContainerEventResponse *m, Cri__PodSandboxStatus *s, Cri__PodSandboxMetadata *data, uint32_t number)
{
        cri__container_event_response__init(m);
        cri__pod_sandbox_status__init(s);
        cri__pod_sandbox_metadata__init(data);
        data->attempt = number;
        s->metadata = data;
        m->pod_sandbox_status = s;
}

static void tell(struct world *w, uint32_t number, char *padding)
{
        Cri__ContainerEventResponse m;
        Cri__PodSandboxStatus s;
        Cri__PodSandboxMetadata data;

        make(&m, &s, &data, number);
        m.container_id = padding;
        stream_tell_all(&w->audience, &m.base);
}

static void lost(ProtobufCMessage *message, uint64_t n)
{
        ((Cri__ContainerEventResponse *) message)->created_at = (int64_t) n;
}

static void attended(struct audience *a, bool somebody)
{
        struct world *w = (struct world *) (void *) ((char *) a - offsetof(struct world, audience));

        atomic_store(&w->attended, somebody);
}

static bool wants_even(void *data, const ProtobufCMessage *message)
{
        const Cri__ContainerEventResponse *m = (const Cri__ContainerEventResponse *) message;

        return m->pod_sandbox_status->metadata->attempt % *(unsigned *) data == 0;
}

static void watch(struct rpc_call *call, const ProtobufCMessage *request, void *data)
{
        struct stream *s;
        struct world *w = data;
        unsigned *two = malloc(sizeof *two);

        *two = 2;
        s = stream_new(w->loop, call, &cri__container_event_response__descriptor);
        stream_watch(s, &w->audience, w->choosy ? wants_even : NULL, two);
}

static const struct rpc_handler handlers[] = { { "GetContainerEvents", watch }, { 0 } };

static void *run_loop(void *data)
{
        loop_run(((struct world *) data)->loop);
        return NULL;
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof *w);
        struct cringle_err err = CRINGLE_ERR_INIT;

        w->dir = unit_make_dir();
        w->path = str_printf(NULL, "%s/sock", w->dir);
        w->err = err;
        atomic_store(&w->attended, -1);
        sem_init(&w->begun, 0, 0);
        sem_init(&w->go_on, 0, 0);
        assert_ok(loop_new(&w->loop, &err), &err);
        w->audience = (struct audience) { .loop = w->loop, .lost = lost, .attended = attended };
        assert_ok(rpc_server_new(w->loop, NULL, &w->server, &err), &err);
        assert_ok(rpc_server_add(w->server, SERVICE, handlers, w, &err), &err);
        assert_ok(rpc_server_listen(w->server, sock_listen(w->path, SOCK_STREAM, 0600, &err), &err), &err);
        assert_int_equal(pthread_create(&w->thread, NULL, run_loop, w), 0);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        loop_stop(w->loop);
        pthread_join(w->thread, NULL);
        rpc_server_free(w->server);
        loop_free(w->loop);
        file_remove_tree(w->dir, NULL);
        sem_destroy(&w->begun);
        sem_destroy(&w->go_on);
        free(w->dir);
        free(w->path);
        free(w);
        return 0;
}

static void wait_for(sem_t *s)
{
        while (sem_wait(s) < 0)
                ;
}

/* The first message holds the client up until the test says so; the last one has the number NEWS. */
static int take(const ProtobufCMessage *message, void *data, struct cringle_err *err)
{
        const Cri__ContainerEventResponse *m = (const Cri__ContainerEventResponse *) message;
        struct world *w = data;

        if (m->created_at) {
                w->lost += (unsigned long long) m->created_at;
                w->lost_messages++;
                return 0;
        }
        if (w->received++ == 0) {
                sem_post(&w->begun);
                wait_for(&w->go_on);
        }
        return m->pod_sandbox_status->metadata->attempt == NEWS;
}

static void *listen_to_news(void *data)
{
        Cri__GetEventsRequest request = CRI__GET_EVENTS_REQUEST__INIT;
        struct world *w = data;
        struct rpc_client *client;

        if (rpc_client_connect(w->path, &client, &w->err) < 0)
                return (void *) 1;
        w->err.code = rpc_client_stream(client, SERVICE, "GetContainerEvents", &request.base, NULL, take, w, &w->err) < 0
                              ? w->err.code : CRINGLE_OK;
        rpc_client_free(client);
        return NULL;
}

static void assert_attended(struct world *w, int want)
{
        for (int i = 0; i < 2000 && atomic_load(&w->attended) != want; i++)
                usleep(5000);
        assert_int_equal(atomic_load(&w->attended), want);
}

/* The audience comes, stops reading after the first news, and goes on after all the others. */
static void play(struct world *w)
{
        auto_free char *padding = malloc(PADDING + 1);
        pthread_t client;

        memset(padding, 'x', PADDING);
        padding[PADDING] = '\0';
        tell(w, 1, padding);            /* to nobody */
        assert_int_equal(pthread_create(&client, NULL, listen_to_news, w), 0);
        assert_attended(w, 1);
        tell(w, 0, padding);
        wait_for(&w->begun);
        for (uint32_t i = 1; i < NEWS; i++)
                tell(w, i, padding);
        sem_post(&w->go_on);
        for (int i = 0; i < 1000 && w->audience.n > 0; i++) {   /* until it has heard the end of it */
                tell(w, NEWS, padding);
                usleep(20000);
        }
        pthread_join(client, NULL);
        assert_attended(w, 0);
}

static void who_does_not_keep_up_is_told_how_much_he_has_missed(void **state)
{
        struct world *w = *state;

        play(w);
        assert_int_equal(w->err.code, CRINGLE_OK);
        assert_int_equal(w->lost_messages, 1);
        assert_true(w->lost > 0 && w->received > 100);
        assert_true(w->received + w->lost >= NEWS);
}

static void where_nothing_may_be_missed_the_stream_ends(void **state)
{
        struct world *w = *state;

        w->audience.lost = NULL;
        play(w);
        assert_int_equal(w->err.code, CRINGLE_E_EXHAUSTED);
        assert_contains(w->err.text, "events were not read in time: ");
        assert_int_equal(w->lost_messages, 0);
}

static void who_chooses_gets_what_he_wants(void **state)
{
        struct world *w = *state;
        pthread_t client;

        w->choosy = true;
        sem_post(&w->go_on);
        assert_int_equal(pthread_create(&client, NULL, listen_to_news, w), 0);
        assert_attended(w, 1);
        for (uint32_t i = 0; i <= NEWS; i++)
                tell(w, i, (char *) "");
        pthread_join(client, NULL);
        assert_int_equal(w->received, NEWS / 2 + 1);
        assert_int_equal(w->lost, 0);
        assert_attended(w, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(who_does_not_keep_up_is_told_how_much_he_has_missed),
        TEST(where_nothing_may_be_missed_the_stream_ends),
        TEST(who_chooses_gets_what_he_wants))
