#pragma once

/*
 * The image index from inside: what store.c and pulls.c share, nobody else
 *
 * Two mutexes, taken in this order: `change`, held by whoever changes the index from
 * before the database transaction until memory follows; `lock`, held for moments, by everybody who
 * reads.  So readers never wait for a disk.
 */

#include <pthread.h>

#include "agent/image/layers.h"
#include "agent/image/settings.h"
#include "agent/image/store.h"

enum entry_state {
        ENTRY_LISTED = 0,
        ENTRY_HIDDEN = 1,               /* removed, but somebody holds it */
        ENTRY_DOOMED = 2,               /* being removed for good: nobody may hold it any more */
};

/* An image of the index.  Guarded by `lock`; state and image change under both mutexes. */
struct entry {
        struct image *image;            /* as of now */
        struct layer **layers;          /* claimed, lowest first */
        size_t n_layers;
        char **holders;
        enum entry_state state;
};

struct pull;

struct images {
        pthread_mutex_t change;
        pthread_mutex_t lock;
        struct db *db;
        const struct cringle_image_ops *ops;
        void *self;
        struct settings *settings;
        struct layers layers;
        struct entry **entries;         /* ordered by id */
        size_t n_entries, room;
        bool swept;                     /* holders are known: what nobody holds may go */
        struct pull *pulls;             /* running, or with somebody still waiting */
        pthread_cond_t idle;            /* a pull has left the list */
};

/* What a finished pull has to tell. */
struct record {
        const char *id;
        const char *config;
        const char *tag;                /* NULL: pulled by digest */
        const char *digest;             /* repo digest */
        struct layer **layers;          /* claimed and present, lowest first */
        size_t n_layers;
};

/*
 * Put a pulled image into the index, durably.  Takes over the claims on success; the layers
 * stay the caller's to drop on failure.
 */
int index_record(struct images *images, const struct record *r, struct cringle_err *err);

/* Cancel all pulls and wait until nobody waits for one. */
void pulls_end(struct images *images);
