/*
 * Frames and shared values of the monitor's protocol; see monitor.h.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/wire/monitor.h"

void wire_put_state(struct rec_writer *w, const struct wire_state *state)
{
        rec_begin(w, WIRE_RUN_STATE);
        rec_put_u32(w, state->state);
        rec_put_u32(w, (uint32_t) state->pid);
        rec_put_u32(w, (uint32_t) state->exit_code);
        rec_put_u32(w, (uint32_t) state->signal);
        rec_put_u32(w, state->oom);
        rec_put_u64(w, (uint64_t) state->started_at);
        rec_put_u64(w, (uint64_t) state->finished_at);
        rec_end(w);
}

void wire_get_state(struct rec_cursor *c, struct wire_state *ret)
{
        ret->state = rec_get_u32(c);
        ret->pid = (int32_t) rec_get_u32(c);
        ret->exit_code = (int32_t) rec_get_u32(c);
        ret->signal = (int32_t) rec_get_u32(c);
        ret->oom = rec_get_u32(c);
        ret->started_at = (int64_t) rec_get_u64(c);
        ret->finished_at = (int64_t) rec_get_u64(c);
}

/* The beginning of @text: a message has a limit, what a plan says has none. */
static void put_cut(struct rec_writer *w, const char *text)
{
        char cut[WIRE_HOOK_TEXT_MAX + 1];

        if (strlen(text) < sizeof cut) {
                rec_put_str(w, text);
                return;
        }
        memcpy(cut, text, sizeof cut - 1);
        cut[sizeof cut - 1] = '\0';
        rec_put_str(w, cut);
}

void wire_put_hook(struct rec_writer *w, const struct wire_hook *hook)
{
        rec_begin(w, WIRE_HOOK);
        rec_put_u32(w, hook->stage);
        rec_put_u32(w, hook->index);
        rec_put_u32(w, (uint32_t) hook->exit_code);
        rec_put_u32(w, hook->flags);
        rec_put_u64(w, (uint64_t) hook->nanoseconds);
        rec_put_u64(w, (uint64_t) hook->ended_at);
        put_cut(w, hook->source);
        put_cut(w, hook->name);
        put_cut(w, hook->origin);
        put_cut(w, hook->path);
        put_cut(w, hook->error);
        rec_end(w);
}

void wire_get_hook(struct rec_cursor *c, struct wire_hook *ret)
{
        ret->stage = rec_get_u32(c);
        ret->index = rec_get_u32(c);
        ret->exit_code = (int32_t) rec_get_u32(c);
        ret->flags = rec_get_u32(c);
        ret->nanoseconds = (int64_t) rec_get_u64(c);
        ret->ended_at = (int64_t) rec_get_u64(c);
        ret->source = rec_get_str(c);
        ret->name = rec_get_str(c);
        ret->origin = rec_get_str(c);
        ret->path = rec_get_str(c);
        ret->error = rec_get_str(c);
}

int wire_begin(struct rec_writer *w, struct buf *out, uint32_t type, uint32_t id, struct cringle_err *err)
{
        *w = (struct rec_writer) { .out = out, .err = err };
        rec_put_u32(w, WIRE_MAGIC);
        rec_put_u32(w, WIRE_VERSION);
        rec_put_u32(w, type);
        rec_put_u32(w, id);
        return rec_finish(w);
}

int wire_open(const void *data, size_t n, struct wire_header *ret, struct rec_cursor *ret_fields,
              struct cringle_err *err)
{
        struct rec_cursor c = REC_CURSOR(data, n), at, body;
        struct wire_header header;
        uint16_t tag;

        header.magic = rec_get_u32(&c);
        header.version = rec_get_u32(&c);
        header.type = rec_get_u32(&c);
        header.id = rec_get_u32(&c);
        if (c.bad || header.magic != WIRE_MAGIC)
                return err_set(err, CRINGLE_E_INVALID, "this is no message of the monitor's protocol");
        for (at = c; rec_next(&at, &tag, &body);)
                ;
        if (at.bad)
                return err_set(err, CRINGLE_E_INVALID, "message of type %u is cut short", header.type);

        *ret = header;
        *ret_fields = c;
        return 0;
}

void wire_exit_text(const struct wire_state *state, char text[static WIRE_EXIT_MAX])
{
        snprintf(text, WIRE_EXIT_MAX, "1 %d %d %u %" PRId64 " %" PRId64 "\n", state->exit_code, state->signal,
                 state->oom, state->started_at, state->finished_at);
}

int wire_exit_parse(const char *text, struct wire_state *ret, struct cringle_err *err)
{
        struct wire_state s = { .state = 3 };
        int end = 0;

        if (sscanf(text, "1 %d %d %u %" SCNd64 " %" SCNd64 "%n", &s.exit_code, &s.signal, &s.oom, &s.started_at,
                   &s.finished_at, &end) != 5 || text[end] != '\n')
                return err_set(err, CRINGLE_E_DATA_LOSS, "exit file is damaged");

        *ret = s;
        return 0;
}
