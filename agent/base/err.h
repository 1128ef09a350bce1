#pragma once

/*
 * Errors: noticed once, wrapped on the way up, logged at the end of the journey
 *
 * A function that can fail returns -1 and fills the struct cringle_err its caller
 * brought.  All functions here return -1, so that `return err_set(...)` reads as
 * what it is, and accept a NULL @err.
 */

#include "plugins/api/err.h"

/* A fresh error: @code as in enum cringle_code, text by format. */
__attribute__((format(printf, 3, 4)))
int err_set(struct cringle_err *err, int code, const char *format, ...);

/*
 * A failed system call: text, then ": " and strerror(errno); the code follows
 * from errno (ENOENT: not found, EACCES: denied, ENOSPC: exhausted, ...).
 */
__attribute__((format(printf, 2, 3)))
int err_sys(struct cringle_err *err, const char *format, ...);

/* As err_sys() for an errno that was kept or returned. */
__attribute__((format(printf, 3, 4)))
int err_sysno(struct cringle_err *err, int sys, const char *format, ...);

/* Put "text: " in front of what @err says. */
__attribute__((format(printf, 2, 3)))
int err_wrap(struct cringle_err *err, const char *format, ...);

int err_oom(struct cringle_err *err);

/* Empty @err, to use it again. */
void err_clear(struct cringle_err *err);

/* The code that fits an errno. */
int err_code_of(int sys);
