/*
 * Containers written down; see capture.h
 *
 * CRIU stops the processes and writes them into files; before they run on, the changes of the root filesystem are packed, so
 * that both are of one moment.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/criu/criu.h"
#include "agent/criu/external.h"
#include "agent/image/changes.h"
#include "agent/pod/capture.h"
#include "agent/pod/model.h"

#define TAR "/bin/tar"
#define TAIL 1024
#define SPEC_MAX (16 << 20)
#define MOUNTINFO_MAX (16 << 20)

/* One of those that are captured together. */
struct part {
        const struct capture *what;
        struct json_object *spec;
        char **external;
        int images;
        pid_t pid;
};

struct work {
        struct part *parts;
        size_t n;
        const struct cringle_call *call;
};

static void work_done(struct work *w)
{
        for (size_t i = 0; w->parts && i < w->n; i++) {
                json_object_put(w->parts[i].spec);
                strv_free(w->parts[i].external);
                fd_close(w->parts[i].images);
        }
        free(w->parts);
}

int capture_pack(int dir, int archive, const char *const *words, const struct buf *names, const struct cringle_call *call,
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

int capture_json(int dir, const char *name, struct json_object *o, struct cringle_err *err)
{
        auto_fd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        auto_buf text = BUF_INIT;

        if (fd < 0)
                return err_sys(err, "make %s", name);
        return json_write(o, &text, err) < 0 ? -1 : file_write_fd(fd, text.data, text.len, err);
}

/* Nothing runs: what the container has changed on its disk fits what CRIU has of its memory. */
static int pack_changes(void *data, size_t nth, struct cringle_err *err)
{
        static const char *const words[] = { "--null", "--no-recursion", "--files-from=-", NULL };
        const struct work *w = data;
        const struct capture *what = w->parts[nth].what;
        const struct container *c = what->container;
        auto_fd int archive = openat(what->dir, "rootfs-diff.tar", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        auto_changes changes = CHANGES_INIT;
        auto_json deleted = NULL;

        if (archive < 0)
                return err_sys(err, "make rootfs-diff.tar");
        if (changes_find(c->pods->images, c->image, c->id, &changes, err) < 0 ||
            capture_pack(changes.dir, archive, words, &changes.names, w->call, err) < 0)
                return err_wrap(err, "changes of the root filesystem");
        deleted = json_object_new_array();
        if (!deleted)
                return err_oom(err);
        for (size_t at = 0; at < changes.deleted.len; at += strlen(changes.deleted.data + at) + 1)
                if (json_add_string(deleted, changes.deleted.data + at, err) < 0)
                        return -1;
        return capture_json(what->dir, "deleted.files", deleted, err);
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
        return capture_json(images, "descriptors.json", list, err);
}

char *capture_time(int64_t when, struct cringle_err *err)
{
        time_t seconds = when / NSEC_PER_SEC;
        struct tm tm;
        char text[32];

        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
        return str_printf(err, "%s.%09lldZ", text, (long long) (when % NSEC_PER_SEC));
}

static int write_config(const struct container *c, int dir, struct cringle_err *err)
{
        auto_free char *created = capture_time(c->status->created_at, err), *now = capture_time(clock_realtime(), err);
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
        return capture_json(dir, "config.dump", o, err);
}

/* --- all of it --- */

static int running_pid(const struct container *c, pid_t *ret, struct cringle_err *err)
{
        bool running;

        pthread_mutex_lock(&c->pods->tasks.lock);
        running = c->status->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING;
        *ret = c->pid;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return running ? 0 : err_set(err, CRINGLE_E_PRECONDITION, "container %.12s is not running", c->id);
}

static int prepare(struct part *p, struct cringle_err *err)
{
        const struct container *c = p->what->container;

        if (!c->image)
                return err_set(err, CRINGLE_E_PRECONDITION, "the image of container %.12s is gone", c->id);
        if (running_pid(c, &p->pid, err) < 0 || read_spec(c, &p->spec, err) < 0 ||
            find_external(c, p->pid, p->spec, &p->external, err) < 0)
                return -1;
        if (mkdirat(p->what->dir, "checkpoint", 0700) < 0)
                return err_sys(err, "make a directory for CRIU's images");
        p->images = openat(p->what->dir, "checkpoint", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (p->images < 0)
                return err_sys(err, "open the directory for CRIU's images");
        return write_descriptors(p->pid, p->images, err);
}

static int conclude(const struct part *p, struct cringle_err *err)
{
        int dir = p->what->dir;

        /* Readers look for these beside the images. */
        if (renameat(p->images, "dump.log", dir, "dump.log") < 0 || renameat(p->images, "stats-dump", dir, "stats-dump") < 0)
                return err_sys(err, "put CRIU's log and statistics in their place");
        return write_config(p->what->container, dir, err) < 0 || capture_json(dir, "spec.dump", p->spec, err) < 0 ? -1 : 0;
}

static int capture(struct work *w, const char *program, struct cringle_err *err)
{
        auto_free struct criu_dump *dumps = calloc(w->n, sizeof *dumps);

        if (!dumps)
                return err_oom(err);
        for (size_t i = 0; i < w->n; i++) {
                struct part *p = &w->parts[i];
                const struct container *c = p->what->container;

                if (prepare(p, err) < 0)
                        return -1;
                dumps[i] = (struct criu_dump) {
                        .program = program,
                        .pid = p->pid,
                        .images = p->images,
                        .tty = c->request->config->tty,
                        .external = (const char *const *) p->external,
                        .name = w->n > 1 ? c->status->metadata->name : NULL,
                };
        }
        if (criu_dump(dumps, w->n, pack_changes, w, w->call, err) < 0)
                return -1;
        for (size_t i = 0; i < w->n; i++)
                if (conclude(&w->parts[i], err) < 0)
                        return -1;
        return 0;
}

int capture_containers(struct pods *pods, const struct capture *list, size_t n, const struct cringle_call *call,
                       struct cringle_err *err)
{
        struct work work = { .parts = calloc(n, sizeof *work.parts), .n = n, .call = call };
        auto_of(policy) policy = policy_hold(pods);
        int r;

        if (!work.parts)
                return err_oom(err);
        for (size_t i = 0; i < n; i++)
                work.parts[i] = (struct part) { .what = &list[i], .images = -1 };
        r = capture(&work, policy->criu_program, err);
        work_done(&work);
        return r;
}
