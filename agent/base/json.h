#pragma once

/*
 * JSON, on json-c
 *
 * Parsing here is strict and bounded (depth 64, UTF-8 checked, nothing after the
 * value).  Getters take the path of words that leads to a member and tell apart "not
 * there" from "of the wrong type", which is an error that names the member.
 */

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "agent/base/buf.h"

static inline void auto_json_(struct json_object **o)
{
        if (*o)
                json_object_put(*o);
}

#define auto_json auto_cleanup(auto_json_) struct json_object *

/* @n bytes at @text; *ret is the caller's (json_object_put). */
int json_parse(const char *text, size_t n, struct json_object **ret, struct cringle_err *err);
/* As json_parse(), but strings may be any bytes: a config.json of ours holds environment values as they came. */
int json_parse_bytes(const char *text, size_t n, struct json_object **ret, struct cringle_err *err);
int json_read(const char *path, size_t max, struct json_object **ret, struct cringle_err *err);
int json_read_bytes(const char *path, size_t max, struct json_object **ret, struct cringle_err *err);

/* Compact, without escaped slashes.  Appends. */
int json_write(struct json_object *o, struct buf *ret, struct cringle_err *err);

/*
 * Member @name of @o.  1: there (borrowed); 0: absent or null, *ret untouched; -1:
 * of another type.
 */
int json_get_string(struct json_object *o, const char *name, const char **ret, struct cringle_err *err);
int json_get_int(struct json_object *o, const char *name, int64_t *ret, struct cringle_err *err);
int json_get_bool(struct json_object *o, const char *name, bool *ret, struct cringle_err *err);
int json_get_object(struct json_object *o, const char *name, struct json_object **ret, struct cringle_err *err);
int json_get_array(struct json_object *o, const char *name, struct json_object **ret, struct cringle_err *err);

/* A member array of strings as a list, the caller's; absent: *ret is NULL and 0. */
int json_get_strv(struct json_object *o, const char *name, char ***ret, struct cringle_err *err);

/* Building: memory running out is told once, by -1. */
int json_set(struct json_object *o, const char *name, struct json_object *value, struct cringle_err *err); /* takes @value, also on failure */
int json_set_string(struct json_object *o, const char *name, const char *value, struct cringle_err *err);
int json_set_int(struct json_object *o, const char *name, int64_t value, struct cringle_err *err);
int json_set_bool(struct json_object *o, const char *name, bool value, struct cringle_err *err);
int json_set_strv(struct json_object *o, const char *name, const char *const *list, struct cringle_err *err);
int json_add(struct json_object *array, struct json_object *value, struct cringle_err *err);    /* takes @value */
int json_add_string(struct json_object *array, const char *value, struct cringle_err *err);

/* The member object or array @name, made when absent; borrowed.  NULL: out of memory or another type. */
struct json_object *json_need_object(struct json_object *o, const char *name, struct cringle_err *err);
struct json_object *json_need_array(struct json_object *o, const char *name, struct cringle_err *err);
