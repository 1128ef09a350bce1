#pragma once

/*
 * Running containers written down: their processes, and what they have changed of their root filesystems
 *
 * What is written has the names that CRI-O and containerd chose, so that their tools read it:
 *
 *      config.dump, spec.dump          who it is, its image; config.json
 *      checkpoint/                     CRIU's images, and descriptors.json, which is runc's and crun's
 *      rootfs-diff.tar, deleted.files  what was changed and made; what of the image is gone, as JSON
 *      dump.log, stats-dump            CRIU's
 *
 * Volumes are not in it.
 */

#include <json-c/json_object.h>
#include <stddef.h>

#include "agent/base/buf.h"
#include "agent/base/call.h"

struct container;
struct pods;

struct capture {
        const struct container *container;
        int dir;                        /* an empty directory, to be filled */
};

/*
 * All @n of them as they are at one moment, for which they stand still; they run on, whatever this comes to.
 * CRINGLE_E_PRECONDITION: one does not run.  CRINGLE_E_UNIMPLEMENTED: there is no CRIU that can do it.
 */
int capture_containers(struct pods *pods, const struct capture *list, size_t n, const struct cringle_call *call,
                       struct cringle_err *err);

/* tar: into @archive, an empty file, of @dir what @words (ended by NULL) and @names (may be NULL; each ended by NUL) say. */
int capture_pack(int dir, int archive, const char *const *words, const struct buf *names, const struct cringle_call *call,
                 struct cringle_err *err);

/* A file that is not there yet. */
int capture_json(int dir, const char *name, struct json_object *o, struct cringle_err *err);

/* Nanoseconds since 1970, as RFC 3339 has it; the caller's. */
char *capture_time(int64_t when, struct cringle_err *err);
