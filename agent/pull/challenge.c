/*
 * How a registry asks for credentials; see challenge.h.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/base/buf.h"
#include "agent/base/str.h"
#include "agent/pull/challenge.h"

void challenge_done(struct challenge *c)
{
        free(c->realm);
        free(c->service);
        free(c->scope);
        *c = (struct challenge) { 0 };
}

static size_t token_length(const char *s)
{
        size_t n = 0;

        while (s[n] && (isalnum((unsigned char) s[n]) || strchr("!#$%&'*+-.^_`|~", s[n])))
                n++;
        return n;
}

static const char *skip_space(const char *s)
{
        return s + strspn(s, " \t");
}

/* A quoted string or a token at *@s, which moves behind it. */
static int read_value(const char **s, char **ret, struct cringle_err *err)
{
        auto_buf value = BUF_INIT;
        const char *p = *s;

        if (buf_add_str(&value, "", err) < 0)
                return -1;
        if (*p != '"') {
                size_t n = strcspn(p, ", \t");

                if (buf_add(&value, p, n, err) < 0)
                        return -1;
                p += n;
        } else {
                for (p++; *p != '"'; p++) {
                        if (*p == '\\')
                                p++;
                        if (!*p)
                                return err_set(err, CRINGLE_E_INVALID, "a quote is not closed");
                        if (buf_add(&value, p, 1, err) < 0)
                                return -1;
                }
                p++;
        }
        *s = p;
        *ret = buf_steal(&value);
        return 0;
}

static char **member(struct challenge *c, const char *name, size_t n)
{
        if (n == 5 && strncasecmp(name, "realm", n) == 0)
                return &c->realm;
        if (n == 7 && strncasecmp(name, "service", n) == 0)
                return &c->service;
        if (n == 5 && strncasecmp(name, "scope", n) == 0)
                return &c->scope;
        return NULL;
}

static enum challenge_scheme scheme_of(const char *name, size_t n)
{
        if (n == 6 && strncasecmp(name, "bearer", n) == 0)
                return CHALLENGE_BEARER;
        if (n == 5 && strncasecmp(name, "basic", n) == 0)
                return CHALLENGE_BASIC;
        return CHALLENGE_OTHER;
}

/* A word with '=' behind it is a parameter of the scheme before, any other word a scheme. */
static int parse(const char *s, struct challenge *list, size_t *n_list, struct cringle_err *err)
{
        for (;;) {
                size_t n;
                const char *name, *after;

                s += strspn(s, " \t,");
                if (!*s)
                        return 0;
                name = s;
                n = token_length(s);
                if (n == 0)
                        return err_set(err, CRINGLE_E_INVALID, "it is not well formed");
                after = skip_space(s + n);

                if (*after == '=' && *n_list > 0) {
                        auto_free char *value = NULL;
                        char **to;

                        s = skip_space(after + 1);
                        if (read_value(&s, &value, err) < 0)
                                return -1;
                        to = member(&list[*n_list - 1], name, n);
                        if (to && !*to)
                                *to = steal(&value);
                } else {
                        if (*n_list == CHALLENGES_MAX)
                                return err_set(err, CRINGLE_E_INVALID, "it has too many challenges");
                        list[(*n_list)++] = (struct challenge) { .scheme = scheme_of(name, n) };
                        s = after;
                }
        }
}

int challenge_parse(const char *header, struct challenge ret[static CHALLENGES_MAX], size_t *ret_n,
                    struct cringle_err *err)
{
        size_t n = 0;

        if (parse(header, ret, &n, err) < 0) {
                while (n > 0)
                        challenge_done(&ret[--n]);
                return err_wrap(err, "WWW-Authenticate");
        }
        *ret_n = n;
        return 0;
}

static bool is_address(const char *host)
{
        return host[0] == '[' || strchr(host, ':') || strspn(host, "0123456789.") == strlen(host);
}

static size_t count_dots(const char *s)
{
        size_t n = 0;

        for (; *s; s++)
                n += *s == '.';
        return n;
}

/*
 * The part of @host that one owner registers, without a list of all registries of names: two labels, or three
 * where the second is short and the first a country ("example.co.uk").  Too much is asked for rather than too little.
 */
static const char *registrable(const char *host)
{
        const char *top = strrchr(host, '.'), *second = top;
        size_t labels = 2;

        if (!top || top == host)
                return host;
        while (second > host && second[-1] != '.')
                second--;
        if (strlen(top + 1) == 2 && top - second <= 3)
                labels = 3;
        while (count_dots(host) >= labels)
                host = strchr(host, '.') + 1;
        return host;
}

bool challenge_same_owner(const char *host, const char *realm_host)
{
        const char *a, *b;

        if (strcasecmp(host, realm_host) == 0)
                return true;
        if (is_address(host) || is_address(realm_host) || !strchr(host, '.') || !strchr(realm_host, '.'))
                return false;
        a = registrable(host);
        b = registrable(realm_host);
        return strchr(a, '.') && strcasecmp(a, b) == 0;
}
