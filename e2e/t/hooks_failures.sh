#!/usr/bin/env bash
# What goes wrong in a hook, of every kind and with both policies: the container is made or refused as
# the policy says, the message names the hook and its end, nothing stays behind, and others do not notice.
. "${BASH_SOURCE%/*}/../lib.sh"

STAGES=(prestart createRuntime createContainer startContainer poststart poststop)
FAULTS=(missing exits hangs floods forks wrecks)
ERASED=(prestart createRuntime poststart poststop)      # at the others the bundle is not there, or in use

# What the OCI hooks leave running in the background is told from everything else by this number.
SLEEP=$((1000000 + $$))

# fault_script FAULT: what a hook does, for /bin/sh.
fault_script() {
        case $1 in
        exits) echo 'echo no licence >&2; exit 7' ;;
        hangs) echo "sleep $SLEEP & sleep $SLEEP" ;;
        floods) echo 'yes on-stderr >&2 & exec yes on-stdout' ;;
        forks) echo "(sleep $SLEEP; echo late >&2) & exit 0" ;;
        wrecks) echo '[ ! -e config.json ] || echo wreck >config.json' ;;
        erases) echo '[ ! -e config.json ] || rm -rf $PWD' ;;
        esac
}

# fault_said STAGE FAULT: how the message about it reads; none where it is no failure.
fault_said() {
        case $2 in
        missing) echo "$1 hook 1, /no/such-hook: exit status 127: exec /no/such-hook: No such file or directory" ;;
        exits) echo "$1 hook 1, /bin/sh: exit status 7: no licence" ;;
        hangs) echo "$1 hook 1, /bin/sh: killed at its time limit" ;;
        floods) echo "$1 hook 1, /bin/sh: killed at its time limit: .*on-stderr on-stderr" ;;
        erases) case $1 in prestart | createRuntime) echo 'make the root the root: No such file or directory' ;; esac ;;
        esac
}

# The configuration's hooks: each for the container named after it.
declared() {
        local stage fault policy

        for stage in "${STAGES[@]}"; do
                for fault in "${FAULTS[@]}" erases lasts; do
                        for policy in fail ignore; do
                                [[ $fault != lasts && $fault != erases || $policy == fail ]] || continue
                                echo "    - name: ${stage,,}-$fault-$policy"
                                echo "      stage: $stage"
                                case $fault in
                                missing) echo "      path: /no/such-hook" ;;
                                lasts) printf '      path: /bin/sh\n      args: [-c, "%s"]\n' "$(fault_script hangs)" ;;
                                *) printf '      path: /bin/sh\n      args: [-c, "%s"]\n' "$(fault_script $fault)" ;;
                                esac
                                echo "      env: ['PATH=/usr/bin:/bin']"
                                [[ $fault == lasts ]] && echo "      timeout: 10m" || echo "      timeout: 1s"
                                echo "      failure: $policy"
                                echo "      when: {containers: ['^$stage-$fault-$policy\$']}"
                        done
                done
        done
}

# case_run STAGE FAULT POLICY: a container's whole life; what each call said is in cases/NAME.*.
case_run() {
        local name=$1-$2-$3 id

        id=$(container_create box "$name" 'exec sleep 1000' 2>"$E2E_TMP/cases/$name.create") || return 0
        crictl start "$id" >/dev/null 2>"$E2E_TMP/cases/$name.start" || true
        container_field "$id" .state >"$E2E_TMP/cases/$name.state"
        crictl rm --force "$id" >/dev/null 2>"$E2E_TMP/cases/$name.rm" && touch "$E2E_TMP/cases/$name.removed"
}

# case_held STAGE FAULT POLICY: it came out as it should.
case_held() {
        local name=$1-$2-$3 said state where=nowhere

        said=$(fault_said "$1" "$2")
        state=$(cat "$E2E_TMP/cases/$name.state" 2>/dev/null || echo none)
        case $1 in
        prestart | createRuntime | createContainer) where=create ;;
        startContainer | poststart) where=start ;;
        esac
        if [[ -n $said ]] && ! grep -q -- "$said" "$E2E_TMP/cases/$name".{create,start} "$E2E_TMP/agent.log"; then
                echo "nowhere is said: $said"
                cat "$E2E_TMP/cases/$name".*
                return 1
        fi
        if [[ -n $said && $3 == fail && $where != nowhere ]]; then
                grep -q -- "$said" "$E2E_TMP/cases/$name.$where" || { cat "$E2E_TMP/cases/$name".*; return 1; }
                [[ $state != CONTAINER_RUNNING && ($where == start || $state == none) ]] || { echo "it is $state"; return 1; }
        elif [[ $state != CONTAINER_RUNNING ]]; then
                echo "it is $state"
                cat "$E2E_TMP/cases/$name".*
                return 1
        fi
        [[ $state == none || -e $E2E_TMP/cases/$name.removed ]] || { cat "$E2E_TMP/cases/$name.rm"; return 1; }
}

# cdi_file STAGE: a device whose hook at that stage fails.
cdi_file() {
        jq -n --arg stage "$1" '{cdiVersion: "0.5.0", kind: "acme.com/bad", devices: [{name: $stage, containerEdits: {hooks: [
                {hookName: $stage, path: "/bin/sh", args: ["sh", "-c", "echo no such card >&2; exit 5"]}]}}]}' >"$E2E_TMP/cdi/$1.json"
}

cdi_refuses() {
        ! container_run box "cdi-$1" true ".CDI_devices = [{name: \"acme.com/bad=$1\"}]" >"$E2E_TMP/said" 2>&1 &&
                grep "$1 hook 1, /bin/sh: exit status 5: no such card" "$E2E_TMP/said"
}

# The hooks' own processes, wherever they have got to.
left_over() {
        pgrep -f "sleep $SLEEP"
}

none_left_over() {
        ! left_over
}

# peak PID: of its memory, in KiB.
peak() {
        awk '/^VmHWM/ { print $2 }' "/proc/$1/status"
}

monitor_of() {
        pgrep -f "^cringle-monitor $AGENT_STATE/pods/$1" | head -n 1
}

# gaps FILE: the longest silence of a log, in milliseconds.
gaps() {
        cut -d' ' -f1 "$1" | python3 -c '
import datetime, sys
at = [datetime.datetime.fromisoformat(line.strip()[:26]) for line in sys.stdin]
print(int(max((b - a).total_seconds() for a, b in zip(at, at[1:])) * 1000))'
}

# plugin NAME: tests/plugins/troubled.c under that name.
plugin() {
        cc -shared -fPIC -O1 -D_GNU_SOURCE -DNAME="$1" -I"$E2E_TOP/plugins" -o "$E2E_TMP/plugins/$1.so" "$E2E_TOP/tests/plugins/troubled.c"
}

# does DEED PLUGIN: a container that wants it done; fails if it is refused; $E2E_TMP/said.
does() {
        container_create deeds "$2-$1-$RANDOM" true ".annotations = {\"do.$2\": \"$1\"}" >"$E2E_TMP/said" 2>&1
}

refuses() {
        ! does "$1" "$2" && grep -- "$3" "$E2E_TMP/said"
}

# Of the plugin's process.
held_pid() {
        pgrep -P "$AGENT_PID" -f -- "--host-plugin .* $1\$"
}

no_plugin_process() {
        ! pgrep -f -- "--host-plugin $E2E_TMP/plugins/"
}

agent_gone() {
        [[ $(process_state "$AGENT_PID") =~ ^Z?$ ]]
}

# rogue NN-NAME DEED: see e2e/tools/nri-rogue; $ROGUE is its pid.
rogue() {
        "$E2E_DIR/tools/nri-rogue" "$AGENT_STATE/nri.sock" "$1" "$2" &
        ROGUE=$!
        at_exit rogue_end "$ROGUE"
        eventually 10 listed "$1"
}

# rogue_refuses POD DEED: no container, because of what the rogue does.
rogue_refuses() {
        ! container_create "$1" "rogue-$2" true >"$E2E_TMP/said" 2>&1 && grep 'NRI plugin 90-rogue' "$E2E_TMP/said"
}

rogue_end() {
        kill -s KILL "$1" 2>/dev/null || true
        wait "$1" 2>/dev/null || true
}

# One that must be there and is not has no events in the list.
listed() {
        cringle hooks list | awk -v label="$1" '$1 == label && $2 == "nri" && $3 != "-" { found = 1 } END { exit !found }'
}

unlisted() {
        ! listed "$1"
}

e2e_begin hooks_failures
registry_start conformance
mkdir -p "$E2E_TMP/cases" "$E2E_TMP/plugins" "$E2E_TMP/cdi"
chmod 0755 "$E2E_TMP/plugins"
for name in apart lenient inside; do
        plugin $name
done

# ---- hooks at the six stages -------------------------------------------------------------

agent_setup
sed -i "s|^plugins: {dirs: \[|&$E2E_TMP/plugins, |" "$E2E_TMP/etc/config.yaml"
agent_start "nri: {request_timeout: 1s}
cdi: {dirs: ['$E2E_TMP/cdi']}
hooks:
  plugins:
    - {plugin: apart, isolation: process, timeout: 1s}
    - {plugin: lenient, isolation: process, timeout: 1s, failure: ignore}
    - {plugin: inside, timeout: 1s}
  declared:
$(declared)"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
E2E_LEAKS+=(--allow '^process .*--host-plugin')         # the agent's own, which come anew after each fault

for stage in "${STAGES[@]}"; do
        cdi_file $stage
done
pod_run neighbour >/dev/null
neighbour=$(container_run neighbour ticks 'while :; do echo tick; sleep 0.1; done')
neighbour_pid=$(crictl inspect --output json "$neighbour" | jq .info.pid)
pod_run box >/dev/null
beside=$(container_run box ticks 'while :; do echo tick; sleep 0.1; done')

for stage in "${ERASED[@]}"; do
        case_run $stage erases fail
done
for stage in prestart createRuntime createContainer startContainer poststart; do
        check "$stage: a device's hook that fails refuses the container, and is named" cdi_refuses $stage
done
# Those that wait do so together.
for fault in missing exits forks wrecks; do
        for stage in "${STAGES[@]}"; do
                for policy in fail ignore; do
                        case_run $stage $fault $policy &
                        cases[$!]=$!
                done
                wait "${cases[@]}"
                cases=()
        done
done
for fault in hangs floods; do
        for stage in "${STAGES[@]}"; do
                for policy in fail ignore; do
                        case_run $stage $fault $policy &
                        cases[$!]=$!
                done
        done
        wait "${cases[@]}"
        cases=()
done
for stage in "${STAGES[@]}"; do
        for fault in "${FAULTS[@]}"; do
                for policy in fail ignore; do
                        check "$stage: one that $fault, policy $policy" case_held $stage $fault $policy
                done
        done
done
for stage in "${ERASED[@]}"; do
        check "$stage: one that erases the bundle" case_held $stage erases fail
done
check "a flood is not kept: the monitor stays small" test "$(peak "$(monitor_of "$(pod_id box)")")" -lt 16384
check "a container of the same pod did not notice" test "$(gaps "$E2E_TMP/logs/box/ticks.log")" -lt $((2000 * E2E_PATIENCE))
check "nor one of another pod" test "$(gaps "$E2E_TMP/logs/neighbour/ticks.log")" -lt $((2000 * E2E_PATIENCE))
crictl stop --timeout 0 "$beside" >/dev/null
check "their pod can be removed" pod_remove box
check "what hooks left running goes with it" eventually 5 none_left_over

# ---- a pod that goes while its hooks take their time ---------------------------------------------

for stage in "${STAGES[@]::5}"; do
        pod_run "goes-$stage" >/dev/null
        container_run "goes-$stage" "$stage-lasts-fail" 'exec sleep 1000' >/dev/null 2>&1 &
        cases[$!]=$!
done
five_hang() {
        (($(left_over | wc -l) >= 10))
}
check "hooks of five pods hang at five stages" eventually 10 five_hang
begun=$SECONDS
for stage in "${STAGES[@]::5}"; do
        check "a pod goes while its $stage hook hangs" pod_remove "goes-$stage"
done
check "without waiting for its end" test $((SECONDS - begun)) -lt $((10 * E2E_PATIENCE))
for pid in "${cases[@]}"; do
        wait "$pid" || true
done
check "and the hooks go, too" eventually 5 none_left_over

# ---- plugins in a process of their own -------------------------------------------------------------

said() {
        case $1 in
        segv) echo 'its process has ended: killed by signal 11' ;;
        exit) echo 'its process has ended: exit status 3' ;;
        garbage | deaf) echo 'sends what makes no sense\|its process\|send: ' ;;
        nonsense*) echo "hook at container create: $2: " ;;
        *) echo 'its process does not answer and was killed: deadline exceeded' ;;
        esac
}
pod_run deeds >/dev/null
for deed in segv exit hang spin flood garbage deaf nonsense{0..9}; do
        check "a plugin in a process of its own: $deed refuses the container" refuses $deed apart "$(said $deed apart)"
        if [[ $deed != nonsense[1-9] ]]; then
                check "not with the policy ignore" does $deed lenient
        fi
done
check "and costs one call" does adjust apart
check "also with the policy ignore" does adjust lenient
pid=$(held_pid apart)
prlimit --pid "$pid" --as=$(($(awk '/^VmSize/ { print $2 }' "/proc/$pid/status") * 1024 + (16 << 20)))
check "one that eats memory is refused when there is none left" refuses leak apart 'its process has ended: killed by signal'
check "and is there again" does tell apart
kill -s KILL "$(held_pid apart)"
check "one that dies between two calls costs none" does tell apart
check "the kernel would end it first" same "$(cat "/proc/$(held_pid apart)/oom_score_adj")" 1000
check "one in the agent, too, cannot adjust what makes no sense" refuses nonsense1 inside 'inside: '

# ---- NRI plugins -------------------------------------------------------------------------------------

pod_run nri >/dev/null
for deed in crash hang garbage huge flood undecodable nonsense; do
        rogue 90-rogue $deed
        if [[ $deed == nonsense ]]; then
                check "an NRI plugin: nonsense refuses the container, and the plugin is named" rogue_refuses nri $deed
        else
                check "an NRI plugin: $deed does not keep the container from being made" container_create nri rogue-$deed true
                check "and it is dropped" eventually 5 unlisted 90-rogue
        fi
        rogue_end "$ROGUE"
        eventually 5 unlisted 90-rogue
done
check "the agent has kept little of a flood" test "$(peak "$AGENT_PID")" -lt 131072
check "it is the same agent" kill -0 "$AGENT_PID"

pod_remove deeds nri
check "the neighbour is the same process" same "$(crictl inspect --output json "$neighbour" | jq .info.pid)" "$neighbour_pid"
pod_remove neighbour
check "hooks have left no process" eventually 5 none_left_over
leaks_none "nothing stayed behind of any of them"

# ---- a plugin in the agent ------------------------------------------------------------------------------

pod_run survivor >/dev/null
survivor=$(container_run survivor box 'while :; do echo tick; sleep 0.1; done')
survivor_pid=$(crictl inspect --output json "$survivor" | jq .info.pid)
pod_run deeds '.metadata.attempt = 1' >/dev/null
check_not "a plugin in the agent that crashes" does segv inside
check "takes the agent with it" eventually 5 agent_gone
check "and the processes of the others end with it" eventually 5 no_plugin_process
agent_kill
agent_start
check "containers live on" same "$(crictl inspect --output json "$survivor" | jq .info.pid)" "$survivor_pid"
check "what was under way is undone" same "$(crictl ps --all --quiet --pod "$(pod_id deeds)")" ''
pod_remove deeds
check "and the node goes on" container_run survivor late 'exec sleep 1000'

# ---- an NRI plugin that must be there ---------------------------------------------------------------------

agent_stop
agent_start 'nri: {request_timeout: 1s, plugins: {90-rogue: {failure: fail}}}'
check "without it no container is made" rogue_refuses survivor absent
for deed in crash hang garbage huge flood undecodable; do
        rogue 90-rogue $deed
        check "nor with one that must be there: $deed" rogue_refuses survivor $deed
        rogue_end "$ROGUE"
        eventually 5 unlisted 90-rogue
done
rogue 90-rogue adjust
check "with it there is" eval 'container_run survivor rogue-adjust "echo \$TOLD_ROGUE" && eventually 5 grep -q yes $E2E_TMP/logs/survivor/rogue-adjust.log'
rogue_end "$ROGUE"
pod_remove survivor
leaks_none "nothing stayed behind of that, either"
agent_stop

# ---- plugins that cannot be loaded -------------------------------------------------------------------------

sample() {
        cc -shared -fPIC -D_GNU_SOURCE "-DNAME=\"$1\"" "${@:2}" -I"$E2E_TOP/plugins" -o "$E2E_TMP/plugins/$1.so" "$E2E_TOP/tests/plugins/sample.c"
}
sample lies-small -DOPS_SIZE=16
sample lies-plugin -DPLUGIN_SIZE=8
sample crashes '-DIN_PROBE=raise(SIGSEGV)'
echo 'no program' >"$E2E_TMP/plugins/text.so"
chmod 0755 "$E2E_TMP/plugins/text.so"
refused_plugins() {
        local name

        for name in lies-small lies-plugin crashes text absent; do
                echo "    - {plugin: $name, failure: $1}"
                echo "    - {plugin: $name, failure: $1, isolation: process}"
        done | awk -v only="$2" '/isolation/ == (only == "process")'
}
for isolation in agent process; do
        agent_start "hooks:
  plugins:
$(refused_plugins ignore $isolation)"
        for name in lies-small lies-plugin crashes text absent; do
                check "isolation $isolation: plugin $name is left out where it may be" eval \
                        'cringle plugins list | grep -E "^$name .*(refused|not)" || { cringle plugins list; false; }'
        done
        agent_stop
done
for name in lies-small crashes absent; do
        echo "hooks: {plugins: [{plugin: $name}]}" >"$E2E_TMP/etc/conf.d/50-$E2E_NAME.yaml"
        check_not "without $name the agent does not start where it may not" \
                eval 'timeout $((10 * E2E_PATIENCE)) "$AGENT_PROGRAM" --config "$E2E_TMP/etc/config.yaml" 2>>"$E2E_TMP/agent.log"'
        check "and says so" grep "^<3>hook plugin: $name: " "$E2E_TMP/agent.log"
done
e2e_end
