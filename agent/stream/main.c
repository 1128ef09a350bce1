/*
 * cringle-stream: what kubectl exec, attach and port-forward talk to
 *
 * Started by the agent, one per node, and confined before it takes the first connection.  It knows no pods: what a
 * token is good for the agent says, and the fds come from there.  Without its agent it serves the sessions
 * that it has to their end, takes no new ones, and goes with the last.
 *
 *      cringle-stream check ADDRESS [CERTIFICATE KEY]
 *
 * tells whether it could serve with these, for the agent's start and for `cringle config check`.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "agent/base/log.h"
#include "agent/base/sock.h"
#include "agent/stream/stream.h"

#define OWN_FDS 64                      /* not for clients */
#define PEM_MAX (1 << 20)

/* --- the agent ---------------------------------------------------------------- */

static void orphan(struct server *s)
{
        loop_watch_stop(s->control_watch);
        s->control_watch = NULL;
        s->control = fd_close(s->control);
        buf_done(&s->unsent);
        loop_watch_stop(s->listen_watch);
        s->listen_watch = NULL;
        s->listener = fd_close(s->listener);
        for (struct client *c = s->clients, *next; c; c = next) {
                next = c->next;
                if (c->phase == PHASE_OPEN)
                        c->ops->orphaned(c);
                else if (c->phase < PHASE_OPEN)
                        client_close(c);
        }
        server_listen(s);
}

static void send_rest(struct server *s)
{
        const size_t size = sizeof(struct stream_message);

        while (s->unsent.len >= size) {
                ssize_t n = send(s->control, s->unsent.data, size, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)              /* EAGAIN: later; all else: the reader finds out */
                        break;
                buf_drop(&s->unsent, size);
        }
        loop_watch_change(s->control_watch, UV_READABLE | (s->unsent.len > 0 ? UV_WRITABLE : 0));
}

void control_send(struct server *s, const struct stream_message *m)
{
        struct stream_message copy = *m;

        if (s->control < 0)
                return;
        copy.version = STREAM_VERSION;
        if (buf_add(&s->unsent, &copy, sizeof copy, NULL) == 0)
                send_rest(s);
}

/* --- certificates ------------------------------------------------------------- */

static BIO *pem_of(int fd)
{
        struct stat st;
        auto_free char *text = NULL;
        BIO *bio = NULL;

        if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > PEM_MAX)
                return NULL;
        text = malloc((size_t) st.st_size);
        if (text && pread(fd, text, (size_t) st.st_size, 0) == st.st_size) {
                bio = BIO_new(BIO_s_mem());
                if (bio)
                        BIO_write(bio, text, (int) st.st_size);
        }
        if (text)
                explicit_bzero(text, (size_t) st.st_size);
        return bio;
}

static int use_certificates(SSL_CTX *tls, BIO *certificates)
{
        X509 *x = PEM_read_bio_X509(certificates, NULL, NULL, NULL);
        int ok = x && SSL_CTX_use_certificate(tls, x) == 1;

        X509_free(x);
        while (ok && (x = PEM_read_bio_X509(certificates, NULL, NULL, NULL)))
                if (SSL_CTX_add0_chain_cert(tls, x) != 1) {
                        X509_free(x);
                        ok = 0;
                }
        return ok;
}

/* A key with a passphrase is refused, not asked for. */
static int no_passphrase(char *text, int size, int writing, void *data)
{
        return -1;
}

/* *ret is the caller's. */
static int open_tls(int certificate_fd, int key_fd, SSL_CTX **ret, struct cringle_err *err)
{
        SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
        BIO *certificates = pem_of(certificate_fd), *key_text = pem_of(key_fd);
        EVP_PKEY *key = key_text ? PEM_read_bio_PrivateKey(key_text, NULL, no_passphrase, NULL) : NULL;
        const char *wrong = NULL;

        if (!tls || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1)
                wrong = "TLS does not work";
        else if (!certificates || !use_certificates(tls, certificates))
                wrong = "the file of streaming.tls_cert has no certificate that can be read";
        else if (!key || SSL_CTX_use_PrivateKey(tls, key) != 1 || SSL_CTX_check_private_key(tls) != 1)
                wrong = "the file of streaming.tls_key has no key that can be read, or that fits streaming.tls_cert";
        else if (X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(tls))) < 0)
                log_warning("the certificate of streaming.tls_cert has expired");
        EVP_PKEY_free(key);
        BIO_free(certificates);
        BIO_free(key_text);
        if (wrong) {
                SSL_CTX_free(tls);
                return err_set(err, CRINGLE_E_INVALID, "%s", wrong);
        }
        SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        *ret = tls;
        return 0;
}

/* Of the setup, or of a certificate that came later. */
static void tell_ready(struct server *s, const struct cringle_err *failure)
{
        struct stream_message m = { .type = failure ? STREAM_FAILED : STREAM_READY };

        if (failure) {
                m.code = failure->code;
                snprintf(m.text, sizeof m.text, "%s", failure->text);
        }
        control_send(s, &m);
}

/* For clients from now on; those that are there keep what they have. */
static void renew_certificate(struct server *s, int *fds, size_t n_fds)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        SSL_CTX *tls = NULL;
        int r = -1;

        if (n_fds != 2 || !s->tls)
                err_set(&err, CRINGLE_E_INVALID, "a certificate that was not asked for");
        else
                r = open_tls(fds[0], fds[1], &tls, &err);
        if (r == 0) {
                SSL_CTX_free(s->tls);
                s->tls = tls;
        }
        tell_ready(s, r < 0 ? &err : NULL);
        for (size_t i = 0; i < n_fds; i++)
                fd_close(fds[i]);
}


/* --- the agent: what it says -------------------------------------------------- */

static void on_control(int fd, int events, void *data)
{
        struct server *s = data;
        struct stream_message m;
        struct cringle_err err = CRINGLE_ERR_INIT;
        int fds[SOCK_FDS_MAX];
        size_t n = 0, n_fds = SOCK_FDS_MAX;

        if (events & UV_WRITABLE && s->unsent.len > 0)
                send_rest(s);
        if (!(events & UV_READABLE))
                return;
        memset(&m, 0, sizeof m);
        if (sock_recv(fd, &m, sizeof m, &n, fds, &n_fds, &err) < 0) {
                if (errno != EAGAIN)
                        log_warning("a message of the agent's: %s", err.text);
                return;
        }
        if (n == 0) {
                orphan(s);
                return;
        }
        m.text[sizeof m.text - 1] = '\0';
        if (m.type == STREAM_CERTIFICATE)
                renew_certificate(s, fds, n_fds);
        else
                client_answer(s, &m, fds, n_fds);
}

/* --- clients -------------------------------------------------------------------- */

static void on_client(int listener, int events, void *data)
{
        struct server *s = data;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
                if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                        log_warning("accept: %s", strerror(errno));
                return;
        }
        client_new(s, fd);
        server_listen(s);
}

void server_listen(struct server *s)
{
        bool want = s->listener >= 0 && s->n_fds < s->max_fds;

        if (s->control < 0 && !s->clients)
                loop_stop(s->loop);
        if (!s->listen_watch || want == s->listening)
                return;
        s->listening = want;
        loop_watch_change(s->listen_watch, want ? UV_READABLE : 0);
}

/* --- start ------------------------------------------------------------------------ */

static int set_up(struct server *s, struct cringle_err *err)
{
        struct stream_message m = { 0 };
        struct rlimit files;
        int fds[3] = { -1, -1, -1 };
        size_t n, n_fds = 3;

        if (sock_recv(STREAM_CONTROL_FD, &m, sizeof m, &n, fds, &n_fds, err) < 0)
                return -1;
        if (n < sizeof m || m.version != STREAM_VERSION || m.type != STREAM_SETUP ||
            n_fds != (m.flags & STREAM_TLS ? 3u : 1u))
                return err_set(err, CRINGLE_E_INVALID, "the agent is of another version");
        s->listener = fds[0];
        s->control = STREAM_CONTROL_FD;
        s->pages = m.flags & STREAM_PAGES;
        s->idle = m.idle;
        s->creation = m.creation;
        if (fcntl(s->control, F_SETFL, O_NONBLOCK) < 0 || fcntl(s->listener, F_SETFL, O_NONBLOCK) < 0)
                return err_sys(err, "set an fd non-blocking");
        s->control_watch = loop_watch(s->loop, s->control, UV_READABLE, on_control, s, err);
        if (!s->control_watch)
                return -1;
        if (m.flags & STREAM_TLS && open_tls(fds[1], fds[2], &s->tls, err) < 0)
                return -1;
        fd_close(fds[1]);
        fd_close(fds[2]);

        if (getrlimit(RLIMIT_NOFILE, &files) < 0)
                return err_sys(err, "read the limit of open files");
        files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur < 2 * OWN_FDS)
                return err_sys(err, "limit open files");
        s->max_fds = files.rlim_cur - OWN_FDS;
        s->listen_watch = loop_watch(s->loop, s->listener, UV_READABLE, on_client, s, err);
        if (!s->listen_watch)
                return -1;
        s->listening = true;
        return confine_stream(m.uid, m.gid, err);
}

static int open_pem(const char *path, struct cringle_err *err)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        return fd < 0 ? err_sys(err, "open %s", path) : fd;
}

static int check(char **argv, size_t n, struct cringle_err *err)
{
        unsigned char address[sizeof(struct in6_addr)];
        auto_fd int certificate = -1, key = -1;
        SSL_CTX *tls = NULL;

        if (inet_pton(AF_INET, argv[0], address) != 1 && inet_pton(AF_INET6, argv[0], address) != 1)
                return err_set(err, CRINGLE_E_INVALID, "streaming.address: '%s' is no IP address", argv[0]);
        if (n == 1)
                return 0;
        if ((certificate = open_pem(argv[1], err)) < 0 || (key = open_pem(argv[2], err)) < 0 ||
            open_tls(certificate, key, &tls, err) < 0)
                return -1;
        SSL_CTX_free(tls);
        return 0;
}

static int serve(struct server *s, struct cringle_err *err)
{
        if (loop_new(&s->loop, err) < 0)
                return -1;
        if (set_up(s, err) < 0) {
                if (s->control >= 0 && s->control_watch)
                        tell_ready(s, err);
                return -1;
        }
        tell_ready(s, NULL);
        loop_run(s->loop);
        return 0;
}

int main(int argc, char **argv)
{
        struct server s = { .listener = -1, .control = -1 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        bool checks = argc > 1 && strcmp(argv[1], "check") == 0;

        if (argc > 1 && !(checks && (argc == 3 || argc == 5))) {
                fprintf(stderr, "usage: cringle-stream check ADDRESS [CERTIFICATE KEY]; otherwise it is started by cringled\n");
                return 2;
        }
        signal(SIGPIPE, SIG_IGN);
        if ((checks ? check(argv + 2, (size_t) argc - 2, &err) : serve(&s, &err)) == 0)
                return EXIT_SUCCESS;
        if (checks)
                fprintf(stderr, "%s\n", err.text);
        else
                log_error("cringle-stream: %s", err.text);
        return EXIT_FAILURE;
}
