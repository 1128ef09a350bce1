/*
 * Exec and attach: stdin, stdout, stderr, error and resize
 *
 * The process is started when the client has opened all its lanes.  An exec is over when the agent says so and
 * what its process wrote is sent, whoever still holds its pipes; an attach, when its ends are.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/stream/stream.h"

#define RESIZE_MAX 256                  /* bytes of one object */
#define AFTER_MAX (64 << 20)            /* read after the end of a process, in case somebody else writes on */

enum role { ROLE_STDIN, ROLE_STDOUT, ROLE_STDERR, ROLE_ERROR, ROLE_RESIZE, N_ROLES };

static const char *const role_names[] = { "stdin", "stdout", "stderr", "error", "resize" };

struct remote {
        struct client *client;
        bool wanted[N_ROLES], has[N_ROLES];
        uint32_t lanes[N_ROLES];
        bool ended[N_ROLES];            /* we have ended it */
        bool started;
        struct local in, out, err;      /* with a terminal, `out` is both ways */
        struct buf early;               /* stdin from before the start */
        bool early_end;
        char resize[RESIZE_MAX];
        size_t resize_n;
        uint16_t columns, rows;
        bool exited;
        int32_t code;
        size_t after;                   /* bytes read since */
};

static void conclude(struct remote *r);

static struct local *input_of(struct remote *r)
{
        return r->client->flags & STREAM_TTY && r->client->kind == STREAM_EXEC ? &r->out : &r->in;
}

int remote_new(struct client *c, struct cringle_err *err)
{
        struct remote *r = calloc(1, sizeof *r);

        if (!r)
                return err_oom(err);
        r->client = c;
        r->in.fd = r->out.fd = r->err.fd = -1;
        r->wanted[ROLE_STDIN] = c->flags & STREAM_STDIN;
        r->wanted[ROLE_STDOUT] = c->flags & STREAM_STDOUT;
        r->wanted[ROLE_STDERR] = c->flags & STREAM_STDERR;
        r->wanted[ROLE_ERROR] = true;
        r->wanted[ROLE_RESIZE] = c->flags & STREAM_TTY && c->version >= 3;
        c->ops = &remote_ops;
        c->session = r;
        return 0;
}

static void remote_close(struct client *c)
{
        struct remote *r = c->session;

        local_close(&r->in);
        local_close(&r->out);
        local_close(&r->err);
}

static void remote_free(struct client *c)
{
        struct remote *r = c->session;

        buf_done(&r->early);
        free(r);
}

/* --- the end ------------------------------------------------------------------- */

static void end_lane(struct remote *r, enum role role)
{
        if (!r->has[role] || r->ended[role])
                return;
        r->ended[role] = true;
        client_send(r->client, r->lanes[role], NULL, 0, true);
}

static void tell(struct remote *r, const char *text)
{
        end_lane(r, ROLE_STDOUT);
        end_lane(r, ROLE_STDERR);
        if (r->has[ROLE_ERROR] && !r->ended[ROLE_ERROR]) {
                r->ended[ROLE_ERROR] = true;
                client_send(r->client, r->lanes[ROLE_ERROR], text, strlen(text), true);
        }
        client_finish(r->client);
}

static void tell_failure(struct remote *r, const char *reason, int32_t code, const char *message)
{
        json_object *status, *details, *causes, *cause;
        char number[16];

        if (r->client->version < 4) {
                tell(r, message);
                return;
        }
        status = json_object_new_object();
        json_object_object_add(status, "metadata", json_object_new_object());
        json_object_object_add(status, "status", json_object_new_string("Failure"));
        json_object_object_add(status, "message", json_object_new_string(message));
        json_object_object_add(status, "reason", json_object_new_string(reason));
        if (strcmp(reason, "NonZeroExitCode") == 0) {
                snprintf(number, sizeof number, "%d", (int) code);
                cause = json_object_new_object();
                json_object_object_add(cause, "reason", json_object_new_string("ExitCode"));
                json_object_object_add(cause, "message", json_object_new_string(number));
                causes = json_object_new_array();
                json_object_array_add(causes, cause);
                details = json_object_new_object();
                json_object_object_add(details, "causes", causes);
                json_object_object_add(status, "details", details);
        } else {
                json_object_object_add(status, "code", json_object_new_int(code));
        }
        tell(r, json_object_to_json_string_ext(status, JSON_C_TO_STRING_PLAIN));
        json_object_put(status);
}

static void tell_success(struct remote *r)
{
        tell(r, r->client->version < 4 ? "" : "{\"metadata\":{},\"status\":\"Success\"}");
}

/* True: there is more to come, when the client has taken what waits. */
static bool more_to_send(struct remote *r, struct local *l)
{
        return local_drain(l, AFTER_MAX) && l->paused && r->after < AFTER_MAX;
}

static bool over(const struct local *l)
{
        return l->fd < 0 || l->read_over;
}

static void conclude(struct remote *r)
{
        struct client *c = r->client;
        char text[64];

        if (c->phase != PHASE_OPEN || !r->started)
                return;
        if (r->exited) {
                bool more_out = more_to_send(r, &r->out), more_err = more_to_send(r, &r->err);

                if (c->phase != PHASE_OPEN || more_out || more_err)
                        return;
                if (r->code == 0) {
                        tell_success(r);
                        return;
                }
                snprintf(text, sizeof text, "command terminated with exit code %d", (int) r->code);
                tell_failure(r, "NonZeroExitCode", r->code, text);
        } else if (over(&r->out) && over(&r->err) && (r->out.reads || r->err.reads || r->in.fd < 0)) {
                if (c->kind == STREAM_ATTACH && (r->out.cut || r->err.cut))
                        tell_failure(r, "InternalError", 500, "the client read too slowly and was dropped; output after this is lost to it");
                else if (c->kind == STREAM_ATTACH)
                        tell_success(r);
                else if (c->server->control < 0)
                        tell_failure(r, "InternalError", 500, "the agent was restarted: the exit code is not known");
        }
}

/* --- local ends -------------------------------------------------------------- */

static void on_read(void *data, struct local *l, const char *bytes, size_t n)
{
        struct remote *r = data;
        enum role role = l == &r->err ? ROLE_STDERR : ROLE_STDOUT;

        if (r->exited)
                r->after += n;
        if (r->has[role] && !r->ended[role])
                client_send(r->client, r->lanes[role], bytes, n, false);
        if (r->client->phase == PHASE_OPEN && transport_full(&r->client->transport)) {
                local_pause(&r->out, true);
                local_pause(&r->err, true);
        }
}

static void on_ended(void *data, struct local *l)
{
        struct remote *r = data;

        if (l == &r->out)
                end_lane(r, ROLE_STDOUT);
        else if (l == &r->err)
                end_lane(r, ROLE_STDERR);
        conclude(r);
        client_settle(r->client);
}

static void on_wrote(void *data, struct local *l)
{
        struct remote *r = data;

        client_settle(r->client);
}

static const struct local_events local_events = { .read = on_read, .ended = on_ended, .wrote = on_wrote };

static void remote_drained(struct client *c)
{
        struct remote *r = c->session;

        local_pause(&r->out, false);
        local_pause(&r->err, false);
        conclude(r);
}

static bool remote_full(struct client *c)
{
        struct remote *r = c->session;

        return r->early.len > WAITING_MAX || input_of(r)->waiting.len > WAITING_MAX;
}

/* --- lanes ------------------------------------------------------------------- */

static bool remote_open(struct client *c, uint32_t lane, const struct spdy_header *headers, size_t n)
{
        struct remote *r = c->session;
        const char *name = spdy_header(headers, n, "streamtype");
        enum role role = 0;

        while (role < N_ROLES && strcmp(role_names[role], name) != 0)
                role++;
        if (role == N_ROLES || !r->wanted[role] || r->has[role])
                return false;
        client_accept(c, lane);
        r->has[role] = true;
        r->lanes[role] = lane;
        for (size_t i = 0; i < N_ROLES; i++)
                if (r->wanted[i] && !r->has[i])
                        return true;
        client_limit(c, 0, NULL);
        control_send(c->server, &(struct stream_message) { .type = STREAM_START, .client = c->id });
        return true;
}

static int role_of(const struct remote *r, uint32_t lane)
{
        for (int i = 0; i < N_ROLES; i++)
                if (r->has[i] && r->lanes[i] == lane)
                        return i;
        return -1;
}

static void send_size(struct remote *r)
{
        if (r->started && (r->columns || r->rows))
                control_send(r->client->server,
                             &(struct stream_message) { .type = STREAM_RESIZE, .client = r->client->id,
                                                        .columns = r->columns, .rows = r->rows });
}

static uint16_t number_of(json_object *size, const char *name)
{
        uint16_t found = 0;

        json_object_object_foreach(size, key, value) {
                int64_t n = strcasecmp(key, name) == 0 ? json_object_get_int64(value) : 0;

                if (n > 0 && n <= UINT16_MAX)
                        found = (uint16_t) n;
        }
        return found;
}

/* Objects back to back, flat, so that a brace ends one. */
static void take_resize(struct remote *r, const char *bytes, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                json_object *size;

                if (r->resize_n == RESIZE_MAX - 1) {
                        r->resize_n = 0;
                        continue;
                }
                r->resize[r->resize_n++] = bytes[i];
                if (bytes[i] != '}')
                        continue;
                r->resize[r->resize_n] = '\0';
                r->resize_n = 0;
                size = json_tokener_parse(r->resize);
                if (size && json_object_is_type(size, json_type_object)) {
                        r->columns = number_of(size, "width");
                        r->rows = number_of(size, "height");
                        send_size(r);
                }
                json_object_put(size);
        }
}

static void remote_data(struct client *c, uint32_t lane, const char *bytes, size_t n)
{
        struct remote *r = c->session;
        int role = role_of(r, lane);

        if (role == ROLE_RESIZE)
                take_resize(r, bytes, n);
        else if (role == ROLE_STDIN && r->started)
                local_write(input_of(r), bytes, n);
        else if (role == ROLE_STDIN && buf_add(&r->early, bytes, n, NULL) < 0)
                client_close(c);
}

static void remote_end(struct client *c, uint32_t lane)
{
        struct remote *r = c->session;

        if (role_of(r, lane) != ROLE_STDIN)
                return;
        if (!r->started)
                r->early_end = true;
        else
                local_finish(input_of(r));
        conclude(r);
}

/* --- the agent ----------------------------------------------------------------- */

static int take_ends(struct remote *r, uint32_t flags, int *fds, size_t n, struct cringle_err *err)
{
        struct loop *loop = r->client->server->loop;
        size_t next = 0;

        if (flags & STREAM_TTY)
                return n == 1 ? local_open(&r->out, loop, steal_fd(&fds[0]), true, true, &local_events, r, err)
                              : err_set(err, CRINGLE_E_INTERNAL, "no terminal");
        if (n != (size_t) __builtin_popcount(flags & (STREAM_STDIN | STREAM_STDOUT | STREAM_STDERR)))
                return err_set(err, CRINGLE_E_INTERNAL, "fds are missing");
        if (flags & STREAM_STDIN && local_open(&r->in, loop, steal_fd(&fds[next++]), false, true, &local_events, r, err) < 0)
                return -1;
        if (flags & STREAM_STDOUT && local_open(&r->out, loop, steal_fd(&fds[next++]), true, false, &local_events, r, err) < 0)
                return -1;
        if (flags & STREAM_STDERR && local_open(&r->err, loop, steal_fd(&fds[next++]), true, false, &local_events, r, err) < 0)
                return -1;
        return 0;
}

static void remote_answer(struct client *c, const struct stream_message *m, int *fds, size_t n_fds)
{
        struct remote *r = c->session;
        struct cringle_err err = CRINGLE_ERR_INIT;

        switch (m->type) {
        case STREAM_STARTED:
                if (r->started)
                        return;
                r->started = true;
                if (take_ends(r, m->flags, fds, n_fds, &err) < 0) {
                        tell_failure(r, "InternalError", 500, err.text);
                        return;
                }
                send_size(r);
                if (r->early.len > 0)
                        local_write(input_of(r), r->early.data, r->early.len);
                buf_done(&r->early);
                if (r->early_end)
                        local_finish(input_of(r));
                break;
        case STREAM_EXITED:
                r->exited = true;
                r->code = m->code;
                break;
        case STREAM_FAILED:
                tell_failure(r, "InternalError", 500, m->text);
                return;
        }
        conclude(r);
}

static void remote_orphaned(struct client *c)
{
        struct remote *r = c->session;

        if (r->started)
                conclude(r);
        else
                tell_failure(r, "InternalError", 500, "the agent was restarted");
}

const struct session_ops remote_ops = {
        .open = remote_open,
        .data = remote_data,
        .end = remote_end,
        .reset = remote_end,
        .full = remote_full,
        .drained = remote_drained,
        .answer = remote_answer,
        .orphaned = remote_orphaned,
        .close = remote_close,
        .free = remote_free,
};
