# The pods' network as the kubelet sees it: STATUS of the CNI plugins, host ports, DNS, the host's own namespaces.

# The network of CNI 1.1.0 that e2e/kubelet makes notes each of its calls in $CNI_CALLS, and has no address
# to give while $CNI_CALLS.broken is there.
manifest ports <<Y
terminationGracePeriodSeconds: 1
hostname: porter
subdomain: sub
dnsPolicy: None
dnsConfig: {nameservers: [192.0.2.7], searches: [a.test, b.test], options: [{name: ndots, value: '3'}]}
hostAliases: [{ip: 192.0.2.9, hostnames: [other.test]}]
shareProcessNamespace: true
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: web
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command:
  - sh
  - -c
  - |
    cp /etc/resolv.conf /host/resolv
    grep other.test /etc/hosts >/host/hosts
    hostname >/host/hostname
    echo served >/tmp/index.html
    exec httpd -f -p 8080 -h /tmp
  ports: [{containerPort: 8080, hostPort: ${HOST_PORT:=$(free_port)}}]
  volumeMounts: [{name: host, mountPath: /host}]
- name: peer
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'while ! ps | grep -v grep | grep -q "httpd -f"; do usleep 100000; done; echo sees it >/host/peer; exec sleep 100000']
  volumeMounts: [{name: host, mountPath: /host}]
Y

manifest hostly <<Y
terminationGracePeriodSeconds: 1
hostNetwork: true
hostPID: true
hostIPC: true
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'for kind in net pid ipc; do readlink /proc/self/ns/\$kind; done >/host/spaces; exec sleep 100000']
  volumeMounts: [{name: host, mountPath: /host}]
Y

served() {
        same "$(curl --silent --max-time 5 "http://$1/")" served
}

check "a pod with a host port runs" within 60 pod_is_ready ports
check "it is served on its address" within 20 served "$(pod ports .status.podIP):8080"
check "and on the host's port" within 20 served "127.0.0.1:$HOST_PORT"
check "its resolv.conf" has "$HOST/resolv" 'search a.test b.test' 'nameserver 192.0.2.7' 'options ndots:3'
check "its host name" has "$HOST/hostname" porter
check "its hosts file" grep -q '192.0.2.9.*other.test' "$HOST/hosts"
check "its containers see each other's processes" within 20 has "$HOST/peer" 'sees it'
check "a pod in the host's namespaces is in them" within 60 has "$HOST/spaces" "$(readlink /proc/self/ns/net)" \
        "$(readlink /proc/self/ns/pid)" "$(readlink /proc/self/ns/ipc)"
check "with the host's addresses" pod_is hostly '.status.podIP == .status.hostIP'

check "the network was asked for its STATUS" grep -q '^STATUS' "$CNI_CALLS"
touch "$CNI_CALLS.broken"
network_is() {
        [[ $(crictl info | jq '.status.conditions[] | select(.type == "NetworkReady").status') == "$1" ]]
}
check "a network that is not available makes the node not ready" within 30 network_is false
: >"$KUBELET_LOG"
manifest waits <<Y
terminationGracePeriodSeconds: 1
containers: [{name: main, image: $E2E_IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, '100000']}]
Y
check "the kubelet makes no pod, and says why" within 40 kubelet_said 'network is not ready.*no address today'
check "while those that run, run on" within 20 pod_is_ready ports
rm "$CNI_CALLS.broken"
check "when the network is back, it does" within 60 pod_is_ready waits

# What a dead agent's attachments left is given back with the next agent's GC.
before=$(grep -c '^GC' "$CNI_CALLS" || true)
agent_kill
agent_start
gc_asked() {
        (($(grep -c '^GC' "$CNI_CALLS") > before))
}
check "an agent that starts has the network collect garbage" within 20 gc_asked
check "naming what is valid" eval 'grep "^GC" "$CNI_CALLS" | tail -n 1 | grep -q "$(crictl pods --quiet --name "^ports-$NODE\$")"'
check "and the host port is still served" within 20 served "127.0.0.1:$HOST_PORT"

unmanifest ports hostly waits
check "the pods go" within 60 pod_gone ports hostly waits
