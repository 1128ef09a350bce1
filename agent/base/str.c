/*
 * Strings and lists of strings; see str.h.
 */

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/str.h"

char *str_printf(struct cringle_err *err, const char *format, ...)
{
        va_list args;
        char *s;
        int n;

        va_start(args, format);
        n = vasprintf(&s, format, args);
        va_end(args);
        if (n < 0) {
                err_oom(err);
                return NULL;
        }
        return s;
}

bool str_equal(const char *a, const char *b)
{
        if (!a || !b)
                return a == b;
        return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

int str_int64(const char *s, int64_t min, int64_t max, int64_t *ret, struct cringle_err *err)
{
        const char *digits = s[0] == '-' ? s + 1 : s;
        long long value;
        char *end;

        if (!isdigit((unsigned char) digits[0]))
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is not a number", s);

        errno = 0;
        value = strtoll(s, &end, 10);
        if (*end)
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is not a number", s);
        if (errno || value < min || value > max)
                return err_set(err, CRINGLE_E_INVALID, "%.64s is not within %lld and %lld", s, (long long) min,
                               (long long) max);

        *ret = value;
        return 0;
}

int str_id(const char *s, uint32_t *ret, struct cringle_err *err)
{
        int64_t value;

        if (s[0] == '-')
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is not an id", s);
        if (str_int64(s, 0, (int64_t) UINT32_MAX - 1, &value, err) < 0)
                return -1;

        *ret = (uint32_t) value;
        return 0;
}

bool str_is_id(const char *s, size_t max)
{
        size_t n = 0;

        if (!s || !isalnum((unsigned char) s[0]) || strstr(s, ".."))
                return false;
        for (; s[n]; n++)
                if (n >= max || (!isalnum((unsigned char) s[n]) && !strchr("_.-", s[n])))
                        return false;

        return true;
}

/* The bytes of the well-formed character at @s (Unicode 15, table 3-7), 0: there is none. */
static size_t utf8_length(const unsigned char *s)
{
        size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

        for (size_t i = 1; i < n; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        /* Not longer than need be, no surrogates, nothing past U+10FFFF. */
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
            (s[0] == 0xf4 && s[1] > 0x8f))
                return 0;
        return n;
}

int str_copy(char **to, const char *from, struct cringle_err *err)
{
        *to = from ? strdup(from) : NULL;
        return from && !*to ? err_oom(err) : 0;
}

void str_undo_octal(char *s)
{
        char *to = s;

        for (; *s; s++, to++) {
                if (s[0] == '\\' && strspn(s + 1, "01234567") >= 3) {
                        *to = (char) ((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
                        s += 3;
                } else {
                        *to = *s;
                }
        }
        *to = '\0';
}

void str_make_utf8(char *s)
{
        while (*s) {
                size_t n = utf8_length((const unsigned char *) s);

                if (n == 0) {
                        *s = '?';
                        n = 1;
                }
                s += n;
        }
}

size_t str_distance(const char *a, const char *b, size_t limit)
{
        size_t row[65];
        size_t n = strlen(a), m = strlen(b);

        if ((n > m ? n - m : m - n) > limit)    /* no path is shorter */
                return limit + 1;
        if (n >= 64 || m >= 64)
                return strcmp(a, b) == 0 ? 0 : limit + 1;

        for (size_t j = 0; j <= m; j++)
                row[j] = j;
        for (size_t i = 1; i <= n; i++) {
                size_t diagonal = row[0], least = i;

                row[0] = i;
                for (size_t j = 1; j <= m; j++) {
                        size_t change = diagonal + (a[i - 1] != b[j - 1]);
                        size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

                        diagonal = row[j];
                        row[j] = change < best ? change : best;
                        least = row[j] < least ? row[j] : least;
                }
                if (least > limit)              /* every path leads through this row */
                        return limit + 1;
        }

        return row[m] > limit ? limit + 1 : row[m];
}

size_t strv_count(const char *const *list)
{
        size_t n = 0;

        while (list && list[n])
                n++;
        return n;
}

char **strv_free(char **list)
{
        for (size_t i = 0; list && list[i]; i++)
                free(list[i]);
        free(list);
        return NULL;
}

char **strv_copy(const char *const *list, struct cringle_err *err)
{
        size_t n = strv_count(list);
        char **copy = calloc(n + 1, sizeof *copy);

        if (!copy) {
                err_oom(err);
                return NULL;
        }
        for (size_t i = 0; i < n; i++) {
                copy[i] = strdup(list[i]);
                if (!copy[i]) {
                        err_oom(err);
                        return strv_free(copy);
                }
        }
        return copy;
}

int strv_add(char ***list, const char *s, struct cringle_err *err)
{
        size_t n = strv_count((const char *const *) *list);
        char **grown = realloc(*list, (n + 2) * sizeof *grown);

        if (!grown)
                return err_oom(err);

        *list = grown;
        grown[n + 1] = NULL;
        grown[n] = strdup(s);
        return grown[n] ? 0 : err_oom(err);
}

bool strv_has(const char *const *list, const char *s)
{
        for (size_t i = 0; list && list[i]; i++)
                if (strcmp(list[i], s) == 0)
                        return true;

        return false;
}
