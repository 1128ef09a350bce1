#!/usr/bin/env bash
# Stopping: the grace period is given and not exceeded, and nothing a container started survives it.
. "${BASH_SOURCE%/*}/../lib.sh"

# takes LEAST MOST COMMAND...: in milliseconds; MOST is stretched on a slow machine.
takes() {
        local least=$1 most=$(($2 * E2E_PATIENCE)) start now

        shift 2
        start=$(date +%s%3N)
        "$@" || return
        now=$(date +%s%3N)
        echo "took $((now - start)) ms"
        ((now - start >= least && now - start <= most))
}

e2e_begin stop
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
pod_run stops >/dev/null

polite=$(container_run stops polite 'trap "echo bye; exit 5" TERM; echo up; while :; do usleep 20000; done')
eventually 5 grep -q up "$E2E_TMP/logs/stops/polite.log"
check "who listens to SIGTERM does not wait for the grace period" takes 0 5000 crictl stop --timeout 20 "$polite"
check "it had its say" grep -q bye "$E2E_TMP/logs/stops/polite.log"
check "and its own exit code" same "$(container_field "$polite" .exitCode)" 5

stubborn=$(container_run stops stubborn 'trap "" TERM; echo up; while :; do usleep 20000; done')
eventually 5 grep -q up "$E2E_TMP/logs/stops/stubborn.log"
check "who ignores SIGTERM is killed when the grace period is over" takes 1900 8000 crictl stop --timeout 2 "$stubborn"
check "its exit code is SIGKILL's" same "$(container_field "$stubborn" .exitCode)" 137

now=$(container_run stops now 'trap "" TERM; echo up; while :; do usleep 20000; done')
eventually 5 grep -q up "$E2E_TMP/logs/stops/now.log"
check "a grace period of nothing kills at once" takes 0 3000 crictl stop --timeout 0 "$now"

# Two stops at once: the shorter patience wins, and both callers are answered.
both=$(container_run stops both 'trap "" TERM; echo up; while :; do usleep 20000; done')
eventually 5 grep -q up "$E2E_TMP/logs/stops/both.log"
crictl stop --timeout 30 "$both" >/dev/null 2>&1 &
patient=$!
sleep 0.3
check "a second, shorter stop is not held up by the first" takes 0 8000 crictl stop --timeout 1 "$both"
check "the first is answered then, too" takes 0 3000 wait "$patient"

family=$(container_run stops family 'setsid sh -c "sleep 1001 & sleep 1002" & echo up; exec sleep 1003')
eventually 5 grep -q up "$E2E_TMP/logs/stops/family.log"
check "a container with sessions of its own stops" crictl stop --timeout 0 "$family"

check "the pod goes" pod_remove stops
leaks_none "none of their processes is left"
e2e_end
