/*
 * Metrics for Prometheus; see prometheus.h.
 *
 * The format wants all values of a metric together, while pods, plugins and hooks come one
 * after the other: each metric gathers its lines in a family, and families are written in
 * the order in which they were begun.
 */

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/map.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/observe/prometheus.h"

#define LABELS_MAX 16
#define DESCRIPTORS_MAX 128
#define STATM_MAX 4096

/* One method that ended with one code. */
struct calls {
        char *method;
        int code;
        uint64_t n;
        int64_t nsec;
};

struct prometheus {
        struct prometheus_options options;
        int64_t began;                  /* since 1970 */
        pthread_mutex_t lock;
        struct map calls;               /* "method code" -> struct calls */
};

/* --- calls --- */

static const char *code_name(int code)
{
        static const char *const names[] = {
                "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
                "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
                "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
        };

        return code >= 0 && (size_t) code < sizeof names / sizeof *names ? names[code] : "UNKNOWN";
}

static void count_call(const char *method, int code, int64_t nsec, void *data)
{
        struct prometheus *p = data;
        auto_free char *key = str_printf(NULL, "%s %d", method, code);
        struct calls *c;

        if (!key)
                return;
        pthread_mutex_lock(&p->lock);
        c = map_get(&p->calls, key);
        if (!c && (c = calloc(1, sizeof *c))) {
                c->method = strdup(method);
                c->code = code;
                if (!c->method || map_put(&p->calls, key, c, NULL) < 0) {
                        free(c->method);
                        free(c);
                        c = NULL;
                }
        }
        if (c) {
                c->n++;
                c->nsec += nsec;
        }
        pthread_mutex_unlock(&p->lock);
}

int prometheus_new(const struct prometheus_options *options, struct prometheus **ret, struct cringle_err *err)
{
        struct prometheus *p = calloc(1, sizeof *p);

        if (!p)
                return err_oom(err);
        p->options = *options;
        p->began = clock_realtime();
        pthread_mutex_init(&p->lock, NULL);
        rpc_server_observe(options->server, count_call, p);
        *ret = p;
        return 0;
}

/* --- the text --- */

struct family {
        struct family *next;
        char *name;
        const char *const *keys;
        size_t n_keys;
        struct buf text;
};

struct page {
        struct family *first, **last;
        struct map families;            /* name -> struct family */
        int r;
        struct cringle_err *err;        /* of the first failure */
};

static void family_free(struct family *f)
{
        free(f->name);
        buf_done(&f->text);
        free(f);
}

static void fail(struct page *p)
{
        if (p->r == 0)
                err_oom(p->err);
        p->r = -1;
}

static void put(struct page *p, struct buf *b, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void put(struct page *p, struct buf *b, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        if (buf_vprintf(b, format, args, NULL) < 0)
                fail(p);
        va_end(args);
}

/* NULL: no memory; the page has failed.  @keys: borrowed as long as the page is. */
static struct family *begin(struct page *p, const char *name, const char *type, const char *help,
                            const char *const *keys, size_t n_keys)
{
        struct family *f = calloc(1, sizeof *f);

        if (!f || !(f->name = strdup(name)) || map_put(&p->families, name, f, NULL) < 0) {
                if (f)
                        family_free(f);
                fail(p);
                return NULL;
        }
        f->keys = keys;
        f->n_keys = n_keys;
        *p->last = f;
        p->last = &f->next;
        put(p, &f->text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
        return f;
}

static void put_label(struct page *p, struct buf *b, const char *key, const char *value)
{
        put(p, b, "%s=\"", key);
        for (size_t n; *value; value += n) {
                n = strcspn(value, "\\\"\n");
                put(p, b, "%.*s", (int) n, value);
                if (value[n]) {
                        put(p, b, "\\%c", value[n] == '\n' ? 'n' : value[n]);
                        n++;
                }
        }
        put(p, b, "\"");
}

/* @values: as many as the family has keys. */
static void sample(struct page *p, const char *name, const char *const *values, double number)
{
        struct family *f = map_get(&p->families, name);

        if (!f)
                return;
        put(p, &f->text, "%s", name);
        for (size_t i = 0; i < f->n_keys; i++) {
                put(p, &f->text, i ? "," : "{");
                put_label(p, &f->text, f->keys[i], values[i]);
        }
        put(p, &f->text, "%s ", f->n_keys ? "}" : "");
        if (fabs(number) < 1e15 && number == (double) (int64_t) number)
                put(p, &f->text, "%.0f\n", number);
        else
                put(p, &f->text, "%.9g\n", number);
}

static void single(struct page *p, const char *name, const char *type, const char *help, double number)
{
        if (begin(p, name, type, help, NULL, 0))
                sample(p, name, NULL, number);
}

/* --- what is told --- */

static double seconds(int64_t nsec)
{
        return (double) nsec / NSEC_PER_SEC;
}

static double seconds_of(struct timeval t)
{
        return (double) t.tv_sec + (double) t.tv_usec / 1e6;
}

static void add_process(const struct prometheus *from, struct page *p)
{
        auto_buf statm = BUF_INIT;
        struct rusage usage;
        DIR *fds = opendir("/proc/self/fd");
        double n = -3;                  /* ".", ".." and the one that looks */
        const char *resident;

        while (fds && readdir(fds))
                n++;
        if (fds) {
                closedir(fds);
                single(p, "process_open_fds", "gauge", "Open file descriptors of the agent", n);
        }
        if (getrusage(RUSAGE_SELF, &usage) == 0)
                single(p, "process_cpu_seconds_total", "counter", "CPU time of the agent",
                       seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
        if (file_read("/proc/self/statm", STATM_MAX, &statm, NULL) == 0 && (resident = strchr(statm.data, ' ')))
                single(p, "process_resident_memory_bytes", "gauge", "Resident memory of the agent",
                       (double) strtoull(resident, NULL, 10) * (double) sysconf(_SC_PAGESIZE));
        single(p, "process_start_time_seconds", "gauge", "When the agent was started, in seconds since 1970",
               seconds(from->began));
}

static void add_agent(const struct prometheus *from, struct page *p)
{
        static const char *const keys[] = { "version" };
        struct pods_count count = pods_count(from->options.pods);

        begin(p, "cringle_build_info", "gauge", "The agent's version", keys, 1);
        sample(p, "cringle_build_info", (const char *const[]) { CRINGLE_VERSION }, 1);
        single(p, "cringle_pods", "gauge", "Pods that are known", count.pods);
        single(p, "cringle_containers", "gauge", "Containers that are known", count.containers);
}

static void add_calls(struct prometheus *from, struct page *p)
{
        static const char *const keys[] = { "method", "code" };
        size_t at = 0;
        const char *key;
        void *value;

        begin(p, "cringle_calls_total", "counter", "Calls of the CRI and of the command line that have ended", keys, 2);
        begin(p, "cringle_call_seconds_total", "counter", "Time from these calls' headers to their answers", keys, 2);
        pthread_mutex_lock(&from->lock);
        while (map_next(&from->calls, &at, &key, &value)) {
                const struct calls *c = value;
                const char *values[] = { c->method, code_name(c->code) };

                sample(p, "cringle_calls_total", values, (double) c->n);
                sample(p, "cringle_call_seconds_total", values, seconds(c->nsec));
        }
        pthread_mutex_unlock(&from->lock);
}

static void add_plugin(void *data, const struct host_info *info)
{
        const char *values[] = { info->kind ? info->kind : "", info->name };

        if (!info->in_use)
                return;
        sample(data, "cringle_plugin_calls_total", values, (double) info->calls);
        sample(data, "cringle_plugin_failures_total", values, (double) info->failures);
        sample(data, "cringle_plugin_seconds_total", values, seconds(info->busy));
}

static void add_plugins(const struct prometheus *from, struct page *p)
{
        static const char *const keys[] = { "kind", "plugin" };

        begin(p, "cringle_plugin_calls_total", "counter", "Calls of a plugin", keys, 2);
        begin(p, "cringle_plugin_failures_total", "counter", "Calls of a plugin that failed", keys, 2);
        begin(p, "cringle_plugin_seconds_total", "counter", "Time spent in a plugin", keys, 2);
        host_list(from->options.host, add_plugin, p);
}

static void add_hook(void *data, const struct hooks_counter *c)
{
        const char *values[] = { c->source, c->name, c->stage };

        sample(data, "cringle_hook_calls_total", values, (double) c->calls);
        sample(data, "cringle_hook_failures_total", values, (double) c->failures);
        sample(data, "cringle_hook_timeouts_total", values, (double) c->timeouts);
        sample(data, "cringle_hook_seconds_total", values, seconds(c->nanoseconds));
}

static void add_hooks(const struct prometheus *from, struct page *p)
{
        static const char *const keys[] = { "source", "hook", "stage" };

        begin(p, "cringle_hook_calls_total", "counter", "Calls of a hook", keys, 3);
        begin(p, "cringle_hook_failures_total", "counter", "Calls of a hook that failed", keys, 3);
        begin(p, "cringle_hook_timeouts_total", "counter", "Calls of a hook that were cut off", keys, 3);
        begin(p, "cringle_hook_seconds_total", "counter", "Time spent in a hook", keys, 3);
        hooks_counters(from->options.hooks, add_hook, p);
}

/* The metrics of containers; a family is begun with its first value.  Texts are static, arrays are not. */
struct descriptors {
        struct page *page;
        struct descriptor {
                const char *name, *help, *keys[LABELS_MAX];
                size_t n_keys;
        } list[DESCRIPTORS_MAX];
        size_t n;
};

static void keep_descriptors(void *data, const ProtobufCMessage *message)
{
        const Cri__ListMetricDescriptorsResponse *r = (const Cri__ListMetricDescriptorsResponse *) message;
        struct descriptors *d = data;

        for (size_t i = 0; i < r->n_descriptors && d->n < DESCRIPTORS_MAX; i++) {
                const Cri__MetricDescriptor *from = r->descriptors[i];
                struct descriptor *to = &d->list[d->n++];

                to->name = from->name;
                to->help = from->help;
                to->n_keys = from->n_label_keys < LABELS_MAX ? from->n_label_keys : LABELS_MAX;
                for (size_t k = 0; k < to->n_keys; k++)
                        to->keys[k] = from->label_keys[k];
        }
}

static const struct descriptor *descriptor_of(const struct descriptors *d, const char *name)
{
        for (size_t i = 0; i < d->n; i++)
                if (strcmp(d->list[i].name, name) == 0)
                        return &d->list[i];
        return NULL;
}

static void add_metric(void *data, const struct pods_metric *m)
{
        struct descriptors *d = data;
        const struct descriptor *described;

        if (!map_get(&d->page->families, m->name)) {
                described = descriptor_of(d, m->name);
                if (!described || described->n_keys > m->n_labels)
                        return;
                begin(d->page, m->name, m->counter ? "counter" : "gauge", described->help, described->keys,
                      described->n_keys);
        }
        sample(d->page, m->name, m->labels, m->value);
}

static void add_containers(const struct prometheus *from, struct descriptors *d)
{
        pods_metric_descriptors(keep_descriptors, d);
        pods_walk_metrics(from->options.pods, add_metric, d);
}

int prometheus_write(struct prometheus *from, struct buf *ret, struct cringle_err *err)
{
        struct page page = { .last = &page.first, .err = err };
        auto_free struct descriptors *descriptors = calloc(1, sizeof *descriptors);

        if (!descriptors)
                return err_oom(err);
        add_process(from, &page);
        add_agent(from, &page);
        add_calls(from, &page);
        add_plugins(from, &page);
        add_hooks(from, &page);
        descriptors->page = &page;
        add_containers(from, descriptors);
        for (struct family *f = page.first, *next; f; f = next) {
                next = f->next;
                if (page.r == 0 && buf_add(ret, f->text.data, f->text.len, err) < 0)
                        page.r = -1;
                family_free(f);
        }
        map_done(&page.families, NULL);
        return page.r;
}
