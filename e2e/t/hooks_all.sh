#!/usr/bin/env bash
# Hooks of every kind, each alone and all together: that each does its part, in the documented order, as
# seen from inside the container.  Then all of it, and devices, change under an agent that runs on.
. "${BASH_SOURCE%/*}/../lib.sh"

# In the order in which docs/HOOKS.md says that they come; `rogue` is the NRI plugin.
SOURCES=(first second rogue device new old declared)

# What a hook of each kind does: it writes its name into the container's /order.
writes() {
        echo "echo $1 >>/order"
}

# wanted SOURCE...: the pod's annotations that ask for these.
wanted() {
        local source

        echo '{"file": "/order"'
        for source; do
                case $source in
                first | second | third) echo ", \"do.$source\": \"tell\"" ;;
                device) echo ', "cdi.k8s.io/all": "acme.com/order=device"' ;;
                new) echo ', "all.test/new": "yes"' ;;
                old) echo ', "all.test/old": "old-hook-wanted"' ;;
                declared) echo ', "all.test/declared": "yes"' ;;
                esac
        done
        echo '}'
}

# says POD SCRIPT [FILTER]: what a container of it writes.
says() {
        local name=s$RANDOM$RANDOM id

        id=$(container_run "$1" "$name" "$2" "${3-.}") || return
        eventually 5 container_is "$id" EXITED
        container_log "$1" "$name"
        crictl rm "$id" >/dev/null
}

# order POD: of the hooks that a container of it has seen, in one line; more that it says goes to $E2E_TMP/said.
order() {
        says "$1" 'cat /order 2>/dev/null; echo ---; env' >"$E2E_TMP/output" || return
        sed '1,/^---$/d' "$E2E_TMP/output" >"$E2E_TMP/said"
        sed '/^---$/,$d' "$E2E_TMP/output" | tr '\n' ' '
}

# hooks_d FILE JSON, cdi FILE JSON: put it there as a whole.
hooks_d() {
        printf '%s' "$2" >"$E2E_TMP/hooks.d/.new"
        mv "$E2E_TMP/hooks.d/.new" "$E2E_TMP/hooks.d/$1"
}

cdi() {
        printf '%s' "$2" >"$E2E_TMP/cdi/.new"
        mv "$E2E_TMP/cdi/.new" "$E2E_TMP/cdi/$1"
}

always() {
        jq -n --arg script "$(writes "$1")" '{version: "1.0.0", hook: {path: "/bin/sh", args: ["sh", "-c", $script]},
                when: {always: true}, stages: ["startContainer"]}'
}

gadget() {
        jq -n --arg host "$1" --arg value "$2" '{cdiVersion: "0.5.0", kind: "acme.com/gadget", devices: [{name: "late", containerEdits: {
                env: ["GADGET=" + $value], deviceNodes: [{path: "/dev/gadget", hostPath: $host}]}}]}'
}

wants() {
        echo ".CDI_devices = [{name: \"$1\"}]"
}

# configure MORE: the configuration of the hooks, with more entries of `declared`; not yet read.
configure() {
        cat >"$E2E_TMP/etc/conf.d/50-$E2E_NAME.yaml" <<Y
cdi: {dirs: ['$E2E_TMP/cdi'], pod_annotations: true}
hooks:
  dirs: [$dirs]
  plugins:
    - {plugin: first, failure: $policy, settings: {word: $word}}
    - {plugin: second, isolation: $isolation, settings: {word: $word}}
$third
  declared:
    - name: declared
      stage: startContainer
      path: /bin/sh
      args: [-c, '$(writes declared)']
      when: {annotations: {'^all\\.test/declared\$': '^yes\$'}}
$1
Y
}

late_yaml() {
        echo "    - {name: late, stage: startContainer, path: /bin/sh, args: [-c, '$(writes "$1")'], when: {pods: ['^none\$']}}"
}

e2e_begin hooks_all
registry_start conformance
mkdir -p "$E2E_TMP/plugins" "$E2E_TMP/cdi" "$E2E_TMP/hooks.d" "$E2E_TMP/more.d"
chmod 0755 "$E2E_TMP/plugins" "$E2E_TMP/cdi" "$E2E_TMP/hooks.d" "$E2E_TMP/more.d"
for name in first second third; do
        cc -shared -fPIC -D_GNU_SOURCE -DNAME=$name -I"$E2E_TOP/plugins" -o "$E2E_TMP/plugins/$name.so" "$E2E_TOP/tests/plugins/troubled.c"
done
hooks_d 10-new.json "$(always new | jq '.when = {annotations: {"^all\\.test/new$": "^yes$"}}')"
hooks_d 20-OLD.json "$(jq -n --arg script "$(writes old)" \
        '{hook: "/bin/sh", arguments: ["-c", $script], stages: ["startContainer"], annotations: ["^old-hook-wanted$"]}')"
cdi order.json "$(jq -n --arg script "$(writes device)" '{cdiVersion: "0.5.0", kind: "acme.com/order", devices: [{name: "device", containerEdits: {
        env: ["TOLD_device=yes"], hooks: [{hookName: "startContainer", path: "/bin/sh", args: ["sh", "-c", $script]}]}}]}')"

policy=fail word=one isolation=process third='' dirs="'$E2E_TMP/hooks.d'"
agent_setup
sed -i "s|^plugins: {dirs: \[|&$E2E_TMP/plugins, |" "$E2E_TMP/etc/config.yaml"
configure ''
agent_start
agent=$AGENT_PID
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
pod_run steady >/dev/null
steady=$(container_run steady box 'while :; do echo tick; sleep 0.2; done')
steady_pid=$(crictl inspect --output json "$steady" | jq .info.pid)

# ---- each alone ----------------------------------------------------------------------------

pod_run none >/dev/null
check "without a wish there is no hook" same "$(order none)" ''
for source in "${SOURCES[@]}"; do
        [[ $source != rogue ]] || continue
        pod_run "$source" ".annotations = $(wanted "$source")" >/dev/null
        check "alone: $source" same "$(order "$source")" "$source "
        pod_remove "$source"
done
"$E2E_DIR/tools/nri-rogue" "$AGENT_STATE/nri.sock" 50-rogue tell &
rogue=$!
rogue_leaves() {
        kill "$rogue" 2>/dev/null || true
        wait "$rogue" 2>/dev/null || true
}
at_exit rogue_leaves
eventually 10 eval 'cringle hooks list | grep -q "^50-rogue "'
check "alone: rogue" same "$(order none)" 'rogue '

# ---- all together ---------------------------------------------------------------------------

pod_run all ".annotations = $(wanted "${SOURCES[@]}")" >/dev/null
check "all together come in the documented order" same "$(order all)" "${SOURCES[*]} "
check "those that adjust see what those before them did" \
        same "$(grep '^SEEN' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'SEEN_rogue=one SEEN_second=one '
check "and all have adjusted" same "$(grep -c '^TOLD_' "$E2E_TMP/said")" 4
check "the list has them in the same order" same \
        "$(cringle hooks list | awk 'NR > 1 && NF > 5 && !/is not in force/ { print $1 }' | tr '\n' ' ')" \
        'first second 50-rogue acme.com/order=device 10-new.json 20-OLD.json declared '
cat >"$E2E_TMP/pod.yaml" <<Y
apiVersion: v1
kind: Pod
metadata: {name: all, namespace: e2e, annotations: $(wanted "${SOURCES[@]}")}
spec: {containers: [{name: box, image: $E2E_IMAGE, command: [sleep, '9']}]}
Y
cringle hooks explain "$E2E_TMP/pod.yaml" >"$E2E_TMP/explained"
check "so has the explanation, without NRI plugins, which only take part for real" \
        same "$(awk '$1 == "*" { print $2 }' "$E2E_TMP/explained" | tr '\n' ' ')" \
        'first second cdi 10-new.json 20-OLD.json declared '
rogue_leaves
eventually 10 eval '! cringle hooks list | grep -q "^50-rogue "'
check "without the NRI plugin the others are as before" same "$(order all)" 'first second device new old declared '
pod_remove all

# ---- changes under a running agent -------------------------------------------------------------

hooks_d 30-late.json "$(always late)"
check "hooks.d: a file that is added counts" same "$(order none)" 'late '
hooks_d 30-late.json "$(always changed)"
check "one that is changed counts as it is" same "$(order none)" 'changed '
hooks_d 30-late.json "$(always late | jq '.hook.path = "/no/such"')"
check "one whose program is missing does not count" same "$(order none)" ''
check "which the list says" eval "cringle hooks list | grep '30-late.json is not in force: hook.path /no/such: No such file'"
rm "$E2E_TMP/hooks.d/30-late.json"
check "nor does one that is removed" same "$(order none)" ''

configure "$(late_yaml late)"
check "YAML: a hook that is added does not count yet" same "$(order none)" ''
check "the configuration is read again" cringle reload
check "and now it does" same "$(order none)" 'late '
configure "$(late_yaml changed)"
cringle reload >/dev/null
check "one that is changed counts as it is" same "$(order none)" 'changed '
configure "$(late_yaml bad)
    - {name: worse, stage: sometime, path: /bin/sh}"
check_not "a configuration with an error is refused" cringle reload
check "and nothing has changed" same "$(order none)" 'changed '
configure ''
cringle reload >/dev/null
check "one that is removed is gone" same "$(order none)" ''
printf '%s' "$(always more)" >"$E2E_TMP/more.d/00-more.json"
dirs+=", '$E2E_TMP/more.d'"
configure ''
cringle reload >/dev/null
check "another directory of hooks counts" same "$(order none)" 'more '
rm "$E2E_TMP/more.d/00-more.json"

check_not "CDI: a device that nobody describes cannot be had" container_create none early true "$(wants acme.com/gadget=late)"
cdi gadget.json "$(gadget /dev/zero first)"
check "one that is added can" same "$(says none 'echo $GADGET; head -c 3 /dev/gadget | wc -c' "$(wants acme.com/gadget=late)")" $'first\n3'
cdi gadget.json "$(gadget /dev/null second)"
check "one that is changed is as it is" same \
        "$(says none 'echo $GADGET; head -c 3 /dev/gadget | wc -c' "$(wants acme.com/gadget=late)")" $'second\n0'
rm "$E2E_TMP/cdi/gadget.json"
check_not "one that is removed cannot be had" container_create none late true "$(wants acme.com/gadget=late)"

pod_run native ".annotations = $(wanted first second third)" >/dev/null
word=two
configure ''
check "plugins: new settings are taken over" eval 'cringle reload | grep -c "hook plugin \(first\|second\): new settings" | grep -qx 2'
order native >/dev/null
check "in the agent, and in a process of its own" same "$(grep '^TOLD_' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'TOLD_first=two TOLD_second=two '
word=bad
configure "$(late_yaml never)"
check_not "settings that a plugin refuses are refused" cringle reload
check "with all that came with them" same "$(order none)" ''
order native >/dev/null
check "and the former stay" same "$(grep '^TOLD_' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'TOLD_first=two TOLD_second=two '
word=two
check_not "a plugin with the policy fail refuses" container_create none refused true '.annotations = {"do.first": "refuse"}'
third='    - {plugin: third, settings: {word: three}}'
configure ''
check "a plugin can be loaded" eval 'cringle reload | grep -cx "applied: hook plugin third: loaded" >/dev/null'
order native >/dev/null
check "and is called" same "$(grep '^TOLD_' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'TOLD_first=two TOLD_second=two TOLD_third=three '
third='    - {plugin: third, isolation: process, settings: {word: other}}' isolation=agent
configure ''
check "plugins can be moved to a process of their own, and back" eval 'cringle reload >"$E2E_TMP/reloaded" &&
        same "$(grep -cxE "applied: hook plugin (second|third): (loaded|left out)" "$E2E_TMP/reloaded")" 4'
order native >/dev/null
check "and are called" same "$(grep '^TOLD_' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'TOLD_first=two TOLD_second=two TOLD_third=other '
third='    - {plugin: nowhere}'
configure ''
check_not "one that is not there refuses the reload" eval 'cringle reload >/dev/null 2>&1'
order native >/dev/null
check "and changes nothing" same "$(grep '^TOLD_' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'TOLD_first=two TOLD_second=two TOLD_third=other '
third=''
configure "    - {name: wrong, stage: startContainer, path: /bin/sh, args: ['{no.such.template'], when: {pods: ['(']}}"
check_not "a hook of the YAML that makes no sense refuses the reload" eval 'cringle reload >/dev/null 2>&1'
order native >/dev/null
check "also for plugins" same "$(grep '^TOLD_' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'TOLD_first=two TOLD_second=two TOLD_third=other '
configure ''
check "a plugin can be left out" eval 'cringle reload | grep -cx "applied: hook plugin third: left out" >/dev/null'
order native >/dev/null
check "and is called no more" same "$(grep '^TOLD_' "$E2E_TMP/said" | sort | tr '\n' ' ')" 'TOLD_first=two TOLD_second=two '
check "its directories stay for the next time" rmdir "$E2E_TMP/root/plugins/third" "$E2E_TMP/run/plugins/third"
check "nor has it a process any more" eventually 10 eval '! pgrep -P "$AGENT_PID" -f -- "--host-plugin.*third"'
policy=ignore
configure ''
cringle reload >/dev/null
check "with the policy ignore it does not" container_create none ignored true '.annotations = {"do.first": "refuse"}'

check "all the time it was the same agent" same "$AGENT_PID $(process_state "$agent" | tr -d Z)" "$agent S"
check "and a pod ran on" same "$(crictl inspect --output json "$steady" | jq .info.pid)" "$steady_pid"
pod_remove steady none native
leaks_none "nothing stays behind"
e2e_end
