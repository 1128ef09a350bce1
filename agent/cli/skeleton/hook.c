/*
 * skeleton-name: gives containers a variable, GREETING
 *
 * A place to begin: it has a setting that changes live, an annotation by which a pod
 * says no, and leaves alone what a container has set itself.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cringle/hook.h>

#define ANNOTATION "skeleton-name.example.com/greet"

struct skeleton {
        pthread_rwlock_t lock;          /* events come from many threads, also while settings change */
        char *greeting;
};

/* The caller's copy of the setting; NULL and @err when there is none. */
static char *read_greeting(const struct cringle_pair *settings, struct cringle_err *err)
{
        char *greeting = NULL;

        for (; settings->key; settings++) {
                if (strcmp(settings->key, "greeting") != 0)
                        continue;
                free(greeting);
                greeting = strdup(settings->value);
        }
        if (!greeting)
                cringle_fail(err, CRINGLE_E_INVALID, "setting greeting: missing");
        return greeting;
}

static void skeleton_destroy(void *self)
{
        struct skeleton *s = self;

        free(s->greeting);
        pthread_rwlock_destroy(&s->lock);
        free(s);
}

static int skeleton_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                           struct cringle_err *err)
{
        struct skeleton *s = calloc(1, sizeof *s);

        if (!s)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        pthread_rwlock_init(&s->lock, NULL);
        s->greeting = read_greeting(settings, err);
        if (!s->greeting) {
                skeleton_destroy(s);
                return -1;
        }

        *ret_self = s;
        return 0;
}

/* All of the new settings or none: nothing is changed before they are known to be good. */
static int skeleton_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct skeleton *s = self;
        char *fresh = read_greeting(settings, err), *old;

        if (!fresh)
                return -1;
        pthread_rwlock_wrlock(&s->lock);
        old = s->greeting;
        s->greeting = fresh;
        pthread_rwlock_unlock(&s->lock);
        free(old);
        return 0;
}

static int skeleton_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct skeleton *s = self;
        const char *wanted = ev->annotation(ev, ANNOTATION);
        int r;

        if (wanted && strcmp(wanted, "false") == 0)
                return 0;
        if (wanted && strcmp(wanted, "true") != 0)
                return cringle_fail(err, CRINGLE_E_INVALID, "annotation %s: want true or false, not '%.64s'", ANNOTATION,
                                    wanted);
        if (ev->env(ev, "GREETING"))
                return 0;

        pthread_rwlock_rdlock(&s->lock);
        r = ev->set_env(ev, "GREETING", s->greeting, err);
        pthread_rwlock_unlock(&s->lock);
        return r;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_CREATE),
        .run = skeleton_run,
};

static const struct cringle_setting settings[] = {
        { "greeting", CRINGLE_STRING, "hello", "the value of GREETING" },
        { 0 },
};

CRINGLE_PLUGIN(skeleton,
        .kind = CRINGLE_HOOK,
        .name = "skeleton-name",
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "gives containers a greeting",
        .settings = settings,
        .create = skeleton_create,
        .reload = skeleton_reload,
        .destroy = skeleton_destroy,
        .ops = &ops);
