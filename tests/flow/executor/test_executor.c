/* What the executor promises, tried on the real plugin, monitor and kernel.  Needs root. */

#include "tests/flow/executor/world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"

#define POD (CRINGLE_NS_NET | CRINGLE_NS_IPC | CRINGLE_NS_UTS)

static int setup(void **state)
{
        struct world *w = world_new();

        *state = w;
        assert_ok(world_open_pod(w, POD, 0, unit_err()), unit_err());
        return 0;
}

static int teardown(void **state)
{
        *state = world_free(*state);
        return 0;
}

static void output_goes_to_the_log_and_the_exit_is_told(void **state)
{
        const char *id = world_run(*state, &(struct wish) { .args = "[\"sh\",\"-c\",\"echo hello; echo oops >&2; exit 7\"]" });
        struct cringle_container_state exited = world_exit(id);
        auto_free char *log = world_log(*state, id);

        assert_int_equal(exited.exit_code, 7);
        assert_int_equal(exited.signal, 0);
        assert_true(exited.finished_at >= exited.started_at && exited.started_at > 0);
        assert_contains(log, "stdout F hello\n");
        assert_contains(log, "stderr F oops\n");
        world_destroy(*state, id);
}


UNIT_MAIN(
        cmocka_unit_test_setup_teardown(output_goes_to_the_log_and_the_exit_is_told, setup, teardown))
