#!/usr/bin/env bash
# NRI: plugins on the public client library, launched by the agent or connecting by themselves.
# What they are told and when, each once, what they change, who wins, what a failure of theirs does.
. "${BASH_SOURCE%/*}/../lib.sh"

# settings NN-NAME JSON: what the plugin is configured with; its log is $E2E_TMP/NN-NAME.log.
settings() {
        jq -c --arg log "$E2E_TMP/$1.log" '. + {log: $log}' <<<"$2" >"$E2E_TMP/nri/conf.d/$1.conf"
}

# launch NN-NAME JSON: to be launched by the agent.
launch() {
        settings "$1" "$2"
        cp "$NRI_PROGRAM" "$E2E_TMP/nri/plugins/$1"
}

# connect NN-NAME JSON: one that connects by itself; $PLUGIN is its pid.
connect() {
        settings "$1" "$2"
        "$NRI_PROGRAM" -name "${1#*-}" -idx "${1%%-*}" -socket "$AGENT_STATE/nri.sock" 2>"$E2E_TMP/$1.err" &
        PLUGIN=$!
}

listed() {
        cringle hooks list | grep "^$1 "
}

gone() {
        ! cringle hooks list | grep -q "^$1 "
}

# leaves NN-NAME PID: end it, and wait until the agent knows.
leaves() {
        kill "$2" 2>/dev/null || true
        wait "$2" 2>/dev/null || true
        eventually 10 gone "$1"
}

# logged POD CONTAINER TEXT
logged() {
        [[ $(container_log "$1" "$2") == "$3" ]]
}

# events NN-NAME POD: what it was told of a pod, in one line.
events() {
        awk -v pod="$2" '$2 == pod { printf "%s%s", sep, $1; sep = " " }' "$E2E_TMP/$1.log"
}

told() {
        [[ $(events "$1" "$2") == "$3" ]]
}

# knows NN-NAME POD [COUNT]: it was told of the pod's container (once), by event or by synchronisation.
knows() {
        [[ $(awk -v pod="$2" '$2 == pod && ($1 == "CreateContainer" || $1 == "SyncContainer")' "$E2E_TMP/$1.log" | wc -l) == "${3-1}" ]]
}

# fails_with POD WORDS: a container of it is refused in these words.
fails_with() {
        if container_run "$1" "n$RANDOM" 'sleep 1000' >"$E2E_TMP/said" 2>&1; then
                return 1
        fi
        grep -q "$2" "$E2E_TMP/said"
}

e2e_begin nri
NRI_PROGRAM=$(nri_plugin)
registry_start conformance
mkdir -p "$E2E_TMP/nri/plugins" "$E2E_TMP/nri/conf.d"
printf '#!/bin/sh\ntouch %s/hook-ran\n' "$E2E_TMP" >"$E2E_TMP/createruntime"
chmod 0755 "$E2E_TMP/createruntime"
echo hello >"$E2E_TMP/greeting"

agent_start "nri: {restart_delay: 300ms, plugins: {optional: {failure: ignore}}}"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
agent_kill

launch 10-first '{"env": {"FIRST": "1", "GIVEN": "first"}, "rlimit": 777, "device": "/dev/other-null", "memory": 67108864,
        "refuse": "RunPodSandbox"}'
jq -c --arg from "$E2E_TMP/greeting" --arg hook "$E2E_TMP/createruntime" \
        '. + {mounts: {"/greeting": $from}, hook: $hook}' "$E2E_TMP/nri/conf.d/10-first.conf" >"$E2E_TMP/new"
mv "$E2E_TMP/new" "$E2E_TMP/nri/conf.d/10-first.conf"
launch 20-second '{"env": {"SECOND": "2"}, "refuse": "CreateContainer"}'
echo 'no program' >"$E2E_TMP/nri/plugins/notes"
agent_start

# ---- launched plugins ------------------------------------------------------------------------

check "launched plugins are configured" grep -q '^Configure cringle' "$E2E_TMP/10-first.log"
check "and are among the hooks" listed 10-first
check "a file that is no plugin is said to be none" grep -q 'notes is not launched' "$E2E_TMP/agent.log"
"$CLI_PROGRAM" --socket "$SOCKET" hooks trace --hook nri:10-first >"$E2E_TMP/trace" &
tracer=$!
at_exit stop_pid "$tracer"
eventually 5 grep -q '^TIME ' "$E2E_TMP/trace"
pod_run plain >/dev/null
id=$(container_run plain one 'env; ulimit -n; cat /greeting; test -c /dev/other-null && echo device; exec sleep 1000')
greeted() {
        [[ $(container_log plain one) == *FIRST=1*SECOND=2*777*hello*device* ]] ||
                [[ $(container_log plain one) == *SECOND=2*FIRST=1*777*hello*device* ]]
}
check "environment, rlimit, mount and device are as plugins want them" eventually 10 greeted
check "so is an OCI hook" test -e "$E2E_TMP/hook-ran"
check "and the limit of memory" same \
        "$(jq .linux.resources.memory.limit "$AGENT_ROOT/pods/$(pod_id plain)/$id/config.json")" 67108864
crictl stop --timeout 0 "$id" >/dev/null
crictl rm "$id" >/dev/null
pod_remove plain
check "all events come once, in their order" eventually 10 told 10-first plain 'RunPodSandbox CreateContainer PostCreateContainer StartContainer PostStartContainer StopContainer RemoveContainer StopPodSandbox RemovePodSandbox'
check "to each plugin" eventually 10 told 20-second plain 'RunPodSandbox CreateContainer PostCreateContainer StartContainer PostStartContainer StopContainer RemoveContainer StopPodSandbox RemovePodSandbox'
check "each is counted, with what it validated and the run of its OCI hook" eventually 5 eval \
        'cringle hooks list -o json | jq -e "any(.name == \"10-first\" and .calls == 11 and .failures == 0 and .nanoseconds > 0 and .isolation == \"process\")"'
check "and can be traced" eventually 5 grep -qE 'e2e/plain +RemovePodSandbox +nri:10-first +ok ' "$E2E_TMP/trace"
check "with what was set" grep -E 'e2e/plain/one +CreateContainer +nri:10-first +changed .*variable FIRST.*hooks.createRuntime' "$E2E_TMP/trace"
check "an OCI hook it brings is its own" grep -E 'e2e/plain/one +createRuntime +nri:10-first +ok ' "$E2E_TMP/trace"
stop_pid "$tracer" INT

# ---- refusals ----------------------------------------------------------------------------------

check_not "a plugin refuses a pod" pod_run refused-pod
check "nothing of that is seen" same "$(crictl pods --quiet)" ''
check "the others are not told of it, or that it is gone" told 20-second refused-pod ''
launch_again() {
        [[ $(grep -c '^Configure' "$E2E_TMP/10-first.log") == 2 ]] && listed 10-first
}
settings 10-first '{"env": {"FIRST": "1", "GIVEN": "first"}}'
kill "$(pgrep -P "$AGENT_PID" -f "$E2E_TMP/nri/plugins/10-first")"
check "a plugin that ends is launched again" eventually 20 launch_again
check "the pod it refused can be made then" pod_run refused-pod
pod_run refused-container >/dev/null
check "a plugin refuses a container, by name" fails_with refused-container 'NRI plugin 20-second at CreateContainer: .*not with me'
check "those before it are told that it is gone" eventually 5 told 10-first refused-container 'RunPodSandbox CreateContainer RemoveContainer'
pod_remove refused-container refused-pod

# ---- conflicts and validators -------------------------------------------------------------------

pod_run contest >/dev/null
connect 30-third '{"env": {"GIVEN": "third"}}'
third=$PLUGIN
check "a plugin connects by itself" eventually 10 listed 30-third
check "it is told of the pods there are" grep -q '^SyncPod contest' "$E2E_TMP/30-third.log"
check "two that set one variable are refused, both named" fails_with contest \
        'variable GIVEN is set by hook 10-first already, hook 30-third may not set it too'
check "one that leaves is forgotten" leaves 30-third "$third"
check "and the pod goes on without it" container_run contest after 'sleep 1000'
connect 40-takes '{"env": {"GIVEN": "taken"}, "remove": "GIVEN"}'
eventually 10 listed 40-takes
container_run contest taken 'echo $GIVEN; exec sleep 1000' >/dev/null
check "what is removed first may be set" eventually 5 logged contest taken taken
leaves 40-takes "$PLUGIN"
connect 46-places '{"numa": "0", "batch": true}'
places=$PLUGIN
eventually 10 listed 46-places
container_run contest placed 'grep -m1 -o bind:0 /proc/self/numa_maps; cut -d" " -f19,41 /proc/self/stat; exec sleep 1000' >/dev/null
placed() {
        [[ $(container_log contest placed) == $'bind:0\n3 3' ]]
}
check "scheduler and memory policy are as a plugin wants them" eventually 5 placed
leaves 46-places "$places"
connect 50-judge '{"reject": "SECOND"}'
judge=$PLUGIN
eventually 10 listed 50-judge
check "a validator rejects, and knows whose it is" fails_with contest 'SECOND of 20-second is not allowed'
leaves 50-judge "$judge"
connect 05-hooker "{\"hook\": \"$E2E_TMP/createruntime\"}"
hooker=$PLUGIN
connect 51-default '{"hooks": false}'
default=$PLUGIN
eventually 10 listed 05-hooker
eventually 10 listed 51-default
check "NRI's default validator rejects a hook of a plugin's" fails_with contest '51-default rejects the adjustments: .*05-hooker'
leaves 05-hooker "$hooker"
check "and nothing else" container_run contest validated 'sleep 1000'
leaves 51-default "$default"
connect 60-optional '{"env": {"GIVEN": "optional"}}'
eventually 10 listed 60-optional
container_run contest ignored 'echo $GIVEN; exec sleep 1000' >/dev/null
check "a plugin whose failure is ignored leaves no trace" eventually 5 logged contest ignored first
leaves 60-optional "$PLUGIN"

# ---- silence ---------------------------------------------------------------------------------------

pod_run slow >/dev/null
connect 70-sleeper '{"sleep": "CreateContainer"}'
sleeper=$PLUGIN
eventually 10 listed 70-sleeper
check "one that does not answer does not stop the container" container_run slow one 'sleep 1000'
check "and is dropped" eventually 10 gone 70-sleeper
leaves 70-sleeper "$sleeper"

# ---- limits that change -------------------------------------------------------------------------------

pod_run update '.annotations = {"nri.test/memory": "33554432"}' >/dev/null
container_run update one 'sleep 1000' >/dev/null
check "a plugin changes the limits of a container that runs" eventually 10 grep -q '^Updated 0 <nil>' "$E2E_TMP/10-first.log"

id=$(crictl ps --quiet --name one --pod "$(pod_id update)")
limit() {
        jq .linux.resources.memory.limit "$AGENT_ROOT/pods/$(pod_id update)/$1/config.json"
}
limit_is() {
        [[ $(limit "$1") == "$2" ]]
}
# said NN-NAME POD EVENT: it was told of it.
said() {
        awk -v pod="$2" -v event="$3" '$2 == pod && $1 == event { found = 1 } END { exit !found }' "$E2E_TMP/$1.log"
}
check "the kubelet changes limits, too" crictl update --memory 41943040 "$id"
check "that is told before" said 10-first update UpdateContainer:41943040
check "and after" said 10-first update PostUpdateContainer:41943040
connect 35-instead '{"instead": 50331648, "refuse": "UpdateContainer", "of": "denied"}'
instead=$PLUGIN
eventually 10 listed 35-instead
crictl update --memory 41943040 "$id" >/dev/null
check "a plugin may want another limit" limit_is "$id" 50331648
check "all are told the one in force" said 10-first update PostUpdateContainer:50331648
connect 36-instead '{"instead": 46137344}'
other=$PLUGIN
eventually 10 listed 36-instead
refused_update() {
        crictl update --memory 41943040 "$1" >"$E2E_TMP/said" 2>&1 && return 1
        grep -q "$2" "$E2E_TMP/said"
}
check "two that want one limit otherwise are refused, both named" \
        refused_update "$id" 'NRI plugin 36-instead at UpdateContainer: memory limit of container .* is changed by NRI plugin 35-instead already'
check "and nothing has changed" limit_is "$id" 50331648
leaves 36-instead "$other"
pod_run denied >/dev/null
denied=$(container_run denied one 'sleep 1000')
check "a plugin refuses a change" refused_update "$denied" 'NRI plugin 35-instead at UpdateContainer: .*not with me'
leaves 35-instead "$instead"
connect 37-others '{"others": 54525952}'
others=$PLUGIN
eventually 10 listed 37-others
second=$(container_run update two 'sleep 1000')
crictl update --memory 41943040 "$second" >/dev/null
changed_other() {
        grep -h -o '"limit":54525952' "$AGENT_ROOT"/pods/*/*/config.json | wc -l | grep -qx 1
}
check "a plugin changes another container's limits in answer" eventually 10 changed_other
leaves 37-others "$others"

# ---- nothing is lost ------------------------------------------------------------------------------------

for i in 1 2 3 4; do
        pod_run "before$i" >/dev/null
        container_run "before$i" one 'sleep 1000' >/dev/null
done
connect 80-slow-sync '{"sync": 1500}'
late=$PLUGIN
for i in 1 2 3 4; do
        (pod_run "while$i" >/dev/null && container_run "while$i" one 'sleep 1000' >/dev/null) &
        makers[i]=$!
        sleep 0.3
done
for i in 1 2 3 4; do
        wait "${makers[i]}"
done
for i in 1 2 3 4; do
        check "container $i of before is known once" eventually 5 knows 80-slow-sync "before$i"
        check "container $i made while a plugin synchronised is known once" eventually 5 knows 80-slow-sync "while$i"
done

# ---- settings that change --------------------------------------------------------------------------------

# reload_with YAML: the section with these settings beside those of the beginning.
reload_with() {
        printf 'nri: {restart_delay: 300ms, plugins: {optional: {failure: ignore}%s}%s}\n' "${2-}" "${1-}" >"$E2E_TMP/etc/conf.d/50-nri.yaml"
        cringle reload >"$E2E_TMP/reload" 2>&1
}
other_runtime() {
        python3 - "$1" <<'P' &
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
time.sleep(600)
P
        OTHER=$!
        eventually 10 test -S "$1"
}
pod_run settings >/dev/null
launch 45-fresh '{"env": {"FRESH": "1"}}'
check "a reload applies all of the section" reload_with
check "it launches a plugin that is new in the directory" eventually 10 listed 45-fresh
rm "$E2E_TMP/nri/plugins/45-fresh"
reload_with
check "and ends one that is not there any more" eventually 10 gone 45-fresh
pod_run refused-settings >/dev/null
check_not "what a plugin refuses fails" container_run refused-settings one 'sleep 1000'
reload_with '' ', second: {failure: ignore}'
check "until a reload says that its failure is ignored" container_run refused-settings one 'sleep 1000'
reload_with '' ', absent: {failure: fail}'
check "a plugin that is required from now on is missed" fails_with settings 'NRI plugin absent, without which nothing is created, is not there'
reload_with
other_runtime "$E2E_TMP/other.sock"
check_not "the socket of another runtime is not taken" reload_with ", socket: $E2E_TMP/other.sock"
check "the reload says so" grep -q 'in use by another runtime' "$E2E_TMP/reload"
kill "$OTHER"
connect 55-stays '{}'
stays=$PLUGIN
eventually 10 listed 55-stays
reload_with ", socket: $E2E_TMP/moved.sock"
check "a socket that moves leaves its old place" test ! -e "$AGENT_STATE/nri.sock"
"$NRI_PROGRAM" -name moved -idx 56 -socket "$E2E_TMP/moved.sock" 2>"$E2E_TMP/56-moved.err" &
moved=$!
check "plugins connect in the new one" eventually 10 listed 56-moved
check "those that are there stay" listed 55-stays
reload_with ', enabled: false'
check "switched off it has no plugins" same "$(cringle hooks list | grep -c ' nri ')" 0
check "and no socket" test ! -e "$E2E_TMP/moved.sock"
container_run settings off 'echo "<$FIRST>"; exec sleep 1000' >/dev/null
check "nobody adjusts" eventually 5 logged settings off '<>'
wait "$moved" "$stays" 2>/dev/null || true
reload_with
check "switched on again it launches its plugins" eventually 10 listed 20-second
check "they are told of what was made meanwhile" grep -q '^SyncContainer settings off' "$E2E_TMP/20-second.log"

# ---- a new agent ----------------------------------------------------------------------------------------

agent_kill
agent_start
check "a new agent tells launched plugins what there is" knows 20-second before1 3
check "one that connected by itself is gone with the old one" leaves 80-slow-sync "$late"

for id in $(crictl ps --all --quiet); do
        crictl stop --timeout 0 "$id" >/dev/null
        crictl rm "$id" >/dev/null
done
pod_remove contest slow update denied settings refused-settings before{1..4} while{1..4}
rm "$E2E_TMP"/nri/plugins/*             # to compare with the agent that had none
agent_kill
agent_start
leaks_none "nothing stayed behind"
e2e_end
