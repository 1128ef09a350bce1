/*
 * The image index: what is listed is whole and durable, what nobody uses is gone, and pulls are shared.
 *
 * The backend is image-overlay itself, on a directory of its own; the registry is made up here.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/db.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/image/fetch.h"
#include "agent/image/image.h"
#include "agent/image/settings.h"
#include "agent/image/store.h"
#include "config/config.h"

const struct cringle_plugin *cringle_builtin_image_overlay(void);

static struct cringle_err scratch = CRINGLE_ERR_INIT;

/* --- a registry that is not one --- */

#define LAYERS_MAX 4

struct fake_image {
        const char *name;               /* "host/repository:tag" */
        unsigned id;
        const char *config;
        unsigned layers[LAYERS_MAX];    /* numbers, ended by 0; layer n holds a file called n */
};

static const struct fake_image shelf[] = {
        { "docker.io/library/one:latest", 0x1, "{\"config\":{\"User\":\"1000:100\"}}", { 1, 2 } },
        { "docker.io/library/one:again", 0x1, "{\"config\":{\"User\":\"1000:100\"}}", { 1, 2 } },
        { "docker.io/library/two:latest", 0x2, "{\"config\":{\"User\":\"web\"}}", { 1, 3 } },
        { "docker.io/library/bare:latest", 0x3, "{}", { 0 } },
        { "docker.io/library/tall:latest", 0x4, "{\"config\":null}", { 1, 2, 4, 5 } },
        { "docker.io/library/broken:latest", 0x5, "[]", { 6 } },
};

static struct {
        pthread_mutex_t lock;
        int gate;                       /* an eventfd: layers are done once it is readable; -1: at once */
        unsigned opened;
        unsigned fetched[16];           /* by layer number */
        unsigned bad;                   /* layer that fails */
        unsigned deadly;                /* layer that kills the process */
        unsigned orphan;                /* layer that needs its parents */
        unsigned settled;
        const char *moved;              /* name that stands for shelf[2] for once */
        char password[32];              /* of the last open */
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER, .gate = -1 };

struct fetch {
        const struct fake_image *of;
        struct fetch_image image;
};

static void digest_of(unsigned long n, char ret[static DIGEST_LEN + 1])
{
        snprintf(ret, DIGEST_LEN + 1, "sha256:%064lx", n);
}

/* What stands for layer @i of @of on those below: its number and theirs as digits. */
static unsigned long chain_of(const struct fake_image *of, size_t i)
{
        unsigned long n = 0xc;

        for (size_t at = 0; at <= i; at++)
                n = n * 16 + of->layers[at];
        return n;
}

int fetch_open(const struct fetch_options *options, const struct reference *ref, const struct fetch_auth *auth,
               const struct cringle_call *call, struct fetch **ret, struct cringle_err *err)
{
        auto_free char *name = reference_text(ref, err);
        const struct fake_image *of = NULL;
        struct fetch *f;

        pthread_mutex_lock(&registry.lock);
        registry.opened++;
        snprintf(registry.password, sizeof registry.password, "%s", auth && auth->password ? auth->password : "");
        pthread_mutex_unlock(&registry.lock);
        for (size_t i = 0; i < sizeof shelf / sizeof *shelf; i++)
                if (str_equal(shelf[i].name, name))
                        of = str_equal(name, registry.moved) ? &shelf[2] : &shelf[i];
        if (!of)
                return err_set(err, CRINGLE_E_NOT_FOUND, "%s: no such image", name);

        f = calloc(1, sizeof *f);
        f->of = of;
        f->image.config = strdup(of->config);
        f->image.config_size = strlen(of->config);
        digest_of(of->id, f->image.config_digest);
        digest_of(of->id + 0x100, f->image.manifest_digest);
        f->image.layers = calloc(LAYERS_MAX, sizeof *f->image.layers);
        for (; f->image.n_layers < LAYERS_MAX && of->layers[f->image.n_layers]; f->image.n_layers++) {
                struct fetch_image_layer *l = &f->image.layers[f->image.n_layers];

                digest_of(of->layers[f->image.n_layers], l->digest);
                digest_of(chain_of(of, f->image.n_layers), l->chain_id);
        }
        *ret = f;
        return 0;
}

const struct fetch_image *fetch_image(const struct fetch *f)
{
        return &f->image;
}

int fetch_layer(struct fetch *f, size_t i, int layer_dir_fd, const struct cringle_call *call, struct cringle_err *err)
{
        unsigned number = f->of->layers[i];
        auto_fd int fd = -1;
        char name[16];

        pthread_mutex_lock(&registry.lock);
        registry.fetched[number]++;
        pthread_mutex_unlock(&registry.lock);
        snprintf(name, sizeof name, "%u", number);
        fd = openat(layer_dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 || file_write_fd(fd, name, strlen(name), err) < 0)
                return err_sys(err, "write layer");
        if (registry.gate >= 0 && call_wait(call, registry.gate, POLLIN, -1, err) < 0)
                return -1;
        if (number == registry.deadly)
                kill(getpid(), SIGKILL);
        if (number == registry.bad)
                return err_set(err, CRINGLE_E_DATA_LOSS, "the digest is another");
        return number == registry.orphan ? FETCH_NEEDS_PARENTS : FETCH_DONE;
}

int fetch_settle_layer(struct fetch *f, size_t i, int layer_dir_fd, int parents_fd, const struct cringle_call *call,
                       struct cringle_err *err)
{
        for (size_t at = 0; at < i; at++) {
                char name[16];

                snprintf(name, sizeof name, "%u", f->of->layers[at]);
                if (faccessat(parents_fd, name, F_OK, 0) < 0)
                        return err_sys(err, "look for %s of a lower layer", name);
        }
        registry.settled++;
        return 0;
}

struct fetch *fetch_free(struct fetch *f)
{
        if (!f)
                return NULL;
        free(f->image.config);
        free(f->image.layers);
        free(f);
        return NULL;
}

/* --- the fixture --- */

struct fixture {
        char *dir, *root, *store;
        const struct cringle_factory *factory;
        void *self;
        struct db *db;
        struct config config;
        struct images *images;
};

static void host_log(const struct cringle_host *host, int level, const char *text)
{
        (void) host;
        (void) level;
        fprintf(stderr, "%s\n", text);
}

static const struct cringle_host host = { .size = sizeof host, .log = host_log };

static void start(struct fixture *f)
{
        const char *const migrations[] = { image_schema, NULL };
        struct images_options options = { .config = &f->config };
        struct cringle_pair settings[] = { { "root", f->root }, { 0 } };

        assert_ok(f->factory->create(&host, settings, &f->self, &scratch), &scratch);
        assert_ok(db_open(f->store, migrations, &f->db, &scratch), &scratch);
        options.db = f->db;
        options.ops = f->factory->ops;
        options.self = f->self;
        assert_ok(images_new(&options, &f->images, &scratch), &scratch);
}

static void stop(struct fixture *f)
{
        f->images = images_free(f->images);
        f->db = db_close(f->db);
        f->factory->destroy(steal(&f->self));
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        registry.gate = -1;
        registry.opened = registry.bad = registry.deadly = registry.orphan = registry.settled = 0;
        registry.moved = NULL;
        memset(registry.fetched, 0, sizeof registry.fetched);

        f->dir = unit_make_dir();
        f->root = str_printf(NULL, "%s/overlay", f->dir);
        f->store = str_printf(NULL, "%s/store.db", f->dir);
        f->factory = cringle_builtin_image_overlay()->factories[0];
        f->config.programs.pull = (char *) "/no/such/program";
        f->config.images.max_parallel = 3;
        start(f);
        assert_ok(images_sweep(f->images, NULL, &scratch), &scratch);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        registry.gate = fd_close(registry.gate);
        stop(f);
        assert_ok(file_remove_tree(f->dir, &scratch), &scratch);
        free(f->store);
        free(f->root);
        free(f->dir);
        free(f);
        return 0;
}

static size_t entries(struct fixture *f, const char *name)
{
        auto_free char *path = str_printf(NULL, "%s/%s", f->root, name);
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        return st.st_nlink - 2;
}

static void assert_nothing_half_done(struct fixture *f)
{
        assert_int_equal(entries(f, "staging"), 0);
        assert_int_equal(entries(f, "trash"), 0);
}

static void pull(struct fixture *f, const char *name)
{
        auto_free char *id = NULL;

        assert_ok(images_pull(f->images, NULL, name, NULL, &id, &scratch), &scratch);
}

static size_t listed(struct fixture *f)
{
        struct image **list;
        size_t n;

        assert_ok(images_list(f->images, NULL, &list, &n, &scratch), &scratch);
        images_list_free(list, n);
        return n;
}

static struct image *must_find(struct fixture *f, const char *name)
{
        struct image *i = images_find(f->images, name);

        if (!i)
                fail_msg("%s: not found", name);
        return i;
}

static void assert_absent(struct fixture *f, const char *name)
{
        assert_null(images_find(f->images, name));
}

#define ID(n) "sha256:000000000000000000000000000000000000000000000000000000000000000" n

/* --- callers on threads of their own --- */

struct caller {
        struct fixture *f;
        const char *name;
        struct fetch_auth auth;
        struct cringle_call call;
        pthread_t thread;
        int result;
        char *id;
        struct cringle_err err;
};

static void *caller_main(void *data)
{
        struct caller *c = data;

        c->result = images_pull(c->f->images, &c->call, c->name, c->auth.password ? &c->auth : NULL, &c->id, &c->err);
        return NULL;
}

static void call_start(struct caller *c, struct fixture *f, const char *name, const char *password)
{
        *c = (struct caller) { .f = f, .name = name, .call = CALL_INIT, .err = CRINGLE_ERR_INIT };
        c->auth.password = password;
        c->call.cancel_fd = eventfd(0, EFD_CLOEXEC);
        assert_int_equal(pthread_create(&c->thread, NULL, caller_main, c), 0);
}

static void raise_fd(int fd)
{
        uint64_t one = 1;

        assert_int_equal(write(fd, &one, sizeof one), sizeof one);
}

static int call_end(struct caller *c)
{
        pthread_join(c->thread, NULL);
        close(c->call.cancel_fd);
        free(c->id);
        return c->result;
}

/* Wait for *@n, which others count up, to become @want. */
static void until(unsigned *n, unsigned want)
{
        for (int i = 0; i < 2000; i++) {
                unsigned now;

                pthread_mutex_lock(&registry.lock);
                now = *n;
                pthread_mutex_unlock(&registry.lock);
                if (now >= want)
                        return;
                usleep(5000);
        }
        fail_msg("waited 10 s in vain");
}

/* Time for a caller that has nothing to count to get where it waits. */
static void a_moment(void)
{
        usleep(100000);
}

/* --- the tests --- */

static void an_image_is_found_by_all_its_names(void **state)
{
        static const char *const names[] = {
                ID("1"), "0000000000000000000000000000000000000000000000000000000000000001", "one", "one:latest",
                "library/one", "docker.io/library/one:latest", "one@" ID("1"),
        };
        struct fixture *f = *state;
        auto_free char *id = NULL;
        auto_of(image) one = NULL;

        assert_ok(images_pull(f->images, NULL, "one", NULL, &id, &scratch), &scratch);
        assert_string_equal(id, ID("1"));
        for (size_t i = 0; i < 6; i++) {
                auto_of(image) found = must_find(f, names[i]);

                assert_string_equal(found->id, ID("1"));
        }
        one = must_find(f, "one");
        assert_string_equal(one->tags[0], "docker.io/library/one:latest");
        assert_int_equal(strv_count((const char *const *) one->tags), 1);
        assert_contains(one->digests[0], "docker.io/library/one@sha256:");
        assert_contains(one->digests[0], "101");
        assert_int_equal(strv_count((const char *const *) one->chain_ids), 2);
        assert_true(one->size > 0);
        {
                auto_of(image) found = must_find(f, one->digests[0]);

                assert_ptr_equal(found, one);
        }
        assert_absent(f, names[6]);             /* that is the image's id, not its manifest's digest */
        assert_absent(f, "one:other");
        assert_absent(f, "two");
        assert_absent(f, "00000000000");        /* too short for an id */
        assert_absent(f, "not a name");
}

static void an_ambiguous_prefix_finds_nothing(void **state)
{
        struct fixture *f = *state;
        auto_of(image) one = NULL;

        pull(f, "one");
        one = must_find(f, "000000000000");
        assert_string_equal(one->id, ID("1"));
        pull(f, "two");
        assert_absent(f, "000000000000");
}

static void users_are_numbers_or_names(void **state)
{
        struct fixture *f = *state;
        auto_of(image) one = NULL;
        auto_of(image) two = NULL;
        auto_of(image) bare = NULL;

        pull(f, "one");
        pull(f, "two");
        pull(f, "bare");
        one = must_find(f, "one");
        two = must_find(f, "two");
        bare = must_find(f, "bare");
        assert_int_equal(one->uid, 1000);
        assert_null(one->username);
        assert_string_equal(one->user, "1000:100");
        assert_int_equal(two->uid, -1);
        assert_string_equal(two->username, "web");
        assert_int_equal(bare->uid, 0);
        assert_null(bare->user);
}

/* The kubelet asks whether that is root: what is out of range must not become it, nor be no user at all. */
static void a_user_out_of_range_is_not_root(void **state)
{
        static const char *const users[] = { "2147483648", "4294967295", "4294967296", "18446744073709551616", "99999999999999999999:0",
                                             "-0", "0x0", " 0", "00000000004294967296" };

        for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
                auto_free char *config = str_printf(NULL, "{\"config\":{\"User\":\"%s\"}}", users[i]);
                const struct image_parts parts = { .id = "sha256:0", .config = config };
                auto_of(image) image = NULL;

                assert_ok(image_new(&parts, NULL, &image, &scratch), &scratch);
                assert_true(image->uid != 0);
                assert_true(image->uid > 0 || image->username);
        }
}

static void images_survive_a_restart(void **state)
{
        struct fixture *f = *state;
        auto_of(image) before = NULL;
        auto_of(image) after = NULL;

        pull(f, "one");
        pull(f, "bare");
        before = must_find(f, "one");
        stop(f);
        start(f);
        assert_ok(images_sweep(f->images, NULL, &scratch), &scratch);
        assert_int_equal(listed(f), 2);
        after = must_find(f, "one");
        assert_string_equal(after->id, before->id);
        assert_string_equal(after->config, before->config);
        assert_string_equal(after->tags[0], before->tags[0]);
        assert_string_equal(after->digests[0], before->digests[0]);
        assert_string_equal(after->chain_ids[1], before->chain_ids[1]);
        assert_int_equal(after->size, before->size);
        assert_int_equal(entries(f, "layers"), 2);

        pull(f, "one");                         /* all there already */
        assert_int_equal(registry.fetched[1], 1);
        assert_int_equal(registry.fetched[2], 1);
}

static void an_image_with_a_missing_layer_is_dropped_at_start(void **state)
{
        struct fixture *f = *state;
        const struct cringle_image_ops *ops = f->factory->ops;
        auto_of(image) one = NULL;

        pull(f, "one");
        pull(f, "two");
        one = must_find(f, "one");
        assert_ok(ops->layer_remove(f->self, one->chain_ids[1], &scratch), &scratch);
        stop(f);
        start(f);
        assert_int_equal(listed(f), 1);
        assert_absent(f, "one");
        assert_ok(images_sweep(f->images, NULL, &scratch), &scratch);
        assert_int_equal(entries(f, "layers"), 2);
        stop(f);
        start(f);
        assert_int_equal(listed(f), 1);
        assert_ok(images_sweep(f->images, NULL, &scratch), &scratch);
        pull(f, "one");
        assert_int_equal(listed(f), 2);
}

static void shared_layers_stay_as_long_as_an_image_uses_them(void **state)
{
        struct fixture *f = *state;
        uint64_t bytes, inodes, after;
        const char *path;

        pull(f, "one");
        assert_ok(images_fs_info(f->images, &path, &bytes, &inodes, &scratch), &scratch);
        assert_string_equal(path, f->root);
        assert_int_equal(inodes, 4);            /* two layers of one root and one file each */
        pull(f, "two");
        assert_int_equal(registry.fetched[1], 1);
        assert_int_equal(entries(f, "layers"), 3);
        assert_ok(images_fs_info(f->images, &path, &after, &inodes, &scratch), &scratch);
        assert_int_equal(inodes, 6);

        assert_ok(images_remove(f->images, NULL, "one", &scratch), &scratch);
        assert_int_equal(entries(f, "layers"), 2);
        assert_ok(images_remove(f->images, NULL, "two", &scratch), &scratch);
        assert_int_equal(entries(f, "layers"), 0);
        assert_ok(images_fs_info(f->images, &path, &bytes, &inodes, &scratch), &scratch);
        assert_int_equal(bytes, 0);
        assert_nothing_half_done(f);
}

static void removing_by_one_tag_removes_all_and_twice_is_fine(void **state)
{
        struct fixture *f = *state;

        pull(f, "one");
        pull(f, "one:again");
        assert_int_equal(listed(f), 1);
        {
                auto_of(image) one = must_find(f, "one:again");

                assert_int_equal(strv_count((const char *const *) one->tags), 2);
                assert_int_equal(strv_count((const char *const *) one->digests), 1);
        }
        assert_ok(images_remove(f->images, NULL, "one:again", &scratch), &scratch);
        assert_absent(f, "one");
        assert_absent(f, ID("1"));
        assert_ok(images_remove(f->images, NULL, "one:again", &scratch), &scratch);
        assert_ok(images_remove(f->images, NULL, "never-there", &scratch), &scratch);
        assert_int_equal(entries(f, "layers"), 0);
        stop(f);
        start(f);
        assert_int_equal(listed(f), 0);
}

static void a_failed_pull_leaves_nothing(void **state)
{
        struct fixture *f = *state;
        auto_free char *id = NULL;

        registry.bad = 5;
        assert_int_equal(images_pull(f->images, NULL, "tall", NULL, &id, &scratch), -1);
        assert_int_equal(scratch.code, CRINGLE_E_DATA_LOSS);
        assert_contains(scratch.text, "the digest is another");
        assert_contains(scratch.text, "pull docker.io/library/tall:latest");
        assert_int_equal(entries(f, "layers"), 0);

        pull(f, "one");
        assert_int_equal(images_pull(f->images, NULL, "tall", NULL, &id, &scratch), -1);
        assert_int_equal(images_pull(f->images, NULL, "nothing", NULL, &id, &scratch), -1);
        assert_int_equal(scratch.code, CRINGLE_E_NOT_FOUND);
        assert_int_equal(images_pull(f->images, NULL, "Bad Name", NULL, &id, &scratch), -1);
        assert_int_equal(scratch.code, CRINGLE_E_INVALID);
        assert_int_equal(images_pull(f->images, NULL, "broken", NULL, &id, &scratch), -1);
        assert_int_equal(entries(f, "layers"), 2);
        assert_int_equal(listed(f), 1);
        assert_nothing_half_done(f);
        assert_null(id);
}

static void a_moved_tag_leaves_the_old_image_without_it(void **state)
{
        struct fixture *f = *state;
        auto_of(image) old = NULL;
        auto_of(image) fresh = NULL;

        pull(f, "one");
        registry.moved = "docker.io/library/one:latest";
        pull(f, "one");
        for (int round = 0; round < 2; round++) {
                image_unref(old);
                image_unref(fresh);
                old = must_find(f, ID("1"));
                fresh = must_find(f, "one");
                assert_null(old->tags);
                assert_string_equal(fresh->id, ID("2"));
                assert_int_equal(listed(f), 2);
                stop(f);
                start(f);
        }
}

static void callers_of_one_pull_share_it(void **state)
{
        struct fixture *f = *state;
        struct caller a, b;

        registry.gate = eventfd(0, EFD_CLOEXEC);
        call_start(&a, f, "one", NULL);
        until(&registry.fetched[2], 1);
        call_start(&b, f, "docker.io/library/one:latest", NULL);
        a_moment();

        raise_fd(a.call.cancel_fd);             /* the first one goes; the second still gets its image */
        assert_int_equal(call_end(&a), -1);
        assert_int_equal(a.err.code, CRINGLE_E_CANCELLED);
        raise_fd(registry.gate);
        assert_int_equal(call_end(&b), 0);
        assert_int_equal(registry.opened, 1);
        assert_int_equal(listed(f), 1);
}

static void a_pull_nobody_waits_for_is_cancelled_without_a_trace(void **state)
{
        struct fixture *f = *state;
        auto_free char *id = NULL;
        struct cringle_call soon;
        struct caller a, b;

        registry.gate = eventfd(0, EFD_CLOEXEC);
        call_start(&a, f, "tall", NULL);
        call_start(&b, f, "tall", NULL);
        until(&registry.fetched[4], 1);
        a_moment();
        raise_fd(a.call.cancel_fd);
        raise_fd(b.call.cancel_fd);
        assert_int_equal(call_end(&a), -1);
        assert_int_equal(call_end(&b), -1);
        assert_int_equal(entries(f, "layers"), 0);
        assert_nothing_half_done(f);

        soon = call_within(NULL, 50 * NSEC_PER_MSEC);
        assert_int_equal(images_pull(f->images, &soon, "one", NULL, &id, &scratch), -1);
        assert_int_equal(scratch.code, CRINGLE_E_DEADLINE);
        assert_int_equal(entries(f, "layers"), 0);
        assert_nothing_half_done(f);
        assert_int_equal(listed(f), 0);
}

static void other_credentials_are_another_pull(void **state)
{
        struct fixture *f = *state;
        struct caller a, b;

        registry.gate = eventfd(0, EFD_CLOEXEC);
        call_start(&a, f, "one", "right");
        until(&registry.opened, 1);
        call_start(&b, f, "one", "wrong");
        until(&registry.opened, 2);
        assert_string_equal(registry.password, "wrong");
        raise_fd(registry.gate);
        assert_int_equal(call_end(&a), 0);
        assert_int_equal(call_end(&b), 0);
        assert_int_equal(registry.fetched[1], 1);
        assert_int_equal(listed(f), 1);
        assert_nothing_half_done(f);
}

static void two_pulls_fetch_a_common_layer_once(void **state)
{
        struct fixture *f = *state;
        struct caller a, b;

        registry.gate = eventfd(0, EFD_CLOEXEC);
        call_start(&a, f, "one", NULL);
        until(&registry.fetched[1], 1);
        call_start(&b, f, "two", NULL);
        until(&registry.fetched[3], 1);
        raise_fd(registry.gate);
        assert_int_equal(call_end(&a), 0);
        assert_int_equal(call_end(&b), 0);
        assert_int_equal(registry.fetched[1], 1);
        assert_int_equal(entries(f, "layers"), 3);
}

/* The second pull waits for a layer that the first gives up: it must take over. */
static void a_layer_given_up_by_one_pull_is_fetched_by_the_other(void **state)
{
        struct fixture *f = *state;
        struct caller a, b;

        registry.gate = eventfd(0, EFD_CLOEXEC);
        call_start(&a, f, "one", NULL);
        until(&registry.fetched[1], 1);
        call_start(&b, f, "two", NULL);
        until(&registry.fetched[3], 1);
        raise_fd(a.call.cancel_fd);
        assert_int_equal(call_end(&a), -1);
        until(&registry.fetched[1], 2);
        raise_fd(registry.gate);
        assert_int_equal(call_end(&b), 0);
        assert_int_equal(entries(f, "layers"), 2);
        assert_nothing_half_done(f);
}

static void reload(struct fixture *f)
{
        auto_of(settings) fresh = NULL;

        assert_ok(settings_new(&f->config, &fresh, &scratch), &scratch);
        images_take_over(f->images, steal(&fresh));
}

static void a_layer_sees_those_below_when_it_needs_them(void **state)
{
        struct fixture *f = *state;

        registry.orphan = 4;
        pull(f, "tall");
        assert_int_equal(registry.settled, 1);
        assert_ok(images_remove(f->images, NULL, "tall", &scratch), &scratch);

        f->config.images.max_parallel = 1;
        reload(f);
        pull(f, "tall");
        assert_int_equal(registry.settled, 2);
        assert_int_equal(entries(f, "layers"), 4);
}

static void a_held_image_keeps_its_layers_when_removed(void **state)
{
        struct fixture *f = *state;
        auto_of(image) one = NULL;
        auto_fd int fd = -1;

        pull(f, "one");
        one = must_find(f, "one");
        assert_ok(images_hold(f->images, one->id, "c1", &scratch), &scratch);
        assert_ok(images_hold(f->images, one->id, "c1", &scratch), &scratch);
        assert_ok(images_rootfs_prepare(f->images, one, "c1", NULL, &scratch), &scratch);
        assert_ok(images_remove(f->images, NULL, "one", &scratch), &scratch);
        assert_int_equal(listed(f), 0);
        assert_absent(f, one->id);
        assert_int_equal(entries(f, "layers"), 2);

        /* The agent restarts; the container is there still. */
        stop(f);
        start(f);
        assert_int_equal(listed(f), 0);
        assert_ok(images_hold(f->images, one->id, "c1", &scratch), &scratch);
        {
                const char *const ids[] = { "c1", NULL };

                assert_ok(images_sweep(f->images, ids, &scratch), &scratch);
        }
        image_unref(one);
        one = images_get(f->images, ID("1"));
        assert_non_null(one);
        assert_null(one->tags);
        assert_ok(images_rootfs_mount(f->images, one, "c1", NULL, NULL, &fd, &scratch), &scratch);
        assert_int_equal(faccessat(fd, "1", F_OK, 0), 0);
        assert_int_equal(faccessat(fd, "2", F_OK, 0), 0);
        fd = fd_close(fd);

        assert_ok(images_rootfs_remove(f->images, "c1", &scratch), &scratch);
        images_release(f->images, "c1");
        assert_int_equal(entries(f, "layers"), 0);
        assert_int_equal(entries(f, "containers"), 0);
        assert_null(images_get(f->images, ID("1")));
        assert_int_equal(images_hold(f->images, ID("1"), "c2", &scratch), -1);
        assert_int_equal(scratch.code, CRINGLE_E_NOT_FOUND);
}

static void a_removed_image_whose_holder_died_with_the_agent_ends_at_start(void **state)
{
        struct fixture *f = *state;

        pull(f, "one");
        assert_ok(images_hold(f->images, ID("1"), "c1", &scratch), &scratch);
        assert_ok(images_remove(f->images, NULL, "one", &scratch), &scratch);
        stop(f);
        start(f);
        assert_ok(images_sweep(f->images, NULL, &scratch), &scratch);
        assert_null(images_get(f->images, ID("1")));
        assert_int_equal(entries(f, "layers"), 0);
}

static void pulling_a_removed_but_held_image_brings_it_back(void **state)
{
        struct fixture *f = *state;

        pull(f, "one");
        assert_ok(images_hold(f->images, ID("1"), "c1", &scratch), &scratch);
        assert_ok(images_remove(f->images, NULL, "one", &scratch), &scratch);
        pull(f, "one");
        assert_int_equal(registry.fetched[1], 1);
        assert_int_equal(listed(f), 1);
        images_release(f->images, "c1");
        assert_int_equal(listed(f), 1);
        assert_int_equal(entries(f, "layers"), 2);
        stop(f);
        start(f);
        assert_int_equal(listed(f), 1);
}

static void a_sweep_drops_layers_without_an_image(void **state)
{
        struct fixture *f = *state;
        const struct cringle_image_ops *ops = f->factory->ops;
        struct cringle_layer layer = { .size = sizeof layer };
        const char *chain_id = ID("f");

        pull(f, "one");
        assert_ok(ops->layer_begin(f->self, chain_id, &layer, &scratch), &scratch);
        assert_ok(ops->layer_commit(f->self, chain_id, &layer, &scratch), &scratch);
        close(layer.dir_fd);
        free(layer.path);
        assert_int_equal(entries(f, "layers"), 3);
        stop(f);
        start(f);
        assert_ok(images_sweep(f->images, NULL, &scratch), &scratch);
        assert_int_equal(entries(f, "layers"), 2);
}

static void a_killed_pull_leaves_nothing_after_the_next_start(void **state)
{
        struct fixture *f = *state;
        pid_t child;
        int status;

        pull(f, "two");
        stop(f);
        registry.deadly = 5;            /* the topmost: those below are committed by then */
        f->config.images.max_parallel = 1;
        child = fork();
        if (child == 0) {
                start(f);
                pull(f, "tall");
                _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(entries(f, "layers"), 4);
        assert_int_equal(entries(f, "staging"), 1);

        registry.deadly = 0;
        start(f);
        assert_int_equal(listed(f), 1);
        assert_ok(images_sweep(f->images, NULL, &scratch), &scratch);
        assert_int_equal(entries(f, "layers"), 2);
        assert_nothing_half_done(f);
        pull(f, "tall");
        assert_int_equal(listed(f), 2);
}

static void pinned_names_follow_the_configuration(void **state)
{
        char *exact[] = { (char *) "one", NULL }, *wild[] = { (char *) "docker.io/library/t*", NULL };
        struct fixture *f = *state;

        pull(f, "one");
        pull(f, "two");
        for (int round = 0; round < 3; round++) {
                auto_of(image) one = NULL;
                auto_of(image) two = NULL;

                f->config.images.pinned = round == 0 ? NULL : round == 1 ? exact : wild;
                reload(f);
                one = must_find(f, "one");
                two = must_find(f, "two");
                assert_int_equal(one->pinned, round == 1);
                assert_int_equal(two->pinned, round == 2);
        }
        f->config.images.pinned = NULL;
}

/* What is looked at and not taken over has done nothing; what comes meanwhile is treated as the new settings say. */
static void settings_count_when_they_are_taken_over(void **state)
{
        char *both[] = { (char *) "one", (char *) "two", NULL };
        struct fixture *f = *state;
        auto_of(image) before = NULL;
        auto_of(image) one = NULL;
        auto_of(image) two = NULL;
        auto_of(settings) left = NULL;
        auto_of(settings) taken = NULL;

        pull(f, "one");
        f->config.images.pinned = both;
        assert_ok(settings_new(&f->config, &left, &scratch), &scratch);
        assert_ok(settings_new(&f->config, &taken, &scratch), &scratch);
        f->config.images.pinned = NULL;
        pull(f, "two");
        before = must_find(f, "one");
        assert_false(before->pinned);

        images_take_over(f->images, steal(&taken));
        one = must_find(f, "one");
        two = must_find(f, "two");
        assert_true(one->pinned && two->pinned);
}

static void a_view_shows_all_layers(void **state)
{
        struct fixture *f = *state;
        auto_of(image) one = NULL;
        auto_fd int fd = -1;

        pull(f, "one");
        one = must_find(f, "one");
        assert_ok(images_view(f->images, one, NULL, NULL, &fd, &scratch), &scratch);
        assert_int_equal(faccessat(fd, "1", F_OK, 0), 0);
        assert_int_equal(faccessat(fd, "2", F_OK, 0), 0);
}

static void a_part_of_an_image_is_a_mount_of_its_own(void **state)
{
        struct fixture *f = *state;
        auto_of(image) one = NULL;
        auto_fd int fd = -1;
        struct stat st;

        pull(f, "one");
        one = must_find(f, "one");
        assert_ok(images_view_part(f->images, one, "/2", NULL, NULL, &fd, &scratch), &scratch);
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        fd = fd_close(fd);
        assert_ok(images_view_part(f->images, one, "../../1", NULL, NULL, &fd, &scratch), &scratch);   /* not out of it */
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        fd = fd_close(fd);
        assert_int_equal(images_view_part(f->images, one, "none", NULL, NULL, &fd, &scratch), -1);
        assert_int_equal(scratch.code, CRINGLE_E_NOT_FOUND);
        assert_int_equal(fd, -1);
}

/* Whoever wins, in the end the image is there whole or not at all. */
static void pulls_and_removals_at_once_do_no_harm(void **state)
{
        struct fixture *f = *state;

        for (int i = 0; i < 20; i++) {
                struct caller a, b;

                call_start(&a, f, "one", NULL);
                call_start(&b, f, "two", NULL);
                assert_ok(images_remove(f->images, NULL, "one", &scratch), &scratch);
                assert_ok(images_remove(f->images, NULL, "two", &scratch), &scratch);
                assert_int_equal(call_end(&a), 0);
                assert_int_equal(call_end(&b), 0);
        }
        assert_ok(images_remove(f->images, NULL, "one", &scratch), &scratch);
        assert_ok(images_remove(f->images, NULL, "two", &scratch), &scratch);
        assert_int_equal(listed(f), 0);
        assert_int_equal(entries(f, "layers"), 0);
        assert_nothing_half_done(f);
}

#define images_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        images_test(an_image_is_found_by_all_its_names),
        images_test(an_ambiguous_prefix_finds_nothing),
        images_test(users_are_numbers_or_names),
        images_test(a_user_out_of_range_is_not_root),
        images_test(images_survive_a_restart),
        images_test(an_image_with_a_missing_layer_is_dropped_at_start),
        images_test(shared_layers_stay_as_long_as_an_image_uses_them),
        images_test(removing_by_one_tag_removes_all_and_twice_is_fine),
        images_test(a_failed_pull_leaves_nothing),
        images_test(a_moved_tag_leaves_the_old_image_without_it),
        images_test(callers_of_one_pull_share_it),
        images_test(a_pull_nobody_waits_for_is_cancelled_without_a_trace),
        images_test(other_credentials_are_another_pull),
        images_test(two_pulls_fetch_a_common_layer_once),
        images_test(a_layer_given_up_by_one_pull_is_fetched_by_the_other),
        images_test(a_layer_sees_those_below_when_it_needs_them),
        images_test(a_held_image_keeps_its_layers_when_removed),
        images_test(a_removed_image_whose_holder_died_with_the_agent_ends_at_start),
        images_test(pulling_a_removed_but_held_image_brings_it_back),
        images_test(a_sweep_drops_layers_without_an_image),
        images_test(a_killed_pull_leaves_nothing_after_the_next_start),
        images_test(pinned_names_follow_the_configuration),
        images_test(settings_count_when_they_are_taken_over),
        images_test(a_view_shows_all_layers),
        images_test(a_part_of_an_image_is_a_mount_of_its_own),
        images_test(pulls_and_removals_at_once_do_no_harm))
