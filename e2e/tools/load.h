#pragma once

/*
 * What the commands of cringle-load share
 */

#include <sys/types.h>

#include "agent/base/str.h"
#include "e2e/tools/pod.h"
#include "e2e/tools/report.h"

/* Pods that load_pods() leaves are in groups of so many. */
#define LOAD_GROUP 50

struct load {
        const char *socket;
        struct pod_spec spec;
        size_t n;                       /* how often, how many */
        size_t parallel;
        size_t timeout;                 /* of an exec, in seconds */
        char **account;                 /* cgroups whose CPU time and memory count */
        pid_t agent;                    /* the process whose CPU time a single call costs; 0: not said */
        const char *only;               /* of its questions; NULL: all */
        char **devices;                 /* CDI devices that containers ask for */
        char **program;                 /* to start, or of an exec; ended by NULL */
};

/* Fills @r; 0, or -1 and @err. */
typedef int (*command_fn)(struct load *l, struct report *r, struct cringle_err *err);

int load_life(struct load *l, struct report *r, struct cringle_err *err);
int load_exec(struct load *l, struct report *r, struct cringle_err *err);
int load_pods(struct load *l, struct report *r, struct cringle_err *err);
int load_clean(struct load *l, struct report *r, struct cringle_err *err);
int load_list(struct load *l, struct report *r, struct cringle_err *err);
int load_polling(struct load *l, struct report *r, struct cringle_err *err);
int load_pull(struct load *l, struct report *r, struct cringle_err *err);
int load_cold(struct load *l, struct report *r, struct cringle_err *err);
int load_memory(struct load *l, struct report *r, struct cringle_err *err);

/*
 * Do work 0 .. @n-1, each once, on @l->parallel threads with a connection each.  The
 * first failure is the result; work under way then is still finished.
 */
typedef int (*work_fn)(struct rpc_client *client, size_t index, void *data, struct cringle_err *err);

int load_share(struct load *l, size_t n, work_fn fn, void *data, struct cringle_err *err);

/* Wall and CPU time from here on, and what became of it as figures "wall_us", "cpu_us". */
struct meter {
        int64_t wall, cpu;
};

int meter_start(const struct load *l, struct meter *m, struct cringle_err *err);
int meter_stop(const struct load *l, const struct meter *m, struct report *r, struct cringle_err *err);
