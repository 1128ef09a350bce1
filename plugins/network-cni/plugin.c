/*
 * network-cni: pods get their network from CNI plugins
 *
 *      <conf_dir>/                             the first *.conflist, *.conf or *.json is the network
 *      <state>/attachments/<pod>               what ADD was told, written before it is run
 *      <cache_dir>/results/<network>-<pod>-eth0        the same with its result, as libcni has it
 *
 * What always holds: whatever a plugin may have done for a pod is on record, with all
 * that DEL needs, the network's configuration included.  So an attachment can be
 * undone after any crash, after a reboot, and after the network was changed or
 * taken away; a record goes when DEL has succeeded, not before.  What a power cut did to the
 * IPAM plugin's own files DEL cannot undo: see cni/lease.h.
 *
 * The directory is read anew for each attachment and each status, some tens of
 * microseconds against the milliseconds of any plugin: so there is no way for it to be
 * removed, replaced or rewritten that we could miss.
 *
 * The pod CIDR of the node is of no use here: plugins that need it read it from the
 * cluster, or whoever writes the configuration puts it there.
 */

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/map.h"
#include "agent/base/str.h"
#include "cni/cache.h"
#include "cni/conf.h"
#include "cni/lease.h"
#include "cni/list.h"
#include "cni/result.h"
#include "plugins/api/network.h"
#include "plugins/network-cni/describe.h"
#include "plugins/network-cni/turns.h"

#define IFNAME "eth0"
#define ID_LEN_MAX 128
#define ASIDE ".bad"                            /* a record nobody can read */
#define STATUS_KEPT (10 * NSEC_PER_SEC)         /* kubelets ask all the time; each answer is a program run per plugin */
#define STATUS_LIMIT (10 * NSEC_PER_SEC)

struct driver {
        const struct cringle_host *host;
        char *conf_dir, *cache_dir, *records;
        char **bin_dirs;                /* NULL-ended */
        int64_t timeout;                /* of one operation on one network, nanoseconds */
        struct turns turns;

        pthread_mutex_t lock;           /* of what follows */
        struct map mine;                /* pods attached, or being attached, by this process */
        char *settled_config;           /* a configuration that offers several versions, and which one it was */
        int settled_version;
        char *swept_config;             /* the last configuration whose lost leases were looked for */
        char *status_config;            /* the last status: of which configuration, when, and what it was */
        int64_t status_time;
        struct cringle_err status;
};

static void driver_destroy(void *self)
{
        struct driver *d = self;

        if (!d)
                return;
        turns_done(&d->turns);
        pthread_mutex_destroy(&d->lock);
        map_done(&d->mine, NULL);
        strv_free(d->bin_dirs);
        free(d->conf_dir);
        free(d->cache_dir);
        free(d->records);
        free(d->settled_config);
        free(d->swept_config);
        free(d->status_config);
        free(d);
}

static inline void auto_driver_(struct driver **d)
{
        driver_destroy(*d);
}

__attribute__((format(printf, 3, 4)))
static void say(const struct driver *d, int level, const char *format, ...)
{
        char text[2048];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        d->host->log(d->host, level, text);
}

/* --- settings --- */

static int take_setting(struct driver *d, const char *key, const char *value, struct cringle_err *err)
{
        char **path = strcmp(key, "conf_dir") == 0 ? &d->conf_dir : strcmp(key, "cache_dir") == 0 ? &d->cache_dir : NULL;

        if (path) {
                *path = strdup(value);
                return *path ? 0 : err_oom(err);
        }
        if (strcmp(key, "bin_dirs") == 0) {
                if (value[0] != '/' || strchr(value, ':'))
                        return err_set(err, CRINGLE_E_INVALID, "bin_dirs: '%.200s' is no absolute path without a colon",
                                       value);
                return strv_add(&d->bin_dirs, value, err);
        }
        d->timeout = clock_parse_duration(value);
        return d->timeout > 0 ? 0 : err_set(err, CRINGLE_E_INVALID, "timeout: '%.32s' is no duration", value);
}

static int driver_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                         struct cringle_err *err)
{
        auto_of(driver) d = calloc(1, sizeof *d);

        if (!d)
                return err_oom(err);
        turns_init(&d->turns);
        pthread_mutex_init(&d->lock, NULL);
        d->host = host;
        for (; settings->key; settings++)
                if (take_setting(d, settings->key, settings->value, err) < 0)
                        return -1;
        if (!d->bin_dirs &&
            (strv_add(&d->bin_dirs, "/opt/cni/bin", err) < 0 || strv_add(&d->bin_dirs, "/usr/lib/cni", err) < 0))
                return -1;
        d->records = str_printf(err, "%s/attachments", host->state_dir);
        if (!d->records || file_make_dirs(d->records, 0700, err) < 0)
                return -1;

        *ret_self = steal(&d);
        return 0;
}

/* --- records --- */

/* A name of a record: an id, so neither an unfinished file nor one set aside. */
static bool is_id(const char *name)
{
        return str_is_id(name, ID_LEN_MAX) && !strchr(name, '.');
}

static char *record_path(const struct driver *d, const char *id, struct cringle_err *err)
{
        return str_printf(err, "%s/%s", d->records, id);
}

/* The names of the records (@ids), or of the other files beside them; *ret is the caller's. */
static int list_records(const struct driver *d, bool ids, char ***ret, struct cringle_err *err)
{
        auto_strv names = NULL;
        DIR *dir = opendir(d->records);
        int r = 0;

        if (!dir)
                return err_sys(err, "open %s", d->records);
        for (struct dirent *e; r == 0 && (e = readdir(dir));)
                if (e->d_name[0] != '.' && is_id(e->d_name) == ids)
                        r = strv_add(&names, e->d_name, err);
        closedir(dir);
        if (r < 0)
                return -1;
        *ret = steal(&names);
        return 0;
}

/* What a crash has left unfinished. */
static int driver_start(void *self, struct cringle_err *err)
{
        struct driver *d = self;
        auto_strv names = NULL;

        if (list_records(d, false, &names, err) < 0)
                return -1;
        for (size_t i = 0; names && names[i]; i++) {
                auto_free char *path = str_ends(names[i], ASIDE) ? NULL : record_path(d, names[i], NULL);

                if (path)
                        unlink(path);
        }
        return 0;
}

/* An attachment from a file with the network it belongs to.  As cni_attachment_read(). */
static int complete(int read, struct cni_attachment **a, struct cni_network **net, struct cringle_err *err)
{
        if (read < 1)
                return read;
        if (cni_network_parse((*a)->config, strlen((*a)->config), net, err) == 0)
                return 1;
        *a = cni_attachment_free(*a);
        return err_wrap(err, "recorded network");
}

/*
 * What is recorded of @id.  1: found; 0: nothing.  A record that cannot be read is set
 * aside, so that the pod can go, and the cache is asked: it has the same and more.
 */
static int find_attachment(struct driver *d, const char *id, struct cni_attachment **ret, struct cni_network **ret_net,
                           struct cringle_err *err)
{
        auto_free char *path = record_path(d, id, err);
        struct cringle_err why = CRINGLE_ERR_INIT;
        int r;

        if (!path)
                return -1;
        r = complete(cni_attachment_read(path, ret, &why), ret, ret_net, &why);
        if (r == 1)
                return 1;
        if (r < 0 && why.code != CRINGLE_E_INVALID)
                return err_set(err, why.code, "%s", why.text);  /* it may be sound, and readable the next time */
        if (r < 0) {
                auto_free char *aside = str_printf(err, "%s" ASIDE, path);

                if (!aside)
                        return -1;
                say(d, CRINGLE_ERROR, "record of pod %s set aside as %s: %s", id, aside, why.text);
                if (rename(path, aside) < 0)
                        return err_sys(err, "rename %s", path);
        }

        r = cni_cache_find(d->cache_dir, id, IFNAME, ret, err);
        if (r < 1)
                return r;
        r = complete(r, ret, ret_net, &why);
        if (r < 0)
                say(d, CRINGLE_ERROR, "cached attachment of pod %s is of no use: %s", id, why.text);
        return r == 1;
}

/* --- networks --- */

/* Pin the version: what the plugins said once holds for the same configuration. */
static int settle(struct driver *d, struct cni_network *net, const struct cringle_call *call, struct cringle_err *err)
{
        auto_free char *config = strdup(net->config);
        int version = -1;

        if (!config)
                return err_oom(err);
        pthread_mutex_lock(&d->lock);
        if (str_equal(d->settled_config, config))
                version = d->settled_version;
        pthread_mutex_unlock(&d->lock);
        if (version >= 0)
                return cni_network_pin(net, version, err);

        if (cni_settle((const char *const *) d->bin_dirs, net, call, err) < 0)
                return -1;
        pthread_mutex_lock(&d->lock);
        free(d->settled_config);
        d->settled_config = steal(&config);
        d->settled_version = net->version;
        pthread_mutex_unlock(&d->lock);
        return 0;
}

/*
 * Once for each configuration, when it is seen first: that may be long after our start.  Where host-local is busy, again the
 * next time.
 */
static void free_lost_leases(struct driver *d, const struct cni_network *net)
{
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_strv freed = NULL;
        bool done;
        int r;

        pthread_mutex_lock(&d->lock);
        done = str_equal(d->swept_config, net->config);
        pthread_mutex_unlock(&d->lock);
        if (done)
                return;

        r = cni_lease_sweep(net, &freed, &why);
        for (size_t i = 0; freed && freed[i]; i++)
                say(d, CRINGLE_WARNING, "network %s: the lease of %s names nobody, as after a power cut: freed", net->name,
                    freed[i]);
        if (r < 0)
                say(d, CRINGLE_WARNING, "network %s: free lost leases: %s", net->name, why.text);
        if (r == CNI_LEASES_BUSY)
                return;
        pthread_mutex_lock(&d->lock);
        free(d->swept_config);
        d->swept_config = strdup(net->config);  /* without memory: looked for again */
        pthread_mutex_unlock(&d->lock);
}

/* The network as it is configured now, ready for use. */
static int load_network(struct driver *d, const struct cringle_call *call, struct cni_network **ret,
                        struct cringle_err *err)
{
        auto_of(cni_network) net = NULL;

        if (cni_network_load(d->conf_dir, &net, err) < 0 ||
            cni_find_all((const char *const *) d->bin_dirs, net, err) < 0)
                return -1;
        if ((net->offered & (net->offered - 1)) != 0 && settle(d, net, call, err) < 0)
                return -1;
        free_lost_leases(d, net);
        *ret = steal(&net);
        return 0;
}

/* A path that is no namespace (any more) makes plugins fail that manage well without. */
static bool is_namespace(const char *path)
{
        struct statfs fs;

        return path && statfs(path, &fs) == 0 && (fs.f_type == NSFS_MAGIC || fs.f_type == PROC_SUPER_MAGIC);
}

/* --- undoing --- */

/*
 * Whether the cache, and beside it what host-local keeps where it is not told otherwise, lie on another file system than our
 * records.  One file system loses the later of two changes first, two have no order: the record must not go for good
 * while the lease may come back.
 */
static bool lies_apart(const struct driver *d)
{
        struct stat records, cache;

        return stat(d->records, &records) == 0 && stat(d->cache_dir, &cache) == 0 && records.st_dev != cache.st_dev;
}

/* DEL, then forget.  With the pod's turn. */
static int undo(struct driver *d, const struct cni_network *net, const struct cni_attachment *a,
                const struct cringle_call *call, struct cringle_err *err)
{
        struct cringle_call within = call_within(call, d->timeout);
        auto_free char *path = record_path(d, a->container, err);

        if (!path || cni_del((const char *const *) d->bin_dirs, net, a, &within, err) < 0 ||
            cni_cache_drop(d->cache_dir, a->network, a->container, a->ifname, lies_apart(d), err) < 0)
                return -1;
        return unlink(path) < 0 && errno != ENOENT ? err_sys(err, "remove %s", path) : 0;
}

/* Undo what is recorded of @id; 1: it was something, 0: there was nothing.  @netns may be NULL.  With the pod's turn. */
static int undo_recorded(struct driver *d, const char *id, const char *netns, const struct cringle_call *call,
                         struct cringle_err *err)
{
        auto_of(cni_attachment) a = NULL, *cached = NULL;
        auto_of(cni_network) net = NULL;
        struct cringle_err why = CRINGLE_ERR_INIT;
        int r = find_attachment(d, id, &a, &net, err);

        if (r < 1)
                return r;
        r = a->result ? 0 : cni_cache_get(d->cache_dir, a->network, id, a->ifname, &cached, &why);
        if (r < 0)
                say(d, CRINGLE_WARNING, "%s, going on without the result", why.text);
        if (cached)
                a->result = steal(&cached->result);
        if (is_namespace(netns) && !str_equal(netns, a->netns)) {
                free(a->netns);
                a->netns = strdup(netns);
                if (!a->netns)
                        return err_oom(err);
        }
        if (!is_namespace(a->netns)) {
                free(a->netns);
                a->netns = NULL;
        }
        return undo(d, net, a, call, err) < 0 ? -1 : 1;
}

static void forget_mine(struct driver *d, const char *id)
{
        pthread_mutex_lock(&d->lock);
        map_take(&d->mine, id);
        pthread_mutex_unlock(&d->lock);
}

static bool is_mine(struct driver *d, const char *id)
{
        bool mine;

        pthread_mutex_lock(&d->lock);
        mine = map_get(&d->mine, id) != NULL;
        pthread_mutex_unlock(&d->lock);
        return mine;
}

/* --- attach, detach, check --- */

static int check_id(const char *id, struct cringle_err *err)
{
        return is_id(id) ? 0 : err_set(err, CRINGLE_E_INVALID, "'%.64s' is no id of a pod", id);
}

static void free_result(struct cringle_network_result *result)
{
        strv_free(result->ips);
        free(result->interface);
        result->ips = NULL;
        result->interface = NULL;
}

static int fill_result(const struct cni_attachment *a, int version, struct cringle_network_result *ret,
                       struct cringle_err *err)
{
        auto_json newest = NULL;
        auto_free char *interface = strdup(a->ifname);
        auto_strv ips = NULL;

        if (!interface)
                return err_oom(err);
        if (!a->result)
                return err_set(err, CRINGLE_E_INVALID, "network %s: no plugin gave a result", a->network);
        if (cni_result_take(a->result, version, &newest, err) < 0 ||
            cni_result_addresses(newest, a->ifname, a->netns, &ips, err) < 0)
                return err_wrap(err, "network %s", a->network);
        ret->ips = steal(&ips);
        ret->interface = steal(&interface);
        return 0;
}

/* ADD, from the record on; what it fails with is undone by the caller. */
static int add(struct driver *d, const struct cni_network *net, struct cni_attachment *a,
               const struct cringle_call *call, struct cringle_network_result *ret, struct cringle_err *err)
{
        struct cringle_call within = call_within(call, d->timeout);

        if (cni_add((const char *const *) d->bin_dirs, net, a, &within, err) < 0 ||
            cni_cache_put(d->cache_dir, a, err) < 0)
                return -1;
        return fill_result(a, net->version, ret, err);
}

static int attach_fresh(struct driver *d, const struct cringle_call *call, const struct cringle_network_pod *pod,
                        struct cringle_network_result *ret, struct cringle_err *err)
{
        auto_of(cni_network) net = NULL;
        auto_of(cni_attachment) a = NULL;
        auto_free char *path = record_path(d, pod->id, err);
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!path || load_network(d, call, &net, err) < 0 || describe_pod(pod, net, IFNAME, &a, err) < 0 ||
            cni_attachment_write(path, a, true, err) < 0)
                return -1;
        if (add(d, net, a, call, ret, err) == 0)
                return 0;

        /* The call's own time may be over by now, or its caller gone: this must be done all the same. */
        if (undo(d, net, a, NULL, &why) < 0)
                say(d, CRINGLE_WARNING, "pod %s: undo the failed attachment: %s, leaving it to a later one", pod->id,
                    why.text);
        return -1;
}

static int attach_in_turn(struct driver *d, const struct cringle_call *call, const struct cringle_network_pod *pod,
                          struct cringle_network_result *ret, struct cringle_err *err)
{
        int r;

        pthread_mutex_lock(&d->lock);
        r = map_put(&d->mine, pod->id, d, err);
        pthread_mutex_unlock(&d->lock);
        if (r < 0)
                return -1;

        r = undo_recorded(d, pod->id, pod->netns, call, err);
        if (r < 0)
                err_wrap(err, "undo an earlier attachment");
        else
                r = attach_fresh(d, call, pod, ret, err);
        if (r < 0)
                forget_mine(d, pod->id);        /* a collection may have it */
        return r;
}

static int driver_attach(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                         struct cringle_network_result *ret, struct cringle_err *err)
{
        struct driver *d = self;
        int r;

        if (check_id(pod->id, err) < 0)
                return -1;
        if (!pod->netns)
                return err_set(err, CRINGLE_E_PRECONDITION, "pod %s has no network namespace", pod->id);
        if (turns_take(&d->turns, pod->id, call, err) < 0)
                return -1;
        r = attach_in_turn(d, call, pod, ret, err);
        turns_give(&d->turns, pod->id);
        return r;
}

static int driver_detach(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                         struct cringle_err *err)
{
        struct driver *d = self;
        int r;

        if (check_id(pod->id, err) < 0 || turns_take(&d->turns, pod->id, call, err) < 0)
                return -1;
        r = undo_recorded(d, pod->id, pod->netns, call, err);
        if (r >= 0)
                forget_mine(d, pod->id);
        turns_give(&d->turns, pod->id);
        return r < 0 ? -1 : 0;
}

static int check_in_turn(struct driver *d, const struct cringle_call *call, const struct cringle_network_pod *pod,
                         struct cringle_err *err)
{
        struct cringle_call within = call_within(call, d->timeout);
        auto_of(cni_attachment) a = NULL, *cached = NULL;
        auto_of(cni_network) net = NULL;
        int r = find_attachment(d, pod->id, &a, &net, err);

        if (r < 1)
                return r < 0 ? -1 : err_set(err, CRINGLE_E_NOT_FOUND, "pod %s is not attached", pod->id);
        if (cni_cache_get(d->cache_dir, a->network, pod->id, a->ifname, &cached, err) < 0)
                return -1;
        r = cni_check((const char *const *) d->bin_dirs, net, cached ? cached : a, &within, err);
        return r < 0 ? -1 : 0;
}

static int driver_check(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                        struct cringle_err *err)
{
        struct driver *d = self;
        int r;

        if (check_id(pod->id, err) < 0 || turns_take(&d->turns, pod->id, call, err) < 0)
                return -1;
        r = check_in_turn(d, call, pod, err);
        turns_give(&d->turns, pod->id);
        return r;
}

/* --- status --- */

/* 1: the last answer still holds, and is in @err. */
static int last_status(struct driver *d, const struct cni_network *net, struct cringle_err *err)
{
        int r = 0;

        pthread_mutex_lock(&d->lock);
        if (str_equal(d->status_config, net->config) && clock_monotonic() - d->status_time < STATUS_KEPT) {
                r = 1;
                if (d->status.code)
                        err_set(err, d->status.code, "%s", d->status.text);
        }
        pthread_mutex_unlock(&d->lock);
        return r;
}

static void keep_status(struct driver *d, const struct cni_network *net, const struct cringle_err *status)
{
        pthread_mutex_lock(&d->lock);
        free(d->status_config);
        d->status_config = strdup(net->config); /* without memory: asked again */
        d->status_time = clock_monotonic();
        d->status = *status;
        pthread_mutex_unlock(&d->lock);
}

static int driver_status(void *self, const struct cringle_call *call, struct cringle_err *err)
{
        struct cringle_call within = call_within(call, STATUS_LIMIT);
        struct cringle_err status = CRINGLE_ERR_INIT;
        struct driver *d = self;
        auto_of(cni_network) net = NULL;

        if (load_network(d, &within, &net, err) < 0)
                return -1;
        if (net->version < CNI_1_1_0)
                return 0;
        if (last_status(d, net, &status) == 0) {
                cni_status((const char *const *) d->bin_dirs, net, &within, &status);
                if (call_check(call, err) < 0)
                        return -1;      /* it says nothing about the network */
                keep_status(d, net, &status);
        }
        return status.code ? err_set(err, status.code, "%s", status.text) : 0;
}

/* --- collection --- */

static bool is_wanted(struct driver *d, const char *const *valid, const char *id)
{
        return strv_has(valid, id) || is_mine(d, id);
}

/* Undo what is recorded of pods that are not wanted; all are tried, the first failure is the answer. */
static int collect_records(struct driver *d, const struct cringle_call *call, const char *const *valid,
                           struct cringle_err *err)
{
        auto_strv ids = NULL;
        int failed = 0;

        if (list_records(d, true, &ids, err) < 0)
                return -1;
        for (size_t i = 0; ids && ids[i]; i++) {
                struct cringle_err why = CRINGLE_ERR_INIT;
                int r;

                if (is_wanted(d, valid, ids[i]))
                        continue;
                r = turns_take(&d->turns, ids[i], call, &why);
                if (r == 0) {
                        /* It may have been attached while we waited. */
                        r = is_mine(d, ids[i]) ? 0 : undo_recorded(d, ids[i], NULL, call, &why);
                        turns_give(&d->turns, ids[i]);
                }
                if (r == 1)
                        d->host->count(d->host, "attachments_collected", 1);
                if (r < 0) {
                        say(d, CRINGLE_WARNING, "give back the network of %s: %s", ids[i], why.text);
                        if (!failed)
                                err_set(err, why.code, "%s", why.text);
                        failed = -1;
                }
        }
        return failed;
}

static int add_valid(struct json_object *array, const char *id, const char *ifname, struct cringle_err *err)
{
        struct json_object *o = json_object_new_object();

        if (json_add(array, o, err) < 0 || json_set_string(o, "containerID", id, err) < 0)
                return -1;
        return json_set_string(o, "ifname", ifname, err);
}

struct others {
        const char *network;
        const char *const *ids;         /* of our records */
        struct json_object *array;
};

/* The cache is shared: what another runtime has attached is in use as well. */
static int add_other(void *data, struct cni_attachment **a, struct cringle_err *err)
{
        struct others *o = data;

        if (strcmp((*a)->network, o->network) != 0 || strv_has(o->ids, (*a)->container))
                return 0;
        return add_valid(o->array, (*a)->container, (*a)->ifname, err);
}

/* With everybody's turn. */
static int collect_network(struct driver *d, const struct cni_network *net, const struct cringle_call *call,
                           const char *const *valid, struct cringle_err *err)
{
        struct cringle_call within = call_within(call, d->timeout);
        auto_json array = json_object_new_array();
        auto_strv ids = NULL;
        struct others others;

        if (!array)
                return err_oom(err);
        if (list_records(d, true, &ids, err) < 0)
                return -1;
        for (size_t i = 0; ids && ids[i]; i++)
                if (is_wanted(d, valid, ids[i]) && add_valid(array, ids[i], IFNAME, err) < 0)
                        return -1;
        others = (struct others) { net->name, (const char *const *) ids, array };
        if (cni_cache_each(d->cache_dir, add_other, &others, err) < 0)
                return -1;
        return cni_gc((const char *const *) d->bin_dirs, net, array, &within, err) < 0 ? -1 : 0;
}

static int driver_gc(void *self, const struct cringle_call *call, const char *const *valid, struct cringle_err *err)
{
        struct driver *d = self;
        struct cringle_err why = CRINGLE_ERR_INIT;
        auto_of(cni_network) net = NULL;
        int r = collect_records(d, call, valid, err);

        /* Without a usable network there is nothing to collect; status tells about that. */
        if (load_network(d, call, &net, &why) < 0 || net->version < CNI_1_1_0)
                return r;
        if (turns_take_all(&d->turns, call, &why) < 0)
                return r < 0 ? r : err_set(err, why.code, "%s", why.text);
        if (collect_network(d, net, call, valid, &why) < 0 && r == 0)
                r = err_set(err, why.code, "%s", why.text);
        turns_give_all(&d->turns);
        return r;
}

static const struct cringle_network_ops ops = {
        .size = sizeof ops,
        .status = driver_status,
        .attach = driver_attach,
        .detach = driver_detach,
        .check = driver_check,
        .gc = driver_gc,
        .free_result = free_result,
};

static const struct cringle_setting schema[] = {
        { "conf_dir", CRINGLE_PATH, "/etc/cni/net.d", "the first network list by name in it is used" },
        { "bin_dirs", CRINGLE_STRING_LIST, NULL, "searched for CNI plugins in order; /opt/cni/bin and /usr/lib/cni" },
        { "cache_dir", CRINGLE_PATH, "/var/lib/cni", "results of attachments, shared with other CNI tools" },
        { "timeout", CRINGLE_STRING, "90s", "limit of one attachment or detachment" },
        { 0 },
};

CRINGLE_PLUGIN(network_cni,
        .kind = CRINGLE_NETWORK,
        .name = "network-cni",
        .major = CRINGLE_NETWORK_MAJOR,
        .minor = CRINGLE_NETWORK_MINOR,
        .help = "pod networks by CNI plugins, 0.1 to 1.1",
        .settings = schema,
        .create = driver_create,
        .start = driver_start,
        .destroy = driver_destroy,
        .ops = &ops);
