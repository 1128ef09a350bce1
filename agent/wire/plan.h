#pragma once

/*
 * The launch plan: what the kernel is to be told to make one process
 *
 * Made by agent/oci (plan_compile(), plan_compile_exec()) from a runtime-spec
 * document, carried out by agent/launch.  It is a header and a flat row of records
 * (rec.h), and needs neither JSON nor policy to be read.  Records of one kind stand
 * in the order in which they are to be done; what comes when between the kinds is
 * forced by the kernel and written down in launch.h.
 *
 * The comment beside each tag is the order of the fields in its body.
 */

#include "agent/wire/rec.h"

#define PLAN_MAGIC 0x6e6c7063u          /* "cpln" */
#define PLAN_VERSION 1
#define PLAN_MAX (16u << 20)            /* bytes; a config.json is refused long before */

enum plan_tag {
        PLAN_NAMESPACE = 1,     /* u32 CLONE_NEW*; str path to join, "": make it */
        PLAN_ID_MAP = 2,        /* u32 enum plan_id; u32 inside; u32 outside; u32 length */
        PLAN_TIME_OFFSET = 3,   /* u32 clock; u64 seconds (signed); u32 nanoseconds */
        PLAN_CGROUP = 4,        /* u32 enum plan_cgroup; str directory */
        PLAN_ROOT = 5,          /* str path of the mount point; u32 1: use the rootfs fd; u32 read-only; u32 MS_* propagation or 0 */
        PLAN_MOUNT = 6,         /* str destination; str source; str type; strv data; u32 PLAN_MOUNT_*; u64 attributes
                                   to set; u64 to clear; u64 set, recursively; u64 clear, recursively; u32 MS_* propagation or 0;
                                   with PLAN_MOUNT_BROUGHT u32 which of the brought mounts */
        PLAN_REMOUNT = 7,       /* str destination; u64 attributes to set */
        PLAN_DEVICE = 8,        /* str path; u32 mode with type; u32 major; u32 minor; u32 uid; u32 gid */
        PLAN_LINK = 9,          /* str path; str target */
        PLAN_MASK = 10,         /* str path */
        PLAN_READONLY = 11,     /* str path */
        PLAN_HOSTNAME = 12,     /* str */
        PLAN_DOMAINNAME = 13,   /* str */
        PLAN_SYSCTL = 14,       /* str key with slashes; str value */
        PLAN_RLIMIT = 15,       /* u32 RLIMIT_*; u64 soft; u64 hard */
        PLAN_OOM_SCORE = 16,    /* u32 (signed) oom_score_adj */
        PLAN_CWD = 17,          /* str */
        PLAN_USER = 18,         /* u32 uid; u32 gid; u32 umask or PLAN_NO_UMASK; u32 n; n * u32 groups */
        PLAN_CAPS = 19,         /* u64 bounding; permitted; effective; inheritable; ambient */
        PLAN_NO_NEW_PRIVS = 20, /* nothing */
        PLAN_SECCOMP = 21,      /* u32 SECCOMP_FILTER_FLAG_*; bytes: struct sock_filter[] */
        PLAN_APPARMOR = 22,     /* str profile */
        PLAN_SELINUX = 23,      /* str label */
        PLAN_ARGV = 24,         /* strv */
        PLAN_ENV = 25,          /* strv */
        PLAN_TTY = 26,          /* u32 columns; u32 rows (0: as the terminal is born) */
        PLAN_HOOK = 27,         /* u32 enum plan_stage; str path; strv argv; strv env; u64 nanoseconds, 0: no limit;
                                   maybe u32 1: its failure is a warning, 0: it is not; maybe str; str; str: whose it
                                   is, by source ("hooks.d"), name, and origin (a file) */
        PLAN_STATE = 28,        /* str; str; str: the state JSON is 1 STATUS 2 PID 3 */
        PLAN_BUNDLE = 29,       /* str */
        PLAN_PERSONALITY = 30,  /* u32 */
        PLAN_IO_PRIORITY = 31,  /* u32, as for ioprio_set(2) */
        PLAN_SCHEDULER = 32,    /* as for sched_setattr(2): u32 policy; u64 flags; u32 nice (signed); u32 priority; u64 runtime;
                                   u64 deadline; u64 period */
        PLAN_MEMORY_POLICY = 33, /* as for set_mempolicy(2): u32 mode with flags; u32 n; n * u64 nodes, lowest first */
        PLAN_MOUNT_LABEL = 34,  /* str: SELinux label of the file systems that are made for the container */
        PLAN_RESTORE = 35,      /* str program; strv argv; strv env; str directory; str pid file: its processes come from this
                                   program, see launch.h; of the rest of the plan the cgroups, root, binds, limits and hooks
                                   of after the start count */
};

enum plan_id { PLAN_UID = 0, PLAN_GID = 1 };
enum plan_cgroup { PLAN_CGROUP_V1 = 1, PLAN_CGROUP_UNIFIED = 2 };

#define PLAN_NO_UMASK UINT32_MAX

/* What the program of PLAN_RESTORE finds as fds: the ends of the container's streams, and namespaces that are not its own. */
enum {
        PLAN_FD_STDIO = 20,     /* and the next two */
        PLAN_FD_NET = 23,
        PLAN_FD_PID = 24,
};

enum {
        PLAN_MOUNT_BIND = 1 << 0,
        PLAN_MOUNT_RECURSIVE = 1 << 1,          /* of a bind: with what is mounted below the source */
        PLAN_MOUNT_IDMAP = 1 << 2,              /* ids as the container's user namespace maps them */
        PLAN_MOUNT_IDMAP_RECURSIVE = 1 << 3,
        PLAN_MOUNT_BROUGHT = 1 << 4,            /* of a bind: not the source, but a detached mount that came with the plan */
};

/* In the order they run. */
enum plan_stage {
        PLAN_PRESTART = 0,
        PLAN_CREATE_RUNTIME = 1,
        PLAN_CREATE_CONTAINER = 2,
        PLAN_START_CONTAINER = 3,
        PLAN_POSTSTART = 4,
        PLAN_POSTSTOP = 5,
        PLAN_STAGES = 6,
};

/* The runtime-spec's word for a stage ("createRuntime"). */
const char *plan_stage_name(enum plan_stage stage);

/* A plan begins with this; then put records with @w, then rec_finish(). */
int plan_begin(struct rec_writer *w, struct buf *out, struct cringle_err *err);

/* Check the header and every record's bounds; *ret then runs over the records. */
int plan_open(const void *data, size_t n, struct rec_cursor *ret, struct cringle_err *err);
