/*
 * CheckpointPod: running containers of a pod as they are at one moment
 *
 * What they come to (capture.h) is written where the caller wants it and nowhere else:
 *
 *      containers/<name>/      for each
 *      pod.json                last: what is in here; a directory without it is no checkpoint
 *
 * All the while each of the containers has a task in its lane that waits for ours, so that nobody starts, stops or
 * changes it.  Who wants to stop one, or the pod, cancels ours first.  Should we be killed, CRIU lets the containers go on,
 * and the next start takes away what there is: a file in the pod's directory says where.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/log.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/pod/capture.h"
#include "agent/pod/model.h"

/* Without a deadline, and whatever the deadline. */
#define PATIENCE (120 * NSEC_PER_SEC)
#define LONGEST (3600 * NSEC_PER_SEC)

/* Of the time up to a deadline, at most: so that the containers run again before it. */
#define RESERVE (6 * NSEC_PER_SEC)

#define WHERE_MAX (64 << 10)
#define NAME_LEN_MAX 128

/* As the request came: one block of memory, which the task frees.  The containers are referenced. */
struct wish {
        int64_t deadline;               /* CLOCK_MONOTONIC */
        char *path;                     /* behind the list */
        size_t n;
        struct container *containers[];
};

/* --- what one that was cut short has left --- */

static char *where_of(const struct pod *pod, struct cringle_err *err)
{
        return str_printf(err, "%s/checkpoint", pod->dir);
}

static int remove_parts(const char *path, struct cringle_err *err)
{
        auto_free char *containers = str_printf(err, "%s/containers", path), *contents = str_printf(err, "%s/pod.json", path);

        if (!containers || !contents)
                return -1;
        return file_remove_tree(contents, err) < 0 || file_remove_tree(containers, err) < 0 ? -1 : 0;
}

int pod_drop_checkpoint(const struct pod *pod, struct cringle_err *err)
{
        auto_free char *where = where_of(pod, err);
        auto_buf path = BUF_INIT;

        if (!where)
                return -1;
        if (!file_exists(where))
                return 0;
        if (file_read(where, WHERE_MAX, &path, err) < 0)
                return -1;
        if (path.len > 0 && remove_parts(path.data, err) < 0)
                return -1;
        return file_remove_tree(where, err);
}

/* --- steps --- */

static int check_empty(const char *path, struct cringle_err *err)
{
        DIR *dir = opendir(path);
        struct dirent *entry;
        bool empty = true;

        if (!dir)
                return err_sys(err, "open %s", path);
        while (empty && (entry = readdir(dir)) != NULL)
                empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        closedir(dir);
        return empty ? 0 : err_set(err, CRINGLE_E_EXISTS, "%s is not empty", path);
}

/* What is there is ours from here on. */
static int take_directory(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        const struct wish *wish = task_extra(t);
        const struct pod *pod = object;
        auto_free char *where = where_of(pod, err);

        if (!where || check_empty(wish->path, err) < 0)
                return -1;
        return file_replace(where, wish->path, strlen(wish->path), 0600, false, err);
}

static int remove_all(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return pod_drop_checkpoint(object, err);
}

static int make_directory(int above, const char *name, int *ret, struct cringle_err *err)
{
        if (mkdirat(above, name, 0700) < 0)
                return err_sys(err, "make directory %s", name);
        *ret = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *ret < 0 ? err_sys(err, "open directory %s", name) : 0;
}

static int capture(const struct wish *wish, struct capture *list, const struct cringle_call *call, struct cringle_err *err)
{
        auto_fd int top = open(wish->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), containers = -1;

        if (top < 0)
                return err_sys(err, "open %s", wish->path);
        if (make_directory(top, "containers", &containers, err) < 0)
                return -1;
        for (size_t i = 0; i < wish->n; i++)
                if (make_directory(containers, wish->containers[i]->status->metadata->name, &list[i].dir, err) < 0)
                        return -1;
        return capture_containers(wish->containers[0]->pods, list, wish->n, call, err);
}

static struct cringle_call until(const struct cringle_call *call, int64_t deadline)
{
        return call_within(call, deadline - clock_monotonic());
}

static int dump_processes(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        const struct wish *wish = task_extra(t);
        const struct cringle_call mine = until(call, wish->deadline);
        auto_free struct capture *list = calloc(wish->n, sizeof *list);
        int r;

        if (!list)
                return err_oom(err);
        for (size_t i = 0; i < wish->n; i++)
                list[i] = (struct capture) { .container = wish->containers[i], .dir = -1 };
        r = capture(wish, list, &mine, err);
        for (size_t i = 0; i < wish->n; i++)
                fd_close(list[i].dir);
        return r;
}

static int describe_namespaces(const struct pod *pod, struct json_object *o, struct cringle_err *err)
{
        const Cri__NamespaceOption *have = pod_namespaces(pod);
        const struct {
                const char *name;
                Cri__NamespaceMode mode;
        } namespaces[] = { { "network", have->network }, { "pid", have->pid }, { "ipc", have->ipc } };
        struct json_object *list = json_need_object(o, "namespaces", err);

        if (!list)
                return -1;
        for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
                const ProtobufCEnumValue *mode =
                        protobuf_c_enum_descriptor_get_value(&cri__namespace_mode__descriptor, (int) namespaces[i].mode);

                if (json_set_string(list, namespaces[i].name, mode ? mode->name : "", err) < 0)
                        return -1;
        }
        return 0;
}

static int describe(const struct pod *pod, const struct wish *wish, struct json_object *o, struct cringle_err *err)
{
        const Cri__PodSandboxMetadata *m = pod->request->config->metadata;
        auto_free char *now = capture_time(clock_realtime(), err);
        struct json_object *names;

        if (!now || json_set_int(o, "version", 1, err) < 0 || json_set_string(o, "runtime", "cringle " CRINGLE_VERSION, err) < 0 ||
            json_set_string(o, "checkpointedTime", now, err) < 0 || json_set_string(o, "id", pod->id, err) < 0 ||
            json_set_string(o, "name", m->name, err) < 0 || json_set_string(o, "namespace", m->namespace_, err) < 0 ||
            json_set_string(o, "uid", m->uid, err) < 0 || describe_namespaces(pod, o, err) < 0)
                return -1;
        names = json_need_array(o, "containers", err);
        for (size_t i = 0; names && i < wish->n; i++)
                if (json_add_string(names, wish->containers[i]->status->metadata->name, err) < 0)
                        return -1;
        return names ? 0 : -1;
}

/* It says that all is there: so that must be on the disk. */
static int write_contents(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        const struct wish *wish = task_extra(t);
        auto_free char *path = str_printf(err, "%s/pod.json", wish->path);
        auto_fd int top = open(wish->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct cringle_call mine = until(call, wish->deadline);
        auto_json o = json_object_new_object();
        auto_buf text = BUF_INIT;

        if (!path)
                return -1;
        if (!o)
                return err_oom(err);
        if (top < 0 || syncfs(top) < 0)
                return err_sys(err, "sync %s", wish->path);
        if (describe(object, wish, o, err) < 0 || json_write(o, &text, err) < 0 || call_check(&mine, err) < 0)
                return -1;
        return file_replace(path, text.data, text.len, 0600, true, err);
}

static const struct step steps[] = {
        { "take directory", take_directory, remove_all },
        { "dump processes", dump_processes, NULL },
        { "write contents", write_contents, NULL },
        { 0 }
};

/* The lock is held. */
static void release(struct wish *wish)
{
        for (size_t i = 0; i < wish->n; i++) {
                struct container *c = wish->containers[i];

                if (c->captured)
                        task_resume(&c->pods->tasks, c->captured);
                c->captured = NULL;
                container_unref(c);
        }
}

/* The place is the caller's again. */
static int forget_directory(const struct pod *pod, struct cringle_err *err)
{
        auto_free char *where = where_of(pod, err);

        return where ? file_remove_tree(where, err) : -1;
}

static void finish(struct task *t, void *object, const struct cringle_err *err)
{
        struct pod *pod = object;
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!err && forget_directory(pod, &why) < 0)
                log_warning("pod %.12s: %s", pod->id, why.text);
        pthread_mutex_lock(&pod->pods->tasks.lock);
        release(task_extra(t));
        pthread_mutex_unlock(&pod->pods->tasks.lock);
}

static const struct procedure sandbox_checkpoint = {
        .name = "checkpoint pod",
        .steps = steps,
        .finish = finish,
        .limit = LONGEST,
        .urgency = TASK_GIVES_WAY,
        .for_waiters = true,
};

/* --- what the containers do meanwhile --- */

static int wait_for_pod(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        int r;

        pthread_mutex_lock(&c->pods->tasks.lock);
        r = c->captured == t ? STEP_HELD : STEP_DONE;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return r;
}

static const struct step container_steps[] = {
        { "wait for the pod's", wait_for_pod, NULL },
        { 0 }
};

static const struct procedure container_captured = {
        .name = "be checkpointed",
        .steps = container_steps,
        .limit = LONGEST,
};

void container_give_up_capture(struct container *c)
{
        if (c->captured)
                lane_cancel(&c->pods->tasks, &c->pod->lane, 0);
}

/* --- the request --- */

static int check(const Cri__CheckpointPodRequest *request, struct cringle_err *err)
{
        const char *path = request->output_path;
        struct stat st;

        if (request->n_options > 0)
                return err_set(err, CRINGLE_E_INVALID, "there is no option '%.80s'", request->options[0]->key);
        if (request->n_container_ids == 0)
                return err_set(err, CRINGLE_E_INVALID, "no container is named");
        if (!path_is_clean(path) || !path[1])
                return err_set(err, CRINGLE_E_INVALID, "output path '%.200s' is no absolute path of a directory", path);
        if (stat(path, &st) < 0)
                return err_sys(err, "output path '%.200s'", path);
        return S_ISDIR(st.st_mode) ? 0 : err_set(err, CRINGLE_E_INVALID, "output path '%.200s' is no directory", path);
}

/* The lock is held, here and below. */
static int check_container(const struct pod *pod, const struct wish *wish, const struct container *c, struct cringle_err *err)
{
        const char *name = c->status->metadata->name;

        if (c->pod != pod)
                return err_set(err, CRINGLE_E_INVALID, "container %.12s is of another pod", c->id);
        if (c->status->state != CRI__CONTAINER_STATE__CONTAINER_RUNNING)
                return err_set(err, CRINGLE_E_PRECONDITION, "container %.12s is not running", c->id);
        if (c->closing || c->lane.first)
                return err_set(err, CRINGLE_E_UNAVAILABLE, "container %.12s is being worked on", c->id);
        if (!str_is_id(name, NAME_LEN_MAX))
                return err_set(err, CRINGLE_E_INVALID, "container %.12s: its name '%.200s' is none for a directory", c->id, name);
        for (size_t i = 0; i < wish->n; i++) {
                if (wish->containers[i] == c)
                        return err_set(err, CRINGLE_E_INVALID, "container %.12s is named twice", c->id);
                if (strcmp(wish->containers[i]->status->metadata->name, name) == 0)
                        return err_set(err, CRINGLE_E_INVALID, "two of the containers are called %s", name);
        }
        return 0;
}

static int find_all(struct pods *pods, const Cri__CheckpointPodRequest *request, struct wish *wish, struct pod **ret,
                    struct cringle_err *err)
{
        if (find_pod(pods, request->pod_sandbox_id, ret, err) < 0)
                return -1;
        if ((*ret)->closing || (*ret)->status->state != CRI__POD_SANDBOX_STATE__SANDBOX_READY)
                return err_set(err, CRINGLE_E_PRECONDITION, "pod sandbox %.12s is not ready", (*ret)->id);
        if ((*ret)->lane.first)
                return err_set(err, CRINGLE_E_UNAVAILABLE, "pod sandbox %.12s is being worked on", (*ret)->id);
        for (size_t i = 0; i < request->n_container_ids; i++) {
                struct container *c;

                if (find_container(pods, request->container_ids[i], &c, err) < 0 || check_container(*ret, wish, c, err) < 0)
                        return -1;
                wish->containers[wish->n++] = c;
        }
        return 0;
}

/* Before it the containers run again. */
static int64_t own_deadline(int64_t its)
{
        int64_t now = clock_monotonic(), left = its ? its - now : PATIENCE, reserve = left / 4;

        return now + left - (reserve < RESERVE ? reserve : RESERVE);
}

void pods_checkpoint_sandbox(struct pods *pods, const Cri__CheckpointPodRequest *request, int64_t deadline, pods_done_fn done,
                             void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct pod *pod;
        struct wish *wish;
        size_t list;

        if (check(request, &err) < 0) {
                done(data, request->pod_sandbox_id, &err);
                return;
        }
        list = sizeof *wish + request->n_container_ids * sizeof *wish->containers;
        wish = calloc(1, list + strlen(request->output_path) + 1);
        if (!wish)
                abort();
        wish->deadline = own_deadline(deadline);
        wish->path = (char *) wish + list;
        memcpy(wish->path, request->output_path, strlen(request->output_path) + 1);

        pthread_mutex_lock(&pods->tasks.lock);
        if (find_all(pods, request, wish, &pod, &err) < 0) {
                pthread_mutex_unlock(&pods->tasks.lock);
                free(wish);
                done(data, request->pod_sandbox_id, &err);
                return;
        }
        for (size_t i = 0; i < wish->n; i++) {
                struct container *c = wish->containers[i];

                container_ref(c);
                c->captured = pods_start_container_task(c, &container_captured, false, NULL, NULL, NULL);
        }
        pods_start_pod_task(pod, &sandbox_checkpoint, false, wish, done, data);
        pthread_mutex_unlock(&pods->tasks.lock);
}
