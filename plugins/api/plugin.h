#pragma once

/*
 * What every plugin is: one symbol that returns a table of factories
 *
 * A shared object exports `cringle_plugin` and nothing else.  It returns a
 * struct cringle_plugin that lists factories: things the plugin can make, each
 * of one kind, with a name, an interface version, a settings schema and its ops.
 * Write it with CRINGLE_PLUGIN(...); built with -DCRINGLE_BUILTIN the same
 * source registers the same table inside the agent instead.
 *
 * Life of a factory's instances, all calls made by the host:
 *
 *      probe -> create -> start -> (work, reload)* -> quiesce -> destroy
 *
 * probe runs in a throw-away child process before the plugin is ever loaded
 * into the agent.  Several instances may be made.  Nothing is ever dlclose()d.
 * Calls may block (they run on worker threads) and come from many threads at
 * once; the host times them.  What a call is given is borrowed for that call
 * only, unless its comment says otherwise.
 *
 * Compatibility: every struct that crosses the border begins with its size and
 * grows only at its end.  Each kind has an interface version; majors must match,
 * a plugin's minor may not exceed the host's.  A field past the size that the
 * other side brought is taken as zero.
 */

#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define CRINGLE_PLUGIN_MAGIC 0x636e676cu        /* "cngl" */
#define CRINGLE_PLUGIN_ABI 1

enum cringle_kind {
        CRINGLE_IMAGE = 1,              /* image.h */
        CRINGLE_CGROUP = 2,             /* cgroup.h */
        CRINGLE_NETWORK = 3,            /* network.h */
        CRINGLE_EXECUTOR = 4,           /* executor.h */
        CRINGLE_HOOK = 5,               /* hook.h */
};

/*
 * The circumstances of one call: who asked, until when, and whether he still
 * wants it.  Every wait takes these into account.
 */
struct cringle_call {
        size_t size;
        int64_t deadline;               /* CLOCK_MONOTONIC nanoseconds; 0: none */
        int cancel_fd;                  /* becomes readable when cancelled; -1: never */
        const char *request;            /* id for log lines; may be NULL */
};

/* Ids of a user namespace, and what they are on the host. */
struct cringle_id_map {
        uint32_t inside;
        uint32_t outside;
        uint32_t length;
};

enum cringle_level { CRINGLE_ERROR = 3, CRINGLE_WARNING = 4, CRINGLE_INFO = 6, CRINGLE_DEBUG = 7 };

/*
 * Services of the host.  Given to create(); valid for the life of the process.
 * All functions may be called from any thread.
 */
struct cringle_host {
        size_t size;
        const char *version;            /* of the host program */
        const char *state_dir;          /* for this instance; exists, mode 0700, survives a reboot */
        const char *run_dir;            /* for this instance; exists, mode 0700, gone after a reboot */

        /* One line, no newline at its end. */
        void (*log)(const struct cringle_host *host, int level, const char *text);

        /* Add @delta to the counter @name (a word with underscores). */
        void (*count)(const struct cringle_host *host, const char *name, int64_t delta);

        /*
         * Run @argv to its end with exactly the environment @envp, in a process
         * group of its own, which is killed when @call ends first.  @input (may
         * be NULL) goes to stdin.  *ret_status is as from waitpid(2); *ret_output
         * is stdout, NUL-terminated, at most 1 MiB, to be freed with free();
         * stderr's tail goes into @err when the program fails.  argv[0] is the
         * program's absolute path.  0, or -1 when it could not be run, was cut
         * short, or exited non-zero; in the last case alone *ret_status and
         * *ret_output are filled as on success.
         */
        int (*spawn)(const struct cringle_host *host, const struct cringle_call *call, char *const argv[],
                     char *const envp[], const char *input, int *ret_status, char **ret_output,
                     struct cringle_err *err);
};

/* Types a setting can have. */
enum cringle_setting_type {
        CRINGLE_STRING = 1,
        CRINGLE_BOOL = 2,               /* "true" or "false" when handed over */
        CRINGLE_INTEGER = 3,
        CRINGLE_PATH = 4,               /* absolute */
        CRINGLE_STRING_LIST = 5,        /* handed over as one pair per element, same key, in order */
        CRINGLE_SECRET = 6,             /* a string that is never shown */
};

/* One setting that the plugin understands; the table ends with a NULL name. */
struct cringle_setting {
        const char *name;
        int type;
        const char *fallback;           /* as text; NULL: none */
        const char *help;               /* one line */
};

/* Settings as they reach create() and reload(): checked pairs, ended by a NULL key. */
struct cringle_pair {
        const char *key;
        const char *value;
};

struct cringle_factory {
        size_t size;
        int kind;                       /* enum cringle_kind */
        const char *name;               /* as in the configuration: lower-case words and dashes; NULL: the plugin's */
        uint16_t major;                 /* of the interface of this kind that `ops` follows: CRINGLE_<KIND>_MAJOR */
        uint16_t minor;                 /* CRINGLE_<KIND>_MINOR */
        const char *help;               /* one line for `cringle plugins list` */
        const struct cringle_setting *settings; /* may be NULL */

        /* Can this work on this machine?  Runs in a child; may be NULL. */
        int (*probe)(struct cringle_err *err);

        /*
         * *ret_self is handed to every other call.  Settings are borrowed.  On
         * failure *ret_self is not looked at: destroy is not called.  NULL: a plugin
         * without state, whose calls get a NULL self.
         */
        int (*create)(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                      struct cringle_err *err);

        int (*start)(void *self, struct cringle_err *err);              /* may be NULL */

        /* Take new settings, all or nothing, while other calls run.  NULL: new settings need a restart. */
        int (*reload)(void *self, const struct cringle_pair *settings, struct cringle_err *err);

        /* The last call before destroy: end threads and callbacks.  No other call runs.  May be NULL. */
        void (*quiesce)(void *self);
        void (*destroy)(void *self);            /* also after a failed start; NULL only without a create */

        const void *ops;                /* struct cringle_<kind>_ops of this kind */
};

struct cringle_plugin {
        size_t size;
        uint32_t magic;                 /* CRINGLE_PLUGIN_MAGIC */
        uint32_t abi;                   /* CRINGLE_PLUGIN_ABI */
        const char *name;
        const char *version;
        const struct cringle_factory *const *factories; /* ended by NULL */
};

typedef const struct cringle_plugin *(*cringle_plugin_fn)(void);

#define CRINGLE_PLUGIN_SYMBOL "cringle_plugin"

/*
 * The query function of a plugin with one factory.  The arguments after the
 * name are designated initializers of struct cringle_factory.
 */
#define CRINGLE_PLUGIN(ident, ...)                                                              \
        static const struct cringle_factory cringle_factory_##ident = {                         \
                .size = sizeof(struct cringle_factory),                                         \
                __VA_ARGS__                                                                     \
        };                                                                                      \
        static const struct cringle_factory *const cringle_factories_##ident[] = {              \
                &cringle_factory_##ident, NULL                                                  \
        };                                                                                      \
        static const struct cringle_plugin cringle_table_##ident = {                            \
                .size = sizeof(struct cringle_plugin),                                          \
                .magic = CRINGLE_PLUGIN_MAGIC,                                                  \
                .abi = CRINGLE_PLUGIN_ABI,                                                      \
                .name = #ident,                                                                 \
                .version = "1",                                                                 \
                .factories = cringle_factories_##ident,                                         \
        };                                                                                      \
        CRINGLE_EXPORT_(ident)


#ifdef CRINGLE_BUILTIN
#define CRINGLE_EXPORT_(ident)                                                                  \
        const struct cringle_plugin *cringle_builtin_##ident(void);                             \
        const struct cringle_plugin *cringle_builtin_##ident(void)                              \
        {                                                                                       \
                return &cringle_table_##ident;                                                  \
        }                                                                                       \
        _Static_assert(1, "")
#else
#define CRINGLE_EXPORT_(ident)                                                                  \
        __attribute__((visibility("default"))) const struct cringle_plugin *cringle_plugin(void); \
        const struct cringle_plugin *cringle_plugin(void)                                       \
        {                                                                                       \
                return &cringle_table_##ident;                                                  \
        }                                                                                       \
        _Static_assert(1, "")
#endif
