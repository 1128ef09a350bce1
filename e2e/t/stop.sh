#!/usr/bin/env bash
# Stopping: the grace period is given and not exceeded, what is under way ends early and says why, and
# nothing that a container or its making started survives it.
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

# pod_with_hook STAGE: a pod whose containers have an OCI hook there that never ends.
pod_with_hook() {
        jq -n --arg stage "$1" --arg began "$E2E_TMP/began-$1" \
                '{version: "1.0.0", hook: {path: "/bin/sh", args: ["sh", "-c", "touch \($began); exec sleep 4321"], timeout: 300},
                  when: {annotations: {"^stuck$": "^\($stage)$"}}, stages: [$stage]}' >"$E2E_TMP/hooks.d/$1.json"
        pod_run "$1" ".annotations = {stuck: \"$1\"}" >/dev/null
}

nobody_sleeps() {
        ! pgrep -f "^(sh -c .*|)sleep 4321" >/dev/null
}

e2e_begin stop
registry_start conformance
# The last plugin of the network waits for ever when it is told to.
network_make
mkdir -p "$E2E_TMP/bin"
cat >"$E2E_TMP/bin/stuck" <<P
#!/bin/sh
cat >"$E2E_TMP/stdin.\$\$"
if [ "\$CNI_COMMAND" = ADD ] && [ -e "$E2E_TMP/block" ]; then
        echo "\$CNI_CONTAINERID" >"$E2E_TMP/added"
        exec sleep 4321
fi
[ "\$CNI_COMMAND" != DEL ] || echo "\$CNI_CONTAINERID" >>"$E2E_TMP/deleted"
[ "\$CNI_COMMAND" != ADD ] || jq .prevResult "$E2E_TMP/stdin.\$\$"
rm -f "$E2E_TMP/stdin.\$\$"
P
chmod +x "$E2E_TMP/bin/stuck"
jq '.plugins += [{type: "stuck"}]' "$NETWORK_CONF/10-e2e.conflist" >"$E2E_TMP/conflist"
mv "$E2E_TMP/conflist" "$NETWORK_CONF/10-e2e.conflist"
agent_start "cni: {bin_dirs: ['$E2E_TMP/bin', /usr/lib/cni]}"
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

# ---- what is under way ---------------------------------------------------------------------------

for stage in startContainer poststart; do
        pod_with_hook "$stage"
        stuck=$(container_create "$stage" stuck 'exec sleep 1000')
        crictl start "$stuck" >"$E2E_TMP/said" 2>&1 &
        caller=$!
        [[ $stage == startContainer ]] || eventually 10 test -e "$E2E_TMP/began-$stage"
        sleep 0.5
        check "a start whose $stage hook never ends does not hold up a stop" takes 0 5000 crictl stop --timeout 1 "$stuck"
        check_not "the start fails" wait "$caller"
        check "and says why" grep -q 'code = Canceled .*stopped meanwhile' "$E2E_TMP/said"
        check "the container has exited" container_is "$stuck" EXITED
        check "and can be removed" crictl rm "$stuck"
        [[ $stage == startContainer ]] ||
                check "the hook was not too slow" eventually 5 eval \
                        "cringle hooks list -o json | jq -e 'any(.lastFailure // \"\" | contains(\"killed with its container\"))'"
done

touch "$E2E_TMP/block"
pod_run under-way >"$E2E_TMP/said" 2>&1 &
caller=$!
check "a network plugin never ends" eventually 10 test -s "$E2E_TMP/added"
check "its pod goes all the same" takes 0 5000 crictl stopp "$(cat "$E2E_TMP/added")"
check_not "its making fails" wait "$caller"
check "and says why" grep -q 'code = Canceled .*stopped meanwhile' "$E2E_TMP/said"
check "what the network had made is taken back" grep -qx "$(cat "$E2E_TMP/added")" "$E2E_TMP/deleted"
check "nobody sees the pod" same "$(crictl pods --quiet --name under-way)" ''
rm "$E2E_TMP/block"
check "its name is free" pod_run under-way

pod_with_hook createRuntime
container_create createRuntime stuck 'exec sleep 1000' >"$E2E_TMP/said" 2>&1 &
caller=$!
eventually 10 test -e "$E2E_TMP/began-createRuntime"
check "a creation whose hook never ends does not hold up its pod's stop" takes 0 5000 crictl stopp "$(pod_id createRuntime)"
check_not "the creation fails" wait "$caller"
check "and says why" grep -q 'code = Canceled .*stopped meanwhile' "$E2E_TMP/said"
check "no container is there" same "$(crictl ps --all --quiet --pod "$(pod_id createRuntime)")" ''
check "nothing of what waited runs on" eventually 5 nobody_sleeps

check "the pods go" pod_remove stops startContainer poststart under-way createRuntime
leaks_none "none of their processes is left"
e2e_end
