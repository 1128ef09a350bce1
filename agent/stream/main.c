/*
 * cringle-stream: what kubectl exec, attach and port-forward talk to
 *
 * Started by the agent, one per node, and confined before it takes the first connection.  It knows no pods: what a
 * token is good for the agent says, and the fds come from there.  Without its agent it serves the sessions
 * that it has to their end, takes no new ones, and goes with the last.
 */

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

static int set_up_tls(struct server *s, int certificate_fd, int key_fd, struct cringle_err *err)
{
        BIO *certificates = pem_of(certificate_fd), *key_text = pem_of(key_fd);
        EVP_PKEY *key = key_text ? PEM_read_bio_PrivateKey(key_text, NULL, NULL, NULL) : NULL;
        int ok;

        s->tls = SSL_CTX_new(TLS_server_method());
        ok = s->tls && certificates && key && SSL_CTX_set_min_proto_version(s->tls, TLS1_2_VERSION) == 1 &&
             use_certificates(s->tls, certificates) && SSL_CTX_use_PrivateKey(s->tls, key) == 1 &&
             SSL_CTX_check_private_key(s->tls) == 1;
        if (ok)
                SSL_CTX_set_options(s->tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        EVP_PKEY_free(key);
        BIO_free(certificates);
        BIO_free(key_text);
        return ok ? 0 : err_set(err, CRINGLE_E_INVALID, "the TLS certificate and key are of no use");
}

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
        if (m.flags & STREAM_TLS && set_up_tls(s, fds[1], fds[2], err) < 0)
                return -1;
        fd_close(fds[1]);
        fd_close(fds[2]);

        if (getrlimit(RLIMIT_NOFILE, &files) < 0)
                return err_sys(err, "read the limit of open files");
        files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur < 2 * OWN_FDS)
                return err_sys(err, "limit open files");
        s->max_fds = files.rlim_cur - OWN_FDS;
        if (fcntl(s->control, F_SETFL, O_NONBLOCK) < 0 || fcntl(s->listener, F_SETFL, O_NONBLOCK) < 0)
                return err_sys(err, "set an fd non-blocking");

        s->control_watch = loop_watch(s->loop, s->control, UV_READABLE, on_control, s, err);
        s->listen_watch = s->control_watch ? loop_watch(s->loop, s->listener, UV_READABLE, on_client, s, err) : NULL;
        if (!s->listen_watch)
                return -1;
        s->listening = true;
        return confine_stream(m.uid, m.gid, err);
}

int main(void)
{
        struct server s = { .listener = -1, .control = -1 };
        struct cringle_err err = CRINGLE_ERR_INIT;

        signal(SIGPIPE, SIG_IGN);
        if (loop_new(&s.loop, &err) < 0 || set_up(&s, &err) < 0) {
                log_error("cringle-stream: %s", err.text);
                return EXIT_FAILURE;
        }
        loop_run(s.loop);
        return EXIT_SUCCESS;
}
