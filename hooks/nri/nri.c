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

/* What is to be launched, in the order of names. */
static void find_programs(struct nri *n)
{
        struct launched **end = &n->programs;
        struct dirent **list = NULL;
        int count = scandir(n->plugin_dir, &list, no_dots, by_name);

        for (int i = 0; i < count; i++) {
                auto_free char *file = str_printf(NULL, "%s/%s", n->plugin_dir, list[i]->d_name);
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
        pthread_mutex_unlock(&n->lock);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
                log_warning("NRI plugin %s: socketpair: %s", l->file, strerror(errno));
                return;
        }
        if (spawn(l, fds[1], &child, &err) < 0) {
                log_warning("NRI plugin %s is not launched: %s", l->file, err.text);
                close(fds[0]);
        } else {
                plugin_bring_in(n, fds[0], &child, l);
        }
        close(fds[1]);
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

static void *accept_on(void *data)
{
        struct nri *n = data;
        struct pollfd fds[] = { { .fd = n->listen_fd, .events = POLLIN }, { .fd = n->wake_fd, .events = POLLIN } };

        for (;;) {
                int fd;

                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[1].revents)
                        return NULL;
                fd = accept4(n->listen_fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0)
                        receive(n, fd);
                else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
                        poll(NULL, 0, 100);
        }
}

static int listen_on(struct nri *n, struct cringle_err *err)
{
        auto_free char *dir = strdup(n->socket);
        int other;

        if (!dir)
                return err_oom(err);
        *strrchr(dir, '/') = '\0';
        if (*dir && file_make_dirs(dir, 0700, err) < 0)
                return -1;
        other = sock_connect(n->socket, SOCK_STREAM, NULL);
        if (other >= 0) {
                close(other);
                return err_set(err, CRINGLE_E_PRECONDITION, "%s is in use by another runtime", n->socket);
        }
        n->listen_fd = sock_listen(n->socket, SOCK_STREAM, 0600, err);
        if (n->listen_fd < 0)
                return -1;
        n->wake_fd = eventfd(0, EFD_CLOEXEC);
        if (n->wake_fd < 0)
                return err_sys(err, "eventfd");
        if (pthread_create(&n->accepter, NULL, accept_on, n) != 0)
                return err_set(err, CRINGLE_E_EXHAUSTED, "no thread");
        n->accepting = true;
        return 0;
}

int nri_start(struct nri *n, const struct nri_host *host, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        n->host = host;
        find_programs(n);
        for (struct launched *l = n->programs; l; l = l->next)
                launch(n, l);
        if (pthread_create(&n->keeper, NULL, keep, n) != 0)
                return err_set(err, CRINGLE_E_EXHAUSTED, "NRI: no thread");
        n->keeping = true;
        if (listen_on(n, &why) < 0)
                log_warning("NRI: %s; plugins cannot connect", why.text);
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
                                           .origin = p->launched ? p->launched->file : n->socket,
                                           .policy = p->policy == POLICY_IGNORE ? "ignore" : "fail",
                                           .isolation = "process", .timeout = n->request_timeout };

                describe_events(p, &at);
                info.stages = at.data ? at.data : "";
                fn(fn_data, &info);
        }
        for (size_t at = 0; map_next(&n->policies, &at, &name, &policy);) {
                struct hooks_info info = { .name = name, .source = "nri", .origin = name, .stages = "", .policy = "fail",
                                           .conditions = "", .error = "this NRI plugin is not there" };

                if ((enum policy) (intptr_t) policy == POLICY_FAIL && !is_listed(n, name))
                        fn(fn_data, &info);
        }
        pthread_mutex_unlock(&n->lock);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int take_config(struct nri *n, const struct config *c, struct cringle_err *err)
{
        n->socket = strdup(c->nri.socket);
        n->plugin_dir = strdup(c->nri.plugin_dir);
        n->config_dir = strdup(c->nri.config_dir);
        if (!n->socket || !n->plugin_dir || !n->config_dir)
                return err_oom(err);
        n->registration_timeout = c->nri.registration_timeout;
        n->request_timeout = c->nri.request_timeout;
        n->sync_timeout = c->nri.sync_timeout;
        n->restart_delay = c->nri.restart_delay;
        n->max_misses = (unsigned) c->nri.misses;
        for (size_t i = 0; i < c->nri.n_plugins; i++) {
                enum policy policy = c->nri.plugins[i].fail ? POLICY_FAIL : POLICY_IGNORE;

                if (map_put(&n->policies, c->nri.plugins[i].name, (void *) (intptr_t) policy, err) < 0)
                        return -1;
        }
        return 0;
}

int nri_new(const struct config *config, struct hooks *hooks, struct nri **ret, struct cringle_err *err)
{
        auto_of(nri) n = calloc(1, sizeof *n);
        pthread_rwlockattr_t attr;

        if (!n)
                return err_oom(err);
        n->listen_fd = n->wake_fd = -1;
        pthread_rwlockattr_init(&attr);
        /* A plugin that comes is not kept out by the pods of a busy node. */
        pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&n->gate, &attr);
        pthread_rwlockattr_destroy(&attr);
        pthread_mutex_init(&n->lock, NULL);
        pthread_cond_init(&n->changed, NULL);
        if (take_config(n, config, err) < 0)
                return -1;
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
        if (n->accepting) {
                eventfd_write(n->wake_fd, 1);
                pthread_join(n->accepter, NULL);
                unlink(n->socket);
        }
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
        fd_close(n->listen_fd);
        fd_close(n->wake_fd);
        map_done(&n->pods, known_free);
        map_done(&n->containers, known_free);
        map_done(&n->policies, NULL);
        pthread_cond_destroy(&n->changed);
        pthread_mutex_destroy(&n->lock);
        pthread_rwlock_destroy(&n->gate);
        free(n->socket);
        free(n->plugin_dir);
        free(n->config_dir);
        free(n);
        return NULL;
}
