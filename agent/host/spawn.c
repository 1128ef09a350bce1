/*
 * The service `spawn`; see spawn.h.
 */

#include <string.h>

#include "agent/base/child.h"
#include "agent/base/own.h"
#include "agent/host/spawn.h"

#define OUTPUT_MAX (1024 * 1024)

int host_spawn(const struct cringle_host *host, const struct cringle_call *call, char *const argv[], char *const envp[],
               const char *input, int *ret_status, char **ret_output, struct cringle_err *err)
{
        struct child_spec spec = {
                .path = argv[0],
                .argv = (const char *const *) argv,
                .envp = (const char *const *) envp,
        };
        struct buf in = { .data = (char *) (uintptr_t) input, .len = input ? strlen(input) : 0 };
        auto_buf output = BUF_INIT;
        auto_buf tail = BUF_INIT;
        char *text;
        int status;

        if (child_run(&spec, call, input ? &in : NULL, &output, OUTPUT_MAX, &tail, &status, err) < 0)
                return -1;
        text = buf_steal(&output);
        if (!text)
                return err_oom(err);

        *ret_status = status;
        *ret_output = text;
        if (status != 0) {
                char end[128];

                child_status_text(status, end, sizeof end);
                return err_set(err, CRINGLE_E_INTERNAL, "%s: %s%s%s", argv[0], end, tail.len ? ": " : "",
                               tail.len ? tail.data : "");
        }
        return 0;
}
