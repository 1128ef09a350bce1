#pragma once

/*
 * The whole agent but its main(), on fake plugins, asked over its socket
 *
 * Everything between the gRPC client and the plugins is what cringled is made of.
 * What is asked here is asked as the kubelet does, on a connection of its own each
 * time, so any thread may ask.
 */

#include "tests/support/unit.h"

#include <pthread.h>

#include "cri.pb-c.h"

#include "agent/base/clock.h"
#include "agent/base/id.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/pod/pods.h"
#include "tests/support/fake.h"

#define FLOW_IMAGE "docker.io/library/flow:latest"
#define FLOW_IMAGE_ID "sha256:00000000000000000000000000000000000000000000000000000000000f1000"
#define FLOW_IMAGE_DIGEST "docker.io/library/flow@sha256:00000000000000000000000000000000000000000000000000000000000f10d1"
#define FLOW_IMAGE_MIRROR "docker.io/copies/flow@sha256:00000000000000000000000000000000000000000000000000000000000f10d1"
#define FLOW_EXEC_LIMIT 1000            /* bytes of each stream */

struct flow {
        char *dir;
        struct config config;
        struct loop *loop;
        struct workers *workers, *pullers;
        struct host *host;
        struct hooks *hooks;
        struct db *db;
        struct images *images;
        struct pods *pods;
        struct rpc_server *server;
        struct cri *cri;
        pthread_t thread;
};

/* For cmocka: a record and a store of its own, started; and stopped, with nothing left on disk. */
int flow_setup(void **state);
int flow_setup_stopped(void **state);
int flow_teardown(void **state);

/* The agent, on what its forerunner has left; -1: it does not start.  @boot_id: of this boot; NULL: the first one. */
int flow_start(struct flow *f, const char *boot_id, struct cringle_err *err);
void flow_stop(struct flow *f);

/* Wait until no task is under way. */
void flow_settle(struct flow *f);

/* --- requests --- */

struct pod_ask {
        Cri__RunPodSandboxRequest request;
        Cri__PodSandboxConfig config;
        Cri__PodSandboxMetadata metadata;
        Cri__LinuxPodSandboxConfig linux;
        Cri__LinuxSandboxSecurityContext security;
        Cri__NamespaceOption spaces;
        Cri__Pair pairs[4], *labels[2], *annotations[2];
};

/* A pod called @name with all its own but IPC, which needs no mount then.  It points into itself. */
void pod_ask(struct pod_ask *ask, const char *name);

struct container_ask {
        Cri__CreateContainerRequest request;
        Cri__ContainerConfig config;
        Cri__ContainerMetadata metadata;
        Cri__ImageSpec image;
        Cri__Pair pairs[4], *labels[2], *annotations[2];
};

void container_ask(struct container_ask *ask, const char *pod, const char *name);

/*
 * All return 0 or the gRPC code; flow_err.text has the text.  Any thread.  flow_patience
 * is the client's deadline, in nanoseconds.
 */
extern _Thread_local struct cringle_err flow_err;
extern _Thread_local int64_t flow_patience;

typedef char id_text[ID_LEN + 1];

/* Any method of RuntimeService.  *ret (unless @ret is NULL) is the reply, the caller's: reply_free(). */
int ask(struct flow *f, const char *method, const void *request, void *ret);

int ask_run(struct flow *f, const struct pod_ask *ask, id_text ret);
int ask_stop_pod(struct flow *f, const char *id);
int ask_remove_pod(struct flow *f, const char *id);
int ask_create(struct flow *f, const struct container_ask *ask, id_text ret);
int ask_start(struct flow *f, const char *id);
int ask_stop(struct flow *f, const char *id, int64_t grace);
int ask_remove(struct flow *f, const char *id);
int ask_reopen_log(struct flow *f, const char *id);

/* As above; *ret is the caller's: reply_free(). */
int ask_exec(struct flow *f, const char *id, const char *const *argv, int64_t timeout, Cri__ExecSyncResponse **ret);
int ask_pod_status(struct flow *f, const char *id, bool verbose, Cri__PodSandboxStatusResponse **ret);
int ask_container_status(struct flow *f, const char *id, bool verbose, Cri__ContainerStatusResponse **ret);
int ask_pods(struct flow *f, Cri__PodSandboxFilter *filter, Cri__ListPodSandboxResponse **ret);
int ask_containers(struct flow *f, Cri__ContainerFilter *filter, Cri__ListContainersResponse **ret);
void reply_free(void *message);

/* With the names that tests use, and no room for failure. */
void must_run(struct flow *f, const char *name, id_text ret);
void must_create(struct flow *f, const char *pod, const char *name, id_text ret);
void must_start(struct flow *f, const char *pod, const char *name, id_text ret);       /* create and start */

/* A pod or a container asked for on a thread of its own: the caller fills the first three, one of @pod and @container. */
struct run_thread {
        struct flow *f;
        const struct pod_ask *pod;
        const struct container_ask *container;
        int code;
        id_text id;
        struct cringle_err err;
        pthread_t thread;
};

void run_begin(struct run_thread *t);
void run_end(struct run_thread *t);     /* then there are code, id and err */

/* Wait until a plugin is asked something that contains @text. */
void wait_for_call(const char *text);

/* The id of the object that the last call of @call was about; @nth word of its line. */
void id_of_call(const char *call, int nth, id_text ret);

/* enum Cri__ContainerState, Cri__PodSandboxState; -1: no such thing. */
int container_state(struct flow *f, const char *id);
int container_exit_code(struct flow *f, const char *id);
int pod_state(struct flow *f, const char *id);
void wait_for_state(struct flow *f, const char *id, int state);

/* Rows of a table of the store. */
int64_t rows(struct flow *f, const char *table);

/* Stop and remove every pod there is, as a kubelet does when all are deleted. */
void remove_all(struct flow *f);

/* That plugins, directories and store are empty. */
void assert_nothing_left(struct flow *f);

/* That what exists is what is listed: no more, no less. */
void assert_consistent(struct flow *f);

#define assert_code(wanted, call)                                                                       \
        do {                                                                                            \
                int code_ = (call);                                                                     \
                                                                                                        \
                if (code_ != (wanted))                                                                  \
                        fail_msg("%s: %d, not %d: %s", #call, code_, (int) (wanted), flow_err.text);    \
        } while (0)
