/*
 * Image references and digests; see reference.h.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/image/reference.h"

#define DEFAULT_HOST "docker.io"
#define NAME_MAX_LEN 255                /* host and repository together, as every registry has it */
#define TAG_MAX_LEN 128

static bool is_lower(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
        return is_lower(c) || (c >= 'A' && c <= 'Z');
}

void reference_done(struct reference *r)
{
        free(r->host);
        free(r->repository);
        free(r->tag);
        free(r->digest);
        *r = (struct reference) REFERENCE_INIT;
}

bool digest_valid(const char *s)
{
        if (!s || strncmp(s, "sha256:", 7) != 0)
                return false;
        return strlen(s) == DIGEST_LEN && strspn(s + 7, "0123456789abcdef") == 64;
}

/* "5000" after the colon. */
static bool port_valid(const char *s)
{
        int64_t port;

        return *s != '-' && str_int64(s, 1, 65535, &port, NULL) == 0;
}

/* Labels of letters, digits and inner hyphens, or an address in brackets; then a port. */
static bool host_valid(const char *s)
{
        if (*s == '[') {
                size_t n = strspn(s + 1, "0123456789abcdefABCDEF:.");

                s += 1 + n;
                if (n < 2 || *s != ']')
                        return false;
                return !s[1] || (s[1] == ':' && port_valid(s + 2));
        }

        for (;;) {
                size_t n = 0;

                while (is_word(s[n]) || s[n] == '-')
                        n++;
                if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
                        return false;
                s += n;
                if (!*s)
                        return true;
                if (*s == ':')
                        return port_valid(s + 1);
                if (*s++ != '.')
                        return false;
        }
}

/* Lower-case words joined by one '.', one or two '_', or any number of '-'; components joined by '/'. */
static bool repository_valid(const char *s)
{
        for (;;) {
                if (!is_lower(*s))
                        return false;
                while (is_lower(*s))
                        s++;
                if (!*s)
                        return true;
                if (*s == '/' || *s == '.') {
                        s++;
                } else if (*s == '_') {
                        s += s[1] == '_' ? 2 : 1;
                } else if (*s == '-') {
                        while (*s == '-')
                                s++;
                } else {
                        return false;
                }
        }
}

static bool tag_valid(const char *s)
{
        size_t n = 0;

        while (is_word(s[n]) || s[n] == '_' || (n > 0 && (s[n] == '.' || s[n] == '-')))
                n++;
        return n > 0 && !s[n] && n <= TAG_MAX_LEN;
}

/* Does the first component name a registry? */
static bool looks_like_host(const char *first)
{
        return strpbrk(first, ".:[") || strcmp(first, "localhost") == 0;
}

int reference_parse(const char *text, struct reference *ret, struct cringle_err *err)
{
        auto_reference r = REFERENCE_INIT;
        auto_free char *rest = NULL;
        char *at, *slash, *colon;
        const char *path;

        if (str_empty(text))
                return err_set(err, CRINGLE_E_INVALID, "image reference is empty");
        if (strlen(text) > NAME_MAX_LEN + 1 + TAG_MAX_LEN + 1 + DIGEST_LEN)
                return err_set(err, CRINGLE_E_INVALID, "image reference is too long");
        rest = strdup(text);
        if (!rest)
                return err_oom(err);

        at = strchr(rest, '@');
        if (at) {
                *at++ = '\0';
                if (!digest_valid(at))
                        return err_set(err, CRINGLE_E_INVALID,
                                       "image reference %s: digest is not sha256: and 64 lower-case hexadecimal digits",
                                       text);
                r.digest = strdup(at);
                if (!r.digest)
                        return err_oom(err);
        }

        slash = strrchr(rest, '/');
        colon = strrchr(slash ? slash : rest, ':');
        if (colon) {
                *colon++ = '\0';
                if (!tag_valid(colon))
                        return err_set(err, CRINGLE_E_INVALID, "image reference %s: bad tag", text);
        }
        if (colon || !r.digest) {
                r.tag = strdup(colon ? colon : "latest");
                if (!r.tag)
                        return err_oom(err);
        }

        path = rest;
        slash = strchr(rest, '/');
        if (slash) {
                *slash = '\0';
                if (looks_like_host(rest)) {
                        r.host = strdup(strcmp(rest, "index.docker.io") == 0 ? DEFAULT_HOST : rest);
                        if (!r.host)
                                return err_oom(err);
                        path = slash + 1;
                } else {
                        *slash = '/';
                }
        }
        if (!r.host)
                r.host = strdup(DEFAULT_HOST);
        if (!r.host)
                return err_oom(err);

        r.repository = str_printf(err, "%s%s",
                                  strcmp(r.host, DEFAULT_HOST) == 0 && !strchr(path, '/') ? "library/" : "", path);
        if (!r.repository)
                return -1;
        if (!host_valid(r.host))
                return err_set(err, CRINGLE_E_INVALID, "image reference %s: bad registry host", text);
        if (!repository_valid(r.repository))
                return err_set(err, CRINGLE_E_INVALID, "image reference %s: bad repository name", text);
        if (strlen(r.host) + 1 + strlen(r.repository) > NAME_MAX_LEN)
                return err_set(err, CRINGLE_E_INVALID, "image reference %s: name is longer than %d bytes", text,
                               NAME_MAX_LEN);

        *ret = r;
        r = (struct reference) REFERENCE_INIT;
        return 0;
}

char *reference_text(const struct reference *r, struct cringle_err *err)
{
        return str_printf(err, "%s/%s%s%s%s%s", r->host, r->repository, r->tag ? ":" : "", r->tag ? r->tag : "",
                          r->digest ? "@" : "", r->digest ? r->digest : "");
}

char *reference_text_digest(const struct reference *r, const char *digest, struct cringle_err *err)
{
        return str_printf(err, "%s/%s@%s", r->host, r->repository, digest);
}
