# Volumes of every kind that a static pod can have, and how mounts travel; the group api has the others.

mkdir -p "$HOST/tree" "$HOST/shared"
echo node >"$HOST/file"

manifest volumes 'labels: {tier: front}, annotations: {note: "two words"}' <<Y
securityContext: {fsGroup: 4321, runAsUser: 1000, runAsGroup: 1000}
volumes:
- {name: host, hostPath: {path: $HOST, type: Directory}}
- {name: file, hostPath: {path: $HOST/file, type: File}}
- {name: made, hostPath: {path: $HOST/made/by/kubelet, type: DirectoryOrCreate}}
- {name: tree, hostPath: {path: $HOST/tree}}
- {name: scratch, emptyDir: {}}
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- name: about
  downwardAPI:
    items:
    - {path: labels, fieldRef: {fieldPath: metadata.labels}}
    - {path: note, fieldRef: {fieldPath: 'metadata.annotations[''note'']'}}
    - {path: memory, resourceFieldRef: {containerName: main, resource: limits.memory}}
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  resources: {limits: {memory: 64Mi}}
  env:
  - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: PART, value: part}
  command:
  - sh
  - -c
  - |
    exec >/host/volumes 2>&1
    echo "scratch \$(stat -c '%g %a' /scratch)"
    echo x >/scratch/own && echo "own \$(stat -c '%u %g' /scratch/own)"
    echo "memory \$(stat -f -c %T /memory) \$(df -k /memory | awk 'NR == 2 { print \$2 }')"
    dd if=/dev/zero of=/memory/big bs=1024 count=2048 2>/dev/null || echo 'memory is full'
    rm -f /memory/big
    echo "file \$(cat /file)"
    echo no 2>/dev/null >/file || echo 'file is read-only'
    touch /tree/x 2>/dev/null || echo 'tree is read-only'
    cat /about/labels; echo; cat /about/note; echo
    echo "limit \$(cat /about/memory)"
    echo sub >/sub/here
    echo "sub \$(cat /scratch/part/here)"
    ip -4 address show eth0 | grep -q " \$POD_IP/" && echo 'address is right'
    echo done
    exec sleep 100000
  volumeMounts:
  - {name: host, mountPath: /host}
  - {name: file, mountPath: /file, readOnly: true}
  - {name: made, mountPath: /made}
  - {name: tree, mountPath: /tree, readOnly: true}
  - {name: scratch, mountPath: /scratch}
  - {name: scratch, mountPath: /sub, subPathExpr: \$(PART)}
  - {name: memory, mountPath: /memory}
  - {name: about, mountPath: /about}
Y

manifest travel <<Y
volumes: [{name: shared, hostPath: {path: $HOST/shared}}]
containers:
- name: giver
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  securityContext: {privileged: true}
  command: [sh, -c, 'mkdir -p /shared/in && mount -t tmpfs tmpfs /shared/in && touch /shared/in/file && exec sleep 100000']
  volumeMounts: [{name: shared, mountPath: /shared, mountPropagation: Bidirectional}]
- name: taker
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'while [ ! -e /shared/out/file ]; do usleep 100000; done; echo got it >/dev/termination-log']
  volumeMounts: [{name: shared, mountPath: /shared, mountPropagation: HostToContainer}]
Y

check "a pod with volumes of every kind writes what it finds" within 60 grep -qx 'done' "$HOST/volumes"
check "and it is right" has "$HOST/volumes" 'scratch 4321 2777' 'own 1000 4321' 'memory tmpfs 1024' 'memory is full' \
        'file node' 'file is read-only' 'tree is read-only' 'tier="front"' 'two words' 'limit 67108864' \
        'sub sub' 'address is right' 'done'
check "a host directory that was not there is made" test -d "$HOST/made/by/kubelet"
check "a mount made in a container appears on the host" within 30 test -e "$HOST/shared/in/file"
mkdir -p "$HOST/shared/out"
mount -t tmpfs tmpfs "$HOST/shared/out"
touch "$HOST/shared/out/file"
check "one made on the host appears in a container" within 30 status_is travel taker \
        '.lastState.terminated.message // .state.terminated.message | . == "got it\n"'

unmanifest volumes travel
check "their volumes go with them" within 60 pod_gone volumes travel
umount "$HOST/shared/in" "$HOST/shared/out"
