#!/usr/bin/env bash
# Seeing what hooks do: the list with its counts, the trace, errors that say whose a hook is, and that files and
# directories count at once on an agent with pods.
. "${BASH_SOURCE%/*}/../lib.sh"

# file NAME SCRIPT WORD STAGE...: a hooks.d file for pods of pod_for ... WORD.
file() {
        local name=$1 script=$2 word=$3

        shift 3
        jq -n --arg script "$script" --arg key "^tools\\.test/$word\$" \
                '{version: "1.0.0", hook: {path: "/bin/sh", args: ["sh", "-c", $script], timeout: 1},
                  when: {annotations: {($key): "^yes$"}}, stages: $ARGS.positional}' --args "$@" >"$HOOKS_D/$name.new"
        mv "$HOOKS_D/$name.new" "$HOOKS_D/$name"
}

pod_for() {
        pod_run "$1" ".annotations = {\"tools.test/$2\": \"yes\"}" >/dev/null
}

# fails POD: a container of it is not to be had; what was said is in $E2E_TMP/said.
fails() {
        ! container_run "$1" "n$RANDOM" 'sleep 1000' >"$E2E_TMP/said" 2>&1
}

# hook NAME FILTER: of its object in the list.
hook() {
        cringle hooks list -o json | jq -rc --arg name "$1" ".[] | select(.name == \$name) | $2"
}

is() {
        [[ $(hook "$1" "$2") == "$3" ]]
}

listed() {
        cringle hooks list -o json | jq -e --arg name "$1" 'any(.name == $name)' >/dev/null
}

status_says() {
        cringle status | grep -F -- "$1" || {
                cringle status
                return 1
        }
}

# What CRI's own Status says of a hook that is not in force.
crictl_says() {
        crictl info | jq -e --arg origin "$1" --arg message "$2" \
                '.. | objects | select(.origin? == $origin and .state? == "not in force") | .message | contains($message)'
}

# trace_start FILE ARGUMENT...: until trace_end; with the header it is sure to be told everything.
trace_start() {
        local out=$1

        shift
        "$CLI_PROGRAM" --socket "$SOCKET" hooks trace "$@" >"$out" 2>"$out.err" &
        TRACE_PID=$!
        at_exit stop_pid "$TRACE_PID"
        [[ " $* " == *" json "* ]] || eventually 5 grep -q '^TIME ' "$out"
}

# trace_end: as Ctrl-C does; its exit status.
trace_end() {
        kill -s INT "$TRACE_PID"
        wait "$TRACE_PID"
}

# traced FILE EXPRESSION...: a line that has all of them.
traced() {
        local out=$1 lines

        shift
        lines=$(cat "$out")
        while (($# > 0)); do
                lines=$(grep -E -- "$1" <<<"$lines") || {
                        echo "no $1 in:" && cat "$out"
                        return 1
                }
                shift
        done
}

e2e_begin hooks-tools
registry_start conformance
mkdir -p "$E2E_TMP/hooks.d" "$E2E_TMP/cdi"
chmod 0755 "$E2E_TMP/hooks.d" "$E2E_TMP/cdi"
HOOKS_D=$E2E_TMP/hooks.d

file 10-good.json 'true' good prestart createRuntime createContainer poststart poststop
file 20-bad.json 'echo "no such card" >&2; exit 5' bad createRuntime
file 30-slow.json 'sleep 1000' slow poststart
file 40-late.json 'echo late >&2; exit 3' late poststop
cat >"$E2E_TMP/cdi/acme.yaml" <<'Y'
cdiVersion: 0.5.0
kind: acme.com/gadget
devices:
  - name: zero
    containerEdits:
      env: [GADGET=zero]
      hooks: [{hookName: createRuntime, path: /bin/true}]
Y
agent_start "hooks:
  dirs: ['$HOOKS_D']
  plugins:
    - plugin: localtime
    - {plugin: environment, isolation: process, timeout: 4s, settings: {rules: ['name=FROM_HOOK value=here']}}
  declared:
    - {name: inside, stage: startContainer, path: /bin/sh, args: [-c, 'exit 6'], failure: ignore,
       when: {annotations: {'^tools\\.test/inside\$': '^yes\$'}}}
cdi: {dirs: ['$E2E_TMP/cdi'], pod_annotations: true}"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

# ---- the list ----------------------------------------------------------------------

check "the list knows who runs where" same \
        "$(hook localtime .isolation) $(hook environment .isolation) $(hook 10-good.json .isolation) $(hook acme.com/gadget=zero .isolation)" \
        'agent process process '
check "and for how long" same "$(hook environment .timeoutNanoseconds) $(hook 10-good.json .timeoutNanoseconds)" \
        '4000000000 1000000000'
check "and in which order" same \
        "$(cringle hooks list -o json | jq -rc '[.[] | .name]')" \
        '["localtime","environment","acme.com/gadget=zero","10-good.json","20-bad.json","30-slow.json","40-late.json","inside"]'
check "which the table has, too" eval 'cringle hooks list | grep -E "^10-good.json +hooks.d +4 +prestart,createRuntime,.* fail +process +1s "'

pod_for good good
good=$(container_run good good 'sleep 1000')
check "a hook of hooks.d is counted at each of its stages" eventually 5 is 10-good.json '[.containers, .calls, .failures]' '[1,4,0]'
check "with the time it took" test "$(hook 10-good.json .nanoseconds)" -gt 100000
check "and the longest call" eval '(($(hook 10-good.json .longestNanoseconds) <= $(hook 10-good.json .nanoseconds)))'
crictl stop --timeout 0 "$good" >/dev/null
crictl rm "$good" >/dev/null
check "the stage after the end is counted, too" eventually 5 is 10-good.json .calls 5
check "a plugin's calls are counted" test "$(hook localtime .calls)" -ge 1
check "also those in a process of its own" test "$(hook environment .calls)" -ge 1

# ---- errors -------------------------------------------------------------------------

pod_for bad bad
check "a container whose hook fails is not made" fails bad
check "the error names the file, the stage, the status and the hook's last words" grep -F \
        "hooks.d:20-bad.json ($HOOKS_D/20-bad.json): createRuntime hook 1, /bin/sh: exit status 5: no such card" "$E2E_TMP/said"
check "the list has it" eventually 5 is 20-bad.json '[.calls, .failures, .timeouts]' '[1,1,0]'
check "and the last failure" eval 'hook 20-bad.json .lastFailure | grep -F "exit status 5: no such card"'
check "the log has one line, of what it stopped" same \
        "$(grep 'hooks.d:20-bad.json .*no such card' "$E2E_TMP/agent.log" | sed -E 's/.*\] (create container) [0-9a-f]{12}: .*/\1/')" 'create container'
pod_for slow slow
check "one that is too slow fails, too" fails slow
check "and is counted as a time-out" eventually 5 is 30-slow.json '[.failures, .timeouts]' '[1,1]'
pod_for inside inside
inside=$(container_run inside inside 'sleep 1000')
check "a failure that is ignored is counted" eventually 5 is inside '[.calls, .failures]' '[1,1]'
check "and logged once, with its name and both ids" eventually 5 grep -qE \
        "hook failed: pod $(pod_id inside | cut -c1-12) container ${inside:0:12}: yaml:inside \(.*\): startContainer hook 1, .* exit status 6; ignored" \
        "$E2E_TMP/agent.log"
pod_for late late
late=$(container_run late late 'sleep 1000')
crictl stop --timeout 0 "$late" >/dev/null
crictl rm "$late" >/dev/null
check "so is one after the end, which stops nothing" eventually 5 is 40-late.json '[.calls, .failures]' '[1,1]'

# ---- the trace ----------------------------------------------------------------------

trace_start "$E2E_TMP/all"
all=$TRACE_PID
trace_start "$E2E_TMP/some" --pod e2e/good --hook hooks.d:10-good.json
some=$TRACE_PID
trace_start "$E2E_TMP/json" -o json --hook acme.com/gadget=zero
pod_run traced '.annotations = {"tools.test/good": "yes", "localtime.cringle.io/mount": "true", "cdi.k8s.io/x": "acme.com/gadget=zero"}' >/dev/null
container_run traced traced 'sleep 1000' >/dev/null
container_run good again 'sleep 1000' >/dev/null
check "a trace has what a plugin set" eventually 5 traced "$E2E_TMP/all" 'e2e/traced/traced +container create +plugin:localtime +ok .*mount /etc/localtime'
check "also one in a process of its own" traced "$E2E_TMP/all" 'plugin:environment +ok .*variable FROM_HOOK'
check "a device, and what it set" traced "$E2E_TMP/all" 'cdi:acme.com/gadget=zero +ok .*requested -> variable GADGET'
check "that a file was added, and why" traced "$E2E_TMP/all" 'container create +hooks.d:10-good.json +added ' \
        'annotation .* holds -> hooks.prestart, hooks.createRuntime'
for stage in prestart createRuntime createContainer poststart; do
        check "its call at $stage" eventually 5 traced "$E2E_TMP/all" "e2e/traced/traced +$stage +hooks.d:10-good.json +ok +[0-9.]+ms +annotation "
done
check "a filtered trace has its pod and hook" eventually 5 traced "$E2E_TMP/some" 'e2e/good/again +poststart +hooks.d:10-good.json +ok'
check_not "and no other" grep -E 'traced|plugin:' "$E2E_TMP/some"
check "as JSON it is an object a line" eval \
        'jq -se "any(.stage == \"container create\" and .changes[0] == \"variable GADGET\") and any(.stage == \"createRuntime\" and .result == \"ok\" and .podName == \"traced\")" "$E2E_TMP/json"'
fails bad
check "a failed call says so, and why" eventually 5 traced "$E2E_TMP/all" 'createRuntime +hooks.d:20-bad.json +failed .*no such card'
fails slow
check "as does one that was too slow" eventually 5 traced "$E2E_TMP/all" 'poststart +hooks.d:30-slow.json +timed out'
check "Ctrl-C ends it well" trace_end
TRACE_PID=$some
check "with a filter, too" trace_end
TRACE_PID=$all
check "and the last" trace_end
check "without a word of complaint" same "$(cat "$E2E_TMP"/{all,some,json}.err)" ''
check "its calls were counted all the same" test "$(hook 10-good.json .calls)" -ge 12

# A client that does not read: it is told how many it has missed, and the agent keeps but so many for it.
mkfifo "$E2E_TMP/pipe"
"$CLI_PROGRAM" --socket "$SOCKET" hooks trace >"$E2E_TMP/pipe" 2>/dev/null &
TRACE_PID=$!
at_exit stop_pid "$TRACE_PID"
exec 7<"$E2E_TMP/pipe"
read -r -u 7 first
check "a trace begins with a header" eval '[[ $first == TIME* ]]'
kill -s STOP "$TRACE_PID"
container_run good unread 'sleep 1000' >/dev/null
check "the agent works on while a client does not read" eventually 5 container_is "$(crictl ps -q --name unread)" RUNNING
kill -s CONT "$TRACE_PID"
check "who reads again is told" eval 'timeout 10 grep -qm1 "e2e/good/unread" <&7'
exec 7<&-
container_run good gone 'sleep 1000' >/dev/null
check "a trace whose reader is gone ends" eventually 5 eval '! kill -0 $TRACE_PID 2>/dev/null || [[ $(process_state $TRACE_PID) == Z ]]'

# ---- files come and go, with pods there ---------------------------------------------

echo '{"version": "1.0.0"' >"$HOOKS_D/50-broken.json"
check "a broken file is in the status at once" status_says "$HOOKS_D/50-broken.json"
check "and in CRI's" crictl_says "$HOOKS_D/50-broken.json" 'bad JSON'
check "and in the list, not in force" same "$(hook 50-broken.json .order)" 0
file 50-broken.json 'true' good poststart
check_not "mended, it is no more" status_says 50-broken.json
check "but is in the list" same "$(hook 50-broken.json '.error + .stages')" poststart
rm "$HOOKS_D/50-broken.json"
check_not "removed, it is gone" listed 50-broken.json

mv "$HOOKS_D" "$HOOKS_D.aside"
check_not "a directory that vanishes takes its hooks along" listed 10-good.json
check "which is no error" eval '! cringle status | grep warning'
mkdir "$E2E_TMP/other"
echo '{}' >"$E2E_TMP/other/60-other.json"
ln -s "$E2E_TMP/other" "$HOOKS_D"
check "a link in its place counts at once" listed 60-other.json
check "so does what is wrong behind it" status_says "$HOOKS_D/60-other.json: no 'hook'"
rm "$HOOKS_D"
mv "$HOOKS_D.aside" "$HOOKS_D"
check "and the old one, put back" listed 10-good.json
check_not "nothing is left of the other" status_says 60-other.json
check "counts have outlived that" test "$(hook 10-good.json .calls)" -ge 12

cat >"$E2E_TMP/etc/conf.d/90-more.yaml" <<Y
hooks:
  declared: !append
    - {name: more, stage: poststart, path: /bin/true, when: {annotations: {'^tools\\.test/good\$': '^yes\$'}}}
Y
check "a drop-in counts after a reload" eval 'cringle reload && listed more && listed inside'
container_run good reloaded 'sleep 1000' >/dev/null
check "and runs" eventually 5 is more .calls 1
rm "$E2E_TMP/etc/conf.d/90-more.yaml"
check "without it, it is gone" eval 'cringle reload && ! listed more'

sed -i 's/zero/one/' "$E2E_TMP/cdi/acme.yaml"
check "a CDI file that changes counts at once" eval 'listed acme.com/gadget=one && ! listed acme.com/gadget=zero'
echo 'kind: 7' >"$E2E_TMP/cdi/bad.yaml"
check "a bad one is in the status" status_says "$E2E_TMP/cdi/bad.yaml"
rm "$E2E_TMP/cdi/bad.yaml"
check_not "until it is gone" status_says bad.yaml

# ---- while the agent is away -----------------------------------------------------------

file 35-away.json "touch $E2E_TMP/began; sleep 0.9" away poststart
pod_for away away
container_run away away 'sleep 1000' >/dev/null 2>&1 &
creator=$!
at_exit stop_pid "$creator"
check "a hook is under way" eventually 10 test -e "$E2E_TMP/began"
agent_kill
sleep 1.5
wait "$creator" || true
agent_start "hooks: {dirs: ['$HOOKS_D']}"
check "a hook that ended while the agent was away is told later" eventually 10 is 35-away.json '[.calls, .failures]' '[1,0]'

for id in $(crictl ps --all --quiet); do
        crictl stop --timeout 0 "$id" >/dev/null
        crictl rm "$id" >/dev/null
done
pod_remove good bad slow inside late traced away
leaks_none "nothing stayed behind"
e2e_end
