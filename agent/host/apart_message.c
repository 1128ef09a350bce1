/*
 * Messages of hook plugins in processes of their own; see apart_message.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/base/err.h"
#include "agent/base/str.h"
#include "agent/host/apart_message.h"

void apart_put(struct rec_writer *w, const char *text)
{
        rec_put_u32(w, text != NULL);
        rec_put_str(w, text);
}

const char *apart_get(struct rec_cursor *c)
{
        uint32_t there = rec_get_u32(c);
        const char *text = rec_get_str(c);

        return there ? text : NULL;
}

void apart_put_list(struct rec_writer *w, const char *const *list)
{
        static const char *const none[] = { NULL };

        rec_put_u32(w, list != NULL);
        rec_put_strv(w, list ? list : none);
}

const char **apart_get_list(struct rec_cursor *c, bool *ret_is_null)
{
        *ret_is_null = rec_get_u32(c) == 0;
        return rec_get_strv(c);
}

void apart_put_settings(struct rec_writer *w, const struct cringle_pair *settings)
{
        uint32_t n = 0;

        for (const struct cringle_pair *p = settings; p->key; p++)
                n++;
        rec_put_u32(w, n);
        for (const struct cringle_pair *p = settings; p->key; p++) {
                rec_put_str(w, p->key);
                rec_put_str(w, p->value);
        }
}

struct cringle_pair *apart_get_settings(struct rec_cursor *c)
{
        uint32_t n = rec_get_u32(c);
        struct cringle_pair *list;

        if (c->bad || n > c->left)      /* each takes more than a byte */
                return NULL;
        list = calloc((size_t) n + 1, sizeof *list);
        for (uint32_t i = 0; list && i < n; i++) {
                list[i].key = rec_get_str(c);
                list[i].value = rec_get_str(c);
        }
        if (c->bad) {
                free(list);
                return NULL;
        }
        return list;
}

void apart_put_result(struct rec_writer *w, int result, const struct cringle_err *err)
{
        rec_put_u32(w, result < 0);
        rec_put_u32(w, result < 0 ? (uint32_t) err->code : 0);
        rec_put_str(w, result < 0 ? err->text : "");
}

int apart_get_result(struct rec_cursor *c, struct cringle_err *err)
{
        uint32_t failed = rec_get_u32(c), code = rec_get_u32(c);
        const char *text = rec_get_str(c);

        if (c->bad)
                return err_set(err, CRINGLE_E_INTERNAL, "a message that makes no sense");
        if (code == CRINGLE_OK || code > CRINGLE_E_UNAUTHENTICATED)     /* no failure may read as a success */
                code = CRINGLE_E_UNKNOWN;
        return failed ? err_set(err, (int) code, "%s", text) : 0;
}

int apart_receive(int fd, struct buf *ret, struct cringle_err *err)
{
        ssize_t n;

        do
                n = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC);
        while (n < 0 && errno == EINTR);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
                return 0;
        if (n < 0)
                return err_sys(err, "receive");
        if (n > APART_MESSAGE_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "a message of %zd bytes", n);
        ret->len = 0;
        if (buf_reserve(ret, (size_t) n, err) < 0)
                return -1;
        n = recv(fd, ret->data, (size_t) n, 0);
        if (n <= 0)
                return n < 0 ? err_sys(err, "receive") : 0;
        ret->len = (size_t) n;
        return 1;
}

void apart_widen(int fd)
{
        int size = APART_MESSAGE_MAX;

        /* Past the system's limit where we may; messages that do not fit are refused one by one. */
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
                setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}
