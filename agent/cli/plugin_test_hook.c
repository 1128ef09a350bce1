/*
 * Checks of hook plugins: events as the agent's own engine makes them, of a pod that
 * there is not; see plugin.h.
 *
 * A hook may refuse what it is shown: that is its work.  It must say why, come back in
 * time, and stand being called from many threads.
 */

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/cli/plugin.h"
#include "hooks/event.h"
#include "hooks/hooks.h"

#define ANNOTATIONS_MAX 64
#define THREADS 8
#define ROUNDS 50

/* A container as the agent describes it, with what hooks usually touch. */
static const char specification[] =
        "{\"ociVersion\":\"1.3.0\",\"hostname\":\"example\",\"process\":{\"args\":[\"/bin/example\",\"--serve\"],\"cwd\":\"/\","
        "\"env\":[\"PATH=/usr/bin:/bin\",\"HOSTNAME=example\"]},\"root\":{\"path\":\"rootfs\"},"
        "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
        "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
        "{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/srv\",\"options\":[\"rbind\",\"rw\"]}],"
        "\"linux\":{\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]}},\"annotations\":{}}";

/* A pod and its container, told by the messages the kubelet would send. */
struct scene {
        Cri__Pair pairs[ANNOTATIONS_MAX];
        Cri__Pair *annotations[ANNOTATIONS_MAX];
        Cri__PodSandboxMetadata pod_metadata;
        Cri__PodSandboxConfig pod;
        Cri__ContainerMetadata container_metadata;
        Cri__ImageSpec image;
        Cri__ContainerConfig container;
};

static void set_scene(struct scene *s, const struct cringle_pair *annotations)
{
        size_t n = 0;

        memset(s, 0, sizeof *s);
        cri__pod_sandbox_metadata__init(&s->pod_metadata);
        cri__pod_sandbox_config__init(&s->pod);
        cri__container_metadata__init(&s->container_metadata);
        cri__image_spec__init(&s->image);
        cri__container_config__init(&s->container);
        for (; annotations && annotations[n].key && n < ANNOTATIONS_MAX; n++) {
                cri__pair__init(&s->pairs[n]);
                s->pairs[n].key = (char *) annotations[n].key;
                s->pairs[n].value = (char *) annotations[n].value;
                s->annotations[n] = &s->pairs[n];
        }
        s->pod.metadata = &s->pod_metadata;
        s->pod.annotations = s->annotations;
        s->pod.n_annotations = n;
        s->container.metadata = &s->container_metadata;
        s->container.image = &s->image;
}

static void name_scene(struct scene *s)
{
        s->pod_metadata.name = (char *) "example";
        s->pod_metadata.namespace_ = (char *) "default";
        s->pod_metadata.uid = (char *) "0b6c1f5e-0000-4000-8000-000000000001";
        s->container_metadata.name = (char *) "main";
        s->image.image = (char *) "docker.io/library/example:1";
}

static bool is_of_container(int point)
{
        return point >= CRINGLE_CONTAINER_CREATE && point <= CRINGLE_CONTAINER_REMOVE;
}

static int add_env(struct json_object *spec, const char *const *env, struct cringle_err *err)
{
        struct json_object *process = json_need_object(spec, "process", err);
        struct json_object *list = process ? json_need_array(process, "env", err) : NULL;

        for (; list && env && *env; env++) {
                struct json_object *entry = json_object_new_string(*env);

                if (!entry || json_add(list, entry, err) < 0)
                        return -1;
        }
        return list ? 0 : -1;
}

/* One event at @point.  1: taken, 0: refused, in words that are in @why; -1: it did not do as it must. */
static int show(struct bench *b, struct scene *s, int point, const struct cringle_call *call, struct cringle_err *why,
                struct json_object **ret_spec, struct cringle_err *err)
{
        static const char *const args[] = { "/bin/example", "--serve", NULL };
        const struct cringle_hook_ops *ops = b->ops;
        struct hooks_subject subject = { .pod_id = "4f1d7a", .pod = &s->pod };
        struct event_host host = { .subject = &subject };
        auto_json spec = NULL;
        struct adjust adjust;
        struct cringle_event ev;
        int r;

        if (json_parse(specification, strlen(specification), &spec, err) < 0 || add_env(spec, b->test->env, err) < 0)
                return -1;
        adjust = (struct adjust) ADJUST_INIT(spec, 10);
        if (is_of_container(point)) {
                subject.container_id = "9c2e80";
                subject.container = &s->container;
                subject.bundle = b->services.run_dir;
                subject.pid = point > CRINGLE_CONTAINER_CREATE ? getpid() : 0;
                subject.exit_code = point == CRINGLE_CONTAINER_STOPPED ? 137 : 0;
        }
        if (point == CRINGLE_CONTAINER_CREATE) {
                host.adjust = &adjust;
                if (adjust_begin(&adjust, b->factory.name, false, err) < 0)
                        return -1;
        }
        *why = (struct cringle_err) CRINGLE_ERR_INIT;
        ev = event_make(point, &host, subject.container && s->image.image ? args : NULL, call);
        r = ops->run(b->self, &ev, why);
        adjust_done(&adjust);
        if (r < 0)
                return check_said_why(hooks_point_name(point), why, err);
        if (ret_spec)
                *ret_spec = steal(&spec);
        return 1;
}

/* All points it wants, once. */
static int show_all(struct bench *b, struct scene *s, const struct cringle_call *call, bool print, struct cringle_err *err)
{
        const struct cringle_hook_ops *ops = b->ops;
        struct cringle_err why;

        for (int point = CRINGLE_POD_RUN; point < CRINGLE_POINTS; point++) {
                auto_json spec = NULL;
                auto_buf text = BUF_INIT;
                int r;

                if (!(ops->points & CRINGLE_AT(point)))
                        continue;
                r = show(b, s, point, call, &why, &spec, err);
                if (r < 0)
                        return -1;
                if (!print)
                        continue;
                if (r == 0)
                        printf("# %s: refused: %s\n", hooks_point_name(point), why.text);
                else if (point == CRINGLE_CONTAINER_CREATE && json_write(spec, &text, err) == 0)
                        printf("# %s: %s\n", hooks_point_name(point), text.data);
                else
                        printf("# %s: taken\n", hooks_point_name(point));
        }
        return 0;
}

int check_events(struct bench *b, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, b->test->timeout);
        struct scene s;

        set_scene(&s, b->test->annotations);
        name_scene(&s);
        if (bench_up(b, b->settings, err) < 0 || show_all(b, &s, &call, b->test->show, err) < 0)
                return -1;
        bench_down(b);
        return 0;
}

/* The kubelet leaves out what it has not got; names are then empty or NULL. */
int check_bare_events(struct bench *b, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, b->test->timeout);
        struct scene s;

        if (bench_up(b, b->settings, err) < 0)
                return -1;
        set_scene(&s, NULL);
        if (show_all(b, &s, &call, false, err) < 0)
                return -1;
        s.pod_metadata.name = s.pod_metadata.namespace_ = s.pod_metadata.uid = s.container_metadata.name = NULL;
        s.image.image = NULL;
        if (show_all(b, &s, &call, false, err) < 0)
                return -1;
        bench_down(b);
        return 0;
}

/* Nobody waits any more: it may do its work or give up, but not wait. */
int check_late_events(struct bench *b, struct cringle_err *err)
{
        auto_fd int cancelled = eventfd(1, EFD_CLOEXEC);
        struct cringle_call call = { .size = sizeof call, .deadline = clock_monotonic() - NSEC_PER_SEC, .cancel_fd = cancelled };
        struct scene s;
        int64_t begun;

        if (cancelled < 0)
                return err_sys(err, "eventfd");
        set_scene(&s, b->test->annotations);
        name_scene(&s);
        if (bench_up(b, b->settings, err) < 0)
                return -1;
        begun = clock_monotonic();
        if (show_all(b, &s, &call, false, err) < 0)
                return -1;
        if (clock_monotonic() - begun > NSEC_PER_SEC)
                return err_set(err, CRINGLE_E_DEADLINE, "it took %lld ms after the deadline: look at ev->call",
                               (long long) ((clock_monotonic() - begun) / NSEC_PER_MSEC));
        bench_down(b);
        return 0;
}

struct crowd {
        struct bench *bench;
        int result;
        struct cringle_err err;
};

static void *one_of_many(void *data)
{
        struct crowd *c = data;
        struct cringle_call call = call_within(NULL, c->bench->test->timeout);
        struct scene s;

        set_scene(&s, c->bench->test->annotations);
        name_scene(&s);
        for (int i = 0; i < ROUNDS && c->result == 0; i++)
                c->result = show_all(c->bench, &s, &call, false, &c->err);
        return NULL;
}

int check_many_events(struct bench *b, struct cringle_err *err)
{
        struct crowd crowd[THREADS];
        pthread_t threads[THREADS];
        int r = 0;

        if (bench_up(b, b->settings, err) < 0)
                return -1;
        for (size_t i = 0; i < THREADS; i++) {
                crowd[i] = (struct crowd) { .bench = b, .err = CRINGLE_ERR_INIT };
                if (pthread_create(&threads[i], NULL, one_of_many, &crowd[i]) != 0)
                        return err_set(err, CRINGLE_E_EXHAUSTED, "no thread could be made");
        }
        for (int i = 0; i < ROUNDS && b->factory.reload && r == 0; i++)
                r = b->factory.reload(b->self, b->settings, err);
        for (size_t i = 0; i < THREADS; i++) {
                pthread_join(threads[i], NULL);
                if (crowd[i].result < 0 && r == 0) {
                        *err = crowd[i].err;
                        r = -1;
                }
        }
        if (r == 0)
                bench_down(b);
        return r;
}
