#pragma once

/*
 * The service `spawn` that plugins get (struct cringle_host), in the agent and in a process of their own
 */

#include "plugins/api/plugin.h"

/* As the member of that name; @host is not looked at. */
int host_spawn(const struct cringle_host *host, const struct cringle_call *call, char *const argv[], char *const envp[],
               const char *input, int *ret_status, char **ret_output, struct cringle_err *err);
