/*
 * The event thread: hears all monitors, tells the agent
 *
 * A connection that ends while its monitor lives was dropped by the monitor, for we
 * were too slow; it is made anew, and what was missed is asked for.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/wire/plan.h"
#include "plugins/executor-native/executor.h"

void executor_state(const struct wire_state *from, struct cringle_container_state *ret)
{
        size_t size = ret->size;

        *ret = (struct cringle_container_state) {
                .size = size,
                .state = (int) from->state,
                .pid = from->pid,
                .exit_code = from->exit_code,
                .signal = from->signal,
                .oom = from->oom != 0,
                .started_at = from->started_at,
                .finished_at = from->finished_at,
        };
}

static void tell(struct executor *x, struct cringle_executor_event *event)
{
        if (x->fn)
                x->fn(x->data, event);
}

static void tell_lost(struct executor *x, struct pod *p)
{
        struct cringle_executor_event event = { .size = sizeof event, .type = CRINGLE_EVENT_POD_LOST, .pod = p->id };

        tell(x, &event);
}

static void take_hook(struct executor *x, struct pod *p, struct rec_cursor fields)
{
        struct cringle_executor_event lost = { .size = sizeof lost, .type = CRINGLE_EVENT_HOOK, .pod = p->id, .container = "" };
        struct rec_cursor body;
        struct wire_hook run;

        if (rec_first(fields, WIRE_HOOKS_LOST, &body)) {
                lost.hooks_lost = rec_get_u64(&body);
                tell(x, &lost);
        }
        if (rec_first(fields, WIRE_HOOK, &body)) {
                wire_get_hook(&body, &run);
                if (!body.bad && rec_first(fields, WIRE_CONTAINER, &body))
                        executor_tell_hook(x, p, rec_get_str(&body), &run);
        }
}

void executor_tell_hook(struct executor *x, const struct pod *p, const char *container, const struct wire_hook *run)
{
        struct cringle_hook_run hook = {
                .size = sizeof hook,
                .stage = plan_stage_name((enum plan_stage) run->stage),
                .index = run->index,
                .exit_code = run->exit_code,
                .timed_out = (run->flags & WIRE_HOOK_TIMED_OUT) != 0,
                .ignored = (run->flags & WIRE_HOOK_IGNORED) != 0,
                .nanoseconds = run->nanoseconds,
                .ended_at = run->ended_at,
                .source = run->source,
                .name = run->name,
                .origin = run->origin,
                .path = run->path,
                .error = *run->error ? run->error : NULL,
        };
        struct cringle_executor_event event = {
                .size = sizeof event, .type = CRINGLE_EVENT_HOOK, .pod = p->id, .container = container, .hook = &hook,
        };

        tell(x, &event);
}

static void take_event(struct executor *x, struct pod *p, const struct wire_header *header, struct rec_cursor fields)
{
        struct cringle_executor_event event = {
                .size = sizeof event, .pod = p->id, .state = { .size = sizeof event.state },
        };
        struct rec_cursor body;
        struct wire_state state;

        if (header->type == WIRE_HOOK_RAN) {
                take_hook(x, p, fields);
                return;
        }
        if (!rec_first(fields, WIRE_RUN_STATE, &body))
                return;
        wire_get_state(&body, &state);
        executor_state(&state, &event.state);
        event.container = rec_first(fields, WIRE_CONTAINER, &body) ? rec_get_str(&body) : "";
        switch (header->type) {
        case WIRE_EXITED:
                event.type = CRINGLE_EVENT_EXITED;
                break;
        case WIRE_EXEC_EXITED:
                event.type = CRINGLE_EVENT_EXEC_EXITED;
                event.exec = rec_first(fields, WIRE_EXEC_ID, &body) ? rec_get_str(&body) : "";
                event.timed_out = rec_first(fields, WIRE_TIMED_OUT, &body) && rec_get_u32(&body);
                break;
        default:
                return;
        }
        tell(x, &event);
}

/* The ids we know of, as a list of the caller's. */
static char **known_ids(struct executor *x, struct pod *p)
{
        const char *id;
        char **list = NULL;
        size_t at = 0;
        void *value;

        pthread_mutex_lock(&x->lock);
        while (map_next(&p->containers, &at, &id, &value))
                strv_add(&list, id, NULL);
        pthread_mutex_unlock(&x->lock);
        return list;
}

static void ask_what_was_missed(struct executor *x, struct pod *p)
{
        auto_strv ids = known_ids(x, p);

        for (size_t i = 0; ids && ids[i]; i++) {
                struct cringle_call call = call_within(NULL, 5 * NSEC_PER_SEC);
                auto_client_message reply = { 0 };
                auto_buf request = BUF_INIT;
                struct rec_cursor fields, body;
                struct wire_header exited = { .type = WIRE_EXITED };
                struct wire_state state = { 0 };
                struct rec_writer w;

                if (wire_begin(&w, &request, WIRE_STATE, 1, NULL) < 0)
                        return;
                rec_add_str(&w, WIRE_CONTAINER, ids[i]);
                if (client_call(p->run_dir, &call, &request, NULL, 0, &reply, &fields, NULL) < 0 ||
                    !rec_first(fields, WIRE_RUN_STATE, &body))
                        continue;
                wire_get_state(&body, &state);
                if (state.state == CRINGLE_RUN_EXITED) {
                        auto_buf event = BUF_INIT;
                        struct wire_header header;

                        if (wire_begin(&w, &event, exited.type, 0, NULL) < 0)
                                return;
                        rec_add_str(&w, WIRE_CONTAINER, ids[i]);
                        wire_put_state(&w, &state);
                        if (rec_finish(&w) == 0 && wire_open(event.data, event.len, &header, &fields, NULL) == 0)
                                take_event(x, p, &header, fields);
                }
        }
}

/* The connection of @p is at its end.  True: there is a new one. */
static bool again(struct executor *x, struct pod *p)
{
        struct pollfd dead = { .fd = p->pidfd, .events = POLLIN };
        struct cringle_call call = call_within(NULL, 5 * NSEC_PER_SEC);
        int conn, pidfd;

        /* A process that dies closes its sockets a moment before its pidfd tells. */
        if (poll(&dead, 1, 1000) > 0 || p->closing)
                return false;
        conn = pods_watch(p->run_dir, &call, &pidfd, NULL);
        if (conn < 0)
                return false;
        close(pidfd);
        if (dup3(conn, p->conn, O_CLOEXEC) < 0) {
                close(conn);
                return false;
        }
        close(conn);
        ask_what_was_missed(x, p);
        return true;
}

static void hear(struct executor *x, struct pod *p)
{
        static char packet[WIRE_MAX];
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = p };
        struct wire_header header;
        struct rec_cursor fields;
        size_t n = 0, n_fds = 0;

        if (sock_recv(p->conn, packet, sizeof packet, &n, NULL, &n_fds, NULL) == 0 && n > 0) {
                if (wire_open(packet, n, &header, &fields, NULL) == 0)
                        take_event(x, p, &header, fields);
                return;
        }

        epoll_ctl(x->epoll, EPOLL_CTL_DEL, p->conn, NULL);
        if (!p->closing && again(x, p) && epoll_ctl(x->epoll, EPOLL_CTL_ADD, p->conn, &e) == 0)
                return;
        if (!p->closing)
                tell_lost(x, p);
        p->heard = false;
        pod_unref(p);
}

static void *listen_main(void *data)
{
        struct executor *x = data;
        int wait = -1;

        for (;;) {
                struct epoll_event e;
                int n = epoll_wait(x->epoll, &e, 1, wait);

                if (n == 0)
                        return NULL;
                if (n < 0)
                        continue;
                if (e.data.ptr) {
                        hear(x, e.data.ptr);
                } else {
                        /* To end: once all is heard that was said before, the end of a pod that nobody else knows any more among it. */
                        epoll_ctl(x->epoll, EPOLL_CTL_DEL, x->wake, NULL);
                        wait = 0;
                }
        }
}

int events_start(struct executor *x, struct cringle_err *err)
{
        struct epoll_event e = { .events = EPOLLIN };
        int r;

        x->epoll = epoll_create1(EPOLL_CLOEXEC);
        x->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (x->epoll < 0 || x->wake < 0 || epoll_ctl(x->epoll, EPOLL_CTL_ADD, x->wake, &e) < 0)
                return err_sys(err, "prepare to hear monitors");
        r = pthread_create(&x->thread, NULL, listen_main, x);
        if (r)
                return err_sysno(err, r, "start a thread");
        x->started = true;
        return 0;
}

void events_stop(struct executor *x)
{
        if (!x->started)
                return;
        eventfd_write(x->wake, 1);
        pthread_join(x->thread, NULL);
        x->started = false;
}

int events_add(struct executor *x, struct pod *p, struct cringle_err *err)
{
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = p };

        atomic_fetch_add(&p->refs, 1);
        p->heard = true;
        if (epoll_ctl(x->epoll, EPOLL_CTL_ADD, p->conn, &e) < 0) {
                err_sys(err, "hear the monitor");
                p->heard = false;
                pod_unref(p);
                return -1;
        }
        return 0;
}
