/*
 * The agent seen from outside; see observe.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/observe/inspect.h"
#include "agent/observe/observe.h"
#include "agent/observe/pages.h"

struct inspect {
        struct pods *pods;
        char *root;
};

static int write_metrics(void *data, const char *path, struct buf *ret, const char **ret_type, struct cringle_err *err)
{
        if (strcmp(path, "/metrics") != 0)
                return err_set(err, CRINGLE_E_NOT_FOUND, "not found; metrics are at /metrics");
        *ret_type = "text/plain; version=0.0.4; charset=utf-8";
        return prometheus_write(data, ret, err);
}

static int write_inspection(void *data, const char *path, struct buf *ret, const char **ret_type, struct cringle_err *err)
{
        const struct inspect *i = data;

        *ret_type = "application/json";
        return inspect_write(i->pods, i->root, path, ret, err);
}

static int serve(const struct observe_options *o, struct pages_options *how, struct cringle_err *err)
{
        struct pages *pages;

        how->loop = o->loop;
        how->workers = o->workers;
        how->program = o->config->programs.stream;
        how->uid = o->config->streaming.uid;
        how->gid = o->config->streaming.gid;
        return pages_new(how, &pages, err);
}

static int serve_metrics(const struct observe_options *o, struct cringle_err *err)
{
        struct pages_options how = { .name = "metrics", .write = write_metrics };
        struct prometheus *prometheus;

        if (o->config->metrics.port == 0)
                return 0;
        if (prometheus_new(&o->sources, &prometheus, err) < 0)
                return -1;
        how.data = prometheus;
        how.listener = sock_listen_ip(o->config->metrics.address, (uint16_t) o->config->metrics.port, NULL, err);
        return how.listener < 0 ? err_wrap(err, "metrics") : serve(o, &how, err);
}

/* Root asks, and nobody else has a reason to: labels and addresses are the cluster's own business. */
static int serve_inspection(const struct observe_options *o, struct cringle_err *err)
{
        struct pages_options how = { .name = "inspection", .write = write_inspection };
        const char *path = o->config->inspect_socket, *name = path ? strrchr(path, '/') : NULL;
        auto_free char *dir = name ? strndup(path, (size_t) (name - path)) : NULL;
        struct inspect *i;

        if (!path)
                return 0;
        i = calloc(1, sizeof *i);
        if (!i || !dir || !(i->root = strdup(o->config->root)))
                return err_oom(err);
        i->pods = o->sources.pods;
        how.data = i;
        if (file_make_dirs(dir, 0755, err) < 0)
                return -1;
        how.listener = sock_listen(path, SOCK_STREAM, 0600, err);
        return how.listener < 0 ? err_wrap(err, "inspection") : serve(o, &how, err);
}

int observe_start(const struct observe_options *options, struct cringle_err *err)
{
        if (serve_metrics(options, err) < 0)
                return -1;
        return serve_inspection(options, err);
}
