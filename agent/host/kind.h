#pragma once

/*
 * What the host knows of each kind of plugin
 *
 * One entry per kind: the version of its interface, the members its ops table must
 * and may have, and the timed stand-ins that callers call in the plugin's place.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plugins/api/plugin.h"

struct kind_member {
        const char *name;
        size_t offset;
        bool optional;
};

struct kind {
        int number;                     /* enum cringle_kind */
        const char *name;               /* "cgroup" */
        const char *ops_name;           /* "cringle_cgroup_ops" */
        uint16_t major, minor;
        size_t ops_size;
        const struct kind_member *members;      /* function pointers, ended by a NULL name */
        const void *timed;              /* an ops table; a NULL member there: the plugin's own is called directly */
};

/* NULL: no such kind. */
const struct kind *kind_of(int number);
const struct kind *kind_named(const char *name);

/* The function pointer of @ops at @m, or NULL. */
typedef void (*kind_fn)(void);
kind_fn kind_member_of(const void *ops, const struct kind_member *m);

/*
 * Fill @table (ops_size bytes, zeroed) with what callers are to see of @ops (also
 * full-size): a timed stand-in for each member that is there.  The `self` they pass
 * is then a struct instance.
 */
void kind_bind(const struct kind *k, const void *ops, void *table);
