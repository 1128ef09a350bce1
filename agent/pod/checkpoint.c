/*
 * CheckpointContainer: a container's processes and what they changed, as one archive
 *
 * CRIU stops the processes and writes them down; before they run on, the changes of the root filesystem are packed, so
 * that both are of one moment.  The parts are collected in the container's directory, and the archive gets its name when it
 * is whole.  What is in it has the names that CRI-O and containerd chose, so that their tools read it:
 *
 *      config.dump, spec.dump          who it is, its image; config.json
 *      checkpoint/                     CRIU's images, and descriptors.json, which is runc's and crun's
 *      rootfs-diff.tar, deleted.files  what was changed and made; what of the image is gone, as JSON
 *      dump.log, stats-dump            CRIU's
 *
 * Volumes are not in it, and the container runs on.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/log.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/criu/criu.h"
#include "agent/criu/external.h"
#include "agent/image/changes.h"
#include "agent/pod/model.h"

#define TAR "/bin/tar"
#define TAIL 1024
#define SPEC_MAX (16 << 20)
#define MOUNTINFO_MAX (16 << 20)

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

/* --- tar --- */

/* Into @archive, an empty file: of @dir what @words (ended by NULL) and @names (may be NULL; each ended by NUL) say. */
static int pack(int dir, int archive, const char *const *words, const struct buf *names, const struct cringle_call *call,
                struct cringle_err *err)
{
        static const char *const fixed[] = {
                "tar", "--create", "--file=/proc/self/fd/4", "--directory=/proc/self/fd/3", "--format=pax", "--numeric-owner",
                "--sparse", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.*", NULL,
        };
        const struct child_fd fds[] = { { dir, 3 }, { archive, 4 } };
        struct child_spec spec = { .path = TAR, .fds = fds, .n_fds = 2 };
        auto_buf output = BUF_INIT, tail = BUF_INIT;
        auto_strv argv = strv_copy(fixed, err);
        char how[64];
        int status;

        if (!argv)
                return -1;
        for (size_t i = 0; words[i]; i++)
                if (strv_add(&argv, words[i], err) < 0)
                        return -1;
        spec.argv = (const char *const *) argv;
        if (child_run(&spec, call, names, &output, TAIL, &tail, &status, err) < 0)
                return -1;
        if (status == 0)
                return 0;
        child_status_text(status, how, sizeof how);
        return err_set(err, CRINGLE_E_INTERNAL, "tar: %s: %s", how, tail.len ? tail.data : "");
}

/* --- what CRIU is told --- */

static int read_spec(const struct container *c, struct json_object **ret, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/config.json", c->bundle);

        return path ? json_read_bytes(path, SPEC_MAX, ret, err) : -1;
}

/* Where the spec has bind mounts. */
static int bind_mounts(struct json_object *spec, char ***ret, struct cringle_err *err)
{
        struct json_object *mounts = NULL;

        if (json_get_array(spec, "mounts", &mounts, err) < 0)
                return -1;
        for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++) {
                struct json_object *m = json_object_array_get_idx(mounts, i);
                const char *type = "", *point = NULL;

                if (json_get_string(m, "type", &type, err) < 0 || json_get_string(m, "destination", &point, err) < 0)
                        return -1;
                if (point && strcmp(type, "bind") == 0 && strv_add(ret, point, err) < 0)
                        return -1;
        }
        return 0;
}

/* Namespaces that the container shares with others are theirs. */
static int add_namespace(pid_t pid, const char *name, const char *called, char ***list, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "/proc/%d/ns/%s", (int) pid, name), *own = str_printf(err, "/proc/self/ns/%s", name);
        auto_free char *words = NULL;
        struct stat its, ours;

        if (!path || !own)
                return -1;
        if (stat(path, &its) < 0 || stat(own, &ours) < 0)
                return err_sys(err, "look at the namespaces of process %d", (int) pid);
        if (its.st_ino == ours.st_ino)
                return 0;
        words = str_printf(err, "%s[%llu]:%s", name, (unsigned long long) its.st_ino, called);
        return words ? strv_add(list, words, err) : -1;
}

static int find_external(const struct container *c, pid_t pid, struct json_object *spec, char ***ret, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "/proc/%d/mountinfo", (int) pid);
        auto_buf mountinfo = BUF_INIT;
        auto_strv binds = NULL;

        if (!path || bind_mounts(spec, &binds, err) < 0 || file_read(path, MOUNTINFO_MAX, &mountinfo, err) < 0 ||
            criu_external_mounts(mountinfo.data, (const char *const *) binds, ret, err) < 0 ||
            add_namespace(pid, "net", "extRootNetNS", ret, err) < 0)
                return -1;
        return pod_namespaces(c->pod)->pid == CRI__NAMESPACE_MODE__CONTAINER ? 0 :
                                                                              add_namespace(pid, "pid", "extRootPidNS", ret, err);
}

/* --- the parts --- */

static int write_json(int dir, const char *name, struct json_object *o, struct cringle_err *err)
{
        auto_fd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        auto_buf text = BUF_INIT;

        if (fd < 0)
                return err_sys(err, "make %s", name);
        return json_write(o, &text, err) < 0 ? -1 : file_write_fd(fd, text.data, text.len, err);
}

struct freezing {
        struct container *c;
        const struct cringle_call *call;
        int staging;
};

/* Nothing runs: what the container has changed on its disk fits what CRIU has of its memory. */
static int pack_changes(void *data, struct cringle_err *err)
{
        static const char *const words[] = { "--null", "--no-recursion", "--files-from=-", NULL };
        const struct freezing *f = data;
        auto_fd int archive = openat(f->staging, "rootfs-diff.tar", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        auto_changes changes = CHANGES_INIT;
        auto_json deleted = NULL;

        if (archive < 0)
                return err_sys(err, "make rootfs-diff.tar");
        if (changes_find(f->c->pods->images, f->c->image, f->c->id, &changes, err) < 0 ||
            pack(changes.dir, archive, words, &changes.names, f->call, err) < 0)
                return err_wrap(err, "changes of the root filesystem");
        deleted = json_object_new_array();
        if (!deleted)
                return err_oom(err);
        for (char **path = changes.deleted; path && *path; path++)
                if (json_add_string(deleted, *path, err) < 0)
                        return -1;
        return write_json(f->staging, "deleted.files", deleted, err);
}

/* What its streams are, by which who restores it gives it others. */
static int write_descriptors(pid_t pid, int images, struct cringle_err *err)
{
        auto_json list = json_object_new_array();

        if (!list)
                return err_oom(err);
        for (int i = 0; i < 3; i++) {
                auto_free char *path = str_printf(err, "/proc/%d/fd/%d", (int) pid, i);
                char target[256];
                ssize_t n;

                if (!path)
                        return -1;
                n = readlink(path, target, sizeof target - 1);
                target[n > 0 ? n : 0] = '\0';           /* it has closed it */
                if (json_add_string(list, target, err) < 0)
                        return -1;
        }
        return write_json(images, "descriptors.json", list, err);
}

/* Nanoseconds since 1970, as RFC 3339 has it; the caller's. */
static char *time_text(int64_t when, struct cringle_err *err)
{
        time_t seconds = when / NSEC_PER_SEC;
        struct tm tm;
        char text[32];

        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
        return str_printf(err, "%s.%09lldZ", text, (long long) (when % NSEC_PER_SEC));
}

static int write_config(const struct container *c, int staging, struct cringle_err *err)
{
        auto_free char *created = time_text(c->status->created_at, err), *now = time_text(clock_realtime(), err);
        auto_json o = json_object_new_object();

        if (!o)
                return err_oom(err);
        if (!created || !now || json_set_string(o, "id", c->id, err) < 0 ||
            json_set_string(o, "name", c->status->metadata->name, err) < 0 ||
            json_set_string(o, "rootfsImage", c->request->config->image->image, err) < 0 ||
            json_set_string(o, "rootfsImageRef", c->status->image_id, err) < 0 ||
            json_set_string(o, "rootfsImageName", c->status->image_ref, err) < 0 ||
            json_set_string(o, "runtime", "cringle", err) < 0 || json_set_string(o, "createdTime", created, err) < 0 ||
            json_set_string(o, "checkpointedTime", now, err) < 0 ||
            json_set_string(o, "restoredTime", "0001-01-01T00:00:00Z", err) < 0 || json_set_bool(o, "restored", false, err) < 0)
                return -1;
        return write_json(staging, "config.dump", o, err);
}

/* --- steps --- */

static int running_pid(struct container *c, pid_t *ret, struct cringle_err *err)
{
        bool running;

        pthread_mutex_lock(&c->pods->tasks.lock);
        running = c->status->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING;
        *ret = c->pid;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return running ? 0 : err_set(err, CRINGLE_E_PRECONDITION, "container %.12s is not running", c->id);
}

static int make_staging(const struct container *c, int *ret_staging, int *ret_images, struct cringle_err *err)
{
        auto_free char *staging = staging_of(c, err), *images = str_printf(err, "%s/checkpoint/checkpoint", c->bundle);

        if (!staging || !images || file_remove_tree(staging, err) < 0 || file_make_dirs(images, 0700, err) < 0)
                return -1;
        *ret_staging = open(staging, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *ret_images = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return *ret_staging < 0 || *ret_images < 0 ? err_sys(err, "open %s", images) : 0;
}

static int dump_processes(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        const struct wish *wish = task_extra(t);
        const struct cringle_call mine = call_within(call, wish->timeout);
        auto_of(policy) policy = policy_hold(c->pods);
        auto_fd int staging = -1, images = -1;
        auto_json spec = NULL;
        auto_strv external = NULL;
        struct freezing freezing = { .c = c, .call = &mine };
        struct criu_dump dump = { .program = policy->criu_program, .tty = c->request->config->tty };

        if (file_exists(wish->location))
                return err_set(err, CRINGLE_E_EXISTS, "%s is there already", wish->location);
        if (!c->image)
                return err_set(err, CRINGLE_E_PRECONDITION, "the image of container %.12s is gone", c->id);
        if (running_pid(c, &dump.pid, err) < 0 || read_spec(c, &spec, err) < 0 ||
            find_external(c, dump.pid, spec, &external, err) < 0 || make_staging(c, &staging, &images, err) < 0)
                return -1;
        if (write_descriptors(dump.pid, images, err) < 0)
                return -1;
        dump.images = images;
        dump.external = (const char *const *) external;
        freezing.staging = staging;
        if (criu_dump(&dump, pack_changes, &freezing, &mine, err) < 0)
                return -1;
        /* Readers look for these beside the images. */
        if (renameat(images, "dump.log", staging, "dump.log") < 0 || renameat(images, "stats-dump", staging, "stats-dump") < 0)
                return err_sys(err, "put CRIU's log and statistics in their place");
        return write_config(c, staging, err) < 0 || write_json(staging, "spec.dump", spec, err) < 0 ? -1 : 0;
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
        if (pack(dir, archive, words, NULL, call, err) < 0)
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
