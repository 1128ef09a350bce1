#pragma once

/*
 * Strings and NULL-ended lists of strings
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

/* A new string by format; NULL when memory is out (then @err says so). */
__attribute__((format(printf, 2, 3)))
char *str_printf(struct cringle_err *err, const char *format, ...);

static inline bool str_empty(const char *s)
{
        return !s || !*s;
}

bool str_equal(const char *a, const char *b);   /* NULL equals NULL only */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/*
 * A decimal number, the whole of @s: no sign but '-', no space, no leading '+'.
 * -1 with CRINGLE_E_INVALID when it is none or out of range.
 */
int str_int64(const char *s, int64_t min, int64_t max, int64_t *ret, struct cringle_err *err);

/* "0" .. "4294967294": a uid or gid.  4294967295 means "no id" to the kernel and is refused. */
int str_id(const char *s, uint32_t *ret, struct cringle_err *err);

/* True for [A-Za-z0-9][A-Za-z0-9_.-]{0,@max-1} without "..": usable as a file name and in any id. */
bool str_is_id(const char *s, size_t max);

/* *@to becomes a copy of @from, the caller's; NULL of NULL. */
int str_copy(char **to, const char *from, struct cringle_err *err);

/* Undo, in place, the octal escapes ("\040") of /proc/PID/mountinfo. */
void str_undo_octal(char *s);

/* Put a '?' in the place of each byte of @s that is no part of UTF-8. */
void str_make_utf8(char *s);

/* The length of the edit path between two words, for "did you mean"; at most @limit + 1. */
size_t str_distance(const char *a, const char *b, size_t limit);

/* Lists end with NULL; NULL is an empty list. */
size_t strv_count(const char *const *list);
char **strv_free(char **list);
char **strv_copy(const char *const *list, struct cringle_err *err);
int strv_add(char ***list, const char *s, struct cringle_err *err);
bool strv_has(const char *const *list, const char *s);

static inline void auto_strv_(char ***list)
{
        strv_free(*list);
}

#define auto_strv auto_cleanup(auto_strv_) char **
