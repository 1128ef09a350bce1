#pragma once

/*
 * executor-native: containers run by cringle-monitor
 *
 * The plugin keeps no state of its own worth keeping: monitors hold the pods, the
 * exit files in a pod's run_dir hold what outlives a monitor.  Each call is a
 * request on a connection of its own (agent/wire/client.h); events come over one
 * connection per pod to one thread.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "agent/base/buf.h"
#include "agent/base/map.h"
#include "agent/base/own.h"
#include "agent/wire/client.h"
#include "plugins/api/executor.h"

/* What is remembered of a container, to make execs cheap and to find out what was missed. */
struct known {
        struct buf exec_plan;           /* compiled, without argv and terminal; empty: not yet */
};

struct pod {
        atomic_int refs;                /* the registry's, the event thread's, and those in calls */
        char *id;
        char *run_dir;
        int conn;                       /* for events; -1: its monitor is gone */
        int pidfd;                      /* of the monitor; -1 likewise */
        atomic_bool closing;            /* its end is asked for, and no news */
        atomic_bool heard;              /* the event thread has a reference */
        struct map containers;          /* id -> struct known; under the executor's lock */
};

struct executor {
        const struct cringle_host *host;
        char *monitor;                  /* path of the program */
        int program;                    /* sealed copy of it */
        pthread_mutex_t lock;
        struct map pods;                /* id -> struct pod */
        int epoll, wake;
        pthread_t thread;
        bool started;
        cringle_executor_event_fn fn;
        void *data;
};

void executor_log(struct executor *x, int level, const char *text);

/* --- pods.c --- */

/* The pod @id, with a reference (pod_unref); NULL: not open. */
struct pod *pods_get(struct executor *x, const char *id, struct cringle_err *err);
void pod_unref(struct pod *p);

AUTO_DEFINE(pod, pod_unref)

/* Connect to the monitor of @run_dir and ask for events; -1: as client_connect(). */
int pods_watch(const char *run_dir, const struct cringle_call *call, int *ret_pidfd, struct cringle_err *err);

int pods_open(struct executor *x, const struct cringle_call *call, const struct cringle_pod_launch *launch, int adopt,
              struct cringle_err *err);
int pods_close(struct executor *x, const struct cringle_call *call, const char *id, const char *run_dir,
               struct cringle_err *err);

/* --- events.c --- */

int events_start(struct executor *x, struct cringle_err *err);
void events_stop(struct executor *x);

/* Hear @p's connection from now on; takes a reference. */
int events_add(struct executor *x, struct pod *p, struct cringle_err *err);

/* Tell the agent of a run of a hook. */
void executor_tell_hook(struct executor *x, const struct pod *p, const char *container, const struct wire_hook *run);

void executor_state(const struct wire_state *from, struct cringle_container_state *ret);

/* --- leftovers.c: when the monitor is gone --- */

/* How @container ended, by its exit file.  CRINGLE_RUN_NONE when there is none. */
int leftovers_state(const char *run_dir, const char *container, struct wire_state *ret, struct cringle_err *err);

/* Run the poststop hooks of the bundle, which is told as a monitor would, and forget the exit file. */
void leftovers_destroy(struct executor *x, const struct cringle_call *call, const struct pod *p, const char *container,
                       const char *bundle);

/* Unpin the namespaces, remove the socket. */
void leftovers_close(const char *run_dir);
