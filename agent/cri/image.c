/*
 * ImageService
 *
 * Pulls have threads of their own: they take long and must not keep requests waiting
 * that start and stop containers.
 */

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/cri/cri.h"
#include "agent/pod/message.h"
#include "agent/image/fetch.h"

/* An image as CRI tells it; points into @from. */
struct shown {
        Cri__Image message;
        Cri__Int64Value uid;
        Cri__ImageSpec spec;
};

static void show(struct shown *s, const struct image *from)
{
        s->message = (Cri__Image) CRI__IMAGE__INIT;
        s->message.id = from->id;
        s->message.n_repo_tags = strv_count((const char *const *) from->tags);
        s->message.repo_tags = from->tags;
        s->message.n_repo_digests = strv_count((const char *const *) from->digests);
        s->message.repo_digests = from->digests;
        s->message.size = from->size;
        s->message.pinned = from->pinned;
        if (from->username) {
                s->message.username = from->username;
        } else {
                s->uid = (Cri__Int64Value) CRI__INT64_VALUE__INIT;
                s->uid.value = from->uid;
                s->message.uid = &s->uid;
        }
        s->spec = (Cri__ImageSpec) CRI__IMAGE_SPEC__INIT;
        s->spec.image = from->id;
        s->message.spec = &s->spec;
}

static const char *wanted(const Cri__ImageSpec *spec)
{
        return spec && !str_empty(spec->image) ? spec->image : NULL;
}

/* There is one store, of the default handler, whose name is empty: no other has an image. */
static bool of_other_handler(const Cri__ImageSpec *spec)
{
        return spec && !str_empty(spec->runtime_handler);
}

int cri_images_list(struct cri *cri, const Cri__ImageFilter *filter, pods_message_fn fn, void *data,
                    struct cringle_err *err)
{
        Cri__ListImagesResponse reply = CRI__LIST_IMAGES_RESPONSE__INIT;
        auto_free struct shown *items = NULL;
        auto_free Cri__Image **list = NULL;
        struct image **images = NULL;
        size_t n = 0;
        int r = 0;

        if (filter && of_other_handler(filter->image)) {
                fn(data, &reply.base);
                return 0;
        }
        if (images_list(cri->images, filter ? wanted(filter->image) : NULL, &images, &n, err) < 0)
                return -1;
        items = calloc(n + 1, sizeof *items);
        list = calloc(n + 1, sizeof *list);
        if (items && list) {
                for (size_t i = 0; i < n; i++) {
                        show(&items[i], images[i]);
                        list[i] = &items[i].message;
                }
                reply.n_images = n;
                reply.images = list;
                fn(data, &reply.base);
        } else {
                r = err_oom(err);
        }
        images_list_free(images, n);
        return r;
}

HANDLER(cri_list_images)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (cri_images_list(data, ((const Cri__ListImagesRequest *) request)->filter, cri_reply_message, call, &err) < 0)
                rpc_call_fail(call, &err);
}

HANDLER(cri_image_status)
{
        struct cri *cri = data;
        const Cri__ImageStatusRequest *r = (const Cri__ImageStatusRequest *) request;
        Cri__ImageStatusResponse reply = CRI__IMAGE_STATUS_RESPONSE__INIT;
        Cri__Pair pair = CRI__PAIR__INIT, *info = &pair;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_of(image) image = NULL;
        auto_free char *text = NULL;    /* named as by containerd and CRI-O */
        struct shown shown;

        if (!wanted(r->image)) {
                err_set(&err, CRINGLE_E_INVALID, "no image");
                rpc_call_fail(call, &err);
                return;
        }
        image = of_other_handler(r->image) ? NULL : images_find(cri->images, r->image->image);
        if (image) {
                show(&shown, image);
                reply.image = &shown.message;
                if (r->verbose && (text = str_printf(&err, "{\"imageSpec\":%s}", image->config))) {
                        pair.key = message_text("info");
                        pair.value = text;
                        reply.n_info = 1;
                        reply.info = &info;
                }
        }
        rpc_call_reply(call, &reply.base);
}

/* An empty string is an absent one. */
static const char *given(const char *s)
{
        return str_empty(s) ? NULL : s;
}

static void pull(struct cri_job *job)
{
        const Cri__PullImageRequest *request = (const Cri__PullImageRequest *) job->request;
        const Cri__AuthConfig *a = request->auth;
        Cri__PullImageResponse reply = CRI__PULL_IMAGE_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct fetch_auth auth = { 0 };
        auto_free char *id = NULL;

        if (!wanted(request->image))
                err_set(&err, CRINGLE_E_INVALID, "no image");
        else if (of_other_handler(request->image))
                err_set(&err, CRINGLE_E_INVALID, "no runtime handler '%.64s' is configured", request->image->runtime_handler);
        if (err.code != CRINGLE_OK) {
                rpc_call_fail(job->call, &err);
                return;
        }
        if (a)
                auth = (struct fetch_auth) {
                        .username = given(a->username),
                        .password = given(a->password),
                        .auth = given(a->auth),
                        .identity_token = given(a->identity_token),
                        .registry_token = given(a->registry_token),
                        .server_address = given(a->server_address),
                };
        if (images_pull(job->cri->images, rpc_call_context(job->call), request->image->image, a ? &auth : NULL, &id,
                        &err) < 0) {
                rpc_call_fail(job->call, &err);
                return;
        }
        reply.image_ref = id;
        rpc_call_reply(job->call, &reply.base);
}

HANDLER(cri_pull_image)
{
        struct cri *cri = data;

        cri_run(cri, cri->pullers, call, request, pull);
}

static void remove_image(struct cri_job *job)
{
        const Cri__RemoveImageRequest *request = (const Cri__RemoveImageRequest *) job->request;
        Cri__RemoveImageResponse reply = CRI__REMOVE_IMAGE_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (!wanted(request->image))
                err_set(&err, CRINGLE_E_INVALID, "no image");
        else if (of_other_handler(request->image) || images_remove(job->cri->images, rpc_call_context(job->call), request->image->image, &err) == 0) {
                rpc_call_reply(job->call, &reply.base);
                return;
        }
        rpc_call_fail(job->call, &err);
}

HANDLER(cri_remove_image)
{
        struct cri *cri = data;

        cri_run(cri, cri->workers, call, request, remove_image);
}

/* A file system as CRI tells it; points into itself. */
struct shown_fs {
        Cri__FilesystemUsage message, *list;
        Cri__FilesystemIdentifier where;
        Cri__UInt64Value bytes, inodes;
};

static void show_fs(struct shown_fs *s, const char *path, uint64_t bytes, uint64_t inodes)
{
        s->message = (Cri__FilesystemUsage) CRI__FILESYSTEM_USAGE__INIT;
        s->where = (Cri__FilesystemIdentifier) CRI__FILESYSTEM_IDENTIFIER__INIT;
        s->bytes = s->inodes = (Cri__UInt64Value) CRI__UINT64_VALUE__INIT;
        s->where.mountpoint = message_text(path);
        s->bytes.value = bytes;
        s->inodes.value = inodes;
        s->message.timestamp = clock_realtime();
        s->message.fs_id = &s->where;
        s->message.used_bytes = &s->bytes;
        s->message.inodes_used = &s->inodes;
        s->list = &s->message;
}

HANDLER(cri_image_fs_info)
{
        struct cri *cri = data;
        Cri__ImageFsInfoResponse reply = CRI__IMAGE_FS_INFO_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct shown_fs images, containers;
        uint64_t bytes, inodes;
        const char *path;

        if (images_fs_info(cri->images, &path, &bytes, &inodes, &err) < 0) {
                rpc_call_fail(call, &err);
                return;
        }
        show_fs(&images, path, bytes, inodes);
        reply.n_image_filesystems = reply.n_container_filesystems = 1;
        reply.image_filesystems = reply.container_filesystems = &images.list;
        if (!str_equal(images_writable_path(cri->images), path)) {
                pods_writable_usage(cri->pods, &bytes, &inodes);
                show_fs(&containers, images_writable_path(cri->images), bytes, inodes);
                reply.container_filesystems = &containers.list;
        }
        rpc_call_reply(call, &reply.base);
}
