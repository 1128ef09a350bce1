#pragma once

/*
 * Pods and containers as agent/pod keeps them; for the files of this folder only
 *
 * A pod is in `by_id` from before its first step to after its last, but lists and
 * status show it only while it is `visible`.  Names point to the pod that holds
 * them: one that is being made, or is ready.  Everything here is guarded by
 * pods->tasks.lock, but for what the object's own running task alone changes: `request`,
 * the paths, and what says so.
 */

#include <pthread.h>

#include "agent/base/map.h"
#include "agent/base/id.h"
#include "agent/oci/image_config.h"
#include "agent/oci/spec.h"
#include "agent/pod/message.h"
#include "agent/pod/pods.h"
#include "agent/pod/stats.h"
#include "agent/pod/task.h"

/* policy.c */
struct policy {
        unsigned refs;
        char *default_parent;           /* cgroup for pods that are given none */
        char *pull_program, *criu_program;
        char *seccomp_profile;          /* a file; NULL: ours */
        int64_t max_line, exec_limit;   /* bytes */
};

struct pods {
        struct tasks tasks;             /* its lock guards everything below that changes */
        struct db *db;
        struct host_cgroup cgroup;
        struct host_network network;
        struct host_executor executor;
        struct hooks *hooks;
        struct images *images;
        struct loop *loop;
        struct workers *workers;
        struct streaming *streaming;

        char *root, *state;             /* directories */
        char *monitor_parent;
        struct policy *policy;
        struct spec_input machine;      /* what is known of this machine */
        char boot_id[40];

        struct map by_id;               /* id -> struct pod */
        struct map by_name;             /* pod key -> struct pod */
        struct map by_uid;              /* label UID_LABEL -> the first struct pod of those that have it */
        struct map containers;          /* id -> struct container */
        size_t strays;                  /* containers with another uid than their pod's, see lists.c */
        struct map container_names;     /* container key -> struct container */
        struct map execs;               /* exec id -> struct exec */
        struct map users;               /* image id + user string -> struct oci_user */
        struct cringle_executor_features can;   /* what the executor said at start */
        pthread_mutex_t user_ns_lock;   /* guards the next two */
        bool user_ns_probed;
        struct cringle_err no_user_ns;  /* why pods cannot have any; CRINGLE_OK: they can */
        struct sampler *sampler;
        pods_message_fn event_fn;       /* NULL: nobody listens */
        void *event_data;
};

/* What lists say of an object, packed; see lists.c, which alone looks into it. */
struct listed {
        uint8_t *bytes;                 /* NULL: it was never listed */
        size_t n;
        int64_t created_at;             /* as in these bytes; so is */
        int state;
};

/* What the store has of an object. */
enum row_state {
        ROW_NONE = 0,                   /* nothing yet */
        ROW_THERE,
        ROW_GONE                        /* its row is none of ours any more: nothing may write it again */
};

struct container {
        unsigned refs;
        struct pods *pods;
        struct pod *pod;                /* a reference */
        struct container *next;         /* of the pod */
        char id[ID_LEN + 1];
        char *key;
        Cri__CreateContainerRequest *request;
        Cri__ContainerStatus *status;   /* its strings and members are its own */
        struct listed listed;
        struct image *image;            /* NULL when it is gone (after a restart) */
        char *bundle;                   /* <root>/pods/<pod>/<id> */
        char **args;                    /* of its specification, for hooks; set when that is made; NULL after a restart */
        char *log_path;                 /* NULL: none */
        char *step;                     /* "<operation>:<step>" that the store has; NULL: at rest */
        enum row_state row;
        int stop_signal;
        int32_t pid;
        bool starting;                  /* from created */
        bool ran;                       /* the user's program, at any time */
        bool visible;
        bool closing;                   /* is being removed */
        struct lane lane;
        struct task *captured;          /* waits while the pod is checkpointed; NULL: it is not */

        /* A stop that waits for the end: for a grace period, or after SIGKILL. */
        struct task *stopping;
        int64_t wake_at;                /* when it waits no longer; 0: it does not wait */
        bool killed;                    /* it has sent SIGKILL */
        struct loop_timer *timer;       /* the loop thread's; it has a reference */

        struct rate rate;
        struct disk_sample disk;
};

struct pod {
        unsigned refs;
        struct pods *pods;
        char id[ID_LEN + 1];
        char *key;
        Cri__RunPodSandboxRequest *request;
        Cri__PodSandboxStatus *status;
        struct listed listed;
        struct pod *next_of_uid;
        char *run_dir;                  /* <state>/pods/<id> */
        char *dir;                      /* <root>/pods/<id> */
        char *cgroup_parent;            /* of its containers; both as the driver takes them */
        char *monitor_parent;
        char *place;                    /* what the driver makes of the two, see cgroup.c */
        char *level;                    /* SELinux; NULL: the node gave none when it was made */
        char *step;
        enum row_state row;
        bool visible;
        bool closing;                   /* stops or is being removed: no new containers */
        bool rebooted;                  /* its row is of another boot, and so was all it had in the kernel */
        bool lost;                      /* restore found no monitor */
        bool restoring;                 /* being filled from a checkpoint: its containers are not all there yet */
        bool detached;                  /* stopped to the end: no network, monitor or namespaces any more */
        struct container *containers;
        struct lane lane;
        unsigned waits_for;             /* container tasks that a parked pod task waits for */
        struct cringle_err first_error; /* of those */
        struct rate rate;
        Cri__UpdatePodSandboxResourcesRequest *resources;       /* since this start; NULL: as the request says */
};

/* The policy of now; policy_unref() it. */
struct policy *policy_hold(struct pods *pods);

/* pods.c: objects; the lock is held. */
struct pod *pod_new(struct pods *pods, const char *id, Cri__RunPodSandboxRequest *request, struct cringle_err *err); /* takes @request on success */
struct container *container_new(struct pod *pod, const char *id, Cri__CreateContainerRequest *request,
                                struct cringle_err *err);
void pod_ref(void *pod);
void pod_unref(void *pod);
void container_ref(void *container);
void container_unref(void *container);

int pod_enter(struct pod *pod, struct cringle_err *err);                /* into the maps */
int pod_enter_unnamed(struct pod *pod, struct cringle_err *err);        /* a stopped one, which holds no name */
void pod_leave(struct pod *pod);                                        /* out of them; drops their reference */
void pod_drop_name(struct pod *pod);

/*
 * An undo failed.  What is left of the pod is listed as not ready, of a container it
 * stays hidden in its pod: who removes that removes it, too.  The name is free, and the row stays for the next start.
 */
void pod_leave_over(struct pod *pod);
void container_leave_over(struct container *c);
int container_enter(struct container *c, struct cringle_err *err);
void container_drop_name(struct container *c);
void container_leave(struct container *c);

/* By id, or what only one id begins with, among those that are visible.  *ret is borrowed; NULL: none.  INVALID: several. */
int pods_find(struct pods *pods, const char *id, struct pod **ret, struct cringle_err *err);
int containers_find(struct pods *pods, const char *id, struct container **ret, struct cringle_err *err);
int find_pod(struct pods *pods, const char *id, struct pod **ret, struct cringle_err *err);     /* NOT_FOUND */
int find_container(struct pods *pods, const char *id, struct container **ret, struct cringle_err *err);    /* likewise */

/* What the request says, with empty messages for absent ones. */
const Cri__NamespaceOption *pod_namespaces(const struct pod *pod);
bool pod_on_host_network(const struct pod *pod);
struct hooks_subject pod_subject(const struct pod *pod);
struct hooks_subject container_subject(const struct container *c);      /* the lock is not held */

/* store.c: each is one commit.  store_container_state() leaves the step as it is. */
int store_pod(struct pod *pod, const char *operation, const char *step, enum db_commit how, struct cringle_err *err);
int store_container(struct container *c, const char *operation, const char *step, enum db_commit how,
                    struct cringle_err *err);
int store_container_state(struct container *c, enum db_commit how, struct cringle_err *err);
int store_drop_pod(struct pod *pod, enum db_commit how, struct cringle_err *err);
int store_drop_container(struct container *c, enum db_commit how, struct cringle_err *err);

/* Keep what *update says of the pod's cgroup, in memory (*update is exchanged for what was there) and in its row. */
int store_pod_resources(struct pod *pod, Cri__UpdatePodSandboxResourcesRequest **update, struct cringle_err *err);

/* The row of a container whose pod has none. */
int store_drop_orphan(struct db *db, const char *id, struct cringle_err *err);

struct stored {
        const char *id, *pod, *image, *step, *boot_id, *level, *cgroup_parent, *monitor_parent, *place;
        const void *request, *status;
        size_t request_size, status_size;
};

int store_load_pods(struct db *db, int (*fn)(void *data, const struct stored *row, struct cringle_err *err),
                    void *data, struct cringle_err *err);
int store_load_containers(struct db *db, int (*fn)(void *data, const struct stored *row, struct cringle_err *err),
                          void *data, struct cringle_err *err);

/* The procedures. */
extern const struct procedure sandbox_run, sandbox_stop, sandbox_remove;
extern const struct procedure container_create, container_start, container_stop, container_remove;

/*
 * Start @procedure on a pod or container of ours, or join (task_start()); the lock
 * is held.  @extra is taken.
 */
void pods_start_pod_task(struct pod *pod, const struct procedure *procedure, bool join, void *extra, task_done_fn done,
                         void *data);
struct task *pods_start_container_task(struct container *c, const struct procedure *procedure, bool join, void *extra,
                                       task_done_fn done, void *data);

/* Parts of running a pod that stopping, removing and restoring it share (sandbox_run.c). All idempotent. */
int pod_adopt(struct pod *pod, const struct cringle_call *call, struct cringle_err *err);
int pod_close_monitor(struct pod *pod, const struct cringle_call *call, struct cringle_err *err);
int pod_detach_network(struct pod *pod, const struct cringle_call *call, struct cringle_err *err);
int pod_unmount_files(struct pod *pod, struct cringle_err *err);
int pod_remove_dirs(struct pod *pod, struct cringle_err *err);

/* Parts of creating a container, likewise (container_create.c). */
/* A container that will not be made: who is told, and the machine as far as it is imagined. */
struct container_rehearsal {
        const struct spec_machine *machine;
        const struct hooks_watcher *watcher;
};

/* Who @c runs as, by the request and its @image; *ret lives as long as the agent. */
int container_look_up_user(struct container *c, const struct image_config *image, struct oci_user **ret,
                           const struct cringle_call *call, struct cringle_err *err);

/* The specification, adjusted by hooks; @rehearsal NULL: for real.  *ret is the caller's, also on failure. */
int container_build_spec(struct container *c, const struct image_config *image, const struct oci_user *user,
                         const struct container_rehearsal *rehearsal, struct json_object **ret,
                         const struct cringle_call *call, struct cringle_err *err);

int container_destroy_process(struct container *c, const struct cringle_call *call, struct cringle_err *err);
int container_remove_cgroup(struct container *c, const struct cringle_call *call, struct cringle_err *err);
int container_remove_files(struct container *c, struct cringle_err *err);

/* status.c: the CRI's number of a signal. */
Cri__Signal signal_of(int signal);

/* lists.c: when one enters the maps or has left them; by whom lists are filtered most often. */
int pod_index(struct pod *pod, struct cringle_err *err);
void pod_unindex(struct pod *pod);
bool container_strays(const struct container *c);
void listed_done(struct listed *l);

/* An id in a filter: whole, the beginning of one, or empty. */
bool id_fits(const char *id, const char *wanted);

/* container_exit.c: the executor tells. */
void container_event(void *data, const struct cringle_executor_event *event);

/*
 * Take over what the executor knows: exit code, times, reason.  container_set_lost(): it
 * ended and nobody knows how.  The lock is held; true when it has just ended.
 */
bool container_set_state(struct container *c, const struct cringle_container_state *state);
bool container_set_lost(struct container *c, const char *message);

/* Store an end, tell hooks and whoever waits for it. */
void container_ended(struct container *c);

/* container_create.c: the images of its mounts stay as long as it is there; idempotent. */
int container_hold_volumes(struct container *c, struct cringle_err *err);

/* container_stop.c: nothing is to wake it any more; no loop runs. */
void container_stop_timer(struct container *c);

/*
 * event.c: tell who listens; the statuses of the visible containers, each the container's own, in a
 * list to free().  The lock is held for all.
 */
void pod_emit(const struct pod *pod, Cri__ContainerEventType type);
void container_emit(const struct container *c, Cri__ContainerEventType type);
Cri__ContainerStatus **pod_statuses(const struct pod *pod, size_t *ret_n);

/* exec_sync.c */
void exec_ended(struct pods *pods, const struct cringle_executor_event *event);
void execs_lost(struct pods *pods, const char *pod);    /* the lock is held */

/* checkpoint.c: what one that was cut short has left in the container's directory. */
int container_drop_checkpoint(const struct container *c, struct cringle_err *err);

/*
 * sandbox_checkpoint.c.  pod_drop_checkpoint(): what one that was cut short has left, wherever it was written.
 * container_give_up_capture(): who wants its lane need not wait for one; the lock is held.
 */
int pod_drop_checkpoint(const struct pod *pod, struct cringle_err *err);
void container_give_up_capture(struct container *c);

/*
 * sandbox_restore.c.  A pod that is being filled has a mark in its directory, so that the next start removes what a killed agent
 * has left of it.  The two requests are those of the parts that it is made of; @from is a container's directory in the checkpoint.
 */
int pod_mark_restoring(const struct pod *pod, struct cringle_err *err);
bool pod_is_restoring(const struct pod *pod);
void pods_run_restoring(struct pods *pods, const Cri__RunPodSandboxRequest *request, pods_done_fn done, void *data);
void pods_create_restored(struct pods *pods, const Cri__CreateContainerRequest *request, const char *from, pods_done_fn done,
                          void *data);

/* files.c: resolv.conf, hosts, hostname of a pod, and where containers get them and shm from: <run_dir>/files/<name>. */
int pod_write_files(const struct pod *pod, struct cringle_err *err);
char *pod_file(const struct pod *pod, const char *name, struct cringle_err *err);

/*
 * userns.c.  The checks are of requests: that what is asked for makes sense, and that a container asks for its
 * pod's.  That the node can give it, for which it may have to be tried: blocks.  pod_user_ns(): 1 and *ret, whose
 * fd is the caller's; 0: the pod has the node's.
 */
int user_ns_check(const Cri__PodSandboxConfig *config, struct cringle_err *err);
int pod_user_ns_available(const struct pod *pod, struct cringle_err *err);
int user_ns_check_container(const struct pod *pod, const Cri__ContainerConfig *config, struct cringle_err *err);
int pod_user_ns(const struct pod *pod, struct cringle_user_ns *ret, struct cringle_err *err);

/*
 * cgroup.c.  pods_check_cgroup_parent(): a parent that is none to this driver is refused, for then the kubelet is set to
 * the other one.  pod_place(): for a new pod, or one whose cgroups went with a reboot; the lock is held.
 * pod_place_again(): as its row says, which may be without; CRINGLE_E_PRECONDITION when the driver would
 * look elsewhere.
 */
int pods_check_cgroup_parent(const struct pods *pods, const Cri__RunPodSandboxRequest *request, struct cringle_err *err);
int pod_place(struct pod *pod, struct cringle_err *err);
int pod_place_again(struct pod *pod, const struct stored *row, struct cringle_err *err);
int pod_make_monitor_cgroup(struct pod *pod, const struct cringle_call *call, struct cringle_cgroup_dirs *ret,
                            struct cringle_err *err);
int pod_drop_monitor_cgroup(struct pod *pod, const struct cringle_call *call, struct cringle_err *err);

/*
 * selinux.c.  pod_take_level(): one for a new pod; the lock is held.  pod_labels(): of what is the
 * pod's own; each the caller's, NULL where there are none (ret_process may be NULL).  volumes_label(): those of a
 * container that the kubelet wants to have it; CRINGLE_E_INVALID: one is a directory of the node's.
 */
int pod_take_level(struct pod *pod, struct cringle_err *err);
int pod_labels(const struct pod *pod, char **ret_process, char **ret_files, struct cringle_err *err);
int volumes_label(const Cri__ContainerConfig *config, const char *label, const struct cringle_call *call, struct cringle_err *err);

/* restore.c */
int pods_restore(struct pods *pods, struct cringle_err *err);

/* streaming.c; *ret is to be freed also on failure, on the loop's thread or after it. */
int streaming_new(struct pods *pods, const struct config *config, struct streaming **ret, struct cringle_err *err);
void streaming_check(struct streaming *s);      /* takes the port and looks at the certificate; complains by itself */
void streaming_free(struct streaming *s);
void streaming_exec_ended(struct pods *pods, const struct cringle_executor_event *event);       /* any thread */
void streaming_pod_lost(struct pods *pods, const char *pod);
