/*
 * A registry as an endpoint with a policy; see registry.h.
 */

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/str.h"
#include "agent/image/reference.h"
#include "agent/pull/registry.h"

#define REDIRECTS_MAX 5
#define TRIES 4                         /* without a byte of progress in between */
#define TRIES_ALL 40
#define RETRY_AFTER_MAX 30              /* seconds we wait because a registry says so */
#define TOKEN_ANSWER_MAX (1 << 20)
#define SMALL_TIMEOUT (120 * NSEC_PER_SEC)      /* for manifests, configs and tokens */
#define PROGRESS_STEP (1 << 20)
#define CLIENT_ID "cringle"

struct endpoint {
        char *url;                      /* without a slash at the end */
        char *prefix;                   /* path between the host and the repository: "" or "a/b/" */
        char *ns;                       /* NULL: the registry itself */
        char *ca;
        bool skip_verify;
        char *username, *password, *identity_token, *registry_token;
        char *repository;
        char *name;
        struct origin origin;
        int64_t progress_timeout;

        pthread_mutex_t lock;           /* of what follows */
        char *authorization;            /* NULL: not asked for yet */
        int64_t authorization_until;    /* monotonic; 0: for ever */
};

/* --- endpoints --------------------------------------------------------- */

static int copy_member(struct json_object *o, const char *name, char **ret, struct cringle_err *err)
{
        const char *value = NULL;

        if (json_get_string(o, name, &value, err) < 0)
                return -1;
        if (str_empty(value))
                return 0;
        *ret = strdup(value);
        return *ret ? 0 : err_oom(err);
}

/* What ends up in a header must not end it. */
static bool is_printable(const char *s)
{
        for (; s && *s; s++)
                if ((unsigned char) *s < 0x20 || *s == 0x7f)
                        return false;
        return true;
}

static int take_url_apart(struct endpoint *e, struct cringle_err *err)
{
        char *path;
        size_t n = strlen(e->url);

        while (n > 0 && e->url[n - 1] == '/')
                e->url[--n] = '\0';
        if (origin_parse(e->url, &e->origin, err) < 0)
                return -1;
        path = strstr(e->url, "://");
        path = path ? strchr(path + 3, '/') : NULL;
        e->prefix = str_printf(err, "%s%s", path ? path + 1 : "", path ? "/" : "");
        if (!e->prefix)
                return -1;
        if (path)
                *path = '\0';
        e->name = str_printf(err, "%s %s", e->ns ? "mirror" : "registry", strstr(e->url, "://") + 3);
        return e->name ? 0 : -1;
}

int endpoint_new(struct json_object *o, const char *repository, int64_t progress_timeout, struct endpoint **ret,
                 struct cringle_err *err)
{
        auto_of(endpoint) e = calloc(1, sizeof *e);
        bool plain_http = false;

        if (!e)
                return err_oom(err);
        pthread_mutex_init(&e->lock, NULL);
        e->progress_timeout = progress_timeout;
        e->repository = strdup(repository);
        if (!e->repository)
                return err_oom(err);
        if (copy_member(o, "url", &e->url, err) < 0 || copy_member(o, "ns", &e->ns, err) < 0 ||
            copy_member(o, "ca", &e->ca, err) < 0 || copy_member(o, "username", &e->username, err) < 0 ||
            copy_member(o, "password", &e->password, err) < 0 ||
            copy_member(o, "identity_token", &e->identity_token, err) < 0 ||
            copy_member(o, "registry_token", &e->registry_token, err) < 0 ||
            json_get_bool(o, "plain_http", &plain_http, err) < 0 ||
            json_get_bool(o, "skip_verify", &e->skip_verify, err) < 0)
                return -1;
        if (!e->url)
                return err_set(err, CRINGLE_E_INVALID, "an endpoint without url");
        if (!is_printable(e->registry_token))
                return err_set(err, CRINGLE_E_INVALID, "the registry token has control characters");
        if (take_url_apart(e, err) < 0)
                return -1;
        if (strcmp(e->origin.scheme, "http") == 0 && !plain_http)
                return err_set(err, CRINGLE_E_DENIED, "%s: plain http is not allowed for it", e->name);

        *ret = steal(&e);
        return 0;
}

static void forget(char **secret)
{
        if (*secret)
                explicit_bzero(*secret, strlen(*secret));
        free(*secret);
        *secret = NULL;
}

struct endpoint *endpoint_free(struct endpoint *e)
{
        if (!e)
                return NULL;

        free(e->url);
        free(e->prefix);
        free(e->ns);
        free(e->ca);
        free(e->repository);
        free(e->name);
        forget(&e->username);
        forget(&e->password);
        forget(&e->identity_token);
        forget(&e->registry_token);
        forget(&e->authorization);
        origin_done(&e->origin);
        pthread_mutex_destroy(&e->lock);
        free(e);
        return NULL;
}

const char *endpoint_name(const struct endpoint *e)
{
        return e->name;
}

/* --- what a registry says about an error ------------------------------- */

/*
 * A word that may be a secret: long, and no digest or path.  Registries have been seen to
 * put whole signed URLs and tokens into their messages, which end up in pod events.
 */
static bool looks_secret(const char *word, size_t n)
{
        return n >= 24 && strncmp(word, "sha256:", 7) != 0 && !memchr(word, '/', n);
}

static bool holds(const char *word, size_t n, const char *secret)
{
        return !str_empty(secret) && memmem(word, n, secret, strlen(secret));
}

static int add_redacted(const struct endpoint *e, const char *text, struct buf *to)
{
        size_t words = 0;

        for (const char *p = text; *p && words < 40 && to->len < 400; words++) {
                size_t n = strcspn(p, " \t\r\n\"'=,;&"), query = strcspn(p, "?");

                if (words > 0 && buf_add_str(to, " ", NULL) < 0)
                        return -1;
                if (query < n) {
                        /* The rest up to white space is a query, which may be a signature. */
                        buf_printf(to, NULL, "%.*s?(redacted)", (int) query, p);
                        n = strcspn(p, " \t\r\n");
                } else if (looks_secret(p, n) || holds(p, n, e->password) || holds(p, n, e->identity_token) ||
                           holds(p, n, e->registry_token)) {
                        buf_add_str(to, "(redacted)", NULL);
                } else {
                        for (size_t i = 0; i < n; i++)
                                buf_add(to, isprint((unsigned char) p[i]) ? p + i : "?", 1, NULL);
                }
                p += n;
                p += strspn(p, " \t\r\n\"'=,;&");
        }
        return 0;
}

/* {"errors":[{"code","message"}]}: the first, made harmless. */
static void say_body(const struct endpoint *e, const struct buf *body, struct buf *to)
{
        struct json_object *errors = NULL, *first;
        const char *code = NULL, *message = NULL;
        auto_json o = NULL;

        if (body->len == 0 || json_parse(body->data, body->len, &o, NULL) < 0)
                return;
        if (!json_object_is_type(o, json_type_object) || json_get_array(o, "errors", &errors, NULL) <= 0)
                return;
        first = json_object_array_get_idx(errors, 0);
        if (!json_object_is_type(first, json_type_object))
                return;
        json_get_string(first, "code", &code, NULL);
        json_get_string(first, "message", &message, NULL);
        if (code) {
                buf_add_str(to, ": ", NULL);
                add_redacted(e, code, to);
        }
        if (message) {
                buf_add_str(to, ": ", NULL);
                add_redacted(e, message, to);
        }
}

static int code_of(long status)
{
        switch (status) {
        case 401:
                return CRINGLE_E_UNAUTHENTICATED;
        case 403:
                return CRINGLE_E_DENIED;
        case 404:
                return CRINGLE_E_NOT_FOUND;
        case 429:
                return CRINGLE_E_UNAVAILABLE;
        default:
                return status >= 500 ? CRINGLE_E_UNAVAILABLE : CRINGLE_E_INTERNAL;
        }
}

/* @own: the answer is from the endpoint itself, so its words are worth passing on. */
static int refuse(const struct endpoint *e, const struct http_answer *a, bool own, struct cringle_err *err)
{
        auto_buf why = BUF_INIT;

        if (own)
                say_body(e, &a->body, &why);
        return err_set(err, code_of(a->status), "HTTP status %ld%s", a->status, why.data ? why.data : "");
}

/* --- tokens ------------------------------------------------------------ */

static char *basic(const struct endpoint *e, struct cringle_err *err)
{
        auto_free char *pair = str_printf(err, "%s:%s", e->username, e->password ? e->password : "");
        auto_free unsigned char *text = NULL;
        size_t n;
        char *ret;

        if (!pair)
                return NULL;
        n = strlen(pair);
        text = calloc(1, 4 * ((n + 2) / 3) + 1);
        if (!text) {
                err_oom(err);
                return NULL;
        }
        EVP_EncodeBlock(text, (const unsigned char *) pair, (int) n);
        explicit_bzero(pair, n);
        ret = str_printf(err, "Basic %s", (const char *) text);
        explicit_bzero(text, strlen((const char *) text));
        return ret;
}

static int add_form(struct http *h, struct buf *b, const char *name, const char *value, struct cringle_err *err)
{
        auto_free char *escaped = http_escape(h, value, err);

        if (!escaped)
                return -1;
        return buf_printf(b, err, "%s%s=%s", b->len ? "&" : "", name, escaped);
}

/* A token server's answer into a header, and how long it holds. */
static int read_token(const struct buf *body, char **ret, int64_t *ret_until, struct cringle_err *err)
{
        const char *token = NULL;
        int64_t expires = 60;
        auto_json o = NULL;

        if (json_parse(body->len ? body->data : "", body->len, &o, err) < 0)
                return -1;
        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "not a JSON object");
        if (json_get_string(o, "token", &token, err) < 0 ||
            (str_empty(token) && json_get_string(o, "access_token", &token, err) < 0) ||
            json_get_int(o, "expires_in", &expires, err) < 0)
                return -1;
        if (str_empty(token) || !is_printable(token))
                return err_set(err, CRINGLE_E_INVALID, "no token in it");
        if (expires < 60)
                expires = 60;           /* as the specification has it for old clients */
        if (expires > 86400)
                expires = 86400;

        *ret = str_printf(err, "Bearer %s", token);
        *ret_until = clock_monotonic() + expires * NSEC_PER_SEC * 3 / 4;
        return *ret ? 0 : -1;
}

/* May go on with GET after POST was refused like this: registries differ in which of the two they know. */
static bool post_unknown(long status)
{
        return status == 400 || status == 401 || status == 404 || status == 405;
}

static int ask_token(struct endpoint *e, struct http *h, const struct challenge *c, bool secrets,
                     const struct http_request *base, struct http_answer *answer, struct cringle_err *err)
{
        auto_free char *scope = NULL, *authorization = NULL;
        auto_buf form = BUF_INIT, url = BUF_INIT;
        struct http_request r = *base;
        bool refresh = secrets && e->identity_token, password = secrets && e->username;

        scope = c->scope && *c->scope ? strdup(c->scope) : str_printf(err, "repository:%s%s:pull", e->prefix,
                                                                        e->repository);
        if (!scope)
                return err_oom(err);

        if (refresh || password) {
                if (add_form(h, &form, "grant_type", refresh ? "refresh_token" : "password", err) < 0 ||
                    add_form(h, &form, "service", c->service ? c->service : "", err) < 0 ||
                    add_form(h, &form, "scope", scope, err) < 0 ||
                    add_form(h, &form, "client_id", CLIENT_ID, err) < 0)
                        return -1;
                if (refresh ? add_form(h, &form, "refresh_token", e->identity_token, err) < 0
                            : add_form(h, &form, "username", e->username, err) < 0 ||
                                      add_form(h, &form, "password", e->password ? e->password : "", err) < 0)
                        return -1;
                r.url = c->realm;
                r.form = form.data;
                if (http_run(h, &r, answer, err) < 0)
                        return -1;
                if (form.data)
                        explicit_bzero(form.data, form.len);
                if (!post_unknown(answer->status) || (refresh && !password))
                        return 0;
                http_answer_done(answer);
        }

        if (buf_printf(&url, err, "%s%s", c->realm, strchr(c->realm, '?') ? "&" : "?") < 0)
                return -1;
        form.len = 0;
        if (c->service && add_form(h, &form, "service", c->service, err) < 0)
                return -1;
        if (add_form(h, &form, "scope", scope, err) < 0 || buf_add(&url, form.data, form.len, err) < 0)
                return -1;
        if (password) {
                authorization = basic(e, err);
                if (!authorization)
                        return -1;
        }
        r.url = url.data;
        r.form = NULL;
        r.authorization = authorization;
        return http_run(h, &r, answer, err);
}

static int fetch_token(struct endpoint *e, struct http *h, const struct challenge *c, char **ret, int64_t *ret_until,
                       struct cringle_err *err)
{
        auto_http_answer answer = { 0 };
        auto_origin realm = { 0 };
        struct http_request base = {
                .progress_timeout = e->progress_timeout,
                .timeout = SMALL_TIMEOUT,
                .max = TOKEN_ANSWER_MAX,
        };
        bool secrets;

        if (!c->realm || origin_parse(c->realm, &realm, err) < 0)
                return err_set(err, CRINGLE_E_DENIED, "the registry names no usable token server");
        if (strcmp(realm.scheme, "http") == 0 && strcmp(e->origin.scheme, "https") == 0)
                return err_set(err, CRINGLE_E_DENIED, "the registry wants credentials sent without TLS");
        secrets = challenge_same_owner(e->origin.host, realm.host);
        if (strcasecmp(e->origin.host, realm.host) == 0) {
                base.ca = e->ca;
                base.skip_verify = e->skip_verify;
        }

        if (ask_token(e, h, c, secrets, &base, &answer, err) < 0)
                return -1;
        if (answer.status != 200) {
                refuse(e, &answer, true, err);
                if (!secrets && (e->username || e->identity_token))
                        err_wrap(err, "credentials not given to a token server of another owner");
                return err_wrap(err, "token server %s", realm.host);
        }
        if (read_token(&answer.body, ret, ret_until, err) < 0)
                return err_wrap(err, "answer of token server %s", realm.host);
        return 0;
}

/* --- credentials of an endpoint ---------------------------------------- */

/* What to send now; the caller's, NULL for nothing. */
static int current_authorization(struct endpoint *e, char **ret, struct cringle_err *err)
{
        char *copy = NULL;
        int failed = 0;

        pthread_mutex_lock(&e->lock);
        if (e->authorization && e->authorization_until && clock_monotonic() > e->authorization_until)
                forget(&e->authorization);
        if (e->authorization)
                copy = strdup(e->authorization);
        else if (e->registry_token)
                copy = str_printf(NULL, "Bearer %s", e->registry_token);
        if (!copy && (e->authorization || e->registry_token))
                failed = err_oom(err);
        pthread_mutex_unlock(&e->lock);
        *ret = copy;
        return failed;
}

/* After a 401 to @sent (NULL: nothing): find something better.  Another thread may have done so meanwhile. */
static int answer_challenge(struct endpoint *e, struct http *h, const struct http_answer *a, const char *sent,
                            struct cringle_err *err)
{
        const struct challenge *bearer = NULL, *plain = NULL;
        char *fresh = NULL;
        int64_t until = 0;
        int failed = 0;

        for (size_t i = 0; i < a->n_challenges; i++) {
                const struct challenge *c = a->challenges + i;

                if (c->scheme == CHALLENGE_BEARER && !bearer)
                        bearer = c;
                if (c->scheme == CHALLENGE_BASIC && !plain)
                        plain = c;
        }

        pthread_mutex_lock(&e->lock);
        if (e->authorization && !str_equal(e->authorization, sent)) {
                pthread_mutex_unlock(&e->lock);
                return 0;
        }
        forget(&e->authorization);
        if (e->registry_token)
                failed = err_set(err, CRINGLE_E_UNAUTHENTICATED, "the registry token was refused");
        else if (bearer)
                failed = fetch_token(e, h, bearer, &fresh, &until, err);
        else if (plain && e->username)
                failed = (fresh = basic(e, err)) ? 0 : -1;
        else
                failed = refuse(e, a, true, err);
        if (!failed && str_equal(fresh, sent)) {
                failed = refuse(e, a, true, err);
                forget(&fresh);
        }
        if (!failed) {
                e->authorization = fresh;
                e->authorization_until = until;
        }
        pthread_mutex_unlock(&e->lock);
        return failed;
}

/* --- asking ------------------------------------------------------------ */

static bool is_redirect(long status)
{
        return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Where @answer leads from *url, if it may lead there at all. */
static int follow(const struct endpoint *e, const struct http_answer *answer, char **url, bool *own,
                  struct cringle_err *err)
{
        auto_free char *next = NULL;
        auto_origin there = { 0 };

        if (str_empty(answer->location))
                return err_set(err, CRINGLE_E_INVALID, "a redirect to nowhere");
        next = http_resolve(*url, answer->location, err);
        if (!next || origin_parse(next, &there, err) < 0)
                return err_wrap(err, "redirect");
        if (strcmp(there.scheme, "http") == 0 && strcmp(e->origin.scheme, "https") == 0)
                return err_set(err, CRINGLE_E_DENIED, "a redirect from https to http");

        /* Once away, credentials stay at home, even if the next hop leads back. */
        *own = *own && origin_equal(&there, &e->origin);
        free(*url);
        *url = steal(&next);
        return 0;
}

/*
 * GET @path below /v2/ of the endpoint, with credentials if asked for them, and through redirects.  0: a 2xx.
 * -1 otherwise; then answer->status says whether there was an answer at all.
 */
static int ask(struct endpoint *e, struct http *h, const char *path, struct http_request *r,
               struct http_answer *answer, struct cringle_err *err)
{
        auto_free char *url = str_printf(err, "%s/v2/%s%s/%s%s%s", e->url, e->prefix, e->repository, path,
                                         e->ns ? "?ns=" : "", e->ns ? e->ns : "");
        bool own = true, challenged = false;
        int redirects = 0;

        if (!url)
                return -1;
        for (;;) {
                auto_free char *authorization = NULL;
                auto_origin there = { 0 };
                int failed;

                if (own && current_authorization(e, &authorization, err) < 0)
                        return -1;
                if (origin_parse(url, &there, err) < 0)
                        return -1;
                r->url = url;
                r->authorization = authorization;
                r->ca = strcasecmp(there.host, e->origin.host) == 0 ? e->ca : NULL;
                r->skip_verify = strcasecmp(there.host, e->origin.host) == 0 && e->skip_verify;
                r->progress_timeout = e->progress_timeout;
                http_answer_done(answer);
                failed = http_run(h, r, answer, err);
                r->authorization = NULL;
                r->url = NULL;
                if (failed)
                        return -1;

                if (answer->status == 401 && own && !challenged) {
                        challenged = true;
                        if (answer_challenge(e, h, answer, authorization, err) < 0)
                                return -1;
                } else if (is_redirect(answer->status)) {
                        if (++redirects > REDIRECTS_MAX)
                                return err_set(err, CRINGLE_E_INVALID, "more than %d redirects", REDIRECTS_MAX);
                        if (follow(e, answer, &url, &own, err) < 0)
                                return -1;
                } else if (answer->status >= 200 && answer->status < 300) {
                        return 0;
                } else {
                        return refuse(e, answer, own, err);
                }
                forget(&authorization);
        }
}

/* Can asking again help?  If so, wait as long as it takes; false: no. */
static bool wait_to_retry(const struct http_answer *a, int tries, const struct cringle_err *err)
{
        int64_t wait = (NSEC_PER_SEC / 5) << (2 * (tries - 1));
        struct timespec left;

        if (tries >= TRIES || a->sink_failed)
                return false;
        if (a->status == 429 || a->status >= 500) {
                if (a->retry_after > RETRY_AFTER_MAX)
                        return false;
                if (a->retry_after >= 0)
                        wait = a->retry_after * NSEC_PER_SEC;
        } else if (err->code != CRINGLE_E_UNAVAILABLE && err->code != CRINGLE_E_DEADLINE) {
                return false;
        }

        left = (struct timespec) { wait / NSEC_PER_SEC, wait % NSEC_PER_SEC };
        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                continue;
        return true;
}

int endpoint_manifest(struct endpoint *e, struct http *h, const char *tag_or_digest, struct buf *ret, char **ret_type,
                      char **ret_digest, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "manifests/%s", tag_or_digest);

        if (!path)
                return -1;
        for (int tries = 1;; tries++) {
                struct http_request r = { .accept = MANIFEST_ACCEPT, .max = PULL_MANIFEST_MAX, .timeout = SMALL_TIMEOUT };
                auto_http_answer answer = { 0 };

                if (ask(e, h, path, &r, &answer, err) == 0) {
                        buf_clear(ret);
                        if (buf_add(ret, answer.body.len ? answer.body.data : "", answer.body.len, err) < 0)
                                return -1;
                        *ret_type = steal(&answer.content_type);
                        *ret_digest = steal(&answer.digest);
                        return 0;
                }
                /* A connection that can not be made is the next endpoint's chance; only the registry itself is waited for. */
                if (e->ns && answer.status == 0)
                        return -1;
                if (!wait_to_retry(&answer, tries, err))
                        return -1;
        }
}

/* --- blobs ------------------------------------------------------------- */

struct blob {
        char digest[DIGEST_LEN + 1];
        uint64_t size, done;
        uint64_t skip;                  /* of an answer that began at 0 again */
        bool began;                     /* this answer's first byte was seen */
        bool spoiled;
        int fd;
        struct buf kept;
        EVP_MD_CTX *hash;
        void (*progress)(void *data, uint64_t bytes);
        void *data;
        uint64_t told;
};

int blob_new(const char *digest, uint64_t size, int fd, void (*progress)(void *data, uint64_t bytes), void *data,
             struct blob **ret, struct cringle_err *err)
{
        auto_of(blob) b = calloc(1, sizeof *b);

        if (!b)
                return err_oom(err);
        b->fd = fd;
        b->size = size;
        b->progress = progress;
        b->data = data;
        strncat(b->digest, digest, DIGEST_LEN);
        b->hash = EVP_MD_CTX_new();
        if (!b->hash || EVP_DigestInit_ex(b->hash, EVP_sha256(), NULL) != 1)
                return err_oom(err);
        *ret = steal(&b);
        return 0;
}

struct blob *blob_free(struct blob *b)
{
        if (!b)
                return NULL;
        EVP_MD_CTX_free(b->hash);
        buf_done(&b->kept);
        free(b);
        return NULL;
}

const struct buf *blob_kept(const struct blob *b)
{
        return &b->kept;
}

bool blob_spoiled(const struct blob *b)
{
        return b->spoiled;
}

static int spoil(struct blob *b)
{
        b->spoiled = true;
        return -1;
}

static int deliver(struct blob *b, const char *piece, size_t n, struct cringle_err *err)
{
        if (b->fd < 0)
                return buf_add(&b->kept, piece, n, err);
        while (n > 0) {
                ssize_t now = write(b->fd, piece, n);

                if (now < 0 && errno == EINTR)
                        continue;
                if (now < 0) {
                        err_sys(err, "hand on the layer");
                        return spoil(b);
                }
                piece += now;
                n -= (size_t) now;
        }
        return 0;
}

static int on_piece(void *data, const struct http_answer *head, const char *piece, size_t n, struct cringle_err *err)
{
        struct blob *b = data;

        if (!b->began) {
                b->began = true;
                if (head->status == 206 && head->range_from >= 0 && (uint64_t) head->range_from != b->done)
                        return err_set(err, CRINGLE_E_INVALID, "the answer is another range than asked for");
                b->skip = head->status == 206 ? 0 : b->done;
        }
        if (b->skip > 0) {
                size_t now = b->skip < n ? (size_t) b->skip : n;

                b->skip -= now;
                piece += now;
                n -= now;
        }
        if (n == 0)
                return 0;

        if (n > b->size - b->done)
                return err_set(err, CRINGLE_E_DATA_LOSS, "the blob is longer than its descriptor's %llu bytes",
                               (unsigned long long) b->size);
        if (EVP_DigestUpdate(b->hash, piece, n) != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "SHA-256");
        if (deliver(b, piece, n, err) < 0)
                return -1;
        b->done += n;
        if (b->progress && b->done - b->told >= PROGRESS_STEP) {
                b->told = b->done;
                b->progress(b->data, b->done);
        }
        return 0;
}

static int check_digest(struct blob *b, struct cringle_err *err)
{
        uint8_t digest[EVP_MAX_MD_SIZE];
        char text[DIGEST_LEN + 1] = "sha256:";
        unsigned n;

        if (EVP_DigestFinal_ex(b->hash, digest, &n) != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "SHA-256");
        for (unsigned i = 0; i < n && i < 32; i++)
                snprintf(text + 7 + 2 * i, 3, "%02x", digest[i]);
        if (strcmp(text, b->digest) == 0)
                return 0;

        b->spoiled = true;
        return err_set(err, CRINGLE_E_DATA_LOSS, "the content of blob %s is %s", b->digest, text);
}

int endpoint_blob(struct endpoint *e, struct http *h, struct blob *b, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "blobs/%s", b->digest);
        int tries = 1;

        if (!path)
                return -1;
        for (int all = 1; b->done < b->size; all++) {
                struct http_request r = {
                        .from = b->done,
                        .sink = on_piece,
                        .data = b,
                        .timeout = b->fd < 0 ? SMALL_TIMEOUT : 0,
                };
                auto_http_answer answer = { 0 };
                uint64_t before = b->done;

                b->began = false;
                if (ask(e, h, path, &r, &answer, err) == 0 && b->done < b->size)
                        err_set(err, CRINGLE_E_UNAVAILABLE, "the blob ends after %llu of %llu bytes",
                                (unsigned long long) b->done, (unsigned long long) b->size);
                if (b->done == b->size)
                        break;
                if (b->done > before)
                        tries = 1;
                if (all >= TRIES_ALL || !wait_to_retry(&answer, tries++, err))
                        return err_wrap(err, "blob %.19s", b->digest);
        }
        return check_digest(b, err);
}
