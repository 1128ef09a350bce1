/*
 * After a start: what the store says is made true again
 *
 * Containers outlive the agent, so each pod is either adopted, or its monitor is
 * gone and it is stopped like any other.  What was under way is rolled back
 * (run, create, start) or forward (stop, remove) with the very tables of the requests.
 * Rolling back happens here, before anybody can ask; forward goes as tasks, and these
 * start last, since they change what is walked through here.
 */

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

#define ADOPT_LIMIT (10 * NSEC_PER_SEC)

struct restore {
        struct pods *pods;
        char **orphans;                 /* containers whose pod is not there */
};

static int unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n, void *ret, const char *id,
                  struct cringle_err *err)
{
        ProtobufCMessage *m = protobuf_c_message_unpack(type, NULL, n, bytes);

        if (!m)
                return err_set(err, CRINGLE_E_DATA_LOSS, "record of %.12s cannot be read", id);
        *(ProtobufCMessage **) ret = m;
        return 0;
}

/* A record that cannot be read is skipped and said: one bad row must not cost all pods. */
static int load_pod(void *data, const struct stored *row, struct cringle_err *err)
{
        struct pods *pods = ((struct restore *) data)->pods;
        Cri__RunPodSandboxRequest *request = NULL;
        Cri__PodSandboxStatus *status = NULL;
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct pod *pod = NULL;

        if (!id_valid(row->id) ||
            unpack(&cri__run_pod_sandbox_request__descriptor, row->request, row->request_size, &request, row->id, &why) < 0 ||
            unpack(&cri__pod_sandbox_status__descriptor, row->status, row->status_size, &status, row->id, &why) < 0 ||
            !request->config || !request->config->metadata || !(pod = pod_new(pods, row->id, request, &why))) {
                log_error("pod %.12s is left out: %s", row->id, why.text);
                message_free(request);
                message_free(status);
                return 0;
        }

        message_free(pod->status);
        pod->status = status;
        pod->step = row->step ? strdup(row->step) : NULL;
        pod->level = row->level ? strdup(row->level) : NULL;
        pod->row = ROW_THERE;
        pod->visible = true;
        pod->detached = !pod->step && status->state == CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        pod->rebooted = strcmp(row->boot_id, pods->boot_id) != 0;
        if (pod_place_again(pod, row, err) < 0) {
                pod_unref(pod);
                return -1;
        }

        /* A stopped one holds no name: that may be a later pod's. */
        if ((pod->detached ? pod_enter_unnamed(pod, err) : pod_enter(pod, err)) < 0) {
                pod_unref(pod);
                return -1;
        }
        return 0;
}

static int load_container(void *data, const struct stored *row, struct cringle_err *err)
{
        struct restore *r = data;
        struct pods *pods = r->pods;
        struct pod *pod = map_get(&pods->by_id, row->pod);
        Cri__CreateContainerRequest *request = NULL;
        Cri__ContainerStatus *status = NULL;
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct container *c = NULL;

        if (!pod)
                return strv_add(&r->orphans, row->id, err);
        if (!id_valid(row->id) ||
            unpack(&cri__create_container_request__descriptor, row->request, row->request_size, &request, row->id, &why) < 0 ||
            unpack(&cri__container_status__descriptor, row->status, row->status_size, &status, row->id, &why) < 0 ||
            !request->config || !request->config->metadata || !(c = container_new(pod, row->id, request, &why))) {
                log_error("container %.12s is left out: %s", row->id, why.text);
                message_free(request);
                message_free(status);
                return 0;
        }

        message_free(c->status);
        c->status = status;
        c->step = row->step ? strdup(row->step) : NULL;
        c->row = ROW_THERE;
        c->visible = true;
        c->stop_signal = SIGTERM;
        c->ran = status->started_at != 0;
        c->image = images_get(pods->images, row->image);
        if (container_enter(c, err) < 0) {
                container_unref(c);
                return -1;
        }
        if (images_hold(pods->images, row->image, c->id, &why) < 0 || container_hold_volumes(c, &why) < 0)
                log_warning("container %.12s: %s", c->id, why.text);
        return 0;
}

/* The signal a container wants is in its image; it was checked when the container was made. */
static void learn_stop_signal(struct container *c)
{
        auto_of(image_config) image = NULL;

        if (c->image && image_config_parse(c->image->config, strlen(c->image->config), &image, NULL) == 0)
                spec_stop_signal(c->request->config, image, &c->stop_signal, NULL);
}

static bool under_way(const char *step, const char *operation)
{
        return step && str_starts(step, operation) && step[strlen(operation)] == ':';
}

static const char *step_name(const char *step)
{
        return strchr(step, ':') + 1;
}

/*
 * A stop that had killed nothing yet is forgotten: whoever asked for it was told that it failed and
 * asks again, and the container keeps its grace period.
 */
static bool only_asked_to_end(const struct container *c)
{
        return under_way(c->step, "stop") &&
               (str_equal(step_name(c->step), "run stop hooks") || str_equal(step_name(c->step), "ask to end"));
}

/* What the executor knows of a container counts more than what we wrote: unless its pod is lost, if it cannot be asked. */
static void look_at_container(struct container *c)
{
        struct pods *pods = c->pods;
        struct cringle_container_state state = { .size = sizeof state };
        struct cringle_err err = CRINGLE_ERR_INIT;
        bool ended = false;
        int known = 0;

        learn_stop_signal(c);
        if (!c->pod->rebooted && c->status->state != CRI__CONTAINER_STATE__CONTAINER_EXITED) {
                known = pods->executor.ops->state(pods->executor.self, c->pod->id, c->id, &state, &err);
                if (known < 0)
                        log_warning("container %.12s: %s", c->id, err.text);
        }

        pthread_mutex_lock(&pods->tasks.lock);
        if (c->pod->rebooted)
                ended = container_set_lost(c, "the node was rebooted");
        else if (state.state != CRINGLE_RUN_NONE)
                ended = container_set_state(c, &state);
        else if (known == 0 || c->pod->lost)
                ended = container_set_lost(c, "its process is gone");
        pthread_mutex_unlock(&pods->tasks.lock);
        if (ended)
                container_ended(c);
        if ((under_way(c->step, "start") || only_asked_to_end(c)) && store_container(c, NULL, NULL, DB_FAST, &err) < 0)
                log_error("container %.12s: %s", c->id, err.text);
}

static void roll_back_container(struct container *c, const char *step)
{
        struct pods *pods = c->pods;
        struct cringle_err err = CRINGLE_ERR_INIT;
        bool undone;

        log_info("container %.12s: its creation was interrupted at '%s' and is undone", c->id, step);
        undone = procedure_undo(&container_create, c, step, &err) == 0;
        if (!undone)
                log_error("container %.12s: %s", c->id, err.text);
        images_release(pods->images, c->id);    /* held since it was loaded, whatever step it had come to */
        pthread_mutex_lock(&pods->tasks.lock);
        if (undone)
                container_leave(c);
        else
                container_leave_over(c);
        pthread_mutex_unlock(&pods->tasks.lock);
}

static void restore_container(struct container *c)
{
        struct hooks_subject subject = container_subject(c);

        struct cringle_err err = CRINGLE_ERR_INIT;

        if (under_way(c->step, "create")) {
                c->visible = false;
                roll_back_container(c, step_name(c->step));
                return;
        }
        if (container_drop_checkpoint(c, &err) < 0)
                log_warning("container %.12s: %s", c->id, err.text);
        hooks_adopt(c->pods->hooks, &subject);
        look_at_container(c);
}

/* The lock is held. */
static void go_on_with_container(struct container *c)
{
        if (under_way(c->step, "remove")) {
                c->closing = true;
                pods_start_container_task(c, &container_remove, true, NULL, NULL, NULL);
        } else if (under_way(c->step, "stop")) {
                pods_start_container_task(c, &container_stop, true, NULL, NULL, NULL);
        }
}

static void roll_back_pod(struct pod *pod, const char *step)
{
        struct pods *pods = pod->pods;
        struct cringle_err err = CRINGLE_ERR_INIT;
        bool undone;

        log_info("pod %.12s: its start was interrupted at '%s' and is undone", pod->id, step);
        undone = procedure_undo(&sandbox_run, pod, step, &err) == 0;
        if (!undone)
                log_error("pod %.12s: %s", pod->id, err.text);
        pthread_mutex_lock(&pods->tasks.lock);
        if (undone)
                pod_leave(pod);
        else
                pod_leave_over(pod);
        pthread_mutex_unlock(&pods->tasks.lock);
}

/* Whether its monitor is there and talks to us again. */
static bool adopt(struct pod *pod)
{
        struct cringle_call call = call_within(NULL, ADOPT_LIMIT);
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (pod->detached)
                return true;
        if (pod->rebooted)
                return false;
        if (pod_adopt(pod, &call, &err) == 0)
                return true;
        log_warning("pod %.12s: %s", pod->id, err.text);
        return false;
}

/* Whoever wanted it made of a checkpoint has no answer: it goes as if the last step had been interrupted, of all that it has. */
static void roll_back_restored(struct pod *pod)
{
        const char *last = procedure_last_step(&sandbox_run);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct container *next;

        adopt(pod);
        for (struct container *c = pod->containers; c; c = next) {
                next = c->next;
                c->visible = false;
                roll_back_container(c, under_way(c->step, "create") ? step_name(c->step) : procedure_last_step(&container_create));
        }
        pod->visible = false;
        /* Its mark goes with its directory, before its row does. */
        if (store_pod(pod, "run", last, DB_FAST, &err) < 0)
                log_error("pod %.12s: %s", pod->id, err.text);
        roll_back_pod(pod, last);
}

static void restore_pod(struct pod *pod)
{
        struct hooks_subject subject = pod_subject(pod);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct container *next;

        if (under_way(pod->step, "run")) {
                pod->visible = false;
                roll_back_pod(pod, step_name(pod->step));
                return;
        }
        if (pod_is_restoring(pod)) {
                roll_back_restored(pod);
                return;
        }
        if (pod_drop_checkpoint(pod, &err) < 0)
                log_warning("pod %.12s: %s", pod->id, err.text);
        hooks_adopt(pod->pods->hooks, &subject);

        pod->lost = !adopt(pod);
        for (struct container *c = pod->containers; c; c = next) {
                next = c->next;
                restore_container(c);
        }
        if (!pod->lost)
                return;
        pthread_mutex_lock(&pod->pods->tasks.lock);
        pod->status->state = CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        pthread_mutex_unlock(&pod->pods->tasks.lock);
}

/* The lock is held. */
static void go_on_with_pod(struct pod *pod)
{
        for (struct container *c = pod->containers; c; c = c->next)
                go_on_with_container(c);
        if (under_way(pod->step, "remove") || under_way(pod->step, "stop") || pod->lost) {
                pod->closing = true;
                pods_start_pod_task(pod, under_way(pod->step, "remove") ? &sandbox_remove : &sandbox_stop, true, NULL, NULL,
                                    NULL);
        }
}

/* The ids first: restoring takes pods out of the map. */
static int each_pod(struct pods *pods, void (*fn)(struct pod *pod), struct cringle_err *err)
{
        auto_strv ids = NULL;
        const char *id;
        void *object;

        for (size_t at = 0; map_next(&pods->by_id, &at, &id, &object);)
                if (strv_add(&ids, id, err) < 0)
                        return -1;
        for (size_t i = 0; ids && ids[i]; i++)
                fn(map_get(&pods->by_id, ids[i]));
        return 0;
}

/*
 * Directories of pods that are not there.  The row comes first and goes last, but to the disk they go in another order:
 * only what is answered is synced.
 */
static int sweep_directories(struct pods *pods, struct cringle_err *err)
{
        auto_free char *home = str_printf(err, "%s/pods", pods->root);
        auto_strv ids = NULL;
        DIR *dir = home ? opendir(home) : NULL;
        int r = 0;

        if (!dir)
                return home ? err_sys(err, "open %s", home) : -1;
        for (struct dirent *e; r == 0 && (e = readdir(dir));)
                if (id_valid(e->d_name) && !map_get(&pods->by_id, e->d_name))
                        r = strv_add(&ids, e->d_name, err);
        closedir(dir);

        for (size_t i = 0; r == 0 && ids && ids[i]; i++) {
                auto_free char *path = str_printf(err, "%s/%s", home, ids[i]);

                r = path ? file_remove_tree(path, err) : -1;
        }
        return r;
}

/* What belongs to no pod or container that we know: the rest of a power cut, or of a lost store. */
static int sweep(struct pods *pods, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, ADOPT_LIMIT);
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_strv containers = NULL;
        auto_strv attached = NULL;
        const char *id;
        void *object;

        for (size_t at = 0; map_next(&pods->containers, &at, &id, &object);)
                if (strv_add(&containers, id, err) < 0)
                        return -1;
        for (size_t at = 0; map_next(&pods->by_id, &at, &id, &object);)
                if (!((struct pod *) object)->detached && strv_add(&attached, id, err) < 0)
                        return -1;

        if (images_sweep(pods->images, (const char *const *) containers, &why) < 0)
                log_warning("sweep images: %s", why.text);
        if (sweep_directories(pods, &why) < 0)
                log_warning("sweep directories: %s", why.text);
        if (pods->network.ops->gc &&
            pods->network.ops->gc(pods->network.self, &call, (const char *const *) attached, &why) < 0)
                log_warning("give addresses back: %s", why.text);
        return 0;
}

/*
 * What a container without a pod had went with the pod, or is swept.  One whose pod's
 * record cannot be read looks the same: nobody can name it any more, either.
 */
static int drop_orphans(struct pods *pods, char **ids, struct cringle_err *err)
{
        for (size_t i = 0; ids && ids[i]; i++) {
                log_warning("container %.12s has no pod: its record is dropped", ids[i]);
                if (store_drop_orphan(pods->db, ids[i], err) < 0)
                        return -1;
        }
        return 0;
}

int pods_restore(struct pods *pods, struct cringle_err *err)
{
        struct restore r = { .pods = pods };
        auto_strv orphans = NULL;
        const char *id;
        void *object;
        int loaded;

        loaded = store_load_pods(pods->db, load_pod, &r, err);
        if (loaded == 0)
                loaded = store_load_containers(pods->db, load_container, &r, err);
        orphans = r.orphans;
        if (loaded < 0 || drop_orphans(pods, orphans, err) < 0)
                return -1;
        if (each_pod(pods, restore_pod, err) < 0 || sweep(pods, err) < 0)
                return -1;

        pthread_mutex_lock(&pods->tasks.lock);
        for (size_t at = 0; map_next(&pods->by_id, &at, &id, &object);)
                go_on_with_pod(object);
        pthread_mutex_unlock(&pods->tasks.lock);
        return 0;
}
