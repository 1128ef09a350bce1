/*
 * An executor without processes; see fake.h.  A container's number in the record is
 * its state, and once it has ended 1000 + its exit code.  Events come from a thread
 * of their own, one after the other, as from a real executor.
 */

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "plugins/api/executor.h"
#include "tests/support/fake.h"
#include "tests/support/fake_inside.h"

#define ENDED 1000

struct ending {
        struct ending *next;
        char pod[128], container[128], exec[128];
        int code;
};

static struct {
        pthread_mutex_t lock;
        pthread_cond_t news;
        pthread_t thread;
        bool stop;
        struct ending *first, **last;
        cringle_executor_event_fn fn;
        void *data;
} events = { .lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER, .last = &events.first };

static void fill_state(struct cringle_container_state *s, int number)
{
        *s = (struct cringle_container_state) { .size = sizeof *s, .state = number };
        if (number == CRINGLE_RUN_NONE)
                return;
        s->pid = number == CRINGLE_RUN_CREATED || number == CRINGLE_RUN_RUNNING ? 4242 : 0;
        s->started_at = number == CRINGLE_RUN_CREATED ? 0 : 1;
        if (number >= ENDED) {
                s->state = CRINGLE_RUN_EXITED;
                s->exit_code = number - ENDED;
                s->signal = s->exit_code > 128 ? s->exit_code - 128 : 0;
                s->finished_at = clock_realtime();
        }
}

static void tell(const struct ending *e)
{
        struct cringle_executor_event event = {
                .size = sizeof event,
                .type = e->exec[0] ? CRINGLE_EVENT_EXEC_EXITED : CRINGLE_EVENT_EXITED,
                .pod = e->pod,
                .container = e->container,
                .exec = e->exec[0] ? e->exec : NULL,
        };

        fill_state(&event.state, ENDED + e->code);
        if (events.fn)
                events.fn(events.data, &event);
}

static void *deliver(void *unused)
{
        pthread_mutex_lock(&events.lock);
        while (!events.stop || events.first) {
                struct ending *e = events.first;

                if (!e) {
                        pthread_cond_wait(&events.news, &events.lock);
                        continue;
                }
                events.first = e->next;
                if (!events.first)
                        events.last = &events.first;
                pthread_mutex_unlock(&events.lock);
                tell(e);
                free(e);
                pthread_mutex_lock(&events.lock);
        }
        pthread_mutex_unlock(&events.lock);
        return NULL;
}

static void post(const char *pod, const char *container, const char *exec, int code)
{
        struct ending *e = calloc(1, sizeof *e);

        if (!e)
                abort();
        snprintf(e->pod, sizeof e->pod, "%s", pod);
        snprintf(e->container, sizeof e->container, "%s", container);
        snprintf(e->exec, sizeof e->exec, "%s", exec);
        e->code = code;
        pthread_mutex_lock(&events.lock);
        *events.last = e;
        events.last = &e->next;
        pthread_cond_signal(&events.news);
        pthread_mutex_unlock(&events.lock);
}

static int start_thread(void *self, struct cringle_err *err)
{
        events.stop = false;
        if (pthread_create(&events.thread, NULL, deliver, NULL) != 0)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "no thread");
        return 0;
}

static void stop_thread(void *self)
{
        pthread_mutex_lock(&events.lock);
        events.stop = true;
        pthread_cond_signal(&events.news);
        pthread_mutex_unlock(&events.lock);
        pthread_join(events.thread, NULL);
        events.fn = NULL;
}

/* --- operations --- */

static int features(void *self, struct cringle_executor_features *ret, struct cringle_err *err)
{
        *ret = (struct cringle_executor_features) { .size = sizeof *ret, .seccomp = 1 };
        return 0;
}

static void listen_to(void *self, cringle_executor_event_fn fn, void *data)
{
        events.fn = fn;
        events.data = data;
}

static int open_pod(void *self, const struct cringle_call *call, const struct cringle_pod_launch *pod, int adopt,
                    struct cringle_err *err)
{
        if (fake_call(adopt ? "executor.adopt_pod" : "executor.open_pod", pod->id, NULL, err) < 0)
                return -1;
        if (adopt && !fake_get("pod", pod->id, NULL))
                return cringle_fail(err, CRINGLE_E_NOT_FOUND, "no pod %s", pod->id);
        fake_put("pod", pod->id, 0);
        return 0;
}

static int close_pod(void *self, const struct cringle_call *call, const char *pod, const char *run_dir,
                     struct cringle_err *err)
{
        if (fake_call("executor.close_pod", pod, NULL, err) < 0)
                return -1;
        fake_drop("pod", pod);
        return 0;
}

static int create(void *self, const struct cringle_call *call, const struct cringle_container_launch *launch,
                  struct cringle_container_state *ret, struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];

        if (fake_call("executor.create", launch->pod, launch->id, err) < 0)
                return -1;
        fake_put("container", fake_key(key, launch->pod, launch->id), CRINGLE_RUN_CREATED);
        fill_state(ret, CRINGLE_RUN_CREATED);
        return 0;
}

static int start(void *self, const struct cringle_call *call, const char *pod, const char *id,
                 struct cringle_container_state *ret, struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];

        if (fake_call("executor.start", pod, id, err) < 0)
                return -1;
        if (!fake_get("container", fake_key(key, pod, id), NULL))
                return cringle_fail(err, CRINGLE_E_NOT_FOUND, "no container %s", id);
        fake_put("container", key, CRINGLE_RUN_RUNNING);
        fill_state(ret, CRINGLE_RUN_RUNNING);
        return 0;
}

void fake_exit(const char *pod, const char *id, int code)
{
        char key[FAKE_KEY_MAX];
        int number;

        if (!fake_get("container", fake_key(key, pod, id), &number) || number >= ENDED)
                return;
        fake_put("container", key, ENDED + code);
        post(pod, id, "", code);
}

static int send_signal(void *self, const struct cringle_call *call, const char *pod, const char *id, int signal,
                       int all, struct cringle_err *err)
{
        if (fake_call("executor.kill", pod, id, err) < 0)
                return -1;
        if (signal == SIGKILL || !fake_ignores_term())
                fake_exit(pod, id, 128 + signal);
        return 0;
}

static int state(void *self, const char *pod, const char *id, struct cringle_container_state *ret,
                 struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];
        int number = CRINGLE_RUN_NONE;

        fake_get("container", fake_key(key, pod, id), &number);
        fill_state(ret, number);
        return 0;
}

static int destroy(void *self, const struct cringle_call *call, const char *pod, const char *id, const char *bundle,
                   struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];

        if (fake_call("executor.destroy", pod, id, err) < 0)
                return -1;
        fake_drop("container", fake_key(key, pod, id));
        return 0;
}

static int reopen_log(void *self, const struct cringle_call *call, const char *pod, const char *id,
                      struct cringle_err *err)
{
        return fake_call("executor.reopen_log", pod, id, err);
}

/* Every exec succeeds at once. */
static int exec(void *self, const struct cringle_call *call, const struct cringle_exec *exec, struct cringle_err *err)
{
        if (fake_call("executor.exec", exec->pod, exec->container, err) < 0)
                return -1;
        post(exec->pod, exec->container, exec->id, 0);
        return 0;
}

static int kill_exec(void *self, const struct cringle_call *call, const char *pod, const char *exec,
                     struct cringle_err *err)
{
        return fake_call("executor.kill_exec", pod, exec, err);
}

static int resize(void *self, const struct cringle_call *call, const char *pod, const char *container,
                  const char *exec, uint16_t columns, uint16_t rows, struct cringle_err *err)
{
        return fake_call("executor.resize", pod, container, err);
}

static int attach(void *self, const struct cringle_call *call, const char *pod, const char *container, int stdin_fd,
                  int stdout_fd, int stderr_fd, struct cringle_err *err)
{
        return fake_call("executor.attach", pod, container, err);
}

static const struct cringle_executor_ops ops = {
        .size = sizeof ops,
        .features = features,
        .listen = listen_to,
        .open_pod = open_pod,
        .close_pod = close_pod,
        .create = create,
        .start = start,
        .kill = send_signal,
        .state = state,
        .destroy = destroy,
        .reopen_log = reopen_log,
        .exec = exec,
        .kill_exec = kill_exec,
        .resize = resize,
        .attach = attach,
};

CRINGLE_PLUGIN(fake_executor,
        .kind = CRINGLE_EXECUTOR,
        .name = "fake-executor",
        .major = CRINGLE_EXECUTOR_MAJOR,
        .start = start_thread,
        .quiesce = stop_thread,
        .ops = &ops);
