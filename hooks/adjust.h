#pragma once

/*
 * Adjusting a container's specification, with an owner for each field
 *
 * A field is named by what it is ("env HTTP_PROXY", "mount /etc/localtime"); the first
 * hook that touches it owns it.  The specification's own content belongs to nobody
 * and may be replaced.
 */

#include "agent/base/json.h"
#include "agent/base/map.h"

struct adjust {
        struct json_object *spec;       /* borrowed */
        struct map owners;              /* field -> the owner's name, borrowed */
        const char *hook;               /* who adjusts now */
};

#define ADJUST_INIT(tree) { .spec = (tree) }

void adjust_done(struct adjust *a);

int adjust_env(struct adjust *a, const char *name, const char *value, struct cringle_err *err);
int adjust_mount(struct adjust *a, const char *source, const char *target, const char *options,
                 struct cringle_err *err);
int adjust_drop_mount(struct adjust *a, const char *target, struct cringle_err *err);
int adjust_device(struct adjust *a, const char *host_path, const char *container_path, const char *access,
                  struct cringle_err *err);
int adjust_annotation(struct adjust *a, const char *key, const char *value, struct cringle_err *err);
int adjust_args(struct adjust *a, const char *const *args, struct cringle_err *err);
int adjust_rlimit(struct adjust *a, const char *type, uint64_t soft, uint64_t hard, struct cringle_err *err);
int adjust_oci_hook(struct adjust *a, const char *stage, const char *path, const char *const *args,
                    const char *const *env, int timeout, struct cringle_err *err);

/* The value of @name in process.env of @spec, borrowed; NULL: none. */
const char *spec_env(struct json_object *spec, const char *name);
