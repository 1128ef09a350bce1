/*
 * The launch plan's frame; see plan.h.
 */

#include "agent/wire/plan.h"

const char *plan_stage_name(enum plan_stage stage)
{
        static const char *const names[PLAN_STAGES] = {
                "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
        };

        return (unsigned) stage < PLAN_STAGES ? names[stage] : "unknown";
}

int plan_begin(struct rec_writer *w, struct buf *out, struct cringle_err *err)
{
        *w = (struct rec_writer) { .out = out, .err = err };
        rec_put_u32(w, PLAN_MAGIC);
        rec_put_u32(w, PLAN_VERSION);
        return rec_finish(w);
}

int plan_open(const void *data, size_t n, struct rec_cursor *ret, struct cringle_err *err)
{
        struct rec_cursor c = REC_CURSOR(data, n), at, body;
        uint32_t magic = rec_get_u32(&c), version = rec_get_u32(&c);
        uint16_t tag;

        if (c.bad || n > PLAN_MAX || magic != PLAN_MAGIC)
                return err_set(err, CRINGLE_E_INVALID, "this is no launch plan (%zu bytes)", n);
        if (version != PLAN_VERSION)
                return err_set(err, CRINGLE_E_INVALID, "launch plan has version %u, want %u", version, PLAN_VERSION);
        for (at = c; rec_next(&at, &tag, &body);)
                ;
        if (at.bad)
                return err_set(err, CRINGLE_E_INVALID, "launch plan is cut short");

        *ret = c;
        return 0;
}
