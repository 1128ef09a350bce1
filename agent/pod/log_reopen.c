/*
 * ReopenContainerLog
 */

#include <stdlib.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/pod/model.h"

#define LIMIT (30 * NSEC_PER_SEC)

struct reopening {
        struct container *c;            /* a reference */
        pods_done_fn done;
        void *data;
};

static void reopen(void *data)
{
        struct reopening *r = data;
        struct pods *pods = r->c->pods;
        struct cringle_call call = call_within(NULL, LIMIT);
        struct cringle_err err = CRINGLE_ERR_INIT;
        int failed = pods->executor.ops->reopen_log(pods->executor.self, &call, r->c->pod->id, r->c->id, &err);

        r->done(r->data, r->c->id, failed < 0 ? &err : NULL);
        pthread_mutex_lock(&pods->tasks.lock);
        container_unref(r->c);
        pthread_mutex_unlock(&pods->tasks.lock);
        free(r);
}

void pods_reopen_log(struct pods *pods, const char *id, pods_done_fn done, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct reopening *r = malloc(sizeof *r);
        struct container *c;
        int found;

        if (!r)
                abort();
        pthread_mutex_lock(&pods->tasks.lock);
        found = find_container(pods, id, &c, &err);
        if (found == 0 && c->status->state != CRI__CONTAINER_STATE__CONTAINER_RUNNING)
                found = err_set(&err, CRINGLE_E_PRECONDITION, "container %.12s is not running", c->id);
        if (found == 0) {
                container_ref(c);
                *r = (struct reopening) { .c = c, .done = done, .data = data };
                workers_run(pods->workers, reopen, r);
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        if (found < 0) {
                free(r);
                done(data, id, &err);
        }
}
