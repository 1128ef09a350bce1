/*
 * cringle pod run: a pod from a manifest, step by step.
 *
 * The steps are a table with what undoes each; an error or Ctrl-C runs the undos
 * backwards, so that nothing is left behind.  Without --detach the pod is watched
 * until its containers have ended for good, and then removed the same way.
 *
 * SIGINT, SIGTERM and SIGHUP are read from a signalfd that is never emptied: it stays
 * readable, so that every wait from then on ends at once.  Undoing runs without it.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/cli/pod.h"
#include "agent/cli/volumes.h"

#define POLL_FIRST (10 * NSEC_PER_MSEC)         /* for containers that end at once */
#define POLL_LAST (500 * NSEC_PER_MSEC)
#define BACK_OFF_FIRST (10 * NSEC_PER_SEC)
#define BACK_OFF_LAST (300 * NSEC_PER_SEC)
#define BACK_OFF_FORGOTTEN (600 * NSEC_PER_SEC)         /* a container that ran so long begins anew */
#define LOG_TAIL 2048

/* A container of the manifest, and what has become of it. */
struct life {
        struct manifest_container *spec;
        char *image_id;
        char *id;                       /* of the attempt at hand; NULL: none */
        uint32_t attempt;
        bool running;
        bool ended;                     /* for good */
        int exit_code;                  /* of the last attempt that ended */
        int64_t started, restart_at, back_off;
};

struct run {
        struct cli *cli;
        struct manifest *manifest;
        struct life *lives;             /* in the manifest's order */
        char *sandbox_id;
        bool volumes;                   /* there are some to remove */
        bool detach;
        bool told_away;                 /* that the agent does not answer */
};

static double seconds_since(int64_t start)
{
        return (double) (clock_monotonic() - start) / (double) NSEC_PER_SEC;
}

/* One line per step: what, and how long it took. */
static void report(int64_t start, const char *verb, const char *object)
{
        printf("%8.3f s  %s%s%s\n", seconds_since(start), verb, *object ? " " : "", object);
        fflush(stdout);
}

static int check_free(struct run *r, struct cringle_err *err)
{
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        const Cri__PodSandboxMetadata *own = r->manifest->sandbox->metadata;

        if (cli_list_pods(r->cli, &pods, err) < 0)
                return -1;
        for (size_t i = 0; i < pods->n_items; i++) {
                const Cri__PodSandboxMetadata *other = pods->items[i]->metadata;

                if (other && ((strcmp(other->name, own->name) == 0 && strcmp(other->namespace_, own->namespace_) == 0) ||
                              strcmp(other->uid, own->uid) == 0))
                        return err_set(err, CRINGLE_E_EXISTS, "there is a pod %s/%s already; cringle pod rm removes it",
                                       other->namespace_, other->name);
        }
        return 0;
}

/* The image as the agent has it: 1; 0 when it has none. */
static int image_status(struct run *r, struct life *life, Cri__ImageStatusResponse **ret, struct cringle_err *err)
{
        Cri__ImageStatusRequest request = CRI__IMAGE_STATUS_REQUEST__INIT;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        auto_reply(Cri__ImageStatusResponse) reply = NULL;

        image.image = life->spec->image;
        request.image = &image;
        if (cli_images(r->cli, "ImageStatus", &request, CLI_PATIENCE, &reply, err) < 0)
                return -1;
        if (!reply->image)
                return 0;
        *ret = steal(&reply);
        return 1;
}

/* Who an image runs as matters when the manifest does not say. */
static int take_image_user(struct run *r, struct life *life, const Cri__Image *image, struct cringle_err *err)
{
        Cri__LinuxContainerSecurityContext *sc = life->spec->config->linux->security_context;
        const char *name = life->spec->name;

        if (life->spec->must_not_be_root && *image->username)
                return err_set(err, CRINGLE_E_PRECONDITION,
                               "container %s: runAsNonRoot, but the image's user '%s' is a name; say runAsUser", name,
                               image->username);
        if (life->spec->must_not_be_root && (!image->uid || image->uid->value == 0))
                return err_set(err, CRINGLE_E_PRECONDITION, "container %s: runAsNonRoot, but the image runs as root", name);

        /* The agent takes a group only beside a user: then the image's. */
        if (sc->run_as_group && !sc->run_as_user) {
                sc->run_as_username = *image->username ? pool_copy(&r->manifest->pool, image->username, err)
                                                       : pool_printf(&r->manifest->pool, err, "%" PRId64,
                                                                     image->uid ? image->uid->value : 0);
                if (!sc->run_as_username)
                        return -1;
        }
        return 0;
}

static int pull(struct run *r, struct life *life, struct cringle_err *err)
{
        Cri__PullImageRequest request = CRI__PULL_IMAGE_REQUEST__INIT;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        auto_reply(Cri__PullImageResponse) reply = NULL;
        int64_t start = clock_monotonic();

        image.image = life->spec->image;
        request.image = &image;
        request.sandbox_config = r->manifest->sandbox;
        if (cli_images(r->cli, "PullImage", &request, CLI_FOREVER, &reply, err) < 0)
                return err_wrap(err, "pull %s", life->spec->image);
        report(start, "pulled", life->spec->image);
        return 0;
}

static int get_image(struct run *r, struct life *life, struct cringle_err *err)
{
        auto_reply(Cri__ImageStatusResponse) status = NULL;
        int there = image_status(r, life, &status, err);

        if (there < 0)
                return -1;
        if (!there && life->spec->pull == PULL_NEVER)
                return err_set(err, CRINGLE_E_NOT_FOUND, "container %s: there is no image '%s', and imagePullPolicy is Never",
                               life->spec->name, life->spec->image);
        if (!there || life->spec->pull == PULL_ALWAYS) {
                if (pull(r, life, err) < 0)
                        return -1;
                if (status)
                        protobuf_c_message_free_unpacked(&steal(&status)->base, NULL);
                there = image_status(r, life, &status, err);
                if (there < 0)
                        return -1;
                if (!there)
                        return err_set(err, CRINGLE_E_NOT_FOUND, "image '%s' was pulled, but is not there", life->spec->image);
        }

        life->image_id = strdup(status->image->id);
        if (!life->image_id)
                return err_oom(err);
        life->spec->config->image->image = life->image_id;
        return take_image_user(r, life, status->image, err);
}

static int get_images(struct run *r, struct cringle_err *err)
{
        for (size_t i = 0; i < r->manifest->n_containers; i++)
                if (get_image(r, &r->lives[i], err) < 0)
                        return -1;
        return 0;
}

static int make_volumes(struct run *r, struct cringle_err *err)
{
        const struct config *config = cli_config(r->cli, err);
        auto_free char *dir = config ? volumes_dir(config->root, err) : NULL;

        if (!dir || volumes_make(r->manifest, dir, err) < 0)
                return -1;
        r->volumes = true;
        return 0;
}

static int make_log_dirs(struct run *r, struct cringle_err *err)
{
        for (size_t i = 0; i < r->manifest->n_containers; i++) {
                auto_free char *dir = str_printf(err, "%s/%s", r->manifest->sandbox->log_directory, r->lives[i].spec->name);

                if (!dir || file_make_dirs(dir, 0755, err) < 0)
                        return -1;
        }
        return 0;
}

static int run_sandbox(struct run *r, struct cringle_err *err)
{
        Cri__RunPodSandboxRequest request = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
        auto_reply(Cri__RunPodSandboxResponse) reply = NULL;

        request.config = r->manifest->sandbox;
        if (cli_runtime(r->cli, "RunPodSandbox", &request, 2 * CLI_PATIENCE, &reply, err) < 0)
                return -1;
        r->sandbox_id = strdup(reply->pod_sandbox_id);
        return r->sandbox_id ? 0 : err_oom(err);
}

static int create(struct run *r, struct life *life, struct cringle_err *err)
{
        Cri__CreateContainerRequest request = CRI__CREATE_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__CreateContainerResponse) reply = NULL;

        if (manifest_set_attempt(r->manifest, life->spec, life->attempt, err) < 0)
                return -1;
        request.pod_sandbox_id = r->sandbox_id;
        request.config = life->spec->config;
        request.sandbox_config = r->manifest->sandbox;
        if (cli_runtime(r->cli, "CreateContainer", &request, CLI_PATIENCE, &reply, err) < 0)
                return err_wrap(err, "create container %s", life->spec->name);
        free(life->id);
        life->id = strdup(reply->container_id);
        return life->id ? 0 : err_oom(err);
}

static int start(struct run *r, struct life *life, struct cringle_err *err)
{
        Cri__StartContainerRequest request = CRI__START_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__StartContainerResponse) reply = NULL;
        int64_t begin = clock_monotonic();

        if (create(r, life, err) < 0)
                return -1;
        request.container_id = life->id;
        if (cli_runtime(r->cli, "StartContainer", &request, CLI_PATIENCE, &reply, err) < 0)
                return err_wrap(err, "start container %s", life->spec->name);
        life->running = true;
        life->started = clock_monotonic();
        report(begin, life->attempt ? "restarted" : "started", life->spec->name);
        return 0;
}

/* What a container that failed said last. */
static void print_tail(const struct run *r, const struct life *life)
{
        auto_free char *path = str_printf(NULL, "%s/%s", r->manifest->sandbox->log_directory, life->spec->config->log_path);
        auto_buf text = BUF_INIT;
        auto_fd int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        bool cut = fd >= 0 && lseek(fd, -LOG_TAIL, SEEK_END) > 0;

        if (fd < 0 || file_read_fd(fd, 2 * LOG_TAIL, &text, NULL) < 0 || !text.len)
                return;
        fprintf(stderr, "%s", cut ? text.data + strcspn(text.data, "\n") : text.data);
}

/* The container has ended: take note, and decide whether it comes back. */
static void note_end(struct run *r, struct life *life, const Cri__ContainerStatus *status)
{
        int64_t now = clock_monotonic();
        bool failed = status->exit_code != 0;
        bool again = failed ? r->manifest->restart != RESTART_NEVER
                            : r->manifest->restart == RESTART_ALWAYS && !life->spec->init;

        life->running = false;
        life->exit_code = status->exit_code;
        life->ended = !again;
        printf("%8.3f s  %s ended: exit code %d%s%s%s\n", seconds_since(life->started), life->spec->name,
               status->exit_code, *status->reason ? " (" : "", status->reason, *status->reason ? ")" : "");
        if (failed)
                print_tail(r, life);
        if (!again)
                return;

        /* The first comes back at once, then later and later, as with a kubelet. */
        if (now - life->started > BACK_OFF_FORGOTTEN)
                life->back_off = 0;
        life->restart_at = now + life->back_off;
        if (life->back_off)
                printf("            %s starts again in %lld s\n", life->spec->name,
                       (long long) (life->back_off / NSEC_PER_SEC));
        life->back_off = life->back_off ? 2 * life->back_off : BACK_OFF_FIRST;
        if (life->back_off > BACK_OFF_LAST)
                life->back_off = BACK_OFF_LAST;
        fflush(stdout);
}

/* After a failed call: 0 when only the agent is away, for it may be being replaced. */
static int wait_for_agent(struct run *r, struct cringle_err *err)
{
        if (err->code != CRINGLE_E_UNAVAILABLE)
                return -1;
        if (!r->told_away)
                fprintf(stderr, "cringle: %s; waiting for the agent\n", err->text);
        r->told_away = true;
        err_clear(err);
        return 0;
}

/* Look at a container that should be running. */
static int look(struct run *r, struct life *life, struct cringle_err *err)
{
        auto_reply(Cri__ContainerStatusResponse) reply = NULL;

        if (pod_container_status(r->cli, life->id, &reply, err) < 0)
                return wait_for_agent(r, err);
        r->told_away = false;
        if (reply->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED ||
            reply->status->state == CRI__CONTAINER_STATE__CONTAINER_UNKNOWN)
                note_end(r, life, reply->status);
        return 0;
}

static int restart(struct run *r, struct life *life, struct cringle_err *err)
{
        Cri__RemoveContainerRequest request = CRI__REMOVE_CONTAINER_REQUEST__INIT;
        auto_reply(Cri__RemoveContainerResponse) reply = NULL;

        request.container_id = life->id;
        if (cli_runtime(r->cli, "RemoveContainer", &request, CLI_PATIENCE, &reply, err) < 0)
                return wait_for_agent(r, err);
        life->attempt++;
        return start(r, life, err) < 0 ? wait_for_agent(r, err) : 0;
}

/* Until all of @n lives have ended for good. */
static int watch(struct run *r, struct life *lives, size_t n, struct cringle_err *err)
{
        struct cringle_call call = CALL_INIT;
        int64_t interval = POLL_FIRST;
        size_t left;

        call.cancel_fd = r->cli->cancel_fd;
        do {
                if (call_wait(&call, -1, 0, interval, err) < 0)
                        return -1;
                interval = 2 * interval < POLL_LAST ? 2 * interval : POLL_LAST;
                left = 0;
                for (size_t i = 0; i < n; i++) {
                        struct life *life = &lives[i];

                        if (life->running && look(r, life, err) < 0)
                                return -1;
                        if (!life->running && !life->ended && clock_monotonic() >= life->restart_at &&
                            restart(r, life, err) < 0)
                                return -1;
                        left += !life->ended;
                }
        } while (left);
        return 0;
}

static int run_init(struct run *r, struct cringle_err *err)
{
        for (size_t i = 0; i < r->manifest->n_init; i++) {
                struct life *life = &r->lives[i];

                if (start(r, life, err) < 0 || watch(r, life, 1, err) < 0)
                        return -1;
                if (life->exit_code)
                        return err_set(err, CRINGLE_E_ABORTED, "init container %s failed: exit code %d", life->spec->name,
                                       life->exit_code);
        }
        return 0;
}

static int start_all(struct run *r, struct cringle_err *err)
{
        for (size_t i = r->manifest->n_init; i < r->manifest->n_containers; i++)
                if (start(r, &r->lives[i], err) < 0)
                        return -1;
        return 0;
}

static const struct step {
        const char *name;
        int (*apply)(struct run *r, struct cringle_err *err);
} steps[] = {
        { "looked for a namesake", check_free },
        { "had all images", get_images },
        { "made volumes", make_volumes },
        { "made log folders", make_log_dirs },
        { "ran the sandbox", run_sandbox },
        { "ran init containers", run_init },
        { "started containers", start_all },
        { 0 },
};

/* All that the steps have made; a sandbox whose id never arrived is found by its uid. */
static int undo(struct run *r, struct cringle_err *err)
{
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        const char *uid = r->manifest->uid;
        int64_t begin = clock_monotonic();

        r->cli->cancel_fd = -1;
        if (!r->volumes)
                return 0;
        if (!r->sandbox_id) {
                if (cli_list_pods(r->cli, &pods, err) < 0)
                        return -1;
                for (size_t i = 0; i < pods->n_items && !r->sandbox_id; i++)
                        if (pods->items[i]->metadata && strcmp(pods->items[i]->metadata->uid, uid) == 0) {
                                r->sandbox_id = strdup(pods->items[i]->id);
                                if (!r->sandbox_id)
                                        return err_oom(err);
                        }
        }
        if (pod_remove(r->cli, r->sandbox_id, uid, r->manifest->sandbox->log_directory, r->manifest->grace.value, err) < 0)
                return err_wrap(err, "remove pod %s/%s", r->manifest->space, r->manifest->name);
        report(begin, "removed the pod", "");
        return 0;
}

static int apply(struct run *r, struct cringle_err *err)
{
        for (const struct step *step = steps; step->name; step++) {
                int64_t begin = clock_monotonic();

                if (step->apply(r, err) < 0)
                        return -1;
                report(begin, step->name, "");
        }
        return 0;
}

/* The exit status: 1 when a container's last end was a failure. */
static int verdict(const struct run *r)
{
        for (size_t i = r->manifest->n_init; i < r->manifest->n_containers; i++)
                if (r->lives[i].exit_code)
                        return 1;
        return 0;
}

static int carry_out(struct run *r, struct cringle_err *err)
{
        struct cringle_err late = CRINGLE_ERR_INIT;
        size_t n_init = r->manifest->n_init;
        int64_t begin = clock_monotonic();
        int result = apply(r, err);

        if (result == 0)
                report(begin, "runs", r->manifest->name);
        if (result == 0 && r->detach) {
                printf("            restartPolicy is not watched with --detach; cringle pod rm %s/%s removes the pod\n",
                       r->manifest->space, r->manifest->name);
                return 0;
        }
        if (result == 0)
                result = watch(r, r->lives + n_init, r->manifest->n_containers - n_init, err);

        if (result < 0 && err->code == CRINGLE_E_CANCELLED)
                printf("            stopping the pod\n");
        if (undo(r, &late) < 0) {
                if (result == 0)
                        *err = late;
                else
                        fprintf(stderr, "cringle: %s\n", late.text);
                return -1;
        }
        if (result < 0)
                volumes_unmake_hosts(r->manifest);
        return result < 0 ? -1 : verdict(r);
}

int pod_run(struct cli *c, struct manifest *m, bool detach, struct cringle_err *err)
{
        struct run r = { .cli = c, .manifest = m, .detach = detach };
        auto_fd int signals = cli_catch_signals(err);
        int result;

        if (signals < 0)
                return -1;
        r.lives = calloc(m->n_containers, sizeof *r.lives);
        if (!r.lives)
                return err_oom(err);
        for (size_t i = 0; i < m->n_containers; i++)
                r.lives[i].spec = &m->containers[i];

        c->cancel_fd = signals;
        result = carry_out(&r, err);
        c->cancel_fd = -1;

        for (size_t i = 0; i < m->n_containers; i++) {
                free(r.lives[i].image_id);
                free(r.lives[i].id);
        }
        free(r.lives);
        free(r.sandbox_id);
        return result;
}
