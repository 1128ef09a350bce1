/*
 * A hook plugin with one fault at a time: built once for each line of meson.build,
 * which overrides one of the words below.  Without any it is sound.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <api/hook.h>

#ifndef PLUGIN_SIZE
#define PLUGIN_SIZE sizeof(struct cringle_plugin)
#endif
#ifndef MAGIC
#define MAGIC CRINGLE_PLUGIN_MAGIC
#endif
#ifndef ABI
#define ABI CRINGLE_PLUGIN_ABI
#endif
#ifndef MAJOR
#define MAJOR CRINGLE_HOOK_MAJOR
#endif
#ifndef MINOR
#define MINOR CRINGLE_HOOK_MINOR
#endif
#ifndef NAME
#define NAME "sample"
#endif
#ifndef OPS_SIZE
#define OPS_SIZE sizeof(struct cringle_hook_ops)
#endif
#ifndef POINTS
#define POINTS CRINGLE_AT(CRINGLE_CONTAINER_CREATE)
#endif
#ifndef RUN
#define RUN sample_run
#endif
#ifndef AT_LOAD
#define AT_LOAD
#endif
#ifndef IN_PROBE
#define IN_PROBE
#endif
#ifndef IN_CREATE
#define IN_CREATE
#endif
#ifndef IN_START
#define IN_START
#endif
#ifndef SYMBOL
#define SYMBOL cringle_plugin
#endif

#ifdef MISSING_FUNCTION
void somebody_elses_function(void);
#endif

struct sample {
        const struct cringle_host *host;
        char seen[256];                 /* its settings, one after the other */
};

__attribute__((constructor)) static void at_load(void)
{
        AT_LOAD;
}

static int sample_probe(struct cringle_err *err)
{
        IN_PROBE;
        return 0;
}

static int sample_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                         struct cringle_err *err)
{
        struct sample *s = calloc(1, sizeof *s);

        if (!s)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        IN_CREATE;
        s->host = host;
        for (size_t n = 0; settings->key; settings++)
                n += (size_t) snprintf(s->seen + n, sizeof s->seen - n, "%s=%s ", settings->key, settings->value);
        *ret_self = s;
        return 0;
}

static int sample_start(void *self, struct cringle_err *err)
{
        IN_START;
        return 0;
}

/* Refuses, and says with what settings it was made. */
__attribute__((unused)) static int sample_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct sample *s = self;

#ifdef MISSING_FUNCTION
        somebody_elses_function();
#endif
        s->host->count(s->host, "runs", 1);
        return cringle_fail(err, CRINGLE_E_DENIED, "%s", s->seen);
}

static const struct cringle_hook_ops ops = { .size = OPS_SIZE, .points = POINTS, .run = RUN };

static const struct cringle_setting settings[] = {
        { "greeting", CRINGLE_STRING, "hello", "what to say" },
        { "count", CRINGLE_INTEGER, NULL, "how often" },
        { "loud", CRINGLE_BOOL, "false", "how loud" },
        { "where", CRINGLE_PATH, NULL, "a place" },
        { "words", CRINGLE_STRING_LIST, NULL, "many" },
        { "token", CRINGLE_SECRET, NULL, "not to be shown" },
        { 0 },
};

static const struct cringle_factory factory = {
        .size = sizeof factory,
        .kind = CRINGLE_HOOK,
        .name = NAME,
        .major = MAJOR,
        .minor = MINOR,
        .help = "a sample",
        .settings = settings,
        .probe = sample_probe,
        .create = sample_create,
        .start = sample_start,
        .destroy = free,
        .ops = &ops,
};

static const struct cringle_factory *const factories[] = { &factory, NULL };

static const struct cringle_plugin plugin = {
        .size = PLUGIN_SIZE,
        .magic = MAGIC,
        .abi = ABI,
        .name = "sample",
        .version = "7",
        .factories = factories,
};

__attribute__((visibility("default"))) const struct cringle_plugin *SYMBOL(void);
const struct cringle_plugin *SYMBOL(void)
{
        return &plugin;
}
