#!/usr/bin/env bash
# What docs/HOOKS.md promises: hooks from files, from the configuration and from plugins, each
# at its stage with what it is to get; what a failure does; changes without a restart.
. "${BASH_SOURCE%/*}/../lib.sh"

HOOKS_D='' # where hook() puts its files

# hook NAME SCRIPT CONDITION STAGE...: a hooks.d file, and the program it names.
hook() {
        local name=$1 script=$2 when=$3

        shift 3
        printf '#!/bin/sh\n%s\n' "$script" >"$E2E_TMP/bin/$name"
        chmod 0755 "$E2E_TMP/bin/$name"
        jq -n --arg path "$E2E_TMP/bin/$name" --argjson when "$when" \
                '{version: "1.0.0", hook: {path: $path, args: [$path, "an-argument"]}, when: $when, stages: $ARGS.positional}' \
                --args "$@" >"$HOOKS_D/$name.json.new"
        mv "$HOOKS_D/$name.json.new" "$HOOKS_D/$name.json"
}

# change NAME FILTER: the hooks.d file, by jq.
change() {
        jq "$2" "$HOOKS_D/$1.json" >"$HOOKS_D/$1.json.new"
        mv "$HOOKS_D/$1.json.new" "$HOOKS_D/$1.json"
}

# for_pods WORD: the condition that holds for pods made by pod_for ... WORD.
for_pods() {
        echo "{\"annotations\": {\"^hooks\\\\.test/$1\$\": \"^yes\$\"}}"
}

# pod_for NAME WORD [VALUE]: a pod with the annotation.
pod_for() {
        pod_run "$1" ".annotations = {\"hooks.test/$2\": \"yes\"}" >/dev/null
}

seen() {
        cut -d' ' -f1 "$E2E_TMP/seen" 2>/dev/null | tr '\n' ' '
}

# state STAGE FIELD: of the state that the hook of the stage got.
state() {
        sed -n "s/^$1 an-argument //p" "$E2E_TMP/seen" | jq -r "$2"
}

# fails POD: a container of it does not run; what was said is in $E2E_TMP/said.
fails() {
        ! container_run "$1" "n$RANDOM" 'sleep 1000' >"$E2E_TMP/said" 2>&1
}

# hooks_line NAME: of the list of hooks.
hooks_line() {
        cringle hooks list | grep "^$1 "
}

# Containers are made until one is as wanted: files count as they are when a container is made.
newcomer_ran() {
        container_run plain "n$RANDOM" 'sleep 1000' >/dev/null
        [[ -e $E2E_TMP/newcomer ]]
}

e2e_begin hooks
registry_start conformance
mkdir -p "$E2E_TMP/bin" "$E2E_TMP/vendor.d" "$E2E_TMP/hooks.d"
chmod 0755 "$E2E_TMP/bin" "$E2E_TMP/vendor.d" "$E2E_TMP/hooks.d"

HOOKS_D=$E2E_TMP/vendor.d
hook masked "touch $E2E_TMP/masked-ran" '{"always": true}' poststart
HOOKS_D=$E2E_TMP/hooks.d
hook masked 'true' '{"always": false}' poststart
for stage in prestart createRuntime createContainer poststart poststop; do
        hook "tell-$stage" "echo \"$stage \$1 \$(/bin/cat)\" >>$E2E_TMP/seen" "$(for_pods tell)" "$stage"
done
hook circumstances "/bin/cat /proc/\$\$/environ >$E2E_TMP/environ
pwd >$E2E_TMP/directory
ls /proc/self/fd >$E2E_TMP/fds
readlink /proc/self/ns/mnt >$E2E_TMP/namespace" "$(for_pods tell)" createRuntime
change circumstances '.hook.env = ["ONLY=this", "PATH=/usr/bin:/bin"]'
hook inside "/usr/bin/readlink /proc/self/ns/mnt >$E2E_TMP/namespace-inside" "$(for_pods tell)" createContainer
hook started 'true' "$(for_pods tell)" startContainer
change started '.hook.path = "/bin/sh" | .hook.args = ["sh", "-c", "echo startContainer >/started"]'
hook refuse 'echo "no licence on this node" >&2; exit 9' "$(for_pods refuse)" createRuntime
hook late-refuse 'echo "cannot be seen" >&2; exit 3' "$(for_pods late-refuse)" poststart
hook first-end 'exit 4' "$(for_pods end)" poststop
hook second-end "touch $E2E_TMP/second-end" "$(for_pods end)" poststop
hook slow '/bin/sleep 1000 & wait' "$(for_pods slow)" createRuntime
change slow '.hook.timeout = 1'
echo '{"version": "1.0.0"' >"$HOOKS_D/broken.json"

agent_start "hooks:
  dirs: ['$E2E_TMP/vendor.d', '$E2E_TMP/missing.d', '$E2E_TMP/hooks.d']
  plugins:
    - plugin: localtime
    - plugin: audit
      settings: {file: '$E2E_TMP/audit.jsonl'}
  declared:
    - name: declared
      stage: poststart
      path: /bin/sh
      args: [-c, '/bin/cat >$E2E_TMP/declared']
      when: {annotations: {'^hooks\\.test/declared\$': '^yes\$'}, namespaces: [^e2e\$], images: [busybox]}
$(for stage in prestart createRuntime createContainer startContainer poststart; do
        echo "    - {name: forgiven-${stage,,}, stage: $stage, path: /bin/sh, args: [-c, 'exit 1'], failure: ignore,"
        echo "       when: {annotations: {'^hooks\\.test/forgiven\$': '^yes\$'}}}"
done)"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

# ---- conditions, masking, the list --------------------------------------------------

pod_run plain >/dev/null
container_run plain plain 'sleep 1000' '.annotations = {"hooks.test/tell": "yes"}' >/dev/null
check "a hook whose condition does not hold for the pod does not run" same "$(seen)" ''
check_not "a file masks its namesake in an earlier directory" test -e "$E2E_TMP/masked-ran"
check "the list tells why a broken file is not in force" \
        eval 'cringle hooks list | grep "hooks.d/broken.json is not in force: bad JSON at byte"'
check "and shows those beside it" hooks_line tell-prestart.json
check "and hooks of the configuration with their policy" eval 'hooks_line forgiven-prestart | grep -w ignore'
check "and plugins with their points" eval 'hooks_line localtime | grep "container create"'

# ---- the stages, and what a hook gets ------------------------------------------------

pod_for told tell
told=$(container_run told told 'cat /started; sleep 1000')
check "the stages before and after the start run in order" \
        same "$(seen)" 'prestart createRuntime createContainer poststart '
check "a hook gets its arguments" grep -q '^createRuntime an-argument {' "$E2E_TMP/seen"
check "the state on its standard input names the container" same "$(state createRuntime .id)" "$told"
check "and its process" test "$(state createRuntime .pid)" -gt 1
check "and where it stands" same "$(state createRuntime .status) $(state poststart .status)" 'creating running'
check "and its bundle" test -e "$(state createRuntime .bundle)/config.json"
check "a hook's environment is its own and nothing else" \
        same "$(tr '\0' '\n' <"$E2E_TMP/environ")" $'ONLY=this\nPATH=/usr/bin:/bin'
check "it works in the bundle" same "$(cat "$E2E_TMP/directory")" "$(state createRuntime .bundle)"
check "it has no files open but stdio" same "$(tr '\n' ' ' <"$E2E_TMP/fds")" '0 1 2 3 '       # 3: ls itself
check "createRuntime runs on the node" \
        same "$(cat "$E2E_TMP/namespace")" "$(readlink "/proc/$AGENT_PID/ns/mnt")"
check_not "createContainer does not" cmp -s "$E2E_TMP/namespace" "$E2E_TMP/namespace-inside"
check "startContainer runs in the container, before its program" \
        eventually 5 eval '[[ $(container_log told told) == startContainer ]]'
crictl stop --timeout 0 "$told" >/dev/null
crictl rm "$told" >/dev/null
check "the stage after the end runs" eventually 5 grep -q '^poststop ' "$E2E_TMP/seen"
check "and is told so" same "$(state poststop '"\(.status) \(.pid)"')" 'stopped 0'

pod_for declared declared
declared=$(container_run declared declared 'sleep 1000')
check "a hook declared in the configuration runs too" same "$(jq -r .id "$E2E_TMP/declared")" "$declared"

# ---- failures ----------------------------------------------------------------------

pod_for refused refuse
check "a container whose hook fails does not start" fails refused
check "the error has the hook's own words" grep 'exit status 9: no licence on this node' "$E2E_TMP/said"
check "and names the hook and its stage" grep "createRuntime hook .*$E2E_TMP/bin/refuse" "$E2E_TMP/said"

pod_for late late-refuse
check "a failing poststart hook is fatal, too" fails late
check "in its own words" grep 'poststart hook .* exit status 3: cannot be seen' "$E2E_TMP/said"
check "and its container does not run" same "$(crictl ps --quiet --pod "$(pod_id late)")" ''

pod_for slow slow
start=$SECONDS
check "a hook that takes longer than it may is a failure" fails slow
check "which says so" grep 'killed at its time limit' "$E2E_TMP/said"
check "and comes when its time is over" test $((SECONDS - start)) -lt 8

pod_for end end
id=$(container_run end end 'sleep 1000')
crictl stop --timeout 0 "$id" >/dev/null
check "a failing poststop hook keeps nothing from being removed" crictl rm "$id"
check "nor the next hook from running" eventually 5 test -e "$E2E_TMP/second-end"

pod_for forgiven forgiven
check "hooks whose failure is ignored stop nothing, at any stage" container_run forgiven forgiven 'sleep 1000'
check "though they ran, and the log has their failures" \
        same "$(grep -o '[a-zA-Z]* hook 1, /bin/sh: exit status 1' "$E2E_TMP/agent.log" | cut -d' ' -f1 | sort | tr '\n' ' ')" \
        'createContainer createRuntime poststart prestart startContainer '

# ---- plugins -----------------------------------------------------------------------

pod_run zone '.annotations = {"localtime.cringle.io/mount": "true"}' >/dev/null
container_run zone zone 'md5sum </etc/localtime; sleep 1000' >/dev/null
check "localtime gives a pod that asks for it the node's time zone" \
        eventually 5 eval '[[ $(container_log zone zone) == "$(md5sum </etc/localtime)" ]]'
pod_run misspelt '.annotations = {"localtime.cringle.io/mount": "yes"}' >/dev/null
check "a plugin's refusal fails the container" fails misspelt
check "in the plugin's words" grep "localtime: annotation localtime.cringle.io/mount: want true or false, not 'yes'" "$E2E_TMP/said"

audited=$(container_run plain audited 'exit 5')
check "audit writes down who ran what" \
        same "$(jq -r "select(.container_id == \"$audited\" and .event == \"start\") | .pod + .args[2]" "$E2E_TMP/audit.jsonl")" \
        'plainexit 5'
audited_exit() {
        [[ $(jq -r "select(.container_id == \"$audited\" and .event == \"exit\") | .exit_code" "$E2E_TMP/audit.jsonl") == 5 ]]
}
check "and how it ended" eventually 10 audited_exit
check "for root's eyes alone" same "$(stat -c %a "$E2E_TMP/audit.jsonl")" 600
mv "$E2E_TMP/audit.jsonl" "$E2E_TMP/audit.jsonl.1"
container_run plain rotated 'sleep 1000' >/dev/null
check "a file that was moved away is made anew" same "$(jq -r .container "$E2E_TMP/audit.jsonl")" rotated

# ---- changes without a restart ---------------------------------------------------------

hook newcomer "touch $E2E_TMP/newcomer" '{"always": true}' poststart
check "a file put into hooks.d later counts without a restart" eventually 10 newcomer_ran
rm "$E2E_TMP/hooks.d/newcomer.json" "$E2E_TMP/newcomer"
container_run plain afterwards 'sleep 1000' >/dev/null
check_not "one that was removed does not" test -e "$E2E_TMP/newcomer"
rm "$HOOKS_D/broken.json"
check_not "a broken file that is gone is forgotten" eval 'cringle hooks list | grep broken'

for id in $(crictl ps --all --quiet); do
        crictl stop --timeout 0 "$id" >/dev/null
        crictl rm "$id" >/dev/null
done
pod_remove plain told declared refused late slow end forgiven zone misspelt
leaks_none "nothing stayed behind of any of them"
e2e_end
