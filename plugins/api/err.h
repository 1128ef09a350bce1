#pragma once

/*
 * How a call across the plugin border fails
 *
 * A failing function returns -1 and fills a struct cringle_err that its caller
 * brought.  The struct is a value: nothing to allocate or free, and a forked
 * child can write it into a pipe as it is.  Codes are numbered like gRPC's
 * status codes, since that is what a kubelet finally sees.
 *
 * Everything here is static inline, so that a plugin links to nothing.
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum cringle_code {
        CRINGLE_OK = 0,
        CRINGLE_E_CANCELLED = 1,
        CRINGLE_E_UNKNOWN = 2,
        CRINGLE_E_INVALID = 3,          /* the request is wrong, now and later */
        CRINGLE_E_DEADLINE = 4,
        CRINGLE_E_NOT_FOUND = 5,
        CRINGLE_E_EXISTS = 6,
        CRINGLE_E_DENIED = 7,
        CRINGLE_E_EXHAUSTED = 8,        /* memory, disk, a quota, an address range */
        CRINGLE_E_PRECONDITION = 9,     /* the object is in the wrong state for this */
        CRINGLE_E_ABORTED = 10,
        CRINGLE_E_RANGE = 11,
        CRINGLE_E_UNIMPLEMENTED = 12,
        CRINGLE_E_INTERNAL = 13,
        CRINGLE_E_UNAVAILABLE = 14,     /* try again later */
        CRINGLE_E_DATA_LOSS = 15,
        CRINGLE_E_UNAUTHENTICATED = 16,
};

struct cringle_err {
        size_t size;                    /* of this struct, set by whoever declares it */
        int32_t code;                   /* enum cringle_code */
        int32_t sys;                    /* the errno behind it, or 0 */
        char text[2032];                /* one line, outermost context first */
};

#define CRINGLE_ERR_INIT { .size = sizeof(struct cringle_err) }

/*
 * Fill @err (which may be NULL) and return -1, so that a function can end with
 * `return cringle_fail(err, CRINGLE_E_INVALID, "...", ...)`.
 */
__attribute__((format(printf, 3, 4)))
static inline int cringle_fail(struct cringle_err *err, int code, const char *format, ...)
{
        va_list args;

        if (!err)
                return -1;

        err->code = code;
        err->sys = 0;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        return -1;
}
