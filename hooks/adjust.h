#pragma once

/*
 * Adjusting a container's specification, with an owner for each field
 *
 * A field is named by what it is ("env HTTP_PROXY", "mount /etc/localtime"); the first
 * hook that touches it owns it.  The specification's own content belongs to nobody
 * and may be replaced.  What a hook has adjusted counts as a whole: when it fails and is
 * ignored, all of it is taken back.  Values come from plugins and are checked here, where
 * the plugin can be named, NULL included.
 */

#include "agent/base/json.h"
#include "agent/base/map.h"

struct adjust {
        struct json_object *spec;       /* borrowed */
        int64_t timeout;                /* seconds, for OCI hooks that are added without one */
        struct map owners;              /* field -> the owner's name, borrowed */

        const char *source;             /* of those who adjust now: "plugin", "nri", "cdi" */
        const char *hook;               /* who adjusts now */
        const char *part, *origin;      /* which device of his, from which file; NULL: there is no such thing */
        bool ignore;                    /* his policy */
        char **taken;                   /* fields that have become his, */
        const char **former;            /* and whose each was; NULL: nobody's */
        char **oci_hooks;               /* that he has added, in words */
        struct json_object *before;     /* the specification as he found it; NULL unless he is ignored when he fails */

        char **cdi_devices;             /* wanted by hooks so far */
        size_t cdi_before;              /* of these, how many he found */
};

#define ADJUST_INIT(tree, seconds) { .spec = (tree), .timeout = (seconds), .source = "plugin" }

void adjust_done(struct adjust *a);

/* From here on it is @hook (borrowed until adjust_done()) who adjusts; @ignore: adjust_undo() will be wanted if it fails. */
int adjust_begin(struct adjust *a, const char *hook, bool ignore, struct cringle_err *err);

/* Take back what was adjusted since adjust_begin(), which was told to @ignore. */
int adjust_undo(struct adjust *a, struct cringle_err *err);

/*
 * Take the field "@what @name" for the hook that adjusts now; CRINGLE_E_PRECONDITION names both when it is another's.
 * adjust_take() takes it from whoever has it: who removes a value has seen it.
 */
int adjust_own(struct adjust *a, const char *what, const char *name, struct cringle_err *err);
int adjust_take(struct adjust *a, const char *what, const char *name, struct cringle_err *err);

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

/* One more CDI device, to be resolved and injected when all hooks have adjusted. */
int adjust_cdi_device(struct adjust *a, const char *name, struct cringle_err *err);

/*
 * What comes ready as a part of the specification; the part is taken, also on failure.
 * A device replaces the one of its path; @access NULL: the node without permission to use it.
 */
int adjust_node(struct adjust *a, struct json_object *node, const char *access, struct cringle_err *err);
int adjust_mount_entry(struct adjust *a, struct json_object *mount, struct cringle_err *err);
int adjust_rdt(struct adjust *a, struct json_object *rdt, struct cringle_err *err);

/* A supplementary group more, and a network device of the node that moves into the container as @name. */
int adjust_group(struct adjust *a, uint32_t gid, struct cringle_err *err);
int adjust_net_device(struct adjust *a, const char *host_name, const char *name, struct cringle_err *err);

/* Mounts by the depth of their targets, so that none hides one made before it; equal ones keep their order. */
int adjust_sort_mounts(struct adjust *a, struct cringle_err *err);

/* Remove what @array has with the member @name being @value. */
void adjust_drop_named(struct json_object *array, const char *name, const char *value);

/* The value of @name in process.env of @spec, borrowed; NULL: none. */
const char *spec_env(struct json_object *spec, const char *name);
