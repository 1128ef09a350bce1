/*
 * Pods and their monitors: start, find again, end
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/wire/plan.h"
#include "plugins/executor-native/executor.h"

static void known_free(void *data)
{
        struct known *k = data;

        if (!k)
                return;
        buf_done(&k->exec_plan);
        free(k);
}

void pod_unref(struct pod *p)
{
        if (atomic_fetch_sub(&p->refs, 1) > 1)
                return;
        fd_close(p->conn);
        fd_close(p->pidfd);
        map_done(&p->containers, known_free);
        free(p->id);
        free(p->run_dir);
        free(p);
}

struct pod *pods_get(struct executor *x, const char *id, struct cringle_err *err)
{
        struct pod *p;

        pthread_mutex_lock(&x->lock);
        p = map_get(&x->pods, id);
        if (p)
                atomic_fetch_add(&p->refs, 1);
        pthread_mutex_unlock(&x->lock);
        if (!p)
                err_set(err, CRINGLE_E_NOT_FOUND, "pod %s is not open", id);
        return p;
}

static struct pod *pod_new(const char *id, const char *run_dir, struct cringle_err *err)
{
        struct pod *p = calloc(1, sizeof *p);

        if (!p) {
                err_oom(err);
                return NULL;
        }
        atomic_init(&p->refs, 1);
        p->conn = p->pidfd = -1;
        p->id = strdup(id);
        p->run_dir = strdup(run_dir);
        if (!p->id || !p->run_dir) {
                pod_unref(p);
                err_oom(err);
                return NULL;
        }
        return p;
}

/* Put @p (the caller's reference goes with it) where calls find it, in the place of one that is dead. */
static int publish(struct executor *x, struct pod *p, struct cringle_err *err)
{
        struct pod *old;
        int done;

        pthread_mutex_lock(&x->lock);
        old = map_take(&x->pods, p->id);
        done = map_put(&x->pods, p->id, p, err);
        pthread_mutex_unlock(&x->lock);
        if (old)
                pod_unref(old);
        if (done < 0)
                pod_unref(p);
        return done;
}

/* --- talking to a monitor ------------------------------------------------------------- */

static int ask_watch(int conn, const struct cringle_call *call, int *ret_pidfd, struct cringle_err *err)
{
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;

        if (wire_begin(&w, &request, WIRE_WATCH, 1, err) < 0 ||
            client_exchange(conn, call, &request, NULL, 0, &reply, &fields, err) < 0)
                return -1;
        if (reply.n_fds != 1)
                return err_set(err, CRINGLE_E_INTERNAL, "the monitor did not hand over its pidfd");
        *ret_pidfd = steal_fd(&reply.fds[0]);
        return 0;
}

int pods_watch(const char *run_dir, const struct cringle_call *call, int *ret_pidfd, struct cringle_err *err)
{
        auto_fd int conn = client_connect(run_dir, err);

        if (conn < 0 || ask_watch(conn, call, ret_pidfd, err) < 0)
                return -1;
        return steal_fd(&conn);
}

static void put_maps(struct rec_writer *w, enum plan_id kind, const struct cringle_id_map *maps, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                rec_begin(w, WIRE_ID_MAP);
                rec_put_u32(w, kind);
                rec_put_u32(w, maps[i].inside);
                rec_put_u32(w, maps[i].outside);
                rec_put_u32(w, maps[i].length);
                rec_end(w);
        }
}

static uint32_t clone_flags(uint32_t namespaces)
{
        static const struct { uint32_t bit, flag; } of[] = {
                { CRINGLE_NS_NET, CLONE_NEWNET }, { CRINGLE_NS_IPC, CLONE_NEWIPC }, { CRINGLE_NS_UTS, CLONE_NEWUTS },
                { CRINGLE_NS_PID, CLONE_NEWPID }, { CRINGLE_NS_USER, CLONE_NEWUSER },
        };
        uint32_t flags = 0;

        for (size_t i = 0; i < sizeof of / sizeof of[0]; i++)
                if (namespaces & of[i].bit)
                        flags |= of[i].flag;
        return flags;
}

/* Dots and slashes as in the plan: "net.ipv4.x" and "net/ipv4/x" name the same. */
static int put_sysctl(struct rec_writer *w, const struct cringle_pair *pair, struct cringle_err *err)
{
        auto_free char *path = strdup(pair->key);
        bool dots = path && path[strcspn(path, "./")] == '.';

        if (!path)
                return err_oom(err);
        for (char *p = path; dots && *p; p++)
                *p = (char) (*p == '.' ? '/' : *p == '/' ? '.' : *p);
        rec_begin(w, WIRE_SYSCTL);
        rec_put_str(w, path);
        rec_put_str(w, pair->value);
        rec_end(w);
        return 0;
}

static int ask_open(int conn, const struct cringle_call *call, const struct cringle_pod_launch *launch,
                    struct cringle_err *err)
{
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;

        if (wire_begin(&w, &request, WIRE_OPEN_POD, 1, err) < 0)
                return -1;
        rec_add_str(&w, WIRE_POD, launch->id);
        rec_add_u32(&w, WIRE_NAMESPACES, clone_flags(launch->namespaces));
        if (launch->hostname && *launch->hostname)
                rec_add_str(&w, WIRE_HOSTNAME, launch->hostname);
        for (const struct cringle_pair *p = launch->sysctls; p && p->key; p++)
                if (put_sysctl(&w, p, err) < 0)
                        return -1;
        if (launch->selinux_label && launch->mount_label) {
                rec_begin(&w, WIRE_SELINUX);
                rec_put_str(&w, launch->selinux_label);
                rec_put_str(&w, launch->mount_label);
                rec_end(&w);
        }
        put_maps(&w, PLAN_UID, launch->uids, launch->n_uids);
        put_maps(&w, PLAN_GID, launch->gids, launch->n_gids);
        if (rec_finish(&w) < 0)
                return -1;
        return client_exchange(conn, call, &request, NULL, 0, &reply, &fields, err);
}

static int ask_close(const char *run_dir, const struct cringle_call *call, struct cringle_err *err)
{
        auto_client_message reply = { 0 };
        auto_buf request = BUF_INIT;
        struct rec_cursor fields;
        struct rec_writer w;

        if (wire_begin(&w, &request, WIRE_CLOSE_POD, 1, err) < 0)
                return -1;
        return client_call(run_dir, call, &request, NULL, 0, &reply, &fields, err);
}

/* --- starting one ------------------------------------------------------------------------ */

/* The monitor lets go of us when it stands: what is reaped here is its launcher. */
static int spawn_monitor(struct executor *x, const struct cringle_call *call, const struct cringle_pod_launch *launch,
                         int *ret_conn, struct cringle_err *err)
{
        auto_strv argv = NULL;
        auto_buf output = BUF_INIT, tail = BUF_INIT;
        auto_fd int mine = -1, its = -1;
        struct child_fd fds[2];
        struct child_spec spec = { .path = "/proc/self/fd/3", .fds = fds, .n_fds = 2 };
        int pair[2], status;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, "make a socket pair");
        mine = pair[0];
        its = pair[1];
        if (strv_add(&argv, "cringle-monitor", err) < 0 || strv_add(&argv, launch->run_dir, err) < 0)
                return -1;
        for (size_t i = 0; launch->cgroup_dirs && launch->cgroup_dirs[i]; i++)
                if (strv_add(&argv, launch->cgroup_dirs[i], err) < 0)
                        return -1;
        spec.argv = (const char *const *) argv;
        fds[0] = (struct child_fd) { .fd = x->program, .as = WIRE_FD_EXE };
        fds[1] = (struct child_fd) { .fd = its, .as = WIRE_FD_CONN };
        if (child_run(&spec, call, NULL, &output, 4096, &tail, &status, err) < 0)
                return err_wrap(err, "start the monitor");
        if (status != 0) {
                char how[96];

                child_status_text(status, how, sizeof how);
                while (tail.len > 0 && tail.data[tail.len - 1] == '\n')
                        tail.data[--tail.len] = '\0';
                return err_set(err, CRINGLE_E_INTERNAL, "start the monitor: %s: %s", how, tail.len ? tail.data : "no word");
        }
        *ret_conn = steal_fd(&mine);
        return 0;
}

/* A monitor that is there already (a repeated call) or a new one. */
static int reach_monitor(struct executor *x, const struct cringle_call *call, const struct cringle_pod_launch *launch,
                         int adopt, int *ret_conn, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        *ret_conn = client_connect(launch->run_dir, &why);
        if (*ret_conn >= 0)
                return 0;
        if (adopt || why.code != CRINGLE_E_NOT_FOUND) {
                if (err)
                        *err = why;
                return -1;
        }
        leftovers_close(launch->run_dir);       /* of one that died here */
        return spawn_monitor(x, call, launch, ret_conn, err);
}

static int open_fresh(struct executor *x, const struct cringle_call *call, const struct cringle_pod_launch *launch,
                      int adopt, struct pod *p, struct cringle_err *err)
{
        if (reach_monitor(x, call, launch, adopt, &p->conn, err) < 0)
                return -1;
        if ((!adopt && ask_open(p->conn, call, launch, err) < 0) || ask_watch(p->conn, call, &p->pidfd, err) < 0) {
                struct cringle_call last = call_within(NULL, 5 * NSEC_PER_SEC);

                /* One that could not be opened is of no use to anybody. */
                if (!adopt)
                        ask_close(launch->run_dir, &last, NULL);
                return -1;
        }
        return events_add(x, p, err);
}

static bool lives(const struct pod *p)
{
        struct pollfd dead = { .fd = p->pidfd, .events = POLLIN };

        return p->pidfd >= 0 && poll(&dead, 1, 0) == 0;
}

int pods_open(struct executor *x, const struct cringle_call *call, const struct cringle_pod_launch *launch, int adopt,
              struct cringle_err *err)
{
        struct pod *p = pods_get(x, launch->id, NULL);
        struct cringle_err why = CRINGLE_ERR_INIT;
        bool open = p && !p->closing && lives(p);

        if (p)
                pod_unref(p);
        if (open)
                return 0;
        p = pod_new(launch->id, launch->run_dir, err);
        if (!p)
                return -1;
        if (open_fresh(x, call, launch, adopt, p, &why) == 0)
                return publish(x, p, err);

        /* A pod whose monitor is gone is still known: for what it left behind. */
        p->conn = fd_close(p->conn);
        p->pidfd = fd_close(p->pidfd);
        if (adopt && why.code == CRINGLE_E_NOT_FOUND)
                publish(x, p, NULL);
        else
                pod_unref(p);
        if (err)
                *err = why;
        return err_wrap(err, "%s pod %s", adopt ? "adopt" : "open", launch->id);
}

int pods_close(struct executor *x, const struct cringle_call *call, const char *id, const char *run_dir,
               struct cringle_err *err)
{
        auto_of(pod) p = pods_get(x, id, NULL);
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct pod *listed;

        if (p)
                p->closing = true;
        if (ask_close(run_dir, call, &why) < 0 && why.code != CRINGLE_E_NOT_FOUND && why.code != CRINGLE_E_UNAVAILABLE) {
                if (p)
                        p->closing = false;
                if (err)
                        *err = why;
                return err_wrap(err, "close pod %s", id);
        }
        if (p && p->pidfd >= 0 && call_wait(call, p->pidfd, POLLIN, -1, err) < 0)
                return err_wrap(err, "close pod %s", id);
        leftovers_close(run_dir);

        pthread_mutex_lock(&x->lock);
        listed = map_take(&x->pods, id);
        pthread_mutex_unlock(&x->lock);
        if (listed) {
                if (listed->conn >= 0)
                        shutdown(listed->conn, SHUT_RDWR);      /* wakes the event thread, which lets go of it */
                pod_unref(listed);
        }
        return 0;
}
