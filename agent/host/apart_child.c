/*
 * A hook plugin in a process of its own: the child's side; see apart.h.
 *
 * It loads the plugin, describes it, and does what it is told until its socket ends,
 * which is also how it learns that the agent is gone.  Should the plugin hang then, a
 * thread that does nothing but look at the socket ends the process.
 */

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/host/apart_message.h"
#include "agent/host/host.h"
#include "agent/host/judge.h"
#include "agent/host/load.h"
#include "agent/host/spawn.h"

#define LAST_MOMENT_MS 1000                     /* for quiesce and destroy */

static struct {
        struct cringle_factory factory;
        const char *version;
        struct cringle_hook_ops ops;
        struct cringle_host services;
        char *state_dir, *run_dir;
        void *self;
        bool created;
        struct buf incoming;                    /* the request under way: borrowed by the plugin until it is answered */
        char **lent;                            /* strings that the event has given out */
} held;

struct message {
        struct buf text;
        struct rec_writer writer;
};

#define MESSAGE_BEGIN(m, tag)                                           \
        struct message m = { 0 };                                       \
        m.writer.out = &m.text;                                         \
        rec_begin(&m.writer, (tag))

/* An agent that is gone needs no words. */
static int send_message(struct message *m, struct cringle_err *err)
{
        int r;

        m->writer.err = err;
        rec_end(&m->writer);
        r = rec_finish(&m->writer);
        if (r == 0)
                r = sock_send(APART_FD, m->text.data, m->text.len, NULL, 0, err);
        buf_done(&m->text);
        return r;
}

static int send_result(int result, const struct cringle_err *why)
{
        MESSAGE_BEGIN(m, APART_RESULT);
        apart_put_result(&m.writer, result, why);
        return send_message(&m, NULL);
}

/* --- services --- */

static void service_log(const struct cringle_host *host, int level, const char *text)
{
        MESSAGE_BEGIN(m, APART_LOG);
        rec_put_u32(&m.writer, (uint32_t) level);
        rec_put_str(&m.writer, text);
        send_message(&m, NULL);
}

static void service_count(const struct cringle_host *host, const char *name, int64_t delta)
{
        MESSAGE_BEGIN(m, APART_COUNT);
        rec_put_str(&m.writer, name);
        rec_put_u64(&m.writer, (uint64_t) delta);
        send_message(&m, NULL);
}

/* --- the event --- */

/* Send the question and wait for its answer, whose body is borrowed from @text. */
static int ask(struct message *m, struct buf *text, struct rec_cursor *ret, struct cringle_err *err)
{
        struct rec_cursor c;
        uint16_t tag;

        if (send_message(m, err) < 0)
                return -1;
        if (apart_receive(APART_FD, text, err) <= 0)
                _exit(EXIT_SUCCESS);            /* the agent is gone, or has given this call up */
        c = (struct rec_cursor) REC_CURSOR(text->data, text->len);
        if (!rec_next(&c, &tag, ret) || tag != APART_ANSWER)
                return err_set(err, CRINGLE_E_INTERNAL, "the agent's answer makes no sense");
        return 0;
}

static const char *ask_string(uint32_t what, const char *key)
{
        auto_buf text = BUF_INIT;
        struct rec_cursor c;
        const char *value;

        MESSAGE_BEGIN(m, APART_ASK);
        rec_put_u32(&m.writer, what);
        rec_put_str(&m.writer, key);
        if (!key || ask(&m, &text, &c, NULL) < 0)
                return NULL;
        value = apart_get(&c);
        if (!value || strv_add(&held.lent, value, NULL) < 0)
                return NULL;
        return held.lent[strv_count((const char *const *) held.lent) - 1];
}

static const char *event_annotation(const struct cringle_event *ev, const char *key)
{
        return ask_string(APART_ANNOTATION, key);
}

static const char *event_label(const struct cringle_event *ev, const char *key)
{
        return ask_string(APART_LABEL, key);
}

static const char *event_env(const struct cringle_event *ev, const char *name)
{
        return ask_string(APART_ENV, name);
}

static int ask_result(struct message *m, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        struct rec_cursor c;

        if (ask(m, &text, &c, err) < 0)
                return -1;
        return apart_get_result(&c, err);
}

/* Up to three strings. */
static int ask_strings(uint32_t what, const char *a, const char *b, const char *c, struct cringle_err *err)
{
        MESSAGE_BEGIN(m, APART_ASK);
        rec_put_u32(&m.writer, what);
        apart_put(&m.writer, a);
        apart_put(&m.writer, b);
        apart_put(&m.writer, c);
        return ask_result(&m, err);
}

static int event_set_env(const struct cringle_event *ev, const char *name, const char *value, struct cringle_err *err)
{
        return ask_strings(APART_SET_ENV, name, value, NULL, err);
}

static int event_add_mount(const struct cringle_event *ev, const char *source, const char *target, const char *options,
                           struct cringle_err *err)
{
        return ask_strings(APART_ADD_MOUNT, source, target, options, err);
}

static int event_drop_mount(const struct cringle_event *ev, const char *target, struct cringle_err *err)
{
        return ask_strings(APART_DROP_MOUNT, target, NULL, NULL, err);
}

static int event_add_device(const struct cringle_event *ev, const char *host_path, const char *container_path,
                            const char *access, struct cringle_err *err)
{
        return ask_strings(APART_ADD_DEVICE, host_path, container_path, access, err);
}

static int event_set_annotation(const struct cringle_event *ev, const char *key, const char *value,
                                struct cringle_err *err)
{
        return ask_strings(APART_SET_ANNOTATION, key, value, NULL, err);
}

static int event_add_cdi_device(const struct cringle_event *ev, const char *name, struct cringle_err *err)
{
        return ask_strings(APART_ADD_CDI_DEVICE, name, NULL, NULL, err);
}

static int event_set_args(const struct cringle_event *ev, const char *const *args, struct cringle_err *err)
{
        MESSAGE_BEGIN(m, APART_ASK);
        rec_put_u32(&m.writer, APART_SET_ARGS);
        apart_put(&m.writer, NULL);
        apart_put_list(&m.writer, args);
        return ask_result(&m, err);
}

static int event_set_rlimit(const struct cringle_event *ev, const char *type, uint64_t soft, uint64_t hard,
                            struct cringle_err *err)
{
        MESSAGE_BEGIN(m, APART_ASK);
        rec_put_u32(&m.writer, APART_SET_RLIMIT);
        apart_put(&m.writer, type);
        rec_put_u64(&m.writer, soft);
        rec_put_u64(&m.writer, hard);
        return ask_result(&m, err);
}

static int event_add_oci_hook(const struct cringle_event *ev, const char *stage, const char *path,
                              const char *const *args, const char *const *env, int timeout, struct cringle_err *err)
{
        MESSAGE_BEGIN(m, APART_ASK);
        rec_put_u32(&m.writer, APART_ADD_OCI_HOOK);
        apart_put(&m.writer, stage);
        apart_put(&m.writer, path);
        apart_put_list(&m.writer, args);
        apart_put_list(&m.writer, env);
        rec_put_u32(&m.writer, (uint32_t) timeout);
        return ask_result(&m, err);
}

/* --- what it is told --- */

static int run(struct rec_cursor *c)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct cringle_call call = { .size = sizeof call, .cancel_fd = -1 };
        struct cringle_event ev = {
                .size = sizeof ev,              .call = &call,                  .annotation = event_annotation,
                .label = event_label,           .env = event_env,               .set_env = event_set_env,
                .add_mount = event_add_mount,   .drop_mount = event_drop_mount, .add_device = event_add_device,
                .set_annotation = event_set_annotation,                         .set_args = event_set_args,
                .set_rlimit = event_set_rlimit, .add_oci_hook = event_add_oci_hook, .add_cdi_device = event_add_cdi_device,
        };
        auto_free const char **args = NULL;
        bool no_args;
        int r;

        ev.point = (int) rec_get_u32(c);
        ev.pod_id = apart_get(c);
        ev.pod_name = apart_get(c);
        ev.pod_space = apart_get(c);
        ev.pod_uid = apart_get(c);
        ev.container_id = apart_get(c);
        ev.container_name = apart_get(c);
        ev.image = apart_get(c);
        ev.handler = apart_get(c);
        ev.bundle = apart_get(c);
        args = apart_get_list(c, &no_args);
        ev.args = no_args ? NULL : args;
        ev.pid = (int32_t) rec_get_u32(c);
        ev.exit_code = (int32_t) rec_get_u32(c);
        call.deadline = (int64_t) rec_get_u64(c);
        call.request = apart_get(c);
        if (c->bad)
                return send_result(err_set(&why, CRINGLE_E_INTERNAL, "the agent's event makes no sense"), &why);
        r = held.ops.run(held.self, &ev, &why);
        held.lent = strv_free(held.lent);
        return send_result(r, &why);
}

static int create(struct rec_cursor *c)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_free struct cringle_pair *settings = NULL;
        int r = -1;

        held.state_dir = strdup(rec_get_str(c));
        held.run_dir = strdup(rec_get_str(c));
        settings = apart_get_settings(c);
        if (!held.state_dir || !held.run_dir || !settings || held.created)
                return send_result(err_set(&why, CRINGLE_E_INTERNAL, "create makes no sense here"), &why);
        held.services = (struct cringle_host) {
                .size = sizeof held.services,
                .version = CRINGLE_VERSION,
                .state_dir = held.state_dir,
                .run_dir = held.run_dir,
                .log = service_log,
                .count = service_count,
                .spawn = host_spawn,
        };
        if (held.factory.create && held.factory.create(&held.services, settings, &held.self, &why) < 0)
                return send_result(-1, &why);
        r = held.factory.start ? held.factory.start(held.self, &why) : 0;
        held.created = r == 0;
        return send_result(r, &why);
}

static int reload(struct rec_cursor *c)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_free struct cringle_pair *settings = apart_get_settings(c);

        if (!settings || !held.created || !held.factory.reload)
                return send_result(err_set(&why, CRINGLE_E_INTERNAL, "reload makes no sense here"), &why);
        return send_result(held.factory.reload(held.self, settings, &why), &why);
}

static int describe(void)
{
        uint32_t n = 0;

        MESSAGE_BEGIN(m, APART_DESCRIBE);
        rec_put_str(&m.writer, held.version);
        apart_put(&m.writer, held.factory.help);
        rec_put_u32(&m.writer, held.factory.reload != NULL);
        rec_put_u64(&m.writer, held.ops.points);
        for (const struct cringle_setting *s = held.factory.settings; s && s->name; s++)
                n++;
        rec_put_u32(&m.writer, n);
        for (const struct cringle_setting *s = held.factory.settings; s && s->name; s++) {
                rec_put_str(&m.writer, s->name);
                rec_put_u32(&m.writer, (uint32_t) s->type);
                apart_put(&m.writer, s->fallback);
                apart_put(&m.writer, s->help);
        }
        return send_message(&m, NULL);
}

/* Until the socket ends. */
static void serve(void)
{
        while (apart_receive(APART_FD, &held.incoming, NULL) == 1) {
                struct rec_cursor c = REC_CURSOR(held.incoming.data, held.incoming.len), body;
                uint16_t tag;
                int r = -1;

                if (!rec_next(&c, &tag, &body))
                        return;
                if (tag == APART_CREATE)
                        r = create(&body);
                else if (tag == APART_RELOAD)
                        r = reload(&body);
                else if (tag == APART_RUN && held.created)
                        r = run(&body);
                if (r < 0)
                        return;
        }
}

/* The agent is gone, and the plugin may hang: some time for it to end by itself. */
static void *watch(void *data)
{
        struct pollfd p = { .fd = APART_FD };

        while (poll(&p, 1, -1) <= 0 || !(p.revents & (POLLHUP | POLLERR)))
                ;
        poll(NULL, 0, LAST_MOMENT_MS);
        _exit(EXIT_FAILURE);
}

static int load(const char *file, const char *name, struct cringle_err *err)
{
        const struct kind *k = kind_of(CRINGLE_HOOK);
        const struct cringle_plugin *plugin;

        if (load_open(file, &plugin, err) < 0 || judge_find(plugin, k, name, &held.factory, err) < 0)
                return -1;
        held.version = plugin->version;
        judge_copy_ops(k, held.factory.ops, &held.ops);
        return 0;
}

int host_plugin_main(char *const argv[])
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct rlimit none = { 0 };
        pthread_t watcher;

        if (!argv[0] || !argv[1])
                return EXIT_FAILURE;
        setrlimit(RLIMIT_CORE, &none);
        file_poke("/proc/self/oom_score_adj", "1000", NULL);    /* where memory is short: it comes back */
        apart_widen(APART_FD);
        if (load(argv[0], argv[1], &err) < 0 || pthread_create(&watcher, NULL, watch, NULL) != 0) {
                send_result(-1, &err);
                return EXIT_FAILURE;
        }
        if (describe() < 0)
                return EXIT_FAILURE;
        serve();
        if (held.created && held.factory.quiesce)
                held.factory.quiesce(held.self);
        if (held.created && held.factory.destroy)
                held.factory.destroy(held.self);
        return EXIT_SUCCESS;
}
