/*
 * What survives the agent: one row per pod and per container
 *
 * `step` is the intent: "<operation>:<step>" while something outside the process is
 * being made or taken away; at rest there is none.  A row is there before anything of its
 * object is, and goes last.
 *
 * Dozens of steps make a pod's life, few of them change more than the step.  That has
 * a small table of its own, and the other row, kilobytes of it, is written where it changed.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/image/store.h"
#include "agent/pod/model.h"

static const char pod_schema[] =
        "CREATE TABLE pods ("
        "  id TEXT PRIMARY KEY, step TEXT, boot TEXT NOT NULL, request BLOB NOT NULL, status BLOB NOT NULL"
        ") WITHOUT ROWID;"
        "CREATE TABLE containers ("
        "  id TEXT PRIMARY KEY, pod TEXT NOT NULL, step TEXT, image TEXT NOT NULL,"
        "  request BLOB NOT NULL, status BLOB NOT NULL"
        ") WITHOUT ROWID";

/* Since then: SELinux levels. */
static const char level_schema[] = "ALTER TABLE pods ADD COLUMN level TEXT";

/* And where a pod's cgroups are. */
static const char place_schema[] =
        "ALTER TABLE pods ADD COLUMN cgroup_parent TEXT;"
        "ALTER TABLE pods ADD COLUMN monitor_parent TEXT;"
        "ALTER TABLE pods ADD COLUMN place TEXT";

/* And since then: steps apart from what stays, and rows that need no pages of their own beside the tree's. */
static const char steps_schema[] =
        "CREATE TABLE steps (id TEXT PRIMARY KEY, step TEXT NOT NULL) WITHOUT ROWID;"
        "INSERT INTO steps SELECT id, step FROM pods WHERE step IS NOT NULL"
        " UNION ALL SELECT id, step FROM containers WHERE step IS NOT NULL;"
        "ALTER TABLE pods RENAME TO former_pods;"
        "CREATE TABLE pods ("
        "  id TEXT PRIMARY KEY NOT NULL, boot TEXT NOT NULL, request BLOB NOT NULL, status BLOB NOT NULL, level TEXT,"
        "  cgroup_parent TEXT, monitor_parent TEXT, place TEXT);"
        "INSERT INTO pods SELECT id, boot, request, status, level, cgroup_parent, monitor_parent, place FROM former_pods;"
        "DROP TABLE former_pods;"
        "ALTER TABLE containers RENAME TO former_containers;"
        "CREATE TABLE containers ("
        "  id TEXT PRIMARY KEY NOT NULL, pod TEXT NOT NULL, image TEXT NOT NULL, request BLOB NOT NULL, status BLOB NOT NULL);"
        "INSERT INTO containers SELECT id, pod, image, request, status FROM former_containers;"
        "DROP TABLE former_containers;"
        "DROP TABLE IF EXISTS durable";

int store_open(const char *root, struct db **ret, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/store.db", root);
        auto_free char *first = str_printf(err, "%s;%s", pod_schema, image_schema);

        if (!path || !first || file_make_dirs(root, 0700, err) < 0)
                return -1;
        return db_open(path, (const char *const[]) { first, level_schema, place_schema, steps_schema, NULL }, ret, err);
}

static int pack(const void *message, struct buf *ret, struct cringle_err *err)
{
        size_t n = protobuf_c_message_get_packed_size(message);

        if (buf_reserve(ret, n, err) < 0)
                return -1;
        ret->len = protobuf_c_message_pack(message, (uint8_t *) ret->data);
        return 0;
}

/*
 * What goes into a row.  It is put together inside the transaction that writes it, so
 * that of two writers the later one brings the later state, and none brings back a row that was dropped.
 */
struct row {
        enum row_state before;
        struct buf request, status;     /* the first only where there was no row: it stays as it is */
        char *step;
};

static void row_done(struct row *row)
{
        buf_done(&row->request);
        buf_done(&row->status);
        free(row->step);
}

static int end(struct db *db, int r, enum db_commit how, struct cringle_err *err)
{
        if (r == 0)
                return db_end(db, how, err);
        db_abort(db);
        return r;
}

/* The lock is held.  @at is the object's own copy of the step. */
static int fill(struct row *row, enum row_state before, const void *request, const void *status, const char *at,
                struct cringle_err *err)
{
        row->before = before;
        if ((before == ROW_NONE && pack(request, &row->request, err) < 0) || pack(status, &row->status, err) < 0)
                return -1;
        row->step = at ? strdup(at) : NULL;
        return at && !row->step ? err_oom(err) : 0;
}

static int write_step(struct db *db, const char *id, const char *step, struct cringle_err *err)
{
        if (!step)
                return db_exec(db, err, "DELETE FROM steps WHERE id = ?", "s", id);
        return db_exec(db, err, "INSERT INTO steps (id, step) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET step = excluded.step",
                       "ss", id, step);
}

/* The step as stored, kept in *at too; NULL: at rest. */
static int set_step(char **at, const char *operation, const char *step, struct cringle_err *err)
{
        char *fresh = NULL;

        if (operation) {
                fresh = str_printf(err, "%s:%s", operation, step);
                if (!fresh)
                        return -1;
        }
        free(*at);
        *at = fresh;
        return 0;
}

/* Inside the transaction: of a row that is there, what has changed is written. */
static int write_pod(struct db *db, const struct pod *pod, const struct row *row, struct cringle_err *err)
{
        if (row->before == ROW_NONE)
                return db_exec(db, err,
                               "INSERT INTO pods (boot, status, level, cgroup_parent, monitor_parent, place, id, request) "
                               "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                               "sbsssssb", pod->pods->boot_id, row->status.data, row->status.len, pod->level,
                               pod->cgroup_parent, pod->monitor_parent, pod->place, pod->id, row->request.data, row->request.len);
        return db_exec(db, err,
                       "UPDATE pods SET boot = ?1, status = ?2, level = ?3, cgroup_parent = ?4, monitor_parent = ?5, place = ?6 "
                       "WHERE id = ?7 AND (boot, status, level, cgroup_parent, monitor_parent, place) IS NOT (?1, ?2, ?3, ?4, ?5, ?6)",
                       "sbsssss", pod->pods->boot_id, row->status.data, row->status.len, pod->level,
                       pod->cgroup_parent, pod->monitor_parent, pod->place, pod->id);
}

/* The row is in the transaction; without that the object is given up. */
static void set_there(struct pods *pods, enum row_state *state)
{
        pthread_mutex_lock(&pods->tasks.lock);
        *state = ROW_THERE;
        pthread_mutex_unlock(&pods->tasks.lock);
}

int store_pod(struct pod *pod, const char *operation, const char *step, enum db_commit how, struct cringle_err *err)
{
        struct db *db = pod->pods->db;
        struct row row = { 0 };
        int r;

        if (db_begin(db, err) < 0)
                return -1;
        pthread_mutex_lock(&pod->pods->tasks.lock);
        r = set_step(&pod->step, operation, step, err);
        if (r == 0)
                r = fill(&row, pod->row, pod->request, pod->status, pod->step, err);
        pthread_mutex_unlock(&pod->pods->tasks.lock);

        if (r == 0 && row.before != ROW_GONE) {
                r = write_pod(db, pod, &row, err);
                if (r == 0)
                        r = write_step(db, pod->id, row.step, err);
                if (r == 0 && row.before == ROW_NONE)
                        set_there(pod->pods, &pod->row);
        }
        row_done(&row);
        return end(db, r, how, err);
}

/* A request as @pod's, with the limits that hold now; its parts are borrowed.  The lock is held. */
static int pack_request(const struct pod *pod, const Cri__UpdatePodSandboxResourcesRequest *update, struct buf *ret,
                        struct cringle_err *err)
{
        Cri__RunPodSandboxRequest request = *pod->request;
        Cri__PodSandboxConfig config = *pod->request->config;
        Cri__LinuxPodSandboxConfig linux_part = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;

        if (config.linux)
                linux_part = *config.linux;
        if (update->overhead)
                linux_part.overhead = update->overhead;
        if (update->resources)
                linux_part.resources = update->resources;
        config.linux = &linux_part;
        request.config = &config;
        return pack(&request, ret, err);
}

int store_pod_resources(struct pod *pod, Cri__UpdatePodSandboxResourcesRequest **update, struct cringle_err *err)
{
        struct db *db = pod->pods->db;
        Cri__UpdatePodSandboxResourcesRequest *former;
        auto_buf request = BUF_INIT;
        int r;

        if (db_begin(db, err) < 0)
                return -1;
        pthread_mutex_lock(&pod->pods->tasks.lock);
        former = pod->resources;
        /* Each half may be left out, and then stays. */
        if (former && !(*update)->overhead)
                (*update)->overhead = steal(&former->overhead);
        if (former && !(*update)->resources)
                (*update)->resources = steal(&former->resources);
        r = pack_request(pod, *update, &request, err);
        pod->resources = *update;
        *update = former;
        pthread_mutex_unlock(&pod->pods->tasks.lock);

        if (r == 0)
                r = db_exec(db, err, "UPDATE pods SET request = ? WHERE id = ?", "bs", request.data, request.len, pod->id);
        return end(db, r, DB_FAST, err);
}

static int write_container(struct db *db, const struct container *c, const struct row *row, struct cringle_err *err)
{
        if (row->before == ROW_NONE)
                return db_exec(db, err, "INSERT INTO containers (image, status, id, pod, request) VALUES (?, ?, ?, ?, ?)", "sbssb",
                               c->status->image_id, row->status.data, row->status.len, c->id, c->pod->id,
                               row->request.data, row->request.len);
        return db_exec(db, err, "UPDATE containers SET image = ?1, status = ?2 WHERE id = ?3 AND (image, status) IS NOT (?1, ?2)",
                       "sbs", c->status->image_id, row->status.data, row->status.len, c->id);
}

static int put_container(struct container *c, bool keep_step, const char *operation, const char *step,
                         enum db_commit how, struct cringle_err *err)
{
        struct db *db = c->pods->db;
        struct row row = { 0 };
        int r;

        if (db_begin(db, err) < 0)
                return -1;
        pthread_mutex_lock(&c->pods->tasks.lock);
        r = keep_step ? 0 : set_step(&c->step, operation, step, err);
        if (r == 0)
                r = fill(&row, c->row, c->request, c->status, c->step, err);
        pthread_mutex_unlock(&c->pods->tasks.lock);

        if (r == 0 && row.before != ROW_GONE) {
                r = write_container(db, c, &row, err);
                if (r == 0 && !keep_step)
                        r = write_step(db, c->id, row.step, err);
                if (r == 0 && row.before == ROW_NONE)
                        set_there(c->pods, &c->row);
        }
        row_done(&row);
        return end(db, r, how, err);
}

int store_container(struct container *c, const char *operation, const char *step, enum db_commit how,
                    struct cringle_err *err)
{
        return put_container(c, false, operation, step, how, err);
}

int store_container_state(struct container *c, enum db_commit how, struct cringle_err *err)
{
        return put_container(c, true, NULL, NULL, how, err);
}

static int delete_row(struct db *db, const char *sql, const char *id, struct cringle_err *err)
{
        return db_exec(db, err, sql, "s", id) < 0 ? -1 : write_step(db, id, NULL, err);
}

/* It is gone once the transaction is: nobody writes the row meanwhile, and a failure leaves it as it was. */
static int drop(struct pods *pods, const char *sql, const char *id, enum row_state *state, enum db_commit how,
                struct cringle_err *err)
{
        int r;

        if (db_begin(pods->db, err) < 0)
                return -1;
        r = delete_row(pods->db, sql, id, err);
        if (r == 0) {
                pthread_mutex_lock(&pods->tasks.lock);
                *state = ROW_GONE;
                pthread_mutex_unlock(&pods->tasks.lock);
        }
        return end(pods->db, r, how, err);
}

int store_drop_pod(struct pod *pod, enum db_commit how, struct cringle_err *err)
{
        return drop(pod->pods, "DELETE FROM pods WHERE id = ?", pod->id, &pod->row, how, err);
}

int store_drop_container(struct container *c, enum db_commit how, struct cringle_err *err)
{
        return drop(c->pods, "DELETE FROM containers WHERE id = ?", c->id, &c->row, how, err);
}

int store_drop_orphan(struct db *db, const char *id, struct cringle_err *err)
{
        if (db_begin(db, err) < 0)
                return -1;
        return end(db, delete_row(db, "DELETE FROM containers WHERE id = ?", id, err), DB_FAST, err);
}

struct load {
        int (*fn)(void *data, const struct stored *row, struct cringle_err *err);
        void *data;
        struct cringle_err *err;
};

static const char *text(sqlite3_stmt *at, int column)
{
        return (const char *) sqlite3_column_text(at, column);
}

static int load_row(void *data, sqlite3_stmt *at)
{
        struct load *load = data;
        struct stored row = {
                .id = text(at, 0),
                .pod = text(at, 1),
                .image = text(at, 2),
                .step = text(at, 3),
                .boot_id = text(at, 4),
                .request = sqlite3_column_blob(at, 5),
                .request_size = (size_t) sqlite3_column_bytes(at, 5),
                .status = sqlite3_column_blob(at, 6),
                .status_size = (size_t) sqlite3_column_bytes(at, 6),
                .level = text(at, 7),
                .cgroup_parent = text(at, 8),
                .monitor_parent = text(at, 9),
                .place = text(at, 10),
        };

        return load->fn(load->data, &row, load->err);
}

static int load(struct db *db, const char *sql, struct load *l)
{
        int r;

        if (db_begin(db, l->err) < 0)
                return -1;
        r = db_query(db, l->err, load_row, l, sql, "");
        db_abort(db);
        return r;
}

int store_load_pods(struct db *db, int (*fn)(void *data, const struct stored *row, struct cringle_err *err),
                    void *data, struct cringle_err *err)
{
        return load(db, "SELECT id, id, '', step, boot, request, status, level, cgroup_parent, monitor_parent, place "
                    "FROM pods LEFT JOIN steps USING (id)",
                    &(struct load) { .fn = fn, .data = data, .err = err });
}

int store_load_containers(struct db *db, int (*fn)(void *data, const struct stored *row, struct cringle_err *err),
                          void *data, struct cringle_err *err)
{
        return load(db, "SELECT id, pod, image, step, '', request, status, NULL, NULL, NULL, NULL "
                    "FROM containers LEFT JOIN steps USING (id)",
                    &(struct load) { .fn = fn, .data = data, .err = err });
}
