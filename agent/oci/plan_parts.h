#pragma once

/*
 * Compiling a launch plan from inside: what plan.c and its parts share, nobody else
 *
 * plan.c has the order; plan_rootfs.c has what a container sees of files, plan_process.c what its process
 * is to be. A part adds records to the plan, or fails with the name of the member that asks for what cannot be.
 */

#include "agent/oci/plan.h"
#include "agent/wire/plan.h"

struct compile {
        struct json_object *spec;
        struct json_object *linux_;     /* NULL: none */
        struct json_object *process;    /* NULL: none */
        const struct plan_options *options;
        bool caller_decides_tty;        /* process.terminal is the container's, not this process's */
        struct rec_writer w;
        struct cringle_err *err;
};

/* A number up to @max.  1: it is there; 0: it is not, and *ret is as it was. */
int part_get_u32(struct json_object *o, const char *name, uint32_t max, uint32_t *ret, struct cringle_err *err);

/* The same of members that must be there. */
int part_need_u32(struct json_object *o, const char *name, uint32_t max, uint32_t *ret, struct cringle_err *err);
int part_need_string(struct json_object *o, const char *name, const char **ret, struct cringle_err *err);

/* Element @i of @array, called @name in errors, as an object; borrowed. */
int part_object_at(struct json_object *array, const char *name, size_t i, struct json_object **ret,
                   struct cringle_err *err);

/* Call @fn for each object of the array @name of @o (may be NULL); absent: nothing. */
int part_each(struct compile *c, struct json_object *o, const char *name,
              int (*fn)(struct compile *c, struct json_object *at));

/* Whether the container has or joins a namespace of this @type ("network"). */
bool part_has_namespace(const struct compile *c, const char *type);

/* The root, mounts, devices, masked and read-only paths. */
int plan_add_rootfs(struct compile *c);

/* Where what runs comes from images of CRIU's. */
int plan_add_restore(struct compile *c);

/* What runs, and as whom: @argv (NULL: process.args), user, limits, confinement, terminal, priorities. */
int plan_add_process(struct compile *c, const char *const *argv);
