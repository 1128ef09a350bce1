/* What was committed is there, and on the disk where that was asked for; what was aborted is not; an unknown future is refused. */

#include "tests/support/unit.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/db.h"
#include "agent/base/file.h"
#include "agent/base/str.h"

static const char *const first[] = { "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, b BLOB)", NULL };
static const char *const second[] = { "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, b BLOB)",
                                      "ALTER TABLE t ADD COLUMN extra TEXT", NULL };

static int count_row(void *data, sqlite3_stmt *at)
{
        *(int64_t *) data = sqlite3_column_int64(at, 0);
        return 0;
}

static int64_t rows(struct db *db)
{
        int64_t n = -1;

        assert_ok(db_begin(db, unit_err()), unit_err());
        assert_ok(db_query(db, unit_err(), count_row, &n, "SELECT count(*) FROM t", ""), unit_err());
        assert_ok(db_end(db, DB_FAST, unit_err()), unit_err());
        return n;
}

static void commits_stay_and_aborts_do_not(void **state)
{
        auto_free char *dir = unit_make_dir();
        auto_free char *path = str_printf(NULL, "%s/store.db", dir);
        struct db *db = NULL;

        assert_ok(db_open(path, first, &db, unit_err()), unit_err());
        assert_ok(db_write(db, DB_FAST, unit_err(), "INSERT INTO t VALUES (?, ?, ?)", "sib", "a", INT64_C(1), "x", (size_t) 1),
                  unit_err());
        assert_ok(db_begin(db, unit_err()), unit_err());
        assert_ok(db_exec(db, unit_err(), "INSERT INTO t (k) VALUES (?)", "s", "b"), unit_err());
        db_abort(db);
        assert_int_equal(rows(db), 1);
        assert_int_equal(db_write(db, DB_FAST, unit_err(), "INSERT INTO t (k) VALUES (?)", "s", "a"), -1);
        assert_ok(db_write(db, DB_DURABLE, unit_err(), "INSERT INTO t (k) VALUES (?)", "s", "c"), unit_err());
        db = db_close(db);

        assert_ok(db_open(path, second, &db, unit_err()), unit_err());
        assert_int_equal(rows(db), 2);
        db = db_close(db);
        assert_int_equal(db_open(path, first, &db, unit_err()), -1);
        assert_null(db);
        file_remove_tree(dir, NULL);
}

/* In place of the C library's, for SQLite too. */
static int syncs_of_log;

int fdatasync(int fd)
{
        auto_free char *link = str_printf(NULL, "/proc/self/fd/%d", fd);
        char name[4096];
        ssize_t n = readlink(link, name, sizeof name - 1);

        assert_true(n > 0);
        name[n] = '\0';
        syncs_of_log += str_ends(name, "/store.db-wal");
        return (int) syscall(SYS_fdatasync, fd);
}

/* Also one that writes nothing: what was committed before it may not be there yet. */
static void a_durable_commit_syncs_once(void **state)
{
        auto_free char *dir = unit_make_dir();
        auto_free char *path = str_printf(NULL, "%s/store.db", dir);
        struct db *db = NULL;

        assert_ok(db_open(path, first, &db, unit_err()), unit_err());
        assert_ok(db_write(db, DB_DURABLE, unit_err(), "INSERT INTO t (k) VALUES (?)", "s", "a"), unit_err());
        db = db_close(db);
        assert_ok(db_open(path, first, &db, unit_err()), unit_err());
        assert_ok(db_write(db, DB_FAST, unit_err(), "INSERT INTO t (k) VALUES (?)", "s", "b"), unit_err());

        syncs_of_log = 0;
        assert_ok(db_write(db, DB_FAST, unit_err(), "INSERT INTO t (k) VALUES (?)", "s", "c"), unit_err());
        assert_int_equal(syncs_of_log, 0);
        assert_ok(db_write(db, DB_DURABLE, unit_err(), "INSERT INTO t (k) VALUES (?)", "s", "d"), unit_err());
        assert_int_equal(syncs_of_log, 1);
        assert_ok(db_write(db, DB_DURABLE, unit_err(), "DELETE FROM t WHERE k = ?", "s", "nobody"), unit_err());
        assert_int_equal(syncs_of_log, 2);
        assert_int_equal(rows(db), 4);
        db_close(db);
        file_remove_tree(dir, NULL);
}

static mode_t mode_of(const char *path, const char *suffix)
{
        auto_free char *file = str_printf(NULL, "%s%s", path, suffix);
        struct stat st = { 0 };

        assert_int_equal(stat(file, &st), 0);
        return st.st_mode & 0777;
}

/* Requests are in it, with the variables of containers. */
static void nobody_else_reads_it(void **state)
{
        auto_free char *dir = unit_make_dir();
        auto_free char *path = str_printf(NULL, "%s/store.db", dir);
        struct db *db = NULL;
        mode_t mask = umask(0);

        assert_ok(file_replace(path, "", 0, 0644, false, unit_err()), unit_err());      /* of an agent of before */
        assert_ok(db_open(path, first, &db, unit_err()), unit_err());
        umask(mask);
        assert_int_equal(mode_of(path, ""), 0600);
        assert_int_equal(mode_of(path, "-wal"), 0600);
        assert_int_equal(mode_of(path, "-shm"), 0600);
        db_close(db);
        file_remove_tree(dir, NULL);
}

UNIT_MAIN(
        cmocka_unit_test(commits_stay_and_aborts_do_not),
        cmocka_unit_test(a_durable_commit_syncs_once),
        cmocka_unit_test(nobody_else_reads_it))
