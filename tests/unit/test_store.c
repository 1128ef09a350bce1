/* A store that an earlier agent wrote is taken over whole: rows, and the steps that it had come to. */

#include "tests/support/unit.h"

#include "agent/base/db.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

/* The first version's tables of pods and containers, and what the second and third added. */
static const char former_schema[] =
        "CREATE TABLE pods (id TEXT PRIMARY KEY, step TEXT, boot TEXT NOT NULL, request BLOB NOT NULL, status BLOB NOT NULL)"
        " WITHOUT ROWID;"
        "CREATE TABLE containers (id TEXT PRIMARY KEY, pod TEXT NOT NULL, step TEXT, image TEXT NOT NULL,"
        " request BLOB NOT NULL, status BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE durable (n INTEGER)";
static const char *const former[] = {
        former_schema,
        "ALTER TABLE pods ADD COLUMN level TEXT",
        "ALTER TABLE pods ADD COLUMN cgroup_parent TEXT; ALTER TABLE pods ADD COLUMN monitor_parent TEXT;"
        "ALTER TABLE pods ADD COLUMN place TEXT",
        NULL,
};

static void must(struct db *db, const char *sql)
{
        assert_ok(db_write(db, DB_FAST, unit_err(), sql, ""), unit_err());
}

static const char *shown(const char *text)
{
        return text ? text : "-";
}

static int add_row(void *data, const struct stored *row, struct cringle_err *err)
{
        auto_free char *line = str_printf(err, "%s pod=%s image=%s step=%s boot=%s request=%.*s status=%.*s level=%s place=%s/%s/%s",
                                          row->id, row->pod, row->image, shown(row->step), row->boot_id,
                                          (int) row->request_size, (const char *) row->request, (int) row->status_size,
                                          (const char *) row->status, shown(row->level), shown(row->cgroup_parent),
                                          shown(row->monitor_parent), shown(row->place));

        return strv_add(data, line, err);
}

static int count_row(void *data, sqlite3_stmt *at)
{
        (*(int *) data)++;
        return 0;
}

static void an_earlier_one_is_taken_over(void **state)
{
        auto_free char *dir = unit_make_dir();
        auto_free char *path = str_printf(NULL, "%s/store.db", dir);
        auto_strv pods = NULL;
        auto_strv containers = NULL;
        struct db *db = NULL;
        int left_over = 0;

        assert_ok(db_open(path, former, &db, unit_err()), unit_err());
        must(db, "INSERT INTO pods VALUES ('a', NULL, 'b1', 'asked', 'was', 's0:c1', '/kube', '/mon', 'here'),"
                 " ('b', 'run:attach', 'b2', 'more', 'is', NULL, NULL, NULL, NULL)");
        must(db, "INSERT INTO containers VALUES ('c', 'a', 'stop:kill', 'sha', 'wanted', 'got'),"
                 " ('d', 'a', NULL, 'sha', 'wanted too', 'got too')");
        db = db_close(db);

        assert_ok(store_open(dir, &db, unit_err()), unit_err());
        assert_ok(store_load_pods(db, add_row, &pods, unit_err()), unit_err());
        assert_ok(store_load_containers(db, add_row, &containers, unit_err()), unit_err());
        assert_int_equal(strv_count((const char *const *) pods), 2);
        assert_string_equal(pods[0], "a pod=a image= step=- boot=b1 request=asked status=was level=s0:c1 place=/kube//mon/here");
        assert_string_equal(pods[1], "b pod=b image= step=run:attach boot=b2 request=more status=is level=- place=-/-/-");
        assert_int_equal(strv_count((const char *const *) containers), 2);
        assert_string_equal(containers[0], "c pod=a image=sha step=stop:kill boot= request=wanted status=got level=- place=-/-/-");
        assert_string_equal(containers[1], "d pod=a image=sha step=- boot= request=wanted too status=got too level=- place=-/-/-");

        assert_ok(store_drop_orphan(db, "c", unit_err()), unit_err());
        assert_ok(db_begin(db, unit_err()), unit_err());
        assert_ok(db_query(db, unit_err(), count_row, &left_over, "SELECT id FROM steps WHERE id = 'c'", ""), unit_err());
        assert_ok(db_query(db, unit_err(), count_row, &left_over,
                           "SELECT name FROM sqlite_master WHERE name LIKE 'former%' OR name = 'durable'", ""), unit_err());
        db_abort(db);
        assert_int_equal(left_over, 0);
        db_close(db);
        file_remove_tree(dir, NULL);
}

UNIT_MAIN(cmocka_unit_test(an_earlier_one_is_taken_over))
