/*
 * Pages over HTTP; see pages.h.
 *
 * All but the writing of a page belongs to the loop thread.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/helper.h"
#include "agent/base/log.h"
#include "agent/base/own.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/observe/pages.h"
#include "agent/wire/stream.h"

#define AGAIN_AFTER NSEC_PER_SEC        /* until a server that ended is replaced */
#define CLIENT_LIMIT (30 * NSEC_PER_SEC)        /* for a request to arrive */
#define WAITING_MAX 64                  /* pages that are asked for and not written yet */

struct pages {
        struct pages_options options;
        char *program;
        struct helper helper;
        struct loop_watch *watch;
        uint32_t incarnation;           /* of the helper */
        size_t n_waiting;
};

struct job {
        struct pages *pages;
        uint32_t incarnation;
        uint64_t client;
        char path[sizeof ((struct stream_message *) NULL)->text];
        const char *type;
        int file;                       /* -1: failed */
        struct cringle_err err;
};

static int start(struct pages *p, struct cringle_err *err);

static void start_again(void *data)
{
        struct pages *p = data;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (start(p, &err) == 0)
                return;
        log_error("%s: %s", p->options.name, err.text);
        loop_after(p->options.loop, AGAIN_AFTER, start_again, p);
}

static void lost(struct pages *p, const char *why)
{
        log_warning("%s: its server ended: %s", p->options.name, why);
        loop_watch_stop(p->watch);
        p->watch = NULL;
        helper_end(&p->helper);
        loop_after(p->options.loop, AGAIN_AFTER, start_again, p);
}

static void answer(struct pages *p, const struct job *j)
{
        struct stream_message m = { .version = STREAM_VERSION, .client = j->client };
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (p->helper.control < 0 || j->incarnation != p->incarnation)
                return;
        m.type = j->file < 0 ? STREAM_FAILED : STREAM_PAGE_IS;
        m.code = j->err.code;
        snprintf(m.text, sizeof m.text, "%s", j->file < 0 ? j->err.text : j->type);
        if (sock_send(p->helper.control, &m, sizeof m, &j->file, j->file >= 0, &err) < 0)
                lost(p, err.text);
}

static void job_done(void *data)
{
        struct job *j = data;

        j->pages->n_waiting--;
        answer(j->pages, j);
        fd_close(j->file);
        free(j);
}

static int to_file(const struct buf *text, struct cringle_err *err)
{
        auto_fd int fd = memfd_create("page", MFD_CLOEXEC);

        if (fd < 0)
                return err_sys(err, "make a file in memory");
        for (size_t at = 0; at < text->len;) {
                ssize_t n = write(fd, text->data + at, text->len - at);

                if (n < 0 && errno != EINTR)
                        return err_sys(err, "write a page");
                at += n > 0 ? (size_t) n : 0;
        }
        return steal_fd(&fd);
}

static void run_job(void *data)
{
        struct job *j = data;
        const struct pages_options *o = &j->pages->options;
        auto_buf text = BUF_INIT;

        if (o->write(o->data, j->path, &text, &j->type, &j->err) == 0)
                j->file = to_file(&text, &j->err);
        loop_post(o->loop, job_done, j);
}

static void take_page(struct pages *p, const struct stream_message *m)
{
        struct job *j = calloc(1, sizeof *j);

        if (!j)
                abort();
        *j = (struct job) { .pages = p, .incarnation = p->incarnation, .client = m->client, .file = -1,
                            .err = CRINGLE_ERR_INIT };
        memcpy(j->path, m->text, sizeof j->path);
        p->n_waiting++;
        if (p->n_waiting <= WAITING_MAX) {
                workers_run(p->options.workers, run_job, j);
                return;
        }
        err_set(&j->err, CRINGLE_E_EXHAUSTED, "too many requests");
        job_done(j);
}

static void on_control(int fd, int events, void *data)
{
        struct pages *p = data;
        struct stream_message m = { 0 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        size_t n = 0;

        if (sock_recv(fd, &m, sizeof m, &n, NULL, NULL, &err) < 0) {
                if (errno != EAGAIN)
                        lost(p, err.text);
                return;
        }
        if (n < sizeof m || m.version != STREAM_VERSION) {
                lost(p, n == 0 ? "it has gone" : "it speaks another version");
                return;
        }
        m.text[sizeof m.text - 1] = '\0';
        if (m.type == STREAM_PAGE)
                take_page(p, &m);
}

static int start(struct pages *p, struct cringle_err *err)
{
        const struct pages_options *o = &p->options;
        struct stream_message hello = {
                .version = STREAM_VERSION, .type = STREAM_SETUP, .flags = STREAM_PAGES, .uid = o->uid, .gid = o->gid,
                .idle = CLIENT_LIMIT, .creation = CLIENT_LIMIT,
        };

        if (helper_start(p->program, "cringle-stream", STREAM_CONTROL_FD, &hello, sizeof hello, &o->listener, 1, &p->helper,
                         err) < 0)
                return -1;
        p->watch = loop_watch(o->loop, p->helper.control, UV_READABLE, on_control, p, err);
        if (!p->watch) {
                helper_end(&p->helper);
                return -1;
        }
        p->incarnation++;
        return 0;
}

int pages_new(const struct pages_options *options, struct pages **ret, struct cringle_err *err)
{
        auto_fd int listener = options->listener;
        auto_free struct pages *p = calloc(1, sizeof *p);
        auto_free char *program = strdup(options->program);

        if (!p || !program)
                return err_oom(err);
        *p = (struct pages) { .options = *options, .program = program, .helper = HELPER_INIT };
        if (start(p, err) < 0)
                return err_wrap(err, "%s", options->name);
        steal_fd(&listener);
        steal(&program);
        *ret = steal(&p);
        return 0;
}
