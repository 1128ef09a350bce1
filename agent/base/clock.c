/*
 * Time; see clock.h.
 */

#include <ctype.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"

static int64_t now(clockid_t clock)
{
        struct timespec ts;

        clock_gettime(clock, &ts);
        return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t clock_monotonic(void)
{
        return now(CLOCK_MONOTONIC);
}

int64_t clock_realtime(void)
{
        return now(CLOCK_REALTIME);
}

static char *put_number(char *at, int64_t value, int digits)
{
        for (int i = digits - 1; i >= 0; i--) {
                at[i] = (char) ('0' + value % 10);
                value /= 10;
        }
        return at + digits;
}

/* The civil date of a day number, counted from 1970-01-01 (proleptic Gregorian). */
static void civil_of(int64_t days, int64_t *ret_year, int64_t *ret_month, int64_t *ret_day)
{
        int64_t z = days + 719468;      /* from 0000-03-01, so that leap days end a year */
        int64_t era = (z >= 0 ? z : z - 146096) / 146097;
        int64_t doe = z - era * 146097;
        int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
        int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        int64_t mp = (5 * doy + 2) / 153;

        *ret_day = doy - (153 * mp + 2) / 5 + 1;
        *ret_month = mp < 10 ? mp + 3 : mp - 9;
        *ret_year = yoe + era * 400 + (*ret_month <= 2);
}

void clock_text(int64_t realtime, char text[static CLOCK_TEXT_MAX])
{
        int64_t sec = realtime / NSEC_PER_SEC, nsec = realtime % NSEC_PER_SEC;
        int64_t year, month, day, rest;
        char *at = text;

        if (nsec < 0) {
                nsec += NSEC_PER_SEC;
                sec--;
        }
        rest = sec % 86400;
        if (rest < 0)
                rest += 86400;
        civil_of((sec - rest) / 86400, &year, &month, &day);

        at = put_number(at, year, 4);
        *at++ = '-';
        at = put_number(at, month, 2);
        *at++ = '-';
        at = put_number(at, day, 2);
        *at++ = 'T';
        at = put_number(at, rest / 3600, 2);
        *at++ = ':';
        at = put_number(at, rest / 60 % 60, 2);
        *at++ = ':';
        at = put_number(at, rest % 60, 2);
        *at++ = '.';
        at = put_number(at, nsec, 9);
        *at++ = 'Z';
        *at = '\0';
}

static int64_t unit_of(const char **at)
{
        static const struct {
                const char *name;
                int64_t nsec;
        } units[] = {
                { "ns", 1 },
                { "us", 1000 },
                { "ms", NSEC_PER_MSEC },
                { "s", NSEC_PER_SEC },
                { "m", 60 * NSEC_PER_SEC },
                { "h", 3600 * NSEC_PER_SEC },
        };

        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
                size_t n = strlen(units[i].name);

                if (strncmp(*at, units[i].name, n) == 0) {
                        *at += n;
                        return units[i].nsec;
                }
        }
        return -1;
}

int64_t clock_parse_duration(const char *text)
{
        int64_t total = 0;
        const char *at = text;

        if (!isdigit((unsigned char) *at))
                return -1;

        while (*at) {
                int64_t value = 0, unit;

                if (!isdigit((unsigned char) *at))
                        return -1;
                for (; isdigit((unsigned char) *at); at++)
                        if (__builtin_mul_overflow(value, 10, &value) ||
                            __builtin_add_overflow(value, *at - '0', &value))
                                return -1;

                unit = *at || total ? unit_of(&at) : NSEC_PER_SEC;
                if (unit < 0 || __builtin_mul_overflow(value, unit, &value) ||
                    __builtin_add_overflow(total, value, &total))
                        return -1;
        }
        return total;
}
