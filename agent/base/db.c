/*
 * SQLite; see db.h.
 *
 * In WAL mode with synchronous=NORMAL a commit is a write(2) to the log and no
 * sync: it survives the process.  A durable commit syncs the log after it, and with
 * that all earlier commits; the next transaction need not wait for the disk, and
 * what it writes meanwhile may go with the same sync.  The log is one file for as
 * long as the database is open.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/db.h"
#include "agent/base/guard.h"
#include "agent/base/map.h"
#include "agent/base/str.h"

struct db {
        sqlite3 *handle;
        int log;                /* the WAL, to sync it */
        pthread_mutex_t lock;   /* held from db_begin() to db_end() or db_abort() */
        struct map prepared;    /* SQL -> sqlite3_stmt */
};

static int fail(struct db *db, struct cringle_err *err, const char *what)
{
        int code = sqlite3_errcode(db->handle);

        return err_set(err, code == SQLITE_FULL ? CRINGLE_E_EXHAUSTED : CRINGLE_E_INTERNAL, "store: %.200s: %s", what,
                       sqlite3_errmsg(db->handle));
}

static int run(struct db *db, const char *sql, struct cringle_err *err)
{
        return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err, sql);
}

static int version_of(struct db *db, int64_t *ret, struct cringle_err *err)
{
        sqlite3_stmt *at;
        int r = -1;

        if (sqlite3_prepare_v2(db->handle, "PRAGMA user_version", -1, &at, NULL) != SQLITE_OK)
                return fail(db, err, "read version");
        if (sqlite3_step(at) == SQLITE_ROW) {
                *ret = sqlite3_column_int64(at, 0);
                r = 0;
        } else {
                fail(db, err, "read version");
        }
        sqlite3_finalize(at);
        return r;
}

static int migrate(struct db *db, const char *const *migrations, struct cringle_err *err)
{
        char set[64];
        int64_t version = 0, newest = 0;

        if (version_of(db, &version, err) < 0)
                return -1;
        while (migrations[newest])
                newest++;
        if (version > newest)
                return err_set(err, CRINGLE_E_PRECONDITION, "store: written by a newer version (%lld, we know %lld)",
                               (long long) version, (long long) newest);

        for (; version < newest; version++) {
                sqlite3_snprintf(sizeof set, set, "PRAGMA user_version = %lld", version + 1);
                if (run(db, "BEGIN EXCLUSIVE", err) < 0)
                        return -1;
                if (run(db, migrations[version], err) < 0 || run(db, set, err) < 0 || run(db, "COMMIT", err) < 0) {
                        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
                        return -1;
                }
        }
        return 0;
}

/*
 * What pods were asked for is in it, their secrets included: for root alone, whatever the umask and the directory
 * are.  SQLite gives its other files the mode of the first; those of a run that crashed may be older.
 */
static int make_private(const char *path, struct cringle_err *err)
{
        static const char *const others[] = { "-wal", "-shm" };
        auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0 || (GUARD(private_store) && fchmod(fd, 0600) < 0))
                return err_sys(err, "open store %s", path);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
                auto_free char *other = str_printf(err, "%s%s", path, others[i]);

                if (!other)
                        return -1;
                if (chmod(other, 0600) < 0 && errno != ENOENT)
                        return err_sys(err, "change the mode of %s", other);
        }
        return 0;
}

/* It is there, as is its header: the version was read in WAL mode. */
static int open_log(struct db *db, const char *path, struct cringle_err *err)
{
        auto_free char *log = str_printf(err, "%s-wal", path);

        if (!log)
                return -1;
        db->log = open(log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        return db->log < 0 ? err_sys(err, "open %s", log) : 0;
}

int db_open(const char *path, const char *const *migrations, struct db **ret, struct cringle_err *err)
{
        auto_of(db) db = NULL;

        if (make_private(path, err) < 0)
                return -1;
        db = calloc(1, sizeof *db);
        if (!db)
                return err_oom(err);
        db->log = -1;
        pthread_mutex_init(&db->lock, NULL);

        if (sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
            SQLITE_OK)
                return err_set(err, CRINGLE_E_INTERNAL, "open store %s: %s", path, sqlite3_errmsg(db->handle));
        sqlite3_busy_timeout(db->handle, 5000);         /* somebody may look with sqlite3(1) */
        if (run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON", err) < 0 ||
            migrate(db, migrations, err) < 0 || open_log(db, path, err) < 0)
                return err_wrap(err, "%s", path);

        *ret = steal(&db);
        return 0;
}

static void finalize(void *statement)
{
        sqlite3_finalize(statement);
}

struct db *db_close(struct db *db)
{
        if (!db)
                return NULL;

        map_done(&db->prepared, finalize);
        sqlite3_close(db->handle);
        fd_close(db->log);
        pthread_mutex_destroy(&db->lock);
        free(db);
        return NULL;
}

int db_begin(struct db *db, struct cringle_err *err)
{
        pthread_mutex_lock(&db->lock);
        if (db_exec(db, err, "BEGIN IMMEDIATE", "") < 0) {
                pthread_mutex_unlock(&db->lock);
                return -1;
        }
        return 0;
}

int db_end(struct db *db, enum db_commit how, struct cringle_err *err)
{
        int r = db_exec(db, err, "COMMIT", "");

        if (r < 0)
                sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        pthread_mutex_unlock(&db->lock);
        if (r == 0 && how == DB_DURABLE && fdatasync(db->log) < 0)
                return err_sys(err, "store: sync the log");
        return r;
}

void db_abort(struct db *db)
{
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        pthread_mutex_unlock(&db->lock);
}

static int bind(struct db *db, sqlite3_stmt *at, const char *types, va_list args, struct cringle_err *err)
{
        for (int i = 1; *types; types++, i++) {
                const void *bytes;
                int r;

                switch (*types) {
                case 's':
                        r = sqlite3_bind_text(at, i, va_arg(args, const char *), -1, SQLITE_STATIC);
                        break;
                case 'i':
                        r = sqlite3_bind_int64(at, i, va_arg(args, int64_t));
                        break;
                case 'b':
                        bytes = va_arg(args, const void *);
                        r = sqlite3_bind_blob64(at, i, bytes ? bytes : "", va_arg(args, size_t), SQLITE_STATIC);
                        break;
                default:
                        return err_set(err, CRINGLE_E_INTERNAL, "store: unknown argument type '%c'", *types);
                }
                if (r != SQLITE_OK)
                        return fail(db, err, "bind");
        }
        return 0;
}

static sqlite3_stmt *prepare(struct db *db, const char *sql, struct cringle_err *err)
{
        sqlite3_stmt *at = map_get(&db->prepared, sql);

        if (at)
                return at;
        if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &at, NULL) != SQLITE_OK) {
                fail(db, err, sql);
                return NULL;
        }
        if (map_put(&db->prepared, sql, at, err) < 0) {
                sqlite3_finalize(at);
                return NULL;
        }
        return at;
}

static int query(struct db *db, struct cringle_err *err, int (*row)(void *, sqlite3_stmt *), void *data,
                 const char *sql, const char *types, va_list args)
{
        sqlite3_stmt *at = prepare(db, sql, err);
        int r = 0, step = SQLITE_DONE;

        if (!at)
                return -1;
        if (bind(db, at, types, args, err) < 0)
                return -1;

        while (r == 0 && (step = sqlite3_step(at)) == SQLITE_ROW)
                r = row ? row(data, at) : 0;
        if (r == 0 && step != SQLITE_DONE)
                r = fail(db, err, sql);
        sqlite3_reset(at);
        sqlite3_clear_bindings(at);
        return r;
}

int db_exec(struct db *db, struct cringle_err *err, const char *sql, const char *types, ...)
{
        va_list args;
        int r;

        va_start(args, types);
        r = query(db, err, NULL, NULL, sql, types, args);
        va_end(args);
        return r;
}

int db_query(struct db *db, struct cringle_err *err, int (*row)(void *data, sqlite3_stmt *at), void *data,
             const char *sql, const char *types, ...)
{
        va_list args;
        int r;

        va_start(args, types);
        r = query(db, err, row, data, sql, types, args);
        va_end(args);
        return r;
}

int db_write(struct db *db, enum db_commit how, struct cringle_err *err, const char *sql, const char *types, ...)
{
        va_list args;
        int r;

        if (db_begin(db, err) < 0)
                return -1;
        va_start(args, types);
        r = query(db, err, NULL, NULL, sql, types, args);
        va_end(args);
        if (r < 0) {
                db_abort(db);
                return -1;
        }
        return db_end(db, how, err);
}
