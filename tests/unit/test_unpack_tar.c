/* A tar stream says one thing only, in whatever pieces it comes; what could be read in two ways is refused. */

#include "tests/support/unit.h"

#include "agent/pull/tar.h"

#define BLOCK 512

/* The archive under test, and how it is handed out. */
static uint8_t archive[64 * BLOCK];
static size_t archive_n, archive_at, archive_piece;

static int next_piece(void *data, const uint8_t **ret, size_t *ret_n, struct cringle_err *err)
{
        size_t left = archive_n - archive_at;

        if (left == 0)
                return 0;
        *ret = archive + archive_at;
        *ret_n = left < archive_piece ? left : archive_piece;
        archive_at += *ret_n;
        return 1;
}

static void begin(void)
{
        memset(archive, 0, sizeof archive);
        archive_n = archive_at = 0;
        archive_piece = sizeof archive;
}

static void checksum(uint8_t *block)
{
        unsigned sum = 0;

        memset(block + 148, ' ', 8);
        for (size_t i = 0; i < BLOCK; i++)
                sum += block[i];
        snprintf((char *) block + 148, 8, "%06o", sum);
}

static uint8_t *add(char type, const char *name, const char *body, size_t n)
{
        uint8_t *block = archive + archive_n;

        memcpy(block, name, strlen(name));
        snprintf((char *) block + 100, 8, "%07o", 0644);
        snprintf((char *) block + 108, 8, "%07o", 1);
        snprintf((char *) block + 116, 8, "%07o", 2);
        snprintf((char *) block + 124, 12, "%011zo", n);
        snprintf((char *) block + 136, 12, "%011o", 1000);
        block[156] = (uint8_t) type;
        memcpy(block + 257, "ustar\0" "00", 8);
        checksum(block);
        memcpy(block + BLOCK, body, n);
        archive_n += BLOCK + (n + BLOCK - 1) / BLOCK * BLOCK;
        return block;
}

static void add_text(char type, const char *name, const char *body)
{
        add(type, name, body, strlen(body));
}

/* How many entries it has; -1: refused.  The last entry's name and bytes are in the two buffers. */
static char last_name[5000], last_data[8192];
static uint64_t last_size;

static int read_all(void)
{
        auto_of(tar) t = NULL;
        const struct tar_entry *e;
        const uint8_t *p;
        uint64_t offset;
        size_t n;
        int count = 0, got;

        archive_at = 0;
        assert_int_equal(tar_new(next_piece, NULL, &t, unit_err()), 0);
        while ((got = tar_next(t, &e, unit_err())) > 0) {
                count++;
                snprintf(last_name, sizeof last_name, "%s", e->name);
                memset(last_data, 0, sizeof last_data);
                last_size = e->size;
                while ((got = tar_data(t, &p, &n, &offset, unit_err())) > 0)
                        if (offset + n <= sizeof last_data)
                                memcpy(last_data + offset, p, n);
                if (got < 0)
                        return -1;
        }
        return got < 0 ? -1 : count;
}

static void pieces_of_any_size_give_the_same_entries(void **state)
{
        for (size_t piece = 1; piece < 1100; piece += 101) {
                begin();
                add_text('0', "a", "one");
                add_text('x', "pax", "20 path=longer/name\n");
                add_text('0', "b", "two and more");
                archive_n += 2 * BLOCK;
                archive_piece = piece;
                assert_int_equal(read_all(), 2);
                assert_string_equal(last_name, "longer/name");
                assert_string_equal(last_data, "two and more");
        }
}

static void a_pax_size_beats_the_header(void **state)
{
        begin();
        add_text('x', "pax", "10 size=3\n");
        checksum(add('0', "f", "abc", 3));
        snprintf((char *) archive + 2 * BLOCK + 124, 12, "%011o", 0);
        checksum(archive + 2 * BLOCK);
        add_text('0', "g", "after");
        assert_int_equal(read_all(), 2);
        assert_string_equal(last_name, "g");
}

static void what_readers_disagree_about_is_refused(void **state)
{
        static const char *const records[] = {
                "5 a=b\n", "99 path=x\n", "9 path=x", "path=x\n", "10 =value\n", "-9 path=x\n", "09path=x\n", "11 size=-1\n", "8 size=\n",
                "15 mtime=1.2.3\n", "11 uid=x12\n",
        };

        for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
                begin();
                add_text('x', "pax", records[i]);
                add_text('0', "f", "");
                if (read_all() >= 0)
                        fail_msg("the record '%s' was taken", records[i]);
        }

        begin();                        /* two of one kind */
        add_text('x', "pax", "11 path=ab\n");
        add_text('x', "pax", "11 path=cd\n");
        add_text('0', "f", "");
        assert_int_equal(read_all(), -1);

        begin();                        /* two long names */
        add_text('L', "././@LongLink", "long");
        add_text('x', "pax", "11 path=cd\n");
        add_text('0', "f", "");
        assert_int_equal(read_all(), -1);

        begin();                        /* a global name */
        add_text('g', "pax", "11 path=cd\n");
        add_text('0', "f", "");
        assert_int_equal(read_all(), -1);

        begin();                        /* a directory with a body */
        add_text('5', "d/", "body");
        assert_int_equal(read_all(), -1);

        begin();                        /* nothing behind an extended header */
        add_text('x', "pax", "11 path=cd\n");
        assert_int_equal(read_all(), -1);
}

static void an_archive_may_end_between_entries_only(void **state)
{
        begin();
        add_text('0', "f", "12345");
        assert_int_equal(read_all(), 1);
        archive_n -= 1;
        assert_int_equal(read_all(), -1);
        archive_n = 100;
        assert_int_equal(read_all(), -1);

        begin();
        archive_n = BLOCK;              /* a zero block, then an entry */
        add_text('0', "f", "");
        assert_int_equal(read_all(), -1);
}

static void extended_headers_are_bounded(void **state)
{
        begin();
        add_text('x', "pax", "");
        snprintf((char *) archive + 124, 12, "%011o", TAR_EXTENDED_MAX + 1);
        checksum(archive);
        archive_n = sizeof archive;
        assert_int_equal(read_all(), -1);
}

static void a_sparse_map_is_checked(void **state)
{
        static const struct { const char *map; int entries; } maps[] = {
                { "0,2,4,3", 1 }, { "2,3,7,2", 1 }, { "0,2,1,3", -1 }, { "0,2,8,3", -1 }, { "0,5,5", -1 },
                { "0,4", -1 }, { "0,9223372036854775807,1,5", -1 }, { "", -1 }, { "0,-5", -1 },
        };

        for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
                char records[200];
                int n = (int) strlen(maps[i].map);

                begin();
                snprintf(records, sizeof records, "21 GNU.sparse.size=9\n%d GNU.sparse.map=%s\n", n + 19 + (n + 19 > 99),
                         maps[i].map);
                add_text('x', "pax", records);
                add_text('0', "f", "12345");
                if (read_all() != maps[i].entries)
                        fail_msg("map '%s'", maps[i].map);
        }
        assert_int_equal(last_size, 9);
}

UNIT_MAIN(
        cmocka_unit_test(pieces_of_any_size_give_the_same_entries),
        cmocka_unit_test(a_pax_size_beats_the_header),
        cmocka_unit_test(what_readers_disagree_about_is_refused),
        cmocka_unit_test(an_archive_may_end_between_entries_only),
        cmocka_unit_test(extended_headers_are_bounded),
        cmocka_unit_test(a_sparse_map_is_checked))
