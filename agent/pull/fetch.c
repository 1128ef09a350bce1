/*
 * The fetch half: from a reference to verified bytes
 *
 * It learns who to become, becomes it, and only then reads the request. After the image is
 * resolved each layer asked for is streamed by a thread of its own, in plain blocking code; the agent limits how
 * many there are, and ends all of it by closing the control socket or killing the process.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/image/reference.h"
#include "agent/pull/confine.h"
#include "agent/pull/manifest.h"
#include "agent/pull/modes.h"
#include "agent/pull/registry.h"
#include "agent/pull/say.h"
#include "agent/wire/pull.h"

#define ENDPOINTS_MAX 32
#define THREAD_STACK (512 << 10)
#define IDLE_CONNECTIONS 8

struct request {
        struct endpoint *endpoints[ENDPOINTS_MAX];
        size_t n_endpoints;
        char *tag_or_digest;
        const char *digest;             /* in tag_or_digest, or NULL */
        char *os, *architecture, *variant;
};

/* What the reference turned out to be. */
struct image {
        char manifest_digest[DIGEST_LEN + 1];
        struct manifest manifest;
        struct blob *config;
        char (*diff_ids)[72];
        size_t endpoint;                /* that knew it, to be asked first for its layers */
};

static struct request request;
static struct image image;

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static struct http *idle[IDLE_CONNECTIONS];     /* with connections that may be used again */

static int take_http(struct http **ret, struct cringle_err *err)
{
        struct http *h = NULL;

        pthread_mutex_lock(&idle_lock);
        for (size_t i = 0; i < IDLE_CONNECTIONS && !h; i++)
                h = idle[i] ? steal(&idle[i]) : NULL;
        pthread_mutex_unlock(&idle_lock);
        if (!h)
                return http_new(ret, err);
        *ret = h;
        return 0;
}

static void give_http(struct http *h)
{
        pthread_mutex_lock(&idle_lock);
        for (size_t i = 0; i < IDLE_CONNECTIONS && h; i++)
                if (!idle[i])
                        idle[i] = steal(&h);
        pthread_mutex_unlock(&idle_lock);
        http_free(h);
}

/* --- the request ------------------------------------------------------- */

static int need_string(struct json_object *o, const char *name, char **ret, struct cringle_err *err)
{
        const char *value = NULL;

        if (json_get_string(o, name, &value, err) < 0)
                return -1;
        if (str_empty(value))
                return err_set(err, CRINGLE_E_INVALID, "request without %s", name);
        *ret = strdup(value);
        return *ret ? 0 : err_oom(err);
}

static int read_endpoints(struct json_object *o, const char *repository, int64_t timeout, struct cringle_err *err)
{
        struct json_object *list = NULL;
        size_t n;

        if (json_get_array(o, "endpoints", &list, err) < 0)
                return -1;
        n = list ? json_object_array_length(list) : 0;
        if (n == 0 || n > ENDPOINTS_MAX)
                return err_set(err, CRINGLE_E_INVALID, "%zu registries to ask, want 1 to %d", n, ENDPOINTS_MAX);
        for (size_t i = 0; i < n; i++) {
                if (endpoint_new(json_object_array_get_idx(list, i), repository, timeout, request.endpoints + i,
                                 err) < 0)
                        return -1;
                request.n_endpoints++;
        }
        return 0;
}

static int read_request(int fd, struct cringle_err *err)
{
        auto_free char *repository = NULL, *tag = NULL, *digest = NULL;
        int64_t timeout_ms = 300000;
        auto_buf text = BUF_INIT;
        auto_json o = NULL;
        const char *variant = NULL;

        if (lseek(fd, 0, SEEK_SET) < 0)
                return err_sys(err, "read the request");
        if (file_read_fd(fd, PULL_REQUEST_MAX, &text, err) < 0 || json_parse(text.data, text.len, &o, err) < 0)
                return err_wrap(err, "request");
        explicit_bzero(text.data, text.len);
        if (need_string(o, "repository", &repository, err) < 0 || need_string(o, "os", &request.os, err) < 0 ||
            need_string(o, "architecture", &request.architecture, err) < 0 ||
            json_get_string(o, "variant", &variant, err) < 0 ||
            json_get_int(o, "progress_timeout_ms", &timeout_ms, err) < 0)
                return -1;
        if (variant) {
                request.variant = strdup(variant);
                if (!request.variant)
                        return err_oom(err);
        }
        if (need_string(o, "digest", &digest, NULL) == 0) {
                if (!digest_valid(digest))
                        return err_set(err, CRINGLE_E_INVALID, "bad digest in the request");
                request.tag_or_digest = steal(&digest);
                request.digest = request.tag_or_digest;
        } else {
                if (need_string(o, "tag", &tag, err) < 0)
                        return -1;
                request.tag_or_digest = steal(&tag);
        }
        if (timeout_ms < 1)
                return err_set(err, CRINGLE_E_INVALID, "progress_timeout_ms must be positive");
        return read_endpoints(o, repository, timeout_ms * NSEC_PER_MSEC, err);
}

/* --- resolving --------------------------------------------------------- */

static int digest_of(const struct buf *b, char ret[static DIGEST_LEN + 1], struct cringle_err *err)
{
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned n;

        if (EVP_Digest(b->data, b->len, digest, &n, EVP_sha256(), NULL) != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "SHA-256");
        memcpy(ret, "sha256:", 7);
        for (unsigned i = 0; i < 32; i++)
                snprintf(ret + 7 + 2 * i, 3, "%02x", digest[i]);
        return 0;
}

/* One document: by tag or digest, verified as far as something is known of it. */
static int get_document(struct endpoint *e, struct http *h, const char *name, const struct descriptor *expected,
                        struct manifest *ret, char ret_digest[static DIGEST_LEN + 1], struct cringle_err *err)
{
        const struct platform platform = { request.os, request.architecture, request.variant };
        auto_free char *type = NULL, *header = NULL;
        auto_buf body = BUF_INIT;

        if (expected && expected->size > PULL_MANIFEST_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "a manifest larger than %d bytes", PULL_MANIFEST_MAX);
        if (endpoint_manifest(e, h, name, &body, &type, &header, err) < 0 || digest_of(&body, ret_digest, err) < 0)
                return -1;
        if (digest_valid(name) && strcmp(name, ret_digest) != 0)
                return err_set(err, CRINGLE_E_DATA_LOSS, "manifest %s has the content of %s", name, ret_digest);
        if (digest_valid(header) && strcmp(header, ret_digest) != 0)
                return err_set(err, CRINGLE_E_DATA_LOSS, "the manifest was announced as %s, but is %s", header,
                               ret_digest);
        if (expected && expected->size != body.len)
                return err_set(err, CRINGLE_E_DATA_LOSS, "manifest %s has %zu bytes, its index says %llu", name,
                               body.len, (unsigned long long) expected->size);
        if (manifest_parse(body.data, body.len, type, expected ? expected->media_type : NULL, &platform, ret, err) < 0)
                return err_wrap(err, "manifest %s", name);
        return 0;
}

struct node {
        struct descriptor descriptor;
        int depth;
};

/*
 * From an index to the image for our platform.  A work list instead of recursion; every document is
 * asked for once, and all bounds are on the sum.
 */
static int walk_index(struct endpoint *e, struct http *h, struct manifest *m, struct cringle_err *err)
{
        auto_free struct node *list = calloc(MANIFEST_NODES_MAX + 1, sizeof *list);
        size_t n = 0, next = 0, nodes = m->n_nodes;
        char digest[DIGEST_LEN + 1];
        int depth = 1;

        if (!list)
                return err_oom(err);
        for (;;) {
                const struct descriptor *d;
                size_t i;

                if (m->kind == MANIFEST_IMAGE)
                        return 0;
                if (nodes > MANIFEST_NODES_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "its indexes have more than %d entries",
                                       MANIFEST_NODES_MAX);
                for (i = 0; m->n_images == 0 && i < m->n_indexes; i++) {
                        size_t seen = 0;

                        while (seen < n && strcmp(list[seen].descriptor.digest, m->indexes[i].digest) != 0)
                                seen++;
                        if (seen == n)
                                list[n++] = (struct node) { m->indexes[i], depth + 1 };
                }

                if (m->n_images > 0) {
                        const struct descriptor best = m->images[0];

                        manifest_done(m);
                        if (get_document(e, h, best.digest, &best, m, digest, err) < 0)
                                return -1;
                        if (m->kind == MANIFEST_IMAGE)
                                return 0;
                        return err_set(err, CRINGLE_E_INVALID, "manifest %s is an index", best.digest);
                }
                if (next == n)
                        return err_set(err, CRINGLE_E_NOT_FOUND, "it has no image for %s/%s%s%s", request.os,
                                       request.architecture, request.variant ? "/" : "",
                                       request.variant ? request.variant : "");
                d = &list[next].descriptor;
                depth = list[next++].depth;
                if (depth > MANIFEST_DEPTH_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "its indexes are nested deeper than %d",
                                       MANIFEST_DEPTH_MAX);
                manifest_done(m);
                if (get_document(e, h, d->digest, d, m, digest, err) < 0)
                        return -1;
                nodes += m->n_nodes;
        }
}

static int resolve_at(struct endpoint *e, struct http *h, struct image *ret, struct cringle_err *err)
{
        auto_manifest m = MANIFEST_INIT;
        auto_of(blob) config = NULL;
        char (*diff_ids)[72] = NULL;
        char digest[DIGEST_LEN + 1];

        if (get_document(e, h, request.tag_or_digest, NULL, &m, digest, err) < 0 || walk_index(e, h, &m, err) < 0)
                return -1;
        if (blob_new(m.config.digest, m.config.size, -1, NULL, NULL, &config, err) < 0)
                return -1;
        if (endpoint_blob(e, h, config, err) < 0)
                return err_wrap(err, "image config");
        if (manifest_config(blob_kept(config)->len ? blob_kept(config)->data : "", blob_kept(config)->len, m.n_layers,
                            &diff_ids, err) < 0)
                return err_wrap(err, "image config %s", m.config.digest);

        memcpy(ret->manifest_digest, digest, sizeof digest);
        ret->manifest = m;
        m = (struct manifest) MANIFEST_INIT;
        ret->config = steal(&config);
        ret->diff_ids = diff_ids;
        return 0;
}

/* The reason of each endpoint that could not help goes into the error; the last one's code counts. */
static void add_reason(struct buf *reasons, const struct endpoint *e, const struct cringle_err *err)
{
        buf_printf(reasons, NULL, "%s%s: %.600s", reasons->len ? "; " : "", endpoint_name(e), err->text);
}

static int resolve(struct cringle_err *err)
{
        auto_buf reasons = BUF_INIT;
        struct http *h = NULL;
        int failed = -1;

        if (take_http(&h, err) < 0)
                return -1;
        for (size_t i = 0; failed && i < request.n_endpoints; i++) {
                failed = resolve_at(request.endpoints[i], h, &image, err);
                if (failed)
                        add_reason(&reasons, request.endpoints[i], err);
                else
                        image.endpoint = i;
        }
        give_http(h);
        return failed ? err_set(err, err->code, "%s", reasons.data ? reasons.data : "out of memory") : 0;
}

static int send_image(struct cringle_err *err)
{
        const struct pull_resolved done = { .head = { PULL_VERSION, PULL_RESOLVED } };
        const struct buf *config = blob_kept(image.config);
        const struct manifest *m = &image.manifest;
        struct pull_image head = { .n_layers = (uint32_t) m->n_layers, .config_size = (uint32_t) config->len };
        auto_fd int fd = memfd_create("image", MFD_CLOEXEC);

        if (fd < 0)
                return err_sys(err, "make a memfd");
        strncat(head.manifest_digest, image.manifest_digest, sizeof head.manifest_digest - 1);
        strncat(head.config_digest, m->config.digest, sizeof head.config_digest - 1);
        if (file_write_fd(fd, &head, sizeof head, err) < 0)
                return -1;
        for (size_t i = 0; i < m->n_layers; i++) {
                struct pull_image_layer layer = { .size = m->layers[i].size };

                strncat(layer.digest, m->layers[i].digest, sizeof layer.digest - 1);
                strncat(layer.diff_id, image.diff_ids[i], sizeof layer.diff_id - 1);
                strncat(layer.media_type, m->layers[i].media_type, sizeof layer.media_type - 1);
                if (file_write_fd(fd, &layer, sizeof layer, err) < 0)
                        return -1;
        }
        if (config->len > 0 && file_write_fd(fd, config->data, config->len, err) < 0)
                return -1;
        return sock_send(PULL_CONTROL_FD, &done, sizeof done, &fd, 1, err);
}

/* --- layers ------------------------------------------------------------ */

struct job {
        size_t index;
        int pipe, reply;
};

static struct job *job_free(struct job *j)
{
        fd_close(j->pipe);
        fd_close(j->reply);
        free(j);
        return NULL;
}

AUTO_DEFINE(job, job_free)

static void tell_progress(void *data, uint64_t bytes)
{
        struct job *j = data;
        const struct pull_progress message = { { PULL_VERSION, PULL_PROGRESS }, bytes };

        sock_send(j->reply, &message, sizeof message, NULL, 0, NULL);
}

static int stream_layer(struct job *j, struct http *h, struct cringle_err *err)
{
        const struct descriptor *d = image.manifest.layers + j->index;
        auto_buf reasons = BUF_INIT;
        auto_of(blob) blob = NULL;
        int failed = -1;

        if (blob_new(d->digest, d->size, j->pipe, tell_progress, j, &blob, err) < 0)
                return -1;
        for (size_t i = 0; failed && i < request.n_endpoints && !blob_spoiled(blob); i++) {
                /* First the one that knew the image, then the others in their order. */
                size_t which = i == 0 ? image.endpoint : i <= image.endpoint ? i - 1 : i;

                failed = endpoint_blob(request.endpoints[which], h, blob, err);
                if (failed)
                        add_reason(&reasons, request.endpoints[which], err);
        }
        if (failed) {
                int sys = err->sys;

                err_set(err, err->code, "%s", reasons.data ? reasons.data : "out of memory");
                err->sys = sys;
                return -1;
        }
        return 0;
}

static void *run_job(void *data)
{
        auto_of(job) j = data;
        struct cringle_err err = CRINGLE_ERR_INIT;
        const struct pull_progress done = {
                { PULL_VERSION, PULL_FETCHED }, image.manifest.layers[j->index].size
        };
        struct http *h = NULL;

        if (take_http(&h, &err) < 0 || stream_layer(j, h, &err) < 0)
                say_failed(j->reply, &err);
        else
                sock_send(j->reply, &done, sizeof done, NULL, 0, NULL);
        if (h)
                give_http(h);
        return NULL;
}

/* The agent wants layer @index on the pipe fds[0], and to be answered on the socket fds[1]. */
static int start_job(size_t index, int fds[2], struct cringle_err *err)
{
        pthread_attr_t attr;
        pthread_t thread;
        auto_of(job) j = calloc(1, sizeof *j);
        int failed;

        if (!j) {
                fd_close(fds[0]);
                fd_close(fds[1]);
                return err_oom(err);
        }
        *j = (struct job) { index, fds[0], fds[1] };
        if (index >= image.manifest.n_layers)
                return err_set(err, CRINGLE_E_INVALID, "there is no layer %zu", index);

        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, THREAD_STACK);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        failed = pthread_create(&thread, &attr, run_job, j);
        pthread_attr_destroy(&attr);
        if (failed) {
                err_sysno(err, failed, "start a thread");
                say_failed(j->reply, err);
                return -1;
        }
        steal(&j);                      /* the thread has it now */
        return 0;
}

static int serve_layers(struct cringle_err *err)
{
        for (;;) {
                struct pull_layer order;
                int fds[2];
                size_t n, n_fds = 2;

                if (sock_recv(PULL_CONTROL_FD, &order, sizeof order, &n, fds, &n_fds, err) < 0)
                        return -1;
                if (n == 0)
                        return 0;
                if (n != sizeof order || n_fds != 2 || order.head.version != PULL_VERSION ||
                    order.head.type != PULL_LAYER)
                        return err_set(err, CRINGLE_E_INTERNAL, "the agent speaks another protocol");
                if (start_job(order.index, fds, err) < 0)
                        return -1;
        }
}

/* --- main -------------------------------------------------------------- */

static int fetch(struct cringle_err *err)
{
        struct pull_resolve hello;
        auto_fd int fd = -1;
        size_t n, n_fds = 1;

        if (sock_recv(PULL_CONTROL_FD, &hello, sizeof hello, &n, &fd, &n_fds, err) < 0)
                return -1;
        if (n != sizeof hello || n_fds != 1 || hello.head.version != PULL_VERSION || hello.head.type != PULL_RESOLVE)
                return err_set(err, CRINGLE_E_INTERNAL, "the agent speaks another protocol than this program");

        if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || OPENSSL_init_ssl(0, NULL) != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "load the TLS library");
        if (confine_fetch(hello.uid, hello.gid, err) < 0)
                return err_wrap(err, "confine the fetch half");
        if (read_request(fd, err) < 0)
                return -1;
        fd = fd_close(fd);
        if (resolve(err) < 0 || send_image(err) < 0)
                return -1;
        return serve_layers(err);
}

int fetch_main(int argc, char **argv)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int failed = fetch(&err);

        if (failed)
                say_failed(PULL_CONTROL_FD, &err);

        /* Threads may be in the middle of something; there is nothing of ours to put in order. */
        _exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
}
