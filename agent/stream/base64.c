/*
 * Base64; see base64.h.
 */

#include "agent/stream/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_write(const void *data, size_t n, char *ret)
{
        const unsigned char *in = data;

        for (; n > 0; ret += 4) {
                unsigned three = (unsigned) in[0] << 16 | (n > 1 ? (unsigned) in[1] << 8 : 0) | (n > 2 ? in[2] : 0);
                size_t part = n < 3 ? n : 3;

                ret[0] = digits[three >> 18];
                ret[1] = digits[three >> 12 & 63];
                ret[2] = part > 1 ? digits[three >> 6 & 63] : '=';
                ret[3] = part > 2 ? digits[three & 63] : '=';
                in += part;
                n -= part;
        }
}

static int value_of(char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_read(struct base64 *b, const char *text, size_t n, char *ret, size_t *ret_n)
{
        size_t out = 0;

        for (size_t i = 0; i < n; i++) {
                int value = value_of(text[i]);

                if (b->over || (value < 0 && (text[i] != '=' || b->n < 2)) || (value >= 0 && b->padding > 0))
                        return false;
                b->padding += value < 0;
                b->bits = b->bits << 6 | (value < 0 ? 0 : (unsigned) value);
                if (++b->n < 4)
                        continue;
                for (unsigned k = 0; k < 3 - b->padding; k++)
                        ret[out++] = (char) (b->bits >> (16 - 8 * k));
                b->over = b->padding > 0;
                b->bits = b->n = b->padding = 0;
        }
        *ret_n = out;
        return true;
}
