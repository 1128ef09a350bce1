#!/usr/bin/env bash
# Where mounts are shared, as systemd leaves all of them: images unpack, pods run, and the host sees none of their mounts.
if [[ ${1-} != within ]]; then
        exec unshare --mount --propagation private sh -c 'mount --make-rshared / && exec "$0" within' "$0"
fi
. "${BASH_SOURCE%/*}/../lib.sh"

# shows PATH: a mount of the container is on the host, too.
shows() {
        grep -q " $1 " /proc/self/mountinfo
}

# says POD NAME WANT: the log of a container.
says() {
        same "$(container_log "$1" "$2")" "$3"
}

e2e_begin shared
registry_start small
agent_start
check "an image is pulled" crictl pull "$E2E_IMAGE"
leaks_begin

pod_run web >/dev/null
mkdir -p "$E2E_TMP/volume"
id=$(container_run web main 'mount | grep -c " /volume "; exec sleep 1000' \
        ".mounts = [{container_path: \"/volume\", host_path: \"$E2E_TMP/volume\"}]")
check "a container runs, and has its mounts once" eventually 10 says web main 1
check_not "they do not show on the host" shows /volume
check "exec works in it" same "$(crictl exec --sync "$id" echo hello)" hello
check "the pod goes" pod_remove web
leaks_none "nothing stayed behind"
e2e_end
