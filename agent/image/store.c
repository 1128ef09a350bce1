/*
 * The image index; see store.h and index.h.
 *
 * Memory is changed after the database, so a listed image is a durable one.  What the backend
 * removes comes last: a crash in between leaves layers without an image, which the next sweep
 * drops, and never an image without layers.
 */

#include <string.h>

#include "agent/base/call.h"
#include "agent/base/db.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/testpoint.h"
#include "agent/image/image.h"
#include "agent/image/index.h"
#include "agent/image/reference.h"
#include "agent/image/store.h"

#define HEX_LEN (DIGEST_LEN - 7)
#define PREFIX_MIN 12                   /* digits of an id that may stand for it */

const char image_schema[] =
        "CREATE TABLE images ("
        " id TEXT PRIMARY KEY,"
        " config TEXT NOT NULL,"
        " removed INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE image_names ("
        " name TEXT PRIMARY KEY,"
        " digest INTEGER NOT NULL,"     /* 1: a digest reference, 0: a tag */
        " image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE) WITHOUT ROWID;"
        "CREATE INDEX image_names_by_image ON image_names (image);"
        "CREATE TABLE image_layers ("
        " image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,"
        " position INTEGER NOT NULL,"
        " chain_id TEXT NOT NULL,"
        " bytes INTEGER NOT NULL,"
        " inodes INTEGER NOT NULL,"
        " PRIMARY KEY (image, position)) WITHOUT ROWID;";

static void entry_free(struct entry *e)
{
        if (!e)
                return;
        image_unref(e->image);
        strv_free(e->holders);
        free(e->layers);
        free(e);
}

AUTO_DEFINE(entry, entry_free)

/* Where the entry @id is, or would be.  Locked, by either mutex. */
static size_t place_of(const struct images *s, const char *id)
{
        size_t low = 0, high = s->n_entries;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(s->entries[middle]->image->id, id) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static struct entry *entry_at(const struct images *s, const char *id)
{
        size_t i = place_of(s, id);

        return i < s->n_entries && str_equal(s->entries[i]->image->id, id) ? s->entries[i] : NULL;
}

static int make_room(struct images *s, struct cringle_err *err)
{
        struct entry **more;

        if (s->n_entries < s->room)
                return 0;
        more = reallocarray(s->entries, s->room + 64, sizeof *more);
        if (!more)
                return err_oom(err);
        s->entries = more;
        s->room += 64;
        return 0;
}

/* There is room.  Locked. */
static void insert(struct images *s, struct entry *e)
{
        size_t i = place_of(s, e->image->id);

        memmove(&s->entries[i + 1], &s->entries[i], (s->n_entries - i) * sizeof *s->entries);
        s->entries[i] = e;
        s->n_entries++;
}

static void take_out(struct images *s, struct entry *e)
{
        size_t i = place_of(s, e->image->id);

        s->n_entries--;
        memmove(&s->entries[i], &s->entries[i + 1], (s->n_entries - i) * sizeof *s->entries);
}

static void show(struct entry *e, struct image *now, enum entry_state state)
{
        image_unref(e->image);
        e->image = now;
        e->state = state;
}

static bool is_hex(const char *s, size_t n)
{
        return strspn(s, "0123456789abcdef") == n && s[n] == '\0';
}

/* The one listed image whose id begins with the digits @hex. */
static struct entry *entry_by_prefix(const struct images *s, const char *hex)
{
        struct entry *found = NULL;

        for (size_t i = 0; i < s->n_entries; i++) {
                struct entry *e = s->entries[i];

                if (e->state != ENTRY_LISTED || !str_starts(e->image->id + strlen("sha256:"), hex))
                        continue;
                if (found)
                        return NULL;
                found = e;
        }
        return found;
}

static struct entry *entry_by_name(const struct images *s, const char *full)
{
        for (size_t i = 0; i < s->n_entries; i++) {
                struct entry *e = s->entries[i];

                if (e->state == ENTRY_LISTED && (strv_has((const char *const *) e->image->tags, full) ||
                                                 strv_has((const char *const *) e->image->digests, full)))
                        return e;
        }
        return NULL;
}

/* What a reference is called in the index: with a digest the tag does not count. */
static char *name_of(const struct reference *r, struct cringle_err *err)
{
        return r->digest ? reference_text_digest(r, r->digest, err) : reference_text(r, err);
}

/* The listed image that @name means.  Locked. */
static struct entry *lookup(const struct images *s, const char *name)
{
        const char *hex = str_starts(name, "sha256:") ? name + strlen("sha256:") : name;
        auto_reference r = REFERENCE_INIT;
        auto_free char *full = NULL;
        struct entry *e = NULL;
        size_t n = strlen(hex);

        /* A whole id can be no reference, and the kubelet asks by id most of the time. */
        if (n != HEX_LEN && reference_parse(name, &r, NULL) == 0) {
                full = name_of(&r, NULL);
                e = full ? entry_by_name(s, full) : NULL;
        }
        if (!e && n >= PREFIX_MIN && n <= HEX_LEN && is_hex(hex, n))
                e = entry_by_prefix(s, hex);
        return e;
}

struct image *images_find(struct images *images, const char *name)
{
        struct image *found = NULL;
        struct entry *e;

        pthread_mutex_lock(&images->lock);
        e = lookup(images, name);
        if (e)
                found = image_ref(e->image);
        pthread_mutex_unlock(&images->lock);
        return found;
}

struct image *images_get(struct images *images, const char *id)
{
        struct image *found = NULL;
        struct entry *e;

        pthread_mutex_lock(&images->lock);
        e = entry_at(images, id);
        if (e && e->state != ENTRY_DOOMED)
                found = image_ref(e->image);
        pthread_mutex_unlock(&images->lock);
        return found;
}

int images_list(struct images *images, const char *name, struct image ***ret, size_t *ret_n, struct cringle_err *err)
{
        struct image **list;
        size_t n = 0;

        pthread_mutex_lock(&images->lock);
        list = calloc(images->n_entries + 1, sizeof *list);
        if (list && !str_empty(name)) {
                struct entry *e = lookup(images, name);

                if (e)
                        list[n++] = image_ref(e->image);
        } else if (list) {
                for (size_t i = 0; i < images->n_entries; i++)
                        if (images->entries[i]->state == ENTRY_LISTED)
                                list[n++] = image_ref(images->entries[i]->image);
        }
        pthread_mutex_unlock(&images->lock);
        if (!list)
                return err_oom(err);

        *ret = list;
        *ret_n = n;
        return 0;
}

void images_list_free(struct image **list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                image_unref(list[i]);
        free(list);
}

/* --- changes --- */

/* One entry that is to look different once the database has said yes. */
struct change {
        struct entry *entry;
        struct image *fresh;
};

static int without(char **list, const char *name, char ***ret, struct cringle_err *err)
{
        auto_strv kept = NULL;

        for (char **at = list; at && *at; at++)
                if (!name || !str_equal(*at, name))
                        if (strv_add(&kept, *at, err) < 0)
                                return -1;
        *ret = steal(&kept);
        return 0;
}

/* The image @old after the names @tag and @digest (each may be NULL) were given to another one. */
static int deprive(const struct images *s, const struct image *old, const char *tag, const char *digest,
                   struct image **ret, struct cringle_err *err)
{
        auto_strv tags = NULL;
        auto_strv digests = NULL;

        if (without(old->tags, tag, &tags, err) < 0 || without(old->digests, digest, &digests, err) < 0)
                return -1;
        return image_renamed(old, tags, digests, s->settings, ret, err);
}

/* As deprive(), and then with these names. */
static int endow(const struct images *s, const struct image *old, const char *tag, const char *digest,
                 struct image **ret, struct cringle_err *err)
{
        auto_strv tags = NULL;
        auto_strv digests = NULL;

        if (without(old->tags, tag, &tags, err) < 0 || without(old->digests, digest, &digests, err) < 0)
                return -1;
        if ((tag && strv_add(&tags, tag, err) < 0) || strv_add(&digests, digest, err) < 0)
                return -1;
        return image_renamed(old, tags, digests, s->settings, ret, err);
}

static int write_name(struct db *db, const char *name, int64_t digest, const char *id, struct cringle_err *err)
{
        return db_exec(db, err, "INSERT OR REPLACE INTO image_names (name, digest, image) VALUES (?, ?, ?)", "sis", name,
                       digest, id);
}

static int write_rows(struct db *db, const struct record *r, struct cringle_err *err)
{
        if (db_exec(db, err, "INSERT INTO images (id, config, removed) VALUES (?, ?, 0)"
                             " ON CONFLICT (id) DO UPDATE SET removed = 0", "ss", r->id, r->config) < 0)
                return -1;
        if ((r->tag && write_name(db, r->tag, 0, r->id, err) < 0) || write_name(db, r->digest, 1, r->id, err) < 0)
                return -1;
        for (size_t i = 0; i < r->n_layers; i++)
                if (db_exec(db, err, "INSERT OR REPLACE INTO image_layers (image, position, chain_id, bytes, inodes)"
                                     " VALUES (?, ?, ?, ?, ?)", "sisii", r->id, (int64_t) i, r->layers[i]->chain_id,
                            (int64_t) r->layers[i]->bytes, (int64_t) r->layers[i]->inodes) < 0)
                        return -1;
        return 0;
}

static int write_record(struct db *db, const struct record *r, struct cringle_err *err)
{
        if (db_begin(db, err) < 0)
                return -1;
        if (write_rows(db, r, err) < 0) {
                db_abort(db);
                return -1;
        }
        return db_end(db, DB_DURABLE, err);
}

/* A new entry with an image of @parts, which stand on @layers. */
static int entry_new(const struct images *s, struct image_parts *parts, struct layer **layers, size_t n,
                     struct entry **ret, struct cringle_err *err)
{
        auto_free const char **chain_ids = calloc(n + 1, sizeof *chain_ids);
        auto_of(entry) e = calloc(1, sizeof *e);

        if (!e || !chain_ids)
                return err_oom(err);
        e->layers = calloc(n + 1, sizeof *e->layers);
        if (!e->layers)
                return err_oom(err);
        e->n_layers = n;
        parts->size = strlen(parts->config);
        for (size_t i = 0; i < n; i++) {
                e->layers[i] = layers[i];
                chain_ids[i] = layers[i]->chain_id;
                parts->size += layers[i]->bytes;
        }
        parts->chain_ids = chain_ids;
        if (image_new(parts, s->settings, &e->image, err) < 0)
                return -1;
        *ret = steal(&e);
        return 0;
}

static int entry_of_record(const struct images *s, const struct record *r, struct entry **ret, struct cringle_err *err)
{
        const char *tags[] = { r->tag, NULL }, *digests[] = { r->digest, NULL };
        struct image_parts parts = { .id = r->id, .config = r->config, .tags = tags, .digests = digests };

        return entry_new(s, &parts, r->layers, r->n_layers, ret, err);
}

/* Work out who looks how afterwards: the image itself, and who loses a name to it.  Under `change`. */
static int plan_record(struct images *s, const struct record *r, struct change plan[static 3], size_t *ret_n,
                       struct entry **ret_fresh, struct cringle_err *err)
{
        struct entry *known = entry_at(s, r->id);

        if (known) {
                if (endow(s, known->image, r->tag, r->digest, &plan[0].fresh, err) < 0)
                        return -1;
                plan[(*ret_n)++].entry = known;
        } else if (entry_of_record(s, r, ret_fresh, err) < 0) {
                return -1;
        }

        for (size_t i = 0; i < s->n_entries; i++) {
                struct entry *e = s->entries[i];

                if (e == known || !((r->tag && strv_has((const char *const *) e->image->tags, r->tag)) ||
                                    strv_has((const char *const *) e->image->digests, r->digest)))
                        continue;
                if (deprive(s, e->image, r->tag, r->digest, &plan[*ret_n].fresh, err) < 0)
                        return -1;
                plan[(*ret_n)++].entry = e;
        }
        return 0;
}

int index_record(struct images *images, const struct record *r, struct cringle_err *err)
{
        struct change plan[3] = { 0 };  /* itself, the tag's owner, the digest's owner */
        struct entry *fresh = NULL;
        size_t n = 0;
        int result;

        pthread_mutex_lock(&images->change);
        pthread_mutex_lock(&images->lock);
        result = make_room(images, err);
        pthread_mutex_unlock(&images->lock);

        if (result == 0)
                result = plan_record(images, r, plan, &n, &fresh, err);
        if (result == 0)
                result = write_record(images->db, r, err);
        if (result == 0) {
                test_point("pull:recorded");
                pthread_mutex_lock(&images->lock);
                for (size_t i = 0; i < n; i++)
                        show(plan[i].entry, steal(&plan[i].fresh),
                             str_equal(plan[i].entry->image->id, r->id) ? ENTRY_LISTED : plan[i].entry->state);
                if (fresh)
                        insert(images, fresh);
                pthread_mutex_unlock(&images->lock);
        }
        pthread_mutex_unlock(&images->change);

        if (result < 0) {
                for (size_t i = 0; i < 3; i++)
                        image_unref(plan[i].fresh);
                entry_free(fresh);
                return err_wrap(err, "record image");
        }
        if (!fresh)             /* it has claims of its own already */
                layers_drop(&images->layers, r->layers, r->n_layers);
        return 0;
}

/* Take a doomed entry out for good.  Under `change`, which is given back: removing files takes its time. */
static void bury(struct images *s, struct entry *e)
{
        pthread_mutex_lock(&s->lock);
        take_out(s, e);
        pthread_mutex_unlock(&s->lock);
        pthread_mutex_unlock(&s->change);

        layers_drop(&s->layers, e->layers, e->n_layers);
        test_point("remove:layers");
        entry_free(e);
}

static int write_hidden(struct db *db, const char *id, struct cringle_err *err)
{
        if (db_begin(db, err) < 0)
                return -1;
        if (db_exec(db, err, "UPDATE images SET removed = 1 WHERE id = ?", "s", id) < 0 ||
            db_exec(db, err, "DELETE FROM image_names WHERE image = ?", "s", id) < 0) {
                db_abort(db);
                return -1;
        }
        return db_end(db, DB_DURABLE, err);
}

static int write_gone(struct db *db, const char *id, enum db_commit how, struct cringle_err *err)
{
        return db_write(db, how, err, "DELETE FROM images WHERE id = ?", "s", id);
}

int images_remove(struct images *images, const struct cringle_call *call, const char *name, struct cringle_err *err)
{
        auto_of(image) nameless = NULL;
        struct entry *e;
        bool held;
        int r;

        if (call_check(call, err) < 0)
                return -1;

        pthread_mutex_lock(&images->change);
        pthread_mutex_lock(&images->lock);
        e = lookup(images, name);
        held = e && e->holders && *e->holders;
        if (e)                  /* from here on nobody finds it, and nobody new holds it when nobody does */
                e->state = held ? ENTRY_HIDDEN : ENTRY_DOOMED;
        pthread_mutex_unlock(&images->lock);
        if (!e) {
                pthread_mutex_unlock(&images->change);
                return 0;
        }

        r = held ? image_renamed(e->image, NULL, NULL, images->settings, &nameless, err) : 0;
        if (r == 0)
                r = held ? write_hidden(images->db, e->image->id, err)
                         : write_gone(images->db, e->image->id, DB_DURABLE, err);

        pthread_mutex_lock(&images->lock);
        if (r < 0)
                e->state = ENTRY_LISTED;
        else if (held)
                show(e, steal(&nameless), ENTRY_HIDDEN);
        pthread_mutex_unlock(&images->lock);

        if (r < 0 || held) {
                pthread_mutex_unlock(&images->change);
                if (r < 0)
                        return err_wrap(err, "remove image %s", name);
                test_point("remove:hidden");
                return 0;       /* a holder that let go meanwhile waits for `change`, to bury it */
        }
        test_point("remove:recorded");
        bury(images, e);
        return 0;
}

/* End one image that was removed and that nobody holds any more.  False: there is none. */
static bool bury_one(struct images *s)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct entry *e = NULL;

        pthread_mutex_lock(&s->change);
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; s->swept && i < s->n_entries && !e; i++)
                if (s->entries[i]->state == ENTRY_HIDDEN && !(s->entries[i]->holders && *s->entries[i]->holders))
                        e = s->entries[i];
        if (e)
                e->state = ENTRY_DOOMED;
        pthread_mutex_unlock(&s->lock);
        if (!e) {
                pthread_mutex_unlock(&s->change);
                return false;
        }

        /* That it was removed is durable; when this row comes back after a power cut, so does this function. */
        if (write_gone(s->db, e->image->id, DB_FAST, &err) < 0) {
                log_warning("forget image %s: %s, left for the next start", e->image->id, err.text);
                pthread_mutex_unlock(&s->change);
                return true;
        }
        bury(s, e);
        return true;
}

int images_hold(struct images *images, const char *id, const char *holder, struct cringle_err *err)
{
        struct entry *e;
        int r = 0;

        pthread_mutex_lock(&images->lock);
        e = entry_at(images, id);
        if (!e || e->state == ENTRY_DOOMED)
                r = err_set(err, CRINGLE_E_NOT_FOUND, "image %s: not found", id);
        else if (!strv_has((const char *const *) e->holders, holder))
                r = strv_add(&e->holders, holder, err);
        pthread_mutex_unlock(&images->lock);
        return r;
}

static void strike(char **list, const char *name)
{
        char **to = list;

        for (char **at = list; at && *at; at++) {
                if (str_equal(*at, name))
                        free(*at);
                else
                        *to++ = *at;
        }
        if (to)
                *to = NULL;
}

void images_release(struct images *images, const char *holder)
{
        pthread_mutex_lock(&images->lock);
        for (size_t i = 0; i < images->n_entries; i++)
                strike(images->entries[i]->holders, holder);
        pthread_mutex_unlock(&images->lock);

        while (bury_one(images))
                ;
}

int images_sweep(struct images *images, const char *const *ids, struct cringle_err *err)
{
        auto_strv chain_ids = NULL;
        size_t at = 0;
        const char *id;
        void *layer;
        int r = 0;

        pthread_mutex_lock(&images->lock);
        images->swept = true;
        pthread_mutex_unlock(&images->lock);
        while (bury_one(images))
                ;

        pthread_mutex_lock(&images->change);
        pthread_mutex_lock(&images->lock);
        if (images->pulls)
                r = err_set(err, CRINGLE_E_PRECONDITION, "sweep images: a pull is running");
        while (r == 0 && map_next(&images->layers.all, &at, &id, &layer))
                r = strv_add(&chain_ids, id, err);
        pthread_mutex_unlock(&images->lock);
        if (r == 0)
                r = images->ops->sweep(images->self, (const char *const *) chain_ids, ids, err);
        pthread_mutex_unlock(&images->change);
        return r;
}

/* An image that there is no memory to make anew stays pinned, or not, as it was. */
void images_take_over(struct images *images, struct settings *fresh)
{
        struct settings *former;

        pthread_mutex_lock(&images->change);
        for (size_t i = 0; i < images->n_entries; i++) {
                struct image *old = images->entries[i]->image, *now = NULL;
                struct cringle_err err = CRINGLE_ERR_INIT;

                if (image_renamed(old, old->tags, old->digests, fresh, &now, &err) < 0) {
                        log_warning("image %s: %s; going on with what was pinned before", old->id, err.text);
                        continue;
                }
                pthread_mutex_lock(&images->lock);
                show(images->entries[i], now, images->entries[i]->state);
                pthread_mutex_unlock(&images->lock);
        }
        pthread_mutex_lock(&images->lock);
        former = images->settings;
        images->settings = fresh;
        pthread_mutex_unlock(&images->lock);
        pthread_mutex_unlock(&images->change);
        settings_unref(former);
}

/* --- loading --- */

/* Rows of one image, as they come. */
struct loading {
        struct images *images;
        char *config;
        bool removed;
        bool unsure;            /* the backend could not tell: not a reason to drop an image */
        char **ids;             /* all images */
        char **tags, **digests;
        struct layer **layers;
        size_t n_layers, room;
        struct cringle_err *err;
};

static const char *text_at(sqlite3_stmt *at, int column)
{
        const char *text = (const char *) sqlite3_column_text(at, column);

        return text ? text : "";
}

static int load_id(void *data, sqlite3_stmt *at)
{
        struct loading *l = data;

        return strv_add(&l->ids, text_at(at, 0), l->err);
}

static int load_config(void *data, sqlite3_stmt *at)
{
        struct loading *l = data;

        l->config = strdup(text_at(at, 0));
        l->removed = sqlite3_column_int(at, 1);
        return l->config ? 0 : err_oom(l->err);
}

static int load_name(void *data, sqlite3_stmt *at)
{
        struct loading *l = data;

        return strv_add(sqlite3_column_int(at, 1) ? &l->digests : &l->tags, text_at(at, 0), l->err);
}

static int load_layer(void *data, sqlite3_stmt *at)
{
        struct loading *l = data;
        struct layer *layer;

        if (l->n_layers == l->room) {
                struct layer **more = reallocarray(l->layers, l->room + 16, sizeof *more);

                if (!more)
                        return err_oom(l->err);
                l->layers = more;
                l->room += 16;
        }
        if (layers_claim(&l->images->layers, text_at(at, 0), &layer, l->err) < 0)
                return -1;
        l->layers[l->n_layers++] = layer;
        layer->bytes = (uint64_t) sqlite3_column_int64(at, 1);
        layer->inodes = (uint64_t) sqlite3_column_int64(at, 2);
        return 0;
}

/* All rows of the image @id. */
static int load_rows(struct loading *l, const char *id)
{
        struct db *db = l->images->db;
        int r;

        if (db_begin(db, l->err) < 0)
                return -1;
        r = db_query(db, l->err, load_config, l, "SELECT config, removed FROM images WHERE id = ?", "s", id);
        if (r == 0)
                r = db_query(db, l->err, load_name, l, "SELECT name, digest FROM image_names WHERE image = ?", "s", id);
        if (r == 0)
                r = db_query(db, l->err, load_layer, l, "SELECT chain_id, bytes, inodes FROM image_layers"
                                                        " WHERE image = ? ORDER BY position", "s", id);
        db_abort(db);
        return r;
}

/* The layers exist?  Each is asked for once. */
static int check_layers(struct loading *l, struct cringle_err *err)
{
        for (size_t i = 0; i < l->n_layers; i++) {
                struct layer *layer = l->layers[i];
                int r;

                if (layer->state == LAYER_PRESENT)
                        continue;
                r = l->images->ops->layer_exists(l->images->self, layer->chain_id, err);
                if (r < 0) {
                        l->unsure = true;
                        return -1;
                }
                if (r == 0)
                        return err_set(err, CRINGLE_E_DATA_LOSS, "layer %s is missing", layer->chain_id);
                layer->state = LAYER_PRESENT;
        }
        return 0;
}

static int load_entry(struct loading *l, const char *id, struct entry **ret, struct cringle_err *err)
{
        struct image_parts parts = {
                .id = id,
                .config = l->config,
                .tags = (const char *const *) l->tags,
                .digests = (const char *const *) l->digests,
        };

        if (!digest_valid(id))
                return err_set(err, CRINGLE_E_DATA_LOSS, "'%s' is no image id", id);
        if (check_layers(l, err) < 0 || entry_new(l->images, &parts, l->layers, l->n_layers, ret, err) < 0)
                return -1;
        (*ret)->state = l->removed ? ENTRY_HIDDEN : ENTRY_LISTED;
        return 0;
}

static void loading_done(struct loading *l)
{
        free(l->config);
        strv_free(l->tags);
        strv_free(l->digests);
        free(l->layers);
        strv_free(l->ids);
}

/*
 * The layers of a dropped image are let go of in memory only: what is on the disk of them
 * belongs to the sweep, which knows what other images use.
 */
static void let_go(struct images *s, struct layer **list, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (list[i]->users == 1)
                        list[i]->state = LAYER_ABSENT;
                layers_drop(&s->layers, &list[i], 1);
        }
}

static int load_one(struct images *s, const char *id, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        struct loading l = { .images = s, .err = err };
        struct entry *e = NULL;
        int r;

        r = load_rows(&l, id);
        if (r == 0)
                r = make_room(s, err);
        if (r < 0 || load_entry(&l, id, &e, &why) < 0)
                let_go(s, l.layers, l.n_layers);
        if (e) {
                insert(s, e);
        } else if (r == 0 && l.unsure) {
                r = err_set(err, why.code, "image %s: %s", id, why.text);
        } else if (r == 0) {
                log_warning("image %s: %s, going on without it", id, why.text);
                r = write_gone(s->db, id, DB_FAST, err);
        }
        loading_done(&l);
        return r;
}

static int load(struct images *s, struct cringle_err *err)
{
        struct loading l = { .images = s, .err = err };
        int r;

        if (db_begin(s->db, err) < 0)
                return -1;
        r = db_query(s->db, err, load_id, &l, "SELECT id FROM images", "");
        db_abort(s->db);
        for (char **id = l.ids; r == 0 && id && *id; id++)
                r = load_one(s, *id, err);
        loading_done(&l);
        return r;
}

int images_new(const struct images_options *options, struct images **ret, struct cringle_err *err)
{
        auto_of(images) s = calloc(1, sizeof *s);

        if (!s)
                return err_oom(err);
        pthread_mutex_init(&s->change, NULL);
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->idle, NULL);
        layers_init(&s->layers, options->ops, options->self, &s->lock);
        s->db = options->db;
        s->ops = options->ops;
        s->self = options->self;
        if (settings_new(options->config, &s->settings, err) < 0)
                return -1;
        if (load(s, err) < 0)
                return err_wrap(err, "load images");

        *ret = steal(&s);
        return 0;
}

struct images *images_free(struct images *images)
{
        if (!images)
                return NULL;

        pulls_end(images);
        for (size_t i = 0; i < images->n_entries; i++)
                entry_free(images->entries[i]);
        free(images->entries);
        layers_done(&images->layers);
        settings_unref(images->settings);
        pthread_cond_destroy(&images->idle);
        pthread_mutex_destroy(&images->lock);
        pthread_mutex_destroy(&images->change);
        free(images);
        return NULL;
}

/* --- root file systems --- */

static struct cringle_rootfs_options options_of(const struct image *image, const struct cringle_user_ns *user_ns)
{
        static const char *const none[] = { NULL };

        return (struct cringle_rootfs_options) {
                .size = sizeof(struct cringle_rootfs_options),
                .chain_ids = image->chain_ids ? (const char *const *) image->chain_ids : none,
                .user_ns = user_ns,
        };
}

int images_id_maps(struct images *images, int user_ns_fd, struct cringle_err *err)
{
        if (!images->ops->id_maps)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "the image backend does not map ids");
        return images->ops->id_maps(images->self, user_ns_fd, err);
}

int images_rootfs_prepare(struct images *images, const struct image *image, const char *container_id,
                          const struct cringle_user_ns *user_ns, struct cringle_err *err)
{
        struct cringle_rootfs_options options = options_of(image, user_ns);

        return images->ops->rootfs_prepare(images->self, container_id, &options, err);
}

int images_rootfs_mount(struct images *images, const struct image *image, const char *container_id,
                        const struct cringle_user_ns *user_ns, const char *label, int *ret_fd, struct cringle_err *err)
{
        struct cringle_rootfs_options options = options_of(image, user_ns);

        options.label = label;
        return images->ops->rootfs_mount(images->self, container_id, &options, ret_fd, err);
}

int images_rootfs_remove(struct images *images, const char *container_id, struct cringle_err *err)
{
        return images->ops->rootfs_remove(images->self, container_id, err);
}

int images_rootfs_usage(struct images *images, const char *container_id, uint64_t *ret_bytes, uint64_t *ret_inodes,
                        struct cringle_err *err)
{
        struct cringle_usage usage = { .size = sizeof usage };

        if (images->ops->rootfs_usage(images->self, container_id, &usage, err) < 0)
                return -1;
        *ret_bytes = usage.bytes;
        *ret_inodes = usage.inodes;
        return 0;
}

int images_rootfs_changes(struct images *images, const char *container_id, int *ret_fd, struct cringle_err *err)
{
        if (!images->ops->rootfs_changes)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "the image backend cannot tell what a container has changed");
        return images->ops->rootfs_changes(images->self, container_id, ret_fd, err);
}

int images_view(struct images *images, const struct image *image, const struct cringle_user_ns *user_ns,
                const char *label, int *ret_fd, struct cringle_err *err)
{
        struct cringle_rootfs_options options = options_of(image, user_ns);

        options.readonly = 1;
        options.label = label;
        return images->ops->view_mount(images->self, &options, ret_fd, err);
}

int images_fs_info(struct images *images, const char **ret_path, uint64_t *ret_bytes, uint64_t *ret_inodes,
                   struct cringle_err *err)
{
        const char *path = images->ops->store_path(images->self);
        uint64_t bytes = 0, inodes = 0;
        const char *id;
        size_t at = 0;
        void *data;

        if (!path)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "the image backend has no directory of its own");

        pthread_mutex_lock(&images->lock);
        while (map_next(&images->layers.all, &at, &id, &data)) {
                const struct layer *l = data;

                bytes += l->bytes;
                inodes += l->inodes;
        }
        pthread_mutex_unlock(&images->lock);
        *ret_path = path;
        *ret_bytes = bytes;
        *ret_inodes = inodes;
        return 0;
}

const char *images_writable_path(struct images *images)
{
        const char *path = images->ops->writable_path ? images->ops->writable_path(images->self) : NULL;

        return path ? path : images->ops->store_path(images->self);
}
