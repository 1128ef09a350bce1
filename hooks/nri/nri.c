/*
 * The runtime's side of NRI: its socket, the plugins it launches, its place in the pipeline; see nri.h.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "hooks/nri/private.h"

/* Plugins that connect at once and have not settled. */
#define COMERS_MAX 32

/* A launched plugin that ends sooner waits twice as long as the last time, so often at most. */
#define QUICK_END (60 * NSEC_PER_SEC)
#define MAX_DOUBLINGS 5

/* The number that a launched plugin finds its socket at. */
#define PLUGIN_FD 3

/* ---- launching -------------------------------------------------------------------------- */

static void launched_free(struct launched *l)
{
        free(l->file);
        free(l->index);
        free(l->name);
        free(l);
}

/* A program that root alone can write, NN-NAME. */
static int check_program(const char *file, const char *base, struct cringle_err *err)
{
        struct stat st;

        if (strlen(base) < 4 || strspn(base, "0123456789") != 2 || base[2] != '-' || !str_is_id(base + 3, 128))
                return err_set(err, CRINGLE_E_INVALID, "want a name of two digits, a dash and a name");
        if (stat(file, &st) < 0)
                return err_sys(err, "stat");
        if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
                return err_set(err, CRINGLE_E_INVALID, "no program");
        if (st.st_uid != 0 || (st.st_mode & 022))
                return err_set(err, CRINGLE_E_DENIED, "want a file that root alone can write");
        return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *d)
{
        return d->d_name[0] != '.';
}

/* What @dir has to be launched, in the order of names. */
static struct launched *find_programs(const char *dir)
{
        struct launched *first = NULL, **end = &first;
        struct dirent **list = NULL;
        int count = scandir(dir, &list, no_dots, by_name);

        for (int i = 0; i < count; i++) {
                auto_free char *file = str_printf(NULL, "%s/%s", dir, list[i]->d_name);
                struct cringle_err err = CRINGLE_ERR_INIT;

                if (!file)
                        abort();
                if (check_program(file, list[i]->d_name, &err) < 0) {
                        log_warning("NRI plugin %s is not launched: %s", file, err.text);
                } else {
                        struct launched *l = nri_alloc(sizeof *l);

                        l->file = steal(&file);
                        l->index = strndup(list[i]->d_name, 2);
                        l->name = nri_text(list[i]->d_name + 3);
                        l->launch_at = 1;
                        if (!l->index)
                                abort();
                        *end = l;
                        end = &l->next;
                }
                free(list[i]);
        }
        free(list);
        return first;
}

static int spawn(const struct launched *l, int fd, struct child *ret, struct cringle_err *err)
{
        auto_free char *name = str_printf(err, "NRI_PLUGIN_NAME=%s", l->name);
        auto_free char *index = str_printf(err, "NRI_PLUGIN_IDX=%s", l->index);
        auto_free char *number = str_printf(err, "NRI_PLUGIN_SOCKET=%d", PLUGIN_FD);
        const char *argv[] = { l->file, NULL }, *envp[] = { name, index, number, NULL };
        const struct child_fd fds[] = { { fd, PLUGIN_FD }, { STDERR_FILENO, STDERR_FILENO } };
        const struct child_spec spec = {
                .path = l->file,
                .argv = argv,
                .envp = envp,
                .fds = fds,
                .n_fds = 2,
        };

        return name && index && number ? child_spawn(&spec, ret, err) : -1;
}

static void launch(struct nri *n, struct launched *l)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct child child = CHILD_INIT;
        int fds[2];

        pthread_mutex_lock(&n->lock);
        l->launch_at = 0;
        l->launched_at = clock_monotonic();
        pthread_mutex_unlock(&n->lock);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
                err_sys(&err, "socketpair");
        } else {
                int r = spawn(l, fds[1], &child, &err);

                close(fds[1]);          /* only the plugin has it now, so that its end is noticed */
                if (r == 0)
                        plugin_bring_in(n, fds[0], &child, l);
                else
                        close(fds[0]);
        }
        if (!err.code)
                return;
        log_warning("NRI plugin %s is not launched: %s", l->file, err.text);
        pthread_mutex_lock(&n->lock);
        launched_ended(n, l);
        pthread_mutex_unlock(&n->lock);
}

void launched_ended(struct nri *n, struct launched *l)
{
        int64_t now = clock_monotonic();

        l->quick = now - l->launched_at < QUICK_END ? l->quick + 1 : 1;
        l->launch_at = 0;
        if (n->s.enabled && n->restart_delay && !l->removed)
                l->launch_at = now + (n->restart_delay << (l->quick <= MAX_DOUBLINGS ? l->quick - 1 : MAX_DOUBLINGS));
}

static bool is_running(const struct nri *n, const struct launched *l)
{
        for (const struct plugin *p = n->plugins; p; p = p->next)
                if (p->launched == l)
                        return true;
        return false;
}

/* Those the directory has no more, once their plugins have gone.  The lock is held. */
static void drop_removed(struct nri *n)
{
        for (struct launched **at = &n->programs; *at;) {
                struct launched *l = *at;

                if (!l->removed || is_running(n, l)) {
                        at = &l->next;
                        continue;
                }
                *at = l->next;
                launched_free(l);
        }
}

static struct launched *find_launched(struct launched *list, const char *file)
{
        while (list && (list->removed || strcmp(list->file, file) != 0))
                list = list->next;
        return list;
}

/* Bring the programs in line with the directory: what is new, or has ended for good, is due; what is gone is ended. */
static void rescan(struct nri *n)
{
        struct launched *fresh, **end = &n->programs;
        auto_free char *dir = NULL;

        pthread_mutex_lock(&n->lock);
        n->rescan = false;
        dir = n->s.enabled ? nri_text(n->s.plugin_dir) : NULL;
        pthread_mutex_unlock(&n->lock);
        fresh = dir ? find_programs(dir) : NULL;

        pthread_mutex_lock(&n->lock);
        for (; *end; end = &(*end)->next) {
                struct launched *l = *end;

                if (l->removed)
                        continue;
                l->removed = !find_launched(fresh, l->file);
                if (!l->removed && !l->launch_at && !is_running(n, l))
                        l->launch_at = 1;
                for (struct plugin *p = n->plugins; p && l->removed; p = p->next)
                        if (p->launched == l)
                                ttrpc_close(p->rpc);
                if (l->removed)
                        l->launch_at = 0;
        }
        for (struct launched *l = fresh, *next; l; l = next) {
                next = l->next;
                l->next = NULL;
                if (find_launched(n->programs, l->file)) {
                        launched_free(l);
                        continue;
                }
                *end = l;
                end = &l->next;
        }
        drop_removed(n);
        pthread_mutex_unlock(&n->lock);
}

/* ---- the keeper: takes out plugins that have ended, launches those that are due ------------------ */

/* The lock is held. */
static bool any_ended(const struct nri *n)
{
        for (const struct plugin *p = n->plugins; p; p = p->next)
                if (p->ended)
                        return true;
        return false;
}

/* The next that is to be launched, NULL: none.  The lock is held. */
static struct launched *next_due(const struct nri *n)
{
        struct launched *first = NULL;

        for (struct launched *l = n->programs; l; l = l->next)
                if (l->launch_at && (!first || l->launch_at < first->launch_at))
                        first = l;
        return first;
}

static void *keep(void *data)
{
        struct nri *n = data;

        pthread_mutex_lock(&n->lock);
        while (!n->stopping) {
                struct launched *due = next_due(n);
                bool ended = any_ended(n);

                if (n->rescan) {
                        pthread_mutex_unlock(&n->lock);
                        rescan(n);
                        pthread_mutex_lock(&n->lock);
                        continue;
                }
                if (!ended && due && due->launch_at > clock_monotonic()) {
                        struct timespec until = { due->launch_at / NSEC_PER_SEC, due->launch_at % NSEC_PER_SEC };

                        pthread_cond_clockwait(&n->changed, &n->lock, CLOCK_MONOTONIC, &until);
                        continue;
                }
                if (!ended && !due) {
                        pthread_cond_wait(&n->changed, &n->lock);
                        continue;
                }
                pthread_mutex_unlock(&n->lock);
                if (ended)
                        plugins_reap(n);
                else
                        launch(n, due);
                pthread_mutex_lock(&n->lock);
                drop_removed(n);
        }
        pthread_mutex_unlock(&n->lock);
        return NULL;
}

/* ---- the socket ------------------------------------------------------------------------------------ */

struct comer {
        struct nri *nri;
        int fd;
};

static void leave_comers(struct nri *n)
{
        pthread_mutex_lock(&n->lock);
        n->comers--;
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
}

static void *bring_in(void *data)
{
        struct comer *c = data;
        struct child none = CHILD_INIT;

        plugin_bring_in(c->nri, c->fd, &none, NULL);
        leave_comers(c->nri);
        free(c);
        return NULL;
}

/* Each has a thread until it has settled: one that is slow keeps nobody else out.  @fd is taken. */
static void receive(struct nri *n, int fd)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct comer *c;
        pthread_t thread;
        bool full;
        pid_t pid;
        uid_t uid;

        if (sock_peer(fd, &uid, &pid, &err) < 0 || uid != 0) {
                log_warning("NRI: a connection that is not root's is refused");
                close(fd);
                return;
        }
        pthread_mutex_lock(&n->lock);
        full = n->comers >= COMERS_MAX;
        n->comers += !full;
        pthread_mutex_unlock(&n->lock);
        if (full) {
                log_warning("NRI: more than %d plugins register at once; one is refused", COMERS_MAX);
                close(fd);
                return;
        }
        c = nri_alloc(sizeof *c);
        *c = (struct comer) { n, fd };
        if (pthread_create(&thread, NULL, bring_in, c) != 0) {
                log_warning("NRI: no thread for a plugin");
                close(fd);
                free(c);
                leave_comers(n);
                return;
        }
        pthread_detach(thread);
}

struct listener {
        struct nri *nri;
        char *path;
        int fd, wake_fd;                /* wake_fd ends the thread */
        bool runs;
        pthread_t thread;
};

static void *accept_on(void *data)
{
        struct listener *l = data;
        struct pollfd fds[] = { { .fd = l->fd, .events = POLLIN }, { .fd = l->wake_fd, .events = POLLIN } };

        for (;;) {
                int fd;

                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[1].revents)
                        return NULL;
                fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0)
                        receive(l->nri, fd);
                else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
                        poll(NULL, 0, 100);
        }
}

static struct listener *listener_free(struct listener *l)
{
        if (!l)
                return NULL;
        if (l->runs) {
                eventfd_write(l->wake_fd, 1);
                pthread_join(l->thread, NULL);
        }
        if (l->fd >= 0)
                unlink(l->path);
        fd_close(l->fd);
        fd_close(l->wake_fd);
        free(l->path);
        free(l);
        return NULL;
}

AUTO_DEFINE(listener, listener_free)

/* A socket that can be connected to; nobody is accepted before listener_run(). */
static int listener_new(struct nri *n, const char *path, struct listener **ret, struct cringle_err *err)
{
        auto_of(listener) l = calloc(1, sizeof *l);
        auto_free char *dir = strdup(path);
        int other;

        if (!l || !dir)
                return err_oom(err);
        l->nri = n;
        l->fd = l->wake_fd = -1;
        l->path = strdup(path);
        if (!l->path)
                return err_oom(err);
        *strrchr(dir, '/') = '\0';
        if (*dir && file_make_dirs(dir, 0700, err) < 0)
                return -1;
        other = sock_connect(path, SOCK_STREAM, NULL);
        if (other >= 0) {
                close(other);
                return err_set(err, CRINGLE_E_PRECONDITION, "%s is in use by another runtime", path);
        }
        l->wake_fd = eventfd(0, EFD_CLOEXEC);
        if (l->wake_fd < 0)
                return err_sys(err, "eventfd");
        l->fd = sock_listen(path, SOCK_STREAM, 0600, err);
        if (l->fd < 0)
                return -1;
        *ret = steal(&l);
        return 0;
}

static int listener_run(struct listener *l, struct cringle_err *err)
{
        int r = pthread_create(&l->thread, NULL, accept_on, l);

        if (r != 0)
                return err_sysno(err, r, "make a thread");
        l->runs = true;
        return 0;
}

int nri_start(struct nri *n, const struct nri_host *host, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        n->host = host;
        if (n->s.enabled)
                n->programs = find_programs(n->s.plugin_dir);
        for (struct launched *l = n->programs; l; l = l->next)
                launch(n, l);
        if (pthread_create(&n->keeper, NULL, keep, n) != 0)
                return err_set(err, CRINGLE_E_EXHAUSTED, "NRI: no thread");
        n->keeping = true;
        if (n->s.enabled && (listener_new(n, n->s.socket, &n->listener, &why) < 0 || listener_run(n->listener, &why) < 0)) {
                log_warning("NRI: %s; plugins cannot connect", why.text);
                n->listener = listener_free(n->listener);
        }
        return 0;
}

/* ---- telling what there is ---------------------------------------------------------------------------- */

static void describe_events(const struct plugin *p, struct buf *ret)
{
        for (int e = 1; e < NRI__EVENT__LAST; e++)
                if (plugin_wants(p, (Nri__Event) e))
                        buf_printf(ret, NULL, "%s%s", ret->len ? "," : "", event_name((Nri__Event) e));
}

static bool is_listed(const struct nri *n, const char *name)
{
        for (const struct plugin *p = n->plugins; p; p = p->next)
                if (strcmp(p->label, name) == 0 || strcmp(p->name, name) == 0)
                        return true;
        return false;
}

static void list(void *data, void (*fn)(void *data, const struct hooks_info *info), void *fn_data)
{
        struct nri *n = data;
        const char *name;
        void *policy;

        pthread_mutex_lock(&n->lock);
        for (const struct plugin *p = n->plugins; p; p = p->next) {
                auto_buf at = BUF_INIT;
                struct hooks_info info = { .name = p->label, .source = "nri", .conditions = "",
                                           .origin = p->launched ? p->launched->file : n->s.socket,
                                           .policy = p->policy == POLICY_IGNORE ? "ignore" : "fail",
                                           .isolation = "process", .timeout = n->request_timeout };

                describe_events(p, &at);
                info.stages = at.data ? at.data : "";
                fn(fn_data, &info);
        }
        for (size_t at = 0; n->s.enabled && map_next(&n->s.policies, &at, &name, &policy);) {
                struct hooks_info info = { .name = name, .source = "nri", .origin = name, .stages = "", .policy = "fail",
                                           .conditions = "", .error = "this NRI plugin is not there" };

                if ((enum policy) (intptr_t) policy == POLICY_FAIL && !is_listed(n, name))
                        fn(fn_data, &info);
        }
        pthread_mutex_unlock(&n->lock);
}

/* ---- settings ------------------------------------------------------------------------------------------------- */

static void settings_done(struct settings *s)
{
        free(s->socket);
        free(s->plugin_dir);
        free(s->config_dir);
        map_done(&s->policies, NULL);
}

/* @ret is to be done also on failure. */
static int read_settings(const struct config *c, struct settings *ret, struct cringle_err *err)
{
        ret->enabled = c->nri.enabled;
        ret->socket = strdup(c->nri.socket);
        ret->plugin_dir = strdup(c->nri.plugin_dir);
        ret->config_dir = strdup(c->nri.config_dir);
        if (!ret->socket || !ret->plugin_dir || !ret->config_dir)
                return err_oom(err);
        for (size_t i = 0; i < c->nri.n_plugins; i++) {
                enum policy policy = c->nri.plugins[i].fail ? POLICY_FAIL : POLICY_IGNORE;

                if (map_put(&ret->policies, c->nri.plugins[i].name, (void *) (intptr_t) policy, err) < 0)
                        return -1;
        }
        return 0;
}

static void take_numbers(struct nri *n, const struct config *c)
{
        n->registration_timeout = c->nri.registration_timeout;
        n->request_timeout = c->nri.request_timeout;
        n->sync_timeout = c->nri.sync_timeout;
        n->restart_delay = c->nri.restart_delay;
        n->max_misses = (unsigned) c->nri.misses;
}

struct nri_plan {
        struct settings s;
        struct listener *listener;      /* a new one; NULL: the one there is, or none */
};

struct nri_plan *nri_plan_free(struct nri_plan *p)
{
        if (!p)
                return NULL;
        settings_done(&p->s);
        listener_free(p->listener);
        free(p);
        return NULL;
}

/* A socket that was wanted before and could not be had is tried again, and may fail again. */
static int plan_listener(struct nri *n, struct nri_plan *p, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        bool same = n->s.enabled && strcmp(n->s.socket, p->s.socket) == 0;

        if (!p->s.enabled || (same && n->listener))
                return 0;
        if (listener_new(n, p->s.socket, &p->listener, &why) == 0)
                return 0;
        if (!same) {
                *err = why;
                return -1;
        }
        log_warning("NRI: %s; plugins cannot connect", why.text);
        return 0;
}

int nri_prepare(struct nri *n, const struct config *config, struct nri_plan **ret, struct cringle_err *err)
{
        auto_of(nri_plan) p = calloc(1, sizeof *p);

        if (!p)
                return err_oom(err);
        if (read_settings(config, &p->s, err) < 0 || plan_listener(n, p, err) < 0)
                return -1;
        *ret = steal(&p);
        return 0;
}

void nri_take_over(struct nri *n, const struct config *config, struct nri_plan *plan)
{
        bool moves = !plan->s.enabled || strcmp(n->s.socket, plan->s.socket) != 0;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct plugin *gone = NULL, *next;
        struct settings old;

        if (moves)
                n->listener = listener_free(n->listener);
        pthread_rwlock_wrlock(&n->gate);
        pthread_mutex_lock(&n->lock);
        old = n->s;
        n->s = plan->s;
        plan->s = old;
        take_numbers(n, config);
        if (!n->s.enabled)
                gone = steal(&n->plugins);
        for (struct plugin *p = n->plugins; p; p = p->next)
                p->policy = policy_of(n, p);
        n->rescan = true;
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
        pthread_rwlock_unlock(&n->gate);

        if (plan->s.enabled && !n->s.enabled)
                log_info("NRI is switched off");
        for (; gone; gone = next) {
                next = gone->next;
                plugin_free(gone);
        }
        if (plan->listener) {
                n->listener = steal(&plan->listener);
                if (listener_run(n->listener, &err) < 0) {
                        log_warning("NRI: %s; plugins cannot connect", err.text);
                        n->listener = listener_free(n->listener);
                }
        }
        nri_plan_free(plan);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

int nri_new(const struct config *config, struct hooks *hooks, struct nri **ret, struct cringle_err *err)
{
        auto_of(nri) n = calloc(1, sizeof *n);
        pthread_rwlockattr_t attr;

        if (!n)
                return err_oom(err);
        pthread_rwlockattr_init(&attr);
        /* A plugin that comes is not kept out by the pods of a busy node. */
        pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&n->gate, &attr);
        pthread_rwlockattr_destroy(&attr);
        pthread_mutex_init(&n->lock, NULL);
        pthread_cond_init(&n->changed, NULL);
        if (read_settings(config, &n->s, err) < 0)
                return -1;
        take_numbers(n, config);
        n->next = (struct hooks_next) { .data = n, .run = nri_run, .adjust = nri_adjust, .update = nri_update,
                                        .update_pod = nri_update_pod, .updated = nri_updated, .adopt = nri_adopt,
                                        .forget = nri_forget, .list = list };
        n->hooks = hooks;
        hooks_set_next(hooks, &n->next);
        *ret = steal(&n);
        return 0;
}

struct nri *nri_free(struct nri *n)
{
        struct launched *next;

        if (!n)
                return NULL;

        pthread_mutex_lock(&n->lock);
        n->stopping = true;
        pthread_cond_broadcast(&n->changed);
        pthread_mutex_unlock(&n->lock);
        listener_free(n->listener);
        if (n->keeping)
                pthread_join(n->keeper, NULL);
        pthread_mutex_lock(&n->lock);
        while (n->comers)
                pthread_cond_wait(&n->changed, &n->lock);
        pthread_mutex_unlock(&n->lock);
        plugins_reap(n);

        for (struct launched *l = n->programs; l; l = next) {
                next = l->next;
                launched_free(l);
        }
        map_done(&n->pods, known_free);
        map_done(&n->containers, known_free);
        map_done(&n->unanswered, free);
        pthread_cond_destroy(&n->changed);
        pthread_mutex_destroy(&n->lock);
        pthread_rwlock_destroy(&n->gate);
        settings_done(&n->s);
        free(n);
        return NULL;
}
