/*
 * Object ids; see id.h.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "agent/base/id.h"

void id_make(char ret[static ID_LEN + 1])
{
        static const char digits[] = "0123456789abcdef";
        unsigned char bytes[ID_LEN / 2];

        while (getrandom(bytes, sizeof bytes, 0) != (ssize_t) sizeof bytes)
                ;       /* only a signal while the pool fills at boot can bring us here */
        for (size_t i = 0; i < sizeof bytes; i++) {
                ret[2 * i] = digits[bytes[i] >> 4];
                ret[2 * i + 1] = digits[bytes[i] & 15];
        }
        ret[ID_LEN] = '\0';
}

bool id_valid(const char *s)
{
        return strlen(s) == ID_LEN && strspn(s, "0123456789abcdef") == ID_LEN;
}
