/*
 * StartContainer
 */

#include <signal.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"
#include "agent/pod/restored.h"

/* Of a container that never ran: what shells say of a command that cannot be run. */
#define EXIT_NOT_STARTED 128

static int record(void *object, const char *step, struct cringle_err *err)
{
        return store_container(object, "start", step, DB_FAST, err);
}

static int check_state(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        Cri__ContainerState state;

        if (task_cancelled(t))
                return err_set(err, CRINGLE_E_CANCELLED, "cancelled");
        pthread_mutex_lock(&c->pods->tasks.lock);
        state = c->status->state;
        c->starting = state == CRI__CONTAINER_STATE__CONTAINER_CREATED;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        if (state == CRI__CONTAINER_STATE__CONTAINER_CREATED)
                return 0;
        return err_set(err, CRINGLE_E_PRECONDITION, "container %.12s is %s, not created", c->id,
                       state == CRI__CONTAINER_STATE__CONTAINER_RUNNING ? "running" : "exited");
}

static int run_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct hooks_subject subject = container_subject(c);

        return hooks_run(c->pods->hooks, CRINGLE_CONTAINER_START, &subject, call, err);
}

static int start_process(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        const struct host_executor *executor = &c->pods->executor;
        struct cringle_container_state state = { .size = sizeof state };
        struct cringle_err why = CRINGLE_ERR_INIT;
        bool ended;

        if (executor->ops->start(executor->self, call, c->pod->id, c->id, &state, err) < 0) {
                restored_explain(c, err);
                return -1;
        }
        if (restored_drop(c, &why) < 0)
                log_warning("container %.12s: %s", c->id, why.text);

        pthread_mutex_lock(&c->pods->tasks.lock);
        ended = container_set_state(c, &state);
        pthread_mutex_unlock(&c->pods->tasks.lock);
        if (ended)
                container_ended(c);
        return 0;
}

/* A container that could not start stays, exited, so that the kubelet can say why.  The process that waits to run goes. */
static int fail_process(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        const struct host_executor *executor = &c->pods->executor;

        return executor->ops->kill(executor->self, call, c->pod->id, c->id, SIGKILL, 1, err);
}

static int run_started_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct hooks_subject subject = container_subject(c);

        return hooks_run(c->pods->hooks, CRINGLE_CONTAINER_STARTED, &subject, call, err);
}

static int mark_started(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return store_container(object, NULL, NULL, DB_FAST, err);
}

static const struct step steps[] = {
        { "check state",       check_state,       NULL         },
        { "run hooks",         run_hooks,         fail_process },
        { "start process",     start_process,     fail_process },
        { "run started hooks", run_started_hooks, NULL         },
        { "mark started",      mark_started,      NULL         },
        { 0 }
};

static void finish(struct task *t, void *object, const struct cringle_err *err)
{
        struct container *c = object;
        struct cringle_err why = CRINGLE_ERR_INIT;
        bool told;

        pthread_mutex_lock(&c->pods->tasks.lock);
        /* Its process was killed; should the end of that be told already, it is still not the reason. */
        if (err && c->starting && !c->ran && !task_cancelled(t)) {
                told = c->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED;
                c->status->state = CRI__CONTAINER_STATE__CONTAINER_EXITED;
                c->status->exit_code = EXIT_NOT_STARTED;
                c->status->started_at = c->status->finished_at = clock_realtime();
                c->pid = 0;
                message_set(&c->status->reason, "StartError", NULL);
                message_set(&c->status->message, err->text, NULL);
                if (!told)
                        container_emit(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
        }
        c->starting = false;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        if (err && store_container(c, NULL, NULL, DB_FAST, &why) < 0)
                log_warning("start container %.12s: %s", c->id, why.text);
}

const struct procedure container_start = {
        .name = "start container",
        .steps = steps,
        .record = record,
        .finish = finish,
};

void pods_start_container(struct pods *pods, const char *id, pods_done_fn done, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct container *c;

        pthread_mutex_lock(&pods->tasks.lock);
        if (find_container(pods, id, &c, &err) < 0) {
                pthread_mutex_unlock(&pods->tasks.lock);
                done(data, id, &err);
                return;
        }
        pods_start_container_task(c, &container_start, true, NULL, done, data);
        pthread_mutex_unlock(&pods->tasks.lock);
}
