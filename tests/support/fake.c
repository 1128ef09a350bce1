/*
 * What the fake plugins share; see fake.h and fake_inside.h.  Memory running out
 * ends the test.
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "tests/support/fake.h"
#include "tests/support/fake_inside.h"

#define OBJECTS_MAX 2048
#define CALLS_MAX (512 * 1024)
#define FAILURES_MAX 16

struct object {
        char name[FAKE_KEY_MAX];        /* "kind key"; empty: free */
        int number;
};

struct failure {
        char call[40];
        int times;
};

/* Shared with forked children; whoever dies inside leaves it usable. */
static struct record {
        pthread_mutex_t lock;
        struct object objects[OBJECTS_MAX];
        struct failure failures[FAILURES_MAX];
        int fail_at, die_at, die_done_at;
        char failed[40];
        char hang[40];
        int hanging;
        bool ignore_term, hold_events;
        size_t n_calls;
        char calls[CALLS_MAX];
} *record;

const struct cringle_plugin *cringle_builtin_fake_image(void);
const struct cringle_plugin *cringle_builtin_fake_cgroup(void);
const struct cringle_plugin *cringle_builtin_fake_network(void);
const struct cringle_plugin *cringle_builtin_fake_executor(void);
const struct cringle_plugin *cringle_builtin_fake_hook(void);

const cringle_plugin_fn fake_builtins[] = {
        cringle_builtin_fake_image,
        cringle_builtin_fake_cgroup,
        cringle_builtin_fake_network,
        cringle_builtin_fake_executor,
        cringle_builtin_fake_hook,
        NULL,
};

static void enter(void)
{
        if (pthread_mutex_lock(&record->lock) == EOWNERDEAD)
                pthread_mutex_consistent(&record->lock);
}

static void leave(void)
{
        pthread_mutex_unlock(&record->lock);
}

void fake_reset(void)
{
        pthread_mutexattr_t attr;

        if (record)
                munmap(record, sizeof *record);
        record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (record == MAP_FAILED)
                abort();
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&record->lock, &attr);
        pthread_mutexattr_destroy(&attr);
}

void fake_fail(const char *call, int times)
{
        enter();
        for (struct failure *f = record->failures; f < record->failures + FAILURES_MAX; f++)
                if (!f->call[0] || strcmp(f->call, call) == 0) {
                        snprintf(f->call, sizeof f->call, "%s", call);
                        f->times = times;
                        break;
                }
        leave();
}

void fake_fail_at(int n)
{
        enter();
        record->fail_at = n;
        if (n > 0)
                record->failed[0] = '\0';
        leave();
}

void fake_die_at(int n, bool done)
{
        enter();
        record->die_at = done ? 0 : n;
        record->die_done_at = done ? n : 0;
        leave();
}

const char *fake_failed(void)
{
        return record->failed;
}

void fake_hang(const char *call)
{
        enter();
        snprintf(record->hang, sizeof record->hang, "%s", call ? call : "");
        leave();
}

bool fake_hangs(void)
{
        for (int i = 0; i < 10000; i++) {
                bool yes;

                enter();
                yes = record->hanging > 0;
                leave();
                if (yes)
                        return true;
                usleep(1000);
        }
        return false;
}

/* Whether a countdown has come to its end with this call. */
static bool is_turn(int *countdown)
{
        return *countdown > 0 && --*countdown == 0;
}

static void die(void)
{
        kill(getpid(), SIGKILL);
        pause();
}

static bool is_to_fail(const char *name)
{
        if (strcmp(name, "hook.container-stopped") != 0 && is_turn(&record->fail_at)) {
                snprintf(record->failed, sizeof record->failed, "%s", name);
                return true;
        }
        for (struct failure *f = record->failures; f < record->failures + FAILURES_MAX; f++)
                if (strcmp(f->call, name) == 0 && f->times > 0) {
                        f->times--;
                        return true;
                }
        return false;
}

static int hang(const char *name, const struct cringle_call *call, struct cringle_err *err)
{
        bool here;
        int r = 0;

        enter();
        here = strcmp(record->hang, name) == 0;
        record->hanging += here;
        leave();
        while (here && r == 0) {
                r = call_wait(call, -1, 0, NSEC_PER_MSEC, err);
                enter();
                if (r < 0 || strcmp(record->hang, name) != 0) {
                        record->hanging--;
                        here = false;
                }
                leave();
        }
        return r;
}

int fake_call(const char *name, const struct cringle_call *call, const char *a, const char *b,
              struct cringle_err *err)
{
        bool fail;
        int n;

        enter();
        n = snprintf(record->calls + record->n_calls, CALLS_MAX - record->n_calls, "%s%s%s%s%s\n", name, a ? " " : "",
                     a ? a : "", b ? "/" : "", b ? b : "");
        record->n_calls += (size_t) n;
        if (record->n_calls >= CALLS_MAX - 1024)
                record->n_calls = 0;            /* nobody reads so much */
        fail = is_to_fail(name);
        if (is_turn(&record->die_at))
                die();
        if (record->die_done_at > 0 && --record->die_done_at == 0)
                record->die_done_at = -1;       /* at the next change; see changed() */
        else if (record->die_done_at < 0)
                record->die_done_at = 0;
        leave();
        if (fail)
                return cringle_fail(err, CRINGLE_E_INTERNAL, "%s: made to fail", name);
        return hang(name, call, err);
}

/* The lock is held. */
static void changed(void)
{
        if (record->die_done_at < 0)
                die();
}

char *fake_calls(void)
{
        char *text;

        enter();
        text = strdup(record->calls);
        leave();
        return text;
}

const char *fake_key(char key[static FAKE_KEY_MAX], const char *a, const char *b)
{
        snprintf(key, FAKE_KEY_MAX, "%s/%s", a, b);
        return key;
}

/* The lock is held. */
static struct object *find(const char *kind, const char *key)
{
        size_t n = strlen(kind);

        for (struct object *o = record->objects; o < record->objects + OBJECTS_MAX; o++)
                if (strncmp(o->name, kind, n) == 0 && o->name[n] == ' ' && strcmp(o->name + n + 1, key) == 0)
                        return o;
        return NULL;
}

void fake_put(const char *kind, const char *key, int number)
{
        struct object *o;

        enter();
        o = find(kind, key);
        for (struct object *at = record->objects; !o && at < record->objects + OBJECTS_MAX; at++)
                if (!at->name[0]) {
                        o = at;
                        snprintf(o->name, sizeof o->name, "%s %s", kind, key);
                }
        if (!o)
                abort();
        o->number = number;
        changed();
        leave();
}

bool fake_get(const char *kind, const char *key, int *ret_number)
{
        struct object *o;

        enter();
        o = find(kind, key);
        if (o && ret_number)
                *ret_number = o->number;
        leave();
        return o != NULL;
}

void fake_drop(const char *kind, const char *key)
{
        struct object *o;

        enter();
        o = find(kind, key);
        if (o)
                o->name[0] = '\0';
        changed();
        leave();
}

static bool is_in(const char *key, const char *const *list)
{
        for (; list && *list; list++)
                if (strcmp(*list, key) == 0)
                        return true;
        return false;
}

/* The key of @o when it is of @kind (NULL: any), else NULL. */
static const char *key_of(const struct object *o, const char *kind)
{
        const char *space = strchr(o->name, ' ');

        if (!space || (kind && (strncmp(o->name, kind, strlen(kind)) != 0 || o->name[strlen(kind)] != ' ')))
                return NULL;
        return space + 1;
}

void fake_drop_others(const char *kind, const char *const *keep)
{
        enter();
        for (struct object *o = record->objects; o < record->objects + OBJECTS_MAX; o++)
                if (key_of(o, kind) && !is_in(key_of(o, kind), keep))
                        o->name[0] = '\0';
        leave();
}

void fake_drop_below(const char *kind, const char *prefix)
{
        enter();
        for (struct object *o = record->objects; o < record->objects + OBJECTS_MAX; o++)
                if (key_of(o, kind) && strncmp(key_of(o, kind), prefix, strlen(prefix)) == 0)
                        o->name[0] = '\0';
        leave();
}

size_t fake_alive(const char *kind)
{
        size_t count = 0;

        enter();
        for (struct object *o = record->objects; o < record->objects + OBJECTS_MAX; o++)
                if (key_of(o, kind))
                        count++;
        leave();
        return count;
}

char *fake_left(void)
{
        struct buf text = BUF_INIT;

        if (buf_add_str(&text, "", NULL) < 0)
                abort();
        enter();
        for (struct object *o = record->objects; o < record->objects + OBJECTS_MAX; o++)
                if (o->name[0] && buf_printf(&text, NULL, "%s\n", o->name) < 0)
                        abort();
        leave();
        return buf_steal(&text);
}

void fake_reboot(void)
{
        fake_drop_others("pod", NULL);
        fake_drop_others("container", NULL);
        fake_drop_others("cgroup", NULL);
}

void fake_ignore_term(bool ignore)
{
        enter();
        record->ignore_term = ignore;
        leave();
}

bool fake_ignores_term(void)
{
        bool ignores;

        enter();
        ignores = record->ignore_term;
        leave();
        return ignores;
}

void fake_hold_events(bool hold)
{
        enter();
        record->hold_events = hold;
        leave();
}

bool fake_holds_events(void)
{
        bool holds;

        enter();
        holds = record->hold_events;
        leave();
        return holds;
}
