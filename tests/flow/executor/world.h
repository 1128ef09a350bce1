#pragma once

/*
 * A pod to test executors in: cgroups, a busybox root, the plugin, its events
 */

#include "tests/support/unit.h"

#include "agent/base/buf.h"
#include "plugins/api/executor.h"

#define SECOND INT64_C(1000000000)

struct world {
        const struct cringle_factory *factory;
        const struct cringle_executor_ops *ops;
        void *self;
        char *dir;              /* all of it */
        char *run_dir;
        char *rootfs;
        char *unified, *memory, *freezer, *pids;        /* this test's cgroup directories; NULL: none here */
        int n_containers;
};

struct world *world_new(void);
struct world *world_free(struct world *w);

/* End the plugin's instance and make another, as an agent that restarts does. */
void world_restart(struct world *w);

int world_open_pod(struct world *w, uint32_t namespaces, int adopt, struct cringle_err *err);

/* How a container is to differ from the plain one: JSON texts, NULL for the usual. */
struct wish {
        const char *args;               /* JSON array of strings */
        const char *process;            /* members of process, with a comma in front */
        const char *linux_;             /* members of linux, likewise */
        const char *mounts;             /* elements of mounts, likewise */
        const char *hooks;              /* the object */
        const char *user;               /* the object */
        const char *caps;               /* the object */
        const char *cwd;
        bool tty, stdin_open, stdin_once, readonly, pod_pid, no_log, userns, by_path;
        const char *share_pid_with;
        int64_t max_line;
};

/* "c1", "c2", ...; what create() said. */
int world_create(struct world *w, const struct wish *wish, const char **ret_id, struct cringle_err *err);

/* Create and start; the test fails when that does. */
const char *world_run(struct world *w, const struct wish *wish);

int world_start(struct world *w, const char *id, struct cringle_err *err);
void world_destroy(struct world *w, const char *id);

/* Wait for an event of @type about @name (container or exec). False: none came in ten seconds. */
bool world_wait(int type, const char *name, struct cringle_executor_event *ret);

/* The runs of hooks that were told since the last call, until there is @last ("": at once) among them or ten seconds are over. */
char *world_hooks(const char *last);

/* The exit event of @id. */
struct cringle_container_state world_exit(const char *id);

/* The log without times: "stdout F hello\n". */
char *world_log(struct world *w, const char *id);

/* Exec @argv, wait for its end; its stdout. */
char *world_exec(struct world *w, const char *id, const char *const *argv, int64_t timeout,
                 struct cringle_executor_event *ret);

char *world_file(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *world_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
