/*
 * URLs of Exec, Attach and PortForward, as whoever has one, or guesses, may use them
 *
 * cringle-stream is the real one, which becomes another user: root only.
 */

#include "tests/flow/flow.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/buf.h"

#define FORWARD "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n"
#define PATIENCE 10000                  /* ms */

static int setup(void **state)
{
        struct flow *f;

        if (flow_setup_stopped(state) < 0)
                return -1;
        f = *state;
        f->config.programs.stream = (char *) STREAM;
        f->config.streaming.address = (char *) "127.0.0.1";
        f->config.streaming.idle_timeout = f->config.streaming.creation_timeout = 60 * NSEC_PER_SEC;
        f->config.streaming.token_timeout = 60 * NSEC_PER_SEC;
        f->config.streaming.uid = f->config.streaming.gid = 65534;
        return 0;
}

/* Root, an agent with a pod, and tokens that live so long. */
static void begin(struct flow *f, int64_t life, id_text pod)
{
        if (geteuid() != 0)
                skip();
        f->config.streaming.token_timeout = life;
        assert_ok(flow_start(f, NULL, &flow_err), &flow_err);
        must_run(f, "web", pod);
}

/* The URL's port and path. */
struct place {
        uint16_t port;
        char path[200];
};

static struct place place_of(const char *url)
{
        struct place p;
        unsigned port;

        assert_int_equal(sscanf(url, "http://127.0.0.1:%u%199s", &port, p.path), 2);
        p.port = (uint16_t) port;
        return p;
}

static struct place forward_url(struct flow *f, const char *pod)
{
        Cri__PortForwardRequest request = CRI__PORT_FORWARD_REQUEST__INIT;
        Cri__PortForwardResponse *reply;
        struct place p;

        request.pod_sandbox_id = (char *) pod;
        assert_code(0, ask(f, "PortForward", &request, &reply));
        p = place_of(reply->url);
        reply_free(reply);
        return p;
}

static int dial(struct place p)
{
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(p.port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(connect(fd, (struct sockaddr *) &to, sizeof to), 0);
        return fd;
}

static void request(int fd, const char *path, const char *headers)
{
        auto_free char *text = str_printf(NULL, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, headers);

        send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* What comes until there is a whole head, or with @to_end the end; its status.  0: neither came. */
static int answer(int fd, bool to_end, struct buf *b)
{
        struct pollfd ready = { fd, POLLIN, 0 };
        char bytes[4096];
        ssize_t n;

        buf_clear(b);
        while (to_end || !b->data || !strstr(b->data, "\r\n\r\n")) {
                if (poll(&ready, 1, PATIENCE) != 1)
                        return 0;
                n = recv(fd, bytes, sizeof bytes, 0);
                if (n <= 0)
                        break;
                buf_add(b, bytes, (size_t) n, NULL);
        }
        return b->data && strncmp(b->data, "HTTP/1.1 ", 9) == 0 ? atoi(b->data + 9) : 0;
}

static int ask_for(struct place p, const char *headers)
{
        auto_buf b = BUF_INIT;
        auto_fd int fd = dial(p);

        request(fd, p.path, headers);
        return answer(fd, false, &b);
}

static void a_token_is_good_once(void **state)
{
        struct flow *f = *state;
        auto_buf b = BUF_INIT;
        auto_fd int first = -1;
        struct place p;
        id_text pod;

        begin(f, 60 * NSEC_PER_SEC, pod);
        p = forward_url(f, pod);
        first = dial(p);
        request(first, p.path, FORWARD);
        assert_int_equal(answer(first, false, &b), 101);
        assert_int_equal(ask_for(p, FORWARD), 404);             /* while it is used ... */
        close(steal_fd(&first));
        assert_int_equal(ask_for(p, FORWARD), 404);             /* ... and afterwards */

        p = forward_url(f, pod);                                /* what failed has used it up, too */
        assert_int_equal(ask_for(p, ""), 400);
        assert_int_equal(ask_for(p, FORWARD), 404);
        remove_all(f);
}

static void a_token_is_good_for_a_time(void **state)
{
        struct flow *f = *state;
        struct place late;
        id_text pod;

        begin(f, NSEC_PER_SEC, pod);
        late = forward_url(f, pod);
        usleep(1100000);
        assert_int_equal(ask_for(late, FORWARD), 404);
        remove_all(f);
}

static void a_token_is_good_for_what_it_was_given_for(void **state)
{
        struct flow *f = *state;
        struct place p, other;
        id_text pod;

        begin(f, 60 * NSEC_PER_SEC, pod);
        p = other = forward_url(f, pod);
        snprintf(other.path, sizeof other.path, "/attach/%s", strrchr(p.path, '/') + 1);
        assert_int_equal(ask_for(other, "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"),
                         404);
        assert_int_equal(ask_for(p, FORWARD), 101);
        remove_all(f);
}

/*
 * Late: with a token that is good, and used up by now.  A second request on the connection, which
 * somebody in between might pass on as part of what he has checked, is heard by nobody.
 */
static void an_upgrade_that_fails_ends_the_connection(void **state)
{
        static const struct {
                const char *headers;
                int status;
        } late[] = {
                { "", 400 },
                { "Connection: Upgrade\r\nUpgrade: h2c\r\n", 400 },
                { "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n", 400 },
                { "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9.channel.k8s.io\r\n", 403 },
                { "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", 405 },
        };
        struct flow *f = *state;
        id_text pod;

        begin(f, 60 * NSEC_PER_SEC, pod);
        for (size_t i = 0; i < sizeof late / sizeof *late; i++) {
                struct place p = forward_url(f, pod), good = forward_url(f, pod);
                auto_buf b = BUF_INIT;
                auto_fd int fd = dial(p);

                request(fd, p.path, late[i].headers);
                request(fd, good.path, FORWARD);
                assert_int_equal(answer(fd, true, &b), late[i].status);
                assert_null(strstr(b.data + 1, "HTTP/1.1"));
                assert_null(strstr(b.data, "Location"));
                assert_int_equal(ask_for(good, FORWARD), 101);  /* its token is as it was */
        }
        remove_all(f);
}

/* Whatever is asked for, the answer sends nobody elsewhere. */
static void nobody_is_sent_elsewhere(void **state)
{
        static const char *const paths[] = { "/", "//x.test/", "/portforward", "/portforward/", "/exec/../portforward/", "/exec//x",
                                             "http://x.test/", "/portforward/%2e%2e/", "*" };
        struct flow *f = *state;
        struct place p;
        id_text pod;

        begin(f, 60 * NSEC_PER_SEC, pod);
        p = forward_url(f, pod);
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
                auto_buf b = BUF_INIT;
                auto_fd int fd = dial(p);

                request(fd, paths[i], FORWARD);
                assert_in_range(answer(fd, true, &b), 400, 499);
                assert_null(strstr(b.data, "Location"));
        }
        remove_all(f);
}

#define STREAMING(name) cmocka_unit_test_setup_teardown(name, setup, flow_teardown)

UNIT_MAIN(
        STREAMING(a_token_is_good_once),
        STREAMING(a_token_is_good_for_a_time),
        STREAMING(a_token_is_good_for_what_it_was_given_for),
        STREAMING(an_upgrade_that_fails_ends_the_connection),
        STREAMING(nobody_is_sent_elsewhere))
