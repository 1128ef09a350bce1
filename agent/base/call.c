/*
 * The circumstances of a call; see call.h.
 */

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"

struct cringle_call call_within(const struct cringle_call *outer, int64_t timeout)
{
        struct cringle_call call = CALL_INIT;
        int64_t end = clock_monotonic() + timeout;

        if (outer)
                call = *outer;
        if (!call.deadline || call.deadline > end)
                call.deadline = end;
        return call;
}

static int cancelled(const struct cringle_call *call)
{
        struct pollfd p = { .fd = call->cancel_fd, .events = POLLIN };

        return call->cancel_fd >= 0 && poll(&p, 1, 0) > 0;
}

int call_check(const struct cringle_call *call, struct cringle_err *err)
{
        if (!call)
                return 0;
        if (cancelled(call))
                return err_set(err, CRINGLE_E_CANCELLED, "cancelled by the caller");
        if (call->deadline && clock_monotonic() >= call->deadline)
                return err_set(err, CRINGLE_E_DEADLINE, "deadline exceeded");
        return 0;
}

int call_wait(const struct cringle_call *call, int fd, short events, int64_t timeout, struct cringle_err *err)
{
        int64_t end = timeout < 0 ? 0 : clock_monotonic() + timeout;

        for (;;) {
                struct pollfd p[2] = {
                        { .fd = fd, .events = events },
                        { .fd = call ? call->cancel_fd : -1, .events = POLLIN },
                };
                int64_t until = end;
                struct timespec left;
                int n;

                if (call && call->deadline && (!until || call->deadline < until))
                        until = call->deadline;
                if (until) {
                        int64_t rest = until - clock_monotonic();

                        if (rest < 0)
                                rest = 0;
                        left = (struct timespec) { rest / NSEC_PER_SEC, rest % NSEC_PER_SEC };
                }

                n = ppoll(p, 2, until ? &left : NULL, NULL);
                if (n < 0 && errno != EINTR)
                        return err_sys(err, "poll");
                if (n > 0 && p[0].revents)
                        return 1;
                if (call_check(call, err) < 0)
                        return -1;
                if (n == 0 && end && clock_monotonic() >= end)
                        return 0;
        }
}
