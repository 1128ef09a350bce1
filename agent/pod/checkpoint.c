/*
 * CheckpointContainer: a container's processes and what they changed, as one archive
 *
 * The parts (capture.h) are collected in the container's directory, and the archive gets its name when it is whole.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/pod/capture.h"
#include "agent/pod/model.h"

/* One that does not say how long it may take. */
#define PATIENCE (120 * NSEC_PER_SEC)
#define LONGEST (3600 * NSEC_PER_SEC)

/* As the request came: one block of memory, which the task frees. */
struct wish {
        int64_t timeout;                /* nanoseconds */
        char location[];
};

/* The directory where the parts are collected. */
static char *staging_of(const struct container *c, struct cringle_err *err)
{
        return str_printf(err, "%s/checkpoint", c->bundle);
}

int container_drop_checkpoint(const struct container *c, struct cringle_err *err)
{
        auto_free char *staging = staging_of(c, err);

        return staging ? file_remove_tree(staging, err) : -1;
}

static int make_staging(const struct container *c, int *ret, struct cringle_err *err)
{
        auto_free char *staging = staging_of(c, err);

        if (!staging || file_remove_tree(staging, err) < 0 || file_make_dirs(staging, 0700, err) < 0)
                return -1;
        *ret = open(staging, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return *ret < 0 ? err_sys(err, "open %s", staging) : 0;
}

static int dump_processes(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        const struct wish *wish = task_extra(t);
        const struct cringle_call mine = call_within(call, wish->timeout);
        auto_fd int staging = -1;

        if (file_exists(wish->location))
                return err_set(err, CRINGLE_E_EXISTS, "%s is there already", wish->location);
        if (make_staging(c, &staging, err) < 0)
                return -1;
        return capture_containers(c->pods, &(struct capture) { c, staging }, 1, &mine, err);
}

/* The name last: who sees the archive sees all of it. */
static int write_archive(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        static const char *const words[] = {
                "config.dump", "spec.dump", "checkpoint", "rootfs-diff.tar", "deleted.files", "dump.log", "stats-dump", NULL,
        };
        const struct container *c = object;
        const struct wish *wish = task_extra(t);
        auto_free char *staging = staging_of(c, err), *above = strdup(wish->location);
        auto_fd int dir = -1, archive = -1;
        char path[PATH_OF_FD_MAX];

        if (!staging)
                return -1;
        if (!above)
                return err_oom(err);
        *strrchr(above, '/') = '\0';
        dir = open(staging, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        archive = open(*above ? above : "/", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (dir < 0 || archive < 0)
                return err_sys(err, "write to %s", dir < 0 ? staging : above);
        if (capture_pack(dir, archive, words, NULL, call, err) < 0)
                return -1;
        path_of_fd(archive, path);
        if (fsync(archive) < 0 || linkat(AT_FDCWD, path, AT_FDCWD, wish->location, AT_SYMLINK_FOLLOW) < 0)
                return err_sys(err, "write %s", wish->location);
        return 0;
}

static const struct step steps[] = {
        { "dump processes", dump_processes, NULL },
        { "write archive", write_archive, NULL },
        { 0 }
};

static void finish(struct task *t, void *object, const struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (container_drop_checkpoint(object, &why) < 0)
                log_warning("container %.12s: %s", ((struct container *) object)->id, why.text);
}

/* Nothing of it is known to the store: CRIU lets the processes run when we are gone, and restore drops the parts. */
static const struct procedure container_checkpoint = {
        .name = "checkpoint container",
        .steps = steps,
        .finish = finish,
        .limit = LONGEST,
};

static int check(const Cri__CheckpointContainerRequest *request, struct cringle_err *err)
{
        const char *location = request->location;

        if (location[0] != '/' || !path_is_clean(location) || !location[1])
                return err_set(err, CRINGLE_E_INVALID, "location '%.200s' is no absolute path of a file", location);
        if (request->timeout < 0)
                return err_set(err, CRINGLE_E_INVALID, "timeout: %lld seconds", (long long) request->timeout);
        return 0;
}

void pods_checkpoint_container(struct pods *pods, const Cri__CheckpointContainerRequest *request, pods_done_fn done, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        size_t n = strlen(request->location) + 1;
        struct wish *wish = NULL;
        struct container *c;
        int r = check(request, &err);

        if (r == 0) {
                wish = malloc(sizeof *wish + n);
                if (!wish)
                        abort();
                wish->timeout = request->timeout == 0 ? PATIENCE :
                                request->timeout < LONGEST / NSEC_PER_SEC ? request->timeout * NSEC_PER_SEC : LONGEST;
                memcpy(wish->location, request->location, n);
                pthread_mutex_lock(&pods->tasks.lock);
                r = find_container(pods, request->container_id, &c, &err);
                if (r == 0)
                        pods_start_container_task(c, &container_checkpoint, false, wish, done, data);
                pthread_mutex_unlock(&pods->tasks.lock);
        }
        if (r == 0)
                return;
        free(wish);
        done(data, request->container_id, &err);
}
