/*
 * Small things to do with protobuf-c messages; see message.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/own.h"
#include "agent/pod/message.h"

#define ITEM_TAG (1 << 3 | 2)           /* field 1, with a length */

void *message_copy(const void *message)
{
        const ProtobufCMessage *m = message;
        size_t n = protobuf_c_message_get_packed_size(m);
        auto_free uint8_t *bytes = malloc(n ? n : 1);

        if (!bytes)
                return NULL;
        protobuf_c_message_pack(m, bytes);
        return protobuf_c_message_unpack(m->descriptor, NULL, n, bytes);
}

uint8_t *message_item(const void *message, size_t *ret_n)
{
        size_t n = protobuf_c_message_get_packed_size(message), left, head = 2;
        uint8_t *bytes, *at;

        for (left = n; left >= 0x80; left >>= 7)
                head++;
        bytes = at = malloc(head + n);
        if (!bytes)
                return NULL;
        *at++ = ITEM_TAG;
        for (left = n; left >= 0x80; left >>= 7)
                *at++ = (uint8_t) (left | 0x80);
        *at++ = (uint8_t) left;
        protobuf_c_message_pack(message, at);
        *ret_n = head + n;
        return bytes;
}

void *message_free(void *message)
{
        protobuf_c_message_free_unpacked(message, NULL);
        return NULL;
}

bool message_equal(const void *a, const void *b)
{
        size_t n = protobuf_c_message_get_packed_size(a);
        auto_free uint8_t *x = malloc(2 * n + 1);

        if (!x || n != protobuf_c_message_get_packed_size(b))
                return false;
        protobuf_c_message_pack(a, x);
        protobuf_c_message_pack(b, x + n);
        return memcmp(x, x + n, n) == 0;
}

int message_set(char **field, const char *value, struct cringle_err *err)
{
        char *fresh = strdup(value);

        if (!fresh)
                return err_oom(err);
        if (*field != protobuf_c_empty_string)
                free(*field);
        *field = fresh;
        return 0;
}

const char *message_pair(Cri__Pair *const *pairs, size_t n, const char *key)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(pairs[i]->key, key) == 0)
                        return pairs[i]->value;

        return NULL;
}

bool message_has_pairs(Cri__Pair *const *pairs, size_t n, Cri__Pair *const *wanted, size_t n_wanted)
{
        for (size_t i = 0; i < n_wanted; i++) {
                const char *value = message_pair(pairs, n, wanted[i]->key);

                if (!value || strcmp(value, wanted[i]->value) != 0)
                        return false;
        }
        return true;
}
