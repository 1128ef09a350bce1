# Log files that the kubelet rotates under a container that writes on.

manifest writer <<Y
terminationGracePeriodSeconds: 1
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'i=0; while [ ! -e /dev/shm/enough ]; do i=\$((i + 1)); echo line \$i; usleep 4000; done; exec sleep 100000']
- name: once
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo out; echo err >&2; [ -e /dev/shm/again ] || { touch /dev/shm/again; printf "no newline"; exit 1; }; exec sleep 100000']
Y

log_files() {
        local found

        found=$(find "$POD_LOGS"/default_writer-"$NODE"_*/main -name '0.log*' | wc -l)
        ((found >= $1)) || {
                echo "$found files"
                return 1
        }
}

# Every line once and in order, over all the files: the older ones bear their time, the last one does not.
log_is_whole() {
        local file

        for file in "$POD_LOGS"/default_writer-"$NODE"_*/main/0.log{.*,}; do
                case $file in
                *.gz) zcat "$file" ;;
                *) cat "$file" ;;
                esac
        done | awk '$NF != NR { print "line " NR ": " $0; bad = 1; exit 1 } END { if (!bad && NR < 300) { print NR " lines"; exit 1 } }'
}

container_log_is() {
        [[ $(kubelet_get "containerLogs/default/writer-$NODE/$1") == "$2" ]] || {
                kubelet_get "containerLogs/default/writer-$NODE/$1"
                return 1
        }
}

follows() {
        local got

        got=$(curl --silent --insecure --no-buffer --max-time 3 \
                "https://127.0.0.1:$KUBELET_PORT/containerLogs/default/writer-$NODE/main?follow=true&tailLines=1" || true)
        (($(wc -l <<<"$got") > 50)) || {
                echo "$got" | tail -n 3
                return 1
        }
}

check "a container that writes much has its log rotated" within 90 log_files 4
check "old ones are compressed" within 60 eval 'ls "$POD_LOGS"/default_writer-"$NODE"_*/main/*.gz'
check "and followed while it is" follows
again() {
        status_is writer once '.restartCount == 1 and .state.running != null'
}
check "a container's log is served" within 60 again
check "the whole" container_log_is once $'out\nerr'
check "that of the container before it" container_log_is once?previous=true $'out\nerr\nno newline'
check "its end" container_log_is 'once?tailLines=1' err
crictl exec --sync "$(the_id writer main)" touch /dev/shm/enough >/dev/null
check "no line is lost, doubled or out of order over the rotations" within 20 log_is_whole
unmanifest writer
check "the pod goes" within 60 pod_gone writer
