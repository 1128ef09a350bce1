#!/usr/bin/env bash
# Hooks from hooks.d: each stage runs once, in order, with the state on its standard input; one
# that fails stops the container from starting and leaves nothing.
. "${BASH_SOURCE%/*}/../lib.sh"

# hook NAME SCRIPT CONDITION STAGE...: a hooks.d file, and the program it names.
hook() {
        local name=$1 script=$2 when=$3

        shift 3
        printf '#!/bin/sh\n%s\n' "$script" >"$E2E_TMP/bin/$name"
        chmod 0755 "$E2E_TMP/bin/$name"
        jq -n --arg path "$E2E_TMP/bin/$name" --argjson when "$when" \
                '{version: "1.0.0", hook: {path: $path, args: [$path, "an-argument"]}, when: $when, stages: $ARGS.positional}' \
                --args "$@" >"$E2E_TMP/hooks.d/$name.json.new"
        mv "$E2E_TMP/hooks.d/$name.json.new" "$E2E_TMP/hooks.d/$name.json"
}

seen() {
        cut -d' ' -f1 "$E2E_TMP/seen" 2>/dev/null | tr '\n' ' '
}

annotated() {
        echo ".annotations = {\"hooks.test/$1\": \"yes\"}"
}

# A container is made for each try, for hooks.d is read when something changed in it.
newcomer_ran() {
        container_run hooked "n$RANDOM" 'sleep 1000' >/dev/null
        [[ -e $E2E_TMP/newcomer ]]
}

e2e_begin hooks
registry_start conformance
mkdir -p "$E2E_TMP/bin" "$E2E_TMP/hooks.d"
for stage in prestart createRuntime poststart poststop; do
        hook "tell-$stage" "echo \"$stage \$1 \$(cat)\" >>$E2E_TMP/seen" '{"annotations": {"^hooks\\.test/tell$": "^yes$"}}' "$stage"
done
hook refuse 'echo "no licence on this node" >&2; exit 9' '{"annotations": {"^hooks\\.test/refuse$": "yes"}}' createRuntime
hook slow 'exec sleep 1000' '{"annotations": {"^hooks\\.test/slow$": "yes"}}' createRuntime
sed -i 's/"args"/"timeout": 1, "args"/' "$E2E_TMP/hooks.d/slow.json"
agent_start "hooks:
  declared:
    - name: declared
      stage: poststart
      path: /bin/sh
      args: [-c, 'cat >$E2E_TMP/declared']
      when: {annotations: {'^hooks\\.test/declared\$': '^yes\$'}}"
crictl pull "$E2E_IMAGE" >/dev/null
pod_run hooked >/dev/null
leaks_begin

container_run hooked plain 'sleep 1000' >/dev/null
check "a hook whose condition does not hold does not run" same "$(seen)" ''

told=$(container_run hooked told 'sleep 1000' "$(annotated tell)")
check "the stages before and after the start run in order" same "$(seen)" 'prestart createRuntime poststart '
check "they get their arguments" grep -q '^createRuntime an-argument {' "$E2E_TMP/seen"
check "the state on their standard input names the container" \
        same "$(sed -n 's/^createRuntime an-argument //p' "$E2E_TMP/seen" | jq -r .id)" "$told"
check "and its process" test "$(sed -n 's/^createRuntime an-argument //p' "$E2E_TMP/seen" | jq -r .pid)" -gt 1
crictl stop --timeout 0 "$told" >/dev/null
crictl rm "$told" >/dev/null
check "the stage after the end runs" eventually 5 grep -q '^poststop ' "$E2E_TMP/seen"

declared=$(container_run hooked declared 'sleep 1000' "$(annotated declared)")
check "a hook declared in the configuration runs too" same "$(jq -r .id "$E2E_TMP/declared")" "$declared"

refused() {
        container_run hooked refused 'sleep 1000' "$(annotated refuse)" >"$E2E_TMP/refused.out" 2>&1
}
check_not "a container whose hook fails does not start" refused
check "the error has the hook's own words" grep 'no licence on this node' "$E2E_TMP/refused.out"
check "and names the hook" grep "$E2E_TMP/bin/refuse" "$E2E_TMP/refused.out"

late() {
        container_run hooked late 'sleep 1000' "$(annotated slow)"
}
start=$SECONDS
check_not "a hook that takes longer than it may is a failure" late
check "which comes when its time is over" test $((SECONDS - start)) -lt 8

hook newcomer "touch $E2E_TMP/newcomer" '{"always": true}' poststart
check "a file put into hooks.d later counts without a restart" eventually 10 newcomer_ran
rm "$E2E_TMP/hooks.d/newcomer.json"

for id in $(crictl ps --all --quiet); do
        crictl stop --timeout 0 "$id" >/dev/null
        crictl rm "$id" >/dev/null
done
leaks_none "nothing stayed behind of any of them"
pod_remove hooked
e2e_end
