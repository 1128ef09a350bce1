#!/usr/bin/env bash
# Fields of requests that no other script asks for: each is honoured, or refused by name.
. "${BASH_SOURCE%/*}/../lib.sh"

refuses() {
        local want=$1

        shift
        ! "$@" >"$E2E_TMP/refused" 2>&1 && grep -q "$want" "$E2E_TMP/refused"
}

says() {
        same "$(container_log "$1" "$2")" "$3"
}

e2e_begin fields
registry_start small
agent_start 'images: {pinned: [docker.io/library/busybox:latest]}'
crictl pull "$E2E_IMAGE" >/dev/null
check "a pinned image says so" same "$(crictl images --output json | jq -c '[.images[].pinned]')" '[true]'
leaks_begin
pod_run web >/dev/null

id=$(container_run web signal 'trap "echo usr1; exit 0" USR1; echo ready; while :; do sleep 0.05; done' '.stop_signal = 29')
check "a stop signal of the request is told" same "$(container_field "$id" .stopSignal)" SIGUSR1
eventually 10 says web signal ready
check "it stops" crictl stop --timeout 20 "$id"
check "and by that signal" says web signal $'ready\nusr1'
check "which is no failure" same "$(container_field "$id" '| "\(.reason) \(.exitCode)"')" 'Completed 0'

id=$(container_run web killed 'kill -9 $$')
check "who is killed has failed" eventually 10 container_is "$id" EXITED
check "with the signal in its code" same "$(container_field "$id" '| "\(.reason) \(.exitCode)"')" 'Error 137'
id=$(container_run web greedy 'exec tail -n 1 /dev/zero' '.linux.resources.memory_limit_in_bytes = 16777216')
check "who takes too much memory ends" eventually 20 container_is "$id" EXITED
check "and is told why" same "$(container_field "$id" '| "\(.reason) \(.exitCode)"')" 'OOMKilled 137'

target=$(container_run web target 'exec sleep 1001' '.linux.security_context.namespace_options.pid = 1')
container_run web debug 'tr "\0" " " </proc/1/cmdline; echo; exec sleep 1000' \
        ".linux.security_context.namespace_options = {pid: 3, target_id: \"$target\"}" >/dev/null
check "a debug container is in its target's PID namespace" eventually 10 says web debug 'sleep 1001 '
check "a target that is not there is refused" refuses 'no container of this pod' \
        container_create web lost true '.linux.security_context.namespace_options = {pid: 3, target_id: "none"}'

id=$(container_run web strict 'id -G' '.linux.security_context |= {run_as_user: {value: 0}, supplemental_groups: [77],
        supplemental_groups_policy: 1}')
check "strict groups are those that are named" eventually 10 says web strict '0 77'
check "and told" same "$(container_field "$id" '.user.linux.supplementalGroups | join(" ")')" '0 77'

if [[ ! -e /sys/module/apparmor/parameters/enabled || $(cat /sys/module/apparmor/parameters/enabled) != Y ]]; then
        check "a profile is refused where there is no AppArmor" refuses 'no AppArmor' \
                container_create web armored true '.linux.security_context.apparmor = {profile_type: 2, localhost_ref: "x"}'
fi
check "a checkpoint is refused by its name" refuses 'Unimplemented.*CheckpointContainer' \
        crictl checkpoint --export="$E2E_TMP/out.tar" "$target"
check "swap below memory is refused" refuses 'swap' container_create web swap true \
        '.linux.resources = {memory_limit_in_bytes: 33554432, memory_swap_limit_in_bytes: 16777216}'

check "the pod goes" pod_remove web
leaks_none "nothing stayed behind"
e2e_end
