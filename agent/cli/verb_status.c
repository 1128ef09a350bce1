/*
 * cringle status: whether the agent is ready, and what it is doing.  Exit status 1
 * when a condition of readiness does not hold.
 */

#include <stdio.h>

#include "agent/cli/cli.h"

static int print_conditions(const Cri__StatusResponse *status)
{
        int result = 0;

        for (size_t i = 0; status->status && i < status->status->n_conditions; i++) {
                const Cri__RuntimeCondition *k = status->status->conditions[i];

                printf("%s: %s", k->type, k->status ? "yes" : "no");
                if (*k->reason || *k->message)
                        printf(" (%s%s%s)", k->reason, *k->reason && *k->message ? ": " : "", k->message);
                printf("\n");
                if (!k->status)
                        result = 1;
        }
        return result;
}

static void print_state(const Admin__StateResponse *state)
{
        char age[CLI_TEXT_MAX];

        printf("agent: cringled %s, pid %lld, up %s\n", state->version, (long long) state->pid,
               cli_age(state->started_at, age));
        printf("holds: %u pods, %u containers, %u images\n", state->pods, state->containers, state->images);
        for (size_t i = 0; i < state->n_operations; i++) {
                const Admin__Operation *o = state->operations[i];

                printf("under way: %s %s, for %.1f s in step '%s'\n", o->name, o->object,
                       (double) o->since_nanoseconds / (double) NSEC_PER_SEC, o->step);
        }
        for (size_t i = 0; i < state->n_warnings; i++)
                printf("warning: %s\n", state->warnings[i]);
}

int verb_status(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        Cri__StatusRequest ask_status = CRI__STATUS_REQUEST__INIT;
        Admin__StateRequest ask_state = ADMIN__STATE_REQUEST__INIT;
        auto_reply(Cri__StatusResponse) status = NULL;
        auto_reply(Admin__StateResponse) state = NULL;

        if (argc != 1)
                return cli_usage("status");
        if (cli_admin(c, "State", &ask_state, &state, err) < 0 ||
            cli_runtime(c, "Status", &ask_status, CLI_PATIENCE, &status, err) < 0)
                return -1;

        print_state(state);
        return print_conditions(status);
}
