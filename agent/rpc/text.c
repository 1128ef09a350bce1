/*
 * What gRPC writes into headers; see text.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/rpc/text.h"

static const struct unit {
        char letter;
        int64_t nsec;
} units[] = {
        { 'n', 1 },
        { 'u', INT64_C(1000) },
        { 'm', INT64_C(1000000) },
        { 'S', INT64_C(1000000000) },
        { 'M', INT64_C(60000000000) },
        { 'H', INT64_C(3600000000000) },
};

#define N_UNITS (sizeof units / sizeof *units)
#define DIGITS_MAX 8                    /* says the protocol */
#define VALUE_MAX INT64_C(99999999)

int64_t rpc_timeout_parse(const char *text, size_t n)
{
        int64_t value = 0;

        if (n < 2 || n > DIGITS_MAX + 1)
                return -1;
        for (size_t i = 0; i < n - 1; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return -1;
                value = value * 10 + (text[i] - '0');
        }
        for (size_t i = 0; i < N_UNITS; i++)
                if (units[i].letter == text[n - 1])
                        return value > RPC_TIMEOUT_MAX / units[i].nsec ? RPC_TIMEOUT_MAX : value * units[i].nsec;
        return -1;
}

void rpc_timeout_text(int64_t nsec, char text[static RPC_TIMEOUT_TEXT])
{
        size_t i = 0;
        int64_t value;

        if (nsec < 1)
                nsec = 1;
        while (i < N_UNITS - 1 && (nsec - 1) / units[i].nsec >= VALUE_MAX)
                i++;
        value = (nsec - 1) / units[i].nsec + 1;
        snprintf(text, RPC_TIMEOUT_TEXT, "%d%c", (int) (value > VALUE_MAX ? VALUE_MAX : value), units[i].letter);
}

static int is_plain(unsigned char c)
{
        return c >= 0x20 && c <= 0x7e && c != '%';
}

char *rpc_message_encode(const char *text)
{
        static const char hex[] = "0123456789ABCDEF";
        size_t n = 0;
        char *encoded, *to;

        for (const char *at = text; *at; at++)
                n += is_plain((unsigned char) *at) ? 1 : 3;
        encoded = malloc(n + 1);
        if (!encoded)
                return NULL;

        to = encoded;
        for (const char *at = text; *at; at++) {
                unsigned char c = (unsigned char) *at;

                if (is_plain(c)) {
                        *to++ = (char) c;
                } else {
                        *to++ = '%';
                        *to++ = hex[c >> 4];
                        *to++ = hex[c & 15];
                }
        }
        *to = '\0';
        return encoded;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

void rpc_message_decode(const char *encoded, size_t n, char *text, size_t size)
{
        size_t to = 0;

        for (size_t i = 0; i < n && to + 1 < size; i++) {
                char c = encoded[i];

                if (c == '%' && n - i > 2 && hex_value(encoded[i + 1]) >= 0 && hex_value(encoded[i + 2]) >= 0) {
                        c = (char) (hex_value(encoded[i + 1]) << 4 | hex_value(encoded[i + 2]));
                        i += 2;
                }
                text[to++] = c ? c : ' ';       /* the text is a string: no NUL inside */
        }
        text[to] = '\0';
}

void rpc_prefix_write(uint8_t prefix[static RPC_PREFIX], uint32_t n)
{
        prefix[0] = 0;
        prefix[1] = (uint8_t) (n >> 24);
        prefix[2] = (uint8_t) (n >> 16);
        prefix[3] = (uint8_t) (n >> 8);
        prefix[4] = (uint8_t) n;
}

uint32_t rpc_prefix_length(const uint8_t prefix[static RPC_PREFIX])
{
        return (uint32_t) prefix[1] << 24 | (uint32_t) prefix[2] << 16 | (uint32_t) prefix[3] << 8 | prefix[4];
}
