#!/usr/bin/env bash
# Devices by CDI: what a container is given, who may ask and how, and files that come, change and
# go while pods run.
. "${BASH_SOURCE%/*}/../lib.sh"

# cdi FILE JSON: put it there as a whole.
cdi() {
        printf '%s' "$2" >"$E2E_TMP/cdi/.new"
        mv "$E2E_TMP/cdi/.new" "$E2E_TMP/cdi/$1"
}

wants() {
        echo ".CDI_devices = [{name: \"$1\"}]"
}

# A container that runs to its end; prints its log.
output() {
        local id

        id=$(container_run box "$@") && eventually 10 container_is "$id" EXITED && container_log box "$1"
}

# refused DEVICE: no container can be made; what was said is in $E2E_TMP/said.
refused() {
        ! container_create box "n$RANDOM" true "$(wants "$1")" >"$E2E_TMP/said" 2>&1
}

list_has() {
        cringle hooks list | grep -q -- "$1"
}

e2e_begin cdi
registry_start conformance
mkdir -p "$E2E_TMP/cdi" "$E2E_TMP/high" "$E2E_TMP/shared"
chmod 0755 "$E2E_TMP/cdi" "$E2E_TMP/high"
echo from-the-node >"$E2E_TMP/shared/file"
printf '#!/bin/sh\n/bin/cat >%s/state\n' "$E2E_TMP" >"$E2E_TMP/hook"
chmod 0755 "$E2E_TMP/hook"
agent_start "cdi: {dirs: [$E2E_TMP/cdi, $E2E_TMP/high]}"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
pod_run box >/dev/null

cdi acme.yaml "
cdiVersion: 0.7.0
kind: acme.com/gadget
containerEdits:
  env: [GADGETS=here]
  additionalGids: [4711]
devices:
  - name: zero
    containerEdits:
      env: [GADGET=zero]
      deviceNodes: [{path: /dev/gadget0, hostPath: /dev/zero, permissions: rw, fileMode: 0666}]
      mounts: [{hostPath: $E2E_TMP/shared, containerPath: /opt/gadget, options: [bind, ro]}]
      hooks: [{hookName: createRuntime, path: $E2E_TMP/hook, args: [hook]}]
  - name: one
    containerEdits:
      deviceNodes: [{path: /dev/gadget1, hostPath: /dev/fuse, permissions: none}]
  - name: two
    containerEdits:
      deviceNodes: [{path: /dev/gadget2, hostPath: /dev/fuse}]
"
said=$(output zero 'echo $GADGETS $GADGET; cat /opt/gadget/file; id -G; head -c 3 /dev/gadget0 | wc -c
touch /opt/gadget/x 2>/dev/null || echo read-only; ls /dev/gadget1 2>/dev/null || echo no other' "$(wants acme.com/gadget=zero)")
check 'a container gets variables, mounts, groups and a node that works' same "$said" 'here zero
from-the-node
0 4711
3
read-only
no other'
check 'the hook of the device ran' same "$(jq -r .status "$E2E_TMP/state")" creating
said=$(output none '(: <>/dev/gadget1) 2>/dev/null || echo denied' "$(wants acme.com/gadget=one)")
check 'a node with permissions none cannot be used' same "$said" denied
said=$(output all '(: <>/dev/gadget2) && echo allowed' "$(wants acme.com/gadget=two)")
check 'one without can' same "$said" allowed
said=$(output plain 'echo ${GADGETS-none}; ls /dev/gadget0 2>/dev/null || echo no node')
check 'who does not ask is given nothing' same "$said" 'none
no node'
said=$(output legacy 'echo $GADGET' '.annotations = {"cdi.k8s.io/gadget_0": "acme.com/gadget=zero"}')
check 'an annotation of the container asks, too' same "$said" zero
pod_run asking '.annotations = {"cdi.k8s.io/gadget_0": "acme.com/gadget=zero"}' >/dev/null
id=$(container_run asking a 'echo ${GADGET-none}')
check 'its container ends' eventually 10 container_is "$id" EXITED
check 'an annotation of the pod does not' same "$(container_log asking a)" none
check 'the list has the device' list_has '^acme.com/gadget=zero *cdi .*acme.yaml'

check 'a device that nobody knows refuses the container' refused acme.com/gadget=nine
check 'the error names it and what is known' grep -q \
        'cannot be had: acme.com/gadget=nine; known: acme.com/gadget=zero, acme.com/gadget=one, acme.com/gadget=two' "$E2E_TMP/said"

cdi twin.json '{"cdiVersion": "0.5.0", "kind": "acme.com/gadget", "devices": [{"name": "one", "containerEdits": {"env": ["A=1"]}}]}'
check 'a device that is in two files cannot be had' refused acme.com/gadget=one
check 'the error says where else it is' grep -q 'acme.com/gadget=one is in .*: neither can be had' "$E2E_TMP/said"
said=$(output beside 'echo $GADGET' "$(wants acme.com/gadget=zero)")
check 'the others of the file can' same "$said" zero
check 'the list tells of the conflict' list_has 'twin.json is not in force: acme.com/gadget=one is in'
rm "$E2E_TMP/cdi/twin.json"
said=$(output again 'echo $GADGETS' "$(wants acme.com/gadget=one)")
check 'without its twin it is there again' same "$said" here

cat >"$E2E_TMP/high/over.json" <<'J'
{"cdiVersion": "0.5.0", "kind": "acme.com/gadget", "devices": [{"name": "zero", "containerEdits": {"env": ["GADGET=over"]}}]}
J
said=$(output over 'echo $GADGET ${GADGETS-none}' "$(wants acme.com/gadget=zero)")
check 'a later directory wins' same "$said" 'over none'
echo '{"cdiVersion": "0.3.0", "kind": "acme.com/gadget", "devices": [{"name": "7", "containerEdits": {"env": ["A=1"]}}]}' \
        >"$E2E_TMP/high/over.json"
said=$(output under 'echo $GADGET' "$(wants acme.com/gadget=zero)")
check 'a file that turned bad does not' same "$said" zero
check 'the list says why it is bad' list_has 'over.json is not in force: cdiVersion 0.3.0 is too low .* takes 0.5.0'

rm "$E2E_TMP/cdi/acme.yaml" "$E2E_TMP/high/over.json"
check 'a device whose file is gone cannot be had' refused acme.com/gadget=zero
pod_remove box asking
leaks_none 'nothing is left behind'
e2e_end
