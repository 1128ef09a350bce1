/*
 * Errors; see err.h.  Nothing here allocates.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/err.h"

int err_code_of(int sys)
{
        switch (sys) {
        case 0:
                return CRINGLE_E_UNKNOWN;
        case ENOENT:
        case ESRCH:
                return CRINGLE_E_NOT_FOUND;
        case EEXIST:
                return CRINGLE_E_EXISTS;
        case EACCES:
        case EPERM:
                return CRINGLE_E_DENIED;
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
        case EMFILE:
        case ENFILE:
                return CRINGLE_E_EXHAUSTED;
        case ETIMEDOUT:
                return CRINGLE_E_DEADLINE;
        case ECANCELED:
                return CRINGLE_E_CANCELLED;
        case EAGAIN:
        case ECONNREFUSED:
        case ECONNRESET:
        case EPIPE:
                return CRINGLE_E_UNAVAILABLE;
        default:
                return CRINGLE_E_INTERNAL;
        }
}

/* strerror_r() in its GNU form never fails and needs no buffer for known numbers. */
static void append_errno(struct cringle_err *err, int sys)
{
        size_t used = strlen(err->text);
        char space[64];

        snprintf(err->text + used, sizeof err->text - used, ": %s", strerror_r(sys, space, sizeof space));
}

int err_set(struct cringle_err *err, int code, const char *format, ...)
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

static int set_sys(struct cringle_err *err, int sys, const char *format, va_list args)
{
        if (!err)
                return -1;

        err->code = err_code_of(sys);
        err->sys = sys;
        vsnprintf(err->text, sizeof err->text, format, args);
        append_errno(err, sys);
        return -1;
}

int err_sys(struct cringle_err *err, const char *format, ...)
{
        int sys = errno;
        va_list args;

        va_start(args, format);
        set_sys(err, sys, format, args);
        va_end(args);
        return -1;
}

int err_sysno(struct cringle_err *err, int sys, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        set_sys(err, sys, format, args);
        va_end(args);
        return -1;
}

int err_wrap(struct cringle_err *err, const char *format, ...)
{
        char inner[sizeof err->text];
        va_list args;
        size_t used;

        if (!err)
                return -1;

        memcpy(inner, err->text, sizeof inner);
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        used = strlen(err->text);
        snprintf(err->text + used, sizeof err->text - used, ": %s", inner);
        return -1;
}

int err_oom(struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_EXHAUSTED, "out of memory");
}

void err_clear(struct cringle_err *err)
{
        if (!err)
                return;

        err->code = CRINGLE_OK;
        err->sys = 0;
        err->text[0] = '\0';
}
