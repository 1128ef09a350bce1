# The kubelet's checkpoint API: an archive of a container that runs on.

if ! "$CRINGLE_CRIU" check >"$E2E_TMP/criu.log" 2>&1; then
        skip "checkpoints" "criu does not work on this kernel, or is not there: $(grep -m 1 Error "$E2E_TMP/criu.log")"
else
        manifest frozen <<Y
terminationGracePeriodSeconds: 1
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'i=0; while :; do i=\$((i + 1)); echo \$i; sleep 0.2; done']
Y
        check "a pod to checkpoint runs" within 60 pod_is_ready frozen
        said=$(kubelet_get "checkpoint/default/frozen-$NODE/main" --request POST)
        archive=$(jq -r '.items[0]' <<<"$said")
        check "the kubelet has a checkpoint made" test -s "$archive"
        check "with the processes in it" eval 'tar -tf "$archive" | grep -qx checkpoint/inventory.img'
        check "which run on" status_is frozen main '.restartCount == 0 and .state.running != null'
        rm -f "$archive"
        unmanifest frozen
fi
