#pragma once

/*
 * What a checkpoint of a pod says of itself
 *
 * Its files may come from anywhere: whatever is in them is checked for type, size and sense before it is used.
 */

#include <stddef.h>

#include "agent/base/err.h"

#define CONTENTS_POD_MAX (1 << 20)              /* bytes of pod.json */
#define CONTENTS_STREAMS_MAX (64 << 10)         /* of descriptors.json */
#define CONTENTS_DELETED_MAX (64 << 20)         /* of deleted.files */
#define CONTENTS_CONTAINERS_MAX 1024

struct contents {
        char *network, *pid, *ipc;      /* modes of namespaces, as the CRI calls them ("POD") */
        char **containers;              /* names, each once, and each good for a directory's; ended by NULL */
};

/* pod.json, @n bytes.  *ret is to be freed by contents_done(), also on failure. */
int contents_parse(const char *text, size_t n, struct contents *ret, struct cringle_err *err);
void contents_done(struct contents *c);

/*
 * descriptors.json: what the first process had as stdin, stdout and stderr.  Pipes as CRIU calls them ("pipe:[123]"), the caller's;
 * NULL: a file of its own.  CRINGLE_E_UNIMPLEMENTED: anything else that came from outside.
 */
int contents_parse_streams(const char *text, size_t n, char *ret[static 3], struct cringle_err *err);

/* deleted.files: clean absolute paths, the caller's (strv_free). */
int contents_parse_deleted(const char *text, size_t n, char ***ret, struct cringle_err *err);

#define auto_contents auto_cleanup(contents_done) struct contents
