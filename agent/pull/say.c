/*
 * Telling the agent what went wrong; see say.h.
 */

#include <string.h>

#include "agent/base/sock.h"
#include "agent/pull/say.h"
#include "agent/wire/pull.h"

void say_failed(int fd, const struct cringle_err *err)
{
        struct pull_failed failed = {
                .head = { PULL_VERSION, PULL_FAILED },
                .code = err->code,
                .sys = err->sys,
        };

        strncat(failed.text, err->text, sizeof failed.text - 1);
        sock_send(fd, &failed, sizeof failed, NULL, 0, NULL);
}
