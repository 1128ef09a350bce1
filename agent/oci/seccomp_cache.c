/*
 * Compiled filters, remembered; see seccomp_cache.h.
 */

#include <pthread.h>
#include <string.h>

#include "agent/oci/seccomp_cache.h"

#define KEPT 16

struct kept {
        struct buf key;
        struct buf program;
        uint64_t used;          /* the clock's value at its last use; 0: never */
};

static struct kept cache[KEPT];
static uint64_t clock_now;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct kept *find(const struct buf *key)
{
        for (size_t i = 0; i < KEPT; i++)
                if (cache[i].used && cache[i].key.len == key->len && memcmp(cache[i].key.data, key->data, key->len) == 0)
                        return &cache[i];

        return NULL;
}

static struct kept *oldest(void)
{
        struct kept *victim = cache;

        for (size_t i = 1; i < KEPT; i++)
                if (cache[i].used < victim->used)
                        victim = &cache[i];
        return victim;
}

/* 1: found and appended; 0: not there. */
static int look_up(const struct buf *key, struct buf *ret, struct cringle_err *err)
{
        struct kept *k;
        int r = 0;

        pthread_mutex_lock(&lock);
        k = find(key);
        if (k) {
                k->used = ++clock_now;
                r = buf_add(ret, k->program.data, k->program.len, err) < 0 ? -1 : 1;
        }
        pthread_mutex_unlock(&lock);
        return r;
}

/* Takes both when it keeps them. */
static void keep(struct buf *key, struct buf *program)
{
        struct kept *k;

        pthread_mutex_lock(&lock);
        if (!find(key)) {
                k = oldest();
                buf_done(&k->key);
                buf_done(&k->program);
                *k = (struct kept) { .key = *key, .program = *program, .used = ++clock_now };
                *key = *program = (struct buf) BUF_INIT;
        }
        pthread_mutex_unlock(&lock);
}

int seccomp_compile_cached(struct json_object *profile, struct buf *ret, struct cringle_err *err)
{
        auto_buf key = BUF_INIT, program = BUF_INIT;
        int r;

        if (seccomp_key(profile, &key, err) < 0)
                return -1;
        r = look_up(&key, ret, err);
        if (r != 0)
                return r < 0 ? -1 : 0;

        if (seccomp_compile(profile, &program, err) < 0 || buf_add(ret, program.data, program.len, err) < 0)
                return -1;
        keep(&key, &program);
        return 0;
}
