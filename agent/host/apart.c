/*
 * The agent's side of a hook plugin in a process of its own; see apart.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/base/call.h"
#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/log.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/host/apart.h"
#include "agent/host/apart_message.h"
#include "agent/host/settings.h"

#define LIFE_TIMEOUT (10 * NSEC_PER_SEC)        /* for create and reload */
#define SPARE (50 * NSEC_PER_MSEC)              /* a hook is to give up before we give it up */

struct apart {
        char *program, *file, *name, *help, *version;
        int64_t timeout;                        /* for a child to come up */
        struct cringle_setting *schema;         /* owned, with its strings */
        bool reloads;
        struct cringle_hook_ops ops;
        const struct cringle_host *host;        /* from create() on */

        pthread_mutex_t lock;                   /* one call at a time; for all below */
        struct child child;
        int fd;                                 /* -1: no child */
        struct cringle_pair *settings;          /* what a new child is created with */
};

/* --- messages --- */

struct message {
        struct buf text;
        struct rec_writer writer;
};

#define MESSAGE_BEGIN(m, tag, e)                                        \
        struct message m = { .writer = { .err = (e) } };                \
        m.writer.out = &m.text;                                         \
        rec_begin(&m.writer, (tag))

static int send_message(int fd, struct message *m, struct cringle_err *err)
{
        int r;

        rec_end(&m->writer);
        r = rec_finish(&m->writer);
        if (r == 0)
                r = sock_send(fd, m->text.data, m->text.len, NULL, 0, err);
        buf_done(&m->text);
        return r;
}

/* Kill the child, if there is one. */
static void drop_child(struct apart *a)
{
        child_kill(&a->child);
        a->fd = fd_close(a->fd);
}

/* The child has hung up: how did it end? */
static int say_end(struct apart *a, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, NSEC_PER_SEC);
        char text[128] = "it has closed its socket";
        int status;

        if (child_wait(&a->child, &call, &status, NULL) == 0)
                child_status_text(status, text, sizeof text);
        drop_child(a);
        return err_set(err, CRINGLE_E_UNAVAILABLE, "its process has ended: %s", text);
}

/* One that ended between two calls costs neither of them. */
static void forget_ended(struct apart *a)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct pollfd p[2] = { { .fd = a->child.pidfd, .events = POLLIN }, { .fd = a->fd } };

        if (a->fd < 0 || poll(p, 2, 0) <= 0)
                return;
        say_end(a, &why);
        log_warning("hook plugin %s: %s; between two calls", a->name, why.text);
}

/* The next message within @call; @ret is borrowed from @text.  On failure the child is gone. */
static int next_message(struct apart *a, const struct cringle_call *call, struct buf *text, uint16_t *ret_tag,
                        struct rec_cursor *ret, struct cringle_err *err)
{
        struct rec_cursor c;
        int r;

        /* The check is for one that never stops talking. */
        if (call_check(call, err) < 0 || call_wait(call, a->fd, POLLIN, -1, err) < 0) {
                drop_child(a);
                return err_wrap(err, "its process does not answer and was killed");
        }
        r = apart_receive(a->fd, text, err);
        if (r == 0)
                return say_end(a, err);
        c = (struct rec_cursor) REC_CURSOR(text->data, text->len);
        if (r < 0 || !rec_next(&c, ret_tag, ret)) {
                drop_child(a);
                return r < 0 ? -1 : err_set(err, CRINGLE_E_INTERNAL, "its process sends what makes no sense");
        }
        return 0;
}

/* --- what a hook asks of its event --- */

static int ask_adjust(const struct cringle_event *ev, uint32_t what, struct rec_cursor *c, struct cringle_err *err)
{
        const char *a = apart_get(c), *b, *d;
        auto_free const char **list = NULL, **more = NULL;
        bool no_list = false, no_more = false;
        uint64_t soft, hard;

        switch (what) {
        case APART_SET_ENV:
                b = apart_get(c);
                return ev->set_env(ev, a, b, err);
        case APART_ADD_MOUNT:
                b = apart_get(c);
                d = apart_get(c);
                return ev->add_mount(ev, a, b, d, err);
        case APART_DROP_MOUNT:
                return ev->drop_mount(ev, a, err);
        case APART_ADD_DEVICE:
                b = apart_get(c);
                d = apart_get(c);
                return ev->add_device(ev, a, b, d, err);
        case APART_SET_ANNOTATION:
                b = apart_get(c);
                return ev->set_annotation(ev, a, b, err);
        case APART_SET_ARGS:
                list = apart_get_list(c, &no_list);
                return ev->set_args(ev, no_list ? NULL : list, err);
        case APART_SET_RLIMIT:
                soft = rec_get_u64(c);
                hard = rec_get_u64(c);
                return ev->set_rlimit(ev, a, soft, hard, err);
        case APART_ADD_OCI_HOOK:
                b = apart_get(c);
                list = apart_get_list(c, &no_list);
                more = apart_get_list(c, &no_more);
                return ev->add_oci_hook(ev, a, b, no_list ? NULL : list, no_more ? NULL : more, (int) rec_get_u32(c), err);
        case APART_ADD_CDI_DEVICE:
                return ev->add_cdi_device(ev, a, err);
        default:
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "an event offers nothing like it");
        }
}

static int answer(struct apart *a, const struct cringle_event *ev, struct rec_cursor *c, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        uint32_t what = rec_get_u32(c);
        const char *key;

        MESSAGE_BEGIN(m, APART_ANSWER, err);
        if (what == APART_ANNOTATION || what == APART_LABEL || what == APART_ENV) {
                key = rec_get_str(c);
                apart_put(&m.writer, what == APART_ANNOTATION ? ev->annotation(ev, key) :
                                     what == APART_LABEL      ? ev->label(ev, key) :
                                                                ev->env(ev, key));
        } else {
                int r = ask_adjust(ev, what, c, &why);

                apart_put_result(&m.writer, r, &why);
        }
        return send_message(a->fd, &m, err);
}

/* --- calls --- */

/* Hear the child out until its RESULT; @ev may be NULL.  What it asks without an event is answered by its end. */
static int hear(struct apart *a, const struct cringle_call *call, const struct cringle_event *ev, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;

        for (;;) {
                struct rec_cursor body;
                const char *name;
                uint16_t tag;
                uint32_t level;

                if (next_message(a, call, &text, &tag, &body, err) < 0)
                        return -1;
                switch (tag) {
                case APART_RESULT:
                        return apart_get_result(&body, err);
                case APART_LOG:
                        level = rec_get_u32(&body);
                        a->host->log(a->host, (int) level, rec_get_str(&body));
                        break;
                case APART_COUNT:
                        name = rec_get_str(&body);
                        a->host->count(a->host, name, (int64_t) rec_get_u64(&body));
                        break;
                case APART_ASK:
                        if (ev && answer(a, ev, &body, err) == 0)
                                break;
                        __attribute__((fallthrough));
                default:
                        drop_child(a);
                        return err_set(err, CRINGLE_E_INTERNAL, "its process sends what makes no sense");
                }
        }
}

static int start_child(struct apart *a, struct cringle_err *err)
{
        const char *argv[] = { "cringled", "--host-plugin", a->file, a->name, NULL };
        struct child_fd as = { .as = APART_FD };
        struct child_spec spec = { .path = a->program, .argv = argv, .fds = &as, .n_fds = 1 };
        auto_fd int theirs = -1;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return err_sys(err, "socketpair");
        a->fd = fds[0];
        as.fd = theirs = fds[1];
        apart_widen(a->fd);
        fcntl(a->fd, F_SETFL, O_NONBLOCK);      /* one that does not read what it asked for is not waited for */
        if (child_spawn(&spec, &a->child, err) < 0) {
                a->fd = fd_close(a->fd);
                return -1;
        }
        return 0;
}

/* The strings of the schema are borrowed from the message: they are copied. */
static int take_schema(struct apart *a, struct rec_cursor *c, struct cringle_err *err)
{
        uint32_t n = rec_get_u32(c);

        if (c->bad || n > c->left)
                return err_set(err, CRINGLE_E_INTERNAL, "its description makes no sense");
        a->schema = calloc((size_t) n + 1, sizeof *a->schema);
        if (!a->schema)
                return err_oom(err);
        for (uint32_t i = 0; i < n; i++) {
                struct cringle_setting *s = &a->schema[i];
                const char *name = rec_get_str(c), *fallback, *help;

                s->type = (int) rec_get_u32(c);
                fallback = apart_get(c);
                help = apart_get(c);
                s->name = strdup(name);
                s->fallback = fallback ? strdup(fallback) : NULL;
                s->help = help ? strdup(help) : NULL;
                if (!s->name || (fallback && !s->fallback) || (help && !s->help))
                        return err_oom(err);
        }
        return c->bad ? err_set(err, CRINGLE_E_INTERNAL, "its description makes no sense") : 0;
}

/* The child's first words; looked at once, as it is the same file each time. */
static int hear_description(struct apart *a, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, a->timeout);
        auto_buf text = BUF_INIT;
        struct rec_cursor c;
        const char *help;
        uint16_t tag;

        if (next_message(a, &call, &text, &tag, &c, err) < 0)
                return -1;
        if (tag == APART_RESULT)
                return apart_get_result(&c, err) < 0 ? -1 : err_set(err, CRINGLE_E_INTERNAL, "it does not describe itself");
        if (tag != APART_DESCRIBE)
                return err_set(err, CRINGLE_E_INTERNAL, "it does not describe itself");
        if (a->schema)
                return 0;
        a->version = strdup(rec_get_str(&c));
        help = apart_get(&c);
        a->reloads = rec_get_u32(&c);
        a->ops.points = rec_get_u64(&c);
        a->help = help ? strdup(help) : NULL;
        if (!a->version || (help && !a->help))
                return err_oom(err);
        return take_schema(a, &c, err);
}

static int create_there(struct apart *a, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, LIFE_TIMEOUT);

        MESSAGE_BEGIN(m, APART_CREATE, err);
        rec_put_str(&m.writer, a->host->state_dir);
        rec_put_str(&m.writer, a->host->run_dir);
        apart_put_settings(&m.writer, settings);
        if (send_message(a->fd, &m, err) < 0 || hear(a, &call, NULL, err) < 0) {
                drop_child(a);
                return -1;
        }
        return 0;
}

/* A child that is created; the lock is held. */
static int have_child(struct apart *a, struct cringle_err *err)
{
        forget_ended(a);
        if (a->fd >= 0)
                return 0;
        if (start_child(a, err) < 0)
                return -1;
        if (hear_description(a, err) < 0) {
                drop_child(a);
                return -1;
        }
        log_info("hook plugin %s: a new process, %d", a->name, a->child.pid);
        return create_there(a, a->settings, err);
}

static void put_event(struct rec_writer *w, const struct cringle_event *ev)
{
        rec_put_u32(w, (uint32_t) ev->point);
        apart_put(w, ev->pod_id);
        apart_put(w, ev->pod_name);
        apart_put(w, ev->pod_space);
        apart_put(w, ev->pod_uid);
        apart_put(w, ev->container_id);
        apart_put(w, ev->container_name);
        apart_put(w, ev->image);
        apart_put(w, ev->handler);
        apart_put(w, ev->bundle);
        apart_put_list(w, ev->args);
        rec_put_u32(w, (uint32_t) ev->pid);
        rec_put_u32(w, (uint32_t) ev->exit_code);
        rec_put_u64(w, ev->call->deadline > SPARE ? (uint64_t) (ev->call->deadline - SPARE) : 0);
        apart_put(w, ev->call->request);
}

static int run_there(struct apart *a, const struct cringle_event *ev, struct cringle_err *err)
{
        if (have_child(a, err) < 0)
                return -1;

        MESSAGE_BEGIN(m, APART_RUN, err);
        put_event(&m.writer, ev);
        if (send_message(a->fd, &m, err) < 0) {
                drop_child(a);
                return -1;
        }
        return hear(a, ev->call, ev, err);
}

static int apart_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct apart *a = self;
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct timespec until = { .tv_sec = ev->call->deadline / NSEC_PER_SEC, .tv_nsec = ev->call->deadline % NSEC_PER_SEC };
        int r;

        r = ev->call->deadline ? pthread_mutex_clocklock(&a->lock, CLOCK_MONOTONIC, &until) : pthread_mutex_lock(&a->lock);
        if (r != 0)
                return err_set(err, CRINGLE_E_DEADLINE, "its process is busy with another call");
        r = run_there(a, ev, &why);
        pthread_mutex_unlock(&a->lock);
        return r < 0 ? err_set(err, why.code, "%s", why.text) : 0;
}

static struct cringle_pair *copy_settings(const struct cringle_pair *settings, struct cringle_err *err)
{
        return settings_masked(NULL, settings, err);    /* without a schema nothing is masked */
}

static int apart_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                        struct cringle_err *err)
{
        struct apart *a = apart_of(host);
        int r;

        pthread_mutex_lock(&a->lock);
        a->host = host;
        a->settings = settings_free(a->settings);
        a->settings = copy_settings(settings, err);
        r = !a->settings ? -1 : a->fd < 0 ? have_child(a, err) : create_there(a, settings, err);
        pthread_mutex_unlock(&a->lock);
        if (r < 0)
                return -1;
        *ret_self = a;
        return 0;
}

static int reload_there(struct apart *a, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct cringle_call call = call_within(NULL, LIFE_TIMEOUT);

        if (have_child(a, err) < 0)
                return -1;

        MESSAGE_BEGIN(m, APART_RELOAD, err);
        apart_put_settings(&m.writer, settings);
        if (send_message(a->fd, &m, err) < 0) {
                drop_child(a);
                return -1;
        }
        return hear(a, &call, NULL, err);
}

static int apart_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct apart *a = self;
        struct cringle_pair *fresh = copy_settings(settings, err);
        int r;

        if (!fresh)
                return -1;
        pthread_mutex_lock(&a->lock);
        r = reload_there(a, settings, err);
        if (r == 0) {
                settings_free(a->settings);
                a->settings = fresh;
        }
        pthread_mutex_unlock(&a->lock);
        if (r < 0)
                settings_free(fresh);
        return r;
}

/* The child's quiesce and destroy come with the end of its socket; it is given a moment. */
static void apart_destroy(void *self)
{
        struct apart *a = self;
        struct cringle_call call = call_within(NULL, NSEC_PER_SEC);
        int status;

        pthread_mutex_lock(&a->lock);
        if (a->fd >= 0) {
                a->fd = fd_close(a->fd);
                if (child_wait(&a->child, &call, &status, NULL) < 0)
                        child_kill(&a->child);
        }
        pthread_mutex_unlock(&a->lock);
}

/* --- life --- */

int apart_new(const char *program, const char *file, const char *name, int64_t timeout, struct apart **ret,
              struct cringle_err *err)
{
        auto_of(apart) a = calloc(1, sizeof *a);

        if (!a)
                return err_oom(err);
        a->child = (struct child) CHILD_INIT;
        a->fd = -1;
        pthread_mutex_init(&a->lock, NULL);
        a->program = strdup(program);
        a->file = strdup(file);
        a->name = strdup(name);
        a->timeout = timeout;
        a->ops = (struct cringle_hook_ops) { .size = sizeof a->ops, .run = apart_run };
        if (!a->program || !a->file || !a->name)
                return err_oom(err);
        if (start_child(a, err) < 0 || hear_description(a, err) < 0)
                return -1;
        *ret = steal(&a);
        return 0;
}

struct apart *apart_free(struct apart *a)
{
        if (!a)
                return NULL;

        drop_child(a);
        for (struct cringle_setting *s = a->schema; s && s->name; s++) {
                free((char *) (uintptr_t) s->name);
                free((char *) (uintptr_t) s->fallback);
                free((char *) (uintptr_t) s->help);
        }
        free(a->schema);
        settings_free(a->settings);
        pthread_mutex_destroy(&a->lock);
        free(a->program);
        free(a->file);
        free(a->name);
        free(a->help);
        free(a->version);
        free(a);
        return NULL;
}

const char *apart_version(const struct apart *a)
{
        return a->version;
}

struct cringle_factory apart_factory(struct apart *a)
{
        return (struct cringle_factory) {
                .size = sizeof(struct cringle_factory),
                .kind = CRINGLE_HOOK,
                .name = a->name,
                .major = CRINGLE_HOOK_MAJOR,
                .minor = CRINGLE_HOOK_MINOR,
                .help = a->help,
                .settings = a->schema,
                .create = apart_create,
                .reload = a->reloads ? apart_reload : NULL,
                .destroy = apart_destroy,
                .ops = &a->ops,
        };
}
