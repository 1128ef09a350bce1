/*
 * cringle-load: pods by the dozen, against any container runtime interface
 *
 *      cringle-load --socket PATH [OPTION...] COMMAND [-- PROGRAM ARGUMENT...]
 *
 * It measures from outside, as a kubelet would see it, so that two runtimes can be held
 * against each other.  This file has the words of the command line and the threads;
 * load_pods.c has the commands that run pods, load_polling.c the one that asks as a kubelet does all
 * the time, load_calls.c the others.
 */

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "e2e/tools/load.h"

#define USAGE 2
#define PARALLEL_MAX 256

static const struct command {
        const char *name;
        command_fn run;
        bool wants_image, takes_program, wants_program;
        const char *help;
} commands[] = {
        { "life", load_life, true, false, false, "run N pods from their first call to their last" },
        { "exec", load_exec, true, true, false, "run PROGRAM, else `true`, N times in one container" },
        { "pods", load_pods, true, false, false, "run N pods and leave them; prints ids on stderr" },
        { "clean", load_clean, false, false, false, "remove all pods that this program left" },
        { "list", load_list, false, false, false, "ask for lists, status and statistics N times" },
        { "polling", load_polling, false, false, false, "ask N times for what a kubelet asks all the time; CPU time of --agent" },
        { "pull", load_pull, true, false, false, "remove the image and pull it, N times" },
        { "cold", load_cold, false, true, true, "start PROGRAM N times, until it answers on the socket" },
        { "memory", load_memory, false, false, false, "memory of the processes in the cgroups of --account" },
        { 0 },
};

static void print_help(FILE *out)
{
        fprintf(out, "usage: cringle-load --socket PATH [OPTION...] COMMAND [-- PROGRAM ARGUMENT...]\n\n");
        for (const struct command *c = commands; c->name; c++)
                fprintf(out, "  %-8s%s\n", c->name, c->help);
        fprintf(out,
                "\n"
                "  -n N, -c PARALLEL     how many, how many at a time (1, 1)\n"
                "  --containers N        of each pod that `pods` leaves (1)\n"
                "  --agent PID           whose CPU time `polling` tells\n"
                "  --only QUESTION       one line of its table\n"
                "  --image REF           what the pods run, or what is pulled\n"
                "  --network host|pod    (host)\n"
                "  --cgroup-parent PATH  of the pods\n"
                "  --cdi-device NAME     that the containers ask for; repeated for more\n"
                "  --log-dir DIRECTORY   give containers a log below it\n"
                "  --timeout SECONDS     of an exec (60)\n"
                "  --account DIRECTORY   a cgroup of the runtime or of its pods; repeated for more\n"
                "  --json                one line of JSON instead of a table\n");
}

struct crew {
        struct load *load;
        size_t n;
        work_fn fn;
        void *data;
        atomic_size_t next;
        atomic_bool failed;
        struct cringle_err err;         /* written by the one that set .failed */
};

static int work(struct crew *crew, struct cringle_err *err)
{
        auto_of(rpc_client) client = NULL;

        if (rpc_client_connect(crew->load->socket, &client, err) < 0)
                return -1;
        while (!atomic_load(&crew->failed)) {
                size_t index = atomic_fetch_add(&crew->next, 1);

                if (index >= crew->n)
                        break;
                if (crew->fn(client, index, crew->data, err) < 0)
                        return -1;
        }
        return 0;
}

static void *work_thread(void *data)
{
        struct crew *crew = data;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (work(crew, &err) < 0 && !atomic_exchange(&crew->failed, true))
                crew->err = err;
        return NULL;
}

int load_share(struct load *l, size_t n, work_fn fn, void *data, struct cringle_err *err)
{
        struct crew crew = { .load = l, .n = n, .fn = fn, .data = data, .err = CRINGLE_ERR_INIT };
        pthread_t threads[PARALLEL_MAX];
        size_t started = 0;
        int result = 0;

        for (; started < l->parallel && started < n && result == 0; started += result == 0)
                result = pthread_create(&threads[started], NULL, work_thread, &crew);
        if (result)
                atomic_store(&crew.failed, true);
        for (size_t i = 0; i < started; i++)
                pthread_join(threads[i], NULL);

        if (result)
                return err_sysno(err, result, "start a thread");
        if (crew.failed) {
                *err = crew.err;
                return -1;
        }
        return 0;
}

int meter_start(const struct load *l, struct meter *m, struct cringle_err *err)
{
        if (account_cpu((const char *const *) l->account, &m->cpu, err) < 0)
                return -1;
        m->wall = clock_monotonic();
        return 0;
}

int meter_stop(const struct load *l, const struct meter *m, struct report *r, struct cringle_err *err)
{
        int64_t wall = clock_monotonic(), cpu;

        if (account_cpu((const char *const *) l->account, &cpu, err) < 0)
                return -1;
        report_figure(r, "wall_us", (wall - m->wall) / 1000);
        if (l->account)
                report_figure(r, "cpu_us", (cpu - m->cpu) / 1000);
        return 0;
}

static int parse_count(const char *text, int64_t max, size_t *ret, struct cringle_err *err)
{
        int64_t value;

        if (str_int64(text, 1, max, &value, err) < 0)
                return -1;
        *ret = (size_t) value;
        return 0;
}

static int parse_network(const char *text, bool *ret_host, struct cringle_err *err)
{
        if (strcmp(text, "host") != 0 && strcmp(text, "pod") != 0)
                return err_set(err, CRINGLE_E_INVALID, "want host or pod, not '%s'", text);
        *ret_host = strcmp(text, "host") == 0;
        return 0;
}

enum { IMAGE = 256, NETWORK, CGROUP_PARENT, CDI_DEVICE, LOG_DIR, TIMEOUT, ACCOUNT, CONTAINERS, AGENT, ONLY, SOCKET, JSON, HELP };

static int take_option(struct load *l, int option, bool *json, struct cringle_err *err)
{
        size_t number;

        switch (option) {
        case 'n':
                return parse_count(optarg, 1000000, &l->n, err);
        case 'c':
                return parse_count(optarg, PARALLEL_MAX, &l->parallel, err);
        case IMAGE:
                l->spec.image = optarg;
                return 0;
        case NETWORK:
                return parse_network(optarg, &l->spec.host_network, err);
        case CGROUP_PARENT:
                l->spec.cgroup_parent = optarg;
                return 0;
        case CDI_DEVICE:
                return strv_add(&l->devices, optarg, err);
        case LOG_DIR:
                l->spec.log_dir = optarg;
                return 0;
        case TIMEOUT:
                return parse_count(optarg, 3600, &l->timeout, err);
        case ACCOUNT:
                return strv_add(&l->account, optarg, err);
        case CONTAINERS:
                return parse_count(optarg, 100, &l->spec.containers, err);
        case AGENT:
                if (parse_count(optarg, INT32_MAX, &number, err) < 0)
                        return -1;
                l->agent = (pid_t) number;
                return 0;
        case ONLY:
                l->only = optarg;
                return 0;
        case SOCKET:
                l->socket = str_starts(optarg, "unix://") ? optarg + strlen("unix://") : optarg;
                return 0;
        case JSON:
                *json = true;
                return 0;
        default:
                return err_set(err, CRINGLE_E_INVALID, "see cringle-load --help");
        }
}

static const struct command *find_command(const char *name)
{
        for (const struct command *c = commands; c->name; c++)
                if (strcmp(c->name, name) == 0)
                        return c;
        return NULL;
}

static int check_use(const struct load *l, const struct command *c, struct cringle_err *err)
{
        if (!c)
                return err_set(err, CRINGLE_E_INVALID, "say a command; see cringle-load --help");
        if (!l->socket && c->run != load_memory)
                return err_set(err, CRINGLE_E_INVALID, "%s: say --socket", c->name);
        if (c->run == load_polling && !l->agent)
                return err_set(err, CRINGLE_E_INVALID, "%s: say --agent", c->name);
        if (c->wants_image && !l->spec.image)
                return err_set(err, CRINGLE_E_INVALID, "%s: say --image", c->name);
        if (l->program[0] ? !c->takes_program : c->wants_program)
                return err_set(err, CRINGLE_E_INVALID, "%s: %s", c->name,
                               c->wants_program ? "say -- PROGRAM" : "takes no more words");
        return 0;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "image", required_argument, NULL, IMAGE },
                { "network", required_argument, NULL, NETWORK },
                { "cgroup-parent", required_argument, NULL, CGROUP_PARENT },
                { "cdi-device", required_argument, NULL, CDI_DEVICE },
                { "log-dir", required_argument, NULL, LOG_DIR },
                { "timeout", required_argument, NULL, TIMEOUT },
                { "account", required_argument, NULL, ACCOUNT },
                { "containers", required_argument, NULL, CONTAINERS },
                { "agent", required_argument, NULL, AGENT },
                { "only", required_argument, NULL, ONLY },
                { "socket", required_argument, NULL, SOCKET },
                { "json", no_argument, NULL, JSON },
                { "help", no_argument, NULL, HELP },
                { 0 },
        };
        struct load l = { .spec = { .host_network = true, .containers = 1 }, .n = 1, .parallel = 1, .timeout = 60 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        const struct command *command;
        auto_report report = { 0 };
        bool json = false;
        int option, result = 0;

        signal(SIGPIPE, SIG_IGN);
        while (result == 0 && (option = getopt_long(argc, argv, "n:c:", options, NULL)) != -1) {
                if (option == HELP) {
                        print_help(stdout);
                        return 0;
                }
                result = take_option(&l, option, &json, &err);
        }
        command = optind < argc ? find_command(argv[optind]) : NULL;
        if (command)
                l.program = argv + optind + 1;
        if (result == 0)
                result = check_use(&l, command, &err);
        if (result < 0) {
                fprintf(stderr, "cringle-load: %s\n", err.text);
                strv_free(l.account);
                strv_free(l.devices);
                return USAGE;
        }

        l.spec.cdi_devices = l.devices;
        report.command = command->name;
        result = command->run(&l, &report, &err);
        if (result == 0)
                result = report_print(&report, json, &err);
        if (result < 0)
                fprintf(stderr, "cringle-load: %s: %s\n", command->name, err.text);
        strv_free(l.account);
        strv_free(l.devices);
        return result < 0;
}
