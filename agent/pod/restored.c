/*
 * A container that begins with what a checkpoint has of it; see restored.h
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/criu/contents.h"
#include "agent/criu/criu.h"
#include "agent/criu/image.h"
#include "agent/image/changes.h"
#include "agent/pod/model.h"
#include "agent/pod/restored.h"

#define SPEC_MAX (16 << 20)
#define FILES_MAX 100000                /* of CRIU's images */
#define COPY_PART (64 << 20)
#define UTS_MAX 4096

static char *own(const struct container *c, const char *name, struct cringle_err *err)
{
        return str_printf(err, "%s/restore%s", c->bundle, name);
}

int restored_open(int dir, const char *name, int flags, struct cringle_err *err)
{
        auto_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, "open %s", name);
        if (!(flags & O_DIRECTORY) && !S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "%s is no file", name);
        if (st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH))
                return err_set(err, CRINGLE_E_DENIED, "%s: others than root may have written it", name);
        return steal_fd(&fd);
}

static int read_part(int dir, const char *name, size_t max, struct buf *ret, struct cringle_err *err)
{
        auto_fd int fd = restored_open(dir, name, 0, err);

        return fd < 0 || file_read_fd(fd, max, ret, err) < 0 ? -1 : 0;
}

/* --- taking it over --- */

/* What the new pod is called, of which CRIU would set what the old one was. */
static int copy_uts(const struct container *c, int in, int out, struct cringle_err *err)
{
        const char *hostname = c->pod->request->config->hostname;
        auto_buf image = BUF_INIT;
        auto_free char *node = NULL;

        if (file_read_fd(in, UTS_MAX, &image, err) < 0 ||
            (str_empty(hostname) && file_read_line("/proc/sys/kernel/hostname", &node, err) < 0) ||
            image_rename(&image, node ? node : hostname, err) < 0)
                return -1;
        return file_write_fd(out, image.data, image.len, err);
}

static int copy_file(const struct container *c, int from, int to, const char *name, const struct cringle_call *call,
                     struct cringle_err *err)
{
        auto_fd int in = restored_open(from, name, 0, err), out = -1;
        struct stat st;
        ssize_t n;

        if (in < 0)
                return -1;
        if (fstat(in, &st) < 0)
                return err_sys(err, "look at %s", name);
        if (image_has_sysv(name, st.st_size))
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "what the pod has of System V IPC (%s) cannot be restored", name);
        out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (out < 0)
                return err_sys(err, "make %s", name);
        if (image_is_uts(name))
                return copy_uts(c, in, out, err) < 0 ? err_wrap(err, "%s", name) : 0;
        while ((n = copy_file_range(in, NULL, out, NULL, COPY_PART, 0)) > 0)
                if (call_check(call, err) < 0)
                        return -1;
        return n < 0 ? err_sys(err, "copy %s", name) : 0;
}

static int copy_all(const struct container *c, int from, int to, const struct cringle_call *call, struct cringle_err *err)
{
        int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = again < 0 ? NULL : fdopendir(again);
        struct dirent *entry;
        unsigned n = 0;
        int r = 0;

        if (!dir) {
                fd_close(again);
                return err_sys(err, "read the directory of CRIU's images");
        }
        while (r == 0 && (entry = readdir(dir)) != NULL) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                r = ++n > FILES_MAX ? err_set(err, CRINGLE_E_EXHAUSTED, "more than %d images", FILES_MAX) :
                                      copy_file(c, from, to, entry->d_name, call, err);
        }
        closedir(dir);
        return r;
}

static int take_images(const struct container *c, int from, const struct cringle_call *call, struct cringle_err *err)
{
        auto_free char *images = own(c, "/images", err), *work = own(c, "/work", err);
        auto_fd int source = restored_open(from, "checkpoint", O_DIRECTORY, err), to = -1;

        if (!images || !work || source < 0 || file_make_dirs(images, 0700, err) < 0 || file_make_dirs(work, 0700, err) < 0)
                return -1;
        to = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return to < 0 ? err_sys(err, "open %s", images) : copy_all(c, source, to, call, err);
}

static int take_changes(const struct container *c, int from, const struct cringle_call *call, struct cringle_err *err)
{
        auto_fd int archive = restored_open(from, "rootfs-diff.tar", 0, err);
        auto_strv deleted = NULL;
        auto_buf text = BUF_INIT;

        if (archive < 0 || read_part(from, "deleted.files", CONTENTS_DELETED_MAX, &text, err) < 0 ||
            contents_parse_deleted(text.data, text.len, &deleted, err) < 0)
                return -1;
        return changes_apply(c->pods->images, c->id, archive, (const char *const *) deleted, call, err);
}

static int open_from(const char *from, struct cringle_err *err)
{
        return restored_open(AT_FDCWD, from, O_DIRECTORY, err);
}

int restored_take(struct container *c, const char *from, const struct cringle_call *call, struct cringle_err *err)
{
        auto_fd int dir = open_from(from, err);

        return dir < 0 || take_images(c, dir, call, err) < 0 || take_changes(c, dir, call, err) < 0 ?
                       err_wrap(err, "checkpoint") : 0;
}

/* --- whether it fits --- */

/* The pod's own name is in the environment of each container. */
static bool counts(const char *member, struct json_object *element)
{
        return strcmp(member, "env") != 0 || !json_object_is_type(element, json_type_string) ||
               !str_starts(json_object_get_string(element), "HOSTNAME=");
}

static int copy_counting(struct json_object *list, const char *member, struct json_object **ret, struct cringle_err *err)
{
        auto_json copy = json_object_new_array();

        if (!copy)
                return err_oom(err);
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *at = json_object_array_get_idx(list, i);

                if (counts(member, at) && json_add(copy, json_object_get(at), err) < 0)
                        return -1;
        }
        *ret = steal(&copy);
        return 0;
}

static int same_member(struct json_object *was, struct json_object *is, const char *of, const char *member, struct cringle_err *err)
{
        struct json_object *a = NULL, *b = NULL;
        auto_json mine = NULL;
        auto_json its = NULL;

        json_object_object_get_ex(was, member, &a);
        json_object_object_get_ex(is, member, &b);
        if (json_object_is_type(a, json_type_array) && json_object_is_type(b, json_type_array)) {
                if (copy_counting(a, member, &its, err) < 0 || copy_counting(b, member, &mine, err) < 0)
                        return -1;
                a = its;
                b = mine;
        }
        return json_object_equal(a, b) ? 0 : err_set(err, CRINGLE_E_INVALID, "%s.%s is another than in the checkpoint", of, member);
}

/* An object without @of: one without members. */
static int same_members(struct json_object *was, struct json_object *is, const char *of, const char *const *members,
                        struct cringle_err *err)
{
        struct json_object *a = NULL, *b = NULL;

        if (json_get_object(was, of, &a, err) < 0 || json_get_object(is, of, &b, err) < 0)
                return err_wrap(err, "spec.dump");
        for (; *members; members++)
                if (same_member(a, b, of, *members, err) < 0)
                        return -1;
        return 0;
}

/* What is mounted where, and how; from where is the new pod's affair. */
static int same_mounts(struct json_object *was, struct json_object *is, struct cringle_err *err)
{
        static const char *const members[] = { "destination", "type", "options", NULL };
        struct json_object *a = NULL, *b = NULL;
        size_t n;

        if (json_get_array(was, "mounts", &a, err) < 0 || json_get_array(is, "mounts", &b, err) < 0)
                return err_wrap(err, "spec.dump");
        n = a ? json_object_array_length(a) : 0;
        if (n != (b ? json_object_array_length(b) : 0))
                return err_set(err, CRINGLE_E_INVALID, "its mounts are others than in the checkpoint");
        for (size_t i = 0; i < n; i++)
                for (const char *const *m = members; *m; m++)
                        if (same_member(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i), "mounts", *m, err) < 0)
                                return -1;
        return 0;
}

/* Which namespaces are the pod's, which its own, and which the node's. */
static int namespaces_of(struct json_object *spec, struct json_object **ret, struct cringle_err *err)
{
        struct json_object *linux_part = NULL;

        if (json_get_object(spec, "linux", &linux_part, err) < 0)
                return -1;
        return linux_part ? json_get_array(linux_part, "namespaces", ret, err) : 0;
}

static int namespace_at(struct json_object *list, size_t i, const char **ret_type, bool *ret_shared, struct cringle_err *err)
{
        struct json_object *at = json_object_array_get_idx(list, i);
        const char *path = NULL;

        if (json_get_string(at, "type", ret_type, err) < 0 || json_get_string(at, "path", &path, err) < 0)
                return -1;
        *ret_shared = !str_empty(path);
        return 0;
}

static int same_namespaces(struct json_object *was, struct json_object *is, struct cringle_err *err)
{
        struct json_object *a = NULL, *b = NULL;
        size_t n;

        if (namespaces_of(was, &a, err) < 0 || namespaces_of(is, &b, err) < 0)
                return err_wrap(err, "spec.dump");
        n = a && b ? json_object_array_length(a) : 0;
        if (!a || !b || n != json_object_array_length(b))
                return err_set(err, CRINGLE_E_INVALID, "linux.namespaces is another than in the checkpoint");
        for (size_t i = 0; i < n; i++) {
                const char *types[2] = { NULL };
                bool shared[2];

                if (namespace_at(a, i, &types[0], &shared[0], err) < 0 || namespace_at(b, i, &types[1], &shared[1], err) < 0)
                        return err_wrap(err, "spec.dump");
                if (!str_equal(types[0], types[1]) || shared[0] != shared[1])
                        return err_set(err, CRINGLE_E_INVALID, "linux.namespaces is another than in the checkpoint");
        }
        return 0;
}

static int same_image(const struct container *c, int dir, struct cringle_err *err)
{
        const char *image = NULL;
        auto_buf text = BUF_INIT;
        auto_json o = NULL;

        if (read_part(dir, "config.dump", CONTENTS_POD_MAX, &text, err) < 0 || json_parse(text.data, text.len, &o, err) < 0 ||
            json_get_string(o, "rootfsImageRef", &image, err) < 0)
                return err_wrap(err, "config.dump");
        return str_equal(image, c->status->image_id) ? 0 :
                                                       err_set(err, CRINGLE_E_INVALID, "its image is another than in the checkpoint");
}

static bool is_labelled(struct json_object *spec)
{
        struct json_object *process;
        const char *label = NULL;

        return json_get_object(spec, "process", &process, NULL) > 0 && json_get_string(process, "selinuxLabel", &label, NULL) > 0;
}

int restored_check(const struct container *c, const char *from, struct json_object *spec, struct cringle_err *err)
{
        static const char *const process[] = { "args", "cwd", "env", "user", "capabilities", "noNewPrivileges", "apparmorProfile", NULL };
        static const char *const linux_members[] = { "seccomp", "maskedPaths", "readonlyPaths", "devices", NULL };
        static const char *const root[] = { "readonly", NULL };
        auto_fd int dir = open_from(from, err);
        auto_buf text = BUF_INIT;
        auto_json was = NULL;

        if (is_labelled(spec))
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "processes with an SELinux label cannot be restored: it is another pod's");
        if (dir < 0 || same_image(c, dir, err) < 0 || read_part(dir, "spec.dump", SPEC_MAX, &text, err) < 0)
                return -1;
        if (json_parse_bytes(text.data, text.len, &was, err) < 0)
                return err_wrap(err, "spec.dump");
        return same_members(was, spec, "process", process, err) < 0 || same_members(was, spec, "linux", linux_members, err) < 0 ||
                               same_members(was, spec, "root", root, err) < 0 || same_mounts(was, spec, err) < 0 ||
                               same_namespaces(was, spec, err) < 0 ?
                       -1 : 0;
}

/* --- the launch --- */

static int read_streams(struct restored *r, struct cringle_err *err)
{
        auto_fd int images = open(r->images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        auto_buf text = BUF_INIT;

        if (images < 0)
                return err_sys(err, "open %s", r->images);
        return read_part(images, "descriptors.json", CONTENTS_STREAMS_MAX, &text, err) < 0 ? -1 :
                                                                                            contents_parse_streams(text.data, text.len, r->streams, err);
}

int restored_init(struct restored *r, const struct container *c, struct cringle_err *err)
{
        const Cri__ContainerConfig *config = c->request->config;
        auto_of(policy) policy = policy_hold(c->pods);

        r->images = own(c, "/images", err);
        r->work = own(c, "/work", err);
        if (!r->images || !r->work || str_copy(&r->program, policy->criu_program, err) < 0 || read_streams(r, err) < 0)
                return -1;
        if (!config->stdin != !r->streams[0])
                return err_set(err, CRINGLE_E_INVALID, "stdin is another than in the checkpoint");
        r->launch = (struct cringle_restore) {
                .size = sizeof r->launch,
                .program = r->program,
                .images = r->images,
                .work = r->work,
                .streams = { r->streams[0], r->streams[1], r->streams[2] },
        };
        return 0;
}

void restored_done(struct restored *r)
{
        free(r->program);
        free(r->images);
        free(r->work);
        for (int i = 0; i < 3; i++)
                free(r->streams[i]);
}

/* --- afterwards --- */

int restored_drop(const struct container *c, struct cringle_err *err)
{
        auto_free char *all = own(c, "", err);

        return all ? file_remove_tree(all, err) : -1;
}

void restored_explain(const struct container *c, struct cringle_err *err)
{
        auto_free char *work = own(c, "/work", NULL);
        auto_fd int dir = work ? open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

        if (dir >= 0)
                criu_add_reason(dir, "restore.log", err);
}
