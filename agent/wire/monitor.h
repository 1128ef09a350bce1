#pragma once

/*
 * What the agent and a pod's monitor say to each other
 *
 * A SOCK_SEQPACKET socket at <run_dir>/monitor.sock, 0600 in a 0700 directory; the
 * peer must be uid 0.  A message is a header and a row of records (rec.h), one
 * field each, with the fds of its kind beside it.  Each connection has at most one
 * request under way; its reply has the request's id and type | WIRE_REPLY.  A
 * connection that asked for events (WIRE_WATCH) also gets those, with id 0.
 * Several connections may be open; closing one takes nothing back.
 *
 * The protocol only ever grows: types and fields are never reused, unknown fields
 * are skipped, an unknown type is answered with CRINGLE_E_UNIMPLEMENTED.  A monitor
 * lives as long as its pod and so may be older or newer than the agent.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/wire/rec.h"

#define WIRE_MAGIC 0x6d6c6763u          /* "cglm" */
#define WIRE_VERSION 1
#define WIRE_MAX (64u << 10)            /* bytes of a message; plans travel in a sealed memfd beside it */
#define WIRE_FDS_MAX 36              /* plan, rootfs, brought mounts; what comes with other requests is less */

#define WIRE_SOCKET "monitor.sock"      /* below the pod's run_dir */
#define WIRE_NS_DIR "ns"                /* ns/net, ns/ipc, ns/uts, ns/user, ns/pid */
#define WIRE_EXIT_DIR "exit"            /* exit/<container>: how it ended, see wire_exit_* */

/* The monitor is started with these; argv is: run_dir, then the cgroup directories it moves itself to. */
enum {
        WIRE_FD_EXE = 3,                /* the sealed memfd it runs from */
        WIRE_FD_CONN = 4,               /* its first connection */
};

#define WIRE_REPLY 0x8000u

enum wire_type {
        WIRE_WATCH = 1,         /* -> reply: POD, PID; fd: its pidfd.  From now on events. */
        WIRE_OPEN_POD = 2,      /* POD, NAMESPACES, HOSTNAME, SYSCTL*, ID_MAP*, SELINUX? */
        WIRE_CREATE = 3,        /* CONTAINER, LOG_PATH?, LOG_MAX_LINE, FLAGS, SHARE_PID?, BROUGHT?; fds: plan, rootfs if
                                   WIRE_HAS_ROOTFS, BROUGHT mounts */
        WIRE_START = 4,         /* CONTAINER */
        WIRE_KILL = 5,          /* CONTAINER, SIGNAL, FLAGS (WIRE_ALL) */
        WIRE_STATE = 6,         /* CONTAINER */
        WIRE_DESTROY = 7,       /* CONTAINER -> WARNING* */
        WIRE_REOPEN_LOG = 8,    /* CONTAINER */
        WIRE_EXEC = 9,          /* CONTAINER, EXEC_ID, TIMEOUT, FLAGS; fds: plan, then those of WIRE_HAS_STDIN, _STDOUT, _STDERR */
        WIRE_KILL_EXEC = 10,    /* EXEC_ID */
        WIRE_RESIZE = 11,       /* CONTAINER, EXEC_ID?, COLUMNS, ROWS */
        WIRE_ATTACH = 12,       /* CONTAINER, FLAGS; fds: as for EXEC without the plan */
        WIRE_CLOSE_POD = 13,    /* the reply is its last word */

        WIRE_EXITED = 0x4001,           /* CONTAINER, RUN_STATE */
        WIRE_EXEC_EXITED = 0x4002,      /* CONTAINER, EXEC_ID, RUN_STATE, TIMED_OUT */
        WIRE_HOOK_RAN = 0x4003,         /* CONTAINER, HOOK; or HOOKS_LOST alone */
};

enum wire_field {
        WIRE_ERROR = 1,         /* u32 code; u32 errno; str text: the request failed */
        WIRE_WARNING = 2,       /* str */
        WIRE_POD = 3,           /* str */
        WIRE_CONTAINER = 4,     /* str */
        WIRE_EXEC_ID = 5,       /* str */
        WIRE_PID = 6,           /* u32 */
        WIRE_NAMESPACES = 7,    /* u32 CLONE_NEW* */
        WIRE_HOSTNAME = 8,      /* str */
        WIRE_SYSCTL = 9,        /* str key with slashes; str value */
        WIRE_ID_MAP = 10,       /* as PLAN_ID_MAP */
        WIRE_LOG_PATH = 11,     /* str */
        WIRE_LOG_MAX_LINE = 12, /* u64 */
        WIRE_FLAGS = 13,        /* u32 of the WIRE_* flags below */
        WIRE_SHARE_PID = 14,    /* str container */
        WIRE_SIGNAL = 15,       /* u32 */
        WIRE_TIMEOUT = 16,      /* u64 nanoseconds */
        WIRE_COLUMNS = 17,      /* u32 */
        WIRE_ROWS = 18,         /* u32 */
        WIRE_RUN_STATE = 19,    /* u32 enum cringle_run_state; u32 pid; u32 exit code; u32 signal; u32 oom; u64 started; u64 finished */
        WIRE_TIMED_OUT = 20,    /* u32 */
        WIRE_LOG_DROPPED = 21,  /* u64 bytes that the log could not take */
        WIRE_HOOK = 22,         /* u32 enum plan_stage; u32 number within it, from 1; u32 exit code; u32 WIRE_HOOK_*; u64 nanoseconds
                                   it took; u64 end, nanoseconds since the epoch; str source; str name; str origin; str path;
                                   str error */
        WIRE_HOOKS_LOST = 23,   /* u64 runs of hooks that nobody was told, and nobody will be */
        WIRE_BROUGHT = 24,      /* u32 how many mounts come as fds */
        WIRE_SELINUX = 25,      /* str label of the pod's init; str of its root */
};

enum {
        WIRE_STDIN_OPEN = 1 << 1,
        WIRE_STDIN_ONCE = 1 << 2,
        WIRE_HAS_ROOTFS = 1 << 3,
        WIRE_HAS_STDIN = 1 << 4,
        WIRE_HAS_STDOUT = 1 << 5,
        WIRE_HAS_STDERR = 1 << 6,
        WIRE_ALL = 1 << 7,
};

/*
 * The end of each OCI hook is told as WIRE_HOOK_RAN.  While nobody listens the monitor keeps the last
 * WIRE_HOOKS_KEPT of them for who comes; of older ones it keeps the number.
 */
#define WIRE_HOOKS_KEPT 64

enum {
        WIRE_HOOK_TIMED_OUT = 1 << 0,
        WIRE_HOOK_IGNORED = 1 << 1,     /* it has failed, and that stops nothing */
};

#define WIRE_HOOK_TEXT_MAX 4096         /* bytes of a name or path that are told */

struct wire_header {
        uint32_t magic;
        uint32_t version;
        uint32_t type;
        uint32_t id;
};

/* How a container stands, as both sides hold it. */
struct wire_state {
        uint32_t state;         /* enum cringle_run_state */
        int32_t pid;
        int32_t exit_code;
        int32_t signal;
        uint32_t oom;
        int64_t started_at;
        int64_t finished_at;
};

/* One run of an OCI hook; strings are borrowed. */
struct wire_hook {
        uint32_t stage;         /* enum plan_stage */
        uint32_t index;         /* within its stage, from 1 */
        int32_t exit_code;      /* 128 + signal when it was killed; -1: it could not be started */
        uint32_t flags;         /* WIRE_HOOK_* */
        int64_t nanoseconds;
        int64_t ended_at;       /* CLOCK_REALTIME */
        const char *source, *name, *origin;     /* as in PLAN_HOOK; "": the plan does not say */
        const char *path;
        const char *error;      /* "": it succeeded */
};

void wire_put_hook(struct rec_writer *w, const struct wire_hook *hook);

/* Strings are borrowed from the message.  What is malformed leaves @c bad. */
void wire_get_hook(struct rec_cursor *c, struct wire_hook *ret);

void wire_put_state(struct rec_writer *w, const struct wire_state *state);
void wire_get_state(struct rec_cursor *c, struct wire_state *ret);

/* Begin a message in the empty @out; then add records with @w. */
int wire_begin(struct rec_writer *w, struct buf *out, uint32_t type, uint32_t id, struct cringle_err *err);

/* Check the header of a message; *ret_fields then runs over its fields. */
int wire_open(const void *data, size_t n, struct wire_header *ret, struct rec_cursor *ret_fields,
              struct cringle_err *err);

/*
 * The exit file: one line that outlives the monitor.  wire_exit_parse() fails on
 * anything it did not write.
 */
#define WIRE_EXIT_MAX 160
void wire_exit_text(const struct wire_state *state, char text[static WIRE_EXIT_MAX]);
int wire_exit_parse(const char *text, struct wire_state *ret, struct cringle_err *err);
