#pragma once

/*
 * Executors: who makes a pod's namespaces and runs its containers
 *
 * A pod is opened first (its supervisor started, its namespaces made and pinned
 * below run_dir), then containers are created, started, signalled and deleted in
 * it as runtime-spec 1.3 runtime.md describes: create() runs no user code.  All
 * state lives outside the agent; after a restart open_pod() of a pod that is
 * still there adopts it, and the exit codes of what ended meanwhile are told by
 * state().  Everything but exec() is idempotent.
 *
 * Nothing here waits for a container to end: exits are told by the events
 * callback, on a thread of the plugin's.  The callback must return soon.
 */

#include "plugin.h"

#define CRINGLE_EXECUTOR_MAJOR 1
#define CRINGLE_EXECUTOR_MINOR 3

/* Namespaces of a pod, as a mask. */
enum {
        CRINGLE_NS_NET = 1 << 0,
        CRINGLE_NS_IPC = 1 << 1,
        CRINGLE_NS_UTS = 1 << 2,
        CRINGLE_NS_PID = 1 << 3,        /* shared by all containers; the supervisor brings an init */
        CRINGLE_NS_USER = 1 << 4,
};

struct cringle_pod_launch {
        size_t size;
        const char *id;
        const char *run_dir;            /* exists, 0700; namespaces are pinned at <run_dir>/ns/{net,ipc,uts,user} */
        uint32_t namespaces;            /* which are to be made; the others are the host's */
        const char *hostname;           /* may be NULL */
        const struct cringle_pair *sysctls;     /* checked by the caller; set inside the pod's namespaces */
        const struct cringle_id_map *uids, *gids;
        size_t n_uids, n_gids;
        const char *const *cgroup_dirs; /* the supervisor moves itself there before anything else; ended by NULL */
        /* Since 1.2: the SELinux labels of what the pod itself has, its init and that one's files; NULL: none. */
        const char *selinux_label, *mount_label;
};

/*
 * Processes that start() restores from images of CRIU's, in the place of config.json's process.args.  All paths are absolute; the
 * strings are borrowed.
 */
struct cringle_restore {
        size_t size;
        const char *program;            /* CRIU */
        const char *images;             /* a directory; it stays as long as the container is not started */
        const char *work;               /* another, empty; there is "restore.log" when start() has failed */
        const char *streams[3];         /* what stdin, stdout, stderr are in the images ("pipe:[123]"); NULL: none of ours */
};

/* What stands at an entry of config.json's mounts: a detached mount in the place of what is at its source. */
struct cringle_brought_mount {
        const char *source;             /* of that entry, of type "bind" */
        int fd;                         /* borrowed */
};

#define CRINGLE_BROUGHT_MAX 32

struct cringle_container_launch {
        size_t size;
        const char *pod;
        const char *id;
        const char *bundle;             /* directory with config.json (runtime-spec); root.path is a mount point in it */
        const char *config;             /* the text of config.json */
        int rootfs_fd;                  /* detached mount for root.path; -1: root.path is ready as it is; borrowed */
        const char *log_path;           /* CRI log file; NULL: none */
        int64_t log_max_line;           /* bytes before a record is split */
        int tty, stdin_open, stdin_once;
        const char *cgroup_unified;     /* as in struct cringle_cgroup_dirs */
        const char *const *cgroup_v1;
        const char *share_pid_with;     /* container of this pod whose PID namespace is joined; NULL: by config.json */
        const struct cringle_brought_mount *mounts;     /* since 1.1, where features() has brought_mounts */
        size_t n_mounts;                /* at most CRINGLE_BROUGHT_MAX */
        const struct cringle_restore *restore;  /* since 1.3, where features() has restore; NULL: they begin anew */
};

enum cringle_run_state {
        CRINGLE_RUN_NONE = 0,           /* not known to the executor */
        CRINGLE_RUN_CREATED = 1,
        CRINGLE_RUN_RUNNING = 2,
        CRINGLE_RUN_EXITED = 3,
        CRINGLE_RUN_PAUSED = 4,
};

struct cringle_container_state {
        size_t size;
        int state;                      /* enum cringle_run_state */
        int32_t pid;                    /* in the host's PID namespace, while it lives */
        int32_t exit_code;              /* 0..255; 128 + signal when killed */
        int32_t signal;                 /* that ended it, or 0 */
        int oom;                        /* the kernel's OOM killer ended its first process */
        int64_t started_at;             /* CLOCK_REALTIME nanoseconds, 0: not yet */
        int64_t finished_at;
};

/*
 * A process beside the container's own, with its namespaces and cgroup.  The fds
 * are borrowed; -1 means /dev/null.  With tty, stdin_fd carries both directions.
 */
struct cringle_exec {
        size_t size;
        const char *pod;
        const char *container;
        const char *id;                 /* of this exec, chosen by the caller */
        const char *const *argv;        /* ended by NULL */
        int tty;
        int stdin_fd, stdout_fd, stderr_fd;
        int64_t timeout;                /* nanoseconds until the whole process tree is killed; 0: none */
};

enum cringle_executor_event_type {
        CRINGLE_EVENT_EXITED = 1,       /* container ended: `state` is filled */
        CRINGLE_EVENT_EXEC_EXITED = 2,  /* an exec ended: `exec` names it */
        CRINGLE_EVENT_POD_LOST = 3,     /* the supervisor of the pod is gone, and all its processes with it */
        CRINGLE_EVENT_HOOK = 4,         /* since 1.1: an OCI hook of the container has run: `hook` tells; `hooks_lost` */
};

/*
 * One run of an OCI hook, also of one that failed.  Whose it is comes from the member `from` of the hook in
 * config.json: {"source": "hooks.d", "name": "10-gpu.json", "origin": "/etc/..."}.
 */
struct cringle_hook_run {
        size_t size;
        const char *stage;              /* "createRuntime" */
        uint32_t index;                 /* within its stage, from 1 */
        int32_t exit_code;              /* 128 + signal when killed; -1: it could not be started */
        int timed_out;
        int ignored;                    /* it has failed, and that stops nothing */
        int64_t nanoseconds;
        int64_t ended_at;               /* CLOCK_REALTIME nanoseconds */
        const char *source, *name, *origin;     /* of `from`; "": config.json does not say */
        const char *path;
        const char *error;              /* one line that says all of it; NULL: it succeeded */
};

struct cringle_executor_event {
        size_t size;
        int type;
        const char *pod;
        const char *container;
        const char *exec;
        struct cringle_container_state state;   /* for an exec: exit_code and signal of the exec */
        int timed_out;                  /* an exec that was killed for its time limit */

        /* Since 1.1, of CRINGLE_EVENT_HOOK: */
        const struct cringle_hook_run *hook;    /* NULL: it is of lost ones */
        uint64_t hooks_lost;            /* runs that could not be told, the agent having been away */
};

typedef void (*cringle_executor_event_fn)(void *data, const struct cringle_executor_event *event);

struct cringle_executor_features {
        size_t size;
        int user_namespaces;
        int recursive_readonly;
        int apparmor;
        int selinux;
        int seccomp;
        int brought_mounts;             /* since 1.1: create() takes struct cringle_brought_mount */
        int restore;                    /* since 1.3: and struct cringle_restore */
};

struct cringle_executor_ops {
        size_t size;

        int (*features)(void *self, struct cringle_executor_features *ret, struct cringle_err *err);

        /* Where events go.  Called once, before the first pod is opened. */
        void (*listen)(void *self, cringle_executor_event_fn fn, void *data);

        /* Make or adopt.  CRINGLE_E_NOT_FOUND with @adopt: its supervisor is gone. */
        int (*open_pod)(void *self, const struct cringle_call *call, const struct cringle_pod_launch *pod, int adopt,
                        struct cringle_err *err);

        /* End every process of the pod and its supervisor, unpin the namespaces. */
        int (*close_pod)(void *self, const struct cringle_call *call, const char *pod, const char *run_dir,
                         struct cringle_err *err);

        int (*create)(void *self, const struct cringle_call *call, const struct cringle_container_launch *launch,
                      struct cringle_container_state *ret, struct cringle_err *err);
        int (*start)(void *self, const struct cringle_call *call, const char *pod, const char *id,
                     struct cringle_container_state *ret, struct cringle_err *err);

        /* Signal the first process, or with @all everything in the container. A dead container: success. */
        int (*kill)(void *self, const struct cringle_call *call, const char *pod, const char *id, int signal, int all,
                    struct cringle_err *err);

        int (*state)(void *self, const char *pod, const char *id, struct cringle_container_state *ret,
                     struct cringle_err *err);

        /* Kill what lives, run poststop hooks, forget.  Also for a pod whose supervisor is gone. */
        int (*destroy)(void *self, const struct cringle_call *call, const char *pod, const char *id,
                       const char *bundle, struct cringle_err *err);

        int (*reopen_log)(void *self, const struct cringle_call *call, const char *pod, const char *id,
                          struct cringle_err *err);

        /* Returns when the process runs; its end is told by an event. */
        int (*exec)(void *self, const struct cringle_call *call, const struct cringle_exec *exec,
                    struct cringle_err *err);

        /* Kill an exec's process tree.  Gone already: success. */
        int (*kill_exec)(void *self, const struct cringle_call *call, const char *pod, const char *exec,
                         struct cringle_err *err);

        int (*resize)(void *self, const struct cringle_call *call, const char *pod, const char *container,
                      const char *exec, uint16_t columns, uint16_t rows, struct cringle_err *err);

        /*
         * Join the container's terminal or pipes: the fds (-1: not wanted; borrowed)
         * are the plugin's ends of socket pairs, which it duplicates.
         */
        int (*attach)(void *self, const struct cringle_call *call, const char *pod, const char *container,
                      int stdin_fd, int stdout_fd, int stderr_fd, struct cringle_err *err);
};
