/*
 * One pull, seen from the agent; see fetch.h.
 *
 * The fetch half answers PULL_LAYER on a socket of that layer's own, so threads do
 * not share anything but the sending end of the control socket, where one message is one system call.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/sha256.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/image/fetch.h"
#include "agent/image/marks.h"
#include "agent/wire/pull.h"

#define PIPE_SIZE (1 << 20)
#define HASH_PART (1 << 20)
#define ENTRIES_MAX 10000000            /* files of one layer */
#define RATIO 200                       /* tar bytes per blob byte ... */
#define RATIO_FROM (UINT64_C(4) << 30)  /* ... beyond 4 GiB */
#define CA_MAX (4 << 20)
#define LAST_WORD (NSEC_PER_SEC / 2)    /* how long one half may take to say that it failed too */

struct fetch {
        const struct config *config;
        struct child half;
        int control;
        int tokens;                     /* an eventfd that counts how many layers may start */
        struct fetch_image image;
        struct marks *marks;            /* of each layer: what needs the parents */
        _Atomic uint64_t progress;
};

struct fetch *fetch_free(struct fetch *f)
{
        if (!f)
                return NULL;

        child_kill(&f->half);
        fd_close(f->half.pidfd);
        fd_close(f->control);
        fd_close(f->tokens);
        for (size_t i = 0; f->marks && i < f->image.n_layers; i++)
                marks_done(f->marks + i);
        free(f->marks);
        free(f->image.config);
        free(f->image.layers);
        free(f);
        return NULL;
}

const struct fetch_image *fetch_image(const struct fetch *f)
{
        return &f->image;
}

uint64_t fetch_progress(const struct fetch *f)
{
        return atomic_load(&f->progress);
}

/* --- messages ---------------------------------------------------------- */

union message {
        struct pull_head head;
        struct pull_failed failed;
        struct pull_progress progress;
        struct pull_unpacked unpacked;
        char bytes[PULL_MESSAGE_MAX];
};

/* 1: a message of @n bytes; 0: the other end is gone. */
static int receive(int fd, union message *m, size_t *n, int *fds, size_t *n_fds, struct cringle_err *err)
{
        if (sock_recv(fd, m, sizeof *m, n, fds, n_fds, err) < 0)
                return err->sys == ECONNRESET ? 0 : -1;
        if (*n == 0)
                return 0;
        if (*n < sizeof m->head || m->head.version != PULL_VERSION)
                return err_set(err, CRINGLE_E_INTERNAL, "cringle-pull speaks another protocol than the agent");
        return 1;
}

/* PULL_FAILED into @err; what does not look like one still is a failure. */
static int take_failure(const union message *m, size_t n, struct cringle_err *err)
{
        char text[sizeof m->failed.text];

        if (n != sizeof m->failed)
                return err_set(err, CRINGLE_E_INTERNAL, "cringle-pull sent a message of the wrong length");
        memcpy(text, m->failed.text, sizeof text);
        text[sizeof text - 1] = '\0';
        for (char *p = text; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        *p = '?';
        err_set(err, m->failed.code > CRINGLE_OK && m->failed.code <= CRINGLE_E_UNAUTHENTICATED
                             ? m->failed.code
                             : CRINGLE_E_UNKNOWN,
                "%s", text);
        err->sys = m->failed.sys;
        return -1;
}

static int explain_death(struct child *c, const char *which, struct cringle_err *err)
{
        struct cringle_call soon = call_within(NULL, LAST_WORD);
        char text[80] = "went away";
        int status;

        if (child_wait(c, &soon, &status, NULL) == 0)
                child_status_text(status, text, sizeof text);
        return err_set(err, CRINGLE_E_INTERNAL, "%s half: %s", which, text);
}

/* --- spawning ---------------------------------------------------------- */

static int make_sockets(int ret[2], struct cringle_err *err)
{
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0)
                return err_sys(err, "make a socket pair");
        return 0;
}

/* Proxies are the node's business: what the agent was started with holds for its registries. */
static int proxy_environment(char ***ret, struct cringle_err *err)
{
        static const char *const names[] = { "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy",
                                             "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy" };

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                const char *value = getenv(names[i]);
                auto_free char *pair = NULL;

                if (str_empty(value))
                        continue;
                /* libcurl does not know HTTP_PROXY, for fear of CGI. */
                pair = str_printf(err, "%s=%s", strcmp(names[i], "HTTP_PROXY") == 0 ? "http_proxy" : names[i], value);
                if (!pair || strv_add(ret, pair, err) < 0)
                        return -1;
        }
        return 0;
}

static int spawn(const struct config *c, const char *mode, const struct child_fd *fds, size_t n_fds,
                 const char *const *envp, struct child *ret, struct cringle_err *err)
{
        const char *const argv[] = { "cringle-pull", mode, NULL };
        const struct child_spec spec = {
                .path = c->programs.pull,
                .argv = argv,
                .envp = envp,
                .fds = fds,
                .n_fds = n_fds,
        };

        return child_spawn(&spec, ret, err);
}

/* --- the request ------------------------------------------------------- */

static const struct config_registry *find_registry(const struct config *c, const char *host)
{
        for (size_t i = 0; i < c->n_registries; i++)
                if (strcmp(c->registries[i].host, host) == 0)
                        return c->registries + i;
        return NULL;
}

static int add_endpoint(struct json_object *list, const char *url, bool plain_http, bool skip_verify,
                        const char *ca_file, struct json_object **ret, struct cringle_err *err)
{
        struct json_object *o = json_object_new_object();
        auto_buf ca = BUF_INIT;

        if (!o)
                return err_oom(err);
        if (json_add(list, o, err) < 0 || json_set_string(o, "url", url, err) < 0 ||
            json_set_bool(o, "plain_http", plain_http, err) < 0 ||
            json_set_bool(o, "skip_verify", skip_verify, err) < 0)
                return -1;
        if (!str_empty(ca_file) &&
            (file_read(ca_file, CA_MAX, &ca, err) < 0 || json_set_string(o, "ca", ca.data, err) < 0))
                return err_wrap(err, "CA file of %s", url);
        *ret = o;
        return 0;
}

static int add_mirrors(struct json_object *list, const struct config_registry *r, const char *host,
                       struct cringle_err *err)
{
        for (size_t i = 0; r && i < r->n_mirrors; i++) {
                const struct config_mirror *m = r->mirrors + i;
                struct json_object *o;

                if (add_endpoint(list, m->url, m->plain_http, m->skip_verify, m->ca_file, &o, err) < 0 ||
                    json_set_string(o, "ns", host, err) < 0)
                        return -1;
        }
        return 0;
}

static int base64_digit(char c)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *at = c ? strchr(digits, c) : NULL;

        return at ? (int) (at - digits) : -1;
}

static int decode_base64(const char *text, struct buf *ret, struct cringle_err *err)
{
        unsigned bits = 0, n = 0;

        for (const char *p = text; *p && *p != '='; p++) {
                int digit = base64_digit(*p);
                char byte;

                if (digit < 0)
                        return err_set(err, CRINGLE_E_INVALID, "not base64");
                bits = bits << 6 | (unsigned) digit;
                n += 6;
                if (n < 8)
                        continue;
                n -= 8;
                byte = (char) (bits >> n);
                if (buf_add(ret, &byte, 1, err) < 0)
                        return -1;
        }
        return 0;
}

/* "user:password" in base64, as Docker's config has it. */
static int decode_auth(const char *text, char **ret_username, char **ret_password, struct cringle_err *err)
{
        auto_buf pair = BUF_INIT;
        char *colon;

        if (decode_base64(text, &pair, err) < 0 || pair.len == 0 || strlen(pair.data) != pair.len ||
            !(colon = strchr(pair.data, ':')))
                return err_set(err, CRINGLE_E_INVALID, "image credentials: 'auth' is not base64 of user:password");
        *colon = '\0';
        *ret_username = strdup(pair.data);
        *ret_password = strdup(colon + 1);
        explicit_bzero(pair.data, pair.len);
        return *ret_username && *ret_password ? 0 : err_oom(err);
}

/* "https://index.docker.io/v1/" and "docker.io" are one registry; no address at all means ours. */
static bool is_for(const char *server_address, const char *host)
{
        const char *s = server_address;
        size_t n;

        if (str_empty(s))
                return true;
        if (str_starts(s, "https://"))
                s += strlen("https://");
        else if (str_starts(s, "http://"))
                s += strlen("http://");
        n = strcspn(s, "/");
        if (strcmp(host, "docker.io") == 0 && ((n == 15 && strncmp(s, "index.docker.io", n) == 0) ||
                                               (n == 20 && strncmp(s, "registry-1.docker.io", n) == 0)))
                return true;
        return n == strlen(host) && strncmp(s, host, n) == 0;
}

static int add_credentials(struct json_object *o, const struct fetch_auth *auth, const struct config_registry *r,
                           const char *host, struct cringle_err *err)
{
        auto_free char *username = NULL, *password = NULL;

        if (!auth || !is_for(auth->server_address, host)) {
                if (!r || str_empty(r->username))
                        return 0;
                return json_set_string(o, "username", r->username, err) < 0 ||
                                       json_set_string(o, "password", r->password ? r->password : "", err) < 0
                               ? -1
                               : 0;
        }

        if (!str_empty(auth->username)) {
                username = strdup(auth->username);
                password = strdup(auth->password ? auth->password : "");
                if (!username || !password)
                        return err_oom(err);
        } else if (!str_empty(auth->auth) && decode_auth(auth->auth, &username, &password, err) < 0) {
                return -1;
        }
        if (username && (json_set_string(o, "username", username, err) < 0 ||
                         json_set_string(o, "password", password, err) < 0))
                return -1;
        if (!str_empty(auth->identity_token) &&
            json_set_string(o, "identity_token", auth->identity_token, err) < 0)
                return -1;
        if (!str_empty(auth->registry_token) &&
            json_set_string(o, "registry_token", auth->registry_token, err) < 0)
                return -1;
        return 0;
}

static int add_endpoints(struct json_object *request, const struct config *c, const struct reference *ref,
                         const struct fetch_auth *auth, struct cringle_err *err)
{
        const struct config_registry *own = find_registry(c, ref->host);
        const struct config_registry *any = find_registry(c, "_default");
        struct json_object *list = json_need_array(request, "endpoints", err), *o;
        auto_free char *url = NULL;

        if (!list || add_mirrors(list, own ? own : any, ref->host, err) < 0)
                return -1;
        url = str_printf(err, "%s://%s", own && own->plain_http ? "http" : "https",
                         strcmp(ref->host, "docker.io") == 0 ? "registry-1.docker.io" : ref->host);
        if (!url)
                return -1;

        /* What weakens a registry must name it: nothing of the kind is taken from _default. */
        if (add_endpoint(list, url, own && own->plain_http, own && own->skip_verify,
                         own ? own->ca_file : any ? any->ca_file : NULL, &o, err) < 0)
                return -1;
        return add_credentials(o, auth, own, ref->host, err);
}

/* This machine in the words of image-spec. */
static const char *machine_architecture(void)
{
        static const char *const names[][2] = {
                { "x86_64", "amd64" }, { "aarch64", "arm64" }, { "armv7l", "arm" }, { "armv6l", "arm" },
                { "i686", "386" }, { "ppc64le", "ppc64le" }, { "s390x", "s390x" }, { "riscv64", "riscv64" },
                { "loongarch64", "loong64" },
        };
        struct utsname u;

        uname(&u);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strcmp(u.machine, names[i][0]) == 0)
                        return names[i][1];
        return "unknown";
}

static int build_request(const struct fetch_options *options, const struct reference *ref,
                         const struct fetch_auth *auth, struct json_object *o, struct cringle_err *err)
{
        const struct config *c = options->config;

        if (add_endpoints(o, c, ref, auth, err) < 0 ||
            json_set_string(o, "repository", ref->repository, err) < 0 ||
            json_set_string(o, "os", options->os ? options->os : "linux", err) < 0 ||
            json_set_string(o, "architecture",
                            options->architecture ? options->architecture : machine_architecture(), err) < 0 ||
            json_set_int(o, "progress_timeout_ms", (c->images.progress_timeout + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC,
                         err) < 0)
                return -1;
        if (options->variant && json_set_string(o, "variant", options->variant, err) < 0)
                return -1;
        if (ref->digest)
                return json_set_string(o, "digest", ref->digest, err);
        return json_set_string(o, "tag", ref->tag, err);
}

/* Secrets are in it: it exists only in memory, and is given to one process. */
static int send_request(struct fetch *f, const struct fetch_options *options, const struct reference *ref,
                        const struct fetch_auth *auth, struct cringle_err *err)
{
        const struct pull_resolve hello = {
                .head = { PULL_VERSION, PULL_RESOLVE },
                .uid = f->config->images.uid,
                .gid = f->config->images.gid,
        };
        auto_json o = json_object_new_object();
        auto_fd int fd = memfd_create("pull", MFD_CLOEXEC);
        auto_buf text = BUF_INIT;
        int failed;

        if (!o)
                return err_oom(err);
        if (fd < 0)
                return err_sys(err, "make a memfd");
        if (build_request(options, ref, auth, o, err) < 0 || json_write(o, &text, err) < 0)
                return -1;
        failed = file_write_fd(fd, text.data, text.len, err);
        explicit_bzero(text.data, text.len);
        if (failed)
                return -1;
        return sock_send(f->control, &hello, sizeof hello, &fd, 1, err);
}

/* --- the answer -------------------------------------------------------- */

static int ended_digest(const char text[72], char ret[DIGEST_LEN + 1], struct cringle_err *err)
{
        if (!memchr(text, '\0', 72) || !digest_valid(text))
                return err_set(err, CRINGLE_E_INTERNAL, "fetch half: a digest that is none");
        memcpy(ret, text, DIGEST_LEN + 1);
        return 0;
}

/* The config's own words about its layers must be those of the fetch half. */
static int check_config(const struct fetch_image *image, struct cringle_err *err)
{
        struct json_object *rootfs = NULL, *ids = NULL;
        char digest[SHA256_TEXT_MAX];
        auto_json o = NULL;

        sha256_text(image->config, image->config_size, digest);
        if (strcmp(digest, image->config_digest) != 0)
                return err_set(err, CRINGLE_E_DATA_LOSS, "fetch half: the config is %s, not %s", digest,
                               image->config_digest);
        if (json_parse(image->config, image->config_size, &o, err) < 0)
                return err_wrap(err, "image config");
        if (json_get_object(o, "rootfs", &rootfs, err) < 0 ||
            (rootfs && json_get_array(rootfs, "diff_ids", &ids, err) < 0))
                return -1;
        if ((ids ? json_object_array_length(ids) : 0) != image->n_layers)
                return err_set(err, CRINGLE_E_DATA_LOSS, "fetch half: not as many layers as the config has");
        for (size_t i = 0; i < image->n_layers; i++)
                if (!str_equal(json_object_get_string(json_object_array_get_idx(ids, i)), image->layers[i].diff_id))
                        return err_set(err, CRINGLE_E_DATA_LOSS, "fetch half: layer %zu is not the config's", i);
        return 0;
}

/* Computed here, so that nobody else says where a layer belongs. */
static void make_chain(struct fetch_image *image)
{
        for (size_t i = 0; i < image->n_layers; i++) {
                char text[2 * DIGEST_LEN + 2];

                if (i == 0) {
                        memcpy(image->layers[0].chain_id, image->layers[0].diff_id, DIGEST_LEN + 1);
                        continue;
                }
                snprintf(text, sizeof text, "%s %s", image->layers[i - 1].chain_id, image->layers[i].diff_id);
                sha256_text(text, strlen(text), image->layers[i].chain_id);
        }
}

static int read_layers(struct fetch *f, const struct pull_image_layer *list, size_t n, struct cringle_err *err)
{
        f->image.layers = calloc(n + 1, sizeof *f->image.layers);
        f->marks = calloc(n + 1, sizeof *f->marks);
        if (!f->image.layers || !f->marks)
                return err_oom(err);
        f->image.n_layers = n;
        for (size_t i = 0; i < n; i++) {
                struct fetch_image_layer *l = f->image.layers + i;

                if (ended_digest(list[i].digest, l->digest, err) < 0 ||
                    ended_digest(list[i].diff_id, l->diff_id, err) < 0)
                        return -1;
                memcpy(l->media_type, list[i].media_type, sizeof l->media_type);
                l->media_type[sizeof l->media_type - 1] = '\0';
                l->size = list[i].size;
        }
        return 0;
}

static int read_image(struct fetch *f, int fd, struct cringle_err *err)
{
        const size_t max = sizeof(struct pull_image) + PULL_LAYERS_MAX * sizeof(struct pull_image_layer) +
                           PULL_CONFIG_MAX;
        auto_buf b = BUF_INIT;
        struct pull_image head;
        size_t layers_size;

        if (lseek(fd, 0, SEEK_SET) < 0)
                return err_sys(err, "read the answer");
        if (file_read_fd(fd, max, &b, err) < 0)
                return -1;
        if (b.len < sizeof head)
                return err_set(err, CRINGLE_E_INTERNAL, "fetch half: the answer is too short");
        memcpy(&head, b.data, sizeof head);
        layers_size = head.n_layers * sizeof(struct pull_image_layer);
        if (head.n_layers > PULL_LAYERS_MAX || head.config_size > PULL_CONFIG_MAX ||
            b.len != sizeof head + layers_size + head.config_size)
                return err_set(err, CRINGLE_E_INTERNAL, "fetch half: the answer has the wrong length");

        if (ended_digest(head.manifest_digest, f->image.manifest_digest, err) < 0 ||
            ended_digest(head.config_digest, f->image.config_digest, err) < 0 ||
            read_layers(f, (const struct pull_image_layer *) (const void *) (b.data + sizeof head), head.n_layers,
                        err) < 0)
                return -1;
        f->image.config = calloc(1, head.config_size + 1);
        if (!f->image.config)
                return err_oom(err);
        memcpy(f->image.config, b.data + sizeof head + layers_size, head.config_size);
        f->image.config_size = head.config_size;
        if (check_config(&f->image, err) < 0)
                return -1;
        make_chain(&f->image);
        return 0;
}

static int wait_for_image(struct fetch *f, const struct reference *ref, const struct cringle_call *call,
                          struct cringle_err *err)
{
        union message m;
        size_t n = 0, n_fds = 1;
        auto_fd int fd = -1;
        int got;

        if (call_wait(call, f->control, POLLIN, -1, err) < 0)
                return -1;
        got = receive(f->control, &m, &n, &fd, &n_fds, err);
        if (got < 0)
                return -1;
        if (got == 0)
                return explain_death(&f->half, "fetch", err);
        if (m.head.type == PULL_FAILED)
                return take_failure(&m, n, err);
        if (m.head.type != PULL_RESOLVED || n_fds != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "fetch half: an answer nobody asked for");
        if (read_image(f, fd, err) < 0)
                return -1;
        if (ref->digest && strcmp(ref->digest, f->image.manifest_digest) != 0)
                return err_set(err, CRINGLE_E_DATA_LOSS, "fetch half: asked for %s, got %s", ref->digest,
                               f->image.manifest_digest);
        return 0;
}

int fetch_open(const struct fetch_options *options, const struct reference *ref, const struct fetch_auth *auth,
               const struct cringle_call *call, struct fetch **ret, struct cringle_err *err)
{
        auto_of(fetch) f = calloc(1, sizeof *f);
        auto_strv envp = NULL;
        auto_fd int theirs = -1;
        int64_t parallel = options->config->images.max_parallel;
        int pair[2];

        if (!f)
                return err_oom(err);
        f->config = options->config;
        f->half = (struct child) CHILD_INIT;
        f->control = f->tokens = -1;
        f->tokens = eventfd(parallel > 0 ? (unsigned) parallel : 1, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);
        if (f->tokens < 0)
                return err_sys(err, "make an eventfd");
        if (make_sockets(pair, err) < 0)
                return -1;
        f->control = pair[0];
        theirs = pair[1];

        if (proxy_environment(&envp, err) < 0)
                return -1;
        if (spawn(f->config, "fetch", &(struct child_fd) { theirs, PULL_CONTROL_FD }, 1,
                  (const char *const *) envp, &f->half, err) < 0)
                return err_wrap(err, "start the fetch half");
        theirs = fd_close(theirs);
        if (send_request(f, options, ref, auth, err) < 0 || wait_for_image(f, ref, call, err) < 0)
                return -1;

        *ret = steal(&f);
        return 0;
}

/* --- layers ------------------------------------------------------------ */

/* The two halves at work on one layer, as far as the agent sees them. */
struct work {
        struct fetch *fetch;
        const struct fetch_image_layer *layer;
        struct child half;              /* unpack */
        int control, reply;             /* of unpack, of fetch */
        struct marks marks;
        uint64_t bytes;                 /* of the blob, as last told */
        bool fetched, unpacked;
        bool fetch_failed, unpack_failed;
        struct cringle_err fetch_err, unpack_err;
};

static void work_done(struct work *w)
{
        child_kill(&w->half);
        fd_close(w->half.pidfd);
        fd_close(w->control);
        fd_close(w->reply);
        marks_done(&w->marks);
}

/* The unpack half, which reads @input. */
static int start_half(struct work *w, const struct config *c, int input, int layer_dir_fd, struct cringle_err *err)
{
        struct pull_unpack order = {
                .head = { PULL_VERSION, PULL_UNPACK },
                .max_bytes = (uint64_t) c->images.max_layer_size,
                .max_entries = ENTRIES_MAX,
                .ratio = RATIO,
                .ratio_from = RATIO_FROM,
        };
        auto_fd int theirs = -1;
        int sockets[2];

        if (make_sockets(sockets, err) < 0)
                return -1;
        w->control = sockets[0];
        theirs = sockets[1];
        if (spawn(c, "unpack",
                  (const struct child_fd[]) { { input, STDIN_FILENO }, { theirs, PULL_CONTROL_FD },
                                              { layer_dir_fd, PULL_LAYER_FD } },
                  3, NULL, &w->half, err) < 0)
                return err_wrap(err, "start the unpack half");
        memcpy(order.diff_id, w->layer->diff_id, sizeof order.diff_id);
        return sock_send(w->control, &order, sizeof order, NULL, 0, err);
}

static int start_unpack(struct work *w, int layer_dir_fd, int *ret_pipe, struct cringle_err *err)
{
        auto_fd int read_end = -1, write_end = -1;
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return err_sys(err, "make a pipe");
        read_end = ends[0];
        write_end = ends[1];
        fcntl(write_end, F_SETPIPE_SZ, PIPE_SIZE);      /* a wish: a small one works too */
        if (start_half(w, w->fetch->config, read_end, layer_dir_fd, err) < 0)
                return -1;
        *ret_pipe = steal_fd(&write_end);
        return 0;
}

static int start_stream(struct work *w, size_t i, int pipe_end, struct cringle_err *err)
{
        const struct pull_layer order = { .head = { PULL_VERSION, PULL_LAYER }, .index = (uint32_t) i };
        auto_fd int theirs = -1;
        int sockets[2], fds[2];

        if (make_sockets(sockets, err) < 0)
                return -1;
        w->reply = sockets[0];
        theirs = sockets[1];
        fds[0] = pipe_end;
        fds[1] = theirs;
        if (sock_send(w->fetch->control, &order, sizeof order, fds, 2, err) < 0)
                return explain_death(&w->fetch->half, "fetch", err);
        return 0;
}

static void count_progress(struct work *w, uint64_t bytes)
{
        if (bytes <= w->bytes || bytes > w->layer->size)
                return;
        atomic_fetch_add(&w->fetch->progress, bytes - w->bytes);
        w->bytes = bytes;
}

/* A message of the fetch half. */
static void hear_fetch(struct work *w)
{
        struct cringle_err *err = &w->fetch_err;
        union message m;
        size_t n = 0;
        int got = receive(w->reply, &m, &n, NULL, NULL, err);

        if (got == 0)
                got = err_set(err, CRINGLE_E_INTERNAL, "fetch half: went away");
        else if (got > 0 && m.head.type == PULL_FAILED)
                got = take_failure(&m, n, err);
        else if (got > 0 && n != sizeof m.progress)
                got = err_set(err, CRINGLE_E_INTERNAL, "fetch half: a message of the wrong length");
        w->fetch_failed = got < 0;
        if (got < 0)
                return;
        count_progress(w, m.progress.bytes);
        w->fetched = m.head.type == PULL_FETCHED;
}

/* A message of the unpack half. */
static void hear_unpack(struct work *w)
{
        struct cringle_err *err = &w->unpack_err;
        union message m;
        size_t n = 0;
        int got = receive(w->control, &m, &n, NULL, NULL, err);

        if (got == 0)
                got = explain_death(&w->half, "unpack", err);
        else if (got > 0 && m.head.type == PULL_FAILED)
                got = take_failure(&m, n, err);
        else if (got > 0 && m.head.type == PULL_MARK)
                got = marks_add(&w->marks, &m, n, err);
        else if (got > 0 && (m.head.type != PULL_UNPACKED || n != sizeof m.unpacked ||
                             strncmp(m.unpacked.diff_id, w->layer->diff_id, sizeof m.unpacked.diff_id) != 0))
                got = err_set(err, CRINGLE_E_INTERNAL, "unpack half: an answer nobody asked for");
        else if (got > 0)
                w->unpacked = true;
        w->unpack_failed = got < 0;
}

static int watch(int epoll, int fd, struct cringle_err *err)
{
        struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

        return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? err_sys(err, "watch a socket") : 0;
}

/*
 * Until both halves are done or one has failed.  If it is the unpack half, the reason may be that the
 * fetch half gave up: it is heard too, if it says so at once.
 */
static int hear_both(struct work *w, const struct cringle_call *call, struct cringle_err *err)
{
        struct cringle_call last = CALL_INIT;
        auto_fd int epoll = epoll_create1(EPOLL_CLOEXEC);

        if (epoll < 0)
                return err_sys(err, "make an epoll");
        if (watch(epoll, w->control, err) < 0 || watch(epoll, w->reply, err) < 0)
                return -1;

        while (!w->fetch_failed && !(w->fetched && w->unpacked) && !(w->unpack_failed && w->fetched)) {
                struct epoll_event ev;

                if (w->unpack_failed && !last.deadline)
                        last = call_within(call, LAST_WORD);
                if (call_wait(w->unpack_failed ? &last : call, epoll, POLLIN, -1, err) < 0) {
                        if (w->unpack_failed)
                                break;
                        return -1;
                }
                if (epoll_wait(epoll, &ev, 1, 0) < 1)
                        continue;
                if (ev.data.fd == w->reply)
                        hear_fetch(w);
                else
                        hear_unpack(w);
                if ((ev.data.fd == w->reply && w->fetched) ||
                    (ev.data.fd == w->control && (w->unpacked || w->unpack_failed)))
                        epoll_ctl(epoll, EPOLL_CTL_DEL, ev.data.fd, NULL);
        }

        if (w->fetch_failed && !(w->unpack_failed && w->fetch_err.sys == EPIPE)) {
                /* Its reader went away: only the reader knows why. */
                if (w->fetch_err.sys == EPIPE && !w->unpack_failed && call_wait(call, w->control, POLLIN, LAST_WORD, NULL) > 0)
                        while (!w->unpack_failed && !w->unpacked)
                                hear_unpack(w);
                if (!(w->unpack_failed && w->fetch_err.sys == EPIPE)) {
                        *err = w->fetch_err;
                        return -1;
                }
        }
        if (w->unpack_failed) {
                *err = w->unpack_err;
                return -1;
        }
        return 0;
}

/* One of max_parallel; given back by give_token(). */
static int take_token(struct fetch *f, const struct cringle_call *call, struct cringle_err *err)
{
        uint64_t one;

        while (read(f->tokens, &one, sizeof one) < 0) {
                if (errno != EAGAIN && errno != EINTR)
                        return err_sys(err, "wait for other layers");
                if (call_wait(call, f->tokens, POLLIN, -1, err) < 0)
                        return -1;
        }
        return 0;
}

static void give_token(struct fetch *f)
{
        const uint64_t one = 1;

        /* The counter is far from its end. */
        while (write(f->tokens, &one, sizeof one) < 0 && errno == EINTR)
                continue;
}

static int do_layer(struct work *w, size_t i, int layer_dir_fd, const struct cringle_call *call,
                    struct cringle_err *err)
{
        auto_fd int pipe_end = -1;

        if (start_unpack(w, layer_dir_fd, &pipe_end, err) < 0 || start_stream(w, i, pipe_end, err) < 0)
                return -1;
        pipe_end = fd_close(pipe_end);
        if (hear_both(w, call, err) < 0 || marks_apply(&w->marks, layer_dir_fd, call, err) < 0)
                return -1;

        /* The lowest layer has nothing below it: what is missing there is missing. */
        if (i == 0)
                return marks_settle(&w->marks, layer_dir_fd, -1, 0, call, err) < 0 ? -1 : FETCH_DONE;
        if (w->marks.n == 0)
                return FETCH_DONE;
        marks_done(w->fetch->marks + i);
        w->fetch->marks[i] = w->marks;
        w->marks = (struct marks) MARKS_INIT;
        return FETCH_NEEDS_PARENTS;
}

int fetch_layer(struct fetch *f, size_t i, int layer_dir_fd, const struct cringle_call *call, struct cringle_err *err)
{
        struct work w = {
                .fetch = f,
                .half = CHILD_INIT,
                .control = -1,
                .reply = -1,
                .fetch_err = CRINGLE_ERR_INIT,
                .unpack_err = CRINGLE_ERR_INIT,
        };
        int result;

        if (i >= f->image.n_layers)
                return err_set(err, CRINGLE_E_INVALID, "the image has no layer %zu", i);
        if (take_token(f, call, err) < 0)
                return -1;
        w.layer = f->image.layers + i;
        result = do_layer(&w, i, layer_dir_fd, call, err);
        work_done(&w);
        give_token(f);
        return result;
}

int fetch_settle_layer(struct fetch *f, size_t i, int layer_dir_fd, int parents_fd, const struct cringle_call *call,
                       struct cringle_err *err)
{
        if (i >= f->image.n_layers)
                return err_set(err, CRINGLE_E_INVALID, "the image has no layer %zu", i);
        return marks_settle(f->marks + i, layer_dir_fd, parents_fd, (uint64_t) f->config->images.max_layer_size, call,
                            err);
}

/* --- a tar that is here already ----------------------------------------------- */

static int hash(int fd, char ret[static DIGEST_LEN + 1], const struct cringle_call *call, struct cringle_err *err)
{
        auto_free uint8_t *part = malloc(HASH_PART);
        uint8_t sum[32];
        struct sha256 s;
        ssize_t n;

        if (!part)
                return err_oom(err);
        sha256_init(&s);
        while ((n = read(fd, part, HASH_PART)) != 0) {
                if (n < 0 && errno != EINTR)
                        return err_sys(err, "read the tar");
                if (n > 0)
                        sha256_add(&s, part, (size_t) n);
                if (call_check(call, err) < 0)
                        return -1;
        }
        sha256_end(&s, sum);
        memcpy(ret, "sha256:", 7);
        for (size_t i = 0; i < sizeof sum; i++)
                snprintf(ret + 7 + 2 * i, 3, "%02x", sum[i]);
        return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(err, "read the tar again") : 0;
}

static int unpack_here(struct work *w, const struct config *config, int tar_fd, int dir_fd, const struct cringle_call *call,
                       struct cringle_err *err)
{
        if (start_half(w, config, tar_fd, dir_fd, err) < 0)
                return -1;
        while (!w->unpacked) {
                if (call_wait(call, w->control, POLLIN, -1, err) < 0)
                        return -1;
                hear_unpack(w);
                if (w->unpack_failed) {
                        *err = w->unpack_err;
                        return -1;
                }
        }
        return marks_apply(&w->marks, dir_fd, call, err) < 0 ? -1 : marks_settle(&w->marks, dir_fd, -1, 0, call, err);
}

int fetch_unpack(const struct config *config, int tar_fd, int dir_fd, const struct cringle_call *call, struct cringle_err *err)
{
        struct fetch_image_layer layer = { 0 };
        struct work w = { .layer = &layer, .half = CHILD_INIT, .control = -1, .reply = -1, .unpack_err = CRINGLE_ERR_INIT };
        int r;

        if (hash(tar_fd, layer.diff_id, call, err) < 0)
                return -1;
        r = unpack_here(&w, config, tar_fd, dir_fd, call, err);
        work_done(&w);
        return r;
}
