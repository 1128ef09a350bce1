#!/usr/bin/env bash
# Checkpoints of pods: what is in them, that the pod runs on whatever happens, and that nothing stays behind when one fails.
. "${BASH_SOURCE%/*}/../lib.sh"

# call METHOD JSON: what it says goes into $E2E_TMP/said.
call() {
        "$(program cringle-call)" "$SOCKET" "$@" >"$E2E_TMP/said" 2>&1
}

# refused WORDS METHOD JSON
refused() {
        ! call "${@:2}" && grep -qiE "$1" "$E2E_TMP/said" || { cat "$E2E_TMP/said"; return 1; }
}

# wish DIRECTORY [FILTER] [ID...]: a CheckpointPodRequest of pod web and these containers.
wish() {
        local filter=${2-.} directory=$1

        shift; shift || true
        jq -nc --arg pod "$(pod_id web)" --arg path "$directory" \
                '{pod_sandbox_id: $pod, output_path: $path, container_ids: $ARGS.positional} | '"$filter" --args "$@"
}

# counts_on POD NAME...
counts_on() {
        local pod=$1 name before

        shift
        for name; do
                before=$(wc -l <"$E2E_TMP/logs/$pod/$name.log")
                eventually 10 eval "(( \$(wc -l <'$E2E_TMP/logs/$pod/$name.log') > $before + 3 ))" || return
        done
}

# empty DIRECTORY: and there.
empty() {
        [[ -d $1 && -z $(ls -A "$1") ]] || { ls -lA "$1"; return 1; }
}

e2e_begin restore
criu=$(PATH=$PATH:/usr/sbin type -P "${CRINGLE_CRIU-criu}") || skip_all "there is no criu"
"$criu" check >"$E2E_TMP/criu.log" 2>&1 || skip_all "criu does not work on this kernel: $(grep -m 1 Error "$E2E_TMP/criu.log")"
# CRIU says e.g. "Version: 4.2".
several=$("$criu" --version 2>/dev/null | sed -nE 's/^Version: ([0-9]+)\.([0-9]+).*/\1 \2/p' | awk '{ print ($1 * 100 + $2 >= 319) }')
registry_start conformance
agent_start "programs: {criu: $criu}"
crictl pull "$E2E_IMAGE" >/dev/null

leaks_begin
count='i=0; while :; do i=$((i + 1)); echo $i; sleep 0.1; done'
pod_run web '.linux.security_context.namespace_options = {pid: 0}' >/dev/null
main=$(container_run web main "echo made >/root/made; rm /etc/passwd; rm -r /var; mkdir /var; $count")
side=$(container_run web side "$count")
idle=$(container_create web idle 'exit 1')
check "they run" counts_on web main side

if ((several)); then both=("$main" "$side"); else both=("$main"); fi
mkdir "$E2E_TMP/one"
check "a pod is written into a directory" call CheckpointPod "$(wish "$E2E_TMP/one" . "${both[@]}")"
check "and runs on" counts_on web main side
check "what is in it is said" jq -e --arg n ${#both[@]} '.version == 1 and .name == "web" and .namespaces.pid == "POD" and
        (.containers | length == ($n | tonumber) and .[0] == "main")' "$E2E_TMP/one/pod.json"
check "with CRIU's images, the changes and who it is of each" eval 'for d in "$E2E_TMP"/one/containers/*; do
        test -s "$d/checkpoint/inventory.img" -a -s "$d/checkpoint/descriptors.json" -a -s "$d/rootfs-diff.tar" -a -s "$d/spec.dump" &&
                jq -e --arg name "${d##*/}" ".name == \$name" "$d/config.dump" || exit; done'
check "and nothing else" same "$(ls "$E2E_TMP/one" | tr '\n' ' ')" 'containers pod.json '
check "nobody else may read it" same "$(stat -c %a "$E2E_TMP/one/containers" "$E2E_TMP/one/pod.json" | tr '\n' ' ')" '700 600 '
check "nor has it left parts with the agent" same "$(find "$AGENT_ROOT/pods" -name checkpoint)" ''

mkdir "$E2E_TMP/two"
check "one that has something in it is refused" refused 'not empty' CheckpointPod "$(wish "$E2E_TMP/one" . "$main")"
check "and left as it is" test -s "$E2E_TMP/one/pod.json" -a -d "$E2E_TMP/one/containers"
check "so is one that is not there" refused 'No such file' CheckpointPod "$(wish "$E2E_TMP/nowhere" . "$main")"
check "that is no directory" refused 'no directory' CheckpointPod "$(wish "$E2E_TMP/said" . "$main")"
check "that is relative" refused 'no absolute path' CheckpointPod "$(wish two . "$main")"
check "options that there are not" refused "no option 'fast'" CheckpointPod "$(wish "$E2E_TMP/two" '.options = {fast: "1"}' "$main")"
check "no containers" refused 'no container is named' CheckpointPod "$(wish "$E2E_TMP/two")"
check "one twice" refused 'named twice' CheckpointPod "$(wish "$E2E_TMP/two" . "$main" "$main")"
check "one that is not known" refused 'not found|no container' CheckpointPod "$(wish "$E2E_TMP/two" . "$main" 0123456789abcdef)"
check "one that does not run" refused 'is not running' CheckpointPod "$(wish "$E2E_TMP/two" . "$main" "$idle")"
check "a pod that is not known" refused 'not found|no pod' CheckpointPod "$(wish "$E2E_TMP/two" '.pod_sandbox_id = "0123456789abcdef"' "$main")"
pod_run other >/dev/null
stranger=$(container_run other stranger "$count")
check "one of another pod" refused 'of another pod' CheckpointPod "$(wish "$E2E_TMP/two" . "$main" "$stranger")"
pod_remove other
check "none of these has left anything" empty "$E2E_TMP/two"

# The agent goes while the processes stand still.
call CheckpointPod "$(wish "$E2E_TMP/two" . "${both[@]}")" &
eventually 5 test -e "$E2E_TMP/two/containers/main/checkpoint" || true
agent_kill
wait $! || true
check "they run on when the agent is killed" counts_on web main side
agent_start "programs: {criu: $criu}"
check "its successor takes the parts away" empty "$E2E_TMP/two"

# One that never comes to an end.
cat >"$E2E_TMP/slow-criu" <<S
#!/bin/sh
touch "$E2E_TMP/slow-begun"
exec sleep 1000
S
chmod +x "$E2E_TMP/slow-criu"
agent_stop
agent_start "programs: {criu: $E2E_TMP/slow-criu}"
check_not "whoever leaves does not wait for it" timeout 1 "$(program cringle-call)" "$SOCKET" CheckpointPod "$(wish "$E2E_TMP/two" . "$main")"
check "and it ends" eventually 15 empty "$E2E_TMP/two"
check "with nothing in the way of the next" eventually 10 counts_on web main
rm -f "$E2E_TMP/slow-begun"
call CheckpointPod "$(wish "$E2E_TMP/two" . "$main")" &
eventually 5 test -e "$E2E_TMP/slow-begun"
check "while it is at work there is no second one" eventually 1 eval "! \"\$(program cringle-call)\" '$SOCKET' CheckpointPod '$(wish "$E2E_TMP/two" . "$main")' 2>'$E2E_TMP/second'"
check "which says so" grep -q 'being worked on' "$E2E_TMP/second"
begun=$SECONDS
check "a stop of one of them ends it" crictl stop -t 0 "$main"
check "and does not wait for it long" test $((SECONDS - begun)) -lt $((20 * E2E_PATIENCE))
wait $! || true
check "which says so" grep -qi 'stopped meanwhile' "$E2E_TMP/said"
check "nothing of it is left" empty "$E2E_TMP/two"
check "the other one runs on" counts_on web side
rm -f "$E2E_TMP/slow-begun"
call CheckpointPod "$(wish "$E2E_TMP/two" . "$side")" &
eventually 5 test -e "$E2E_TMP/slow-begun"
check "so does the end of the pod" pod_remove web
wait $! || true
check "nothing of it is left" empty "$E2E_TMP/two"
leaks_none "nothing stayed behind"
e2e_end
