#pragma once

/*
 * CDI (Container Device Interface 1.1): devices described by files
 *
 * A vendor's file says what a container needs for a device: nodes, mounts, variables,
 * hooks.  Files are JSON or YAML.  A device in a later directory replaces
 * its namesake in an earlier one; two of one name in one directory are in conflict, and
 * neither can be had.  A bad file, or one that uses more than its cdiVersion has, is kept
 * with its error and disables nothing else.  What a file says is done as root: only one that
 * root alone can write counts.
 */

#include "agent/base/json.h"
#include "agent/base/map.h"
#include "cri.pb-c.h"
#include "hooks/adjust.h"

#define CDI_ANNOTATION "cdi.k8s.io/"    /* how device plugins asked before the CRI had a field for it */

struct cdi_file {
        char *path;
        size_t dir;                     /* which directory it is in; later ones win */
        struct json_object *spec;       /* NULL: not in force */
        char *error;                    /* why */
};

struct cdi_device {
        char *name;                     /* qualified: "vendor.com/gpu=0" */
        size_t file;
        struct json_object *edits;      /* borrowed from the file's */
        char *error;                    /* why it cannot be had: a conflict; NULL: it can */
        bool hidden;                    /* a later directory has one of that name */
        uint64_t matches;               /* containers it was given to */
};

struct cdi {
        struct cdi_file *files;
        size_t n_files;
        struct cdi_device *devices;
        size_t n_devices;
        struct map by_name;             /* -> the device that counts, borrowed */
};

/* What the files of all @dirs (ended by NULL) describe, into the empty @ret. */
int cdi_read(const char *const *dirs, struct cdi *ret, struct cringle_err *err);
void cdi_done(struct cdi *c);

/* Whether @name could be a device's at all, qualified as "vendor.com/gpu=0". */
int cdi_check_name(const char *name, struct cringle_err *err);

/* As dir_stamp(), of CDI files. */
uint64_t cdi_stamp(const char *const *dirs, bool *ret_settled);

/*
 * The devices that the kubelet asks for, appended to @ret, each once: those of the CRI's own field, then
 * those of annotations of the container, then of @pod (NULL: it is not heard).
 */
int cdi_wanted(const Cri__ContainerConfig *container, const Cri__PodSandboxConfig *pod, char ***ret,
               struct cringle_err *err);

/*
 * Give the container of @a the devices @names: of each its file's own edits, once, then the device's.
 * @count: they are counted as given.  CRINGLE_E_NOT_FOUND names those that cannot be had, and what there is.
 */
int cdi_apply(struct cdi *c, struct adjust *a, const char *const *names, bool count, struct cringle_err *err);
