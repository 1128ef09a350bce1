/*
 * Amounts; see quantity.h.  All arithmetic is in 128 bits and checked.
 */

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "agent/cli/quantity.h"

#define DIGITS_MAX 18

/* A suffix is a power of ten or of two. */
static bool parse_suffix(const char *text, int *ret_ten, int *ret_two)
{
        static const struct {
                const char *name;
                int ten, two;
        } suffixes[] = {
                { "", 0, 0 },    { "n", -9, 0 },  { "u", -6, 0 },  { "m", -3, 0 },  { "k", 3, 0 },
                { "M", 6, 0 },   { "G", 9, 0 },   { "T", 12, 0 },  { "P", 15, 0 },  { "E", 18, 0 },
                { "Ki", 0, 10 }, { "Mi", 0, 20 }, { "Gi", 0, 30 }, { "Ti", 0, 40 }, { "Pi", 0, 50 }, { "Ei", 0, 60 },
        };
        bool minus;
        int value = 0;

        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
                if (strcmp(text, suffixes[i].name) == 0) {
                        *ret_ten = suffixes[i].ten;
                        *ret_two = suffixes[i].two;
                        return true;
                }
        }

        if (*text != 'e' && *text != 'E')
                return false;
        minus = text[1] == '-';
        text += 1 + (text[1] == '-' || text[1] == '+');
        if (!isdigit((unsigned char) text[0]) || (text[1] && (!isdigit((unsigned char) text[1]) || text[2])))
                return false;
        for (; *text; text++)
                value = value * 10 + *text - '0';
        *ret_ten = minus ? -value : value;
        *ret_two = 0;
        return true;
}

int64_t quantity_parse(const char *text, int milli)
{
        __int128 value = 0;
        int digits = 0, seen = 0, ten = 0, two = 0, fraction = 0;
        bool point = false, rest = false;

        text += *text == '+';
        for (; isdigit((unsigned char) *text) || (*text == '.' && !point); text++) {
                if (*text == '.') {
                        point = true;
                        continue;
                }
                seen++;
                if (digits == 0 && *text == '0' && !point)
                        continue;
                if (++digits > DIGITS_MAX)
                        return -1;
                value = value * 10 + *text - '0';
                fraction += point;
        }
        if (!seen || !parse_suffix(text, &ten, &two))
                return -1;

        ten += (milli ? 3 : 0) - fraction;
        for (; value && two > 0; two--)
                if (__builtin_mul_overflow(value, 2, &value))
                        return -1;
        for (; value && ten > 0; ten--)
                if (__builtin_mul_overflow(value, 10, &value))
                        return -1;
        for (; value && ten < 0; ten++) {
                rest |= value % 10 != 0;
                value /= 10;
        }
        if (rest)
                value++;
        return value > INT64_MAX ? -1 : (int64_t) value;
}
