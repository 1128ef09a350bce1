#pragma once

/*
 * SQLite, with prepared statements kept and two kinds of commit
 *
 * One connection for the whole agent, behind a mutex.  A commit survives kill -9
 * always; with DB_DURABLE it also survives a power cut, with all that was committed
 * before it (the WAL is synced before db_end() returns).
 */

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "agent/base/buf.h"
#include "agent/base/own.h"

struct db;

enum db_commit { DB_FAST = 0, DB_DURABLE = 1 };

/*
 * Open or make the database at @path and bring its schema up to date: @migrations[i]
 * is the SQL that leads from version i to i+1, ended by NULL.  A database newer than
 * this program knows is refused.  Its files are made, or become, readable for their owner alone.
 */
int db_open(const char *path, const char *const *migrations, struct db **ret, struct cringle_err *err);
struct db *db_close(struct db *db);

/* One transaction at a time; db_begin() waits for the other. */
int db_begin(struct db *db, struct cringle_err *err);
int db_end(struct db *db, enum db_commit how, struct cringle_err *err);
void db_abort(struct db *db);

/*
 * Inside a transaction: run @sql (prepared once, kept).  @types has one letter per
 * argument: s string (NULL: null), i int64_t, b (const void *, size_t).
 * @row, if not NULL, is called for each row; non-zero from it ends the query with
 * that value.
 */
int db_exec(struct db *db, struct cringle_err *err, const char *sql, const char *types, ...);
int db_query(struct db *db, struct cringle_err *err, int (*row)(void *data, sqlite3_stmt *at), void *data,
             const char *sql, const char *types, ...);

/* db_begin + db_exec + db_end. */
int db_write(struct db *db, enum db_commit how, struct cringle_err *err, const char *sql, const char *types, ...);

AUTO_DEFINE(db, db_close)
