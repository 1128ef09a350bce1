#!/usr/bin/env bash
# Checkpoints of pods: what is in them, that the pod runs on whatever happens, and that nothing stays behind when one fails.
# And pods from checkpoints: that they go on where they were, as any others, and that bad ones are refused and leave nothing.
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

# --- and back ---

# again DIRECTORY [FILTER] [POD NAME...]: a RestorePodRequest, by default of web with what "both" are.
again() {
        local filter=${2-.} directory=$1 pod=${3-web} name configs=() pods=$E2E_TMP/pods-of-one

        [[ $directory != "$E2E_TMP/three" ]] || pods=$E2E_TMP/pods

        shift; shift || true; shift || true
        (($#)) || set -- "${names[@]}"
        for name; do
                configs+=("$pods/$pod-$name.json")
        done
        jq -c --slurpfile pod "$pods/$pod.json" --arg path "$directory" --slurp \
                '{checkpoint_path: $path, config: $pod[0], container_configs: .} | '"$filter" "${configs[@]}"
}

# a_copy_of DIRECTORY: to be spoilt; prints its name.
a_copy_of() {
        local copy

        copy=$(mktemp -d "$E2E_TMP/copy.XXXXXX")
        cp -a "$1/." "$copy"
        echo "$copy"
}

first() {
        head -n 1 "$E2E_TMP/logs/$1/$2.log" | cut -d' ' -f4-
}

# goes_on POD NAME LAST: it counts from where it was, and not from the beginning.
goes_on() {
        eventually 10 test -s "$E2E_TMP/logs/$1/$2.log" && same "$(first "$1" "$2")" "$(($3 + 1))"
}

id_of() {
        crictl ps --all --quiet --name "^$1\$"
}

no_pods() {
        same "$(crictl pods --quiet; crictl ps --all --quiet)" ''
}

if ((several)); then names=(main side); else names=(main); fi
cp -a "$E2E_TMP/pods" "$E2E_TMP/pods-of-one"
check "while a pod has the name there is no other" refused 'is held by' RestorePod "$(again "$E2E_TMP/one")"
check "which is left alone" counts_on web main
pod_remove web
last=$(container_log web main | tail -n 1)
rm "$E2E_TMP"/logs/web/*.log
find "$E2E_TMP/one" -type f -exec sha256sum {} + >"$E2E_TMP/one.sums"
check "a pod is restored" call RestorePod "$(again "$E2E_TMP/one")"
crictl pods --quiet >"$E2E_TMP/pods/web.id"
main=$(id_of main)
check "its containers are created" container_is "$main" CREATED
check "and have not run" eval 'sleep 0.5; [[ ! -s $E2E_TMP/logs/web/main.log ]]'
agent_kill
agent_start
check "which outlives the agent" container_is "$main" CREATED
for name in "${names[@]}"; do
        check "$name is started" crictl start "$(id_of "$name")"
        check "and runs" counts_on web "$name"
done
check "it counts on" eval '(( $(first web main) > 3 && $(first web main) <= last + 1 ))'
check "its files are as they were" same "$(crictl exec "$main" sh -c 'cat /root/made; ls -A /var; ls /etc/passwd 2>&1')" \
        $'made\nls: /etc/passwd: No such file or directory'
check "its processes have their numbers" same "$(crictl exec "$main" sh -c 'tr "\0" " " </proc/1/cmdline')" 'cringle-init '
if ((several)); then
        check "and are seen by the other one" eval "crictl exec '$(id_of side)' ps | grep -q 'echo made'"
fi
check "an exec is as any other" same "$(crictl exec --sync "$main" echo out)" out
for space in net ipc uts; do
        check "its $space namespace is the pod's" same "$(stat -L -c %i "/proc/$(crictl inspect "$main" | jq .info.pid)/ns/$space")" \
                "$(stat -L -c %i "$AGENT_STATE/pods/$(pod_id web)/ns/$space")"
done
check "it is in its cgroup" grep -q "/$main" "/proc/$(crictl inspect "$main" | jq .info.pid)/cgroup"
check "it has statistics" eval "crictl stats --output json '$main' | jq -e '.stats[0].memory.workingSetBytes.value | tonumber > 0'"
agent_kill
agent_start
check "it outlives the agent" counts_on web "${names[@]}"
both=()
for name in "${names[@]}"; do
        both+=("$(id_of "$name")")
done
mkdir "$E2E_TMP/four"
then=$(container_log web main | tail -n 1)
check "and can be checkpointed again" call CheckpointPod "$(wish "$E2E_TMP/four" . "${both[@]}")"
check "after which it runs on" counts_on web "${names[@]}"
crictl stop --timeout 0 "$main" >/dev/null
check "and is stopped as any other" same "$(container_field "$main" .exitCode)" 137
check "the checkpoint is as it was" sha256sum --check --quiet "$E2E_TMP/one.sums"
check "what was kept for the start is gone" same "$(find "$AGENT_ROOT/pods" -name restore)" ''
check "the pod goes" pod_remove web
check "nothing is left" no_pods
rm "$E2E_TMP"/logs/web/*.log
check "from that it is restored" call RestorePod "$(again "$E2E_TMP/four")"
crictl pods --quiet >"$E2E_TMP/pods/web.id"
for name in "${names[@]}"; do
        crictl start "$(id_of "$name")" >/dev/null
done
check "and counts on" counts_on web "${names[@]}"
check "where it was then" eval '(( $(first web main) > then ))'
pod_remove web

# What its first process may do and see.
confinement() {
        crictl exec "$1" sh -c 'grep -E "^(Uid|Gid|Groups|Cap[A-Z][a-z][a-z]|NoNewPrivs|Seccomp):" /proc/1/status
                cut -d " " -f 5-6 /proc/1/mountinfo | sort; touch /x 2>&1; ls -A /sys/firmware; head -c 1 /proc/keys | wc -c; cat /proc/1/oom_score_adj'
}

# Others: each is checkpointed, its pod removed, and restored.
round() {
        local ended

        rm -rf "$E2E_TMP/three" "$E2E_TMP/logs/web"
        mkdir "$E2E_TMP/three"
        pod_run web "$1" >/dev/null
        container_run web main "$2" "$3" >"$E2E_TMP/main.id"
        sleep 0.5
        confinement "$(cat "$E2E_TMP/main.id")" >"$E2E_TMP/confinement"
        call CheckpointPod "$(wish "$E2E_TMP/three" . "$(cat "$E2E_TMP/main.id")")" || { cat "$E2E_TMP/said"; return 1; }
        pod_remove web || return
        ended=$(container_log web main | tail -n 1)
        rm -f "$E2E_TMP/logs/web/main.log"
        [[ -z ${4-} ]] || eval "$4"
        call RestorePod "$(again "$E2E_TMP/three" "${5-.}" web main)" || { cat "$E2E_TMP/said"; return 1; }
        crictl pods --quiet >"$E2E_TMP/pods/web.id"
        id_of main >"$E2E_TMP/main.id"
        crictl start "$(cat "$E2E_TMP/main.id")" || return
        [[ $ended != [0-9]* ]] || (counts_on web main && (($(first web main) <= ended + 1 && $(first web main) > 2)))
}
mkdir "$E2E_TMP/volume"
echo there >"$E2E_TMP/volume/file"
own='.linux.security_context.namespace_options = {pid: 1}'
strict='.linux.security_context += {seccomp: {profile_type: 0}, masked_paths: ["/proc/acpi", "/proc/keys", "/sys/firmware"],
        readonly_paths: ["/proc/sys", "/proc/bus"], no_new_privs: true, readonly_rootfs: true}
        | .linux.resources = {memory_limit_in_bytes: 67108864, cpu_quota: 50000, cpu_period: 100000, oom_score_adj: 500}'
check "one that is confined comes back" round "$own" "$count" "$own | $strict"
main=$(cat "$E2E_TMP/main.id")
check "with a root it cannot write to" grep -q '^touch: /x: Read-only file system' "$E2E_TMP/confinement"
check "with no_new_privs and a filter" same "$(sed -nE 's/^(NoNewPrivs|Seccomp):.//p' "$E2E_TMP/confinement" | xargs)" '1 2'
check "as confined as it was" same "$(confinement "$main")" "$(cat "$E2E_TMP/confinement")"
pod_remove web
check "with mounts of all kinds" round "$own" "$count" "$own | .mounts = [{container_path: \"/empty\", host_path: \"/dev/shm\"},
        {container_path: \"/volume\", host_path: \"$E2E_TMP/volume\", readonly: true}, {container_path: \"/data\", image: {image: \"$E2E_IMAGE\"}, readonly: true}]"
main=$(cat "$E2E_TMP/main.id")
check "which are there" same "$(crictl exec "$main" sh -c 'cat /volume/file; touch /volume/x /data/x 2>&1; ls /data/bin | grep -x sh')" \
        $'there\ntouch: /volume/x: Read-only file system\ntouch: /data/x: Read-only file system\nsh'
check "each as it was" same "$(confinement "$main")" "$(cat "$E2E_TMP/confinement")"
pod_remove web
check "with an open stdin" round "$own" 'while read -r line; do echo "got $line"; done' "$own | .stdin = true"
main=$(cat "$E2E_TMP/main.id")
"$(cri_tool crictl)" --config /dev/null --runtime-endpoint "unix://$SOCKET" attach --stdin "$main" >/dev/null 2>&1 < <(echo word; sleep 2) &
check "which is heard" eventually 5 grep -q 'got word' "$E2E_TMP/logs/web/main.log"
kill -s KILL $!
wait $! || true
pod_remove web
check "on the node's network" round '.linux.security_context.namespace_options = {network: 2}' "$count" '.linux.security_context.namespace_options = {network: 2}'
pod_remove web
check "with another host name" round ".hostname = \"before\" | $own" "$count" "$own" \
        "jq '.hostname = \"after\"' '$E2E_TMP/pods/web.json' >'$E2E_TMP/x' && mv '$E2E_TMP/x' '$E2E_TMP/pods/web.json'"
check "which it has" same "$(crictl exec "$(cat "$E2E_TMP/main.id")" hostname)" after
pod_remove web
check "but not with what a pod has of System V IPC" refused 'System V' RestorePod "$(
        pod_run web "$own" >/dev/null
        id=$(container_run web main "$count" "$own")
        rm -rf "$E2E_TMP/three" && mkdir "$E2E_TMP/three"
        nsenter --ipc="$AGENT_STATE/pods/$(pod_id web)/ns/ipc" ipcmk --shmem 4096 >/dev/null
        call CheckpointPod "$(wish "$E2E_TMP/three" . "$id")"
        pod_remove web
        again "$E2E_TMP/three" . web main
)"
rm -f "$E2E_TMP/volume/go"
check "one that ends at once" round "$own" 'while [ ! -e /volume/go ]; do :; done; exit 5' \
        "$own | .mounts = [{container_path: \"/volume\", host_path: \"$E2E_TMP/volume\"}]" "touch '$E2E_TMP/volume/go'"
check "tells its exit code" eventually 5 eval "[[ \$(container_field '$(cat "$E2E_TMP/main.id")' .exitCode) == 5 ]]"
pod_remove web

# Bad ones.
check "options that there are not are refused" refused "no option 'fast'" RestorePod "$(again "$E2E_TMP/one" '.options = {fast: "1"}')"
check "a handler that there is not" refused 'no runtime handler' RestorePod "$(again "$E2E_TMP/one" '.runtime_handler = "vm"')"
check "a path that is relative" refused 'no absolute path' RestorePod "$(again one)"
check "one that is not there" refused 'No such file' RestorePod "$(again "$E2E_TMP/nowhere")"
check "no containers" refused 'no container is named' RestorePod "$(again "$E2E_TMP/one" '.container_configs = []')"
check "one without a name" refused 'has no name' RestorePod "$(again "$E2E_TMP/one" '.container_configs[0].metadata = {}')"
check "one too many" refused 'extra is not in the checkpoint' RestorePod \
        "$(again "$E2E_TMP/one" '.container_configs += [.container_configs[0] | .metadata.name = "extra"]')"
check "one twice" refused 'two of the containers are called main' RestorePod "$(again "$E2E_TMP/one" '.container_configs += [.container_configs[0]]')"
check "one that is missing" refused 'main of the checkpoint is not asked for' RestorePod \
        "$(again "$E2E_TMP/one" '.container_configs |= [.[0] | .metadata.name = "other"]')"
check "a terminal" refused 'with a terminal cannot' RestorePod "$(again "$E2E_TMP/one" '.container_configs[0].tty = true')"
check "users of its own" refused 'user namespace cannot' RestorePod "$(again "$E2E_TMP/one" \
        '.config.linux.security_context.namespace_options.userns_options = {mode: 0, uids: [{host_id: 100000, container_id: 0, length: 65536}],
                gids: [{host_id: 100000, container_id: 0, length: 65536}]}')"
check "another PID namespace" refused 'pid namespace is POD in the checkpoint' RestorePod \
        "$(again "$E2E_TMP/one" '.config.linux.security_context.namespace_options.pid = 1')"
for what in 'process.args .command[2]="true"' 'process.env .envs=[{key:"A",value:"b"}]' 'process.user .linux.security_context.run_as_user={value:7}' \
        'process.capabilities .linux.security_context.capabilities={add_capabilities:["SYS_ADMIN"]}' \
        'root.readonly .linux.security_context.readonly_rootfs=true' 'mounts .mounts=[{container_path:"/x",host_path:"/dev/shm"}]'; do
        check "another ${what%% *}" refused "${what%% *} is another|process.env is another|mounts are others" RestorePod "$(again "$E2E_TMP/one" ".container_configs[0] |= (${what#* })")"
done
copy=$(a_copy_of "$E2E_TMP/one")
chmod g+w "$copy/containers/main/rootfs-diff.tar"
check "what others may have written" refused 'others than root' RestorePod "$(again "$copy")"
for file in pod.json containers/main/config.dump containers/main/spec.dump containers/main/rootfs-diff.tar containers/main/deleted.files \
        containers/main/checkpoint containers/main/checkpoint/descriptors.json; do
        copy=$(a_copy_of "$E2E_TMP/one")
        rm -r "${copy:?}/$file"
        check "without ${file##*/} it is refused" refused "${file##*/}" RestorePod "$(again "$copy")"
done
copy=$(a_copy_of "$E2E_TMP/one")
truncate -s 700 "$copy/containers/main/rootfs-diff.tar"
check "a damaged archive is refused" refused 'changes of the root filesystem' RestorePod "$(again "$copy")"
copy=$(a_copy_of "$E2E_TMP/one")
echo '["/root/../../../etc/hosts"]' >"$copy/containers/main/deleted.files"
check "so are deletions that lead out" refused 'no path of a file' RestorePod "$(again "$copy")"
copy=$(a_copy_of "$E2E_TMP/one")
jq -c '.mounts += [{destination: "/node", type: "bind", source: "/", options: ["rbind"]}]' "$E2E_TMP/one/containers/main/spec.dump" \
        >"$copy/containers/main/spec.dump"
check "mounts that the checkpoint alone has are refused" refused 'mounts are others' RestorePod "$(again "$copy")"
copy=$(a_copy_of "$E2E_TMP/one")
mkdir "$E2E_TMP/forged" "$E2E_TMP/target"
ln -s "$E2E_TMP/target" "$E2E_TMP/forged/link"
tar -C "$E2E_TMP/forged" -cf "$copy/containers/main/rootfs-diff.tar" link
echo '["/link/hidden"]' >"$copy/containers/main/deleted.files"
check "or that go by a link" refused '/link/hidden' RestorePod "$(again "$copy")"
check "nothing of these is left" no_pods
check "nor anything in what a link showed" empty "$E2E_TMP/target"
copy=$(a_copy_of "$E2E_TMP/one")
for file in "$copy"/containers/main/checkpoint/pstree.img; do
        truncate -s 10 "$file"
done
rm -f "$E2E_TMP"/logs/web/*.log
call RestorePod "$(again "$copy")" && crictl pods --quiet >"$E2E_TMP/pods/web.id"
main=$(id_of main)
check "processes that cannot be restored are told when they are to start" refused_with 'could not be restored: .*' crictl start "$main"
check "and are over" eval 'container_is "$main" EXITED && same "$(container_field "$main" .reason)" StartError'
check "with no process left" same "$(cat /sys/fs/cgroup/{pids,.}"$AGENT_PODS/$main/cgroup.procs" 2>/dev/null)" ''
pod_remove web

# The agent goes while it makes a pod, or who asked does: all of it is there and told, or nothing.  Who left at the very end missed what was told.
pods_restored() {
        grep -c ' is restored, ' "$E2E_TMP/agent.log" || true
}
all_or_nothing() {
        if cringle status | grep -q '^under way'; then
                return 1
        elif ((answered || $(pods_restored) > before)); then
                crictl pods --quiet >"$E2E_TMP/pods/web.id" && container_is "$(id_of main)" CREATED
        else
                no_pods
        fi
}
settles() {
        eventually 10 all_or_nothing && { no_pods || pod_remove web; }
}

for delay in 0.02 0.1 0.2 0.3 0.4; do
        before=$(pods_restored)
        call RestorePod "$(again "$E2E_TMP/one")" &
        sleep "$delay"
        agent_kill
        wait $! && answered=1 || answered=0
        agent_start
        check "killed after $delay s it leaves all or nothing" settles
        answered=0 before=$(pods_restored)
        timeout "$delay" "$(program cringle-call)" "$SOCKET" RestorePod "$(again "$E2E_TMP/one")" >/dev/null 2>&1 && answered=1
        check "left alone after $delay s it does, too" settles
done

# One that never comes to an end.
pod_run web '.linux.security_context.namespace_options = {pid: 0}' >/dev/null
main=$(container_run web main "$count")
side=$(container_run web side "$count")
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
call RestorePod "$(again "$E2E_TMP/one")"
crictl pods --quiet >"$E2E_TMP/pods/web.id"
main=$(id_of main)
rm -f "$E2E_TMP/slow-begun"
crictl start "$main" >"$E2E_TMP/said" 2>&1 &
eventually 5 test -e "$E2E_TMP/slow-begun"
begun=$SECONDS
check "a container whose start does not end is stopped" crictl stop --timeout 0 "$main"
wait $! || true
check "at once" test $((SECONDS - begun)) -lt $((10 * E2E_PATIENCE))
check "with all that was to restore it" same "$(cat /sys/fs/cgroup/{pids,.}"$AGENT_PODS/$main/cgroup.procs" 2>/dev/null)" ''
pod_remove web
agent_stop
agent_start "programs: {criu: $E2E_TMP/no-criu}"
check "without CRIU nothing is restored" refused 'programs.criu' RestorePod "$(again "$E2E_TMP/one")"
leaks_none "nothing stayed behind"
e2e_end
