/*
 * HTTP/1.1 request heads; see http.h.
 */

#include <string.h>
#include <strings.h>

#include "agent/stream/http.h"

static bool is_token(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int bad(struct cringle_err *err, const char *what)
{
        return err_set(err, CRINGLE_E_INVALID, "malformed request: %s", what);
}

bool http_text_is(struct http_text t, const char *word)
{
        return t.n == strlen(word) && strncasecmp(t.at, word, t.n) == 0;
}

static int parse_line(const char *line, size_t n, struct http_request *r, struct cringle_err *err)
{
        static const char version[] = " HTTP/1.1";
        const char *end = line + n, *space = memchr(line, ' ', n), *mark;

        if (n < sizeof version || memcmp(end - (sizeof version - 1), version, sizeof version - 1) != 0)
                return bad(err, "not HTTP/1.1");
        end -= sizeof version - 1;
        if (!space || space == line || space >= end || space[1] != '/')
                return bad(err, "no path");
        r->method = (struct http_text) { line, (size_t) (space - line) };
        for (size_t i = 0; i < r->method.n; i++)
                if (!is_token(line[i]))
                        return bad(err, "the method");
        for (const char *p = space + 1; p < end; p++)
                if (*p <= ' ' || *p >= 127)
                        return bad(err, "the path");
        mark = memchr(space + 1, '?', (size_t) (end - space - 1));
        r->path = (struct http_text) { space + 1, (size_t) ((mark ? mark : end) - space - 1) };
        r->query = mark ? (struct http_text) { mark + 1, (size_t) (end - mark - 1) } : (struct http_text) { end, 0 };
        return 0;
}

static int parse_header(const char *line, size_t n, struct http_request *r, struct cringle_err *err)
{
        const char *colon = memchr(line, ':', n), *value, *end = line + n;

        if (!colon || colon == line)
                return bad(err, "a header");
        for (const char *p = line; p < colon; p++)
                if (!is_token(*p))
                        return bad(err, "a header's name");
        for (const char *p = colon + 1; p < end; p++)
                if (((unsigned char) *p < ' ' && *p != '\t') || *p == 127)
                        return bad(err, "a header's value");
        if (r->n_headers == HTTP_HEADERS_MAX)
                return bad(err, "too many headers");
        for (value = colon + 1; value < end && (*value == ' ' || *value == '\t');)
                value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
        r->headers[r->n_headers].name = (struct http_text) { line, (size_t) (colon - line) };
        r->headers[r->n_headers++].value = (struct http_text) { value, (size_t) (end - value) };
        return 0;
}

/* A body would have to be told from the next protocol's bytes: an upgrade has none. */
static int refuse_body(const struct http_request *r, struct cringle_err *err)
{
        struct http_text length = http_header(r, "content-length");

        if (http_header(r, "transfer-encoding").at || (length.at && !http_text_is(length, "0")))
                return bad(err, "a body");
        return 1;
}

int http_parse(const char *data, size_t n, struct http_request *ret, struct cringle_err *err)
{
        size_t at = 0;

        ret->n_headers = 0;
        for (bool first = true;; first = false) {
                const char *end = memchr(data + at, '\n', n - at);
                size_t len;

                if (!end)
                        return n >= HTTP_HEAD_MAX ? bad(err, "too long") : 0;
                len = (size_t) (end - (data + at));
                if (len == 0 || data[at + len - 1] != '\r')
                        return bad(err, "a line end");
                len--;
                if (at + len + 2 > HTTP_HEAD_MAX)
                        return bad(err, "too long");
                if (first ? parse_line(data + at, len, ret, err) < 0
                          : len > 0 && parse_header(data + at, len, ret, err) < 0)
                        return -1;
                at += len + 2;
                if (!first && len == 0)
                        break;
        }
        ret->size = at;
        return refuse_body(ret, err);
}

struct http_text http_header(const struct http_request *r, const char *name)
{
        for (size_t i = 0; i < r->n_headers; i++)
                if (http_text_is(r->headers[i].name, name))
                        return r->headers[i].value;
        return (struct http_text) { NULL, 0 };
}

bool http_next_item(const struct http_request *r, const char *name, size_t *at, struct http_text *ret)
{
        size_t seen = 0;

        for (size_t i = 0; i < r->n_headers; i++) {
                const char *p = r->headers[i].value.at, *end = p + r->headers[i].value.n;

                if (!http_text_is(r->headers[i].name, name))
                        continue;
                while (p < end) {
                        const char *comma = memchr(p, ',', (size_t) (end - p)), *stop = comma ? comma : end;
                        const char *next = comma ? comma + 1 : end;

                        while (p < stop && (*p == ' ' || *p == '\t'))
                                p++;
                        while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
                                stop--;
                        if (stop > p && seen++ == *at) {
                                ++*at;
                                *ret = (struct http_text) { p, (size_t) (stop - p) };
                                return true;
                        }
                        p = next;
                }
        }
        return false;
}

bool http_has_item(const struct http_request *r, const char *name, const char *item)
{
        struct http_text t;

        for (size_t at = 0; http_next_item(r, name, &at, &t);)
                if (http_text_is(t, item))
                        return true;
        return false;
}
