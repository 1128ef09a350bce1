#!/usr/bin/env bash
# The power goes while pods and images come and go: what was answered holds, and nothing is left over.
#
# Environment: POWER_ROUNDS (6), cuts with one disk, and with two.
. "${BASH_SOURCE%/*}/../lib.sh"
. "${BASH_SOURCE%/*}/../power-lib.sh"

pods_not_ready() {
        ! crictl pods --output json | jq -r '.items[].state' | grep SANDBOX_READY
}

exit_code_kept() {
        same "$(container_field "$1" '| .state + " " + (.exitCode | tostring)')" 'CONTAINER_EXITED 7'
}

round() {
        local ended churn

        : >"$NOTES"
        note made "$(pod_run before)"
        ended=$(container_run before main 'exit 7')
        eventually 10 container_is "$ended" EXITED
        churn &
        churn=$!
        sleep "$(printf '%d.%02d' $((RANDOM % 2)) $((RANDOM % 100)))"
        check "power cut $1" power_cut
        stop_pid "$churn" KILL
        check "the agent starts again" agent_start
        check "what was answered holds" answers_hold
        check "its pods are not ready" pods_not_ready
        check "an exit code is kept" exit_code_kept "$ended"
        crictl rmp --all --force >"$E2E_TMP/rmp.out" 2>&1 || fail "pods can be removed" "$E2E_TMP/rmp.out"
        crictl rmi "$POWER_IMAGE" >/dev/null 2>&1 || true
        leaks_none "nothing is left"
}

power_begin "$@"
e2e_begin power
registry_start conformance
NOTES=$E2E_TMP/notes
rounds=${POWER_ROUNDS:-6}
for disks in one two; do
        power_disks "$disks"
        network_make
        agent_setup
        agent_start
        crictl pull "$E2E_IMAGE" >/dev/null
        pod_run first >/dev/null && pod_remove first    # what is made once and kept
        leaks_begin
        E2E_LEAKS+=(--allow "^mount $E2E_TMP/(root|cni|disk) ")         # by another loop device
        sync -f "$E2E_TMP/root" "$E2E_TMP/cni"  # as the operator's part, configuration and all
        for ((n = 1; n <= rounds; n++)); do
                round "$n, $disks"
        done
        agent_stop
        disks_umount
done
e2e_end
