/*
 * The agent's side of a pull on the command line, for tests/flow/pull
 *
 *   pull_tool PROGRAM REFERENCE DIRECTORY [KEY=VALUE ...]
 *
 * Unpacks layer i into DIRECTORY/i (all at once) and prints the image as JSON.  On failure: the code's
 * number and the text to stderr, status 1.  Keys: mirror (repeatable), plain, ca, insecure, username, password,
 * auth, identity, token, server, progress (ms), max, timeout (ms), arch.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/image/fetch.h"

#define LAYERS 64

struct layer_job {
        struct fetch *fetch;
        const struct cringle_call *call;
        size_t i;
        int dir, result;
        struct cringle_err err;
};

static struct config config = {
        .images = { .max_parallel = 3, .progress_timeout = 10 * NSEC_PER_SEC, .max_layer_size = INT64_C(1) << 30,
                    .uid = 65534, .gid = 65534 },
};
static struct config_registry registry;
static struct fetch_auth auth;
static struct fetch_options options = { .config = &config };
static int64_t timeout_ms = 60000;

static int take(char *argument, struct cringle_err *err)
{
        char *value = strchr(argument, '=');
        const struct { const char *key; const char **to; } texts[] = {
                { "username", &auth.username }, { "password", &auth.password }, { "auth", &auth.auth },
                { "identity", &auth.identity_token }, { "token", &auth.registry_token },
                { "server", &auth.server_address }, { "arch", &options.architecture },
        };
        const struct { const char *key; int64_t *to; int64_t unit; } numbers[] = {
                { "progress", &config.images.progress_timeout, NSEC_PER_MSEC },
                { "max", &config.images.max_layer_size, 1 }, { "timeout", &timeout_ms, 1 },
        };

        if (!value)
                return err_set(err, CRINGLE_E_INVALID, "want KEY=VALUE, not %s", argument);
        *value++ = '\0';
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                if (strcmp(argument, texts[i].key) == 0) {
                        *texts[i].to = value;
                        return 0;
                }
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                if (strcmp(argument, numbers[i].key) == 0) {
                        if (str_int64(value, 1, INT64_MAX / numbers[i].unit, numbers[i].to, err) < 0)
                                return -1;
                        *numbers[i].to *= numbers[i].unit;
                        return 0;
                }
        if (strcmp(argument, "mirror") == 0) {
                registry.mirrors = reallocarray(registry.mirrors, registry.n_mirrors + 1, sizeof *registry.mirrors);
                registry.mirrors[registry.n_mirrors++] = (struct config_mirror) { .url = value, .plain_http = true };
        } else if (strcmp(argument, "plain") == 0) {
                registry.plain_http = true;
        } else if (strcmp(argument, "insecure") == 0) {
                registry.skip_verify = true;
        } else if (strcmp(argument, "ca") == 0) {
                registry.ca_file = value;
        } else {
                return err_set(err, CRINGLE_E_INVALID, "unknown key %s", argument);
        }
        return 0;
}

static void *run_layer(void *data)
{
        struct layer_job *j = data;

        j->result = fetch_layer(j->fetch, j->i, j->dir, j->call, &j->err);
        return NULL;
}

static int pull(const char *reference, const char *directory, struct cringle_err *err)
{
        static struct layer_job jobs[LAYERS];
        struct cringle_call call = call_within(NULL, timeout_ms * NSEC_PER_MSEC);
        auto_reference ref = REFERENCE_INIT;
        const struct fetch_image *image;
        auto_of(fetch) f = NULL;
        pthread_t threads[LAYERS];
        int failed = 0;

        if (reference_parse(reference, &ref, err) < 0)
                return -1;
        registry.host = ref.host;
        config.registries = &registry;
        config.n_registries = 1;
        if (fetch_open(&options, &ref, &auth, &call, &f, err) < 0)
                return -1;
        image = fetch_image(f);
        printf("{\"manifest\":\"%s\",\"config\":\"%s\",\"layers\":[", image->manifest_digest, image->config_digest);

        if (image->n_layers > LAYERS)
                return err_set(err, CRINGLE_E_INVALID, "too many layers for this tool");
        for (size_t i = 0; i < image->n_layers; i++) {
                auto_free char *path = str_printf(err, "%s/%zu", directory, i);

                mkdir(path, 0755);
                jobs[i] = (struct layer_job) { f, &call, i, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1,
                                               CRINGLE_ERR_INIT };
                pthread_create(threads + i, NULL, run_layer, jobs + i);
        }
        for (size_t i = 0; i < image->n_layers; i++) {
                pthread_join(threads[i], NULL);
                if (jobs[i].result < 0 && !failed) {
                        *err = jobs[i].err;
                        failed = -1;
                }
        }
        /* One layer below is enough to test with: the one before stands for all of them. */
        for (size_t i = 1; !failed && i < image->n_layers; i++)
                if (jobs[i].result == FETCH_NEEDS_PARENTS)
                        failed = fetch_settle_layer(f, i, jobs[i].dir, jobs[i - 1].dir, &call, err);
        for (size_t i = 0; i < image->n_layers; i++) {
                printf("%s{\"chain\":\"%s\",\"result\":%d}", i ? "," : "", image->layers[i].chain_id, jobs[i].result);
                close(jobs[i].dir);
        }
        printf("],\"progress\":%llu}\n", (unsigned long long) fetch_progress(f));
        return failed;
}

int main(int argc, char **argv)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (argc < 4) {
                fprintf(stderr, "usage: pull_tool PROGRAM REFERENCE DIRECTORY [KEY=VALUE ...]\n");
                return 2;
        }
        config.programs.pull = argv[1];
        for (int i = 4; i < argc; i++)
                if (take(argv[i], &err) < 0)
                        goto failed;
        if (pull(argv[2], argv[3], &err) == 0)
                return 0;
failed:
        fprintf(stderr, "%d %s\n", err.code, err.text);
        return 1;
}
