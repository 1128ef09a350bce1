/* Records and messages are read as written, and nothing malformed is read at all. */

#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/wire/client.h"
#include "agent/wire/monitor.h"
#include "agent/wire/plan.h"

static void write_sample(struct buf *out)
{
        static const char *const list[] = { "a", "", "ccc", NULL };
        struct rec_writer w = { .out = out, .err = unit_err() };

        rec_begin(&w, 7);
        rec_put_u32(&w, 0xdeadbeef);
        rec_put_u64(&w, UINT64_MAX - 1);
        rec_put_str(&w, "text");
        rec_put_strv(&w, list);
        rec_end(&w);
        rec_add_u32(&w, 9, 5);
        assert_int_equal(rec_finish(&w), 0);
}

static void a_record_is_read_as_it_was_written(void **state)
{
        auto_buf out = BUF_INIT;
        struct rec_cursor c, body;
        auto_free const char **list = NULL;
        uint16_t tag;

        write_sample(&out);
        c = (struct rec_cursor) REC_CURSOR(out.data, out.len);
        assert_true(rec_next(&c, &tag, &body));
        assert_int_equal(tag, 7);
        assert_int_equal(rec_get_u32(&body), 0xdeadbeef);
        assert_true(rec_get_u64(&body) == UINT64_MAX - 1);
        assert_string_equal(rec_get_str(&body), "text");
        list = rec_get_strv(&body);
        assert_non_null(list);
        assert_string_equal(list[2], "ccc");
        assert_null(list[3]);
        assert_false(body.bad);
        assert_true(rec_next(&c, &tag, &body));
        assert_int_equal(rec_get_u32(&body), 5);
        assert_false(rec_next(&c, &tag, &body));
        assert_false(c.bad);
}

static void every_cut_is_noticed(void **state)
{
        auto_buf out = BUF_INIT;
        size_t first;

        write_sample(&out);
        first = out.len - 12;           /* where the second record begins */
        for (size_t n = 1; n < out.len; n++) {
                struct rec_cursor c = REC_CURSOR(out.data, n), body;
                uint16_t tag;

                while (rec_next(&c, &tag, &body))
                        ;
                assert_int_equal(c.bad, n != first);
        }
}

static void lengths_that_lie_are_refused(void **state)
{
        /* A string without its NUL, one with a NUL inside, a list longer than what is there. */
        static const unsigned char bare[] = { 2, 0, 0, 0, 'a', 'b' };
        static const unsigned char split[] = { 3, 0, 0, 0, 'a', 0, 0 };
        static const unsigned char many[] = { 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0 };
        struct rec_cursor c = REC_CURSOR(bare, sizeof bare);

        assert_string_equal(rec_get_str(&c), "");
        assert_true(c.bad);
        c = (struct rec_cursor) REC_CURSOR(split, sizeof split);
        assert_string_equal(rec_get_str(&c), "");
        assert_true(c.bad);
        c = (struct rec_cursor) REC_CURSOR(many, sizeof many);
        assert_null(rec_get_strv(&c));
        assert_true(c.bad);
        assert_int_equal(rec_get_u32(&c), 0);
}

static void only_a_plan_of_our_version_is_opened(void **state)
{
        auto_buf out = BUF_INIT;
        struct rec_writer w;
        struct rec_cursor c, body;

        assert_int_equal(plan_begin(&w, &out, unit_err()), 0);
        rec_add_str(&w, PLAN_CWD, "/");
        assert_int_equal(plan_open(out.data, out.len, &c, unit_err()), 0);
        assert_true(rec_first(c, PLAN_CWD, &body));
        assert_false(rec_first(c, PLAN_TTY, &body));
        assert_int_equal(plan_open(out.data, out.len - 1, &c, unit_err()), -1);
        out.data[4]++;
        assert_int_equal(plan_open(out.data, out.len, &c, unit_err()), -1);
        out.data[0]++;
        assert_int_equal(plan_open(out.data, out.len, &c, unit_err()), -1);
        assert_int_equal(plan_open(NULL, 0, &c, unit_err()), -1);
}

static void unknown_fields_are_skipped(void **state)
{
        auto_buf out = BUF_INIT;
        struct wire_header header;
        struct rec_cursor fields, body;
        struct wire_state put = { .state = 3, .pid = 4, .exit_code = 137, .signal = 9, .oom = 1, .started_at = -5, .finished_at = 6 };
        struct wire_state got;
        struct rec_writer w;

        assert_int_equal(wire_begin(&w, &out, WIRE_EXITED, 0, unit_err()), 0);
        rec_add_str(&w, 60000, "from the future");
        wire_put_state(&w, &put);
        assert_int_equal(rec_finish(&w), 0);
        assert_int_equal(wire_open(out.data, out.len, &header, &fields, unit_err()), 0);
        assert_int_equal(header.type, WIRE_EXITED);
        assert_true(rec_first(fields, WIRE_RUN_STATE, &body));
        wire_get_state(&body, &got);
        assert_int_equal(got.state, put.state);
        assert_int_equal(got.pid, put.pid);
        assert_int_equal(got.exit_code, put.exit_code);
        assert_int_equal(got.signal, put.signal);
        assert_int_equal(got.oom, put.oom);
        assert_int_equal(got.started_at, put.started_at);
        assert_int_equal(got.finished_at, put.finished_at);
        assert_int_equal(wire_open(out.data, 15, &header, &fields, unit_err()), -1);
}

static void an_exit_file_is_read_whole_or_not_at_all(void **state)
{
        struct wire_state put = { .exit_code = 137, .signal = 9, .oom = 1, .started_at = 5, .finished_at = INT64_MAX }, got;
        char text[WIRE_EXIT_MAX];

        wire_exit_text(&put, text);
        assert_int_equal(wire_exit_parse(text, &got, unit_err()), 0);
        assert_int_equal(got.exit_code, 137);
        assert_int_equal(got.signal, 9);
        assert_true(got.oom && got.finished_at == INT64_MAX);
        for (size_t n = strlen(text); n-- > 0;) {
                text[n] = '\0';
                assert_int_equal(wire_exit_parse(text, &got, unit_err()), -1);
        }
}

static void a_sealed_file_cannot_be_changed(void **state)
{
        int fd = client_seal("test", "abc", 3, unit_err());
        char text[4] = { 0 };

        assert_true(fd >= 0);
        assert_int_equal(pread(fd, text, 4, 0), 3);
        assert_int_equal(pwrite(fd, "x", 1, 0), -1);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_ptr_equal(mmap(NULL, 3, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        close(fd);
}

static void a_run_of_a_hook_is_read_as_it_was_written(void **state)
{
        auto_free char *endless = calloc(1, 100000);
        struct wire_hook run = { 3, 2, -1, WIRE_HOOK_TIMED_OUT, INT64_MAX, 7, "yaml", "n", "/f:1", endless, "why" }, got = { 0 };
        auto_buf out = BUF_INIT;
        struct rec_cursor c, body;
        struct rec_writer w = { .out = &out, .err = unit_err() };
        uint16_t tag;

        memset(endless, '/', 99999);
        wire_put_hook(&w, &run);
        assert_int_equal(rec_finish(&w), 0);
        assert_true(out.len < WIRE_MAX / 2);
        c = (struct rec_cursor) REC_CURSOR(out.data, out.len);
        assert_true(rec_next(&c, &tag, &body));
        assert_int_equal(tag, WIRE_HOOK);
        wire_get_hook(&body, &got);
        assert_false(body.bad);
        assert_int_equal(got.stage, 3);
        assert_int_equal(got.index, 2);
        assert_int_equal(got.exit_code, -1);
        assert_int_equal(got.flags, WIRE_HOOK_TIMED_OUT);
        assert_true(got.nanoseconds == INT64_MAX && got.ended_at == 7);
        assert_string_equal(got.source, "yaml");
        assert_string_equal(got.name, "n");
        assert_string_equal(got.origin, "/f:1");
        assert_int_equal(strlen(got.path), WIRE_HOOK_TEXT_MAX);
        assert_string_equal(got.error, "why");
}

UNIT_MAIN(
        cmocka_unit_test(a_run_of_a_hook_is_read_as_it_was_written),
        cmocka_unit_test(a_record_is_read_as_it_was_written),
        cmocka_unit_test(every_cut_is_noticed),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test(only_a_plan_of_our_version_is_opened),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(an_exit_file_is_read_whole_or_not_at_all),
        cmocka_unit_test(a_sealed_file_cannot_be_changed))
