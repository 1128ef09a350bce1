#pragma once

/*
 * Pods and containers: the state machine behind CRI
 *
 * struct pods knows every sandbox and container of the node, in memory and in
 * the store, and carries out what changes them as tasks (task.h).  The CRI's own
 * messages are the model: what the kubelet asked is kept as it came, what is told
 * to it is kept as it will be told.
 *
 * Names: a pod is (namespace, name, uid, attempt), a container (pod, name, attempt).
 * Asking again for what runs joins it; asking again for what is there and was
 * asked in the same words gets the same id; in other words, CRINGLE_E_EXISTS.
 *
 * All functions may be called from any thread and none blocks; results come by
 * callback, on any thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "cri.pb-c.h"

#include "agent/base/buf.h"
#include "agent/base/db.h"
#include "agent/base/loop.h"
#include "agent/base/own.h"
#include "agent/host/host.h"
#include "agent/image/store.h"
#include "config/config.h"
#include "hooks/hooks.h"

struct pods;

struct pods_options {
        const struct config *config;    /* read during pods_new() only */
        struct db *db;                  /* of store_open() */
        struct host *host;
        struct hooks *hooks;
        struct images *images;
        struct loop *loop;
        struct workers *workers;
        const char *boot_id;            /* NULL: this machine's */
};

/* The store of the whole agent at @root/store.db, with the tables of all floors. */
int store_open(const char *root, struct db **ret, struct cringle_err *err);

/*
 * Load what the store has, adopt what lives, roll back or forward what was under
 * way, note what died meanwhile.  Blocks; called once, before anybody can ask.
 */
int pods_new(const struct pods_options *options, struct pods **ret, struct cringle_err *err);

/* No task may run and no event come any more; the loop has ended, and is not freed yet. */
struct pods *pods_free(struct pods *pods);

/* What of @config can be taken over, made ready: whatever can fail does so here, and nothing changes. */
struct policy;
int pods_prepare(const struct config *config, struct policy **ret, struct cringle_err *err);
struct policy *policy_unref(struct policy *policy);

/* Take over @fresh, which is taken: it goes for what is asked for from now on. */
void pods_take_over(struct pods *pods, struct policy *fresh);

/* @id is of what was made (run, create) or acted on, borrowed for the call; @err is NULL on success. */
typedef void (*pods_done_fn)(void *data, const char *id, const struct cringle_err *err);

void pods_run_sandbox(struct pods *pods, const Cri__RunPodSandboxRequest *request, pods_done_fn done, void *data);
void pods_stop_sandbox(struct pods *pods, const char *id, pods_done_fn done, void *data);
void pods_remove_sandbox(struct pods *pods, const char *id, pods_done_fn done, void *data);
void pods_create_container(struct pods *pods, const Cri__CreateContainerRequest *request, pods_done_fn done,
                           void *data);
void pods_start_container(struct pods *pods, const char *id, pods_done_fn done, void *data);

/* @grace in seconds; 0: kill at once. */
void pods_stop_container(struct pods *pods, const char *id, int64_t grace, pods_done_fn done, void *data);
void pods_remove_container(struct pods *pods, const char *id, pods_done_fn done, void *data);
void pods_reopen_log(struct pods *pods, const char *id, pods_done_fn done, void *data);

/*
 * What @limits does not name stays.  All or nothing; CRINGLE_E_PRECONDITION for one that ended.  @hooks: they are
 * asked before, and told after; false for what a hook itself wants.
 */
void pods_update_container(struct pods *pods, const char *id, const struct hooks_limits *limits, bool hooks,
                           pods_done_fn done, void *data);

/*
 * An archive of its processes and of what it changed, at a path that is free; it runs on.  CRINGLE_E_UNIMPLEMENTED: there
 * is no CRIU.
 */
void pods_checkpoint_container(struct pods *pods, const Cri__CheckpointContainerRequest *request, pods_done_fn done,
                               void *data);

/*
 * Running containers of one moment, in a directory that is there and empty, before @deadline (CLOCK_MONOTONIC; 0: two
 * minutes).  On failure the directory is empty again.  It ends when nobody waits for it.
 */
void pods_checkpoint_sandbox(struct pods *pods, const Cri__CheckpointPodRequest *request, int64_t deadline, pods_done_fn done,
                             void *data);

/*
 * A pod and its containers from such a directory, which is only read; all of them, created, or none.  Reads files: for workers.
 * @request and @call are borrowed until @done is called; once @call is over, so is this.  @list is borrowed for @done.
 */
struct pods_restored {
        const char *name, *id;
};

typedef void (*pods_restored_fn)(void *data, const char *pod, const struct pods_restored *list, size_t n,
                                 const struct cringle_err *err);
void pods_restore_sandbox(struct pods *pods, const Cri__RestorePodRequest *request, const struct cringle_call *call,
                          pods_restored_fn done, void *data);

/* Keeps what a kubelet has made of the pod's own cgroup. */
void pods_update_sandbox(struct pods *pods, const Cri__UpdatePodSandboxResourcesRequest *request, pods_done_fn done,
                         void *data);

/* What an ExecSync came to; borrowed for the call. */
struct pods_exec {
        const struct buf *out, *err;    /* each at most containers.exec_limit bytes, the rest dropped */
        int32_t exit_code;
};

typedef void (*pods_exec_fn)(void *data, const struct pods_exec *result, const struct cringle_err *err);

/* @timeout in nanoseconds until the process tree is killed (CRINGLE_E_DEADLINE); 0: none. */
void pods_exec_sync(struct pods *pods, const char *id, char *const *argv, size_t n_argv, int64_t timeout,
                    pods_exec_fn done, void *data);

/* Which streams a client wants; a terminal has no stderr. */
struct pods_stream {
        bool tty, in, out, err;
};

/*
 * For a client that will come by HTTP: *ret_url, the caller's, is good once and for a minute.  What it
 * starts ends with its client.  On the loop thread only; these do not block.
 */
int pods_stream_exec(struct pods *pods, const char *id, char *const *argv, size_t n_argv,
                     const struct pods_stream *how, char **ret_url, struct cringle_err *err);
int pods_stream_attach(struct pods *pods, const char *id, const struct pods_stream *how, char **ret_url,
                       struct cringle_err *err);
int pods_stream_forward(struct pods *pods, const char *id, const int32_t *ports, size_t n_ports, char **ret_url,
                        struct cringle_err *err);

/* What keeps these from being served, borrowed until the loop goes on; NULL: nothing that is known. */
const char *pods_streaming_trouble(const struct pods *pods);

/*
 * Stop waiting: @data's callback will not come.  @ret gets where its task is. False:
 * nothing waits under @data (any more).
 */
bool pods_leave(struct pods *pods, void *data, struct buf *ret);

/*
 * Answers from memory.  @fn gets the message under a lock: it packs it and returns,
 * without calling back here.  The single ones fail with CRINGLE_E_NOT_FOUND.
 * An id may be cut to a prefix that fits one object only.  The status of a container blocks when it is verbose: it
 * reads a file, before it takes the lock.
 */
typedef void (*pods_message_fn)(void *data, const ProtobufCMessage *message);

int pods_sandbox_status(struct pods *pods, const char *id, bool verbose, pods_message_fn fn, void *data,
                        struct cringle_err *err);
int pods_container_status(struct pods *pods, const char *id, bool verbose, pods_message_fn fn, void *data,
                          struct cringle_err *err);

/*
 * Lists, likewise, but of packed items: each as it is in a message of which it is one in the first field, with
 * tag and length, so that all of them one behind the other are that message.  Borrowed for the call.
 */
typedef void (*pods_items_fn)(void *data, const struct iovec *items, size_t n);

void pods_list_sandboxes(struct pods *pods, const Cri__PodSandboxFilter *filter, pods_items_fn fn, void *data);
void pods_list_containers(struct pods *pods, const Cri__ContainerFilter *filter, pods_items_fn fn, void *data);

/* All borrowed for the call, which is made under the same lock. */
struct pods_inspection {
        const Cri__ContainerStatus *container;
        const Cri__PodSandboxStatus *pod;
        int32_t pid;                    /* of its first process; 0: none runs */
};

typedef void (*pods_inspect_fn)(void *data, const struct pods_inspection *inspection);
int pods_inspect(struct pods *pods, const char *id, pods_inspect_fn fn, void *data, struct cringle_err *err);

/*
 * Have @fn called, under a lock, with a Cri__ContainerEventResponse for each container and pod that is
 * created, starts, stops or is deleted.  NULL: no more.  One at a time.
 */
void pods_listen(struct pods *pods, pods_message_fn fn, void *data);

/* What writable layers took when they were last looked at; one that never was takes nothing yet. */
void pods_writable_usage(struct pods *pods, uint64_t *ret_bytes, uint64_t *ret_inodes);

/*
 * Statistics, read from the kernel, so these block.  @fn gets the message, under no lock.  Lists
 * are of containers that have not ended, and of ready pods; what goes meanwhile is left out.
 */
int pods_container_stats(struct pods *pods, const char *id, pods_message_fn fn, void *data, struct cringle_err *err);
void pods_list_container_stats(struct pods *pods, const Cri__ContainerStatsFilter *filter, pods_message_fn fn,
                               void *data);
int pods_sandbox_stats(struct pods *pods, const char *id, pods_message_fn fn, void *data, struct cringle_err *err);
void pods_list_sandbox_stats(struct pods *pods, const Cri__PodSandboxStatsFilter *filter, pods_message_fn fn,
                             void *data);

/* Metrics, likewise, the list as packed items; the descriptors are the same for ever, and answered from memory. */
void pods_metric_descriptors(pods_message_fn fn, void *data);
void pods_list_metrics(struct pods *pods, pods_items_fn fn, void *data);

/* The same values one by one, unrounded; all borrowed for the call, which is made under no lock. */
struct pods_metric {
        const char *name;
        bool counter;                   /* else a gauge */
        const char *const *labels;      /* in the order of the descriptor's keys */
        size_t n_labels;
        double value;
};

typedef void (*pods_metric_fn)(void *data, const struct pods_metric *metric);
void pods_walk_metrics(struct pods *pods, pods_metric_fn fn, void *data);

struct pods_count {
        uint32_t pods, containers;
};

struct pods_count pods_count(struct pods *pods);

/* Each task under way, for `cringle status`; under a lock. */
void pods_operations(struct pods *pods,
                     void (*fn)(void *data, const char *name, const char *id, const char *step, int64_t age),
                     void *data);

/* Tells the network the node's pod range (UpdateRuntimeConfig); blocks. */
int pods_set_pod_cidr(struct pods *pods, const char *cidr, struct cringle_err *err);

/*
 * What hooks would make of such a container, in a pod that need not be there: hooks_explain() in the
 * circumstances of CreateContainer, and the specification it came to.  Makes nothing; blocks.  *ret is the
 * caller's, also on failure, and NULL when there was none yet.
 */
int pods_explain(struct pods *pods, const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *config,
                 const char *handler, const struct hooks_watcher *watcher, const struct cringle_call *call,
                 struct json_object **ret, struct cringle_err *err);

/* Whether pods can have user namespaces on this node; blocks, when it is first asked. */
bool pods_have_user_ns(struct pods *pods);

/* Whether pods can be attached to a network now; blocks for the plugin. */
int pods_network_status(struct pods *pods, const struct cringle_call *call, struct cringle_err *err);

AUTO_DEFINE(pods, pods_free)
AUTO_DEFINE(policy, policy_unref)
