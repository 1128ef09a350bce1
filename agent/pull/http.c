/*
 * One HTTP exchange; see http.h.
 */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/str.h"
#include "agent/pull/http.h"

#define HEADERS_MAX (256 << 10)         /* bytes of all headers of an answer */
#define ERROR_BODY_MAX (64 << 10)
#define CONNECT_TIMEOUT_MS 30000L

struct http {
        CURL *curl;

        /* The exchange under way. */
        const struct http_request *request;
        struct http_answer *answer;
        struct cringle_err *err;
        bool failed;                    /* a callback has said why in err */
        size_t header_bytes;
        int64_t progress_at;            /* when the last byte came */
        curl_off_t progress_bytes;
};

int http_new(struct http **ret, struct cringle_err *err)
{
        auto_of(http) h = calloc(1, sizeof *h);

        if (!h)
                return err_oom(err);
        h->curl = curl_easy_init();
        if (!h->curl)
                return err_oom(err);
        *ret = steal(&h);
        return 0;
}

struct http *http_free(struct http *h)
{
        if (!h)
                return NULL;
        if (h->curl)
                curl_easy_cleanup(h->curl);
        free(h);
        return NULL;
}

void http_answer_done(struct http_answer *a)
{
        buf_done(&a->body);
        free(a->content_type);
        free(a->location);
        free(a->digest);
        for (size_t i = 0; i < a->n_challenges; i++)
                challenge_done(a->challenges + i);
        *a = (struct http_answer) { 0 };
}

/* --- origins ----------------------------------------------------------- */

void origin_done(struct origin *o)
{
        curl_free(o->scheme);
        curl_free(o->host);
        curl_free(o->port);
        *o = (struct origin) { 0 };
}

int origin_parse(const char *url, struct origin *ret, struct cringle_err *err)
{
        auto_origin o = { 0 };
        CURLU *u = curl_url();
        char *user = NULL;
        int ok;

        if (!u)
                return err_oom(err);
        ok = curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
             curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
             curl_url_get(u, CURLUPART_SCHEME, &o.scheme, 0) == CURLUE_OK &&
             curl_url_get(u, CURLUPART_HOST, &o.host, 0) == CURLUE_OK &&
             curl_url_get(u, CURLUPART_PORT, &o.port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
             (strcmp(o.scheme, "http") == 0 || strcmp(o.scheme, "https") == 0);
        curl_free(user);
        curl_url_cleanup(u);
        if (!ok)
                return err_set(err, CRINGLE_E_INVALID, "a URL that is not plain http or https");

        *ret = o;
        o = (struct origin) { 0 };
        return 0;
}

bool origin_equal(const struct origin *a, const struct origin *b)
{
        return strcmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

char *http_resolve(const char *url, const char *location, struct cringle_err *err)
{
        CURLU *u = curl_url();
        char *whole = NULL, *ret = NULL;

        if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
            curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
            curl_url_get(u, CURLUPART_URL, &whole, 0) == CURLUE_OK)
                ret = strdup(whole);
        curl_free(whole);
        curl_url_cleanup(u);
        if (!ret)
                err_set(err, CRINGLE_E_INVALID, "a redirect to nowhere");
        return ret;
}

char *http_escape(struct http *h, const char *text, struct cringle_err *err)
{
        char *escaped = curl_easy_escape(h->curl, text, 0);
        char *ret = escaped ? strdup(escaped) : NULL;

        curl_free(escaped);
        if (!ret)
                err_oom(err);
        return ret;
}

/* --- callbacks --------------------------------------------------------- */

static int replace(char **to, const char *value, size_t n, struct cringle_err *err)
{
        free(*to);
        *to = strndup(value, n);
        return *to ? 0 : err_oom(err);
}

static void forget_headers(struct http_answer *a)
{
        struct http_answer fresh = { .retry_after = -1, .range_from = -1 };

        http_answer_done(a);
        *a = fresh;
}

static int add_challenges(struct http_answer *a, const char *value, struct cringle_err *err)
{
        struct challenge list[CHALLENGES_MAX];
        size_t n = 0;

        if (challenge_parse(value, list, &n, err) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                if (a->n_challenges < CHALLENGES_MAX)
                        a->challenges[a->n_challenges++] = list[i];
                else
                        challenge_done(list + i);
        }
        return 0;
}

static int take_header(struct http_answer *a, const char *name, const char *value, struct cringle_err *err)
{
        int64_t number;

        if (strcasecmp(name, "content-type") == 0)
                return replace(&a->content_type, value, strlen(value), err);
        if (strcasecmp(name, "location") == 0)
                return replace(&a->location, value, strlen(value), err);
        if (strcasecmp(name, "docker-content-digest") == 0)
                return replace(&a->digest, value, strlen(value), err);
        if (strcasecmp(name, "www-authenticate") == 0)
                return add_challenges(a, value, err);
        if (strcasecmp(name, "retry-after") == 0) {
                if (str_int64(value, 0, 86400, &number, NULL) == 0)     /* a date would need our clock to be right */
                        a->retry_after = number;
        } else if (strcasecmp(name, "content-range") == 0 && strncasecmp(value, "bytes ", 6) == 0) {
                char *end;

                number = strtoll(value + 6, &end, 10);
                if (*end == '-' && number >= 0)
                        a->range_from = number;
        }
        return 0;
}

static size_t on_header(char *line, size_t one, size_t n, void *data)
{
        struct http *h = data;
        auto_free char *copy = NULL;
        char *value;
        size_t end = n;

        h->header_bytes += n;
        if (h->header_bytes > HEADERS_MAX) {
                h->failed = true;
                err_set(h->err, CRINGLE_E_EXHAUSTED, "the answer has too many headers");
                return 0;
        }
        if (n > 5 && memcmp(line, "HTTP/", 5) == 0) {
                forget_headers(h->answer);      /* the last one was interim */
                return n;
        }

        while (end > 0 && (line[end - 1] == '\n' || line[end - 1] == '\r' || line[end - 1] == ' '))
                end--;
        copy = strndup(line, end);
        value = copy ? strchr(copy, ':') : NULL;
        if (!value)
                return n;
        *value++ = '\0';
        value += strspn(value, " \t");
        if (take_header(h->answer, copy, value, h->err) < 0) {
                h->failed = true;
                return 0;
        }
        return n;
}

static size_t on_body(char *piece, size_t one, size_t n, void *data)
{
        struct http *h = data;
        struct http_answer *a = h->answer;
        size_t room;

        curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &a->status);
        if (a->status >= 200 && a->status < 300) {
                if (h->request->sink) {
                        if (h->request->sink(h->request->data, a, piece, n, h->err) < 0) {
                                h->failed = a->sink_failed = true;
                                return 0;
                        }
                        h->progress_at = clock_monotonic();     /* a slow reader is not a slow registry */
                        return n;
                }
                if (a->body.len + n > h->request->max) {
                        h->failed = a->sink_failed = true;
                        err_set(h->err, CRINGLE_E_EXHAUSTED, "the answer is larger than %zu bytes", h->request->max);
                        return 0;
                }
                if (buf_add(&a->body, piece, n, h->err) < 0) {
                        h->failed = true;
                        return 0;
                }
                return n;
        }

        /* Of an error or a redirect only the beginning, and not for ever. */
        room = a->body.len < ERROR_BODY_MAX ? ERROR_BODY_MAX - a->body.len : 0;
        if (room == 0)
                return 0;
        return buf_add(&a->body, piece, n < room ? n : room, NULL) < 0 ? 0 : n;
}

static int on_progress(void *data, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
        struct http *h = data;
        int64_t at = clock_monotonic();

        if (now != h->progress_bytes) {
                h->progress_bytes = now;
                h->progress_at = at;
        }
        if (at - h->progress_at <= h->request->progress_timeout)
                return 0;
        h->failed = true;
        err_set(h->err, CRINGLE_E_DEADLINE, "no byte came for %lld s",
                (long long) ((h->request->progress_timeout + NSEC_PER_SEC - 1) / NSEC_PER_SEC));
        return 1;
}

/* --- the exchange ------------------------------------------------------ */

static int add_line(struct curl_slist **list, struct cringle_err *err, const char *format, const char *value)
{
        auto_free char *line = str_printf(err, format, value);
        struct curl_slist *grown;

        if (!line)
                return -1;
        grown = curl_slist_append(*list, line);
        explicit_bzero(line, strlen(line));
        if (!grown)
                return err_oom(err);
        *list = grown;
        return 0;
}

static void set_options(struct http *h, const struct http_request *r, struct curl_slist *headers)
{
        CURL *c = h->curl;
        struct curl_blob ca = { .flags = CURL_BLOB_NOCOPY };

        curl_easy_reset(c);
        curl_easy_setopt(c, CURLOPT_URL, r->url);
        curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(c, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
        curl_easy_setopt(c, CURLOPT_USERAGENT, "cringle/" CRINGLE_VERSION);
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                         (long) (r->progress_timeout / NSEC_PER_MSEC < CONNECT_TIMEOUT_MS
                                         ? r->progress_timeout / NSEC_PER_MSEC + 1
                                         : CONNECT_TIMEOUT_MS));
        if (r->timeout > 0)
                curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long) (r->timeout / NSEC_PER_MSEC + 1));
        curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(c, CURLOPT_HEADERDATA, h);
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(c, CURLOPT_WRITEDATA, h);
        curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(c, CURLOPT_XFERINFODATA, h);
        curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
        curl_easy_setopt(c, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
        if (r->form)
                curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, r->form);
        if (r->from > 0)
                curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t) r->from);
        if (r->skip_verify) {
                curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
                curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
        }
        if (r->ca) {
                ca.data = (void *) r->ca;
                ca.len = strlen(r->ca);
                curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &ca);
        }
}

static int explain(struct http *h, CURLcode code, const struct http_request *r, struct cringle_err *err)
{
        auto_origin o = { 0 };

        if (!h->failed)
                err_set(err, code == CURLE_OPERATION_TIMEDOUT ? CRINGLE_E_DEADLINE
                             : code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE
                                     ? CRINGLE_E_DENIED
                                     : CRINGLE_E_UNAVAILABLE,
                        "%s", curl_easy_strerror(code));
        if (origin_parse(r->url, &o, NULL) == 0)
                return err_wrap(err, "%s://%s:%s", o.scheme, o.host, o.port);
        return -1;
}

int http_run(struct http *h, const struct http_request *request, struct http_answer *ret, struct cringle_err *err)
{
        struct curl_slist *headers = NULL;
        CURLcode code = CURLE_OK;
        int failed = 0;

        forget_headers(ret);
        if (request->accept)
                failed = add_line(&headers, err, "Accept: %s", request->accept);
        if (!failed && request->authorization)
                failed = add_line(&headers, err, "Authorization: %s", request->authorization);
        if (!failed) {
                h->request = request;
                h->answer = ret;
                h->err = err;
                h->failed = false;
                h->header_bytes = 0;
                h->progress_at = clock_monotonic();
                h->progress_bytes = 0;
                set_options(h, request, headers);
                code = curl_easy_perform(h->curl);
                curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &ret->status);
        }
        curl_slist_free_all(headers);
        if (failed)
                return -1;

        /* The body of an error may have been cut by us; its status is all the same an answer. */
        if (code == CURLE_WRITE_ERROR && !h->failed && ret->status >= 300)
                return 0;
        /* A server that ignores or refuses a range is for the caller to judge by the status. */
        if (code == CURLE_RANGE_ERROR || (code == CURLE_HTTP_RETURNED_ERROR && !h->failed))
                return 0;
        return code == CURLE_OK ? 0 : explain(h, code, request, err);
}
