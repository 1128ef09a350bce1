#!/usr/bin/env bash
# The machine goes down: PID 1 tells all processes to end, and no monitor keeps it waiting.
. "${BASH_SOURCE%/*}/../lib.sh"

[[ ${E2E_CGROUP_DRIVER-} != systemd ]] || skip_all "systemd cannot be told processes by their ids in a namespace"
# In a PID namespace this shell is the one that a monitor listens to.
[[ $$ == 1 ]] || exec unshare --pid --fork --kill-child --mount-proc "$0"

monitor_of() {
        pgrep -f "^cringle-monitor $AGENT_STATE/pods/$1" | head -n 1
}

down() {
        [[ -z $(monitor_of "$1") ]]
}

pod_is() {
        [[ $(pod_field "$1" .state) == "SANDBOX_$2" ]]
}

# As systemd-shutdown does, but for us and what is ours.
tell_all() {
        local pid

        for pid in $(pgrep -f "^(cringle-monitor $AGENT_STATE/|cringle-init)") $(cat "$E2E_TMP"/pids); do
                kill -s TERM "$pid" || true
        done
}

e2e_begin shutdown
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

plain=$(pod_run plain)
main=$(container_run plain main 'exec sleep 1000')
container_create plain never 'exec sleep 1000' >/dev/null
slow=$(pod_run slow)
ends=$(container_run slow main 'trap "sleep 2; echo saved; exit" TERM; echo up; while :; do sleep 0.1; done')
deaf=$(pod_run deaf)
stays=$(container_run deaf main 'trap "" TERM; echo up; exec sleep 1000')
for id in "$main" "$ends" "$stays"; do
        crictl inspect --output json "$id" | jq .info.pid
done >"$E2E_TMP/pids"
eventually 5 grep -q up "$E2E_TMP/logs/slow/main.log"
eventually 5 grep -q up "$E2E_TMP/logs/deaf/main.log"

sh -c 'kill -s TERM "$1"' sh "$(monitor_of "$deaf")"
check "SIGTERM from anybody else is nothing to a monitor" container_is "$stays" RUNNING
agent_stop
begun=$SECONDS
tell_all
check "a monitor whose containers end, ends" eventually 5 down "$plain"
check_not "one whose containers take their time, waits" down "$slow"
check "until they have ended" eventually 10 down "$slow"
check "by themselves" grep -q saved "$E2E_TMP/logs/slow/main.log"
check_not "one whose containers are deaf waits longer" down "$deaf"
check "but not for ever" eventually 40 down "$deaf"
check "for a kubelet's usual grace period" test $((SECONDS - begun)) -ge 28

agent_start
for id in "$plain" "$slow" "$deaf"; do
        check "the pod is not ready afterwards" eventually 5 pod_is "$id" NOTREADY
        check "and can be removed" eval 'crictl stopp "$id" && crictl rmp "$id"'
done
leaks_none "nothing stayed behind"
e2e_end
