/*
 * What the fake plugins share; see fake.h and fake_inside.h.  Memory running out
 * ends the test.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/map.h"
#include "tests/support/fake.h"
#include "tests/support/fake_inside.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map objects;              /* "kind key" -> int * */
static struct map failures;             /* call -> int *, how often yet */
static struct buf calls;
static bool ignore_term;

const struct cringle_plugin *cringle_builtin_fake_image(void);
const struct cringle_plugin *cringle_builtin_fake_cgroup(void);
const struct cringle_plugin *cringle_builtin_fake_network(void);
const struct cringle_plugin *cringle_builtin_fake_executor(void);

const cringle_plugin_fn fake_builtins[] = {
        cringle_builtin_fake_image,
        cringle_builtin_fake_cgroup,
        cringle_builtin_fake_network,
        cringle_builtin_fake_executor,
        NULL,
};

void fake_reset(void)
{
        pthread_mutex_lock(&lock);
        map_done(&objects, free);
        map_done(&failures, free);
        objects = failures = (struct map) MAP_INIT;
        buf_done(&calls);
        calls = (struct buf) BUF_INIT;
        ignore_term = false;
        pthread_mutex_unlock(&lock);
}

static void put_number(struct map *m, const char *key, int number)
{
        int *value = map_get(m, key);

        if (!value) {
                value = calloc(1, sizeof *value);
                if (!value || map_put(m, key, value, NULL) < 0)
                        abort();
        }
        *value = number;
}

void fake_fail(const char *call, int times)
{
        pthread_mutex_lock(&lock);
        put_number(&failures, call, times);
        pthread_mutex_unlock(&lock);
}

int fake_call(const char *call, const char *a, const char *b, struct cringle_err *err)
{
        bool fail;
        int *left;

        pthread_mutex_lock(&lock);
        if (buf_printf(&calls, NULL, "%s%s%s%s%s\n", call, a ? " " : "", a ? a : "", b ? "/" : "", b ? b : "") < 0)
                abort();
        left = map_get(&failures, call);
        fail = left && *left > 0;
        if (fail)
                --*left;
        pthread_mutex_unlock(&lock);
        return fail ? cringle_fail(err, CRINGLE_E_INTERNAL, "%s: made to fail", call) : 0;
}

char *fake_calls(void)
{
        char *text;

        pthread_mutex_lock(&lock);
        text = strdup(calls.data ? calls.data : "");
        pthread_mutex_unlock(&lock);
        return text;
}

const char *fake_key(char key[static FAKE_KEY_MAX], const char *a, const char *b)
{
        snprintf(key, FAKE_KEY_MAX, "%s/%s", a, b);
        return key;
}

static void object_name(char name[static FAKE_KEY_MAX], const char *kind, const char *key)
{
        snprintf(name, FAKE_KEY_MAX, "%s %s", kind, key);
}

void fake_put(const char *kind, const char *key, int number)
{
        char name[FAKE_KEY_MAX];

        object_name(name, kind, key);
        pthread_mutex_lock(&lock);
        put_number(&objects, name, number);
        pthread_mutex_unlock(&lock);
}

bool fake_get(const char *kind, const char *key, int *ret_number)
{
        char name[FAKE_KEY_MAX];
        int *value;

        object_name(name, kind, key);
        pthread_mutex_lock(&lock);
        value = map_get(&objects, name);
        if (value && ret_number)
                *ret_number = *value;
        pthread_mutex_unlock(&lock);
        return value != NULL;
}

void fake_drop(const char *kind, const char *key)
{
        char name[FAKE_KEY_MAX];

        object_name(name, kind, key);
        pthread_mutex_lock(&lock);
        free(map_take(&objects, name));
        pthread_mutex_unlock(&lock);
}

size_t fake_alive(const char *kind)
{
        size_t at = 0, count = 0, n = kind ? strlen(kind) : 0;
        const char *name;
        void *value;

        pthread_mutex_lock(&lock);
        while (map_next(&objects, &at, &name, &value))
                if (!kind || (strncmp(name, kind, n) == 0 && name[n] == ' '))
                        count++;
        pthread_mutex_unlock(&lock);
        return count;
}

void fake_ignore_term(bool ignore)
{
        pthread_mutex_lock(&lock);
        ignore_term = ignore;
        pthread_mutex_unlock(&lock);
}

bool fake_ignores_term(void)
{
        bool ignores;

        pthread_mutex_lock(&lock);
        ignores = ignore_term;
        pthread_mutex_unlock(&lock);
        return ignores;
}
