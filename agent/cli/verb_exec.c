/*
 * cringle exec POD CONTAINER -- COMMAND..., or POD/CONTAINER COMMAND...: a command in
 * a container, to its end.
 */

#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

int verb_exec(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        Cri__ExecSyncRequest request = CRI__EXEC_SYNC_REQUEST__INIT;
        auto_reply(Cri__ExecSyncResponse) reply = NULL;
        auto_free char *id = NULL;
        int first = 2;                  /* word of the command */

        if (argc > 3 && strcmp(argv[3], "--") == 0)
                first = 4;
        else if (argc > 2 && strcmp(argv[2], "--") == 0)
                first = 3;
        if (argc <= first)
                return cli_usage("exec POD CONTAINER -- COMMAND... | exec POD/CONTAINER COMMAND...");
        if (cli_find_container(c, argv[1], first == 4 ? argv[2] : NULL, &id, err) < 0)
                return -1;

        request.container_id = id;
        request.cmd = argv + first;
        request.n_cmd = (size_t) (argc - first);
        if (cli_runtime(c, "ExecSync", &request, CLI_FOREVER, &reply, err) < 0)
                return -1;

        fwrite(reply->stdout.data, 1, reply->stdout.len, stdout);
        fflush(stdout);
        fwrite(reply->stderr.data, 1, reply->stderr.len, stderr);
        return reply->exit_code & 0xff;
}
