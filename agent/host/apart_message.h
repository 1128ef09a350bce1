#pragma once

/*
 * What a hook plugin's process and the agent say to each other
 *
 * Each message is one record (agent/wire/rec.h) in one packet.  The agent asks, the
 * child answers with RESULT; in between it may log, count, and ask for what its event
 * offers, which the agent answers with ANSWER before it waits on.  The child begins,
 * with DESCRIBE.  A string that may be NULL has a number before it: 0 for NULL.
 */

#include "agent/base/buf.h"
#include "agent/wire/rec.h"
#include "plugins/api/plugin.h"

enum apart_tag {
        /* from the child */
        APART_DESCRIBE = 1,             /* version, help, has reload, points, settings: name, type, fallback, help */
        APART_RESULT = 2,               /* 0 or 1: failed, code, text */
        APART_ASK = 3,                  /* enum apart_ask, what it wants */
        APART_LOG = 4,                  /* level, text */
        APART_COUNT = 5,                /* name, delta */

        /* from the agent */
        APART_CREATE = 16,              /* state_dir, run_dir, settings */
        APART_RELOAD = 17,              /* settings */
        APART_RUN = 18,                 /* an event */
        APART_ANSWER = 19,              /* 0 or 1: failed, code, text; or a string that may be NULL */
};

enum apart_ask {
        APART_ANNOTATION = 1,
        APART_LABEL,
        APART_ENV,
        APART_SET_ENV,
        APART_ADD_MOUNT,
        APART_DROP_MOUNT,
        APART_ADD_DEVICE,
        APART_SET_ANNOTATION,
        APART_SET_ARGS,
        APART_SET_RLIMIT,
        APART_ADD_OCI_HOOK,
        APART_ADD_CDI_DEVICE,
};

#define APART_FD 3                      /* the child's end */
#define APART_MESSAGE_MAX (4 * 1024 * 1024)

void apart_put(struct rec_writer *w, const char *text);         /* may be NULL */
const char *apart_get(struct rec_cursor *c);                    /* may be NULL */
void apart_put_list(struct rec_writer *w, const char *const *list);     /* may be NULL */
const char **apart_get_list(struct rec_cursor *c, bool *ret_is_null);   /* the array is the caller's */
void apart_put_settings(struct rec_writer *w, const struct cringle_pair *settings);
struct cringle_pair *apart_get_settings(struct rec_cursor *c);  /* the array is the caller's; NULL: bad, or no memory */
void apart_put_result(struct rec_writer *w, int result, const struct cringle_err *err);

/* Fills @err as it was on the other side; comes to 0 or -1. */
int apart_get_result(struct rec_cursor *c, struct cringle_err *err);

/* One packet of any length into @ret, emptied before; 1, 0: the other side is gone, -1. */
int apart_receive(int fd, struct buf *ret, struct cringle_err *err);

/* Room for messages of any length we use. */
void apart_widen(int fd);
