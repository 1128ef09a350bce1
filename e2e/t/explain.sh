#!/usr/bin/env bash
# `cringle hooks explain`: what hooks of all kinds would make of a pod, told without making it.
. "${BASH_SOURCE%/*}/../lib.sh"

said() {
        grep -qF -- "$1" "$E2E_TMP/said" || {
                cat "$E2E_TMP/said"
                return 1
        }
}

e2e_begin explain
registry_start conformance
mkdir -p "$E2E_TMP/cdi"
cat >"$E2E_TMP/cdi/acme.yaml" <<'Y'
cdiVersion: 0.5.0
kind: acme.com/gadget
devices:
  - name: zero
    containerEdits: {env: [GADGET=zero]}
Y
agent_start "cdi: {dirs: [$E2E_TMP/cdi], pod_annotations: true}
hooks:
  plugins: [{plugin: localtime}]
  declared:
    - {name: always, stage: poststop, path: /bin/true}
    - {name: elsewhere, stage: poststop, path: /bin/true, when: {namespaces: ['^prod$']}}"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
cat >"$E2E_TMP/pod.yaml" <<Y
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  annotations: {cdi.k8s.io/x: acme.com/gadget=zero, localtime.cringle.io/mount: 'true'}
spec:
  volumes: [{name: v, emptyDir: {}}]
  containers:
    - {name: box, image: $E2E_IMAGE, command: [sleep, '9'], volumeMounts: [{name: v, mountPath: /v}]}
Y
check 'a pod is explained' cringle hooks explain "$E2E_TMP/pod.yaml"
cringle hooks explain "$E2E_TMP/pod.yaml" >"$E2E_TMP/said"
check 'by container' said 'container box'
check 'a native hook, and what it changed' said '+ mounts: {"destination":"/etc/localtime"'
check 'a device, and what it changed' said '+ process.env: "GADGET=zero"'
check 'a hook that holds' said '* always (yaml,'
check 'and what it changed' said '+ hooks.poststop: {"path":"/bin/true"'
check 'a hook that does not, and why' said "namespace ^prod\$ does not hold for 'shop'"
check 'who owns what' said 'variable GADGET: cdi'
check 'the specification is JSON' jq -e '.process.args == ["sleep", "9"]' <(cringle hooks explain "$E2E_TMP/pod.yaml" --spec)
check 'nothing was counted' same "$(cringle hooks list -o json | jq -c '[.[] | select(.name == "always") | .containers, .calls]')" '[0,0]'
check 'nothing was made' same "$(crictl pods -q)$(crictl ps -aq)" ''

sed -i 's/gadget=zero,/gadget=nine,/' "$E2E_TMP/pod.yaml"
check_not 'a pod that would be refused' cringle hooks explain "$E2E_TMP/pod.yaml"
cringle hooks explain "$E2E_TMP/pod.yaml" >"$E2E_TMP/said" || true
check 'is told why' said 'refused: CDI devices that cannot be had: acme.com/gadget=nine'
check 'and what came before' said '+ mounts: {"destination":"/etc/localtime"'
leaks_none 'nothing is left behind'
e2e_end
