#pragma once

/*
 * SELinux labels of files
 *
 * What has the label already is left alone, and so is a file system that has no labels or is read-only.
 */

#include <stdbool.h>

#include "plugins/api/plugin.h"

#include "agent/base/err.h"

/* Directories in one another, each an open fd.  Who nests them deeper gets CRINGLE_E_EXHAUSTED. */
#define LABEL_DEPTH_MAX 512

/* Is there a policy that gives labels? */
bool label_active(void);

/* 0 when the policy knows @label; CRINGLE_E_PRECONDITION when it does not. */
int label_check(const char *label, struct cringle_err *err);

/* Has @path, itself, this label? */
bool label_is(const char *path, const char *label);

/* Of @path itself, also when that is a symbolic link. */
int label_file(const char *path, const char *label, struct cringle_err *err);

/*
 * Of @path and all below, whoever writes there: symbolic links are labelled and not followed, what is mounted
 * there is left alone, what goes meanwhile is gone.
 */
int label_tree(const char *path, const char *label, const struct cringle_call *call, struct cringle_err *err);
