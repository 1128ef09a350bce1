#pragma once

/*
 * Freezing a tree of processes into files, by CRIU
 *
 * CRIU runs as a child for each dump ("criu swrk"), and is told what to do over a socket.  It may end at any moment,
 * and so may we: the processes run on, then.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/base/call.h"

struct criu_dump {
        const char *program;            /* absolute */
        pid_t pid;                      /* of the tree's root */
        int images;                     /* the directory to fill, where dump.log comes, too */
        bool tty;                       /* the processes have a terminal */
        const char *const *external;    /* as `criu dump --external` takes them; ended by NULL */
        const char *name;               /* what errors call it; NULL: there is no other */
};

/*
 * Dump @n trees, and let the processes run on.  All of them stand still before the first is looked at, and until the last is in
 * the files.  @frozen is called for each (by its number) when it is and nothing runs yet, for what else has to be of
 * that moment; when it fails, so does this.  CRINGLE_E_UNIMPLEMENTED: there is no such program, or it cannot do
 * several at once.  When CRIU fails the error ends with what its log says.
 */
int criu_dump(const struct criu_dump *dumps, size_t n, int (*frozen)(void *data, size_t nth, struct cringle_err *err), void *data,
              const struct cringle_call *call, struct cringle_err *err);

/* Add what its log @name in the directory @dir calls the cause to @err, if there is such a log and it does. */
void criu_add_reason(int dir, const char *name, struct cringle_err *err);
