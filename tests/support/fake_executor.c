/*
 * An executor without processes; see fake.h.  A container's number in the record is
 * its state, and once it has ended ENDED (or UNBORN, when its program never ran) and its exit code.
 *
 * As with real ones, what ends does so a moment later, on a thread that tells it:
 * until then the container runs.  Commands of an exec:
 *      out N, err N    N bytes on that stream
 *      exit N          exit code N
 *      sleep           until the time limit
 *      keep            its streams stay open after its end
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "plugins/api/executor.h"
#include "tests/support/fake.h"
#include "tests/support/fake_inside.h"

#define ENDED 1000
#define UNBORN 2000

struct news {
        struct news *next;
        int64_t at;                     /* not before */
        int type;
        char pod[128], container[128], exec[128];
        int code;
        int timed_out;
};

static struct {
        pthread_mutex_t lock;
        pthread_cond_t news;
        pthread_t thread;
        bool running, stop;
        struct news *first, **last;

        pthread_mutex_t telling;        /* held around fn */
        cringle_executor_event_fn fn;
        void *data;
} events = {
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .news = PTHREAD_COND_INITIALIZER,
        .last = &events.first,
        .telling = PTHREAD_MUTEX_INITIALIZER,
};

static int kept = -1;                   /* a stream that an exec has left open */

static void fill_state(struct cringle_container_state *s, int number)
{
        *s = (struct cringle_container_state) { .size = sizeof *s, .state = number };
        if (number == CRINGLE_RUN_NONE)
                return;
        s->pid = number == CRINGLE_RUN_CREATED || number == CRINGLE_RUN_RUNNING ? 4242 : 0;
        s->started_at = number == CRINGLE_RUN_CREATED || number >= UNBORN ? 0 : 1;
        if (number >= ENDED) {
                s->state = CRINGLE_RUN_EXITED;
                s->exit_code = number - (number >= UNBORN ? UNBORN : ENDED);
                s->signal = s->exit_code > 128 ? s->exit_code - 128 : 0;
                s->finished_at = clock_realtime();
        }
}

/* The container ends now.  What it comes to; 0: it had ended, or was never there. */
static int end_container(const char *pod, const char *id, int code)
{
        char key[FAKE_KEY_MAX];
        int number;

        if (!fake_get("container", fake_key(key, pod, id), &number) || number >= ENDED)
                return 0;
        number = (number == CRINGLE_RUN_CREATED ? UNBORN : ENDED) + code;
        fake_put("container", key, number);
        return number;
}

static void tell(const struct news *n)
{
        struct cringle_executor_event event = {
                .size = sizeof event,
                .type = n->type,
                .pod = n->pod,
                .container = n->container[0] ? n->container : NULL,
                .exec = n->exec[0] ? n->exec : NULL,
                .timed_out = n->timed_out,
        };
        int number = ENDED + n->code;

        if (n->type == CRINGLE_EVENT_EXITED) {
                number = end_container(n->pod, n->container, n->code);
                if (number == 0)
                        return;
        }
        fill_state(&event.state, number);
        pthread_mutex_lock(&events.telling);
        if (events.fn)
                events.fn(events.data, &event);
        pthread_mutex_unlock(&events.telling);
}

/* The first whose time has come, out of the list; else NULL.  The lock is held. */
static struct news *take_due(void)
{
        int64_t now = clock_monotonic();

        if (fake_holds_events())
                return NULL;
        for (struct news **at = &events.first; *at; at = &(*at)->next) {
                struct news *n = *at;

                if (n->at > now)
                        continue;
                *at = n->next;
                if (!n->next)
                        events.last = at;
                return n;
        }
        return NULL;
}

static void *deliver(void *unused)
{
        pthread_mutex_lock(&events.lock);
        while (!events.stop) {
                struct news *n = take_due();
                struct timespec soon;

                if (!n) {
                        clock_gettime(CLOCK_REALTIME, &soon);
                        soon.tv_nsec += 2000000;
                        if (soon.tv_nsec >= 1000000000) {
                                soon.tv_sec++;
                                soon.tv_nsec -= 1000000000;
                        }
                        if (events.first)
                                pthread_cond_timedwait(&events.news, &events.lock, &soon);
                        else
                                pthread_cond_wait(&events.news, &events.lock);
                        continue;
                }
                pthread_mutex_unlock(&events.lock);
                tell(n);
                free(n);
                pthread_mutex_lock(&events.lock);
        }
        while (events.first) {
                struct news *n = events.first;

                events.first = n->next;
                free(n);
        }
        events.last = &events.first;
        pthread_mutex_unlock(&events.lock);
        return NULL;
}

/* Tell it @after nanoseconds; false: nobody is there to tell it. */
static bool post(const struct news *what, int64_t after)
{
        struct news *n = malloc(sizeof *n);
        bool running;

        if (!n)
                abort();
        *n = *what;
        n->next = NULL;
        n->at = clock_monotonic() + after;
        pthread_mutex_lock(&events.lock);
        running = events.running;
        if (running) {
                *events.last = n;
                events.last = &n->next;
                pthread_cond_signal(&events.news);
        } else {
                free(n);
        }
        pthread_mutex_unlock(&events.lock);
        return running;
}

static struct news about(int type, const char *pod, const char *container, const char *exec, int code)
{
        struct news n = { .type = type, .code = code };

        snprintf(n.pod, sizeof n.pod, "%s", pod);
        snprintf(n.container, sizeof n.container, "%s", container);
        snprintf(n.exec, sizeof n.exec, "%s", exec);
        return n;
}

void fake_exit(const char *pod, const char *id, int code)
{
        struct news n = about(CRINGLE_EVENT_EXITED, pod, id, "", code);

        if (!post(&n, 0))
                end_container(pod, id, code);
}

void fake_lose(const char *pod)
{
        struct news n = about(CRINGLE_EVENT_POD_LOST, pod, "", "", 0);
        auto_free char *below = str_printf(NULL, "%s/", pod);

        fake_drop("pod", pod);
        fake_drop_below("container", below);
        post(&n, 0);
}

void fake_mute(void)
{
        pthread_mutex_lock(&events.telling);
        events.fn = NULL;
        pthread_mutex_unlock(&events.telling);
}

static int start_thread(void *self, struct cringle_err *err)
{
        events.stop = false;
        if (pthread_create(&events.thread, NULL, deliver, NULL) != 0)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "no thread");
        events.running = true;
        return 0;
}

static void stop_thread(void *self)
{
        pthread_mutex_lock(&events.lock);
        events.stop = true;
        events.running = false;
        pthread_cond_signal(&events.news);
        pthread_mutex_unlock(&events.lock);
        pthread_join(events.thread, NULL);
        fake_mute();
        kept = fd_close(kept);
}

/* --- operations --- */

static int features(void *self, struct cringle_executor_features *ret, struct cringle_err *err)
{
        *ret = (struct cringle_executor_features) { .size = sizeof *ret, .seccomp = 1 };
        return 0;
}

static void listen_to(void *self, cringle_executor_event_fn fn, void *data)
{
        pthread_mutex_lock(&events.telling);
        events.fn = fn;
        events.data = data;
        pthread_mutex_unlock(&events.telling);
}

/* Files stand for the pinned namespaces, where the caller has made a directory for them. */
static void pin(const struct cringle_pod_launch *pod)
{
        static const struct { uint32_t bit; const char *name; } spaces[] = {
                { CRINGLE_NS_NET, "net" }, { CRINGLE_NS_IPC, "ipc" }, { CRINGLE_NS_UTS, "uts" }, { CRINGLE_NS_PID, "pid" },
        };
        auto_free char *dir = str_printf(NULL, "%s/ns", pod->run_dir);

        if (file_make_dirs(dir, 0700, NULL) < 0)
                return;
        for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
                auto_free char *path = str_printf(NULL, "%s/%s", dir, spaces[i].name);

                if (pod->namespaces & spaces[i].bit)
                        file_replace(path, "", 0, 0600, false, NULL);
        }
}

static int open_pod(void *self, const struct cringle_call *call, const struct cringle_pod_launch *pod, int adopt,
                    struct cringle_err *err)
{
        if (fake_call(adopt ? "executor.adopt_pod" : "executor.open_pod", call, pod->id, NULL, err) < 0)
                return -1;
        if (adopt && !fake_get("pod", pod->id, NULL))
                return cringle_fail(err, CRINGLE_E_NOT_FOUND, "no pod %s", pod->id);
        fake_put("pod", pod->id, 0);
        if (!adopt && pod->run_dir)
                pin(pod);
        return 0;
}

static int close_pod(void *self, const struct cringle_call *call, const char *pod, const char *run_dir,
                     struct cringle_err *err)
{
        auto_free char *pins = str_printf(NULL, "%s/ns", run_dir);

        if (fake_call("executor.close_pod", call, pod, NULL, err) < 0)
                return -1;
        file_remove_tree(pins, NULL);
        fake_drop("pod", pod);
        return 0;
}

static int create(void *self, const struct cringle_call *call, const struct cringle_container_launch *launch,
                  struct cringle_container_state *ret, struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];

        if (fake_call("executor.create", call, launch->pod, launch->id, err) < 0)
                return -1;
        fake_put("container", fake_key(key, launch->pod, launch->id), CRINGLE_RUN_CREATED);
        fill_state(ret, CRINGLE_RUN_CREATED);
        return 0;
}

static int start(void *self, const struct cringle_call *call, const char *pod, const char *id,
                 struct cringle_container_state *ret, struct cringle_err *err)
{
        char key[FAKE_KEY_MAX];
        int number;

        if (fake_call("executor.start", call, pod, id, err) < 0)
                return -1;
        if (!fake_get("container", fake_key(key, pod, id), &number) || number != CRINGLE_RUN_CREATED)
                return cringle_fail(err, CRINGLE_E_NOT_FOUND, "no container %s that waits to be started", id);
        fake_put("container", key, CRINGLE_RUN_RUNNING);
        fill_state(ret, CRINGLE_RUN_RUNNING);
        return 0;
}

static int send_signal(void *self, const struct cringle_call *call, const char *pod, const char *id, int signal,
                       int all, struct cringle_err *err)
{
        if (fake_call(signal == SIGKILL ? "executor.kill" : "executor.ask", call, pod, id, err) < 0)
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

        if (fake_call("executor.destroy", call, pod, id, err) < 0)
                return -1;
        fake_drop("container", fake_key(key, pod, id));
        return 0;
}

static int reopen_log(void *self, const struct cringle_call *call, const char *pod, const char *id,
                      struct cringle_err *err)
{
        return fake_call("executor.reopen_log", call, pod, id, err);
}

static void put_bytes(int fd, long n)
{
        char chunk[4096];

        memset(chunk, 'x', sizeof chunk);
        while (n > 0 && fd >= 0) {
                ssize_t done = write(fd, chunk, n < (long) sizeof chunk ? (size_t) n : sizeof chunk);

                if (done < 0 && errno != EINTR)
                        return;
                n -= done > 0 ? done : 0;
        }
}

static int exec(void *self, const struct cringle_call *call, const struct cringle_exec *exec, struct cringle_err *err)
{
        struct news n = about(CRINGLE_EVENT_EXEC_EXITED, exec->pod, exec->container, exec->id, 0);
        int64_t after = 0;

        if (fake_call("executor.exec", call, exec->pod, exec->container, err) < 0)
                return -1;
        for (const char *const *word = exec->argv; *word; word++) {
                if (strcmp(*word, "out") == 0 && word[1])
                        put_bytes(exec->stdout_fd, atol(*++word));
                else if (strcmp(*word, "err") == 0 && word[1])
                        put_bytes(exec->stderr_fd, atol(*++word));
                else if (strcmp(*word, "exit") == 0 && word[1])
                        n.code = atoi(*++word);
                else if (strcmp(*word, "keep") == 0)
                        kept = dup(exec->stdout_fd);
                else if (strcmp(*word, "sleep") == 0) {
                        after = exec->timeout ? exec->timeout : INT64_MAX / 4;
                        n.timed_out = 1;
                        n.code = 137;
                }
        }
        post(&n, after);
        return 0;
}

static int kill_exec(void *self, const struct cringle_call *call, const char *pod, const char *exec,
                     struct cringle_err *err)
{
        return fake_call("executor.kill_exec", call, pod, exec, err);
}

static int resize(void *self, const struct cringle_call *call, const char *pod, const char *container,
                  const char *exec, uint16_t columns, uint16_t rows, struct cringle_err *err)
{
        return fake_call("executor.resize", call, pod, container, err);
}

static int attach(void *self, const struct cringle_call *call, const char *pod, const char *container, int stdin_fd,
                  int stdout_fd, int stderr_fd, struct cringle_err *err)
{
        return fake_call("executor.attach", call, pod, container, err);
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
