/*
 * What our processes say to one another
 *
 * The first byte chooses: a message of the monitor's protocol, a launch plan, a mark of an unpack half, the
 * monitor's exit file, a message of a hook plugin's process.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/host/apart_message.h"
#include "agent/image/marks.h"
#include "agent/wire/monitor.h"
#include "agent/wire/plan.h"
#include "tests/fuzz/fuzz.h"

/* Every getter over every body: what comes out lies in the message, and a bad cursor stays bad. */
static void read_bodies(struct rec_cursor fields, const uint8_t *from, size_t size)
{
        struct rec_cursor body, first;
        struct wire_state state;
        struct wire_hook hook;
        uint16_t tag;

        while (rec_next(&fields, &tag, &body)) {
                auto_free const char **list = NULL;
                const uint8_t *bytes;
                size_t n = 0;

                must(rec_first(fields, tag, &first) || true);
                for (struct rec_cursor c = body; c.left && !c.bad;) {
                        const char *text = rec_get_str(&c);

                        must(c.bad ? !*text : strlen(text) < size);
                }
                for (struct rec_cursor c = body; c.left && !c.bad;) {
                        bytes = rec_get_bytes(&c, &n);
                        must(c.bad || n == 0 || (bytes >= from && bytes + n <= from + size));
                }
                for (struct rec_cursor c = body; c.left && !c.bad;)
                        rec_get_u32(&c);
                first = body;
                list = rec_get_strv(&first);
                must(!list || !first.bad);
                first = body;
                wire_get_state(&first, &state);
                wire_get_hook(&body, &hook);
                must(strlen(hook.source) + strlen(hook.name) + strlen(hook.origin) + strlen(hook.path) + strlen(hook.error) < size);
        }
        must(!fields.bad);
}

static void try_message(const uint8_t *data, size_t size)
{
        struct wire_header header;
        struct rec_cursor fields;

        if (wire_open(data, size, &header, &fields, NULL) == 0)
                read_bodies(fields, data, size);
}

static void try_plan(const uint8_t *data, size_t size)
{
        struct rec_cursor plan;

        if (plan_open(data, size, &plan, NULL) == 0)
                read_bodies(plan, data, size);
}

/* Its kind and its lengths are the input's first bytes, so that a mutation of the paths needs no other. */
static void try_mark(const uint8_t *data, size_t size)
{
        struct pull_mark head = { .head = { PULL_VERSION, PULL_MARK } };
        char message[PULL_MESSAGE_MAX];
        struct marks marks = MARKS_INIT;

        head.kind = fuzz_byte(&data, &size);
        head.mode = (uint32_t) fuzz_byte(&data, &size) << 12;
        head.path_len = fuzz_byte(&data, &size);
        head.target_len = fuzz_byte(&data, &size);
        if (size > sizeof message - sizeof head)
                return;
        memcpy(message, &head, sizeof head);
        memcpy(message + sizeof head, data, size);
        if (marks_add(&marks, message, sizeof head + size, NULL) == 0) {
                const char *path = marks.list[0].path;

                must(*path != '/' && strncmp(path, "../", 3) != 0 && strcmp(path, "..") != 0 && !strstr(path, "/../"));
                must(!str_ends(path, "/..") && !strstr(path, "//"));
        }
        marks_done(&marks);
}

static void try_exit(const uint8_t *data, size_t size)
{
        auto_free char *text = fuzz_text(&data, &size);
        char again[WIRE_EXIT_MAX];
        struct wire_state state = { 0 }, same = { 0 };

        if (wire_exit_parse(text, &state, NULL) < 0)
                return;
        wire_exit_text(&state, again);
        must(wire_exit_parse(again, &same, NULL) == 0);
        must(state.exit_code == same.exit_code && state.signal == same.signal && state.finished_at == same.finished_at);
}

static void try_apart(const uint8_t *data, size_t size)
{
        struct rec_cursor c = REC_CURSOR(data, size), body;
        uint16_t tag;

        while (rec_next(&c, &tag, &body)) {
                struct rec_cursor again = body;
                struct cringle_err err = CRINGLE_ERR_INIT;
                auto_free const char **list = NULL;
                auto_free struct cringle_pair *settings = NULL;
                bool is_null;

                apart_get(&again);
                again = body;
                list = apart_get_list(&again, &is_null);
                again = body;
                settings = apart_get_settings(&again);
                must(apart_get_result(&body, &err) == 0 || err.code != CRINGLE_OK);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static void (*const tries[])(const uint8_t *data, size_t size) = {
                try_message, try_plan, try_mark, try_exit, try_apart,
        };

        tries[fuzz_byte(&data, &size) % (sizeof tries / sizeof *tries)](data, size);
        return 0;
}
