/*
 * systemd, over D-Bus; see bus.h.
 *
 * sd-bus knows no threads: `lock` is held around every use of the connection, and
 * released while its thread waits for the socket.  A caller puts a `waiting` of its
 * own into the list, sends, and sleeps on that one's eventfd.  The reply to a call
 * that makes a job comes before the signal that the job was removed, and both are
 * looked at by the same thread in that order, so that no signal is missed.  One that
 * was lost all the same - systemd was executed anew at that moment - is noticed
 * because a caller asks for its job every other second.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <systemd/sd-bus.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/str.h"
#include "plugins/cgroup-systemd/bus.h"

#define DESTINATION "org.freedesktop.systemd1"
#define OBJECT "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"

#define JOB_LOOK (2 * NSEC_PER_SEC)     /* between two looks at whether a job is still there */
#define RETRY_FIRST (50 * NSEC_PER_MSEC)
#define RETRY_MAX (1 * NSEC_PER_SEC)

struct bus {
        char *address;
        int64_t timeout;                /* of one call, with its job */
        void (*log)(void *data, const char *text);
        void *data;

        pthread_mutex_t lock;           /* all below */
        sd_bus *connection;             /* NULL: none */
        struct waiting *list;
        bool ending;
        bool running;                   /* the thread is */
        pthread_t thread;
        int wake;                       /* eventfd: what there is to wait for has changed */
};

enum state {
        SENT,                           /* no reply yet */
        JOB,                            /* replied, the job is not done */
        DONE,
        LOST,                           /* the connection broke */
};

struct waiting {
        struct waiting *next;
        enum state state;
        bool wants_job;
        int event;                      /* eventfd: DONE or LOST */
        sd_bus_slot *slot;
        char *job;                      /* object path */
        char *result;                   /* of the job: "done", "failed", ...; or the string that was asked for */
        char *error;                    /* D-Bus name of a refusal */
        char *text;                     /* and its words */
};

static void waiting_done(struct waiting *w)
{
        sd_bus_slot_unref(w->slot);
        fd_close(w->event);
        free(w->job);
        free(w->result);
        free(w->error);
        free(w->text);
}

static void poke(int event)
{
        eventfd_write(event, 1);
}

static void finish(struct waiting *w, enum state state)
{
        w->state = state;
        poke(w->event);
}

/* --- what comes in; with the lock held --- */

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
        struct waiting *w = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *job = NULL;

        if (e) {
                /* Not an answer but the lack of one: systemd is being executed anew, or went away. */
                bool lost = sd_bus_error_has_names(e, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_DISCONNECTED,
                                                   SD_BUS_ERROR_NAME_HAS_NO_OWNER, SD_BUS_ERROR_SERVICE_UNKNOWN);

                w->error = strdup(e->name ? e->name : "");
                w->text = strdup(e->message ? e->message : "");
                finish(w, lost || !w->error || !w->text ? LOST : DONE);
                return 1;
        }
        /* All is read here: a message outside the lock would be a thread's hand in the connection. */
        if (!w->wants_job) {
                const char *text;

                if (sd_bus_message_has_signature(m, "v") > 0 && sd_bus_message_read(m, "v", "s", &text) >= 0)
                        w->result = strdup(text);
                finish(w, DONE);
                return 1;
        }
        if (sd_bus_message_read(m, "o", &job) >= 0)
                w->job = strdup(job);
        w->state = JOB;
        if (!w->job)
                finish(w, LOST);
        return 1;
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
        struct bus *b = userdata;
        const char *job, *unit, *result;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) < 0)
                return 0;
        for (struct waiting *w = b->list; w; w = w->next)
                if (w->state == JOB && strcmp(w->job, job) == 0) {
                        w->result = strdup(result);
                        finish(w, w->result ? DONE : LOST);
                }
        return 0;
}

static void disconnect(struct bus *b)
{
        for (struct waiting *w = b->list; w; w = w->next) {
                w->slot = sd_bus_slot_unref(w->slot);
                if (w->state != DONE)
                        finish(w, LOST);
        }
        sd_bus_close(b->connection);
        b->connection = sd_bus_unref(b->connection);
}

/* --- the thread --- */

/* Milliseconds until sd-bus wants to be called without anything having come; -1: never. */
static int until(sd_bus *connection)
{
        uint64_t end;
        int64_t rest;

        if (sd_bus_get_timeout(connection, &end) < 0 || end == UINT64_MAX)
                return -1;
        rest = (int64_t) (end / 1000) - clock_monotonic() / NSEC_PER_MSEC + 1;
        return rest < 0 ? 0 : rest > 60000 ? 60000 : (int) rest;
}

static void work_off(struct bus *b)
{
        int r;

        do
                r = sd_bus_process(b->connection, NULL);
        while (r > 0);
        if (r < 0 || sd_bus_is_open(b->connection) <= 0) {
                disconnect(b);
                b->log(b->data, "the connection to D-Bus was lost; the next call makes a new one");
        }
}

static void *bus_thread(void *data)
{
        struct bus *b = data;

        pthread_mutex_lock(&b->lock);
        while (!b->ending) {
                struct pollfd p[2] = { { .fd = b->wake, .events = POLLIN }, { .fd = -1 } };
                int wait = -1;
                eventfd_t n;

                if (b->connection)
                        work_off(b);
                if (b->connection) {
                        p[1].fd = sd_bus_get_fd(b->connection);
                        p[1].events = (short) sd_bus_get_events(b->connection);
                        wait = until(b->connection);
                }
                pthread_mutex_unlock(&b->lock);
                poll(p, 2, wait);
                pthread_mutex_lock(&b->lock);
                if (p[0].revents)
                        eventfd_read(b->wake, &n);
        }
        pthread_mutex_unlock(&b->lock);
        return NULL;
}

/* Signals are the agent's other threads' affair. */
static int start_thread(struct bus *b, struct cringle_err *err)
{
        sigset_t all, former;
        int r;

        if (b->running)
                return 0;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &former);
        r = pthread_create(&b->thread, NULL, bus_thread, b);
        pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (r)
                return err_sysno(err, r, "start a thread");
        b->running = true;
        return 0;
}

/* --- connecting --- */

static int failed(struct cringle_err *err, int r, const char *what)
{
        return err_sysno(err, -r, "%s", what);
}

/*
 * The socket is opened and all is sent at once; that it works shows with the first
 * reply.  Subscribe: without it systemd tells nobody of its jobs.
 */
static int dial(struct bus *b, sd_bus **ret, struct cringle_err *err)
{
        sd_bus *c = NULL;
        int r = sd_bus_new(&c);

        if (r >= 0)
                r = sd_bus_set_address(c, b->address);
        if (r >= 0)
                r = sd_bus_set_bus_client(c, 1);
        if (r >= 0)
                r = sd_bus_start(c);
        if (r >= 0)
                r = sd_bus_match_signal_async(c, NULL, DESTINATION, OBJECT, MANAGER, "JobRemoved", on_job_removed, NULL, b);
        if (r >= 0)
                r = sd_bus_call_method_async(c, NULL, DESTINATION, OBJECT, MANAGER, "Subscribe", NULL, NULL, NULL);
        if (r < 0) {
                sd_bus_close(c);
                sd_bus_unref(c);
                err_sysno(err, -r, "%s", b->address);
                return err_wrap(err, "connect to D-Bus");
        }
        *ret = c;
        return 0;
}

int bus_new(const char *address, int64_t timeout, void (*log)(void *data, const char *text), void *data,
            struct bus **ret, struct cringle_err *err)
{
        auto_of(bus) b = calloc(1, sizeof *b);

        if (!b)
                return err_oom(err);
        pthread_mutex_init(&b->lock, NULL);
        b->timeout = timeout;
        b->log = log;
        b->data = data;
        b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        b->address = strdup(address);
        if (!b->address)
                return err_oom(err);
        if (b->wake < 0)
                return err_sys(err, "eventfd");

        *ret = steal(&b);
        return 0;
}

struct bus *bus_free(struct bus *b)
{
        if (!b)
                return NULL;

        pthread_mutex_lock(&b->lock);
        b->ending = true;
        poke(b->wake);
        pthread_mutex_unlock(&b->lock);
        if (b->running)
                pthread_join(b->thread, NULL);
        if (b->connection)
                disconnect(b);
        pthread_mutex_destroy(&b->lock);
        fd_close(b->wake);
        free(b->address);
        free(b);
        return NULL;
}

/* --- a call --- */

struct request {
        const char *interface;
        const char *method;
        bool job;                       /* it makes one, whose end is the call's */
        int (*fill)(sd_bus_message *m, const void *data);
        const void *data;
};

/* With the lock held. */
static int send_request(struct bus *b, const struct request *q, struct waiting *w, struct cringle_err *err)
{
        sd_bus_message *m = NULL;
        int r;

        if (start_thread(b, err) < 0)
                return -1;
        if (!b->connection && dial(b, &b->connection, err) < 0) {
                w->state = LOST;        /* nobody listens there now */
                return -1;
        }
        r = sd_bus_message_new_method_call(b->connection, &m, DESTINATION, OBJECT, q->interface, q->method);
        if (r >= 0)
                r = q->fill(m, q->data);
        if (r >= 0)
                r = sd_bus_call_async(b->connection, &w->slot, m, on_reply, w, (uint64_t) b->timeout / 1000);
        sd_bus_message_unref(m);
        if (r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE) {
                disconnect(b);
                w->state = LOST;
        }
        if (r < 0)
                return failed(err, r, q->method);
        w->next = b->list;
        b->list = w;
        poke(b->wake);
        return 0;
}

static void leave(struct bus *b, struct waiting *w)
{
        for (struct waiting **at = &b->list; *at; at = &(*at)->next)
                if (*at == w) {
                        *at = w->next;
                        break;
                }
        w->slot = sd_bus_slot_unref(w->slot);
}

static int read_job_id(sd_bus_message *m, const void *data)
{
        const char *job = data, *slash = strrchr(job, '/');

        return sd_bus_message_append(m, "u", (uint32_t) (slash ? strtoul(slash + 1, NULL, 10) : 0));
}

static int once(struct bus *b, const struct cringle_call *call, const struct request *q, struct waiting *w,
                struct cringle_err *err);

/* A job nobody heard the end of: is it still there?  If not it has ended, who knows how. */
static int look_for_job(struct bus *b, const struct cringle_call *call, struct waiting *w, struct cringle_err *err)
{
        struct waiting look = { .event = -1 };
        auto_free char *job = NULL;
        int r;

        pthread_mutex_lock(&b->lock);
        if (w->state == JOB)
                job = strdup(w->job);
        pthread_mutex_unlock(&b->lock);
        if (!job)
                return 0;

        r = once(b, call, &(struct request) { MANAGER, "GetJob", false, read_job_id, job }, &look, err);
        pthread_mutex_lock(&b->lock);
        if (r >= 0 && w->state == JOB && look.error && strcmp(look.error, "org.freedesktop.systemd1.NoSuchJob") == 0)
                finish(w, LOST);
        pthread_mutex_unlock(&b->lock);
        waiting_done(&look);
        return r;
}

/* Send @q and wait for all of it: @w is then DONE or LOST.  -1: neither, for @err. */
static int once(struct bus *b, const struct cringle_call *call, const struct request *q, struct waiting *w,
                struct cringle_err *err)
{
        int r;

        w->wants_job = q->job;
        w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->event < 0)
                return err_sys(err, "eventfd");
        pthread_mutex_lock(&b->lock);
        r = send_request(b, q, w, err);
        pthread_mutex_unlock(&b->lock);
        if (r < 0)
                return w->state == LOST ? 0 : -1;

        do {
                r = call_wait(call, w->event, POLLIN, q->job ? JOB_LOOK : -1, err);
                if (r == 0)
                        r = look_for_job(b, call, w, err) < 0 ? -1 : 0;
        } while (r == 0);

        pthread_mutex_lock(&b->lock);
        leave(b, w);
        pthread_mutex_unlock(&b->lock);
        return r < 0 ? err_wrap(err, "systemd does not %s", q->job ? "finish" : "answer") : 0;
}

/* What a call came to, for who made it. */
struct answer {
        char *result;
        char *error, *text;             /* a refusal: both are set */
};

static void answer_done(struct answer *a)
{
        free(a->result);
        free(a->error);
        free(a->text);
}

static inline void auto_answer_(struct answer *a)
{
        answer_done(a);
}

#define auto_answer auto_cleanup(auto_answer_) struct answer

/* Until it is answered: what gets lost is sent again, for as long as @timeout of the bus lasts. */
static int exchange(struct bus *b, const struct cringle_call *outer, const struct request *q, struct answer *ret,
                    struct cringle_err *err)
{
        struct cringle_call call = call_within(outer, b->timeout);
        struct cringle_err last = CRINGLE_ERR_INIT;
        int64_t wait = RETRY_FIRST;

        for (;;) {
                struct waiting w = { .event = -1 };

                err_clear(&last);
                if (once(b, &call, q, &w, &last) < 0) {
                        waiting_done(&w);
                        *(err ? err : &last) = last;
                        return -1;
                }
                if (w.state == DONE) {
                        *ret = (struct answer) {
                                .result = steal(&w.result), .error = steal(&w.error), .text = steal(&w.text),
                        };
                        waiting_done(&w);
                        return 0;
                }
                if (!last.code)
                        err_set(&last, CRINGLE_E_UNAVAILABLE, "%s", str_empty(w.text) ? "the connection was lost" : w.text);
                waiting_done(&w);
                if (call_wait(&call, -1, 0, wait, NULL) < 0) {
                        *(err ? err : &last) = last;
                        return err_wrap(err, "systemd cannot be reached");
                }
                wait = wait * 2 > RETRY_MAX ? RETRY_MAX : wait * 2;
        }
}

static bool refused_with(const struct answer *a, const char *error)
{
        return a->error && strcmp(a->error, error) == 0;
}

/* A refusal, or a job that did not end well, as an error. */
static int judge(const struct answer *a, struct cringle_err *err)
{
        if (a->error)
                return err_set(err, CRINGLE_E_INTERNAL, "systemd: %s", *a->text ? a->text : a->error);
        if (a->result && strcmp(a->result, "done") != 0)
                return err_set(err, CRINGLE_E_INTERNAL, "systemd: the job ended with '%s'", a->result);
        return 0;
}

/* --- messages --- */

static int fill_one_property(sd_bus_message *m, const struct property *p)
{
        int r;

        if (p->type == 't')
                return sd_bus_message_append(m, "(sv)", p->name, "t", p->number);
        if (p->type == 'd')
                return sd_bus_message_append(m, "(sv)", p->name, "a(st)", 1, p->device, p->number);
        r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", p->name);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', p->bytes, p->n_bytes);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* The list is emptied before it is filled: it replaces what was. */
static int fill_devices(sd_bus_message *m, const struct properties *p)
{
        int r = sd_bus_message_append(m, "(sv)(sv)", "DevicePolicy", "s", p->all_devices ? "auto" : "strict",
                                      "DeviceAllow", "a(ss)", 0);

        if (r < 0 || p->all_devices || p->n_allow == 0)
                return r;
        r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "DeviceAllow");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(ss)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(ss)");
        for (size_t i = 0; i < p->n_allow && r >= 0; i++)
                r = sd_bus_message_append(m, "(ss)", p->allow[i].node, p->allow[i].access);
        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int fill_properties(sd_bus_message *m, const struct properties *p)
{
        int r = 0;

        for (size_t i = 0; i < p->n && r >= 0; i++)
                r = fill_one_property(m, &p->list[i]);
        return r < 0 || !p->devices ? r : fill_devices(m, p);
}

struct scope {
        const char *unit, *slice, *description;
        pid_t pid;
        const struct properties *properties;
};

static int fill_scope(sd_bus_message *m, const void *data)
{
        const struct scope *s = data;
        int r = sd_bus_message_append(m, "ss", s->unit, "replace");

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", s->description,
                                          "Slice", "s", s->slice, "Delegate", "b", 1, "DefaultDependencies", "b", 0,
                                          "CollectMode", "s", "inactive-or-failed", "PIDs", "au", 1, (uint32_t) s->pid);
        if (r >= 0)
                r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)", "CPUAccounting", "b", 1, "MemoryAccounting", "b", 1,
                                          "IOAccounting", "b", 1, "TasksAccounting", "b", 1);
        if (r >= 0)
                r = fill_properties(m, s->properties);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_append(m, "a(sa(sv))", 0);
}

int bus_start_scope(struct bus *b, const struct cringle_call *call, const char *unit, const char *slice,
                    const char *description, pid_t pid, const struct properties *properties, struct cringle_err *err)
{
        struct scope scope = { unit, slice, description, pid, properties };
        auto_answer a = { 0 };

        if (exchange(b, call, &(struct request) { MANAGER, "StartTransientUnit", true, fill_scope, &scope }, &a, err) < 0)
                return err_wrap(err, "start %s", unit);
        if (refused_with(&a, "org.freedesktop.systemd1.UnitExists"))
                return BUS_UNIT_EXISTS;
        return judge(&a, err) < 0 ? err_wrap(err, "start %s", unit) : BUS_STARTED;
}

struct change {
        const char *unit;
        const struct properties *properties;
};

static int fill_change(sd_bus_message *m, const void *data)
{
        const struct change *c = data;
        int r = sd_bus_message_append(m, "sb", c->unit, 1);

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = fill_properties(m, c->properties);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int bus_set_properties(struct bus *b, const struct cringle_call *call, const char *unit,
                       const struct properties *properties, struct cringle_err *err)
{
        struct change change = { unit, properties };
        auto_answer a = { 0 };

        if (properties->n == 0 && !properties->devices)
                return 0;
        if (exchange(b, call, &(struct request) { MANAGER, "SetUnitProperties", false, fill_change, &change }, &a, err) < 0 ||
            judge(&a, err) < 0)
                return err_wrap(err, "limits of %s", unit);
        return 0;
}

static int fill_stop(sd_bus_message *m, const void *data)
{
        return sd_bus_message_append(m, "ss", (const char *) data, "replace");
}

static int fill_name(sd_bus_message *m, const void *data)
{
        return sd_bus_message_append(m, "s", (const char *) data);
}

int bus_stop(struct bus *b, const struct cringle_call *call, const char *unit, struct cringle_err *err)
{
        auto_answer a = { 0 }, reset = { 0 };

        if (exchange(b, call, &(struct request) { MANAGER, "StopUnit", true, fill_stop, unit }, &a, err) < 0)
                return err_wrap(err, "stop %s", unit);
        if (refused_with(&a, "org.freedesktop.systemd1.NoSuchUnit"))
                return 0;
        if (judge(&a, err) < 0) {
                /* It may have failed before: then it is forgotten, and gone. */
                exchange(b, call, &(struct request) { MANAGER, "ResetFailedUnit", false, fill_name, unit }, &reset, NULL);
                return err_wrap(err, "stop %s", unit);
        }
        return 0;
}

static int fill_version(sd_bus_message *m, const void *data)
{
        return sd_bus_message_append(m, "ss", MANAGER, "Version");
}

int bus_version(struct bus *b, const struct cringle_call *call, unsigned *ret, struct cringle_err *err)
{
        static const struct request get = { "org.freedesktop.DBus.Properties", "Get", false, fill_version, NULL };
        auto_answer a = { 0 };

        if (exchange(b, call, &get, &a, err) < 0)
                return -1;
        if (a.error)
                return judge(&a, err);
        if (!a.result)
                return err_set(err, CRINGLE_E_INTERNAL, "systemd tells no version");
        *ret = (unsigned) strtoul(a.result + strcspn(a.result, "0123456789"), NULL, 10);
        return 0;
}
