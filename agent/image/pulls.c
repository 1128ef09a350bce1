/*
 * Pulls: from a reference to a record in the index
 *
 * A pull runs on threads of its own, so that it belongs to nobody in particular: callers only
 * wait for it, each as long as he likes, and the last one to go cancels it.  One thread
 * resolves the reference and records the result; with it, up to images.max_parallel work on layers,
 * lowest first.
 *
 * Order, for a crash at any point: layer committed and durable, then the record, then the
 * answer.  What a dead pull leaves (a begun layer, a committed one without a record) is
 * what the sweep at start drops.
 */

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/testpoint.h"
#include "agent/image/fetch.h"
#include "agent/image/index.h"
#include "agent/image/reference.h"

/* How long the last caller, when its time is over, waits for the pull to clean up behind itself. */
#define CLEAN_UP (10 * NSEC_PER_SEC)

struct pull {
        struct pull *next;
        struct images *images;
        struct settings *settings;
        struct reference ref;
        char *name;                     /* the whole reference */
        struct fetch_auth auth;         /* strings are its own */
        bool with_auth;
        char *request;                  /* of the first caller, for log lines; may be NULL */
        struct cringle_call call;       /* its cancel_fd is readable once cancelled; owned */
        int done_fd;                    /* readable once done */

        /* Guarded by the images' lock. */
        unsigned callers;               /* inside images_pull() with this */
        unsigned waiters;               /* those of them who still want the result */
        bool running;
        bool cancelled;                 /* by the last waiter, or because a layer failed */
        int result;
        struct cringle_err err;         /* the first failure */
        char *id;

        /* Of the pull's own threads; `next_layer` guarded by the lock. */
        struct fetch *fetch;
        struct layer **layers;          /* claimed */
        const char **chain_ids;         /* borrowed from the layers, ended by NULL */
        size_t n_layers, next_layer;
};

static void pull_free(struct pull *p)
{
        if (!p)
                return;
        settings_unref(p->settings);
        reference_done(&p->ref);
        free(p->name);
        free((char *) p->auth.username);
        free((char *) p->auth.password);
        free((char *) p->auth.auth);
        free((char *) p->auth.identity_token);
        free((char *) p->auth.registry_token);
        free((char *) p->auth.server_address);
        free(p->request);
        fd_close(p->call.cancel_fd);
        fd_close(p->done_fd);
        free(p->id);
        free(p->layers);
        free(p->chain_ids);
        free(p);
}

AUTO_DEFINE(pull, pull_free)

static void ring(int fd)
{
        uint64_t one = 1;

        (void) !write(fd, &one, sizeof one);    /* an eventfd takes it */
}

/* Locked. */
static void cancel(struct pull *p)
{
        if (p->cancelled)
                return;
        p->cancelled = true;
        ring(p->call.cancel_fd);
        layers_wake(&p->images->layers);
}

/* Nobody needs @p any more?  Then it leaves the list.  Locked. */
static bool put(struct pull *p)
{
        struct pull **at = &p->images->pulls;

        if (p->running || p->callers > 0)
                return false;
        while (*at != p)
                at = &(*at)->next;
        *at = p->next;
        pthread_cond_broadcast(&p->images->idle);
        return true;
}

void pulls_end(struct images *images)
{
        pthread_mutex_lock(&images->lock);
        for (struct pull *p = images->pulls; p; p = p->next)
                cancel(p);
        while (images->pulls)
                pthread_cond_wait(&images->idle, &images->lock);
        pthread_mutex_unlock(&images->lock);
}

/* --- one layer --- */

/*
 * Bring what only the layers below can tell into the layer.  They are on their way: lower layers
 * are begun first, by this pull or by another.
 */
static int settle(struct pull *p, size_t i, int dir_fd, struct cringle_err *err)
{
        const struct cringle_image_ops *ops = p->images->ops;
        auto_free const char **below = NULL;
        auto_fd int view = -1;

        if (layers_wait(&p->images->layers, p->layers, i, &p->cancelled, err) < 0)
                return -1;
        if (i > 0) {
                struct cringle_rootfs_options options = { .size = sizeof options, .readonly = 1 };

                below = calloc(i + 1, sizeof *below);
                if (!below)
                        return err_oom(err);
                memcpy(below, p->chain_ids, i * sizeof *below);
                options.chain_ids = below;
                if (ops->view_mount(p->images->self, &options, &view, err) < 0)
                        return -1;
        }
        return fetch_settle_layer(p->fetch, i, dir_fd, view, &p->call, err);
}

static int unpack(struct pull *p, size_t i, int dir_fd, struct cringle_err *err)
{
        int r = fetch_layer(p->fetch, i, dir_fd, &p->call, err);

        return r == FETCH_NEEDS_PARENTS ? settle(p, i, dir_fd, err) : r;
}

static int make_layer(struct pull *p, size_t i, struct cringle_err *err)
{
        const struct cringle_image_ops *ops = p->images->ops;
        struct cringle_layer at = { .size = sizeof at, .dir_fd = -1 };
        void *self = p->images->self;
        int r;

        if (ops->layer_begin(self, p->chain_ids[i], &at, err) < 0)
                return -1;
        test_point("pull:layer-begun");
        r = unpack(p, i, at.dir_fd, err);
        if (r == 0) {
                test_point("pull:layer-unpacked");
                r = call_check(&p->call, err);
        }
        if (r == 0)
                r = ops->layer_commit(self, p->chain_ids[i], &at, err);
        if (r < 0)
                ops->layer_abort(self, p->chain_ids[i], &at);
        else
                test_point("pull:layer-committed");
        fd_close(at.dir_fd);
        free(at.path);
        return r;
}

static int need_layer(struct pull *p, size_t i, struct cringle_err *err)
{
        const struct cringle_image_ops *ops = p->images->ops;
        struct layer *l = p->layers[i];
        struct cringle_usage usage = { .size = sizeof usage };
        int r = layers_take(&p->images->layers, l, &p->cancelled, err);

        if (r != LAYERS_MISSING)
                return r;

        r = ops->layer_exists(p->images->self, l->chain_id, err);
        if (r == 0)
                r = make_layer(p, i, err);
        if (r >= 0)
                r = ops->layer_usage(p->images->self, l->chain_id, &usage, err);
        if (r < 0) {
                layers_not_filled(&p->images->layers, l);
                return err_wrap(err, "layer %zu (%s)", i + 1, fetch_image(p->fetch)->layers[i].digest);
        }
        layers_filled(&p->images->layers, l, usage.bytes, usage.inodes);
        return 0;
}

/* The first failure is the pull's; those that follow from it are not told. */
static void give_up(struct pull *p, const struct cringle_err *err)
{
        pthread_mutex_lock(&p->images->lock);
        if (p->result == 0) {
                p->result = -1;
                p->err = *err;
        }
        cancel(p);
        pthread_mutex_unlock(&p->images->lock);
}

static bool next_layer(struct pull *p, size_t *ret)
{
        bool more;

        pthread_mutex_lock(&p->images->lock);
        more = !p->cancelled && p->next_layer < p->n_layers;
        if (more)
                *ret = p->next_layer++;
        pthread_mutex_unlock(&p->images->lock);
        return more;
}

static void *layers_main(void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct pull *p = data;
        size_t i;

        log_set_request(p->request);
        while (next_layer(p, &i))
                if (need_layer(p, i, &err) < 0)
                        give_up(p, &err);
        return NULL;
}

/* --- the whole --- */

/* Signals are for the host's own threads. */
static int start_thread(pthread_t *ret, void *(*run)(void *), void *data)
{
        sigset_t all, before;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(ret, NULL, run, data);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r;
}

static int claim_layers(struct pull *p, struct cringle_err *err)
{
        const struct fetch_image *image = fetch_image(p->fetch);
        int r = 0;

        p->layers = calloc(image->n_layers + 1, sizeof *p->layers);
        p->chain_ids = calloc(image->n_layers + 1, sizeof *p->chain_ids);
        if (!p->layers || !p->chain_ids)
                return err_oom(err);

        pthread_mutex_lock(&p->images->lock);
        while (r == 0 && p->n_layers < image->n_layers) {
                struct layer **at = &p->layers[p->n_layers];

                r = layers_claim(&p->images->layers, image->layers[p->n_layers].chain_id, at, err);
                if (r == 0)
                        p->chain_ids[p->n_layers++] = (*at)->chain_id;
        }
        pthread_mutex_unlock(&p->images->lock);
        return r;
}

/* All layers, this thread being one of those that work on them. */
static int get_layers(struct pull *p, struct cringle_err *err)
{
        int64_t most = p->settings->config.images.max_parallel;
        auto_free pthread_t *helpers = NULL;
        size_t wanted, n = 0;
        int r;

        wanted = most > 1 ? (size_t) most - 1 : 0;
        if (wanted + 1 > p->n_layers)
                wanted = p->n_layers ? p->n_layers - 1 : 0;
        helpers = calloc(wanted + 1, sizeof *helpers);
        if (!helpers)
                return err_oom(err);

        while (n < wanted && start_thread(&helpers[n], layers_main, p) == 0)
                n++;            /* with fewer it takes longer */
        layers_main(p);
        for (size_t i = 0; i < n; i++)
                pthread_join(helpers[i], NULL);

        pthread_mutex_lock(&p->images->lock);
        r = p->result;
        if (r == 0 && p->cancelled)
                r = err_set(err, CRINGLE_E_CANCELLED, "cancelled");
        else if (r < 0 && err)
                *err = p->err;
        pthread_mutex_unlock(&p->images->lock);
        return r;
}

static int record(struct pull *p, struct cringle_err *err)
{
        const struct fetch_image *image = fetch_image(p->fetch);
        auto_free char *digest = reference_text_digest(&p->ref, image->manifest_digest, err);
        struct record r = {
                .id = image->config_digest,
                .config = image->config,
                .tag = p->ref.digest ? NULL : p->name,
                .digest = digest,
                .layers = p->layers,
                .n_layers = p->n_layers,
        };

        if (!digest)
                return -1;
        if (strlen(image->config) != image->config_size)
                return err_set(err, CRINGLE_E_INVALID, "the configuration contains a NUL");
        p->id = strdup(image->config_digest);
        if (!p->id)
                return err_oom(err);
        if (index_record(p->images, &r, err) < 0)
                return -1;
        p->n_layers = 0;        /* the index has the claims now */
        return 0;
}

static int work(struct pull *p, struct cringle_err *err)
{
        struct fetch_options options = { .config = &p->settings->config };

        if (fetch_open(&options, &p->ref, p->with_auth ? &p->auth : NULL, &p->call, &p->fetch, err) < 0)
                return -1;
        test_point("pull:resolved");
        if (claim_layers(p, err) < 0 || get_layers(p, err) < 0)
                return -1;
        test_point("pull:layers");
        return record(p, err);
}

static void *pull_main(void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct pull *p = data;
        bool last;

        log_set_request(p->request);
        pthread_detach(pthread_self());
        if (work(p, &err) < 0) {
                err_wrap(&err, "pull %s", p->name);
                pthread_mutex_lock(&p->images->lock);
                p->result = -1;
                p->err = err;
                pthread_mutex_unlock(&p->images->lock);
        }
        p->fetch = fetch_free(p->fetch);
        layers_drop(&p->images->layers, p->layers, p->n_layers);

        pthread_mutex_lock(&p->images->lock);
        p->running = false;
        ring(p->done_fd);
        last = put(p);
        pthread_mutex_unlock(&p->images->lock);
        if (last)
                pull_free(p);
        return NULL;
}

/* --- callers --- */

static int copy(const char **to, const char *from, struct cringle_err *err)
{
        if (!from)
                return 0;
        *to = strdup(from);
        return *to ? 0 : err_oom(err);
}

static int copy_auth(struct pull *p, const struct fetch_auth *auth, struct cringle_err *err)
{
        p->with_auth = true;
        return copy(&p->auth.username, auth->username, err) < 0 || copy(&p->auth.password, auth->password, err) < 0 ||
                               copy(&p->auth.auth, auth->auth, err) < 0 ||
                               copy(&p->auth.identity_token, auth->identity_token, err) < 0 ||
                               copy(&p->auth.registry_token, auth->registry_token, err) < 0 ||
                               copy(&p->auth.server_address, auth->server_address, err) < 0
                       ? -1
                       : 0;
}

static int pull_new(struct images *images, const struct cringle_call *call, const char *reference,
                    const struct fetch_auth *auth, struct pull **ret, struct cringle_err *err)
{
        auto_of(pull) p = calloc(1, sizeof *p);

        if (!p)
                return err_oom(err);
        p->images = images;
        p->call = (struct cringle_call) CALL_INIT;
        p->done_fd = -1;
        p->err = (struct cringle_err) CRINGLE_ERR_INIT;
        if (reference_parse(reference, &p->ref, err) < 0)
                return -1;
        p->name = reference_text(&p->ref, err);
        if (!p->name || (auth && copy_auth(p, auth, err) < 0))
                return -1;
        if (call && call->request) {
                p->request = strdup(call->request);
                if (!p->request)
                        return err_oom(err);
                p->call.request = p->request;
        }
        p->call.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->call.cancel_fd < 0 || p->done_fd < 0)
                return err_sys(err, "make eventfd");
        *ret = steal(&p);
        return 0;
}

/*
 * Would @b fetch the same with the same right to?  Credentials count: somebody with a wrong
 * password must not be told that it is a good one, by a pull that used another.
 */
static bool same(const struct pull *a, const struct pull *b)
{
        return str_equal(a->name, b->name) && a->with_auth == b->with_auth &&
               str_equal(a->auth.username, b->auth.username) && str_equal(a->auth.password, b->auth.password) &&
               str_equal(a->auth.auth, b->auth.auth) &&
               str_equal(a->auth.identity_token, b->auth.identity_token) &&
               str_equal(a->auth.registry_token, b->auth.registry_token) &&
               str_equal(a->auth.server_address, b->auth.server_address);
}

/* Find a running pull like *@mine, or start that one.  The caller waits for what this returns.  Locked. */
static struct pull *join_or_start(struct images *images, struct pull **mine, struct cringle_err *err)
{
        struct pull *p = images->pulls;
        pthread_t thread;
        int r;

        while (p && (p->cancelled || !p->running || !same(p, *mine)))
                p = p->next;
        if (p) {
                p->callers++;
                p->waiters++;
                return p;
        }

        p = *mine;
        p->settings = settings_ref(images->settings);
        p->running = true;
        p->callers = p->waiters = 1;
        p->next = images->pulls;
        images->pulls = p;
        r = start_thread(&thread, pull_main, p);
        if (r != 0) {
                p->running = false;
                p->callers = p->waiters = 0;
                put(p);
                err_sysno(err, r, "start thread");
                return NULL;
        }
        return steal(mine);
}

int images_pull(struct images *images, const struct cringle_call *call, const char *reference,
                const struct fetch_auth *auth, char **ret_id, struct cringle_err *err)
{
        auto_of(pull) mine = NULL;
        struct pull *p;
        bool last;
        int r;

        if (call_check(call, err) < 0 || pull_new(images, call, reference, auth, &mine, err) < 0)
                return -1;

        pthread_mutex_lock(&images->lock);
        p = join_or_start(images, &mine, err);
        pthread_mutex_unlock(&images->lock);
        if (!p)
                return -1;

        r = call_wait(call, p->done_fd, POLLIN, -1, err);
        pthread_mutex_lock(&images->lock);
        last = --p->waiters == 0;
        if (r < 0 && last)
                cancel(p);
        pthread_mutex_unlock(&images->lock);
        if (r < 0) {
                struct cringle_call clean_up = call_within(NULL, CLEAN_UP);

                if (last)
                        (void) call_wait(&clean_up, p->done_fd, POLLIN, -1, NULL);
                err_wrap(err, "pull %s", p->name);
        }

        pthread_mutex_lock(&images->lock);
        if (r > 0 && p->result < 0) {
                r = -1;
                if (err)
                        *err = p->err;
        } else if (r > 0) {
                *ret_id = strdup(p->id);
                r = *ret_id ? 0 : err_oom(err);
        }
        p->callers--;
        last = put(p);
        pthread_mutex_unlock(&images->lock);
        if (last)
                pull_free(p);
        return r;
}
