/*
 * cringle-url: ask for a stream as a kubelet does, and print the URL
 *
 *      cringle-url SOCKET exec CONTAINER STREAMS PROGRAM ARGUMENT...
 *      cringle-url SOCKET attach CONTAINER STREAMS
 *      cringle-url SOCKET forward POD PORT...
 *
 * STREAMS are letters: i, o and e for stdin, stdout and stderr, t for a terminal.  crictl goes to the URL itself
 * and tells nobody; with this one, tests bring clients of their own.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "e2e/tools/pod.h"

#define USAGE 2
#define PORTS_MAX 64

static bool has(const char *streams, char c)
{
        return strchr(streams, c);
}

static int ask_exec(struct rpc_client *client, char **argv, size_t n, struct cringle_err *err)
{
        Cri__ExecRequest request = CRI__EXEC_REQUEST__INIT;
        auto_reply(Cri__ExecResponse) reply = NULL;

        request.container_id = argv[0];
        request.stdin = has(argv[1], 'i');
        request.stdout = has(argv[1], 'o');
        request.stderr = has(argv[1], 'e');
        request.tty = has(argv[1], 't');
        request.cmd = argv + 2;
        request.n_cmd = n - 2;
        if (cri_runtime(client, "Exec", &request, &reply, NULL, err) < 0)
                return -1;
        puts(reply->url);
        return 0;
}

static int ask_attach(struct rpc_client *client, char **argv, size_t n, struct cringle_err *err)
{
        Cri__AttachRequest request = CRI__ATTACH_REQUEST__INIT;
        auto_reply(Cri__AttachResponse) reply = NULL;

        request.container_id = argv[0];
        request.stdin = has(argv[1], 'i');
        request.stdout = has(argv[1], 'o');
        request.stderr = has(argv[1], 'e');
        request.tty = has(argv[1], 't');
        if (cri_runtime(client, "Attach", &request, &reply, NULL, err) < 0)
                return -1;
        puts(reply->url);
        return 0;
}

static int ask_forward(struct rpc_client *client, char **argv, size_t n, struct cringle_err *err)
{
        Cri__PortForwardRequest request = CRI__PORT_FORWARD_REQUEST__INIT;
        auto_reply(Cri__PortForwardResponse) reply = NULL;
        int32_t ports[PORTS_MAX];
        int64_t port;

        if (n - 1 > PORTS_MAX)
                return err_set(err, CRINGLE_E_INVALID, "more than %d ports", PORTS_MAX);
        for (size_t i = 1; i < n; i++) {
                if (str_int64(argv[i], 1, UINT16_MAX, &port, err) < 0)
                        return -1;
                ports[i - 1] = (int32_t) port;
        }
        request.pod_sandbox_id = argv[0];
        request.port = ports;
        request.n_port = n - 1;
        if (cri_runtime(client, "PortForward", &request, &reply, NULL, err) < 0)
                return -1;
        puts(reply->url);
        return 0;
}

static const struct {
        const char *name;
        int (*ask)(struct rpc_client *client, char **argv, size_t n, struct cringle_err *err);
        size_t least;
} kinds[] = {
        { "exec", ask_exec, 3 },
        { "attach", ask_attach, 2 },
        { "forward", ask_forward, 1 },
};

int main(int argc, char **argv)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_of(rpc_client) client = NULL;

        for (size_t i = 0; argc > 3 && i < sizeof kinds / sizeof *kinds; i++) {
                if (strcmp(argv[2], kinds[i].name) != 0 || (size_t) argc - 3 < kinds[i].least)
                        continue;
                if (rpc_client_connect(argv[1], &client, &err) == 0 &&
                    kinds[i].ask(client, argv + 3, (size_t) argc - 3, &err) == 0)
                        return EXIT_SUCCESS;
                fprintf(stderr, "cringle-url: %s\n", err.text);
                return EXIT_FAILURE;
        }
        fprintf(stderr, "usage: cringle-url SOCKET exec CONTAINER [ioet] PROGRAM ARGUMENT...\n"
                        "       cringle-url SOCKET attach CONTAINER [ioet]\n"
                        "       cringle-url SOCKET forward POD PORT...\n");
        return USAGE;
}
