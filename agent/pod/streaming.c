/*
 * Exec, Attach and PortForward: the agent's half
 *
 * Such a request comes to a URL with a token; what is to be done is kept here under the token.  cringle-stream
 * brings the token back when a client comes with it, and gets fds: the bytes do not pass
 * through the agent.  It is started when it is first needed, and again when it dies; the socket is the
 * agent's, so that URLs that are out stay good.  The port is taken and the certificate looked at when the agent
 * starts, so that what is wrong with them is said then.  A new certificate is noticed before the next URL goes out.
 *
 * All of this belongs to the loop thread; what blocks is done by a worker on a copy, in a struct job.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/dial.h"
#include "agent/base/guard.h"
#include "agent/base/helper.h"
#include "agent/base/log.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"
#include "agent/wire/stream.h"

#define TOKENS_MAX 1000
#define START_LIMIT (60 * NSEC_PER_SEC)
#define DIAL_LIMIT (10 * NSEC_PER_SEC)
#define CHECK_LIMIT (10 * NSEC_PER_SEC)
#define RETRY_AFTER (5 * NSEC_PER_SEC)  /* when cringle-stream could not start */

/* From the token to the end of what it started. */
struct session {
        struct session *next;
        char token[STREAM_TOKEN_LEN + 1];
        int64_t expires;
        uint64_t client;                /* of cringle-stream's; 0: the token is still out */
        uint32_t kind, flags;
        char pod[ID_LEN + 1], container[ID_LEN + 1];
        char exec[ID_LEN + 1];          /* empty: not started */
        bool exited;
        char **argv;
        char *netns;                    /* NULL: the host's */
        uint16_t ports[STREAM_PORTS_MAX];
        uint32_t n_ports;
        bool resizing, resize_again;
        uint16_t columns, rows;
};

/* What a file was when it was read. */
struct seen {
        dev_t dev;
        ino_t ino;
        off_t size;
        struct timespec changed;
};

struct streaming {
        struct pods *pods;
        char *program, *address, *certificate, *key;
        struct seen seen[2];            /* of these two */
        int64_t port, idle, creation, token_life;
        uint32_t uid, gid;
        int listener;                   /* -1: the port could not be had */
        bool ready;                     /* it has said so */
        bool refused;                   /* it has no use for the certificate that it would start with */
        int64_t retry;                  /* not to be started before that */
        char *trouble;                  /* NULL: none that is known */
        char *url;                      /* without the path */
        struct helper helper;           /* cringle-stream */
        struct loop_watch *watch;
        uint32_t incarnation;           /* of the child */
        struct session *sessions;
        size_t n_tokens;
};

enum job_kind { JOB_START, JOB_DIAL, JOB_RESIZE, JOB_KILL };

struct job {
        struct streaming *s;
        enum job_kind kind;
        uint32_t incarnation;
        uint64_t client;
        uint32_t session_kind, flags, number;
        char pod[ID_LEN + 1], container[ID_LEN + 1], exec[ID_LEN + 1];
        char **argv;
        char *netns;
        uint16_t port, columns, rows;
        int fds[3];                     /* for cringle-stream */
        size_t n_fds;
        bool failed;
        struct cringle_err err;
};

static void session_free(struct session *x)
{
        strv_free(x->argv);
        free(x->netns);
        free(x);
}

static void job_free(struct job *j)
{
        for (size_t i = 0; i < j->n_fds; i++)
                close(j->fds[i]);
        strv_free(j->argv);
        free(j->netns);
        free(j);
}

int streaming_new(struct pods *pods, const struct config *config, struct streaming **ret, struct cringle_err *err)
{
        struct streaming *s = calloc(1, sizeof *s);

        if (!s)
                return err_oom(err);
        *s = (struct streaming) {
                .pods = pods, .port = config->streaming.port, .idle = config->streaming.idle_timeout,
                .creation = config->streaming.creation_timeout,
                .token_life = config->streaming.token_timeout, .uid = config->streaming.uid,
                .gid = config->streaming.gid, .listener = -1, .helper = HELPER_INIT,
        };
        /* A configuration put together by hand may leave them out. */
        s->program = strdup(config->programs.stream ? config->programs.stream : "");
        s->address = strdup(config->streaming.address ? config->streaming.address : "");
        s->certificate = config->streaming.tls_cert ? strdup(config->streaming.tls_cert) : NULL;
        s->key = config->streaming.tls_key ? strdup(config->streaming.tls_key) : NULL;
        *ret = s;
        if (!s->program || !s->address || (config->streaming.tls_cert && !s->certificate) ||
            (config->streaming.tls_key && !s->key))
                return err_oom(err);
        if (!s->certificate != !s->key)
                return err_set(err, CRINGLE_E_INVALID, "streaming.tls_cert and streaming.tls_key go together");
        return 0;
}

void streaming_free(struct streaming *s)
{
        if (!s)
                return;
        loop_watch_stop(s->watch);
        helper_end(&s->helper);
        fd_close(s->listener);
        while (s->sessions) {
                struct session *next = s->sessions->next;

                session_free(s->sessions);
                s->sessions = next;
        }
        free(s->program);
        free(s->address);
        free(s->certificate);
        free(s->key);
        free(s->url);
        free(s->trouble);
        free(s);
}

/* For the log now, and for `cringle status` until it is over. */
static void note_trouble(struct streaming *s, const char *text)
{
        log_error("exec, attach and port-forward: %s", text);
        free(s->trouble);
        s->trouble = strdup(text);
}

static void note_well(struct streaming *s)
{
        free(s->trouble);
        s->trouble = NULL;
}

const char *pods_streaming_trouble(const struct pods *pods)
{
        return pods->streaming->trouble;
}

/* --- on workers ------------------------------------------------------------------ */

static int make_pair(bool pipe_only, bool input, int *ret_ours, int *ret_its, struct cringle_err *err)
{
        int fds[2];

        if (pipe_only ? pipe2(fds, O_CLOEXEC) < 0 : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return err_sys(err, "make a pair of fds");
        *ret_ours = fds[input];         /* of a pipe, 1 is written to */
        *ret_its = fds[!input];
        return 0;
}

/* Pipes for an exec, whose process gets them itself; sockets where the monitor stands between. */
static int run_session(struct job *j, struct cringle_err *err)
{
        const struct host_executor *executor = &j->s->pods->executor;
        struct cringle_call call = call_within(NULL, START_LIMIT);
        bool exec = j->session_kind == STREAM_EXEC, tty = exec && j->flags & STREAM_TTY;
        int its[3] = { -1, -1, -1 };
        int r = 0;

        for (int i = 0; r == 0 && i < (tty ? 1 : 3); i++) {
                int ours = -1;

                if (!tty && !(j->flags & (uint32_t) STREAM_STDIN << i))
                        continue;
                r = make_pair(exec && !tty, i == 0, &ours, &its[i], err);
                if (r == 0)
                        j->fds[j->n_fds++] = ours;
        }
        if (r == 0 && exec) {
                struct cringle_exec request = {
                        .size = sizeof request, .pod = j->pod, .container = j->container, .id = j->exec,
                        .argv = (const char *const *) j->argv, .tty = tty,
                        .stdin_fd = its[0], .stdout_fd = its[1], .stderr_fd = its[2],
                };

                r = executor->ops->exec(executor->self, &call, &request, err);
        } else if (r == 0) {
                r = executor->ops->attach(executor->self, &call, j->pod, j->container, its[0], its[1], its[2], err);
        }
        for (int i = 0; i < 3; i++)
                fd_close(its[i]);
        j->flags = tty ? STREAM_TTY : j->flags & (STREAM_STDIN | STREAM_STDOUT | STREAM_STDERR);
        return r;
}

static int run_dial(struct job *j, struct cringle_err *err)
{
        auto_fd int netns = j->netns ? open(j->netns, O_RDONLY | O_CLOEXEC) : -1;

        if (j->netns && netns < 0)
                return err_sys(err, "open the pod's network");
        j->fds[0] = dial_loopback(netns, j->port, DIAL_LIMIT, err);
        j->n_fds = j->fds[0] >= 0;
        return j->fds[0] >= 0 ? 0 : -1;
}

static void job_done(void *data);

static void run_job(void *data)
{
        struct job *j = data;
        const struct host_executor *executor = &j->s->pods->executor;
        struct cringle_call call = call_within(NULL, START_LIMIT);
        int r = 0;

        switch (j->kind) {
        case JOB_START:
                r = run_session(j, &j->err);
                break;
        case JOB_DIAL:
                r = run_dial(j, &j->err);
                break;
        case JOB_RESIZE:
                r = executor->ops->resize(executor->self, &call, j->pod, j->container, *j->exec ? j->exec : NULL,
                                          j->columns, j->rows, &j->err);
                break;
        case JOB_KILL:
                r = executor->ops->kill_exec(executor->self, &call, j->pod, j->exec, &j->err);
                break;
        }
        j->failed = r < 0;
        loop_post(j->s->pods->loop, job_done, j);
}

/* --- cringle-stream ------------------------------------------------------------------ */

static int ensure(struct streaming *s, struct cringle_err *err);
static void lost(struct streaming *s, const char *why);

static void tell(struct streaming *s, struct stream_message *m, const int *fds, size_t n_fds)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (s->helper.control < 0)
                return;
        m->version = STREAM_VERSION;
        if (sock_send(s->helper.control, m, sizeof *m, fds, n_fds, &err) < 0)
                lost(s, err.text);      /* also when it does not read: a stuck one is replaced */
}

static void tell_failure(struct streaming *s, uint64_t client, uint32_t number, const struct cringle_err *err)
{
        struct stream_message m = { .type = STREAM_FAILED, .client = client, .number = number, .code = err->code };

        snprintf(m.text, sizeof m.text, "%s", err->text);
        tell(s, &m, NULL, 0);
}

static struct session *session_of(struct streaming *s, uint64_t client)
{
        struct session *x = s->sessions;

        while (x && x->client != client)
                x = x->next;
        return x;
}

static struct job *job_new(struct streaming *s, enum job_kind kind, const struct session *x)
{
        struct job *j = calloc(1, sizeof *j);

        if (!j)
                abort();
        j->s = s;
        j->kind = kind;
        j->incarnation = s->incarnation;
        j->client = x->client;
        j->session_kind = x->kind;
        j->flags = x->flags;
        j->err = (struct cringle_err) CRINGLE_ERR_INIT;
        memcpy(j->pod, x->pod, sizeof j->pod);
        memcpy(j->container, x->container, sizeof j->container);
        memcpy(j->exec, x->exec, sizeof j->exec);
        return j;
}

/* The client is gone: so is what it ran. */
static void session_end(struct streaming *s, struct session *x)
{
        for (struct session **at = &s->sessions; *at; at = &(*at)->next)
                if (*at == x) {
                        *at = x->next;
                        break;
                }
        if (*x->exec && !x->exited)
                workers_run(s->pods->workers, run_job, job_new(s, JOB_KILL, x));
        session_free(x);
}

static void lost(struct streaming *s, const char *why)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (s->helper.control < 0)
                return;
        log_warning("cringle-stream ended: %s", why);
        if (!s->ready) {
                s->retry = clock_monotonic() + RETRY_AFTER;
                if (!s->trouble)
                        note_trouble(s, "cringle-stream ends when it is started");
        }
        loop_watch_stop(s->watch);
        s->watch = NULL;
        helper_end(&s->helper);
        for (struct session *x = s->sessions, *next; x; x = next) {
                next = x->next;
                if (x->client)
                        session_end(s, x);
        }
        if (s->n_tokens > 0 && ensure(s, &err) < 0)
                log_warning("the URLs that are out lead nowhere: %s", err.text);
}

static void send_size(struct streaming *s, struct session *x)
{
        struct job *j;

        if (x->resizing) {
                x->resize_again = true;
                return;
        }
        x->resizing = true;
        x->resize_again = false;
        j = job_new(s, JOB_RESIZE, x);
        j->columns = x->columns;
        j->rows = x->rows;
        workers_run(s->pods->workers, run_job, j);
}

static void job_done(void *data)
{
        struct job *j = data;
        struct streaming *s = j->s;
        struct session *x = j->incarnation == s->incarnation ? session_of(s, j->client) : NULL;
        struct stream_message m = { .client = j->client, .number = j->number, .flags = j->flags };

        if (j->kind == JOB_KILL && j->failed) {
                log_warning("end the exec of a client that left: %s", j->err.text);
        } else if (j->kind == JOB_RESIZE && x) {
                x->resizing = false;
                if (x->resize_again)
                        send_size(s, x);
        } else if (j->kind == JOB_START || j->kind == JOB_DIAL) {
                m.type = j->kind == JOB_DIAL ? STREAM_DIALED : STREAM_STARTED;
                if (!x && j->kind == JOB_START && *j->exec && !j->failed) {
                        /* The client went while it was started; its end was too early to kill it. */
                        j->kind = JOB_KILL;
                        workers_run(s->pods->workers, run_job, j);
                        return;
                }
                if (x && j->failed)
                        tell_failure(s, j->client, j->number, &j->err);
                else if (x)
                        tell(s, &m, j->fds, j->n_fds);
        }
        job_free(j);
}

/* Every token is compared, each to its end: the time tells nothing. */
static struct session *claim(struct streaming *s, const char *token, uint32_t kind)
{
        struct session *found = NULL;
        int64_t now = clock_monotonic();

        for (struct session *x = s->sessions; x; x = x->next) {
                unsigned char differ = 0;

                if (GUARD(token_once) && x->client)
                        continue;
                for (size_t i = 0; i < STREAM_TOKEN_LEN; i++)
                        differ |= (unsigned char) (x->token[i] ^ token[i]);
                if (!differ && (!GUARD(token_kind) || x->kind == kind) && (!GUARD(token_expiry) || x->expires > now))
                        found = x;
        }
        return found;
}

static void take_claim(struct streaming *s, const struct stream_message *m)
{
        struct session *x = claim(s, m->text, m->kind);
        struct stream_message answer = { .type = STREAM_CLAIMED, .client = m->client };
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (!x || m->client == 0 || session_of(s, m->client)) {
                err_set(&err, CRINGLE_E_NOT_FOUND, "not found");
                tell_failure(s, m->client, 0, &err);
                return;
        }
        x->client = m->client;
        s->n_tokens--;
        answer.flags = x->flags;
        answer.n_ports = x->n_ports;
        memcpy(answer.ports, x->ports, sizeof answer.ports);
        tell(s, &answer, NULL, 0);
}

static void take_start(struct streaming *s, struct session *x)
{
        struct job *j;

        if (x->kind == STREAM_FORWARD || !x->argv != (x->kind == STREAM_ATTACH) || *x->exec)
                return;
        if (x->kind == STREAM_EXEC)
                id_make(x->exec);
        j = job_new(s, JOB_START, x);
        j->argv = steal(&x->argv);
        workers_run(s->pods->workers, run_job, j);
}

static void take_dial(struct streaming *s, struct session *x, const struct stream_message *m)
{
        struct job *j;

        if (x->kind != STREAM_FORWARD || m->ports[0] == 0)
                return;
        j = job_new(s, JOB_DIAL, x);
        j->number = m->number;
        j->port = m->ports[0];
        j->netns = x->netns ? strdup(x->netns) : NULL;
        if (x->netns && !j->netns)
                abort();
        workers_run(s->pods->workers, run_job, j);
}

static void on_control(int fd, int events, void *data)
{
        struct streaming *s = data;
        struct stream_message m = { 0 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct session *x;
        size_t n = 0;

        if (sock_recv(fd, &m, sizeof m, &n, NULL, NULL, &err) < 0) {
                if (errno != EAGAIN)
                        lost(s, err.text);
                return;
        }
        if (n < sizeof m || m.version != STREAM_VERSION) {
                lost(s, n == 0 ? "it has gone" : "it speaks another version");
                return;
        }
        m.text[sizeof m.text - 1] = '\0';
        x = m.client ? session_of(s, m.client) : NULL;
        if (m.type == STREAM_READY) {
                if (s->ready)
                        log_info("streaming.tls_cert is new, and in use");
                s->ready = true;
                note_well(s);
        } else if (m.type == STREAM_FAILED) {
                s->refused = !s->ready;
                note_trouble(s, m.text);
        } else if (m.type == STREAM_CLAIM) {
                take_claim(s, &m);
        } else if (x && m.type == STREAM_START) {
                take_start(s, x);
        } else if (x && m.type == STREAM_DIAL) {
                take_dial(s, x, &m);
        } else if (x && m.type == STREAM_RESIZE && x->flags & STREAM_TTY) {
                x->columns = m.columns;
                x->rows = m.rows;
                send_size(s, x);
        } else if (x && m.type == STREAM_END) {
                session_end(s, x);
        }
}

/* The address in a URL: who listens everywhere is reached on loopback. */
static int make_url(struct streaming *s, const struct sockaddr_storage *address, struct cringle_err *err)
{
        char text[INET6_ADDRSTRLEN];
        const struct sockaddr_in *v4 = (const void *) address;
        const struct sockaddr_in6 *v6 = (const void *) address;
        const char *scheme = s->certificate ? "https" : "http";

        if (address->ss_family == AF_INET) {
                inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
                s->url = str_printf(err, "%s://%s:%u", scheme, v4->sin_addr.s_addr == INADDR_ANY ? "127.0.0.1" : text,
                                    ntohs(v4->sin_port));
        } else {
                inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
                s->url = str_printf(err, "%s://[%s]:%u", scheme, IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) ? "::1" : text,
                                    ntohs(v6->sin6_port));
        }
        return s->url ? 0 : -1;
}

static int open_listener(struct streaming *s, struct cringle_err *err)
{
        struct sockaddr_storage address;
        auto_fd int fd = sock_listen_ip(s->address, (uint16_t) s->port, &address, err);

        if (fd < 0)
                return err_wrap(err, "streaming.address");
        if (make_url(s, &address, err) < 0)
                return -1;
        s->listener = steal_fd(&fd);
        return 0;
}

/* Whether certificate or key are others than before. */
static bool look_at_files(struct streaming *s)
{
        const char *const paths[2] = { s->certificate, s->key };
        bool changed = false;

        for (size_t i = 0; s->certificate && i < 2; i++) {
                struct stat st = { 0 };
                struct seen *seen = &s->seen[i];

                stat(paths[i], &st);            /* one that is not there is a change, too */
                changed = changed || seen->dev != st.st_dev || seen->ino != st.st_ino || seen->size != st.st_size ||
                          seen->changed.tv_sec != st.st_mtim.tv_sec || seen->changed.tv_nsec != st.st_mtim.tv_nsec;
                *seen = (struct seen) { st.st_dev, st.st_ino, st.st_size, st.st_mtim };
        }
        return changed;
}

static int open_files(struct streaming *s, int *ret_certificate, int *ret_key, struct cringle_err *err)
{
        auto_fd int certificate = open(s->certificate, O_RDONLY | O_CLOEXEC), key = -1;

        if (certificate < 0)
                return err_sys(err, "open %s", s->certificate);
        key = open(s->key, O_RDONLY | O_CLOEXEC);
        if (key < 0)
                return err_sys(err, "open %s", s->key);
        *ret_certificate = steal_fd(&certificate);
        *ret_key = steal_fd(&key);
        return 0;
}

static void send_certificate(struct streaming *s)
{
        struct stream_message m = { .type = STREAM_CERTIFICATE };
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_fd int certificate = -1, key = -1;

        if (open_files(s, &certificate, &key, &err) < 0)
                note_trouble(s, err.text);
        else
                tell(s, &m, (int[]) { certificate, key }, 2);
}

static int spawn(struct streaming *s, struct cringle_err *err)
{
        auto_fd int certificate = -1, key = -1;
        struct stream_message m = {
                .version = STREAM_VERSION, .type = STREAM_SETUP, .flags = s->certificate ? STREAM_TLS : 0,
                .uid = s->uid, .gid = s->gid, .idle = s->idle, .creation = s->creation,
        };

        if (s->certificate && open_files(s, &certificate, &key, err) < 0)
                return -1;
        if (helper_start(s->program, "cringle-stream", STREAM_CONTROL_FD, &m, sizeof m,
                         (int[]) { s->listener, certificate, key }, s->certificate ? 3 : 1, &s->helper, err) < 0)
                return -1;
        s->watch = loop_watch(s->pods->loop, s->helper.control, UV_READABLE, on_control, s, err);
        if (!s->watch) {
                helper_end(&s->helper);
                return -1;
        }
        s->incarnation++;
        s->ready = false;
        return 0;
}

static int ensure(struct streaming *s, struct cringle_err *err)
{
        bool changed = look_at_files(s);

        if (s->helper.control >= 0) {
                if (changed)
                        send_certificate(s);
                return 0;
        }
        if (s->trouble && ((s->refused && !changed) || clock_monotonic() < s->retry))
                return err_set(err, CRINGLE_E_UNAVAILABLE, "streaming: %s", s->trouble);
        s->refused = false;
        if (s->listener < 0 && open_listener(s, err) < 0)
                return err_wrap(err, "streaming");
        note_well(s);
        return spawn(s, err) < 0 ? err_wrap(err, "start cringle-stream") : 0;
}

void streaming_check(struct streaming *s)
{
        const char *const argv[] = { "cringle-stream", "check", s->address, s->certificate, s->key, NULL };
        const struct child_spec spec = { .path = s->program, .argv = argv };
        struct cringle_call call = call_within(NULL, CHECK_LIMIT);
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf output = BUF_INIT, complaint = BUF_INIT;
        int status = 0;

        if (!*s->address)
                return;                 /* a configuration put together by hand, without streams */
        if (open_listener(s, &err) < 0) {
                note_trouble(s, err.text);
                return;
        }
        look_at_files(s);
        if (!s->certificate)
                return;
        if (child_run(&spec, &call, NULL, &output, 1, &complaint, &status, &err) < 0) {
                note_trouble(s, err.text);
        } else if (status != 0) {
                s->refused = WIFEXITED(status);
                if (complaint.len > 0 && complaint.data[complaint.len - 1] == '\n')
                        complaint.data[complaint.len - 1] = '\0';
                note_trouble(s, complaint.len > 0 ? complaint.data : "cringle-stream cannot be run");
        }
}

/* --- tokens ------------------------------------------------------------------------- */

static void token_make(char token[static STREAM_TOKEN_LEN + 1])
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        unsigned char random[17] = { 0 };

        if (getrandom(random, 16, 0) != 16)
                abort();
        for (size_t i = 0; i < STREAM_TOKEN_LEN; i++) {
                size_t bit = i * 6;
                unsigned two = (unsigned) random[bit / 8] << 8 | random[bit / 8 + 1];

                token[i] = digits[two >> (10 - bit % 8) & 63];
        }
        token[STREAM_TOKEN_LEN] = '\0';
}

static void drop_expired(struct streaming *s)
{
        int64_t now = clock_monotonic();

        for (struct session **at = &s->sessions; *at;) {
                struct session *x = *at;

                if (x->client || x->expires > now) {
                        at = &x->next;
                        continue;
                }
                *at = x->next;
                s->n_tokens--;
                session_free(x);
        }
}

/* Takes @x, also on failure. */
static int issue(struct streaming *s, struct session *x, char **ret_url, struct cringle_err *err)
{
        static const char *const names[] = { [STREAM_EXEC] = "exec", [STREAM_ATTACH] = "attach",
                                             [STREAM_FORWARD] = "portforward" };
        char *url;

        drop_expired(s);
        if (s->n_tokens >= TOKENS_MAX) {
                session_free(x);
                return err_set(err, CRINGLE_E_EXHAUSTED, "%d streaming requests wait for their clients", TOKENS_MAX);
        }
        token_make(x->token);
        x->expires = clock_monotonic() + s->token_life;
        url = ensure(s, err) == 0 ? str_printf(err, "%s/%s/%s", s->url, names[x->kind], x->token) : NULL;
        if (!url) {
                session_free(x);
                return -1;
        }
        x->next = s->sessions;
        s->sessions = x;
        s->n_tokens++;
        *ret_url = url;
        return 0;
}

static struct session *session_new(uint32_t kind, const struct pods_stream *how, struct cringle_err *err)
{
        struct session *x = calloc(1, sizeof *x);

        if (!x) {
                err_oom(err);
                return NULL;
        }
        x->kind = kind;
        if (how)
                x->flags = (how->in ? STREAM_STDIN : 0) | (how->out ? STREAM_STDOUT : 0) |
                           (how->err ? STREAM_STDERR : 0) | (how->tty ? STREAM_TTY : 0);
        return x;
}

static int check_streams(const struct pods_stream *how, struct cringle_err *err)
{
        if (!how->in && !how->out && !how->err)
                return err_set(err, CRINGLE_E_INVALID, "one of stdin, stdout and stderr must be set");
        if (how->tty && how->err)
                return err_set(err, CRINGLE_E_INVALID, "a terminal has no stderr of its own");
        return 0;
}

/* Note the names of a container that runs. */
static int find_running(struct pods *pods, const char *id, struct session *x, struct cringle_err *err)
{
        struct container *c;
        int r;

        pthread_mutex_lock(&pods->tasks.lock);
        r = find_container(pods, id, &c, err);
        if (r == 0 && c->status->state != CRI__CONTAINER_STATE__CONTAINER_RUNNING)
                r = err_set(err, CRINGLE_E_PRECONDITION, "container %.12s is not running", c->id);
        if (r == 0) {
                memcpy(x->container, c->id, sizeof x->container);
                memcpy(x->pod, c->pod->id, sizeof x->pod);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

int pods_stream_exec(struct pods *pods, const char *id, char *const *argv, size_t n_argv,
                     const struct pods_stream *how, char **ret_url, struct cringle_err *err)
{
        struct session *x;

        if (check_streams(how, err) < 0)
                return -1;
        if (n_argv == 0)
                return err_set(err, CRINGLE_E_INVALID, "no command");
        x = session_new(STREAM_EXEC, how, err);
        if (!x)
                return -1;
        for (size_t i = 0; i < n_argv; i++)
                if (strv_add(&x->argv, argv[i], err) < 0) {
                        session_free(x);
                        return -1;
                }
        if (find_running(pods, id, x, err) < 0) {
                session_free(x);
                return -1;
        }
        return issue(pods->streaming, x, ret_url, err);
}

int pods_stream_attach(struct pods *pods, const char *id, const struct pods_stream *how, char **ret_url,
                       struct cringle_err *err)
{
        struct session *x;

        if (check_streams(how, err) < 0)
                return -1;
        x = session_new(STREAM_ATTACH, how, err);
        if (!x)
                return -1;
        if (find_running(pods, id, x, err) < 0) {
                session_free(x);
                return -1;
        }
        return issue(pods->streaming, x, ret_url, err);
}

int pods_stream_forward(struct pods *pods, const char *id, const int32_t *ports, size_t n_ports, char **ret_url,
                        struct cringle_err *err)
{
        struct session *x = session_new(STREAM_FORWARD, NULL, err);
        struct pod *pod;
        int r = 0;

        if (!x)
                return -1;
        if (n_ports > STREAM_PORTS_MAX)
                r = err_set(err, CRINGLE_E_INVALID, "more than %d ports", STREAM_PORTS_MAX);
        for (size_t i = 0; r == 0 && i < n_ports; i++) {
                if (ports[i] < 1 || ports[i] > UINT16_MAX)
                        r = err_set(err, CRINGLE_E_INVALID, "port %d is out of range", (int) ports[i]);
                else
                        x->ports[x->n_ports++] = (uint16_t) ports[i];
        }
        pthread_mutex_lock(&pods->tasks.lock);
        if (r == 0)
                r = find_pod(pods, id, &pod, err);
        if (r == 0 && pod->status->state != CRI__POD_SANDBOX_STATE__SANDBOX_READY)
                r = err_set(err, CRINGLE_E_PRECONDITION, "pod %.12s is not ready", pod->id);
        if (r == 0) {
                memcpy(x->pod, pod->id, sizeof x->pod);
                if (!pod_on_host_network(pod)) {
                        x->netns = str_printf(err, "%s/ns/net", pod->run_dir);
                        r = x->netns ? 0 : -1;
                }
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        if (r < 0) {
                session_free(x);
                return -1;
        }
        return issue(pods->streaming, x, ret_url, err);
}

/* --- the executor tells ------------------------------------------------------------------ */

struct news {
        struct streaming *s;
        char exec[ID_LEN + 1], pod[ID_LEN + 1];         /* one of them */
        int32_t code;
};

static void on_news(void *data)
{
        struct news *news = data;
        struct streaming *s = news->s;
        uint32_t incarnation = s->incarnation;
        struct cringle_err err = CRINGLE_ERR_INIT;

        err_set(&err, CRINGLE_E_UNAVAILABLE, "the pod's monitor is gone");
        /* Telling may lose cringle-stream, and all these sessions with it. */
        for (struct session *x = s->sessions, *next; x && s->incarnation == incarnation && s->helper.control >= 0; x = next) {
                struct stream_message m = { .type = STREAM_EXITED, .client = x->client, .code = news->code };

                next = x->next;
                if (!*x->exec || x->exited)
                        continue;
                if (*news->exec && strcmp(x->exec, news->exec) == 0) {
                        x->exited = true;
                        tell(s, &m, NULL, 0);
                        break;
                }
                if (*news->pod && strcmp(x->pod, news->pod) == 0) {
                        x->exited = true;
                        tell_failure(s, x->client, 0, &err);
                }
        }
        free(news);
}

static void post_news(struct pods *pods, const char *exec, const char *pod, int32_t code)
{
        struct news *news = calloc(1, sizeof *news);

        if (!news)
                abort();
        news->s = pods->streaming;
        news->code = code;
        snprintf(news->exec, sizeof news->exec, "%s", exec);
        snprintf(news->pod, sizeof news->pod, "%s", pod);
        loop_post(pods->loop, on_news, news);
}

void streaming_exec_ended(struct pods *pods, const struct cringle_executor_event *event)
{
        post_news(pods, event->exec, "", event->state.exit_code);
}

void streaming_pod_lost(struct pods *pods, const char *pod)
{
        post_news(pods, "", pod, 0);
}
