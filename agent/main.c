/*
 * cringled: the agent, in the order in which it starts
 *
 * There is no clean shutdown that differs from kill -9: on SIGTERM clients are told
 * to go, and the process ends with everything on disk as it is at any moment.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/admin/service.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/notify.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/cri/service.h"
#include "agent/host/host.h"
#include "agent/image/settings.h"
#include "agent/image/store.h"
#include "agent/observe/observe.h"
#include "agent/pod/pods.h"
#include "agent/rpc/server.h"
#include "config/config.h"
#include "hooks/hooks.h"
#include "hooks/nri/nri.h"

/* After SIGTERM, for answers that are under way. */
#define SHUTDOWN_GRACE (5 * NSEC_PER_SEC)

/* Threads for pulls; each waits for one. */
#define PULLERS 32

/* Seconds for a container that an NRI plugin wants stopped. */
#define EVICTION_GRACE 30

/* Until a plugin that asked for an update is told that it takes long. */
#define UPDATE_PATIENCE (10 * NSEC_PER_SEC)

struct agent {
        const char *config_file;        /* NULL: the default one, if it is there */
        struct config *config;          /* in force; changed by reload() alone */
        pthread_mutex_t reloading;
        struct loop *loop;
        struct workers *workers, *pullers;
        struct host *host;
        struct hooks *hooks;
        struct nri *nri;
        struct nri_host nri_host;
        struct db *db;
        struct images *images;
        struct pods *pods;
        struct rpc_server *server;
        struct cri *cri;
        struct admin *admin;
        int lock_fd;                    /* on <root>/lock: one agent for one root */
        uv_signal_t term, hup, quit;
};

static void usage(FILE *to)
{
        fputs("usage: cringled [--config FILE] [--debug]\n"
              "       cringled --probe-plugin FILE [KIND NAME]\n"
              "       cringled --host-plugin FILE NAME\n"
              "       cringled --version\n",
              to);
}

/*
 * Read, check, and apply what can be applied to a running agent; anything wrong changes nothing: all is made
 * ready first, then plugins, the last that may refuse, change all or nothing.  From there on nothing can fail.
 */
static int reload_locked(struct agent *a, struct buf *live, struct buf *restart, struct cringle_err *err)
{
        auto_of(config) fresh = NULL;
        auto_of(nri_plan) nri = NULL;
        auto_of(hooks_plan) hooks = NULL;
        auto_of(settings) images = NULL;
        auto_of(policy) pods = NULL;

        if (config_load(a->config_file, NULL, &fresh, err) < 0 || config_diff(a->config, fresh, live, restart, err) < 0)
                return -1;
        if (nri_prepare(a->nri, fresh, &nri, err) < 0)
                return err_wrap(err, "NRI");
        if (hooks_prepare(fresh, &hooks, err) < 0 || settings_new(fresh, &images, err) < 0 ||
            pods_prepare(fresh, &pods, err) < 0 || host_reload(a->host, fresh, live, restart, err) < 0)
                return -1;

        hooks_take_over(a->hooks, steal(&hooks));
        images_take_over(a->images, steal(&images));
        pods_take_over(a->pods, steal(&pods));
        nri_take_over(a->nri, fresh, steal(&nri));
        if (log_level_of(fresh->log_level) >= 0)
                log_set_level(log_level_of(fresh->log_level));

        config_free(a->config);
        a->config = steal(&fresh);
        return 0;
}

static int reload(void *data, struct buf *live, struct buf *restart, struct cringle_err *err)
{
        struct agent *a = data;
        int r;

        pthread_mutex_lock(&a->reloading);
        r = reload_locked(a, live, restart, err);
        pthread_mutex_unlock(&a->reloading);
        return r;
}

static void reload_for_signal(void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf live = BUF_INIT, restart = BUF_INIT;

        if (reload(data, &live, &restart, &err) < 0) {
                log_error("reload: %s; nothing has changed", err.text);
                return;
        }
        log_info("reloaded; in force: %s", live.len ? live.data : "nothing new");
        if (restart.len)
                log_warning("these need a restart: %s", restart.data);
}

static void on_hup(uv_signal_t *s, int number)
{
        struct agent *a = s->data;

        workers_run(a->workers, reload_for_signal, a);
}

/* The end: what is on disk is complete at any moment, so there is nothing to wait for or to free. */
static void leave(void *data)
{
        log_info("ends; containers run on");
        _exit(EXIT_SUCCESS);
}

static void on_term(uv_signal_t *s, int number)
{
        struct agent *a = s->data;

        notify_say("STOPPING=1");
        rpc_server_shutdown(a->server, SHUTDOWN_GRACE, leave, a);
}

/* From the loop, so that one that is stuck is noticed. */
static void tell_alive(void *data)
{
        struct agent *a = data;

        notify_say("WATCHDOG=1");
        loop_after(a->loop, notify_watchdog() / 3, tell_alive, a);
}

static void tell_ready(void *data)
{
        struct agent *a = data;
        auto_free char *text = str_printf(NULL, "READY=1\nSTATUS=serves on %s", a->config->socket);

        notify_say(text ? text : "READY=1");
        if (notify_watchdog())
                tell_alive(a);
}

static int watch_signals(struct agent *a, struct cringle_err *err)
{
        uv_loop_t *uv = loop_uv(a->loop);

        a->term.data = a->hup.data = a->quit.data = a;
        if (uv_signal_init(uv, &a->term) < 0 || uv_signal_start(&a->term, on_term, SIGTERM) < 0 ||
            uv_signal_init(uv, &a->quit) < 0 || uv_signal_start(&a->quit, on_term, SIGINT) < 0 ||
            uv_signal_init(uv, &a->hup) < 0 || uv_signal_start(&a->hup, on_hup, SIGHUP) < 0)
                return err_set(err, CRINGLE_E_INTERNAL, "watch signals");
        signal(SIGPIPE, SIG_IGN);
        return 0;
}

/* One that was there before may have any mode; names in it are nobody else's business either. */
static int make_private(const char *path, struct cringle_err *err)
{
        struct stat st;

        if (file_make_dirs(path, 0700, err) < 0)
                return -1;
        if (stat(path, &st) < 0 || (st.st_mode & 077 && chmod(path, st.st_mode & 0700) < 0))
                return err_sys(err, "keep others out of %s", path);
        return 0;
}

/* Two agents on one root would undo each other's work. */
static int lock_root(struct agent *a, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/lock", a->config->root);

        if (!path || make_private(a->config->root, err) < 0 || make_private(a->config->state, err) < 0)
                return -1;
        a->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (a->lock_fd < 0)
                return err_sys(err, "open %s", path);
        if (flock(a->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? err_set(err, CRINGLE_E_PRECONDITION, "another agent runs on %s", a->config->root)
                                            : err_sys(err, "lock %s", path);
        return 0;
}

static int open_images(struct agent *a, struct cringle_err *err)
{
        struct host_image backend = host_image(a->host);
        struct images_options options = {
                .db = a->db,
                .ops = backend.ops,
                .self = backend.self,
                .config = a->config,
        };

        return images_new(&options, &a->images, err);
}

static int open_pods(struct agent *a, struct cringle_err *err)
{
        struct pods_options options = {
                .config = a->config,
                .db = a->db,
                .host = a->host,
                .hooks = a->hooks,
                .images = a->images,
                .loop = a->loop,
                .workers = a->workers,
        };

        return pods_new(&options, &a->pods, err);
}

/* An update that a plugin waits for; whoever is last frees it. */
struct update {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool done, left;
        int result;
        struct cringle_err err;
};

static void update_free(struct update *u)
{
        pthread_cond_destroy(&u->changed);
        pthread_mutex_destroy(&u->lock);
        free(u);
}

static void update_done(void *data, const char *id, const struct cringle_err *err)
{
        struct update *u = data;
        bool left;

        pthread_mutex_lock(&u->lock);
        u->done = true;
        u->result = err ? -1 : 0;
        if (err)
                u->err = *err;
        left = u->left;
        pthread_cond_signal(&u->changed);
        pthread_mutex_unlock(&u->lock);
        if (err && left)
                log_warning("update of container %.12s for NRI: %s", id ? id : "", err->text);
        if (left)
                update_free(u);
}

static int update_for_nri(void *data, const char *id, const struct hooks_limits *limits, bool wait,
                          struct cringle_err *err)
{
        struct agent *a = data;
        struct update *u = calloc(1, sizeof *u);
        int64_t end = clock_monotonic() + UPDATE_PATIENCE;
        struct timespec until = { end / NSEC_PER_SEC, end % NSEC_PER_SEC };
        int late = 0, r = 0;
        bool done;

        if (!u)
                return err_set(err, CRINGLE_E_EXHAUSTED, "out of memory");
        pthread_mutex_init(&u->lock, NULL);
        pthread_cond_init(&u->changed, NULL);
        u->left = !wait;
        pods_update_container(a->pods, id, limits, false, update_done, u);
        if (!wait)
                return 0;

        pthread_mutex_lock(&u->lock);
        while (!u->done && late == 0)
                late = pthread_cond_clockwait(&u->changed, &u->lock, CLOCK_MONOTONIC, &until);
        done = u->done;
        u->left = !done;
        if (!done)
                r = err_set(err, CRINGLE_E_DEADLINE, "the container is busy; the update is still to come");
        else if (u->result < 0)
                r = err_set(err, u->err.code, "%s", u->err.text);
        pthread_mutex_unlock(&u->lock);
        if (done)
                update_free(u);
        return r;
}

static void evicted(void *data, const char *id, const struct cringle_err *err)
{
        if (err)
                log_warning("container %.12s could not be evicted: %s", id, err->text);
}

static void evict_for_nri(void *data, const char *id, const char *reason)
{
        struct agent *a = data;

        pods_stop_container(a->pods, id, EVICTION_GRACE, evicted, NULL);
}

/* Plugins come when all there is has been restored. */
static int start_nri(struct agent *a, struct cringle_err *err)
{
        a->nri_host = (struct nri_host) { a, update_for_nri, evict_for_nri };
        return nri_start(a->nri, &a->nri_host, err);
}

static int serve(struct agent *a, struct cringle_err *err)
{
        const struct config *c = a->config;
        struct rpc_limits limits = {
                .max_message = (size_t) c->server.max_message,
                .max_streams = (uint32_t) c->server.max_streams,
        };
        struct cri_options cri = { a->pods, a->images, a->host, a->hooks, a->workers, a->pullers, a->loop };
        struct admin_options admin = { a->pods, a->images, a->host, a->hooks, a->workers, a->loop, reload, a };
        struct observe_options observe = { .config = c, .loop = a->loop, .workers = a->workers,
                                           .sources = { a->pods, a->host, a->hooks, NULL } };
        int fd;

        if (rpc_server_new(a->loop, &limits, &a->server, err) < 0 || cri_new(&cri, a->server, &a->cri, err) < 0 ||
            admin_new(&admin, a->server, &a->admin, err) < 0)
                return -1;
        observe.sources.server = a->server;
        if (observe_start(&observe, err) < 0)
                return -1;
        fd = sock_listen(c->socket, SOCK_STREAM, 0660, err);
        if (fd < 0)
                return -1;
        return rpc_server_listen(a->server, fd, err);
}

static int start(struct agent *a, struct cringle_err *err)
{
        if (config_load(a->config_file, NULL, &a->config, err) < 0)
                return -1;
        if (log_level_of(a->config->log_level) > 0)
                log_set_level(log_level_of(a->config->log_level));
        if (lock_root(a, err) < 0)
                return -1;
        if (loop_new(&a->loop, err) < 0 || watch_signals(a, err) < 0 ||
            workers_new((size_t) a->config->server.workers, &a->workers, err) < 0 ||
            workers_new(PULLERS, &a->pullers, err) < 0)
                return -1;
        if (host_new(a->config, NULL, &a->host, err) < 0)
                return -1;
        if (hooks_new(a->config, a->host, &a->hooks, err) < 0)
                return err_wrap(err, "hooks");
        if (nri_new(a->config, a->hooks, &a->nri, err) < 0)
                return err_wrap(err, "NRI");
        if (store_open(a->config->root, &a->db, err) < 0)
                return err_wrap(err, "store");
        if (open_images(a, err) < 0)
                return err_wrap(err, "images");
        if (open_pods(a, err) < 0)
                return err_wrap(err, "pods");
        if (start_nri(a, err) < 0)
                return -1;
        return serve(a, err);
}

static const struct option long_options[] = {
        { "config", required_argument, NULL, 'c' },
        { "debug", no_argument, NULL, 'd' },
        { "probe-plugin", no_argument, NULL, 'p' },
        { "host-plugin", no_argument, NULL, 'P' },
        { "version", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { 0 }
};

int main(int argc, char **argv)
{
        struct agent agent = { .reloading = PTHREAD_MUTEX_INITIALIZER, .lock_fd = -1 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t began = clock_monotonic();
        bool debug = false;
        int c;

        while ((c = getopt_long(argc, argv, "+c:dvh", long_options, NULL)) != -1)
                switch (c) {
                case 'c':
                        agent.config_file = optarg;
                        break;
                case 'd':
                        debug = true;
                        break;
                case 'p':
                        return host_probe_main(argv + optind);
                case 'P':
                        return host_plugin_main(argv + optind);
                case 'v':
                        puts("cringled " CRINGLE_VERSION);
                        return EXIT_SUCCESS;
                case 'h':
                        usage(stdout);
                        return EXIT_SUCCESS;
                default:
                        usage(stderr);
                        return EXIT_FAILURE;
                }
        if (optind < argc) {
                usage(stderr);
                return EXIT_FAILURE;
        }

        umask(0022);
        notify_take();
        mallopt(M_ARENA_MAX, 2);        /* threads mostly wait; an arena for each keeps what one burst took */
        /* Left alone, these grow with the largest answer, and so much stays unused.  A list of a thousand containers is less. */
        mallopt(M_MMAP_THRESHOLD, 1 << 20);
        mallopt(M_TRIM_THRESHOLD, 2 << 20);
        if (start(&agent, &err) < 0) {
                log_error("%s", err.text);
                return EXIT_FAILURE;
        }
        if (debug)
                log_set_level(LOG_DEBUG);
        log_info("cringled %s serves on %s after %.1f ms", CRINGLE_VERSION, agent.config->socket,
                 (double) (clock_monotonic() - began) / NSEC_PER_MSEC);
        loop_post(agent.loop, tell_ready, &agent);
        loop_run(agent.loop);
        return EXIT_SUCCESS;
}
