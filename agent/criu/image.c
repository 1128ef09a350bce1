/*
 * Images of CRIU's: see image.h
 *
 * An image is two numbers that say what it is, and entries, each with its length before it.
 */

#include <string.h>

#include "criu.pb-c.h"

#include "agent/base/str.h"
#include "agent/criu/image.h"

#define HEAD 8

bool image_has_sysv(const char *name, off_t size)
{
        return size > HEAD && (str_starts(name, "ipcns-shm-") || str_starts(name, "ipcns-sem-") || str_starts(name, "ipcns-msg-"));
}

bool image_is_uts(const char *name)
{
        return str_starts(name, "utsns-");
}

static void auto_names_(Criu__UtsNames **n)
{
        criu__uts_names__free_unpacked(*n, NULL);
}

int image_rename(struct buf *image, const char *hostname, struct cringle_err *err)
{
        auto_cleanup(auto_names_) Criu__UtsNames *names = NULL;
        Criu__UtsNames fresh = CRIU__UTS_NAMES__INIT;
        uint32_t n = 0;

        if (image->len >= HEAD + sizeof n)
                memcpy(&n, image->data + HEAD, sizeof n);
        if (n == 0 || n != image->len - HEAD - sizeof n)
                return err_set(err, CRINGLE_E_INVALID, "it is no image of a UTS namespace");
        names = criu__uts_names__unpack(NULL, n, (const uint8_t *) image->data + HEAD + sizeof n);
        if (!names)
                return err_set(err, CRINGLE_E_INVALID, "the image of a UTS namespace is damaged");
        fresh.nodename = (char *) hostname;
        fresh.domainname = names->domainname;
        n = (uint32_t) criu__uts_names__get_packed_size(&fresh);
        image->len = HEAD;
        if (buf_add(image, &n, sizeof n, err) < 0 || buf_reserve(image, n, err) < 0)
                return -1;
        image->len += criu__uts_names__pack(&fresh, (uint8_t *) image->data + image->len);
        return 0;
}
